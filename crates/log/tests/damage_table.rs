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
use hanbeon_log::{
    EpochFile, FirstBatch, FsDir, Isolation, LogError, OpenPartition, OpenReport, Partition,
    Shutdown,
};
use hanbeon_records::{BatchRef, ErrorCode, Millis, Offset};
use serde_json::Value;

const MODES: [&str; 3] = ["clean", "unclean", "scratch"];

/// What somebody who opens the directory and reads it all gets.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Got {
    /// Every record of the original, in both isolation levels.
    All,
    /// So many of them: of all, and of those committed.
    Some(u64, u64),
    /// Nothing.
    Nothing,
}

struct Outcome {
    got: Got,
    /// What is said, each with where it was found.
    told: Vec<String>,
    /// What a client is answered that asks for each offset that the undamaged log had, and for its end.
    answers: String,
}

impl Outcome {
    fn reads(&self) -> String {
        match &self.got {
            Got::All => "all".to_owned(),
            Got::Some(uncommitted, committed) => format!("{uncommitted} / {committed}"),
            Got::Nothing => "nothing".to_owned(),
        }
    }

    fn reports(&self) -> String {
        match (&self.got, self.told.is_empty()) {
            (Got::All, true) => "-".to_owned(),
            (Got::Some(..) | Got::Nothing, true) => "**silent**".to_owned(),
            (_, false) => self.told.join("; "),
        }
    }
}

/// Kafka's name of the code.
fn name(code: ErrorCode) -> String {
    format!("{code}")
}

/// What is answered where the log ends at `end` now and ended at `was` before.
fn answers_below(end: i64, was: i64) -> String {
    if end < was {
        format!("{}, above {end} {}", name(ErrorCode::None), name(ErrorCode::OffsetOutOfRange))
    } else {
        name(ErrorCode::None)
    }
}

/// File and byte, without the directory, which is another one each time.
fn place(file: &str, at: u64) -> String {
    let file = file.rsplit('/').next().unwrap_or(file);
    format!("`{file}` at {at}")
}

fn expected(unit: &Unit, key: &str) -> (u64, String) {
    let read = &unit.expect["original"][key];
    (read["count"].as_u64().unwrap(), read["sha256"].as_str().unwrap().to_owned())
}

