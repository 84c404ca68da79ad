//! Writes a batch of magic 2 into a buffer of the caller's.

use alloc::vec::Vec;
use core::ops::Range;

use crate::{
    Attributes, Codec, CodecError, CompressionLevel, ErrorCode, HEADER_LEN, LOG_OVERHEAD,
    LeaderEpoch, MAGIC, Millis, Offset, ProducerEpoch, ProducerId, Sequence, TimestampType,
    compress,
    stamp::{put, seal},
    varint::{varint_len, varlong_len, write_varint, write_varlong},
};

/// Whether a batch belongs to a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BatchKind {
    /// It counts as soon as it is in the log.
    Plain,
    /// It counts when its transaction commits.
    Transactional,
}

impl BatchKind {
    /// The kind in a batch's attributes.
    #[must_use]
    pub const fn of(attributes: Attributes) -> Self {
        if attributes.is_transactional() { Self::Transactional } else { Self::Plain }
    }
}

/// Who sends a batch, for deduplication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerStamp {
    /// The producer.
    pub id: ProducerId,
    /// Its incarnation.
    pub epoch: ProducerEpoch,
    /// Sequence of the batch's first record; each following record has the next one.
    pub base_sequence: Sequence,
}

/// The header fields of a batch that do not come from its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSettings {
    /// How the records are compressed.
    pub codec: Codec,
    /// How hard the codec tries.
    pub level: CompressionLevel,
    /// Whose clock the times come from. The largest time of the records becomes the batch's either way.
    pub timestamp_type: TimestampType,
    /// Who sends it; `None` without deduplication.
    pub producer: Option<ProducerStamp>,
    /// Whether it belongs to a transaction; then it needs a producer.
    pub kind: BatchKind,
    /// Offset of the first record; a producer sends 0.
    pub base_offset: Offset,
    /// Epoch of the writing leader; a producer sends [`LeaderEpoch::UNKNOWN`].
    pub leader_epoch: LeaderEpoch,
}

/// A record to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewRecord<'r> {
    /// Its time.
    pub timestamp: Millis,
    /// Its key; `None` is null.
    pub key: Option<&'r [u8]>,
    /// Its value; `None` is null.
    pub value: Option<&'r [u8]>,
    /// Its headers, name and value; names may repeat, `None` is null.
    pub headers: &'r [(&'r str, Option<&'r [u8]>)],
}

/// Writes one batch behind what a buffer already holds.
///
/// Unless [`finish`](Self::finish) succeeds the buffer ends up as it was, also when the builder is dropped.
///
/// ```
/// # use hanbeon_records::*;
/// let mut bytes = Vec::new();
/// let mut batch = BatchBuilder::new(&mut bytes, BatchSettings {
///     codec: Codec::None,
///     level: CompressionLevel::DEFAULT,
///     timestamp_type: TimestampType::CreateTime,
///     producer: None,
///     kind: BatchKind::Plain,
///     base_offset: Offset::ZERO,
///     leader_epoch: LeaderEpoch::UNKNOWN,
/// });
/// batch.push(NewRecord {
///     timestamp: Millis::new(1_700_000_000_000),
///     key: Some(b"k"),
///     value: Some(b"v"),
///     headers: &[],
/// })?;
/// let range = batch.finish()?;
/// assert_eq!(range, 0..bytes.len());
/// # Ok::<(), BuildError>(())
/// ```
#[derive(Debug)]
pub struct BatchBuilder<'b> {
    into: &'b mut Vec<u8>,
    start: usize,
    /// Where records gather when they are compressed at the end.
    plain: Vec<u8>,
    settings: BatchSettings,
    count: i32,
    base_timestamp: Millis,
    max_timestamp: Millis,
    outcome: Build,
}

#[derive(Debug)]
enum Build {
    Pending,
    Done,
}

