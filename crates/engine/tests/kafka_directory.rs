//! A data directory that Apache Kafka 4.3.1 wrote is opened, read, and written on.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{fs, io::IoSlice, path::Path};

use hanbeon::{Acks, Engine, Env, FetchSpec, Manual, Mode, NewTopic, OpenError, Options};
use hanbeon_log::{
    CrashDir, Dir, FileName, FsDir, LogFile, Open, ReadMode,
    inspect::{self, Finding},
};
use hanbeon_records::{
    BatchBuilder, BatchKind, BatchSettings, Codec, CompressionLevel, LeaderEpoch, Millis,
    NewRecord, Offset, ProducerEpoch, ProducerId, ProducerStamp, Sequence, TimestampType, stamp,
};
use hanbeon_txn::{Producer, State, TransactionalId, TxnValue, ValueVersion, encode_key};
use support::{batch, batch_at, idempotent_at};

/// Some seconds after Kafka wrote its directories: a day later their producers would have expired.
const NOW: Millis = Millis::new(1_795_234_420_000);

fn open_then(home: &Path) -> Engine<Manual<FsDir>> {
    let dir = FsDir::create(home, ReadMode::Map).unwrap();
    Engine::open_in(Manual::new(NOW, 1), dir, Options::embedded()).unwrap()
}

/// Puts two golden partitions and the files beside them into one data directory.
fn kafkas_directory(home: &Path) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    for unit in ["idempotent-0", "idempotent-1"] {
        let number = unit.rsplit('-').next().unwrap();
        copy(
            &golden.join(unit).join(format!("idem-{number}")),
            &home.join(format!("idem-{number}")),
        );
    }
    let beside = golden.join("idempotent-0/data-dir");
    for entry in fs::read_dir(beside).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != "bootstrap.checkpoint" {
            fs::write(home.join(entry.file_name()), fs::read(entry.path()).unwrap()).unwrap();
        }
    }
    fs::create_dir(home.join("__cluster_metadata-0")).unwrap();
    fs::write(home.join("__cluster_metadata-0/quorum-state"), "Kafka's own").unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        // Written anew, not copied: the golden files are read-only.
        fs::write(to.join(entry.file_name()), fs::read(entry.path()).unwrap()).unwrap();
    }
}

fn count<E: Env>(engine: &Engine<E>, number: i32) -> usize {
    count_of(engine, "idem", number)
}

fn count_of<E: Env>(engine: &Engine<E>, topic: &str, number: i32) -> usize {
    let mut consumer = engine.consumer();
    consumer.assign(topic, number).unwrap();
    let mut records = 0;
    loop {
        match consumer.poll().unwrap().len() {
            0 => return records,
            more => records += more,
        }
    }
}

#[test]
fn names_ids_records_and_producers_are_kafkas() {
    let home = tempfile::tempdir().unwrap();
    kafkas_directory(home.path());
    let engine = open_then(home.path());
    assert_eq!(engine.cluster_id(), "MkU3OEVBNTcwNTJENDM2Qg", "meta.properties is kept");
    let topic = engine.topic("idem").unwrap();
    let metadata = fs::read_to_string(home.path().join("idem-0/partition.metadata")).unwrap();
    assert!(metadata.contains(&topic.id().to_string()), "the id is that of partition.metadata");
    assert_eq!(topic.partitions().len(), 2);
    assert_eq!([count(&engine, 0), count(&engine, 1)], [37, 44]);

    let partition = engine.partition("idem", 0).unwrap();
    let producers = partition.describe_producers().unwrap();
    let largest = producers.iter().map(|view| view.producer_id).max().unwrap();
    assert!(!producers.is_empty());
    let fresh = engine.init_producer_id().unwrap();
    assert!(fresh.id > ProducerId::new(largest.get() + 1000), "{} after {largest}", fresh.id);
    assert!(partition.leader_epoch().get() > 0, "epochs go on above Kafka's");

    // Kafka's producers go on where they were.
    let known = producers[0];
    let who = hanbeon::ProducerIdentity { id: known.producer_id, epoch: known.producer_epoch };
    let next = known.last_sequence.unwrap().advance(1).get();
    let produced =
        partition.produce(idempotent_at(NOW.get(), who, next, &["on"]), Acks::All).wait().unwrap();
    assert_eq!(produced.base_offset, Offset::new(37));
    let gap =
        partition.produce(idempotent_at(NOW.get(), who, next + 5, &["gap"]), Acks::All).wait();
    assert_eq!(gap.unwrap_err().code(), hanbeon::ErrorCode::OutOfOrderSequenceNumber);
    engine.shutdown().unwrap();

    let own = home.path().join("__cluster_metadata-0/quorum-state");
    assert_eq!(fs::read_to_string(own).unwrap(), "Kafka's own", "left alone");
    let engine = open_then(home.path());
    assert_eq!([count(&engine, 0), count(&engine, 1)], [38, 44]);
    assert!(engine.init_producer_id().unwrap().id > fresh.id);
}

