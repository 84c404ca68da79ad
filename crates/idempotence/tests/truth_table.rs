//! What a partition answers to a batch, row by row as in `docs/protocols/idempotence.md`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that stops has failed")]

mod fixture;

use fixture::{Log, MAX, NOW, Placed, claim, in_txn, marker, request, settings};
use hanbeon_idempotence::{
    Admission, Claim, FirstWrite, Origin, Settings, Ticket, Verification, VerificationNeed,
    read_snapshot,
};
use hanbeon_records::{BatchRef, Millis, Offset, ProducerId};

const OUT_OF_ORDER: i16 = 45;
const STALE_EPOCH: i16 = 47;
const INVALID_TXN_STATE: i16 = 48;

/// Producer 1, epoch 3, with `batches` of one record each, sequences from 0.
fn log_with(batches: i32) -> Log {
    let mut log = Log::new();
    log.plain(100);
    for sequence in 0..batches {
        log.put(&claim(1, 3, sequence, 1));
    }
    log
}

fn log_at_the_end_of_the_ring() -> Log {
    let mut log = Log::new();
    log.put(&claim(1, 3, MAX, 1));
    log
}

fn log_with_a_marker_only() -> Log {
    let mut log = Log::new();
    log.end_txn(&marker(1, 3, 0)).unwrap();
    log
}

fn log_with_an_open_txn() -> Log {
    let mut log = Log::new();
    log.put(&in_txn(claim(1, 3, 0, 1)));
    log
}

#[test]
fn row_1_an_unknown_producer_starts_at_0() {
    let mut log = Log::new();
    assert_eq!(log.put(&claim(1, 5, 0, 2)), 0);
    let known = log.states.producer(ProducerId::new(1)).unwrap();
    assert_eq!((known.producer_epoch.get(), known.last_sequence.unwrap().get()), (5, 1));
    assert_eq!(known.window, 1);
}

#[test]
fn row_2_an_unknown_producer_may_go_on_anywhere() {
    let mut log = Log::new();
    assert_eq!(log.put(&claim(1, 0, 5, 1)), 0, "as Kafka 4.3.1 on a never-written partition");
}

#[test]
fn row_2_d2_a_never_written_partition_can_insist_on_0() {
    let strict = Settings { first_write: FirstWrite::FromZero, ..settings() };
    let mut log = Log::with(strict);
    assert_eq!(log.refused(&claim(1, 0, 5, 1)), OUT_OF_ORDER);
    log.put(&claim(2, 0, 0, 1));
    log.put(&claim(1, 0, 5, 1));

    let mut emptied = Log::with(strict);
    emptied.states.log_start_advanced(Offset::new(9));
    emptied.end = 9;
    emptied.put(&claim(1, 0, 5, 1));
}

#[test]
fn row_3_the_next_sequence_is_appended() {
    let mut log = log_with(2);
    assert_eq!(log.put(&claim(1, 3, 2, 4)), 102);
    assert_eq!(log.put(&claim(1, 3, 6, 1)), 106);
}

#[test]
fn row_4_p3_a_gap_is_refused() {
    let mut log = log_with(2);
    assert_eq!(log.refused(&claim(1, 3, 3, 1)), OUT_OF_ORDER);
    assert_eq!(log.refused(&claim(1, 3, MAX, 1)), OUT_OF_ORDER);
}

#[test]
fn row_5_p2_each_of_the_last_five_batches_is_a_duplicate() {
    let mut log = log_with(7);
    for sequence in 2..7 {
        let at = 100 + i64::from(sequence);
        let again = log.write(&claim(1, 3, sequence, 1)).unwrap();
        assert_eq!(again, Placed::Again { base: at, last: at });
    }
    assert_eq!(log.end, 107, "nothing was written again");
}

#[test]
fn row_5_d1_a_retry_answers_the_offsets_of_several_records() {
    let mut log = log_with(0);
    log.put(&claim(1, 3, 0, 7));
    log.put(&claim(1, 3, 7, 1));
    let again = log.write(&claim(1, 3, 0, 7)).unwrap();
    assert_eq!(again, Placed::Again { base: 100, last: 106 });
}

