//! A state log in memory: for tests, and for whoever keeps transactions no longer than the process.

use std::{collections::BTreeMap, sync::Arc};

use hanbeon_idempotence::{MarkerClaim, MarkerProtocol};
use hanbeon_log::sync::Mutex;
use hanbeon_records::{
    CoordinatorEpoch, Millis, Offset, ProducerEpoch, ProducerId, TopicName, TopicPartition,
};

use super::{
    DurableFuture, Enrolment, InTransaction, StateEntry, StateLog, StateLogs, StateRecord, Written,
    keyed::Keyed,
};
use crate::ProduceError;

/// See the module. Clones are the same log, so that a "restart" finds what was written.
#[derive(Clone, Debug)]
pub struct MemoryStateLog(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    log: Keyed,
    openings: i32,
}

impl MemoryStateLog {
    /// An empty log. `seed` keeps strangers from choosing where their producers lie in its table.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State { log: Keyed::new(seed), openings: 0 })))
    }
}

/// State logs in memory. Clones are the same logs.
#[derive(Clone, Debug)]
pub struct MemoryStateLogs {
    logs: Arc<Mutex<BTreeMap<TopicPartition, MemoryStateLog>>>,
    counts: Arc<Mutex<BTreeMap<TopicName, i32>>>,
    seed: u64,
}

impl MemoryStateLogs {
    /// No logs yet. `seed` as in [`MemoryStateLog::new`].
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { logs: Arc::default(), counts: Arc::default(), seed }
    }
}

impl StateLogs for MemoryStateLogs {
    fn count(&self, topic: &TopicName, wanted: i32) -> Result<i32, ProduceError> {
        Ok(*self.counts.lock().entry(topic.clone()).or_insert(wanted))
    }

    fn open(&self, partition: &TopicPartition) -> Result<Arc<dyn StateLog>, ProduceError> {
        let new = || MemoryStateLog::new(self.seed);
        let log = self.logs.lock().entry(partition.clone()).or_insert_with(new).clone();
        Ok(Arc::new(log))
    }
}

impl StateLog for MemoryStateLog {
    fn epoch(&self) -> Result<CoordinatorEpoch, ProduceError> {
        let mut state = self.0.lock();
        state.openings = state.openings.saturating_add(1);
        Ok(CoordinatorEpoch::new(state.openings))
    }

    fn replay(&self, visit: &mut dyn FnMut(StateEntry<'_>)) -> Result<Offset, ProduceError> {
        let state = self.0.lock();
        state.log.replay(visit);
        Ok(state.log.end())
    }

    fn append(
        &self,
        now: Millis,
        records: &[StateRecord<'_>],
        transaction: Option<InTransaction>,
    ) -> Result<Written, ProduceError> {
        let mut state = self.0.lock();
        let plan = state.log.plan(now, records, transaction)?;
        state.log.keep(plan)
    }

    fn begin_transaction(
        &self,
        producer: (ProducerId, ProducerEpoch),
        protocol: MarkerProtocol,
    ) -> Result<Enrolment, ProduceError> {
        // Questions of a coordinator in the same process are answered at once: none grows old.
        Ok(self.0.lock().log.begin(producer, protocol, Millis::NONE))
    }

    fn append_marker(&self, claim: MarkerClaim) -> Result<Written, ProduceError> {
        let mut state = self.0.lock();
        let plan = state.log.plan_marker(&claim)?;
        state.log.mark(&claim, plan)
    }

    fn is_synced(&self) -> bool {
        false
    }

    fn is_durable(&self, _end: Offset) -> bool {
        true
    }

    fn durable_to(&self, _end: Offset) -> DurableFuture {
        Box::pin(std::future::ready(Ok(())))
    }
}
