//! One partition: its log, its leader, and who waits for it.

mod opening;

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use bytes::Bytes;
use hanbeon_idempotence::ProducerView;
use hanbeon_log::{
    Abandoned, AbortedTxn, Checked, Completion, CompressionType, Durability, EpochEnd, FirstBatch,
    FoundOffset, Isolation, LogConfig, LogError, Partition, SegmentView, TimeQuery,
    sync::{AtomicBool, AtomicI64, AtomicU8, Mutex, Ordering},
};
use hanbeon_records::{LeaderEpoch, Millis, Offset, TopicId, TopicName, TopicPartition};
use hanbeon_replica::{
    Acks, Input, Leader, LogBounds, ReplicaError, Settled, WaiterId, check_epoch,
};

use opening::Failure;

use crate::{
    AbortedData, Env, PartitionError, System,
    aborted::leave_out,
    dirty::{Asked, DirtySince},
    ground::{Ground, Helpers},
    metrics::TopicMetrics,
    pace::Pace,
    waiters::{End, Ends, Parking},
};

/// A cheap handle on one partition; clones are the same partition.
///
/// The log is opened, and after a crash recovered, when it is first touched: [`PartitionHandle::is_open`] says whether a
/// call can take long for that reason, [`PartitionHandle::open`] does it ahead of time.
pub struct PartitionHandle<E: Env = System>(pub(crate) Arc<Inner<E>>);

pub(crate) struct Inner<E: Env> {
    pub(crate) ground: Arc<Ground<E>>,
    pub(crate) name: TopicPartition,
    pub(crate) topic_id: TopicId,
    /// The epoch that the rows gave it when the directory was opened. A log that has it already is led in one above those that it has.
    leader_epoch: LeaderEpoch,
    pub(crate) metrics: Arc<TopicMetrics>,
    pub(crate) parking: Parking,
    pub(crate) pace: Pace,
    config: Mutex<LogConfig>,
    opened: OnceLock<Opened<E>>,
    /// Held while the log is opened.
    opening: Mutex<()>,
    /// Why the log could not be opened. Never locked for long.
    failed: Mutex<Option<Failure>>,
    life: AtomicU8,
}

/// The lives of a partition.
const LIVE: u8 = 0;
const DELETED: u8 = 1;
const SHUT: u8 = 2;

/// A partition whose log is open.
pub(crate) struct Opened<E: Env> {
    pub(crate) log: Partition<E::Dir>,
    /// Where the log ended when it was opened.
    pub(crate) found_end: Offset,
    leader_epoch: LeaderEpoch,
    leader: Mutex<Leader>,
    /// Everything below is known to be durable.
    durable: AtomicI64,
    flush_messages: AtomicI64,
    flush_ms: AtomicI64,
    /// Kept where somebody will ask.
    dirty_since: DirtySince,
    /// Whether a helper is asked to sync it.
    asked: Asked,
    /// Whether damage was found that the recovery point on disk is not above yet.
    pub(crate) doubted: AtomicBool,
}

/// What a look at checksums has brought to light.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Found {
    Nothing,
    /// Told, and left in place.
    Damage,
}

/// What a reader asks one partition for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchSpec {
    /// First offset wanted.
    pub from: Offset,
    /// What the reader may see.
    pub isolation: Isolation,
    /// What becomes of aborted data, for a reader of committed data.
    pub aborted_data: AbortedData,
    /// Bytes at most.
    pub max_bytes: usize,
    /// Whether a first batch larger than `max_bytes` comes whole.
    pub first_batch: FirstBatch,
    /// The leader epoch the reader believes in.
    pub current_leader_epoch: Option<LeaderEpoch>,
    /// The leader epoch of the last record the reader has.
    pub last_fetched_epoch: Option<LeaderEpoch>,
}

