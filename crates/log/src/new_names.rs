//! Names that new files were given, and the sync of their directory that makes them durable.

use crate::sync::{AtomicU64, Mutex, Ordering};

/// Whoever syncs while another is at it waits: what is told to be durable was synced, and not only about to be.
#[derive(Debug)]
pub(crate) struct NewNames {
    /// How often names were made.
    made: AtomicU64,
    /// How often at the last sync.
    synced: Mutex<u64>,
}

impl NewNames {
    /// Those of a directory of which nobody knows when it was synced.
    pub(crate) fn unknown() -> Self {
        Self { made: AtomicU64::new(1), synced: Mutex::new(0) }
    }

    /// A name was made. Waits for no sync.
    pub(crate) fn made(&self) {
        self.made.fetch_add(1, Ordering::AcqRel);
    }

    /// Calls `sync` if a name was made since it was last called and went well.
    pub(crate) fn sync<E>(&self, sync: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let mut synced = self.synced.lock();
        // Loaded before: a name that comes while the directory is synced may have come too late for it.
        let made = self.made.load(Ordering::Acquire);
        if *synced != made {
            #[cfg(hanbeon_weak = "names")]
            {
                *synced = made;
                drop(synced);
                return sync();
            }
            #[cfg(not(hanbeon_weak = "names"))]
            {
                sync()?;
                *synced = made;
            }
        }
        drop(synced);
        Ok(())
    }
}
