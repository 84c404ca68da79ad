//! The bytes of a consumer group's records: Kafka's own lead back to themselves, and no bytes at all do harm.

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]
#![allow(clippy::wildcard_enum_match_arm, reason = "what no arm expects fails the test")]

use std::{fs, path::PathBuf};

use hanbeon_group::consumer::record::{
    AssignedPartitions, ClassicMember, ConsumerRecord, CurrentAssignment, GroupEpoch,
    MemberMetadata, PartitionMetadata, RecordError, ResolvedRegex, TargetEpoch, TopicMetadata,
    TopicPartitions,
};
use hanbeon_records::TopicId;
use proptest::prelude::*;
use serde_json::Value;

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// All records of the two golden partitions: key, value, and what Kafka's own tool makes of them.
fn golden() -> Vec<(Vec<u8>, Option<Vec<u8>>, Value)> {
    let mut found = Vec::new();
    for unit in ["group-offsets-0", "group-offsets-1"] {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/golden")
            .join(unit)
            .join("expect.json");
        let expect: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        for record in expect["records"].as_array().unwrap() {
            let Some(key) = record["key_hex"].as_str() else { continue };
            let value = record["value_hex"].as_str().map(bytes);
            found.push((bytes(key), value, record["tool"].clone()));
        }
    }
    found
}

fn again(record: &ConsumerRecord) -> ConsumerRecord {
    let (key, value) = (record.key().unwrap(), record.value().unwrap());
    ConsumerRecord::decode(&key, value.as_deref()).unwrap().unwrap()
}

#[test]
fn what_kafka_wrote_is_read_and_written_byte_for_byte() {
    let mut kinds = Vec::new();
    for (key, value, _) in golden() {
        let kind = i16::from_be_bytes([key[0], key[1]]);
        let Some(record) = ConsumerRecord::decode(&key, value.as_deref()).unwrap() else {
            assert!((0..=2).contains(&kind), "kind {kind} is a consumer group's");
            continue;
        };
        kinds.push(kind);
        assert_eq!(record.key().unwrap(), key, "{record:?}");
        assert_eq!(record.value().unwrap(), value, "{record:?}");
    }
    for kind in [3, 5, 6, 7, 8] {
        assert!(kinds.contains(&kind), "no golden record of kind {kind}");
    }
}

fn numbers(of: &Value) -> Vec<i32> {
    of.as_array().unwrap().iter().map(|n| n.as_i64().unwrap().try_into().unwrap()).collect()
}

fn assigned(of: &Value) -> Vec<AssignedPartitions> {
    let topics = of.as_array().unwrap().iter();
    topics
        .map(|topic| AssignedPartitions {
            topic_id: topic["topicId"].as_str().unwrap().parse().unwrap(),
            partitions: numbers(&topic["partitions"]),
            assignment_epochs: Some(numbers(&topic["assignmentEpochs"])),
        })
        .collect()
}

