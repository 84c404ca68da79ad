//! `docs/damage.md` says what becomes of each damaged directory, here and in Apache Kafka 4.3.1. This renders the table from what
//! happens and compares; `UPDATE_DAMAGE=1` writes it. Where Kafka reads everything so does this log, and what it cannot read it
//! never passes over in silence.

#![allow(clippy::unwrap_used, reason = "a test fails where its ground is missing")]

mod fixture;

use std::{env, fmt::Write as _, fs, path::Path};

use fixture::{
    golden::{Unit, consume, read_unverified, units},
    options,
};
use hanbeon_log::{EpochFile, FsDir, Isolation, OpenPartition, OpenReport, Partition, Shutdown};
use hanbeon_records::{BatchRef, Millis, Offset};
use serde_json::Value;

const MODES: [&str; 3] = ["clean", "unclean", "scratch"];

/// What somebody who opens the directory and reads it all gets.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Got {
    /// Every record of the original, in both isolation levels.
    All,
    /// So many of them: of all, and of those committed.
    Some(u64, u64),
    /// Nothing, and it says so.
    Refused,
}

struct Outcome {
    got: Got,
    /// Whether anybody was told.
    told: Vec<String>,
}

impl Outcome {
    fn text(&self) -> String {
        let got = match &self.got {
            Got::All => "all".to_owned(),
            Got::Some(uncommitted, committed) => format!("{uncommitted} / {committed}"),
            Got::Refused => "nothing".to_owned(),
        };
        let told = if self.told.is_empty() { "silent".to_owned() } else { self.told.join(", ") };
        if self.got == Got::All && self.told.is_empty() { got } else { format!("{got}; {told}") }
    }
}

fn expected(unit: &Unit, key: &str) -> (u64, String) {
    let read = &unit.expect["original"][key];
    (read["count"].as_u64().unwrap(), read["sha256"].as_str().unwrap().to_owned())
}

fn open(
    unit: &Unit,
    dir: &FsDir,
    mode: &str,
) -> Result<(Partition<FsDir>, OpenReport), hanbeon_log::LogError> {
    let end = unit.expect["original"]["log_end_offset"].as_i64().unwrap();
    // Two units are about whose directory it is: there the topic has an id that the directory does not tell.
    let topic_id = match unit.name.as_str() {
        "damage-metadata-missing" | "damage-metadata-other" => Some("AAAAAAAAAAAAAAAAAAAAAQ"),
        _ => None,
    };
    let options = OpenPartition {
        shutdown: if mode == "clean" { Shutdown::Clean } else { Shutdown::Unclean },
        recovery_point: Offset::new(if mode == "scratch" { 0 } else { end }),
        topic_id: topic_id.map(|id| id.parse().unwrap()),
        now: Millis::new(0),
        ..options(&unit.config())
    };
    Partition::open(dir.clone(), options)
}

fn ours(unit: &Unit, mode: &str) -> Outcome {
    let (_guard, dir) = unit.copy();
    let Ok((log, report)) = open(unit, &dir, mode) else {
        return Outcome { got: Got::Refused, told: vec!["refused".to_owned()] };
    };
    let mut told = Vec::new();
    let mut tell = |is: bool, what: &str| told.extend(is.then(|| what.to_owned()));
    tell(report.truncated.is_some(), "cut reported");
    tell(!report.indexes_rebuilt.is_empty(), "indexes rebuilt");
    tell(!report.snapshots_ignored.is_empty(), "snapshots refused");
    tell(!report.leftovers.is_empty(), "left-overs finished");
    tell(report.epochs_rebuilt == EpochFile::Rebuilt, "epochs rebuilt");
    log.advance_high_watermark(log.log_end_offset());
    let start = log.log_start_offset();
    let mut read = |isolation| {
        let (batches, aborted) = read_unverified(&log, start, isolation);
        let sound = batches
            .iter()
            .take_while(|bytes| {
                BatchRef::parse(bytes).is_ok_and(|(batch, _)| batch.verify().is_ok())
            })
            .count();
        if sound < batches.len() && told.last().is_none_or(|last| last != "reader finds it") {
            told.push("reader finds it".to_owned());
        }
        let consumed = consume(&batches[..sound], start.get(), &aborted);
        (consumed.count, consumed.sha256)
    };
    let uncommitted = read(Isolation::Uncommitted);
    let committed = read(Isolation::Committed);
    let whole = told.last().is_none_or(|last| last != "reader finds it")
        && uncommitted == expected(unit, "read_uncommitted")
        && committed == expected(unit, "read_committed");
    let got = if whole { Got::All } else { Got::Some(uncommitted.0, committed.0) };
    Outcome { got, told }
}

