//! Bugs that other logs really had, each as a test of ours. The names carry the rows of the list they come from.

#![allow(clippy::unwrap_used, reason = "a test fails where its ground is missing")]

mod fixture;

use std::io::IoSlice;

use fixture::{Batch, NOW, append, config, end_txn, offsets, open, options};
use hanbeon_idempotence::Outcome;
use hanbeon_log::{
    AppendError, CrashDir, Damage, Dir, FileName, FirstBatch, Isolation, LogError, LogFile, MemDir,
    Open, OpenPartition, Partition, Placed, SegmentFile, SegmentFileName, Shutdown, TimeQuery,
};
use hanbeon_records::{ErrorCode, LeaderEpoch, Millis, Offset, stamp};

fn name(base: i64, kind: SegmentFile) -> FileName {
    SegmentFileName::live(Offset::new(base), kind).file_name()
}

fn has<D: Dir>(dir: &D, base: i64, kind: SegmentFile) -> bool {
    dir.open(&name(base, kind), Open::Read).is_ok()
}

fn bytes<D: Dir>(dir: &D, name: &FileName) -> Vec<u8> {
    let file = dir.open(name, Open::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_at(&mut bytes, 0).unwrap();
    bytes
}

fn put<D: Dir>(dir: &D, name: &FileName, bytes: &[u8]) {
    let file = dir.open(name, Open::Create).unwrap();
    file.set_len(0).unwrap();
    file.write_at(&[IoSlice::new(bytes)], 0).unwrap();
}

fn extend<D: Dir>(dir: &D, name: &FileName, more: &[u8]) {
    let file = dir.open(name, Open::Write).unwrap();
    file.write_at(&[IoSlice::new(more)], file.len().unwrap()).unwrap();
}

/// Segments of about three batches, and an index entry for each batch but the first.
fn small() -> hanbeon_log::LogConfig {
    config(|s| {
        s.internal_segment_bytes = Some(700);
        s.index_interval_bytes = 0;
    })
}

fn fill<D: Dir>(log: &Partition<D>, batches: i32) {
    for sequence in 0..batches {
        append(log, &Batch::of(1).value_len(100).by(7, 0, sequence)).unwrap();
    }
}

fn unclean<D: Dir>(dir: &D, recovery_point: i64) -> OpenPartition {
    let _ = dir;
    OpenPartition { recovery_point: Offset::new(recovery_point), ..options(&small()) }
}

#[test]
fn a3_the_recovery_point_is_never_advanced_by_recovery_and_never_above_the_end() {
    let dir = MemDir::new();
    let log = open(&dir, &small()).0;
    fill(&log, 9);
    assert_eq!(log.recovery_point(), Offset::ZERO);
    drop(log);
    let log = Partition::open(dir.clone(), unclean(&dir, 4)).unwrap().0;
    assert_eq!((log.recovery_point(), log.log_end_offset()), (Offset::new(4), Offset::new(9)));
    log.truncate_to(Offset::new(2)).unwrap();
    drop(log);
    // The checkpoint of before the cut: nothing says that there was more, so it is lowered.
    let log = Partition::open(dir.clone(), unclean(&dir, 4)).unwrap().0;
    assert_eq!((log.recovery_point(), log.log_end_offset()), (Offset::new(2), Offset::new(2)));
}

#[test]
fn a3_a14_a_log_below_its_start_is_begun_anew_there() {
    let dir = MemDir::new();
    let log = open(&dir, &small()).0;
    fill(&log, 9);
    drop(log);
    let options = OpenPartition { log_start: Some(Offset::new(50)), ..unclean(&dir, 0) };
    let log = Partition::open(dir.clone(), options).unwrap().0;
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (Offset::new(50), Offset::new(50)));
    assert!(log.producers().is_empty() && log.leader_epochs().is_empty());
    assert_eq!(append(&log, &Batch::of(1)).unwrap().base_offset, Offset::new(50));
    assert!(!has(&dir, 0, SegmentFile::Log), "nothing of before is left");
}

