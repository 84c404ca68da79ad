//! The table of keys and the questions one asks it.

use std::fmt;

use super::{ConfigError, broker_keys, client_keys, group_keys, topic_keys, unused_keys, value};

/// Who reads a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// A producer or consumer.
    Client,
    /// The server (or the engine, embedded).
    Broker,
    /// A topic.
    Topic,
    /// A group.
    Group,
}

impl Owner {
    /// Where a setting of this owner is to be given.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Client => "give it to the producer or consumer",
            Self::Broker => "give it to the server (or to the engine's options)",
            Self::Topic => "give it to the topic when it is created, or alter it there",
            Self::Group => "alter it for the group, as GROUP resource",
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Broker => "broker",
            Self::Topic => "topic",
            Self::Group => "group",
        })
    }
}

/// What a value is; the numbers are Kafka's in `DescribeConfigs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i8)]
pub enum ConfigType {
    /// `true` or `false`.
    Boolean = 1,
    /// Text.
    String = 2,
    /// 32 bits.
    Int = 3,
    /// 16 bits.
    Short = 4,
    /// 64 bits.
    Long = 5,
    /// A floating-point number.
    Double = 6,
    /// Texts with commas between them.
    List = 7,
    /// A Java class.
    Class = 8,
    /// Text that is never shown.
    Password = 9,
}

impl ConfigType {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> i8 {
        match self {
            Self::Boolean => 1,
            Self::String => 2,
            Self::Int => 3,
            Self::Short => 4,
            Self::Long => 5,
            Self::Double => 6,
            Self::List => 7,
            Self::Class => 8,
            Self::Password => 9,
        }
    }
}

/// When a broker's setting can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Update {
    /// Only with the configuration the server starts with.
    ReadOnly,
    /// At any time, for one broker.
    PerBroker,
    /// At any time, for one broker or for all.
    ClusterWide,
}

/// What a value may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bounds {
    /// Anything of the type.
    Any,
    /// A whole number in this range, both ends included.
    Range(i64, i64),
    /// A number from 0 to 1.
    Ratio,
    /// One of these words; in a list, each entry.
    OneOf(&'static [&'static str]),
    /// One of these words, written small or large.
    OneOfInAnyCase(&'static [&'static str]),
    /// -1, or 1 to 9.
    GzipLevel,
}

/// By how much a synonym's unit is coarser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// The same unit.
    Same,
    /// Minutes, where the key has milliseconds.
    Minutes,
    /// Hours, where the key has milliseconds.
    Hours,
}

/// One setting: what it is called, what it may be, what it does.
#[derive(Clone, Copy, Debug)]
pub struct ConfigKey {
    pub(crate) name: &'static str,
    pub(crate) owner: Owner,
    pub(crate) config_type: ConfigType,
    /// `None`: no value unless somebody gives one.
    pub(crate) default: Option<&'static str>,
    pub(crate) bounds: Bounds,
    /// Broker keys that stand for a topic's or group's key, strongest first; for a broker key: other spellings of itself.
    pub(crate) synonyms: &'static [(&'static str, Scale)],
    pub(crate) update: Update,
    pub(crate) documentation: &'static str,
}

impl ConfigKey {
    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Who reads it.
    #[must_use]
    pub const fn owner(&self) -> Owner {
        self.owner
    }

    /// What its values are.
    #[must_use]
    pub const fn config_type(&self) -> ConfigType {
        self.config_type
    }

    /// Its value where nobody gave one.
    #[must_use]
    pub const fn default_value(&self) -> Option<&'static str> {
        self.default
    }

    /// When it can change.
    #[must_use]
    pub const fn update(&self) -> Update {
        self.update
    }

    /// What it does.
    #[must_use]
    pub const fn documentation(&self) -> &'static str {
        self.documentation
    }

    /// Whether it is one of retention or compaction: kept and shown, and nothing acts on it yet. Records stay until
    /// [`crate::PartitionHandle::delete_records`] or the deletion of their topic.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.owner == Owner::Topic && topic_keys::IDLE.contains(&self.name)
    }

    /// Checks that the key can have this value.
    ///
    /// # Errors
    /// Says what the key may be.
    pub fn check(&'static self, text: &str) -> Result<(), ConfigError> {
        value::check(self, text)
    }

    /// Whether its values must not be shown.
    #[must_use]
    pub const fn is_sensitive(&self) -> bool {
        matches!(self.config_type, ConfigType::Password)
    }
}

/// A setting of Kafka's brokers that nothing here reads.
#[derive(Clone, Copy, Debug)]
pub struct UnusedKey {
    pub(crate) name: &'static str,
    pub(crate) when: When,
}

/// When a setting may be ignored.
#[derive(Clone, Copy, Debug)]
pub(crate) enum When {
    /// Whatever it is.
    Always,
    /// Where it has no value or this one.
    Only {
        /// Kafka's default.
        value: &'static str,
        /// What would be otherwise if it were ignored.
        without: &'static str,
    },
}

