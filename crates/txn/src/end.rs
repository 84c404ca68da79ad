//! `EndTxn` and the aborts the coordinator begins itself.

use hanbeon_records::{Millis, Outcome, ProducerEpoch, ProducerId};

use crate::{
    Cause, Completion, Coordinator, Decision, FreshIds, Producer, Protocol, Record, State,
    TransactionalId, TxnError, TxnValue,
    coordinator::{fenced, same_epoch, same_id, settled},
    init::next,
    markers::Epochs,
    txn::Txn,
};

/// An `EndTxn` request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndTxn {
    /// Whose transaction.
    pub id: TransactionalId,
    /// Who ends it.
    pub producer: Producer,
    /// How.
    pub outcome: Outcome,
    /// Of which generation the request is ([`Protocol::of_end_txn`]).
    pub protocol: Protocol,
}

/// How a [`Protocol::V2`] request's epoch stands to the current one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    /// The current pair.
    Current,
    /// The pair before the end that made the current one: the request is that end once more.
    Retry,
    /// Neither.
    Stale,
}

impl Coordinator {
    /// Decides an `EndTxn`. The answer of [`Protocol::V2`] carries the pair for the *next* transaction; a client of
    /// [`Protocol::V1`] goes on with the one it has, which is what it is answered.
    pub fn end_txn(
        &self,
        now: Millis,
        request: &EndTxn,
        fresh: &mut dyn FreshIds,
    ) -> Decision<Producer> {
        let decided = match request.protocol {
            Protocol::V1 => self.end_v1(now, request),
            Protocol::V2 => self.end_v2(now, request, fresh),
        };
        decided.unwrap_or_else(Decision::refuse)
    }

    fn end_v1(&self, now: Millis, request: &EndTxn) -> Result<Decision<Producer>, TxnError> {
        let EndTxn { id, producer, outcome, .. } = request;
        let txn = self.known(id)?;
        same_id(id, txn, *producer)?;
        same_epoch(id, txn, *producer)?;
        settled(id, txn)?;
        match (txn.state, outcome) {
            (State::Ongoing, _) => {
                let mut value = txn.step(State::prepare(*outcome), now);
                value.client_transaction_version = Protocol::V1.client_version();
                Ok(Decision::log(Record::of(id, value, Cause::Ended), txn.producer))
            }
            // A retry, or the end of a transaction that nothing was enrolled in: there is no telling.
            (State::CompleteCommit, Outcome::Commit) | (State::CompleteAbort, Outcome::Abort) => {
                Ok(Decision::answer(txn.producer))
            }
            _ => Err(invalid(id, txn, *outcome)),
        }
    }

    fn end_v2(
        &self,
        now: Millis,
        request: &EndTxn,
        fresh: &mut dyn FreshIds,
    ) -> Result<Decision<Producer>, TxnError> {
        let EndTxn { id, producer, outcome, .. } = request;
        let txn = self.known(id)?;
        settled(id, txn)?;
        let claim = claim(txn, *producer);
        if claim != Claim::Retry {
            same_id(id, txn, *producer)?;
        }
        match (txn.state, claim, outcome) {
            (State::Ongoing, Claim::Current, _)
            | (
                State::Empty | State::CompleteCommit | State::CompleteAbort,
                Claim::Current,
                Outcome::Abort,
            ) => {
                let (value, next) = raising_end(now, txn, *outcome, fresh)?;
                Ok(Decision::log(Record::of(id, value, Cause::Ended), next))
            }
            (State::CompleteCommit, Claim::Retry, Outcome::Commit)
            | (State::CompleteAbort, Claim::Retry, Outcome::Abort) => {
                Ok(Decision::answer(txn.producer))
            }
            (State::CompleteAbort, Claim::Retry, Outcome::Commit) => {
                let (id, got, fence) = (id.clone(), *producer, txn.fence);
                Err(TxnError::AbortedBeforeCommit { id, got, fence })
            }
            (State::CompleteCommit, Claim::Retry, Outcome::Abort)
            | (
                State::Empty | State::CompleteCommit | State::CompleteAbort,
                Claim::Current,
                Outcome::Commit,
            ) => Err(invalid(id, txn, *outcome)),
            _ => Err(fenced(id, txn, *producer)),
        }
    }

