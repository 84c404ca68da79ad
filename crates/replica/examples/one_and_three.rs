//! The same leader with one replica and with three: what is appended, fetched, committed and answered.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use hanbeon_records::{BrokerEpoch, LeaderEpoch, Millis, NodeId, Offset, PartitionEpoch};
use hanbeon_replica::{
    Acks, Fetch, Input, Leader, LogBounds, MinIsr, Output, Registration, ReplicaError, Settings,
    Waiters,
};

fn main() -> Result<(), ReplicaError> {
    one()?;
    three()
}

/// One broker: the log's end is the high watermark, and nobody has to wait.
fn one() -> Result<(), ReplicaError> {
    let mut leader = Leader::alone(NodeId::new(1), LeaderEpoch::new(0), LogBounds::EMPTY);
    leader.admit(Acks::All)?;
    let high_watermark = leader.appended(Millis::new(0), Offset::new(5))?;
    println!("one replica:    5 records appended, high watermark {high_watermark:?}");
    Ok(())
}

/// Three brokers, two of which have to be in sync.
fn three() -> Result<(), ReplicaError> {
    let nodes: Vec<NodeId> = (1..=3).map(NodeId::new).collect();
    let settings = Settings {
        node: NodeId::new(1),
        broker_epoch: BrokerEpoch::new(7),
        lag_time_max_ms: 30_000,
    };
    let registration = Registration {
        leader_epoch: LeaderEpoch::new(4),
        partition_epoch: PartitionEpoch::new(9),
        isr: nodes.clone(),
        min_isr: MinIsr::effective(2, nodes.len()),
        replicas: nodes,
    };
    let mut now = Millis::new(0);
    let mut leader = Leader::new(settings, registration, LogBounds::EMPTY, now);
    let mut waiters = Waiters::new();

    let acks = Acks::try_from(-1)?;
    leader.admit(acks)?;
    let end = Offset::new(5);
    let mut out = Vec::new();
    leader.step(now, Input::Appended { end }, &mut out)?;
    if let Some(needed) = acks.waits_for(end) {
        waiters.add(needed, "the producer of offsets 0 to 4");
    }
    println!("three replicas: 5 records appended, high watermark {}", leader.high_watermark());

    for follower in [2, 3] {
        let fetch = Fetch {
            follower: NodeId::new(follower),
            broker_epoch: BrokerEpoch::new(7),
            leader_epoch: LeaderEpoch::new(4),
            from: end,
            log_start: Offset::ZERO,
        };
        leader.step(now, Input::Fetched(fetch), &mut out)?;
        println!("                broker {follower} has fetched up to {end}: {out:?}");
        for said in out.drain(..) {
            if let Output::HighWatermark(high_watermark) = said {
                for token in waiters.release(high_watermark) {
                    println!("                answered: {token}");
                }
            }
        }
    }

    now = now.saturating_add(30_001);
    leader.step(now, Input::Appended { end: Offset::new(6) }, &mut out)?;
    leader.step(now, Input::Tick, &mut out)?;
    println!("                both fell silent: {out:?}");
    Ok(())
}
