//! Commits one transaction and aborts one that was forgotten, with a `Vec` as the log and nothing else of the house.

use hanbeon_records::{CoordinatorEpoch, Millis, ProducerId, TopicName, TopicPartition};
use hanbeon_txn::{
    AddPartitions, Coordinator, Decision, EndTxn, Enqueued, InitProducerId, MarkersOwed, Outcome,
    Producer, Progress, Protocol, Settings, State, TransactionalId, TxnError,
};

type Log = Vec<(Vec<u8>, Option<Vec<u8>>)>;
type Failure = Box<dyn std::error::Error>;

const SETTINGS: Settings = Settings::kafka_defaults();
const EPOCH: CoordinatorEpoch = CoordinatorEpoch::new(0);

/// What a shell does with a decision: log, wait until it is durable, apply, answer. In that order.
fn carry_out<R>(
    coordinator: &mut Coordinator,
    log: &mut Log,
    decision: Decision<R>,
) -> Result<Result<R, TxnError>, Failure> {
    if let Some(record) = &decision.record {
        log.push(record.encode(coordinator.settings().value_version)?); // had this failed, nothing would have changed
        coordinator.apply(record)?;
    }
    Ok(decision.reply)
}

fn main() -> Result<(), Failure> {
    let (mut coordinator, mut log) = (Coordinator::new(SETTINGS), Log::new());
    let mut ids = (1000..).map(ProducerId::new);
    let mut fresh = || ids.next();
    let id = TransactionalId::new("transfers")?;
    let ledger = TopicPartition { topic: TopicName::new("ledger")?, partition: 0 };
    let mut now = Millis::new(1_700_000_000_000);

    let init = InitProducerId::new(id.clone(), 60_000);
    let decision = coordinator.init_producer_id(now, &init, &mut fresh);
    let producer: Producer = carry_out(&mut coordinator, &mut log, decision)??;

    // A write to the ledger arrives at its leader, which enrols the partition before it appends.
    let enrol = AddPartitions {
        id: id.clone(),
        producer,
        partitions: vec![ledger.clone()],
        protocol: Protocol::V2,
    };
    let decision = coordinator.add_partitions(now, &enrol);
    carry_out(&mut coordinator, &mut log, decision)??;

    // The decision is durable once its record is; the answer is the pair for the next transaction.
    let commit =
        EndTxn { id: id.clone(), producer, outcome: Outcome::Commit, protocol: Protocol::V2 };
    let decision = coordinator.end_txn(now, &commit, &mut fresh);
    let next = carry_out(&mut coordinator, &mut log, decision)??;
    assert_eq!(next.epoch.get(), producer.epoch.get() + 1);

    // Here the process dies. Nothing but the log is left, and the log says what is still to be done.
    let mut coordinator = Coordinator::new(SETTINGS);
    for (key, value) in &log {
        coordinator.replay(key, value.as_deref())?;
    }
    let mut markers = MarkersOwed::new();
    for owed in coordinator.owed().collect::<Vec<_>>() {
        assert!(matches!(markers.enqueue(now, owed, EPOCH), Enqueued::Send(_)));
    }
    let missing = markers.missing(&id).ok_or("a decided transaction owes its markers")?;
    assert_eq!((missing.marker.producer, missing.marker.outcome), (next, Outcome::Commit));
    assert!(missing.partitions.contains(&ledger));
    let round = missing.round;
    // ... the marker is written to the ledger and replicated ...
    let Progress::Complete(completion) = markers.acked(&id, round, &ledger) else {
        return Err("the ledger was the only partition".into());
    };
    let decision = coordinator.complete(now, &completion, &mut fresh);
    carry_out(&mut coordinator, &mut log, decision)??;

    // The next transaction is begun and forgotten: it is aborted when its time is up, and its commit comes too late.
    let enrol = AddPartitions { producer: next, ..enrol };
    let decision = coordinator.add_partitions(now, &enrol);
    carry_out(&mut coordinator, &mut log, decision)??;
    now = coordinator.next_timeout().ok_or("an open transaction times out")?;
    for late in coordinator.timed_out(now) {
        let decision = coordinator.abort_timed_out(now, &late, &mut fresh);
        carry_out(&mut coordinator, &mut log, decision)??;
    }
    let state = coordinator.describe(&id).map(|view| view.state);
    assert_eq!(state, Some(State::PrepareAbort));
    let decision = coordinator.end_txn(now, &EndTxn { producer: next, ..commit }, &mut fresh);
    let refused = carry_out(&mut coordinator, &mut log, decision)?;
    assert!(matches!(refused, Err(TxnError::ConcurrentTransactions { .. }))); // and fenced once the markers are written
    assert_eq!(log.len(), 6);
    Ok(())
}
