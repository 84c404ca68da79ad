//! Which partitions of decided transactions still lack their marker.

use alloc::collections::{BTreeMap, BTreeSet};

use hanbeon_records::{CoordinatorEpoch, ErrorCode, Millis, Outcome, TopicPartition};

use crate::{Coordinator, Producer, Protocol, TransactionalId, txn::Txn};

/// What every partition of a decided transaction is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TxnMarker {
    /// The pair it carries. Under [`Protocol::V2`] the epoch is above the one the transaction wrote with.
    pub producer: Producer,
    /// The decision.
    pub outcome: Outcome,
    /// Which rules its epoch follows at the partition (KIP-1228). `None` when the decision was read from a value of [`ValueVersion::V0`], which
    /// does not say: then it goes by [`Protocol::V1`], and what it commits may have been written with the epoch below it.
    ///
    /// [`ValueVersion::V0`]: crate::ValueVersion::V0
    pub protocol: Option<Protocol>,
}

/// A decided transaction and the partitions that are to hear of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OwedTxn {
    /// Whose.
    pub id: TransactionalId,
    /// What to write.
    pub marker: TxnMarker,
    /// Where to.
    pub partitions: BTreeSet<TopicPartition>,
}

impl Coordinator {
    /// Every decided transaction that is not complete. After a load this is all that is left to do: hand each to
    /// [`MarkersOwed::enqueue`] and send the markers again, which their partitions allow.
    pub fn owed(&self) -> impl Iterator<Item = OwedTxn> {
        self.owed_ids().iter().filter_map(|id| self.owed_by(id))
    }

    /// What is owed of one id's transaction; `None` when nothing is decided. Ask after a record of a decision was
    /// applied.
    #[must_use]
    pub fn owed_by(&self, id: &TransactionalId) -> Option<OwedTxn> {
        let txn = self.txn(id)?;
        let outcome = txn.state.prepared()?;
        let Txn { producer, client, ref partitions, .. } = *txn;
        let marker = TxnMarker { producer, outcome, protocol: client };
        Some(OwedTxn { id: id.clone(), marker, partitions: partitions.clone() })
    }
}

/// Names one transaction's markers under one coordinator epoch, so that an answer to those of another is worth nothing.
///
/// A marker may be sent twice, and the second answer may arrive when the id's next transaction waits for markers to the same
/// partitions: counted for it, it would be completed without them. Carry it along with each marker that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Round {
    coordinator_epoch: CoordinatorEpoch,
    number: u64,
}

impl Round {
    /// The coordinator epoch that the markers carry.
    #[must_use]
    pub const fn coordinator_epoch(self) -> CoordinatorEpoch {
        self.coordinator_epoch
    }
}

/// The right to complete a transaction: proof that every partition has its marker. Comes from [`MarkersOwed`] once per
/// transaction and coordinator epoch.
#[derive(Debug, PartialEq, Eq, Hash)]
#[must_use = "a transaction that is not completed refuses the next one"]
pub struct Completion {
    id: TransactionalId,
    marker: TxnMarker,
    round: Round,
    epochs: Epochs,
}

/// Whether the partitions of a transaction knew its producer as the coordinator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Epochs {
    Known,
    /// One of them had a later epoch: the coordinator's log has lost its end.
    Overtaken,
}

impl Completion {
    /// Whose transaction.
    #[must_use]
    pub const fn id(&self) -> &TransactionalId {
        &self.id
    }

    /// The coordinator epoch under which its markers were sent. When it is not the current one, drop the token.
    #[must_use]
    pub const fn coordinator_epoch(&self) -> CoordinatorEpoch {
        self.round.coordinator_epoch
    }

    pub(crate) const fn producer(&self) -> Producer {
        self.marker.producer
    }

    pub(crate) const fn epochs(&self) -> Epochs {
        self.epochs
    }

    pub(crate) const fn outcome(&self) -> Outcome {
        self.marker.outcome
    }
}

/// Markers on their way: memory only, rebuilt from [`Coordinator::owed`] when a coordinator is loaded.
///
/// It knows no brokers. Whoever sends looks up the leader of each of [`Self::missing`]'s partitions; a partition without
/// leader waits, and only an explicit "no such topic id" is [`Self::gone`]. (Kafka 4.3.1 takes a partition whose leader
/// is away for deleted, completes without it, and leaves it a transaction open for ever.)
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct MarkersOwed {
    txns: BTreeMap<TransactionalId, Waiting>,
    rounds: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Waiting {
    marker: TxnMarker,
    round: Round,
    epochs: Epochs,
    since: Millis,
    missing: BTreeSet<TopicPartition>,
}

/// The markers of one transaction that are still on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing<'a> {
    /// Whose.
    pub id: &'a TransactionalId,
    /// What to write.
    pub marker: TxnMarker,
    /// Under which coordinator epoch, and what to report answers with.
    pub round: Round,
    /// Where to.
    pub partitions: &'a BTreeSet<TopicPartition>,
}

impl<'a> Missing<'a> {
    const fn of((id, waiting): (&'a TransactionalId, &'a Waiting)) -> Self {
        let Waiting { marker, round, ref missing, .. } = *waiting;
        Self { id, marker, round, partitions: missing }
    }
}

/// What [`MarkersOwed::enqueue`] found.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Enqueued {
    /// Send markers to [`MarkersOwed::missing`], and report the answers with this round.
    Send(Round),
    /// They are on their way already: the same transaction under the same coordinator epoch.
    Already,
    /// It has no partitions: complete it at once.
    Complete(Completion),
}

