//! What a state log without a partition under it has to do by itself: judge transactional writes and markers, and forget what no longer
//! matters.
//!
//! A partition has a producer table and is compacted. A log in memory or in a database keeps the last record of each key, the records that
//! wait inside transactions, and for each producer the epoch that fences the ones before.

use std::collections::BTreeMap;

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
            producers: ProducerStates::new(settings),
            end: Offset::ZERO,
        }
    }

    pub(super) const fn end(&self) -> Offset {
        self.end
    }

    /// Takes back a record that was stored.
    pub(super) fn restore(&mut self, offset: Offset, kept: Kept) -> Result<(), ProduceError> {
        self.end = self.end.max(offset.saturating_add(1));
        match kept.transaction {
            None => {
                self.last.insert(kept.key.clone(), offset);
            }
            Some((id, epoch)) => self.open(id, epoch, offset, kept.timestamp)?,
        }
        self.records.insert(offset, kept);
        Ok(())
    }

    #[cfg(feature = "sled")]
    /// Takes back a producer's epoch that was stored.
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
    ) -> Result<Vec<Change>, ProduceError> {
        if let Some(InTransaction { producer_id, producer_epoch, guard }) = transaction {
            let claim = claim(producer_id, producer_epoch, guard, now);
            let _judged: Admission = self.producers.admit(&claim).map_err(refused)?;
        }
        let mut offset = self.end;
        let mut changes = Vec::with_capacity(records.len() * 2);
        for record in records {
            let kept = Kept {
                timestamp: now,
                key: record.key.into(),
                value: record.value.map(Into::into),
                transaction: transaction.map(|txn| (txn.producer_id, txn.producer_epoch)),
            };
            if transaction.is_none()
                && let Some(before) = self.last.get(record.key)
            {
                changes.push(Change::Drop(*before));
            }
            changes.push(Change::Put(offset, kept));
            offset = offset.saturating_add(1);
        }
        Ok(changes)
    }

    /// Carries a plan out.
    pub(super) fn keep(&mut self, changes: Vec<Change>) -> Result<Written, ProduceError> {
        let offset = self.end;
        for change in changes {
            match change {
                Change::Drop(offset) => {
                    self.records.remove(&offset);
                }
                Change::Put(at, kept) => self.restore(at, kept)?,
                Change::Producer(..) => {}
            }
        }
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
    pub(super) fn plan_marker(&self, claim: &MarkerClaim) -> Result<Vec<Change>, ProduceError> {
        let _judged: MarkerAdmission = self.producers.admit_marker(claim).map_err(refused)?;
        let mut changes = vec![Change::Producer(
            claim.producer_id,
            claim.producer_epoch,
            claim.coordinator_epoch,
        )];
        let mut last: BTreeMap<&[u8], Offset> = BTreeMap::new();
        let of = |kept: &&Kept| kept.transaction.is_some_and(|(id, _)| id == claim.producer_id);
        for (offset, kept) in self.records.iter().filter(|(_, kept)| of(kept)) {
            let newest = last.get(&*kept.key).or_else(|| self.last.get(&kept.key)).copied();
            let wins = claim.outcome == Outcome::Commit && newest.is_none_or(|at| at < *offset);
            if !wins {
                changes.push(Change::Drop(*offset));
                continue;
            }
            changes.extend(newest.map(Change::Drop));
            changes.push(Change::Put(*offset, Kept { transaction: None, ..kept.clone() }));
            last.insert(&kept.key, *offset);
        }
        Ok(changes)
    }

    /// Carries a marker out.
    pub(super) fn mark(
        &mut self,
        claim: &MarkerClaim,
        changes: Vec<Change>,
    ) -> Result<Written, ProduceError> {
        let offset = self.end;
        if let MarkerAdmission::Append(ticket) =
            self.producers.admit_marker(claim).map_err(refused)?
        {
            self.producers.record_marker(ticket, offset, claim.timestamp);
        }
        self.end = offset.saturating_add(1);
        self.keep(changes)?;
        Ok(Written { offset, end: self.end })
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
