//! The coordinator of one partition of `__transaction_state`: its state, how it is loaded and how it changes.

use alloc::collections::{BTreeMap, BTreeSet};
use core::fmt;

use hanbeon_records::{Millis, ProducerId};

use crate::{
    IllegalTransition, Producer, Record, RecordError, Settings, State, TransactionalId, TxnError,
    TxnKey, TxnValue, decode_key,
    txn::{Txn, check_step},
};

/// The transaction coordinator of one partition of `__transaction_state`.
///
/// Requests are decided with `&self`; state changes by [`Self::apply`] of the decided record alone, once it is committed.
/// See [`crate::Decision`] for what the caller owes in between, and the crate's page for the whole picture.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Coordinator {
    pub(crate) settings: Settings,
    /// The first producer id whose epochs are not in doubt.
    first_sure: ProducerId,
    txns: BTreeMap<TransactionalId, Txn>,
    /// Open transactions by their beginning.
    open: BTreeSet<(Millis, TransactionalId)>,
    /// Open transactions that have a timeout, by the moment it passes.
    deadlines: BTreeSet<(Millis, TransactionalId)>,
    /// Decided transactions whose markers are owed.
    owed: BTreeSet<TransactionalId>,
}

/// What became of a record of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// It is the state of its id now.
    Applied,
    /// Its key is of a kind that this version does not know (KIP-915 lets newer software leave such records).
    Skipped {
        /// The key's version.
        key_version: i16,
    },
}

/// Which rule a record breaks that does not follow from the state before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BrokenRule {
    /// The state does not follow ([`State::followers`]).
    State,
    /// The epoch neither stays nor rises by one, and the producer id is no fresh one at epoch 0.
    Producer {
        /// Before it.
        before: Producer,
        /// In it.
        after: Producer,
    },
    /// The timeout changes other than by `InitProducerId`.
    Timeout {
        /// Before it, milliseconds.
        before: i32,
        /// In it, milliseconds.
        after: i32,
    },
    /// A transaction loses partitions, or is decided with others than it had.
    Partitions,
}

impl fmt::Display for BrokenRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::State => f.write_str("this state does not follow"),
            Self::Producer { before, after } => {
                write!(f, "producer {after} does not follow {before}")
            }
            Self::Timeout { before, after } => {
                write!(f, "the timeout may not change from {before} to {after} ms here")
            }
            Self::Partitions => f.write_str("the partitions do not follow"),
        }
    }
}

impl Coordinator {
    /// A coordinator that knows no id yet.
    #[must_use]
    pub const fn new(settings: Settings) -> Self {
        Self {
            settings,
            first_sure: ProducerId::new(0),
            txns: BTreeMap::new(),
            open: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            owed: BTreeSet::new(),
        }
    }

