//! Why a consumer group refuses, and what a client is told.

use alloc::string::String;

use hanbeon_records::ErrorCode;

/// Why a request to a consumer group is refused. It changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConsumerError {
    /// A field is missing or has a value it may not have.
    #[error("the heartbeat is invalid: {0}")]
    InvalidRequest(InvalidField),
    /// An assignor that is not configured.
    #[error("the assignor {asked:?} is not supported: ask for one of group.consumer.assignors")]
    UnsupportedAssignor {
        /// Its name.
        asked: String,
    },
    /// The group has as many members as it may have.
    #[error("group {group_id:?} has {max} members, as many as group.consumer.max.size allows")]
    GroupFull {
        /// Which.
        group_id: String,
        /// How many it may have.
        max: usize,
    },
    /// Nobody of that name is in the group.
    #[error("member {member_id:?} is not in group {group_id:?}: join again with epoch 0")]
    UnknownMember {
        /// Which group.
        group_id: String,
        /// The name.
        member_id: String,
    },
    /// No member has that instance id.
    #[error("instance {instance_id:?} is not in group {group_id:?}: join again with epoch 0")]
    UnknownInstance {
        /// Which group.
        group_id: String,
        /// The id.
        instance_id: String,
    },
    /// A member speaks from an epoch that is not its own.
    #[error(
        "member {member_id:?} has epoch {current}, got {got}: give up all partitions and join again with epoch 0"
    )]
    FencedMemberEpoch {
        /// Who.
        member_id: String,
        /// Its epoch.
        current: i32,
        /// The epoch that came.
        got: i32,
    },
    /// The instance id is taken by a member that has not left.
    #[error(
        "instance {instance_id:?} belongs to member {holder:?}, which has not left: stop it or wait for its session to end"
    )]
    UnreleasedInstance {
        /// The id.
        instance_id: String,
        /// Who has it.
        holder: String,
    },
    /// The instance id went over to another member.
    #[error(
        "instance {instance_id:?} belongs to member {holder:?} now, got {got:?}: a second process runs with this id"
    )]
    FencedInstance {
        /// The id.
        instance_id: String,
        /// Who has it.
        holder: String,
        /// Who asks.
        got: String,
    },
    /// An expression that is not regular, not RE2's, or too large.
    #[error("{regex:?} is not a regular expression in RE2's syntax, or a too large one")]
    InvalidRegex {
        /// Its beginning.
        regex: String,
    },
    /// Offsets from an epoch in which the member did not have the partition.
    #[error("member {member_id:?} has epoch {current}, got {got}: fetch the assignment again")]
    StaleMemberEpoch {
        /// Who.
        member_id: String,
        /// Its epoch.
        current: i32,
        /// The epoch that came.
        got: i32,
    },
    /// The same of a member that speaks the classic protocol.
    #[error("member {member_id:?} is at generation {current}, got {got}: rejoin")]
    IllegalGeneration {
        /// Who.
        member_id: String,
        /// Its generation.
        current: i32,
        /// The generation that came.
        got: i32,
    },
    /// A commit in a version that cannot say a member epoch.
    #[error(
        "member {member_id:?} commits with version {got}, at least 9 is needed for a member epoch"
    )]
    UnsupportedCommitVersion {
        /// Who.
        member_id: String,
        /// The version that came.
        got: i16,
    },
}

/// What is wrong with a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidField {
    /// No group id.
    #[error("the group id is empty")]
    GroupId,
    /// No member id where the client makes it.
    #[error("the member id is empty: since version 1 the client chooses it (KIP-1082)")]
    MemberId,
    /// An id that no record can hold.
    #[error("an id has more than 32767 bytes")]
    TooLong,
    /// An empty instance id.
    #[error("the instance id is empty: leave it out for a dynamic member")]
    InstanceId,
    /// An empty rack id.
    #[error("the rack id is empty: leave it out when it is not known")]
    RackId,
    /// A join without a rebalance timeout.
    #[error("a join needs a rebalance timeout")]
    RebalanceTimeout,
    /// A join that owns partitions, or does not say that it owns none.
    #[error("a join needs an empty list of owned partitions")]
    OwnedPartitions,
    /// A join without a subscription.
    #[error("a join needs a subscription, by names or by expression")]
    Subscription,
    /// A temporary leave of a dynamic member.
    #[error("epoch -2 is for static members: an instance id is needed")]
    TemporaryLeave,
    /// An epoch below -2.
    #[error("a member epoch is at least -2")]
    MemberEpoch,
    /// A member that joins under an instance id it did not have, while its own is in the group.
    #[error("the member id is in the group already, under another instance id")]
    TakenMemberId,
}

impl ConsumerError {
    /// What a client is told.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::InvalidRequest(_) => ErrorCode::InvalidRequest,
            Self::UnsupportedAssignor { .. } => ErrorCode::UnsupportedAssignor,
            Self::GroupFull { .. } => ErrorCode::GroupMaxSizeReached,
            Self::UnknownMember { .. } | Self::UnknownInstance { .. } => ErrorCode::UnknownMemberId,
            Self::FencedMemberEpoch { .. } => ErrorCode::FencedMemberEpoch,
            Self::UnreleasedInstance { .. } => ErrorCode::UnreleasedInstanceId,
            Self::FencedInstance { .. } => ErrorCode::FencedInstanceId,
            Self::InvalidRegex { .. } => ErrorCode::InvalidRegularExpression,
            Self::StaleMemberEpoch { .. } => ErrorCode::StaleMemberEpoch,
            Self::IllegalGeneration { .. } => ErrorCode::IllegalGeneration,
            Self::UnsupportedCommitVersion { .. } => ErrorCode::UnsupportedVersion,
        }
    }
}
