//! The sled store keeps the contract, and what it acknowledges was synced, which sled by itself does not do.
#![cfg(feature = "sled")]
#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::{
    env, fs,
    process::{Command, Stdio},
};

use bytes::Bytes;
use hanbeon_meta::{Key, MetadataStore, SledStore, Txn, TxnResult, contract};

struct Sled {
    roots: Vec<tempfile::TempDir>,
}

impl Sled {
    fn open(&self) -> SledStore {
        SledStore::open(self.roots.last().unwrap().path()).unwrap()
    }
}

impl contract::Fixture for Sled {
    type Store = SledStore;

    fn fresh(&mut self) -> SledStore {
        self.roots.push(tempfile::tempdir().unwrap());
        self.open()
    }

    fn restart(&mut self, store: SledStore) -> Option<SledStore> {
        drop(store);
        Some(self.open())
    }
}

#[test]
fn the_sled_store_keeps_it() {
    contract::check(&mut Sled { roots: Vec::new() });
}

#[test]
fn l1_no_page_becomes_a_file_that_nobody_syncs() {
    let root = tempfile::tempdir().unwrap();
    for bytes in [10 << 10, 127 << 10] {
        let store = SledStore::open(root.path()).unwrap();
        let value = Bytes::from(vec![7; bytes]);
        for number in 0..40 {
            let txn = Txn::new().put(Key::new(&format!("k{number:02}")), value.clone());
            assert!(matches!(store.commit(&txn).unwrap(), TxnResult::Committed(_)));
        }
    }
    assert_eq!(fs::read_dir(root.path().join("blobs")).unwrap().count(), 0);
}

const CHILD: &str = "HANBEON_SLED_SYNC_CHILD";
const COMMITS: usize = 5;

fn commit_some(path: &std::path::Path) {
    let store = SledStore::open(path).unwrap();
    for number in 0..COMMITS {
        let txn = Txn::new().put(Key::new("k"), Bytes::from(number.to_string()));
        assert!(matches!(store.commit(&txn).unwrap(), TxnResult::Committed(_)));
    }
}

/// Runs itself under strace and counts the syncs of sled's data file. Where strace is not to be had, or not allowed, it can
/// still see that the file is open twice: once by sled, once by the back end, for syncing.
#[cfg(target_os = "linux")]
#[test]
fn l1_every_commit_syncs_the_data_file() {
    if let Some(path) = env::var_os(CHILD) {
        commit_some(path.as_ref());
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let (data, trace) = (root.path().join("store"), root.path().join("trace"));
    let traced = Command::new("strace")
        .args(["-f", "-y", "-e", "trace=fdatasync,fsync", "-o"])
        .arg(&trace)
        .arg(env::current_exe().unwrap())
        .args(["--exact", "l1_every_commit_syncs_the_data_file", "--test-threads=1"])
        .env(CHILD, &data)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if traced.is_ok_and(|status| status.success()) {
        let trace = fs::read_to_string(trace).unwrap();
        let synced = trace
            .lines()
            .filter(|line| line.contains("fdatasync(") && line.contains("/store/db>"))
            .count();
        assert!(synced > COMMITS, "{COMMITS} commits and an opening, but {synced} syncs:\n{trace}");
        return;
    }
    let store = SledStore::open(&data).unwrap();
    let file = data.join("db").canonicalize().unwrap();
    let links = fs::read_dir("/proc/self/fd").unwrap();
    let open = links
        .filter_map(|link| fs::read_link(link.ok()?.path()).ok())
        .filter(|target| *target == file)
        .count();
    assert!(open >= 2, "the data file is open {open} times");
    drop(store);
}
