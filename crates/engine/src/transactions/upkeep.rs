//! What transactions need when nobody calls: reading the log after a start, markers that are owed, timeouts, forgetting.

use std::{collections::BTreeMap, sync::Arc};

use hanbeon_idempotence::{Ends, MarkerClaim, MarkerProtocol, ProducerView};
use hanbeon_log::sync::Ordering;
use hanbeon_records::{Millis, Offset, Outcome, TopicPartition};
use hanbeon_txn::{ListFilter, Producer, State, TransactionalId};

use super::{
    MarkerFate, Safety, TransactionError, TxnShard,
    shard::{Fresh, LoadedGuard, pass},
};
use crate::{
    DurableFuture, Env, PartitionHandle, Pin, Settings, coordinators::Shard, engine::Shared,
    ground::Helpers, timer::Timer,
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
pub(super) enum Orphans {
    /// Nobody has looked.
    Unknown,
    /// Not every partition could be looked at.
    Left,
    Gone,
}

/// What upkeep ends is noted in these shards for as long as it is there, and taken out however that ends.
struct Ending<'a>(&'a [Arc<TxnShard>]);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(|shard| shard.forget_ending());
    }
}

/// A marker, and where it goes.
type Marker<'a> = (&'a TopicPartition, MarkerClaim);

/// A transaction that is open on a partition since before this opening.
pub(super) struct Unfinished<E: Env> {
    at: PartitionHandle<E>,
    producer: ProducerView,
    from: Offset,
}

pub(super) fn unfinished<E: Env>(handle: &PartitionHandle<E>) -> Vec<Unfinished<E>> {
    let Some(opened) = handle.if_open() else { return Vec::new() };
    let of = |producer: ProducerView| {
        let from = producer.txn_first_offset.filter(|from| *from < opened.found_end)?;
        Some(Unfinished { at: handle.clone(), producer, from })
    };
    opened.log.producers().into_iter().filter_map(of).collect()
}

impl<E: Env> Unfinished<E> {
    /// The pair that it wrote with.
    pub(super) const fn wrote(&self) -> Producer {
        Producer { id: self.producer.producer_id, epoch: self.producer.producer_epoch }
    }

    /// Where it is open.
    pub(super) fn partition(&self) -> &TopicPartition {
        &self.at.0.name
    }

    /// The marker that completes its commit.
    pub(super) fn commit(&self, pair: Producer) -> MarkerClaim {
        let (outcome, protocol) = (Outcome::Commit, MarkerProtocol::V2);
        MarkerClaim { producer_epoch: pair.epoch, outcome, protocol, ..self.abort() }
    }

    /// The marker that aborts it.
    fn abort(&self) -> MarkerClaim {
        let ProducerView { producer_id, producer_epoch, coordinator_epoch, .. } = self.producer;
        MarkerClaim {
            producer_id,
            producer_epoch,
            coordinator_epoch,
            outcome: Outcome::Abort,
            timestamp: self.at.0.ground.env.now(),
            protocol: MarkerProtocol::V1,
            ends: Ends::From(self.from),
        }
    }
}

