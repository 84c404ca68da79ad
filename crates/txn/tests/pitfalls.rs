//! Published failures of transactions, each provoked again. The number in a test's name is the row of the story; rows that
//! concern partitions, groups or clients are tested where these live.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test says so by failing, and names only the variants it means"
)]

mod fixture;

use fixture::{World, given, id, pair, partition};
use hanbeon_records::{CoordinatorEpoch, ErrorCode, ProducerId};
use hanbeon_txn::{
    Api, Enqueued, MarkersOwed, Membership, Outcome, Progress, Protocol, State, ValueVersion,
    code_for, encode_key,
};

/// P2, KAFKA-17754: an `EndTxn` whose answer was lost arrives once more, after the next transaction has begun.
#[test]
fn t9_pf_p2_a_late_commit_ends_nothing_under_protocol_2() {
    let mut world = World::v2();
    world.init("x").unwrap();
    world.write("x", (0, 0), &["t-0"]).unwrap();
    world.commit_v2("x", (0, 0)).unwrap();
    world.markers_arrive("x");
    for n in 1..50 {
        world.write("x", (0, n), &["t-0"]).unwrap();
        let before = world.coordinator.clone();
        for outcome in [Outcome::Commit, Outcome::Abort] {
            assert_eq!(world.end("x", (0, n - 1), outcome, Protocol::V2), Err(90));
        }
        assert_eq!(before, world.coordinator);
        world.commit_v2("x", (0, n)).unwrap();
        world.markers_arrive("x");
    }
}

/// P2: with one epoch for all transactions nothing tells the two apart. A known anomaly of protocol 1, kept as a test.
#[test]
fn pf_p2_a_late_commit_tears_the_next_transaction_under_protocol_1() {
    let mut world = World::v1();
    world.init("x").unwrap();
    world.add("x", (0, 0), &["t-0"]).unwrap();
    world.commit_v1("x", (0, 0)).unwrap();
    world.markers_arrive("x");
    world.add("x", (0, 0), &["t-0"]).unwrap(); // the next transaction
    assert_eq!(world.commit_v1("x", (0, 0)), Ok((0, 0))); // ... committed by the last one's late copy
    assert_eq!(world.state("x"), State::PrepareCommit);
}

/// P3: a late enrolment of transaction N may not join N+1.
#[test]
fn t9_pf_p3_a_late_enrolment_does_not_join_the_next_transaction() {
    let mut world = World::v2();
    world.init("x").unwrap();
    world.write("x", (0, 0), &["t-0"]).unwrap();
    world.commit_v2("x", (0, 0)).unwrap();
    assert_eq!(world.write("x", (0, 0), &["t-1"]), Err(51));
    world.markers_arrive("x");
    assert_eq!(world.write("x", (0, 0), &["t-1"]), Err(90));
    world.write("x", (0, 1), &["t-0"]).unwrap();
    assert_eq!(world.write("x", (0, 0), &["t-1"]), Err(90));
    assert_eq!(world.verify("x", (0, 0), &["t-0"]), Err(90));
    assert_eq!(world.verify("x", (0, 1), &["t-1"]), Ok(vec![120]));
}

/// P5, KAFKA-18575: a write of the next epoch comes before the last one's markers are written.
#[test]
fn pf_p5_the_next_transaction_waits_for_the_markers_of_the_last() {
    let mut world = World::v2();
    world.init("x").unwrap();
    world.write("x", (0, 0), &["t-0"]).unwrap();
    assert_eq!(world.commit_v2("x", (0, 0)), Ok((0, 1)));
    assert_eq!(world.write("x", (0, 1), &["t-0"]), Err(51));
    world.markers_arrive("x");
    assert_eq!(world.write("x", (0, 1), &["t-0"]), Ok(()));
}

