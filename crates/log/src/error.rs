//! What can go wrong in a log, each with the code a client sees.
//!
//! Three kinds that never share a variant: refusals ([`AppendError`], [`ReadError`]: what was asked for is wrong),
//! corruption ([`Corruption`]: what is on disk is wrong) and failures of the storage ([`LogError::Io`]).

use std::{fmt, io, sync::Arc};

use hanbeon_idempotence::{IdempotenceError, SnapshotError, WindowError};
use hanbeon_records::{
    BatchError, CodecError, ErrorCode, LeaderEpoch, Millis, Offset, RecordError, TopicId,
};

use crate::{
    Abandoned, NotTried, checkpoint::CheckpointError, index::IndexDoubt,
    partition_metadata::MetadataError,
};

/// What was being done to a file when the storage failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// Opening or creating.
    Open,
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Making durable.
    Sync,
    /// Reserving, cutting or lengthening.
    Resize,
    /// Renaming.
    Rename,
    /// Removing.
    Remove,
    /// Listing a directory.
    List,
    /// Making a directory's entries durable.
    SyncDir,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Read => "read",
            Self::Write => "write",
            Self::Sync => "sync",
            Self::Resize => "resize",
            Self::Rename => "rename",
            Self::Remove => "remove",
            Self::List => "list",
            Self::SyncDir => "sync the directory",
        })
    }
}

/// Bytes on disk that are not what was written there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file} is damaged at byte {at}: {damage}")]
pub struct Corruption {
    /// Directory and name of the file.
    pub file: String,
    /// Where in the file, in bytes from its start.
    pub at: u64,
    /// What is wrong there.
    pub damage: Damage,
}

/// In which way bytes on disk are wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// No whole, sound batch.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// A batch that begins below the end of its predecessor.
    #[error("a batch begins at offset {expected} or later here, found {found}")]
    OffsetBack {
        /// Smallest legal base offset.
        expected: Offset,
        /// Base offset in the header.
        found: Offset,
    },
    /// A batch further from the base of its segment than an index can say.
    #[error("a segment from offset {base} holds offsets up to {base} + 2147483647, found {found}")]
    OffsetSpan {
        /// Base offset of the segment.
        base: Offset,
        /// Last offset in the header.
        found: Offset,
    },
    /// A batch that belongs behind the segment it lies in.
    #[error("a batch ends below offset {end} here, where the next segment begins, found {found}")]
    BeyondSegment {
        /// Base offset of the next segment.
        end: Offset,
        /// Last offset in the header.
        found: Offset,
    },
    /// A batch of a leader older than that of its predecessor.
    #[error("a batch has leader epoch {expected} or higher here, found {found}")]
    EpochBack {
        /// Smallest legal epoch.
        expected: LeaderEpoch,
        /// Epoch in the header.
        found: LeaderEpoch,
    },
    /// An index that does not fit its segment.
    #[error(transparent)]
    Index(#[from] IndexDoubt),
    /// A checkpoint file that cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A `partition.metadata` that cannot be read.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// A producer snapshot that cannot be read.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The sidecar of a producer snapshot that cannot be read.
    #[error(transparent)]
    Window(#[from] WindowError),
    /// A producer snapshot of more than the log holds.
    #[error(
        "a snapshot covers offsets below {end} at most, where the log ends, this one those below {found}"
    )]
    SnapshotAhead {
        /// Where the log ends.
        end: Offset,
        /// Offset in the file's name.
        found: Offset,
    },
    /// Records that cannot be read.
    #[error(transparent)]
    Unreadable(#[from] RecordError),
    /// A payload that cannot be decompressed.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A control batch without a readable marker.
    #[error(transparent)]
    Marker(#[from] IdempotenceError),
    /// A log that ends below what was made durable.
    #[error("the log goes to offset {expected} or further, found its end at {found}")]
    EndsEarly {
        /// Everything below was durable, or deleted.
        expected: Offset,
        /// Where the log ends.
        found: Offset,
    },
    /// A segment that is not followed by the next one.
    #[error("a segment begins at offset {expected} here, found one from {found} on")]
    Gap {
        /// Where the segment before ends.
        expected: Offset,
        /// Base offset in the file's name.
        found: Offset,
    },
    /// A file that ends early.
    #[error("the file has {expected} bytes or more, found {found}")]
    Short {
        /// Bytes that must be there.
        expected: u64,
        /// Bytes that are.
        found: u64,
    },
    /// A file beyond any size it can have.
    #[error("the file has {limit} bytes at most, found {found}")]
    Oversize {
        /// Largest size that is read.
        limit: u64,
        /// Its size.
        found: u64,
    },
}

/// Why an operation on a log failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The storage failed.
    #[error("cannot {action} {file}")]
    Io {
        /// What was tried.
        action: Action,
        /// Directory and name of the file.
        file: String,
        /// What the storage said.
        source: Arc<io::Error>,
    },
    /// An earlier write or sync failed, so what the files hold is unknown: nothing is taken until the log is opened
    /// again and recovered.
    #[error("{dir} takes no writes since a write or sync failed there: close it and open it again")]
    Poisoned {
        /// The directory.
        dir: String,
    },
    /// What is on disk is not what was written there.
    #[error(transparent)]
    Corrupt(#[from] Corruption),
    /// Damage that a kill cannot have left, in a part of the log that is not known to be durable: after a power cut the like of it is cut.
    #[error("{cause}")]
    NotTorn {
        /// What is wrong.
        cause: Corruption,
        /// Where it begins. Everything below is sound, and all files are on the disk.
        end: Offset,
    },
    /// The directory belongs to another topic of the same name.
    #[error(
        "{dir} belongs to topic id {found}, not to {expected}: move it away, or give the topic its id back"
    )]
    ForeignTopic {
        /// The directory.
        dir: String,
        /// Id of the topic that is being opened.
        expected: TopicId,
        /// Id in the directory.
        found: TopicId,
    },
    /// The directory holds a log but does not say whose.
    #[error(
        "{dir} holds records but no partition.metadata, so it may belong to another topic than {expected}: put the file back, or move the directory away"
    )]
    MissingTopicId {
        /// The directory.
        dir: String,
        /// Id of the topic that is being opened.
        expected: TopicId,
    },
    /// The partition was closed.
    #[error("{dir} is closed: open it again")]
    Closed {
        /// The directory.
        dir: String,
    },
    /// Whoever did the work for several callers panicked.
    #[error(transparent)]
    Abandoned(#[from] Abandoned),
    /// An offset below the start or above the end (of the log, or of what is replicated).
    #[error("offset {found} is outside {start} to {end}")]
    OffsetOutOfRange {
        /// Smallest offset.
        start: Offset,
        /// Largest offset.
        end: Offset,
        /// The refused one.
        found: Offset,
    },
    /// Records can only be deleted where `cleanup.policy` contains `delete`.
    #[error("records can be deleted only where cleanup.policy contains delete")]
    NoDeletePolicy,
}

