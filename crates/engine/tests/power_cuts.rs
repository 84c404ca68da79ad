//! The power goes at every single operation in turn, once more while recovering from that, and every acknowledged record is there
//! once, where it was said to be.
//!
//! `SEED=... cargo test -p hanbeon --test power_cuts` draws other crashes from the same moments.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;

use hanbeon::{
    Acks, Engine, FetchSpec, Manual, Mode, NewTopic, Options, PartitionHandle, Placed,
    ProducerIdentity,
};
use hanbeon_log::{CrashDir, Dir, Fault, FaultKind, FileName, Lasting, Open};
use hanbeon_records::{ErrorCode, Millis, Offset};
use support::{idempotent_at, values};

const NOW: Millis = Millis::new(1_700_000_000_000);
const PARTITIONS: i32 = 2;
const RECORDS: i32 = 8;

type World = Engine<Manual<CrashDir>>;

/// What the application knows.
#[derive(Default)]
struct Application {
    producer: Option<ProducerIdentity>,
    /// Offsets by partition and sequence.
    acknowledged: BTreeMap<(i32, i32), Offset>,
    ids: Vec<i64>,
}

fn seed() -> u64 {
    std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

fn open(disk: &CrashDir, seed: u64) -> Option<World> {
    let env = Manual::new(NOW, seed);
    Engine::open_in(env, disk.clone(), Options::embedded()).ok()
}

/// How the application ends.
#[derive(Clone, Copy)]
enum End {
    /// Never in order.
    Dies,
    /// In order, unless the power goes before.
    ShutsDown,
}

/// Sends what is not acknowledged yet, until the storage fails. Whether all is done.
fn work(disk: &CrashDir, seed: u64, application: &mut Application, end: End) -> bool {
    let Some(engine) = open(disk, seed) else {
        return false;
    };
    let sent = send(&engine, application);
    let done = match end {
        End::Dies => sent.is_some(),
        End::ShutsDown => sent.is_some() && engine.shutdown().is_ok(),
    };
    // A dead machine closes nothing.
    std::mem::forget(engine);
    done
}

fn send(engine: &World, application: &mut Application) -> Option<()> {
    if engine.topic("t").is_none() {
        let topic = NewTopic::new("t", PARTITIONS).config("internal.segment.bytes", "400");
        engine.create_topic(&topic, Mode::Apply).ok()?;
    }
    // Each life takes an id, which nobody may have had before.
    let fresh = engine.init_producer_id().ok()?;
    application.ids.push(fresh.id.get());
    let producer = *application.producer.get_or_insert(fresh);
    for sequence in 0..RECORDS {
        for number in 0..PARTITIONS {
            if application.acknowledged.contains_key(&(number, sequence)) {
                continue;
            }
            let partition = engine.partition("t", number).ok()?;
            let value = format!("{number}/{sequence}");
            let sent = idempotent_at(NOW.get(), producer, sequence, &[&value]);
            let produced = partition.produce(sent, Acks::All).wait().ok()?;
            application.acknowledged.insert((number, sequence), produced.base_offset);
        }
    }
    Some(())
}

fn check(disk: &CrashDir, seed: u64, application: &Application, story: &str) {
    let engine = open(disk, seed).unwrap_or_else(|| panic!("{story}: does not open"));
    if engine.topic("t").is_none() {
        assert!(application.acknowledged.is_empty(), "{story}: the topic is lost");
        return;
    }
    for number in 0..PARTITIONS {
        let partition = engine.partition("t", number).unwrap();
        let mut found = Vec::new();
        loop {
            let from = Offset::new(i64::try_from(found.len()).unwrap());
            let fetched = partition.fetch(&FetchSpec::from(from));
            let fetched = fetched.unwrap_or_else(|error| panic!("{story}: {error:?}"));
            if fetched.records.is_empty() {
                break;
            }
            found.extend(values(&fetched.records));
        }
        for sequence in 0..RECORDS {
            let value = format!("{number}/{sequence}");
            let places: Vec<_> = (0_i64..).zip(&found).filter(|(_, at)| **at == value).collect();
            assert!(
                places.len() <= 1,
                "{story}: {value} is there {} times: {found:?}",
                places.len()
            );
            if let Some(offset) = application.acknowledged.get(&(number, sequence)) {
                let place = places.first().map(|(place, _)| *place);
                assert_eq!(
                    place,
                    Some(offset.get()),
                    "{story}: {value} was acknowledged: {found:?}"
                );
            }
        }
    }
    let mut ids = application.ids.clone();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), application.ids.len(), "{story}: a producer id was given out twice");
}

