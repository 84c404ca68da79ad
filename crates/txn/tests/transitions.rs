//! Which state may follow which, all sixty-four pairs, and what `apply` refuses of a record that does not follow.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test says so by failing, and names only the variants it means"
)]

mod fixture;

use fixture::{World, given, id, partition};
use hanbeon_records::{Millis, ProducerEpoch, ProducerId};
use hanbeon_txn::{
    BrokenRule, Cause, Coordinator, Record, RecordError, State, TopicPartitions, ValueVersion,
};

/// Rows are the states before, columns after, both by number.
const TABLE: [&str; 8] = [
    // Empty, Ongoing, PrepareCommit, PrepareAbort, CompleteCommit, CompleteAbort, Dead, PrepareEpochFence
    "yy.y..y.", // Empty: PrepareAbort is the empty abort of protocol 2
    ".yyy...y", // Ongoing
    "....y...", // PrepareCommit
    ".....y..", // PrepareAbort
    "yy.y..y.", // CompleteCommit
    "yy.y..y.", // CompleteAbort
    "........", // Dead
    "...y....", // PrepareEpochFence
];

fn record(state: State, current: fixture::Pair) -> Record {
    let value = (state != State::Dead).then(|| given::value(state, current));
    Record::new(id("x"), value, Cause::Initialised)
}

fn in_state(state: State) -> Coordinator {
    given::world(World::v2(), "x", given::value(state, (7, 5))).coordinator
}

#[test]
fn the_table_is_the_one_written_here() {
    for (from, row) in State::ALL.into_iter().zip(TABLE) {
        for (to, cell) in State::ALL.into_iter().zip(row.chars()) {
            assert_eq!(from.may_become(to), cell == 'y', "{from} to {to}");
        }
        assert_eq!(State::from_name(from.name()), Some(from));
        let logged = !matches!(from, State::Dead | State::PrepareEpochFence);
        assert_eq!(State::from_logged(from.number()), logged.then_some(from));
    }
    assert_eq!((State::from_name("ongoing"), State::from_logged(8)), (None, None));
}

#[test]
fn t2_apply_takes_the_pairs_of_the_table_and_no_others() {
    for from in State::ALL.into_iter().filter(|state| State::from_logged(state.number()).is_some())
    {
        for to in State::ALL {
            let (before, mut after) = (in_state(from), in_state(from));
            let mut record = record(to, (7, 5));
            // A record of the right shape: the empty abort has no partitions, an open transaction keeps its own.
            if to == State::PrepareAbort && from != State::Ongoing {
                let mut value = record.value().unwrap().clone();
                value.partitions = Some(vec![]);
                record = Record::new(id("x"), Some(value), Cause::Ended);
            }
            let applied = after.apply(&record);
            let legal = from.may_become(to) && to != State::PrepareEpochFence;
            if to == State::PrepareEpochFence {
                // In the table for its name's sake; it is no state a record may have.
                assert_eq!(
                    record.encode(ValueVersion::V1),
                    Err(RecordError::State { found: 7 }),
                    "{from}"
                );
                continue;
            }
            assert_eq!(applied.is_ok(), legal, "{from} to {to}: {applied:?}");
            if let Err(error) = applied {
                assert_eq!((error.from, error.to, error.rule), (Some(from), to, BrokenRule::State));
                assert_eq!(error.code().number(), -1);
                assert_eq!(before, after, "a refused record changed something");
            }
        }
    }
}

#[test]
fn an_unknown_id_begins_empty() {
    for to in State::ALL {
        let mut coordinator = Coordinator::new(fixture::SETTINGS);
        assert_eq!(coordinator.apply(&record(to, (7, 0))).is_ok(), to == State::Empty, "{to}");
    }
}

#[test]
fn producers_follow_one_another() {
    for (after, legal) in [
        ((7, 5), true),
        ((7, 6), true),
        ((8, 0), true),
        ((7, 4), false),
        ((7, 7), false),
        ((8, 1), false),
        ((7, 0), false),
        ((7, -1), false),
    ] {
        let mut coordinator = in_state(State::Ongoing);
        let applied = coordinator.apply(&record(State::PrepareAbort, after));
        assert_eq!(applied.is_ok(), legal, "{after:?}: {applied:?}");
    }
}

#[test]
fn only_an_initialisation_changes_the_timeout() {
    for (from, to, legal) in [
        (State::Empty, State::Empty, true),
        (State::Empty, State::Ongoing, false),
        (State::Ongoing, State::PrepareCommit, false),
    ] {
        let mut coordinator = in_state(from);
        let mut value = given::value(to, (7, 5));
        value.timeout_ms += 1;
        let record = Record::new(id("x"), Some(value), Cause::Enrolled);
        assert_eq!(coordinator.apply(&record).is_ok(), legal, "{from} to {to}");
    }
}

#[test]
fn t1_a_decision_is_about_the_partitions_of_the_transaction() {
    let topic = |numbers: &[i32]| {
        let topic = partition("t-0").topic;
        (!numbers.is_empty()).then(|| TopicPartitions { topic, partitions: numbers.to_vec() })
    };
    for (to, numbers, legal) in [
        (State::Ongoing, &[0][..], true),
        (State::Ongoing, &[0, 1], true),
        (State::Ongoing, &[1], false),
        (State::PrepareCommit, &[0], true),
        (State::PrepareCommit, &[0, 1], false),
        (State::PrepareCommit, &[], false),
        (State::PrepareAbort, &[1], false),
    ] {
        let mut coordinator = in_state(State::Ongoing);
        let mut value = given::value(to, (7, 5));
        value.partitions = Some(topic(numbers).into_iter().collect());
        let applied = coordinator.apply(&Record::new(id("x"), Some(value), Cause::Ended));
        assert_eq!(applied.is_ok(), legal, "{to} {numbers:?}: {applied:?}");
    }
    let mut coordinator = in_state(State::PrepareCommit);
    let mut value = given::value(State::CompleteCommit, (7, 5));
    value.partitions = Some(topic(&[0]).into_iter().collect());
    assert!(coordinator.apply(&Record::new(id("x"), Some(value), Cause::Completed)).is_err());
}

#[test]
fn pf_p24_clocks_may_go_back_between_two_records() {
    let mut coordinator = in_state(State::Ongoing);
    let mut value = given::value(State::PrepareCommit, (7, 5));
    value.last_update = Millis::new(-5);
    value.start = Millis::new(i64::MIN);
    coordinator.apply(&Record::new(id("x"), Some(value), Cause::Ended)).unwrap();
    let mut value = given::value(State::CompleteCommit, (7, 5));
    value.last_update = Millis::new(i64::MIN);
    coordinator.apply(&Record::new(id("x"), Some(value), Cause::Completed)).unwrap();
}

#[test]
fn replay_asks_no_questions() {
    let mut coordinator = in_state(State::Empty);
    let mut value = given::value(State::CompleteAbort, (9, 77));
    value.previous_producer_id = ProducerId::new(3);
    value.last_producer_epoch = ProducerEpoch::new(76);
    let (key, bytes) =
        Record::new(id("x"), Some(value), Cause::Completed).encode(ValueVersion::V1).unwrap();
    coordinator.replay(&key, bytes.as_deref()).unwrap();
    let view = coordinator.describe(&id("x")).unwrap();
    assert_eq!(fixture::pair(view.producer), (9, 77));
    coordinator.replay(&key, None).unwrap();
    assert!(coordinator.is_empty());
    coordinator.replay(&key, None).unwrap();
}
