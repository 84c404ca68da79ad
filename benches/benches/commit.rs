//! Does a commit over 1, 10 and 100 partitions take at most 1.3 times the bare `pwrite`s of its markers, 6 us over one of them included, and do 100,000 open transactions slow a reader of committed data by at most 5 %?
//!
//! Level `os`. A transaction's records are written and flushed before the clock starts; what is measured is the decision, its record, a
//! marker and a new last stable offset on each partition, and the completion, which are two small writes and one per partition: the
//! yardstick writes the same bytes to as many files. How long a commit takes is printed beside the ratio.
#![expect(clippy::expect_used, reason = "a bench that cannot go on has nothing to say")]

use std::{fs::File, io::Write as _, os::unix::fs::FileExt};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hanbeon::{
    Acks, Engine, FetchSpec, Isolation, Offset, Options, PartitionHandle, ProducerSettings, Record,
    TransactionalProducer,
};
use hanbeon_benches::{Cost, Goal, Side, cost_of, fresh_dir, side_by_side};
use hanbeon_records::{
    BatchBuilder, BatchKind, BatchSettings, Codec, CompressionLevel, LeaderEpoch, NewRecord,
    ProducerEpoch, ProducerId, ProducerStamp, Sequence, TimestampType,
};
use tempfile::TempDir;

const ROOT: &str = env!("CARGO_TARGET_TMPDIR");
/// Bytes of the records that say Prepare and Complete over one partition, and of a marker.
const PREPARE: usize = 150;
const COMPLETE: usize = 140;
const MARKER: usize = 78;
/// Bytes that each further partition adds to the Prepare record.
const ENROLLED: usize = 4;
/// Transactions that are open beside a reader.
const OPEN: i64 = 100_000;
/// Fetches of a pass.
const FETCHES: u64 = 2_000;

struct Ours {
    _dir: TempDir,
    _engine: Engine,
    producer: TransactionalProducer,
    partitions: i32,
}

impl Ours {
    fn new(partitions: i32) -> Self {
        let dir = fresh_dir(ROOT);
        let options = Options::broker()
            .set("transaction.state.log.num.partitions", "1")
            .expect("a setting of the broker");
        let engine = Engine::open_with(dir.path(), options).expect("a fresh directory");
        engine.ensure_topic("t", partitions).expect("a fresh topic");
        let settings = ProducerSettings::new();
        let producer =
            engine.transactional_producer_with("tx", settings).expect("nobody has the id");
        Self { _dir: dir, _engine: engine, producer, partitions }
    }

    fn commits(&mut self, count: u64) -> Cost {
        let mut sum = Cost::default();
        for _ in 0..count {
            let mut transaction = self.producer.begin();
            for partition in 0..self.partitions {
                let record = Record::new("t", "a record").partition(partition);
                transaction.send(record).expect("the disk works");
            }
            transaction.flush().expect("the disk works");
            let cost = cost_of(|| drop(transaction.commit().expect("the disk works")));
            sum = Cost { wall: sum.wall + cost.wall, cpu: sum.cpu + cost.cpu };
        }
        sum
    }
}

struct Bare {
    _dir: TempDir,
    log: File,
    files: Vec<File>,
    at: u64,
}

impl Bare {
    fn new(partitions: i32) -> Self {
        let dir = fresh_dir(ROOT);
        let file = |name: String| File::create_new(dir.path().join(name)).expect("a fresh file");
        let files = (0..partitions).map(|number| file(format!("t-{number}"))).collect();
        let log = file("log".to_owned());
        Self { _dir: dir, log, files, at: 0 }
    }

    fn commits(&mut self, count: u64) -> Cost {
        let prepare = vec![7; PREPARE + ENROLLED * (self.files.len() - 1)];
        let mut sum = Cost::default();
        for _ in 0..count {
            let at = self.at;
            let cost = cost_of(|| {
                let log_at = at * (prepare.len() + COMPLETE) as u64;
                self.log.write_all_at(&prepare, log_at).expect("the disk has room");
                for file in &self.files {
                    file.write_all_at(&[7; MARKER], at * MARKER as u64).expect("the disk has room");
                }
                let log_at = log_at + prepare.len() as u64;
                self.log.write_all_at(&[7; COMPLETE], log_at).expect("the disk has room");
            });
            self.at += 1;
            sum = Cost { wall: sum.wall + cost.wall, cpu: sum.cpu + cost.cpu };
        }
        sum
    }
}

