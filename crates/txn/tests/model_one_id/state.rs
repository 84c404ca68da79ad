//! The world of the model: what the shipped code does in it, and what must hold.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use hanbeon_idempotence::{
    Admission, BatchKind, Claim, Ends, MarkerAdmission, MarkerClaim, MarkerProtocol, Origin,
    VerificationNeed, VerificationRequest,
};
use hanbeon_records::{
    CoordinatorEpoch, Millis, ProducerEpoch, ProducerId, Sequence, TopicPartition,
};
use hanbeon_txn::{
    AddPartitions, Completion, Coordinator, Decision, EndTxn, Enqueued, MarkersOwed, Membership,
    Missing, Producer, Progress, Protocol, Round, State as TxnState, TxnError, Verify,
};

use crate::{
    NAME, NOW, Setup,
    fixture::{self, Pair, SETTINGS, World, id, pair, producer},
    logs::{Batch, Outcome2, Tag, ordered, outcome_of, states_of},
};

/// Past every timeout.
const LATER: Millis = Millis::new(1_000_000);

pub(crate) fn partition(at: usize) -> TopicPartition {
    fixture::partition(["t-0", "t-1"][at])
}

/// What a producer does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Op {
    /// Protocol 1 enrols by a request of its own.
    Add(usize),
    Write(usize),
    End(Outcome2),
}

/// A message on the network. It stays there: it may arrive late, twice, or never.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Message {
    Init { from: usize },
    Request { pair: Pair, tag: Tag, op: Op, sequence: i32 },
    Marker { pair: Pair, outcome: Outcome2, v2: bool, round: Round, at: usize },
}

/// How far a producer has got with its script.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Client {
    pub(crate) pair: Option<Pair>,
    pub(crate) txn: usize,
    pub(crate) step: usize,
    pub(crate) written: [i32; 2],
    /// It was told that it is fenced, or that there is nothing to go on with.
    pub(crate) over: bool,
}

/// What must never come true, written down when it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Broken {
    /// T2: a record that does not follow.
    IllegalTransition,
    /// T3: an older instance's commit was taken.
    ZombieCommits,
    /// T4: completed without a marker somewhere.
    EarlyCompletion,
    /// A commit was answered with success and the transaction was aborted, or the reverse.
    WrongAnswer,
    /// T10: a commit that crossed an abort was told something else than that its producer is fenced.
    AbortedCommitNotFenced,
    /// T11: an end that came again was not answered as the first one.
    RetryAnsweredOtherwise,
    /// Any other end was not answered as the rules say.
    OtherEndMisjudged,
    /// A producer was told that it is fenced, and its pair is the current one.
    CurrentFenced,
    /// A producer was told what no rule of its protocol says.
    StrangeCode,
    /// A marker was refused by a partition whose coordinator is the current one.
    CurrentMarkerRefused,
}

/// An end that was decided, asked for or by the coordinator itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ended {
    /// The pair that the transaction was written with.
    with: Pair,
    outcome: Outcome2,
    /// What who asked for it was answered.
    answer: Option<Pair>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) coordinator: Coordinator,
    pub(crate) markers: MarkersOwed,
    /// The last record, as compaction would leave the log.
    pub(crate) log: Option<(Vec<u8>, Option<Vec<u8>>)>,
    pub(crate) epoch: i32,
    pub(crate) next_id: i64,
    pub(crate) partitions: [Vec<Batch>; 2],
    pub(crate) network: BTreeSet<Message>,
    pub(crate) clients: Vec<Client>,
    pub(crate) timeouts: u8,
    /// How often each producer's `InitProducerId` arrived: each time makes a new epoch, so it may not be for ever.
    pub(crate) inits: Vec<u8>,
    /// What the last `InitProducerId` was answered.
    pub(crate) initialised: Pair,
    /// The last end, as long as nothing but its completion came after it.
    pub(crate) ended: Option<Ended>,
    /// Decisions by the pair that the transaction was written with.
    pub(crate) decided: BTreeSet<(Pair, Outcome2)>,
    /// Ends that were answered with success.
    pub(crate) told: BTreeSet<(Tag, Outcome2)>,
    pub(crate) broken: BTreeSet<Broken>,
}

