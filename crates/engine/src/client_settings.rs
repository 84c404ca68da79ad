//! What a producer or consumer is told, in Kafka's keys, with checks that say why.

use std::fmt;

use hanbeon_log::Isolation;
use hanbeon_records::{Codec, CompressionLevel};

use crate::config::{ConfigError, registry};

/// A client's setting that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingError {
    /// A key that nobody knows, or one of a topic or the broker.
    #[error(transparent)]
    Key(#[from] ConfigError),
    /// A value that the key cannot have.
    #[error("{key} is {expected}, found {found:?}")]
    Value {
        /// The key.
        key: &'static str,
        /// What it may be.
        expected: &'static str,
        /// The refused value.
        found: String,
    },
    /// A setting that would undo the dedupe.
    #[error("{key} = {found} would undo enable.idempotence, which needs {needed}: {why}")]
    UndoesIdempotence {
        /// The key.
        key: &'static str,
        /// Its value.
        found: String,
        /// What idempotence needs.
        needed: &'static str,
        /// Why.
        why: &'static str,
    },
    /// A name that belongs to one producer, and not into settings that many may share.
    #[error(
        "transactional.id is not set here: name it in Engine::transactional_producer, it makes the producer a transactional one"
    )]
    NamedElsewhere,
    /// A name that belongs to one consumer, and not into settings that many may share.
    #[error(
        "{key} is not set here: name it where the consumer is made, with Engine::group_consumer"
    )]
    NamedByConsumer {
        /// The key.
        key: &'static str,
    },
    /// A setting without a meaning where there is no network.
    #[error("{key} has no meaning in one process: leave it out")]
    NoMeaning {
        /// The key.
        key: &'static str,
    },
}

/// What a [`crate::Producer`] is told. Always idempotent: a retry is never written twice.
///
/// ```
/// use hanbeon::ProducerSettings;
///
/// let settings = ProducerSettings::new().set("batch.size", "65536")?.set("compression.type", "lz4")?;
/// let refused = settings.set("acks", "1").unwrap_err();
/// assert!(refused.to_string().contains("would undo enable.idempotence"));
/// # Ok::<(), hanbeon::SettingError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ProducerSettings {
    pub(crate) batch_size: usize,
    pub(crate) retries: u32,
    pub(crate) codec: Codec,
    /// Levels given, by the codec they are for.
    levels: [Option<i32>; 3],
    pub(crate) ignore_keys: IgnoreKeys,
    pub(crate) transaction_timeout_ms: i32,
    pub(crate) max_block_ms: u64,
}

/// Whether records go to partitions by their keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IgnoreKeys {
    Yes,
    No,
}

/// Kafka's own; a batch with a larger record holds that one alone.
const BATCH_SIZE: usize = 16_384;

impl Default for ProducerSettings {
    fn default() -> Self {
        Self::new()
    }
}

impl ProducerSettings {
    /// Kafka's defaults.
    pub const fn new() -> Self {
        Self {
            batch_size: BATCH_SIZE,
            retries: 10,
            codec: Codec::None,
            levels: [None; 3],
            ignore_keys: IgnoreKeys::No,
            transaction_timeout_ms: 60_000,
            max_block_ms: 60_000,
        }
    }

    /// How hard the codec tries.
    pub(crate) fn level(&self) -> CompressionLevel {
        let [gzip, lz4, zstd] = self.levels;
        let given = match self.codec {
            Codec::Gzip => gzip,
            Codec::Lz4 => lz4,
            Codec::Zstd => zstd,
            Codec::None | Codec::Snappy => None,
        };
        given.map_or(CompressionLevel::DEFAULT, CompressionLevel::new)
    }

