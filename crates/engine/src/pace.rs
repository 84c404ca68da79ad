//! Whether appends to a partition hold up who makes them.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// An append is a copy into the page cache, some microseconds. One that takes this long was held up: by the kernel, which has too many pages to
/// write back, or by a disk that is on its way out.
const SLOW: Duration = Duration::from_millis(20);

/// What the last write took.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    slow: AtomicBool,
}

impl Pace {
    /// Notes what a write took.
    pub(crate) fn wrote(&self, time: Duration) {
        self.note(time >= SLOW);
    }

    /// Notes what an append took that wrote nothing itself: that it was quick says nothing of the disk.
    pub(crate) fn waited(&self, time: Duration) {
        if time >= SLOW {
            self.note(true);
        }
    }

    pub(crate) fn is_slow(&self) -> bool {
        self.slow.load(Ordering::Relaxed)
    }

    /// Mostly nothing changes, and then nothing is written.
    fn note(&self, slow: bool) {
        if self.is_slow() != slow {
            self.slow.store(slow, Ordering::Relaxed);
        }
    }
}

/// What a call may keep its thread waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Delay {
    /// Nothing that is known of.
    None,
    /// A log whose last write was held up.
    Writes,
    /// A log that is not open, or not read by its coordinator yet.
    Opening,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_write_counts_and_who_only_waited_speaks_for_slowness() {
        type Note = fn(&Pace, Duration);
        let (wrote, waited): (Note, Note) = (Pace::wrote, Pace::waited);
        let pace = Pace::default();
        let mut seen = Vec::new();
        for (note, millis) in [(wrote, 19), (wrote, 20), (waited, 1), (wrote, 1), (waited, 1000)] {
            note(&pace, Duration::from_millis(millis));
            seen.push(pace.is_slow());
        }
        assert_eq!(seen, [false, true, true, false, true]);
    }
}
