//! An internal partition as a state log: Kafka's own form, read by Kafka's tools.

use std::sync::Arc;

use bytes::Bytes;
use hanbeon_idempotence::{
    MarkerClaim, MarkerProtocol, Origin, VerificationNeed, VerificationRequest,
};
use hanbeon_log::{FirstBatch, Isolation, Source};
use hanbeon_records::{
    BatchBuilder, BatchKind, BatchRef, BatchSettings, Codec, CompressionLevel, Control,
    CoordinatorEpoch, LeaderEpoch, Millis, NewRecord, Offset, OutputLimit, ProducerEpoch,
    ProducerId, ProducerStamp, Record, Records, Sequence, TimestampType, decompress, read_control,
};

use super::{DurableFuture, Enrolment, InTransaction, StateEntry, StateLog, StateRecord, Written};
use crate::{Env, PartitionError, PartitionHandle, ProduceError, data_dir::LastStop};

/// Bytes read at once while loading.
const READ_BYTES: usize = 1 << 20;
/// Bytes that one batch may become when it is decompressed.
const DECOMPRESSED_BYTES_MAX: usize = 256 << 20;

/// See the module.
#[derive(Debug)]
pub(crate) struct PartitionStateLog<E: Env>(pub(crate) PartitionHandle<E>);

impl<E: Env> PartitionHandle<E> {
    /// This partition as a state log, for a coordinator of the caller's own. Nobody else should write to it.
    #[must_use]
    pub fn state_log(&self) -> Arc<dyn StateLog> {
        Arc::new(PartitionStateLog(self.clone()))
    }
}

impl<E: Env> StateLog for PartitionStateLog<E> {
    fn epoch(&self) -> Result<CoordinatorEpoch, ProduceError> {
        // KIP-98: the leader epoch of the coordinator's partition, which is known once its log is open.
        self.0.opened()?;
        Ok(CoordinatorEpoch::new(self.0.leader_epoch().get()))
    }

