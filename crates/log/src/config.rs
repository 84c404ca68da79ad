//! What a topic's configuration tells its logs, checked once.
//!
//! The names in messages are Kafka's topic keys. Which text belongs to which key, and where a value came from, is the
//! engine's business; here they are numbers already.

use hanbeon_records::{ErrorCode, TimestampType};

/// Which old data may go, and how (`cleanup.policy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CleanupPolicy {
    /// Whole segments, by age and size.
    Delete,
    /// Records that a later one of the same key replaces.
    Compact,
    /// Both.
    CompactAndDelete,
}

/// How records are compressed in the log (`compression.type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CompressionType {
    /// As the producer sent them.
    Producer,
    /// Not at all.
    Uncompressed,
    /// With gzip.
    Gzip,
    /// With snappy, in Xerial's framing.
    Snappy,
    /// With LZ4 frames.
    Lz4,
    /// With Zstandard.
    Zstd,
}

/// When an acknowledged record is safe from a power cut (derived from `flush.messages` and `flush.ms`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Durability {
    /// When the operating system wrote it back; until then replicas protect it. Both keys at their maximum.
    Os,
    /// After so many messages or milliseconds, whichever comes first. At least one key below its maximum.
    Interval {
        /// `flush.messages`, 2 or more.
        messages: i64,
        /// `flush.ms`.
        ms: i64,
    },
    /// Before it is acknowledged. `flush.messages` is 1.
    Sync,
}

/// The settings of a log as plain numbers, to be filled in and handed to [`LogSettings::validate`].
///
/// Field names are Kafka's topic keys with underscores. There is no `Default`: start from
/// [`LogSettings::kafka_defaults`] and say what differs.
///
/// ```
/// use hanbeon_log::{Durability, LogSettings};
///
/// let config = LogSettings { flush_messages: 1, ..LogSettings::kafka_defaults() }.validate()?;
/// assert_eq!(config.durability(), Durability::Sync);
/// # Ok::<(), hanbeon_log::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct LogSettings {
    /// Bytes after which a new segment begins; at least 1 MiB.
    pub segment_bytes: i32,
    /// Overrides `segment_bytes` without its lower bound, for tests (Kafka's `internal.segment.bytes`).
    pub internal_segment_bytes: Option<i32>,
    /// Milliseconds after which a new segment begins.
    pub segment_ms: i64,
    /// Upper bound of the random milliseconds by which a segment is rolled early.
    pub segment_jitter_ms: i64,
    /// Bytes of an offset or time index at which it is full.
    pub segment_index_bytes: i32,
    /// An index entry follows when more than so many bytes were written since the last one.
    pub index_interval_bytes: i32,
    /// Largest batch in bytes, headers included, as it is stored.
    pub max_message_bytes: i32,
    /// Messages after which the log is synced; 1 = each before it is acknowledged, `i64::MAX` = never for this reason.
    pub flush_messages: i64,
    /// Milliseconds after which written messages are synced; `i64::MAX` = never for this reason.
    pub flush_ms: i64,
    /// How records are compressed.
    pub compression_type: CompressionType,
    /// 1 to 9, or -1 for the library's default.
    pub compression_gzip_level: i32,
    /// 1 to 17.
    pub compression_lz4_level: i32,
    /// -131072 to 22.
    pub compression_zstd_level: i32,
    /// Whose clock stamps records.
    pub message_timestamp_type: TimestampType,
    /// How many milliseconds before the broker's clock a record's time may lie.
    pub message_timestamp_before_max_ms: i64,
    /// How many milliseconds after the broker's clock a record's time may lie.
    pub message_timestamp_after_max_ms: i64,
    /// How old data goes.
    pub cleanup_policy: CleanupPolicy,
    /// Milliseconds for which data is kept under `delete`; -1 = for ever.
    pub retention_ms: i64,
    /// Bytes that are kept under `delete`; -1 = all.
    pub retention_bytes: i64,
    /// Milliseconds between renaming a file to `.deleted` and removing it.
    pub file_delete_delay_ms: i64,
    /// Milliseconds for which compaction keeps tombstones and markers.
    pub delete_retention_ms: i64,
    /// Share of a log, 0 to 1, that must be uncompacted before compaction begins.
    pub min_cleanable_dirty_ratio: f64,
    /// Milliseconds for which a record is safe from compaction.
    pub min_compaction_lag_ms: i64,
    /// Milliseconds after which a record is compacted whatever the ratio.
    pub max_compaction_lag_ms: i64,
    /// Milliseconds without a write after which a producer is forgotten (`producer.id.expiration.ms`, broker-wide).
    pub producer_id_expiration_ms: i32,
    /// Whether a new segment's file takes its full size at once.
    pub preallocate: bool,
    /// Replicas that must be in sync before a write with acks=all is taken.
    pub min_insync_replicas: i32,
}

