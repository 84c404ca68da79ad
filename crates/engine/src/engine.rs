//! The engine: a data directory, its topics, and the machines that run on it.

use std::{fmt, path::Path, sync::Arc};

use hanbeon_records::{Millis, NodeId, ProducerEpoch, ProducerId, TopicId};

use crate::{
    ConfigChange, ConfigError, CreatedTopic, DescribedConfig, Env, Image, Mode, NewTopic, OpenError, Options,
    PartitionError, PartitionHandle, ProducerIdError, Settings, System, Topic, TopicError,
};

/// An open data directory. Clones are the same engine; the last one to go shuts it down as [`Engine::shutdown`] does.
pub struct Engine<E: Env = System>(pub(crate) Arc<Shared<E>>);

pub(crate) struct Shared<E: Env>(std::marker::PhantomData<E>);

/// A topic as a request names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicRef<'a> {
    /// By name.
    Name(&'a str),
    /// By identity.
    Id(TopicId),
}

/// Whose dynamic settings are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerScope {
    /// All brokers'.
    All,
    /// This broker's.
    This,
}

/// A producer's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIdentity {
    /// Its id.
    pub id: ProducerId,
    /// Its incarnation.
    pub epoch: ProducerEpoch,
}

impl Engine<System> {
    /// Opens, or makes, a data directory with [`Options::embedded`]: nothing is acknowledged before it survives a power cut.
    ///
    /// # Errors
    /// Another engine has it open, it is damaged, or the storage fails.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::open_with(path, Options::embedded())
    }

    /// The same with other options.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn open_with(_path: impl AsRef<Path>, _options: Options) -> Result<Self, OpenError> {
        unimplemented!()
    }
}

