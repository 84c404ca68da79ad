//! Conversations with the coordinator in `cases/*.txt`: a command a line, then what was logged and answered.
//!
//! `UPDATE_CASES=1 cargo test -p hanbeon-txn --test scenarios` writes the answers anew; read the difference like code.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test says so by failing, and names only the variants it means"
)]

mod fixture;

use std::{env, fmt::Write as _, fs, path::Path};

use fixture::{Pair, SETTINGS, World, id, pair, partition};
use hanbeon_records::{ErrorCode, ProducerId};
use hanbeon_txn::{
    Api, InitProducerId, ListFilter, Missing, Outcome, Prepared, Progress, Protocol, Record, Round,
    Settings, State, TransactionalId, TwoPhaseCommit, TxnValue, ValueVersion, code_for,
};

/// One scenario: a world and the text of its conversation.
struct Case {
    world: World,
    /// How much of the log was told already.
    told: usize,
    /// Of the last marker that was answered.
    round: Option<Round>,
    out: String,
}

/// `key=value` among the words of a command.
fn option<'a>(words: &[&'a str], key: &str) -> Option<&'a str> {
    words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

fn number(word: &str) -> i64 {
    word.replace('_', "").parse().unwrap_or_else(|error| panic!("{word}: {error}"))
}

/// `P3/0` is producer id 3 at epoch 0.
fn who(word: &str) -> Pair {
    let (id, epoch) = word.strip_prefix('P').unwrap_or(word).split_once('/').unwrap();
    (number(id), epoch.parse().unwrap())
}

fn version(word: &str) -> i16 {
    word.strip_prefix('v').unwrap_or_else(|| panic!("{word}: no version")).parse().unwrap()
}

fn code(number: i16) -> String {
    ErrorCode::from_number(number).unwrap().to_string()
}

fn value(value: &TxnValue) -> String {
    let mut text = format!("{} P{}/{}", value.state, value.producer.id, value.producer.epoch);
    for topic in value.partitions.iter().flatten() {
        for partition in &topic.partitions {
            write!(text, " {}-{partition}", topic.topic).unwrap();
        }
    }
    if value.start.get() != -1 {
        write!(text, " since {}", value.start).unwrap();
    }
    if value.previous_producer_id != value.producer.id {
        write!(text, " previous P{}", value.previous_producer_id).unwrap();
    }
    if value.next_producer_id.is_some() {
        write!(text, " next P{}", value.next_producer_id).unwrap();
    }
    if value.last_producer_epoch.get() != -1 {
        write!(text, " last {}", value.last_producer_epoch).unwrap();
    }
    if value.client_transaction_version != 0 {
        write!(text, " client {}", value.client_transaction_version).unwrap();
    }
    if value.timeout_ms != 60_000 {
        write!(text, " timeout {}", value.timeout_ms).unwrap();
    }
    text
}

impl Case {
    fn new() -> Self {
        Self { world: World::v2(), told: 0, round: None, out: String::new() }
    }

    /// Refusals in the words of the version that asked, with the sentence that explains them.
    fn answer<R>(
        &mut self,
        api: Api,
        version: i16,
        reply: Result<R, i16>,
        good: impl Fn(R) -> String,
    ) {
        self.tell_log();
        match (reply, self.world.last_error.take()) {
            (Ok(reply), _) => writeln!(self.out, "  {}", good(reply)).unwrap(),
            (Err(_), Some(error)) => {
                let told = code_for(error.code(), api, version);
                writeln!(self.out, "  {told}: {error}").unwrap();
            }
            (Err(number), None) => writeln!(self.out, "  {}", code(number)).unwrap(),
        }
    }

    fn tell_log(&mut self) {
        for (key, bytes) in &self.world.log[self.told..] {
            let id = String::from_utf8(key[4..].to_vec()).unwrap();
            let told = bytes
                .as_ref()
                .map_or_else(|| "forgotten".to_owned(), |b| value(&TxnValue::decode(b).unwrap().0));
            writeln!(self.out, "  log {id} {told}").unwrap();
        }
        self.told = self.world.log.len();
    }

