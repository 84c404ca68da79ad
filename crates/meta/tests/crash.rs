//! The logged store against power cuts, failing disks and damaged bytes.
//!
//! L1: what was acknowledged is there in every image that a crash may leave. L2: nothing else is, but for the one transaction
//! whose outcome was unknown, and that one wholly or not at all. L4: the same after a crash inside the opening.
#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::{collections::BTreeMap, io::IoSlice};

use bytes::Bytes;
use hanbeon_log::{
    CrashDir, Dir, Fault, FaultKind, FileName, Lasting, LogFile, MemDir, Open, Poison,
};
use hanbeon_meta::{
    FILE_NAME, Key, LoggedSettings, LoggedStore, MetadataStore, StoreError, Txn, TxnResult,
};

const EAGER: LoggedSettings = LoggedSettings { rewrite_bytes_min: 0 };
const TXNS: usize = 12;
const IMAGES: u64 = 6;

type State = BTreeMap<String, Vec<u8>>;

/// The transaction after `index` others: puts, overwrites, deletions, a value of several pages now and then.
fn txn(index: usize) -> Txn {
    let size = if index % 5 == 3 { 9_000 } else { 20 };
    let value = |seed: usize| Bytes::from(vec![u8::try_from(seed % 251).unwrap(); size]);
    let mut txn = Txn::new()
        .put(Key::new(&format!("k/{}", index % 4)), value(index))
        .put(Key::new("last"), Bytes::from(index.to_string()));
    if index % 3 == 2 {
        txn = txn.delete(Key::new(&format!("k/{}", (index + 1) % 4)));
    }
    txn
}

/// What the store holds after each number of transactions.
fn states() -> Vec<State> {
    let store = LoggedStore::open(MemDir::new(), EAGER).unwrap();
    let mut states = vec![State::new()];
    for index in 0..TXNS {
        assert!(matches!(store.commit(&txn(index)).unwrap(), TxnResult::Committed(_)));
        states.push(state(&store));
    }
    states
}

fn state(store: &impl MetadataStore) -> State {
    let range = store.range("").unwrap();
    range
        .entries
        .into_iter()
        .map(|entry| (entry.key.as_str().to_owned(), entry.value.into()))
        .collect()
}

/// Runs until something fails. How many transactions were acknowledged, and whether one more may be there.
fn run(dir: &CrashDir) -> (usize, usize) {
    let Ok(store) = LoggedStore::open(dir.clone(), EAGER) else { return (0, 0) };
    for index in 0..TXNS {
        match store.commit(&txn(index)) {
            Ok(TxnResult::Committed(_)) => {}
            Ok(TxnResult::Unknown(_)) => {
                assert!(matches!(store.get(&Key::new("last")), Err(StoreError::Poisoned)));
                assert!(matches!(store.commit(&txn(index)), Err(StoreError::Poisoned)));
                return (index, 1);
            }
            Ok(TxnResult::Refused(_)) => panic!("nothing to refuse"),
            Err(error) => {
                assert!(matches!(error, StoreError::Poisoned), "{error}");
                return (index, 0);
            }
        }
    }
    (TXNS, 0)
}

fn check(dir: &CrashDir, states: &[State], (acked, unsure): (usize, usize), what: &str) {
    let store = match LoggedStore::open(dir.clone(), EAGER) {
        Ok(store) => store,
        Err(error) => panic!("{what}: {error}"),
    };
    let found = state(&store);
    let place = states.iter().position(|state| *state == found);
    let Some(place) = place else { panic!("{what}: a state that never was: {found:?}") };
    assert!(
        (acked..=acked + unsure).contains(&place),
        "{what}: {place} transactions, {acked} acknowledged"
    );
    assert_eq!(store.revision().unwrap().get(), u64::try_from(place).unwrap(), "{what}");
    // It works on from there.
    assert!(matches!(store.commit(&txn(place)).unwrap(), TxnResult::Committed(_)), "{what}");
}

#[test]
fn l1_l2_l4_acknowledged_transactions_survive_every_crash() {
    let states = states();
    let mut images = 0_u32;
    for kind in [FaultKind::Error, FaultKind::Sync, FaultKind::ShortWrite, FaultKind::NoSpace] {
        for after in 0.. {
            let dir = CrashDir::new();
            dir.inject(Fault { kind, after, lasting: Lasting::Sticky });
            let outcome = run(&dir);
            if dir.fired() == 0 {
                assert_eq!(outcome, (TXNS, 0));
                break;
            }
            for seed in 0..IMAGES {
                let what = format!("{kind:?} after {after} operations, image {seed}");
                check(&dir.crash(seed), &states, outcome, &what);
                images += 1;
                for inside in 0.. {
                    let image = dir.crash(seed);
                    let fault =
                        Fault { kind: FaultKind::Error, after: inside, lasting: Lasting::Sticky };
                    image.inject(fault);
                    let opened = LoggedStore::open(image.clone(), EAGER).is_ok();
                    let what =
                        format!("{what}, and again after {inside} operations of the opening");
                    check(&image.crash(seed + 100), &states, outcome, &what);
                    images += 1;
                    if opened {
                        break;
                    }
                }
            }
        }
    }
    assert!(images > 1_000, "{images} images only");
}

