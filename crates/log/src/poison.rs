//! One failed write or sync stops all writes of a data directory.

use std::fmt;

use crate::{
    Action, LogError,
    sync::{Arc, AtomicBool, Mutex, Ordering},
};

/// Shared by everything that writes to one data directory. The first failed write or sync sets it for good; whoever finds it set
/// acknowledges nothing. Only opening and recovering the directory again leaves it behind (invariant L9).
///
/// ```
/// let poison = hanbeon_log::Poison::new();
/// assert!(poison.check("data/orders-0").is_ok());
/// ```
#[derive(Clone, Default)]
pub struct Poison(Arc<Inner>);

#[derive(Default)]
struct Inner {
    set: AtomicBool,
    first: Mutex<Option<LogError>>,
}

impl Poison {
    /// Not set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Remembers `error` unless there is one already, and gives `error` back.
    #[must_use]
    pub fn set(&self, error: LogError) -> LogError {
        let mut first = self.0.first.lock();
        first.get_or_insert_with(|| error.clone());
        self.0.set.store(true, Ordering::Release); // pairs with the load in `is_set`
        drop(first);
        error
    }

    /// Sets it where `result` is a sync that failed: the system may have dropped what it could not write, and tells that once. Whatever else
    /// failed may be mended and tried again.
    ///
    /// # Errors
    /// Those of `result`.
    pub fn by_sync<T>(&self, result: Result<T, LogError>) -> Result<T, LogError> {
        match result {
            Err(error @ LogError::Io { action: Action::Sync | Action::SyncDir, .. }) => {
                Err(self.set(error))
            }
            result => result,
        }
    }

    /// Sets it where `result` failed, unless nothing was tried ([`LogError::is_untried`]): for steps that are done again from their beginning.
    ///
    /// # Errors
    /// Those of `result`.
    pub fn unless_untried<T>(&self, result: Result<T, LogError>) -> Result<T, LogError> {
        match result {
            Err(error) if !error.is_untried() => Err(self.set(error)),
            result => result,
        }
    }

    /// Whether something failed.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.set.load(Ordering::Acquire)
    }

    /// What failed first.
    #[must_use]
    pub fn first(&self) -> Option<LogError> {
        self.0.first.lock().clone()
    }

    /// Fails when something failed before.
    ///
    /// # Errors
    /// [`LogError::Poisoned`], naming `dir`.
    pub fn check(&self, dir: impl fmt::Display) -> Result<(), LogError> {
        if self.is_set() { Err(LogError::Poisoned { dir: dir.to_string() }) } else { Ok(()) }
    }
}

impl fmt::Debug for Poison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Poison").field(&self.first()).finish()
    }
}
