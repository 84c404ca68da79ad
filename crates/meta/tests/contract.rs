//! Every store keeps the contract, on a transparent disk and, where it has one, on real files.

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use hanbeon_log::{CrashDir, FsDir, MemDir, ReadMode};
use hanbeon_meta::{LoggedSettings, LoggedStore, MemoryStore, contract};

/// Rewritten whenever anything is garbage, so that the suite runs through many rewritings.
const EAGER: LoggedSettings = LoggedSettings { rewrite_bytes_min: 0 };

struct Memory;

impl contract::Fixture for Memory {
    type Store = MemoryStore;

    fn fresh(&mut self) -> MemoryStore {
        MemoryStore::new()
    }

    fn restart(&mut self, _store: MemoryStore) -> Option<MemoryStore> {
        None
    }
}

#[test]
fn the_store_in_memory_keeps_it() {
    contract::check(&mut Memory);
}

struct Logged<D> {
    make: fn() -> D,
    dir: Option<D>,
    settings: LoggedSettings,
}

impl<D: hanbeon_log::Dir> contract::Fixture for Logged<D> {
    type Store = LoggedStore<D>;

    fn fresh(&mut self) -> Self::Store {
        let dir = self.dir.insert((self.make)());
        LoggedStore::open(dir.clone(), self.settings).unwrap()
    }

    fn restart(&mut self, store: Self::Store) -> Option<Self::Store> {
        drop(store);
        Some(LoggedStore::open(self.dir.clone().unwrap(), self.settings).unwrap())
    }
}

#[test]
fn the_logged_store_keeps_it() {
    for settings in [LoggedSettings::STANDARD, EAGER] {
        contract::check(&mut Logged { make: MemDir::new, dir: None, settings });
        contract::check(&mut Logged { make: CrashDir::new, dir: None, settings });
    }
}

struct Files {
    roots: Vec<tempfile::TempDir>,
}

impl Files {
    fn open(&self) -> LoggedStore<FsDir> {
        let path = self.roots.last().unwrap().path();
        let dir = FsDir::open(path, ReadMode::Pread).unwrap();
        LoggedStore::open(dir, EAGER).unwrap()
    }
}

impl contract::Fixture for Files {
    type Store = LoggedStore<FsDir>;

    fn fresh(&mut self) -> Self::Store {
        self.roots.push(tempfile::tempdir().unwrap());
        self.open()
    }

    fn restart(&mut self, store: Self::Store) -> Option<Self::Store> {
        drop(store);
        Some(self.open())
    }
}

#[test]
fn the_logged_store_keeps_it_on_real_files() {
    contract::check(&mut Files { roots: Vec::new() });
}