    /// What the operator decided.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The operator decided anew, or a feature level was finalized. Open transactions keep their timeouts.
    pub const fn set_settings(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// Takes one record of the log, from its start to its end and in its order: the last record of an id is its state.
    ///
    /// Nothing but the bytes is checked, for compaction may have taken out what lay between two records. Send no marker
    /// of what [`Self::owed`] lists afterwards before the log's end is committed: a decision that only this replica has
    /// may be lost with it.
    ///
    /// # Errors
    /// A record that cannot be read. Do not serve the partition then: its state would be a guess.
    pub fn replay(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<Replayed, RecordError> {
        let id = match decode_key(key)? {
            TxnKey::Transaction(id) => id,
            TxnKey::Unknown { version } => return Ok(Replayed::Skipped { key_version: version }),
        };
        let value = value.map(TxnValue::decode).transpose()?;
        self.put(id, value.as_ref().map(Txn::read));
        Ok(Replayed::Applied)
    }

    /// A log that was replayed may lack its end, while partitions have batches and markers that rest on what it lacked: a power cut took what was
    /// never made durable. The epochs of all producer ids that were handed out before it are in doubt, those below `first_sure`, for as long as partitions know
    /// them: whoever has one gets a fresh producer id at its next `InitProducerId`. The pair it has goes on: a live client would take a refusal
    /// for its end, and what partitions have of a lost life they keep apart by its epoch.
    pub const fn doubt_below(&mut self, first_sure: ProducerId) {
        self.first_sure = first_sure;
    }

    pub(crate) fn doubts(&self, producer: Producer) -> bool {
        producer.id < self.first_sure
    }

    /// Makes a committed record the state of its id: the only way in which live state changes.
    ///
    /// # Errors
    /// [`IllegalTransition`] when the record does not follow from the state; nothing has changed then.
    pub fn apply(&mut self, record: &Record) -> Result<(), IllegalTransition> {
        let before = self.txns.get(&record.id);
        let after = record.value.as_ref().map(Txn::of);
        check_step(before, after.as_ref()).map_err(|rule| IllegalTransition {
            id: record.id.clone(),
            from: before.map(|txn| txn.state),
            to: record.value.as_ref().map_or(State::Dead, |value| value.state),
            rule,
        })?;
        let after = after.map(|after| after.after(before, record.cause));
        self.put(record.id.clone(), after);
        Ok(())
    }

    fn put(&mut self, id: TransactionalId, after: Option<Txn>) {
        let (open, deadline) =
            (after.as_ref().and_then(open_since), after.as_ref().and_then(Txn::deadline));
        let owes = after.as_ref().is_some_and(|txn| txn.state.prepared().is_some());
        let before = match after {
            Some(after) => self.txns.insert(id.clone(), after),
            None => self.txns.remove(&id),
        };
        let before = before.as_ref();
        move_to(&mut self.open, before.and_then(open_since), open, &id);
        move_to(&mut self.deadlines, before.and_then(Txn::deadline), deadline, &id);
        match (before.is_some_and(|txn| txn.state.prepared().is_some()), owes) {
            (false, true) => drop(self.owed.insert(id)),
            (true, false) => drop(self.owed.remove(&id)),
            (true, true) | (false, false) => {}
        }
    }

    pub(crate) fn txn(&self, id: &TransactionalId) -> Option<&Txn> {
        self.txns.get(id)
    }

    pub(crate) fn known(&self, id: &TransactionalId) -> Result<&Txn, TxnError> {
        self.txns.get(id).ok_or_else(|| TxnError::UnknownId { id: id.clone() })
    }

    pub(crate) const fn txns(&self) -> &BTreeMap<TransactionalId, Txn> {
        &self.txns
    }

    pub(crate) const fn open(&self) -> &BTreeSet<(Millis, TransactionalId)> {
        &self.open
    }

    pub(crate) const fn deadlines(&self) -> &BTreeSet<(Millis, TransactionalId)> {
        &self.deadlines
    }

    pub(crate) const fn owed_ids(&self) -> &BTreeSet<TransactionalId> {
        &self.owed
    }
}

fn open_since(txn: &Txn) -> Option<Millis> {
    (txn.state == State::Ongoing).then_some(txn.start)
}

/// Moves an id within what is sorted by time; most steps move it in few of them.
fn move_to(
    sorted: &mut BTreeSet<(Millis, TransactionalId)>,
    before: Option<Millis>,
    after: Option<Millis>,
    id: &TransactionalId,
) {
    if before == after {
        return;
    }
    if let Some(at) = before {
        sorted.remove(&(at, id.clone()));
    }
    if let Some(at) = after {
        sorted.insert((at, id.clone()));
    }
}

/// Refuses everything while the markers of the last transaction are on their way.
pub(crate) fn settled(id: &TransactionalId, txn: &Txn) -> Result<(), TxnError> {
    if txn.state.prepared().is_none() {
        return Ok(());
    }
    Err(TxnError::ConcurrentTransactions { id: id.clone(), state: txn.state })
}

/// Refuses a producer id that is not the current one.
pub(crate) fn same_id(id: &TransactionalId, txn: &Txn, got: Producer) -> Result<(), TxnError> {
    if got.id == txn.producer.id {
        return Ok(());
    }
    Err(TxnError::OtherProducer { id: id.clone(), current: txn.producer, got })
}

/// Refuses an epoch that is not the current one: the one place where zombies are turned away.
pub(crate) fn same_epoch(id: &TransactionalId, txn: &Txn, got: Producer) -> Result<(), TxnError> {
    if got.epoch == txn.producer.epoch { Ok(()) } else { Err(fenced(id, txn, got)) }
}

pub(crate) fn fenced(id: &TransactionalId, txn: &Txn, got: Producer) -> TxnError {
    TxnError::Fenced { id: id.clone(), current: txn.producer, got, fence: txn.fence }
}
