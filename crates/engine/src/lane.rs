//! The batches of a producer for one partition: gathering, written in the order of their sequences, waited for.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use bytes::Bytes;
use hanbeon_log::{Source, sync::Mutex};
use hanbeon_records::{
    BatchBuilder, BatchKind, BatchSettings, ErrorCode, LeaderEpoch, Millis, NewRecord, Offset,
    ProducerStamp, Sequence, TimestampType,
};
use hanbeon_replica::Acks;
use hanbeon_txn::TransactionalId;

use crate::{
    ClientError, Enrol, Env, PartitionHandle, Produce, ProduceError, ProduceFuture, Produced,
    ProducerIdentity, ProducerSettings, Record, Sent, System, TransactionalProduce, Transactions,
    produce::block_on, waiters::wake_all,
};

/// Batches of a partition that may wait for their sync at once; Kafka's limit for an idempotent producer.
const IN_FLIGHT_MAX: usize = 5;

/// One partition's batches, in order.
pub(crate) struct Lane<E: Env> {
    handle: PartitionHandle<E>,
    settings: ProducerSettings,
    voice: Voice<E>,
    state: Mutex<LaneState<E>>,
}

/// In whose name a lane writes.
pub(crate) enum Voice<E: Env> {
    /// Its own: when the partition has forgotten it, it goes on under another producer id.
    Alone,
    /// A transaction's, into which the coordinator lets it.
    Transaction { transactions: Transactions<E>, id: TransactionalId },
}

/// A batch of a transaction on its way into the log.
pub(crate) struct Packed<E: Env> {
    pub(crate) partition: PartitionHandle<E>,
    pub(crate) records: Bytes,
    pub(crate) shipment: Arc<Shipment<E>>,
}

struct LaneState<E: Env> {
    identity: ProducerIdentity,
    next: Sequence,
    open: Option<OpenBatch<E>>,
    in_flight: VecDeque<Arc<Shipment<E>>>,
    /// What became of the first batch that was not taken, where nobody else hears of it.
    failed: Option<ClientError>,
}

struct OpenBatch<E: Env> {
    shipment: Arc<Shipment<E>>,
    records: Vec<Record>,
    bytes: usize,
}

/// A batch and those who wait for it.
pub(crate) struct Shipment<E: Env> {
    stage: Mutex<Stage<E>>,
    waiting: Arc<Waiting>,
}

pub(crate) enum Stage<E: Env> {
    /// Still gathering, or on its way to be written.
    Open,
    /// It waits for the word of the transaction coordinator, then it is written.
    Beginning(Beginning<E>),
    Written(ProduceFuture<E>),
    Done(Result<Produced, ClientError>),
}

type Beginning<E> = Pin<Box<dyn Future<Output = Vec<Produce<E>>> + Send>>;

/// Wakes all who wait for one batch.
#[derive(Default)]
struct Waiting(Mutex<Vec<Waker>>);

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        let wakers = std::mem::take(&mut *self.0.lock());
        wake_all(wakers);
    }
}

/// A record on its way: a future for any executor, or [`Delivery::wait`]. Dropping it takes nothing back.
#[must_use = "only the answer says whether the record was taken"]
pub struct Delivery<E: Env = System> {
    lane: Arc<Lane<E>>,
    shipment: Arc<Shipment<E>>,
    index: i64,
    timestamp: Millis,
}

impl<E: Env> OpenBatch<E> {
    fn new() -> Self {
        let shipment = Shipment { stage: Mutex::new(Stage::Open), waiting: Arc::default() };
        Self { shipment: Arc::new(shipment), records: Vec::new(), bytes: 0 }
    }
}

impl<E: Env> Lane<E> {
    pub(crate) const fn new(
        handle: PartitionHandle<E>,
        settings: ProducerSettings,
        identity: ProducerIdentity,
        voice: Voice<E>,
    ) -> Self {
        let state = LaneState {
            identity,
            next: Sequence::ZERO,
            open: None,
            in_flight: VecDeque::new(),
            failed: None,
        };
        Self { handle, settings, voice, state: Mutex::new(state) }
    }

