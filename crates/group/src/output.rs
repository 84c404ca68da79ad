//! What the shell is told to do.

use alloc::vec::Vec;

use hanbeon_records::{ProducerEpoch, ProducerId};

use crate::{Record, Reply};

/// Names one write until the log has decided it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId(u64);

impl WriteId {
    pub(crate) const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number, from 0 since the partition was loaded.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// What kind of batch the records go into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendKind {
    /// One without a producer.
    Plain,
    /// A transactional one of this producer, with base sequence 0 as Kafka 4.3.1 writes it.
    Transactional {
        /// Whose transaction.
        producer_id: ProducerId,
        /// Which incarnation of the producer.
        producer_epoch: ProducerEpoch,
    },
}

/// What to do next, in this order: what [`appended`](crate::Coordinator::appended) adds goes behind what was handed out before.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "an answer or a write that is dropped leaves a client waiting"]
pub enum Output<T> {
    /// A parked request is answered.
    Answer {
        /// Whose.
        token: T,
        /// With what.
        reply: Reply,
    },
    /// These records go to the log as one batch; what became of it is told to [`appended`](crate::Coordinator::appended).
    Append {
        /// Names the write.
        write: WriteId,
        /// What to write; never empty.
        records: Vec<Record>,
        /// Into what kind of batch.
        kind: AppendKind,
    },
}
