//! Markers end a producer's transaction and may raise its epoch.

use hanbeon_records::{
    BatchRef, Control, CoordinatorEpoch, Millis, Offset, Outcome, ProducerEpoch, ProducerId,
    read_control,
};

use crate::{IdempotenceError, ProducerStates, states::Slot};

/// Which rules a marker and a transaction follow: the request that brings them says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkerProtocol {
    /// Transaction version 0 and 1: the epoch stays, so several transactions share one.
    V1,
    /// Transaction version 2 (KIP-890 part 2): every marker raises the epoch.
    V2,
}

/// Which open transaction of its producer a marker may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// Whatever is open, as in Kafka.
    Any,
    /// A commit the one of its own epoch, or of the epoch below under [`MarkerProtocol::V2`]; an abort whatever is open.
    Named,
    /// The same, but nobody knows the protocol any more: a commit the one of either epoch.
    NamedByEither,
    /// The one that began here. When that is over the marker is a repeated one.
    From(Offset),
}

/// What a coordinator asks to append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkerClaim {
    /// Whose transaction ends.
    pub producer_id: ProducerId,
    /// The epoch from now on.
    pub producer_epoch: ProducerEpoch,
    /// Incarnation of the coordinator that asks.
    pub coordinator_epoch: CoordinatorEpoch,
    /// How the transaction ends.
    pub outcome: Outcome,
    /// The clock of the broker that writes the marker.
    pub timestamp: Millis,
    /// Which rules it follows.
    pub protocol: MarkerProtocol,
    /// What it may end.
    pub ends: Ends,
}

impl MarkerClaim {
    /// The epoch with which the transaction wrote that it speaks of.
    const fn wrote_with(&self) -> ProducerEpoch {
        match self.protocol {
            MarkerProtocol::V1 => self.producer_epoch,
            MarkerProtocol::V2 => self.below(),
        }
    }

    const fn below(&self) -> ProducerEpoch {
        ProducerEpoch::new(self.producer_epoch.get().saturating_sub(1))
    }

    fn may_end(&self, open: ProducerEpoch) -> bool {
        match (self.outcome, self.ends) {
            (Outcome::Abort, _) | (Outcome::Commit, Ends::Any | Ends::From(_)) => true,
            (Outcome::Commit, Ends::Named) => open == self.wrote_with(),
            (Outcome::Commit, Ends::NamedByEither) => {
                open == self.producer_epoch || open == self.below()
            }
        }
    }
}

/// The answer to a marker that breaks no rule.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum MarkerAdmission {
    /// It may be written; the ticket is to be recorded once it is.
    Append(MarkerTicket),
    /// It is in the log already: answer success and write nothing (KAFKA-19999).
    Repeated,
}

/// The right to append one marker: comes from [`ProducerStates::admit_marker`] and is consumed by
/// [`ProducerStates::record_marker`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "an appended marker that is not recorded leaves its transaction open"]
pub struct MarkerTicket(Marker);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Marker {
    producer_id: ProducerId,
    producer_epoch: ProducerEpoch,
    coordinator_epoch: CoordinatorEpoch,
    outcome: Outcome,
    timestamp: Millis,
}

/// A transaction that a marker ended.
///
/// An aborted one belongs into the transaction index, as it stands here, before readers may see the marker's offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompletedTxn {
    /// Whose it was.
    pub producer_id: ProducerId,
    /// Offset of its first record on this partition.
    pub first_offset: Offset,
    /// Offset of the marker.
    pub last_offset: Offset,
    /// How it ended.
    pub outcome: Outcome,
    /// Where the earliest other open transaction starts, else the offset after the marker.
    pub last_stable_offset: Offset,
}

