//! Kafka 4.3.1's `__consumer_offsets`, as it lies on disk: every record is read, written back to the same bytes, and replayed into
//! the groups that Kafka's own tool saw.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test says so by failing, also at an answer that it does not expect"
)]

use std::{collections::BTreeMap, fs, path::PathBuf};

use hanbeon_group::{
    Coordinator, Fetch, FetchWhat, GroupMetadata, GroupType, ListFilter, Name, OffsetKeyLayout,
    OffsetLayout, OffsetValue, Record, Replayed, Settings, Stability,
};
use hanbeon_records::{BatchRef, Control, Millis, Offset, Outcome, ProducerId, read_control};
use serde_json::{Value, json};

const UNITS: [&str; 2] = ["group-offsets-0", "group-offsets-1"];

fn unit(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(name)
}

fn expect(name: &str) -> Value {
    serde_json::from_slice(&fs::read(unit(name).join("expect.json")).unwrap()).unwrap()
}

/// A record or a marker with its offset and producer.
enum Found {
    Record { at: i64, producer_id: Option<i64>, key: Vec<u8>, value: Option<Vec<u8>> },
    Marker { at: i64, producer_id: i64, outcome: Outcome },
}

fn partition(name: &str) -> Vec<Found> {
    let dir = unit(name).join(expect(name)["dir"].as_str().unwrap());
    let bytes = fs::read(dir.join("00000000000000000000.log")).unwrap();
    let mut rest = bytes.as_slice();
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (batch, behind) = BatchRef::parse(rest).unwrap();
        rest = behind;
        if batch.attributes().is_control() {
            let Some(Control::EndTxn(marker)) = read_control(batch).unwrap() else { continue };
            found.push(Found::Marker {
                at: batch.base_offset().get(),
                producer_id: batch.producer_id().get(),
                outcome: marker.outcome,
            });
            continue;
        }
        for record in batch.records().unwrap() {
            let record = record.unwrap();
            let producer_id =
                batch.attributes().is_transactional().then(|| batch.producer_id().get());
            found.push(Found::Record {
                at: batch.offset_of(&record).get(),
                producer_id,
                key: record.key.unwrap().to_vec(),
                value: record.value.map(<[u8]>::to_vec),
            });
        }
    }
    found
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the files' own decoder says of an offset, from ours.
fn offset_json(
    layout: OffsetKeyLayout,
    group: &Name,
    at: (&Name, i32),
    value: &OffsetValue,
) -> Value {
    let key_type = match layout {
        OffsetKeyLayout::V0 => 0,
        OffsetKeyLayout::V1 => 1,
    };
    let version = match value.layout {
        OffsetLayout::V0 => 0,
        OffsetLayout::V1 => 1,
        OffsetLayout::V2 => 2,
        OffsetLayout::V3 => 3,
        OffsetLayout::V4 => 4,
    };
    let tags: BTreeMap<&str, String> =
        value.topic_id.iter().map(|id| ("0", hex(&id.get()))).collect();
    json!({
        "key_type": key_type, "group": group.as_str(), "topic": at.0.as_str(), "partition": at.1,
        "value_version": version, "offset": value.offset.get(),
        "leader_epoch": value.leader_epoch.get(), "metadata": *value.metadata,
        "commit_timestamp": value.commit_timestamp.get(), "tags": tags,
    })
}

/// What Kafka's tool says of a group's fields, without the parsed subscriptions.
fn group_json(value: &GroupMetadata) -> Value {
    let text = |name: &Option<Name>| name.as_ref().map(|name| name.as_str().to_owned());
    json!({
        "protocolType": value.protocol_type.as_str(), "generation": value.generation,
        "protocol": text(&value.protocol), "leader": text(&value.leader),
        "currentStateTimestamp": value.current_state_timestamp.map_or(-1, Millis::get),
        "members": value.members.iter().map(|member| json!({
            "memberId": member.member_id.as_str(), "groupInstanceId": text(&member.instance_id),
            "clientId": member.client_id.as_str(), "clientHost": member.client_host.as_str(),
            "rebalanceTimeout": member.rebalance_timeout_ms,
            "sessionTimeout": member.session_timeout_ms,
        })).collect::<Vec<_>>(),
    })
}

fn without_the_parsed(tool: &Value) -> Value {
    let mut data = tool["data"].clone();
    for member in data["members"].as_array_mut().unwrap() {
        let member = member.as_object_mut().unwrap();
        member.remove("subscription");
        member.remove("assignment");
    }
    data
}

