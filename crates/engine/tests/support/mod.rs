//! Batches made and read by hand, and the wait for a future without any runtime.
#![allow(dead_code, reason = "each test takes what it needs")]

use bytes::Bytes;
use hanbeon::{ProducerIdentity, txn::Producer};
use hanbeon_records::{BatchRef, crc32c, write_varint};

/// Waits for a future that others bring to its end.
pub(crate) fn wait<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        std::thread::yield_now();
    }
}

/// A plain batch of these values.
pub(crate) fn batch(values: &[&str]) -> Bytes {
    batch_at(now(), values)
}

/// The same at a time of the test's own.
pub(crate) fn batch_at(now: i64, values: &[&str]) -> Bytes {
    build(PLAIN, now, (-1, -1, -1), values)
}

/// A batch of an idempotent producer.
pub(crate) fn idempotent(producer: ProducerIdentity, sequence: i32, values: &[&str]) -> Bytes {
    idempotent_at(now(), producer, sequence, values)
}

/// The same at a time of the test's own.
pub(crate) fn idempotent_at(
    now: i64,
    producer: ProducerIdentity,
    sequence: i32,
    values: &[&str],
) -> Bytes {
    build(PLAIN, now, (producer.id.get(), producer.epoch.get(), sequence), values)
}

/// A batch inside a transaction.
pub(crate) fn in_transaction(producer: Producer, sequence: i32, values: &[&str]) -> Bytes {
    in_transaction_at(now(), producer, sequence, values)
}

/// The same at a time of the test's own.
pub(crate) fn in_transaction_at(
    now: i64,
    producer: Producer,
    sequence: i32,
    values: &[&str],
) -> Bytes {
    build(TRANSACTIONAL, now, (producer.id.get(), producer.epoch.get(), sequence), values)
}

fn now() -> i64 {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
    i64::try_from(now).unwrap()
}

/// Attributes.
const PLAIN: i16 = 0;
const TRANSACTIONAL: i16 = 0x10;

fn build(
    attributes: i16,
    now: i64,
    (id, epoch, sequence): (i64, i16, i32),
    values: &[&str],
) -> Bytes {
    let count = i32::try_from(values.len()).unwrap();
    let mut tail = Vec::new();
    tail.extend(attributes.to_be_bytes());
    tail.extend((count - 1).to_be_bytes());
    tail.extend(now.to_be_bytes());
    tail.extend(now.to_be_bytes());
    tail.extend(id.to_be_bytes());
    tail.extend(epoch.to_be_bytes());
    tail.extend(sequence.to_be_bytes());
    tail.extend(count.to_be_bytes());
    for (delta, value) in (0..).zip(values) {
        let mut record = vec![0, 0];
        write_varint(delta, &mut record);
        write_varint(-1, &mut record);
        write_varint(i32::try_from(value.len()).unwrap(), &mut record);
        record.extend(value.as_bytes());
        write_varint(0, &mut record);
        write_varint(i32::try_from(record.len()).unwrap(), &mut tail);
        tail.extend(record);
    }
    let mut bytes = Vec::new();
    bytes.extend(0_i64.to_be_bytes());
    bytes.extend(i32::try_from(tail.len() + 9).unwrap().to_be_bytes());
    bytes.extend((-1_i32).to_be_bytes());
    bytes.push(2);
    bytes.extend(crc32c(&tail).to_be_bytes());
    bytes.extend(tail);
    Bytes::from(bytes)
}

/// The values of all records in some batches.
pub(crate) fn values(mut batches: &[u8]) -> Vec<String> {
    let mut values = Vec::new();
    while !batches.is_empty() {
        let (batch, rest) = BatchRef::parse(batches).unwrap();
        batches = rest;
        for record in batch.records().unwrap() {
            let value = record.unwrap().value.unwrap();
            values.push(String::from_utf8(value.to_vec()).unwrap());
        }
    }
    values
}
