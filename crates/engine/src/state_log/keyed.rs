//! What a state log without a partition under it has to do by itself: judge transactional writes and markers, and forget what no longer
//! matters.
//!
//! A partition has a producer table and is compacted. A log in memory or in a database keeps the last record of each key, the records that
//! wait inside transactions, and for each producer the epoch that fences the ones before.

use std::collections::{BTreeMap, BTreeSet};

use hanbeon_idempotence::{
    Admission, BatchKind, Claim, FirstWrite, MarkerAdmission, MarkerClaim, MarkerProtocol, Origin,
    ProducerStates, Settings, Verification, VerificationNeed, VerificationRequest,
};
use hanbeon_log::AppendError;
use hanbeon_records::{
    CoordinatorEpoch, Millis, Offset, Outcome, ProducerEpoch, ProducerId, Sequence,
};

use super::{Enrolment, InTransaction, StateEntry, StateRecord, Written};
use crate::ProduceError;

/// A record as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) timestamp: Millis,
    pub(super) key: Box<[u8]>,
    pub(super) value: Option<Box<[u8]>>,
    pub(super) transaction: Option<(ProducerId, ProducerEpoch)>,
}

/// What a write changes, and where it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// In this order.
    pub(super) changes: Vec<Change>,
    end: Offset,
}

/// A change of what is kept, for whoever stores it elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A record is kept at an offset, or is no longer inside its transaction.
    Put(Offset, Kept),
    /// What was kept at an offset no longer matters.
    Drop(Offset),
    /// A producer's epoch, and the coordinator's that set it.
    Producer(ProducerId, ProducerEpoch, CoordinatorEpoch),
}

/// The log.
#[derive(Debug)]
pub(super) struct Keyed {
    records: BTreeMap<Offset, Kept>,
    /// Where the last decided record of each key is.
    last: BTreeMap<Box<[u8]>, Offset>,
    /// Where the records are that wait for the end of a producer's transaction.
    pending: BTreeMap<ProducerId, BTreeSet<Offset>>,
    /// How many of them each key has: a tombstone before which one waits must outlast its commit.
    awaited: BTreeMap<Box<[u8]>, usize>,
    producers: ProducerStates,
    end: Offset,
}

impl Keyed {
    /// An empty log. `seed` keeps strangers from choosing where producers lie in the table.
    pub(super) const fn new(seed: u64) -> Self {
        let settings = Settings {
            expiration_ms: i64::MAX,
            verification: Verification::On,
            first_write: FirstWrite::AnySequence,
            hash_seed: seed,
        };
        Self {
            records: BTreeMap::new(),
            last: BTreeMap::new(),
            pending: BTreeMap::new(),
            awaited: BTreeMap::new(),
            producers: ProducerStates::new(settings),
            end: Offset::ZERO,
        }
    }

    pub(super) const fn end(&self) -> Offset {
        self.end
    }

    /// Takes back a record that was stored.
    pub(super) fn restore(&mut self, offset: Offset, kept: Kept) -> Result<(), ProduceError> {
        self.forget(offset);
        self.end = self.end.max(offset.saturating_add(1));
        match kept.transaction {
            None => {
                self.last.insert(kept.key.clone(), offset);
            }
            Some((id, epoch)) => {
                self.open(id, epoch, offset, kept.timestamp)?;
                self.pending.entry(id).or_default().insert(offset);
                *self.awaited.entry(kept.key.clone()).or_default() += 1;
            }
        }
        self.records.insert(offset, kept);
        Ok(())
    }

