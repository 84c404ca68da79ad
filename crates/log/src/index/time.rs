//! `.timeindex`: from a time to the offset of the batch that reached it.
//!
//! ```text
//! entry, 12 bytes:  int64 largest time so far in the segment | int32 last offset of the first batch that has it - base offset
//! ```

use std::io;

use hanbeon_records::{Millis, Offset};

use super::{
    IndexDoubt, IndexRefusal, SegmentSpan, WARM_BYTES, entries, floor, offset::write_behind,
    relative,
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
            let rises =
                |last: TimeOffset| last.timestamp < entry.timestamp && last.offset <= entry.offset;
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
    pub fn from_file(
        bytes: &[u8],
        segment: SegmentSpan,
        bytes_max: usize,
    ) -> Result<Self, IndexDoubt> {
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
        // Without an entry the time is -1: a segment without times gets no final entry (Kafka's `TimeIndex.lastEntry`).
        let start = TimeOffset { timestamp: Millis::NONE, offset: self.base };
        let last = self.view().last().unwrap_or(start);
        if timestamp < last.timestamp {
            return Err(IndexRefusal::TimeBack { last: last.timestamp, found: timestamp });
        }
        if timestamp == last.timestamp {
            return Ok(());
        }
        if offset < last.offset {
            return Err(IndexRefusal::Order { last: last.offset, found: offset });
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
        let keep =
            self.view().entries.partition_point(|&entry| decode(self.base, entry).offset < offset);
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BASE: Offset = Offset::new(100);

    fn span(end: i64) -> SegmentSpan {
        SegmentSpan { base_offset: BASE, end_offset: Offset::new(end), log_bytes: 0 }
    }

    fn index(entries: &[(i64, i64)]) -> ActiveTimeIndex {
        let mut index = ActiveTimeIndex::new(BASE, 1 << 20);
        for &(timestamp, offset) in entries {
            index.push(Millis::new(timestamp), Offset::new(offset)).unwrap();
        }
        index
    }

    fn at(timestamp: i64, offset: i64) -> TimeOffset {
        TimeOffset { timestamp: Millis::new(timestamp), offset: Offset::new(offset) }
    }

    #[test]
    fn bytes_are_kafkas() {
        let index = index(&[(1_700_000_000_000, 103)]);
        assert_eq!(index.as_bytes(), [0, 0, 0x01, 0x8b, 0xcf, 0xe5, 0x68, 0, 0, 0, 0, 3]);
    }

    #[test]
    fn lookups_below_between_on_and_beyond_entries() {
        let index = index(&[(10, 104), (20, 104), (50, 120)]);
        for (timestamp, found) in [
            (9, at(-1, 100)),
            (10, at(10, 104)),
            (19, at(10, 104)),
            (20, at(20, 104)),
            (49, at(20, 104)),
            (50, at(50, 120)),
            (i64::MAX, at(50, 120)),
        ] {
            assert_eq!(index.view().lookup(Millis::new(timestamp)), found, "{timestamp}");
        }
    }

    #[test]
    fn an_equal_time_is_left_out_and_a_lower_one_refused() {
        let mut index = index(&[(10, 104)]);
        index.push(Millis::new(10), Offset::new(110)).unwrap();
        assert_eq!(index.view().last(), Some(at(10, 104)));
        assert_eq!(
            index.push(Millis::new(9), Offset::new(110)),
            Err(IndexRefusal::TimeBack { last: Millis::new(10), found: Millis::new(9) })
        );
        assert_eq!(
            index.push(Millis::new(11), Offset::new(103)),
            Err(IndexRefusal::Order { last: Offset::new(104), found: Offset::new(103) })
        );
        assert_eq!(index.view().len(), 1);
    }

    #[test]
    fn a_segment_without_times_gets_no_entry() {
        let mut index = ActiveTimeIndex::new(BASE, 1 << 20);
        index.push_final(Millis::NONE, Offset::new(110)).unwrap();
        assert!(index.view().is_empty());
        index.push(Millis::new(0), Offset::new(111)).unwrap();
        assert_eq!(index.view().last(), Some(at(0, 111)));
    }

    #[test]
    fn the_last_slot_is_kept_for_the_final_entry() {
        let mut index = ActiveTimeIndex::new(BASE, 36);
        index.push(Millis::new(1), Offset::new(101)).unwrap();
        assert!(!index.is_full());
        index.push(Millis::new(2), Offset::new(102)).unwrap();
        assert!(index.is_full(), "36 bytes hold three entries, one of them final");
        assert!(index.push(Millis::new(3), Offset::new(103)).is_err());
        index.push_final(Millis::new(3), Offset::new(103)).unwrap();
        let full = Err(IndexRefusal::Full { entries: 3 });
        assert_eq!(index.push_final(Millis::new(4), Offset::new(104)), full);
        assert_eq!(index.push_final(Millis::new(3), Offset::new(104)), Ok(()), "nothing to add");
    }

    #[test]
    fn doubts_zeroes_order_and_strangers() {
        let parse = |bytes: &[u8]| TimeIndexView::parse(bytes, span(130)).err();
        assert_eq!(parse(&[0; 24]), Some(IndexDoubt::Order { entry: 1 }));
        assert_eq!(parse(&[0; 13]), Some(IndexDoubt::Length { entry: 12, found: 13 }));
        let good = index(&[(10, 104), (20, 129)]);
        assert_eq!(parse(good.as_bytes()), None);
        let beyond = index(&[(10, 104), (20, 130)]);
        assert_eq!(parse(beyond.as_bytes()), Some(IndexDoubt::Outside { entry: 1 }));
        let (first, second) = good.as_bytes().split_at(12);
        let swapped = [second, first].concat();
        assert_eq!(parse(&swapped), Some(IndexDoubt::Order { entry: 1 }));
    }

    fn entries() -> impl Strategy<Value = Vec<(i64, i64)>> {
        prop::collection::vec((1_i64..50, 0_i64..9), 0..3000).prop_map(|steps| {
            steps
                .into_iter()
                .scan((0, 100), |(timestamp, offset), (ms, by)| {
                    (*timestamp, *offset) = (*timestamp + ms, *offset + by);
                    Some((*timestamp, *offset))
                })
                .collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn l6_a_lookup_is_the_floor(entries in entries(), targets in prop::collection::vec(-2_i64..80_000, 32)) {
            let index = index(&entries);
            for target in targets {
                let floor = entries.iter().rev().find(|(timestamp, _)| *timestamp <= target);
                let floor = floor.map_or_else(|| at(-1, 100), |&(timestamp, offset)| at(timestamp, offset));
                prop_assert_eq!(index.view().lookup(Millis::new(target)), floor);
            }
        }

        #[test]
        fn l5_what_was_pushed_reads_back_and_a_cut_equals_a_shorter_history(entries in entries(), to in 90_i64..20_000) {
            let mut cut = index(&entries);
            let end = entries.last().map_or(100, |last| last.1 + 1);
            let view = TimeIndexView::parse(cut.as_bytes(), span(end)).unwrap();
            prop_assert_eq!(view.len(), entries.len());
            cut.truncate_to(Offset::new(to));
            let shorter: Vec<_> = entries.into_iter().filter(|entry| entry.1 < to).collect();
            let again = index(&shorter);
            prop_assert_eq!(cut.as_bytes(), again.as_bytes());
            prop_assert_eq!(cut.view().last(), shorter.last().map(|&(t, o)| at(t, o)));
        }
    }
}
