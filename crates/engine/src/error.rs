//! What can go wrong in an engine. Each error has the code a Kafka client sees.

use std::{io, sync::Arc};

use hanbeon_log::{Abandoned, AppendError, LogError, ReadError};
use hanbeon_records::{BuildError, ErrorCode, LeaderEpoch, Offset, TopicId, TopicNameError};
use hanbeon_replica::ReplicaError;

use crate::{TransactionError, config::ConfigError};

/// Why a data directory was not opened.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another engine, of this or another process, has it open.
    #[error("{dir} is in use: {source}")]
    Locked {
        /// The directory.
        dir: String,
        /// Who holds it, as far as the storage tells.
        source: Arc<io::Error>,
    },
    /// The storage failed.
    #[error("cannot open {dir}: {action}")]
    Io {
        /// The directory.
        dir: String,
        /// What was tried.
        action: &'static str,
        /// What the storage said.
        source: Arc<io::Error>,
    },
    /// Anybody on the machine could put files of theirs in the place of ours.
    #[error(
        "{dir} has mode {found:04o}, so everybody may write to it: a data directory has mode 0700, or another without 0002 (chmod o-w); or use a directory inside it"
    )]
    WritableByAll {
        /// The directory.
        dir: String,
        /// Its permission bits.
        found: u32,
    },
    /// `meta.properties` cannot be read.
    #[error("{dir}/meta.properties: {damage}")]
    MetaProperties {
        /// The directory.
        dir: String,
        /// What is wrong with it.
        damage: MetaPropertiesError,
    },
    /// A directory that is no partition, or a file of ours from a later release.
    #[error("{dir} holds {name}, which {why}")]
    Foreign {
        /// The directory.
        dir: String,
        /// The entry.
        name: String,
        /// Why it cannot be.
        why: &'static str,
    },
    /// The metadata file is damaged or was written by a later release.
    #[error("{dir}: {source}")]
    Metadata {
        /// The directory.
        dir: String,
        /// What the store said.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// A feature that the cluster works with and this release does not know, or not at that level.
    #[error(
        "{dir} works at {name} = {found}, this release at 0 to {max}: open it with the later release that raised the level, \
         or lower it there first"
    )]
    Feature {
        /// The directory.
        dir: String,
        /// The feature.
        name: String,
        /// The highest level known here.
        max: i16,
        /// The level of the cluster.
        found: i16,
    },
    /// A state log elsewhere could not be opened.
    #[error("a state log cannot be opened: {0}")]
    StateLog(Arc<ProduceError>),
    /// A setting that cannot be taken.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file of a partition that must be read to open the directory is damaged.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// What is wrong with a `meta.properties`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetaPropertiesError {
    /// A key that must be there.
    #[error("it has no {key}")]
    Missing {
        /// The key.
        key: &'static str,
    },
    /// A version that is not known.
    #[error("its version is 0 or 1, found {found:?}: a later release wrote it")]
    Version {
        /// The version.
        found: String,
    },
    /// A value of the wrong kind.
    #[error("its {key} is {expected}, found {found:?}")]
    Value {
        /// The key.
        key: &'static str,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// The directory belongs to another node.
    #[error("it belongs to node {found}, and node.id is {expected}")]
    OtherNode {
        /// `node.id` of the options.
        expected: i32,
        /// `node.id` of the directory.
        found: i32,
    },
}

