//! What the log says of offsets, read naively from its beginning.

use std::collections::BTreeMap;

use hanbeon_group::{Outcome, Record};

use crate::fixture::Logged;

/// Offsets of partitions 0 to 2 of topic `t` in the one group.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// With the place in the log.
    pub(crate) committed: BTreeMap<i32, (i64, i64)>,
    pub(crate) pending: Vec<Pending>,
    /// Every offset that was ever written.
    pub(crate) ever: Vec<i64>,
}

#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) producer_id: i64,
    pub(crate) partition: i32,
    at: i64,
    offset: i64,
}

pub(crate) fn told(log: &[(i64, Logged)]) -> Told {
    let mut told = Told::default();
    for (base, logged) in log {
        match logged {
            Logged::Batch { records, producer_id } => {
                for (at, (key, value)) in (*base..).zip(records) {
                    let record = Record::decode(Some(key), value.as_deref()).unwrap();
                    if let Record::Offset { partition, value, .. } = record {
                        told.take(at, partition, value.map(|v| v.offset.get()), *producer_id);
                    }
                }
            }
            Logged::Marker { producer_id, outcome } => told.end(*producer_id, *outcome),
        }
    }
    told
}

impl Told {
    fn take(&mut self, at: i64, partition: i32, offset: Option<i64>, producer_id: Option<i64>) {
        let Some(offset) = offset else {
            self.committed.remove(&partition);
            self.pending.retain(|pending| pending.partition != partition);
            return;
        };
        self.ever.push(offset);
        match producer_id {
            None => {
                self.committed.insert(partition, (at, offset));
            }
            Some(producer_id) => {
                self.pending.retain(|p| (p.producer_id, p.partition) != (producer_id, partition));
                self.pending.push(Pending { producer_id, partition, at, offset });
            }
        }
    }

    fn end(&mut self, producer_id: i64, outcome: Outcome) {
        let (ended, open): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|pending| pending.producer_id == producer_id);
        self.pending = open;
        for Pending { partition, at, offset, .. } in ended {
            let later = self.committed.get(&partition).is_some_and(|(stored, _)| *stored > at);
            if outcome == Outcome::Commit && !later {
                self.committed.insert(partition, (at, offset));
            }
        }
    }
}
