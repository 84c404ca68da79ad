//! From a decision to the end of a transaction: a marker to every partition, then the completion.
//!
//! Everything here is redo. Who breaks off leaves a Prepare state in the log, and whoever comes next (upkeep, or the next life) writes the
//! same markers again: partitions take a marker twice without harm.

use std::{collections::BTreeSet, sync::Arc, task::Poll};

use hanbeon_idempotence::{Ends, IdempotenceError, MarkerClaim, MarkerProtocol};
use hanbeon_log::AppendError;
use hanbeon_records::{CoordinatorEpoch, ErrorCode, Outcome, ProducerEpoch, TopicPartition};
use hanbeon_txn::{
    Completion, Enqueued, Missing, Producer, Progress, Protocol, Round, TransactionalId, TxnMarker,
};

use super::{
    TransactionError, TxnShard,
    shard::{Commits, Fresh, Loaded, pass},
    upkeep::{Unfinished, unfinished},
};
use crate::{
    DurableFuture, Env, PartitionError, ProduceError,
    coordinators::CONSUMER_OFFSETS,
    engine::Shared,
    groups::{GroupShard, MarkError},
    image::Image,
    waiters::wake_all,
};

/// How safe a marker has to be before its transaction counts as complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Safety {
    /// As its partition's topic asks.
    OfItsTopic,
    /// On the disk: nobody writes it again once the completion is there, which is on the disk then.
    OnDisk,
}

/// What became of a marker.
pub(crate) enum MarkerFate {
    /// It is there, and durable when the future says so.
    Written(Option<DurableFuture>),
    /// There is no such partition any more.
    Gone,
    /// It is not.
    Refused(ProduceError),
}

/// What a partition said to a marker.
enum Answer {
    Written,
    /// The partition is past this transaction, and nothing is open there any more.
    Overtaken,
    Gone,
    Refused(ErrorCode),
}

/// What a marker that is owed meets when the coordinator and the partition did not lose the same in a power cut. While it is owed nobody writes
/// there by the coordinator's leave, so what is open is nobody's.
#[derive(Clone, Copy, Debug)]
enum Met {
    /// A transaction of before of which the partition has lost the end, and nobody says any more how it was decided.
    Older(ProducerEpoch),
    /// A later epoch, of which the coordinator has lost everything.
    Later(ProducerEpoch),
}

impl Met {
    #[expect(clippy::wildcard_enum_match_arm, reason = "other refusals say nothing of the kind")]
    const fn by(error: &ProduceError) -> Option<Self> {
        let ProduceError::Append(AppendError::Idempotence(error)) = error else { return None };
        match *error {
            IdempotenceError::OtherTransaction { current, .. } => Some(Self::Older(current)),
            IdempotenceError::StaleEpoch { current, .. }
            | IdempotenceError::StaleMarker { current, .. } => Some(Self::Later(current)),
            _ => None,
        }
    }
}

/// Where markers are missing.
enum Lacking {
    Nothing(Completion),
    At(Round, BTreeSet<TopicPartition>),
}

/// Whether somebody who came to write the markers of an id had the turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Turned {
    /// It is done, as far as it can be.
    Up,
    /// Somebody else is at it.
    Away,
}

/// The right to write the markers of an id, given back when it goes.
struct Turn<'a> {
    shard: &'a TxnShard,
    id: &'a TransactionalId,
    settings: hanbeon_txn::Settings,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let waiting = match self.shard.loaded(|| self.settings) {
            Ok(mut loaded) => loaded.finishing.remove(self.id).unwrap_or_default(),
            Err(_) => return,
        };
        wake_all(waiting);
    }
}

impl<E: Env> Shared<E> {
    /// Writes the markers that `id` owes and completes its transaction; when somebody is at it, waits for that first. What cannot be done
    /// now stays owed.
    pub(super) async fn finish(&self, shard: &TxnShard, id: &TransactionalId) {
        while self.finish_if_free(shard, id).await == Turned::Away {
            let free = std::future::poll_fn(|cx| match shard.loaded(|| self.txn_settings()) {
                Ok(mut loaded) => match loaded.finishing.get_mut(id) {
                    Some(waiting) => {
                        waiting.push(cx.waker().clone());
                        Poll::Pending
                    }
                    None => Poll::Ready(()),
                },
                Err(_) => Poll::Ready(()),
            });
            free.await;
        }
    }

