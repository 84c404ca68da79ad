//! What a leader writes into a batch that it was sent.

use alloc::vec::Vec;

use crate::{
    Attributes, BatchRef, CRC_START, HEADER_LEN, LeaderEpoch, Millis, Offset, TimestampType,
    crc::crc32c,
};

/// Writes base offset and leader epoch into a batch of magic 2. Both lie before the checksummed bytes, so the
/// checksum stays right.
///
/// Bytes shorter than a header are left as they are.
pub fn stamp(batch: &mut [u8], base_offset: Offset, leader_epoch: LeaderEpoch) {
    let Some(header) = batch.first_chunk_mut::<HEADER_LEN>() else { return };
    put::<8, 0>(header, base_offset.get().to_be_bytes());
    put::<4, 12>(header, leader_epoch.get().to_be_bytes());
}

/// Writes timestamp type and largest time into a batch of magic 2, which is the whole of `batch`, and takes the
/// checksum anew when that changed anything. Unused attribute bits are kept.
///
/// Bytes shorter than a header are left as they are.
pub fn stamp_times(batch: &mut [u8], timestamp_type: TimestampType, max_timestamp: Millis) {
    let Some(header) = batch.first_chunk_mut::<HEADER_LEN>() else { return };
    let attributes = Attributes::new(i16::from_be_bytes(get::<2, 21>(header)));
    let stamped = attributes.with_timestamp_type(timestamp_type);
    if stamped == attributes && get::<8, 35>(header) == max_timestamp.get().to_be_bytes() {
        return;
    }
    put::<2, 21>(header, stamped.get().to_be_bytes());
    put::<8, 35>(header, max_timestamp.get().to_be_bytes());
    seal(batch);
}

/// Appends the header of a batch with nothing behind it: all its records are gone, its offsets, producer and times stay. Readers move over
/// it; Kafka's cleaner leaves the like where it must not forget a producer.
pub fn write_emptied(batch: BatchRef<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(batch.header());
    let Some(Ok(header)) = out.get_mut(start..).map(<&mut [u8; HEADER_LEN]>::try_from) else {
        return;
    };
    // Nothing is left to be compressed.
    let attributes = Attributes::new(i16::from_be_bytes(get::<2, 21>(header)));
    put::<4, 8>(header, EMPTY_BATCH_LEN.to_be_bytes());
    put::<2, 21>(header, attributes.uncompressed().get().to_be_bytes());
    put::<4, 57>(header, 0_i32.to_be_bytes());
    seal(header);
}

/// What the length field of a batch without records says: the header without base offset and length.
const EMPTY_BATCH_LEN: i32 = 49;

/// Takes the checksum of a whole batch and writes it into the header.
pub(crate) fn seal(batch: &mut [u8]) {
    let Some((front, covered)) = batch.split_at_mut_checked(CRC_START) else { return };
    if let Some(field) = front.last_chunk_mut::<4>() {
        *field = crc32c(covered).to_be_bytes();
    }
}

pub(crate) fn put<const N: usize, const AT: usize>(header: &mut [u8; HEADER_LEN], value: [u8; N]) {
    const { assert!(AT + N <= HEADER_LEN, "a field lies within the header") };
    if let Some(field) = header.get_mut(AT..AT.wrapping_add(N)) {
        field.copy_from_slice(&value);
    }
}

fn get<const N: usize, const AT: usize>(header: &[u8; HEADER_LEN]) -> [u8; N] {
    let mut value = [0; N];
    if let Some(field) = header.get(AT..AT.wrapping_add(N)) {
        value.copy_from_slice(field);
    }
    value
}
