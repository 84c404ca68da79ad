//! Rows to an immutable snapshot of the cluster.

use std::{collections::BTreeMap, sync::Arc};

use hanbeon_records::{
    ErrorCode, LeaderEpoch, NodeId, PartitionEpoch, ProducerId, TopicId, TopicName,
};

use crate::{
    Change, ClusterRow, ConfigScope, Configs, DoubtedIdsRow, Entry, FeaturesRow, Key,
    MetadataStore, OpeningsRow, PartitionRow, ProducerIdsRow, Range, Revision, Row, RowError,
    RowKey, StoreError, TopicNameRow, TopicRow, rows::epoch_at,
};

/// A row with the revision it was last put at, which guards the next change of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored<T> {
    /// The row.
    pub row: T,
    /// The token of a compare.
    pub modified: Revision,
}

/// A topic and its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its identity.
    pub id: TopicId,
    /// Its name.
    pub name: TopicName,
    /// How many replicas each partition was created with.
    pub replication_factor: i16,
    /// Its partitions; [`Image::check`] proves that none is missing.
    pub partitions: BTreeMap<i32, Partition>,
    /// How many partitions its row counts.
    pub partition_count: i32,
    /// When its row was last put.
    pub modified: Revision,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// All replicas; the first is the preferred leader.
    pub replicas: Vec<NodeId>,
    /// Those in sync.
    pub isr: Vec<NodeId>,
    /// Who leads, if anybody does.
    pub leader: Option<NodeId>,
    /// Leader epoch when the row was written; see [`Image::leader_epoch`] for the present one.
    pub row_leader_epoch: LeaderEpoch,
    /// Partition epoch when the row was written; see [`Image::partition_epoch`] for the present one.
    pub row_partition_epoch: PartitionEpoch,
    /// Openings of the data directory when the row was written.
    pub at_opening: i32,
    /// When its row was last put.
    pub modified: Revision,
}

/// A snapshot cannot be made of the rows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// A row does not read.
    #[error("{key}: {source}")]
    Row {
        /// Where it lies.
        key: Key,
        /// Why.
        source: RowError,
    },
    /// A topic's row counts other partitions than there are.
    #[error("topic {topic} has {expected} partitions, but rows for {found}")]
    Partitions {
        /// Which topic.
        topic: TopicName,
        /// What its row says.
        expected: i32,
        /// How many rows there are of partitions within that count.
        found: usize,
    },
    /// A name leads to a topic that has another name, or to none.
    #[error("the name {name} leads to topic id {id}, which does not have it")]
    Name {
        /// The name.
        name: TopicName,
        /// Where it leads.
        id: TopicId,
    },
}

impl ImageError {
    /// The code a client sees.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Row { .. } | Self::Partitions { .. } | Self::Name { .. } => {
                ErrorCode::KafkaStorageError
            }
        }
    }
}

/// All metadata at one revision. Topics are shared between snapshots, so that a new one costs little.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    revision: Revision,
    cluster: Option<Stored<ClusterRow>>,
    openings: Option<Stored<OpeningsRow>>,
    features: Option<Stored<FeaturesRow>>,
    producer_ids: Option<Stored<ProducerIdsRow>>,
    doubted_ids: Option<Stored<DoubtedIdsRow>>,
    topics: BTreeMap<TopicId, Arc<Topic>>,
    names: BTreeMap<TopicName, TopicId>,
    configs: BTreeMap<ConfigScope, Arc<Stored<Configs>>>,
    /// Partitions whose topic has no row yet: a creation in several transactions writes the topic last.
    early: BTreeMap<(TopicId, i32), Partition>,
}

impl Image {
    /// Reads everything in `store`.
    ///
    /// # Errors
    /// What the store reports, and [`StoreError::Image`] when the rows make no sense together.
    pub fn read(store: &(impl MetadataStore + ?Sized)) -> Result<Self, StoreError> {
        Ok(Self::of(&store.range("")?)?)
    }

