//! Appending to a partition: batches of clients and of coordinators, and markers; and waiting until they are durable.

use std::{
    fmt,
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use bytes::Bytes;
use hanbeon_idempotence::{MarkerClaim, VerificationNeed, VerificationRequest};
use hanbeon_log::{
    Abandoned, AppendError, Appended, Completion, Durability, Joined, LogError, Placed, Source,
};
use hanbeon_records::{Millis, Offset};
use hanbeon_replica::Acks;

use crate::{
    Env, PartitionHandle, Produce, ProduceError, ProduceFuture, System, image::is_internal,
};

impl<E: Env> PartitionHandle<E> {
    /// Appends one batch of a client, and answers when it is as safe as the topic's `flush.messages` and `acks` ask.
    ///
    /// A batch inside a transaction goes through [`crate::Transactions::produce`], which asks the coordinator first; here it is
    /// refused unless its transaction is open on this partition already.
    ///
    /// # Errors
    /// In the answer: see [`ProduceError`].
    pub fn produce(&self, records: Bytes, acks: Acks) -> Produce<E> {
        match self.open_to_clients() {
            Ok(()) => self.produce_as_server(records, acks),
            Err(error) => self.refused(error),
        }
    }

    /// Whether clients may write here.
    pub(crate) fn open_to_clients(&self) -> Result<(), ProduceError> {
        if is_internal(self.topic().as_str()) {
            return Err(ProduceError::InternalTopic { topic: self.topic().to_string() });
        }
        Ok(())
    }

    /// As [`PartitionHandle::produce`], for batches that have come together: in their order, with one write where that is possible.
    /// Each is judged and answered as if it had come alone, behind those before it.
    ///
    /// # Errors
    /// In the answers, which come in the same order: see [`ProduceError`].
    #[must_use = "only the answers say whether the batches were taken"]
    pub fn produce_all(&self, batches: Vec<(Bytes, Acks)>) -> Vec<Produce<E>> {
        let opened = match self.opened() {
            Ok(opened) if batches.len() > 1 && self.open_to_clients().is_ok() => opened,
            // Each says for itself what is wrong.
            _ => {
                return batches
                    .into_iter()
                    .map(|(batch, acks)| self.produce(batch, acks))
                    .collect();
            }
        };
        let (mut records, mut taken) = (Vec::new(), Vec::new());
        let mut refused = Vec::new();
        for (place, (batch, acks)) in batches.into_iter().enumerate() {
            let admitted = if acks == Acks::All { opened.admit(acks) } else { Ok(()) };
            match admitted {
                Ok(()) => {
                    taken.push((batch.len(), acks));
                    records.push(batch);
                }
                Err(error) => refused.push((place, self.refused(error.into()))),
            }
        }
        let now = self.0.ground.env.now();
        let joined = self
            .paced(|| opened.log.append_all(&records, now), |joined| joined.iter().any(is_written));
        let mut answers: Vec<_> = joined
            .into_iter()
            .zip(taken)
            .map(|(joined, (bytes, acks))| self.joined(joined, (bytes, acks), now))
            .collect();
        for (place, answer) in refused {
            answers.insert(place, answer);
        }
        answers
    }

    /// The same for the server's own records, which may go to [`crate::INTERNAL_TOPICS`].
    ///
    /// # Errors
    /// In the answer: see [`ProduceError`].
    pub fn produce_as_server(&self, records: Bytes, acks: Acks) -> Produce<E> {
        self.produce_from(records, acks, Source::CLIENT)
    }

    /// As [`PartitionHandle::produce_as_server`], with what the coordinator said to the batch.
    pub(crate) fn produce_from(&self, records: Bytes, acks: Acks, source: Source) -> Produce<E> {
        self.append(records, acks, source).unwrap_or_else(|error| self.refused(error))
    }

    pub(crate) fn refused(&self, error: ProduceError) -> Produce<E> {
        self.0.metrics.produce_requests.add(1);
        self.0.metrics.failed_produce_requests.add(1);
        Produce::Done(Err(error))
    }

    fn append(
        &self,
        records: Bytes,
        acks: Acks,
        source: Source,
    ) -> Result<Produce<E>, ProduceError> {
        let opened = self.opened()?;
        if acks == Acks::All {
            opened.admit(acks)?;
        }
        let (bytes, now) = (records.len(), self.0.ground.env.now());
        let joined = self.paced(|| opened.log.append_as(records, source, now), is_written);
        Ok(self.joined(joined, (bytes, acks), now))
    }

    /// Notes how long an append takes. One that left its write to another thread, was refused, or found what it brings in the log `wrote` nothing: it says no
    /// more than that it had to wait.
    fn paced<R>(&self, append: impl FnOnce() -> R, wrote: impl FnOnce(&R) -> bool) -> R {
        let env = &self.0.ground.env;
        let begun = env.monotonic();
        let result = append();
        let took = env.monotonic().saturating_sub(begun);
        if wrote(&result) {
            self.0.pace.wrote(took);
        } else {
            self.0.pace.waited(took);
        }
        result
    }

    /// Whether the last batch, or marker, was held up in its write. Who must not block appends on another thread then, until it is fast again:
    /// a bad disk is no reason for others to wait.
    #[must_use]
    pub fn is_slow(&self) -> bool {
        self.0.pace.is_slow()
    }

    /// Goes on with a batch that was handed to the log.
    fn joined(
        &self,
        joined: Joined<Result<Appended, AppendError>>,
        (bytes, acks): (usize, Acks),
        now: Millis,
    ) -> Produce<E> {
        match joined {
            Joined::Done(result) => {
                self.0.ground.metrics.judged(&self.0.metrics, bytes, &result);
                match result {
                    Ok(appended) => ProduceFuture::written(self, acks, appended, now),
                    // Counted already.
                    Err(error) => Produce::Done(Err(error.into())),
                }
            }
            Joined::Waiting(completion) => {
                Produce::Waiting(ProduceFuture::appending(self.clone(), acks, completion, bytes))
            }
        }
    }

    /// Appends one batch, waiting for the thread that writes it if that is another one; not synced. With the time it was
    /// written at.
    pub(crate) fn append_now(
        &self,
        records: &Bytes,
        source: Source,
    ) -> Result<(Appended, Millis), ProduceError> {
        let opened = self.opened()?;
        let now = self.0.ground.env.now();
        let appending = || opened.log.append_as(records.clone(), source, now).wait();
        let result = self.paced(appending, has_written)?;
        self.0.ground.metrics.judged(&self.0.metrics, records.len(), &result);
        Ok((result?, now))
    }

    /// Writes one batch of a coordinator. Readers see it as soon as the topic lets them; [`PartitionHandle::durable_to`] waits for the
    /// disk.
    pub(crate) fn write(&self, records: &Bytes, source: Source) -> Result<Appended, ProduceError> {
        let (appended, now) = self.append_now(records, source)?;
        let opened = self.appended_to()?;
        opened.written(self, opened.durability(), now);
        Ok(appended)
    }

    /// Writes the marker that ends a transaction here, as [`PartitionHandle::write`] does.
    ///
    /// # Errors
    /// The partition is offline, or the marker is that of an older coordinator or producer epoch.
    pub(crate) fn write_marker(&self, claim: MarkerClaim) -> Result<Appended, ProduceError> {
        let (opened, now) = (self.opened()?, claim.timestamp);
        let appended =
            self.paced(|| opened.log.append_marker(claim, now).wait(), has_written)??;
        self.0.ground.metrics.markers.add(1);
        opened.written(self, opened.durability(), now);
        Ok(appended)
    }

    /// Whether the coordinator must confirm this partition before a transaction's first batch (KIP-890).
    pub(crate) fn begin_verification(
        &self,
        request: VerificationRequest,
    ) -> Result<VerificationNeed, ProduceError> {
        let opened = self.opened()?;
        Ok(opened.log.begin_verification(request, self.0.ground.env.now()))
    }

    /// Whether nothing of this topic is acknowledged before it is on the disk.
    pub(crate) fn is_synced(&self) -> bool {
        match self.if_open() {
            Some(opened) => opened.durability() == Durability::Sync,
            None => self.config_durability() == Durability::Sync,
        }
    }

    /// Resolves when everything below `end` is on the disk. Without helpers whoever polls it leads the sync.
    pub(crate) fn durable_to(&self, end: Offset) -> Durable<E> {
        Durable { partition: self.clone(), end, syncing: None }
    }
}

/// Whether an append wrote, as far as this thread knows.
const fn is_written(joined: &Joined<Result<Appended, AppendError>>) -> bool {
    matches!(joined, Joined::Done(Ok(Appended { placed: Placed::Written, .. })))
}

/// Whether an append that was waited for wrote.
const fn has_written(waited: &Result<Result<Appended, AppendError>, Abandoned>) -> bool {
    matches!(waited, Ok(Ok(Appended { placed: Placed::Written, .. })))
}

/// Resolves when a partition is durable up to an offset.
#[must_use = "only the answer says whether it is durable"]
pub(crate) struct Durable<E: Env = System> {
    partition: PartitionHandle<E>,
    end: Offset,
    syncing: Option<Completion<Result<(), LogError>>>,
}

impl<E: Env> Durable<E> {
    fn poll_sync(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ProduceError>> {
        let partition = &self.partition;
        let opened = match partition.appended_to() {
            Ok(opened) => opened,
            Err(abandoned) => return Poll::Ready(Err(abandoned.into())),
        };
        let ground = &partition.0.ground;
        if self.syncing.is_none() {
            if opened.durable() >= self.end {
                return Poll::Ready(Ok(()));
            }
            opened.mark_dirty(ground.env.now());
            self.syncing = partition.synced_by_helper(opened, self.end);
            if self.syncing.is_none() {
                ground.metrics.syncs.add(1);
                return match opened.log.sync(self.end) {
                    Ok(()) => {
                        opened.synced(partition, self.end, ground.env.now());
                        Poll::Ready(Ok(()))
                    }
                    Err(error) => Poll::Ready(Err(error.into())),
                };
            }
        }
        let Some(completion) = &mut self.syncing else { return Poll::Pending };
        match pin!(completion).poll(cx) {
            Poll::Ready(Ok(Ok(()))) => {
                opened.synced(partition, self.end, ground.env.now());
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Ok(Err(error))) => Poll::Ready(Err(error.into())),
            Poll::Ready(Err(abandoned)) => Poll::Ready(Err(abandoned.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<E: Env> Future for Durable<E> {
    type Output = Result<(), ProduceError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_sync(cx)
    }
}

impl<E: Env> Unpin for Durable<E> {}

impl<E: Env> fmt::Debug for Durable<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Durable({:?} to {})", self.partition, self.end)
    }
}
