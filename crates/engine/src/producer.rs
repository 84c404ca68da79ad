//! An idempotent producer in the same process.
//!
//! Records gather in a batch per partition. A batch is written when it is full, when somebody waits for one of its records, or
//! at a flush; nothing waits for a timer. Batches of a partition are written in the order of their sequences, one after the
//! other; several may wait for their sync at once, and one sync covers them.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use bytes::Bytes;
use hanbeon_log::sync::Mutex;
use hanbeon_records::{
    BatchBuilder, BatchKind, BatchSettings, ErrorCode, LeaderEpoch, Millis, NewRecord, Offset,
    ProducerStamp, Sequence, TimestampType, TopicId,
};
use hanbeon_replica::Acks;

use crate::{
    ClientError, Engine, Env, PartitionHandle, Produce, ProduceError, ProduceFuture, Produced,
    ProducerIdentity, ProducerSettings, System, Topic, client_settings::IgnoreKeys, partitioner,
    produce::block_on,
};

/// Batches of a partition that may wait for their sync at once; Kafka's limit for an idempotent producer.
const IN_FLIGHT_MAX: usize = 5;
/// Bytes a record takes beside its key, value and headers, at most.
const RECORD_OVERHEAD: usize = 21;

/// A record to send.
///
/// ```
/// use hanbeon::Record;
///
/// let record = Record::new("orders", "3 apples").key("customer-7").header("trace", "a1b2");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Record {
    topic: String,
    partition: Option<i32>,
    timestamp: Option<Millis>,
    key: Option<Bytes>,
    value: Option<Bytes>,
    headers: Vec<(String, Option<Bytes>)>,
}

impl Record {
    /// A record for a topic.
    pub fn new(topic: impl Into<String>, value: impl Into<Bytes>) -> Self {
        Self {
            topic: topic.into(),
            partition: None,
            timestamp: None,
            key: None,
            value: Some(value.into()),
            headers: Vec::new(),
        }
    }

    /// The deletion of a key in a compacted topic.
    pub fn tombstone(topic: impl Into<String>, key: impl Into<Bytes>) -> Self {
        Self { value: None, ..Self::new(topic, Bytes::new()) }.key(key)
    }

    /// Gives it a key: records of one key go to one partition.
    pub fn key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Chooses its partition.
    pub const fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Gives it a time; otherwise it gets that of the call to [`Producer::send`].
    pub const fn timestamp(mut self, timestamp: Millis) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.headers.push((name.into(), Some(value.into())));
        self
    }

    fn size(&self) -> usize {
        let of = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        let headers: usize =
            self.headers.iter().map(|(name, value)| name.len() + of(value) + RECORD_OVERHEAD).sum();
        of(&self.key) + of(&self.value) + headers + RECORD_OVERHEAD
    }
}

/// Where a record came to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Its partition.
    pub partition: i32,
    /// Its offset there.
    pub offset: Offset,
    /// Its time.
    pub timestamp: Millis,
}

/// An idempotent producer: a record that is sent is in the log once, however often the sending had to be tried. Clones are the
/// same producer. Dropping the last one writes what has gathered; [`Producer::flush`] tells whether that went well.
pub struct Producer<E: Env = System>(Arc<Inner<E>>);

struct Inner<E: Env> {
    engine: Engine<E>,
    settings: ProducerSettings,
    lanes: Mutex<Lanes<E>>,
    /// The partition that records without a key stay on, by topic.
    sticky: Mutex<BTreeMap<TopicId, i32>>,
}

type Lanes<E> = BTreeMap<(TopicId, i32), Arc<Lane<E>>>;

/// One partition's batches, in order.
struct Lane<E: Env> {
    handle: PartitionHandle<E>,
    settings: ProducerSettings,
    state: Mutex<LaneState<E>>,
}

struct LaneState<E: Env> {
    identity: ProducerIdentity,
    next: Sequence,
    open: Option<OpenBatch<E>>,
    in_flight: VecDeque<Arc<Shipment<E>>>,
}

struct OpenBatch<E: Env> {
    shipment: Arc<Shipment<E>>,
    records: Vec<Record>,
    bytes: usize,
}

/// A batch and those who wait for it.
struct Shipment<E: Env> {
    stage: Mutex<Stage<E>>,
    waiting: Arc<Waiting>,
}

enum Stage<E: Env> {
    /// Still gathering.
    Open,
    Written(ProduceFuture<E>),
    Done(Result<Produced, ClientError>),
}

/// Wakes all who wait for one batch.
#[derive(Default)]
struct Waiting(Mutex<Vec<Waker>>);

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        let wakers = std::mem::take(&mut *self.0.lock());
        wakers.into_iter().for_each(Waker::wake);
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

impl<E: Env> Engine<E> {
    /// An idempotent producer with [`ProducerSettings::new`].
    #[must_use]
    pub fn producer(&self) -> Producer<E> {
        self.producer_with(ProducerSettings::new())
    }

    /// An idempotent producer.
    #[must_use]
    pub fn producer_with(&self, settings: ProducerSettings) -> Producer<E> {
        Producer(Arc::new(Inner {
            engine: self.clone(),
            settings,
            lanes: Mutex::new(BTreeMap::new()),
            sticky: Mutex::new(BTreeMap::new()),
        }))
    }
}

