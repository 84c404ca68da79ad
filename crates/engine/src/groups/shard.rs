//! One partition of `__consumer_offsets` and the groups that live on it.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use hanbeon_group::{AppendKind, Coordinator, Output, Replayed, Reply};
use hanbeon_idempotence::{MarkerClaim, VerificationGuard};
use hanbeon_log::{
    Abandoned, Completer, Completion,
    sync::{AtomicBool, AtomicI64, Mutex, MutexGuard, Ordering},
};
use hanbeon_records::{Millis, Offset};

use super::{Around, GroupsError};
use crate::{
    InTransaction, ProduceError, StateEntry, StateLog, StateRecord, Written,
    coordinators::{Loading, Shard},
};

/// An answer, and what must be durable before it is heard.
pub(crate) struct Answered {
    pub(crate) reply: Reply,
    pub(crate) gate: Option<Offset>,
}

/// Who waits for an answer.
pub(crate) type Token = Completer<Answered>;

/// A shard: its log, and its groups once that is read.
pub(crate) struct GroupShard {
    pub(crate) number: i32,
    pub(crate) log: Arc<dyn StateLog>,
    state: Mutex<Loading<Groups>>,
    loaded: AtomicBool,
    failure: Mutex<Option<Failure>>,
    /// When time will change a group here next; `i64::MAX` for never.
    deadline: AtomicI64,
}

/// Milliseconds for which a log that did not read is left alone.
const PATIENCE_MS: i64 = 5_000;

/// Why the log did not read when that was tried last.
struct Failure {
    error: GroupsError,
    at: Millis,
}

/// Groups whose log is read.
pub(crate) struct Groups {
    pub(crate) coordinator: Coordinator<Token>,
    end: Offset,
}

impl Groups {
    /// Where the log ends.
    pub(crate) const fn end(&self) -> Offset {
        self.end
    }

    /// Learns what is not in the log. Whoever asks anything has looked first.
    fn look_around(&mut self, around: &dyn Around) {
        self.coordinator.set_topics(around.topics());
        self.coordinator.set_time_of_day(around.now(), around.time_of_day());
    }
}

impl GroupShard {
    pub(crate) fn new(number: i32, log: Arc<dyn StateLog>) -> Self {
        Self {
            number,
            log,
            state: Mutex::new(Loading::NotYet),
            loaded: AtomicBool::new(false),
            failure: Mutex::new(None),
            deadline: AtomicI64::new(i64::MAX),
        }
    }

    /// When time will change a group here next.
    pub(crate) fn deadline(&self) -> Millis {
        Millis::new(self.deadline.load(Ordering::Acquire))
    }

    /// Whether the log did not read when that was tried last. Upkeep leaves it to a call to try again.
    pub(crate) fn failed(&self) -> bool {
        self.failure.lock().is_some()
    }

    /// Why the log is left alone for now.
    fn failure(&self, now: Millis) -> Option<GroupsError> {
        let failure = self.failure.lock();
        let recent = failure.as_ref().filter(|failure| now.since(failure.at) < PATIENCE_MS);
        let error = recent.map(|failure| failure.error.clone());
        drop(failure);
        error
    }

