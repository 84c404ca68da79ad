//! Which of several values of a key counts, and where it came from.
//!
//! ```text
//!   topic or group override > dynamic, this broker > dynamic, all brokers > static (server.properties) > default
//! ```

use std::{collections::BTreeMap, sync::Arc};

use super::{
    ConfigChange, ConfigError, ConfigOp,
    registry::{self, ConfigKey, ConfigType, Owner, Scale, Update},
    value,
};

/// The layer a value came from; the numbers are Kafka's in `DescribeConfigs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConfigSource {
    /// Given to the topic.
    Topic,
    /// Given to this broker while it ran.
    DynamicBroker,
    /// Given to all brokers while they ran.
    DynamicDefaultBroker,
    /// In the configuration the server started with.
    StaticBroker,
    /// Nobody gave it.
    Default,
    /// Given to the group.
    Group,
}

impl ConfigSource {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> i8 {
        match self {
            Self::Topic => 1,
            Self::DynamicBroker => 2,
            Self::DynamicDefaultBroker => 3,
            Self::StaticBroker => 4,
            Self::Default => 5,
            Self::Group => 8,
        }
    }
}

/// One layer's value under the name it has there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSynonym {
    /// The name.
    pub name: &'static str,
    /// The value; `None` when it must not be shown.
    pub value: Option<String>,
    /// The layer.
    pub source: ConfigSource,
}

/// A setting as `DescribeConfigs` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedConfig {
    /// Its name.
    pub name: &'static str,
    /// The value that counts; `None` when there is none or it must not be shown.
    pub value: Option<String>,
    /// Where that came from.
    pub source: ConfigSource,
    /// What its values are.
    pub config_type: ConfigType,
    /// Whether it cannot be changed while the server runs.
    pub update: Update,
    /// Whether its value must not be shown.
    pub sensitive: bool,
    /// All values, the one that counts first.
    pub synonyms: Vec<ConfigSynonym>,
    /// What it does.
    pub documentation: &'static str,
}

/// Values by key, of one layer.
pub(crate) type Overrides = BTreeMap<&'static str, String>;

/// The broker's layers.
#[derive(Clone, Debug, Default)]
pub(crate) struct BrokerLayers {
    pub(crate) fixed: Overrides,
    pub(crate) all_brokers: Overrides,
    pub(crate) this_broker: Overrides,
}

/// A value with its layer.
#[derive(Clone, Debug)]
struct Layered {
    name: &'static str,
    value: String,
    source: ConfigSource,
}

impl BrokerLayers {
    /// What was given for a broker key, strongest first; without its default.
    fn given(&self, name: &'static str) -> impl Iterator<Item = Layered> {
        let layers = [
            (&self.this_broker, ConfigSource::DynamicBroker),
            (&self.all_brokers, ConfigSource::DynamicDefaultBroker),
            (&self.fixed, ConfigSource::StaticBroker),
        ];
        layers.into_iter().filter_map(move |(layer, source)| {
            layer.get(name).map(|value| Layered { name, value: value.clone(), source })
        })
    }

    /// All values of a broker key, the one that counts first.
    fn broker(&self, key: &ConfigKey) -> Vec<Layered> {
        let (name, source) = (key.name, ConfigSource::Default);
        let default = key.default.map(|value| Layered { name, value: value.to_owned(), source });
        self.given(key.name).chain(default).collect()
    }

    /// All values of a topic's or group's key, the one that counts first.
    fn owned(&self, key: &ConfigKey, overrides: &Overrides) -> Vec<Layered> {
        let source = match key.owner {
            Owner::Group => ConfigSource::Group,
            Owner::Topic | Owner::Broker | Owner::Client => ConfigSource::Topic,
        };
        let own = overrides.get(key.name).map(|value| Layered {
            name: key.name,
            value: value.clone(),
            source,
        });
        let given = key.synonyms.iter().flat_map(|&(name, scale)| {
            self.given(name)
                .map(move |layered| Layered { value: scaled(&layered.value, scale), ..layered })
        });
        let name = key.synonyms.first().map_or(key.name, |(name, _)| *name);
        let default = key.default.map(|value| Layered {
            name,
            value: value.to_owned(),
            source: ConfigSource::Default,
        });
        own.into_iter().chain(given).chain(default).collect()
    }

