//! Why a transactional request is not carried out, and what a client is told.

use std::sync::Arc;

use hanbeon_records::ErrorCode;
use hanbeon_txn::{IllegalTransition, RecordError, TransactionalIdError, TxnError};

use crate::{ProduceError, TopicError};

/// A transactional request that was not carried out.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransactionError {
    /// The coordinator refuses it.
    #[error(transparent)]
    Refused(#[from] TxnError),
    /// The transactional id is none.
    #[error(transparent)]
    Id(#[from] TransactionalIdError),
    /// A partition that does not exist cannot take part.
    #[error("there is no partition {partition} of topic {topic:?}")]
    UnknownPartition {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
    /// The transaction does not have this partition, so a write to it is not part of it.
    #[error(
        "{topic}-{partition} is not part of the transaction: abort it and begin anew, the write came after its end or was never announced"
    )]
    NotEnrolled {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
    /// A power cut has taken from the coordinator that this partition is part of the transaction, so that its part is aborted.
    #[error(
        "a power cut has torn the transaction, its part on {topic}-{partition} is lost: abort it and begin anew"
    )]
    Torn {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
    /// A power cut may have torn the transaction, and nobody has looked at this partition since.
    #[error(
        "{topic}-{partition} was not looked at since a power cut, which may have torn the transaction: retry"
    )]
    NotLookedAt {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
    /// What the producer had open there before a power cut is being ended, and nothing of it may become part of this transaction.
    #[error(
        "what a power cut left open of this producer on {topic}-{partition} is being ended: retry"
    )]
    Ending {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
    /// `__transaction_state` could not be made.
    #[error("the transaction log cannot be made: {0}")]
    NoLog(Arc<TopicError>),
    /// The decision could not be written down; it was not taken.
    #[error("the transaction log cannot be written: {0}")]
    Log(Arc<ProduceError>),
    /// The transaction log does not read.
    #[error("the transaction log of shard {shard} does not read: {why}")]
    Load {
        /// Number of the partition of `__transaction_state`.
        shard: i32,
        /// What is wrong.
        why: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// A decision that has no form in the log; it was not taken.
    #[error(transparent)]
    Encode(RecordError),
    /// A record that does not follow from the state: a bug of ours, or a second writer of the log.
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
}

impl TransactionError {
    /// What a client of the newest version is told (`TransactionStateManager.appendTransactionToLog` for what the log says).
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Refused(error) => error.code(),
            Self::Id(error) => error.code(),
            Self::UnknownPartition { .. } => ErrorCode::UnknownTopicOrPartition,
            Self::NotEnrolled { .. } | Self::Torn { .. } => ErrorCode::TransactionAbortable,
            Self::NotLookedAt { .. } => ErrorCode::CoordinatorLoadInProgress,
            Self::Ending { .. } => ErrorCode::ConcurrentTransactions,
            Self::NoLog(_) => ErrorCode::CoordinatorNotAvailable,
            Self::Log(error) => coordinator_code(error.code()),
            Self::Load { .. } => ErrorCode::NotCoordinator,
            Self::Encode(_) => ErrorCode::UnknownServerError,
            Self::Illegal(error) => error.code(),
        }
    }
}

impl TransactionError {
    /// As the answer to a write that waited for the coordinator's word.
    pub(crate) fn into_produce(self) -> ProduceError {
        ProduceError::Transaction(Arc::new(self))
    }
}

impl From<ProduceError> for TransactionError {
    fn from(error: ProduceError) -> Self {
        Self::Log(Arc::new(error))
    }
}

/// What a coordinator tells its client of an error of its own log.
#[expect(clippy::wildcard_enum_match_arm, reason = "Kafka passes every other code on as it is")]
pub(crate) const fn coordinator_code(code: ErrorCode) -> ErrorCode {
    match code {
        ErrorCode::UnknownTopicOrPartition
        | ErrorCode::NotEnoughReplicas
        | ErrorCode::NotEnoughReplicasAfterAppend
        | ErrorCode::RequestTimedOut => ErrorCode::CoordinatorNotAvailable,
        ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError => ErrorCode::NotCoordinator,
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge => ErrorCode::UnknownServerError,
        code => code,
    }
}
