//! The logs of the partitions, and what a table of producers makes of them.

use std::{cell::RefCell, collections::BTreeMap};

use hanbeon_idempotence::{FirstWrite, ProducerStates, Verification};
use hanbeon_records::{
    BatchRef, CoordinatorEpoch, LeaderEpoch, Marker, Offset, ProducerEpoch, ProducerId,
    write_marker,
};
use hanbeon_txn::Outcome;

use crate::{NOW, fixture::Pair};

/// Which transaction of which producer a record belongs to.
pub(crate) type Tag = (usize, usize);

/// [`Outcome`] with an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Outcome2 {
    Commit,
    Abort,
}

impl From<Outcome2> for Outcome {
    fn from(outcome: Outcome2) -> Self {
        match outcome {
            Outcome2::Commit => Self::Commit,
            Outcome2::Abort => Self::Abort,
        }
    }
}

/// One batch of a partition's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Batch {
    Data { pair: Pair, sequence: i32, tag: Tag },
    Marker { pair: Pair, outcome: Outcome2, epoch: i32 },
}

thread_local! {
    /// Tables of logs that were worked out before: most states differ in something else.
    static TABLES: RefCell<BTreeMap<Vec<Batch>, ProducerStates>> = const { RefCell::new(BTreeMap::new()) };
}

pub(crate) fn states_of(log: &[Batch]) -> ProducerStates {
    if let Some(known) = TABLES.with_borrow(|tables| tables.get(log).cloned()) {
        return known;
    }
    let states = replayed(log);
    TABLES.with_borrow_mut(|tables| tables.insert(log.to_vec(), states.clone()));
    states
}

fn replayed(log: &[Batch]) -> ProducerStates {
    let mut states = ProducerStates::new(hanbeon_idempotence::Settings {
        expiration_ms: i64::MAX,
        verification: Verification::On,
        first_write: FirstWrite::AnySequence,
        hash_seed: 1,
    });
    for (at, batch) in log.iter().enumerate() {
        let bytes = bytes_of(batch, i64::try_from(at).unwrap());
        let (batch, _) = BatchRef::parse(&bytes).unwrap();
        states.replay(&batch, NOW).unwrap();
    }
    states
}

/// The batch as it lies in a log; the table reads nothing but the header and markers.
fn bytes_of(batch: &Batch, base: i64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (pid, epoch, sequence) = match *batch {
        Batch::Data { pair: (pid, epoch), sequence, .. } => (pid, epoch, sequence),
        Batch::Marker { pair: (pid, producer_epoch), outcome, epoch } => {
            let marker = Marker {
                base_offset: Offset::new(base),
                leader_epoch: LeaderEpoch::new(0),
                producer_id: ProducerId::new(pid),
                producer_epoch: ProducerEpoch::new(producer_epoch),
                outcome: outcome.into(),
                coordinator_epoch: CoordinatorEpoch::new(epoch),
                timestamp: NOW,
            };
            write_marker(&mut bytes, &marker);
            return bytes;
        }
    };
    bytes.extend(base.to_be_bytes());
    bytes.extend(49_i32.to_be_bytes());
    bytes.extend([0, 0, 0, 0, 2, 0, 0, 0, 0]);
    bytes.extend([0, 0x10, 0, 0, 0, 0]); // transactional, one record
    bytes.extend([NOW.get().to_be_bytes(), NOW.get().to_be_bytes()].concat());
    bytes.extend(pid.to_be_bytes());
    bytes.extend(epoch.to_be_bytes());
    bytes.extend(sequence.to_be_bytes());
    bytes.extend(1_i32.to_be_bytes());
    bytes
}

/// How the batch at `at` was decided: by the next marker of its producer id.
pub(crate) fn outcome_of(log: &[Batch], at: usize) -> Option<Outcome2> {
    let Batch::Data { pair: (pid, _), .. } = log[at] else { return None };
    log[at..].iter().find_map(|batch| match batch {
        Batch::Marker { pair, outcome, .. } if pair.0 == pid => Some(*outcome),
        _ => None,
    })
}
pub(crate) fn ordered(outcome: Outcome) -> Outcome2 {
    match outcome {
        Outcome::Commit => Outcome2::Commit,
        Outcome::Abort => Outcome2::Abort,
    }
}
