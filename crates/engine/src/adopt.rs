//! Taking over a data directory that Kafka wrote: what it does not say in a file of ours comes from its directories.
//!
//! Names and partition counts are the directories', topic ids those of `partition.metadata`, leader epochs go on above the ones
//! in the logs, and producer ids begin above every one that was ever used in them or given to a transactional id. Of the settings of topics those are taken
//! over, out of Kafka's metadata log, that say what is kept (retention and compaction), so that nothing goes that Kafka would have kept; for all others
//! the defaults count, with a warning. Where the log does not say, what Kafka's cleaner has been at is compacted here, and no more: taken for
//! `compact,delete` its records would be deleted one day, while `DeleteRecords` that is refused can be had by altering the topic.

use std::collections::{BTreeMap, BTreeSet};

use hanbeon_idempotence::{FirstWrite, Settings, Verification};
use hanbeon_log::{
    Action, Dir, EntryKind, FileName, LeaderEpochs, LogError, LogFile, SegmentFile,
    SegmentFileName, checkpoint, partition_metadata, snapshot_file,
};
use hanbeon_meta::{
    ConfigScope, Configs, Image as Rows, MetadataStore, PartitionRow, ProducerIdsRow, Row, RowKey,
    Topic, TopicNameRow, TopicRow, Txn, changes,
};
use hanbeon_records::{
    BatchRef, HEADER_LEN, LeaderEpoch, Millis, Offset, PartitionEpoch, ProducerId, TopicId,
    TopicName, TopicPartition,
};
use hanbeon_txn::{TxnKey, TxnValue, decode_key};

use crate::{
    Env, OpenError,
    config::registry,
    coordinators::{CONSUMER_OFFSETS, TRANSACTION_STATE},
    data_dir::{DataDir, open_for_reading},
    engine::{committed, metadata},
    kafka_metadata::{TopicSettings, topic_settings},
    meta_properties::random_id,
    producer_ids::BLOCK_LEN,
    state_log::with_records,
};

/// Blocks a Kafka broker may hold beyond the ids that show in its logs: the one in use, and the one fetched ahead.
const BLOCKS_AHEAD: i64 = 2;

/// The topic whose values name producer ids.
const TRANSACTIONS: &str = "__transaction_state";

const CLEANUP_POLICY: &str = "cleanup.policy";
const RETENTION_MS: &str = "retention.ms";
const RETENTION_BYTES: &str = "retention.bytes";

/// What the records of a partition are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Records {
    /// Of the transaction coordinator.
    Transactions,
    Any,
}

/// What a partition's directory says.
struct Found {
    topic_id: Option<TopicId>,
    latest_epoch: Option<LeaderEpoch>,
    largest_id: Option<ProducerId>,
}

/// The partitions of a topic that are there, by number.
type Partitions = BTreeMap<i32, Found>;

/// A directory that Kafka wrote, and the rows that are to say so.
pub(crate) struct Takeover<'a, E: Env> {
    pub(crate) store: &'a dyn MetadataStore,
    pub(crate) rows: &'a Rows,
    pub(crate) data: &'a DataDir<E::Dir>,
    pub(crate) env: &'a E,
}

