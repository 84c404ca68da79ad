//! Every state log of ours keeps the promises that coordinators rest on.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use hanbeon::{
    Engine, Enrolment, InTransaction, Manual, MemoryStateLogs, Options, StateEntry, StateLog,
    StateLogs, StateRecord,
    state_log_conformance::{Fixture, run},
};
use hanbeon_idempotence::{Ends, MarkerClaim, MarkerProtocol};
use hanbeon_log::CrashDir;
use hanbeon_records::{
    CoordinatorEpoch, Millis, Outcome, ProducerEpoch, ProducerId, TopicName, TopicPartition,
};

const NOW: Millis = Millis::new(1_700_000_000_000);

fn name(number: i32) -> TopicPartition {
    TopicPartition { topic: TopicName::new("__consumer_offsets").unwrap(), partition: number }
}

struct Memory {
    logs: MemoryStateLogs,
    at: i32,
}

impl Fixture for Memory {
    fn fresh(&mut self) -> Arc<dyn StateLog> {
        self.at += 1;
        self.restart()
    }

    fn restart(&mut self) -> Arc<dyn StateLog> {
        self.logs.open(&name(self.at)).unwrap()
    }

    fn power_cut(&mut self, _seed: u64) -> Option<Arc<dyn StateLog>> {
        None
    }
}

#[test]
fn a_log_in_memory_keeps_them() {
    run(&mut Memory { logs: MemoryStateLogs::new(1), at: 0 }).unwrap();
}

/// Keys come and go for ever; only what waits for a transaction may keep one.
fn forgets(fixture: &mut impl Fixture) {
    let log = fixture.fresh();
    let (producer_id, producer_epoch) = (ProducerId::new(1), ProducerEpoch::new(0));
    let put = |key: &str, value: Option<&[u8]>, transaction| {
        let record = StateRecord { key: key.as_bytes(), value };
        log.append(NOW, &[record], transaction).unwrap();
    };
    let begun = log.begin_transaction((producer_id, producer_epoch), MarkerProtocol::V2).unwrap();
    let Enrolment::Ask(guard) = begun else { panic!("{begun:?}") };
    put("7", Some(b"waits"), Some(InTransaction { producer_id, producer_epoch, guard }));
    for key in (0..10_000).map(|number| number.to_string()) {
        put(&key, Some(b"there"), None);
        put(&key, None, None);
    }
    let left = |log: &dyn StateLog| {
        let mut left = Vec::new();
        log.replay(&mut |entry| {
            let StateEntry::Record { record, transaction, .. } = entry else { panic!("{entry:?}") };
            assert_eq!(record.key, b"7");
            left.push((record.value.is_some(), transaction.is_some()));
        })
        .unwrap();
        left
    };
    assert_eq!(left(&*log), [(true, true), (false, false)], "the tombstone is behind what waits");
    let claim = MarkerClaim {
        producer_id,
        producer_epoch: ProducerEpoch::new(1),
        coordinator_epoch: CoordinatorEpoch::new(1),
        outcome: Outcome::Commit,
        timestamp: NOW,
        protocol: MarkerProtocol::V2,
        ends: Ends::Named,
    };
    log.append_marker(claim).unwrap();
    assert_eq!(left(&*log), []);
    drop(log);
    assert_eq!(left(&*fixture.restart()), []);
}

#[test]
fn a_log_in_memory_forgets_what_was_taken_away() {
    forgets(&mut Memory { logs: MemoryStateLogs::new(1), at: 0 });
}

/// A partition on a disk that can lose what was not synced.
struct Partition {
    dir: CrashDir,
    engine: Option<Engine<Manual<CrashDir>>>,
}

impl Partition {
    fn open(&mut self) -> Arc<dyn StateLog> {
        let env = Manual::new(NOW, 7);
        let engine = Engine::open_in(env, self.dir.clone(), Options::broker()).unwrap();
        let topic = engine.ensure_topic("state", 1).unwrap();
        let log = topic.partitions()[0].state_log();
        self.engine = Some(engine);
        log
    }
}

