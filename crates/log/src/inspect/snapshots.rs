//! Producer snapshots and their sidecars as they stand in the files.

use hanbeon_idempotence::{FirstWrite, Settings, SnapshotError, Verification, WindowError};
use hanbeon_records::{Millis, crc32c};

/// Bytes before the entries of a snapshot: version, checksum, count.
const SNAPSHOT_HEADER: usize = 10;
/// Bytes of one entry of a snapshot.
const SNAPSHOT_ENTRY: usize = 46;
/// Bytes before the entries of a sidecar: magic, version, checksum, the snapshot's checksum, length.
const SIDECAR_HEADER: usize = 22;
const SIDECAR_MAGIC: [u8; 4] = *b"HBPW";
const SIDECAR_VERSION: u16 = 2;

/// One producer in a snapshot; the numbers as they stand there, -1 for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the fields in the file")]
pub struct SnapshotEntry {
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub last_sequence: i32,
    pub last_offset: i64,
    pub offset_delta: i32,
    pub last_timestamp: i64,
    pub coordinator_epoch: i32,
    pub current_txn_first_offset: i64,
}

/// What a `.snapshot` file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotContents {
    /// Its version; `None` when the file ends before.
    pub version: Option<i16>,
    /// Its checksum, which its sidecar names; `None` when the file ends before.
    pub crc: Option<u32>,
    /// Whether that is the checksum of what follows.
    pub crc_valid: bool,
    /// All whole entries that its count and its bytes allow, in the order of the file.
    pub entries: Vec<SnapshotEntry>,
    /// Why it cannot be used.
    pub error: Option<SnapshotError>,
}

/// One batch before the last of a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the fields in the file")]
pub struct OlderBatch {
    pub last_sequence: i32,
    pub last_offset: i64,
    pub offset_delta: i32,
    pub timestamp: i64,
}

/// One producer in a sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SidecarEntry {
    /// Whose.
    pub producer_id: i64,
    /// Of which incarnation.
    pub producer_epoch: i16,
    /// When this node appended its last batch, in milliseconds since 1970; -1 for not known.
    pub appended_at: i64,
    /// The last batch's own time; -1 for none.
    pub last_timestamp: i64,
    /// Of how many batches a retry is recognised, the last among them; 0 behind an end marker.
    pub retriable: u8,
    /// Those of them before the last, oldest first.
    pub older: Vec<OlderBatch>,
}

/// What a `.producers` file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SidecarContents {
    /// Checksum of the snapshot that it belongs to; `None` when the file ends before.
    pub snapshot_crc: Option<u32>,
    /// Its entries as far as they can be read.
    pub entries: Vec<SidecarEntry>,
    /// Why it cannot be used.
    pub error: Option<WindowError>,
}

/// Bytes from which integers are taken off the front.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (front, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*front)
    }
}

impl SnapshotContents {
    /// Reads a `.snapshot` file, damaged or not.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        // Nothing is expired, so that nothing is left out of the judgement.
        let error = hanbeon_idempotence::read_snapshot(bytes, settings(), Millis::NONE).err();
        let mut at = Cursor(bytes);
        let version = at.take().map(i16::from_be_bytes);
        let crc = at.take().map(u32::from_be_bytes);
        let computed = crc32c(bytes.get(SNAPSHOT_HEADER.saturating_sub(4)..).unwrap_or_default());
        let count = at.take().map_or(0, i32::from_be_bytes);
        let count = usize::try_from(count).unwrap_or(0);
        let (whole, _) = at.0.as_chunks::<SNAPSHOT_ENTRY>();
        let entries = whole.iter().take(count).filter_map(|entry| snapshot_entry(entry)).collect();
        Self { version, crc, crc_valid: crc == Some(computed), entries, error }
    }
}

/// What reading a file needs to know; nothing is admitted here.
pub(super) const fn settings() -> Settings {
    Settings {
        expiration_ms: i64::MAX,
        verification: Verification::Off,
        first_write: FirstWrite::AnySequence,
        hash_seed: 0x68_61_6e_62_65_6f_6e,
    }
}

fn snapshot_entry(bytes: &[u8]) -> Option<SnapshotEntry> {
    let mut at = Cursor(bytes);
    Some(SnapshotEntry {
        producer_id: i64::from_be_bytes(at.take()?),
        producer_epoch: i16::from_be_bytes(at.take()?),
        last_sequence: i32::from_be_bytes(at.take()?),
        last_offset: i64::from_be_bytes(at.take()?),
        offset_delta: i32::from_be_bytes(at.take()?),
        last_timestamp: i64::from_be_bytes(at.take()?),
        coordinator_epoch: i32::from_be_bytes(at.take()?),
        current_txn_first_offset: i64::from_be_bytes(at.take()?),
    })
}

impl SidecarContents {
    /// Reads a `.producers` file, damaged or not. Whether it fits its snapshot is for the caller to see by
    /// [`Self::snapshot_crc`].
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        let mut contents = Self { snapshot_crc: None, entries: Vec::new(), error: None };
        contents.error = contents.read(bytes).err();
        contents
    }

    fn read(&mut self, bytes: &[u8]) -> Result<(), WindowError> {
        let found = length(bytes.len());
        let short = WindowError::Length { needed: length(SIDECAR_HEADER), found };
        let mut at = Cursor(bytes);
        if at.take().ok_or(short)? != SIDECAR_MAGIC {
            return Err(WindowError::Magic);
        }
        let version = u16::from_be_bytes(at.take().ok_or(short)?);
        if version != SIDECAR_VERSION {
            return Err(WindowError::Version { expected: SIDECAR_VERSION, found: version });
        }
        let stored = u32::from_be_bytes(at.take().ok_or(short)?);
        let computed = crc32c(at.0);
        self.snapshot_crc = at.take().map(u32::from_be_bytes);
        let len = u64::from_be_bytes(at.take().ok_or(short)?);
        let entries = self.read_entries(at);
        if len.saturating_add(length(SIDECAR_HEADER)) != found {
            let needed = len.saturating_add(length(SIDECAR_HEADER));
            return Err(WindowError::Length { needed, found });
        }
        if stored != computed {
            return Err(WindowError::Crc { stored, computed });
        }
        entries.ok_or(WindowError::Entry)
    }

    fn read_entries(&mut self, mut at: Cursor<'_>) -> Option<()> {
        while !at.0.is_empty() {
            let mut entry = SidecarEntry {
                producer_id: i64::from_be_bytes(at.take()?),
                producer_epoch: i16::from_be_bytes(at.take()?),
                appended_at: i64::from_be_bytes(at.take()?),
                last_timestamp: i64::from_be_bytes(at.take()?),
                retriable: u8::from_be_bytes(at.take()?),
                older: Vec::new(),
            };
            if usize::from(entry.retriable) > hanbeon_idempotence::WINDOW_DEPTH {
                return None;
            }
            for _ in 1..entry.retriable {
                entry.older.push(OlderBatch {
                    last_sequence: i32::from_be_bytes(at.take()?),
                    last_offset: i64::from_be_bytes(at.take()?),
                    offset_delta: i32::from_be_bytes(at.take()?),
                    timestamp: i64::from_be_bytes(at.take()?),
                });
            }
            self.entries.push(entry);
        }
        Some(())
    }
}

fn length(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
