//! One partition: its log, its leader, and who waits for it.

use std::{fmt, future::Future, pin::Pin, sync::Arc, task::{Context, Poll}};

use bytes::Bytes;
use hanbeon_records::{LeaderEpoch, Millis, Offset, TopicId, TopicName};
use hanbeon_replica::Acks;

use hanbeon_idempotence::ProducerView;
use hanbeon_log::{AbortedTxn, EpochEnd, FirstBatch, FoundOffset, Isolation, TimeQuery};

use crate::{Env, PartitionError, ProduceError, System};

/// A cheap handle on one partition; clones are the same partition.
///
/// The log is opened, and after a crash recovered, when it is first touched: [`PartitionHandle::is_open`] says whether a
/// call can take long for that reason, [`PartitionHandle::open`] does it ahead of time.
pub struct PartitionHandle<E: Env = System>(pub(crate) Arc<Inner<E>>);

pub(crate) struct Inner<E: Env> {
    topic: TopicName,
    topic_id: TopicId,
    number: i32,
    env: std::marker::PhantomData<E>,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Produced {
    /// Offset of its first record; of the original where the batch is a duplicate.
    pub base_offset: Offset,
    /// Offset of its last record.
    pub last_offset: Offset,
    /// The broker's time, where the topic stamps records with it.
    pub log_append_time: Option<Millis>,
    /// First offset in the log.
    pub log_start_offset: Offset,
    /// Whether the batch had been appended before, and was not appended again.
    pub duplicate: bool,
}

/// The answer to [`PartitionHandle::produce`].
#[must_use = "only the answer says whether the batch was taken"]
pub enum Produce<E: Env = System> {
    /// Here already.
    Done(Result<Produced, ProduceError>),
    /// Comes when another thread has written it, or when it is as safe as asked for.
    Waiting(ProduceFuture<E>),
}

impl<E: Env> Produce<E> {
    /// Blocks until the answer is there; does the sync it waits for itself where nobody else does.
    ///
    /// # Errors
    /// As [`PartitionHandle::produce`].
    pub fn wait(self) -> Result<Produced, ProduceError> {
        match self {
            Self::Done(result) => result,
            Self::Waiting(future) => future.wait(),
        }
    }
}

/// A batch on its way; a future for any executor. Dropping it takes nothing back.
#[must_use = "only the answer says whether the batch was taken"]
pub struct ProduceFuture<E: Env = System>(std::marker::PhantomData<E>);

impl<E: Env> ProduceFuture<E> {
    /// Blocks until the answer is there; does the sync it waits for itself where nobody else does.
    ///
    /// # Errors
    /// As [`PartitionHandle::produce`].
    pub fn wait(self) -> Result<Produced, ProduceError> {
        unimplemented!()
    }
}

impl<E: Env> Unpin for ProduceFuture<E> {}

impl<E: Env> Future for ProduceFuture<E> {
    type Output = Result<Produced, ProduceError>;

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
        unimplemented!()
    }
}

/// What a reader asks one partition for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchSpec {
    /// First offset wanted.
    pub from: Offset,
    /// What the reader may see.
    pub isolation: Isolation,
    /// Bytes at most.
    pub max_bytes: usize,
    /// Whether a first batch larger than `max_bytes` comes whole.
    pub first_batch: FirstBatch,
    /// The leader epoch the reader believes in.
    pub current_leader_epoch: Option<LeaderEpoch>,
    /// The leader epoch of the last record the reader has.
    pub last_fetched_epoch: Option<LeaderEpoch>,
}

/// What a reader gets.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Whole batches; the first may begin below the offset asked for, the last may be cut short.
    pub records: Bytes,
    /// Exclusive end of what is committed.
    pub high_watermark: Offset,
    /// Exclusive end of what no open transaction holds back.
    pub last_stable_offset: Offset,
    /// First offset in the log.
    pub log_start_offset: Offset,
    /// Aborted transactions among the records, for a `read_committed` reader; `None` for others.
    pub aborted: Option<Vec<AbortedTxn>>,
    /// Where the reader's log parts from this one; no records then.
    pub diverging: Option<EpochEnd>,
}

/// Resolves when a partition has data beyond an offset, or is closed. A future for any executor; deadlines are the
/// caller's. Dropping it takes the waiter back.
#[must_use]
pub struct DataFuture<E: Env = System>(std::marker::PhantomData<E>);

impl<E: Env> Unpin for DataFuture<E> {}

impl<E: Env> Future for DataFuture<E> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        unimplemented!()
    }
}

impl<E: Env> PartitionHandle<E> {
    /// The topic's name.
    #[must_use]
    pub fn topic(&self) -> &TopicName {
        &self.0.topic
    }

