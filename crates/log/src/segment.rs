//! One segment as readers see it: a file of batches, how much of it is complete, and its indexes.

use std::fmt;

use bytes::Bytes;
use hanbeon_records::{Millis, Offset};

use crate::{
    Action, ActiveOffsetIndex, ActiveTimeIndex, ActiveTxnIndex, Corruption, LogError, LogFile,
    OffsetIndexView, OffsetPosition, Published, SegmentFile, SegmentFileName, SegmentView,
    TimeIndexView, TimeOffset, TxnIndexView,
    head::Head,
    segments::Based,
    sync::{RwLock, RwLockReadGuard, RwLockWriteGuard},
    walk::{Fault, Walker},
};

/// Bytes of a `.log` file at most: positions in indexes are 31 bits.
pub(crate) const SEGMENT_BYTES_MAX: u64 = i32::MAX as u64;

/// One segment. Bytes below the published end never change.
pub(crate) struct Segment<F> {
    base: Offset,
    /// Directory and name, for messages.
    name: String,
    file: F,
    /// Offset and byte at which the complete part ends, in one number so that both are always of the same moment.
    end: Published,
    indexes: RwLock<Indexes>,
}

/// The indexes of a segment.
#[derive(Debug)]
pub(crate) enum Indexes {
    /// Of the one that is written to: on the heap, the files lag behind.
    Active {
        /// `.index`
        offset: ActiveOffsetIndex,
        /// `.timeindex`
        time: ActiveTimeIndex,
        /// `.txnindex`
        txn: ActiveTxnIndex,
    },
    /// Of all others: as the files have them, checked when they were opened.
    Sealed {
        /// `.index`
        offset: Bytes,
        /// `.timeindex`
        time: Bytes,
        /// `.txnindex`; empty when there is no file.
        txn: Bytes,
    },
}

/// Where a segment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// The offset after the last one.
    pub(crate) offset: Offset,
    /// Bytes of complete batches.
    pub(crate) bytes: u64,
}

impl<F: LogFile> Segment<F> {
    pub(crate) fn new(base: Offset, dir: &str, file: F, end: End, indexes: Indexes) -> Self {
        let name = format!("{dir}/{}", SegmentFileName::live(base, SegmentFile::Log));
        let end = Published::new(pack(base, end));
        Self { base, name, file, end, indexes: RwLock::new(indexes) }
    }

    pub(crate) const fn file(&self) -> &F {
        &self.file
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// How far it may be read.
    pub(crate) fn end(&self) -> End {
        let packed = self.end.get();
        let offset = i64::try_from(packed >> 32).unwrap_or(i64::MAX);
        End { offset: self.base.saturating_add(offset), bytes: packed & u64::from(u32::MAX) }
    }

    /// Lets readers look up to `end`. One caller at a time.
    pub(crate) fn publish(&self, end: End) {
        self.end.advance(pack(self.base, end));
    }

    pub(crate) fn indexes(&self) -> RwLockReadGuard<'_, Indexes> {
        self.indexes.read()
    }

