//! Produce: each partition's batch goes into its log; the answer waits for the slowest.

use std::collections::BTreeSet;

use bytes::BytesMut;
use hanbeon::{
    Acks, Delay, Engine, Enrol, Env, INTERNAL_TOPICS, Image, PartitionError, PartitionHandle,
    Produce, ProduceError, ProduceFuture, Produced, Topic, TransactionalProduce,
    txn::TransactionalId,
};
use hanbeon_records::{BatchRef, Codec, ErrorCode, Millis, Offset};
use hanbeon_wire::{
    Acks as WireAcks, Answer, BadRecord, ProduceRequest, ProduceResult, ProduceWriter, Request,
    TopicRef, WireError,
};

use crate::{
    connection::{Prepared, Reply},
    dispatch::Node,
    metrics::RequestMetrics,
    named::{self, Places, add_unopened, any_slow},
};

mod together;

pub(crate) use together::{joins, start_together};

/// The first version that may carry zstd (KIP-110).
const ZSTD_VERSION_MIN: i16 = 7;
/// The first version that makes partitions part of the transaction, instead of asking whether they are (KIP-890, part 2).
const ENROLS_VERSION_MIN: i16 = 12;
/// The first version whose clients know `TRANSACTION_ABORTABLE`.
const ABORTABLE_VERSION_MIN: i16 = 11;

/// Longest message about one partition in bytes: a transactional id stands in some, and may be as long as a text can be.
const MESSAGE_BYTES_MAX: usize = 512;

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

/// What must be made ready before a request can start.
pub(crate) struct Unready<E: Env> {
    /// Partitions whose logs are not open yet. Opening one may mean recovering it, which no worker should block on.
    pub(crate) partitions: Vec<PartitionHandle<E>>,
    /// A transactional id whose coordinator has not read its log yet.
    pub(crate) coordinator_of: Option<String>,
    pub(crate) writes: Writes,
}

/// How the last write to the logs of a request went: those of its partitions, and its coordinator's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writes {
    Fast,
    /// One was held up: no worker should block on the next.
    Slow,
}

impl<E: Env> Unready<E> {
    /// Nothing has to be made ready.
    pub(crate) const fn nothing() -> Self {
        Self { partitions: Vec::new(), coordinator_of: None, writes: Writes::Fast }
    }
}

/// What a request has to wait for before it can start.
pub(crate) fn unready<E: Env>(engine: &Engine<E>, request: &Request) -> Unready<E> {
    match ProduceRequest::read(request) {
        Ok(asked) => unready_for(engine, &asked),
        Err(_) => Unready::nothing(),
    }
}

fn unready_for<E: Env>(engine: &Engine<E>, asked: &ProduceRequest<'_>) -> Unready<E> {
    let mut unready = Unready::nothing();
    let image = engine.image();
    for topic in asked.topics() {
        if let Ok(found) = named::topic(&image, topic.topic) {
            let indexes = topic.partitions().map(|partition| partition.index);
            add_unopened(&mut unready.partitions, found, indexes.clone());
            if any_slow(found, indexes) {
                unready.writes = Writes::Slow;
            }
        }
    }
    if let Some(id) = asked.transactional_id.filter(|id| !id.is_empty()) {
        match engine.transactions().delay(id) {
            Delay::None => {}
            Delay::Writes => unready.writes = Writes::Slow,
            Delay::Opening => unready.coordinator_of = Some(id.to_owned()),
        }
    }
    unready
}

/// Starts a Produce request.
pub(crate) fn start<E: Env>(node: &Node<E>, request: Request) -> Reply {
    let at_once = |_, handle: PartitionHandle<E>, records, acks| {
        outcome(handle.produce(records, acks), || log_start(&handle))
    };
    let begun = match begin(&node.engine, &request, Word::IsAsked, at_once) {
        Err(error) => return unreadable(&error),
        Ok(begun) => begun,
    };
    let Begun { acks, outcomes, coming } = begun;
    let metrics = node.metrics.clone();
    match coming {
        None => go_on(acks, outcomes, request, metrics),
        // Batches wait for the transaction coordinator's word to be durable, and those behind them until they are in their logs: a
        // producer's second batch would be refused in front of its first.
        Some((places, coming)) => Reply::Prepare(Box::pin(async move {
            let mut outcomes = outcomes;
            settle_places(places, coming.begun().await, &mut outcomes);
            Prepared::Begun(go_on(acks, outcomes, request, metrics))
        })),
    }
}