/// After a failed sync the system shows what it did not write, and says yes to the next sync. A store that is opened again in
/// the same life of the machine must not build on that.
#[test]
fn l9_what_a_failed_sync_left_behind_is_written_again() {
    let states = states();
    for after in 0.. {
        let dir = CrashDir::new();
        dir.inject(Fault { kind: FaultKind::Sync, after, lasting: Lasting::Once });
        let (acked, unsure) = run(&dir);
        if dir.fired() == 0 {
            break;
        }
        for seed in 0..20 {
            let dir = CrashDir::new();
            dir.inject(Fault { kind: FaultKind::Sync, after, lasting: Lasting::Once });
            run(&dir);
            dir.heal();
            let store = LoggedStore::open(dir.clone(), EAGER).unwrap();
            let shown = usize::try_from(store.revision().unwrap().get()).unwrap();
            assert!((acked..=acked + unsure).contains(&shown), "sync {after} failed");
            let what = format!("sync {after} failed, image {seed}");
            check(&dir.crash(seed), &states, (shown, 0), &what);
            if shown + 1 < states.len() {
                assert!(matches!(store.commit(&txn(shown)).unwrap(), TxnResult::Committed(_)));
                check(&dir.crash(seed), &states, (shown + 1, 0), &format!("{what}, one later"));
            }
        }
    }
}

/// A store without rewritings, its file, and where each transaction ends in it.
fn written() -> (Vec<u8>, Vec<usize>) {
    let dir = MemDir::new();
    let settings = LoggedSettings { rewrite_bytes_min: u64::MAX };
    let store = LoggedStore::open(dir.clone(), settings).unwrap();
    let mut ends = vec![content(&dir).len()];
    for index in 0..5 {
        assert!(matches!(store.commit(&txn(index % 3)).unwrap(), TxnResult::Committed(_)));
        ends.push(content(&dir).len());
    }
    (content(&dir), ends)
}

