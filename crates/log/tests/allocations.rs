//! An append that stays within its segment takes nothing from the heap.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that stops has failed")]
#![expect(unsafe_code, reason = "an allocator that counts")]

mod fixture;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    ops::Range,
};

use bytes::Bytes;
use fixture::{Batch, NOW, compressed, config, open, options};
use hanbeon_log::{FsDir, Joined, LogConfig, MemDir, Partition, Placed, ReadMode};
use hanbeon_records::Codec;

struct Counting;

thread_local! {
    static TAKEN: Cell<usize> = const { Cell::new(0) };
    /// Bytes that are taken and not given back.
    static HELD: Cell<isize> = const { Cell::new(0) };
}

fn hold(bytes: usize, sign: isize) {
    HELD.with(|held| held.set(held.get() + sign * isize::try_from(bytes).unwrap_or(0)));
}

// SAFETY: everything is handed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        TAKEN.with(|taken| taken.set(taken.get() + 1));
        hold(layout.size(), 1);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        hold(layout.size(), -1);
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

const PRODUCERS: i64 = 50;

/// Batches of all producers for some rounds, as slices of one buffer: so a connection hands them on.
fn batches(rounds: Range<i32>) -> Vec<Bytes> {
    let made: Vec<Bytes> = rounds
        .flat_map(|round| (0..PRODUCERS).map(move |id| (id, round)))
        .map(|(id, round)| Batch::of(4).value_len(200).by(id, 0, round * 4).build())
        .collect();
    let whole = Bytes::from(made.concat());
    let mut at = 0;
    let cut = |batch: &Bytes| {
        at += batch.len();
        whole.slice(at - batch.len()..at)
    };
    made.iter().map(cut).collect()
}

fn append(log: &Partition<FsDir>, batches: &[Bytes], placed: Placed) {
    for batch in batches {
        let Joined::Done(result) = log.append(batch.clone(), NOW) else {
            unreachable!("nobody else leads")
        };
        assert_eq!(result.unwrap().placed, placed);
    }
}

/// One segment for all of a test, with an index entry every so many bytes.
fn entry_every(bytes: i32) -> LogConfig {
    config(|settings| {
        settings.internal_segment_bytes = Some(64 << 20);
        settings.index_interval_bytes = bytes;
    })
}

/// What 40 rounds of all producers take after two rounds to settle, and what the retry of the last round takes.
fn taken_with(config: &LogConfig) -> (usize, usize) {
    let root = tempfile::tempdir().unwrap();
    let dir = FsDir::open(root.path(), ReadMode::Map).unwrap();
    let (log, _) = Partition::open(dir, options(config)).unwrap();
    append(&log, &batches(0..2), Placed::Written);
    let batches = batches(2..42);
    let written = taken_by(|| append(&log, &batches, Placed::Written));
    let (_, last) = batches.split_at(batches.len() - usize::try_from(PRODUCERS).unwrap());
    (written, taken_by(|| append(&log, last, Placed::Duplicate)))
}

#[test]
fn checking_deduplicating_and_writing_a_batch_allocates_nothing() {
    assert_eq!(taken_with(&entry_every(i32::MAX)), (0, 0));
    assert!(taken_by(|| drop(vec![0_u8; 8])) > 0, "the counter counts");
}

#[test]
fn the_indexes_allocate_only_when_they_double() {
    let (written, repeated) = taken_with(&entry_every(1024));
    // About 1,000 entries in one index of two; a `Vec` doubles.
    assert!(written <= 12, "{written} allocations for 2,000 appends");
    assert_eq!(repeated, 0);
}

#[test]
fn partitions_keep_no_buffer_each_for_the_large_batch_they_once_had() {
    const PARTITIONS: isize = 100;
    let sent = compressed(&Batch::of(4).value_len(900_000).build(), Codec::Zstd);
    let logs: Vec<_> = (0..PARTITIONS).map(|_| open(&MemDir::new(), &config(|_| ())).0).collect();
    let before = HELD.with(Cell::get);
    for log in &logs {
        assert!(matches!(log.append(sent.clone(), NOW), Joined::Done(Ok(_))));
    }
    let each = (HELD.with(Cell::get) - before) / PARTITIONS;
    assert!(each < 128 << 10, "{each} bytes for each partition");
}
