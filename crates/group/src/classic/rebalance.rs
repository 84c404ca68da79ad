//! How a rebalance begins and ends, and what time does to members.

use alloc::{collections::BTreeMap, vec::Vec};

use hanbeon_records::Millis;

use super::{
    Classic, JoinTimer, Newcomers,
    member::{Standing, Synced},
};
use crate::{
    GroupError, Joined, JoinedMember, Name, Opaque, Reply, State,
    step::{Plan, Step, Then},
};

/// Shortest time before looking again whether anybody has joined, when a client's own rebalance timeout would make that a spin.
const RETRY_MS_MIN: i32 = 1_000;

/// What time brings next.
enum Alarm {
    /// Some who were given an id did not come.
    Pending,
    /// A member was silent for too long.
    Member(Name),
    /// The rebalance has waited long enough for members.
    Join(JoinTimer),
    /// Members did not ask for their assignment.
    Sync,
}

impl<T> Classic<T> {
    /// Begins a rebalance, or ends the one that waits if nobody else is missing.
    pub(super) fn rebalance(&mut self, step: &mut Step<'_, T>) {
        match self.state {
            State::Empty => self.begin_first(step),
            State::CompletingRebalance | State::Stable => self.begin_next(step),
            State::PreparingRebalance => self.complete_if_all_joined(step),
            State::Dead | State::Assigning | State::Reconciling => {}
        }
    }

    fn begin_first(&mut self, step: &mut Step<'_, T>) {
        let delay_ms = step.settings.initial_rebalance_delay_ms.max(0);
        let remaining_ms = self.rebalance_timeout_ms().saturating_sub(delay_ms).max(0);
        self.newcomers = Newcomers::None;
        self.enter(State::PreparingRebalance, step.time_of_day);
        let at = step.in_ms(delay_ms);
        self.join_timer = Some(JoinTimer::Initial { at, delay_ms, remaining_ms });
        if delay_ms == 0 {
            self.complete(step);
        }
    }

    fn begin_next(&mut self, step: &mut Step<'_, T>) {
        let state = self.state;
        if state == State::CompletingRebalance {
            let error = GroupError::RebalanceInProgress {
                group: step.group.clone(),
                state: State::PreparingRebalance,
            };
            self.fail_syncs(step, &error);
        }
        self.sync_timer = None;
        self.enter(State::PreparingRebalance, step.time_of_day);
        let at = step.in_ms(self.rebalance_timeout_ms());
        self.join_timer = Some(JoinTimer::Rebalance { at });
        self.complete_if_all_joined(step);
    }

    /// Takes assignments back and tells those who wait for one.
    fn fail_syncs(&mut self, step: &mut Step<'_, T>, error: &GroupError) {
        self.members.change_all(|member| {
            member.assignment = Opaque::from([]);
            if let Some(token) = member.sync.take() {
                member.expires = step.in_ms(member.session_timeout_ms);
                step.answer(token, Reply::Sync(Err(error.clone())));
            }
        });
    }

    pub(super) fn complete_if_all_joined(&mut self, step: &mut Step<'_, T>) {
        let waits = matches!(self.join_timer, Some(JoinTimer::Rebalance { .. }));
        let all = self.pending.is_empty() && self.members.have_joined();
        if self.state == State::PreparingRebalance && waits && all {
            self.complete(step);
        }
    }

    /// Ends the phase in which members join: the next generation begins.
    fn complete(&mut self, step: &mut Step<'_, T>) {
        self.join_timer = None;
        let gone: Vec<_> = self
            .members
            .iter()
            .filter(|member| member.join.is_none() && member.instance_id.is_none())
            .map(|member| member.id.clone())
            .collect();
        for id in gone {
            self.remove(step, &id);
        }
        if !self.members.is_empty() && !self.elect_leader() {
            // Only static members are left and none has come back: their sessions decide.
            let at = step.in_ms(self.rebalance_timeout_ms().max(RETRY_MS_MIN));
            self.join_timer = Some(JoinTimer::Rebalance { at });
            return;
        }
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        if self.members.is_empty() {
            self.end_empty(step);
        } else {
            self.begin_generation(step);
        }
    }

