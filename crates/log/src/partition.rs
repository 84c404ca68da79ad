//! One partition's log as threads share it.

use std::{cell::Cell, fmt};

use bytes::Bytes;
use hanbeon_idempotence::{
    Claim, MarkerClaim, OpenTxn, Origin, ProducerView, VerificationGuard, VerificationNeed,
    VerificationRequest,
};
use hanbeon_records::{LeaderEpoch, MARKER_LEN, Millis, Offset};

use crate::{
    AbortedTxn, AppendError, Completion, Dir, EpochEnd, EpochEntry, Group, Joined, LogConfig,
    LogError, OpenPartition, OpenReport, ReadError, Scratch, Slot, SyncGroup, Validated,
    append::{Done, Item, What},
    offsets::Opened,
    partition_log::{Life, PartitionLog},
    recovery::{Recovered, recover},
    segments::Based,
    sync::{Arc, Mutex, RwLock},
    unread::{Checked, Reading},
    validate,
    visible::Visible,
};

/// How far a read may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isolation {
    /// To the log's end, replicated or not: for followers.
    LogEnd,
    /// To the high watermark.
    Uncommitted,
    /// To the last stable offset, with the list of aborted transactions.
    Committed,
}

/// Whether a read brings its first batch even when that is larger than asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FirstBatch {
    /// It does, so that the reader gets on.
    Whole,
    /// It does not; nothing is returned then.
    WithinLimit,
}

/// What a read brought.
#[derive(Clone, Debug)]
pub struct Read {
    /// Batches as they lie in the log, without a copy where the back end can; the first may begin below the offset asked
    /// for, the last may be cut short by the limit of bytes.
    pub records: Bytes,
    /// Everything below is replicated.
    pub high_watermark: Offset,
    /// Everything below is decided.
    pub last_stable_offset: Offset,
    /// Smallest offset that can be read.
    pub log_start_offset: Offset,
    /// The offset the next batch gets.
    pub log_end_offset: Offset,
    /// Aborted transactions that reach into what was read, by first offset; `None` unless [`Isolation::Committed`] was asked for.
    pub aborted: Option<Vec<AbortedTxn>>,
}

/// Which offset [`Partition::find_offset`] is to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimeQuery {
    /// The log's start (-2).
    Earliest,
    /// Where a reader of this isolation ends (-1).
    Latest,
    /// The first record with the largest time (-3, KIP-734).
    MaxTimestamp,
    /// The start of what lies on this node (-4, KIP-405).
    EarliestLocal,
    /// The first record at this time or later.
    At(Millis),
}

/// What [`Partition::find_offset`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundOffset {
    /// Time of the record; [`Millis::NONE`] where none was asked about.
    pub timestamp: Millis,
    /// Its offset.
    pub offset: Offset,
    /// Epoch of the batch it lies in, or [`LeaderEpoch::UNKNOWN`].
    pub leader_epoch: LeaderEpoch,
}

/// A batch that is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Offset of its last record.
    pub last_offset: Offset,
    /// The time it was stamped with, where the topic says `LogAppendTime`.
    pub log_append_time: Option<Millis>,
    /// Smallest offset that can be read.
    pub log_start_offset: Offset,
    /// Whether it was written now.
    pub placed: Placed,
    /// What must be replicated, or durable, before the batch is: the offset after its last record.
    pub end: Offset,
}

/// How a batch came to be in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Placed {
    /// It was written by this call.
    Written,
    /// It is the retry of a batch that was written before; the offsets are those of the original.
    Duplicate,
}

/// One segment, for tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentView {
    /// First offset it may hold.
    pub base_offset: Offset,
    /// The offset after its last one.
    pub end_offset: Offset,
    /// Bytes of its `.log` file.
    pub bytes: u64,
    /// Largest time of a record in it.
    pub max_timestamp: Millis,
}

/// Where a closed partition stands; what the engine writes into its checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Smallest offset that can be read.
    pub log_start_offset: Offset,
    /// The offset the next batch gets.
    pub log_end_offset: Offset,
    /// Everything below is durable, with its indexes.
    pub recovery_point: Offset,
    /// Everything below is replicated.
    pub high_watermark: Offset,
}

