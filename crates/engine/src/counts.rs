//! How much coordinators and partitions remember, for whoever watches over them. Logs that are not read yet are left alone.

use hanbeon_records::Millis;

use crate::{Engine, Env, coordinators::Shard, transactions::Transactions};

/// What one shard of the transaction coordinator remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionCounts {
    /// Its partition of `__transaction_state`.
    pub partition: i32,
    /// Transactional ids.
    pub ids: usize,
    /// Transactions that were decided and lack markers.
    pub owed: usize,
    /// Since when the oldest of these does.
    pub oldest_owed: Option<Millis>,
}

impl<E: Env> Transactions<E> {
    /// What each shard remembers whose log was read.
    #[must_use]
    pub fn counts(&self) -> Vec<TransactionCounts> {
        let shared = self.engine().shared();
        let shards = shared.txn_shards().unwrap_or_default().iter();
        let counted = shards.filter(|shard| shard.is_loaded()).filter_map(|shard| {
            let loaded = shard.loaded(|| shared.txn_settings()).ok()?;
            Some(TransactionCounts {
                partition: shard.number,
                ids: loaded.coordinator.len(),
                owed: loaded.owed.len(),
                oldest_owed: loaded.owed.oldest().map(|(since, _)| since),
            })
        });
        counted.collect()
    }
}

impl<E: Env> Engine<E> {
    /// Producers that partitions remember, each counted on every partition that it wrote to.
    #[must_use]
    pub fn remembered_producers(&self) -> usize {
        let partitions = self.shared().partitions();
        let open = partitions.iter().filter_map(|partition| partition.if_open());
        open.map(|opened| opened.log.producer_count()).sum()
    }
}
