//! Telling what a power cut left from what a failing medium made of it.
//!
//! Media write whole sectors. A batch that was being written when the power went may have lost any of them; but a sector that also
//! holds part of a sound batch *behind* it was written after it, whole. A broken batch all of whose sectors are so accounted for
//! was sound once: that is rot, and cutting there would throw good data away.

use std::io;

use hanbeon_records::{BatchError, BatchRef};

use crate::{Corruption, Damage, LogFile, head::Head};

/// Bytes that a medium writes as one.
const SECTOR: u64 = 512;

/// Whether all bytes from `at` to `end` are zeroes: room that was reserved and never written to.
pub(crate) fn is_padding<F: LogFile>(file: &F, at: u64, end: u64) -> io::Result<bool> {
    let mut buffer = [0_u8; 4096];
    let mut from = at;
    while from < end {
        let left = usize::try_from(end.saturating_sub(from)).unwrap_or(usize::MAX);
        let len = left.min(buffer.len());
        let Some(part) = buffer.get_mut(..len) else { return Ok(false) };
        file.read_at(part, from)?;
        if part.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        from = from.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
    }
    Ok(true)
}

/// Whether the damage can be what an interrupted write left. `len` is the file's length.
pub(crate) fn is_torn<F: LogFile>(file: &F, cause: &Corruption, len: u64) -> io::Result<bool> {
    if !matches!(cause.damage, Damage::Batch(BatchError::Crc { .. })) {
        return Ok(true);
    }
    let Some(head) = head_at(file, cause.at, len)? else { return Ok(true) };
    let end = cause.at.saturating_add(head.len);
    // Behind the damaged batch: sound, and numbered as if the damaged one were.
    let Some(behind) = sound_at(file, end, len)? else { return Ok(true) };
    if behind.base_offset != head.next_offset() {
        return Ok(true);
    }
    let mut sector = cause.at.checked_div(SECTOR).unwrap_or(0).saturating_mul(SECTOR);
    while sector < end {
        let to = sector.saturating_add(SECTOR);
        let written = if to > end {
            // Zeroes of the batch behind (its offset begins with some) are also there in a sector that was never written.
            let behind_end = end.saturating_add(behind.len).min(to);
            !is_padding(file, end, behind_end)?
        } else {
            // A sector that was only begun ends with zeroes: writes go from its front to its end.
            sector < cause.at && !is_padding(file, to.saturating_sub(1), to)?
        };
        if !written {
            return Ok(true);
        }
        sector = to;
    }
    Ok(false)
}

fn head_at<F: LogFile>(file: &F, at: u64, len: u64) -> io::Result<Option<Head>> {
    let mut bytes = [0; hanbeon_records::HEADER_LEN];
    if len.saturating_sub(at) < 61 {
        return Ok(None);
    }
    file.read_at(&mut bytes, at)?;
    Ok(Head::parse(&bytes).ok().filter(|head| head.len <= len.saturating_sub(at)))
}

/// The header of a sound batch at `at`, if there is one.
fn sound_at<F: LogFile>(file: &F, at: u64, len: u64) -> io::Result<Option<Head>> {
    let Some(head) = head_at(file, at, len)? else { return Ok(None) };
    let mut bytes = vec![0; usize::try_from(head.len).map_err(io::Error::other)?];
    file.read_at(&mut bytes, at)?;
    let sound = BatchRef::parse(&bytes).is_ok_and(|(batch, _)| batch.verify().is_ok());
    Ok(sound.then_some(head))
}
