//! `hanbeon dump` on every directory that Apache Kafka left for us, held against what must be found there, field by field.
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;
use sha2::{Digest, Sha256};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden");

/// Damaged units: where the damage must be told of, and which fields the damage itself changes.
const DAMAGED: [(&str, &str, u64, &[&str]); 22] = {
    const LOST_TAIL: &[&str] = &[
        "log_end_offset",
        "last_stable_offset",
        "open_transactions",
        "aborted_transactions",
        "read_uncommitted",
        "read_committed",
        "batches",
        "segments",
    ];
    [
        ("damage-empty-log", "00000000000000000027.log", 0, LOST_TAIL),
        ("damage-epoch-garbage", "leader-epoch-checkpoint", 0, &[]),
        ("damage-epoch-missing", "leader-epoch-checkpoint", 0, &[]),
        (
            "damage-flip-active",
            "00000000000000000024.log",
            1354,
            &["last_stable_offset", "open_transactions", "read_committed", "batches"],
        ),
        ("damage-flip-sealed", "00000000000000000000.log", 937, &["read_uncommitted", "batches"]),
        ("damage-index-garbage", "00000000000000000000.index", 0, &["segments"]),
        ("damage-index-missing", "00000000000000000000.index", 0, &["segments"]),
        ("damage-index-short", "00000000000000000000.index", 40, &["segments"]),
        ("damage-metadata-missing", "partition.metadata", 0, &[]),
        ("damage-orphan-index", "00000000000000000777.index", 0, &[]),
        ("damage-snapshot-ahead", "00000000000000000085.snapshot", 0, &["snapshots"]),
        ("damage-snapshot-bad-crc", "00000000000000000033.snapshot", 0, &["snapshots"]),
        ("damage-stray-cleaned-swap", "00000000000000000000.log.cleaned", 0, &[]),
        ("damage-stray-files", "00000000000000000777.log.deleted", 0, &[]),
        ("damage-swap-complete", "00000000000000000000.log.swap", 0, &[]),
        ("damage-timeindex-garbage", "00000000000000000000.timeindex", 0, &["segments"]),
        ("damage-timeindex-missing", "00000000000000000000.timeindex", 0, &["segments"]),
        ("damage-torn-header", "00000000000000000025.log", 780, LOST_TAIL),
        ("damage-torn-tail", "00000000000000000022.log", 515, LOST_TAIL),
        ("damage-txnindex-bad", "00000000000000000025.txnindex", 0, &["segments"]),
        ("damage-txnindex-torn", "00000000000000000000.txnindex", 34, &[]),
        ("damage-zero-tail", "00000000000000000024.log", 334, &["segments"]),
    ]
};

/// Another topic's id in `partition.metadata` is a sound file of its own; only a broker knows better.
const NOT_TO_BE_SEEN: &str = "damage-metadata-other";

/// What the directory tells, of all that an `expect.json` holds.
const FIELDS: [&str; 12] = [
    "topic_id",
    "log_start_offset",
    "log_end_offset",
    "last_stable_offset",
    "leader_epochs",
    "open_transactions",
    "aborted_transactions",
    "read_uncommitted",
    "read_committed",
    "segments",
    "batches",
    "snapshots",
];

struct Unit {
    name: String,
    dir: PathBuf,
    expect: Value,
    checkpoints: tempfile::TempDir,
}

