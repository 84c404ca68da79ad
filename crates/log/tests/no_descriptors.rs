//! Want of descriptors refuses what needs one and stops nothing: what could not be opened was not written, so it may be tried again. Only
//! failed writes and syncs stop a directory (L9).

#![allow(clippy::unwrap_used, reason = "a test fails where its ground is missing")]

mod fixture;

use fixture::{Batch, append, config, end_txn, offsets, open, options};
use hanbeon_idempotence::Outcome;
use hanbeon_log::{
    AppendError, CrashDir, Fault, FaultKind, FirstBatch, Isolation, Lasting, LogConfig, LogError,
    OpenPartition, Partition, Shutdown,
};
use hanbeon_records::{ErrorCode, LeaderEpoch, Offset};

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