#[test]
fn a4_a_new_segment_is_still_there_after_its_first_sync() {
    let dir = CrashDir::new();
    let log = open(&dir, &small()).0;
    fill(&log, 9);
    assert!(log.segments().len() > 2);
    log.sync(log.log_end_offset()).unwrap();
    for seed in 0..30 {
        let image = dir.crash(seed);
        let (log, report) = Partition::open(image.clone(), unclean(&image, 0)).unwrap();
        assert_eq!(log.log_end_offset(), Offset::new(9), "{report:?}");
    }
}

#[test]
fn pf_a5_c3_a_snapshot_that_cannot_be_read_costs_time_and_not_the_log() {
    let dir = MemDir::new();
    let log = open(&dir, &small()).0;
    fill(&log, 9);
    let closed = log.close().unwrap();
    let file = name(9, SegmentFile::Snapshot);
    let good = bytes(&dir, &file);
    let flipped = {
        let mut flipped = good.clone();
        *flipped.last_mut().unwrap() ^= 1;
        flipped
    };
    let version = [&[0, 9][..], &good[2..]].concat();
    for bad in [Vec::new(), good[..good.len() - 1].to_vec(), flipped, version] {
        put(&dir, &file, &bad);
        let clean = OpenPartition {
            shutdown: Shutdown::Clean,
            recovery_point: closed.recovery_point,
            ..options(&small())
        };
        let (log, report) = Partition::open(dir.clone(), clean).unwrap();
        assert_eq!(report.snapshots_ignored.len(), 1, "{report:?}");
        assert!(report.batches_replayed > 0);
        let retry = append(&log, &Batch::of(1).value_len(100).by(7, 0, 8)).unwrap();
        assert_eq!(retry.placed, Placed::Duplicate);
        assert!(
            !has(&dir, 9, SegmentFile::Snapshot),
            "it does not stand in the way of the next one"
        );
    }
}

#[test]
fn a7_a_roll_waits_for_no_disk() {
    let dir = CrashDir::new();
    let log = open(&dir, &small()).0;
    fill(&log, 2);
    log.sync_written().unwrap();
    let before = (dir.syncs(), log.segments().len());
    let mut sequence = 2;
    while log.segments().len() == before.1 {
        fill_from(&log, sequence, sequence + 1);
        sequence += 1;
    }
    assert_eq!(dir.syncs(), before.0);
}

#[test]
fn a8_an_empty_log_is_closed_and_opened_and_its_index_may_be_missing() {
    let dir = MemDir::new();
    let closed = open(&dir, &small()).0.close().unwrap();
    dir.remove(&name(0, SegmentFile::OffsetIndex)).unwrap();
    let clean = OpenPartition {
        shutdown: Shutdown::Clean,
        recovery_point: closed.recovery_point,
        ..options(&small())
    };
    let log = Partition::open(dir, clean).unwrap().0;
    fill(&log, 1);
}

#[test]
fn a10_a_follower_rolls_where_an_index_cannot_say_the_offset() {
    let dir = MemDir::new();
    let log = open(&dir, &small()).0;
    let at = |offset: i64| {
        let mut batch = Batch::of(1).build().to_vec();
        stamp(&mut batch, Offset::new(offset), LeaderEpoch::new(0));
        batch.into()
    };
    let far = 1_i64 << 40;
    for offset in [5, far, far + (1 << 33)] {
        log.append_as_follower(&at(offset), LeaderEpoch::new(0), NOW).unwrap();
    }
    let all = [(5, 5), (far, far), (far + (1 << 33), far + (1 << 33))];
    assert_eq!(offsets(&log, 0, Isolation::LogEnd), all);
    assert!(log.append_as_follower(&at(7), LeaderEpoch::new(0), NOW).is_err(), "below the end");
    log.sync_written().unwrap();
    drop(log);
    let log = Partition::open(dir.clone(), unclean(&dir, far + (1 << 33) + 1)).unwrap().0;
    assert_eq!(offsets(&log, 0, Isolation::LogEnd), all);
}

