//! Cuts the power at every kind of moment and holds what is recovered against what was acknowledged.
//!
//! ```text
//! append, retry, roll, sync, snapshot, cut, close, kill ... -> power cut -> recovery (itself cut up to three times) -> compare
//! ```
//!
//! `CRASH_IMAGES=200000 SEED=7` makes it a nightly run; a failure prints the one line that replays it.

#![expect(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    clippy::print_stderr,
    reason = "a test fails where its ground is missing, and says what it saw"
)]

mod crash;

use std::env;

use crash::{
    rng::Rng,
    run::{Seen, run},
    world::{Stop, Tally},
};
use hanbeon_log::{Broken, CrashDir};

fn setting(name: &str, default: u64) -> u64 {
    env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

fn images() -> u64 {
    setting("CRASH_IMAGES", 500)
}

fn replay(seed: u64) -> String {
    format!(
        "replay: SEED={seed} CRASH_IMAGES=1 cargo test -p hanbeon-log --test crash_images l1_l2_l4 -- --nocapture"
    )
}

#[test]
fn l1_l2_l4_p2_every_crash_image_recovers_to_what_was_acknowledged() {
    let (first, images) = (setting("SEED", 1), images());
    let mut seen = Seen::default();
    let mut all = Tally::default();
    let mut seed = first;
    while seen.images < images {
        match run(Rng::new(seed), CrashDir::new(), Stop::PowerCut, &mut seen) {
            Ok(tally) => all.add(&tally),
            Err(error) => panic!("seed {seed}: {error}\n{}", replay(seed)),
        }
        seed += 1;
    }
    let share = |count: u64| 100.0 * count as f64 / seen.images as f64;
    eprintln!("seeds {first} to {}: {} images", seed - 1, seen.images);
    eprintln!(
        "  {} acknowledged batches found again, 0 lost; {} retries answered with the original offset",
        all.acknowledged, all.retries
    );
    eprintln!(
        "  of the images {:.0} % had dropped, {:.0} % torn, {:.0} % reordered, {:.0} % stale pages; {:.0} % lost directory operations ({} in all)",
        share(seen.dropped),
        share(seen.torn),
        share(seen.reordered),
        share(seen.stale),
        share(seen.dir_ops),
        seen.lost_dir_ops
    );
    eprintln!(
        "  power went inside a call {} times, inside a recovery {} times; {} rolled segments were recovered",
        all.cut_inside_calls, all.recoveries_cut, all.rolled
    );
    if images >= 200 {
        for (kind, count) in
            [("dropped", seen.dropped), ("torn", seen.torn), ("reordered", seen.reordered)]
        {
            assert!(share(count) > 20.0, "{kind} bytes in {:.1} % of the images", share(count));
        }
        assert!(seen.lost_dir_ops > 0 && all.recoveries_cut > 0 && all.rolled > 0);
        assert!(all.acknowledged > images && all.retries > images);
    }
}

/// How many images it takes until a storage that breaks `how` is found out.
fn images_until_red(how: Broken) -> Option<(u64, String)> {
    let mut seen = Seen::default();
    let first = Rng::new(setting("SEED", 1)).next() >> 1;
    let mut seed = first;
    while seen.images < images().max(100) {
        if let Err(error) = run(Rng::new(seed), CrashDir::broken(how), Stop::PowerCut, &mut seen) {
            return Some((seen.images, error));
        }
        seed += 1;
    }
    None
}

#[test]
fn l1_l2_l4_a_kill_loses_nothing_that_was_acknowledged() {
    let (first, images) = (setting("SEED", 1), images() / 4);
    let mut seen = Seen::default();
    let mut all = Tally::default();
    let mut seed = first;
    while seen.images < images {
        match run(Rng::new(seed), CrashDir::new(), Stop::Kill, &mut seen) {
            Ok(tally) => all.add(&tally),
            Err(error) => panic!(
                "seed {seed}: {error}\nreplay: SEED={seed} CRASH_IMAGES=4 cargo test -p hanbeon-log --test crash_images a_kill -- --nocapture"
            ),
        }
        seed += 1;
    }
    eprintln!(
        "seeds {first} to {}: {} kills, {} inside a call, {} inside a recovery; {} acknowledged batches found again, 0 lost; {} openings left checksums for later",
        seed - 1,
        seen.images,
        all.cut_inside_calls,
        all.recoveries_cut,
        all.acknowledged,
        all.unread
    );
    if images >= 50 {
        assert!(all.cut_inside_calls > 0 && all.recoveries_cut > 0 && all.rolled > 0);
        assert!(all.unread > images / 10, "{} of {images} openings", all.unread);
    }
}

/// Why an opening must know which of the two it was. Most of what such a cut leaves is refused, so that it may take many.
#[test]
fn l1_l3_a_power_cut_that_is_told_as_a_kill_is_found_out() {
    let mut seen = Seen::default();
    let first = setting("SEED", 1);
    for seed in first..first + 2000 {
        match run(Rng::new(seed), CrashDir::new(), Stop::CutToldAsKill, &mut seen) {
            // Not what was refused: what was taken for sound and is not.
            Err(error) if error.starts_with("generation") && error.contains(": L") => {
                eprintln!(
                    "a power cut told as a kill was found after {} images: {error}",
                    seen.images
                );
                return;
            }
            Err(_) | Ok(_) => {}
        }
    }
    panic!("{} power cuts went for kills", seen.images);
}

#[test]
fn l1_a_sync_that_does_nothing_is_found_out() {
    let (images, error) = images_until_red(Broken::IgnoresSync).expect("no image went red");
    eprintln!("a sync without effect was found after {images} images: {error}");
}

#[test]
fn l1_a_directory_sync_that_does_nothing_is_found_out() {
    let (images, error) = images_until_red(Broken::IgnoresDirSync).expect("no image went red");
    eprintln!("a directory sync without effect was found after {images} images: {error}");
}
