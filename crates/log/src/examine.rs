//! Reading a directory to find out what its log holds. Nothing is changed here: a log that must not be repaired is left as it was.
//!
//! Every segment is walked from its last trusted index entry to its end, so that a torn or padded tail is seen even after
//! a clean stop. What lies above the recovery point after an unclean one is read whole and summed; after a kill only headers are
//! followed there, and the end is summed.

use bytes::Bytes;
use hanbeon_idempotence::{CompletedTxn, Outcome, ProducerStates, Settings};
use hanbeon_records::{BatchError, BatchRef, LeaderEpoch, Millis, Offset};

use crate::{
    Action, ActiveOffsetIndex, ActiveTimeIndex, ActiveTxnIndex, Corruption, Damage, Dir,
    EpochsChanged, LeaderEpochs, LogError, LogFile, OffsetIndexView, OffsetPosition, Open,
    OpenPartition, OpenReport, SegmentFile, SegmentFileName, SegmentSpan, Shutdown, TimeIndexView,
    TxnIndexView,
    active::{Entry, Progress, open, path},
    append::aborted,
    head::Head,
    last_write::last_write_from,
    listing::Listing,
    segment::{End, Indexes, SEGMENT_BYTES_MAX, none},
    snapshot_file,
    torn::{is_padding, is_torn},
    unread::Unread,
    walk::{Fault, Scanner, Walker, Want},
};

/// One segment as it was found.
#[derive(Debug)]
pub(crate) struct Part<F> {
    pub(crate) base: Offset,
    pub(crate) file: F,
    /// Bytes in the file.
    pub(crate) len: u64,
    /// Where its sound batches end.
    pub(crate) end: End,
    pub(crate) indexes: Indexes,
    /// Files that are to be written anew from `indexes`.
    pub(crate) doubtful: Vec<SegmentFile>,
    pub(crate) progress: Progress,
    /// Position of the last trusted index entry; the walk adds entries behind it.
    from: u64,
    place: Place,
}

/// Where a segment stands among the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Followed by one from this offset on.
    Before(Offset),
    Last,
}

/// How much of an index's file counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// All of it: it was written and synced.
    Whole,
    /// What lies below the recovery point.
    Prefix,
}

/// What a directory holds.
#[derive(Debug)]
pub(crate) struct Examined<F> {
    pub(crate) parts: Vec<Part<F>>,
    pub(crate) states: ProducerStates,
    pub(crate) epochs: LeaderEpochs,
    /// Where the log ends.
    pub(crate) end: Offset,
    /// What is wrong with the end, and the bytes that must go for it.
    pub(crate) cut: Option<(Corruption, u64)>,
    /// Base offsets of segments behind the cut.
    pub(crate) dropped: Vec<Offset>,
    /// Batches whose checksums nobody has looked at.
    pub(crate) unread: Option<Unread>,
    /// Whether compaction has been at it, as far as was looked.
    pub(crate) compacted: bool,
}

/// A walk through all segments.
pub(crate) struct Examination<'a, D: Dir> {
    pub(crate) dir: &'a D,
    pub(crate) options: &'a OpenPartition,
    pub(crate) listing: &'a Listing,
    pub(crate) settings: Settings,
    pub(crate) report: &'a mut OpenReport,
}

/// What is carried from batch to batch.
struct Course {
    states: ProducerStates,
    /// Batches from here on are replayed.
    replay_from: Offset,
    epochs: LeaderEpochs,
    /// Batches from here on tell their epochs.
    epochs_from: Offset,
    /// The epochs as the file has them.
    listed: LeaderEpochs,
    /// Where the next batch may begin.
    expected: Offset,
    /// Of the batch before.
    epoch: LeaderEpoch,
    /// Of any batch, or in the file.
    latest_epoch: Option<LeaderEpoch>,
    unread: Option<Unread>,
    /// Whether there is a gap, or a batch that lost some of its records.
    compacted: bool,
}

