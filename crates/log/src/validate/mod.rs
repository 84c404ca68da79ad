//! What a leader checks and changes in a batch before it is appended (Kafka's `LogValidator`).
//!
//! Nothing here depends on the offsets that the batch will get, so all of it is done before the partition is entered.
//! The order of the checks decides which error a client sees and is Kafka's. Stricter than Kafka: delete horizon and
//! unused attribute bits, inner offsets, header names that are not UTF-8, transactional batches of nobody and times below -1 are refused, since
//! readers would trip over them for ever.

mod codec;
mod validated;
mod walk;

use bytes::Bytes;
use hanbeon_idempotence::{Claim, Origin};
use hanbeon_records::{
    Attributes, BatchError, BatchRef, Codec, CodecError, HEADER_LEN, Millis, Offset, OutputLimit,
    Records, TimestampType,
};

use crate::{
    config::{CompressionType, LogConfig},
    error::AppendError,
};

pub use validated::Validated;
use walk::Rules;

/// Records a batch may hold. Kafka has no such limit; without one a small compressed batch can claim the work of
/// 2147483647 records.
pub const RECORDS_PER_BATCH_MAX: i32 = 1_000_000;

/// Buffers that outlive one batch, so that compressed batches are checked without allocating each time.
#[derive(Debug, Default)]
pub struct Scratch {
    plain: Vec<u8>,
}

impl Scratch {
    /// Capacity kept from one batch to the next; what a rare huge batch needed beyond it is given back.
    const KEPT_BYTES: usize = 4 << 20;

    /// No buffers yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { plain: Vec::new() }
    }

    fn trim(&mut self) {
        self.plain.clear();
        self.plain.shrink_to(Self::KEPT_BYTES);
    }
}

/// Checks what one client sent for one partition, and makes of it what will be stored.
///
/// An uncompressed batch that keeps its codec and its times is walked once; nothing is allocated and no byte of it
/// copied. A compressed one is decompressed into `scratch` to be walked, within limits.
///
/// # Errors
/// The first rule that is broken, in Kafka's order; the batch is refused as a whole.
pub fn validate(
    record_set: &Bytes,
    config: &LogConfig,
    now: Millis,
    scratch: &mut Scratch,
) -> Result<Validated, AppendError> {
    let batch = one_batch(record_set)?;
    let codec = check_header(batch, config)?;
    let claim = Claim::of(&batch, Origin::Client)?;
    let checked = Checked { batch, codec, claim, now, config };
    let validated = checked.finish(record_set, scratch);
    scratch.trim();
    validated
}

/// The one whole batch of magic 2 that a record set must hold. A second one that is cut short is left out, as Kafka does.
///
/// # Errors
/// [`AppendError::NoBatch`], [`AppendError::SeveralBatches`], [`AppendError::Batch`].
pub fn one_batch(record_set: &[u8]) -> Result<BatchRef<'_>, AppendError> {
    let none = AppendError::NoBatch { found: record_set.len() };
    let (batch, rest) = match BatchRef::parse(record_set) {
        Ok(parsed) => parsed,
        Err(BatchError::Truncated { .. }) => return Err(none),
        Err(error) => return Err(error.into()),
    };
    match BatchRef::parse(rest) {
        Err(BatchError::Truncated { .. }) => Ok(batch),
        Ok(_) | Err(BatchError::Magic { found: 0 | 1 }) => {
            Err(AppendError::SeveralBatches { first: batch.bytes().len() })
        }
        Err(error) => Err(error.into()),
    }
}

/// Everything that the header alone tells.
fn check_header(batch: BatchRef<'_>, config: &LogConfig) -> Result<Codec, AppendError> {
    if batch.base_offset() != Offset::ZERO {
        return Err(AppendError::BaseOffset { found: batch.base_offset() });
    }
    let (found, limit) = (batch.bytes().len(), config.max_message_bytes());
    if found > limit {
        return Err(AppendError::TooLarge { limit, found });
    }
    batch.verify()?;
    let attributes = batch.attributes();
    let codec = attributes.codec().map_err(|found| AppendError::UnknownCodec { found })?;
    let (count, delta) = (batch.record_count(), batch.last_offset_delta());
    if count <= 0 || delta.checked_add(1) != Some(count) {
        return Err(AppendError::Counts { count, delta });
    }
    if attributes.is_control() {
        return Err(AppendError::ControlBatch);
    }
    if count > RECORDS_PER_BATCH_MAX {
        return Err(AppendError::TooManyRecords { limit: RECORDS_PER_BATCH_MAX, found: count });
    }
    let reserved = attributes.get() & !PRODUCER_BITS;
    if reserved != 0 {
        return Err(AppendError::ReservedBits { found: reserved });
    }
    Ok(codec)
}

