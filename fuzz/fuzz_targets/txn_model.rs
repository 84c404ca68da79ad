//! Histories of clients, markers, time and crashes: the transaction coordinator answers and remembers as the naive one of
//! `crates/txn/tests/oracle`.
#![no_main]

#[path = "../../crates/txn/tests/fixture/mod.rs"]
mod fixture;
#[path = "../../crates/txn/tests/oracle/history.rs"]
mod history;
#[path = "../../crates/txn/tests/oracle/naive.rs"]
mod naive;
#[path = "../../crates/txn/tests/oracle/subject.rs"]
mod subject;

use hanbeon_fuzz::within_room;
use history::Pair;
use libfuzzer_sys::fuzz_target;
use naive::{EXPIRATION, Step, Timeout, Who};

fn who(byte: u8) -> Who {
    match byte % 16 {
        0..=7 => Who::Current,
        8..=10 => Who::Behind,
        11 => Who::Ahead,
        12 | 13 => Who::BeforeRotation,
        14 => Who::AfterRotation,
        _ => Who::Stranger,
    }
}

/// Three bytes are one step.
fn step([kind, a, b]: [u8; 3]) -> Step {
    let id = usize::from(a % 4 == 3);
    let partitions = (0..3).filter(|at| b >> at & 1 == 1);
    match kind % 44 {
        0..=4 => {
            let timeout = [Timeout::Long, Timeout::Long, Timeout::Short, Timeout::None];
            let who = if b >= 128 { Who::Nobody } else { who(a / 4) };
            Step::Init { id, who, timeout: timeout[usize::from(b % 4)] }
        }
        5..=12 => Step::Enrol { id, who: who(a / 4), at: partitions.collect(), v2: b >= 128 },
        13 | 14 => Step::Verify { id, who: who(a / 4), at: partitions.collect() },
        15..=23 => Step::End { id, who: who(a / 4), commit: b & 1 == 0, v2: b & 2 == 0 },
        24 | 25 => Step::Marker { id, at: usize::from(b % 3) },
        26..=31 => Step::Markers { id },
        32 | 33 => Step::Reap,
        34 => Step::Expire,
        35..=37 => Step::Pass([i64::from(b) * 8, 60_001, -5000, EXPIRATION][usize::from(a % 4)]),
        38 | 39 => Step::Crash,
        40 => Step::LogDown(b & 1 == 0),
        41 => Step::NoIds(b & 1 == 0),
        _ => Step::Server { v2: b & 1 == 0 },
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((start, steps)) = data.split_first() else { return };
    let start = [0, 0, 0, 32_763, 32_764, 32_765, 32_766, 32_767][usize::from(start % 8)];
    within_room(|| {
        let mut pair = Pair::new(start, None);
        for bytes in steps.as_chunks::<3>().0.iter().take(100) {
            if let Err(mismatch) = pair.play(&step(*bytes)) {
                panic!("{}", mismatch.0);
            }
        }
    });
});
