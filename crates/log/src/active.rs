//! The segment that is written to, as its one writer sees it.

use std::io::{self, ErrorKind, IoSlice};

use hanbeon_records::{Millis, Offset};

use crate::{
    Action, Dir, LogConfig, LogError, LogFile, Open, SegmentFile, SegmentFileName, TimeOffset,
    head::Head,
    segment::{End, Indexes, Segment, none},
    segments::Based,
    sync::Arc,
};

/// First step of a reservation ahead of the writer; each further one is twice as large.
const RESERVE_MIN: u64 = 64 * 1024;
/// Largest step of a reservation.
const RESERVE_MAX: u64 = 32 * 1024 * 1024;

/// The active segment and what is known of it beyond what readers need.
#[derive(Debug)]
pub(crate) struct Active<D: Dir> {
    pub(crate) segment: Arc<Segment<D::File>>,
    /// Where the next batch goes; ahead of what is published only while a group is written.
    pub(crate) end: End,
    pub(crate) files: IndexFiles<D::File>,
    pub(crate) writing: Writing,
    /// Bytes that the file has room for already.
    reserved: u64,
    step: u64,
    pub(crate) successor: Successor,
}

/// Whether files of the segment behind this one may be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Successor {
    None,
    /// A roll was begun: nothing is written behind the base of those files before it is done.
    Begun,
}

/// The files behind the indexes. They lag behind the indexes in memory.
#[derive(Debug)]
pub(crate) struct IndexFiles<F> {
    pub(crate) offset: F,
    pub(crate) time: F,
    /// Made with the first entry.
    pub(crate) txn: Option<F>,
}

/// A batch's place, for the indexes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) position: u64,
    pub(crate) len: u64,
    pub(crate) last_offset: Offset,
    pub(crate) max_timestamp: Millis,
}

impl Entry {
    pub(crate) const fn of(position: u64, head: &Head) -> Self {
        Self {
            position,
            len: head.len,
            last_offset: head.last_offset,
            max_timestamp: head.max_timestamp,
        }
    }
}

impl<D: Dir> Active<D> {
    /// Takes up a segment that ends at `end`.
    pub(crate) fn resume(
        segment: Arc<Segment<D::File>>,
        files: IndexFiles<D::File>,
        writing: Writing,
    ) -> Self {
        let end = segment.end();
        let successor = Successor::None;
        Self { segment, end, files, writing, reserved: end.bytes, step: RESERVE_MIN, successor }
    }

    /// Makes a segment from `base` on. Left-over files of its name go first, and again when one cannot be opened.
    pub(crate) fn create(
        dir: &D,
        base: Offset,
        config: &LogConfig,
        created: Millis,
        jitter_ms: i64,
    ) -> Result<Self, LogError> {
        remove_all(dir, base)?;
        let made = |kind| open(dir, base, kind, Open::CreateNew);
        let files = (|| {
            let file = made(SegmentFile::Log)?;
            let offset = made(SegmentFile::OffsetIndex)?;
            let time = made(SegmentFile::TimeIndex)?;
            Ok((file, IndexFiles { offset, time, txn: None }))
        })();
        let (file, files) = match files {
            Ok(files) => files,
            Err(error) => {
                remove_all(dir, base)?;
                return Err(error);
            }
        };
        let end = End { offset: base, bytes: 0 };
        let indexes = Indexes::active(base, config.segment_index_bytes());
        let segment = Arc::new(Segment::new(base, &dir.display(), file, end, indexes));
        let progress = Progress::new(base);
        let writing = Writing { progress, first_time: None, created, jitter_ms };
        Ok(Self::resume(segment, files, writing))
    }

    pub(crate) fn base(&self) -> Offset {
        self.segment.base_offset()
    }

    /// Whether a batch needs a new segment (Kafka's `LogSegment.shouldRoll`). Never for an empty one that can take it.
    pub(crate) fn must_roll(
        &self,
        end: End,
        batch: Entry,
        config: &LogConfig,
        now: Millis,
    ) -> bool {
        if self.successor == Successor::Begun {
            return true;
        }
        let span = batch.last_offset.since(self.base());
        if span > i64::from(i32::MAX) {
            return true;
        }
        if end.bytes == 0 {
            return false;
        }
        let too_large = end.bytes.saturating_add(batch.len) > config.segment_bytes();
        // By the records' own times where the first batch has one, so that back-filled data does not roll early.
        let Writing { first_time, created, jitter_ms, .. } = self.writing;
        let waited = match first_time {
            Some(first) if first >= Millis::new(0) => batch.max_timestamp.since(first),
            Some(_) | None => now.since(created),
        };
        let too_old = waited > config.segment_ms_max().saturating_sub(jitter_ms);
        too_large || too_old || self.segment.indexes().is_full()
    }

