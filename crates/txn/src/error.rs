//! Why a request is refused, and what a client of which version is told.

use core::fmt;

use hanbeon_records::{ErrorCode, Millis, Outcome};

use crate::{BrokenRule, Cause, Producer, State, TransactionalId};

/// A refusal of the coordinator. Nothing has changed, except where the decision that carries it also carries a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TxnError {
    /// A producer id without epoch, or the reverse.
    #[error(
        "producer id {id} with epoch {epoch}: a producer sends both, or -1 and -1 when it has none yet"
    )]
    HalfAnIdentity {
        /// The request's producer id.
        id: i64,
        /// The request's epoch.
        epoch: i16,
    },
    /// A timeout that the operator does not allow.
    #[error(
        "a transaction timeout is 1 to {max} ms (transaction.max.timeout.ms), got {got}: set transaction.timeout.ms"
    )]
    InvalidTimeout {
        /// What the request said.
        got: i32,
        /// The longest allowed.
        max: i32,
    },
    /// A transaction without timeout was asked for and the operator did not allow them.
    #[error(
        "two-phase commit is off here: set transaction.two.phase.commit.enable on the broker or not on the client"
    )]
    TwoPhaseCommitOff,
    /// `keepPreparedTxn` was asked for.
    #[error("a prepared transaction cannot be kept across InitProducerId yet (KIP-939)")]
    KeepPreparedUnsupported,
    /// A fresh producer id is needed and there is none at the moment.
    #[error("no producer id is at hand, a block of them is on its way: retry")]
    NoProducerId,
    /// An id that was never initialised, or that expired.
    #[error(
        "transactional id {id} is not known here: it was never initialised or it expired; initialise the producer again"
    )]
    UnknownId {
        /// The request's id.
        id: TransactionalId,
    },
    /// The id belongs to another producer id.
    #[error(
        "transactional id {id} belongs to producer {current}, the request came from producer {got}: initialise the producer again"
    )]
    OtherProducer {
        /// Whose state it is.
        id: TransactionalId,
        /// Who may use it.
        current: Producer,
        /// Who tried.
        got: Producer,
    },
    /// A zombie, or a producer whose transaction the coordinator ended.
    #[error(
        "producer {got} of transactional id {id} is fenced, {current} is current{}: only the current instance goes on", Since(*fence)
    )]
    Fenced {
        /// Whose state it is.
        id: TransactionalId,
        /// Who may use it.
        current: Producer,
        /// Who tried.
        got: Producer,
        /// What made the current pair, unless it was before this coordinator was loaded.
        fence: Option<Fence>,
    },
    /// The commit met a transaction that the coordinator had aborted (KAFKA-20785). `PRODUCER_FENCED`, which clients
    /// handle, and not `INVALID_TXN_STATE`, which none survives.
    #[error(
        "the transaction of producer {got} under {id} was aborted before its commit arrived{}: its writes are void, abort and begin anew", Since(*fence)
    )]
    AbortedBeforeCommit {
        /// Whose state it is.
        id: TransactionalId,
        /// Who tried.
        got: Producer,
        /// What ended it, unless it was before this coordinator was loaded.
        fence: Option<Fence>,
    },
    /// The last transaction of the id is decided and its markers are still on their way.
    #[error("the last transaction of {id} is in {state}, its markers are on their way: retry")]
    ConcurrentTransactions {
        /// Whose state it is.
        id: TransactionalId,
        /// [`State::PrepareCommit`] or [`State::PrepareAbort`].
        state: State,
    },
    /// `InitProducerId` found an open transaction, which is aborted first: this refusal comes with a record.
    #[error("an open transaction of {id} is being aborted first: retry")]
    AbortingFirst {
        /// Whose state it is.
        id: TransactionalId,
    },
    /// There is nothing to end in that way.
    #[error("{id} is in {state}: nothing to {}", verb(*asked))]
    InvalidState {
        /// Whose state it is.
        id: TransactionalId,
        /// The state it is in.
        state: State,
        /// How it was to be ended.
        asked: Outcome,
    },
    /// A [`crate::Completion`] of a transaction that is complete already.
    #[error("{id} is in {state}: the markers that were reported belong to an earlier transaction")]
    NothingOwed {
        /// Whose state it is.
        id: TransactionalId,
        /// The state it is in; [`State::Dead`] when the id is gone.
        state: State,
    },
}