impl<D: Dir> Examination<'_, D> {
    /// Looks at everything.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] and [`LogError::NotTorn`] for damage that is not an unflushed tail.
    pub(crate) fn run(mut self) -> Result<Examined<D::File>, LogError> {
        let mut parts = self.open_parts()?;
        let (epochs, epochs_from) = self.epochs()?;
        let (states, replay_from) = self.snapshot(&parts)?;
        let first = parts.first().map_or(Offset::ZERO, |part| part.base);
        let mut course = Course {
            states,
            replay_from,
            latest_epoch: epochs.latest().map(|latest| latest.epoch),
            listed: epochs.clone(),
            epochs,
            epochs_from,
            expected: first,
            epoch: LeaderEpoch::UNKNOWN,
            unread: None,
            compacted: false,
        };
        let mut cut = None;
        for place in 0..parts.len() {
            let Some(part) = parts.get(place) else { break };
            if let Some(cause) = self.join(part, &course)
                && !self.is_compacted(&cause, &parts)?
            {
                // No kill takes a file away.
                let lost = self.options.shutdown == Shutdown::Unclean;
                if !(lost && self.is_unflushed(course.expected)) {
                    return Err(self.refused(cause, course.expected));
                }
                let bytes = parts.iter().skip(place).map(|part| part.len).sum();
                cut = Some((cause, bytes, place));
                break;
            }
            let Some(part) = parts.get_mut(place) else { break };
            course.compacted |= part.base > course.expected;
            match self.walk(part, &mut course) {
                Ok(()) => {}
                Err(Fault::Io(error)) => {
                    let file = path(self.dir, part.base, SegmentFile::Log);
                    return Err(LogError::io(Action::Read, file, error));
                }
                Err(Fault::Damage { at, damage }) => {
                    let file = path(self.dir, part.base, SegmentFile::Log);
                    let cause = Corruption { file, at, damage };
                    let part = parts.get(place);
                    self.may_cut(part, &cause, course.expected)?;
                    let lost = parts.iter().skip(place).map(|part| part.len).sum::<u64>();
                    cut = Some((cause, lost.saturating_sub(at), place.saturating_add(1)));
                    if let Some(part) = parts.get_mut(place) {
                        part.end = End { offset: course.expected.max(part.base), bytes: at };
                    }
                    break;
                }
            }
        }
        let mut dropped = Vec::new();
        if let Some((_, _, keep)) = &cut {
            dropped = parts.drain(*keep..).map(|part| part.base).collect();
        }
        course.states.advance_end(course.expected);
        let cut = cut.map(|(cause, bytes, _)| (cause, bytes));
        self.report.latest_epoch = course.latest_epoch;
        let Course { states, epochs, expected: end, unread, compacted, .. } = course;
        Ok(Examined { parts, states, epochs, end, cut, dropped, unread, compacted })
    }

    fn open_parts(&mut self) -> Result<Vec<Part<D::File>>, LogError> {
        let mut bases: Vec<_> = self.listing.logs.iter().map(|(base, len)| (*base, *len)).collect();
        let mut parts = Vec::with_capacity(bases.len());
        let mut next = Place::Last;
        while let Some((base, len)) = bases.pop() {
            parts.push(self.open_part(base, len, next)?);
            next = Place::Before(base);
        }
        parts.reverse();
        Ok(parts)
    }

    fn open_part(
        &mut self,
        base: Offset,
        len: u64,
        place: Place,
    ) -> Result<Part<D::File>, LogError> {
        if len > SEGMENT_BYTES_MAX {
            let file = path(self.dir, base, SegmentFile::Log);
            let damage = Damage::Oversize { limit: SEGMENT_BYTES_MAX, found: len };
            return Err(Corruption { file, at: SEGMENT_BYTES_MAX, damage }.into());
        }
        let file = open(self.dir, base, SegmentFile::Log, Open::Write)?;
        let mut part = Part {
            base,
            file,
            len,
            end: End { offset: base, bytes: 0 },
            indexes: Indexes::active(base, self.options.config.segment_index_bytes()),
            doubtful: Vec::new(),
            progress: Progress::new(base),
            from: 0,
            place,
        };
        self.take_indexes(&mut part)?;
        Ok(part)
    }

    /// Whether all of the segment is below the recovery point and not written to any more.
    fn is_settled(&self, place: Place) -> bool {
        match (place, self.options.shutdown) {
            (Place::Last, _) => false,
            (Place::Before(_), Shutdown::Clean) => true,
            (Place::Before(next), Shutdown::Killed | Shutdown::Unclean) => {
                next <= self.options.recovery_point
            }
        }
    }

    /// Takes over as much of the indexes as can be trusted.
    fn take_indexes(&mut self, part: &mut Part<D::File>) -> Result<(), LogError> {
        let offset = self.index(part.base, SegmentFile::OffsetIndex)?;
        let time = self.index(part.base, SegmentFile::TimeIndex)?;
        let txn = self.index(part.base, SegmentFile::TxnIndex)?;
        let end_offset = match part.place {
            Place::Before(next) => next,
            Place::Last => part.base.saturating_add(1 << 31),
        };
        let span = SegmentSpan { base_offset: part.base, end_offset, log_bytes: part.len };
        let txn_bytes = txn.unwrap_or_default();
        let txn_sound = TxnIndexView::parse(&txn_bytes, span).is_ok();
        if !txn_sound {
            part.doubtful.push(SegmentFile::TxnIndex);
        }
        // Checked below, or not looked at.
        let (offset_bytes, time_bytes) = (offset.unwrap_or_default(), time.unwrap_or_default());
        let missing = |kind| !self.listing.has(part.base, kind);
        let settled = self.is_settled(part.place);
        let clean = self.options.shutdown == Shutdown::Clean;
        let trust = if settled || clean { Trust::Whole } else { Trust::Prefix };
        if trust == Trust::Whole {
            let bad_offset = OffsetIndexView::parse(&offset_bytes, span).is_err()
                || missing(SegmentFile::OffsetIndex);
            let bad_time =
                TimeIndexView::parse(&time_bytes, span).is_err() || missing(SegmentFile::TimeIndex);
            let last = OffsetIndexView::trusted(&offset_bytes, part.base).last();
            let bad_footer =
                !bad_offset && last.is_some_and(|last| !leads_to(&part.file, last, part.len));
            if bad_offset || bad_footer {
                part.doubtful.push(SegmentFile::OffsetIndex);
            }
            if bad_time {
                part.doubtful.push(SegmentFile::TimeIndex);
            }
            if bad_offset || bad_footer || bad_time {
                keep_txn(part, &txn_bytes, span);
                return Ok(());
            }
            part.from = last.map_or(0, |last| u64::from(last.position));
            let entry = TimeIndexView::trusted(&time_bytes, part.base).last();
            part.progress = Progress::behind(entry.unwrap_or_else(|| none(part.base)));
            if settled && txn_sound {
                let (offset, time) = (offset_bytes, time_bytes);
                part.indexes = Indexes::Sealed { offset, time, txn: txn_bytes };
                return Ok(());
            }
        }
        self.keep_prefix(part, [&offset_bytes, &time_bytes], span, trust);
        keep_txn(part, &txn_bytes, span);
        Ok(())
    }

    /// Of an index that was written to when the process died: the entries below the recovery point. Where those are not what they
    /// must be both files are replaced.
    fn keep_prefix(
        &self,
        part: &mut Part<D::File>,
        indexes: [&Bytes; 2],
        span: SegmentSpan,
        trust: Trust,
    ) {
        if self.try_prefix(part, indexes, span, trust).is_none() {
            part.doubtful.extend([SegmentFile::OffsetIndex, SegmentFile::TimeIndex]);
        }
    }

    fn try_prefix(
        &self,
        part: &mut Part<D::File>,
        indexes: [&Bytes; 2],
        span: SegmentSpan,
        trust: Trust,
    ) -> Option<()> {
        let [offset, time] = indexes;
        let whole = trust == Trust::Whole;
        let limit = if whole { Offset::new(i64::MAX) } else { self.options.recovery_point };
        let bytes_max = self.options.config.segment_index_bytes();
        let kept = OffsetIndexView::trusted(offset, part.base)
            .iter()
            .take_while(|entry| entry.offset < limit && entry.position > 0)
            .count();
        let offset = offset.get(..kept.saturating_mul(8))?;
        let offset = ActiveOffsetIndex::from_file(offset, span, bytes_max).ok()?;
        let last = offset.view().last();
        if last.is_some_and(|last| !leads_to(&part.file, last, part.len)) {
            return None;
        }
        let reach = last.map_or(part.base, |last| last.offset);
        let kept = TimeIndexView::trusted(time, part.base)
            .iter()
            .take_while(|entry| whole || (last.is_some() && entry.offset <= reach))
            .count();
        let time = time.get(..kept.saturating_mul(12))?;
        let time = ActiveTimeIndex::from_file(time, span, bytes_max).ok()?;
        part.from = last.map_or(0, |last| u64::from(last.position));
        part.progress = Progress::behind(time.view().last().unwrap_or_else(|| none(part.base)));
        if let Indexes::Active { offset: o, time: t, .. } = &mut part.indexes {
            (*o, *t) = (offset, time);
        }
        Some(())
    }

    fn index(&self, base: Offset, kind: SegmentFile) -> Result<Option<Bytes>, LogError> {
        if !self.listing.has(base, kind) {
            return Ok(None);
        }
        let failed = |error| LogError::io(Action::Read, path(self.dir, base, kind), error);
        let file = open(self.dir, base, kind, Open::Read)?;
        file.len().and_then(|len| file.view(0..len)).map(Some).map_err(failed)
    }

    /// The epochs as the file has them, and from which offset on batches are asked instead.
    fn epochs(&mut self) -> Result<(LeaderEpochs, Offset), LogError> {
        let from = match self.options.shutdown {
            Shutdown::Clean => Offset::new(i64::MAX),
            Shutdown::Killed | Shutdown::Unclean => self.options.recovery_point,
        };
        match LeaderEpochs::read(self.dir) {
            Ok(Some(epochs)) => Ok((epochs, from)),
            Ok(None) | Err(LogError::Corrupt(_)) => {
                if self.listing.logs.values().any(|len| *len > 0) {
                    self.report.epochs_rebuilt = crate::EpochFile::Rebuilt;
                }
                Ok((LeaderEpochs::new(), Offset::ZERO))
            }
            Err(error) => Err(error),
        }
    }

    /// The newest sound snapshot from which all that is needed can be replayed.
    fn snapshot(&mut self, parts: &[Part<D::File>]) -> Result<(ProducerStates, Offset), LogError> {
        let first = parts.first().map_or(Offset::ZERO, |part| part.base);
        let doubtful = parts
            .iter()
            .find(|part| part.doubtful.contains(&SegmentFile::TxnIndex))
            .map_or(Offset::new(i64::MAX), |part| part.base);
        let newest = match self.options.shutdown {
            Shutdown::Clean => self.log_end(parts),
            Shutdown::Killed | Shutdown::Unclean => self.options.recovery_point,
        };
        let limit = newest.min(doubtful);
        // A crash may have left a snapshot without its sidecar, or with a torn one. After a kill an older whole pair is better:
        // the batches behind it tell the windows that the newer snapshot alone does not know.
        let wants_window = self.options.shutdown != Shutdown::Clean;
        let mut fallback = None;
        for offset in self.listing.snapshots().filter(|offset| (first..=limit).contains(offset)) {
            let now = self.options.now;
            match snapshot_file::read(self.dir, offset, self.settings, now)? {
                Ok(loaded) => {
                    let whole =
                        loaded.window.is_ok() && self.listing.has(offset, SegmentFile::Producers);
                    if let Err(error) = loaded.window {
                        self.ignored(offset, SegmentFile::Producers, error.into());
                    }
                    let mut states = loaded.states;
                    states.advance_end(offset);
                    if whole || !wants_window {
                        return Ok((states, offset));
                    }
                    fallback.get_or_insert((states, offset));
                }
                Err(damage) => self.ignored(offset, SegmentFile::Snapshot, damage),
            }
        }
        Ok(fallback.unwrap_or_else(|| {
            let mut states = ProducerStates::new(self.settings);
            states.advance_end(first);
            (states, first)
        }))
    }

    fn ignored(&mut self, offset: Offset, kind: SegmentFile, damage: Damage) {
        let file = path(self.dir, offset, kind);
        self.report.snapshots_ignored.push(Corruption { file, at: 0, damage });
    }

    /// Where the last segment's batches end, as far as their headers lead.
    fn log_end(&self, parts: &[Part<D::File>]) -> Offset {
        let Some(last) = parts.last() else { return Offset::ZERO };
        let mut walker = Walker::new(&last.file, last.from, last.len);
        let mut end = last.base;
        while let Ok(Some((_, head))) = walker.next() {
            end = head.next_offset();
        }
        end
    }

    /// What is wrong where a segment does not follow the one before it.
    fn join(&self, part: &Part<D::File>, course: &Course) -> Option<Corruption> {
        let (expected, found) = (course.expected, part.base);
        // Below the recovery point compaction leaves gaps; above it, and around it, a file in between was lost.
        let lost = self.options.shutdown != Shutdown::Clean && found > self.options.recovery_point;
        let damage = if found < expected {
            Damage::OffsetBack { expected, found }
        } else if found > expected && lost {
            Damage::Gap { expected, found }
        } else {
            return None;
        };
        let file = path(self.dir, part.base, SegmentFile::Log);
        Some(Corruption { file, at: 0, damage })
    }

    /// Whether a gap between two segments is compaction's work: the topic says so, or there are gaps inside segments or batches that
    /// lost some of their records, which neither a cut nor a crash leaves.
    fn is_compacted(&self, cause: &Corruption, parts: &[Part<D::File>]) -> Result<bool, LogError> {
        if !matches!(cause.damage, Damage::Gap { .. }) {
            return Ok(false);
        }
        if self.options.config.cleanup_policy.compacts() {
            return Ok(true);
        }
        for part in parts {
            let mut scanner = Scanner::new(&part.file, 0, part.len);
            let mut expected = None;
            loop {
                match scanner.next() {
                    Ok(Some((_, head, batch))) => {
                        // Of what was never written whole, or here, nothing can be told.
                        if batch.verify().is_err() || part.place.check(&head).is_err() {
                            break;
                        }
                        if is_thinned(&batch) || expected.is_some_and(|end| head.base_offset > end)
                        {
                            return Ok(true);
                        }
                        expected = Some(head.next_offset());
                    }
                    Ok(None) | Err(Fault::Damage { .. }) => break,
                    Err(Fault::Io(error)) => {
                        let file = path(self.dir, part.base, SegmentFile::Log);
                        return Err(LogError::io(Action::Read, file, error));
                    }
                }
            }
        }
        Ok(false)
    }

    /// Goes through one segment's batches from where something is unknown on.
    fn walk(&mut self, part: &mut Part<D::File>, course: &mut Course) -> Result<(), Fault> {
        let start = self.start(part, course);
        course.expected = course.expected.max(part.base);
        let mut inside = start == 0;
        let mut scanner = Scanner::new(&part.file, start, part.len);
        let sums = self.sums(part);
        while let Some((at, head, batch)) = scanner
            .next_as(|at, head| if sums.of(at, head) { Want::Whole } else { Want::Header })?
        {
            let fault = |damage| Fault::Damage { at, damage };
            if !inside {
                // The first batch behind a trusted entry says where the walk begins.
                course.expected = head.base_offset.max(part.base);
                inside = true;
            }
            course.check(part.base, &head).map_err(fault)?;
            part.place.check(&head).map_err(fault)?;
            if sums.of(at, &head) {
                batch.verify().map_err(|error| fault(error.into()))?;
                self.report.bytes_checked = self.report.bytes_checked.saturating_add(head.len);
            } else if head.next_offset() > self.options.recovery_point {
                course.unread = Some(Unread::and(course.unread, &head));
            }
            course.compacted |= head.base_offset > course.expected || is_thinned(&batch);
            if head.base_offset >= course.replay_from {
                let completed = course.replay(&batch, self.options.now).map_err(fault)?;
                self.report.batches_replayed = self.report.batches_replayed.saturating_add(1);
                note_aborted(&mut part.indexes, completed);
            }
            course.follow(&head);
            if at >= part.from {
                let interval = self.options.config.index_interval_bytes();
                let indexes = &mut part.indexes;
                part.progress.add(Entry::of(at, &head), interval, |entry, largest| {
                    indexes.push(entry, largest);
                });
            }
            part.end = End { offset: head.next_offset(), bytes: at.saturating_add(head.len) };
        }
        part.end.offset = part.end.offset.max(course.expected);
        Ok(())
    }

    /// The position from which a segment must be walked.
    fn start(&self, part: &mut Part<D::File>, course: &Course) -> u64 {
        let next = match part.place {
            Place::Before(next) => next,
            Place::Last => Offset::new(i64::MAX),
        };
        let lookup = |offset: Offset| {
            if offset <= part.base {
                0
            } else {
                u64::from(part.indexes.offset(part.base).lookup(offset).position)
            }
        };
        let mut start = part.from;
        if course.replay_from < next {
            start = start.min(lookup(course.replay_from));
            // The walk brings these again.
            if let Indexes::Active { txn, .. } = &mut part.indexes {
                txn.truncate_to(course.replay_from);
            }
        }
        let part = &*part;
        let lookup = |offset: Offset| {
            if offset <= part.base {
                0
            } else {
                u64::from(part.indexes.offset(part.base).lookup(offset).position)
            }
        };
        if course.epochs_from < next {
            start = start.min(lookup(course.epochs_from));
        }
        start
    }

    /// Which batches' checksums are looked at: of what may never have been written whole, and of the end of the log always.
    fn sums(&self, part: &Part<D::File>) -> Sums {
        let last = part.place == Place::Last;
        let (above, bytes) = match self.options.shutdown {
            _ if !part.doubtful.is_empty() => (Offset::new(i64::MIN), 0),
            Shutdown::Clean => (Offset::new(i64::MAX), part.from),
            Shutdown::Killed => (Offset::new(i64::MAX), last_write_from(self.options, part.len)),
            Shutdown::Unclean => (self.options.recovery_point, part.from),
        };
        Sums { above, behind: if last { bytes } else { u64::MAX } }
    }

    /// Whether a kill can have left this. A write that it cuts short has written the front of what it was given: so the file ends inside a
    /// batch, or behind the last one comes room that was never written to. A whole batch with a wrong checksum was sound once.
    fn is_cut_short(&self, part: &Part<D::File>, cause: &Corruption) -> std::io::Result<bool> {
        // A roll comes after the write before it.
        if part.place != Place::Last {
            return Ok(false);
        }
        let truncated = matches!(cause.damage, Damage::Batch(BatchError::Truncated { .. }));
        if truncated && cause.at >= last_write_from(self.options, part.len) {
            return Ok(true);
        }
        is_padding(&part.file, cause.at, part.len)
    }

    /// Whether what begins at `offset` may not be on the disk.
    fn is_unflushed(&self, offset: Offset) -> bool {
        offset >= self.options.recovery_point
    }

    /// The error for what is not to be cut. `end` is where the log ends before it.
    fn refused(&self, cause: Corruption, end: Offset) -> LogError {
        let killed = self.options.shutdown == Shutdown::Killed && self.is_unflushed(end);
        // A recovery point has no place in a gap of one offset, and one behind it would say that compaction left it.
        let narrow = matches!(cause.damage, Damage::Gap { found, .. } if found.since(end) < 2);
        if killed && !narrow { LogError::NotTorn { cause, end } } else { cause.into() }
    }

    /// Fails unless what is wrong is the unflushed end of the log.
    fn may_cut(
        &self,
        part: Option<&Part<D::File>>,
        cause: &Corruption,
        expected: Offset,
    ) -> Result<(), LogError> {
        let Some(part) = part else { return Ok(()) };
        let torn = match self.options.shutdown {
            // After a clean stop nothing is unflushed; but room that was never written to is not data.
            Shutdown::Clean => is_padding(&part.file, cause.at, part.len),
            Shutdown::Killed => self.is_cut_short(part, cause),
            Shutdown::Unclean => is_torn(&part.file, cause, part.len),
        };
        let failed = |error| LogError::io(Action::Read, &cause.file, error);
        if self.is_unflushed(expected) && torn.map_err(failed)? {
            Ok(())
        } else {
            Err(self.refused(cause.clone(), expected))
        }
    }
}

