//! From the text of a value to what it means.

use super::{
    ConfigError,
    registry::{Bounds, ConfigKey, ConfigType},
};

/// Checks that `text` is a value `key` may have.
pub(super) fn check(key: &'static ConfigKey, text: &str) -> Result<(), ConfigError> {
    let fits = match key.config_type {
        ConfigType::Boolean => boolean(text).is_some_and(|_| match key.bounds {
            Bounds::OneOf(words) => words.contains(&text.trim().to_ascii_lowercase().as_str()),
            Bounds::Any
            | Bounds::Range(..)
            | Bounds::Ratio
            | Bounds::OneOfInAnyCase(_)
            | Bounds::GzipLevel => true,
        }),
        ConfigType::Short => whole(text, i64::from(i16::MIN), i64::from(i16::MAX), key.bounds),
        ConfigType::Int => whole(text, i64::from(i32::MIN), i64::from(i32::MAX), key.bounds),
        ConfigType::Long => whole(text, i64::MIN, i64::MAX, key.bounds),
        ConfigType::Double => double(text).is_some_and(|number| match key.bounds {
            Bounds::Ratio => (0.0..=1.0).contains(&number),
            Bounds::Any
            | Bounds::Range(..)
            | Bounds::OneOf(_)
            | Bounds::OneOfInAnyCase(_)
            | Bounds::GzipLevel => true,
        }),
        ConfigType::String | ConfigType::Class | ConfigType::Password => word(text, key.bounds),
        ConfigType::List => list(text).all(|entry| word(entry, key.bounds)),
    };
    // Kafka takes an empty cleanup.policy since 4.1 for "for ever"; no other list of fixed words may be empty.
    let empty = key.config_type == ConfigType::List
        && matches!(key.bounds, Bounds::OneOf(_))
        && list(text).next().is_none();
    if fits && !empty {
        return Ok(());
    }
    Err(ConfigError::BadValue { key: key.name, expected: expected(key), found: text.to_owned() })
}

/// `true` or `false` in any case, spaces around it left away.
pub(super) fn boolean(text: &str) -> Option<bool> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

/// A whole number, spaces around it left away.
pub(super) fn long(text: &str) -> Option<i64> {
    text.trim().parse().ok()
}

/// A number, spaces around it left away.
pub(super) fn double(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|number: &f64| !number.is_nan())
}

/// The entries of a list, without the spaces around them.
pub(super) fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

fn whole(text: &str, min: i64, max: i64, bounds: Bounds) -> bool {
    long(text).is_some_and(|number| {
        (min..=max).contains(&number)
            && match bounds {
                Bounds::Range(low, high) => (low..=high).contains(&number),
                Bounds::GzipLevel => number == -1 || (1..=9).contains(&number),
                Bounds::Any | Bounds::Ratio | Bounds::OneOf(_) | Bounds::OneOfInAnyCase(_) => true,
            }
    })
}

fn word(text: &str, bounds: Bounds) -> bool {
    match bounds {
        Bounds::OneOf(words) => words.contains(&text.trim()),
        Bounds::OneOfInAnyCase(words) => {
            words.iter().any(|word| word.eq_ignore_ascii_case(text.trim()))
        }
        Bounds::Any | Bounds::Range(..) | Bounds::Ratio | Bounds::GzipLevel => true,
    }
}

fn expected(key: &ConfigKey) -> String {
    match (key.bounds, key.config_type) {
        (Bounds::Range(low, high), _) if high == i64::MAX || high == i64::from(i32::MAX) => {
            format!("a whole number of {low} or more")
        }
        (Bounds::Range(low, high), _) => format!("a whole number from {low} to {high}"),
        (Bounds::GzipLevel, _) => "-1 or 1 to 9".to_owned(),
        (Bounds::Ratio, _) => "a number from 0 to 1".to_owned(),
        (Bounds::OneOf(words), ConfigType::List) => {
            format!("one or more of {} with commas between them", words.join(", "))
        }
        (Bounds::OneOf(words) | Bounds::OneOfInAnyCase(words), _) => {
            format!("one of {}", words.join(", "))
        }
        (Bounds::Any, ConfigType::Boolean) => "true or false".to_owned(),
        (Bounds::Any, ConfigType::Double) => "a number".to_owned(),
        (Bounds::Any, ConfigType::Short | ConfigType::Int | ConfigType::Long) => {
            "a whole number".to_owned()
        }
        (
            Bounds::Any,
            ConfigType::String | ConfigType::List | ConfigType::Class | ConfigType::Password,
        ) => "text".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::registry::{broker_key, topic_key};

    fn taken(name: &str, text: &str) -> bool {
        check(topic_key(name).unwrap(), text).is_ok()
    }

    #[test]
    fn values_are_read_as_kafka_reads_them() {
        assert!(taken("retention.ms", " 5000 "));
        assert!(taken("preallocate", "TRUE"));
        assert!(taken("cleanup.policy", "compact, delete"));
        assert!(taken("min.cleanable.dirty.ratio", "1"));
        assert!(!taken("retention.ms", "soon"));
        assert!(!taken("retention.ms", "-2"));
        assert!(!taken("max.message.bytes", "2147483648"));
        assert!(!taken("cleanup.policy", "shred"));
        assert!(!taken("cleanup.policy", ""));
        assert!(!taken("preallocate", "yes"));
        assert!(!taken("min.cleanable.dirty.ratio", "1.01"));
        assert!(!taken("min.cleanable.dirty.ratio", "NaN"));
        assert!(!taken("compression.gzip.level", "0"));
        assert!(!taken("remote.storage.enable", "true"));
        let policy = |text| check(broker_key("group.consumer.migration.policy").unwrap(), text);
        assert!(policy("UPGRADE").is_ok() && policy("Bidirectional").is_ok());
        assert!(policy("sideways").is_err());
    }

    #[test]
    fn a_refusal_says_what_the_key_may_be() {
        let refused = check(topic_key("retention.ms").unwrap(), "soon").unwrap_err();
        assert_eq!(
            refused.to_string(),
            "retention.ms is a whole number of -1 or more, found \"soon\""
        );
    }
}