    /// Gives a key of `ProducerConfig` its value.
    ///
    /// Where there is no network nothing is gained by waiting, and no answer gets lost. So these are taken, that a client's settings can be used
    /// as they are, and have no effect: `linger.ms`, `delivery.timeout.ms`, `request.timeout.ms`, `retry.backoff.ms`, `retry.backoff.max.ms`,
    /// `buffer.memory`, `client.id`, and `max.request.size`: the largest batch is the topic's `max.message.bytes`.
    ///
    /// # Errors
    /// The key is unknown or not a producer's, it cannot have the value, or it would undo the dedupe.
    pub fn set(mut self, key: &str, value: &str) -> Result<Self, SettingError> {
        let key = registry::client_key(key)?;
        let undoes = |needed, why| {
            Err(SettingError::UndoesIdempotence { key, found: value.to_owned(), needed, why })
        };
        match key {
            "enable.idempotence" => match flag(key, value)? {
                true => {}
                false => {
                    return undoes(
                        "true",
                        "without it a retry whose first answer was lost is written twice",
                    );
                }
            },
            "acks" => match value.trim() {
                "all" | "-1" => {}
                "0" | "1" => {
                    return undoes(
                        "acks = all",
                        "a new leader may lack a record that only one replica acknowledged, and the retry would be a gap",
                    );
                }
                _ => return refused(key, "all, 1 or 0", value),
            },
            "max.in.flight.requests.per.connection" => match number(key, value)? {
                1..=5 => {}
                0 => return refused(key, "1 to 5", value),
                _ => {
                    return undoes(
                        "5 at most",
                        "a partition remembers five batches of each producer, and a retry of an older one would not be recognised",
                    );
                }
            },
            "retries" => match number(key, value)? {
                0 => {
                    return undoes(
                        "1 or more",
                        "a record whose answer is lost would be given up although sending it again is safe",
                    );
                }
                retries => self.retries = u32::try_from(retries).unwrap_or(u32::MAX),
            },
            "batch.size" => {
                self.batch_size = usize::try_from(number(key, value)?).unwrap_or(usize::MAX);
            }
            "compression.type" => self.codec = codec(key, value)?,
            "compression.gzip.level" => self.levels[0] = Some(level(key, value)?),
            "compression.lz4.level" => self.levels[1] = Some(level(key, value)?),
            "compression.zstd.level" => self.levels[2] = Some(level(key, value)?),
            "partitioner.ignore.keys" => {
                self.ignore_keys = if flag(key, value)? { IgnoreKeys::Yes } else { IgnoreKeys::No };
            }
            // A plain producer has no transactions; that the broker's transaction.max.timeout.ms allows it is checked when one that has begins.
            "transaction.timeout.ms" => match i32::try_from(number(key, value)?) {
                Ok(ms) if ms > 0 => self.transaction_timeout_ms = ms,
                Ok(_) | Err(_) => return refused(key, "1 to 2147483647 milliseconds", value),
            },
            "transactional.id" => return Err(SettingError::NamedElsewhere),
            "max.block.ms" => self.max_block_ms = number(key, value)?,
            "linger.ms"
            | "delivery.timeout.ms"
            | "request.timeout.ms"
            | "buffer.memory"
            | "max.request.size"
            | "retry.backoff.ms"
            | "retry.backoff.max.ms" => without_effect(key, value)?,
            "client.id" => {}
            _ => return Err(SettingError::NoMeaning { key }),
        }
        Ok(self)
    }
}

/// Where a consumer begins in a partition whose offset is not there, or was never set (`auto.offset.reset`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// At the first record.
    Earliest,
    /// Behind the last record.
    Latest,
    /// Nowhere: the reader is told.
    Fail,
}

/// What a [`crate::Consumer`] or a [`crate::GroupConsumer`] is told.
///
/// ```
/// use hanbeon::{ConsumerSettings, Reset};
///
/// let settings = ConsumerSettings::new().set("isolation.level", "read_uncommitted")?.reset(Reset::Fail);
/// # Ok::<(), hanbeon::SettingError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ConsumerSettings {
    pub(crate) isolation: Isolation,
    pub(crate) reset: Reset,
    pub(crate) max_partition_fetch_bytes: usize,
    pub(crate) max_poll_records: usize,
    pub(crate) max_poll_interval_ms: i32,
    pub(crate) checksums: Checksums,
}

