//! What topics there are at one moment.

use std::{collections::BTreeMap, fmt, sync::Arc};

use hanbeon_records::{NodeId, TopicId, TopicName};
use hashbrown::HashMap;

use crate::{Env, PartitionHandle, System, config::Overrides, metrics::TopicMetrics};

/// Topics that the server keeps for itself.
pub const INTERNAL_TOPICS: [&str; 3] =
    ["__consumer_offsets", "__share_group_state", "__transaction_state"];

/// Kafka's log of its controllers. In a directory that Kafka used for both of its roles it is there already, and it is Kafka's.
pub(crate) const CONTROLLER_TOPIC: &str = "__cluster_metadata";

/// Topics that no client creates: [`INTERNAL_TOPICS`], and one of Kafka's own that nobody creates here.
pub const RESERVED_TOPICS: [&str; 4] =
    [CONTROLLER_TOPIC, "__consumer_offsets", "__share_group_state", "__transaction_state"];

/// Whether a topic of this name is the server's own.
pub(crate) fn is_internal(name: &str) -> bool {
    name.starts_with("__") && INTERNAL_TOPICS.contains(&name)
}

/// One topic at one moment.
pub struct Topic<E: Env = System> {
    pub(crate) name: TopicName,
    pub(crate) id: TopicId,
    pub(crate) partitions: Box<[PartitionHandle<E>]>,
    pub(crate) overrides: Overrides,
    pub(crate) replication_factor: i16,
    pub(crate) metrics: Arc<TopicMetrics>,
}

impl<E: Env> Topic<E> {
    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &TopicName {
        &self.name
    }

    /// Its identity; another topic of the same name has another one.
    #[must_use]
    pub const fn id(&self) -> TopicId {
        self.id
    }

    /// Whether it is one of [`INTERNAL_TOPICS`].
    #[must_use]
    pub fn is_internal(&self) -> bool {
        is_internal(self.name.as_str())
    }

    /// How many replicas each partition has.
    #[must_use]
    pub const fn replication_factor(&self) -> i16 {
        self.replication_factor
    }

    /// What it counts.
    #[must_use]
    pub fn metrics(&self) -> &TopicMetrics {
        &self.metrics
    }

    /// Its partitions, by number.
    #[must_use]
    pub fn partitions(&self) -> &[PartitionHandle<E>] {
        &self.partitions
    }

    /// The partition with this number.
    #[must_use]
    pub fn partition(&self, number: i32) -> Option<&PartitionHandle<E>> {
        self.partitions.get(usize::try_from(number).ok()?)
    }
}

impl<E: Env> fmt::Debug for Topic<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topic")
            .field("name", &self.name)
            .field("id", &self.id)
            .field("partitions", &self.partitions.len())
            .finish_non_exhaustive()
    }
}

/// All topics at one moment. Never changes: an engine replaces its image by another one.
pub struct Image<E: Env = System> {
    pub(crate) node: NodeId,
    /// Another number for each change, for who remembers what was looked up.
    pub(crate) version: i64,
    by_name: HashMap<Arc<str>, Arc<Topic<E>>, foldhash::fast::FixedState>,
    /// The same in ascending order, for who goes through them: some stop halfway and go on in a later image.
    in_order: BTreeMap<Arc<str>, Arc<Topic<E>>>,
    by_id: HashMap<TopicId, Arc<Topic<E>>, foldhash::fast::FixedState>,
}

impl<E: Env> Image<E> {
    pub(crate) fn new(node: NodeId, seed: u64) -> Self {
        let hasher = foldhash::fast::FixedState::with_seed(seed);
        Self {
            node,
            version: 0,
            by_name: HashMap::with_hasher(hasher.clone()),
            in_order: BTreeMap::new(),
            by_id: HashMap::with_hasher(hasher),
        }
    }

    /// The topic called `name`.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic<E>>> {
        self.by_name.get(name)
    }

    /// The topic with this identity.
    #[must_use]
    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<Topic<E>>> {
        self.by_id.get(&id)
    }

    pub(crate) fn insert(&mut self, topic: Arc<Topic<E>>) {
        let name: Arc<str> = topic.name.as_str().into();
        self.by_id.insert(topic.id, Arc::clone(&topic));
        self.in_order.insert(Arc::clone(&name), Arc::clone(&topic));
        self.by_name.insert(name, topic);
    }

    pub(crate) fn remove(&mut self, topic: &Topic<E>) {
        self.by_id.remove(&topic.id);
        self.in_order.remove(topic.name.as_str());
        self.by_name.remove(topic.name.as_str());
    }

    /// All topics, sorted by name.
    #[must_use]
    pub fn topics(&self) -> Vec<&Arc<Topic<E>>> {
        self.in_order.values().collect()
    }

    /// Their names, in ascending order of bytes.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.in_order.keys().map(|name| &**name)
    }

    /// How many topics there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// The node that leads all partitions.
    #[must_use]
    pub const fn node_id(&self) -> NodeId {
        self.node
    }
}

impl<E: Env> Clone for Image<E> {
    fn clone(&self) -> Self {
        let Self { node, version, by_name, in_order, by_id } = self;
        Self {
            node: *node,
            version: *version,
            by_name: by_name.clone(),
            in_order: in_order.clone(),
            by_id: by_id.clone(),
        }
    }
}

impl<E: Env> fmt::Debug for Image<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image").field("topics", &self.by_name.len()).finish_non_exhaustive()
    }
}
