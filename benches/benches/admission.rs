//! Is admission at most 3x a bare hash look-up and update, at 1,000, 100,000 and 1,000,000 producers?
//!
//! Both sides visit the producers in the same pseudo-random order, with the same hasher and entries of the same 160
//! bytes, in the same run: `find and update` finds an entry and writes its fields, `admit and record` judges the next batch of a
//! producer and records it, `recognise` answers the retry of the last.
#![expect(clippy::expect_used, reason = "a bench that cannot go on has nothing to say")]

use std::{hash::Hasher as _, hint::black_box};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use foldhash::{SharedSeed, fast::FoldHasher};
use hanbeon_benches::{Cost, Goal, Side, cost_of, side_by_side};
use hanbeon_idempotence::{
    Admission, BatchKind, Claim, FirstWrite, Origin, ProducerStates, Settings, Verification,
};
use hanbeon_records::{Millis, Offset, ProducerEpoch, ProducerId, Sequence};
use hashbrown::HashTable;

const SEED: u64 = 0x5eed;
const VISITS: usize = 4096;
const PASSES: usize = 16;

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

/// Claims of the producers in their order.
struct Claims {
    next: Vec<Sequence>,
    order: Order,
}

impl Claims {
    fn new(producers: u64) -> Self {
        Self { next: counters(producers), order: Order { at: 1, producers } }
    }

    /// The claim of whoever comes next, with its batch or with that of `back` before it.
    fn visit(&mut self, back: u32) -> Claim {
        let id = self.order.next();
        let next = &mut self.next[usize::try_from(id).unwrap_or(0)];
        let claim = claim(id, next.go_back(back));
        if back == 0 {
            *next = next.advance(1);
        }
        black_box(claim)
    }
}

struct BareTable {
    seed: SharedSeed,
    table: HashTable<Bare>,
    claims: Claims,
    now: u64,
}

impl BareTable {
    fn new(producers: u64) -> Self {
        let seed = SharedSeed::from_u64(SEED);
        let mut table: HashTable<Bare> = HashTable::new();
        for id in 0..producers.cast_signed() {
            let entry = Bare { id, rest: [0; 19] };
            table.insert_unique(hash(id, &seed), entry, |entry| hash(entry.id, &seed));
        }
        Self { seed, table, claims: Claims::new(producers), now: 0 }
    }

    fn pass(&mut self) {
        for _ in 0..VISITS {
            let claim = self.claims.visit(0);
            let id = claim.producer_id.get();
            let found = self.table.find_mut(hash(id, &self.seed), |entry| entry.id == id);
            let entry = found.expect("every producer is there");
            self.now += 1;
            let at = 4 + 3 * usize::try_from(entry.rest[0] % 5).unwrap_or(0);
            entry.rest[0] += 1;
            entry.rest[1] = self.now;
            entry.rest[at] = self.now;
            entry.rest[at + 1] = claim.max_timestamp.get().cast_unsigned();
            entry.rest[at + 2] = claim.base_sequence.get().unsigned_abs().into();
        }
    }
}

struct Ours {
    states: ProducerStates,
    claims: Claims,
    end: i64,
}

impl Ours {
    fn new(producers: u64) -> Self {
        let states = ProducerStates::new(Settings {
            expiration_ms: i64::MAX,
            verification: Verification::On,
            first_write: FirstWrite::AnySequence,
            hash_seed: SEED,
        });
        let mut ours = Self { states, claims: Claims::new(producers), end: 0 };
        for round in 0..5 {
            for (id, next) in (0_i64..).zip(&mut ours.claims.next) {
                let admitted = append(&mut ours.states, &claim(id, *next), &mut ours.end);
                assert!(admitted, "round {round}");
                *next = next.advance(1);
            }
        }
        ours
    }

    fn pass(&mut self) {
        for _ in 0..VISITS {
            let claim = self.claims.visit(0);
            black_box(append(&mut self.states, &claim, &mut self.end));
        }
    }

    fn retries(&mut self) {
        for _ in 0..VISITS {
            let claim = self.claims.visit(1);
            assert!(!append(&mut self.states, &claim, &mut self.end), "a retry");
        }
    }
}

/// As many passes as make a round long enough for its clock.
fn passes(mut pass: impl FnMut()) -> Cost {
    cost_of(|| {
        for _ in 0..PASSES {
            pass();
        }
    })
}

fn run(c: &mut Criterion) {
    let visits = Throughput::Elements((VISITS * PASSES) as u64);
    for producers in [1_000, 100_000, 1_000_000] {
        let (mut ours, mut bare) = (Ours::new(producers), BareTable::new(producers));
        let group = format!("admission of {producers} producers");
        side_by_side(
            c.benchmark_group(&group),
            visits.clone(),
            Goal::TimePercent(300),
            [
                Side::new("admit and record", || passes(|| ours.pass())),
                Side::new("find and update", || passes(|| bare.pass())),
            ],
        );
        side_by_side(
            c.benchmark_group(format!("{group}, retries")),
            visits.clone(),
            Goal::TimePercent(300),
            [
                Side::new("recognise", || passes(|| ours.retries())),
                Side::new("find and update", || passes(|| bare.pass())),
            ],
        );
    }
}

criterion_group!(benches, run);
criterion_main!(benches);