#[test]
fn row_6_p1_seen_ranges_that_are_no_exact_retry_are_refused() {
    let mut log = log_with(7);
    assert_eq!(log.refused(&claim(1, 3, 1, 1)), OUT_OF_ORDER, "the sixth back");
    let mut log = log_with(0);
    log.put(&claim(1, 3, 0, 3));
    for (first, records) in [(0, 2), (0, 4), (1, 3), (1, 1), (2, 1)] {
        assert_eq!(log.refused(&claim(1, 3, first, records)), OUT_OF_ORDER, "{first}+{records}");
    }
    log.put(&claim(1, 3, 3, 1));
}

#[test]
fn row_7_a_higher_epoch_starts_at_0_and_empties_the_window() {
    let mut log = log_with(3);
    assert_eq!(log.put(&claim(1, 4, 0, 1)), 103);
    assert_eq!(log.states.producer(ProducerId::new(1)).unwrap().window, 1);
}

#[test]
fn row_8_p4_a_higher_epoch_must_start_at_0() {
    let mut log = log_with(3);
    assert_eq!(log.refused(&claim(1, 4, 3, 1)), OUT_OF_ORDER);
    assert_eq!(log.refused(&claim(1, 4, 1, 1)), OUT_OF_ORDER);
}

#[test]
fn row_9_p4_d9_a_lower_epoch_is_refused_even_as_a_retry() {
    let mut log = log_with(3);
    log.put(&claim(1, 4, 0, 1));
    assert_eq!(log.refused(&claim(1, 3, 2, 1)), STALE_EPOCH);
    assert_eq!(log.refused(&claim(1, 3, 3, 1)), STALE_EPOCH);
    assert_eq!(log.refused(&claim(1, 3, 0, 1)), STALE_EPOCH);
}

#[test]
fn row_10_p6_the_ring_goes_on_at_0() {
    let mut log = log_at_the_end_of_the_ring();
    assert_eq!(log.put(&claim(1, 3, 0, 1)), 1);
    assert_eq!(log.put(&claim(1, 3, 1, 1)), 2);
}

#[test]
fn row_11_p6_the_ring_does_not_go_on_at_1() {
    let mut log = log_at_the_end_of_the_ring();
    assert_eq!(log.refused(&claim(1, 3, 1, 1)), OUT_OF_ORDER);
}

#[test]
fn row_12_p6_c12_a_batch_may_span_the_end_of_the_ring() {
    let mut log = Log::new();
    log.put(&claim(1, 3, 2_147_483_636, 1));
    let spanning = claim(1, 3, 2_147_483_637, 21);
    assert_eq!(log.put(&spanning), 1);
    assert_eq!(log.states.producer(ProducerId::new(1)).unwrap().last_sequence.unwrap().get(), 9);
    assert_eq!(log.write(&spanning).unwrap(), Placed::Again { base: 1, last: 21 });
    assert_eq!(log.put(&claim(1, 3, 10, 1)), 22);
}

#[test]
fn row_13_d11_behind_a_marker_0_is_appended() {
    assert_eq!(log_with_a_marker_only().put(&claim(1, 3, 0, 1)), 1);
}

#[test]
fn row_14_d11_behind_a_marker_only_0_is_appended() {
    assert_eq!(log_with_a_marker_only().refused(&claim(1, 3, 1, 1)), OUT_OF_ORDER);
}

#[test]
fn row_15_behind_a_marker_a_higher_epoch_starts_at_0() {
    assert_eq!(log_with_a_marker_only().refused(&claim(1, 4, 1, 1)), OUT_OF_ORDER);
    assert_eq!(log_with_a_marker_only().put(&claim(1, 4, 0, 1)), 1);
}

#[test]
fn row_15b_a_marker_of_the_same_epoch_ends_the_window_and_keeps_the_sequence() {
    let mut log = log_with_an_open_txn();
    log.end_txn(&marker(1, 3, 0)).unwrap();
    assert_eq!(log.refused(&in_txn(claim(1, 3, 0, 1))), OUT_OF_ORDER);
    assert_eq!(log.put(&in_txn(claim(1, 3, 1, 1))), 2);
}

