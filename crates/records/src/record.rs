//! Records of a batch, read in place.

use alloc::{borrow::Cow, string::String};
use core::{fmt, iter::FusedIterator};

use crate::{
    BatchRef, Codec, ErrorCode, Millis, Offset, Sequence, TimestampType,
    varint::{read_varint, read_varlong},
};

/// One record, borrowed from its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Offset minus the batch's base offset.
    pub offset_delta: i32,
    /// Milliseconds after the batch's base timestamp; may be negative.
    pub timestamp_delta: i64,
    /// Written as 0 and not judged on reading.
    pub attributes: i8,
    /// The key; `None` is null.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is null, which compaction takes as a deletion.
    pub value: Option<&'a [u8]>,
    /// The headers in the order they were written; names may repeat.
    pub headers: Headers<'a>,
}

/// One header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The name as it was written: UTF-8, unless a Kafka broker took other bytes from its client. See [`Header::name`].
    pub key: &'a [u8],
    /// The value; `None` is null.
    pub value: Option<&'a [u8]>,
}

impl<'a> Header<'a> {
    /// The name as text, with U+FFFD for what is not UTF-8, as Kafka shows it to readers.
    #[must_use]
    pub fn name(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.key)
    }
}

/// The headers of a record: checked when the record was read, decoded when asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Headers<'a> {
    left: u32,
    bytes: &'a [u8],
}

/// Walks the records of a payload that is not compressed, allocating and copying nothing.
///
/// Strict: a record must fill its length exactly, and the payload must end with the last record. After the first
/// error nothing more comes.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    count: i32,
    index: i32,
    rest: &'a [u8],
}

/// A part of a record, for errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Field {
    /// The record's length.
    Length,
    /// The attributes.
    Attributes,
    /// Time after the base timestamp.
    TimestampDelta,
    /// Offset after the base offset.
    OffsetDelta,
    /// The key.
    Key,
    /// The value.
    Value,
    /// How many headers follow.
    HeaderCount,
    /// A header's name.
    HeaderKey,
    /// A header's value.
    HeaderValue,
}

/// Why a payload is not the records that its batch's header claims. Every variant is `INVALID_RECORD` (87).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The payload has to be decompressed first.
    #[error(
        "the records are compressed (codec {codec}); decompress the payload before reading them"
    )]
    Compressed {
        /// The codec's number in the attributes; 5 to 7 name none.
        codec: u8,
    },
    /// The header claims fewer than no records.
    #[error("a batch holds 0 or more records, its header claims {found}")]
    NegativeCount {
        /// Count in the header.
        found: i32,
    },
    /// The payload is used up before the last record.
    #[error("the header claims {expected} records, the payload ends after {found}")]
    TooFew {
        /// Count in the header.
        expected: i32,
        /// Records that were there.
        found: i32,
    },
    /// Bytes are left after the last record.
    #[error("{left} bytes follow the last of the {count} records that the header claims")]
    Surplus {
        /// Count in the header.
        count: i32,
        /// Bytes after the last record.
        left: usize,
    },
    /// A number is cut short or has more bits than its type.
    #[error("record {index}: the {field} is not a complete number")]
    Number {
        /// Which record, from 0.
        index: i32,
        /// Which of its fields.
        field: Field,
    },
    /// A length below what the field allows, or beyond the bytes that are left.
    #[error("record {index}: the {field} claims {found}, {left} bytes are left")]
    LengthOutOfRange {
        /// Which record, from 0.
        index: i32,
        /// Which of its fields.
        field: Field,
        /// Length or count claimed.
        found: i32,
        /// Bytes left in the record or payload.
        left: usize,
    },
    /// The fields end before the record does.
    #[error("record {index}: {left} bytes follow its last header")]
    BodyNotConsumed {
        /// Which record, from 0.
        index: i32,
        /// Bytes after the last field.
        left: usize,
    },
    /// A header's name is not UTF-8.
    #[error("record {index}: the name of a header is not UTF-8")]
    HeaderNotUtf8 {
        /// Which record, from 0.
        index: i32,
    },
}

