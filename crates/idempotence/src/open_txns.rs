//! Open transactions in the order of their first offsets, and how far readers of committed data may go.

use alloc::collections::VecDeque;

use hanbeon_records::{Offset, ProducerId};

/// A transaction that has data in the log and no marker yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ongoing {
    pub(crate) first: Offset,
    /// `None` once it ended; the place is given back when it reaches the front.
    pub(crate) owner: Option<ProducerId>,
}

/// A transaction whose marker is in the log but not below the high watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unreplicated {
    first: Offset,
    marker: Offset,
}

/// What holds the last stable offset back.
///
/// Transactions open at the end of the log and end in any order, so a queue with holes holds the ongoing ones. Of the
/// unreplicated ones only those matter that begin before all that ended later: markers are replicated in order, so
/// `unreplicated` rises in both fields and its front is the smallest first offset.
#[derive(Clone, Debug)]
pub(crate) struct OpenTxns {
    ongoing: VecDeque<Ongoing>,
    holes: usize,
    unreplicated: VecDeque<Unreplicated>,
}

impl OpenTxns {
    pub(crate) const fn new() -> Self {
        Self { ongoing: VecDeque::new(), holes: 0, unreplicated: VecDeque::new() }
    }

    pub(crate) fn open(&mut self, first: Offset, owner: ProducerId) {
        let slot = Ongoing { first, owner: Some(owner) };
        if self.ongoing.back().is_none_or(|last| last.first < first) {
            self.ongoing.push_back(slot);
            return;
        }
        // Only a damaged log opens a transaction below another; replay must follow it all the same.
        let at = self.ongoing.partition_point(|txn| txn.first <= first);
        self.ongoing.insert(at, slot);
    }

    /// Moves the transaction that began at `first` to those whose marker must still be replicated.
    pub(crate) fn complete(&mut self, first: Offset, owner: ProducerId, marker: Offset) {
        self.close(first, owner);
        while self.unreplicated.back().is_some_and(|earlier| earlier.first >= first) {
            self.unreplicated.pop_back();
        }
        self.unreplicated.push_back(Unreplicated { first, marker });
    }

    fn close(&mut self, first: Offset, owner: ProducerId) {
        let from = self.ongoing.partition_point(|txn| txn.first < first);
        let slot = self
            .ongoing
            .iter_mut()
            .skip(from)
            .take_while(|txn| txn.first == first)
            .find(|txn| txn.owner == Some(owner));
        debug_assert!(slot.is_some(), "I8: an open transaction has its entry");
        if let Some(slot) = slot {
            slot.owner = None;
            self.holes += 1;
        }
        while self.ongoing.front().is_some_and(|txn| txn.owner.is_none()) {
            self.ongoing.pop_front();
            self.holes -= 1;
        }
        // One transaction that stays open must not keep the places of all that came and went behind it.
        if self.holes > 16 && self.holes > self.ongoing.len() / 2 {
            self.ongoing.retain(|txn| txn.owner.is_some());
            self.holes = 0;
        }
    }

    pub(crate) fn replicated_below(&mut self, end: Offset) {
        while self.unreplicated.front().is_some_and(|txn| txn.marker < end) {
            self.unreplicated.pop_front();
        }
    }

    /// First offset of the earliest transaction without a marker.
    pub(crate) fn first_undecided(&self) -> Option<Offset> {
        self.ongoing.front().map(|txn| txn.first)
    }

    /// First offset that is undecided, or decided by a marker that may still be lost.
    pub(crate) fn first_unstable(&self) -> Option<Offset> {
        let replicating = self.unreplicated.front().map(|txn| txn.first);
        match (self.first_undecided(), replicating) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    pub(crate) fn has_unreplicated(&self) -> bool {
        !self.unreplicated.is_empty()
    }

    /// The ongoing ones by first offset.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Offset, ProducerId)> {
        self.ongoing.iter().filter_map(|txn| txn.owner.map(|owner| (txn.first, owner)))
    }
}
