//! A partition against a plain list: whatever is appended, synced, cut, deleted and reopened, both say the same (invariants L2, L3, L6).
//!
//! A failure prints the shortest script that fails; proptest keeps its seed in `model.proptest-regressions`.

#![allow(clippy::unwrap_used, reason = "a test fails where its ground is missing")]

mod fixture;

use bytes::Bytes;
use fixture::{Batch, NOW, append, config, options};
use hanbeon_log::{
    FirstBatch, Isolation, LogConfig, MemDir, OpenPartition, Partition, Placed, Shutdown, TimeQuery,
};
use hanbeon_records::{BatchRef, LeaderEpoch, Millis, Offset};
use proptest::{prelude::*, test_runner::FileFailurePersistence};

#[derive(Clone, Debug)]
enum Step {
    /// Of so many records and bytes, by a producer or by nobody, so much later.
    Append {
        records: i32,
        len: usize,
        producer: Option<i64>,
        later: i64,
    },
    /// The last batch of a producer once more.
    Retry {
        producer: i64,
    },
    Sync,
    SyncWritten,
    NewEpoch,
    /// To this share of the log, in 1000ths.
    Truncate {
        share: i64,
    },
    Delete {
        share: i64,
    },
    Reopen {
        shutdown: Shutdown,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let append = (1..5_i32, 0..300_usize, prop::option::of(0..3_i64), 0..2000_i64)
        .prop_map(|(records, len, producer, later)| Step::Append { records, len, producer, later });
    prop_oneof![
        20 => append,
        3 => (0..3_i64).prop_map(|producer| Step::Retry { producer }),
        1 => Just(Step::Sync),
        2 => Just(Step::SyncWritten),
        1 => Just(Step::NewEpoch),
        1 => (0..1000_i64).prop_map(|share| Step::Truncate { share }),
        1 => (0..1000_i64).prop_map(|share| Step::Delete { share }),
        1 => Just(Step::Reopen { shutdown: Shutdown::Clean }),
        1 => Just(Step::Reopen { shutdown: Shutdown::Killed }),
        1 => Just(Step::Reopen { shutdown: Shutdown::Unclean }),
    ]
}

/// One batch in the list.
#[derive(Clone, Debug)]
struct Stored {
    base: i64,
    last: i64,
    epoch: i32,
    time: i64,
    sent: Bytes,
    producer: Option<i64>,
    sequence: i32,
}

struct Model {
    dir: MemDir,
    config: LogConfig,
    log: Partition<MemDir>,
    list: Vec<Stored>,
    start: i64,
    epoch: i32,
    clock: i64,
}

impl Model {
    fn new(segment: i32, interval: i32) -> Self {
        let config = config(|s| {
            s.internal_segment_bytes = Some(segment);
            s.index_interval_bytes = interval;
            s.message_timestamp_after_max_ms = i64::MAX;
        });
        let dir = MemDir::new();
        let log = fixture::open(&dir, &config).0;
        Self { dir, config, log, list: Vec::new(), start: 0, epoch: 0, clock: NOW.get() }
    }

    fn end(&self) -> i64 {
        self.list.last().map_or(self.start, |batch| batch.last + 1)
    }

    fn sequence(&self, producer: Option<i64>) -> i32 {
        let last = self.list.iter().rev().find(|b| producer.is_some() && b.producer == producer);
        last.map_or(0, |b| b.sequence + i32::try_from(b.last - b.base + 1).unwrap())
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Append { records, len, producer, later } => {
                self.clock += later - 500;
                let sequence = self.sequence(producer);
                let mut batch = Batch::of(records).value_len(len / 4).at(self.clock);
                if let Some(id) = producer {
                    batch = batch.by(id, 0, sequence);
                }
                let appended = append(&self.log, &batch).unwrap();
                assert_eq!(
                    (appended.base_offset.get(), appended.placed),
                    (self.end(), Placed::Written)
                );
                let base = self.end();
                let last = base + i64::from(records) - 1;
                let (epoch, time) = (self.epoch, self.clock + i64::from(records) - 1);
                let sent = batch.build();
                self.list.push(Stored { base, last, epoch, time, sent, producer, sequence });
            }
            Step::Retry { producer } => {
                let Some(last) = self.list.iter().rev().find(|b| b.producer == Some(producer))
                else {
                    return;
                };
                let retry = self.log.append(last.sent.clone(), NOW).wait().unwrap().unwrap();
                assert_eq!((retry.base_offset.get(), retry.placed), (last.base, Placed::Duplicate));
            }
            Step::Sync => self.log.sync(self.log.log_end_offset()).unwrap(),
            Step::SyncWritten => {
                assert_eq!(self.log.sync_written().unwrap().get(), self.end());
            }
            Step::NewEpoch => {
                self.epoch += 1;
                self.log.begin_leader_epoch(LeaderEpoch::new(self.epoch));
            }
            Step::Truncate { share } => {
                let wanted = self.start + (self.end() - self.start) * share / 1000;
                self.log.truncate_to(Offset::new(wanted)).unwrap();
                // A batch that reaches over the cut goes whole, and with it what was deleted of it already.
                self.list.retain(|b| b.last < wanted);
                self.start = self.start.min(self.list.last().map_or(self.start, |b| b.last + 1));
                if self.list.is_empty() {
                    self.start = self.log.log_start_offset().get();
                }
            }
            Step::Delete { share } => {
                let before = self.start + (self.end() - self.start) * share / 1000;
                self.log.advance_high_watermark(self.log.log_end_offset());
                self.log.delete_records(Offset::new(before)).unwrap();
                self.start = self.start.max(before);
            }
            Step::Reopen { shutdown } => self.reopen(shutdown),
        }
    }

