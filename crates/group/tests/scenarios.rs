//! Conversations with the coordinator in `cases/*.txt`: a command a line, then what was logged and answered.
//!
//! `UPDATE_CASES=1 cargo test -p hanbeon-group --test scenarios` writes the answers anew; read the difference like code.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test says so by failing, also at an answer that it does not expect"
)]

mod fixture;

use std::{collections::BTreeMap, env, fmt::Write as _, fs, path::Path};

use fixture::{
    AT_ONCE, LogMood, SETTINGS, World, bytes, commit, commit_in_txn, join, name, new_offset,
    speaker, subscription, sync,
};
use hanbeon_group::{
    Commit, CommitDialect, DeleteOffsets, GroupError, Join, Joined, LeadersTask, Leave, Leaver,
    ListFilter, Membership, Name, NewMembers, NewOffset, Outcome, Protocol, Record, Reply,
    SkipAssignment, Stability,
};
use hanbeon_records::{ErrorCode, Offset};

struct Case {
    world: World,
    /// The member id that a client in a group was last given.
    ids: BTreeMap<String, Name>,
    /// Who waits for an answer, in which group.
    asked: BTreeMap<u32, (String, String)>,
    told_answers: usize,
    told_records: usize,
    out: String,
}

/// `key=value` among the words of a command.
fn option<'a>(words: &[&'a str], key: &str) -> Option<&'a str> {
    words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

fn number<N: std::str::FromStr<Err: std::fmt::Debug>>(word: &str) -> N {
    word.replace('_', "").parse().unwrap_or_else(|error| panic!("{word}: {error:?}"))
}

/// `t-0` is partition 0 of topic t.
fn partition(word: &str) -> (&str, i32) {
    let (topic, partition) =
        word.rsplit_once('-').unwrap_or_else(|| panic!("{word}: no partition"));
    (topic, number(partition))
}

/// Ids without what is the same in all: `a-00000000-0000-4000-8000-000000000007` is `a#7`.
fn short(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("-00000000-0000-4000-8000-") {
        let (head, tail) = rest.split_at(at);
        let (id, behind) = tail[25..].split_at(12);
        write!(out, "{head}#{}", id.trim_start_matches('0')).unwrap();
        rest = behind;
    }
    out + rest
}

fn refusal(error: &GroupError) -> String {
    short(&format!("{}: {error}", error.code()))
}

/// A subscription's topics, or its text.
fn metadata(bytes: &[u8]) -> String {
    match bytes {
        [0, 0, 0, 0, 0, _, topics @ .., 0xff, 0xff, 0xff, 0xff] => {
            let mut rest = topics;
            let mut names = Vec::new();
            while let [0, len, tail @ ..] = rest {
                let (topic, behind) = tail.split_at(usize::from(*len));
                names.push(String::from_utf8(topic.to_vec()).unwrap());
                rest = behind;
            }
            names.join(",")
        }
        other => format!("{:?}", String::from_utf8_lossy(other)),
    }
}

fn joined(joined: &Joined) -> String {
    let members: Vec<_> = joined
        .members
        .iter()
        .map(|m| format!("{}:{}", short(m.member_id.as_str()), metadata(&m.metadata)))
        .collect();
    let skip = match joined.assignment {
        LeadersTask::Assign => "",
        LeadersTask::Skip => " skip",
    };
    short(&format!(
        "{} in generation {} by {}, leader {}{skip} [{}]",
        joined.member_id,
        joined.generation,
        joined.protocol_name.as_ref().map_or("nothing", Name::as_str),
        joined.leader,
        members.join(" "),
    ))
}

fn results(all: &[Result<(), GroupError>]) -> String {
    let all: Vec<_> =
        all.iter().map(|r| r.as_ref().map_or_else(refusal, |()| "NONE".to_owned())).collect();
    all.join("; ")
}