fn content(dir: &MemDir) -> Vec<u8> {
    let file = dir.open(&FileName::new(FILE_NAME).unwrap(), Open::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_at(&mut bytes, 0).unwrap();
    bytes
}

fn holding(bytes: &[u8]) -> MemDir {
    let dir = MemDir::new();
    let file = dir.open(&FileName::new(FILE_NAME).unwrap(), Open::CreateNew).unwrap();
    file.write_at(&[IoSlice::new(bytes)], 0).unwrap();
    dir
}

fn open(dir: &MemDir) -> Result<LoggedStore<MemDir>, StoreError> {
    LoggedStore::open(dir.clone(), LoggedSettings { rewrite_bytes_min: u64::MAX })
}

#[test]
fn l2_a_file_cut_anywhere_opens_at_its_last_whole_transaction() {
    let (bytes, ends) = written();
    for len in 0..bytes.len() {
        let dir = holding(&bytes[..len]);
        let whole = ends.iter().filter(|end| **end <= len).count();
        if whole == 0 {
            // The base was synced before the file had its name: this is no interrupted write.
            let refused = open(&dir).unwrap_err();
            assert!(matches!(refused, StoreError::Corrupt { offset: 0, .. }), "{len}: {refused}");
            continue;
        }
        let store = open(&dir).unwrap();
        assert_eq!(store.revision().unwrap().get(), u64::try_from(whole - 1).unwrap(), "{len}");
    }
}

#[test]
fn damage_that_no_crash_explains_is_reported_with_its_place() {
    let (bytes, ends) = written();
    let last = ends[ends.len() - 2];
    for place in 0..bytes.len() {
        for bit in [0, 7] {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1 << bit;
            let dir = holding(&damaged);
            match open(&dir) {
                Ok(store) => {
                    assert!(place >= last, "damage at {place} went unseen");
                    assert_eq!(store.revision().unwrap().get(), 4);
                }
                Err(StoreError::Corrupt { offset, file, .. }) => {
                    let start = ends.iter().rfind(|end| **end <= place).copied().unwrap_or(0);
                    assert_eq!(offset, u64::try_from(start).unwrap(), "damage at {place}");
                    assert!(file.ends_with(FILE_NAME), "{file}");
                    assert_eq!(content(&dir), damaged, "nothing is repaired in silence");
                }
                Err(other) => panic!("damage at {place}: {other}"),
            }
        }
    }
}

/// A whole record that lies inside a value must not make an interrupted write look like damage in the middle.
#[test]
fn a_torn_record_that_quotes_another_is_still_a_torn_record() {
    let (quoted, _) = written();
    let dir = MemDir::new();
    let store = open(&dir).unwrap();
    let before = content(&dir).len();
    let txn = Txn::new().put(Key::new("quote"), Bytes::from(quoted));
    assert!(matches!(store.commit(&txn).unwrap(), TxnResult::Committed(_)));
    let whole = content(&dir);
    for len in (before..whole.len()).step_by(7) {
        let mut torn = whole[..len].to_vec();
        torn.resize(whole.len(), 0);
        if torn == whole {
            continue;
        }
        assert_eq!(open(&holding(&torn)).unwrap().revision().unwrap().get(), 0, "cut at {len}");
    }
}

#[test]
fn a_claimed_length_allocates_nothing() {
    let (mut bytes, ends) = written();
    let last = ends[ends.len() - 2];
    bytes[last..last + 4].copy_from_slice(&u32::MAX.to_be_bytes());
    assert_eq!(open(&holding(&bytes)).unwrap().revision().unwrap().get(), 4, "a torn tail");
    assert!(matches!(open(&holding(&[])), Err(StoreError::Corrupt { offset: 0, .. })));
}

#[test]
fn the_file_stays_small_under_a_row_that_changes_for_ever() {
    let dir = MemDir::new();
    let settings = LoggedSettings { rewrite_bytes_min: 4096 };
    let store = LoggedStore::open(dir.clone(), settings).unwrap();
    let mut longest = 0;
    for index in 0..2_000_u32 {
        let txn = Txn::new().put(Key::new("pid/next"), Bytes::from(index.to_be_bytes().to_vec()));
        assert!(matches!(store.commit(&txn).unwrap(), TxnResult::Committed(_)));
        longest = longest.max(content(&dir).len());
    }
    assert!(longest < 4096 + 200, "{longest} bytes");
    drop(store);
    let store = LoggedStore::open(dir.clone(), settings).unwrap();
    let entry = store.get(&Key::new("pid/next")).unwrap().unwrap();
    assert_eq!(*entry.value, 1999_u32.to_be_bytes());
    assert_eq!((entry.created.get(), entry.modified.get()), (1, 2000));
    assert!(dir.list().unwrap().iter().all(|entry| entry.name.as_str() == FILE_NAME));
}

/// Opened on a full disk, it writes the doubtful record again in place.
#[test]
fn l9_a_full_disk_does_not_keep_it_shut() {
    let dir = CrashDir::new();
    assert_eq!(run(&dir), (TXNS, 0));
    let full = Fault { kind: FaultKind::NoSpace, after: 0, lasting: Lasting::Once };
    dir.inject(full);
    let store = LoggedStore::open(dir.clone(), EAGER).unwrap();
    assert_eq!(dir.fired(), 1);
    assert_eq!(state(&store), *states().last().unwrap());
    for seed in 0..20 {
        check(&dir.crash(seed), &states(), (TXNS, 0), "opened on a full disk");
    }
}

/// The file aside cannot be made, for want of a file descriptor say: the old file is whole.
#[test]
fn a_file_aside_that_cannot_be_made_puts_a_rewriting_off() {
    let dir = CrashDir::new();
    let poison = Poison::new();
    let settings = LoggedSettings { rewrite_bytes_min: 0 };
    let store = LoggedStore::open_beside(dir.clone(), settings, poison.clone()).unwrap();
    let mut put_off = 0;
    for index in 0..TXNS {
        // Behind the transaction's own write and sync.
        dir.inject(Fault { kind: FaultKind::Error, after: 2, lasting: Lasting::Once });
        assert!(matches!(store.commit(&txn(index)).unwrap(), TxnResult::Committed(_)));
        put_off = put_off.max(dir.fired());
        dir.heal();
        assert!(!poison.is_set(), "transaction {index}");
    }
    assert!(put_off > 0);
    assert_eq!(state(&store), *states().last().unwrap());
    drop(store);
    let store = LoggedStore::open(dir.killed(), settings).unwrap();
    assert_eq!(state(&store), *states().last().unwrap());
}

/// No room for the file aside is no reason to stop: the old file is whole, and the next records may still fit.
#[test]
fn a_full_disk_puts_a_rewriting_off() {
    let dir = CrashDir::new();
    let store = LoggedStore::open(dir.clone(), LoggedSettings { rewrite_bytes_min: 0 }).unwrap();
    // Its first write is the transaction's own, the next operation that needs room is the rewriting's.
    dir.inject(Fault { kind: FaultKind::NoSpace, after: 1, lasting: Lasting::Once });
    for index in 0..TXNS {
        assert!(matches!(store.commit(&txn(index)).unwrap(), TxnResult::Committed(_)));
    }
    assert_eq!(dir.fired(), 1);
    assert_eq!(state(&store), *states().last().unwrap());
}