    fn end_empty(&mut self, step: &mut Step<'_, T>) {
        self.protocol = None;
        self.leader = None;
        self.subscribed = self.read_subscriptions();
        self.enter(State::Empty, step.time_of_day);
        let value = self.metadata(&BTreeMap::new());
        step.plan = Some(Plan { value, then: Then::Emptied { answers: Vec::new() } });
    }

    fn begin_generation(&mut self, step: &mut Step<'_, T>) {
        self.protocol = self.select_protocol();
        self.subscribed = self.read_subscriptions();
        self.enter(State::CompletingRebalance, step.time_of_day);
        let template = self.joined(&Name::empty());
        let roster = self.roster();
        let mut answers: Vec<_> = Vec::new();
        self.members.change_all(|member| {
            member.expires = step.in_ms(member.session_timeout_ms);
            member.standing = Standing::Known;
            member.synced = Synced::Not;
            if let Some(token) = member.join.take() {
                answers.push((member.number, member.id.clone(), token));
            }
        });
        answers.sort_by_key(|(number, _, _)| *number);
        for (_, member_id, token) in answers {
            let is_leader = self.leader.as_ref() == Some(&member_id);
            let members = if is_leader { roster.clone() } else { Vec::new() };
            step.joined(token, Joined { member_id, members, ..template.clone() });
        }
        self.sync_timer = Some(step.in_ms(self.rebalance_timeout_ms()));
    }

    /// Whether somebody leads who has joined: the leader as before, else the first that waits.
    fn elect_leader(&mut self) -> bool {
        let leader = self.leader.as_ref().and_then(|id| self.members.get(id));
        if leader.is_some_and(|member| member.join.is_some()) {
            return true;
        }
        let first = self.members.in_order().find(|member| member.join.is_some());
        let first = first.map(|member| member.id.clone());
        let found = first.is_some();
        if found {
            self.leader = first;
        }
        found
    }

    /// Takes a member out; whatever it waits for is answered, as a client may still listen.
    pub(super) fn remove(&mut self, step: &mut Step<'_, T>, id: &Name) {
        let Some(mut member) = self.members.unseat(id) else { return };
        let unknown = step.unknown(id);
        if let Some(token) = member.join.take() {
            step.refuse_join(token, unknown.clone(), Name::empty());
        }
        if let Some(token) = member.sync.take() {
            step.answer(token, Reply::Sync(Err(unknown)));
        }
        if let Some(instance_id) = &member.instance_id {
            self.instances.remove(instance_id);
        }
        if self.leader.as_ref() == Some(id) {
            self.leader = self.members.in_order().next().map(|member| member.id.clone());
        }
    }

    /// The member gave a sign of life.
    pub(crate) fn heard(&mut self, step: &Step<'_, T>, id: &Name) {
        self.members.change(id, |member| member.expires = step.in_ms(member.session_timeout_ms));
    }

    /// Sessions of members that were loaded begin now; a group that has become too large rebalances.
    pub(crate) fn arm(&mut self, step: &mut Step<'_, T>) {
        self.members.change_all(|member| member.expires = step.in_ms(member.session_timeout_ms));
        if self.members.len() > step.settings.group_size_max {
            self.rebalance(step);
        }
    }

    /// When something will happen without a request.
    pub(crate) fn deadline(&self) -> Option<Millis> {
        self.alarm().map(|(at, _)| at)
    }

