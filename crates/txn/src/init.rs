//! `InitProducerId`: the one request by which an instance takes a transactional id over.

use hanbeon_records::{Millis, ProducerEpoch, ProducerId};

use crate::{
    Cause, Coordinator, Decision, FreshIds, Producer, Protocol, Record, State, TransactionalId,
    TwoPhaseCommit, TxnError, TxnValue,
    coordinator::{fenced, same_epoch, settled},
    txn::Txn,
};

/// An `InitProducerId` request with a transactional id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitProducerId {
    /// Which id is taken over.
    pub id: TransactionalId,
    /// The timeout of its transactions, milliseconds. Ignored with [`TwoPhaseCommit::On`].
    pub timeout_ms: i32,
    /// The pair the client holds and wants to go on from (KIP-360); `None` for a new instance, which fences all others.
    pub expected: Option<Producer>,
    /// Whether its transactions have no timeout (`enable2Pc`, KIP-939).
    pub two_phase_commit: TwoPhaseCommit,
    /// Whether an open transaction is to be kept (`keepPreparedTxn`, KIP-939).
    pub prepared: Prepared,
}

impl InitProducerId {
    /// What a new instance asks: all before it are fenced, an open transaction is aborted.
    #[must_use]
    pub const fn new(id: TransactionalId, timeout_ms: i32) -> Self {
        Self {
            id,
            timeout_ms,
            expected: None,
            two_phase_commit: TwoPhaseCommit::Off,
            prepared: Prepared::Abort,
        }
    }
}

/// What `InitProducerId` does with an open transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Prepared {
    /// Abort it.
    Abort,
    /// Keep it, so that an outside coordinator's decision can be carried out. Refused like in every release of Kafka so
    /// far.
    Keep,
}

impl Coordinator {
    /// Decides an `InitProducerId`: the pair that its sender may use from now on.
    ///
    /// Refused with [`TxnError::AbortingFirst`] *and a record* when a transaction is open.
    pub fn init_producer_id(
        &self,
        now: Millis,
        request: &InitProducerId,
        fresh: &mut dyn FreshIds,
    ) -> Decision<Producer> {
        self.initialise(now, request, fresh).unwrap_or_else(Decision::refuse)
    }

    fn initialise(
        &self,
        now: Millis,
        request: &InitProducerId,
        fresh: &mut dyn FreshIds,
    ) -> Result<Decision<Producer>, TxnError> {
        let timeout_ms = self.allowed_timeout(request)?;
        let id = &request.id;
        let Some(txn) = self.txn(id) else {
            return first(now, id, timeout_ms, fresh);
        };
        settled(id, txn)?;
        if let Some(got) = request.expected {
            may_go_on(id, txn, got)?;
        }
        if txn.state == State::Ongoing {
            // Kafka compares no epoch here, so that a late copy of a request, or a zombie, aborts the transaction of the
            // very instance that fenced it.
            if let Some(got) = request.expected {
                same_epoch(id, txn, got)?;
            }
            let record = self.server_abort(now, id, txn, Cause::Fenced, fresh)?;
            let reply = Err(TxnError::AbortingFirst { id: id.clone() });
            return Ok(Decision { record: Some(record), reply });
        }
        let mut value = txn.step(State::Empty, now);
        value.timeout_ms = timeout_ms;
        value.start = Millis::NONE;
        value.next_producer_id = ProducerId::NONE;
        self.take_over(request, txn, &mut value, fresh)?;
        let producer = value.producer;
        Ok(Decision::log(Record::of(id, value, Cause::Initialised), producer))
    }

    fn allowed_timeout(&self, request: &InitProducerId) -> Result<i32, TxnError> {
        let (got, max) = (request.timeout_ms, self.settings.timeout_ms_max);
        let no_timeout = request.two_phase_commit == TwoPhaseCommit::On;
        if no_timeout && self.settings.two_phase_commit == TwoPhaseCommit::Off {
            return Err(TxnError::TwoPhaseCommitOff);
        }
        if request.prepared == Prepared::Keep {
            return Err(TxnError::KeepPreparedUnsupported);
        }
        if no_timeout {
            return Ok(i32::MAX);
        }
        if got < 1 || got > max {
            return Err(TxnError::InvalidTimeout { got, max });
        }
        Ok(got)
    }

    /// The pair after the current one, and what a retry of this request will be known by.
    fn take_over(
        &self,
        request: &InitProducerId,
        txn: &Txn,
        value: &mut TxnValue,
        fresh: &mut dyn FreshIds,
    ) -> Result<(), TxnError> {
        let (current, doubted) = (txn.producer, self.doubts(txn.producer));
        let never_used = current.epoch == ProducerEpoch::NONE;
        value.last_producer_epoch = match request.expected {
            // Nobody is to go on from an older pair: whoever comes with one is a zombie.
            None => ProducerEpoch::NONE,
            Some(got) if got == current || never_used => current.epoch,
            Some(got) if got.epoch == txn.last_epoch && got.epoch > ProducerEpoch::NONE => {
                if !doubted {
                    // The answer to the first try was lost. What made the retry recognisable stays, for there may be a third.
                    value.previous_producer_id = txn.previous_id;
                    return Ok(());
                }
                got.epoch
            }
            Some(got) => return Err(fenced(&request.id, txn, got)),
        };
        value.producer = if current.is_exhausted() || doubted {
            Producer { id: next(fresh)?, epoch: ProducerEpoch::new(0) }
        } else {
            Producer { id: current.id, epoch: current.next_epoch() }
        };
        Ok(())
    }
}

/// An id nobody used before, or one that was forgotten: whatever the client holds is of no use.
fn first(
    now: Millis,
    id: &TransactionalId,
    timeout_ms: i32,
    fresh: &mut dyn FreshIds,
) -> Result<Decision<Producer>, TxnError> {
    let producer = Producer { id: next(fresh)?, epoch: ProducerEpoch::new(0) };
    let value = TxnValue {
        producer,
        timeout_ms,
        state: State::Empty,
        partitions: None,
        last_update: now,
        start: Millis::NONE,
        previous_producer_id: producer.id,
        next_producer_id: ProducerId::NONE,
        client_transaction_version: Protocol::V1.client_version(),
        next_producer_epoch: ProducerEpoch::NONE,
        last_producer_epoch: ProducerEpoch::NONE,
        unknown_tags: [].into(),
    };
    Ok(Decision::log(Record::of(id, value, Cause::Initialised), producer))
}

pub(crate) fn next(fresh: &mut dyn FreshIds) -> Result<ProducerId, TxnError> {
    fresh.fresh().ok_or(TxnError::NoProducerId)
}

/// A client that names a pair goes on from it only if it is the current producer, or the one before a rotation whose
/// answer it may not have heard.
fn may_go_on(id: &TransactionalId, txn: &Txn, got: Producer) -> Result<(), TxnError> {
    let rotated = got.id == txn.previous_id && (got.is_exhausted() || got.epoch == txn.last_epoch);
    if txn.producer.epoch == ProducerEpoch::NONE || got.id == txn.producer.id || rotated {
        return Ok(());
    }
    Err(fenced(id, txn, got))
}
