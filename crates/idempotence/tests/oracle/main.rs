//! Random histories of clients, coordinators, restarts and truncations, judged by the crate and by a naive oracle.
//!
//! `PROPTEST_CASES=100000 cargo test -p hanbeon-idempotence --test oracle` searches longer; a failure prints the shortest
//! history found and the line for `proptest-regressions` that replays it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test that stops has failed, and names only the variants it means"
)]

mod history;
mod naive;
mod subject;

use hanbeon_idempotence::FirstWrite;
use history::{Aim, Mismatch, Pair, Step};
use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner},
};
use subject::Plant;

fn aims() -> impl Strategy<Value = Aim> {
    prop_oneof![
        8 => Just(Aim::Next),
        2 => Just(Aim::Zero),
        4 => (0..7_usize).prop_map(Aim::Retry),
        1 => (1..4_i64).prop_map(Aim::Gap),
        1 => (1..4_i64).prop_map(Aim::Behind),
        1 => (0..3_i32).prop_map(Aim::NearTheEnd),
    ]
}

fn epochs() -> impl Strategy<Value = i16> {
    prop_oneof![10 => Just(0_i16), 1 => Just(-1_i16), 1 => Just(1_i16)]
}

fn steps() -> impl Strategy<Value = Step> {
    let id = 1..4_i64;
    let batch = (id.clone(), epochs(), aims(), 1..4_i32, any::<(bool, bool)>(), 0..8_u8);
    let ask = (id.clone(), epochs(), aims(), any::<bool>());
    let marker = (id, -1..3_i16, 0..3_i32, any::<bool>(), any::<bool>());
    prop_oneof![
        12 => batch.prop_map(|(id, epoch, aim, records, (in_txn, stale), odd)| Step::Batch {
            id, epoch, aim, records, in_txn, coordinator: odd == 0, stale: stale && odd < 3,
        }),
        4 => ask.prop_map(|(id, epoch, aim, v2)| Step::Ask { id, epoch, aim, v2 }),
        3 => marker.prop_map(|(id, epoch, coordinator, v2, commit)| Step::Marker {
            id, epoch, coordinator, v2, commit,
        }),
        1 => (0..800_i64).prop_map(Step::Wait),
        1 => Just(Step::Expire),
        1 => Just(Step::Save),
        1 => Just(Step::Reload),
        1 => (0..5_usize).prop_map(Step::Truncate),
        2 => any::<u8>().prop_map(Step::Replicate),
        1 => any::<u8>().prop_map(Step::Delete),
    ]
}

fn histories() -> impl Strategy<Value = (FirstWrite, Vec<Step>)> {
    let first_write = prop_oneof![Just(FirstWrite::AnySequence), Just(FirstWrite::FromZero)];
    (first_write, proptest::collection::vec(steps(), 1..60))
}

fn play(
    (first_write, history): &(FirstWrite, Vec<Step>),
    plant: Option<Plant>,
) -> Result<(), TestCaseError> {
    let mut pair = Pair::new(*first_write, plant);
    history
        .iter()
        .try_for_each(|step| pair.play(*step).map_err(|Mismatch(why)| TestCaseError::fail(why)))
}

proptest! {
    #![proptest_config(Config { cases: Config::default().cases.max(1000), ..Config::default() })]

    /// P1 to P7, I1 to I8: the crate answers as the whole history demands.
    #[test]
    fn p1_p2_p3_p4_p5_p6_p7_i1_i2_i3_i4_i5_i6_i7_i8_the_crate_answers_as_the_oracle(history in histories()) {
        play(&history, None)?;
    }
}

#[test]
fn every_planted_bug_is_found() {
    let missed: Vec<Plant> = Plant::ALL.iter().copied().filter(|plant| !is_found(*plant)).collect();
    assert!(missed.is_empty(), "the oracle does not notice {missed:?}");
}

fn is_found(plant: Plant) -> bool {
    let config =
        Config { cases: 4000, max_shrink_iters: 0, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let found = TestRunner::new_with_rng(config, rng)
        .run(&histories(), |history| play(&history, Some(plant)));
    matches!(found, Err(TestError::Fail(..)))
}