/// Attribute bits a producer may set: codec, timestamp type (which is judged record by record), transactional.
const PRODUCER_BITS: i16 = 0x1f;

/// A batch whose header is in order.
struct Checked<'a> {
    batch: BatchRef<'a>,
    codec: Codec,
    claim: Option<Claim>,
    now: Millis,
    config: &'a LogConfig,
}

impl Checked<'_> {
    fn finish(self, whole: &Bytes, scratch: &mut Scratch) -> Result<Validated, AppendError> {
        let plain = self.plain(&mut scratch.plain)?;
        let (base, attributes) = (self.batch.base_timestamp(), self.batch.attributes());
        let rules = Rules::new(self.config, self.now, base, attributes);
        let walked = rules.walk(Records::new(self.batch.record_count(), plain))?;
        let target = self.target();
        let payload = if target == self.codec {
            whole.slice(HEADER_LEN..self.batch.bytes().len())
        } else {
            self.recompressed(target, plain, OutputLimit::STORED)?
        };
        self.check_segment(&payload)?;
        let timestamp_type = self.config.message_timestamp_type;
        let log_append_time = match timestamp_type {
            TimestampType::CreateTime => None,
            TimestampType::LogAppendTime => Some(self.now),
        };
        let max_timestamp = log_append_time.unwrap_or(walked);
        let attributes = with_codec(attributes, target).with_timestamp_type(timestamp_type);
        let header = validated::header(self.batch, attributes, max_timestamp, &payload);
        Ok(Validated {
            header,
            payload,
            claim: self.claim.map(|claim| Claim { max_timestamp, ..claim }),
            last_offset_delta: self.batch.last_offset_delta(),
            max_timestamp,
            log_append_time,
        })
    }

    /// The records as they are without compression.
    fn plain<'b>(&'b self, scratch: &'b mut Vec<u8>) -> Result<&'b [u8], AppendError> {
        let payload = self.batch.payload();
        if self.codec == Codec::None {
            return Ok(payload);
        }
        codec::expand(self.codec, payload, scratch)?;
        Ok(scratch)
    }

    /// The codec in which the batch is stored. A level that differs is no reason to compress anew.
    fn target(&self) -> Codec {
        match self.config.compression_type {
            CompressionType::Producer => self.codec,
            CompressionType::Uncompressed => Codec::None,
            CompressionType::Gzip => Codec::Gzip,
            CompressionType::Snappy => Codec::Snappy,
            CompressionType::Lz4 => Codec::Lz4,
            CompressionType::Zstd => Codec::Zstd,
        }
    }

    /// `plain` in another codec, unless it is more than what readers decompress.
    fn recompressed(
        &self,
        target: Codec,
        plain: &[u8],
        readable: OutputLimit,
    ) -> Result<Bytes, AppendError> {
        if plain.len() > readable.get() {
            return Err(CodecError::TooLarge { limit: readable.get() }.into());
        }
        let bytes = codec::pack(target, self.config, plain)?;
        let (limit, found) =
            (self.config.max_message_bytes(), bytes.len().saturating_add(HEADER_LEN));
        if found > limit {
            return Err(AppendError::RecompressedTooLarge { limit, found });
        }
        Ok(bytes.into())
    }

    fn check_segment(&self, payload: &Bytes) -> Result<(), AppendError> {
        let (limit, found) =
            (self.config.segment_bytes(), payload.len().saturating_add(HEADER_LEN));
        if u64::try_from(found).is_ok_and(|found| found <= limit) {
            Ok(())
        } else {
            Err(AppendError::LargerThanSegment { limit, found })
        }
    }
}

/// The same attributes with another codec.
fn with_codec(attributes: Attributes, codec: Codec) -> Attributes {
    Attributes::new((attributes.get() & !7) | i16::from(codec.id()))
}

#[cfg(test)]
mod tests;