impl<E: Env> Producer<E> {
    /// Puts a record into its partition's batch, and writes that when it is full.
    ///
    /// # Errors
    /// There is no such topic or partition, or no producer id could be had. What becomes of the record comes with the
    /// [`Delivery`].
    pub fn send(&self, record: Record) -> Result<Delivery<E>, ClientError> {
        let inner = &*self.0;
        let unknown = || ClientError::UnknownTopic { topic: record.topic.clone() };
        let topic = inner.engine.topic(&record.topic).ok_or_else(unknown)?;
        let partition = inner.partition(&topic, &record);
        let lane = inner.lane(&topic, partition)?;
        let timestamp = record.timestamp.unwrap_or_else(|| inner.engine.now());
        let bytes = record.size();
        let mut state = lane.state.lock();
        let full =
            |open: &OpenBatch<E>| open.bytes.saturating_add(bytes) > inner.settings.batch_size;
        if state.open.as_ref().is_some_and(full) {
            lane.write(&mut state);
            inner.sticky.lock().remove(&topic.id());
        }
        let open = state.open.get_or_insert_with(OpenBatch::new);
        let index = i64::try_from(open.records.len()).unwrap_or(i64::MAX);
        open.records.push(Record { timestamp: Some(timestamp), ..record });
        open.bytes = open.bytes.saturating_add(bytes);
        let shipment = Arc::clone(&open.shipment);
        if open.bytes >= inner.settings.batch_size {
            lane.write(&mut state);
            inner.sticky.lock().remove(&topic.id());
        }
        drop(state);
        Ok(Delivery { lane, shipment, index, timestamp })
    }

    /// Writes what has gathered and blocks until all of it is acknowledged.
    ///
    /// # Errors
    /// The first batch that was not taken; every [`Delivery`] knows about its own.
    pub fn flush(&self) -> Result<(), ClientError> {
        let lanes: Vec<Arc<Lane<E>>> = self.0.lanes.lock().values().cloned().collect();
        // All are written before the first is waited for, so that syncs overlap.
        let mut shipments = Vec::new();
        for lane in &lanes {
            let mut state = lane.state.lock();
            lane.write(&mut state);
            shipments.extend(state.in_flight.drain(..));
        }
        let mut failed = None;
        for shipment in shipments {
            if let Err(error) = block_on(std::future::poll_fn(|cx| shipment.poll(cx))) {
                failed = failed.or(Some(error));
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

impl<E: Env> Inner<E> {
    fn partition(&self, topic: &Topic<E>, record: &Record) -> i32 {
        let count = i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX);
        if let Some(partition) = record.partition {
            return partition;
        }
        match &record.key {
            Some(key) if self.settings.ignore_keys == IgnoreKeys::No => {
                partitioner::of_key(key, count)
            }
            Some(_) | None => *self
                .sticky
                .lock()
                .entry(topic.id())
                .or_insert_with(|| partitioner::at_random(self.engine.env().random(), count)),
        }
    }

    fn lane(&self, topic: &Topic<E>, partition: i32) -> Result<Arc<Lane<E>>, ClientError> {
        if let Some(lane) = self.lanes.lock().get(&(topic.id(), partition)) {
            return Ok(Arc::clone(lane));
        }
        let handle = self.engine.partition_by_id(topic.id(), partition)?;
        let state = LaneState {
            identity: self.engine.init_producer_id()?,
            next: Sequence::ZERO,
            open: None,
            in_flight: VecDeque::new(),
        };
        let lane = Lane { handle, settings: self.settings.clone(), state: Mutex::new(state) };
        // Another thread may have been quicker: its lane is the one with the sequences.
        let key = (topic.id(), partition);
        Ok(Arc::clone(self.lanes.lock().entry(key).or_insert_with(|| Arc::new(lane))))
    }
}

impl<E: Env> OpenBatch<E> {
    fn new() -> Self {
        let shipment = Shipment { stage: Mutex::new(Stage::Open), waiting: Arc::default() };
        Self { shipment: Arc::new(shipment), records: Vec::new(), bytes: 0 }
    }
}

impl<E: Env> Lane<E> {
    /// Writes the open batch, if there is one.
    fn write(&self, state: &mut LaneState<E>) {
        let Some(open) = state.open.take() else {
            return;
        };
        while state.in_flight.len() >= IN_FLIGHT_MAX {
            if let Some(oldest) = state.in_flight.pop_front() {
                // Its outcome is its deliveries' to tell; here it only must not be overtaken by too many.
                drop(block_on(std::future::poll_fn(|cx| oldest.poll(cx))));
            }
        }
        let stage = match self.append(state, &open.records) {
            Ok(Produce::Waiting(future)) => Stage::Written(future),
            Ok(Produce::Done(result)) => Stage::Done(result.map_err(ClientError::from)),
            Err(error) => Stage::Done(Err(error)),
        };
        *open.shipment.stage.lock() = stage;
        open.shipment.waiting.clone().wake();
        state.in_flight.push_back(open.shipment);
    }

    /// Brings a batch into the log. The sequence moves on only when it is there.
    fn append(
        &self,
        state: &mut LaneState<E>,
        records: &[Record],
    ) -> Result<Produce<E>, ClientError> {
        let mut attempt = 0;
        loop {
            let (bytes, count) = build(&self.settings, state, records)?;
            match self.handle.append_now(&bytes) {
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
            kind: BatchKind::Plain,
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

impl<E: Env> Shipment<E> {
    /// What became of the batch. One that is still gathering is written by its lane first.
    fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<Produced, ClientError>> {
        self.waiting.0.lock().push(cx.waker().clone());
        let mut stage = self.stage.lock();
        let result = match &mut *stage {
            Stage::Open => return Poll::Pending,
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

impl<E: Env> Drop for Inner<E> {
    fn drop(&mut self) {
        for lane in self.lanes.lock().values() {
            lane.write(&mut lane.state.lock());
        }
    }
}

impl<E: Env> Clone for Producer<E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<E: Env> fmt::Debug for Producer<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

impl<E: Env> fmt::Debug for Delivery<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery").field("partition", &self.lane.handle).finish_non_exhaustive()
    }
}
