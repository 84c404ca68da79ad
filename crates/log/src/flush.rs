//! Making what is written durable: for those who wait, and in the background with all that a restart needs.

use hanbeon_records::Offset;

use crate::{
    Action, Completion, Dir, Lead, LogError, LogFile, Open, SegmentFile, SegmentFileName, Unsynced,
    active::{open, path},
    partition::{Closed, Inner},
    partition_log::{Behind, Life},
    snapshot_file::{self, Persist},
    sync::Arc,
    unread::Checked,
};

impl<D: Dir> Inner<D> {
    /// Everything below is durable.
    pub(crate) fn synced(&self) -> Offset {
        self.visible.offsets.of_count(self.sync.synced())
    }

    pub(crate) fn synced_to(&self, end: Offset) -> Completion<Result<(), LogError>> {
        self.sync.wait(self.visible.offsets.count_of(end))
    }

    pub(crate) fn sync_to(&self, end: Offset) -> Result<(), LogError> {
        let offsets = &self.visible.offsets;
        self.sync.sync(offsets.count_of(end), || offsets.written(), || self.try_sync_files())
    }

    pub(crate) fn lead_sync(&self) -> Result<(), LogError> {
        match self.sync.lead(|| self.visible.offsets.written(), || self.try_sync_files())? {
            Lead::Synced(_) | Lead::Busy => Ok(()),
        }
    }

    fn try_sync_files(&self) -> Result<(), Unsynced<LogError>> {
        self.sync_files().map_err(|error| {
            if error.is_untried() { Unsynced::Untried(error) } else { Unsynced::Failed(error) }
        })
    }

    /// Syncs every `.log` file that holds something not durable, oldest first, and the names of new ones (KAFKA-3968).
    fn sync_files(&self) -> Result<(), LogError> {
        let visible = &self.visible;
        visible.poison.check(&visible.name)?;
        let synced = self.synced();
        let sync = || {
            for segment in visible.segments.load().iter() {
                if segment.end().offset > synced {
                    let failed = |error| LogError::io(Action::Sync, segment.name(), error);
                    segment.file().sync().map_err(failed)?;
                }
            }
            visible.sync_names()
        };
        visible.poison.unless_untried(sync())
    }

    /// See [`crate::Partition::sync_written`].
    pub(crate) fn sync_written(&self) -> Result<Offset, LogError> {
        let upkeep = self.upkeep.lock();
        let result = self.move_recovery_point();
        drop(upkeep);
        result
    }

    fn move_recovery_point(&self) -> Result<Offset, LogError> {
        let visible = &self.visible;
        let (Checked::All | Checked::Part) = self.check_left(u64::MAX);
        let mut log = self.log.lock();
        log.check()?;
        let end = log.active.end.offset;
        if end == visible.offsets.recovery_point() && log.behind.indexes.is_empty() {
            return Ok(end);
        }
        let unsynced = visible.unsynced_bytes();
        let written = log.active.write_indexes(&visible.dir);
        log.tried(written)?;
        let base = log.active.base();
        let behind = std::mem::replace(&mut log.behind, Behind::nothing());
        // Entered at once: a roll to this offset, while the lock is free, leaves the snapshot to us instead of writing the same files.
        let states = log.snapshots.insert(end).then(|| {
            log.states.advance_end(end);
            log.states.clone()
        });
        drop(log);
        // Slow from here on, and without the lock (KAFKA-15046).
        let done = (|| {
            self.sync_to(end)?;
            self.sync_indexes(base, &behind.indexes)?;
            for offset in &behind.snapshots {
                snapshot_file::make_durable(&visible.dir, *offset)?;
            }
            match &states {
                Some(states) => snapshot_file::write(&visible.dir, states, Persist::Now).map(drop),
                None => Ok(()),
            }
        })();
        if let Err(error) = visible.poison.unless_untried(done) {
            let mut log = self.log.lock();
            if states.is_some() {
                log.snapshots.remove(&end);
            }
            log.behind.indexes.splice(0..0, behind.indexes);
            log.behind.snapshots.splice(0..0, behind.snapshots);
            drop(log);
            return Err(error);
        }
        visible.offsets.raise_recovery_point(end);
        visible.synced(unsynced);
        self.forget_snapshots(end)?;
        Ok(end)
    }

