//! Small parts that Produce and Fetch share: how a topic is named, where a leader is.

use bytes::{BufMut, BytesMut};
use hanbeon_records::{LeaderEpoch, NodeId, TopicId};

use crate::{
    cursor::{Cursor, Form},
    error::WireError,
    header::ReplyTo,
    put,
};

/// How a request names a topic: by name up to Produce 12 and Fetch 12, by id from 13 on (KIP-516), never both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TopicRef<'a> {
    /// The name; UTF-8, but not yet checked to be a topic name.
    Name(&'a str),
    /// The id.
    Id(TopicId),
}

impl<'a> TopicRef<'a> {
    pub(crate) fn read(
        cursor: &mut Cursor<'a>,
        form: Form,
        by: TopicBy,
    ) -> Result<Self, WireError> {
        match by {
            TopicBy::Name => cursor.text(form).map(Self::Name),
            TopicBy::Id => cursor.uuid().map(|raw| Self::Id(TopicId::new(raw))),
        }
    }

    pub(crate) fn write(self, out: &mut BytesMut, reply_to: ReplyTo) -> Result<(), WireError> {
        let ReplyTo { api, version, .. } = reply_to;
        match (self, TopicBy::of(version)) {
            (Self::Name(name), TopicBy::Name) => put::text(out, reply_to.form(), name),
            (Self::Id(id), TopicBy::Id) => {
                out.put_slice(&id.get());
                Ok(())
            }
            (Self::Name(_), TopicBy::Id) => {
                Err(WireError::FieldNotInVersion { api, version, field: "topic name" })
            }
            (Self::Id(_), TopicBy::Name) => {
                Err(WireError::FieldNotInVersion { api, version, field: "topic id" })
            }
        }
    }
}

/// Which of the two a version uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TopicBy {
    Name,
    Id,
}

impl TopicBy {
    /// Produce and Fetch both changed in version 13.
    pub(crate) const fn of(version: i16) -> Self {
        if version < 13 { Self::Name } else { Self::Id }
    }
}

/// Tells a client that it asked the wrong broker, and which one is right (KIP-951).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CurrentLeader {
    /// The broker that leads.
    pub leader: NodeId,
    /// Since which epoch.
    pub epoch: LeaderEpoch,
}

/// Where a broker named in a [`CurrentLeader`] listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeEndpoint<'a> {
    /// The broker.
    pub node: NodeId,
    /// Its host name or address.
    pub host: &'a str,
    /// Its port.
    pub port: u16,
    /// Its rack, when it has one.
    pub rack: Option<&'a str>,
}

/// Appends the closing tags of a Produce or Fetch response, which hold the endpoints.
pub(crate) fn put_endpoints(
    out: &mut BytesMut,
    endpoints: &[NodeEndpoint<'_>],
) -> Result<(), WireError> {
    if endpoints.is_empty() {
        out.put_u8(0);
        return Ok(());
    }
    // A tag's size precedes it, so the array is written aside. Only answers that redirect a client pay for this.
    let mut array = BytesMut::new();
    put::count(&mut array, Form::Compact, endpoints.len())?;
    for endpoint in endpoints {
        array.put_i32(endpoint.node.get());
        put::text(&mut array, Form::Compact, endpoint.host)?;
        array.put_i32(endpoint.port.into());
        put::nullable_text(&mut array, Form::Compact, endpoint.rack)?;
        array.put_u8(0);
    }
    let len = u32::try_from(array.len())
        .map_err(|_error| WireError::FieldTooLong { len: array.len(), max: u32::MAX as usize })?;
    out.put_u8(1);
    out.put_u8(0); // tag 0
    put::uvarint(out, len);
    out.put_slice(&array);
    Ok(())
}

/// Appends one tagged field with a leader and its epoch.
pub(crate) fn put_leader(out: &mut BytesMut, tag: u8, current: CurrentLeader) {
    out.put_u8(tag);
    out.put_u8(9); // two 32-bit numbers and an empty tag section
    out.put_i32(current.leader.get());
    out.put_i32(current.epoch.get());
    out.put_u8(0);
}

/// Counts entries of an answer whose number was written before them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Owed {
    announced: usize,
    written: usize,
}

impl Owed {
    pub(crate) const fn new(announced: usize) -> Self {
        Self { announced, written: 0 }
    }

    /// One more entry.
    pub(crate) fn pay(&mut self) -> Result<(), WireError> {
        self.written = self.written.saturating_add(1);
        if self.written > self.announced { self.mismatch() } else { Ok(()) }
    }

    /// Whether an entry was begun, which then needs an end.
    pub(crate) const fn has_paid(self) -> bool {
        self.written > 0
    }

    /// The list ends.
    pub(crate) fn settle(self) -> Result<(), WireError> {
        if self.written == self.announced { Ok(()) } else { self.mismatch() }
    }

    const fn mismatch(self) -> Result<(), WireError> {
        Err(WireError::CountMismatch { expected: self.announced, found: self.written })
    }
}
