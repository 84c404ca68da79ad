//! What one client may take from the broker, and what all of them may.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that panics has found something"
)]

mod support;

use bytes::BufMut;
use hanbeon::{BrokerScope, ConfigChange, ConfigOp, Mode, Options, group::Name};
use hanbeon_broker::Limits;
use support::*;

#[tokio::test]
async fn t_l1_connections_above_the_limit_are_refused_and_a_place_comes_back() {
    let limits = Limits { connections_per_address_max: 2, ..Limits::standard() };
    let broker = Running::limited(limits).await;
    let (mut one, mut two) = (broker.client().await, broker.client().await);
    one.works().await;
    two.works().await;
    let mut three = broker.client().await;
    three.is_closed().await;
    one.works().await;
    drop(one);
    // The broker needs a moment to see that it has left.
    timely(async { while !broker.client().await.is_welcome().await {} }).await;
    two.works().await;
    broker.stop().await;
}

#[tokio::test]
async fn t_l1_all_connections_together_have_a_limit() {
    let limits = Limits { connections_max: 1, ..Limits::standard() };
    let broker = Running::limited(limits).await;
    let mut one = broker.client().await;
    one.works().await;
    broker.client().await.is_closed().await;
    one.works().await;
    broker.stop().await;
}

#[tokio::test]
async fn t_l1_a_setting_counts_before_the_limit() {
    let broker = Running::configured("max.connections", "1").await;
    let mut one = broker.client().await;
    one.works().await;
    broker.client().await.is_closed().await;
    broker.stop().await;
}

#[tokio::test]
async fn t_l1_limits_of_connections_change_while_the_broker_runs() {
    let broker = Running::standard().await;
    let change = |key: &str, op| {
        let change = ConfigChange { key: key.to_owned(), op };
        broker.engine.alter_broker_config(BrokerScope::All, &[change], Mode::Apply)
    };
    let mut one = broker.client().await;
    one.works().await;
    for key in ["max.connections", "max.connections.per.ip"] {
        change(key, ConfigOp::Set("1".to_owned())).unwrap();
        broker.client().await.is_closed().await;
        change(key, ConfigOp::Delete).unwrap();
        broker.client().await.works().await;
        // Nobody could come and take it back.
        change(key, ConfigOp::Set("0".to_owned())).unwrap_err();
    }
    one.works().await;
    broker.stop().await;
}

#[tokio::test]
async fn t_l1_connections_that_come_too_fast_are_refused_and_others_let_in() {
    let limits = Limits { connections_per_second_max: 2, ..Limits::standard() };
    let broker = Running::limited(limits).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(broker.client().await);
    }
    let mut refused = 0;
    for client in &mut clients {
        refused += usize::from(!client.is_welcome().await);
    }
    assert!(refused > 0, "all were let in, one after the other");
    timely(async { while !broker.client().await.is_welcome().await {} }).await;
    broker.stop().await;
}

#[tokio::test]
async fn connections_are_idle_as_long_as_the_setting_says() {
    let broker = Running::configured("connections.max.idle.ms", "200").await;
    broker.client().await.is_closed().await;
    broker.stop().await;
}

#[tokio::test]
async fn an_answer_to_fetch_is_as_long_as_the_setting_says() {
    let broker = Running::configured("fetch.max.bytes", "1024").await;
    broker.topic("t");
    let mut client = broker.client().await;
    for number in 0..3 {
        let batch = batch(&[&"v".repeat(600)]);
        client.send(PRODUCE, 3, number, &produce(1, "t", &batch)).await;
        assert_eq!(produced(client.answer(number).await).0, 0);
    }
    client.send(FETCH, 11, 3, &FetchSpec::from("t", 0).body()).await;
    // Three batches of 670 bytes are there; as with Kafka the last that is sent may be cut.
    let length = client.answer(3).await.len();
    assert!((1024..1200).contains(&length), "{length} bytes");
    broker.stop().await;
}

#[tokio::test]
async fn a_request_is_as_long_as_the_setting_says() {
    let broker = Running::configured("socket.request.max.bytes", "1000").await;
    let mut client = broker.client().await;
    client.raw(&1001_i32.to_be_bytes()).await;
    client.is_closed().await;
    broker.stop().await;
}

