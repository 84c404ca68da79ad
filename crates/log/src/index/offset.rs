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
            let rises =
                |last: OffsetPosition| last.offset < entry.offset && last.position < entry.position;
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
    #[must_use]
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
        place
            .and_then(|place| self.get(place))
            .unwrap_or(OffsetPosition { offset: self.base, position: 0 })
    }

    /// The first entry at or behind the end of `size` bytes from `start` on: all offsets in those bytes lie below its
    /// offset. `None` when the index ends before.
    #[must_use]
    pub fn upper_bound(&self, start: OffsetPosition, size: u64) -> Option<OffsetPosition> {
        let end = u64::from(start.position).saturating_add(size);
        let place = self
            .entries
            .partition_point(|&entry| u64::from(decode(self.base, entry).position) < end);
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
    pub fn from_file(
        bytes: &[u8],
        segment: SegmentSpan,
        bytes_max: usize,
    ) -> Result<Self, IndexDoubt> {
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
        let keep =
            self.view().entries.partition_point(|&entry| decode(self.base, entry).offset < offset);
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
pub(super) fn write_behind<F: LogFile>(
    file: &F,
    bytes: &[u8],
    written: &mut usize,
) -> io::Result<()> {
    let new = bytes.get(*written..).unwrap_or_default();
    if !new.is_empty() {
        let at = u64::try_from(*written).map_err(io::Error::other)?;
        file.write_at(&[IoSlice::new(new)], at)?;
        *written = bytes.len();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Dir, FileName, MemDir, Open};

    const BASE: Offset = Offset::new(100);

    fn span(end: i64, log_bytes: u64) -> SegmentSpan {
        SegmentSpan { base_offset: BASE, end_offset: Offset::new(end), log_bytes }
    }

    fn index(entries: &[(i64, u32)]) -> ActiveOffsetIndex {
        let mut index = ActiveOffsetIndex::new(BASE, 1 << 20);
        for &(offset, position) in entries {
            index.push(Offset::new(offset), position).unwrap();
        }
        index
    }

    fn at(offset: i64, position: u32) -> OffsetPosition {
        OffsetPosition { offset: Offset::new(offset), position }
    }

    #[test]
    fn bytes_are_kafkas() {
        assert_eq!(
            index(&[(103, 0x1234), (100 + i64::from(i32::MAX), 0x7fff_ffff)]).as_bytes(),
            [0, 0, 0, 3, 0, 0, 0x12, 0x34, 0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]
        );
    }

    #[test]
    fn lookups_below_between_on_and_beyond_entries() {
        let index = index(&[(104, 500), (110, 900), (120, 1500)]);
        let view = index.view();
        for (offset, found) in [
            (0, at(100, 0)),
            (103, at(100, 0)),
            (104, at(104, 500)),
            (109, at(104, 500)),
            (110, at(110, 900)),
            (5000, at(120, 1500)),
        ] {
            assert_eq!(view.lookup(Offset::new(offset)), found, "{offset}");
        }
        let empty = ActiveOffsetIndex::new(BASE, 8);
        assert_eq!(empty.view().lookup(Offset::new(7)), at(100, 0));
    }

    #[test]
    fn the_upper_bound_of_a_read_is_the_first_entry_behind_it() {
        let index = index(&[(104, 500), (110, 900), (120, 1500)]);
        let bound = |start, size| index.view().upper_bound(at(0, start), size);
        assert_eq!(bound(0, 500), Some(at(104, 500)));
        assert_eq!(bound(0, 501), Some(at(110, 900)));
        assert_eq!(bound(500, 400), Some(at(110, 900)));
        assert_eq!(bound(500, 1001), None);
        assert_eq!(bound(u32::MAX, u64::MAX), None);
    }

    #[test]
    fn b3_a_last_offset_equal_to_the_base_is_legal() {
        let index = index(&[(100, 70)]);
        assert!(OffsetIndexView::parse(index.as_bytes(), span(101, 71)).is_ok());
    }

    #[test]
    fn a17_zeroes_that_a_crash_left_are_doubted() {
        let zeroes = [0; 24];
        let doubt = OffsetIndexView::parse(&zeroes, span(200, 4096)).unwrap_err();
        assert_eq!(doubt, IndexDoubt::Order { entry: 1 });
        let mut bytes = index(&[(104, 500)]).as_bytes().to_vec();
        bytes.extend_from_slice(&zeroes);
        let doubt = OffsetIndexView::parse(&bytes, span(200, 4096)).unwrap_err();
        assert_eq!(doubt, IndexDoubt::Order { entry: 1 });
    }

    #[test]
    fn l6_entries_outside_the_segment_are_doubted() {
        let bytes = index(&[(104, 500), (110, 900)]).as_bytes().to_vec();
        let doubt = |end, log_bytes| OffsetIndexView::parse(&bytes, span(end, log_bytes)).err();
        assert_eq!(doubt(111, 901), None);
        assert_eq!(doubt(110, 901), Some(IndexDoubt::Outside { entry: 1 }));
        assert_eq!(doubt(111, 900), Some(IndexDoubt::Outside { entry: 1 }));
        let torn = OffsetIndexView::parse(&bytes[..15], span(111, 901)).unwrap_err();
        assert_eq!(torn, IndexDoubt::Length { entry: 8, found: 15 });
        let negative = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1];
        let doubt = OffsetIndexView::parse(&negative, span(i64::MAX, 10)).unwrap_err();
        assert_eq!(doubt, IndexDoubt::Outside { entry: 0 });
    }

    #[test]
    fn refuses_what_would_not_be_found_again() {
        let mut index = index(&[(104, 500)]);
        let order =
            |found| Err(IndexRefusal::Order { last: Offset::new(104), found: Offset::new(found) });
        assert_eq!(index.push(Offset::new(104), 600), order(104));
        assert_eq!(index.push(Offset::new(103), 600), order(103));
        assert_eq!(index.push(Offset::new(105), 500), order(105));
        let found = Offset::new(101 + i64::from(i32::MAX));
        let span = Err(IndexRefusal::Span { base: BASE, found });
        assert_eq!(index.push(found, 600), span);
        assert_eq!(index.view().len(), 1, "nothing was added");
    }

    #[test]
    fn b2_a_full_index_takes_entries_again_after_a_cut() {
        let mut index = ActiveOffsetIndex::new(BASE, 23);
        index.push(Offset::new(101), 100).unwrap();
        assert!(!index.is_full());
        index.push(Offset::new(102), 200).unwrap();
        assert!(index.is_full(), "23 bytes hold two entries");
        assert_eq!(index.push(Offset::new(103), 300), Err(IndexRefusal::Full { entries: 2 }));
        index.truncate_to(BASE);
        assert!(index.view().is_empty() && !index.is_full());
        index.push(Offset::new(101), 100).unwrap();
        index.push(Offset::new(102), 200).unwrap();
        index.set_bytes_max(24);
        index.push(Offset::new(103), 300).unwrap();
    }

    #[test]
    fn a_cut_drops_the_offset_itself_and_all_above() {
        let cut = |to| {
            let mut index = index(&[(104, 500), (110, 900), (120, 1500)]);
            index.truncate_to(Offset::new(to));
            index.view().last()
        };
        assert_eq!(cut(121), Some(at(120, 1500)));
        assert_eq!(cut(120), Some(at(110, 900)));
        assert_eq!(cut(111), Some(at(110, 900)));
        assert_eq!(cut(104), None);
        assert_eq!(cut(0), None);
    }

    #[test]
    fn the_file_gets_each_byte_once() {
        let dir = MemDir::new();
        let file = dir.open(&FileName::new("i").unwrap(), Open::CreateNew).unwrap();
        let mut index = index(&[(104, 500)]);
        index.write_to(&file).unwrap();
        index.push(Offset::new(110), 900).unwrap();
        index.push(Offset::new(120), 1500).unwrap();
        index.write_to(&file).unwrap();
        index.write_to(&file).unwrap();
        assert_eq!(file.view(0..file.len().unwrap()).unwrap(), index.as_bytes());

        index.truncate_to(Offset::new(111));
        file.set_len(16).unwrap();
        index.push(Offset::new(112), 901).unwrap();
        index.write_to(&file).unwrap();
        let bytes = file.view(0..file.len().unwrap()).unwrap();
        let again = ActiveOffsetIndex::from_file(&bytes, span(121, 2000), 1 << 20).unwrap();
        assert_eq!(again.as_bytes(), index.as_bytes());
    }

    /// Rising entries, and how long the segment is that they describe.
    fn entries() -> impl Strategy<Value = Vec<(i64, u32)>> {
        prop::collection::vec((1_i64..50, 1_u32..9000), 0..4000).prop_map(|steps| {
            steps
                .into_iter()
                .scan((99, 0), |(offset, position), (by, bytes)| {
                    (*offset, *position) = (*offset + by, *position + bytes);
                    Some((*offset, *position))
                })
                .collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn l6_a_lookup_is_the_floor_and_never_overshoots(entries in entries(), targets in prop::collection::vec(0_i64..120_000, 32)) {
            let index = index(&entries);
            for target in targets {
                let floor = entries.iter().rev().find(|(offset, _)| *offset <= target);
                let floor = floor.map_or_else(|| at(100, 0), |&(offset, position)| at(offset, position));
                let found = index.view().lookup(Offset::new(target));
                prop_assert_eq!(found, floor);
            }
        }

        #[test]
        fn l5_what_was_pushed_reads_back_and_a_cut_equals_a_shorter_history(entries in entries(), to in 0_i64..120_000) {
            let mut cut = index(&entries);
            let end = entries.last().map_or(100, |last| last.0 + 1);
            let bytes = entries.last().map_or(0, |last| u64::from(last.1) + 1);
            let view = OffsetIndexView::parse(cut.as_bytes(), span(end, bytes)).unwrap();
            prop_assert_eq!(view.len(), entries.len());
            cut.truncate_to(Offset::new(to));
            let shorter: Vec<_> = entries.into_iter().filter(|entry| entry.0 < to).collect();
            let again = index(&shorter);
            prop_assert_eq!(cut.as_bytes(), again.as_bytes());
        }
    }
}
