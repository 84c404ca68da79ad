//! What goes wrong in a store, and with the rows in it.

use std::io;

use hanbeon_records::ErrorCode;

use crate::{ImageError, Key, SessionId};

/// What is wrong with bytes that should be a sealed record or value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// They end before they should.
    #[error("{needed} bytes are needed, {found} are there")]
    Short {
        /// Bytes that the header asks for, or a header's length.
        needed: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// There are more than there should be.
    #[error("{extra} bytes follow the value")]
    Long {
        /// How many.
        extra: usize,
    },
    /// The checksum does not fit.
    #[error("the checksum is {stored:#010x}, the bytes give {computed:#010x}")]
    Checksum {
        /// As stored.
        stored: u32,
        /// As computed over what is there.
        computed: u32,
    },
    /// The checksum fits, but the payload does not decode.
    #[error("the payload is no {what}")]
    Payload {
        /// What it should be.
        what: &'static str,
    },
    /// A record does not follow the one before it.
    #[error("revision {expected} was expected, {found} found")]
    Order {
        /// The revision that should follow.
        expected: u64,
        /// The one that is there.
        found: u64,
    },
    /// The file does not begin with the record that every such file begins with.
    #[error("the file does not begin with a base record")]
    NoBase,
}

/// A store cannot do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The storage failed. After this the store answers nothing more until it is opened again.
    #[error("{file}: {source}")]
    Io {
        /// Which file or directory.
        file: String,
        /// What it reported.
        source: io::Error,
    },
    /// A write failed earlier: what is durable is known only after opening the store again.
    #[error("the metadata store failed earlier and answers nothing until it is opened again")]
    Poisoned,
    /// The file is damaged in a place that no interrupted write explains.
    #[error(
        "{file} is damaged at byte {offset}: {damage}; restore it from a copy, or look at it before going on"
    )]
    Corrupt {
        /// Which file.
        file: String,
        /// Where the damaged record begins, bytes.
        offset: u64,
        /// What is wrong.
        damage: Damage,
    },
    /// The file was written by a later release.
    #[error(
        "{file} has format version {found}, this release knows up to {known}: open it with a later release"
    )]
    NewerFormat {
        /// Which file.
        file: String,
        /// The file's version.
        found: u16,
        /// The latest one known here.
        known: u16,
    },
    /// More than [`crate::Limits`] allow.
    #[error("the transaction carries {found} {what}, at most {limit} are allowed")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: usize,
        /// What the transaction carries.
        found: usize,
    },
    /// One transaction writes a key twice.
    #[error("the transaction writes {key} twice")]
    WrittenTwice {
        /// Which key.
        key: Key,
    },
    /// A key was to be bound to a session that is over or never was.
    #[error("session {session} is over: begin a new one")]
    NoSession {
        /// Which session.
        session: SessionId,
    },
    /// Two transactions in a row changed what this one was built on; trying once more may help.
    #[error("{key} was changed by others {attempts} times in a row")]
    Contended {
        /// Which key.
        key: Key,
        /// How often it was tried.
        attempts: u32,
    },
    /// A row does not read.
    #[error(transparent)]
    Row(#[from] RowError),
    /// The rows make no sense together.
    #[error(transparent)]
    Image(#[from] ImageError),
}

impl StoreError {
    /// The code a client sees.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Io { .. } | Self::Poisoned | Self::Corrupt { .. } | Self::NewerFormat { .. } => {
                ErrorCode::KafkaStorageError
            }
            Self::TooLarge { .. } => ErrorCode::PolicyViolation,
            Self::WrittenTwice { .. } | Self::NoSession { .. } => ErrorCode::UnknownServerError,
            Self::Contended { .. } => ErrorCode::RequestTimedOut,
            Self::Row(error) => error.code(),
            Self::Image(error) => error.code(),
        }
    }
}

/// A row of the metadata does not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RowError {
    /// Its bytes are damaged.
    #[error("the {kind} row is damaged: {damage}")]
    Damaged {
        /// What kind of row.
        kind: &'static str,
        /// What is wrong.
        damage: Damage,
    },
    /// It was written by a later release.
    #[error(
        "the {kind} row has version {found}, this release knows up to {known}: use a later release"
    )]
    Newer {
        /// What kind of row.
        kind: &'static str,
        /// The row's version.
        found: u16,
        /// The latest one known here.
        known: u16,
    },
}

impl RowError {
    /// The code a client sees.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Damaged { .. } | Self::Newer { .. } => ErrorCode::KafkaStorageError,
        }
    }
}