    fn run(&mut self, line: &str) {
        writeln!(self.out, "{line}").unwrap();
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            ["init", v, name, rest @ ..] => self.init(version(v), name, rest),
            ["add" | "offsets", v, name, producer, rest @ ..] => {
                let api =
                    if words[0] == "add" { Api::AddPartitionsToTxn } else { Api::AddOffsetsToTxn };
                let reply = self.world.add(name, who(producer), rest);
                self.answer(api, version(v), reply, |()| "NONE".to_owned());
            }
            ["write", name, producer, rest @ ..] => {
                let reply = self.world.write(name, who(producer), rest);
                self.answer(Api::AddPartitionsToTxn, 5, reply, |()| "NONE".to_owned());
            }
            ["verify", name, producer, rest @ ..] => {
                let reply = self.world.verify(name, who(producer), rest);
                self.answer(Api::AddPartitionsToTxn, 5, reply, |codes| {
                    codes.into_iter().map(code).collect::<Vec<_>>().join(", ")
                });
            }
            ["commit" | "abort", v, name, producer] => {
                let outcome = if words[0] == "commit" { Outcome::Commit } else { Outcome::Abort };
                let protocol = Protocol::of_end_txn(version(v));
                let reply = self.world.end(name, who(producer), outcome, protocol);
                self.answer(Api::EndTxn, version(v), reply, |(id, epoch)| match protocol {
                    Protocol::V1 => "NONE".to_owned(),
                    Protocol::V2 => format!("NONE, next P{id}/{epoch}"),
                });
            }
            ["markers", name] => {
                self.world.markers_arrive(name);
                self.tell_log();
            }
            ["marker", name, at, answer] => self.marker(name, at, answer),
            ["owed"] => self.owed(),
            ["describe", name] => self.describe(&id(name)),
            ["list", rest @ ..] => self.list(rest),
            ["timeouts"] => {
                for (name, reply) in self.world.reap() {
                    self.tell_log();
                    if let Err(number) = reply {
                        writeln!(self.out, "  {name}: {}", code(number)).unwrap();
                    }
                }
            }
            ["expire"] => {
                self.world.expire();
                self.tell_log();
            }
            ["next-timeout"] => {
                let next = self.world.coordinator.next_timeout();
                writeln!(self.out, "  {next:?}").unwrap();
            }
            ["oldest"] => {
                let oldest = self.world.coordinator.oldest_open();
                let told = oldest.map(|(at, id)| format!("{id} since {at}"));
                writeln!(self.out, "  {}", told.unwrap_or_default()).unwrap();
            }
            _ => self.set(&words),
        }
    }

    fn set(&mut self, words: &[&str]) {
        let world = &mut self.world;
        let settings = *world.coordinator.settings();
        match words {
            ["server", "v1"] => world
                .coordinator
                .set_settings(Settings { server_protocol: Protocol::V1, ..settings }),
            ["server", "2pc"] => world
                .coordinator
                .set_settings(Settings { two_phase_commit: TwoPhaseCommit::On, ..settings }),
            ["values", "v0"] => world
                .coordinator
                .set_settings(Settings { value_version: ValueVersion::V0, ..settings }),
            ["pass", ms] => world.pass(number(ms)),
            ["ids", left] => world.ids_left = usize::try_from(number(left)).unwrap(),
            ["log", "down"] => world.log_is_down = true,
            ["log", "up"] => world.log_is_down = false,
            ["crash"] => world.crash(),
            // An id that has got far: its next record says epoch so and so.
            ["given", name, state, producer] => {
                let state = State::from_name(state).unwrap();
                let value = fixture::given::value(state, who(producer));
                let world = std::mem::replace(world, World::new(SETTINGS));
                self.world = fixture::given::world(world, name, value);
                self.told = self.world.log.len();
            }
            _ => panic!("no such command: {words:?}"),
        }
    }

    fn init(&mut self, version: i16, name: &str, rest: &[&str]) {
        let flag = |name: &str| rest.contains(&name);
        let request = InitProducerId {
            id: id(name),
            timeout_ms: option(rest, "timeout").map_or(60_000, |ms| number(ms).try_into().unwrap()),
            expected: option(rest, "from").map(who).map(fixture::producer),
            two_phase_commit: if flag("2pc") { TwoPhaseCommit::On } else { TwoPhaseCommit::Off },
            prepared: if flag("keep") { Prepared::Keep } else { Prepared::Abort },
        };
        let reply = self.world.init_with(&request);
        self.answer(Api::InitProducerId, version, reply, |(id, epoch)| format!("P{id}/{epoch}"));
    }

    fn marker(&mut self, name: &str, at: &str, answer: &str) {
        let (name, at) = (id(name), partition(at));
        let round = self.world.markers.missing(&name).map(|missing| missing.round);
        if let (Some(round), "late") = (self.round, answer) {
            writeln!(self.out, "  {:?}", self.world.markers.acked(&name, round, &at)).unwrap();
            return;
        }
        let Some(round) = round else {
            writeln!(self.out, "  nothing is owed").unwrap();
            return;
        };
        self.round = Some(round);
        let progress = match answer {
            "gone" => self.world.markers.gone(&name, round, &at),
            code => {
                let code = ErrorCode::ALL.iter().find(|known| known.name() == code).unwrap();
                self.world.markers.answered(&name, round, &at, *code)
            }
        };
        match progress {
            Progress::Complete(completion) => {
                self.world.complete(&completion).unwrap();
                self.tell_log();
            }
            other => writeln!(self.out, "  {other:?}").unwrap(),
        }
    }

    fn owed(&mut self) {
        for Missing { id, marker, round, partitions } in self.world.markers.iter() {
            let (pid, e) = pair(marker.producer);
            let at: Vec<_> = partitions.iter().map(ToString::to_string).collect();
            let (outcome, protocol) = (marker.outcome, marker.protocol.unwrap());
            let (at, epoch) = (at.join(" "), round.coordinator_epoch());
            writeln!(self.out, "  {id} {outcome:?} P{pid}/{e} {protocol:?} under {epoch}: {at}")
                .unwrap();
        }
    }

    fn describe(&mut self, id: &TransactionalId) {
        let Some(view) = self.world.coordinator.describe(id) else {
            writeln!(self.out, "  TRANSACTIONAL_ID_NOT_FOUND (105)").unwrap();
            return;
        };
        let lacking =
            self.world.markers.missing(id).map_or(view.partitions, |missing| missing.partitions);
        let at: Vec<_> = lacking.iter().map(ToString::to_string).collect();
        writeln!(
            self.out,
            "  {} P{}/{} start {} timeout {} [{}]",
            view.state,
            view.producer.id,
            view.producer.epoch,
            view.start,
            view.timeout_ms,
            at.join(" ")
        )
        .unwrap();
    }

    fn list(&mut self, words: &[&str]) {
        let each = |key| option(words, key).into_iter().flat_map(|list: &str| list.split(','));
        let filter = ListFilter {
            producer_ids: each("producers").map(|p| ProducerId::new(number(&p[1..]))).collect(),
            states: each("states").filter_map(State::from_name).collect(),
            open_for_ms: option(words, "longer").map(number),
        };
        for view in self.world.coordinator.list(self.world.time(), &filter) {
            writeln!(self.out, "  {} P{} {}", view.id, view.producer.id, view.state).unwrap();
        }
    }
}

