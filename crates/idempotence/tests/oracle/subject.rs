//! The crate behind the same questions, and bugs that can be planted between the two.

use hanbeon_idempotence::{
    Admission, BatchKind, Claim, Ends, ExpectedSequence, FirstWrite, IdempotenceError,
    MarkerAdmission, MarkerClaim, MarkerProtocol, Origin, Outcome, ProducerStates, Settings,
    Verification, VerificationGuard, VerificationNeed, VerificationRequest, load,
};
use hanbeon_records::{
    BatchRef, CoordinatorEpoch, LeaderEpoch, Millis, Offset, ProducerEpoch, ProducerId, Sequence,
    write_marker,
};

use crate::naive::{Answer, Batch, LIMIT_MS, Logged, Marker, Question, What};

/// A rule that is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plant {
    P1RetriesAreAppended,
    P2WindowIsOneDeep,
    P2AnswersWrongOffset,
    P3GapsAreTaken,
    P3OverlapsCountAsDuplicates,
    P4StaleEpochsAreTaken,
    P4HigherEpochStartsAnywhere,
    P5ReloadLosesTheWindow,
    P5ReloadSkipsTheTail,
    P6RingDoesNotClose,
    P7ExpiryForgetsOpenTransactions,
    ExpiryForgetsNothing,
    C15TruncationForgetsAppendTimes,
    StaleMarkersAreTaken,
    OldCoordinatorsAreTaken,
    E9SameEpochEndsTheNextTransaction,
    E9RepeatedMarkersAreRefused,
    PlainDataInATransaction,
    T3CommitsDecideTheTransactionOfAnotherEpoch,
    E1GuardsAreNotChecked,
    D3LaterBatchesOvertake,
    D4SecondVersionStartsAnywhere,
    T5UnreplicatedMarkersCount,
    CoordinatorIsCheckedForSequences,
    MarkersKeepTheWindow,
    MarkersForgetTheSequence,
    P4AnythingFollowsARisingMarker,
    D2FirstWriteStartsAnywhere,
    C5DeletedRecordsForgetProducers,
    I6LogStartDoesNotCount,
}

impl Plant {
    pub(crate) const ALL: &'static [Self] = &[
        Self::P1RetriesAreAppended,
        Self::P2WindowIsOneDeep,
        Self::P2AnswersWrongOffset,
        Self::P3GapsAreTaken,
        Self::P3OverlapsCountAsDuplicates,
        Self::P4StaleEpochsAreTaken,
        Self::P4HigherEpochStartsAnywhere,
        Self::P5ReloadLosesTheWindow,
        Self::P5ReloadSkipsTheTail,
        Self::P6RingDoesNotClose,
        Self::P7ExpiryForgetsOpenTransactions,
        Self::ExpiryForgetsNothing,
        Self::C15TruncationForgetsAppendTimes,
        Self::StaleMarkersAreTaken,
        Self::OldCoordinatorsAreTaken,
        Self::E9SameEpochEndsTheNextTransaction,
        Self::E9RepeatedMarkersAreRefused,
        Self::PlainDataInATransaction,
        Self::T3CommitsDecideTheTransactionOfAnotherEpoch,
        Self::E1GuardsAreNotChecked,
        Self::D3LaterBatchesOvertake,
        Self::D4SecondVersionStartsAnywhere,
        Self::T5UnreplicatedMarkersCount,
        Self::CoordinatorIsCheckedForSequences,
        Self::MarkersKeepTheWindow,
        Self::MarkersForgetTheSequence,
        Self::P4AnythingFollowsARisingMarker,
        Self::D2FirstWriteStartsAnywhere,
        Self::C5DeletedRecordsForgetProducers,
        Self::I6LogStartDoesNotCount,
    ];
}

