//! One member's next step towards the target assignment.
//!
//! ```text
//!            target moved on                    nothing to give up, some not free yet
//!  STABLE --------------------> (compute) --------------------------------> UNRELEASED_PARTITIONS
//!    ^                           |     ^                                        |
//!    |  all of the target is its |     | it no longer names them as owned       | each heartbeat
//!    +---------------------------+     |                                        v
//!                                +--> UNREVOKED_PARTITIONS <--------------- (compute)
//!                                   it owns what it is to give up; its epoch stays
//! ```

use hanbeon_records::TopicId;

use super::{ConsumerError, MemberState, Partitions, member::Member, partitions::Held};

/// Whether a member's subscription changed with this heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subscription {
    Same,
    Changed,
}

/// Where a member is to go.
pub(crate) struct Goal<'a> {
    pub(crate) epoch: i32,
    /// Its target, without topics that it does not subscribe to (any more).
    pub(crate) target: &'a Partitions,
    /// What it says it owns, when it says so.
    pub(crate) owned: Option<&'a Partitions>,
    pub(crate) subscription: Subscription,
    /// Whether nobody else has a partition.
    pub(crate) is_free: &'a dyn Fn(TopicId, i32) -> bool,
}

impl Goal<'_> {
    /// The member after this heartbeat.
    pub(crate) fn reconcile(
        &self,
        member_id: &str,
        member: &Member,
    ) -> Result<Member, ConsumerError> {
        match member.state {
            MemberState::Stable
                if member.epoch == self.epoch && self.subscription == Subscription::Same =>
            {
                Ok(member.clone())
            }
            MemberState::UnrevokedPartitions if self.still_owns(&member.revoking) => {
                Ok(member.clone())
            }
            MemberState::Stable
            | MemberState::UnrevokedPartitions
            | MemberState::UnreleasedPartitions => Ok(self.next(member)),
            // Written by a newer broker. What it meant is not known; a member that has nothing but what is here can go on.
            MemberState::Unknown(_) => {
                let knows =
                    |owned: &Partitions| owned.iter().all(|(t, p)| member.assigned.contains(t, p));
                if self.owned.is_some_and(knows) {
                    return Ok(self.next(member));
                }
                let (current, got) = (member.epoch, member.epoch);
                Err(ConsumerError::FencedMemberEpoch { member_id: member_id.into(), current, got })
            }
        }
    }

    /// A member that says nothing still owns what it owned.
    fn still_owns(&self, revoked: &Held) -> bool {
        match self.owned {
            None => !revoked.is_empty(),
            Some(owned) => {
                revoked.iter().any(|(topic, partition, _)| owned.contains(topic, partition))
            }
        }
    }

    fn next(&self, member: &Member) -> Member {
        let (mut kept, mut revoked) = (Held::new(), Held::new());
        for (topic, partition, epoch) in member.assigned.iter() {
            let side =
                if self.target.contains(topic, partition) { &mut kept } else { &mut revoked };
            side.insert(topic, partition, epoch);
        }
        if self.still_owns(&revoked) {
            let mut next = member.advance(member.epoch, MemberState::UnrevokedPartitions);
            next.assigned = kept;
            next.revoking = revoked;
            return next;
        }
        let mut state = MemberState::Stable;
        for (topic, partition) in self.target.iter() {
            if kept.contains(topic, partition) {
                continue;
            }
            if (self.is_free)(topic, partition) {
                kept.insert(topic, partition, self.epoch);
            } else {
                state = MemberState::UnreleasedPartitions;
            }
        }
        if member.epoch == self.epoch
            && member.state == state
            && member.revoking.is_empty()
            && member.assigned == kept
        {
            return member.clone(); // still waiting for the same partitions
        }
        let mut next = member.advance(self.epoch, state);
        next.assigned = kept;
        next
    }
}