impl<E: Env> Takeover<'_, E> {
    /// Makes rows for all partitions that are there, and returns the first producer id to hand out. Some have rows where an earlier opening was
    /// refused half way; Kafka may have gone on since.
    pub(crate) fn adopt(&self) -> Result<ProducerId, OpenError> {
        let topics = self.look_at_all()?;
        self.take_over(&topics)?;
        Ok(first_id(&topics).unwrap_or(ProducerId::new(0)))
    }

    /// Takes in what Kafka did since we last had the directory: producer ids and leader epochs go on above all that it gave, and what it
    /// made gets rows. What it deleted keeps its rows, and is offline.
    pub(crate) fn catch_up(&self) -> Result<(), OpenError> {
        let topics = self.look_at_all()?;
        let next = first_id(&topics).filter(|next| Some(*next) > self.rows.next_producer_id());
        if let Some(next) = next {
            let row = ProducerIdsRow { next }.encode();
            self.commit(&Txn::new().put(RowKey::ProducerIds.key(), row))?;
        }
        self.take_over(&topics)
    }

    fn take_over(&self, topics: &BTreeMap<&TopicName, Partitions>) -> Result<(), OpenError> {
        let (compacted, said) = (self.compacted()?, topic_settings(&self.data.dir)?);
        for (name, found) in topics {
            let known = self.rows.topic(name);
            if let Some(topic) = known.filter(|topic| !is_another(topic, found)) {
                self.commit(&self.grown_topic(topic, found)?)?;
                continue;
            }
            let kept = said.as_ref().and_then(|said| said.get(*name));
            let mut kept = kept.map(|said| what_is_kept(name, said));
            let settings = kept.get_or_insert_default();
            if compacted.contains(*name) && !settings.contains_key(CLEANUP_POLICY) {
                settings.insert(CLEANUP_POLICY.to_owned(), "compact".to_owned());
            }
            tracing::warn!(topic = %name, ?settings, "taken over from Kafka, with default settings else");
            let mut new = self.new_topic(name, found)?;
            if let Some(kept) = kept.filter(|kept| !kept.is_empty()) {
                let row = RowKey::Configs(ConfigScope::Topic((*name).clone()));
                new = new.put(row.key(), Configs(kept).encode());
            }
            if let Some(deleted) = known {
                self.commit(&changes::delete_topic(deleted))?;
            }
            self.commit(&new)?;
        }
        Ok(())
    }

    fn commit(&self, txn: &Txn) -> Result<(), OpenError> {
        let failed = |error| metadata(self.data, error);
        committed(self.store.commit(txn).map_err(failed)?).map_err(failed)
    }

    /// The topics that Kafka compacts, as far as its cleaner's checkpoint tells, and those it always does.
    fn compacted(&self) -> Result<BTreeSet<TopicName>, LogError> {
        let dir = &self.data.dir;
        let file = FileName::new(checkpoint::CLEANER_OFFSETS)
            .map_err(|error| LogError::io(Action::Open, dir.display(), error))?;
        let cleaned = match checkpoint::read_offsets(dir, &file) {
            Err(LogError::Corrupt(damage)) => {
                tracing::warn!(%damage, "taken for empty: topics are not known to be compacted");
                BTreeMap::new()
            }
            read => read?,
        };
        let always = [TRANSACTION_STATE, CONSUMER_OFFSETS].map(|topic| topic.partition(0));
        Ok(cleaned.into_keys().chain(always).map(|partition| partition.topic).collect())
    }

    fn look_at_all(&self) -> Result<BTreeMap<&TopicName, Partitions>, LogError> {
        let mut topics: BTreeMap<&TopicName, Partitions> = BTreeMap::new();
        for name in &self.data.partitions {
            let TopicPartition { topic, partition } = name;
            let found = look(&self.data.partition(name)?, topic)?;
            topics.entry(topic).or_default().insert(*partition, found);
        }
        Ok(topics)
    }

    /// The rows of a topic that has none.
    fn new_topic(&self, name: &TopicName, found: &Partitions) -> Result<Txn, OpenError> {
        let id = found.values().find_map(|found| found.topic_id);
        let id = id.unwrap_or_else(|| random_id(|| self.env.random()));
        let txn =
            Txn::new().put(RowKey::TopicName(name.clone()).key(), TopicNameRow { id }.encode());
        let topic = TopicRow { name: name.clone(), partition_count: 0, replication_factor: 1 };
        self.add(txn, (id, topic), found.iter())
    }

    /// The rows of partitions that a topic has got, and those of the others where Kafka has led them in a later epoch.
    fn grown_topic(&self, topic: &Topic, found: &Partitions) -> Result<Txn, OpenError> {
        let mut txn = Txn::new();
        for (number, partition) in &topic.partitions {
            let latest = found.get(number).and_then(|found| found.latest_epoch);
            if let Some(latest) = latest.filter(|at| *at > self.rows.leader_epoch(partition)) {
                let row = PartitionRow {
                    replicas: partition.replicas.clone(),
                    isr: partition.isr.clone(),
                    leader: partition.leader,
                    partition_epoch: self.rows.partition_epoch(partition),
                    ..self.partition_row(Some(latest))
                };
                txn = txn.put(RowKey::Partition(topic.id, *number).key(), row.encode());
            }
        }
        let new = found.iter().filter(|(number, _)| !topic.partitions.contains_key(number));
        let row = TopicRow {
            name: topic.name.clone(),
            partition_count: topic.partition_count,
            replication_factor: topic.replication_factor,
        };
        self.add(txn, (topic.id, row), new)
    }

    /// Adds partitions, numbered on from those that the topic has.
    fn add<'a>(
        &self,
        mut txn: Txn,
        (id, mut topic): (TopicId, TopicRow),
        new: impl Iterator<Item = (&'a i32, &'a Found)>,
    ) -> Result<Txn, OpenError> {
        let name = topic.name.clone();
        let foreign = |why| OpenError::Foreign {
            dir: self.data.dir.display(),
            name: format!("topic {name}"),
            why,
        };
        let before = topic.partition_count;
        for (number, found) in new {
            if *number != topic.partition_count {
                return Err(foreign(
                    "lacks some of its partitions: they are on other brokers of its cluster",
                ));
            }
            match found.topic_id {
                Some(other) if other != id => {
                    return Err(foreign(
                        "has partitions with different topic ids: some are of an older topic of its name",
                    ));
                }
                Some(_) => {}
                None => {
                    let at = TopicPartition { topic: name.clone(), partition: *number };
                    partition_metadata::write(&self.data.partition(&at)?, id)?;
                }
            }
            let row = self.partition_row(found.latest_epoch);
            txn = txn.put(RowKey::Partition(id, *number).key(), row.encode());
            topic.partition_count = topic.partition_count.saturating_add(1);
        }
        if topic.partition_count > before {
            txn = txn.put(RowKey::Topic(id).key(), topic.encode());
        }
        Ok(txn)
    }

    fn partition_row(&self, latest_epoch: Option<LeaderEpoch>) -> PartitionRow {
        let node = self.data.identity.node_id;
        PartitionRow {
            replicas: vec![node],
            isr: vec![node],
            leader: Some(node),
            // The opening that follows counts one up, to above all that is in the log.
            leader_epoch: latest_epoch.unwrap_or(LeaderEpoch::new(0)),
            partition_epoch: PartitionEpoch::new(0),
            at_opening: self.rows.openings(),
        }
    }
}