impl FetchSpec {
    /// Everything committed from `from` on, about 1 MiB of it.
    #[must_use]
    pub const fn from(from: Offset) -> Self {
        Self {
            from,
            isolation: Isolation::Uncommitted,
            aborted_data: AbortedData::Listed,
            max_bytes: 1 << 20,
            first_batch: FirstBatch::Whole,
            current_leader_epoch: None,
            last_fetched_epoch: None,
        }
    }
}

/// What a reader gets.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Batches; the first may begin below the offset asked for, the last may be cut short.
    pub records: Bytes,
    /// Exclusive end of what is committed.
    pub high_watermark: Offset,
    /// Exclusive end of what no open transaction holds back.
    pub last_stable_offset: Offset,
    /// First offset in the log.
    pub log_start_offset: Offset,
    /// Aborted transactions among the records, by first offset, for a `read_committed` reader; `None` for others.
    pub aborted: Option<Vec<AbortedTxn>>,
    /// Where the reader's log parts from this one; no records then.
    pub diverging: Option<EpochEnd>,
}

/// Resolves when a partition has data beyond an offset, or is closed. A future for any executor; deadlines are the
/// caller's. Dropping it takes the waiter back.
#[must_use]
pub struct DataFuture<E: Env = System> {
    partition: PartitionHandle<E>,
    end: End,
    goal: Offset,
    seat: Option<WaiterId>,
}

/// What a partition is made with.
pub(crate) struct NewPartition {
    pub(crate) name: TopicPartition,
    pub(crate) topic_id: TopicId,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) config: LogConfig,
}

impl<E: Env> PartitionHandle<E> {
    pub(crate) fn new(
        ground: &Arc<Ground<E>>,
        metrics: &Arc<TopicMetrics>,
        new: NewPartition,
    ) -> Self {
        Self(Arc::new(Inner {
            ground: Arc::clone(ground),
            name: new.name,
            topic_id: new.topic_id,
            leader_epoch: new.leader_epoch,
            metrics: Arc::clone(metrics),
            parking: Parking::default(),
            pace: Pace::default(),
            config: Mutex::new(new.config),
            opened: OnceLock::new(),
            opening: Mutex::new(()),
            failed: Mutex::new(None),
            life: AtomicU8::new(LIVE),
        }))
    }

    /// The topic's name.
    #[must_use]
    pub fn topic(&self) -> &TopicName {
        &self.0.name.topic
    }

    /// The topic's identity.
    #[must_use]
    pub fn topic_id(&self) -> TopicId {
        self.0.topic_id
    }

    /// The partition's number.
    #[must_use]
    pub fn number(&self) -> i32 {
        self.0.name.partition
    }

