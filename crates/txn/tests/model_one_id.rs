//! Every interleaving of two producers with one transactional id, two partitions, a network that duplicates, delays and
//! loses, timeouts, and a coordinator that crashes between any two steps: checked to the last reachable state under protocol 2, and
//! to four batches a partition under protocol 1, which never comes to an end.
//!
//! The model calls the shipped code: `Coordinator` and `MarkersOwed` decide, `ProducerStates` of `hanbeon-idempotence` is the
//! table of each partition. What it assumes: an append to the coordinator's log is durable or lost as a whole (replication of
//! that log is `hanbeon-replica`'s), and a leader's question to the coordinator and the append it allows are one step (the
//! guard that makes them one is `hanbeon-idempotence`'s).
//!
//! `cargo test -p hanbeon-txn --test model_one_id -- --nocapture` prints the number of states.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::let_underscore_must_use,
    clippy::print_stdout,
    reason = "a test says so by failing, names only the variants it means, and prints what it found"
)]

mod fixture;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use fixture::{Pair, SETTINGS, World, given, id, pair, producer};
use hanbeon_idempotence::{
    Admission, BatchKind, Claim, Ends, FirstWrite, MarkerAdmission, MarkerClaim, MarkerProtocol,
    Origin, ProducerStates, Verification, VerificationNeed, VerificationRequest,
};
use hanbeon_records::{
    BatchRef, CoordinatorEpoch, LeaderEpoch, Marker, Millis, Offset, ProducerEpoch, ProducerId,
    Sequence, TopicPartition, write_marker,
};
use hanbeon_txn::{
    AddPartitions, Cause, Completion, Coordinator, Decision, EndTxn, Enqueued, MarkersOwed,
    Membership, Missing, Outcome, Progress, Protocol, Record, Round, Settings, State as TxnState,
    TxnError, Verify,
};
use stateright::{Checker, HasDiscoveries, Model, Property};

const NAME: &str = "x";
const NOW: Millis = Millis::new(1000);
/// Past every timeout.
const LATER: Millis = Millis::new(1_000_000);

/// Which transaction of which producer a record belongs to.
type Tag = (usize, usize);

/// What a producer does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Op {
    /// Protocol 1 enrols by a request of its own.
    Add(usize),
    Write(usize),
    End(Outcome2),
}

/// [`Outcome`] with an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Outcome2 {
    Commit,
    Abort,
}

impl From<Outcome2> for Outcome {
    fn from(outcome: Outcome2) -> Self {
        match outcome {
            Outcome2::Commit => Self::Commit,
            Outcome2::Abort => Self::Abort,
        }
    }
}

/// A message on the network. It stays there: it may arrive late, twice, or never.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Message {
    Init { from: usize },
    Request { pair: Pair, tag: Tag, op: Op, sequence: i32 },
    Marker { pair: Pair, outcome: Outcome2, v2: bool, round: Round, at: usize },
}

/// One batch of a partition's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Batch {
    Data { pair: Pair, sequence: i32, tag: Tag },
    Marker { pair: Pair, outcome: Outcome2, epoch: i32 },
}

/// How far a producer has got with its script.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Client {
    pair: Option<Pair>,
    txn: usize,
    step: usize,
    written: [i32; 2],
    fenced: bool,
}

/// What must never come true, written down when it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Broken {
    /// T2: a record that does not follow.
    IllegalTransition,
    /// T3: an older instance's commit was taken.
    ZombieCommits,
    /// T4: completed without a marker somewhere.
    EarlyCompletion,
    /// T10, T11: a commit was answered with success and the transaction was aborted, or the reverse.
    WrongAnswer,
    /// A marker was refused by a partition whose coordinator is the current one.
    CurrentMarkerRefused,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    coordinator: Coordinator,
    markers: MarkersOwed,
    /// The last record, as compaction would leave the log.
    log: Option<(Vec<u8>, Option<Vec<u8>>)>,
    epoch: i32,
    next_id: i64,
    partitions: [Vec<Batch>; 2],
    network: BTreeSet<Message>,
    clients: Vec<Client>,
    timeouts: u8,
    /// How often each producer's `InitProducerId` arrived: each time makes a new epoch, so it may not be for ever.
    inits: Vec<u8>,
    /// What the last `InitProducerId` was answered.
    initialised: Pair,
    /// Decisions by the pair that the transaction was written with.
    decided: BTreeSet<(Pair, Outcome2)>,
    /// Ends that were answered with success.
    told: BTreeSet<(Tag, Outcome2)>,
    broken: BTreeSet<Broken>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Action {
    /// A producer puts its next message on the network.
    Send(usize),
    /// A message arrives. Its sender hears the answer, or does not.
    Deliver {
        message: Message,
        heard: bool,
    },
    /// A write arrives, its partition is enrolled, and its leader dies before the append.
    EnrolOnly(Message),
    SendMarker(usize),
    Timeout,
    Crash,
}