    /// Makes a snapshot of all rows.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn of(range: &Range) -> Result<Self, ImageError> {
        let mut image = Self::default();
        for entry in &range.entries {
            image.put(entry)?;
        }
        image.revision = range.revision;
        image.check()?;
        Ok(image)
    }

    /// The snapshot after further changes, for whoever watches.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn advanced(&self, revision: Revision, changes: &[Change]) -> Result<Self, ImageError> {
        let mut next = self.clone();
        for change in changes {
            match change {
                Change::Put(entry) => next.put(entry)?,
                Change::Deleted(key) => next.deleted(key),
            }
        }
        next.revision = revision;
        next.check()?;
        Ok(next)
    }

    /// The revision it shows.
    #[must_use]
    pub const fn revision(&self) -> Revision {
        self.revision
    }

    /// The cluster, once it is founded.
    #[must_use]
    pub const fn cluster(&self) -> Option<&Stored<ClusterRow>> {
        self.cluster.as_ref()
    }

    /// How often the data directory was opened: 0 before the first [`crate::changes::begin_opening`].
    #[must_use]
    pub fn openings(&self) -> i32 {
        self.openings.as_ref().map_or(0, |stored| stored.row.count)
    }

    pub(crate) const fn openings_row(&self) -> Option<&Stored<OpeningsRow>> {
        self.openings.as_ref()
    }

    /// The levels of features; nothing in a directory that no release with features has opened yet.
    #[must_use]
    pub const fn features(&self) -> Option<&Stored<FeaturesRow>> {
        self.features.as_ref()
    }

    /// The next producer id to hand out, once any was.
    #[must_use]
    pub fn next_producer_id(&self) -> Option<ProducerId> {
        self.producer_ids.as_ref().map(|stored| stored.row.next)
    }

    /// The first producer id that no power cut has put in doubt.
    #[must_use]
    pub fn first_sure_producer_id(&self) -> ProducerId {
        self.doubted_ids.as_ref().map_or(ProducerId::new(0), |stored| stored.row.below)
    }

    pub(crate) const fn doubted_ids_row(&self) -> Option<&Stored<DoubtedIdsRow>> {
        self.doubted_ids.as_ref()
    }

    /// All topics, by name.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.names.values().filter_map(|id| self.topics.get(id))
    }

    /// The topic with this name.
    #[must_use]
    pub fn topic(&self, name: &TopicName) -> Option<&Arc<Topic>> {
        self.topics.get(self.names.get(name)?)
    }

    /// The topic with this id.
    #[must_use]
    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.topics.get(&id)
    }

    /// What was configured; nothing when nothing was.
    #[must_use]
    pub fn configs(&self, scope: &ConfigScope) -> Option<&BTreeMap<String, String>> {
        self.configs.get(scope).map(|stored| &stored.row.0)
    }

    /// All groups that something was configured for, by id.
    pub fn configured_groups(&self) -> impl Iterator<Item = (&str, &BTreeMap<String, String>)> {
        self.configs.iter().filter_map(|(scope, stored)| match scope {
            ConfigScope::Group(id) => Some((id.as_str(), &stored.row.0)),
            ConfigScope::Topic(_) | ConfigScope::Broker(_) | ConfigScope::Brokers => None,
        })
    }

    /// When configs were last put; the token of a compare.
    #[must_use]
    pub fn configs_modified(&self, scope: &ConfigScope) -> Option<Revision> {
        self.configs.get(scope).map(|stored| stored.modified)
    }

    /// The leader epoch of a partition now: its row's, and one more for each opening since.
    #[must_use]
    pub fn leader_epoch(&self, partition: &Partition) -> LeaderEpoch {
        LeaderEpoch::new(self.epoch_now(partition.row_leader_epoch.get(), partition.at_opening))
    }

    /// The partition epoch of a partition now: its row's, and one more for each opening since.
    #[must_use]
    pub fn partition_epoch(&self, partition: &Partition) -> PartitionEpoch {
        PartitionEpoch::new(
            self.epoch_now(partition.row_partition_epoch.get(), partition.at_opening),
        )
    }

    fn epoch_now(&self, at_row: i32, at_opening: i32) -> i32 {
        epoch_at(self.openings(), at_row, at_opening)
    }

    /// Whether names, topics and partitions fit together. [`Image::of`] and [`Image::advanced`] call it.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn check(&self) -> Result<(), ImageError> {
        for (name, id) in &self.names {
            if self.topics.get(id).is_none_or(|topic| topic.name != *name) {
                return Err(ImageError::Name { name: name.clone(), id: *id });
            }
        }
        for topic in self.topics.values() {
            let expected = topic.partition_count;
            let found = topic.partitions.range(0..expected.max(0)).count();
            if i32::try_from(found) != Ok(expected) {
                return Err(ImageError::Partitions { topic: topic.name.clone(), expected, found });
            }
        }
        Ok(())
    }

    fn put(&mut self, entry: &Entry) -> Result<(), ImageError> {
        match RowKey::parse(&entry.key) {
            Some(RowKey::Cluster) => self.cluster = Some(stored(entry)?),
            Some(RowKey::Openings) => self.openings = Some(stored(entry)?),
            Some(RowKey::Features) => self.features = Some(stored(entry)?),
            Some(RowKey::ProducerIds) => self.producer_ids = Some(stored(entry)?),
            Some(RowKey::DoubtedIds) => self.doubted_ids = Some(stored(entry)?),
            Some(RowKey::Topic(id)) => self.put_topic(id, stored(entry)?),
            Some(RowKey::TopicName(name)) => {
                self.names.insert(name, stored::<TopicNameRow>(entry)?.row.id);
            }
            Some(RowKey::Partition(id, number)) => self.put_partition(id, number, stored(entry)?),
            Some(RowKey::Configs(scope)) => {
                self.configs.insert(scope, Arc::new(stored(entry)?));
            }
            // Sessions and registrations of brokers: not of the image's making.
            None => {}
        }
        Ok(())
    }

    fn put_topic(&mut self, id: TopicId, Stored { row, modified }: Stored<TopicRow>) {
        let mut partitions = match self.topics.remove(&id) {
            Some(topic) => Arc::unwrap_or_clone(topic).partitions,
            None => BTreeMap::new(),
        };
        let mut early = self.early.split_off(&(id, i32::MIN));
        while let Some(first) = early.first_entry().filter(|first| first.key().0 == id) {
            let ((_, number), partition) = first.remove_entry();
            partitions.insert(number, partition);
        }
        self.early.append(&mut early);
        let TopicRow { name, partition_count, replication_factor } = row;
        let topic = Topic { id, name, replication_factor, partitions, partition_count, modified };
        self.topics.insert(id, Arc::new(topic));
    }

    fn put_partition(&mut self, id: TopicId, number: i32, stored: Stored<PartitionRow>) {
        let Stored { row, modified } = stored;
        let partition = Partition {
            replicas: row.replicas,
            isr: row.isr,
            leader: row.leader,
            row_leader_epoch: row.leader_epoch,
            row_partition_epoch: row.partition_epoch,
            at_opening: row.at_opening,
            modified,
        };
        match self.topics.get_mut(&id) {
            Some(topic) => {
                Arc::make_mut(topic).partitions.insert(number, partition);
            }
            None => {
                self.early.insert((id, number), partition);
            }
        }
    }

    fn deleted(&mut self, key: &Key) {
        match RowKey::parse(key) {
            Some(RowKey::Cluster) => self.cluster = None,
            Some(RowKey::Openings) => self.openings = None,
            Some(RowKey::Features) => self.features = None,
            Some(RowKey::ProducerIds) => self.producer_ids = None,
            Some(RowKey::DoubtedIds) => self.doubted_ids = None,
            Some(RowKey::Topic(id)) => {
                self.topics.remove(&id);
            }
            Some(RowKey::TopicName(name)) => {
                self.names.remove(&name);
            }
            Some(RowKey::Partition(id, number)) => {
                self.early.remove(&(id, number));
                if let Some(topic) = self.topics.get_mut(&id) {
                    Arc::make_mut(topic).partitions.remove(&number);
                }
            }
            Some(RowKey::Configs(scope)) => {
                self.configs.remove(&scope);
            }
            None => {}
        }
    }
}

fn stored<T: Row>(entry: &Entry) -> Result<Stored<T>, ImageError> {
    match T::decode(&entry.value) {
        Ok(row) => Ok(Stored { row, modified: entry.modified }),
        Err(source) => Err(ImageError::Row { key: entry.key.clone(), source }),
    }
}
