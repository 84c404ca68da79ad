//! Does an append of 16 records of 1 KiB, checked and deduplicated, run at 66 % of a bare `pwrite` of the same bytes?
//!
//! Batches come encoded, from 1,000 idempotent producers in rotation; level `os`; a fresh, growing file for each pass. Four
//! threads on four partitions are held against four threads that `pwrite`, at 60 %.
#![expect(clippy::expect_used, reason = "a bench that cannot go on has nothing to say")]

use std::{fs::File, os::unix::fs::FileExt, sync::Barrier, thread};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hanbeon_benches::{
    Batches, Cost, Goal, Side, append, cost_of, fresh_dir, open, options, side_by_side,
};

const ROOT: &str = env!("CARGO_TARGET_TMPDIR");
/// About 128 MiB.
const PASS: usize = 8_000;

fn ours(batches: &mut Batches, start: &Barrier) -> Cost {
    let dir = fresh_dir(ROOT);
    let (log, _) = open(&dir, options());
    batches.restart();
    start.wait();
    cost_of(|| {
        for _ in 0..PASS {
            append(&log, batches.next_batch());
        }
    })
}

fn pwrite(batches: &mut Batches, start: &Barrier) -> Cost {
    let dir = fresh_dir(ROOT);
    let file = File::create_new(dir.path().join("raw")).expect("a fresh file");
    batches.restart();
    start.wait();
    cost_of(|| {
        let mut at = 0;
        for _ in 0..PASS {
            let batch = batches.next_batch();
            file.write_all_at(&batch, at).expect("the disk has room");
            at += batch.len() as u64;
        }
    })
}

/// Runs `pass` with each of `batches` on a thread of its own; all begin together, and the slowest counts.
fn together(batches: &mut [Batches], pass: impl Fn(&mut Batches, &Barrier) -> Cost + Sync) -> Cost {
    let start = Barrier::new(batches.len());
    thread::scope(|scope| {
        let (pass, start) = (&pass, &start);
        let threads: Vec<_> =
            batches.iter_mut().map(|batches| scope.spawn(|| pass(batches, start))).collect();
        let costs = threads.into_iter().map(|thread| thread.join().expect("no pass fails"));
        costs.max_by_key(|cost| cost.wall).unwrap_or_default()
    })
}

fn run(c: &mut Criterion) {
    let mut one = [Batches::new(1_000, 0, 16, 1024)];
    let mut raw = [Batches::new(1_000, 0, 16, 1024)];
    let bytes = |passes: usize| Throughput::Bytes((PASS * passes * batches_len()) as u64);
    side_by_side(
        c.benchmark_group("append 16 x 1 KiB"),
        bytes(1),
        Goal::SpeedPercent(66),
        [
            Side::new("append", || together(&mut one, ours)),
            Side::new("pwrite", || together(&mut raw, pwrite)),
        ],
    );
    let four = || (0..4).map(|n| Batches::new(250, n * 250, 16, 1024)).collect::<Vec<_>>();
    let (mut batches, mut raw) = (four(), four());
    side_by_side(
        c.benchmark_group("append 16 x 1 KiB, 4 threads, 4 partitions"),
        bytes(4),
        Goal::SpeedPercent(60),
        [
            Side::new("append", || together(&mut batches, ours)),
            Side::new("pwrite", || together(&mut raw, pwrite)),
        ],
    );
}

fn batches_len() -> usize {
    Batches::new(1, 0, 16, 1024).batch_len()
}

criterion_group!(benches, run);
criterion_main!(benches);
