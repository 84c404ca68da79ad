//! Is an append of 16 records of 1 KiB at least 1.5 times as fast as commitlog's and 3.3 times as raft-engine's?
//!
//! The same encoded batches of 1,000 idempotent producers, one thread, the page cache. Hanbeon checks and deduplicates
//! each; the rivals store it as one opaque message. commitlog has no durable mode at all; raft-engine writes with `sync`
//! off and without compression. What an interface asks for is counted: raft-engine takes owned entries, so each is copied.
#![expect(clippy::expect_used, reason = "a bench that cannot go on has nothing to say")]

use commitlog::{CommitLog, LogOptions};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hanbeon_benches::{
    Batches, Cost, Goal, Side, append, cost_of, fresh_dir, open, options, side_by_side,
};
use protobuf::well_known_types::BytesValue;
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};

const ROOT: &str = env!("CARGO_TARGET_TMPDIR");
/// About 128 MiB.
const PASS: usize = 8_000;

fn ours(batches: &mut Batches) -> Cost {
    let dir = fresh_dir(ROOT);
    let (log, _) = open(&dir, options());
    batches.restart();
    cost_of(|| {
        for _ in 0..PASS {
            append(&log, batches.next_batch());
        }
    })
}

fn commitlog(batches: &mut Batches) -> Cost {
    let dir = fresh_dir(ROOT);
    let mut log = CommitLog::new(LogOptions::new(dir.path())).expect("a fresh log");
    batches.restart();
    cost_of(|| {
        for _ in 0..PASS {
            log.append_msg(batches.next_batch()).expect("the disk has room");
        }
    })
}

struct Opaque;

impl MessageExt for Opaque {
    type Entry = BytesValue;

    fn index(entry: &BytesValue) -> u64 {
        entry.value.first_chunk().map_or(0, |index| u64::from_be_bytes(*index))
    }
}

fn raft_engine(batches: &mut Batches) -> Cost {
    let dir = fresh_dir(ROOT);
    let config = Config {
        dir: dir.path().join("raft").display().to_string(),
        batch_compression_threshold: ReadableSize(0),
        ..Config::default()
    };
    let engine = Engine::open(config).expect("a fresh engine");
    batches.restart();
    cost_of(|| {
        for index in 0..PASS as u64 {
            let mut entry = BytesValue::new();
            // The base offset, which the rival's index is read from.
            let batch = batches.next_batch();
            entry.value = Vec::with_capacity(batch.len());
            entry.value.extend_from_slice(&index.to_be_bytes());
            entry.value.extend_from_slice(&batch[8..]);
            let mut write = LogBatch::with_capacity(1);
            write.add_entries::<Opaque>(1, &[entry]).expect("an entry");
            engine.write(&mut write, false).expect("the disk has room");
        }
    })
}

fn run(c: &mut Criterion) {
    let (mut first, mut second) =
        (Batches::new(1_000, 0, 16, 1024), Batches::new(1_000, 0, 16, 1024));
    let bytes = Throughput::Bytes((PASS * first.batch_len()) as u64);
    type Pass = fn(&mut Batches) -> Cost;
    let rivals: [(&'static str, Pass, u32); 2] =
        [("commitlog", commitlog, 150), ("raft-engine", raft_engine, 330)];
    for (name, rival, percent) in rivals {
        side_by_side(
            c.benchmark_group(format!("append beside {name}")),
            bytes.clone(),
            Goal::SpeedPercent(percent),
            [Side::new("hanbeon", || ours(&mut first)), Side::new(name, || rival(&mut second))],
        );
    }
}

criterion_group!(benches, run);
criterion_main!(benches);
