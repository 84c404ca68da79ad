//! Describing and altering settings of topics and brokers.

use std::sync::Arc;

use hanbeon_meta::{ConfigScope, changes};
use hanbeon_records::{NodeId, TopicName};

use crate::{
    ConfigChange, ConfigError, DescribedConfig, Engine, Env, Mode, Topic, TopicError,
    admin::{Admin, rows_of},
    config::{self, BrokerLayers, ConfigKey, Overrides, Owner, Update, registry},
};

/// Whose dynamic settings are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerScope {
    /// All brokers'.
    All,
    /// This broker's.
    This,
}

impl<E: Env> Engine<E> {
    /// A topic's settings, by name; all of them, or those asked for that exist. Those of retention and compaction are shown as they were
    /// given, and nothing acts on them yet ([`ConfigKey::is_idle`]).
    ///
    /// # Errors
    /// There is no such topic.
    pub fn describe_topic_config(
        &self,
        topic: &str,
        keys: Option<&[&str]>,
    ) -> Result<Vec<DescribedConfig>, TopicError> {
        let topic = self.named(topic)?;
        let settings = self.settings();
        let shown = registry::topic_keys().iter().filter(|key| {
            // Kafka shows its internal key only where somebody set it.
            (key.default_value().is_some() || topic.overrides.contains_key(key.name()))
                && keys.is_none_or(|keys| keys.contains(&key.name()))
        });
        Ok(shown.map(|key| settings.0.describe_owned(key, &topic.overrides)).collect())
    }

    /// Changes single settings of a topic.
    ///
    /// # Errors
    /// There is no such topic, or a setting cannot be taken; nothing is changed then.
    pub fn alter_topic_config(
        &self,
        topic: &str,
        changes: &[ConfigChange],
        mode: Mode,
    ) -> Result<(), TopicError> {
        let mut admin = self.admin()?;
        let topic = self.named(topic)?;
        let layers = Arc::clone(&admin.layers);
        let effective = |key: &'static ConfigKey| layers.owned_value(key, &topic.overrides);
        let changed = config::apply_changes(Owner::Topic, &topic.overrides, changes, effective)?;
        let result = self.set_topic_config(&mut admin, topic.name(), &changed, mode);
        drop(admin);
        result
    }

    /// Gives a topic these settings and no others.
    ///
    /// # Errors
    /// As [`Engine::alter_topic_config`].
    pub fn replace_topic_config(
        &self,
        topic: &str,
        settings: &[(&str, Option<&str>)],
        mode: Mode,
    ) -> Result<(), TopicError> {
        let mut admin = self.admin()?;
        let topic = self.named(topic)?;
        let changed = config::replacement(Owner::Topic, settings.iter().copied())?;
        let result = self.set_topic_config(&mut admin, topic.name(), &changed, mode);
        drop(admin);
        result
    }

    fn set_topic_config(
        &self,
        admin: &mut Admin<E>,
        name: &TopicName,
        changed: &Overrides,
        mode: Mode,
    ) -> Result<(), TopicError> {
        admin.log_config(changed)?;
        if mode == Mode::ValidateOnly {
            return Ok(());
        }
        let scope = ConfigScope::Topic(name.clone());
        let txn = changes::set_configs(&admin.rows, &scope, &rows_of(changed));
        admin.commit(&txn, || TopicError::Unknown { name: name.to_string() })?;
        self.publish_topic(admin, name);
        warn_of_idle(name, changed);
        Ok(())
    }

    /// The broker's settings, by name; all of them, or those asked for that exist. For all brokers: the dynamic ones only.
    #[must_use]
    pub fn describe_broker_config(
        &self,
        scope: BrokerScope,
        keys: Option<&[&str]>,
    ) -> Vec<DescribedConfig> {
        let settings = self.settings();
        let shown = registry::broker_keys().iter().filter(|key| {
            let here = match scope {
                BrokerScope::This => true,
                BrokerScope::All => settings.0.all_brokers.contains_key(key.name()),
            };
            here && keys.is_none_or(|keys| keys.contains(&key.name()))
        });
        shown.map(|key| settings.0.describe_broker(key)).collect()
    }