#[test]
fn d8_the_limit_of_a_batch_is_the_leaders_to_check() {
    let lowered = config(|s| s.max_message_bytes = 100);
    let log = open(&MemDir::new(), &lowered).0;
    let batch = Batch::of(1).value_len(1024);
    let refused = append(&log, &batch).unwrap_err();
    assert!(matches!(refused, AppendError::TooLarge { .. }), "{refused}");
    // Its leader took it before the limit was lowered.
    let end = log.append_as_follower(&batch.build(), LeaderEpoch::new(0), NOW).unwrap();
    assert_eq!((end, offsets(&log, 0, Isolation::LogEnd)), (Offset::new(1), vec![(0, 0)]));
}

#[test]
fn e5_a_high_watermark_outside_the_log_is_taken_to_its_nearer_end() {
    let dir = MemDir::new();
    let log = open(&dir, &small()).0;
    fill(&log, 9);
    log.advance_high_watermark(Offset::new(9));
    log.delete_records(Offset::new(4)).unwrap();
    drop(log);
    for (checkpoint, expected) in [(None, 4), (Some(2), 4), (Some(7), 7), (Some(100), 9)] {
        let told = OpenPartition {
            high_watermark: checkpoint.map(Offset::new),
            log_start: Some(Offset::new(4)),
            ..unclean(&dir, 0)
        };
        let log = Partition::open(dir.clone(), told).unwrap().0;
        assert_eq!(log.high_watermark(), Offset::new(expected), "{checkpoint:?}");
        let read = log.read(Offset::new(expected), Isolation::Uncommitted, 1, FirstBatch::Whole);
        assert!(read.unwrap().records.is_empty(), "{checkpoint:?}");
        log.advance_high_watermark(Offset::new(9));
        assert_eq!(log.high_watermark(), Offset::new(9), "it goes on from there");
    }
}

#[test]
fn a17_room_that_was_never_written_is_no_data_and_zeroes_are_no_index() {
    let dir = MemDir::new();
    let log = open(&dir, &small()).0;
    fill(&log, 2);
    drop(log);
    extend(&dir, &name(0, SegmentFile::Log), &[0; 5000]);
    put(&dir, &name(0, SegmentFile::OffsetIndex), &[0; 4096]);
    put(&dir, &name(0, SegmentFile::TimeIndex), &[0; 4092]);
    let (log, report) = Partition::open(dir.clone(), unclean(&dir, 0)).unwrap();
    assert_eq!(report.truncated.unwrap().bytes, 5000);
    assert_eq!(offsets(&log, 1, Isolation::LogEnd), [(1, 1)]);
    let found = log.find_offset(TimeQuery::At(NOW), Isolation::LogEnd).unwrap().unwrap();
    assert_eq!(found.offset, Offset::ZERO);
}

#[test]
fn a18_a_batch_below_its_predecessor_ends_the_log_there() {
    for (epoch, offset, told) in [(0, 1, "a batch begins at offset 3"), (0, 3, "")] {
        let dir = MemDir::new();
        let log = open(&dir, &small()).0;
        log.begin_leader_epoch(LeaderEpoch::new(2));
        fill(&log, 3);
        drop(log);
        let mut batch = Batch::of(1).build().to_vec();
        stamp(&mut batch, Offset::new(offset), LeaderEpoch::new(epoch));
        extend(&dir, &name(0, SegmentFile::Log), &batch);
        let (log, report) = Partition::open(dir.clone(), unclean(&dir, 0)).unwrap();
        assert_eq!(log.log_end_offset(), Offset::new(3));
        let cause = report.truncated.unwrap().cause;
        let expected = if told.is_empty() { "leader epoch 2 or higher" } else { told };
        assert!(cause.to_string().contains(expected), "{cause}");
    }
}

#[test]
fn a18_below_the_recovery_point_it_is_reported_and_nothing_is_changed() {
    let dir = MemDir::new();
    let log = open(&dir, &small()).0;
    fill(&log, 3);
    drop(log);
    let file = name(0, SegmentFile::Log);
    let mut damaged = bytes(&dir, &file);
    let place = damaged.len() - 1;
    damaged[place] ^= 1;
    put(&dir, &file, &damaged);
    let error = Partition::open(dir.clone(), unclean(&dir, 3)).unwrap_err();
    let LogError::Corrupt(corruption) = &error else { panic!("{error}") };
    assert!(corruption.file.ends_with("00000000000000000000.log"), "{error}");
    assert!(matches!(corruption.damage, Damage::Batch(_)));
    assert_eq!(bytes(&dir, &file), damaged);
    // Who decides to lose it says so with the recovery point.
    let log = Partition::open(dir.clone(), unclean(&dir, 0)).unwrap().0;
    assert_eq!(log.log_end_offset(), Offset::new(2));
}

