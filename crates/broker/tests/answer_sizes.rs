//! A request that names one thing many times does not get an answer many times as long as itself.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that panics has found something"
)]

mod support;

use bytes::{Buf, BufMut, Bytes};
use hanbeon::{Mode, NewTopic};
use hanbeon_broker::Limits;
use support::*;

const OFFSET_FETCH: i16 = 9;
const DESCRIBE_GROUPS: i16 = 15;
const CREATE_TOPICS: i16 = 19;
const DESCRIBE_CONFIGS: i16 = 32;
const DESCRIBE_PRODUCERS: i16 = 61;
const DESCRIBE_TRANSACTIONS: i16 = 65;

const TIMES: usize = 2_000;
/// What an answer may describe here; every thing in these tests takes more than a hundredth of it.
const MAX: usize = 10_000;

async fn limited() -> Running {
    Running::limited(Limits { answer_bytes_max: MAX, ..Limits::standard() }).await
}

async fn asked(broker: &Running, api: i16, version: i16, body: &[u8]) -> Bytes {
    let mut client = broker.client().await;
    client.send(api, version, 1, body).await;
    client.answer(1).await
}

/// A list of `TIMES` times the same.
fn many(into: &mut Vec<u8>, one: impl Fn(&mut Vec<u8>)) {
    into.put_i32(i32::try_from(TIMES).unwrap());
    for _ in 0..TIMES {
        one(into);
    }
}

#[tokio::test]
async fn metadata_tells_of_a_topic_once() {
    let broker = limited().await;
    broker.engine.create_topic(&NewTopic::new("t", 10), Mode::Apply).unwrap();
    let mut body = Vec::new();
    many(&mut body, |body| text(body, "t"));
    body.put_i8(0);
    let answer = asked(&broker, METADATA, 4, &body).await;
    let once = {
        let mut body = Vec::new();
        body.put_i32(1);
        text(&mut body, "t");
        body.put_i8(0);
        asked(&broker, METADATA, 4, &body).await
    };
    assert_eq!(answer, once);
    broker.stop().await;
}

/// As with Kafka each is answered for itself, until the answer is long enough.
#[tokio::test]
async fn settings_are_described_until_the_answer_is_long_enough() {
    let broker = limited().await;
    broker.topic("t");
    let mut body = Vec::new();
    many(&mut body, |body| {
        body.put_i8(2);
        text(body, "t");
        body.put_i32(-1);
    });
    body.put_i8(1);
    let mut answer = asked(&broker, DESCRIBE_CONFIGS, 1, &body).await;
    // Every resource has an answer, most of them a refusal in so many words.
    assert!(answer.len() < 4 * MAX + TIMES * 150, "{} bytes", answer.len());
    answer.advance(4);
    assert_eq!(answer.get_i32(), i32::try_from(TIMES).unwrap());
    assert_eq!(answer.get_i16(), 0);
    assert!(String::from_utf8_lossy(&answer).contains("ask about fewer at once"));
    broker.stop().await;
}

#[tokio::test]
async fn settings_of_topics_that_would_be_made_are_left_out_beyond_it() {
    let broker = limited().await;
    let mut body = Vec::new();
    put_compact(&mut body, TIMES);
    for number in 0..TIMES {
        put_compact_text(&mut body, &format!("t{number}"));
        body.put_i32(1);
        body.put_i16(1);
        body.put_slice(&[1, 1, 0]);
    }
    body.put_i32(10_000);
    body.put_slice(&[1, 0]);
    let answer = asked_flexible(&broker, CREATE_TOPICS, 5, &body).await;
    assert!(answer.len() < 4 * MAX + TIMES * 40, "{} bytes", answer.len());
    broker.stop().await;
}

#[tokio::test]
async fn producers_are_described_until_the_answer_is_long_enough() {
    let broker = limited().await;
    broker.topic("t");
    let mut client = broker.client().await;
    for number in 0..20 {
        let producer = broker.engine.init_producer_id().unwrap();
        let batch = batch_of((producer.id.get(), producer.epoch.get(), 0), &["v"]);
        client.send(PRODUCE, 3, number, &produce(1, "t", &batch)).await;
        assert_eq!(produced(client.answer(number).await).0, 0);
    }
    let mut body = Vec::new();
    put_compact(&mut body, 1);
    put_compact_text(&mut body, "t");
    put_compact(&mut body, TIMES);
    for _ in 0..TIMES {
        body.put_i32(0);
    }
    body.put_slice(&[0, 0]);
    let answer = asked_flexible(&broker, DESCRIBE_PRODUCERS, 0, &body).await;
    assert!(answer.len() < 2 * MAX + TIMES * 150, "{} bytes", answer.len());
    assert!(String::from_utf8_lossy(&answer).contains("ask about fewer at once"));
    broker.stop().await;
}

