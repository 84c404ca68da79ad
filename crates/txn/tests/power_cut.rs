//! A power cut took the end of the coordinator's log, and partitions have what rests on it.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test says so by failing, and names only the variants it means"
)]

mod fixture;

use fixture::{World, id, partition};
use hanbeon_records::ProducerId;
use hanbeon_txn::{Outcome, Progress, Protocol, State};

const OLD: fixture::Pair = (0, 4);

fn doubt(world: &mut World) {
    world.coordinator.doubt_below(ProducerId::new(world.next_id));
}

/// The log ends with an idle pair, and nobody knows how far its producer came.
fn doubted(mut world: World) -> World {
    for epoch in 0..=OLD.1 {
        assert_eq!(world.init("x"), Ok((0, epoch)));
    }
    world.crash();
    doubt(&mut world);
    world
}

/// Clients take a refusal of what they may do for the end of them: the pair goes on, and nobody after it gets an epoch that partitions may know.
#[test]
fn t3_a_pair_in_doubt_goes_on_and_the_next_instance_has_a_fresh_id() {
    for world in [World::v1(), World::v2()] {
        let doubted = doubted(world);
        let mut live = doubted.clone();
        live.write("x", OLD, &["t-0"]).unwrap();
        let next = live.commit_v2("x", OLD).unwrap();
        assert_eq!(next, (OLD.0, OLD.1 + 1));
        live.markers_arrive("x");
        live.add("x", next, &["t-1"]).unwrap();
        live.end("x", next, Outcome::Abort, Protocol::V1).unwrap();
        live.markers_arrive("x");
        assert_eq!(live.init_from("x", next), Ok((1, 0)));

        let mut world = doubted;
        let mut other = world.clone();
        assert_eq!(other.init("x"), Ok((1, 0)), "a new instance");
        other.write("x", (1, 0), &["t-0"]).unwrap();
        // Who comes from the old pair, and comes again because the answer was lost.
        assert_eq!(world.init_from("x", OLD), Ok((1, 0)));
        assert_eq!(world.init_from("x", OLD), Ok((1, 0)));
        world.write("x", (1, 0), &["t-0"]).unwrap();
        assert_eq!(world.init_from("x", OLD), Err(90), "that one is a zombie by now");
        assert_eq!(world.init("x"), Err(51));
        world.markers_arrive("x");
        assert!(matches!(world.init("x"), Ok((1, _))), "nothing is in doubt any more");
    }
}

#[test]
fn t12_an_open_transaction_in_doubt_is_ended_as_ever() {
    let mut world = World::v2();
    assert_eq!(world.init("x"), Ok((0, 0)));
    world.write("x", (0, 0), &["t-0"]).unwrap();
    world.crash();
    doubt(&mut world);
    assert_eq!(world.write("x", (0, 0), &["t-0", "t-1"]), Ok(()));
    let mut fenced = world.clone();
    assert_eq!(world.commit_v2("x", (0, 0)), Ok((0, 1)));
    world.markers_arrive("x");
    assert_eq!(world.commit_v2("x", (0, 0)), Ok((0, 1)), "a retry is known");
    assert_eq!(world.init_from("x", (0, 1)), Ok((1, 0)));
    // The same through an abort of the coordinator's own.
    assert_eq!(fenced.init_from("x", (0, 0)), Err(51));
    fenced.markers_arrive("x");
    assert_eq!(fenced.init_from("x", (0, 0)), Ok((1, 0)));
    assert_eq!(fenced.init_from("x", (0, 0)), Ok((1, 0)));
}

/// A partition that knows a later epoch does not keep the transaction from ending, and its producer id is used no more.
#[test]
fn t12_a_partition_that_is_past_a_transaction_counts_as_told() {
    for protocol in [Protocol::V1, Protocol::V2] {
        let mut world = World::v2();
        assert_eq!(world.init("x"), Ok((0, 0)));
        world.write("x", (0, 0), &["t-0", "t-1"]).unwrap();
        let next = world.end("x", (0, 0), Outcome::Abort, protocol).unwrap();
        let round = world.markers.missing(&id("x")).unwrap().round;
        let overtaken = world.markers.overtaken(&id("x"), round, &partition("t-0"));
        assert_eq!(overtaken, Progress::Waits);
        let acked = world.markers.acked(&id("x"), round, &partition("t-1"));
        let Progress::Complete(completion) = acked else { panic!("{acked:?}") };
        world.ids_left = 0;
        assert_eq!(world.complete(&completion), Err(14), "no id is at hand");
        world.ids_left = usize::MAX;
        assert_eq!(world.complete(&completion), Ok(()));
        assert_eq!((world.state("x"), world.current("x")), (State::CompleteAbort, (1, 0)));
        assert_eq!(world.write("x", next, &["t-0"]), Err(49));
        world.crash();
        assert_eq!(world.init_from("x", next), Ok((1, 0)), "its holder goes on");
        world.write("x", (1, 0), &["t-0"]).unwrap();
    }
}