#[test]
fn what_kafka_wrote_means_what_its_own_tool_says() {
    let mut seen = 0;
    for (key, value, tool) in golden() {
        let Some(record) = ConsumerRecord::decode(&key, value.as_deref()).unwrap() else {
            continue;
        };
        let said = &tool[1]["data"];
        if value.is_none() {
            continue;
        }
        let number = |name: &str| -> i32 { said[name].as_i64().unwrap().try_into().unwrap() };
        let name = |of: &Value| of.as_str().map(str::to_owned);
        assert_eq!(record.group_id(), tool[0]["data"]["groupId"].as_str().unwrap());
        match record {
            ConsumerRecord::GroupEpoch { value: Some(value), .. } => {
                assert_eq!(value.epoch, number("epoch"));
                assert_eq!(value.metadata_hash, said["metadataHash"].as_i64().unwrap_or(0));
            }
            ConsumerRecord::Member { value: Some(value), .. } => {
                let names = said["subscribedTopicNames"].as_array().unwrap();
                assert_eq!(
                    value.subscribed_topic_names,
                    names.iter().filter_map(name).collect::<Vec<_>>()
                );
                assert_eq!(value.subscribed_topic_regex, name(&said["subscribedTopicRegex"]));
                assert_eq!(value.rebalance_timeout_ms, number("rebalanceTimeoutMs"));
                assert_eq!(value.client_id, said["clientId"].as_str().unwrap());
                assert_eq!(value.client_host, said["clientHost"].as_str().unwrap());
                assert!(value.classic.is_none() && said["classicMemberMetadata"].is_null());
            }
            ConsumerRecord::TargetEpoch { value: Some(value), .. } => {
                assert_eq!(value.assignment_epoch, number("assignmentEpoch"));
                assert_eq!(value.assignment_timestamp, said["assignmentTimestamp"].as_i64());
            }
            ConsumerRecord::TargetAssignment { value: Some(value), .. } => {
                let topics = said["topicPartitions"].as_array().unwrap();
                assert_eq!(value.len(), topics.len());
                for (ours, theirs) in value.iter().zip(topics) {
                    assert_eq!(ours.partitions, numbers(&theirs["partitions"]));
                }
            }
            ConsumerRecord::CurrentAssignment { value: Some(value), .. } => {
                assert_eq!(value.member_epoch, number("memberEpoch"));
                assert_eq!(value.previous_member_epoch, number("previousMemberEpoch"));
                assert_eq!(i32::from(value.state), number("state"));
                assert_eq!(value.assigned, assigned(&said["assignedPartitions"]));
                assert_eq!(
                    value.pending_revocation,
                    assigned(&said["partitionsPendingRevocation"])
                );
            }
            other => panic!("no golden record is expected to be {other:?}"),
        }
        seen += 1;
    }
    assert!(seen >= 15, "only {seen} golden records were looked at");
}

#[test]
fn kinds_that_no_golden_record_has_lead_back_too() {
    let (group_id, member_id) = (String::from("g"), String::from("m"));
    let metadata = PartitionMetadata {
        topics: vec![TopicMetadata {
            topic_id: TopicId::new([7; 16]),
            topic: "t".into(),
            partitions: 2,
            racks: vec![(0, vec!["a".into(), "b".into()]), (1, vec![])],
        }],
    };
    let classic = ClassicMember {
        session_timeout_ms: 45_000,
        protocols: vec![("range".into(), vec![0, 3, 0, 0])],
    };
    let regex =
        ResolvedRegex { topics: vec!["a-1".into(), "a-2".into()], version: 9, timestamp: 7 };
    let records = [
        ConsumerRecord::GroupEpoch {
            group_id: group_id.clone(),
            value: Some(GroupEpoch { epoch: 1, metadata_hash: -5, creation_time_ms: 77 }),
        },
        ConsumerRecord::PartitionMetadata { group_id: group_id.clone(), value: Some(metadata) },
        ConsumerRecord::PartitionMetadata { group_id: group_id.clone(), value: None },
        ConsumerRecord::Member {
            group_id: group_id.clone(),
            member_id: member_id.clone(),
            value: Some(MemberMetadata {
                instance_id: Some("i".into()),
                rack_id: Some("r".into()),
                client_id: "c".into(),
                client_host: "/h".into(),
                subscribed_topic_names: vec![],
                subscribed_topic_regex: None,
                rebalance_timeout_ms: -1,
                server_assignor: Some("range".into()),
                classic: Some(classic),
            }),
        },
        ConsumerRecord::TargetEpoch {
            group_id: group_id.clone(),
            value: Some(TargetEpoch { assignment_epoch: 4, assignment_timestamp: None }),
        },
        ConsumerRecord::CurrentAssignment {
            group_id: group_id.clone(),
            member_id,
            value: Some(CurrentAssignment {
                member_epoch: 4,
                previous_member_epoch: 3,
                state: 2,
                assigned: vec![AssignedPartitions {
                    topic_id: TopicId::new([7; 16]),
                    partitions: vec![1],
                    assignment_epochs: None,
                }],
                pending_revocation: vec![],
            }),
        },
        ConsumerRecord::ResolvedRegex { group_id, regex: "a-.*".into(), value: Some(regex) },
    ];
    for record in records {
        assert_eq!(again(&record), record);
    }
}

