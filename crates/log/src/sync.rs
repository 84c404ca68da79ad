//! The one place that names locks, atomics and threads.
//!
//! Under `cfg(hanbeon_loom)` they are loom's, so that every structure shared by threads can be run through all its
//! interleavings; otherwise parking_lot's and std's. Both sides look the same: [`Mutex::lock`] gives a guard without a
//! `Result`, [`Condvar::wait`] takes the guard and gives it back.
//!
//! Not part of the crate's promise; the crates of this workspace share it so that there is one shim only.

#[cfg(hanbeon_loom)]
mod imp {
    pub use loom::{
        sync::{
            Arc, MutexGuard, RwLockReadGuard, RwLockWriteGuard,
            atomic::{
                AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering,
            },
        },
        thread,
    };

    /// A lock; a holder's panic ends the model, so there is no poison.
    #[derive(Debug, Default)]
    pub struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        /// An open lock.
        pub fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        /// Waits for the lock.
        pub fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
        }
    }

    /// A lock that readers share.
    #[derive(Debug, Default)]
    pub struct RwLock<T>(loom::sync::RwLock<T>);

    impl<T> RwLock<T> {
        /// An open lock.
        pub fn new(value: T) -> Self {
            Self(loom::sync::RwLock::new(value))
        }

        /// Waits for a shared hold.
        pub fn read(&self) -> RwLockReadGuard<'_, T> {
            self.0.read().unwrap_or_else(|poisoned| poisoned.into_inner())
        }

        /// Waits for the sole hold.
        pub fn write(&self) -> RwLockWriteGuard<'_, T> {
            self.0.write().unwrap_or_else(|poisoned| poisoned.into_inner())
        }
    }

    /// Where holders of a [`Mutex`] wait for one another.
    #[derive(Debug, Default)]
    pub struct Condvar(loom::sync::Condvar);

    impl Condvar {
        /// One with nobody waiting.
        pub fn new() -> Self {
            Self(loom::sync::Condvar::new())
        }

        /// Lets the lock go, sleeps until notified, takes the lock again.
        pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
            self.0.wait(guard).unwrap_or_else(|poisoned| poisoned.into_inner())
        }

        /// Wakes one.
        pub fn notify_one(&self) {
            self.0.notify_one();
        }

        /// Wakes all.
        pub fn notify_all(&self) {
            self.0.notify_all();
        }
    }

    /// How often a leader may yield while it waits for company: never, the model explores that by itself.
    pub const PATIENCE: u32 = 0;

    /// How many times a leader leads for others before it looks for an heir: the model has few steps to spend.
    pub const ROUNDS: u32 = 1;
}

#[cfg(not(hanbeon_loom))]
mod imp {
    pub use std::{
        sync::{
            Arc,
            atomic::{
                AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering,
            },
        },
        thread,
    };

    pub use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

    /// Where holders of a [`Mutex`] wait for one another.
    #[derive(Debug, Default)]
    pub struct Condvar(parking_lot::Condvar);

    impl Condvar {
        /// One with nobody waiting.
        #[must_use]
        pub const fn new() -> Self {
            Self(parking_lot::Condvar::new())
        }

        /// Lets the lock go, sleeps until notified, takes the lock again.
        pub fn wait<'a, T>(&self, mut guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
            self.0.wait(&mut guard);
            guard
        }

        /// Wakes one.
        pub fn notify_one(&self) {
            self.0.notify_one();
        }

        /// Wakes all.
        pub fn notify_all(&self) {
            self.0.notify_all();
        }
    }

    /// How often a leader may yield while it waits for company (see `group_sync`).
    pub const PATIENCE: u32 = 64;

    /// How many times a leader leads for others before it looks for an heir (see `group`).
    pub const ROUNDS: u32 = 16;
}

pub use imp::*;
