//! Opens every undamaged partition directory Apache Kafka left behind and compares all that the log
//! says of it with what Kafka itself, and independent readers, said.

#![allow(clippy::unwrap_used, reason = "a test fails where its ground is missing")]

mod fixture;

use fixture::{
    golden::{Unit, consume, read_all, sha256, units},
    options,
};
use hanbeon_log::{
    FirstBatch, FsDir, Isolation, OpenPartition, OpenReport, Partition, Shutdown, TimeQuery,
};
use hanbeon_records::{BatchRef, Millis, Offset};
use serde_json::Value;

#[test]
fn the_hash_of_these_tests_is_sha256() {
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(sha256(b"abc"), abc);
}

fn open(unit: &Unit, dir: &FsDir, shutdown: Shutdown) -> (Partition<FsDir>, OpenReport) {
    let at = |key: &str| unit.number(key).map(Offset::new);
    let options = OpenPartition {
        shutdown,
        recovery_point: at("recovery_point_checkpoint").unwrap_or(Offset::ZERO),
        log_start: at("log_start_checkpoint"),
        high_watermark: at("high_watermark_checkpoint"),
        topic_id: Some(unit.expect["topic_id"].as_str().unwrap().parse().unwrap()),
        now: oldest_time(&unit.expect),
        ..options(&unit.config())
    };
    Partition::open(dir.clone(), options).unwrap_or_else(|error| panic!("{}: {error}", unit.name))
}

/// A clock by which no producer of the newest snapshot has expired.
fn oldest_time(expect: &Value) -> Millis {
    let snapshots = expect["snapshots"].as_object().unwrap();
    let newest = snapshots.iter().max_by_key(|(name, _)| name.as_str());
    let entries = newest.into_iter().flat_map(|(_, s)| s["entries"].as_array().unwrap());
    Millis::new(entries.filter_map(|e| e["last_timestamp"].as_i64()).min().unwrap_or(0))
}