    /// The epoch this node leads the partition in. Does not open the log; opening it raises the epoch where somebody else has written
    /// in this one or a later one.
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.if_open().map_or(self.0.leader_epoch, |opened| opened.leader_epoch)
    }

    /// Whether the log is open already, or offline and not tried again yet, so that no call has to recover it first.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0.opened.get().is_some() || self.0.failure().is_some()
    }

    /// What its settings say about compression; does not open the log.
    #[must_use]
    pub fn compression_type(&self) -> CompressionType {
        self.0.config.lock().compression_type
    }

    /// Whether the log could not be opened when that was tried last, so that every call says so. Where it was a file or directory that could not be
    /// opened, for want of descriptors perhaps, a call some seconds later tries again.
    #[must_use]
    pub fn is_offline(&self) -> bool {
        self.0.failed.lock().is_some()
    }

    /// Opens an offline log once more: what kept it closed may be mended.
    ///
    /// # Errors
    /// As [`PartitionHandle::open`].
    pub fn reopen(&self) -> Result<(), PartitionError> {
        self.0.failed.lock().take();
        self.open()
    }

    /// Opens the log if it is not open.
    ///
    /// # Errors
    /// The log cannot be opened; the partition stays offline and says so at every call.
    pub fn open(&self) -> Result<(), PartitionError> {
        self.opened().map(drop)
    }

    /// Reads.
    ///
    /// # Errors
    /// An offset outside the log, another leader epoch, or a failing log.
    pub fn fetch(&self, spec: &FetchSpec) -> Result<Fetched, PartitionError> {
        let (metrics, fetched) = (&self.0.metrics, self.read(spec));
        metrics.fetch_requests.add(1);
        match &fetched {
            Ok(fetched) => {
                metrics.bytes_out.add(u64::try_from(fetched.records.len()).unwrap_or(u64::MAX));
            }
            Err(_) => metrics.failed_fetch_requests.add(1),
        }
        fetched
    }

    fn read(&self, spec: &FetchSpec) -> Result<Fetched, PartitionError> {
        let opened = self.opened()?;
        self.check_epoch(spec.current_leader_epoch)?;
        let log = &opened.log;
        let diverging = match spec.last_fetched_epoch {
            Some(epoch) => {
                diverging(log.end_offset_for_epoch(epoch), epoch, spec.from, self.leader_epoch())?
            }
            None => None,
        };
        if diverging.is_some() {
            return Ok(Fetched {
                records: Bytes::new(),
                high_watermark: log.high_watermark(),
                last_stable_offset: log.last_stable_offset(),
                log_start_offset: log.log_start_offset(),
                aborted: None,
                diverging,
            });
        }
        let read = log.read(spec.from, spec.isolation, spec.max_bytes, spec.first_batch)?;
        #[cfg(feature = "planted-faults")]
        let read = {
            let mut read = read;
            let planted = crate::faults::planted() == Some(crate::faults::Fault::DroppedAbortEntry);
            if let Some(aborted) = read.aborted.as_mut().filter(|a| planted && !a.is_empty()) {
                aborted.remove(0);
            }
            read
        };
        let (records, aborted) = match (spec.aborted_data, read.aborted) {
            (AbortedData::LeftOut, Some(listed)) => {
                (leave_out(&read.records, listed), Some(Vec::new()))
            }
            (AbortedData::Listed | AbortedData::LeftOut, listed) => (read.records, listed),
        };
        Ok(Fetched {
            records,
            high_watermark: read.high_watermark,
            last_stable_offset: read.last_stable_offset,
            log_start_offset: read.log_start_offset,
            aborted,
            diverging: None,
        })
    }

    /// Waits for something to read at `offset`: the end that `isolation` may see is beyond it.
    ///
    /// # Errors
    /// The partition is offline or closed.
    pub fn data_beyond(
        &self,
        offset: Offset,
        isolation: Isolation,
    ) -> Result<DataFuture<E>, PartitionError> {
        self.opened()?;
        let end = match isolation {
            Isolation::LogEnd => End::Written,
            Isolation::Uncommitted => End::Committed,
            Isolation::Committed => End::Stable,
        };
        let goal = offset.saturating_add(1);
        Ok(DataFuture { partition: self.clone(), end, goal, seat: None })
    }

    /// Finds an offset by time, or one of the ends; `None` when no record is that late.
    ///
    /// # Errors
    /// Another leader epoch, or a failing log.
    pub fn list_offsets(
        &self,
        query: TimeQuery,
        isolation: Isolation,
        current_leader_epoch: Option<LeaderEpoch>,
    ) -> Result<Option<FoundOffset>, PartitionError> {
        let opened = self.opened()?;
        self.check_epoch(current_leader_epoch)?;
        if query == TimeQuery::Latest && isolation != Isolation::LogEnd {
            // KIP-207: not before this leader knows what its predecessor committed.
            opened.leader.lock().latest_offset()?;
        }
        let mut found = opened.log.find_offset(query, isolation)?;
        if let (TimeQuery::Latest, Some(end)) = (query, &mut found) {
            // The epoch of the next record, which is this leader's even before it has written one.
            end.leader_epoch = self.leader_epoch();
        }
        Ok(found)
    }

    /// Deletes the records below `before`, or all that are committed; the new log start.
    ///
    /// # Errors
    /// An offset beyond the high watermark, a topic without `delete` in its policy, or a failing log.
    pub fn delete_records(&self, before: Option<Offset>) -> Result<Offset, PartitionError> {
        let opened = self.opened()?;
        if !opened.log.config().cleanup_policy.deletes() {
            return Err(LogError::NoDeletePolicy.into());
        }
        let high_watermark = opened.log.high_watermark();
        let before = before.unwrap_or(high_watermark);
        if before < Offset::ZERO || before > high_watermark {
            return Err(PartitionError::DeleteBeyondEnd { high_watermark, found: before });
        }
        let start = opened.log.delete_records(before)?;
        let mut outputs = Vec::new();
        let now = self.0.ground.env.now();
        opened.leader.lock().step(now, Input::LogStart(start), &mut outputs)?;
        Ok(start)
    }

    /// The producers the partition remembers, by id.
    ///
    /// # Errors
    /// The partition is offline or closed.
    pub fn describe_producers(&self) -> Result<Vec<ProducerView>, PartitionError> {
        Ok(self.opened()?.log.producers())
    }

    /// Where the records of an epoch end (`OffsetForLeaderEpoch`); epoch and offset -1 when it is not known.
    ///
    /// # Errors
    /// Another leader epoch, or a failing log.
    pub fn end_offset_for_epoch(
        &self,
        epoch: LeaderEpoch,
        current_leader_epoch: Option<LeaderEpoch>,
    ) -> Result<EpochEnd, PartitionError> {
        let opened = self.opened()?;
        self.check_epoch(current_leader_epoch)?;
        Ok(opened.log.end_offset_for_epoch(epoch))
    }

    /// First offset in the log.
    ///
    /// # Errors
    /// The partition is offline or closed; so for the ones below.
    pub fn log_start_offset(&self) -> Result<Offset, PartitionError> {
        Ok(self.opened()?.log.log_start_offset())
    }

    /// Exclusive end of what is committed.
    ///
    /// # Errors
    /// The partition is offline or closed.
    pub fn high_watermark(&self) -> Result<Offset, PartitionError> {
        Ok(self.opened()?.log.high_watermark())
    }

    /// Exclusive end of what no open transaction holds back.
    ///
    /// # Errors
    /// The partition is offline or closed.
    pub fn last_stable_offset(&self) -> Result<Offset, PartitionError> {
        Ok(self.opened()?.log.last_stable_offset())
    }

    /// Exclusive end of the log.
    ///
    /// # Errors
    /// The partition is offline or closed.
    pub fn log_end_offset(&self) -> Result<Offset, PartitionError> {
        Ok(self.opened()?.log.log_end_offset())
    }

    /// Bytes of batches on disk (`DescribeLogDirs`).
    ///
    /// # Errors
    /// The partition is offline or closed.
    pub fn size_bytes(&self) -> Result<u64, PartitionError> {
        Ok(self.opened()?.log.size_bytes())
    }

    /// How many segments it has. Looks into no file.
    ///
    /// # Errors
    /// The partition is offline or closed.
    pub fn segment_count(&self) -> Result<usize, PartitionError> {
        Ok(self.opened()?.log.segment_count())
    }

    /// Its segments, oldest first. Looks into each for its largest time.
    ///
    /// # Errors
    /// The partition is offline or closed.
    pub fn segments(&self) -> Result<Vec<SegmentView>, PartitionError> {
        Ok(self.opened()?.log.segments())
    }

    /// How many readers and producers wait for it.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.parking.len()
    }

    fn check_epoch(&self, got: Option<LeaderEpoch>) -> Result<(), ReplicaError> {
        got.map_or(Ok(()), |got| check_epoch(self.leader_epoch(), got))
    }

    pub(crate) fn check_life(&self) -> Result<(), PartitionError> {
        let TopicPartition { topic, partition } = &self.0.name;
        match self.0.life.load(Ordering::Acquire) {
            LIVE => Ok(()),
            DELETED => {
                Err(PartitionError::Unknown { topic: topic.to_string(), partition: *partition })
            }
            _ => Err(PartitionError::Closed),
        }
    }

    /// The open log, if it is open.
    pub(crate) fn if_open(&self) -> Option<&Opened<E>> {
        self.0.opened.get()
    }

    /// The log that a batch was appended to. It answers behind a shutdown, too: what was appended is as safe as closing the log made it.
    pub(crate) fn appended_to(&self) -> Result<&Opened<E>, Abandoned> {
        self.if_open().ok_or(Abandoned)
    }

    /// The durability that its settings ask for; does not open the log.
    pub(crate) fn config_durability(&self) -> Durability {
        self.0.config.lock().durability()
    }

    /// Lets a helper know that a sync is due.
    pub(crate) fn ask_for_sync(&self, opened: &Opened<E>) -> Helpers {
        let ground = &self.0.ground;
        if self.0.life.load(Ordering::Acquire) != LIVE {
            // The helpers have gone, or will not come here any more. What was closed is synced.
            return Helpers::None;
        }
        if ground.helpers == Helpers::Some && opened.asked.ask() {
            ground.due.ask(self.clone());
        }
        ground.helpers
    }

    /// Waits for a helper to sync everything below `end`. `None` where who waits leads the sync itself.
    pub(crate) fn synced_by_helper(
        &self,
        opened: &Opened<E>,
        end: Offset,
    ) -> Option<Completion<Result<(), LogError>>> {
        if self.0.ground.helpers == Helpers::None {
            return None;
        }
        // Before it is asked for: a sync that could not be begun tells those who wait for it, and nobody leads another for who comes behind that.
        let completion = opened.log.synced_to(end);
        match self.ask_for_sync(opened) {
            Helpers::Some => Some(completion),
            Helpers::None => None,
        }
    }

    /// Syncs everything that is written now.
    pub(crate) fn sync_all(&self) -> Result<(), LogError> {
        let Some(opened) = self.if_open() else {
            return Ok(());
        };
        opened.asked.begin();
        let end = opened.log.log_end_offset();
        self.0.ground.metrics.syncs.add(1);
        opened.log.sync(end)?;
        opened.synced(self, end, self.0.ground.env.now());
        Ok(())
    }

    pub(crate) fn set_config(&self, config: &LogConfig) {
        let mut current = self.0.config.lock();
        current.clone_from(config);
        let opened = self.if_open();
        if let Some(opened) = opened {
            opened.take_config(config);
        }
        drop(current);
        if let Some(opened) = opened {
            // A topic that was `sync` may have kept records back.
            opened.written(self, opened.durability(), self.0.ground.env.now());
        }
    }

    /// The topic is deleted: everybody is told that there is no such partition. Returns when nobody writes any more.
    pub(crate) fn delete(&self) {
        self.end(DELETED);
        if let Some(opened) = self.if_open()
            && let Err(error) = opened.end()
        {
            tracing::warn!(partition = %self.0.name, %error, "a deleted partition did not close");
        }
    }

    /// Whether it was there before the directory was opened, so that an unclean stop may have taken something of it.
    pub(crate) fn is_older_than_opening(&self) -> bool {
        // Each opening has a greater epoch, but for the first of a directory that Kafka wrote; and a power cut may have taken the whole of the
        // partition's directory.
        let inner = &self.0;
        inner.leader_epoch > LeaderEpoch::new(0)
            || inner.ground.data.partitions.contains(&inner.name)
    }

    /// The engine shuts down. Whether anything is left that was not made durable comes from closing the log.
    pub(crate) fn shut(&self) -> Option<Result<hanbeon_log::Closed, LogError>> {
        self.end(SHUT);
        match self.0.opened.get() {
            Some(opened) => {
                let closed = opened.end();
                let (Found::Nothing | Found::Damage) = opened.tell_damage(self);
                Some(closed)
            }
            None => self.0.failed.lock().as_ref().map(|failure| Err(failure.error.clone())),
        }
    }

    fn end(&self, life: u8) {
        self.0.life.store(life, Ordering::Release); // pairs with the load in `check_life`
        self.0.parking.close();
        // An opening that is under way goes on to its end, and none begins behind it.
        drop(self.0.opening.lock());
    }
}

