//! Creating, growing and deleting topics.
//!
//! Creating: the directories are made durable, then the row. Deleting: the row goes first, then the directories are renamed
//! and unlinked. So a crash leaves directories without a row at worst, and opening clears those away.

use std::sync::Arc;

use hanbeon_log::{Dir as _, LogError, partition_metadata};
use hanbeon_meta::{NewTopic as NewRows, changes};
use hanbeon_records::{NodeId, TopicId, TopicName, TopicPartition};

use crate::{
    DescribedConfig, Engine, Env, Image, Mode, Topic, TopicError,
    admin::{Admin, failed, rows_of},
    config::{self, Owner, registry},
    configs::warn_of_idle,
    image::{CONTROLLER_TOPIC, RESERVED_TOPICS, is_internal},
    meta_properties::random_id,
};

/// Partitions a topic has at most. Each is a directory and a few open files.
pub const PARTITIONS_MAX: i32 = 10_000;

/// A topic to create.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions; `None` for `num.partitions`.
    pub partitions: Option<i32>,
    /// How many replicas; `None` for `default.replication.factor`.
    pub replication_factor: Option<i16>,
    /// Which replicas each partition has, instead of the two numbers.
    pub assignments: Vec<(i32, Vec<NodeId>)>,
    /// Settings.
    pub configs: Vec<(String, Option<String>)>,
}

impl NewTopic {
    /// A topic with this name and so many partitions.
    #[must_use]
    pub fn new(name: impl Into<String>, partitions: i32) -> Self {
        Self { name: name.into(), partitions: Some(partitions), ..Self::default() }
    }

    /// Gives it a setting. Those of retention and compaction are kept and shown, and nothing acts on them yet.
    #[must_use]
    pub fn config(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.configs.push((key.into(), Some(value.into())));
        self
    }
}

/// A topic that was created, or would have been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Its identity; a made-up one where it was only checked.
    pub id: TopicId,
    /// How many partitions.
    pub partitions: i32,
    /// How many replicas.
    pub replication_factor: i16,
    /// All its settings, by name.
    pub configs: Vec<DescribedConfig>,
}

/// A topic as a request names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicRef<'a> {
    /// By name.
    Name(&'a str),
    /// By identity.
    Id(TopicId),
}

/// Who creates a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Creator {
    Client,
    Server,
}

impl<E: Env> Engine<E> {
    /// Creates a topic for a client.
    ///
    /// # Errors
    /// The name is taken or no name, the numbers cannot be, a setting cannot be taken, or the storage fails.
    pub fn create_topic(&self, topic: &NewTopic, mode: Mode) -> Result<CreatedTopic, TopicError> {
        let mut admin = self.admin()?;
        self.create(&mut admin, topic, mode, Creator::Client)
    }

    /// Creates one of [`crate::INTERNAL_TOPICS`], which clients cannot. One that is there already is fine.
    ///
    /// # Errors
    /// As [`Engine::create_topic`].
    pub fn create_internal_topic(&self, topic: &NewTopic) -> Result<Arc<Topic<E>>, TopicError> {
        self.ensure(topic, Creator::Server)
    }

    /// Creates a topic unless it is there, with so many partitions and the defaults.
    ///
    /// # Errors
    /// As [`Engine::create_topic`].
    pub fn ensure_topic(&self, name: &str, partitions: i32) -> Result<Arc<Topic<E>>, TopicError> {
        self.ensure(&NewTopic::new(name, partitions), Creator::Client)
    }

    /// Creates a topic because a client asked about it, with the broker's defaults (`auto.create.topics.enable` is the
    /// caller's to look at). One that is there already is fine.
    ///
    /// # Errors
    /// As [`Engine::create_topic`].
    pub fn auto_create_topic(&self, name: &str) -> Result<Arc<Topic<E>>, TopicError> {
        self.ensure(&NewTopic { name: name.to_owned(), ..NewTopic::default() }, Creator::Client)
    }

