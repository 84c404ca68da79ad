//! What the write that was under way when its process was killed can have left.
//!
//! A kill does not take back what a call of the system has written, and a call that was cut short has written the front of what
//! it was given. Whoever leads a group writes it with one call, and answers nobody before that returns. So all that a kill can
//! break is in the last group: batches that together stay below [`GROUP_BYTES_MAX`], and one more, which fills it up.

use std::io;

use hanbeon_records::HEADER_LEN;

use crate::{GROUP_BYTES_MAX, LogFile, OpenPartition, Shutdown, walk::length};

/// Whether damage can come from the write that was cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LastWrite {
    Possible,
    Excluded,
}

/// The byte of the last segment, `len` bytes long, behind which its last write lies.
///
/// A setting of `max.message.bytes` that was lowered since makes it too short for a larger batch: what is left of that is refused then
/// and not cut.
pub(crate) fn last_write_from(options: &OpenPartition, len: u64) -> u64 {
    let largest = length(options.config.max_message_bytes());
    len.saturating_sub(length(GROUP_BYTES_MAX).saturating_add(largest))
}

/// A kill, unless the end of the log does not show where its last write ended.
///
/// A file that was lengthened before it was written (Kafka's `preallocate`) ends with zeroes, and so does a write of a file system
/// that moves the end of a file first: then a torn batch may lie anywhere before them.
pub(crate) fn shown<F: LogFile>(last: &F) -> io::Result<Shutdown> {
    let mut end = [0; HEADER_LEN];
    let Some(at) = last.len()?.checked_sub(length(HEADER_LEN)) else {
        return Ok(Shutdown::Killed);
    };
    last.read_at(&mut end, at)?;
    let shows = end.iter().any(|byte| *byte != 0);
    Ok(if shows { Shutdown::Killed } else { Shutdown::Unclean })
}
