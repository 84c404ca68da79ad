//! A log that is only its end, with a table on top: what the tests of rules share.
#![allow(dead_code, reason = "each test file uses its own part")]

use hanbeon_idempotence::{
    Admission, BatchKind, Claim, CompletedTxn, Duplicate, FirstWrite, IdempotenceError,
    MarkerAdmission, MarkerClaim, MarkerProtocol, Origin, Outcome, ProducerStates, Settings,
    Verification, VerificationGuard, VerificationNeed, VerificationRequest,
};
use hanbeon_records::{CoordinatorEpoch, Millis, Offset, ProducerEpoch, ProducerId, Sequence};

pub(crate) const DAY_MS: i64 = 86_400_000;
pub(crate) const NOW: Millis = Millis::new(1_700_000_000_000);
pub(crate) const MAX: i32 = i32::MAX;

/// Where a batch went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placed {
    At(i64),
    Again { base: i64, last: i64 },
}

pub(crate) const fn settings() -> Settings {
    Settings {
        expiration_ms: DAY_MS,
        verification: Verification::Off,
        first_write: FirstWrite::AnySequence,
        hash_seed: 7,
    }
}

pub(crate) struct Log {
    pub(crate) states: ProducerStates,
    pub(crate) end: i64,
    pub(crate) now: Millis,
}

pub(crate) fn claim(id: i64, epoch: i16, first: i32, records: i32) -> Claim {
    Claim {
        producer_id: ProducerId::new(id),
        producer_epoch: ProducerEpoch::new(epoch),
        base_sequence: Sequence::new(first).unwrap(),
        last_offset_delta: records - 1,
        max_timestamp: NOW,
        kind: BatchKind::Plain,
        origin: Origin::Client,
        guard: None,
    }
}

pub(crate) fn in_txn(claim: Claim) -> Claim {
    Claim { kind: BatchKind::Transactional, ..claim }
}

pub(crate) fn marker(id: i64, epoch: i16, coordinator: i32) -> MarkerClaim {
    MarkerClaim {
        producer_id: ProducerId::new(id),
        producer_epoch: ProducerEpoch::new(epoch),
        coordinator_epoch: CoordinatorEpoch::new(coordinator),
        outcome: Outcome::Commit,
        timestamp: NOW,
        protocol: MarkerProtocol::V1,
    }
}

pub(crate) fn v2(claim: MarkerClaim) -> MarkerClaim {
    MarkerClaim { protocol: MarkerProtocol::V2, ..claim }
}

pub(crate) fn request(id: i64, epoch: i16, first: i32) -> VerificationRequest {
    VerificationRequest {
        producer_id: ProducerId::new(id),
        producer_epoch: ProducerEpoch::new(epoch),
        base_sequence: Sequence::new(first).unwrap(),
        protocol: MarkerProtocol::V1,
    }
}

impl Log {
    pub(crate) fn new() -> Self {
        Self::with(settings())
    }

    pub(crate) fn with(settings: Settings) -> Self {
        Self { states: ProducerStates::new(settings), end: 0, now: NOW }
    }

    /// The whole way of a batch whose write works.
    pub(crate) fn write(&mut self, claim: &Claim) -> Result<Placed, IdempotenceError> {
        match self.states.admit(claim)? {
            Admission::Append(ticket) => {
                let base = self.end;
                self.end += i64::from(claim.last_offset_delta) + 1;
                self.states.record(ticket, Offset::new(base), self.now);
                Ok(Placed::At(base))
            }
            Admission::Duplicate(Duplicate { base_offset, last_offset, .. }) => {
                Ok(Placed::Again { base: base_offset.get(), last: last_offset.get() })
            }
        }
    }

    /// Writes and insists that it is appended.
    pub(crate) fn put(&mut self, claim: &Claim) -> i64 {
        match self.write(claim) {
            Ok(Placed::At(base)) => base,
            other => panic!("{claim:?} was to be appended: {other:?}"),
        }
    }

    /// The Kafka code of a refusal, after checking that it changed nothing (I7).
    pub(crate) fn refused(&mut self, claim: &Claim) -> i16 {
        let before = format!("{:?}", self.states);
        let error = self.write(claim).expect_err("the batch was to be refused");
        assert_eq!(before, format!("{:?}", self.states), "I7: a refusal changed the table");
        error.code().number()
    }

    pub(crate) fn end_txn(
        &mut self,
        claim: &MarkerClaim,
    ) -> Result<Option<CompletedTxn>, IdempotenceError> {
        match self.states.admit_marker(claim)? {
            MarkerAdmission::Append(ticket) => {
                let at = Offset::new(self.end);
                self.end += 1;
                Ok(self.states.record_marker(ticket, at, self.now))
            }
            MarkerAdmission::Repeated => Ok(None),
        }
    }

    /// A batch of somebody without producer id.
    pub(crate) fn plain(&mut self, records: i64) {
        self.end += records;
        self.states.advance_end(Offset::new(self.end));
    }

    pub(crate) fn ask(&mut self, request: &VerificationRequest) -> VerificationGuard {
        match self.states.begin_verification(request, self.now) {
            VerificationNeed::Ask(guard) => guard,
            VerificationNeed::None => panic!("a transaction is open already"),
        }
    }

    pub(crate) fn lso(&self, high_watermark: i64) -> i64 {
        self.states.last_stable_offset(Offset::new(high_watermark)).get()
    }
}
