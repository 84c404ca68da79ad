//! Kafka's exactly-once semantics embedded: topics, idempotent producers and consumers in one process, no server.
//!
//! It knows no sockets and no Kafka protocol (that is the broker's), decides nothing about sequences, segments or replicas
//! (those are the machines it stands on), and starts no thread that was not asked for.
//!
//! ```text
//!   Producer  Appender  Consumer  GroupConsumer    broker (elsewhere)
//!        \        |        /          /                |
//!         +-------+-------+----------+----------------+
//!                 |
//!              Engine ---- Image: topics at one moment, replaced as a whole
//!                 |
//!          PartitionHandle ---- opened on first touch
//!            |         |      \
//!     log::Partition   |    waiters: long polls, acknowledgements
//!                 replica::Leader
//!
//!   beside them: settings with their sources, producer ids, data directory, upkeep
//! ```
//!
//! ```
//! # let home = tempfile::tempdir()?;
//! use hanbeon::{Engine, Record};
//!
//! let engine = Engine::open(home.path())?;
//! engine.ensure_topic("orders", 3)?;
//!
//! let producer = engine.producer();
//! let sent = producer.send(Record::new("orders", "3 apples").key("customer-7"))?.wait()?;
//! // Acknowledged: not even a power cut takes it back.
//!
//! let mut consumer = engine.consumer();
//! consumer.assign_all("orders")?;
//! let received = consumer.poll()?;
//! assert_eq!(received[0].value.as_deref(), Some(&b"3 apples"[..]));
//! assert_eq!((received[0].partition, received[0].offset), (sent.partition, sent.offset));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is promised
//!
//! - What was acknowledged is in the log once, at the offset that was said, after any crash (L1). How strong a crash a topic
//!   survives is `flush.messages`: 1, the embedded default, is a power cut; Kafka's default is the loss of the process.
//! - A batch that was sent again is recognised and not written again, also after reopening (P2).
//! - After a failed write or sync nothing is acknowledged until the directory is opened again (L9).
//! - Readers of a topic with `flush.messages` = 1 see nothing that a power cut can take back.
//! - Producer ids are never given out twice.
//! - A transaction's records, and the positions of the group consumer they were made from, count together or not at all (T1, T8); a
//!   consumer that its group has put out is refused (C2).
//!
//! Nothing is dropped by age, size or key: settings of retention and compaction are taken, kept and shown, and nothing acts on them yet. Records
//! go with [`PartitionHandle::delete_records`] and with their topic. Who gives a topic such a setting finds a warning in the log.
#![forbid(unsafe_code)]
#![cfg(not(hanbeon_loom))]

mod aborted;
mod admin;
mod adopt;
mod append;
mod appender;
mod checkpoints;
mod client_error;
mod client_settings;
mod config;
mod configs;
mod consumer;
mod coordinators;
mod counts;
mod data_dir;
mod dirty;
mod engine;
mod env;
mod error;
#[cfg(feature = "planted-faults")]
mod faults;
mod features;
mod ground;
mod group_configs;
mod group_consumer;
mod groups;
mod image;
mod kafka_metadata;
mod lag;
mod lane;
mod maintenance;
mod meta_properties;
mod metrics;
mod options;
mod pace;
mod page_cache;
mod partition;
mod partitioner;
mod pins;
mod produce;
mod producer;
mod producer_ids;
mod record;
mod state_log;
mod timer;
mod topics;
mod transactional_producer;
mod transactions;
mod waiters;

pub use aborted::AbortedData;
pub use appender::Appender;
pub use client_error::ClientError;
pub use client_settings::{ConsumerSettings, ProducerSettings, Reset, SettingError};
pub use config::{
    ConfigChange, ConfigError, ConfigKey, ConfigOp, ConfigSource, ConfigSynonym, ConfigType,
    DescribedConfig, Mode, Owner, Settings, Update, registry,
};
pub use configs::BrokerScope;
pub use consumer::{AnyData, Consumer, Received};
pub use counts::TransactionCounts;
pub use engine::{Engine, ProducerIdentity};
pub use env::{Env, Manual, System};
pub use error::{
    MetaPropertiesError, OpenError, PartitionError, ProduceError, ProducerIdError, TopicError,
};
pub use features::{Feature, FeatureError, FeatureUpdate, Features, LevelChange};
pub use group_configs::GroupSettings;
pub use group_consumer::{GroupConsumer, GroupConsumerBuilder, GroupData};
pub use groups::{CommitResults, Groups, GroupsError};
pub use hanbeon_group as group;
pub use hanbeon_idempotence::ProducerView;
pub use hanbeon_log::{
    AbortedTxn, AppendError, CompressionType, EpochEnd, FirstBatch, FoundOffset, Isolation,
    LogError, Placed, ReadError, SegmentView, TimeQuery,
};
pub use hanbeon_records::{ErrorCode, Millis, Offset, TopicName, TopicPartition};
pub use hanbeon_replica::Acks;
pub use hanbeon_txn as txn;
pub use image::{INTERNAL_TOPICS, Image, RESERVED_TOPICS, Topic};
pub use lag::{GroupLag, Lag, LargestLags, OffsetLag};
pub use lane::Delivery;
pub use metrics::{Counter, Metrics, TopicMetrics};
pub use options::Options;
pub use pace::Delay;
pub use page_cache::PageCache;
pub use partition::{DataFuture, FetchSpec, Fetched, PartitionHandle};
pub use pins::Pin;
pub use produce::{Produce, ProduceFuture, Produced};
pub use producer::Producer;
pub use record::{Record, Sent};
#[cfg(feature = "testing")]
pub use state_log::conformance as state_log_conformance;
pub use state_log::{
    DurableFuture, Enrolment, InTransaction, MemoryStateLog, MemoryStateLogs, StateEntry, StateLog,
    StateLogs, StateRecord, Written,
};
#[cfg(feature = "sled")]
pub use state_log::{SledError, SledStateLogs};
pub use topics::{CreatedTopic, NewTopic, PARTITIONS_MAX, TopicRef};
pub use transactional_producer::{
    Committed, DeliveryInTransaction, Transaction, TransactionalProducer,
};
pub use transactions::{
    DescribedTxn, Enrol, MarkerRequest, TransactionError, TransactionalProduce, Transactions,
};
