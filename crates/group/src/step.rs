//! What one step of a group hands back: answers, and at most one write of the group as it stands.

use alloc::{collections::BTreeMap, vec::Vec};

use hanbeon_records::Millis;

use crate::{
    GroupError, JoinRefused, Joined, Name, Opaque, Output, Protocol, Reply, Settings,
    record::GroupMetadata,
};

/// One step of one group.
pub(crate) struct Step<'a, T> {
    pub(crate) now: Millis,
    pub(crate) time_of_day: Millis,
    pub(crate) settings: Settings,
    pub(crate) group: Name,
    pub(crate) out: &'a mut Vec<Output<T>>,
    pub(crate) plan: Option<Plan<T>>,
}

/// A group that must be written before anything else happens to it.
pub(crate) struct Plan<T> {
    pub(crate) value: GroupMetadata,
    pub(crate) then: Then<T>,
}

/// What the write was for.
#[derive(Debug)]
pub(crate) enum Then<T> {
    /// The last member went; these wait to hear that they have left.
    Emptied { answers: Vec<(T, Reply)> },
    /// The leader has assigned.
    Assigned { assignments: BTreeMap<Name, Opaque> },
    /// A static member came back and nothing else changed.
    Replaced { token: T, old_id: Name, by: Returned, reply: Joined },
}

/// A static member as it came back.
#[derive(Clone, Debug)]
pub(crate) struct Returned {
    pub(crate) member_id: Name,
    pub(crate) client_id: Name,
    pub(crate) client_host: Name,
    pub(crate) protocols: Vec<Protocol>,
    pub(crate) session_timeout_ms: i32,
    pub(crate) rebalance_timeout_ms: i32,
}

impl<T> Step<'_, T> {
    pub(crate) fn answer(&mut self, token: T, reply: Reply) {
        self.out.push(Output::Answer { token, reply });
    }

    pub(crate) fn joined(&mut self, token: T, joined: Joined) {
        self.answer(token, Reply::Join(Ok(joined)));
    }

    pub(crate) fn refuse_join(&mut self, token: T, error: GroupError, member_id: Name) {
        self.answer(token, Reply::Join(Err(JoinRefused { error, member_id })));
    }

    pub(crate) fn in_ms(&self, ms: i32) -> Millis {
        self.now.saturating_add(i64::from(ms.max(0)))
    }

    pub(crate) fn unknown(&self, member_id: &Name) -> GroupError {
        GroupError::UnknownMember { group: self.group.clone(), member_id: member_id.clone() }
    }
}