#[test]
fn row_16_an_expired_producer_is_unknown() {
    let mut log = log_with(3);
    let later = Millis::new(NOW.get() + fixture::DAY_MS);
    assert_eq!(log.states.expire(Millis::new(later.get() - 1)), 0);
    assert_eq!(log.states.expire(later), 1);
    log.put(&claim(1, 0, 77, 1));
}

#[test]
fn row_17_pf_c5_deleted_records_do_not_forget_the_sequence() {
    let mut log = log_with(3);
    log.states.log_start_advanced(Offset::new(103));
    assert_eq!(log.refused(&claim(1, 3, 4, 1)), OUT_OF_ORDER);
    assert_eq!(log.write(&claim(1, 3, 2, 1)).unwrap(), Placed::Again { base: 102, last: 102 });
    log.put(&claim(1, 3, 3, 1));
}

#[test]
fn row_18_a_transaction_goes_on() {
    let mut log = log_with_an_open_txn();
    log.put(&in_txn(claim(1, 3, 1, 1)));
    let open: Vec<_> = log.states.open_transactions().collect();
    assert_eq!(open.len(), 1);
    assert_eq!(open[0].first_offset, Offset::ZERO);
}

#[test]
fn row_19_plain_data_inside_a_transaction_is_refused() {
    assert_eq!(log_with_an_open_txn().refused(&claim(1, 3, 1, 1)), INVALID_TXN_STATE);
}

/// Kafka goes on with what is open. Its coordinator ends a transaction on all partitions before it lets a higher epoch in, so what is open
/// here is one of which a power cut has taken the end, and nobody is to commit it.
#[test]
fn row_20_t3_a_higher_epoch_does_not_join_the_transaction_that_is_open() {
    for verification in [Verification::Off, Verification::On] {
        let mut log = log_with_an_open_txn();
        log.states.set_verification(verification);
        let guard = log.ask(&request(1, 4, 0));
        let joins = in_txn(claim(1, 4, 0, 1)).verified_by(Some(guard));
        assert_eq!(log.refused(&joins), INVALID_TXN_STATE);
        let open: Vec<_> = log.states.open_transactions().collect();
        assert_eq!((open.len(), open[0].producer_epoch.get()), (1, 3));
    }
}

#[test]
fn row_21_e1_a_transaction_opens_only_with_the_right_guard() {
    let mut log = Log::with(Settings { verification: Verification::On, ..settings() });
    let first = in_txn(claim(1, 3, 0, 1));
    assert_eq!(log.refused(&first), INVALID_TXN_STATE, "no guard");
    let of_another = log.ask(&request(2, 0, 0));
    let guard = log.ask(&request(1, 3, 0));
    assert_eq!(log.refused(&first.verified_by(Some(of_another))), INVALID_TXN_STATE);
    log.put(&first.verified_by(Some(guard)));
    let need = log.states.begin_verification(&request(1, 3, 1), NOW);
    assert_eq!(need, VerificationNeed::None, "the transaction is open");
    log.put(&in_txn(claim(1, 3, 1, 1)));
}

fn reloaded(log: &Log) -> Log {
    let mut bytes = Vec::new();
    log.states.write_snapshot(&mut bytes);
    let mut states = read_snapshot(&bytes, settings(), NOW).unwrap();
    states.advance_end(Offset::new(log.end));
    Log { states, end: log.end, now: log.now }
}

#[test]
fn row_22_a_snapshot_knows_the_last_batch() {
    let mut log = reloaded(&log_with(5));
    assert_eq!(log.write(&claim(1, 3, 4, 1)).unwrap(), Placed::Again { base: 104, last: 104 });
    log.put(&claim(1, 3, 5, 1));
}

#[test]
fn row_23_a_snapshot_without_sidecar_knows_no_batch_before_the_last() {
    assert_eq!(reloaded(&log_with(5)).refused(&claim(1, 3, 3, 1)), OUT_OF_ORDER);
}

