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
    AbortedData, CompressionType, DataFuture, Engine, Env, FetchSpec, Fetched, FirstBatch, Image,
    Isolation, PartitionHandle, Topic,
};
use hanbeon_records::{ErrorCode, Offset};
use hanbeon_wire::{
    AbortedTransaction, Answer, Diverging, FetchHead, FetchPartition, FetchRequest, FetchResult,
    FetchWriter, IsolationLevel, ReplyTo, Request, WireError,
};
use tokio::time::{Instant, timeout_at};

use crate::{
    connection::{Parked, Reply},
    dispatch::Node,
    named::{self, add_unopened},
    sessions::{News, Sessions, Standing, Told, TopicKey, Wanted, known},
};

/// The first version whose clients know zstd (KIP-110).
const ZSTD_VERSION_MIN: i16 = 10;
/// The first version whose clients know `KAFKA_STORAGE_ERROR` (KIP-112).
const STORAGE_ERROR_VERSION_MIN: i16 = 6;
/// Bytes of one aborted transaction in an answer.
const ABORTED_LEN: usize = 16;

/// The partitions that a request names and whose logs are not open yet. Those a session knows were opened when it began.
pub(crate) fn unopened<E: Env>(engine: &Engine<E>, request: &Request) -> Vec<PartitionHandle<E>> {
    let Ok(asked) = FetchRequest::read(request) else { return Vec::new() };
    let mut unopened = Vec::new();
    let image = engine.image();
    for topic in asked.topics() {
        if let Ok(found) = named::topic(&image, topic.topic) {
            let indexes = topic.partitions().map(|partition| partition.index);
            add_unopened(&mut unopened, found, indexes);
        }
    }
    unopened
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
    let fetch = Arc::new(Fetching {
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
    });
    let read = fetch.read();
    let wait_ms = u64::try_from(asked.max_wait_ms).unwrap_or(0).min(node.fetch_wait_ms_max);
    if wait_ms == 0 || fetch.is_enough(&read) {
        return finished(fetch.answer(read));
    }
    let waiting = Arc::clone(&fetch);
    Reply::Parked(Parked {
        reply: Box::pin(async move {
            let deadline = Instant::now() + Duration::from_millis(wait_ms);
            let read = waiting.wait(read, deadline).await;
            finished(waiting.answer(read))
        }),
        early: Box::new(move || finished(fetch.answer(fetch.read()))),
        // Each partition stands in it once and is there, so that the request's length says nothing about what is kept.
        held_bytes: 0,
    })
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
        let mut topics = Topics::of(&self.engine);
        self.wanted
            .iter()
            .map(|wanted| {
                let read = self.read_one(&mut topics, wanted, budget, first_batch);
                if let Read::Data(fetched) = &read {
                    budget = budget.saturating_sub(bytes_in(fetched));
                    if !fetched.records.is_empty() {
                        first_batch = FirstBatch::WithinLimit;
                    }
                }
                read
            })
            .collect()
    }

    fn read_one<'a>(
        &'a self,
        topics: &mut Topics<'a, E>,
        wanted: &'a Wanted,
        budget: usize,
        first_batch: FirstBatch,
    ) -> Read {
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
        let partition = match topics.partition(wanted) {
            Ok(partition) => partition,
            Err(code) => return Read::Error(code),
        };
        // As in Kafka the topic's setting decides: what producers compress themselves is given as it is.
        if self.reply_to.version < ZSTD_VERSION_MIN
            && partition.compression_type() == CompressionType::Zstd
        {
            return Read::Error(ErrorCode::UnsupportedCompressionType);
        }
        match partition.fetch(&spec) {
            Ok(fetched) => Read::Data(Box::new(fetched)),
            Err(error) => {
                tracing::debug!(%error, "a partition could not be read");
                Read::Error(code_in(self.reply_to.version, error.code()))
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
                Read::Data(fetched) => bytes += bytes_in(fetched),
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
        let mut topics = Topics::of(&self.engine);
        let futures = self.wanted.iter().zip(read).map(|(wanted, read)| {
            let seen = match read {
                Read::Data(fetched) => end_of(fetched, isolation),
                Read::Error(_) => return None,
            };
            let offset = wanted.partition.fetch_offset.max(seen);
            topics.partition(wanted).ok()?.data_beyond(offset, isolation).ok()
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

/// Finds partitions; topics that stand behind one another are looked up once.
struct Topics<'a, E: Env> {
    image: Arc<Image<E>>,
    last: Option<(&'a TopicKey, LookedUp<E>)>,
}

type LookedUp<E> = Result<Arc<Topic<E>>, ErrorCode>;

impl<'a, E: Env> Topics<'a, E> {
    fn of(engine: &Engine<E>) -> Self {
        Self { image: engine.image(), last: None }
    }

    fn partition(&mut self, wanted: &'a Wanted) -> Result<PartitionHandle<E>, ErrorCode> {
        let topic = match &self.last {
            Some((key, topic)) if **key == wanted.topic => topic,
            _ => {
                let found = named::topic(&self.image, wanted.topic.as_wire()).cloned();
                &self.last.insert((&wanted.topic, found)).1
            }
        };
        let partition = topic.as_ref().map_err(|code| *code)?.partition(wanted.partition.index);
        partition.cloned().ok_or(ErrorCode::UnknownTopicOrPartition)
    }
}

/// An error in a code that this version of the request knows.
fn code_in(version: i16, code: ErrorCode) -> ErrorCode {
    // An older client takes it for one that no retry helps against; this one makes it look up the leader.
    if version < STORAGE_ERROR_VERSION_MIN && code == ErrorCode::KafkaStorageError {
        return ErrorCode::NotLeaderOrFollower;
    }
    code
}

/// What a partition takes of the answer's budget.
fn bytes_in(fetched: &Fetched) -> usize {
    let aborted = fetched.aborted.as_ref().map_or(0, Vec::len);
    fetched.records.len().saturating_add(aborted.saturating_mul(ABORTED_LEN))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_that_do_not_know_the_code_of_a_failed_disk_look_for_another_leader() {
        let told = |version| code_in(version, ErrorCode::KafkaStorageError);
        assert_eq!([4, 5].map(told), [ErrorCode::NotLeaderOrFollower; 2]);
        assert_eq!([6, 18].map(told), [ErrorCode::KafkaStorageError; 2]);
        assert_eq!(code_in(4, ErrorCode::OffsetOutOfRange), ErrorCode::OffsetOutOfRange);
    }
}
