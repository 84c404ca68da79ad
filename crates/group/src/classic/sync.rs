//! `SyncGroup`, Heartbeat and `LeaveGroup`.

use alloc::{collections::BTreeMap, vec::Vec};

use super::{Classic, member::Synced as Asked};
use crate::{
    GroupError, Leave, Leaver, Left, Name, Opaque, Reply, Speaker, State, Sync, Synced,
    step::{Plan, Step, Then},
};

impl<T> Classic<T> {
    /// `SyncGroup`.
    pub(crate) fn sync(&mut self, step: &mut Step<'_, T>, token: T, request: Sync) {
        if let Err(error) = self.check_sync(step, &request) {
            return step.answer(token, Reply::Sync(Err(error)));
        }
        let Sync { speaker, assignments, .. } = request;
        let id = speaker.member_id;
        self.heard(step, &id);
        match self.state {
            State::CompletingRebalance => {
                self.wait_for_assignment(step, token, &id);
                if self.leader.as_ref() == Some(&id) {
                    self.plan_assignment(step, assignments);
                }
            }
            State::Stable => {
                let synced = self.synced(&id);
                self.ask(&id);
                step.answer(token, Reply::Sync(Ok(synced)));
            }
            State::PreparingRebalance => {
                let error = GroupError::RebalanceInProgress {
                    group: step.group.clone(),
                    state: self.state,
                };
                step.answer(token, Reply::Sync(Err(error)));
            }
            State::Empty | State::Dead | State::Assigning | State::Reconciling => {
                let error = step.unknown(&id);
                step.answer(token, Reply::Sync(Err(error)));
            }
        }
    }

    fn check_sync(&self, step: &Step<'_, T>, request: &Sync) -> Result<(), GroupError> {
        let Speaker { member_id, instance_id, generation, .. } = &request.speaker;
        self.check_member(&step.group, member_id, instance_id.as_ref())?;
        self.check_generation(&step.group, *generation)?;
        let differ = |asked: &Option<Name>, own: &Option<Name>| {
            asked.is_some() && own.is_some() && asked != own
        };
        if differ(&request.protocol_type, &self.protocol_type)
            || differ(&request.protocol_name, &self.protocol)
        {
            return Err(GroupError::InconsistentProtocol { group: step.group.clone() });
        }
        Ok(())
    }

    fn wait_for_assignment(&mut self, step: &mut Step<'_, T>, token: T, id: &Name) {
        self.ask(id);
        let earlier = self.members.change(id, |member| member.sync.replace(token));
        if let Some(earlier) = earlier.flatten() {
            // The client has given up on its first request.
            let error = GroupError::RebalanceInProgress {
                group: step.group.clone(),
                state: State::CompletingRebalance,
            };
            step.answer(earlier, Reply::Sync(Err(error)));
        }
    }

    fn ask(&mut self, id: &Name) {
        self.members.change(id, |member| member.synced = Asked::Asked);
        if self.members.have_asked() {
            self.sync_timer = None;
        }
    }

    fn plan_assignment(&mut self, step: &mut Step<'_, T>, given: Vec<(Name, Opaque)>) {
        let mut assignments: BTreeMap<Name, Opaque> =
            given.into_iter().filter(|(id, _)| self.members.contains(id)).collect();
        for id in self.members.ids() {
            assignments.entry(id.clone()).or_insert_with(|| Opaque::from([]));
        }
        let value = self.metadata(&assignments);
        step.plan = Some(Plan { value, then: Then::Assigned { assignments } });
    }

    /// The assignment is in the log: the group is stable.
    pub(super) fn assign(&mut self, step: &mut Step<'_, T>, given: &BTreeMap<Name, Opaque>) {
        self.enter(State::Stable, step.time_of_day);
        let mut waiting = Vec::new();
        self.members.change_all(|member| {
            if let Some(assignment) = given.get(&member.id) {
                member.assignment = assignment.clone();
            }
            if let Some(token) = member.sync.take() {
                member.expires = step.in_ms(member.session_timeout_ms);
                waiting.push((member.number, member.id.clone(), token));
            }
        });
        waiting.sort_by_key(|(number, _, _)| *number);
        for (_, id, token) in waiting {
            let synced = self.synced(&id);
            step.answer(token, Reply::Sync(Ok(synced)));
        }
    }

    fn synced(&self, id: &Name) -> Synced {
        Synced {
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol.clone(),
            assignment: self
                .members
                .get(id)
                .map_or_else(|| Opaque::from([]), |member| member.assignment.clone()),
        }
    }

    /// `Heartbeat`.
    pub(crate) fn heartbeat(
        &mut self,
        step: &Step<'_, T>,
        speaker: &Speaker,
    ) -> Result<(), GroupError> {
        let Speaker { member_id, instance_id, generation, .. } = speaker;
        self.check_member(&step.group, member_id, instance_id.as_ref())?;
        self.check_generation(&step.group, *generation)?;
        self.heard(step, member_id);
        match self.state {
            State::CompletingRebalance | State::Stable => Ok(()),
            State::PreparingRebalance => Err(GroupError::RebalanceInProgress {
                group: step.group.clone(),
                state: self.state,
            }),
            State::Empty | State::Dead | State::Assigning | State::Reconciling => {
                Err(step.unknown(member_id))
            }
        }
    }

    /// `LeaveGroup`. The answer waits for the write when the last member goes.
    pub(crate) fn leave(&mut self, step: &mut Step<'_, T>, token: T, request: Leave) {
        let mut left = Vec::new();
        for Leaver { member_id, instance_id } in request.members {
            let result = self.leave_one(step, &member_id, instance_id.as_ref());
            left.push(Left { member_id, instance_id, result });
        }
        if left.iter().any(|member| member.result.is_ok()) {
            match self.state {
                State::CompletingRebalance | State::Stable => self.rebalance(step),
                State::PreparingRebalance => self.complete_if_all_joined(step),
                State::Empty | State::Dead | State::Assigning | State::Reconciling => {}
            }
        }
        let reply = Reply::Leave(Ok(left));
        match &mut step.plan {
            Some(Plan { then: Then::Emptied { answers }, .. }) => answers.push((token, reply)),
            Some(_) | None => step.answer(token, reply),
        }
    }

    fn leave_one(
        &mut self,
        step: &mut Step<'_, T>,
        member_id: &Name,
        instance_id: Option<&Name>,
    ) -> Result<(), GroupError> {
        if !member_id.is_empty() && self.pending.remove(member_id) {
            return Ok(());
        }
        let id = match instance_id {
            // An administrator names the instance alone.
            Some(instance_id) if member_id.is_empty() => {
                self.instances.get(instance_id).cloned().ok_or_else(|| {
                    GroupError::UnknownInstance {
                        group: step.group.clone(),
                        instance_id: instance_id.clone(),
                    }
                })?
            }
            Some(_) | None => member_id.clone(),
        };
        self.check_member(&step.group, &id, instance_id)?;
        self.remove(step, &id);
        Ok(())
    }
}