    fn alarm(&self) -> Option<(Millis, Alarm)> {
        let pending = self.pending.first().map(|(at, _)| at);
        let mut first = match (pending, self.members.deadline()) {
            (Some(at), Some((other, _))) if at <= other => Some((at, Alarm::Pending)),
            (_, Some((at, id))) => Some((at, Alarm::Member(id.clone()))),
            (Some(at), None) => Some((at, Alarm::Pending)),
            (None, None) => None,
        };
        let later = |first: &Option<(Millis, Alarm)>, at: Millis| {
            first.as_ref().is_none_or(|(earliest, _)| at < *earliest)
        };
        if let Some(timer) = self.join_timer {
            let (JoinTimer::Initial { at, .. } | JoinTimer::Rebalance { at }) = timer;
            if later(&first, at) {
                first = Some((at, Alarm::Join(timer)));
            }
        }
        if let Some(at) = self.sync_timer
            && later(&first, at)
        {
            first = Some((at, Alarm::Sync));
        }
        first
    }

    /// Lets everything happen whose time has come; stops where something must be written first.
    pub(crate) fn tick(&mut self, step: &mut Step<'_, T>) {
        while step.plan.is_none() {
            let Some((at, alarm)) = self.alarm() else { return };
            if at > step.now {
                return;
            }
            match alarm {
                Alarm::Pending => {
                    while self.pending.pop_due(step.now).is_some() {}
                    self.complete_if_all_joined(step);
                }
                Alarm::Member(id) => {
                    self.remove(step, &id);
                    self.rebalance(step);
                }
                Alarm::Join(timer) => self.join_timer_fired(step, timer),
                Alarm::Sync => self.sync_timer_fired(step),
            }
        }
    }

    fn join_timer_fired(&mut self, step: &mut Step<'_, T>, timer: JoinTimer) {
        match timer {
            JoinTimer::Initial { delay_ms, remaining_ms, .. }
                if self.newcomers == Newcomers::Some && remaining_ms > 0 =>
            {
                self.newcomers = Newcomers::None;
                let next_ms = step.settings.initial_rebalance_delay_ms.min(remaining_ms);
                self.join_timer = Some(JoinTimer::Initial {
                    at: step.in_ms(next_ms),
                    delay_ms: next_ms,
                    remaining_ms: remaining_ms.saturating_sub(delay_ms).max(0),
                });
            }
            JoinTimer::Initial { .. } | JoinTimer::Rebalance { .. } => self.complete(step),
        }
    }

    fn sync_timer_fired(&mut self, step: &mut Step<'_, T>) {
        self.sync_timer = None;
        let silent: Vec<_> = self
            .members
            .iter()
            .filter(|member| member.synced == Synced::Not)
            .map(|member| member.id.clone())
            .collect();
        if silent.is_empty() {
            return;
        }
        for id in silent {
            self.remove(step, &id);
        }
        self.rebalance(step);
    }

    /// A write that a step asked for is in the log, or is not.
    pub(crate) fn decided(
        &mut self,
        step: &mut Step<'_, T>,
        then: Then<T>,
        result: Result<(), GroupError>,
    ) {
        match (then, result) {
            (Then::Emptied { answers }, Ok(())) => {
                for (token, reply) in answers {
                    step.answer(token, reply);
                }
            }
            // The log says that members are here who are not: a successor gives them up when their sessions end.
            (Then::Emptied { answers }, Err(error)) => {
                for (token, _) in answers {
                    step.answer(token, Reply::Leave(Err(error.clone())));
                }
            }
            (Then::Assigned { assignments }, Ok(())) => self.assign(step, &assignments),
            (Then::Assigned { .. }, Err(error)) => {
                self.fail_syncs(step, &error);
                self.rebalance(step);
            }
            (Then::Replaced { token, old_id, by, reply }, Ok(())) => {
                self.put_in_place(step, &old_id, by);
                step.joined(token, Joined { members: self.members_if_leader(&reply), ..reply });
            }
            (Then::Replaced { token, by, .. }, Err(error)) => {
                step.refuse_join(token, error, by.member_id);
            }
        }
    }

    /// A returning leader is shown the members when it can be told to leave the assignment alone.
    fn members_if_leader(&self, reply: &Joined) -> Vec<JoinedMember> {
        if reply.leader == reply.member_id { self.roster() } else { Vec::new() }
    }
}
