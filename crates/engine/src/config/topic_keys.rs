//! The settings of a topic (`org.apache.kafka.common.config.TopicConfig`, Kafka 4.3, and `internal.segment.bytes`).

use super::registry::{
    Bounds::{self, Any, GzipLevel, OneOf, Range, Ratio},
    ConfigKey,
    ConfigType::{self, Boolean, Double, Int, List, Long, String},
    Owner,
    Scale::{self, Hours, Minutes, Same},
    Update,
};

const fn key(
    name: &'static str,
    (config_type, default): (ConfigType, Option<&'static str>),
    bounds: Bounds,
    synonyms: &'static [(&'static str, Scale)],
    documentation: &'static str,
) -> ConfigKey {
    let (owner, update) = (Owner::Topic, Update::ClusterWide);
    ConfigKey { name, owner, config_type, default, bounds, synonyms, update, documentation }
}

const INT_MAX: i64 = 2_147_483_647;
const LONG_MAX: &str = "9223372036854775807";

/// Settings of retention and compaction, which are kept and shown, and which nothing acts on yet.
pub(super) const IDLE: &[&str] = &[
    "cleanup.policy",
    "delete.retention.ms",
    "max.compaction.lag.ms",
    "min.cleanable.dirty.ratio",
    "min.compaction.lag.ms",
    "retention.bytes",
    "retention.ms",
];

