//! Batches as a client sends them, and as they must lie in the log.

use bytes::Bytes;
use hanbeon_records::{
    LeaderEpoch, Marker, Millis, Offset, crc32c, stamp, write_marker, write_varint, write_varlong,
};

use super::rng::Rng;

/// Who sends a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sender {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
    pub(crate) sequence: i32,
    pub(crate) transactional: bool,
}

/// One batch that is or may be in the log.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) base: i64,
    pub(crate) last: i64,
    /// As it must lie in the file, made here and not by the log.
    pub(crate) bytes: Vec<u8>,
    pub(crate) sender: Option<Sender>,
    /// As the client sent it; `None` for a marker.
    pub(crate) sent: Option<Bytes>,
}

impl Stored {
    pub(crate) fn end(&self) -> i64 {
        self.last + 1
    }

    pub(crate) fn count(&self) -> i32 {
        i32::try_from(self.last - self.base + 1).unwrap()
    }

    pub(crate) fn data(sent: Bytes, sender: Option<Sender>, base: i64, epoch: LeaderEpoch) -> Self {
        let delta = i32::from_be_bytes(sent[23..27].try_into().unwrap());
        let mut bytes = sent.to_vec();
        stamp(&mut bytes, Offset::new(base), epoch);
        Self { base, last: base + i64::from(delta), bytes, sender, sent: Some(sent) }
    }

    pub(crate) fn marker(marker: &Marker) -> Self {
        let mut bytes = Vec::new();
        write_marker(&mut bytes, marker);
        let base = marker.base_offset.get();
        let sender = Sender {
            id: marker.producer_id.get(),
            epoch: marker.producer_epoch.get(),
            sequence: -1,
            transactional: true,
        };
        Self { base, last: base, bytes, sender: Some(sender), sent: None }
    }
}

/// A batch of one to five records whose values nobody could guess; at most `bytes_max` of them.
pub(crate) fn client_batch(
    rng: &mut Rng,
    sender: Option<Sender>,
    now: Millis,
    bytes_max: usize,
) -> Bytes {
    let count = rng.range(1, 6);
    let value_max = match rng.range(0, 10) {
        1..10 if bytes_max > 9_000 => bytes_max,
        0 => 6000,
        1 | 2 => 1500,
        _ => 400,
    };
    let value_max = value_max.min((bytes_max - 61) / count - 40);
    let mut payload = Vec::new();
    let base_time = now.get() - i64::try_from(rng.range(0, 500)).unwrap();
    let mut largest = i64::MIN;
    for nth in 0..count {
        let delta = i64::try_from(rng.range(0, 400)).unwrap();
        largest = largest.max(base_time + delta);
        let len = rng.range(1, value_max.max(2));
        let value: Vec<u8> = (0..len).map(|_| rng.next().to_be_bytes()[0]).collect();
        record(&mut payload, nth, delta, &value);
    }
    Bytes::from(whole(count, (base_time, largest), sender, &payload))
}

fn record(into: &mut Vec<u8>, nth: usize, delta: i64, value: &[u8]) {
    let mut body = vec![0];
    write_varlong(delta, &mut body);
    write_varint(i32::try_from(nth).unwrap(), &mut body);
    write_varint(-1, &mut body);
    write_varint(i32::try_from(value.len()).unwrap(), &mut body);
    body.extend_from_slice(value);
    write_varint(0, &mut body);
    write_varint(i32::try_from(body.len()).unwrap(), into);
    into.extend_from_slice(&body);
}

fn whole(count: usize, times: (i64, i64), sender: Option<Sender>, payload: &[u8]) -> Vec<u8> {
    let count = i32::try_from(count).unwrap();
    let (id, epoch, sequence) =
        sender.map_or((-1, -1, -1), |sender| (sender.id, sender.epoch, sender.sequence));
    let attributes: i16 = if sender.is_some_and(|sender| sender.transactional) { 16 } else { 0 };
    let mut covered = Vec::new();
    covered.extend_from_slice(&attributes.to_be_bytes());
    covered.extend_from_slice(&(count - 1).to_be_bytes());
    covered.extend_from_slice(&times.0.to_be_bytes());
    covered.extend_from_slice(&times.1.to_be_bytes());
    covered.extend_from_slice(&id.to_be_bytes());
    covered.extend_from_slice(&epoch.to_be_bytes());
    covered.extend_from_slice(&sequence.to_be_bytes());
    covered.extend_from_slice(&count.to_be_bytes());
    covered.extend_from_slice(payload);
    let mut batch = Vec::new();
    batch.extend_from_slice(&0_i64.to_be_bytes());
    batch.extend_from_slice(&i32::try_from(covered.len() + 9).unwrap().to_be_bytes());
    batch.extend_from_slice(&(-1_i32).to_be_bytes());
    batch.push(2);
    batch.extend_from_slice(&crc32c(&covered).to_be_bytes());
    batch.extend_from_slice(&covered);
    batch
}
