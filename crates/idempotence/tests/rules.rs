//! Markers, stable offsets, verification and expiry, rule by rule.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that stops has failed")]

mod fixture;

use fixture::{DAY_MS, Log, NOW, Placed, claim, in_txn, marker, request, settings, v2};
use hanbeon_idempotence::{
    Claim, CompletedTxn, Ends, IdempotenceError, MarkerAdmission, MarkerClaim, MarkerProtocol,
    Origin, Outcome, Settings, Verification, VerificationRequest,
};
use hanbeon_records::{Millis, Offset, ProducerId};

fn later(ms: i64) -> Millis {
    Millis::new(NOW.get() + ms)
}

fn code(result: Result<Option<CompletedTxn>, IdempotenceError>) -> i16 {
    result.expect_err("the marker was to be refused").code().number()
}

// ---- markers (spec section 5)

#[test]
fn a_marker_ends_the_transaction_and_tells_where_it_lay() {
    let mut log = Log::new();
    log.put(&in_txn(claim(1, 0, 0, 3)));
    let done = log.end_txn(&MarkerClaim { outcome: Outcome::Abort, ..marker(1, 0, 4) });
    assert_eq!(
        done.unwrap(),
        Some(CompletedTxn {
            producer_id: ProducerId::new(1),
            first_offset: Offset::ZERO,
            last_offset: Offset::new(3),
            outcome: Outcome::Abort,
            last_stable_offset: Offset::new(4),
        })
    );
    assert_eq!(log.states.open_transactions().count(), 0);
}

#[test]
fn a_completed_transaction_names_the_earliest_other_as_last_stable_offset() {
    let mut log = Log::new();
    log.put(&in_txn(claim(1, 0, 0, 1)));
    log.put(&in_txn(claim(2, 0, 0, 1)));
    log.put(&in_txn(claim(3, 0, 0, 1)));
    let done = log.end_txn(&marker(1, 0, 0)).unwrap().unwrap();
    assert_eq!(done.last_stable_offset, Offset::new(1));
    let done = log.end_txn(&marker(3, 0, 0)).unwrap().unwrap();
    assert_eq!(done.last_stable_offset, Offset::new(1));
    let done = log.end_txn(&marker(2, 0, 0)).unwrap().unwrap();
    assert_eq!(done.last_stable_offset, Offset::new(6));
}

/// A commit speaks of the transaction of its own epoch, under protocol 2 of the epoch below it. What is open of an older one was never decided
/// to be committed: the abort in between is lost.
#[test]
fn t1_t3_a_commit_does_not_decide_the_transaction_of_another_epoch() {
    let open = || {
        let mut log = Log::new();
        log.put(&in_txn(claim(1, 4, 0, 1)));
        log
    };
    for commit in [marker(1, 5, 0), v2(marker(1, 6, 0))] {
        let mut log = open();
        assert_eq!(code(log.end_txn(&commit)), 48);
        let abort = MarkerClaim { outcome: Outcome::Abort, ..commit };
        assert!(log.end_txn(&abort).unwrap().is_some(), "an abort is right for both");
    }
    let mut log = open();
    assert!(log.end_txn(&v2(marker(1, 5, 0))).unwrap().is_some());
    assert_eq!(log.end_txn(&v2(marker(1, 8, 0))).unwrap(), None, "nothing is open: it fences");
}

/// A coordinator whose log is whole but whose request has no room for the protocol is believed, and so is one that has read its own log
/// without it.
#[test]
fn t2_a_commit_that_does_not_say_its_protocol_is_taken_for_either() {
    let open = || {
        let mut log = Log::new();
        log.put(&in_txn(claim(1, 4, 0, 1)));
        log
    };
    for (ends, highest) in [(Ends::NamedByEither, 5), (Ends::Any, 9)] {
        for epoch in 4..=highest {
            let commit = MarkerClaim { ends, ..marker(1, epoch, 0) };
            assert!(open().end_txn(&commit).unwrap().is_some(), "{ends:?} at {epoch}");
        }
    }
    let commit = MarkerClaim { ends: Ends::NamedByEither, ..marker(1, 6, 0) };
    assert_eq!(code(open().end_txn(&commit)), 48, "an abort in between is lost");
}

