//! A transactional producer and a reader of committed data that write every byte themselves.

use std::io;

use hanbeon_records::{
    BatchBuilder, BatchKind, BatchRef, BatchSettings, Codec, CompressionLevel, LeaderEpoch,
    NewRecord, Offset, ProducerEpoch, ProducerId, ProducerStamp, Sequence, TimestampType,
};

use crate::{
    Client, NOW,
    broker::{PATIENCE_MS, error_code, put_text},
};

const PRODUCE: i16 = 0;
const FETCH: i16 = 1;
const FIND_COORDINATOR: i16 = 10;
const CREATE_TOPICS: i16 = 19;
const INIT_PRODUCER_ID: i16 = 22;
const END_TXN: i16 = 26;
const TRANSACTION: u8 = 1;

const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;
const COORDINATOR_NOT_AVAILABLE: i16 = 15;
const NOT_COORDINATOR: i16 = 16;
const TOPIC_ALREADY_EXISTS: i16 = 36;
const CONCURRENT_TRANSACTIONS: i16 = 51;
/// What passes by itself: a coordinator that is still loading, a topic that is being made, markers on their way.
const PASSING: [i16; 6] = [
    3,
    6,
    COORDINATOR_LOAD_IN_PROGRESS,
    COORDINATOR_NOT_AVAILABLE,
    NOT_COORDINATOR,
    CONCURRENT_TRANSACTIONS,
];

/// A producer id and its epoch.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    id: i64,
    epoch: i16,
}

/// A transactional producer of protocol version 2 (KIP-890) on one connection, one request at a time.
#[derive(Debug)]
pub struct Transactional {
    client: Client,
    id: String,
    topic: String,
    pair: Pair,
    /// How often it was told to come again.
    pub again: u64,
}

impl Transactional {
    /// Makes `topic` with `partitions` partitions if there is none, and asks for a producer id.
    ///
    /// # Errors
    /// What the system reports, and error codes.
    pub fn new(mut client: Client, id: &str, topic: &str, partitions: i32) -> io::Result<Self> {
        create_topic(&mut client, topic, partitions)?;
        let mut again = 0;
        let mut body = Vec::new();
        put_text(&mut body, id);
        body.push(TRANSACTION);
        patiently(&mut again, || {
            let answer = client.ask(FIND_COORDINATOR, 2, &body)?;
            error_code(&answer, 4).map(|code| (code, ()))
        })?;
        let mut body = Vec::new();
        put_text(&mut body, id);
        body.extend(60_000_i32.to_be_bytes());
        let pair = patiently(&mut again, || {
            let answer = client.ask(INIT_PRODUCER_ID, 1, &body)?;
            Ok((error_code(&answer, 4)?, pair_at(&answer, 6)?))
        })?;
        Ok(Self { client, id: id.to_owned(), topic: topic.to_owned(), pair, again: 0 })
    }

    /// Writes `records` records of 100 bytes to each of `partitions`, in one request.
    ///
    /// # Errors
    /// What the system reports, and error codes.
    pub fn produce(&mut self, partitions: &[i32], records: u32) -> io::Result<()> {
        let batch = batch(self.pair, records);
        let mut body = Vec::with_capacity(64 + partitions.len() * (batch.len() + 16));
        put_compact(&mut body, self.id.as_bytes());
        body.extend((-1_i16).to_be_bytes());
        body.extend(PATIENCE_MS.to_be_bytes());
        body.push(2);
        put_compact(&mut body, self.topic.as_bytes());
        put_varint(&mut body, partitions.len() + 1);
        for partition in partitions {
            body.extend(partition.to_be_bytes());
            put_compact(&mut body, &batch);
            body.push(0);
        }
        body.extend([0, 0]);
        let client = &mut self.client;
        // Topics, name, partitions; then the first one's index and code. All are refused together or none.
        let at = 1 + 1 + self.topic.len() + varint_len(partitions.len() + 1) + 4;
        patiently(&mut self.again, || {
            let answer = client.ask_flexibly(PRODUCE, 12, &body)?;
            error_code(&answer, at).map(|code| (code, ()))
        })
    }

    /// Commits; the pair is another one afterwards.
    ///
    /// # Errors
    /// What the system reports, and error codes.
    pub fn commit(&mut self) -> io::Result<()> {
        let mut body = Vec::with_capacity(64);
        put_compact(&mut body, self.id.as_bytes());
        body.extend(self.pair.id.to_be_bytes());
        body.extend(self.pair.epoch.to_be_bytes());
        body.extend([1, 0]);
        let client = &mut self.client;
        self.pair = patiently(&mut self.again, || {
            let answer = client.ask_flexibly(END_TXN, 5, &body)?;
            Ok((error_code(&answer, 4)?, pair_at(&answer, 6)?))
        })?;
        Ok(())
    }
}

/// What a reader got.
#[derive(Clone, Copy, Debug)]
pub struct Copied {
    /// Where to read on.
    pub next: i64,
    /// Batches that are no markers.
    pub batches: usize,
}

