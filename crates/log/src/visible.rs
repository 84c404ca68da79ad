//! What readers and the appender of a partition share: the segments and the offsets that bound a read.

use std::fmt;

use crate::{
    Dir, LogError, Poison,
    new_names::NewNames,
    offsets::{Offsets, Opened},
    segment::Segment,
    segments::Segments,
    sync::{Arc, AtomicU64, Ordering},
};

/// Written by whoever holds the partition's lock, read by all without it.
pub(crate) struct Visible<D: Dir> {
    pub(crate) dir: D,
    /// How a person finds the directory.
    pub(crate) name: String,
    pub(crate) segments: Segments<Segment<D::File>>,
    pub(crate) poison: Poison,
    pub(crate) offsets: Offsets,
    /// Bytes written since the recovery point moved.
    unsynced_bytes: AtomicU64,
    names: NewNames,
}

impl<D: Dir> Visible<D> {
    pub(crate) fn new(
        dir: D,
        segments: Vec<Arc<Segment<D::File>>>,
        at: Opened,
        unsynced_bytes: u64,
        poison: Poison,
    ) -> Self {
        Self {
            name: dir.display(),
            dir,
            segments: Segments::new(segments),
            poison,
            offsets: Offsets::new(at),
            unsynced_bytes: AtomicU64::new(unsynced_bytes),
            names: NewNames::unknown(),
        }
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
            let failed = |error| LogError::sync_dir(&self.name, error);
            self.poison.unless_untried(self.dir.sync().map_err(failed))
        })
    }
}

impl<D: Dir> fmt::Debug for Visible<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Visible")
            .field("dir", &self.name)
            .field("bounds", &self.offsets.bounds())
            .finish()
    }
}