/// Those settings that say which records are kept, and for how long. What else was said, or what cannot be meant here, is told.
fn what_is_kept(topic: &TopicName, said: &TopicSettings) -> TopicSettings {
    let mut kept = TopicSettings::new();
    for (name, value) in said {
        if registry::topic_key(name).is_ok_and(|key| key.is_idle() && key.check(value).is_ok()) {
            kept.insert(name.clone(), value.clone());
        } else if !(name == CLEANUP_POLICY && is_for_ever(value)) {
            tracing::warn!(%topic, %name, %value, "a setting of Kafka's is not taken over");
        }
    }
    if said.get(CLEANUP_POLICY).is_some_and(|policy| is_for_ever(policy)) {
        // The same in words that every broker knows.
        for (name, value) in
            [(CLEANUP_POLICY, "delete"), (RETENTION_MS, "-1"), (RETENTION_BYTES, "-1")]
        {
            kept.insert(name.to_owned(), value.to_owned());
        }
    }
    kept
}

/// Whether a `cleanup.policy` names nothing: records are kept for ever, whatever else is said (Kafka 4.1 and later).
fn is_for_ever(policy: &str) -> bool {
    policy.split(',').all(|entry| entry.trim().is_empty())
}

/// Whether the topic was deleted, and another one made by its name.
fn is_another(topic: &Topic, found: &Partitions) -> bool {
    found.values().all(|found| found.topic_id.is_some_and(|id| id != topic.id))
}

/// The first producer id that nobody can have been given, if any was.
fn first_id(topics: &BTreeMap<&TopicName, Partitions>) -> Option<ProducerId> {
    let ids = topics.values().flat_map(BTreeMap::values).filter_map(|found| found.largest_id);
    ids.max().map(above)
}

/// The first block that no broker can have held.
fn above(largest: ProducerId) -> ProducerId {
    let len = i64::from(BLOCK_LEN);
    let blocks = (largest.get() / len).saturating_add(1).saturating_add(BLOCKS_AHEAD);
    ProducerId::new(blocks.saturating_mul(len))
}

/// Reads what the rows need out of one partition's directory, and changes nothing.
fn look<D: Dir>(dir: &D, topic: &TopicName) -> Result<Found, LogError> {
    let mut found =
        Found { topic_id: partition_metadata::read(dir)?, latest_epoch: None, largest_id: None };
    let records = if topic.as_str() == TRANSACTIONS { Records::Transactions } else { Records::Any };
    let entries = dir.list().map_err(|error| LogError::io(Action::List, dir.display(), error))?;
    for entry in entries {
        let EntryKind::File { .. } = entry.kind else {
            continue;
        };
        let kind = SegmentFileName::parse(entry.name.as_str()).map(|name| name.kind);
        if kind == Some(SegmentFile::Log) {
            walk(dir, &entry.name, records, &mut found)?;
        }
    }
    for offset in snapshot_file::list(dir)? {
        snapshot(dir, offset, &mut found)?;
    }
    if let Some(epoch) = epoch_file(dir)? {
        found.latest_epoch = found.latest_epoch.max(Some(epoch));
    }
    Ok(found)
}