    /// The topic's identity.
    #[must_use]
    pub fn topic_id(&self) -> TopicId {
        self.0.topic_id
    }

    /// The partition's number.
    #[must_use]
    pub fn number(&self) -> i32 {
        self.0.number
    }

    /// Whether the log is open already, so that no call has to recover it first.
    #[must_use]
    pub fn is_open(&self) -> bool {
        unimplemented!()
    }

    /// Opens the log if it is not open.
    ///
    /// # Errors
    /// The log cannot be opened; the partition stays offline and says so at every call.
    pub fn open(&self) -> Result<(), PartitionError> {
        unimplemented!()
    }

    /// Appends one batch of a client.
    ///
    /// # Errors
    /// In the answer: see [`ProduceError`].
    pub fn produce(&self, _records: Bytes, _acks: Acks) -> Produce<E> {
        unimplemented!()
    }

    /// Reads.
    ///
    /// # Errors
    /// An offset outside the log, another leader epoch, or a failing log.
    pub fn fetch(&self, _spec: &FetchSpec) -> Result<Fetched, PartitionError> {
        unimplemented!()
    }

    /// Waits for something to read at `offset`: the end that `isolation` may see is beyond it.
    ///
    /// # Errors
    /// The partition is offline or closed.
    pub fn data_beyond(
        &self,
        _offset: Offset,
        _isolation: Isolation,
    ) -> Result<DataFuture<E>, PartitionError> {
        unimplemented!()
    }

    /// Finds an offset by time, or one of the ends; `None` when no record is that late.
    ///
    /// # Errors
    /// Another leader epoch, or a failing log.
    pub fn list_offsets(
        &self,
        _query: TimeQuery,
        _isolation: Isolation,
        _current_leader_epoch: Option<LeaderEpoch>,
    ) -> Result<Option<FoundOffset>, PartitionError> {
        unimplemented!()
    }

    /// Deletes the records below `before`, or all that are committed; the new log start.
    ///
    /// # Errors
    /// An offset beyond the high watermark, a topic without `delete` in its policy, or a failing log.
    pub fn delete_records(&self, _before: Option<Offset>) -> Result<Offset, PartitionError> {
        unimplemented!()
    }

    /// The producers the partition remembers, by id.
    ///
    /// # Errors
    /// The partition is offline or closed.
    pub fn describe_producers(&self) -> Result<Vec<ProducerView>, PartitionError> {
        unimplemented!()
    }

    /// Where the records of an epoch end (`OffsetForLeaderEpoch`); epoch and offset -1 when it is not known.
    ///
    /// # Errors
    /// Another leader epoch, or a failing log.
    pub fn end_offset_for_epoch(
        &self,
        _epoch: LeaderEpoch,
        _current_leader_epoch: Option<LeaderEpoch>,
    ) -> Result<EpochEnd, PartitionError> {
        unimplemented!()
    }

    /// The epoch this node leads the partition in. Does not open the log.
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        unimplemented!()
    }

    /// First offset in the log.
    ///
    /// # Errors
    /// The partition is offline or closed; so for the next three.
    pub fn log_start_offset(&self) -> Result<Offset, PartitionError> {
        unimplemented!()
    }

    /// Exclusive end of what is committed.
    ///
    /// # Errors
    /// The partition is offline or closed.
    pub fn high_watermark(&self) -> Result<Offset, PartitionError> {
        unimplemented!()
    }

    /// Exclusive end of what no open transaction holds back.
    ///
    /// # Errors
    /// The partition is offline or closed.
    pub fn last_stable_offset(&self) -> Result<Offset, PartitionError> {
        unimplemented!()
    }

    /// Exclusive end of the log.
    ///
    /// # Errors
    /// The partition is offline or closed.
    pub fn log_end_offset(&self) -> Result<Offset, PartitionError> {
        unimplemented!()
    }

    /// Bytes of batches on disk (`DescribeLogDirs`).
    ///
    /// # Errors
    /// The partition is offline or closed.
    pub fn size_bytes(&self) -> Result<u64, PartitionError> {
        unimplemented!()
    }
}

impl<E: Env> Clone for PartitionHandle<E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<E: Env> fmt::Debug for PartitionHandle<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PartitionHandle({}-{})", self.0.topic, self.0.number)
    }
}

impl<E: Env> fmt::Debug for Produce<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done(result) => f.debug_tuple("Done").field(result).finish(),
            Self::Waiting(_) => f.write_str("Waiting"),
        }
    }
}

impl<E: Env> fmt::Debug for ProduceFuture<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProduceFuture")
    }
}

impl<E: Env> fmt::Debug for DataFuture<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataFuture")
    }
}