/// The settings of a log, proven to be in their bounds.
#[derive(Clone, Debug, PartialEq)]
pub struct LogConfig(LogSettings);

/// A setting out of its bounds.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A number below or above what the key allows.
    #[error("{key} is {min} to {max}, found {found}")]
    OutOfBounds {
        /// Kafka's name of the setting.
        key: &'static str,
        /// Smallest value.
        min: i64,
        /// Largest value.
        max: i64,
        /// The refused value.
        found: i64,
    },
    /// A gzip level that is neither -1 nor 1 to 9.
    #[error("compression.gzip.level is -1 or 1 to 9, found {found}")]
    GzipLevel {
        /// The refused value.
        found: i32,
    },
    /// A ratio that is no number from 0 to 1.
    #[error("min.cleanable.dirty.ratio is 0 to 1, found {found}")]
    DirtyRatio {
        /// The refused value.
        found: f64,
    },
    /// A record would have to be compacted before it may be.
    #[error("max.compaction.lag.ms is at least min.compaction.lag.ms ({min}), found {found}")]
    CompactionLag {
        /// `min.compaction.lag.ms`.
        min: i64,
        /// `max.compaction.lag.ms`.
        found: i64,
    },
}

impl ConfigError {
    /// The code a client gets that asked for the setting.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::OutOfBounds { .. }
            | Self::GzipLevel { .. }
            | Self::DirtyRatio { .. }
            | Self::CompactionLag { .. } => ErrorCode::InvalidConfig,
        }
    }
}

impl CleanupPolicy {
    /// Whether records need keys because compaction goes by them.
    #[must_use]
    pub const fn compacts(self) -> bool {
        match self {
            Self::Delete => false,
            Self::Compact | Self::CompactAndDelete => true,
        }
    }

    /// Whether whole segments go by age and size.
    #[must_use]
    pub const fn deletes(self) -> bool {
        match self {
            Self::Compact => false,
            Self::Delete | Self::CompactAndDelete => true,
        }
    }
}

impl LogSettings {
    /// Smallest `segment.bytes` (Kafka 4.0, KIP-1030).
    pub const SEGMENT_BYTES_MIN: i32 = 1 << 20;

    /// The values Apache Kafka 4 uses where nobody said otherwise. Among them: no sync before acknowledging, and one
    /// in-sync replica is enough.
    #[must_use]
    pub const fn kafka_defaults() -> Self {
        Self {
            segment_bytes: 1 << 30,
            internal_segment_bytes: None,
            segment_ms: 604_800_000,
            segment_jitter_ms: 0,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            max_message_bytes: (1 << 20) + 12,
            flush_messages: i64::MAX,
            flush_ms: i64::MAX,
            compression_type: CompressionType::Producer,
            compression_gzip_level: -1,
            compression_lz4_level: 9,
            compression_zstd_level: 3,
            message_timestamp_type: TimestampType::CreateTime,
            message_timestamp_before_max_ms: i64::MAX,
            message_timestamp_after_max_ms: 3_600_000,
            cleanup_policy: CleanupPolicy::Delete,
            retention_ms: 604_800_000,
            retention_bytes: -1,
            file_delete_delay_ms: 60_000,
            delete_retention_ms: 86_400_000,
            min_cleanable_dirty_ratio: 0.5,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            producer_id_expiration_ms: 86_400_000,
            preallocate: false,
            min_insync_replicas: 1,
        }
    }