/// What made the pair of producer id and epoch that is current, as far as this coordinator's life remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fence {
    /// Why the pair changed.
    pub cause: Cause,
    /// When.
    pub at: Millis,
    /// The pair before it.
    pub before: Producer,
}

struct Since(Option<Fence>);

impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => Ok(()),
            Some(Fence { cause, at, before }) => {
                write!(f, " ({cause} at {at} ms ended {before})")
            }
        }
    }
}

const fn verb(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Commit => "commit",
        Outcome::Abort => "abort",
    }
}

impl TxnError {
    /// What a client of the newest version is told; see [`code_for`] for older ones.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::HalfAnIdentity { .. } => ErrorCode::InvalidRequest,
            Self::InvalidTimeout { .. } => ErrorCode::InvalidTransactionTimeout,
            Self::TwoPhaseCommitOff => ErrorCode::TransactionalIdAuthorizationFailed,
            Self::KeepPreparedUnsupported => ErrorCode::UnsupportedVersion,
            Self::NoProducerId => ErrorCode::CoordinatorLoadInProgress,
            Self::UnknownId { .. } | Self::OtherProducer { .. } => {
                ErrorCode::InvalidProducerIdMapping
            }
            Self::Fenced { .. } | Self::AbortedBeforeCommit { .. } => ErrorCode::ProducerFenced,
            Self::ConcurrentTransactions { .. } | Self::AbortingFirst { .. } => {
                ErrorCode::ConcurrentTransactions
            }
            Self::InvalidState { .. } | Self::NothingOwed { .. } => ErrorCode::InvalidTxnState,
        }
    }
}

/// The requests whose older versions know fewer error codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// `InitProducerId`, 22.
    InitProducerId,
    /// `AddPartitionsToTxn`, 24.
    AddPartitionsToTxn,
    /// `AddOffsetsToTxn`, 25.
    AddOffsetsToTxn,
    /// `EndTxn`, 26.
    EndTxn,
}

/// The code a client of this request version can understand: `PRODUCER_FENCED` came with KIP-588, before it a fenced
/// producer was told `INVALID_PRODUCER_EPOCH`; `TRANSACTION_ABORTABLE` came with KIP-890, before it there was `INVALID_TXN_STATE`.
#[must_use]
pub const fn code_for(code: ErrorCode, api: Api, version: i16) -> ErrorCode {
    let fenced_since = match api {
        Api::InitProducerId => 4,
        Api::AddPartitionsToTxn | Api::AddOffsetsToTxn | Api::EndTxn => 2,
    };
    if matches!(code, ErrorCode::ProducerFenced) && version < fenced_since {
        return ErrorCode::InvalidProducerEpoch;
    }
    let abortable_since = match api {
        Api::InitProducerId | Api::AddPartitionsToTxn => 5,
        Api::AddOffsetsToTxn | Api::EndTxn => 4,
    };
    if matches!(code, ErrorCode::TransactionAbortable) && version < abortable_since {
        return ErrorCode::InvalidTxnState;
    }
    code
}

/// A record that does not follow from the state it was applied to: a bug of the caller, or a second writer of the log.
/// Nothing was changed; stop serving the partition and load it again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record of {id} leads from {} to {to}: {rule}", Name(*from))]
pub struct IllegalTransition {
    /// Whose record it is.
    pub id: TransactionalId,
    /// State before it; `None` when the id is unknown.
    pub from: Option<State>,
    /// State it asks for.
    pub to: State,
    /// What it breaks.
    pub rule: BrokenRule,
}

struct Name(Option<State>);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or("nothing", State::name).fmt(f)
    }
}

impl IllegalTransition {
    /// What a client is told whose request led here.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        ErrorCode::UnknownServerError
    }
}
