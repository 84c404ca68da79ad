//! Holds every index, snapshot, epoch file and `partition.metadata` that Apache Kafka 4.3.1 wrote against what independent
//! sources found in it (`tests/golden/README.md`).

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails where its ground is missing"
)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use hanbeon_idempotence::{FirstWrite, Settings, Verification, load};
use hanbeon_log::{
    AbortedTxn, ActiveOffsetIndex, ActiveTimeIndex, ActiveTxnIndex, IndexDoubt, LeaderEpochs,
    OffsetIndexView, SegmentFile, SegmentFileName, SegmentSpan, TimeIndexView, TxnIndexView,
    checkpoint, partition_metadata,
};
use hanbeon_records::{Millis, Offset, ProducerId};
use serde_json::{Value, json};

/// One partition directory as Kafka left it, and what must be found in it.
struct Unit {
    name: String,
    dir: PathBuf,
    beside: PathBuf,
    expect: Value,
}

fn golden() -> PathBuf {
    let beside_the_crate = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    std::env::var_os("HANBEON_GOLDEN").map_or(beside_the_crate, PathBuf::from)
}

/// All units that nobody damaged.
fn units() -> Vec<Unit> {
    let mut units: Vec<Unit> = fs::read_dir(golden())
        .expect("the golden directories lie under tests/golden")
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("expect.json").exists())
        .filter(|path| !path.file_name().unwrap().to_string_lossy().starts_with("damage-"))
        .map(|path| {
            let text = fs::read_to_string(path.join("expect.json")).unwrap();
            let expect: Value = serde_json::from_str(&text).unwrap();
            Unit {
                name: path.file_name().unwrap().to_string_lossy().into_owned(),
                dir: path.join(expect["dir"].as_str().unwrap()),
                beside: path.join("data-dir"),
                expect,
            }
        })
        .collect();
    units.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(units.len() >= 25, "only {} units in {}", units.len(), golden().display());
    units
}

impl Unit {
    /// Killed before anything was trimmed: its indexes are as long as they may become, and full of zeroes.
    fn was_killed(&self) -> bool {
        self.name == "unclean-before"
    }

    fn file(&self, base: i64, kind: SegmentFile) -> Option<Vec<u8>> {
        let name = SegmentFileName::live(Offset::new(base), kind).to_string();
        fs::read(self.dir.join(name)).ok()
    }

    fn span(&self, segment: &Value) -> SegmentSpan {
        let base = segment["base_offset"].as_i64().unwrap();
        let batches = self.expect["batches"].as_array().unwrap();
        let end = batches
            .iter()
            .filter(|batch| batch["segment"] == base)
            .map(|batch| batch["last_offset"].as_i64().unwrap() + 1)
            .max()
            .unwrap_or(base);
        SegmentSpan {
            base_offset: Offset::new(base),
            end_offset: Offset::new(end),
            log_bytes: segment["log_size"].as_u64().unwrap(),
        }
    }

    fn segments(&self) -> &Vec<Value> {
        self.expect["segments"].as_array().unwrap()
    }
}

fn aborted(txn: AbortedTxn) -> Value {
    json!({
        "producer_id": txn.producer_id.get(),
        "first_offset": txn.first_offset.get(),
        "last_offset": txn.last_offset.get(),
        "last_stable_offset": txn.last_stable_offset.get(),
    })
}