/// Who looked at what is open, and decides about it later, does not decide what the pair has begun since.
#[test]
fn t3_a_marker_for_one_transaction_ends_no_other_of_the_same_pair() {
    let from = |offset, outcome| MarkerClaim {
        outcome,
        ends: Ends::From(Offset::new(offset)),
        ..marker(1, 4, 0)
    };
    for outcome in [Outcome::Abort, Outcome::Commit] {
        let mut log = Log::new();
        assert_eq!(log.end_txn(&from(0, outcome)), Ok(None));
        log.put(&in_txn(claim(1, 4, 0, 1)));
        log.end_txn(&marker(1, 4, 0)).unwrap();
        log.put(&in_txn(claim(1, 4, 1, 1)));
        let end = log.end;
        assert_eq!(log.end_txn(&from(0, outcome)), Ok(None));
        assert_eq!((log.end, log.states.open_transactions().count()), (end, 1));
        assert!(log.end_txn(&from(2, outcome)).unwrap().is_some());
    }
}

#[test]
fn t3_a_marker_for_one_transaction_ends_none_of_a_higher_epoch() {
    for (outcome, epoch) in [(Outcome::Abort, 4), (Outcome::Commit, 5)] {
        let mut log = Log::new();
        log.put(&in_txn(claim(1, 4, 0, 1)));
        log.end_txn(&v2(marker(1, 5, 0))).unwrap();
        log.put(&in_txn(claim(1, 5, 0, 1)));
        let end = log.end;
        let ends = Ends::From(Offset::new(0));
        let late = MarkerClaim { outcome, ends, ..marker(1, epoch, 0) };
        assert_eq!(log.end_txn(&late), Ok(None), "{outcome:?}");
        assert_eq!((log.end, log.states.open_transactions().count()), (end, 1));
    }
}

#[test]
fn e7_an_empty_transaction_completes_nothing_but_fences() {
    let mut log = Log::new();
    assert_eq!(log.end_txn(&marker(1, 5, 0)).unwrap(), None);
    assert_eq!(log.refused(&claim(1, 4, 0, 1)), 47);
    assert!(!log.states.has_unreplicated());
}

#[test]
fn a_marker_of_a_lower_epoch_is_refused() {
    let mut log = Log::new();
    log.put(&claim(1, 3, 0, 1));
    assert_eq!(code(log.end_txn(&marker(1, 2, 0))), 47);
}

#[test]
fn a_marker_of_an_older_coordinator_is_refused_and_of_the_same_taken_again() {
    let mut log = Log::new();
    log.end_txn(&marker(1, 3, 7)).unwrap();
    log.end_txn(&marker(1, 3, 7)).unwrap();
    assert_eq!(code(log.end_txn(&marker(1, 3, 6))), 52);
    assert_eq!(code(log.end_txn(&v2(marker(1, 3, 6)))), 52, "also as a repeated one");
    log.end_txn(&marker(1, 3, 8)).unwrap();
}

/// A client of protocol 1 that was not answered gives the sequence of the aborted record to the next one. Told "duplicate", it would commit a
/// transaction that lacks it (redpanda 5026, and so Kafka 4.3.1); told 45 it raises its epoch. Were it taken, so would be a late copy of the
/// aborted record.
#[test]
fn p1_p3_no_batch_from_before_a_marker_is_a_duplicate_and_the_sequence_goes_on() {
    for outcome in [Outcome::Abort, Outcome::Commit] {
        let mut log = Log::new();
        log.put(&in_txn(claim(1, 3, 0, 1)));
        log.put(&in_txn(claim(1, 3, 1, 2)));
        log.end_txn(&MarkerClaim { outcome, ..marker(1, 3, 0) }).unwrap();
        let known = log.states.producer(ProducerId::new(1)).unwrap();
        assert_eq!((known.last_sequence.unwrap().get(), known.window), (2, 0));
        assert_eq!(known.last_offset, Some(Offset::new(2)), "compaction keeps that batch");
        for (first, records) in [(0, 1), (1, 2), (2, 1), (4, 1)] {
            assert_eq!(log.refused(&in_txn(claim(1, 3, first, records))), 45, "{first}");
        }
        log.put(&in_txn(claim(1, 3, 3, 1)));
        log.put(&in_txn(claim(1, 3, 4, 1)));
        for (sequence, at) in [(3, 4), (4, 5)] {
            let retry = log.write(&in_txn(claim(1, 3, sequence, 1))).unwrap();
            assert_eq!(retry, Placed::Again { base: at, last: at }, "of this transaction");
        }
        assert_eq!(log.refused(&in_txn(claim(1, 3, 1, 2))), 45, "still not");
    }
}