/// The latest epoch of the epoch file; `None` when there is no file. A damaged one is the log's to report when it is opened.
fn epoch_file<D: Dir>(dir: &D) -> Result<Option<LeaderEpoch>, LogError> {
    match LeaderEpochs::read(dir) {
        Ok(epochs) => Ok(epochs.and_then(|epochs| epochs.latest()).map(|entry| entry.epoch)),
        Err(LogError::Corrupt(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Looks at the headers of a segment's batches, up to the first that is none: what lies behind is recovery's business. What the transaction
/// coordinator writes has no producer in its headers: its ids are in the values.
fn walk<D: Dir>(
    dir: &D,
    name: &FileName,
    records: Records,
    found: &mut Found,
) -> Result<(), LogError> {
    let (Reached::End | Reached::Unreadable) = each_batch(dir, name, |batch| {
        if batch.producer_id().is_some() {
            found.largest_id = found.largest_id.max(Some(batch.producer_id()));
        }
        if records == Records::Transactions {
            found.largest_id = found.largest_id.max(in_values(batch));
        }
        found.latest_epoch = found.latest_epoch.max(Some(batch.leader_epoch()));
    })?;
    Ok(())
}

/// How far a file of batches reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Reached {
    /// To its end.
    End,
    /// To bytes that are no batch.
    Unreadable,
}

/// Calls `each` with the batches of a file, up to the first that is none.
pub(crate) fn each_batch<D: Dir>(
    dir: &D,
    name: &FileName,
    mut each: impl FnMut(BatchRef<'_>),
) -> Result<Reached, LogError> {
    let failed =
        |error| LogError::io(Action::Read, format_args!("{}/{name}", dir.display()), error);
    let file = open_for_reading(dir, name)?;
    let len = file.len().map_err(failed)?;
    let mut at = 0;
    let header = u64::try_from(HEADER_LEN).unwrap_or(u64::MAX);
    while len.saturating_sub(at) >= header {
        let bytes = file.view(at..at.saturating_add(header)).map_err(failed)?;
        let Ok(total) = hanbeon_records::total_len(&bytes) else {
            return Ok(Reached::Unreadable);
        };
        let end = at.saturating_add(u64::try_from(total).unwrap_or(u64::MAX));
        if end > len {
            return Ok(Reached::Unreadable);
        }
        let bytes = file.view(at..end).map_err(failed)?;
        let Ok((batch, _)) = BatchRef::parse(&bytes) else {
            return Ok(Reached::Unreadable);
        };
        each(batch);
        at = end;
    }
    Ok(if at == len { Reached::End } else { Reached::Unreadable })
}

/// The largest producer id that the coordinator has given to a transactional id, or will. What does not read is reported when the
/// coordinator reads its log.
fn in_values(batch: BatchRef<'_>) -> Option<ProducerId> {
    let mut largest = None;
    let read = with_records(batch, |record| {
        let key = record.key.map(decode_key);
        let (Some(Ok(TxnKey::Transaction(_))), Some(value)) = (key, record.value) else {
            return;
        };
        if let Ok((value, _version)) = TxnValue::decode(value) {
            let ids = [value.producer.id, value.previous_producer_id, value.next_producer_id];
            largest = largest.max(ids.into_iter().filter(|id| id.is_some()).max());
        }
    });
    if read.is_err() {
        tracing::warn!(offset = %batch.base_offset(), "a batch of __transaction_state does not read");
    }
    largest
}

/// Ids that are in a snapshot may have no batch left. A damaged snapshot is rebuilt from batches, which were looked at.
fn snapshot<D: Dir>(dir: &D, offset: Offset, found: &mut Found) -> Result<(), LogError> {
    let settings = Settings {
        expiration_ms: i64::MAX,
        verification: Verification::Off,
        first_write: FirstWrite::AnySequence,
        hash_seed: 0,
    };
    if let Ok(loaded) = snapshot_file::read(dir, offset, settings, Millis::new(0))? {
        let largest = loaded.states.producers().map(|producer| producer.producer_id).max();
        found.largest_id = found.largest_id.max(largest);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_without_a_cleanup_policy_is_kept_for_ever() {
        let map = |pairs: &[(&str, &str)]| -> TopicSettings {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let topic = TopicName::new("t").expect("a name");
        let kept = |said: &[(&str, &str)]| what_is_kept(&topic, &map(said));
        let for_ever =
            [("cleanup.policy", "delete"), ("retention.bytes", "-1"), ("retention.ms", "-1")];
        for policy in ["", " , "] {
            let said = [("cleanup.policy", policy), ("retention.ms", "1000")];
            assert_eq!(kept(&said), map(&for_ever), "{policy:?}");
        }
        let said = [("cleanup.policy", "compact"), ("retention.ms", "1000")];
        assert_eq!(kept(&said), map(&said));
        assert_eq!(kept(&[("cleanup.policy", "shred"), ("max.message.bytes", "7")]), map(&[]));
    }

    #[test]
    fn ids_begin_above_the_blocks_a_broker_may_hold() {
        // An id of block 0..1000: the broker may hold 1000..2000 and have fetched 2000..3000.
        assert_eq!(above(ProducerId::new(0)), ProducerId::new(3000));
        assert_eq!(above(ProducerId::new(999)), ProducerId::new(3000));
        assert_eq!(above(ProducerId::new(1000)), ProducerId::new(4000));
    }
}