impl RecordError {
    /// What a client is told.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Compressed { .. }
            | Self::NegativeCount { .. }
            | Self::TooFew { .. }
            | Self::Surplus { .. }
            | Self::Number { .. }
            | Self::LengthOutOfRange { .. }
            | Self::BodyNotConsumed { .. }
            | Self::HeaderNotUtf8 { .. } => ErrorCode::InvalidRecord,
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Length => "record length",
            Self::Attributes => "attributes byte",
            Self::TimestampDelta => "timestamp delta",
            Self::OffsetDelta => "offset delta",
            Self::Key => "key length",
            Self::Value => "value length",
            Self::HeaderCount => "header count",
            Self::HeaderKey => "length of a header's name",
            Self::HeaderValue => "length of a header's value",
        })
    }
}

impl<'a> BatchRef<'a> {
    /// Walks the records.
    ///
    /// # Errors
    /// [`RecordError::Compressed`] unless the codec is [`Codec::None`]; then `decompress` the
    /// [`payload`](Self::payload) and use [`Records::new`]. A batch without records has nothing to compress and is
    /// empty with any codec.
    pub fn records(&self) -> Result<Records<'a>, RecordError> {
        match self.attributes().codec() {
            Ok(Codec::None) => Ok(Records::new(self.record_count(), self.payload())),
            Ok(_) if self.record_count() == 0 => Ok(Records::new(0, &[])),
            Ok(codec) => Err(RecordError::Compressed { codec: codec.id() }),
            Err(codec) => Err(RecordError::Compressed { codec }),
        }
    }

    /// The offset of one of its records.
    #[must_use]
    pub fn offset_of(&self, record: &Record<'_>) -> Offset {
        self.base_offset().saturating_add(i64::from(record.offset_delta))
    }

    /// The time of one of its records: the batch's largest time under [`TimestampType::LogAppendTime`], whatever the
    /// record says.
    #[must_use]
    pub fn timestamp_of(&self, record: &Record<'_>) -> Millis {
        match self.attributes().timestamp_type() {
            TimestampType::LogAppendTime => self.max_timestamp(),
            TimestampType::CreateTime => {
                self.base_timestamp().saturating_add(record.timestamp_delta)
            }
        }
    }

    /// The sequence of one of its records; `None` where the batch has none.
    #[must_use]
    pub fn sequence_of(&self, record: &Record<'_>) -> Option<Sequence> {
        let delta = record.offset_delta.cast_unsigned();
        self.base_sequence().map(|base| base.advance(delta))
    }
}

impl<'a> Records<'a> {
    /// Walks `count` records in `payload`, which is not compressed (any more).
    #[inline]
    #[must_use]
    pub const fn new(count: i32, payload: &'a [u8]) -> Self {
        Self { count, index: 0, rest: payload }
    }

    /// How many records are yet to come as far as the header tells.
    #[inline]
    #[must_use]
    pub const fn left(&self) -> i32 {
        self.count.saturating_sub(self.index)
    }

    #[inline]
    fn read(&mut self) -> Result<Record<'a>, RecordError> {
        let index = self.index;
        let number = |field| RecordError::Number { index, field };
        let Some((len, rest)) = read_varint(self.rest) else { return Err(self.no_length()) };
        let Some((body, rest)) = usize::try_from(len).ok().and_then(|n| rest.split_at_checked(n))
        else {
            return Err(out_of_range(index, Field::Length, len, rest));
        };
        let Some((attributes, body)) = body.split_first() else {
            return Err(number(Field::Attributes));
        };
        let Some((timestamp_delta, body)) = read_varlong(body) else {
            return Err(number(Field::TimestampDelta));
        };
        let Some((offset_delta, body)) = read_varint(body) else {
            return Err(number(Field::OffsetDelta));
        };
        let (key, body) = nullable(body, index, Field::Key)?;
        let (value, body) = nullable(body, index, Field::Value)?;
        let headers = match body {
            [0] => Headers { left: 0, bytes: &[] },
            _ => Headers::check(body, index)?,
        };
        // Read to the end of the last record: what follows it belongs to nothing.
        self.index = index.wrapping_add(1);
        if self.index == self.count && !rest.is_empty() {
            return Err(RecordError::Surplus { count: self.count, left: rest.len() });
        }
        self.rest = rest;
        let attributes = attributes.cast_signed();
        Ok(Record { offset_delta, timestamp_delta, attributes, key, value, headers })
    }

    #[cold]
    const fn no_length(&self) -> RecordError {
        if self.rest.is_empty() {
            RecordError::TooFew { expected: self.count, found: self.index }
        } else {
            RecordError::Number { index: self.index, field: Field::Length }
        }
    }

    #[cold]
    const fn stop(&mut self) {
        self.count = 0;
        self.index = 0;
    }
}

