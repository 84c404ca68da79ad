//! Who is to read what: pure functions from subscriptions to a target assignment.

mod range;
mod uniform;

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use hanbeon_records::TopicId;

use super::Partitions;

/// A way to spread partitions over members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignor {
    /// As even as can be, and as little moved as that allows. Members that could swap partitions for a better balance do, also over
    /// others: no member has two partitions more than another to which one of them could be passed on.
    Uniform,
    /// Of each topic a contiguous range, members ordered by instance id, then member id. Topics of equal partition counts and
    /// subscribers are co-partitioned: partition n of each goes to the same member.
    Range,
}

impl Assignor {
    /// Its name in requests and in `group.consumer.assignors`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }

    /// The assignor of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Uniform, Self::Range].into_iter().find(|assignor| assignor.name() == name)
    }

    /// Computes an assignment: for each member, in the order given, what it is to have. Topics that are not in `topics` do not exist,
    /// and a partition is given to at most one member, to exactly one if anybody subscribes to its topic.
    #[must_use]
    pub fn assign(
        self,
        members: &[Subscriber<'_>],
        topics: &BTreeMap<TopicId, i32>,
    ) -> Vec<Partitions> {
        match self {
            Self::Uniform => uniform::assign(members, topics),
            Self::Range => range::assign(members, topics),
        }
    }
}

/// A member as an assignor sees it.
#[derive(Clone, Debug)]
pub struct Subscriber<'a> {
    /// Its id.
    pub member_id: &'a str,
    /// Of a static member.
    pub instance_id: Option<&'a str>,
    /// What it wants to read.
    pub topics: BTreeSet<TopicId>,
    /// What it was to have until now.
    pub current: &'a Partitions,
}