#[test]
fn every_record_reads_as_kafka_reads_it_and_writes_back() {
    for unit in UNITS {
        let expect = expect(unit);
        let mut known = expect["records"].as_array().unwrap().iter();
        for found in partition(unit) {
            let Found::Record { at, key, value, .. } = found else { continue };
            let record = Record::decode(Some(&key), value.as_deref()).unwrap();
            assert_eq!(record.key().unwrap(), key, "{unit} {at}");
            assert_eq!(record.value(), value, "{unit} {at}");
            let known = known.next().unwrap();
            assert_eq!(known["offset"], at);
            assert_eq!(known["key_hex"], hex(&key));
            match &record {
                Record::Offset { layout, group, topic, partition, value: Some(value) } => {
                    let told = offset_json(*layout, group, (topic, *partition), value);
                    assert_eq!(known["decoded"], told);
                }
                Record::Offset { value: None, .. } | Record::Group { value: None, .. } => {
                    assert_eq!(known["decoded"]["tombstone"], true);
                }
                Record::Group { group, value: Some(value) } => {
                    assert_eq!(known["decoded"]["group"], group.as_str());
                    assert_eq!(without_the_parsed(&known["tool"][1]), group_json(value));
                }
                Record::Consumer { group, key_type, .. } => {
                    assert_eq!(known["decoded"]["group"], group.as_str());
                    assert_eq!(known["decoded"]["key_type"], *key_type);
                }
                _ => panic!("{unit} {at}: {record:?}"),
            }
        }
        assert!(known.next().is_none(), "{unit}: a record was not found");
    }
}

fn replayed(unit: &str) -> Coordinator<()> {
    let mut groups = Coordinator::new(Settings {
        session_timeout_ms_min: 6_000,
        session_timeout_ms_max: 1_800_000,
        initial_rebalance_delay_ms: 3_000,
        groups_max: 10_000,
        group_size_max: 1_000,
        member_bytes_max: 1 << 20,
        new_member_join_timeout_ms: 300_000,
        offset_metadata_len_max: 4_096,
        offsets_retention_ms: 604_800_000,
        offsets_retention_check_interval_ms: 600_000,
    });
    for found in partition(unit) {
        match found {
            Found::Record { at, producer_id, key, value } => groups.replay(&Replayed::Record {
                key: Some(&key),
                value: value.as_deref(),
                position: Offset::new(at),
                producer_id: producer_id.map(ProducerId::new),
            }),
            Found::Marker { at, producer_id, outcome } => groups.replay(&Replayed::Marker {
                producer_id: ProducerId::new(producer_id),
                outcome,
                position: Offset::new(at),
            }),
        }
        .unwrap();
    }
    let mut out = Vec::new();
    groups.loaded(Millis::new(1_795_235_813_000), &mut out);
    assert!(out.is_empty());
    groups
}

/// A coordinator as Kafka's admin client saw it.
fn view(groups: &Coordinator<()>) -> Value {
    let mut all = BTreeMap::new();
    for listed in groups.list(&ListFilter::default()).unwrap() {
        let fetch = Fetch {
            group: listed.group.clone(),
            member: None,
            stability: Stability::NotRequired,
            what: FetchWhat::All,
        };
        let offsets: BTreeMap<String, Value> = groups
            .fetch_offsets(&fetch)
            .unwrap()
            .into_iter()
            .map(|fetched| {
                let committed = fetched.committed.unwrap();
                let told = json!([
                    committed.offset.get(),
                    committed.leader_epoch.get(),
                    *committed.metadata
                ]);
                (format!("{}-{}", fetched.topic, fetched.partition), told)
            })
            .collect();
        let group_type = match listed.group_type {
            GroupType::Classic => "Classic",
            GroupType::Consumer => "Consumer",
        };
        let told = json!({
            "protocol": listed.protocol_type.as_str(), "type": group_type,
            "state": listed.state.name(), "offsets": offsets,
        });
        all.insert(listed.group.as_str().to_owned(), told);
    }
    json!(all)
}

#[test]
fn the_replayed_groups_are_those_kafka_showed() {
    for unit in UNITS {
        assert_eq!(view(&replayed(unit)), expect(unit)["coordinator_view"], "{unit}");
    }
}

#[test]
fn a_pending_commit_of_the_files_becomes_visible_with_its_marker() {
    let mut groups = replayed("group-offsets-1");
    let fetch = Fetch {
        group: Name::new("txn-pending-563").unwrap(),
        member: None,
        stability: Stability::Required,
        what: FetchWhat::These(vec![(Name::new("grp").unwrap(), 0)]),
    };
    let before = groups.fetch_offsets(&fetch).unwrap().pop().unwrap();
    assert!(before.error.is_some() && before.committed.is_none());
    groups.marker_written(ProducerId::new(9), Outcome::Commit, Offset::new(38));
    let after = groups.fetch_offsets(&fetch).unwrap().pop().unwrap().committed.unwrap();
    assert_eq!((after.offset, &*after.metadata), (Offset::new(7), "pending"));
}