/// Kafka's rule (`Partition.readRecords`): a reader whose last epoch is unknown here is out of range, one whose epoch ended
/// below where it stands diverges there.
fn diverging(
    end: EpochEnd,
    epoch: LeaderEpoch,
    from: Offset,
    latest: LeaderEpoch,
) -> Result<Option<EpochEnd>, PartitionError> {
    if end.epoch == LeaderEpoch::UNKNOWN || end.end_offset < Offset::ZERO {
        return Err(PartitionError::UnknownFetchedEpoch { latest, got: epoch });
    }
    Ok((end.epoch < epoch || end.end_offset < from).then_some(end))
}

impl<E: Env> Opened<E> {
    fn new(log: Partition<E::Dir>, config: &LogConfig, node: hanbeon_records::NodeId) -> Self {
        let leader_epoch = log.leader_epoch();
        let bounds = LogBounds {
            start: log.log_start_offset(),
            end: log.log_end_offset(),
            high_watermark: log.high_watermark(),
        };
        Self {
            found_end: bounds.end,
            leader_epoch,
            leader: Mutex::new(Leader::alone(node, leader_epoch, bounds)),
            durable: AtomicI64::new(0),
            flush_messages: AtomicI64::new(config.flush_messages),
            flush_ms: AtomicI64::new(config.flush_ms),
            dirty_since: DirtySince::never(),
            asked: Asked::nobody(),
            doubted: AtomicBool::new(false),
            log,
        }
    }

