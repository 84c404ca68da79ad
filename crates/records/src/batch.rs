//! One record batch of magic 2, read in place.

use core::{fmt, ops::Deref};

use crate::{
    ErrorCode, LeaderEpoch, Millis, Offset, ProducerEpoch, ProducerId, Sequence, crc::crc32c,
};

/// Bytes of a batch before its records; they are never compressed.
pub const HEADER_LEN: usize = 61;

/// Bytes before and including the length field: what a batch is longer than its `batch_length`.
pub const LOG_OVERHEAD: usize = 12;

/// The first byte under the checksum. Base offset, length, leader epoch, magic and the checksum lie before it, so
/// the leader can stamp the first and the third without a new checksum.
pub const CRC_START: usize = 21;

/// The only magic that is written.
pub const MAGIC: u8 = 2;

/// Smallest value the length field may have in any format (a legacy message without key and value).
const BATCH_LENGTH_MIN_LEGACY: i32 = 14;

/// A whole batch of magic 2, header fields readable, checksum not looked at yet.
#[derive(Clone, Copy)]
pub struct BatchRef<'a> {
    header: &'a [u8; HEADER_LEN],
    bytes: &'a [u8],
}

/// A batch whose checksum holds.
#[derive(Clone, Copy, Debug)]
pub struct VerifiedBatch<'a>(BatchRef<'a>);

/// How the records of a batch are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip,
    /// Xerial's framing of snappy blocks, or one bare block.
    Snappy,
    /// An LZ4 frame.
    Lz4,
    /// Zstandard frames (KIP-110).
    Zstd,
}

/// Whose clock a batch's times come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimestampType {
    /// The producer's.
    CreateTime,
    /// The leader's: every record reads as the batch's largest time.
    LogAppendTime,
}

/// The two attribute bytes of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Attributes(i16);

/// Why bytes are not a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// The bytes end before the batch does.
    #[error("the batch needs {needed} bytes, {found} are there")]
    Truncated {
        /// Bytes of the batch as far as its header tells.
        needed: usize,
        /// Bytes given.
        found: usize,
    },
    /// The length field cannot be a batch's: below the smallest header, or negative.
    #[error("the length field of a batch is at least {min}, found {found}")]
    Length {
        /// Smallest legal value.
        min: i32,
        /// Value in the header.
        found: i32,
    },
    /// Not magic 2. Magic 0 and 1 are the message formats before Kafka 0.11.
    #[error("the magic byte of a batch is 2, found {found}")]
    Magic {
        /// Value in the header.
        found: i8,
    },
    /// The bytes are not those that the checksum was taken of.
    #[error("the CRC-32C in the header is {stored:#010x}, that of the bytes is {computed:#010x}")]
    Crc {
        /// Value in the header.
        stored: u32,
        /// Value of the bytes.
        computed: u32,
    },
}

impl BatchError {
    /// What a client is told: a legacy format is its own fault, anything else may have happened on the way.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Magic { found: 0 | 1 } => ErrorCode::InvalidRecord,
            Self::Magic { .. }
            | Self::Truncated { .. }
            | Self::Length { .. }
            | Self::Crc { .. } => ErrorCode::CorruptMessage,
        }
    }
}

impl Attributes {
    const CODEC: i16 = 0x07;
    const LOG_APPEND_TIME: i16 = 0x08;
    const TRANSACTIONAL: i16 = 0x10;
    const CONTROL: i16 = 0x20;
    const DELETE_HORIZON: i16 = 0x40;

    /// Wraps the raw field.
    #[must_use]
    pub const fn new(raw: i16) -> Self {
        Self(raw)
    }

    /// Puts the known bits together; the unused ones are 0.
    #[must_use]
    pub const fn of(codec: Codec, timestamp_type: TimestampType) -> Self {
        let time = match timestamp_type {
            TimestampType::CreateTime => 0,
            TimestampType::LogAppendTime => Self::LOG_APPEND_TIME,
        };
        Self(codec.id() as i16 | time)
    }

    /// The same with the transactional bit set.
    #[must_use]
    pub const fn transactional(self) -> Self {
        Self(self.0 | Self::TRANSACTIONAL)
    }

    /// The same with the control bit set.
    #[must_use]
    pub const fn control(self) -> Self {
        Self(self.0 | Self::CONTROL)
    }

