//! Keeps the order of one group's requests while the log decides about a write.

use alloc::{
    collections::{BTreeSet, VecDeque},
    vec::Vec,
};

use crate::{
    Commit, CommitInTxn, DeleteOffsets, FreshId, Join, Leave, Name, Speaker, Sync, WriteId,
    consumer,
};

/// A request that has not begun.
#[derive(Debug)]
pub(crate) enum Request<T> {
    Join(T, Join, FreshId),
    Sync(T, Sync),
    Heartbeat(T, Speaker),
    /// `ConsumerGroupHeartbeat`.
    Beat(T, Name, consumer::Heartbeat, FreshId),
    Leave(T, Leave),
    Commit(T, Commit),
    CommitInTxn(T, CommitInTxn),
    DeleteOffsets(T, DeleteOffsets),
    DeleteGroup(T, Name),
    /// Offsets of partitions that are gone.
    Forget(Name, Vec<(Name, i32)>),
}

/// Which undecided writes of the group a request must wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    /// Those of membership. Two commits do not concern each other: their places in the log decide.
    ForMembership,
    /// All: what is deleted must be known.
    ForAll,
}

impl<T> Request<T> {
    pub(crate) const fn group(&self) -> &Name {
        match self {
            Self::Join(_, request, _) => &request.group,
            Self::Sync(_, request) => &request.speaker.group,
            Self::Heartbeat(_, speaker) => &speaker.group,
            Self::Leave(_, request) => &request.group,
            Self::Commit(_, request) => &request.group,
            Self::CommitInTxn(_, request) => &request.group,
            Self::DeleteOffsets(_, request) => &request.group,
            Self::Beat(_, group, ..) | Self::DeleteGroup(_, group) | Self::Forget(group, _) => {
                group
            }
        }
    }

    const fn waits(&self) -> Waits {
        match self {
            Self::Join(..)
            | Self::Sync(..)
            | Self::Heartbeat(..)
            | Self::Beat(..)
            | Self::Leave(..)
            | Self::Commit(..)
            | Self::CommitInTxn(..) => Waits::ForMembership,
            Self::DeleteOffsets(..) | Self::DeleteGroup(..) | Self::Forget(..) => Waits::ForAll,
        }
    }
}

/// Undecided writes of one group and who waits for them.
#[derive(Debug)]
pub(crate) struct Gate<T> {
    /// A write of membership, or one that deletes.
    pub(crate) exclusive: Option<WriteId>,
    /// Writes of offsets.
    pub(crate) commits: BTreeSet<WriteId>,
    pub(crate) queue: VecDeque<Request<T>>,
}

impl<T> Default for Gate<T> {
    fn default() -> Self {
        Self { exclusive: None, commits: BTreeSet::new(), queue: VecDeque::new() }
    }
}

impl<T> Gate<T> {
    /// Whether `request` may begin, those before it aside.
    pub(crate) fn admits(&self, request: &Request<T>) -> bool {
        self.exclusive.is_none()
            && (self.commits.is_empty() || request.waits() == Waits::ForMembership)
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.exclusive.is_none() && self.commits.is_empty() && self.queue.is_empty()
    }
}