pub(crate) struct Subject {
    pub(crate) states: ProducerStates,
    /// Snapshot, sidecar, and the offset in their names.
    saved: Option<(Vec<u8>, Vec<u8>, Offset)>,
    guards: Vec<VerificationGuard>,
    end: i64,
    start: i64,
    /// What went into the log since the table was made.
    appended: Vec<Batch>,
    plant: Option<Plant>,
}

impl Subject {
    pub(crate) fn new(first_write: FirstWrite, plant: Option<Plant>) -> Self {
        let states = ProducerStates::new(Settings {
            expiration_ms: LIMIT_MS,
            verification: Verification::On,
            first_write,
            hash_seed: 99,
        });
        Self {
            states,
            saved: None,
            guards: Vec::new(),
            end: 0,
            start: 0,
            appended: Vec::new(),
            plant,
        }
    }

    fn empty(&self) -> ProducerStates {
        ProducerStates::new(*self.states.settings())
    }

    const fn has(&self, plant: Plant) -> bool {
        match self.plant {
            Some(planted) => planted as usize == plant as usize,
            None => false,
        }
    }

    pub(crate) fn produce(&mut self, batch: &Batch, now: i64) -> Answer {
        let claim = claim_of(batch, batch.token.map(|token| self.guards[token]));
        match self.states.admit(&claim) {
            Ok(Admission::Append(ticket)) => {
                let wraps = self.states.producer(claim.producer_id).is_some_and(|known| {
                    known.last_sequence.is_some_and(|last| last.get() == i32::MAX)
                        && known.producer_epoch == claim.producer_epoch
                });
                if self.has(Plant::P6RingDoesNotClose) && wraps && batch.first == 0 {
                    return Answer::Refused(45);
                }
                if self.has(Plant::CoordinatorIsCheckedForSequences) && batch.by_coordinator {
                    let as_client = Claim { origin: Origin::Client, ..claim };
                    if !matches!(self.states.admit(&as_client), Ok(Admission::Append(_))) {
                        return Answer::Refused(45);
                    }
                }
                let base = self.end;
                self.end += i64::from(batch.records);
                self.states.record(ticket, Offset::new(base), Millis::new(now));
                self.appended.push(*batch);
                Answer::Appended(base)
            }
            Ok(Admission::Duplicate(copy)) => {
                let newest = self.states.producer(claim.producer_id).unwrap().last_offset;
                if self.has(Plant::P1RetriesAreAppended) {
                    return self.force(batch, now);
                }
                if self.has(Plant::P2WindowIsOneDeep) && newest != Some(copy.last_offset) {
                    return Answer::Refused(45);
                }
                if self.has(Plant::P2AnswersWrongOffset) {
                    return Answer::Duplicate(copy.last_offset.get(), copy.last_offset.get());
                }
                Answer::Duplicate(copy.base_offset.get(), copy.last_offset.get())
            }
            Err(error) => self.refuse(batch, now, &error),
        }
    }

