//! The crate behind the same questions, and bugs that can be planted between the two.

use std::collections::BTreeSet;

use hanbeon_records::{Millis, ProducerEpoch, ProducerId};
use hanbeon_txn::{
    Cause, InitProducerId, Outcome, Prepared, Progress, Protocol, Record, Settings, State,
    TopicPartitions, TwoPhaseCommit, TxnValue,
};

use crate::{
    fixture::{self, SETTINGS, World, given, id, partition},
    naive::{Answer, Id, Step, Timeout, Who},
};

const NAMES: [&str; 2] = ["x", "y"];
const PARTITIONS: [&str; 3] = ["t-0", "t-1", "u-0"];

macro_rules! plants {
    ($($name:ident)*) => {
        /// A rule that is broken on purpose.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Plant {
            $($name,)*
        }

        impl Plant {
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name),*];
        }
    };
}

plants! {
    Nothing
    P8FencesRaiseTheEpochTwice
    P9NoRotationAtInternalAborts
    T9EndsOfProtocol2KeepTheEpoch
    EndsOfProtocol1RaiseTheEpoch
    T1EnrolmentsForgetOlderOnes
    StartMovesWithEachEnrolment
    CompletionKeepsPartitions
    P12RotationIsForgottenAtCompletion
    P12LastEpochIsNotRemembered
    P12PreviousIdIsNotRemembered
    T3ANewInstanceLeavesTheLastEpoch
    TimeoutIsThatOfTheFirstInitialisation
    T1CompletionFlipsTheOutcome
    FencesOfProtocol1LeaveTheLastEpoch
    EmptyAbortsHaveNoStart
    P6PendingIsCheckedAfterTheProducer
    P7CommitAfterAbortIsInvalid
    EmptyAbortsAreRefused
    VerificationSaysYes
    T11RetriesAreFenced
    T3StaleEndsAreTaken
    RetriedInitialisationsRaiseTheEpoch
    T3ZombiesAbortTheLiveTransaction
    P10FailedFencesBurnEpochs
    T2TheReaperTakesWhatIsDecided
    TheReaperTakesTransactionsWithoutTimeout
    TheReaperSleeps
    P31ExpiryForgetsOpenTransactions
    ExpiryForgetsNothing
    T4CompletionAtTheFirstMarker
    T12CrashesForgetMarkers
    P16EnrolmentsAreAnsweredUnlogged
}

pub(crate) struct Subject {
    pub(crate) world: World,
    plant: Option<Plant>,
}

impl Subject {
    pub(crate) fn new(start: i16, plant: Option<Plant>) -> Self {
        let settings = Settings { two_phase_commit: TwoPhaseCommit::On, ..SETTINGS };
        let value = given::value(State::Empty, (3, start));
        let mut world = given::world(World::new(settings), NAMES[0], value);
        world.tamper =
            plant.map(|plant| (tamper as fn(usize, &World, &Record) -> Record, plant as usize));
        Self { world, plant }
    }

    fn has(&self, plant: Plant) -> bool {
        self.plant == Some(plant)
    }

    pub(crate) fn view(&self, at: usize) -> Option<Id> {
        let name = id(NAMES[at]);
        let view = self.world.coordinator.describe(&name)?;
        let number = |known: &&str| view.partitions.contains(&partition(known));
        let at: BTreeSet<_> = (0..3).filter(|at| number(&PARTITIONS[*at])).collect();
        Some(Id {
            state: view.state.number(),
            pid: view.producer.id.get(),
            epoch: view.producer.epoch.get(),
            previous: view.previous_producer_id.get(),
            next: view.next_producer_id.get(),
            last: view.last_producer_epoch.get(),
            timeout: view.timeout_ms,
            at,
            start: view.start.get(),
            update: view.last_update.get(),
            v2: view.client == Protocol::V2,
        })
    }

