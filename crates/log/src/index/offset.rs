//! `.index`: from an offset to the place of its batch.
//!
//! ```text
//! entry, 8 bytes:  int32 last offset of a batch - base offset | int32 position of the batch's first byte
//! ```

use std::io::{self, IoSlice};

use hanbeon_records::Offset;

use super::{IndexDoubt, IndexRefusal, SegmentSpan, WARM_BYTES, entries, floor, relative};
use crate::LogFile;

/// Bytes of one entry.
const ENTRY: usize = 8;

/// An offset and the position of the batch that ends with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetPosition {
    /// Last offset of the batch.
    pub offset: Offset,
    /// First byte of the batch in the `.log` file.
    pub position: u32,
}

/// A checked offset index over borrowed bytes.
#[derive(Clone, Copy, Debug)]
pub struct OffsetIndexView<'a> {
    base: Offset,
    entries: &'a [[u8; ENTRY]],
}

/// The offset index of a segment that is written to.
#[derive(Clone, Debug)]
pub struct ActiveOffsetIndex {
    base: Offset,
    bytes: Vec<u8>,
    written: usize,
    entries_max: usize,
}

fn decode(base: Offset, entry: [u8; ENTRY]) -> OffsetPosition {
    let [r0, r1, r2, r3, p0, p1, p2, p3] = entry;
    OffsetPosition {
        offset: base.saturating_add(i64::from(u32::from_be_bytes([r0, r1, r2, r3]))),
        position: u32::from_be_bytes([p0, p1, p2, p3]),
    }
}

impl<'a> OffsetIndexView<'a> {
    /// Checks that the entries rise in offset and position and lie inside the segment. One pass.
    ///
    /// The offset of the last entry may equal the base offset (KAFKA-7076).
    ///
    /// # Errors
    /// Why the index must be rebuilt.
    pub fn parse(bytes: &'a [u8], segment: SegmentSpan) -> Result<Self, IndexDoubt> {
        let base = segment.base_offset;
        let entries = entries::<ENTRY>(bytes)?;
        let mut last: Option<OffsetPosition> = None;
        for (place, &entry) in entries.iter().enumerate() {
            let entry = decode(base, entry);
            let inside = entry.offset < segment.end_offset
                && relative(base, entry.offset).is_some()
                && u64::from(entry.position) < segment.log_bytes;
            if !inside {
                return Err(IndexDoubt::Outside { entry: place });
            }
            let rises = |last: OffsetPosition| {
                last.offset < entry.offset && last.position < entry.position
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
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = OffsetPosition> + use<'a> {
        let base = self.base;
        self.entries.iter().map(move |&entry| decode(base, entry))
    }

    /// The last entry.
    #[must_use]
    pub fn last(&self) -> Option<OffsetPosition> {
        self.entries.last().map(|&entry| decode(self.base, entry))
    }

    /// The greatest entry that is not above `offset`; without one, the start of the segment.
    ///
    /// The batch of `offset` begins there or further on.
    #[must_use]
    pub fn lookup(&self, offset: Offset) -> OffsetPosition {
        let place = floor(self.len(), WARM_BYTES / ENTRY, |place| {
            self.get(place).map_or(std::cmp::Ordering::Greater, |found| found.offset.cmp(&offset))
        });
        place.and_then(|place| self.get(place)).unwrap_or(OffsetPosition { offset: self.base, position: 0 })
    }

    /// The first entry at or behind the end of `size` bytes from `start` on: all offsets in those bytes lie below its
    /// offset. `None` when the index ends before.
    #[must_use]
    pub fn upper_bound(&self, start: OffsetPosition, size: u64) -> Option<OffsetPosition> {
        let end = u64::from(start.position).saturating_add(size);
        let place = self.entries.partition_point(|&entry| {
            u64::from(decode(self.base, entry).position) < end
        });
        self.get(place)
    }

    fn get(&self, place: usize) -> Option<OffsetPosition> {
        self.entries.get(place).map(|&entry| decode(self.base, entry))
    }
}

impl ActiveOffsetIndex {
    /// An empty index that is full at `bytes_max` (`segment.index.bytes`), but takes at least one entry.
    #[must_use]
    pub fn new(base: Offset, bytes_max: usize) -> Self {
        let entries_max = (bytes_max / ENTRY).max(1);
        Self { base, bytes: Vec::new(), written: 0, entries_max }
    }

    /// Takes up an index from its file, to be appended to.
    ///
    /// # Errors
    /// Why it must be rebuilt.
    pub fn from_file(bytes: &[u8], segment: SegmentSpan, bytes_max: usize) -> Result<Self, IndexDoubt> {
        OffsetIndexView::parse(bytes, segment)?;
        let empty = Self::new(segment.base_offset, bytes_max);
        Ok(Self { bytes: bytes.to_vec(), written: bytes.len(), ..empty })
    }

    /// Reads it.
    #[must_use]
    pub fn view(&self) -> OffsetIndexView<'_> {
        OffsetIndexView::trusted(&self.bytes, self.base)
    }

    /// Whether the segment must be rolled before the next entry.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.bytes.len() / ENTRY >= self.entries_max
    }

    /// Adds an entry for a batch that ends with `offset` and begins at `position`.
    ///
    /// # Errors
    /// [`IndexRefusal`]; the index is as before.
    pub fn push(&mut self, offset: Offset, position: u32) -> Result<(), IndexRefusal> {
        if self.is_full() {
            return Err(IndexRefusal::Full { entries: self.entries_max });
        }
        let span = IndexRefusal::Span { base: self.base, found: offset };
        let delta = relative(self.base, offset).ok_or(span)?;
        if let Some(last) = self.view().last()
            && (offset <= last.offset || position <= last.position)
        {
            return Err(IndexRefusal::Order { last: last.offset, found: offset });
        }
        self.bytes.extend_from_slice(&delta.to_be_bytes());
        self.bytes.extend_from_slice(&position.to_be_bytes());
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
        self.entries_max = (bytes_max / ENTRY).max(1);
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

/// Writes what `bytes` has beyond the first `written` and counts it as written.
pub(super) fn write_behind<F: LogFile>(file: &F, bytes: &[u8], written: &mut usize) -> io::Result<()> {
    let new = bytes.get(*written..).unwrap_or_default();
    if !new.is_empty() {
        let at = u64::try_from(*written).map_err(io::Error::other)?;
        file.write_at(&[IoSlice::new(new)], at)?;
        *written = bytes.len();
    }
    Ok(())
}
