//! A topic that is made under the name of an older one has nothing of it, whatever the checkpoint files say under that name.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use hanbeon::{
    Acks, Engine, Enrol, Env, Manual, Mode, NewTopic, Options, PageCache, ProducerIdentity,
    TopicRef,
    group::{
        Commit, CommitDialect, CommitInTxn, Fetch, FetchWhat, Membership, Name, NewOffset,
        Stability,
    },
    txn::{InitProducerId, TransactionalId},
};
use hanbeon_log::{CrashDir, Dir, Fault, FaultKind, FileName, Lasting, LogFile, Open};
use hanbeon_records::{LeaderEpoch, Millis, Offset, ProducerEpoch, ProducerId, TopicName};
use support::idempotent_at;

const NOW: Millis = Millis::new(1_700_000_000_000);

type World = Engine<Manual<CrashDir>>;

fn open(disk: &CrashDir) -> (Manual<CrashDir>, World) {
    let env = Manual::new(NOW, 7).with_page_cache(PageCache::new("boot", 1, 2));
    // Few logs of groups and transactions: each is a directory.
    let options = Options::embedded().set("offsets.topic.num.partitions", "2").unwrap();
    let options = options.set("transaction.state.log.num.partitions", "2").unwrap();
    let engine = Engine::open_in(env.clone(), disk.clone(), options).unwrap();
    (env, engine)
}

fn create(engine: &World) {
    engine.create_topic(&NewTopic::new("t", 1), Mode::Apply).unwrap();
}

fn produce(engine: &World, records: i32) {
    let producer = ProducerIdentity { id: ProducerId::new(5), epoch: ProducerEpoch::new(0) };
    let partition = engine.partition("t", 0).unwrap();
    for sequence in 0..records {
        let batch = idempotent_at(NOW.get(), producer, sequence, &["x"]);
        partition.produce(batch, Acks::All).wait().unwrap();
    }
}

fn ends(engine: &World) -> (i64, i64) {
    let partition = engine.partition("t", 0).unwrap();
    let (start, end) = (partition.log_start_offset(), partition.log_end_offset());
    (start.unwrap().get(), end.unwrap().get())
}