thread_local! {
    /// Verdicts that were worked out before: most states differ in something else.
    static HEALED: RefCell<BTreeMap<Durable, bool>> = const { RefCell::new(BTreeMap::new()) };
}

/// What is left after a crash: the coordinator's log, the partitions', and under which rules.
type Durable = (Option<(Vec<u8>, Option<Vec<u8>>)>, [Vec<Batch>; 2], Protocol);

impl State {
    /// Appends and applies; a record that does not follow is written down.
    fn carry_out<R>(&mut self, decision: Decision<R>) -> Result<R, TxnError> {
        if let Some(record) = &decision.record {
            let before =
                self.coordinator.describe(record.id()).map(|v| (v.state, pair(v.producer)));
            self.log = Some(record.encode(SETTINGS.value_version).unwrap());
            if self.coordinator.apply(record).is_err() {
                self.broken.insert(Broken::IllegalTransition);
            }
            let after = self.coordinator.describe(record.id()).unwrap();
            if let (Some((TxnState::Ongoing, written)), Some(outcome)) =
                (before, after.state.prepared())
            {
                self.decided.insert((written, ordered(outcome)));
            }
            self.note_end(before, after.state);
            self.owe();
        }
        decision.reply
    }

    fn note_end(&mut self, before: Option<(TxnState, Pair)>, after: TxnState) {
        match (before, after.prepared()) {
            (Some((_, with)), Some(outcome)) => {
                self.ended = Some(Ended { with, outcome: ordered(outcome), answer: None });
            }
            _ if matches!(after, TxnState::CompleteCommit | TxnState::CompleteAbort) => {}
            _ => self.ended = None,
        }
    }

    fn owe(&mut self) {
        let Some(owed) = self.coordinator.owed_by(&id(NAME)) else { return };
        let epoch = CoordinatorEpoch::new(self.epoch);
        if let Enqueued::Complete(completion) = self.markers.enqueue(NOW, owed, epoch) {
            self.complete(&completion);
        }
    }

    fn complete(&mut self, completion: &Completion) {
        let owed = self.coordinator.owed_by(&id(NAME));
        if let Some(owed) = owed {
            for at in (0..2).filter(|at| owed.partitions.contains(&partition(*at))) {
                let (expected, decision) =
                    (pair(owed.marker.producer), ordered(owed.marker.outcome));
                let is_it = |batch: &Batch| {
                    matches!(batch, Batch::Marker { pair, outcome, .. }
                        if *pair == expected && *outcome == decision)
                };
                let log = &self.partitions[at];
                let open = states_of(log).open_transactions().next().is_some();
                if !log.iter().any(is_it) || (open && owed.marker.protocol == Some(Protocol::V2)) {
                    self.broken.insert(Broken::EarlyCompletion);
                }
            }
        }
        let decision = self.coordinator.complete(NOW, completion, &mut || None);
        self.carry_out(decision).unwrap();
    }

    pub(crate) fn crash(&mut self) {
        let mut coordinator = Coordinator::new(*self.coordinator.settings());
        if let Some((key, value)) = &self.log {
            coordinator.replay(key, value.as_deref()).unwrap();
        }
        self.coordinator = coordinator;
        self.markers = MarkersOwed::new();
        self.epoch += 1;
        self.owe();
    }

    pub(crate) fn reap(&mut self) {
        let mut next = self.next_id;
        let mut fresh = || {
            next += 1;
            Some(ProducerId::new(next - 1))
        };
        let decision = self.coordinator.abort_timed_out(LATER, &id(NAME), &mut fresh);
        self.next_id = next;
        self.carry_out(decision).unwrap();
    }