    fn ensure(&self, topic: &NewTopic, creator: Creator) -> Result<Arc<Topic<E>>, TopicError> {
        if let Some(found) = self.topic(&topic.name) {
            return Ok(found);
        }
        let mut admin = self.admin()?;
        match self.create(&mut admin, topic, Mode::Apply, creator) {
            // Somebody else was quicker.
            Ok(_) | Err(TopicError::Exists { .. }) => {}
            Err(error) => return Err(error),
        }
        drop(admin);
        self.topic(&topic.name).ok_or_else(|| TopicError::Unknown { name: topic.name.clone() })
    }

    fn create(
        &self,
        admin: &mut Admin<E>,
        topic: &NewTopic,
        mode: Mode,
        creator: Creator,
    ) -> Result<CreatedTopic, TopicError> {
        let name = check_name(&topic.name, &self.image(), creator)?;
        let pairs = topic.configs.iter().map(|(key, value)| (key.as_str(), value.as_deref()));
        let overrides = config::replacement(Owner::Topic, pairs)?;
        admin.log_config(&overrides)?;
        let assignments = assignments(topic, admin)?;
        if creator == Creator::Client {
            check_room(admin, assignments.len())?;
        }
        let id = random_id(|| admin.ground.env.random());
        let new = NewRows {
            id,
            name: name.clone(),
            assignments: assignments.clone(),
            configs: rows_of(&overrides),
        };
        let txn = changes::create_topic(&admin.rows, &new);
        // Before there are directories for it.
        admin.store.limits().check(&txn).map_err(failed)?;
        if mode == Mode::Apply {
            make_directories(admin, &name, id, 0..count(assignments.len()))?;
            admin.commit(&txn, || TopicError::Exists { name: topic.name.clone() })?;
            self.publish_topic(admin, &name);
            if creator == Creator::Client {
                warn_of_idle(&name, &overrides);
            }
        }
        let replicas = assignments.first().map_or(0, Vec::len);
        Ok(CreatedTopic {
            id,
            partitions: count(assignments.len()),
            replication_factor: i16::try_from(replicas).unwrap_or(i16::MAX),
            configs: registry::topic_keys()
                .iter()
                .map(|key| admin.layers.describe_owned(key, &overrides))
                .collect(),
        })
    }

    /// Deletes a topic and all its records; what was deleted.
    ///
    /// # Errors
    /// There is no such topic, it is the server's own, deletion is switched off, or the storage fails.
    pub fn delete_topic(&self, topic: TopicRef<'_>) -> Result<Arc<Topic<E>>, TopicError> {
        let mut admin = self.admin()?;
        let image = self.image();
        let found = match topic {
            TopicRef::Name(name) => image.topic(name),
            TopicRef::Id(id) => image.topic_by_id(id),
        };
        let topic = found.cloned().ok_or_else(|| unknown(topic))?;
        if topic.is_internal() {
            return Err(TopicError::Internal { name: topic.name().to_string() });
        }
        if admin.settings().flag("delete.topic.enable") == Some(false) {
            return Err(TopicError::DeletionDisabled);
        }
        let row = admin.rows.topic(topic.name()).cloned();
        let row = row.ok_or_else(|| TopicError::Unknown { name: topic.name().to_string() })?;
        let gone = || TopicError::Unknown { name: topic.name().to_string() };
        admin.commit(&changes::delete_topic(&row), gone)?;
        self.change_image(&admin, |image| image.remove(&topic));
        // While nobody can make another of its name.
        self.groups().forget_topic(&topic);
        for partition in topic.partitions() {
            partition.delete();
            let tag = u128::from(admin.ground.env.random());
            if let Err(error) = admin.ground.data.remove_partition(&partition.0.name, tag) {
                // The topic is gone all the same; the next opening clears what is left.
                tracing::warn!(partition = %partition.0.name, %error, "not removed yet");
            }
        }
        Ok(topic)
    }

