//! What can go wrong for an embedded producer or consumer.

use std::sync::Arc;

use hanbeon_records::{BuildError, ErrorCode, Offset};

use crate::{PartitionError, ProduceError, ProducerIdError, client_settings::SettingError};

/// Why an embedded producer or consumer did not do what it was asked for.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// A setting that cannot be taken.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// No topic has this name.
    #[error("there is no topic {topic:?}: make it with Engine::ensure_topic")]
    UnknownTopic {
        /// The name.
        topic: String,
    },
    /// The partition did not answer.
    #[error(transparent)]
    Partition(#[from] PartitionError),
    /// The records were not taken, or not acknowledged.
    #[error(transparent)]
    Produce(#[from] ProduceError),
    /// No producer id could be had.
    #[error(transparent)]
    ProducerId(#[from] ProducerIdError),
    /// The records do not fit into a batch.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The consumer does not read this partition.
    #[error("partition {partition} of topic {topic:?} is not assigned to this consumer")]
    NotAssigned {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
    /// Nobody said where to begin, or what was said is not in the log any more.
    #[error("partition {partition} of topic {topic:?} has no position to read from: seek to one")]
    NoPosition {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
    /// A batch that does not read.
    #[error("the batch at offset {offset} of {topic}-{partition} does not read ({code})")]
    Unreadable {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// Its base offset.
        offset: Offset,
        /// What is wrong with it.
        code: ErrorCode,
    },
    /// The name of an appender that another one of this engine goes by.
    #[error("{name:?} is the name of an appender that is open")]
    NameInUse {
        /// The name.
        name: String,
    },
    /// How far an appender came cannot be told: its records are deleted, and so is what the partition knew of it.
    #[error(
        "nothing is left of what {name:?} appended to {topic}-{partition}, so its place is not known: use another name"
    )]
    Forgotten {
        /// The name.
        name: String,
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
    /// The metadata store failed.
    #[error("the appender's id could not be made durable: {source}")]
    Storage {
        /// What it said.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
}
