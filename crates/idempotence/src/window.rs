//! The `.producers` sidecar: what a snapshot leaves out.

use alloc::vec::Vec;

use hanbeon_records::{CoordinatorEpoch, ErrorCode, Millis, ProducerEpoch, ProducerId, crc32c};

use crate::{
    ProducerStates, WINDOW_DEPTH,
    producer::{CachedBatch, Producer},
    snapshot::Cursor,
};

/// The first bytes of a sidecar.
const MAGIC: [u8; 4] = *b"HBPW";

/// The version that is written.
const VERSION: u16 = 2;

/// What the count in an entry counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counted {
    /// The batches before the last (version 1). Where a marker ended the window is not said.
    Older,
    /// Those of which a retry is known, the last among them.
    Known,
}

/// Bytes before what the checksum covers: magic, version, checksum.
const CRC_END: usize = 10;

/// Those, the snapshot's checksum, and the length of what follows.
const HEADER_LEN: usize = 22;

/// Why a sidecar is left out. The snapshot alone is still right, only with a window of one batch at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WindowError {
    /// Not one of our sidecars.
    #[error("the file does not begin like a sidecar")]
    Magic,
    /// A version we do not know.
    #[error("the version of a sidecar is 1 to {expected}, found {found}")]
    Version {
        /// The newest that is read.
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
    /// An entry ends early or counts more batches than a window holds.
    #[error(
        "an entry of the sidecar does not end within it, or its window is deeper than {WINDOW_DEPTH}"
    )]
    Entry,
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
            | Self::Entry
            | Self::Disagrees { .. } => ErrorCode::KafkaStorageError,
        }
    }
}

impl ProducerStates {
    /// Appends the bytes of the sidecar to `into`: what the snapshot with checksum `snapshot_crc`, written of the same
    /// table, has no place for.
    ///
    /// That is of how many batches a retry is known, those before the last, the last batch's own time, and when this node
    /// appended it.
    pub fn write_window(&self, snapshot_crc: u32, into: &mut Vec<u8>) {
        let start = into.len();
        into.extend_from_slice(&MAGIC);
        into.extend_from_slice(&VERSION.to_be_bytes());
        into.extend_from_slice(&[0; 4]);
        into.extend_from_slice(&snapshot_crc.to_be_bytes());
        into.extend_from_slice(&[0; 8]);
        for producer in self.sorted() {
            write_entry(producer, into);
        }
        let len = u64::try_from(into.len() - start - HEADER_LEN).unwrap_or(u64::MAX);
        into[start + HEADER_LEN - 8..start + HEADER_LEN].copy_from_slice(&len.to_be_bytes());
        let crc = crc32c(&into[start + CRC_END..]);
        into[start + CRC_END - 4..start + CRC_END].copy_from_slice(&crc.to_be_bytes());
    }

    /// Deepens the window of a table that was just read from the snapshot with checksum `snapshot_crc`, before
    /// anything is replayed into it.
    ///
    /// # Errors
    /// The bytes are not its sidecar; the table is unchanged then.
    pub fn restore_window(&mut self, snapshot_crc: u32, bytes: &[u8]) -> Result<(), WindowError> {
        let (counted, entries) = open_envelope(snapshot_crc, bytes)?;
        // Two passes, so that what is found wrong at the end leaves nothing half done.
        let mut at = Cursor::new(entries);
        while !at.is_empty() {
            let entry = Entry::read(&mut at, counted).ok_or(WindowError::Entry)?;
            entry.fits(self)?;
        }
        let mut at = Cursor::new(entries);
        while let Some(entry) = Entry::read(&mut at, counted) {
            if let Some(producer) = self.find_mut(entry.producer_id) {
                entry.apply(producer);
            }
        }
        Ok(())
    }
}

fn write_entry(producer: &Producer, into: &mut Vec<u8>) {
    let newest = producer.last().map_or(-1, |last| last.timestamp);
    into.extend_from_slice(&producer.id().get().to_be_bytes());
    into.extend_from_slice(&producer.epoch().get().to_be_bytes());
    into.extend_from_slice(&producer.appended_at().get().to_be_bytes());
    into.extend_from_slice(&newest.to_be_bytes());
    into.push(producer.len());
    for batch in producer.window().take(usize::from(producer.len().saturating_sub(1))) {
        into.extend_from_slice(&batch.last_sequence.to_be_bytes());
        into.extend_from_slice(&batch.last_offset.to_be_bytes());
        into.extend_from_slice(&batch.offset_delta.to_be_bytes());
        into.extend_from_slice(&batch.timestamp.to_be_bytes());
    }
}

