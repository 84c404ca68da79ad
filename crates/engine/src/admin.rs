//! The metadata of an engine: the store, the snapshot it was last seen at, and the topics made of it.

use std::{collections::BTreeMap, sync::Arc};

use hanbeon_log::{Dir as _, LogConfig, LogSettings};
use hanbeon_meta::{
    ConfigScope, Image as Rows, MetadataStore, StoreError, Txn, TxnResult, Watch, Watched,
};
use hanbeon_records::{NodeId, TopicPartition};

use crate::{
    ConfigError, Env, Image, PartitionHandle, Settings, Topic, TopicError,
    config::{self, BrokerLayers, Overrides, registry},
    ground::Ground,
    metrics::TopicMetrics,
    partition::NewPartition,
};

/// Everything that changes metadata goes through one of these, one at a time.
pub(crate) struct Admin<E: Env> {
    pub(crate) ground: Arc<Ground<E>>,
    pub(crate) store: Arc<dyn MetadataStore>,
    pub(crate) rows: Rows,
    pub(crate) layers: Arc<BrokerLayers>,
    watch: Box<dyn Watch>,
}

#[expect(clippy::wildcard_enum_match_arm, reason = "all others are told as the store tells them")]
pub(crate) fn failed(error: StoreError) -> TopicError {
    match error {
        StoreError::TooLarge { what, limit, found } => TopicError::TooLarge { what, limit, found },
        error => TopicError::Storage { source: Arc::new(error) },
    }
}

impl<E: Env> Admin<E> {
    pub(crate) fn new(
        ground: Arc<Ground<E>>,
        store: Arc<dyn MetadataStore>,
        fixed: Overrides,
    ) -> Result<Self, StoreError> {
        let rows = Rows::read(&*store)?;
        let watch = store.watch("", rows.revision().next())?;
        let layers = Arc::new(BrokerLayers { fixed, ..BrokerLayers::default() });
        let mut admin = Self { ground, store, rows, layers, watch };
        admin.take_broker_layers();
        Ok(admin)
    }

    /// Carries out a transaction and takes in what it changed. `refused` says what it means when somebody else was first.
    pub(crate) fn commit(
        &mut self,
        txn: &Txn,
        refused: impl FnOnce() -> TopicError,
    ) -> Result<(), TopicError> {
        let data = &self.ground.data;
        let stopped = data.poison.check(data.dir.display());
        stopped.map_err(|error| TopicError::Storage { source: Arc::new(error) })?;
        match self.store.commit(txn).map_err(failed)? {
            TxnResult::Committed(_) => self.take_changes().map_err(failed),
            TxnResult::Refused(_) => {
                self.take_changes().map_err(failed)?;
                Err(refused())
            }
            TxnResult::Unknown(error) => Err(failed(error)),
        }
    }

    fn take_changes(&mut self) -> Result<(), StoreError> {
        loop {
            match self.watch.poll(None)? {
                Watched::Changed(commit) => {
                    self.rows = self.rows.advanced(commit.revision, &commit.changes)?;
                }
                Watched::Idle(_) => return Ok(()),
                Watched::Compacted(_) => {
                    self.rows = Rows::read(&*self.store)?;
                    self.watch = self.store.watch("", self.rows.revision().next())?;
                }
            }
        }
    }

    /// Reads the brokers' dynamic settings out of the rows.
    pub(crate) fn take_broker_layers(&mut self) {
        let node = self.ground.data.identity.node_id;
        self.layers = Arc::new(BrokerLayers {
            fixed: self.layers.fixed.clone(),
            all_brokers: known(self.rows.configs(&ConfigScope::Brokers), registry::broker_key),
            this_broker: known(self.rows.configs(&ConfigScope::Broker(node)), registry::broker_key),
        });
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings(Arc::clone(&self.layers))
    }

    /// What a topic with these overrides tells its logs.
    pub(crate) fn log_config(&self, overrides: &Overrides) -> Result<LogConfig, ConfigError> {
        config::log_config(&self.layers, overrides, &self.settings())
    }

    /// Refuses static settings that do not go together, by themselves or with what a topic inherits them into. Where the stored settings do
    /// not without them either, an operator could not help it before the directory is open: [`Admin::topic`] has the answer to that.
    pub(crate) fn check_static_settings(&self) -> Result<(), ConfigError> {
        let stored =
            Arc::new(BrokerLayers { fixed: Overrides::new(), ..BrokerLayers::clone(&self.layers) });
        let topics = self.rows.topics().map(|row| (self.overrides(row), Some(&row.name)));
        // Most topics have the same, mostly none.
        let distinct: BTreeMap<_, _> =
            topics.chain(std::iter::once((Overrides::new(), None))).collect();
        for (overrides, topic) in distinct {
            let Err(error) = self.log_config(&overrides) else { continue };
            if config::log_config(&stored, &overrides, &Settings(Arc::clone(&stored))).is_ok() {
                tracing::error!(?topic, %error, "static settings do not go together");
                return Err(error);
            }
        }
        Ok(())
    }

