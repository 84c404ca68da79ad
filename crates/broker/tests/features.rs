//! Features, settings of groups and unstable versions, byte for byte as Apache Kafka 4.3.1 takes and answers them.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that panics has found something"
)]

mod support;

use bytes::{Buf, BufMut, Bytes};
use hanbeon::{Feature, GroupSettings};
use support::*;

const INIT_PRODUCER_ID: i16 = 22;
const DESCRIBE_CONFIGS: i16 = 32;
const INCREMENTAL_ALTER_CONFIGS: i16 = 44;
const UPDATE_FEATURES: i16 = 57;
const LIST_CONFIG_RESOURCES: i16 = 74;

const GROUP: u8 = 32;
const INVALID_CONFIG: i16 = 40;
const INVALID_UPDATE_VERSION: i16 = 95;

fn compact(into: &mut Vec<u8>, text: &str) {
    into.put_u8(u8::try_from(text.len() + 1).unwrap());
    into.put_slice(text.as_bytes());
}

fn read_compact(from: &mut Bytes) -> Option<String> {
    let length = usize::from(from.get_u8()).checked_sub(1)?;
    Some(String::from_utf8(from.split_to(length).to_vec()).unwrap())
}

/// Sends a body of a flexible version and cuts the tags off the header of its answer.
async fn ask(client: &mut Client, api: i16, version: i16, body: &[u8]) -> Bytes {
    client.send(api, version, 1, &[&[0], body].concat()).await;
    let mut answer = client.answer(1).await;
    assert_eq!(answer.get_u8(), 0);
    answer
}

/// One wish: what its last byte says depends on the version.
fn update(version: i16, feature: &str, level: i16, how: u8) -> Vec<u8> {
    let mut body = 60_000_i32.to_be_bytes().to_vec();
    body.put_u8(2);
    compact(&mut body, feature);
    body.put_i16(level);
    body.put_slice(&[how, 0]);
    if version > 0 {
        body.put_u8(0);
    }
    body.put_u8(0);
    body
}

/// The code of an answer to `UpdateFeatures`, whether it says why, and the features that have a result, each without an error.
fn updated(version: i16, mut answer: Bytes) -> (i16, bool, Vec<String>) {
    assert_eq!(answer.get_i32(), 0, "nobody is throttled");
    let code = answer.get_i16();
    let why = read_compact(&mut answer);
    let mut results = Vec::new();
    if version < 2 {
        for _ in 1..answer.get_u8() {
            results.push(read_compact(&mut answer).unwrap());
            assert_eq!(
                (answer.get_i16(), read_compact(&mut answer), answer.get_u8()),
                (0, None, 0)
            );
        }
    }
    assert_eq!((answer.get_u8(), answer.remaining()), (0, 0));
    (code, why.is_some(), results)
}

#[tokio::test]
async fn features_are_updated_in_every_version() {
    let broker = Running::standard().await;
    let level = || broker.engine.features().level(Feature::TransactionVersion);
    let mut client = broker.client().await;
    let refused = (INVALID_UPDATE_VERSION, true, vec![]);
    // Version 0 says whether a downgrade is allowed, and gets none all the same.
    for allowed in [0, 1] {
        let body = update(0, "transaction.version", 1, allowed);
        let answer = ask(&mut client, UPDATE_FEATURES, 0, &body).await;
        assert_eq!(updated(0, answer), refused);
    }
    for (version, results) in [(1, vec!["transaction.version".to_owned()]), (2, vec![])] {
        for (wish, how, granted) in [
            (1, 0, false),
            (1, 4, false),
            (1, 1, false),
            (1, 2, true),
            (0, 3, true),
            (2, 1, true),
            (3, 1, false),
        ] {
            let body = update(version, "transaction.version", wish, how);
            let before = level();
            let answer = updated(version, ask(&mut client, UPDATE_FEATURES, version, &body).await);
            if granted {
                assert_eq!((answer, level()), ((0, false, results.clone()), wish));
            } else {
                assert_eq!((answer, level()), (refused.clone(), before));
            }
        }
        let body = update(version, "no.such", 1, 1);
        let answer = ask(&mut client, UPDATE_FEATURES, version, &body).await;
        assert_eq!(updated(version, answer), refused);
    }
    broker.stop().await;
}

fn altered(group: &str, key: &str, value: &str) -> Vec<u8> {
    let mut body = vec![2, GROUP];
    compact(&mut body, group);
    body.put_u8(2);
    compact(&mut body, key);
    body.put_u8(0);
    compact(&mut body, value);
    // The tags of the setting and of the resource, no trial, the tags of all.
    body.put_slice(&[0, 0, 0, 0]);
    body
}

