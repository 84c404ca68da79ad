//! Fetch: reads what is there, and waits for more when that is too little.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use hanbeon::{
    AbortedData, DataFuture, Engine, Env, FetchSpec, Fetched, FirstBatch, Isolation,
    PartitionError, PartitionHandle,
};
use hanbeon_records::{ErrorCode, Offset};
use hanbeon_wire::{
    AbortedTransaction, Answer, Diverging, FetchHead, FetchPartition, FetchRequest, FetchResult,
    FetchWriter, IsolationLevel, ReplyTo, Request, TopicRef, WireError,
};
use tokio::time::{Instant, timeout_at};

use crate::{
    connection::Reply,
    dispatch::Node,
    sessions::{News, Sessions, Standing, Told, TopicKey, Wanted, known},
};

/// The partitions that a request names and whose logs are not open yet. Those a session knows were opened when it began.
pub(crate) fn unopened<E: Env>(engine: &Engine<E>, request: &Request) -> Vec<PartitionHandle<E>> {
    let Ok(asked) = FetchRequest::read(request) else { return Vec::new() };
    let mut found = Vec::new();
    for topic in asked.topics() {
        for partition in topic.partitions() {
            let handle = match topic.topic {
                TopicRef::Name(name) => engine.partition(name, partition.index),
                TopicRef::Id(id) => engine.partition_by_id(id, partition.index),
            };
            found.extend(handle.ok().filter(|handle| !handle.is_open()));
        }
    }
    found
}

/// Starts a Fetch request.
pub(crate) fn start<E: Env>(node: &Node<E>, request: &Request) -> Reply {
    let asked = match FetchRequest::read(request) {
        Ok(asked) => asked,
        Err(error) => {
            tracing::debug!(%error, "a Fetch request cannot be read");
            return Reply::Close("a Fetch request that cannot be read");
        }
    };
    let reply_to = request.reply_to;
    let (standing, wanted) = match node.sessions.resolve(&asked) {
        Ok(resolved) => resolved,
        Err(code) => return finished(whole_error(reply_to, code)),
    };
    let filtered = node.filters_for(request);
    let fetch = Fetching {
        engine: node.engine.clone(),
        sessions: Arc::clone(&node.sessions),
        reply_to,
        standing,
        wanted,
        isolation: if filtered { IsolationLevel::ReadCommitted } else { asked.isolation },
        aborted_data: if filtered { AbortedData::LeftOut } else { AbortedData::Listed },
        max_bytes: asked.max_bytes,
        answer_bytes_max: node.fetch_bytes_max,
        // What is more than the answer may carry would never be there, and the client would wait for it to the end.
        min_bytes: bytes_of(asked.min_bytes)
            .min(bytes_of(asked.max_bytes))
            .min(node.fetch_bytes_max),
    };
    let read = fetch.read();
    let wait_ms = u64::try_from(asked.max_wait_ms).unwrap_or(0);
    if wait_ms == 0 || fetch.is_enough(&read) {
        return finished(fetch.answer(read));
    }
    let mut stopping = node.stopping.clone();
    Reply::Later(Box::pin(async move {
        let deadline = Instant::now() + Duration::from_millis(wait_ms);
        let read = tokio::select! {
            read = fetch.wait(read, deadline) => read,
            // A broker that stops does not keep readers waiting for data that cannot come.
            _ = stopping.wait_for(|stop| *stop) => fetch.read(),
        };
        finished(fetch.answer(read))
    }))
}

fn finished(answer: Result<Answer, WireError>) -> Reply {
    match answer {
        Ok(answer) => Reply::Now(answer),
        Err(error) => {
            tracing::error!(%error, "a Fetch answer has no form");
            Reply::Close("an answer that has no form")
        }
    }
}

fn whole_error(reply_to: ReplyTo, error: ErrorCode) -> Result<Answer, WireError> {
    let mut out = BytesMut::new();
    FetchWriter::begin(&mut out, reply_to, FetchHead { throttle_ms: 0, error, session_id: 0 }, 0)?
        .finish(&[])
}

/// A number of bytes as a client names it.
fn bytes_of(asked: i32) -> usize {
    usize::try_from(asked).unwrap_or(0)
}

