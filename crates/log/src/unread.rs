//! Looking at the checksums that an opening after a kill left out.

use hanbeon_records::Offset;

use crate::{
    Action, Corruption, Dir, LogError,
    head::Head,
    partition::Inner,
    segment::Segment,
    segments::Based,
    walk::{Fault, Scanner},
};

/// Damage that is kept until somebody asks for it; of more, the first is what matters.
const DAMAGE_MAX: usize = 64;

/// Batches that were followed by their headers only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unread {
    /// Begins at the first,
    from: Offset,
    /// and ends behind the last.
    to: Offset,
}

/// What [`crate::Partition::check_unread`] left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "more may be left to check"]
pub enum Checked {
    /// Nothing.
    All,
    /// Some batches were not reached.
    Part,
}

/// What is known of the batches that an opening did not read.
#[derive(Debug)]
pub(crate) struct Reading {
    left: Option<Unread>,
    damage: Vec<LogError>,
}

impl Reading {
    pub(crate) const fn of(left: Option<Unread>) -> Self {
        Self { left, damage: Vec::new() }
    }
}

impl Unread {
    /// The same with one more batch, which lies behind all others.
    pub(crate) fn and(known: Option<Self>, head: &Head) -> Self {
        let from = known.map_or(head.base_offset, |known| known.from);
        Self { from, to: head.next_offset() }
    }
}

impl<D: Dir> Inner<D> {
    /// See [`crate::Partition::check_unread`].
    pub(crate) fn check_unread(&self, bytes_max: u64) -> Checked {
        // Mostly there is nothing, and whoever moves the recovery point holds the lock for as long as the disk takes.
        if self.reading.lock().left.is_none() {
            return Checked::All;
        }
        let upkeep = self.upkeep.lock();
        let checked = self.check_left(bytes_max);
        drop(upkeep);
        checked
    }

    /// The same for who holds the upkeep lock, so that no segment is cut meanwhile.
    pub(crate) fn check_left(&self, bytes_max: u64) -> Checked {
        let Some(mut left) = self.reading.lock().left else { return Checked::All };
        let mut damage = Vec::new();
        let mut budget = bytes_max;
        for segment in self.visible.segments.load().iter() {
            if segment.end().offset <= left.from || segment.base_offset() >= left.to {
                continue;
            }
            if budget == 0 {
                break;
            }
            check_segment(segment, &mut left, &mut budget, &mut damage);
        }
        // Segments that were deleted meanwhile, or cut, are read by nobody.
        let end = left.to.min(self.visible.offsets.log_end());
        let start = self.visible.segments.load().first().map_or(end, |first| first.base_offset());
        let done = budget > 0 || left.from >= end || end <= start;
        let mut reading = self.reading.lock();
        reading.left = (!done).then_some(left);
        let room = DAMAGE_MAX.saturating_sub(reading.damage.len());
        reading.damage.extend(damage.into_iter().take(room));
        drop(reading);
        if done { Checked::All } else { Checked::Part }
    }

    /// See [`crate::Partition::take_damage`].
    pub(crate) fn take_damage(&self) -> Vec<LogError> {
        std::mem::take(&mut self.reading.lock().damage)
    }
}

/// Reads one segment's share of what is left, as far as the budget goes.
///
/// What cannot be followed, headers that lead nowhere and sectors that cannot be read, ends the segment's share: it is reported once.
fn check_segment<F: crate::LogFile>(
    segment: &Segment<F>,
    left: &mut Unread,
    budget: &mut u64,
    damage: &mut Vec<LogError>,
) {
    let end = segment.end();
    let at = match segment.seek(left.from, end.bytes) {
        Ok(Some((at, _))) => at,
        Ok(None) => return,
        Err(error) => {
            damage.push(error);
            left.from = end.offset;
            return;
        }
    };
    let mut scanner = Scanner::new(segment.file(), at, end.bytes);
    let corrupt = |at, damage| Corruption { file: segment.name().to_owned(), at, damage };
    while *budget > 0 {
        match scanner.next() {
            Ok(Some((_, head, _))) if head.base_offset >= left.to => return,
            Ok(Some((at, head, batch))) => {
                if let Err(error) = batch.verify() {
                    damage.push(corrupt(at, error.into()).into());
                }
                left.from = head.next_offset();
                *budget = budget.saturating_sub(head.len);
            }
            Ok(None) => return,
            Err(fault) => {
                damage.push(match fault {
                    Fault::Damage { at, damage } => corrupt(at, damage).into(),
                    Fault::Io(error) => LogError::io(Action::Read, segment.name(), error),
                });
                left.from = end.offset;
                return;
            }
        }
    }
}
