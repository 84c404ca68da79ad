//! Opens partition directories that are damaged in one stated way, and holds what the log reads,
//! reports and answers against the undamaged original and against what Kafka made of the same bytes.
//!
//! The table is also in `docs/damage.md`, in words.

#![allow(clippy::unwrap_used, reason = "a test fails where its ground is missing")]

mod fixture;

use fixture::{
    golden::{Unit, consume, read_all, units},
    options,
};
use hanbeon_log::{
    EpochFile, FsDir, Isolation, LogError, OpenPartition, OpenReport, Partition, Shutdown,
};
use hanbeon_records::{Millis, Offset};

/// How a directory is opened: as in the three starts of Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// The marker of a clean stop is there.
    Clean,
    /// It is not; the recovery point is the log's end.
    Unclean,
    /// It is not, and nobody knows a recovery point.
    Scratch,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Everything of the original is read.
    Whole,
    /// Opened, and the one damaged batch is found by its reader.
    FoundByReader,
    /// The log ends here now, and the report says what was cut and why.
    Cut(i64),
    /// Opened with this end: nothing in the directory says that there was more.
    Ends(i64),
    /// Not opened, nothing changed; the message names this.
    Refused(&'static str),
}

const MODES: [Mode; 3] = [Mode::Clean, Mode::Unclean, Mode::Scratch];

fn fates(unit: &str) -> [Fate; 3] {
    use Fate::{Cut, Ends, FoundByReader, Refused, Whole};
    match unit {
        "damage-empty-log" => {
            [Refused("00000000000000000027.log"), Refused("00000000000000000027.log"), Ends(27)]
        }
        "damage-flip-active" => {
            [Refused("00000000000000000024.log"), Refused("00000000000000000024.log"), Cut(42)]
        }
        "damage-flip-sealed" => [
            FoundByReader,
            FoundByReader,
            Refused("00000000000000000000.log is damaged at byte 937"),
        ],
        "damage-torn-header" => {
            [Refused("00000000000000000025.log"), Refused("00000000000000000025.log"), Cut(35)]
        }
        "damage-torn-tail" => {
            [Refused("00000000000000000022.log"), Refused("00000000000000000022.log"), Cut(31)]
        }
        "damage-metadata-missing" => [Refused("partition.metadata"); 3],
        "damage-metadata-other" => [Refused("belongs to topic id"); 3],
        _ => [Whole; 3],
    }
}

fn open(unit: &Unit, dir: &FsDir, mode: Mode) -> Result<(Partition<FsDir>, OpenReport), LogError> {
    let end = Offset::new(unit.expect["original"]["log_end_offset"].as_i64().unwrap());
    let topic_id = topic_id(unit);
    let options = OpenPartition {
        shutdown: if mode == Mode::Clean { Shutdown::Clean } else { Shutdown::Unclean },
        recovery_point: if mode == Mode::Scratch { Offset::ZERO } else { end },
        topic_id: Some(topic_id.parse().unwrap()),
        now: Millis::new(0),
        ..options(&unit.config())
    };
    Partition::open(dir.clone(), options)
}

/// The id of the topic, which for two units the directory itself does not tell any more.
fn topic_id(unit: &Unit) -> String {
    if let Some(id) = unit.expect["topic_id"].as_str() {
        return id.to_owned();
    }
    let file = unit.path.join(unit.expect["dir"].as_str().unwrap()).join("partition.metadata");
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let id = text.lines().find_map(|line| line.strip_prefix("topic_id: ").map(str::to_owned));
    match id {
        Some(id) if unit.name != "damage-metadata-other" => id,
        _ => "AAAAAAAAAAAAAAAAAAAAAQ".to_owned(),
    }
}

fn files(dir: &std::path::Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    files
}

