//! A batch on its way: written by whoever leads the append, then made as safe as the topic and the producer ask.
//!
//! ```text
//!   Appending --> Syncing --> Committing --> answered
//!      another     a helper     the high watermark
//!      thread      or the       is below it
//!      writes it   waiter leads
//! ```

use std::{
    fmt,
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::Duration,
};

use hanbeon_log::{Abandoned, AppendError, Appended, Completion, Durability, LogError, Placed};
use hanbeon_records::{Millis, Offset};
use hanbeon_replica::{Acks, Settled, WaiterId};

use crate::{Env, PartitionHandle, ProduceError, System, partition::Opened, waiters::End};

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Produced {
    /// Offset of its first record; of the original where the batch is a duplicate.
    pub base_offset: Offset,
    /// Offset of its last record.
    pub last_offset: Offset,
    /// The broker's time, where the topic stamps records with it.
    pub log_append_time: Option<Millis>,
    /// First offset in the log.
    pub log_start_offset: Offset,
    /// Whether it was written now, or was there already and not written again.
    pub placed: Placed,
}

impl From<Appended> for Produced {
    fn from(appended: Appended) -> Self {
        let Appended {
            base_offset, last_offset, log_append_time, log_start_offset, placed, ..
        } = appended;
        Self { base_offset, last_offset, log_append_time, log_start_offset, placed }
    }
}

/// The answer to [`PartitionHandle::produce`].
#[must_use = "only the answer says whether the batch was taken"]
pub enum Produce<E: Env = System> {
    /// Here already.
    Done(Result<Produced, ProduceError>),
    /// Comes when another thread has written it, or when it is as safe as asked for.
    Waiting(ProduceFuture<E>),
}

impl<E: Env> Produce<E> {
    /// Blocks until the answer is there; does the sync it waits for itself where nobody else does.
    ///
    /// # Errors
    /// As [`PartitionHandle::produce`].
    pub fn wait(self) -> Result<Produced, ProduceError> {
        match self {
            Self::Done(result) => result,
            Self::Waiting(future) => future.wait(),
        }
    }
}

/// A batch on its way; a future for any executor.
///
/// Dropping it takes nothing back. Without [`crate::Options::helpers`] polling it leads the sync it waits for, which blocks.
#[must_use = "only the answer says whether the batch was taken"]
pub struct ProduceFuture<E: Env = System> {
    partition: PartitionHandle<E>,
    acks: Acks,
    stage: Stage,
}

enum Stage {
    /// Another thread writes it; so many bytes.
    Appending(Completion<Result<Appended, AppendError>>, usize),
    /// A helper leads the sync.
    Syncing(Appended, Completion<Result<(), LogError>>),
    /// Nobody leads the sync yet: whoever waits does.
    Unsynced(Appended),
    /// The high watermark is below it.
    Committing(Appended, Option<WaiterId>),
    Answered,
}

/// What a stage leads to.
enum Step {
    Next(Stage),
    Answer(Result<Produced, ProduceError>),
}

impl<E: Env> ProduceFuture<E> {
    pub(crate) const fn appending(
        partition: PartitionHandle<E>,
        acks: Acks,
        completion: Completion<Result<Appended, AppendError>>,
        bytes: usize,
    ) -> Self {
        Self { partition, acks, stage: Stage::Appending(completion, bytes) }
    }

    /// Goes on with a batch that this thread has written.
    pub(crate) fn written(
        partition: &PartitionHandle<E>,
        acks: Acks,
        appended: Appended,
        now: Millis,
    ) -> Produce<E> {
        let opened = match partition.appended_to() {
            Ok(opened) => opened,
            Err(abandoned) => return Produce::Done(Err(abandoned.into())),
        };
        match after_append(partition, opened, (acks, appended), now) {
            Step::Answer(result) => Produce::Done(result),
            Step::Next(stage) => {
                Produce::Waiting(Self { partition: partition.clone(), acks, stage })
            }
        }
    }

    /// Blocks until the answer is there; does the sync it waits for itself where nobody else does.
    ///
    /// # Errors
    /// As [`PartitionHandle::produce`].
    pub fn wait(mut self) -> Result<Produced, ProduceError> {
        loop {
            let opened = self.partition.appended_to()?;
            let stage = std::mem::replace(&mut self.stage, Stage::Answered);
            let step = match stage {
                Stage::Appending(completion, bytes) => {
                    let result = completion.wait()?;
                    self.appended(opened, bytes, result)
                }
                // Leading oneself, or waiting for who leads: a helper that has not woken up yet is not waited for.
                Stage::Syncing(appended, _) | Stage::Unsynced(appended) => {
                    self.lead(opened, appended)
                }
                stage @ Stage::Committing(..) => {
                    self.stage = stage;
                    return block_on(self);
                }
                Stage::Answered => return Err(Abandoned.into()),
            };
            match step {
                Step::Next(stage) => self.stage = stage,
                Step::Answer(result) => return result,
            }
        }
    }

    fn appended(
        &self,
        opened: &Opened<E>,
        bytes: usize,
        result: Result<Appended, AppendError>,
    ) -> Step {
        let inner = &self.partition.0;
        inner.ground.metrics.judged(&inner.metrics, bytes, &result);
        match result {
            Ok(appended) => {
                after_append(&self.partition, opened, (self.acks, appended), inner.ground.env.now())
            }
            Err(error) => Step::Answer(Err(error.into())),
        }
    }

    /// Leads a sync, or waits for who does.
    fn lead(&self, opened: &Opened<E>, appended: Appended) -> Step {
        self.partition.0.ground.metrics.syncs.add(1);
        match opened.log.sync(appended.end) {
            Ok(()) => after_sync(&self.partition, opened, self.acks, appended),
            Err(error) => Step::Answer(Err(error.into())),
        }
    }