fn open(unit: &Unit, dir: &FsDir, mode: &str) -> Result<(Partition<FsDir>, OpenReport), LogError> {
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

/// What the report of an opening says, in words.
fn reported(report: &OpenReport) -> Vec<String> {
    let mut told = Vec::new();
    if let Some(cut) = &report.truncated {
        told.push(format!(
            "cut at {}, {} bytes, log ends at {}",
            place(&cut.cause.file, cut.cause.at),
            cut.bytes,
            cut.end_offset
        ));
    }
    let mut list = |what: &str, files: &[String]| {
        let files: Vec<_> = files.iter().map(|file| format!("`{file}`")).collect();
        told.extend((!files.is_empty()).then(|| format!("{what} {}", files.join(", "))));
    };
    list("rebuilt", &report.indexes_rebuilt);
    list("finished", &report.leftovers);
    for bad in &report.snapshots_ignored {
        told.push(format!("left out {}", place(&bad.file, bad.at)));
    }
    if report.epochs_rebuilt == EpochFile::Rebuilt {
        told.push("rebuilt `leader-epoch-checkpoint`".to_owned());
    }
    told
}

/// Where a refusal says that the fault is.
#[expect(clippy::wildcard_enum_match_arm, reason = "any other one fails the test")]
fn refused_at(error: &LogError) -> String {
    match error {
        LogError::Corrupt(cause) | LogError::NotTorn { cause, .. } => {
            format!("refused: {}", place(&cause.file, cause.at))
        }
        LogError::MissingTopicId { .. } => "refused: no `partition.metadata`".to_owned(),
        LogError::ForeignTopic { found, .. } => {
            format!("refused: `partition.metadata` names topic id {found}")
        }
        other => panic!("a refusal that tells no place: {other}"),
    }
}

fn ours(unit: &Unit, mode: &str) -> Outcome {
    let (_guard, dir) = unit.copy();
    let was = unit.expect["original"]["log_end_offset"].as_i64().unwrap();
    let (log, report) = match open(unit, &dir, mode) {
        Ok(opened) => opened,
        Err(error) => {
            let (told, answers) = (vec![refused_at(&error)], name(error.code()));
            return Outcome { got: Got::Nothing, told, answers };
        }
    };
    let mut told = reported(&report);
    log.advance_high_watermark(log.log_end_offset());
    let start = log.log_start_offset();
    let mut broken = None;
    let mut read = |isolation| {
        let (batches, aborted) = read_unverified(&log, start, isolation);
        let unsound = batches.iter().position(|bytes| {
            !BatchRef::parse(bytes).is_ok_and(|(batch, _)| batch.verify().is_ok())
        });
        if let Some(at) = unsound {
            broken = Some(BatchRef::parse(&batches[at]).unwrap().0.base_offset());
        }
        let consumed = consume(&batches[..unsound.unwrap_or(batches.len())], start.get(), &aborted);
        (consumed.count, consumed.sha256)
    };
    let uncommitted = read(Isolation::Uncommitted);
    let committed = read(Isolation::Committed);
    let whole = broken.is_none()
        && uncommitted == expected(unit, "read_uncommitted")
        && committed == expected(unit, "read_committed");
    told.extend(broken.map(|offset| format!("checksum at its reader, batch {offset}")));
    let got = if whole { Got::All } else { Got::Some(uncommitted.0, committed.0) };
    Outcome { got, told, answers: fetched(&log, was) }
}

/// What a Fetch from each offset is answered, up to the end that the undamaged log had.
fn fetched(log: &Partition<FsDir>, was: i64) -> String {
    let end = log.log_end_offset().get();
    for offset in log.log_start_offset().get()..=was {
        let read = log.read(Offset::new(offset), Isolation::Uncommitted, 1, FirstBatch::Whole);
        let code = read.map_or_else(|error| error.code(), |_| ErrorCode::None);
        let expected = if offset > end { ErrorCode::OffsetOutOfRange } else { ErrorCode::None };
        assert_eq!(code, expected, "offset {offset} of a log that ends at {end}");
    }
    answers_below(end, was)
}

fn kafka(unit: &Unit, mode: &str) -> Outcome {
    let nothing = |told: &str, answers: &str| Outcome {
        got: Got::Nothing,
        told: vec![told.to_owned()],
        answers: answers.to_owned(),
    };
    let seen = &unit.expect[format!("kafka_{mode}")];
    if seen.is_null() {
        return nothing("not tried", "-");
    }
    if seen["broker_started"] != true {
        return nothing("the whole broker stays down", "no connection");
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
        told.push("checksum at its reader".to_owned());
    }
    let whole = !stopped
        && (uncommitted.0, uncommitted.1) == expected(unit, "read_uncommitted")
        && (committed.0, committed.1) == expected(unit, "read_committed");
    let got = if whole { Got::All } else { Got::Some(uncommitted.0, committed.0) };
    let end = seen["consumer_read_uncommitted"]["end_offset"].as_i64().unwrap();
    let was = unit.expect["original"]["log_end_offset"].as_i64().unwrap();
    Outcome { got, told, answers: answers_below(end, was) }
}

fn render() -> String {
    let mut page = String::from(HEAD);
    for unit in &units(|name| name.starts_with("damage-")) {
        let name = unit.name.trim_start_matches("damage-");
        for mode in MODES {
            let (ours, kafka) = (ours(unit, mode), kafka(unit, mode));
            let what = format!("{} {mode}", unit.name);
            // Never worse: what Kafka reads is read here, and what is missing here is never missing without a word.
            assert!(kafka.got != Got::All || ours.got == Got::All, "{what}: {}", ours.reads());
            assert!(ours.got == Got::All || !ours.told.is_empty(), "{what}: {}", ours.reads());
            let row = [&ours, &kafka]
                .map(|side| format!("{} | {} | {}", side.reads(), side.reports(), side.answers));
            writeln!(page, "| {name} | {mode} | {} |", row.join(" | ")).unwrap();
        }
    }
    page
}

const HEAD: &str = "\
# Damaged directories

What becomes of the directories `tests/golden/damage-*`, each with one stated change, when they are opened here and in Apache Kafka 4.3.1.
`crates/log/tests/damage_table.rs` makes this table from what happens and fails where it differs (`UPDATE_DAMAGE=1` writes it).

- *clean*: the marker of a clean stop is there; *unclean*: it is not, and the recovery point is the log's end; *scratch*: nobody knows a recovery point.
- *reads*: *all* is every record of the undamaged log, in both isolation levels; *n / m* only so many in read_uncommitted / read_committed; *nothing*: the
  partition (in Kafka: the broker) does not open.
- *reports*: file and byte where the fault was found, or the file that was made anew; *silent*: less than all, and nobody is told.
  Kafka's log lines are not counted as telling: nobody reads them before the offsets are given out again.
- *answers*: the code of a Fetch from each offset of the undamaged log, its end included. A partition that does not open gives the code to every request.
  Kafka's is that of the end offset which its consumers were told.

Kafka's faults that are not copied: a torn tail under a clean marker, a garbage index that lets aborted records through, an emptied log, a missing identity
that ends in an empty partition, an epoch file or a padded tail that keeps the whole broker down. Where no recovery point is
known, a cut at the very end cannot be told from a power cut: it is made and reported.

| damage | stop | reads | reports | answers | Kafka reads | Kafka reports | Kafka answers |
|---|---|---|---|---|---|---|---|
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