/// P6, KAFKA-18464 and 18660: a producer ahead of its coordinator is not fenced by itself.
#[test]
fn pf_p6_a_producer_that_is_ahead_waits_and_is_not_fenced() {
    let mut world = World::v2();
    world.init("x").unwrap();
    world.write("x", (0, 0), &["t-0"]).unwrap();
    world.commit_v2("x", (0, 0)).unwrap();
    assert_eq!(world.abort_v2("x", (0, 1)), Err(51));
    assert_eq!(world.init_from("x", (0, 1)), Err(51));
    // At the end of the epochs it is ahead with its next producer id.
    let mut world = given::world(World::v2(), "x", given::value(State::Ongoing, (3, 32_766)));
    let next = world.commit_v2("x", (3, 32_766)).unwrap();
    assert_eq!(next, (7000, 0));
    assert_eq!(world.write("x", next, &["t-0"]), Err(51));
    assert_eq!(world.abort_v2("x", next), Err(51));
    assert_eq!(world.init_from("x", next), Err(51));
    world.markers_arrive("x");
    assert_eq!(world.write("x", next, &["t-0"]), Ok(()));
}

/// P7, KAFKA-20785: the timeout fires while the commit is on its way.
#[test]
fn t10_pf_p7_a_commit_that_crosses_the_timeout_is_fenced_not_invalid() {
    let mut world = World::v2();
    world.init("x").unwrap();
    world.write("x", (0, 0), &["t-0"]).unwrap();
    world.time_out("x");
    world.markers_arrive("x");
    assert_eq!(world.commit_v2("x", (0, 0)), Err(90));
    world.crash();
    assert_eq!(world.commit_v2("x", (0, 0)), Err(90));
    assert_eq!(world.abort_v2("x", (0, 0)), Ok((0, 1)));
}

/// P9, KAFKA-20090: a fence at the last epoch reserves the next producer id, and a delayed abort finds its way.
#[test]
fn pf_p9_a_fence_at_the_last_epoch_rotates() {
    for fence in ["timeout", "initialisation"] {
        let mut world = given::world(World::v2(), "x", given::value(State::Ongoing, (3, 32_766)));
        match fence {
            "timeout" => world.time_out("x"),
            _ => assert_eq!(world.init("x"), Err(51)),
        }
        assert_eq!(world.current("x"), (3, 32_767), "{fence}");
        world.crash();
        world.markers_arrive("x");
        assert_eq!(world.current("x"), (7000, 0), "{fence}");
        assert_eq!(world.commit_v2("x", (3, 32_766)), Err(90), "{fence}");
        assert_eq!(world.abort_v2("x", (3, 32_766)), Ok((7000, 0)), "{fence}");
        assert_eq!(world.write("x", (7000, 0), &["t-0"]), Ok(()), "{fence}");
    }
}

/// P9: under protocol 1 the fence uses the last epoch up, and the next initialisation rotates.
#[test]
fn pf_p9_under_protocol_1_the_next_initialisation_rotates() {
    let mut world = given::world(World::v1(), "x", given::value(State::Ongoing, (3, 32_766)));
    world.time_out("x");
    world.markers_arrive("x");
    assert_eq!((world.state("x"), world.current("x")), (State::CompleteAbort, (3, 32_767)));
    assert_eq!(world.abort_v1("x", (3, 32_766)), Err(90));
    assert_eq!(world.init("x"), Ok((7000, 0)));
}

/// P10, KAFKA-9666: a log that cannot be written while clients keep initialising.
#[test]
fn pf_p10_failing_appends_burn_no_epochs() {
    for world in [World::v1(), World::v2()] {
        let mut world = world;
        world.init("x").unwrap();
        world.write("x", (0, 0), &["t-0"]).unwrap();
        world.log_is_down = true;
        for _ in 0..40_000 {
            assert!(world.init("x").is_err());
        }
        world.log_is_down = false;
        assert_eq!(world.current("x"), (0, 0));
        assert_eq!(world.init("x"), Err(51));
        assert_eq!(world.current("x"), (0, 1));
    }
}

