//! Finding offsets by time.

use hanbeon_records::{BatchRef, LeaderEpoch, Millis, Offset, TimestampType};

use crate::{
    Action, Dir, FoundOffset, Isolation, LogError, LogFile, ReadError, TimeQuery,
    head::Head,
    records_of::with_records,
    segment::Segment,
    segments::Based,
    visible::Visible,
    walk::{Fault, Walker},
};

impl<D: Dir> Visible<D> {
    /// See [`crate::Partition::find_offset`]; `epoch_of` knows the leader epochs.
    pub(crate) fn find_offset(
        &self,
        query: TimeQuery,
        isolation: Isolation,
        epoch_of: impl Fn(Offset) -> Option<LeaderEpoch>,
    ) -> Result<Option<FoundOffset>, ReadError> {
        let bounds = self.offsets.bounds();
        let bound = bounds.of(isolation);
        let at = |offset: Offset| {
            let leader_epoch = epoch_of(offset).unwrap_or(LeaderEpoch::UNKNOWN);
            Some(FoundOffset { timestamp: Millis::NONE, offset, leader_epoch })
        };
        let found = match query {
            TimeQuery::Earliest | TimeQuery::EarliestLocal => return Ok(at(bounds.log_start)),
            TimeQuery::Latest => return Ok(at(bound)),
            TimeQuery::MaxTimestamp => self.largest_time()?,
            TimeQuery::At(time) => self.first_at(time, bounds.log_start)?,
        };
        Ok(found.filter(|found| found.offset < bound))
    }

    /// The first record with the largest time of all.
    fn largest_time(&self) -> Result<Option<FoundOffset>, LogError> {
        let segments = self.segments.load();
        let mut best = None;
        for segment in segments.iter() {
            let largest = segment.largest_time()?;
            let better = best.as_ref().is_none_or(|(time, _)| largest.timestamp > *time);
            if better && largest.timestamp > Millis::NONE {
                best = Some((largest.timestamp, (segment, largest.offset)));
            }
        }
        let Some((time, (segment, offset))) = best else { return Ok(None) };
        let end = segment.end();
        let Some((position, head)) = segment.seek(offset, end.bytes)? else { return Ok(None) };
        // An entry of an old Kafka names the last batch of its append: the first with that time may lie before it.
        first_in(segment, position, &head, time, Offset::ZERO)
    }

    /// The first record at `time` or later that is not below the log's start.
    fn first_at(&self, time: Millis, log_start: Offset) -> Result<Option<FoundOffset>, LogError> {
        let segments = self.segments.load();
        for segment in segments.iter() {
            let end = segment.end();
            if end.offset <= log_start || segment.largest_time()?.timestamp < time {
                continue;
            }
            let base = segment.base_offset();
            let from = segment.indexes().time(base).lookup(time).offset.max(log_start);
            let Some((position, _)) = segment.seek(from, end.bytes)? else { continue };
            let mut walker = Walker::new(segment.file(), position, end.bytes);
            while let Some((position, head)) =
                walker.next().map_err(|fault| segment.error(fault))?
            {
                if head.max_timestamp < time {
                    continue;
                }
                if let Some(found) = first_in(segment, position, &head, time, log_start)? {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }
}

/// The first record of a batch with `time` or a later one, from `log_start` on.
fn first_in<F: LogFile>(
    segment: &Segment<F>,
    position: u64,
    head: &Head,
    time: Millis,
    log_start: Offset,
) -> Result<Option<FoundOffset>, LogError> {
    let end = position.saturating_add(head.len);
    let failed = |error| LogError::io(Action::Read, segment.name(), error);
    let bytes = segment.file().view(position..end).map_err(failed)?;
    let damaged = |damage| segment.error(Fault::Damage { at: position, damage });
    let (batch, _) = BatchRef::parse(&bytes).map_err(|error| damaged(error.into()))?;
    let found =
        |timestamp, offset| FoundOffset { timestamp, offset, leader_epoch: head.leader_epoch };
    if batch.attributes().timestamp_type() == TimestampType::LogAppendTime {
        let offset = head.base_offset.max(log_start);
        return Ok((offset <= head.last_offset).then(|| found(head.max_timestamp, offset)));
    }
    let base_time = batch.base_timestamp();
    let mut first = None;
    with_records(&batch, |record| {
        let timestamp = base_time.saturating_add(record.timestamp_delta);
        let offset = head.base_offset.saturating_add(i64::from(record.offset_delta));
        if first.is_none() && timestamp >= time && offset >= log_start {
            first = Some(found(timestamp, offset));
        }
    })
    .map_err(damaged)?;
    Ok(first)
}
