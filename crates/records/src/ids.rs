//! Numbers with a meaning, each its own type, so that an epoch cannot be passed where an offset is asked for.

use alloc::{string::String, sync::Arc};
use core::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::ErrorCode;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($int:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $name($int);

        impl $name {
            /// Wraps the raw number as it stands on disk and on the wire.
            #[must_use]
            pub const fn new(raw: $int) -> Self {
                Self(raw)
            }

            /// The raw number.
            #[must_use]
            pub const fn get(self) -> $int {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// Position of a record in a partition; the first is 0.
    Offset(i64)
}
id! {
    /// Names one producer to the partitions it writes to (KIP-98); -1 means none.
    ProducerId(i64)
}
id! {
    /// Incarnation of a producer id; a higher one fences the lower ones. -1 means none.
    ProducerEpoch(i16)
}
id! {
    /// Incarnation of a partition's leader (KIP-101); -1 means unknown.
    LeaderEpoch(i32)
}
id! {
    /// Incarnation of a transaction coordinator, carried by its markers; -1 means none seen.
    CoordinatorEpoch(i32)
}
id! {
    /// Counts the changes of a partition's registration, one each (KIP-497); -1 means unknown.
    PartitionEpoch(i32)
}
id! {
    /// Identity of one process life of a broker (KIP-380, KIP-903); -1 means unknown.
    BrokerEpoch(i64)
}
id! {
    /// Number of a broker in its cluster.
    NodeId(i32)
}
id! {
    /// Milliseconds since the Unix epoch; -1 means no time.
    Millis(i64)
}

impl Offset {
    /// The first offset of a partition that never lost its head.
    pub const ZERO: Self = Self(0);

    /// The offset `count` further on, or `None` where that has no 64-bit form.
    #[must_use]
    pub const fn checked_add(self, count: i64) -> Option<Self> {
        match self.0.checked_add(count) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// The offset `count` further on, held at the largest 64-bit number.
    #[must_use]
    pub const fn saturating_add(self, count: i64) -> Self {
        Self(self.0.saturating_add(count))
    }

    /// How many offsets lie between `earlier` and this one; negative when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl ProducerId {
    /// No producer id: the batch takes no part in deduplication.
    pub const NONE: Self = Self(-1);

    /// Whether this names a producer.
    #[must_use]
    pub const fn is_some(self) -> bool {
        self.0 > -1
    }
}

impl ProducerEpoch {
    /// No epoch.
    pub const NONE: Self = Self(-1);
}

impl LeaderEpoch {
    /// Unknown leader epoch.
    pub const UNKNOWN: Self = Self(-1);
}

impl PartitionEpoch {
    /// Unknown partition epoch.
    pub const UNKNOWN: Self = Self(-1);
}

impl BrokerEpoch {
    /// Unknown broker epoch.
    pub const UNKNOWN: Self = Self(-1);
}

impl CoordinatorEpoch {
    /// No marker of this producer was seen.
    pub const NONE: Self = Self(-1);
}

impl Millis {
    /// No time.
    pub const NONE: Self = Self(-1);

    /// Milliseconds from `earlier` to this moment; negative when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The moment `ms` milliseconds later.
    #[must_use]
    pub const fn saturating_add(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

/// Number of a record among those one producer sent to one partition in one epoch.
///
/// 31 bits wide: after `i32::MAX` comes 0, so there is no order between two of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sequence(u32);

impl Sequence {
    /// The first sequence of an epoch.
    pub const ZERO: Self = Self(0);

    /// The sequence a header field holds, or `None` when the field says that there is none (it is negative).
    #[must_use]
    pub const fn new(raw: i32) -> Option<Self> {
        if raw < 0 { None } else { Some(Self(raw.cast_unsigned())) }
    }

    /// The raw number, 0 to `i32::MAX`.
    #[must_use]
    pub const fn get(self) -> i32 {
        self.0.cast_signed()
    }

    /// The sequence `count` further on in the ring.
    #[must_use]
    pub const fn advance(self, count: u32) -> Self {
        Self(self.0.wrapping_add(count) & 0x7fff_ffff)
    }

    /// The sequence `count` before this one in the ring.
    #[must_use]
    pub const fn go_back(self, count: u32) -> Self {
        Self(self.0.wrapping_sub(count) & 0x7fff_ffff)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A topic's name in the form that Kafka allows: 1 to 249 of `[a-zA-Z0-9._-]`, and neither `.` nor `..`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

impl TopicName {
    /// The longest name in bytes (`org.apache.kafka.common.internals.Topic`).
    pub const LEN_MAX: usize = 249;

    /// Checks a name.
    ///
    /// # Errors
    /// Says which rule the name breaks.
    pub fn new(name: &str) -> Result<Self, TopicNameError> {
        if name.is_empty() {
            return Err(TopicNameError::Empty);
        }
        if name == "." || name == ".." {
            return Err(TopicNameError::Dots);
        }
        if name.len() > Self::LEN_MAX {
            return Err(TopicNameError::TooLong { len: name.len() });
        }
        match name.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))) {
            Some(found) => Err(TopicNameError::Character { found }),
            None => Ok(Self(name.into())),
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a text is not a topic name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopicNameError {
    /// Nothing between the quotes.
    #[error("a topic name has at least one character")]
    Empty,
    /// A name that a file system reads as a way.
    #[error("a topic name is neither '.' nor '..'")]
    Dots,
    /// More than [`TopicName::LEN_MAX`] bytes.
    #[error("a topic name has at most {} characters, this one has {len}", TopicName::LEN_MAX)]
    TooLong {
        /// Bytes in the refused name.
        len: usize,
    },
    /// Something outside `[a-zA-Z0-9._-]`.
    #[error("a topic name is made of a-z, A-Z, 0-9, '.', '_' and '-'; found {found:?}")]
    Character {
        /// The first character that does not belong.
        found: char,
    },
}

impl TopicNameError {
    /// What a client is told.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Empty | Self::Dots | Self::TooLong { .. } | Self::Character { .. } => {
                ErrorCode::InvalidTopicException
            }
        }
    }
}

/// One partition of one topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: TopicName,
    /// The partition's number, from 0.
    pub partition: i32,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// A topic's identity (KIP-516): a topic created again under the same name has another one.
///
/// Written as 22 characters of URL-safe base64 without padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId([u8; 16]);

impl TopicId {
    /// No id.
    pub const ZERO: Self = Self([0; 16]);

    /// Wraps the 16 bytes as they stand on the wire.
    #[must_use]
    pub const fn new(raw: [u8; 16]) -> Self {
        Self(raw)
    }

    /// The 16 bytes.
    #[must_use]
    pub const fn get(self) -> [u8; 16] {
        self.0
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl FromStr for TopicId {
    type Err = TopicIdError;

    fn from_str(text: &str) -> Result<Self, TopicIdError> {
        let mut raw = [0; 16];
        match URL_SAFE_NO_PAD.decode_slice(text, &mut raw) {
            Ok(16) => Ok(Self(raw)),
            Ok(_) | Err(_) => Err(TopicIdError { found: text.into() }),
        }
    }
}

/// A text that is not 22 characters of URL-safe base64.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a topic id is 22 characters of URL-safe base64, found {found:?}")]
pub struct TopicIdError {
    /// The refused text.
    pub found: String,
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn sequences_wrap_at_31_bits() {
        let last = Sequence::new(i32::MAX).unwrap();
        assert_eq!(last.advance(1), Sequence::ZERO);
        assert_eq!(Sequence::ZERO.go_back(1), last);
        assert_eq!(Sequence::new(2_147_483_637).unwrap().advance(20).get(), 9);
        assert_eq!(Sequence::new(9).unwrap().go_back(20).get(), 2_147_483_637);
        assert_eq!(Sequence::new(-1), None);
    }

    #[test]
    fn topic_names_are_kafkas() {
        for good in ["a", "A.b_c-9", "__consumer_offsets", &"x".repeat(249)] {
            assert!(TopicName::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "\u{e9}", &"x".repeat(250)] {
            assert!(TopicName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn topic_ids_read_what_they_write() {
        let id: TopicId = "1HzfqvfWSICkuWvbNCFg3Q".parse().unwrap();
        assert_eq!(id.to_string(), "1HzfqvfWSICkuWvbNCFg3Q");
        assert!("1HzfqvfWSICkuWvbNCFg3".parse::<TopicId>().is_err());
        assert!("1HzfqvfWSICkuWvbNCFg3Q==".parse::<TopicId>().is_err());
    }
}
