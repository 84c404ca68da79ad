//! Producer snapshots on disk: `<offset>.snapshot` in Kafka's bytes, and beside it `<offset>.producers` with what
//! Kafka's format has no room for.
//!
//! The offset in the name is the first that the snapshot does not cover. Both files are written aside and renamed, so
//! neither stands there half. A sidecar names its snapshot by checksum; one without its snapshot is left out.

use std::io::{self, IoSlice};

use hanbeon_idempotence::{Loaded, ProducerStates, Settings, load};
use hanbeon_records::{Millis, Offset};

use crate::{
    Corruption, Damage, Dir, EntryKind, FileName, FileStage, LogFile, Open, SegmentFile,
    SegmentFileName,
    checkpoint::{path, read_whole},
    error::{Action, LogError},
};

/// Largest snapshot that is read: some 20 million producers.
const SNAPSHOT_BYTES_MAX: u64 = 1 << 30;

/// The two files of a snapshot, in the order in which they are written.
const PAIR: [SegmentFile; 2] = [SegmentFile::Producers, SegmentFile::Snapshot];

/// Whether a snapshot survives a power cut when [`write`] returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persist {
    /// It does.
    Now,
    /// It does not: [`make_durable`] follows, before the recovery point moves over it. For rolls, which must not wait for
    /// a disk (KAFKA-15046).
    Later,
}

/// Producer states as the newest sound snapshot has them.
#[derive(Debug)]
pub struct Found {
    /// Offset in its name: replay begins here.
    pub offset: Offset,
    /// The states; their end offset is `offset`.
    pub states: ProducerStates,
}

/// What a search for a snapshot came to.
#[derive(Debug)]
pub struct Search {
    /// The newest sound one; without one the states are rebuilt from the log's first batch on.
    pub found: Option<Found>,
    /// What was no good and why: snapshots (newest first, removed) and sidecars (left alone, the window is then one batch
    /// deep).
    pub rejected: Vec<Corruption>,
}

/// Writes snapshot and sidecar of `states` under their end offset, which it returns. Replaces files of that name.
///
/// # Errors
/// What the storage reports; the caller must then take the directory for poisoned.
pub fn write<D: Dir>(
    dir: &D,
    states: &ProducerStates,
    persist: Persist,
) -> Result<Offset, LogError> {
    let offset = states.end_offset();
    let mut bytes = Vec::new();
    let crc = states.write_snapshot(&mut bytes);
    let mut window = Vec::new();
    states.write_window(crc, &mut window);
    for (kind, bytes) in PAIR.into_iter().zip([&window, &bytes]) {
        write_aside(dir, offset, kind, bytes, persist)?;
    }
    for kind in PAIR {
        let name = SegmentFileName::live(offset, kind).file_name();
        dir.rename(&aside(offset, kind)?, &name)
            .map_err(|error| LogError::io(Action::Rename, path(dir, &name), error))?;
    }
    if persist == Persist::Now {
        sync_dir(dir)?;
    }
    Ok(offset)
}

fn write_aside<D: Dir>(
    dir: &D,
    offset: Offset,
    kind: SegmentFile,
    bytes: &[u8],
    persist: Persist,
) -> Result<(), LogError> {
    let name = aside(offset, kind)?;
    let failed = |action| {
        let file = path(dir, &name);
        move |error| LogError::io(action, file, error)
    };
    let file = dir.open(&name, Open::Create).map_err(failed(Action::Open))?;
    // A crash may have left a longer one under this name.
    file.set_len(0).map_err(failed(Action::Resize))?;
    file.write_at(&[IoSlice::new(bytes)], 0).map_err(failed(Action::Write))?;
    match persist {
        Persist::Now => file.sync().map_err(failed(Action::Sync)),
        Persist::Later => Ok(()),
    }
}

