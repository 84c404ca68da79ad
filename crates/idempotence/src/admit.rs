//! The rules: duplicate, stale epoch, gap, wrap-around, and what a transaction demands.

use hanbeon_records::{BatchRef, Millis, Offset, ProducerEpoch, ProducerId, Sequence};

use crate::{
    BatchKind, ExpectedSequence, FirstWrite, IdempotenceError, MarkerProtocol, ProducerStates,
    Verification, VerificationGuard,
    producer::{Producer, keeps_unbroken},
    verification::Pending,
};

/// Who asks for an append. What was appended elsewhere (replication, recovery) is not judged but replayed:
/// [`ProducerStates::replay`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A produce request: every rule holds.
    Client,
    /// The group coordinator writing offsets inside a transaction: sequences are neither checked nor deduplicated, its
    /// batches always begin at 0; epoch and verification hold.
    Coordinator,
}

/// What a batch claims about itself, to be judged by [`ProducerStates::admit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Who produced it.
    pub producer_id: ProducerId,
    /// In which incarnation; clients may send -1.
    pub producer_epoch: ProducerEpoch,
    /// Sequence of the first record.
    pub base_sequence: Sequence,
    /// Last offset minus base offset: records minus one. Never negative.
    pub last_offset_delta: i32,
    /// Largest time of a record.
    pub max_timestamp: Millis,
    /// Inside a transaction or not.
    pub kind: BatchKind,
    /// Who asks.
    pub origin: Origin,
    /// What [`ProducerStates::begin_verification`] returned before the coordinator confirmed the partition.
    pub guard: Option<VerificationGuard>,
}

/// The answer to a claim that breaks no rule.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Admission {
    /// The batch may be written; the ticket is to be recorded once it is.
    Append(Ticket),
    /// The batch is in the log already: answer success with these offsets and write nothing.
    Duplicate(Duplicate),
}

/// Where the copy lies of which a claim is the retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Duplicate {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Offset of its last record. With `acks=all` the answer waits until this one is replicated.
    pub last_offset: Offset,
    /// The time it was stored with; Kafka answers it as the log-append time.
    pub timestamp: Millis,
}

/// The right to append one batch: comes from [`ProducerStates::admit`] and is consumed by [`ProducerStates::record`].
///
/// Dropping it is how a failed append is forgotten: nothing was changed yet.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "an appended batch that is not recorded will be appended again by its retry"]
pub struct Ticket {
    pub(crate) producer_id: ProducerId,
    pub(crate) epoch: ProducerEpoch,
    pub(crate) last_sequence: i32,
    pub(crate) offset_delta: i32,
    pub(crate) timestamp: Millis,
    pub(crate) kind: BatchKind,
    /// Where the entry was found; only a hint, `record` looks again when it is stale. `usize::MAX` when it was not.
    pub(crate) slot: usize,
    behind: Behind,
}

/// Whether the next batch of the producer can be judged before this one is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behind {
    /// All rules held trivially, and will for whatever goes on in the same way.
    Judged,
    /// It needs the entry as this batch leaves it.
    AfterRecord,
}

/// What is known of a producer when one of its batches is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Before {
    epoch: Option<ProducerEpoch>,
    last: Option<Sequence>,
    /// The entry holds a batch.
    is_cached: bool,
    txn_first_offset: Option<Offset>,
}

impl Claim {
    /// Reads the claim off a batch's header; `None` when the batch names no producer and so takes no part.
    ///
    /// # Errors
    /// [`IdempotenceError::NoProducer`], [`IdempotenceError::MissingSequence`], [`IdempotenceError::NegativeDelta`] and
    /// [`IdempotenceError::ControlBatch`], all `INVALID_RECORD` on the wire.
    pub fn of(batch: &BatchRef<'_>, origin: Origin) -> Result<Option<Self>, IdempotenceError> {
        let producer_id = batch.producer_id();
        if !producer_id.is_some() {
            return match BatchKind::of(batch.attributes()) {
                BatchKind::Plain => Ok(None),
                BatchKind::Transactional => Err(IdempotenceError::NoProducer),
            };
        }
        if batch.attributes().is_control() {
            return Err(IdempotenceError::ControlBatch { producer_id });
        }
        let last_offset_delta = batch.last_offset_delta();
        if last_offset_delta < 0 {
            let found = last_offset_delta;
            return Err(IdempotenceError::NegativeDelta { producer_id, found });
        }
        let base_sequence =
            batch.base_sequence().ok_or(IdempotenceError::MissingSequence { producer_id })?;
        let kind = BatchKind::of(batch.attributes());
        Ok(Some(Self {
            producer_id,
            producer_epoch: batch.producer_epoch(),
            base_sequence,
            last_offset_delta,
            max_timestamp: batch.max_timestamp(),
            kind,
            origin,
            guard: None,
        }))
    }

