//! Does one appender that waits for the disk reach 95 % of a bare `pwrite` and `fdatasync`, and do 4, 16 and 64 of them together reach 2.3, 7 and 17 times one?
//!
//! Each appends one record of 1 KiB and blocks until it is durable, in a loop. The yardstick's file grows too. With a
//! partition that stands alone; the engine's commit journal is another matter.
#![expect(clippy::expect_used, reason = "a bench that cannot go on has nothing to say")]

use std::{
    fs::File,
    os::unix::fs::FileExt,
    sync::{
        Barrier,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use criterion::{
    BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use hanbeon_benches::{
    Batches, Cost, Goal, Side, append, cost_of, fresh_dir, open, options, side_by_side,
};

const ROOT: &str = env!("CARGO_TARGET_TMPDIR");
/// Appends of a pass by one thread.
const ALONE: u64 = 200;

/// `appends` by as many threads as there are `batches`.
fn ours(batches: &mut [Batches], appends: u64) -> Cost {
    let dir = fresh_dir(ROOT);
    let (log, _) = open(&dir, options());
    // The first batch writes the epoch down, and its sync makes the names durable: three more syncs than all others.
    for batches in &mut *batches {
        batches.restart();
    }
    for batches in batches.iter_mut().take(1) {
        let end = append(&log, batches.next_batch()).end;
        log.sync(end).expect("the disk works");
    }
    let start = Barrier::new(batches.len() + 1);
    let left = AtomicU64::new(appends);
    thread::scope(|scope| {
        for batches in batches {
            let (log, start, left) = (&log, &start, &left);
            scope.spawn(move || {
                start.wait();
                while left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
                    .is_ok()
                {
                    let end = append(log, batches.next_batch()).end;
                    log.sync(end).expect("the disk works");
                }
                start.wait();
            });
        }
        start.wait();
        cost_of(|| {
            start.wait();
        })
    })
}

fn fdatasync(batches: &mut Batches) -> Cost {
    let dir = fresh_dir(ROOT);
    let file = File::create_new(dir.path().join("raw")).expect("a fresh file");
    file.sync_all().expect("the disk works");
    batches.restart();
    cost_of(|| {
        let mut at = 0;
        for _ in 0..ALONE {
            let batch = batches.next_batch();
            file.write_all_at(&batch, at).expect("the disk has room");
            file.sync_data().expect("the disk works");
            at += batch.len() as u64;
        }
    })
}

fn senders(count: i64) -> Vec<Batches> {
    (0..count).map(|n| Batches::new(8, n * 8, 1, 1024)).collect()
}

fn alone(group: BenchmarkGroup<'_, WallTime>) {
    let (mut one, mut raw) = (senders(1), Batches::new(8, 0, 1, 1024));
    side_by_side(
        group,
        Throughput::Elements(ALONE),
        Goal::SpeedPercent(95),
        [
            Side::new("append and sync", || ours(&mut one, ALONE)),
            Side::new("pwrite and fdatasync", || fdatasync(&mut raw)),
        ],
    );
}

/// Each of the many makes a quarter of the appends of one alone, whose time is scaled to their number.
fn in_company(group: BenchmarkGroup<'_, WallTime>, count: u32, percent: u32) {
    let (mut many, mut one) = (senders(i64::from(count)), senders(1));
    let appends = ALONE / 4 * u64::from(count);
    let alone = |one: &mut [Batches]| {
        let Cost { wall, cpu } = ours(one, ALONE);
        Cost { wall: wall * count / 4, cpu: cpu * count / 4 }
    };
    side_by_side(
        group,
        Throughput::Elements(appends),
        Goal::SpeedPercent(percent),
        [
            Side::new("together", || ours(&mut many, appends)),
            Side::new("alone", || alone(&mut one)),
        ],
    );
}

fn run(c: &mut Criterion) {
    alone(c.benchmark_group("durable append of 1 KiB"));
    for (count, percent) in [(4, 230), (16, 700), (64, 1700)] {
        in_company(
            c.benchmark_group(format!("durable, {count} blocked appenders")),
            count,
            percent,
        );
    }
}

criterion_group!(benches, run);
criterion_main!(benches);