/// Who asks for an append, and what the transaction coordinator said to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// A produce request, or the group coordinator writing offsets.
    pub origin: Origin,
    /// What [`Partition::begin_verification`] returned before the coordinator confirmed the partition.
    pub guard: Option<VerificationGuard>,
}

impl Source {
    /// A produce request outside of transactions, or inside one that is open here already.
    pub const CLIENT: Self = Self { origin: Origin::Client, guard: None };
}

/// One partition's log. Clones share it.
#[derive(Debug)]
pub struct Partition<D: Dir>(Arc<Inner<D>>);

impl<D: Dir> Clone for Partition<D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// What all clones share.
pub(crate) struct Inner<D: Dir> {
    pub(crate) visible: Arc<Visible<D>>,
    pub(crate) log: Mutex<PartitionLog<D>>,
    group: Group<Item, Done>,
    /// Counts as [`Offsets::written`](crate::offsets::Offsets::written) does.
    pub(crate) sync: SyncGroup<LogError>,
    /// Held by what takes long and must not meet its like: moving the recovery point, cutting, closing.
    pub(crate) upkeep: Mutex<()>,
    pub(crate) reading: Mutex<Reading>,
    config: RwLock<Arc<LogConfig>>,
}

thread_local! {
    /// Buffers for batches that must be decompressed to be checked: a thread checks one at a time, of whichever partition. What a
    /// partition kept of its own would count ten thousand times.
    static SCRATCH: Cell<Scratch> = const { Cell::new(Scratch::new()) };
}

fn check(records: &Bytes, config: &LogConfig, now: Millis) -> Result<Validated, AppendError> {
    // Where a thread that ends has taken them down already, a value it kept may still append.
    let mut scratch = SCRATCH.try_with(Cell::take).unwrap_or_default();
    let validated = validate(records, config, now, &mut scratch);
    let (Ok(()) | Err(_)) = SCRATCH.try_with(|kept| kept.set(scratch));
    validated
}

impl<D: Dir> Inner<D> {
    fn new(dir: D, options: OpenPartition, found: Recovered<D>) -> Self {
        let config = Arc::new(options.config);
        let log_end = found.active.end.offset;
        let log_start = found.log_start;
        let high_watermark = options.high_watermark.unwrap_or(log_start);
        let opened = Opened {
            log_start,
            log_end,
            high_watermark: high_watermark.max(log_start).min(log_end),
            recovery_point: found.recovery_point,
        };
        let visible = Arc::new(Visible::new(
            dir,
            found.segments,
            opened,
            found.unsynced_bytes,
            options.poison,
        ));
        let mut states = found.states;
        states.high_watermark_advanced(opened.high_watermark);
        let log = PartitionLog {
            visible: Arc::clone(&visible),
            config: Arc::clone(&config),
            active: found.active,
            states,
            epochs: found.epochs,
            leader_epoch: found.leader_epoch,
            snapshots: found.snapshots,
            behind: found.behind,
            jitter_seed: options.jitter_seed,
            life: Life::Open,
            compacted: found.compacted,
        };
        log.publish_stability();
        let synced = u64::try_from(opened.recovery_point.get()).unwrap_or(0);
        Self {
            visible,
            log: Mutex::new(log),
            group: Group::new(),
            sync: SyncGroup::new(synced),
            upkeep: Mutex::new(()),
            reading: Mutex::new(Reading::of(found.unread)),
            config: RwLock::new(config),
        }
    }

    fn item(&self, records: &Bytes, source: Source, now: Millis) -> Result<Item, AppendError> {
        let config = Arc::clone(&self.config.read());
        let batch = check(records, &config, now)?;
        let Source { origin, guard } = source;
        let claim = batch.claim().map(|claim| Claim { origin, guard, ..claim });
        Ok(Item::new(What::Data { batch, claim }, now))
    }

