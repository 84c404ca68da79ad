//! A batch as it will be stored.

use bytes::Bytes;
use hanbeon_idempotence::Claim;
use hanbeon_records::{
    Attributes, BatchRef, CRC_START, HEADER_LEN, LOG_OVERHEAD, LeaderEpoch, Millis, Offset,
    crc32c_of_parts,
};

/// A batch that may be appended.
///
/// Header and payload lie apart, so that offset, epoch and times are stamped into 61 bytes of our own, and the payload
/// goes from the client's buffer to the file uncopied.
#[derive(Clone, Debug)]
pub struct Validated {
    pub(super) header: [u8; HEADER_LEN],
    pub(super) payload: Bytes,
    pub(super) claim: Option<Claim>,
    pub(super) last_offset_delta: i32,
    pub(super) max_timestamp: Millis,
    pub(super) log_append_time: Option<Millis>,
}

impl Validated {
    /// Writes base offset and leader epoch, which the checksum does not cover.
    pub fn stamp(&mut self, base_offset: Offset, leader_epoch: LeaderEpoch) {
        put::<0, 8>(&mut self.header, base_offset.get().to_be_bytes());
        put::<12, 4>(&mut self.header, leader_epoch.get().to_be_bytes());
    }

    /// The first 61 bytes.
    #[must_use]
    pub const fn header(&self) -> &[u8; HEADER_LEN] {
        &self.header
    }

    /// The bytes behind the header.
    #[must_use]
    pub const fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// Bytes of header and payload.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "there is always a header")]
    pub const fn len(&self) -> usize {
        self.payload.len().saturating_add(HEADER_LEN)
    }

    /// Records minus one: the last offset is so much above the base offset. Never negative.
    #[must_use]
    pub const fn last_offset_delta(&self) -> i32 {
        self.last_offset_delta
    }

    /// Largest time of a record as it will be read: computed, not believed, or the leader's clock.
    #[must_use]
    pub const fn max_timestamp(&self) -> Millis {
        self.max_timestamp
    }

    /// The leader's clock, where the topic has `message.timestamp.type=LogAppendTime`.
    #[must_use]
    pub const fn log_append_time(&self) -> Option<Millis> {
        self.log_append_time
    }

    /// What the batch claims to the producer states, with the times as stored; `None` without a producer id.
    #[must_use]
    pub const fn claim(&self) -> Option<Claim> {
        self.claim
    }

    /// The whole batch in one piece, copied.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        [&self.header[..], &self.payload].concat()
    }
}

/// The header of `batch` with the attributes, largest time and payload that are stored. The checksum is taken anew only
/// where one of them changed.
pub(super) fn header(
    batch: BatchRef<'_>,
    attributes: Attributes,
    max_timestamp: Millis,
    payload: &[u8],
) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    if let Some(sent) = batch.bytes().first_chunk::<HEADER_LEN>() {
        header = *sent;
    }
    // Another payload comes with another codec, so with other attributes.
    if attributes == batch.attributes() && max_timestamp == batch.max_timestamp() {
        return header;
    }
    // `max.message.bytes` is an i32, so the length is one.
    let len = payload.len().saturating_add(HEADER_LEN - LOG_OVERHEAD);
    put::<8, 4>(&mut header, i32::try_from(len).unwrap_or(i32::MAX).to_be_bytes());
    put::<21, 2>(&mut header, attributes.get().to_be_bytes());
    put::<35, 8>(&mut header, max_timestamp.get().to_be_bytes());
    let covered = header.get(CRC_START..).unwrap_or_default();
    let crc = crc32c_of_parts(&[covered, payload]);
    put::<17, 4>(&mut header, crc.to_be_bytes());
    header
}

/// Writes a field of the header.
pub(super) fn put<const AT: usize, const N: usize>(header: &mut [u8; HEADER_LEN], value: [u8; N]) {
    const { assert!(AT + N <= HEADER_LEN, "a field lies within the header") };
    if let Some(field) = header.get_mut(AT..AT.wrapping_add(N)) {
        field.copy_from_slice(&value);
    }
}
