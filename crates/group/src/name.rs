//! Strings as the log can hold them.

use alloc::{string::String, sync::Arc};
use core::{borrow::Borrow, fmt};

use hanbeon_records::{ErrorCode, TopicName};

/// A string that fits the log's records: at most 32,767 bytes, because their strings have a 16-bit length.
///
/// Group ids, member ids, instance ids, client ids, hosts, topics and protocol names are of this type, so that nothing is accepted
/// that could not be written.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// The longest name in bytes.
    pub const LEN_MAX: usize = 32_767;

    /// Checks a string.
    ///
    /// # Errors
    /// When it is longer than [`LEN_MAX`](Self::LEN_MAX).
    pub fn new(text: &str) -> Result<Self, NameTooLong> {
        if text.len() > Self::LEN_MAX {
            return Err(NameTooLong { len: text.len() });
        }
        Ok(Self(text.into()))
    }

    /// The empty name: "no member id yet", or the group id of very old clients.
    #[must_use]
    pub fn empty() -> Self {
        Self("".into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it has no characters.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn joined(head: &Self, tail: &str) -> Result<Self, NameTooLong> {
        let mut text = String::with_capacity(head.0.len().saturating_add(tail.len()));
        text.push_str(&head.0);
        text.push_str(tail);
        Self::new(&text)
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<&TopicName> for Name {
    fn from(topic: &TopicName) -> Self {
        Self(topic.as_str().into()) // 249 bytes at most
    }
}

impl TryFrom<&str> for Name {
    type Error = NameTooLong;

    fn try_from(text: &str) -> Result<Self, NameTooLong> {
        Self::new(text)
    }
}

/// A string that the records of the log cannot hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name in a group has at most {} bytes, this one has {len}", Name::LEN_MAX)]
pub struct NameTooLong {
    /// Bytes in the refused string.
    pub len: usize,
}

impl NameTooLong {
    /// What a client is told.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        ErrorCode::InvalidRequest
    }
}

/// Sixteen bytes of chance, the part of a member id that makes it unique. Written as a UUID of version 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreshId([u8; 16]);

impl FreshId {
    /// Wraps 16 random bytes; the bits that say "random UUID" are set here.
    #[must_use]
    pub const fn new(random: [u8; 16]) -> Self {
        let mut raw = u128::from_be_bytes(random);
        raw &= !(0xf000_u128 << 64 | 0xc000_u128 << 48);
        raw |= 0x4000_u128 << 64 | 0x8000_u128 << 48;
        Self(raw.to_be_bytes())
    }

    pub(crate) const fn bytes(self) -> [u8; 16] {
        self.0
    }

    /// `prefix`, a dash, the UUID.
    pub(crate) fn member_id(self, prefix: &Name) -> Result<Name, NameTooLong> {
        let mut tail = String::with_capacity(37);
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 0 | 4 | 6 | 8 | 10) {
                tail.push('-');
            }
            for digit in [byte >> 4, byte & 0xf] {
                tail.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
            }
        }
        Name::joined(prefix, &tail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn member_ids_are_prefix_dash_uuid() {
        let name = Name::new("probe").unwrap();
        let id = FreshId::new([0xff; 16]).member_id(&name).unwrap();
        assert_eq!(id.as_str(), "probe-ffffffff-ffff-4fff-bfff-ffffffffffff");
        let id = FreshId::new([0; 16]).member_id(&Name::empty()).unwrap();
        assert_eq!(id.as_str(), "-00000000-0000-4000-8000-000000000000");
    }

    #[test]
    fn what_the_log_cannot_hold_is_no_name() {
        assert!(Name::new(&"x".repeat(32_767)).is_ok());
        assert_eq!(Name::new(&"x".repeat(32_768)), Err(NameTooLong { len: 32_768 }));
        let long = Name::new(&"x".repeat(32_731)).unwrap();
        assert!(FreshId::new([0; 16]).member_id(&long).is_err());
    }
}