/// Why a topic was not created, changed, deleted or described.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TopicError {
    /// A name that no topic can have.
    #[error("{name:?} is no topic name: {why}")]
    InvalidName {
        /// The name.
        name: String,
        /// Which rule it breaks.
        why: TopicNameError,
    },
    /// The name differs from another topic's only by `.` against `_`, which metric names do not tell apart.
    #[error("{name:?} collides with topic {other:?}: '.' and '_' are the same in names of metrics")]
    Collides {
        /// The name.
        name: String,
        /// The topic that is there.
        other: String,
    },
    /// The name is taken.
    #[error("topic {name:?} already exists")]
    Exists {
        /// The name.
        name: String,
    },
    /// A name that the server keeps for itself.
    #[error(
        "{name:?} is a topic of the server's own, which clients do not create, delete or give partitions to"
    )]
    Internal {
        /// The name.
        name: String,
    },
    /// No topic has this name.
    #[error("there is no topic {name:?}")]
    Unknown {
        /// The name.
        name: String,
    },
    /// No topic has this id.
    #[error("there is no topic with id {id}")]
    UnknownId {
        /// The id.
        id: TopicId,
    },
    /// More partitions than one broker shall have.
    #[error(
        "this broker has {max} partitions at most (max.broker.partitions), it has {current} and {asked} more are asked for"
    )]
    BrokerFull {
        /// `max.broker.partitions`.
        max: i64,
        /// Those of all topics.
        current: i64,
        /// Those that were to be made.
        asked: i64,
    },
    /// A number of partitions that cannot be.
    #[error("a topic has 1 to {max} partitions, found {found}")]
    InvalidPartitions {
        /// Largest number.
        max: i32,
        /// What was asked for.
        found: i32,
    },
    /// Partitions are only ever added.
    #[error("topic {name:?} has {current} partitions and can only get more, found {found}")]
    NotMorePartitions {
        /// The topic.
        name: String,
        /// How many it has.
        current: i32,
        /// What was asked for.
        found: i32,
    },
    /// More replicas than brokers, or none.
    #[error("a replication factor of {found} is not possible with {brokers} broker(s)")]
    InvalidReplicationFactor {
        /// Brokers that are there.
        brokers: usize,
        /// What was asked for.
        found: i32,
    },
    /// Replicas that cannot be placed so.
    #[error("the replica assignment is not possible: {why}")]
    InvalidAssignment {
        /// Which rule it breaks.
        why: &'static str,
    },
    /// A request that says two things at once.
    #[error("{why}")]
    InvalidRequest {
        /// What it says.
        why: &'static str,
    },
    /// `delete.topic.enable` is false.
    #[error("topics cannot be deleted here: delete.topic.enable is false")]
    DeletionDisabled,
    /// A setting that cannot be taken.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// More than the metadata takes in one change or row. Nothing was changed.
    #[error("the change carries {found} {what}, at most {limit} are allowed")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: usize,
        /// What the change carries.
        found: usize,
    },
    /// The metadata store or the data directory failed.
    #[error("the change could not be made durable: {source}")]
    Storage {
        /// What failed.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The engine was shut down.
    #[error("the engine is shut down")]
    Closed,
}

impl TopicError {
    /// The code a client sees.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::InvalidName { .. } | Self::Collides { .. } | Self::Internal { .. } => {
                ErrorCode::InvalidTopicException
            }
            Self::Exists { .. } => ErrorCode::TopicAlreadyExists,
            Self::Unknown { .. } => ErrorCode::UnknownTopicOrPartition,
            Self::UnknownId { .. } => ErrorCode::UnknownTopicId,
            Self::InvalidPartitions { .. } | Self::NotMorePartitions { .. } => {
                ErrorCode::InvalidPartitions
            }
            Self::InvalidReplicationFactor { .. } => ErrorCode::InvalidReplicationFactor,
            Self::InvalidAssignment { .. } => ErrorCode::InvalidReplicaAssignment,
            Self::InvalidRequest { .. } => ErrorCode::InvalidRequest,
            Self::DeletionDisabled => ErrorCode::TopicDeletionDisabled,
            Self::Config(error) => error.code(),
            Self::TooLarge { .. } | Self::BrokerFull { .. } => ErrorCode::PolicyViolation,
            Self::Storage { .. } => ErrorCode::KafkaStorageError,
            Self::Closed => ErrorCode::CoordinatorNotAvailable,
        }
    }
}

/// Why a partition did not answer.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PartitionError {
    /// No such topic, or the topic has fewer partitions.
    #[error("there is no partition {partition} of topic {topic:?}")]
    Unknown {
        /// The topic's name.
        topic: String,
        /// The partition's number.
        partition: i32,
    },
    /// No topic has this id.
    #[error("there is no topic with id {id}")]
    UnknownTopicId {
        /// The id.
        id: TopicId,
    },
    /// The leader epoch of the request is not the leader's, or the request is out of the replicas' range.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    /// The offset is outside the log, or the log failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The log failed, or refused the request.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The last record the reader has is from an epoch that this log does not know.
    #[error("epoch {got} is later than any this partition knows (latest {latest})")]
    UnknownFetchedEpoch {
        /// The partition's latest epoch.
        latest: LeaderEpoch,
        /// The reader's.
        got: LeaderEpoch,
    },
    /// An offset that records cannot be deleted up to.
    #[error("records can be deleted up to {high_watermark}, found {found}")]
    DeleteBeyondEnd {
        /// The high watermark.
        high_watermark: Offset,
        /// The offset asked for.
        found: Offset,
    },
    /// A batch of the server's own that does not read.
    #[error(
        "{topic}-{partition}: the batch at offset {offset} does not read; `hanbeon dump` shows it"
    )]
    Unreadable {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// Where the batch begins.
        offset: Offset,
    },
    /// The topic was deleted, or the engine shut down.
    #[error("the partition is closed")]
    Closed,
}