fn unreadable(error: &WireError) -> Reply {
    tracing::debug!(%error, "a Produce request cannot be read");
    Reply::Close("a Produce request that cannot be read")
}

/// Answers, now or when the slowest partition is done.
fn go_on<E: Env>(
    acks: WireAcks,
    outcomes: Vec<Outcome<E>>,
    request: Request,
    metrics: RequestMetrics,
) -> Reply {
    if acks == WireAcks::None {
        return unanswered(outcomes);
    }
    match settled(outcomes) {
        Ok(results) => answer(&request, &results, &metrics),
        Err(outcomes) => Reply::Later(Box::pin(async move {
            let mut results = Vec::with_capacity(outcomes.len());
            for outcome in outcomes {
                results.push(settle(outcome).await);
            }
            answer(&request, &results, &metrics)
        })),
    }
}

struct Begun<E: Env> {
    acks: WireAcks,
    outcomes: Vec<Outcome<E>>,
    /// Batches of a transaction and the places of their outcomes.
    coming: Option<(Vec<Place<E>>, TransactionalProduce<E>)>,
}

/// Where the outcome of a batch belongs, and whose it is.
type Place<E> = (usize, PartitionHandle<E>);

fn settle_places<E: Env>(
    places: Vec<Place<E>>,
    produced: Vec<Produce<E>>,
    outcomes: &mut [Outcome<E>],
) {
    for ((place, handle), produce) in places.into_iter().zip(produced) {
        outcomes[place] = outcome(produce, || log_start(&handle));
    }
}

fn log_start<E: Env>(handle: &PartitionHandle<E>) -> Offset {
    handle.log_start_offset().unwrap_or(NO_LOG_START)
}

/// Batches that go through the transaction coordinator, and the places of their outcomes.
struct InTransaction<E: Env> {
    places: Vec<Place<E>>,
    batches: Vec<(PartitionHandle<E>, bytes::Bytes)>,
}

/// The transaction coordinator's word for the batches of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    IsAsked,
    /// Their transactions were found open where they go.
    IsNotNeeded,
}

/// Judges a request; `write` gets each batch that may go in and needs no word, with the place of its outcome.
fn begin<E: Env>(
    engine: &Engine<E>,
    request: &Request,
    word: Word,
    mut write: impl FnMut(usize, PartitionHandle<E>, bytes::Bytes, Acks) -> Outcome<E>,
) -> Result<Begun<E>, WireError> {
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
    let image = engine.image();
    let mut in_transaction = InTransaction { places: Vec::new(), batches: Vec::new() };
    let mut outcomes =
        Vec::with_capacity(asked.topics().map(|topic| topic.partition_count()).sum());
    for topic in asked.topics() {
        let target = target(&image, topic.topic);
        for partition in topic.partitions() {
            let outcome = match &whole {
                Err(Refusal::Here(code, why)) => refused(*code, why),
                Err(Refusal::ByEngine(..)) => refused(ErrorCode::UnknownServerError, "not tried"),
                Ok(_) if twice.contains(&outcomes.len()) => refused(
                    ErrorCode::InvalidRequest,
                    "the request names this partition twice; nothing of it was written",
                ),
                Ok(acks) => match partition.records {
                    None => {
                        refused(ErrorCode::InvalidRecord, "the record set is null; send one batch")
                    }
                    Some(records) => {
                        let version = request.reply_to.version;
                        match check(target, partition.index, &records, version) {
                            Err((code, why)) => refused(code, why),
                            Ok((handle, kind))
                                if kind == Kind::Plain || word == Word::IsNotNeeded =>
                            {
                                write(outcomes.len(), handle, records, *acks)
                            }
                            Ok((handle, _)) => {
                                in_transaction.places.push((outcomes.len(), handle.clone()));
                                in_transaction.batches.push((handle, records));
                                refused(ErrorCode::UnknownServerError, "not tried")
                            }
                        }
                    }
                },
            };
            outcomes.push(outcome);
        }
    }
    let version = request.reply_to.version;
    let id = asked.transactional_id.unwrap_or_default();
    let coming = match whole {
        Ok(acks) if !in_transaction.places.is_empty() => {
            produce_in_transaction(engine, (id, acks, version), in_transaction, &mut outcomes)
        }
        Ok(_) | Err(_) => None,
    };
    Ok(Begun { acks: asked.acks, outcomes, coming })
}

