//! What several test files need: batches made by hand, and a partition that is opened with few words.
#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod golden;

use bytes::Bytes;
use hanbeon_idempotence::{FirstWrite, MarkerClaim, MarkerProtocol, Outcome, Verification};
use hanbeon_log::{
    AppendError, Appended, Dir, FirstBatch, Isolation, LogConfig, LogSettings, OpenPartition,
    OpenReport, Partition, Poison, Shutdown,
};
use hanbeon_records::{
    BatchRef, CoordinatorEpoch, LeaderEpoch, Millis, Offset, ProducerEpoch, ProducerId, crc32c,
    write_varint, write_varlong,
};

/// The clock of all tests.
pub(crate) const NOW: Millis = Millis::new(1_700_000_000_000);

/// What goes into a batch.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) records: i32,
    pub(crate) value_len: usize,
    pub(crate) producer: Option<(i64, i16, i32)>,
    pub(crate) transactional: bool,
    pub(crate) timestamp: i64,
    pub(crate) fill: u8,
}

impl Batch {
    pub(crate) fn of(records: i32) -> Self {
        Self {
            records,
            value_len: 10,
            producer: None,
            transactional: false,
            timestamp: NOW.get(),
            fill: b'v',
        }
    }

    pub(crate) fn value_len(self, value_len: usize) -> Self {
        Self { value_len, ..self }
    }

    pub(crate) fn fill(self, fill: u8) -> Self {
        Self { fill, ..self }
    }

    pub(crate) fn at(self, timestamp: i64) -> Self {
        Self { timestamp, ..self }
    }

    pub(crate) fn by(self, id: i64, epoch: i16, sequence: i32) -> Self {
        Self { producer: Some((id, epoch, sequence)), ..self }
    }

    pub(crate) fn in_txn(self) -> Self {
        Self { transactional: true, ..self }
    }

    /// The bytes a client sends; record `i` has the batch's time plus `i`.
    pub(crate) fn build(&self) -> Bytes {
        let mut payload = Vec::new();
        for i in 0..self.records {
            let mut record = vec![0_u8];
            write_varlong(i64::from(i), &mut record);
            write_varint(i, &mut record);
            write_varint(1, &mut record);
            record.push(b'k');
            write_varint(i32::try_from(self.value_len).unwrap(), &mut record);
            record.extend(std::iter::repeat_n(self.fill, self.value_len));
            write_varint(0, &mut record);
            write_varint(i32::try_from(record.len()).unwrap(), &mut payload);
            payload.extend(record);
        }
        let (id, epoch, sequence) = self.producer.unwrap_or((-1, -1, -1));
        let mut covered = Vec::new();
        let attributes: i16 = if self.transactional { 0x10 } else { 0 };
        covered.extend(attributes.to_be_bytes());
        covered.extend((self.records - 1).to_be_bytes());
        covered.extend(self.timestamp.to_be_bytes());
        covered.extend((self.timestamp + i64::from(self.records - 1)).to_be_bytes());
        covered.extend(id.to_be_bytes());
        covered.extend(epoch.to_be_bytes());
        covered.extend(sequence.to_be_bytes());
        covered.extend(self.records.to_be_bytes());
        covered.extend(payload);
        let mut batch = Vec::new();
        batch.extend(0_i64.to_be_bytes());
        batch.extend(i32::try_from(covered.len() + 9).unwrap().to_be_bytes());
        batch.extend((-1_i32).to_be_bytes());
        batch.push(2);
        batch.extend(crc32c(&covered).to_be_bytes());
        batch.extend(covered);
        batch.into()
    }
}

pub(crate) fn settings() -> LogSettings {
    LogSettings { internal_segment_bytes: Some(1 << 20), ..LogSettings::kafka_defaults() }
}

pub(crate) fn config(change: impl FnOnce(&mut LogSettings)) -> LogConfig {
    let mut settings = settings();
    change(&mut settings);
    settings.validate().unwrap()
}

/// An unclean opening that knows nothing.
pub(crate) fn options(config: &LogConfig) -> OpenPartition {
    OpenPartition {
        config: config.clone(),
        shutdown: Shutdown::Unclean,
        recovery_point: Offset::ZERO,
        log_start: None,
        high_watermark: None,
        leader_epoch: LeaderEpoch::new(0),
        topic_id: None,
        verification: Verification::Off,
        first_write: FirstWrite::FromZero,
        hash_seed: 7,
        jitter_seed: 7,
        now: NOW,
        poison: Poison::new(),
    }
}

pub(crate) fn open<D: Dir>(dir: &D, config: &LogConfig) -> (Partition<D>, OpenReport) {
    Partition::open(dir.clone(), options(config)).unwrap()
}

pub(crate) fn append<D: Dir>(log: &Partition<D>, batch: &Batch) -> Result<Appended, AppendError> {
    log.append(batch.build(), NOW).wait().unwrap()
}

pub(crate) fn marker(id: i64, epoch: i16, outcome: Outcome) -> MarkerClaim {
    MarkerClaim {
        producer_id: ProducerId::new(id),
        producer_epoch: ProducerEpoch::new(epoch),
        coordinator_epoch: CoordinatorEpoch::new(0),
        outcome,
        timestamp: NOW,
        protocol: MarkerProtocol::V1,
    }
}

pub(crate) fn end_txn<D: Dir>(
    log: &Partition<D>,
    id: i64,
    epoch: i16,
    outcome: Outcome,
) -> Result<Appended, AppendError> {
    log.append_marker(marker(id, epoch, outcome), NOW).wait().unwrap()
}

/// Base and last offset of every batch from `from` on.
pub(crate) fn offsets<D: Dir>(
    log: &Partition<D>,
    from: i64,
    isolation: Isolation,
) -> Vec<(i64, i64)> {
    let mut from = Offset::new(from);
    let mut found = Vec::new();
    loop {
        let read = log.read(from, isolation, 1 << 20, FirstBatch::Whole).unwrap();
        let mut rest: &[u8] = &read.records;
        if rest.is_empty() {
            return found;
        }
        while let Ok((batch, behind)) = BatchRef::parse(rest) {
            batch.verify().unwrap();
            if batch.last_offset() >= from {
                found.push((batch.base_offset().get(), batch.last_offset().get()));
                from = batch.next_offset();
            }
            rest = behind;
        }
    }
}
