//! One member.

use alloc::{string::String, vec::Vec};

use super::partitions::Held;
use crate::record::consumer::{CurrentAssignment, MemberMetadata};

/// The epoch of a static member that left for a while and keeps its partitions.
pub(crate) const LEFT_FOR_A_WHILE: i32 = -2;

/// The epoch with which a member leaves for good.
pub(crate) const LEFT: i32 = -1;

/// Where a member stands on its way to the target assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberState {
    /// It has what it is to have at its epoch.
    Stable,
    /// It was told to give up partitions and has not said that it did.
    UnrevokedPartitions,
    /// It waits for partitions that others have.
    UnreleasedPartitions,
    /// A number that a newer broker wrote.
    Unknown(i8),
}

impl MemberState {
    /// The state of that number.
    #[must_use]
    pub const fn from_number(number: i8) -> Self {
        match number {
            0 => Self::Stable,
            1 => Self::UnrevokedPartitions,
            2 => Self::UnreleasedPartitions,
            other => Self::Unknown(other),
        }
    }

    /// Its number in a record.
    #[must_use]
    pub const fn number(self) -> i8 {
        match self {
            Self::Stable => 0,
            Self::UnrevokedPartitions => 1,
            Self::UnreleasedPartitions => 2,
            Self::Unknown(other) => other,
        }
    }
}

/// What the log says of a member: its own words (kind 5) and what it has (kind 8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) metadata: MemberMetadata,
    pub(crate) epoch: i32,
    pub(crate) previous_epoch: i32,
    pub(crate) state: MemberState,
    /// What it may read.
    pub(crate) assigned: Held,
    /// What it was told to give up; nobody else may have it yet.
    pub(crate) revoking: Held,
}

impl Member {
    pub(crate) const fn new() -> Self {
        Self {
            metadata: MemberMetadata {
                instance_id: None,
                rack_id: None,
                client_id: String::new(),
                client_host: String::new(),
                subscribed_topic_names: Vec::new(),
                subscribed_topic_regex: None,
                rebalance_timeout_ms: -1,
                server_assignor: None,
                classic: None,
            },
            epoch: 0,
            previous_epoch: 0,
            state: MemberState::Stable,
            assigned: Held::new(),
            revoking: Held::new(),
        }
    }

    pub(crate) fn instance_id(&self) -> Option<&str> {
        self.metadata.instance_id.as_deref()
    }

    /// The expression it subscribes with; an empty one is none.
    pub(crate) fn regex(&self) -> Option<&str> {
        self.metadata.subscribed_topic_regex.as_deref().filter(|regex| !regex.is_empty())
    }

    pub(crate) const fn speaks_classic(&self) -> bool {
        self.metadata.classic.is_some()
    }

    pub(crate) fn is_reconciled_to(&self, epoch: i32) -> bool {
        self.state == MemberState::Stable && self.epoch == epoch
    }

    /// The same member one step on.
    pub(crate) fn advance(&self, epoch: i32, state: MemberState) -> Self {
        Self {
            metadata: self.metadata.clone(),
            epoch,
            previous_epoch: self.epoch,
            state,
            assigned: Held::new(),
            revoking: Held::new(),
        }
    }

    pub(crate) fn current_assignment(&self) -> CurrentAssignment {
        CurrentAssignment {
            member_epoch: self.epoch,
            previous_member_epoch: self.previous_epoch,
            state: self.state.number(),
            assigned: self.assigned.to_record(),
            pending_revocation: self.revoking.to_record(),
        }
    }

    pub(crate) fn has_same_assignment(&self, other: &Self) -> bool {
        self.epoch == other.epoch
            && self.previous_epoch == other.previous_epoch
            && self.state == other.state
            && self.assigned == other.assigned
            && self.revoking == other.revoking
    }

    pub(crate) fn take_assignment(&mut self, value: &CurrentAssignment) {
        self.epoch = value.member_epoch;
        self.previous_epoch = value.previous_member_epoch;
        self.state = MemberState::from_number(value.state);
        self.assigned = Held::from_record(&value.assigned, value.member_epoch);
        self.revoking = Held::from_record(&value.pending_revocation, value.member_epoch);
    }
}
