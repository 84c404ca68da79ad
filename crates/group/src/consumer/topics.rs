//! What a group must know of topics.

use alloc::{
    boxed::Box,
    collections::BTreeMap,
    string::{String, ToString},
};

use hanbeon_records::TopicId;
use xxhash_rust::xxh3::Xxh3;

/// One topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its identity.
    pub id: TopicId,
    /// How many partitions it has.
    pub partitions: i32,
}

/// The topics of the cluster as they are at one moment; the shell lends it to each question.
pub trait TopicsImage {
    /// Another number for each change of the topics: what was looked up under one version need not be looked up again.
    fn version(&self) -> i64;

    /// The topic of that name.
    fn topic(&self, name: &str) -> Option<Topic>;

    /// The name of that topic.
    fn name(&self, id: TopicId) -> Option<&str>;

    /// The names that a subscription by expression can stand for, in ascending order of their bytes: those of topics that the group may
    /// see. They are looked at a few at a time, and the topics may change in between.
    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_>;
}

/// The hash by which a group tells that one of its topics changed (KIP-1101), with Kafka's own value, so that a group that goes from
/// one broker to the other is not rebalanced for it. 0 without a topic.
///
/// XXH3-64 of the topics' hashes by name; a topic's is XXH3-64 of a zero, its id, its name in UTF-16 with its length, and its
/// partitions with their racks. Racks are left out here: no assignor looks at them.
pub(crate) fn metadata_hash<'a>(
    names: impl Iterator<Item = &'a str>,
    topics: &dyn TopicsImage,
) -> i64 {
    let mut of_group = Xxh3::new();
    let mut empty = true;
    for name in names {
        if let Some(topic) = topics.topic(name) {
            of_group.update(&topic_hash(name, topic).to_le_bytes());
            empty = false;
        }
    }
    if empty { 0 } else { of_group.digest().cast_signed() }
}

fn topic_hash(name: &str, topic: Topic) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&[0]);
    let id = u128::from_be_bytes(topic.id.get());
    let [low, high] = [id & u128::from(u64::MAX), id >> 64];
    for half in [high, low] {
        let bytes = half.to_le_bytes();
        hash.update(bytes.first_chunk::<8>().map_or(&[], |half| half.as_slice()));
    }
    let mut len: u32 = 0;
    for unit in name.encode_utf16() {
        hash.update(&unit.to_le_bytes());
        len = len.wrapping_add(1);
    }
    hash.update(&len.to_le_bytes());
    hash.update(&topic.partitions.to_le_bytes());
    for partition in 0..topic.partitions {
        hash.update(&partition.to_le_bytes());
    }
    hash.digest()
}

/// An image over a list, for tests and for programs whose topics do not change.
#[derive(Clone, Debug, Default)]
pub struct TopicList {
    version: i64,
    topics: BTreeMap<String, Topic>,
}

impl TopicList {
    /// Adds a topic, or changes the one of that name.
    pub fn put(&mut self, name: &str, topic: Topic) {
        self.version = self.version.wrapping_add(1);
        self.topics.insert(name.to_string(), topic);
    }

    /// Takes a topic away.
    pub fn remove(&mut self, name: &str) {
        self.version = self.version.wrapping_add(1);
        self.topics.remove(name);
    }
}

impl TopicsImage for TopicList {
    fn version(&self) -> i64 {
        self.version
    }

    fn topic(&self, name: &str) -> Option<Topic> {
        self.topics.get(name).copied()
    }

    fn name(&self, id: TopicId) -> Option<&str> {
        self.topics.iter().find(|(_, topic)| topic.id == id).map(|(name, _)| name.as_str())
    }

    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.topics.keys().map(String::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_one_topic_is_the_one_kafka_wrote() {
        let mut topics = TopicList::default();
        let id = "aElRgSOgS6iTxlbn-_zXSg".parse().unwrap();
        topics.put("grp", Topic { id, partitions: 2 });
        assert_eq!(metadata_hash(["grp"].into_iter(), &topics), 8_399_181_349_573_809_808);
        assert_eq!(metadata_hash(["other"].into_iter(), &topics), 0, "no such topic");
    }
}
