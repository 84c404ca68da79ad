//! A log that Kafka has compacted, under settings that do not say so: what an adopted directory is opened with.
#![allow(clippy::unwrap_used, reason = "a test fails where its ground is missing")]

mod fixture;

use std::{fs, io::IoSlice};

use fixture::{
    Batch, append, config,
    golden::{Unit, units},
    offsets, options,
};
use hanbeon_log::{
    CrashDir, Dir, FileName, Isolation, LogFile, Open, OpenPartition, Partition, Shutdown,
};
use hanbeon_records::Offset;

/// A copy of the partition on a disk that may lose power; all of it is durable.
fn on_a_disk(unit: &Unit) -> CrashDir {
    let disk = CrashDir::new();
    for entry in fs::read_dir(unit.path.join(unit.expect["dir"].as_str().unwrap())).unwrap() {
        let entry = entry.unwrap();
        let name = FileName::new(entry.file_name().into_string().unwrap()).unwrap();
        let file = disk.open(&name, Open::CreateNew).unwrap();
        file.write_at(&[IoSlice::new(&fs::read(entry.path()).unwrap())], 0).unwrap();
        file.sync().unwrap();
    }
    disk.sync().unwrap();
    disk
}

/// Its gaps say that a tail which is missing before the next segment is compaction's.
#[test]
fn l2_no_power_cut_leaves_a_hole_in_what_is_written_behind_gaps() {
    const ADDED: i64 = 12;
    let unit = units(|name| name == "compacted-2-dropped").remove(0);
    let end = unit.number("log_end_offset").unwrap();
    // Each batch has a segment.
    let config = config(|s| s.internal_segment_bytes = Some(700));
    let opened = |dir: &CrashDir, shutdown| {
        let told = OpenPartition { shutdown, recovery_point: Offset::new(end), ..options(&config) };
        Partition::open(dir.clone(), told).unwrap().0
    };
    let disk = on_a_disk(&unit);
    let log = opened(&disk, Shutdown::Clean);
    let before = offsets(&log, 0, Isolation::LogEnd);
    for _ in 0..ADDED {
        append(&log, &Batch::of(1).value_len(500)).unwrap();
    }
    let mut lost = 0;
    for seed in 0..100 {
        let log = opened(&disk.crash(seed), Shutdown::Unclean);
        let found = offsets(&log, 0, Isolation::LogEnd);
        let kept = i64::try_from(found.len() - before.len()).unwrap();
        lost += ADDED - kept;
        let added = (end..end + kept).map(|offset| (offset, offset));
        let expected: Vec<_> = before.iter().copied().chain(added).collect();
        assert_eq!(found, expected, "image {seed}");
    }
    assert!(lost > 0, "the power never took anything");
}