    /// The groups, their log read by whoever comes first. One that did not read is not read again for everybody who comes, but when
    /// [`PATIENCE_MS`] have passed.
    pub(crate) fn loaded(&self, around: &dyn Around) -> Result<GroupsGuard<'_>, GroupsError> {
        let mut state = self.state.lock();
        // Looked at under the lock: what is loaded behind `close` would stay.
        if around.is_closed() {
            return Err(Abandoned.into());
        }
        let before = match &*state {
            Loading::Done(groups) => groups.end,
            Loading::NotYet => {
                if let Some(error) = self.failure(around.now()) {
                    return Err(error);
                }
                let (groups, read_to) = self.load(around).inspect_err(|error| {
                    let (error, at) = (error.clone(), around.now());
                    *self.failure.lock() = Some(Failure { error, at });
                })?;
                *state = Loading::Done(groups);
                self.loaded.store(true, Ordering::Release);
                read_to
            }
        };
        let mut groups = GroupsGuard { state, before };
        groups.look_around(around);
        Ok(groups)
    }

    /// Lets go of the groups; who waits hears that the engine has stopped.
    pub(crate) fn close(&self) {
        let groups = std::mem::replace(&mut *self.state.lock(), Loading::NotYet);
        self.loaded.store(false, Ordering::Release);
        // Outside the lock: who is woken may call again at once.
        drop(groups);
    }

    fn load(&self, around: &dyn Around) -> Result<(Groups, Offset), GroupsError> {
        let broken = |why: Arc<dyn std::error::Error + Send + Sync>| GroupsError::Load {
            shard: self.number,
            why,
        };
        let mut coordinator = Coordinator::new(around.settings());
        coordinator.set_settings_of_groups(around.consumer_settings());
        let mut refused = None;
        let read = self.log.replay(&mut |entry| {
            let found = match entry {
                StateEntry::Record {
                    offset,
                    record: StateRecord { key, value },
                    transaction,
                    ..
                } => {
                    let producer_id = transaction.map(|(id, _)| id);
                    Replayed::Record { key: Some(key), value, position: offset, producer_id }
                }
                StateEntry::Marker { offset, producer_id, outcome } => {
                    Replayed::Marker { producer_id, outcome, position: offset }
                }
            };
            if let Err(error) = coordinator.replay(&found) {
                refused.get_or_insert(error);
            }
        });
        let end = read.map_err(|error| broken(Arc::new(error)))?;
        if let Some(error) = refused {
            return Err(broken(Arc::new(error)));
        }
        let mut groups = Groups { coordinator, end };
        groups.look_around(around);
        // Reading may have taken longer than a session: members are not late because of it.
        self.run(&mut groups, around, None, Coordinator::loaded);
        Ok((groups, end))
    }

    /// Asks something that is answered now or later.
    pub(crate) fn ask(
        &self,
        around: &dyn Around,
        guard: Option<VerificationGuard>,
        ask: impl FnOnce(&mut Coordinator<Token>, Token, Millis, &mut Vec<Output<Token>>),
    ) -> Result<Completion<Answered>, GroupsError> {
        let (token, completion) = Completion::pair();
        let mut groups = self.loaded(around)?;
        let answers = self.run(&mut groups, around, guard, |coordinator, now, out| {
            ask(coordinator, token, now, out);
        });
        drop(groups);
        tell(answers);
        Ok(completion)
    }

    /// Tells the coordinator something that has no answer of its own; what must be durable before anybody relies on it, if that made it
    /// write anything. What it wrote because it read the log for this belongs to it.
    pub(crate) fn step(
        &self,
        around: &dyn Around,
        step: impl FnOnce(&mut Coordinator<Token>, Millis, &mut Vec<Output<Token>>),
    ) -> Result<Option<Offset>, GroupsError> {
        let mut groups = self.loaded(around)?;
        let answers = self.run(&mut groups, around, None, step);
        let gate = self.gate(&groups).filter(|end| *end > groups.before);
        drop(groups);
        tell(answers);
        Ok(gate)
    }

    /// Writes a marker and lets the offsets of its transaction become visible or go, before anybody hears of it (KAFKA-17507).
    pub(crate) fn mark(
        &self,
        around: &dyn Around,
        claim: MarkerClaim,
    ) -> Result<Written, MarkError> {
        let mut groups = self.loaded(around).map_err(MarkError::Load)?;
        let written = self.log.append_marker(claim).map_err(MarkError::Log)?;
        groups.end = groups.end.max(written.end);
        let answers = self.run(&mut groups, around, None, |coordinator, _, _| {
            coordinator.marker_written(claim.producer_id, claim.outcome, written.offset);
        });
        drop(groups);
        tell(answers);
        Ok(written)
    }

    /// What must be durable before anybody hears what is known here.
    pub(crate) fn gate(&self, groups: &Groups) -> Option<Offset> {
        (self.log.is_synced() && !self.log.is_durable(groups.end)).then_some(groups.end)
    }

    /// Steps, writes what is to be written until nothing is, and returns the answers.
    fn run(
        &self,
        groups: &mut Groups,
        around: &dyn Around,
        guard: Option<VerificationGuard>,
        step: impl FnOnce(&mut Coordinator<Token>, Millis, &mut Vec<Output<Token>>),
    ) -> Vec<(Token, Answered)> {
        let now = around.now();
        let mut out = Vec::new();
        let mut answers = Vec::new();
        step(&mut groups.coordinator, now, &mut out);
        while !out.is_empty() {
            for output in std::mem::take(&mut out) {
                match output {
                    Output::Answer { token, reply } => {
                        answers.push((token, Answered { reply, gate: self.gate(groups) }));
                    }
                    Output::Append { write, records, kind } => {
                        let at = around.time_of_day();
                        // A log of somebody else's may panic: who waits for the write hears that nobody knows what became of it.
                        let appended = || self.append(at, &records, kind, guard);
                        let appended = catch_unwind(AssertUnwindSafe(appended));
                        let result = appended.unwrap_or_else(|_panic| Err(Abandoned.into()));
                        let result = result.map(|written| {
                            groups.end = written.end;
                            written.offset
                        });
                        let result = result.map_err(|error| {
                            tracing::warn!(shard = self.number, %error, "a group's record was not written");
                            error.code()
                        });
                        groups.coordinator.appended(now, write, result, &mut out);
                    }
                }
            }
        }
        let next = groups.coordinator.next_deadline().map_or(i64::MAX, Millis::get);
        self.deadline.store(next, Ordering::Release);
        answers
    }

    fn append(
        &self,
        now: Millis,
        records: &[hanbeon_group::Record],
        kind: AppendKind,
        guard: Option<VerificationGuard>,
    ) -> Result<Written, ProduceError> {
        let mut encoded = Vec::with_capacity(records.len());
        for record in records {
            let key = record.key();
            let key = key.ok_or(ProduceError::Unencodable { topic: "__consumer_offsets" })?;
            encoded.push((key, record.value()));
        }
        let records: Vec<_> = encoded
            .iter()
            .map(|(key, value)| StateRecord { key, value: value.as_deref() })
            .collect();
        let transaction = match kind {
            AppendKind::Plain => None,
            AppendKind::Transactional { producer_id, producer_epoch } => {
                Some(InTransaction { producer_id, producer_epoch, guard })
            }
        };
        self.log.append(now, &records, transaction)
    }
}

