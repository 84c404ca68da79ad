//! Histories of clients, coordinators, restarts and truncations: the producer table answers as the naive oracle of
//! `crates/idempotence/tests/oracle`.
#![no_main]

#[path = "../../crates/idempotence/tests/oracle/history.rs"]
mod history;
#[path = "../../crates/idempotence/tests/oracle/naive.rs"]
mod naive;
#[path = "../../crates/idempotence/tests/oracle/subject.rs"]
mod subject;

use hanbeon_fuzz::within_room;
use hanbeon_idempotence::FirstWrite;
use history::{Aim, Pair, Step};
use libfuzzer_sys::fuzz_target;

/// Four bytes are one step.
fn step(bytes: [u8; 4]) -> Step {
    let [kind, a, b, c] = bytes;
    let id = i64::from(a % 3) + 1;
    let epoch = [0, 0, 0, 0, 0, 0, -1, 1][usize::from(a / 3 % 8)];
    let by = i64::from(b / 8 % 3) + 1;
    let aim = match b % 8 {
        0..=2 => Aim::Next,
        3 => Aim::Zero,
        4 => Aim::Retry(usize::from(b / 8 % 7)),
        5 => Aim::Gap(by),
        6 => Aim::Behind(by),
        _ => Aim::NearTheEnd(i32::from(b / 8 % 3)),
    };
    match kind % 28 {
        0..=11 => Step::Batch {
            id,
            epoch,
            aim,
            records: i32::from(c % 3) + 1,
            in_txn: c & 0x80 != 0,
            coordinator: c & 0x70 == 0,
            stale: c & 0x0c == 0,
        },
        12..=15 => Step::Ask { id, epoch, aim, v2: c & 1 != 0 },
        16..=19 => {
            let epoch = i16::from(b % 4) - 1;
            Step::Marker {
                id,
                epoch,
                coordinator: i32::from(c % 3),
                v2: c & 0x80 != 0,
                commit: c & 0x40 != 0,
            }
        }
        20 => Step::Wait(i64::from(c) * 4),
        21 => Step::Expire,
        22 => Step::Save,
        23 => Step::Reload,
        24 => Step::Truncate(usize::from(c % 5)),
        25 => Step::Delete(c),
        _ => Step::Replicate(c),
    }
}

fuzz_target!(|data: &[u8]| {
    within_room(|| {
        let (first_write, data) = match data {
            [odd, data @ ..] if odd & 1 != 0 => (FirstWrite::FromZero, data),
            [_, data @ ..] => (FirstWrite::AnySequence, data),
            [] => return,
        };
        let mut pair = Pair::new(first_write, None);
        for bytes in data.as_chunks::<4>().0.iter().take(100) {
            if let Err(mismatch) = pair.play(step(*bytes)) {
                panic!("{}", mismatch.0);
            }
        }
    });
});
