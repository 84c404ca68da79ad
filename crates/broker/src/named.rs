//! Topics and partitions as Produce and Fetch name them. A name may be as long as a text can be, and partitions are many: each topic is
//! looked at once, however many of its partitions are named.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use hanbeon::{Env, Image, PartitionHandle, Topic};
use hanbeon_records::ErrorCode;
use hanbeon_wire::TopicRef;

/// The topic that a request means.
///
/// # Errors
/// The code for each partition that the request names of it.
pub(crate) fn topic<'i, E: Env>(
    image: &'i Image<E>,
    named: TopicRef<'_>,
) -> Result<&'i Arc<Topic<E>>, ErrorCode> {
    match named {
        TopicRef::Name(name) => image.topic(name).ok_or(ErrorCode::UnknownTopicOrPartition),
        TopicRef::Id(id) => image.topic_by_id(id).ok_or(ErrorCode::UnknownTopicId),
    }
}

/// What stands there more than once.
pub(crate) fn repeated<T: Ord + Clone>(all: impl IntoIterator<Item = T>) -> BTreeSet<T> {
    let mut seen = BTreeSet::new();
    all.into_iter().filter(|one| !seen.insert(one.clone())).collect()
}

/// Adds those of a topic's partitions whose logs are not open yet.
pub(crate) fn add_unopened<E: Env>(
    to: &mut Vec<PartitionHandle<E>>,
    topic: &Topic<E>,
    partitions: impl Iterator<Item = i32>,
) {
    let found = partitions.filter_map(|index| topic.partition(index));
    to.extend(found.filter(|partition| !partition.is_open()).cloned());
}

/// Whether writes to any of them are held up.
pub(crate) fn any_slow<E: Env>(
    topic: &Topic<E>,
    mut partitions: impl Iterator<Item = i32>,
) -> bool {
    partitions.any(|index| topic.partition(index).is_some_and(PartitionHandle::is_slow))
}

/// Where partitions stand in a request that may name a topic, and a partition, more than once.
#[derive(Default)]
pub(crate) struct Places<'a> {
    topics: BTreeMap<TopicRef<'a>, TopicPlace>,
    partitions: BTreeMap<(TopicPlace, i32), usize>,
}

/// Stands for a topic of a request in comparisons.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TopicPlace(usize);

impl<'a> Places<'a> {
    /// The same for each entry of a topic.
    pub(crate) fn topic(&mut self, topic: TopicRef<'a>) -> TopicPlace {
        let next = TopicPlace(self.topics.len());
        *self.topics.entry(topic).or_insert(next)
    }

    /// The place at which a partition stood first, when it is not this one.
    pub(crate) fn earlier(&mut self, topic: TopicPlace, index: i32, place: usize) -> Option<usize> {
        let first = *self.partitions.entry((topic, index)).or_insert(place);
        (first != place).then_some(first)
    }
}
