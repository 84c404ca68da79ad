//! Batches that are handed over together are answered, written and remembered as if they had come one by one.
//!
//! `PROPTEST_CASES=20000 cargo test -p hanbeon-log --test together` searches longer.

#![allow(clippy::unwrap_used, reason = "a test fails where its ground is missing")]

mod fixture;

use std::{cell::Cell, collections::BTreeMap};

use bytes::Bytes;
use fixture::{Batch, NOW, config, end_txn, options};
use hanbeon_idempotence::Outcome;
use hanbeon_log::{
    AppendError, Appended, CrashDir, Dir, EntryKind, Fault, FaultKind, Joined, Lasting, LogConfig,
    LogFile, MemDir, Open, Partition, Placed,
};
use hanbeon_records::Millis;
use proptest::{
    prelude::*,
    test_runner::{RngAlgorithm, TestError, TestRng, TestRunner},
};

/// A batch of a turn.
#[derive(Clone, Copy, Debug)]
struct Sent {
    /// 0 is nobody, 1 and 2 write transactions.
    id: i64,
    epoch: i16,
    /// Base sequence, counted from the next one.
    aim: i32,
    records: i32,
    len: usize,
    later: i64,
    damaged: bool,
}

#[derive(Clone, Debug)]
enum Step {
    Turn(Vec<Sent>),
    Marker(i64),
    NewEpoch,
}

/// What is done wrong on purpose.
#[derive(Clone, Copy, Debug)]
enum Plant {
    /// The last two of a turn change places.
    Reordered,
    /// A turn's last batch is not written.
    Lost,
    /// A turn's last batch is written without its producer.
    Unnamed,
}

fn sent() -> impl Strategy<Value = Sent> {
    let aim = prop_oneof![14 => Just(0), 3 => -6..0_i32, 1 => 1..4_i32];
    let epoch = prop_oneof![14 => Just(0_i16), 1 => Just(1_i16), 1 => Just(-1_i16)];
    let later = prop_oneof![12 => 0..5_i64, 1 => Just(40_000_i64), 1 => Just(-40_000_i64)];
    (0..5_i64, epoch, aim, 1..4_i32, 0..600_usize, later, 0..20_u8).prop_map(
        |(id, epoch, aim, records, len, later, odd)| Sent {
            id,
            epoch,
            aim,
            records,
            len,
            later,
            damaged: odd == 0,
        },
    )
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let one_producer = (prop::collection::vec(sent(), 2..9), 1..5_i64).prop_map(|(turn, id)| {
        Step::Turn(turn.into_iter().map(|sent| Sent { id, ..sent }).collect())
    });
    let step = prop_oneof![
        4 => prop::collection::vec(sent(), 1..9).prop_map(Step::Turn),
        6 => one_producer,
        2 => (1..3_i64).prop_map(Step::Marker),
        1 => Just(Step::NewEpoch),
    ];
    prop::collection::vec(step, 1..25)
}

/// A turn as its clients send it, each going on where the log that gets it one by one says.
struct Client {
    one: Partition<MemDir>,
    clock: i64,
}

impl Client {
    fn batch(&mut self, sent: Sent) -> Bytes {
        self.clock += sent.later;
        let mut batch = Batch::of(sent.records).value_len(sent.len).at(self.clock);
        if sent.id > 0 {
            let producers = self.one.producers();
            let known = producers.iter().find(|known| known.producer_id.get() == sent.id);
            let epoch = known.map_or(0, |known| known.producer_epoch.get()) + sent.epoch;
            let last = known.and_then(|known| known.last_sequence);
            let next = last.map_or(0, |last| last.advance(1).get());
            batch = batch.by(sent.id, epoch.max(0), (next + sent.aim).max(0));
            if sent.id < 3 {
                batch = batch.in_txn();
            }
        }
        let mut bytes = batch.build().to_vec();
        if sent.damaged {
            *bytes.last_mut().unwrap() ^= 1;
        }
        bytes.into()
    }
}

fn said(answer: Joined<Result<Appended, AppendError>>) -> Result<Appended, String> {
    answer.wait().unwrap().map_err(|error| error.to_string())
}

fn small_segments() -> LogConfig {
    config(|settings| {
        settings.internal_segment_bytes = Some(6_000);
        settings.index_interval_bytes = 500;
        settings.segment_ms = 30_000;
        settings.message_timestamp_after_max_ms = i64::MAX;
    })
}

fn files(dir: &MemDir) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in dir.list().unwrap() {
        let EntryKind::File { .. } = entry.kind else { continue };
        let file = dir.open(&entry.name, Open::Read).unwrap();
        let bytes = file.view(0..file.len().unwrap()).unwrap().to_vec();
        files.insert(entry.name.as_str().to_owned(), bytes);
    }
    files
}