fn file(disk: &CrashDir, name: &str) -> String {
    let Ok(file) = disk.open(&FileName::new(name).unwrap(), Open::Read) else {
        return String::new();
    };
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_at(&mut bytes, 0).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// A topic with 100 records of which 90 are deleted, and a minute later, so that all of that stands in the checkpoint files.
fn older(disk: &CrashDir) -> (Manual<CrashDir>, World) {
    let (env, engine) = open(disk);
    create(&engine);
    produce(&engine, 100);
    engine.partition("t", 0).unwrap().delete_records(Some(Offset::new(90))).unwrap();
    env.advance(60_000);
    engine.maintain(env.now()).unwrap();
    assert_eq!(file(disk, "log-start-offset-checkpoint"), "0\n1\nt 0 90\n");
    (env, engine)
}

#[test]
fn l1_its_records_survive_a_crash_whatever_the_older_one_had_deleted() {
    for killed in [true, false] {
        let disk = CrashDir::new();
        let (_, engine) = older(&disk);
        engine.delete_topic(TopicRef::Name("t")).unwrap();
        create(&engine);
        produce(&engine, 10);
        std::mem::forget(engine);
        let disk = if killed { disk.killed() } else { disk.crash(1) };
        let (_, engine) = open(&disk);
        assert_eq!(ends(&engine), (0, 10), "killed: {killed}");
        engine.shutdown().unwrap();
    }
}

#[test]
fn it_opens_in_a_life_that_found_the_older_one() {
    let disk = CrashDir::new();
    let (_, engine) = older(&disk);
    engine.shutdown().unwrap();
    let (env, engine) = open(&disk);
    engine.delete_topic(TopicRef::Name("t")).unwrap();
    create(&engine);
    // Nor does who writes the files before it is open bring the older one back.
    env.advance(60_000);
    engine.maintain(env.now()).unwrap();
    assert_eq!(file(&disk, "log-start-offset-checkpoint"), "0\n0\n");
    assert_eq!(file(&disk, "recovery-point-offset-checkpoint"), "0\n0\n");
    assert_eq!(ends(&engine), (0, 0));
    produce(&engine, 10);
    engine.shutdown().unwrap();
    assert_eq!(ends(&open(&disk).1), (0, 10));
}

#[test]
fn it_has_nothing_of_a_directory_that_was_put_aside() {
    let disk = CrashDir::new();
    let (_, engine) = older(&disk);
    engine.shutdown().unwrap();
    // Another cluster in the same directory, as far as it can tell.
    for name in ["hanbeon.meta", "meta.properties"] {
        disk.remove(&FileName::new(name).unwrap()).unwrap();
    }
    let partition = FileName::new("t-0").unwrap();
    let aside = FileName::new(format!("t-0.{}-stray", "0".repeat(32))).unwrap();
    disk.rename(&partition, &aside).unwrap();
    let (_, engine) = open(&disk);
    create(&engine);
    produce(&engine, 10);
    std::mem::forget(engine);
    let (_, engine) = open(&disk.killed());
    assert_eq!(ends(&engine), (0, 10));
}

#[test]
fn a_log_start_of_its_own_is_written_though_the_older_one_had_the_same() {
    let disk = CrashDir::new();
    let (env, engine) = older(&disk);
    engine.delete_topic(TopicRef::Name("t")).unwrap();
    create(&engine);
    produce(&engine, 100);
    engine.partition("t", 0).unwrap().delete_records(Some(Offset::new(90))).unwrap();
    env.advance(60_000);
    engine.maintain(env.now()).unwrap();
    std::mem::forget(engine);
    assert_eq!(ends(&open(&disk.crash(1)).1), (90, 100));
}

#[test]
fn it_has_no_record_of_a_directory_that_was_not_removed() {
    let mut left = 0;
    for after in 0.. {
        let disk = CrashDir::new();
        let (_, engine) = open(&disk);
        create(&engine);
        produce(&engine, 10);
        disk.inject(Fault { kind: FaultKind::Error, after, lasting: Lasting::Once });
        let deleted = engine.delete_topic(TopicRef::Name("t"));
        if disk.fired() == 0 {
            break;
        }
        disk.heal();
        left += usize::from(disk.dir(&FileName::new("t-0").unwrap()).is_ok());
        if deleted.is_err() || engine.storage_failure().is_some() {
            continue;
        }
        create(&engine);
        assert_eq!(ends(&engine), (0, 0), "operation {after} failed");
        produce(&engine, 5);
        engine.shutdown().unwrap();
        assert_eq!(ends(&open(&disk).1), (0, 5), "operation {after} failed");
    }
    assert!(left > 0, "one of them was the renaming");
}

#[test]
fn a_creation_whose_outcome_is_unknown_is_not_written_over() {
    let mut there = 0;
    for kind in [FaultKind::Error, FaultKind::Sync] {
        for after in 0.. {
            let disk = CrashDir::new();
            let (_, engine) = open(&disk);
            disk.inject(Fault { kind, after, lasting: Lasting::Once });
            let new = NewTopic::new("t", 1);
            let first = engine.create_topic(&new, Mode::Apply);
            if disk.fired() == 0 {
                break;
            }
            let again = engine.create_topic(&new, Mode::Apply);
            drop(engine);
            let (_, engine) = open(&disk);
            if engine.topic("t").is_some() {
                there += usize::from(first.is_err() && again.is_err());
                assert_eq!(ends(&engine), (0, 0), "operation {after} failed, {kind:?}");
            }
        }
    }
    assert!(there > 0, "one of them had stored the row");
}

/// L9: whether the topic is gone is not known when its deletion fails, so nothing more is acknowledged in it.
#[test]
fn l9_nothing_is_acknowledged_in_a_topic_whose_deletion_has_an_unknown_outcome() {
    let producer = ProducerIdentity { id: ProducerId::new(5), epoch: ProducerEpoch::new(0) };
    let batch = |sequence| idempotent_at(NOW.get(), producer, sequence, &["x"]);
    let mut gone = 0;
    for kind in [FaultKind::Error, FaultKind::Sync] {
        for after in 0.. {
            let disk = CrashDir::new();
            let (_, engine) = open(&disk);
            create(&engine);
            produce(&engine, 1);
            disk.inject(Fault { kind, after, lasting: Lasting::Once });
            let deleted = engine.delete_topic(TopicRef::Name("t"));
            if disk.fired() == 0 {
                break;
            }
            let more = engine.partition("t", 0).map(|t| t.produce(batch(1), Acks::All).wait());
            std::mem::forget(engine);
            let (_, engine) = open(&disk.killed());
            if deleted.is_err() && engine.topic("t").is_none() {
                gone += 1;
                assert!(!matches!(more, Ok(Ok(_))), "operation {after} failed, {kind:?}");
            }
        }
    }
    assert!(gone > 0, "one of them had stored that it is gone");
}

#[test]
fn a_name_that_stands_nowhere_costs_no_write() {
    let disk = CrashDir::new();
    let (_, engine) = older(&disk);
    let before = disk.operations();
    engine.create_topic(&NewTopic::new("u", 1), Mode::Apply).unwrap();
    let fresh = disk.operations() - before;
    engine.delete_topic(TopicRef::Name("u")).unwrap();
    let before = disk.operations();
    engine.create_topic(&NewTopic::new("u", 1), Mode::Apply).unwrap();
    assert_eq!(disk.operations() - before, fresh, "no checkpoint file is written anew");
    engine.delete_topic(TopicRef::Name("t")).unwrap();
    let before = disk.operations();
    create(&engine);
    assert!(disk.operations() - before > fresh, "here it is");
    std::mem::forget(engine);
}

/// Does what is due until a future is ready.
fn wait<F: Future>(engine: &World, future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        engine.maintain(NOW).unwrap();
    }
}