    /// The value of a topic's or group's key that counts.
    pub(crate) fn owned_value(&self, key: &ConfigKey, overrides: &Overrides) -> Option<String> {
        self.owned(key, overrides).into_iter().next().map(|layered| layered.value)
    }

    pub(crate) fn describe_owned(&self, key: &ConfigKey, overrides: &Overrides) -> DescribedConfig {
        describe(key, &self.owned(key, overrides))
    }

    pub(crate) fn describe_broker(&self, key: &ConfigKey) -> DescribedConfig {
        describe(key, &self.broker(key))
    }
}

fn describe(key: &ConfigKey, values: &[Layered]) -> DescribedConfig {
    let shown = |value: &str| (!key.is_sensitive()).then(|| value.to_owned());
    let counts = values.first();
    DescribedConfig {
        name: key.name,
        value: counts.and_then(|layered| shown(&layered.value)),
        source: counts.map_or(ConfigSource::Default, |layered| layered.source),
        config_type: key.config_type,
        update: key.update,
        sensitive: key.is_sensitive(),
        synonyms: values
            .iter()
            .map(|&Layered { name, ref value, source }| ConfigSynonym {
                name,
                value: shown(value),
                source,
            })
            .collect(),
        documentation: key.documentation,
    }
}

/// A value in the unit of the key it stands for; any negative time means "for ever" (`KafkaConfig.logRetentionTimeMillis`).
fn scaled(text: &str, scale: Scale) -> String {
    let factor = match scale {
        Scale::Same => return text.to_owned(),
        Scale::Minutes => 60_000,
        Scale::Hours => 3_600_000,
    };
    match value::long(text) {
        Some(number) if number < 0 => "-1".to_owned(),
        Some(number) => number.saturating_mul(factor).to_string(),
        None => text.to_owned(),
    }
}

/// The broker's settings at one moment.
#[derive(Clone, Debug)]
pub struct Settings(pub(crate) Arc<BrokerLayers>);

impl Settings {
    /// The value of a broker key that counts.
    ///
    /// `None` when it has none, or no broker key is called so.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<String> {
        let key = registry::broker_key(key).ok()?;
        self.0.broker(key).into_iter().next().map(|layered| layered.value)
    }

    /// The same as a whole number.
    #[must_use]
    pub fn long(&self, key: &str) -> Option<i64> {
        value::long(&self.text(key)?)
    }

    /// The whole number that somebody gave; `None` where the default counts.
    #[must_use]
    pub fn given_long(&self, key: &str) -> Option<i64> {
        let key = registry::broker_key(key).ok()?;
        value::long(&self.0.given(key.name).next()?.value)
    }

    /// [`Settings::long`] as a number of 32 bits, held at their ends.
    #[must_use]
    pub fn int(&self, key: &str) -> Option<i32> {
        let long = self.long(key)?;
        Some(i32::try_from(long).unwrap_or(if long < 0 { i32::MIN } else { i32::MAX }))
    }

    /// [`Settings::text`] as a truth value.
    #[must_use]
    pub fn flag(&self, key: &str) -> Option<bool> {
        value::boolean(&self.text(key)?)
    }

    /// The number that counts for a group with these overrides; 0 for a key that is no group's.
    pub(crate) fn group_int(&self, key: &str, overrides: &Overrides) -> i32 {
        let value =
            registry::group_key(key).ok().and_then(|key| self.0.owned_value(key, overrides));
        let long = value.and_then(|text| value::long(&text)).unwrap_or(0);
        i32::try_from(long).unwrap_or(i32::MAX)
    }

    /// The entries of a list; empty when it has no value.
    #[must_use]
    pub fn list(&self, key: &str) -> Vec<String> {
        let text = self.text(key).unwrap_or_default();
        value::list(&text).map(str::to_owned).collect()
    }
}