#[cold]
const fn out_of_range(index: i32, field: Field, found: i32, left: &[u8]) -> RecordError {
    RecordError::LengthOutOfRange { index, field, found, left: left.len() }
}

/// A length of -1 for null, or of what follows.
#[inline]
fn nullable(input: &[u8], index: i32, field: Field) -> Result<(Option<&[u8]>, &[u8]), RecordError> {
    let Some((len, rest)) = read_varint(input) else {
        return Err(RecordError::Number { index, field });
    };
    if len == -1 {
        return Ok((None, rest));
    }
    match usize::try_from(len).ok().and_then(|n| rest.split_at_checked(n)) {
        Some((bytes, rest)) => Ok((Some(bytes), rest)),
        None => Err(out_of_range(index, field, len, rest)),
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.index >= self.count {
            if self.count >= 0 {
                return None;
            }
            let found = self.count;
            self.stop();
            return Some(Err(RecordError::NegativeCount { found }));
        }
        let record = self.read();
        if record.is_err() {
            self.stop();
        }
        Some(record)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // A record takes 7 bytes or more, so a forged count promises nothing.
        let claimed = usize::try_from(self.left()).unwrap_or(1);
        (0, Some(claimed.min((self.rest.len() / RECORD_LEN_MIN).saturating_add(1))))
    }
}

/// Length, attributes, two deltas, null key, null value, no headers: one byte each.
const RECORD_LEN_MIN: usize = 7;

impl FusedIterator for Records<'_> {}

impl<'a> Headers<'a> {
    /// No headers.
    pub const EMPTY: Self = Self { left: 0, bytes: &[] };

    /// How many are yet to come.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.left as usize
    }

    /// Whether none is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// Walks all of `body`, the end of a record from its header count on.
    #[inline(never)]
    fn check(body: &'a [u8], index: i32) -> Result<Self, RecordError> {
        let field = Field::HeaderCount;
        let Some((count, bytes)) = read_varint(body) else {
            return Err(RecordError::Number { index, field });
        };
        // A header takes two bytes or more.
        let left = match u32::try_from(count) {
            Ok(left) if left as usize <= bytes.len() / 2 => left,
            Ok(_) | Err(_) => return Err(out_of_range(index, field, count, bytes)),
        };
        let mut rest = bytes;
        for _ in 0..left {
            let (key, after) = nullable(rest, index, Field::HeaderKey)?;
            if key.is_none() {
                return Err(out_of_range(index, Field::HeaderKey, -1, after));
            }
            (_, rest) = nullable(after, index, Field::HeaderValue)?;
        }
        if rest.is_empty() {
            Ok(Self { left, bytes })
        } else {
            Err(RecordError::BodyNotConsumed { index, left: rest.len() })
        }
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        self.left = self.left.checked_sub(1)?;
        // `check` has walked these bytes, so none of the three can fail.
        let (key, rest) = nullable(self.bytes, 0, Field::HeaderKey).ok()?;
        let (value, rest) = nullable(rest, 0, Field::HeaderValue).ok()?;
        self.bytes = rest;
        Some(Header { key: key?, value })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), Some(self.len()))
    }
}

impl ExactSizeIterator for Headers<'_> {}
impl FusedIterator for Headers<'_> {}

impl fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(*self).finish()
    }
}
