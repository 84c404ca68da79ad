//! Which records a reader of committed data is given.

use std::collections::BTreeMap;

use hanbeon_records::{Offset, ProducerId};

use crate::AbortedTxn;

/// The aborted transactions of a partition by producer.
#[derive(Debug, Default)]
pub(super) struct Aborted(BTreeMap<ProducerId, Vec<(Offset, Offset)>>);

impl Aborted {
    pub(super) fn new(txns: &[AbortedTxn]) -> Self {
        let mut by_producer: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for txn in txns {
            let ranges = by_producer.entry(txn.producer_id).or_default();
            ranges.push((txn.last_offset, txn.first_offset));
        }
        for ranges in by_producer.values_mut() {
            ranges.sort_unstable();
        }
        Self(by_producer)
    }

    /// Whether a transactional record of this producer at this offset was aborted.
    pub(super) fn holds(&self, producer_id: ProducerId, offset: Offset) -> bool {
        self.0.get(&producer_id).is_some_and(|ranges| {
            // The transactions of one producer follow each other, so the first that ends behind the record decides.
            let place = ranges.partition_point(|(last, _)| *last < offset);
            ranges.get(place).is_some_and(|(_, first)| *first <= offset)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_aborted_from_the_first_offset_to_the_marker() {
        let txn = |id, first, last| AbortedTxn {
            producer_id: ProducerId::new(id),
            first_offset: Offset::new(first),
            last_offset: Offset::new(last),
            last_stable_offset: Offset::ZERO,
        };
        let aborted = Aborted::new(&[txn(1, 20, 25), txn(2, 4, 30), txn(1, 3, 9)]);
        let of = |id| {
            let holds = |offset: &i64| aborted.holds(ProducerId::new(id), Offset::new(*offset));
            (0..40).filter(holds).collect::<Vec<_>>()
        };
        assert_eq!(of(1), (3..=9).chain(20..=25).collect::<Vec<_>>());
        assert_eq!(of(2), (4..=30).collect::<Vec<_>>());
        assert!(of(3).is_empty());
    }
}