    pub(crate) fn init(&mut self, from: usize, heard: bool) {
        let mut next = self.next_id;
        let mut fresh = || {
            next += 1;
            Some(ProducerId::new(next - 1))
        };
        let request = World::request(NAME, None);
        let decision = self.coordinator.init_producer_id(NOW, &request, &mut fresh);
        self.next_id = next;
        let Ok(answer) = self.carry_out(decision) else { return };
        self.inits[from] += 1;
        self.initialised = pair(answer);
        let client = &mut self.clients[from];
        if heard && client.pair.is_none() {
            client.pair = Some(pair(answer));
        }
    }

    /// What the partition or the coordinator answers; the pair to go on with, or a code.
    pub(crate) fn serve(
        &mut self,
        who: Pair,
        tag: Tag,
        op: Op,
        sequence: i32,
        setup: &Setup,
    ) -> Result<Pair, i16> {
        match op {
            Op::Add(at) => self.enrol(who, at, Protocol::V1).map(|()| who),
            Op::Write(at) => self.write(who, at, sequence, tag, setup.protocol).map(|()| who),
            Op::End(outcome) => self.end(who, tag, outcome, setup),
        }
    }

    pub(crate) fn enrol(&mut self, who: Pair, at: usize, protocol: Protocol) -> Result<(), i16> {
        let partitions = vec![partition(at)];
        let request = AddPartitions { id: id(NAME), producer: producer(who), partitions, protocol };
        let decision = self.coordinator.add_partitions(NOW, &request);
        self.carry_out(decision).map_err(|error| error.code().number())
    }

    fn write(
        &mut self,
        who: Pair,
        at: usize,
        sequence: i32,
        tag: Tag,
        protocol: Protocol,
    ) -> Result<(), i16> {
        let mut states = states_of(&self.partitions[at]);
        let mut claim = Claim {
            producer_id: ProducerId::new(who.0),
            producer_epoch: ProducerEpoch::new(who.1),
            base_sequence: Sequence::new(sequence).unwrap(),
            last_offset_delta: 0,
            max_timestamp: NOW,
            kind: BatchKind::Transactional,
            origin: Origin::Client,
            guard: None,
        };
        let request = VerificationRequest {
            producer_id: claim.producer_id,
            producer_epoch: claim.producer_epoch,
            base_sequence: claim.base_sequence,
            protocol: if protocol == Protocol::V2 {
                MarkerProtocol::V2
            } else {
                MarkerProtocol::V1
            },
        };
        if let VerificationNeed::Ask(guard) = states.begin_verification(&request, NOW) {
            claim.guard = Some(guard);
            self.ask(who, at, protocol)?;
        }
        match states.admit(&claim).map_err(|error| error.code().number())? {
            Admission::Append(_) => {
                self.partitions[at].push(Batch::Data { pair: who, sequence, tag });
            }
            Admission::Duplicate(_) => {}
        }
        Ok(())
    }

    /// The leader's question: is this partition enrolled, or enrol it.
    fn ask(&mut self, who: Pair, at: usize, protocol: Protocol) -> Result<(), i16> {
        if protocol == Protocol::V2 {
            return self.enrol(who, at, protocol);
        }
        let request =
            Verify { id: id(NAME), producer: producer(who), partitions: vec![partition(at)] };
        match self.coordinator.verify(&request).map_err(|error| error.code().number())?.as_slice() {
            [Membership::Enrolled] => Ok(()),
            _ => Err(120),
        }
    }

    fn end(&mut self, who: Pair, tag: Tag, outcome: Outcome2, setup: &Setup) -> Result<Pair, i16> {
        let (expected, rule) = self.answer_to_end(who, outcome, setup.protocol);
        let mut next = self.next_id;
        let mut fresh = || {
            next += 1;
            Some(ProducerId::new(next - 1))
        };
        let protocol = setup.protocol;
        let request =
            EndTxn { id: id(NAME), producer: producer(who), outcome: outcome.into(), protocol };
        let decision = self.coordinator.end_txn(NOW, &request, &mut fresh);
        self.next_id = next;
        let decided = decision.record.is_some();
        let commits = decided && outcome == Outcome2::Commit;
        if commits && who.0 == self.initialised.0 && who.1 < self.initialised.1 {
            self.broken.insert(Broken::ZombieCommits);
        }
        let answer = self.carry_out(decision).map(pair).map_err(|error| error.code().number());
        let answer = setup.bug.map_or(answer, |bug| bug.twist(answer, rule, decided));
        if answer != expected {
            self.broken.insert(rule);
        }
        let answer = answer?;
        if let Some(ended) = self.ended.as_mut().filter(|_| decided) {
            ended.answer = Some(answer);
        }
        self.told.insert((tag, outcome));
        let other = match outcome {
            Outcome2::Commit => Outcome2::Abort,
            Outcome2::Abort => Outcome2::Commit,
        };
        if protocol == Protocol::V2 && self.decided.contains(&(who, other)) {
            self.broken.insert(Broken::WrongAnswer);
        }
        Ok(answer)
    }

