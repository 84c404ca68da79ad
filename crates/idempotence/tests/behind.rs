//! Batches of one producer that are judged before those ahead of them are recorded get what they would get afterwards.
//!
//! `PROPTEST_CASES=100000 cargo test -p hanbeon-idempotence --test behind` searches longer.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that stops has failed")]

mod fixture;

use fixture::{DAY_MS, Log, claim, in_txn, marker, request, settings};
use hanbeon_idempotence::{Admission, Claim, Origin, ProducerStates, Settings, Ticket};
use hanbeon_records::{Millis, Offset, ProducerId};
use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner},
};

/// A batch, its base sequence counted from the one that would be next.
#[derive(Clone, Copy, Debug)]
struct Sent {
    id: i64,
    epoch: i16,
    aim: i32,
    records: i32,
    in_txn: bool,
    coordinator: bool,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Batch(Sent),
    /// A batch of so many records at this sequence, whatever the rules say of it.
    Forced(i64, i32, i32),
    Marker(i64, i16),
    Ask(i64),
    Expire,
}

/// What is not looked at, on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plant {
    Sequence,
    Epoch,
    Kind,
}

const PLANTS: [Plant; 3] = [Plant::Sequence, Plant::Epoch, Plant::Kind];

fn sent() -> impl Strategy<Value = Sent> {
    let aims = prop_oneof![12 => Just(0), 3 => -4..4_i32];
    let epochs = prop_oneof![12 => Just(0_i16), 1 => Just(1_i16), 1 => Just(-1_i16)];
    let records = prop_oneof![12 => 1..4_i32, 1 => Just(1 << 24), 1 => Just(1 + (1 << 24))];
    (1..3_i64, epochs, aims, records, any::<bool>(), 0..12_u8).prop_map(
        |(id, epoch, aim, records, in_txn, odd)| Sent {
            // Producer 1 writes transactions and producer 2 does not, except now and then.
            in_txn: if odd == 0 { in_txn } else { id == 1 },
            coordinator: odd == 1,
            id,
            epoch,
            aim,
            records,
        },
    )
}

fn steps() -> impl Strategy<Value = Step> {
    let first = prop_oneof![Just(0_i32), Just(i32::MAX - 3), any::<u16>().prop_map(i32::from)];
    prop_oneof![
        12 => sent().prop_map(Step::Batch),
        2 => (1..3_i64, first, 1..3_i32).prop_map(|(id, first, records)| Step::Forced(id, first, records)),
        1 => (1..3_i64, 0..2_i16).prop_map(|(id, epoch)| Step::Marker(id, epoch)),
        1 => (1..3_i64).prop_map(Step::Ask),
        1 => Just(Step::Expire),
    ]
}

/// What came before, and the batches that arrive together.
fn cases() -> impl Strategy<Value = (Vec<Step>, Vec<Sent>)> {
    (proptest::collection::vec(steps(), 0..20), proptest::collection::vec(sent(), 2..8))
}

fn claimed(states: &ProducerStates, sent: Sent) -> Claim {
    let known = states.producer(ProducerId::new(sent.id));
    let epoch = known.map_or(0, |known| known.producer_epoch.get());
    let last = known.and_then(|known| known.last_sequence);
    let next = last.map_or(0, |last| last.advance(1).get());
    let first = next.wrapping_add(sent.aim) & i32::MAX;
    let made = claim(sent.id, epoch.saturating_add(sent.epoch), first, sent.records);
    let made = if sent.in_txn { in_txn(made) } else { made };
    let origin = if sent.coordinator { Origin::Coordinator } else { Origin::Client };
    Claim { origin, ..made }
}

fn played(steps: &[Step]) -> Log {
    let mut log = Log::with(Settings { hash_seed: 3, ..settings() });
    for step in steps {
        match *step {
            Step::Batch(sent) => {
                let claim = claimed(&log.states, sent);
                let (Ok(_) | Err(_)) = log.write(&claim);
            }
            Step::Forced(id, first, records) => {
                // As the group coordinator writes: sequences that do not go on leave the window in doubt.
                let forced = Claim { origin: Origin::Coordinator, ..claim(id, 0, first, records) };
                let forced = if id == 1 { in_txn(forced) } else { forced };
                let (Ok(_) | Err(_)) = log.write(&forced);
            }
            Step::Marker(id, epoch) => {
                let (Ok(_) | Err(_)) = log.end_txn(&marker(id, epoch, 0));
            }
            Step::Ask(id) => {
                log.states.begin_verification(&request(id, 0, 0), log.now);
            }
            Step::Expire => {
                log.now = Millis::new(log.now.get() + DAY_MS);
                log.states.expire(log.now);
            }
        }
    }
    log
}

