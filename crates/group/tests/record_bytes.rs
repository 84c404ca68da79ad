//! Records in every version: vectors, round trips, and bytes that are no record.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test says so by failing, also at an answer that it does not expect"
)]

use hanbeon_group::{
    Coordinator, GroupMetadata, MetadataLayout, MetadataMember, Name, OffsetKeyLayout,
    OffsetLayout, OffsetValue, Record, RecordError, Replayed, Settings,
};
use hanbeon_records::{LeaderEpoch, Millis, Offset, ProducerId, TopicId};
use proptest::{prelude::*, test_runner::Config};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn offset(layout: OffsetLayout) -> OffsetValue {
    OffsetValue {
        layout,
        offset: Offset::new(42),
        leader_epoch: LeaderEpoch::UNKNOWN,
        metadata: "".into(),
        commit_timestamp: Millis::new(1_700_000_000_000),
        expire_timestamp: None,
        topic_id: None,
    }
}

fn record(value: OffsetValue) -> Record {
    Record::Offset {
        layout: OffsetKeyLayout::V1,
        group: name("g"),
        topic: name("t"),
        partition: 7,
        value: Some(value),
    }
}

#[test]
fn offsets_in_every_version() {
    let key = from_hex("0001 000167 000174 00000007");
    let epoch = LeaderEpoch::new(9);
    let id = TopicId::new([0xab; 16]);
    let rows = [
        (offset(OffsetLayout::V0), "0000 000000000000002a 0000 0000018bcfe56800"),
        (
            OffsetValue {
                expire_timestamp: Some(Millis::new(1_700_000_000_001)),
                metadata: "x".into(),
                ..offset(OffsetLayout::V1)
            },
            "0001 000000000000002a 000178 0000018bcfe56800 0000018bcfe56801",
        ),
        (offset(OffsetLayout::V1), "0001 000000000000002a 0000 0000018bcfe56800 ffffffffffffffff"),
        (offset(OffsetLayout::V2), "0002 000000000000002a 0000 0000018bcfe56800"),
        (
            OffsetValue { leader_epoch: epoch, ..offset(OffsetLayout::V3) },
            "0003 000000000000002a 00000009 0000 0000018bcfe56800",
        ),
        (
            OffsetValue { leader_epoch: epoch, ..offset(OffsetLayout::V4) },
            "0004 000000000000002a 00000009 01 0000018bcfe56800 00",
        ),
        (
            OffsetValue { topic_id: Some(id), ..offset(OffsetLayout::V4) },
            "0004 000000000000002a ffffffff 01 0000018bcfe56800 01 00 10 abababababababababababababababab",
        ),
    ];
    for (value, bytes) in rows {
        let (record, bytes) = (record(value), from_hex(bytes));
        assert_eq!(record.key().unwrap(), key);
        assert_eq!(record.value().unwrap(), bytes);
        assert_eq!(Record::decode(Some(&key), Some(&bytes)), Ok(record));
    }
}

