//! The value of a classic group, in every version.

use alloc::{sync::Arc, vec::Vec};

use hanbeon_records::Millis;

use super::{
    RecordError,
    bytes::{Fields, Form, Writer},
};
use crate::Name;

/// Version of a group's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MetadataLayout {
    /// Members without a rebalance timeout.
    V0,
    /// With it (KIP-62).
    V1,
    /// With the time of the last change of state (KIP-211).
    V2,
    /// With instance ids (KIP-345). Written.
    V3,
    /// As version 3 with varint lengths and tags.
    V4,
}

impl MetadataLayout {
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

/// A classic group in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMetadata {
    /// The version it has, or shall have.
    pub layout: MetadataLayout,
    /// Kind of group; empty before the first member joined.
    pub protocol_type: Name,
    /// The generation; 0 before the first.
    pub generation: i32,
    /// The chosen protocol.
    pub protocol: Option<Name>,
    /// Who assigns.
    pub leader: Option<Name>,
    /// When it came into this state (version 2 and up).
    pub current_state_timestamp: Option<Millis>,
    /// The members.
    pub members: Vec<MetadataMember>,
}

/// A member of a classic group in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataMember {
    /// Its id.
    pub member_id: Name,
    /// Its instance id when it is static (version 3 and up).
    pub instance_id: Option<Name>,
    /// The client id it joined with.
    pub client_id: Name,
    /// The address it joined from.
    pub client_host: Name,
    /// How long a rebalance waits for it; the session timeout in version 0.
    pub rebalance_timeout_ms: i32,
    /// How long it may be silent.
    pub session_timeout_ms: i32,
    /// What it subscribes to, in the chosen protocol's form.
    pub subscription: Arc<[u8]>,
    /// What it was given.
    pub assignment: Arc<[u8]>,
}

impl GroupMetadata {
    pub(super) fn decode(value: &[u8]) -> Result<Self, RecordError> {
        let mut fields = Fields::new(value);
        let version = fields.i16()?;
        let layout = MetadataLayout::ALL
            .into_iter()
            .find(|layout| layout.number() == version)
            .ok_or(RecordError::Version { key_type: 2, found: version, max: 4 })?;
        let form = layout.form();
        let protocol_type = fields.string(form)?;
        let generation = fields.i32()?;
        let protocol = fields.nullable_string(form)?;
        let leader = fields.nullable_string(form)?;
        let current_state_timestamp = if layout >= MetadataLayout::V2 {
            Some(Millis::new(fields.i64()?)).filter(|at| *at != Millis::NONE)
        } else {
            None
        };
        let count = fields.count(form)?;
        let mut members = Vec::new();
        for _ in 0..count {
            members.push(MetadataMember::decode(&mut fields, layout)?);
        }
        if layout == MetadataLayout::V4 {
            fields.tags(|_, _| Ok(()))?;
        }
        fields.end()?;
        Ok(Self {
            layout,
            protocol_type,
            generation,
            protocol,
            leader,
            current_state_timestamp,
            members,
        })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let form = self.layout.form();
        let mut bytes = Vec::new();
        let mut writer = Writer(&mut bytes);
        writer.i16(self.layout.number());
        writer.string(form, self.protocol_type.as_str());
        writer.i32(self.generation);
        writer.nullable_string(form, self.protocol.as_ref());
        writer.nullable_string(form, self.leader.as_ref());
        if self.layout >= MetadataLayout::V2 {
            writer.i64(self.current_state_timestamp.unwrap_or(Millis::NONE).get());
        }
        writer.array_len(form, self.members.len());
        for member in &self.members {
            member.encode(&mut writer, self.layout);
        }
        if self.layout == MetadataLayout::V4 {
            writer.uvarint(0);
        }
        bytes
    }
}

impl MetadataMember {
    fn decode(fields: &mut Fields<'_>, layout: MetadataLayout) -> Result<Self, RecordError> {
        let form = layout.form();
        let member_id = fields.string(form)?;
        let instance_id =
            if layout >= MetadataLayout::V3 { fields.nullable_string(form)? } else { None };
        let client_id = fields.string(form)?;
        let client_host = fields.string(form)?;
        let first = fields.i32()?;
        let (rebalance_timeout_ms, session_timeout_ms) =
            if layout >= MetadataLayout::V1 { (first, fields.i32()?) } else { (first, first) };
        let subscription = fields.bytes(form)?;
        let assignment = fields.bytes(form)?;
        if layout == MetadataLayout::V4 {
            fields.tags(|_, _| Ok(()))?;
        }
        Ok(Self {
            member_id,
            instance_id,
            client_id,
            client_host,
            rebalance_timeout_ms,
            session_timeout_ms,
            subscription,
            assignment,
        })
    }

    fn encode(&self, writer: &mut Writer<'_>, layout: MetadataLayout) {
        let form = layout.form();
        writer.string(form, self.member_id.as_str());
        if layout >= MetadataLayout::V3 {
            writer.nullable_string(form, self.instance_id.as_ref());
        }
        writer.string(form, self.client_id.as_str());
        writer.string(form, self.client_host.as_str());
        if layout >= MetadataLayout::V1 {
            writer.i32(self.rebalance_timeout_ms);
        }
        writer.i32(self.session_timeout_ms);
        writer.bytes(form, &self.subscription);
        writer.bytes(form, &self.assignment);
        if layout == MetadataLayout::V4 {
            writer.uvarint(0);
        }
    }
}