    /// Makes room for `len` more bytes, and some ahead of the writer.
    pub(crate) fn reserve(&mut self, len: u64, config: &LogConfig) -> Result<(), LogError> {
        let needed = self.end.bytes.saturating_add(len);
        if needed <= self.reserved {
            return Ok(());
        }
        let whole = if config.preallocate { config.segment_bytes() } else { 0 };
        let ahead = self.end.bytes.saturating_add(self.step).min(config.segment_bytes()).max(whole);
        let file = self.segment.file();
        let result = match file.reserve(ahead.max(needed)) {
            // Nearly full: what is asked for may still fit.
            Err(error)
                if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) =>
            {
                self.step = RESERVE_MIN;
                file.reserve(needed).map(|()| needed)
            }
            result => result.map(|()| ahead.max(needed)),
        };
        self.reserved =
            result.map_err(|error| LogError::io(Action::Resize, self.segment.name(), error))?;
        self.step = self.step.saturating_mul(2).min(RESERVE_MAX);
        Ok(())
    }

    pub(crate) fn write(&self, slices: &[IoSlice<'_>]) -> Result<(), LogError> {
        let failed = |error| LogError::io(Action::Write, self.segment.name(), error);
        self.segment.file().write_at(slices, self.end.bytes).map_err(failed)
    }

    /// Notes a batch that was written: times, and an index entry when the last one is far enough back.
    pub(crate) fn note(&mut self, batch: Entry, config: &LogConfig) {
        self.writing.first_time.get_or_insert(batch.max_timestamp);
        let segment = &self.segment;
        self.writing.progress.add(batch, config.index_interval_bytes(), |batch, largest| {
            segment.indexes_mut().push(batch, largest);
        });
        let offset = batch.last_offset.saturating_add(1);
        self.end = End { offset, bytes: self.end.bytes.saturating_add(batch.len) };
    }

    /// Brings the index files up to what is in memory. Nothing is synced.
    pub(crate) fn write_indexes(&mut self, dir: &D) -> Result<(), LogError> {
        let base = self.base();
        let mut indexes = self.segment.indexes_mut();
        let Indexes::Active { offset, time, txn } = &mut *indexes else { return Ok(()) };
        if !txn.view().is_empty() && self.files.txn.is_none() {
            self.files.txn = Some(open(dir, base, SegmentFile::TxnIndex, Open::Create)?);
        }
        let failed = |kind| move |error| LogError::io(Action::Write, path(dir, base, kind), error);
        offset.write_to(&self.files.offset).map_err(failed(SegmentFile::OffsetIndex))?;
        time.write_to(&self.files.time).map_err(failed(SegmentFile::TimeIndex))?;
        if let Some(file) = &self.files.txn {
            txn.write_to(file).map_err(failed(SegmentFile::TxnIndex))?;
        }
        drop(indexes);
        Ok(())
    }

    /// Adds the last time entry, writes the indexes, gives the reservation back.
    pub(crate) fn finish(&mut self, dir: &D) -> Result<(), LogError> {
        let largest = self.writing.progress.largest;
        if largest.timestamp > Millis::NONE
            && let Indexes::Active { time, .. } = &mut *self.segment.indexes_mut()
        {
            // Refused only where the index says the same or more already.
            let (Ok(()) | Err(_)) = time.push_final(largest.timestamp, largest.offset);
        }
        self.write_indexes(dir)?;
        if self.reserved > self.end.bytes {
            let failed = |error| LogError::io(Action::Resize, self.segment.name(), error);
            self.segment.file().set_len(self.end.bytes).map_err(failed)?;
            self.reserved = self.end.bytes;
        }
        Ok(())
    }

    /// The indexes as they are when the segment is only read. Nothing is to be written to it any more.
    pub(crate) fn sealed(&mut self, dir: &D) -> Result<Indexes, LogError> {
        self.finish(dir)?;
        let base = self.base();
        let view = |file: &D::File, kind| {
            let failed = |error| LogError::io(Action::Read, path(dir, base, kind), error);
            file.len().and_then(|len| file.view(0..len)).map_err(failed)
        };
        Ok(Indexes::Sealed {
            offset: view(&self.files.offset, SegmentFile::OffsetIndex)?,
            time: view(&self.files.time, SegmentFile::TimeIndex)?,
            txn: match &self.files.txn {
                Some(file) => view(file, SegmentFile::TxnIndex)?,
                None => bytes::Bytes::new(),
            },
        })
    }
}