/// Commits an offset with long words for a partition.
async fn commit(broker: &Running, group: &str) {
    let body = offset_commit(group, 7, &"m".repeat(2000));
    let mut answer = asked(broker, OFFSET_COMMIT, 2, &body).await;
    assert_eq!(answer.split_off(answer.len() - 2).get_i16(), 0);
}

#[tokio::test]
async fn a_partition_s_offset_is_fetched_once_and_groups_until_the_answer_is_long_enough() {
    let broker = limited().await;
    broker.topic("t");
    commit(&broker, "g").await;

    let mut body = Vec::new();
    text(&mut body, "g");
    many(&mut body, |body| {
        text(body, "t");
        body.put_i32(2);
        body.put_i32(0);
        body.put_i32(0);
    });
    let answer = asked(&broker, OFFSET_FETCH, 2, &body).await;
    assert!((2000..4000 + TIMES * 10).contains(&answer.len()), "{} bytes", answer.len());

    let mut body = Vec::new();
    put_compact(&mut body, TIMES);
    for _ in 0..TIMES {
        put_compact_text(&mut body, "g");
        body.put_slice(&[0, 0]);
    }
    body.put_slice(&[0, 0]);
    let answer = asked_flexible(&broker, OFFSET_FETCH, 8, &body).await;
    assert!((2000..2 * MAX + TIMES * 40).contains(&answer.len()), "{} bytes", answer.len());
    broker.stop().await;
}

#[tokio::test]
async fn groups_are_described_until_the_answer_is_long_enough() {
    const JOIN_GROUP: i16 = 11;
    let broker = limited().await;
    let mut body = Vec::new();
    text(&mut body, "g");
    body.put_i32(30_000);
    text(&mut body, "");
    text(&mut body, "consumer");
    body.put_i32(1);
    text(&mut body, "range");
    body.put_i32(3000);
    body.put_slice(&[7; 3000]);
    let mut joiner = broker.client().await;
    joiner.send(JOIN_GROUP, 0, 1, &body).await;
    let mut joined = joiner.answer(1).await;
    assert_eq!(joined.get_i16(), 0);
    joined.advance(4);
    for _protocol_and_leader in 0..2 {
        let length = usize::try_from(joined.get_i16()).unwrap();
        joined.advance(length);
    }
    let length = usize::try_from(joined.get_i16()).unwrap();
    let member = String::from_utf8(joined[..length].to_vec()).unwrap();
    // Only a settled group shows its members' metadata.
    const SYNC_GROUP: i16 = 14;
    let mut body = Vec::new();
    text(&mut body, "g");
    body.put_i32(1);
    text(&mut body, &member);
    body.put_i32(1);
    text(&mut body, &member);
    body.put_i32(3000);
    body.put_slice(&[8; 3000]);
    joiner.send(SYNC_GROUP, 0, 2, &body).await;
    assert_eq!(joiner.answer(2).await.get_i16(), 0);

    let mut body = Vec::new();
    many(&mut body, |body| text(body, "g"));
    let answer = asked(&broker, DESCRIBE_GROUPS, 0, &body).await;
    assert!((6000..3 * MAX + TIMES * 40).contains(&answer.len()), "{} bytes", answer.len());
    broker.stop().await;
}

