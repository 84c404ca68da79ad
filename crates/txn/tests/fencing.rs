//! Who fences whom: the coordinator's columns of the truth table in `docs/protocols/transactions.md`. What a partition answers
//! (47) is the business of `hanbeon-idempotence`.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test says so by failing, and names only the variants it means"
)]

mod fixture;

use fixture::{Pair, World};
use hanbeon_txn::{Outcome, Protocol, State};

const OLD: Pair = (0, 0);

/// What the instance that holds [`OLD`] is answered.
struct Row {
    add: Result<(), i16>,
    verify: Result<Vec<i16>, i16>,
    end_v1: i16,
    commit_v2: Result<Pair, i16>,
    abort_v2: Result<Pair, i16>,
    init_old: Result<Pair, i16>,
    init_new: Result<Pair, i16>,
}

fn holds(world: &World, row: &Row) {
    let again = || world.clone();
    assert_eq!(again().add("x", OLD, &["t-0"]), row.add, "add");
    assert_eq!(again().write("x", OLD, &["t-0"]), row.add, "implicit add");
    assert_eq!(again().verify("x", OLD, &["t-0"]), row.verify, "verify");
    for outcome in [Outcome::Commit, Outcome::Abort] {
        let code = Err(row.end_v1);
        assert_eq!(again().end("x", OLD, outcome, Protocol::V1), code, "{outcome:?} v1");
    }
    assert_eq!(again().commit_v2("x", OLD), row.commit_v2, "commit v2");
    assert_eq!(again().abort_v2("x", OLD), row.abort_v2, "abort v2");
    assert_eq!(again().init_from("x", OLD), row.init_old, "init from the old pair");
    assert_eq!(again().init("x"), row.init_new, "init");
}

fn initialised(mut world: World) -> World {
    assert_eq!(world.init("x"), Ok(OLD));
    world
}

fn open(world: World) -> World {
    let mut world = initialised(world);
    world.write("x", OLD, &["t-0"]).unwrap();
    world
}

#[test]
fn t3_a_new_instance_fences_an_idle_one() {
    for world in [World::v1(), World::v2()] {
        let mut world = initialised(world);
        assert_eq!(world.init("x"), Ok((0, 1)));
        holds(
            &world,
            &Row {
                add: Err(90),
                verify: Err(90),
                end_v1: 90,
                commit_v2: Err(90),
                abort_v2: Err(90),
                init_old: Err(90),
                init_new: Ok((0, 2)),
            },
        );
    }
}

/// The pair it had is the one before the current, and the last end is of the outcome it asks for: that end was not its own.
#[test]
fn t3_an_end_of_protocol_1_makes_no_pair_that_a_zombie_is_handed() {
    for outcome in [Outcome::Abort, Outcome::Commit] {
        let mut world = initialised(World::v2());
        assert_eq!(world.init("x"), Ok((0, 1)));
        world.write("x", (0, 1), &["t-0"]).unwrap();
        assert_eq!(world.end("x", (0, 1), outcome, Protocol::V1), Ok((0, 1)));
        world.markers_arrive("x");
        for _before_and_after_a_crash in 0..2 {
            assert_eq!(world.clone().end("x", OLD, outcome, Protocol::V2), Err(90));
            world.crash();
        }
    }
}

#[test]
fn t3_a_new_instance_fences_one_with_an_open_transaction() {
    for (world, protocol) in [(World::v1(), Protocol::V1), (World::v2(), Protocol::V2)] {
        let v2 = protocol == Protocol::V2;
        let mut world = open(world);
        assert_eq!(world.init("x"), Err(51));
        // Markers are on their way.
        holds(
            &world,
            &Row {
                add: Err(51),
                verify: Err(90),
                end_v1: 90,
                commit_v2: Err(51),
                abort_v2: Err(51),
                init_old: Err(51),
                init_new: Err(51),
            },
        );
        world.markers_arrive("x");
        // The window between the abort and the takeover: only under protocol 2 may the old instance still heal.
        holds(
            &world,
            &Row {
                add: Err(90),
                verify: Err(90),
                end_v1: 90,
                commit_v2: Err(90),
                abort_v2: Ok((0, 1)),
                init_old: if v2 { Ok((0, 1)) } else { Err(90) },
                init_new: Ok((0, 2)),
            },
        );
        assert_eq!(world.init("x"), Ok((0, 2)));
        holds(
            &world,
            &Row {
                add: Err(90),
                verify: Err(90),
                end_v1: 90,
                commit_v2: Err(90),
                abort_v2: Err(90),
                init_old: Err(90),
                init_new: Ok((0, 3)),
            },
        );
        // The new instance's own transaction is out of the old one's reach.
        world.write("x", (0, 2), &["t-0"]).unwrap();
        assert_eq!(world.init_from("x", OLD), Err(90));
        assert_eq!(world.state("x"), State::Ongoing);
    }
}

