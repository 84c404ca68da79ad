//! What a shutdown says to those who wait for records: that they are in the log where they are, so that nobody sends them again.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

use hanbeon::{
    Acks, ClientError, Delivery, Engine, Manual, Millis, Offset, Options, PartitionError, Produce,
    ProduceError, ProduceFuture, ProducerSettings, Record,
};
use hanbeon_log::{CrashDir, Fault, FaultKind, Lasting};
use support::{batch, values};

/// With helpers and without.
fn ways() -> [Options; 2] {
    [Options::embedded(), Options::embedded().helpers(1)]
}

fn open(options: Options) -> (tempfile::TempDir, Engine) {
    let home = tempfile::tempdir().unwrap();
    let engine = Engine::open_with(home.path(), options).unwrap();
    engine.ensure_topic("t", 1).unwrap();
    (home, engine)
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn written(engine: &Engine) -> ProduceFuture {
    match engine.partition("t", 0).unwrap().produce(batch(&["x"]), Acks::All) {
        Produce::Waiting(future) => future,
        Produce::Done(answer) => panic!("not synced yet: {answer:?}"),
    }
}

/// What is in the log.
fn stored(home: &tempfile::TempDir) -> Vec<String> {
    let engine = Engine::open(home.path()).unwrap();
    let fetched = engine.partition("t", 0).unwrap().fetch(&hanbeon::FetchSpec::from(Offset::ZERO));
    values(&fetched.unwrap().records)
}

#[test]
fn l1_a_batch_that_was_written_before_a_shutdown_is_acknowledged_behind_it() {
    for options in ways() {
        let (home, engine) = open(options);
        let mut sent: Vec<_> = (0..3).map(|_| written(&engine)).collect();
        // As far as a task gets that nobody polls again.
        let mut first = poll(&mut sent[0]);
        engine.shutdown().unwrap();
        if first.is_pending() {
            first = poll(&mut sent[0]);
        }
        let Poll::Ready(first) = first else { panic!("a closed log has an answer") };
        assert_eq!(first.unwrap().base_offset, Offset::ZERO);
        let Poll::Ready(second) = poll(&mut sent[1]) else { panic!("a closed log has an answer") };
        assert_eq!(second.unwrap().base_offset, Offset::new(1));
        let third = sent.pop().unwrap();
        assert_eq!(third.wait().unwrap().base_offset, Offset::new(2));
        drop(engine);
        assert_eq!(stored(&home), ["x"; 3]);
    }
}

#[test]
fn l1_a_producer_knows_behind_a_shutdown_what_is_in_the_log_and_what_is_not() {
    for options in ways() {
        let (home, engine) = open(options);
        // Two records fill a batch.
        let settings = ProducerSettings::new().set("batch.size", "162").unwrap();
        let producer = engine.producer_with(settings);
        let send = |value: &str| producer.send(Record::new("t", value.repeat(60))).unwrap();
        let (full, gathering) = ([send("a"), send("b")], send("c"));
        engine.shutdown().unwrap();
        for (delivery, offset) in full.into_iter().zip(0..) {
            assert_eq!(delivery.wait().unwrap().offset, Offset::new(offset));
        }
        assert!(is_closed(gathering), "it was written by nobody");
        drop((producer, engine));
        assert_eq!(stored(&home), ["a".repeat(60), "b".repeat(60)]);
    }
}

/// Whether it was refused because the partition is closed, which means that it is not in the log.
fn is_closed(delivery: Delivery) -> bool {
    matches!(
        delivery.wait(),
        Err(ClientError::Produce(ProduceError::Partition(PartitionError::Closed)))
    )
}

#[test]
fn l1_a_flush_behind_a_shutdown_answers_for_what_was_written() {
    for options in ways() {
        let (home, engine) = open(options);
        let settings = ProducerSettings::new().set("batch.size", "1").unwrap();
        let producer = engine.producer_with(settings);
        for _ in 0..3 {
            drop(producer.send(Record::new("t", "x")).unwrap());
        }
        engine.shutdown().unwrap();
        producer.flush().unwrap();
        drop((producer, engine));
        assert_eq!(stored(&home), ["x"; 3]);
    }
}

#[test]
fn l9_a_shutdown_whose_sync_fails_acknowledges_nothing() {
    let disk = CrashDir::new();
    let env = Manual::new(Millis::new(1_700_000_000_000), 7);
    let engine = Engine::open_in(env, disk.clone(), Options::embedded()).unwrap();
    engine.ensure_topic("t", 1).unwrap();
    let partition = engine.partition("t", 0).unwrap();
    let record = support::batch_at(1_700_000_000_000, &["x"]);
    let waiting = partition.produce(record, Acks::All);
    disk.inject(Fault { kind: FaultKind::Sync, after: 0, lasting: Lasting::Sticky });
    assert!(engine.shutdown().is_err());
    let refused = waiting.wait().unwrap_err();
    assert!(matches!(refused, ProduceError::Log(_)), "{refused:?}");
}
