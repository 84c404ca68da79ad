//! Opens every undamaged partition directory Apache Kafka left behind and compares all that the log
//! says of it with what Kafka itself, and independent readers, said.

#![allow(clippy::unwrap_used, reason = "a test fails where its ground is missing")]

mod fixture;

use std::collections::BTreeSet;

use fixture::{
    golden::{Unit, consume, each_record, read_all, sha256, units},
    options,
};
use hanbeon_log::{
    AbortedTxn, FileName, FirstBatch, FsDir, Isolation, OpenPartition, OpenReport, Partition,
    ReadMode, Shutdown, TimeQuery, checkpoint, inspect,
};
use hanbeon_records::{BatchRef, Millis, Offset};
use serde_json::{Value, json};

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
        .collect();
    assert_eq!(epochs, expected, "{name}: epochs");
    check_transactions(unit, log);
    check_batches(unit, log);
    check_reads(unit, log, start);
    check_largest_time(unit, log);
    check_lookups(unit, log);
    check_cleaner(unit, log);
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
        let found = consume(&batches, start, &aborted);
        assert_eq!(found.count, count, "{}: {key}", unit.name);
        assert_eq!(json!(found.sha256), unit.expect[key]["sha256"], "{}: {key}", unit.name);
        assert_eq!(json!(found.runs), unit.expect[key]["offsets"], "{}: {key}", unit.name);
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

/// What the indexes lead to: every offset, and every time a record has.
fn check_lookups(unit: &Unit, log: &Partition<FsDir>) {
    let name = &unit.name;
    let (batches, _) = read_all(log, log.log_start_offset(), Isolation::LogEnd);
    let mut records = Vec::new();
    let mut at = log.log_start_offset().get();
    for bytes in &batches {
        let (batch, _) = BatchRef::parse(bytes).unwrap();
        let (base, last) = (batch.base_offset().get(), batch.last_offset().get());
        // Holes, too: compaction left some.
        for offset in at..=last {
            let read = log.read(Offset::new(offset), Isolation::LogEnd, 1, FirstBatch::Whole);
            let found = read.unwrap().records;
            let found = BatchRef::parse(&found).unwrap().0.base_offset().get();
            assert_eq!(found, base, "{name}: the batch of {offset}");
        }
        at = last + 1;
        each_record(&batch, |offset, timestamp, _| records.push((offset, timestamp)));
    }
    records.retain(|(offset, _)| *offset >= log.log_start_offset().get());
    let times: BTreeSet<i64> = records.iter().flat_map(|(_, time)| [*time, *time + 1]).collect();
    for time in times {
        let query = TimeQuery::At(Millis::new(time));
        let found = log.find_offset(query, Isolation::LogEnd).unwrap();
        let found = found.map(|found| (found.offset.get(), found.timestamp.get()));
        let expected = records.iter().find(|(_, at)| *at >= time).copied();
        assert_eq!(found, expected, "{name}: the first record at {time} or later");
    }
}

/// The cleaner's checkpoint, and that the log agrees with it: below lies what was cleaned, whole segments of it.
fn check_cleaner(unit: &Unit, log: &Partition<FsDir>) {
    let expected = unit.number("cleaner_checkpoint");
    if unit.path.join("data-dir").is_dir() {
        let beside = FsDir::open(unit.path.join("data-dir"), ReadMode::Map).unwrap();
        let file = FileName::new(checkpoint::CLEANER_OFFSETS).unwrap();
        let offsets = checkpoint::read_offsets(&beside, &file).unwrap();
        let found = offsets
            .iter()
            .find(|(at, _)| at.to_string() == unit.expect["dir"].as_str().unwrap())
            .map(|(_, offset)| offset.get());
        assert_eq!(found, expected, "{}: cleaner checkpoint", unit.name);
    }
    let Some(cleaned) = expected else { return };
    let bases: Vec<i64> = log.segments().iter().map(|s| s.base_offset.get()).collect();
    assert!(bases.contains(&cleaned), "{}: {cleaned} is no segment of {bases:?}", unit.name);
}

/// The index files, after the log was closed.
fn check_indexes(unit: &Unit, log: &Partition<FsDir>, dir: &FsDir) {
    log.close().unwrap();
    let found = inspect::inspect(dir, inspect::Beside::default(), &mut Unseen).unwrap();
    let found: Vec<Value> = found.segments.iter().map(segment).collect();
    let expected = unit.expect["segments"].as_array().unwrap();
    assert_eq!(found.len(), expected.len(), "{}: segments", unit.name);
    for (found, expected) in found.iter().zip(expected) {
        let mut expected = expected.clone();
        if expected.get("txn_index").is_none() {
            expected["txn_index"] = json!([]);
        }
        assert_eq!(*found, expected, "{}: a segment's indexes", unit.name);
    }
}

