//! Which batches a reader of committed data does not get: the way Kafka's consumer works through the list of aborted transactions.

use std::collections::BTreeSet;

use bytes::Bytes;
use hanbeon_log::AbortedTxn;
use hanbeon_records::{BatchRef, Offset, ProducerId, write_emptied};

/// Whether a reader of committed data is told which transactions are aborted, or does not get their data at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbortedData {
    /// It gets everything and a list, and sorts it out itself, as Kafka's clients do.
    Listed,
    /// Its place is held by empty batches: for readers that cannot.
    LeftOut,
}

/// Which producers' transactions are aborted at the place a reader is at (`CompletedFetch` of Kafka's consumer).
#[derive(Debug, Default)]
pub(crate) struct Aborted {
    /// Not begun yet, by first offset, the first one last.
    coming: Vec<AbortedTxn>,
    /// One that reaches over several reads is told in each.
    known: BTreeSet<(Offset, ProducerId)>,
    open: BTreeSet<ProducerId>,
}

impl Aborted {
    pub(crate) fn new(listed: Vec<AbortedTxn>) -> Self {
        let mut aborted = Self::default();
        aborted.expect(listed);
        aborted
    }

    /// Takes the list of a further read.
    pub(crate) fn expect(&mut self, listed: Vec<AbortedTxn>) {
        let new =
            listed.into_iter().filter(|txn| self.known.insert((txn.first_offset, txn.producer_id)));
        self.coming.extend(new);
        self.coming.sort_unstable_by_key(|txn| std::cmp::Reverse(txn.first_offset));
    }

    /// Whether nothing of this batch is shown: a marker, or data of an aborted transaction.
    pub(crate) fn hides(&mut self, batch: BatchRef<'_>) -> bool {
        while self.coming.last().is_some_and(|txn| txn.first_offset <= batch.last_offset()) {
            if let Some(txn) = self.coming.pop() {
                self.open.insert(txn.producer_id);
            }
        }
        let attributes = batch.attributes();
        if attributes.is_control() {
            // The end of a transaction, however it went: the producer's next one counts for itself.
            if attributes.is_transactional() {
                self.open.remove(&batch.producer_id());
            }
            return true;
        }
        attributes.is_transactional() && self.open.contains(&batch.producer_id())
    }
}

/// Batches with those of aborted transactions emptied: headers without records, so that a reader's position moves over them. A last
/// batch that is cut short stays as it is.
pub(crate) fn leave_out(records: &Bytes, listed: Vec<AbortedTxn>) -> Bytes {
    if listed.is_empty() {
        return records.clone();
    }
    let mut aborted = Aborted::new(listed);
    let mut kept = Vec::with_capacity(records.len());
    let mut rest: &[u8] = records;
    while let Ok((batch, behind)) = BatchRef::parse(rest) {
        let (whole, _) = rest.split_at(rest.len() - behind.len());
        rest = behind;
        if aborted.hides(batch) && !batch.attributes().is_control() {
            write_emptied(batch, &mut kept);
        } else {
            kept.extend_from_slice(whole);
        }
    }
    kept.extend_from_slice(rest);
    Bytes::from(kept)
}