    /// Changes single settings of the broker.
    ///
    /// # Errors
    /// A setting cannot be taken, or not while the server runs; nothing is changed then.
    pub fn alter_broker_config(
        &self,
        scope: BrokerScope,
        changes: &[ConfigChange],
        mode: Mode,
    ) -> Result<(), TopicError> {
        let mut admin = self.admin()?;
        for change in changes {
            check_dynamic(registry::broker_key(&change.key)?, scope)?;
        }
        let layers = Arc::clone(&admin.layers);
        let effective = |key: &'static ConfigKey| layers.describe_broker(key).value;
        let changed =
            config::apply_changes(Owner::Broker, layer(&layers, scope), changes, effective)?;
        let result = self.set_broker_config(&mut admin, scope, changed, mode);
        drop(admin);
        result
    }

    /// Gives the broker these dynamic settings and no others.
    ///
    /// # Errors
    /// As [`Engine::alter_broker_config`].
    pub fn replace_broker_config(
        &self,
        scope: BrokerScope,
        settings: &[(&str, Option<&str>)],
        mode: Mode,
    ) -> Result<(), TopicError> {
        let mut admin = self.admin()?;
        for (key, _) in settings {
            check_dynamic(registry::broker_key(key)?, scope)?;
        }
        let changed = config::replacement(Owner::Broker, settings.iter().copied())?;
        let result = self.set_broker_config(&mut admin, scope, changed, mode);
        drop(admin);
        result
    }

    fn set_broker_config(
        &self,
        admin: &mut Admin<E>,
        scope: BrokerScope,
        changed: Overrides,
        mode: Mode,
    ) -> Result<(), TopicError> {
        let before = Arc::clone(&admin.layers);
        let rows = rows_of(&changed);
        admin.layers = Arc::new(with_layer(&before, scope, changed));
        // Topics inherit: a value that makes one of them impossible is refused.
        let image = self.image();
        let checked = image
            .topics()
            .into_iter()
            .try_for_each(|topic| admin.log_config(&topic.overrides).map(drop));
        if let Err(error) = checked {
            admin.layers = before;
            return Err(error.into());
        }
        if mode == Mode::ValidateOnly {
            admin.layers = before;
            return Ok(());
        }
        let txn = changes::set_configs(&admin.rows, &row_scope(scope, admin.node()), &rows);
        let refused = || TopicError::InvalidRequest { why: "the settings were changed meanwhile" };
        if let Err(error) = admin.commit(&txn, refused) {
            admin.layers = before;
            return Err(error);
        }
        admin.take_broker_layers();
        self.publish_settings(admin.settings());
        for topic in image.topics() {
            self.publish_topic(admin, topic.name());
        }
        Ok(())
    }

    fn named(&self, topic: &str) -> Result<Arc<Topic<E>>, TopicError> {
        if let Err(why) = TopicName::new(topic) {
            return Err(TopicError::InvalidName { name: topic.to_owned(), why });
        }
        self.topic(topic).ok_or_else(|| TopicError::Unknown { name: topic.to_owned() })
    }
}

/// Says which of the settings that somebody gave a topic nothing acts on yet. To keep for ever, -1, is what is done.
pub(crate) fn warn_of_idle(topic: &TopicName, given: &Overrides) {
    let idle = |key: &&str| registry::topic_key(key).is_ok_and(ConfigKey::is_idle);
    let kept = given.iter().filter(|(_, value)| value.trim() != "-1").map(|(key, _)| *key);
    let keys: Vec<&str> = kept.filter(idle).collect();
    if !keys.is_empty() {
        tracing::warn!(%topic, ?keys, "nothing is dropped by age, size or key yet: these settings are kept and shown only");
    }
}

fn check_dynamic(key: &'static ConfigKey, scope: BrokerScope) -> Result<(), ConfigError> {
    match (key.update(), scope) {
        (Update::ClusterWide, _) | (Update::PerBroker, BrokerScope::This) => Ok(()),
        (Update::ReadOnly, _) | (Update::PerBroker, BrokerScope::All) => {
            Err(ConfigError::ReadOnly { key: key.name() })
        }
    }
}

fn layer(layers: &BrokerLayers, scope: BrokerScope) -> &Overrides {
    match scope {
        BrokerScope::All => &layers.all_brokers,
        BrokerScope::This => &layers.this_broker,
    }
}

fn with_layer(layers: &BrokerLayers, scope: BrokerScope, changed: Overrides) -> BrokerLayers {
    let mut layers = layers.clone();
    match scope {
        BrokerScope::All => layers.all_brokers = changed,
        BrokerScope::This => layers.this_broker = changed,
    }
    layers
}

const fn row_scope(scope: BrokerScope, node: NodeId) -> ConfigScope {
    match scope {
        BrokerScope::All => ConfigScope::Brokers,
        BrokerScope::This => ConfigScope::Broker(node),
    }
}