#[test]
fn a19_a_snapshot_above_the_end_is_no_state() {
    let dir = MemDir::new();
    let log = open(&dir, &small()).0;
    fill(&log, 2);
    log.close().unwrap();
    for kind in [SegmentFile::Snapshot, SegmentFile::Producers] {
        let snapshot = bytes(&dir, &name(2, kind));
        put(&dir, &name(40, kind), &snapshot);
    }
    let (log, report) = Partition::open(dir.clone(), unclean(&dir, 2)).unwrap();
    assert_eq!(report.snapshots_ignored.len(), 1);
    assert!(!has(&dir, 40, SegmentFile::Snapshot) && has(&dir, 2, SegmentFile::Snapshot));
    assert_eq!(log.log_end_offset(), Offset::new(2));
}

#[test]
fn a20_a_damaged_index_costs_no_snapshot() {
    let dir = MemDir::new();
    let log = open(&dir, &small()).0;
    fill(&log, 12);
    let closed = log.close().unwrap();
    let snapshots = || {
        let entries = dir.list().unwrap();
        entries.into_iter().filter(|e| e.name.as_str().ends_with(".snapshot")).count()
    };
    let before = snapshots();
    assert!(before > 2);
    put(&dir, &name(0, SegmentFile::OffsetIndex), b"garbage!garbage!");
    let clean = OpenPartition {
        shutdown: Shutdown::Clean,
        recovery_point: closed.recovery_point,
        ..options(&small())
    };
    let (log, report) = Partition::open(dir.clone(), clean).unwrap();
    assert_eq!(report.indexes_rebuilt, ["00000000000000000000.index"]);
    assert_eq!((snapshots(), report.batches_replayed), (before, 0));
    assert_eq!(offsets(&log, 1, Isolation::LogEnd).first(), Some(&(1, 1)));
}

#[test]
fn b2_a_log_that_was_cut_to_nothing_takes_batches_again() {
    let dir = MemDir::new();
    let log = open(&dir, &small()).0;
    fill(&log, 9);
    for to in [1, 0] {
        log.truncate_to(Offset::new(to)).unwrap();
        assert_eq!(log.log_end_offset(), Offset::new(to));
    }
    assert!(log.producers().is_empty());
    fill(&log, 9);
    assert_eq!(offsets(&log, 0, Isolation::LogEnd).len(), 9);
}

/// A producer of old records, whose batches say nothing about when it was last heard of.
#[test]
fn p2_c15_a_cut_forgets_nobody_who_wrote_a_moment_ago() {
    const DAY_MS: i64 = 86_400_000;
    let log = open(&MemDir::new(), &small()).0;
    let back_filled = Batch::of(1).by(7, 0, 0).at(NOW.get() - 2 * DAY_MS);
    append(&log, &back_filled).unwrap();
    append(&log, &Batch::of(1).by(8, 0, 0)).unwrap();
    log.truncate_to(Offset::new(1)).unwrap();
    assert_eq!(log.expire_producers(Millis::new(NOW.get() + 1000)), 0);
    assert_eq!(append(&log, &back_filled).unwrap().placed, Placed::Duplicate);
    assert_eq!(log.expire_producers(Millis::new(NOW.get() + DAY_MS)), 1, "it was silent for a day");
}

