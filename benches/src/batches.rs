//! Encoded batches of idempotent producers, ready to be sent again and again.

use bytes::{Bytes, BytesMut};
use hanbeon_records::{
    BatchBuilder, BatchKind, BatchSettings, Codec, CompressionLevel, LeaderEpoch, Millis,
    NewRecord, Offset, ProducerEpoch, ProducerId, ProducerStamp, Sequence, TimestampType, crc32c,
};

/// The clock of all benches.
pub const NOW: Millis = Millis::new(1_700_000_000_000);

/// Where a batch's fields lie.
const CRC_AT: usize = 17;
const COVERED_FROM: usize = 21;
const SEQUENCE_AT: usize = 53;

/// One batch of each of many producers, which send in rotation.
///
/// The payload stays; from round to round only sequence and checksum change, so that a pool that fits the cache stands
/// for any number of batches as they come off a socket. The checksum is not computed anew: what a changed sequence
/// does to it depends on the length alone, which is the same for all.
#[derive(Debug)]
pub struct Batches {
    batches: Vec<Bytes>,
    /// Checksums of the batches with sequence 0.
    sums: Vec<u32>,
    records: u32,
    at: usize,
    round: u32,
    batch_len: usize,
    /// All of a batch that the checksum covers, zeroed but for the sequence.
    blank: Vec<u8>,
    change: u32,
}

impl Batches {
    /// A batch of `records` records of about `value_len` bytes for each of `producers` producers, from id `first` on.
    ///
    /// # Panics
    /// On settings that make no batch.
    #[must_use]
    pub fn new(producers: i64, first: i64, records: u32, value_len: usize) -> Self {
        let batches: Vec<Bytes> =
            (first..first + producers).map(|id| build(id, records, value_len)).collect();
        let batch_len = batches.first().map_or(0, Bytes::len);
        assert!(batches.iter().all(|batch| batch.len() == batch_len), "all are of one length");
        let sums = batches.iter().map(|batch| crc32c(&batch[COVERED_FROM..])).collect();
        let blank = vec![0; batch_len - COVERED_FROM];
        Self { batches, sums, records, at: 0, round: 0, batch_len, blank, change: 0 }
    }

    /// Bytes of each batch.
    #[must_use]
    pub const fn batch_len(&self) -> usize {
        self.batch_len
    }

    /// Starts again with the first sequence of each producer.
    pub fn restart(&mut self) {
        (self.at, self.round) = (0, 0);
        self.change = 0;
    }

    /// The next batch. The one the same producer sent before must have been dropped, or it is copied.
    pub fn next_batch(&mut self) -> Bytes {
        if self.at == self.batches.len() {
            self.at = 0;
            self.round += 1;
            let sequence = self.sequence().to_be_bytes();
            let none = crc32c(&self.blank);
            self.blank[SEQUENCE_AT - COVERED_FROM..][..4].copy_from_slice(&sequence);
            self.change = none ^ crc32c(&self.blank);
            self.blank[SEQUENCE_AT - COVERED_FROM..][..4].fill(0);
        }
        let (sequence, sum) = (self.sequence(), self.sums[self.at] ^ self.change);
        let slot = &mut self.batches[self.at];
        let mut batch = match std::mem::take(slot).try_into_mut() {
            Ok(batch) => batch,
            Err(shared) => BytesMut::from(&shared[..]),
        };
        batch[SEQUENCE_AT..][..4].copy_from_slice(&sequence.to_be_bytes());
        batch[CRC_AT..][..4].copy_from_slice(&sum.to_be_bytes());
        let batch = batch.freeze();
        *slot = batch.clone();
        self.at += 1;
        batch
    }

    const fn sequence(&self) -> u32 {
        self.round * self.records
    }
}

fn build(id: i64, records: u32, value_len: usize) -> Bytes {
    let settings = BatchSettings {
        codec: Codec::None,
        level: CompressionLevel::DEFAULT,
        timestamp_type: TimestampType::CreateTime,
        producer: Some(ProducerStamp {
            id: ProducerId::new(id),
            epoch: ProducerEpoch::new(0),
            base_sequence: Sequence::ZERO,
        }),
        kind: BatchKind::Plain,
        base_offset: Offset::ZERO,
        leader_epoch: LeaderEpoch::UNKNOWN,
    };
    let mut bytes = Vec::new();
    let mut batch = BatchBuilder::new(&mut bytes, settings);
    let mut state = id.unsigned_abs() | 1;
    for index in 0..records {
        let value: Vec<u8> = (0..value_len).map(|_| noise(&mut state)).collect();
        let key = index.to_be_bytes();
        let record =
            NewRecord { timestamp: NOW, key: Some(&key), value: Some(&value), headers: &[] };
        batch.push(record).expect("a batch of the bench fits");
    }
    batch.finish().expect("a batch of the bench can be written");
    bytes.into()
}

/// Bytes that do not compress (xorshift).
fn noise(state: &mut u64) -> u8 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    let [low, ..] = state.to_le_bytes();
    low
}
