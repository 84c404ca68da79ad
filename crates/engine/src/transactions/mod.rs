//! The transaction coordinator at work: requests to shards, decisions to the log, markers to partitions.
//!
//! ```text
//!   init, add, end --> TxnShard: decide, write, apply --> gate: durable? --> answer
//!                                   |
//!                                   Prepare --> ends: a marker to each partition --> Complete
//! ```
//!
//! The answer to an end comes when its markers are written, so that the next transaction of the same id finds nothing under way. A
//! partition that is offline keeps its marker owed: the answer does not wait for it, and upkeep tries again (T4).

mod delays;
mod ends;
mod enrol;
mod error;
mod shard;
mod torn;
mod upkeep;

use std::{collections::BTreeSet, future::Future, sync::Arc};

use hanbeon_idempotence::{Ends, MarkerClaim};
use hanbeon_records::{CoordinatorEpoch, Millis, Outcome, TopicPartition};
use hanbeon_txn::{
    AddPartitions, Decision, EndTxn, InitProducerId, ListFilter, Membership, Producer, Protocol,
    State, TransactionalId, TwoPhaseCommit, TxnMarker, TxnView, ValueVersion, Verify,
    partition_for,
};

pub(crate) use delays::delay_of;
use ends::{MarkerFate, Safety};
pub use enrol::{Enrol, TransactionalProduce};
pub use error::TransactionError;
pub(crate) use error::coordinator_code;
pub(crate) use shard::TxnShard;
use shard::{Decided, Fresh, Loaded, pass};
pub(crate) use upkeep::TxnUpkeep;

use crate::{
    Engine, Env, Feature, Features, Image, PartitionError, ProduceError, Settings, StateLogs,
    System, TopicError,
    coordinators::{CONSUMER_OFFSETS, Shard, Shards, TRANSACTION_STATE},
    engine::Shared,
};

/// The shards of the transaction coordinator.
pub(crate) type TxnShards = Shards<TxnShard>;

pub(crate) fn shards(
    elsewhere: Option<&Arc<dyn StateLogs>>,
    settings: &Settings,
) -> Result<TxnShards, ProduceError> {
    Shards::open(TRANSACTION_STATE, elsewhere, settings, TxnShard::new)
}

/// The transaction coordinator of an engine. Clones are the same.
///
/// Its calls are futures that know no executor. They write and, where a topic asks for it, sync; what is not finished when one is dropped is
/// finished by [`Engine::maintain`].
#[derive(Debug)]
pub struct Transactions<E: Env = System>(Engine<E>);

impl<E: Env> Clone for Transactions<E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<E: Env> Engine<E> {
    /// Its transaction coordinator.
    #[must_use]
    pub fn transactions(&self) -> Transactions<E> {
        Transactions(self.clone())
    }
}

impl<E: Env> Transactions<E> {
    pub(crate) const fn engine(&self) -> &Engine<E> {
        &self.0
    }

    /// Whether a call for `id` is answered without reading a log first, which can take long and blocks.
    #[must_use]
    pub fn is_loaded(&self, id: &str) -> bool {
        let shared = self.0.shared();
        let Some(shards) = shared.txn_shards() else { return false };
        shared.txn_shard(shards, id).is_some_and(|shard| shard.is_loaded())
    }

    /// Makes the transaction log if it is not there, and reads the shard of `id`.
    ///
    /// # Errors
    /// The log cannot be made or does not read.
    pub fn load(&self, id: &str) -> Result<(), TransactionError> {
        let shard = self.shard(id)?;
        drop(shard.loaded(|| self.0.shared().txn_settings())?);
        Ok(())
    }

    /// Makes `__transaction_state` if it is not there.
    ///
    /// # Errors
    /// The storage fails.
    pub fn ensure_log(&self) -> Result<(), TopicError> {
        self.shards().map(drop)
    }

    fn shards(&self) -> Result<&[Arc<TxnShard>], TopicError> {
        self.0.shared().txn.ensured(&self.0, TxnShard::new)
    }

    fn shard(&self, id: &str) -> Result<Arc<TxnShard>, TransactionError> {
        let shards = self.shards().map_err(|error| TransactionError::NoLog(Arc::new(error)))?;
        let shard = self.0.shared().txn_shard(shards, id).ok_or_else(|| {
            TransactionError::NoLog(Arc::new(TopicError::Unknown {
                name: TRANSACTION_STATE.name.to_owned(),
            }))
        })?;
        shard.forgive(self.0.now());
        Ok(shard)
    }