    /// What an end is answered by the rules, and which of them it is. Worked out from the last end and the current pair alone.
    fn answer_to_end(
        &self,
        who: Pair,
        outcome: Outcome2,
        protocol: Protocol,
    ) -> (Result<Pair, i16>, Broken) {
        use Outcome2::{Abort, Commit};
        let view = self.coordinator.describe(&id(NAME)).unwrap();
        let (current, v2) = (pair(view.producer), protocol == Protocol::V2);
        let stale = Err(if who.0 == current.0 { 90 } else { 49 });
        let ended = self.ended.filter(|ended| ended.with == who);
        if view.state.prepared().is_some() && (v2 || who == current) {
            return (Err(51), Broken::OtherEndMisjudged);
        }
        if let Some(ended) = ended.filter(|_| v2 || who == current) {
            let first = ended.answer.unwrap_or(current);
            return match (ended.outcome, outcome) {
                (Commit, Commit) | (Abort, Abort) => (Ok(first), Broken::RetryAnsweredOtherwise),
                (Abort, Commit) if v2 => (Err(90), Broken::AbortedCommitNotFenced),
                _ => (Err(48), Broken::OtherEndMisjudged),
            };
        }
        if ended.is_some() && outcome == Commit {
            return (stale, Broken::AbortedCommitNotFenced);
        }
        let next = match protocol {
            Protocol::V1 => who,
            Protocol::V2 if who.1 >= Producer::EPOCH_MAX.get() => (self.next_id, 0),
            Protocol::V2 => (who.0, who.1 + 1),
        };
        let answer = match (who == current, view.state, outcome) {
            (false, ..) => stale,
            (true, TxnState::Ongoing, _) => Ok(next),
            (true, _, Abort) if v2 => Ok(next),
            _ => Err(48),
        };
        (answer, Broken::OtherEndMisjudged)
    }

    pub(crate) fn marker(
        &mut self,
        who: Pair,
        outcome: Outcome2,
        v2: bool,
        round: Round,
        at: usize,
        heard: bool,
    ) {
        let states = states_of(&self.partitions[at]);
        let claim = MarkerClaim {
            producer_id: ProducerId::new(who.0),
            producer_epoch: ProducerEpoch::new(who.1),
            coordinator_epoch: round.coordinator_epoch(),
            outcome: outcome.into(),
            timestamp: NOW,
            protocol: if v2 { MarkerProtocol::V2 } else { MarkerProtocol::V1 },
            ends: Ends::Named,
        };
        let answer = states.admit_marker(&claim);
        let code = match &answer {
            Ok(MarkerAdmission::Append(_)) => {
                let epoch = round.coordinator_epoch().get();
                self.partitions[at].push(Batch::Marker { pair: who, outcome, epoch });
                hanbeon_records::ErrorCode::None
            }
            Ok(MarkerAdmission::Repeated) => hanbeon_records::ErrorCode::None,
            Err(error) => error.code(),
        };
        if !heard {
            return;
        }
        match self.markers.answered(&id(NAME), round, &partition(at), code) {
            Progress::Complete(completion) => self.complete(&completion),
            Progress::Cancelled => {
                self.broken.insert(Broken::CurrentMarkerRefused);
            }
            _ => {}
        }
    }

