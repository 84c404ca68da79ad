//! Appending a group of batches with one write.
//!
//! Each batch is judged before anything changes, so a refused one leaves everything as it was. A second batch of a producer that is in
//! the group already joins it only where it simply goes on with the first; in every other case the group is written before, so that it
//! is judged against what is recorded. Nothing is ever taken back, and a batch is answered as if it had come alone.

use std::io::IoSlice;

use hanbeon_idempotence::{
    Admission, Claim, CompletedTxn, MarkerAdmission, MarkerClaim, MarkerTicket, Outcome, Ticket,
};
use hanbeon_records::{MARKER_LEN, Marker, Millis, Offset, ProducerId, write_marker};

use crate::{
    AbortedTxn, AppendError, Appended, Dir, GROUP_BYTES_MAX, GROUP_ITEMS_MAX, LogError, Placed,
    Slot, Validated,
    active::Entry,
    partition_log::PartitionLog,
    segment::{End, Indexes},
    walk::length,
};

/// What comes of an item.
pub(crate) type Done = Result<Appended, AppendError>;

/// One batch in a group.
pub(crate) struct Item {
    pub(crate) what: What,
    pub(crate) now: Millis,
    plan: Option<Plan>,
}

pub(crate) enum What {
    /// A batch of a client or of a coordinator.
    Data { batch: Validated, claim: Option<Claim> },
    /// The end of a transaction; the bytes are made when its place is known.
    Marker { claim: MarkerClaim, bytes: Vec<u8> },
}

/// Where an admitted batch goes.
struct Plan {
    base_offset: Offset,
    entry: Entry,
    right: Right,
}

impl Plan {
    /// Where the next batch goes.
    const fn end(&self) -> End {
        End {
            offset: self.entry.last_offset.saturating_add(1),
            bytes: self.entry.position.saturating_add(self.entry.len),
        }
    }
}

/// How a batch is judged beside those of its group.
enum Beside {
    /// As if it were alone.
    Alone,
    /// It goes on with one of them, and has its right already.
    GoesOn(Ticket),
    /// By what is recorded, so the group must be written first.
    Behind,
}

/// What the rules say of a batch that breaks none.
enum Judged {
    May(Right),
    /// It is in the log already.
    Written(Appended),
}

enum Right {
    /// Of nobody in particular.
    Plain,
    Data(Ticket),
    Marker(MarkerTicket),
}

impl Item {
    pub(crate) const fn new(what: What, now: Millis) -> Self {
        Self { what, now, plan: None }
    }

    pub(crate) fn len(&self) -> usize {
        match &self.what {
            What::Data { batch, .. } => batch.len(),
            What::Marker { .. } => MARKER_LEN,
        }
    }

    fn producer(&self) -> Option<ProducerId> {
        match &self.what {
            What::Data { claim, .. } => claim.map(|claim| claim.producer_id),
            What::Marker { claim, .. } => Some(claim.producer_id),
        }
    }

    /// How the batch would lie at `end`.
    fn entry_at(&self, end: End) -> Entry {
        let (delta, max_timestamp) = match &self.what {
            What::Data { batch, .. } => (batch.last_offset_delta(), batch.max_timestamp()),
            What::Marker { claim, .. } => (0, claim.timestamp),
        };
        Entry {
            position: end.bytes,
            len: length(self.len()),
            last_offset: end.offset.saturating_add(i64::from(delta)),
            max_timestamp,
        }
    }

    fn slices(&self) -> (&[u8], &[u8]) {
        match &self.what {
            What::Data { batch, .. } => (batch.header(), batch.payload()),
            What::Marker { bytes, .. } => (bytes, &[]),
        }
    }

    fn log_append_time(&self) -> Option<Millis> {
        match &self.what {
            What::Data { batch, .. } => batch.log_append_time(),
            What::Marker { .. } => None,
        }
    }
}

/// Batches that wait to be written.
type Waiting = [Slot<Item, Done>];

/// The batches of `slots` that wait since `first`, and the one at `place`, which is looked at.
fn split(
    slots: &mut Waiting,
    first: usize,
    place: usize,
) -> Option<(&mut Waiting, &mut Slot<Item, Done>)> {
    let (before, rest) = slots.split_at_mut_checked(place)?;
    Some((before.get_mut(first..)?, rest.first_mut()?))
}

/// Where the next batch of a group goes.
fn end_of(slots: &[Slot<Item, Done>], written: End) -> End {
    let last = slots.iter().rev().find_map(|slot| slot.item().plan.as_ref());
    last.map_or(written, Plan::end)
}