/// L2: gaps are compaction's only where the topic says that it is compacted; and by the settings of others its records would be deleted one day.
#[test]
fn l2_what_kafkas_cleaner_has_been_at_is_compacted_here_too() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    copy(&golden.join("compacted-1-horizons/comp-0"), &home.join("comp-0"));
    copy(&golden.join("group-offsets-0/__consumer_offsets-0"), &home.join("__consumer_offsets-0"));
    partition_of(home, "t-0", ONE_ID);
    let cleaned = "cleaner-offset-checkpoint";
    fs::copy(golden.join("compacted-1-horizons/data-dir").join(cleaned), home.join(cleaned))
        .unwrap();
    let engine = open_then(home);
    let policy = |topic| {
        let described = engine.describe_topic_config(topic, Some(&["cleanup.policy"])).unwrap();
        described[0].value.clone().unwrap()
    };
    let policies = ["comp", "__consumer_offsets", "t"].map(policy);
    assert_eq!(policies, ["compact", "compact", "delete"]);
}

/// L2: Kafka's metadata log says exactly, and of a topic of the same name that was deleted nothing counts.
#[test]
fn l2_what_is_kept_of_a_topic_goes_on_as_kafkas_metadata_says() {
    let said = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka_metadata");
    // What Apache Kafka 4.3.1 was told of each topic, by a log alone and by snapshots with a tail. The second half is of later topics.
    let policies = |which| match which {
        "log" => [
            ("both", "compact,delete"),
            ("only", "compact"),
            ("plain", "delete"),
            ("gone", "delete"),
        ],
        _ => [
            ("both", "compact,delete"),
            ("only", "delete,compact"),
            ("plain", "delete"),
            ("more1", "compact"),
        ],
    };
    for which in ["log", "snapshot"] {
        let policies = policies(which);
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        copy(&said.join(which), &home.join("__cluster_metadata-0"));
        for (nth, (topic, _)) in policies.iter().enumerate() {
            partition_of(home, &format!("{topic}-0"), &format!("AAAAAAAAAAAAAAAAAAAA{nth}A"));
        }
        // The metadata log is stronger.
        fs::write(home.join("cleaner-offset-checkpoint"), "0\n1\nboth 0 0\n").unwrap();
        let engine = open_then(home);
        let value = |topic, key: &str| {
            let described = engine.describe_topic_config(topic, Some(&[key])).unwrap();
            described[0].value.clone().unwrap()
        };
        for (topic, policy) in policies {
            assert_eq!(value(topic, "cleanup.policy"), policy, "{which}: {topic}");
            let deleted = engine.partition(topic, 0).unwrap().delete_records(None);
            assert_eq!(deleted.is_ok(), policy.contains("delete"), "{which}: {topic}");
        }
        assert_eq!(value("both", "retention.ms"), "3600000", "{which}");
        engine.shutdown().unwrap();
    }
}

/// L2: nor is half of what it says taken for all.
#[test]
fn l2_what_does_not_read_of_kafkas_metadata_is_not_taken_over() {
    let said = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka_metadata");
    let policy = |spoil: &dyn Fn(&Path)| {
        let home = tempfile::tempdir().unwrap();
        let metadata = home.path().join("__cluster_metadata-0");
        copy(&said.join("snapshot"), &metadata);
        spoil(&metadata);
        partition_of(home.path(), "both-0", "AAAAAAAAAAAAAAAAAAAAAQ");
        let engine = open_then(home.path());
        let described = engine.describe_topic_config("both", Some(&["cleanup.policy"])).unwrap();
        described[0].value.clone().unwrap()
    };
    assert_eq!(policy(&|_| ()), "compact,delete");
    // A segment that Kafka was about to remove says nothing.
    let removed = |at: &Path| {
        fs::write(at.join("00000000000000000000.log.deleted"), "no batch").unwrap();
    };
    assert_eq!(policy(&removed), "compact,delete");
    let cut = |at: &Path| {
        let snapshot = fs::read_dir(at).unwrap().map(|entry| entry.unwrap().path());
        let last = snapshot.filter(|path| path.extension().is_some_and(|ext| ext == "checkpoint"));
        let last = last.max().unwrap();
        let bytes = fs::read(&last).unwrap();
        fs::write(&last, &bytes[..bytes.len() - 1]).unwrap();
    };
    assert_eq!(policy(&cut), "delete", "a snapshot that ends early");
    let before = |at: &Path| {
        fs::write(at.join("00000000000000000000.log"), "no batch").unwrap();
        fs::write(at.join("00000000000000900000.log"), "").unwrap();
    };
    assert_eq!(policy(&before), "delete", "a segment that others follow");
    let no_directory = |at: &Path| {
        fs::remove_dir_all(at).unwrap();
        fs::write(at, "a file").unwrap();
    };
    assert_eq!(policy(&no_directory), "delete");
}