/// P12, KAFKA-20310 and 20357: a failover at each step of a rotation. (The fixture compares live state with replayed state
/// after every record; here the story is told once more by answers.)
#[test]
fn pf_p12_a_rotation_survives_a_failover_at_each_step() {
    for crash_at in 0..5 {
        let mut world = given::world(World::v2(), "x", given::value(State::Ongoing, (3, 32_766)));
        let mut step = 0;
        let mut now = |world: &mut World| {
            if step == crash_at {
                world.crash();
            }
            step += 1;
        };
        now(&mut world);
        assert_eq!(world.commit_v2("x", (3, 32_766)), Ok((7000, 0)));
        now(&mut world);
        world.markers_arrive("x");
        now(&mut world);
        assert_eq!(world.commit_v2("x", (3, 32_766)), Ok((7000, 0)));
        assert_eq!(world.init_from("x", (3, 32_766)), Ok((7000, 0)));
        now(&mut world);
        assert_eq!(world.init_from("x", (3, 32_766)), Ok((7000, 0)));
        now(&mut world);
        assert_eq!(world.init_from("x", (7000, 0)), Ok((7000, 1)));
    }
}

/// P13: a deposed coordinator's answers count for nothing at its successor.
#[test]
fn pf_p13_answers_to_an_earlier_coordinators_markers_are_stale() {
    let mut world = World::v2();
    world.init("x").unwrap();
    world.write("x", (0, 0), &["t-0"]).unwrap();
    world.commit_v2("x", (0, 0)).unwrap();
    let (x, t0) = (id("x"), partition("t-0"));
    let first = world.markers.missing(&x).unwrap().round;
    world.crash();
    let second = world.markers.missing(&x).unwrap().round;
    assert_eq!((first.coordinator_epoch().get(), second.coordinator_epoch().get()), (0, 1));
    assert_eq!(world.markers.acked(&x, first, &t0), Progress::Stale);
    let code = ErrorCode::TransactionCoordinatorFenced;
    assert_eq!(world.markers.answered(&x, first, &t0, code), Progress::Stale);
    assert_eq!(world.state("x"), State::PrepareCommit);
    assert!(matches!(world.markers.acked(&x, second, &t0), Progress::Complete(_)));
}

/// P15: the decision of a durable Prepare is never made again, whatever the time and whoever asks.
#[test]
fn t2_pf_p15_a_durable_decision_never_flips() {
    for (outcome, complete) in
        [(Outcome::Commit, State::CompleteCommit), (Outcome::Abort, State::CompleteAbort)]
    {
        for protocol in [Protocol::V1, Protocol::V2] {
            let mut world = World::v2();
            world.init("x").unwrap();
            world.enrol("x", (0, 0), &["t-0"], protocol).unwrap();
            world.end("x", (0, 0), outcome, protocol).unwrap();
            world.crash();
            let decided = world.coordinator.clone();
            world.pass(10_000_000_000);
            assert_eq!((world.reap(), world.expire()), (vec![], 0));
            assert_eq!((world.init("x"), world.init_from("x", (0, 0))), (Err(51), Err(51)));
            for other in [Outcome::Commit, Outcome::Abort] {
                for epoch in [0, 1, 2] {
                    assert!(world.end("x", (0, epoch), other, Protocol::V1).is_err());
                    assert!(world.end("x", (0, epoch), other, Protocol::V2).is_err());
                }
            }
            assert_eq!(decided, world.coordinator);
            world.crash();
            world.markers_arrive("x");
            assert_eq!(world.state("x"), complete);
        }
    }
}

/// P16, redpanda 6018: what was answered is in the log, so that a failover finds it.
#[test]
fn pf_p16_an_enrolment_is_answered_by_its_record() {
    let mut world = World::v2();
    world.init("x").unwrap();
    for partition in ["t-0", "t-1", "__consumer_offsets-9"] {
        world.add("x", (0, 0), &[partition]).unwrap();
        world.crash();
        assert_eq!(world.verify("x", (0, 0), &[partition]), Ok(vec![0]));
    }
    let view = world.coordinator.describe(&id("x")).unwrap();
    assert_eq!(view.partitions.len(), 3);
}

