//! What the write that was under way when its process was killed can have left.
//!
//! A kill does not take back what a call of the system has written, and a call that was cut short has written the front of what
//! it was given. Whoever leads a group writes it with one call, and answers nobody before that returns. So all that a kill can
//! break is in the last group: batches that together stay below [`GROUP_BYTES_MAX`], and one more, which fills it up.

use std::io;

use hanbeon_records::HEADER_LEN;

use crate::{GROUP_BYTES_MAX, LogFile, OpenPartition, Shutdown, torn::is_padding, walk::length};

/// The byte of the last segment, `len` bytes long, behind which its last write lies.
///
/// A setting of `max.message.bytes` that was lowered since makes it too short for a larger batch: what is left of that is refused then
/// and not cut.
pub(crate) fn last_write_from(options: &OpenPartition, len: u64) -> u64 {
    let largest = length(options.config.max_message_bytes());
    len.saturating_sub(length(GROUP_BYTES_MAX).saturating_add(largest))
}

/// What the kernel copies as one, or more; a write that a kill cuts short ends between two of them.
const PAGE: u64 = 4096;

/// A kill, unless the end of the log does not show where its last write ended.
///
/// A file that was lengthened before it was written (Kafka's `preallocate`) ends with zeroes, and so does a write of a file system that moves the
/// end of a file first: then a torn batch may lie anywhere before them, and even be as long as it says. A header of zeroes tells, or
/// fewer where that is all there is of the last page. Elsewhere the end moves behind what was copied.
pub(crate) fn shown<F: LogFile>(last: &F) -> io::Result<Shutdown> {
    let len = last.len()?;
    let Some(header) = len.checked_sub(length(HEADER_LEN)) else { return Ok(Shutdown::Killed) };
    let last_byte = len.saturating_sub(1);
    let page = last_byte.saturating_sub(last_byte.checked_rem(PAGE).unwrap_or(0));
    let padded = is_padding(last, header.max(page), len)?;
    Ok(if padded { Shutdown::Unclean } else { Shutdown::Killed })
}