#[test]
fn b6_each_batch_of_a_large_fetch_gets_its_index_entry() {
    let leader = open(&MemDir::new(), &config(|_| ())).0;
    fill(&leader, 40);
    let fetched = leader.read(Offset::ZERO, Isolation::LogEnd, 1 << 20, FirstBatch::Whole).unwrap();
    let dir = MemDir::new();
    let follower = open(&dir, &config(|s| s.index_interval_bytes = 0)).0;
    follower.append_as_follower(&fetched.records, LeaderEpoch::new(0), NOW).unwrap();
    follower.close().unwrap();
    assert_eq!(bytes(&dir, &name(0, SegmentFile::OffsetIndex)).len(), 39 * 8);
    assert_eq!(follower.producers(), leader.producers());
    assert_eq!(follower.leader_epochs(), leader.leader_epochs());
}

#[test]
fn b12_a_file_on_its_way_out_goes_and_its_namesake_stays() {
    let dir = MemDir::new();
    let log = open(&dir, &small()).0;
    fill(&log, 2);
    drop(log);
    for suffix in ["log.deleted", "index.deleted", "snapshot.deleted"] {
        put(&dir, &FileName::new(format!("00000000000000000000.{suffix}")).unwrap(), b"old");
    }
    let (log, report) = Partition::open(dir.clone(), unclean(&dir, 0)).unwrap();
    assert_eq!(report.leftovers.len(), 3);
    assert_eq!(log.log_end_offset(), Offset::new(2));
    assert!(dir.list().unwrap().iter().all(|entry| !entry.name.as_str().ends_with(".deleted")));
}

#[test]
fn b13_e13_a_torn_transaction_index_is_made_anew_with_transactions_begun_in_older_segments() {
    let dir = MemDir::new();
    let log = open(&dir, &small()).0;
    append(&log, &Batch::of(1).by(1, 0, 0).in_txn()).unwrap();
    fill(&log, 9);
    end_txn(&log, 1, 0, Outcome::Abort).unwrap();
    append(&log, &Batch::of(1).by(2, 0, 0).in_txn()).unwrap();
    end_txn(&log, 2, 0, Outcome::Abort).unwrap();
    let told = |log: &Partition<MemDir>| {
        log.advance_high_watermark(log.log_end_offset());
        let read = log.read(Offset::ZERO, Isolation::Committed, 1, FirstBatch::Whole).unwrap();
        read.aborted.unwrap()
    };
    let expected = told(&log);
    assert_eq!(
        expected.len(),
        1,
        "a reader of the first segment is told of the marker in a later one"
    );
    let base = log.segments().last().unwrap().base_offset.get();
    let closed = log.close().unwrap();
    extend(&dir, &name(base, SegmentFile::TxnIndex), &[0; 10]);
    let clean = OpenPartition {
        shutdown: Shutdown::Clean,
        recovery_point: closed.recovery_point,
        ..options(&small())
    };
    let (log, report) = Partition::open(dir.clone(), clean).unwrap();
    assert_eq!(report.indexes_rebuilt.len(), 1, "{report:?}");
    assert_eq!(told(&log), expected);
    let rebuilt = bytes(&dir, &name(base, SegmentFile::TxnIndex));
    assert!(!rebuilt.is_empty() && rebuilt.len().is_multiple_of(34));
}

#[test]
fn pf_c2_a_snapshots_name_is_the_first_offset_it_does_not_cover() {
    let dir = MemDir::new();
    let log = open(&dir, &small()).0;
    fill(&log, 2);
    assert_eq!(log.sync_written().unwrap(), Offset::new(2));
    assert!(has(&dir, 2, SegmentFile::Snapshot) && has(&dir, 2, SegmentFile::Producers));
    fill_from(&log, 2, 3);
    drop(log);
    let (log, report) = Partition::open(dir.clone(), unclean(&dir, 2)).unwrap();
    assert_eq!(report.batches_replayed, 1, "from the snapshot on: {report:?}");
    assert_eq!(log.producers()[0].last_sequence.unwrap().get(), 2);
}

fn fill_from<D: Dir>(log: &Partition<D>, from: i32, to: i32) {
    for sequence in from..to {
        append(log, &Batch::of(1).value_len(100).by(7, 0, sequence)).unwrap();
    }
}