/// P18: every refusal has a code that clients of its request know what to do with.
#[test]
fn pf_p18_only_codes_that_clients_know() {
    let mut seen = std::collections::BTreeSet::new();
    for state in State::ALL.into_iter().filter(|state| State::from_logged(state.number()).is_some())
    {
        for current in [(7, 0), (7, 5), (7, 32_766), (7, 32_767)] {
            for ids in [0, usize::MAX] {
                for who in [(7, 4), (7, 5), (7, 32_766), (8, 0)] {
                    let mut world = given::world(World::v2(), "x", given::value(state, current));
                    world.ids_left = ids;
                    let again = || world.clone();
                    let answers = [
                        again().init("x").err(),
                        again().init_from("x", who).err(),
                        again().add("x", who, &["t-1"]).err(),
                        again().verify("x", who, &["t-1"]).err(),
                        again().commit_v1("x", who).err(),
                        again().abort_v1("x", who).err(),
                        again().commit_v2("x", who).err(),
                        again().abort_v2("x", who).err(),
                    ];
                    seen.extend(answers.into_iter().flatten());
                }
            }
        }
    }
    assert_eq!(Vec::from_iter(seen), [14, 48, 49, 51, 90]);
}

/// P19, YDB 51053: an end of an enrolled partition that was never written must succeed, and while the last end is torn down
/// there is no empty success.
#[test]
fn pf_p19_ending_what_was_never_written_succeeds_and_ending_twice_waits() {
    for protocol in [Protocol::V1, Protocol::V2] {
        let mut world = World::v2();
        world.init("x").unwrap();
        world.add("x", (0, 0), &["t-0"]).unwrap();
        let next = world.end("x", (0, 0), Outcome::Commit, protocol).unwrap();
        for outcome in [Outcome::Commit, Outcome::Abort] {
            assert_eq!(world.end("x", next, outcome, protocol), Err(51));
        }
        world.markers_arrive("x");
        assert_eq!(world.state("x"), State::CompleteCommit);
    }
}

/// P28, KAFKA-20077, and a fault of Kafka 4.3.1: a deleted topic needs no marker, one without a leader does.
#[test]
fn pf_p28_only_a_deleted_topic_is_let_go() {
    let mut world = World::v2();
    world.init("x").unwrap();
    world.write("x", (0, 0), &["t-0", "u-0"]).unwrap();
    world.commit_v2("x", (0, 0)).unwrap();
    let x = id("x");
    let round = world.markers.missing(&x).unwrap().round;
    for code in ErrorCode::ALL.iter().copied().filter(|code| code.is_retriable()) {
        if code == ErrorCode::CorruptMessage {
            continue;
        }
        let answer = world.markers.answered(&x, round, &partition("t-0"), code);
        assert_eq!(answer, Progress::Retry, "{code}");
    }
    assert_eq!(world.markers.acked(&x, round, &partition("u-0")), Progress::Waits);
    let Progress::Complete(completion) = world.markers.gone(&x, round, &partition("t-0")) else {
        panic!("nothing is left");
    };
    assert_eq!(world.complete(&completion), Ok(()));
    assert_eq!(world.complete(&completion), Err(48), "once is enough");
}

/// P31: neither open nor decided transactions expire.
#[test]
fn pf_p31_only_idle_ids_are_forgotten() {
    for state in State::ALL.into_iter().filter(|state| State::from_logged(state.number()).is_some())
    {
        let mut world = given::world(World::v2(), "x", given::value(state, (7, 5)));
        world.markers.clear();
        world.pass(604_800_000);
        assert_eq!(world.expire(), usize::from(state.is_expirable()), "{state}");
        world.crash();
        assert_eq!(world.coordinator.is_empty(), state.is_expirable(), "{state}");
    }
    // An id whose first InitProducerId never gave an epoch expires like any other.
    let mut world = given::world(World::v2(), "x", given::value(State::Empty, (7, -1)));
    world.pass(604_800_000);
    assert_eq!(world.expire(), 1);
}