    /// Puts a record into the open batch, and writes that when it is full.
    pub(crate) fn add(self: &Arc<Self>, record: Record, now: Millis) -> Delivery<E> {
        let timestamp = record.timestamp.unwrap_or(now);
        let bytes = record.size();
        let mut state = self.state.lock();
        let limit = self.settings.batch_size;
        let full = |open: &OpenBatch<E>| open.bytes.saturating_add(bytes) > limit;
        if state.open.as_ref().is_some_and(full) {
            self.write(&mut state);
        }
        let open = state.open.get_or_insert_with(OpenBatch::new);
        let index = i64::try_from(open.records.len()).unwrap_or(i64::MAX);
        open.records.push(Record { timestamp: Some(timestamp), ..record });
        open.bytes = open.bytes.saturating_add(bytes);
        let shipment = Arc::clone(&open.shipment);
        if open.bytes >= limit {
            self.write(&mut state);
        }
        drop(state);
        Delivery { lane: Arc::clone(self), shipment, index, timestamp }
    }

    /// Writes the open batch, and returns all that wait for an answer. They stay in flight: whoever else flushes waits for them too.
    pub(crate) fn ship(&self) -> VecDeque<Arc<Shipment<E>>> {
        let mut state = self.state.lock();
        self.write(&mut state);
        state.in_flight.clone()
    }

    /// Forgets what is answered, and tells what became of the first batch that was not taken since this was last asked.
    pub(crate) fn settled(&self) -> Option<ClientError> {
        let mut state = self.state.lock();
        state.in_flight.retain(|shipment| !shipment.is_done());
        state.failed.take()
    }

    /// Writes the open batch, if there is one.
    fn write(&self, state: &mut LaneState<E>) {
        let Some(open) = state.open.take() else {
            return;
        };
        while state.in_flight.len() >= IN_FLIGHT_MAX {
            if let Some(oldest) = state.in_flight.pop_front() {
                // It must not be overtaken by too many. A failure is kept for who flushes.
                let answer = self.wait_for(std::future::poll_fn(|cx| oldest.poll(cx)));
                state.failed = state.failed.take().or_else(|| answer.err());
            }
        }
        let stage = match &self.voice {
            Voice::Alone => self.append(state, &open.records).into(),
            Voice::Transaction { transactions, id } => {
                if let Some(last) = state.in_flight.back() {
                    // Who waits for the coordinator's word is not overtaken.
                    self.wait_for(std::future::poll_fn(|cx| last.poll_begun(cx)));
                }
                match self.next_batch(state, &open.records) {
                    Ok(bytes) => {
                        let batches = vec![(self.handle.clone(), bytes)];
                        transactions.produce(id, Enrol::Add, batches, Acks::All).into()
                    }
                    Err(error) => Stage::Done(Err(error)),
                }
            }
        };
        if let Stage::Done(Err(error)) = &stage {
            state.failed.get_or_insert_with(|| error.clone());
        }
        open.shipment.becomes(stage);
        state.in_flight.push_back(open.shipment);
    }

    fn wait_for<F: Future>(&self, future: F) -> F::Output {
        match &self.voice {
            Voice::Alone => block_on(future),
            Voice::Transaction { transactions, .. } => transactions.drive(future),
        }
    }

    /// The next batch of a transaction. Its sequence is spent: if it is not written, nothing after it may be.
    fn next_batch(
        &self,
        state: &mut LaneState<E>,
        records: &[Record],
    ) -> Result<Bytes, ClientError> {
        let (bytes, count) = build(&self.settings, state, BatchKind::Transactional, records)?;
        state.next = state.next.advance(count);
        Ok(bytes)
    }

    /// Resolves when no batch waits for the coordinator's word.
    pub(crate) async fn begun(&self) {
        let last = self.state.lock().in_flight.back().cloned();
        if let Some(last) = last {
            std::future::poll_fn(|cx| last.poll_begun(cx)).await;
        }
    }

