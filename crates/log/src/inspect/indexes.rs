//! Entries of indexes as they stand in the files.

use hanbeon_records::Offset;

use super::{Defect, Finding};
use crate::{
    AbortedTxn, IndexDoubt, OffsetIndexView, OffsetPosition, SegmentSpan, TimeIndexView,
    TimeOffset, TxnIndexView, walk::length,
};

/// Largest index that is read: 128 MiB, more than any segment of 2 GiB fills.
pub const INDEX_BYTES_MAX: u64 = 128 << 20;

/// The entries of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexContents<T> {
    /// Bytes of the file.
    pub bytes: u64,
    /// Of these, zeroes behind the last entry: room for more, as a broker that did not stop leaves it.
    pub padding: u64,
    /// All whole entries before the padding, whether they make sense or not.
    pub entries: Vec<T>,
    /// What is wrong with them, and at which byte.
    pub doubt: Option<(u64, IndexDoubt)>,
}

const OFFSET_ENTRY: usize = 8;
const TIME_ENTRY: usize = 12;
const TXN_ENTRY: usize = 34;

/// Reads a `.index` file. Without a `span` only what needs no log is checked: a segment may hold any offset then.
#[must_use]
pub fn read_offset_index(bytes: &[u8], span: SegmentSpan) -> IndexContents<OffsetPosition> {
    let (used, padding) = split(bytes, OFFSET_ENTRY);
    let doubt = OffsetIndexView::parse(used, span).err();
    let entries = OffsetIndexView::trusted(used, span.base_offset).iter().collect();
    contents(bytes, padding, entries, doubt.map(|doubt| (place(doubt, OFFSET_ENTRY, used), doubt)))
}

/// Reads a `.timeindex` file; see [`read_offset_index`].
#[must_use]
pub fn read_time_index(bytes: &[u8], span: SegmentSpan) -> IndexContents<TimeOffset> {
    let (used, padding) = split(bytes, TIME_ENTRY);
    let doubt = TimeIndexView::parse(used, span).err();
    let entries = TimeIndexView::trusted(used, span.base_offset).iter().collect();
    contents(bytes, padding, entries, doubt.map(|doubt| (place(doubt, TIME_ENTRY, used), doubt)))
}

/// Reads a `.txnindex` file; see [`read_offset_index`]. It is never padded.
#[must_use]
pub fn read_txn_index(bytes: &[u8], span: SegmentSpan) -> IndexContents<AbortedTxn> {
    let doubt = TxnIndexView::parse(bytes, span).err();
    let entries = TxnIndexView::trusted(bytes).iter().collect();
    contents(bytes, 0, entries, doubt.map(|doubt| (place(doubt, TXN_ENTRY, bytes), doubt)))
}

/// The span of a segment nothing is known of but its name.
#[must_use]
pub const fn any_span(base_offset: Offset) -> SegmentSpan {
    SegmentSpan { base_offset, end_offset: Offset::new(i64::MAX), log_bytes: u64::MAX }
}

impl<T> IndexContents<T> {
    /// The doubt as a finding about `file`.
    #[must_use]
    pub fn finding(&self, file: impl ToString) -> Option<Finding> {
        self.doubt.map(|(at, doubt)| Finding::new(file, at, Defect::from(doubt)))
    }
}

fn contents<T>(
    bytes: &[u8],
    padding: usize,
    entries: Vec<T>,
    doubt: Option<(u64, IndexDoubt)>,
) -> IndexContents<T> {
    IndexContents { bytes: length(bytes.len()), padding: length(padding), entries, doubt }
}

/// Divides used entries from whole entries of zeroes behind them. No segment has such an entry behind another: its first batch gets
/// none, and times rise.
fn split(bytes: &[u8], entry: usize) -> (&[u8], usize) {
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last.saturating_add(1));
    let used = used.div_ceil(entry).saturating_mul(entry);
    match bytes.split_at_checked(used) {
        Some((used, padding)) if padding.len().is_multiple_of(entry) => (used, padding.len()),
        _ => (bytes, 0),
    }
}

/// The byte that a doubt is about.
fn place(doubt: IndexDoubt, len: usize, bytes: &[u8]) -> u64 {
    let entry = match doubt {
        IndexDoubt::Length { .. } => bytes.len().checked_div(len).unwrap_or(0),
        IndexDoubt::Order { entry }
        | IndexDoubt::Outside { entry }
        | IndexDoubt::Version { entry, .. }
        | IndexDoubt::Backwards { entry } => entry,
    };
    length(entry.saturating_mul(len))
}