/// What is known of a segment that is taken up again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writing {
    pub(crate) progress: Progress,
    /// Largest time of the first batch.
    pub(crate) first_time: Option<Millis>,
    pub(crate) created: Millis,
    /// Milliseconds by which the segment is rolled early.
    pub(crate) jitter_ms: i64,
}

/// How far the indexes of a segment are behind its batches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    /// Bytes since the last entry, the entry's own batch included.
    since_entry: u64,
    /// Largest time so far, and the last offset of the first batch that has it.
    pub(crate) largest: TimeOffset,
}

impl Progress {
    pub(crate) const fn new(base: Offset) -> Self {
        Self::behind(none(base))
    }

    /// Behind an index whose last entry of the time index is `largest`.
    pub(crate) const fn behind(largest: TimeOffset) -> Self {
        Self { since_entry: 0, largest }
    }

    /// Notes a batch; calls `push` when it is to get an entry. The first batch of a segment never gets one, and neither does the
    /// one that the last entry stands for: with nothing counted yet no interval has passed.
    pub(crate) fn add(
        &mut self,
        batch: Entry,
        interval: u64,
        push: impl FnOnce(Entry, TimeOffset),
    ) {
        if batch.max_timestamp > self.largest.timestamp {
            self.largest = TimeOffset { timestamp: batch.max_timestamp, offset: batch.last_offset };
        }
        if self.since_entry > interval {
            self.since_entry = 0;
            push(batch, self.largest);
        }
        self.since_entry = self.since_entry.saturating_add(batch.len);
    }
}

impl Indexes {
    /// Adds the entries that one batch is worth. Refusals are looked for before a batch is written (`must_roll`); what is
    /// refused nevertheless makes the index sparser, not wrong.
    pub(crate) fn push(&mut self, batch: Entry, largest: TimeOffset) {
        let Self::Active { offset, time, .. } = self else { return };
        let Ok(position) = u32::try_from(batch.position) else { return };
        if offset.push(batch.last_offset, position).is_ok() && largest.timestamp > Millis::NONE {
            let (Ok(()) | Err(_)) = time.push(largest.timestamp, largest.offset);
        }
    }
}

impl<F: LogFile> IndexFiles<F> {
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.offset.sync()?;
        self.time.sync()?;
        self.txn.as_ref().map_or(Ok(()), LogFile::sync)
    }
}

pub(crate) fn path<D: Dir>(dir: &D, base: Offset, kind: SegmentFile) -> String {
    format!("{}/{}", dir.display(), SegmentFileName::live(base, kind))
}

pub(crate) fn open<D: Dir>(
    dir: &D,
    base: Offset,
    kind: SegmentFile,
    how: Open,
) -> Result<D::File, LogError> {
    let name = SegmentFileName::live(base, kind).file_name();
    dir.open(&name, how).map_err(|error| LogError::io(Action::Open, path(dir, base, kind), error))
}

/// Removes what there is of a segment that was not taken up.
fn remove_all<D: Dir>(dir: &D, base: Offset) -> Result<(), LogError> {
    let of_the_state = [SegmentFile::Snapshot, SegmentFile::Producers];
    let kinds = SegmentFile::ALL.into_iter().filter(|kind| !of_the_state.contains(kind));
    kinds.into_iter().try_for_each(|kind| remove_if_there(dir, base, kind))
}

pub(crate) fn remove_if_there<D: Dir>(
    dir: &D,
    base: Offset,
    kind: SegmentFile,
) -> Result<(), LogError> {
    match dir.remove(&SegmentFileName::live(base, kind).file_name()) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(LogError::io(Action::Remove, path(dir, base, kind), error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
