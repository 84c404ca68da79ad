//! What clients ask, in the words of the protocol and without its version numbers: what depends on a version is a field.

use alloc::{sync::Arc, vec::Vec};

use hanbeon_records::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TopicId, TopicName};

use crate::Name;

/// Bytes that members give each other through the coordinator.
pub type Opaque = Arc<[u8]>;

/// One way of assigning that a member supports, with what it tells the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// Its name, such as `range`.
    pub name: Name,
    /// The member's subscription in this protocol's form.
    pub metadata: Opaque,
}

/// How a member without an id is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewMembers {
    /// It gets an id and joins again with it, so that a lost answer leaves no dead member behind (`JoinGroup` v4 and up, KIP-394).
    GetAnIdFirst,
    /// It joins at once (`JoinGroup` v0 to v3).
    JoinAtOnce,
}

/// Whether a returning static leader can be told to leave the assignment alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipAssignment {
    /// It is told in so many words (`JoinGroup` v9 and up, KIP-814).
    Supported,
    /// It is named a follower, so that it does not compute an assignment (`JoinGroup` v0 to v8).
    Unsupported,
}

/// `JoinGroup`.
#[derive(Clone, Debug)]
pub struct Join {
    /// Which group.
    pub group: Name,
    /// Empty for a new member.
    pub member_id: Name,
    /// `group.instance.id` of a static member (v5 and up).
    pub instance_id: Option<Name>,
    /// Of the request's header; the first part of a dynamic member's id.
    pub client_id: Name,
    /// The client's address as Kafka writes it, `/127.0.0.1`.
    pub client_host: Name,
    /// How long the member may be silent.
    pub session_timeout_ms: i32,
    /// How long a rebalance waits for the member; v0 has none and the session timeout stands in.
    pub rebalance_timeout_ms: Option<i32>,
    /// Kind of group, `consumer` or `connect`.
    pub protocol_type: Name,
    /// What the member supports, best first.
    pub protocols: Vec<Protocol>,
    /// Says how a new member gets in.
    pub new_members: NewMembers,
    /// Says what a returning static leader understands.
    pub skip_assignment: SkipAssignment,
}

impl Join {
    /// Bytes that it takes to remember the member for as long as it is one.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        let Self { member_id, instance_id, client_id, client_host, protocol_type, .. } = self;
        let names = [Some(member_id), instance_id.as_ref(), Some(client_id), Some(client_host)];
        let names = names.into_iter().flatten().chain([protocol_type]);
        let named: usize = names.map(|name| name.as_str().len()).sum();
        let one = |protocol: &Protocol| {
            let Protocol { name, metadata } = protocol;
            size_of::<Protocol>().saturating_add(name.as_str().len()).saturating_add(metadata.len())
        };
        self.protocols.iter().map(one).fold(named, usize::saturating_add)
    }
}

/// Who speaks, in `SyncGroup` and `Heartbeat`.
#[derive(Clone, Debug)]
pub struct Speaker {
    /// Which group.
    pub group: Name,
    /// The generation it believes to be in.
    pub generation: i32,
    /// Its member id.
    pub member_id: Name,
    /// Its instance id when it is static.
    pub instance_id: Option<Name>,
}

/// `SyncGroup`.
#[derive(Clone, Debug)]
pub struct Sync {
    /// Who asks.
    pub speaker: Speaker,
    /// What it believes the group's type to be (v5 and up).
    pub protocol_type: Option<Name>,
    /// What it believes the chosen protocol to be (v5 and up).
    pub protocol_name: Option<Name>,
    /// The leader's work: what each member shall have.
    pub assignments: Vec<(Name, Opaque)>,
}

/// One who leaves, or is made to leave.
#[derive(Clone, Debug)]
pub struct Leaver {
    /// Its member id; empty when an administrator removes an instance.
    pub member_id: Name,
    /// Its instance id when it is static.
    pub instance_id: Option<Name>,
}

