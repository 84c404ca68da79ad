//! How many transactions a second can the transaction coordinator decide, and what does that cost beside keeping the same records in a map?
//!
//! One thread, no log: enrolment, end, markers owed and acknowledged, completion, each record encoded as it would be logged and applied, with 1,
//! 1,000 and 100,000 transactional ids in rotation. The yardstick encodes the same three records and puts them into a `BTreeMap` of as many
//! ids, which is the least that any coordinator does.
#![expect(clippy::expect_used, reason = "a bench that cannot go on has nothing to say")]

use std::{collections::BTreeMap, io::Write as _};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hanbeon_benches::{Cost, Goal, NOW, Side, cost_of, side_by_side};
use hanbeon_records::{CoordinatorEpoch, ProducerId, TopicName, TopicPartition};
use hanbeon_txn::{
    AddPartitions, Coordinator, Decision, EndTxn, Enqueued, InitProducerId, MarkersOwed, Outcome,
    OwedTxn, Producer, Progress, Protocol, Record, Settings, TransactionalId,
};

const SETTINGS: Settings = Settings::kafka_defaults();
/// Transactions of a pass.
const PASS: u64 = 20_000;

struct Ours {
    coordinator: Coordinator,
    owed: MarkersOwed,
    producers: Vec<(TransactionalId, Producer)>,
    at: usize,
    fresh: i64,
    partition: TopicPartition,
}

/// Encodes the record as a log would take it, and applies it.
fn carry_out<R>(coordinator: &mut Coordinator, decision: Decision<R>) -> R {
    let record = decision.record.expect("every step of the bench changes something");
    std::hint::black_box(record.encode(SETTINGS.value_version).expect("it can be written"));
    coordinator.apply(&record).expect("it follows");
    decision.reply.expect("it is in order")
}

fn fresh_from(next: &mut i64) -> impl FnMut() -> Option<ProducerId> {
    || {
        *next += 1;
        Some(ProducerId::new(*next))
    }
}

impl Ours {
    fn new(ids: usize) -> Self {
        let (mut coordinator, mut fresh) = (Coordinator::new(SETTINGS), 0);
        let producers = (0..ids).map(|n| {
            let id = TransactionalId::new(format!("application-{n:06}").as_str()).expect("an id");
            let init = InitProducerId::new(id.clone(), 60_000);
            let decision = coordinator.init_producer_id(NOW, &init, &mut fresh_from(&mut fresh));
            (id, carry_out(&mut coordinator, decision))
        });
        let producers = producers.collect();
        let topic = TopicName::new("ledger").expect("a name");
        let partition = TopicPartition { topic, partition: 0 };
        Self { coordinator, owed: MarkersOwed::new(), producers, at: 0, fresh, partition }
    }

    /// One transaction of the next id.
    fn transaction(&mut self) {
        let Self { coordinator, owed, producers, at, fresh, partition } = self;
        *at = (*at + 1) % producers.len();
        let (id, producer) = &mut producers[*at];
        let (protocol, partitions) = (Protocol::V2, vec![partition.clone()]);
        let enrol = AddPartitions { id: id.clone(), producer: *producer, partitions, protocol };
        let decision = coordinator.add_partitions(NOW, &enrol);
        carry_out(coordinator, decision);
        let end =
            EndTxn { id: id.clone(), producer: *producer, outcome: Outcome::Commit, protocol };
        let decision = coordinator.end_txn(NOW, &end, &mut fresh_from(fresh));
        *producer = carry_out(coordinator, decision);
        let decided: OwedTxn = coordinator.owed_by(id).expect("it is decided");
        let Enqueued::Send(round) = owed.enqueue(NOW, decided, CoordinatorEpoch::new(0)) else {
            unreachable!("it has a partition")
        };
        let Progress::Complete(completion) = owed.acked(id, round, partition) else {
            unreachable!("it has one partition")
        };
        let decision = coordinator.complete(NOW, &completion, &mut fresh_from(fresh));
        carry_out(coordinator, decision);
    }

    fn pass(&mut self) -> Cost {
        cost_of(|| (0..PASS).for_each(|_| self.transaction()))
    }
}

/// The records of one transaction, kept for every id in turn.
struct Kept {
    records: [Record; 3],
    ids: Vec<TransactionalId>,
    at: usize,
    map: BTreeMap<TransactionalId, Vec<u8>>,
}

impl Kept {
    fn new(ids: usize) -> Self {
        let mut ours = Ours::new(1);
        let (id, producer) = ours.producers[0].clone();
        let (protocol, partitions) = (Protocol::V2, vec![ours.partition.clone()]);
        let enrol = AddPartitions { id: id.clone(), producer, partitions, protocol };
        let decision = ours.coordinator.add_partitions(NOW, &enrol);
        let enrolled = decision.record.clone().expect("it is new");
        carry_out(&mut ours.coordinator, decision);
        let end = EndTxn { id, producer, outcome: Outcome::Commit, protocol };
        let decision = ours.coordinator.end_txn(NOW, &end, &mut || None);
        let ended = decision.record.expect("it is open");
        let records = [enrolled.clone(), ended, enrolled];
        let ids = Ours::new(ids).producers.into_iter().map(|(id, _)| id).collect();
        Self { records, ids, at: 0, map: BTreeMap::new() }
    }

    fn pass(&mut self) -> Cost {
        cost_of(|| {
            for _ in 0..PASS {
                self.at = (self.at + 1) % self.ids.len();
                for record in &self.records {
                    let (_, value) = record.encode(SETTINGS.value_version).expect("a record");
                    self.map.insert(self.ids[self.at].clone(), value.expect("a value"));
                }
            }
        })
    }
}

fn run(c: &mut Criterion) {
    for ids in [1, 1_000, 100_000] {
        let (mut ours, mut kept) = (Ours::new(ids), Kept::new(ids));
        side_by_side(
            c.benchmark_group(format!("transactions of {ids} ids")),
            Throughput::Elements(PASS),
            Goal::TimePercent(500),
            [
                Side::new("decide, encode, apply", || ours.pass()),
                Side::new("encode and keep", || kept.pass()),
            ],
        );
        let each = ours.pass().cpu.as_secs_f64() / PASS as f64;
        let mut out = std::io::stderr();
        writeln!(out, "{ids} ids: {:.0} transactions a second of CPU", 1.0 / each)
            .expect("a terminal");
    }
}

criterion_group!(benches, run);
criterion_main!(benches);