/// One batch as Kafka would have written it, at the start of a log.
fn log_of(producer: Option<ProducerId>, codec: Codec, key: &[u8], value: &[u8]) -> Vec<u8> {
    log_in_epoch(0, producer, codec, (key, value))
}

/// The same by a leader that has been elected so often before.
fn log_in_epoch(
    epoch: i32,
    producer: Option<ProducerId>,
    codec: Codec,
    (key, value): (&[u8], &[u8]),
) -> Vec<u8> {
    let mut bytes = Vec::new();
    let settings = BatchSettings {
        codec,
        level: CompressionLevel::DEFAULT,
        timestamp_type: TimestampType::CreateTime,
        producer: producer.map(|id| ProducerStamp {
            id,
            epoch: ProducerEpoch::new(0),
            base_sequence: Sequence::ZERO,
        }),
        kind: BatchKind::Plain,
        base_offset: Offset::ZERO,
        leader_epoch: LeaderEpoch::new(epoch),
    };
    let mut builder = BatchBuilder::new(&mut bytes, settings);
    let record = NewRecord { timestamp: NOW, key: Some(key), value: Some(value), headers: &[] };
    builder.push(record).unwrap();
    builder.finish().unwrap();
    bytes
}

/// P8: what a coordinator has given, or has decided to give, is in the values of its log; their headers name no producer.
#[test]
fn p8_ids_of_transactional_ids_are_given_to_nobody_else() {
    let value = |[id, previous, next]: [i64; 3]| TxnValue {
        producer: Producer { id: ProducerId::new(id), epoch: ProducerEpoch::new(3) },
        timeout_ms: 60_000,
        state: State::PrepareCommit,
        partitions: Some(Vec::new()),
        last_update: NOW,
        start: NOW,
        previous_producer_id: ProducerId::new(previous),
        next_producer_id: ProducerId::new(next),
        client_transaction_version: 2,
        next_producer_epoch: ProducerEpoch::NONE,
        last_producer_epoch: ProducerEpoch::NONE,
        unknown_tags: Vec::new(),
    };
    let mut key = Vec::new();
    encode_key(&TransactionalId::new("x").unwrap(), &mut key);
    let cases = [[90_000, 4, -1], [5, 90_000, -1], [5, 4, 90_000]];
    for (ids, codec) in cases.into_iter().flat_map(|ids| [(ids, Codec::None), (ids, Codec::Gzip)]) {
        let home = tempfile::tempdir().unwrap();
        let partition = home.path().join("__transaction_state-0");
        fs::create_dir(&partition).unwrap();
        let mut bytes = Vec::new();
        value(ids).encode(ValueVersion::V1, &mut bytes).unwrap();
        let log = log_of(None, codec, &key, &bytes);
        fs::write(partition.join("00000000000000000000.log"), log).unwrap();
        let engine = open_then(home.path());
        let fresh = engine.init_producer_id().unwrap().id;
        assert!(fresh > ProducerId::new(92_000), "{fresh} with {ids:?} in a value");
    }
}

/// P8: Kafka counts on its own, and may have come further meanwhile.
#[test]
fn p8_ids_go_on_above_those_that_kafka_gave_in_between() {
    let home = tempfile::tempdir().unwrap();
    let engine = open_then(home.path());
    engine.ensure_topic("t", 1).unwrap();
    engine.init_producer_id().unwrap();
    engine.shutdown().unwrap();
    drop(engine);
    fs::write(home.path().join(".kafka_cleanshutdown"), r#"{"version":0,"brokerEpoch":7}"#)
        .unwrap();
    let log = log_of(Some(ProducerId::new(90_000)), Codec::None, b"k", b"v");
    fs::write(home.path().join("t-0/00000000000000000000.log"), log).unwrap();
    let engine = open_then(home.path());
    let fresh = engine.init_producer_id().unwrap().id;
    assert!(fresh > ProducerId::new(92_000), "{fresh}");
    engine.shutdown().unwrap();
    drop(engine);
    // And not further each time that one of us closes it.
    let engine = open_then(home.path());
    assert!(engine.init_producer_id().unwrap().id < ProducerId::new(95_000));
}

/// P8: an opening that is refused has seen ids and handed out none; whoever comes next must see them too.
#[test]
fn p8_ids_go_on_above_kafkas_though_an_opening_was_refused_in_between() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let engine = open_then(home);
    engine.ensure_topic("t", 1).unwrap();
    engine.shutdown().unwrap();
    drop(engine);
    fs::write(home.join(".kafka_cleanshutdown"), KAFKAS_MARKER).unwrap();
    let log = log_of(Some(ProducerId::new(90_000)), Codec::None, b"k", b"v");
    fs::write(home.join("t-0/00000000000000000000.log"), log).unwrap();
    // The last one is seen only when rows are made.
    for refused in ["photos", "b-1"] {
        fs::create_dir(home.join(refused)).unwrap();
        let dir = FsDir::create(home, ReadMode::Map).unwrap();
        let error = Engine::open_in(Manual::new(NOW, 1), dir, Options::embedded()).unwrap_err();
        assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
        fs::remove_dir(home.join(refused)).unwrap();
    }
    let engine = open_then(home);
    let fresh = engine.init_producer_id().unwrap().id;
    assert!(fresh > ProducerId::new(92_000), "{fresh}");
    assert!(!home.join(".kafka_cleanshutdown").exists(), "a crash from here on is one");
}

