//! What an opening makes of a log whose process was killed while no page was lost.

#![allow(clippy::unwrap_used, reason = "a test fails where its ground is missing")]

mod fixture;

use std::io::IoSlice;

use fixture::{Batch, NOW, append, config, open, options};
use hanbeon_log::{
    Checked, Corruption, Damage, Dir, FileName, FirstBatch, Isolation, LogConfig, LogError,
    LogFile, MemDir, Open, OpenPartition, Partition, SegmentFile, SegmentFileName, Shutdown,
};
use hanbeon_records::{LeaderEpoch, Offset, stamp};

const LEN: usize = 60_000;
const BATCHES: i32 = 60;

fn log_file() -> FileName {
    SegmentFileName::live(Offset::ZERO, SegmentFile::Log).file_name()
}

/// One segment, and a last write of 1 MiB and 64 KiB at most.
fn large() -> LogConfig {
    config(|s| {
        s.internal_segment_bytes = Some(16 << 20);
        s.max_message_bytes = 64 << 10;
    })
}

fn killed() -> OpenPartition {
    OpenPartition { shutdown: Shutdown::Killed, ..options(&large()) }
}

/// A log of 3.6 MB of which nothing is known to be durable, and the byte at which each batch begins.
fn filled() -> (MemDir, Vec<u64>) {
    let dir = MemDir::new();
    let log = open(&dir, &large()).0;
    let mut at = Vec::new();
    for sequence in 0..BATCHES {
        at.push(log.size_bytes());
        append(&log, &Batch::of(1).value_len(LEN).by(7, 0, sequence)).unwrap();
    }
    (dir, at)
}

fn write(dir: &MemDir, bytes: &[u8], at: u64) {
    let file = dir.open(&log_file(), Open::Write).unwrap();
    file.write_at(&[IoSlice::new(bytes)], at).unwrap();
}

