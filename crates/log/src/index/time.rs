//! `.timeindex`: from a time to the offset of the batch that reached it.
//!
//! ```text
//! entry, 12 bytes:  int64 largest time so far in the segment | int32 last offset of the first batch that has it - base offset
//! ```

use std::io;

use hanbeon_records::{Millis, Offset};

use super::{
    IndexDoubt, IndexRefusal, SegmentSpan, WARM_BYTES, entries, floor, offset::write_behind, relative,
};
use crate::LogFile;

/// Bytes of one entry.
const ENTRY: usize = 12;

/// The largest time among the records up to an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeOffset {
    /// Largest time.
    pub timestamp: Millis,
    /// Last offset of the earliest batch that has it.
    pub offset: Offset,
}

/// A checked time index over borrowed bytes.
#[derive(Clone, Copy, Debug)]
pub struct TimeIndexView<'a> {
    base: Offset,
    entries: &'a [[u8; ENTRY]],
}

/// The time index of a segment that is written to.
#[derive(Clone, Debug)]
pub struct ActiveTimeIndex {
    base: Offset,
    bytes: Vec<u8>,
    written: usize,
    entries_max: usize,
}

fn decode(base: Offset, entry: [u8; ENTRY]) -> TimeOffset {
    let [t0, t1, t2, t3, t4, t5, t6, t7, r0, r1, r2, r3] = entry;
    TimeOffset {
        timestamp: Millis::new(i64::from_be_bytes([t0, t1, t2, t3, t4, t5, t6, t7])),
        offset: base.saturating_add(i64::from(u32::from_be_bytes([r0, r1, r2, r3]))),
    }
}

impl<'a> TimeIndexView<'a> {
    /// Checks that the entries rise in time, do not fall in offset, and lie inside the segment. One pass.
    ///
    /// # Errors
    /// Why the index must be rebuilt.
    pub fn parse(bytes: &'a [u8], segment: SegmentSpan) -> Result<Self, IndexDoubt> {
        let base = segment.base_offset;
        let entries = entries::<ENTRY>(bytes)?;
        let mut last: Option<TimeOffset> = None;
        for (place, &entry) in entries.iter().enumerate() {
            let entry = decode(base, entry);
            if entry.offset >= segment.end_offset || relative(base, entry.offset).is_none() {
                return Err(IndexDoubt::Outside { entry: place });
            }
            let rises = |last: TimeOffset| {
                last.timestamp < entry.timestamp && last.offset <= entry.offset
            };
            if !last.is_none_or(rises) {
                return Err(IndexDoubt::Order { entry: place });
            }
            last = Some(entry);
        }
        Ok(Self { base, entries })
    }

    /// Reads bytes that [`Self::parse`] found good before; bytes beyond the last whole entry are left out.
    #[must_use]
    pub const fn trusted(bytes: &'a [u8], base: Offset) -> Self {
        Self { base, entries: bytes.as_chunks().0 }
    }

    /// How many entries there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = TimeOffset> + use<'a> {
        let base = self.base;
        self.entries.iter().map(move |&entry| decode(base, entry))
    }

    /// The last entry.
    #[must_use]
    pub fn last(&self) -> Option<TimeOffset> {
        self.entries.last().map(|&entry| decode(self.base, entry))
    }

    /// The entry with the greatest time that is not above `timestamp`; without one, no time and the base offset.
    ///
    /// All records of that time or later lie at its offset's batch or further on.
    #[must_use]
    pub fn lookup(&self, timestamp: Millis) -> TimeOffset {
        let place = floor(self.len(), WARM_BYTES / ENTRY, |place| {
            self.get(place)
                .map_or(std::cmp::Ordering::Greater, |found| found.timestamp.cmp(&timestamp))
        });
        let start = TimeOffset { timestamp: Millis::NONE, offset: self.base };
        place.and_then(|place| self.get(place)).unwrap_or(start)
    }

    fn get(&self, place: usize) -> Option<TimeOffset> {
        self.entries.get(place).map(|&entry| decode(self.base, entry))
    }
}

