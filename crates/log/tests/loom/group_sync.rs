//! Group commit: acknowledged only after a sync that began after the write, never after a failed one, and nobody sleeps for ever.

use hanbeon_log::{
    Abandoned, SyncGroup, Unsynced,
    sync::{Arc, AtomicBool, AtomicU64, Ordering, thread},
};

use super::model;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Failure {
    Disk,
    Gone,
}

impl From<Abandoned> for Failure {
    fn from(_: Abandoned) -> Self {
        Self::Gone
    }
}

struct Log {
    group: SyncGroup<Failure>,
    written: AtomicU64,
    durable: AtomicU64,
    fails: AtomicBool,
}

impl Log {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            group: SyncGroup::new(0),
            written: AtomicU64::new(0),
            durable: AtomicU64::new(0),
            fails: AtomicBool::new(false),
        })
    }

    /// A disk whose first sync fails and whose second says that all is well.
    fn failing() -> Arc<Self> {
        let log = Self::new();
        log.fails.store(true, Ordering::Relaxed);
        log
    }

    fn write(&self) -> u64 {
        self.written.fetch_add(1, Ordering::AcqRel) + 1
    }

    fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    fn sync_disk(&self) -> Result<(), Unsynced<Failure>> {
        let covered = self.written();
        if self.fails.swap(false, Ordering::AcqRel) {
            return Err(Unsynced::Failed(Failure::Disk));
        }
        // Loads and stores of its own would be wrong if two synced at once.
        assert!(self.durable.load(Ordering::Relaxed) <= covered, "two leaders synced at once");
        self.durable.store(covered, Ordering::Relaxed);
        Ok(())
    }

    fn sync(&self, end: u64) -> Result<(), Failure> {
        self.group.sync(end, || self.written(), || self.sync_disk())
    }

    fn append(&self) {
        let end = self.write();
        self.sync(end).unwrap();
        assert!(
            self.durable.load(Ordering::Relaxed) >= end,
            "L1: acknowledged before a sync that covers it"
        );
    }
}

#[test]
fn l1_two_threads_are_acknowledged_after_a_covering_sync() {
    model("group sync, two threads, two appends", || {
        let log = Log::new();
        let other = Arc::clone(&log);
        let appending = thread::spawn(move || {
            other.append();
            other.append();
        });
        log.append();
        appending.join().unwrap();
        assert_eq!(log.group.synced(), 3);
    });
}

#[test]
fn l1_three_threads_hand_the_lead_over_without_losing_anybody() {
    model("group sync, three threads", || {
        let log = Log::new();
        let appending =
            [Arc::clone(&log), Arc::clone(&log)].map(|log| thread::spawn(move || log.append()));
        log.append();
        for appending in appending {
            appending.join().unwrap();
        }
        assert_eq!(log.group.synced(), 3);
    });
}

#[test]
fn futures_are_woken_though_their_owner_found_somebody_leading() {
    model("group sync, futures", || {
        let log = Log::new();
        let append = |log: &Log| {
            let completion = log.group.wait(log.write());
            // Busy or done: either way somebody owes the answer.
            log.group.lead(|| log.written(), || log.sync_disk()).unwrap();
            completion
        };
        let other = Arc::clone(&log);
        let appending = thread::spawn(move || append(&other));
        let mine = append(&log);
        for completion in [mine, appending.join().unwrap()] {
            let Ok(done) = completion.try_take() else {
                panic!("lost wake-up: nobody syncs for one who waits")
            };
            assert_eq!(done, Ok(Ok(())));
        }
    });
}

#[test]
fn l9_nothing_is_acknowledged_after_a_failed_sync() {
    model("group sync that fails", || {
        let log = Log::failing();
        let other = Arc::clone(&log);
        let append = |log: &Log| log.sync(log.write());
        let appending = thread::spawn(move || append(&other));
        let results = [append(&log), appending.join().unwrap()];
        for result in results {
            assert_eq!(result, Err(Failure::Disk), "L9: acknowledged after a failed sync");
        }
    });
}
