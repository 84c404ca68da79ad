//! The one door for time, chance and storage.
//!
//! Everything below the engine takes the time as an argument and has no chance in it. A test, or a simulator, brings an
//! [`Env`] of its own and so decides what the clock says.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    marker::PhantomData,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use hanbeon_log::{
    Dir, FsDir,
    sync::{AtomicI64, AtomicU64, Ordering},
};
use hanbeon_records::Millis;

use crate::PageCache;

/// What an engine lives in: storage, two clocks, and chance.
pub trait Env: fmt::Debug + Send + Sync + 'static {
    /// Where data directories lie.
    type Dir: Dir;

    /// The time of day, as it is stamped on records and compared with retention.
    fn now(&self) -> Millis;

    /// Time that never goes back, since a moment of this environment's own choice: for deadlines and intervals.
    fn monotonic(&self) -> Duration;

    /// 64 bits that nobody outside can foretell: hash seeds, topic ids, cluster ids.
    fn random(&self) -> u64;

    /// What keeps the pages that are written into `dir`, where that is known: a directory that its last holder left without closing it
    /// opens faster when it is still the same. Whoever does not know says `None`: everything is checked then.
    fn page_cache(&self, dir: &Self::Dir) -> Option<PageCache> {
        let _ = dir;
        None
    }
}

/// The machine we run on: its file system, its clocks, its randomness.
#[derive(Clone, Debug)]
pub struct System {
    start: Instant,
}

impl System {
    /// The environment of this process.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for System {
    fn default() -> Self {
        Self::new()
    }
}

impl Env for System {
    type Dir = FsDir;

    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    fn now(&self) -> Millis {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Millis::new(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn random(&self) -> u64 {
        // Keyed by the operating system's randomness once per thread and stepped for each hasher.
        RandomState::new().hash_one(0_u8)
    }

    fn page_cache(&self, dir: &FsDir) -> Option<PageCache> {
        PageCache::of(dir.path())
    }
}

/// A clock that stands still until it is moved, chance from a seed, and any storage: for tests and simulations.
///
/// Clones share the clock.
///
/// ```
/// use hanbeon::{Env, Manual};
/// use hanbeon_log::MemDir;
/// use hanbeon_records::Millis;
///
/// let env = Manual::<MemDir>::new(Millis::new(1_700_000_000_000), 7);
/// env.advance(250);
/// assert_eq!(env.now(), Millis::new(1_700_000_000_250));
/// ```
pub struct Manual<D> {
    state: Arc<ManualState>,
    page_cache: Option<PageCache>,
    dir: PhantomData<fn() -> D>,
}

struct ManualState {
    /// The time of day.
    now: AtomicI64,
    /// Milliseconds since its beginning.
    passed: AtomicU64,
    chance: AtomicU64,
}

impl<D> Manual<D> {
    /// A clock that says `now`, and chance that follows from `seed` alone.
    #[must_use]
    pub fn new(now: Millis, seed: u64) -> Self {
        let state = ManualState {
            now: AtomicI64::new(now.get()),
            passed: AtomicU64::new(0),
            chance: AtomicU64::new(seed),
        };
        Self { state: Arc::new(state), page_cache: None, dir: PhantomData }
    }

    /// The same in a machine that tells what keeps its pages; any directory is taken for that one.
    #[must_use]
    pub fn with_page_cache(mut self, page_cache: PageCache) -> Self {
        self.page_cache = Some(page_cache);
        self
    }

    /// Lets `ms` milliseconds pass.
    pub fn advance(&self, ms: u32) {
        // Relaxed: the clock orders nothing else.
        self.state.now.fetch_add(i64::from(ms), Ordering::Relaxed);
        self.state.passed.fetch_add(u64::from(ms), Ordering::Relaxed);
    }

    /// Sets the time of day, as an operator or NTP does. No time passes.
    pub fn set_time_of_day(&self, now: Millis) {
        self.state.now.store(now.get(), Ordering::Relaxed);
    }
}

impl<D> Clone for Manual<D> {
    fn clone(&self) -> Self {
        let page_cache = self.page_cache.clone();
        Self { state: Arc::clone(&self.state), page_cache, dir: PhantomData }
    }
}

impl<D> fmt::Debug for Manual<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manual").field("now", &self.state.now.load(Ordering::Relaxed)).finish()
    }
}

impl<D: Dir> Env for Manual<D> {
    type Dir = D;

    fn now(&self) -> Millis {
        Millis::new(self.state.now.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.state.passed.load(Ordering::Relaxed))
    }

    fn random(&self) -> u64 {
        // SplitMix64 (Steele, Lea, Flood 2014): one word of state, every seed good.
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.state.chance.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn page_cache(&self, _: &D) -> Option<PageCache> {
        self.page_cache.clone()
    }
}

#[cfg(test)]
mod tests {
    use hanbeon_log::MemDir;

    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told_and_chance_follows_the_seed() {
        let one = Manual::<MemDir>::new(Millis::new(5), 1);
        let two = Manual::<MemDir>::new(Millis::new(5), 1);
        assert_eq!(one.now(), Millis::new(5));
        let other = one.clone();
        other.advance(10);
        assert_eq!(one.now(), Millis::new(15));
        assert_eq!(one.monotonic(), Duration::from_millis(10));
        other.set_time_of_day(Millis::new(3));
        assert_eq!((one.now(), one.monotonic()), (Millis::new(3), Duration::from_millis(10)));
        let (a, b) = (one.random(), one.random());
        assert_ne!(a, b);
        assert_eq!([a, b], [two.random(), two.random()]);
    }

    #[test]
    fn the_system_clock_is_past_2023_and_chance_differs() {
        let env = System::new();
        assert!(env.now() > Millis::new(1_672_531_200_000));
        assert_ne!(env.random(), env.random());
    }
}
