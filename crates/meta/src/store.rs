//! The trait, and the words it speaks: keys with revisions, guarded transactions, sessions, watches.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
};

use bytes::Bytes;
use hanbeon_records::Millis;

use crate::StoreError;

/// A point in the order of all changes of a store. The empty store is at 0; every transaction that changes something takes
/// the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(u64);

impl Revision {
    /// Before the first change.
    pub const ZERO: Self = Self(0);

    /// Wraps the number.
    #[must_use]
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The one after this.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A key: a path of words divided by `/`. Ordered by its bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// Any text is a key.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names a session while it lives; good within one opening of a store that lives in one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(u64);

impl SessionId {
    /// Wraps the number.
    #[must_use]
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a store holds under one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// Its value.
    pub value: Bytes,
    /// When the key came to be; a key deleted and put again has another one. Serves as an epoch.
    pub created: Revision,
    /// When the value was last put. The token of a compare.
    pub modified: Revision,
    /// The session that the key ends with.
    pub session: Option<SessionId>,
}

/// All entries under a prefix at one revision, by key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The revision of the store they were read at.
    pub revision: Revision,
    /// The entries.
    pub entries: Vec<Entry>,
}

/// A condition of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compare {
    /// There is no such key.
    Absent(Key),
    /// The key is there and was created at this revision.
    Created(Key, Revision),
    /// The key is there and was last put at this revision.
    Modified(Key, Revision),
    /// The key is there and holds these bytes.
    Holds(Key, Bytes),
}

impl Compare {
    /// The key it looks at.
    #[must_use]
    pub const fn key(&self) -> &Key {
        match self {
            Self::Absent(key)
            | Self::Created(key, _)
            | Self::Modified(key, _)
            | Self::Holds(key, _) => key,
        }
    }

    /// Whether it holds for what is under its key.
    #[must_use]
    pub fn holds(&self, found: Option<&Entry>) -> bool {
        match (self, found) {
            (Self::Absent(_), found) => found.is_none(),
            (Self::Created(_, revision), Some(entry)) => entry.created == *revision,
            (Self::Modified(_, revision), Some(entry)) => entry.modified == *revision,
            (Self::Holds(_, value), Some(entry)) => entry.value == *value,
            (Self::Created(..) | Self::Modified(..) | Self::Holds(..), None) => false,
        }
    }
}

/// One write of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Puts a value.
    Put {
        /// Where.
        key: Key,
        /// What.
        value: Bytes,
        /// With which session the key ends, if with any.
        session: Option<SessionId>,
    },
    /// Deletes a key; fine when there is none.
    Delete {
        /// Which.
        key: Key,
    },
}

impl Write {
    /// The key it writes.
    #[must_use]
    pub const fn key(&self) -> &Key {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }

    fn value_len(&self) -> usize {
        match self {
            Self::Put { value, .. } => value.len(),
            Self::Delete { .. } => 0,
        }
    }
}

/// A guarded transaction: all writes happen at one revision if all compares hold, none otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "a transaction does nothing until it is committed"]
pub struct Txn {
    /// The conditions.
    pub compares: Vec<Compare>,
    /// The writes, each to another key.
    pub writes: Vec<Write>,
}

impl Txn {
    /// No conditions, no writes.
    pub const fn new() -> Self {
        Self { compares: Vec::new(), writes: Vec::new() }
    }

    /// Adds a condition.
    pub fn when(mut self, compare: Compare) -> Self {
        self.compares.push(compare);
        self
    }

    /// Guards against any change of `key` since `seen` was read there: the same modification, or still nothing.
    pub fn unchanged(self, key: &Key, seen: Option<Revision>) -> Self {
        let key = key.clone();
        self.when(seen.map_or(Compare::Absent(key.clone()), |at| Compare::Modified(key, at)))
    }

    /// Puts a value.
    pub fn put(mut self, key: Key, value: Bytes) -> Self {
        self.writes.push(Write::Put { key, value, session: None });
        self
    }

    /// Puts a value that ends with `session`.
    pub fn put_bound(mut self, key: Key, value: Bytes, session: SessionId) -> Self {
        self.writes.push(Write::Put { key, value, session: Some(session) });
        self
    }

    /// Deletes a key.
    pub fn delete(mut self, key: Key) -> Self {
        self.writes.push(Write::Delete { key });
        self
    }
}

/// Why a transaction did nothing: a compare did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The revision it was judged at.
    pub revision: Revision,
    /// What is under the key of each compare, in the order of the compares.
    pub found: Vec<Option<Entry>>,
}

/// What became of a transaction.
#[derive(Debug)]
#[must_use = "a refused or unknown transaction has to be acted upon"]
pub enum TxnResult {
    /// It happened at this revision (the present one when it changed nothing).
    Committed(Revision),
    /// It did not happen.
    Refused(Refusal),
    /// It happened or it did not: the reply was lost, or the disk failed half way. Read again and judge by what is there; a
    /// later compare that fails does not tell.
    Unknown(StoreError),
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A value was put.
    Put(Entry),
    /// The key was deleted, or its session ended.
    Deleted(Key),
}

impl Change {
    /// The key.
    #[must_use]
    pub const fn key(&self) -> &Key {
        match self {
            Self::Put(entry) => &entry.key,
            Self::Deleted(key) => key,
        }
    }
}

/// All changes of one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The revision.
    pub revision: Revision,
    /// The changes, each of another key.
    pub changes: Vec<Change>,
}

