//! The table that every store in one process keeps in memory: entries, sessions, recent history. It does no IO.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    task::Waker,
};

use hanbeon_records::Millis;

use crate::{
    Change, Commit, Entry, KeptAlive, Key, Limits, Range, Refusal, Revision, SessionId, StoreError,
    Txn, Watched, Write,
};

/// How many revisions a watcher may be behind before it has to read anew.
const HISTORY_MAX: usize = 10_000;

#[derive(Clone, Copy, Debug)]
struct Session {
    ttl_ms: u32,
    last_seen: Millis,
}

/// What a transaction comes to.
#[derive(Debug)]
pub(crate) enum Decision {
    Refused(Refusal),
    /// It holds and changes nothing.
    Nothing(Revision),
    /// To be made durable, then applied.
    Commit(Commit),
}

#[derive(Debug)]
pub(crate) struct Table {
    entries: BTreeMap<Key, Entry>,
    revision: Revision,
    sessions: BTreeMap<SessionId, Session>,
    next_session: u64,
    history: VecDeque<Commit>,
    /// The oldest revision that the history still tells of.
    oldest: Revision,
    wakers: Vec<Waker>,
}

impl Table {
    /// A table as it stood at `revision`, with no history.
    pub(crate) fn new(revision: Revision, entries: Vec<Entry>) -> Self {
        Self {
            entries: entries.into_iter().map(|entry| (entry.key.clone(), entry)).collect(),
            revision,
            sessions: BTreeMap::new(),
            next_session: 1,
            history: VecDeque::new(),
            oldest: revision.next(),
            wakers: Vec::new(),
        }
    }

    pub(crate) const fn revision(&self) -> Revision {
        self.revision
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Entry> {
        self.entries.get(key).cloned()
    }

    pub(crate) fn range(&self, prefix: &str) -> Range {
        let entries = self
            .entries
            .range(Key::new(prefix)..)
            .take_while(|(key, _)| key.as_str().starts_with(prefix))
            .map(|(_, entry)| entry.clone())
            .collect();
        Range { revision: self.revision, entries }
    }

    /// Judges a transaction and changes nothing.
    pub(crate) fn decide(&self, txn: &Txn, limits: Limits) -> Result<Decision, StoreError> {
        self.check(txn, limits)?;
        let found = |key: &Key| self.entries.get(key);
        if !txn.compares.iter().all(|compare| compare.holds(found(compare.key()))) {
            let found = txn.compares.iter().map(|compare| found(compare.key()).cloned()).collect();
            return Ok(Decision::Refused(Refusal { revision: self.revision, found }));
        }
        let revision = self.revision.next();
        let changes: Vec<Change> =
            txn.writes.iter().filter_map(|write| self.change(write, revision)).collect();
        if changes.is_empty() {
            return Ok(Decision::Nothing(self.revision));
        }
        Ok(Decision::Commit(Commit { revision, changes }))
    }

    fn check(&self, txn: &Txn, limits: Limits) -> Result<(), StoreError> {
        limits.check(txn)?;
        let mut keys = BTreeSet::new();
        for write in &txn.writes {
            if !keys.insert(write.key()) {
                return Err(StoreError::WrittenTwice { key: write.key().clone() });
            }
            if let Write::Put { session: Some(session), .. } = write
                && !self.sessions.contains_key(session)
            {
                return Err(StoreError::NoSession { session: *session });
            }
        }
        Ok(())
    }

    fn change(&self, write: &Write, revision: Revision) -> Option<Change> {
        let old = self.entries.get(write.key());
        match write {
            Write::Put { key, value, session } => Some(Change::Put(Entry {
                key: key.clone(),
                value: value.clone(),
                created: old.map_or(revision, |old| old.created),
                modified: revision,
                session: *session,
            })),
            Write::Delete { key } => old.map(|_| Change::Deleted(key.clone())),
        }
    }

    /// Takes in what is durable now; the wakers are to be woken once no lock is held.
    pub(crate) fn apply(&mut self, commit: Commit) -> Vec<Waker> {
        debug_assert_eq!(commit.revision, self.revision.next(), "revisions are dense");
        for change in &commit.changes {
            match change {
                Change::Put(entry) => {
                    self.entries.insert(entry.key.clone(), entry.clone());
                }
                Change::Deleted(key) => {
                    self.entries.remove(key);
                }
            }
        }
        self.revision = commit.revision;
        self.history.push_back(commit);
        if self.history.len() > HISTORY_MAX {
            self.forget_first();
        }
        std::mem::take(&mut self.wakers)
    }

    pub(crate) fn compact(&mut self, below: Revision) {
        while self.oldest < below && self.forget_first() {}
    }

    fn forget_first(&mut self) -> bool {
        let Some(first) = self.history.pop_front() else { return false };
        self.oldest = first.revision.next();
        true
    }

    /// The next revision at or after `from` that touched `prefix`.
    pub(crate) fn watched(
        &mut self,
        prefix: &str,
        from: Revision,
        waker: Option<&Waker>,
    ) -> Watched {
        if from < self.oldest {
            return Watched::Compacted(self.oldest);
        }
        let skipped = from.get().saturating_sub(self.oldest.get());
        let commits = self.history.iter().skip(usize::try_from(skipped).unwrap_or(usize::MAX));
        for commit in commits {
            let touches = |change: &&Change| change.key().as_str().starts_with(prefix);
            let changes: Vec<Change> = commit.changes.iter().filter(touches).cloned().collect();
            if !changes.is_empty() {
                return Watched::Changed(Commit { revision: commit.revision, changes });
            }
        }
        if let Some(waker) = waker
            && !self.wakers.iter().any(|known| known.will_wake(waker))
        {
            self.wakers.push(waker.clone());
        }
        Watched::Idle(self.revision)
    }

    /// All watchers have to look again: the store is broken.
    pub(crate) fn take_wakers(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.wakers)
    }

