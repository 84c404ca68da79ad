//! One whole run: work, power cut, recovery and comparison, several times over on the same disk.

use hanbeon_log::{Checked, CrashDir, CrashReport, Fault, Lasting, Partition};

use super::{
    check::summary,
    rng::Rng,
    world::{Stop, Tally, Verdict, World, options, require},
};

/// Of how many images something is true.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) images: u64,
    pub(crate) dropped: u64,
    pub(crate) torn: u64,
    pub(crate) reordered: u64,
    pub(crate) dir_ops: u64,
    pub(crate) lost_dir_ops: u64,
    pub(crate) stale: u64,
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
pub(crate) fn run(rng: Rng, dir: CrashDir, stop: Stop, seen: &mut Seen) -> Verdict<Tally> {
    let mut world = World::new(rng, dir, stop)?;
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

/// Cuts the power or kills, opens what is left (with further ends in between), and checks it.
fn recover(world: &mut World, seen: &mut Seen) -> Verdict<()> {
    if world.stop == Stop::Kill {
        // What was written is there, synced or not.
        world.model.floor = world.model.end;
    }
    world.dir = world.left();
    seen.note(world.dir.report());
    let mut rounds = world.rng.range(0, 4);
    loop {
        let options = options(&world.config, &world.saved, world.epoch, world.now);
        world.saved.clean = false;
        if rounds > 0 {
            let after = u64::try_from(world.rng.range(0, 25)).unwrap();
            let kind = world.end();
            world.dir.inject(Fault { kind, after, lasting: Lasting::Sticky });
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
            world.dir = world.left();
        }
    }
    world.woken();
    world.trace("recovered");
    world.check_batches()?;
    check_unread(world)?;
    world.check_against_scratch()?;
    world.check_producers()?;
    world.trace("checked");
    world.tally.rolled += world.partition.segments().len() - 1;
    if world.rng.percent(50) {
        world.close_and_check()?;
    }
    Ok(())
}

/// Nothing that was left for later is damaged.
fn check_unread(world: &mut World) -> Verdict<()> {
    let step = 200_000;
    if world.partition.check_unread(1) == Checked::Part {
        world.tally.unread += 1;
    }
    while world.partition.check_unread(step) == Checked::Part {}
    let damage = world.partition.take_damage();
    require(damage.is_empty(), || format!("L3: found later: {damage:?}"))
}