    /// The same claim with the guard under which the coordinator was asked.
    #[must_use]
    pub const fn verified_by(mut self, guard: Option<VerificationGuard>) -> Self {
        self.guard = guard;
        self
    }

    /// Sequence of the last record.
    #[must_use]
    pub const fn last_sequence(&self) -> Sequence {
        self.base_sequence.advance(self.last_offset_delta.cast_unsigned())
    }
}

impl Ticket {
    /// The same right for the batch as the leader stamped it: with its own clock, on a topic of log-append time.
    pub const fn stamped(mut self, log_append_time: Millis) -> Self {
        self.timestamp = log_append_time;
        self
    }

    /// Whose batch it is.
    #[must_use]
    pub const fn producer_id(&self) -> ProducerId {
        self.producer_id
    }

    const fn new(claim: &Claim, slot: usize, behind: Behind) -> Self {
        Self {
            producer_id: claim.producer_id,
            epoch: claim.producer_epoch,
            last_sequence: claim.last_sequence().get(),
            offset_delta: claim.last_offset_delta,
            timestamp: claim.max_timestamp,
            kind: claim.kind,
            slot,
            behind,
        }
    }

    /// The ticket of a batch that goes on with a window that is one unbroken run of sequences.
    const fn going_on(claim: &Claim, slot: usize) -> Self {
        let behind = if keeps_unbroken(claim.last_offset_delta) {
            Behind::Judged
        } else {
            Behind::AfterRecord
        };
        Self::new(claim, slot, behind)
    }
}

impl Before {
    /// Whether the claim goes on with a transaction that is open: of the same epoch, else it needs a verification of
    /// its own.
    fn is_ongoing(&self, claim: &Claim) -> bool {
        self.txn_first_offset.is_some() && self.epoch == Some(claim.producer_epoch)
    }

    fn of(existing: Option<&Producer>) -> Self {
        Self {
            epoch: existing.map(Producer::epoch),
            last: existing.and_then(Producer::last_sequence),
            is_cached: existing.is_some_and(|producer| producer.last().is_some()),
            txn_first_offset: existing.and_then(Producer::txn_first_offset),
        }
    }
}

impl ProducerStates {
    /// Judges a batch and changes nothing, so that a failed append needs no undo.
    ///
    /// The checks and their order are Kafka's (`UnifiedLog.analyzeAndValidateProducerState`, `ProducerAppendInfo`).
    /// Allocates nothing.
    ///
    /// # Errors
    /// The first rule that the claim breaks.
    #[inline]
    pub fn admit(&self, claim: &Claim) -> Result<Admission, IdempotenceError> {
        let slot = self.slot_of(claim.producer_id);
        let existing = slot.and_then(|slot| self.table.get_bucket(slot));
        // What nearly every batch is: the next of its producer, with no question to be asked.
        if let (Some(slot), Some(producer)) = (slot, existing)
            && self.goes_on(producer, claim)
        {
            return Ok(Admission::Append(Ticket::going_on(claim, slot)));
        }
        self.judge(claim, slot.unwrap_or(usize::MAX), existing)
    }

    /// Whether all rules hold trivially.
    #[inline]
    fn goes_on(&self, producer: &Producer, claim: &Claim) -> bool {
        let in_txn = matches!(claim.kind, BatchKind::Transactional);
        producer.epoch() == claim.producer_epoch
            && producer.is_next(claim.base_sequence)
            && producer.txn_first_offset().is_some() == in_txn
            && matches!(claim.origin, Origin::Client)
            && self.verifications.is_empty()
    }

    #[inline(never)]
    fn judge(
        &self,
        claim: &Claim,
        slot: usize,
        existing: Option<&Producer>,
    ) -> Result<Admission, IdempotenceError> {
        if let Some(copy) = existing.and_then(|producer| duplicate_of(producer, claim)) {
            return Ok(Admission::Duplicate(copy));
        }
        let before = Before::of(existing);
        self.check(claim, &before)?;
        Ok(Admission::Append(Ticket::new(claim, slot, Behind::AfterRecord)))
    }

    /// Judges the batch right behind `earlier`, another of the same producer that is admitted but not recorded yet.
    ///
    /// A ticket comes back where [`Self::admit`] would give the same one once `earlier` is recorded: for the next sequence of a
    /// producer that simply goes on, in the same epoch and inside or outside of a transaction as before. `None` says nothing
    /// about the batch: record `earlier`, then ask [`Self::admit`]. So retries, gaps, bumped epochs, first batches of producers
    /// and of transactions are always judged by what is recorded.
    #[must_use]
    pub fn admit_behind(&self, earlier: &Ticket, claim: &Claim) -> Option<Ticket> {
        let goes_on = matches!(earlier.behind, Behind::Judged)
            && earlier.producer_id == claim.producer_id
            && earlier.epoch == claim.producer_epoch
            && earlier.kind == claim.kind
            && Sequence::new(earlier.last_sequence).map(|last| last.advance(1))
                == Some(claim.base_sequence)
            && matches!(claim.origin, Origin::Client)
            && self.verifications.is_empty();
        goes_on.then(|| Ticket::going_on(claim, earlier.slot))
    }

