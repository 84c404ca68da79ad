//! The schemas of the requests that the codec reads, as a guard in front of it.
//!
//! The codec alone would take null for an empty array, keep an object for each unknown tag, and build structures many times the size of
//! the bytes that ask for them. The guard walks the body first: every count is held against the bytes that are there, the number of
//! elements is bounded, null stands only where the schema allows it, texts are UTF-8, and sections of unknown tags are cut out, so that
//! the codec meets neither their number nor their order.

use bytes::{Bytes, BytesMut};

use crate::{
    api::ApiKey,
    cursor::{Cursor, Form},
    error::WireError,
};

/// Most array elements in one request other than Produce and Fetch, over all its arrays.
///
/// An element of three bytes becomes a structure of about a hundred, so this is what bounds the memory of a decoded request: 64 MiB.
pub const ELEMENTS_MAX: usize = 1 << 18;

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
    Array(&'static Item),
    /// An array that may be null from this version on.
    NullableArray(&'static Item, i16),
    NullableStruct(&'static [Field]),
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

const LIST_OFFSETS: &[Field] = {
    const PARTITION: Item = Item::Struct(&[always(I32), since(4, I32), always(I64)]);
    const TOPIC: Item = Item::Struct(&[always(TEXT), always(structs(&PARTITION))]);
    &[always(I32), since(2, I8), always(structs(&TOPIC)), since(10, I32)]
};

const METADATA: &[Field] = {
    const TOPIC: Item = Item::Struct(&[since(10, UUID), always(Shape::NullableText(10))]);
    &[always(Shape::NullableArray(&TOPIC, 1)), since(4, BOOL), between(8, 10, BOOL), since(8, BOOL)]
};

const CREATE_TOPICS: &[Field] = {
    const ASSIGNMENT: Item = Item::Struct(&[always(I32), always(NUMBERS)]);
    const CONFIG: Item = Item::Struct(&[always(TEXT), always(NULLABLE_TEXT)]);
    const TOPIC: Item = Item::Struct(&[
        always(TEXT),
        always(I32),
        always(I16),
        always(structs(&ASSIGNMENT)),
        always(structs(&CONFIG)),
    ]);
    &[always(structs(&TOPIC)), always(I32), always(BOOL)]
};

const DELETE_TOPICS: &[Field] = {
    const TOPIC: Item = Item::Struct(&[always(NULLABLE_TEXT), always(UUID)]);
    &[since(6, structs(&TOPIC)), between(0, 5, Shape::Array(&Item::Plain(TEXT))), always(I32)]
};

const DELETE_RECORDS: &[Field] = {
    const PARTITION: Item = Item::Struct(&[always(I32), always(I64)]);
    const TOPIC: Item = Item::Struct(&[always(TEXT), always(structs(&PARTITION))]);
    &[always(structs(&TOPIC)), always(I32)]
};

const INIT_PRODUCER_ID: &[Field] =
    &[always(NULLABLE_TEXT), always(I32), since(3, I64), since(3, I16)];

const OFFSET_FOR_LEADER_EPOCH: &[Field] = {
    const PARTITION: Item = Item::Struct(&[always(I32), always(I32), always(I32)]);
    const TOPIC: Item = Item::Struct(&[always(TEXT), always(structs(&PARTITION))]);
    &[since(3, I32), always(structs(&TOPIC))]
};

const DESCRIBE_CONFIGS: &[Field] = {
    const RESOURCE: Item = Item::Struct(&[
        always(I8),
        always(TEXT),
        always(Shape::NullableArray(&Item::Plain(TEXT), 0)),
    ]);
    &[always(structs(&RESOURCE)), always(BOOL), since(3, BOOL)]
};

const ALTER_CONFIGS: &[Field] = {
    const CONFIG: Item = Item::Struct(&[always(TEXT), always(NULLABLE_TEXT)]);
    const RESOURCE: Item = Item::Struct(&[always(I8), always(TEXT), always(structs(&CONFIG))]);
    &[always(structs(&RESOURCE)), always(BOOL)]
};

const INCREMENTAL_ALTER_CONFIGS: &[Field] = {
    const CONFIG: Item = Item::Struct(&[always(TEXT), always(I8), always(NULLABLE_TEXT)]);
    const RESOURCE: Item = Item::Struct(&[always(I8), always(TEXT), always(structs(&CONFIG))]);
    &[always(structs(&RESOURCE)), always(BOOL)]
};

const CREATE_PARTITIONS: &[Field] = {
    const ASSIGNMENT: Item = Item::Struct(&[always(NUMBERS)]);
    const TOPIC: Item =
        Item::Struct(&[always(TEXT), always(I32), always(Shape::NullableArray(&ASSIGNMENT, 0))]);
    &[always(structs(&TOPIC)), always(I32), always(BOOL)]
};

/// A topic's name and numbers of its partitions.
const TOPIC_PARTITIONS: Item = Item::Struct(&[always(TEXT), always(NUMBERS)]);

const ELECT_LEADERS: &[Field] =
    &[since(1, I8), always(Shape::NullableArray(&TOPIC_PARTITIONS, 0)), always(I32)];

const DESCRIBE_LOG_DIRS: &[Field] = &[always(Shape::NullableArray(&TOPIC_PARTITIONS, 0))];

const DESCRIBE_CLUSTER: &[Field] = &[always(BOOL), since(1, I8), since(2, BOOL)];

const DESCRIBE_PRODUCERS: &[Field] = &[always(structs(&TOPIC_PARTITIONS))];

const DESCRIBE_TOPIC_PARTITIONS: &[Field] = {
    const TOPIC: Item = Item::Struct(&[always(TEXT)]);
    const CURSOR: &[Field] = &[always(TEXT), always(I32)];
    &[always(structs(&TOPIC)), always(I32), always(Shape::NullableStruct(CURSOR))]
};

const API_VERSIONS: &[Field] = &[since(3, TEXT), since(3, TEXT)];

/// The schema of a request that the codec reads; `None` for those read by hand and those that are not read yet.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "an API without a schema here is refused, which is the safe side"
)]
pub(crate) const fn request(api: ApiKey) -> Option<&'static [Field]> {
    Some(match api {
        ApiKey::ListOffsets => LIST_OFFSETS,
        ApiKey::Metadata => METADATA,
        ApiKey::ApiVersions => API_VERSIONS,
        ApiKey::CreateTopics => CREATE_TOPICS,
        ApiKey::DeleteTopics => DELETE_TOPICS,
        ApiKey::DeleteRecords => DELETE_RECORDS,
        ApiKey::InitProducerId => INIT_PRODUCER_ID,
        ApiKey::OffsetForLeaderEpoch => OFFSET_FOR_LEADER_EPOCH,
        ApiKey::DescribeConfigs => DESCRIBE_CONFIGS,
        ApiKey::AlterConfigs => ALTER_CONFIGS,
        ApiKey::IncrementalAlterConfigs => INCREMENTAL_ALTER_CONFIGS,
        ApiKey::CreatePartitions => CREATE_PARTITIONS,
        ApiKey::ElectLeaders => ELECT_LEADERS,
        ApiKey::DescribeLogDirs => DESCRIBE_LOG_DIRS,
        ApiKey::DescribeCluster => DESCRIBE_CLUSTER,
        ApiKey::DescribeProducers => DESCRIBE_PRODUCERS,
        ApiKey::DescribeTopicPartitions => DESCRIBE_TOPIC_PARTITIONS,
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
    let mut walk = Walk { version, form, cursor, whole: body.len(), elements: 0, cuts: Vec::new() };
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
    elements: usize,
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
            Shape::NullableArray(item, since) if since <= self.version => {
                let count = self.cursor.nullable_count(self.form, 1)?;
                self.elements(item, count.unwrap_or(0))?;
            }
            Shape::Array(item) | Shape::NullableArray(item, _) => {
                let count = self.cursor.count(self.form, 1)?;
                self.elements(item, count)?;
            }
            Shape::NullableStruct(fields) => match self.cursor.i8()? {
                -1 => {}
                1 => self.structure(fields)?,
                found => return Err(WireError::StructMarker { found }),
            },
        }
        Ok(())
    }

    fn elements(&mut self, item: &'static Item, count: usize) -> Result<(), WireError> {
        self.elements = self.elements.saturating_add(count);
        if self.elements > ELEMENTS_MAX {
            return Err(WireError::TooManyElements { max: ELEMENTS_MAX });
        }
        for _ in 0..count {
            match item {
                Item::Plain(shape) => self.field(shape)?,
                Item::Struct(fields) => self.structure(fields)?,
            }
        }
        Ok(())
    }
}
