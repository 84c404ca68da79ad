//! A refused append leaves everything bit for bit as it was: files, offsets, producers (spec 17.5, design D19).

#![allow(clippy::unwrap_used, reason = "a test fails where its ground is missing")]

mod fixture;

use bytes::Bytes;
use fixture::{Batch, NOW, append, config, marker, offsets, open, options};
use hanbeon_idempotence::{MarkerClaim, Outcome};
use hanbeon_log::{
    AppendError, CrashDir, Dir, EntryKind, Fault, FaultKind, Isolation, Lasting, LogError, LogFile,
    MemDir, Open, OpenPartition, Partition, Poison,
};
use hanbeon_records::{CoordinatorEpoch, ErrorCode, LeaderEpoch, Offset};

fn files<D: Dir>(dir: &D) -> Vec<(String, Vec<u8>)> {
    dir.list()
        .unwrap()
        .into_iter()
        .filter(|entry| matches!(entry.kind, EntryKind::File { .. }))
        .map(|entry| {
            let file = dir.open(&entry.name, Open::Read).unwrap();
            let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
            file.read_at(&mut bytes, 0).unwrap();
            (entry.name.as_str().to_owned(), bytes)
        })
        .collect()
}

/// Everything that can be seen of a partition from outside.
fn state<D: Dir>(dir: &D, log: &Partition<D>) -> impl PartialEq + std::fmt::Debug + use<D> {
    (
        files(dir),
        (
            log.log_start_offset(),
            log.log_end_offset(),
            log.last_stable_offset(),
            log.recovery_point(),
        ),
        (log.producers(), log.open_transactions(), log.leader_epochs(), log.segments()),
        log.unsynced_bytes(),
    )
}

fn corrupted(mut bytes: Vec<u8>, at: usize) -> Bytes {
    bytes[at] ^= 1;
    bytes.into()
}

/// Batches that break one rule each, and what a client is told.
fn refused() -> Vec<(&'static str, Bytes, ErrorCode)> {
    let good = Batch::of(2).build();
    let two = [good.clone(), good.clone()].concat();
    vec![
        ("nothing", Bytes::new(), ErrorCode::InvalidRecord),
        ("half a batch", good.slice(..good.len() / 2), ErrorCode::InvalidRecord),
        ("two batches", two.into(), ErrorCode::InvalidRecord),
        ("a wrong checksum", corrupted(good.to_vec(), good.len() - 2), ErrorCode::CorruptMessage),
        ("a base offset", corrupted(good.to_vec(), 7), ErrorCode::InvalidRecord),
        ("a gap", Batch::of(1).by(1, 0, 9).build(), ErrorCode::OutOfOrderSequenceNumber),
        ("an old epoch", Batch::of(1).by(2, 0, 1).build(), ErrorCode::InvalidProducerEpoch),
        (
            "a new epoch that does not start at 0",
            Batch::of(1).by(1, 1, 5).build(),
            ErrorCode::OutOfOrderSequenceNumber,
        ),
        (
            "a late record",
            Batch::of(1).at(NOW.get() + 7_200_000).build(),
            ErrorCode::InvalidTimestamp,
        ),
        ("too large a batch", Batch::of(1).value_len(2000).build(), ErrorCode::RecordListTooLarge),
        (
            "plain data in a transaction",
            Batch::of(1).by(3, 0, 1).build(),
            ErrorCode::InvalidTxnState,
        ),
    ]
}

#[test]
fn i7_a_refused_batch_changes_nothing_even_where_it_would_roll_or_begin_an_epoch() {
    // The active segment is full, and the epoch is new: whatever is admitted rolls and writes the epoch file.
    let config = config(|s| s.internal_segment_bytes = Some(1000));
    let dir = MemDir::new();
    let log = open(&dir, &config).0;
    append(&log, &Batch::of(1).by(1, 0, 0)).unwrap();
    append(&log, &Batch::of(1).by(2, 3, 0)).unwrap();
    append(&log, &Batch::of(1).by(3, 0, 0).in_txn()).unwrap();
    append(&log, &Batch::of(1).value_len(650)).unwrap();
    log.begin_leader_epoch(LeaderEpoch::new(4));
    let before = state(&dir, &log);
    for (what, bytes, code) in refused() {
        let error = log.append(bytes, NOW).wait().unwrap().unwrap_err();
        assert_eq!(error.code(), code, "{what}: {error}");
        assert_eq!(state(&dir, &log), before, "{what}");
    }
    let stale =
        MarkerClaim { coordinator_epoch: CoordinatorEpoch::new(5), ..marker(2, 1, Outcome::Abort) };
    let error = log.append_marker(stale, NOW).wait().unwrap().unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidProducerEpoch);
    assert_eq!(state(&dir, &log), before, "a marker of an old epoch");
    // A retry is answered and changes nothing either.
    append(&log, &Batch::of(1).by(1, 0, 0)).unwrap();
    assert_eq!(state(&dir, &log), before, "a retry");
    // The same epoch and size in a batch that is admitted does change all of that.
    append(&log, &Batch::of(1).value_len(500)).unwrap();
    assert_eq!(log.segments().len(), 2);
    assert_eq!(log.leader_epochs().last().unwrap().epoch, LeaderEpoch::new(4));
}

