//! Kafka 4.3.1's `__transaction_state`, as it lies on disk: every record is read, written back to the same bytes, and
//! replayed into the states that Kafka's own tool saw.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test says so by failing, and names only the variants it means"
)]

use std::{collections::BTreeMap, fs, path::PathBuf};

use hanbeon_records::BatchRef;
use hanbeon_txn::{
    Coordinator, ListFilter, Protocol, Replayed, Settings, TxnKey, TxnValue, TxnView, ValueVersion,
    decode_key, encode_key,
};
use serde_json::{Value, json};

const UNITS: [&str; 5] = [
    "txn-state-tv1-0",
    "txn-state-tv1-1",
    "txn-state-tv2-0",
    "txn-state-tv2-1",
    "txn-state-overflow",
];

fn unit(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(name)
}

fn expect(name: &str) -> Value {
    serde_json::from_slice(&fs::read(unit(name).join("expect.json")).unwrap()).unwrap()
}

/// Every record of the partition with its offset, straight from the segments.
fn records(name: &str) -> Vec<(i64, Vec<u8>, Option<Vec<u8>>)> {
    let dir = unit(name).join(expect(name)["dir"].as_str().unwrap());
    let mut segments: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "log"))
        .collect();
    segments.sort();
    let mut found = Vec::new();
    for bytes in segments.iter().map(|path| fs::read(path).unwrap()) {
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (batch, behind) = BatchRef::parse(rest).unwrap();
            rest = behind;
            for record in batch.records().unwrap() {
                let record = record.unwrap();
                let offset = batch.offset_of(&record).get();
                found.push((
                    offset,
                    record.key.unwrap().to_vec(),
                    record.value.map(<[u8]>::to_vec),
                ));
            }
        }
    }
    found
}

/// A value in the words of `expect.json`.
fn told(value: &TxnValue, version: ValueVersion) -> Value {
    let partitions = value.partitions.as_ref().map(|topics| {
        let topic = |t: &hanbeon_txn::TopicPartitions| {
            json!({"topic": t.topic.as_str(), "partitions": t.partitions})
        };
        topics.iter().map(topic).collect::<Vec<_>>()
    });
    let mut told = json!({
        "value_version": match version { ValueVersion::V0 => 0, ValueVersion::V1 => 1 },
        "producer_id": value.producer.id.get(),
        "producer_epoch": value.producer.epoch.get(),
        "timeout_ms": value.timeout_ms,
        "state": value.state.name(),
        "partitions": partitions,
        "last_update_ms": value.last_update.get(),
        "start_ms": value.start.get(),
    });
    let fields = told.as_object_mut().unwrap();
    for (name, number, default) in [
        ("previous_producer_id", value.previous_producer_id.get(), -1),
        ("next_producer_id", value.next_producer_id.get(), -1),
        ("client_transaction_version", value.client_transaction_version.into(), 0),
    ] {
        if number != default {
            fields.insert(name.to_owned(), json!(number));
        }
    }
    told
}

#[test]
fn every_record_decodes_as_kafkas_tool_says_and_encodes_to_its_own_bytes() {
    for name in UNITS {
        let expect = expect(name);
        let mut final_states = BTreeMap::new();
        let found = records(name);
        assert_eq!(found.len(), expect["records"].as_array().unwrap().len(), "{name}");
        for ((offset, key, value), expected) in
            found.iter().zip(expect["records"].as_array().unwrap())
        {
            assert_eq!(*offset, expected["offset"].as_i64().unwrap());
            let TxnKey::Transaction(id) = decode_key(key).unwrap() else {
                panic!("{name}: {key:?}")
            };
            let mut again = Vec::new();
            encode_key(&id, &mut again);
            assert_eq!(*key, again, "{name} offset {offset}");
            let Some(bytes) = value else {
                final_states.insert(id.as_str().to_owned(), json!({"tombstone": true}));
                continue;
            };
            let (value, version) = TxnValue::decode(bytes).unwrap();
            let mut again = Vec::new();
            value.encode(version, &mut again).unwrap();
            assert_eq!(*bytes, again, "{name} offset {offset}");
            let mut decoded = expected["decoded"].clone();
            let fields = decoded.as_object_mut().unwrap();
            assert_eq!(fields.remove("key_version"), Some(json!(0)));
            assert_eq!(fields.remove("transactional_id"), Some(json!(id.as_str())));
            assert_eq!(told(&value, version), decoded, "{name} offset {offset}");
            final_states.insert(id.as_str().to_owned(), decoded);
        }
        assert_eq!(json!(final_states), expect["final_states"], "{name}");
    }
}

fn seen(view: &TxnView<'_>) -> Value {
    let mut topics = BTreeMap::<_, Vec<i32>>::new();
    for partition in view.partitions {
        topics.entry(partition.topic.as_str().to_owned()).or_default().push(partition.partition);
    }
    json!({
        "producer": [view.producer.id.get(), i64::from(view.producer.epoch.get())],
        "timeout_ms": view.timeout_ms,
        "state": view.state.name(),
        "topics": topics,
        "times": [view.last_update.get(), view.start.get()],
        "previous": view.previous_producer_id.get(),
        "next": view.next_producer_id.get(),
        "v2": view.client == Protocol::V2,
    })
}

/// The same of an entry of `final_states`.
fn kept(state: &Value) -> Value {
    let mut topics = BTreeMap::new();
    for topic in state["partitions"].as_array().into_iter().flatten() {
        let mut partitions: Vec<_> =
            topic["partitions"].as_array().unwrap().iter().map(|p| p.as_i64().unwrap()).collect();
        partitions.sort_unstable();
        topics.insert(topic["topic"].as_str().unwrap().to_owned(), partitions);
    }
    json!({
        "producer": [state["producer_id"], state["producer_epoch"]],
        "timeout_ms": state["timeout_ms"],
        "state": state["state"],
        "topics": topics,
        "times": [state["last_update_ms"], state["start_ms"]],
        "previous": state["previous_producer_id"],
        "next": state.get("next_producer_id").cloned().unwrap_or_else(|| json!(-1)),
        "v2": state.get("client_transaction_version") == Some(&json!(2)),
    })
}

#[test]
fn a_replayed_log_ends_in_the_states_that_kafka_had() {
    let settings = Settings::kafka_defaults();
    for name in UNITS {
        let mut coordinator = Coordinator::new(settings);
        for (_, key, value) in records(name) {
            assert_eq!(coordinator.replay(&key, value.as_deref()), Ok(Replayed::Applied));
        }
        let all = ListFilter::default();
        let found: BTreeMap<_, _> = coordinator
            .list(hanbeon_records::Millis::NONE, &all)
            .map(|view| (view.id.as_str().to_owned(), seen(&view)))
            .collect();
        let expect = expect(name);
        let expected: BTreeMap<_, _> = expect["final_states"]
            .as_object()
            .unwrap()
            .iter()
            .filter(|(_, state)| state.get("tombstone").is_none())
            .map(|(id, state)| (id.clone(), kept(state)))
            .collect();
        assert_eq!(found, expected, "{name}");
    }
}
