//! `.txnindex`: the aborted transactions whose marker lies in the segment.
//!
//! ```text
//! entry, 34 bytes:  int16 version 0 | int64 producer id | int64 first offset | int64 last offset (the abort marker's)
//!                   | int64 last stable offset when it was aborted
//! ```

use std::io;

use hanbeon_records::{Offset, ProducerId};

use super::{IndexDoubt, IndexRefusal, SegmentSpan, entries, offset::write_behind};
use crate::LogFile;

/// Bytes of one entry.
const ENTRY: usize = 34;

/// One aborted transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AbortedTxn {
    /// Whose.
    pub producer_id: ProducerId,
    /// Base offset of its first batch.
    pub first_offset: Offset,
    /// Offset of the abort marker.
    pub last_offset: Offset,
    /// Last stable offset once it was aborted: every transaction that begins below it is decided by then.
    pub last_stable_offset: Offset,
}

/// Whether all aborted transactions that matter to a read are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collected {
    /// Later segments cannot add any.
    Complete,
    /// The index of the next segment must be asked as well.
    Continues,
}

/// A checked transaction index over borrowed bytes.
#[derive(Clone, Copy, Debug)]
pub struct TxnIndexView<'a> {
    entries: &'a [[u8; ENTRY]],
}

/// The transaction index of a segment that is written to.
#[derive(Clone, Debug)]
pub struct ActiveTxnIndex {
    base: Offset,
    bytes: Vec<u8>,
    written: usize,
}

fn field<const AT: usize>(entry: &[u8; ENTRY]) -> i64 {
    const { assert!(AT + 8 <= ENTRY, "a field lies within the entry") };
    let mut bytes = [0; 8];
    if let Some(found) = entry.get(AT..AT.wrapping_add(8)) {
        bytes.copy_from_slice(found);
    }
    i64::from_be_bytes(bytes)
}

fn decode(entry: &[u8; ENTRY]) -> AbortedTxn {
    AbortedTxn {
        producer_id: ProducerId::new(field::<2>(entry)),
        first_offset: Offset::new(field::<10>(entry)),
        last_offset: Offset::new(field::<18>(entry)),
        last_stable_offset: Offset::new(field::<26>(entry)),
    }
}

impl<'a> TxnIndexView<'a> {
    /// Checks versions, that markers rise and lie inside the segment, and that no transaction ends before it begins. One
    /// pass.
    ///
    /// # Errors
    /// Why the index must be rebuilt. Kafka appends behind a torn entry, which makes every later one garbage.
    pub fn parse(bytes: &'a [u8], segment: SegmentSpan) -> Result<Self, IndexDoubt> {
        let entries = entries::<ENTRY>(bytes)?;
        let mut last: Option<Offset> = None;
        for (place, entry) in entries.iter().enumerate() {
            let [v0, v1, ..] = *entry;
            let version = i16::from_be_bytes([v0, v1]);
            if version != 0 {
                return Err(IndexDoubt::Version { entry: place, found: version });
            }
            let txn = decode(entry);
            if txn.last_offset < segment.base_offset || txn.last_offset >= segment.end_offset {
                return Err(IndexDoubt::Outside { entry: place });
            }
            // Equal ones are zeroes of a page that was never written: a marker lies behind its records.
            if txn.first_offset >= txn.last_offset {
                return Err(IndexDoubt::Backwards { entry: place });
            }
            if last.is_some_and(|last| last >= txn.last_offset) {
                return Err(IndexDoubt::Order { entry: place });
            }
            last = Some(txn.last_offset);
        }
        Ok(Self { entries })
    }

    /// Reads bytes that [`Self::parse`] found good before; bytes beyond the last whole entry are left out.
    #[must_use]
    pub const fn trusted(bytes: &'a [u8]) -> Self {
        Self { entries: bytes.as_chunks().0 }
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

    /// The entries in order of their markers.
    #[must_use]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = AbortedTxn> + use<'a> {
        self.entries.iter().map(decode)
    }