impl ActiveTimeIndex {
    /// An empty index that holds up to `bytes_max` (`segment.index.bytes`), the last slot kept for the final entry.
    #[must_use]
    pub fn new(base: Offset, bytes_max: usize) -> Self {
        Self { base, bytes: Vec::new(), written: 0, entries_max: capacity(bytes_max) }
    }

    /// Takes up an index from its file, to be appended to.
    ///
    /// # Errors
    /// Why it must be rebuilt.
    pub fn from_file(bytes: &[u8], segment: SegmentSpan, bytes_max: usize) -> Result<Self, IndexDoubt> {
        TimeIndexView::parse(bytes, segment)?;
        let empty = Self::new(segment.base_offset, bytes_max);
        Ok(Self { bytes: bytes.to_vec(), written: bytes.len(), ..empty })
    }

    /// Reads it.
    #[must_use]
    pub fn view(&self) -> TimeIndexView<'_> {
        TimeIndexView::trusted(&self.bytes, self.base)
    }

    /// Whether the segment must be rolled before the next entry. One slot is left then, for [`Self::push_final`].
    #[must_use]
    pub const fn is_full(&self) -> bool {
        (self.bytes.len() / ENTRY).saturating_add(1) >= self.entries_max
    }

    /// Offers an entry; one whose time is not above the last is left out, as nothing new is learned from it.
    ///
    /// # Errors
    /// [`IndexRefusal`]; the index is as before.
    pub fn push(&mut self, timestamp: Millis, offset: Offset) -> Result<(), IndexRefusal> {
        if self.is_full() {
            return Err(IndexRefusal::Full { entries: self.view().len() });
        }
        self.push_final(timestamp, offset)
    }

    /// Offers the last entry, which may take the slot that [`Self::push`] leaves. For roll, close and recovery.
    ///
    /// # Errors
    /// [`IndexRefusal`]; the index is as before.
    pub fn push_final(&mut self, timestamp: Millis, offset: Offset) -> Result<(), IndexRefusal> {
        let span = IndexRefusal::Span { base: self.base, found: offset };
        let delta = relative(self.base, offset).ok_or(span)?;
        if let Some(last) = self.view().last() {
            if timestamp < last.timestamp {
                return Err(IndexRefusal::TimeBack { last: last.timestamp, found: timestamp });
            }
            if timestamp == last.timestamp {
                return Ok(());
            }
            if offset < last.offset {
                return Err(IndexRefusal::Order { last: last.offset, found: offset });
            }
        }
        if self.view().len() >= self.entries_max {
            return Err(IndexRefusal::Full { entries: self.entries_max });
        }
        self.bytes.extend_from_slice(&timestamp.get().to_be_bytes());
        self.bytes.extend_from_slice(&delta.to_be_bytes());
        Ok(())
    }

    /// Drops all entries of `offset` and above. The file must then be cut to [`Self::as_bytes`]' length, or be written
    /// anew.
    pub fn truncate_to(&mut self, offset: Offset) {
        let keep = self.view().entries.partition_point(|&entry| decode(self.base, entry).offset < offset);
        self.bytes.truncate(keep.saturating_mul(ENTRY));
        self.written = self.written.min(self.bytes.len());
    }

    /// Changes how many bytes make it full; entries that are there stay.
    pub fn set_bytes_max(&mut self, bytes_max: usize) {
        self.entries_max = capacity(bytes_max);
    }

    /// All bytes, as the file holds them once everything is written.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Appends what the file does not hold yet. Nothing is synced.
    ///
    /// # Errors
    /// What the storage reports; the file is then to be rebuilt.
    pub fn write_to<F: LogFile>(&mut self, file: &F) -> io::Result<()> {
        write_behind(file, &self.bytes, &mut self.written)
    }
}

/// One slot for an ordinary entry and one for the final one, at the least.
fn capacity(bytes_max: usize) -> usize {
    (bytes_max / ENTRY).max(2)
}
