//! Bytes of the log: golden vectors, every field there and back, and bytes that are none.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test says so by failing, and names only the variants it means"
)]

mod fixture;

use fixture::{given, id, producer};
use hanbeon_records::{Millis, ProducerEpoch, ProducerId, TopicName};
use hanbeon_txn::{
    Coordinator, Field, RecordError, Replayed, State, TopicPartitions, TxnKey, TxnValue,
    UnknownTag, ValueVersion, decode_key, encode_key,
};
use proptest::prelude::*;

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn bytes(value: &TxnValue, version: ValueVersion) -> Vec<u8> {
    let mut bytes = Vec::new();
    value.encode(version, &mut bytes).unwrap();
    bytes
}

fn both_ways(value: &TxnValue, version: ValueVersion, text: &str) {
    assert_eq!(bytes(value, version), hex(text));
    assert_eq!(TxnValue::decode(&hex(text)), Ok((value.clone(), version)));
}

/// Encoded from the schemas and read back by another client library's codec.
#[test]
fn golden_vectors() {
    let mut key = Vec::new();
    encode_key(&id("tx-1"), &mut key);
    assert_eq!(key, hex("0000000474782d31"));
    assert_eq!(decode_key(&key), Ok(TxnKey::Transaction(id("tx-1"))));

    let empty = TxnValue {
        last_update: Millis::new(1_700_000_000_500),
        previous_producer_id: ProducerId::NONE,
        ..given::value(State::Empty, (1000, 0))
    };
    both_ways(
        &empty,
        ValueVersion::V0,
        "000000000000000003e800000000ea6000ffffffff0000018bcfe569f4ffffffffffffffff",
    );
    both_ways(
        &empty,
        ValueVersion::V1,
        "000100000000000003e800000000ea6000000000018bcfe569f4ffffffffffffffff00",
    );

    let two = vec![TopicPartitions { topic: TopicName::new("t").unwrap(), partitions: vec![0, 3] }];
    let ongoing = TxnValue {
        producer: producer((1000, 5)),
        state: State::Ongoing,
        partitions: Some(two),
        start: Millis::new(1_700_000_000_000),
        ..empty
    };
    both_ways(
        &ongoing,
        ValueVersion::V0,
        "000000000000000003e800050000ea60010000000100017400000002\
        00000000000000030000018bcfe569f40000018bcfe56800",
    );

    let overflow = TxnValue {
        producer: producer((1000, 32_767)),
        state: State::PrepareCommit,
        previous_producer_id: ProducerId::new(1000),
        next_producer_id: ProducerId::new(2000),
        client_transaction_version: 2,
        ..ongoing
    };
    both_ways(
        &overflow,
        ValueVersion::V1,
        "000100000000000003e87fff0000ea6002020274030000000000000003\
        000000018bcfe569f40000018bcfe5680003000800000000000003e8010800000000000007d002020002",
    );

    // Ours since the first day, Kafka's since KAFKA-20357: number 4 is the next free one of Kafka 4.3's schema.
    let retry = TxnValue {
        last_producer_epoch: ProducerEpoch::new(32_766),
        next_producer_epoch: ProducerEpoch::new(7),
        unknown_tags: vec![UnknownTag { tag: 300, bytes: vec![0xab] }],
        ..overflow
    };
    both_ways(
        &retry,
        ValueVersion::V1,
        "000100000000000003e87fff0000ea6002020274030000000000000003\
        000000018bcfe569f40000018bcfe5680006000800000000000003e8010800000000000007d002020002\
        030200070402 7ffeac0201ab"
            .replace(' ', "")
            .as_str(),
    );
}

