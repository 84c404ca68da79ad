//! Transactions that a power cut has torn: a partition has a part of one open, and the coordinator has lost that it does.
//!
//! When such a transaction ends nobody writes a marker there, so upkeep aborts that part as nobody's. The rest must not be committed then, and its client may be
//! alive and know of no power cut. So until upkeep has looked everywhere its commit is judged by what partitions have open; and upkeep aborts all of it,
//! for good, before it ends the part.

use std::sync::Arc;

use hanbeon_log::sync::Ordering;
use hanbeon_records::{Millis, Outcome, ProducerEpoch, ProducerId, TopicPartition};
use hanbeon_txn::{
    AddPartitions, Decision, EndTxn, ListFilter, Producer, Protocol, State, TransactionalId,
    TxnError, TxnView,
};

use super::{
    TransactionError, TxnShard,
    shard::{Fresh, pass},
    upkeep::{Orphans, Unfinished, unfinished},
};
use crate::{Env, PartitionHandle, engine::Shared};

/// States in which nothing is decided of what the current pair writes.
const UNDECIDED: [State; 4] =
    [State::Empty, State::Ongoing, State::CompleteCommit, State::CompleteAbort];

/// What a shard has of transactions that are torn.
enum Torn {
    /// One may be behind a decision that is not complete, and cannot be aborted before that is.
    BehindADecision,
    These(Vec<(TransactionalId, Producer)>),
}

impl<E: Env> Unfinished<E> {
    /// Whether it is part of a transaction that is not decided and does not know of it.
    fn is_torn_off(&self, txn: &TxnView<'_>) -> bool {
        txn.producer == self.wrote()
            && UNDECIDED.contains(&txn.state)
            && !txn.partitions.contains(self.partition())
    }

    /// Whether it is part of the transaction that comes behind a decided one which is not complete.
    fn is_of_next(&self, decided: &TxnView<'_>) -> bool {
        let next = match decided.next_producer_id {
            ProducerId::NONE => decided.producer,
            id => Producer { id, epoch: ProducerEpoch::new(0) },
        };
        // Behind a rotation nothing of the decided one has this pair.
        self.wrote() == next
            && (next.id != decided.producer.id || !decided.partitions.contains(self.partition()))
    }
}

impl<E: Env> Shared<E> {
    /// Refuses to commit a transaction of before a power cut of which a part would be aborted. It may have been written to by nobody since.
    pub(super) fn check_whole(
        &self,
        shard: &TxnShard,
        request: &EndTxn,
    ) -> Result<(), TransactionError> {
        let loaded = shard.loaded(|| self.txn_settings())?;
        // Who comes with another pair commits nothing: it is told again what became of its transaction, or is refused.
        let is_current = |txn: &TxnView<'_>| txn.producer == request.producer;
        if !loaded.spans(&request.id)
            || !loaded.coordinator.describe(&request.id).as_ref().is_some_and(is_current)
        {
            return Ok(());
        }
        drop(loaded);
        let mut parts = Vec::new();
        for partition in self.partitions() {
            parts.extend(found_open(&partition, request.producer)?);
        }
        self.torn_off(shard, &request.id, &parts)?.map_or(Ok(()), |part| {
            let (topic, partition) = named(&part);
            Err(TransactionError::Torn { topic, partition })
        })
    }

    /// Lets no partition into a transaction of protocol 1 while another of the same pair is open there: a power cut has taken the end of that one, or its
    /// beginning from the coordinator, and what is written would be decided with it.
    pub(super) fn check_unopened(
        &self,
        shard: &TxnShard,
        request: &AddPartitions,
    ) -> Result<(), TransactionError> {
        // Under protocol 2 the pair would be another.
        if request.protocol == Protocol::V2
            || self.swept.load(Ordering::Acquire)
            || !shard.log.may_lack_its_end()
            || request.producer.id >= shard.log.first_sure_id()
        {
            return Ok(());
        }
        let image = Arc::clone(&self.image.read());
        let mut parts = Vec::new();
        for name in &request.partitions {
            let topic = image.topic(name.topic.as_str());
            if let Some(partition) = topic.and_then(|topic| topic.partition(name.partition)) {
                parts.extend(found_open(partition, request.producer)?);
            }
        }
        let torn_off = self.torn_off(shard, &request.id, &parts)?;
        torn_off.map_or(Ok(()), |part| Err(looked_at_later(&part)))
    }

    /// Where the first of these parts is that the transaction of `id` does not know of.
    fn torn_off(
        &self,
        shard: &TxnShard,
        id: &TransactionalId,
        parts: &[Unfinished<E>],
    ) -> Result<Option<TopicPartition>, TransactionError> {
        let loaded = shard.loaded(|| self.txn_settings())?;
        let torn_off = loaded
            .coordinator
            .describe(id)
            .and_then(|txn| parts.iter().find(|part| part.is_torn_off(&txn)))
            .map(|part| part.partition().clone());
        drop(loaded);
        Ok(torn_off)
    }

