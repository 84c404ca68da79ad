//! Between the classic protocol and KIP-848 while members are there (KIP-848, "Migrating").
//!
//! ```text
//!            a KIP-848 member joins: generation -> group epoch, members keep what they have
//!   Classic ------------------------------------------------------------------------------> Consumer
//!      ^                                                                                      |
//!      +--------------------------------------------------------------------------------------+
//!            the last KIP-848 member is gone: group epoch -> generation, everybody joins again
//! ```
//!
//! Each way is one batch: the tombstones of the one form, then the records of the other. Between the two, members of both kinds are
//! in one group: a classic member's generation is its member epoch, what the coordinator gave it comes with `SyncGroup`, and a
//! heartbeat's `REBALANCE_IN_PROGRESS` brings it back when there is something new for it.

pub(crate) mod embedded;
mod serve;
mod turn;

pub(crate) use serve::Served;
pub(crate) use turn::{Next, Turn};

/// `group.consumer.migration.policy`: which way groups with members may change their protocol. Empty groups always may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationPolicy {
    /// Neither way, and no classic member may join a KIP-848 group.
    Disabled,
    /// From classic to KIP-848.
    Upgrade,
    /// From KIP-848 to classic.
    Downgrade,
    /// Both ways.
    Bidirectional,
}

impl MigrationPolicy {
    /// The policy of that name, in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Disabled, Self::Upgrade, Self::Downgrade, Self::Bidirectional]
            .into_iter()
            .find(|policy| policy.name().eq_ignore_ascii_case(name))
    }

    /// Its name in the settings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Upgrade => "upgrade",
            Self::Downgrade => "downgrade",
            Self::Bidirectional => "bidirectional",
        }
    }

    pub(crate) const fn allows_upgrade(self) -> bool {
        matches!(self, Self::Upgrade | Self::Bidirectional)
    }

    pub(crate) const fn allows_downgrade(self) -> bool {
        matches!(self, Self::Downgrade | Self::Bidirectional)
    }
}