    fn join(&self, item: Item) -> Joined<Done> {
        let bytes = item.len();
        self.group.join(item, bytes, |slots| self.lead(slots))
    }

    fn lead(&self, slots: &mut [Slot<Item, Done>]) {
        self.log.lock().append(slots);
        self.pass_on_poison();
    }

    /// After a failed write nobody waits for a sync any more (invariant L9).
    pub(crate) fn pass_on_poison(&self) {
        if self.visible.poison.is_set() {
            let dir = self.visible.name.clone();
            self.sync.fail(self.visible.poison.first().unwrap_or(LogError::Poisoned { dir }));
        }
    }
}

impl<D: Dir> fmt::Debug for Inner<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visible.fmt(f)
    }
}

impl<D: Dir> Partition<D> {
    /// Opens the log in `dir`, recovering it as far as needed, and makes one when there is none.
    ///
    /// Where [`Partition::recovery_point`] is then below the one given (a crash came between a cut and its checkpoint), the caller writes
    /// it to its checkpoint before it appends: what is appended in between would pass for durable at the next opening.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] where something is wrong that is not the unflushed end of the log; [`LogError::NotTorn`] where only
    /// [`crate::Shutdown::Killed`] tells that it is not, and the caller writes a recovery point above its `end` to its checkpoint, so that no opening
    /// after a power cut takes it for that; [`LogError::ForeignTopic`] and [`LogError::MissingTopicId`] where the directory is another topic's;
    /// else what the storage reports. In the first four nothing is changed. A sync that failed sets [`OpenPartition::poison`], so that this log is not opened again as if nothing was lost.
    pub fn open(dir: D, options: OpenPartition) -> Result<(Self, OpenReport), LogError> {
        let mut report = OpenReport::default();
        let found = options.poison.by_sync(recover(&dir, &options, &mut report))?;
        Ok((Self(Arc::new(Inner::new(dir, options, found))), report))
    }

    /// Appends one batch of a client: checked, deduplicated, stamped, written. Not synced: see [`Partition::sync`].
    ///
    /// # Errors
    /// An [`AppendError`] in the result, with the code a client sees. Unless it is [`AppendError::Log`] nothing was changed.
    pub fn append(&self, records: Bytes, now: Millis) -> Joined<Result<Appended, AppendError>> {
        self.append_as(records, Source::CLIENT, now)
    }