    /// Adds to `into` the aborted transactions that touch offsets from `from` to below `end`.
    ///
    /// A transaction stands in the index of the segment with its *marker*, so a reader goes on to later segments until
    /// one of them answers [`Collected::Complete`].
    pub fn collect(&self, from: Offset, end: Offset, into: &mut Vec<AbortedTxn>) -> Collected {
        let first = self.entries.partition_point(|entry| decode(entry).last_offset < from);
        for entry in self.entries.iter().skip(first) {
            let txn = decode(entry);
            if txn.first_offset < end {
                into.push(txn);
            }
            if txn.last_stable_offset >= end {
                return Collected::Complete;
            }
        }
        Collected::Continues
    }
}

impl ActiveTxnIndex {
    /// An empty index.
    #[must_use]
    pub const fn new(base: Offset) -> Self {
        Self { base, bytes: Vec::new(), written: 0 }
    }

    /// Takes up an index from its file, to be appended to.
    ///
    /// # Errors
    /// Why it must be rebuilt.
    pub fn from_file(bytes: &[u8], segment: SegmentSpan) -> Result<Self, IndexDoubt> {
        TxnIndexView::parse(bytes, segment)?;
        Ok(Self { base: segment.base_offset, bytes: bytes.to_vec(), written: bytes.len() })
    }