#[tokio::test]
async fn sessions_are_as_many_as_the_setting_says() {
    let broker = Running::configured("max.incremental.fetch.session.cache.slots", "0").await;
    broker.topic("t");
    let mut client = broker.client().await;
    let opening = FetchSpec { session: (0, 0), ..FetchSpec::from("t", 0) };
    client.send(FETCH, 11, 1, &opening.body()).await;
    assert_eq!(fetched(client.answer(1).await).session, 0);
    broker.stop().await;
}

#[tokio::test]
async fn t_l4_a_request_that_does_not_arrive_is_given_up() {
    let limits = Limits { request_ms_max: 200, ..Limits::standard() };
    let broker = Running::limited(limits).await;
    let mut slow = broker.client().await;
    slow.raw(&1000_i32.to_be_bytes()).await;
    slow.is_closed().await;
    broker.client().await.works().await;
    broker.stop().await;
}

/// A Produce that needs more room than small requests have for nothing.
async fn produces_100_kib(mut writer: Client) {
    let batch = batch(&["v".repeat(100 << 10).as_str()]);
    writer.send(PRODUCE, 3, 1, &produce(1, "t", &batch)).await;
    assert_eq!(produced(writer.answer(1).await).0, 0);
}

#[tokio::test]
async fn t_a4_a_fetch_that_waits_leaves_the_room_of_its_bytes_to_others() {
    const BUDGET: usize = 1 << 20;
    let broker = Running::limited(Limits { queued_bytes_max: BUDGET, ..Limits::standard() }).await;
    broker.topic("t");
    let partition = broker.engine.partition("t", 0).unwrap();
    let mut reader = broker.client().await;
    // Bytes behind a body are taken.
    let mut padded = FetchSpec { wait_ms: 600_000, ..FetchSpec::from("t", 0) }.body();
    padded.resize(BUDGET, 0);
    reader.send(FETCH, 11, 1, &padded).await;
    while partition.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    produces_100_kib(broker.client().await).await;
    broker.stop().await;
}

#[tokio::test]
async fn t_a4_a_member_that_waits_for_others_leaves_the_room_of_what_is_not_kept_to_others() {
    const BUDGET: usize = 1 << 20;
    const JOIN_GROUP: i16 = 11;
    let options = Options::broker().set("group.initial.rebalance.delay.ms", "600000").unwrap();
    let limits = Limits { queued_bytes_max: BUDGET, ..Limits::standard() };
    let broker = Running::on(options, |options| options.limits(limits)).await;
    broker.topic("t");
    let mut body = Vec::new();
    text(&mut body, "g");
    body.put_i32(30_000);
    body.put_i32(600_000);
    text(&mut body, "");
    text(&mut body, "consumer");
    body.put_i32(1);
    text(&mut body, "range");
    // What it says of itself is kept, and has its room; bytes behind a body are not.
    body.put_i32(64);
    body.resize(BUDGET, 7);
    let mut member = broker.client().await;
    member.send(JOIN_GROUP, 1, 1, &body).await;
    let group = Name::new("g").unwrap();
    while !broker.engine.groups().describe(&group).is_ok_and(|found| found.members.len() == 1) {
        tokio::task::yield_now().await;
    }
    produces_100_kib(broker.client().await).await;
    broker.stop().await;
}

/// Pages of this process that are in memory, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_ascii_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t_a4_a_thousand_that_announce_100_mib_each_take_no_more_than_the_budget() {
    const BUDGET: usize = 4 << 20;
    const CLIENTS: usize = 1000;
    let limits = Limits {
        queued_bytes_max: BUDGET,
        connections_per_second_max: 100_000,
        connections_per_address_max: 2_000,
        ..Limits::standard()
    };
    let broker = Running::limited(limits).await;
    let before = resident();
    let mut clients = Vec::new();
    let announced = [&(100_i32 << 20).to_be_bytes()[..], &[0; 20_000]].concat();
    for _ in 0..CLIENTS {
        let mut client = broker.client().await;
        client.raw(&announced).await;
        clients.push(client);
    }
    // All have been accepted, and others are served: also one with a large request, which is not kept waiting for what those announced.
    broker.client().await.works().await;
    // All of 127/8 is this machine on Linux; elsewhere only its first address.
    #[cfg(target_os = "linux")]
    {
        broker.topic("t");
        produces_100_kib(broker.client_from("127.0.0.2").await).await;
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < BUDGET + (64 << 20), "{grown} bytes");
    for client in &clients {
        assert!(client.stream.try_read(&mut [0]).is_err(), "nobody was closed");
    }
    broker.stop().await;
}
