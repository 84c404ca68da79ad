//! How many records a reader has before it: records, not offsets.
//!
//! The usual lag, log end minus position, counts markers, aborted records and holes left by compaction: a consumer of a transactional topic
//! that has read everything still seems to be behind. Here what it will never get is not counted.

use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc};

use hanbeon_group::{Fetch, FetchWhat, ListFilter, Name, Stability};
use hanbeon_log::{FirstBatch, Isolation};
use hanbeon_records::{BatchRef, Offset, TopicPartition};

use crate::{
    Engine, Env, GroupsError, Image, PartitionError, PartitionHandle, aborted::Aborted,
    coordinators::Shard,
};

/// Bytes looked at at once.
const READ_BYTES: usize = 4 << 20;

/// What lies before a reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Records it will get.
    pub records: u64,
    /// Offsets between its position and the end it may see: what other tools call lag.
    pub offsets: u64,
    /// Offsets beyond that end, held back by open transactions.
    pub undecided: u64,
}

/// What lies before a group on one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupLag {
    /// Where.
    pub partition: TopicPartition,
    /// Its committed offset.
    pub committed: Offset,
    /// What lies before it.
    pub lag: Lag,
}

/// How far a group is behind on one partition, by offsets alone: markers, aborted records and holes count. Where that matters, [`Engine::group_lag`]
/// counts records.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OffsetLag {
    /// Offsets from the one that the group has committed to the end that a reader of committed data may see.
    pub offsets: u64,
    /// The group.
    pub group: Name,
    /// Where.
    pub partition: TopicPartition,
}

/// The groups that are furthest behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LargestLags {
    /// Each on one partition, the largest lag first.
    pub lags: Vec<OffsetLag>,
    /// How many smaller ones are not told.
    pub left_out: usize,
}

impl<E: Env> PartitionHandle<E> {
    /// Counts what a reader at `from` has before it. Looks at the head of every batch in between.
    ///
    /// # Errors
    /// `from` is not in the log, or the log does not read.
    pub fn lag(&self, from: Offset, isolation: Isolation) -> Result<Lag, PartitionError> {
        let opened = self.opened()?;
        let (stable, committed) = (opened.log.last_stable_offset(), opened.log.high_watermark());
        let end = match isolation {
            Isolation::Committed => stable,
            Isolation::Uncommitted => committed,
            Isolation::LogEnd => opened.log.log_end_offset(),
        };
        let from = from.max(opened.log.log_start_offset());
        let distance = |a: Offset, b: Offset| u64::try_from(b.since(a)).unwrap_or(0);
        let mut lag =
            Lag { records: 0, offsets: distance(from, end), undecided: distance(end, committed) };
        let mut aborted = Aborted::default();
        let mut at = from;
        while at < end {
            let read = opened.log.read(at, isolation, READ_BYTES, FirstBatch::Whole)?;
            aborted.expect(read.aborted.unwrap_or_default());
            let before = at;
            let mut rest: &[u8] = &read.records;
            while let Ok((batch, behind)) = BatchRef::parse(rest) {
                rest = behind;
                if batch.next_offset() <= at {
                    continue;
                }
                if !aborted.hides(batch) {
                    lag.records = lag.records.saturating_add(records_from(batch, from));
                }
                at = batch.next_offset();
            }
            if at == before {
                break;
            }
        }
        Ok(lag)
    }
}

/// Records of a batch at `from` or later. One that compaction has thinned is counted by its number of records.
fn records_from(batch: BatchRef<'_>, from: Offset) -> u64 {
    let count = u64::try_from(batch.record_count()).unwrap_or(0);
    let skipped = u64::try_from(from.since(batch.base_offset())).unwrap_or(0);
    count.saturating_sub(skipped)
}

impl<E: Env> Engine<E> {
    /// What lies before a group on each partition that it has committed an offset of, for a reader of this isolation.
    ///
    /// # Errors
    /// The group's coordinator does not answer. Partitions that do not exist or fail are left out.
    pub async fn group_lag(
        &self,
        group: &Name,
        isolation: Isolation,
    ) -> Result<Vec<GroupLag>, GroupsError> {
        let fetch = Fetch {
            group: group.clone(),
            member: None,
            stability: Stability::NotRequired,
            what: FetchWhat::All,
        };
        let fetched = self.groups().fetch_offsets(fetch).await?;
        let lags = fetched.into_iter().filter_map(|fetched| {
            let committed = fetched.committed?.offset;
            let handle = self.partition(fetched.topic.as_str(), fetched.partition).ok()?;
            let lag = handle.lag(committed, isolation).ok()?;
            Some(GroupLag { partition: handle.0.name.clone(), committed, lag })
        });
        Ok(lags.collect())
    }

    /// The `limit` largest lags of groups, for whoever watches over them. Coordinators that have not read their logs, and partitions that are not open,
    /// are left alone; none is read for this.
    #[must_use]
    pub fn largest_lags(&self, limit: usize) -> LargestLags {
        let shared = self.shared();
        let mut largest =
            Largest { limit, image: self.image(), heap: BinaryHeap::new(), left_out: 0 };
        for shard in shared.group_shards().unwrap_or_default() {
            // Held for one group at a time, and while nothing is looked up: members are waiting for it.
            let loaded = || shard.is_loaded().then(|| shard.loaded(shared).ok()).flatten();
            let listed =
                loaded().and_then(|groups| groups.coordinator.list(&ListFilter::default()).ok());
            for listed in listed.unwrap_or_default() {
                let fetch = Fetch {
                    group: listed.group,
                    member: None,
                    stability: Stability::NotRequired,
                    what: FetchWhat::All,
                };
                let fetched =
                    loaded().and_then(|groups| groups.coordinator.fetch_offsets(&fetch).ok());
                for fetched in fetched.unwrap_or_default() {
                    if let Some(committed) = fetched.committed {
                        let topic = fetched.topic.as_str();
                        largest.add(&fetch.group, topic, fetched.partition, committed.offset);
                    }
                }
            }
        }
        let Largest { heap, left_out, .. } = largest;
        let lags = heap.into_sorted_vec().into_iter().map(|Reverse(lag)| lag).collect();
        LargestLags { lags, left_out }
    }
}

/// The largest lags so far.
struct Largest<E: Env> {
    limit: usize,
    image: Arc<Image<E>>,
    heap: BinaryHeap<Reverse<OffsetLag>>,
    left_out: usize,
}

impl<E: Env> Largest<E> {
    fn add(&mut self, group: &Name, topic: &str, partition: i32, committed: Offset) {
        let handle = self.image.topic(topic).and_then(|topic| topic.partition(partition));
        let Some((handle, opened)) = handle.and_then(|handle| Some((handle, handle.if_open()?)))
        else {
            return;
        };
        let behind = opened.log.last_stable_offset().since(committed);
        let offsets = u64::try_from(behind).unwrap_or(0);
        if self.heap.len() >= self.limit {
            self.left_out += 1;
            let is_larger = |Reverse(least): &Reverse<OffsetLag>| {
                let least = (least.offsets, &least.group, &least.partition);
                (offsets, group, &handle.0.name) > least
            };
            // The heap has the least of them at its top.
            if !self.heap.peek().is_some_and(is_larger) {
                return;
            }
            self.heap.pop();
        }
        let partition = handle.0.name.clone();
        self.heap.push(Reverse(OffsetLag { offsets, group: group.clone(), partition }));
    }
}