fn check_whole(unit: &Unit, mode: Mode, log: &Partition<FsDir>) {
    let what = format!("{} {mode:?}", unit.name);
    let original = &unit.expect["original"];
    let number = |key: &str| original[key].as_i64().unwrap();
    assert_eq!(log.log_end_offset().get(), number("log_end_offset"), "{what}: end");
    log.advance_high_watermark(log.log_end_offset());
    assert_eq!(log.last_stable_offset().get(), number("last_stable_offset"), "{what}: stable");
    let epochs: Vec<_> = log
        .leader_epochs()
        .iter()
        .map(|e| serde_json::json!([e.epoch.get(), e.start_offset.get()]))
        .collect();
    assert_eq!(epochs, *original["leader_epochs"].as_array().unwrap(), "{what}: epochs");
    let start = log.log_start_offset();
    for (key, isolation) in
        [("read_uncommitted", Isolation::Uncommitted), ("read_committed", Isolation::Committed)]
    {
        let (batches, aborted) = read_all(log, start, isolation);
        let found = consume(&batches, start.get(), &aborted);
        assert_eq!(found.count, original[key]["count"].as_u64().unwrap(), "{what}: {key}");
        assert_eq!(found.sha256, original[key]["sha256"].as_str().unwrap(), "{what}: {key}");
    }
}

#[test]
fn damage_is_noticed_and_never_repaired_in_silence() {
    let units = units(|name| name.starts_with("damage-"));
    assert!(units.len() > 20);
    for unit in &units {
        for (mode, fate) in MODES.into_iter().zip(fates(&unit.name)) {
            let what = format!("{} {mode:?}", unit.name);
            let (guard, dir) = unit.copy();
            let before = files(guard.path());
            let opened = open(unit, &dir, mode);
            match (fate, opened) {
                (Fate::Whole, Ok((log, report))) => {
                    check_whole(unit, mode, &log);
                    check_report(unit, &report);
                    // What was put right stays so.
                    drop(log);
                    let (log, _) = open(unit, &dir, mode).unwrap();
                    check_whole(unit, mode, &log);
                }
                (Fate::FoundByReader, Ok((log, _))) => {
                    let end = unit.expect["original"]["log_end_offset"].as_i64().unwrap();
                    assert_eq!(log.log_end_offset().get(), end, "{what}");
                }
                (Fate::Cut(end), Ok((log, report))) => {
                    assert_eq!(log.log_end_offset().get(), end, "{what}");
                    let cut = report.truncated.unwrap_or_else(|| panic!("{what}: no report"));
                    assert_eq!(cut.end_offset.get(), end, "{what}");
                }
                (Fate::Ends(end), Ok((log, _))) => {
                    assert_eq!(log.log_end_offset().get(), end, "{what}");
                }
                (Fate::Refused(names), Err(error)) => {
                    assert!(error.to_string().contains(names), "{what}: {error}");
                    assert_eq!(files(guard.path()), before, "{what}: changed though refused");
                }
                (fate, opened) => {
                    panic!("{what}: {fate:?}, but {:?}", opened.map(|(_, report)| report));
                }
            }
        }
    }
}

fn check_report(unit: &Unit, report: &OpenReport) {
    let what = &unit.name;
    match what.as_str() {
        "damage-epoch-garbage" | "damage-epoch-missing" => {
            assert_eq!(report.epochs_rebuilt, EpochFile::Rebuilt, "{what}");
        }
        "damage-zero-tail" => {
            assert_eq!(report.truncated.as_ref().map(|cut| cut.bytes), Some(4096), "{what}");
        }
        "damage-index-garbage"
        | "damage-index-missing"
        | "damage-index-short"
        | "damage-timeindex-garbage"
        | "damage-timeindex-missing"
        | "damage-txnindex-bad"
        | "damage-txnindex-torn" => {
            // After an unclean stop without a recovery point all are made anew and none is worth a word.
            let quiet = report.bytes_checked > 0 && report.indexes_rebuilt.is_empty();
            assert!(quiet || !report.indexes_rebuilt.is_empty(), "{what}: {report:?}");
        }
        "damage-snapshot-ahead" | "damage-snapshot-bad-crc" => {
            assert!(
                !report.snapshots_ignored.is_empty() || report.bytes_checked > 0,
                "{what}: {report:?}"
            );
        }
        "damage-orphan-index"
        | "damage-stray-cleaned-swap"
        | "damage-stray-files"
        | "damage-swap-complete" => assert!(!report.leftovers.is_empty(), "{what}: {report:?}"),
        _ => panic!("no expectation for {what}"),
    }
}
