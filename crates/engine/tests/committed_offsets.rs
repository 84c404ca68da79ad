//! What comes of offsets that were committed: how far a group is behind, and when they are forgotten. By the test's own clock.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use hanbeon::{
    Engine, Env, GroupLag, Lag, Manual, Options, Record,
    group::{Commit, CommitDialect, Fetch, FetchWhat, Membership, Name, NewOffset, Stability},
};
use hanbeon_log::{Isolation, MemDir};
use hanbeon_records::{LeaderEpoch, Millis, Offset, TopicName, TopicPartition};

type World = Engine<Manual<MemDir>>;

const WEEK_MS: u32 = 604_800_000;
/// Between two looks for what is old.
const SWEEP_MS: u32 = 600_000;

fn open(dir: &MemDir) -> (Manual<MemDir>, World) {
    let env = Manual::new(Millis::new(1_700_000_000_000), 7);
    let options = Options::broker().set("offsets.topic.num.partitions", "1").unwrap();
    (env.clone(), Engine::open_in(env, dir.clone(), options).unwrap())
}

fn now<F: Future>(future: F) -> F::Output {
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(output) = pin!(future).poll(&mut cx) else { panic!("nobody is waited for") };
    output
}

fn upkeep(engine: &World) {
    while engine.maintain(engine.now()).unwrap() == 0 {}
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn commit(engine: &World, offsets: &[(i32, i64)]) {
    let offset = |(partition, offset): &(i32, i64)| NewOffset {
        topic: TopicName::new("t").unwrap(),
        topic_id: engine.topic("t").map(|topic| topic.id()),
        partition: *partition,
        offset: Offset::new(*offset),
        leader_epoch: LeaderEpoch::UNKNOWN,
        metadata: "".into(),
    };
    let request = Commit {
        group: name("g"),
        membership: Membership::none(),
        dialect: CommitDialect::Epochs,
        retention_ms: None,
        offsets: offsets.iter().map(offset).collect(),
    };
    let results = now(engine.groups().commit_offsets(request)).unwrap();
    assert!(results.iter().all(Result::is_ok), "{results:?}");
}

fn committed(engine: &World) -> Option<i64> {
    let request = Fetch {
        group: name("g"),
        member: None,
        stability: Stability::NotRequired,
        what: FetchWhat::These(vec![(name("t"), 0)]),
    };
    let fetched = now(engine.groups().fetch_offsets(request)).unwrap().remove(0);
    fetched.committed.map(|committed| committed.offset.get())
}

#[test]
fn the_lag_of_a_group_counts_what_its_reader_will_get() {
    let (_env, engine) = open(&MemDir::new());
    engine.ensure_topic("t", 2).unwrap();
    let send = |values: [&'static str; 2]| values.map(|value| Record::new("t", value).partition(0));
    let mut producer = engine.transactional_producer("ends").unwrap();
    // 0 and 1, a marker at 2.
    let mut transaction = producer.begin();
    for record in send(["a", "b"]) {
        drop(transaction.send(record).unwrap());
    }
    transaction.commit().unwrap();
    // 3 and 4, a marker at 5.
    let mut transaction = producer.begin();
    for record in send(["c", "d"]) {
        drop(transaction.send(record).unwrap());
    }
    transaction.flush().unwrap();
    transaction.abort().unwrap();
    // 6 and 7.
    for record in send(["e", "f"]) {
        engine.producer().send(record).unwrap().wait().unwrap();
    }
    // 8 and 9, and who knows.
    let mut undecided = engine.transactional_producer("open").unwrap();
    let mut transaction = undecided.begin();
    for record in send(["g", "h"]) {
        drop(transaction.send(record).unwrap());
    }
    transaction.flush().unwrap();
    commit(&engine, &[(0, 1), (1, 0)]);

    let told = |isolation| now(engine.group_lag(&name("g"), isolation)).unwrap();
    let of = |partition, committed, lag| GroupLag {
        partition: TopicPartition { topic: TopicName::new("t").unwrap(), partition },
        committed: Offset::new(committed),
        lag,
    };
    let nothing = of(1, 0, Lag::default());
    let lag = Lag { records: 3, offsets: 7, undecided: 2 };
    assert_eq!(told(Isolation::Committed), [of(0, 1, lag), nothing.clone()]);
    let lag = Lag { records: 7, offsets: 9, undecided: 0 };
    assert_eq!(told(Isolation::Uncommitted), [of(0, 1, lag), nothing]);
    transaction.commit().unwrap();
    let lag = Lag { records: 5, offsets: 10, undecided: 0 };
    assert_eq!(told(Isolation::Committed)[0], of(0, 1, lag));
    assert_eq!(now(engine.group_lag(&name("stranger"), Isolation::Committed)).unwrap(), []);
}

#[test]
fn offsets_are_forgotten_when_their_retention_is_over_and_not_before() {
    type Week = fn(&Manual<MemDir>);
    // As it goes by, and as a clock that is set says.
    let weeks: [Week; 2] = [
        |env| env.advance(WEEK_MS - SWEEP_MS),
        |env| env.set_time_of_day(env.now().saturating_add(i64::from(WEEK_MS - SWEEP_MS))),
    ];
    for week in weeks {
        let dir = MemDir::new();
        let (env, engine) = open(&dir);
        engine.ensure_topic("t", 1).unwrap();
        commit(&engine, &[(0, 5)]);
        upkeep(&engine);
        week(&env);
        upkeep(&engine);
        assert_eq!(committed(&engine), Some(5));
        env.advance(SWEEP_MS - 1);
        upkeep(&engine);
        assert_eq!(committed(&engine), Some(5));
        env.advance(SWEEP_MS);
        upkeep(&engine);
        assert_eq!(committed(&engine), None);
        engine.shutdown().unwrap();
        drop(engine);
        let (_env, engine) = open(&dir);
        assert_eq!(committed(&engine), None, "the log says so too");
    }
}
