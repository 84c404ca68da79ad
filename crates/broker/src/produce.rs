//! Produce: each partition's batch goes into its log; the answer waits for the slowest.

use std::collections::BTreeSet;

use bytes::BytesMut;
use hanbeon::{
    Acks, Engine, Env, INTERNAL_TOPICS, PartitionError, PartitionHandle, Produce, ProduceError,
    ProduceFuture, Produced,
};
use hanbeon_records::{BatchRef, Codec, ErrorCode, Millis, Offset};
use hanbeon_wire::{
    Acks as WireAcks, Answer, BadRecord, ProduceRequest, ProduceResult, ProduceWriter, Request,
    TopicRef, WireError,
};

use crate::connection::Reply;

/// The first version that may carry zstd (KIP-110).
const ZSTD_VERSION_MIN: i16 = 7;

/// What became of one partition's batch.
enum Outcome<E: Env> {
    Settled(Result<Produced, Refusal>),
    Waiting(ProduceFuture<E>),
}

/// Why a batch was not taken, by whom.
enum Refusal {
    /// By the broker, before the partition saw it.
    Here(ErrorCode, &'static str),
    /// By the engine; with the log start offset where the answer tells it.
    ByEngine(Box<ProduceError>, Offset),
}

/// The start of the log is not told.
const NO_LOG_START: Offset = Offset::new(-1);

/// The partitions of a request whose logs are not open yet. Opening one may mean recovering it, which no worker should block on.
pub(crate) fn unopened<E: Env>(engine: &Engine<E>, request: &Request) -> Vec<PartitionHandle<E>> {
    let Ok(asked) = ProduceRequest::read(request) else { return Vec::new() };
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

/// Starts a Produce request.
pub(crate) fn start<E: Env>(engine: &Engine<E>, request: Request) -> Reply {
    match begin(engine, &request) {
        Err(error) => {
            tracing::debug!(%error, "a Produce request cannot be read");
            Reply::Close("a Produce request that cannot be read")
        }
        Ok(Begun { acks: WireAcks::None, outcomes }) => unanswered(outcomes),
        Ok(Begun { outcomes, .. }) => match settled(outcomes) {
            Ok(results) => answer(&request, &results),
            Err(outcomes) => Reply::Later(Box::pin(async move {
                let mut results = Vec::with_capacity(outcomes.len());
                for outcome in outcomes {
                    results.push(settle(outcome).await);
                }
                answer(&request, &results)
            })),
        },
    }
}

struct Begun<E: Env> {
    acks: WireAcks,
    outcomes: Vec<Outcome<E>>,
}

fn begin<E: Env>(engine: &Engine<E>, request: &Request) -> Result<Begun<E>, WireError> {
    let asked = ProduceRequest::read(request)?;
    let acks = match asked.acks {
        WireAcks::None => Ok(Acks::None),
        WireAcks::Leader => Ok(Acks::Leader),
        WireAcks::All => Ok(Acks::All),
        WireAcks::Invalid(_) => {
            Err(Refusal::Here(ErrorCode::InvalidRequiredAcks, "acks is 0, 1 or -1 (all)"))
        }
    };
    let whole = match acks {
        Err(refusal) => Err(refusal),
        Ok(acks) => match refusal_of_all(&asked) {
            Some(refusal) => Err(refusal),
            None => Ok(acks),
        },
    };
    let twice = named_twice(&asked);
    let mut outcomes =
        Vec::with_capacity(asked.topics().map(|topic| topic.partition_count()).sum());
    for topic in asked.topics() {
        for partition in topic.partitions() {
            let outcome = match &whole {
                Err(Refusal::Here(code, why)) => refused(*code, why),
                Err(Refusal::ByEngine(..)) => refused(ErrorCode::UnknownServerError, "not tried"),
                Ok(_) if twice.contains(&key(topic.topic, partition.index)) => refused(
                    ErrorCode::InvalidRequest,
                    "the request names this partition twice; nothing of it was written",
                ),
                Ok(acks) => match partition.records {
                    None => {
                        refused(ErrorCode::InvalidRecord, "the record set is null; send one batch")
                    }
                    Some(records) => one(
                        engine,
                        topic.topic,
                        partition.index,
                        records,
                        *acks,
                        request.reply_to.version,
                    ),
                },
            };
            outcomes.push(outcome);
        }
    }
    Ok(Begun { acks: asked.acks, outcomes })
}

const fn refused<E: Env>(code: ErrorCode, why: &'static str) -> Outcome<E> {
    Outcome::Settled(Err(Refusal::Here(code, why)))
}

/// A rule that concerns the request as a whole: transactional batches need the transactional id in the request (KIP-98).
fn refusal_of_all(asked: &ProduceRequest<'_>) -> Option<Refusal> {
    let transactional = asked
        .topics()
        .flat_map(|topic| topic.partitions())
        .filter_map(|partition| partition.records)
        .any(|records| {
            BatchRef::parse(&records).is_ok_and(|(batch, _)| batch.attributes().is_transactional())
        });
    (transactional && asked.transactional_id.is_none()).then_some(Refusal::Here(
        ErrorCode::TransactionalIdAuthorizationFailed,
        "a transactional batch in a request without a transactional id",
    ))
}

type PartitionKey<'a> = (Option<&'a str>, [u8; 16], i32);

fn key(topic: TopicRef<'_>, partition: i32) -> PartitionKey<'_> {
    match topic {
        TopicRef::Name(name) => (Some(name), [0; 16], partition),
        TopicRef::Id(id) => (None, id.get(), partition),
    }
}

/// Partitions that stand in the request more than once. Kafka 4.3 works on the last entry only and drops the others without a word.
fn named_twice<'a>(asked: &ProduceRequest<'a>) -> BTreeSet<PartitionKey<'a>> {
    let mut twice = BTreeSet::new();
    if asked.topic_count() == 1 && asked.topics().all(|topic| topic.partition_count() == 1) {
        return twice;
    }
    let mut seen = BTreeSet::new();
    for topic in asked.topics() {
        for partition in topic.partitions() {
            let key = key(topic.topic, partition.index);
            if !seen.insert(key) {
                twice.insert(key);
            }
        }
    }
    twice
}

