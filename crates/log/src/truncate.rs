//! Taking records away: from the end, for a follower that went astray, and from the start.

use std::io::IoSlice;

use hanbeon_idempotence::ProducerStates;
use hanbeon_records::{Millis, Offset};

use crate::{
    Action, ActiveTxnIndex, Dir, EpochsChanged, FileStage, LogError, LogFile, Open, SegmentFile,
    SegmentFileName,
    active::{Active, Entry, IndexFiles, Progress, Writing, open, path, remove_if_there},
    checkpoint::write_atomically,
    partition::Inner,
    partition_log::{PartitionLog, jitter},
    segment::{End, Indexes, Segment},
    segments::{Based, floor},
    snapshot_file,
    sync::Arc,
    walk::{Scanner, Walker},
};

/// Bytes copied at once.
const COPY_BYTES: u64 = 1 << 20;

impl<D: Dir> Inner<D> {
    /// See [`crate::Partition::delete_records`].
    pub(crate) fn delete_records(&self, before: Offset) -> Result<Offset, LogError> {
        let mut log = self.log.lock();
        log.check()?;
        if !log.config.cleanup_policy.deletes() {
            return Err(LogError::NoDeletePolicy);
        }
        let (start, end) =
            (self.visible.offsets.log_start(), self.visible.offsets.high_watermark());
        let before = if before == Offset::new(-1) { end } else { before };
        if before < Offset::ZERO || before > end {
            return Err(LogError::OffsetOutOfRange { start, end, found: before });
        }
        if before <= start {
            return Ok(start);
        }
        let mut epochs = log.epochs.clone();
        let log_end = log.active.end.offset;
        // Behind the first: an epoch all of whose records go begins at the end then, where it says nothing.
        let changed = [epochs.truncate_from_start(before), epochs.truncate_from_end(log_end)];
        if changed.contains(&EpochsChanged::Yes) {
            if epochs.entries().is_empty() {
                // That of who leads, as Kafka's leader has it from its beginning on. A file without any would not tell that epochs may go back
                // in what is deleted and still there.
                let (EpochsChanged::Yes | EpochsChanged::No) =
                    epochs.assign(log.leader_epoch, log_end);
            }
            let written = epochs.write(&self.visible.dir);
            log.tried(written)?;
            log.epochs = epochs;
        }
        log.states.log_start_advanced(before);
        let start = self.visible.offsets.begin_at(before, log.stability());
        drop(log);
        Ok(start)
    }

    /// See [`crate::Partition::truncate_to`].
    pub(crate) fn truncate_to(&self, to: Offset) -> Result<(), LogError> {
        let upkeep = self.upkeep.lock();
        let mut log = self.log.lock();
        log.check()?;
        let end = log.active.end.offset;
        if to < Offset::ZERO {
            let start = self.visible.offsets.log_start();
            return Err(LogError::OffsetOutOfRange { start, end, found: to });
        }
        let result = if to >= end { log.cut_epochs(end) } else { log.truncate(to) };
        let result = log.poisoned(result);
        drop(log);
        drop(upkeep);
        result
    }
}

impl<D: Dir> PartitionLog<D> {
    fn cut_epochs(&mut self, end: Offset) -> Result<(), LogError> {
        if self.epochs.truncate_from_end(end) == EpochsChanged::Yes {
            self.epochs.write(&self.visible.dir)?;
        }
        Ok(())
    }