    /// What the crate answers to a step asked with this pair.
    pub(crate) fn play(&mut self, step: &Step, pair: Option<(i64, i16)>) -> Answer {
        let who = pair.unwrap_or((-1, -1));
        match step {
            Step::Init { id, timeout, .. } => self.init(*id, pair, *timeout),
            Step::Enrol { id, at, v2, .. } => self.enrol(*id, who, at, *v2),
            Step::Verify { id, at, .. } => {
                let at: Vec<_> = at.iter().map(|at| PARTITIONS[*at]).collect();
                let yes = self.has(Plant::VerificationSaysYes);
                match self.world.verify(NAMES[*id], who, &at) {
                    Ok(codes) if yes => Answer::Codes(vec![0; codes.len()]),
                    Ok(codes) => Answer::Codes(codes),
                    Err(code) => Answer::Code(code),
                }
            }
            Step::End { id, commit, v2, .. } => self.end(*id, who, *commit, *v2),
            Step::Marker { id, at } => self.marker(*id, *at),
            Step::Markers { id } => {
                for at in 0..PARTITIONS.len() {
                    self.marker(*id, at);
                }
                Answer::Done
            }
            Step::Reap => self.reap(),
            Step::Expire => self.expire(),
            Step::Pass(ms) => self.set(|world| world.pass(*ms)),
            Step::Crash => {
                let forget = self.has(Plant::T12CrashesForgetMarkers);
                self.set(|world| {
                    world.crash();
                    if forget {
                        world.markers.clear();
                    }
                })
            }
            Step::LogDown(down) => self.set(|world| world.log_is_down = *down),
            Step::NoIds(none) => {
                self.set(|world| world.ids_left = if *none { 0 } else { usize::MAX })
            }
            Step::Server { v2 } => self.set(|world| {
                let server_protocol = if *v2 { Protocol::V2 } else { Protocol::V1 };
                let settings = Settings { server_protocol, ..*world.coordinator.settings() };
                world.coordinator.set_settings(settings);
            }),
        }
    }

    fn set(&mut self, change: impl FnOnce(&mut World)) -> Answer {
        change(&mut self.world);
        Answer::Done
    }

    fn init(&mut self, at: usize, mut pair: Option<(i64, i16)>, timeout: Timeout) -> Answer {
        let before = self.view(at);
        if let (Some(it), Some((_, epoch))) = (&before, pair) {
            let retry = self.has(Plant::RetriedInitialisationsRaiseTheEpoch) && epoch == it.last;
            let zombie = self.has(Plant::T3ZombiesAbortTheLiveTransaction)
                && it.state == 1
                && epoch < it.epoch;
            if retry || zombie {
                pair = None;
            }
        }
        let two_phase_commit = match timeout {
            Timeout::None => TwoPhaseCommit::On,
            Timeout::Short | Timeout::Long => TwoPhaseCommit::Off,
        };
        let request = InitProducerId {
            id: id(NAMES[at]),
            timeout_ms: if matches!(timeout, Timeout::Short) { 1000 } else { 60_000 },
            expected: pair.map(fixture::producer),
            two_phase_commit,
            prepared: Prepared::Abort,
        };
        let answer = self.world.init_with(&request);
        if self.has(Plant::P10FailedFencesBurnEpochs) && answer == Err(15) {
            self.burn();
        }
        answer.map_or_else(Answer::Code, |(pid, epoch)| Answer::Pair(pid, epoch))
    }

    /// Raises the epoch in memory although the fence was not logged.
    fn burn(&mut self) {
        let Some(record) = self.world.last.take() else { return };
        let name = record.id().clone();
        let Some(view) = self.world.coordinator.describe(&name) else { return };
        if view.state != State::Ongoing {
            return;
        }
        let mut value = record.value().unwrap().clone();
        value.state = State::Ongoing;
        value.last_update = view.last_update;
        self.world.tamper = None;
        self.world.force(&Record::new(name, Some(value), Cause::Fenced));
    }

    fn enrol(
        &mut self,
        at: usize,
        who: (i64, i16),
        partitions: &BTreeSet<usize>,
        v2: bool,
    ) -> Answer {
        let partitions: Vec<_> = partitions.iter().map(|at| PARTITIONS[*at]).collect();
        let protocol = if v2 { Protocol::V2 } else { Protocol::V1 };
        let down = self.world.log_is_down;
        self.world.log_is_down |= self.has(Plant::P16EnrolmentsAreAnsweredUnlogged);
        let answer = self.world.enrol(NAMES[at], who, &partitions, protocol);
        self.world.log_is_down = down;
        match answer {
            Err(15) if !down => Answer::Done,
            Err(49 | 90) if self.has(Plant::T3StaleEndsAreTaken) => Answer::Done,
            Err(51) if self.pending_late(at, who) => Answer::Code(49),
            answer => answer.map_or_else(Answer::Code, |()| Answer::Done),
        }
    }

