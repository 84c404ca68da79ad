//! Reading the partition: the same `apply` that follows each write.

use hanbeon_records::{Offset, Outcome, ProducerId};

use crate::{
    Coordinator, Name, Record, RecordError,
    classic::Classic,
    consumer::record::ConsumerRecord,
    coordinator::{Entry, Group},
    live::Live,
    offsets::Stored,
};

/// One thing found in the partition while it is read, in the order of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replayed<'a> {
    /// A record of a data batch.
    Record {
        /// Its key as it stands.
        key: Option<&'a [u8]>,
        /// Its value as it stands.
        value: Option<&'a [u8]>,
        /// Its offset.
        position: Offset,
        /// The producer, if the batch is transactional.
        producer_id: Option<ProducerId>,
    },
    /// A transaction's marker.
    Marker {
        /// Whose transaction.
        producer_id: ProducerId,
        /// How it ended.
        outcome: Outcome,
        /// Its offset.
        position: Offset,
    },
}

impl<T> Coordinator<T> {
    /// Takes in what the log holds, one record or marker after the other.
    ///
    /// # Errors
    /// When a record of a known type cannot be read; nothing has changed. Records of unknown types are
    /// [counted](Self::skipped) and left alone, so that the log of a later release can be read.
    pub fn replay(&mut self, found: &Replayed<'_>) -> Result<(), RecordError> {
        match *found {
            Replayed::Record { key, value, position, producer_id } => {
                let record = Record::decode(key, value)?;
                self.apply(&record, position, producer_id);
            }
            Replayed::Marker { producer_id, outcome, position } => {
                self.end_txn(producer_id, outcome, position);
            }
        }
        Ok(())
    }

    /// How many records of unknown types were passed over.
    #[must_use]
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The one way in which what is logged changes state.
    pub(crate) fn apply(
        &mut self,
        record: &Record,
        position: Offset,
        producer_id: Option<ProducerId>,
    ) {
        match record {
            Record::Offset { group, topic, partition, value: Some(value), .. } => {
                let entry = self
                    .groups
                    .entry(group.clone())
                    .or_insert_with(|| Entry::new(Group::Classic(Classic::simple(None))));
                let stored = Stored { position, value: value.clone() };
                match producer_id {
                    None => entry.offsets.commit(topic.clone(), *partition, stored),
                    Some(producer_id) => {
                        entry.offsets.pend(producer_id, topic.clone(), *partition, stored);
                        self.open.entry(producer_id).or_default().insert(group.clone());
                    }
                }
            }
            Record::Offset { group, topic, partition, value: None, .. } => {
                if let Some(entry) = self.groups.get_mut(group) {
                    entry.offsets.forget(topic, *partition);
                }
            }
            Record::Group { group, value: Some(value) } => {
                let classic = Group::Classic(Classic::loaded(value));
                match self.groups.get_mut(group) {
                    Some(entry) => entry.group = classic,
                    None => {
                        self.groups.insert(group.clone(), Entry::new(classic));
                    }
                }
            }
            Record::Group { group, value: None } => {
                let is_classic = self
                    .groups
                    .get(group)
                    .is_some_and(|entry| matches!(entry.group, Group::Classic(_)));
                if is_classic {
                    self.end_group(group);
                }
            }
            Record::Consumer { group, key, value, .. } => {
                if let Ok(Some(record)) = ConsumerRecord::decode(key, value.as_deref()) {
                    self.apply_consumer(group, &record, value.is_some());
                }
            }
            Record::Unknown { .. } => self.skipped = self.skipped.saturating_add(1),
        }
    }

    /// A record of a KIP-848 group; only one with a value makes a group.
    fn apply_consumer(&mut self, group: &Name, record: &ConsumerRecord, makes: bool) {
        if makes {
            let entry = self
                .groups
                .entry(group.clone())
                .or_insert_with(|| Entry::new(Group::Consumer(Live::new(group))));
            if matches!(entry.group, Group::Classic(_)) {
                entry.group = Group::Consumer(Live::new(group));
            }
        }
        let Some(Entry { group: Group::Consumer(live), .. }) = self.groups.get_mut(group) else {
            return;
        };
        live.group.apply(record);
        if live.group.is_gone() {
            self.end_group(group);
        }
    }

    /// The group is no more; offsets that outlive it make it one without members.
    fn end_group(&mut self, group: &Name) {
        let Some(entry) = self.groups.get_mut(group) else { return };
        if entry.offsets.is_empty() {
            self.drop_group(group);
        } else {
            entry.group = Group::Classic(Classic::simple(None));
            self.reschedule(group);
        }
    }
}