fn content(dir: &MemDir) -> Vec<u8> {
    let file = dir.open(&log_file(), Open::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_at(&mut bytes, 0).unwrap();
    bytes
}

fn check_all(log: &Partition<MemDir>) -> Vec<LogError> {
    while log.check_unread(500_000) == Checked::Part {}
    log.take_damage()
}

#[test]
fn p5_headers_tell_what_whole_batches_tell() {
    let (dir, _) = filled();
    let (log, report) = Partition::open(dir.clone(), killed()).unwrap();
    assert!(report.bytes_checked < 1_200_000, "only the end is read: {report:?}");
    let (whole, report) = open(&dir, &large());
    assert!(report.bytes_checked > 3_600_000, "{report:?}");
    assert_eq!(log.log_end_offset(), Offset::new(i64::from(BATCHES)));
    assert_eq!(log.log_end_offset(), whole.log_end_offset());
    assert_eq!(log.producers(), whole.producers());
    assert_eq!(log.leader_epochs(), whole.leader_epochs());
    assert_eq!(log.check_unread(1), Checked::Part);
    assert!(check_all(&log).is_empty());
    assert_eq!(log.check_unread(1), Checked::All);
}

#[test]
fn l1_l2_a_group_is_cut_after_its_last_whole_batch_wherever_its_write_was_torn() {
    let dir = MemDir::new();
    let log = open(&dir, &large()).0;
    append(&log, &Batch::of(2).by(7, 0, 0)).unwrap();
    drop(log);
    let before = content(&dir);
    let mut group = Vec::new();
    let mut ends = vec![(0, 2)];
    for nth in 0..3 {
        let mut batch = Batch::of(2).by(7, 0, 2 + 2 * nth).build().to_vec();
        stamp(&mut batch, Offset::new(2 + 2 * i64::from(nth)), LeaderEpoch::new(0));
        group.extend(batch);
        ends.push((group.len(), 4 + 2 * i64::from(nth)));
    }
    for torn in 0..=group.len() {
        let file = dir.open(&log_file(), Open::Write).unwrap();
        file.set_len(u64::try_from(before.len()).unwrap()).unwrap();
        write(&dir, &group[..torn], u64::try_from(before.len()).unwrap());
        let (log, report) = Partition::open(dir.clone(), killed()).unwrap();
        let (kept, end) = *ends.iter().rfind(|(len, _)| *len <= torn).unwrap();
        assert_eq!(log.log_end_offset(), Offset::new(end), "{torn} bytes of the group");
        assert_eq!(
            report.truncated.map_or(0, |cut| cut.bytes),
            u64::try_from(torn - kept).unwrap()
        );
        assert_eq!(content(&dir), [&before, &group[..kept]].concat());
    }
}

#[test]
fn l1_rot_that_no_kill_leaves_is_told_and_nothing_is_cut() {
    let (dir, at) = filled();
    write(&dir, b"rot", at[5] + 1000);
    let log = Partition::open(dir.clone(), killed()).unwrap().0;
    assert_eq!(log.log_end_offset(), Offset::new(i64::from(BATCHES)));
    // Whoever moves the recovery point looks first.
    let closed = log.close().unwrap();
    assert_eq!(closed.recovery_point, Offset::new(i64::from(BATCHES)));
    let damage = log.take_damage();
    let [LogError::Corrupt(Corruption { file, at: found, .. })] = &damage[..] else {
        panic!("{damage:?}")
    };
    assert!(file.ends_with("00000000000000000000.log"), "{file}");
    assert_eq!(*found, at[5]);
    let recovery_point = closed.recovery_point;
    let log = Partition::open(
        dir,
        OpenPartition { shutdown: Shutdown::Clean, recovery_point, ..killed() },
    )
    .unwrap()
    .0;
    let read = log.read(Offset::new(6), Isolation::LogEnd, 1 << 20, FirstBatch::Whole).unwrap();
    assert!(read.records.len() > 1_000_000, "what is behind it can be read");
}

/// The byte and the offset at which damage begins.
fn not_torn(error: &LogError) -> (u64, i64) {
    let LogError::NotTorn { cause, end } = error else { panic!("{error}") };
    (cause.at, end.get())
}

#[test]
fn l1_l3_the_last_write_is_summed_and_a_whole_batch_is_not_cut() {
    for batch in [50, 58, 59] {
        // In the records, and in the magic byte.
        for field in [1000, 16] {
            let (dir, at) = filled();
            write(&dir, &[0x7f], at[batch] + field);
            let before = content(&dir);
            let error = Partition::open(dir.clone(), killed()).unwrap_err();
            assert_eq!(not_torn(&error), (at[batch], i64::try_from(batch).unwrap()));
            assert!(content(&dir) == before, "changed");
        }
    }
}

#[test]
fn l1_l2_a_batch_whose_last_page_was_never_written_is_cut() {
    for rest in [2, 30, 60] {
        let (dir, at) = filled();
        let overhead = at[1] - at[0] - u64::try_from(LEN).unwrap();
        let end = dir.open(&log_file(), Open::Read).unwrap().len().unwrap();
        // So that these bytes of it lie on its last page.
        let len = (end + overhead + 60_000).next_multiple_of(4096) + rest - end - overhead;
        let log = open(&dir, &large()).0;
        let batch = Batch::of(1).value_len(usize::try_from(len).unwrap()).by(7, 0, BATCHES);
        append(&log, &batch).unwrap();
        let long = log.size_bytes();
        drop(log);
        assert_eq!(long % 4096, rest);
        write(&dir, &vec![0; usize::try_from(rest).unwrap()], long - rest);
        let (log, report) = Partition::open(dir, killed()).unwrap();
        assert_eq!(log.log_end_offset(), Offset::new(i64::from(BATCHES)));
        assert_eq!(report.truncated.unwrap().cause.at, end);
    }
}

#[test]
fn l1_rot_in_a_header_is_refused_and_changes_nothing() {
    let (dir, at) = filled();
    for field in [8, 16] {
        write(&dir, &[0x7f], at[5] + field);
        let before = content(&dir);
        let error = Partition::open(dir.clone(), killed()).unwrap_err();
        assert_eq!(not_torn(&error), (at[5], 5));
        assert_eq!(content(&dir), before);
        write(&dir, &[if field == 8 { 0 } else { 2 }], at[5] + field);
    }
    assert!(Partition::open(dir, killed()).is_ok(), "mended");
}

/// The recovery point that is written when a file is found missing lies in the gap, and none of a log that compaction has been at does.
#[test]
fn l1_a_gap_that_was_refused_passes_for_no_gap_of_compaction_later() {
    let small = config(|s| s.internal_segment_bytes = Some(700));
    let dir = MemDir::new();
    let log = open(&dir, &small).0;
    for sequence in 0..9 {
        append(&log, &Batch::of(2).value_len(100).by(7, 0, 2 * sequence)).unwrap();
    }
    let missing = log.segments()[1].base_offset;
    drop(log);
    dir.remove(&SegmentFileName::live(missing, SegmentFile::Log).file_name()).unwrap();
    let opened = |shutdown, recovery_point| {
        let told = OpenPartition { shutdown, recovery_point, ..options(&small) };
        Partition::open(dir.clone(), told).unwrap_err()
    };
    let error = opened(Shutdown::Killed, Offset::ZERO);
    assert_eq!(not_torn(&error), (0, missing.get()));
    for shutdown in [Shutdown::Killed, Shutdown::Unclean] {
        let error = opened(shutdown, missing.saturating_add(1));
        let LogError::Corrupt(Corruption { damage, .. }) = &error else { panic!("{error}") };
        assert!(matches!(damage, Damage::Gap { .. }), "{shutdown:?}: {error}");
    }
}

#[test]
fn l3_a_log_that_ends_with_zeroes_is_read_whole() {
    let (dir, at) = filled();
    let end = dir.open(&log_file(), Open::Read).unwrap().len().unwrap();
    write(&dir, &vec![0; 5_000_000], end);
    write(&dir, &[0; 3000], at[59] + 50_000);
    let (log, report) = Partition::open(dir, killed()).unwrap();
    assert_eq!(log.log_end_offset(), Offset::new(59), "{report:?}");
    assert!(report.bytes_checked > 3_500_000, "{report:?}");
}

#[test]
fn l1_a_cut_or_a_deletion_takes_what_was_to_be_checked_with_it() {
    for cut in [true, false] {
        let (dir, _) = filled();
        let log = Partition::open(dir, killed()).unwrap().0;
        assert_eq!(log.check_unread(100_000), Checked::Part);
        if cut {
            log.truncate_to(Offset::new(1)).unwrap();
        } else {
            log.advance_high_watermark(log.log_end_offset());
            log.delete_records(Offset::new(50)).unwrap();
        }
        append(&log, &Batch::of(1).at(NOW.get())).unwrap();
        assert!(check_all(&log).is_empty());
        assert_eq!(log.check_unread(1), Checked::All);
        log.close().unwrap();
    }
}

#[test]
fn l1_a_log_is_not_taken_away_for_a_start_behind_its_end() {
    for shutdown in [Shutdown::Killed, Shutdown::Clean] {
        let (dir, _) = filled();
        let before = content(&dir);
        let start = Offset::new(i64::from(BATCHES) + 1);
        let told = OpenPartition { shutdown, log_start: Some(start), ..killed() };
        let error = Partition::open(dir.clone(), told).unwrap_err();
        assert!(matches!(&error, LogError::Corrupt(_)), "{error}");
        assert!(content(&dir) == before, "{shutdown:?}");
    }
}