#[test]
fn t10_after_a_timeout_a_commit_is_fenced_and_only_protocol_2_heals() {
    for (world, protocol) in [(World::v1(), Protocol::V1), (World::v2(), Protocol::V2)] {
        let v2 = protocol == Protocol::V2;
        let mut world = open(world);
        world.time_out("x");
        holds(
            &world,
            &Row {
                add: Err(51),
                verify: Err(90),
                end_v1: 90,
                commit_v2: Err(51),
                abort_v2: Err(51),
                init_old: Err(51),
                init_new: Err(51),
            },
        );
        world.markers_arrive("x");
        holds(
            &world,
            &Row {
                add: Err(90),
                verify: Err(90),
                end_v1: 90,
                commit_v2: Err(90),
                abort_v2: Ok((0, 1)),
                init_old: if v2 { Ok((0, 1)) } else { Err(90) },
                init_new: Ok((0, 2)),
            },
        );
        assert!(
            format!("{}", {
                let _fenced = world.clone().commit_v2("x", OLD);
                let mut world = world.clone();
                assert_eq!(world.commit_v2("x", OLD), Err(90));
                world.last_error.unwrap()
            })
            .contains("the transaction timeout at 1060001 ms")
        );
    }
}

#[test]
fn the_same_instance_recovers_and_its_lost_answer_is_given_again() {
    let mut world = initialised(World::v2());
    assert_eq!(world.init_from("x", OLD), Ok((0, 1)));
    holds(
        &world,
        &Row {
            add: Err(90),
            verify: Err(90),
            end_v1: 90,
            commit_v2: Err(90),
            abort_v2: Err(90),
            init_old: Ok((0, 1)),
            init_new: Ok((0, 2)),
        },
    );
}

#[test]
fn an_end_of_protocol_2_fences_its_own_past() {
    let mut world = open(World::v2());
    assert_eq!(world.commit_v2("x", OLD), Ok((0, 1)));
    world.markers_arrive("x");
    holds(
        &world,
        &Row {
            add: Err(90),
            verify: Err(90),
            end_v1: 90,
            commit_v2: Ok((0, 1)),
            abort_v2: Err(48),
            init_old: Ok((0, 1)),
            init_new: Ok((0, 2)),
        },
    );
}

#[test]
fn an_expired_id_is_nobodys() {
    let mut world = initialised(World::v2());
    world.pass(604_800_000);
    assert_eq!(world.expire(), 1);
    holds(
        &world,
        &Row {
            add: Err(49),
            verify: Err(49),
            end_v1: 49,
            commit_v2: Err(49),
            abort_v2: Err(49),
            init_old: Ok((1, 0)),
            init_new: Ok((1, 0)),
        },
    );
}

#[test]
fn a_rotation_whose_answer_was_lost_is_given_again() {
    let value = fixture::given::value(State::Empty, (5, 32_766));
    let mut world = fixture::given::world(World::v2(), "x", value);
    let rotated = world.init_from("x", (5, 32_766));
    assert_eq!(rotated, Ok((7000, 0)));
    for _ in 0..3 {
        world.crash();
        assert_eq!(world.init_from("x", (5, 32_766)), rotated);
    }
    assert_eq!(world.init_from("x", (5, 32_765)), Err(90));
    assert_eq!(world.init_from("x", rotated.unwrap()), Ok((7000, 1)));
    assert_eq!(world.init_from("x", (5, 32_766)), Err(90));
}