impl LogError {
    /// Wraps what the storage said about `file` (directory and name).
    #[must_use]
    pub fn io(action: Action, file: impl fmt::Display, source: io::Error) -> Self {
        Self::Io { action, file: file.to_string(), source: Arc::new(source) }
    }

    /// Wraps what [`Dir::sync`](crate::Dir::sync) said about `dir`. The action is [`Action::Open`] where it was [`NotTried`].
    #[must_use]
    pub fn sync_dir(dir: impl fmt::Display, source: io::Error) -> Self {
        let untried = source.get_ref().is_some_and(|error| error.is::<NotTried>());
        Self::io(if untried { Action::Open } else { Action::SyncDir }, dir, source)
    }

    /// Whether a file or directory could not be opened or listed, for want of descriptors perhaps: nothing was written, no sync was tried, and the same may
    /// be asked for again.
    #[must_use]
    pub const fn is_untried(&self) -> bool {
        matches!(self, Self::Io { action: Action::Open | Action::List, .. })
    }

    /// The code a client sees.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Io { .. }
            | Self::Poisoned { .. }
            | Self::Corrupt(_)
            | Self::NotTorn { .. }
            | Self::Closed { .. }
            | Self::Abandoned(_) => ErrorCode::KafkaStorageError,
            Self::ForeignTopic { .. } | Self::MissingTopicId { .. } => {
                ErrorCode::InconsistentTopicId
            }
            Self::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            Self::NoDeletePolicy => ErrorCode::PolicyViolation,
        }
    }
}

/// Why a read was refused or failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Below the log's start or above its end.
    #[error("offset {found} is outside the log, which goes from {start} to {end}")]
    OffsetOutOfRange {
        /// Log start offset.
        start: Offset,
        /// Log end offset.
        end: Offset,
        /// The offset asked for.
        found: Offset,
    },
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl ReadError {
    /// The code a client sees.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            Self::Log(error) => error.code(),
        }
    }
}