    fn refuse(&mut self, batch: &Batch, now: i64, error: &IdempotenceError) -> Answer {
        use ExpectedSequence as E;
        use IdempotenceError as I;
        if self.has(Plant::MarkersKeepTheWindow) && self.is_exact_retry(batch, error) {
            return Answer::Duplicate(0, 0);
        }
        let plant = match error {
            I::OutOfOrderSequence { expected: E::Next(_), .. }
                if self.plant == Some(Plant::MarkersForgetTheSequence)
                    && batch.first == 0
                    && self.states.producer(ProducerId::new(batch.id)).unwrap().window == 0 =>
            {
                self.plant
            }
            I::OutOfOrderSequence { expected: E::FirstAfterMarker, .. } => {
                Some(Plant::P4AnythingFollowsARisingMarker)
            }
            I::OutOfOrderSequence { expected: E::FirstOnPartition, .. } => {
                Some(Plant::D2FirstWriteStartsAnywhere)
            }
            I::OutOfOrderSequence { expected: E::Next(next), .. } if next.get() < batch.first => {
                Some(Plant::P3GapsAreTaken)
            }
            I::OutOfOrderSequence { expected: E::Next(_), .. } => {
                Some(Plant::P3OverlapsCountAsDuplicates)
            }
            I::OutOfOrderSequence { expected: E::FirstOfEpoch { .. }, .. } => {
                Some(Plant::P4HigherEpochStartsAnywhere)
            }
            I::OutOfOrderSequence { expected: E::AtMost(_), .. } => {
                Some(Plant::D3LaterBatchesOvertake)
            }
            I::OutOfOrderSequence { expected: E::FirstOfTransaction, .. } => {
                Some(Plant::D4SecondVersionStartsAnywhere)
            }
            I::StaleEpoch { .. } => Some(Plant::P4StaleEpochsAreTaken),
            I::PlainInTransaction { .. } => Some(Plant::PlainDataInATransaction),
            I::NotVerified { .. } => Some(Plant::E1GuardsAreNotChecked),
            _ => None,
        };
        match (plant, self.plant) {
            (Some(found), Some(planted)) if found == planted => {
                if found == Plant::P3OverlapsCountAsDuplicates {
                    return Answer::Duplicate(0, 0);
                }
                self.force(batch, now)
            }
            _ => Answer::Refused(error.code().number()),
        }
    }

    fn is_exact_retry(&self, batch: &Batch, error: &IdempotenceError) -> bool {
        let range = |batch: &Batch| (batch.id, batch.epoch, batch.first, batch.records);
        matches!(error, IdempotenceError::OutOfOrderSequence { .. })
            && self.appended.iter().rev().take(5).any(|sent| range(sent) == range(batch))
    }

    /// Appends what the rules refuse: replay takes anything.
    fn force(&mut self, batch: &Batch, now: i64) -> Answer {
        let base = self.end;
        self.end += i64::from(batch.records);
        let last = i32::try_from(
            (i64::from(batch.first) + i64::from(batch.records) - 1).rem_euclid(1 << 31),
        );
        let what = What::Data { first: batch.first, last: last.unwrap(), in_txn: batch.in_txn };
        let Batch { id, epoch, time, .. } = *batch;
        let logged = Logged { base, last: self.end - 1, id, epoch, what, time, at: now };
        self.replay(&logged);
        Answer::Appended(base)
    }

    pub(crate) fn end_txn(&mut self, marker: &Marker, now: i64) -> Answer {
        let claim = MarkerClaim {
            producer_id: ProducerId::new(marker.id),
            producer_epoch: ProducerEpoch::new(marker.epoch),
            coordinator_epoch: CoordinatorEpoch::new(marker.coordinator),
            outcome: if marker.commit { Outcome::Commit } else { Outcome::Abort },
            timestamp: Millis::new(marker.time),
            protocol: if marker.v2 { MarkerProtocol::V2 } else { MarkerProtocol::V1 },
            ends: Ends::Named,
        };
        let done = match self.states.admit_marker(&claim) {
            Ok(MarkerAdmission::Repeated) if self.has(Plant::E9RepeatedMarkersAreRefused) => {
                return Answer::Refused(47);
            }
            Ok(MarkerAdmission::Repeated) => return Answer::Repeated,
            Ok(MarkerAdmission::Append(ticket)) => {
                self.states.record_marker(ticket, Offset::new(self.end), Millis::new(now))
            }
            Err(error) => {
                let plant = match error {
                    IdempotenceError::StaleEpoch { .. } => Plant::StaleMarkersAreTaken,
                    IdempotenceError::StaleMarker { .. } => {
                        Plant::E9SameEpochEndsTheNextTransaction
                    }
                    IdempotenceError::OtherTransaction { .. } => {
                        Plant::T3CommitsDecideTheTransactionOfAnotherEpoch
                    }
                    _ => Plant::OldCoordinatorsAreTaken,
                };
                if !self.has(plant) {
                    return Answer::Refused(error.code().number());
                }
                let Marker { id, epoch, time, .. } = *marker;
                let what = What::Marker { coordinator: marker.coordinator };
                let at = Logged { base: self.end, last: self.end, id, epoch, what, time, at: now };
                self.replay(&at);
                None
            }
        };
        self.end += 1;
        Answer::Ended(done.map(|done| (done.first_offset.get(), done.last_stable_offset.get())))
    }

