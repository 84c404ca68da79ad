//! State of one transactional id.

use alloc::{collections::BTreeSet, vec::Vec};

use hanbeon_records::{Millis, ProducerEpoch, ProducerId, TopicPartition};

use crate::{
    BrokenRule, Cause, Fence, Producer, Protocol, Record, State, TopicPartitions, TransactionalId,
    TxnValue, ValueVersion,
};

/// What is remembered of an id: what its last record says, and what its last fence was.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Txn {
    pub(crate) producer: Producer,
    pub(crate) previous_id: ProducerId,
    pub(crate) next_id: ProducerId,
    pub(crate) last_epoch: ProducerEpoch,
    pub(crate) timeout_ms: i32,
    pub(crate) state: State,
    pub(crate) partitions: BTreeSet<TopicPartition>,
    pub(crate) start: Millis,
    pub(crate) last_update: Millis,
    /// `None` of a decision that was read in the form that has no room for it.
    pub(crate) client: Option<Protocol>,
    /// Memory only: for the words of a refusal.
    pub(crate) fence: Option<Fence>,
}

impl Txn {
    /// The state that a record holds.
    pub(crate) fn of(value: &TxnValue) -> Self {
        let listed = value.partitions.iter().flatten().flat_map(|topic| {
            let of = |partition: &i32| TopicPartition {
                topic: topic.topic.clone(),
                partition: *partition,
            };
            topic.partitions.iter().map(of)
        });
        Self {
            producer: value.producer,
            previous_id: value.previous_producer_id,
            next_id: value.next_producer_id,
            last_epoch: value.last_producer_epoch,
            timeout_ms: value.timeout_ms,
            state: value.state,
            partitions: listed.collect(),
            start: value.start,
            last_update: value.last_update,
            client: Some(value.protocol()),
            fence: None,
        }
    }

    /// The state that a record of the log holds.
    pub(crate) fn read((value, version): &(TxnValue, ValueVersion)) -> Self {
        let mut txn = Self::of(value);
        if *version == ValueVersion::V0 && txn.state.prepared().is_some() {
            txn.client = None;
        }
        txn
    }

    /// The record of a step from here to `state`, with everything as it is.
    pub(crate) fn step(&self, state: State, now: Millis) -> TxnValue {
        TxnValue {
            producer: self.producer,
            timeout_ms: self.timeout_ms,
            state,
            partitions: (state != State::Empty).then(|| list(&self.partitions)),
            last_update: now,
            start: self.start,
            previous_producer_id: self.producer.id,
            next_producer_id: self.next_id,
            client_transaction_version: self.client.unwrap_or(Protocol::V1).client_version(),
            next_producer_epoch: ProducerEpoch::NONE,
            last_producer_epoch: self.last_epoch,
            unknown_tags: Vec::new(),
        }
    }

    /// When an open transaction is too old; `None` for one that has no timeout, and when none is open.
    pub(crate) fn deadline(&self) -> Option<Millis> {
        (self.state == State::Ongoing && self.timeout_ms != i32::MAX)
            .then(|| self.start.saturating_add(i64::from(self.timeout_ms)))
    }

    pub(crate) fn has_timed_out(&self, now: Millis) -> bool {
        self.deadline().is_some_and(|deadline| deadline < now)
    }

    pub(crate) fn has_expired(&self, now: Millis, expiration_ms: i64) -> bool {
        self.state.is_expirable() && now.since(self.last_update) >= expiration_ms
    }

    /// The same with what only memory knows: the fence that the step from `before` was, if it was one.
    pub(crate) fn after(mut self, before: Option<&Self>, cause: Cause) -> Self {
        self.fence = match before {
            Some(before) if before.producer == self.producer => before.fence,
            Some(before) => Some(Fence { cause, at: self.last_update, before: before.producer }),
            None => None,
        };
        self
    }
}

/// What a step breaks, given the state before and behind it.
pub(crate) fn check_step(before: Option<&Txn>, after: Option<&Txn>) -> Result<(), BrokenRule> {
    let to = after.map_or(State::Dead, |after| after.state);
    let Some(before) = before else {
        return if to == State::Empty { Ok(()) } else { Err(BrokenRule::State) };
    };
    if !before.state.may_become(to) {
        return Err(BrokenRule::State);
    }
    let Some(after) = after else { return Ok(()) };
    let Producer { id, epoch } = after.producer;
    let same_id = id == before.producer.id;
    let raised = same_id && epoch == before.producer.next_epoch();
    if !(raised || after.producer == before.producer || (!same_id && epoch.get() == 0)) {
        return Err(BrokenRule::Producer { before: before.producer, after: after.producer });
    }
    if to != State::Empty && after.timeout_ms != before.timeout_ms {
        return Err(BrokenRule::Timeout { before: before.timeout_ms, after: after.timeout_ms });
    }
    let (before, after) = (&before.partitions, &after.partitions);
    let fits = match to {
        State::Ongoing => before.is_subset(after),
        State::PrepareCommit | State::PrepareAbort => before == after,
        State::Empty
        | State::CompleteCommit
        | State::CompleteAbort
        | State::Dead
        | State::PrepareEpochFence => after.is_empty(),
    };
    if fits { Ok(()) } else { Err(BrokenRule::Partitions) }
}

/// Groups partitions by topic as the log lists them.
pub(crate) fn list(partitions: &BTreeSet<TopicPartition>) -> Vec<TopicPartitions> {
    let mut topics: Vec<TopicPartitions> = Vec::new();
    for TopicPartition { topic, partition } in partitions {
        match topics.last_mut() {
            Some(last) if last.topic == *topic => last.partitions.push(*partition),
            Some(_) | None => {
                topics.push(TopicPartitions {
                    topic: topic.clone(),
                    partitions: [*partition].into(),
                });
            }
        }
    }
    topics
}

/// The record that forgets an id.
pub(crate) const fn tombstone(id: TransactionalId) -> Record {
    Record { id, value: None, cause: Cause::Expired }
}
