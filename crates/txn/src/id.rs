//! The name a transactional producer keeps across its lives, and the partition of the log that keeps its state.

use alloc::sync::Arc;
use core::fmt;

use hanbeon_records::ErrorCode;

/// Name of a transactional producer, chosen by the application and the same after each of its restarts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionalId(Arc<str>);

impl TransactionalId {
    /// The longest id in bytes: its length has to fit the 16 bits of the log's key.
    pub const LEN_MAX: usize = 32_767;

    /// Checks an id.
    ///
    /// # Errors
    /// Says whether it is empty or too long.
    pub fn new(id: &str) -> Result<Self, TransactionalIdError> {
        if id.is_empty() {
            return Err(TransactionalIdError::Empty);
        }
        if id.len() > Self::LEN_MAX {
            return Err(TransactionalIdError::TooLong { len: id.len() });
        }
        Ok(Self(id.into()))
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TransactionalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a text is not a transactional id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransactionalIdError {
    /// Nothing between the quotes.
    #[error("a transactional id has at least one character: set transactional.id")]
    Empty,
    /// More than [`TransactionalId::LEN_MAX`] bytes.
    #[error(
        "a transactional id has at most {} bytes, this one has {len}",
        TransactionalId::LEN_MAX
    )]
    TooLong {
        /// Bytes in the refused id.
        len: usize,
    },
}

impl TransactionalIdError {
    /// What a client is told.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Empty | Self::TooLong { .. } => ErrorCode::InvalidRequest,
        }
    }
}

/// Which of `partition_count` partitions of `__transaction_state` keeps the state of `id`.
///
/// Java's hash of the text's UTF-16 code units without its sign; the one hash that has no positive twin counts as 0
/// (`Utils.abs`). Clients do not compute it, but a log that Kafka wrote is laid out by it, and the count must never
/// change. A count below 1 has no partitions to choose from: 0.
#[must_use]
pub fn partition_for(id: &str, partition_count: i32) -> i32 {
    let hash = id
        .encode_utf16()
        .fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    if partition_count < 1 {
        return 0;
    }
    hash.checked_abs().unwrap_or(0) % partition_count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_javas() {
        for (id, partition) in [
            ("tx-1", 20),
            ("my-transactional-id", 46),
            ("polygenelubricants", 0),
            ("group", 47),
            ("\u{e9}\u{1f600}", 12),
        ] {
            assert_eq!(partition_for(id, 50), partition, "{id}");
        }
        assert_eq!(partition_for("tx-1", 1), 0);
        assert_eq!(partition_for("tx-1", 0), 0);
        assert_eq!(partition_for("tx-1", -7), 0);
    }

    #[test]
    fn ids_have_a_length_that_the_log_can_write() {
        assert_eq!(TransactionalId::new("").unwrap_err().code().number(), 42);
        let longest = "x".repeat(TransactionalId::LEN_MAX);
        assert!(TransactionalId::new(&longest).is_ok());
        let error = TransactionalId::new(&(longest + "x")).unwrap_err();
        assert_eq!(error, TransactionalIdError::TooLong { len: 32_768 });
        assert_eq!(error.code().number(), 42);
    }
}
