//! What clients are answered.

use alloc::{sync::Arc, vec::Vec};
use core::fmt;

use hanbeon_records::{LeaderEpoch, Millis, Offset};

use crate::{GroupError, Name, Opaque, consumer::HeartbeatReply};

/// The answer to one parked request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reply {
    /// To `JoinGroup`.
    Join(Result<Joined, JoinRefused>),
    /// To `SyncGroup`.
    Sync(Result<Synced, GroupError>),
    /// To `Heartbeat`.
    Heartbeat(Result<(), GroupError>),
    /// To `LeaveGroup`: who left and who could not, as they were named. v0 to v2 carry the only one's error on top.
    Leave(Result<Vec<Left>, GroupError>),
    /// To `OffsetCommit` and `TxnOffsetCommit`: one result for each offset in the order of the request, or one for all.
    Commit(Result<Vec<Result<(), GroupError>>, GroupError>),
    /// To `OffsetDelete`: one result for each partition in the order of the request, or one for all.
    DeleteOffsets(Result<Vec<Result<(), GroupError>>, GroupError>),
    /// To `ConsumerGroupHeartbeat` (KIP-848).
    ConsumerHeartbeat(Result<HeartbeatReply, GroupError>),
    /// To one group of `DeleteGroups`.
    DeleteGroup(Result<(), GroupError>),
}

/// A generation and one's place in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The generation.
    pub generation: i32,
    /// Kind of group (in the answer of v7 and up).
    pub protocol_type: Option<Name>,
    /// The protocol that most members prefer among those all support.
    pub protocol_name: Option<Name>,
    /// Who assigns.
    pub leader: Name,
    /// Whether the leader shall leave the assignment as it is (in the answer of v9 and up).
    pub assignment: LeadersTask,
    /// Who the answer is for.
    pub member_id: Name,
    /// Everybody, for the leader alone.
    pub members: Vec<JoinedMember>,
}

/// What the leader has to do with the assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeadersTask {
    /// Compute it.
    Assign,
    /// Leave it: `skipAssignment` is true (KIP-814).
    Skip,
}

/// A member as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    /// Its id.
    pub member_id: Name,
    /// Its instance id when it is static.
    pub instance_id: Option<Name>,
    /// Its subscription in the chosen protocol.
    pub metadata: Opaque,
}

/// A refused `JoinGroup`, which also carries a member id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRefused {
    /// Why.
    pub error: GroupError,
    /// The id in the answer: the new one with `MEMBER_ID_REQUIRED`, else the one of the request or none.
    pub member_id: Name,
}

/// One's share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    /// Kind of group (in the answer of v5 and up).
    pub protocol_type: Option<Name>,
    /// The chosen protocol (in the answer of v5 and up).
    pub protocol_name: Option<Name>,
    /// What the leader gave this member.
    pub assignment: Opaque,
}

/// One of those that were asked to leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// As it was named in the request.
    pub member_id: Name,
    /// As it was named in the request.
    pub instance_id: Option<Name>,
    /// Whether it left.
    pub result: Result<(), GroupError>,
}

/// A committed offset as clients read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedOffset {
    /// The topic.
    pub topic: Name,
    /// The partition.
    pub partition: i32,
    /// The next offset to read, or `None` where nothing was committed (-1 on the wire).
    pub committed: Option<CommittedOffset>,
    /// `UNSTABLE_OFFSET_COMMIT` where the offset is undecided; `committed` is then `None`.
    pub error: Option<GroupError>,
}

/// What a commit said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The next offset to read.
    pub offset: Offset,
    /// Leader epoch of the last record read, or unknown.
    pub leader_epoch: LeaderEpoch,
    /// The client's note.
    pub metadata: Arc<str>,
}

/// Where a group stands. Classic groups have the first five, KIP-848 groups `Empty`, `Assigning`, `Reconciling`, `Stable`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// No members; perhaps offsets.
    Empty,
    /// Waits for the members to join.
    PreparingRebalance,
    /// Waits for the leader's assignment.
    CompletingRebalance,
    /// Everybody has an assignment.
    Stable,
    /// Is no more, or never was.
    Dead,
    /// The target assignment is older than the group's epoch (KIP-848).
    Assigning,
    /// Members move to the target assignment (KIP-848).
    Reconciling,
}

impl State {
    /// Kafka's name of it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
            Self::Dead => "Dead",
            Self::Assigning => "Assigning",
            Self::Reconciling => "Reconciling",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which protocol a group speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupType {
    /// The members' leader assigns.
    Classic,
    /// The coordinator assigns (KIP-848).
    Consumer,
}

impl GroupType {
    /// Kafka's name of it in `ListGroups`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Consumer => "consumer",
        }
    }
}

/// One row of `ListGroups`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The group.
    pub group: Name,
    /// Kind of group; empty for one that only holds offsets.
    pub protocol_type: Name,
    /// Where it stands.
    pub state: State,
    /// Which protocol it speaks.
    pub group_type: GroupType,
}

/// A classic group as `DescribeGroups` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Where it stands.
    pub state: State,
    /// Since when, where that is known.
    pub since: Option<Millis>,
    /// Kind of group; empty for one that only holds offsets.
    pub protocol_type: Name,
    /// The generation.
    pub generation: i32,
    /// The chosen protocol; empty unless the group is stable.
    pub protocol_data: Name,
    /// The members in the order of their joining.
    pub members: Vec<DescribedMember>,
}

/// A member as `DescribeGroups` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedMember {
    /// Its id.
    pub member_id: Name,
    /// Its instance id when it is static.
    pub instance_id: Option<Name>,
    /// The client id it joined with.
    pub client_id: Name,
    /// The address it joined from.
    pub client_host: Name,
    /// Its subscription in the chosen protocol; empty unless the group is stable.
    pub metadata: Opaque,
    /// What it was given.
    pub assignment: Opaque,
}
