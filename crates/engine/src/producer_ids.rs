//! Producer ids: blocks of 1000, each made durable before its first id is handed out.
//!
//! Ids that are left in a block when the process dies are lost, not given out twice (`ProducerIdManager`, KIP-98).

use std::sync::Arc;

use hanbeon_log::sync::Mutex;
use hanbeon_meta::{MetadataStore, changes};
use hanbeon_records::ProducerId;

use crate::error::ProducerIdError;

/// Ids in a block, as in Kafka (`ProducerIdsBlock.PRODUCER_ID_BLOCK_SIZE`).
pub(crate) const BLOCK_LEN: u32 = 1000;

#[derive(Debug)]
pub(crate) struct ProducerIds {
    store: Arc<dyn MetadataStore>,
    block: Mutex<Block>,
}

/// From `next` to `end`, exclusive.
#[derive(Debug)]
struct Block {
    next: i64,
    end: i64,
    giving: Giving,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Giving {
    Ids,
    Nothing,
}

impl ProducerIds {
    pub(crate) fn new(store: Arc<dyn MetadataStore>) -> Self {
        Self { store, block: Mutex::new(Block { next: 0, end: 0, giving: Giving::Ids }) }
    }

    /// An id that nobody had before. Once in a thousand it writes a row; the lock is held for that, so that those who come
    /// meanwhile share the block instead of each taking one.
    pub(crate) fn take(&self) -> Result<ProducerId, ProducerIdError> {
        let mut block = self.block.lock();
        if block.giving == Giving::Nothing {
            return Err(ProducerIdError::Closed);
        }
        if block.next >= block.end {
            let taken = changes::take_producer_ids(&*self.store, BLOCK_LEN)
                .map_err(|error| ProducerIdError::Storage { source: Arc::new(error) })?;
            let first = taken.first.get();
            let end = first
                .checked_add(i64::from(taken.len))
                .filter(|_| first >= 0)
                .ok_or(ProducerIdError::Exhausted)?;
            *block = Block { next: first, end, giving: Giving::Ids };
        }
        let id = ProducerId::new(block.next);
        block.next = block.next.saturating_add(1);
        drop(block);
        Ok(id)
    }

    /// Gives out nothing any more: the next holder of the directory takes its blocks from a file that it has read already.
    pub(crate) fn stop(&self) {
        self.block.lock().giving = Giving::Nothing;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use hanbeon_meta::MemoryStore;

    use super::*;

    #[test]
    fn ids_are_never_given_twice_not_even_after_a_crash() {
        let store: Arc<dyn MetadataStore> = Arc::new(MemoryStore::new());
        let mut seen = BTreeSet::new();
        for _ in 0..3 {
            // Each round forgets the rest of its block, as a crash does.
            let ids = ProducerIds::new(Arc::clone(&store));
            for _ in 0..1500 {
                assert!(seen.insert(ids.take().unwrap()), "an id was given out twice");
            }
        }
        assert_eq!(seen.first(), Some(&ProducerId::new(0)));
        assert_eq!(seen.len(), 4500);
    }
}