/// Which checksums of one segment are looked at.
#[derive(Clone, Copy, Debug)]
struct Sums {
    /// Those of batches that reach beyond this offset,
    above: Offset,
    /// and those of batches that begin at this byte or behind it.
    behind: u64,
}

impl Sums {
    fn of(self, at: u64, head: &Head) -> bool {
        head.next_offset() > self.above || at >= self.behind
    }
}

impl Place {
    /// A page that was never written may show what lies elsewhere on the medium: sound batches, of another segment.
    fn check(self, head: &Head) -> Result<(), Damage> {
        match self {
            Self::Before(end) if head.last_offset >= end => {
                Err(Damage::BeyondSegment { end, found: head.last_offset })
            }
            Self::Before(_) | Self::Last => Ok(()),
        }
    }
}

impl Course {
    fn check(&self, base: Offset, head: &Head) -> Result<(), Damage> {
        let (expected, found) = (self.expected, head.base_offset);
        if found < expected {
            return Err(Damage::OffsetBack { expected, found });
        }
        if head.last_offset.since(base) > i64::from(i32::MAX) {
            return Err(Damage::OffsetSpan { base, found: head.last_offset });
        }
        if self.goes_back(head) && !self.listed.allow(head.leader_epoch, head.base_offset) {
            let (expected, found) = (self.epoch, head.leader_epoch);
            return Err(Damage::EpochBack { expected, found });
        }
        Ok(())
    }