/// Runs the commands of a file and returns the whole conversation. A blank line followed by `= title` starts a new world.
fn converse(text: &str) -> String {
    let mut case = Case::new();
    let mut out = String::new();
    for line in text.lines() {
        if line.starts_with("= ") {
            out += &std::mem::replace(&mut case, Case::new()).out;
            writeln!(out, "{line}").unwrap();
        } else if line.is_empty() || line.starts_with('#') {
            writeln!(case.out, "{line}").unwrap();
        } else if !line.starts_with("  ") {
            case.run(line);
        }
    }
    out + &case.out
}

#[test]
fn conversations_go_as_written() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let update = env::var_os("UPDATE_CASES").is_some();
    let mut files: Vec<_> =
        fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 5, "where are the cases?");
    for file in files {
        let expected = fs::read_to_string(&file).unwrap();
        let found = converse(&expected);
        if update {
            fs::write(&file, found).unwrap();
        } else {
            assert!(
                expected == found,
                "{}: run with UPDATE_CASES=1 and look\n{found}",
                file.display()
            );
        }
    }
}

#[test]
fn a_record_keeps_its_cause_to_itself() {
    let record = Record::new(
        id("x"),
        Some(fixture::given::value(State::Empty, (1, 0))),
        hanbeon_txn::Cause::Fenced,
    );
    let other = Record::new(
        id("x"),
        Some(fixture::given::value(State::Empty, (1, 0))),
        hanbeon_txn::Cause::TimedOut,
    );
    assert_eq!(record.encode(ValueVersion::V1), other.encode(ValueVersion::V1));
}
