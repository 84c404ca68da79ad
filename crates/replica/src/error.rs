//! Why the leader refuses, and which Kafka code a client sees.

use hanbeon_records::{BrokerEpoch, ErrorCode, LeaderEpoch, NodeId, Offset};

/// A refusal of the partition leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplicaError {
    /// A produce request asked for another number of acknowledgements than 0, 1 or -1.
    #[error("acks must be 0, 1 or -1 (all), got {got}")]
    InvalidRequiredAcks {
        /// What the request said.
        got: i16,
    },
    /// `acks=all` with too few replicas in sync; nothing was written.
    #[error(
        "acks=all needs {min_isr} replicas in sync, {isr} are: nothing was written, retry when followers are back"
    )]
    NotEnoughReplicas {
        /// Size of the committed in-sync set.
        isr: usize,
        /// The effective `min.insync.replicas`.
        min_isr: usize,
    },
    /// The in-sync set shrank under the minimum after the append; the records may still be committed later.
    #[error(
        "acks=all needs {min_isr} replicas in sync, {isr} were left after the append: the records may be kept, retry with idempotence"
    )]
    NotEnoughReplicasAfterAppend {
        /// Size of the maximal in-sync set.
        isr: usize,
        /// The effective `min.insync.replicas`.
        min_isr: usize,
    },
    /// The request comes from an earlier leader epoch.
    #[error("leader epoch {got} is over, the partition is at {current}: refresh the metadata")]
    FencedLeaderEpoch {
        /// The leader's epoch.
        current: LeaderEpoch,
        /// The request's epoch.
        got: LeaderEpoch,
    },
    /// The request knows of a later leader epoch than this leader does.
    #[error("leader epoch {got} is not known here yet, this broker is at {current}: retry")]
    UnknownLeaderEpoch {
        /// The leader's epoch.
        current: LeaderEpoch,
        /// The request's epoch.
        got: LeaderEpoch,
    },
    /// A fetch as a follower from a broker that is no replica under the epoch it named.
    #[error(
        "broker {node} is no replica of this partition in leader epoch {epoch}: retry when the metadata has arrived"
    )]
    UnknownReplica {
        /// Who fetched.
        node: NodeId,
        /// The epoch the fetch named; -1 when none.
        epoch: LeaderEpoch,
    },
    /// A fetch of an earlier life of the follower (KIP-903).
    #[error(
        "broker {node} fetches with broker epoch {got}, registered is {current}: this life of it is over"
    )]
    StaleBrokerEpoch {
        /// Who fetched.
        node: NodeId,
        /// The registered broker epoch.
        current: BrokerEpoch,
        /// The request's broker epoch.
        got: BrokerEpoch,
    },
    /// A follower asks for records beyond the leader's end: its log is not a prefix of this one.
    #[error("broker {node} fetches from {from}, this log ends at {end}: it has to truncate")]
    FetchBeyondEnd {
        /// Who fetched.
        node: NodeId,
        /// Where it wants to read.
        from: Offset,
        /// The leader's log end.
        end: Offset,
    },
    /// A fresh leader does not know yet how far the log was committed (KIP-207).
    #[error(
        "the high watermark {high_watermark} is not proven up to {needed}, where this leader began: retry"
    )]
    HighWatermarkNotProven {
        /// What the leader knows.
        high_watermark: Offset,
        /// Where it has to be first: the log end when the leader epoch began.
        needed: Offset,
    },
    /// The caller reported a log end below the last one: a mistake of the caller, for a leader never truncates.
    #[error("the log of a leader went back from {end} to {got}")]
    EndWentBack {
        /// The end known before.
        end: Offset,
        /// The end reported.
        got: Offset,
    },
}

impl ReplicaError {
    /// The code a client sees.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::InvalidRequiredAcks { .. } => ErrorCode::InvalidRequiredAcks,
            Self::NotEnoughReplicas { .. } => ErrorCode::NotEnoughReplicas,
            Self::NotEnoughReplicasAfterAppend { .. } => ErrorCode::NotEnoughReplicasAfterAppend,
            Self::FencedLeaderEpoch { .. } => ErrorCode::FencedLeaderEpoch,
            Self::UnknownLeaderEpoch { .. } => ErrorCode::UnknownLeaderEpoch,
            // With an epoch the pair may become known; without one the asker has to look the leader up anew.
            Self::UnknownReplica { epoch, .. } if epoch.get() >= 0 => ErrorCode::UnknownLeaderEpoch,
            Self::UnknownReplica { .. } | Self::StaleBrokerEpoch { .. } => {
                ErrorCode::NotLeaderOrFollower
            }
            Self::FetchBeyondEnd { .. } => ErrorCode::OffsetOutOfRange,
            Self::HighWatermarkNotProven { .. } => ErrorCode::OffsetNotAvailable,
            Self::EndWentBack { .. } => ErrorCode::UnknownServerError,
        }
    }
}
