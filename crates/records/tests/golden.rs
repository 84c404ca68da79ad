//! Every batch and record that Apache Kafka left in `tests/golden`, against what is known to be in it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that panics fails, which is what it is for"
)]

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use hanbeon_records::{
    BatchRef, Codec, Control, OutputLimit, Record, Records, Sequence, TimestampType, decompress,
    read_control,
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

struct Unit {
    name: String,
    dir: PathBuf,
    expect: Value,
}

/// One line of the canonical form, and what decides who reads it.
struct Line {
    offset: i64,
    producer_id: i64,
    transactional: bool,
    text: String,
}

fn units() -> Vec<Unit> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    let mut units: Vec<Unit> = fs::read_dir(&root)
        .expect("the golden directories are there")
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().join("expect.json").is_file())
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            let text = fs::read(entry.path().join("expect.json")).unwrap();
            let expect: Value = serde_json::from_slice(&text).unwrap();
            let dir = entry.path().join(expect["dir"].as_str().unwrap());
            Unit { name, dir, expect }
        })
        .filter(|unit| !unit.name.starts_with("damage-"))
        .collect();
    units.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(units.len(), 31, "a unit has come or gone");
    units
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn nullable(bytes: Option<&[u8]>) -> String {
    bytes.map_or_else(|| "-".to_owned(), hex)
}

fn sequence(sequence: Option<Sequence>) -> i64 {
    sequence.map_or(-1, |sequence| i64::from(sequence.get()))
}

fn line(batch: &BatchRef<'_>, record: &Record<'_>) -> Line {
    let headers: Vec<String> = record
        .headers
        .map(|header| format!("{}={}", hex(header.key), nullable(header.value)))
        .collect();
    let offset = batch.offset_of(record).get();
    let text = format!(
        "{offset}\t{}\t{}\t{}\t{}\n",
        batch.timestamp_of(record),
        nullable(record.key),
        nullable(record.value),
        headers.join(";")
    );
    let producer_id = batch.producer_id().get();
    Line { offset, producer_id, transactional: batch.attributes().is_transactional(), text }
}

fn check_header(batch: &BatchRef<'_>, expect: &Value, at: &str) {
    let attributes = batch.attributes();
    let number = |field: &str| expect[field].as_i64().unwrap_or_else(|| panic!("{at}: {field}"));
    assert_eq!(batch.bytes().len() as u64, expect["size"].as_u64().unwrap(), "{at}");
    assert_eq!(batch.base_offset().get(), number("base_offset"), "{at}");
    assert_eq!(batch.last_offset().get(), number("last_offset"), "{at}");
    assert_eq!(i64::from(batch.record_count()), number("count"), "{at}");
    assert_eq!(i64::from(batch.leader_epoch().get()), number("leader_epoch"), "{at}");
    assert_eq!(batch.producer_id().get(), number("producer_id"), "{at}");
    assert_eq!(i64::from(batch.producer_epoch().get()), number("producer_epoch"), "{at}");
    assert_eq!(sequence(batch.base_sequence()), number("base_sequence"), "{at}");
    assert_eq!(sequence(batch.last_sequence()), number("last_sequence"), "{at}");
    assert_eq!(batch.base_timestamp().get(), number("base_timestamp"), "{at}");
    assert_eq!(batch.max_timestamp().get(), number("max_timestamp"), "{at}");
    assert_eq!(i64::from(attributes.get()), number("attributes"), "{at}");
    assert_eq!(i64::from(batch.crc()), number("crc"), "{at}");
    assert_eq!(attributes.is_transactional(), expect["transactional"], "{at}");
    assert_eq!(attributes.is_control(), expect["control"], "{at}");
    assert_eq!(attributes.codec().unwrap().name(), expect["codec"], "{at}");
    let horizon = if attributes.has_delete_horizon() { batch.base_timestamp().get() } else { -1 };
    assert_eq!(horizon, number("delete_horizon_ms"), "{at}");
    let timestamp_type = match attributes.timestamp_type() {
        TimestampType::CreateTime => "CreateTime",
        TimestampType::LogAppendTime => "LogAppendTime",
    };
    assert_eq!(timestamp_type, expect["timestamp_type"], "{at}");
}