/// What an answer about one marker led to.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    /// Others are still missing.
    Waits,
    /// It was the last: complete the transaction.
    Complete(Completion),
    /// The partition's leader is another one or not ready: look it up anew and send again, for ever.
    Retry,
    /// A later coordinator or a later transaction was there first: this coordinator's view is out of date and the id's
    /// markers were dropped. The id answers `CONCURRENT_TRANSACTIONS` until the partition is loaded again: raise an
    /// alarm, and look whether this node still leads it.
    Cancelled,
    /// An answer that no leader should give. Nothing changed; report it and send again.
    Unexpected(ErrorCode),
    /// Nothing is known of it (any more): an answer to a marker of another round, or a second one. Ignore it.
    Stale,
}

impl MarkersOwed {
    /// No markers on their way.
    #[must_use]
    pub const fn new() -> Self {
        Self { txns: BTreeMap::new(), rounds: 0 }
    }

    /// Takes a decided transaction under the coordinator epoch (the leader epoch of the log's partition) that its markers
    /// will carry. What was known of the id under an earlier epoch, or of an earlier transaction, is dropped.
    pub fn enqueue(
        &mut self,
        now: Millis,
        owed: OwedTxn,
        coordinator_epoch: CoordinatorEpoch,
    ) -> Enqueued {
        let OwedTxn { id, marker, partitions } = owed;
        let known = self.txns.get(&id);
        let same =
            |w: &Waiting| w.marker == marker && w.round.coordinator_epoch == coordinator_epoch;
        if known.is_some_and(same) {
            return Enqueued::Already;
        }
        self.rounds = self.rounds.wrapping_add(1);
        let round = Round { coordinator_epoch, number: self.rounds };
        if partitions.is_empty() {
            self.txns.remove(&id);
            return Enqueued::Complete(Completion { id, marker, round, epochs: Epochs::Known });
        }
        let epochs = Epochs::Known;
        let waiting = Waiting { marker, round, epochs, since: now, missing: partitions };
        self.txns.insert(id, waiting);
        Enqueued::Send(round)
    }

    /// The marker is in the partition's log and replicated.
    pub fn acked(
        &mut self,
        id: &TransactionalId,
        round: Round,
        partition: &TopicPartition,
    ) -> Progress {
        let Some(waiting) = self.txns.get_mut(id) else { return Progress::Stale };
        if waiting.round != round || !waiting.missing.remove(partition) {
            return Progress::Stale;
        }
        if !waiting.missing.is_empty() {
            return Progress::Waits;
        }
        let Waiting { marker, epochs, .. } = *waiting;
        self.txns.remove(id);
        Progress::Complete(Completion { id: id.clone(), marker, round, epochs })
    }

    /// The partition knows a later epoch of the producer and no later coordinator: it is past this transaction, and this coordinator's log has
    /// lost what came after. Whatever was open there is to be aborted first; then this counts as [`Self::acked`], and the id gets a fresh producer id.
    pub fn overtaken(
        &mut self,
        id: &TransactionalId,
        round: Round,
        partition: &TopicPartition,
    ) -> Progress {
        if let Some(waiting) = self.txns.get_mut(id)
            && waiting.round == round
        {
            waiting.epochs = Epochs::Overtaken;
        }
        self.acked(id, round, partition)
    }

    /// The topic of the partition was deleted: its identity is unknown to the cluster's metadata, not merely without a
    /// leader.
    pub fn gone(
        &mut self,
        id: &TransactionalId,
        round: Round,
        partition: &TopicPartition,
    ) -> Progress {
        self.acked(id, round, partition)
    }

    /// The leader answered with `code`. [`ErrorCode::None`] is [`Self::acked`].
    pub fn answered(
        &mut self,
        id: &TransactionalId,
        round: Round,
        partition: &TopicPartition,
        code: ErrorCode,
    ) -> Progress {
        let waits = |w: &Waiting| w.round == round && w.missing.contains(partition);
        if !self.txns.get(id).is_some_and(waits) {
            return Progress::Stale;
        }
        // A leader that cannot write a marker there has never taken data of the transaction.
        const NOTHING_TO_DO: [ErrorCode; 3] = [
            ErrorCode::None,
            ErrorCode::UnsupportedForMessageFormat,
            ErrorCode::UnsupportedVersion,
        ];
        const OVERTAKEN: [ErrorCode; 2] =
            [ErrorCode::InvalidProducerEpoch, ErrorCode::TransactionCoordinatorFenced];
        if NOTHING_TO_DO.contains(&code) {
            return self.acked(id, round, partition);
        }
        if OVERTAKEN.contains(&code) {
            self.txns.remove(id);
            return Progress::Cancelled;
        }
        // Retriable by name, but a marker is 78 bytes that were just built: a matter for people, not of patience.
        if code.is_retriable() && code != ErrorCode::CorruptMessage {
            return Progress::Retry;
        }
        Progress::Unexpected(code)
    }

    /// What an id's markers say and which partitions lack one.
    #[must_use]
    pub fn missing(&self, id: &TransactionalId) -> Option<Missing<'_>> {
        self.txns.get_key_value(id).map(Missing::of)
    }

    /// The same of all of them, by id.
    pub fn iter(&self) -> impl Iterator<Item = Missing<'_>> {
        self.txns.iter().map(Missing::of)
    }

    /// When the oldest of them was enqueued: an alarm when it is some request timeouts ago.
    #[must_use]
    pub fn oldest(&self) -> Option<(Millis, &TransactionalId)> {
        self.txns.iter().map(|(id, waiting)| (waiting.since, id)).min()
    }

    /// How many transactions wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.txns.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.txns.is_empty()
    }

    /// Drops everything: the coordinator is another node now, which sends them again.
    pub fn clear(&mut self) {
        self.txns.clear();
    }
}
