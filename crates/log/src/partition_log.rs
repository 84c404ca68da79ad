//! What the one owner of a partition holds: whoever has its lock.

use std::{collections::BTreeSet, fmt};

use hanbeon_idempotence::ProducerStates;
use hanbeon_records::{LeaderEpoch, Millis, Offset};

use crate::{
    Action, Dir, EpochsChanged, LeaderEpochs, Led, LogConfig, LogError, LogFile,
    active::{Active, IndexFiles, Successor},
    offsets::Stability,
    segments::Based,
    snapshot_file::{self, Persist},
    sync::Arc,
    visible::Visible,
};

/// The writing side of a partition.
pub(crate) struct PartitionLog<D: Dir> {
    pub(crate) visible: Arc<Visible<D>>,
    pub(crate) config: Arc<LogConfig>,
    pub(crate) active: Active<D>,
    pub(crate) states: ProducerStates,
    pub(crate) epochs: LeaderEpochs,
    pub(crate) leader_epoch: LeaderEpoch,
    /// Offsets of the snapshots on disk.
    pub(crate) snapshots: BTreeSet<Offset>,
    /// Written since the recovery point moved, to be synced before it moves again.
    pub(crate) behind: Behind<D::File>,
    pub(crate) jitter_seed: u64,
    pub(crate) life: Life,
    /// Whether compaction has been at it before it was opened, whatever the topic says now.
    pub(crate) compacted: bool,
}

/// Whether a log takes writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Open,
    Closed,
}

/// Files that were written without being synced.
#[derive(Debug)]
pub(crate) struct Behind<F> {
    /// Indexes of segments that were rolled.
    pub(crate) indexes: Vec<IndexFiles<F>>,
    /// Snapshots that were written at a roll.
    pub(crate) snapshots: Vec<Offset>,
}

impl<F> Behind<F> {
    pub(crate) const fn nothing() -> Self {
        Self { indexes: Vec::new(), snapshots: Vec::new() }
    }
}

impl<D: Dir> PartitionLog<D> {
    /// Fails when nothing may be written any more.
    pub(crate) fn check(&self) -> Result<(), LogError> {
        self.visible.poison.check(&self.visible.name)?;
        match self.life {
            Life::Open => Ok(()),
            Life::Closed => Err(LogError::Closed { dir: self.visible.name.clone() }),
        }
    }

    /// Whatever failed while writing leaves the files in doubt.
    pub(crate) fn poisoned<T>(&self, result: Result<T, LogError>) -> Result<T, LogError> {
        result.map_err(|error| self.visible.poison.set(error))
    }

    /// As [`Self::poisoned`], for steps that are done again from their beginning: a file that could not be opened leaves nothing in doubt.
    pub(crate) fn tried<T>(&self, result: Result<T, LogError>) -> Result<T, LogError> {
        self.visible.poison.unless_untried(result)
    }

    /// Seals the active segment and makes a new one at the log's end.
    ///
    /// The new file's name is not synced here (KAFKA-15046), unless the one before is not durable either: so a crash can
    /// take the newest segment only, and no hole is left between two.
    pub(crate) fn roll(&mut self, now: Millis) -> Result<(), LogError> {
        let base = self.active.end.offset;
        if base == self.active.base() {
            return Ok(());
        }
        self.active.successor = Successor::Begun;
        let result = self.roll_to(base, now);
        self.tried(result)
    }

    fn roll_to(&mut self, base: Offset, now: Millis) -> Result<(), LogError> {
        let dir = self.visible.dir.clone();
        self.visible.sync_names()?;
        if self.compacted || self.config.cleanup_policy.compacts() {
            // Compaction leaves gaps between segments, so a lost tail before the next one could not be told from them.
            let failed = |error| LogError::io(Action::Sync, self.active.segment.name(), error);
            self.active.segment.file().sync().map_err(failed)?;
        }
        // All that opens files comes before the segments change: who finds none left begins again from here.
        let sealed = self.active.sealed(&dir)?;
        self.states.advance_end(base);
        let vouched_for = base <= self.visible.offsets.recovery_point();
        if vouched_for {
            let failed = |error| LogError::io(Action::Sync, self.active.segment.name(), error);
            self.active.files.sync().map_err(failed)?;
            self.write_snapshot(Persist::Now)?;
        } else {
            self.write_snapshot(Persist::Later)?;
        }
        let jitter = jitter(&self.config, self.jitter_seed, base);
        let active = Active::create(&dir, base, &self.config, now, jitter)?;
        self.visible.made_names();
        let old = std::mem::replace(&mut self.active, active);
        *old.segment.indexes_mut() = sealed;
        if !vouched_for {
            self.behind.indexes.push(old.files);
        }
        // Before any end inside it is published: see `Segments`.
        self.visible.segments.push(Arc::clone(&self.active.segment));
        Ok(())
    }

    /// Writes a snapshot of the producer states, unless there is one of this offset.
    fn write_snapshot(&mut self, persist: Persist) -> Result<(), LogError> {
        if self.snapshots.contains(&self.states.end_offset()) {
            return Ok(());
        }
        let offset = snapshot_file::write(&self.visible.dir, &self.states, persist)?;
        self.snapshots.insert(offset);
        if persist == Persist::Later {
            self.behind.snapshots.push(offset);
        }
        Ok(())
    }

    /// Notes that the batch at `offset` is of the current epoch: one synced write for the first batch of an epoch.
    pub(crate) fn enter_epoch(
        &mut self,
        epoch: LeaderEpoch,
        offset: Offset,
    ) -> Result<(), LogError> {
        if !self.epochs.is_new(epoch, offset) {
            return Ok(());
        }
        let mut epochs = self.epochs.clone();
        let (EpochsChanged::Yes | EpochsChanged::No) = epochs.assign(epoch, offset);
        let written = epochs.write(&self.visible.dir);
        self.tried(written)?;
        self.epochs = epochs;
        Ok(())
    }

    /// Who leads, and to where.
    pub(crate) fn led(&self) -> Led {
        Led { epoch: self.leader_epoch, log_end: self.active.end.offset }
    }

    /// The epoch of the leader that wrote `offset`, or writes it next.
    pub(crate) fn epoch_for(&self, offset: Offset) -> Option<LeaderEpoch> {
        self.epochs.epoch_for(offset, self.led())
    }

    /// Tells readers what the producer states say.
    pub(crate) fn publish_stability(&self) {
        self.visible.offsets.set_stability(self.stability());
    }

    /// What the producer states say to readers of committed data.
    pub(crate) fn stability(&self) -> Stability {
        Stability {
            first_unstable: self.states.first_unstable_offset(),
            waits_for_watermark: self.states.has_unreplicated(),
        }
    }

    /// Base offsets of all segments.
    pub(crate) fn bases(&self) -> Vec<Offset> {
        self.visible.segments.load().iter().map(|segment| segment.base_offset()).collect()
    }
}

/// Milliseconds by which the segment from `base` on is rolled early: anything below `segment.jitter.ms`.
pub(crate) fn jitter(config: &LogConfig, seed: u64, base: Offset) -> i64 {
    let max = u64::try_from(config.segment_jitter_ms.min(config.segment_ms)).unwrap_or(0);
    // splitmix64: enough to keep partitions that were made together from rolling together.
    let mut mixed =
        seed ^ u64::try_from(base.get()).unwrap_or(0).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    mixed.checked_rem(max).and_then(|jitter| i64::try_from(jitter).ok()).unwrap_or(0)
}

impl<D: Dir> fmt::Debug for PartitionLog<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartitionLog").field("active", &self.active).finish_non_exhaustive()
    }
}