    /// Checks every bound.
    ///
    /// # Errors
    /// The first setting out of its bounds, with what it may be and what it is.
    pub fn validate(self) -> Result<LogConfig, ConfigError> {
        self.check_numbers()?;
        if self.compression_gzip_level != -1 && !(1..=9).contains(&self.compression_gzip_level) {
            return Err(ConfigError::GzipLevel { found: self.compression_gzip_level });
        }
        let ratio = self.min_cleanable_dirty_ratio;
        if !(0.0..=1.0).contains(&ratio) {
            return Err(ConfigError::DirtyRatio { found: ratio });
        }
        if self.max_compaction_lag_ms < self.min_compaction_lag_ms {
            let (min, found) = (self.min_compaction_lag_ms, self.max_compaction_lag_ms);
            return Err(ConfigError::CompactionLag { min, found });
        }
        Ok(LogConfig(self))
    }

    fn check_numbers(&self) -> Result<(), ConfigError> {
        let internal = self.internal_segment_bytes.unwrap_or(i32::MAX);
        let int = i64::from;
        let bounds = [
            ("segment.bytes", int(self.segment_bytes), int(Self::SEGMENT_BYTES_MIN), int(i32::MAX)),
            ("internal.segment.bytes", int(internal), 14, int(i32::MAX)),
            ("segment.ms", self.segment_ms, 1, i64::MAX),
            ("segment.jitter.ms", self.segment_jitter_ms, 0, i64::MAX),
            // Kafka allows 4, but an index that cannot hold one entry of its own would roll at every append.
            ("segment.index.bytes", int(self.segment_index_bytes), 4, int(i32::MAX)),
            ("index.interval.bytes", int(self.index_interval_bytes), 0, int(i32::MAX)),
            ("max.message.bytes", int(self.max_message_bytes), 0, int(i32::MAX)),
            ("flush.messages", self.flush_messages, 1, i64::MAX),
            ("flush.ms", self.flush_ms, 0, i64::MAX),
            ("compression.lz4.level", int(self.compression_lz4_level), 1, 17),
            ("compression.zstd.level", int(self.compression_zstd_level), -131_072, 22),
            ("message.timestamp.before.max.ms", self.message_timestamp_before_max_ms, 0, i64::MAX),
            ("message.timestamp.after.max.ms", self.message_timestamp_after_max_ms, 0, i64::MAX),
            ("retention.ms", self.retention_ms, -1, i64::MAX),
            ("retention.bytes", self.retention_bytes, -1, i64::MAX),
            ("file.delete.delay.ms", self.file_delete_delay_ms, 0, i64::MAX),
            ("delete.retention.ms", self.delete_retention_ms, 0, i64::MAX),
            ("min.compaction.lag.ms", self.min_compaction_lag_ms, 0, i64::MAX),
            ("max.compaction.lag.ms", self.max_compaction_lag_ms, 1, i64::MAX),
            ("producer.id.expiration.ms", int(self.producer_id_expiration_ms), 1, int(i32::MAX)),
            ("min.insync.replicas", int(self.min_insync_replicas), 1, int(i32::MAX)),
        ];
        match bounds.into_iter().find(|&(_, found, min, max)| !(min..=max).contains(&found)) {
            Some((key, found, min, max)) => Err(ConfigError::OutOfBounds { key, min, max, found }),
            None => Ok(()),
        }
    }
}

impl LogConfig {
    /// The values Apache Kafka 4 uses where nobody said otherwise: see [`LogSettings::kafka_defaults`].
    #[must_use]
    pub const fn kafka_defaults() -> Self {
        Self(LogSettings::kafka_defaults())
    }

    /// The plain numbers, to be changed and checked again.
    #[must_use]
    pub fn settings(&self) -> LogSettings {
        self.0.clone()
    }

    /// Bytes after which a new segment begins.
    #[must_use]
    pub fn segment_bytes(&self) -> u64 {
        let bytes = self.internal_segment_bytes.unwrap_or(self.segment_bytes);
        u64::try_from(bytes).unwrap_or(0)
    }

    /// Bytes of an offset or time index at which it is full.
    #[must_use]
    pub fn segment_index_bytes(&self) -> usize {
        usize::try_from(self.segment_index_bytes).unwrap_or(0)
    }

    /// An index entry follows when more than so many bytes were written since the last one.
    #[must_use]
    pub fn index_interval_bytes(&self) -> u64 {
        u64::try_from(self.index_interval_bytes).unwrap_or(0)
    }

    /// Largest batch in bytes.
    #[must_use]
    pub fn max_message_bytes(&self) -> usize {
        usize::try_from(self.max_message_bytes).unwrap_or(0)
    }

