//! Bugs on purpose, so that those who check a broker can show that they would find them. Only with the feature `planted-faults`, and only the
//! one that the environment variable `HANBEON_FAULT` names.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

/// A bug that can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Every fifth marker for a client's partition is counted as written and is not.
    SkippedMarker,
    /// Readers of committed data are not told of the first aborted transaction in what they get.
    DroppedAbortEntry,
    /// Offsets inside a transaction count at once.
    EarlyOffsetCommit,
}

/// The bug that is planted.
pub(crate) fn planted() -> Option<Fault> {
    static PLANTED: OnceLock<Option<Fault>> = OnceLock::new();
    *PLANTED.get_or_init(|| match std::env::var("HANBEON_FAULT").as_deref() {
        Ok("skipped-marker") => Some(Fault::SkippedMarker),
        Ok("dropped-abort-entry") => Some(Fault::DroppedAbortEntry),
        Ok("early-offset-commit") => Some(Fault::EarlyOffsetCommit),
        _ => None,
    })
}

/// Whether it is the turn of a fault that strikes every fifth time.
pub(crate) fn strikes(fault: Fault) -> bool {
    static TIMES: AtomicU64 = AtomicU64::new(0);
    planted() == Some(fault) && TIMES.fetch_add(1, Ordering::Relaxed) % 5 == 4
}
