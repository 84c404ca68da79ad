//! The in-sync set, and the one change of it that may be under way.

use alloc::vec::Vec;

use hanbeon_records::{BrokerEpoch, ErrorCode, LeaderEpoch, NodeId, PartitionEpoch};

/// A change of the in-sync set that the leader asks the metadata store for (KIP-497).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Tells the answers to different proposals of this leader apart.
    pub number: u64,
    /// The leader's epoch.
    pub leader_epoch: LeaderEpoch,
    /// The partition epoch that the change is guarded by.
    pub partition_epoch: PartitionEpoch,
    /// The new set with the broker epoch each member fetched under (KIP-903); -1 for one that has not fetched here.
    pub isr: Vec<(NodeId, BrokerEpoch)>,
}

/// What became of a [`Proposal`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IsrAnswer {
    /// The set is now this one.
    Committed {
        /// Epoch of the leader under which it was committed.
        leader_epoch: LeaderEpoch,
        /// Partition epoch after the change.
        partition_epoch: PartitionEpoch,
        /// The set.
        isr: Vec<NodeId>,
    },
    /// Surely not applied: the leader goes back to the committed set.
    NotApplied,
    /// Nobody can tell, or this leader is behind: the change stays pending until the metadata arrives. Counting with the
    /// larger set is safe meanwhile; going back would not be.
    Unknown,
    /// Ask again.
    Retry,
}

impl IsrAnswer {
    /// Reads the error code of an `AlterPartition` response.
    #[must_use]
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "whatever else comes is retried, as Kafka does"
    )]
    pub const fn from_error(code: ErrorCode) -> Self {
        match code {
            ErrorCode::OperationNotAttempted | ErrorCode::IneligibleReplica => Self::NotApplied,
            ErrorCode::FencedLeaderEpoch
            | ErrorCode::InvalidUpdateVersion
            | ErrorCode::InvalidRequest
            | ErrorCode::UnknownTopicId
            | ErrorCode::UnknownTopicOrPartition
            | ErrorCode::NewLeaderElected => Self::Unknown,
            _ => Self::Retry,
        }
    }
}

#[derive(Clone, Debug)]
enum Change {
    Expand(NodeId),
    Shrink,
}

#[derive(Clone, Debug)]
struct Pending {
    change: Change,
    proposal: Proposal,
}

/// The committed set and the change under way.
#[derive(Clone, Debug)]
pub(crate) struct Isr {
    committed: Vec<NodeId>,
    pending: Option<Pending>,
}

impl Isr {
    pub(crate) const fn new(committed: Vec<NodeId>) -> Self {
        Self { committed, pending: None }
    }

    pub(crate) fn committed(&self) -> &[NodeId] {
        &self.committed
    }

    pub(crate) fn contains(&self, node: NodeId) -> bool {
        self.committed.contains(&node)
    }

    /// Whether `node` is in the maximal set: an expansion under way counts as accepted, a shrinking as refused, for that is
    /// what can do no harm.
    pub(crate) fn maximal_contains(&self, node: NodeId) -> bool {
        self.contains(node)
            || matches!(&self.pending, Some(Pending { change: Change::Expand(new), .. }) if *new == node)
    }

    pub(crate) fn maximal_len(&self) -> usize {
        let more = matches!(&self.pending, Some(Pending { change: Change::Expand(_), .. }));
        self.committed.len().saturating_add(usize::from(more))
    }

    pub(crate) const fn is_settled(&self) -> bool {
        self.pending.is_none()
    }

    pub(crate) fn expand(&mut self, node: NodeId, proposal: Proposal) {
        self.pending = Some(Pending { change: Change::Expand(node), proposal });
    }

    pub(crate) fn shrink(&mut self, proposal: Proposal) {
        self.pending = Some(Pending { change: Change::Shrink, proposal });
    }

    /// The proposal under way, if it has this number.
    pub(crate) fn pending(&self, number: u64) -> Option<&Proposal> {
        self.pending
            .as_ref()
            .map(|pending| &pending.proposal)
            .filter(|asked| asked.number == number)
    }

    pub(crate) fn roll_back(&mut self) {
        self.pending = None;
    }
}