    /// Milliseconds after which a segment is rolled, before jitter: compacted topics roll early enough for
    /// `max.compaction.lag.ms`.
    #[must_use]
    pub fn segment_ms_max(&self) -> i64 {
        if self.cleanup_policy.compacts() {
            self.segment_ms.min(self.max_compaction_lag_ms)
        } else {
            self.segment_ms
        }
    }

    /// When an acknowledged record is safe from a power cut.
    #[must_use]
    pub const fn durability(&self) -> Durability {
        match (self.0.flush_messages, self.0.flush_ms) {
            (1, _) => Durability::Sync,
            (i64::MAX, i64::MAX) => Durability::Os,
            (messages, ms) => Durability::Interval { messages, ms },
        }
    }
}

impl core::ops::Deref for LogConfig {
    type Target = LogSettings;

    fn deref(&self) -> &LogSettings {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(change: impl FnOnce(&mut LogSettings)) -> Result<LogConfig, ConfigError> {
        let mut settings = LogSettings::kafka_defaults();
        change(&mut settings);
        settings.validate()
    }

    #[test]
    fn kafkas_defaults_are_in_bounds() {
        assert_eq!(with(|_| ()), Ok(LogConfig::kafka_defaults()));
        assert_eq!(LogConfig::kafka_defaults().max_message_bytes(), 1_048_588);
    }

    #[test]
    fn durability_follows_the_flush_keys() {
        let of = |messages, ms| {
            with(|s| (s.flush_messages, s.flush_ms) = (messages, ms)).unwrap().durability()
        };
        assert_eq!(of(i64::MAX, i64::MAX), Durability::Os);
        assert_eq!(of(1, i64::MAX), Durability::Sync);
        assert_eq!(of(1, 5), Durability::Sync);
        assert_eq!(of(2, i64::MAX), Durability::Interval { messages: 2, ms: i64::MAX });
        assert_eq!(of(i64::MAX, 0), Durability::Interval { messages: i64::MAX, ms: 0 });
    }

    #[test]
    fn a_refusal_names_the_key_what_it_may_be_and_what_it_is() {
        let refused = with(|s| s.segment_bytes = 1000).unwrap_err();
        assert_eq!(refused.to_string(), "segment.bytes is 1048576 to 2147483647, found 1000");
        assert_eq!(refused.code(), ErrorCode::InvalidConfig);
        let refused = with(|s| s.internal_segment_bytes = Some(13)).unwrap_err();
        assert_eq!(refused.to_string(), "internal.segment.bytes is 14 to 2147483647, found 13");
    }

    #[test]
    fn bounds_are_inclusive_on_both_sides() {
        for (good, bad) in [(1, 0), (9, 10), (-1, -2)] {
            assert!(with(|s| s.compression_gzip_level = good).is_ok());
            assert!(with(|s| s.compression_gzip_level = bad).is_err());
        }
        for (good, bad) in [(0.0, -0.1), (1.0, 1.1), (0.5, f64::NAN)] {
            assert!(with(|s| s.min_cleanable_dirty_ratio = good).is_ok());
            assert!(with(|s| s.min_cleanable_dirty_ratio = bad).is_err());
        }
        assert!(with(|s| s.retention_ms = -1).is_ok());
        assert!(with(|s| s.retention_ms = -2).is_err());
        assert!(with(|s| s.flush_messages = 0).is_err());
        let lags =
            |min, max| with(|s| (s.min_compaction_lag_ms, s.max_compaction_lag_ms) = (min, max));
        assert!(lags(7, 7).is_ok());
        assert_eq!(lags(8, 7), Err(ConfigError::CompactionLag { min: 8, found: 7 }));
    }

    #[test]
    fn small_segments_are_for_tests_only() {
        let config = with(|s| s.internal_segment_bytes = Some(14)).unwrap();
        assert_eq!(config.segment_bytes(), 14);
    }

    #[test]
    fn compacted_topics_roll_early_enough_to_be_compacted() {
        let config = with(|s| {
            s.cleanup_policy = CleanupPolicy::CompactAndDelete;
            s.max_compaction_lag_ms = 1000;
        });
        assert_eq!(config.unwrap().segment_ms_max(), 1000);
        assert_eq!(LogConfig::kafka_defaults().segment_ms_max(), 604_800_000);
    }
}