    fn sync_indexes(
        &self,
        active: Offset,
        rolled: &[crate::active::IndexFiles<D::File>],
    ) -> Result<(), LogError> {
        let dir = &self.visible.dir;
        for files in rolled {
            let failed = |error| LogError::io(Action::Sync, &self.visible.name, error);
            files.sync().map_err(failed)?;
        }
        for kind in [SegmentFile::OffsetIndex, SegmentFile::TimeIndex] {
            let failed = |error| LogError::io(Action::Sync, path(dir, active, kind), error);
            open(dir, active, kind, Open::Write)?.sync().map_err(failed)?;
        }
        let kind = SegmentFile::TxnIndex;
        let failed = |action| move |error| LogError::io(action, path(dir, active, kind), error);
        match dir.open(&SegmentFileName::live(active, kind).file_name(), Open::Write) {
            Ok(file) => file.sync().map_err(failed(Action::Sync)),
            // It comes with the first aborted transaction.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed(Action::Open)(error)),
        }
    }

    /// Removes snapshots nobody needs: of those that are no segment's the last two stay, since the recovery point on disk may be
    /// one step behind.
    fn forget_snapshots(&self, newest: Offset) -> Result<(), LogError> {
        let mut log = self.log.lock();
        log.snapshots.insert(newest);
        let bases = log.bases();
        let loose: Vec<Offset> =
            log.snapshots.iter().copied().filter(|offset| !bases.contains(offset)).collect();
        let (old, _) = loose.split_at(loose.len().saturating_sub(2));
        for offset in old {
            log.snapshots.remove(offset);
        }
        drop(log);
        let removed = snapshot_file::remove_all(&self.visible.dir, old);
        self.visible.poison.unless_untried(removed).inspect_err(|_| {
            // Those that are gone already are no log's end any more, and are removed once more without a word.
            self.log.lock().snapshots.extend(old);
        })
    }

    /// See [`crate::Partition::close`].
    pub(crate) fn close(&self) -> Result<Closed, LogError> {
        let closed = self.try_close();
        // Who waits for a sync hears of a failure here: nobody leads another.
        self.pass_on_poison();
        closed
    }

    /// See [`crate::Partition::abandon`].
    pub(crate) fn abandon(&self) {
        self.log.lock().life = Life::Closed;
        self.sync.refuse(&LogError::Closed { dir: self.visible.name.clone() });
    }

    fn try_close(&self) -> Result<Closed, LogError> {
        let upkeep = self.upkeep.lock();
        let mut log = self.log.lock();
        log.check()?;
        let finished = log.active.finish(&self.visible.dir);
        log.tried(finished)?;
        let base = log.active.base();
        drop(log);
        self.move_recovery_point()?;
        // Where nothing was appended since the recovery point moved, the last time entry is new nevertheless.
        self.visible.poison.unless_untried(self.sync_indexes(base, &[]))?;
        self.sync_names_of_snapshots()?;
        let mut log = self.log.lock();
        // Appends in between are synced by whoever waits for them; what is here now is what the next opening finds.
        let settled = log.active.end.offset == self.visible.offsets.recovery_point();
        if settled {
            log.life = Life::Closed;
        }
        drop(log);
        if !settled {
            drop(upkeep);
            return self.try_close();
        }
        drop(upkeep);
        let bounds = self.visible.offsets.bounds();
        Ok(Closed {
            log_start_offset: bounds.log_start,
            log_end_offset: bounds.log_end,
            recovery_point: self.visible.offsets.recovery_point(),
            high_watermark: bounds.high_watermark,
        })
    }

    /// The directory once more: an empty log was never synced, and removals of snapshots were not either (KAFKA-13603).
    fn sync_names_of_snapshots(&self) -> Result<(), LogError> {
        self.visible.made_names();
        self.visible.sync_names()
    }

    pub(crate) fn segments_now(&self) -> Arc<Vec<Arc<crate::segment::Segment<D::File>>>> {
        self.visible.segments.load()
    }
}