/// That of half a million producers has more than 16 MiB. Whether it is sound is asked when it is read.
#[test]
fn a_snapshot_of_any_size_that_a_log_takes_keeps_no_directory_from_being_taken_over() {
    let home = tempfile::tempdir().unwrap();
    partition_of(home.path(), "t-0", ONE_ID);
    let file = home.path().join("t-0/00000000000000000001.snapshot");
    fs::File::create(file).unwrap().set_len(17 << 20).unwrap();
    assert_eq!(count_of(&open_then(home.path()), "t", 0), 1);
}

/// What Kafka leaves when it stops in order, once it has served.
const KAFKAS_MARKER: &str = r#"{"version":0,"brokerEpoch":7}"#;

/// L1: batches of an earlier epoch behind those of a later one would be taken for damage, and cut after the next power cut.
#[test]
fn l1_leader_epochs_go_on_above_those_that_kafka_led_in_between() {
    for stop in [Some(KAFKAS_MARKER), None] {
        let home = tempfile::tempdir().unwrap();
        let marker = home.path().join(".kafka_cleanshutdown");
        let engine = open_then(home.path());
        engine.ensure_topic("t", 1).unwrap();
        engine.shutdown().unwrap();
        drop(engine);
        let (Ok(()) | Err(_)) = fs::remove_file(&marker);
        let log = log_in_epoch(9, None, Codec::None, (b"k", b"theirs"));
        fs::write(home.path().join("t-0/00000000000000000000.log"), log).unwrap();
        if let Some(stop) = stop {
            fs::write(&marker, stop).unwrap();
        }
        let engine = open_then(home.path());
        let partition = engine.partition("t", 0).unwrap();
        if stop.is_some() {
            assert_eq!(partition.leader_epoch(), LeaderEpoch::new(10), "clients are told before");
        }
        let producer = engine.init_producer_id().unwrap();
        let ours = idempotent_at(NOW.get(), producer, 0, &["ours"]);
        partition.produce(ours, Acks::All).wait().unwrap();
        assert_eq!(partition.leader_epoch(), LeaderEpoch::new(10));
        engine.shutdown().unwrap();
        drop(engine);
        // The power goes, and all of the log is read.
        for file in [".kafka_cleanshutdown", "recovery-point-offset-checkpoint", "hanbeon.boot"] {
            let (Ok(()) | Err(_)) = fs::remove_file(home.path().join(file));
        }
        let engine = open_then(home.path());
        let fetched = engine.partition("t", 0).unwrap().fetch(&FetchSpec::from(Offset::ZERO));
        assert_eq!(support::values(&fetched.unwrap().records), ["theirs", "ours"]);
        let led = engine.partition("t", 0).unwrap().leader_epoch();
        assert!(led > LeaderEpoch::new(10), "{led}: an epoch has one leader");
    }
}

/// Puts a batch behind what a log has, as Kafka writes it when it leads in this epoch.
fn kafka_appends(file: &Path, epoch: i32, offset: i64, value: &str) {
    let mut batch = log_in_epoch(epoch, None, Codec::None, (b"k", value.as_bytes()));
    stamp(&mut batch, Offset::new(offset), LeaderEpoch::new(epoch));
    let log = [fs::read(file).unwrap(), batch].concat();
    fs::write(file, log).unwrap();
}

fn findings(partition: &Path) -> Vec<Finding> {
    struct Unseen;
    impl inspect::Visitor for Unseen {}
    let dir = FsDir::open(partition, ReadMode::Map).unwrap();
    inspect::inspect(&dir, inspect::Beside::default(), &mut Unseen).unwrap().findings
}