/// One world to explore.
struct Setup {
    protocol: Protocol,
    /// For each producer its transactions.
    scripts: Vec<Vec<Vec<Op>>>,
    crashes: i32,
    timeouts: u8,
    /// The epoch that the id had got to before.
    start: Option<i16>,
    /// For each producer, how often its `InitProducerId` may arrive.
    inits: u8,
}

fn partition(at: usize) -> TopicPartition {
    fixture::partition(["t-0", "t-1"][at])
}

thread_local! {
    /// Tables of logs, and verdicts of healing, that were worked out before: most states differ in something else.
    static TABLES: RefCell<BTreeMap<Vec<Batch>, ProducerStates>> = const { RefCell::new(BTreeMap::new()) };
    static HEALED: RefCell<BTreeMap<Durable, bool>> = const { RefCell::new(BTreeMap::new()) };
}

/// What is left after a crash: the coordinator's log, the partitions', and under which rules.
type Durable = (Option<(Vec<u8>, Option<Vec<u8>>)>, [Vec<Batch>; 2], Protocol);

fn states_of(log: &[Batch]) -> ProducerStates {
    if let Some(known) = TABLES.with_borrow(|tables| tables.get(log).cloned()) {
        return known;
    }
    let states = replayed(log);
    TABLES.with_borrow_mut(|tables| tables.insert(log.to_vec(), states.clone()));
    states
}

fn replayed(log: &[Batch]) -> ProducerStates {
    let mut states = ProducerStates::new(hanbeon_idempotence::Settings {
        expiration_ms: i64::MAX,
        verification: Verification::On,
        first_write: FirstWrite::AnySequence,
        hash_seed: 1,
    });
    for (at, batch) in log.iter().enumerate() {
        let bytes = bytes_of(batch, i64::try_from(at).unwrap());
        let (batch, _) = BatchRef::parse(&bytes).unwrap();
        states.replay(&batch, NOW).unwrap();
    }
    states
}

/// The batch as it lies in a log; the table reads nothing but the header and markers.
fn bytes_of(batch: &Batch, base: i64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (pid, epoch, sequence) = match *batch {
        Batch::Data { pair: (pid, epoch), sequence, .. } => (pid, epoch, sequence),
        Batch::Marker { pair: (pid, producer_epoch), outcome, epoch } => {
            let marker = Marker {
                base_offset: Offset::new(base),
                leader_epoch: LeaderEpoch::new(0),
                producer_id: ProducerId::new(pid),
                producer_epoch: ProducerEpoch::new(producer_epoch),
                outcome: outcome.into(),
                coordinator_epoch: CoordinatorEpoch::new(epoch),
                timestamp: NOW,
            };
            write_marker(&mut bytes, &marker);
            return bytes;
        }
    };
    bytes.extend(base.to_be_bytes());
    bytes.extend(49_i32.to_be_bytes());
    bytes.extend([0, 0, 0, 0, 2, 0, 0, 0, 0]);
    bytes.extend([0, 0x10, 0, 0, 0, 0]); // transactional, one record
    bytes.extend([NOW.get().to_be_bytes(), NOW.get().to_be_bytes()].concat());
    bytes.extend(pid.to_be_bytes());
    bytes.extend(epoch.to_be_bytes());
    bytes.extend(sequence.to_be_bytes());
    bytes.extend(1_i32.to_be_bytes());
    bytes
}