    pub(crate) fn ask(&mut self, question: &Question, now: i64) -> Answer {
        let request = VerificationRequest {
            producer_id: ProducerId::new(question.id),
            producer_epoch: ProducerEpoch::new(question.epoch),
            base_sequence: Sequence::new(question.first).unwrap(),
            protocol: if question.v2 { MarkerProtocol::V2 } else { MarkerProtocol::V1 },
        };
        match self.states.begin_verification(&request, Millis::new(now)) {
            VerificationNeed::None => Answer::NoNeed,
            VerificationNeed::Ask(guard) => {
                let known = self.guards.iter().position(|other| *other == guard);
                Answer::Ask(known.unwrap_or_else(|| {
                    self.guards.push(guard);
                    self.guards.len() - 1
                }))
            }
        }
    }

    pub(crate) fn expire(&mut self, now: i64, log: &[Logged], high_watermark: i64) {
        let now = Millis::new(now);
        if self.has(Plant::ExpiryForgetsNothing) {
            return;
        }
        if self.has(Plant::P7ExpiryForgetsOpenTransactions) {
            let known: Vec<_> = self.states.producers().collect();
            let gone = |batch: &&Logged| {
                known.iter().any(|p| {
                    p.producer_id.get() == batch.id && now.since(p.last_timestamp) >= LIMIT_MS
                })
            };
            self.know_only(log.iter().filter(|batch| !gone(batch)), high_watermark);
        }
        self.states.expire(now);
        self.appended.clear();
    }

    pub(crate) fn save(&mut self) {
        let (mut snapshot, mut window) = (Vec::new(), Vec::new());
        let crc = self.states.write_snapshot(&mut snapshot);
        self.states.write_window(crc, &mut window);
        self.saved = Some((snapshot, window, self.states.end_offset()));
    }

    pub(crate) fn reload(&mut self, now: i64, tail: &[Logged], start: i64) {
        let states = match &self.saved {
            Some((snapshot, window, end)) => {
                let window =
                    (!self.has(Plant::P5ReloadLosesTheWindow)).then_some(window.as_slice());
                let settings = *self.states.settings();
                let loaded = load(snapshot, window, settings, Millis::new(now)).unwrap();
                assert_eq!(loaded.window, Ok(()));
                let mut states = loaded.states;
                states.advance_end(*end);
                states
            }
            None => self.empty(),
        };
        drop(self.start_over(states));
        let skipped = usize::from(self.has(Plant::P5ReloadSkipsTheTail));
        let replayed = tail.len().saturating_sub(skipped);
        tail[..replayed].iter().for_each(|batch| self.replay(batch));
        self.states.high_watermark_advanced(Offset::new(self.end));
        self.begin_at(start);
    }

    pub(crate) fn truncate(&mut self, kept: &[Logged], high_watermark: i64, keep_saved: bool) {
        let old = self.start_over(self.empty());
        // As a log replays: it does not tell when a batch was appended.
        kept.iter().for_each(|batch| self.replay(&Logged { at: -1, ..*batch }));
        if !self.has(Plant::C15TruncationForgetsAppendTimes) {
            self.states.inherit_append_times(&old);
        }
        self.end = kept.last().map_or(0, |last| last.last + 1);
        self.states.high_watermark_advanced(Offset::new(high_watermark));
        if !keep_saved {
            self.saved = None;
        }
    }