/// Why a marker was not written.
pub(crate) enum MarkError {
    Load(GroupsError),
    Log(ProduceError),
}

/// Answers who waits. Without any lock: whoever is woken may call again at once.
fn tell(answers: Vec<(Token, Answered)>) {
    for (token, answered) in answers {
        token.complete(answered);
    }
}

impl Shard for GroupShard {
    fn is_loaded(&self) -> bool {
        self.loaded.load(Ordering::Acquire)
    }
}

/// The groups of a shard, held by who asks.
pub(crate) struct GroupsGuard<'a> {
    state: MutexGuard<'a, Loading<Groups>>,
    /// Where the log ended when they were asked for, before what reading it has written.
    before: Offset,
}

impl std::ops::Deref for GroupsGuard<'_> {
    type Target = Groups;

    fn deref(&self) -> &Groups {
        match &*self.state {
            Loading::Done(groups) => groups,
            Loading::NotYet => unreachable!("a guard is made of a loaded shard"),
        }
    }
}

impl std::ops::DerefMut for GroupsGuard<'_> {
    fn deref_mut(&mut self) -> &mut Groups {
        match &mut *self.state {
            Loading::Done(groups) => groups,
            Loading::NotYet => unreachable!("a guard is made of a loaded shard"),
        }
    }
}

impl fmt::Debug for GroupShard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupShard").field("number", &self.number).finish_non_exhaustive()
    }
}
