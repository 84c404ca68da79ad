//! Kafka's exactly-once semantics embedded: topics, idempotent producers and consumers in one process, no server.
#![forbid(unsafe_code)]
#![cfg(not(hanbeon_loom))]

mod admin;
mod adopt;
mod config;
mod configs;
mod data_dir;
mod engine;
mod env;
mod error;
mod ground;
mod image;
mod maintenance;
mod meta_properties;
mod metrics;
mod options;
mod partition;
mod produce;
mod producer_ids;
mod topics;
mod waiters;

pub use config::{
    ConfigChange, ConfigError, ConfigKey, ConfigOp, ConfigSource, ConfigSynonym, ConfigType,
    DescribedConfig, Mode, Owner, Settings, Update, registry,
};
pub use configs::BrokerScope;
pub use engine::{Engine, ProducerIdentity};
pub use env::{Env, Manual, System};
pub use error::{
    MetaPropertiesError, OpenError, PartitionError, ProduceError, ProducerIdError, TopicError,
};
pub use hanbeon_idempotence::ProducerView;
pub use hanbeon_log::{
    AbortedTxn, AppendError, EpochEnd, FirstBatch, FoundOffset, Isolation, LogError, Placed,
    ReadError, SegmentView, TimeQuery,
};
pub use hanbeon_records::ErrorCode;
pub use hanbeon_replica::Acks;
pub use image::{INTERNAL_TOPICS, Image, Topic};
pub use metrics::{Counter, Metrics, TopicMetrics};
pub use options::Options;
pub use partition::{DataFuture, FetchSpec, Fetched, PartitionHandle};
pub use produce::{Produce, ProduceFuture, Produced};
pub use topics::{CreatedTopic, NewTopic, PARTITIONS_MAX, TopicRef};
