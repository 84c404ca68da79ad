//! The transaction coordinator on sled, and no log: each transactional id is a row, as compaction would leave it in `__transaction_state`.
use std::fs::File;

use hanbeon_records::{Millis, ProducerId, TopicName, TopicPartition};
use hanbeon_txn::{self as txn, Coordinator, Decision, Outcome, Protocol, TransactionalId};

type Try<T> = Result<T, Box<dyn std::error::Error>>;

/// Store, sync (sled's flush alone stops at the page cache), apply, answer: in this order, and nothing after an error.
fn take<T>(made: Decision<T>, one: &mut Coordinator, (db, data): &(sled::Db, File)) -> Try<T> {
    if let Some(record) = &made.record {
        let (key, value) = record.encode(one.settings().value_version)?;
        value.map_or_else(|| db.remove(&key), |value| db.insert(&key, value))?;
        db.flush()?;
        data.sync_data()?;
        one.apply(record)?;
    }
    Ok(made.reply?)
}

fn main() -> Try<()> {
    let dir = tempfile::tempdir()?;
    // In smaller segments sled would move pages to files of their own, which nobody syncs.
    let db = sled::Config::new().path(&dir).segment_size(16 << 20).open()?;
    let store = (db.clone(), File::open(dir.path().join("db"))?);
    let mut one = Coordinator::new(txn::Settings::kafka_defaults());
    for (key, value) in db.iter().collect::<Result<Vec<_>, _>>()? {
        one.replay(&key, Some(&value))?;
    }
    let (now, protocol) = (Millis::new(1_700_000_000_000), Protocol::V2);
    let mut fresh = || Some(ProducerId::new(i64::try_from(db.generate_id().ok()?).ok()?));
    let init = txn::InitProducerId::new(TransactionalId::new("transfers")?, 60_000);
    let producer = take(one.init_producer_id(now, &init, &mut fresh), &mut one, &store)?;
    let partitions = vec![TopicPartition { topic: TopicName::new("ledger")?, partition: 0 }];
    let enrol = txn::AddPartitions { id: init.id.clone(), producer, partitions, protocol };
    take(one.add_partitions(now, &enrol), &mut one, &store)?;
    let commit = txn::EndTxn { id: init.id, producer, outcome: Outcome::Commit, protocol };
    take(one.end_txn(now, &commit, &mut fresh), &mut one, &store).map(drop)
}
