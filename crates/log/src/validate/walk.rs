//! The rules for the records inside a batch, in one pass over them.

use hanbeon_records::{Attributes, Millis, Record, RecordError, Records, TimestampType};

use crate::{
    config::LogConfig,
    error::{AppendError, RecordFault, RecordFaultKind, RecordFaults},
};

/// What the records of one batch are held against.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    keys: Keys,
    times: Times,
    base_timestamp: Millis,
    /// What the producer says about its times.
    claimed: TimestampType,
}

/// Whether a record needs a key.
#[derive(Clone, Copy, Debug)]
enum Keys {
    Needed,
    Optional,
}

/// Which times a record may have.
#[derive(Clone, Copy, Debug)]
enum Times {
    /// Any: the leader's clock takes their place.
    Replaced,
    /// None (-1), or these.
    Within { earliest: Millis, latest: Millis },
}

impl Rules {
    pub(super) fn new(
        config: &LogConfig,
        now: Millis,
        base_timestamp: Millis,
        attributes: Attributes,
    ) -> Self {
        let keys = if config.cleanup_policy.compacts() { Keys::Needed } else { Keys::Optional };
        let times = match config.message_timestamp_type {
            TimestampType::LogAppendTime => Times::Replaced,
            TimestampType::CreateTime => Times::Within {
                earliest: now
                    .saturating_add(config.message_timestamp_before_max_ms.saturating_neg()),
                latest: now.saturating_add(config.message_timestamp_after_max_ms),
            },
        };
        Self { keys, times, base_timestamp, claimed: attributes.timestamp_type() }
    }

    /// Walks the records and returns the largest of their times, -1 when none has one.
    ///
    /// A record that cannot be read, or whose offset is out of line, ends the walk; records that only break a rule are
    /// gathered to be told together, as Kafka does.
    pub(super) fn walk(&self, records: Records<'_>) -> Result<Millis, AppendError> {
        let mut max_timestamp = Millis::NONE;
        let mut faults: Option<Box<RecordFaults>> = None;
        let mut batch_index = 0_i32;
        for record in records {
            let record = record?;
            if record.offset_delta != batch_index {
                return Err(AppendError::OffsetDelta { batch_index, found: record.offset_delta });
            }
            let mut headers = record.headers;
            if headers.any(|header| std::str::from_utf8(header.key).is_err()) {
                return Err(RecordError::HeaderNotUtf8 { index: batch_index }.into());
            }
            let timestamp = self.base_timestamp.saturating_add(record.timestamp_delta);
            max_timestamp = max_timestamp.max(timestamp);
            if let Some(kind) = self.fault(&record, timestamp) {
                let fault = RecordFault { batch_index, kind };
                match &mut faults {
                    Some(faults) => faults.push(fault),
                    None => faults = Some(Box::new(RecordFaults::new(fault))),
                }
            }
            batch_index = batch_index.saturating_add(1);
        }
        faults.map_or(Ok(max_timestamp), |faults| Err(AppendError::Records(faults)))
    }

    fn fault(&self, record: &Record<'_>, timestamp: Millis) -> Option<RecordFaultKind> {
        if matches!(self.keys, Keys::Needed) && record.key.is_none() {
            return Some(RecordFaultKind::NoKey);
        }
        match self.times {
            Times::Within { earliest, latest } if timestamp != Millis::NONE => {
                if timestamp < Millis::NONE {
                    Some(RecordFaultKind::NegativeTime { found: timestamp })
                } else if timestamp < earliest || timestamp > latest {
                    Some(RecordFaultKind::TimeOutOfBounds { earliest, latest, found: timestamp })
                } else {
                    None
                }
            }
            Times::Within { .. } | Times::Replaced => match self.claimed {
                TimestampType::CreateTime => None,
                TimestampType::LogAppendTime => Some(RecordFaultKind::ClaimsLogAppendTime),
            },
        }
    }
}
