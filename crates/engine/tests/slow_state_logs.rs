//! Coordinators whose log is slow: while it is read, and while it is written.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "somebody else changes the features")]

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use hanbeon::{
    DurableFuture, Engine, Enrolment, Feature, FeatureUpdate, InTransaction, LevelChange, Manual,
    MemoryStateLogs, Mode, Options, PartitionError, ProduceError, StateEntry, StateLog, StateLogs,
    StateRecord, Written,
    group::{
        Name,
        consumer::{Heartbeat, Partitions},
    },
    txn::{InitProducerId, TransactionalId, TxnValue, ValueVersion},
};
use hanbeon_idempotence::{MarkerClaim, MarkerProtocol};
use hanbeon_log::MemDir;
use hanbeon_records::{
    CoordinatorEpoch, Millis, Offset, ProducerEpoch, ProducerId, TopicName, TopicPartition,
};

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
        if let Some(hook) = self.hooks.on_append.lock().unwrap().take() {
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
        self.log.append_marker(claim)
    }

    fn is_synced(&self) -> bool {
        self.log.is_synced()
    }

    fn is_durable(&self, end: Offset) -> bool {
        self.log.is_durable(end)
    }

    fn durable_to(&self, end: Offset) -> DurableFuture {
        self.log.durable_to(end)
    }
}

fn wait<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        thread::yield_now();
    }
}

fn env() -> Manual<MemDir> {
    Manual::new(Millis::new(1_700_000_000_000), 7)
}

fn open(env: &Manual<MemDir>, dir: &MemDir, logs: &Watched) -> World {
    let options = Options::broker().state_logs(logs.clone());
    Engine::open_in(env.clone(), dir.clone(), options).unwrap()
}

#[test]
fn c4_sessions_begin_when_the_log_is_read_however_long_that_takes() {
    let (env, dir, logs) = (env(), MemDir::new(), Watched::new());
    let group = Name::new("g").unwrap();
    let speak = |engine: &World, member_epoch| {
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
        wait(engine.groups().consumer_heartbeat(group.clone(), heartbeat))
    };
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
