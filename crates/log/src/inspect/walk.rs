//! One segment, batch by batch, with its indexes.

use std::{
    collections::BTreeSet,
    iter::{Enumerate, Peekable},
    vec,
};

use hanbeon_idempotence::{CompletedTxn, Outcome, ProducerStates};
use hanbeon_records::{LeaderEpoch, Millis, Offset};

use super::{
    Batches, Defect, Finding, InspectError, SegmentContents, StoredBatch, Visitor,
    epochs::Epochs,
    indexes::{read_offset_index, read_time_index, read_txn_index},
    partition::read_index,
};
use crate::{
    AbortedTxn, Action, Damage, Dir, LogError, OffsetPosition, Open, SegmentFile, SegmentFileName,
    SegmentSpan, append::aborted, checkpoint::path, walk::length,
};

/// What is carried from segment to segment.
#[derive(Debug)]
pub(super) struct Course {
    pub(super) states: ProducerStates,
    pub(super) epochs: Epochs,
    /// Where the next batch may begin.
    pub(super) expected: Offset,
    /// Epoch of the batch before.
    pub(super) last_epoch: LeaderEpoch,
    /// Aborted transactions so far.
    pub(super) aborted: Vec<AbortedTxn>,
}

type Entries = Peekable<Enumerate<vec::IntoIter<OffsetPosition>>>;

/// One segment on its way.
pub(super) struct SegmentWalk<'a, D: Dir> {
    dir: &'a D,
    base: Offset,
    file: D::File,
    findings: &'a mut Vec<Finding>,
    /// Entries of the offset index whose batches have not come yet, by their places.
    entries: Entries,
    /// Transactions that markers of this segment aborted.
    aborted: Vec<AbortedTxn>,
    batches: u64,
}

impl Course {
    pub(super) const fn new(states: ProducerStates, epochs: Epochs, first: Offset) -> Self {
        let last_epoch = LeaderEpoch::UNKNOWN;
        Self { states, epochs, expected: first, last_epoch, aborted: Vec::new() }
    }
}

impl<'a, D: Dir> SegmentWalk<'a, D> {
    pub(super) fn new(
        dir: &'a D,
        base: Offset,
        findings: &'a mut Vec<Finding>,
    ) -> Result<Self, LogError> {
        let name = SegmentFileName::live(base, SegmentFile::Log).file_name();
        let file = dir
            .open(&name, Open::Read)
            .map_err(|error| LogError::io(Action::Open, path(dir, &name), error))?;
        let entries = Vec::new().into_iter().enumerate().peekable();
        Ok(Self { dir, base, file, findings, entries, aborted: Vec::new(), batches: 0 })
    }

    /// Goes through the segment; `next` is the base of the one behind it.
    pub(super) fn run<V: Visitor>(
        &mut self,
        course: &mut Course,
        next: Option<Offset>,
        visitor: &mut V,
    ) -> Result<SegmentContents, InspectError> {
        if self.base < course.expected {
            let damage = Damage::OffsetBack { expected: course.expected, found: self.base };
            self.found(SegmentFile::Log, 0, damage);
        }
        course.expected = course.expected.max(self.base);
        // Read before the batches, which show where its entries lead.
        let index = read_index(self.dir, self.base, SegmentFile::OffsetIndex, self.findings)?;
        if let Some(bytes) = &index {
            let any = super::any_span(self.base);
            self.entries = read_offset_index(bytes, any).entries.into_iter().enumerate().peekable();
        }
        let log_bytes = self.batches(course, visitor)?;
        let end_offset = course.expected;
        let span = SegmentSpan { base_offset: self.base, end_offset, log_bytes };
        let offset_index = index.map(|bytes| read_offset_index(&bytes, span));
        let times = read_index(self.dir, self.base, SegmentFile::TimeIndex, self.findings)?;
        let time_index = times.map(|bytes| read_time_index(&bytes, span));
        let txns = read_index(self.dir, self.base, SegmentFile::TxnIndex, self.findings)?;
        let txn_index = txns.map(|bytes| read_txn_index(&bytes, span));
        let contents = SegmentContents {
            base_offset: self.base,
            end_offset,
            log_bytes,
            batches: self.batches,
            offset_index,
            time_index,
            txn_index,
        };
        self.judge_indexes(&contents, next);
        self.judge_aborted(&contents, &mut course.aborted);
        Ok(contents)
    }

