//! A partition on a disk that loses power, or whose process is killed, against a list: what is appended, synced, rolled, cut, deleted and reopened is what the input
//! says, and so are the kind and the moments of those ends; the disk, the list and the checks are those of `crates/log/tests/crash_images.rs`.
#![no_main]

#[path = "../../crates/log/tests/crash/batches.rs"]
mod batches;
#[path = "../../crates/log/tests/crash/check.rs"]
mod check;
#[path = "../../crates/log/tests/crash/run.rs"]
mod run;
#[path = "../../crates/log/tests/crash/world.rs"]
#[expect(dead_code, reason = "the crash images also lie about how a run ended, and add up what they saw")]
mod world;

use hanbeon_fuzz::{ROOM, within};
use hanbeon_log::CrashDir;
use libfuzzer_sys::fuzz_target;
use rng::Rng;
use run::{Seen, run};
use world::Stop;

/// Chance from the input, for the modules above.
mod rng {
    use std::vec::IntoIter;

    /// Choices are read from the input; contents, and choices once it is used up, come from a number that the input's first byte gives.
    pub(crate) struct Rng {
        choices: IntoIter<u8>,
        state: u64,
    }

    impl Rng {
        pub(crate) fn of(input: &[u8]) -> Self {
            let state = u64::from(input.first().copied().unwrap_or_default());
            Self { choices: input.to_vec().into_iter(), state }
        }

        /// Any number, never from the input (splitmix64).
        pub(crate) fn next(&mut self) -> u64 {
            self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }

        /// From `low` up to and without `high`: of as many bytes of the input as the span needs.
        pub(crate) fn range(&mut self, low: usize, high: usize) -> usize {
            let span = high - low;
            let bytes = if span > 256 { 2 } else { 1 };
            let drawn = (0..bytes).try_fold(0, |drawn, _| {
                self.choices.next().map(|byte| drawn << 8 | usize::from(byte))
            });
            let drawn = drawn.unwrap_or_else(|| self.next() as usize);
            low + drawn % span
        }

        /// True `n` times of 100.
        pub(crate) fn percent(&mut self, n: usize) -> bool {
            self.range(0, 100) < n
        }
    }
}

/// The disk lies in memory, and keeps a page as each write since the last sync left it.
const DISK: usize = 8 * ROOM;

fuzz_target!(|data: &[u8]| {
    within(DISK, || {
        let mut seen = Seen::default();
        let mut rng = Rng::of(data);
        let stop = if rng.percent(50) { Stop::Kill } else { Stop::PowerCut };
        if let Err(error) = run(rng, CrashDir::new(), stop, &mut seen) {
            panic!("{error}");
        }
    });
});
