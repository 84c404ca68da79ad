//! What readers and the appender of a partition share: the segments and the offsets that bound a read.

use std::fmt;

use hanbeon_records::Offset;

use crate::{
    Dir, LogError, Poison, Published,
    new_names::NewNames,
    segment::Segment,
    segments::Segments,
    sync::{Arc, AtomicBool, AtomicI64, AtomicU64, Ordering},
};

/// Written by whoever holds the partition's lock, read by all without it.
pub(crate) struct Visible<D: Dir> {
    pub(crate) dir: D,
    /// How a person finds the directory.
    pub(crate) name: String,
    pub(crate) segments: Segments<Segment<D::File>>,
    pub(crate) poison: Poison,
    end: Published,
    log_start: AtomicI64,
    high_watermark: AtomicI64,
    /// Start of the earliest transaction that holds readers of committed data back; `i64::MAX` without one.
    first_unstable: AtomicI64,
    recovery_point: AtomicI64,
    /// A transaction is decided, and its marker waits to be replicated.
    waits_for_watermark: AtomicBool,
    /// Bytes written since the recovery point moved.
    unsynced_bytes: AtomicU64,
    names: NewNames,
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
    /// Bytes behind the recovery point.
    pub(crate) unsynced_bytes: u64,
}

impl<D: Dir> Visible<D> {
    pub(crate) fn new(
        dir: D,
        segments: Vec<Arc<Segment<D::File>>>,
        at: Opened,
        poison: Poison,
    ) -> Self {
        Self {
            name: dir.display(),
            dir,
            segments: Segments::new(segments),
            poison,
            end: Published::new(raw(at.log_end)),
            log_start: AtomicI64::new(at.log_start.get()),
            high_watermark: AtomicI64::new(at.high_watermark.get()),
            first_unstable: AtomicI64::new(i64::MAX),
            recovery_point: AtomicI64::new(at.recovery_point.get()),
            waits_for_watermark: AtomicBool::new(false),
            unsynced_bytes: AtomicU64::new(at.unsynced_bytes),
            names: NewNames::unknown(),
        }
    }

    pub(crate) fn log_end(&self) -> Offset {
        Offset::new(i64::try_from(self.end.get()).unwrap_or(i64::MAX))
    }

    /// The one store that makes an append visible.
    pub(crate) fn publish(&self, end: Offset) {
        self.end.advance(raw(end));
    }

    pub(crate) fn log_start(&self) -> Offset {
        Offset::new(self.log_start.load(Ordering::Acquire))
    }

    pub(crate) fn raise_log_start(&self, start: Offset) -> Offset {
        let before = self.log_start.fetch_max(start.get(), Ordering::AcqRel);
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

    /// What the producer states say about readers of committed data. Before [`Visible::publish`], so that nobody who sees a new
    /// transaction's records takes them for decided.
    pub(crate) fn set_unstable(&self, first: Option<Offset>, waits_for_watermark: bool) {
        let first = first.map_or(i64::MAX, Offset::get);
        self.first_unstable.store(first, Ordering::Release);
        self.waits_for_watermark.store(waits_for_watermark, Ordering::Release);
    }

    /// All bounds of a read. Each is loaded once, and in this order: whoever sees a high watermark sees every transaction that
    /// began below it, and an aborted transaction's index entry before the watermark that makes it stable (KAFKA-9807).
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
        self.end.retreat(raw(end));
    }

    pub(crate) fn wrote(&self, bytes: u64) {
        self.unsynced_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn unsynced_bytes(&self) -> u64 {
        self.unsynced_bytes.load(Ordering::Relaxed)
    }

    /// Takes `bytes` off: they are below the recovery point now.
    pub(crate) fn synced(&self, bytes: u64) {
        self.unsynced_bytes.fetch_sub(bytes.min(self.unsynced_bytes()), Ordering::Relaxed);
    }

    /// Files were made whose names may not survive a power cut.
    pub(crate) fn made_names(&self) {
        self.names.made();
    }

    /// Syncs the directory if a file was made since it was last.
    pub(crate) fn sync_names(&self) -> Result<(), LogError> {
        self.names.sync(|| {
            // Nobody may find it unsynced and try again what has failed.
            self.poison.check(&self.name)?;
            let failed = |error| LogError::io(crate::Action::SyncDir, &self.name, error);
            self.dir.sync().map_err(|error| self.poison.set(failed(error)))
        })
    }
}

fn raw(offset: Offset) -> u64 {
    u64::try_from(offset.get()).unwrap_or(0)
}

impl<D: Dir> fmt::Debug for Visible<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Visible").field("dir", &self.name).field("bounds", &self.bounds()).finish()
    }
}
