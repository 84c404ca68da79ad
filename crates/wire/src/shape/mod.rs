//! The schemas of the requests that the codec reads, as a guard in front of it.
//!
//! The codec alone would take null for an empty array, keep an object for each unknown tag, and build structures many times the size of
//! the bytes that ask for them. The guard walks the body first: every count is held against the bytes that are there, the number of
//! elements is bounded, null stands only where the schema allows it, texts are UTF-8, and sections of unknown tags are cut out, so that
//! the codec meets neither their number nor their order.

mod cluster;
mod groups;
mod topics;
mod transactions;

use bytes::{Bytes, BytesMut};

use crate::{
    api::ApiKey,
    cursor::{Cursor, Elements, Form},
    error::WireError,
};

/// One field of a structure and the versions that have it.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) since: i16,
    pub(crate) last: i16,
    pub(crate) shape: Shape,
}

/// How a field is laid out.
#[derive(Debug)]
pub(crate) enum Shape {
    /// One byte, where every value but 0 is true.
    Bool,
    /// So many bytes.
    Fixed(usize),
    Text,
    /// A text that may be null from this version on.
    NullableText(i16),
    /// Bytes that are not null.
    Bytes,
    Array(&'static Item),
    /// An array that may be null from this version on.
    NullableArray(&'static Item, i16),
    NullableStruct(&'static [Field]),
    /// A structure that stands in another one, with tags of its own.
    #[cfg_attr(
        not(test),
        expect(
            dead_code,
            reason = "so far only responses hold one, and their shapes are a test's"
        )
    )]
    Struct(&'static [Field]),
}

/// What an array holds.
#[derive(Debug)]
pub(crate) enum Item {
    Plain(Shape),
    Struct(&'static [Field]),
}

pub(crate) const BOOL: Shape = Shape::Bool;
pub(crate) const I8: Shape = Shape::Fixed(1);
pub(crate) const I16: Shape = Shape::Fixed(2);
pub(crate) const I32: Shape = Shape::Fixed(4);
pub(crate) const I64: Shape = Shape::Fixed(8);
pub(crate) const UUID: Shape = Shape::Fixed(16);
pub(crate) const TEXT: Shape = Shape::Text;
pub(crate) const NULLABLE_TEXT: Shape = Shape::NullableText(0);
pub(crate) const BYTES: Shape = Shape::Bytes;
pub(crate) const TEXTS: Shape = Shape::Array(&Item::Plain(TEXT));
pub(crate) const NUMBERS: Shape = Shape::Array(&Item::Plain(I32));

pub(crate) const fn always(shape: Shape) -> Field {
    since(0, shape)
}

pub(crate) const fn since(version: i16, shape: Shape) -> Field {
    between(version, i16::MAX, shape)
}

pub(crate) const fn between(since: i16, last: i16, shape: Shape) -> Field {
    Field { since, last, shape }
}

pub(crate) const fn structs(item: &'static Item) -> Shape {
    Shape::Array(item)
}

/// A topic's name and numbers of its partitions.
pub(crate) const TOPIC_PARTITIONS: Item = Item::Struct(&[always(TEXT), always(NUMBERS)]);

/// The schema of a request that the codec reads; `None` for those read by hand and those that are not read yet.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "an API without a schema here is refused, which is the safe side"
)]
pub(crate) const fn request(api: ApiKey) -> Option<&'static [Field]> {
    Some(match api {
        ApiKey::ListOffsets => topics::LIST_OFFSETS,
        ApiKey::Metadata => topics::METADATA,
        ApiKey::CreateTopics => topics::CREATE_TOPICS,
        ApiKey::DeleteTopics => topics::DELETE_TOPICS,
        ApiKey::DeleteRecords => topics::DELETE_RECORDS,
        ApiKey::OffsetForLeaderEpoch => topics::OFFSET_FOR_LEADER_EPOCH,
        ApiKey::CreatePartitions => topics::CREATE_PARTITIONS,
        ApiKey::ElectLeaders => topics::ELECT_LEADERS,
        ApiKey::DescribeLogDirs => topics::DESCRIBE_LOG_DIRS,
        ApiKey::DescribeProducers => topics::DESCRIBE_PRODUCERS,
        ApiKey::DescribeTopicPartitions => topics::DESCRIBE_TOPIC_PARTITIONS,
        ApiKey::OffsetCommit => groups::OFFSET_COMMIT,
        ApiKey::OffsetFetch => groups::OFFSET_FETCH,
        ApiKey::FindCoordinator => groups::FIND_COORDINATOR,
        ApiKey::JoinGroup => groups::JOIN_GROUP,
        ApiKey::Heartbeat => groups::HEARTBEAT,
        ApiKey::LeaveGroup => groups::LEAVE_GROUP,
        ApiKey::SyncGroup => groups::SYNC_GROUP,
        ApiKey::DescribeGroups => groups::DESCRIBE_GROUPS,
        ApiKey::ListGroups => groups::LIST_GROUPS,
        ApiKey::DeleteGroups => groups::DELETE_GROUPS,
        ApiKey::OffsetDelete => groups::OFFSET_DELETE,
        ApiKey::ConsumerGroupHeartbeat => groups::CONSUMER_GROUP_HEARTBEAT,
        ApiKey::ConsumerGroupDescribe => groups::CONSUMER_GROUP_DESCRIBE,
        ApiKey::InitProducerId => transactions::INIT_PRODUCER_ID,
        ApiKey::AddPartitionsToTxn => transactions::ADD_PARTITIONS_TO_TXN,
        ApiKey::AddOffsetsToTxn => transactions::ADD_OFFSETS_TO_TXN,
        ApiKey::EndTxn => transactions::END_TXN,
        ApiKey::WriteTxnMarkers => transactions::WRITE_TXN_MARKERS,
        ApiKey::TxnOffsetCommit => transactions::TXN_OFFSET_COMMIT,
        ApiKey::DescribeTransactions => transactions::DESCRIBE_TRANSACTIONS,
        ApiKey::ListTransactions => transactions::LIST_TRANSACTIONS,
        ApiKey::ApiVersions => cluster::API_VERSIONS,
        ApiKey::SaslHandshake => cluster::SASL_HANDSHAKE,
        ApiKey::DescribeConfigs => cluster::DESCRIBE_CONFIGS,
        ApiKey::AlterConfigs => cluster::ALTER_CONFIGS,
        ApiKey::IncrementalAlterConfigs => cluster::INCREMENTAL_ALTER_CONFIGS,
        ApiKey::UpdateFeatures => cluster::UPDATE_FEATURES,
        ApiKey::DescribeCluster => cluster::DESCRIBE_CLUSTER,
        ApiKey::ListConfigResources => cluster::LIST_CONFIG_RESOURCES,
        _ => return None,
    })
}

