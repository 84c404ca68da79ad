//! Whether appends to a partition hold up who makes them.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// An append is a copy into the page cache, some microseconds. One that takes this long was held up: by the kernel, which has too many pages to
/// write back, or by a disk that is on its way out.
const SLOW: Duration = Duration::from_millis(20);

/// What the last append took.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    slow: AtomicBool,
}

impl Pace {
    /// Notes what an append took.
    pub(crate) fn took(&self, time: Duration) {
        let slow = time >= SLOW;
        // Mostly nothing changes, and then nothing is written.
        if self.is_slow() != slow {
            self.slow.store(slow, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_slow(&self) -> bool {
        self.slow.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_append_counts() {
        let pace = Pace::default();
        let mut seen = Vec::new();
        for millis in [0, 19, 20, 1000, 1] {
            pace.took(Duration::from_millis(millis));
            seen.push(pace.is_slow());
        }
        assert_eq!(seen, [false, false, true, true, false]);
    }
}
