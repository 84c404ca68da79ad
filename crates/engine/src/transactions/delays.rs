//! What a call of the coordinator may keep its thread waiting for, for those whose threads others need.

use std::sync::Arc;

use hanbeon_records::TopicPartition;
use hanbeon_txn::TransactionalId;

use super::Transactions;
use crate::{
    Delay, Env, Image, PartitionHandle, StateLog, coordinators::CONSUMER_OFFSETS,
    coordinators::Shard, engine::Shared,
};

impl<E: Env> Transactions<E> {
    /// What a call for `id` may have to wait for that writes to the coordinator's log at most. Who waits there holds up others of the same shard.
    #[must_use]
    pub fn delay(&self, id: &str) -> Delay {
        let shared = self.0.shared();
        let shard = shared.txn_shards().and_then(|shards| shared.txn_shard(shards, id));
        shard.map_or(Delay::Opening, |shard| delay_of(&*shard, &*shard.log))
    }

    /// The same of a call that ends the open transaction: [`Transactions::end`], and [`Transactions::init_producer_id`] which aborts it. It writes a marker
    /// to each of its partitions.
    #[must_use]
    pub fn delay_of_end(&self, id: &TransactionalId) -> Delay {
        let delay = self.delay(id.as_str());
        let shared = self.0.shared();
        let shards = shared.txn_shards().unwrap_or_default();
        let Some(shard) = shared.txn_shard(shards, id.as_str()) else { return delay };
        if delay > Delay::None {
            return delay;
        }
        let image = Arc::clone(&shared.image.read());
        // Whoever ends it hears why the log does not read.
        let Ok(loaded) = shard.loaded(|| shared.txn_settings()) else { return Delay::None };
        let spans = loaded.spans(id);
        let partitions = loaded.coordinator.describe(id).into_iter().flat_map(|txn| txn.partitions);
        let delays = partitions.map(|at| shared.delay_of_marker(&image, at));
        let delay = delays.max().unwrap_or(Delay::None);
        drop(loaded);
        // Its commit looks at what all partitions have open, behind whoever writes there, and opens none.
        if spans && shared.partitions().iter().any(PartitionHandle::is_slow) {
            return delay.max(Delay::Writes);
        }
        delay
    }

    /// The same of [`Transactions::write_marker`].
    #[must_use]
    pub fn delay_of_marker(&self, partition: &TopicPartition) -> Delay {
        let shared = self.0.shared();
        let image = Arc::clone(&shared.image.read());
        shared.delay_of_marker(&image, partition)
    }
}

impl<E: Env> Shared<E> {
    fn delay_of_marker(&self, image: &Image<E>, at: &TopicPartition) -> Delay {
        if at.topic.as_str() == CONSUMER_OFFSETS.name && self.group_shards().is_some() {
            let shard = self.group_shard(at.partition);
            return shard.map_or(Delay::None, |shard| delay_of(&**shard, &*shard.log));
        }
        let topic = image.topic(at.topic.as_str());
        match topic.and_then(|topic| topic.partition(at.partition)) {
            // One that did not open is tried again.
            Some(handle) if handle.if_open().is_none() => Delay::Opening,
            Some(handle) if handle.is_slow() => Delay::Writes,
            Some(_) | None => Delay::None,
        }
    }
}

/// What may have to be waited for that writes to the log of a coordinator.
pub(crate) fn delay_of(shard: &impl Shard, log: &dyn StateLog) -> Delay {
    if !shard.is_loaded() {
        Delay::Opening
    } else if log.is_slow() {
        Delay::Writes
    } else {
        Delay::None
    }
}
