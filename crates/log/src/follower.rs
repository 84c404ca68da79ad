//! Appending what another node leads: offsets and epochs are given, and nothing is judged but the bytes.

use std::io::IoSlice;

use bytes::Bytes;
use hanbeon_idempotence::IdempotenceError;
use hanbeon_records::{BatchError, BatchRef, LeaderEpoch, Millis, Offset, read_control};

use crate::{
    AppendError, Corruption, Damage, Dir, EpochEntry, EpochsChanged, LeaderEpochs, LogError,
    active::Entry, head::Head, partition_log::PartitionLog, segment::End, segments::floor,
    walk::length,
};

/// Where epochs begin once the batches that are looked at are written.
struct Course {
    epochs: LeaderEpochs,
    /// Where one of these batches is of an epoch below that of the one before it.
    back: Vec<Offset>,
}

impl<D: Dir> PartitionLog<D> {
    /// Appends whole batches up to the first of an epoch above `leader_epoch` (KAFKA-18723); a batch cut short at the end is left
    /// out. All are checked before the first is written.
    ///
    /// Epochs may step back where Kafka has followed us in the leader's directory: the entry of the lower epoch says so to the next recovery.
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
        let mut course = Course { epochs: self.epochs.clone(), back: Vec::new() };
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
                match unreadable_marker(batch) {
                    None => self.follow_epoch(&mut course, &head)?,
                    damage => damage,
                }
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

    /// What is wrong with the epoch of a batch. A step back takes away the entries of the epochs above it, and where one of them told of a step back of its own
    /// the next recovery would take that for damage.
    fn follow_epoch(&self, course: &mut Course, head: &Head) -> Result<Option<Damage>, LogError> {
        let found = head.leader_epoch;
        let latest = course.epochs.latest().filter(|latest| found < latest.epoch);
        if let (Some(latest), true) = (latest, found > LeaderEpoch::UNKNOWN) {
            let entries = course.epochs.entries().iter().rev();
            for gone in entries.take_while(|entry| entry.epoch >= found) {
                if course.back.contains(&gone.start_offset) || self.steps_back(*gone)? {
                    return Ok(Some(Damage::EpochBack { expected: latest.epoch, found }));
                }
            }
            course.back.push(head.base_offset);
        }
        let (EpochsChanged::Yes | EpochsChanged::No) =
            course.epochs.assign(found, head.base_offset);
        Ok(None)
    }

    /// Whether the batch in front of an entry is of a later epoch.
    fn steps_back(&self, entry: EpochEntry) -> Result<bool, LogError> {
        let before = Offset::new(entry.start_offset.get().saturating_sub(1));
        let segments = self.visible.segments.load();
        let Some(segment) = floor(&segments, before).and_then(|place| segments.get(place)) else {
            return Ok(false);
        };
        let found = segment.seek(before, segment.end().bytes)?;
        Ok(found.is_some_and(|(_, head)| {
            head.base_offset < entry.start_offset && head.leader_epoch > entry.epoch
        }))
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
                // A snapshot of where the log does not end may be there, and the producer states have moved to it.
                return Err(self.visible.poison.set(error));
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
