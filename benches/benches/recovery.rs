//! Does opening 1 GiB after a kill take at most 1.5 times a bare `pread` and CRC-32C of what must be checked?
//!
//! Once with nothing known to be durable, so that all is checked, replayed and indexed anew; once with the recovery point
//! 64 MiB before the end. In the page cache both; the yardstick reads 256 KiB at a time.
#![expect(clippy::expect_used, reason = "a bench that cannot go on has nothing to say")]

use std::{fs::File, hint::black_box, os::unix::fs::FileExt, path::Path};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hanbeon_benches::{
    Batches, Cost, Goal, Side, append, cost_of, fresh_dir, open, options, side_by_side,
};
use hanbeon_log::OpenPartition;
use hanbeon_records::{Offset, crc32c};
use tempfile::TempDir;

const ROOT: &str = env!("CARGO_TARGET_TMPDIR");
const MIB: usize = 1 << 20;

/// A log of `bytes`; the recovery point stands where `durable` of them were written.
fn fill(bytes: usize, durable: usize) -> (TempDir, Offset) {
    let home = fresh_dir(ROOT);
    let (log, _) = open(&home, options());
    let mut batches = Batches::new(1_000, 0, 16, 1024);
    let mut point = Offset::ZERO;
    for n in 0..bytes / batches.batch_len() {
        if n == durable / batches.batch_len() && durable > 0 {
            point = log.sync_written().expect("the disk works");
        }
        append(&log, batches.next_batch());
    }
    (home, point)
}

fn ours(home: &TempDir, recovery_point: Offset, at_least: usize) -> Cost {
    let mut checked = 0;
    let cost = cost_of(|| {
        let (log, report) = open(home, OpenPartition { recovery_point, ..options() });
        checked = report.bytes_checked;
        black_box(log.log_end_offset());
    });
    assert!(checked >= (at_least - at_least / 100) as u64, "{checked} bytes were checked");
    cost
}

/// Reads and sums the last `bytes` of the logs in `home`.
fn pread_and_sum(home: &Path, bytes: usize) -> Cost {
    cost_of(|| {
        let mut left = bytes as u64;
        let mut files: Vec<_> = std::fs::read_dir(home)
            .expect("the bench's directory")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.extension().is_some_and(|kind| kind == "log"))
            .collect();
        files.sort();
        let mut buffer = vec![0; 256 * 1024];
        for path in files.iter().rev() {
            let file = File::open(path).expect("the segment is there");
            let len = file.metadata().expect("the segment is there").len();
            let mut at = len.saturating_sub(left);
            left -= len - at;
            while at < len {
                let part = usize::try_from(len - at).unwrap_or(usize::MAX).min(buffer.len());
                file.read_exact_at(&mut buffer[..part], at).expect("it reads");
                // As it lies in the log: a sum for each 16 KiB.
                for batch in buffer[..part].chunks(16 * 1024) {
                    black_box(crc32c(batch));
                }
                at += part as u64;
            }
        }
    })
}

fn run(c: &mut Criterion) {
    for (name, durable, checked) in [
        ("recovery of 1 GiB", 0, 1024 * MIB),
        ("recovery of the last 64 MiB of 1 GiB", 960 * MIB, 64 * MIB),
    ] {
        let (home, point) = fill(1024 * MIB, durable);
        side_by_side(
            c.benchmark_group(name),
            Throughput::Bytes(checked as u64),
            Goal::TimePercent(150),
            [
                Side::new("open", || ours(&home, point, checked)),
                Side::new("pread and CRC-32C", || pread_and_sum(home.path(), checked)),
            ],
        );
    }
}

criterion_group!(benches, run);
criterion_main!(benches);