    /// As [`Partition::append`], for a batch that somebody else wrote or that the coordinator has confirmed.
    ///
    /// # Errors
    /// As [`Partition::append`].
    #[expect(
        clippy::needless_pass_by_value,
        reason = "what is appended may be written by another thread, so it must be owned"
    )]
    pub fn append_as(
        &self,
        records: Bytes,
        source: Source,
        now: Millis,
    ) -> Joined<Result<Appended, AppendError>> {
        match self.0.item(&records, source, now) {
            Ok(item) => self.0.join(item),
            Err(error) => Joined::Done(Err(error)),
        }
    }

    /// Appends batches of clients in this order, with one write where that is possible. Each is judged and answered as if
    /// [`Partition::append`] had been called with one after the other; the answers come in the same order.
    ///
    /// # Errors
    /// As [`Partition::append`], each batch for itself; a write that fails fails all that were to be written with it.
    pub fn append_all(
        &self,
        records: &[Bytes],
        now: Millis,
    ) -> Vec<Joined<Result<Appended, AppendError>>> {
        let mut items = Vec::with_capacity(records.len());
        let mut refused = Vec::new();
        for (place, records) in records.iter().enumerate() {
            match self.0.item(records, Source::CLIENT, now) {
                Ok(item) => {
                    let bytes = item.len();
                    items.push((item, bytes));
                }
                Err(error) => refused.push((place, error)),
            }
        }
        let mut answers = self.0.group.join_all(items, |slots| self.0.lead(slots));
        for (place, error) in refused {
            answers.insert(place, Joined::Done(Err(error)));
        }
        answers
    }

    /// Appends the marker that ends a transaction.
    ///
    /// # Errors
    /// As [`Partition::append`]: the marker of an older coordinator or producer epoch is refused.
    pub fn append_marker(
        &self,
        marker: MarkerClaim,
        now: Millis,
    ) -> Joined<Result<Appended, AppendError>> {
        let bytes = Vec::with_capacity(MARKER_LEN);
        self.0.join(Item::new(What::Marker { claim: marker, bytes }, now))
    }

    /// Appends what a follower fetched from the leader of `leader_epoch`; any number of whole batches. Returns the new log end.
    ///
    /// # Errors
    /// [`AppendError::Batch`] for damaged bytes, [`LogError::Corrupt`] inside [`AppendError::Log`] for a batch below the log's end, and for leader epochs
    /// that the next recovery would take for damage: nothing was changed then. Else what the storage reports.
    pub fn append_as_follower(
        &self,
        records: &Bytes,
        leader_epoch: LeaderEpoch,
        now: Millis,
    ) -> Result<Offset, AppendError> {
        let mut log = self.0.log.lock();
        let result = log.append_as_follower(records, leader_epoch, now);
        drop(log);
        self.0.pass_on_poison();
        result
    }

    /// Smallest offset that can be read.
    #[must_use]
    pub fn log_start_offset(&self) -> Offset {
        self.0.visible.offsets.log_start()
    }

    /// The offset the next batch gets.
    #[must_use]
    pub fn log_end_offset(&self) -> Offset {
        self.0.visible.offsets.log_end()
    }

    /// Everything below is replicated.
    #[must_use]
    pub fn high_watermark(&self) -> Offset {
        self.0.visible.offsets.high_watermark()
    }

    /// Everything below is replicated and decided.
    #[must_use]
    pub fn last_stable_offset(&self) -> Offset {
        self.0.visible.offsets.bounds().last_stable
    }

    /// Everything below is durable, with its indexes and a producer snapshot: a restart checks from here on.
    #[must_use]
    pub fn recovery_point(&self) -> Offset {
        self.0.visible.offsets.recovery_point()
    }

    /// Tells that everything below is replicated. Never goes back, never beyond the log's end; cheap when no transaction waits for it.
    pub fn advance_high_watermark(&self, high_watermark: Offset) {
        if self.0.visible.offsets.raise_high_watermark(high_watermark) {
            let mut log = self.0.log.lock();
            log.states.high_watermark_advanced(self.0.visible.offsets.high_watermark());
            log.publish_stability();
        }
    }

    /// Reads batches from `from` on, up to where `isolation` allows and about `max_bytes`.
    ///
    /// # Errors
    /// [`ReadError::OffsetOutOfRange`] below the log's start or above its end, else what the storage reports.
    pub fn read(
        &self,
        from: Offset,
        isolation: Isolation,
        max_bytes: usize,
        first: FirstBatch,
    ) -> Result<Read, ReadError> {
        self.0.visible.read(from, isolation, max_bytes, first)
    }

    /// Finds an offset by time; `None` when nothing below the bound of `isolation` fits.
    ///
    /// # Errors
    /// What the storage reports, and damage in the batch that is looked into.
    pub fn find_offset(
        &self,
        query: TimeQuery,
        isolation: Isolation,
    ) -> Result<Option<FoundOffset>, ReadError> {
        self.0.visible.find_offset(query, isolation, |offset| self.0.log.lock().epoch_for(offset))
    }

    /// Lets go of everything below `before`, which is at most the high watermark. Returns the log's start.
    ///
    /// # Errors
    /// [`LogError::NoDeletePolicy`], [`LogError::OffsetOutOfRange`]; nothing was changed then. Else what the storage reports.
    pub fn delete_records(&self, before: Offset) -> Result<Offset, LogError> {
        self.0.delete_records(before)
    }

    /// Cuts the log so that it ends at `offset`; nothing but later epochs is cut when it ends there or below.
    ///
    /// A batch that reaches over `offset` goes whole: the log then ends where that began. The caller writes
    /// [`Partition::recovery_point`] to its checkpoint before it appends.
    ///
    /// # Errors
    /// [`LogError::OffsetOutOfRange`] for a negative offset, else what the storage reports; the directory is poisoned then.
    pub fn truncate_to(&self, offset: Offset) -> Result<(), LogError> {
        self.0.truncate_to(offset)
    }

    /// Where an epoch ends, for a follower or a consumer that looks for the point from which its log differs. That of
    /// [`Partition::leader_epoch`] ends with the log, also before a batch was written in it.
    #[must_use]
    pub fn end_offset_for_epoch(&self, epoch: LeaderEpoch) -> EpochEnd {
        let log = self.0.log.lock();
        log.epochs.end_offset_for(epoch, log.led())
    }

    /// The epoch stamped into batches.
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.0.log.lock().leader_epoch
    }

    /// Leads in `epoch` from now on. The epoch file gets its entry with the first batch.
    pub fn begin_leader_epoch(&self, epoch: LeaderEpoch) {
        self.0.log.lock().leader_epoch = epoch;
    }

    /// Whether the coordinator must confirm the partition before a transaction's first batch (KIP-890), and the token that goes with the batch.
    #[must_use]
    pub fn begin_verification(
        &self,
        request: VerificationRequest,
        now: Millis,
    ) -> VerificationNeed {
        self.0.log.lock().states.begin_verification(&request, now)
    }

    /// All producers known here, sorted by id.
    #[must_use]
    pub fn producers(&self) -> Vec<ProducerView> {
        self.0.log.lock().states.producers().collect()
    }

    /// How many producers are known here.
    #[must_use]
    pub fn producer_count(&self) -> usize {
        self.0.log.lock().states.len()
    }

    /// Transactions without a marker, by first offset: the first one holds readers of committed data back.
    #[must_use]
    pub fn open_transactions(&self) -> Vec<OpenTxn> {
        self.0.log.lock().states.open_transactions().collect()
    }

    /// The transaction that holds readers of committed data back, if one does.
    #[must_use]
    pub fn oldest_open_transaction(&self) -> Option<OpenTxn> {
        self.0.log.lock().states.open_transactions().next()
    }

    /// The leader epochs that wrote this log, and where each begins.
    #[must_use]
    pub fn leader_epochs(&self) -> Vec<EpochEntry> {
        self.0.log.lock().epochs.entries().to_vec()
    }

    /// Forgets producers that were silent for too long; returns how many.
    #[expect(clippy::must_use_candidate, reason = "called for its effect")]
    pub fn expire_producers(&self, now: Millis) -> usize {
        self.0.log.lock().states.expire(now)
    }

    /// Bytes of all `.log` files.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.0.segments_now().iter().map(|segment| segment.end().bytes).sum()
    }

    /// All segments, oldest first. Looks into each for its largest time.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentView> {
        self.0.segments_now().iter().map(|segment| segment.describe()).collect()
    }

    /// Where the first segment begins, which may be below the log's start. Looks into no file, as the next one.
    #[must_use]
    pub fn first_base_offset(&self) -> Offset {
        let segments = self.0.segments_now();
        segments.first().map_or(Offset::ZERO, |segment| segment.base_offset())
    }

    /// Bytes of the `.log` files of segments that begin above `offset`.
    #[must_use]
    pub fn size_bytes_above(&self, offset: Offset) -> u64 {
        let segments = self.0.segments_now();
        let above = segments.iter().filter(|segment| segment.base_offset() > offset);
        above.map(|segment| segment.end().bytes).sum()
    }

    /// How many segments there are.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.0.segments_now().len()
    }

    /// The topic's settings in use.
    #[must_use]
    pub fn config(&self) -> LogConfig {
        LogConfig::clone(&self.0.config.read())
    }

    /// Changes the topic's settings; they hold for what is appended from now on.
    pub fn set_config(&self, config: LogConfig) {
        let config = Arc::new(config);
        let mut log = self.0.log.lock();
        log.states.set_expiration_ms(i64::from(config.producer_id_expiration_ms));
        log.config = Arc::clone(&config);
        *self.0.config.write() = config;
        drop(log);
    }

    /// Resolves when everything below `end` is durable. Somebody must lead for that: [`Partition::lead_sync`] or a blocked [`Partition::sync`].
    ///
    /// # Errors
    /// As [`Partition::sync`], in the value it resolves to.
    pub fn synced_to(&self, end: Offset) -> Completion<Result<(), LogError>> {
        self.0.synced_to(end)
    }

    /// Blocks until everything below `end` is durable: leads a sync, or waits for who does.
    ///
    /// # Errors
    /// [`LogError::Poisoned`], or what the first failed write or sync reported: it is never tried again.
    pub fn sync(&self, end: Offset) -> Result<(), LogError> {
        self.0.sync_to(end)
    }

    /// Leads a sync of all that is written, and further ones as long as completions of [`Partition::synced_to`] wait. Returns at once when another thread leads.
    ///
    /// # Errors
    /// As [`Partition::sync`].
    pub fn lead_sync(&self) -> Result<(), LogError> {
        self.0.lead_sync()
    }

    /// Makes everything written durable together with indexes and a producer snapshot, and moves the recovery point there, which it returns. Maintenance calls it when [`Partition::unsynced_bytes`] has grown large.
    ///
    /// # Errors
    /// As [`Partition::sync`].
    pub fn sync_written(&self) -> Result<Offset, LogError> {
        self.0.sync_written()
    }

    /// Looks at checksums that an opening under [`crate::Shutdown::Killed`] left out, of about `bytes_max` bytes. Maintenance calls it in small steps;
    /// whatever moves the recovery point does the rest first.
    ///
    /// Damage is kept for [`Partition::take_damage`]. It stays where it is, as in a segment that is read long after it was written: the
    /// records behind it can be read, and a consumer's own look at the checksum finds it.
    pub fn check_unread(&self, bytes_max: u64) -> Checked {
        self.0.check_unread(bytes_max)
    }

    /// What was found damaged since this was asked last: file, byte, and what is wrong there.
    #[must_use]
    pub fn take_damage(&self) -> Vec<LogError> {
        self.0.take_damage()
    }

    /// Bytes written since the recovery point moved last.
    #[must_use]
    pub fn unsynced_bytes(&self) -> u64 {
        self.0.visible.unsynced_bytes()
    }

    /// Syncs and closes: indexes, snapshot and files are complete afterwards, and a clean open is allowed. Nothing can be appended any more.
    ///
    /// # Errors
    /// [`LogError::Closed`] the second time, else as [`Partition::sync`].
    pub fn close(&self) -> Result<Closed, LogError> {
        self.0.close()
    }

    /// Takes no writes any more without having been closed: for who lets go of the directory though [`Partition::close`] failed, be it for want of descriptors. Who waits
    /// for a sync is told.
    pub fn abandon(&self) {
        self.0.abandon();
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread, time::Duration};

    use hanbeon_idempotence::{FirstWrite, Verification};

    use super::*;
    use crate::{MemDir, Poison, Shutdown};

    fn empty() -> Partition<MemDir> {
        let options = OpenPartition {
            config: LogConfig::kafka_defaults(),
            shutdown: Shutdown::Killed,
            recovery_point: Offset::ZERO,
            log_start: None,
            high_watermark: None,
            leader_epoch: LeaderEpoch::new(0),
            topic_id: None,
            verification: Verification::On,
            first_write: FirstWrite::AnySequence,
            hash_seed: 1,
            jitter_seed: 1,
            now: Millis::new(0),
            poison: Poison::new(),
        };
        Partition::open(MemDir::new(), options).unwrap().0
    }

    #[test]
    fn who_finds_every_checksum_looked_at_waits_for_no_disk() {
        let log = empty();
        let moving = log.0.upkeep.lock();
        let (done, looked) = mpsc::channel();
        let found = thread::scope(|scope| {
            scope.spawn(|| done.send(log.check_unread(1)).unwrap());
            // At once, or not before the lock is let go.
            let found = looked.recv_timeout(Duration::from_secs(10));
            drop(moving);
            found
        });
        assert_eq!(found, Ok(Checked::All));
    }
}