    /// The same without compression.
    #[must_use]
    pub(crate) const fn uncompressed(self) -> Self {
        Self(self.0 & !Self::CODEC)
    }

    /// The same with another timestamp type.
    #[must_use]
    pub const fn with_timestamp_type(self, timestamp_type: TimestampType) -> Self {
        match timestamp_type {
            TimestampType::CreateTime => Self(self.0 & !Self::LOG_APPEND_TIME),
            TimestampType::LogAppendTime => Self(self.0 | Self::LOG_APPEND_TIME),
        }
    }

    /// The raw field.
    #[must_use]
    pub const fn get(self) -> i16 {
        self.0
    }

    /// The codec, or the unknown number in its bits (5 to 7).
    ///
    /// # Errors
    /// The number, when it names no codec.
    pub const fn codec(self) -> Result<Codec, u8> {
        match self.0 & Self::CODEC {
            0 => Ok(Codec::None),
            1 => Ok(Codec::Gzip),
            2 => Ok(Codec::Snappy),
            3 => Ok(Codec::Lz4),
            4 => Ok(Codec::Zstd),
            5 => Err(5),
            6 => Err(6),
            _ => Err(7),
        }
    }

    /// Whose clock the times come from.
    #[must_use]
    pub const fn timestamp_type(self) -> TimestampType {
        if self.0 & Self::LOG_APPEND_TIME == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    /// Whether the batch belongs to a transaction.
    #[must_use]
    pub const fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    /// Whether the batch holds control records, which no consumer hands to its application.
    #[must_use]
    pub const fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// Whether the base timestamp is the time from which tombstones or a marker may go (KIP-534).
    #[must_use]
    pub const fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }

    /// The bits that have no meaning (7 to 15).
    #[must_use]
    pub const fn unused_bits(self) -> i16 {
        self.0 & !0x7f
    }
}

impl Codec {
    /// The number in a batch's attributes.
    #[must_use]
    pub const fn id(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// The name in configurations and tools.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

impl<'a> BatchRef<'a> {
    /// The bytes in front of the records.
    pub(crate) const fn header(&self) -> &'a [u8; HEADER_LEN] {
        self.header
    }

    /// Takes one batch off the front of `input` and returns it with what follows.
    ///
    /// # Errors
    /// [`BatchError::Truncated`] when the batch does not end within `input`, [`BatchError::Length`] and
    /// [`BatchError::Magic`] when this is no batch of magic 2.
    pub fn parse(input: &'a [u8]) -> Result<(Self, &'a [u8]), BatchError> {
        let len = total_len(input)?;
        let truncated = BatchError::Truncated { needed: len, found: input.len() };
        let (bytes, rest) = input.split_at_checked(len).ok_or(truncated)?;
        let header = bytes.first_chunk::<HEADER_LEN>().ok_or(truncated)?;
        Ok((Self { header, bytes }, rest))
    }

    /// Compares the checksum.
    ///
    /// # Errors
    /// [`BatchError::Crc`] with both values.
    pub fn verify(self) -> Result<VerifiedBatch<'a>, BatchError> {
        let (_, covered) = self.bytes.split_at_checked(CRC_START).unwrap_or((&[], &[]));
        let computed = crc32c(covered);
        let stored = self.crc();
        if computed == stored {
            Ok(VerifiedBatch(self))
        } else {
            Err(BatchError::Crc { stored, computed })
        }
    }

    fn field<const N: usize, const AT: usize>(&self) -> [u8; N] {
        const { assert!(AT + N <= HEADER_LEN, "a field lies within the header") };
        let mut field = [0; N];
        if let Some(found) = self.header.get(AT..AT.wrapping_add(N)) {
            field.copy_from_slice(found);
        }
        field
    }

