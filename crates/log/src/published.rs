//! How far readers may look.

use crate::sync::{AtomicU64, Ordering};

/// A number that one writer raises and any number of readers load without a lock: what lies below it is complete.
#[derive(Debug)]
pub struct Published(AtomicU64);

impl Published {
    /// Starts at `end`.
    #[must_use]
    pub fn new(end: u64) -> Self {
        Self(AtomicU64::new(end))
    }

    /// Lets readers look up to `end`. Everything below it must have been written before; one caller at a time.
    pub fn advance(&self, end: u64) {
        debug_assert!(end >= self.get(), "published end went backwards");
        #[cfg(not(hanbeon_weak = "publish"))]
        let order = Ordering::Release; // pairs with the load in `get`
        #[cfg(hanbeon_weak = "publish")]
        let order = Ordering::Relaxed;
        self.0.store(end, order);
    }

    /// The end that readers may look up to.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire) // pairs with the store in `advance`
    }
}