impl<D: Dir> PartitionLog<D> {
    /// Appends what can be appended of `slots` and sets each one's result.
    pub(crate) fn append(&mut self, slots: &mut [Slot<Item, Done>]) {
        let mut first = 0;
        for place in 0..slots.len() {
            let Some((group, slot)) = split(slots, first, place) else { continue };
            let right = match self.beside(group, slot.item()) {
                Beside::Alone => None,
                Beside::GoesOn(ticket) => Some(Right::Data(ticket)),
                Beside::Behind => {
                    self.write(group);
                    first = place;
                    None
                }
            };
            let Some((group, slot)) = split(slots, first, place) else { continue };
            let end = end_of(group, self.active.end);
            match self.admit(slot.item_mut(), end, right) {
                Ok(None) => {}
                Ok(Some(appended)) => slot.finish(Ok(appended)),
                Err(error) => slot.finish(Err(error)),
            }
        }
        if let Some(group) = slots.get_mut(first..) {
            self.write(group);
        }
    }

    /// How `item` is judged beside `group`.
    fn beside(&self, group: &[Slot<Item, Done>], item: &Item) -> Beside {
        let mut planned =
            group.iter().rev().map(Slot::item).filter_map(|item| Some((item, item.plan.as_ref()?)));
        let Some((_, last)) = planned.clone().next() else { return Beside::Alone };
        let end = last.end();
        // What follows a segment's first batch is judged by that one's time, and by the log not being new any more.
        let is_first = self.active.end.bytes == 0;
        let is_full = end.bytes.saturating_sub(self.active.end.bytes) >= length(GROUP_BYTES_MAX);
        if is_first
            || is_full
            || self.active.must_roll(end, item.entry_at(end), &self.config, item.now)
        {
            return Beside::Behind;
        }
        let Some(producer) = item.producer() else { return Beside::Alone };
        let Some((_, earlier)) = planned.find(|(item, _)| item.producer() == Some(producer)) else {
            return Beside::Alone;
        };
        match (&earlier.right, &item.what) {
            (Right::Data(earlier), What::Data { claim: Some(claim), .. }) => {
                self.states.admit_behind(earlier, claim).map_or(Beside::Behind, Beside::GoesOn)
            }
            _ => Beside::Behind,
        }
    }

    /// Judges `item` unless it has its right, and finds its place when it may be written. `Some` when it is in the log already.
    fn admit(
        &mut self,
        item: &mut Item,
        end: End,
        right: Option<Right>,
    ) -> Result<Option<Appended>, AppendError> {
        self.check()?;
        let (found, limit) = (item.len(), self.config.segment_bytes());
        if length(found) > limit {
            return Err(AppendError::LargerThanSegment { limit, found });
        }
        let right =
            match right.map_or_else(|| self.judge(item, end), |right| Ok(Judged::May(right)))? {
                Judged::May(right) => right,
                Judged::Written(appended) => return Ok(Some(appended)),
            };
        // From here on the batch will be written, unless the storage fails.
        if self.active.must_roll(end, item.entry_at(end), &self.config, item.now) {
            self.roll(item.now)?;
        }
        let end = if end.offset == self.active.end.offset { self.active.end } else { end };
        self.enter_epoch(self.leader_epoch, end.offset)?;
        let epoch = self.leader_epoch;
        match &mut item.what {
            What::Data { batch, .. } => batch.stamp(end.offset, epoch),
            What::Marker { claim, bytes } => {
                bytes.clear();
                write_marker(
                    bytes,
                    &Marker {
                        base_offset: end.offset,
                        leader_epoch: epoch,
                        producer_id: claim.producer_id,
                        producer_epoch: claim.producer_epoch,
                        outcome: claim.outcome,
                        coordinator_epoch: claim.coordinator_epoch,
                        timestamp: claim.timestamp,
                    },
                );
            }
        }
        item.plan = Some(Plan { base_offset: end.offset, entry: item.entry_at(end), right });
        Ok(None)
    }

