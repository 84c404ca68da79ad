//! Is admission at most 3x a bare hash look-up and update, at 1,000, 100,000 and 1,000,000 producers?
//!
//! Both sides visit the producers in the same pseudo-random order, with the same hasher and entries of the same 160
//! bytes, in the same run: `bare` finds an entry and writes four of its fields, `admit+record` judges the next batch of a
//! producer and records it, `duplicate` recognises the retry of the last.
#![expect(clippy::expect_used, reason = "a bench that cannot go on has nothing to say")]

use std::{hash::Hasher as _, hint::black_box};

use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
    measurement::WallTime,
};
use foldhash::{SharedSeed, fast::FoldHasher};
use hanbeon_idempotence::{
    Admission, BatchKind, Claim, FirstWrite, Origin, ProducerStates, Settings, Verification,
};
use hanbeon_records::{Millis, Offset, ProducerEpoch, ProducerId, Sequence};
use hashbrown::HashTable;

const SEED: u64 = 0x5eed;
const VISITS: usize = 4096;

/// As large as the table's own entry.
struct Bare {
    id: i64,
    rest: [u64; 19],
}

/// Producers in an order that no prefetcher guesses: the high bits of a multiplicative sequence.
struct Order {
    at: u64,
    producers: u64,
}

impl Order {
    fn next(&mut self) -> i64 {
        self.at =
            self.at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.at >> 33) % self.producers).cast_signed()
    }
}

fn hash(id: i64, seed: &SharedSeed) -> u64 {
    let mut hasher = FoldHasher::with_seed(SEED, seed);
    hasher.write_i64(id);
    hasher.finish()
}

fn claim(id: i64, first: Sequence) -> Claim {
    Claim {
        producer_id: ProducerId::new(id),
        producer_epoch: ProducerEpoch::new(0),
        base_sequence: first,
        last_offset_delta: 0,
        max_timestamp: Millis::new(1),
        kind: BatchKind::Plain,
        origin: Origin::Client,
        guard: None,
    }
}

/// What each client sends next; both sides read their claims off it.
fn counters(producers: u64) -> Vec<Sequence> {
    vec![Sequence::ZERO; usize::try_from(producers).unwrap_or(0)]
}

/// Judges and records; `false` for a duplicate.
fn append(states: &mut ProducerStates, claim: &Claim, end: &mut i64) -> bool {
    match states.admit(claim) {
        Ok(Admission::Append(ticket)) => {
            states.record(ticket, Offset::new(*end), Millis::new(*end));
            *end += 1;
            true
        }
        Ok(Admission::Duplicate(copy)) => {
            black_box(copy);
            false
        }
        Err(error) => panic!("{error}"),
    }
}

fn bare(group: &mut BenchmarkGroup<'_, WallTime>, producers: u64) {
    let seed = SharedSeed::from_u64(SEED);
    let mut table: HashTable<Bare> = HashTable::new();
    for id in 0..producers.cast_signed() {
        let entry = Bare { id, rest: [0; 19] };
        table.insert_unique(hash(id, &seed), entry, |entry| hash(entry.id, &seed));
    }
    let mut next = counters(producers);
    let mut order = Order { at: 1, producers };
    let mut now = 0;
    group.bench_function(BenchmarkId::new("bare", producers), |b| {
        b.iter(|| {
            for _ in 0..VISITS {
                let id = order.next();
                let next = &mut next[usize::try_from(id).unwrap_or(0)];
                let claim = black_box(claim(id, *next));
                *next = next.advance(1);
                let found = table.find_mut(hash(id, &seed), |entry| entry.id == id);
                let entry = found.expect("every producer is there");
                now += 1;
                let at = 4 + 3 * usize::try_from(entry.rest[0] % 5).unwrap_or(0);
                entry.rest[0] += 1;
                entry.rest[1] = now;
                entry.rest[at] = now;
                entry.rest[at + 1] = claim.max_timestamp.get().cast_unsigned();
                entry.rest[at + 2] = claim.base_sequence.get().unsigned_abs().into();
            }
        });
    });
    black_box(&table);
}

fn admission(group: &mut BenchmarkGroup<'_, WallTime>, producers: u64) {
    let mut states = ProducerStates::new(Settings {
        expiration_ms: i64::MAX,
        verification: Verification::On,
        first_write: FirstWrite::AnySequence,
        hash_seed: SEED,
    });
    let mut end = 0;
    let mut next = counters(producers);
    for round in 0..5 {
        for (id, next) in (0_i64..).zip(&mut next) {
            assert!(append(&mut states, &claim(id, *next), &mut end), "round {round}");
            *next = next.advance(1);
        }
    }
    let mut order = Order { at: 1, producers };
    group.bench_function(BenchmarkId::new("admit+record", producers), |b| {
        b.iter(|| {
            for _ in 0..VISITS {
                let id = order.next();
                let next = &mut next[usize::try_from(id).unwrap_or(0)];
                black_box(append(&mut states, &black_box(claim(id, *next)), &mut end));
                *next = next.advance(1);
            }
        });
    });
    let mut order = Order { at: 1, producers };
    group.bench_function(BenchmarkId::new("duplicate", producers), |b| {
        b.iter(|| {
            for _ in 0..VISITS {
                let id = order.next();
                let last = next[usize::try_from(id).unwrap_or(0)].go_back(1);
                assert!(!append(&mut states, &claim(id, last), &mut end), "a retry");
            }
        });
    });
}

fn run(c: &mut Criterion) {
    let mut group = c.benchmark_group("admission");
    group.throughput(Throughput::Elements(VISITS as u64));
    for producers in [1_000, 100_000, 1_000_000] {
        bare(&mut group, producers);
        admission(&mut group, producers);
    }
    group.finish();
}

criterion_group!(benches, run);
criterion_main!(benches);