/// Plays the steps on two logs; returns how many batches came together with another of their producer.
fn compare(steps: &[Step], plant: Option<Plant>) -> Result<usize, TestCaseError> {
    let config = small_segments();
    let (one_dir, all_dir) = (MemDir::new(), MemDir::new());
    let one = fixture::open(&one_dir, &config).0;
    let all = fixture::open(&all_dir, &config).0;
    let mut client = Client { one: one.clone(), clock: NOW.get() };
    let (mut epoch, mut now, mut pairs) = (0, NOW.get(), 0);
    for step in steps {
        now += 1_000;
        match step {
            Step::Turn(turn) => {
                let now = Millis::new(now);
                let mut expected = Vec::new();
                let mut sent = Vec::new();
                for batch in turn {
                    let bytes = client.batch(*batch);
                    expected.push(said(one.append(bytes.clone(), now)));
                    sent.push(bytes);
                }
                pairs += turn.windows(2).filter(|p| p[0].id == p[1].id && p[0].id > 0).count();
                let count = sent.len();
                match plant {
                    Some(Plant::Reordered) if count > 1 => sent.swap(count - 2, count - 1),
                    Some(Plant::Lost) => sent.truncate(count - 1),
                    Some(Plant::Unnamed) => sent[count - 1] = Batch::of(1).build(),
                    Some(Plant::Reordered) | None => {}
                }
                let found: Vec<_> = all.append_all(&sent, now).into_iter().map(said).collect();
                prop_assert_eq!(found, expected);
            }
            Step::Marker(id) => {
                let known = one.producers().into_iter().find(|p| p.producer_id.get() == *id);
                let epoch = known.map_or(0, |known| known.producer_epoch.get());
                let [expected, found] = [&one, &all]
                    .map(|log| end_txn(log, *id, epoch, Outcome::Abort).map_err(|e| e.to_string()));
                prop_assert_eq!(found, expected);
            }
            Step::NewEpoch => {
                epoch += 1;
                for log in [&one, &all] {
                    log.begin_leader_epoch(hanbeon_records::LeaderEpoch::new(epoch));
                }
            }
        }
        prop_assert_eq!(all.producers(), one.producers());
        prop_assert_eq!(all.last_stable_offset(), one.last_stable_offset());
    }
    prop_assert_eq!(all.close().unwrap(), one.close().unwrap());
    let (found, expected) = (files(&all_dir), files(&one_dir));
    prop_assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, bytes) in &expected {
        prop_assert!(found.get(name) == Some(bytes), "{} differs", name);
    }
    Ok(pairs)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(500), ..ProptestConfig::default() })]

    /// P1, P2, P3: the same answers, the same producers, and in the end the same files byte for byte.
    #[test]
    fn p1_p2_p3_together_and_one_by_one_leave_the_same(steps in steps()) {
        compare(&steps, None)?;
    }
}

#[test]
fn every_planted_bug_is_found() {
    let runner = || {
        let config = ProptestConfig {
            cases: 200,
            max_shrink_iters: 0,
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
    };
    for plant in [Plant::Reordered, Plant::Lost, Plant::Unnamed] {
        let found = runner().run(&steps(), |steps| compare(&steps, Some(plant)).map(drop));
        assert!(matches!(found, Err(TestError::Fail(..))), "{plant:?} is not noticed");
    }
    let pairs = Cell::new(0);
    let passed = runner().run(&steps(), |steps| {
        pairs.set(pairs.get() + compare(&steps, None)?);
        Ok(())
    });
    assert!(passed.is_ok(), "{passed:?}");
    assert!(pairs.get() > 2_000, "only {} pairs of one producer", pairs.get());
}

/// Batches of producer 7 from `first` on, one record each.
fn run_of(first: i32, count: i32) -> Vec<Bytes> {
    (first..first + count).map(|sequence| Batch::of(1).by(7, 0, sequence).build()).collect()
}

#[test]
fn a_run_of_one_producer_is_one_write() {
    let dir = CrashDir::new();
    let config = config(|_| {});
    let (log, _) = Partition::open(dir.clone(), options(&config)).unwrap();
    log.append(run_of(0, 1).remove(0), NOW).wait().unwrap().unwrap();
    let before = dir.operations();
    let answers = log.append_all(&run_of(1, 5), NOW);
    for (answer, base) in answers.into_iter().zip(1..) {
        assert_eq!(said(answer).unwrap().base_offset.get(), base);
    }
    assert_eq!(dir.operations() - before, 1);
}

#[test]
fn l9_a_write_that_fails_fails_all_that_were_to_be_written_with_it() {
    let dir = CrashDir::new();
    let config = config(|_| {});
    let (log, _) = Partition::open(dir.clone(), options(&config)).unwrap();
    log.append(run_of(0, 1).remove(0), NOW).wait().unwrap().unwrap();
    dir.inject(Fault { kind: FaultKind::Error, after: 0, lasting: Lasting::Once });
    let mut sent = run_of(0, 1);
    sent.extend(run_of(1, 3));
    let mut answers = log.append_all(&sent, NOW).into_iter();
    let known = answers.next().map(said).unwrap().unwrap();
    assert_eq!((known.placed, known.base_offset.get()), (Placed::Duplicate, 0));
    assert_eq!(answers.map(said).filter(Result::is_err).count(), 3);
    assert_eq!(log.log_end_offset().get(), 1);
}