    /// The log begins at `start`: after a deletion, and told to each table that takes the place of another.
    pub(crate) fn begin_at(&mut self, start: i64) {
        self.start = start;
        if !self.has(Plant::I6LogStartDoesNotCount) {
            self.states.log_start_advanced(Offset::new(start));
        }
    }

    pub(crate) fn delete(&mut self, start: i64, log: &[Logged], high_watermark: i64) {
        if self.has(Plant::C5DeletedRecordsForgetProducers) {
            self.know_only(log.iter().filter(|batch| batch.last >= start), high_watermark);
        }
        self.begin_at(start);
    }

    fn know_only<'a>(&mut self, kept: impl Iterator<Item = &'a Logged>, high_watermark: i64) {
        drop(self.start_over(self.empty()));
        kept.for_each(|batch| self.replay(batch));
        self.states.advance_end(Offset::new(self.end));
        self.states.high_watermark_advanced(Offset::new(high_watermark));
        self.begin_at(self.start);
    }

    /// Returns the table of before.
    fn start_over(&mut self, states: ProducerStates) -> ProducerStates {
        self.appended.clear();
        let old = std::mem::replace(&mut self.states, states);
        self.states.inherit_verifications(&old);
        old
    }

    pub(crate) fn last_stable_offset(&self, high_watermark: i64) -> i64 {
        if self.has(Plant::T5UnreplicatedMarkersCount) {
            let first = self.states.first_undecided_offset().map_or(i64::MAX, Offset::get);
            return first.max(self.start).min(high_watermark);
        }
        self.states.last_stable_offset(Offset::new(high_watermark)).get()
    }

    fn replay(&mut self, logged: &Logged) {
        let bytes = bytes_of(logged);
        let (batch, rest) = BatchRef::parse(&bytes).unwrap();
        assert!(rest.is_empty());
        self.states.replay(&batch, Millis::new(logged.at)).unwrap();
    }
}

fn claim_of(batch: &Batch, guard: Option<VerificationGuard>) -> Claim {
    Claim {
        producer_id: ProducerId::new(batch.id),
        producer_epoch: ProducerEpoch::new(batch.epoch),
        base_sequence: Sequence::new(batch.first).unwrap(),
        last_offset_delta: batch.records - 1,
        max_timestamp: Millis::new(batch.time),
        kind: if batch.in_txn { BatchKind::Transactional } else { BatchKind::Plain },
        origin: if batch.by_coordinator { Origin::Coordinator } else { Origin::Client },
        guard,
    }
}

/// The batch as it lies in a log; the table reads nothing but the header and markers.
fn bytes_of(logged: &Logged) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (first, in_txn) = match logged.what {
        What::Data { first, in_txn, .. } => (first, in_txn),
        What::Marker { coordinator } => {
            let marker = hanbeon_records::Marker {
                base_offset: Offset::new(logged.base),
                leader_epoch: LeaderEpoch::new(0),
                producer_id: ProducerId::new(logged.id),
                producer_epoch: ProducerEpoch::new(logged.epoch),
                outcome: Outcome::Commit,
                coordinator_epoch: CoordinatorEpoch::new(coordinator),
                timestamp: Millis::new(logged.time),
            };
            write_marker(&mut bytes, &marker);
            return bytes;
        }
    };
    let delta = i32::try_from(logged.last - logged.base).unwrap();
    bytes.extend(logged.base.to_be_bytes());
    bytes.extend(49_i32.to_be_bytes());
    bytes.extend([0, 0, 0, 0, 2, 0, 0, 0, 0]);
    bytes.extend(if in_txn { [0, 0x10] } else { [0, 0] });
    bytes.extend(delta.to_be_bytes());
    bytes.extend(logged.time.to_be_bytes());
    bytes.extend(logged.time.to_be_bytes());
    bytes.extend(logged.id.to_be_bytes());
    bytes.extend(logged.epoch.to_be_bytes());
    bytes.extend(first.to_be_bytes());
    bytes.extend((delta + 1).to_be_bytes());
    bytes
}
