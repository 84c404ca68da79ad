//! What readers of both isolation levels get of partitions that Apache Kafka wrote, open and aborted transactions included.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::Path};

use hanbeon::{ConsumerSettings, Engine};
use serde_json::Value;

/// Units whose partitions make up whole topics.
const UNITS: [&str; 5] =
    ["transactions", "transactions-two-0", "transactions-two-1", "txn-data-tv1", "txn-data-tv2"];

fn golden(unit: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(unit)
}

fn expected(unit: &str) -> Value {
    serde_json::from_slice(&fs::read(golden(unit).join("expect.json")).unwrap()).unwrap()
}

fn offsets(ranges: &Value) -> Vec<i64> {
    let ranges = ranges["offsets"].as_array().unwrap();
    ranges
        .iter()
        .flat_map(|range| range[0].as_i64().unwrap()..=range[1].as_i64().unwrap())
        .collect()
}

fn read(engine: &Engine, topic: &str, number: i32, isolation: &str, at_once: &str) -> Vec<i64> {
    let settings = ConsumerSettings::new().set("isolation.level", isolation).unwrap();
    let settings = settings.set("max.poll.records", at_once).unwrap();
    let mut consumer = engine.consumer_with(settings);
    consumer.assign(topic, number).unwrap();
    let mut found = Vec::new();
    // A poll may find nothing to show where all it read is aborted: the position tells the end.
    loop {
        let before = consumer.position(topic, number).unwrap();
        found.extend(consumer.poll().unwrap().iter().map(|record| record.offset.get()));
        if consumer.position(topic, number).unwrap() == before {
            return found;
        }
    }
}

#[test]
fn t1_readers_of_both_levels_get_what_kafkas_own_consumer_got() {
    let home = tempfile::tempdir().unwrap();
    for unit in UNITS {
        let dir = expected(unit)["dir"].as_str().unwrap().to_owned();
        fs::create_dir(home.path().join(&dir)).unwrap();
        for entry in fs::read_dir(golden(unit).join(&dir)).unwrap() {
            let entry = entry.unwrap();
            let to = home.path().join(&dir).join(entry.file_name());
            fs::write(to, fs::read(entry.path()).unwrap()).unwrap();
        }
    }
    let engine = Engine::open(home.path()).unwrap();
    for unit in UNITS {
        let expected = expected(unit);
        let topic = expected["topic"].as_str().unwrap();
        let number = i32::try_from(expected["partition"].as_i64().unwrap()).unwrap();
        for isolation in ["read_uncommitted", "read_committed"] {
            for at_once in ["1", "500"] {
                let found = read(&engine, topic, number, isolation, at_once);
                assert_eq!(found, offsets(&expected[isolation]), "{unit}, {isolation}, {at_once}");
            }
        }
        let partition = engine.partition(topic, number).unwrap();
        let stable = partition.last_stable_offset().unwrap();
        assert_eq!(stable.get(), expected["last_stable_offset"].as_i64().unwrap(), "{unit}");
    }
}
