//! Want of descriptors refuses what needs one and stops nothing: what could not be opened was not written, so it may be tried again. Only
//! failed writes and syncs stop a directory (L9).

#![allow(clippy::unwrap_used, reason = "a test fails where its ground is missing")]

mod fixture;

use fixture::{Batch, NOW, append, config, end_txn, offsets, open, options};
use hanbeon_idempotence::Outcome;
use hanbeon_log::{
    AppendError, CrashDir, Dir, Fault, FaultKind, FirstBatch, Isolation, Lasting, LogConfig,
    LogError, OpenPartition, Partition, Poison, Shutdown,
};
use hanbeon_records::{ErrorCode, LeaderEpoch, Offset, stamp};

/// More than any step here opens.
const OPENINGS_MAX: u64 = 20;

fn small_segments() -> LogConfig {
    config(|settings| settings.internal_segment_bytes = Some(1000))
}

/// A log whose next large batch rolls, begins an epoch and leaves an aborted transaction to be indexed.
fn ground(dir: &CrashDir) -> Partition<CrashDir> {
    let log = open(dir, &small_segments()).0;
    append(&log, &Batch::of(1).by(1, 0, 0).in_txn()).unwrap();
    end_txn(&log, 1, 0, Outcome::Abort).unwrap();
    append(&log, &Batch::of(1).value_len(500)).unwrap();
    log.begin_leader_epoch(LeaderEpoch::new(3));
    log
}

fn lack(dir: &CrashDir, after: u64, lasting: Lasting) {
    dir.inject(Fault { kind: FaultKind::NoDescriptor, after, lasting });
}

/// Opens what a power cut right now would leave, or what there is.
fn holds(dir: &CrashDir, bounds: &[(i64, i64)]) {
    let reopened = Partition::open(dir.clone(), options(&small_segments())).unwrap().0;
    assert_eq!(offsets(&reopened, 0, Isolation::LogEnd), bounds);
}

const BEFORE: [(i64, i64); 3] = [(0, 0), (1, 1), (2, 2)];

#[test]
fn l9_a_roll_that_finds_no_descriptor_is_refused_and_done_later() {
    let mut met = 0;
    for lasting in [Lasting::Once, Lasting::Sticky] {
        for after in 0..OPENINGS_MAX {
            let what = format!("{lasting:?} after {after}");
            let dir = CrashDir::new();
            let log = ground(&dir);
            let rolls = Batch::of(1).value_len(600).by(2, 0, 0);
            lack(&dir, after, lasting);
            let refused = append(&log, &rolls);
            if dir.fired() == 0 {
                refused.unwrap();
                continue;
            }
            met += 1;
            let error = refused.unwrap_err();
            assert_eq!(error.code(), ErrorCode::KafkaStorageError, "{what}: {error}");
            assert!(matches!(&error, AppendError::Log(error) if error.is_untried()), "{what}");
            assert_eq!(offsets(&log, 0, Isolation::LogEnd), BEFORE, "{what}");
            assert!(log.producers().iter().all(|producer| producer.producer_id.get() == 1));
            // A batch that the old segment has room for does not go behind the files of the new one.
            if lasting == Lasting::Sticky {
                assert!(append(&log, &Batch::of(1)).is_err(), "{what}");
            }
            holds(&dir.killed(), &BEFORE);

            dir.heal();
            append(&log, &Batch::of(1)).unwrap();
            append(&log, &rolls).unwrap();
            log.sync(log.log_end_offset()).unwrap();
            let bases: Vec<_> = log.segments().iter().map(|s| s.base_offset.get()).collect();
            assert_eq!(bases, [0, 3], "{what}: a file of the new segment may be there");
            let all = [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4)];
            assert_eq!(offsets(&log, 0, Isolation::LogEnd), all, "{what}");
            for seed in 0..20 {
                holds(&dir.crash(seed), &all);
            }
            log.close().unwrap();
            drop(log);
            let clean = OpenPartition {
                shutdown: Shutdown::Clean,
                recovery_point: Offset::new(5),
                ..options(&small_segments())
            };
            let (log, report) = Partition::open(dir.clone(), clean).unwrap();
            assert!(report.indexes_rebuilt.is_empty(), "{what}: {report:?}");
            assert!(report.truncated.is_none() && report.snapshots_ignored.is_empty(), "{what}");
            log.advance_high_watermark(log.log_end_offset());
            let read =
                log.read(Offset::ZERO, Isolation::Committed, 1 << 20, FirstBatch::Whole).unwrap();
            assert_eq!(read.aborted.unwrap().len(), 1, "{what}");
        }
    }
    assert!(met > 10, "{met} openings met");
}

/// A step of upkeep that opens files.
type Step = fn(&Partition<CrashDir>) -> Result<(), LogError>;