    /// Fences whoever had the id before and gives out a producer id and epoch; aborts an open transaction first and asks to be called
    /// again (`CONCURRENT_TRANSACTIONS`).
    ///
    /// # Errors
    /// See [`TransactionError`].
    pub fn init_producer_id(
        &self,
        request: InitProducerId,
    ) -> impl Future<Output = Result<Producer, TransactionError>> + Send + use<E> {
        let this = self.clone();
        async move {
            let shared = this.0.shared();
            let shard = this.shard(request.id.as_str())?;
            let id = request.id.clone();
            let decided = shared.decide(&shard, &id, |loaded, now| {
                let mut ids = Fresh(&shared.ground.ids);
                loaded.coordinator.init_producer_id(now, &request, &mut ids)
            })?;
            pass(&*shard.log, decided.gate).await?;
            if decided.reply.is_err() {
                shared.finish(&shard, &id).await;
            }
            decided.reply
        }
    }

    /// Makes partitions part of the open transaction, which this opens.
    ///
    /// # Errors
    /// See [`TransactionError`]; all or nothing.
    pub fn add_partitions(
        &self,
        request: AddPartitions,
    ) -> impl Future<Output = Result<(), TransactionError>> + Send + use<E> {
        let this = self.clone();
        async move {
            let shard = this.shard(request.id.as_str())?;
            let decided = this.0.shared().add_partitions(&shard, &request)?;
            pass(&*shard.log, decided.gate).await?;
            decided.reply
        }
    }

    /// For each partition, in order, whether it is part of the open transaction; writes nothing. Resolves when what it says is as durable
    /// as the transaction has to be.
    ///
    /// # Errors
    /// See [`TransactionError`].
    pub fn verify(
        &self,
        request: Verify,
    ) -> impl Future<Output = Result<Vec<Membership>, TransactionError>> + Send + use<E> {
        let this = self.clone();
        async move {
            let shard = this.shard(request.id.as_str())?;
            let Decided { reply, gate } = this.verify_now(&request)?;
            pass(&*shard.log, gate).await?;
            reply
        }
    }

    /// The same, with what must be durable before anybody acts on it.
    pub(crate) fn verify_now(
        &self,
        request: &Verify,
    ) -> Result<Decided<Vec<Membership>>, TransactionError> {
        let shard = self.shard(request.id.as_str())?;
        let loaded = shard.loaded(|| self.0.shared().txn_settings())?;
        let reply = loaded.coordinator.verify(request).map_err(TransactionError::from);
        let gate = loaded.gate(&*shard.log, &request.id);
        drop(loaded);
        Ok(Decided { reply, gate })
    }

    /// Decides the open transaction. When this resolves well the decision is as durable as the strictest topic in it and its markers
    /// are written, but for partitions that are offline.
    ///
    /// The producer is the one of the next transaction: with protocol 2 its epoch is another.
    ///
    /// # Errors
    /// See [`TransactionError`].
    pub fn end(
        &self,
        request: EndTxn,
    ) -> impl Future<Output = Result<Producer, TransactionError>> + Send + use<E> {
        let this = self.clone();
        async move {
            let shared = this.0.shared();
            let shard = this.shard(request.id.as_str())?;
            if request.outcome == Outcome::Commit {
                shared.check_whole(&shard, &request)?;
                shared.secure_offsets(&shard, &request.id).await?;
            }
            let decided = shared.decide(&shard, &request.id, |loaded, now| {
                let mut ids = Fresh(&shared.ground.ids);
                loaded.coordinator.end_txn(now, &request, &mut ids)
            })?;
            pass(&*shard.log, decided.gate).await?;
            if decided.reply.is_ok() {
                shared.finish(&shard, &request.id).await;
            }
            decided.reply
        }
    }

    /// Completes what is decided of an id, as far as its partitions can be written.
    pub(crate) async fn finish(&self, id: &TransactionalId) -> Result<(), TransactionError> {
        let shard = self.shard(id.as_str())?;
        self.0.shared().finish(&shard, id).await;
        Ok(())
    }

