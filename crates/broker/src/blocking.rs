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
/// What else may block at once.
const OTHERS_MAX: usize = 128;

/// What work waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The lock on metadata, which is held by one at a time anyway.
    Change,
    /// Logs that are opened, and coordinators whose logs are read.
    Opening,
    /// A log whose writes are held up.
    Append,
    /// Anything else: a look into files, a block of producer ids.
    Other,
}

/// Whose turn it is.
pub(crate) struct Blocking {
    changes: Arc<Semaphore>,
    openings: Arc<Semaphore>,
    appends: Arc<Semaphore>,
    others: Arc<Semaphore>,
}

impl Blocking {
    pub(crate) fn new() -> Self {
        let turns = |count| Arc::new(Semaphore::new(count));
        Self {
            changes: turns(1),
            openings: turns(OPENINGS_MAX),
            appends: turns(APPENDS_MAX),
            others: turns(OTHERS_MAX),
        }
    }

    /// Brings a call to its end: here, or on a thread that may block where it may keep its thread waiting.
    pub(crate) async fn carry_out<T: Send + 'static>(
        &self,
        delay: Delay,
        call: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, JoinError> {
        let kind = match delay {
            Delay::None => return Ok(call.await),
            Delay::Writes => Kind::Append,
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