    /// Whether a batch is of an epoch below that of the one before. Kafka counts by its own metadata, and where it follows us in a directory it
    /// leads below us; its epoch file, which it writes before the first batch, says so.
    fn goes_back(&self, head: &Head) -> bool {
        head.leader_epoch < self.epoch && head.leader_epoch > LeaderEpoch::UNKNOWN
    }

    fn replay(
        &mut self,
        batch: &BatchRef<'_>,
        now: Millis,
    ) -> Result<Option<CompletedTxn>, Damage> {
        self.states.replay(batch, now).map_err(Damage::from)
    }

    fn follow(&mut self, head: &Head) {
        self.expected = head.next_offset();
        let begins = self.goes_back(head)
            || self.epochs.latest().is_none_or(|last| last.epoch < head.leader_epoch);
        if begins && head.base_offset >= self.epochs_from {
            let (EpochsChanged::Yes | EpochsChanged::No) =
                self.epochs.assign(head.leader_epoch, head.base_offset);
        }
        if head.leader_epoch > LeaderEpoch::UNKNOWN {
            self.epoch = head.leader_epoch;
            self.latest_epoch = self.latest_epoch.max(Some(head.leader_epoch));
        }
    }
}

/// Whether a batch lost some of its records.
fn is_thinned(batch: &BatchRef<'_>) -> bool {
    batch.last_offset_delta().checked_add(1) != Some(batch.record_count())
}

