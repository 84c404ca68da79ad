//! Every back end of ours passes the suite; every back end that breaks a rule is found.
#![cfg(not(hanbeon_loom))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use hanbeon_log::{
    Broken, CrashDir, FsDir, MemDir, ReadMode,
    conformance::{ConformanceError, Rule, run, run_crashing},
};

fn on_files(mode: ReadMode) -> Result<(), ConformanceError> {
    let root = tempfile::tempdir().unwrap();
    let mut nth = 0;
    run(|| {
        nth += 1;
        FsDir::create(root.path().join(format!("{nth}")), mode).unwrap()
    })
}

#[test]
fn mapped_files_conform() {
    on_files(ReadMode::Map).unwrap();
}

#[test]
fn read_files_conform() {
    on_files(ReadMode::Pread).unwrap();
}

#[test]
fn memory_conforms() {
    run(MemDir::new).unwrap();
}

#[test]
fn the_crashing_back_end_conforms() {
    run(CrashDir::new).unwrap();
    run_crashing(CrashDir::new).unwrap();
}

/// The rules that a broken back end is caught by.
fn caught(how: Broken) -> Rule {
    let found = run(|| CrashDir::broken(how)).and_then(|()| run_crashing(|| CrashDir::broken(how)));
    found.expect_err("the suite missed a broken back end").rule()
}

#[test]
fn a_back_end_that_ignores_sync_is_caught() {
    assert_eq!(caught(Broken::IgnoresSync), Rule::SyncedBytesSurvive);
}

#[test]
fn a4_a_back_end_that_ignores_directory_sync_is_caught() {
    assert!(matches!(
        caught(Broken::IgnoresDirSync),
        Rule::SyncedBytesSurvive | Rule::SyncedNamesSurvive
    ));
}

#[test]
fn a_back_end_that_loses_renames_is_caught() {
    assert_eq!(caught(Broken::LosesRenames), Rule::SyncedRenamesSurvive);
}

#[test]
fn a16_a_back_end_that_writes_short_is_caught() {
    // The first rule that writes at all sees it.
    assert!(matches!(
        caught(Broken::WritesShort),
        Rule::OpenModes | Rule::Listing | Rule::WritesEverything
    ));
}