/// A batch that is admitted and not recorded yet.
struct Waiting {
    claim: Claim,
    ticket: Ticket,
    base: Offset,
}

fn behind(
    states: &ProducerStates,
    earlier: &Waiting,
    claim: &Claim,
    plant: Option<Plant>,
) -> Option<Ticket> {
    let mut told = *claim;
    match plant {
        Some(Plant::Sequence) => told.base_sequence = earlier.claim.last_sequence().advance(1),
        Some(Plant::Epoch) => told.producer_epoch = earlier.claim.producer_epoch,
        Some(Plant::Kind) => told.kind = earlier.claim.kind,
        None => {}
    }
    states.admit_behind(&earlier.ticket, &told)
}

fn bytes_of(states: &ProducerStates) -> (Vec<u8>, Vec<u8>, String) {
    let (mut snapshot, mut window) = (Vec::new(), Vec::new());
    states.write_snapshot(&mut snapshot);
    states.write_window(0, &mut window);
    (snapshot, window, format!("{states:?}"))
}

/// Judges batches that arrive together, and recorded one by one; returns how many were admitted behind another.
fn compare(
    steps: &[Step],
    together: &[Sent],
    plant: Option<Plant>,
) -> Result<usize, TestCaseError> {
    let mut one = played(steps);
    let (mut group, now) = (one.states.clone(), one.now);
    let mut waiting: Vec<Waiting> = Vec::new();
    let mut joined = 0;
    for sent in together {
        let claim = claimed(&one.states, *sent);
        let base = Offset::new(one.end);
        let expected = one.states.admit(&claim).map(|admission| match admission {
            Admission::Append(_) => None,
            Admission::Duplicate(copy) => Some(copy),
        });
        let (Ok(_) | Err(_)) = one.write(&claim);

        let earlier = waiting.iter().rev().find(|w| w.claim.producer_id == claim.producer_id);
        let admission = match earlier.map(|earlier| behind(&group, earlier, &claim, plant)) {
            Some(Some(ticket)) => {
                joined += 1;
                Ok(Admission::Append(ticket))
            }
            Some(None) => {
                for Waiting { ticket, base, .. } in waiting.drain(..) {
                    group.record(ticket, base, now);
                }
                group.admit(&claim)
            }
            None => group.admit(&claim),
        };
        let found = admission.map(|admission| match admission {
            Admission::Append(ticket) => {
                waiting.push(Waiting { claim, ticket, base });
                None
            }
            Admission::Duplicate(copy) => Some(copy),
        });
        prop_assert_eq!(&found, &expected, "{:?}", claim);
    }
    for Waiting { ticket, base, .. } in waiting {
        group.record(ticket, base, now);
    }
    prop_assert_eq!(bytes_of(&group), bytes_of(&one.states));
    Ok(joined)
}

proptest! {
    #![proptest_config(Config { cases: Config::default().cases.max(2000), ..Config::default() })]

    /// P1 to P4: together or one by one, the answers and every byte of the state are the same.
    #[test]
    fn p1_p2_p3_p4_together_and_one_by_one_are_judged_alike((steps, together) in cases()) {
        compare(&steps, &together, None)?;
    }
}

#[test]
fn every_planted_bug_is_found_and_many_batches_are_joined() {
    let runner = || {
        let config = Config {
            cases: 4000,
            max_shrink_iters: 0,
            failure_persistence: None,
            ..Config::default()
        };
        TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
    };
    for plant in PLANTS {
        let found = runner()
            .run(&cases(), |(steps, together)| compare(&steps, &together, Some(plant)).map(drop));
        assert!(matches!(found, Err(TestError::Fail(..))), "{plant:?} is not noticed");
    }
    let joined = std::cell::Cell::new(0);
    let passed = runner().run(&cases(), |(steps, together)| {
        joined.set(joined.get() + compare(&steps, &together, None)?);
        Ok(())
    });
    assert!(passed.is_ok(), "{passed:?}");
    assert!(joined.get() > 1000, "only {} batches were admitted behind another", joined.get());
}
