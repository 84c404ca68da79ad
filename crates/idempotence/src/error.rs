//! Why a batch or a marker is refused, and what a client is told.

use core::fmt;

use hanbeon_records::{
    ControlError, CoordinatorEpoch, ErrorCode, Offset, ProducerEpoch, ProducerId, Sequence,
};

/// Why a batch or a marker may not be appended.
///
/// Every variant is the sender's fault or the fault of a sender before it; nothing here means that the table or
/// the disk is damaged ([`crate::SnapshotError`], [`crate::WindowError`]). A refused claim changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdempotenceError {
    /// A batch is part of a transaction and does not say whose: no marker would ever decide it.
    #[error("a transactional batch names no producer: it has the producer id of its transaction")]
    NoProducer,
    /// A batch names a producer but carries no sequence.
    #[error(
        "producer {producer_id} sends a batch without a base sequence: a batch with a producer id counts its records from 0"
    )]
    MissingSequence {
        /// Who sent it.
        producer_id: ProducerId,
    },
    /// A control batch where data was expected.
    #[error(
        "producer {producer_id} sends a control batch: markers are written by the transaction coordinator"
    )]
    ControlBatch {
        /// Who sent it.
        producer_id: ProducerId,
    },
    /// The header says that the last record lies before the first.
    #[error(
        "the last offset delta of producer {producer_id}'s batch is {found}, at least 0 is needed"
    )]
    NegativeDelta {
        /// Who sent it.
        producer_id: ProducerId,
        /// Value in the header.
        found: i32,
    },
    /// A control batch in the log whose record cannot be read as a marker.
    #[error(
        "the control batch at offset {offset} holds no readable marker ({error}): rebuild the partition from another replica or cut it there"
    )]
    MalformedMarker {
        /// Where it lies.
        offset: Offset,
        /// What is wrong with it.
        error: ControlError,
    },
    /// A gap, or a range that was seen but is no exact retry of a batch in the window.
    #[error(
        "producer {producer_id} epoch {producer_epoch}: base sequence {found} is out of order, {expected}"
    )]
    OutOfOrderSequence {
        /// Who sent it.
        producer_id: ProducerId,
        /// In which incarnation.
        producer_epoch: ProducerEpoch,
        /// What would have been accepted.
        expected: ExpectedSequence,
        /// What came.
        found: Sequence,
    },
    /// An older incarnation of the producer: a zombie. `PRODUCER_FENCED` is the coordinator's word, never this
    /// table's (KAFKA-10687).
    #[error(
        "producer {producer_id} epoch {found} was fenced by epoch {current} on this partition: initialise the producer again"
    )]
    StaleEpoch {
        /// Whose.
        producer_id: ProducerId,
        /// The epoch that fenced it.
        current: ProducerEpoch,
        /// The epoch that came.
        found: ProducerEpoch,
    },
    /// A marker of transaction version 2 that does not raise the epoch although a transaction is open (KAFKA-19446): it
    /// belongs to an earlier transaction.
    #[error(
        "a version 2 marker of producer {producer_id} has epoch {found}, above {current} is needed to end the transaction open since offset {first_offset}"
    )]
    StaleMarker {
        /// Whose transaction.
        producer_id: ProducerId,
        /// The epoch of the open transaction.
        current: ProducerEpoch,
        /// The marker's epoch.
        found: ProducerEpoch,
        /// Where the open transaction starts.
        first_offset: Offset,
    },
    /// A marker of a coordinator that was replaced.
    #[error(
        "coordinator epoch {found} for producer {producer_id} was fenced by coordinator epoch {current}"
    )]
    CoordinatorFenced {
        /// Whose transaction.
        producer_id: ProducerId,
        /// The coordinator epoch that fenced it.
        current: CoordinatorEpoch,
        /// The marker's coordinator epoch.
        found: CoordinatorEpoch,
    },
    /// The first batch of a transaction whose membership the coordinator has not confirmed (KIP-890).
    #[error(
        "producer {producer_id} epoch {producer_epoch} has no open transaction on this partition and no valid verification: the coordinator must confirm the partition first"
    )]
    NotVerified {
        /// Who sent it.
        producer_id: ProducerId,
        /// In which incarnation.
        producer_epoch: ProducerEpoch,
    },
    /// Something of one transaction while another of the same producer is open: its coordinator, or this partition, has lost what came last. A
    /// batch would be decided with the other's, and a commit would decide the other. An abort, of either, ends what is open.
    #[error(
        "producer {producer_id} epoch {found} meets its transaction of epoch {current}, open since offset {first_offset}: abort that first"
    )]
    OtherTransaction {
        /// Whose.
        producer_id: ProducerId,
        /// The epoch of the open transaction.
        current: ProducerEpoch,
        /// The epoch of the batch, or of the transaction that the marker commits.
        found: ProducerEpoch,
        /// Where the open transaction starts.
        first_offset: Offset,
    },
    /// Plain data while a transaction of the same producer is open.
    #[error(
        "producer {producer_id} sends plain data while its transaction is open since offset {first_offset}: end the transaction first"
    )]
    PlainInTransaction {
        /// Who sent it.
        producer_id: ProducerId,
        /// Where the open transaction starts.
        first_offset: Offset,
    },
}

/// Which base sequence would have been accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExpectedSequence {
    /// The one after the last that was appended.
    Next(Sequence),
    /// 0: the first of a new epoch.
    FirstOfEpoch {
        /// The epoch known until now.
        current: ProducerEpoch,
    },
    /// 0: only a marker of this epoch is known.
    FirstAfterMarker,
    /// 0: nothing was ever written to the partition (KAFKA-15591).
    FirstOnPartition,
    /// 0: transactions of version 2 start every partition at 0 (KAFKA-18202).
    FirstOfTransaction,
    /// At most this one: an earlier batch of the same transaction is still to come (KAFKA-14920).
    AtMost(Sequence),
}

impl fmt::Display for ExpectedSequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Next(next) => write!(f, "expected {next}"),
            Self::FirstOfEpoch { current } => {
                write!(f, "expected 0 because the epoch is newer than {current}")
            }
            Self::FirstAfterMarker => {
                f.write_str("expected 0 because only a marker of this epoch is known")
            }
            Self::FirstOnPartition => {
                f.write_str("expected 0 because the partition was never written")
            }
            Self::FirstOfTransaction => {
                f.write_str("expected 0 because a transaction starts each partition at 0")
            }
            Self::AtMost(lowest) => write!(
                f,
                "expected at most {lowest} because the batch with that sequence is still awaited"
            ),
        }
    }
}

impl IdempotenceError {
    /// What a client is told.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::NoProducer
            | Self::MissingSequence { .. }
            | Self::ControlBatch { .. }
            | Self::NegativeDelta { .. } => ErrorCode::InvalidRecord,
            Self::MalformedMarker { .. } => ErrorCode::CorruptMessage,
            Self::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
            Self::StaleEpoch { .. } | Self::StaleMarker { .. } => ErrorCode::InvalidProducerEpoch,
            Self::CoordinatorFenced { .. } => ErrorCode::TransactionCoordinatorFenced,
            Self::NotVerified { .. }
            | Self::OtherTransaction { .. }
            | Self::PlainInTransaction { .. } => ErrorCode::InvalidTxnState,
        }
    }
}