    /// Closes the log. Whatever that comes to, nothing is written behind it.
    fn end(&self) -> Result<hanbeon_log::Closed, LogError> {
        self.log.close().inspect_err(|_| self.log.abandon())
    }

    /// Called under the lock of the partition's settings.
    fn take_config(&self, config: &LogConfig) {
        self.log.set_config(config.clone());
        self.flush_messages.store(config.flush_messages, Ordering::Release);
        self.flush_ms.store(config.flush_ms, Ordering::Release);
    }

    /// When a write is acknowledged; see [`LogConfig::durability`].
    pub(crate) fn durability(&self) -> Durability {
        let messages = self.flush_messages.load(Ordering::Acquire);
        let ms = self.flush_ms.load(Ordering::Acquire);
        match (messages, ms) {
            (1, _) => Durability::Sync,
            (i64::MAX, i64::MAX) => Durability::Os,
            (messages, ms) => Durability::Interval { messages, ms },
        }
    }

    pub(crate) fn durable(&self) -> Offset {
        Offset::new(self.durable.load(Ordering::Acquire))
    }

    /// Whether a write with these acknowledgements may begin.
    pub(crate) fn admit(&self, acks: Acks) -> Result<(), ReplicaError> {
        self.leader.lock().admit(acks)
    }

    pub(crate) fn settle(&self, acks: Acks, end: Offset) -> Result<Settled, ReplicaError> {
        if acks.waits_for(end).is_none() {
            return Ok(Settled::Done);
        }
        self.leader.lock().settle(acks, end)
    }

