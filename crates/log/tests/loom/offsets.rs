//! The offsets that bound a read against what moves them: a deletion at the start, a cut at the end.

use hanbeon_log::sync::{Arc, AtomicU64, Ordering, thread};
use hanbeon_records::Offset;

use super::model;

/// That of the product, taken in by its source: it is no part of what the crate exports.
#[path = "../../src/offsets.rs"]
#[allow(dead_code, unreachable_pub, reason = "the model uses a part of it")]
mod bounds;

use bounds::{Offsets, Opened, Stability};

fn offsets(end: i64) -> Arc<Offsets> {
    let end = Offset::new(end);
    Arc::new(Offsets::new(Opened {
        log_start: Offset::ZERO,
        log_end: end,
        high_watermark: end,
        recovery_point: Offset::ZERO,
    }))
}

/// A transaction is open from 0 on. Whoever may read from 0 must not be let past it while the log begins to be read at 2.
#[test]
fn t6_deleting_into_an_open_transaction_shows_nothing_of_it() {
    model("log start raised into a transaction, a reader of committed data", || {
        let offsets = offsets(3);
        let held = |first| Stability {
            first_unstable: Some(Offset::new(first)),
            waits_for_watermark: false,
        };
        offsets.set_stability(held(0));
        let reading = Arc::clone(&offsets);
        let reader = thread::spawn(move || {
            let bounds = reading.bounds();
            assert_eq!(
                bounds.last_stable, bounds.log_start,
                "T6: undecided records are between the log's start and the last stable offset"
            );
        });
        offsets.begin_at(Offset::new(2), held(2));
        reader.join().unwrap();
    });
}

/// What a leader of syncs takes for written when it begins is on the disk then: the sync covers it.
#[test]
fn l1_a_cut_makes_nothing_count_as_written_that_is_not() {
    model("a cut and an append against the count of what is written", || {
        let offsets = offsets(2);
        let on_disk = Arc::new(AtomicU64::new(2));
        let syncing = {
            let (offsets, on_disk) = (Arc::clone(&offsets), Arc::clone(&on_disk));
            thread::spawn(move || {
                let counted = offsets.written();
                assert!(
                    counted <= on_disk.load(Ordering::Acquire),
                    "L1: counted as synced before it was written"
                );
                let asked = offsets.count_of(Offset::new(2));
                assert!(asked <= offsets.written(), "L1: asked to sync what is not written");
            })
        };
        offsets.retreat(Offset::new(1));
        on_disk.fetch_add(1, Ordering::AcqRel);
        offsets.publish(Offset::new(2));
        syncing.join().unwrap();
        assert_eq!((offsets.log_end(), offsets.written()), (Offset::new(2), 3));
        assert_eq!(offsets.of_count(3), Offset::new(2));
    });
}
