//! The transaction coordinator on sled, and no log: each transactional id is a row, as compaction would leave it in `__transaction_state`.
use hanbeon_records::{Millis, ProducerId, TopicName, TopicPartition};
use hanbeon_txn::{
    AddPartitions, Coordinator, Decision, EndTxn, InitProducerId, Outcome, Protocol, Settings,
    TransactionalId,
};

type Try<T> = Result<T, Box<dyn std::error::Error>>;

fn open(db: &sled::Db) -> Try<Coordinator> {
    let mut coordinator = Coordinator::new(Settings::kafka_defaults());
    db.iter().try_for_each(|row| -> Try<()> {
        let (key, value) = row?;
        coordinator.replay(&key, Some(&value)).map(drop).map_err(Into::into)
    })?;
    Ok(coordinator)
}

/// Store, flush, apply, answer: in this order, and nothing after an error.
fn carry_out<T>(db: &sled::Db, coordinator: &mut Coordinator, decision: Decision<T>) -> Try<T> {
    if let Some(record) = &decision.record {
        let (key, value) = record.encode(coordinator.settings().value_version)?;
        value.map_or_else(|| db.remove(&key), |value| db.insert(&key, value))?;
        db.flush()?;
        coordinator.apply(record)?;
    }
    Ok(decision.reply?)
}

fn main() -> Try<()> {
    let db = sled::Config::new().temporary(true).open()?;
    let (now, protocol) = (Millis::new(1_700_000_000_000), Protocol::V2);
    let mut fresh = || Some(ProducerId::new(i64::try_from(db.generate_id().ok()?).ok()?));
    let (mut one, id) = (open(&db)?, TransactionalId::new("transfers")?);
    let init = InitProducerId::new(id.clone(), 60_000);
    let decision = one.init_producer_id(now, &init, &mut fresh);
    let producer = carry_out(&db, &mut one, decision)?;
    let partitions = vec![TopicPartition { topic: TopicName::new("ledger")?, partition: 0 }];
    let enrol = AddPartitions { id: id.clone(), producer, partitions, protocol };
    let decision = one.add_partitions(now, &enrol);
    carry_out(&db, &mut one, decision)?;
    let commit = EndTxn { id, producer, outcome: Outcome::Commit, protocol };
    let decision = one.end_txn(now, &commit, &mut fresh);
    carry_out(&db, &mut one, decision)?;
    drop(one); // The next one knows what the tree holds: the commit was decided, and its marker is owed.
    assert_eq!(open(&db)?.owed().count(), 1);
    Ok(())
}