/// How those are ended that no coordinator has in an open or decided transaction.
fn markers_of<'a, E: Env>(
    coordinators: &[LoadedGuard<'_>],
    unfinished: &'a [Unfinished<E>],
) -> Vec<Marker<'a>> {
    let filter = ListFilter {
        producer_ids: unfinished.iter().map(|one| one.producer.producer_id).collect(),
        states: [State::Ongoing, State::PrepareCommit, State::PrepareAbort].into(),
        ..ListFilter::default()
    };
    let owned: BTreeMap<_, _> = coordinators
        .iter()
        .flat_map(|loaded| loaded.coordinator.list(Millis::NONE, &filter))
        .flat_map(|txn| {
            let owner = (txn.state, txn.producer);
            txn.partitions.iter().map(move |at| ((txn.producer.id, at), owner))
        })
        .collect();
    let marker = |one: &'a Unfinished<E>| {
        let partition = one.partition();
        let owner = owned.get(&(one.producer.producer_id, partition));
        let commit = coordinators.iter().find_map(|all| all.commits.marker_of(one.wrote()));
        match (commit, owner) {
            // Its decision is there, and whoever carries it out waits until it is durable.
            (Some(pair), Some(owner)) if *owner == (State::PrepareCommit, pair) => None,
            (Some(pair), Some(_) | None) => Some((partition, one.commit(pair))),
            // What is open there is of before, and its transaction cannot write there until that is over.
            (None, Some((State::Ongoing, pair))) if pair.epoch > one.wrote().epoch => {
                Some((partition, one.abort()))
            }
            (None, Some(_)) => None,
            (None, None) => Some((partition, one.abort())),
        }
    };
    unfinished.iter().filter_map(marker).collect()
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
        // Also one whose log somebody else has read.
        if let Some(shard) = shards.iter().find(|shard| !shard.is_resumed()) {
            self.resume(shard);
            return 0;
        }
        let timeouts_are_due = upkeep.timeouts.due(now);
        if upkeep.orphans == Orphans::Unknown
            || (upkeep.orphans == Orphans::Left && timeouts_are_due)
        {
            upkeep.orphans = self.end_orphans(shards);
            if upkeep.orphans == Orphans::Gone {
                self.swept.store(true, Ordering::Release);
            }
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
    pub(crate) fn has_orphans(&self) -> bool {
        let shards = self.txn_shards().unwrap_or_default();
        !self.swept.load(Ordering::Acquire)
            && shards.iter().any(|shard| shard.log.may_lack_its_end())
    }

    /// Ends what was open on partitions at the opening and is no part of a transaction that the coordinator knows.
    fn end_orphans(&self, shards: &[Arc<TxnShard>]) -> Orphans {
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
        // What comes behind a decision is nobody's only once that is complete.
        for shard in shards {
            self.finish_owed(shard);
        }
        let unfinished: Vec<_> = partitions.iter().flat_map(unfinished).collect();
        if self.end_torn(shards, &unfinished) != Orphans::Gone {
            return Orphans::Left;
        }
        let ended = self.end_unowned(shards, &unfinished);
        if !partitions.iter().all(|partition| partition.if_open().is_some()) {
            return Orphans::Left;
        }
        if ended == Orphans::Gone {
            for shard in shards {
                shard.forget_power_cut();
            }
        }
        ended
    }

    /// Ends those of the transactions that no coordinator has in an open or decided one. Whoever is ended meanwhile is left alone: what is open
    /// then is another.
    ///
    /// No coordinator is held while markers are written: that may take long, and whoever is woken may ask one at once. What comes to a partition
    /// between the decision and its marker is safe from the marker all the same. A transaction that begins there meanwhile, under whatever epoch,
    /// begins behind the end of the other, so at another offset, and the marker ends only what began at its own ([`Ends::From`]). And what goes on with
    /// the one that is open has its epoch. Under protocol 2 this is the very transaction that the power cut has taken a part of (T9). Under protocol 1
    /// it may be the next one, but that is announced first, to a coordinator that refuses it for as long as [`Ending`] lives.
    fn end_unowned(&self, shards: &[Arc<TxnShard>], unfinished: &[Unfinished<E>]) -> Orphans {
        if unfinished.is_empty() {
            return Orphans::Gone;
        }
        let Ok((ending, markers)) = self.judge_unowned(shards, unfinished) else {
            return Orphans::Left;
        };
        let (mut orphans, syncing) = self.mark_unowned(&markers);
        drop(ending);
        for durable in syncing {
            match self.wait_for(durable) {
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    tracing::error!(%error, "a marker is not durable");
                    orphans = Orphans::Left;
                }
                None => orphans = Orphans::Left,
            }
        }
        orphans
    }

    /// The markers that end them: a commit where the log still tells of it, else an abort. From now on nobody enrols what they end, until the first of the
    /// two goes.
    fn judge_unowned<'a>(
        &self,
        shards: &'a [Arc<TxnShard>],
        unfinished: &'a [Unfinished<E>],
    ) -> Result<(Ending<'a>, Vec<Marker<'a>>), TransactionError> {
        // Goes behind the coordinators, which it asks for.
        let ending = Ending(shards);
        // All of them until it is noted, so that nobody enrols what is taken for nobody's.
        let mut coordinators = Vec::with_capacity(shards.len());
        for shard in shards {
            coordinators.push(shard.loaded(|| self.txn_settings())?);
        }
        let markers = markers_of(&coordinators, unfinished);
        let named = |(partition, marker): &Marker<'_>| {
            (TopicPartition::clone(partition), marker.producer_id)
        };
        let noted = Arc::new(markers.iter().map(named).collect());
        for loaded in &mut coordinators {
            loaded.ending = Arc::clone(&noted);
        }
        drop(coordinators);
        Ok((ending, markers))
    }

    /// Writes them; what is to be waited for until they are durable.
    fn mark_unowned(&self, markers: &[Marker<'_>]) -> (Orphans, Vec<DurableFuture>) {
        let image = Arc::clone(&self.image.read());
        let (mut orphans, mut syncing) = (Orphans::Gone, Vec::new());
        for &(partition, marker) in markers {
            let MarkerClaim { producer_id, producer_epoch, outcome, .. } = marker;
            tracing::warn!(
                %partition, %producer_id, %producer_epoch, ?outcome,
                "a power cut has taken a transaction's marker, or what was known of it: it is ended"
            );
            match self.mark(&image, partition, marker, Safety::OfItsTopic) {
                MarkerFate::Written(durable) => syncing.extend(durable),
                MarkerFate::Gone => {}
                MarkerFate::Refused(error) => {
                    tracing::error!(%partition, %error, "it could not be ended");
                    orphans = Orphans::Left;
                }
            }
        }
        (orphans, syncing)
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
    fn resume(&self, shard: &TxnShard) {
        match shard.loaded(|| self.txn_settings()) {
            Ok(loaded) => drop(loaded),
            Err(error) => {
                tracing::error!(shard = shard.number, %error, "a transaction log does not load");
                return;
            }
        }
        shard.note_resumed();
        self.finish_owed(shard);
    }

    /// Tries to write the markers that are owed, and completes what owes none any more.
    fn finish_owed(&self, shard: &TxnShard) {
        let owed: Vec<TransactionalId> = match shard.loaded(|| self.txn_settings()) {
            Ok(loaded) => loaded.coordinator.owed().map(|owed| owed.id).collect(),
            Err(_) => return,
        };
        for id in owed {
            let _whoever_did_it = self.wait_for(self.finish_if_free(shard, &id));
        }
    }

    /// Aborts what has passed its timeout and tries again to write markers that are owed.
    fn end_what_is_late(&self, shard: &Arc<TxnShard>, now: Millis) {
        let late = match shard.loaded(|| self.txn_settings()) {
            Ok(loaded) => loaded.coordinator.timed_out(now),
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
        self.finish_owed(shard);
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
    pub(super) fn wait_for<F: Future>(&self, future: F) -> Option<F::Output> {
        match self.ground.helpers {
            Helpers::None => self.drive_till_closed(future),
            Helpers::Some => self.help_until(future),
        }
    }
}

#[cfg(test)]
mod tests {
    use hanbeon_log::CrashDir;
    use hanbeon_txn::{EndTxn, Protocol};

    use super::*;
    use crate::{Engine, Manual, Mode, NewTopic, Options, Record, produce::block_on};

    /// Upkeep looks at partitions first and asks coordinators then. Under protocol 1 the pair has its next transaction meanwhile.
    #[test]
    fn t3_what_was_open_when_upkeep_looked_is_aborted_only_while_it_is_open_and_nobodys() {
        let open = |dir| {
            let env = Manual::new(Millis::new(1_700_000_000_000), 7);
            Engine::open_in(env, dir, Options::broker()).unwrap()
        };
        let dir = CrashDir::new();
        let killed = open(dir.clone());
        killed.create_topic(&NewTopic::new("t", 1), Mode::Apply).unwrap();
        let mut producer = killed.transactional_producer("tx").unwrap();
        let mut transaction = producer.begin();
        transaction.send(Record::new("t", "a").partition(0)).unwrap();
        transaction.flush().unwrap();
        let engine = open(dir.killed());
        std::mem::forget(transaction);
        std::mem::forget(producer);
        std::mem::forget(killed);

        let partition = engine.partition("t", 0).unwrap();
        let ends = || {
            let (stable, end) = (partition.last_stable_offset(), partition.log_end_offset());
            (stable.unwrap().get(), end.unwrap().get())
        };
        assert_eq!(ends(), (0, 1));
        let pair = engine.transactions().describe("tx").unwrap().unwrap().producer;
        let found = unfinished(&partition);
        assert_eq!(found.len(), 1);
        let shared = engine.shared();
        let shards = shared.txn_shards().unwrap();
        assert_eq!(shared.end_unowned(shards, &found), Orphans::Gone);
        assert_eq!(ends(), (0, 1), "the coordinator has it");
        let id = TransactionalId::new("tx").unwrap();
        let (outcome, protocol) = (Outcome::Commit, Protocol::V1);
        block_on(engine.transactions().end(EndTxn { id, producer: pair, outcome, protocol }))
            .unwrap();
        assert_eq!(ends(), (2, 2));
        assert_eq!(shared.end_unowned(shards, &found), Orphans::Gone);
        assert_eq!(ends(), (2, 2), "it is over, and what comes next is another");
    }
}