fn reply(reply: &Reply) -> String {
    let none = |()| "NONE".to_owned();
    match reply {
        Reply::Join(Ok(answer)) => joined(answer),
        Reply::Join(Err(refused)) => refusal(&refused.error),
        Reply::Sync(Ok(s)) => format!("has {:?}", String::from_utf8_lossy(&s.assignment)),
        Reply::Heartbeat(result) | Reply::DeleteGroup(result) => {
            result.clone().map_or_else(|error| refusal(&error), none)
        }
        Reply::Leave(Ok(left)) => {
            results(&left.iter().map(|left| left.result.clone()).collect::<Vec<_>>())
        }
        Reply::Commit(Ok(all)) | Reply::DeleteOffsets(Ok(all)) => results(all),
        Reply::Sync(Err(error))
        | Reply::Leave(Err(error))
        | Reply::Commit(Err(error))
        | Reply::DeleteOffsets(Err(error)) => refusal(error),
        other => format!("{other:?}"),
    }
}

fn logged(record: &Record) -> String {
    match record {
        Record::Offset { group, topic, partition, value, .. } => {
            let value = value.as_ref().map_or_else(
                || "forgotten".to_owned(),
                |value| format!("= {} {:?}", value.offset, value.layout),
            );
            format!("{group:?} {topic}-{partition} {value}")
        }
        Record::Group { group, value: None } => format!("{group:?} ended"),
        Record::Group { group, value: Some(value) } => {
            let members: Vec<_> = value
                .members
                .iter()
                .map(|m| {
                    let given = String::from_utf8_lossy(&m.assignment).into_owned();
                    format!("{}:{given:?}", short(m.member_id.as_str()))
                })
                .collect();
            short(&format!(
                "{group:?} generation {} type {:?} protocol {} leader {} [{}]",
                value.generation,
                value.protocol_type,
                value.protocol.as_ref().map_or("-", Name::as_str),
                value.leader.as_ref().map_or("-", Name::as_str),
                members.join(" "),
            ))
        }
        other => format!("{other:?}"),
    }
}

impl Case {
    fn new() -> Self {
        Self {
            world: World::new(SETTINGS),
            ids: BTreeMap::new(),
            asked: BTreeMap::new(),
            told_answers: 0,
            told_records: 0,
            out: String::new(),
        }
    }

    /// `a` is the id a was last given in the group, `a#3` a certain one, `-` none.
    fn id(&self, group: &str, word: &str) -> Name {
        if word == "-" {
            return Name::empty();
        }
        if let Some((prefix, number)) = word.split_once('#') {
            return name(&format!("{prefix}-00000000-0000-4000-8000-{number:0>12}"));
        }
        self.ids.get(&format!("{group}/{word}")).cloned().unwrap_or_else(|| name(word))
    }

    fn tell(&mut self) {
        for record in &self.world.records[self.told_records..] {
            writeln!(self.out, "  log {}", logged(record)).unwrap();
        }
        self.told_records = self.world.records.len();
        for token in &self.world.order[self.told_answers..] {
            let answer = self.world.answers[token].clone();
            let (group, who) = self.asked[token].clone();
            let id = match &answer {
                Reply::Join(Ok(joined)) => Some(joined.member_id.clone()),
                Reply::Join(Err(refused)) => Some(refused.member_id.clone()),
                _ => None,
            };
            if let Some(id) = id.filter(|id| !id.is_empty()) {
                self.ids.insert(format!("{group}/{who}"), id);
            }
            writeln!(self.out, "  {who}: {}", reply(&answer)).unwrap();
        }
        self.told_answers = self.world.order.len();
    }

