//! Chance from a seed (splitmix64), so that one number replays a run.

/// A small generator whose whole future follows from its seed.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `low` up to and without `high`.
    pub(crate) fn range(&mut self, low: usize, high: usize) -> usize {
        let span = u64::try_from(high - low).unwrap();
        low + usize::try_from(self.next() % span).unwrap()
    }

    /// True `n` times of 100.
    pub(crate) fn percent(&mut self, n: usize) -> bool {
        self.range(0, 100) < n
    }
}