fn hanbeon(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hanbeon")).args(arguments).output().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// All units, each with its checkpoint files. Where the directory has none beside it, the one that matters is made of what is expected.
fn units() -> Vec<Unit> {
    let mut units = Vec::new();
    for entry in fs::read_dir(GOLDEN).unwrap() {
        let path = entry.unwrap().path();
        let Ok(bytes) = fs::read(path.join("expect.json")) else { continue };
        let expect: Value = serde_json::from_slice(&bytes).unwrap();
        let dir = path.join(expect["dir"].as_str().unwrap());
        let checkpoints = tempfile::tempdir().unwrap();
        if let Ok(files) = fs::read_dir(path.join("data-dir")) {
            for file in files {
                let file = file.unwrap();
                fs::copy(file.path(), checkpoints.path().join(file.file_name())).unwrap();
            }
        } else if let Some(start) = expect["log_start_checkpoint"].as_i64() {
            let topic = expect["topic"].as_str().unwrap();
            let line = format!("0\n1\n{topic} {} {start}\n", expect["partition"]);
            fs::write(checkpoints.path().join("log-start-offset-checkpoint"), line).unwrap();
        }
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        units.push(Unit { name, dir, expect, checkpoints });
    }
    units.sort_by(|one, other| one.name.cmp(&other.name));
    assert!(units.len() > 50, "{} units in {GOLDEN}", units.len());
    units
}

/// Names, lengths and bytes of everything in a directory.
fn fingerprint(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| (path.clone(), Sha256::digest(fs::read(&path).unwrap()).to_vec())).collect()
}

/// Dumps a unit as JSON and makes sure that nothing was changed.
fn dump(unit: &Unit) -> (i32, Value) {
    let before = fingerprint(&unit.dir);
    let output = hanbeon(&[
        "dump",
        "--json",
        "--checkpoints",
        text(unit.checkpoints.path()),
        text(&unit.dir),
    ]);
    assert_eq!(fingerprint(&unit.dir), before, "{}: changed on disk", unit.name);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(errors, "", "{}", unit.name);
    assert!(output.stdout.ends_with(b"}\n"), "{}", unit.name);
    (output.status.code().unwrap(), serde_json::from_slice(&output.stdout).unwrap())
}

/// Whether all that is wanted is there; the expectation may know less than we do.
fn same(wanted: &Value, found: &Value, at: &str) {
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => {
            for (name, value) in wanted {
                let at = format!("{at}.{name}");
                same(value, found.get(name).unwrap_or_else(|| panic!("{at} is missing")), &at);
            }
        }
        (Value::Array(wanted), Value::Array(found)) => {
            assert_eq!(found.len(), wanted.len(), "{at}: {found:?}");
            for (place, (wanted, found)) in wanted.iter().zip(found).enumerate() {
                same(wanted, found, &format!("{at}[{place}]"));
            }
        }
        _ => assert_eq!(found, wanted, "{at}"),
    }
}

#[test]
fn every_sound_directory_holds_what_kafka_says_it_holds() {
    let mut seen = 0;
    for unit in units().iter().filter(|unit| !unit.name.starts_with("damage-")) {
        let (status, found) = dump(unit);
        for field in FIELDS {
            same(&unit.expect[field], &found[field], &format!("{}: {field}", unit.name));
        }
        assert_eq!(found.get("damage"), None, "{}", unit.name);
        assert_eq!(status, 0, "{}", unit.name);
        seen += 1;
    }
    assert!(seen >= 31, "{seen}");
}

#[test]
fn damage_is_told_with_file_and_place_and_hides_nothing_else() {
    for unit in units().iter().filter(|unit| unit.name.starts_with("damage-")) {
        let (status, found) = dump(unit);
        if unit.name == NOT_TO_BE_SEEN {
            assert_eq!((status, found.get("damage")), (0, None));
            continue;
        }
        let row = DAMAGED.iter().find(|(name, ..)| *name == unit.name);
        let (_, file, at, lost) = row.unwrap_or_else(|| panic!("{} is not told of", unit.name));
        let damage = found["damage"].as_array().unwrap();
        let named = damage.iter().any(|one| one["file"] == *file && one["offset"] == *at);
        assert!(named, "{}: {damage:?}", unit.name);
        assert!(damage.iter().all(|one| !one["what"].as_str().unwrap().is_empty()));
        assert_eq!(status, 1, "{}", unit.name);
        for field in FIELDS.into_iter().filter(|field| !lost.contains(field)) {
            let wanted = &unit.expect["original"][field];
            if !wanted.is_null() {
                same(wanted, &found[field], &format!("{}: {field}", unit.name));
            }
        }
    }
}