/// Checks everything but the entries, and returns their bytes.
fn open_envelope(snapshot_crc: u32, bytes: &[u8]) -> Result<(Counted, &[u8]), WindowError> {
    let Some((head, entries)) = bytes.split_first_chunk::<HEADER_LEN>() else {
        let (needed, found) = (as_u64(HEADER_LEN), as_u64(bytes.len()));
        return Err(WindowError::Length { needed, found });
    };
    let mut at = Cursor::new(head);
    if at.take() != MAGIC {
        return Err(WindowError::Magic);
    }
    let version = u16::from_be_bytes(at.take());
    let counted = match version {
        1 => Counted::Older,
        VERSION => Counted::Known,
        found => return Err(WindowError::Version { expected: VERSION, found }),
    };
    let stored = u32::from_be_bytes(at.take());
    let found = u32::from_be_bytes(at.take());
    let len = u64::from_be_bytes(at.take());
    if len != as_u64(entries.len()) {
        let needed = len.saturating_add(as_u64(HEADER_LEN));
        return Err(WindowError::Length { needed, found: as_u64(bytes.len()) });
    }
    let computed = crc32c(&bytes[CRC_END..]);
    if stored != computed {
        return Err(WindowError::Crc { stored, computed });
    }
    if found != snapshot_crc {
        return Err(WindowError::Foreign { expected: snapshot_crc, found });
    }
    Ok((counted, entries))
}

fn as_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// One producer as the sidecar tells it.
struct Entry {
    producer_id: ProducerId,
    epoch: ProducerEpoch,
    appended_at: i64,
    newest_timestamp: i64,
    counted: Counted,
    count: usize,
    older: [CachedBatch; WINDOW_DEPTH - 1],
}

impl Entry {
    fn read(at: &mut Cursor<'_>, counted: Counted) -> Option<Self> {
        let producer_id = ProducerId::new(i64::from_be_bytes(at.try_take()?));
        let epoch = ProducerEpoch::new(i16::from_be_bytes(at.try_take()?));
        let appended_at = i64::from_be_bytes(at.try_take()?);
        let newest_timestamp = i64::from_be_bytes(at.try_take()?);
        let [count] = at.try_take()?;
        let count = usize::from(count);
        let mut older = [CachedBatch::EMPTY; WINDOW_DEPTH - 1];
        for batch in older.get_mut(..counted.older(count))? {
            batch.last_sequence = i32::from_be_bytes(at.try_take()?);
            batch.last_offset = i64::from_be_bytes(at.try_take()?);
            batch.offset_delta = i32::from_be_bytes(at.try_take()?);
            batch.timestamp = i64::from_be_bytes(at.try_take()?);
        }
        Some(Self { producer_id, epoch, appended_at, newest_timestamp, counted, count, older })
    }

    /// Whether the snapshot holds what this entry adds to.
    fn fits(&self, states: &ProducerStates) -> Result<(), WindowError> {
        let producer_id = self.producer_id;
        let known = states.find(producer_id);
        let fits = known.is_some_and(|producer| {
            producer.epoch() == self.epoch && (self.count == 0 || producer.last().is_some())
        });
        if fits { Ok(()) } else { Err(WindowError::Disagrees { producer_id }) }
    }

    fn apply(&self, producer: &mut Producer) {
        if let Some(newest) = producer.last().copied() {
            let ended = match self.counted {
                Counted::Known => self.count == 0,
                // The snapshot tells as much: see `read_entry`.
                Counted::Older => producer.len() == 0,
            };
            producer.set_window(self.behind_markers(producer));
            producer.push(CachedBatch { timestamp: self.newest_timestamp, ..newest });
            if ended {
                producer.end_window();
            }
        }
        producer.touch(producer.last_timestamp(), Millis::new(self.appended_at));
    }

    /// The batches before the last, from the last marker of their epoch on.
    fn behind_markers(&self, producer: &Producer) -> &[CachedBatch] {
        let older = &self.older[..self.counted.older(self.count)];
        let seen_marker = producer.coordinator_epoch() != CoordinatorEpoch::NONE;
        match (self.counted, producer.txn_first_offset()) {
            // A marker may lie between any two of them, but not inside the transaction that is open.
            (Counted::Older, Some(first)) if seen_marker => {
                let before = older.iter().take_while(|batch| batch.first_offset() < first).count();
                &older[before..]
            }
            (Counted::Older | Counted::Known, _) => older,
        }
    }
}

impl Counted {
    /// How many batches before the last an entry holds that says `count`.
    const fn older(self, count: usize) -> usize {
        match self {
            Self::Older => count,
            Self::Known => count.saturating_sub(1),
        }
    }
}
