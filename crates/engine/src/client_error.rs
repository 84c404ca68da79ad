//! What can go wrong for an embedded producer or consumer.

use std::{fmt, sync::Arc};

use hanbeon_records::{BuildError, ErrorCode, Offset, TopicPartition};

use crate::{
    GroupsError, PartitionError, ProduceError, ProducerIdError, TransactionError,
    client_settings::SettingError,
};

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
    /// The transaction coordinator refuses, or its log fails.
    #[error(transparent)]
    Transaction(Arc<TransactionError>),
    /// The group coordinator refuses the offsets, or its log fails.
    #[error(transparent)]
    Groups(Arc<GroupsError>),
    /// The group went on without this consumer: its session ran out, or it kept a partition for too long that it was to give up.
    #[error(
        "group {group:?} put out member {member_id:?} of epoch {epoch}, what it read and did not commit is not its own any more ({reason}): abort what is under way and poll again, that joins anew"
    )]
    MemberFenced {
        /// The group.
        group: String,
        /// Who was put out.
        member_id: String,
        /// The epoch it had.
        epoch: i32,
        /// What the coordinator said.
        reason: Arc<GroupsError>,
    },
    /// The positions of a group consumer were part of a transaction that was aborted, and reading on would leave out what was read for it.
    #[error(
        "{topic}-{partition} was read up to {position} for a transaction that is aborted: call GroupConsumer::rewind, which lets it come again, or seek to where to go on"
    )]
    NotRewound {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The position that the transaction was told.
        position: Offset,
    },
    /// An earlier send of this transaction failed, so nothing of it can become visible.
    #[error("an earlier send of this transaction failed ({reason}): abort it and begin anew")]
    Doomed {
        /// Why it failed.
        reason: Arc<Self>,
    },
    /// The transaction was aborted instead of committed, because something of it was not taken.
    #[error(
        "the transaction of {id:?} is aborted, nothing of it is visible: {reason}; begin it anew"
    )]
    Aborted {
        /// The transactional id.
        id: String,
        /// What was not taken.
        reason: Arc<Self>,
    },
    /// The storage failed while the transaction was being decided.
    #[error(
        "whether the transaction of {id:?} is committed is not known ({reason}): open the data directory again, that carries the decision out or aborts"
    )]
    OutcomeUnknown {
        /// The transactional id.
        id: String,
        /// What failed.
        reason: Arc<Self>,
    },
    /// The last transaction of the id is decided and cannot be completed yet.
    #[error("the last transaction of {id:?} is decided, {}", Lacking(partitions))]
    Unfinished {
        /// The transactional id.
        id: String,
        /// The partitions that are offline; none when another call is at it.
        partitions: Vec<TopicPartition>,
    },
    /// The record's transaction was aborted before it was written.
    #[error("the record was not written: its transaction was aborted first")]
    NotWritten,
    /// The metadata store failed.
    #[error("the appender's id could not be made durable: {source}")]
    Storage {
        /// What it said.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
}

impl From<TransactionError> for ClientError {
    fn from(error: TransactionError) -> Self {
        Self::Transaction(Arc::new(error))
    }
}

impl From<GroupsError> for ClientError {
    fn from(error: GroupsError) -> Self {
        Self::Groups(Arc::new(error))
    }
}

/// Why a decided transaction is not complete.
struct Lacking<'a>(&'a [TopicPartition]);

impl fmt::Display for Lacking<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((first, rest)) = self.0.split_first() else {
            return f.write_str("and another call is still writing its markers: try again");
        };
        write!(f, "and cannot be told to {first}")?;
        rest.iter().try_for_each(|partition| write!(f, ", {partition}"))?;
        f.write_str(": mend what keeps it offline, then try again")
    }
}