    /// Gives a topic more partitions, `count` in all. `assignments` names the replicas of the new ones.
    ///
    /// # Errors
    /// There is no such topic, it is the server's own, it has that many already, or the storage fails.
    pub fn create_partitions(
        &self,
        topic: &str,
        total: i32,
        assignments: Option<&[Vec<NodeId>]>,
        mode: Mode,
    ) -> Result<(), TopicError> {
        let mut admin = self.admin()?;
        let unknown = || TopicError::Unknown { name: topic.to_owned() };
        let name = TopicName::new(topic).ok().ok_or_else(unknown)?;
        let row = admin.rows.topic(&name).cloned().ok_or_else(unknown)?;
        if is_internal(topic) {
            // Ids and groups are found by this number.
            return Err(TopicError::Internal { name: topic.to_owned() });
        }
        let current = row.partition_count;
        if total <= current {
            let name = topic.to_owned();
            return Err(TopicError::NotMorePartitions { name, current, found: total });
        }
        if total > PARTITIONS_MAX {
            return Err(TopicError::InvalidPartitions { max: PARTITIONS_MAX, found: total });
        }
        let more = usize::try_from(total.saturating_sub(current)).unwrap_or(0);
        let node = admin.node();
        let assignments = match assignments {
            Some(given) if given.len() != more => {
                let why = "it must name the replicas of each new partition, and of no other";
                return Err(TopicError::InvalidAssignment { why });
            }
            Some(given) => given.to_vec(),
            None => vec![vec![node]; more],
        };
        assignments.iter().try_for_each(|replicas| check_replicas(replicas, node))?;
        check_room(&admin, more)?;
        if mode == Mode::ValidateOnly {
            return Ok(());
        }
        make_directories(&admin, &name, row.id, current..total)?;
        let txn = changes::add_partitions(&admin.rows, &row, &assignments);
        admin.commit(&txn, unknown)?;
        self.publish_topic(&admin, &name);
        drop(admin);
        Ok(())
    }

    /// Makes an image in which this topic is as its rows have it.
    pub(crate) fn publish_topic(&self, admin: &Admin<E>, name: &TopicName) {
        let before = self.topic(name.as_str());
        if let Some(row) = admin.rows.topic(name) {
            let topic = Arc::new(admin.topic(row, before.as_deref()));
            self.change_image(admin, |image| image.insert(topic));
        }
    }
}

fn unknown(topic: TopicRef<'_>) -> TopicError {
    match topic {
        TopicRef::Name(name) => TopicError::Unknown { name: name.to_owned() },
        TopicRef::Id(id) => TopicError::UnknownId { id },
    }
}

fn count(len: usize) -> i32 {
    i32::try_from(len).unwrap_or(i32::MAX)
}

/// Names of metrics have `_` for `.` (`org.apache.kafka.common.internals.Topic.hasCollision`).
fn check_name<E: Env>(
    text: &str,
    image: &Image<E>,
    creator: Creator,
) -> Result<TopicName, TopicError> {
    let name = TopicName::new(text)
        .map_err(|why| TopicError::InvalidName { name: text.to_owned(), why })?;
    // The server's own topics count as there before they are made, so that no client makes them in another shape.
    let taken = match creator {
        Creator::Client => RESERVED_TOPICS.contains(&text),
        Creator::Server => text == CONTROLLER_TOPIC,
    };
    if taken || image.topic(text).is_some() {
        return Err(TopicError::Exists { name: text.to_owned() });
    }
    if text.contains(['.', '_']) {
        let folded = text.replace('.', "_");
        let same = |topic: &&&Arc<Topic<E>>| topic.name().as_str().replace('.', "_") == folded;
        if let Some(other) = image.topics().iter().find(same) {
            let (name, other) = (text.to_owned(), other.name().to_string());
            return Err(TopicError::Collides { name, other });
        }
    }
    Ok(name)
}

fn check_replicas(replicas: &[NodeId], node: NodeId) -> Result<(), TopicError> {
    let refused = |why| Err(TopicError::InvalidAssignment { why });
    match replicas {
        [] => refused("each partition has a replica at least"),
        [only] if *only == node => Ok(()),
        [_] => refused("it names a broker that is not there"),
        [first, rest @ ..] if rest.contains(first) => refused("it names a broker twice"),
        [_, _, ..] => refused("it names more brokers than there are"),
    }
}

