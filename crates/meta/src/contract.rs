//! What every [`MetadataStore`] promises, as a suite to run against it. Panics with what was broken.
//!
//! ```
//! use hanbeon_meta::{MemoryStore, contract};
//!
//! struct Memory;
//! impl contract::Fixture for Memory {
//!     type Store = MemoryStore;
//!     fn fresh(&mut self) -> MemoryStore {
//!         MemoryStore::new()
//!     }
//!     fn restart(&mut self, _store: MemoryStore) -> Option<MemoryStore> {
//!         None // it keeps nothing
//!     }
//! }
//! contract::check(&mut Memory);
//! ```

use std::{
    fmt::Display,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Wake, Waker},
    thread,
};

use bytes::Bytes;
use hanbeon_records::Millis;

use crate::{
    Change, Commit, Compare, Entry, Fault, KeptAlive, Key, MetadataStore, Revision, StoreError,
    Txn, TxnResult, Unreliable, Watch, Watched, unreliable::commit_by_content,
};

/// How the suite gets stores.
pub trait Fixture {
    /// The store under test.
    type Store: MetadataStore;

    /// An empty one, apart from all others.
    fn fresh(&mut self) -> Self::Store;

    /// The same one after a restart, or `None` when it keeps nothing.
    fn restart(&mut self, store: Self::Store) -> Option<Self::Store>;
}

/// Runs the whole suite.
///
/// # Panics
/// When the store breaks a promise; the message says which.
pub fn check(fixture: &mut impl Fixture) {
    revisions_order_all_changes(&fixture.fresh());
    compares_guard_the_whole_transaction(&fixture.fresh());
    created_marks_a_new_life_of_a_key(&fixture.fresh());
    ranges_are_prefixes_at_one_revision(&fixture.fresh());
    refused_input_changes_nothing(&fixture.fresh());
    a_watch_tells_every_revision_once(&fixture.fresh());
    a_watch_says_what_it_cannot_tell(&fixture.fresh());
    a_waiting_watch_is_woken(&fixture.fresh());
    sessions_end_with_their_keys(&fixture.fresh());
    rival_writers_lose_no_update(&fixture.fresh());
    an_unknown_outcome_is_found_out_by_content(Unreliable::new(fixture.fresh()));
    let store = fixture.fresh();
    survives_restarts(fixture, store);
}

fn must<T, E: Display>(result: Result<T, E>, what: &str) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{what}: {error}"),
    }
}

fn some<T>(value: Option<T>, what: &str) -> T {
    match value {
        Some(value) => value,
        None => panic!("{what}: nothing there"),
    }
}

