//! The power goes at every single storage operation in the life of some transactions, and each of them is whole or void: the same decision on
//! every partition and in the group's offsets, the coordinator's, and the one that was acknowledged.
//!
//! Three of the ways: everything is synced (the embedded default); only the topics are, so that a decision has to be synced before its markers
//! although the log it is written to is not; nothing is, and the process is killed instead of the machine. And once the one after the other.
//! Where nothing is synced and the machine dies, a transaction may lose parts of itself; what is left is that nobody gets what was not to be
//! committed, and that everybody goes on.
//! `SEED=... cargo test -p hanbeon --test transaction_crashes` draws other crashes from the same moments.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    task::{Context, Poll, Waker},
};

use hanbeon::{
    Acks, ClientError, Engine, Enrol, ErrorCode, FetchSpec, GroupsError, Isolation, Manual, Millis,
    Mode, NewTopic, Offset, Options, ProduceError, ProducerSettings, Record, TopicPartition,
    group::{Fetch, FetchWhat, Name, Stability},
    txn::{
        AddPartitions, EndTxn, InitProducerId, Outcome, Producer, Protocol, State, TransactionalId,
    },
};
use hanbeon_log::{CrashDir, Fault, FaultKind, Lasting};
use hanbeon_records::{BatchRef, Control, ProducerEpoch, ProducerId, TopicName, read_control};
use support::{in_transaction_at, wait};

const NOW: Millis = Millis::new(1_700_000_000_000);
/// Where transactions write; `in` is where their offsets point to.
const PARTITIONS: [(&str, i32); 3] = [("a", 0), ("a", 1), ("b", 0)];
const TRANSACTIONS: i64 = 4;

type World = Engine<Manual<CrashDir>>;

/// How durable things are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    AllSynced,
    TopicsSynced,
    /// And a kill leaves everything that was written.
    Killed,
    /// And of each file the power leaves what it likes, so that no log knows how far another one got.
    NothingSynced,
}

/// What the application knows of its transactions, which are numbered.
#[derive(Default)]
struct Application {
    next: i64,
    told: BTreeMap<i64, Outcome>,
    /// What it asked to be committed. Of the others nothing is ever seen, whoever comes after.
    asked: BTreeSet<i64>,
}

