//! Does reading through the partition, checksum and every record, run at 65 % of a bare map and CRC-32C over the same file?
//!
//! Reads of 1 MiB follow one another to the log's end; each batch is checked, each record walked, lengths of keys and values
//! are summed. The file is in the page cache. Once through maps that both sides keep, once through maps made anew for each
//! pass, where faults cost most.
#![expect(clippy::expect_used, reason = "a bench that cannot go on has nothing to say")]

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hanbeon_benches::{
    Batches, Cost, Goal, Side, append, cost_of, fresh_dir, open, options, side_by_side,
};
use hanbeon_log::{
    Dir, FileName, FirstBatch, FsDir, Isolation, LogFile, Open, OpenPartition, Partition, ReadMode,
    Shutdown,
};
use hanbeon_records::{BatchRef, Offset, crc32c};
use tempfile::TempDir;

const ROOT: &str = env!("CARGO_TARGET_TMPDIR");
/// About 512 MiB.
const BATCHES: usize = 32_000;
/// What the checksum covers begins here.
const COVERED_FROM: usize = 21;

fn walk(log: &Partition<FsDir>) -> usize {
    let (mut from, mut bytes) = (Offset::ZERO, 0);
    loop {
        let read = log.read(from, Isolation::LogEnd, 1 << 20, FirstBatch::Whole).expect("it reads");
        let mut rest: &[u8] = &read.records;
        if rest.is_empty() {
            return bytes;
        }
        while let Ok((batch, behind)) = BatchRef::parse(rest) {
            let batch = batch.verify().expect("the batch is sound");
            for record in batch.records().expect("not compressed") {
                let record = record.expect("the record is sound");
                bytes += record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
            }
            from = batch.next_offset();
            rest = behind;
        }
    }
}

fn ours(log: &Partition<FsDir>) -> Cost {
    cost_of(|| assert_eq!(walk(log), BATCHES * 16 * (1024 + 4)))
}

fn ours_anew(home: &TempDir, recovery_point: Offset) -> Cost {
    let options = OpenPartition { shutdown: Shutdown::Clean, recovery_point, ..options() };
    let (log, _) = open(home, options);
    ours(&log)
}

fn map(dir: &FsDir, file: &FileName) -> Bytes {
    let file = dir.open(file, Open::Read).expect("the segment is there");
    file.len().and_then(|len| file.view(0..len)).expect("it can be mapped")
}

fn sum(bytes: &[u8], batch_len: usize) {
    for batch in bytes.chunks(batch_len) {
        black_box(crc32c(&batch[COVERED_FROM..]));
    }
}

fn run(c: &mut Criterion) {
    let home = fresh_dir(ROOT);
    let (log, _) = open(&home, options());
    let mut batches = Batches::new(1_000, 0, 16, 1024);
    let batch_len = batches.batch_len();
    for _ in 0..BATCHES {
        append(&log, batches.next_batch());
    }
    let dir = FsDir::open(home.path(), ReadMode::Map).expect("the bench's directory");
    let file = FileName::new("00000000000000000000.log").expect("a name");
    let throughput = Throughput::Bytes((BATCHES * batch_len) as u64);
    let mapped = map(&dir, &file);
    side_by_side(
        c.benchmark_group("read 16 x 1 KiB, maps kept"),
        throughput.clone(),
        Goal::SpeedPercent(65),
        [
            Side::new("read and walk", || ours(&log)),
            Side::new("map and CRC-32C", || cost_of(|| sum(&mapped, batch_len))),
        ],
    );
    drop(mapped);
    let end = log.close().expect("the disk works").recovery_point;
    drop(log);
    side_by_side(
        c.benchmark_group("read 16 x 1 KiB, maps made anew"),
        throughput,
        Goal::SpeedPercent(65),
        [
            Side::new("read and walk", || ours_anew(&home, end)),
            Side::new("map and CRC-32C", || cost_of(|| sum(&map(&dir, &file), batch_len))),
        ],
    );
}

criterion_group!(benches, run);
criterion_main!(benches);
