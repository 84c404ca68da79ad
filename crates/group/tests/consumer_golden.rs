//! A group of Apache Kafka 4.3.1, lived again: the heartbeats of `next-live` and `next-left` in the golden offsets log lead to the
//! records that Kafka wrote, byte for byte, and a coordinator that loads Kafka's records goes on from there.

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

mod consumer_world;

use std::{collections::BTreeSet, fs, path::PathBuf};

use consumer_world::{World, beat, join, settings};
use hanbeon_group::{
    consumer::record::ConsumerRecord,
    consumer::{ConsumerGroup, GroupState, Heartbeat, Partitions, Topic, TopicList},
};
use hanbeon_records::{Millis, TopicId};
use serde_json::Value;

type Entry = (Vec<u8>, Option<Vec<u8>>);

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// What Kafka wrote of one group, in the log's order.
fn written(unit: &str, group: &str) -> Vec<Entry> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/golden")
        .join(unit)
        .join("expect.json");
    let expect: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let mut found = Vec::new();
    for record in expect["records"].as_array().unwrap() {
        let Some(key) = record["key_hex"].as_str().map(bytes) else { continue };
        let value = record["value_hex"].as_str().map(bytes);
        let Ok(Some(read)) = ConsumerRecord::decode(&key, value.as_deref()) else { continue };
        if read.group_id().starts_with(group) {
            found.push((key, value));
        }
    }
    assert!(!found.is_empty());
    found
}

fn topic_id() -> TopicId {
    "aElRgSOgS6iTxlbn-_zXSg".parse().unwrap()
}

fn topics() -> TopicList {
    let mut topics = TopicList::default();
    topics.put("grp", Topic { id: topic_id(), partitions: 2 });
    topics
}

fn owned(partitions: &[i32]) -> Option<Partitions> {
    Some(partitions.iter().map(|partition| (topic_id(), *partition)).collect())
}

struct Replay {
    group: ConsumerGroup,
    expected: Vec<Entry>,
}

impl Replay {
    fn new(unit: &str, prefix: &str) -> Self {
        let expected = written(unit, prefix);
        let first =
            ConsumerRecord::decode(&expected[0].0, expected[0].1.as_deref()).unwrap().unwrap();
        Self { group: ConsumerGroup::new(first.group_id()), expected }
    }

    fn member(&self, client: &str) -> String {
        let record = self
            .expected
            .iter()
            .filter_map(|(key, value)| ConsumerRecord::decode(key, value.as_deref()).unwrap())
            .find_map(|record| {
                let ConsumerRecord::Member { member_id, value: Some(value), .. } = record else {
                    return None;
                };
                (value.client_id == client).then_some(member_id)
            });
        record.unwrap()
    }

    /// One heartbeat and the records that Kafka wrote for it, kind 7 in any order.
    fn beat(&mut self, at: i64, request: &Heartbeat) {
        let now = Millis::new(at);
        let decision = self.group.heartbeat(now, request, &topics(), &settings(), [0; 16]).unwrap();
        let ours: Vec<Entry> = decision
            .records
            .iter()
            .map(|record| (record.key().unwrap(), record.value().unwrap()))
            .collect();
        let kafkas: Vec<Entry> = self.expected.drain(..ours.len()).collect();
        let kinds =
            |entries: &[Entry]| -> Vec<u8> { entries.iter().map(|(key, _)| key[1]).collect() };
        assert_eq!(kinds(&ours), kinds(&kafkas));
        let set = |entries: Vec<Entry>| -> BTreeSet<Entry> { entries.into_iter().collect() };
        assert_eq!(set(ours), set(kafkas), "{request:?}");
        decision.records.iter().for_each(|record| self.group.apply(record));
    }
}

fn client(name: &str, request: Heartbeat) -> Heartbeat {
    Heartbeat {
        client_id: name.into(),
        rebalance_timeout_ms: 300_000,
        subscribed_topic_regex: Some(String::new()),
        ..request
    }
}

#[test]
fn two_members_of_kafka_s_share_a_topic() {
    let mut replay = Replay::new("group-offsets-1", "next-live");
    let (first, second) = (replay.member("k1"), replay.member("k2"));
    replay.beat(1_795_235_809_097, &client("k1", join(&first, &["grp"])));
    replay.beat(1_795_235_809_263, &client("k2", join(&second, &["grp"])));
    let from = |name: &str, request| Heartbeat { client_id: name.into(), ..request };
    replay.beat(1_795_235_810_223, &from("k1", beat(&first, 2)));
    let gave_up = Heartbeat { owned: owned(&[0]), ..beat(&first, 2) };
    replay.beat(1_795_235_810_312, &from("k1", gave_up));
    replay.beat(1_795_235_810_362, &from("k2", beat(&second, 2)));
    assert_eq!(replay.expected, [], "nothing that Kafka wrote is left");
    assert_eq!(replay.group.state(), GroupState::Stable);
}

#[test]
fn one_member_of_kafka_s_joins_without_a_topic_and_leaves() {
    let mut replay = Replay::new("group-offsets-0", "next-left");
    let member = replay.member("k3");
    let at = 1_795_235_810_626;
    replay.beat(at - 74, &client("k3", join(&member, &[])));
    let names = Some(vec!["grp".into()]);
    let request = Heartbeat { subscribed_topic_names: names, ..beat(&member, 1) };
    replay.beat(at, &Heartbeat { client_id: "k3".into(), ..request });
    replay.beat(at + 108, &Heartbeat { client_id: "k3".into(), ..beat(&member, -1) });
    assert_eq!(replay.expected, [], "nothing that Kafka wrote is left");
    assert_eq!(replay.group.state(), GroupState::Empty);
}

#[test]
fn what_kafka_wrote_is_loaded_and_goes_on_without_a_rebalance() {
    let log = written("group-offsets-1", "next-live");
    let records: Vec<ConsumerRecord> = log
        .iter()
        .filter_map(|(key, value)| ConsumerRecord::decode(key, value.as_deref()).unwrap())
        .collect();
    let mut group = ConsumerGroup::new(records[0].group_id());
    records.iter().for_each(|record| group.apply(record));
    assert_eq!(group.state(), GroupState::Stable);
    assert_eq!(group.epoch(), 3);
    let members: Vec<String> = group.member_ids().map(String::from).collect();
    assert_eq!(members.len(), 2);
    assert_eq!(group.timers_on_load(&settings()).len(), 2);
    for member in members {
        let request = Heartbeat { client_id: "other".into(), ..beat(&member, 3) };
        let now = Millis::new(1_795_235_900_000);
        let decision = group.heartbeat(now, &request, &topics(), &settings(), [0; 16]).unwrap();
        assert_eq!(decision.reply.member_epoch, 3);
        let only_the_client_is_new =
            matches!(decision.records[..], [ConsumerRecord::Member { .. }]);
        assert!(only_the_client_is_new, "{:?}", decision.records);
    }
    assert!(World::load(&[]).is_gone());
}