/// One Fetch request on its way.
struct Fetching<E: Env> {
    engine: Engine<E>,
    sessions: Arc<Sessions>,
    reply_to: ReplyTo,
    standing: Standing,
    wanted: Vec<Wanted>,
    isolation: IsolationLevel,
    aborted_data: AbortedData,
    max_bytes: i32,
    answer_bytes_max: usize,
    min_bytes: usize,
}

/// What one partition had to say.
enum Read {
    Data(Box<Fetched>),
    Error(ErrorCode),
}

impl<E: Env> Fetching<E> {
    fn handle(&self, wanted: &Wanted) -> Result<PartitionHandle<E>, PartitionError> {
        match &wanted.topic {
            TopicKey::Name(name) => self.engine.partition(name, wanted.partition.index),
            TopicKey::Id(id) => self.engine.partition_by_id(*id, wanted.partition.index),
        }
    }

    fn isolation(&self) -> Result<Isolation, ErrorCode> {
        match self.isolation {
            IsolationLevel::ReadUncommitted => Ok(Isolation::Uncommitted),
            IsolationLevel::ReadCommitted => Ok(Isolation::Committed),
            IsolationLevel::Unknown(_) => Err(ErrorCode::InvalidRequest),
        }
    }

    /// Reads every partition within the answer's budget; the first that has data gives its first batch whole (KIP-74).
    fn read(&self) -> Vec<Read> {
        let mut budget = bytes_of(self.max_bytes).min(self.answer_bytes_max);
        let mut first_batch = FirstBatch::Whole;
        self.wanted
            .iter()
            .map(|wanted| {
                let read = self.read_one(wanted, budget, first_batch);
                if let Read::Data(fetched) = &read {
                    budget = budget.saturating_sub(fetched.records.len());
                    if !fetched.records.is_empty() {
                        first_batch = FirstBatch::WithinLimit;
                    }
                }
                read
            })
            .collect()
    }

    fn read_one(&self, wanted: &Wanted, budget: usize, first_batch: FirstBatch) -> Read {
        let FetchPartition {
            fetch_offset,
            current_leader_epoch,
            last_fetched_epoch,
            max_bytes,
            ..
        } = wanted.partition;
        let isolation = match self.isolation() {
            Ok(isolation) => isolation,
            Err(code) => return Read::Error(code),
        };
        // A negative limit is no limit that could be kept; 4.3.1 answers UNKNOWN_SERVER_ERROR, too.
        let (Ok(partition_max), true) = (usize::try_from(max_bytes), self.max_bytes >= 0) else {
            return Read::Error(ErrorCode::UnknownServerError);
        };
        let spec = FetchSpec {
            from: fetch_offset,
            isolation,
            aborted_data: self.aborted_data,
            max_bytes: partition_max.min(budget),
            first_batch,
            current_leader_epoch: known(current_leader_epoch),
            last_fetched_epoch: known(last_fetched_epoch),
        };
        match self.handle(wanted).and_then(|partition| partition.fetch(&spec)) {
            Ok(fetched) => Read::Data(Box::new(fetched)),
            Err(error) => {
                tracing::debug!(%error, "a partition could not be read");
                Read::Error(error.code())
            }
        }
    }

    /// Whether an answer is due now: enough bytes, an error, or nothing to wait for.
    fn is_enough(&self, read: &[Read]) -> bool {
        let mut bytes = 0;
        for one in read {
            match one {
                Read::Error(_) => return true,
                Read::Data(fetched) if fetched.diverging.is_some() => return true,
                Read::Data(fetched) => bytes += fetched.records.len(),
            }
        }
        read.is_empty() || bytes >= self.min_bytes
    }

    async fn wait(&self, mut read: Vec<Read>, deadline: Instant) -> Vec<Read> {
        loop {
            let Some(any) = self.any_data(&read) else { return self.read() };
            if timeout_at(deadline, any).await.is_err() {
                return self.read();
            }
            read = self.read();
            if self.is_enough(&read) {
                return read;
            }
        }
    }

    /// Resolves when one of the partitions has more than was read; `None` when one of them cannot be waited for.
    fn any_data(&self, read: &[Read]) -> Option<AnyData<E>> {
        let isolation = self.isolation().ok()?;
        let futures = self.wanted.iter().zip(read).map(|(wanted, read)| {
            let seen = match read {
                Read::Data(fetched) => end_of(fetched, isolation),
                Read::Error(_) => return None,
            };
            let offset = wanted.partition.fetch_offset.max(seen);
            self.handle(wanted).and_then(|partition| partition.data_beyond(offset, isolation)).ok()
        });
        Some(AnyData(futures.collect::<Option<Vec<_>>>()?))
    }

