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

#[path = "../fixture/mod.rs"]
mod fixture;
mod logs;
mod state;

use std::collections::BTreeSet;

use fixture::{Pair, SETTINGS, given, id, pair};
use hanbeon_records::Millis;
use hanbeon_txn::{Cause, Coordinator, MarkersOwed, Protocol, Record, Settings, State as TxnState};
use logs::{Outcome2, ordered};
use state::{Broken, Client, Message, Op, State, partition};
use stateright::{Checker, HasDiscoveries, Model, Property};

const NAME: &str = "x";
const NOW: Millis = Millis::new(1000);

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
    bug: Option<Bug>,
}

/// A coordinator that answers wrongly, to see that it is noticed.
#[derive(Clone, Copy, Debug)]
enum Bug {
    /// 48, on which a client ends, where its transaction was only aborted (KAFKA-20785).
    AbortedCommitIsInvalid,
    /// An end that was carried out is refused when it comes again.
    RetriesAreFenced,
}

impl Bug {
    fn twist(self, answer: Result<Pair, i16>, rule: Broken, decided: bool) -> Result<Pair, i16> {
        match self {
            Self::AbortedCommitIsInvalid if rule == Broken::AbortedCommitNotFenced => Err(48),
            Self::RetriesAreFenced if answer.is_ok() && !decided => Err(90),
            _ => answer,
        }
    }
}

impl Setup {
    fn next_message(&self, state: &State, from: usize) -> Option<Message> {
        let client = &state.clients[from];
        if client.over {
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
            (Err(47 | 49 | 90), _) => {
                client.over = true;
                if state.coordinator.describe(&id(NAME)).map(|view| pair(view.producer))
                    == client.pair
                {
                    state.broken.insert(Broken::CurrentFenced);
                }
            }
            // A late copy of an end closed the transaction under it.
            (Err(48 | 120), _) if self.protocol == Protocol::V1 => client.over = true,
            // And what it sends again is none of the next one's: behind a marker no batch from before it is known.
            (Err(45), Op::Write(_)) if self.protocol == Protocol::V1 => client.over = true,
            (Err(_), _) => {
                state.broken.insert(Broken::StrangeCode);
            }
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
            ended: None,
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
            Property::always(RULES, |_, s: &State| s.broken.is_empty()),
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

const RULES: &str = "no rule of T2, T3, T4, T10, T11 was broken";
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
    Setup {
        protocol: Protocol::V2,
        scripts,
        crashes: 1,
        timeouts: 1,
        start: None,
        inits: 1,
        bug: None,
    }
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
fn t1_t2_t3_t4_t9_t10_t11_t12_two_producers_of_protocol_2_with_one_id() {
    let first = [&BOTH[..], &[COMMIT]].concat();
    let second = vec![Op::Write(0), COMMIT];
    let found = explore("protocol 2, two producers", v2(vec![vec![first], vec![second]]));
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
fn t3_t10_t11_t12_protocol_1_tears_a_transaction_and_keeps_the_rest() {
    let first = vec![Op::Add(0), Op::Write(0), COMMIT];
    let second = vec![Op::Add(0), Op::Write(0), Op::Add(1), Op::Write(1), ABORT];
    let setup = Setup { protocol: Protocol::V1, crashes: 0, ..v2(vec![two(first, second)]) };
    let found = explore("protocol 1, one producer", setup);
    assert_eq!(found, BTreeSet::from(["a transaction is torn"]));
}

#[test]
fn t3_t4_t10_t11_t12_two_producers_of_protocol_1_with_one_id() {
    let script = vec![vec![Op::Add(0), Op::Write(0), COMMIT]];
    let setup = Setup { protocol: Protocol::V1, ..v2(vec![script.clone(), script]) };
    let found = explore("protocol 1, two producers", setup);
    assert_eq!(found, BTreeSet::from(["two transactions are committed"]));
}

/// What an end is answered that comes again, or after an abort of the coordinator's own, is looked at.
#[test]
fn t10_t11_a_coordinator_that_answers_ends_wrongly_is_found() {
    let planted = [
        (Bug::AbortedCommitIsInvalid, Broken::AbortedCommitNotFenced),
        (Bug::RetriesAreFenced, Broken::RetryAnsweredOtherwise),
    ];
    for (bug, rule) in planted {
        let script = vec![vec![Op::Write(0), COMMIT]];
        let setup = Setup { bug: Some(bug), ..v2(vec![script]) };
        let finish = HasDiscoveries::AnyFailures;
        let checker = setup.checker().threads(1).finish_when(finish).spawn_bfs().join();
        let path = checker.discovery(RULES).unwrap_or_else(|| panic!("{bug:?} is not noticed"));
        assert_eq!(path.last_state().broken, BTreeSet::from([rule]));
    }
}
