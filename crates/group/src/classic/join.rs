//! `JoinGroup`.

use alloc::vec::Vec;

use super::{Classic, JoinTimer, Member, Newcomers, member::Standing};
use crate::{
    FreshId, GroupError, Join, Joined, LeadersTask, Name, NewMembers, Protocol, Reply,
    SkipAssignment, State,
    step::{Plan, Returned, Step, Then},
};

/// A `JoinGroup` without what leads to the group.
pub(crate) struct Joining<T> {
    token: T,
    instance_id: Option<Name>,
    protocol_type: Name,
    skip_assignment: SkipAssignment,
    as_it_came: Returned,
}

impl<T> Joining<T> {
    pub(crate) fn new(token: T, request: Join) -> Self {
        Self {
            token,
            instance_id: request.instance_id,
            protocol_type: request.protocol_type,
            skip_assignment: request.skip_assignment,
            as_it_came: Returned {
                member_id: request.member_id,
                client_id: request.client_id,
                client_host: request.client_host,
                protocols: request.protocols,
                session_timeout_ms: request.session_timeout_ms,
                rebalance_timeout_ms: request
                    .rebalance_timeout_ms
                    .filter(|ms| *ms >= 0)
                    .unwrap_or(request.session_timeout_ms),
            },
        }
    }

    fn id(&self) -> &Name {
        &self.as_it_came.member_id
    }
}

impl<T> Classic<T> {
    /// `JoinGroup`, after what concerns no group was checked.
    pub(crate) fn join(
        &mut self,
        step: &mut Step<'_, T>,
        joining: Joining<T>,
        new_members: NewMembers,
        fresh: FreshId,
    ) {
        if !self.has_room_for(joining.id(), step.settings.group_size_max) {
            let max = step.settings.group_size_max;
            let id = joining.id().clone();
            self.remove(step, &id);
            self.pending.remove(&id);
            let error = GroupError::GroupFull { group: step.group.clone(), max };
            step.refuse_join(joining.token, error, Name::empty());
            self.complete_if_all_joined(step);
            return;
        }
        if !self.is_compatible(&joining) {
            let error = GroupError::InconsistentProtocol { group: step.group.clone() };
            step.refuse_join(joining.token, error, joining.as_it_came.member_id);
        } else if joining.id().is_empty() {
            self.join_as_new(step, joining, new_members, fresh);
        } else if joining.instance_id.is_none() && self.pending.remove(joining.id()) {
            self.add(step, joining);
        } else {
            self.join_again(step, joining);
        }
    }

    fn has_room_for(&self, member_id: &Name, max: usize) -> bool {
        match self.state {
            State::PreparingRebalance => {
                let waits = self.members.get(member_id).is_some_and(|member| member.join.is_some());
                waits || self.members.joined() < max
            }
            State::CompletingRebalance | State::Stable => {
                self.members.contains(member_id) || self.members.len() < max
            }
            State::Empty | State::Dead | State::Assigning | State::Reconciling => true,
        }
    }

    fn is_compatible(&self, joining: &Joining<T>) -> bool {
        let protocols = &joining.as_it_came.protocols;
        if self.state == State::Empty {
            return !joining.protocol_type.is_empty() && !protocols.is_empty();
        }
        self.protocol_type.as_ref() == Some(&joining.protocol_type)
            && protocols.iter().any(|protocol| self.members.supported.by_all(&protocol.name))
    }

    fn join_as_new(
        &mut self,
        step: &mut Step<'_, T>,
        mut joining: Joining<T>,
        new_members: NewMembers,
        fresh: FreshId,
    ) {
        let prefix = joining.instance_id.as_ref().unwrap_or(&joining.as_it_came.client_id);
        let member_id = match fresh.member_id(prefix) {
            Ok(id) => id,
            Err(error) => {
                return step.refuse_join(joining.token, error.into(), Name::empty());
            }
        };
        joining.as_it_came.member_id = member_id.clone();
        match (&joining.instance_id, new_members) {
            (Some(instance_id), _) => match self.instances.get(instance_id).cloned() {
                Some(old_id) => self.come_back(step, joining, old_id),
                None => self.add(step, joining),
            },
            (None, NewMembers::JoinAtOnce) => self.add(step, joining),
            (None, NewMembers::GetAnIdFirst) => {
                let until = step.in_ms(joining.as_it_came.session_timeout_ms);
                self.pending.set(member_id.clone(), until, ());
                let error = GroupError::MemberIdRequired {
                    group: step.group.clone(),
                    member_id: member_id.clone(),
                };
                step.refuse_join(joining.token, error, member_id);
            }
        }
    }

