//! Which transactions a reader of committed data is told to be aborted, against a plain list: whatever is interleaved, wherever it reads from,
//! however much it takes and wherever the high watermark stands (invariant T6; spec: KAFKA-17801, franz-go before 1.21.4).
//!
//! A failure prints its seed; `SEED=n cargo test -p hanbeon-log --test aborted_model` plays it alone.

#![allow(clippy::unwrap_used, reason = "a test fails where its ground is missing")]

mod fixture;
#[allow(dead_code, reason = "this takes a part of it")]
#[path = "crash/rng.rs"]
mod rng;

use std::collections::{BTreeSet, VecDeque};

use fixture::{Batch, append, config, end_txn, open};
use hanbeon_idempotence::Outcome;
use hanbeon_log::{FirstBatch, Isolation, MemDir, Partition, Read};
use hanbeon_records::{BatchRef, Offset};
use rng::Rng;

const PRODUCERS: usize = 50;
const STEPS: usize = 400;
/// From one batch to several segments.
const MAX_BYTES: [usize; 6] = [1, 200, 500, 1_000, 3_000, 1 << 20];

/// A data batch of the model.
struct Stored {
    base: i64,
    last: i64,
    /// Of the producer that wrote it in a transaction.
    writer: Option<usize>,
    /// How that ended, and where.
    end: Option<(Outcome, i64)>,
}

struct Model {
    batches: Vec<Stored>,
    /// The next one of each producer.
    sequences: Vec<i32>,
}

impl Model {
    fn write(&mut self, log: &Partition<MemDir>, producer: Option<usize>, records: i32) {
        let mut batch = Batch::of(records).value_len(40);
        if let Some(producer) = producer {
            let sequence = &mut self.sequences[producer];
            batch = batch.by(i64::try_from(producer).unwrap(), 0, *sequence).in_txn();
            *sequence += records;
        }
        let base = append(log, &batch).unwrap().base_offset.get();
        let last = base + i64::from(records) - 1;
        self.batches.push(Stored { base, last, writer: producer, end: None });
    }

    fn end(&mut self, log: &Partition<MemDir>, producer: usize, outcome: Outcome) {
        let at = end_txn(log, i64::try_from(producer).unwrap(), 0, outcome).unwrap();
        let at = at.base_offset.get();
        for batch in &mut self.batches {
            if batch.writer == Some(producer) && batch.end.is_none() {
                batch.end = Some((outcome, at));
            }
        }
    }

    /// Below the high watermark everything is decided up to here.
    fn last_stable(&self, high_watermark: i64) -> i64 {
        let undecided = self.batches.iter().find(|batch| {
            batch.writer.is_some() && batch.end.is_none_or(|(_, at)| at >= high_watermark)
        });
        undecided.map_or(high_watermark, |batch| batch.base.min(high_watermark))
    }

    /// What a reader of committed data is shown of this.
    fn shows(&self, from: i64, to: i64) -> Vec<i64> {
        let shown = self.batches.iter().filter(|batch| {
            let committed = matches!(batch.end, Some((Outcome::Commit, _)));
            batch.last >= from && batch.base < to && (batch.writer.is_none() || committed)
        });
        shown.map(|batch| batch.base).collect()
    }
}

/// Base offsets of what a client shows that takes the list as a queue, without sorting it, and where it goes on.
fn shown(read: &Read, from: i64) -> (Vec<i64>, i64) {
    let mut coming: VecDeque<_> = read.aborted.as_ref().unwrap().iter().collect();
    let (mut open, mut shown, mut next) = (BTreeSet::new(), Vec::new(), from);
    let mut rest: &[u8] = &read.records;
    while let Ok((batch, behind)) = BatchRef::parse(rest) {
        rest = behind;
        while coming.front().is_some_and(|txn| txn.first_offset <= batch.last_offset()) {
            open.insert(coming.pop_front().unwrap().producer_id);
        }
        next = batch.next_offset().get();
        if batch.attributes().is_control() {
            open.remove(&batch.producer_id());
        } else if !batch.attributes().is_transactional() || !open.contains(&batch.producer_id()) {
            shown.push(batch.base_offset().get());
        }
    }
    (shown, next)
}

/// Reads from every place with every room.
fn check(log: &Partition<MemDir>, model: &Model, high_watermark: i64) {
    let bound = model.last_stable(high_watermark);
    for from in 0..bound {
        for max_bytes in MAX_BYTES {
            let place = format!("from {from} to {bound}, {max_bytes} bytes");
            let read = log
                .read(Offset::new(from), Isolation::Committed, max_bytes, FirstBatch::Whole)
                .unwrap();
            assert_eq!(read.last_stable_offset.get(), bound, "{place}");
            let (shown, next) = shown(&read, from);
            assert!(next > from && next <= bound, "{place}: it goes on at {next}");
            assert_eq!(shown, model.shows(from, next), "{place}");
        }
    }
}

fn play(seed: u64) {
    let mut rng = Rng::new(seed);
    let config = config(|s| {
        s.internal_segment_bytes = Some(700);
        s.index_interval_bytes = 0;
    });
    let log = open(&MemDir::new(), &config).0;
    let (mut model, mut high_watermark) =
        (Model { batches: Vec::new(), sequences: vec![0; PRODUCERS] }, 0);
    for step in 1..=STEPS {
        let producer = rng.range(0, PRODUCERS);
        match rng.range(0, 10) {
            0 => model.write(&log, None, 1),
            1..6 => model.write(&log, Some(producer), 1 + i32::try_from(rng.range(0, 3)).unwrap()),
            6..8 => model.end(&log, producer, Outcome::Abort),
            _ => model.end(&log, producer, Outcome::Commit),
        }
        if step % (STEPS / 4) == 0 {
            let end = log.log_end_offset().get();
            let room = usize::try_from(end - high_watermark).unwrap();
            // The last time all of it.
            high_watermark =
                if step == STEPS { end } else { end - i64::try_from(rng.range(0, room)).unwrap() };
            log.advance_high_watermark(Offset::new(high_watermark));
            check(&log, &model, high_watermark);
        }
    }
}

#[test]
fn t6_what_is_told_to_be_aborted_comes_by_first_offset_and_is_all_of_it() {
    let one = std::env::var("SEED").ok().map(|seed| seed.parse().unwrap());
    for seed in one.map_or(0..20, |seed: u64| seed..seed + 1) {
        let played = std::panic::catch_unwind(|| play(seed));
        assert!(played.is_ok(), "SEED={seed}");
    }
}