#[test]
fn kinds_of_records_that_nobody_knows_are_skipped() {
    let mut coordinator = Coordinator::new(fixture::SETTINGS);
    for version in [1, 2, -1, i16::MAX] {
        let mut key = i16::to_be_bytes(version).to_vec();
        key.extend(b"whatever");
        assert_eq!(decode_key(&key), Ok(TxnKey::Unknown { version }));
        let replayed = coordinator.replay(&key, Some(b"no value that anyone could read"));
        assert_eq!(replayed, Ok(Replayed::Skipped { key_version: version }));
    }
    assert!(coordinator.is_empty());
}

#[test]
fn what_cannot_be_read_is_refused_and_says_why() {
    use RecordError as E;
    let good = bytes(&given::value(State::PrepareCommit, (1, 2)), ValueVersion::V1);
    for len in 0..good.len() {
        assert!(matches!(TxnValue::decode(&good[..len]), Err(E::Truncated { .. })), "{len}");
    }
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        TxnValue::decode(&bytes)
    };
    assert_eq!(changed(1, 2), Err(E::ValueVersion { found: 2 }));
    assert_eq!(changed(0, 0xff), Err(E::ValueVersion { found: -255 }));
    for state in [6, 7, 8, 0xff] {
        assert_eq!(changed(16, state), Err(E::State { found: state.cast_signed() }));
    }
    assert_eq!(changed(16, 0), Err(E::Partitions { state: State::Empty }));
    assert!(matches!(changed(19, b'/'), Err(E::Topic(_))));
    assert_eq!(changed(19, 0xff), Err(E::NotUtf8 { field: Field::Topic }));
    assert_eq!(changed(18, 0), Err(E::Length { field: Field::Topic, found: -1 }));
    assert_eq!(changed(20, 0), Err(E::Length { field: Field::Partitions, found: -1 }));
    let mut longer = good.clone();
    longer.push(0);
    assert_eq!(TxnValue::decode(&longer), Err(E::Trailing { count: 1 }));
    // ...tag 0 is the only one: give it another size, or write it twice.
    let tags = good.len() - 11;
    assert_eq!(good[tags..tags + 3], [1, 0, 8]);
    let mut short = good[..tags].to_vec();
    short.extend([1, 0, 1, 7]);
    assert_eq!(TxnValue::decode(&short), Err(E::TagSize { tag: 0, expected: 8, found: 1 }));
    let mut twice = good[..tags].to_vec();
    twice.extend([2, 9, 0, 9, 0]);
    assert_eq!(TxnValue::decode(&twice), Err(E::TagOrder { tag: 9 }));
    // A null list of partitions is that of Empty alone, in both forms.
    let mut null = bytes(&given::value(State::Empty, (1, 2)), ValueVersion::V0);
    null[16] = 1;
    assert_eq!(TxnValue::decode(&null), Err(E::Partitions { state: State::Ongoing }));
    // Counts that claim more than is there make no room.
    let mut claims = good[..17].to_vec();
    claims.extend([0xff, 0xff, 0xff, 0xff, 0x0f]);
    assert_eq!(TxnValue::decode(&claims), Err(E::Truncated { field: Field::Topic }));
    claims.truncate(17);
    claims.extend([0xff, 0xff, 0xff, 0xff, 0x1f]);
    assert_eq!(TxnValue::decode(&claims), Err(E::Length { field: Field::Topics, found: -1 }));

    assert_eq!(decode_key(&[0]), Err(E::Truncated { field: Field::Version }));
    assert_eq!(
        decode_key(&[0, 0, 0, 0]).unwrap_err().to_string(),
        "a transactional id has at least one character: set transactional.id"
    );
    assert_eq!(decode_key(&[0, 0, 0, 1, b'x', 0]), Err(E::Trailing { count: 1 }));
    assert_eq!(
        decode_key(&[0, 0, 0xff, 0xff]),
        Err(E::Length { field: Field::TransactionalId, found: -1 })
    );
    assert_eq!(decode_key(&[0, 0, 0, 1, 0xff]), Err(E::NotUtf8 { field: Field::TransactionalId }));
    // What a log that cannot be read means for the coordinator.
    let mut coordinator = Coordinator::new(fixture::SETTINGS);
    let refused = coordinator.replay(&[0, 0, 0, 1, b'x'], Some(&[0, 9])).unwrap_err();
    assert_eq!((refused.code().number(), coordinator.is_empty()), (-1, true));
}