/// Syncs what [`write`] left to be synced. A snapshot that is gone meanwhile needs none.
///
/// # Errors
/// What the storage reports: the recovery point must not move then, and the directory is poisoned.
pub fn make_durable<D: Dir>(dir: &D, offset: Offset) -> Result<(), LogError> {
    for kind in PAIR {
        let name = SegmentFileName::live(offset, kind).file_name();
        match dir.open(&name, Open::Write) {
            Ok(file) => {
                file.sync().map_err(|error| LogError::io(Action::Sync, path(dir, &name), error))?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(LogError::io(Action::Open, path(dir, &name), error)),
        }
    }
    sync_dir(dir)
}

/// Offsets of all snapshots in the directory, rising.
///
/// # Errors
/// What the storage reports.
pub fn list<D: Dir>(dir: &D) -> Result<Vec<Offset>, LogError> {
    let entries =
        dir.list().map_err(|error| LogError::io(Action::List, dir.display(), error))?;
    let mut offsets: Vec<Offset> = entries
        .iter()
        .filter(|entry| matches!(entry.kind, EntryKind::File { .. }))
        .filter_map(|entry| SegmentFileName::parse(entry.name.as_str()))
        .filter(|name| (name.kind, name.stage) == (SegmentFile::Snapshot, FileStage::Live))
        .map(|name| name.base_offset)
        .collect();
    offsets.sort_unstable();
    Ok(offsets)
}

/// Loads the newest sound snapshot that is neither below `first` (the first offset whose batch is still in the log: replay
/// could not begin lower) nor above `end`. Removes damaged ones and those above `end`, whose batches were lost.
///
/// # Errors
/// What the storage reports.
pub fn load_newest<D: Dir>(
    dir: &D,
    first: Offset,
    end: Offset,
    settings: Settings,
    now: Millis,
) -> Result<Search, LogError> {
    let mut rejected = Vec::new();
    for offset in list(dir)?.into_iter().rev().take_while(|offset| *offset >= first) {
        let damage = if offset > end {
            Damage::SnapshotAhead { end, found: offset }
        } else {
            match read(dir, offset, settings, now)? {
                Ok(loaded) => {
                    rejected.extend(loaded.window.err().map(|error| {
                        corruption(dir, offset, SegmentFile::Producers, error.into())
                    }));
                    let mut states = loaded.states;
                    states.advance_end(offset);
                    return Ok(Search { found: Some(Found { offset, states }), rejected });
                }
                Err(damage) => damage,
            }
        };
        rejected.push(corruption(dir, offset, SegmentFile::Snapshot, damage));
        remove(dir, offset)?;
    }
    Ok(Search { found: None, rejected })
}

/// Reads one snapshot, with its sidecar when there is one.
///
/// # Errors
/// What the storage reports. The inner error says why the snapshot is no good; an absent one is an empty one.
pub fn read<D: Dir>(
    dir: &D,
    offset: Offset,
    settings: Settings,
    now: Millis,
) -> Result<Result<Loaded, Damage>, LogError> {
    let snapshot = match read_bytes(dir, offset, SegmentFile::Snapshot)? {
        Ok(bytes) => bytes.unwrap_or_default(),
        Err(damage) => return Ok(Err(damage)),
    };
    // A sidecar of impossible size is left out like a damaged one: as if it held nothing.
    let window = match read_bytes(dir, offset, SegmentFile::Producers)? {
        Ok(bytes) => bytes,
        Err(_) => Some(Vec::new()),
    };
    Ok(load(&snapshot, window.as_deref(), settings, now).map_err(Damage::from))
}

fn read_bytes<D: Dir>(
    dir: &D,
    offset: Offset,
    kind: SegmentFile,
) -> Result<Result<Option<Vec<u8>>, Damage>, LogError> {
    let name = SegmentFileName::live(offset, kind).file_name();
    let failed = |error| LogError::io(Action::Read, path(dir, &name), error);
    let file = match dir.open(&name, Open::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ok(None)),
        Err(error) => return Err(failed(error)),
    };
    match read_whole(&file, SNAPSHOT_BYTES_MAX).map_err(failed)? {
        Some(bytes) => Ok(Ok(Some(bytes))),
        None => {
            let found = file.len().map_err(failed)?;
            Ok(Err(Damage::Oversize { limit: SNAPSHOT_BYTES_MAX, found }))
        }
    }
}

/// Removes a snapshot and its sidecar; fine when they are not there.
///
/// # Errors
/// What the storage reports.
pub fn remove<D: Dir>(dir: &D, offset: Offset) -> Result<(), LogError> {
    for kind in PAIR {
        remove_file(dir, &SegmentFileName::live(offset, kind).file_name())?;
    }
    Ok(())
}

fn remove_file<D: Dir>(dir: &D, name: &FileName) -> Result<(), LogError> {
    match dir.remove(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(LogError::io(Action::Remove, path(dir, name), error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Removes snapshots nobody needs: kept are those under the base offset of a segment, and the newest one between the
/// last base and `end`, which a clean stop wrote. Sidecars without a snapshot and half-written files go as well.
///
/// (Kafka keeps the newest of all, even one above the end, and so loses the good one below it.)
///
/// # Errors
/// What the storage reports.
pub fn remove_strays<D: Dir>(dir: &D, bases: &[Offset], end: Offset) -> Result<(), LogError> {
    let last_base = bases.iter().max().copied().unwrap_or(Offset::ZERO);
    let snapshots = list(dir)?;
    let newest = snapshots.iter().rfind(|offset| (last_base..=end).contains(*offset)).copied();
    let keep: Vec<Offset> = snapshots
        .into_iter()
        .filter(|offset| bases.contains(offset) || Some(*offset) == newest)
        .collect();
    let entries =
        dir.list().map_err(|error| LogError::io(Action::List, dir.display(), error))?;
    for entry in entries {
        let name = entry.name.as_str();
        let (live, half) = match name.strip_suffix(ASIDE) {
            Some(live) => (live, true),
            None => (name, false),
        };
        let stray = SegmentFileName::parse(live)
            .filter(|name| PAIR.contains(&name.kind) && name.stage == FileStage::Live)
            .is_some_and(|name| half || keep.binary_search(&name.base_offset).is_err());
        if stray && matches!(entry.kind, EntryKind::File { .. }) {
            remove_file(dir, &entry.name)?;
        }
    }
    Ok(())
}

/// What the name of a file ends with while it is written.
const ASIDE: &str = ".tmp";

fn aside(offset: Offset, kind: SegmentFile) -> Result<FileName, LogError> {
    let name = format!("{}{ASIDE}", SegmentFileName::live(offset, kind));
    FileName::new(name.as_str()).map_err(|error| LogError::io(Action::Open, name, error))
}

fn corruption<D: Dir>(dir: &D, offset: Offset, kind: SegmentFile, damage: Damage) -> Corruption {
    let name = SegmentFileName::live(offset, kind).file_name();
    Corruption { file: path(dir, &name), at: 0, damage }
}

fn sync_dir<D: Dir>(dir: &D) -> Result<(), LogError> {
    dir.sync().map_err(|error| LogError::io(Action::SyncDir, dir.display(), error))
}