/// Whether a consumer looks at the checksum of each batch (`check.crcs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checksums {
    Checked,
    Trusted,
}

impl Default for ConsumerSettings {
    fn default() -> Self {
        Self::new()
    }
}

impl ConsumerSettings {
    /// Sees committed records only, from the first on. (Kafka's defaults are `read_uncommitted` and `latest`.)
    pub const fn new() -> Self {
        Self {
            isolation: Isolation::Committed,
            reset: Reset::Earliest,
            max_partition_fetch_bytes: 1 << 20,
            max_poll_records: 500,
            max_poll_interval_ms: 300_000,
            checksums: Checksums::Checked,
        }
    }

    /// Where to begin without an offset.
    pub const fn reset(mut self, reset: Reset) -> Self {
        self.reset = reset;
        self
    }

    /// Gives a key of `ConsumerConfig` its value. `fetch.min.bytes`, `fetch.max.wait.ms` and `client.id` are taken and have no effect: a poll
    /// waits as long as it is told.
    ///
    /// # Errors
    /// The key is unknown or not a consumer's, or it cannot have the value.
    pub fn set(mut self, key: &str, value: &str) -> Result<Self, SettingError> {
        let key = registry::client_key(key)?;
        match key {
            "isolation.level" => {
                self.isolation = match value.trim() {
                    "read_committed" => Isolation::Committed,
                    "read_uncommitted" => Isolation::Uncommitted,
                    _ => return refused(key, "read_committed or read_uncommitted", value),
                }
            }
            "auto.offset.reset" => {
                self.reset = match value.trim() {
                    "earliest" => Reset::Earliest,
                    "latest" => Reset::Latest,
                    "none" => Reset::Fail,
                    _ => return refused(key, "earliest, latest or none", value),
                }
            }
            "max.partition.fetch.bytes" => {
                self.max_partition_fetch_bytes =
                    usize::try_from(number(key, value)?).unwrap_or(usize::MAX);
            }
            "max.poll.records" => match number(key, value)? {
                0 => return refused(key, "1 or more", value),
                records => self.max_poll_records = usize::try_from(records).unwrap_or(usize::MAX),
            },
            // A consumer without a group keeps what it assigned to itself.
            "max.poll.interval.ms" => match i32::try_from(number(key, value)?) {
                Ok(ms) if ms > 0 => self.max_poll_interval_ms = ms,
                Ok(_) | Err(_) => return refused(key, "1 to 2147483647 milliseconds", value),
            },
            "check.crcs" => {
                let checked = flag(key, value)?;
                self.checksums = if checked { Checksums::Checked } else { Checksums::Trusted };
            }
            "group.id" | "group.instance.id" => return Err(SettingError::NamedByConsumer { key }),
            "fetch.min.bytes" | "fetch.max.wait.ms" => without_effect(key, value)?,
            "client.id" => {}
            _ => return Err(SettingError::NoMeaning { key }),
        }
        Ok(self)
    }
}

fn refused<T>(
    key: &'static str,
    expected: &'static str,
    found: impl fmt::Display,
) -> Result<T, SettingError> {
    Err(SettingError::Value { key, expected, found: found.to_string() })
}

fn flag(key: &'static str, value: &str) -> Result<bool, SettingError> {
    match value.trim() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => refused(key, "true or false", value),
    }
}

fn number(key: &'static str, value: &str) -> Result<u64, SettingError> {
    let parsed = value.trim().parse().ok();
    parsed.map_or_else(|| refused(key, "a whole number of 0 or more", value), Ok)
}

/// A number that Kafka's clients need and nothing here goes by.
fn without_effect(key: &'static str, value: &str) -> Result<(), SettingError> {
    number(key, value).map(drop)
}