#[test]
fn l5_every_index_reads_as_expected_and_writes_back_the_same_bytes() {
    let (mut offsets, mut times, mut txns) = (0, 0, 0);
    for unit in units().iter().filter(|unit| !unit.was_killed()) {
        for segment in unit.segments() {
            let span = unit.span(segment);
            let base = span.base_offset;
            let place = format!("{} {base}", unit.name);

            let bytes = unit.file(base.get(), SegmentFile::OffsetIndex).unwrap();
            let view =
                OffsetIndexView::parse(&bytes, span).unwrap_or_else(|e| panic!("{place}: {e}"));
            let found: Value = view.iter().map(|e| json!([e.offset.get(), e.position])).collect();
            assert_eq!(found, segment["offset_index"], "{place}");
            let mut active = ActiveOffsetIndex::new(base, 1 << 20);
            view.iter().for_each(|e| active.push(e.offset, e.position).unwrap());
            assert_eq!(active.as_bytes(), bytes, "{place}");
            offsets += view.len();

            let bytes = unit.file(base.get(), SegmentFile::TimeIndex).unwrap();
            let view =
                TimeIndexView::parse(&bytes, span).unwrap_or_else(|e| panic!("{place}: {e}"));
            let found: Value =
                view.iter().map(|e| json!([e.timestamp.get(), e.offset.get()])).collect();
            assert_eq!(found, segment["time_index"], "{place}");
            let mut active = ActiveTimeIndex::new(base, 1 << 20);
            view.iter().for_each(|e| active.push(e.timestamp, e.offset).unwrap());
            assert_eq!(active.as_bytes(), bytes, "{place}");
            times += view.len();

            let bytes = unit.file(base.get(), SegmentFile::TxnIndex).unwrap_or_default();
            let view = TxnIndexView::parse(&bytes, span).unwrap_or_else(|e| panic!("{place}: {e}"));
            let found: Value = view.iter().map(aborted).collect();
            let expected = segment.get("txn_index").cloned().unwrap_or_else(|| json!([]));
            assert_eq!(found, expected, "{place}");
            let mut active = ActiveTxnIndex::new(base);
            view.iter().for_each(|txn| active.push(txn).unwrap());
            assert_eq!(active.as_bytes(), bytes, "{place}");
            txns += view.len();
        }
    }
    assert!(offsets > 100 && times > 100 && txns > 10, "{offsets} {times} {txns}");
}

#[test]
fn t6_aborted_transactions_are_those_of_the_fetch_answer() {
    for unit in units().iter().filter(|unit| !unit.was_killed()) {
        let mut found = Vec::new();
        for segment in unit.segments() {
            let base = segment["base_offset"].as_i64().unwrap();
            let bytes = unit.file(base, SegmentFile::TxnIndex).unwrap_or_default();
            let view = TxnIndexView::trusted(&bytes);
            view.collect(Offset::ZERO, Offset::new(i64::MAX), &mut found);
        }
        let expected: Vec<(ProducerId, i64)> = unit.expect["aborted_transactions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|txn| {
                let id = ProducerId::new(txn["producer_id"].as_i64().unwrap());
                (id, txn["first_offset"].as_i64().unwrap())
            })
            .collect();
        let found: Vec<_> =
            found.into_iter().map(|txn| (txn.producer_id, txn.first_offset.get())).collect();
        assert_eq!(found, expected, "{}", unit.name);
    }
}

#[test]
fn a17_indexes_of_a_killed_broker_are_doubted() {
    let units = units();
    let killed = units.iter().find(|unit| unit.was_killed()).unwrap();
    let active = killed.segments().last().unwrap();
    let span = killed.span(active);
    let bytes = killed.file(span.base_offset.get(), SegmentFile::OffsetIndex).unwrap();
    let doubt = OffsetIndexView::parse(&bytes, span).unwrap_err();
    assert!(matches!(doubt, IndexDoubt::Order { .. }), "{doubt}");
    let bytes = killed.file(span.base_offset.get(), SegmentFile::TimeIndex).unwrap();
    assert!(TimeIndexView::parse(&bytes, span).is_err());
}

fn settings() -> Settings {
    Settings {
        expiration_ms: i64::MAX,
        verification: Verification::Off,
        first_write: FirstWrite::AnySequence,
        hash_seed: 0,
    }
}

