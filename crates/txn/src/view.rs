//! Looking without touching: `DescribeTransactions`, `ListTransactions`, metrics.

use alloc::collections::BTreeSet;

use hanbeon_records::{Millis, ProducerEpoch, ProducerId, TopicPartition};

use crate::{Coordinator, Fence, Producer, Protocol, State, TransactionalId, txn::Txn};

/// A transactional id as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxnView<'a> {
    /// Its name.
    pub id: &'a TransactionalId,
    /// Its state.
    pub state: State,
    /// Who may use it.
    pub producer: Producer,
    /// The epoch whose retried `InitProducerId` is recognised; -1 for none.
    pub last_producer_epoch: ProducerEpoch,
    /// The producer id before the last record.
    pub previous_producer_id: ProducerId,
    /// The producer id reserved for the next transaction.
    pub next_producer_id: ProducerId,
    /// Timeout, milliseconds; `i32::MAX` for none.
    pub timeout_ms: i32,
    /// When the transaction began; [`Millis::NONE`] in [`State::Empty`].
    pub start: Millis,
    /// When the last record was decided.
    pub last_update: Millis,
    /// The enrolled partitions. `DescribeTransactions` shows only those that still lack a marker:
    /// [`crate::MarkersOwed::missing`] where it knows the id.
    pub partitions: &'a BTreeSet<TopicPartition>,
    /// Of which generation the last enrolment or end was.
    pub client: Protocol,
    /// What made the current pair, when this life of the coordinator saw it.
    pub fence: Option<Fence>,
}

impl<'a> TxnView<'a> {
    fn of(id: &'a TransactionalId, txn: &'a Txn) -> Self {
        Self {
            id,
            state: txn.state,
            producer: txn.producer,
            last_producer_epoch: txn.last_epoch,
            previous_producer_id: txn.previous_id,
            next_producer_id: txn.next_id,
            timeout_ms: txn.timeout_ms,
            start: txn.start,
            last_update: txn.last_update,
            partitions: &txn.partitions,
            client: txn.client.unwrap_or(Protocol::V1),
            fence: txn.fence,
        }
    }
}

/// What `ListTransactions` asks for; empty lists ask for everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListFilter {
    /// Only these producer ids.
    pub producer_ids: BTreeSet<ProducerId>,
    /// Only these states; names that are none ([`State::from_name`]) are answered apart.
    pub states: BTreeSet<State>,
    /// Only transactions that are open for longer, milliseconds; negative for all. Ids without transaction have no
    /// beginning and pass, as in Kafka.
    pub open_for_ms: Option<i64>,
}

impl ListFilter {
    fn passes(&self, now: Millis, txn: &Txn) -> bool {
        let any_id = self.producer_ids.is_empty();
        let any_state = self.states.is_empty();
        let old_enough = match self.open_for_ms {
            Some(ms) if ms >= 0 => now.since(txn.start) > ms,
            Some(_) | None => true,
        };
        old_enough
            && (any_id || self.producer_ids.contains(&txn.producer.id))
            && (any_state || self.states.contains(&txn.state))
    }
}

/// How many ids are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateCounts {
    /// [`State::Empty`].
    pub empty: usize,
    /// [`State::Ongoing`].
    pub ongoing: usize,
    /// [`State::PrepareCommit`].
    pub prepare_commit: usize,
    /// [`State::PrepareAbort`].
    pub prepare_abort: usize,
    /// [`State::CompleteCommit`].
    pub complete_commit: usize,
    /// [`State::CompleteAbort`].
    pub complete_abort: usize,
}

impl Coordinator {
    /// One id; `None` is `TRANSACTIONAL_ID_NOT_FOUND`.
    #[must_use]
    pub fn describe(&self, id: &TransactionalId) -> Option<TxnView<'_>> {
        self.txns().get_key_value(id).map(|(id, txn)| TxnView::of(id, txn))
    }

    /// The ids that pass the filter, by name.
    pub fn list<'a>(
        &'a self,
        now: Millis,
        filter: &'a ListFilter,
    ) -> impl Iterator<Item = TxnView<'a>> {
        let passing = move |(_, txn): &(&TransactionalId, &Txn)| filter.passes(now, txn);
        self.txns().iter().filter(passing).map(|(id, txn)| TxnView::of(id, txn))
    }

    /// When the oldest open transaction began, and whose it is: it holds the last stable offset of its partitions back.
    #[must_use]
    pub fn oldest_open(&self) -> Option<(Millis, &TransactionalId)> {
        self.open().first().map(|(start, id)| (*start, id))
    }

    /// How many ids are in each state. Walks over all of them.
    #[must_use]
    pub fn counts(&self) -> StateCounts {
        let mut counts = StateCounts::default();
        for txn in self.txns().values() {
            let count = match txn.state {
                State::Empty => &mut counts.empty,
                State::Ongoing => &mut counts.ongoing,
                State::PrepareCommit => &mut counts.prepare_commit,
                State::PrepareAbort => &mut counts.prepare_abort,
                State::CompleteCommit => &mut counts.complete_commit,
                State::CompleteAbort => &mut counts.complete_abort,
                State::Dead | State::PrepareEpochFence => continue,
            };
            *count += 1;
        }
        counts
    }

    /// How many ids are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.txns().len()
    }

    /// Whether no id is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.txns().is_empty()
    }
}
