//! A topic that is made under the name of an older one has nothing of it, whatever the checkpoint files say under that name.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use hanbeon::{
    Acks, Engine, Env, Manual, Mode, NewTopic, Options, PageCache, ProducerIdentity, TopicRef,
};
use hanbeon_log::{CrashDir, Dir, Fault, FaultKind, FileName, Lasting, LogFile, Open};
use hanbeon_records::{Millis, Offset, ProducerEpoch, ProducerId};
use support::idempotent_at;

const NOW: Millis = Millis::new(1_700_000_000_000);

type World = Engine<Manual<CrashDir>>;

fn open(disk: &CrashDir) -> (Manual<CrashDir>, World) {
    let env = Manual::new(NOW, 7).with_page_cache(PageCache::new("boot", 1, 2));
    let engine = Engine::open_in(env.clone(), disk.clone(), Options::embedded()).unwrap();
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