    /// The partitions that still lack the marker of the id's last transaction.
    pub(crate) fn lacking(
        &self,
        id: &TransactionalId,
    ) -> Result<Vec<TopicPartition>, TransactionError> {
        let shard = self.shard(id.as_str())?;
        let loaded = shard.loaded(|| self.0.shared().txn_settings())?;
        let missing =
            loaded.owed.missing(id).map(|missing| missing.partitions.iter().cloned().collect());
        drop(loaded);
        Ok(missing.unwrap_or_default())
    }

    pub(crate) fn drive<F: Future>(&self, future: F) -> F::Output {
        self.0.shared().drive(future)
    }

    /// Writes one marker on somebody's behalf: that of a coordinator elsewhere, or of an operator who ends a transaction that nobody
    /// coordinates any more.
    ///
    /// # Errors
    /// There is no such partition, the marker is one of the past, or the storage fails.
    pub fn write_marker(
        &self,
        request: MarkerRequest,
    ) -> impl Future<Output = Result<(), ProduceError>> + Send + use<E> {
        let this = self.clone();
        async move {
            let shared = this.0.shared();
            let MarkerRequest { producer, outcome, coordinator_epoch, protocol, partition } =
                request;
            let marker = TxnMarker { producer, outcome, protocol: Some(protocol) };
            // A coordinator of Kafka 4.0 or 4.1 raises the epoch and has no way to say so.
            let claim = MarkerClaim { ends: Ends::Any, ..shared.claim(marker, coordinator_epoch) };
            let image = Arc::clone(&shared.image.read());
            match shared.mark(&image, &partition, claim, Safety::OfItsTopic) {
                MarkerFate::Written(None) => Ok(()),
                MarkerFate::Written(Some(durable)) => durable.await,
                MarkerFate::Gone => {
                    let TopicPartition { topic, partition } = partition;
                    Err(PartitionError::Unknown { topic: topic.to_string(), partition }.into())
                }
                MarkerFate::Refused(error) => Err(error),
            }
        }
    }

    /// What is known of a transactional id.
    ///
    /// # Errors
    /// See [`TransactionError`].
    pub fn describe(&self, id: &str) -> Result<Option<DescribedTxn>, TransactionError> {
        let id = TransactionalId::new(id)?;
        let shard = self.shard(id.as_str())?;
        let loaded = shard.loaded(|| self.0.shared().txn_settings())?;
        let lacking = loaded.owed.missing(&id).map(|missing| missing.partitions);
        Ok(loaded.coordinator.describe(&id).map(|view| DescribedTxn::of(&view, lacking)))
    }

    /// The transactional ids that pass a filter, by id.
    ///
    /// # Errors
    /// See [`TransactionError`].
    pub fn list(&self, filter: &ListFilter) -> Result<Vec<DescribedTxn>, TransactionError> {
        let shared = self.0.shared();
        let mut found = Vec::new();
        for shard in shared.txn_shards().unwrap_or_default() {
            let loaded = shard.loaded(|| shared.txn_settings())?;
            let listed = loaded.coordinator.list(shared.ground.env.now(), filter);
            found.extend(listed.map(|view| DescribedTxn::of(&view, None)));
            drop(loaded);
        }
        found.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        Ok(found)
    }
}

/// A marker that somebody else wants written (`WriteTxnMarkers`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkerRequest {
    /// Whose transaction ends; the epoch is the one from now on.
    pub producer: Producer,
    /// How it ends.
    pub outcome: Outcome,
    /// Incarnation of the coordinator that asks; -1 for an operator.
    pub coordinator_epoch: CoordinatorEpoch,
    /// Which rules the epoch follows.
    pub protocol: Protocol,
    /// Where to.
    pub partition: TopicPartition,
}

/// A transactional id as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedTxn {
    /// Its name.
    pub id: TransactionalId,
    /// Its state.
    pub state: State,
    /// Who may use it.
    pub producer: Producer,
    /// Timeout of its transactions, milliseconds; `i32::MAX` for none.
    pub timeout_ms: i32,
    /// When the open or last transaction began, or [`Millis::NONE`].
    pub start: Millis,
    /// Its partitions; of a decided one those that lack their marker.
    pub partitions: Vec<TopicPartition>,
}

