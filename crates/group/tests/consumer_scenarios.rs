//! Scenarios of KIP-848 groups: `tests/cases/consumer_*.txt` hold commands (`$`) and what they lead to.
//! `UPDATE_CASES=1 cargo test -p hanbeon-group --test consumer_scenarios` writes the outcomes anew; read the difference like code.

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

mod consumer_world;

use std::{collections::BTreeMap, fmt::Write as _, fs, path::PathBuf};

use consumer_world::{World, beat, join};
use hanbeon_group::{
    consumer::record::{AssignedPartitions, ConsumerRecord, CurrentAssignment},
    consumer::{
        Assignor, CommitApi, CommitClaim, Heartbeat, HeartbeatDecision, Partitions, Timer,
        TopicsImage,
    },
};

type Words<'a> = BTreeMap<&'a str, &'a str>;

fn run(world: &mut World, command: &str) -> String {
    let mut words = command.split_whitespace();
    let verb = words.next().unwrap();
    let plain: Vec<&str> = words.clone().filter(|word| !word.contains('=')).collect();
    let named: Words<'_> = words.filter_map(|word| word.split_once('=')).collect();
    match verb {
        "topic" => {
            world.topic(plain[0], plain[1].parse().unwrap());
            String::new()
        }
        "untopic" => {
            world.topics.remove(plain[0]);
            String::new()
        }
        "set" => {
            set(world, &named);
            String::new()
        }
        "join" => heartbeat(world, &with(world, join(plain[0], &[]), &named)),
        "beat" => heartbeat(world, &with(world, beat(plain[0], 0), &named)),
        "leave" => heartbeat(world, &with(world, beat(plain[0], -1), &named)),
        "away" => heartbeat(world, &with(world, beat(plain[0], -2), &named)),
        "after" => {
            let mut out = String::new();
            for (member_id, kind, departure) in world.pass(plain[0].parse().unwrap()) {
                writeln!(out, "{kind:?} timer of {member_id}").unwrap();
                show_records(world, &departure.records, &mut out);
            }
            out
        }
        "reload" => {
            world.reload();
            let names: Vec<_> =
                world.timers.keys().map(|(id, kind)| format!("{id} {kind:?}")).collect();
            format!("timers: {}\n", names.join(", "))
        }
        "describe" => describe(world),
        "commit" => commit(world, &plain, &named),
        "subscribed" => format!("{}\n", world.group.is_subscribed(plain[0])),
        "remove" => {
            let mut out = String::new();
            let records = world.group.remove();
            show_records(world, &records, &mut out);
            world.carry_out(&records, &[]);
            writeln!(out, "gone: {}", world.group.is_gone()).unwrap();
            out
        }
        other => panic!("unknown command {other}"),
    }
}

fn set(world: &mut World, named: &Words<'_>) {
    for (key, value) in named {
        match *key {
            "interval" => world.settings.assignment_interval_ms = value.parse().unwrap(),
            "max" => world.settings.max_size = value.parse().unwrap(),
            "default" => world.settings.assignors.default = Assignor::from_name(value).unwrap(),
            other => panic!("unknown setting {other}"),
        }
    }
}

fn with(world: &World, mut request: Heartbeat, named: &Words<'_>) -> Heartbeat {
    for (key, value) in named {
        let text = Some(String::from(*value));
        match *key {
            "epoch" => request.member_epoch = value.parse().unwrap(),
            "names" => {
                let names = value.split(',').filter(|name| !name.is_empty());
                request.subscribed_topic_names = Some(names.map(String::from).collect());
            }
            "regex" => request.subscribed_topic_regex = text,
            "timeout" => request.rebalance_timeout_ms = value.parse().unwrap(),
            "owned" => request.owned = Some(world.partitions(value)),
            "instance" => request.instance_id = text,
            "rack" => request.rack_id = text,
            "assignor" => request.server_assignor = text,
            "version" => request.version = value.parse().unwrap(),
            other => panic!("unknown field {other}"),
        }
    }
    request
}

