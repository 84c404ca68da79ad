//! One classic group: its members and where they stand in the rebalance (KIP-62, 345, 394, 814).
//!
//! ```text
//!            first join                 all joined, or the timer
//!   Empty ---------------> Preparing ---------------------------> Completing
//!     ^                    ^   |  ^                                |     |
//!     |  nobody joined     |   |  |  join, leave, expiry           |     | the leader's assignment
//!     +--------------------|---+  +--------------------------------+     | is in the log
//!                          |                                             v
//!                          +------------------------------------------ Stable
//! ```
//!
//! All of this lives in memory, as in Kafka: the log holds how the group stood when it last became stable or empty, and
//! members find their way from there.

mod convert;
mod join;
mod member;
mod members;
mod rebalance;
mod supported;
mod sync;

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use hanbeon_records::Millis;

pub(crate) use join::Joining;
pub(crate) use member::Member;
use members::Members;

use crate::{
    Described, DescribedMember, GroupError, JoinRefused, JoinedMember, Membership, Name, Opaque,
    Output, Reply, State,
    record::{GroupMetadata, MetadataLayout, MetadataMember},
    subscription::{Subscribed, topics},
    timers::Timers,
};

/// Kind of group whose subscriptions the coordinator reads.
const CONSUMER: &str = "consumer";

/// Which of the two offset requests a membership is checked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommitKind {
    Plain,
    InTxn,
}

/// A rebalance that waits for members to join.
#[derive(Clone, Copy, Debug)]
enum JoinTimer {
    /// The first of an empty group: a delay that newcomers extend, up to `remaining` more.
    Initial { at: Millis, delay_ms: i32, remaining_ms: i32 },
    /// Any other: until everybody is here, at the latest at this moment.
    Rebalance { at: Millis },
}

/// A classic group.
#[derive(Debug)]
pub(crate) struct Classic<T> {
    state: State,
    since: Option<Millis>,
    protocol_type: Option<Name>,
    generation: i32,
    protocol: Option<Name>,
    leader: Option<Name>,
    members: Members<T>,
    next_number: u64,
    /// Instance id to member id.
    instances: BTreeMap<Name, Name>,
    /// Who was given an id and has until then to join with it.
    pending: Timers<Name>,
    subscribed: Subscribed,
    join_timer: Option<JoinTimer>,
    newcomers: Newcomers,
    sync_timer: Option<Millis>,
}

/// Whether a member joined since the initial delay was last armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Newcomers {
    None,
    Some,
}

impl<T> Classic<T> {
    /// A group without members that holds offsets at most.
    pub(crate) const fn simple(since: Option<Millis>) -> Self {
        Self {
            state: State::Empty,
            since,
            protocol_type: None,
            generation: 0,
            protocol: None,
            leader: None,
            members: Members::new(),
            next_number: 0,
            instances: BTreeMap::new(),
            pending: Timers::new(),
            subscribed: Subscribed::Unknown,
            join_timer: None,
            newcomers: Newcomers::None,
            sync_timer: None,
        }
    }

    /// The group as it stood when `value` was written. Its members' sessions begin with [`arm`](Self::arm).
    pub(crate) fn loaded(value: &GroupMetadata) -> Self {
        let mut group = Self::simple(value.current_state_timestamp);
        group.protocol_type =
            Some(value.protocol_type.clone()).filter(|protocol| !protocol.is_empty());
        group.generation = value.generation;
        group.protocol.clone_from(&value.protocol);
        group.leader.clone_from(&value.leader);
        if !value.members.is_empty() {
            group.state = State::Stable;
        }
        for member in &value.members {
            let member = Member::loaded(member, value.protocol.as_ref(), group.number());
            if let Some(instance_id) = &member.instance_id {
                group.instances.insert(instance_id.clone(), member.id.clone());
            }
            group.members.seat(member);
        }
        if group.leader.is_none() {
            group.leader = group.members.ids().next().cloned();
        }
        group.subscribed = group.read_subscriptions();
        group
    }