/// `LeaveGroup`; v0 to v2 are a list of one.
#[derive(Clone, Debug)]
pub struct Leave {
    /// Which group.
    pub group: Name,
    /// Who leaves.
    pub members: Vec<Leaver>,
}

/// What a commit may say about membership. All three absent: an administrator, or a consumer without a group.
#[derive(Clone, Debug)]
pub struct Membership {
    /// The generation (or member epoch), -1 when there is none.
    pub generation: i32,
    /// The member id, empty when there is none.
    pub member_id: Name,
    /// The instance id of a static member.
    pub instance_id: Option<Name>,
}

impl Membership {
    /// No membership at all.
    #[must_use]
    pub fn none() -> Self {
        Self { generation: -1, member_id: Name::empty(), instance_id: None }
    }
}

/// What a client of `OffsetCommit` understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitDialect {
    /// Generations only: a missing group is an illegal generation (v0 to v8).
    Generations,
    /// Also member epochs: a missing group is named as such (v9 and up, KIP-848).
    Epochs,
}

/// One offset to commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewOffset {
    /// The topic; that it exists is the caller's to check.
    pub topic: TopicName,
    /// The topic's id when the caller knows it; goes to the log with plain commits.
    pub topic_id: Option<TopicId>,
    /// The partition; that it exists is the caller's to check.
    pub partition: i32,
    /// The next offset to read. Negative ones are stored as they are, as Kafka does.
    pub offset: Offset,
    /// Leader epoch of the last record read, or unknown.
    pub leader_epoch: LeaderEpoch,
    /// A note of the client; null is the empty string.
    pub metadata: Arc<str>,
}

/// `OffsetCommit`.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Which group; the empty name is allowed, as old consumers without a group use it.
    pub group: Name,
    /// On whose behalf.
    pub membership: Membership,
    /// What the client understands.
    pub dialect: CommitDialect,
    /// How long to keep the offsets (v2 to v4), else the operator's retention holds.
    pub retention_ms: Option<i64>,
    /// What to commit.
    pub offsets: Vec<NewOffset>,
}

/// `TxnOffsetCommit`, after the transaction's coordinator has confirmed or added the partition.
#[derive(Clone, Debug)]
pub struct CommitInTxn {
    /// Which group.
    pub group: Name,
    /// Whose transaction.
    pub producer_id: ProducerId,
    /// Which incarnation of the producer.
    pub producer_epoch: ProducerEpoch,
    /// On whose behalf; v0 to v2 have none.
    pub membership: Membership,
    /// What to commit.
    pub offsets: Vec<NewOffset>,
}

/// `OffsetDelete`.
#[derive(Clone, Debug)]
pub struct DeleteOffsets {
    /// Which group.
    pub group: Name,
    /// Which partitions; that they exist is the caller's to check.
    pub partitions: Vec<(Name, i32)>,
}

/// Whether offsets in doubt may be read around.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stability {
    /// The last committed offset is good enough.
    NotRequired,
    /// A partition with an undecided offset answers `UNSTABLE_OFFSET_COMMIT` (`OffsetFetch` v7 and up, KIP-447).
    Required,
}

/// What to fetch.
#[derive(Clone, Debug)]
pub enum FetchWhat {
    /// Every partition with a committed offset.
    All,
    /// These; the answer has the same order.
    These(Vec<(Name, i32)>),
}

/// `OffsetFetch` for one group.
#[derive(Clone, Debug)]
pub struct Fetch {
    /// Which group.
    pub group: Name,
    /// Member id and epoch (v9 and up); a classic group does not look at them.
    pub member: Option<(Name, i32)>,
    /// Whether undecided offsets matter.
    pub stability: Stability,
    /// Which partitions.
    pub what: FetchWhat,
}

/// `ListGroups`. Both filters ignore case, are ignored when empty, and match nothing by a word nobody knows.
#[derive(Clone, Debug, Default)]
pub struct ListFilter {
    /// Names of states (v4 and up).
    pub states: Vec<Name>,
    /// `classic`, `consumer` (v5 and up).
    pub types: Vec<Name>,
}