#[test]
fn l1_what_was_acknowledged_is_there_once_whenever_the_power_goes() {
    assert!(cut_everywhere(End::Dies) > 60);
}

/// A1, P24: in the middle of a shutdown, and behind one, when the marker of it is taken away again.
#[test]
fn l1_nor_does_a_power_cut_in_a_shutdown_or_behind_one_cost_what_was_acknowledged() {
    assert!(cut_everywhere(End::ShutsDown) > 80);
}

/// The operation at which the sweep was through.
fn cut_everywhere(end: End) -> u64 {
    let seed = seed();
    for cut in 0.. {
        let disk = CrashDir::new();
        if matches!(end, End::ShutsDown) {
            open(&disk, seed).unwrap().shutdown().unwrap();
        }
        let mut application = Application::default();
        disk.inject(Fault { kind: FaultKind::Error, after: cut, lasting: Lasting::Sticky });
        let done = work(&disk, seed, &mut application, end);
        let draw = seed.wrapping_mul(1000).wrapping_add(cut);
        let story = format!("power cut at operation {cut}, SEED={seed}");
        let disk = disk.crash(draw);
        // And again while it recovers and goes on.
        disk.inject(Fault { kind: FaultKind::Error, after: draw % 23, lasting: Lasting::Sticky });
        work(&disk, draw, &mut application, end);
        let disk = disk.crash(draw.wrapping_add(1));
        check(&disk.crash(draw.wrapping_add(2)), draw, &application, &story);
        assert!(
            work(&disk, draw.wrapping_add(3), &mut application, end),
            "{story}: does not go on"
        );
        let rest = disk.crash(draw.wrapping_add(4));
        check(&rest, draw, &application, &format!("{story}, after going on"));
        if done {
            return cut;
        }
    }
    unreachable!("the faults end where the work does")
}

/// A1 (KAFKA-10471): what the last holder has written would be served unchecked.
#[test]
fn a1_no_power_cut_brings_the_clean_marker_back() {
    let disk = CrashDir::new();
    let marker = FileName::new(".kafka_cleanshutdown").unwrap();
    let (engine, _, producer) = with_a_record(&disk);
    engine.shutdown().unwrap();
    assert!(disk.open(&marker, Open::Read).is_ok());
    let engine = open(&disk, 2).unwrap();
    let partition = engine.partition("t", 0).unwrap();
    // Written, and not yet synced: nobody waits for it.
    drop(partition.produce(idempotent_at(NOW.get(), producer, 1, &["y"]), Acks::All));
    std::mem::forget(engine);
    for seed in 0..30 {
        assert!(disk.crash(seed).open(&marker, Open::Read).is_err(), "image {seed}");
    }
}

/// D13, P36: the retry says that the record is safe, so it waits for that as the original did.
#[test]
fn d13_a_duplicate_is_answered_when_its_original_is_durable() {
    let disk = CrashDir::new();
    let engine = open(&disk, 1).unwrap();
    engine.ensure_topic("t", 1).unwrap();
    let producer = engine.init_producer_id().unwrap();
    let partition = engine.partition("t", 0).unwrap();
    let batch = || idempotent_at(NOW.get(), producer, 0, &["x"]);
    drop(partition.produce(batch(), Acks::All));
    assert_eq!(partition.high_watermark().unwrap(), Offset::ZERO, "nobody has synced it");
    let retried = partition.produce(batch(), Acks::All).wait().unwrap();
    assert_eq!((retried.placed, retried.base_offset), (Placed::Duplicate, Offset::ZERO));
    assert_eq!(partition.high_watermark().unwrap(), Offset::new(1));
    std::mem::forget(engine);
    for seed in 0..20 {
        let engine = open(&disk.crash(seed), 2).unwrap();
        let fetched = engine.partition("t", 0).unwrap().fetch(&FetchSpec::from(Offset::ZERO));
        assert_eq!(values(&fetched.unwrap().records), ["x"], "image {seed}");
    }
}