    /// The abort of an open transaction that its producer did not ask for. It raises the epoch, once.
    pub(crate) fn server_abort(
        &self,
        now: Millis,
        id: &TransactionalId,
        txn: &Txn,
        cause: Cause,
        fresh: &mut dyn FreshIds,
    ) -> Result<Record, TxnError> {
        let value = match self.settings.server_protocol {
            Protocol::V2 => raising_end(now, txn, Outcome::Abort, fresh)?.0,
            Protocol::V1 => {
                let mut value = txn.step(State::PrepareAbort, now);
                value.producer.epoch = txn.producer.next_epoch();
                value.last_producer_epoch = ProducerEpoch::NONE;
                value.client_transaction_version = Protocol::V1.client_version();
                value
            }
        };
        Ok(Record::of(id, value, cause))
    }

    /// Decides that a transaction is over: every partition has its marker, as `completion` proves.
    ///
    /// Where a partition knew a later epoch of the producer than this log does, the id gets a fresh producer id with it.
    ///
    /// When the append of the record fails, ask again with the same token.
    pub fn complete(
        &self,
        now: Millis,
        completion: &Completion,
        fresh: &mut dyn FreshIds,
    ) -> Decision<()> {
        let id = completion.id();
        let owes = |txn: &&Txn| {
            txn.producer == completion.producer()
                && txn.state.prepared() == Some(completion.outcome())
        };
        let Some(txn) = self.txn(id).filter(owes) else {
            let state = self.txn(id).map_or(State::Dead, |txn| txn.state);
            return Decision::refuse(TxnError::NothingOwed { id: id.clone(), state });
        };
        let mut value = txn.step(State::complete(completion.outcome()), now);
        value.partitions = Some([].into());
        if txn.next_id.is_some() {
            value.producer = Producer { id: txn.next_id, epoch: ProducerEpoch::new(0) };
            value.next_producer_id = ProducerId::NONE;
        } else if completion.epochs() == Epochs::Overtaken {
            let Some(id) = fresh.fresh() else { return Decision::refuse(TxnError::NoProducerId) };
            value.producer = Producer { id, epoch: ProducerEpoch::new(0) };
            value.last_producer_epoch = txn.producer.epoch;
        }
        Decision::log(Record::of(id, value, Cause::Completed), ())
    }
}

/// An end that makes the pair of the next transaction (KIP-890 part 2): the epoch rises by one, and where it cannot be
/// given to a client any more a fresh producer id is reserved.
fn raising_end(
    now: Millis,
    txn: &Txn,
    outcome: Outcome,
    fresh: &mut dyn FreshIds,
) -> Result<(TxnValue, Producer), TxnError> {
    let mut value = txn.step(State::prepare(outcome), now);
    if txn.state != State::Ongoing {
        // An empty abort: no partitions, and a beginning, because what completes had one.
        value.start = now;
    }
    value.producer.epoch = txn.producer.next_epoch();
    value.last_producer_epoch = txn.producer.epoch.min(Producer::EPOCH_MAX);
    // A fence of an old Kafka may have left 32767 behind (KAFKA-20090): nothing is above it, and a marker that does not
    // raise the epoch follows the old rules.
    let raised = value.producer.epoch > txn.producer.epoch;
    let protocol = if raised { Protocol::V2 } else { Protocol::V1 };
    value.client_transaction_version = protocol.client_version();
    if !txn.producer.is_exhausted() {
        let next = value.producer;
        return Ok((value, next));
    }
    value.next_producer_id = next(fresh)?;
    let next = Producer { id: value.next_producer_id, epoch: ProducerEpoch::new(0) };
    Ok((value, next))
}

fn claim(txn: &Txn, got: Producer) -> Claim {
    let current = txn.producer;
    if got == current {
        return Claim::Current;
    }
    let complete = matches!(txn.state, State::CompleteCommit | State::CompleteAbort);
    // An end of protocol 1 leaves the pair that InitProducerId gave: who comes with the one before is a zombie. An abort of the coordinator's
    // own raises it under protocol 1, too, which the log does not say.
    let aborted = txn.fence.is_some_and(|it| matches!(it.cause, Cause::Fenced | Cause::TimedOut));
    let aborted_v1 = aborted && txn.last_epoch == ProducerEpoch::NONE;
    let made_by_an_end = complete && (txn.client == Some(Protocol::V2) || aborted_v1);
    // A fence may have left 32767 behind, which no client is given: that one asks InitProducerId for another id.
    let given = current.epoch <= Producer::EPOCH_MAX;
    let before = given && got.id == current.id && got.next_epoch() == current.epoch;
    let before_rotation = got.id == txn.previous_id
        && got.id != current.id
        && got.epoch == Producer::EPOCH_MAX
        && current.epoch.get() == 0;
    if made_by_an_end && (before || before_rotation) { Claim::Retry } else { Claim::Stale }
}

fn invalid(id: &TransactionalId, txn: &Txn, asked: Outcome) -> TxnError {
    TxnError::InvalidState { id: id.clone(), state: txn.state, asked }
}