/// Sorted by name.
pub(super) const KEYS: &[ConfigKey] = &[
    key(
        "cleanup.policy",
        (List, Some("delete")),
        OneOf(&["compact", "delete"]),
        &[("log.cleanup.policy", Same)],
        "How old data goes: delete drops whole segments by age and size, compact keeps the last record of each key; both may be given. Nothing is dropped or compacted yet: compact so far asks each record for a key, and a topic without delete lets nobody delete records.",
    ),
    key(
        "compression.gzip.level",
        (Int, Some("-1")),
        GzipLevel,
        &[("compression.gzip.level", Same)],
        "How hard gzip tries, 1 to 9, or -1 for its default; counts where compression.type is gzip.",
    ),
    key(
        "compression.lz4.level",
        (Int, Some("9")),
        Range(1, 17),
        &[("compression.lz4.level", Same)],
        "How hard LZ4 tries, 1 to 17; counts where compression.type is lz4.",
    ),
    key(
        "compression.type",
        (String, Some("producer")),
        OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]),
        &[("compression.type", Same)],
        "How batches are compressed in the log; producer keeps what the producer chose.",
    ),
    key(
        "compression.zstd.level",
        (Int, Some("3")),
        Range(-131_072, 22),
        &[("compression.zstd.level", Same)],
        "How hard Zstandard tries, -131072 to 22; counts where compression.type is zstd.",
    ),
    key(
        "delete.retention.ms",
        (Long, Some("86400000")),
        Range(0, i64::MAX),
        &[("log.cleaner.delete.retention.ms", Same)],
        "Milliseconds for which compaction keeps tombstones and transaction markers, so that a reader that began earlier still meets them. Kept and shown; nothing acts on it yet.",
    ),
    key(
        "file.delete.delay.ms",
        (Long, Some("60000")),
        Range(0, i64::MAX),
        &[("log.segment.delete.delay.ms", Same)],
        "Milliseconds between taking a file out of the log and removing it from the disk.",
    ),
    key(
        "flush.messages",
        (Long, Some(LONG_MAX)),
        Range(1, i64::MAX),
        &[("log.flush.interval.messages", Same)],
        "Records after which the log is made durable. 1: no record is acknowledged before it survives a power cut; the largest number: never for this reason.",
    ),
    key(
        "flush.ms",
        (Long, Some(LONG_MAX)),
        Range(0, i64::MAX),
        &[("log.flush.interval.ms", Same), ("log.flush.scheduler.interval.ms", Same)],
        "Milliseconds after which written records are made durable; the largest number: never for this reason.",
    ),
    key(
        "follower.replication.throttled.replicas",
        (List, Some("")),
        Any,
        &[],
        "Replicas, as partition:broker, whose fetching as followers is throttled; * for all.",
    ),
    key(
        "index.interval.bytes",
        (Int, Some("4096")),
        Range(0, INT_MAX),
        &[("log.index.interval.bytes", Same)],
        "Bytes of log after which the offset index gets an entry.",
    ),
    key(
        "internal.segment.bytes",
        (Int, None),
        Range(14, INT_MAX),
        &[],
        "Overrides segment.bytes without its lower bound of 1 MiB; meant for tests.",
    ),
    key(
        "leader.replication.throttled.replicas",
        (List, Some("")),
        Any,
        &[],
        "Replicas, as partition:broker, whose serving as leaders is throttled; * for all.",
    ),
    key(
        "local.retention.bytes",
        (Long, Some("-2")),
        Range(-2, i64::MAX),
        &[("log.local.retention.bytes", Same)],
        "Bytes kept on the local disk where segments are also copied elsewhere; -2 follows retention.bytes. No tier exists here, so it has no effect.",
    ),
    key(
        "local.retention.ms",
        (Long, Some("-2")),
        Range(-2, i64::MAX),
        &[("log.local.retention.ms", Same)],
        "Milliseconds for which segments copied elsewhere stay on the local disk; -2 follows retention.ms. No tier exists here, so it has no effect.",
    ),
    key(
        "max.compaction.lag.ms",
        (Long, Some(LONG_MAX)),
        Range(1, i64::MAX),
        &[("log.cleaner.max.compaction.lag.ms", Same)],
        "Milliseconds after which a record of a compacted topic is compacted whatever the dirty ratio. Kept and shown; nothing acts on it yet.",
    ),
    key(
        "max.message.bytes",
        (Int, Some("1048588")),
        Range(0, INT_MAX),
        &[("message.max.bytes", Same)],
        "Largest batch in bytes as it is stored, header included.",
    ),
    key(
        "message.timestamp.after.max.ms",
        (Long, Some("3600000")),
        Range(0, i64::MAX),
        &[("log.message.timestamp.after.max.ms", Same)],
        "Milliseconds by which a record's time may lie ahead of the broker's clock.",
    ),
    key(
        "message.timestamp.before.max.ms",
        (Long, Some(LONG_MAX)),
        Range(0, i64::MAX),
        &[("log.message.timestamp.before.max.ms", Same)],
        "Milliseconds by which a record's time may lie behind the broker's clock.",
    ),
    key(
        "message.timestamp.type",
        (String, Some("CreateTime")),
        OneOf(&["CreateTime", "LogAppendTime"]),
        &[("log.message.timestamp.type", Same)],
        "Whose clock a record's time comes from: CreateTime is the producer's, LogAppendTime the broker's.",
    ),
    key(
        "min.cleanable.dirty.ratio",
        (Double, Some("0.5")),
        Ratio,
        &[("log.cleaner.min.cleanable.ratio", Same)],
        "Share of a compacted log, 0 to 1, that must be dirty before compaction begins. Kept and shown; nothing acts on it yet.",
    ),
    key(
        "min.compaction.lag.ms",
        (Long, Some("0")),
        Range(0, i64::MAX),
        &[("log.cleaner.min.compaction.lag.ms", Same)],
        "Milliseconds for which a record of a compacted topic is safe from compaction. Kept and shown; nothing acts on it yet.",
    ),
    key(
        "min.insync.replicas",
        (Int, Some("1")),
        Range(1, INT_MAX),
        &[("min.insync.replicas", Same)],
        "Replicas that must be in sync before a write with acks=all is taken; never more than there are replicas.",
    ),
    key(
        "preallocate",
        (Boolean, Some("false")),
        Any,
        &[("log.preallocate", Same)],
        "Whether a new segment's file takes its full size at once.",
    ),
    key(
        "remote.log.copy.disable",
        (Boolean, Some("false")),
        Any,
        &[],
        "Stops copying segments to remote storage. No tier exists here, so it has no effect.",
    ),
    key(
        "remote.log.delete.on.disable",
        (Boolean, Some("false")),
        Any,
        &[],
        "Deletes remote data when remote storage is switched off. No tier exists here, so it has no effect.",
    ),
    key(
        "remote.storage.enable",
        (Boolean, Some("false")),
        OneOf(&["false"]),
        &[],
        "Whether segments are also kept in remote storage; not supported, so only false is taken.",
    ),
    key(
        "retention.bytes",
        (Long, Some("-1")),
        Range(-1, i64::MAX),
        &[("log.retention.bytes", Same)],
        "Bytes of each partition that are kept; -1 keeps all. Whole segments go, oldest first. Kept and shown; nothing acts on it yet.",
    ),
    key(
        "retention.ms",
        (Long, Some("604800000")),
        Range(-1, i64::MAX),
        &[
            ("log.retention.ms", Same),
            ("log.retention.minutes", Minutes),
            ("log.retention.hours", Hours),
        ],
        "Milliseconds for which records are kept; -1 keeps them for ever. Whole segments go, oldest first. Kept and shown; nothing acts on it yet.",
    ),
    key(
        "segment.bytes",
        (Int, Some("1073741824")),
        Range(1_048_576, INT_MAX),
        &[("log.segment.bytes", Same)],
        "Bytes after which a partition begins a new segment file.",
    ),
    key(
        "segment.index.bytes",
        (Int, Some("10485760")),
        Range(4, INT_MAX),
        &[("log.index.size.max.bytes", Same)],
        "Bytes of an index at which its segment is full.",
    ),
    key(
        "segment.jitter.ms",
        (Long, Some("0")),
        Range(0, i64::MAX),
        &[("log.roll.jitter.ms", Same), ("log.roll.jitter.hours", Hours)],
        "Random milliseconds, up to this many, by which segments begin early, so that not all do at once.",
    ),
    key(
        "segment.ms",
        (Long, Some("604800000")),
        Range(1, i64::MAX),
        &[("log.roll.ms", Same), ("log.roll.hours", Hours)],
        "Milliseconds after which a partition begins a new segment file even when the old one is not full.",
    ),
    key(
        "unclean.leader.election.enable",
        (Boolean, Some("false")),
        Any,
        &[("unclean.leader.election.enable", Same)],
        "Whether a replica outside the in-sync set may become leader when no other is left, at the price of lost records.",
    ),
];