fn check_control(batch: &BatchRef<'_>, expect: &Value, at: &str) {
    match (read_control(*batch).unwrap_or_else(|error| panic!("{at}: {error}")), expect) {
        (None, Value::Null) => assert_eq!(batch.record_count(), 0, "{at}"),
        (Some(Control::EndTxn(marker)), Value::Object(expect)) => {
            let outcome = format!("{:?}", marker.outcome).to_uppercase();
            assert_eq!(outcome, expect["type"], "{at}");
            assert_eq!(marker.coordinator_epoch.get(), expect["coordinator_epoch"], "{at}");
        }
        (read, expect) => panic!("{at}: read {read:?}, expected {expect}"),
    }
}

fn read_records(batch: &BatchRef<'_>, at: &str, lines: &mut Vec<Line>) {
    let codec = batch.attributes().codec().unwrap();
    let mut plain = Vec::new();
    let limit = OutputLimit::for_batch(batch.payload().len());
    let records = if codec == Codec::None || batch.record_count() == 0 {
        batch.records().unwrap()
    } else {
        decompress(codec, batch.payload(), limit, &mut plain)
            .unwrap_or_else(|error| panic!("{at}: {error}"));
        Records::new(batch.record_count(), &plain)
    };
    for record in records {
        lines.push(line(batch, &record.unwrap_or_else(|error| panic!("{at}: {error}"))));
    }
}

/// Walks the unit's segments and returns its data records.
fn walk(unit: &Unit) -> Vec<Line> {
    let mut expected = unit.expect["batches"].as_array().unwrap().iter();
    let mut lines = Vec::new();
    for segment in unit.expect["segments"].as_array().unwrap() {
        let file = format!("{:020}.log", segment["base_offset"].as_i64().unwrap());
        let bytes = fs::read(unit.dir.join(&file)).unwrap();
        let mut rest = &bytes[..];
        for _ in 0..segment["batches"].as_u64().unwrap() {
            let at = format!("{}/{file} at {}", unit.name, bytes.len() - rest.len());
            let expect = expected.next().unwrap_or_else(|| panic!("{at}: one batch too many"));
            let (batch, after) = BatchRef::parse(rest).unwrap_or_else(|e| panic!("{at}: {e}"));
            let batch = batch.verify().unwrap_or_else(|error| panic!("{at}: {error}"));
            rest = after;
            check_header(&batch, expect, &at);
            if batch.attributes().is_control() {
                check_control(&batch, &expect["marker"], &at);
            } else {
                read_records(&batch, &at, &mut lines);
            }
        }
        if !unit.name.starts_with("unclean-before") {
            assert!(rest.is_empty(), "{}/{file}: {} bytes follow", unit.name, rest.len());
        }
    }
    assert!(expected.next().is_none(), "{}: batches are missing", unit.name);
    lines
}

fn check_read<'l>(unit: &Unit, which: &str, lines: impl Iterator<Item = &'l Line>) {
    let expect = &unit.expect[which];
    let mut sum = Sha256::new();
    let mut count = 0_u64;
    for line in lines {
        sum.update(line.text.as_bytes());
        count += 1;
    }
    assert_eq!(count, expect["count"].as_u64().unwrap(), "{}: {which}", unit.name);
    assert_eq!(hex(&sum.finalize()), expect["sha256"], "{}: {which}", unit.name);
}

fn aborted(unit: &Unit, line: &Line) -> bool {
    line.transactional
        && unit.expect["aborted_transactions"].as_array().unwrap().iter().any(|txn| {
            txn["producer_id"] == line.producer_id
                && (txn["first_offset"].as_i64().unwrap()..=txn["last_offset"].as_i64().unwrap())
                    .contains(&line.offset)
        })
}

#[test]
fn what_kafka_wrote_is_read_to_the_last_byte() {
    let mut batches = 0;
    for unit in units() {
        let lines = walk(&unit);
        let start = unit.expect["log_start_offset"].as_i64().unwrap();
        let stable = unit.expect["last_stable_offset"].as_i64().unwrap();
        let alive = || lines.iter().filter(|line| line.offset >= start);
        check_read(&unit, "read_uncommitted", alive());
        let committed = alive().filter(|line| line.offset < stable && !aborted(&unit, line));
        check_read(&unit, "read_committed", committed);
        batches += unit.expect["batches"].as_array().unwrap().len();
    }
    assert_eq!(batches, 984, "batches have come or gone");
}