/// P33: an empty block is told in the one code that old clients survive.
#[test]
fn pf_p33_no_producer_id_is_load_in_progress() {
    let mut world = World::v2();
    world.ids_left = 0;
    assert_eq!(world.init("x"), Err(14));
    let mut world = given::world(World::v2(), "x", given::value(State::Ongoing, (7, 32_766)));
    world.ids_left = 0;
    assert_eq!(world.commit_v2("x", (7, 32_766)), Err(14));
    assert_eq!(world.init("x"), Err(14));
    world.pass(60_001);
    assert_eq!(world.reap(), [("x".to_owned(), Err(14))]);
    assert_eq!(world.current("x"), (7, 32_766));
}

/// T4: the token of a completion is worth something once, for the transaction it was made for.
#[test]
fn t4_completion_needs_every_marker_of_this_very_transaction() {
    let mut world = World::v2();
    world.init("x").unwrap();
    world.write("x", (0, 0), &["t-0", "t-1"]).unwrap();
    world.commit_v2("x", (0, 0)).unwrap();
    let (x, epoch) = (id("x"), CoordinatorEpoch::new(0));
    let owed = world.coordinator.owed_by(&x).unwrap();
    assert_eq!(pair(owed.marker.producer), (0, 1));
    assert_eq!(world.markers.enqueue(world.time(), owed, epoch), Enqueued::Already);
    let round = world.markers.missing(&x).unwrap().round;
    assert_eq!(world.markers.acked(&x, round, &partition("t-0")), Progress::Waits);
    assert_eq!(world.markers.acked(&x, round, &partition("t-0")), Progress::Stale);
    assert_eq!(world.markers.acked(&x, round, &partition("u-9")), Progress::Stale);
    assert_eq!(world.markers.oldest().map(|(at, _)| at), Some(world.time()));
    let Progress::Complete(completion) = world.markers.acked(&x, round, &partition("t-1")) else {
        panic!("it was the last");
    };
    assert!(world.markers.is_empty());
    world.log_is_down = true;
    assert_eq!(world.complete(&completion), Err(15));
    assert_eq!(world.state("x"), State::PrepareCommit);
    world.log_is_down = false;
    assert_eq!(world.complete(&completion), Ok(()));
    world.write("x", (0, 1), &["t-0"]).unwrap();
    world.commit_v2("x", (0, 1)).unwrap();
    assert_eq!(world.complete(&completion), Err(48), "it is another transaction's");
}

/// A later transaction's markers replace what was left of an earlier one, and a later coordinator's those of an earlier.
#[test]
fn markers_of_a_later_life_replace_those_of_an_earlier() {
    let mut world = World::v2();
    world.init("x").unwrap();
    world.write("x", (0, 0), &["t-0", "t-1"]).unwrap();
    world.commit_v2("x", (0, 0)).unwrap();
    let (x, t0) = (id("x"), partition("t-0"));
    let owed = world.coordinator.owed_by(&x).unwrap();
    let mut markers = MarkersOwed::new();
    let (first, second) = (CoordinatorEpoch::new(1), CoordinatorEpoch::new(2));
    let Enqueued::Send(earlier) = markers.enqueue(world.time(), owed.clone(), first) else {
        panic!("two partitions wait");
    };
    assert_eq!(markers.acked(&x, earlier, &t0), Progress::Waits);
    assert!(matches!(markers.enqueue(world.time(), owed, second), Enqueued::Send(_)));
    assert_eq!(markers.missing(&x).unwrap().partitions.len(), 2, "all are sent again");
    assert_eq!(markers.acked(&x, earlier, &partition("t-1")), Progress::Stale);
    assert_eq!(markers.len(), 1);
}

/// T12: whatever state a crash leaves behind, timeout, markers and completion lead out of it.
#[test]
fn t12_no_state_is_a_dead_end() {
    for world in [World::v1(), World::v2()] {
        for state in State::ALL.into_iter().filter(|s| State::from_logged(s.number()).is_some()) {
            for epoch in [0, 32_765, 32_766, 32_767] {
                let mut world = given::world(world.clone(), "x", given::value(state, (7, epoch)));
                world.pass(60_001);
                world.reap();
                world.markers_arrive("x");
                assert!(world.coordinator.oldest_open().is_none(), "{state} {epoch}");
                assert!(world.coordinator.owed().next().is_none(), "{state} {epoch}");
                assert!(world.init("x").is_ok(), "{state} {epoch}");
            }
        }
    }
}

