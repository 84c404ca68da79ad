//! A store that keeps nothing: for tests and for hosts whose metadata may go with the process.

use crate::{Commit, Embedded, Journal, Limits, Snapshot, StoreError, table::Table};

/// A store in memory.
pub type MemoryStore = Embedded<Volatile>;

/// The journal that is none.
#[derive(Clone, Copy, Debug)]
pub struct Volatile {
    limits: Limits,
}

impl Journal for Volatile {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn write(&mut self, _commit: &Commit) -> Result<(), StoreError> {
        Ok(())
    }

    fn tidy(&mut self, _snapshot: &mut dyn FnMut() -> Snapshot) -> Result<(), StoreError> {
        Ok(())
    }
}

impl MemoryStore {
    /// An empty store with the limits of the one that keeps a file.
    #[must_use]
    pub fn new() -> Self {
        Self::with_limits(crate::logged::LIMITS)
    }

    /// An empty store with other limits, to try how a caller fares under them.
    #[must_use]
    pub fn with_limits(limits: Limits) -> Self {
        Self::of(Volatile { limits }, Table::new(crate::Revision::ZERO, Vec::new()))
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}
