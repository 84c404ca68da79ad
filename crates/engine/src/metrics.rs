//! What an engine counts: plain atomics, read by whoever exports them.

use hanbeon_idempotence::IdempotenceError;
use hanbeon_log::{
    AppendError, Appended, Placed,
    sync::{AtomicU64, Ordering},
};
use hanbeon_records::ErrorCode;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        // Relaxed: a statistic orders nothing.
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// How much it has counted.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a topic counts, since the engine was opened.
#[derive(Debug, Default)]
pub struct TopicMetrics {
    /// Bytes of batches appended.
    pub bytes_in: Counter,
    /// Records appended.
    pub messages_in: Counter,
    /// Bytes of batches read.
    pub bytes_out: Counter,
    /// Produce calls.
    pub produce_requests: Counter,
    /// Produce calls that were refused or failed.
    pub failed_produce_requests: Counter,
    /// Fetch calls.
    pub fetch_requests: Counter,
    /// Fetch calls that were refused or failed.
    pub failed_fetch_requests: Counter,
}

/// What an engine counts, since it was opened.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Batches of idempotent and other producers that were appended.
    pub admitted: Counter,
    /// Batches that were there already and not appended again.
    pub duplicates: Counter,
    /// Batches refused for a gap in the sequence ([`ErrorCode::OutOfOrderSequenceNumber`]).
    pub out_of_order: Counter,
    /// Batches refused for an epoch of the past.
    pub fenced: Counter,
    /// Batches refused for anything else.
    pub refused: Counter,
    /// Syncs led for producers that waited.
    pub syncs: Counter,
    /// Producers that were answered by those syncs; divided by [`Metrics::syncs`] this is the size of a group.
    pub synced_batches: Counter,
    /// Syncs in the background.
    pub background_syncs: Counter,
    /// Markers written, each the end of a transaction on one partition.
    pub markers: Counter,
    /// Partitions opened.
    pub partitions_opened: Counter,
    /// Places in logs that were found damaged behind an opening.
    pub damage_found: Counter,
    /// Producer ids handed out.
    pub producer_ids: Counter,
    /// Producers forgotten after a time without a write.
    pub producers_expired: Counter,
}

impl Metrics {
    pub(crate) fn judged(
        &self,
        topic: &TopicMetrics,
        bytes: usize,
        result: &Result<Appended, AppendError>,
    ) {
        topic.produce_requests.add(1);
        match result {
            Ok(appended) => match appended.placed {
                Placed::Written => {
                    self.admitted.add(1);
                    topic.bytes_in.add(u64::try_from(bytes).unwrap_or(u64::MAX));
                    let records = appended.end.since(appended.base_offset);
                    topic.messages_in.add(u64::try_from(records).unwrap_or(0));
                }
                Placed::Duplicate => self.duplicates.add(1),
            },
            Err(error) => {
                topic.failed_produce_requests.add(1);
                self.refusal(error).add(1);
            }
        }
    }

    fn refusal(&self, error: &AppendError) -> &Counter {
        let AppendError::Idempotence(error) = error else {
            return &self.refused;
        };
        let code = IdempotenceError::code(error);
        if code == ErrorCode::OutOfOrderSequenceNumber {
            &self.out_of_order
        } else if matches!(code, ErrorCode::InvalidProducerEpoch | ErrorCode::ProducerFenced) {
            &self.fenced
        } else {
            &self.refused
        }
    }
}