fn keep_txn<F>(part: &mut Part<F>, bytes: &Bytes, span: SegmentSpan) {
    if let Ok(found) = ActiveTxnIndex::from_file(bytes, span)
        && let Indexes::Active { txn, .. } = &mut part.indexes
    {
        *txn = found;
    }
}

fn note_aborted(indexes: &mut Indexes, completed: Option<CompletedTxn>) {
    if let (Some(completed), Indexes::Active { txn, .. }) = (completed, indexes)
        && completed.outcome == Outcome::Abort
    {
        // Refused only where the index has it already.
        let (Ok(()) | Err(_)) = txn.push(aborted(completed));
    }
}

/// Whether an index entry leads to a batch, and on to one that ends where the entry says.
fn leads_to<F: LogFile>(file: &F, entry: OffsetPosition, len: u64) -> bool {
    let mut walker = Walker::new(file, u64::from(entry.position), len);
    loop {
        match walker.next() {
            Ok(Some((_, head))) if head.last_offset < entry.offset => {}
            Ok(Some((_, head))) => return head.last_offset == entry.offset,
            Ok(None) | Err(_) => return false,
        }
    }
}

/// The name of an index file, for a report.
pub(crate) fn name_of(base: Offset, kind: SegmentFile) -> String {
    SegmentFileName::live(base, kind).to_string()
}
