//! What transactions need when nobody calls: reading the log after a start, markers that are owed, timeouts, forgetting.

use std::sync::Arc;

use hanbeon_idempotence::{Ends, MarkerClaim, MarkerProtocol};
use hanbeon_records::{Millis, Outcome, ProducerId, TopicPartition};
use hanbeon_txn::{ListFilter, State, TransactionalId};

use super::{
    MarkerFate, Safety, TransactionError, TxnShard,
    shard::{Fresh, pass},
};
use crate::{
    Env, Pin, Settings, coordinators::Shard, engine::Shared, ground::Helpers, timer::Timer,
};

/// Milliseconds between reports of transactions that are open for long.
const REPORT_MS: i64 = 60_000;
/// Milliseconds beyond the largest timeout after which Kafka calls a transaction late.
const LATE_MS: i64 = 300_000;

/// When what is due next.
#[derive(Debug)]
pub(crate) struct TxnUpkeep {
    timeouts: Timer,
    expiry: Timer,
    report: Timer,
    /// From when on an open transaction is late: no timeout that a client may ask for allows it (KIP-664).
    late_ms: i64,
    orphans: Orphans,
}

/// Whether there may be open transactions on partitions that the coordinator knows nothing of, because a power cut took the end of its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Orphans {
    /// Nobody has looked.
    Unknown,
    /// Not every partition could be looked at.
    Left,
    Gone,
}

impl TxnUpkeep {
    pub(crate) fn new(settings: &Settings, now: Millis) -> Self {
        let timer = |key, otherwise| Timer::new(settings, key, otherwise, now);
        Self {
            timeouts: timer("transaction.abort.timed.out.transaction.cleanup.interval.ms", 10_000),
            expiry: timer("transaction.remove.expired.transaction.cleanup.interval.ms", 3_600_000),
            report: Timer::every(REPORT_MS, now),
            late_ms: settings
                .long("transaction.max.timeout.ms")
                .unwrap_or(900_000)
                .saturating_add(LATE_MS),
            orphans: Orphans::Unknown,
        }
    }
}

impl<E: Env> Shared<E> {
    /// Does what is due; milliseconds until something is again, 0 when there is more at once.
    pub(crate) fn tend_transactions(&self, upkeep: &mut TxnUpkeep, now: Millis) -> u64 {
        let Some(shards) = self.txn_shards() else { return u64::MAX };
        if let Some(shard) = shards.iter().find(|shard| !shard.is_loaded() && !shard.failed()) {
            self.resume(shard);
            return 0;
        }
        let timeouts_are_due = upkeep.timeouts.due(now);
        if upkeep.orphans == Orphans::Unknown
            || (upkeep.orphans == Orphans::Left && timeouts_are_due)
        {
            upkeep.orphans = self.abort_orphans(shards);
        }
        if timeouts_are_due {
            for shard in shards {
                shard.forgive(now);
                self.end_what_is_late(shard, now);
            }
        }
        if upkeep.expiry.due(now) {
            for shard in shards {
                self.forget_idle(shard, now);
            }
        }
        if upkeep.report.due(now) {
            self.report_pins(now, upkeep.late_ms);
        }
        upkeep.timeouts.left(now).min(upkeep.expiry.left(now))
    }

    /// Whether there may be transactions left that nobody will end.
    pub(crate) fn has_orphans(&self, upkeep: &TxnUpkeep) -> bool {
        let shards = self.txn_shards().unwrap_or_default();
        upkeep.orphans != Orphans::Gone && shards.iter().any(|shard| shard.log.may_lack_its_end())
    }

    /// Aborts what is open on partitions and is no part of a transaction that the coordinator knows. It enrols nobody of before the power cut any
    /// more ([`Coordinator::doubt`](hanbeon_txn::Coordinator::doubt)), so what it does not know now it will never end.
    fn abort_orphans(&self, shards: &[Arc<TxnShard>]) -> Orphans {
        if !shards.iter().any(|shard| shard.log.may_lack_its_end()) {
            return Orphans::Gone;
        }
        if !shards.iter().all(|shard| shard.is_loaded()) {
            return Orphans::Left;
        }
        let partitions = self.partitions();
        if partitions.iter().any(|partition| !partition.is_open()) {
            // Upkeep opens them one by one.
            return Orphans::Unknown;
        }
        let image = Arc::clone(&self.image.read());
        let mut orphans = Orphans::Gone;
        for partition in &partitions {
            let Some(opened) = partition.if_open() else {
                orphans = Orphans::Left;
                continue;
            };
            let name = &partition.0.name;
            let open =
                opened.log.producers().into_iter().filter(|view| view.txn_first_offset.is_some());
            for view in open.filter(|view| !self.will_end(shards, view.producer_id, name)) {
                tracing::warn!(
                    partition = %name, producer_id = %view.producer_id, producer_epoch = %view.producer_epoch,
                    "a power cut has taken what was known of a transaction: it is aborted"
                );
                let abort = MarkerClaim {
                    producer_id: view.producer_id,
                    producer_epoch: view.producer_epoch,
                    coordinator_epoch: view.coordinator_epoch,
                    outcome: Outcome::Abort,
                    timestamp: self.ground.env.now(),
                    protocol: MarkerProtocol::V1,
                    ends: Ends::Any,
                };
                if let MarkerFate::Refused(error) =
                    self.mark(&image, name, abort, Safety::OfItsTopic)
                {
                    tracing::error!(partition = %name, %error, "it could not be aborted");
                    orphans = Orphans::Left;
                }
            }
        }
        orphans
    }