    fn forget(&mut self, offset: Offset) {
        let Some(kept) = self.records.remove(&offset) else { return };
        let Some((id, _)) = kept.transaction else {
            if self.last.get(&kept.key) == Some(&offset) {
                self.last.remove(&kept.key);
            }
            return;
        };
        if let Some(its) = self.pending.get_mut(&id) {
            its.remove(&offset);
            if its.is_empty() {
                self.pending.remove(&id);
            }
        }
        if let Some(count) = self.awaited.get_mut(&kept.key) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.awaited.remove(&kept.key);
            }
        }
    }

    /// Takes back a producer's epoch that was stored. Before the records: one that waits has an epoch that is not below it, and a marker of
    /// this one behind it would end its transaction, or be refused.
    #[cfg(feature = "sled")]
    pub(super) fn restore_producer(
        &mut self,
        producer_id: ProducerId,
        producer_epoch: ProducerEpoch,
        coordinator_epoch: CoordinatorEpoch,
    ) -> Result<(), ProduceError> {
        let claim = MarkerClaim {
            producer_id,
            producer_epoch,
            coordinator_epoch,
            outcome: Outcome::Abort,
            timestamp: Millis::NONE,
            protocol: MarkerProtocol::V1,
            ends: hanbeon_idempotence::Ends::Any,
        };
        if let MarkerAdmission::Append(ticket) =
            self.producers.admit_marker(&claim).map_err(refused)?
        {
            self.producers.record_marker(ticket, self.end, Millis::NONE);
        }
        Ok(())
    }

    pub(super) fn replay(&self, visit: &mut dyn FnMut(StateEntry<'_>)) {
        for (offset, kept) in &self.records {
            visit(StateEntry::Record {
                offset: *offset,
                timestamp: kept.timestamp,
                record: StateRecord { key: &kept.key, value: kept.value.as_deref() },
                transaction: kept.transaction,
            });
        }
    }

    /// Judges records and says what keeping them changes; nothing has changed yet.
    pub(super) fn plan(
        &mut self,
        now: Millis,
        records: &[StateRecord<'_>],
        transaction: Option<InTransaction>,
    ) -> Result<Plan, ProduceError> {
        if let Some(InTransaction { producer_id, producer_epoch, guard }) = transaction {
            let claim = claim(producer_id, producer_epoch, guard, now);
            let _judged: Admission = self.producers.admit(&claim).map_err(refused)?;
        }
        let transaction = transaction.map(|txn| (txn.producer_id, txn.producer_epoch));
        let mut offset = self.end;
        let mut changes = Vec::with_capacity(records.len() * 2);
        // The last of each key, where these records change it.
        let mut last: BTreeMap<&[u8], Option<Offset>> = BTreeMap::new();
        for &StateRecord { key, value } in records {
            let needed = transaction.is_some() || value.is_some() || self.awaited.contains_key(key);
            if transaction.is_none() {
                let before = last.insert(key, needed.then_some(offset));
                let before = before.unwrap_or_else(|| self.last.get(key).copied());
                changes.extend(before.map(Change::Drop));
            }
            if needed {
                let (key, value) = (key.into(), value.map(Into::into));
                changes.push(Change::Put(offset, Kept { timestamp: now, key, value, transaction }));
            }
            offset = offset.saturating_add(1);
        }
        Ok(Plan { changes, end: offset })
    }

    /// Carries a plan out.
    pub(super) fn keep(&mut self, plan: Plan) -> Result<Written, ProduceError> {
        let offset = self.end;
        for change in plan.changes {
            match change {
                Change::Drop(offset) => self.forget(offset),
                Change::Put(at, kept) => self.restore(at, kept)?,
                Change::Producer(..) => {}
            }
        }
        self.end = self.end.max(plan.end);
        Ok(Written { offset, end: self.end })
    }

    /// Asks whether a producer's transaction is open here.
    pub(super) fn begin(
        &mut self,
        (producer_id, producer_epoch): (ProducerId, ProducerEpoch),
        protocol: MarkerProtocol,
        now: Millis,
    ) -> Enrolment {
        let base_sequence = Sequence::ZERO;
        let request = VerificationRequest { producer_id, producer_epoch, base_sequence, protocol };
        match self.producers.begin_verification(&request, now) {
            VerificationNeed::None => Enrolment::Open,
            VerificationNeed::Ask(guard) => Enrolment::Ask(Some(guard)),
        }
    }

    /// Judges a marker and says what it changes: records of its transaction count from now on, or go.
    pub(super) fn plan_marker(&self, claim: &MarkerClaim) -> Result<Plan, ProduceError> {
        let _judged: MarkerAdmission = self.producers.admit_marker(claim).map_err(refused)?;
        let mut changes = vec![Change::Producer(
            claim.producer_id,
            claim.producer_epoch,
            claim.coordinator_epoch,
        )];
        // Of each key: its last record from now on, and how many of the transaction's waited.
        let mut keys: BTreeMap<&[u8], (Option<Offset>, usize)> = BTreeMap::new();
        let its = self.pending.get(&claim.producer_id).into_iter().flatten();
        for (offset, kept) in its.filter_map(|offset| self.records.get_key_value(offset)) {
            let decided = || (self.last.get(&kept.key).copied(), 0);
            let (newest, waited) = keys.entry(&kept.key).or_insert_with(decided);
            *waited += 1;
            let wins = claim.outcome == Outcome::Commit && newest.is_none_or(|at| at < *offset);
            if wins {
                changes.extend(newest.replace(*offset).map(Change::Drop));
                changes.push(Change::Put(*offset, Kept { transaction: None, ..kept.clone() }));
            } else {
                changes.push(Change::Drop(*offset));
            }
        }
        for (key, (newest, waited)) in keys {
            let is_tombstone =
                |at: &Offset| self.records.get(at).is_some_and(|kept| kept.value.is_none());
            // No other transaction has the key in hand: nothing is left that it would hide.
            if self.awaited.get(key) == Some(&waited) {
                changes.extend(newest.filter(is_tombstone).map(Change::Drop));
            }
        }
        Ok(Plan { changes, end: self.end.saturating_add(1) })
    }

    /// Carries a marker out.
    pub(super) fn mark(
        &mut self,
        claim: &MarkerClaim,
        plan: Plan,
    ) -> Result<Written, ProduceError> {
        if let MarkerAdmission::Append(ticket) =
            self.producers.admit_marker(claim).map_err(refused)?
        {
            self.producers.record_marker(ticket, self.end, claim.timestamp);
        }
        self.keep(plan)
    }

    /// Notes that a transaction is open here.
    fn open(
        &mut self,
        producer_id: ProducerId,
        producer_epoch: ProducerEpoch,
        offset: Offset,
        now: Millis,
    ) -> Result<(), ProduceError> {
        let guard = match self.begin((producer_id, producer_epoch), MarkerProtocol::V1, now) {
            Enrolment::Open => None,
            Enrolment::Ask(guard) => guard,
        };
        let claim = claim(producer_id, producer_epoch, guard, now);
        if let Admission::Append(ticket) = self.producers.admit(&claim).map_err(refused)? {
            self.producers.record(ticket, offset, now);
        }
        Ok(())
    }
}

const fn claim(
    producer_id: ProducerId,
    producer_epoch: ProducerEpoch,
    guard: Option<hanbeon_idempotence::VerificationGuard>,
    now: Millis,
) -> Claim {
    Claim {
        producer_id,
        producer_epoch,
        base_sequence: Sequence::ZERO,
        last_offset_delta: 0,
        max_timestamp: now,
        kind: BatchKind::Transactional,
        origin: Origin::Coordinator,
        guard,
    }
}

fn refused(error: hanbeon_idempotence::IdempotenceError) -> ProduceError {
    AppendError::from(error).into()
}
