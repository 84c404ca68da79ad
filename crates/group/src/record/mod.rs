//! The records of `__consumer_offsets`: one key and one value each, a value of nothing being a tombstone.

pub(crate) mod bytes;
pub mod consumer;
mod metadata;
mod offset;

use alloc::{sync::Arc, vec::Vec};

use hanbeon_records::ErrorCode;

pub use metadata::{GroupMetadata, MetadataLayout, MetadataMember};
pub use offset::{OffsetKeyLayout, OffsetLayout, OffsetValue};

use crate::Name;
use bytes::{Fields, Form, Writer};

/// One record of `__consumer_offsets`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Record {
    /// Key types 0 and 1: an offset was committed, or forgotten.
    Offset {
        /// Which of the two key types.
        layout: OffsetKeyLayout,
        /// Whose.
        group: Name,
        /// Of which topic.
        topic: Name,
        /// Of which partition.
        partition: i32,
        /// What was committed; none forgets it.
        value: Option<OffsetValue>,
    },
    /// Key type 2: a classic group as it stood, or its end.
    Group {
        /// Which.
        group: Name,
        /// How it stood; none ends it.
        value: Option<GroupMetadata>,
    },
    /// Key types 3 to 8 and 16, a KIP-848 group's, with its bytes as they are; they read as a
    /// [`consumer::ConsumerRecord`].
    Consumer {
        /// Whose.
        group: Name,
        /// Type of the key.
        key_type: i16,
        /// The whole key.
        key: Arc<[u8]>,
        /// The value; none is a tombstone.
        value: Option<Arc<[u8]>>,
    },
    /// Any other key type: share and streams groups, and what later releases bring. Nothing is known of it.
    Unknown {
        /// Type of the key.
        key_type: i16,
    },
}

/// A record that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// A record of this log has a key.
    #[error("a record of __consumer_offsets has no key")]
    NoKey,
    /// It ends within a field.
    #[error("the bytes end at {at} within a field")]
    Truncated {
        /// How many bytes were read before it.
        at: usize,
    },
    /// A length that no field has.
    #[error("the length at byte {at} is none a field can have")]
    Length {
        /// Where it stands.
        at: usize,
    },
    /// A string of other than UTF-8.
    #[error("the string at byte {at} is no UTF-8")]
    Text {
        /// Where it stands.
        at: usize,
    },
    /// Null in a field that always has a value.
    #[error("null before byte {at} in a field that always has a value")]
    Null {
        /// Where the field ends.
        at: usize,
    },
    /// A value of a version that nobody knows.
    #[error(
        "value version {found} of key type {key_type}, known are 0 to {max}: a later Kafka wrote it"
    )]
    Version {
        /// Type of the key.
        key_type: i16,
        /// What the value says.
        found: i16,
        /// The last that is known.
        max: i16,
    },
    /// A record of a KIP-848 group.
    #[error(transparent)]
    Consumer(#[from] consumer::RecordError),
    /// More bytes than the fields need.
    #[error("{left} bytes are left behind the last field")]
    Trailing {
        /// How many.
        left: usize,
    },
}

impl RecordError {
    /// What a client is told whose group cannot be read.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::NoKey
            | Self::Truncated { .. }
            | Self::Length { .. }
            | Self::Text { .. }
            | Self::Null { .. }
            | Self::Version { .. }
            | Self::Trailing { .. } => ErrorCode::CorruptMessage,
            Self::Consumer(error) => error.code(),
        }
    }
}

impl Record {
    /// Reads a key and a value as they stand in the log.
    ///
    /// # Errors
    /// When a record of a known type cannot be read.
    pub fn decode(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Self, RecordError> {
        let whole = key.ok_or(RecordError::NoKey)?;
        let mut key = Fields::new(whole);
        match key.i16()? {
            key_type @ (0 | 1) => {
                let group = key.string(Form::Fixed)?;
                let topic = key.string(Form::Fixed)?;
                let partition = key.i32()?;
                key.end()?;
                let value = value.map(OffsetValue::decode).transpose()?;
                let layout = if key_type == 0 { OffsetKeyLayout::V0 } else { OffsetKeyLayout::V1 };
                Ok(Self::Offset { layout, group, topic, partition, value })
            }
            2 => {
                let group = key.string(Form::Fixed)?;
                key.end()?;
                Ok(Self::Group { group, value: value.map(GroupMetadata::decode).transpose()? })
            }
            key_type @ (3..=8 | 16) => {
                consumer::ConsumerRecord::decode(whole, value)?;
                let group = key.string(Form::Fixed)?;
                Ok(Self::Consumer {
                    group,
                    key_type,
                    key: whole.into(),
                    value: value.map(Into::into),
                })
            }
            key_type => Ok(Self::Unknown { key_type }),
        }
    }

    /// The key's bytes; none where nothing is known of the record.
    #[must_use]
    pub fn key(&self) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut writer = Writer(&mut bytes);
        match self {
            Self::Offset { layout, group, topic, partition, .. } => {
                writer.i16(layout.number());
                writer.string(Form::Fixed, group.as_str());
                writer.string(Form::Fixed, topic.as_str());
                writer.i32(*partition);
            }
            Self::Group { group, .. } => {
                writer.i16(2);
                writer.string(Form::Fixed, group.as_str());
            }
            Self::Consumer { key, .. } => writer.raw(key),
            Self::Unknown { .. } => return None,
        }
        Some(bytes)
    }

    /// The value's bytes; none for a tombstone.
    #[must_use]
    pub fn value(&self) -> Option<Vec<u8>> {
        match self {
            Self::Offset { value, .. } => value.as_ref().map(OffsetValue::encode),
            Self::Group { value, .. } => value.as_ref().map(GroupMetadata::encode),
            Self::Consumer { value, .. } => value.as_ref().map(|value| value.to_vec()),
            Self::Unknown { .. } => None,
        }
    }

    /// The group it speaks of.
    #[must_use]
    pub const fn group(&self) -> Option<&Name> {
        match self {
            Self::Offset { group, .. }
            | Self::Group { group, .. }
            | Self::Consumer { group, .. } => Some(group),
            Self::Unknown { .. } => None,
        }
    }
}
