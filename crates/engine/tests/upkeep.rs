//! What is done in the background, by a clock that stands still until it is moved.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use hanbeon::{Acks, Engine, Env, Manual, Mode, NewTopic, Options};
use hanbeon_log::{CrashDir, Dir, Fault, FaultKind, FileName, Lasting, LogFile, Open};
use hanbeon_records::{Millis, Offset};
use support::idempotent_at;

const NOW: Millis = Millis::new(1_700_000_000_000);

type World = Engine<Manual<CrashDir>>;

fn open(disk: &CrashDir, options: Options) -> (Manual<CrashDir>, World) {
    let env = Manual::new(NOW, 7);
    let engine = Engine::open_in(env.clone(), disk.clone(), options).unwrap();
    (env, engine)
}

fn produce(engine: &World, sequence: i32) {
    let partition = engine.partition("t", 0).unwrap();
    let who = hanbeon::ProducerIdentity {
        id: hanbeon_records::ProducerId::new(5),
        epoch: hanbeon_records::ProducerEpoch::new(0),
    };
    partition.produce(idempotent_at(NOW.get(), who, sequence, &["x"]), Acks::All).wait().unwrap();
}

/// How many records a power cut leaves, at worst.
fn left(disk: &CrashDir) -> i64 {
    let after_cut = |seed| {
        let (_, engine) = open(&disk.crash(seed), Options::broker());
        let end = engine.partition("t", 0).unwrap().log_end_offset().unwrap();
        std::mem::forget(engine);
        end.get()
    };
    (0..20).map(after_cut).min().unwrap()
}

fn file(disk: &CrashDir, name: &str) -> Option<String> {
    let file = disk.open(&FileName::new(name).unwrap(), Open::Read).ok()?;
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_at(&mut bytes, 0).unwrap();
    Some(String::from_utf8(bytes).unwrap())
}

#[test]
fn an_interval_in_milliseconds_is_kept_by_upkeep() {
    let disk = CrashDir::new();
    let (env, engine) = open(&disk, Options::broker());
    let topic = NewTopic::new("t", 1).config("flush.ms", "1000");
    engine.create_topic(&topic, Mode::Apply).unwrap();
    produce(&engine, 0);
    let partition = engine.partition("t", 0).unwrap();
    assert_eq!(partition.high_watermark().unwrap(), Offset::new(1), "seen before it is durable");
    assert!(engine.maintain(env.now()).unwrap() <= 1000);
    assert_eq!(left(&disk), 0);
    env.advance(999);
    assert_eq!(engine.maintain(env.now()).unwrap(), 1);
    assert_eq!(left(&disk), 0);
    env.advance(1);
    engine.maintain(env.now()).unwrap();
    assert_eq!(left(&disk), 1);
    std::mem::forget(engine);
}

#[test]
fn a_sync_that_could_not_be_begun_keeps_no_other_partition_waiting() {
    let disk = CrashDir::new();
    let (env, engine) = open(&disk, Options::broker());
    let topic = NewTopic::new("t", 2).config("flush.ms", "1000");
    engine.create_topic(&topic, Mode::Apply).unwrap();
    // Of the two the one that comes last in upkeep.
    produce(&engine, 0);
    let other = hanbeon::ProducerIdentity {
        id: hanbeon_records::ProducerId::new(6),
        epoch: hanbeon_records::ProducerEpoch::new(0),
    };
    let last = engine.partition("t", 1).unwrap();
    last.produce(idempotent_at(NOW.get(), other, 0, &["x"]), Acks::All).wait().unwrap();
    env.advance(1000);
    disk.inject(Fault { kind: FaultKind::DirClosed, after: 0, lasting: Lasting::Once });
    let error = engine.maintain(env.now()).unwrap_err();
    assert!(error.is_untried() && disk.fired() == 1, "{error}");
    for seed in 0..20 {
        let (_, engine) = open(&disk.crash(seed), Options::broker());
        let last = engine.partition("t", 1).unwrap();
        assert_eq!(last.log_end_offset().unwrap(), Offset::new(1), "seed {seed}");
        std::mem::forget(engine);
    }
    engine.maintain(env.now()).unwrap();
    assert_eq!(left(&disk), 1, "it is due again");
    std::mem::forget(engine);
}