impl<E: Env> Engine<E> {
    /// Opens the data directory `dir` in an environment of the caller's.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn open_in(_env: E, _dir: E::Dir, _options: Options) -> Result<Self, OpenError> {
        unimplemented!()
    }

    /// What topics there are now.
    #[must_use]
    pub fn image(&self) -> Arc<Image<E>> {
        unimplemented!()
    }

    /// The topic called `name`.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<Arc<Topic<E>>> {
        self.image().topic(name).cloned()
    }

    /// A partition by its topic's name.
    ///
    /// # Errors
    /// [`PartitionError::Unknown`].
    pub fn partition(&self, topic: &str, number: i32) -> Result<PartitionHandle<E>, PartitionError> {
        let image = self.image();
        let found = image.topic(topic).and_then(|topic| topic.partition(number));
        found
            .cloned()
            .ok_or_else(|| PartitionError::Unknown { topic: topic.to_owned(), partition: number })
    }

    /// A partition by its topic's identity.
    ///
    /// # Errors
    /// [`PartitionError::UnknownTopicId`] or [`PartitionError::Unknown`].
    pub fn partition_by_id(&self, id: TopicId, number: i32) -> Result<PartitionHandle<E>, PartitionError> {
        let image = self.image();
        let topic = image.topic_by_id(id).ok_or(PartitionError::UnknownTopicId { id })?;
        topic.partition(number).cloned().ok_or_else(|| PartitionError::Unknown {
            topic: topic.name().to_string(),
            partition: number,
        })
    }

    /// The cluster's identity: 22 characters, the same for the life of the data directory.
    #[must_use]
    pub fn cluster_id(&self) -> &str {
        unimplemented!()
    }

    /// This node's number.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        unimplemented!()
    }

    /// The data directory, for people (`DescribeLogDirs`).
    #[must_use]
    pub fn data_dir(&self) -> String {
        unimplemented!()
    }

    /// The broker settings that count now.
    #[must_use]
    pub fn settings(&self) -> Settings {
        unimplemented!()
    }

    /// The time of day of this engine's environment.
    #[must_use]
    pub fn now(&self) -> Millis {
        unimplemented!()
    }

    /// Creates a topic for a client.
    ///
    /// # Errors
    /// The name is taken or no name, the numbers cannot be, a setting cannot be taken, or the storage fails.
    pub fn create_topic(&self, _topic: &NewTopic, _mode: Mode) -> Result<CreatedTopic, TopicError> {
        unimplemented!()
    }

    /// Creates a topic because a client asked about it (`auto.create.topics.enable` is the caller's to look at), with the
    /// broker's defaults. One that is there already is fine.
    ///
    /// # Errors
    /// As [`Engine::create_topic`].
    pub fn auto_create_topic(&self, _name: &str) -> Result<Arc<Topic<E>>, TopicError> {
        unimplemented!()
    }

    /// Deletes a topic and all its records; what was deleted.
    ///
    /// # Errors
    /// There is no such topic, or the storage fails.
    pub fn delete_topic(&self, _topic: TopicRef<'_>) -> Result<Arc<Topic<E>>, TopicError> {
        unimplemented!()
    }

    /// Gives a topic more partitions, `count` in all. `assignments` names the replicas of the new ones.
    ///
    /// # Errors
    /// There is no such topic, it has that many already, or the storage fails.
    pub fn create_partitions(
        &self,
        _topic: &str,
        _count: i32,
        _assignments: Option<&[Vec<NodeId>]>,
        _mode: Mode,
    ) -> Result<(), TopicError> {
        unimplemented!()
    }

    /// A topic's settings, by name; all of them, or those asked for that exist.
    ///
    /// # Errors
    /// There is no such topic.
    pub fn describe_topic_config(
        &self,
        _topic: &str,
        _keys: Option<&[&str]>,
    ) -> Result<Vec<DescribedConfig>, TopicError> {
        unimplemented!()
    }

    /// Changes single settings of a topic.
    ///
    /// # Errors
    /// There is no such topic, or a setting cannot be taken; nothing is changed then.
    pub fn alter_topic_config(
        &self,
        _topic: &str,
        _changes: &[ConfigChange],
        _mode: Mode,
    ) -> Result<(), TopicError> {
        unimplemented!()
    }

    /// Gives a topic these settings and no others.
    ///
    /// # Errors
    /// As [`Engine::alter_topic_config`].
    pub fn replace_topic_config(
        &self,
        _topic: &str,
        _settings: &[(&str, Option<&str>)],
        _mode: Mode,
    ) -> Result<(), TopicError> {
        unimplemented!()
    }

    /// The broker's settings, by name; all of them, or those asked for that exist. For all brokers: the dynamic ones only.
    #[must_use]
    pub fn describe_broker_config(
        &self,
        _scope: BrokerScope,
        _keys: Option<&[&str]>,
    ) -> Vec<DescribedConfig> {
        unimplemented!()
    }

    /// Changes single settings of the broker.
    ///
    /// # Errors
    /// A setting cannot be taken, or not while the server runs; nothing is changed then.
    pub fn alter_broker_config(
        &self,
        _scope: BrokerScope,
        _changes: &[ConfigChange],
        _mode: Mode,
    ) -> Result<(), TopicError> {
        unimplemented!()
    }

    /// Gives the broker these dynamic settings and no others.
    ///
    /// # Errors
    /// As [`Engine::alter_broker_config`].
    pub fn replace_broker_config(
        &self,
        _scope: BrokerScope,
        _settings: &[(&str, Option<&str>)],
        _mode: Mode,
    ) -> Result<(), TopicError> {
        unimplemented!()
    }

    /// A fresh producer id with epoch 0 (`InitProducerId` without a transactional id).
    ///
    /// # Errors
    /// No block of ids could be reserved.
    pub fn init_producer_id(&self) -> Result<ProducerIdentity, ProducerIdError> {
        unimplemented!()
    }

    /// Does what is due: opens what is not open yet, background syncs, checkpoints, producer expiry. Returns the time until
    /// something is due again, in milliseconds. With [`Options::helpers`] threads call it; without, the embedder may.
    ///
    /// # Errors
    /// A checkpoint could not be written; partitions that fail are reported by their own calls.
    pub fn maintain(&self, _now: Millis) -> Result<u64, OpenError> {
        unimplemented!()
    }

    /// Syncs everything, writes the checkpoints and the clean-shutdown marker, joins the helpers, lets the directory go. All
    /// calls fail afterwards. A second call does nothing.
    ///
    /// # Errors
    /// Something could not be made durable: the next opening recovers.
    pub fn shutdown(&self) -> Result<(), OpenError> {
        unimplemented!()
    }
}

impl<E: Env> Clone for Engine<E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<E: Env> fmt::Debug for Engine<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

#[expect(dead_code, reason = "checked by the compiler")]
fn refused(error: ConfigError) -> TopicError {
    error.into()
}