    /// The same, but leaves it to who is at it: that may be a future which nobody polls any more, and upkeep waits for none.
    pub(super) async fn finish_if_free(&self, shard: &TxnShard, id: &TransactionalId) -> Turned {
        self.try_finish(shard, id).await.unwrap_or_else(|error| {
            tracing::warn!(%id, %error, "the end of a transaction is not complete yet");
            Turned::Up
        })
    }

    async fn try_finish(
        &self,
        shard: &TxnShard,
        id: &TransactionalId,
    ) -> Result<Turned, TransactionError> {
        let (marker, epoch, safety, missing, gate, commits) = {
            let mut loaded = shard.loaded(|| self.txn_settings())?;
            let Some(owed) = loaded.coordinator.owed_by(id) else { return Ok(Turned::Up) };
            if loaded.finishing.contains_key(id) {
                return Ok(Turned::Away);
            }
            let safety = if loaded.is_strict(id) { Safety::OnDisk } else { Safety::OfItsTopic };
            let (marker, epoch) = (owed.marker, loaded.epoch);
            let now = self.ground.env.now();
            let missing = match loaded.owed.enqueue(now, owed, epoch) {
                Enqueued::Complete(completion) => Lacking::Nothing(completion),
                Enqueued::Send(_) | Enqueued::Already => match loaded.owed.missing(id) {
                    Some(Missing { round, partitions, .. }) => {
                        Lacking::At(round, partitions.clone())
                    }
                    None => return Ok(Turned::Up),
                },
            };
            loaded.finishing.insert(id.clone(), Vec::new());
            let commits = Arc::clone(&loaded.commits);
            (marker, epoch, safety, missing, loaded.gate(&*shard.log, id), commits)
        };
        let settings = self.txn_settings();
        let _turn = Turn { shard, id, settings };
        // Whoever decided may have gone away before the decision was durable: no marker goes out before.
        pass(&*shard.log, gate).await?;
        let completion = match missing {
            Lacking::Nothing(completion) => Some(completion),
            Lacking::At(round, partitions) => {
                let claim = (marker, epoch, safety);
                let answers = self.write_markers(id, claim, &partitions, &commits).await;
                note(&mut *shard.loaded(|| settings)?, id, round, answers)
            }
        };
        let Some(completion) = completion else { return Ok(Turned::Up) };
        let decided = self.decide(shard, id, |loaded, now| {
            let mut ids = Fresh(&self.ground.ids);
            loaded.coordinator.complete(now, &completion, &mut ids)
        })?;
        // Protocol 2 waits for no third sync: what a power cut leaves of this is the decision, and its markers, written again, bear an epoch that ends no
        // later transaction; its record says that they do at any level (`Record::encode`). Under protocol 1 they could.
        if marker.protocol != Some(Protocol::V2) {
            pass(&*shard.log, decided.gate).await?;
        }
        decided.reply.map(|()| Turned::Up)
    }

