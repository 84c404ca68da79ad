//! Where records without a key go: to one partition for `batch.size` bytes, then to another, however their batches end (KIP-794).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use hanbeon::{Engine, Manual, Millis, Options, ProducerSettings, Record};
use hanbeon_log::MemDir;

const PARTITIONS: i32 = 8;
const RECORDS: usize = 1_000;
/// Of a record with this many bytes 512 stay together: 21 are reckoned for its form.
const VALUE: usize = 11;

type World = Engine<Manual<MemDir>>;

fn open() -> World {
    let env = Manual::new(Millis::new(1_700_000_000_000), 7);
    let options = Options::broker().set("transaction.state.log.num.partitions", "1").unwrap();
    let engine = Engine::open_in(env, MemDir::new(), options).unwrap();
    engine.ensure_topic("t", PARTITIONS).unwrap();
    engine
}

fn record() -> Record {
    Record::new("t", vec![b'x'; VALUE])
}

/// The lengths of the runs that stay on one partition. Two in a row may be on the same.
fn runs(partitions: &[i32]) -> Vec<usize> {
    partitions.chunk_by(|a, b| a == b).map(<[i32]>::len).collect()
}

fn waited_for(engine: &World) -> Vec<i32> {
    let producer = engine.producer();
    let send = |_| producer.send(record()).unwrap().wait().unwrap().partition;
    (0..RECORDS).map(send).collect()
}

#[test]
fn records_that_are_waited_for_one_by_one_change_their_partition_at_batch_size() {
    let partitions = waited_for(&open());
    let runs = runs(&partitions);
    assert!(runs.len() > 1, "all on partition {}", partitions[0]);
    assert_eq!(runs[0], 512);
    assert_eq!(waited_for(&open()), partitions, "the same again with the same chance");
}

#[test]
fn records_that_are_flushed_change_their_partition_at_batch_size() {
    let engine = open();
    let settings = ProducerSettings::new().set("batch.size", "320").unwrap();
    let producer = engine.producer_with(settings);
    let mut partitions = Vec::new();
    for _ in 0..RECORDS / 4 {
        let sent: Vec<_> = (0..4).map(|_| producer.send(record()).unwrap()).collect();
        producer.flush().unwrap();
        partitions.extend(sent.into_iter().map(|delivery| delivery.wait().unwrap().partition));
    }
    let runs = runs(&partitions);
    assert!(runs.iter().all(|run| run % 10 == 0), "{runs:?}");
    assert!(runs.len() > RECORDS / 20, "{runs:?}");
}

#[test]
fn small_transactions_change_their_partition_at_batch_size() {
    let engine = open();
    let mut producer = engine.transactional_producer("tx").unwrap();
    for _ in 0..RECORDS {
        let mut transaction = producer.begin();
        drop(transaction.send(record()).unwrap());
        transaction.commit().unwrap();
    }
    let used =
        |number: &i32| engine.partition("t", *number).unwrap().log_end_offset().unwrap().get() > 0;
    assert!((0..PARTITIONS).filter(used).count() > 1, "all on one");
}