fn key(text: &str) -> Key {
    Key::new(text)
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn put(name: &str, value: &str) -> Txn {
    Txn::new().put(key(name), bytes(value))
}

fn committed(store: &impl MetadataStore, txn: &Txn) -> Revision {
    match must(store.commit(txn), "commit") {
        TxnResult::Committed(revision) => revision,
        other @ (TxnResult::Refused(_) | TxnResult::Unknown(_)) => {
            panic!("expected a commit of {txn:?}, got {other:?}")
        }
    }
}

fn refused(store: &impl MetadataStore, txn: &Txn) -> Vec<Option<Entry>> {
    match must(store.commit(txn), "commit") {
        TxnResult::Refused(refusal) => {
            assert_eq!(
                refusal.revision,
                must(store.revision(), "revision"),
                "judged in the present"
            );
            refusal.found
        }
        other @ (TxnResult::Committed(_) | TxnResult::Unknown(_)) => {
            panic!("expected a refusal of {txn:?}, got {other:?}")
        }
    }
}

fn got(store: &impl MetadataStore, name: &str) -> Option<Entry> {
    must(store.get(&key(name)), "get")
}

fn revisions_order_all_changes(store: &impl MetadataStore) {
    let before = must(store.revision(), "revision");
    let first = committed(store, &put("a", "1"));
    assert_eq!(first, before.next(), "a transaction takes one revision");
    let second = committed(store, &put("b", "1").put(key("c"), bytes("1")).delete(key("a")));
    assert_eq!(second, first.next(), "however many keys it writes");
    assert_eq!(must(store.revision(), "revision"), second);
    assert_eq!(got(store, "a"), None);
    for name in ["b", "c"] {
        let entry = some(got(store, name), name);
        assert_eq!((entry.created, entry.modified), (second, second), "{name}");
    }
    let nothing = committed(store, &Txn::new().delete(key("a")));
    assert_eq!(nothing, second, "deleting what is not there changes nothing");
    let looked = committed(store, &Txn::new().when(Compare::Absent(key("a"))));
    assert_eq!(looked, second, "looking changes nothing");
}

fn compares_guard_the_whole_transaction(store: &impl MetadataStore) {
    let created = committed(store, &put("k", "1"));
    let modified = committed(store, &put("k", "2"));
    let (name, present) = (key("k"), some(got(store, "k"), "k"));
    assert_eq!((present.created, present.modified), (created, modified));
    for compare in [
        Compare::Absent(name.clone()),
        Compare::Created(name.clone(), modified),
        Compare::Modified(name.clone(), created),
        Compare::Holds(name.clone(), bytes("1")),
        Compare::Created(key("none"), created),
        Compare::Modified(key("none"), created),
        Compare::Holds(key("none"), bytes("")),
    ] {
        let expected = (*compare.key() == name).then(|| present.clone());
        let guarded = put("other", "x").when(Compare::Absent(key("other"))).when(compare.clone());
        let found = refused(store, &guarded);
        assert_eq!(found, [None, expected], "{compare:?} tells what it found");
        assert_eq!(got(store, "other"), None, "{compare:?} guards every write");
        assert_eq!(must(store.revision(), "revision"), modified);
    }
    for compare in [
        Compare::Absent(key("none")),
        Compare::Created(name.clone(), created),
        Compare::Holds(name.clone(), bytes("2")),
    ] {
        let _: Revision = committed(store, &put("other", "y").when(compare));
    }
    let txn = put("k", "3").when(Compare::Modified(name, modified));
    let third = committed(store, &txn);
    let again = some(refused(store, &txn).pop().flatten(), "what the refusal found");
    assert_eq!((again.value, again.modified), (bytes("3"), third), "a token is good once");
}

fn created_marks_a_new_life_of_a_key(store: &impl MetadataStore) {
    let first = committed(store, &put("k", "1"));
    let _: Revision = committed(store, &Txn::new().delete(key("k")));
    let second = committed(store, &put("k", "1"));
    let entry = some(got(store, "k"), "k");
    assert!(second > first && entry.created == second, "{entry:?}");
    let _: Vec<_> = refused(store, &put("x", "").when(Compare::Created(key("k"), first)));
}

fn ranges_are_prefixes_at_one_revision(store: &impl MetadataStore) {
    let mut txn = Txn::new();
    for name in ["p/a/2", "p/a/10", "p/b/1", "p", "q", "p/a"] {
        txn = txn.put(key(name), bytes(name));
    }
    let revision = committed(store, &txn);
    let names = |prefix: &str| -> Vec<String> {
        let range = must(store.range(prefix), "range");
        assert_eq!(range.revision, revision);
        range.entries.iter().map(|entry| entry.key.as_str().to_owned()).collect()
    };
    assert_eq!(names("p/a/"), ["p/a/10", "p/a/2"], "sorted by bytes");
    assert_eq!(names("p/a"), ["p/a", "p/a/10", "p/a/2"]);
    assert_eq!(names(""), ["p", "p/a", "p/a/10", "p/a/2", "p/b/1", "q"]);
    assert!(names("z").is_empty() && names("p/c").is_empty());
}

fn refused_input_changes_nothing(store: &impl MetadataStore) {
    let before = must(store.range(""), "range");
    let twice = put("a", "1").delete(key("a"));
    assert!(matches!(store.commit(&twice), Err(StoreError::WrittenTwice { .. })), "{twice:?}");
    let session = must(store.open_session(1000, Millis::new(0)), "open a session");
    must(store.close_session(session), "close it");
    must(store.close_session(session), "close it again");
    let bound = put("a", "1").put_bound(key("b"), bytes("1"), session);
    assert!(matches!(store.commit(&bound), Err(StoreError::NoSession { .. })), "{bound:?}");
    let limits = store.limits();
    let many = (0..=limits.writes_max)
        .fold(Txn::new(), |txn, number| txn.put(Key::new(&format!("many/{number}")), Bytes::new()));
    assert!(matches!(store.commit(&many), Err(StoreError::TooLarge { .. })), "too many writes");
    let wide = (0..=limits.compares_max)
        .fold(put("a", "1"), |txn, _| txn.when(Compare::Absent(key("none"))));
    assert!(matches!(store.commit(&wide), Err(StoreError::TooLarge { .. })), "too many compares");
    let large = Txn::new().put(key("a"), vec![0; limits.bytes_max].into());
    assert!(matches!(store.commit(&large), Err(StoreError::TooLarge { .. })), "too many bytes");
    let long = Txn::new().put(key("a"), vec![0; limits.value_bytes_max + 1].into());
    assert!(matches!(store.commit(&long), Err(StoreError::TooLarge { .. })), "too long a value");
    assert_eq!(must(store.range(""), "range"), before);
    let full = (0..limits.writes_max.min(1000))
        .fold(Txn::new(), |txn, number| txn.put(Key::new(&format!("many/{number}")), Bytes::new()));
    let _: Revision = committed(store, &full);
}

fn changed(watch: &mut Box<dyn Watch>) -> Commit {
    match must(watch.poll(None), "watch") {
        Watched::Changed(commit) => commit,
        other @ (Watched::Idle(_) | Watched::Compacted(_)) => {
            panic!("expected a change, the watch says {other:?}")
        }
    }
}

fn said(watch: &mut Box<dyn Watch>, expected: &Watched) {
    assert_eq!(must(watch.poll(None), "watch"), *expected);
}

fn a_watch_tells_every_revision_once(store: &impl MetadataStore) {
    let first = committed(store, &put("w/a", "1"));
    let mut all = must(store.watch("", first), "watch");
    let mut some_keys = must(store.watch("w/", first), "watch");
    let mut later = must(store.watch("", Revision::new(first.get() + 2)), "watch");
    let second = committed(store, &put("v/a", "1").put(key("w/b"), bytes("2")));
    let third = committed(store, &put("v/a", "2"));
    let fourth = committed(store, &Txn::new().delete(key("w/a")).delete(key("w/none")));

    let revisions: Vec<_> = (0..4).map(|_| changed(&mut all).revision).collect();
    assert_eq!(revisions, [first, second, third, fourth], "in order, without a gap");
    said(&mut all, &Watched::Idle(fourth));
    assert_eq!(changed(&mut later).revision, third, "from a revision on");

    let commits: Vec<_> = (0..3).map(|_| changed(&mut some_keys)).collect();
    let told: Vec<_> = commits.iter().map(|commit| commit.revision).collect();
    assert_eq!(told, [first, second, fourth], "only revisions that touch the prefix");
    for commit in &commits {
        for change in &commit.changes {
            assert!(change.key().as_str().starts_with("w/"), "{change:?}");
            if let Change::Put(entry) = change {
                assert_eq!(entry.modified, commit.revision);
            }
        }
    }
    assert_eq!(some(commits.last(), "the last").changes, [Change::Deleted(key("w/a"))]);
    said(&mut some_keys, &Watched::Idle(fourth));
    let fifth = committed(store, &put("w/a", "3"));
    assert_eq!(changed(&mut some_keys).revision, fifth, "goes on after being idle");
    let mut resumed = must(store.watch("w/", fourth.next()), "watch");
    assert_eq!(changed(&mut resumed), changed(&mut must(store.watch("w/", fifth), "watch")));
}

fn a_watch_says_what_it_cannot_tell(store: &impl MetadataStore) {
    let mut last = must(store.revision(), "revision");
    let start = last.next();
    let mut slow = must(store.watch("", start), "watch");
    for number in 0..10 {
        last = committed(store, &put("k", &number.to_string()));
    }
    let kept = Revision::new(last.get() - 3);
    must(store.compact(kept), "compact");
    said(&mut slow, &Watched::Compacted(kept));
    said(
        &mut must(store.watch("", Revision::new(kept.get() - 1)), "watch"),
        &Watched::Compacted(kept),
    );
    let mut exact = must(store.watch("", kept), "watch");
    assert_eq!(changed(&mut exact).revision, kept, "the oldest revision that is kept");
    assert_eq!(some(got(store, "k"), "k").value, bytes("9"), "values stay");
    let mut future = must(store.watch("", last.next().next()), "watch");
    said(&mut future, &Watched::Idle(last));
    let _: Revision = committed(store, &put("k", "too early"));
    let at = committed(store, &put("k", "in time"));
    assert_eq!(changed(&mut future).revision, at, "a watch from a revision yet to come");
}

#[derive(Debug, Default)]
struct Counter(AtomicUsize);

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn a_waiting_watch_is_woken(store: &impl MetadataStore) {
    let counter = Arc::new(Counter::default());
    let waker = Waker::from(Arc::clone(&counter));
    let from = must(store.revision(), "revision").next();
    let mut watch = must(store.watch("", from), "watch");
    assert!(matches!(must(watch.poll(Some(&waker)), "watch"), Watched::Idle(_)));
    assert_eq!(counter.0.load(Ordering::SeqCst), 0);
    let revision = committed(store, &put("k", "1"));
    let mut blocking = must(store.watch("", from), "watch");
    assert!(matches!(must(crate::wait(&mut *blocking), "wait"), Watched::Changed(_)));
    // A remote store takes its time: whoever waits blocks until the change is here.
    assert!(
        matches!(must(crate::wait(&mut *watch), "wait"), Watched::Changed(commit) if commit.revision == revision)
    );
    assert!(counter.0.load(Ordering::SeqCst) > 0, "the waker was not woken");
    thread::scope(|scope| {
        let waiting = scope.spawn(move || must(crate::wait(&mut *watch), "wait"));
        let revision = committed(store, &put("k", "2"));
        let word = waiting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        assert!(matches!(word, Watched::Changed(commit) if commit.revision == revision));
    });
}

fn sessions_end_with_their_keys(store: &impl MetadataStore) {
    let at = Millis::new;
    let short = must(store.open_session(1000, at(0)), "open a session");
    let long = must(store.open_session(60_000, at(0)), "open a session");
    assert_ne!(short, long);
    let txn = put("free", "1")
        .put_bound(key("s/1"), bytes("1"), short)
        .put_bound(key("s/2"), bytes("1"), short)
        .put_bound(key("l/1"), bytes("1"), long);
    let revision = committed(store, &txn);
    assert_eq!(some(got(store, "s/1"), "s/1").session, Some(short));
    // Put again without a session, a key is nobody's.
    let revision = committed(store, &put("s/2", "2")).max(revision);
    let mut watch = must(store.watch("s/", revision.next()), "watch");

    assert_eq!(must(store.keep_alive(short, at(900)), "keep alive"), KeptAlive::Alive);
    // A keep-alive that arrives late does not shorten anything.
    assert_eq!(must(store.keep_alive(short, at(500)), "keep alive"), KeptAlive::Alive);
    assert_eq!(
        must(store.expire_sessions(at(1900)), "expire"),
        0,
        "no earlier than the time to live"
    );
    assert!(got(store, "s/1").is_some());
    assert_eq!(must(store.expire_sessions(at(1901)), "expire"), 1);
    assert_eq!(got(store, "s/1"), None);
    assert_eq!(some(got(store, "s/2"), "s/2").session, None);
    assert_eq!(changed(&mut watch).changes, [Change::Deleted(key("s/1"))], "watchers see the end");
    assert_eq!(must(store.keep_alive(short, at(1902)), "keep alive"), KeptAlive::Expired);
    assert!(matches!(
        store.commit(&Txn::new().put_bound(key("s/3"), bytes("1"), short)),
        Err(StoreError::NoSession { .. })
    ));
    must(store.close_session(long), "close");
    assert_eq!(got(store, "l/1"), None);
    assert!(got(store, "free").is_some());
}

fn number(entry: Option<&Entry>) -> u64 {
    let text = entry.map(|entry| String::from_utf8_lossy(&entry.value).into_owned());
    text.map_or(0, |text| must(text.parse(), "a number"))
}

fn rival_writers_lose_no_update(store: &impl MetadataStore) {
    const WRITERS: u64 = 4;
    const EACH: u64 = 10;
    thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                let mut done = 0;
                while done < EACH {
                    let found = got(store, "count");
                    let next = (number(found.as_ref()) + 1).to_string();
                    let guarded = put("count", &next)
                        .unchanged(&key("count"), found.map(|entry| entry.modified));
                    match must(store.commit(&guarded), "commit") {
                        TxnResult::Committed(_) => done += 1,
                        TxnResult::Refused(_) => {}
                        TxnResult::Unknown(error) => panic!("unknown outcome: {error}"),
                    }
                }
            });
        }
    });
    assert_eq!(number(got(store, "count").as_ref()), WRITERS * EACH);
}