#[test]
fn p5_every_snapshot_reads_as_expected_and_writes_back_what_it_says() {
    let mut entries = 0;
    for unit in units() {
        for (file, expected) in unit.expect["snapshots"].as_object().unwrap() {
            let place = format!("{} {file}", unit.name);
            let bytes = fs::read(unit.dir.join(file)).unwrap();
            let loaded = load(&bytes, None, settings(), Millis::new(0))
                .unwrap_or_else(|e| panic!("{place}: {e}"));
            let states = loaded.states;
            let found: Value = states
                .producers()
                .map(|p| {
                    json!({
                        "producer_id": p.producer_id.get(),
                        "producer_epoch": p.producer_epoch.get(),
                        "coordinator_epoch": p.coordinator_epoch.get(),
                        "current_txn_first_offset": p.txn_first_offset.map_or(-1, Offset::get),
                        "last_timestamp": p.last_timestamp.get(),
                        "last_sequence": p.last_sequence.map_or(-1, |s| s.get()),
                        "last_offset": p.last_offset.map_or(-1, Offset::get),
                    })
                })
                .collect();
            let mut expected = expected["entries"].clone();
            for entry in expected.as_array_mut().unwrap() {
                entry.as_object_mut().unwrap().remove("offset_delta");
            }
            assert_eq!(found, expected, "{place}");
            let mut again = Vec::new();
            states.write_snapshot(&mut again);
            assert_eq!(sorted_entries(&again), sorted_entries(&bytes), "{place}");
            entries += states.len();
        }
    }
    assert!(entries > 50, "{entries}");
}

/// The entries of a snapshot; Kafka writes them in the order of a hash table.
fn sorted_entries(snapshot: &[u8]) -> Vec<&[u8]> {
    let mut entries: Vec<_> = snapshot[10..].chunks(46).collect();
    entries.sort_unstable();
    entries
}

#[test]
fn every_epoch_file_reads_as_expected_and_writes_back_the_same_bytes() {
    for unit in units() {
        let bytes = fs::read(unit.dir.join("leader-epoch-checkpoint")).unwrap();
        let epochs = LeaderEpochs::parse(&bytes).unwrap_or_else(|e| panic!("{}: {e}", unit.name));
        let found: Value = epochs
            .entries()
            .iter()
            .map(|entry| json!([entry.epoch.get(), entry.start_offset.get()]))
            .collect();
        assert_eq!(found, unit.expect["leader_epochs"], "{}", unit.name);
        assert_eq!(epochs.format(), bytes, "{}", unit.name);
    }
}

#[test]
fn every_partition_metadata_reads_as_expected_and_writes_back_the_same_bytes() {
    for unit in units() {
        let bytes = fs::read(unit.dir.join("partition.metadata")).unwrap();
        let id = partition_metadata::parse(&bytes).unwrap();
        assert_eq!(id.to_string(), unit.expect["topic_id"], "{}", unit.name);
        assert_eq!(partition_metadata::format(id), bytes, "{}", unit.name);
    }
}

#[test]
fn every_offset_checkpoint_reads_and_holds_what_is_expected() {
    let keys = [
        (checkpoint::RECOVERY_POINTS, "recovery_point_checkpoint"),
        (checkpoint::LOG_STARTS, "log_start_checkpoint"),
        (checkpoint::HIGH_WATERMARKS, "high_watermark_checkpoint"),
        (checkpoint::CLEANER_OFFSETS, "cleaner_checkpoint"),
    ];
    let mut read = 0;
    for unit in units() {
        for (file, key) in keys {
            let Ok(bytes) = fs::read(unit.beside.join(file)) else { continue };
            let offsets = checkpoint::parse_offsets(&bytes).unwrap();
            let found = offsets
                .iter()
                .find(|(at, _)| at.to_string() == unit.expect["dir"].as_str().unwrap())
                .map(|(_, offset)| offset.get());
            assert_eq!(json!(found), unit.expect[key], "{} {file}", unit.name);
            read += 1;
        }
    }
    assert!(read >= 4, "{read}");
}