fn heartbeat(world: &mut World, request: &Heartbeat) -> String {
    match world.heartbeat(request) {
        Ok(decision) => show(world, &decision),
        Err(error) => format!("{}: {error}\n", error.code()),
    }
}

fn show(world: &World, decision: &HeartbeatDecision) -> String {
    let reply = &decision.reply;
    let assignment = reply.assignment.as_ref().map_or_else(|| "null".into(), |a| world.show(a));
    let mut out = format!("{} epoch {}: {assignment}\n", reply.member_id, reply.member_epoch);
    show_records(world, &decision.records, &mut out);
    for timer in &decision.timers {
        match timer {
            Timer::Session { .. } => Ok(()), // at each heartbeat
            Timer::Rebalance { member_id, member_epoch, after_ms } => {
                writeln!(
                    out,
                    "  timer: {member_id} must give up at epoch {member_epoch} in {after_ms} ms"
                )
            }
            Timer::CancelRebalance { member_id } => {
                writeln!(out, "  timer: {member_id} rebalance off")
            }
            Timer::Join { .. }
            | Timer::Sync { .. }
            | Timer::CancelJoin { .. }
            | Timer::CancelSync { .. } => panic!("no member speaks the classic protocol here"),
            Timer::Cancel { member_id } => writeln!(out, "  timer: {member_id} all off"),
        }
        .unwrap();
    }
    out
}

fn held(world: &World, topics: &[AssignedPartitions]) -> String {
    let mut out = Vec::new();
    for topic in topics {
        for (partition, since) in
            topic.partitions.iter().zip(topic.assignment_epochs.iter().flatten())
        {
            out.push(format!("{}:{partition}@{since}", world.name(topic.topic_id)));
        }
    }
    if out.is_empty() { "nothing".into() } else { out.join(" ") }
}

fn current(world: &World, value: &CurrentAssignment) -> String {
    let state = ["STABLE", "UNREVOKED", "UNRELEASED"][usize::try_from(value.state).unwrap()];
    let mut text = format!(
        "epoch {} (was {}) {state} has {}",
        value.member_epoch,
        value.previous_member_epoch,
        held(world, &value.assigned)
    );
    if !value.pending_revocation.is_empty() {
        write!(text, ", gives up {}", held(world, &value.pending_revocation)).unwrap();
    }
    text
}

fn show_records(world: &World, records: &[ConsumerRecord], out: &mut String) {
    for record in records {
        let tombstone = || String::from("-");
        let (kind, text) = match record {
            ConsumerRecord::GroupEpoch { value, .. } => (
                3,
                value.map_or_else(tombstone, |v| {
                    format!(
                        "epoch {}{}",
                        v.epoch,
                        if v.metadata_hash == 0 { ", no topics" } else { "" }
                    )
                }),
            ),
            ConsumerRecord::PartitionMetadata { .. } => (4, tombstone()),
            ConsumerRecord::Member { member_id, value, .. } => {
                let text = value.as_ref().map_or_else(tombstone, |v| {
                    format!(
                        "names {:?} regex {:?} instance {:?}",
                        v.subscribed_topic_names,
                        v.subscribed_topic_regex.as_deref().unwrap_or_default(),
                        v.instance_id
                    )
                });
                (5, format!("{member_id} {text}"))
            }
            ConsumerRecord::TargetEpoch { value, .. } => {
                (6, value.map_or_else(tombstone, |v| format!("epoch {}", v.assignment_epoch)))
            }
            ConsumerRecord::TargetAssignment { member_id, value, .. } => {
                let text = value
                    .as_ref()
                    .map_or_else(tombstone, |v| world.show(&Partitions::from(v.as_slice())));
                (7, format!("{member_id} {text}"))
            }
            ConsumerRecord::CurrentAssignment { member_id, value, .. } => {
                let text = value.as_ref().map_or_else(tombstone, |v| current(world, v));
                (8, format!("{member_id} {text}"))
            }
            ConsumerRecord::ResolvedRegex { regex, value, .. } => {
                let text = value.as_ref().map_or_else(tombstone, |v| v.topics.join(","));
                (16, format!("{regex} {text}"))
            }
        };
        writeln!(out, "  {kind}: {text}").unwrap();
    }
}

