//! Intervals that are looked at, not waited for.

use hanbeon_records::Millis;

use crate::Settings;

/// Something that is due every so many milliseconds.
#[derive(Debug)]
pub(crate) struct Timer {
    every_ms: i64,
    next: Millis,
}

impl Timer {
    /// Due for the first time after the interval that `key` sets.
    pub(crate) fn new(settings: &Settings, key: &str, otherwise: i64, now: Millis) -> Self {
        Self::every(settings.long(key).unwrap_or(otherwise), now)
    }

    /// Due for the first time after so many milliseconds.
    pub(crate) fn every(ms: i64, now: Millis) -> Self {
        // A pause of 0 would never sleep.
        let every_ms = ms.max(1);
        Self { every_ms, next: now.saturating_add(every_ms) }
    }

    /// Whether it is due; then it is due again after its interval.
    pub(crate) fn due(&mut self, now: Millis) -> bool {
        // A clock that was put back must not stop the timer for long.
        let due = now >= self.next || self.next.since(now) > self.every_ms;
        if due {
            self.next = now.saturating_add(self.every_ms);
        }
        due
    }

    /// Milliseconds until it is.
    pub(crate) fn left(&self, now: Millis) -> u64 {
        u64::try_from(self.next.since(now)).unwrap_or(0)
    }
}