    fn judge(&self, item: &Item, end: End) -> Result<Judged, AppendError> {
        Ok(match &item.what {
            What::Data { claim: None, .. } => Judged::May(Right::Plain),
            What::Data { claim: Some(claim), .. } => match self.states.admit(claim)? {
                Admission::Append(ticket) => Judged::May(Right::Data(ticket)),
                Admission::Duplicate(copy) => Judged::Written(self.duplicate(
                    copy.base_offset,
                    copy.last_offset,
                    item.log_append_time().map(|_| copy.timestamp),
                )),
            },
            What::Marker { claim, .. } => match self.states.admit_marker(claim)? {
                MarkerAdmission::Append(ticket) => Judged::May(Right::Marker(ticket)),
                MarkerAdmission::Repeated => {
                    let last = Offset::new(end.offset.get().saturating_sub(1));
                    Judged::Written(self.duplicate(last, last, None))
                }
            },
        })
    }

    fn duplicate(&self, base: Offset, last: Offset, log_append_time: Option<Millis>) -> Appended {
        Appended {
            base_offset: base,
            last_offset: last,
            log_append_time,
            log_start_offset: self.visible.offsets.log_start(),
            placed: Placed::Duplicate,
            end: last.saturating_add(1),
        }
    }

    /// Writes the planned batches of `group`, records them and lets readers see them.
    fn write(&mut self, group: &mut [Slot<Item, Done>]) {
        let bytes = group
            .iter()
            .filter_map(|slot| slot.item().plan.as_ref())
            .fold(0_u64, |sum, plan| sum.saturating_add(plan.entry.len));
        if bytes == 0 {
            return;
        }
        match self.write_bytes(group, bytes) {
            Ok(()) => self.record(group, bytes),
            Err(error) => {
                for slot in group {
                    if slot.item_mut().plan.take().is_some() {
                        slot.finish(Err(error.clone().into()));
                    }
                }
            }
        }
    }

    fn write_bytes(&mut self, group: &[Slot<Item, Done>], bytes: u64) -> Result<(), LogError> {
        self.active.reserve(bytes, &self.config)?;
        let written = match group {
            [alone] => {
                let (header, payload) = alone.item().slices();
                self.active.write(&[IoSlice::new(header), IoSlice::new(payload)])
            }
            many => {
                let mut slices = Vec::with_capacity(GROUP_ITEMS_MAX.saturating_mul(2));
                for item in many.iter().map(Slot::item).filter(|item| item.plan.is_some()) {
                    let (header, payload) = item.slices();
                    slices.extend([IoSlice::new(header), IoSlice::new(payload)]);
                }
                self.active.write(&slices)
            }
        };
        self.poisoned(written)
    }

    fn record(&mut self, group: &mut [Slot<Item, Done>], bytes: u64) {
        let log_start_offset = self.visible.offsets.log_start();
        for slot in group {
            let item = slot.item_mut();
            let (now, log_append_time) = (item.now, item.log_append_time());
            let Some(Plan { base_offset, entry, right }) = item.plan.take() else { continue };
            self.active.note(entry, &self.config);
            match right {
                Right::Plain => self.states.advance_end(self.active.end.offset),
                Right::Data(ticket) => self.states.record(ticket, base_offset, now),
                Right::Marker(ticket) => {
                    let completed = self.states.record_marker(ticket, base_offset, now);
                    self.note_completed(completed);
                }
            }
            slot.finish(Ok(Appended {
                base_offset,
                last_offset: entry.last_offset,
                log_append_time,
                log_start_offset,
                placed: Placed::Written,
                end: self.active.end.offset,
            }));
        }
        self.publish(bytes);
    }

    /// An aborted transaction enters the index before anybody can see its marker.
    pub(crate) fn note_completed(&self, completed: Option<CompletedTxn>) {
        let Some(CompletedTxn { outcome: Outcome::Abort, .. }) = completed else { return };
        let (Some(txn), Indexes::Active { txn: index, .. }) =
            (completed.map(aborted), &mut *self.active.segment.indexes_mut())
        else {
            return;
        };
        let pushed = index.push(txn);
        debug_assert!(pushed.is_ok(), "markers rise within a segment");
    }

    /// Lets readers see what was written.
    pub(crate) fn publish(&self, bytes: u64) {
        self.publish_stability();
        self.active.segment.publish(self.active.end);
        self.visible.wrote(bytes);
        self.visible.offsets.publish(self.active.end.offset);
    }
}

/// The form in which the index keeps an aborted transaction.
pub(crate) fn aborted(completed: CompletedTxn) -> AbortedTxn {
    AbortedTxn {
        producer_id: completed.producer_id,
        first_offset: completed.first_offset,
        last_offset: completed.last_offset,
        last_stable_offset: completed.last_stable_offset,
    }
}