#[tokio::test]
async fn transactions_are_described_until_the_answer_is_long_enough() {
    const INIT_PRODUCER_ID: i16 = 22;
    const ADD_PARTITIONS: i16 = 24;
    const FIND_COORDINATOR: i16 = 10;
    let broker = limited().await;
    broker.engine.create_topic(&NewTopic::new("t", 200), Mode::Apply).unwrap();
    let mut body = Vec::new();
    text(&mut body, "x");
    body.put_i8(1);
    asked(&broker, FIND_COORDINATOR, 1, &body).await;
    let mut body = Vec::new();
    text(&mut body, "x");
    body.put_i32(60_000);
    let mut made = asked(&broker, INIT_PRODUCER_ID, 0, &body).await;
    made.advance(4);
    assert_eq!(made.get_i16(), 0);
    let (id, epoch) = (made.get_i64(), made.get_i16());
    let mut body = Vec::new();
    text(&mut body, "x");
    body.put_i64(id);
    body.put_i16(epoch);
    body.put_i32(1);
    text(&mut body, "t");
    body.put_i32(200);
    for partition in 0..200 {
        body.put_i32(partition);
    }
    let mut added = asked(&broker, ADD_PARTITIONS, 0, &body).await;
    assert_eq!(added.split_off(added.len() - 2).get_i16(), 0);

    let mut body = Vec::new();
    put_compact(&mut body, TIMES);
    for _ in 0..TIMES {
        put_compact_text(&mut body, "x");
    }
    body.put_u8(0);
    let answer = asked_flexible(&broker, DESCRIBE_TRANSACTIONS, 0, &body).await;
    assert!((800..2 * MAX + TIMES * 60).contains(&answer.len()), "{} bytes", answer.len());
    broker.stop().await;
}

/// Asks with a header of version 2.
async fn asked_flexible(broker: &Running, api: i16, version: i16, body: &[u8]) -> Bytes {
    asked(broker, api, version, &[&[0], body].concat()).await
}

/// Partitions of one topic that does not exist, under the longest name that a text can have, are refused without telling the name for each.
#[tokio::test]
async fn t_a1_a_long_name_that_no_topic_has_is_told_once() {
    const NAME_LEN: usize = 30_000;
    let broker = Running::standard().await;
    let mut body = vec![0];
    body.put_i16(-1);
    body.put_i32(30_000);
    put_compact(&mut body, 1);
    put_compact_text(&mut body, &"x".repeat(NAME_LEN));
    put_compact(&mut body, TIMES);
    for index in 0..i32::try_from(TIMES).unwrap() {
        body.put_i32(index);
        // No records, no tags.
        body.put_slice(&[1, 0]);
    }
    body.put_slice(&[0, 0]);
    let mut answer = asked_flexible(&broker, PRODUCE, 9, &body).await;
    assert!(answer.len() < TIMES * 150 + NAME_LEN, "{} bytes", answer.len());
    // Tags of the header, one topic, its name, how many partitions, the first of them.
    answer.advance(2 + 3 + NAME_LEN + 2);
    assert_eq!((answer.get_i32(), answer.get_i16()), (0, 3));
    broker.stop().await;
}

/// What the coordinator says names the transactional id, which may be as long as a text can be.
#[tokio::test]
async fn t_a1_a_long_transactional_id_is_not_told_for_each_partition() {
    const PARTITIONS: usize = 200;
    let broker = Running::standard().await;
    let topic = NewTopic::new("t", i32::try_from(PARTITIONS).unwrap());
    broker.engine.create_topic(&topic, Mode::Apply).unwrap();
    let mut batch = batch_of((4711, 0, 0), &["v"]);
    // Transactional, with the checksum of that.
    batch[22] = 0x10;
    let sum = hanbeon_records::crc32c(&batch[21..]).to_be_bytes();
    batch[17..21].copy_from_slice(&sum);
    let mut body = Vec::new();
    text(&mut body, &"x".repeat(30_000));
    body.put_i16(-1);
    body.put_i32(30_000);
    body.put_i32(1);
    text(&mut body, "t");
    body.put_i32(i32::try_from(PARTITIONS).unwrap());
    for index in 0..i32::try_from(PARTITIONS).unwrap() {
        body.put_i32(index);
        body.put_i32(i32::try_from(batch.len()).unwrap());
        body.put_slice(&batch);
    }
    let mut answer = asked(&broker, PRODUCE, 8, &body).await;
    assert!(answer.len() < PARTITIONS * 1_000, "{} bytes", answer.len());
    answer.advance(4 + 2 + 1 + 4);
    let (index, code) = (answer.get_i32(), answer.get_i16());
    assert!(index == 0 && code != 0, "refused: {code}");
    broker.stop().await;
}
