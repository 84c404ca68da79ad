//! Whether a batch belongs to a transaction.

use hanbeon_records::Attributes;

/// Whether a batch belongs to a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BatchKind {
    /// It does not.
    Plain,
    /// It does.
    Transactional,
}

impl BatchKind {
    /// The kind in a batch's attributes.
    #[must_use]
    pub const fn of(attributes: Attributes) -> Self {
        if attributes.is_transactional() { Self::Transactional } else { Self::Plain }
    }
}