    /// Writes markers and waits until each is as safe as it has to be.
    async fn write_markers<'p>(
        &self,
        id: &TransactionalId,
        (marker, epoch, safety): (TxnMarker, CoordinatorEpoch, Safety),
        partitions: &'p BTreeSet<TopicPartition>,
        commits: &Commits,
    ) -> Vec<(&'p TopicPartition, Answer)> {
        let mut answers = Vec::with_capacity(partitions.len());
        let mut syncing = Vec::new();
        let (image, claim) = (Arc::clone(&self.image.read()), self.claim(marker, epoch));
        for partition in partitions {
            let (fate, answer) = match self.redo_commit(&image, partition, claim, commits) {
                Ok(()) => self.mark_owed(&image, partition, claim, safety),
                Err(error) => (MarkerFate::Refused(error), Answer::Written),
            };
            match fate {
                MarkerFate::Written(None) => answers.push((partition, answer)),
                MarkerFate::Written(Some(durable)) => syncing.push((partition, durable, answer)),
                MarkerFate::Gone => answers.push((partition, Answer::Gone)),
                MarkerFate::Refused(error) => {
                    tracing::warn!(%id, %partition, %error, "a marker could not be written");
                    answers.push((partition, Answer::Refused(error.code())));
                }
            }
        }
        for (partition, durable, answer) in syncing {
            let answer = match durable.await {
                Ok(()) => answer,
                Err(error) => {
                    tracing::error!(%id, %partition, %error, "a marker is not durable");
                    Answer::Refused(error.code())
                }
            };
            answers.push((partition, answer));
        }
        answers
    }

    /// The shards whose offsets a transaction commits, when its decision has to be on the disk.
    fn logs_of_offsets(
        &self,
        shard: &TxnShard,
        id: &TransactionalId,
    ) -> Result<Vec<Arc<GroupShard>>, TransactionError> {
        let loaded = shard.loaded(|| self.txn_settings())?;
        let view = loaded.coordinator.describe(id).filter(|_| loaded.is_strict(id));
        let offsets =
            |partition: &&TopicPartition| partition.topic.as_str() == CONSUMER_OFFSETS.name;
        let partitions = view.into_iter().flat_map(|view| view.partitions).filter(offsets);
        let groups = partitions.filter_map(|found| self.group_shard(found.partition).cloned());
        let groups: Vec<_> = groups.collect();
        drop(loaded);
        Ok(groups)
    }

    /// Sees to it that the offsets which a transaction commits outlast the decision: when that has to be on the disk, so have they, whatever
    /// the topic they are in asks.
    pub(super) async fn secure_offsets(
        &self,
        shard: &TxnShard,
        id: &TransactionalId,
    ) -> Result<(), TransactionError> {
        let groups = self.logs_of_offsets(shard, id)?;
        for group in groups {
            let end = group.loaded(self).map(|groups| groups.end());
            // A log that does not read is refused its marker later, and keeps it owed.
            if let Ok(end) = end {
                pass(&*group.log, Some(end)).await?;
            }
        }
        Ok(())
    }

    /// The shard of groups on a partition of `__consumer_offsets`; `None` where there is no such partition.
    pub(super) fn group_shard(&self, number: i32) -> Option<&Arc<GroupShard>> {
        self.group_shards()?.get(usize::try_from(number).ok()?)
    }

    pub(super) fn claim(
        &self,
        marker: TxnMarker,
        coordinator_epoch: CoordinatorEpoch,
    ) -> MarkerClaim {
        MarkerClaim {
            producer_id: marker.producer.id,
            producer_epoch: marker.producer.epoch,
            coordinator_epoch,
            outcome: marker.outcome,
            timestamp: self.ground.env.now(),
            protocol: match marker.protocol {
                Some(Protocol::V1) | None => MarkerProtocol::V1,
                Some(Protocol::V2) => MarkerProtocol::V2,
            },
            ends: if marker.protocol.is_some() { Ends::Named } else { Ends::NamedByEither },
        }
    }

    /// Before a marker that would end it otherwise: completes an earlier commit of the producer, of which a power cut has taken the marker here. The marker
    /// behind it is as safe as either has to be.
    fn redo_commit(
        &self,
        image: &Image<E>,
        partition: &TopicPartition,
        next: MarkerClaim,
        commits: &Commits,
    ) -> Result<(), ProduceError> {
        if commits.is_empty() {
            return Ok(());
        }
        let topic = image.topic(partition.topic.as_str());
        let Some(handle) = topic.and_then(|topic| topic.partition(partition.partition)) else {
            return Ok(());
        };
        handle.reopen()?;
        let of_producer = |one: &Unfinished<E>| one.wrote().id == next.producer_id;
        let Some(found) = unfinished(handle).into_iter().find(of_producer) else { return Ok(()) };
        let earlier = |pair: &Producer| pair.epoch < next.producer_epoch;
        let Some(pair) = commits.marker_of(found.wrote()).filter(earlier) else { return Ok(()) };
        let commit = found.commit(pair);
        match self.mark(image, partition, commit, Safety::OfItsTopic) {
            MarkerFate::Written(_) | MarkerFate::Gone => Ok(()),
            MarkerFate::Refused(error) => Err(error),
        }
    }

    /// Writes a marker that is owed, and before it the abort of what it meets and nobody owns.
    fn mark_owed(
        &self,
        image: &Image<E>,
        partition: &TopicPartition,
        claim: MarkerClaim,
        safety: Safety,
    ) -> (MarkerFate, Answer) {
        let fate = self.mark(image, partition, claim, safety);
        let MarkerFate::Refused(error) = &fate else { return (fate, Answer::Written) };
        let Some(met) = Met::by(error) else { return (fate, Answer::Written) };
        tracing::warn!(%partition, %error, "a power cut has taken the end of a log: what is open here is aborted");
        let (Met::Older(epoch) | Met::Later(epoch)) = met;
        // Behind the epoch of the marker itself nothing would tell the next redo of the later transaction.
        let above = match met {
            Met::Later(current) if current == claim.producer_epoch => epoch.get().checked_add(1),
            Met::Later(_) | Met::Older(_) => None,
        };
        let abort = abort_of(claim, above.map_or(epoch, ProducerEpoch::new));
        match (self.mark(image, partition, abort, safety), met) {
            (MarkerFate::Written(_), Met::Older(_)) => {
                (self.mark(image, partition, claim, safety), Answer::Written)
            }
            (fate, Met::Later(_)) => (fate, Answer::Overtaken),
            (fate, Met::Older(_)) => (fate, Answer::Written),
        }
    }

    /// Writes one marker, and lets the group coordinator act on one in its log.
    pub(crate) fn mark(
        &self,
        image: &Image<E>,
        partition: &TopicPartition,
        claim: MarkerClaim,
        safety: Safety,
    ) -> MarkerFate {
        if partition.topic.as_str() == CONSUMER_OFFSETS.name && self.group_shards().is_some() {
            return self.mark_offsets(partition.partition, claim, safety);
        }
        let topic = image.topic(partition.topic.as_str());
        let found = topic.and_then(|topic| topic.partition(partition.partition));
        let Some(handle) = found else { return MarkerFate::Gone };
        // What is owed is tried again, and with it the log that kept it from being written.
        if let Err(error) = handle.reopen() {
            return MarkerFate::Refused(error.into());
        }
        #[cfg(feature = "planted-faults")]
        if crate::faults::strikes(crate::faults::Fault::SkippedMarker) {
            return MarkerFate::Gone;
        }
        match handle.write_marker(claim) {
            Ok(appended) if safety == Safety::OnDisk || handle.is_synced() => {
                MarkerFate::Written(Some(Box::pin(handle.durable_to(appended.end))))
            }
            Ok(_) => MarkerFate::Written(None),
            Err(error) => MarkerFate::Refused(error),
        }
    }

    /// Writes a marker into the log of a shard of groups, which acts on it before anybody hears of it.
    fn mark_offsets(&self, number: i32, claim: MarkerClaim, safety: Safety) -> MarkerFate {
        let Some(shard) = self.group_shard(number) else { return MarkerFate::Gone };
        match shard.mark(self, claim) {
            Ok(written) if safety == Safety::OnDisk || shard.log.is_synced() => {
                MarkerFate::Written(Some(shard.log.durable_to(written.end)))
            }
            Ok(_) => MarkerFate::Written(None),
            Err(MarkError::Log(error)) => MarkerFate::Refused(error),
            Err(MarkError::Load(error)) => {
                tracing::error!(shard = number, %error, "a marker waits for its log of offsets");
                MarkerFate::Refused(PartitionError::Closed.into())
            }
        }
    }
}