    fn add(&mut self, step: &mut Step<'_, T>, joining: Joining<T>) {
        let Joining { token, instance_id, protocol_type, as_it_came, .. } = joining;
        if self.members.is_empty() {
            self.protocol_type = Some(protocol_type);
        }
        let id = &as_it_came.member_id;
        if self.leader.is_none() {
            self.leader = Some(id.clone());
        }
        if let Some(instance_id) = &instance_id {
            self.instances.insert(instance_id.clone(), id.clone());
        }
        if matches!(self.join_timer, Some(JoinTimer::Initial { .. })) {
            self.newcomers = Newcomers::Some;
        }
        let expires = step.in_ms(step.settings.new_member_join_timeout_ms);
        let member = Member::new(as_it_came, instance_id, self.number(), token, expires);
        self.members.seat(member);
        self.rebalance(step);
    }

    fn join_again(&mut self, step: &mut Step<'_, T>, joining: Joining<T>) {
        let checked =
            self.check_member(&step.group, joining.id(), joining.instance_id.as_ref()).err();
        if let Some(error) = checked {
            return step.refuse_join(joining.token, error, joining.as_it_came.member_id);
        }
        let is_leader = self.leader.as_ref() == Some(joining.id());
        let same = self
            .members
            .get(joining.id())
            .is_some_and(|member| member.protocols == joining.as_it_came.protocols);
        match self.state {
            State::PreparingRebalance => self.update(step, joining),
            // It may have missed the answer.
            State::CompletingRebalance if same => self.repeat(step, joining, is_leader),
            State::Stable if same && !is_leader => self.repeat(step, joining, false),
            // The leader may know of changes that its own subscription does not show, such as new partitions.
            State::CompletingRebalance | State::Stable => self.update(step, joining),
            State::Empty | State::Dead | State::Assigning | State::Reconciling => {
                let error = step.unknown(joining.id());
                step.refuse_join(joining.token, error, joining.as_it_came.member_id);
            }
        }
    }

    /// Answers with the generation as it is.
    fn repeat(&mut self, step: &mut Step<'_, T>, joining: Joining<T>, is_leader: bool) {
        let id = joining.as_it_came.member_id;
        let members = if is_leader { self.roster() } else { Vec::new() };
        let joined = Joined { members, ..self.joined(&id) };
        self.heard(step, &id);
        step.joined(joining.token, joined);
    }

    fn update(&mut self, step: &mut Step<'_, T>, joining: Joining<T>) {
        let id = joining.as_it_came.member_id.clone();
        if let Some(mut member) = self.members.unseat(&id) {
            member.replace(joining.as_it_came);
            let earlier = member.join.replace(joining.token);
            self.members.seat(member);
            if let Some(earlier) = earlier {
                self.answer_earlier_join(step, earlier, id);
            }
        }
        self.rebalance(step);
    }

    /// A client that joins twice has given up on its first request.
    fn answer_earlier_join(&self, step: &mut Step<'_, T>, earlier: T, member_id: Name) {
        let error =
            GroupError::RebalanceInProgress { group: step.group.clone(), state: self.state };
        step.refuse_join(earlier, error, member_id);
    }

    /// A static member's process was started again: it takes the old one's place under a new id.
    fn come_back(&mut self, step: &mut Step<'_, T>, joining: Joining<T>, old_id: Name) {
        if self.state == State::Stable && self.keeps_protocol(&old_id, &joining.as_it_came) {
            return self.come_back_quietly(step, joining, old_id);
        }
        self.put_in_place(step, &old_id, joining.as_it_came.clone());
        let id = joining.as_it_came.member_id;
        self.members.change(&id, |member| member.join = Some(joining.token));
        match self.state {
            // The leader may be assigning to the old id, and the new one would get nothing.
            State::Stable | State::CompletingRebalance => self.rebalance(step),
            State::PreparingRebalance => self.complete_if_all_joined(step),
            State::Empty | State::Dead | State::Assigning | State::Reconciling => {}
        }
    }

