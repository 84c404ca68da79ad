//! Judging and recording a batch takes nothing from the heap.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that stops has failed")]
#![expect(unsafe_code, reason = "an allocator that counts")]

mod fixture;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use fixture::{Log, claim, in_txn, marker};

struct Counting;

thread_local! {
    static TAKEN: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is handed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        TAKEN.with(|taken| taken.set(taken.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn taken_by(work: impl FnOnce()) -> usize {
    let before = TAKEN.with(Cell::get);
    work();
    TAKEN.with(Cell::get) - before
}

#[test]
fn admitting_recording_and_repeating_batches_allocates_nothing() {
    let mut log = Log::new();
    for id in 0..100 {
        log.put(&claim(id, 0, 0, 1));
    }
    let taken = taken_by(|| {
        for round in 1..50 {
            for id in 0..100 {
                log.put(&claim(id, 0, round, 1));
                log.write(&claim(id, 0, round, 1)).unwrap();
                log.write(&claim(id, 0, round + 2, 1)).unwrap_err();
                log.write(&claim(id, -1, 0, 1)).unwrap_err();
            }
        }
    });
    assert_eq!(taken, 0);
    assert!(taken_by(|| drop(vec![0_u8; 8])) > 0, "the counter counts");
}

#[test]
fn transactions_allocate_only_until_their_queues_have_grown() {
    let mut log = Log::new();
    let round = |log: &mut Log, sequence: i32| {
        for id in 0..8 {
            log.put(&in_txn(claim(id, 0, sequence, 1)));
        }
        for id in (0..8).rev() {
            log.end_txn(&marker(id, 0, 0)).unwrap();
        }
        log.states.high_watermark_advanced(hanbeon_records::Offset::new(log.end));
    };
    round(&mut log, 0);
    round(&mut log, 1);
    assert_eq!(taken_by(|| (2..50).for_each(|sequence| round(&mut log, sequence))), 0);
}
