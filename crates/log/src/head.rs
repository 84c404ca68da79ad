//! The header of a stored batch, without its payload.

use hanbeon_records::{
    Attributes, BatchError, HEADER_LEN, LOG_OVERHEAD, LeaderEpoch, Millis, Offset, total_len,
};

/// What walking a segment needs to know of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) base_offset: Offset,
    pub(crate) last_offset: Offset,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) max_timestamp: Millis,
    /// Whether it holds control records.
    pub(crate) control: bool,
    /// Bytes of the whole batch.
    pub(crate) len: u64,
}

impl Head {
    /// Reads a header at the start of `bytes`, which need not hold the payload.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        let len = total_len(bytes)?;
        let truncated = BatchError::Truncated { needed: HEADER_LEN, found: bytes.len() };
        let header: &[u8; HEADER_LEN] = bytes.first_chunk().ok_or(truncated)?;
        let base_offset = Offset::new(i64::from_be_bytes(field::<8, 0>(header)));
        let delta = i32::from_be_bytes(field::<4, 23>(header));
        if delta < 0 || base_offset < Offset::ZERO {
            // No leader writes such a batch; taken as a length it would lead the walk backwards.
            let min = i32::try_from(HEADER_LEN.saturating_sub(LOG_OVERHEAD)).unwrap_or(i32::MAX);
            return Err(BatchError::Length { min, found: delta });
        }
        Ok(Self {
            base_offset,
            last_offset: base_offset.saturating_add(i64::from(delta)),
            leader_epoch: LeaderEpoch::new(i32::from_be_bytes(field::<4, 12>(header))),
            max_timestamp: Millis::new(i64::from_be_bytes(field::<8, 35>(header))),
            control: Attributes::new(i16::from_be_bytes(field::<2, 21>(header))).is_control(),
            len: u64::try_from(len).unwrap_or(u64::MAX),
        })
    }

    /// The offset after the last one.
    pub(crate) const fn next_offset(&self) -> Offset {
        self.last_offset.saturating_add(1)
    }
}

/// The header at the front of `bytes` with the length of a batch that has no records.
pub(crate) fn without_records(bytes: &[u8]) -> [u8; HEADER_LEN] {
    let mut bare: [u8; HEADER_LEN] = bytes.first_chunk().copied().unwrap_or([0; HEADER_LEN]);
    let len = i32::try_from(HEADER_LEN.saturating_sub(LOG_OVERHEAD)).unwrap_or(i32::MAX);
    if let Some(field) = bare.get_mut(8..12) {
        field.copy_from_slice(&len.to_be_bytes());
    }
    bare
}

fn field<const N: usize, const AT: usize>(header: &[u8; HEADER_LEN]) -> [u8; N] {
    const { assert!(AT + N <= HEADER_LEN, "a field lies within the header") };
    let mut field = [0; N];
    if let Some(found) = header.get(AT..AT.saturating_add(N)) {
        field.copy_from_slice(found);
    }
    field
}
