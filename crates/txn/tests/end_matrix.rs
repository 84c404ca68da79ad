//! `EndTxn`, every state by every decision by every epoch, for both generations of the protocol: the tables of KIP-98 and
//! KIP-890 with the fixes KAFKA-18464, KAFKA-18660 and KAFKA-20785.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test says so by failing, and names only the variants it means"
)]

mod fixture;

use fixture::{Answer, Pair, World, given};
use hanbeon_records::ProducerId;
use hanbeon_txn::{
    Outcome::{self, Abort, Commit},
    Protocol,
    State::{self, CompleteAbort, CompleteCommit, Empty, Ongoing, PrepareAbort, PrepareCommit},
};

const CURRENT: Pair = (7, 5);

/// A cell of a table.
#[derive(Clone, Copy, Debug)]
enum Cell {
    /// The decision is logged.
    Prepares,
    /// An abort of nothing is logged.
    Empties,
    /// Success, nothing is logged.
    Done,
    /// This code, nothing is logged.
    Code(i16),
}

/// How the log says of which protocol the last end was.
const fn client_version(protocol: Protocol) -> i16 {
    match protocol {
        Protocol::V1 => 0,
        Protocol::V2 => 2,
    }
}

fn asked(state: State, who: Pair, outcome: Outcome, protocol: Protocol) -> (Answer, World) {
    let mut value = given::value(state, CURRENT);
    value.client_transaction_version = client_version(protocol);
    let mut world = given::world(World::v2(), "x", value);
    let answer = world.end("x", who, outcome, protocol);
    (answer, world)
}

fn holds(state: State, who: Pair, outcome: Outcome, protocol: Protocol, cell: Cell) {
    let (answer, world) = asked(state, who, outcome, protocol);
    let why = format!("{state} {who:?} {outcome:?} {protocol:?} {cell:?}: {answer:?}");
    let next = match protocol {
        Protocol::V1 => CURRENT,
        Protocol::V2 => (7, 6),
    };
    let logged = world.last.as_ref().map(|record| record.value().unwrap());
    match cell {
        Prepares => {
            assert_eq!(answer, Ok(next), "{why}");
            let value = logged.unwrap();
            let expected = if outcome == Commit { PrepareCommit } else { PrepareAbort };
            assert_eq!((value.state, fixture::pair(value.producer)), (expected, next), "{why}");
            assert_eq!(value.partitions.as_ref().unwrap().len(), 1, "{why}");
        }
        Empties => {
            assert_eq!((answer, world.state("x")), (Ok((7, 6)), CompleteAbort), "{why}");
            let view = world.coordinator.describe(&fixture::id("x")).unwrap();
            assert_eq!((view.start, view.last_producer_epoch.get()), (world.time(), 5), "{why}");
        }
        Done => {
            assert_eq!(answer, Ok(CURRENT), "{why}");
            assert!(logged.is_none(), "{why}");
        }
        Code(code) => {
            assert_eq!(answer, Err(code), "{why}");
            assert!(logged.is_none(), "{why}");
            assert_eq!(world.current("x"), CURRENT, "{why}");
        }
    }
}

use Cell::{Code, Done, Empties, Prepares};

#[test]
fn v1_every_cell() {
    // In a Prepare state the completion is pending, which Kafka answers before it looks at the decision.
    for (state, commit, abort) in [
        (Ongoing, Prepares, Prepares),
        (PrepareCommit, Code(51), Code(51)),
        (PrepareAbort, Code(51), Code(51)),
        (CompleteCommit, Done, Code(48)),
        (CompleteAbort, Code(48), Done),
        (Empty, Code(48), Code(48)),
    ] {
        for (outcome, cell) in [(Commit, commit), (Abort, abort)] {
            holds(state, CURRENT, outcome, Protocol::V1, cell);
            // Producer id before epoch before state.
            holds(state, (8, 5), outcome, Protocol::V1, Code(49));
            holds(state, (8, 9), outcome, Protocol::V1, Code(49));
            for stale in [4, 6, 0, i16::MAX, -1] {
                holds(state, (7, stale), outcome, Protocol::V1, Code(90));
            }
        }
    }
}

#[test]
fn v2_every_cell() {
    for (state, abort_retry, abort_current, commit_retry, commit_current) in [
        (Ongoing, Code(90), Prepares, Code(90), Prepares),
        (Empty, Code(90), Empties, Code(90), Code(48)),
        (PrepareCommit, Code(51), Code(51), Code(51), Code(51)),
        (PrepareAbort, Code(51), Code(51), Code(51), Code(51)),
        (CompleteCommit, Code(48), Empties, Done, Code(48)),
        (CompleteAbort, Done, Empties, Code(90), Code(48)),
    ] {
        let pending = state.prepared().is_some();
        for (epoch, outcome, cell) in [
            (4, Abort, abort_retry),
            (5, Abort, abort_current),
            (4, Commit, commit_retry),
            (5, Commit, commit_current),
        ] {
            holds(state, (7, epoch), outcome, Protocol::V2, cell);
        }
        for outcome in [Commit, Abort] {
            // While the completion is pending nobody is judged by producer id or epoch: P6, self-fencing.
            for (who, code) in
                [((8, 5), 49), ((8, 4), 49), ((7, 3), 90), ((7, 6), 90), ((7, 32_766), 90)]
            {
                let cell = Code(if pending { 51 } else { code });
                holds(state, who, outcome, Protocol::V2, cell);
            }
        }
    }
}

#[test]
fn t11_a_retry_across_a_rotation_is_known() {
    for (state, same, other) in [(CompleteCommit, Commit, Abort), (CompleteAbort, Abort, Commit)] {
        let rotated = |previous: i64, epoch: i16| {
            let mut value = given::value(state, (9, epoch));
            value.previous_producer_id = ProducerId::new(previous);
            value.client_transaction_version = client_version(Protocol::V2);
            given::world(World::v2(), "x", value)
        };
        let code = if other == Abort { 48 } else { 90 };
        assert_eq!(rotated(7, 0).end("x", (7, 32_766), same, Protocol::V2), Ok((9, 0)));
        assert_eq!(rotated(7, 0).end("x", (7, 32_766), other, Protocol::V2), Err(code));
        // Not by another id, from another epoch, or once the new id has moved on.
        assert_eq!(rotated(6, 0).end("x", (7, 32_766), same, Protocol::V2), Err(49));
        assert_eq!(rotated(7, 0).end("x", (7, 32_765), same, Protocol::V2), Err(49));
        assert_eq!(rotated(7, 1).end("x", (7, 32_766), same, Protocol::V2), Err(49));
        // A producer that never rotated has no such retry.
        assert_eq!(rotated(9, 0).end("x", (9, 32_766), same, Protocol::V2), Err(90));
        // The old protocol knows no retries by epoch.
        assert_eq!(rotated(7, 0).end("x", (7, 32_766), same, Protocol::V1), Err(49));
    }
}

#[test]
fn an_unknown_id_is_told_so() {
    for protocol in [Protocol::V1, Protocol::V2] {
        let mut world = World::v2();
        assert_eq!(world.end("x", CURRENT, Commit, protocol), Err(49));
    }
}