    fn run(&mut self, line: &str) {
        writeln!(self.out, "{line}").unwrap();
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            ["settings", "at-once"] => {
                self.world.settings = AT_ONCE;
                self.world.groups.set_settings(AT_ONCE);
            }
            ["join", version, group, who, rest @ ..] => {
                let request = self.join(number(&version[1..]), group, who, rest);
                self.ask(group, who, |world| world.join(request));
            }
            ["sync", group, who, generation, rest @ ..] => self.sync(group, who, generation, rest),
            ["heartbeat", group, who, generation, rest @ ..] => {
                let mut speaker = speaker(group, &self.id(group, who), number(generation));
                speaker.instance_id = option(rest, "instance").map(name);
                self.ask(group, who, |world| {
                    let token = world.token();
                    world.with(|groups, now, out| groups.heartbeat(now, token, speaker, out));
                    token
                });
            }
            ["leave", group, who @ ..] => self.leave(group, who),
            ["commit", group, who, generation, rest @ ..] => {
                self.commit(group, who, generation, rest);
            }
            ["txn-commit", producer, group, who, generation, rest @ ..] => {
                let mut request = commit_in_txn(group, number(producer), 0);
                request.membership = self.membership(group, who, generation);
                request.offsets = offsets(rest);
                self.ask(group, who, |world| world.commit_in_txn(request));
            }
            ["marker", producer, "commit"] => self.world.marker(number(producer), Outcome::Commit),
            ["marker", producer, "abort"] => self.world.marker(number(producer), Outcome::Abort),
            ["delete-offsets", group, rest @ ..] => {
                let partitions = rest
                    .iter()
                    .map(|word| partition(word))
                    .map(|(topic, p)| (name(topic), p))
                    .collect();
                let request = DeleteOffsets { group: name(group), partitions };
                self.ask(group, "admin", |world| {
                    let token = world.token();
                    world.with(|groups, now, out| groups.delete_offsets(now, token, request, out));
                    token
                });
            }
            ["delete-group", group] => {
                let group_name = name(group);
                self.ask(group, "admin", |world| {
                    let token = world.token();
                    world.with(|groups, now, out| groups.delete_group(now, token, group_name, out));
                    token
                });
            }
            other => self.look(other),
        }
        self.tell();
    }

    /// What asks nobody, or no member.
    fn look(&mut self, words: &[&str]) {
        match words {
            ["fetch", group, which] => self.fetch(group, which, Stability::NotRequired),
            ["fetch-stable", group, which] => self.fetch(group, which, Stability::Required),
            ["describe", group] => {
                let text = match self.world.groups.describe(&name(group)) {
                    Err(error) => refusal(&error),
                    Ok(d) => {
                        let members: Vec<_> = d
                            .members
                            .iter()
                            .map(|m| {
                                let given = String::from_utf8_lossy(&m.assignment).into_owned();
                                format!("{}:{given:?}", short(m.member_id.as_str()))
                            })
                            .collect();
                        format!(
                            "{} generation {} type {:?} protocol {:?} [{}]",
                            d.state,
                            d.generation,
                            d.protocol_type,
                            d.protocol_data,
                            members.join(" ")
                        )
                    }
                };
                writeln!(self.out, "  {text}").unwrap();
            }
            ["list"] => {
                for row in self.world.groups.list(&ListFilter::default()).unwrap() {
                    let kind = row.group_type.name();
                    writeln!(
                        self.out,
                        "  {:?} {kind} {:?} {}",
                        row.group, row.protocol_type, row.state
                    )
                    .unwrap();
                }
            }
            ["pass", ms] => self.world.pass(number(ms)),
            ["next"] => {
                let at = self.world.groups.next_deadline().unwrap().get();
                let ms = at - self.world.now;
                writeln!(self.out, "  after {ms} ms").unwrap();
                self.world.pass(ms.max(0));
            }
            ["hold"] => self.world.mood = LogMood::Slow,
            ["release"] => self.world.release(),
            ["fail", code] => {
                self.world.mood = LogMood::Willing;
                let code = *ErrorCode::ALL.iter().find(|known| known.name() == *code).unwrap();
                let held = self.world.held.pop_front().unwrap();
                self.world.with(|g, now, out| g.appended(now, held.write, Err(code), out));
            }
            ["reload"] => self.world.reload(),
            other => panic!("what is {other:?}?"),
        }
    }

    fn ask(&mut self, group: &str, who: &str, act: impl FnOnce(&mut World) -> u32) {
        let token = act(&mut self.world);
        self.asked.insert(token, (group.to_owned(), who.to_owned()));
    }

    fn join(&self, version: i16, group: &str, who: &str, rest: &[&str]) -> Join {
        let known = self.ids.get(&format!("{group}/{who}")).cloned().unwrap_or_else(Name::empty);
        let id = match option(rest, "id") {
            Some(id) => self.id(group, id),
            None if rest.contains(&"anew") => Name::empty(),
            None => known,
        };
        let protocols = option(rest, "protocols").unwrap_or("range:t");
        let protocols = protocols
            .split('|')
            .map(|protocol| {
                let (protocol, topics) = protocol.split_once(':').unwrap();
                let metadata = match topics.strip_prefix('!') {
                    Some(raw) => bytes(raw),
                    None => subscription(&topics.split(',').collect::<Vec<_>>()),
                };
                Protocol { name: name(protocol), metadata }
            })
            .collect();
        Join {
            instance_id: option(rest, "instance").map(name),
            session_timeout_ms: option(rest, "session").map_or(10_000, number),
            rebalance_timeout_ms: (version > 0)
                .then(|| option(rest, "rebalance").map_or(20_000, number)),
            protocol_type: name(option(rest, "type").unwrap_or("consumer")),
            protocols,
            new_members: if version > 3 {
                NewMembers::GetAnIdFirst
            } else {
                NewMembers::JoinAtOnce
            },
            skip_assignment: if version > 8 {
                SkipAssignment::Supported
            } else {
                SkipAssignment::Unsupported
            },
            ..join(group, who, &id)
        }
    }

    fn sync(&mut self, group: &str, who: &str, generation: &str, rest: &[&str]) {
        let mut speaker = speaker(group, &self.id(group, who), number(generation));
        speaker.instance_id = option(rest, "instance").map(name);
        let given: Vec<_> = rest
            .iter()
            .filter_map(|word| word.split_once(':'))
            .map(|(who, what)| (self.id(group, who), what))
            .collect();
        let given: Vec<_> = given.iter().map(|(id, what)| (id, *what)).collect();
        let request = sync(speaker, &given);
        self.ask(group, who, |world| world.sync(request));
    }

    /// `a` leaves, `-/i` removes instance i.
    fn leave(&mut self, group: &str, who: &[&str]) {
        let members = who
            .iter()
            .map(|word| {
                let (id, instance) = word.split_once('/').unwrap_or((word, ""));
                let instance_id = Some(instance).filter(|i| !i.is_empty()).map(name);
                Leaver { member_id: self.id(group, id), instance_id }
            })
            .collect();
        let request = Leave { group: name(group), members };
        self.ask(group, "leave", |world| {
            let token = world.token();
            world.with(|groups, now, out| groups.leave(now, token, request, out));
            token
        });
    }

    fn membership(&self, group: &str, who: &str, generation: &str) -> Membership {
        Membership {
            generation: number(generation),
            member_id: self.id(group, who),
            instance_id: None,
        }
    }

    fn commit(&mut self, group: &str, who: &str, generation: &str, rest: &[&str]) {
        let dialect =
            if rest.contains(&"v9") { CommitDialect::Epochs } else { CommitDialect::Generations };
        let request = Commit {
            membership: self.membership(group, who, generation),
            dialect,
            retention_ms: option(rest, "retention").map(number),
            offsets: offsets(rest),
            ..commit(group, 0)
        };
        self.ask(group, who, |world| world.commit(request));
    }

    fn fetch(&mut self, group: &str, which: &str, stability: Stability) {
        let (topic, p) = partition(which);
        let text = match self.world.fetch(group, topic, p, stability) {
            Ok(offset) => offset.to_string(),
            Err(code) => code.to_string(),
        };
        writeln!(self.out, "  {text}").unwrap();
    }
}