fn check(unit: &Unit, log: &Partition<FsDir>) {
    let name = &unit.name;
    let expect = &unit.expect;
    let end = unit.number("log_end_offset").unwrap();
    assert_eq!(log.log_end_offset().get(), end, "{name}: log end");
    let start = unit.number("log_start_offset").unwrap();
    assert_eq!(log.log_start_offset().get(), start, "{name}: log start");
    log.advance_high_watermark(log.log_end_offset());
    let stable = unit.number("last_stable_offset").unwrap();
    assert_eq!(log.last_stable_offset().get(), stable, "{name}: last stable offset");
    let epochs: Vec<_> =
        log.leader_epochs().iter().map(|e| (e.epoch.get(), e.start_offset.get())).collect();
    let expected: Vec<_> = expect["leader_epochs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| (i32::try_from(e[0].as_i64().unwrap()).unwrap(), e[1].as_i64().unwrap()))
        // Kafka notes its epoch when it takes the lead; without data that says nothing and is dropped at opening.
        .filter(|(_, start)| *start < end)
        .collect();
    assert_eq!(epochs, expected, "{name}: epochs");
    check_transactions(unit, log);
    check_batches(unit, log);
    check_reads(unit, log, start);
    check_largest_time(unit, log);
}

fn check_transactions(unit: &Unit, log: &Partition<FsDir>) {
    let open: Vec<_> = log
        .open_transactions()
        .iter()
        .map(|t| (t.producer_id.get(), i64::from(t.producer_epoch.get()), t.first_offset.get()))
        .collect();
    let number = |value: &Value, key: &str| value[key].as_i64().unwrap();
    let expected: Vec<_> = unit.expect["open_transactions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| (number(t, "producer_id"), number(t, "producer_epoch"), number(t, "first_offset")))
        .collect();
    assert_eq!(open, expected, "{}: open transactions", unit.name);
}

fn check_batches(unit: &Unit, log: &Partition<FsDir>) {
    let (batches, _) = read_all(log, log.log_start_offset(), Isolation::LogEnd);
    let found: Vec<_> = batches
        .iter()
        .map(|bytes| {
            let (batch, _) = BatchRef::parse(bytes).unwrap();
            (batch.base_offset().get(), batch.last_offset().get(), u64::from(batch.crc()))
        })
        .collect();
    let expected: Vec<_> = unit.expect["batches"]
        .as_array()
        .unwrap()
        .iter()
        .map(|b| {
            let number = |key: &str| b[key].as_i64().unwrap();
            (number("base_offset"), number("last_offset"), b["crc"].as_u64().unwrap())
        })
        .filter(|(_, last, _)| *last >= log.log_start_offset().get())
        .collect();
    assert_eq!(found, expected, "{}: batches", unit.name);
}

fn check_reads(unit: &Unit, log: &Partition<FsDir>, start: i64) {
    for (key, isolation) in
        [("read_uncommitted", Isolation::Uncommitted), ("read_committed", Isolation::Committed)]
    {
        let Some(count) = unit.expect[key]["count"].as_u64() else { continue };
        let (batches, aborted) = read_all(log, Offset::new(start), isolation);
        let (found, sha256) = consume(&batches, start, &aborted);
        assert_eq!(found, count, "{}: {key}", unit.name);
        assert_eq!(sha256, unit.expect[key]["sha256"].as_str().unwrap(), "{}: {key}", unit.name);
    }
    if unit.name.starts_with("compacted-") {
        // A transaction whose records compaction removed needs no entry, and an index made anew has none.
        return;
    }
    for txn in unit.expect["aborted_transactions"].as_array().unwrap() {
        let number = |key: &str| txn[key].as_i64().unwrap();
        let (producer, first, last) =
            (number("producer_id"), number("first_offset"), number("last_offset"));
        if last < start {
            continue;
        }
        let from = Offset::new(first.max(start));
        if from >= log.last_stable_offset() {
            continue;
        }
        let read = log.read(from, Isolation::Committed, 1, FirstBatch::Whole).unwrap();
        let told = read.aborted.unwrap();
        assert!(
            told.iter().any(|t| (t.producer_id.get(), t.first_offset.get()) == (producer, first)),
            "{}: aborted transaction of {producer} at {first}, told {told:?}",
            unit.name
        );
    }
}

fn check_largest_time(unit: &Unit, log: &Partition<FsDir>) {
    let expected = &unit.expect["max_timestamp"];
    let Some(timestamp) = expected["timestamp"].as_i64() else { return };
    let found = log.find_offset(TimeQuery::MaxTimestamp, Isolation::Uncommitted).unwrap();
    match found {
        None => assert_eq!(timestamp, -1, "{}", unit.name),
        Some(found) => {
            let found = (found.timestamp.get(), found.offset.get());
            let expected = (timestamp, expected["offset"].as_i64().unwrap());
            assert_eq!(found, expected, "{}: largest time", unit.name);
        }
    }
}

#[test]
fn what_kafka_closed_opens_as_it_is() {
    let units = units(|name| !name.starts_with("damage-") && name != "unclean-before");
    assert!(units.len() > 25, "{}", units.len());
    for unit in &units {
        let (_guard, dir) = unit.copy();
        let (log, report) = open(unit, &dir, Shutdown::Clean);
        assert!(report.truncated.is_none(), "{}: {report:?}", unit.name);
        assert!(report.indexes_rebuilt.is_empty(), "{}: {report:?}", unit.name);
        assert!(report.snapshots_ignored.is_empty(), "{}: {report:?}", unit.name);
        check(unit, &log);
        check_producers(unit, &log);
    }
}

/// The newest snapshot and the table opened from it say the same.
fn check_producers(unit: &Unit, log: &Partition<FsDir>) {
    let snapshots = unit.expect["snapshots"].as_object().unwrap();
    let Some((_, newest)) = snapshots.iter().max_by_key(|(name, _)| name.as_str()) else { return };
    let number = |entry: &Value, key: &str| entry[key].as_i64().unwrap();
    let expected: Vec<_> = newest["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| {
            (
                number(e, "producer_id"),
                number(e, "last_sequence"),
                number(e, "current_txn_first_offset"),
            )
        })
        .collect();
    let found: Vec<_> = log
        .producers()
        .iter()
        .map(|p| {
            let sequence = p.last_sequence.map_or(-1, |s| i64::from(s.get()));
            (p.producer_id.get(), sequence, p.txn_first_offset.map_or(-1, Offset::get))
        })
        .collect();
    assert_eq!(found, expected, "{}: producers", unit.name);
}

#[test]
fn l5_checking_everything_anew_finds_the_same() {
    for unit in &units(|name| !name.starts_with("damage-")) {
        let (_guard, dir) = unit.copy();
        let expect = Unit {
            name: unit.name.clone(),
            path: unit.path.clone(),
            expect: {
                let mut expect = unit.expect.clone();
                expect["recovery_point_checkpoint"] = Value::from(0);
                expect
            },
        };
        let (log, report) = open(&expect, &dir, Shutdown::Unclean);
        assert!(
            report.bytes_checked > 0
                || log.log_end_offset() == Offset::ZERO
                || log.size_bytes() == 0,
            "{}",
            unit.name
        );
        if unit.name != "unclean-before" {
            assert!(report.truncated.is_none(), "{}: {report:?}", unit.name);
        }
        check(unit, &log);
        // And once more from what this opening left behind.
        drop(log);
        let (log, _) = open(&expect, &dir, Shutdown::Unclean);
        check(unit, &log);
    }
}

#[test]
fn what_kafka_was_killed_over_is_recovered() {
    for unit in &units(|name| name == "unclean-before") {
        let (_guard, dir) = unit.copy();
        let (log, _) = open(unit, &dir, Shutdown::Unclean);
        check(unit, &log);
    }
}