impl UnusedKey {
    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Checks that it may be ignored with this value.
    ///
    /// # Errors
    /// [`ConfigError::NotServed`]: somebody would be let in, or something lost or answered otherwise, that the value forbids.
    pub fn check(&self, text: &str) -> Result<(), ConfigError> {
        let Self { name: key, when: When::Only { value, without } } = *self else {
            return Ok(());
        };
        let text = text.trim();
        if text.is_empty() || text.eq_ignore_ascii_case(value) {
            return Ok(());
        }
        Err(ConfigError::NotServed { key, found: text.to_owned(), without })
    }
}

/// All settings of Kafka's brokers that nothing here reads, by name.
#[must_use]
pub const fn unused_keys() -> &'static [UnusedKey] {
    unused_keys::KEYS
}

/// The one of them called `name`; also one of TLS or SASL for a listener, `listener.name.NAME.KEY`.
#[must_use]
pub fn unused_key(name: &str) -> Option<&'static UnusedKey> {
    let find = |name: &str| {
        let at = unused_keys::KEYS.binary_search_by(|key| key.name.cmp(name)).ok()?;
        unused_keys::KEYS.get(at)
    };
    let Some(of_listener) = name.strip_prefix("listener.name.") else { return find(name) };
    let places = of_listener.match_indices('.');
    let keys = places.filter_map(|(dot, _)| of_listener.get(dot + 1..));
    keys.filter(|key| key.starts_with("ssl.") || key.starts_with("sasl.")).find_map(find)
}

/// All settings of topics, by name; also those that nothing acts on yet ([`ConfigKey::is_idle`]).
#[must_use]
pub const fn topic_keys() -> &'static [ConfigKey] {
    topic_keys::KEYS
}

/// All settings of brokers, by name.
#[must_use]
pub const fn broker_keys() -> &'static [ConfigKey] {
    broker_keys::KEYS
}

/// All settings of groups, by name.
#[must_use]
pub const fn group_keys() -> &'static [ConfigKey] {
    group_keys::KEYS
}

/// The topic setting called `name`.
///
/// # Errors
/// Names the owner of a key that is not a topic's, or a key with almost the same name.
pub fn topic_key(name: &str) -> Result<&'static ConfigKey, ConfigError> {
    find(topic_keys::KEYS, name).ok_or_else(|| misplaced(name, Owner::Topic))
}

/// The broker setting called `name`.
///
/// # Errors
/// As [`topic_key`].
pub fn broker_key(name: &str) -> Result<&'static ConfigKey, ConfigError> {
    find(broker_keys::KEYS, name).ok_or_else(|| misplaced(name, Owner::Broker))
}

/// The group setting called `name`.
///
/// # Errors
/// As [`topic_key`].
pub fn group_key(name: &str) -> Result<&'static ConfigKey, ConfigError> {
    find(group_keys::KEYS, name).ok_or_else(|| misplaced(name, Owner::Group))
}

/// The name of the client setting called `name`.
///
/// # Errors
/// As [`topic_key`].
pub fn client_key(name: &str) -> Result<&'static str, ConfigError> {
    find_client(name).ok_or_else(|| misplaced(name, Owner::Client))
}

fn find(keys: &'static [ConfigKey], name: &str) -> Option<&'static ConfigKey> {
    let at = keys.binary_search_by(|key| key.name.cmp(name)).ok()?;
    keys.get(at)
}

fn find_client(name: &str) -> Option<&'static str> {
    client_keys::KEYS.iter().copied().find(|&key| key == name)
}

fn misplaced(name: &str, asked: Owner) -> ConfigError {
    if let Some(&(key, instead)) = client_keys::GONE.iter().find(|(key, _)| *key == name) {
        return ConfigError::Gone { key, instead };
    }
    // A client's name wins over a broker's where both have it (request.timeout.ms): people who misplace a key mean theirs.
    let elsewhere = [
        find(topic_keys::KEYS, name).map(|key| (key.name, Owner::Topic)),
        find_client(name).map(|key| (key, Owner::Client)),
        find(broker_keys::KEYS, name).map(|key| (key.name, Owner::Broker)),
        find(group_keys::KEYS, name).map(|key| (key.name, Owner::Group)),
    ];
    match elsewhere.into_iter().flatten().find(|(_, owner)| *owner != asked) {
        Some((key, owner)) => ConfigError::WrongOwner { key, owner, asked },
        None => ConfigError::UnknownKey { key: name.to_owned(), near: nearest(name, asked) },
    }
}

/// The key of `asked` that differs from `name` in at most two places.
fn nearest(name: &str, asked: Owner) -> Option<&'static str> {
    let names: Vec<&'static str> = match asked {
        Owner::Topic => topic_keys::KEYS.iter().map(|key| key.name).collect(),
        Owner::Broker => broker_keys::KEYS.iter().map(|key| key.name).collect(),
        Owner::Group => group_keys::KEYS.iter().map(|key| key.name).collect(),
        Owner::Client => client_keys::KEYS.to_vec(),
    };
    let close = names.into_iter().map(|key| (distance(name, key), key)).min()?;
    (close.0 <= 2).then_some(close.1)
}