    /// Takes away every batch that reaches to `to` or beyond; the log then ends with the last one that stays. (Kafka ends it at `to` even
    /// where that lies inside a batch, and so keeps a gap that the leader's records never fill.)
    ///
    /// Snapshots first, so that none ever speaks of what is gone (see recovery); then segments from the newest down; then the one
    /// that holds the cut, as a shorter file under the same name: readers keep the old one.
    fn truncate(&mut self, to: Offset) -> Result<(), LogError> {
        let dir = self.visible.dir.clone();
        let list = self.visible.segments.load();
        let keep = floor(&list, to);
        let cut = match keep.and_then(|place| list.get(place)) {
            Some(segment) => Some(kept_end(segment, to)?),
            None => None,
        };
        let end = cut.map_or(to, |cut| cut.offset);
        let gone = self.snapshots.split_off(&Offset::new(end.get().saturating_add(1)));
        snapshot_file::remove_all(&dir, &gone.into_iter().collect::<Vec<_>>())?;
        self.behind.snapshots.retain(|offset| *offset <= end);
        self.sync_dir()?;
        let mut kept: Vec<_> = keep.map_or_else(Vec::new, |place| {
            list.iter().take(place.saturating_add(1)).cloned().collect()
        });
        let shortened = kept.pop().zip(cut);
        for segment in list.iter().skip(keep.map_or(0, |place| place.saturating_add(1))).rev() {
            for kind in SegmentFile::ALL.into_iter().rev() {
                remove_if_there(&dir, segment.base_offset(), kind)?;
            }
        }
        self.active = match shortened {
            Some((segment, end)) => self.shorten(&segment, end)?,
            None => {
                let jitter = jitter(&self.config, self.jitter_seed, to);
                Active::create(&dir, to, &self.config, self.active.writing.created, jitter)?
            }
        };
        self.visible.made_names();
        self.sync_dir()?;
        // Not before: epochs beyond the end are cut at the next opening, missing ones of a longer log are not made again.
        self.cut_epochs(end)?;
        kept.push(Arc::clone(&self.active.segment));
        self.states = self.replayed(&kept, end)?;
        self.visible.offsets.retreat(end);
        self.visible.segments.replace(kept);
        self.states.log_start_advanced(self.visible.offsets.log_start());
        self.states.high_watermark_advanced(self.visible.offsets.high_watermark());
        self.publish_stability();
        Ok(())
    }

    fn sync_dir(&self) -> Result<(), LogError> {
        let failed = |error| LogError::sync_dir(&self.visible.name, error);
        self.visible.dir.sync().map_err(failed)
    }

    /// Makes a segment of what `segment` holds up to `end`, in a file of its own.
    fn shorten(&mut self, segment: &Segment<D::File>, end: End) -> Result<Active<D>, LogError> {
        let dir = self.visible.dir.clone();
        let base = segment.base_offset();
        let file = self.copy(segment, end.bytes)?;
        let (mut indexes, writing) = self.rebuilt(base, &file, end.bytes)?;
        self.replace_indexes(base, &indexes)?;
        let files = IndexFiles {
            offset: open(&dir, base, SegmentFile::OffsetIndex, Open::Write)?,
            time: open(&dir, base, SegmentFile::TimeIndex, Open::Write)?,
            txn: self.shorten_txn(segment, end.offset, &mut indexes)?,
        };
        let segment = Segment::new(base, &dir.display(), file, end, indexes);
        let mut active = Active::resume(Arc::new(segment), files, writing);
        active.write_indexes(&dir)?;
        Ok(active)
    }

    /// Each file whole and durable, for the recovery point may lie above the cut and vouch for them. The offset index first: a walk
    /// from its last entry on finds the times that an older time index has not, but not those that a newer one lost.
    fn replace_indexes(&self, base: Offset, indexes: &Indexes) -> Result<(), LogError> {
        let Indexes::Active { offset, time, .. } = indexes else { return Ok(()) };
        let both = [
            (SegmentFile::OffsetIndex, offset.as_bytes()),
            (SegmentFile::TimeIndex, time.as_bytes()),
        ];
        for (kind, bytes) in both {
            let name = SegmentFileName::live(base, kind).file_name();
            write_atomically(&self.visible.dir, &name, bytes)?;
        }
        Ok(())
    }

    /// Aborted transactions below `to`. The file is replaced whole: unlike the other two it is not made again from the log alone.
    fn shorten_txn(
        &self,
        segment: &Segment<D::File>,
        to: Offset,
        into: &mut Indexes,
    ) -> Result<Option<D::File>, LogError> {
        let (dir, base) = (&self.visible.dir, segment.base_offset());
        let mut index = ActiveTxnIndex::new(base);
        let mut all = 0_usize;
        for txn in segment.indexes().txn().iter() {
            all = all.saturating_add(1);
            if txn.last_offset < to {
                let (Ok(()) | Err(_)) = index.push(txn);
            }
        }
        if all == 0 {
            return Ok(None);
        }
        let name = SegmentFileName::live(base, SegmentFile::TxnIndex).file_name();
        write_atomically(dir, &name, index.as_bytes())?;
        let file = open(dir, base, SegmentFile::TxnIndex, Open::Write)?;
        let failed =
            |error| LogError::io(Action::Write, path(dir, base, SegmentFile::TxnIndex), error);
        index.write_to(&file).map_err(failed)?;
        if let Indexes::Active { txn, .. } = into {
            *txn = index;
        }
        Ok(Some(file))
    }