/// Whether a client may have so many partitions more. Each costs files, memory and a part of every sweep of upkeep; the server's own topics
/// are always made, and counted.
fn check_room<E: Env>(admin: &Admin<E>, more: usize) -> Result<(), TopicError> {
    let max = admin.settings().long("max.broker.partitions").unwrap_or(i64::MAX);
    let current = admin.rows.topics().map(|topic| i64::from(topic.partition_count)).sum::<i64>();
    let asked = i64::try_from(more).unwrap_or(i64::MAX);
    if current.saturating_add(asked) > max {
        return Err(TopicError::BrokerFull { max, current, asked });
    }
    Ok(())
}

/// The replicas of each partition. On one node all are its own.
fn assignments<E: Env>(topic: &NewTopic, admin: &Admin<E>) -> Result<Vec<Vec<NodeId>>, TopicError> {
    let node = admin.node();
    if !topic.assignments.is_empty() {
        if topic.partitions.is_some() || topic.replication_factor.is_some() {
            let why = "replicas are assigned by hand, so neither a number of partitions nor a replication factor is given";
            return Err(TopicError::InvalidRequest { why });
        }
        let mut given = topic.assignments.clone();
        given.sort_unstable_by_key(|(number, _)| *number);
        for (at, (number, replicas)) in given.iter().enumerate() {
            if usize::try_from(*number).ok() != Some(at) {
                let why = "partitions are numbered from 0 on, each once";
                return Err(TopicError::InvalidAssignment { why });
            }
            check_replicas(replicas, node)?;
        }
        return Ok(given.into_iter().map(|(_, replicas)| replicas).collect());
    }
    let settings = admin.settings();
    let factor = match topic.replication_factor {
        Some(factor) => i32::from(factor),
        None => settings.int("default.replication.factor").unwrap_or(1),
    };
    if factor != 1 {
        return Err(TopicError::InvalidReplicationFactor { brokers: 1, found: factor });
    }
    let partitions =
        topic.partitions.unwrap_or_else(|| settings.int("num.partitions").unwrap_or(1));
    let valid = (1..=PARTITIONS_MAX).contains(&partitions);
    let number = usize::try_from(partitions).ok().filter(|_| valid);
    let number =
        number.ok_or(TopicError::InvalidPartitions { max: PARTITIONS_MAX, found: partitions })?;
    Ok(vec![vec![node]; number])
}

/// Makes partitions' directories with the topic's id in them, all of it durable.
fn make_directories<E: Env>(
    admin: &Admin<E>,
    topic: &TopicName,
    id: TopicId,
    numbers: std::ops::Range<i32>,
) -> Result<(), TopicError> {
    // A store that failed may hold the rows of a creation that it did not answer, and these are its directories.
    admin.store.revision().map_err(failed)?;
    let data = &admin.ground.data;
    let storage = |error| TopicError::Storage { source: Arc::new(error) };
    data.poison.check(data.dir.display()).map_err(storage)?;
    let at = |partition| TopicPartition { topic: topic.clone(), partition };
    let mut cleared = numbers.start..numbers.start;
    let mut make = || -> Result<(), LogError> {
        // Before there is anything that could be taken for what an older topic of this name had.
        data.forget(&numbers.clone().map(at).collect::<Vec<_>>())?;
        for number in numbers.clone() {
            // A deletion or a creation that failed may have left one. Its records are not this topic's.
            data.clear_leftover(&at(number), u128::from(admin.ground.env.random()))?;
            cleared.end = number.saturating_add(1);
            partition_metadata::write(&data.create_partition(&at(number))?, id)?;
        }
        data.sync()
    };
    data.poison.by_sync(make()).map_err(|error| {
        for number in cleared {
            // What cannot be removed now has no row, and is cleared at the next opening.
            if let Err(left) =
                data.remove_partition(&at(number), u128::from(admin.ground.env.random()))
            {
                tracing::warn!(%topic, number, error = %left, "half a topic is left");
            }
        }
        storage(error)
    })
}