impl ProducerStates {
    /// Judges a marker and changes nothing.
    ///
    /// # Errors
    /// [`IdempotenceError::StaleEpoch`] and [`IdempotenceError::StaleMarker`], both `INVALID_PRODUCER_EPOCH`,
    /// [`IdempotenceError::CoordinatorFenced`], and [`IdempotenceError::OtherTransaction`] for a commit.
    pub fn admit_marker(&self, claim: &MarkerClaim) -> Result<MarkerAdmission, IdempotenceError> {
        let producer_id = claim.producer_id;
        let marker = Marker {
            producer_id,
            producer_epoch: claim.producer_epoch,
            coordinator_epoch: claim.coordinator_epoch,
            outcome: claim.outcome,
            timestamp: claim.timestamp,
        };
        let known = self.find(producer_id);
        let open = known.and_then(|producer| producer.txn_first_offset());
        if matches!(claim.ends, Ends::From(first_offset) if open != Some(first_offset)) {
            return Ok(MarkerAdmission::Repeated);
        }
        let Some(producer) = known else {
            return Ok(MarkerAdmission::Append(MarkerTicket(marker)));
        };
        let (current, found) = (producer.epoch(), claim.producer_epoch);
        if found < current {
            return Err(IdempotenceError::StaleEpoch { producer_id, current, found });
        }
        let same_epoch = matches!(claim.protocol, MarkerProtocol::V2) && found == current;
        if let (true, Some(first_offset)) = (same_epoch, open) {
            return Err(IdempotenceError::StaleMarker {
                producer_id,
                current,
                found,
                first_offset,
            });
        }
        let (known, asks) = (producer.coordinator_epoch(), claim.coordinator_epoch);
        if asks < known {
            let (current, found) = (known, asks);
            return Err(IdempotenceError::CoordinatorFenced { producer_id, current, found });
        }
        if let Some(first_offset) = open
            && !claim.may_end(current)
        {
            let found = claim.wrote_with();
            return Err(IdempotenceError::OtherTransaction {
                producer_id,
                current,
                found,
                first_offset,
            });
        }
        // A newer coordinator's retry is written all the same: the log must say that the older one is fenced.
        if same_epoch && asks == known {
            return Ok(MarkerAdmission::Repeated);
        }
        Ok(MarkerAdmission::Append(MarkerTicket(marker)))
    }

    /// Records a marker that is now in the log at `offset`, appended at `now` by this node's clock.
    ///
    /// `None` when no transaction of the producer was open here: the marker then only fences.
    #[expect(clippy::needless_pass_by_value, reason = "a right is spent by using it")]
    pub fn record_marker(
        &mut self,
        ticket: MarkerTicket,
        offset: Offset,
        now: Millis,
    ) -> Option<CompletedTxn> {
        let MarkerTicket(marker) = ticket;
        self.apply_marker(&marker, offset, now)
    }

    fn apply_marker(
        &mut self,
        marker: &Marker,
        offset: Offset,
        now: Millis,
    ) -> Option<CompletedTxn> {
        let &Marker { producer_id, producer_epoch, coordinator_epoch, outcome, timestamp } = marker;
        let producer = self.entry(Slot { producer_id, epoch: producer_epoch });
        producer.set_epoch(producer_epoch);
        producer.end_window();
        producer.set_coordinator_epoch(coordinator_epoch);
        producer.touch(timestamp, now);
        let first = producer.close_txn();
        self.verifications.remove(producer_id);
        self.advance_end(offset.saturating_add(1));
        let first_offset = first?;
        self.txns.complete(first_offset, producer_id, offset);
        let last_stable_offset =
            self.txns.first_undecided().unwrap_or_else(|| offset.saturating_add(1));
        Some(CompletedTxn {
            producer_id,
            first_offset,
            last_offset: offset,
            outcome,
            last_stable_offset,
        })
    }

    pub(crate) fn replay_control(
        &mut self,
        batch: &BatchRef<'_>,
        now: Millis,
    ) -> Result<Option<CompletedTxn>, IdempotenceError> {
        let offset = batch.base_offset();
        let control = read_control(*batch)
            .map_err(|error| IdempotenceError::MalformedMarker { offset, error })?;
        let producer_id = batch.producer_id();
        let done = match control {
            Some(Control::EndTxn(marker)) if producer_id.is_some() => {
                let marker = Marker {
                    producer_id,
                    producer_epoch: batch.producer_epoch(),
                    coordinator_epoch: marker.coordinator_epoch,
                    outcome: marker.outcome,
                    timestamp: batch.max_timestamp(),
                };
                self.apply_marker(&marker, offset, now)
            }
            // Emptied by compaction, or of a kind that says nothing about producers.
            Some(Control::EndTxn(_) | Control::Other(_)) | None => None,
        };
        self.advance_end(batch.next_offset());
        Ok(done)
    }
}