impl Fixture for Partition {
    fn fresh(&mut self) -> Arc<dyn StateLog> {
        self.engine = None;
        self.dir = CrashDir::new();
        self.open()
    }

    fn restart(&mut self) -> Arc<dyn StateLog> {
        self.engine = None;
        self.open()
    }

    fn power_cut(&mut self, seed: u64) -> Option<Arc<dyn StateLog>> {
        // The cut comes while the engine still runs: what closing would sync is not synced.
        let after = self.dir.crash(seed);
        self.engine = None;
        self.dir = after;
        Some(self.open())
    }
}

#[test]
fn l1_a_partition_keeps_them_through_power_cuts() {
    run(&mut Partition { dir: CrashDir::new(), engine: None }).unwrap();
}

#[cfg(feature = "sled")]
mod sled {
    use std::path::Path;

    use super::*;
    use hanbeon::SledStateLogs;

    struct Sled {
        root: tempfile::TempDir,
        logs: Option<SledStateLogs>,
        at: i32,
    }

    impl Fixture for Sled {
        fn fresh(&mut self) -> Arc<dyn StateLog> {
            self.at += 1;
            self.restart()
        }

        fn restart(&mut self) -> Arc<dyn StateLog> {
            self.logs = None;
            let logs = SledStateLogs::open(&self.root.path().join("db"), 1).unwrap();
            let log = logs.open(&name(self.at)).unwrap();
            self.logs = Some(logs);
            log
        }

        /// The files as they are while the database is still open: what waits in its memory to be written is lost.
        fn power_cut(&mut self, _seed: u64) -> Option<Arc<dyn StateLog>> {
            let after = tempfile::tempdir().unwrap();
            copy(&self.root.path().join("db"), &after.path().join("db"));
            self.logs = None;
            self.root = after;
            Some(self.restart())
        }
    }

    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let target = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                copy(&entry.path(), &target);
            } else {
                std::fs::copy(entry.path(), target).unwrap();
            }
        }
    }

    #[test]
    fn l1_a_log_in_sled_keeps_them() {
        let root = tempfile::tempdir().unwrap();
        run(&mut Sled { root, logs: None, at: 0 }).unwrap();
    }

    #[test]
    fn a_log_in_sled_forgets_what_was_taken_away() {
        let root = tempfile::tempdir().unwrap();
        forgets(&mut Sled { root, logs: None, at: 0 });
    }
}

mod elsewhere {
    use super::*;

    use hanbeon::{
        Enrol,
        group::{CommitInTxn, Fetch, FetchWhat, Membership, Name, NewOffset, Stability},
        txn::{AddPartitions, EndTxn, InitProducerId, Outcome, Protocol, State, TransactionalId},
    };
    use hanbeon_log::MemDir;
    use hanbeon_records::{LeaderEpoch, Offset};

