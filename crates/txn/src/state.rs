//! The eight states of a transactional id and which may follow which.

use core::fmt;

use hanbeon_records::Outcome;

/// State of a transactional id, with Kafka's names and numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i8)]
pub enum State {
    /// Known, and no transaction was opened since the last `InitProducerId`.
    Empty = 0,
    /// At least one partition is enrolled.
    Ongoing = 1,
    /// The decision to commit is durable, markers are on their way.
    PrepareCommit = 2,
    /// The decision to abort is durable, markers are on their way.
    PrepareAbort = 3,
    /// Every partition has its commit marker.
    CompleteCommit = 4,
    /// Every partition has its abort marker.
    CompleteAbort = 5,
    /// Expired. Never logged: a tombstone stands for it.
    Dead = 6,
    /// Kafka's in-memory step between [`Self::Ongoing`] and a [`Self::PrepareAbort`] that the coordinator began itself.
    /// Never logged and never entered here, where a decision has no state of its own; known so that its name is.
    PrepareEpochFence = 7,
}

impl State {
    /// All of them, by number.
    pub const ALL: [Self; 8] = [
        Self::Empty,
        Self::Ongoing,
        Self::PrepareCommit,
        Self::PrepareAbort,
        Self::CompleteCommit,
        Self::CompleteAbort,
        Self::Dead,
        Self::PrepareEpochFence,
    ];

    /// The states that may follow this one; every other pair is a bug of whoever wrote the record.
    ///
    /// The way from [`Self::Empty`], [`Self::CompleteCommit`] and [`Self::CompleteAbort`] into [`Self::PrepareAbort`] is
    /// the empty abort of [`crate::Protocol::V2`]: its client cannot know whether a write that failed had enrolled its
    /// partition.
    #[must_use]
    pub const fn followers(self) -> &'static [Self] {
        match self {
            Self::Empty => &[Self::Empty, Self::Ongoing, Self::PrepareAbort, Self::Dead],
            Self::Ongoing => {
                &[Self::Ongoing, Self::PrepareCommit, Self::PrepareAbort, Self::PrepareEpochFence]
            }
            Self::PrepareCommit => &[Self::CompleteCommit],
            Self::PrepareAbort => &[Self::CompleteAbort],
            Self::CompleteCommit | Self::CompleteAbort => {
                &[Self::Empty, Self::Ongoing, Self::PrepareAbort, Self::Dead]
            }
            Self::Dead => &[],
            Self::PrepareEpochFence => &[Self::PrepareAbort],
        }
    }

    /// Whether this state may be followed by `next`.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        self.followers().contains(&next)
    }

    /// The number in the log.
    #[must_use]
    pub const fn number(self) -> i8 {
        self as i8
    }

    /// The state with this number, among those that are logged.
    #[must_use]
    pub const fn from_logged(number: i8) -> Option<Self> {
        match number {
            0 => Some(Self::Empty),
            1 => Some(Self::Ongoing),
            2 => Some(Self::PrepareCommit),
            3 => Some(Self::PrepareAbort),
            4 => Some(Self::CompleteCommit),
            5 => Some(Self::CompleteAbort),
            _ => None,
        }
    }

    /// The name that `DescribeTransactions` and `ListTransactions` speak.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Ongoing => "Ongoing",
            Self::PrepareCommit => "PrepareCommit",
            Self::PrepareAbort => "PrepareAbort",
            Self::CompleteCommit => "CompleteCommit",
            Self::CompleteAbort => "CompleteAbort",
            Self::Dead => "Dead",
            Self::PrepareEpochFence => "PrepareEpochFence",
        }
    }

    /// The state with this name, upper and lower case told apart.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// The decision whose markers are on their way.
    #[must_use]
    pub const fn prepared(self) -> Option<Outcome> {
        match self {
            Self::PrepareCommit => Some(Outcome::Commit),
            Self::PrepareAbort => Some(Outcome::Abort),
            Self::Empty
            | Self::Ongoing
            | Self::CompleteCommit
            | Self::CompleteAbort
            | Self::Dead
            | Self::PrepareEpochFence => None,
        }
    }

    /// Whether an id that was idle long enough in this state is forgotten.
    #[must_use]
    pub const fn is_expirable(self) -> bool {
        matches!(self, Self::Empty | Self::CompleteCommit | Self::CompleteAbort)
    }

    pub(crate) const fn prepare(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Commit => Self::PrepareCommit,
            Outcome::Abort => Self::PrepareAbort,
        }
    }

    pub(crate) const fn complete(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Commit => Self::CompleteCommit,
            Outcome::Abort => Self::CompleteAbort,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
