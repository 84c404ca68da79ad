//! Syncing the names of new files: nobody is told that they are durable while somebody else is about to see to it.

use hanbeon_log::sync::{Arc, AtomicU64, Ordering, thread};

use super::model;

/// That of the product, taken in by its source: it is no part of what the crate exports.
#[path = "../../src/new_names.rs"]
#[allow(unreachable_pub, reason = "the model is a crate of its own")]
mod names;

use names::NewNames;

struct Directory {
    names: NewNames,
    files: AtomicU64,
    durable: AtomicU64,
    medium: Medium,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Medium {
    Works,
    /// And goes on failing: after the first time nobody asks it any more.
    Fails,
}

impl Directory {
    fn new(medium: Medium) -> Arc<Self> {
        Arc::new(Self {
            names: NewNames::unknown(),
            files: AtomicU64::new(1),
            durable: AtomicU64::new(0),
            medium,
        })
    }

    fn sync(&self) -> Result<(), ()> {
        self.names.sync(|| {
            if self.medium == Medium::Fails {
                return Err(());
            }
            let there = self.files.load(Ordering::Acquire);
            self.durable.fetch_max(there, Ordering::Relaxed);
            Ok(())
        })
    }

    /// As a roll: what was there before is durable, then there is one more.
    fn roll(&self) {
        self.acknowledge(1);
        let files = self.files.fetch_add(1, Ordering::AcqRel) + 1;
        self.names.made();
        self.acknowledge(files);
    }

    fn acknowledge(&self, files: u64) {
        self.sync().unwrap();
        assert!(
            self.durable.load(Ordering::Relaxed) >= files,
            "L1: acknowledged in a file whose name is not durable"
        );
    }
}

#[test]
fn l1_names_are_durable_when_anybody_is_told_so() {
    model("names of new files, a roll against a sync", || {
        let directory = Directory::new(Medium::Works);
        let other = Arc::clone(&directory);
        let rolling = thread::spawn(move || other.roll());
        directory.acknowledge(1);
        rolling.join().unwrap();
    });
}

#[test]
fn l9_a_failed_sync_of_names_is_nobodys_success() {
    model("names of new files, a failing sync", || {
        let directory = Directory::new(Medium::Fails);
        let other = Arc::clone(&directory);
        let syncing = thread::spawn(move || other.sync());
        let results = [directory.sync(), syncing.join().unwrap()];
        assert_eq!(results, [Err(()), Err(())], "L9: told durable after a failed sync");
    });
}
