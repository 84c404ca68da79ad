//! What a power cut leaves where nothing was synced: of each log what it likes. Here it is said of which how much, one case at a time; the sweeps in
//! `transaction_crashes.rs` draw it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    task::{Context, Poll, Waker},
    thread,
};

use hanbeon::{
    Acks, Engine, Enrol, ErrorCode, Manual, Millis, Offset, Options, TopicName,
    TopicPartition,
    txn::{
        AddPartitions, EndTxn, InitProducerId, Outcome, Producer, Protocol, TransactionalId,
    },
};
use hanbeon_log::{Dir as _, FileName, LogFile as _, MemDir, Open};
use hanbeon_records::{BatchRef, ProducerEpoch};
use support::in_transaction_at;

const NOW: Millis = Millis::new(1_700_000_000_000);
const SHARD: &str = "__transaction_state-0";
const LOG: &str = "00000000000000000000.log";

type World = Engine<Manual<MemDir>>;

fn wait<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        thread::yield_now();
    }
}

fn open(dir: &MemDir, options: Options) -> World {
    let options = options.set("transaction.state.log.num.partitions", "1").unwrap();
    Engine::open_in(Manual::new(NOW, 7), dir.clone(), options).unwrap()
}

/// A directory with a topic of two partitions, nothing of which is ever synced.
fn new() -> (MemDir, World) {
    let dir = MemDir::new();
    let engine = open(&dir, Options::broker());
    engine.ensure_topic("t", 2).unwrap();
    (dir, engine)
}

fn name(text: &str) -> FileName {
    FileName::new(text).unwrap()
}

/// Ends an engine and takes away what says that nothing was lost, and of each of these logs all but its first batches.
fn power_cut(engine: World, dir: &MemDir, left: &[(&str, usize)]) {
    engine.shutdown().unwrap();
    drop(engine);
    for file in [
        ".kafka_cleanshutdown",
        "recovery-point-offset-checkpoint",
        "replication-offset-checkpoint",
    ] {
        // Not each of them need be there.
        drop(dir.remove(&name(file)));
    }
    for (partition, batches) in left {
        let partition = dir.dir(&name(partition)).unwrap();
        let log = partition.open(&name(LOG), Open::Read).unwrap();
        let mut bytes = vec![0; usize::try_from(log.len().unwrap()).unwrap()];
        log.read_at(&mut bytes, 0).unwrap();
        let mut rest: &[u8] = &bytes;
        for _ in 0..*batches {
            rest = BatchRef::parse(rest).unwrap().1;
        }
        let len = u64::try_from(bytes.len() - rest.len()).unwrap();
        partition.open(&name(LOG), Open::Write).unwrap().set_len(len).unwrap();
    }
}

/// Lets upkeep do all there is to do.
fn settle(engine: &World) {
    for _ in 0..3 {
        engine.env().advance(10_001);
        while engine.maintain(engine.now()).unwrap() == 0 {}
    }
}

fn id() -> TransactionalId {
    TransactionalId::new("tx").unwrap()
}

fn init(engine: &World) -> Producer {
    wait(engine.transactions().init_producer_id(InitProducerId::new(id(), 60_000))).unwrap()
}

fn end(
    engine: &World,
    producer: Producer,
    outcome: Outcome,
    protocol: Protocol,
) -> Result<Producer, ErrorCode> {
    let end = EndTxn { id: id(), producer, outcome, protocol };
    wait(engine.transactions().end(end)).map_err(|error| error.code())
}

fn write(
    engine: &World,
    producer: Producer,
    (partition, sequence, value): (i32, i32, &str),
    protocol: Protocol,
) -> Result<Offset, ErrorCode> {
    let enrol = match protocol {
        Protocol::V1 => {
            let at = TopicPartition { topic: TopicName::new("t").unwrap(), partition };
            let add = AddPartitions { id: id(), producer, partitions: vec![at], protocol };
            wait(engine.transactions().add_partitions(add)).map_err(|error| error.code())?;
            Enrol::Verify
        }
        Protocol::V2 => Enrol::Add,
    };
    let batch = in_transaction_at(NOW.get(), producer, sequence, &[value]);
    let batches = vec![(engine.partition("t", partition).unwrap(), batch)];
    let begun = wait(engine.transactions().produce(&id(), enrol, batches, Acks::All).begun());
    let produced = begun.into_iter().next().unwrap().wait();
    produced.map(|produced| produced.base_offset).map_err(|error| error.code())
}

/// What readers of committed data get, and where they stand at its end.
fn committed(engine: &World, partition: i32) -> (Vec<String>, i64) {
    let mut consumer = engine.consumer();
    consumer.assign("t", partition).unwrap();
    let mut values = Vec::new();
    loop {
        let received = consumer.poll().unwrap();
        if received.is_empty() {
            let stable = engine.partition("t", partition).unwrap().last_stable_offset().unwrap();
            return (values, stable.get());
        }
        let value = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
        values.extend(received.iter().filter_map(|one| one.value.as_deref().map(value)));
    }
}

fn values(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

const fn next(producer: Producer) -> Producer {
    Producer { epoch: ProducerEpoch::new(producer.epoch.get() + 1), ..producer }
}

/// The coordinator has lost that the epoch was given, and a partition knows a sequence of it.
#[test]
fn t3_an_epoch_in_doubt_is_so_after_a_shutdown_as_well() {
    let (dir, engine) = new();
    let first = init(&engine);
    let lost = init(&engine);
    assert_eq!(lost, next(first));
    write(&engine, lost, (0, 0, "a"), Protocol::V1).unwrap();
    end(&engine, lost, Outcome::Commit, Protocol::V1).unwrap();
    power_cut(engine, &dir, &[(SHARD, 1)]);

    let engine = open(&dir, Options::broker());
    settle(&engine);
    engine.shutdown().unwrap();
    drop(engine);
    let engine = open(&dir, Options::broker());
    let fresh = init(&engine);
    assert_ne!(fresh.id, first.id);
    write(&engine, fresh, (0, 0, "b"), Protocol::V1).unwrap();
    end(&engine, fresh, Outcome::Commit, Protocol::V1).unwrap();
    assert_eq!(committed(&engine, 0), (values(&["a", "b"]), 4));
    assert_eq!(init(&engine), next(fresh), "ids that were given since are not in doubt");
}
