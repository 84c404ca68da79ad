//! An engine whose clock and disk are the test's, and what is looked at in it.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use hanbeon::{
    ClientError, Engine, ErrorCode, GroupConsumer, Manual, Millis, Options, Received, Record,
    TransactionalProducer,
    group::{Fetch, FetchWhat, Name, Stability},
};
use hanbeon_log::CrashDir;

pub(crate) type World = Manual<CrashDir>;

pub(crate) const SESSION_MS: u32 = 45_000;

/// Opens it with two topics, `in` and `out`.
pub(crate) fn open_on(disk: &CrashDir, now: i64, options: Options) -> (World, Engine<World>) {
    let env = Manual::new(Millis::new(now), u64::try_from(now).unwrap());
    let options = options.set("transaction.state.log.num.partitions", "1").unwrap();
    let options = options.set("offsets.topic.num.partitions", "2").unwrap();
    let engine = Engine::open_in(env.clone(), disk.clone(), options).unwrap();
    engine.ensure_topic("in", 4).unwrap();
    engine.ensure_topic("out", 1).unwrap();
    (env, engine)
}

pub(crate) fn open() -> (World, Engine<World>) {
    open_on(&CrashDir::new(), 1_700_000_000_000, Options::embedded())
}

pub(crate) fn produce(engine: &Engine<World>, numbers: std::ops::Range<u32>) {
    let producer = engine.producer();
    for number in numbers {
        let partition = i32::try_from(number % 4).unwrap();
        drop(producer.send(Record::new("in", number.to_string()).partition(partition)).unwrap());
    }
    producer.flush().unwrap();
}

pub(crate) fn member(engine: &Engine<World>) -> GroupConsumer<World> {
    engine.group_consumer("g").subscribe(["in"]).unwrap()
}

pub(crate) fn numbers(received: &[Received]) -> Vec<u32> {
    let number = |record: &Received| {
        std::str::from_utf8(record.value.as_ref().unwrap()).unwrap().parse().unwrap()
    };
    let mut numbers: Vec<u32> = received.iter().map(number).collect();
    numbers.sort_unstable();
    numbers
}

pub(crate) fn poll(consumer: &mut GroupConsumer<World>) -> Vec<u32> {
    numbers(&consumer.poll().unwrap())
}

pub(crate) fn partitions(consumer: &GroupConsumer<World>) -> Vec<i32> {
    consumer.assignment().iter().map(|name| name.partition).collect()
}

/// What the group has for a partition of `in`.
pub(crate) fn committed(engine: &Engine<World>, partition: i32) -> Option<i64> {
    let fetch = Fetch {
        group: Name::new("g").unwrap(),
        member: None,
        stability: Stability::NotRequired,
        what: FetchWhat::These(vec![(Name::new("in").unwrap(), partition)]),
    };
    let mut fetched = pin!(engine.groups().fetch_offsets(fetch));
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(found) = fetched.as_mut().poll(&mut cx) else { panic!("nobody is waited for") };
    Some(found.unwrap().pop().unwrap().committed?.offset.get())
}

pub(crate) fn all_committed(engine: &Engine<World>) -> Vec<Option<i64>> {
    (0..4).map(|partition| committed(engine, partition)).collect()
}

/// What readers of committed data find in `out`.
pub(crate) fn output(engine: &Engine<World>) -> Vec<u32> {
    let mut consumer = engine.consumer();
    consumer.assign_all("out").unwrap();
    let mut found = Vec::new();
    loop {
        let received = consumer.poll().unwrap();
        if received.is_empty() {
            return numbers(&found);
        }
        found.extend(received);
    }
}

pub(crate) fn upkeep(engine: &Engine<World>) {
    while engine.maintain(engine.now()).unwrap() == 0 {}
}

/// Sends what was received on, and the positions with it.
pub(crate) fn copy<'p>(
    producer: &'p mut TransactionalProducer<World>,
    received: &[Received],
) -> hanbeon::Transaction<'p, World> {
    let mut transaction = producer.begin();
    for record in received {
        transaction.send(Record::new("out", record.value.clone().unwrap())).unwrap();
    }
    transaction
}

pub(crate) fn fenced(error: &ClientError) -> ErrorCode {
    let ClientError::MemberFenced { group, reason, .. } = error else { panic!("{error:?}") };
    assert_eq!(group, "g");
    reason.code()
}
