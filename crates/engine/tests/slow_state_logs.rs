//! Coordinators whose log is slow: while it is read, and while it is written.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "somebody else changes the features")]

mod support;

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use hanbeon::{
    ClientError, ConfigChange, ConfigOp, DurableFuture, Engine, Enrolment, Feature, FeatureUpdate,
    GroupsError, InTransaction, LevelChange, Manual, MemoryStateLogs, Mode, Options,
    PartitionError, ProduceError, Record, StateEntry, StateLog, StateLogs, StateRecord, TopicRef,
    Written,
    group::{
        Commit, CommitDialect, Fetch, FetchWhat, GroupError, Membership, Name, NewOffset,
        Stability,
        consumer::{Heartbeat, HeartbeatReply, Partitions},
    },
    txn::{AddPartitions, InitProducerId, Protocol, TransactionalId, TxnValue, ValueVersion},
};
use hanbeon_idempotence::{MarkerClaim, MarkerProtocol};
use hanbeon_log::{Dir as _, FileName, MemDir, Open};
use hanbeon_records::{
    CoordinatorEpoch, ErrorCode, LeaderEpoch, Millis, Offset, ProducerEpoch, ProducerId, TopicName,
    TopicPartition,
};
use support::wait;

type World = Engine<Manual<MemDir>>;

/// What happens while a log works.
#[derive(Default)]
struct Hooks {
    on_replay: Mutex<Option<Box<dyn Fn() + Send>>>,
    /// How often a log was read, and whether it reads at all.
    replays: AtomicUsize,
    unreadable: AtomicBool,
    /// Once, inside the next write.
    on_append: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    /// How the last value was written.
    version: Mutex<Option<ValueVersion>>,
    /// Whether no marker is taken.
    full: AtomicBool,
    /// Whether nothing becomes durable, and how often somebody waited for that.
    stuck: AtomicBool,
    awaited: AtomicUsize,
}

impl Hooks {
    fn is_stuck(&self) -> bool {
        self.stuck.load(Ordering::SeqCst)
    }
}

#[derive(Clone)]
struct Watched {
    logs: MemoryStateLogs,
    hooks: Arc<Hooks>,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watched")
    }
}

impl Watched {
    fn new() -> Self {
        Self { logs: MemoryStateLogs::new(1), hooks: Arc::default() }
    }
}

impl StateLogs for Watched {
    fn count(&self, topic: &TopicName, wanted: i32) -> Result<i32, ProduceError> {
        self.logs.count(topic, wanted)
    }

    fn open(&self, partition: &TopicPartition) -> Result<Arc<dyn StateLog>, ProduceError> {
        let hooks = Arc::clone(&self.hooks);
        Ok(Arc::new(WatchedLog { log: self.logs.open(partition)?, hooks }))
    }
}

struct WatchedLog {
    log: Arc<dyn StateLog>,
    hooks: Arc<Hooks>,
}

impl fmt::Debug for WatchedLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.log.fmt(f)
    }
}

impl StateLog for WatchedLog {
    fn epoch(&self) -> Result<CoordinatorEpoch, ProduceError> {
        self.log.epoch()
    }

