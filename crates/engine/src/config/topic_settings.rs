//! From a topic's layers to the settings of its logs.

use hanbeon_log::{CleanupPolicy, CompressionType, LogConfig, LogSettings};
use hanbeon_records::TimestampType;

use super::{
    ConfigError,
    layers::{BrokerLayers, Overrides, Settings},
    registry, value,
};

/// The texts of one topic, read by key.
struct Texts<'a> {
    broker: &'a BrokerLayers,
    overrides: &'a Overrides,
}

impl Texts<'_> {
    fn text(&self, name: &str) -> Result<String, ConfigError> {
        let key = registry::topic_key(name)?;
        Ok(self.broker.owned_value(key, self.overrides).unwrap_or_default())
    }

    fn long(&self, name: &str) -> Result<i64, ConfigError> {
        let text = self.text(name)?;
        value::long(&text).ok_or_else(|| refused(name, "a whole number", &text))
    }

    fn int(&self, name: &str) -> Result<i32, ConfigError> {
        let long = self.long(name)?;
        i32::try_from(long)
            .ok()
            .ok_or_else(|| refused(name, "a number of 32 bits", &long.to_string()))
    }

    fn flag(&self, name: &str) -> Result<bool, ConfigError> {
        Ok(value::boolean(&self.text(name)?).unwrap_or(false))
    }

    fn cleanup_policy(&self) -> Result<CleanupPolicy, ConfigError> {
        let text = self.text("cleanup.policy")?;
        let has = |word| value::list(&text).any(|entry| entry == word);
        Ok(match (has("compact"), has("delete")) {
            (true, true) => CleanupPolicy::CompactAndDelete,
            (true, false) => CleanupPolicy::Compact,
            (false, _) => CleanupPolicy::Delete,
        })
    }

    fn compression(&self) -> Result<CompressionType, ConfigError> {
        Ok(match self.text("compression.type")?.as_str() {
            "uncompressed" => CompressionType::Uncompressed,
            "gzip" => CompressionType::Gzip,
            "snappy" => CompressionType::Snappy,
            "lz4" => CompressionType::Lz4,
            "zstd" => CompressionType::Zstd,
            _ => CompressionType::Producer,
        })
    }

    fn timestamp_type(&self) -> Result<TimestampType, ConfigError> {
        Ok(match self.text("message.timestamp.type")?.as_str() {
            "LogAppendTime" => TimestampType::LogAppendTime,
            _ => TimestampType::CreateTime,
        })
    }

    fn internal_segment_bytes(&self) -> Result<Option<i32>, ConfigError> {
        let name = "internal.segment.bytes";
        if self.overrides.contains_key(name) { self.int(name).map(Some) } else { Ok(None) }
    }
}

fn refused(name: &str, expected: &str, found: &str) -> ConfigError {
    match registry::topic_key(name) {
        Ok(key) => ConfigError::BadValue {
            key: key.name,
            expected: expected.to_owned(),
            found: found.to_owned(),
        },
        Err(error) => error,
    }
}

/// What the logs of a topic with these overrides are told.
pub(crate) fn log_config(
    broker: &BrokerLayers,
    overrides: &Overrides,
    settings: &Settings,
) -> Result<LogConfig, ConfigError> {
    let texts = Texts { broker, overrides };
    let dirty = texts.text("min.cleanable.dirty.ratio")?;
    let settings = LogSettings {
        segment_bytes: texts.int("segment.bytes")?,
        internal_segment_bytes: texts.internal_segment_bytes()?,
        segment_ms: texts.long("segment.ms")?,
        segment_jitter_ms: texts.long("segment.jitter.ms")?,
        segment_index_bytes: texts.int("segment.index.bytes")?,
        index_interval_bytes: texts.int("index.interval.bytes")?,
        max_message_bytes: texts.int("max.message.bytes")?,
        flush_messages: texts.long("flush.messages")?,
        flush_ms: texts.long("flush.ms")?,
        compression_type: texts.compression()?,
        compression_gzip_level: texts.int("compression.gzip.level")?,
        compression_lz4_level: texts.int("compression.lz4.level")?,
        compression_zstd_level: texts.int("compression.zstd.level")?,
        message_timestamp_type: texts.timestamp_type()?,
        message_timestamp_before_max_ms: texts.long("message.timestamp.before.max.ms")?,
        message_timestamp_after_max_ms: texts.long("message.timestamp.after.max.ms")?,
        cleanup_policy: texts.cleanup_policy()?,
        retention_ms: texts.long("retention.ms")?,
        retention_bytes: texts.long("retention.bytes")?,
        file_delete_delay_ms: texts.long("file.delete.delay.ms")?,
        delete_retention_ms: texts.long("delete.retention.ms")?,
        min_cleanable_dirty_ratio: value::double(&dirty)
            .ok_or_else(|| refused("min.cleanable.dirty.ratio", "a number", &dirty))?,
        min_compaction_lag_ms: texts.long("min.compaction.lag.ms")?,
        max_compaction_lag_ms: texts.long("max.compaction.lag.ms")?,
        producer_id_expiration_ms: settings.int("producer.id.expiration.ms").unwrap_or(86_400_000),
        preallocate: texts.flag("preallocate")?,
        min_insync_replicas: texts.int("min.insync.replicas")?,
    };
    settings.validate().map_err(translated)
}

/// The log's refusal in the registry's words.
fn translated(error: hanbeon_log::ConfigError) -> ConfigError {
    use hanbeon_log::ConfigError as Log;
    match error {
        Log::OutOfBounds { key, min, max, found } => {
            refused(key, &format!("{min} to {max}"), &found.to_string())
        }
        Log::GzipLevel { found } => {
            refused("compression.gzip.level", "-1 or 1 to 9", &found.to_string())
        }
        Log::DirtyRatio { found } => {
            refused("min.cleanable.dirty.ratio", "0 to 1", &found.to_string())
        }
        Log::CompactionLag { found, .. } => ConfigError::Conflict {
            key: "max.compaction.lag.ms",
            found: found.to_string(),
            other: "min.compaction.lag.ms",
            rule: "a record must be free for compaction before it has to be compacted",
        },
        other => refused("segment.bytes", "in its bounds", &other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hanbeon_log::Durability;

    use super::*;

    fn config(overrides: &Overrides) -> Result<LogConfig, ConfigError> {
        let broker = BrokerLayers::default();
        log_config(&broker, overrides, &Settings(Arc::new(broker.clone())))
    }

    #[test]
    fn without_overrides_a_topic_is_as_kafka_has_it() {
        assert_eq!(config(&Overrides::new()).unwrap(), LogConfig::kafka_defaults());
    }

    #[test]
    fn overrides_reach_the_log() {
        let overrides = Overrides::from([
            ("cleanup.policy", "compact,delete".to_owned()),
            ("flush.messages", "1".to_owned()),
            ("internal.segment.bytes", "4096".to_owned()),
            ("message.timestamp.type", "LogAppendTime".to_owned()),
        ]);
        let config = config(&overrides).unwrap();
        assert_eq!(config.durability(), Durability::Sync);
        assert_eq!(config.cleanup_policy, CleanupPolicy::CompactAndDelete);
        assert_eq!(config.segment_bytes(), 4096);
        assert_eq!(config.message_timestamp_type, TimestampType::LogAppendTime);
    }

    #[test]
    fn values_that_do_not_go_together_are_refused() {
        let overrides = Overrides::from([
            ("min.compaction.lag.ms", "10".to_owned()),
            ("max.compaction.lag.ms", "9".to_owned()),
        ]);
        assert!(matches!(config(&overrides), Err(ConfigError::Conflict { .. })));
    }
}