    /// T12: what a timeout, the markers and a completion make of this state. Nothing may stay open.
    pub(crate) fn heals(&self) -> bool {
        let protocol = self.coordinator.settings().server_protocol;
        let durable = (self.log.clone(), self.partitions.clone(), protocol);
        if let Some(known) = HEALED.with_borrow(|healed| healed.get(&durable).copied()) {
            return known;
        }
        let verdict = self.heals_after_all();
        HEALED.with_borrow_mut(|healed| healed.insert(durable, verdict));
        verdict
    }

    fn heals_after_all(&self) -> bool {
        let mut state = self.clone();
        state.crash();
        state.reap();
        if let Some(Missing { marker, round, partitions, .. }) = state.markers.missing(&id(NAME)) {
            let missing = partitions.clone();
            let (who, outcome) = (pair(marker.producer), ordered(marker.outcome));
            let v2 = marker.protocol == Some(Protocol::V2);
            for at in (0..2).filter(|at| missing.contains(&partition(*at))) {
                state.marker(who, outcome, v2, round, at, true);
            }
        }
        let open = |log: &Vec<Batch>| states_of(log).open_transactions().next().is_some();
        state.coordinator.oldest_open().is_none()
            && state.coordinator.owed().next().is_none()
            && !state.partitions.iter().any(open)
    }

    /// All outcomes of a transaction's records, over both partitions.
    fn outcomes(&self, of: Tag) -> BTreeSet<Outcome2> {
        let mut found = BTreeSet::new();
        for log in &self.partitions {
            for (at, batch) in log.iter().enumerate() {
                if matches!(batch, Batch::Data { tag, .. } if *tag == of) {
                    found.extend(outcome_of(log, at));
                }
            }
        }
        found
    }

    fn tags(&self) -> BTreeSet<Tag> {
        let data = |batch: &Batch| match batch {
            Batch::Data { tag, .. } => Some(*tag),
            Batch::Marker { .. } => None,
        };
        self.partitions.iter().flatten().filter_map(data).collect()
    }

    /// A transaction of which one part is committed and another aborted, or that its producer was told otherwise of.
    pub(crate) fn is_torn(&self) -> bool {
        self.tags().into_iter().any(|tag| {
            let outcomes = self.outcomes(tag);
            let told = |outcome| self.told.contains(&(tag, outcome));
            outcomes.len() > 1
                || (told(Outcome2::Commit) && outcomes.contains(&Outcome2::Abort))
                || (told(Outcome2::Abort) && outcomes.contains(&Outcome2::Commit))
        })
    }

    /// T3: epochs of a producer id never go back in a partition.
    pub(crate) fn epochs_rise(&self) -> bool {
        self.partitions.iter().all(|log| {
            let pairs: Vec<_> = log
                .iter()
                .map(|batch| match batch {
                    Batch::Data { pair, .. } | Batch::Marker { pair, .. } => *pair,
                })
                .collect();
            pairs.iter().enumerate().all(|(at, (pid, epoch))| {
                pairs[at..].iter().all(|(other, later)| other != pid || later >= epoch)
            })
        })
    }

    /// T9: a pair of producer id and epoch writes one transaction.
    pub(crate) fn pairs_name_one_transaction(&self) -> bool {
        let data = || {
            self.partitions.iter().flatten().filter_map(|batch| match batch {
                Batch::Data { pair, tag, .. } => Some((*pair, *tag)),
                Batch::Marker { .. } => None,
            })
        };
        data().all(|(pair, tag)| data().all(|(other, of)| other != pair || of == tag))
    }

    /// T1: a pair's decision is one, and its records in the partitions are decided so.
    pub(crate) fn decisions_agree(&self) -> bool {
        self.decided.iter().all(|(pair, outcome)| {
            let one = self.decided.iter().all(|(other, o)| other != pair || o == outcome);
            let agree = self.partitions.iter().all(|log| {
                (0..log.len()).all(|at| match log[at] {
                    Batch::Data { pair: of, .. } if of == *pair => {
                        outcome_of(log, at).is_none_or(|found| found == *outcome)
                    }
                    _ => true,
                })
            });
            one && agree
        })
    }
}