/// A level in the bounds that the topic key of the same name has.
fn level(key: &'static str, value: &str) -> Result<i32, SettingError> {
    registry::topic_key(key)?.check(value)?;
    value.trim().parse().ok().map_or_else(|| refused(key, "a whole number", value), Ok)
}

fn codec(key: &'static str, value: &str) -> Result<Codec, SettingError> {
    Ok(match value.trim() {
        "none" => Codec::None,
        "gzip" => Codec::Gzip,
        "snappy" => Codec::Snappy,
        "lz4" => Codec::Lz4,
        "zstd" => Codec::Zstd,
        _ => return refused(key, "none, gzip, snappy, lz4 or zstd", value),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Owner;

    fn set(key: &str, value: &str) -> Result<ProducerSettings, SettingError> {
        ProducerSettings::new().set(key, value)
    }

    #[test]
    fn settings_that_undo_idempotence_are_refused_with_a_reason() {
        for (key, bad, good) in [
            ("enable.idempotence", "false", "true"),
            ("acks", "1", "all"),
            ("acks", "0", "-1"),
            ("max.in.flight.requests.per.connection", "6", "5"),
            ("retries", "0", "1"),
        ] {
            assert!(set(key, good).is_ok(), "{key} = {good}");
            let refused = set(key, bad).unwrap_err();
            assert!(matches!(refused, SettingError::UndoesIdempotence { .. }), "{refused}");
        }
    }

    #[test]
    fn a_transaction_has_a_timeout_and_its_producer_a_name_elsewhere() {
        assert_eq!(set("transaction.timeout.ms", "5000").unwrap().transaction_timeout_ms, 5000);
        for value in ["0", "-1", "2147483648", "soon"] {
            let refused = set("transaction.timeout.ms", value).unwrap_err();
            assert!(matches!(refused, SettingError::Value { .. }), "{value}: {refused}");
        }
        assert_eq!(set("transactional.id", "tx-1").unwrap_err(), SettingError::NamedElsewhere);
    }

    #[test]
    fn numbers_without_an_effect_are_numbers_all_the_same() {
        for key in [
            "linger.ms",
            "delivery.timeout.ms",
            "request.timeout.ms",
            "buffer.memory",
            "max.request.size",
            "retry.backoff.ms",
            "retry.backoff.max.ms",
        ] {
            assert!(set(key, " 120000 ").is_ok(), "{key}");
            for value in ["soon", "-1", "", "1.5"] {
                assert!(
                    matches!(set(key, value), Err(SettingError::Value { .. })),
                    "{key}: {value}"
                );
            }
        }
        for key in ["fetch.min.bytes", "fetch.max.wait.ms"] {
            assert!(ConsumerSettings::new().set(key, "1").is_ok());
            assert!(ConsumerSettings::new().set(key, "soon").is_err(), "{key}");
        }
        assert!(set("client.id", "soon").is_ok());
    }

    #[test]
    fn misplaced_keys_name_their_owner() {
        let owner = |result: Result<ProducerSettings, SettingError>| match result {
            Err(SettingError::Key(ConfigError::WrongOwner { owner, .. })) => owner,
            other => panic!("{other:?}"),
        };
        assert_eq!(owner(set("min.insync.replicas", "2")), Owner::Topic);
        assert_eq!(owner(set("num.partitions", "2")), Owner::Broker);
        assert!(matches!(set("bootstrap.servers", "x:1"), Err(SettingError::NoMeaning { .. })));
    }

    #[test]
    fn consumers_take_both_isolation_levels_and_no_other() {
        let set = |value| ConsumerSettings::new().set("isolation.level", value);
        assert_eq!(set("read_committed").unwrap().isolation, Isolation::Committed);
        assert_eq!(set("read_uncommitted").unwrap().isolation, Isolation::Uncommitted);
        assert!(set("serializable").is_err());
    }
}