    /// Something was written: what may be seen of it can be seen, and a sync is asked for where its time has come.
    pub(crate) fn written(
        &self,
        partition: &PartitionHandle<E>,
        durability: Durability,
        now: Millis,
    ) {
        let end = self.log.log_end_offset();
        match durability {
            Durability::Sync => return,
            Durability::Os => {}
            Durability::Interval { messages, .. } => {
                self.mark_dirty(now);
                if end.since(self.durable()) >= messages
                    && partition.ask_for_sync(self) == Helpers::None
                    && let Err(error) = partition.sync_all()
                {
                    tracing::error!(partition = %partition.0.name, %error, "the interval sync failed");
                }
            }
        }
        self.raise(&partition.0.parking, now, end);
    }

    /// Notes when the oldest unsynced batch was written.
    pub(crate) fn mark_dirty(&self, now: Millis) {
        self.dirty_since.mark(now);
    }

    /// When the oldest unsynced batch was written, where the topic has an interval or syncs each.
    pub(crate) fn dirty_since(&self) -> Option<Millis> {
        self.dirty_since.get()
    }

    /// Looks at some of the checksums that the opening left out.
    pub(crate) fn check_unread(
        &self,
        partition: &PartitionHandle<E>,
        bytes_max: u64,
    ) -> (Checked, Found) {
        let checked = self.log.check_unread(bytes_max);
        (checked, self.tell_damage(partition))
    }

