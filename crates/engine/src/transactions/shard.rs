//! One partition of `__transaction_state` and the coordinator that lives on it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    task::Waker,
};

use hanbeon_log::sync::{AtomicBool, Mutex, MutexGuard, Ordering};
use hanbeon_records::{
    CoordinatorEpoch, Millis, Offset, ProducerEpoch, ProducerId, TopicPartition,
};
use hanbeon_txn::{
    AddPartitions, Coordinator, Decision, FreshIds, ListFilter, MarkersOwed, Producer, Protocol,
    Record, Settings, State, TransactionalId, TxnValue,
};

use super::TransactionError;
use crate::{
    PartitionError, ProduceError, StateEntry, StateLog, StateRecord,
    coordinators::{Loading, Shard},
    producer_ids::ProducerIds,
    waiters::wake_all,
};

/// A shard: its log, and its state once that is read.
pub(crate) struct TxnShard {
    pub(crate) number: i32,
    pub(crate) log: Arc<dyn StateLog>,
    state: Mutex<Loading<Loaded>>,
    is_loaded: AtomicBool,
    /// Whether upkeep has tried to complete what its log tells of.
    resumed: AtomicBool,
    closed: AtomicBool,
    /// Whether the log could not be read.
    failed: AtomicBool,
    failure: Mutex<Option<Failure>>,
}

/// Milliseconds for which a log that did not read is left alone.
const PATIENCE_MS: i64 = 5_000;

/// Why a log did not read, and since when somebody is told so.
struct Failure {
    error: TransactionError,
    since: Option<Millis>,
}

/// A coordinator whose log is read.
pub(crate) struct Loaded {
    pub(crate) coordinator: Coordinator,
    pub(crate) epoch: CoordinatorEpoch,
    /// Where the log ends: whoever is answered knows of nothing behind it.
    end: Offset,
    /// Ids with a partition whose topic acknowledges nothing before it is on the disk: what is decided about them is there first.
    strict: BTreeSet<TransactionalId>,
    /// Ids whose markers somebody is writing now, and who waits for that.
    pub(crate) finishing: BTreeMap<TransactionalId, Vec<Waker>>,
    /// Markers that could not be written yet, or are being written.
    pub(crate) owed: MarkersOwed,
    /// What partitions may lack the markers of.
    pub(crate) commits: Arc<Commits>,
    /// Ids that have ended nothing since a log was read that may lack its end: the transaction they are in may be one of before.
    spanning: BTreeSet<TransactionalId>,
    /// Where upkeep is ending what a producer has open: it is enrolled there once that is over.
    pub(crate) ending: Arc<BTreeSet<(TopicPartition, ProducerId)>>,
}

/// The commits of protocol 2 in a log that may lack its end. Partitions may lack their markers, and whoever takes the id over leaves no trace of them in the
/// coordinator.
#[derive(Debug, Default)]
pub(crate) struct Commits {
    /// The pairs of their markers.
    markers: BTreeSet<Producer>,
    /// Pairs in which protocol 1 has ended a transaction, so that they name no single one.
    shared: BTreeSet<Producer>,
}

impl Commits {
    /// Takes one record of the log.
    fn note(&mut self, value: &TxnValue) {
        let commit = match value.state {
            State::PrepareCommit => true,
            // Its decision may be compacted away. Behind a rotation the pair is another.
            State::CompleteCommit => value.producer.id == value.previous_producer_id,
            State::PrepareAbort | State::CompleteAbort => false,
            State::Empty | State::Ongoing | State::Dead | State::PrepareEpochFence => return,
        };
        match value.protocol() {
            Protocol::V1 => drop(self.shared.insert(value.producer)),
            Protocol::V2 if commit => drop(self.markers.insert(value.producer)),
            Protocol::V2 => {}
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.markers.is_empty()
    }

    /// The pair of the marker that commits what `wrote` has open on a partition, if it was committed.
    pub(crate) fn marker_of(&self, wrote: Producer) -> Option<Producer> {
        let epoch = ProducerEpoch::new(wrote.epoch.get().checked_add(1)?);
        let marker = Producer { epoch, ..wrote };
        (self.markers.contains(&marker) && !self.shared.contains(&wrote)).then_some(marker)
    }
}

/// A decision that is written down and applied.
pub(crate) struct Decided<R> {
    pub(crate) reply: Result<R, TransactionError>,
    /// What must be durable before anybody hears of it.
    pub(crate) gate: Option<Offset>,
}

/// Fresh producer ids for decisions.
pub(crate) struct Fresh<'a>(pub(crate) &'a ProducerIds);

impl FreshIds for Fresh<'_> {
    fn fresh(&mut self) -> Option<ProducerId> {
        match self.0.take() {
            Ok(id) => Some(id),
            Err(error) => {
                tracing::error!(%error, "no producer id");
                None
            }
        }
    }
}

impl TxnShard {
    pub(crate) fn new(number: i32, log: Arc<dyn StateLog>) -> Self {
        Self {
            number,
            log,
            state: Mutex::new(Loading::NotYet),
            is_loaded: AtomicBool::new(false),
            resumed: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            failure: Mutex::new(None),
        }
    }