    fn pending_late(&self, at: usize, (pid, _): (i64, i16)) -> bool {
        self.has(Plant::P6PendingIsCheckedAfterTheProducer)
            && self.view(at).is_some_and(|it| it.pid != pid)
    }

    fn end(&mut self, at: usize, mut who: (i64, i16), commit: bool, v2: bool) -> Answer {
        let it = self.view(at);
        let state = it.as_ref().map_or(-1, |it| it.state);
        if self.has(Plant::EmptyAbortsAreRefused) && v2 && !commit && state == 0 {
            return Answer::Code(48);
        }
        let taken =
            |it: &&Id| self.has(Plant::T3StaleEndsAreTaken) && who.0 == it.pid && who.1 < it.epoch;
        if let Some(it) = it.as_ref().filter(taken) {
            who = (it.pid, it.epoch);
        }
        let outcome = if commit { Outcome::Commit } else { Outcome::Abort };
        let protocol = if v2 { Protocol::V2 } else { Protocol::V1 };
        let logged = self.world.log.len();
        let answer = self.world.end(NAMES[at], who, outcome, protocol);
        match answer {
            Err(51) if v2 && self.pending_late(at, who) => Answer::Code(49),
            Err(90) if self.has(Plant::P7CommitAfterAbortIsInvalid) && commit && state == 5 => {
                Answer::Code(48)
            }
            Ok(_)
                if v2 && self.has(Plant::T11RetriesAreFenced) && self.world.log.len() == logged =>
            {
                Answer::Code(90)
            }
            answer => answer.map_or_else(Answer::Code, |(pid, epoch)| Answer::Pair(pid, epoch)),
        }
    }

    fn marker(&mut self, at: usize, where_: usize) -> Answer {
        let (name, here) = (id(NAMES[at]), partition(PARTITIONS[where_]));
        let Some(missing) = self.world.markers.missing(&name) else { return Answer::Code(-1) };
        let last = missing.partitions.len() == 1 && missing.partitions.contains(&here);
        let round = missing.round;
        if self.world.log_is_down && last {
            return Answer::Code(15);
        }
        match self.world.markers.acked(&name, round, &here) {
            Progress::Complete(completion) => {
                self.world.complete(&completion).unwrap();
                Answer::Done
            }
            Progress::Waits => {
                if self.has(Plant::T4CompletionAtTheFirstMarker) && !self.world.log_is_down {
                    self.world.markers_arrive(NAMES[at]);
                }
                Answer::Done
            }
            _ => Answer::Code(-1),
        }
    }

    fn reap(&mut self) -> Answer {
        if self.has(Plant::TheReaperSleeps) {
            return Answer::Ids(vec![]);
        }
        for (at, name) in NAMES.iter().enumerate() {
            let Some(it) = self.view(at) else { continue };
            let decided = self.has(Plant::T2TheReaperTakesWhatIsDecided) && it.state == 2;
            let unlimited = self.has(Plant::TheReaperTakesTransactionsWithoutTimeout)
                && it.state == 1
                && it.timeout == i32::MAX;
            if (decided || unlimited) && self.world.now - it.start > 60_000 {
                let name = id(name);
                let mut value = given::value(State::PrepareAbort, (it.pid, it.epoch));
                value.timeout_ms = it.timeout;
                self.world.force(&Record::new(name, Some(value), Cause::TimedOut));
            }
        }
        let answers = self.world.reap();
        if self.has(Plant::P10FailedFencesBurnEpochs) && answers.iter().any(|(_, a)| *a == Err(15))
        {
            self.burn();
        }
        let number = |name: &str| NAMES.iter().position(|known| *known == name).unwrap();
        let code = |answer: Result<(), i16>| answer.err().unwrap_or(0);
        Answer::Ids(answers.into_iter().map(|(name, a)| (number(&name), code(a))).collect())
    }

    fn expire(&mut self) -> Answer {
        if self.has(Plant::ExpiryForgetsNothing) {
            return Answer::Ids(vec![]);
        }
        let mut gone = self.world.coordinator.expire(self.world.time());
        if self.has(Plant::P31ExpiryForgetsOpenTransactions) {
            let old = |at: &usize| {
                self.view(*at)
                    .is_some_and(|it| it.state == 1 && self.world.now - it.update > 604_800_000)
            };
            let open = (0..NAMES.len()).filter(old).map(|at| id(NAMES[at]));
            gone.extend(open.map(|name| Record::new(name, None, Cause::Expired)));
        }
        let number = |record: &Record| {
            (NAMES.iter().position(|known| *known == record.id().as_str()).unwrap(), 0)
        };
        let answer = Answer::Ids(gone.iter().map(number).collect());
        gone.iter().for_each(|record| self.world.force(record));
        answer
    }
}