/// How the batch at `at` was decided: by the next marker of its producer id.
fn outcome_of(log: &[Batch], at: usize) -> Option<Outcome2> {
    let Batch::Data { pair: (pid, _), .. } = log[at] else { return None };
    log[at..].iter().find_map(|batch| match batch {
        Batch::Marker { pair, outcome, .. } if pair.0 == pid => Some(*outcome),
        _ => None,
    })
}

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
            self.owe();
        }
        decision.reply
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

    fn crash(&mut self) {
        let mut coordinator = Coordinator::new(*self.coordinator.settings());
        if let Some((key, value)) = &self.log {
            coordinator.replay(key, value.as_deref()).unwrap();
        }
        self.coordinator = coordinator;
        self.markers = MarkersOwed::new();
        self.epoch += 1;
        self.owe();
    }

    fn reap(&mut self) {
        let mut next = self.next_id;
        let mut fresh = || {
            next += 1;
            Some(ProducerId::new(next - 1))
        };
        let decision = self.coordinator.abort_timed_out(LATER, &id(NAME), &mut fresh);
        self.next_id = next;
        self.carry_out(decision).unwrap();
    }

    fn init(&mut self, from: usize, heard: bool) {
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
    fn serve(
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
            Op::End(outcome) => self.end(who, tag, outcome, setup.protocol),
        }
    }

    fn enrol(&mut self, who: Pair, at: usize, protocol: Protocol) -> Result<(), i16> {
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

    fn end(
        &mut self,
        who: Pair,
        tag: Tag,
        outcome: Outcome2,
        protocol: Protocol,
    ) -> Result<Pair, i16> {
        let mut next = self.next_id;
        let mut fresh = || {
            next += 1;
            Some(ProducerId::new(next - 1))
        };
        let request =
            EndTxn { id: id(NAME), producer: producer(who), outcome: outcome.into(), protocol };
        let decision = self.coordinator.end_txn(NOW, &request, &mut fresh);
        self.next_id = next;
        let commits = decision.record.is_some() && outcome == Outcome2::Commit;
        if commits && who.0 == self.initialised.0 && who.1 < self.initialised.1 {
            self.broken.insert(Broken::ZombieCommits);
        }
        let answer = self.carry_out(decision).map_err(|error| error.code().number())?;
        self.told.insert((tag, outcome));
        let other = match outcome {
            Outcome2::Commit => Outcome2::Abort,
            Outcome2::Abort => Outcome2::Commit,
        };
        if protocol == Protocol::V2 && self.decided.contains(&(who, other)) {
            self.broken.insert(Broken::WrongAnswer);
        }
        Ok(pair(answer))
    }

    fn marker(
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
    fn heals(&self) -> bool {
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
    fn is_torn(&self) -> bool {
        self.tags().into_iter().any(|tag| {
            let outcomes = self.outcomes(tag);
            let told = |outcome| self.told.contains(&(tag, outcome));
            outcomes.len() > 1
                || (told(Outcome2::Commit) && outcomes.contains(&Outcome2::Abort))
                || (told(Outcome2::Abort) && outcomes.contains(&Outcome2::Commit))
        })
    }

    /// T3: epochs of a producer id never go back in a partition.
    fn epochs_rise(&self) -> bool {
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
    fn pairs_name_one_transaction(&self) -> bool {
        let data = || {
            self.partitions.iter().flatten().filter_map(|batch| match batch {
                Batch::Data { pair, tag, .. } => Some((*pair, *tag)),
                Batch::Marker { .. } => None,
            })
        };
        data().all(|(pair, tag)| data().all(|(other, of)| other != pair || of == tag))
    }

    /// T1: a pair's decision is one, and its records in the partitions are decided so.
    fn decisions_agree(&self) -> bool {
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

fn ordered(outcome: Outcome) -> Outcome2 {
    match outcome {
        Outcome::Commit => Outcome2::Commit,
        Outcome::Abort => Outcome2::Abort,
    }
}

impl Setup {
    fn next_message(&self, state: &State, from: usize) -> Option<Message> {
        let client = &state.clients[from];
        if client.fenced {
            return None;
        }
        let Some(pair) = client.pair else { return Some(Message::Init { from }) };
        let op = *self.scripts[from].get(client.txn)?.get(client.step)?;
        let sequence = match op {
            Op::Write(at) => client.written[at],
            Op::Add(_) | Op::End(_) => 0,
        };
        Some(Message::Request { pair, tag: (from, client.txn), op, sequence })
    }

    /// Whether anyone waits for the answer: else it makes no difference that it is lost.
    fn is_awaited(&self, state: &State, message: &Message) -> bool {
        match message {
            Message::Init { .. } | Message::Marker { .. } => true,
            Message::Request { tag, .. } => {
                self.next_message(state, tag.0).as_ref() == Some(message)
            }
        }
    }

    /// The answer reaches the producer, if it still waits for it.
    fn hear(&self, state: &mut State, message: &Message, answer: Result<Pair, i16>) {
        let Message::Request { tag, op, .. } = message else { return };
        if self.next_message(state, tag.0).as_ref() != Some(message) {
            return;
        }
        let client = &mut state.clients[tag.0];
        match (answer, op) {
            (Ok(next), Op::End(_)) => {
                if client.pair != Some(next) {
                    client.written = [0; 2];
                }
                (client.pair, client.txn, client.step) = (Some(next), client.txn + 1, 0);
            }
            (Ok(_), Op::Write(at)) => {
                client.written[*at] += 1;
                client.step += 1;
            }
            (Ok(_), Op::Add(_)) => client.step += 1,
            // Retriable: the message is on the network already and will arrive again.
            (Err(51), _) => {}
            (Err(_), _) => client.fenced = true,
        }
    }
}

impl Model for Setup {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let settings = Settings { server_protocol: self.protocol, ..SETTINGS };
        let (mut coordinator, mut log) = (Coordinator::new(settings), None);
        if let Some(epoch) = self.start {
            let value = given::value(TxnState::Empty, (0, epoch));
            let record = Record::new(id(NAME), Some(value), Cause::Initialised);
            let (key, bytes) = record.encode(SETTINGS.value_version).unwrap();
            coordinator.replay(&key, bytes.as_deref()).unwrap();
            log = Some((key, bytes));
        }
        vec![State {
            coordinator,
            markers: MarkersOwed::new(),
            log,
            epoch: 0,
            next_id: 1,
            partitions: [vec![], vec![]],
            network: BTreeSet::new(),
            clients: vec![Client::default(); self.scripts.len()],
            timeouts: 0,
            inits: vec![0; self.scripts.len()],
            initialised: (-1, -1),
            decided: BTreeSet::new(),
            told: BTreeSet::new(),
            broken: BTreeSet::new(),
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend((0..self.scripts.len()).map(Action::Send));
        for message in &state.network {
            actions.push(Action::Deliver { message: message.clone(), heard: true });
            if self.is_awaited(state, message) {
                actions.push(Action::Deliver { message: message.clone(), heard: false });
            }
            if matches!(message, Message::Request { op: Op::Write(_), .. })
                && self.protocol == Protocol::V2
            {
                actions.push(Action::EnrolOnly(message.clone()));
            }
        }
        actions.extend([Action::SendMarker(0), Action::SendMarker(1)]);
        if state.timeouts < self.timeouts {
            actions.push(Action::Timeout);
        }
        if state.epoch < self.crashes {
            actions.push(Action::Crash);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Send(from) => {
                let message = self.next_message(&state, from)?;
                state.network.insert(message);
            }
            Action::Deliver { message, heard } => match message {
                Message::Init { from } if state.inits[from] < self.inits => {
                    state.init(from, heard);
                }
                Message::Init { .. } => return None,
                Message::Request { pair, tag, op, sequence } => {
                    let answer = state.serve(pair, tag, op, sequence, self);
                    if heard {
                        self.hear(&mut state, &message, answer);
                    }
                }
                Message::Marker { pair, outcome, v2, round, at } => {
                    state.marker(pair, outcome, v2, round, at, heard);
                }
            },
            Action::EnrolOnly(Message::Request { pair, op: Op::Write(at), .. }) => {
                let _refused = state.enrol(pair, at, Protocol::V2);
            }
            Action::EnrolOnly(_) => return None,
            Action::SendMarker(at) => {
                let missing = state.markers.missing(&id(NAME))?;
                if !missing.partitions.contains(&partition(at)) {
                    return None;
                }
                let message = Message::Marker {
                    pair: pair(missing.marker.producer),
                    outcome: ordered(missing.marker.outcome),
                    v2: missing.marker.protocol == Some(Protocol::V2),
                    round: missing.round,
                    at,
                };
                state.network.insert(message);
            }
            Action::Timeout => {
                state.reap();
                if state == *last {
                    return None;
                }
                state.timeouts += 1;
            }
            Action::Crash => state.crash(),
        }
        (state != *last).then_some(state)
    }

    /// Under protocol 1 late copies open and end transactions for ever; four batches a partition tell the story.
    fn within_boundary(&self, state: &State) -> bool {
        self.protocol == Protocol::V2 || state.partitions.iter().all(|log| log.len() <= 4)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no rule of T2, T3, T4, T10, T11 was broken", |_, s: &State| {
                s.broken.is_empty()
            }),
            Property::always("T3: epochs rise", |_, s: &State| s.epochs_rise()),
            Property::always("T1: one decision, everywhere", |setup: &Self, s: &State| {
                setup.protocol == Protocol::V1 || s.decisions_agree()
            }),
            Property::always("T9: a pair names one transaction", |setup: &Self, s: &State| {
                setup.protocol == Protocol::V1 || s.pairs_name_one_transaction()
            }),
            Property::always("T12: nothing hangs", |_, s: &State| s.heals()),
            Property::sometimes("a transaction is torn", |_, s: &State| s.is_torn()),
            Property::sometimes("two transactions are committed", |_, s: &State| {
                s.told.iter().filter(|(_, outcome)| *outcome == Outcome2::Commit).count() > 1
            }),
        ]
    }
}

const COMMIT: Op = Op::End(Outcome2::Commit);
const ABORT: Op = Op::End(Outcome2::Abort);

fn explore(what: &str, setup: Setup) -> BTreeSet<&'static str> {
    // A broken rule ends the search at once: a coordinator that is wrong may have no last state.
    let checker =
        setup.checker().threads(1).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    println!(
        "{what}: {} distinct states, depth {}",
        checker.unique_state_count(),
        checker.max_depth()
    );
    for (name, path) in checker.discoveries() {
        println!("  found: {name}");
        if !name.contains("torn") && !name.contains("committed") {
            println!("{path}");
        }
    }
    checker.discoveries().into_keys().collect()
}

fn two(first: Vec<Op>, second: Vec<Op>) -> Vec<Vec<Op>> {
    vec![first, second]
}

fn v2(scripts: Vec<Vec<Vec<Op>>>) -> Setup {
    Setup { protocol: Protocol::V2, scripts, crashes: 1, timeouts: 1, start: None, inits: 1 }
}

const BOTH: [Op; 2] = [Op::Write(0), Op::Write(1)];

#[test]
fn t1_t2_t4_t9_t10_t11_t12_one_producer_of_protocol_2_is_never_torn() {
    let first = vec![Op::Write(0), COMMIT];
    let second = [&BOTH[..], &[ABORT]].concat();
    let found = explore("protocol 2, one producer", v2(vec![two(first, second)]));
    assert_eq!(found, BTreeSet::new());
    let second = [&BOTH[..], &[COMMIT]].concat();
    let setup = v2(vec![two(second.clone(), second)]);
    let found = explore("protocol 2, one producer, two commits", setup);
    assert_eq!(found, BTreeSet::from(["two transactions are committed"]));
}

#[test]
fn t1_t2_t3_t4_t9_t10_t12_two_producers_of_protocol_2_with_one_id() {
    let first = [&BOTH[..], &[COMMIT]].concat();
    let second = vec![Op::Write(0), COMMIT];
    let mut setup = v2(vec![vec![first], vec![second]]);
    setup.timeouts = 0;
    let found = explore("protocol 2, two producers", setup);
    assert_eq!(found, BTreeSet::from(["two transactions are committed"]));
}

#[test]
fn t1_t4_t9_t11_t12_the_epochs_run_out() {
    let each = vec![Op::Write(0), COMMIT];
    let setup = Setup { start: Some(32_764), ..v2(vec![vec![each.clone(), each.clone(), each]]) };
    let found = explore("protocol 2, across a rotation", setup);
    assert_eq!(found, BTreeSet::from(["two transactions are committed"]));
}

/// KAFKA-17754: the checker has to find it.
#[test]
fn t3_t12_protocol_1_tears_a_transaction_and_keeps_the_rest() {
    let first = vec![Op::Add(0), Op::Write(0), COMMIT];
    let second = vec![Op::Add(0), Op::Write(0), Op::Add(1), Op::Write(1), ABORT];
    let setup =
        Setup { protocol: Protocol::V1, timeouts: 0, crashes: 0, ..v2(vec![two(first, second)]) };
    let found = explore("protocol 1, one producer", setup);
    assert_eq!(found, BTreeSet::from(["a transaction is torn"]));
}

#[test]
fn t3_t4_t12_two_producers_of_protocol_1_with_one_id() {
    let script = vec![vec![Op::Add(0), Op::Write(0), COMMIT]];
    let scripts = vec![script.clone(), script];
    let setup = Setup { protocol: Protocol::V1, timeouts: 0, crashes: 0, ..v2(scripts) };
    let found = explore("protocol 1, two producers", setup);
    assert_eq!(found, BTreeSet::from(["two transactions are committed"]));
}
