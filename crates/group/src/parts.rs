//! How much of a group goes to the log in one write. More than the log takes as one batch (`max.message.bytes`) would never be written.

use alloc::{collections::VecDeque, vec::Vec};

use crate::{GroupError, Name, Record, consumer::record::ConsumerRecord, live::logged};

/// Bytes of records that one write holds where they can be written apart.
pub(crate) const PART_BYTES_MAX: usize = 256 * 1024;
/// What a record needs beside its key and value at most.
const RECORD_OVERHEAD: usize = 32;

/// About as many bytes as a record has in a batch.
pub(crate) fn len_of(record: &Record) -> usize {
    let value = record.value().map_or(0, |value| value.len());
    record.key().map_or(0, |key| key.len()).saturating_add(value).saturating_add(RECORD_OVERHEAD)
}

/// What a heartbeat changes, as writes in their order.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    /// What an expression stands for, where it is written apart: the rest was decided with it. Behind the head, which makes room for it.
    pub(crate) resolved: Option<Vec<Record>>,
    pub(crate) rest: VecDeque<Vec<Record>>,
}

impl Writes {
    /// All in one.
    pub(crate) fn whole(records: Vec<Record>) -> Self {
        let rest = Some(records).filter(|records| !records.is_empty());
        Self { resolved: None, rest: rest.into_iter().collect() }
    }

    /// In parts where it is much; the head is with the first, for a classic group that gives way must be gone before there is anything of
    /// its successor: Kafka reads no log that has the two at once (`getOrMaybeCreatePersistedConsumerGroup`). After each of them the log makes sense: what an expression stands for changes nothing until the group
    /// epoch is raised (3); that goes with who changed (5), so that a target is due again for whoever finds only this; and parts of a
    /// target (7) make nobody move before its epoch (6), which is behind them. Until then the target is due.
    pub(crate) fn of(
        group: &Name,
        head: Vec<Record>,
        records: &[ConsumerRecord],
    ) -> Result<Self, GroupError> {
        let mut whole = head;
        let tail = logged(group, records)?;
        let first = whole.len();
        whole.extend(tail);
        if whole.iter().map(len_of).sum::<usize>() <= PART_BYTES_MAX {
            return Ok(Self::whole(whole));
        }
        let tail = whole.split_off(first);
        let (mut early, mut targets, mut late) = (Vec::new(), Vec::new(), Vec::new());
        let (mut resolved, mut left) = (None, 0);
        let grounds = records.iter().rposition(is_ground).map_or(0, |at| at.saturating_add(1));
        for (at, (kind, record)) in records.iter().zip(tail).enumerate() {
            let is_target = matches!(kind, ConsumerRecord::TargetAssignment { value: Some(_), .. });
            if matches!(kind, ConsumerRecord::ResolvedRegex { value: Some(_), .. }) {
                resolved = Some(record);
            } else if at < grounds {
                early.push(record);
            } else if !is_target {
                late.push(record);
            } else {
                let len = len_of(&record);
                match targets.last_mut() {
                    Some(part) if len <= left => {
                        left = left.saturating_sub(len);
                        Vec::push(part, record);
                    }
                    Some(_) | None => {
                        left = PART_BYTES_MAX.saturating_sub(len);
                        targets.push(Vec::from([record]));
                    }
                }
            }
        }
        let resolved = match resolved {
            Some(record) => {
                whole.push(record);
                Some(whole)
            }
            None => {
                early.splice(..0, whole);
                None
            }
        };
        let parts = core::iter::once(early).chain(targets).chain([late]);
        Ok(Self { resolved, rest: parts.filter(|part| !part.is_empty()).collect() })
    }
}

/// Whether a target is due again because of it.
const fn is_ground(record: &ConsumerRecord) -> bool {
    matches!(
        record,
        ConsumerRecord::Member { .. }
            | ConsumerRecord::GroupEpoch { .. }
            | ConsumerRecord::ResolvedRegex { value: None, .. }
    )
}
