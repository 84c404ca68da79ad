//! From a snapshot and a wish to the transaction that does it. Pure: nothing happens until the transaction is committed.
//!
//! Each is guarded by what the snapshot showed, so that two writers never undo each other. On
//! [`TxnResult::Refused`] take a fresh [`Image`] and think again.

use std::collections::BTreeMap;

use hanbeon_records::{LeaderEpoch, NodeId, PartitionEpoch, ProducerId, TopicId, TopicName};

use crate::{
    ClusterRow, ConfigScope, Configs, DoubtedIdsRow, FeaturesRow, Image, MetadataStore,
    OpeningsRow, PartitionRow, ProducerIdsRow, Row, RowKey, StoreError, Topic, TopicNameRow,
    TopicRow, Txn, TxnResult,
};

/// Refusals in a row before one gives up.
const ATTEMPTS: u32 = 10;

/// A topic to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// A fresh id.
    pub id: TopicId,
    /// A free name.
    pub name: TopicName,
    /// The replicas of each partition; the first leads.
    pub assignments: Vec<Vec<NodeId>>,
    /// What is configured from the start.
    pub configs: BTreeMap<String, String>,
}

/// A run of producer ids that nobody else hands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIdBlock {
    /// The first.
    pub first: ProducerId,
    /// How many.
    pub len: u32,
}

/// Writes the cluster's row, the levels its features start at, and the first producer id to hand out (above all that an
/// adopted data directory has seen). Refused when the cluster is founded already.
pub fn found_cluster(
    cluster: &ClusterRow,
    levels: &BTreeMap<String, i16>,
    first_producer_id: ProducerId,
) -> Txn {
    let (meta, ids) = (RowKey::Cluster.key(), RowKey::ProducerIds.key());
    set_features(&Image::default(), levels)
        .unchanged(&meta, None)
        .unchanged(&ids, None)
        .put(meta, cluster.encode())
        .put(ids, ProducerIdsRow { next: first_producer_id }.encode())
}

/// Replaces the levels of features, under the next epoch. Refused when they have changed.
pub fn set_features(image: &Image, levels: &BTreeMap<String, i16>) -> Txn {
    let key = RowKey::Features.key();
    let before = image.features();
    let epoch = before.map_or(0, |stored| stored.row.epoch).saturating_add(1);
    Txn::new()
        .unchanged(&key, before.map(|stored| stored.modified))
        .put(key, FeaturesRow { epoch, levels: levels.clone() }.encode())
}

/// Counts an opening of the data directory: the leader epoch and the partition epoch of every partition go up by one, with
/// one small write.
pub fn begin_opening(image: &Image) -> Txn {
    let key = RowKey::Openings.key();
    let count = image.openings().saturating_add(1);
    Txn::new()
        .unchanged(&key, image.openings_row().map(|stored| stored.modified))
        .put(key, OpeningsRow { count }.encode())
}

/// Puts every producer id in doubt that was handed out so far: a power cut may have taken what was known of their epochs and left what rests on
/// it. `None` when all of them are in doubt already.
#[must_use]
pub fn doubt_producer_ids(image: &Image) -> Option<Txn> {
    let below = image.next_producer_id()?;
    if below <= image.first_sure_producer_id() {
        return None;
    }
    let key = RowKey::DoubtedIds.key();
    let before = image.doubted_ids_row().map(|stored| stored.modified);
    Some(Txn::new().unchanged(&key, before).put(key, DoubtedIdsRow { below }.encode()))
}

/// Makes a topic. Refused when its name or id is taken.
pub fn create_topic(image: &Image, new: &NewTopic) -> Txn {
    let (topic, name) = (RowKey::Topic(new.id).key(), RowKey::TopicName(new.name.clone()).key());
    let first = new.assignments.first();
    let row = TopicRow {
        name: new.name.clone(),
        partition_count: count(new.assignments.len()),
        replication_factor: first.map_or(0, |nodes| i16::try_from(nodes.len()).unwrap_or(i16::MAX)),
    };
    let mut txn = Txn::new()
        .unchanged(&topic, None)
        .unchanged(&name, None)
        .put(topic, row.encode())
        .put(name, TopicNameRow { id: new.id }.encode());
    txn = put_partitions(txn, image, new.id, 0, &new.assignments);
    if new.configs.is_empty() {
        return txn;
    }
    let configs = RowKey::Configs(ConfigScope::Topic(new.name.clone())).key();
    txn.put(configs, Configs(new.configs.clone()).encode())
}

/// Adds partitions to a topic, numbered on from those it has. Refused when the topic has changed.
pub fn add_partitions(image: &Image, topic: &Topic, assignments: &[Vec<NodeId>]) -> Txn {
    let key = RowKey::Topic(topic.id).key();
    let row = TopicRow {
        name: topic.name.clone(),
        partition_count: topic.partition_count.saturating_add(count(assignments.len())),
        replication_factor: topic.replication_factor,
    };
    let txn = Txn::new().unchanged(&key, Some(topic.modified)).put(key, row.encode());
    put_partitions(txn, image, topic.id, topic.partition_count, assignments)
}

