//! What is found wrong, and where.

use hanbeon_idempotence::{IdempotenceError, SnapshotError, WindowError};
use hanbeon_records::{
    BatchError, CodecError, ControlError, LeaderEpoch, Offset, ProducerId, RecordError,
};

use crate::{
    Damage, checkpoint::CheckpointError, index::IndexDoubt, partition_metadata::MetadataError,
};

/// Something wrong in a directory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file} at byte {at}: {defect}")]
pub struct Finding {
    /// Name of the file, without its directory.
    pub file: String,
    /// Where in the file, in bytes from its start.
    pub at: u64,
    /// What is wrong there.
    pub defect: Defect,
}

/// In which way a file is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Defect {
    /// What opening the log would refuse or repair.
    #[error(transparent)]
    Damage(Damage),
    /// Zeroes to the end of a log: room that was reserved and never written to, or lost.
    #[error("{bytes} zero bytes follow the last batch")]
    Padding {
        /// How many.
        bytes: u64,
    },
    /// A batch too large to be looked into.
    #[error("a batch of up to {limit} bytes is looked into, found one of {found}")]
    BatchSize {
        /// The most.
        limit: u64,
        /// Bytes of the batch.
        found: u64,
    },
    /// A payload that cannot be decompressed.
    #[error(transparent)]
    Codec(CodecError),
    /// A codec that no version of Kafka knows.
    #[error("a codec is 0 to 4, found {found}")]
    CodecNumber {
        /// Number in the attributes.
        found: u8,
    },
    /// Records of a batch whose offsets do not rise: their deltas are wrong.
    #[error("the record with offset {found} comes behind one with {before}, in one batch")]
    RecordOrder {
        /// Offset of the record before it.
        before: Offset,
        /// Offset of the first that does not rise.
        found: Offset,
    },
    /// A control batch whose record cannot be read.
    #[error(transparent)]
    Control(ControlError),
    /// An index entry that does not lead to where a batch begins.
    #[error(
        "the index entry for offset {offset} points to byte {position}, where no such batch begins"
    )]
    NotABatch {
        /// Offset in the entry.
        offset: Offset,
        /// Position in the entry.
        position: u64,
    },
    /// An aborted transaction that its index does not name: readers of committed data would be given its records.
    #[error(
        "the transaction of producer {producer_id} from offset {first_offset} on, aborted at {last_offset}, is not in the index"
    )]
    AbortNotIndexed {
        /// Whose transaction.
        producer_id: ProducerId,
        /// Where it begins.
        first_offset: Offset,
        /// Offset of its marker.
        last_offset: Offset,
    },
    /// A batch of an epoch that the epoch file does not know.
    #[error("the epoch file does not name leader epoch {epoch}, which wrote offset {offset}")]
    EpochNotListed {
        /// The epoch in the batch.
        epoch: LeaderEpoch,
        /// The batch's base offset.
        offset: Offset,
    },
    /// A file that belongs there is not there.
    #[error("the file is missing")]
    Missing,
    /// An index without its log.
    #[error("there is no log that this index belongs to")]
    Orphan,
    /// A sidecar without its snapshot.
    #[error("there is no snapshot that this sidecar belongs to")]
    LoneSidecar,
    /// A file that was to be removed and is still there.
    #[error("a file that was to be removed is still there")]
    NotRemoved,
    /// A file that an interrupted compaction left half done.
    #[error("a file of an interrupted compaction, which counts for nothing")]
    Abandoned,
    /// A file of an interrupted compaction that was complete: the next start puts it in place.
    #[error("a complete file of an interrupted compaction, which the next start puts in place")]
    NotSwapped,
}

impl Finding {
    #[expect(clippy::needless_pass_by_value, reason = "names as they are, and what borrows them")]
    pub(crate) fn new(file: impl ToString, at: u64, defect: impl Into<Defect>) -> Self {
        Self { file: file.to_string(), at, defect: defect.into() }
    }
}

macro_rules! from_damage {
    ($($error:ty),*) => {$(
        impl From<$error> for Defect {
            fn from(error: $error) -> Self {
                Self::Damage(error.into())
            }
        }
    )*};
}

from_damage!(
    BatchError,
    RecordError,
    IndexDoubt,
    CheckpointError,
    MetadataError,
    SnapshotError,
    WindowError,
    IdempotenceError
);

impl From<Damage> for Defect {
    fn from(damage: Damage) -> Self {
        Self::Damage(damage)
    }
}

impl From<CodecError> for Defect {
    fn from(error: CodecError) -> Self {
        Self::Codec(error)
    }
}

impl From<ControlError> for Defect {
    fn from(error: ControlError) -> Self {
        Self::Control(error)
    }
}
