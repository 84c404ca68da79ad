//! What of a partition is not synced yet: since when, which is what `flush.ms` counts from, and whether a helper knows.

use hanbeon_log::sync::{AtomicBool, AtomicI64, Ordering};
use hanbeon_records::Millis;

/// No time.
const NONE: i64 = i64::MAX;

/// Appenders note the time behind the publishing of what they wrote, and whoever synced takes it away. Both read and write in one
/// step: either the note stays behind, or who took it away sees what was published before it.
#[derive(Debug)]
pub(crate) struct DirtySince(AtomicI64);

impl DirtySince {
    /// All is synced.
    pub(crate) fn never() -> Self {
        Self(AtomicI64::new(NONE))
    }

    /// Notes that something was written at `now`; it is published already.
    pub(crate) fn mark(&self, now: Millis) {
        #[cfg(hanbeon_weak = "dirty")]
        if self.0.load(Ordering::Relaxed) == NONE {
            self.0.store(now.get(), Ordering::Relaxed);
        }
        #[cfg(not(hanbeon_weak = "dirty"))]
        self.0.fetch_min(now.get(), Ordering::AcqRel);
    }

    /// The earliest time noted.
    pub(crate) fn get(&self) -> Option<Millis> {
        let since = self.0.load(Ordering::Relaxed);
        (since != NONE).then_some(Millis::new(since))
    }

    /// Forgets the time if `all_synced`, which compares the log's end with what was synced.
    pub(crate) fn synced(&self, all_synced: impl Fn() -> bool) {
        if !all_synced() {
            return;
        }
        #[cfg(hanbeon_weak = "dirty")]
        self.0.store(NONE, Ordering::Relaxed);
        #[cfg(not(hanbeon_weak = "dirty"))]
        {
            let taken = self.0.swap(NONE, Ordering::AcqRel);
            // Looked at once more: a note that came in between was taken, too, and what it speaks of is not synced.
            if !all_synced() {
                self.0.fetch_min(taken, Ordering::AcqRel);
            }
        }
    }
}

/// Whether a helper is asked for a sync that has not begun. Both sides read and write in one step: either the asking comes behind the
/// beginning and is heard, or the sync sees what was published before it.
#[derive(Debug)]
pub(crate) struct Asked(AtomicBool);

impl Asked {
    /// Nobody is asked.
    pub(crate) fn nobody() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Asks for what is published already; whether a helper must be told.
    pub(crate) fn ask(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }

    /// A sync begins: it covers what is published now.
    pub(crate) fn begin(&self) {
        #[cfg(hanbeon_weak = "asked")]
        self.0.store(false, Ordering::Release);
        #[cfg(not(hanbeon_weak = "asked"))]
        self.0.swap(false, Ordering::AcqRel);
    }
}
