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
    check::summary,
    rng::Rng,
    world::{Tally, Verdict, World, options},
};
use hanbeon_log::{Broken, CrashDir, CrashReport, Fault, FaultKind, Lasting, Partition};

fn setting(name: &str, default: u64) -> u64 {
    env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

fn images() -> u64 {
    setting("CRASH_IMAGES", 500)
}

/// Of how many images something is true.
#[derive(Default)]
struct Seen {
    images: u64,
    dropped: u64,
    torn: u64,
    reordered: u64,
    dir_ops: u64,
    lost_dir_ops: u64,
    stale: u64,
}

impl Seen {
    fn note(&mut self, report: CrashReport) {
        self.images += 1;
        self.dropped += u64::from(report.dropped > 0);
        self.torn += u64::from(report.torn > 0);
        self.reordered += u64::from(report.reordered > 0);
        self.dir_ops += u64::from(report.lost_dir_ops > 0);
        self.lost_dir_ops += report.lost_dir_ops;
        self.stale += u64::from(report.stale_pages > 0);
    }
}

/// A workload, then crash, recovery and checks, up to three times over on the same disk.
fn run(seed: u64, dir: CrashDir, seen: &mut Seen) -> Verdict<Tally> {
    let mut world = World::new(seed, dir)?;
    let generations = world.rng.range(1, 4);
    for generation in 0..generations {
        let so_far = |world: &World, error| {
            format!("generation {generation}, {}: {error}", summary(&world.model))
        };
        world.work().map_err(|error| so_far(&world, error))?;
        recover(&mut world, seen).map_err(|error| so_far(&world, error))?;
    }
    Ok(world.tally)
}

/// Cuts the power, opens what is left (with further cuts in between), and checks it.
fn recover(world: &mut World, seen: &mut Seen) -> Verdict<()> {
    world.dir = world.dir.crash(world.rng.next());
    seen.note(world.dir.report());
    let mut rounds = world.rng.range(0, 4);
    loop {
        let options = options(&world.config, &world.saved, world.epoch, world.now);
        world.saved.clean = false;
        if rounds > 0 {
            let after = u64::try_from(world.rng.range(0, 25)).unwrap();
            world.dir.inject(Fault { kind: FaultKind::Error, after, lasting: Lasting::Sticky });
        }
        world.trace("crashed");
        match Partition::open(world.dir.clone(), options) {
            Ok((partition, report)) if rounds == 0 => {
                world.trace(&format!("opened: {report:?}"));
                // A cut whose crash came before its checkpoint leaves this too high; `open` asks that it be put right.
                let point = partition.recovery_point().get();
                world.saved.recovery_point = world.saved.recovery_point.min(point);
                world.partition = partition;
                break;
            }
            Ok(_) => {}
            Err(_) if world.dir.fired() > 0 => world.tally.recoveries_cut += 1,
            Err(error) => return Err(format!("recovery: {error}")),
        }
        if rounds > 0 {
            rounds -= 1;
            world.dir = world.dir.crash(world.rng.next());
        }
    }
    world.woken();
    world.trace("recovered");
    world.check_batches()?;
    world.check_against_scratch()?;
    world.check_producers()?;
    world.trace("checked");
    world.tally.rolled += world.partition.segments().len() - 1;
    if world.rng.percent(50) {
        world.close_and_check()?;
    }
    Ok(())
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
        match run(seed, CrashDir::new(), &mut seen) {
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
        if let Err(error) = run(seed, CrashDir::broken(how), &mut seen) {
            return Some((seen.images, error));
        }
        seed += 1;
    }
    None
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