/// The offset 90 of `t`'s partition, as whoever committed it looked the topic up.
fn offset_of(engine: &World) -> NewOffset {
    NewOffset {
        topic: TopicName::new("t").unwrap(),
        topic_id: engine.topic("t").map(|topic| topic.id()),
        partition: 0,
        offset: Offset::new(90),
        leader_epoch: LeaderEpoch::UNKNOWN,
        metadata: "".into(),
    }
}

fn commit(engine: &World, group: &str) {
    let commit = Commit {
        group: Name::new(group).unwrap(),
        membership: Membership::none(),
        dialect: CommitDialect::Epochs,
        retention_ms: None,
        offsets: vec![offset_of(engine)],
    };
    let committed = wait(engine, engine.groups().commit_offsets(commit));
    assert_eq!(committed.unwrap(), [Ok(())]);
}

/// In a transaction that is not over.
fn pend(engine: &World, group: &str) {
    let id = TransactionalId::new("x").unwrap();
    let init = InitProducerId::new(id.clone(), 60_000);
    let producer = wait(engine, engine.transactions().init_producer_id(init)).unwrap();
    let commit = CommitInTxn {
        group: Name::new(group).unwrap(),
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        membership: Membership::none(),
        offsets: vec![offset_of(engine)],
    };
    let committed =
        wait(engine, engine.groups().commit_offsets_in_transaction(id, Enrol::Add, commit));
    assert_eq!(committed.unwrap(), [Ok(())]);
}

fn committed(engine: &World, group: &str) -> Option<i64> {
    let fetch = Fetch {
        group: Name::new(group).unwrap(),
        member: None,
        stability: Stability::Required,
        what: FetchWhat::These(vec![(Name::new("t").unwrap(), 0)]),
    };
    let fetched = wait(engine, engine.groups().fetch_offsets(fetch)).unwrap().remove(0);
    assert_eq!(fetched.error, None, "undecided");
    fetched.committed.map(|committed| committed.offset.get())
}

/// `t`, and two groups that have read it: one has committed, one is about to.
fn read(disk: &CrashDir) -> World {
    let (_, engine) = open(disk);
    create(&engine);
    commit(&engine, "done");
    pend(&engine, "open");
    engine
}

#[test]
fn c1_it_has_no_offset_of_the_older_one_after_a_power_cut() {
    for seed in 0..8 {
        let disk = CrashDir::new();
        let engine = read(&disk);
        engine.delete_topic(TopicRef::Name("t")).unwrap();
        std::mem::forget(engine);
        let (_, engine) = open(&disk.crash(seed));
        create(&engine);
        for group in ["done", "open"] {
            assert_eq!(committed(&engine, group), None, "seed {seed}, {group}");
        }
        commit(&engine, "done");
        assert_eq!(committed(&engine, "done"), Some(90));
    }
}

#[test]
fn c1_offsets_of_a_deleted_topic_are_gone_from_the_disk_when_the_deletion_returns() {
    let end = |engine: &World, group| {
        let log = engine.groups().partition_of(group).unwrap();
        let partition = engine.partition(log.topic.as_str(), log.partition).unwrap();
        partition.log_end_offset().unwrap()
    };
    for seed in 0..8 {
        let disk = CrashDir::new();
        let engine = read(&disk);
        engine.delete_topic(TopicRef::Name("t")).unwrap();
        std::mem::forget(engine);
        let (_, engine) = open(&disk.crash(seed));
        for group in ["done", "open"] {
            let before = end(&engine, group);
            assert_eq!(committed(&engine, group), None, "seed {seed}");
            assert_eq!(end(&engine, group), before, "seed {seed}: nothing was left to forget");
        }
    }
}

#[test]
fn c1_it_has_no_offset_of_the_older_one_whatever_failed() {
    let mut deleted = 0;
    for after in 0.. {
        let disk = CrashDir::new();
        let engine = read(&disk);
        disk.inject(Fault { kind: FaultKind::Error, after, lasting: Lasting::Once });
        let result = engine.delete_topic(TopicRef::Name("t"));
        if disk.fired() == 0 {
            break;
        }
        disk.heal();
        drop(engine);
        let (_, engine) = open(&disk);
        if engine.topic("t").is_some() {
            assert!(result.is_err(), "operation {after} failed");
            assert_eq!(committed(&engine, "done"), Some(90), "operation {after} failed");
            continue;
        }
        deleted += 1;
        create(&engine);
        for group in ["done", "open"] {
            assert_eq!(committed(&engine, group), None, "operation {after} failed, {group}");
        }
    }
    assert!(deleted > 2, "what failed was behind the row");
}
