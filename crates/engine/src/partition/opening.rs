//! Opening a partition's log when it is first touched.

use std::{io, time::Duration};

use hanbeon_log::{
    Action, Dir as _, Durability, LogError, OpenPartition, Partition, Shutdown, sync::Ordering,
};
use hanbeon_meta::changes;
use hanbeon_records::{LeaderEpoch, Offset};

use super::{Inner, Opened, PartitionHandle};
use crate::{Env, PartitionError, data_dir::LastStop};

/// How long a log that found a file or directory it could not open is left alone before it is tried again, milliseconds; as the coordinators' logs.
const PATIENCE_MS: u64 = 5_000;

/// An opening that failed.
pub(super) struct Failure {
    pub(super) error: LogError,
    /// By the environment's monotonic clock.
    at: Duration,
}

impl<E: Env> PartitionHandle<E> {
    /// The open log; opened, and after a crash recovered, by the first who asks.
    pub(crate) fn opened(&self) -> Result<&Opened<E>, PartitionError> {
        let inner = &*self.0;
        self.check_life()?;
        if let Some(opened) = inner.opened.get() {
            return Ok(opened);
        }
        // One opens, the others wait for it.
        let opening = inner.opening.lock();
        self.check_life()?;
        if let Some(opened) = inner.opened.get() {
            return Ok(opened);
        }
        // Those who waited for one that failed are told the same.
        if let Some(error) = inner.failure() {
            return Err(PartitionError::Log(error));
        }
        let recovered = inner.recover().map(|opened| self.publish(opened));
        let failed = recovered.as_ref().err().cloned();
        let at = inner.ground.env.monotonic();
        *inner.failed.lock() = failed.map(|error| Failure { error, at });
        drop(opening);
        // Whoever ended it meanwhile waits for that lock, and closes what was opened.
        self.check_life()?;
        recovered.map_err(PartitionError::Log)
    }

    /// Lets others find a log that was just opened, with the settings of now: who changed them meanwhile found nothing open.
    fn publish(&self, opened: Opened<E>) -> &Opened<E> {
        let config = self.0.config.lock();
        let changed = opened.log.config() != *config;
        if changed {
            opened.take_config(&config);
        }
        let opened = self.0.opened.get_or_init(|| opened);
        drop(config);
        if changed {
            opened.written(self, opened.durability(), self.0.ground.env.now());
        }
        opened
    }
}

impl<E: Env> Inner<E> {
    /// Why the log is not opened for now.
    pub(super) fn failure(&self) -> Option<LogError> {
        let failed = self.failed.lock();
        let error = failed.as_ref().filter(|failure| {
            // What could not be opened, for want of descriptors perhaps, may be there later on. Nothing else mends itself.
            !failure.error.is_untried()
                || self.ground.env.monotonic().saturating_sub(failure.at)
                    < Duration::from_millis(PATIENCE_MS)
        });
        let error = error.map(|failure| failure.error.clone());
        drop(failed);
        error
    }

    fn recover(&self) -> Result<Opened<E>, LogError> {
        let ground = &self.ground;
        let dir = ground.data.partition(&self.name)?;
        let config = self.config.lock().clone();
        let stood = ground.data.stood(&self.name);
        let now = ground.env.now();
        let options = OpenPartition {
            config: config.clone(),
            shutdown: match ground.data.last_stop {
                LastStop::Clean => Shutdown::Clean,
                LastStop::Killed => Shutdown::Killed,
                LastStop::Unclean => Shutdown::Unclean,
            },
            recovery_point: stood.recovery_point.unwrap_or(Offset::ZERO),
            log_start: stood.log_start,
            high_watermark: stood.high_watermark,
            leader_epoch: self.leader_epoch,
            topic_id: Some(self.topic_id),
            verification: ground.verification,
            first_write: ground.first_write,
            hash_seed: ground.hash_seed,
            jitter_seed: ground.env.random(),
            now,
            poison: ground.data.poison.clone(),
        };
        let opened = Partition::open(dir, options);
        if let Err(LogError::NotTorn { end, .. }) = &opened {
            ground.data.raise_recovery_point(&self.name, end.saturating_add(1))?;
        }
        let (log, report) = opened?;
        if let Some(cut) = &report.truncated {
            tracing::warn!(
                partition = %self.name, end = %cut.end_offset, bytes = cut.bytes, cause = %cut.cause,
                "an unfinished write was cut off"
            );
        }
        ground.data.lower_recovery_point(&self.name, log.recovery_point())?;
        self.lead(&log, report.latest_epoch)?;
        ground.metrics.partitions_opened.add(1);
        let opened = Opened::new(log, &config, ground.data.identity.node_id);
        let end = opened.log.log_end_offset();
        // What a killed process wrote is in the page cache and may not be on the disk.
        let unsynced = opened.log.recovery_point() < end;
        let durable = match config.durability() {
            // Readers get it only once it is.
            Durability::Sync if unsynced => {
                opened.log.sync(end)?;
                end
            }
            Durability::Interval { .. } if unsynced => {
                opened.mark_dirty(now);
                opened.log.recovery_point()
            }
            Durability::Sync | Durability::Interval { .. } | Durability::Os => {
                opened.log.recovery_point()
            }
        };
        opened.durable.store(durable.get(), Ordering::Release);
        opened.raise(&self.parking, now, end);
        Ok(opened)
    }

    /// Leads the log above every epoch that anybody has led it in. The rows give each opening an epoch above those of the openings before,
    /// so that one which is in the log already is somebody else's; theirs then go on above that, also when nothing is written in it (invariant L11).
    fn lead(&self, log: &Partition<E::Dir>, latest: Option<LeaderEpoch>) -> Result<(), LogError> {
        let Some(latest) = latest.filter(|latest| *latest >= self.leader_epoch) else {
            return Ok(());
        };
        let (ground, at) = (&self.ground, (self.topic_id, self.name.partition));
        let epoch = LeaderEpoch::new(latest.get().saturating_add(1));
        // Not by way of the admin: a shutdown holds that while it waits for this opening.
        changes::raise_leader_epoch(&*ground.store, at, epoch).map_err(|error| {
            let file = format!("{}/{}", ground.data.dir.display(), hanbeon_meta::FILE_NAME);
            LogError::io(Action::Write, file, io::Error::other(error))
        })?;
        log.begin_leader_epoch(epoch);
        Ok(())
    }
}