/// Why a batch cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// No record was pushed; a log takes no batch without records from a producer.
    #[error("a batch holds at least one record")]
    Empty,
    /// The record, or the batch with it, is longer than its 31-bit length field can say.
    #[error("a batch has at most {max} bytes, this one would have {found}; send smaller batches")]
    TooLarge {
        /// Largest length.
        max: usize,
        /// Length it would have.
        found: usize,
    },
    /// Two times are further apart than 64 bits.
    #[error("{timestamp} is too far from {base}, the time of the batch's first record")]
    Timestamp {
        /// Time of the first record.
        base: Millis,
        /// Time of the refused record.
        timestamp: Millis,
    },
    /// A transaction has an owner.
    #[error("a transactional batch needs a producer id, epoch and sequence")]
    NoProducer,
    /// The payload could not be compressed.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

impl BuildError {
    /// What a client is told.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::TooLarge { .. } => ErrorCode::MessageTooLarge,
            Self::Timestamp { .. } => ErrorCode::InvalidTimestamp,
            Self::Empty | Self::NoProducer => ErrorCode::InvalidRecord,
            Self::Codec(error) => error.code(),
        }
    }
}

/// The largest value of a 31-bit length field.
const LEN_MAX: usize = 0x7fff_ffff;

/// A length or count as the format writes it. Callers have kept it within [`LEN_MAX`].
fn field_of(len: usize) -> i32 {
    i32::try_from(len).unwrap_or(i32::MAX)
}

/// Bytes of a nullable field with its length.
fn bytes_len(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varint_len(field_of(bytes.len())).saturating_add(bytes.len()))
}

fn write_bytes(bytes: Option<&[u8]>, into: &mut Vec<u8>) {
    match bytes {
        None => write_varint(-1, into),
        Some(bytes) => {
            write_varint(field_of(bytes.len()), into);
            into.extend_from_slice(bytes);
        }
    }
}

/// The deltas that place a record in its batch.
#[derive(Clone, Copy)]
struct Place {
    timestamp_delta: i64,
    offset_delta: i32,
}

/// Bytes of a record behind its length field.
fn body_len(place: Place, record: &NewRecord<'_>) -> usize {
    let fixed = varlong_len(place.timestamp_delta)
        .saturating_add(varint_len(place.offset_delta))
        .saturating_add(varint_len(field_of(record.headers.len())))
        .saturating_add(1);
    let headers = record.headers.iter().fold(0_usize, |sum, (key, value)| {
        sum.saturating_add(bytes_len(Some(key.as_bytes()))).saturating_add(bytes_len(*value))
    });
    fixed
        .saturating_add(bytes_len(record.key))
        .saturating_add(bytes_len(record.value))
        .saturating_add(headers)
}

fn write_record(len: usize, place: Place, record: &NewRecord<'_>, into: &mut Vec<u8>) {
    into.reserve(len.saturating_add(5));
    write_varint(field_of(len), into);
    into.push(0);
    write_varlong(place.timestamp_delta, into);
    write_varint(place.offset_delta, into);
    write_bytes(record.key, into);
    write_bytes(record.value, into);
    write_varint(field_of(record.headers.len()), into);
    for (key, value) in record.headers {
        write_bytes(Some(key.as_bytes()), into);
        write_bytes(*value, into);
    }
}

impl<'b> BatchBuilder<'b> {
    /// Begins a batch at the end of `into`.
    #[must_use]
    pub fn new(into: &'b mut Vec<u8>, settings: BatchSettings) -> Self {
        let start = into.len();
        into.extend_from_slice(&[0; HEADER_LEN]);
        Self {
            into,
            start,
            plain: Vec::new(),
            settings,
            count: 0,
            base_timestamp: Millis::NONE,
            max_timestamp: Millis::NONE,
            outcome: Build::Pending,
        }
    }

    /// Appends a record. Its offset and sequence follow those of the record before.
    ///
    /// # Errors
    /// [`BuildError::TooLarge`] and [`BuildError::Timestamp`]; the batch is then as it was without the record.
    pub fn push(&mut self, record: NewRecord<'_>) -> Result<(), BuildError> {
        let base = if self.count == 0 { record.timestamp } else { self.base_timestamp };
        let timestamp = record.timestamp;
        let timestamp_delta = timestamp
            .get()
            .checked_sub(base.get())
            .ok_or(BuildError::Timestamp { base, timestamp })?;
        let place = Place { timestamp_delta, offset_delta: self.count };
        let len = body_len(place, &record);
        let found = self.plain_len().saturating_add(len).saturating_add(VARINT_ROOM);
        if found > LEN_MAX {
            return Err(BuildError::TooLarge { max: LEN_MAX, found });
        }
        let plain = match self.settings.codec {
            Codec::None => &mut *self.into,
            Codec::Gzip | Codec::Snappy | Codec::Lz4 | Codec::Zstd => &mut self.plain,
        };
        write_record(len, place, &record, plain);
        self.max_timestamp =
            if self.count == 0 { timestamp } else { self.max_timestamp.max(timestamp) };
        self.base_timestamp = base;
        self.count = self.count.saturating_add(1);
        Ok(())
    }

