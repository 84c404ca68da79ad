//! What an operator decides, and the clock's part in it.

use alloc::{string::String, vec::Vec};

use super::Assignor;
use crate::migration::MigrationPolicy;

/// The settings of one group: the broker's, or the group's own where it has some.
///
/// There is no default: each is a promise that clients notice, so whoever makes it spells it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerSettings {
    /// `consumer.session.timeout.ms`: a member that is silent for so long is fenced.
    pub session_timeout_ms: i32,
    /// `consumer.heartbeat.interval.ms`: how often members are asked to speak.
    pub heartbeat_interval_ms: i32,
    /// `consumer.assignment.interval.ms`: the least time between two assignments of a group.
    pub assignment_interval_ms: i64,
    /// `group.consumer.max.size`: how many members a group may have.
    pub max_size: usize,
    /// `group.consumer.assignors`.
    pub assignors: Assignors,
    /// `group.consumer.regex.refresh.interval.ms`: how long an expression's topics hold although no topic changed; what the group
    /// may see can have changed.
    pub regex_refresh_interval_ms: i64,
    /// `group.consumer.migration.policy`.
    pub migration_policy: MigrationPolicy,
}

/// The settings of each group; the shell lends it.
pub trait SettingsOfGroups {
    /// What counts for a group now, whether it exists yet or not.
    fn of(&self, group: &str) -> ConsumerSettings;
}

/// The same for all.
impl SettingsOfGroups for ConsumerSettings {
    fn of(&self, _group: &str) -> ConsumerSettings {
        self.clone()
    }
}

/// The configured assignors; there is always one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignors {
    /// For groups whose members ask for none.
    pub default: Assignor,
    /// What members may also ask for.
    pub others: Vec<Assignor>,
}

impl Assignors {
    /// The configured assignor of that name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Assignor> {
        self.iter().find(|assignor| assignor.name() == name)
    }

    /// All of them, the default first.
    pub fn iter(&self) -> impl Iterator<Item = Assignor> + '_ {
        core::iter::once(self.default).chain(self.others.iter().copied())
    }
}

/// What the shell's clock is to do. Timers are volatile: they are not logged, and a group that was loaded arms them anew
/// ([`super::ConsumerGroup::timers_on_load`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Timer {
    /// In so many milliseconds call [`super::ConsumerGroup::expire_session`]. Replaces the member's earlier one.
    Session {
        /// Whose.
        member_id: String,
        /// From now.
        after_ms: i32,
    },
    /// In so many milliseconds call [`super::ConsumerGroup::expire_rebalance`]. Replaces the member's earlier one.
    Rebalance {
        /// Whose.
        member_id: String,
        /// Its epoch now.
        member_epoch: i32,
        /// From now.
        after_ms: i32,
    },
    /// Forget the member's rebalance timer.
    CancelRebalance {
        /// Whose.
        member_id: String,
    },
    /// A member that speaks the classic protocol was told to join again. If it has not in so many milliseconds, call
    /// [`super::ConsumerGroup::expire_session`]. Leaves the member's earlier one as it is.
    Join {
        /// Whose.
        member_id: String,
        /// From now.
        after_ms: i32,
    },
    /// A member that speaks the classic protocol has joined. If it does not sync in so many milliseconds, call
    /// [`super::ConsumerGroup::expire_session`]. Replaces the member's earlier one.
    Sync {
        /// Whose.
        member_id: String,
        /// From now.
        after_ms: i32,
    },
    /// Forget the member's join timer.
    CancelJoin {
        /// Whose.
        member_id: String,
    },
    /// Forget the member's sync timer.
    CancelSync {
        /// Whose.
        member_id: String,
    },
    /// Forget all timers of a member that is gone.
    Cancel {
        /// Whose.
        member_id: String,
    },
}