    /// Whether the group would choose the same protocol with the member as it came back.
    fn keeps_protocol(&mut self, id: &Name, by: &Returned) -> bool {
        let Some(before) = self.change_protocols(id, by.protocols.clone()) else { return false };
        let selected = self.select_protocol();
        self.change_protocols(id, before);
        selected.is_some() && selected == self.protocol
    }

    /// What a member supports from now on; returns what it supported.
    pub(super) fn change_protocols(
        &mut self,
        id: &Name,
        protocols: Vec<Protocol>,
    ) -> Option<Vec<Protocol>> {
        let mut member = self.members.unseat(id)?;
        let before = core::mem::replace(&mut member.protocols, protocols);
        self.members.seat(member);
        Some(before)
    }

    /// Nothing changes but the member id: it is logged and answered without a rebalance.
    fn come_back_quietly(&mut self, step: &mut Step<'_, T>, joining: Joining<T>, old_id: Name) {
        let Joining { token, skip_assignment, as_it_came, .. } = joining;
        let was_leader = self.leader.as_ref() == Some(&old_id);
        let mut reply = self.joined(&as_it_came.member_id);
        if was_leader && skip_assignment == SkipAssignment::Supported {
            reply.leader = as_it_came.member_id.clone();
            reply.assignment = LeadersTask::Skip;
        }
        let assignments = self
            .members
            .iter()
            .map(|member| (member.id.clone(), member.assignment.clone()))
            .collect();
        let mut value = self.metadata(&assignments);
        if was_leader {
            value.leader = Some(as_it_came.member_id.clone());
        }
        for member in value.members.iter_mut().filter(|member| member.member_id == old_id) {
            member.member_id = as_it_came.member_id.clone();
            member.client_id = as_it_came.client_id.clone();
            member.client_host = as_it_came.client_host.clone();
            member.session_timeout_ms = as_it_came.session_timeout_ms;
            member.rebalance_timeout_ms = as_it_came.rebalance_timeout_ms;
            let chosen =
                as_it_came.protocols.iter().find(|own| Some(&own.name) == self.protocol.as_ref());
            if let Some(protocol) = chosen {
                member.subscription = protocol.metadata.clone();
            }
        }
        let then = Then::Replaced { token, old_id, by: as_it_came, reply };
        step.plan = Some(Plan { value, then });
    }

    /// The old id is fenced, wherever it waits; leadership and place in the order stay.
    pub(super) fn put_in_place(&mut self, step: &mut Step<'_, T>, old_id: &Name, by: Returned) {
        let Some(mut member) = self.members.unseat(old_id) else { return };
        let new_id = by.member_id.clone();
        let fenced = GroupError::FencedInstance {
            group: step.group.clone(),
            instance_id: member.instance_id.clone().unwrap_or_else(Name::empty),
            current: new_id.clone(),
            found: old_id.clone(),
        };
        if let Some(token) = member.join.take() {
            step.refuse_join(token, fenced.clone(), old_id.clone());
        }
        if let Some(token) = member.sync.take() {
            step.answer(token, Reply::Sync(Err(fenced)));
        }
        member.replace(by);
        member.expires = step.in_ms(match member.standing {
            Standing::New => step.settings.new_member_join_timeout_ms,
            Standing::Known => member.session_timeout_ms,
        });
        if let Some(instance_id) = &member.instance_id {
            self.instances.insert(instance_id.clone(), new_id.clone());
        }
        if self.leader.as_ref() == Some(old_id) {
            self.leader = Some(new_id);
        }
        self.members.seat(member);
    }

    /// The answer for `member_id` to a `JoinGroup` of this generation, without the members.
    pub(super) fn joined(&self, member_id: &Name) -> Joined {
        Joined {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_else(Name::empty),
            assignment: LeadersTask::Assign,
            member_id: member_id.clone(),
            members: Vec::new(),
        }
    }
}
