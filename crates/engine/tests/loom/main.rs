//! Waiters against the publishing of the end they wait for, through all interleavings (`loom.sh` beside this folder runs the
//! model, and once more with the look after sitting down taken away, which must fail).
#![cfg(hanbeon_loom)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../src/waiters.rs"]
#[allow(dead_code, reason = "the model uses a part of it")]
mod waiters;

use std::task::{Context, Wake, Waker};

use hanbeon_log::{
    Published,
    sync::{Arc, thread},
};
use hanbeon_records::Offset;
use waiters::{End, Ends, Parking};

/// Counts wake-ups; of std, since wakers are.
#[derive(Default)]
struct Woken(std::sync::atomic::AtomicU64);

impl Wake for Woken {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }
}

fn offset(end: u64) -> Offset {
    Offset::new(i64::try_from(end).unwrap())
}

#[test]
fn r3_who_found_nothing_is_woken_by_the_rise_it_missed() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(3);
    builder.check(|| {
        let parking = Arc::new(Parking::default());
        let end = Arc::new(Published::new(0));
        let raising = {
            let (parking, end) = (Arc::clone(&parking), Arc::clone(&end));
            thread::spawn(move || {
                for raised in 1..3 {
                    end.advance(raised);
                    let reached = offset(raised);
                    parking.release(Ends { written: reached, committed: reached, stable: reached });
                }
            })
        };
        let woken = std::sync::Arc::new(Woken::default());
        let waker = Waker::from(std::sync::Arc::clone(&woken));
        let mut seat = None;
        let mut cx = Context::from_waker(&waker);
        let goal = Offset::new(2);
        let first = parking.poll(End::Committed, goal, &mut seat, &mut cx, || offset(end.get()));
        raising.join().unwrap();
        if first.is_pending() {
            let count = woken.0.load(std::sync::atomic::Ordering::SeqCst);
            assert_eq!(count, 1, "lost wake-up: the end is there and nobody says so");
            let again =
                parking.poll(End::Committed, goal, &mut seat, &mut cx, || offset(end.get()));
            assert!(again.is_ready());
        }
    });
}