    fn replay(&self, visit: &mut dyn FnMut(StateEntry<'_>)) -> Result<Offset, ProduceError> {
        if let Some(hook) = &*self.hooks.on_replay.lock().unwrap() {
            hook();
        }
        self.hooks.replays.fetch_add(1, Ordering::Relaxed);
        if self.hooks.unreadable.load(Ordering::Relaxed) {
            return Err(PartitionError::Closed.into());
        }
        self.log.replay(visit)
    }

    fn append(
        &self,
        now: Millis,
        records: &[StateRecord<'_>],
        transaction: Option<InTransaction>,
    ) -> Result<Written, ProduceError> {
        // Let go of before it is called: it may panic.
        let hook = self.hooks.on_append.lock().unwrap().take();
        if let Some(hook) = hook {
            hook();
        }
        let value = records.iter().find_map(|record| record.value);
        if let Some(Ok((_, version))) = value.map(TxnValue::decode) {
            *self.hooks.version.lock().unwrap() = Some(version);
        }
        self.log.append(now, records, transaction)
    }

    fn begin_transaction(
        &self,
        producer: (ProducerId, ProducerEpoch),
        protocol: MarkerProtocol,
    ) -> Result<Enrolment, ProduceError> {
        self.log.begin_transaction(producer, protocol)
    }

    fn append_marker(&self, claim: MarkerClaim) -> Result<Written, ProduceError> {
        if self.hooks.full.load(Ordering::Relaxed) {
            return Err(PartitionError::Closed.into());
        }
        self.log.append_marker(claim)
    }

    fn is_synced(&self) -> bool {
        self.hooks.is_stuck() || self.log.is_synced()
    }

    fn is_durable(&self, end: Offset) -> bool {
        !self.hooks.is_stuck() && self.log.is_durable(end)
    }

    fn durable_to(&self, end: Offset) -> DurableFuture {
        if self.hooks.is_stuck() {
            self.hooks.awaited.fetch_add(1, Ordering::SeqCst);
            return Box::pin(std::future::pending());
        }
        self.log.durable_to(end)
    }
}

fn env() -> Manual<MemDir> {
    Manual::new(Millis::new(1_700_000_000_000), 7)
}

fn open(env: &Manual<MemDir>, dir: &MemDir, logs: &Watched) -> World {
    let options = Options::broker().state_logs(logs.clone());
    Engine::open_in(env.clone(), dir.clone(), options).unwrap()
}

fn speak(engine: &World, member_epoch: i32) -> Result<HeartbeatReply, GroupsError> {
    let heartbeat = Heartbeat {
        version: 1,
        member_id: "member".to_owned(),
        member_epoch,
        instance_id: None,
        rack_id: None,
        rebalance_timeout_ms: 60_000,
        subscribed_topic_names: Some(vec!["in".to_owned()]),
        subscribed_topic_regex: None,
        server_assignor: None,
        owned: Some(Partitions::new()),
        client_id: "c".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
    };
    wait(engine.groups().consumer_heartbeat(Name::new("g").unwrap(), heartbeat))
}

#[test]
fn c4_sessions_begin_when_the_log_is_read_however_long_that_takes() {
    let (env, dir, logs) = (env(), MemDir::new(), Watched::new());
    let engine = open(&env, &dir, &logs);
    let joined = speak(&engine, 0).unwrap();
    engine.shutdown().unwrap();
    drop(engine);

    let clock = env.clone();
    // Longer than the session of 45 seconds, for each of the logs.
    *logs.hooks.on_replay.lock().unwrap() = Some(Box::new(move || clock.advance(60_000)));
    let engine = open(&env, &dir, &logs);
    engine.groups().load("g").unwrap();
    *logs.hooks.on_replay.lock().unwrap() = None;
    while engine.maintain(hanbeon::Env::now(&env)).unwrap() == 0 {}
    assert!(speak(&engine, joined.member_epoch).is_ok(), "its session begins with the loading");
}

#[test]
fn c4_sessions_that_begin_with_the_reading_last_as_long_as_their_group_says() {
    let (env, dir, logs) = (env(), MemDir::new(), Watched::new());
    let engine = open(&env, &dir, &logs);
    let key = "consumer.session.timeout.ms".to_owned();
    let longer = ConfigChange { key, op: ConfigOp::Set("60000".to_owned()) };
    engine.alter_group_config("g", &[longer], Mode::Apply).unwrap();
    let joined = speak(&engine, 0).unwrap();
    engine.shutdown().unwrap();
    drop(engine);
    let engine = open(&env, &dir, &logs);
    engine.groups().load("g").unwrap();
    // Longer than a session of 45 seconds, which the broker gives to others.
    env.advance(59_000);
    while engine.maintain(hanbeon::Env::now(&env)).unwrap() == 0 {}
    assert!(speak(&engine, joined.member_epoch).is_ok());
}

/// Who asks first waits until the log is read, and then knows the topics of then.
#[test]
fn a_group_knows_the_topics_of_the_moment_and_not_those_of_who_asked() {
    let (env, dir, logs) = (env(), MemDir::new(), Watched::new());
    let engine = open(&env, &dir, &logs);
    let other = engine.clone();
    *logs.hooks.on_replay.lock().unwrap() =
        Some(Box::new(move || other.ensure_topic("in", 1).map(drop).unwrap()));
    let joined = speak(&engine, 0).unwrap();
    *logs.hooks.on_replay.lock().unwrap() = None;
    assert_eq!(joined.assignment.map(|all| all.len()), Some(1));
}

/// Whatever becomes of the record: nobody is to wait for it for ever, and the group goes on.
#[test]
fn a_log_that_panics_leaves_no_group_locked() {
    let (env, dir, logs) = (env(), MemDir::new(), Watched::new());
    let engine = open(&env, &dir, &logs);
    engine.ensure_topic("in", 1).unwrap();
    engine.groups().load("g").unwrap();
    *logs.hooks.on_append.lock().unwrap() = Some(Box::new(|| panic!("planted")));
    assert!(speak(&engine, 0).is_err());
    assert!(speak(&engine, 0).is_ok());
}

#[test]
fn a_feature_that_changes_while_a_log_is_written_counts_from_then_on() {
    let (env, dir, logs) = (env(), MemDir::new(), Watched::new());
    let engine = open(&env, &dir, &logs);
    let id = TransactionalId::new("t").unwrap();
    let version = |engine: &World| {
        let init = InitProducerId::new(id.clone(), 60_000);
        wait(engine.transactions().init_producer_id(init)).unwrap();
        logs.hooks.version.lock().unwrap().take().unwrap()
    };
    assert_eq!(version(&engine), ValueVersion::V1);
    let changing = Arc::new(Mutex::new(None));
    let (other, changed) = (engine.clone(), Arc::clone(&changing));
    *logs.hooks.on_append.lock().unwrap() = Some(Box::new(move || {
        let (seen, changer) = (other.clone(), other);
        let thread = thread::spawn(move || {
            let change = LevelChange::SafeDowngrade;
            let lower = FeatureUpdate { feature: "transaction.version", level: 0, change };
            changer.update_features(&[lower], Mode::Apply).unwrap();
        });
        while seen.features().level(Feature::TransactionVersion) != 0 {
            thread::yield_now();
        }
        // It may wait for this write, or pass by it; not long enough to see which is a pass.
        for _ in 0..100_000 {
            if thread.is_finished() {
                break;
            }
            thread::yield_now();
        }
        *changed.lock().unwrap() = Some(thread);
    }));
    version(&engine);
    changing.lock().unwrap().take().unwrap().join().unwrap();
    assert_eq!(version(&engine), ValueVersion::V0);
}

/// A deletion forgets offsets by the name of the topic, so that nobody may have the name meanwhile.
#[test]
fn c1_a_deletion_takes_nothing_of_a_topic_that_is_made_while_its_offsets_are_forgotten() {
    let (env, dir, logs) = (env(), MemDir::new(), Watched::new());
    let engine = open(&env, &dir, &logs);
    let shard = |group: &str| engine.groups().partition_of(group).unwrap().partition;
    let on = |wanted| (0..).map(|n| format!("g{n}")).find(|group| shard(group) == wanted).unwrap();
    let (first, second) = (on(0), on(1));
    engine.ensure_topic("t", 1).unwrap();
    commit(&engine, &first, 90);
    let other = engine.clone();
    let group = second.clone();
    let late = Arc::new(Mutex::new(None));
    let thread = Arc::clone(&late);
    // While the first of them is being forgotten.
    *logs.hooks.on_append.lock().unwrap() = Some(Box::new(move || {
        let other = thread::spawn(move || {
            other.ensure_topic("t", 1).unwrap();
            commit(&other, &group, 5);
        });
        // It may wait for this deletion, or pass by it; not long enough to see which is a pass.
        for _ in 0..100_000 {
            if other.is_finished() {
                break;
            }
            thread::yield_now();
        }
        *thread.lock().unwrap() = Some(other);
    }));
    engine.delete_topic(TopicRef::Name("t")).unwrap();
    late.lock().unwrap().take().unwrap().join().unwrap();
    assert_eq!(committed(&engine, &second), Some(5), "what was acknowledged for the later topic");
    assert_eq!(committed(&engine, &first), None);
}

/// Whoever looked a topic up before it was deleted commits nothing of it afterwards.
#[test]
fn c1_a_commit_that_was_on_its_way_is_refused() {
    let (env, dir, logs) = (env(), MemDir::new(), Watched::new());
    let engine = open(&env, &dir, &logs);
    engine.ensure_topic("t", 1).unwrap();
    let on_its_way = request(&engine, "g", 90);
    engine.delete_topic(TopicRef::Name("t")).unwrap();
    let results = wait(engine.groups().commit_offsets(on_its_way.clone())).unwrap();
    let code =
        |result: &Result<(), GroupError>| result.as_ref().map(drop).map_err(GroupError::code);
    assert_eq!(
        results.iter().map(code).collect::<Vec<_>>(),
        [Err(ErrorCode::UnknownTopicOrPartition)]
    );
    engine.ensure_topic("t", 1).unwrap();
    let results = wait(engine.groups().commit_offsets(on_its_way)).unwrap();
    assert_eq!(
        results.iter().map(code).collect::<Vec<_>>(),
        [Err(ErrorCode::UnknownTopicOrPartition)]
    );
    assert_eq!(committed(&engine, "g"), None);
}

/// A member read the topic, and before the first word of its transaction is heard another has the name.
#[test]
fn c1_positions_in_a_transaction_are_of_the_topic_that_was_read() {
    let (env, dir, logs) = (env(), MemDir::new(), Watched::new());
    let engine = open(&env, &dir, &logs);
    let produce = |values: std::ops::Range<u32>| {
        for value in values {
            engine.producer().send(Record::new("t", value.to_string())).unwrap().wait().unwrap();
        }
    };
    engine.ensure_topic("t", 1).unwrap();
    engine.ensure_topic("u", 1).unwrap();
    produce(0..2);
    let mut consumer = engine.group_consumer("g").subscribe(["t"]).unwrap();
    assert_eq!(consumer.poll().unwrap().len(), 2);
    // Its last transaction lacks a marker, so that the next begins with more than a word.
    let mut producer = engine.transactional_producer("tx").unwrap();
    let mut transaction = producer.begin();
    let of_u = TopicPartition { topic: TopicName::new("u").unwrap(), partition: 0 };
    transaction.send_offsets("other", &[(of_u, Offset::new(1))]).unwrap();
    logs.hooks.full.store(true, Ordering::Relaxed);
    assert_eq!(transaction.commit().unwrap().lacking.len(), 1);
    logs.hooks.full.store(false, Ordering::Relaxed);
    let other = engine.clone();
    *logs.hooks.on_append.lock().unwrap() = Some(Box::new(move || {
        other.delete_topic(TopicRef::Name("t")).unwrap();
        other.ensure_topic("t", 1).unwrap();
    }));
    let mut transaction = producer.begin();
    let refused = transaction.send_positions(&mut consumer).unwrap_err();
    let ClientError::Groups(reason) = &refused else { panic!("{refused:?}") };
    assert_eq!(reason.code(), ErrorCode::UnknownTopicOrPartition);
    assert!(logs.hooks.on_append.lock().unwrap().is_none(), "the topic is another");
    assert!(transaction.commit().is_err());
    assert_eq!(committed(&engine, "g"), None);
    drop(consumer);
    produce(2..6);
    env.advance(1_000);
    let mut consumer = engine.group_consumer("g").subscribe(["t"]).unwrap();
    assert_eq!(consumer.poll().unwrap().len(), 4);
}

fn request(engine: &World, group: &str, offset: i64) -> Commit {
    let offset = NewOffset {
        topic: TopicName::new("t").unwrap(),
        topic_id: engine.topic("t").map(|topic| topic.id()),
        partition: 0,
        offset: Offset::new(offset),
        leader_epoch: LeaderEpoch::UNKNOWN,
        metadata: "".into(),
    };
    Commit {
        group: Name::new(group).unwrap(),
        membership: Membership::none(),
        dialect: CommitDialect::Epochs,
        retention_ms: None,
        offsets: vec![offset],
    }
}

fn commit(engine: &World, group: &str, offset: i64) {
    let results = wait(engine.groups().commit_offsets(request(engine, group, offset)));
    assert_eq!(results.unwrap(), [Ok(())]);
}

fn committed(engine: &World, group: &str) -> Option<i64> {
    let fetch = Fetch {
        group: Name::new(group).unwrap(),
        member: None,
        stability: Stability::NotRequired,
        what: FetchWhat::These(vec![(Name::new("t").unwrap(), 0)]),
    };
    let fetched = wait(engine.groups().fetch_offsets(fetch)).unwrap().remove(0);
    fetched.committed.map(|committed| committed.offset.get())
}

/// Deletes the topic; once it is through, or waits for a log, which of both.
fn delete_beside(engine: &World, logs: &Watched) -> (thread::JoinHandle<bool>, bool) {
    let other = engine.clone();
    let deletion = thread::spawn(move || other.delete_topic(TopicRef::Name("t")).is_ok());
    let waits = || logs.hooks.awaited.load(Ordering::SeqCst) > 0;
    while !waits() && !deletion.is_finished() {
        thread::yield_now();
    }
    (deletion, waits())
}

/// It holds up everybody who changes topics.
#[test]
fn a_deletion_waits_for_no_log_to_which_it_has_written_nothing() {
    let (env, dir, logs) = (env(), MemDir::new(), Watched::new());
    let engine = open(&env, &dir, &logs);
    engine.ensure_topic("t", 1).unwrap();
    engine.ensure_topic("u", 1).unwrap();
    let of_u = NewOffset {
        topic: TopicName::new("u").unwrap(),
        topic_id: engine.topic("u").map(|topic| topic.id()),
        ..request(&engine, "g", 5).offsets.remove(0)
    };
    let of_u = Commit { offsets: vec![of_u], ..request(&engine, "g", 5) };
    wait(engine.groups().commit_offsets(of_u)).unwrap();
    logs.hooks.stuck.store(true, Ordering::SeqCst);
    let (deletion, waits) = delete_beside(&engine, &logs);
    assert!(!waits, "nobody committed for it");
    assert!(deletion.join().unwrap());
}

#[test]
fn a_deletion_waits_for_tombstones_no_longer_than_its_patience_or_the_engine_lasts() {
    type End = fn(&Manual<MemDir>, &World);
    let ends: [End; 2] = [|env, _| env.advance(5_000), |_, engine| engine.shutdown().unwrap()];
    for end in ends {
        let (env, dir, logs) = (env(), MemDir::new(), Watched::new());
        let engine = open(&env, &dir, &logs);
        engine.ensure_topic("t", 1).unwrap();
        commit(&engine, "g", 90);
        logs.hooks.stuck.store(true, Ordering::SeqCst);
        let (deletion, waits) = delete_beside(&engine, &logs);
        assert!(waits, "its tombstone is not durable");
        end(&env, &engine);
        assert!(deletion.join().unwrap(), "the topic is gone");
    }
}

/// It holds up nobody but who looks after the engine, and them until it ends.
#[test]
fn a_shutdown_waits_for_no_upkeep_that_waits_for_a_log() {
    let (env, dir, logs) = (env(), MemDir::new(), Watched::new());
    let engine = open(&env, &dir, &logs);
    engine.ensure_topic("t", 1).unwrap();
    let id = TransactionalId::new("x").unwrap();
    let init = InitProducerId::new(id.clone(), 1_000);
    let producer = wait(engine.transactions().init_producer_id(init)).unwrap();
    let partition = TopicPartition { topic: TopicName::new("t").unwrap(), partition: 0 };
    let partitions = vec![partition];
    let add = AddPartitions { id, producer, partitions, protocol: Protocol::V1 };
    wait(engine.transactions().add_partitions(add)).unwrap();
    logs.hooks.stuck.store(true, Ordering::SeqCst);
    env.advance(60_000);
    let (other, now) = (engine.clone(), hanbeon::Env::now(&env));
    let upkeep = thread::spawn(move || while other.maintain(now).unwrap() == 0 {});
    while logs.hooks.awaited.load(Ordering::SeqCst) == 0 {
        assert!(!upkeep.is_finished(), "it waits for what it has decided");
        thread::yield_now();
    }
    engine.shutdown().unwrap();
    upkeep.join().unwrap();
}

/// Who reads the log for a deletion forgets what belongs to no topic, and that counts as written by it.
#[test]
fn a_deletion_waits_for_what_was_written_when_the_log_was_read_for_it() {
    let (env, dir, logs) = (env(), MemDir::new(), Watched::new());
    let engine = open(&env, &dir, &logs);
    engine.ensure_topic("t", 1).unwrap();
    commit(&engine, "g", 90);
    engine.shutdown().unwrap();
    drop(engine);
    let engine = open(&env, &dir, &logs);
    logs.hooks.stuck.store(true, Ordering::SeqCst);
    let (deletion, waits) = delete_beside(&engine, &logs);
    assert!(waits, "its tombstone is not durable");
    env.advance(5_000);
    assert!(deletion.join().unwrap());
}

/// What does not read takes as long to find out for everybody who asks, and they hold up others meanwhile.
#[test]
fn a_log_that_does_not_read_is_not_read_again_for_everybody_who_comes() {
    let (env, dir, logs) = (env(), MemDir::new(), Watched::new());
    let engine = open(&env, &dir, &logs);
    let replays = || logs.hooks.replays.load(Ordering::Relaxed);
    let ask = || {
        let init = InitProducerId::new(TransactionalId::new("t").unwrap(), 60_000);
        let transactions = engine.transactions();
        let (loaded, begun) = (transactions.load("t"), wait(transactions.init_producer_id(init)));
        assert_eq!(loaded.is_ok(), begun.is_ok());
        begun.is_ok()
    };
    logs.hooks.unreadable.store(true, Ordering::Relaxed);
    for tries in 1..=2 {
        for _ in 0..10 {
            assert!(!ask());
        }
        assert_eq!(replays(), tries);
        env.advance(5_000);
    }
    logs.hooks.unreadable.store(false, Ordering::Relaxed);
    assert!(ask(), "it is tried again after a while");
    assert_eq!(replays(), 3);
}

/// Upkeep reads a log while the engine shuts down.
#[test]
fn a_shutdown_beside_upkeep_says_that_all_is_closed() {
    let (env, dir, logs) = (env(), MemDir::new(), Watched::new());
    // The first opening of a directory is one of which nobody knows how it was left.
    let engine = open(&env, &dir, &logs);
    let is_said =
        move || dir.open(&FileName::new(".kafka_cleanshutdown").unwrap(), Open::Read).is_ok();
    let closing = Arc::new(Mutex::new(None));
    let (other, thread, said) = (engine.clone(), Arc::clone(&closing), is_said.clone());
    *logs.hooks.on_replay.lock().unwrap() = Some(Box::new(move || {
        let mut closing = thread.lock().unwrap();
        if closing.is_some() {
            return;
        }
        let other = other.clone();
        let shutdown = thread::spawn(move || other.shutdown().unwrap());
        // It waits for the log that is read here, once all else is done.
        for _ in 0..1_000_000 {
            if said() || shutdown.is_finished() {
                break;
            }
            thread::yield_now();
        }
        *closing = Some(shutdown);
    }));
    engine.maintain(hanbeon::Env::now(&env)).unwrap();
    *logs.hooks.on_replay.lock().unwrap() = None;
    closing.lock().unwrap().take().unwrap().join().unwrap();
    assert!(is_said());
}

#[test]
fn a_log_of_offsets_that_does_not_read_is_not_read_again_for_everybody_who_comes() {
    let (env, dir, logs) = (env(), MemDir::new(), Watched::new());
    let engine = open(&env, &dir, &logs);
    let replays = || logs.hooks.replays.load(Ordering::Relaxed);
    logs.hooks.unreadable.store(true, Ordering::Relaxed);
    for tries in 1..=2 {
        for _ in 0..10 {
            let refused = engine.groups().load("g").unwrap_err();
            assert_eq!(refused.code(), ErrorCode::NotCoordinator);
            assert_eq!(speak(&engine, 0).unwrap_err().code(), refused.code());
        }
        assert_eq!(replays(), tries);
        // Whatever the clock on the wall says.
        env.set_time_of_day(engine.now().saturating_add(-3_600_000));
        env.advance(5_000);
    }
    logs.hooks.unreadable.store(false, Ordering::Relaxed);
    assert!(speak(&engine, 0).is_ok(), "it is tried again after a while");
    assert_eq!(replays(), 3);
}