/// Whether a session goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum KeptAlive {
    /// For another time to live from now on.
    Alive,
    /// It is over, and so are its keys. Begin again as a new incarnation.
    Expired,
}

/// What one transaction may carry. Portable callers stay within etcd's (128, 128, 1 MiB).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Compares.
    pub compares_max: usize,
    /// Writes.
    pub writes_max: usize,
    /// Bytes of keys and values of all writes together.
    pub bytes_max: usize,
    /// Bytes of one value.
    pub value_bytes_max: usize,
}

impl Limits {
    /// Whether a transaction keeps to them.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`].
    pub fn check(&self, txn: &Txn) -> Result<(), StoreError> {
        let values = || txn.writes.iter().map(Write::value_len);
        let keys = txn.writes.iter().map(|write| write.key().as_str().len());
        for (what, found, limit) in [
            ("compares", txn.compares.len(), self.compares_max),
            ("writes", txn.writes.len(), self.writes_max),
            ("bytes", keys.chain(values()).fold(0, usize::saturating_add), self.bytes_max),
            ("bytes in one value", values().max().unwrap_or(0), self.value_bytes_max),
        ] {
            if found > limit {
                return Err(StoreError::TooLarge { what, limit, found });
            }
        }
        Ok(())
    }
}

/// What a [`Watch`] has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watched {
    /// The changes of the next revision that touched the prefix.
    Changed(Commit),
    /// Nothing more up to this revision: the watcher is that far (a progress mark).
    Idle(Revision),
    /// The history below this revision is gone. Read the range anew and watch from the revision after it.
    Compacted(Revision),
}

/// A stream of changes in the order of revisions, without a gap.
pub trait Watch: fmt::Debug + Send {
    /// The next word. After [`Watched::Idle`] the waker, if one was given, is woken when there may be more.
    ///
    /// # Errors
    /// What the store reports.
    fn poll(&mut self, waker: Option<&Waker>) -> Result<Watched, StoreError>;
}

/// Cluster metadata: linearizable, ordered by revisions.
///
/// Calls block until the store has answered and need no executor. A store that lives in one process judges the time of sessions
/// by the `now` it is handed; a remote one by its own clock. No caller may rest safety on a session: it says who should
/// try, compares decide what happens. A back end proves itself against the suite in `contract` (feature `testing`).
pub trait MetadataStore: fmt::Debug + Send + Sync + 'static {
    /// What one transaction may carry.
    fn limits(&self) -> Limits;

    /// The revision of the last change.
    ///
    /// # Errors
    /// What the store reports.
    fn revision(&self) -> Result<Revision, StoreError>;

    /// What is under `key`.
    ///
    /// # Errors
    /// What the store reports.
    fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError>;

    /// Everything under a prefix, at one revision.
    ///
    /// # Errors
    /// What the store reports.
    fn range(&self, prefix: &str) -> Result<Range, StoreError>;

    /// Judges and carries out a transaction. Once committed it survives whatever the store promises to survive.
    ///
    /// # Errors
    /// It surely did not happen: it is too large, names a key twice, binds a key to a session that is over, or the store is not
    /// able to answer at all. What may have happened is [`TxnResult::Unknown`], never an error.
    fn commit(&self, txn: &Txn) -> Result<TxnResult, StoreError>;

    /// Begins a session that lives for `ttl_ms` milliseconds after its last [`MetadataStore::keep_alive`].
    ///
    /// # Errors
    /// What the store reports.
    fn open_session(&self, ttl_ms: u32, now: Millis) -> Result<SessionId, StoreError>;

    /// Says that the holder of a session is there.
    ///
    /// # Errors
    /// What the store reports; the session may have been kept alive or not.
    fn keep_alive(&self, session: SessionId, now: Millis) -> Result<KeptAlive, StoreError>;

    /// Ends a session and deletes its keys; fine when it is over already.
    ///
    /// # Errors
    /// What the store reports; the session may be over or not.
    fn close_session(&self, session: SessionId) -> Result<(), StoreError>;

    /// Ends the sessions whose time is up at `now`; how many. A store with a clock of its own has nothing to do here.
    ///
    /// # Errors
    /// What the store reports; some sessions may be over.
    fn expire_sessions(&self, now: Millis) -> Result<usize, StoreError>;

    /// Watches a prefix from a revision on (inclusive).
    ///
    /// # Errors
    /// What the store reports. That the revision is compacted is the watch's first word, not an error.
    fn watch(&self, prefix: &str, from: Revision) -> Result<Box<dyn Watch>, StoreError>;

    /// Forgets the history below `below`; values stay. Stores bound their history by themselves as well.
    ///
    /// # Errors
    /// What the store reports.
    fn compact(&self, below: Revision) -> Result<(), StoreError>;
}

#[derive(Debug)]
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Blocks this thread until a watch has something else to say than [`Watched::Idle`].
///
/// # Errors
/// What the watch reports.
pub fn wait(watch: &mut dyn Watch) -> Result<Watched, StoreError> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match poll(watch, &mut Context::from_waker(&waker)) {
            Poll::Ready(word) => return word,
            Poll::Pending => thread::park(),
        }
    }
}

fn poll(watch: &mut dyn Watch, context: &mut Context<'_>) -> Poll<Result<Watched, StoreError>> {
    match watch.poll(Some(context.waker())) {
        Ok(Watched::Idle(_)) => Poll::Pending,
        word => Poll::Ready(word),
    }
}