/// Checks a body against its schema and returns it without unknown tags. Copies only when there are some.
pub(crate) fn guard(
    fields: &'static [Field],
    version: i16,
    form: Form,
    body: &Bytes,
) -> Result<Bytes, WireError> {
    let cursor = Cursor::new(body);
    let mut walk = Walk {
        version,
        form,
        cursor,
        whole: body.len(),
        elements: Elements::default(),
        cuts: Vec::new(),
    };
    walk.structure(fields)?;
    if walk.cuts.is_empty() {
        return Ok(body.clone());
    }
    let mut kept = BytesMut::with_capacity(body.len());
    let mut rest = Cursor::new(body);
    let mut done = 0_usize;
    for (start, end) in walk.cuts {
        kept.extend_from_slice(rest.take(start.saturating_sub(done))?);
        kept.extend_from_slice(&[0]);
        rest.take(end.saturating_sub(start))?;
        done = end;
    }
    kept.extend_from_slice(rest.rest());
    Ok(kept.freeze())
}

struct Walk<'a> {
    version: i16,
    form: Form,
    cursor: Cursor<'a>,
    whole: usize,
    elements: Elements,
    /// Where tag sections that hold something start and end.
    cuts: Vec<(usize, usize)>,
}

impl Walk<'_> {
    fn at(&self) -> usize {
        self.whole.saturating_sub(self.cursor.remaining())
    }

    fn structure(&mut self, fields: &'static [Field]) -> Result<(), WireError> {
        for field in fields {
            if field.since <= self.version && self.version <= field.last {
                self.field(&field.shape)?;
            }
        }
        let start = self.at();
        let tags = self.cursor.tag_count(self.form)?;
        for _ in 0..tags {
            self.cursor.tag()?;
        }
        if tags > 0 {
            self.cuts.push((start, self.at()));
        }
        Ok(())
    }

    fn field(&mut self, shape: &'static Shape) -> Result<(), WireError> {
        match *shape {
            Shape::Bool => {
                self.cursor.u8()?;
            }
            Shape::Fixed(length) => {
                self.cursor.take(length)?;
            }
            Shape::NullableText(since) if since <= self.version => {
                self.cursor.nullable_text(self.form)?;
            }
            Shape::Text | Shape::NullableText(_) => {
                self.cursor.text(self.form)?;
            }
            Shape::Bytes => {
                self.cursor.nullable_bytes(self.form)?.ok_or(WireError::UnexpectedNull)?;
            }
            Shape::NullableArray(item, since) if since <= self.version => {
                let count = self.cursor.nullable_count(self.form, 1)?;
                self.elements(item, count.unwrap_or(0))?;
            }
            Shape::Array(item) | Shape::NullableArray(item, _) => {
                let count = self.cursor.count(self.form, 1)?;
                self.elements(item, count)?;
            }
            Shape::Struct(fields) => self.structure(fields)?,
            Shape::NullableStruct(fields) => match self.cursor.i8()? {
                -1 => {}
                1 => self.structure(fields)?,
                found => return Err(WireError::StructMarker { found }),
            },
        }
        Ok(())
    }

    fn elements(&mut self, item: &'static Item, count: usize) -> Result<(), WireError> {
        for _ in 0..self.elements.add(count)? {
            match item {
                Item::Plain(shape) => self.field(shape)?,
                Item::Struct(fields) => self.structure(fields)?,
            }
        }
        Ok(())
    }
}
