//! After a kill in the same boot nothing is cut that the kill cannot have torn; in another boot anything may be missing.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::IoSlice;

use hanbeon::{
    Acks, ClientError, ConsumerSettings, Engine, ErrorCode, Manual, Mode, NewTopic, Options,
    PageCache, StateRecord,
};
use hanbeon_log::{CrashDir, Dir, Fault, FaultKind, FileName, Lasting, LogFile, Open};
use hanbeon_records::{Millis, Offset};
use support::idempotent_at;

const NOW: Millis = Millis::new(1_700_000_000_000);
const BATCHES: i32 = 12;

type World = Engine<Manual<CrashDir>>;

fn open(disk: &CrashDir, boot: &str) -> World {
    let env = Manual::new(NOW, 1).with_page_cache(PageCache::new(boot, 1, 2));
    Engine::open_in(env, disk.clone(), Options::broker()).unwrap()
}

/// What a kill leaves of a partition with 6 MB, in whose first batch a byte is changed.
fn killed() -> CrashDir {
    let disk = killed_whole();
    damage(&disk, "t-0", 1000);
    disk
}

/// The same, and nothing is changed.
fn killed_whole() -> CrashDir {
    let disk = CrashDir::new();
    let engine = open(&disk, "a");
    // Finds nothing that is not checked, and says so.
    engine.maintain(NOW).unwrap();
    engine.create_topic(&NewTopic::new("t", 1), Mode::Apply).unwrap();
    let producer = engine.init_producer_id().unwrap();
    let value = "v".repeat(500_000);
    for sequence in 0..BATCHES {
        let sent = idempotent_at(NOW.get(), producer, sequence, &[&value]);
        engine.partition("t", 0).unwrap().produce(sent, Acks::All).wait().unwrap();
    }
    std::mem::forget(engine);
    disk.killed()
}

/// The log of a partition that has one segment.
fn log_file(disk: &CrashDir, partition: &str) -> impl LogFile + use<> {
    let partition = disk.dir(&FileName::new(partition).unwrap()).unwrap();
    partition.open(&FileName::new("00000000000000000000.log").unwrap(), Open::Write).unwrap()
}

fn damage(disk: &CrashDir, partition: &str, at: u64) {
    log_file(disk, partition).write_at(&[IoSlice::new(b"rot")], at).unwrap();
}

fn content(disk: &CrashDir, partition: &str) -> Vec<u8> {
    let file = log_file(disk, partition);
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_at(&mut bytes, 0).unwrap();
    bytes
}

#[test]
fn l1_a_kill_in_the_same_boot_cuts_nothing_and_damage_is_told_later() {
    let disk = killed();
    let engine = open(&disk, "a");
    let partition = engine.partition("t", 0).unwrap();
    assert_eq!(partition.log_end_offset().unwrap(), Offset::new(i64::from(BATCHES)));
    assert_eq!(engine.metrics().damage_found.get(), 0);
    engine.maintain(NOW).unwrap();
    assert_eq!(engine.metrics().damage_found.get(), 1);
    engine.shutdown().unwrap();
    assert_eq!(engine.metrics().damage_found.get(), 1, "told once");
    let engine = open(&disk, "a");
    let partition = engine.partition("t", 0).unwrap();
    let fetched = partition.fetch(&hanbeon::FetchSpec::from(Offset::new(1))).unwrap();
    assert!(fetched.records.len() > 500_000, "what is behind the damage can be read");
}

/// Nothing has looked at the checksums yet: who reads does.
#[test]
fn l7_a_consumer_gets_no_damaged_record() {
    let engine = open(&killed(), "a");
    let read = |settings: ConsumerSettings| {
        let mut consumer = engine.consumer_with(settings);
        consumer.assign("t", 0).unwrap();
        consumer.poll()
    };
    let refused = read(ConsumerSettings::new()).unwrap_err();
    let ClientError::Unreadable { offset, code, .. } = refused else { panic!("{refused}") };
    assert_eq!((offset, code), (Offset::ZERO, ErrorCode::CorruptMessage));
    let trusting = ConsumerSettings::new().set("check.crcs", "false").unwrap();
    assert!(!read(trusting).unwrap().is_empty(), "who does not want to know");
    assert!(ConsumerSettings::new().set("check.crcs", "perhaps").is_err());
}

