//! Which open transactions hold readers of committed data back, how far, and whose they are.
//!
//! One open transaction stops every `read_committed` reader of its partitions, for all producers. Kafka tells that something is late; here it
//! is told what, since when, and who.

use bytes::Bytes;
use hanbeon_log::{FirstBatch, Isolation};
use hanbeon_records::{BatchRef, Millis, Offset, ProducerEpoch, ProducerId, TopicPartition};
use hanbeon_txn::{ListFilter, TransactionalId};

use crate::{Engine, Env, PartitionHandle, coordinators::Shard, engine::Shared};

/// A partition whose readers of committed data are held back by a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Where.
    pub partition: TopicPartition,
    /// Whose transaction.
    pub producer_id: ProducerId,
    /// In which incarnation.
    pub producer_epoch: ProducerEpoch,
    /// The name of that producer; `None` when the coordinator knows none with this id and epoch: nobody will end it (KIP-664). Also while
    /// the coordinator's log is not read yet.
    pub transactional_id: Option<TransactionalId>,
    /// Where the transaction begins on this partition, or what is left of it: the last stable offset.
    pub first_offset: Offset,
    /// When it began, by the coordinator's clock. Where the coordinator knows none, by what its first batch that is left says of its time, or its
    /// last one where that lies in another segment: a producer may write records of long ago.
    pub since: Millis,
    /// The time in its last batch, by the producer's own account.
    pub last_write: Millis,
    /// Offsets that readers of committed data do not get to see.
    pub offsets_behind: i64,
    /// Bytes of batches that they do not get to see.
    pub bytes_behind: u64,
}

impl<E: Env> Engine<E> {
    /// The partitions that an open transaction holds back, oldest transaction first. Logs that are not open yet are left alone.
    #[must_use]
    pub fn pins(&self) -> Vec<Pin> {
        self.shared().pins()
    }
}

impl<E: Env> Shared<E> {
    pub(crate) fn pins(&self) -> Vec<Pin> {
        let mut pins: Vec<Pin> = self.partitions().iter().filter_map(pin).collect();
        self.name_producers(&mut pins);
        pins.sort_by(|a, b| (a.since, &a.partition).cmp(&(b.since, &b.partition)));
        pins
    }

    /// Asks the coordinator whose the producer ids are.
    fn name_producers(&self, pins: &mut [Pin]) {
        if pins.is_empty() {
            return;
        }
        let producer_ids = pins.iter().map(|pin| pin.producer_id).collect();
        let filter = ListFilter { producer_ids, ..ListFilter::default() };
        let shards = self.txn_shards().unwrap_or_default().iter();
        for shard in shards.filter(|shard| shard.is_loaded()) {
            let Ok(loaded) = shard.loaded(|| self.txn_settings()) else { continue };
            for txn in loaded.coordinator.list(self.ground.env.now(), &filter) {
                for pin in pins.iter_mut().filter(|pin| pin.producer_id == txn.producer.id) {
                    // A decided transaction's epoch may be one ahead: its marker is on its way.
                    let ahead = txn.producer.epoch.get().saturating_sub(pin.producer_epoch.get());
                    let its = txn.partitions.contains(&pin.partition) && (0..=1).contains(&ahead);
                    if its {
                        pin.transactional_id = Some(txn.id.clone());
                        pin.since = if txn.start == Millis::NONE { pin.since } else { txn.start };
                    }
                }
            }
            drop(loaded);
        }
    }
}

/// The time in the first batch that a producer wrote in a transaction. Others write in between, and the first of all may be theirs once
/// records were deleted.
fn begun(mut records: &[u8], producer_id: ProducerId) -> Option<Millis> {
    while let Ok((batch, rest)) = BatchRef::parse(records) {
        if batch.attributes().is_transactional() && batch.producer_id() == producer_id {
            return Some(batch.base_timestamp());
        }
        records = rest;
    }
    None
}

fn pin<E: Env>(partition: &PartitionHandle<E>) -> Option<Pin> {
    let log = &partition.if_open()?.log;
    let (stable, end) = (log.last_stable_offset(), log.high_watermark());
    if stable >= end {
        return None;
    }
    let oldest = log.oldest_open_transaction()?;
    // It may have begun below what was deleted.
    let first_offset = oldest.first_offset.max(log.log_start_offset());
    let read = log.read(first_offset, Isolation::Uncommitted, usize::MAX, FirstBatch::Whole);
    // Deleted a moment ago, or not readable: it holds readers back all the same.
    let records = read.map_or_else(|_| Bytes::new(), |read| read.records);
    let since = begun(&records, oldest.producer_id).unwrap_or(oldest.last_timestamp);
    // What was read ends with its segment; later ones are behind as a whole.
    let (here, later) = (records.len(), log.size_bytes_above(first_offset));
    Some(Pin {
        partition: partition.0.name.clone(),
        producer_id: oldest.producer_id,
        producer_epoch: oldest.producer_epoch,
        transactional_id: None,
        first_offset,
        since,
        last_write: oldest.last_timestamp,
        offsets_behind: end.since(stable),
        bytes_behind: later.saturating_add(u64::try_from(here).unwrap_or(u64::MAX)),
    })
}