#[tokio::test]
async fn a_group_is_configured_described_and_listed() {
    const SESSION: &str = "consumer.session.timeout.ms";
    let broker = Running::standard().await;
    let mut client = broker.client().await;
    for (value, expected) in [("44999", INVALID_CONFIG), ("50000", 0)] {
        let body = altered("g", SESSION, value);
        let mut answer = ask(&mut client, INCREMENTAL_ALTER_CONFIGS, 1, &body).await;
        assert_eq!((answer.get_i32(), answer.get_u8()), (0, 2));
        assert_eq!(answer.get_i16(), expected, "{value}");
    }
    let GroupSettings { session_timeout_ms, .. } = broker.engine.group_settings("g");
    assert_eq!(session_timeout_ms, 50_000);

    // Null asks for all settings, and so does an empty list.
    for keys in [0, 1] {
        let body = [2, GROUP, 2, b'g', keys, 0, 0, 0, 0];
        let mut answer = ask(&mut client, DESCRIBE_CONFIGS, 4, &body).await;
        assert_eq!((answer.get_i32(), answer.get_u8(), answer.get_i16()), (0, 2, 0));
        assert_eq!(read_compact(&mut answer), None);
        assert_eq!((answer.get_u8(), read_compact(&mut answer).as_deref()), (GROUP, Some("g")));
        assert_eq!(answer.get_u8() - 1, 3);
        let text = String::from_utf8_lossy(&answer).into_owned();
        assert!(text.contains(SESSION) && text.contains("50000"), "{text}");
    }

    // Asked for no type: all. Those there are here: topics, this broker, this group.
    broker.topic("t");
    let expected = [("t", 2), ("1", 4), ("g", GROUP)].map(|(name, kind)| (name.to_owned(), kind));
    let answer = ask(&mut client, LIST_CONFIG_RESOURCES, 1, &[1, 0]).await;
    assert_eq!(listed(answer), (0, expected.to_vec()));
    let answer = ask(&mut client, LIST_CONFIG_RESOURCES, 1, &[2, GROUP, 0]).await;
    assert_eq!(listed(answer), (0, expected[2..].to_vec()));
    let answer = ask(&mut client, LIST_CONFIG_RESOURCES, 1, &[3, GROUP, 99, 0]).await;
    assert_eq!(listed(answer), (35, vec![]));
    // Version 0 knows client metrics only.
    let answer = ask(&mut client, LIST_CONFIG_RESOURCES, 0, &[0]).await;
    assert_eq!(&answer[..], [0, 0, 0, 0, 0, 0, 1, 0]);
    broker.stop().await;
}

fn listed(mut answer: Bytes) -> (i16, Vec<(String, u8)>) {
    assert_eq!(answer.get_i32(), 0);
    let code = answer.get_i16();
    let mut resources = Vec::new();
    for _ in 1..answer.get_u8() {
        resources.push((read_compact(&mut answer).unwrap(), answer.get_u8()));
        assert_eq!(answer.get_u8(), 0);
    }
    (code, resources)
}

/// The newest version of `InitProducerId` that is listed.
async fn listed_init_producer_id(client: &mut Client) -> i16 {
    client.send(API_VERSIONS, 0, 1, &[]).await;
    let mut answer = client.answer(1).await;
    assert_eq!(answer.get_i16(), 0);
    let ranges =
        (0..answer.get_i32()).map(|_| (answer.get_i16(), answer.get_i16(), answer.get_i16()));
    ranges.collect::<Vec<_>>().into_iter().find(|range| range.0 == INIT_PRODUCER_ID).unwrap().2
}

/// KIP-939's version 6 with neither of its two questions, for a producer without transactions.
const PLAIN_V6: &[u8] =
    &[0, 0, 0, 0, 60, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0];

#[tokio::test]
async fn unstable_versions_are_served_where_the_configuration_says_so() {
    let broker = Running::standard().await;
    let mut client = broker.client().await;
    assert_eq!(listed_init_producer_id(&mut client).await, 5);
    client.send(INIT_PRODUCER_ID, 6, 1, &[&[0], PLAIN_V6].concat()).await;
    client.is_closed().await;
    broker.stop().await;

    let broker = Running::configured("unstable.api.versions.enable", "true").await;
    let mut client = broker.client().await;
    assert_eq!(listed_init_producer_id(&mut client).await, 6);
    let mut answer = ask(&mut client, INIT_PRODUCER_ID, 6, PLAIN_V6).await;
    assert_eq!((answer.get_i32(), answer.get_i16()), (0, 0));
    assert!(answer.get_i64() >= 0);
    assert_eq!((answer.get_i16(), answer.get_i64(), answer.get_i16()), (0, -1, -1));
    broker.stop().await;
}