#[test]
fn a_marker_with_a_higher_epoch_empties_the_window() {
    let mut log = Log::new();
    log.put(&in_txn(claim(1, 3, 0, 1)));
    log.end_txn(&MarkerClaim { outcome: Outcome::Abort, ..marker(1, 4, 0) }).unwrap();
    let known = log.states.producer(ProducerId::new(1)).unwrap();
    assert_eq!((known.last_sequence, known.window), (None, 0));
    assert_eq!(log.refused(&claim(1, 4, 1, 1)), 45);
    log.put(&claim(1, 4, 0, 1));
}

#[test]
fn e9_a_version_2_marker_must_raise_the_epoch_of_an_open_transaction() {
    let mut log = Log::new();
    log.put(&in_txn(claim(1, 3, 0, 1)));
    let refused = log.end_txn(&v2(marker(1, 3, 0)));
    assert!(matches!(refused, Err(IdempotenceError::StaleMarker { .. })), "{refused:?}");
    assert_eq!(code(refused), 47);
    assert!(log.end_txn(&v2(marker(1, 4, 0))).unwrap().is_some());
}

#[test]
fn e9_a_repeated_version_2_marker_succeeds_and_is_not_written_again() {
    let mut log = Log::new();
    log.put(&in_txn(claim(1, 3, 0, 1)));
    log.end_txn(&v2(marker(1, 4, 0))).unwrap();
    let again = log.states.admit_marker(&v2(marker(1, 4, 0)));
    assert_eq!(again, Ok(MarkerAdmission::Repeated));
    // A newer coordinator's is written, because only the log can fence the older one after a restart.
    let newer = log.states.admit_marker(&v2(marker(1, 4, 1))).unwrap();
    assert!(matches!(newer, MarkerAdmission::Append(_)));
}

// ---- stable offsets (section 6)

#[test]
fn i6_plain_data_never_holds_the_last_stable_offset() {
    let mut log = Log::new();
    log.put(&claim(1, 0, 0, 5));
    log.plain(5);
    assert_eq!(log.lso(10), 10);
}

#[test]
fn t5_i6_the_last_stable_offset_waits_for_the_marker_to_be_replicated() {
    let mut log = Log::new();
    log.plain(2);
    log.put(&in_txn(claim(1, 0, 0, 1)));
    assert_eq!(log.states.first_undecided_offset(), Some(Offset::new(2)));
    log.end_txn(&marker(1, 0, 0)).unwrap();
    assert_eq!(log.states.first_undecided_offset(), None);
    assert_eq!(log.states.first_unstable_offset(), Some(Offset::new(2)));
    log.states.high_watermark_advanced(Offset::new(3));
    assert_eq!(log.lso(3), 2, "the marker itself is not below the high watermark");
    log.states.high_watermark_advanced(Offset::new(4));
    assert!(!log.states.has_unreplicated());
    assert_eq!(log.lso(4), 4);
}

#[test]
fn t5_transactions_that_end_out_of_order_hold_the_offset_of_the_earliest() {
    let mut log = Log::new();
    for id in 1..=4 {
        log.put(&in_txn(claim(id, 0, 0, 1)));
    }
    for id in [3, 1, 4, 2] {
        log.end_txn(&marker(id, 0, 0)).unwrap();
    }
    // Markers at 4 (of offset 2), 5 (of 0), 6 (of 3), 7 (of 1).
    let mut seen = Vec::new();
    for high_watermark in 4..=8 {
        log.states.high_watermark_advanced(Offset::new(high_watermark));
        seen.push(log.lso(high_watermark));
    }
    assert_eq!(seen, [0, 0, 1, 1, 8]);
}