    /// Takes the open batch of a transaction, for the caller to write; [`Shipment::becomes`] what comes of it.
    pub(crate) fn pack(&self) -> Result<Option<Packed<E>>, ClientError> {
        let mut state = self.state.lock();
        let Some(open) = state.open.take() else { return Ok(None) };
        state.in_flight.push_back(Arc::clone(&open.shipment));
        let records = self.next_batch(&mut state, &open.records)?;
        drop(state);
        Ok(Some(Packed { partition: self.handle.clone(), records, shipment: open.shipment }))
    }

    /// All that wait for an answer, to be waited for.
    pub(crate) fn in_flight(&self) -> VecDeque<Arc<Shipment<E>>> {
        std::mem::take(&mut self.state.lock().in_flight)
    }

    /// What became of the first batch that was not taken, as far as is known without waiting.
    pub(crate) fn failure(&self) -> Option<ClientError> {
        self.state.lock().failed.clone()
    }

    /// Whether anything was written, or tried to be.
    pub(crate) fn has_begun(&self) -> bool {
        self.state.lock().next != Sequence::ZERO
    }

    /// The transaction is aborted: what is not written will not be.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        let open = state.open.take().map(|open| open.shipment);
        let waiting: Vec<_> = open.into_iter().chain(state.in_flight.drain(..)).collect();
        drop(state);
        for shipment in waiting {
            if matches!(*shipment.stage.lock(), Stage::Open | Stage::Beginning(_)) {
                shipment.becomes(Stage::Done(Err(ClientError::NotWritten)));
            }
        }
    }

    /// Brings a batch into the log. The sequence moves on only when it is there.
    fn append(
        &self,
        state: &mut LaneState<E>,
        records: &[Record],
    ) -> Result<Produce<E>, ClientError> {
        let mut attempt = 0;
        loop {
            let (bytes, count) = build(&self.settings, state, BatchKind::Plain, records)?;
            match self.handle.append_now(&bytes, Source::CLIENT) {
                Ok((appended, now)) => {
                    state.next = state.next.advance(count);
                    return Ok(ProduceFuture::written(&self.handle, Acks::All, appended, now));
                }
                // Whether it was written is unknown. The same batch again is taken for what it is if it was.
                Err(ProduceError::Abandoned(_)) if attempt < self.settings.retries => attempt += 1,
                // The partition has forgotten this producer, or never knew it: nothing of it is in flight, so it begins anew
                // under another id, which nothing of the old one can be taken for.
                Err(error) if forgotten(&error) && attempt < self.settings.retries => {
                    attempt += 1;
                    state.identity = self.handle.0.ground.fresh_identity()?;
                    state.next = Sequence::ZERO;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn forgotten(error: &ProduceError) -> bool {
    matches!(error.code(), ErrorCode::OutOfOrderSequenceNumber | ErrorCode::UnknownProducerId)
}

/// A batch of these records, and how many there are.
fn build<E: Env>(
    settings: &ProducerSettings,
    state: &LaneState<E>,
    kind: BatchKind,
    records: &[Record],
) -> Result<(Bytes, u32), ClientError> {
    let mut bytes = Vec::new();
    let ProducerIdentity { id, epoch } = state.identity;
    let mut builder = BatchBuilder::new(
        &mut bytes,
        BatchSettings {
            codec: settings.codec,
            level: settings.level(),
            timestamp_type: TimestampType::CreateTime,
            producer: Some(ProducerStamp { id, epoch, base_sequence: state.next }),
            kind,
            base_offset: Offset::ZERO,
            leader_epoch: LeaderEpoch::UNKNOWN,
        },
    );
    for record in records {
        let headers: Vec<(&str, Option<&[u8]>)> =
            record.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        builder.push(NewRecord {
            timestamp: record.timestamp.unwrap_or(Millis::NONE),
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &headers,
        })?;
    }
    builder.finish()?;
    Ok((Bytes::from(bytes), u32::try_from(records.len()).unwrap_or(u32::MAX)))
}

impl<E: Env> From<Result<Produce<E>, ClientError>> for Stage<E> {
    fn from(produce: Result<Produce<E>, ClientError>) -> Self {
        match produce {
            Ok(Produce::Waiting(future)) => Self::Written(future),
            Ok(Produce::Done(result)) => Self::Done(result.map_err(ClientError::from)),
            Err(error) => Self::Done(Err(error)),
        }
    }
}

impl<E: Env> From<TransactionalProduce<E>> for Stage<E> {
    fn from(produce: TransactionalProduce<E>) -> Self {
        match produce {
            TransactionalProduce::Begun(produced) => Self::of_one(produced),
            TransactionalProduce::Gated(future) => Self::Beginning(future),
        }
    }
}

impl<E: Env> Stage<E> {
    /// What became of a batch that was written alone.
    fn of_one(mut produced: Vec<Produce<E>>) -> Self {
        produced.pop().ok_or(ClientError::NotWritten).into()
    }
}

impl<E: Env> Shipment<E> {
    pub(crate) fn becomes(&self, stage: impl Into<Stage<E>>) {
        let before = std::mem::replace(&mut *self.stage.lock(), stage.into());
        drop(before);
        Arc::clone(&self.waiting).wake();
    }

    /// Whether it is answered. One that somebody polls right now is not: that may be a sync under way, which nobody waits for here.
    fn is_done(&self) -> bool {
        self.stage.try_lock().is_some_and(|stage| matches!(*stage, Stage::Done(_)))
    }

    /// Ready when the batch does not wait for the coordinator's word.
    fn poll_begun(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut stage = self.stage.lock();
        if let Stage::Beginning(future) = &mut *stage {
            self.waiting.0.lock().push(cx.waker().clone());
            let all = Waker::from(Arc::clone(&self.waiting));
            match future.as_mut().poll(&mut Context::from_waker(&all)) {
                Poll::Ready(produced) => *stage = Stage::of_one(produced),
                Poll::Pending => return Poll::Pending,
            }
            drop(stage);
            Arc::clone(&self.waiting).wake();
        }
        Poll::Ready(())
    }

    /// What became of the batch. One that is still gathering is written by its lane first.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<Produced, ClientError>> {
        if self.poll_begun(cx).is_pending() {
            return Poll::Pending;
        }
        self.waiting.0.lock().push(cx.waker().clone());
        let mut stage = self.stage.lock();
        let result = match &mut *stage {
            Stage::Open | Stage::Beginning(_) => return Poll::Pending,
            Stage::Done(result) => result.clone(),
            Stage::Written(future) => {
                // Whoever of several is polled last must not be the only one to be woken.
                let all = Waker::from(Arc::clone(&self.waiting));
                match Pin::new(future).poll(&mut Context::from_waker(&all)) {
                    Poll::Ready(result) => {
                        let result = result.map_err(ClientError::from);
                        *stage = Stage::Done(result.clone());
                        result
                    }
                    Poll::Pending => return Poll::Pending,
                }
            }
        };
        drop(stage);
        Arc::clone(&self.waiting).wake();
        Poll::Ready(result)
    }
}

impl<E: Env> Delivery<E> {
    /// Writes the record's batch if that is still gathering, and blocks until it is acknowledged.
    ///
    /// # Errors
    /// The record was not taken, or could not be made as durable as its topic asks.
    pub fn wait(self) -> Result<Sent, ClientError> {
        block_on(self)
    }
}

impl<E: Env> Future for Delivery<E> {
    type Output = Result<Sent, ClientError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        {
            let mut state = self.lane.state.lock();
            let gathering = |open: &OpenBatch<E>| Arc::ptr_eq(&open.shipment, &self.shipment);
            if state.open.as_ref().is_some_and(gathering) {
                self.lane.write(&mut state);
            }
        }
        let sent = |produced: Produced| Sent {
            partition: self.lane.handle.number(),
            offset: produced.base_offset.saturating_add(self.index),
            timestamp: produced.log_append_time.unwrap_or(self.timestamp),
        };
        self.shipment.poll(cx).map(|result| result.map(sent))
    }
}

impl<E: Env> fmt::Debug for Delivery<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery").field("partition", &self.lane.handle).finish_non_exhaustive()
    }
}