    /// Reads it.
    #[must_use]
    pub fn view(&self) -> TxnIndexView<'_> {
        TxnIndexView::trusted(&self.bytes)
    }

    /// Adds a transaction whose abort marker was written.
    ///
    /// # Errors
    /// [`IndexRefusal::Order`] when its marker does not lie above the last one, [`IndexRefusal::Span`] when it lies below
    /// the segment.
    pub fn push(&mut self, txn: AbortedTxn) -> Result<(), IndexRefusal> {
        if txn.last_offset < self.base {
            return Err(IndexRefusal::Span { base: self.base, found: txn.last_offset });
        }
        if let Some(last) = self.view().iter().next_back()
            && txn.last_offset <= last.last_offset
        {
            return Err(IndexRefusal::Order { last: last.last_offset, found: txn.last_offset });
        }
        self.bytes.extend_from_slice(&0_i16.to_be_bytes());
        self.bytes.extend_from_slice(&txn.producer_id.get().to_be_bytes());
        for offset in [txn.first_offset, txn.last_offset, txn.last_stable_offset] {
            self.bytes.extend_from_slice(&offset.get().to_be_bytes());
        }
        Ok(())
    }

    /// Drops all transactions whose marker lies at `offset` or above. The file must then be cut to [`Self::as_bytes`]'
    /// length, or be written anew.
    pub fn truncate_to(&mut self, offset: Offset) {
        let keep = self.view().entries.partition_point(|entry| decode(entry).last_offset < offset);
        self.bytes.truncate(keep.saturating_mul(ENTRY));
        self.written = self.written.min(self.bytes.len());
    }

    /// All bytes, as the file holds them once everything is written. The file comes with the first entry.
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

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Offset = Offset::new(0);

    fn span(end: i64) -> SegmentSpan {
        SegmentSpan { base_offset: BASE, end_offset: Offset::new(end), log_bytes: 0 }
    }

    fn txn(producer_id: i64, first: i64, last: i64, stable: i64) -> AbortedTxn {
        AbortedTxn {
            producer_id: ProducerId::new(producer_id),
            first_offset: Offset::new(first),
            last_offset: Offset::new(last),
            last_stable_offset: Offset::new(stable),
        }
    }

    fn index(txns: &[AbortedTxn]) -> ActiveTxnIndex {
        let mut index = ActiveTxnIndex::new(BASE);
        for &txn in txns {
            index.push(txn).unwrap();
        }
        index
    }

    /// The transactions of Kafka's `TransactionIndexTest.testCollectAbortedTransactions`.
    fn four() -> [AbortedTxn; 4] {
        [txn(0, 0, 10, 11), txn(1, 5, 15, 13), txn(2, 18, 35, 25), txn(3, 32, 50, 40)]
    }

    #[test]
    fn bytes_are_kafkas() {
        let index = index(&[txn(1000, 1, 2, 3)]);
        let mut bytes = vec![0, 0, 0, 0, 0, 0, 0, 0, 3, 0xe8];
        for offset in 1..=3_u8 {
            bytes.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, offset]);
        }
        assert_eq!(index.as_bytes(), bytes);
        assert_eq!(index.view().iter().next(), Some(txn(1000, 1, 2, 3)));
    }

    #[test]
    fn t6_a_read_collects_the_aborted_transactions_that_touch_it() {
        let index = index(&four());
        let [a, b, c, d] = four();
        let collect = |from, end| {
            let mut found = Vec::new();
            let whole = index.view().collect(Offset::new(from), Offset::new(end), &mut found);
            (found, whole)
        };
        assert_eq!(collect(0, 100), (vec![a, b, c, d], Collected::Continues));
        assert_eq!(collect(0, 32), (vec![a, b, c], Collected::Complete));
        assert_eq!(collect(0, 35), (vec![a, b, c, d], Collected::Complete));
        assert_eq!(collect(10, 35), (vec![a, b, c, d], Collected::Complete));
        assert_eq!(collect(11, 35), (vec![b, c, d], Collected::Complete));
        assert_eq!(collect(20, 41), (vec![c, d], Collected::Continues));
        assert_eq!(collect(0, 11), (vec![a], Collected::Complete), "all below 11 was decided");
        assert_eq!(collect(51, 99), (vec![], Collected::Continues));
    }

    #[test]
    fn collecting_adds_to_what_earlier_segments_gave() {
        let [a, b, c, d] = four();
        let mut found = vec![a];
        let view = index(&[b, c, d]);
        let whole = view.view().collect(BASE, Offset::new(20), &mut found);
        assert_eq!((found, whole), (vec![a, b, c], Collected::Complete));
    }

    #[test]
    fn markers_rise() {
        let mut index = index(&four());
        let last = Offset::new(50);
        for found in [50, 49] {
            let refused = Err(IndexRefusal::Order { last, found: Offset::new(found) });
            assert_eq!(index.push(txn(4, 40, found, 60)), refused);
        }
        // The rule holds as well for an index that was taken up from its file (Kafka forgets it there).
        let mut again = ActiveTxnIndex::from_file(index.as_bytes(), span(51)).unwrap();
        assert!(again.push(txn(4, 40, 50, 60)).is_err());
        again.push(txn(4, 40, 51, 60)).unwrap();
    }

    #[test]
    fn b13_a_torn_or_foreign_index_is_doubted() {
        let bytes = index(&four()).as_bytes().to_vec();
        let parse = |bytes: &[u8], end| TxnIndexView::parse(bytes, span(end)).err();
        assert_eq!(parse(&bytes, 51), None);
        assert_eq!(parse(&bytes, 50), Some(IndexDoubt::Outside { entry: 3 }));
        let torn = IndexDoubt::Length { entry: 34, found: 135 };
        assert_eq!(parse(&bytes[..135], 51), Some(torn));
        let mut version = bytes.clone();
        version[35] = 1;
        assert_eq!(parse(&version, 51), Some(IndexDoubt::Version { entry: 1, found: 1 }));
        let swapped = [&bytes[34..68], &bytes[..34]].concat();
        assert_eq!(parse(&swapped, 51), Some(IndexDoubt::Order { entry: 1 }));
        let mut backwards = bytes;
        backwards[10..18].copy_from_slice(&11_i64.to_be_bytes());
        assert_eq!(parse(&backwards, 51), Some(IndexDoubt::Backwards { entry: 0 }));
        let zeroes = [0; 68];
        assert_eq!(parse(&zeroes, 51), Some(IndexDoubt::Backwards { entry: 0 }));
    }

    #[test]
    fn a_cut_drops_transactions_whose_marker_is_gone() {
        let cut = |to| {
            let mut index = index(&four());
            index.truncate_to(Offset::new(to));
            index.view().len()
        };
        assert_eq!([cut(51), cut(50), cut(36), cut(35), cut(10), cut(0)], [4, 3, 3, 2, 0, 0]);
    }
}
