//! `AddPartitionsToTxn`, `AddOffsetsToTxn`, and the partition leaders' questions about them.

use alloc::vec::Vec;

use hanbeon_records::{ErrorCode, Millis, TopicPartition};

use crate::{
    Cause, Coordinator, Decision, Producer, Protocol, Record, State, TransactionalId, TxnError,
    coordinator::{same_epoch, same_id, settled},
    txn::list,
};

/// Partitions that are to be part of a transaction, which begins with the first of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddPartitions {
    /// Whose transaction.
    pub id: TransactionalId,
    /// Who asks, or on whose behalf a partition leader asks.
    pub producer: Producer,
    /// The partitions. For `AddOffsetsToTxn`, the one of `__consumer_offsets` that keeps the group.
    pub partitions: Vec<TopicPartition>,
    /// [`Protocol::V2`] when a leader enrols what is being written to it, [`Protocol::V1`] when the client asks.
    pub protocol: Protocol,
}

/// A partition leader's question whether its partitions are part of a transaction (KIP-890 part 1, `verifyOnly`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verify {
    /// Whose transaction.
    pub id: TransactionalId,
    /// Whose batch waits at the leader.
    pub producer: Producer,
    /// The partitions it asks about.
    pub partitions: Vec<TopicPartition>,
}

/// The answer about one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// It is part of the transaction.
    Enrolled,
    /// It is not, and a batch for it must not be written: the client has to abort.
    Absent,
}

impl Membership {
    /// What a leader is told.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Enrolled => ErrorCode::None,
            Self::Absent => ErrorCode::TransactionAbortable,
        }
    }
}

impl Coordinator {
    /// Decides an enrolment. Nothing is logged when all partitions are enrolled already.
    pub fn add_partitions(&self, now: Millis, request: &AddPartitions) -> Decision<()> {
        self.enrol(now, request).unwrap_or_else(Decision::refuse)
    }

    fn enrol(&self, now: Millis, request: &AddPartitions) -> Result<Decision<()>, TxnError> {
        let AddPartitions { id, producer, partitions, protocol } = request;
        let txn = self.known(id)?;
        // Before anything else: a client that has heard of its next producer id is ahead of a coordinator that has not
        // completed the last transaction of the one before (KAFKA-18660).
        settled(id, txn)?;
        same_id(id, txn, *producer)?;
        same_epoch(id, txn, *producer)?;
        let ongoing = txn.state == State::Ongoing;
        if ongoing && partitions.iter().all(|partition| txn.partitions.contains(partition)) {
            return Ok(Decision::answer(()));
        }
        let mut all = txn.partitions.clone();
        all.extend(partitions.iter().cloned());
        let mut value = txn.step(State::Ongoing, now);
        value.partitions = Some(list(&all));
        value.client_transaction_version = protocol.client_version();
        if !ongoing {
            value.start = now;
        }
        Ok(Decision::log(Record::of(id, value, Cause::Enrolled), ()))
    }

    /// Answers a verify-only request: for each partition, in order, whether it is part of the transaction.
    ///
    /// # Errors
    /// A refusal that holds for all partitions: unknown id, another producer id, a fenced epoch, or a transaction that is
    /// decided.
    pub fn verify(&self, request: &Verify) -> Result<Vec<Membership>, TxnError> {
        let Verify { id, producer, partitions } = request;
        let txn = self.known(id)?;
        same_id(id, txn, *producer)?;
        same_epoch(id, txn, *producer)?;
        settled(id, txn)?;
        let membership = |partition| {
            if txn.partitions.contains(partition) {
                Membership::Enrolled
            } else {
                Membership::Absent
            }
        };
        Ok(partitions.iter().map(membership).collect())
    }
}
