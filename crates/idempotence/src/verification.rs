//! Transactions wait for the coordinator's word before their first batch (KIP-890, part 1).

use alloc::collections::BTreeMap;
use core::num::NonZeroU64;

use hanbeon_records::{Millis, ProducerEpoch, ProducerId, Sequence};

use crate::{MarkerProtocol, ProducerStates};

/// Names one question to the coordinator, so that an answer to an older one is worth nothing.
///
/// A verified answer may arrive after an abort marker ended the transaction it was asked for and a new one, which does
/// not know this partition, began. The guard is gone by then and the late batch is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VerificationGuard(NonZeroU64);

/// The first batch of a transaction, about which the coordinator is to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerificationRequest {
    /// Who sends it.
    pub producer_id: ProducerId,
    /// In which incarnation.
    pub producer_epoch: ProducerEpoch,
    /// Its base sequence; 0 for offset commits.
    pub base_sequence: Sequence,
    /// Whether the client speaks version 2, where every transaction has an epoch of its own.
    pub protocol: MarkerProtocol,
}

/// What to do before an append inside a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerificationNeed {
    /// The transaction is open here already: append without asking.
    None,
    /// Ask the coordinator, then append with this guard.
    Ask(VerificationGuard),
}

/// One question that is not answered yet, or answered and not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) guard: VerificationGuard,
    created: Millis,
    pub(crate) lowest: Sequence,
    epoch: ProducerEpoch,
    pub(crate) protocol: MarkerProtocol,
}

/// All questions of one partition and the counter their guards come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verifications {
    pending: BTreeMap<ProducerId, Pending>,
    next: NonZeroU64,
}

impl Verifications {
    pub(crate) const fn new() -> Self {
        Self { pending: BTreeMap::new(), next: NonZeroU64::MIN }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    pub(crate) fn get(&self, producer_id: ProducerId) -> Option<&Pending> {
        self.pending.get(&producer_id)
    }

    pub(crate) fn remove(&mut self, producer_id: ProducerId) {
        if !self.pending.is_empty() {
            self.pending.remove(&producer_id);
        }
    }

    pub(crate) fn expire(&mut self, expiration_ms: i64, now: Millis) {
        self.pending.retain(|_, pending| now.since(pending.created) < expiration_ms);
    }

    fn begin(&mut self, request: &VerificationRequest, now: Millis) -> VerificationGuard {
        let next = self.next;
        let pending = self.pending.entry(request.producer_id).or_insert_with(|| {
            self.next = next.saturating_add(1);
            Pending {
                guard: VerificationGuard(next),
                created: now,
                lowest: request.base_sequence,
                epoch: request.producer_epoch,
                protocol: request.protocol,
            }
        });
        if request.producer_epoch > pending.epoch {
            pending.epoch = request.producer_epoch;
            pending.lowest = request.base_sequence;
            pending.protocol = request.protocol;
        } else if request.producer_epoch == pending.epoch
            && request.base_sequence.get() < pending.lowest.get()
        {
            pending.lowest = request.base_sequence;
        }
        pending.guard
    }
}

impl ProducerStates {
    /// Asks whether the coordinator must confirm the partition before a transactional batch, and notes the question.
    ///
    /// A retry gets the guard of the first try and keeps its age: a question lives for the expiration time at most. The
    /// lowest sequence asked for is remembered, so that no later batch overtakes one that must be asked for again
    /// (KAFKA-14920).
    pub fn begin_verification(
        &mut self,
        request: &VerificationRequest,
        now: Millis,
    ) -> VerificationNeed {
        if self.is_ongoing(request.producer_id, request.producer_epoch) {
            return VerificationNeed::None;
        }
        VerificationNeed::Ask(self.verifications.begin(request, now))
    }

    /// Takes over the open questions of the table this one replaces after a truncation, before the tail is replayed.
    ///
    /// Without it a guard of the old table could equal one of the new.
    pub fn inherit_verifications(&mut self, old: &Self) {
        self.verifications.clone_from(&old.verifications);
    }
}