    fn overrides(&self, row: &hanbeon_meta::Topic) -> Overrides {
        let scope = ConfigScope::Topic(row.name.clone());
        known(self.rows.configs(&scope), registry::topic_key)
    }

    /// The version of the topics as they are in the rows. It rises with each change, also over restarts.
    pub(crate) fn version(&self) -> i64 {
        i64::try_from(self.rows.revision().get()).unwrap_or(i64::MAX)
    }

    /// The image of all topics, with handles that were not there before.
    pub(crate) fn image(&self) -> Image<E> {
        let ground = &self.ground;
        let mut image = Image::new(ground.data.identity.node_id, ground.hash_seed);
        image.version = self.version();
        // Most topics have the same overrides, mostly none.
        let mut configs = BTreeMap::new();
        for row in self.rows.topics() {
            let overrides = self.overrides(row);
            let config = match configs.get(&overrides) {
                Some(config) => LogConfig::clone(config),
                None => {
                    let config = self.sound_config(row, &overrides);
                    configs.insert(overrides.clone(), config.clone());
                    config
                }
            };
            image.insert(Arc::new(self.topic_with(row, None, overrides, &config)));
        }
        image
    }

    /// A topic as its rows have it; partitions that `before` has stay the same.
    pub(crate) fn topic(&self, row: &hanbeon_meta::Topic, before: Option<&Topic<E>>) -> Topic<E> {
        let overrides = self.overrides(row);
        let config = self.sound_config(row, &overrides);
        self.topic_with(row, before, overrides, &config)
    }

    /// What its overrides tell a topic's logs. They were checked before they were written, by this release; what a later one allows must
    /// not make data less safe here.
    fn sound_config(&self, row: &hanbeon_meta::Topic, overrides: &Overrides) -> LogConfig {
        self.log_config(overrides).unwrap_or_else(|error| {
            tracing::error!(topic = %row.name, %error, "settings that do not go together: defaults and sync are used");
            let safe = LogSettings { flush_messages: 1, ..LogSettings::kafka_defaults() };
            safe.validate().unwrap_or_else(|_| LogConfig::kafka_defaults())
        })
    }

    fn topic_with(
        &self,
        row: &hanbeon_meta::Topic,
        before: Option<&Topic<E>>,
        overrides: Overrides,
        config: &LogConfig,
    ) -> Topic<E> {
        let metrics = before
            .map_or_else(|| Arc::new(TopicMetrics::default()), |topic| Arc::clone(&topic.metrics));
        let partitions = row.partitions.iter().map(|(number, partition)| {
            if let Some(handle) = before.and_then(|topic| topic.partition(*number)) {
                handle.set_config(config);
                return handle.clone();
            }
            let new = NewPartition {
                name: TopicPartition { topic: row.name.clone(), partition: *number },
                topic_id: row.id,
                leader_epoch: self.rows.leader_epoch(partition),
                config: config.clone(),
            };
            PartitionHandle::new(&self.ground, &metrics, new)
        });
        Topic {
            name: row.name.clone(),
            id: row.id,
            partitions: partitions.collect(),
            overrides,
            replication_factor: row.replication_factor,
            metrics: Arc::clone(&metrics),
        }
    }

    pub(crate) fn node(&self) -> NodeId {
        self.ground.data.identity.node_id
    }
}

/// Rows as a layer. A key that is no longer known is left out with a warning, so that an older release opens a newer directory.
pub(crate) fn known(
    rows: Option<&BTreeMap<String, String>>,
    key: impl Fn(&str) -> Result<&'static registry::ConfigKey, ConfigError>,
) -> Overrides {
    let mut layer = Overrides::new();
    for (name, value) in rows.into_iter().flatten() {
        match key(name) {
            Ok(key) => {
                layer.insert(key.name, value.clone());
            }
            Err(error) => tracing::warn!(%error, "a stored setting is left out"),
        }
    }
    layer
}

/// A layer as rows.
pub(crate) fn rows_of(layer: &Overrides) -> BTreeMap<String, String> {
    layer.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
}
