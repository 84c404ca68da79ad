//! P8, KAFKA-19367 and 20090: whatever ends or fences a transaction, near the end of the epochs or far from it, whether the
//! log takes it or not, epochs stay in 0..=32767, rise by one at most, and the id can go on.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test says so by failing, and names only the variants it means"
)]

mod fixture;

use fixture::{Pair, World, given};
use hanbeon_txn::{Outcome, Protocol, State};
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Event {
    Init,
    InitFrom,
    Timeout,
    End(Outcome, Protocol),
    Markers,
    Enrol(Protocol),
    Crash,
    LogDown,
    LogUp,
    NoIds,
    Ids,
}

fn protocols() -> impl Strategy<Value = Protocol> {
    prop_oneof![Just(Protocol::V1), Just(Protocol::V2)]
}

fn events() -> impl Strategy<Value = Event> {
    let outcomes = prop_oneof![Just(Outcome::Commit), Just(Outcome::Abort)];
    prop_oneof![
        3 => Just(Event::Init),
        2 => Just(Event::InitFrom),
        3 => Just(Event::Timeout),
        4 => (outcomes, protocols()).prop_map(|(outcome, protocol)| Event::End(outcome, protocol)),
        4 => Just(Event::Markers),
        4 => protocols().prop_map(Event::Enrol),
        1 => Just(Event::Crash),
        1 => Just(Event::LogDown),
        2 => Just(Event::LogUp),
        1 => Just(Event::NoIds),
        2 => Just(Event::Ids),
    ]
}

/// Carries an event out by the pair that is current, or by the client's own, whichever `client` holds.
fn happen(world: &mut World, client: &mut Pair, event: Event) {
    match event {
        Event::Init => {
            if let Ok(pair) = world.init("x") {
                *client = pair;
            }
        }
        Event::InitFrom => {
            if let Ok(pair) = world.init_from("x", *client) {
                *client = pair;
            }
        }
        Event::Timeout => {
            world.pass(60_001);
            world.reap();
        }
        Event::End(outcome, protocol) => {
            if let Ok(pair) = world.end("x", *client, outcome, protocol) {
                *client = pair;
            }
        }
        Event::Markers => {
            if !world.log_is_down {
                world.markers_arrive("x");
            }
        }
        Event::Enrol(protocol) => {
            let _refused = world.enrol("x", *client, &["t-0"], protocol);
        }
        Event::Crash => world.crash(),
        Event::LogDown => world.log_is_down = true,
        Event::LogUp => world.log_is_down = false,
        Event::NoIds => world.ids_left = 0,
        Event::Ids => world.ids_left = usize::MAX,
    }
}

/// What an event may do to the current pair.
fn follows(before: Pair, after: Pair) -> bool {
    let stays = after == before;
    let raised = after.0 == before.0 && i32::from(after.1) == i32::from(before.1) + 1;
    let rotated = after.0 != before.0 && after.1 == 0 && before.1 >= 32_766;
    stays || raised || rotated
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(500), ..ProptestConfig::default() })]

    #[test]
    fn pf_p8_epochs_stay_in_bounds_and_the_id_goes_on(
        epoch in prop_oneof![Just(0_i16), 32_764..=32_767_i16],
        state in 0..6_i8,
        server in protocols(),
        events in proptest::collection::vec(events(), 1..40),
    ) {
        let state = State::from_logged(state).unwrap();
        let fresh = if server == Protocol::V1 { World::v1() } else { World::v2() };
        let mut world = given::world(fresh, "x", given::value(state, (7, epoch)));
        let mut client = (7, epoch);
        for event in events {
            let (before, had) = (world.current("x"), client);
            happen(&mut world, &mut client, event);
            prop_assert!(client == had || client.1 <= 32_766, "{event:?} gives a client {client:?}");
            let after = world.current("x");
            // An empty abort is decided and complete at once: two records, one of which may rotate.
            let twice = matches!(event, Event::End(Outcome::Abort, Protocol::V2));
            prop_assert!(
                follows(before, after) || (twice && before.1 >= 32_766 && after.1 == 0),
                "{event:?} leads from {before:?} to {after:?}"
            );
            prop_assert!((0..=32_767).contains(&after.1));
        }
        // Heal: what is open times out, what is owed is written, and a new instance takes over.
        (world.log_is_down, world.ids_left) = (false, usize::MAX);
        world.crash();
        world.pass(60_001);
        world.reap();
        world.markers_arrive("x");
        let pair = world.init("x");
        prop_assert!(pair.is_ok(), "{pair:?} in {}", world.state("x"));
        prop_assert!(pair.unwrap().1 <= 32_766, "a client is given 32767");
    }
}