/// Breaks the record that a planted bug would have written otherwise.
fn tamper(plant: usize, world: &World, record: &Record) -> Record {
    let plant = Plant::ALL[plant];
    let Some(value) = record.value() else { return record.clone() };
    let mut value = value.clone();
    let before = world.coordinator.describe(record.id());
    let ours = matches!(record.cause(), Cause::Fenced | Cause::TimedOut);
    let ended = record.cause() == Cause::Ended;
    let epoch = value.producer.epoch.get();
    match plant {
        Plant::P8FencesRaiseTheEpochTwice if ours => {
            value.producer.epoch = ProducerEpoch::new(epoch.wrapping_add(1));
        }
        Plant::P9NoRotationAtInternalAborts if ours => value.next_producer_id = ProducerId::NONE,
        Plant::T9EndsOfProtocol2KeepTheEpoch if ended && value.client_transaction_version == 2 => {
            value.producer.epoch = ProducerEpoch::new(epoch - 1);
        }
        Plant::EndsOfProtocol1RaiseTheEpoch if ended && value.client_transaction_version == 0 => {
            value.producer.epoch = ProducerEpoch::new(epoch.saturating_add(1));
        }
        Plant::T1EnrolmentsForgetOlderOnes if record.cause() == Cause::Enrolled => {
            let known = before.map(|view| view.partitions.clone()).unwrap_or_default();
            forget(&mut value, |topic, number| {
                known.iter().any(|k| k.topic == topic.topic && k.partition == number)
            });
        }
        Plant::StartMovesWithEachEnrolment if record.cause() == Cause::Enrolled => {
            value.start = value.last_update;
        }
        Plant::CompletionKeepsPartitions if record.cause() == Cause::Completed => {
            let known = before.unwrap().partitions.iter();
            let topic = |p: &hanbeon_records::TopicPartition| TopicPartitions {
                topic: p.topic.clone(),
                partitions: vec![p.partition],
            };
            value.partitions = Some(known.map(topic).collect());
        }
        Plant::P12RotationIsForgottenAtCompletion if record.cause() == Cause::Completed => {
            value.producer = before.unwrap().producer;
        }
        Plant::P12LastEpochIsNotRemembered => value.last_producer_epoch = ProducerEpoch::NONE,
        Plant::P12PreviousIdIsNotRemembered => value.previous_producer_id = value.producer.id,
        Plant::T3ANewInstanceLeavesTheLastEpoch if record.cause() == Cause::Initialised => {
            if let (Some(before), -1) = (before, value.last_producer_epoch.get()) {
                value.last_producer_epoch = before.producer.epoch;
            }
        }
        Plant::TimeoutIsThatOfTheFirstInitialisation => {
            if let Some(before) = before {
                value.timeout_ms = before.timeout_ms;
            }
        }
        Plant::T1CompletionFlipsTheOutcome if record.cause() == Cause::Completed => {
            value.state = match value.state {
                State::CompleteCommit => State::CompleteAbort,
                _ => State::CompleteCommit,
            };
        }
        Plant::FencesOfProtocol1LeaveTheLastEpoch
            if ours && value.last_producer_epoch.get() == -1 =>
        {
            value.last_producer_epoch = before.unwrap().producer.epoch;
        }
        Plant::EmptyAbortsHaveNoStart
            if ended && before.is_some_and(|view| view.state != State::Ongoing) =>
        {
            value.start = Millis::NONE;
        }
        _ => {}
    }
    Record::new(record.id().clone(), Some(value), record.cause())
}

fn forget(value: &mut TxnValue, known: impl Fn(&TopicPartitions, i32) -> bool) {
    for topic in value.partitions.iter_mut().flatten() {
        let kept = topic.clone();
        topic.partitions.retain(|number| !known(&kept, *number));
    }
}

/// The pair of a step's question, if it has one.
pub(crate) const fn asks(step: &Step) -> Option<(usize, Who)> {
    match step {
        Step::Init { id, who, .. }
        | Step::Enrol { id, who, .. }
        | Step::Verify { id, who, .. }
        | Step::End { id, who, .. } => Some((*id, *who)),
        _ => None,
    }
}