/// Why one record of a batch was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordFault {
    /// Place of the record in its batch, from 0 (`batchIndex` of a Produce response).
    pub batch_index: i32,
    /// Which rule it breaks.
    pub kind: RecordFaultKind,
}

/// Which rule a record breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordFaultKind {
    /// No key, where compaction goes by keys.
    #[error(
        "a record of a compacted topic has a key; give it one, or let cleanup.policy be delete"
    )]
    NoKey,
    /// A time outside `message.timestamp.before.max.ms` and `message.timestamp.after.max.ms`.
    #[error("the time of a record of this topic is {earliest} to {latest} now, found {found}")]
    TimeOutOfBounds {
        /// Earliest time taken.
        earliest: Millis,
        /// Latest time taken.
        latest: Millis,
        /// The record's time.
        found: Millis,
    },
    /// A time below -1.
    #[error("the time of a record is -1 for none, or 0 and more, found {found}")]
    NegativeTime {
        /// The record's time.
        found: Millis,
    },
    /// The batch says that the leader stamped it, which is for the leader to say.
    #[error("a producer sends CreateTime, found the LogAppendTime bit set")]
    ClaimsLogAppendTime,
}

impl RecordFaultKind {
    /// The code a batch gets in which this is the worst.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::NoKey => ErrorCode::InvalidRecord,
            Self::TimeOutOfBounds { .. }
            | Self::NegativeTime { .. }
            | Self::ClaimsLogAppendTime => ErrorCode::InvalidTimestamp,
        }
    }
}

/// The records for which a batch was refused: at most [`RecordFaults::LISTED_MAX`] of them, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordFaults {
    listed: Vec<RecordFault>,
    count: u32,
    code: ErrorCode,
}

impl RecordFaults {
    /// So many faults are listed; a batch of a million bad records shall not become a message as large.
    pub const LISTED_MAX: usize = 1000;

    /// Starts with the first fault.
    pub(crate) fn new(first: RecordFault) -> Self {
        Self { listed: vec![first], count: 1, code: first.kind.code() }
    }

    /// Adds a fault. `INVALID_TIMESTAMP` outweighs `INVALID_RECORD` for the batch (Kafka's `LogValidator`).
    pub(crate) fn push(&mut self, fault: RecordFault) {
        if self.listed.len() < Self::LISTED_MAX {
            self.listed.push(fault);
        }
        self.count = self.count.saturating_add(1);
        if fault.kind.code() == ErrorCode::InvalidTimestamp {
            self.code = ErrorCode::InvalidTimestamp;
        }
    }

    /// The faults.
    #[must_use]
    pub fn listed(&self) -> &[RecordFault] {
        &self.listed
    }

    /// How many records are at fault, listed or not.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }
}

impl fmt::Display for RecordFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.listed.first() {
            Some(RecordFault { batch_index, kind }) if self.count == 1 => {
                write!(f, "record {batch_index}: {kind}")
            }
            Some(RecordFault { batch_index, kind }) => {
                write!(f, "{} records are at fault, the first is {batch_index}: {kind}", self.count)
            }
            None => write!(f, "{} records are at fault", self.count),
        }
    }
}

