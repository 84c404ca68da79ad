//! The value of a committed offset, in every version.

use alloc::{sync::Arc, vec::Vec};

use hanbeon_records::{LeaderEpoch, Millis, Offset, TopicId};

use super::{
    RecordError,
    bytes::{Fields, Form, Writer},
};

/// Type of an offset's key; both have the same fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetKeyLayout {
    /// Key type 0, of old logs.
    V0,
    /// Key type 1, which is written.
    V1,
}

impl OffsetKeyLayout {
    pub(super) const fn number(self) -> i16 {
        match self {
            Self::V0 => 0,
            Self::V1 => 1,
        }
    }
}

/// Version of an offset's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OffsetLayout {
    /// Offset, metadata, commit time.
    V0,
    /// With an expiry time; written for commits that ask for a retention of their own.
    V1,
    /// As version 0.
    V2,
    /// With the leader epoch (KIP-320).
    V3,
    /// With tags; tag 0 is the topic's id (KAFKA-19141). Written.
    V4,
}

impl OffsetLayout {
    const ALL: [Self; 5] = [Self::V0, Self::V1, Self::V2, Self::V3, Self::V4];

    const fn number(self) -> i16 {
        match self {
            Self::V0 => 0,
            Self::V1 => 1,
            Self::V2 => 2,
            Self::V3 => 3,
            Self::V4 => 4,
        }
    }

    const fn form(self) -> Form {
        match self {
            Self::V0 | Self::V1 | Self::V2 | Self::V3 => Form::Fixed,
            Self::V4 => Form::Flexible,
        }
    }
}

/// A committed offset in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetValue {
    /// The version it has, or shall have; decides which of the other fields are written.
    pub layout: OffsetLayout,
    /// The next offset to read.
    pub offset: Offset,
    /// Leader epoch of the last record read (versions 3 and 4).
    pub leader_epoch: LeaderEpoch,
    /// The client's note.
    pub metadata: Arc<str>,
    /// When it was committed.
    pub commit_timestamp: Millis,
    /// When it ends, whatever the operator's retention is (version 1).
    pub expire_timestamp: Option<Millis>,
    /// Id of the topic (version 4, plain commits).
    pub topic_id: Option<TopicId>,
}

impl OffsetValue {
    pub(super) fn decode(value: &[u8]) -> Result<Self, RecordError> {
        let mut fields = Fields::new(value);
        let version = fields.i16()?;
        let layout = OffsetLayout::ALL
            .into_iter()
            .find(|layout| layout.number() == version)
            .ok_or(RecordError::Version { key_type: 1, found: version, max: 4 })?;
        let offset = Offset::new(fields.i64()?);
        let leader_epoch = match layout {
            OffsetLayout::V3 | OffsetLayout::V4 => LeaderEpoch::new(fields.i32()?),
            OffsetLayout::V0 | OffsetLayout::V1 | OffsetLayout::V2 => LeaderEpoch::UNKNOWN,
        };
        let metadata = fields.long_string(layout.form())?;
        let commit_timestamp = Millis::new(fields.i64()?);
        let expire_timestamp = match layout {
            OffsetLayout::V1 => Some(Millis::new(fields.i64()?)).filter(|at| *at != Millis::NONE),
            OffsetLayout::V0 | OffsetLayout::V2 | OffsetLayout::V3 | OffsetLayout::V4 => None,
        };
        let mut topic_id = None;
        if layout == OffsetLayout::V4 {
            fields.tags(|tag, bytes| {
                if tag == 0 {
                    let mut field = Fields::new(bytes);
                    topic_id = Some(TopicId::new(field.uuid()?)).filter(|id| *id != TopicId::ZERO);
                    field.end()?;
                }
                Ok(())
            })?;
        }
        fields.end()?;
        Ok(Self {
            layout,
            offset,
            leader_epoch,
            metadata,
            commit_timestamp,
            expire_timestamp,
            topic_id,
        })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = Writer(&mut bytes);
        writer.i16(self.layout.number());
        writer.i64(self.offset.get());
        if self.layout >= OffsetLayout::V3 {
            writer.i32(self.leader_epoch.get());
        }
        writer.string(self.layout.form(), &self.metadata);
        writer.i64(self.commit_timestamp.get());
        if self.layout == OffsetLayout::V1 {
            writer.i64(self.expire_timestamp.unwrap_or(Millis::NONE).get());
        }
        if self.layout == OffsetLayout::V4 {
            match self.topic_id {
                Some(id) => {
                    writer.uvarint(1);
                    writer.uvarint(0);
                    writer.uvarint(16);
                    writer.raw(&id.get());
                }
                None => writer.uvarint(0),
            }
        }
        bytes
    }
}