fn seed() -> u64 {
    std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

fn open(
    disk: &CrashDir,
    way: Way,
    seed: u64,
) -> Result<(Manual<CrashDir>, World), hanbeon::OpenError> {
    let env = Manual::new(NOW, seed);
    let options = match way {
        Way::AllSynced => Options::embedded(),
        Way::TopicsSynced | Way::Killed | Way::NothingSynced => Options::broker(),
    };
    let options = options.set("transaction.state.log.num.partitions", "1").unwrap();
    let options = options.set("offsets.topic.num.partitions", "1").unwrap();
    let engine = Engine::open_in(env.clone(), disk.clone(), options)?;
    Ok((env, engine))
}

/// One life of the application, until the storage fails.
fn live(disk: &CrashDir, way: Way, seed: u64, application: &mut Application) -> Lived {
    let (_, engine) = open(disk, way, seed)?;
    let done = work(&engine, way, application);
    // A dead machine closes nothing.
    std::mem::forget(engine);
    done
}

/// Whether all is done, or what kept it from that.
type Lived = Result<(), Box<dyn std::error::Error>>;

fn work(engine: &World, way: Way, application: &mut Application) -> Lived {
    for (name, partitions) in [("a", 2), ("b", 1), ("in", 1)] {
        if engine.topic(name).is_none() {
            let topic = NewTopic::new(name, partitions);
            let topic = match way {
                Way::TopicsSynced => topic.config("flush.messages", "1"),
                Way::AllSynced | Way::Killed | Way::NothingSynced => topic,
            };
            engine.create_topic(&topic, Mode::Apply)?;
        }
    }
    // So that some batches are written long before the commit and some at it.
    let settings = ProducerSettings::new().set("batch.size", "100").unwrap();
    let mut producer = engine.transactional_producer_with("tx", settings)?;
    for _ in 0..TRANSACTIONS {
        let number = application.next;
        application.next += 1;
        let (outcome, result) = transact(&mut producer, way, number, &mut application.asked);
        match &result {
            Ok(()) => drop(application.told.insert(number, outcome)),
            Err(ClientError::Aborted { .. }) => {
                application.told.insert(number, Outcome::Abort);
            }
            Err(_) => {}
        }
        result?;
    }
    Ok(())
}

/// Each transaction says its number on every partition, twice on one, and to the group.
fn transact(
    producer: &mut hanbeon::TransactionalProducer<Manual<CrashDir>>,
    way: Way,
    number: i64,
    asked: &mut BTreeSet<i64>,
) -> (Outcome, Result<(), ClientError>) {
    let outcome = if number % 3 == 2 { Outcome::Abort } else { Outcome::Commit };
    let mut transaction = producer.begin();
    let mut send = || -> Result<(), ClientError> {
        for (topic, partition) in PARTITIONS.into_iter().chain([("a", 0)]) {
            let record = Record::new(topic, format!("{number}")).partition(partition);
            transaction.send(record)?;
        }
        if way == Way::TopicsSynced {
            // As long as no synced topic takes part, a power cut may take the enrolment and leave what was enrolled.
            transaction.flush()?;
        }
        let at = TopicPartition { topic: TopicName::new("in").unwrap(), partition: 0 };
        transaction.send_offsets("g", &[(at, Offset::new(number))])
    };
    let sent = send();
    let result = match outcome {
        Outcome::Commit => {
            if sent.is_ok() {
                asked.insert(number);
            }
            transaction.commit().map(drop)
        }
        Outcome::Abort => sent.and_then(|()| transaction.abort()),
    };
    (outcome, result)
}

/// Opens what the crash left, lets upkeep do its work, and looks.
fn check(disk: &CrashDir, way: Way, seed: u64, application: &Application, story: &str) {
    let (env, engine) =
        open(disk, way, seed).unwrap_or_else(|error| panic!("{story}: does not open: {error}"));
    upkeep(&env, &engine, story);
    let mut told_by_partition = Vec::new();
    for (topic, number) in PARTITIONS {
        let Ok(partition) = engine.partition(topic, number) else { continue };
        let end = partition.log_end_offset().unwrap();
        assert_eq!(partition.last_stable_offset().unwrap(), end, "{story}: {topic}-{number} hangs");
        told_by_partition.push(committed(&engine, way, topic, number));
    }
    for number in told_by_partition.iter().flatten() {
        // T3: whoever did not come to ask for it was fenced by the next life.
        assert!(application.asked.contains(number), "{story}: {number} was never to be committed");
    }
    if way != Way::NothingSynced {
        whole_or_void(&engine, &told_by_partition, application, story);
    }
    let described = engine.transactions().describe("tx").unwrap();
    let state = described.map(|described| described.state);
    // T4 and T12: nothing is half done.
    let over = [State::Empty, State::CompleteCommit, State::CompleteAbort];
    assert!(state.is_none_or(|state| over.contains(&state)), "{story}: {state:?}");
    std::mem::forget(engine);
}

/// The same on all partitions and in the group's offsets, and as the application was told.
fn whole_or_void(
    engine: &World,
    told_by_partition: &[Vec<i64>],
    application: &Application,
    story: &str,
) {
    // T1: one decision for each transaction, on all partitions that heard of it.
    for (pair, outcomes) in &markers(engine, story) {
        assert_eq!(outcomes.len(), 1, "{story}: {pair:?} is split: {outcomes:?}");
    }
    let Some(first) = told_by_partition.first() else {
        assert!(application.told.is_empty(), "{story}: the topics are lost");
        return;
    };
    for seen in told_by_partition {
        // On a-0 each number stands twice.
        let (mut seen, mut first) = (seen.clone(), first.clone());
        seen.dedup();
        first.dedup();
        assert_eq!(seen, first, "{story}: the partitions differ");
    }
    let mut twice = BTreeMap::new();
    first.iter().for_each(|number| *twice.entry(*number).or_insert(0) += 1);
    assert!(twice.values().all(|count| *count == 2), "{story}: halves are visible: {first:?}");
    for (number, outcome) in &application.told {
        let there = twice.contains_key(number);
        assert_eq!(there, *outcome == Outcome::Commit, "{story}: {number} was told {outcome:?}");
    }
    // T8: the group stands where the last committed transaction put it.
    let last = twice.keys().last().copied();
    assert_eq!(group_offset(engine), last, "{story}: the group's offset");
}

/// Carries out what is owed, and aborts what nobody will end.
fn upkeep(env: &Manual<CrashDir>, engine: &World, story: &str) {
    for _ in 0..3 {
        env.advance(70_000);
        for _ in 0..100 {
            let left = engine.maintain(hanbeon::Env::now(env));
            if left.unwrap_or_else(|error| panic!("{story}: {error}")) > 0 {
                break;
            }
        }
    }
}

/// What readers of committed data get.
fn committed(engine: &World, way: Way, topic: &str, partition: i32) -> Vec<i64> {
    let mut consumer = engine.consumer();
    consumer.assign(topic, partition).unwrap();
    let mut numbers = Vec::new();
    loop {
        let received = consumer.poll().unwrap();
        if received.is_empty() {
            return numbers;
        }
        for record in received {
            let text = String::from_utf8(record.value.unwrap().to_vec());
            match text.ok().and_then(|text| text.parse().ok()) {
                Some(number) => numbers.push(number),
                // The medium may have given an unsynced file a block that was another's, with whole batches in it.
                None => assert_eq!(way, Way::NothingSynced, "{topic}-{partition} has no number"),
            }
        }
    }
}

/// The decisions that the partitions were told, by the pair in the marker.
type Markers = BTreeMap<(ProducerId, ProducerEpoch), BTreeSet<&'static str>>;

fn markers(engine: &World, story: &str) -> Markers {
    let mut found = Markers::new();
    for (topic, number) in PARTITIONS.into_iter().chain([("__consumer_offsets", 0)]) {
        let Ok(partition) = engine.partition(topic, number) else { continue };
        let mut from = Offset::ZERO;
        loop {
            let spec = FetchSpec { isolation: Isolation::LogEnd, ..FetchSpec::from(from) };
            let fetched = partition.fetch(&spec).unwrap_or_else(|error| panic!("{story}: {error}"));
            let mut rest: &[u8] = &fetched.records;
            if rest.is_empty() {
                break;
            }
            while let Ok((batch, behind)) = BatchRef::parse(rest) {
                rest = behind;
                from = batch.next_offset();
                if let Ok(Some(Control::EndTxn(marker))) = read_control(batch) {
                    let outcome = match marker.outcome {
                        Outcome::Commit => "commit",
                        Outcome::Abort => "abort",
                    };
                    let pair = (batch.producer_id(), batch.producer_epoch());
                    found.entry(pair).or_default().insert(outcome);
                }
            }
        }
    }
    found
}

fn group_offset(engine: &World) -> Option<i64> {
    try_group_offset(engine).unwrap()
}

fn try_group_offset(engine: &World) -> Result<Option<i64>, GroupsError> {
    let fetch = Fetch {
        group: Name::new("g").unwrap(),
        member: None,
        stability: Stability::Required,
        what: FetchWhat::These(vec![(Name::new("in").unwrap(), 0)]),
    };
    let mut fetched = pin!(engine.groups().fetch_offsets(fetch));
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(found) = fetched.as_mut().poll(&mut cx) else { panic!("nobody is waited for") };
    let offset = found?.pop().unwrap();
    assert_eq!(offset.error, None);
    Ok(offset.committed.map(|committed| committed.offset.get()))
}

/// What is left when it happens.
fn crash(disk: &CrashDir, way: Way, draw: u64) -> CrashDir {
    match way {
        Way::AllSynced | Way::TopicsSynced | Way::NothingSynced => disk.crash(draw),
        Way::Killed => disk.killed(),
    }
}

fn sweep(way: Way) {
    let seed = seed();
    for cut in 0.. {
        let disk = CrashDir::new();
        let mut application = Application::default();
        disk.inject(Fault { kind: FaultKind::Error, after: cut, lasting: Lasting::Sticky });
        let done = live(&disk, way, seed, &mut application);
        let draw = seed.wrapping_mul(1000).wrapping_add(cut);
        let story = format!("{way:?}, cut at operation {cut}, SEED={seed}");
        let disk = crash(&disk, way, draw);
        // And again while it recovers and goes on.
        disk.inject(Fault { kind: FaultKind::Error, after: draw % 41, lasting: Lasting::Sticky });
        let _whatever_came_of_it = live(&disk, way, draw, &mut application);
        let disk = crash(&disk, way, draw.wrapping_add(1));
        check(&crash(&disk, way, draw), way, draw.wrapping_add(2), &application, &story);
        if let Err(error) = live(&disk, way, draw.wrapping_add(3), &mut application) {
            panic!("{story}: does not go on: {error}");
        }
        let rest = crash(&disk, way, draw.wrapping_add(2));
        check(&rest, way, draw.wrapping_add(4), &application, &format!("{story}, after going on"));
        if done.is_ok() {
            assert!(cut > 100, "the sweep ended at {cut}");
            return;
        }
    }
}

#[test]
fn t1_t2_t4_t8_t12_every_transaction_is_whole_or_void_whenever_the_power_goes() {
    sweep(Way::AllSynced);
}

#[test]
fn t2_a_decision_about_synced_topics_is_on_the_disk_before_its_first_marker() {
    sweep(Way::TopicsSynced);
}

#[test]
fn t1_t2_t4_t8_t12_every_transaction_is_whole_or_void_whenever_the_process_is_killed() {
    sweep(Way::Killed);
}

#[test]
fn t3_t5_t12_no_life_is_taken_for_another_and_none_hangs_when_every_log_may_be_older_than_the_others()
 {
    sweep(Way::NothingSynced);
}

/// How many syncs each commit waits for; the records are on the disk before.
fn syncs_of_commits(way: Way) -> Vec<u64> {
    let disk = CrashDir::new();
    let (_, engine) = open(&disk, way, seed()).unwrap();
    engine.create_topic(&NewTopic::new("t", 1).config("flush.messages", "1"), Mode::Apply).unwrap();
    let settings = ProducerSettings::new();
    let mut producer = engine.transactional_producer_with("tx", settings).unwrap();
    let mut commit = || {
        let mut transaction = producer.begin();
        transaction.send(Record::new("t", "a record")).unwrap();
        transaction.flush().unwrap();
        let before = disk.syncs();
        transaction.commit().unwrap();
        disk.syncs() - before
    };
    (0..3).map(|_| commit()).collect()
}

/// The decision and its markers. What says that all is done goes to the disk with what comes next.
#[test]
fn a_commit_waits_for_two_syncs() {
    for way in [Way::AllSynced, Way::TopicsSynced] {
        assert_eq!(syncs_of_commits(way), [2, 2, 2]);
    }
}

/// Whether a commit is decided and its markers are owed.
fn owes_markers(disk: &CrashDir, seed: u64) -> bool {
    let Ok((_, engine)) = open(disk, Way::TopicsSynced, seed) else { return false };
    let described = engine.transactions().describe("tx").unwrap();
    std::mem::forget(engine);
    described.is_some_and(|described| described.state == State::PrepareCommit)
}

/// A process is killed when it has written a decision and not synced it. The next one acts on it, and then the power goes.
#[test]
fn t1_t2_a_decision_that_a_kill_left_unsynced_is_on_the_disk_before_its_first_marker() {
    let (way, seed) = (Way::TopicsSynced, seed());
    let (mut decided, mut decisions) = (false, 0);
    for cut in 0.. {
        let disk = CrashDir::new();
        let mut application = Application::default();
        let kill = FaultKind::Kill { bytes: 0 };
        disk.inject(Fault { kind: kill, after: cut, lasting: Lasting::Sticky });
        if live(&disk, way, seed, &mut application).is_ok() {
            break;
        }
        let before = std::mem::replace(&mut decided, owes_markers(&disk.killed(), seed));
        if before || !decided {
            continue;
        }
        decisions += 1;
        for second in 0.. {
            let story = format!("killed at operation {cut}, power cut at {second}, SEED={seed}");
            let disk = disk.killed();
            disk.inject(Fault { kind: FaultKind::Error, after: second, lasting: Lasting::Sticky });
            if let Ok((env, engine)) = open(&disk, way, seed) {
                while engine.maintain(hanbeon::Env::now(&env)).is_ok_and(|left| left == 0) {}
                std::mem::forget(engine);
            }
            for nth in 0..4 {
                let draw = seed.wrapping_mul(1000).wrapping_add(second * 4 + nth);
                check(&disk.crash(draw), way, draw, &application, &story);
            }
            if disk.fired() == 0 {
                break;
            }
        }
    }
    assert!(decisions >= 2, "{decisions} decisions");
}

/// A process is killed with a transaction open, and its producer ends it at the next one before anything else is asked of that. The offsets
/// are what the killed one has not synced.
#[test]
fn t8_offsets_of_a_killed_process_are_on_the_disk_before_their_commit() {
    let (way, seed) = (Way::TopicsSynced, seed());
    let disk = CrashDir::new();
    let (_, engine) = open(&disk, way, seed).unwrap();
    let topics = [("a", 1), ("in", 1)].map(|(name, partitions)| NewTopic::new(name, partitions));
    for topic in topics {
        engine.create_topic(&topic.config("flush.messages", "1"), Mode::Apply).unwrap();
    }
    let mut producer = engine.transactional_producer("tx").unwrap();
    let mut transaction = producer.begin();
    transaction.send(Record::new("a", "7").partition(0)).unwrap();
    transaction.flush().unwrap();
    let at = TopicPartition { topic: TopicName::new("in").unwrap(), partition: 0 };
    transaction.send_offsets("g", &[(at, Offset::new(7))]).unwrap();
    let pair = engine.transactions().describe("tx").unwrap().unwrap().producer;
    let killed = disk.killed();
    std::mem::forget(transaction);
    std::mem::forget(producer);
    std::mem::forget(engine);
    let (mut void, mut whole) = (0, 0);
    for cut in 0.. {
        let disk = killed.killed();
        disk.inject(Fault { kind: FaultKind::Error, after: cut, lasting: Lasting::Sticky });
        if let Ok((_, engine)) = open(&disk, way, seed) {
            // No boot is told here, so that it could be a power cut: a commit waits until they are open.
            for topic in ["a", "in", "__consumer_offsets", "__transaction_state"] {
                let topic = engine.topic(topic);
                for partition in topic.iter().flat_map(|topic| topic.partitions()) {
                    let _opened_or_not = partition.open();
                }
            }
            let (id, outcome) = (TransactionalId::new("tx").unwrap(), Outcome::Commit);
            let end = EndTxn { id, producer: pair, outcome, protocol: Protocol::V2 };
            let _told = wait(engine.transactions().end(end));
            std::mem::forget(engine);
        }
        for nth in 0..4 {
            let draw = seed.wrapping_mul(1000).wrapping_add(cut * 4 + nth);
            let story = format!("power cut at {cut}, draw {draw}, SEED={seed}");
            let (env, engine) = open(&disk.crash(draw), way, draw).unwrap();
            upkeep(&env, &engine, &story);
            let committed = committed(&engine, way, "a", 0);
            let expected = if committed.is_empty() { None } else { Some(7) };
            match try_group_offset(&engine) {
                Ok(found) => assert_eq!(found, expected, "{story}: {committed:?}"),
                // The medium may have given the log of offsets, which nobody has synced then, a block that was another's, with whole batches in it.
                Err(GroupsError::Load { .. }) => assert_eq!(expected, None, "{story}"),
                Err(error) => panic!("{story}: {error}"),
            }
            *if committed.is_empty() { &mut void } else { &mut whole } += 1;
            std::mem::forget(engine);
        }
        if disk.fired() == 0 {
            break;
        }
    }
    assert!(void > 0 && whole > 0, "{void} void, {whole} whole");
}

/// What is in a log, whatever became of it.
fn written(engine: &World, topic: &str, partition: i32) -> Vec<String> {
    let partition = engine.partition(topic, partition).unwrap();
    let mut written = Vec::new();
    let mut from = Offset::ZERO;
    loop {
        let spec = FetchSpec { isolation: Isolation::LogEnd, ..FetchSpec::from(from) };
        let records = partition.fetch(&spec).unwrap().records;
        let mut rest: &[u8] = &records;
        if rest.is_empty() {
            return written;
        }
        while let Ok((batch, behind)) = BatchRef::parse(rest) {
            if !batch.attributes().is_control() {
                written.extend(support::values(&rest[..rest.len() - behind.len()]));
            }
            rest = behind;
            from = batch.next_offset();
        }
    }
}

/// Writes one record, which a client of protocol 2 does without more ado.
fn write_by_hand(
    engine: &World,
    producer: Producer,
    (partition, sequence): (i32, i32),
    protocol: Protocol,
) -> Result<(), ProduceError> {
    let id = TransactionalId::new("tx").unwrap();
    let transactions = engine.transactions();
    let enrol = match protocol {
        Protocol::V1 => Enrol::Verify,
        Protocol::V2 => Enrol::Add,
    };
    if sequence == 0 && protocol == Protocol::V1 {
        let at = TopicPartition { topic: TopicName::new("a").unwrap(), partition };
        let add = AddPartitions { id: id.clone(), producer, partitions: vec![at], protocol };
        wait(transactions.add_partitions(add)).unwrap();
    }
    let value = format!("{partition}{sequence}");
    let batch = in_transaction_at(NOW.get(), producer, sequence, &[value.as_str()]);
    let batches = vec![(engine.partition("a", partition).unwrap(), batch)];
    let begun = wait(transactions.produce(&id, enrol, batches, Acks::All).begun());
    begun.into_iter().next().unwrap().wait().map(drop)
}

/// A client outlives two power cuts and knows of neither. Whatever they took: of a transaction whose commit it is answered readers get all that is left.
#[test]
fn t1_a_commit_over_power_cuts_leaves_out_nothing_that_is_there() {
    let (way, seed) = (Way::NothingSynced, seed());
    for protocol in [Protocol::V1, Protocol::V2] {
        let disk = CrashDir::new();
        let (_, engine) = open(&disk, way, seed).unwrap();
        engine.create_topic(&NewTopic::new("a", 2), Mode::Apply).unwrap();
        let id = TransactionalId::new("tx").unwrap();
        let init = InitProducerId::new(id.clone(), 60_000);
        let producer = wait(engine.transactions().init_producer_id(init)).unwrap();
        for partition in [0, 1] {
            write_by_hand(&engine, producer, (partition, 0), protocol).unwrap();
        }
        std::mem::forget(engine);
        let (mut committed_in, mut refused) = (0, 0);
        for draw in 0..600 {
            let story = format!("{protocol:?}, draw {draw}, SEED={seed}");
            let draw = seed.wrapping_mul(10_000).wrapping_add(draw);
            let disk = disk.crash(draw);
            let (env, engine) = open(&disk, way, draw).unwrap();
            // Before upkeep has looked, behind, or both.
            let _taken_or_not = write_by_hand(&engine, producer, (1, 1), protocol);
            if draw % 3 > 0 {
                upkeep_to_the_end(&env, &engine, &story);
                let _taken_or_not = write_by_hand(&engine, producer, (1, 2), protocol);
            }
            std::mem::forget(engine);
            let disk = if draw % 2 == 0 { disk.crash(draw) } else { disk.killed() };
            let (env, engine) = open(&disk, way, draw).unwrap();
            let mut told = Err(ErrorCode::CoordinatorLoadInProgress);
            for _ in 0..200 {
                let (id, outcome) = (id.clone(), Outcome::Commit);
                let end = EndTxn { id, producer, outcome, protocol };
                told = wait(engine.transactions().end(end)).map_err(|error| error.code());
                if told != Err(ErrorCode::CoordinatorLoadInProgress) {
                    break;
                }
                engine.maintain(hanbeon::Env::now(&env)).unwrap();
            }
            assert_ne!(told, Err(ErrorCode::CoordinatorLoadInProgress), "{story}: for ever");
            upkeep_to_the_end(&env, &engine, &story);
            for partition in [0, 1] {
                let all = written(&engine, "a", partition);
                let seen: Vec<_> = committed(&engine, way, "a", partition)
                    .into_iter()
                    .map(|number| format!("{number:02}"))
                    .collect();
                let expected = if told.is_ok() { all } else { Vec::new() };
                assert_eq!(seen, expected, "{story}: {partition} behind {told:?}");
            }
            *if told.is_ok() { &mut committed_in } else { &mut refused } += 1;
            std::mem::forget(engine);
        }
        assert!(committed_in > 0 && refused > 0, "{committed_in} committed, {refused} refused");
    }
}

/// Carries out what is owed, without letting a transaction take too long.
fn upkeep_to_the_end(env: &Manual<CrashDir>, engine: &World, story: &str) {
    for _ in 0..200 {
        let left = engine.maintain(hanbeon::Env::now(env));
        if left.unwrap_or_else(|error| panic!("{story}: {error}")) > 0 {
            return;
        }
    }
}
