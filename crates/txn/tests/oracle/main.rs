//! Random histories of clients, markers, time and crashes, judged by the crate and by a naive oracle.
//!
//! `PROPTEST_CASES=100000 cargo test -p hanbeon-txn --test oracle` searches longer; a failure prints the shortest history
//! found and the line for `proptest-regressions` that replays it.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::too_many_lines,
    reason = "a test that stops has failed, names only the variants it means, and is a table rather than a tale"
)]

#[path = "../fixture/mod.rs"]
mod fixture;
mod history;
mod naive;
mod subject;

use history::Pair;
use naive::{Step, Timeout, Who};
use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner},
};
use subject::Plant;

fn whos() -> impl Strategy<Value = Who> {
    prop_oneof![
        8 => Just(Who::Current),
        3 => Just(Who::Behind),
        1 => Just(Who::Ahead),
        2 => Just(Who::BeforeRotation),
        1 => Just(Who::AfterRotation),
        1 => Just(Who::Stranger),
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    let id = prop_oneof![3 => Just(0_usize), 1 => Just(1_usize)];
    let timeout =
        prop_oneof![4 => Just(Timeout::Long), 2 => Just(Timeout::Short), 1 => Just(Timeout::None)];
    let named = prop_oneof![1 => Just(Who::Nobody), 1 => whos()];
    let some = proptest::collection::btree_set(0..3_usize, 0..3);
    let init = (id.clone(), named, timeout);
    let enrol = (id.clone(), whos(), some.clone(), any::<bool>());
    let verify = (id.clone(), whos(), some);
    let end = (id.clone(), whos(), any::<bool>(), any::<bool>());
    let pass = prop_oneof![
        3 => 0..2000_i64, 2 => Just(60_001), 1 => Just(-5000), 1 => Just(naive::EXPIRATION)
    ];
    prop_oneof![
        5 => init.prop_map(|(id, who, timeout)| Step::Init { id, who, timeout }),
        8 => enrol.prop_map(|(id, who, at, v2)| Step::Enrol { id, who, at, v2 }),
        2 => verify.prop_map(|(id, who, at)| Step::Verify { id, who, at: at.into_iter().collect() }),
        9 => end.prop_map(|(id, who, commit, v2)| Step::End { id, who, commit, v2 }),
        2 => (id.clone(), 0..3_usize).prop_map(|(id, at)| Step::Marker { id, at }),
        6 => id.prop_map(|id| Step::Markers { id }),
        2 => Just(Step::Reap),
        1 => Just(Step::Expire),
        2 => pass.prop_map(Step::Pass),
        2 => Just(Step::Crash),
        1 => any::<bool>().prop_map(Step::LogDown),
        1 => any::<bool>().prop_map(Step::NoIds),
        1 => any::<bool>().prop_map(|v2| Step::Server { v2 }),
    ]
}

/// The epoch that the first id starts from, and what happens then.
fn histories() -> impl Strategy<Value = (i16, Vec<Step>)> {
    let start = prop_oneof![Just(0_i16), 32_763..=32_767_i16];
    (start, proptest::collection::vec(steps(), 1..50))
}

fn play((start, history): &(i16, Vec<Step>), plant: Option<Plant>) -> Result<(), TestCaseError> {
    let mut pair = Pair::new(*start, plant);
    history.iter().try_for_each(|step| pair.play(step)).map_err(|it| TestCaseError::fail(it.0))
}

proptest! {
    #![proptest_config(Config { cases: Config::default().cases.max(1000), ..Config::default() })]

    /// The crate answers and remembers as the naive coordinator does.
    #[test]
    fn t1_t2_t3_t4_t9_t10_t11_t12_the_crate_answers_as_the_oracle(history in histories()) {
        play(&history, None)?;
    }
}

#[test]
fn every_planted_bug_is_found() {
    let (found, missed): (Vec<Plant>, Vec<Plant>) =
        Plant::ALL.iter().partition(|plant| is_found(**plant));
    // The way in which bugs are planted is none itself.
    assert_eq!(missed, [Plant::Nothing], "the oracle does not notice");
    assert_eq!(found.len(), Plant::ALL.len() - 1);
}

fn is_found(plant: Plant) -> bool {
    let config =
        Config { cases: 4000, max_shrink_iters: 0, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let found = TestRunner::new_with_rng(config, rng)
        .run(&histories(), |history| play(&history, Some(plant)));
    matches!(found, Err(TestError::Fail(..)))
}