/// L1: Kafka counts by its own metadata, which know nothing of our openings: so it may lead below an epoch that we wrote in. Its epoch file
/// tells, unless the records of an epoch were deleted.
#[test]
fn l1_epochs_in_which_kafka_led_below_ours_are_no_damage() {
    let epochs = "0\n2\n0 0\n2 2\n";
    let deleted = "0\n1\n2 3\n";
    let stops = [Some(KAFKAS_MARKER), None];
    for (stop, epochs, start) in stops.into_iter().flat_map(|s| [(s, epochs, 0), (s, deleted, 3)]) {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        let (partition, marker) = (home.join("t-0"), home.join(".kafka_cleanshutdown"));
        partition_of(home, "t-0", ONE_ID);
        fs::write(partition.join("leader-epoch-checkpoint"), "0\n1\n0 0\n").unwrap();
        fs::write(&marker, KAFKAS_MARKER).unwrap();
        for _ in 0..2 {
            open_then(home).shutdown().unwrap();
        }
        let engine = open_then(home);
        let ours = engine.partition("t", 0).unwrap();
        ours.produce(batch_at(NOW.get(), &["ours"]), Acks::All).wait().unwrap();
        let led = ours.leader_epoch();
        assert!(led > LeaderEpoch::new(2), "{led}");
        engine.shutdown().unwrap();
        drop(engine);
        // Kafka was started again: two above the epoch that it knows of.
        fs::remove_file(&marker).unwrap();
        fs::write(partition.join("leader-epoch-checkpoint"), epochs).unwrap();
        kafka_appends(&partition.join("00000000000000000000.log"), 2, 2, "theirs");
        kafka_appends(&partition.join("00000000000000000000.log"), 2, 3, "more");
        if start > 0 {
            let starts = format!("0\n1\nt 0 {start}\n");
            fs::write(home.join("log-start-offset-checkpoint"), starts).unwrap();
        }
        if let Some(stop) = stop {
            fs::write(&marker, stop).unwrap();
        }
        let all = ["v", "ours", "theirs", "more", "again"];
        let start = usize::try_from(start).unwrap();
        if start == 0 {
            assert_eq!(findings(&partition), [], "by `hanbeon dump`");
        }
        for opening in 0..3 {
            if stop.is_none() {
                // The power went, and all of the log is read.
                for file in
                    [".kafka_cleanshutdown", "recovery-point-offset-checkpoint", "hanbeon.boot"]
                {
                    let (Ok(()) | Err(_)) = fs::remove_file(home.join(file));
                }
            }
            let engine = open_then(home);
            let again = engine.partition("t", 0).unwrap();
            let from = Offset::new(i64::try_from(start).unwrap());
            let fetched = again.fetch(&FetchSpec::from(from)).unwrap();
            let there = if opening == 0 { &all[start..4] } else { &all[start..] };
            assert_eq!(support::values(&fetched.records), there, "{stop:?}, opening {opening}");
            if opening == 0 {
                again.produce(batch_at(NOW.get(), &["again"]), Acks::All).wait().unwrap();
            }
            assert!(again.leader_epoch() > led, "{} after {led}", again.leader_epoch());
            engine.shutdown().unwrap();
            let kept = fs::read_to_string(partition.join("leader-epoch-checkpoint")).unwrap();
            assert!(kept.contains(&format!("\n2 {}\n", start.max(2))), "{kept}");
        }
        // Also where all of it is deleted, and still in the file.
        let engine = open_then(home);
        let end = engine.partition("t", 0).unwrap().delete_records(None).unwrap();
        engine.shutdown().unwrap();
        drop(engine);
        let engine = open_then(home);
        assert_eq!(engine.partition("t", 0).unwrap().log_end_offset().unwrap(), end);
    }
}

/// L11: nothing is written in the epochs, so that none of them shows in the log.
#[test]
fn l11_leader_epochs_rise_from_opening_to_opening_above_those_that_a_killed_kafka_led_in() {
    // The second is the one that the rows give to the next opening.
    for theirs in [2, 1] {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        let engine = open_then(home);
        engine.ensure_topic("t", 1).unwrap();
        engine.shutdown().unwrap();
        drop(engine);
        fs::remove_file(home.join(".kafka_cleanshutdown")).unwrap();
        let log = log_in_epoch(theirs, None, Codec::None, (b"k", b"theirs"));
        fs::write(home.join("t-0/00000000000000000000.log"), log).unwrap();
        let mut before = LeaderEpoch::new(theirs);
        for opening in 2..5 {
            let engine = open_then(home);
            let partition = engine.partition("t", 0).unwrap();
            if opening > 2 {
                assert!(
                    partition.leader_epoch() > before,
                    "{before} and then what clients are told first"
                );
            }
            partition.open().unwrap();
            let led = partition.leader_epoch();
            assert!(led > before, "{before} and then {led} in opening {opening}");
            before = led;
            engine.shutdown().unwrap();
        }
    }
}

