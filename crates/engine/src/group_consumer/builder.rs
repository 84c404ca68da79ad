//! How a group consumer is made.

use hanbeon_group::{
    GroupError, Name,
    consumer::{ConsumerError, TopicPattern},
};

use super::{GroupConsumer, member::Member};
use crate::{ClientError, ConsumerSettings, Engine, Env, GroupsError, System};

/// What a member of a group wants to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subscription {
    Topics(Vec<String>),
    Pattern(String),
}

/// A group consumer to be: [`GroupConsumerBuilder::subscribe`] makes it.
#[derive(Clone, Debug)]
#[must_use = "subscribe makes a consumer of it"]
pub struct GroupConsumerBuilder<E: Env = System> {
    engine: Engine<E>,
    group: String,
    settings: ConsumerSettings,
    instance_id: Option<String>,
}

impl<E: Env> Engine<E> {
    /// A reader that shares topics with the other members of a group.
    ///
    /// ```
    /// # let home = tempfile::tempdir()?;
    /// use hanbeon::{Engine, Record};
    ///
    /// let engine = Engine::open(home.path())?;
    /// engine.ensure_topic("orders", 3)?;
    /// engine.producer().send(Record::new("orders", "3 apples"))?.wait()?;
    ///
    /// let mut consumer = engine.group_consumer("billing").subscribe(["orders"])?;
    /// assert_eq!(consumer.poll()?.len(), 1);
    /// consumer.commit()?;
    /// consumer.close()?;
    /// // Whoever comes next goes on there.
    /// let mut next = engine.group_consumer("billing").subscribe(["orders"])?;
    /// assert!(next.poll()?.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn group_consumer(&self, group: &str) -> GroupConsumerBuilder<E> {
        GroupConsumerBuilder {
            engine: self.clone(),
            group: group.to_owned(),
            settings: ConsumerSettings::new(),
            instance_id: None,
        }
    }
}

impl<E: Env> GroupConsumerBuilder<E> {
    /// Isolation level, where to begin without a committed offset, how much a poll returns, how long a partition may be kept.
    pub fn settings(mut self, settings: ConsumerSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Makes it a static member (`group.instance.id`, KIP-345): what it has is kept for it from [`GroupConsumer::close`] until a consumer of
    /// this name comes again, as long as a session lasts. One consumer at a time has the name.
    pub fn instance_id(mut self, id: &str) -> Self {
        self.instance_id = Some(id.to_owned());
        self
    }

    /// Reads these topics, also those that come to be later. Nothing happens before the first poll.
    ///
    /// # Errors
    /// There is no topic among them, or a name that no group can have.
    pub fn subscribe<T: Into<String>>(
        self,
        topics: impl IntoIterator<Item = T>,
    ) -> Result<GroupConsumer<E>, ClientError> {
        let topics: Vec<String> = topics.into_iter().map(Into::into).collect();
        if topics.is_empty() {
            let nothing = hanbeon_group::consumer::InvalidField::Subscription;
            return Err(refused(ConsumerError::InvalidRequest(nothing)));
        }
        self.build(Subscription::Topics(topics))
    }

    /// Reads the topics whose whole name the expression matches (RE2's syntax), also those that come to be later and internal ones.
    ///
    /// # Errors
    /// The expression does not read, or a name that no group can have.
    pub fn subscribe_pattern(self, pattern: &str) -> Result<GroupConsumer<E>, ClientError> {
        TopicPattern::new(pattern).map_err(refused)?;
        self.build(Subscription::Pattern(pattern.to_owned()))
    }

    fn build(self, subscription: Subscription) -> Result<GroupConsumer<E>, ClientError> {
        let Self { engine, group, settings, instance_id } = self;
        let named = |name: &str| Name::new(name).map_err(GroupsError::from);
        let group = named(&group)?;
        let instance_id = instance_id.as_deref().map(named).transpose()?;
        let member = Member::new(&engine, (group, instance_id), subscription, &settings)?;
        Ok(GroupConsumer::new(engine, settings, member))
    }
}

pub(super) fn refused(error: ConsumerError) -> ClientError {
    GroupsError::from(GroupError::from(error)).into()
}