#[test]
fn a_failed_sync_poisons_the_directory_until_it_is_opened_again() {
    let disk = CrashDir::new();
    let engine = open(&disk, 1).unwrap();
    engine.ensure_topic("t", 2).unwrap();
    let producer = engine.init_producer_id().unwrap();
    let (one, two) = (engine.partition("t", 0).unwrap(), engine.partition("t", 1).unwrap());
    let batch = |sequence| idempotent_at(NOW.get(), producer, sequence, &["x"]);
    two.produce(batch(0), Acks::All).wait().unwrap();
    one.produce(batch(0), Acks::All).wait().unwrap();
    disk.inject(Fault { kind: FaultKind::Sync, after: 0, lasting: Lasting::Once });
    assert!(one.produce(batch(1), Acks::All).wait().is_err());
    assert!(engine.storage_failure().is_some());
    // The other partition's disk is the same one.
    assert!(two.produce(batch(1), Acks::All).wait().is_err(), "nothing is acknowledged any more");
    assert!(engine.shutdown().is_err(), "no clean marker is written");
    let engine = open(&disk.crash(3), 2).unwrap();
    let one = engine.partition("t", 0).unwrap();
    let again = one.produce(batch(1), Acks::All).wait().unwrap();
    assert_eq!(again.base_offset, Offset::new(1));
    let retried = one.produce(batch(1), Acks::All).wait().unwrap();
    assert_eq!(retried.placed, Placed::Duplicate);
}

/// A batch that is written and not synced, and half of the next one.
fn killed_in_a_write() -> (CrashDir, ProducerIdentity) {
    let disk = CrashDir::new();
    let engine = open(&disk, 1).unwrap();
    engine.ensure_topic("t", 1).unwrap();
    let partition = engine.partition("t", 0).unwrap();
    let producer = engine.init_producer_id().unwrap();
    // Nobody waits for it, so nobody syncs it.
    drop(partition.produce(idempotent_at(NOW.get(), producer, 0, &["x"]), Acks::All));
    disk.inject(Fault { kind: FaultKind::Kill { bytes: 40 }, after: 0, lasting: Lasting::Sticky });
    assert!(
        partition.produce(idempotent_at(NOW.get(), producer, 1, &["y"]), Acks::All).wait().is_err()
    );
    std::mem::forget(engine);
    (disk.killed(), producer)
}

/// L9: the system tells once that it could not write, and the next sync says that all is well.
#[test]
fn l9_a_sync_that_fails_inside_an_opening_stops_the_directory() {
    let (killed, producer) = killed_in_a_write();
    for after in 0.. {
        let disk = killed.killed();
        let engine = open(&disk, 1).unwrap();
        let partition = engine.partition("t", 0).unwrap();
        disk.inject(Fault { kind: FaultKind::Sync, after, lasting: Lasting::Once });
        let opened = partition.open();
        if disk.fired() == 0 {
            opened.unwrap();
            assert!(after > 1, "the cut and the rest of the log are synced");
            return;
        }
        assert!(opened.is_err(), "sync {after}");
        assert!(engine.storage_failure().is_some(), "sync {after}");
        assert!(partition.reopen().is_err(), "sync {after}: as if nothing was lost");
        let retry = idempotent_at(NOW.get(), producer, 0, &["x"]);
        assert!(partition.produce(retry, Acks::All).wait().is_err(), "sync {after}");
        assert!(engine.create_topic(&NewTopic::new("u", 1), Mode::Apply).is_err(), "sync {after}");
        std::mem::forget(engine);
    }
}

/// An engine with one record of a producer in a partition.
fn with_a_record(disk: &CrashDir) -> (World, PartitionHandle<Manual<CrashDir>>, ProducerIdentity) {
    let engine = open(disk, 1).unwrap();
    engine.ensure_topic("t", 1).unwrap();
    let producer = engine.init_producer_id().unwrap();
    let partition = engine.partition("t", 0).unwrap();
    let first = idempotent_at(NOW.get(), producer, 0, &["x"]);
    partition.produce(first, Acks::All).wait().unwrap();
    (engine, partition, producer)
}