fn an_unknown_outcome_is_found_out_by_content<S: MetadataStore>(store: Unreliable<S>) {
    let name = key("k");
    let txn = |value: &str| put("k", value).when(Compare::Absent(key("k")));
    store.fail_next(Fault::LoseRequest);
    let found = commit_by_content(&store, &txn("1"), &name, &bytes("1"));
    assert!(!must(found, "commit"), "it never arrived");
    store.fail_next(Fault::LoseReply);
    let found = commit_by_content(&store, &txn("2"), &name, &bytes("2"));
    assert!(must(found, "commit"), "it was carried out");
    let store = store.into_inner();
    let _: Revision = committed(&store, &Txn::new().delete(key("k")));
    let store = Unreliable::new(store);
    store.fail_next(Fault::Duplicate);
    // The second copy is refused by what the first one did: a failed compare does not say "I lost".
    assert!(matches!(must(store.commit(&txn("3")), "commit"), TxnResult::Refused(_)));
    let found = commit_by_content(&store, &txn("3"), &name, &bytes("3"));
    assert!(must(found, "commit"));
}

fn survives_restarts<F: Fixture>(fixture: &mut F, store: F::Store) {
    let session = must(store.open_session(60_000, Millis::new(0)), "open a session");
    let txn = put("a", "1").put(key("b"), Bytes::new()).put_bound(key("s"), bytes("1"), session);
    let first = committed(&store, &txn);
    let second = committed(&store, &put("a", "2"));
    let kept = [got(&store, "a"), got(&store, "b")];
    let Some(store) = fixture.restart(store) else { return };
    assert_eq!([got(&store, "a"), got(&store, "b")], kept, "values and revisions survive");
    assert_eq!(got(&store, "s"), None, "sessions end with the process that held them");
    assert_eq!(must(store.keep_alive(session, Millis::new(0)), "keep alive"), KeptAlive::Expired);
    let now = must(store.revision(), "revision");
    assert!(now >= second, "revisions go on from {second}, not {now}");
    let mut watch = must(store.watch("", first), "watch");
    match must(watch.poll(None), "watch") {
        Watched::Changed(commit) => assert_eq!(commit.revision, first, "no gap"),
        Watched::Compacted(oldest) => assert!(oldest > first, "{oldest}"),
        Watched::Idle(at) => panic!("a watch from {first} passed over changes, it is at {at}"),
    }
    let third = committed(&store, &put("a", "3").when(Compare::Modified(key("a"), second)));
    assert_eq!(third, now.next());
    let before = must(store.range(""), "range");
    for _ in 0..3 {
        let _: Revision = committed(&store, &put("a", "3"));
    }
    let last = some(got(&store, "a"), "a");
    let Some(store) = fixture.restart(store) else { return };
    assert_eq!(got(&store, "a"), Some(last));
    assert_eq!(got(&store, "b"), before.entries.into_iter().find(|entry| entry.key == key("b")));
}
