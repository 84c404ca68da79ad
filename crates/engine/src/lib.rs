//! Kafka's exactly-once semantics embedded: topics, idempotent producers and consumers in one process, no server.
#![forbid(unsafe_code)]

mod config;
mod engine;
mod env;
mod error;
mod image;
mod options;
mod partition;
mod topics;

pub use config::{
    ConfigChange, ConfigError, ConfigKey, ConfigOp, ConfigSource, ConfigSynonym, ConfigType,
    DescribedConfig, Mode, Owner, Settings, Update, registry,
};
pub use engine::{BrokerScope, Engine, ProducerIdentity, TopicRef};
pub use env::{Env, Manual, System};
pub use error::{
    MetaPropertiesError, OpenError, PartitionError, ProduceError, ProducerIdError, TopicError,
};
pub use hanbeon_idempotence::ProducerView;
pub use hanbeon_replica::Acks;
pub use image::{INTERNAL_TOPICS, Image, Topic};
pub use options::Options;
pub use partition::{
    DataFuture, FetchSpec, Fetched, PartitionHandle, Produce, ProduceFuture, Produced,
};
pub use topics::{CreatedTopic, NewTopic};
pub use hanbeon_log::{
    AbortedTxn, AppendError, EpochEnd, FirstBatch, FoundOffset, Isolation, LogError,
    ReadError, TimeQuery,
};