/// `t-0=5` is offset 5 of partition 0 of t.
fn offsets(words: &[&str]) -> Vec<NewOffset> {
    words
        .iter()
        .filter_map(|word| word.split_once('='))
        .filter(|(key, _)| key.contains('-'))
        .map(|(key, offset)| {
            let (topic, partition) = partition(key);
            let offset = Offset::new(number(offset));
            NewOffset { offset, ..new_offset(topic, partition, 0) }
        })
        .collect()
}

fn played(text: &str) -> String {
    let mut out = String::new();
    let mut case = Case::new();
    for line in text.lines() {
        if line.is_empty() || line.starts_with('=') {
            out.push_str(&std::mem::replace(&mut case, Case::new()).out);
            writeln!(out, "{line}").unwrap();
        } else if line.starts_with('#') {
            writeln!(case.out, "{line}").unwrap();
        } else if !line.starts_with(' ') {
            case.run(line);
        }
    }
    out + &case.out
}

#[test]
fn every_conversation_goes_as_written() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut count = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("consumer_") {
            continue; // of another language: consumer_scenarios.rs
        }
        let text = fs::read_to_string(&path).unwrap();
        let found = played(&text);
        if env::var_os("UPDATE_CASES").is_some() {
            fs::write(&path, &found).unwrap();
        } else {
            assert_eq!(found, text, "{}: UPDATE_CASES=1 writes it anew", path.display());
        }
        count += 1;
    }
    assert!(count >= 5, "the cases were not found");
}
