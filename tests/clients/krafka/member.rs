//! A group member; the verb is explained in ../groups.py.

use std::time::Duration;

use krafka::{
    Kafka, Result,
    consumer::{AutoOffsetReset, ConsumerBuilder, GroupProtocol, IsolationLevel},
};
use tokio::signal::unix::{SignalKind, signal};

use crate::{connect, misused, poll};

pub(crate) fn builder(
    kafka: &Kafka,
    group: &str,
    protocol: GroupProtocol,
    session_ms: u64,
) -> ConsumerBuilder {
    let consumer = kafka.consumer(group).auto_offset_reset(AutoOffsetReset::Earliest);
    let consumer =
        consumer.isolation_level(IsolationLevel::ReadCommitted).enable_auto_commit(false);
    let consumer = consumer.group_protocol(protocol).fetch_max_wait(Duration::from_millis(100));
    let consumer = consumer.session_timeout(Duration::from_millis(session_ms));
    let consumer = consumer.heartbeat_interval(Duration::from_millis(session_ms / 5));
    // Also how long a rebalance waits for a member.
    consumer.max_poll_interval(Duration::from_millis(4 * session_ms))
}

pub(crate) async fn run(
    bootstrap: &str,
    group: &str,
    topic: &str,
    protocol: &str,
    session_ms: u64,
) -> Result<()> {
    let protocol = match protocol {
        "classic" => GroupProtocol::Classic,
        "consumer" => GroupProtocol::Consumer,
        _ => return Err(misused(protocol)),
    };
    let mut leave = signal(SignalKind::terminate())?;
    let builder = builder(&connect(bootstrap).await, group, protocol, session_ms);
    let consumer = builder.max_poll_records(20).build().await?;
    consumer.subscribe([topic]).await?;
    let mut held = 0;
    loop {
        let records = tokio::select! {
            _ = leave.recv() => break,
            records = poll(&consumer, Duration::from_millis(200)) => records?,
        };
        let now: usize = consumer.assignment().await.values().map(|of| of.len()).sum();
        if now != held {
            held = now;
            println!("assigned {held}");
        }
        for r in &records {
            println!("record {} {} {}", r.partition, r.offset, r.value_str().unwrap_or_default());
        }
        if !records.is_empty()
            && let Err(why) = consumer.commit().await
        {
            eprintln!("{why}"); // a rebalance came between: whoever holds the partition now reads it again
        }
    }
    consumer.close().await
}