/// A log that Kafka 4.3.1 wrote knows no `LastProducerEpoch`: a retry after the failover is fenced there and here.
#[test]
fn a_log_without_the_last_epoch_fences_the_retry() {
    let mut value = given::value(State::Empty, (7, 1));
    value.last_producer_epoch = hanbeon_records::ProducerEpoch::NONE;
    let mut world = given::world(World::v2(), "x", value);
    assert_eq!(world.init_from("x", (7, 0)), Err(90));
    assert_eq!(world.init_from("x", (7, 1)), Ok((7, 2)));
}

/// The old form of values loses what it has no room for, and says nothing wrong.
#[test]
fn values_of_version_0_lose_the_retry() {
    let mut settings = fixture::SETTINGS;
    settings.value_version = ValueVersion::V0;
    settings.server_protocol = Protocol::V1;
    let mut world = World::new(settings);
    world.init("x").unwrap();
    assert_eq!(world.init_from("x", (0, 0)), Ok((0, 1)));
    assert_eq!(world.init_from("x", (0, 0)), Ok((0, 1)));
    world.crash();
    assert_eq!(world.init_from("x", (0, 0)), Err(90));
    let view = world.coordinator.describe(&id("x")).unwrap();
    assert_eq!(view.previous_producer_id, ProducerId::NONE);
}

/// It has no room for the protocol of a decision either, by which its markers are judged, nor for the producer id that an end promised.
#[test]
fn t2_decisions_of_protocol_2_are_not_written_in_version_0() {
    let mut settings = fixture::SETTINGS;
    settings.value_version = ValueVersion::V0;
    settings.server_protocol = Protocol::V1;
    for pair in [(0, 0), (0, 32766)] {
        let value = given::value(State::Empty, pair);
        let mut world = given::world(World::new(settings), "x", value);
        world.write("x", pair, &["t-0"]).unwrap();
        let promised = world.commit_v2("x", pair).unwrap();
        world.crash();
        let owed = world.coordinator.owed_by(&id("x")).unwrap();
        assert_eq!(owed.marker.protocol, Some(Protocol::V2));
        world.markers_arrive("x");
        assert_eq!(world.current("x"), promised);
        world.crash();
        assert_eq!(world.commit_v2("x", pair), Ok(promised), "a retry is known");
    }
}

/// What an earlier release, or Kafka, has written in it: nobody knows the protocol.
#[test]
fn t2_a_decision_of_version_0_leaves_its_protocol_open() {
    let mut bytes = Vec::new();
    given::value(State::PrepareCommit, (7, 1)).encode(ValueVersion::V0, &mut bytes).unwrap();
    let mut key = Vec::new();
    encode_key(&id("x"), &mut key);
    let mut world = World::v2();
    world.coordinator.replay(&key, Some(&bytes)).unwrap();
    let owed = world.coordinator.owed_by(&id("x")).unwrap();
    assert_eq!(owed.marker.protocol, None);
}

/// A verdict's code is what a partition leader translates.
#[test]
fn verdicts_have_codes() {
    assert_eq!(Membership::Enrolled.code(), ErrorCode::None);
    assert_eq!(Membership::Absent.code(), ErrorCode::TransactionAbortable);
}

/// An older client takes a code that it does not know for the end of it.
#[test]
fn a_code_is_told_to_the_versions_that_know_it() {
    let told = |api, version| code_for(ErrorCode::TransactionAbortable, api, version);
    for (api, since) in [
        (Api::InitProducerId, 5),
        (Api::AddPartitionsToTxn, 5),
        (Api::AddOffsetsToTxn, 4),
        (Api::EndTxn, 4),
    ] {
        assert_eq!(told(api, since - 1), ErrorCode::InvalidTxnState, "{api:?}");
        assert_eq!(told(api, since), ErrorCode::TransactionAbortable, "{api:?}");
    }
}