/// L11: Kafka notes its epoch when it takes the lead, and has told it to clients before it was killed.
#[test]
fn l11_an_epoch_is_led_once_though_a_killed_kafka_wrote_nothing_in_it() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let engine = open_then(home);
    engine.ensure_topic("t", 1).unwrap();
    let partition = engine.partition("t", 0).unwrap();
    partition.produce(batch_at(NOW.get(), &["ours"]), Acks::All).wait().unwrap();
    engine.shutdown().unwrap();
    drop(engine);
    fs::remove_file(home.join(".kafka_cleanshutdown")).unwrap();
    let epochs = home.join("t-0/leader-epoch-checkpoint");
    let ours = fs::read_to_string(&epochs).unwrap();
    fs::write(&epochs, ours.replace("\n1\n", "\n2\n") + "10 1\n").unwrap();
    let rows = fs::read(home.join("hanbeon.meta")).unwrap();
    for opening in 0..2 {
        let engine = open_then(home);
        let partition = engine.partition("t", 0).unwrap();
        partition.open().unwrap();
        let led = partition.leader_epoch();
        assert_eq!(led, LeaderEpoch::new(11), "opening {opening}");
        let spec = FetchSpec {
            current_leader_epoch: Some(LeaderEpoch::new(10)),
            ..FetchSpec::from(Offset::ZERO)
        };
        let fenced = partition.fetch(&spec).unwrap_err();
        assert_eq!(fenced.code(), hanbeon::ErrorCode::FencedLeaderEpoch, "opening {opening}");
        engine.shutdown().unwrap();
        // As if that opening had broken off before it wrote a row.
        fs::remove_file(home.join(".kafka_cleanshutdown")).unwrap();
        fs::write(home.join("hanbeon.meta"), &rows).unwrap();
    }
}

/// L11: nothing of an epoch is left, neither records nor its entry.
#[test]
fn l11_an_epoch_is_led_once_though_a_power_cut_took_all_of_the_log_that_counted() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let engine = open_then(home);
    engine.ensure_topic("t", 1).unwrap();
    engine.shutdown().unwrap();
    drop(engine);
    let log = log_in_epoch(9, None, Codec::None, (b"k", b"deleted"));
    fs::write(home.join("t-0/00000000000000000000.log"), log).unwrap();
    fs::write(home.join("t-0/leader-epoch-checkpoint"), "0\n1\n9 0\n").unwrap();
    fs::write(home.join("log-start-offset-checkpoint"), "0\n1\nt 0 5\n").unwrap();
    for file in [".kafka_cleanshutdown", "recovery-point-offset-checkpoint", "hanbeon.boot"] {
        let (Ok(()) | Err(_)) = fs::remove_file(home.join(file));
    }
    let engine = open_then(home);
    let partition = engine.partition("t", 0).unwrap();
    assert_eq!(partition.log_end_offset().unwrap(), Offset::new(5));
    assert_eq!(partition.leader_epoch(), LeaderEpoch::new(10));
}

/// L1: batches of an earlier epoch behind those of a later one would be taken for damage, and cut after the next power cut.
#[test]
fn l1_l11_leader_epochs_go_on_above_one_whose_records_kafka_has_deleted() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let engine = open_then(home);
    engine.ensure_topic("t", 1).unwrap();
    engine.shutdown().unwrap();
    drop(engine);
    fs::remove_file(home.join(".kafka_cleanshutdown")).unwrap();
    let partition = home.join("t-0");
    let log = log_in_epoch(9, None, Codec::None, (b"k", b"deleted"));
    fs::write(partition.join("00000000000000000000.log"), log).unwrap();
    fs::write(partition.join("leader-epoch-checkpoint"), "0\n1\n9 1\n").unwrap();
    fs::write(home.join("log-start-offset-checkpoint"), "0\n1\nt 0 1\n").unwrap();
    for expected in [&["ours"][..], &["ours", "ours"]] {
        for file in [".kafka_cleanshutdown", "recovery-point-offset-checkpoint", "hanbeon.boot"] {
            let (Ok(()) | Err(_)) = fs::remove_file(home.join(file));
        }
        let engine = open_then(home);
        let partition = engine.partition("t", 0).unwrap();
        partition.produce(batch_at(NOW.get(), &["ours"]), Acks::All).wait().unwrap();
        let fetched = partition.fetch(&FetchSpec::from(Offset::new(1))).unwrap();
        assert_eq!(support::values(&fetched.records), expected);
        assert!(partition.leader_epoch() > LeaderEpoch::new(9), "{}", partition.leader_epoch());
        engine.shutdown().unwrap();
    }
}