/// L9: so in the files that all partitions share.
#[test]
fn l9_a_sync_that_fails_in_a_checkpoint_stops_the_directory() {
    let mut stopped = 0;
    for after in 0.. {
        let disk = CrashDir::new();
        let (engine, partition, producer) = with_a_record(&disk);
        disk.inject(Fault { kind: FaultKind::Sync, after, lasting: Lasting::Once });
        let maintained = engine.maintain(NOW.saturating_add(3_600_000));
        if disk.fired() == 0 {
            maintained.unwrap();
            break;
        }
        stopped += 1;
        assert!(maintained.is_err(), "sync {after}");
        assert!(
            partition
                .produce(idempotent_at(NOW.get(), producer, 1, &["x"]), Acks::All)
                .wait()
                .is_err(),
            "sync {after}"
        );
        std::mem::forget(engine);
    }
    assert!(stopped > 1, "there were {stopped} syncs");
}

/// L9: a want of file descriptors is no sync that failed, and passes.
#[test]
fn l9_a_checkpoint_whose_directory_does_not_open_is_written_later() {
    let mut missed = 0;
    for after in 0.. {
        let disk = CrashDir::new();
        let (engine, partition, producer) = with_a_record(&disk);
        disk.inject(Fault { kind: FaultKind::DirClosed, after, lasting: Lasting::Once });
        let maintained = engine.maintain(NOW.saturating_add(3_600_000));
        if disk.fired() == 0 {
            maintained.unwrap();
            break;
        }
        missed += 1;
        assert!(maintained.is_err(), "sync {after}");
        assert!(engine.storage_failure().is_none(), "sync {after}");
        engine.maintain(NOW.saturating_add(7_200_000)).unwrap();
        partition.produce(idempotent_at(NOW.get(), producer, 1, &["x"]), Acks::All).wait().unwrap();
        engine.shutdown().unwrap();
    }
    assert!(missed > 0, "no directory was synced");
}

/// L9: nor does it keep a partition offline, or its write path shut.
#[test]
fn l9_want_of_descriptors_refuses_a_batch_and_passes() {
    let mut missed = 0;
    for after in 0.. {
        let disk = CrashDir::new();
        let (engine, _, producer) = with_a_record(&disk);
        engine.shutdown().unwrap();
        let engine = open(&disk, 1).unwrap();
        let partition = engine.partition("t", 0).unwrap();
        let send = || {
            let batch = idempotent_at(NOW.get(), producer, 1, &["y"]);
            partition.produce(batch, Acks::All).wait()
        };
        disk.inject(Fault { kind: FaultKind::NoDescriptor, after, lasting: Lasting::Sticky });
        let sent = send();
        disk.heal();
        if disk.fired() == 0 {
            sent.unwrap();
            break;
        }
        missed += 1;
        assert_eq!(sent.unwrap_err().code(), ErrorCode::KafkaStorageError, "opening {after}");
        assert!(engine.storage_failure().is_none(), "opening {after}");
        // One that was not opened is left alone for a while.
        engine.env().advance(5_000);
        assert_eq!(send().unwrap().base_offset, Offset::new(1), "opening {after}");
        let read = partition.fetch(&FetchSpec::from(Offset::ZERO)).unwrap();
        assert_eq!(values(&read.records), ["x", "y"], "opening {after}");
        engine.shutdown().unwrap();
    }
    assert!(missed > 4, "{missed} openings");
}

#[test]
fn readers_of_a_sync_topic_see_nothing_that_a_power_cut_can_take_back() {
    let disk = CrashDir::new();
    let engine = open(&disk, 1).unwrap();
    engine.ensure_topic("t", 1).unwrap();
    let partition = engine.partition("t", 0).unwrap();
    let producer = engine.init_producer_id().unwrap();
    let sent = partition.produce(idempotent_at(NOW.get(), producer, 0, &["x"]), Acks::All);
    // Written, and not yet synced: nobody waits for it.
    assert_eq!(partition.log_end_offset().unwrap(), Offset::new(1));
    assert_eq!(partition.high_watermark().unwrap(), Offset::ZERO);
    assert!(partition.fetch(&FetchSpec::from(Offset::ZERO)).unwrap().records.is_empty());
    sent.wait().unwrap();
    assert_eq!(values(&partition.fetch(&FetchSpec::from(Offset::ZERO)).unwrap().records), ["x"]);
    std::mem::forget(engine);
}