#[test]
fn row_24_i7_a_failed_write_leaves_a_gap_that_is_refused_until_it_is_filled() {
    let mut log = log_with(1);
    match log.states.admit(&claim(1, 3, 1, 1)).unwrap() {
        Admission::Append(ticket) => drop(ticket),
        Admission::Duplicate(copy) => panic!("{copy:?}"),
    }
    assert_eq!(log.refused(&claim(1, 3, 2, 1)), OUT_OF_ORDER);
    log.put(&claim(1, 3, 1, 1));
    log.put(&claim(1, 3, 2, 1));
}

#[test]
fn row_24b_an_id_without_epoch_is_a_producer() {
    let mut log = Log::new();
    log.put(&claim(1, -1, 0, 1));
    assert_eq!(log.states.producer(ProducerId::new(1)).unwrap().producer_epoch.get(), -1);
    assert_eq!(log.write(&claim(1, -1, 0, 1)).unwrap(), Placed::Again { base: 0, last: 0 });
    log.put(&claim(2, i16::MAX, 0, 1));
    log.put(&claim(2, i16::MAX, 1, 1));
}

#[test]
fn row_24b_an_epoch_or_a_sequence_without_an_id_is_no_producer() {
    for (epoch, first) in [(3, 0), (-1, 5), (3, 5), (-1, -1)] {
        let header = fixture::of_nobody(fixture::data(0, 0, 0, epoch, first));
        let (batch, _) = BatchRef::parse(&header).unwrap();
        assert_eq!(Claim::of(&batch, Origin::Client), Ok(None), "{epoch} {first}");
        let mut log = Log::new();
        log.states.replay(&batch, NOW).unwrap();
        assert!(log.states.is_empty(), "{epoch} {first}");
    }
}

/// What the second of two batches is told before the first is recorded.
fn behind(log: &Log, first: &Claim, second: &Claim) -> Option<Ticket> {
    let Ok(Admission::Append(ticket)) = log.states.admit(first) else {
        panic!("the first batch was to be admitted");
    };
    log.states.admit_behind(&ticket, second)
}

/// Kafka's row 25 speaks of a request with two batches of a producer that it did not know: it takes any sequence in the second. A record set
/// holds one batch here (`hanbeon-log`, `INVALID_RECORD`), so what stands in its place is the batches of several requests that are written together.
#[test]
fn row_25_behind_a_batch_that_is_not_recorded_only_the_next_in_kind_is_admitted() {
    let known = log_with(3);
    let first = claim(1, 3, 3, 2);
    assert!(behind(&known, &first, &claim(1, 3, 5, 1)).is_some());
    for other in [
        claim(1, 3, 3, 2),
        claim(1, 3, 6, 1),
        claim(1, 3, 2, 1),
        claim(1, 4, 0, 1),
        claim(1, 4, 5, 1),
        claim(1, 2, 5, 1),
        claim(2, 3, 5, 1),
        in_txn(claim(1, 3, 5, 1)),
        Claim { origin: Origin::Coordinator, ..claim(1, 3, 5, 1) },
    ] {
        assert_eq!(behind(&known, &first, &other), None, "{other:?}");
    }

    let txn = log_with_an_open_txn();
    assert!(behind(&txn, &in_txn(claim(1, 3, 1, 1)), &in_txn(claim(1, 3, 2, 1))).is_some());
    assert_eq!(behind(&txn, &in_txn(claim(1, 3, 1, 1)), &claim(1, 3, 2, 1)), None);
}

#[test]
fn row_25_first_batches_are_recorded_before_the_next_is_judged() {
    let unknown = Log::new();
    assert_eq!(behind(&unknown, &claim(9, 0, 0, 1), &claim(9, 0, 1, 1)), None);
    let known = log_with(3);
    let opens = in_txn(claim(1, 3, 3, 1));
    assert_eq!(behind(&known, &opens, &in_txn(claim(1, 3, 4, 1))), None);
    assert_eq!(behind(&known, &claim(1, 4, 0, 1), &claim(1, 4, 1, 1)), None);
    let mut asked = log_with(3);
    asked.ask(&request(2, 0, 0));
    assert_eq!(behind(&asked, &claim(1, 3, 3, 1), &claim(1, 3, 4, 1)), None);
}