fn kafka(unit: &Unit, mode: &str) -> Outcome {
    let seen = &unit.expect[format!("kafka_{mode}")];
    if seen["broker_started"] != true {
        return Outcome { got: Got::Refused, told: vec!["the whole broker stays down".to_owned()] };
    }
    let mut told = Vec::new();
    if seen["directories_renamed"].as_array().is_some_and(|renamed| !renamed.is_empty()) {
        told.push("directory set aside, an empty one in its place".to_owned());
    }
    let read = |key: &str| {
        let read = &seen[format!("consumer_{key}")];
        let sha256 = read["sha256"].as_str().unwrap_or_default().to_owned();
        (read["count"].as_u64().unwrap_or(0), sha256, read["error"].clone())
    };
    let (uncommitted, committed) = (read("read_uncommitted"), read("read_committed"));
    let stopped = uncommitted.2 != Value::Null || committed.2 != Value::Null;
    if stopped {
        told.push("reader finds it".to_owned());
    }
    let whole = !stopped
        && (uncommitted.0, uncommitted.1) == expected(unit, "read_uncommitted")
        && (committed.0, committed.1) == expected(unit, "read_committed");
    let got = if whole { Got::All } else { Got::Some(uncommitted.0, committed.0) };
    Outcome { got, told }
}

fn render() -> String {
    let mut page = String::from(HEAD);
    for unit in &units(|name| name.starts_with("damage-")) {
        let name = unit.name.trim_start_matches("damage-");
        for mode in MODES {
            let (ours, kafka) = (ours(unit, mode), kafka(unit, mode));
            let what = format!("{} {mode}", unit.name);
            // Never worse: what Kafka reads is read here, and what is missing here is never missing without a word.
            assert!(
                kafka.got != Got::All || ours.got == Got::All,
                "{what}: {ours} of all",
                ours = ours.text()
            );
            let silent = ours.got != Got::All && ours.told.is_empty();
            assert!(!silent, "{what}: {}", ours.text());
            writeln!(page, "| {name} | {mode} | {} | {} |", ours.text(), kafka.text()).unwrap();
        }
    }
    page
}

const HEAD: &str = "\
# Damaged directories

What becomes of the directories `tests/golden/damage-*`, each with one stated change, when they are opened here and in Apache Kafka 4.3.1.
`crates/log/tests/damage_table.rs` makes this table from what happens and fails where it differs (`UPDATE_DAMAGE=1` writes it).

- *clean*: the marker of a clean stop is there; *unclean*: it is not, and the recovery point is the log's end; *scratch*: nobody knows a recovery point.
- *all*: every record of the undamaged log, in both isolation levels. *n / m*: only so many in read_uncommitted / read_committed. *nothing*: the
  partition (in Kafka: the broker) does not open. *silent*: less than all, and nobody is told.
- Kafka's log lines are not counted as telling: nobody reads them before the offsets are given out again.

Kafka's faults that are not copied: a torn tail under a clean marker, a garbage index that lets aborted records through, an emptied log, a missing identity
that ends in an empty partition, an epoch file or a padded tail that keeps the whole broker down. Where no recovery point is
known, a cut at the very end cannot be told from a power cut: it is made and reported.

| damage | stop | here | Kafka |
|---|---|---|---|
";

#[test]
fn the_table_of_damages_says_what_happens_and_is_never_worse_than_kafkas() {
    let page = render();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/damage.md");
    if env::var_os("UPDATE_DAMAGE").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, page, "run with UPDATE_DAMAGE=1 and look at the difference");
}
