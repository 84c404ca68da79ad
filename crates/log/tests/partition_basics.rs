//! A partition takes batches, gives them offsets, and reads back what was written.

#![allow(clippy::unwrap_used, reason = "a test fails where its ground is missing")]

mod fixture;

use std::cell::RefCell;

use fixture::{Batch, NOW, append, config, end_txn, offsets, open, options};
use hanbeon_idempotence::Outcome;
use hanbeon_log::{
    FirstBatch, Isolation, MemDir, OpenPartition, Partition, Placed, ReadError, Shutdown, TimeQuery,
};
use hanbeon_records::{ErrorCode, Millis, Offset};

#[test]
fn offsets_are_given_in_order_and_read_back() {
    let log = open(&MemDir::new(), &config(|_| ())).0;
    for (records, base) in [(3, 0), (1, 3), (5, 4)] {
        let appended = append(&log, &Batch::of(records)).unwrap();
        assert_eq!(appended.base_offset, Offset::new(base));
        assert_eq!(appended.last_offset, Offset::new(base + i64::from(records) - 1));
        assert_eq!(appended.end, log.log_end_offset());
        assert_eq!(appended.placed, Placed::Written);
    }
    assert_eq!(offsets(&log, 0, Isolation::LogEnd), [(0, 2), (3, 3), (4, 8)]);
    assert_eq!(offsets(&log, 1, Isolation::LogEnd), [(0, 2), (3, 3), (4, 8)][..]);
    assert_eq!(offsets(&log, 3, Isolation::LogEnd), [(3, 3), (4, 8)]);
    assert!(offsets(&log, 0, Isolation::Uncommitted).is_empty(), "nothing is replicated yet");
    log.advance_high_watermark(Offset::new(4));
    assert_eq!(offsets(&log, 0, Isolation::Uncommitted), [(0, 2), (3, 3)]);
    log.advance_high_watermark(Offset::new(100));
    assert_eq!(log.high_watermark(), Offset::new(9), "never beyond the end");
}

#[test]
fn reads_outside_the_log_are_refused_and_at_its_end_are_empty() {
    let log = open(&MemDir::new(), &config(|_| ())).0;
    append(&log, &Batch::of(3)).unwrap();
    let read = |from| log.read(Offset::new(from), Isolation::LogEnd, 100, FirstBatch::Whole);
    for from in [-1, 4] {
        let error = read(from).unwrap_err();
        assert!(matches!(error, ReadError::OffsetOutOfRange { .. }), "{error}");
        assert_eq!(error.code(), ErrorCode::OffsetOutOfRange);
    }
    assert!(read(3).unwrap().records.is_empty());
}

#[test]
fn limits_cut_reads_and_the_first_batch_comes_whole_if_asked() {
    let log = open(&MemDir::new(), &config(|_| ())).0;
    let size = Batch::of(1).build().len();
    append(&log, &Batch::of(1)).unwrap();
    append(&log, &Batch::of(1)).unwrap();
    let read =
        |max, first| log.read(Offset::ZERO, Isolation::LogEnd, max, first).unwrap().records.len();
    assert_eq!(read(0, FirstBatch::Whole), size);
    assert_eq!(read(0, FirstBatch::WithinLimit), 0);
    assert_eq!(read(size - 1, FirstBatch::WithinLimit), 0);
    assert_eq!(read(size + 1, FirstBatch::WithinLimit), size + 1);
    assert_eq!(read(3 * size, FirstBatch::Whole), 2 * size);
}

#[test]
fn p2_a_retry_returns_the_original_offsets_and_writes_nothing() {
    let log = open(&MemDir::new(), &config(|_| ())).0;
    for sequence in 0..5 {
        append(&log, &Batch::of(1).by(9, 0, sequence)).unwrap();
    }
    for sequence in 0..5 {
        let retry = append(&log, &Batch::of(1).by(9, 0, sequence)).unwrap();
        assert_eq!(
            (retry.placed, retry.base_offset.get()),
            (Placed::Duplicate, i64::from(sequence))
        );
    }
    assert_eq!(log.log_end_offset(), Offset::new(5));
    let gap = append(&log, &Batch::of(1).by(9, 0, 7)).unwrap_err();
    assert_eq!(gap.code(), ErrorCode::OutOfOrderSequenceNumber);
}