/// L11: records of a raised epoch that are lost are no reason to lead in it again.
#[test]
fn l11_an_epoch_is_led_once_though_a_power_cut_took_its_records() {
    let open = |disk: &CrashDir| {
        Engine::open_in(Manual::new(NOW, 1), disk.clone(), Options::broker()).unwrap()
    };
    for seed in 0..8 {
        let disk = CrashDir::new();
        let engine = open(&disk);
        engine.ensure_topic("t", 1).unwrap();
        engine.shutdown().unwrap();
        drop(engine);
        let name = |text| FileName::new(text).unwrap();
        disk.remove(&name(".kafka_cleanshutdown")).unwrap();
        let partition = disk.dir(&name("t-0")).unwrap();
        let file = partition.open(&name("00000000000000000000.log"), Open::Create).unwrap();
        let log = log_in_epoch(9, None, Codec::None, (b"k", b"theirs"));
        file.write_at(&[IoSlice::new(&log)], 0).unwrap();
        file.sync().unwrap();
        partition.sync().unwrap();
        disk.sync().unwrap();
        let engine = open(&disk);
        let partition = engine.partition("t", 0).unwrap();
        let produced = partition.produce(batch_at(NOW.get(), &["lost"]), Acks::All).wait().unwrap();
        assert_eq!(produced.base_offset, Offset::new(1));
        let led = partition.leader_epoch();
        assert_eq!(led, LeaderEpoch::new(10));
        std::mem::forget(engine);
        let engine = open(&disk.crash(seed));
        let partition = engine.partition("t", 0).unwrap();
        partition.open().unwrap();
        assert!(partition.leader_epoch() > led, "{} again, image {seed}", partition.leader_epoch());
    }
}

/// A partition with one record, as Kafka makes it.
fn partition_of(home: &Path, name: &str, topic_id: &str) {
    let dir = home.join(name);
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("partition.metadata"), format!("version: 0\ntopic_id: {topic_id}")).unwrap();
    let log = log_of(None, Codec::None, b"k", b"v");
    fs::write(dir.join("00000000000000000000.log"), log).unwrap();
}

const ONE_ID: &str = "1HzfqvfWSICkuWvbNCFg3Q";
const OTHER_ID: &str = "MkU3OEVBNTcwNTJENDM2Qg";

/// A directory of Kafka's that ours has used and closed; gives the id of `idem`.
fn taken_over(home: &Path) -> String {
    kafkas_directory(home);
    let engine = open_then(home);
    let id = engine.topic("idem").unwrap().id().to_string();
    engine.shutdown().unwrap();
    id
}

#[test]
fn what_kafka_made_in_between_is_taken_over_too() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let id = taken_over(home);
    partition_of(home, "b-0", ONE_ID);
    partition_of(home, "idem-2", &id);
    fs::write(home.join(".kafka_cleanshutdown"), KAFKAS_MARKER).unwrap();
    let engine = open_then(home);
    assert_eq!([0, 1, 2].map(|number| count(&engine, number)), [37, 44, 1]);
    let made = engine.topic("b").unwrap();
    assert_eq!((made.id().to_string(), count_of(&engine, "b", 0)), (ONE_ID.to_owned(), 1));
    assert!(engine.partition("b", 0).unwrap().leader_epoch() > LeaderEpoch::new(0));
    engine.shutdown().unwrap();
    drop(engine);
    // Deleted, and made again by the same name.
    fs::remove_dir_all(home.join("b-0")).unwrap();
    partition_of(home, "b-0", OTHER_ID);
    partition_of(home, "b-1", OTHER_ID);
    fs::write(home.join(".kafka_cleanshutdown"), KAFKAS_MARKER).unwrap();
    let engine = open_then(home);
    assert_eq!(engine.topic("b").unwrap().id().to_string(), OTHER_ID);
    assert_eq!([0, 1].map(|number| count_of(&engine, "b", number)), [1, 1]);
    assert!(engine.partition_by_id(made.id(), 0).is_err());
}

/// The first opening is refused half way: there are rows, and no cluster.
#[test]
fn what_kafka_made_behind_a_refused_first_opening_is_taken_over_too() {
    for id in [ONE_ID, OTHER_ID] {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        partition_of(home, "a-0", ONE_ID);
        fs::create_dir(home.join("b-1")).unwrap();
        let refused = Engine::open_in(
            Manual::new(NOW, 1),
            FsDir::create(home, ReadMode::Map).unwrap(),
            Options::embedded(),
        );
        assert!(matches!(refused, Err(OpenError::Foreign { .. })));
        fs::remove_dir(home.join("b-1")).unwrap();
        if id != ONE_ID {
            fs::remove_dir_all(home.join("a-0")).unwrap();
            partition_of(home, "a-0", id);
        }
        partition_of(home, "a-1", id);
        fs::write(home.join(".kafka_cleanshutdown"), KAFKAS_MARKER).unwrap();
        let engine = open_then(home);
        assert_eq!(engine.topic("a").unwrap().id().to_string(), id);
        assert_eq!([0, 1].map(|number| count_of(&engine, "a", number)), [1, 1], "{id}");
    }
}