fn one<E: Env>(
    engine: &Engine<E>,
    topic: TopicRef<'_>,
    index: i32,
    records: bytes::Bytes,
    acks: Acks,
    version: i16,
) -> Outcome<E> {
    let found = match topic {
        TopicRef::Name(name) if INTERNAL_TOPICS.contains(&name) => {
            return refused(
                ErrorCode::InvalidTopicException,
                "a topic of the server's own, which clients do not write to",
            );
        }
        TopicRef::Name(name) => engine.partition(name, index),
        TopicRef::Id(id) => engine.partition_by_id(id, index),
    };
    let partition = match found {
        Ok(partition) => partition,
        Err(error) => return Outcome::Settled(Err(by_engine(error.into(), NO_LOG_START))),
    };
    if let Ok((batch, _)) = BatchRef::parse(&records) {
        let attributes = batch.attributes();
        if version < ZSTD_VERSION_MIN && attributes.codec() == Ok(Codec::Zstd) {
            return refused(ErrorCode::UnsupportedCompressionType, "zstd needs Produce 7 or later");
        }
        if attributes.is_transactional() {
            return refused(
                ErrorCode::InvalidTxnState,
                "this broker does not coordinate transactions",
            );
        }
    }
    match partition.produce(records, acks) {
        Produce::Waiting(future) => Outcome::Waiting(future),
        Produce::Done(Ok(produced)) => Outcome::Settled(Ok(produced)),
        Produce::Done(Err(error)) => Outcome::Settled(Err(told(error, || {
            partition.log_start_offset().unwrap_or(NO_LOG_START)
        }))),
    }
}

fn by_engine(error: ProduceError, log_start: Offset) -> Refusal {
    Refusal::ByEngine(Box::new(error), log_start)
}

/// Where the log itself refused the batch, the answer tells where the log starts: clients decide by it whether their records are gone.
fn told(error: ProduceError, log_start: impl FnOnce() -> Offset) -> Refusal {
    let tells = matches!(&error, ProduceError::Append(append) if append.tells_log_start());
    let start = if tells { log_start() } else { NO_LOG_START };
    by_engine(error, start)
}

