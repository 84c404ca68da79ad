//! What groups need when nobody calls: reading the log after a start, and the passing of time.

use hanbeon_group::Coordinator;
use hanbeon_log::sync::Ordering;

use super::Around;
use crate::{Env, coordinators::Shard, engine::Shared};

impl<E: Env> Shared<E> {
    /// Does what is due; milliseconds until something is again, 0 when there is more at once.
    pub(crate) fn tend_groups(&self) -> u64 {
        let Some(shards) = self.group_shards() else { return u64::MAX };
        let now = self.now();
        // Members that a log names have a session that begins with its reading: without it they would never be missed.
        if let Some(shard) = shards.iter().find(|shard| !shard.is_loaded() && !shard.failed()) {
            if let Err(error) = shard.loaded(self).map(drop) {
                tracing::error!(shard = shard.number, %error, "a log of offsets does not load");
            }
            return 0;
        }
        self.wake_at.store(i64::MAX, Ordering::Release);
        for shard in shards.iter().filter(|shard| shard.is_loaded()) {
            if shard.deadline() <= now {
                if let Err(error) = shard.step(self, Coordinator::tick) {
                    tracing::error!(shard = shard.number, %error, "time does not pass for its groups");
                }
                self.members.nudge(|_| true);
            }
        }
        let next = shards.iter().map(|shard| shard.deadline().get()).min().unwrap_or(i64::MAX);
        // Whoever brings a deadline forward from here on sees that nobody looks before this one.
        self.wake_at.fetch_min(next, Ordering::AcqRel);
        u64::try_from(next.saturating_sub(now.get())).unwrap_or(0)
    }
}