impl DescribedTxn {
    fn of(view: &TxnView<'_>, lacking: Option<&BTreeSet<TopicPartition>>) -> Self {
        Self {
            id: view.id.clone(),
            state: view.state,
            producer: view.producer,
            timeout_ms: view.timeout_ms,
            start: view.start,
            partitions: lacking.unwrap_or(view.partitions).iter().cloned().collect(),
        }
    }
}

impl<E: Env> Shared<E> {
    pub(crate) fn txn_shards(&self) -> Option<&[Arc<TxnShard>]> {
        self.txn.there(&Arc::clone(&self.image.read()), TxnShard::new)
    }

    fn txn_shard(&self, shards: &[Arc<TxnShard>], id: &str) -> Option<Arc<TxnShard>> {
        let number = partition_for(id, i32::try_from(shards.len()).unwrap_or(i32::MAX));
        shards.get(usize::try_from(number).ok()?).cloned()
    }

    /// Decides, writes the decision down and applies it.
    fn decide<R>(
        &self,
        shard: &TxnShard,
        id: &TransactionalId,
        decide: impl FnOnce(&mut Loaded, Millis) -> Decision<R>,
    ) -> Result<Decided<R>, TransactionError> {
        let mut loaded = shard.loaded(|| self.txn_settings())?;
        let now = self.ground.env.now();
        let decision = decide(&mut loaded, now);
        loaded.carry_out(&*shard.log, id, now, decision)
    }

    fn add_partitions(
        &self,
        shard: &TxnShard,
        request: &AddPartitions,
    ) -> Result<Decided<()>, TransactionError> {
        let mut strict = false;
        let image = Arc::clone(&self.image.read());
        for partition in &request.partitions {
            let synced = self.takes_part(&image, partition);
            strict |= synced.ok_or_else(|| TransactionError::UnknownPartition {
                topic: partition.topic.to_string(),
                partition: partition.partition,
            })?;
        }
        self.check_unopened(shard, request)?;
        let mut loaded = shard.loaded(|| self.txn_settings())?;
        let now = self.ground.env.now();
        let decision = loaded.coordinator.add_partitions(now, request);
        // Only who is let in.
        if decision.reply.is_ok() {
            if let Some(TopicPartition { topic, partition }) = loaded.ending_of(request) {
                let (topic, partition) = (topic.to_string(), *partition);
                return Err(TransactionError::Ending { topic, partition });
            }
            // Of others nothing would take the id out again.
            if strict {
                loaded.be_strict(&request.id);
            }
        }
        loaded.carry_out(&*shard.log, &request.id, now, decision)
    }

    /// The level of a feature was changed: it holds for what is decided from now on.
    pub(crate) fn take_features(&self, features: Features) {
        let settings = settings(&self.settings.read(), features);
        *self.txn_settings.write() = settings;
        for shard in self.txn_shards().unwrap_or_default() {
            shard.set_settings(settings);
        }
    }

    /// Whether nothing on a partition is acknowledged before it is on the disk; `None` when there is no such partition.
    fn takes_part(&self, image: &Image<E>, partition: &TopicPartition) -> Option<bool> {
        let topic = partition.topic.as_str();
        if topic == CONSUMER_OFFSETS.name
            && let Some(shard) = self.group_shard(partition.partition)
        {
            return Some(shard.log.is_synced());
        }
        Some(image.topic(topic)?.partition(partition.partition)?.is_synced())
    }

    /// What the operator has decided about transactions.
    pub(crate) fn txn_settings(&self) -> hanbeon_txn::Settings {
        *self.txn_settings.read()
    }
}

/// The settings of a coordinator, from the broker's. Which protocol the server itself follows, and how it writes its log, is the level of the
/// feature `transaction.version`.
pub(crate) fn settings(broker: &Settings, features: Features) -> hanbeon_txn::Settings {
    let level = features.level(Feature::TransactionVersion);
    let two_phase_commit = match broker.flag("transaction.two.phase.commit.enable") {
        Some(true) => TwoPhaseCommit::On,
        Some(false) | None => TwoPhaseCommit::Off,
    };
    hanbeon_txn::Settings {
        timeout_ms_max: broker.int("transaction.max.timeout.ms").unwrap_or(900_000),
        id_expiration_ms: broker
            .long("transactional.id.expiration.ms")
            .unwrap_or(7 * 24 * 60 * 60 * 1000),
        two_phase_commit,
        server_protocol: if level >= 2 { Protocol::V2 } else { Protocol::V1 },
        value_version: if level >= 1 { ValueVersion::V1 } else { ValueVersion::V0 },
    }
}