async fn settle<E: Env>(outcome: Outcome<E>) -> Result<Produced, Refusal> {
    match outcome {
        Outcome::Settled(result) => result,
        Outcome::Waiting(future) => future.await.map_err(|error| by_engine(error, NO_LOG_START)),
    }
}

type Results = Vec<Result<Produced, Refusal>>;

/// All results, or the outcomes back when one is still waited for.
fn settled<E: Env>(outcomes: Vec<Outcome<E>>) -> Result<Results, Vec<Outcome<E>>> {
    if outcomes.iter().any(|outcome| matches!(outcome, Outcome::Waiting(_))) {
        return Err(outcomes);
    }
    let results = outcomes.into_iter().filter_map(|outcome| match outcome {
        Outcome::Settled(result) => Some(result),
        Outcome::Waiting(_) => None,
    });
    Ok(results.collect())
}

/// acks=0: no answer; an error closes the connection, so that the client looks up the leader anew.
fn unanswered<E: Env>(outcomes: Vec<Outcome<E>>) -> Reply {
    const WHY: &str = "a batch sent with acks=0 was refused";
    match settled(outcomes) {
        Ok(results) if results.iter().all(Result::is_ok) => Reply::Nothing,
        Ok(_) => Reply::Close(WHY),
        Err(outcomes) => Reply::Later(Box::pin(async move {
            for outcome in outcomes {
                if settle(outcome).await.is_err() {
                    return Reply::Close(WHY);
                }
            }
            Reply::Nothing
        })),
    }
}

fn answer(request: &Request, results: &[Result<Produced, Refusal>]) -> Reply {
    match write(request, results) {
        Ok(answer) => Reply::Now(answer),
        Err(error) => {
            tracing::error!(%error, "a Produce answer has no form");
            Reply::Close("an answer that has no form")
        }
    }
}

fn write(request: &Request, results: &[Result<Produced, Refusal>]) -> Result<Answer, WireError> {
    let asked = ProduceRequest::read(request)?;
    let mut out = BytesMut::with_capacity(128);
    let mut writer = ProduceWriter::begin(&mut out, request.reply_to, asked.topic_count())?;
    let mut results = results.iter();
    for topic in asked.topics() {
        writer.topic(topic.topic, topic.partition_count())?;
        for partition in topic.partitions() {
            match results.next() {
                Some(Ok(produced)) => writer.partition(&written(partition.index, produced))?,
                Some(Err(refusal)) => write_refusal(&mut writer, partition.index, refusal)?,
                None => writer.partition(&ProduceResult::refused(
                    partition.index,
                    ErrorCode::UnknownServerError,
                    None,
                ))?,
            }
        }
    }
    writer.finish(0, &[])
}

const fn written<'a>(index: i32, produced: &Produced) -> ProduceResult<'a> {
    let mut result = ProduceResult::written(index, produced.base_offset, produced.log_start_offset);
    result.log_append_time = match produced.log_append_time {
        Some(time) => time,
        None => Millis::NONE,
    };
    result
}

fn write_refusal(
    writer: &mut ProduceWriter<'_>,
    index: i32,
    refusal: &Refusal,
) -> Result<(), WireError> {
    match refusal {
        Refusal::Here(code, why) => {
            writer.partition(&ProduceResult::refused(index, *code, Some(why)))
        }
        Refusal::ByEngine(error, log_start) => {
            let text = error.to_string();
            let faults: &[_] = if let ProduceError::Append(append) = &**error {
                append.record_faults()
            } else {
                &[]
            };
            let texts: Vec<_> = faults.iter().map(|fault| fault.kind.to_string()).collect();
            let bad_records: Vec<_> = faults
                .iter()
                .zip(&texts)
                .map(|(fault, text)| BadRecord { index: fault.batch_index, message: Some(text) })
                .collect();
            let mut result = ProduceResult::refused(index, error.code(), Some(&text));
            result.log_start_offset = *log_start;
            result.bad_records = &bad_records;
            log_refusal(error);
            writer.partition(&result)
        }
    }
}

/// A client's mistake is the client's business; a failing disk is the operator's.
fn log_refusal(error: &ProduceError) {
    if matches!(error, ProduceError::Log(_) | ProduceError::Partition(PartitionError::Log(_))) {
        tracing::error!(%error, "a batch could not be written");
    } else {
        tracing::debug!(%error, "a batch was refused");
    }
}