#[test]
fn groups_in_every_version() {
    let member = MetadataMember {
        member_id: name("m"),
        instance_id: None,
        client_id: name("c"),
        client_host: name("/h"),
        rebalance_timeout_ms: 5,
        session_timeout_ms: 5,
        subscription: b"s".as_slice().into(),
        assignment: b"a".as_slice().into(),
    };
    let group = |layout, since: Option<i64>, member: MetadataMember| Record::Group {
        group: name("g"),
        value: Some(GroupMetadata {
            layout,
            protocol_type: name("consumer"),
            generation: 3,
            protocol: Some(name("range")),
            leader: Some(name("m")),
            current_state_timestamp: since.map(Millis::new),
            members: vec![member],
        }),
    };
    let timed = MetadataMember { rebalance_timeout_ms: 6, ..member.clone() };
    let fixed = MetadataMember { instance_id: Some(name("i")), ..timed.clone() };
    let head = "0008636f6e73756d6572 00000003 000572616e6765 00016d";
    let tail = "00000001 73 00000001 61";
    let rows = [
        (
            group(MetadataLayout::V0, None, member),
            format!("0000 {head} 00000001 00016d 000163 00022f68 00000005 {tail}"),
        ),
        (
            group(MetadataLayout::V1, None, timed.clone()),
            format!("0001 {head} 00000001 00016d 000163 00022f68 00000006 00000005 {tail}"),
        ),
        (
            group(MetadataLayout::V2, Some(8), timed.clone()),
            format!("0002 {head} 0000000000000008 00000001 00016d 000163 00022f68 00000006 00000005 {tail}"),
        ),
        (
            group(MetadataLayout::V3, Some(8), fixed.clone()),
            format!("0003 {head} 0000000000000008 00000001 00016d 000169 000163 00022f68 00000006 00000005 {tail}"),
        ),
        (
            group(MetadataLayout::V3, None, timed),
            format!("0003 {head} ffffffffffffffff 00000001 00016d ffff 000163 00022f68 00000006 00000005 {tail}"),
        ),
        (
            group(MetadataLayout::V4, Some(8), fixed),
            "0004 09636f6e73756d6572 00000003 0672616e6765 026d 0000000000000008 02 026d 0269 0263 032f68 00000006 00000005 0273 0261 00 00".to_owned(),
        ),
    ];
    for (record, bytes) in rows {
        let (key, bytes) = (record.key().unwrap(), from_hex(&bytes));
        assert_eq!(key, from_hex("0002 000167"));
        assert_eq!(record.value().unwrap(), bytes);
        assert_eq!(Record::decode(Some(&key), Some(&bytes)), Ok(record));
    }
}

#[test]
fn what_is_no_record_is_told_apart() {
    let key = from_hex("0001 000167 000174 00000007");
    let whole = from_hex("0004 000000000000002a 00000009 01 0000018bcfe56800 00");
    for cut in 0..whole.len() {
        let found = Record::decode(Some(&key), Some(&whole[..cut]));
        assert!(matches!(found, Err(RecordError::Truncated { .. })), "{cut}: {found:?}");
    }
    let row = |key: &str, value: Option<&str>| {
        Record::decode(Some(&from_hex(key)), value.map(from_hex).as_deref())
    };
    assert_eq!(Record::decode(None, None), Err(RecordError::NoKey));
    assert_eq!(row("00", None), Err(RecordError::Truncated { at: 0 }));
    assert_eq!(row("0002 000167 00", None), Err(RecordError::Trailing { left: 1 }));
    assert_eq!(row("0002 ffff", None), Err(RecordError::Null { at: 4 }));
    assert_eq!(row("0002 fffe", None), Err(RecordError::Length { at: 4 }));
    assert_eq!(row("0002 0001ff", None), Err(RecordError::Text { at: 4 }));
    assert_eq!(
        row("0002 000167", Some("0005")),
        Err(RecordError::Version { key_type: 2, found: 5, max: 4 })
    );
    // A thousand million members, and bytes for none.
    let claims = "0003 0000 00000000 ffff ffff 0000000000000000 3b9aca00";
    assert!(matches!(row("0002 000167", Some(claims)), Err(RecordError::Truncated { .. })));
}

#[test]
fn a_tag_of_a_later_release_is_passed_over() {
    let key = from_hex("0001 000167 000174 00000007");
    let with = from_hex("0004 000000000000002a 00000009 01 0000018bcfe56800 01 05 02 ffff");
    let without = from_hex("0004 000000000000002a 00000009 01 0000018bcfe56800 00");
    assert_eq!(Record::decode(Some(&key), Some(&with)), Record::decode(Some(&key), Some(&without)));
}

#[test]
fn key_types_of_others_are_named_and_no_more() {
    for key_type in [9_i16, 15, 17, 99, -1] {
        let key = key_type.to_be_bytes();
        let found = Record::decode(Some(&key), Some(b"whatever")).unwrap();
        assert_eq!(found, Record::Unknown { key_type });
        assert_eq!((found.key(), found.value(), found.group()), (None, None, None));
    }
}