#[cfg(test)]
mod tests {
    use hanbeon_log::CrashDir;
    use hanbeon_records::{Millis, TopicName};

    use super::*;
    use crate::{Manual, Mode, NewTopic, Options};

    /// A topic whose decisions are synced, and a coordinator whose log is not.
    fn synced() -> (Engine<Manual<CrashDir>>, AddPartitions, Arc<TxnShard>) {
        let env = Manual::new(Millis::new(1_700_000_000_000), 7);
        let engine = Engine::open_in(env, CrashDir::new(), Options::broker()).unwrap();
        let topic = NewTopic::new("t", 1).config("flush.messages", "1");
        engine.create_topic(&topic, Mode::Apply).unwrap();
        let id = TransactionalId::new("tx").unwrap();
        let transactions = engine.transactions();
        let init = InitProducerId::new(id.clone(), 60_000);
        let producer = crate::produce::block_on(transactions.init_producer_id(init)).unwrap();
        let partitions = vec![TopicPartition { topic: TopicName::new("t").unwrap(), partition: 0 }];
        let shard = transactions.shard("tx").unwrap();
        (engine, AddPartitions { id, producer, partitions, protocol: Protocol::V1 }, shard)
    }

    #[test]
    fn t1_an_enrolment_is_confirmed_when_it_is_as_durable_as_it_has_to_be() {
        let (engine, add, shard) = synced();
        let gate = engine.shared().add_partitions(&shard, &add).unwrap().gate;
        assert!(gate.is_some(), "nobody has synced it yet");
        let AddPartitions { id, producer, partitions, .. } = add;
        let verify = Verify { id, producer, partitions };
        let transactions = engine.transactions();
        let verified = transactions.verify_now(&verify).unwrap();
        assert_eq!((verified.reply.unwrap(), verified.gate), (vec![Membership::Enrolled], gate));
        crate::produce::block_on(transactions.verify(verify.clone())).unwrap();
        assert_eq!(transactions.verify_now(&verify).unwrap().gate, None);
    }

    #[derive(Default)]
    struct Woken(std::sync::atomic::AtomicBool);

    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, std::sync::atomic::Ordering::SeqCst);
        }
    }

    /// Whoever writes the markers finds the shard closed and cannot tell.
    #[test]
    fn who_waits_for_markers_hears_of_a_shutdown() {
        let (engine, add, shard) = synced();
        let shared = engine.shared();
        shared.add_partitions(&shard, &add).unwrap();
        let AddPartitions { id, producer, protocol, .. } = add;
        let end = EndTxn { id: id.clone(), producer, outcome: Outcome::Commit, protocol };
        let decided = shared.decide(&shard, &id, |loaded, now| {
            loaded.coordinator.end_txn(now, &end, &mut Fresh(&shared.ground.ids))
        });
        decided.unwrap().reply.unwrap();
        let settings = || shared.txn_settings();
        shard.loaded(settings).unwrap().finishing.insert(id.clone(), Vec::new());
        let woken = Arc::new(Woken::default());
        let waker = std::task::Waker::from(Arc::clone(&woken));
        let mut cx = std::task::Context::from_waker(&waker);
        let mut finishing = std::pin::pin!(shared.finish(&shard, &id));
        assert!(finishing.as_mut().poll(&mut cx).is_pending(), "somebody else is at it");
        shard.close();
        assert!(woken.0.load(std::sync::atomic::Ordering::SeqCst));
        assert!(finishing.as_mut().poll(&mut cx).is_ready());
    }

    #[test]
    fn who_is_refused_leaves_nothing_behind() {
        let (engine, add, shard) = synced();
        let strange = AddPartitions { id: TransactionalId::new("another").unwrap(), ..add };
        let refused = engine.shared().add_partitions(&shard, &strange).unwrap();
        assert!(refused.reply.is_err());
        let settings = || engine.shared().txn_settings();
        assert!(!shard.loaded(settings).unwrap().is_strict(&strange.id));
    }
}