    /// All batches; returns the bytes of the file.
    fn batches<V: Visitor>(
        &mut self,
        course: &mut Course,
        visitor: &mut V,
    ) -> Result<u64, InspectError> {
        let name = SegmentFileName::live(self.base, SegmentFile::Log);
        let display = path(self.dir, &name.file_name());
        let failed = |error| LogError::io(Action::Read, &display, error);
        let Self { file, findings, entries, aborted, base, batches: count, .. } = self;
        let mut batches = Batches::new(&*file).map_err(failed)?;
        loop {
            let at = batches.position();
            let stored = match batches.next().map_err(failed)? {
                Ok(Some(stored)) => stored,
                Ok(None) => break,
                Err(defect) => {
                    findings.push(Finding::new(name, at, defect));
                    break;
                }
            };
            *count = count.saturating_add(1);
            visitor.batch(&stored).map_err(InspectError::Visitor)?;
            let mut found = |defect| findings.push(Finding::new(name, at, defect));
            course.judge(*base, &stored, &mut found);
            aborted.extend(course.follow(&stored, &mut found));
            let index = SegmentFileName::live(*base, SegmentFile::OffsetIndex);
            lost_entries(entries, &stored, |entry, place| {
                findings.push(Finding::new(index, place, entry));
            });
            visitor.advanced(length(stored.batch.bytes().len()));
        }
        Ok(batches.file_len())
    }

    fn judge_indexes(&mut self, contents: &SegmentContents, next: Option<Offset>) {
        let name = |kind| SegmentFileName::live(self.base, kind);
        let doubts = [
            contents
                .offset_index
                .as_ref()
                .map(|index| index.finding(name(SegmentFile::OffsetIndex))),
            contents.time_index.as_ref().map(|index| index.finding(name(SegmentFile::TimeIndex))),
        ];
        let kinds = [SegmentFile::OffsetIndex, SegmentFile::TimeIndex];
        for (kind, doubt) in kinds.into_iter().zip(doubts) {
            match doubt {
                Some(finding) => self.findings.extend(finding),
                // The last segment's may not have been written yet.
                None if next.is_some() && contents.batches > 0 => {
                    self.found(kind, 0, Defect::Missing);
                }
                None => {}
            }
        }
    }

    /// Brings the transaction index and the markers together.
    fn judge_aborted(&mut self, contents: &SegmentContents, into: &mut Vec<AbortedTxn>) {
        let name = SegmentFileName::live(self.base, SegmentFile::TxnIndex);
        let listed = contents.txn_index.as_ref();
        let doubt = listed.and_then(|index| index.finding(name));
        let seen = std::mem::take(&mut self.aborted);
        if let Some(doubt) = doubt {
            self.findings.push(doubt);
            into.extend(seen);
            return;
        }
        let listed_txns = listed.map(|index| index.entries.clone()).unwrap_or_default();
        let bytes = listed.map_or(0, |index| index.bytes);
        into.extend(together(listed_txns, seen, |txn| {
            let AbortedTxn { producer_id, first_offset, last_offset, .. } = *txn;
            let defect = Defect::AbortNotIndexed { producer_id, first_offset, last_offset };
            self.findings.push(Finding::new(name, bytes, defect));
        }));
    }

    fn found(&mut self, kind: SegmentFile, at: u64, defect: impl Into<Defect>) {
        self.findings.push(Finding::new(SegmentFileName::live(self.base, kind), at, defect));
    }
}

