//! What all partitions of an engine stand on.

use std::{
    collections::VecDeque,
    sync::Arc,
    thread::{self, Thread},
};

use hanbeon_idempotence::{FirstWrite, Verification};
use hanbeon_log::sync::Mutex;
use hanbeon_meta::MetadataStore;
use hanbeon_records::{ProducerEpoch, ProducerId};

use crate::{
    Env, PartitionHandle, ProducerIdError, ProducerIdentity, data_dir::DataDir, metrics::Metrics,
    producer_ids::ProducerIds,
};

/// Whether the engine has threads of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Helpers {
    /// Whoever waits for a sync leads it.
    None,
    /// They lead the syncs that futures wait for.
    Some,
}

pub(crate) struct Ground<E: Env> {
    pub(crate) env: E,
    pub(crate) data: DataDir<E::Dir>,
    pub(crate) hash_seed: u64,
    pub(crate) helpers: Helpers,
    pub(crate) verification: Verification,
    pub(crate) first_write: FirstWrite,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) store: Arc<dyn MetadataStore>,
    pub(crate) ids: ProducerIds,
    /// The first producer id that no power cut has put in doubt.
    pub(crate) first_sure_id: ProducerId,
    pub(crate) due: DueSyncs<E>,
}

impl<E: Env> Ground<E> {
    /// A producer id that nobody had before.
    pub(crate) fn fresh_identity(&self) -> Result<ProducerIdentity, ProducerIdError> {
        let id = self.ids.take()?;
        self.metrics.producer_ids.add(1);
        Ok(ProducerIdentity { id, epoch: ProducerEpoch::new(0) })
    }
}

/// Partitions whose syncs helpers are to lead, and the helpers that have nothing to do.
pub(crate) struct DueSyncs<E: Env>(Mutex<State<E>>);

struct State<E: Env> {
    partitions: VecDeque<PartitionHandle<E>>,
    idle: Vec<Thread>,
    stopped: bool,
}

/// What a helper finds when it looks.
pub(crate) enum Due<E: Env> {
    Sync(PartitionHandle<E>),
    Nothing,
    Stop,
}

impl<E: Env> DueSyncs<E> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State { partitions: VecDeque::new(), idle: Vec::new(), stopped: false }))
    }

    /// Asks for a sync. The caller sees to it that a partition is in here once at most.
    pub(crate) fn ask(&self, partition: PartitionHandle<E>) {
        let idle = {
            let mut state = self.0.lock();
            state.partitions.push_back(partition);
            state.idle.pop()
        };
        if let Some(helper) = idle {
            helper.unpark();
        }
    }

    /// What there is to do. When there is nothing this thread counts as idle: it parks, and is unparked when there is
    /// something.
    pub(crate) fn take(&self) -> Due<E> {
        let current = thread::current();
        let mut state = self.0.lock();
        state.idle.retain(|helper| helper.id() != current.id());
        if let Some(partition) = state.partitions.pop_front() {
            return Due::Sync(partition);
        }
        if state.stopped {
            return Due::Stop;
        }
        state.idle.push(current);
        Due::Nothing
    }

    /// A sync that is asked for, for somebody who has to wait in any case.
    pub(crate) fn take_sync(&self) -> Option<PartitionHandle<E>> {
        self.0.lock().partitions.pop_front()
    }

    /// Lets a helper look at once what is due.
    pub(crate) fn nudge(&self) {
        let idle = self.0.lock().idle.pop();
        if let Some(helper) = idle {
            helper.unpark();
        }
    }

    /// Tells the helpers to finish what is asked for and to stop.
    pub(crate) fn stop(&self) {
        let idle = {
            let mut state = self.0.lock();
            state.stopped = true;
            std::mem::take(&mut state.idle)
        };
        for helper in idle {
            helper.unpark();
        }
    }
}
