//! Sets of partitions by topic, and what a member holds with the epoch at which it got it.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use hanbeon_records::TopicId;

use crate::record::consumer::{AssignedPartitions, TopicPartitions};

/// A set of partitions, ordered by topic id and number. No topic in it is without a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partitions(BTreeMap<TopicId, BTreeSet<i32>>);

impl Partitions {
    /// No partition.
    #[must_use]
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Adds a partition; `false` when it was there.
    pub fn insert(&mut self, topic: TopicId, partition: i32) -> bool {
        self.0.entry(topic).or_default().insert(partition)
    }

    /// Takes a partition out; `false` when it was not there.
    pub fn remove(&mut self, topic: TopicId, partition: i32) -> bool {
        let Some(of_topic) = self.0.get_mut(&topic) else { return false };
        let removed = of_topic.remove(&partition);
        if of_topic.is_empty() {
            self.0.remove(&topic);
        }
        removed
    }

    /// Whether a partition is in it.
    #[must_use]
    pub fn contains(&self, topic: TopicId, partition: i32) -> bool {
        self.0.get(&topic).is_some_and(|of_topic| of_topic.contains(&partition))
    }

    /// The partitions one by one, in order.
    pub fn iter(&self) -> impl Iterator<Item = (TopicId, i32)> + '_ {
        self.0.iter().flat_map(|(topic, of_topic)| of_topic.iter().map(|number| (*topic, *number)))
    }

    /// The partitions by topic, in order.
    pub fn topics(&self) -> impl Iterator<Item = (TopicId, &BTreeSet<i32>)> + '_ {
        self.0.iter().map(|(topic, of_topic)| (*topic, of_topic))
    }

    /// Those of one topic.
    pub(crate) fn of_topic(&self, topic: TopicId) -> impl DoubleEndedIterator<Item = i32> + '_ {
        self.0.get(&topic).into_iter().flatten().copied()
    }

    /// How many partitions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.values().map(BTreeSet::len).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As a record says it.
    pub(crate) fn to_topics(&self) -> Vec<TopicPartitions> {
        let topic = |(topic, of_topic): (TopicId, &BTreeSet<i32>)| TopicPartitions {
            topic_id: topic,
            partitions: of_topic.iter().copied().collect(),
        };
        self.topics().map(topic).collect()
    }
}

impl FromIterator<(TopicId, i32)> for Partitions {
    fn from_iter<I: IntoIterator<Item = (TopicId, i32)>>(partitions: I) -> Self {
        let mut set = Self::new();
        for (topic, partition) in partitions {
            set.insert(topic, partition);
        }
        set
    }
}

impl From<&[TopicPartitions]> for Partitions {
    fn from(topics: &[TopicPartitions]) -> Self {
        let of_topic = |topic: &TopicPartitions| {
            let id = topic.topic_id;
            topic.partitions.clone().into_iter().map(move |partition| (id, partition))
        };
        topics.iter().flat_map(of_topic).collect()
    }
}

/// Partitions that a member holds, each with the member epoch at which it was assigned (KIP-1251).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held(BTreeMap<TopicId, BTreeMap<i32, i32>>);

impl Held {
    pub(crate) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    pub(crate) fn insert(&mut self, topic: TopicId, partition: i32, epoch: i32) {
        self.0.entry(topic).or_default().insert(partition, epoch);
    }

    pub(crate) fn epoch(&self, topic: TopicId, partition: i32) -> Option<i32> {
        self.0.get(&topic)?.get(&partition).copied()
    }

    pub(crate) fn contains(&self, topic: TopicId, partition: i32) -> bool {
        self.epoch(topic, partition).is_some()
    }

    /// Topic, partition and epoch, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (TopicId, i32, i32)> + '_ {
        self.0.iter().flat_map(|(topic, of_topic)| {
            of_topic.iter().map(|(number, at)| (*topic, *number, *at))
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Without the epochs.
    pub(crate) fn partitions(&self) -> Partitions {
        self.iter().map(|(topic, partition, _)| (topic, partition)).collect()
    }

    /// Whether it holds the same partitions, whenever they came.
    pub(crate) fn same_partitions(&self, other: &Self) -> bool {
        self.iter().map(|(t, p, _)| (t, p)).eq(other.iter().map(|(t, p, _)| (t, p)))
    }

    pub(crate) fn to_record(&self) -> Vec<AssignedPartitions> {
        let topic = |(topic, of_topic): (&TopicId, &BTreeMap<i32, i32>)| AssignedPartitions {
            topic_id: *topic,
            partitions: of_topic.keys().copied().collect(),
            assignment_epochs: Some(of_topic.values().copied().collect()),
        };
        self.0.iter().map(topic).collect()
    }

    /// Reads what a record says; a record without assignment epochs, or with another number of them than partitions, means the
    /// member's epoch, which is the strict reading.
    pub(crate) fn from_record(topics: &[AssignedPartitions], member_epoch: i32) -> Self {
        let mut held = Self::new();
        for topic in topics {
            let epochs = topic.assignment_epochs.as_deref().unwrap_or_default();
            let epochs = if epochs.len() == topic.partitions.len() { epochs } else { &[] };
            for (at, partition) in topic.partitions.iter().enumerate() {
                let epoch = epochs.get(at).copied().unwrap_or(member_epoch);
                held.insert(topic.topic_id, *partition, epoch);
            }
        }
        held
    }
}