#[test]
fn t5_an_open_transaction_holds_readers_of_committed_data_back() {
    let log = open(&MemDir::new(), &config(|_| ())).0;
    append(&log, &Batch::of(2)).unwrap();
    append(&log, &Batch::of(1).by(1, 0, 0).in_txn()).unwrap();
    append(&log, &Batch::of(1).by(2, 0, 0).in_txn()).unwrap();
    log.advance_high_watermark(log.log_end_offset());
    assert_eq!(log.last_stable_offset(), Offset::new(2));
    end_txn(&log, 1, 0, Outcome::Abort).unwrap();
    assert_eq!(log.last_stable_offset(), Offset::new(2), "the marker is not replicated");
    log.advance_high_watermark(log.log_end_offset());
    assert_eq!(log.last_stable_offset(), Offset::new(3), "the other one is still open");
    end_txn(&log, 2, 0, Outcome::Commit).unwrap();
    log.advance_high_watermark(log.log_end_offset());
    assert_eq!(log.last_stable_offset(), Offset::new(6));
    let read = log.read(Offset::ZERO, Isolation::Committed, 1 << 20, FirstBatch::Whole).unwrap();
    let aborted: Vec<_> = read
        .aborted
        .unwrap()
        .iter()
        .map(|txn| (txn.producer_id.get(), txn.first_offset.get()))
        .collect();
    assert_eq!(aborted, [(1, 2)]);
    let read = log.read(Offset::ZERO, Isolation::Uncommitted, 1 << 20, FirstBatch::Whole).unwrap();
    assert!(read.aborted.is_none());
}

#[test]
fn segments_roll_and_everything_is_there_after_a_clean_stop() {
    let dir = MemDir::new();
    let config = config(|s| s.internal_segment_bytes = Some(1000));
    let log = open(&dir, &config).0;
    for sequence in 0..30 {
        append(&log, &Batch::of(2).value_len(60).by(5, 0, 2 * sequence)).unwrap();
    }
    assert!(log.segments().len() > 5, "{:?}", log.segments());
    let all = offsets(&log, 0, Isolation::LogEnd);
    assert_eq!(all.len(), 30);
    let closed = log.close().unwrap();
    assert_eq!((closed.log_end_offset, closed.recovery_point), (Offset::new(60), Offset::new(60)));
    let refused = append(&log, &Batch::of(1)).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::KafkaStorageError);
    let clean = OpenPartition {
        shutdown: Shutdown::Clean,
        recovery_point: closed.recovery_point,
        ..options(&config)
    };
    let (log, report) = Partition::open(dir, clean).unwrap();
    assert_eq!(offsets(&log, 0, Isolation::LogEnd), all);
    assert_eq!(report.batches_replayed, 0, "{report:?}");
    assert!(report.indexes_rebuilt.is_empty() && report.truncated.is_none(), "{report:?}");
    for sequence in 25..30 {
        let retry = append(&log, &Batch::of(2).value_len(60).by(5, 0, 2 * sequence)).unwrap();
        assert_eq!(retry.placed, Placed::Duplicate, "the window is as deep as before");
    }
}

#[test]
fn times_lead_to_records() {
    let log = open(&MemDir::new(), &config(|s| s.internal_segment_bytes = Some(600))).0;
    for at in 0..10_i64 {
        append(&log, &Batch::of(3).value_len(30).at(NOW.get() + at * 1000)).unwrap();
    }
    let find = |query| log.find_offset(query, Isolation::LogEnd).unwrap();
    let offset = |query| find(query).map(|found| found.offset.get());
    assert_eq!(offset(TimeQuery::Earliest), Some(0));
    assert_eq!(offset(TimeQuery::Latest), Some(30));
    assert_eq!(offset(TimeQuery::MaxTimestamp), Some(29));
    assert_eq!(offset(TimeQuery::At(Millis::new(NOW.get() + 4001))), Some(13));
    assert_eq!(offset(TimeQuery::At(Millis::new(NOW.get() + 4003))), Some(15));
    assert_eq!(offset(TimeQuery::At(Millis::new(0))), Some(0));
    assert_eq!(offset(TimeQuery::At(Millis::new(NOW.get() + 9003))), None);
    let bounded = log.find_offset(TimeQuery::At(Millis::new(0)), Isolation::Uncommitted).unwrap();
    assert_eq!(bounded, None, "E8: bounded by what the reader may see");
    log.advance_high_watermark(Offset::new(30));
    log.delete_records(Offset::new(14)).unwrap();
    assert_eq!(offset(TimeQuery::At(Millis::new(NOW.get() + 4001))), Some(14));
    assert_eq!(offset(TimeQuery::Earliest), Some(14));
}

/// Appends when the thread that keeps it ends.
struct Last(Partition<MemDir>);

impl Drop for Last {
    fn drop(&mut self) {
        append(&self.0, &Batch::of(2)).unwrap();
    }
}

thread_local! {
    static LAST: RefCell<Option<Last>> = const { RefCell::new(None) };
}

#[test]
fn a_thread_appends_until_its_very_end() {
    let log = open(&MemDir::new(), &config(|_| ())).0;
    let life = || {
        // Kept before the first append: what that keeps is taken down earlier.
        LAST.set(Some(Last(log.clone())));
        append(&log, &Batch::of(1)).unwrap();
    };
    // A scope alone does not wait for what a thread keeps.
    std::thread::scope(|scope| scope.spawn(life).join().unwrap());
    assert_eq!(offsets(&log, 0, Isolation::LogEnd), [(0, 0), (1, 2)]);
}