    pub(crate) fn open_session(&mut self, ttl_ms: u32, now: Millis) -> SessionId {
        let id = SessionId::new(self.next_session);
        self.next_session = self.next_session.saturating_add(1);
        self.sessions.insert(id, Session { ttl_ms, last_seen: now });
        id
    }

    pub(crate) fn keep_alive(&mut self, id: SessionId, now: Millis) -> KeptAlive {
        match self.sessions.get_mut(&id) {
            Some(session) => {
                session.last_seen = session.last_seen.max(now);
                KeptAlive::Alive
            }
            None => KeptAlive::Expired,
        }
    }

    /// Sessions whose time is up. They live on until [`Table::end_session`].
    pub(crate) fn expired(&self, now: Millis) -> Vec<SessionId> {
        let over = |session: &Session| now.since(session.last_seen) > i64::from(session.ttl_ms);
        self.sessions.iter().filter(|(_, session)| over(session)).map(|(id, _)| *id).collect()
    }

    /// Nothing can be bound to it from now on; what deletes its keys, if it had any.
    pub(crate) fn end_session(&mut self, id: SessionId) -> Option<Commit> {
        self.sessions.remove(&id);
        self.unbind(|session| session == id)
    }

    /// What deletes the keys of all sessions: their holders went down with the process that had the store open.
    pub(crate) fn end_all_sessions(&mut self) -> Option<Commit> {
        self.sessions.clear();
        self.unbind(|_| true)
    }

    fn unbind(&self, ends: impl Fn(SessionId) -> bool) -> Option<Commit> {
        let bound = self.entries.values().filter(|entry| entry.session.is_some_and(&ends));
        let changes: Vec<Change> = bound.map(|entry| Change::Deleted(entry.key.clone())).collect();
        (!changes.is_empty()).then(|| Commit { revision: self.revision.next(), changes })
    }
}