/// Hands batches to the transaction coordinator. What must be waited for comes back; the rest is in the outcomes.
fn produce_in_transaction<E: Env>(
    engine: &Engine<E>,
    (id, acks, version): (&str, Acks, i16),
    InTransaction { places, batches }: InTransaction<E>,
    outcomes: &mut [Outcome<E>],
) -> Option<(Vec<Place<E>>, TransactionalProduce<E>)> {
    let Ok(id) = TransactionalId::new(id) else {
        for (place, _) in places {
            outcomes[place] = refused(
                ErrorCode::TransactionalIdAuthorizationFailed,
                "a transactional batch in a request without a transactional id",
            );
        }
        return None;
    };
    match engine.transactions().produce(&id, enrol_in(version), batches, acks) {
        TransactionalProduce::Begun(produced) => {
            settle_places(places, produced, outcomes);
            None
        }
        gated @ TransactionalProduce::Gated(_) => Some((places, gated)),
    }
}

const fn enrol_in(version: i16) -> Enrol {
    if version >= ENROLS_VERSION_MIN { Enrol::Add } else { Enrol::Verify }
}

const fn refused<E: Env>(code: ErrorCode, why: &'static str) -> Outcome<E> {
    Outcome::Settled(Err(Refusal::Here(code, why)))
}

/// Rules that concern the request as a whole: transactional batches need the transactional id in the request (KIP-98), and are all of one
/// producer.
fn refusal_of_all(asked: &ProduceRequest<'_>) -> Option<Refusal> {
    let mut producers = asked
        .topics()
        .flat_map(|topic| topic.partitions())
        .filter_map(|partition| partition.records)
        .filter_map(|records| {
            let (batch, _) = BatchRef::parse(&records).ok()?;
            let transactional = batch.attributes().is_transactional();
            transactional.then(|| (batch.producer_id(), batch.producer_epoch()))
        });
    let first = producers.next()?;
    if asked.transactional_id.is_none() {
        return Some(Refusal::Here(
            ErrorCode::TransactionalIdAuthorizationFailed,
            "a transactional batch in a request without a transactional id",
        ));
    }
    producers.any(|other| other != first).then_some(Refusal::Here(
        ErrorCode::InvalidProducerIdMapping,
        "batches of several producers in one transactional request",
    ))
}

/// The places of partitions that stand in the request more than once. Kafka 4.3 works on the last entry only and drops the others without
/// a word.
fn named_twice(asked: &ProduceRequest<'_>) -> BTreeSet<usize> {
    let mut twice = BTreeSet::new();
    if asked.topic_count() == 1 && asked.topics().all(|topic| topic.partition_count() == 1) {
        return twice;
    }
    let mut places = Places::default();
    let mut place = 0;
    for topic in asked.topics() {
        let topic_place = places.topic(topic.topic);
        for partition in topic.partitions() {
            if let Some(earlier) = places.earlier(topic_place, partition.index, place) {
                twice.extend([earlier, place]);
            }
            place += 1;
        }
    }
    twice
}

/// Why a batch is refused before its partition sees it. The words are the same for all: they are kept and told for each partition, and those
/// may be many thousand under one long name.
type Refused = (ErrorCode, &'static str);

/// Where the batches of one topic would go.
fn target<'i, E: Env>(image: &'i Image<E>, topic: TopicRef<'_>) -> Result<&'i Topic<E>, Refused> {
    match topic {
        // Also where it is not made yet; one that is there refuses clients itself, by whatever it is named.
        TopicRef::Name(name) if INTERNAL_TOPICS.contains(&name) => Err((
            ErrorCode::InvalidTopicException,
            "a topic of the server's own, which clients do not write to",
        )),
        TopicRef::Name(_) | TopicRef::Id(_) => match named::topic(image, topic) {
            Ok(found) => Ok(found),
            Err(code) => Err((code, "there is no such topic")),
        },
    }
}

/// How a batch goes into its log.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Transactional,
}

