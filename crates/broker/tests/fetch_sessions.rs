//! What the partitions of a Fetch request are given, in which order, and when: sessions (KIP-227) and limits.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that panics has found something"
)]

mod support;

use bytes::{Buf, BufMut, Bytes};
use support::*;

/// A Fetch request of version 11.
#[derive(Clone, Copy)]
struct Ask<'a> {
    wait_ms: i32,
    min_bytes: i32,
    max_bytes: i32,
    session: (i32, i32),
    /// Topic, offset, and the limit of its partition 0.
    wanted: &'a [(&'a str, i64, i32)],
}

impl Ask<'_> {
    fn body(self) -> Vec<u8> {
        let mut body = Vec::new();
        body.put_i32(-1);
        body.put_i32(self.wait_ms);
        body.put_i32(self.min_bytes);
        body.put_i32(self.max_bytes);
        body.put_i8(0);
        body.put_i32(self.session.0);
        body.put_i32(self.session.1);
        body.put_i32(i32::try_from(self.wanted.len()).unwrap());
        for &(topic, from, max_bytes) in self.wanted {
            text(&mut body, topic);
            body.put_i32(1);
            body.put_i32(0);
            body.put_i32(-1);
            body.put_i64(from);
            body.put_i64(-1);
            body.put_i32(max_bytes);
        }
        body.put_i32(0);
        text(&mut body, "");
        body
    }
}

/// The session's id, and each topic of the answer with the bytes of its records.
fn answered(mut answer: Bytes) -> (i32, Vec<(String, usize)>) {
    assert_eq!((answer.get_i32(), answer.get_i16()), (0, 0));
    let session = answer.get_i32();
    let mut topics = Vec::new();
    for _topic in 0..answer.get_i32() {
        let length = usize::try_from(answer.get_i16()).unwrap();
        let name = String::from_utf8(answer.split_to(length).to_vec()).unwrap();
        assert_eq!((answer.get_i32(), answer.get_i32(), answer.get_i16()), (1, 0, 0));
        answer.advance(8 + 8 + 8);
        assert_eq!(answer.get_i32(), -1, "no list of aborted transactions");
        answer.advance(4);
        let length = usize::try_from(answer.get_i32()).unwrap();
        answer.advance(length);
        topics.push((name, length));
    }
    (session, topics)
}

async fn broker_with(topics: &[&str]) -> (Running, Client) {
    let broker = Running::standard().await;
    let mut client = broker.client().await;
    for topic in topics {
        broker.topic(topic);
        let batch = batch(&["v".repeat(1000).as_str()]);
        client.send(PRODUCE, 3, 1, &produce(1, topic, &batch)).await;
        assert_eq!(produced(client.answer(1).await), (0, 0));
    }
    (broker, client)
}

fn with_records(topics: &[(String, usize)]) -> Vec<&str> {
    topics.iter().filter(|(_, bytes)| *bytes > 0).map(|(topic, _)| topic.as_str()).collect()
}

/// Only the first partition with data gives a batch above its limit: the next answer gives another one that turn.
#[tokio::test]
async fn a_partition_that_gave_records_is_read_last_next_time() {
    let (broker, mut client) = broker_with(&["always", "large"]).await;
    let wanted: &[_] = &[("always", 0, 1 << 20), ("large", 0, 1)];
    let open = Ask { wait_ms: 0, min_bytes: 1, max_bytes: 1 << 20, session: (0, 0), wanted };
    client.send(FETCH, 11, 1, &open.body()).await;
    let (session, topics) = answered(client.answer(1).await);
    assert_eq!(with_records(&topics), ["always"]);
    for (epoch, expected) in [(1, &["large", "always"][..]), (2, &["large", "always"])] {
        client
            .send(FETCH, 11, 2, &Ask { session: (session, epoch), wanted: &[], ..open }.body())
            .await;
        let (_, topics) = answered(client.answer(2).await);
        assert_eq!(with_records(&topics), expected, "epoch {epoch}");
    }
    broker.stop().await;
}

#[tokio::test]
async fn partitions_take_turns_in_answers_that_hold_one_of_them() {
    let (broker, mut client) = broker_with(&["a", "b", "c"]).await;
    let wanted: &[_] = &[("a", 0, 1 << 20), ("b", 0, 1 << 20), ("c", 0, 1 << 20)];
    let open = Ask { wait_ms: 0, min_bytes: 1, max_bytes: 1, session: (0, 0), wanted };
    client.send(FETCH, 11, 1, &open.body()).await;
    let (session, topics) = answered(client.answer(1).await);
    assert_eq!(with_records(&topics), ["a"]);
    for (epoch, expected) in [(1, "b"), (2, "c"), (3, "a"), (4, "b")] {
        client
            .send(FETCH, 11, 2, &Ask { session: (session, epoch), wanted: &[], ..open }.body())
            .await;
        let (_, topics) = answered(client.answer(2).await);
        assert_eq!(with_records(&topics), [expected], "epoch {epoch}");
    }
    broker.stop().await;
}

#[tokio::test]
async fn an_answer_that_can_hold_no_more_does_not_wait_for_more() {
    let (broker, mut client) = broker_with(&["a"]).await;
    let wanted: &[_] = &[("a", 0, 1 << 20)];
    let ask =
        Ask { wait_ms: 600_000, min_bytes: 1 << 20, max_bytes: 500, session: (0, -1), wanted };
    client.send(FETCH, 11, 1, &ask.body()).await;
    let (_, topics) = answered(client.answer(1).await);
    assert_eq!(with_records(&topics), ["a"]);
    broker.stop().await;
}