#[test]
fn i7_a_full_disk_refuses_and_changes_nothing_until_there_is_room_again() {
    let dir = CrashDir::new();
    let log = open(&dir, &config(|_| ())).0;
    append(&log, &Batch::of(1)).unwrap();
    let before = log.log_end_offset();
    // Each reservation fails, as on a disk without room.
    dir.inject(Fault { kind: FaultKind::NoSpace, after: 0, lasting: Lasting::Sticky });
    let big = Batch::of(1).value_len(900_000);
    let error = append(&log, &big).unwrap_err();
    assert_eq!(error.code(), ErrorCode::KafkaStorageError, "{error}");
    assert_eq!(log.log_end_offset(), before);
    dir.heal();
    append(&log, &big).unwrap();
    assert_eq!(offsets(&log, 0, Isolation::LogEnd), [(0, 0), (1, 1)]);
}

#[test]
fn l9_a12_after_a_failed_write_nothing_is_taken_in_the_whole_directory() {
    for kind in [FaultKind::Error, FaultKind::ShortWrite] {
        let root = CrashDir::new();
        let dirs: Vec<_> = ["a-0", "b-0"]
            .map(|name| root.create_dir(&hanbeon_log::FileName::new(name).unwrap()).unwrap())
            .into();
        let config = config(|_| ());
        let poison = Poison::new();
        let open = |dir: &CrashDir, poison: &Poison| {
            let options = OpenPartition { poison: poison.clone(), ..options(&config) };
            Partition::open(dir.clone(), options).unwrap().0
        };
        let logs: Vec<_> = dirs.iter().map(|dir| open(dir, &poison)).collect();
        append(&logs[0], &Batch::of(1)).unwrap();
        append(&logs[1], &Batch::of(1)).unwrap();
        // The reservation is made already, so the next operation is the write.
        root.inject(Fault { kind, after: 0, lasting: Lasting::Once });
        let error = append(&logs[0], &Batch::of(1)).unwrap_err();
        assert!(matches!(error, AppendError::Log(LogError::Io { .. })), "{error}");
        for log in &logs {
            let error = append(log, &Batch::of(1)).unwrap_err();
            assert!(matches!(error, AppendError::Log(LogError::Poisoned { .. })), "{error}");
            assert!(log.sync(log.log_end_offset()).is_err(), "nothing is acknowledged either");
            assert!(log.sync_written().is_err() && log.close().is_err());
            assert_eq!(
                offsets(log, 0, Isolation::LogEnd),
                [(0, 0)],
                "what was there is still read"
            );
        }
        // Opened anew, the directory is sound up to what was whole.
        let log = open(&dirs[0], &Poison::new());
        append(&log, &Batch::of(1)).unwrap();
        assert_eq!(offsets(&log, 0, Isolation::LogEnd), [(0, 0), (1, 1)]);
    }
}

#[test]
fn l9_a_failed_sync_is_never_tried_again() {
    let dir = CrashDir::new();
    let log = open(&dir, &config(|_| ())).0;
    let appended = append(&log, &Batch::of(1)).unwrap();
    let waiting = log.synced_to(appended.end);
    dir.inject(Fault { kind: FaultKind::Sync, after: 0, lasting: Lasting::Once });
    assert!(log.sync(appended.end).is_err());
    assert!(waiting.wait().unwrap().is_err(), "who waited learns of it");
    let syncs = dir.syncs();
    assert!(log.sync(appended.end).is_err() && log.sync_written().is_err());
    assert_eq!(dir.syncs(), syncs, "no second try");
    assert!(append(&log, &Batch::of(1)).is_err());
    assert_eq!(log.recovery_point(), Offset::ZERO);
}