    fn poll_stage(&mut self, stage: Stage, cx: &mut Context<'_>) -> Poll<Step> {
        let partition = self.partition.clone();
        let opened = match partition.appended_to() {
            Ok(opened) => opened,
            Err(abandoned) => return Poll::Ready(Step::Answer(Err(abandoned.into()))),
        };
        let step = match stage {
            Stage::Appending(mut completion, bytes) => match pin!(&mut completion).poll(cx) {
                Poll::Ready(Ok(result)) => self.appended(opened, bytes, result),
                Poll::Ready(Err(abandoned)) => Step::Answer(Err(abandoned.into())),
                Poll::Pending => {
                    self.stage = Stage::Appending(completion, bytes);
                    return Poll::Pending;
                }
            },
            Stage::Syncing(appended, mut completion) => match pin!(&mut completion).poll(cx) {
                Poll::Ready(Ok(Ok(()))) => after_sync(&partition, opened, self.acks, appended),
                Poll::Ready(Ok(Err(error))) => Step::Answer(Err(error.into())),
                Poll::Ready(Err(abandoned)) => Step::Answer(Err(abandoned.into())),
                Poll::Pending => {
                    self.stage = Stage::Syncing(appended, completion);
                    return Poll::Pending;
                }
            },
            Stage::Unsynced(appended) => self.lead(opened, appended),
            Stage::Committing(appended, mut seat) => {
                let committed = || opened.log.high_watermark();
                let parking = &partition.0.parking;
                match parking.poll(End::Committed, appended.end, &mut seat, cx, committed) {
                    Poll::Ready(()) => match settle(opened, self.acks, appended) {
                        // Closed: nobody replicates it any more.
                        Step::Next(_) if partition.check_life().is_err() => {
                            Step::Answer(Err(Abandoned.into()))
                        }
                        step @ (Step::Next(_) | Step::Answer(_)) => step,
                    },
                    Poll::Pending => {
                        self.stage = Stage::Committing(appended, seat);
                        return Poll::Pending;
                    }
                }
            }
            Stage::Answered => Step::Answer(Err(Abandoned.into())),
        };
        Poll::Ready(step)
    }
}

/// Whether a batch that was written is to be synced first.
fn after_append<E: Env>(
    partition: &PartitionHandle<E>,
    opened: &Opened<E>,
    (acks, appended): (Acks, Appended),
    now: Millis,
) -> Step {
    // Read once: the topic's settings may change meanwhile, and one of two moves the high watermark.
    let durability = opened.durability();
    if durability == Durability::Sync && opened.durable() < appended.end {
        opened.mark_dirty(now);
        return Step::Next(match partition.synced_by_helper(opened, appended.end) {
            Some(completion) => Stage::Syncing(appended, completion),
            None => Stage::Unsynced(appended),
        });
    }
    opened.written(partition, durability, now);
    settle(opened, acks, appended)
}

fn after_sync<E: Env>(
    partition: &PartitionHandle<E>,
    opened: &Opened<E>,
    acks: Acks,
    appended: Appended,
) -> Step {
    partition.0.ground.metrics.synced_batches.add(1);
    opened.synced(partition, appended.end, partition.0.ground.env.now());
    settle(opened, acks, appended)
}

/// Whether the replicas have it.
fn settle<E: Env>(opened: &Opened<E>, acks: Acks, appended: Appended) -> Step {
    match opened.settle(acks, appended.end) {
        Ok(Settled::Done) => Step::Answer(Ok(appended.into())),
        Ok(Settled::Waits) => Step::Next(Stage::Committing(appended, None)),
        Err(error) => Step::Answer(Err(error.into())),
    }
}

impl<E: Env> Future for ProduceFuture<E> {
    type Output = Result<Produced, ProduceError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let stage = std::mem::replace(&mut self.stage, Stage::Answered);
            match self.poll_stage(stage, cx) {
                Poll::Ready(Step::Next(stage)) => self.stage = stage,
                Poll::Ready(Step::Answer(result)) => return Poll::Ready(result),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl<E: Env> Unpin for ProduceFuture<E> {}

impl<E: Env> Drop for ProduceFuture<E> {
    fn drop(&mut self) {
        if let Stage::Committing(_, seat) = &mut self.stage {
            self.partition.0.parking.leave(End::Committed, seat);
        }
    }
}

/// Wakes a thread that parks.
pub(crate) struct Unpark(pub(crate) Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Blocks this thread until a future is ready.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// Blocks this thread until a future is ready, or the environment's clock has reached `deadline`.
pub(crate) fn block_on_until<F: Future>(
    future: F,
    env: &impl Env,
    deadline: Duration,
) -> Option<F::Output> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return Some(output);
        }
        let left = deadline.saturating_sub(env.monotonic());
        if left.is_zero() {
            return None;
        }
        thread::park_timeout(left);
    }
}

impl<E: Env> fmt::Debug for Produce<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done(result) => f.debug_tuple("Done").field(result).finish(),
            Self::Waiting(future) => f.debug_tuple("Waiting").field(future).finish(),
        }
    }
}

impl<E: Env> fmt::Debug for ProduceFuture<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match self.stage {
            Stage::Appending(..) => "appending",
            Stage::Syncing(..) | Stage::Unsynced(_) => "syncing",
            Stage::Committing(..) => "committing",
            Stage::Answered => "answered",
        };
        write!(f, "ProduceFuture({:?}, {stage})", self.partition)
    }
}
