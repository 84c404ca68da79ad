//! How an engine is opened.

use std::{collections::BTreeMap, sync::Arc};

use hanbeon_records::NodeId;

use crate::{
    StateLogs,
    config::{ConfigError, registry},
};

/// What an engine is told when it opens a data directory.
///
/// [`Options::embedded`], the default, acknowledges nothing before it survives a power cut (`flush.messages` = 1 for
/// topics that do not say otherwise). [`Options::broker`] has Kafka's defaults, where replicas protect what a disk has not got yet.
///
/// ```
/// use hanbeon::Options;
///
/// let options = Options::embedded().helpers(1).set("log.segment.bytes", "16777216")?;
/// # Ok::<(), hanbeon::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Options {
    pub(crate) helpers: usize,
    pub(crate) node_id: Option<NodeId>,
    pub(crate) settings: BTreeMap<&'static str, String>,
    pub(crate) state_logs: Option<Arc<dyn StateLogs>>,
}

impl Default for Options {
    fn default() -> Self {
        Self::embedded()
    }
}

impl Options {
    /// For use in one process: `sync` durability unless a topic says otherwise, and groups that are assigned anew as soon as something
    /// changes (`group.consumer.assignment.interval.ms` = 0).
    pub fn embedded() -> Self {
        let mut options = Self::broker();
        options.settings.insert("log.flush.interval.messages", "1".to_owned());
        // A few members that start one after the other cost nothing here, and who was killed goes on at once.
        options.settings.insert("group.consumer.assignment.interval.ms", "0".to_owned());
        options
    }

    /// Kafka's defaults.
    pub const fn broker() -> Self {
        Self { helpers: 0, node_id: None, settings: BTreeMap::new(), state_logs: None }
    }

    /// How many threads the engine starts for syncs, checkpoints and recovery in the background. They are named
    /// `hanbeon-helper-N` and joined when the engine shuts down. Without any, a caller leads the syncs it waits for; checkpoints,
    /// recovery in the background, `flush.ms` and all timeouts wait for [`crate::Engine::maintain`].
    pub const fn helpers(mut self, count: usize) -> Self {
        self.helpers = count;
        self
    }

    /// Keeps what coordinators decide elsewhere than in internal partitions. A data directory keeps to one way for its life.
    pub fn state_logs(mut self, logs: impl StateLogs) -> Self {
        self.state_logs = Some(Arc::new(logs));
        self
    }

    /// This node's number; otherwise that of the data directory, or 1 in a new one.
    pub const fn node_id(mut self, id: NodeId) -> Self {
        self.node_id = Some(id);
        self
    }

    /// Gives a broker setting its static value, as a line of `server.properties` does. Keys of retention, compaction and replication are
    /// kept and shown, and nothing acts on them yet. What Kafka knows and nothing here reads ([`registry::unused_key`]) is ignored with a warning.
    ///
    /// # Errors
    /// The key is unknown, belongs to a client or a topic, cannot have the value, or cannot be ignored with it.
    pub fn set(mut self, key: &str, value: impl Into<String>) -> Result<Self, ConfigError> {
        let value = value.into();
        if let Some(unused) = registry::unused_key(key) {
            unused.check(&value)?;
            tracing::warn!(key, "a setting that is known to Kafka and not used here");
            return Ok(self);
        }
        let key = registry::broker_key(key)?;
        key.check(&value)?;
        self.settings.insert(key.name, value);
        Ok(self)
    }

    /// What the options say about this node's number.
    pub(crate) fn node(&self) -> Result<Option<NodeId>, ConfigError> {
        let keys = ["node.id", "broker.id"];
        let given = keys.into_iter().find_map(|key| self.settings.get(key)?.trim().parse().ok());
        match (self.node_id, given) {
            (Some(own), Some(given)) if own.get() != given => Err(ConfigError::Conflict {
                key: "node.id",
                found: given.to_string(),
                other: "the options' node id",
                rule: "a node has one number",
            }),
            (Some(own), _) => Ok(Some(own)),
            // -1 is broker.id's way to say that it is not given.
            (None, given) => Ok(given.filter(|id| *id >= 0).map(NodeId::new)),
        }
    }

    pub(crate) fn flag(&self, key: &str) -> Option<bool> {
        Some(self.settings.get(key)?.trim().eq_ignore_ascii_case("true"))
    }
}