/// Why a batch was not appended. Nothing was changed, unless it is [`AppendError::Log`].
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// No whole batch (KIP-98: a record set holds exactly one).
    #[error("a record set holds one whole batch, found none in its {found} bytes")]
    NoBatch {
        /// Bytes of the record set.
        found: usize,
    },
    /// More than one batch.
    #[error("a record set holds one batch, found another after its first {first} bytes")]
    SeveralBatches {
        /// Bytes of the first batch.
        first: usize,
    },
    /// A batch that is damaged or of another format.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// More than `max.message.bytes`.
    #[error("a batch of this topic has {limit} bytes at most (max.message.bytes), found {found}")]
    TooLarge {
        /// `max.message.bytes`.
        limit: usize,
        /// Bytes of the batch.
        found: usize,
    },
    /// More than `max.message.bytes`, after it was compressed as the topic wants it.
    #[error(
        "with the topic's compression.type the batch has {found} bytes, at most {limit} are taken (max.message.bytes)"
    )]
    RecompressedTooLarge {
        /// `max.message.bytes`.
        limit: usize,
        /// Bytes of the batch as it would be stored.
        found: usize,
    },
    /// More than a whole segment takes.
    #[error("a batch of this topic has {limit} bytes at most (segment.bytes), found {found}")]
    LargerThanSegment {
        /// `segment.bytes`.
        limit: u64,
        /// Bytes of the batch.
        found: usize,
    },
    /// Offsets are the leader's to give.
    #[error("a producer sends base offset 0, found {found}")]
    BaseOffset {
        /// Base offset in the header.
        found: Offset,
    },
    /// Record count and last offset delta contradict each other, or there are no records (KAFKA-6554).
    #[error(
        "a batch has 1 record or more and a last offset delta one below, found {count} records and delta {delta}"
    )]
    Counts {
        /// Record count in the header.
        count: i32,
        /// Last offset delta in the header.
        delta: i32,
    },
    /// More records than one batch may hold.
    #[error("a batch holds {limit} records at most, found {found}")]
    TooManyRecords {
        /// The limit.
        limit: i32,
        /// Record count in the header.
        found: i32,
    },
    /// Control batches are the coordinator's to write.
    #[error("a producer sends no control batches")]
    ControlBatch,
    /// Attribute bits that a producer may not set: the delete horizon, or bits without a meaning.
    #[error("a producer sets attribute bits 0 to 5 only, found {found:#06x} set")]
    ReservedBits {
        /// The bits too many.
        found: i16,
    },
    /// A number in the codec bits that names no codec.
    #[error("the codec of a batch is 0 to 4, found {found}")]
    UnknownCodec {
        /// The number.
        found: u8,
    },
    /// A payload that cannot be decompressed, or comes to too much.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A payload that is not the records its header claims.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Inner offsets that do not count from 0 without a gap.
    #[error(
        "the records of a batch count their offsets 0, 1, 2 and so on, found {found} at record {batch_index}"
    )]
    OffsetDelta {
        /// Place of the record.
        batch_index: i32,
        /// Its offset delta.
        found: i32,
    },
    /// Records that break a rule each for itself.
    #[error(transparent)]
    Records(Box<RecordFaults>),
    /// Refused by the producer's state: a gap, an old epoch, a transaction that is not open.
    #[error(transparent)]
    Idempotence(#[from] IdempotenceError),
    /// The log failed or takes nothing any more.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl fmt::Display for RecordFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record {}: {}", self.batch_index, self.kind)
    }
}

impl std::error::Error for RecordFaults {}

impl AppendError {
    /// The code a client sees.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::NoBatch { .. }
            | Self::SeveralBatches { .. }
            | Self::BaseOffset { .. }
            | Self::Counts { .. }
            | Self::TooManyRecords { .. }
            | Self::ControlBatch
            | Self::ReservedBits { .. }
            | Self::UnknownCodec { .. }
            | Self::OffsetDelta { .. }
            // Older formats than the request's version allows (KIP-98).
            | Self::Batch(BatchError::Magic { found: 0 | 1 }) => ErrorCode::InvalidRecord,
            Self::Batch(_) => ErrorCode::CorruptMessage,
            Self::TooLarge { .. } | Self::RecompressedTooLarge { .. } => ErrorCode::MessageTooLarge,
            Self::LargerThanSegment { .. } => ErrorCode::RecordListTooLarge,
            Self::Codec(error) => error.code(),
            Self::Record(error) => error.code(),
            Self::Records(faults) => faults.code,
            Self::Idempotence(error) => error.code(),
            Self::Log(error) => error.code(),
        }
    }

    /// The records at fault, for `recordErrors` of a Produce response (version 8 and up).
    #[must_use]
    pub fn record_faults(&self) -> &[RecordFault] {
        if let Self::Records(faults) = self { faults.listed() } else { &[] }
    }

    /// Whether an answer tells the log start offset: Kafka does once the batch reached the log itself, and says -1 for
    /// what it refuses before (seen on 4.3.1).
    #[must_use]
    pub const fn tells_log_start(&self) -> bool {
        match self {
            Self::NoBatch { .. }
            | Self::SeveralBatches { .. }
            | Self::Batch(_)
            | Self::TooLarge { .. } => false,
            Self::RecompressedTooLarge { .. }
            | Self::LargerThanSegment { .. }
            | Self::BaseOffset { .. }
            | Self::Counts { .. }
            | Self::TooManyRecords { .. }
            | Self::ControlBatch
            | Self::ReservedBits { .. }
            | Self::UnknownCodec { .. }
            | Self::Codec(_)
            | Self::Record(_)
            | Self::OffsetDelta { .. }
            | Self::Records(_)
            | Self::Idempotence(_)
            | Self::Log(_) => true,
        }
    }
}
