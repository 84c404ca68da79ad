//! What can go wrong in a log, each with the code a client sees.
//!
//! Three kinds that never share a variant: refusals ([`AppendError`], [`ReadError`]: what was asked for is wrong),
//! corruption ([`Corruption`]: what is on disk is wrong) and failures of the storage ([`LogError::Io`]).

use std::{fmt, io, sync::Arc};

use hanbeon_records::{BatchError, ErrorCode, LeaderEpoch, Millis, Offset, TopicId};

use crate::{checkpoint::CheckpointError, index::IndexDoubt, partition_metadata::MetadataError};

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
    /// The directory belongs to another topic of the same name.
    #[error("{dir} belongs to topic id {found}, not to {expected}: move it away, or give the topic its id back")]
    ForeignTopic {
        /// The directory.
        dir: String,
        /// Id of the topic that is being opened.
        expected: TopicId,
        /// Id in the directory.
        found: TopicId,
    },
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

    /// The code a client sees.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Io { .. } | Self::Poisoned { .. } | Self::Corrupt(_) => ErrorCode::KafkaStorageError,
            Self::ForeignTopic { .. } => ErrorCode::InconsistentTopicId,
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
    #[error("a record of a compacted topic has a key; give it one, or let cleanup.policy be delete")]
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
            Self::TimeOutOfBounds { .. } | Self::NegativeTime { .. } | Self::ClaimsLogAppendTime => {
                ErrorCode::InvalidTimestamp
            }
        }
    }
}
