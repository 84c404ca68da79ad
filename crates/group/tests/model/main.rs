//! Clients that join, commit, leave and die at random, a log that is slow or refuses, a coordinator that is lost at any moment; after
//! each step C1 to C5 hold. And bugs planted between the coordinator and the clients, which the checks must notice.
//!
//! One run is replayed with `PROPTEST_CASES=1` and the seed that proptest writes beside this file.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test says so by failing, also at an answer that it does not expect"
)]

#[path = "../fixture/mod.rs"]
mod fixture;
mod offsets;
mod plant;
mod play;

use hanbeon_group::Outcome;
use plant::Plant;
use play::{Play, Step};
use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner},
};

fn steps() -> impl Strategy<Value = Step> {
    let client = 0..play::CLIENTS;
    let partition = 0..3_i32;
    let outcome = prop_oneof![Just(Outcome::Commit), Just(Outcome::Abort)];
    prop_oneof![
        8 => client.clone().prop_map(Step::Join),
        10 => client.clone().prop_map(Step::Sync),
        3 => client.clone().prop_map(Step::Heartbeat),
        1 => client.clone().prop_map(Step::Leave),
        2 => client.clone().prop_map(Step::Restart),
        5 => (client.clone(), partition.clone()).prop_map(|(c, p)| Step::Commit(c, p)),
        2 => (client.clone(), partition.clone()).prop_map(|(c, p)| Step::ZombieCommit(c, p)),
        4 => (client, partition.clone(), 0..2_i64).prop_map(|(c, p, id)| Step::CommitInTxn(c, p, id)),
        4 => (0..2_i64, outcome).prop_map(|(id, outcome)| Step::Marker(id, outcome)),
        2 => partition.clone().prop_map(Step::AdminCommit),
        1 => partition.clone().prop_map(Step::DeleteOffset),
        1 => Just(Step::DeleteGroup),
        1 => partition.prop_map(Step::DeletePartition),
        5 => (0..12_000_i64).prop_map(Step::Pass),
        2 => Just(Step::Slow),
        4 => Just(Step::Release),
        1 => Just(Step::Refuse),
        1 => Just(Step::Lose),
        1 => Just(Step::LoseUntold),
    ]
}

fn histories() -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec(steps(), 1..120)
}

fn play(history: &[Step], plant: Option<Plant>) -> Result<(), TestCaseError> {
    let mut play = Play::new(plant);
    history
        .iter()
        .try_for_each(|step| play.step(step))
        .and_then(|()| play.end())
        .map_err(TestCaseError::fail)
}

proptest! {
    #![proptest_config(Config { cases: Config::default().cases.max(1500), ..Config::default() })]

    #[test]
    fn c1_c2_c3_c4_c5_hold_whatever_clients_and_log_do(history in histories()) {
        play(&history, None)?;
    }
}

#[test]
fn every_planted_bug_is_found() {
    let missed: Vec<Plant> = Plant::ALL.into_iter().filter(|plant| !is_found(*plant)).collect();
    assert!(missed.is_empty(), "the checks do not notice {missed:?}");
}

fn is_found(plant: Plant) -> bool {
    let config =
        Config { cases: 4000, max_shrink_iters: 0, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let found = TestRunner::new_with_rng(config, rng)
        .run(&histories(), |history| play(&history, Some(plant)));
    matches!(found, Err(TestError::Fail(why, _)) if why.message().starts_with(plant.breaks()))
}
