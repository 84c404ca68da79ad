//! Work that blocks, on the threads that tokio has for it.
//!
//! There are only so many of them, and what runs there mostly waits for a lock: that on metadata, or that of a log which somebody opens. So
//! each kind of work waits for a turn of its own before it takes a thread, and what is slow leaves threads to all else.

use std::sync::Arc;

use hanbeon::Delay;
use tokio::{
    runtime::Handle,
    sync::Semaphore,
    task::{JoinError, spawn_blocking},
};

/// What may wait for the opening of logs at once. Most of it waits for logs that somebody opens already, and keeps no processor busy.
const OPENINGS_MAX: usize = 64;
/// Requests that may wait for writes which are held up. Each keeps its connection waiting, so that there is one for each at most.
const APPENDS_MAX: usize = 64;
/// Calls of coordinators that may wait for writes which are held up: by logs of their own, so that producers do not have to wait behind them, nor they
/// behind producers.
const COORDINATORS_MAX: usize = 64;
/// What else may block at once.
const OTHERS_MAX: usize = 128;

/// What work waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The lock on metadata, which is held by one at a time anyway.
    Change,
    /// Logs that are opened, and coordinators whose logs are read.
    Opening,
    /// A log whose writes are held up, of what producers write.
    Append,
    /// A log whose writes are held up, of what a coordinator writes.
    Coordinator,
    /// Anything else: a look into files, a block of producer ids.
    Other,
}

/// Whose turn it is.
pub(crate) struct Blocking {
    changes: Arc<Semaphore>,
    openings: Arc<Semaphore>,
    appends: Arc<Semaphore>,
    coordinators: Arc<Semaphore>,
    others: Arc<Semaphore>,
}

impl Blocking {
    pub(crate) fn new() -> Self {
        let turns = |count| Arc::new(Semaphore::new(count));
        Self {
            changes: turns(1),
            openings: turns(OPENINGS_MAX),
            appends: turns(APPENDS_MAX),
            coordinators: turns(COORDINATORS_MAX),
            others: turns(OTHERS_MAX),
        }
    }

    /// Brings a coordinator's call to its end: here, or on a thread that may block where it may keep its thread waiting.
    pub(crate) async fn carry_out<T: Send + 'static>(
        &self,
        delay: Delay,
        call: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, JoinError> {
        let kind = match delay {
            Delay::None => return Ok(call.await),
            Delay::Writes => Kind::Coordinator,
            Delay::Opening => Kind::Opening,
        };
        let runtime = Handle::current();
        self.run(kind, move || runtime.block_on(call)).await
    }

    /// Does work on a thread that may block, when its turn has come. It has its turn to its end, whoever waits for it.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        kind: Kind,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        let turns = match kind {
            Kind::Change => &self.changes,
            Kind::Opening => &self.openings,
            Kind::Append => &self.appends,
            Kind::Coordinator => &self.coordinators,
            Kind::Other => &self.others,
        };
        // They are never closed.
        let turn = Arc::clone(turns).acquire_owned().await.ok();
        let done = spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        done.await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    /// Far beyond what either takes.
    const TIMEOUT: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn producers_and_coordinators_do_not_wait_for_each_others_slow_logs() {
        let blocking = Blocking::new();
        let appends = Arc::clone(&blocking.appends).try_acquire_many_owned(64).unwrap();
        let called = blocking.carry_out(Delay::Writes, async { 1 });
        assert_eq!(timeout(TIMEOUT, called).await.unwrap().unwrap(), 1);
        drop(appends);
        let calls = Arc::clone(&blocking.coordinators).try_acquire_many_owned(64).unwrap();
        let written = blocking.run(Kind::Append, || 2);
        assert_eq!(timeout(TIMEOUT, written).await.unwrap().unwrap(), 2);
        drop(calls);
    }
}
