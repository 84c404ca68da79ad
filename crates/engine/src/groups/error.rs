//! Why a request about a group is not carried out by the engine.

use std::sync::Arc;

use hanbeon_group::{GroupError, NameTooLong};
use hanbeon_log::Abandoned;
use hanbeon_records::ErrorCode;

use crate::{ProduceError, TopicError, TransactionError, transactions::coordinator_code};

/// A request about a group that was not carried out.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GroupsError {
    /// The coordinator refuses it.
    #[error(transparent)]
    Refused(#[from] GroupError),
    /// A name that no record can hold.
    #[error(transparent)]
    Name(#[from] NameTooLong),
    /// `__consumer_offsets` could not be made.
    #[error("the log of offsets cannot be made: {0}")]
    NoLog(Arc<TopicError>),
    /// What was decided could not be made durable.
    #[error("the log of offsets cannot be written: {0}")]
    Log(Arc<ProduceError>),
    /// The log of offsets does not read.
    #[error("the log of offsets of shard {shard} does not read: {why}")]
    Load {
        /// Number of the partition of `__consumer_offsets`.
        shard: i32,
        /// What is wrong.
        why: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The transaction coordinator does not let offsets into the transaction.
    #[error(transparent)]
    Transaction(#[from] TransactionError),
    /// The engine stopped before it answered.
    #[error(transparent)]
    Abandoned(#[from] Abandoned),
}

impl GroupsError {
    /// What a client is told.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Refused(error) => error.code(),
            Self::Name(error) => error.code(),
            Self::NoLog(_) => ErrorCode::CoordinatorNotAvailable,
            Self::Log(error) => coordinator_code(error.code()),
            Self::Load { .. } | Self::Abandoned(_) => ErrorCode::NotCoordinator,
            Self::Transaction(error) => error.code(),
        }
    }
}

impl From<ProduceError> for GroupsError {
    fn from(error: ProduceError) -> Self {
        Self::Log(Arc::new(error))
    }
}