#[test]
fn an_interval_holds_for_what_a_kill_left_unsynced() {
    let disk = CrashDir::new();
    let (_, engine) = open(&disk, Options::broker());
    let topic = NewTopic::new("t", 1).config("flush.ms", "1000");
    engine.create_topic(&topic, Mode::Apply).unwrap();
    produce(&engine, 0);
    std::mem::forget(engine);
    let disk = disk.killed();
    let (env, engine) = open(&disk, Options::broker());
    engine.partition("t", 0).unwrap().open().unwrap();
    assert!(engine.maintain(env.now()).unwrap() <= 1000);
    assert_eq!(left(&disk), 0, "opening syncs nothing");
    env.advance(1000);
    engine.maintain(env.now()).unwrap();
    assert_eq!(left(&disk), 1);
    std::mem::forget(engine);
}

#[test]
fn an_interval_in_messages_is_kept_by_who_writes() {
    let disk = CrashDir::new();
    let (_env, engine) = open(&disk, Options::broker());
    let topic = NewTopic::new("t", 1).config("flush.messages", "3");
    engine.create_topic(&topic, Mode::Apply).unwrap();
    for (sequence, expected) in [(0, 0), (1, 0), (2, 3), (3, 3), (4, 3), (5, 6)] {
        produce(&engine, sequence);
        assert_eq!(left(&disk), expected, "after {} records", sequence + 1);
    }
    std::mem::forget(engine);
}

#[test]
fn checkpoints_are_written_when_they_are_due_and_only_when_something_changed() {
    let disk = CrashDir::new();
    let (env, engine) = open(&disk, Options::broker());
    engine.ensure_topic("t", 1).unwrap();
    produce(&engine, 0);
    engine.maintain(env.now()).unwrap();
    assert_eq!(file(&disk, "replication-offset-checkpoint"), None);
    env.advance(5000);
    engine.maintain(env.now()).unwrap();
    assert_eq!(file(&disk, "replication-offset-checkpoint").unwrap(), "0\n1\nt 0 1\n");
    assert_eq!(file(&disk, "recovery-point-offset-checkpoint"), None);
    env.advance(55_000);
    engine.maintain(env.now()).unwrap();
    assert_eq!(file(&disk, "recovery-point-offset-checkpoint").unwrap(), "0\n1\nt 0 0\n");
    let operations = disk.operations();
    for _ in 0..20 {
        env.advance(60_000);
        engine.maintain(env.now()).unwrap();
    }
    assert_eq!(disk.operations(), operations, "an idle engine writes nothing");
    std::mem::forget(engine);
}

#[test]
fn after_a_crash_upkeep_recovers_what_nobody_touches() {
    let disk = CrashDir::new();
    let (_, engine) = open(&disk, Options::embedded());
    engine.ensure_topic("t", 3).unwrap();
    produce(&engine, 0);
    std::mem::forget(engine);
    let (env, engine) = open(&disk.crash(1), Options::embedded());
    let open_now = || {
        let topic = engine.topic("t").unwrap();
        topic.partitions().iter().filter(|partition| partition.is_open()).count()
    };
    assert_eq!(open_now(), 0, "opening recovers nothing");
    let mut rounds = 0;
    while engine.maintain(env.now()).unwrap() == 0 {
        rounds += 1;
    }
    assert_eq!((rounds, open_now()), (3, 3));
    engine.shutdown().unwrap();
    assert!(file(&disk, ".kafka_cleanshutdown").is_none(), "the first life's directory");
}

#[test]
fn a_clean_stop_after_a_crash_is_only_claimed_when_all_was_checked() {
    let disk = CrashDir::new();
    let (_, engine) = open(&disk, Options::embedded());
    engine.ensure_topic("t", 2).unwrap();
    produce(&engine, 0);
    std::mem::forget(engine);
    let disk = disk.crash(1);
    let (_, engine) = open(&disk, Options::embedded());
    engine.partition("t", 0).unwrap().open().unwrap();
    engine.shutdown().unwrap();
    assert!(file(&disk, ".kafka_cleanshutdown").is_none(), "partition 1 was not looked at");
    let (_, engine) = open(&disk, Options::embedded());
    for number in 0..2 {
        engine.partition("t", number).unwrap().open().unwrap();
    }
    engine.shutdown().unwrap();
    assert!(file(&disk, ".kafka_cleanshutdown").is_some());
}
