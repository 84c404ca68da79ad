//! What a decision consists of: a record for the log and an answer for the client.

use alloc::vec::Vec;
use core::fmt;

use crate::{Protocol, RecordError, TransactionalId, TxnError, TxnValue, ValueVersion, encode_key};

/// Bytes of a key beside its id.
const KEY_BYTES: usize = 4;
/// Room for a value with a few partitions.
const VALUE_BYTES: usize = 192;

/// The outcome of a request: what is to be logged and what is to be answered.
///
/// ```text
///  decide(&self) -> Decision { record, reply }
///                               |
///        append to the log, wait until it is committed
///                               |
///                         apply(&mut self, &record)
///                               |
///                         answer with the reply
/// ```
///
/// A decision may log *and* refuse: `InitProducerId` on an open transaction logs its abort and tells the client to come
/// again. When the append fails nothing has changed; answer with the append's error and forget the decision. Between a
/// decision and its record's application no other decision for the same id may be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Decision<R> {
    /// What to log before anyone hears of it; `None` when nothing changes.
    pub record: Option<Record>,
    /// What to answer once it is committed and applied.
    pub reply: Result<R, TxnError>,
}

impl<R> Decision<R> {
    pub(crate) const fn log(record: Record, reply: R) -> Self {
        Self { record: Some(record), reply: Ok(reply) }
    }

    pub(crate) const fn answer(reply: R) -> Self {
        Self { record: None, reply: Ok(reply) }
    }

    pub(crate) const fn refuse(error: TxnError) -> Self {
        Self { record: None, reply: Err(error) }
    }
}

/// One record for the log: the whole state of an id after a decision, or its end.
///
/// Comes from a decision; what was read from a log goes to [`crate::Coordinator::replay`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    pub(crate) id: TransactionalId,
    /// `None` is a tombstone.
    pub(crate) value: Option<TxnValue>,
    /// Why; not logged.
    pub(crate) cause: Cause,
}

impl Record {
    /// A record by hand, for tools and tests: [`crate::Coordinator::apply`] checks it like any other.
    #[must_use]
    pub const fn new(id: TransactionalId, value: Option<TxnValue>, cause: Cause) -> Self {
        Self { id, value, cause }
    }

    pub(crate) fn of(id: &TransactionalId, value: TxnValue, cause: Cause) -> Self {
        Self { id: id.clone(), value: Some(value), cause }
    }

    /// Whose state it is.
    #[must_use]
    pub const fn id(&self) -> &TransactionalId {
        &self.id
    }

    /// The state; `None` when the id is forgotten.
    #[must_use]
    pub const fn value(&self) -> Option<&TxnValue> {
        self.value.as_ref()
    }

    /// Why it came to be.
    #[must_use]
    pub const fn cause(&self) -> Cause {
        self.cause
    }

    /// Key and value as they are appended to the log; no value is a tombstone.
    ///
    /// What is of [`Protocol::V2`] takes the form [`ValueVersion::V1`] whatever `version` says: the older one has room neither for the rules
    /// of the markers nor for the producer id of the next transaction.
    ///
    /// # Errors
    /// Only for a value that was made by hand: [`TxnValue::encode`].
    pub fn encode(&self, version: ValueVersion) -> Result<(Vec<u8>, Option<Vec<u8>>), RecordError> {
        let mut key = Vec::with_capacity(KEY_BYTES.saturating_add(self.id.as_str().len()));
        encode_key(&self.id, &mut key);
        let Some(value) = &self.value else { return Ok((key, None)) };
        let mut bytes = Vec::with_capacity(VALUE_BYTES);
        let version = match value.protocol() {
            Protocol::V1 => version,
            Protocol::V2 => ValueVersion::V1,
        };
        value.encode(version, &mut bytes)?;
        Ok((key, Some(bytes)))
    }
}

/// What led to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// `InitProducerId` gave the id a producer.
    Initialised,
    /// Partitions were enrolled.
    Enrolled,
    /// The client ended its transaction.
    Ended,
    /// `InitProducerId` met an open transaction and aborts it.
    Fenced,
    /// The transaction was open for too long.
    TimedOut,
    /// All markers are written.
    Completed,
    /// The id was idle for too long.
    Expired,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Initialised => "InitProducerId",
            Self::Enrolled => "an enrolment",
            Self::Ended => "EndTxn",
            Self::Fenced => "an InitProducerId during the transaction",
            Self::TimedOut => "the transaction timeout",
            Self::Completed => "the completion of the last transaction",
            Self::Expired => "the expiration of the transactional id",
        })
    }
}
