//! Sparse indexes beside a segment, in Kafka's exact bytes.
//!
//! Each of the three comes as an *active* index, which lives in memory and whose new bytes its owner appends to the file
//! when it likes, and as a *view* of bytes that were mapped or read, checked once by `parse`. No index carries a
//! checksum, so a view is only given out when its entries rise and lie inside their segment; otherwise there is an
//! [`IndexDoubt`] and the index is rebuilt from the log.

mod offset;
mod time;
mod txn;

use std::cmp::Ordering;

use hanbeon_records::{Millis, Offset};

pub use offset::{ActiveOffsetIndex, OffsetIndexView, OffsetPosition};
pub use time::{ActiveTimeIndex, TimeIndexView, TimeOffset};
pub use txn::{AbortedTxn, ActiveTxnIndex, Collected, TxnIndexView};

/// Bytes at the end of an index that are searched first. Lookups near the end of the log stay within these three pages of
/// memory, which are therefore never cold (Kafka's `AbstractIndex`, KAFKA-6432).
const WARM_BYTES: usize = 8192;

/// What the log of a segment spans; entries of its indexes must lie inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentSpan {
    /// Offset in the file's name.
    pub base_offset: Offset,
    /// The offset after the last one in the segment.
    pub end_offset: Offset,
    /// Bytes of the `.log` file.
    pub log_bytes: u64,
}

/// Why an index cannot be trusted and must be rebuilt from its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IndexDoubt {
    /// The file ends inside an entry.
    #[error("an index of {entry}-byte entries has {found} bytes")]
    Length {
        /// Bytes of one entry.
        entry: usize,
        /// Bytes of the file.
        found: usize,
    },
    /// An entry does not lie above its predecessor.
    #[error("entry {entry} of the index does not lie above the one before it")]
    Order {
        /// Place of the entry, from 0.
        entry: usize,
    },
    /// An entry points outside the segment.
    #[error("entry {entry} of the index points outside its segment")]
    Outside {
        /// Place of the entry, from 0.
        entry: usize,
    },
    /// An entry of a version nobody knows.
    #[error("entry {entry} of the transaction index has version 0, found {found}")]
    Version {
        /// Place of the entry, from 0.
        entry: usize,
        /// Version in the entry.
        found: i16,
    },
    /// An entry that contradicts itself.
    #[error("entry {entry} of the transaction index ends before it begins")]
    Backwards {
        /// Place of the entry, from 0.
        entry: usize,
    },
}

/// Why an index takes no entry. The log goes on without it only by rolling to a new segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IndexRefusal {
    /// It holds as many entries as it may.
    #[error("the index is full with {entries} entries; roll the segment")]
    Full {
        /// Entries it holds.
        entries: usize,
    },
    /// The offset lies below the base or more than 2147483647 above it.
    #[error("an index from offset {base} holds offsets up to {base} + 2147483647, found {found}")]
    Span {
        /// Base offset of the segment.
        base: Offset,
        /// The refused offset.
        found: Offset,
    },
    /// The offset or position does not lie above the last entry.
    #[error("an index entry lies above offset {last}, found {found}")]
    Order {
        /// Offset of the last entry.
        last: Offset,
        /// The refused offset.
        found: Offset,
    },
    /// The time lies before the last entry.
    #[error("a time index entry lies at {last} or later, found {found}")]
    TimeBack {
        /// Time of the last entry.
        last: Millis,
        /// The refused time.
        found: Millis,
    },
}

/// The distance of `offset` from `base` as indexes store it, or `None` where it has no such form.
fn relative(base: Offset, offset: Offset) -> Option<u32> {
    let delta = i32::try_from(offset.get().checked_sub(base.get())?).ok()?;
    u32::try_from(delta).ok()
}

/// Place of the greatest of `len` ascending entries that is not above the target; `cmp` says how an entry lies to the
/// target.
///
/// The last `warm` entries are tried first, then the rest.
fn floor(len: usize, warm: usize, cmp: impl Fn(usize) -> Ordering) -> Option<usize> {
    let last = len.checked_sub(1)?;
    let first_hot = last.saturating_sub(warm);
    if cmp(first_hot).is_lt() {
        return Some(bisect(first_hot, last, cmp));
    }
    if cmp(0).is_gt() { None } else { Some(bisect(0, first_hot, cmp)) }
}

/// Place of the greatest entry in `low..=high` that is not above the target, when the one at `low` is not.
fn bisect(mut low: usize, mut high: usize, cmp: impl Fn(usize) -> Ordering) -> usize {
    while low < high {
        let middle = high.saturating_sub(high.saturating_sub(low) / 2);
        match cmp(middle) {
            Ordering::Less => low = middle,
            Ordering::Equal => return middle,
            Ordering::Greater => high = middle.saturating_sub(1),
        }
    }
    low
}

/// Splits an index into its entries.
fn entries<const N: usize>(bytes: &[u8]) -> Result<&[[u8; N]], IndexDoubt> {
    match bytes.as_chunks() {
        (entries, []) => Ok(entries),
        _ => Err(IndexDoubt::Length { entry: N, found: bytes.len() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `floor` must find, the slow way.
    fn last_not_above(entries: &[i64], target: i64) -> Option<usize> {
        entries.iter().rposition(|entry| *entry <= target)
    }

    #[test]
    fn b7_both_zones_find_what_a_walk_finds_at_every_size_around_the_border() {
        for warm in [1, 2, 3, 8] {
            for len in 0..4 * warm + 3 {
                let entries: Vec<i64> = (0..).step_by(3).take(len).collect();
                for target in -1..=3 * i64::try_from(len).unwrap() + 1 {
                    let found = floor(len, warm, |place| entries[place].cmp(&target));
                    assert_eq!(found, last_not_above(&entries, target), "{warm} {len} {target}");
                }
            }
        }
    }

    #[test]
    fn b7_lookups_near_the_end_touch_the_warm_zone_only() {
        let touched = std::cell::RefCell::new(Vec::new());
        let (len, warm) = (100_000_usize, WARM_BYTES / 8);
        for target in len - warm..len {
            floor(len, warm, |place| {
                touched.borrow_mut().push(place);
                place.cmp(&target)
            });
        }
        assert!(touched.borrow().iter().all(|place| *place >= len - 1 - warm));
    }

    #[test]
    fn a10_offsets_are_relative_within_31_bits() {
        let base = Offset::new(5);
        assert_eq!(relative(base, Offset::new(5)), Some(0));
        assert_eq!(relative(base, Offset::new(5 + i64::from(i32::MAX))), Some(0x7fff_ffff));
        assert_eq!(relative(base, Offset::new(6 + i64::from(i32::MAX))), None);
        assert_eq!(relative(base, Offset::new(4)), None);
        assert_eq!(relative(Offset::new(i64::MIN), Offset::new(i64::MAX)), None);
    }
}