    fn wait<F: Future>(future: F) -> F::Output {
        let mut future = std::pin::pin!(future);
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        loop {
            if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                return output;
            }
            std::thread::yield_now();
        }
    }

    fn committed(engine: &Engine<Manual<MemDir>>) -> Option<i64> {
        let fetch = Fetch {
            group: Name::new("g").unwrap(),
            member: None,
            stability: Stability::NotRequired,
            what: FetchWhat::These(vec![(Name::new("in").unwrap(), 0)]),
        };
        let fetched = wait(engine.groups().fetch_offsets(fetch)).unwrap();
        fetched[0].committed.as_ref().map(|committed| committed.offset.get())
    }

    /// A transaction of offsets alone, with coordinators whose logs are no partitions.
    fn carries_a_transaction(logs: &(impl StateLogs + Clone)) {
        let (env, dir) = (Manual::new(NOW, 7), MemDir::new());
        // Ids and groups are where they were, whatever the settings say later.
        let open = |count| {
            let options = Options::broker().state_logs(logs.clone());
            let options = options.set("transaction.state.log.num.partitions", count).unwrap();
            let options = options.set("offsets.topic.num.partitions", count).unwrap();
            Engine::open_in(env.clone(), dir.clone(), options).unwrap()
        };
        let engine = open("50");
        engine.ensure_topic("in", 1).unwrap();
        let id = TransactionalId::new("t").unwrap();
        let init = InitProducerId::new(id.clone(), 60_000);
        let producer = wait(engine.transactions().init_producer_id(init)).unwrap();
        let offset = NewOffset {
            topic: TopicName::new("in").unwrap(),
            topic_id: None,
            partition: 0,
            offset: Offset::new(7),
            leader_epoch: LeaderEpoch::UNKNOWN,
            metadata: "".into(),
        };
        let commit = CommitInTxn {
            group: Name::new("g").unwrap(),
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            membership: Membership::none(),
            offsets: vec![offset],
        };
        let groups = engine.groups();
        let results = wait(groups.commit_offsets_in_transaction(id.clone(), Enrol::Add, commit));
        assert_eq!(results.unwrap(), [Ok(())]);
        assert_eq!(committed(&engine), None, "not decided yet");
        drop(groups);
        engine.shutdown().unwrap();
        drop(engine);

        let engine = open("7");
        assert!(engine.topic("__transaction_state").is_none(), "no topic, no partition");
        let (outcome, protocol) = (Outcome::Commit, Protocol::V2);
        let end = EndTxn { id, producer, outcome, protocol };
        let next = wait(engine.transactions().end(end)).unwrap();
        assert!(next.epoch > producer.epoch);
        assert_eq!(committed(&engine), Some(7));
        engine.shutdown().unwrap();
    }

    #[test]
    fn t8_offsets_of_a_transaction_live_in_memory() {
        carries_a_transaction(&MemoryStateLogs::new(1));
    }

    /// Nothing but the directory's lock keeps two coordinators out of one log.
    #[test]
    fn t1_nothing_is_decided_behind_a_shutdown() {
        let (env, dir, logs) = (Manual::new(NOW, 7), MemDir::new(), MemoryStateLogs::new(1));
        let open = || {
            let options = Options::broker().state_logs(logs.clone());
            Engine::open_in(env.clone(), dir.clone(), options).unwrap()
        };
        let engine = open();
        engine.ensure_topic("t", 1).unwrap();
        let id = TransactionalId::new("tx").unwrap();
        let left = engine.transactions();
        let init = InitProducerId::new(id.clone(), 60_000);
        let producer = wait(left.init_producer_id(init.clone())).unwrap();
        let partitions = vec![TopicPartition { topic: TopicName::new("t").unwrap(), partition: 0 }];
        let protocol = Protocol::V2;
        let add = AddPartitions { id: id.clone(), producer, partitions, protocol };
        wait(left.add_partitions(add)).unwrap();
        engine.shutdown().unwrap();

        let next = open();
        let state = |engine: &Engine<_>| engine.transactions().describe("tx").unwrap().unwrap();
        assert_eq!(state(&next).state, State::Ongoing);
        let outcome = Outcome::Commit;
        assert!(wait(left.end(EndTxn { id, producer, outcome, protocol })).is_err());
        assert!(wait(left.init_producer_id(init.clone())).is_err());
        assert!(wait(next.transactions().init_producer_id(init)).is_err(), "it is aborted first");
        assert_eq!(state(&next).state, State::CompleteAbort);
    }

    #[cfg(feature = "sled")]
    #[test]
    fn t8_offsets_of_a_transaction_live_in_sled() {
        let root = tempfile::tempdir().unwrap();
        let logs = hanbeon::SledStateLogs::open(&root.path().join("db"), 1).unwrap();
        carries_a_transaction(&logs);
    }
}