    fn answer(&self, read: Vec<Read>) -> Result<Answer, WireError> {
        let told: Vec<_> =
            self.wanted.iter().zip(&read).map(|(wanted, read)| tell(wanted, read)).collect();
        let (session_id, shown) = match self.standing {
            Standing::None => (0, vec![true; read.len()]),
            Standing::Opened(id) => {
                self.sessions.note(id, &told);
                (id, vec![true; read.len()])
            }
            Standing::Incremental(id) => (id, self.sessions.note(id, &told)),
        };
        let shown: Vec<_> = self
            .wanted
            .iter()
            .zip(read)
            .zip(shown)
            .filter_map(|(pair, shown)| shown.then_some(pair))
            .collect();
        let mut out = BytesMut::with_capacity(256);
        let head = FetchHead { throttle_ms: 0, error: ErrorCode::None, session_id };
        let groups: Vec<_> = shown.chunk_by(|(a, _), (b, _)| a.topic == b.topic).collect();
        let mut writer = FetchWriter::begin(&mut out, self.reply_to, head, groups.len())?;
        for group in groups {
            if let Some((first, _)) = group.first() {
                writer.topic(first.topic.as_wire(), group.len())?;
            }
            for (wanted, read) in group {
                self.write_one(&mut writer, wanted.partition.index, read)?;
            }
        }
        writer.finish(&[])
    }

    fn write_one(
        &self,
        writer: &mut FetchWriter<'_>,
        index: i32,
        read: &Read,
    ) -> Result<(), WireError> {
        match read {
            Read::Error(code) => {
                let mut result = FetchResult::refused(index, *code);
                // As 4.3.1: what the broker refuses before it asks the log comes with an empty list, not with none.
                if matches!(code, ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId) {
                    result.aborted = Some(&[]);
                }
                writer.partition(&result, Bytes::new())
            }
            Read::Data(fetched) => {
                let aborted: Option<Vec<_>> = fetched.aborted.as_ref().map(|list| {
                    list.iter()
                        .map(|txn| AbortedTransaction {
                            producer_id: txn.producer_id,
                            first_offset: txn.first_offset,
                        })
                        .collect()
                });
                let mut result = FetchResult::refused(index, ErrorCode::None);
                result.high_watermark = fetched.high_watermark;
                result.last_stable_offset = fetched.last_stable_offset;
                result.log_start_offset = fetched.log_start_offset;
                result.aborted = aborted.as_deref();
                result.diverging = fetched
                    .diverging
                    .map(|end| Diverging { epoch: end.epoch, end_offset: end.end_offset });
                writer.partition(&result, fetched.records.clone())
            }
        }
    }
}

/// The end of what a reader at this level may see.
fn end_of(fetched: &Fetched, isolation: Isolation) -> Offset {
    match isolation {
        Isolation::Committed => fetched.last_stable_offset,
        Isolation::Uncommitted | Isolation::LogEnd => fetched.high_watermark,
    }
}

fn tell<'a>(wanted: &'a Wanted, read: &Read) -> (&'a Wanted, Option<Told>, News) {
    match read {
        Read::Error(_) => (wanted, None, News::Always),
        Read::Data(fetched) => {
            let told = Told {
                high_watermark: fetched.high_watermark,
                last_stable_offset: fetched.last_stable_offset,
                log_start_offset: fetched.log_start_offset,
            };
            let news = match (fetched.records.is_empty(), fetched.diverging) {
                (false, _) => News::Records,
                (true, Some(_)) => News::Always,
                (true, None) => News::IfChanged,
            };
            (wanted, Some(told), news)
        }
    }
}

/// Resolves when any of its futures does.
struct AnyData<E: Env>(Vec<DataFuture<E>>);

impl<E: Env> Future for AnyData<E> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let ready = self.0.iter_mut().any(|future| Pin::new(future).poll(cx).is_ready());
        if ready { Poll::Ready(()) } else { Poll::Pending }
    }
}