    fn replay(&self, visit: &mut dyn FnMut(StateEntry<'_>)) -> Result<Offset, ProduceError> {
        let opened = self.0.opened()?;
        let (mut from, end) = (opened.log.log_start_offset(), opened.log.log_end_offset());
        while from < end {
            let read = opened.log.read(from, Isolation::LogEnd, READ_BYTES, FirstBatch::Whole);
            let read = read.map_err(PartitionError::from)?;
            let before = from;
            let mut rest: &[u8] = &read.records;
            while let Ok((batch, behind)) = BatchRef::parse(rest) {
                rest = behind;
                if batch.next_offset() > from {
                    self.visit(batch, from, visit)?;
                    from = batch.next_offset();
                }
            }
            if from == before {
                if !rest.is_empty() {
                    return Err(self.unreadable(from).into());
                }
                // Nothing is left but what compaction took away.
                return Ok(end);
            }
        }
        Ok(end)
    }

    fn append(
        &self,
        now: Millis,
        records: &[StateRecord<'_>],
        transaction: Option<InTransaction>,
    ) -> Result<Written, ProduceError> {
        let bytes = batch(now, records, transaction)?;
        let source = match transaction {
            Some(InTransaction { guard, .. }) => Source { origin: Origin::Coordinator, guard },
            None => Source::CLIENT,
        };
        let appended = self.0.write(&bytes, source)?;
        Ok(Written { offset: appended.base_offset, end: appended.end })
    }

    fn begin_transaction(
        &self,
        (producer_id, producer_epoch): (ProducerId, ProducerEpoch),
        protocol: MarkerProtocol,
    ) -> Result<Enrolment, ProduceError> {
        let need = self.0.begin_verification(VerificationRequest {
            producer_id,
            producer_epoch,
            base_sequence: Sequence::ZERO,
            protocol,
        })?;
        Ok(match need {
            VerificationNeed::None => Enrolment::Open,
            VerificationNeed::Ask(guard) => Enrolment::Ask(Some(guard)),
        })
    }

    fn append_marker(&self, claim: MarkerClaim) -> Result<Written, ProduceError> {
        let appended = self.0.write_marker(claim)?;
        Ok(Written { offset: appended.base_offset, end: appended.end })
    }

    fn may_lack_its_end(&self) -> bool {
        // Whatever its settings ask for now: they may have been others when it was written.
        let left_by = self.0.0.ground.data.last_stop;
        left_by == LastStop::Unclean && self.0.is_older_than_opening()
    }

    fn first_sure_id(&self) -> ProducerId {
        self.0.0.ground.first_sure_id
    }

    fn is_slow(&self) -> bool {
        self.0.is_slow()
    }

    fn is_synced(&self) -> bool {
        self.0.is_synced()
    }

    fn is_durable(&self, end: Offset) -> bool {
        self.0.if_open().is_some_and(|opened| opened.durable() >= end)
    }

    fn durable_to(&self, end: Offset) -> DurableFuture {
        Box::pin(self.0.durable_to(end))
    }
}

impl<E: Env> PartitionStateLog<E> {
    fn unreadable(&self, offset: Offset) -> PartitionError {
        PartitionError::Unreadable {
            topic: self.0.topic().to_string(),
            partition: self.0.number(),
            offset,
        }
    }

    fn visit(
        &self,
        batch: BatchRef<'_>,
        from: Offset,
        visit: &mut dyn FnMut(StateEntry<'_>),
    ) -> Result<(), ProduceError> {
        let unreadable = || self.unreadable(batch.base_offset());
        // A log that was left by a kill opens before all of its checksums are looked at, and what is read here is decided upon.
        batch.verify().map_err(|_mismatch| unreadable())?;
        let (producer_id, producer_epoch) = (batch.producer_id(), batch.producer_epoch());
        if batch.attributes().is_control() {
            if let Ok(Some(Control::EndTxn(marker))) = read_control(batch) {
                let (offset, outcome) = (batch.base_offset(), marker.outcome);
                visit(StateEntry::Marker { offset, producer_id, outcome });
            }
            return Ok(());
        }
        let transaction =
            batch.attributes().is_transactional().then_some((producer_id, producer_epoch));
        with_records(batch, |record| {
            let offset = batch.offset_of(&record);
            // A coordinator's record has a key; one without means nothing to anybody.
            if let (true, Some(key)) = (offset >= from, record.key) {
                visit(StateEntry::Record {
                    offset,
                    timestamp: batch.timestamp_of(&record),
                    record: StateRecord { key, value: record.value },
                    transaction,
                });
            }
        })
        .map_err(|_fault| unreadable().into())
    }
}

/// The records of a batch do not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoRecords;

/// Calls `each` with the records of a batch, compressed or not; up to the first that does not read.
pub(crate) fn with_records(
    batch: BatchRef<'_>,
    mut each: impl FnMut(Record<'_>),
) -> Result<(), NoRecords> {
    let plain;
    let records = match batch.attributes().codec() {
        Ok(Codec::None) => batch.records().map_err(|_mismatch| NoRecords)?,
        Ok(codec) => {
            let mut unpacked = Vec::new();
            let limit = OutputLimit::new(DECOMPRESSED_BYTES_MAX);
            decompress(codec, batch.payload(), limit, &mut unpacked).map_err(|_fault| NoRecords)?;
            plain = unpacked;
            Records::new(batch.record_count(), &plain)
        }
        Err(_unknown) => return Err(NoRecords),
    };
    for record in records {
        each(record.map_err(|_fault| NoRecords)?);
    }
    Ok(())
}

/// Records as one batch. In a transaction it always begins at sequence 0, as Kafka's group coordinator writes it.
fn batch(
    now: Millis,
    records: &[StateRecord<'_>],
    transaction: Option<InTransaction>,
) -> Result<Bytes, ProduceError> {
    let length = |record: &StateRecord<'_>| record.key.len() + record.value.map_or(0, <[u8]>::len);
    let mut bytes = Vec::with_capacity(64 + records.iter().map(|r| length(r) + 24).sum::<usize>());
    let producer = transaction.map(|transaction| ProducerStamp {
        id: transaction.producer_id,
        epoch: transaction.producer_epoch,
        base_sequence: Sequence::ZERO,
    });
    let mut builder = BatchBuilder::new(
        &mut bytes,
        BatchSettings {
            codec: Codec::None,
            level: CompressionLevel::DEFAULT,
            timestamp_type: TimestampType::CreateTime,
            producer,
            kind: if producer.is_some() { BatchKind::Transactional } else { BatchKind::Plain },
            base_offset: Offset::ZERO,
            leader_epoch: LeaderEpoch::UNKNOWN,
        },
    );
    for record in records {
        builder.push(NewRecord {
            timestamp: now,
            key: Some(record.key),
            value: record.value,
            headers: &[],
        })?;
    }
    builder.finish()?;
    Ok(Bytes::from(bytes))
}
