//! Bad input as in what Kafka 4.3.1 was seen to do: this connection is closed without an answer, all others go on.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that panics has found something"
)]

mod support;

use bytes::{Buf, BufMut};
use hanbeon_broker::Limits;
use support::*;

/// Sends these bytes on a connection that works, and finds it closed while another goes on.
async fn closes(broker: &Running, what: &str, bytes: &[u8]) {
    let (mut bad, mut good) = (broker.client().await, broker.client().await);
    bad.works().await;
    bad.raw(bytes).await;
    eprintln!("{what}");
    bad.is_closed().await;
    good.works().await;
}

/// Sends these bytes and finds the connection working.
async fn is_taken(broker: &Running, what: &str, bytes: &[u8], id: i32) {
    let mut client = broker.client().await;
    client.raw(bytes).await;
    eprintln!("{what}");
    client.answer(id).await;
    client.works().await;
}

#[tokio::test]
async fn t_a1_lengths_that_are_none_close() {
    let broker = Running::standard().await;
    for length in [-1, 0, i32::MIN, 104_857_601, i32::MAX] {
        closes(&broker, &format!("length {length}"), &length.to_be_bytes()).await;
    }
    broker.stop().await;
}

#[tokio::test]
async fn a_limit_of_ones_own_is_kept() {
    let limits = Limits { request_bytes_max: 1000, ..Limits::standard() };
    let broker = Running::limited(limits).await;
    closes(&broker, "above the limit", &1001_i32.to_be_bytes()).await;
    broker.stop().await;
}

#[tokio::test]
async fn unknown_apis_and_those_of_the_controller_close() {
    let broker = Running::standard().await;
    let controllers = [4, 5, 6, 7, 52, 53, 54, 56, 58, 59, 62, 63, 67];
    for key in controllers.into_iter().chain([-1, 93, 1000, i16::MAX]) {
        closes(&broker, &format!("key {key}"), &request(key, 0, 1, &[])).await;
    }
    broker.stop().await;
}

#[tokio::test]
async fn unsupported_versions_close_but_those_of_api_versions() {
    let broker = Running::standard().await;
    for (key, version) in [(PRODUCE, 2), (PRODUCE, 99), (FETCH, 3), (METADATA, -1), (METADATA, 14)]
    {
        closes(&broker, &format!("{key} version {version}"), &request(key, version, 1, &[])).await;
    }
    for version in [-1, 5, 99] {
        let mut client = broker.client().await;
        client.send(API_VERSIONS, version, 7, &[]).await;
        let mut answer = client.answer(7).await;
        assert_eq!((answer.get_i16(), answer.get_i32(), answer.get_i16()), (35, 1, API_VERSIONS));
        client.works().await;
    }
    broker.stop().await;
}

#[tokio::test]
async fn broken_headers_and_bodies_close() {
    let broker = Running::standard().await;
    let metadata = |rest: &[u8]| request(METADATA, 1, 1, rest);
    let cut = |frame: &[u8]| framed(frame);
    // Key, version, correlation id, and half a client id.
    closes(&broker, "truncated header", &cut(&[0, 3, 0, 1, 0, 0, 0, 1, 0, 9, b'x'])).await;
    closes(&broker, "no client id", &cut(&[0, 3, 0, 1, 0, 0, 0, 1])).await;
    closes(&broker, "truncated body", &metadata(&[0, 0])).await;
    closes(&broker, "null for a name", &metadata(&[0, 0, 0, 1, 0xff, 0xff])).await;
    closes(&broker, "array below null", &metadata(&(-2_i32).to_be_bytes())).await;
    closes(&broker, "array beyond the frame", &metadata(&i32::MAX.to_be_bytes())).await;
    // Header version 2 in Metadata 12: client id, then tags.
    let flexible = |rest: &[u8]| {
        let mut frame = Vec::new();
        frame.put_i16(METADATA);
        frame.put_i16(12);
        frame.put_i32(1);
        frame.put_i16(-1);
        frame.put_slice(rest);
        framed(&frame)
    };
    closes(&broker, "endless varint", &flexible(&[0xff; 12])).await;
    closes(&broker, "tag beyond the frame", &flexible(&[1, 9, 0x7f, 0])).await;
    // Null topics, no auto-creation, no authorized operations, no tags.
    let body = [0, 0, 0, 0];
    let tagged = |tags: &[u8]| flexible(&[tags, &body].concat());
    is_taken(&broker, "null client id", &tagged(&[0]), 1).await;
    is_taken(&broker, "unknown tags", &tagged(&[1, 99, 2, 7, 7]), 1).await;
    is_taken(&broker, "a tag twice", &tagged(&[2, 9, 1, 7, 9, 1, 7]), 1).await;
    is_taken(&broker, "tags that fall", &tagged(&[2, 9, 1, 7, 8, 1, 7]), 1).await;
    is_taken(&broker, "bytes after the body", &metadata(&[0, 0, 0, 0, 1, 2, 3]), 1).await;
    let empty_id = cut(&[0, 3, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    is_taken(&broker, "empty client id", &empty_id, 1).await;
    broker.stop().await;
}

#[tokio::test]
async fn t_a3_headers_and_client_ids_have_their_limits() {
    let broker = Running::standard().await;
    let with_client_id = |length: usize| {
        let mut frame = Vec::new();
        frame.put_i16(METADATA);
        frame.put_i16(1);
        frame.put_i32(1);
        text(&mut frame, &"x".repeat(length));
        frame.put_i32(0);
        framed(&frame)
    };
    is_taken(&broker, "1 KiB", &with_client_id(1024), 1).await;
    closes(&broker, "more than 1 KiB", &with_client_id(1025)).await;
    closes(&broker, "as long as there is", &with_client_id(32_767)).await;
    broker.stop().await;
}

#[tokio::test]
async fn a_frame_that_is_not_complete_waits() {
    let broker = Running::standard().await;
    let mut client = broker.client().await;
    let frame = request(METADATA, 1, 1, &[0, 0, 0, 0]);
    for byte in frame {
        client.raw(&[byte]).await;
    }
    client.answer(1).await;
    broker.stop().await;
}

#[tokio::test]
async fn garbage_in_a_produce_is_answered_and_garbage_instead_of_one_closes() {
    let broker = Running::standard().await;
    broker.topic("t");
    let mut client = broker.client().await;
    let mut wrong = batch(&["a"]);
    *wrong.last_mut().unwrap() ^= 1;
    for (id, records, code) in
        [(1, &wrong[..], 2), (2, &[0; 10][..], 87), (3, &batch(&["b"])[..], 0)]
    {
        client.send(PRODUCE, 3, id, &produce(-1, "t", records)).await;
        assert_eq!(produced(client.answer(id).await).0, code, "{id}");
    }
    let mut beyond = produce(-1, "t", &[]);
    let length = beyond.len();
    beyond[length - 4..].copy_from_slice(&1000_i32.to_be_bytes());
    closes(&broker, "records beyond the frame", &request(PRODUCE, 3, 1, &beyond)).await;
    broker.stop().await;
}
