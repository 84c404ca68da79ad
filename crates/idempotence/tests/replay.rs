//! Replay follows what a log says, also where a rule would have refused it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that stops has failed")]

mod fixture;

use fixture::{Log, NOW, claim, data, in_txn};
use hanbeon_idempotence::{IdempotenceError, ProducerView};
use hanbeon_records::{
    BatchRef, CoordinatorEpoch, LeaderEpoch, Marker, Millis, Offset, Outcome, ProducerEpoch,
    ProducerId, write_marker,
};

const PLAIN: u8 = 0;
const TXN: u8 = 0x10;
const CONTROL: u8 = 0x30;

fn marker(base: i64, epoch: i16, coordinator: i32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let marker = Marker {
        base_offset: Offset::new(base),
        leader_epoch: LeaderEpoch::new(0),
        producer_id: ProducerId::new(1),
        producer_epoch: ProducerEpoch::new(epoch),
        outcome: Outcome::Abort,
        coordinator_epoch: CoordinatorEpoch::new(coordinator),
        timestamp: NOW,
    };
    write_marker(&mut bytes, &marker);
    bytes
}

fn replay(log: &mut Log, bytes: &[u8]) -> Option<Offset> {
    let (batch, _) = BatchRef::parse(bytes).unwrap();
    let done = log.states.replay(&batch, NOW).unwrap();
    log.end = log.states.end_offset().get();
    done.map(|done| done.first_offset)
}

fn one(log: &Log) -> ProducerView {
    log.states.producer(ProducerId::new(1)).unwrap()
}

#[test]
fn pf_c6_gaps_repeated_ranges_and_any_first_sequence_are_followed() {
    let mut log = Log::new();
    for (base, first) in [(0, 70), (10, 90), (20, 90), (30, 5)] {
        replay(&mut log, &data(PLAIN, base, 4, 0, first));
    }
    assert_eq!(one(&log).last_sequence.unwrap().get(), 9);
    assert_eq!((one(&log).window, log.end), (4, 35));
    log.put(&claim(1, 0, 10, 1));
    assert_eq!(log.refused(&claim(1, 0, 95, 1)), 45);
}

#[test]
fn p2_a_retry_is_found_in_a_window_that_has_gaps() {
    let mut log = Log::new();
    replay(&mut log, &data(PLAIN, 0, 0, 0, 6));
    replay(&mut log, &data(PLAIN, 1, 4, 0, 1));
    let again = log.write(&claim(1, 0, 6, 1)).unwrap();
    assert_eq!(again, fixture::Placed::Again { base: 0, last: 0 }, "although 6 comes after 5");
}

#[test]
fn pf_c4_e11_epochs_that_go_back_are_followed() {
    let mut log = Log::new();
    replay(&mut log, &marker(0, 5, 9));
    replay(&mut log, &data(PLAIN, 1, 0, 3, 0));
    replay(&mut log, &marker(2, 3, 4));
    assert_eq!((one(&log).producer_epoch.get(), one(&log).coordinator_epoch.get()), (3, 4));
}

#[test]
fn p5_a_marker_ends_the_window_in_replay_too() {
    let mut log = Log::new();
    replay(&mut log, &data(TXN, 0, 1, 0, 0));
    replay(&mut log, &marker(2, 0, 0));
    assert_eq!((one(&log).last_sequence.unwrap().get(), one(&log).window), (1, 0));
    assert_eq!(log.refused(&in_txn(claim(1, 0, 0, 2))), 45);
    log.put(&in_txn(claim(1, 0, 2, 1)));
}

#[test]
fn plain_data_inside_a_transaction_is_followed() {
    let mut log = Log::new();
    replay(&mut log, &data(TXN, 4, 0, 0, 0));
    replay(&mut log, &data(PLAIN, 5, 0, 0, 1));
    assert_eq!(log.states.first_undecided_offset(), Some(Offset::new(4)));
    assert_eq!(replay(&mut log, &marker(6, 0, 0)), Some(Offset::new(4)));
}

#[test]
fn an_emptied_marker_only_moves_the_end() {
    let mut log = Log::new();
    replay(&mut log, &data(TXN, 0, 0, 0, 0));
    assert_eq!(replay(&mut log, &data(CONTROL, 1, 0, 0, -1)), None);
    assert_eq!(log.states.open_transactions().count(), 1);
    assert_eq!(log.end, 2);
}

#[test]
fn non_idempotent_data_moves_the_end() {
    let mut log = Log::new();
    replay(&mut log, &fixture::of_nobody(data(PLAIN, 7, 2, -1, -1)));
    assert_eq!((log.end, log.states.len()), (10, 0));
}

#[test]
fn i7_a_marker_that_cannot_be_read_is_refused_and_changes_nothing() {
    let mut log = Log::new();
    replay(&mut log, &data(TXN, 0, 0, 0, 0));
    let before = format!("{:?}", log.states);
    let mut bytes = marker(1, 0, 0);
    bytes[66..].fill(0xff);
    let (batch, _) = BatchRef::parse(&bytes).unwrap();
    let refused = log.states.replay(&batch, Millis::NONE);
    assert!(matches!(refused, Err(IdempotenceError::MalformedMarker { .. })), "{refused:?}");
    assert_eq!(format!("{:?}", log.states), before);
}
