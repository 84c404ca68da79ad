//! What has gone wrong with transactions elsewhere, by a clock that stands still until it is moved.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use hanbeon::{
    Acks, Engine, Enrol, Env as _, ErrorCode, Manual, Millis, Offset, Options, TopicName,
    TopicPartition, TopicRef, TransactionalProduce,
    txn::{
        AddPartitions, EndTxn, InitProducerId, Outcome, Producer, Protocol, State, TransactionalId,
        TwoPhaseCommit,
    },
};
use hanbeon_log::CrashDir;
use support::{in_transaction_at, wait};

const NOW: Millis = Millis::new(1_700_000_000_000);
const DAY_MS: u32 = 24 * 60 * 60 * 1000;

type World = Engine<Manual<CrashDir>>;

/// One that allows two-phase commit.
fn open(env: &Manual<CrashDir>, disk: &CrashDir) -> World {
    let options = Options::broker().set("transaction.state.log.num.partitions", "1").unwrap();
    let options = options.set("transaction.two.phase.commit.enable", "true").unwrap();
    Engine::open_in(env.clone(), disk.clone(), options).unwrap()
}

fn new() -> (Manual<CrashDir>, CrashDir, World) {
    let (env, disk) = (Manual::new(NOW, 7), CrashDir::new());
    let engine = open(&env, &disk);
    (env, disk, engine)
}

/// Lets upkeep do all there is to do.
fn settle(env: &Manual<CrashDir>, engine: &World) {
    for _ in 0..3 {
        env.advance(10_001);
        while engine.maintain(env.now()).unwrap() == 0 {}
    }
}

fn id(name: &str) -> TransactionalId {
    TransactionalId::new(name).unwrap()
}

fn init(engine: &World, name: &str, two_phase_commit: TwoPhaseCommit) -> Producer {
    let request = InitProducerId { two_phase_commit, ..InitProducerId::new(id(name), 60_000) };
    wait(engine.transactions().init_producer_id(request)).unwrap()
}

fn at(topic: &str) -> TopicPartition {
    TopicPartition { topic: TopicName::new(topic).unwrap(), partition: 0 }
}

fn add(engine: &World, name: &str, producer: Producer, topic: &str) -> Result<(), ErrorCode> {
    let (partitions, protocol) = (vec![at(topic)], Protocol::V1);
    let add = AddPartitions { id: id(name), producer, partitions, protocol };
    wait(engine.transactions().add_partitions(add)).map_err(|error| error.code())
}

fn produce(
    engine: &World,
    name: &str,
    producer: Producer,
    (topic, sequence, enrol): (&str, i32, Enrol),
) -> TransactionalProduce<Manual<CrashDir>> {
    let batch = in_transaction_at(engine.now().get(), producer, sequence, &["x"]);
    let batches = vec![(engine.partition(topic, 0).unwrap(), batch)];
    engine.transactions().produce(&id(name), enrol, batches, Acks::All)
}

fn written(produce: TransactionalProduce<Manual<CrashDir>>) -> Result<Offset, ErrorCode> {
    let produced = wait(produce.begun()).into_iter().next().unwrap().wait();
    produced.map(|produced| produced.base_offset).map_err(|error| error.code())
}

fn end(
    engine: &World,
    name: &str,
    producer: Producer,
    (outcome, protocol): (Outcome, Protocol),
) -> Result<Producer, ErrorCode> {
    let end = EndTxn { id: id(name), producer, outcome, protocol };
    wait(engine.transactions().end(end)).map_err(|error| error.code())
}

fn state(engine: &World, name: &str) -> Option<State> {
    engine.transactions().describe(name).unwrap().map(|described| described.state)
}

/// The last stable offset and the end of a log.
fn ends(engine: &World, topic: &str) -> (i64, i64) {
    let partition = engine.partition(topic, 0).unwrap();
    let (stable, end) = (partition.last_stable_offset(), partition.log_end_offset());
    (stable.unwrap().get(), end.unwrap().get())
}

