//! The offsets that bound a read, as whoever holds the partition's lock publishes them and all others load them.

use hanbeon_records::Offset;

use crate::{
    Published,
    sync::{AtomicBool, AtomicI64, AtomicU64, Ordering},
};

/// Written under the partition's lock, read without it.
#[derive(Debug)]
pub(crate) struct Offsets {
    /// The log's end in a count that never goes back: a cut raises `shift` instead.
    written: Published,
    /// By how much `written` is above the log's end: as many offsets as were ever cut off.
    shift: AtomicU64,
    log_start: AtomicI64,
    high_watermark: AtomicI64,
    /// Start of the earliest transaction that holds readers of committed data back; `i64::MAX` without one.
    first_unstable: AtomicI64,
    recovery_point: AtomicI64,
    /// A transaction is decided, and its marker waits to be replicated.
    waits_for_watermark: AtomicBool,
}

/// The offsets at which a read may end, of one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) log_start: Offset,
    pub(crate) log_end: Offset,
    pub(crate) high_watermark: Offset,
    pub(crate) last_stable: Offset,
}

/// Where the offsets stand when a log is opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opened {
    pub(crate) log_start: Offset,
    pub(crate) log_end: Offset,
    pub(crate) high_watermark: Offset,
    pub(crate) recovery_point: Offset,
}

/// What the producer states say about readers of committed data.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stability {
    /// The first offset they may not pass.
    pub(crate) first_unstable: Option<Offset>,
    /// Whether a decided transaction waits for its marker to be replicated.
    pub(crate) waits_for_watermark: bool,
}

impl Offsets {
    pub(crate) fn new(at: Opened) -> Self {
        Self {
            written: Published::new(raw(at.log_end)),
            shift: AtomicU64::new(0),
            log_start: AtomicI64::new(at.log_start.get()),
            high_watermark: AtomicI64::new(at.high_watermark.get()),
            first_unstable: AtomicI64::new(i64::MAX),
            recovery_point: AtomicI64::new(at.recovery_point.get()),
            waits_for_watermark: AtomicBool::new(false),
        }
    }

    /// The offset the next batch gets. In this order: with a shift that is newer than the count it is below the end, never above.
    pub(crate) fn log_end(&self) -> Offset {
        let written = self.written.get();
        offset(written.saturating_sub(self.shift.load(Ordering::Acquire)))
    }

    /// The one store that makes an append visible.
    pub(crate) fn publish(&self, end: Offset) {
        self.written.advance(raw(end).saturating_add(self.shift.load(Ordering::Relaxed)));
    }

    /// How much was ever written: the log's end as a count that a cut does not lead back. One load, so that it never counts what
    /// is yet to be written.
    pub(crate) fn written(&self) -> u64 {
        #[cfg(hanbeon_weak = "shift")]
        return raw(self.log_end()).saturating_add(self.shift.load(Ordering::Acquire));
        #[cfg(not(hanbeon_weak = "shift"))]
        self.written.get()
    }

    /// What [`Offsets::written`] has to reach for everything below `end` to be written; no more than it is now.
    pub(crate) fn count_of(&self, end: Offset) -> u64 {
        let count = raw(end).saturating_add(self.shift.load(Ordering::Acquire));
        count.min(self.written())
    }

    /// The offset that `count` stands for.
    pub(crate) fn of_count(&self, count: u64) -> Offset {
        offset(count.saturating_sub(self.shift.load(Ordering::Acquire)))
    }

    pub(crate) fn log_start(&self) -> Offset {
        Offset::new(self.log_start.load(Ordering::Acquire))
    }

    /// The log begins at `start` now, if that is higher; returns where it does.
    ///
    /// The start goes first: of a transaction that reaches over it only the part behind it still holds readers back, and who saw
    /// that with the old start would be given the part before it, undecided (T6).
    pub(crate) fn begin_at(&self, start: Offset, stability: Stability) -> Offset {
        #[cfg(hanbeon_weak = "log_start")]
        self.set_stability(stability);
        let before = self.log_start.fetch_max(start.get(), Ordering::AcqRel);
        #[cfg(not(hanbeon_weak = "log_start"))]
        self.set_stability(stability);
        Offset::new(before.max(start.get()))
    }

    pub(crate) fn high_watermark(&self) -> Offset {
        Offset::new(self.high_watermark.load(Ordering::Acquire))
    }

    /// Raises the high watermark; says whether a transaction waited for that.
    pub(crate) fn raise_high_watermark(&self, to: Offset) -> bool {
        let to = to.min(self.log_end()).get();
        let before = self.high_watermark.fetch_max(to, Ordering::AcqRel);
        before < to && self.waits_for_watermark.load(Ordering::Acquire)
    }

    pub(crate) fn recovery_point(&self) -> Offset {
        Offset::new(self.recovery_point.load(Ordering::Acquire))
    }

    pub(crate) fn raise_recovery_point(&self, to: Offset) {
        self.recovery_point.fetch_max(to.get(), Ordering::AcqRel);
    }

    /// Before [`Offsets::publish`], so that nobody who sees a new transaction's records takes them for decided.
    pub(crate) fn set_stability(&self, stability: Stability) {
        let first = stability.first_unstable.map_or(i64::MAX, Offset::get);
        self.first_unstable.store(first, Ordering::Release);
        self.waits_for_watermark.store(stability.waits_for_watermark, Ordering::Release);
    }

    /// All bounds of a read, each loaded in this order: whoever sees a high watermark sees every transaction that began below it,
    /// and an aborted transaction's index entry before the watermark that makes it stable (KAFKA-9807); whoever sees a transaction
    /// held back from the log's start on sees that start (see [`Offsets::begin_at`]).
    pub(crate) fn bounds(&self) -> Bounds {
        let high_watermark = self.high_watermark();
        let first_unstable = Offset::new(self.first_unstable.load(Ordering::Acquire));
        let log_end = self.log_end();
        let high_watermark = high_watermark.min(log_end);
        let log_start = self.log_start().min(log_end);
        let last_stable = first_unstable.min(high_watermark).max(log_start);
        Bounds { log_start, log_end, high_watermark, last_stable }
    }

    /// For a cut: everything that reached beyond `end` goes back to it. The end goes last, so that no bound is ever above it.
    pub(crate) fn retreat(&self, end: Offset) {
        self.high_watermark.fetch_min(end.get(), Ordering::AcqRel);
        self.log_start.fetch_min(end.get(), Ordering::AcqRel);
        self.recovery_point.fetch_min(end.get(), Ordering::AcqRel);
        let lost = raw(self.log_end()).saturating_sub(raw(end));
        self.shift.fetch_add(lost, Ordering::AcqRel); // pairs with the loads of `shift`
    }
}

fn raw(offset: Offset) -> u64 {
    u64::try_from(offset.get()).unwrap_or(0)
}

fn offset(raw: u64) -> Offset {
    Offset::new(i64::try_from(raw).unwrap_or(i64::MAX))
}
