//! Appending what another node leads: offsets and epochs are given, and nothing is judged but the bytes.

use std::io::IoSlice;

use bytes::Bytes;
use hanbeon_idempotence::IdempotenceError;
use hanbeon_records::{BatchError, BatchRef, LeaderEpoch, Millis, Offset, read_control};

use crate::{
    AppendError, Corruption, Damage, Dir, LogError, active::Entry, head::Head,
    partition_log::PartitionLog, segment::End, walk::length,
};

impl<D: Dir> PartitionLog<D> {
    /// Appends whole batches up to the first of an epoch above `leader_epoch` (KAFKA-18723); a batch cut short at the end is left
    /// out. All are checked before the first is written.
    pub(crate) fn append_as_follower(
        &mut self,
        records: &Bytes,
        leader_epoch: LeaderEpoch,
        now: Millis,
    ) -> Result<Offset, AppendError> {
        self.check()?;
        let mut batches = Vec::new();
        let mut rest: &[u8] = records;
        let mut expected = self.active.end.offset;
        while !rest.is_empty() {
            let (batch, behind) = match BatchRef::parse(rest) {
                Ok(parsed) => parsed,
                Err(BatchError::Truncated { .. }) => break,
                Err(error) => return Err(error.into()),
            };
            if batch.leader_epoch() > leader_epoch {
                break;
            }
            batch.verify()?;
            let head = Head::parse(batch.bytes())?;
            let damage = if head.base_offset < expected {
                Some(Damage::OffsetBack { expected, found: head.base_offset })
            } else {
                unreadable_marker(batch)
            };
            if let Some(damage) = damage {
                let at = length(records.len().saturating_sub(rest.len()));
                let file = format!("records fetched for {}", self.visible.name);
                return Err(LogError::from(Corruption { file, at, damage }).into());
            }
            expected = head.next_offset();
            batches.push((batch, head));
            rest = behind;
        }
        for (batch, head) in batches {
            self.append_one(&batch, &head, now)?;
        }
        Ok(self.active.end.offset)
    }

    fn append_one(
        &mut self,
        batch: &BatchRef<'_>,
        head: &Head,
        now: Millis,
    ) -> Result<(), LogError> {
        let at = Entry::of(self.active.end.bytes, head);
        if self.active.must_roll(self.active.end, at, &self.config, now) {
            self.roll(now)?;
        }
        if self.active.end.bytes == 0
            && head.last_offset.since(self.active.base()) > i64::from(i32::MAX)
        {
            // Further away than an index of this segment can say: the empty segment begins where the batch does.
            let before = self.active.end;
            self.active.end = End { offset: head.base_offset, ..before };
            if let Err(error) = self.roll(now) {
                self.active.end = before;
                return Err(error);
            }
        }
        self.enter_epoch(head.leader_epoch, head.base_offset)?;
        self.active.reserve(head.len, &self.config)?;
        let written = self.active.write(&[IoSlice::new(batch.bytes())]);
        self.poisoned(written)?;
        self.active.note(Entry::of(self.active.end.bytes, head), &self.config);
        let completed = self.states.replay(batch, now).map_err(|error| {
            let file = self.active.segment.name().to_owned();
            LogError::from(Corruption { file, at: at.position, damage: error.into() })
        });
        let completed = self.poisoned(completed)?;
        self.note_completed(completed);
        self.publish(head.len);
        Ok(())
    }
}

/// What is wrong with a control batch that could not be followed once it is written.
fn unreadable_marker(batch: BatchRef<'_>) -> Option<Damage> {
    if !batch.attributes().is_control() {
        return None;
    }
    let error = read_control(batch).err()?;
    Some(IdempotenceError::MalformedMarker { offset: batch.base_offset(), error }.into())
}
