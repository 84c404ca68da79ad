//! A store behind a line that loses things.

use bytes::Bytes;
use hanbeon_log::sync::Mutex;
use hanbeon_records::Millis;

use crate::{
    Entry, KeptAlive, Key, Limits, MetadataStore, Range, Revision, SessionId, StoreError, Txn,
    TxnResult, Watch,
};

/// What happens to the next transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It never arrives; the caller is told that nobody knows.
    LoseRequest,
    /// It is carried out; the caller is told that nobody knows.
    LoseReply,
    /// It arrives twice; the caller gets the second answer.
    Duplicate,
}

/// Passes everything on to a store, and plays tricks on transactions when told to.
#[derive(Debug)]
pub struct Unreliable<S> {
    store: S,
    next: Mutex<Option<Fault>>,
}

impl<S: MetadataStore> Unreliable<S> {
    /// Plays no tricks yet.
    pub fn new(store: S) -> Self {
        Self { store, next: Mutex::new(None) }
    }

    /// Does this to the next transaction, and only to it.
    pub fn fail_next(&self, fault: Fault) {
        *self.next.lock() = Some(fault);
    }

    /// The store itself again.
    pub fn into_inner(self) -> S {
        self.store
    }
}

fn lost() -> TxnResult {
    TxnResult::Unknown(StoreError::Io {
        file: "the line to the store".to_owned(),
        source: std::io::ErrorKind::TimedOut.into(),
    })
}

impl<S: MetadataStore> MetadataStore for Unreliable<S> {
    fn limits(&self) -> Limits {
        self.store.limits()
    }

    fn revision(&self) -> Result<Revision, StoreError> {
        self.store.revision()
    }

    fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.store.get(key)
    }

    fn range(&self, prefix: &str) -> Result<Range, StoreError> {
        self.store.range(prefix)
    }

    fn commit(&self, txn: &Txn) -> Result<TxnResult, StoreError> {
        let fault = self.next.lock().take();
        match fault {
            None => self.store.commit(txn),
            Some(Fault::LoseRequest) => Ok(lost()),
            Some(Fault::LoseReply) => self.store.commit(txn).map(|_| lost()),
            Some(Fault::Duplicate) => self.store.commit(txn).and_then(|_| self.store.commit(txn)),
        }
    }

    fn open_session(&self, ttl_ms: u32, now: Millis) -> Result<SessionId, StoreError> {
        self.store.open_session(ttl_ms, now)
    }

    fn keep_alive(&self, session: SessionId, now: Millis) -> Result<KeptAlive, StoreError> {
        self.store.keep_alive(session, now)
    }

    fn close_session(&self, session: SessionId) -> Result<(), StoreError> {
        self.store.close_session(session)
    }

    fn expire_sessions(&self, now: Millis) -> Result<usize, StoreError> {
        self.store.expire_sessions(now)
    }

    fn watch(&self, prefix: &str, from: Revision) -> Result<Box<dyn Watch>, StoreError> {
        self.store.watch(prefix, from)
    }

    fn compact(&self, below: Revision) -> Result<(), StoreError> {
        self.store.compact(below)
    }
}

/// Commits, and when nobody knows what became of it, finds out by content: `key` holds `value` or it does not. The value has
/// to be one that no other writer writes.
///
/// # Errors
/// What the store reports.
pub(crate) fn commit_by_content(
    store: &impl MetadataStore,
    txn: &Txn,
    key: &Key,
    value: &Bytes,
) -> Result<bool, StoreError> {
    match store.commit(txn)? {
        TxnResult::Committed(_) => Ok(true),
        TxnResult::Refused(_) | TxnResult::Unknown(_) => {
            Ok(store.get(key)?.is_some_and(|entry| entry.value == *value))
        }
    }
}