#[test]
fn i6_the_first_unstable_offset_is_never_below_the_log_start() {
    let mut log = Log::new();
    log.put(&in_txn(claim(1, 0, 0, 4)));
    log.states.log_start_advanced(Offset::new(2));
    assert_eq!(log.states.first_unstable_offset(), Some(Offset::new(2)));
    assert_eq!(log.states.end_offset(), Offset::new(4));
    log.end_txn(&marker(1, 0, 0)).unwrap();
    log.states.log_start_advanced(Offset::new(5));
    assert!(!log.states.has_unreplicated(), "a marker below the log start holds nothing");
}

#[test]
fn one_long_transaction_does_not_keep_the_places_of_all_others() {
    let mut log = Log::new();
    log.put(&in_txn(claim(1, 0, 0, 1)));
    for round in 0..10_000 {
        log.put(&in_txn(claim(2, 0, round, 1)));
        log.end_txn(&marker(2, 0, 0)).unwrap();
        log.states.high_watermark_advanced(Offset::new(log.end));
    }
    assert_eq!(log.lso(log.end), 0);
    let debug = format!("{:?}", log.states);
    assert!(debug.len() < 10_000, "{} characters of state", debug.len());
    log.end_txn(&marker(1, 0, 0)).unwrap();
    log.states.high_watermark_advanced(Offset::new(log.end));
    assert_eq!(log.lso(log.end), log.end);
}

// ---- verification (section 7)

fn verifying() -> Log {
    Log::with(Settings { verification: Verification::On, ..settings() })
}

#[test]
fn e1_a_guard_is_gone_once_a_marker_came() {
    let mut log = verifying();
    let stale = log.ask(&request(1, 0, 0));
    log.end_txn(&marker(1, 0, 0)).unwrap();
    assert_eq!(log.refused(&in_txn(claim(1, 0, 0, 1)).verified_by(Some(stale))), 48);
    let fresh = log.ask(&request(1, 0, 0));
    assert_ne!(stale, fresh);
    assert_eq!(log.refused(&in_txn(claim(1, 0, 0, 1)).verified_by(Some(stale))), 48);
    log.put(&in_txn(claim(1, 0, 0, 1)).verified_by(Some(fresh)));
}

#[test]
fn a_retry_keeps_the_guard_and_its_age() {
    let mut log = verifying();
    let guard = log.ask(&request(1, 0, 0));
    log.now = later(DAY_MS - 1);
    assert_eq!(log.ask(&request(1, 0, 0)), guard);
    log.states.expire(later(DAY_MS - 1));
    assert_eq!(log.ask(&request(1, 0, 0)), guard);
    log.states.expire(later(DAY_MS));
    assert_ne!(log.ask(&request(1, 0, 0)), guard);
}

#[test]
fn d3_no_batch_overtakes_the_one_that_asked_first() {
    let mut log = verifying();
    let guard = log.ask(&request(1, 0, 4));
    assert_eq!(log.ask(&request(1, 0, 6)), guard);
    let with = |first| in_txn(claim(1, 0, first, 2)).verified_by(Some(guard));
    assert_eq!(log.refused(&with(6)), 45);
    assert_eq!(log.ask(&request(1, 0, 2)), guard, "lowered");
    assert_eq!(log.refused(&with(4)), 45);
    log.put(&with(2));
}

#[test]
fn d3_a_higher_epoch_replaces_the_lowest_sequence_and_a_lower_is_ignored() {
    let mut log = verifying();
    log.ask(&request(1, 1, 4));
    log.ask(&request(1, 0, 0));
    let guard = log.ask(&request(1, 1, 4));
    log.put(&in_txn(claim(1, 1, 4, 1)).verified_by(Some(guard)));
    log.end_txn(&marker(1, 1, 0)).unwrap();

    log.ask(&request(1, 1, 5));
    let guard = log.ask(&request(1, 2, 0));
    log.put(&in_txn(claim(1, 2, 0, 1)).verified_by(Some(guard)));
}

#[test]
fn d3_the_lowest_sequence_holds_although_verification_was_turned_off() {
    let mut log = verifying();
    log.ask(&request(1, 0, 4));
    log.states.set_verification(Verification::Off);
    assert_eq!(log.refused(&in_txn(claim(1, 0, 6, 1))), 45);
    log.put(&in_txn(claim(1, 0, 4, 1)));
}

