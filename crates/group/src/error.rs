//! Why a request about a group is refused, and what a client is told.

use hanbeon_records::ErrorCode;

use crate::{Name, NameTooLong, State, consumer::ConsumerError};

/// Why a group's coordinator refuses a request, or a part of it. A refused request changed nothing, except where the variant says so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// The partition of `__consumer_offsets` is still being read.
    #[error("the groups of this partition are still being loaded: try again")]
    Loading,
    /// This node no longer owns the partition of `__consumer_offsets`.
    #[error("this node no longer coordinates the group: find its coordinator again")]
    NotCoordinator,
    /// A group id was expected.
    #[error("the group id is empty: name a group")]
    InvalidGroupId,
    /// The coordinator has all the groups it may have, and this is none of them.
    #[error("the coordinator has {max} groups already: delete some, or use one that is there")]
    TooManyGroups {
        /// The most.
        max: usize,
    },
    /// A session timeout outside of what the operator allows.
    #[error("a session timeout of {found} ms is outside of {min} to {max} ms")]
    InvalidSessionTimeout {
        /// What was asked for.
        found: i32,
        /// The smallest allowed.
        min: i32,
        /// The largest allowed.
        max: i32,
    },
    /// No such member.
    #[error("group {group} knows no member {member_id:?}: join it first")]
    UnknownMember {
        /// The group.
        group: Name,
        /// Who spoke.
        member_id: Name,
    },
    /// No such static member.
    #[error("group {group} knows no instance {instance_id:?}: join it first")]
    UnknownInstance {
        /// The group.
        group: Name,
        /// Who spoke.
        instance_id: Name,
    },
    /// Another process speaks for the static member now (KIP-345).
    #[error(
        "instance {instance_id:?} of group {group} is member {current:?} now, {found:?} was replaced: two processes share one group.instance.id"
    )]
    FencedInstance {
        /// The group.
        group: Name,
        /// Whose id two processes use.
        instance_id: Name,
        /// The member that holds it.
        current: Name,
        /// The member that spoke.
        found: Name,
    },
    /// A generation that is not the current one: the speaker is a zombie of an earlier one.
    #[error(
        "group {group} is in generation {current}, the request speaks of {found}: join it again"
    )]
    IllegalGeneration {
        /// The group.
        group: Name,
        /// The generation it is in.
        current: i32,
        /// The generation of the request.
        found: i32,
    },
    /// A commit with a generation to a group that does not exist, of a client that knows no better word (before `OffsetCommit` v9).
    #[error("there is no group {group}, so there is no generation {found} of it: join it again")]
    GenerationOfNoGroup {
        /// The group.
        group: Name,
        /// The generation of the request.
        found: i32,
    },
    /// Members must join again before anything else.
    #[error("group {group} is rebalancing ({state}): join it again")]
    RebalanceInProgress {
        /// The group.
        group: Name,
        /// Its state.
        state: State,
    },
    /// A protocol type or list that does not go with the other members'.
    #[error(
        "group {group} and its new member share no protocol: every member needs the type of the others and one protocol that all support"
    )]
    InconsistentProtocol {
        /// The group.
        group: Name,
    },
    /// A member that says more of itself than is kept for one.
    #[error(
        "a member of group {group} says {found} bytes of itself, at most {max} are allowed: let it subscribe to fewer topics"
    )]
    MemberTooLarge {
        /// The group.
        group: Name,
        /// How many bytes it says.
        found: usize,
        /// How many it may.
        max: usize,
    },
    /// The group has all the members it may have. The member that asked is no member now.
    #[error("group {group} has {max} members already, more are not allowed")]
    GroupFull {
        /// The group.
        group: Name,
        /// `group.max.size`.
        max: usize,
    },
    /// A new member was given an id and must join again with it (KIP-394).
    #[error("join group {group} again as {member_id:?}")]
    MemberIdRequired {
        /// The group.
        group: Name,
        /// The id to use.
        member_id: Name,
    },
    /// No such group.
    #[error("there is no group {group}")]
    GroupNotFound {
        /// The name nobody uses.
        group: Name,
    },
    /// A group with members cannot be deleted, nor its offsets when it is no consumer group.
    #[error("group {group} has members ({state}): stop them first")]
    NonEmptyGroup {
        /// The group.
        group: Name,
        /// Its state.
        state: State,
    },
    /// Offsets of a topic that members read cannot be deleted.
    #[error("group {group} reads topic {topic}: its offsets can be deleted when no member does")]
    SubscribedToTopic {
        /// The group.
        group: Name,
        /// The topic.
        topic: Name,
    },
    /// A transaction holds an offset whose outcome is open (KIP-447).
    #[error("an offset of group {group} is inside an open transaction or being written: try again")]
    UnstableOffset {
        /// The group.
        group: Name,
    },
    /// Metadata of a committed offset that is too long.
    #[error("offset metadata of {found} characters, at most {max} are allowed")]
    MetadataTooLarge {
        /// How long it is.
        found: usize,
        /// `offset.metadata.max.bytes`.
        max: usize,
    },
    /// KIP-848 groups are not allowed here.
    #[error(
        "consumer groups of KIP-848 are off: use group.protocol=classic or allow them in group.coordinator.rebalance.protocols"
    )]
    ConsumerProtocolOff,
    /// An offset of a topic that was deleted; one of its name may have been made since.
    #[error("topic {topic} was deleted: look up its id again")]
    TopicGone {
        /// The name it had.
        topic: Name,
    },
    /// What a KIP-848 group says.
    #[error(transparent)]
    Consumer(#[from] ConsumerError),
    /// The id made for a new member has no place in the log.
    #[error(transparent)]
    NameTooLong(#[from] NameTooLong),
    /// The log did not take the records.
    #[error("the change was not written ({}): try again", was.name())]
    NotWritten {
        /// What the log said.
        was: ErrorCode,
    },
}

impl GroupError {
    /// What a client is told.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Loading => ErrorCode::CoordinatorLoadInProgress,
            Self::NotCoordinator => ErrorCode::NotCoordinator,
            Self::InvalidGroupId => ErrorCode::InvalidGroupId,
            Self::InvalidSessionTimeout { .. } => ErrorCode::InvalidSessionTimeout,
            Self::UnknownMember { .. } | Self::UnknownInstance { .. } => ErrorCode::UnknownMemberId,
            Self::FencedInstance { .. } => ErrorCode::FencedInstanceId,
            Self::IllegalGeneration { .. } | Self::GenerationOfNoGroup { .. } => {
                ErrorCode::IllegalGeneration
            }
            Self::RebalanceInProgress { .. } => ErrorCode::RebalanceInProgress,
            Self::InconsistentProtocol { .. } => ErrorCode::InconsistentGroupProtocol,
            Self::MemberTooLarge { .. } => ErrorCode::InvalidRequest,
            // Kafka has no such limit. Its clients take this code for final in every answer about groups, and tell it to their callers.
            Self::TooManyGroups { .. } => ErrorCode::PolicyViolation,
            Self::GroupFull { .. } => ErrorCode::GroupMaxSizeReached,
            Self::MemberIdRequired { .. } => ErrorCode::MemberIdRequired,
            Self::GroupNotFound { .. } => ErrorCode::GroupIdNotFound,
            Self::NonEmptyGroup { .. } => ErrorCode::NonEmptyGroup,
            Self::SubscribedToTopic { .. } => ErrorCode::GroupSubscribedToTopic,
            Self::UnstableOffset { .. } => ErrorCode::UnstableOffsetCommit,
            Self::MetadataTooLarge { .. } => ErrorCode::OffsetMetadataTooLarge,
            Self::ConsumerProtocolOff => ErrorCode::UnsupportedVersion,
            Self::TopicGone { .. } => ErrorCode::UnknownTopicOrPartition,
            Self::Consumer(error) => error.code(),
            Self::NameTooLong(error) => error.code(),
            Self::NotWritten { was } => in_coordinator_words(*was),
        }
    }
}

/// What a failed append means to a client that speaks to a coordinator and knows nothing of the coordinator's log
/// (`CoordinatorOperationExceptionHelper`).
const fn in_coordinator_words(was: ErrorCode) -> ErrorCode {
    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "every other code means to the client what it says, such as INVALID_PRODUCER_EPOCH"
    )]
    match was {
        ErrorCode::UnknownTopicOrPartition
        | ErrorCode::NotEnoughReplicas
        | ErrorCode::NotEnoughReplicasAfterAppend
        | ErrorCode::RequestTimedOut => ErrorCode::CoordinatorNotAvailable,
        ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError => ErrorCode::NotCoordinator,
        ErrorCode::MessageTooLarge
        | ErrorCode::RecordListTooLarge
        | ErrorCode::InvalidFetchSize => ErrorCode::UnknownServerError,
        ErrorCode::NetworkException => ErrorCode::CoordinatorLoadInProgress,
        other => other,
    }
}