    /// Aborts the transactions that are torn. Their pairs are good for nothing any more then, which is on the disk when this returns: only so may their parts be
    /// ended, for nothing else tells of them.
    pub(super) fn end_torn(
        &self,
        shards: &[Arc<TxnShard>],
        unfinished: &[Unfinished<E>],
    ) -> Orphans {
        let mut orphans = Orphans::Gone;
        for shard in shards {
            let torn = match self.torn(shard, unfinished) {
                Ok(Torn::These(torn)) => torn,
                Ok(Torn::BehindADecision) => {
                    orphans = Orphans::Left;
                    continue;
                }
                Err(error) => {
                    tracing::error!(shard = shard.number, %error, "a transaction log does not load");
                    orphans = Orphans::Left;
                    continue;
                }
            };
            for (id, producer) in torn {
                tracing::warn!(%id, %producer, "a power cut has torn a transaction: all of it is aborted");
                match self.wait_for(self.abort_torn(shard, &id, producer)) {
                    Some(Ok(())) => {}
                    Some(Err(error)) => {
                        tracing::error!(%id, %error, "a torn transaction could not be aborted");
                        orphans = Orphans::Left;
                    }
                    None => return Orphans::Left,
                }
            }
        }
        orphans
    }

    fn torn(
        &self,
        shard: &TxnShard,
        unfinished: &[Unfinished<E>],
    ) -> Result<Torn, TransactionError> {
        let filter = ListFilter {
            producer_ids: unfinished.iter().map(|part| part.wrote().id).collect(),
            states: UNDECIDED.into(),
            ..ListFilter::default()
        };
        let decided = ListFilter {
            states: [State::PrepareCommit, State::PrepareAbort].into(),
            ..ListFilter::default()
        };
        let loaded = shard.loaded(|| self.txn_settings())?;
        let spanning = |txn: &TxnView<'_>| loaded.spans(txn.id);
        let next_is_torn = |txn: TxnView<'_>| unfinished.iter().any(|part| part.is_of_next(&txn));
        if loaded.coordinator.list(Millis::NONE, &decided).filter(spanning).any(next_is_torn) {
            return Ok(Torn::BehindADecision);
        }
        let torn = loaded.coordinator.list(Millis::NONE, &filter).filter(|txn| {
            loaded.spans(txn.id) && unfinished.iter().any(|part| part.is_torn_off(txn))
        });
        let torn = torn.map(|txn| (txn.id.clone(), txn.producer)).collect();
        drop(loaded);
        Ok(Torn::These(torn))
    }

    async fn abort_torn(
        &self,
        shard: &TxnShard,
        id: &TransactionalId,
        producer: Producer,
    ) -> Result<(), TransactionError> {
        // Of protocol 2, whatever its client speaks: it raises the epoch also where nothing is enrolled.
        let (outcome, protocol) = (Outcome::Abort, Protocol::V2);
        let abort = EndTxn { id: id.clone(), producer, outcome, protocol };
        let decided = self.decide(shard, id, |loaded, now| {
            if !loaded.spans(id) {
                // Its client was quicker.
                return Decision { record: None, reply: Ok(producer) };
            }
            let mut ids = Fresh(&self.ground.ids);
            let decision = loaded.coordinator.end_txn(now, &abort, &mut ids);
            if decision.record.is_some() {
                loaded.be_strict(id);
            }
            decision
        })?;
        // Also where its client was quicker, and its topics ask for nothing.
        let end = shard.loaded(|| self.txn_settings())?.end();
        pass(&*shard.log, Some(end)).await?;
        let _whoever_did_it = self.finish_if_free(shard, id).await;
        match decided.reply {
            // Somebody ends it.
            Ok(_) | Err(TransactionError::Refused(TxnError::ConcurrentTransactions { .. })) => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

/// What a producer has open on a partition since before the opening.
fn found_open<E: Env>(
    partition: &PartitionHandle<E>,
    producer: Producer,
) -> Result<Vec<Unfinished<E>>, TransactionError> {
    if partition.if_open().is_none() && partition.is_older_than_opening() {
        return Err(looked_at_later(&partition.0.name));
    }
    let mut found = unfinished(partition);
    found.retain(|part| part.wrote() == producer);
    Ok(found)
}

fn looked_at_later(partition: &TopicPartition) -> TransactionError {
    let (topic, partition) = named(partition);
    TransactionError::NotLookedAt { topic, partition }
}

fn named(TopicPartition { topic, partition }: &TopicPartition) -> (String, i32) {
    (topic.to_string(), *partition)
}
