//! The offsets of one group: committed, and pending inside transactions (KIP-98, 447).

use alloc::{collections::BTreeMap, vec::Vec};

use hanbeon_records::{Offset, Outcome, ProducerId};

use crate::{Name, record::OffsetValue};

/// An offset and where in the log it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) position: Offset,
    pub(crate) value: OffsetValue,
}

type ByPartition = BTreeMap<Name, BTreeMap<i32, Stored>>;

/// All offsets of one group.
#[derive(Debug, Default)]
pub(crate) struct Offsets {
    committed: ByPartition,
    pending: BTreeMap<ProducerId, ByPartition>,
}

fn put(into: &mut ByPartition, topic: Name, partition: i32, stored: Stored) {
    let partitions = into.entry(topic).or_default();
    // The place in the log decides which of two commits is the later, not the moment it is heard of.
    let newer = partitions.get(&partition).is_none_or(|old| old.position < stored.position);
    if newer {
        partitions.insert(partition, stored);
    }
}

fn forget(from: &mut ByPartition, topic: &Name, partition: i32) {
    if let Some(partitions) = from.get_mut(topic) {
        partitions.remove(&partition);
        if partitions.is_empty() {
            from.remove(topic);
        }
    }
}

impl Offsets {
    pub(crate) fn commit(&mut self, topic: Name, partition: i32, stored: Stored) {
        put(&mut self.committed, topic, partition, stored);
    }

    pub(crate) fn pend(
        &mut self,
        producer_id: ProducerId,
        topic: Name,
        partition: i32,
        stored: Stored,
    ) {
        put(self.pending.entry(producer_id).or_default(), topic, partition, stored);
    }

    /// Forgets the offset, also where a transaction would bring it back with its end.
    pub(crate) fn forget(&mut self, topic: &Name, partition: i32) {
        forget(&mut self.committed, topic, partition);
        for pending in self.pending.values_mut() {
            forget(pending, topic, partition);
        }
        self.pending.retain(|_, pending| !pending.is_empty());
    }

    /// The transaction of `producer_id` was ended by a marker at `position`: what stands before it is decided.
    pub(crate) fn end(&mut self, producer_id: ProducerId, outcome: Outcome, position: Offset) {
        let Some(pending) = self.pending.remove(&producer_id) else { return };
        for (topic, partitions) in pending {
            for (partition, stored) in partitions {
                if stored.position >= position {
                    self.pend(producer_id, topic.clone(), partition, stored);
                } else if outcome == Outcome::Commit {
                    put(&mut self.committed, topic.clone(), partition, stored);
                }
            }
        }
    }

    pub(crate) fn get(&self, topic: &Name, partition: i32) -> Option<&OffsetValue> {
        self.committed.get(topic)?.get(&partition).map(|stored| &stored.value)
    }

    pub(crate) fn is_pending(&self, topic: &Name, partition: i32) -> bool {
        self.pending
            .values()
            .any(|pending| pending.get(topic).is_some_and(|p| p.contains_key(&partition)))
    }

    /// Whether a transaction holds an offset of this group.
    pub(crate) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.committed.is_empty() && self.pending.is_empty()
    }

    /// Committed offsets by topic and partition.
    pub(crate) fn committed(&self) -> impl Iterator<Item = (&Name, i32, &OffsetValue)> {
        self.committed.iter().flat_map(|(topic, partitions)| {
            partitions.iter().map(move |(partition, stored)| (topic, *partition, &stored.value))
        })
    }

    /// Every partition with an offset, committed or pending, once.
    pub(crate) fn partitions(&self) -> Vec<(Name, i32)> {
        let mut all: Vec<_> = core::iter::once(&self.committed)
            .chain(self.pending.values())
            .flat_map(|by_partition| {
                by_partition.iter().flat_map(|(topic, partitions)| {
                    partitions.keys().map(move |partition| (topic.clone(), *partition))
                })
            })
            .collect();
        all.sort();
        all.dedup();
        all
    }

    /// The partitions all of whose offsets are such, committed and pending.
    pub(crate) fn partitions_of_which_all(
        &self,
        are: impl Fn(&Name, &OffsetValue) -> bool,
    ) -> Vec<(Name, i32)> {
        let mut found: BTreeMap<(&Name, i32), bool> = BTreeMap::new();
        for by_partition in core::iter::once(&self.committed).chain(self.pending.values()) {
            for (topic, partitions) in by_partition {
                for (partition, stored) in partitions {
                    *found.entry((topic, *partition)).or_insert(true) &= are(topic, &stored.value);
                }
            }
        }
        let all = found.into_iter().filter(|(_, all)| *all);
        all.map(|((topic, partition), _)| (topic.clone(), partition)).collect()
    }

    /// The partitions of `topic` with an offset, committed or pending, once.
    pub(crate) fn partitions_of(&self, topic: &Name) -> Vec<i32> {
        let mut all: Vec<_> = core::iter::once(&self.committed)
            .chain(self.pending.values())
            .filter_map(|by_partition| by_partition.get(topic))
            .flat_map(|partitions| partitions.keys().copied())
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}
