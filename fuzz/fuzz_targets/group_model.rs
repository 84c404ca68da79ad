//! Clients that join, commit, leave and die, a log that is slow or refuses, a coordinator that is lost: after each step C1 to C5 hold, by the
//! checks and the naive reading of the log in `crates/group/tests/model`.
#![no_main]

#[path = "../../crates/group/tests/fixture/mod.rs"]
mod fixture;
#[path = "../../crates/group/tests/model/offsets.rs"]
mod offsets;
#[path = "../../crates/group/tests/model/plant.rs"]
#[expect(dead_code, reason = "no bug is planted here")]
mod plant;
#[path = "../../crates/group/tests/model/play.rs"]
mod play;

use hanbeon_fuzz::within_room;
use hanbeon_group::Outcome;
use libfuzzer_sys::fuzz_target;
use play::{CLIENTS, Play, Step};

/// Two bytes are one step.
fn step([kind, a]: [u8; 2]) -> Step {
    let client = usize::from(a) % CLIENTS;
    let partition = i32::from(a / 4 % 3);
    let producer_id = i64::from(a / 16 % 2);
    match kind % 60 {
        0..=8 => Step::Join(client),
        9..=18 => Step::Sync(client),
        19..=21 => Step::Heartbeat(client),
        22 => Step::Leave(client),
        23 | 24 => Step::Restart(client),
        25..=29 => Step::Commit(client, partition),
        30 | 31 => Step::ZombieCommit(client, partition),
        32..=35 => Step::CommitInTxn(client, partition, producer_id),
        36 | 37 => Step::Marker(producer_id, Outcome::Commit),
        38 | 39 => Step::Marker(producer_id, Outcome::Abort),
        40 | 41 => Step::AdminCommit(partition),
        42 => Step::DeleteOffset(partition),
        43 => Step::DeleteGroup,
        44 => Step::DeletePartition(partition),
        45..=49 => Step::Pass(i64::from(a) * 47),
        50 | 51 => Step::Slow,
        52..=55 => Step::Release,
        56 | 57 => Step::Refuse,
        58 => Step::Lose,
        _ => Step::LoseUntold,
    }
}

fuzz_target!(|data: &[u8]| {
    within_room(|| {
        let mut play = Play::new(None);
        let steps = data.as_chunks::<2>().0.iter().take(120);
        let held = steps.map(|bytes| step(*bytes)).try_for_each(|step| play.step(&step));
        if let Err(why) = held.and_then(|()| play.end()) {
            panic!("{why}");
        }
    });
});
