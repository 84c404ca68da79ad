//! A change that a request names twice is refused, told once, and not made; nobody knows which of the two was meant.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that panics has found something"
)]

mod support;

use bytes::{Buf, BufMut, Bytes};
use support::*;

const DELETE_TOPICS: i16 = 20;
const ALTER_CONFIGS: i16 = 33;
const CREATE_PARTITIONS: i16 = 37;
const INCREMENTAL_ALTER_CONFIGS: i16 = 44;
const INVALID_REQUEST: i16 = 42;
const TOPIC: i8 = 2;

async fn asked(client: &mut Client, (api, version): (i16, i16), body: &[u8]) -> Bytes {
    client.send(api, version, 1, body).await;
    client.answer(1).await
}

fn cut_text(answer: &mut Bytes) -> Option<String> {
    let length = usize::try_from(answer.get_i16()).ok()?;
    Some(String::from_utf8(answer.split_to(length).to_vec()).unwrap())
}

#[tokio::test]
async fn a_topic_that_is_named_twice_is_not_deleted() {
    let broker = Running::standard().await;
    broker.topic("t");
    broker.topic("u");
    let mut client = broker.client().await;
    let mut body = Vec::new();
    body.put_i32(3);
    for name in ["t", "u", "t"] {
        text(&mut body, name);
    }
    body.put_i32(30_000);
    let mut answer = asked(&mut client, (DELETE_TOPICS, 1), &body).await;
    assert_eq!((answer.get_i32(), answer.get_i32()), (0, 2));
    let told: Vec<_> = (0..2).map(|_| (cut_text(&mut answer).unwrap(), answer.get_i16())).collect();
    assert_eq!(told, [("t".to_owned(), INVALID_REQUEST), ("u".to_owned(), 0)]);
    assert!(broker.engine.topic("t").is_some() && broker.engine.topic("u").is_none());
    broker.stop().await;
}

/// By what is a topic named in `DeleteTopics` 6.
enum By {
    Name,
    Id([u8; 16]),
}

#[tokio::test]
async fn a_topic_that_is_named_by_its_id_twice_or_by_name_and_id_is_not_deleted() {
    let broker = Running::standard().await;
    broker.topic("t");
    let id = broker.engine.topic("t").unwrap().id().get();
    let mut client = broker.client().await;
    let mut delete = async |topics: &[By]| {
        // Tags of the header.
        let mut body = vec![0];
        put_compact(&mut body, topics.len());
        for topic in topics {
            match topic {
                By::Name => {
                    put_compact_text(&mut body, "t");
                    body.put_bytes(0, 16);
                }
                By::Id(id) => {
                    body.put_u8(0);
                    body.put_slice(id);
                }
            }
            body.put_u8(0);
        }
        body.put_i32(30_000);
        body.put_u8(0);
        let mut answer = asked(&mut client, (DELETE_TOPICS, 6), &body).await;
        // Tags of the header, throttle time.
        answer.advance(1 + 4);
        let mut codes = Vec::new();
        for _ in 1..answer.get_u8() {
            let name = answer.get_u8();
            answer.advance(usize::from(name.saturating_sub(1)) + 16);
            codes.push(answer.get_i16());
            let why = answer.get_u8();
            answer.advance(usize::from(why.saturating_sub(1)) + 1);
        }
        codes
    };
    assert_eq!(delete(&[By::Id(id), By::Id(id)]).await, [INVALID_REQUEST]);
    let by_both = [By::Id(id), By::Name, By::Id(id)];
    assert_eq!(delete(&by_both).await, [INVALID_REQUEST, INVALID_REQUEST]);
    assert_eq!(delete(&[By::Name, By::Id(id)]).await, [INVALID_REQUEST, INVALID_REQUEST]);
    assert!(broker.engine.topic("t").is_some());
    assert_eq!(delete(&[By::Id(id)]).await, [0]);
    assert!(broker.engine.topic("t").is_none());
    broker.stop().await;
}

#[tokio::test]
async fn a_topic_that_is_named_twice_gets_no_partitions() {
    let broker = Running::standard().await;
    broker.topic("t");
    broker.topic("u");
    let mut client = broker.client().await;
    let mut body = Vec::new();
    body.put_i32(3);
    for (name, count) in [("t", 2), ("u", 2), ("t", 3)] {
        text(&mut body, name);
        body.put_i32(count);
        body.put_i32(-1);
    }
    body.put_i32(30_000);
    body.put_u8(0);
    let mut answer = asked(&mut client, (CREATE_PARTITIONS, 0), &body).await;
    assert_eq!((answer.get_i32(), answer.get_i32()), (0, 2));
    let mut told = Vec::new();
    for _ in 0..2 {
        told.push((cut_text(&mut answer).unwrap(), answer.get_i16()));
        cut_text(&mut answer);
    }
    assert_eq!(told, [("t".to_owned(), INVALID_REQUEST), ("u".to_owned(), 0)]);
    let partitions = |name| broker.engine.topic(name).unwrap().partitions().len();
    assert_eq!((partitions("t"), partitions("u")), (1, 2));
    broker.stop().await;
}

#[tokio::test]
async fn settings_of_a_topic_that_is_named_twice_stay_as_they_are() {
    let broker = Running::standard().await;
    let mut client = broker.client().await;
    for api in [ALTER_CONFIGS, INCREMENTAL_ALTER_CONFIGS] {
        let (twice, once) = (format!("t{api}"), format!("u{api}"));
        broker.topic(&twice);
        broker.topic(&once);
        let mut body = Vec::new();
        body.put_i32(3);
        for (name, value) in [(&twice, "1000"), (&once, "2000"), (&twice, "3000")] {
            body.put_i8(TOPIC);
            text(&mut body, name);
            body.put_i32(1);
            text(&mut body, "retention.ms");
            if api == INCREMENTAL_ALTER_CONFIGS {
                body.put_i8(0);
            }
            text(&mut body, value);
        }
        body.put_u8(0);
        let mut answer = asked(&mut client, (api, 0), &body).await;
        assert_eq!((answer.get_i32(), answer.get_i32()), (0, 2));
        let mut told = Vec::new();
        for _ in 0..2 {
            let code = answer.get_i16();
            cut_text(&mut answer);
            assert_eq!(answer.get_i8(), TOPIC);
            told.push((cut_text(&mut answer).unwrap(), code));
        }
        assert_eq!(told, [(twice.clone(), INVALID_REQUEST), (once.clone(), 0)], "{api}");
        let retention = |topic: &str| {
            let keys: &[&str] = &["retention.ms"];
            let described = broker.engine.describe_topic_config(topic, Some(keys)).unwrap();
            described[0].value.clone().unwrap()
        };
        assert_eq!((retention(&twice), retention(&once)), ("604800000".into(), "2000".into()));
    }
    broker.stop().await;
}