#[test]
fn a_lost_tail_leaves_all_batches_before_it() {
    for unit in units().iter().filter(|unit| unit.name.starts_with("damage-torn-")) {
        let (_, found) = dump(unit);
        let wanted = unit.expect["original"]["batches"].as_array().unwrap();
        let whole = &wanted[..wanted.len() - 1];
        assert_eq!(found["batches"].as_array().unwrap(), whole, "{}", unit.name);
    }
}

#[test]
fn the_transaction_index_is_held_against_the_markers() {
    let unit = units().into_iter().find(|unit| unit.name == "transactions").unwrap();
    let copy = tempfile::tempdir().unwrap();
    let dir = copy.path().join("txn-0");
    copy_dir(&unit.dir, &dir);
    fs::remove_file(dir.join("00000000000000000034.txnindex")).unwrap();
    let output = hanbeon(&["dump", "--json", text(&dir)]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    // Two transactions were aborted in that segment, and nothing of them is given to a reader of committed data.
    assert_eq!(found["damage"].as_array().unwrap().len(), 2, "{}", found["damage"]);
    same(&unit.expect["read_committed"], &found["read_committed"], "read_committed");
    same(&unit.expect["aborted_transactions"], &found["aborted_transactions"], "aborted");
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

/// Lines of JSON that a file gives; the status must be `status`.
fn lines(path: &Path, status: i32) -> Vec<Value> {
    let output = hanbeon(&["dump", "--json", text(path)]);
    assert_eq!(output.status.code(), Some(status), "{path:?}: {output:?}");
    let lines = std::str::from_utf8(&output.stdout).unwrap().lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_file_gives_one_object_a_line() {
    let unit = units().into_iter().find(|unit| unit.name == "transactions").unwrap();
    let file = |name: &str| unit.dir.join(name);
    let batches = unit.expect["batches"].as_array().unwrap();
    let of_segment: Vec<_> = batches.iter().filter(|b| b["segment"] == 34).cloned().collect();
    assert_eq!(lines(&file("00000000000000000034.log"), 0), of_segment);

    let segment = &unit.expect["segments"][1];
    let pairs = |names: [&str; 2], rows: &[Value]| {
        let pair = |row: &Value| [row[names[0]].clone(), row[names[1]].clone()];
        rows.iter().map(|row| Value::from(pair(row).to_vec())).collect::<Vec<_>>()
    };
    let offsets = lines(&file("00000000000000000034.index"), 0);
    assert_eq!(Value::from(pairs(["offset", "position"], &offsets)), segment["offset_index"]);
    let times = lines(&file("00000000000000000034.timeindex"), 0);
    assert_eq!(Value::from(pairs(["timestamp", "offset"], &times)), segment["time_index"]);
    let txns = lines(&file("00000000000000000034.txnindex"), 0);
    assert_eq!(Value::from(txns), segment["txn_index"]);
    let snapshot = lines(&file("00000000000000000034.snapshot"), 0);
    let wanted = &unit.expect["snapshots"]["00000000000000000034.snapshot"]["entries"];
    same(wanted, &Value::from(snapshot), "snapshot");
    let epochs = lines(&file("leader-epoch-checkpoint"), 0);
    assert_eq!(
        Value::from(pairs(["epoch", "start_offset"], &epochs)),
        unit.expect["leader_epochs"]
    );
    let metadata = lines(&file("partition.metadata"), 0);
    assert_eq!(metadata[0]["topic_id"], unit.expect["topic_id"]);

    let unit = units().into_iter().find(|unit| unit.name == "delete-records-lazy").unwrap();
    let starts = lines(&unit.checkpoints.path().join("log-start-offset-checkpoint"), 0);
    assert_eq!(starts[0]["topic"], unit.expect["topic"]);
    assert_eq!(starts[0]["offset"], unit.expect["log_start_checkpoint"]);
}

#[test]
fn a_damaged_file_ends_with_what_is_wrong() {
    let named = |unit: &str, file: &str| Path::new(GOLDEN).join(unit).join(file);
    for (path, offset) in [
        (named("damage-torn-tail", "dmg-torn-tail-0/00000000000000000022.log"), 515),
        (named("damage-flip-sealed", "dmg-flip-sealed-0/00000000000000000000.log"), 937),
        (named("damage-index-short", "dmg-index-short-0/00000000000000000000.index"), 40),
        (
            named(
                "damage-snapshot-bad-crc",
                "dmg-snapshot-bad-crc-0/00000000000000000033.snapshot",
            ),
            0,
        ),
        (named("damage-epoch-garbage", "dmg-epoch-garbage-0/leader-epoch-checkpoint"), 0),
    ] {
        let found = lines(&path, 1);
        let damage = &found.last().unwrap()["damage"];
        assert_eq!(damage["offset"], offset, "{damage}");
        assert_eq!(damage["file"], path.file_name().unwrap().to_str().unwrap());
    }
}

#[test]
fn a_length_that_is_only_claimed_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let claim = |name: &str, bytes: &[u8], len: u64| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_len(len).unwrap();
        lines(&path, 1)
    };
    // A header of magic 2 with a length of 2 GiB, in a short file and in one that is as long, but holds nothing.
    let mut header = [0_u8; 61];
    header[8..12].copy_from_slice(&0x7fff_ffff_i32.to_be_bytes());
    header[16] = 2;
    let name = "00000000000000000000.log";
    assert!(claim(name, &header, 61)[0]["damage"]["what"].as_str().unwrap().contains("2147483659"));
    assert_eq!(claim(name, &header, 1 << 32)[0]["damage"]["offset"], 0);
    let snapshot = [0, 1, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff];
    assert_eq!(claim("00000000000000000001.snapshot", &snapshot, 10).len(), 1);
    assert_eq!(claim("00000000000000000001.snapshot", &snapshot, 1 << 40).len(), 1);
    assert_eq!(claim("00000000000000000000.index", &[1; 8], 1 << 40).len(), 1);
    assert_eq!(claim("00000000000000000000.producers", &[1; 8], 1 << 40).len(), 1);
}

#[test]
fn wrong_usage_is_told_apart_from_damage() {
    let dir = tempfile::tempdir().unwrap();
    let strange = dir.path().join("strange.txt");
    fs::write(&strange, "?").unwrap();
    let absent = dir.path().join("00000000000000000000.log");
    for path in [&strange, &absent, &dir.path().to_path_buf()] {
        let output = hanbeon(&["dump", text(path)]);
        assert_eq!(output.status.code(), Some(2), "{path:?}");
        assert!(output.stdout.is_empty(), "{path:?}");
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.starts_with("hanbeon: ") && told.contains(text(path)), "{told}");
    }
    assert_eq!(hanbeon(&["dump"]).status.code(), Some(2));
    assert_eq!(hanbeon(&["dump", "--nonsense", "x"]).status.code(), Some(2));
    assert_eq!(hanbeon(&["dump", "--help"]).status.code(), Some(0));
}

#[test]
fn people_read_this() {
    let unit = units().into_iter().find(|unit| unit.name == "txn-data-tv1").unwrap();
    let output = hanbeon(&["dump", text(&unit.dir)]);
    assert_eq!(output.status.code(), Some(0));
    let found = String::from_utf8(output.stdout).unwrap();
    let expected = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/expected/txn-data-tv1.txt");
    if std::env::var_os("UPDATE_CASES").is_some() {
        fs::write(expected, &found).unwrap();
    }
    assert_eq!(found, fs::read_to_string(expected).unwrap(), "UPDATE_CASES=1 writes it anew");
}
