//! One partition's log as threads share it.

use bytes::Bytes;
use hanbeon_idempotence::{
    IdempotenceError, MarkerClaim, Origin, ProducerView, VerificationGuard, VerificationNeed,
    VerificationRequest,
};
use hanbeon_records::{LeaderEpoch, Millis, Offset};

use crate::{
    AbortedTxn, AppendError, Completion, Dir, EpochEnd, Joined, LogConfig, LogError, OpenPartition,
    OpenReport, ReadError, sync::Arc,
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
    /// Aborted transactions that reach into what was read; `None` unless [`Isolation::Committed`] was asked for.
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

/// One partition's log. Clones share it.
#[derive(Debug)]
pub struct Partition<D: Dir>(Arc<D>);

impl<D: Dir> Clone for Partition<D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<D: Dir> Partition<D> {
    /// Opens the log in `dir`, recovering it as far as needed, and makes one when there is none.
    ///
    /// # Errors
    /// See the error type; a refusal changes nothing.
    pub fn open(dir: D, options: OpenPartition) -> Result<(Self, OpenReport), LogError> {
        unimplemented!()
    }

    /// Appends one batch of a client: checked, deduplicated, stamped, written. Not synced: see [`Partition::sync`].
    ///
    /// # Errors
    /// See the error type; a refusal changes nothing.
    pub fn append(&self, records: Bytes, now: Millis) -> Joined<Result<Appended, AppendError>> {
        unimplemented!()
    }

    /// As [`Partition::append`], for a batch that somebody else wrote or that the coordinator has confirmed.
    ///
    /// # Errors
    /// See the error type; a refusal changes nothing.
    pub fn append_as(
        &self,
        records: Bytes,
        source: Source,
        now: Millis,
    ) -> Joined<Result<Appended, AppendError>> {
        unimplemented!()
    }

    /// Appends the marker that ends a transaction.
    ///
    /// # Errors
    /// See the error type; a refusal changes nothing.
    pub fn append_marker(
        &self,
        marker: MarkerClaim,
        now: Millis,
    ) -> Joined<Result<Appended, AppendError>> {
        unimplemented!()
    }

    /// Appends what a follower fetched from the leader of `leader_epoch`; any number of whole batches. Returns the new log end.
    ///
    /// # Errors
    /// See the error type; a refusal changes nothing.
    pub fn append_as_follower(
        &self,
        records: &Bytes,
        leader_epoch: LeaderEpoch,
        now: Millis,
    ) -> Result<Offset, AppendError> {
        unimplemented!()
    }

    /// Smallest offset that can be read.
    pub fn log_start_offset(&self) -> Offset {
        unimplemented!()
    }

    /// The offset the next batch gets.
    pub fn log_end_offset(&self) -> Offset {
        unimplemented!()
    }

    /// Everything below is replicated.
    pub fn high_watermark(&self) -> Offset {
        unimplemented!()
    }

    /// Everything below is replicated and decided.
    pub fn last_stable_offset(&self) -> Offset {
        unimplemented!()
    }

    /// Everything below is durable, with its indexes and a producer snapshot: a restart checks from here on.
    pub fn recovery_point(&self) -> Offset {
        unimplemented!()
    }

    /// Tells that everything below is replicated. Never goes back, never beyond the log's end; cheap when no transaction waits for it.
    pub fn advance_high_watermark(&self, high_watermark: Offset) {
        unimplemented!()
    }

    /// Reads batches from `from` on, up to where `isolation` allows and about `max_bytes`.
    ///
    /// # Errors
    /// See the error type; a refusal changes nothing.
    pub fn read(
        &self,
        from: Offset,
        isolation: Isolation,
        max_bytes: usize,
        first: FirstBatch,
    ) -> Result<Read, ReadError> {
        unimplemented!()
    }

    /// Finds an offset by time; `None` when nothing below the bound of `isolation` fits.
    ///
    /// # Errors
    /// See the error type; a refusal changes nothing.
    pub fn find_offset(
        &self,
        query: TimeQuery,
        isolation: Isolation,
    ) -> Result<Option<FoundOffset>, ReadError> {
        unimplemented!()
    }

    /// Lets go of everything below `before`, which is at most the high watermark. Returns the log's start.
    ///
    /// # Errors
    /// See the error type; a refusal changes nothing.
    pub fn delete_records(&self, before: Offset) -> Result<Offset, LogError> {
        unimplemented!()
    }

    /// Cuts the log so that it ends at `offset`; nothing when it ends there or below.
    ///
    /// # Errors
    /// See the error type; a refusal changes nothing.
    pub fn truncate_to(&self, offset: Offset) -> Result<(), LogError> {
        unimplemented!()
    }

    /// Where an epoch ends, for a follower that looks for the point from which its log differs.
    pub fn end_offset_for_epoch(&self, epoch: LeaderEpoch) -> EpochEnd {
        unimplemented!()
    }

    /// The epoch stamped into batches.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        unimplemented!()
    }

    /// Leads in `epoch` from now on. The epoch file gets its entry with the first batch.
    pub fn begin_leader_epoch(&self, epoch: LeaderEpoch) {
        unimplemented!()
    }

    /// Whether the coordinator must confirm the partition before a transaction's first batch (KIP-890), and the token that goes with the batch.
    ///
    /// # Errors
    /// See the error type; a refusal changes nothing.
    pub fn begin_verification(
        &self,
        request: VerificationRequest,
        now: Millis,
    ) -> Result<VerificationNeed, IdempotenceError> {
        unimplemented!()
    }

    /// All producers known here, sorted by id.
    pub fn producers(&self) -> Vec<ProducerView> {
        unimplemented!()
    }

    /// Forgets producers that were silent for too long; returns how many.
    pub fn expire_producers(&self, now: Millis) -> usize {
        unimplemented!()
    }

    /// Bytes of all `.log` files.
    pub fn size_bytes(&self) -> u64 {
        unimplemented!()
    }

    /// All segments, oldest first.
    pub fn segments(&self) -> Vec<SegmentView> {
        unimplemented!()
    }

    /// The topic's settings in use.
    pub fn config(&self) -> LogConfig {
        unimplemented!()
    }

    /// Changes the topic's settings; they hold for what is appended from now on.
    pub fn set_config(&self, config: LogConfig) {
        unimplemented!()
    }

    /// Resolves when everything below `end` is durable. Somebody must lead for that: [`Partition::lead_sync`] or a blocked [`Partition::sync`].
    ///
    /// # Errors
    /// See the error type; a refusal changes nothing.
    pub fn synced_to(&self, end: Offset) -> Completion<Result<(), LogError>> {
        unimplemented!()
    }

    /// Blocks until everything below `end` is durable: leads a sync, or waits for who does.
    ///
    /// # Errors
    /// See the error type; a refusal changes nothing.
    pub fn sync(&self, end: Offset) -> Result<(), LogError> {
        unimplemented!()
    }

    /// Leads a sync of all that is written, and further ones as long as completions of [`Partition::synced_to`] wait. Returns at once when another thread leads.
    ///
    /// # Errors
    /// See the error type; a refusal changes nothing.
    pub fn lead_sync(&self) -> Result<(), LogError> {
        unimplemented!()
    }

    /// Makes everything written durable together with indexes and a producer snapshot, and moves the recovery point there, which it returns. Maintenance calls it when [`Partition::unsynced_bytes`] passes 64 MiB and after a roll.
    ///
    /// # Errors
    /// See the error type; a refusal changes nothing.
    pub fn sync_written(&self) -> Result<Offset, LogError> {
        unimplemented!()
    }

    /// Bytes written since the recovery point moved last.
    pub fn unsynced_bytes(&self) -> u64 {
        unimplemented!()
    }

    /// Syncs and closes: indexes, snapshot and files are complete afterwards, and a clean open is allowed. Nothing can be appended any more.
    ///
    /// # Errors
    /// See the error type; a refusal changes nothing.
    pub fn close(&self) -> Result<Closed, LogError> {
        unimplemented!()
    }
}
