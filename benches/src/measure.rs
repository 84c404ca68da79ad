//! Two sides, measured in turn.

use std::time::{Duration, Instant};

use criterion::{BenchmarkGroup, Throughput, measurement::WallTime};
use rustix::time::{ClockId, clock_gettime};

/// What a pass took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Time on the clock.
    pub wall: Duration,
    /// Time of all threads of this process on processors, the kernel's work for them included.
    pub cpu: Duration,
}

/// Measures `work`.
pub fn cost_of(work: impl FnOnce()) -> Cost {
    let cpu = cpu_time();
    #[expect(clippy::disallowed_methods, reason = "a bench reads the clock")]
    let began = Instant::now();
    work();
    Cost { wall: began.elapsed(), cpu: cpu_time().saturating_sub(cpu) }
}

fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(now.tv_nsec).unwrap_or(0))
}

/// What is hoped for of the ratio; printed beside it, never asserted.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// At least so many per cent of the yardstick's speed.
    SpeedPercent(u32),
    /// At most so many per cent of the yardstick's time.
    TimePercent(u32),
}

/// One side of a comparison: its name and one pass of it.
pub struct Side<'a> {
    name: &'static str,
    pass: Box<dyn FnMut() -> Cost + 'a>,
}

impl std::fmt::Debug for Side<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl<'a> Side<'a> {
    /// A side whose `pass` prepares what it needs and measures only what counts.
    pub fn new(name: &'static str, pass: impl FnMut() -> Cost + 'a) -> Self {
        Self { name, pass: Box::new(pass) }
    }
}

/// Rounds of each comparison, unless `ROUNDS` says otherwise.
const ROUNDS: usize = 15;

/// Lets criterion report both sides, and prints the median ratio of interleaved rounds. A pass moves `throughput`.
pub fn side_by_side(
    mut group: BenchmarkGroup<'_, WallTime>,
    throughput: Throughput,
    goal: Goal,
    [mut ours, mut yardstick]: [Side<'_>; 2],
) {
    group.sample_size(10).throughput(throughput);
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
    for side in [&mut ours, &mut yardstick] {
        group.bench_function(side.name, |b| {
            b.iter_custom(|passes| (0..passes).map(|_| (side.pass)().wall).sum());
        });
    }
    group.finish();
    let rounds = std::env::var("ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    let (mut wall, mut cpu) = (Vec::new(), Vec::new());
    for _ in 0..rounds.max(1) {
        let (ours, yardstick) = ((ours.pass)(), (yardstick.pass)());
        wall.push(ratio(goal, ours.wall, yardstick.wall));
        cpu.push(ratio(goal, ours.cpu, yardstick.cpu));
    }
    let (what, percent, bound) = match goal {
        Goal::SpeedPercent(percent) => ("speed", percent, ">="),
        Goal::TimePercent(percent) => ("time", percent, "<="),
    };
    eprintln!(
        "{what} of {ours:?} / {yardstick:?}: {} by the clock, {} by processor time; goal {bound} {percent} %; {rounds} rounds",
        Spread::of(wall),
        Spread::of(cpu),
    );
}

fn ratio(goal: Goal, ours: Duration, yardstick: Duration) -> f64 {
    let times = ours.as_secs_f64() / yardstick.as_secs_f64();
    match goal {
        Goal::SpeedPercent(_) => 100.0 / times,
        Goal::TimePercent(_) => 100.0 * times,
    }
}

/// Quartiles of a ratio in per cent.
struct Spread([f64; 3]);

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let last = values.len().saturating_sub(1);
        Self(
            [last / 4, last / 2, last - last / 4]
                .map(|place| values.get(place).copied().unwrap_or(0.0)),
        )
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self([low, median, high]) = self;
        write!(f, "{median:.0} % ({low:.0} to {high:.0})")
    }
}
