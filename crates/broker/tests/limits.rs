//! What one client may take from the broker, and what all of them may.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that panics has found something"
)]

mod support;

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
async fn t_l4_a_request_that_does_not_arrive_is_given_up() {
    let limits = Limits { request_ms_max: 200, ..Limits::standard() };
    let broker = Running::limited(limits).await;
    let mut slow = broker.client().await;
    slow.raw(&1000_i32.to_be_bytes()).await;
    slow.is_closed().await;
    broker.client().await.works().await;
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
    // All have been accepted, and others are served.
    broker.client().await.works().await;
    let grown = resident().saturating_sub(before);
    assert!(grown < BUDGET + (64 << 20), "{grown} bytes");
    for client in &clients {
        assert!(client.stream.try_read(&mut [0]).is_err(), "nobody was closed");
    }
    broker.stop().await;
}