#[test]
fn what_kafka_would_not_read_back_is_not_written() {
    let mut empty = given::value(State::Empty, (1, 2));
    empty.partitions = Some(vec![]);
    let mut ongoing = given::value(State::Ongoing, (1, 2));
    ongoing.partitions = None;
    for value in [empty, ongoing] {
        for version in [ValueVersion::V0, ValueVersion::V1] {
            let mut bytes = vec![7];
            let refused = value.encode(version, &mut bytes).unwrap_err();
            assert_eq!(refused, RecordError::Partitions { state: value.state });
            assert_eq!(bytes, [7]);
        }
    }
}

fn values() -> impl Strategy<Value = TxnValue> {
    let topic = ("[a-z._-]{3,20}", proptest::collection::vec(any::<i32>(), 0..5));
    let topics = proptest::collection::vec(topic, 0..4);
    let tags = proptest::collection::btree_map(
        5..u32::MAX,
        proptest::collection::vec(any::<u8>(), 0..9),
        0..3,
    );
    (
        (any::<i64>(), any::<i16>(), any::<i32>(), 0..6_i8),
        topics,
        (any::<i64>(), any::<i64>()),
        (any::<i64>(), any::<i64>(), any::<i16>(), any::<i16>(), any::<i16>()),
        tags,
    )
        .prop_map(|((pid, epoch, timeout_ms, state), topics, times, tagged, tags)| {
            let state = State::from_logged(state).unwrap();
            let topic = |(name, partitions): (String, _)| TopicPartitions {
                topic: TopicName::new(&name).unwrap(),
                partitions,
            };
            TxnValue {
                producer: producer((pid, epoch)),
                timeout_ms,
                state,
                partitions: (state != State::Empty)
                    .then(|| topics.into_iter().map(topic).collect()),
                last_update: Millis::new(times.0),
                start: Millis::new(times.1),
                previous_producer_id: ProducerId::new(tagged.0),
                next_producer_id: ProducerId::new(tagged.1),
                client_transaction_version: tagged.2,
                next_producer_epoch: ProducerEpoch::new(tagged.3),
                last_producer_epoch: ProducerEpoch::new(tagged.4),
                unknown_tags: tags
                    .into_iter()
                    .map(|(tag, bytes)| UnknownTag { tag, bytes })
                    .collect(),
            }
        })
}

proptest! {
    /// I12: decode(encode(x)) = x for every value.
    #[test]
    fn i12_every_field_comes_back(value in values()) {
        let v1 = bytes(&value, ValueVersion::V1);
        prop_assert_eq!(TxnValue::decode(&v1), Ok((value.clone(), ValueVersion::V1)));
        let v0 = bytes(&value, ValueVersion::V0);
        let plain = TxnValue {
            previous_producer_id: ProducerId::NONE,
            next_producer_id: ProducerId::NONE,
            client_transaction_version: 0,
            next_producer_epoch: ProducerEpoch::NONE,
            last_producer_epoch: ProducerEpoch::NONE,
            unknown_tags: vec![],
            ..value
        };
        prop_assert_eq!(TxnValue::decode(&v0), Ok((plain, ValueVersion::V0)));
    }

    /// Any bytes are refused or mean one value.
    #[test]
    fn any_bytes_are_read_or_refused(version in 0..3_u8, tail in proptest::collection::vec(any::<u8>(), 0..80)) {
        let mut input = vec![0, version];
        input.extend(tail);
        if let Ok((value, version)) = TxnValue::decode(&input) {
            let again = bytes(&value, version);
            prop_assert_eq!(TxnValue::decode(&again), Ok((value, version)));
        }
    }
}