#[test]
fn pf_c5_producers_outlive_their_records() {
    let dir = MemDir::new();
    let log = open(&dir, &small()).0;
    fill(&log, 5);
    log.advance_high_watermark(Offset::new(5));
    assert_eq!(log.delete_records(Offset::new(-1)).unwrap(), Offset::new(5));
    let retry = append(&log, &Batch::of(1).value_len(100).by(7, 0, 4)).unwrap();
    assert_eq!(retry.placed, Placed::Duplicate);
    assert_eq!(log.delete_records(Offset::new(2)).unwrap(), Offset::new(5), "never back");
    assert!(log.delete_records(Offset::new(6)).is_err(), "not beyond what is replicated");
}

#[test]
fn c13_a_log_without_any_snapshot_is_replayed() {
    let dir = MemDir::new();
    let log = open(&dir, &small()).0;
    fill(&log, 9);
    let closed = log.close().unwrap();
    for entry in dir.list().unwrap() {
        if entry.name.as_str().ends_with(".snapshot") {
            dir.remove(&entry.name).unwrap();
        }
    }
    let clean = OpenPartition {
        shutdown: Shutdown::Clean,
        recovery_point: closed.recovery_point,
        ..options(&small())
    };
    let (log, report) = Partition::open(dir, clean).unwrap();
    assert_eq!(report.batches_replayed, 9);
    let retry = append(&log, &Batch::of(1).value_len(100).by(7, 0, 4)).unwrap();
    assert_eq!(retry.placed, Placed::Duplicate, "all five of the window are known");
}

#[test]
fn c14_the_window_is_five_deep_after_a_kill_as_well() {
    let dir = MemDir::new();
    let log = open(&dir, &small()).0;
    fill(&log, 9);
    log.sync_written().unwrap();
    drop(log);
    let log = Partition::open(dir.clone(), unclean(&dir, 9)).unwrap().0;
    for sequence in 4..9 {
        let retry = append(&log, &Batch::of(1).value_len(100).by(7, 0, sequence)).unwrap();
        assert_eq!(retry.base_offset, Offset::new(i64::from(sequence)));
    }
}

/// What is behind a transaction of one batch that an abort marker ended: the batch is neither known nor taken, and the next one is.
fn refuses_what_a_marker_ended(log: &Partition<MemDir>, how: &str) {
    let sent = |sequence| Batch::of(1).by(1, 0, sequence).in_txn();
    let end = log.log_end_offset();
    let refused = append(log, &sent(0)).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::OutOfOrderSequenceNumber, "{how}");
    assert_eq!(log.log_end_offset(), end, "{how}");
    assert_eq!(append(log, &sent(1)).unwrap().placed, Placed::Written, "{how}");
    assert_eq!(append(log, &sent(1)).unwrap().placed, Placed::Duplicate, "{how}");
}

fn aborted(save_at: usize) -> (MemDir, Partition<MemDir>) {
    let dir = MemDir::new();
    let log = open(&dir, &small()).0;
    append(&log, &Batch::of(1).by(1, 0, 0).in_txn()).unwrap();
    if save_at == 1 {
        log.sync_written().unwrap();
    }
    end_txn(&log, 1, 0, Outcome::Abort).unwrap();
    if save_at == 2 {
        log.sync_written().unwrap();
    }
    (dir, log)
}

#[test]
fn p1_p5_what_a_marker_ended_is_no_duplicate_after_any_opening() {
    for save_at in 0..3 {
        refuses_what_a_marker_ended(&aborted(save_at).1, "before it");
        for shutdown in [Shutdown::Clean, Shutdown::Killed, Shutdown::Unclean] {
            let (dir, log) = aborted(save_at);
            let recovery_point = match shutdown {
                Shutdown::Clean => log.close().unwrap().recovery_point,
                Shutdown::Killed | Shutdown::Unclean => log.recovery_point(),
            };
            drop(log);
            let options = OpenPartition { shutdown, recovery_point, ..options(&small()) };
            let log = Partition::open(dir, options).unwrap().0;
            refuses_what_a_marker_ended(&log, &format!("{shutdown:?}, saved at {save_at}"));
        }
    }
}