    pub(crate) fn indexes_mut(&self) -> RwLockWriteGuard<'_, Indexes> {
        self.indexes.write()
    }

    /// The first batch that ends at `offset` or behind it, among the first `limit` bytes: its position and header.
    ///
    /// An index entry that leads to no batch is not trusted: the walk then starts at the segment's first byte.
    pub(crate) fn seek(&self, offset: Offset, limit: u64) -> Result<Option<(u64, Head)>, LogError> {
        let from = u64::from(self.indexes.read().offset(self.base).lookup(offset).position);
        match self.walk_to(offset, from.min(limit), limit) {
            Err(Fault::Damage { .. }) if from > 0 => self.walk_to(offset, 0, limit),
            result => result,
        }
        .map_err(|fault| self.error(fault))
    }

    /// An offset that all of `bytes` bytes from the batch at `position` on, whose base offset is `first`, lie below. `None` when the
    /// index ends before them.
    pub(crate) fn below(&self, first: Offset, position: u64, bytes: u64) -> Option<Offset> {
        let start =
            OffsetPosition { offset: first, position: u32::try_from(position).unwrap_or(u32::MAX) };
        self.indexes.read().upper_bound(self.base, start, bytes)
    }

    fn walk_to(&self, offset: Offset, from: u64, limit: u64) -> Result<Option<(u64, Head)>, Fault> {
        let mut walker = Walker::new(&self.file, from, limit);
        while let Some((position, head)) = walker.next()? {
            if head.last_offset >= offset {
                return Ok(Some((position, head)));
            }
        }
        Ok(None)
    }

    /// The largest time in the segment and the last offset of the first batch that has it; -1 at the base without one.
    ///
    /// Behind the last entry of the indexes the headers are looked at: at most one interval's worth.
    pub(crate) fn largest_time(&self) -> Result<TimeOffset, LogError> {
        let end = self.end();
        let indexes = self.indexes.read();
        let mut largest = indexes.time(self.base).last().unwrap_or_else(|| none(self.base));
        let from = indexes.offset(self.base).last().map_or(0, |last| u64::from(last.position));
        drop(indexes);
        let mut walker = Walker::new(&self.file, from.min(end.bytes), end.bytes);
        while let Some((_, head)) = walker.next().map_err(|fault| self.error(fault))? {
            if head.max_timestamp > largest.timestamp {
                largest = TimeOffset { timestamp: head.max_timestamp, offset: head.last_offset };
            }
        }
        Ok(largest)
    }

    /// Makes an error of what stopped a walk.
    pub(crate) fn error(&self, fault: Fault) -> LogError {
        match fault {
            Fault::Damage { at, damage } => self.corrupt(at, damage).into(),
            Fault::Io(error) => LogError::io(Action::Read, &self.name, error),
        }
    }

    pub(crate) fn corrupt(&self, at: u64, damage: crate::Damage) -> Corruption {
        Corruption { file: self.name.clone(), at, damage }
    }

    /// As tools show it.
    pub(crate) fn describe(&self) -> SegmentView {
        let End { offset, bytes } = self.end();
        let max_timestamp = self.largest_time().map_or(Millis::NONE, |largest| largest.timestamp);
        SegmentView { base_offset: self.base, end_offset: offset, bytes, max_timestamp }
    }
}

/// What stands for "no time" in a segment.
pub(crate) const fn none(base: Offset) -> TimeOffset {
    TimeOffset { timestamp: Millis::NONE, offset: base }
}

fn pack(base: Offset, end: End) -> u64 {
    let offset = u64::try_from(end.offset.since(base)).unwrap_or(0);
    debug_assert!(offset <= 1 << 31 && end.bytes <= SEGMENT_BYTES_MAX, "a segment spans 31 bits");
    offset << 32 | end.bytes
}

impl Indexes {
    pub(crate) fn offset(&self, base: Offset) -> OffsetIndexView<'_> {
        match self {
            Self::Active { offset, .. } => offset.view(),
            Self::Sealed { offset, .. } => OffsetIndexView::trusted(offset, base),
        }
    }

    pub(crate) fn time(&self, base: Offset) -> TimeIndexView<'_> {
        match self {
            Self::Active { time, .. } => time.view(),
            Self::Sealed { time, .. } => TimeIndexView::trusted(time, base),
        }
    }

    pub(crate) fn txn(&self) -> TxnIndexView<'_> {
        match self {
            Self::Active { txn, .. } => txn.view(),
            Self::Sealed { txn, .. } => TxnIndexView::trusted(txn),
        }
    }

    /// Empty ones for a new segment.
    pub(crate) fn active(base: Offset, bytes_max: usize) -> Self {
        Self::Active {
            offset: ActiveOffsetIndex::new(base, bytes_max),
            time: ActiveTimeIndex::new(base, bytes_max),
            txn: ActiveTxnIndex::new(base),
        }
    }

    /// Whether an index takes no further entry: the segment is then to be rolled.
    pub(crate) fn is_full(&self) -> bool {
        match self {
            Self::Active { offset, time, .. } => offset.is_full() || time.is_full(),
            Self::Sealed { .. } => true,
        }
    }

    /// The smallest entry at or behind `start` plus `size` bytes.
    pub(crate) fn upper_bound(
        &self,
        base: Offset,
        start: OffsetPosition,
        size: u64,
    ) -> Option<Offset> {
        self.offset(base).upper_bound(start, size).map(|found| found.offset)
    }
}

impl<F> Based for Segment<F> {
    fn base_offset(&self) -> Offset {
        self.base
    }
}

impl<F> fmt::Debug for Segment<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment").field("name", &self.name).finish_non_exhaustive()
    }
}