    /// What a group looks like in the log before its first member joined.
    pub(crate) fn founding(since: Millis) -> GroupMetadata {
        Self::simple(Some(since)).metadata(&BTreeMap::new())
    }

    /// The group for the log, with `assignments` in place of what the members have.
    fn metadata(&self, assignments: &BTreeMap<Name, Opaque>) -> GroupMetadata {
        let nothing: Opaque = Opaque::from([]);
        let members = self
            .members
            .in_order()
            .map(|member| MetadataMember {
                member_id: member.id.clone(),
                instance_id: member.instance_id.clone(),
                client_id: member.client_id.clone(),
                client_host: member.client_host.clone(),
                rebalance_timeout_ms: member.rebalance_timeout_ms,
                session_timeout_ms: member.session_timeout_ms,
                subscription: member.metadata_for(self.protocol.as_ref()),
                assignment: assignments.get(&member.id).unwrap_or(&nothing).clone(),
            })
            .collect();
        GroupMetadata {
            layout: MetadataLayout::V3,
            protocol_type: self.protocol_type.clone().unwrap_or_else(Name::empty),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            current_state_timestamp: self.since,
            members,
        }
    }

    pub(crate) const fn state(&self) -> State {
        self.state
    }

    pub(crate) const fn since(&self) -> Option<Millis> {
        self.since
    }

    pub(crate) const fn protocol_type(&self) -> Option<&Name> {
        self.protocol_type.as_ref()
    }

    /// Whether somebody was given a member id and may still join with it.
    pub(crate) fn expects_members(&self) -> bool {
        !self.pending.is_empty()
    }

    pub(crate) fn is_consumer_group(&self) -> bool {
        self.protocol_type.as_ref().is_some_and(|protocol| protocol.as_str() == CONSUMER)
    }

    /// Whether a member may be reading `topic`.
    pub(crate) fn is_subscribed(&self, topic: &Name) -> bool {
        match &self.subscribed {
            Subscribed::Unknown => self.is_consumer_group(),
            Subscribed::To(topics) => topics.contains(topic),
        }
    }

    /// Whether the topics that members read are known.
    pub(crate) const fn knows_subscriptions(&self) -> bool {
        matches!(self.subscribed, Subscribed::To(_))
    }