    /// Whether a coordinator has the partition in an open transaction of the producer, or owes it a marker.
    fn will_end(
        &self,
        shards: &[Arc<TxnShard>],
        producer_id: ProducerId,
        partition: &TopicPartition,
    ) -> bool {
        let filter = ListFilter {
            producer_ids: [producer_id].into(),
            states: [State::Ongoing, State::PrepareCommit, State::PrepareAbort].into(),
            ..ListFilter::default()
        };
        shards.iter().any(|shard| match shard.loaded(|| self.txn_settings()) {
            Ok(loaded) => loaded
                .coordinator
                .list(Millis::NONE, &filter)
                .any(|txn| txn.partitions.contains(partition)),
            Err(_) => true,
        })
    }

    /// Says which transactions hold readers back for long, and whose they are.
    fn report_pins(&self, now: Millis, late_ms: i64) {
        for pin in self.pins().iter().take_while(|pin| now.since(pin.since) >= REPORT_MS) {
            let open_ms = now.since(pin.since);
            let Pin { partition, producer_id, producer_epoch, .. } = pin;
            let id = pin.transactional_id.as_ref().map_or("none", TransactionalId::as_str);
            let (offsets, bytes) = (pin.offsets_behind, pin.bytes_behind);
            if open_ms >= late_ms || pin.transactional_id.is_none() {
                tracing::warn!(
                    %partition, transactional_id = id, %producer_id, %producer_epoch, open_ms, offsets, bytes,
                    "a transaction hangs: readers of committed data stand still; `kafka-transactions.sh abort` ends it"
                );
            } else {
                tracing::info!(
                    %partition, transactional_id = id, %producer_id, %producer_epoch, open_ms, offsets, bytes,
                    "a transaction is open for long: readers of committed data wait for it"
                );
            }
        }
    }

    /// Reads a shard's log and carries out what was decided and not completed before.
    fn resume(&self, shard: &Arc<TxnShard>) {
        let owed: Vec<TransactionalId> = match shard.loaded(|| self.txn_settings()) {
            Ok(loaded) => loaded.coordinator.owed().map(|owed| owed.id).collect(),
            Err(error) => {
                tracing::error!(shard = shard.number, %error, "a transaction log does not load");
                return;
            }
        };
        for id in owed {
            let _whoever_did_it = self.wait_for(self.finish_if_free(shard, &id));
        }
    }

    /// Aborts what has passed its timeout and tries again to write markers that are owed.
    fn end_what_is_late(&self, shard: &Arc<TxnShard>, now: Millis) {
        let (late, owed) = match shard.loaded(|| self.txn_settings()) {
            Ok(loaded) => (
                loaded.coordinator.timed_out(now),
                loaded.coordinator.owed().map(|owed| owed.id).collect::<Vec<_>>(),
            ),
            Err(_) => return,
        };
        for id in late {
            let ended = self.wait_for(async {
                let decided = self.decide(shard, &id, |loaded, now| {
                    let mut ids = Fresh(&self.ground.ids);
                    loaded.coordinator.abort_timed_out(now, &id, &mut ids)
                })?;
                pass(&*shard.log, decided.gate).await?;
                let _whoever_did_it = self.finish_if_free(shard, &id).await;
                decided.reply
            });
            match ended {
                Some(Ok(())) => tracing::info!(%id, "a transaction took too long and was aborted"),
                Some(Err(error)) => {
                    tracing::warn!(%id, %error, "a transaction that takes too long could not be aborted");
                }
                None => return,
            }
        }
        // Last: a partition that does not open may take its time to say so.
        for id in owed {
            let _whoever_did_it = self.wait_for(self.finish_if_free(shard, &id));
        }
    }

    /// Forgets ids that were not used for long.
    fn forget_idle(&self, shard: &Arc<TxnShard>, now: Millis) {
        let forgotten = || -> Result<usize, TransactionError> {
            let mut loaded = shard.loaded(|| self.txn_settings())?;
            let tombstones = loaded.coordinator.expire(now);
            let written = tombstones.iter().try_for_each(|one| loaded.write(&*shard.log, now, one));
            drop(loaded);
            written.map(|()| tombstones.len())
        };
        match forgotten() {
            Ok(0) => {}
            Ok(count) => tracing::info!(shard = shard.number, count, "transactional ids expired"),
            Err(error) => tracing::warn!(shard = shard.number, %error, "ids were not forgotten"),
        }
    }

    /// Blocks until a future is ready; a helper goes on helping meanwhile. `None` when the engine stops.
    fn wait_for<F: Future>(&self, future: F) -> Option<F::Output> {
        match self.ground.helpers {
            Helpers::None => Some(crate::produce::block_on(future)),
            Helpers::Some => self.help_until(future),
        }
    }
}