/// The partition of a batch that may go in, as far as the broker can tell.
fn check<E: Env>(
    target: Result<&Topic<E>, Refused>,
    index: i32,
    records: &bytes::Bytes,
    version: i16,
) -> Result<(PartitionHandle<E>, Kind), Refused> {
    let partition = target?
        .partition(index)
        .cloned()
        .ok_or((ErrorCode::UnknownTopicOrPartition, "the topic has no partition of this number"))?;
    let Ok((batch, _)) = BatchRef::parse(records) else { return Ok((partition, Kind::Plain)) };
    let attributes = batch.attributes();
    if version < ZSTD_VERSION_MIN && attributes.codec() == Ok(Codec::Zstd) {
        return Err((ErrorCode::UnsupportedCompressionType, "zstd needs Produce 7 or later"));
    }
    let kind = if attributes.is_transactional() { Kind::Transactional } else { Kind::Plain };
    Ok((partition, kind))
}

fn outcome<E: Env>(produce: Produce<E>, log_start: impl FnOnce() -> Offset) -> Outcome<E> {
    match produce {
        Produce::Waiting(future) => Outcome::Waiting(future),
        Produce::Done(Ok(produced)) => Outcome::Settled(Ok(produced)),
        Produce::Done(Err(error)) => Outcome::Settled(Err(told(error, log_start))),
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

fn answer(
    request: &Request,
    results: &[Result<Produced, Refusal>],
    metrics: &RequestMetrics,
) -> Reply {
    let version = request.reply_to.version;
    for refusal in results.iter().filter_map(|result| result.as_ref().err()) {
        metrics.refused(request.reply_to.api, refusal.code_in(version));
    }
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
                Some(Err(refusal)) => {
                    let at = (partition.index, request.reply_to.version);
                    write_refusal(&mut writer, at, refusal)?;
                }
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
    (index, version): (i32, i16),
    refusal: &Refusal,
) -> Result<(), WireError> {
    match refusal {
        Refusal::Here(code, why) => {
            writer.partition(&ProduceResult::refused(index, *code, Some(why)))
        }
        Refusal::ByEngine(error, log_start) => {
            let mut text = error.to_string();
            text.truncate(text.floor_char_boundary(MESSAGE_BYTES_MAX));
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
            let code = code_in(version, error);
            let mut result = ProduceResult::refused(index, code, Some(&text));
            result.log_start_offset = *log_start;
            result.bad_records = &bad_records;
            log_refusal(error);
            writer.partition(&result)
        }
    }
}

impl Refusal {
    /// What the client is told.
    fn code_in(&self, version: i16) -> ErrorCode {
        match self {
            Self::Here(code, _) => *code,
            Self::ByEngine(error, _) => code_in(version, error),
        }
    }
}

/// What the coordinator said, in a code that this version of the request knows.
fn code_in(version: i16, error: &ProduceError) -> ErrorCode {
    let code = error.code();
    if !matches!(error, ProduceError::Transaction(_)) {
        return code;
    }
    if code == ErrorCode::TransactionAbortable && version < ABORTABLE_VERSION_MIN {
        return ErrorCode::InvalidTxnState;
    }
    // An older client retries NOT_ENOUGH_REPLICAS without looking for another leader.
    if code == ErrorCode::ConcurrentTransactions && version < ENROLS_VERSION_MIN {
        return ErrorCode::NotEnoughReplicas;
    }
    code
}

/// A client's mistake is the client's business; a failing disk is the operator's.
fn log_refusal(error: &ProduceError) {
    if matches!(error, ProduceError::Log(_) | ProduceError::Partition(PartitionError::Log(_))) {
        tracing::error!(%error, "a batch could not be written");
    } else {
        tracing::debug!(%error, "a batch was refused");
    }
}
