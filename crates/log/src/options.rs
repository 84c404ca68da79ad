//! What is told when a partition is opened, and what opening it found.

use hanbeon_idempotence::{FirstWrite, Verification};
use hanbeon_records::{LeaderEpoch, Millis, Offset, TopicId};

use crate::{Corruption, LogConfig, Poison};

/// How the process that wrote a directory last went away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shutdown {
    /// It closed every log and said so (`.kafka_cleanshutdown`). What lies below the recovery point is trusted, and so is the
    /// newest producer snapshot; the end of the active segment and all indexes are looked at nevertheless.
    Clean,
    /// It was killed, and the system has run without a break since: whatever was written is there, on the disk or in the page cache, and
    /// only the last write may have stopped half-way. From the recovery point on headers are followed; checksums are looked at
    /// where that write can lie, the others by [`crate::Partition::check_unread`] before the recovery point moves over them. Damage that
    /// the last write cannot have left is refused ([`crate::LogError::NotTorn`]), never cut.
    ///
    /// Only who knows that no page was lost may say so: after a power cut this takes for sound what is not.
    Killed,
    /// Anything may be missing that is not below the recovery point, or nobody knows: everything from there on is read and
    /// checked.
    Unclean,
}

/// What a partition is opened with. There is no default: each of these decides what may be lost.
#[derive(Clone, Debug)]
pub struct OpenPartition {
    /// The topic's settings.
    pub config: LogConfig,
    /// How the last process that wrote here went away.
    pub shutdown: Shutdown,
    /// Everything below was made durable with its indexes (`recovery-point-offset-checkpoint`); 0 when nobody knows.
    pub recovery_point: Offset,
    /// First offset that still counts (`log-start-offset-checkpoint`), where it is above the first segment's base.
    pub log_start: Option<Offset>,
    /// First offset not known to be replicated (`replication-offset-checkpoint`); without it, the log's start.
    pub high_watermark: Option<Offset>,
    /// The epoch in which this node leads from now on; stamped into every batch. Where the log was led in a later one it is the one above
    /// that: see [`crate::Partition::leader_epoch`] and [`OpenReport::latest_epoch`].
    pub leader_epoch: LeaderEpoch,
    /// The topic's id, to be found in or written to `partition.metadata`; `None` adopts a directory whatever it says.
    pub topic_id: Option<TopicId>,
    /// Whether the first batch of a transaction needs the coordinator's word.
    pub verification: Verification,
    /// Which first sequence a partition takes that was never written.
    pub first_write: FirstWrite,
    /// Random, so that strangers who choose producer ids cannot choose collisions.
    pub hash_seed: u64,
    /// Random, for the jitter of `segment.jitter.ms`; unused where that is 0.
    pub jitter_seed: u64,
    /// This node's clock.
    pub now: Millis,
    /// Shared by all partitions of a data directory: after a failed write or sync in one of them none takes any.
    pub poison: Poison,
}

/// What opening a partition found and did.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct OpenReport {
    /// What was cut off the end of the log, if anything.
    pub truncated: Option<TruncatedTail>,
    /// Bytes of `.log` files that were read and checked.
    pub bytes_checked: u64,
    /// Names of index files that were written anew from their logs.
    pub indexes_rebuilt: Vec<String>,
    /// Producer snapshots and sidecars that could not be used, each with why.
    pub snapshots_ignored: Vec<Corruption>,
    /// Left-overs of an interrupted deletion, compaction or cut that were removed or finished.
    pub leftovers: Vec<String>,
    /// Whether the epoch file was missing or unreadable and made anew from the batches.
    pub epochs_rebuilt: EpochFile,
    /// The latest epoch in which the log was led, as far as batches and epoch file tell: also one in which nothing was written, or of which
    /// nothing is left.
    pub latest_epoch: Option<LeaderEpoch>,
    /// Transactions without a marker.
    pub open_transactions: usize,
    /// Producers that are known.
    pub producers: usize,
    /// Batches that were replayed to know them.
    pub batches_replayed: u64,
}

/// Bytes that were cut off the end of a log at opening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TruncatedTail {
    /// The offset at which the log ends now.
    pub end_offset: Offset,
    /// Bytes cut, over all files.
    pub bytes: u64,
    /// The first thing found wrong.
    pub cause: Corruption,
}

/// What became of `leader-epoch-checkpoint` at opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum EpochFile {
    /// It was there and agrees with the log.
    #[default]
    Kept,
    /// It was missing, unreadable or disagreed, and was made anew from the batches.
    Rebuilt,
}