    /// How many records were pushed.
    #[must_use]
    pub const fn count(&self) -> i32 {
        self.count
    }

    /// Bytes of the batch before compression, header included.
    #[must_use]
    pub const fn plain_len(&self) -> usize {
        self.into.len().saturating_sub(self.start).saturating_add(self.plain.len())
    }

    /// Compresses, writes header and checksum, and says where in the buffer the batch lies.
    ///
    /// # Errors
    /// [`BuildError::Empty`] without records, [`BuildError::NoProducer`] for a transactional batch without one,
    /// [`BuildError::Codec`] and [`BuildError::TooLarge`]; the buffer is then as it was before the batch.
    pub fn finish(mut self) -> Result<Range<usize>, BuildError> {
        let BatchSettings { codec, level, .. } = self.settings;
        if self.count == 0 {
            return Err(BuildError::Empty);
        }
        if self.settings.producer.is_none() && self.settings.kind == BatchKind::Transactional {
            return Err(BuildError::NoProducer);
        }
        if codec != Codec::None {
            compress(codec, level, &self.plain, self.into)?;
        }
        let len = self.into.len().saturating_sub(self.start);
        let length = len.saturating_sub(LOG_OVERHEAD);
        let Ok(length) = i32::try_from(length) else {
            return Err(BuildError::TooLarge { max: LEN_MAX, found: len });
        };
        let header = self.header(length);
        let start = self.start;
        let Some(batch) = self.into.get_mut(start..) else { return Err(BuildError::Empty) };
        if let Some(front) = batch.first_chunk_mut() {
            *front = header;
        }
        seal(batch);
        self.outcome = Build::Done;
        Ok(start..self.into.len())
    }

    fn header(&self, length: i32) -> [u8; HEADER_LEN] {
        let settings = &self.settings;
        let attributes = Attributes::of(settings.codec, settings.timestamp_type);
        let attributes = match settings.kind {
            BatchKind::Plain => attributes,
            BatchKind::Transactional => attributes.transactional(),
        };
        let (id, epoch, sequence) = match settings.producer {
            Some(ProducerStamp { id, epoch, base_sequence }) => (id, epoch, base_sequence.get()),
            None => (ProducerId::NONE, ProducerEpoch::NONE, -1),
        };
        let last_delta = self.count.saturating_sub(1);
        let mut header = [0; HEADER_LEN];
        put::<8, 0>(&mut header, settings.base_offset.get().to_be_bytes());
        put::<4, 8>(&mut header, length.to_be_bytes());
        put::<4, 12>(&mut header, settings.leader_epoch.get().to_be_bytes());
        put::<1, 16>(&mut header, [MAGIC]);
        put::<2, 21>(&mut header, attributes.get().to_be_bytes());
        put::<4, 23>(&mut header, last_delta.to_be_bytes());
        put::<8, 27>(&mut header, self.base_timestamp.get().to_be_bytes());
        put::<8, 35>(&mut header, self.max_timestamp.get().to_be_bytes());
        put::<8, 43>(&mut header, id.get().to_be_bytes());
        put::<2, 51>(&mut header, epoch.get().to_be_bytes());
        put::<4, 53>(&mut header, sequence.to_be_bytes());
        put::<4, 57>(&mut header, self.count.to_be_bytes());
        header
    }
}

/// Bytes that a record's own length may take.
const VARINT_ROOM: usize = crate::varint::VARINT_LEN_MAX;

impl Drop for BatchBuilder<'_> {
    fn drop(&mut self) {
        match self.outcome {
            Build::Pending => self.into.truncate(self.start),
            Build::Done => {}
        }
    }
}
