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

/// Whether a snapshot survives a power cut when [`write()`] returns.
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

/// Syncs what [`write()`] left to be synced. A snapshot that is gone meanwhile needs none.
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
    let entries = dir.list().map_err(|error| LogError::io(Action::List, dir.display(), error))?;
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

/// Whether a snapshot has a sidecar at all; Kafka writes none.
///
/// # Errors
/// What the storage reports.
pub fn has_sidecar<D: Dir>(dir: &D, offset: Offset) -> Result<bool, LogError> {
    let name = SegmentFileName::live(offset, SegmentFile::Producers).file_name();
    match dir.open(&name, Open::Read) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(LogError::io(Action::Open, path(dir, &name), error)),
    }
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
        Err(error) => return Err(LogError::io(Action::Open, path(dir, &name), error)),
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

/// Removes snapshots and then, once their names are gone for good, their sidecars: a crash in between must not leave a
/// snapshot that knows less than it did.
///
/// # Errors
/// What the storage reports.
pub fn remove_all<D: Dir>(dir: &D, offsets: &[Offset]) -> Result<(), LogError> {
    if offsets.is_empty() {
        return Ok(());
    }
    for offset in offsets {
        remove_file(dir, &SegmentFileName::live(*offset, SegmentFile::Snapshot).file_name())?;
    }
    dir.sync().map_err(|error| LogError::sync_dir(dir.display(), error))?;
    for offset in offsets {
        remove_file(dir, &SegmentFileName::live(*offset, SegmentFile::Producers).file_name())?;
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
    let entries = dir.list().map_err(|error| LogError::io(Action::List, dir.display(), error))?;
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
    dir.sync().map_err(|error| LogError::sync_dir(dir.display(), error))
}

#[cfg(test)]
mod tests {
    use hanbeon_idempotence::{
        Admission, BatchKind, Claim, FirstWrite, Origin, SnapshotError, Verification, WindowError,
    };
    use hanbeon_records::{ProducerEpoch, ProducerId, Sequence};

    use super::*;
    use crate::MemDir;

    const NOW: Millis = Millis::new(1_700_000_000_000);

    fn settings() -> Settings {
        Settings {
            expiration_ms: 86_400_000,
            verification: Verification::Off,
            first_write: FirstWrite::FromZero,
            hash_seed: 7,
        }
    }

    /// States of one producer that wrote `batches` batches of one record each.
    fn states(batches: i32) -> ProducerStates {
        let mut states = ProducerStates::new(settings());
        for sequence in 0..batches {
            let claim = claim(sequence);
            let Ok(Admission::Append(ticket)) = states.admit(&claim) else { panic!("{claim:?}") };
            states.record(ticket, Offset::new(sequence.into()), NOW);
        }
        states
    }

    fn claim(sequence: i32) -> Claim {
        Claim {
            producer_id: ProducerId::new(1000),
            producer_epoch: ProducerEpoch::new(0),
            base_sequence: Sequence::new(sequence).unwrap(),
            last_offset_delta: 0,
            max_timestamp: NOW,
            kind: BatchKind::Plain,
            origin: Origin::Client,
            guard: None,
        }
    }

    fn name(offset: i64, kind: SegmentFile) -> FileName {
        SegmentFileName::live(Offset::new(offset), kind).file_name()
    }

    fn spoil(dir: &MemDir, name: &FileName, bytes: &[u8]) {
        let file = dir.open(name, Open::Create).unwrap();
        file.set_len(0).unwrap();
        file.write_at(&[IoSlice::new(bytes)], 0).unwrap();
    }

    fn search(dir: &MemDir, first: i64, end: i64) -> Search {
        load_newest(dir, Offset::new(first), Offset::new(end), settings(), NOW).unwrap()
    }

    fn offset(search: &Search) -> Option<i64> {
        search.found.as_ref().map(|found| found.offset.get())
    }

    fn offsets(dir: &MemDir) -> Vec<i64> {
        list(dir).unwrap().into_iter().map(Offset::get).collect()
    }

    #[test]
    fn p2_a_retry_inside_the_window_is_known_after_loading() {
        let dir = MemDir::new();
        assert_eq!(write(&dir, &states(6), Persist::Now).unwrap(), Offset::new(6));
        let found = search(&dir, 0, 6).found.unwrap();
        assert_eq!(found.states.end_offset(), Offset::new(6));
        for sequence in 1..6 {
            let answer = found.states.admit(&claim(sequence)).unwrap();
            let Admission::Duplicate(copy) = answer else { panic!("{sequence}: {answer:?}") };
            assert_eq!(copy.base_offset, Offset::new(sequence.into()));
        }
    }

    #[test]
    fn c14_without_the_sidecar_the_last_batch_alone_is_known() {
        let dir = MemDir::new();
        write(&dir, &states(6), Persist::Now).unwrap();
        dir.remove(&name(6, SegmentFile::Producers)).unwrap();
        let found = search(&dir, 0, 6);
        assert!(found.rejected.is_empty(), "Kafka writes none");
        let states = found.found.unwrap().states;
        assert!(matches!(states.admit(&claim(5)), Ok(Admission::Duplicate(_))));
        assert!(states.admit(&claim(4)).is_err());
    }

    #[test]
    fn a_foreign_sidecar_is_reported_and_left_out() {
        let dir = MemDir::new();
        write(&dir, &states(3), Persist::Now).unwrap();
        let mut other = Vec::new();
        states(2).write_window(1, &mut other);
        spoil(&dir, &name(3, SegmentFile::Producers), &other);
        let found = search(&dir, 0, 3);
        assert_eq!(offset(&found), Some(3));
        let damage = &found.rejected[0].damage;
        assert!(matches!(damage, Damage::Window(WindowError::Foreign { .. })), "{damage}");
    }

    #[test]
    fn pf_a5_c3_a_damaged_snapshot_is_removed_and_the_one_before_it_used() {
        let bytes = {
            let mut bytes = Vec::new();
            states(5).write_snapshot(&mut bytes);
            bytes
        };
        let mut flipped = bytes.clone();
        flipped[20] ^= 1;
        for bad in [&[][..], &bytes[..1], &bytes[..bytes.len() - 1], &flipped] {
            let dir = MemDir::new();
            write(&dir, &states(3), Persist::Now).unwrap();
            spoil(&dir, &name(5, SegmentFile::Snapshot), bad);
            let found = search(&dir, 0, 9);
            assert_eq!(offset(&found), Some(3));
            assert!(found.rejected[0].file.ends_with("/00000000000000000005.snapshot"));
            assert_eq!(offsets(&dir), [3]);
        }
    }

    #[test]
    fn every_cut_and_every_flipped_bit_of_a_snapshot_is_noticed() {
        let mut bytes = Vec::new();
        states(2).write_snapshot(&mut bytes);
        for len in 0..bytes.len() {
            assert!(load(&bytes[..len], None, settings(), NOW).is_err(), "{len}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(load(&flipped, None, settings(), NOW).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a19_a_snapshot_above_the_logs_end_is_removed_and_the_one_at_the_end_kept() {
        let dir = MemDir::new();
        write(&dir, &states(4), Persist::Now).unwrap();
        write(&dir, &states(9), Persist::Now).unwrap();
        let found = search(&dir, 0, 4);
        assert_eq!(offset(&found), Some(4));
        let ahead = Damage::SnapshotAhead { end: Offset::new(4), found: Offset::new(9) };
        assert_eq!(found.rejected[0].damage, ahead);
        assert_eq!(offsets(&dir), [4]);
    }

    #[test]
    fn replay_cannot_begin_below_what_is_left_of_the_log() {
        let dir = MemDir::new();
        write(&dir, &states(4), Persist::Now).unwrap();
        assert_eq!(offset(&search(&dir, 4, 9)), Some(4), "at the first batch it can");
        assert_eq!(offset(&search(&dir, 5, 9)), None);
        assert_eq!(offset(&search(&MemDir::new(), 0, 9)), None, "c13: none is normal");
    }

    #[test]
    fn nothing_is_expired_while_it_is_young_and_an_empty_table_has_a_file() {
        let dir = MemDir::new();
        let mut empty = ProducerStates::new(settings());
        empty.advance_end(Offset::new(12));
        write(&dir, &empty, Persist::Later).unwrap();
        make_durable(&dir, Offset::new(12)).unwrap();
        let bytes = dir.open(&name(12, SegmentFile::Snapshot), Open::Read).unwrap();
        let kafkas = [0, 1, 0x48, 0x67, 0x4b, 0xc7, 0, 0, 0, 0];
        assert_eq!(bytes.view(0..bytes.len().unwrap()).unwrap(), &kafkas[..]);
        make_durable(&dir, Offset::new(99)).unwrap();
    }

    #[test]
    fn c16_a_shorter_snapshot_replaces_a_longer_one_whole() {
        let dir = MemDir::new();
        write(&dir, &states(5), Persist::Now).unwrap();
        let mut empty = ProducerStates::new(settings());
        empty.advance_end(Offset::new(5));
        write(&dir, &empty, Persist::Now).unwrap();
        let found = search(&dir, 0, 5);
        assert!(found.rejected.is_empty() && found.found.unwrap().states.is_empty());
    }

    #[test]
    fn strays_go_and_what_a_clean_stop_wrote_stays() {
        let dir = MemDir::new();
        for batches in [2, 3, 5, 7, 8, 9] {
            write(&dir, &states(batches), Persist::Now).unwrap();
        }
        let lone = name(1, SegmentFile::Producers);
        let half = FileName::new("00000000000000000005.snapshot.tmp").unwrap();
        let other = FileName::new("00000000000000000001.log").unwrap();
        let deleted = FileName::new("00000000000000000003.snapshot.deleted").unwrap();
        for name in [&lone, &half, &other, &deleted] {
            spoil(&dir, name, b"x");
        }
        remove_strays(&dir, &[Offset::ZERO, Offset::new(2), Offset::new(5)], Offset::new(8))
            .unwrap();
        assert_eq!(offsets(&dir), [2, 5, 8], "9 lies above the end, 3 and 7 are of no segment");
        let left: Vec<_> = dir.list().unwrap().into_iter().map(|entry| entry.name).collect();
        assert!(left.contains(&other) && left.contains(&deleted));
        assert!(!left.contains(&lone) && !left.contains(&half));
        assert_eq!(left.len(), 8, "three pairs and two strangers: {left:?}");
    }

    #[test]
    fn the_error_of_an_absent_snapshot_is_that_of_an_empty_one() {
        let read = read(&MemDir::new(), Offset::new(1), settings(), NOW).unwrap();
        assert!(matches!(read, Err(Damage::Snapshot(SnapshotError::Length { .. }))));
    }
}