    /// All bytes of the batch, header included.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The records as they stand: concatenated, or one compressed blob.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.bytes.get(HEADER_LEN..).unwrap_or_default()
    }

    /// Offset of the first record (of the first that was written: compaction leaves it).
    #[must_use]
    pub fn base_offset(&self) -> Offset {
        Offset::new(i64::from_be_bytes(self.field::<8, 0>()))
    }

    /// Offset of the last record (of the last that was written).
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        self.base_offset().saturating_add(i64::from(self.last_offset_delta()))
    }

    /// The offset after [`Self::last_offset`].
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.last_offset().saturating_add(1)
    }

    /// Leader epoch of the leader that appended it.
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        LeaderEpoch::new(i32::from_be_bytes(self.field::<4, 12>()))
    }

    /// Checksum in the header.
    #[must_use]
    pub fn crc(&self) -> u32 {
        u32::from_be_bytes(self.field::<4, 17>())
    }

    /// Codec, timestamp type and kind.
    #[must_use]
    pub fn attributes(&self) -> Attributes {
        Attributes::new(i16::from_be_bytes(self.field::<2, 21>()))
    }

    /// Last offset minus base offset, as written; may be any number in a forged header.
    #[must_use]
    pub fn last_offset_delta(&self) -> i32 {
        i32::from_be_bytes(self.field::<4, 23>())
    }

    /// Time of the first record, -1 in an emptied batch, or the delete horizon.
    #[must_use]
    pub fn base_timestamp(&self) -> Millis {
        Millis::new(i64::from_be_bytes(self.field::<8, 27>()))
    }

    /// Largest time of a record, or the leader's clock.
    #[must_use]
    pub fn max_timestamp(&self) -> Millis {
        Millis::new(i64::from_be_bytes(self.field::<8, 35>()))
    }

    /// Who produced it.
    #[must_use]
    pub fn producer_id(&self) -> ProducerId {
        ProducerId::new(i64::from_be_bytes(self.field::<8, 43>()))
    }

    /// In which incarnation.
    #[must_use]
    pub fn producer_epoch(&self) -> ProducerEpoch {
        ProducerEpoch::new(i16::from_be_bytes(self.field::<2, 51>()))
    }

    /// Sequence of the first record; `None` without a producer id and in markers.
    #[must_use]
    pub fn base_sequence(&self) -> Option<Sequence> {
        Sequence::new(i32::from_be_bytes(self.field::<4, 53>()))
    }

    /// Sequence of the last record.
    #[must_use]
    pub fn last_sequence(&self) -> Option<Sequence> {
        let delta = self.last_offset_delta().cast_unsigned();
        self.base_sequence().map(|base| base.advance(delta))
    }

    /// How many records the header claims; only a walk over them proves it.
    #[must_use]
    pub fn record_count(&self) -> i32 {
        i32::from_be_bytes(self.field::<4, 57>())
    }
}

/// The length of the batch at the front of `input`, header included, from its first 17 bytes.
///
/// # Errors
/// As [`BatchRef::parse`]; `needed` is then the header's length.
pub fn total_len(input: &[u8]) -> Result<usize, BatchError> {
    let truncated = BatchError::Truncated { needed: HEADER_LEN, found: input.len() };
    let front: &[u8; 17] = input.first_chunk().ok_or(truncated)?;
    let [_, _, _, _, _, _, _, _, l0, l1, l2, l3, _, _, _, _, magic] = *front;
    let found = i32::from_be_bytes([l0, l1, l2, l3]);
    if found < BATCH_LENGTH_MIN_LEGACY {
        return Err(BatchError::Length { min: BATCH_LENGTH_MIN_LEGACY, found });
    }
    if magic != MAGIC {
        return Err(BatchError::Magic { found: magic.cast_signed() });
    }
    let min = i32::try_from(HEADER_LEN - LOG_OVERHEAD).unwrap_or(i32::MAX);
    if found < min {
        return Err(BatchError::Length { min, found });
    }
    let after = usize::try_from(found).unwrap_or(usize::MAX);
    Ok(after.saturating_add(LOG_OVERHEAD))
}

impl fmt::Debug for BatchRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchRef")
            .field("base_offset", &self.base_offset())
            .field("last_offset_delta", &self.last_offset_delta())
            .field("leader_epoch", &self.leader_epoch())
            .field("attributes", &self.attributes())
            .field("producer_id", &self.producer_id())
            .field("producer_epoch", &self.producer_epoch())
            .field("base_sequence", &self.base_sequence())
            .field("record_count", &self.record_count())
            .field("len", &self.bytes.len())
            .finish()
    }
}

impl<'a> VerifiedBatch<'a> {
    /// The view without the proof.
    #[must_use]
    pub const fn get(self) -> BatchRef<'a> {
        self.0
    }
}

impl<'a> Deref for VerifiedBatch<'a> {
    type Target = BatchRef<'a>;

    fn deref(&self) -> &BatchRef<'a> {
        &self.0
    }
}