fn key_of(owner: Owner, name: &str) -> Result<&'static ConfigKey, ConfigError> {
    match owner {
        Owner::Topic => registry::topic_key(name),
        Owner::Group => registry::group_key(name),
        Owner::Broker | Owner::Client => registry::broker_key(name),
    }
}

/// Bytes of a value that is given while the server runs (`ConfigurationControlManager`).
const VALUE_BYTES_MAX: usize = 32_767;

/// Checks a value that is to be stored. Before anything else how long it is: what is wrong with it is told with the value.
fn check(key: &'static ConfigKey, text: &str) -> Result<(), ConfigError> {
    let (max, found) = (VALUE_BYTES_MAX, text.len());
    if found > max {
        return Err(ConfigError::TooLong { key: key.name, max, found });
    }
    value::check(key, text)
}

/// One layer with changes made to it (`IncrementalAlterConfigs`); `effective` says what a key is where the layer says nothing.
pub(crate) fn apply_changes(
    owner: Owner,
    current: &Overrides,
    changes: &[ConfigChange],
    effective: impl Fn(&'static ConfigKey) -> Option<String>,
) -> Result<Overrides, ConfigError> {
    let mut changed = current.clone();
    for (at, change) in changes.iter().enumerate() {
        if changes.iter().take(at).any(|earlier| earlier.key == change.key) {
            return Err(ConfigError::Twice { key: change.key.clone() });
        }
        let key = key_of(owner, &change.key)?;
        let base = || current.get(key.name).cloned().or_else(|| effective(key)).unwrap_or_default();
        let new = match &change.op {
            ConfigOp::Set(text) => text.clone(),
            ConfigOp::Delete => {
                changed.remove(key.name);
                continue;
            }
            ConfigOp::Append(_) | ConfigOp::Subtract(_) if key.config_type != ConfigType::List => {
                return Err(ConfigError::NoList { key: key.name });
            }
            ConfigOp::Append(text) => {
                let base = base();
                let mut entries: Vec<&str> = value::list(&base).collect();
                for entry in value::list(text) {
                    if !entries.contains(&entry) {
                        entries.push(entry);
                    }
                }
                entries.join(",")
            }
            ConfigOp::Subtract(text) => {
                let base = base();
                let gone: Vec<&str> = value::list(text).collect();
                value::list(&base)
                    .filter(|entry| !gone.contains(entry))
                    .collect::<Vec<_>>()
                    .join(",")
            }
        };
        check(key, &new)?;
        changed.insert(key.name, new);
    }
    Ok(changed)
}

/// A layer that holds these values and no others (`AlterConfigs`, `CreateTopics`).
pub(crate) fn replacement<'a>(
    owner: Owner,
    pairs: impl IntoIterator<Item = (&'a str, Option<&'a str>)>,
) -> Result<Overrides, ConfigError> {
    let mut layer = Overrides::new();
    for (name, text) in pairs {
        let key = key_of(owner, name)?;
        let text = text.ok_or_else(|| ConfigError::NullValue { key: name.to_owned() })?;
        check(key, text)?;
        if layer.insert(key.name, text.to_owned()).is_some() {
            return Err(ConfigError::Twice { key: name.to_owned() });
        }
    }
    Ok(layer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::registry::{broker_key, topic_key};

    fn layers() -> BrokerLayers {
        BrokerLayers::default()
    }

    fn set(key: &str, text: &str) -> ConfigChange {
        ConfigChange { key: key.to_owned(), op: ConfigOp::Set(text.to_owned()) }
    }

    #[test]
    fn the_stronger_layer_counts_and_all_are_shown() {
        let mut broker = layers();
        let key = topic_key("max.message.bytes").unwrap();
        let described = broker.describe_owned(key, &Overrides::new());
        assert_eq!(described.source, ConfigSource::Default);
        assert_eq!(described.synonyms.len(), 1);
        assert_eq!(described.synonyms[0].name, "message.max.bytes");

        broker.fixed.insert("message.max.bytes", "2000".to_owned());
        broker.all_brokers.insert("message.max.bytes", "3000".to_owned());
        let own = Overrides::from([("max.message.bytes", "4000".to_owned())]);
        let described = broker.describe_owned(key, &own);
        let seen: Vec<_> =
            described.synonyms.iter().map(|s| (s.value.as_deref().unwrap(), s.source)).collect();
        assert_eq!(
            seen,
            [
                ("4000", ConfigSource::Topic),
                ("3000", ConfigSource::DynamicDefaultBroker),
                ("2000", ConfigSource::StaticBroker),
                ("1048588", ConfigSource::Default),
            ]
        );
        assert_eq!(broker.owned_value(key, &Overrides::new()).as_deref(), Some("3000"));
    }

    #[test]
    fn hours_and_minutes_stand_for_milliseconds() {
        let mut broker = layers();
        let key = topic_key("retention.ms").unwrap();
        broker.fixed.insert("log.retention.hours", "2".to_owned());
        assert_eq!(broker.owned_value(key, &Overrides::new()).as_deref(), Some("7200000"));
        broker.fixed.insert("log.retention.minutes", "3".to_owned());
        assert_eq!(broker.owned_value(key, &Overrides::new()).as_deref(), Some("180000"));
        broker.fixed.insert("log.retention.ms", "7".to_owned());
        assert_eq!(broker.owned_value(key, &Overrides::new()).as_deref(), Some("7"));
        broker.fixed.clear();
        broker.fixed.insert("log.retention.hours", "-1".to_owned());
        assert_eq!(broker.owned_value(key, &Overrides::new()).as_deref(), Some("-1"));
    }

    #[test]
    fn lists_can_be_added_to_and_taken_from() {
        let broker = layers();
        let effective = |key: &'static ConfigKey| broker.owned_value(key, &Overrides::new());
        let op = |op| ConfigChange { key: "cleanup.policy".to_owned(), op };
        let append = [op(ConfigOp::Append("compact".to_owned()))];
        let both = apply_changes(Owner::Topic, &Overrides::new(), &append, effective).unwrap();
        assert_eq!(both["cleanup.policy"], "delete,compact");
        let subtract = [op(ConfigOp::Subtract("delete".to_owned()))];
        let one = apply_changes(Owner::Topic, &both, &subtract, effective).unwrap();
        assert_eq!(one["cleanup.policy"], "compact");
        let last = [op(ConfigOp::Subtract("compact".to_owned()))];
        assert!(apply_changes(Owner::Topic, &one, &last, effective).is_err());
        let number =
            [ConfigChange { key: "retention.ms".to_owned(), op: ConfigOp::Append("1".to_owned()) }];
        assert_eq!(
            apply_changes(Owner::Topic, &one, &number, effective).unwrap_err(),
            ConfigError::NoList { key: "retention.ms" }
        );
    }

    #[test]
    fn a_refused_change_leaves_the_layer_as_it_was() {
        let current = Overrides::from([("retention.ms", "5".to_owned())]);
        let changes = [set("max.message.bytes", "10"), set("retention.ms", "soon")];
        assert!(apply_changes(Owner::Topic, &current, &changes, |_| None).is_err());
        let twice = [set("retention.ms", "1"), set("retention.ms", "2")];
        assert!(matches!(
            apply_changes(Owner::Topic, &current, &twice, |_| None),
            Err(ConfigError::Twice { .. })
        ));
        assert_eq!(current["retention.ms"], "5");
    }

    #[test]
    fn settings_are_read_by_kind() {
        let mut broker = layers();
        broker.fixed.insert("log.dirs", "/a, /b".to_owned());
        let settings = Settings(Arc::new(broker));
        assert_eq!(settings.long("num.partitions"), Some(1));
        assert_eq!(settings.flag("auto.create.topics.enable"), Some(true));
        assert_eq!(settings.list("log.dirs"), ["/a", "/b"]);
        assert_eq!(settings.text("node.id"), None);
        assert_eq!(settings.long("retention.ms"), None, "a topic's key");
        assert!(broker_key("num.partitions").is_ok());
    }
}