impl PartitionError {
    /// The code a client sees.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Unknown { .. } => ErrorCode::UnknownTopicOrPartition,
            Self::UnknownTopicId { .. } => ErrorCode::UnknownTopicId,
            Self::Replica(error) => error.code(),
            Self::Read(error) => error.code(),
            Self::Log(error) => error.code(),
            Self::UnknownFetchedEpoch { .. } | Self::DeleteBeyondEnd { .. } => {
                ErrorCode::OffsetOutOfRange
            }
            Self::Unreadable { .. } => ErrorCode::CorruptMessage,
            Self::Closed => ErrorCode::NotLeaderOrFollower,
        }
    }
}

/// Why a batch was not appended, or not acknowledged.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProduceError {
    /// The partition could not be reached. Nothing was appended.
    #[error(transparent)]
    Partition(#[from] PartitionError),
    /// Clients do not write to the server's own topics. Nothing was appended.
    #[error("{topic:?} is a topic of the server's own, which clients do not write to")]
    InternalTopic {
        /// The topic.
        topic: String,
    },
    /// Too few replicas are in sync. [`ErrorCode::NotEnoughReplicas`]: nothing was appended;
    /// [`ErrorCode::NotEnoughReplicasAfterAppend`]: it was.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    /// The log refused the batch. Nothing was appended.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The batch was written, and could not be made as durable as the topic asks. Whether it survives is unknown until the
    /// log is opened again.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Whoever was to write it is gone. Whether it was written is unknown; an idempotent producer sends it again.
    #[error(transparent)]
    Abandoned(#[from] Abandoned),
    /// The transaction coordinator does not let it in.
    #[error(transparent)]
    Transaction(Arc<TransactionError>),
    /// A record of the server's own that has no form.
    #[error("a record for {topic} is longer than its form allows")]
    Unencodable {
        /// The topic it was for.
        topic: &'static str,
    },
    /// A state log in sled failed.
    #[cfg(feature = "sled")]
    #[error(transparent)]
    Sled(#[from] crate::SledError),
    /// Records of the server's own that no batch can hold.
    #[error(transparent)]
    Build(#[from] BuildError),
}

impl ProduceError {
    /// The code a client sees.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Partition(error) => error.code(),
            Self::InternalTopic { .. } => ErrorCode::InvalidTopicException,
            Self::Replica(error) => error.code(),
            Self::Append(error) => error.code(),
            Self::Log(error) => error.code(),
            Self::Abandoned(_) => ErrorCode::KafkaStorageError,
            Self::Transaction(error) => leader_code(error.code()),
            #[cfg(feature = "sled")]
            Self::Sled(_) => ErrorCode::KafkaStorageError,
            Self::Unencodable { .. } => ErrorCode::UnknownServerError,
            Self::Build(error) => error.code(),
        }
    }
}

/// Why no producer id was handed out.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProducerIdError {
    /// The block could not be reserved; try again.
    #[error("no producer id could be reserved: {source}")]
    Storage {
        /// What the metadata store said.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// All 2^63 ids are used up.
    #[error("producer ids are used up")]
    Exhausted,
    /// The engine was shut down.
    #[error("the engine is shut down")]
    Closed,
}

impl ProducerIdError {
    /// The code a client sees: one that old clients retry.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Storage { .. } => ErrorCode::CoordinatorLoadInProgress,
            Self::Exhausted => ErrorCode::UnknownServerError,
            Self::Closed => ErrorCode::CoordinatorNotAvailable,
        }
    }
}

/// What a partition's leader tells a producer of what the coordinator said to it (`AddPartitionsToTxnManager`, KIP-890). The version of
/// the request decides further: see the broker.
#[expect(clippy::wildcard_enum_match_arm, reason = "every other code is passed on as it is")]
const fn leader_code(code: ErrorCode) -> ErrorCode {
    match code {
        ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch,
        ErrorCode::NetworkException
        | ErrorCode::CoordinatorLoadInProgress
        | ErrorCode::CoordinatorNotAvailable
        | ErrorCode::NotCoordinator => ErrorCode::NotEnoughReplicas,
        code => code,
    }
}

impl From<ProduceError> for OpenError {
    fn from(error: ProduceError) -> Self {
        Self::StateLog(Arc::new(error))
    }
}