/// A segment in the words of `expect.json`.
fn segment(segment: &inspect::SegmentContents) -> Value {
    let offsets = segment.offset_index.iter().flat_map(|index| &index.entries);
    let times = segment.time_index.iter().flat_map(|index| &index.entries);
    let txns = segment.txn_index.iter().flat_map(|index| &index.entries);
    json!({
        "base_offset": segment.base_offset.get(),
        "log_size": segment.log_bytes,
        "batches": segment.batches,
        "offset_index_size": segment.offset_index.as_ref().map(|index| index.bytes),
        "time_index_size": segment.time_index.as_ref().map(|index| index.bytes),
        "offset_index": offsets.map(|e| json!([e.offset.get(), e.position])).collect::<Value>(),
        "time_index": times.map(|e| json!([e.timestamp.get(), e.offset.get()])).collect::<Value>(),
        "txn_index": txns.map(aborted).collect::<Value>(),
    })
}

fn aborted(txn: &AbortedTxn) -> Value {
    json!({
        "producer_id": txn.producer_id.get(),
        "first_offset": txn.first_offset.get(),
        "last_offset": txn.last_offset.get(),
        "last_stable_offset": txn.last_stable_offset.get(),
    })
}

/// Only the indexes count here.
struct Unseen;

impl inspect::Visitor for Unseen {}

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
        check_live_producers(unit, &log);
        check_indexes(unit, &log, &dir);
    }
}

/// What Kafka knew of its producers before it stopped is known again.
fn check_live_producers(unit: &Unit, log: &Partition<FsDir>) {
    let found: Value = log
        .producers()
        .iter()
        .map(|p| {
            json!({
                "producer_id": p.producer_id.get(),
                "producer_epoch": p.producer_epoch.get(),
                "last_sequence": p.last_sequence.map_or(-1, |s| s.get()),
                "last_timestamp": p.last_timestamp.get(),
                "coordinator_epoch": p.coordinator_epoch.get(),
                "current_txn_first_offset": p.txn_first_offset.map_or(-1, Offset::get),
            })
        })
        .collect();
    assert_eq!(found, unit.expect["live_producers"], "{}: live producers", unit.name);
}

#[test]
fn l5_checking_everything_anew_finds_the_same() {
    let mut thinner = Vec::new();
    for unit in &units(|name| !name.starts_with("damage-")) {
        let (_guard, dir) = unit.copy();
        let expect = Unit {
            name: unit.name.clone(),
            path: unit.path.clone(),
            expect: {
                let mut expect = unit.expect.clone();
                expect["recovery_point_checkpoint"] = Value::from(0);
                let interval = i64::try_from(unit.config().index_interval_bytes()).unwrap();
                expect["segments"] = Value::from(scanned(&unit.expect, interval));
                if unit.name == "compacted-1-horizons" {
                    // The cleaner took the batches of these transactions and left their entries; an index made anew has none.
                    expect["aborted_transactions"] = json!([]);
                    for segment in expect["segments"].as_array_mut().unwrap() {
                        segment["txn_index"] = json!([]);
                    }
                }
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
        check(&expect, &log);
        // And once more from what this opening left behind.
        drop(log);
        let (log, _) = open(&expect, &dir, Shutdown::Unclean);
        check(&expect, &log);
        check_indexes(&expect, &log, &dir);
        if expect.expect["segments"] != unit.expect["segments"] {
            thinner.push(unit.name.clone());
        }
    }
    // Restarted, cleaned, killed: everywhere else a scan makes Kafka's indexes byte for byte.
    let known =
        ["compacted-1-horizons", "epochs", "txn-data-tv2", "txn-state-tv2-1", "unclean-before"];
    assert_eq!(thinner, known, "Kafka's indexes are not those of a scan");
}

/// The indexes that a scan of the batches makes: Kafka's are thinner where it was restarted, since it then counts the interval anew.
fn scanned(expect: &Value, interval: i64) -> Vec<Value> {
    let mut segments = expect["segments"].as_array().unwrap().clone();
    for segment in &mut segments {
        let (mut offsets, mut times) = (Vec::new(), Vec::new());
        let (mut since, mut largest, mut noted) = (0, (-1, 0), -1);
        let batches = expect["batches"].as_array().unwrap().iter();
        for batch in batches.filter(|b| b["segment"] == segment["base_offset"]) {
            let number = |key: &str| batch[key].as_i64().unwrap();
            if number("max_timestamp") > largest.0 {
                largest = (number("max_timestamp"), number("last_offset"));
            }
            if since > interval {
                offsets.push(json!([number("last_offset"), number("position")]));
                if largest.0 > noted {
                    times.push(json!([largest.0, largest.1]));
                    noted = largest.0;
                }
                since = 0;
            }
            since += number("size");
        }
        if largest.0 > noted {
            times.push(json!([largest.0, largest.1]));
        }
        segment["offset_index_size"] = json!(offsets.len() * 8);
        segment["time_index_size"] = json!(times.len() * 12);
        segment["offset_index"] = Value::from(offsets);
        segment["time_index"] = Value::from(times);
    }
    segments
}

#[test]
fn what_kafka_was_killed_over_is_recovered() {
    for unit in &units(|name| name == "unclean-before") {
        let (_guard, dir) = unit.copy();
        let (log, _) = open(unit, &dir, Shutdown::Unclean);
        check(unit, &log);
    }
}