/// P31: an id that was idle for seven days is nobody's, and one with a transaction open is not idle.
#[test]
fn an_idle_id_is_forgotten_for_good_and_an_open_transaction_is_not() {
    let (env, disk, engine) = new();
    engine.ensure_topic("t", 1).unwrap();
    let idle = init(&engine, "idle", TwoPhaseCommit::Off);
    let open_one = init(&engine, "open", TwoPhaseCommit::On);
    written(produce(&engine, "open", open_one, ("t", 0, Enrol::Add))).unwrap();
    env.advance(7 * DAY_MS - 1);
    while engine.maintain(env.now()).unwrap() == 0 {}
    assert_eq!(state(&engine, "idle"), Some(State::Empty), "not yet");
    // Looked for each hour.
    env.advance(3_600_000);
    while engine.maintain(env.now()).unwrap() == 0 {}
    let seen = |engine: &World| (state(engine, "idle"), state(engine, "open"));
    assert_eq!(seen(&engine), (None, Some(State::Ongoing)));
    engine.shutdown().unwrap();
    drop(engine);
    let engine = open(&env, &disk);
    assert_eq!(seen(&engine), (None, Some(State::Ongoing)), "so says the log");
    let refused = end(&engine, "idle", idle, (Outcome::Abort, Protocol::V2));
    assert_eq!(refused, Err(ErrorCode::InvalidProducerIdMapping));
    assert_ne!(init(&engine, "idle", TwoPhaseCommit::Off).id, idle.id);
}

/// P28: a transaction outlives a topic in it, whether or not another has its name by then.
#[test]
fn t4_a_topic_that_is_deleted_in_a_transaction_holds_nobody_up() {
    for made_again in [false, true] {
        let (_env, _disk, engine) = new();
        for topic in ["t", "u"] {
            engine.ensure_topic(topic, 1).unwrap();
        }
        let producer = init(&engine, "tx", TwoPhaseCommit::Off);
        for topic in ["t", "u"] {
            written(produce(&engine, "tx", producer, (topic, 0, Enrol::Add))).unwrap();
        }
        engine.delete_topic(TopicRef::Name("u")).unwrap();
        let gone = add(&engine, "tx", producer, "u");
        assert_eq!(gone, Err(ErrorCode::UnknownTopicOrPartition));
        if made_again {
            engine.ensure_topic("u", 1).unwrap();
        }
        let next = end(&engine, "tx", producer, (Outcome::Commit, Protocol::V2)).unwrap();
        assert_eq!(state(&engine, "tx"), Some(State::CompleteCommit));
        assert_eq!(ends(&engine, "t"), (2, 2));
        let topic = if made_again { "u" } else { "t" };
        written(produce(&engine, "tx", next, (topic, 0, Enrol::Add))).unwrap();
        end(&engine, "tx", next, (Outcome::Commit, Protocol::V2)).unwrap();
        let (stable, end) = ends(&engine, topic);
        assert_eq!(stable, end);
    }
}

/// P1 and P4: the coordinator's word is on its way to the disk when the transaction ends.
#[test]
fn t12_a_batch_that_was_let_in_before_an_abort_is_not_written_behind_it() {
    let (env, disk, engine) = new();
    engine.ensure_topic("t", 1).unwrap();
    let producer = init(&engine, "tx", TwoPhaseCommit::Off);
    add(&engine, "tx", producer, "t").unwrap();
    // What a killed process has enrolled counts once it is synced.
    let killed = disk.killed();
    std::mem::forget(engine);
    let engine = open(&env, &killed);
    let late = produce(&engine, "tx", producer, ("t", 0, Enrol::Verify));
    assert!(matches!(late, TransactionalProduce::Gated(_)), "{late:?}");
    end(&engine, "tx", producer, (Outcome::Abort, Protocol::V1)).unwrap();
    assert_eq!(ends(&engine, "t"), (1, 1));
    assert_eq!(written(late), Err(ErrorCode::InvalidTxnState));
    assert_eq!(ends(&engine, "t"), (1, 1), "nothing is written, nobody is held up");
}

/// KIP-939: what is prepared waits for the outside coordinator through kills and for any length of time.
#[test]
fn t2_a_transaction_of_two_phase_commit_survives_a_kill_and_any_timeout() {
    let (env, disk, engine) = new();
    engine.ensure_topic("t", 1).unwrap();
    let producer = init(&engine, "tx", TwoPhaseCommit::On);
    written(produce(&engine, "tx", producer, ("t", 0, Enrol::Add))).unwrap();
    env.advance(30 * DAY_MS);
    while engine.maintain(env.now()).unwrap() == 0 {}
    let killed = disk.killed();
    std::mem::forget(engine);
    let engine = open(&env, &killed);
    env.advance(20 * DAY_MS);
    settle(&env, &engine);
    assert_eq!((state(&engine, "tx"), ends(&engine, "t")), (Some(State::Ongoing), (0, 1)));
    end(&engine, "tx", producer, (Outcome::Commit, Protocol::V2)).unwrap();
    assert_eq!((state(&engine, "tx"), ends(&engine, "t")), (Some(State::CompleteCommit), (2, 2)));
}