/// The marker that aborts what a producer has open in `epoch`.
pub(super) fn abort_of(claim: MarkerClaim, epoch: ProducerEpoch) -> MarkerClaim {
    let (outcome, protocol) = (Outcome::Abort, MarkerProtocol::V1);
    MarkerClaim { producer_epoch: epoch, outcome, protocol, ..claim }
}

/// What partitions said to a marker, and whether it was the last.
fn note(
    loaded: &mut Loaded,
    id: &TransactionalId,
    round: Round,
    answers: Vec<(&TopicPartition, Answer)>,
) -> Option<Completion> {
    let mut completion = None;
    for (partition, answer) in answers {
        let progress = match answer {
            Answer::Written => loaded.owed.acked(id, round, partition),
            Answer::Overtaken => loaded.owed.overtaken(id, round, partition),
            Answer::Gone => loaded.owed.gone(id, round, partition),
            Answer::Refused(code) => loaded.owed.answered(id, round, partition, code),
        };
        match progress {
            Progress::Complete(done) => completion = Some(done),
            Progress::Cancelled => {
                tracing::error!(%id, %partition, "a later coordinator or transaction was here first: the end of this one is given up");
            }
            Progress::Unexpected(code) => {
                tracing::error!(%id, %partition, ?code, "an answer to a marker that no partition should give");
            }
            Progress::Waits | Progress::Retry | Progress::Stale => {}
        }
    }
    completion
}