/// As Kafka 4.3.1 does it: the last entry counts, and is answered once.
#[tokio::test]
async fn a_partition_that_is_named_several_times_is_answered_once_from_where_it_was_named_last() {
    let broker = Running::standard().await;
    broker.topic("t");
    let mut client = broker.client().await;
    for value in ["a", "b", "c"] {
        client.send(PRODUCE, 3, 1, &produce(1, "t", &batch(&[value]))).await;
        assert_eq!(produced(client.answer(1).await).0, 0);
    }
    let wanted: &[_] = &[("t", 0, 1 << 20), ("t", 1, 1 << 20), ("t", 2, 1 << 20)];
    for session in [(0, -1), (0, 0)] {
        let ask = Ask { wait_ms: 0, min_bytes: 1, max_bytes: 1 << 20, session, wanted };
        client.send(FETCH, 11, 2, &ask.body()).await;
        let told = fetched(client.answer(2).await);
        assert_eq!(told.partitions, [(0, 3, vec!["c".to_owned()])], "{session:?}");
    }
    broker.stop().await;
}

/// A session goes by names up to version 12 and by ids from 13 on, also where a request names no topic.
#[tokio::test]
async fn a_session_that_is_used_with_the_other_kind_of_name_is_refused_and_goes_on() {
    const TOPIC_ID_ERROR: i16 = 106;
    let broker = Running::standard().await;
    broker.topic("t");
    let mut client = broker.client().await;
    let ask = |session: i32, epoch: i32, topics: &[u8]| {
        // Tags of the header.
        let mut body = vec![0];
        body.put_i32(-1);
        body.put_i32(0);
        body.put_i32(1);
        body.put_i32(1 << 20);
        body.put_i8(0);
        body.put_i32(session);
        body.put_i32(epoch);
        body.put_slice(topics);
        // Nothing forgotten, no rack, no tags.
        body.put_slice(&[1, 1, 0]);
        body
    };
    let mut named = vec![2, 2, b't', 2];
    named.put_i32(0);
    named.put_i32(-1);
    named.put_i64(0);
    named.put_i32(-1);
    named.put_i64(-1);
    named.put_i32(1 << 20);
    named.put_slice(&[0, 0]);
    let head = |mut answer: Bytes| {
        // Tags of the header, and the throttle time.
        answer.advance(1 + 4);
        (answer.get_i16(), answer.get_i32())
    };
    client.send(FETCH, 12, 1, &ask(0, 0, &named)).await;
    let (code, session) = head(client.answer(1).await);
    assert!(code == 0 && session > 0, "{code} {session}");
    client.send(FETCH, 13, 2, &ask(session, 1, &[1])).await;
    assert_eq!(head(client.answer(2).await), (TOPIC_ID_ERROR, 0));
    // The epoch is looked at first.
    client.send(FETCH, 13, 3, &ask(session, 2, &[1])).await;
    assert_eq!(head(client.answer(3).await), (71, 0));
    client.send(FETCH, 12, 4, &ask(session, 1, &[1])).await;
    assert_eq!(head(client.answer(4).await), (0, session));
    broker.stop().await;
}

/// The list of aborted transactions takes room in the answer as records do.
#[tokio::test]
async fn aborted_transactions_take_from_the_bytes_of_an_answer() {
    const ABORTED: usize = 10;
    let broker = Running::standard().await;
    broker.topic("a");
    broker.topic("b");
    let mut producer = broker.engine.transactional_producer("x").unwrap();
    for _ in 0..ABORTED {
        let mut transaction = producer.begin();
        transaction.send(hanbeon::Record::new("a", "v")).unwrap();
        transaction.flush().unwrap();
        transaction.abort().unwrap();
    }
    let mut client = broker.client().await;
    let batch = batch(&["v"]);
    client.send(PRODUCE, 3, 1, &produce(1, "b", &batch)).await;
    assert_eq!(produced(client.answer(1).await), (0, 0));
    let lengths = async |client: &mut Client, max_bytes: usize| {
        let max_bytes = i32::try_from(max_bytes).unwrap();
        let wanted: &[_] = &[("a", 0, 1 << 20), ("b", 0, 1 << 20)];
        let ask = Ask { wait_ms: 0, min_bytes: 1, max_bytes, session: (0, -1), wanted };
        let mut body = ask.body();
        body[16] = 1; // committed data
        client.send(FETCH, 11, 2, &body).await;
        let mut answer = client.answer(2).await;
        answer.advance(4 + 2 + 4 + 4);
        [(); 2].map(|()| {
            answer.advance(2 + 1 + 4 + 4 + 2 + 8 + 8 + 8);
            let aborted = usize::try_from(answer.get_i32()).unwrap();
            answer.advance(aborted * 16 + 4);
            let records = usize::try_from(answer.get_i32()).unwrap();
            answer.advance(records);
            (aborted, records)
        })
    };
    let [a, b] = lengths(&mut client, 1 << 20).await;
    assert_eq!((a.0, b), (ABORTED, (0, batch.len())));
    let room = a.1 + batch.len();
    assert_eq!(lengths(&mut client, room).await, [a, (0, 0)]);
    assert_eq!(lengths(&mut client, room + ABORTED * 16).await, [a, b]);
    broker.stop().await;
}