#[test]
fn what_kafka_made_in_between_is_put_aside_by_nobody() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let id = taken_over(home);
    for (name, id) in [("b-1", ONE_ID), ("idem-3", id.as_str()), ("idem-2", ONE_ID)] {
        partition_of(home, name, id);
        fs::write(home.join(".kafka_cleanshutdown"), KAFKAS_MARKER).unwrap();
        let dir = FsDir::create(home, ReadMode::Map).unwrap();
        let refused = Engine::open_in(Manual::new(NOW, 1), dir, Options::embedded()).unwrap_err();
        assert!(matches!(refused, OpenError::Foreign { .. }), "{name}: {refused}");
        assert!(home.join(name).join("00000000000000000000.log").exists());
        fs::remove_dir_all(home.join(name)).unwrap();
    }
}

#[test]
fn the_log_of_kafkas_controllers_is_no_topic_that_anybody_makes() {
    let home = tempfile::tempdir().unwrap();
    kafkas_directory(home.path());
    let engine = open_then(home.path());
    let new = NewTopic::new("__cluster_metadata", 1);
    let refused = engine.create_topic(&new, Mode::Apply).unwrap_err();
    assert_eq!(refused.code(), hanbeon::ErrorCode::TopicAlreadyExists);
    assert!(engine.create_internal_topic(&new).is_err());
    assert!(engine.auto_create_topic("__cluster_metadata").is_err());
    let left = fs::read_dir(home.path().join("__cluster_metadata-0")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["quorum-state"]);
}

#[test]
fn a_part_of_a_larger_cluster_is_refused_and_left_as_it_is() {
    let home = tempfile::tempdir().unwrap();
    kafkas_directory(home.path());
    fs::remove_dir_all(home.path().join("idem-0")).unwrap();
    let refused = Engine::open(home.path()).unwrap_err();
    assert!(matches!(refused, OpenError::Foreign { .. }), "{refused}");
    assert!(home.path().join("idem-1/00000000000000000000.log").exists());
}

#[test]
fn what_is_written_here_lies_where_kafka_looks_for_it() {
    let home = tempfile::tempdir().unwrap();
    let engine = Engine::open_with(home.path(), Options::broker()).unwrap();
    let topic = engine.ensure_topic("t", 1).unwrap();
    let partition = engine.partition("t", 0).unwrap();
    partition.produce(batch(&["a", "b"]), Acks::All).wait().unwrap();
    engine.shutdown().unwrap();
    let read = |file: &str| fs::read_to_string(home.path().join(file)).unwrap();
    assert!(read("meta.properties").contains("version=1\ncluster.id="));
    assert_eq!(read("t-0/partition.metadata"), format!("version: 0\ntopic_id: {}", topic.id()));
    assert_eq!(read("recovery-point-offset-checkpoint"), "0\n1\nt 0 2\n");
    assert_eq!(read("replication-offset-checkpoint"), "0\n1\nt 0 2\n");
    assert_eq!(read("log-start-offset-checkpoint"), "0\n0\n");
    assert_eq!(read(".kafka_cleanshutdown"), "{\"version\":0,\"brokerEpoch\":-1}");
    assert!(home.path().join("t-0/00000000000000000000.log").exists());
}

#[test]
fn a_second_opener_is_told_who_holds_the_directory() {
    let home = tempfile::tempdir().unwrap();
    let _held = Engine::open(home.path()).unwrap();
    let refused = Engine::open(home.path()).unwrap_err();
    assert!(matches!(refused, OpenError::Locked { .. }));
    let holder = std::process::id().to_string();
    let text = refused.to_string();
    assert!(text.contains(&holder) || text.contains("this process"), "{text}");
}

#[test]
fn metadata_of_a_later_release_is_not_guessed_at() {
    let home = tempfile::tempdir().unwrap();
    Engine::open(home.path()).unwrap().shutdown().unwrap();
    let file = home.path().join("meta.properties");
    let later = fs::read_to_string(&file).unwrap().replace("version=1", "version=9");
    fs::write(file, later).unwrap();
    assert!(matches!(Engine::open(home.path()), Err(OpenError::MetaProperties { .. })));
}