#[test]
fn p1_p5_what_a_marker_ended_is_no_duplicate_in_a_directory_of_kafkas() {
    let (dir, log) = aborted(0);
    let recovery_point = log.close().unwrap().recovery_point;
    drop(log);
    dir.remove(&name(2, SegmentFile::Producers)).unwrap();
    assert!(has(&dir, 2, SegmentFile::Snapshot));
    let shutdown = Shutdown::Clean;
    let options = OpenPartition { shutdown, recovery_point, ..options(&small()) };
    let (log, report) = Partition::open(dir, options).unwrap();
    assert_eq!(report.batches_replayed, 0, "the snapshot is all that is known: {report:?}");
    refuses_what_a_marker_ended(&log, "Kafka's snapshot");
}

#[test]
fn p1_p5_a_cut_behind_a_marker_keeps_what_it_ended_and_one_before_it_does_not() {
    for save_at in 0..3 {
        let (_, log) = aborted(save_at);
        append(&log, &Batch::of(3)).unwrap();
        log.truncate_to(Offset::new(2)).unwrap();
        assert_eq!(log.log_end_offset(), Offset::new(2));
        refuses_what_a_marker_ended(&log, &format!("saved at {save_at}"));

        let (_, log) = aborted(save_at);
        log.truncate_to(Offset::new(1)).unwrap();
        let open = append(&log, &Batch::of(1).by(1, 0, 0).in_txn()).unwrap();
        assert_eq!(open.placed, Placed::Duplicate, "its transaction is open again");
    }
}

#[test]
fn e3_the_high_watermark_holds_over_a_roll_and_a_cut() {
    let log = open(&MemDir::new(), &small()).0;
    fill(&log, 9);
    log.advance_high_watermark(Offset::new(5));
    let bases: Vec<_> = log.segments().iter().map(|segment| segment.base_offset.get()).collect();
    assert!(bases.len() > 2, "{bases:?}");
    assert_eq!(offsets(&log, 0, Isolation::Uncommitted).len(), 5);
    log.truncate_to(Offset::new(4)).unwrap();
    assert_eq!(log.high_watermark(), Offset::new(4));
    assert_eq!(offsets(&log, 0, Isolation::Uncommitted).len(), 4);
}

#[test]
fn e7_a_marker_without_a_transaction_only_fences() {
    let log = open(&MemDir::new(), &small()).0;
    end_txn(&log, 1, 3, Outcome::Abort).unwrap();
    log.advance_high_watermark(log.log_end_offset());
    assert_eq!(log.last_stable_offset(), Offset::new(1));
    let read = log.read(Offset::ZERO, Isolation::Committed, 100, FirstBatch::Whole).unwrap();
    assert!(read.aborted.unwrap().is_empty());
    let zombie = append(&log, &Batch::of(1).by(1, 2, 0).in_txn()).unwrap_err();
    assert_eq!(zombie.code(), ErrorCode::InvalidProducerEpoch);
}

#[test]
fn a15_a_directory_of_another_topic_is_refused_and_left_alone() {
    let ours = hanbeon_records::TopicId::new([1; 16]);
    let theirs = hanbeon_records::TopicId::new([2; 16]);
    let dir = MemDir::new();
    let of = |id| OpenPartition { topic_id: Some(id), ..options(&small()) };
    let log = Partition::open(dir.clone(), of(ours)).unwrap().0;
    fill(&log, 1);
    drop(log);
    let error = Partition::open(dir.clone(), of(theirs)).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&ours.to_string()) && text.contains(&theirs.to_string()), "{text}");
    dir.remove(&FileName::new("partition.metadata").unwrap()).unwrap();
    let error = Partition::open(dir.clone(), of(ours)).unwrap_err();
    assert!(matches!(error, LogError::MissingTopicId { .. }), "{error}");
    assert!(
        Partition::open(dir, options(&small())).is_ok(),
        "adopted when nobody asks whose it is"
    );
}