fn commits(c: &mut Criterion, partitions: i32, passes: u64) {
    let (mut ours, mut bare) = (Ours::new(partitions), Bare::new(partitions));
    side_by_side(
        c.benchmark_group(format!("commit over {partitions}")),
        Throughput::Elements(passes),
        Goal::TimePercent(130),
        [
            Side::new("commit", || ours.commits(passes)),
            Side::new("pwrite", || bare.commits(passes)),
        ],
    );
    let cost = ours.commits(passes);
    let each = cost.wall.as_secs_f64() * 1e6 / passes as f64;
    writeln!(std::io::stderr(), "a commit over {partitions}: {each:.1} us").expect("a terminal");
}

/// A partition with some committed data, and behind it as many batches of this kind as there are transactions to be open, so that both
/// logs are of one length.
fn partition(kind: BatchKind) -> (TempDir, Engine, PartitionHandle) {
    let dir = fresh_dir(ROOT);
    // The coordinator is left out: who opens a transaction on a partition is not what is asked.
    let options = Options::broker()
        .set("transaction.partition.verification.enable", "false")
        .expect("a setting of the broker");
    let engine = Engine::open_with(dir.path(), options).expect("a fresh directory");
    engine.ensure_topic("t", 1).expect("a fresh topic");
    let partition = engine.partition("t", 0).expect("it was made");
    for id in 0..100 {
        append(&partition, BatchKind::Plain, id);
    }
    for id in 100..100 + OPEN {
        append(&partition, kind, id);
    }
    (dir, engine, partition)
}

fn append(partition: &PartitionHandle, kind: BatchKind, id: i64) {
    let stamp = ProducerStamp {
        id: ProducerId::new(1_000_000 + id),
        epoch: ProducerEpoch::new(0),
        base_sequence: Sequence::ZERO,
    };
    let mut bytes = Vec::new();
    let mut batch = BatchBuilder::new(
        &mut bytes,
        BatchSettings {
            codec: Codec::None,
            level: CompressionLevel::DEFAULT,
            timestamp_type: TimestampType::CreateTime,
            producer: Some(stamp),
            kind,
            base_offset: Offset::ZERO,
            leader_epoch: LeaderEpoch::UNKNOWN,
        },
    );
    let value = Some(&[7_u8; 1024][..]);
    let timestamp = hanbeon_benches::NOW;
    batch.push(NewRecord { timestamp, key: None, value, headers: &[] }).expect("it fits");
    batch.finish().expect("it fits");
    partition.produce(bytes.into(), Acks::All).wait().expect("it is in order");
}

fn fetches(partition: &PartitionHandle) -> Cost {
    let spec = FetchSpec {
        isolation: Isolation::Committed,
        max_bytes: 64 << 10,
        ..FetchSpec::from(Offset::ZERO)
    };
    cost_of(|| {
        for _ in 0..FETCHES {
            let fetched = partition.fetch(&spec).expect("the log is sound");
            assert!(fetched.records.len() > 60_000, "committed data is there");
        }
    })
}

fn readers(c: &mut Criterion) {
    let (_dir, _engine, crowded) = partition(BatchKind::Transactional);
    let (_quiet_dir, _quiet_engine, quiet) = partition(BatchKind::Plain);
    side_by_side(
        c.benchmark_group("committed reads"),
        Throughput::Elements(FETCHES),
        Goal::TimePercent(105),
        [
            Side::new("beside 100,000 open transactions", || fetches(&crowded)),
            Side::new("beside none", || fetches(&quiet)),
        ],
    );
}

fn run(c: &mut Criterion) {
    for (partitions, passes) in [(1, 2_000), (10, 500), (100, 50)] {
        commits(c, partitions, passes);
    }
    readers(c);
}

criterion_group!(benches, run);
criterion_main!(benches);