    /// The coordinator, its log read by whoever comes first, under the settings that count then. A log that did not read is not read again for
    /// everybody who comes: see [`TxnShard::forgive`].
    pub(crate) fn loaded(
        &self,
        settings: impl FnOnce() -> Settings,
    ) -> Result<LoadedGuard<'_>, TransactionError> {
        let mut state = self.state.lock();
        // Looked at under the lock: behind `close` nothing is decided, for a log elsewhere may have its next coordinator by then.
        if self.closed.load(Ordering::Acquire) {
            return Err(ProduceError::from(PartitionError::Closed).into());
        }
        if !matches!(*state, Loading::Done(_)) {
            if let Some(Failure { error, .. }) = &*self.failure.lock() {
                return Err(error.clone());
            }
            let loaded = self.load(settings()).inspect_err(|error| {
                *self.failure.lock() = Some(Failure { error: error.clone(), since: None });
                self.failed.store(true, Ordering::Release);
            });
            *state = Loading::Done(loaded?);
            self.is_loaded.store(true, Ordering::Release);
        }
        Ok(LoadedGuard(state))
    }

    /// Lets go of the coordinator: nothing is decided any more. Who waits for markers hears of it.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        self.closed.store(true, Ordering::Release);
        let before = std::mem::replace(&mut *state, Loading::NotYet);
        // Outside the lock: who is woken may call again at once.
        drop(state);
        if let Loading::Done(loaded) = before {
            wake_all(loaded.finishing.into_values().flatten());
        }
    }

    /// Decides by other settings from now on. They are what [`TxnShard::loaded`] is given already, so that a log that is being read meanwhile
    /// comes under them either way.
    pub(crate) fn set_settings(&self, settings: Settings) {
        if let Loading::Done(loaded) = &mut *self.state.lock() {
            loaded.coordinator.set_settings(settings);
        }
    }

    /// No partition lacks the marker of a commit that the log told of when it was read, and none has a part of a transaction that the log does not tell of.
    pub(crate) fn forget_power_cut(&self) {
        if let Loading::Done(loaded) = &mut *self.state.lock() {
            loaded.commits = Arc::default();
            loaded.spanning = BTreeSet::new();
        }
    }

    /// What upkeep was ending is over, one way or the other.
    pub(crate) fn forget_ending(&self) {
        if let Loading::Done(loaded) = &mut *self.state.lock() {
            loaded.ending = Arc::default();
        }
    }

    /// Whether upkeep has nothing to make of its log any more, or cannot before it is forgiven.
    pub(crate) fn is_resumed(&self) -> bool {
        self.resumed.load(Ordering::Acquire) || self.failed()
    }

    /// Upkeep makes of its log what it can, once; what it leaves is tried again with all that is owed.
    pub(crate) fn note_resumed(&self) {
        self.resumed.store(true, Ordering::Release);
    }

    pub(crate) fn failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Lets the log be read once more when it did not read [`PATIENCE_MS`] ago.
    pub(crate) fn forgive(&self, now: Millis) {
        if !self.failed() {
            return;
        }
        let mut failure = self.failure.lock();
        let since = failure.as_mut().map(|failure| *failure.since.get_or_insert(now));
        if since.is_some_and(|since| now.since(since) >= PATIENCE_MS) {
            *failure = None;
            self.failed.store(false, Ordering::Release);
        }
        drop(failure);
    }

    fn load(&self, settings: Settings) -> Result<Loaded, TransactionError> {
        let broken = |why: Arc<dyn std::error::Error + Send + Sync>| TransactionError::Load {
            shard: self.number,
            why,
        };
        let epoch = self.log.epoch().map_err(|error| broken(Arc::new(error)))?;
        let mut coordinator = Coordinator::new(settings);
        coordinator.doubt_below(self.log.first_sure_id());
        let mut commits = self.log.may_lack_its_end().then(Commits::default);
        let mut refused = None;
        let read = self.log.replay(&mut |entry| {
            // Nobody opens transactions in this log, so it has no markers.
            let StateEntry::Record { record: StateRecord { key, value }, .. } = entry else {
                return;
            };
            if let Err(error) = coordinator.replay(key, value) {
                refused.get_or_insert(error);
            }
            if let (Some(commits), Some(Ok((value, _)))) =
                (&mut commits, value.map(TxnValue::decode))
            {
                commits.note(&value);
            }
        });
        let end = read.map_err(|error| broken(Arc::new(error)))?;
        if let Some(error) = refused {
            return Err(broken(Arc::new(error)));
        }
        // Which topics were strict is not in the log: a sync too many is better than one too few.
        let open = ListFilter {
            states: [State::Ongoing, State::PrepareCommit, State::PrepareAbort].into(),
            ..ListFilter::default()
        };
        let strict = coordinator.list(Millis::NONE, &open).map(|txn| txn.id.clone()).collect();
        let (finishing, owed) = (BTreeMap::new(), MarkersOwed::new());
        let spanning = match &commits {
            Some(_) => coordinator
                .list(Millis::NONE, &ListFilter::default())
                .map(|txn| txn.id.clone())
                .collect(),
            None => BTreeSet::new(),
        };
        let (commits, ending) = (Arc::new(commits.unwrap_or_default()), Arc::default());
        Ok(Loaded { coordinator, epoch, end, strict, finishing, owed, commits, spanning, ending })
    }
}