    fn reopen(&mut self, shutdown: Shutdown) {
        let recovery_point = match shutdown {
            Shutdown::Clean => self.log.close().unwrap().recovery_point,
            Shutdown::Killed | Shutdown::Unclean => self.log.recovery_point(),
        };
        let before = (self.log.producers(), self.log.leader_epochs());
        let options = OpenPartition {
            shutdown,
            recovery_point,
            log_start: Some(Offset::new(self.start)),
            leader_epoch: LeaderEpoch::new(self.epoch),
            ..options(&self.config)
        };
        let (log, report) = Partition::open(self.dir.clone(), options).unwrap();
        assert!(report.truncated.is_none(), "{report:?}");
        if shutdown == Shutdown::Clean {
            assert!(report.indexes_rebuilt.is_empty(), "{report:?}");
        }
        assert_eq!(log.producers(), before.0, "P5");
        assert_eq!(log.leader_epochs(), before.1, "L5");
        self.log = log;
    }

    /// Everything that can be asked is what the list says.
    fn check(&self) {
        assert_eq!(self.log.log_end_offset().get(), self.end(), "end");
        assert_eq!(self.log.log_start_offset().get(), self.start, "start");
        self.log.advance_high_watermark(self.log.log_end_offset());
        for at in self.start..self.end() {
            let first = self.list.iter().find(|b| b.last >= at);
            let read = self
                .log
                .read(Offset::new(at), Isolation::Uncommitted, 1, FirstBatch::Whole)
                .unwrap();
            let Some(expected) = first else {
                assert!(read.records.is_empty(), "L6: nothing at {at}");
                continue;
            };
            let (batch, rest) = BatchRef::parse(&read.records).unwrap();
            batch.verify().unwrap();
            assert!(rest.is_empty());
            let found =
                (batch.base_offset().get(), batch.last_offset().get(), batch.leader_epoch().get());
            assert_eq!(found, (expected.base, expected.last, expected.epoch), "L6: read at {at}");
            assert_eq!(batch.payload(), &expected.sent[61..], "L3: bytes at {at}");
        }
        let largest = self.list.iter().map(|b| b.time).max();
        let found = self.log.find_offset(TimeQuery::MaxTimestamp, Isolation::Uncommitted).unwrap();
        assert_eq!(found.map(|found| found.timestamp.get()), largest, "the largest time");
        if let Some(middle) = self.list.get(self.list.len() / 2) {
            self.check_time(middle.time);
        }
    }

    fn check_time(&self, time: i64) {
        let of = |b: &Stored, i: i64| b.time - (b.last - b.base) + i;
        let records = self
            .list
            .iter()
            .flat_map(|b| (0..=b.last - b.base).map(move |i| (b.base + i, of(b, i))));
        let expected = records.into_iter().find(|(offset, t)| *t >= time && *offset >= self.start);
        let query = TimeQuery::At(Millis::new(time));
        let found = self.log.find_offset(query, Isolation::Uncommitted).unwrap();
        assert_eq!(found.map(|f| (f.offset.get(), f.timestamp.get())), expected, "time {time}");
    }
}

/// `PROPTEST_CASES=4000` for a long run.
fn settings() -> ProptestConfig {
    let usual = ProptestConfig::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { usual.cases } else { 150 };
    let kept = FileFailurePersistence::Direct("tests/model.proptest-regressions");
    ProptestConfig { cases, failure_persistence: Some(Box::new(kept)), ..usual }
}

proptest! {
    #![proptest_config(settings())]
    #[test]
    fn l2_l3_l6_a_log_says_what_a_list_says(
        segment in 500..4000_i32,
        interval in 0..800_i32,
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let mut model = Model::new(segment, interval);
        for (place, step) in steps.iter().enumerate() {
            model.take(step);
            if place % 8 == 7 || matches!(step, Step::Reopen { .. } | Step::Truncate { .. }) {
                model.check();
            }
        }
        model.check();
    }
}