/// Insertions, removals and replacements between two short texts (Levenshtein); texts that differ much in length are far.
fn distance(a: &str, b: &str) -> usize {
    if a.len().abs_diff(b.len()) > 2 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let best = (diagonal + usize::from(x != y)).min(left + 1).min(*cell + 1);
            diagonal = *cell;
            *cell = best;
            left = best;
        }
    }
    row.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_tables_are_sorted_and_without_doubles() {
        for keys in [topic_keys(), broker_keys(), group_keys()] {
            for pair in keys.windows(2) {
                assert!(pair[0].name < pair[1].name, "{} before {}", pair[0].name, pair[1].name);
            }
        }
        for pair in unused_keys().windows(2) {
            assert!(pair[0].name < pair[1].name, "{} before {}", pair[0].name, pair[1].name);
        }
        for unused in unused_keys() {
            assert!(broker_key(unused.name).is_err(), "{} is used", unused.name);
        }
        let clients: BTreeSet<_> = client_keys::KEYS.iter().collect();
        assert_eq!(clients.len(), client_keys::KEYS.len());
    }

    #[test]
    fn what_nothing_acts_on_says_so() {
        let idle: Vec<_> = topic_keys().iter().filter(|key| key.is_idle()).collect();
        assert_eq!(idle.len(), topic_keys::IDLE.len(), "a name that no key has");
        assert!(idle.iter().all(|key| key.documentation.contains(" yet")));
    }

    #[test]
    fn every_default_is_a_value_its_key_may_have() {
        for key in topic_keys().iter().chain(broker_keys()).chain(group_keys()) {
            if let Some(default) = key.default {
                value::check(key, default).unwrap_or_else(|e| panic!("{e}"));
            }
            assert!(!key.documentation.is_empty(), "{} has no documentation", key.name);
        }
    }

    #[test]
    fn every_synonym_of_a_topic_or_group_key_is_a_broker_key_of_the_same_type() {
        for key in topic_keys().iter().chain(group_keys()) {
            for (name, _) in key.synonyms {
                let synonym = broker_key(name).unwrap();
                if key.name.starts_with("segment.ms") || key.config_type == synonym.config_type {
                    continue;
                }
                // Kafka types the coarser spellings as Int.
                assert_eq!(synonym.config_type, ConfigType::Int, "{} and {name}", key.name);
            }
        }
    }

    #[test]
    fn a_misplaced_key_names_its_owner() {
        let owner = |result: Result<&'static ConfigKey, ConfigError>| match result {
            Err(ConfigError::WrongOwner { owner, .. }) => owner,
            other => panic!("{other:?}"),
        };
        assert_eq!(owner(topic_key("log.segment.bytes")), Owner::Broker);
        assert_eq!(owner(topic_key("acks")), Owner::Client);
        assert_eq!(owner(topic_key("max.in.flight.requests.per.connection")), Owner::Client);
        assert_eq!(owner(broker_key("enable.idempotence")), Owner::Client);
        assert_eq!(owner(broker_key("cleanup.policy")), Owner::Topic);
        assert_eq!(owner(topic_key("consumer.session.timeout.ms")), Owner::Group);
        assert_eq!(owner(group_key("session.timeout.ms")), Owner::Client);
        assert!(matches!(
            client_key("min.insync.replicas"),
            Err(ConfigError::WrongOwner { owner: Owner::Topic, .. })
        ));
    }

    #[test]
    fn a_misspelt_key_gets_the_right_name_offered() {
        assert_eq!(
            topic_key("retension.ms").unwrap_err(),
            ConfigError::UnknownKey { key: "retension.ms".to_owned(), near: Some("retention.ms") }
        );
        assert!(matches!(topic_key("no.such"), Err(ConfigError::UnknownKey { near: None, .. })));
    }

    #[test]
    fn a_key_of_an_earlier_release_says_what_took_its_place() {
        let refused = broker_key("zookeeper.session.timeout.ms").unwrap_err();
        assert!(refused.to_string().contains("broker.session.timeout.ms"), "{refused}");
    }

    #[test]
    fn what_nothing_reads_may_be_given_unless_ignoring_it_would_change_something() {
        let check = |name: &str, text| unused_key(name).unwrap().check(text);
        assert_eq!(check("telemetry.max.bytes", "7"), Ok(()));
        assert_eq!(check("listener.name.internal.ssl.keystore.location", "/a"), Ok(()));
        assert_eq!(check("listener.name.x.scram-sha-256.sasl.jaas.config", "a"), Ok(()));
        for (name, taken, refused) in [
            ("authorizer.class.name", "", "org.apache.kafka.StandardAuthorizer"),
            ("remote.log.storage.system.enable", " FALSE", "true"),
            ("max.connections.per.ip.overrides", "", "127.0.0.1:2"),
        ] {
            assert_eq!(check(name, taken), Ok(()));
            let error = check(name, refused).unwrap_err();
            assert!(error.to_string().starts_with(name), "{error}");
            assert!(error.to_string().contains(refused), "{error}");
        }
        assert!(unused_key("listener.name.internal.max.connections").is_none());
        assert!(unused_key("num.partitions").is_none() && unused_key("no.such").is_none());
    }
}
