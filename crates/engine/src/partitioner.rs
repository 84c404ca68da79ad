//! Which partition a record goes to: that of its key as Kafka's clients compute it, or for a while the same one at random.
//!
//! A while is `batch.size` bytes, whatever ended the batches that they were in (KIP-794): who waits for each record, or commits a few at a
//! time, never fills one.

use std::collections::BTreeMap;

use hanbeon_records::TopicId;

use crate::{Env, ProducerSettings, Record, Topic, client_settings::IgnoreKeys};

/// Chooses partitions for the records of one producer.
#[derive(Debug)]
pub(crate) struct Partitioner {
    ignore_keys: IgnoreKeys,
    batch_size: usize,
    /// Where records without a key stay, by topic.
    sticky: BTreeMap<TopicId, Sticky>,
}

/// The partition that records without a key stay on, and how many bytes of them it may still get.
#[derive(Debug)]
struct Sticky {
    partition: i32,
    left: usize,
}

impl Partitioner {
    pub(crate) const fn new(settings: &ProducerSettings) -> Self {
        let ProducerSettings { ignore_keys, batch_size, .. } = *settings;
        Self { ignore_keys, batch_size, sticky: BTreeMap::new() }
    }

    pub(crate) fn choose<E: Env>(&mut self, env: &E, topic: &Topic<E>, record: &Record) -> i32 {
        if let Some(partition) = record.partition {
            return partition;
        }
        let count = i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX);
        match &record.key {
            Some(key) if self.ignore_keys == IgnoreKeys::No => of_key(key, count),
            Some(_) | None => {
                let sticky =
                    self.sticky.entry(topic.id()).or_insert(Sticky { partition: 0, left: 0 });
                if sticky.left == 0 {
                    let partition = at_random(env.random(), count);
                    *sticky = Sticky { partition, left: self.batch_size.max(1) };
                }
                sticky.left = sticky.left.saturating_sub(record.size());
                sticky.partition
            }
        }
    }
}

/// Kafka's murmur2 (`org.apache.kafka.common.utils.Utils.murmur2`).
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    const SEED: u32 = 0x9747_b28c;
    // Java takes the length as an int; a key is never longer.
    let len = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let mut h = SEED ^ len;
    let (words, tail) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word);
        k = k.wrapping_mul(M);
        k ^= k >> 24;
        k = k.wrapping_mul(M);
        h = h.wrapping_mul(M) ^ k;
    }
    if !tail.is_empty() {
        for (at, byte) in tail.iter().enumerate() {
            h ^= u32::from(*byte) << (8 * at);
        }
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^ (h >> 15)
}

/// The partition of a key among `count` (`BuiltInPartitioner.partitionForKey`); 0 when there are none.
fn of_key(key: &[u8], count: i32) -> i32 {
    let positive = (murmur2(key) & 0x7fff_ffff).cast_signed();
    positive.checked_rem(count).unwrap_or(0)
}

/// The partition that records without a key stay on for a while.
fn at_random(random: u64, count: i32) -> i32 {
    let count = u64::try_from(count).unwrap_or(0);
    let chosen = random.checked_rem(count).unwrap_or(0);
    i32::try_from(chosen).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From Kafka's `UtilsTest.testMurmur2`.
    #[test]
    fn murmur2_is_kafkas() {
        for (text, expected) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ] {
            assert_eq!(murmur2(text.as_bytes()).cast_signed(), expected, "{text}");
        }
        assert_eq!(murmur2(b"abc").cast_signed(), 479_470_107);
    }

    #[test]
    fn partitions_are_in_range() {
        for count in 1..50 {
            for key in 0_u32..50 {
                assert!((0..count).contains(&of_key(&key.to_be_bytes(), count)));
                assert!((0..count).contains(&at_random(u64::from(key) << 40, count)));
            }
        }
    }
}