    /// Steps 2 to 8 of the order: epoch of a transaction, its verification, epoch, sequence, plain inside a transaction. And ours: another
    /// transaction that is open.
    fn check(&self, claim: &Claim, before: &Before) -> Result<(), IdempotenceError> {
        let producer_id = claim.producer_id;
        if let Some(current) = before.epoch
            && claim.producer_epoch < current
        {
            // Before the verification: an old transactional batch must hear 47 and not 48 (the change of 2025).
            let found = claim.producer_epoch;
            return Err(IdempotenceError::StaleEpoch { producer_id, current, found });
        }
        let pending = self.verifications.get(producer_id);
        if matches!(claim.kind, BatchKind::Transactional) && !before.is_ongoing(claim) {
            let verified = match (self.settings.verification, claim.guard) {
                (Verification::Off, _) => true,
                (Verification::On, None) => false,
                (Verification::On, Some(guard)) => pending.is_some_and(|p| p.guard == guard),
            };
            if !verified {
                let producer_epoch = claim.producer_epoch;
                return Err(IdempotenceError::NotVerified { producer_id, producer_epoch });
            }
        }
        if matches!(claim.origin, Origin::Client)
            && let Some(expected) = self.misplaced(claim, before, pending)
        {
            return Err(IdempotenceError::OutOfOrderSequence {
                producer_id,
                producer_epoch: claim.producer_epoch,
                expected,
                found: claim.base_sequence,
            });
        }
        match (before.txn_first_offset, claim.kind) {
            (Some(first_offset), BatchKind::Plain) => {
                Err(IdempotenceError::PlainInTransaction { producer_id, first_offset })
            }
            (Some(first_offset), BatchKind::Transactional) if !before.is_ongoing(claim) => {
                let (current, found) =
                    (before.epoch.unwrap_or(ProducerEpoch::NONE), claim.producer_epoch);
                Err(IdempotenceError::OtherTransaction {
                    producer_id,
                    current,
                    found,
                    first_offset,
                })
            }
            (Some(_) | None, BatchKind::Transactional) | (None, BatchKind::Plain) => Ok(()),
        }
    }

    /// What was expected instead, when the base sequence is out of place.
    fn misplaced(
        &self,
        claim: &Claim,
        before: &Before,
        pending: Option<&Pending>,
    ) -> Option<ExpectedSequence> {
        let first = claim.base_sequence;
        if let Some(pending) = pending {
            let v2 = matches!(pending.protocol, MarkerProtocol::V2);
            // KAFKA-18202: no batch is known, so the one before this was lost.
            if v2 && !before.is_cached && first != Sequence::ZERO {
                return Some(ExpectedSequence::FirstOfTransaction);
            }
            // KAFKA-14920: the batch that made us ask failed and will be retried; nothing may overtake it.
            if first.get() > pending.lowest.get() {
                return Some(ExpectedSequence::AtMost(pending.lowest));
            }
        }
        match before.epoch {
            None => self.misplaced_first(first),
            Some(ProducerEpoch::NONE) if claim.producer_epoch != ProducerEpoch::NONE => None,
            Some(current) if current != claim.producer_epoch => {
                (first != Sequence::ZERO).then_some(ExpectedSequence::FirstOfEpoch { current })
            }
            Some(_) => match before.last.map(|last| last.advance(1)) {
                Some(next) => (first != next).then_some(ExpectedSequence::Next(next)),
                None => (first != Sequence::ZERO).then_some(ExpectedSequence::FirstAfterMarker),
            },
        }
    }

    /// KIP-360 takes any first sequence, since the state may have been lost; on a partition that never held a record
    /// none can have been, and a first batch is missing (KAFKA-15591).
    fn misplaced_first(&self, first: Sequence) -> Option<ExpectedSequence> {
        let strict =
            matches!(self.settings.first_write, FirstWrite::FromZero) && self.end == Offset::ZERO;
        (strict && first != Sequence::ZERO).then_some(ExpectedSequence::FirstOnPartition)
    }
}

/// The stored batch of which `claim` is an exact retry.
fn duplicate_of(producer: &Producer, claim: &Claim) -> Option<Duplicate> {
    if !matches!(claim.origin, Origin::Client) || producer.epoch() != claim.producer_epoch {
        return None;
    }
    producer.find(claim.base_sequence, claim.last_sequence()).map(|copy| Duplicate {
        base_offset: copy.first_offset(),
        last_offset: copy.last_offset(),
        timestamp: copy.timestamp(),
    })
}