#[test]
fn l9_upkeep_that_finds_no_descriptor_is_done_later() {
    let steps: [(&str, Step); 3] = [
        ("a sync", |log| log.sync(log.log_end_offset())),
        ("a recovery point", |log| log.sync_written().map(drop)),
        ("a close", |log| log.close().map(drop)),
    ];
    for (name, step) in steps {
        let mut met = 0;
        for after in 0..OPENINGS_MAX {
            let what = format!("{name} after {after}");
            let dir = CrashDir::new();
            let log = ground(&dir);
            append(&log, &Batch::of(1).value_len(600).by(2, 0, 0)).unwrap();
            lack(&dir, after, Lasting::Once);
            let result = step(&log);
            if dir.fired() == 0 {
                result.unwrap();
                continue;
            }
            met += 1;
            let error = result.unwrap_err();
            assert!(error.is_untried(), "{what}: {error}");

            append(&log, &Batch::of(1)).unwrap();
            assert_eq!(log.sync_written().unwrap(), log.log_end_offset(), "{what}");
            for seed in 0..20 {
                let (log, report) = Partition::open(
                    dir.crash(seed),
                    OpenPartition {
                        recovery_point: log.recovery_point(),
                        ..options(&small_segments())
                    },
                )
                .unwrap();
                assert_eq!(log.log_end_offset().get(), 5, "{what}");
                assert_eq!(report.batches_replayed, 0, "{what}: the snapshot is there");
                assert!(report.snapshots_ignored.is_empty(), "{what}: {report:?}");
            }
            log.close().unwrap();
        }
        assert!(met > 0, "{name} opens nothing");
    }
}

#[test]
fn l9_an_opening_that_finds_no_descriptor_says_so_and_the_next_one_goes_well() {
    let dir = CrashDir::new();
    let log = ground(&dir);
    append(&log, &Batch::of(1).value_len(600)).unwrap();
    log.sync_written().unwrap();
    drop(log);
    let mut met = 0;
    for after in 0..OPENINGS_MAX {
        let left = dir.killed();
        lack(&left, after, Lasting::Once);
        let poison = Poison::new();
        let with = OpenPartition { poison: poison.clone(), ..options(&small_segments()) };
        let opened = Partition::open(left.clone(), with);
        if left.fired() == 0 {
            opened.unwrap();
            continue;
        }
        assert!(!poison.is_set(), "{after}");
        // What is made anew from batches, such as a snapshot, need not be read.
        if let Err(error) = opened {
            met += 1;
            assert!(error.is_untried(), "{after}: {error}");
        }
        holds(&left, &[(0, 0), (1, 1), (2, 2), (3, 3)]);
    }
    assert!(met > 4, "{met} openings met");
}

#[test]
fn l9_snapshots_that_could_not_be_removed_are_removed_later() {
    let mut met = 0;
    for after in 0..OPENINGS_MAX {
        let dir = CrashDir::new();
        let log = open(&dir, &config(|_| ())).0;
        let again = || {
            append(&log, &Batch::of(1)).unwrap();
            log.sync_written()
        };
        again().unwrap();
        again().unwrap();
        lack(&dir, after, Lasting::Once);
        let result = again();
        if dir.fired() == 0 {
            result.unwrap();
            continue;
        }
        met += 1;
        let error = result.unwrap_err();
        assert!(error.is_untried(), "{after}: {error}");
        log.sync_written().unwrap();
        again().unwrap();
        log.close().unwrap();
        let names = dir.list().unwrap().into_iter().map(|entry| entry.name.as_str().to_owned());
        let left = names.filter(|name| name.ends_with(".snapshot")).count();
        assert_eq!(left, 2, "{after}: the last two are enough");
    }
    assert!(met > 0, "nothing was opened");
}

#[test]
fn l9_a_log_that_did_not_close_takes_nothing_once_it_is_abandoned() {
    let dir = CrashDir::new();
    let log = open(&dir, &config(|_| ())).0;
    let end = append(&log, &Batch::of(1)).unwrap().end;
    let waiting = log.synced_to(end);
    lack(&dir, 0, Lasting::Once);
    let error = log.close().unwrap_err();
    assert!(error.is_untried(), "{error}");
    log.abandon();
    assert!(matches!(waiting.wait(), Ok(Err(_))), "who waits hears that nobody syncs");
    let refused = append(&log, &Batch::of(1)).unwrap_err();
    assert!(matches!(refused, AppendError::Log(LogError::Closed { .. })), "{refused}");
    assert!(matches!(log.sync_written(), Err(LogError::Closed { .. })));
    assert!(matches!(log.close(), Err(LogError::Closed { .. })));
    // What is written may be waited for.
    log.sync(end).unwrap();
}

/// The empty segment goes before the one of its place is there.
#[test]
fn l9_a_follower_that_could_not_move_an_empty_segment_is_left_for_a_new_opening() {
    let far = |offset| {
        let mut batch = Batch::of(1).build().to_vec();
        stamp(&mut batch, Offset::new(offset), LeaderEpoch::new(0));
        batch.into()
    };
    let mut met = 0;
    for after in 0..OPENINGS_MAX {
        let dir = CrashDir::new();
        let log = open(&dir, &config(|_| ())).0;
        lack(&dir, after, Lasting::Once);
        let followed = log.append_as_follower(&far(1 << 40), LeaderEpoch::new(0), NOW);
        if followed.is_ok() {
            continue;
        }
        let moved = log.segments().last().unwrap().base_offset > Offset::ZERO;
        let mut names = dir.list().unwrap().into_iter().map(|entry| entry.name);
        let ahead = names.any(|name| name.as_str().starts_with("00000001099511627776"));
        if moved || !ahead {
            continue;
        }
        met += 1;
        let refused = append(&log, &Batch::of(1)).unwrap_err();
        assert!(matches!(refused, AppendError::Log(LogError::Poisoned { .. })), "{refused}");
        let log = Partition::open(dir.killed(), options(&config(|_| ()))).unwrap().0;
        assert_eq!(log.log_end_offset(), Offset::ZERO, "{after}");
        append(&log, &Batch::of(1)).unwrap();
        assert_eq!(offsets(&log, 0, Isolation::LogEnd), [(0, 0)], "{after}");
    }
    assert!(met > 0, "nothing was opened");
}
