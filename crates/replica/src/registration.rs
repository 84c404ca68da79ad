//! What the metadata store says of a partition.

use alloc::vec::Vec;

use hanbeon_records::{LeaderEpoch, NodeId, PartitionEpoch};

/// The effective `min.insync.replicas`: never more than there are replicas, never less than 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MinIsr(usize);

impl MinIsr {
    /// One replica is enough.
    pub const ONE: Self = Self(1);

    /// min(`configured`, `replicas`), at least 1. Computed once where the registration is made, so that leader and
    /// controller count with the same number under one partition epoch.
    #[must_use]
    pub fn effective(configured: i32, replicas: usize) -> Self {
        let configured = usize::try_from(configured).unwrap_or(0);
        Self(configured.min(replicas).max(1))
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> usize {
        self.0
    }
}

/// A partition's row in the metadata, as far as its leader needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Grows with every change of leader.
    pub leader_epoch: LeaderEpoch,
    /// Grows by one with every change of this row.
    pub partition_epoch: PartitionEpoch,
    /// All replicas, the leader among them; the first is the preferred leader.
    pub replicas: Vec<NodeId>,
    /// Those in sync, the leader among them.
    pub isr: Vec<NodeId>,
    /// How many have to be in sync for anything to be committed.
    pub min_isr: MinIsr,
}