/// Deletes a topic with its partitions and configs. Refused when the topic has changed.
pub fn delete_topic(topic: &Topic) -> Txn {
    let key = RowKey::Topic(topic.id).key();
    let mut txn = Txn::new()
        .unchanged(&key, Some(topic.modified))
        .delete(key)
        .delete(RowKey::TopicName(topic.name.clone()).key())
        .delete(RowKey::Configs(ConfigScope::Topic(topic.name.clone())).key());
    for number in topic.partitions.keys() {
        txn = txn.delete(RowKey::Partition(topic.id, *number).key());
    }
    txn
}

/// Replaces the configs of a topic, of brokers or of a group. Refused when they have changed, or when the topic is not there as seen.
pub fn set_configs(image: &Image, scope: &ConfigScope, configs: &BTreeMap<String, String>) -> Txn {
    let key = RowKey::Configs(scope.clone()).key();
    let mut txn = Txn::new().unchanged(&key, image.configs_modified(scope));
    if let ConfigScope::Topic(name) = scope {
        // A topic deleted meanwhile must not leave configs behind for the next one of its name.
        let topic = image.topic(name);
        let held = topic.map_or_else(
            || RowKey::TopicName(name.clone()).key(),
            |topic| RowKey::Topic(topic.id).key(),
        );
        txn = txn.unchanged(&held, topic.map(|topic| topic.modified));
    }
    if configs.is_empty() {
        txn.delete(key)
    } else {
        txn.put(key, Configs(configs.clone()).encode())
    }
}

/// Takes the next `len` producer ids. They are lost, not handed out twice, when the caller goes down with them.
///
/// # Errors
/// What the store reports, and [`StoreError::Contended`] after ten refusals in a row. When the outcome of a transaction is
/// unknown its error comes back, and the block counts as handed out.
pub fn take_producer_ids(
    store: &(impl MetadataStore + ?Sized),
    len: u32,
) -> Result<ProducerIdBlock, StoreError> {
    let key = RowKey::ProducerIds.key();
    for _ in 0..ATTEMPTS {
        let found = store.get(&key)?;
        let first = match &found {
            Some(entry) => ProducerIdsRow::decode(&entry.value)?.next,
            None => ProducerId::new(0),
        };
        let next = ProducerId::new(first.get().saturating_add(i64::from(len)));
        let txn = Txn::new()
            .unchanged(&key, found.map(|entry| entry.modified))
            .put(key.clone(), ProducerIdsRow { next }.encode());
        match store.commit(&txn)? {
            TxnResult::Committed(_) => return Ok(ProducerIdBlock { first, len }),
            TxnResult::Refused(_) => {}
            TxnResult::Unknown(error) => return Err(error),
        }
    }
    Err(StoreError::Contended { key, attempts: ATTEMPTS })
}

/// Lets a partition be led in `epoch` from now on, where its row gives it an earlier one. A partition that has no row was deleted: nobody
/// leads it.
///
/// # Errors
/// As [`take_producer_ids`].
pub fn raise_leader_epoch(
    store: &(impl MetadataStore + ?Sized),
    (topic, number): (TopicId, i32),
    epoch: LeaderEpoch,
) -> Result<(), StoreError> {
    let key = RowKey::Partition(topic, number).key();
    for _ in 0..ATTEMPTS {
        let Some(found) = store.get(&key)? else { return Ok(()) };
        let row = PartitionRow::decode(&found.value)?;
        let openings = match store.get(&RowKey::Openings.key())? {
            Some(entry) => OpeningsRow::decode(&entry.value)?.count,
            None => 0,
        };
        let now = row.at(openings);
        if now.leader_epoch >= epoch {
            return Ok(());
        }
        let raised = PartitionRow { leader_epoch: epoch, ..now };
        let txn =
            Txn::new().unchanged(&key, Some(found.modified)).put(key.clone(), raised.encode());
        match store.commit(&txn)? {
            TxnResult::Committed(_) => return Ok(()),
            TxnResult::Refused(_) => {}
            TxnResult::Unknown(error) => return Err(error),
        }
    }
    Err(StoreError::Contended { key, attempts: ATTEMPTS })
}

fn put_partitions(
    mut txn: Txn,
    image: &Image,
    id: TopicId,
    first: i32,
    assignments: &[Vec<NodeId>],
) -> Txn {
    for (number, replicas) in (first..).zip(assignments) {
        let row = PartitionRow {
            replicas: replicas.clone(),
            isr: replicas.clone(),
            leader: replicas.first().copied(),
            leader_epoch: LeaderEpoch::new(0),
            partition_epoch: PartitionEpoch::new(0),
            at_opening: image.openings(),
        };
        txn = txn.put(RowKey::Partition(id, number).key(), row.encode());
    }
    txn
}

fn count(len: usize) -> i32 {
    i32::try_from(len).unwrap_or(i32::MAX)
}
