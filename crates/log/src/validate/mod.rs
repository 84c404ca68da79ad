//! What a leader checks and changes in a batch before it is appended (Kafka's `LogValidator`).
//!
//! Nothing here depends on the offsets that the batch will get, so all of it is done before the partition is entered.
//! The order of the checks decides which error a client sees and is Kafka's. Stricter than Kafka: delete horizon and
//! unused attribute bits, inner offsets and times below -1 are refused, since readers would trip over them for ever.

mod validated;

use bytes::Bytes;
use hanbeon_idempotence::{Claim, IdempotenceError, Origin};
use hanbeon_records::{BatchError, BatchRef, Codec, Millis, Offset};

use crate::{config::LogConfig, error::AppendError};

pub use validated::Validated;

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
    check_header(batch, config)?;
    let claim = claim_of(batch)?;
    let _ = (now, &mut scratch.plain, claim);
    scratch.trim();
    Err(AppendError::ControlBatch)
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
fn check_header(batch: BatchRef<'_>, config: &LogConfig) -> Result<(), AppendError> {
    if batch.base_offset() != Offset::ZERO {
        return Err(AppendError::BaseOffset { found: batch.base_offset() });
    }
    let (found, limit) = (batch.bytes().len(), config.max_message_bytes());
    if found > limit {
        return Err(AppendError::TooLarge { limit, found });
    }
    batch.verify()?;
    let attributes = batch.attributes();
    attributes.codec().map_err(|found| AppendError::UnknownCodec { found })?;
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
    let reserved = attributes.unused_bits()
        | if attributes.has_delete_horizon() { 1 << 6 } else { 0 };
    if reserved != 0 {
        return Err(AppendError::ReservedBits { found: reserved });
    }
    Ok(())
}

fn claim_of(batch: BatchRef<'_>) -> Result<Option<Claim>, IdempotenceError> {
    Claim::of(&batch, Origin::Client)
}

/// The codec in which a batch that came in `sent` is stored.
fn target(_config: &LogConfig, sent: Codec) -> Codec {
    sent
}
