//! Kafka's `.snapshot` files: states to bytes and back.

use alloc::vec::Vec;

use hanbeon_records::{
    CoordinatorEpoch, ErrorCode, Millis, Offset, ProducerEpoch, ProducerId, crc32c,
};

use crate::{
    ProducerStates, Settings, WindowError,
    producer::{CachedBatch, Producer},
};

/// The only version (`ProducerStateManager.PRODUCER_SNAPSHOT_VERSION`).
const VERSION: i16 = 1;

/// Bytes before what the checksum covers.
const CRC_END: usize = 6;

/// Version, checksum and count.
const HEADER_LEN: usize = 10;

/// Bytes of one producer.
const ENTRY_LEN: usize = 46;

/// Why bytes are not a snapshot. All of them mean: delete the file, use the one before it (KAFKA-5747).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The file ends early or goes on.
    #[error("the snapshot needs {needed} bytes, {found} are there")]
    Length {
        /// Bytes that its count asks for.
        needed: usize,
        /// Bytes given.
        found: usize,
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
    /// Why the sidecar was left out, if it was: the window is then one batch deep at most.
    pub window: Result<(), WindowError>,
}

impl ProducerStates {
    /// Appends the bytes of Kafka's `.snapshot` to `into`, producers by id, and returns the checksum in them, by which
    /// the sidecar names its snapshot.
    ///
    /// Only the last batch of each producer has a place in the format; see [`Self::write_window`].
    pub fn write_snapshot(&self, into: &mut Vec<u8>) -> u32 {
        let start = into.len();
        into.extend_from_slice(&VERSION.to_be_bytes());
        into.extend_from_slice(&[0; 4]);
        // A table of 2^31 producers would be 340 GB; the count cannot be cut in practice.
        let count = i32::try_from(self.len()).unwrap_or(i32::MAX);
        into.extend_from_slice(&count.to_be_bytes());
        for producer in self.sorted() {
            write_entry(producer, into);
        }
        let crc = crc32c(&into[start + CRC_END..]);
        into[start + CRC_END - 4..start + CRC_END].copy_from_slice(&crc.to_be_bytes());
        crc
    }
}

fn write_entry(producer: &Producer, into: &mut Vec<u8>) {
    let (sequence, offset, delta) = producer
        .last()
        .map_or((-1, -1, 0), |last| (last.last_sequence, last.last_offset, last.offset_delta));
    into.extend_from_slice(&producer.id().get().to_be_bytes());
    into.extend_from_slice(&producer.epoch().get().to_be_bytes());
    into.extend_from_slice(&sequence.to_be_bytes());
    into.extend_from_slice(&offset.to_be_bytes());
    into.extend_from_slice(&delta.to_be_bytes());
    into.extend_from_slice(&producer.last_timestamp().get().to_be_bytes());
    into.extend_from_slice(&producer.coordinator_epoch().get().to_be_bytes());
    let open = producer.txn_first_offset().map_or(-1, Offset::get);
    into.extend_from_slice(&open.to_be_bytes());
}

/// One entry as it stands in the file.
fn read_entry(entry: &[u8; ENTRY_LEN]) -> Producer {
    let mut at = Cursor::new(entry);
    let producer_id = ProducerId::new(i64::from_be_bytes(at.take()));
    let epoch = ProducerEpoch::new(i16::from_be_bytes(at.take()));
    let last_sequence = i32::from_be_bytes(at.take());
    let last_offset = i64::from_be_bytes(at.take());
    let offset_delta = i32::from_be_bytes(at.take());
    let timestamp = i64::from_be_bytes(at.take());
    let coordinator_epoch = CoordinatorEpoch::new(i32::from_be_bytes(at.take()));
    let open = i64::from_be_bytes(at.take());

    let mut producer = Producer::new(producer_id, epoch);
    // Only a marker is known of this epoch (KAFKA-9144).
    if last_offset >= 0 {
        producer.push(CachedBatch { last_offset, timestamp, last_sequence, offset_delta });
    }
    producer.set_coordinator_epoch(coordinator_epoch);
    producer.touch(Millis::new(timestamp), Millis::NONE);
    if open >= 0 {
        producer.open_txn(Offset::new(open));
    } else if coordinator_epoch != CoordinatorEpoch::NONE {
        // Whether the marker that left this epoch came before the last batch or behind it is not in the file. Behind a
        // transactional batch that is decided it did; plain data of such a producer is taken for that, too, since a
        // refusal is heard and a false success is not. The sidecar knows, and is read after this.
        producer.end_window();
    }
    producer
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
    let (crc, entries) = open_envelope(snapshot)?;
    let mut states = ProducerStates::new(settings);
    for entry in entries {
        let producer = read_entry(entry);
        let producer_id = producer.id();
        if !states.insert(producer) {
            return Err(SnapshotError::Repeated { producer_id });
        }
    }
    states.find_open_txns();
    let window = window.map_or(Ok(()), |bytes| states.restore_window(crc, bytes));
    states.expire(now);
    Ok(Loaded { states, window })
}

/// Checks everything but the entries; returns the checksum and the entries.
fn open_envelope(bytes: &[u8]) -> Result<(u32, &[[u8; ENTRY_LEN]]), SnapshotError> {
    let found = bytes.len();
    let Some((head, body)) = bytes.split_first_chunk::<HEADER_LEN>() else {
        return Err(SnapshotError::Length { needed: HEADER_LEN, found });
    };
    let mut at = Cursor::new(head);
    let version = i16::from_be_bytes(at.take());
    if version != VERSION {
        return Err(SnapshotError::Version { expected: VERSION, found: version });
    }
    let stored = u32::from_be_bytes(at.take());
    let computed = crc32c(&bytes[CRC_END..]);
    if stored != computed {
        return Err(SnapshotError::Crc { stored, computed });
    }
    let count = i32::from_be_bytes(at.take());
    let entries =
        usize::try_from(count).map_err(|_negative| SnapshotError::Count { found: count })?;
    let needed = entries.saturating_mul(ENTRY_LEN).saturating_add(HEADER_LEN);
    let (whole, rest) = body.as_chunks::<ENTRY_LEN>();
    if needed != found || !rest.is_empty() {
        return Err(SnapshotError::Length { needed, found });
    }
    Ok((stored, whole))
}

/// Takes integers off the front of bytes whose length was checked.
pub(crate) struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next `N` bytes; zeros past the end, which a checked length rules out.
    pub(crate) fn take<const N: usize>(&mut self) -> [u8; N] {
        self.try_take().unwrap_or([0; N])
    }

    pub(crate) fn try_take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (front, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*front)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
