//! A store that lives in one process: a table in memory, and a journal that makes its changes last.

use std::{fmt, task::Waker};

use hanbeon_log::sync::{Arc, Mutex};
use hanbeon_records::Millis;

use crate::{
    Commit, Entry, KeptAlive, Key, Limits, MetadataStore, Range, Revision, SessionId, StoreError,
    Txn, TxnResult, Watch, Watched,
    table::{Decision, Table},
};

/// All a journal has to keep: what is under every key at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The revision.
    pub revision: Revision,
    /// The entries, by key.
    pub entries: Vec<Entry>,
}

/// Where an [`Embedded`] store makes its changes last.
pub trait Journal: fmt::Debug + Send + 'static {
    /// What one transaction may carry.
    fn limits(&self) -> Limits;

    /// Makes one revision durable, all of it or nothing. Returns only when it is.
    ///
    /// # Errors
    /// It is durable or it is not; the journal is not asked again until it is opened anew.
    fn write(&mut self, commit: &Commit) -> Result<(), StoreError>;

    /// Called after each write: a journal that grows may rewrite itself from `snapshot`.
    ///
    /// # Errors
    /// What was written may be lost if it went on; the journal is not asked again until it is opened anew.
    fn tidy(&mut self, snapshot: &mut dyn FnMut() -> Snapshot) -> Result<(), StoreError>;
}

#[derive(Debug)]
struct Shared {
    table: Table,
    health: Health,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Good,
    /// A write failed: what is durable is not known, so nothing is said.
    Poisoned,
}

/// A store of one process. Writers take turns and hold no lock that readers need while the journal works.
#[derive(Debug)]
pub struct Embedded<J> {
    /// Taken before `shared`, and for the whole of a write.
    journal: Mutex<J>,
    shared: Arc<Mutex<Shared>>,
}

impl<J: Journal> Embedded<J> {
    /// A store over what a journal was found to hold. Sessions ended with the process that held them, so their keys go first.
    ///
    /// # Errors
    /// What the journal reports when it writes that.
    pub fn over(journal: J, found: Snapshot) -> Result<Self, StoreError> {
        let store = Self::of(journal, Table::new(found.revision, found.entries));
        store.write_own(Table::end_all_sessions)?;
        Ok(store)
    }

    pub(crate) fn of(journal: J, table: Table) -> Self {
        let shared = Arc::new(Mutex::new(Shared { table, health: Health::Good }));
        Self { journal: Mutex::new(journal), shared }
    }

    fn read<T>(&self, look: impl FnOnce(&mut Table) -> T) -> Result<T, StoreError> {
        self.shared.lock().good().map(look)
    }

    /// A change of the store's own making: never refused, and an unknown outcome is an error like any other.
    fn write_own(
        &self,
        decide: impl FnOnce(&mut Table) -> Option<Commit>,
    ) -> Result<(), StoreError> {
        let mut journal = self.journal.lock();
        match self.read(decide)? {
            Some(commit) => self.write(&mut journal, commit).map(drop),
            None => Ok(()),
        }
    }

    fn commit_under(&self, journal: &mut J, txn: &Txn) -> Result<TxnResult, StoreError> {
        match self.read(|table| table.decide(txn, journal.limits()))?? {
            Decision::Refused(refusal) => Ok(TxnResult::Refused(refusal)),
            Decision::Nothing(revision) => Ok(TxnResult::Committed(revision)),
            Decision::Commit(commit) => Ok(match self.write(journal, commit) {
                Ok(revision) => TxnResult::Committed(revision),
                Err(error) => TxnResult::Unknown(error),
            }),
        }
    }

    /// Durable first, visible then.
    fn write(&self, journal: &mut J, commit: Commit) -> Result<Revision, StoreError> {
        let revision = commit.revision;
        if let Err(error) = journal.write(&commit) {
            return Err(self.poison(error));
        }
        let wakers = self.read(|table| table.apply(commit))?;
        wakers.into_iter().for_each(Waker::wake);
        let mut snapshot = || {
            let Range { revision, entries } = self.shared.lock().table.range("");
            Snapshot { revision, entries }
        };
        // The transaction is durable and visible. A journal that breaks while it tidies says so from the next call on.
        if let Err(error) = journal.tidy(&mut snapshot) {
            drop(self.poison(error));
        }
        Ok(revision)
    }

    fn poison(&self, error: StoreError) -> StoreError {
        let wakers = {
            let mut shared = self.shared.lock();
            shared.health = Health::Poisoned;
            shared.table.take_wakers()
        };
        wakers.into_iter().for_each(Waker::wake);
        error
    }
}

impl Shared {
    const fn good(&mut self) -> Result<&mut Table, StoreError> {
        match self.health {
            Health::Good => Ok(&mut self.table),
            Health::Poisoned => Err(StoreError::Poisoned),
        }
    }
}

impl<J: Journal> MetadataStore for Embedded<J> {
    fn limits(&self) -> Limits {
        self.journal.lock().limits()
    }

    fn revision(&self) -> Result<Revision, StoreError> {
        self.read(|table| table.revision())
    }

    fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.read(|table| table.get(key))
    }

    fn range(&self, prefix: &str) -> Result<Range, StoreError> {
        self.read(|table| table.range(prefix))
    }

    fn commit(&self, txn: &Txn) -> Result<TxnResult, StoreError> {
        self.commit_under(&mut self.journal.lock(), txn)
    }

    fn open_session(&self, ttl_ms: u32, now: Millis) -> Result<SessionId, StoreError> {
        self.read(|table| table.open_session(ttl_ms, now))
    }

    fn keep_alive(&self, session: SessionId, now: Millis) -> Result<KeptAlive, StoreError> {
        self.read(|table| table.keep_alive(session, now))
    }

    fn close_session(&self, session: SessionId) -> Result<(), StoreError> {
        self.write_own(|table| table.end_session(session))
    }

    fn expire_sessions(&self, now: Millis) -> Result<usize, StoreError> {
        let expired = self.read(|table| table.expired(now))?;
        for session in &expired {
            // Looked at again under the writer's lock: it may have been kept alive meanwhile.
            self.write_own(|table| {
                table.expired(now).contains(session).then(|| table.end_session(*session)).flatten()
            })?;
        }
        Ok(expired.len())
    }

    fn watch(&self, prefix: &str, from: Revision) -> Result<Box<dyn Watch>, StoreError> {
        let shared = Arc::clone(&self.shared);
        self.read(|_| ())?;
        Ok(Box::new(TableWatch { shared, prefix: prefix.to_owned(), from }))
    }

    fn compact(&self, below: Revision) -> Result<(), StoreError> {
        self.read(|table| table.compact(below))
    }
}

#[derive(Debug)]
struct TableWatch {
    shared: Arc<Mutex<Shared>>,
    prefix: String,
    /// The next revision it has not told of.
    from: Revision,
}

impl Watch for TableWatch {
    fn poll(&mut self, waker: Option<&Waker>) -> Result<Watched, StoreError> {
        let mut shared = self.shared.lock();
        let word = shared.good()?.watched(&self.prefix, self.from, waker);
        drop(shared);
        match &word {
            Watched::Changed(commit) => self.from = commit.revision.next(),
            // A watch from a revision yet to come stays there.
            Watched::Idle(revision) => self.from = self.from.max(revision.next()),
            Watched::Compacted(_) => {}
        }
        Ok(word)
    }
}