    fn number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number = number.wrapping_add(1);
        number
    }

    fn roster(&self) -> Vec<JoinedMember> {
        self.members
            .in_order()
            .map(|member| JoinedMember {
                member_id: member.id.clone(),
                instance_id: member.instance_id.clone(),
                metadata: member.metadata_for(self.protocol.as_ref()),
            })
            .collect()
    }

    /// The longest that a member wants a rebalance to wait for it.
    fn rebalance_timeout_ms(&self) -> i32 {
        self.members.iter().map(|member| member.rebalance_timeout_ms).max().unwrap_or(0)
    }

    fn enter(&mut self, state: State, since: Millis) {
        self.state = state;
        self.since = Some(since);
    }

    fn read_subscriptions(&self) -> Subscribed {
        if self.protocol_type.is_none() {
            return Subscribed::Unknown;
        }
        if self.members.is_empty() {
            return Subscribed::To(BTreeSet::new());
        }
        if !self.is_consumer_group() || self.protocol.is_none() {
            return Subscribed::Unknown;
        }
        let mut all = BTreeSet::new();
        for member in self.members.iter() {
            match topics(&member.metadata_for(self.protocol.as_ref())) {
                Some(read) => all.extend(read),
                None => return Subscribed::Unknown,
            }
        }
        Subscribed::To(all)
    }

    /// The protocol that most members put first among those that all support; of several the first by name.
    fn select_protocol(&self) -> Option<Name> {
        let mut votes: BTreeMap<&Name, usize> = BTreeMap::new();
        for member in self.members.iter() {
            let choice = member
                .protocols
                .iter()
                .map(|p| &p.name)
                .find(|p| self.members.supported.by_all(p))?;
            let count = votes.entry(choice).or_insert(0);
            *count = count.saturating_add(1);
        }
        let most = votes.values().copied().max()?;
        votes.into_iter().find(|(_, count)| *count == most).map(|(name, _)| name.clone())
    }

    /// That `member_id` is a member, and the one that `instance_id` stands for.
    pub(crate) fn check_member(
        &self,
        group: &Name,
        member_id: &Name,
        instance_id: Option<&Name>,
    ) -> Result<(), GroupError> {
        if let Some(instance_id) = instance_id {
            match self.instances.get(instance_id) {
                None => {
                    return Err(GroupError::UnknownInstance {
                        group: group.clone(),
                        instance_id: instance_id.clone(),
                    });
                }
                Some(current) if current != member_id => {
                    return Err(GroupError::FencedInstance {
                        group: group.clone(),
                        instance_id: instance_id.clone(),
                        current: current.clone(),
                        found: member_id.clone(),
                    });
                }
                Some(_) => {}
            }
        }
        if self.members.contains(member_id) {
            Ok(())
        } else {
            Err(GroupError::UnknownMember { group: group.clone(), member_id: member_id.clone() })
        }
    }

    fn check_generation(&self, group: &Name, found: i32) -> Result<(), GroupError> {
        if found == self.generation {
            Ok(())
        } else {
            Err(GroupError::IllegalGeneration {
                group: group.clone(),
                current: self.generation,
                found,
            })
        }
    }

    /// Whether whoever says this of itself may commit offsets.
    pub(crate) fn check_commit(
        &self,
        group: &Name,
        membership: &Membership,
        kind: CommitKind,
    ) -> Result<(), GroupError> {
        let Membership { generation, member_id, instance_id } = membership;
        if *generation < 0 && self.state == State::Empty {
            return Ok(()); // an administrator, or a consumer without a group
        }
        if *generation >= 0 || !member_id.is_empty() || instance_id.is_some() {
            self.check_member(group, member_id, instance_id.as_ref())?;
            self.check_generation(group, *generation)?;
        } else if kind == CommitKind::Plain && self.state != State::Empty {
            return Err(GroupError::UnknownMember {
                group: group.clone(),
                member_id: member_id.clone(),
            });
        }
        if kind == CommitKind::Plain && self.state == State::CompletingRebalance {
            return Err(GroupError::RebalanceInProgress {
                group: group.clone(),
                state: self.state,
            });
        }
        Ok(())
    }

    pub(crate) fn describe(&self) -> Described {
        let stable = self.state == State::Stable;
        let protocol = self.protocol.as_ref().filter(|_| stable);
        let nothing: Opaque = Opaque::from([]);
        let members = self
            .members
            .in_order()
            .map(|member| DescribedMember {
                member_id: member.id.clone(),
                instance_id: member.instance_id.clone(),
                client_id: member.client_id.clone(),
                client_host: member.client_host.clone(),
                metadata: protocol
                    .map_or_else(|| nothing.clone(), |name| member.metadata_for(Some(name))),
                assignment: member.assignment.clone(),
            })
            .collect();
        Described {
            state: self.state,
            since: self.since,
            protocol_type: self.protocol_type.clone().unwrap_or_else(Name::empty),
            generation: self.generation,
            protocol_data: protocol.cloned().unwrap_or_else(Name::empty),
            members,
        }
    }

    /// Everybody who waits is told to look for the coordinator again.
    pub(crate) fn resign(self, out: &mut Vec<Output<T>>) {
        for member in self.members.into_members() {
            let error = GroupError::NotCoordinator;
            if let Some(token) = member.join {
                let refused = JoinRefused { error: error.clone(), member_id: member.id };
                out.push(Output::Answer { token, reply: Reply::Join(Err(refused)) });
            }
            if let Some(token) = member.sync {
                out.push(Output::Answer { token, reply: Reply::Sync(Err(error)) });
            }
        }
    }
}