impl Course {
    /// Whether a batch may follow the one before it.
    fn judge(&self, base: Offset, stored: &StoredBatch<'_>, found: &mut impl FnMut(Defect)) {
        let batch = &stored.batch;
        if let Err(error) = stored.checksum {
            found(error.into());
        }
        let (expected, offset) = (self.expected, batch.base_offset());
        if offset < expected {
            found(Damage::OffsetBack { expected, found: offset }.into());
        }
        if batch.last_offset().since(base) > i64::from(i32::MAX) {
            found(Damage::OffsetSpan { base, found: batch.last_offset() }.into());
        }
        let (expected, epoch) = (self.last_epoch, batch.leader_epoch());
        let back = epoch < expected && epoch > LeaderEpoch::UNKNOWN;
        if back && !self.epochs.allow(epoch, offset) {
            found(Damage::EpochBack { expected, found: epoch }.into());
        }
    }

    /// Takes up a batch; returns the transaction that it aborts.
    fn follow(
        &mut self,
        stored: &StoredBatch<'_>,
        found: &mut impl FnMut(Defect),
    ) -> Option<AbortedTxn> {
        let batch = &stored.batch;
        self.expected = self.expected.max(batch.next_offset());
        if stored.checksum.is_err() {
            return None;
        }
        let (epoch, offset) = (batch.leader_epoch(), batch.base_offset());
        let allowed = epoch > LeaderEpoch::UNKNOWN && self.epochs.allow(epoch, offset);
        self.last_epoch = if allowed { epoch } else { self.last_epoch.max(epoch) };
        self.epochs.follow(epoch, offset);
        match self.states.replay(batch, Millis::NONE) {
            Ok(completed) => completed.and_then(is_aborted),
            Err(error) => {
                found(error.into());
                None
            }
        }
    }
}

/// Aborted transactions that an index lists and those that markers tell of, by their markers; `unlisted` gets the ones that no entry names.
fn together(
    listed: Vec<AbortedTxn>,
    seen: Vec<AbortedTxn>,
    mut unlisted: impl FnMut(&AbortedTxn),
) -> Vec<AbortedTxn> {
    let key = |txn: &AbortedTxn| (txn.producer_id, txn.last_offset);
    let mut known: BTreeSet<_> = listed.iter().map(key).collect();
    let mut txns = listed;
    for txn in seen {
        if known.insert(key(&txn)) {
            unlisted(&txn);
            txns.push(txn);
        }
    }
    txns.sort_by_key(|txn| txn.last_offset);
    txns
}

fn is_aborted(completed: CompletedTxn) -> Option<AbortedTxn> {
    (completed.outcome == Outcome::Abort).then(|| aborted(completed))
}

/// Takes the entries off that lie up to a batch, and names those that do not lead to it.
fn lost_entries(
    entries: &mut Entries,
    stored: &StoredBatch<'_>,
    mut lost: impl FnMut(Defect, u64),
) {
    let end = stored.position.saturating_add(length(stored.batch.bytes().len()));
    while let Some((place, entry)) = entries.next_if(|(_, entry)| u64::from(entry.position) < end) {
        let position = u64::from(entry.position);
        // Kafka up to 4.0 names the last offset of everything that was appended at once.
        if position != stored.position || entry.offset < stored.batch.last_offset() {
            lost(
                Defect::NotABatch { offset: entry.offset, position },
                length(place).saturating_mul(8),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use hanbeon_records::ProducerId;

    use super::*;

    fn txn(producer_id: i64, last_offset: i64) -> AbortedTxn {
        AbortedTxn {
            producer_id: ProducerId::new(producer_id),
            first_offset: Offset::ZERO,
            last_offset: Offset::new(last_offset),
            last_stable_offset: Offset::ZERO,
        }
    }

    /// Work that grows with the square of the aborts takes minutes here.
    #[test]
    fn aborts_that_an_index_does_not_list_are_told_once_however_many_there_are() {
        const ABORTS: i64 = 200_000;
        let listed = (0..ABORTS).step_by(2).map(|n| txn(n % 7, n)).collect();
        let seen = (0..ABORTS).map(|n| txn(n % 7, n)).chain([txn(1, 1)]).collect();
        let mut unlisted = 0;
        let found = together(listed, seen, |txn| {
            assert_eq!(txn.last_offset.get() % 2, 1);
            unlisted += 1;
        });
        assert_eq!((i64::try_from(found.len()).unwrap(), unlisted), (ABORTS, ABORTS / 2));
        assert!(found.is_sorted_by_key(|txn| txn.last_offset));
    }
}