#[test]
fn a_follower_stops_before_a_batch_of_a_later_leader() {
    let log = open(&MemDir::new(), &small()).0;
    let at = |offset: i64, epoch: i32| {
        let mut batch = Batch::of(1).build().to_vec();
        stamp(&mut batch, Offset::new(offset), LeaderEpoch::new(epoch));
        batch
    };
    let fetched = [at(0, 1), at(1, 1), at(2, 3), at(3, 1)].concat().into();
    let end = log.append_as_follower(&fetched, LeaderEpoch::new(2), NOW).unwrap();
    assert_eq!(end, Offset::new(2), "KAFKA-18723");
    let ends = |epoch| log.end_offset_for_epoch(LeaderEpoch::new(epoch)).end_offset.get();
    assert_eq!((ends(1), ends(0), ends(5)), (2, 0, -1));
}

/// One step back is what Kafka leaves where it follows us in a directory, and each has an entry in the epoch file.
#[test]
fn l3_a_follower_takes_no_epochs_that_its_next_recovery_would_take_for_damage() {
    let at = |offset: i64, epoch: i32| {
        let mut batch = Batch::of(1).build().to_vec();
        stamp(&mut batch, Offset::new(offset), LeaderEpoch::new(epoch));
        batch
    };
    let leader = LeaderEpoch::new(9);
    let refused = |log: &Partition<MemDir>, batches: &[Vec<u8>]| {
        let error = log.append_as_follower(&batches.concat().into(), leader, NOW).unwrap_err();
        assert!(error.to_string().contains("leader epoch"), "{error}");
        assert_eq!(log.log_end_offset(), Offset::new(3));
    };
    let dir = MemDir::new();
    let log = open(&dir, &small()).0;
    for batch in [at(0, 0), at(1, 3), at(2, 2)] {
        log.append_as_follower(&batch.into(), leader, NOW).unwrap();
    }
    refused(&log, &[at(3, 1)]);
    refused(&log, &[at(3, 5), at(4, 4), at(5, 3)]);
    let closed = log.close().unwrap();
    let clean = OpenPartition {
        shutdown: Shutdown::Clean,
        recovery_point: closed.recovery_point,
        ..options(&small())
    };
    let log = Partition::open(dir.clone(), clean).unwrap().0;
    refused(&log, &[at(3, 1)]);
    // Above the first step a second one takes nothing away that is needed.
    let good = [at(3, 5), at(4, 4)].concat().into();
    log.append_as_follower(&good, leader, NOW).unwrap();
    log.sync_written().unwrap();
    drop(log);
    let (log, report) = Partition::open(dir.clone(), unclean(&dir, 0)).unwrap();
    assert_eq!((log.log_end_offset().get(), report.truncated), (5, None));
}

#[test]
fn a_follower_takes_no_control_batch_that_it_cannot_follow() {
    let log = open(&MemDir::new(), &small()).0;
    let mut control = Batch::of(1).build().to_vec();
    // Transactional and control; the record is no marker.
    control[22] |= 0x30;
    let crc = hanbeon_records::crc32c(&control[21..]);
    control[17..21].copy_from_slice(&crc.to_be_bytes());
    stamp(&mut control, Offset::ZERO, LeaderEpoch::new(0));
    let refused = log.append_as_follower(&control.into(), LeaderEpoch::new(0), NOW).unwrap_err();
    assert!(refused.to_string().starts_with("records fetched for"), "{refused}");
    assert_eq!(log.log_end_offset(), Offset::ZERO);
    let mut good = Batch::of(1).build().to_vec();
    stamp(&mut good, Offset::ZERO, LeaderEpoch::new(0));
    log.append_as_follower(&good.into(), LeaderEpoch::new(0), NOW).unwrap();
}

#[test]
fn segments_roll_by_the_age_of_their_records() {
    let config = config(|s| s.segment_ms = 60_000);
    let log = open(&MemDir::new(), &config).0;
    let old = Batch::of(1).at(1_000_000);
    append(&log, &old).unwrap();
    append(&log, &Batch::of(1).at(1_060_000)).unwrap();
    assert_eq!(log.segments().len(), 1, "back-filled records are old, not apart");
    append(&log, &Batch::of(1).at(1_060_001)).unwrap();
    assert_eq!(log.segments().len(), 2);
    let later = Millis::new(NOW.get() + 60_001);
    log.append(Batch::of(1).at(-1).build(), later).wait().unwrap().unwrap();
    assert_eq!(log.segments().len(), 2, "by the records' times where the first has one");
}