    /// Copies the first `bytes` of a segment aside, makes the copy durable and lets it take the name.
    fn copy(&self, segment: &Segment<D::File>, bytes: u64) -> Result<D::File, LogError> {
        let dir = &self.visible.dir;
        let name = SegmentFileName::live(segment.base_offset(), SegmentFile::Log);
        let aside = name.at(FileStage::Cleaned).file_name();
        let failed = |action| move |error| LogError::io(action, segment.name(), error);
        let file = dir.open(&aside, Open::Create).map_err(failed(Action::Open))?;
        file.set_len(0).map_err(failed(Action::Resize))?;
        let mut at = 0;
        while at < bytes {
            let to = at.saturating_add(COPY_BYTES).min(bytes);
            let part = segment.file().view(at..to).map_err(failed(Action::Read))?;
            file.write_at(&[IoSlice::new(&part)], at).map_err(failed(Action::Write))?;
            at = to;
        }
        file.sync().map_err(failed(Action::Sync))?;
        dir.rename(&aside, &name.file_name()).map_err(failed(Action::Rename))?;
        Ok(file)
    }

    /// Offset and time index of the first `bytes` of a file.
    fn rebuilt(
        &self,
        base: Offset,
        file: &D::File,
        bytes: u64,
    ) -> Result<(Indexes, Writing), LogError> {
        let mut indexes = Indexes::active(base, self.config.segment_index_bytes());
        let mut writing = Writing {
            progress: Progress::new(base),
            first_time: None,
            created: self.active.writing.created,
            jitter_ms: jitter(&self.config, self.jitter_seed, base),
        };
        let mut walker = Walker::new(file, 0, bytes);
        let failed = |fault| match fault {
            crate::walk::Fault::Damage { at, damage } => LogError::Corrupt(crate::Corruption {
                file: path(&self.visible.dir, base, SegmentFile::Log),
                at,
                damage,
            }),
            crate::walk::Fault::Io(error) => LogError::io(Action::Read, &self.visible.name, error),
        };
        while let Some((at, head)) = walker.next().map_err(failed)? {
            writing.first_time.get_or_insert(head.max_timestamp);
            let interval = self.config.index_interval_bytes();
            writing.progress.add(Entry::of(at, &head), interval, |entry, largest| {
                indexes.push(entry, largest);
            });
        }
        Ok((indexes, writing))
    }

    /// The producer states at `to`, from the newest snapshot below and the batches behind it.
    fn replayed(
        &mut self,
        segments: &[Arc<Segment<D::File>>],
        to: Offset,
    ) -> Result<ProducerStates, LogError> {
        let settings = *self.states.settings();
        let first = segments.first().map_or(to, |segment| segment.base_offset());
        let dir = self.visible.dir.clone();
        let now = Millis::NONE;
        let mut found = None;
        for offset in self.snapshots.range(first..=to).rev() {
            let Ok(loaded) = snapshot_file::read(&dir, *offset, settings, now)? else { continue };
            let whole = loaded.window.is_ok() && snapshot_file::has_sidecar(&dir, *offset)?;
            if whole {
                found = Some((loaded.states, *offset));
                break;
            }
            // One that lost its sidecar knows a single batch of each producer: the batches behind an older pair tell more.
            found.get_or_insert((loaded.states, *offset));
        }
        let (mut states, from) = found.unwrap_or_else(|| (ProducerStates::new(settings), first));
        states.advance_end(from);
        states.inherit_verifications(&self.states);
        let start = floor(segments, from).unwrap_or(0);
        for segment in segments.iter().skip(start) {
            let end = segment.end();
            let at = segment.seek(from, end.bytes)?.map_or(end.bytes, |(position, _)| position);
            let mut scanner = Scanner::new(segment.file(), at, end.bytes);
            while let Some((at, head, batch)) =
                scanner.next().map_err(|fault| segment.error(fault))?
            {
                if head.base_offset >= from {
                    let replayed = states.replay(&batch, now);
                    replayed.map_err(|error| segment.corrupt(at, error.into()))?;
                }
            }
        }
        states.inherit_append_times(&self.states);
        states.advance_end(to);
        Ok(states)
    }
}

/// Where the last batch of a segment that does not reach to `to` ends; the segment's base when there is none.
fn kept_end<F: LogFile>(segment: &Segment<F>, to: Offset) -> Result<End, LogError> {
    let mut end = End { offset: segment.base_offset(), bytes: 0 };
    let mut walker = Walker::new(segment.file(), 0, segment.end().bytes);
    while let Some((at, head)) = walker.next().map_err(|fault| segment.error(fault))? {
        if head.last_offset >= to {
            break;
        }
        end = End { offset: head.next_offset(), bytes: at.saturating_add(head.len) };
    }
    Ok(end)
}