#[test]
fn a_resolved_expression_has_the_layout_of_the_schema() {
    let record = ConsumerRecord::ResolvedRegex {
        group_id: "g".into(),
        regex: "a".into(),
        value: Some(ResolvedRegex { topics: vec!["ab".into()], version: 2, timestamp: 3 }),
    };
    assert_eq!(record.key().unwrap(), bytes("0010000167000161"));
    let value = bytes("0000020361620000000000000002000000000000000300");
    assert_eq!(record.value().unwrap().unwrap(), value);
}

#[test]
fn tags_of_a_newer_writer_are_left_out() {
    let key = bytes("0003000167");
    // Epoch 5, tag 0 with hash 9, tag 7 with two bytes.
    let value = bytes("0000000000050200080000000000000009070201ff");
    let record = ConsumerRecord::decode(&key, Some(&value)).unwrap().unwrap();
    let expected = GroupEpoch { epoch: 5, metadata_hash: 9, creation_time_ms: -1 };
    let ConsumerRecord::GroupEpoch { value: Some(read), .. } = record else {
        panic!("another kind")
    };
    assert_eq!(read, expected);
}

#[test]
fn what_breaks_the_format_is_named() {
    let key = bytes("0003000167");
    let read = |value: &str| ConsumerRecord::decode(&key, Some(&bytes(value)));
    assert_eq!(read("00000000"), Err(RecordError::Truncated));
    assert_eq!(read("00010000000100"), Err(RecordError::Version { found: 1 }));
    assert_eq!(read("0000000000010000"), Err(RecordError::Trailing { left: 1 }));
    assert_eq!(read("000000000001ffffffff1f"), Err(RecordError::Varint));
    assert_eq!(
        ConsumerRecord::decode(&bytes("0003ffff"), None),
        Err(RecordError::Length { found: -1 })
    );
    assert_eq!(
        ConsumerRecord::decode(&bytes("00030001ff"), None),
        Err(RecordError::Text { valid_up_to: 0 })
    );
    // An array that claims four thousand million elements.
    let key = bytes("000700016700016d");
    assert_eq!(
        ConsumerRecord::decode(&key, Some(&bytes("0000ffffffff0f"))),
        Err(RecordError::Truncated)
    );
    let long = ConsumerRecord::GroupEpoch { group_id: "x".repeat(40_000), value: None };
    assert_eq!(long.key(), Err(RecordError::TooLong { len: 40_000 }));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(kind in 0_i16..18, rest in prop::collection::vec(any::<u8>(), 0..40),
        value in prop::collection::vec(any::<u8>(), 0..60)) {
        let mut key = kind.to_be_bytes().to_vec();
        key.extend(rest);
        let mut versioned = vec![0, 0];
        versioned.extend(&value);
        for value in [&value, &versioned] {
            if let Ok(Some(record)) = ConsumerRecord::decode(&key, Some(value)) {
                prop_assert_eq!(again(&record), record);
            }
        }
    }

    #[test]
    fn cutting_or_flipping_a_golden_record_does_no_harm(at in 0_usize..400, flip in any::<u8>()) {
        for (key, value, _) in golden() {
            let Some(mut value) = value else { continue };
            let cut = ConsumerRecord::decode(&key, Some(&value[..at.min(value.len())]));
            prop_assert!(at >= value.len() || !matches!(cut, Ok(Some(_))));
            if let Some(byte) = value.get_mut(at) {
                *byte ^= flip;
            }
            if let Ok(Some(record)) = ConsumerRecord::decode(&key, Some(&value)) {
                prop_assert_eq!(again(&record), record);
            }
        }
    }

    #[test]
    fn target_assignments_lead_back(topics in prop::collection::vec((any::<[u8; 16]>(), prop::collection::vec(any::<i32>(), 0..200)), 0..5)) {
        let value = topics.into_iter().map(|(id, partitions)| TopicPartitions { topic_id: TopicId::new(id), partitions }).collect();
        let record = ConsumerRecord::TargetAssignment { group_id: "g".into(), member_id: "m".into(), value: Some(value) };
        prop_assert_eq!(again(&record), record);
    }
}