#[test]
fn d4_a_version_2_transaction_starts_an_unknown_partition_at_0() {
    let mut log = verifying();
    log.plain(1);
    let request = VerificationRequest { protocol: MarkerProtocol::V2, ..request(1, 0, 3) };
    let guard = log.ask(&request);
    assert_eq!(log.refused(&in_txn(claim(1, 0, 3, 1)).verified_by(Some(guard))), 45);
    log.put(&in_txn(claim(1, 0, 0, 1)).verified_by(Some(guard)));
}

#[test]
fn an_old_epoch_hears_47_before_the_missing_guard_is_noticed() {
    let mut log = verifying();
    log.end_txn(&marker(1, 3, 0)).unwrap();
    assert_eq!(log.refused(&in_txn(claim(1, 2, 0, 1))), 47);
}

#[test]
fn e10_the_group_coordinator_needs_a_guard_but_no_sequence() {
    let mut log = verifying();
    let offsets = Claim { origin: Origin::Coordinator, ..in_txn(claim(1, 0, 0, 1)) };
    assert_eq!(log.refused(&offsets), 48);
    let guard = log.ask(&request(1, 0, 0));
    let offsets = offsets.verified_by(Some(guard));
    assert_eq!((log.put(&offsets), log.put(&offsets), log.put(&offsets)), (0, 1, 2));
    log.end_txn(&v2(marker(1, 1, 0))).unwrap();
    assert_eq!(log.refused(&offsets), 47);
}

#[test]
fn guards_survive_a_reload_and_stay_unique() {
    let mut log = verifying();
    let first = log.ask(&request(1, 0, 0));
    let mut rebuilt = verifying();
    rebuilt.states.inherit_verifications(&log.states);
    assert_eq!(rebuilt.ask(&request(1, 0, 0)), first);
    assert_ne!(rebuilt.ask(&request(2, 0, 0)), first);
}

// ---- expiry (section 9)

#[test]
fn p7_a_producer_with_an_open_transaction_never_expires() {
    let mut log = Log::new();
    log.put(&in_txn(claim(1, 0, 0, 1)));
    assert_eq!(log.states.expire(later(1000 * DAY_MS)), 0);
    log.now = later(0);
    log.end_txn(&marker(1, 0, 0)).unwrap();
    assert_eq!(log.states.expire(later(1000 * DAY_MS)), 1);
}

#[test]
fn c15_back_dated_data_is_remembered_from_the_time_it_came() {
    let mut log = Log::new();
    log.put(&Claim { max_timestamp: Millis::new(0), ..claim(1, 0, 0, 1) });
    log.put(&Claim { max_timestamp: Millis::NONE, ..claim(2, 0, 0, 1) });
    assert_eq!(log.states.expire(later(DAY_MS - 1)), 0);
    assert_eq!(log.states.expire(later(DAY_MS)), 2);
}

#[test]
fn pf_c4_a_marker_refreshes_the_time() {
    let mut log = Log::new();
    log.put(&in_txn(claim(1, 0, 0, 1)));
    log.now = later(DAY_MS);
    log.end_txn(&MarkerClaim { timestamp: later(DAY_MS), ..marker(1, 0, 0) }).unwrap();
    assert_eq!(log.states.expire(later(2 * DAY_MS - 1)), 0);
    assert_eq!(log.states.expire(later(2 * DAY_MS)), 1);
}

#[test]
fn c10_the_limit_is_dynamic_and_listings_are_sorted() {
    let mut log = Log::new();
    for id in [5, 3, 9, 1] {
        log.put(&claim(id, 0, 0, 1));
    }
    let ids: Vec<i64> = log.states.producers().map(|p| p.producer_id.get()).collect();
    assert_eq!(ids, [1, 3, 5, 9]);
    log.states.set_expiration_ms(10);
    assert_eq!(log.states.expire(later(9)), 0);
    assert_eq!(log.states.expire(later(10)), 4);
}

// ---- sequence arithmetic (section 13)

#[test]
fn i9_going_back_and_forth_in_the_ring_ends_where_it_began() {
    let some = [0, 1, 2, 5, 1 << 30, fixture::MAX - 1, fixture::MAX];
    for x in some {
        for k in some {
            let x = hanbeon_records::Sequence::new(x).unwrap();
            assert_eq!(x.go_back(k.cast_unsigned()).advance(k.cast_unsigned()), x);
        }
    }
}