#[test]
fn l7_a_coordinator_decides_nothing_by_a_damaged_record() {
    let disk = CrashDir::new();
    let engine = open(&disk, "a");
    engine.maintain(NOW).unwrap();
    let topic = engine.ensure_topic("state", 1).unwrap();
    let log = topic.partitions()[0].state_log();
    let value = vec![7; 1_000_000];
    // Longer than the last write, which is summed at the opening.
    for key in [b"a", b"b", b"c", b"d", b"e"] {
        let record = StateRecord { key, value: Some(&value) };
        log.append(NOW, &[record], None).unwrap();
    }
    std::mem::forget(engine);
    let disk = disk.killed();
    damage(&disk, "state-0", 1000);
    let engine = open(&disk, "a");
    let log = engine.topic("state").unwrap().partitions()[0].state_log();
    let mut seen = 0;
    let refused = log.replay(&mut |_| seen += 1).unwrap_err();
    assert_eq!((seen, refused.code()), (0, ErrorCode::CorruptMessage), "{refused}");
}

#[test]
fn l1_a_power_cut_does_not_make_told_damage_a_torn_write() {
    let disk = killed();
    let engine = open(&disk, "a");
    engine.partition("t", 0).unwrap().open().unwrap();
    engine.maintain(NOW).unwrap();
    assert_eq!(engine.metrics().damage_found.get(), 1);
    std::mem::forget(engine);
    for seed in 0..10 {
        let engine = open(&disk.crash(seed), "b");
        let end = engine.partition("t", 0).unwrap().log_end_offset();
        assert!(matches!(end, Ok(end) if end == Offset::new(i64::from(BATCHES))), "{end:?}");
        std::mem::forget(engine);
    }
}

/// What is refused in this boot is not cut in the next one, where anything behind the recovery point may be torn.
#[test]
fn l1_a_reboot_does_not_make_refused_damage_a_torn_write() {
    let whole = killed_whole();
    let batch = log_file(&whole, "t-0").len().unwrap() / u64::try_from(BATCHES).unwrap();
    for field in [0, 8, 16] {
        let disk = whole.killed();
        damage(&disk, "t-0", 5 * batch + field);
        let before = content(&disk, "t-0");
        let engine = open(&disk, "a");
        assert!(engine.partition("t", 0).unwrap().open().is_err(), "field {field}");
        engine.maintain(NOW).unwrap();
        assert!(engine.shutdown().is_err(), "an offline partition is no clean stop");
        drop(engine);
        for (seed, boots) in (0..4).flat_map(|seed| [(seed, &["b"][..]), (seed, &["b", "c", "c"])])
        {
            let mut disk = disk.crash(seed);
            for boot in boots {
                let engine = open(&disk, boot);
                let opened = engine.partition("t", 0).unwrap().open();
                assert!(opened.is_err(), "field {field}, image {seed}, {boots:?}");
                std::mem::forget(engine);
                assert!(content(&disk, "t-0") == before, "field {field}, image {seed}, {boots:?}");
                disk = disk.crash(seed);
            }
        }
    }
}

#[test]
fn l3_in_another_boot_everything_is_checked_before_it_is_served() {
    for boots in [["b"].as_slice(), &["b", "b"]] {
        let disk = killed();
        let (last, before) = boots.split_last().unwrap();
        for boot in before {
            // Killed before it has looked at anything.
            std::mem::forget(open(&disk, boot));
        }
        let disk = disk.killed();
        let engine = open(&disk, last);
        let partition = engine.partition("t", 0).unwrap();
        let served = partition.log_end_offset();
        assert!(!matches!(&served, Ok(end) if *end > Offset::ZERO), "{boots:?}: {served:?}");
    }
}

#[test]
fn l9_a_shutdown_whose_syncs_fail_vouches_for_no_page() {
    let disk = CrashDir::new();
    let engine = open(&disk, "a");
    engine.maintain(NOW).unwrap();
    engine.ensure_topic("t", 1).unwrap();
    let producer = engine.init_producer_id().unwrap();
    let sent = idempotent_at(NOW.get(), producer, 0, &["x"]);
    engine.partition("t", 0).unwrap().produce(sent, Acks::All).wait().unwrap();
    let vouches = || disk.open(&FileName::new("hanbeon.boot").unwrap(), Open::Read).is_ok();
    assert!(vouches());
    disk.inject(Fault { kind: FaultKind::Sync, after: 0, lasting: Lasting::Sticky });
    assert!(engine.shutdown().is_err());
    assert!(!vouches());
}