    /// Says what was found damaged behind the opening.
    pub(crate) fn tell_damage(&self, partition: &PartitionHandle<E>) -> Found {
        let mut found = Found::Nothing;
        for damage in self.log.take_damage() {
            partition.0.ground.metrics.damage_found.add(1);
            tracing::error!(
                partition = %partition.0.name, %damage,
                "damaged, and left as it is: what is behind it can be read"
            );
            found = Found::Damage;
        }
        found
    }

    /// Everything below `end` is durable.
    pub(crate) fn synced(&self, partition: &PartitionHandle<E>, end: Offset, now: Millis) {
        self.durable.fetch_max(end.get(), Ordering::AcqRel);
        self.dirty_since.synced(|| self.log.log_end_offset() <= end);
        if self.durability() == Durability::Sync {
            self.raise(&partition.0.parking, now, end);
        }
    }

    /// Tells the leader how far the local replica is: to the log's end, or to what is durable where a topic asks for that, so
    /// that nobody reads what a power cut can take back.
    fn raise(&self, parking: &Parking, now: Millis, end: Offset) {
        {
            let mut leader = self.leader.lock();
            // Appenders come here in any order.
            let end = end.max(leader.log_end());
            let risen = leader.appended(now, end);
            debug_assert!(risen.is_ok(), "{risen:?}");
            // Not only when it rises: a leader that is alone begins at the log's end.
            self.log.advance_high_watermark(leader.high_watermark());
        }
        self.wake(parking);
    }

    /// Wakes who waits for an end that was reached.
    pub(crate) fn wake(&self, parking: &Parking) {
        parking.release(Ends {
            written: self.log.log_end_offset(),
            committed: self.log.high_watermark(),
            stable: self.log.last_stable_offset(),
        });
    }
}

impl<E: Env> Future for DataFuture<E> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let Some(opened) = this.partition.if_open() else {
            return Poll::Ready(());
        };
        let reached = || match this.end {
            End::Written => opened.log.log_end_offset(),
            End::Committed => opened.log.high_watermark(),
            End::Stable => opened.log.last_stable_offset(),
        };
        this.partition.0.parking.poll(this.end, this.goal, &mut this.seat, cx, reached)
    }
}

impl<E: Env> DataFuture<E> {
    /// Blocks until there is data, or the partition is closed.
    pub fn wait(self) {
        crate::produce::block_on(self);
    }
}

impl<E: Env> Unpin for DataFuture<E> {}

impl<E: Env> Drop for DataFuture<E> {
    fn drop(&mut self) {
        self.partition.0.parking.leave(self.end, &mut self.seat);
    }
}

impl<E: Env> Clone for PartitionHandle<E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<E: Env> fmt::Debug for PartitionHandle<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PartitionHandle({})", self.0.name)
    }
}

impl<E: Env> fmt::Debug for DataFuture<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataFuture({:?} beyond {:?})", self.partition, self.goal)
    }
}

#[cfg(all(test, not(hanbeon_loom)))]
mod tests;