fn describe(world: &World) -> String {
    let told = world.group.describe(&world.topics, &world.settings);
    let mut out = format!(
        "{} epoch {} assignment epoch {} {}\n",
        told.state.name(),
        told.group_epoch,
        told.assignment_epoch,
        told.assignor_name
    );
    for member in told.members {
        let list = |topics: &[hanbeon_group::consumer::TopicAssignment]| {
            let set: Partitions = topics
                .iter()
                .flat_map(|topic| topic.partitions.iter().map(|p| (topic.topic_id, *p)))
                .collect();
            world.show(&set)
        };
        writeln!(
            out,
            "  {} instance {:?} rack {:?} epoch {} {}@{} names {:?} regex {:?} has {} target {} type {}",
            member.member_id,
            member.instance_id,
            member.rack_id,
            member.member_epoch,
            member.client_id,
            member.client_host,
            member.subscribed_topic_names,
            member.subscribed_topic_regex,
            list(&member.assignment),
            list(&member.target_assignment),
            member.member_type.number()
        ).unwrap();
    }
    out
}

fn commit(world: &World, plain: &[&str], named: &Words<'_>) -> String {
    let version = named.get("version").map_or(9, |version| version.parse().unwrap());
    let api = if named.contains_key("txn") {
        CommitApi::TxnOffsetCommit
    } else {
        CommitApi::OffsetCommit { version }
    };
    let claim = CommitClaim {
        member_id: if plain[0] == "-" { "" } else { plain[0] },
        instance_id: None,
        member_epoch: named["epoch"].parse().unwrap(),
        api,
    };
    let rule = match world.group.check_commit(&claim) {
        Ok(rule) => rule,
        Err(error) => return format!("{}: {error}\n", error.code()),
    };
    let mut out = String::new();
    for spec in &plain[1..] {
        let (name, partition) = spec.split_once(':').unwrap();
        let topic = world.topics.topic(name).unwrap().id;
        let verdict = match rule.admits(topic, partition.parse().unwrap()) {
            Ok(()) => "yes".into(),
            Err(error) => error.code().to_string(),
        };
        writeln!(out, "{spec} {verdict}").unwrap();
    }
    out
}

/// Runs a file's commands and returns the file with what they led to.
fn played(text: &str) -> String {
    let mut world = World::new();
    let mut out = String::new();
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            writeln!(out, "{line}").unwrap();
            out.push_str(&run(&mut world, command));
        } else if line.starts_with('#') || line.is_empty() {
            writeln!(out, "{line}").unwrap();
        }
    }
    out
}

#[test]
fn scenarios_lead_where_they_say() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut wrong = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !name.starts_with("consumer_") {
            continue;
        }
        count += 1;
        let expected = fs::read_to_string(&path).unwrap();
        let found = played(&expected);
        if std::env::var_os("UPDATE_CASES").is_some() {
            fs::write(&path, found).unwrap();
        } else if found != expected {
            let differs = |(ours, theirs): &(&str, &str)| ours != theirs;
            let (at, pair) = found
                .lines()
                .zip(expected.lines())
                .enumerate()
                .find(|(_, pair)| differs(pair))
                .unwrap_or((0, ("(another length)", "")));
            wrong.push(format!("{name}:{}: {:?}, expected {:?}", at + 1, pair.0, pair.1));
        }
    }
    assert!(count >= 8, "only {count} scenarios were found");
    assert!(wrong.is_empty(), "UPDATE_CASES=1 writes them anew\n{}", wrong.join("\n"));
}