/// Reads committed data of partition 0 from `from` on, waiting until there is some.
///
/// # Errors
/// What the system reports, and error codes.
pub fn fetch_committed(client: &mut Client, topic: &str, from: i64) -> io::Result<Copied> {
    let mut body = (-1_i32).to_be_bytes().to_vec();
    body.extend(PATIENCE_MS.to_be_bytes());
    body.extend(1_i32.to_be_bytes());
    body.extend((1_i32 << 20).to_be_bytes());
    body.push(1);
    body.extend(1_i32.to_be_bytes());
    put_text(&mut body, topic);
    body.extend(1_i32.to_be_bytes());
    body.extend(0_i32.to_be_bytes());
    body.extend(from.to_be_bytes());
    body.extend((1_i32 << 20).to_be_bytes());
    let answer = client.ask(FETCH, 4, &body)?;
    // Throttle time, topics, name, partitions, index.
    let mut at = 4 + 4 + 2 + topic.len() + 4 + 4;
    let code = error_code(&answer, at)?;
    if code != 0 {
        return Err(refused(code));
    }
    // Code, high watermark, last stable offset.
    at += 2 + 8 + 8;
    let aborted = i32_at(&answer, at)?;
    at += 4 + 16 * usize::try_from(aborted.max(0)).unwrap_or(0) + 4;
    let mut rest = answer.get(at..).unwrap_or_default();
    let mut copied = Copied { next: from, batches: 0 };
    while let Ok((batch, behind)) = BatchRef::parse(rest) {
        rest = behind;
        copied.next = batch.next_offset().get();
        copied.batches += usize::from(!batch.attributes().is_control());
    }
    Ok(copied)
}

fn create_topic(client: &mut Client, topic: &str, partitions: i32) -> io::Result<()> {
    let mut body = 1_i32.to_be_bytes().to_vec();
    put_text(&mut body, topic);
    body.extend(partitions.to_be_bytes());
    body.extend(1_i16.to_be_bytes());
    // No assignments, no configs; timeout; not only to look.
    body.extend([0; 8]);
    body.extend(PATIENCE_MS.to_be_bytes());
    body.push(0);
    let answer = client.ask(CREATE_TOPICS, 4, &body)?;
    match error_code(&answer, 4 + 4 + 2 + topic.len())? {
        0 | TOPIC_ALREADY_EXISTS => Ok(()),
        code => Err(refused(code)),
    }
}

/// Asks until the answer is no passing refusal.
fn patiently<T>(again: &mut u64, mut ask: impl FnMut() -> io::Result<(i16, T)>) -> io::Result<T> {
    loop {
        match ask()? {
            (0, value) => return Ok(value),
            (code, _) if PASSING.contains(&code) => *again += 1,
            (code, _) => return Err(refused(code)),
        }
    }
}

fn refused(code: i16) -> io::Error {
    io::Error::other(format!("error code {code}"))
}

fn batch(pair: Pair, records: u32) -> Vec<u8> {
    let settings = BatchSettings {
        codec: Codec::None,
        level: CompressionLevel::DEFAULT,
        timestamp_type: TimestampType::CreateTime,
        producer: Some(ProducerStamp {
            id: ProducerId::new(pair.id),
            epoch: ProducerEpoch::new(pair.epoch),
            base_sequence: Sequence::ZERO,
        }),
        kind: BatchKind::Transactional,
        base_offset: Offset::ZERO,
        leader_epoch: LeaderEpoch::UNKNOWN,
    };
    let mut bytes = Vec::new();
    let mut batch = BatchBuilder::new(&mut bytes, settings);
    for _ in 0..records {
        let value = Some(&[7_u8; 100][..]);
        batch
            .push(NewRecord { timestamp: NOW, key: None, value, headers: &[] })
            .expect("a batch of the bench fits");
    }
    batch.finish().expect("a batch of the bench can be written");
    bytes
}

fn put_varint(into: &mut Vec<u8>, mut number: usize) {
    while let more @ 1.. = number >> 7 {
        let [low, ..] = (number & 127 | 128).to_le_bytes();
        into.push(low);
        number = more;
    }
    let [low, ..] = number.to_le_bytes();
    into.push(low);
}

const fn varint_len(number: usize) -> usize {
    if number < 128 { 1 } else { 2 }
}

fn put_compact(into: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(into, bytes.len() + 1);
    into.extend(bytes);
}

fn pair_at(answer: &[u8], at: usize) -> io::Result<Pair> {
    let id = answer.get(at..).and_then(<[u8]>::first_chunk);
    let epoch = error_code(answer, at + 8)?;
    let id = id.map(|id| i64::from_be_bytes(*id)).ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(Pair { id, epoch })
}

fn i32_at(answer: &[u8], at: usize) -> io::Result<i32> {
    let bytes = answer.get(at..).and_then(<[u8]>::first_chunk);
    bytes
        .map(|number| i32::from_be_bytes(*number))
        .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}