impl Shard for TxnShard {
    fn is_loaded(&self) -> bool {
        self.is_loaded.load(Ordering::Acquire)
    }
}

/// The state of a shard, held by who decides.
pub(crate) struct LoadedGuard<'a>(MutexGuard<'a, Loading<Loaded>>);

impl std::ops::Deref for LoadedGuard<'_> {
    type Target = Loaded;

    fn deref(&self) -> &Loaded {
        match &*self.0 {
            Loading::Done(loaded) => loaded,
            Loading::NotYet => unreachable!("a guard is made of a loaded shard"),
        }
    }
}

impl std::ops::DerefMut for LoadedGuard<'_> {
    fn deref_mut(&mut self) -> &mut Loaded {
        match &mut *self.0 {
            Loading::Done(loaded) => loaded,
            Loading::NotYet => unreachable!("a guard is made of a loaded shard"),
        }
    }
}

impl Loaded {
    /// Whether what is decided about `id` must be on the disk before it is acted on, whatever the log's own topic says.
    pub(crate) fn be_strict(&mut self, id: &TransactionalId) {
        if !self.strict.contains(id) {
            self.strict.insert(id.clone());
        }
    }

    pub(crate) fn is_strict(&self, id: &TransactionalId) -> bool {
        self.strict.contains(id)
    }

    /// Where the log ends, so far as anything here was decided.
    pub(super) const fn end(&self) -> Offset {
        self.end
    }

    /// Whether the transaction that `id` is in may have begun before a power cut that took the end of the log.
    pub(crate) fn spans(&self, id: &TransactionalId) -> bool {
        self.spanning.contains(id)
    }

    /// Writes a decision down and applies it. What could not be written was not decided.
    pub(crate) fn carry_out<R>(
        &mut self,
        log: &dyn StateLog,
        id: &TransactionalId,
        now: Millis,
        decision: Decision<R>,
    ) -> Result<Decided<R>, TransactionError> {
        let Decision { record, reply } = decision;
        if let Some(record) = &record {
            self.write(log, now, record)?;
        }
        let gate = self.gate(log, id);
        let over = |record: Record| record.value().is_none_or(|value| value.state.is_expirable());
        if record.is_some_and(over) {
            self.strict.remove(id);
        }
        Ok(Decided { reply: reply.map_err(TransactionError::from), gate })
    }

    /// Where the producer of a request may not be enrolled yet.
    pub(crate) fn ending_of<'r>(&self, request: &'r AddPartitions) -> Option<&'r TopicPartition> {
        let is_ending = |at: &&TopicPartition| {
            self.ending.contains(&(TopicPartition::clone(at), request.producer.id))
        };
        if self.ending.is_empty() { None } else { request.partitions.iter().find(is_ending) }
    }

    /// What must be durable before anybody acts on what is known of `id`.
    pub(crate) fn gate(&self, log: &dyn StateLog, id: &TransactionalId) -> Option<Offset> {
        let needed = log.is_synced() || self.is_strict(id);
        (needed && !log.is_durable(self.end)).then_some(self.end)
    }

    /// Writes a record down and applies it.
    pub(crate) fn write(
        &mut self,
        log: &dyn StateLog,
        now: Millis,
        record: &Record,
    ) -> Result<(), TransactionError> {
        let version = self.coordinator.settings().value_version;
        let (key, value) = record.encode(version).map_err(TransactionError::Encode)?;
        let written =
            log.append(now, &[StateRecord { key: &key, value: value.as_deref() }], None)?;
        self.end = written.end;
        self.coordinator.apply(record)?;
        if !self.spanning.is_empty() && !goes_on(record) {
            self.spanning.remove(record.id());
        }
        Ok(())
    }
}

/// Whether what the pair of an id has open is the same behind a record. A completion says nothing: a power cut may have taken it, and what came next.
fn goes_on(record: &Record) -> bool {
    record.value().is_some_and(|value| match value.state {
        State::Ongoing | State::CompleteCommit | State::CompleteAbort => true,
        State::Empty
        | State::PrepareCommit
        | State::PrepareAbort
        | State::Dead
        | State::PrepareEpochFence => false,
    })
}

impl fmt::Debug for TxnShard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TxnShard").field("number", &self.number).finish_non_exhaustive()
    }
}

/// Blocks until what an answer rests on is durable.
pub(crate) async fn pass(log: &dyn StateLog, gate: Option<Offset>) -> Result<(), ProduceError> {
    match gate {
        Some(end) if !log.is_durable(end) => log.durable_to(end).await,
        Some(_) | None => Ok(()),
    }
}