const SETTINGS: Settings = Settings {
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
};

/// A group whose members have these session and rebalance timeouts and are static or not.
fn group_of(members: &[(i32, i32, bool)]) -> Record {
    let members = members
        .iter()
        .enumerate()
        .map(|(at, (session, rebalance, is_static))| MetadataMember {
            member_id: name(&format!("m{at}")),
            instance_id: is_static.then(|| name(&format!("i{at}"))),
            client_id: name("c"),
            client_host: name("/h"),
            rebalance_timeout_ms: *rebalance,
            session_timeout_ms: *session,
            subscription: b"s".as_slice().into(),
            assignment: b"a".as_slice().into(),
        })
        .collect();
    let value = GroupMetadata {
        layout: MetadataLayout::V3,
        protocol_type: name("consumer"),
        generation: i32::MAX,
        protocol: Some(name("range")),
        leader: Some(name("m0")),
        current_state_timestamp: None,
        members,
    };
    Record::Group { group: name("members"), value: Some(value) }
}

fn keys() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(from_hex("0000 000167 000174 00000007")),
        Just(from_hex("0001 000167 000174 00000007")),
        Just(from_hex("0002 000167")),
        Just(from_hex("0005 000167 00016d")),
        proptest::collection::vec(any::<u8>(), 0..24),
    ]
}

proptest! {
    #![proptest_config(Config { cases: Config::default().cases.max(2000), ..Config::default() })]

    #[test]
    fn bytes_that_read_as_a_record_write_it_again(
        key in keys(),
        version in 0_u8..6,
        rest in proptest::collection::vec(prop_oneof![0_u8..4, any::<u8>()], 0..120),
    ) {
        let value: Vec<u8> = [0, version].into_iter().chain(rest).collect();
        if let Ok(record) = Record::decode(Some(&key), Some(&value))
            && let Some(written) = record.key()
        {
            prop_assert_eq!(&written, &key);
            let value = record.value();
            prop_assert_eq!(Record::decode(Some(&key), value.as_deref()), Ok(record));
        }
    }

    /// Members with odd timeouts among them: time passes over them and comes to an end.
    #[test]
    fn whatever_the_log_holds_is_taken_in_or_refused(
        records in proptest::collection::vec(
            (keys(), 0_u8..6, proptest::collection::vec(prop_oneof![0_u8..4, any::<u8>()], 0..90)),
            0..12,
        ),
        members in proptest::collection::vec((any::<i32>(), any::<i32>(), any::<bool>()), 0..4),
    ) {
        let mut groups = Coordinator::<()>::new(SETTINGS);
        let mut position = Offset::ZERO;
        let mut take = |key: &[u8], value: &[u8], producer_id| {
            let (key, value) = (Some(key), Some(value));
            let found = Replayed::Record { key, value, position, producer_id };
            position = position.saturating_add(1);
            groups.replay(&found).is_ok() == Record::decode(key, value).is_ok()
        };
        for (key, version, rest) in records {
            let value: Vec<u8> = [0, version].into_iter().chain(rest).collect();
            let producer_id = (version == 4).then(|| ProducerId::new(1));
            prop_assert!(take(&key, &value, producer_id));
        }
        let group = group_of(&members);
        prop_assert!(take(&group.key().unwrap(), &group.value().unwrap(), None));
        let mut out = Vec::new();
        groups.loaded(Millis::new(0), &mut out);
        for _ in 0..64 {
            let at = groups.next_deadline().unwrap();
            groups.tick(at, &mut out);
            for output in std::mem::take(&mut out) {
                if let hanbeon_group::Output::Append { write, .. } = output {
                    groups.appended(at, write, Ok(Offset::new(1_000)), &mut out);
                }
            }
        }
    }
}
