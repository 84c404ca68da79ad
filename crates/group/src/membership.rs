//! From a request to its group: `JoinGroup`, `SyncGroup`, Heartbeat, `LeaveGroup`.

use alloc::vec::Vec;

use hanbeon_records::Millis;

use crate::{
    AppendKind, Coordinator, FreshId, GroupError, Join, JoinRefused, Leave, Left, Name, Output,
    Record, Reply, Speaker, Sync,
    classic::{Classic, Joining},
    coordinator::{Group, Job},
    gate::Request,
};

/// What is to be done before a `JoinGroup` can be looked at.
enum Before {
    Nothing,
    Found(Vec<Record>),
    Refuse(GroupError),
    /// It goes to a KIP-848 group that has members.
    Mixed,
}

impl<T> Coordinator<T> {
    pub(crate) fn run_join(
        &mut self,
        now: Millis,
        token: T,
        request: Join,
        fresh: FreshId,
        out: &mut Vec<Output<T>>,
    ) {
        let group = request.group.clone();
        match self.before_join(now, &request) {
            Before::Refuse(error) => {
                let member_id = request.member_id;
                let reply = Reply::Join(Err(JoinRefused { error, member_id }));
                out.push(Output::Answer { token, reply });
            }
            Before::Found(records) => {
                self.open_write(&group, records, AppendKind::Plain, Job::Found, out);
                let gate = self.gates.entry(group).or_default();
                gate.queue.push_front(Request::Join(token, request, fresh));
            }
            Before::Mixed => self.serve_join(now, token, &request, fresh, out),
            Before::Nothing => {
                let new_members = request.new_members;
                let joining = Joining::new(token, request);
                self.with_classic(now, &group, out, |classic, step| {
                    classic.join(step, joining, new_members, fresh);
                });
            }
        }
    }

    /// A group is made by its first member, and an empty one of KIP-848 gives way to it.
    fn before_join(&self, now: Millis, request: &Join) -> Before {
        let group = &request.group;
        let live = match self.groups.get(group).map(|entry| &entry.group) {
            Some(Group::Classic(_)) => return Before::Nothing,
            Some(Group::Consumer(live)) if live.has_members() => {
                return Before::Mixed;
            }
            Some(Group::Consumer(live)) => Some(live),
            None => None,
        };
        if !request.member_id.is_empty() {
            return Before::Refuse(GroupError::UnknownMember {
                group: group.clone(),
                member_id: request.member_id.clone(),
            });
        }
        if request.protocol_type.is_empty() || request.protocols.is_empty() {
            return Before::Refuse(GroupError::InconsistentProtocol { group: group.clone() });
        }
        let mut records = live.map_or_else(Vec::new, |live| live.tombstones(group));
        let value = Classic::<T>::founding(self.time_of_day(now));
        records.push(Record::Group { group: group.clone(), value: Some(value) });
        Before::Found(records)
    }

    fn is_classic(&self, group: &Name) -> bool {
        matches!(self.groups.get(group).map(|entry| &entry.group), Some(Group::Classic(_)))
    }

    pub(crate) fn run_sync(
        &mut self,
        now: Millis,
        token: T,
        request: Sync,
        out: &mut Vec<Output<T>>,
    ) {
        let group = request.speaker.group.clone();
        if self.mixed(&group).is_some() {
            return self.serve_sync(now, token, &request, out);
        }
        if !self.is_classic(&group) {
            let reply = Reply::Sync(Err(unknown(&request.speaker)));
            return out.push(Output::Answer { token, reply });
        }
        self.with_classic(now, &group, out, |classic, step| classic.sync(step, token, request));
    }

    pub(crate) fn run_heartbeat(
        &mut self,
        now: Millis,
        token: T,
        speaker: &Speaker,
        out: &mut Vec<Output<T>>,
    ) {
        if self.mixed(&speaker.group).is_some() {
            return self.serve_heartbeat(now, token, speaker, out);
        }
        if !self.is_classic(&speaker.group) {
            let reply = Reply::Heartbeat(Err(unknown(speaker)));
            return out.push(Output::Answer { token, reply });
        }
        self.touch(now, &speaker.group, out, |classic, step| {
            let result = classic.heartbeat(step, speaker);
            step.answer(token, Reply::Heartbeat(result));
        });
    }

    pub(crate) fn run_leave(
        &mut self,
        now: Millis,
        token: T,
        request: Leave,
        out: &mut Vec<Output<T>>,
    ) {
        if self.mixed(&request.group).is_some() {
            return self.serve_leave(now, token, request, out);
        }
        let Leave { group, members } = request;
        if !self.is_classic(&group) {
            let left = members
                .into_iter()
                .map(|leaver| Left {
                    result: Err(GroupError::UnknownMember {
                        group: group.clone(),
                        member_id: leaver.member_id.clone(),
                    }),
                    member_id: leaver.member_id,
                    instance_id: leaver.instance_id,
                })
                .collect();
            return out.push(Output::Answer { token, reply: Reply::Leave(Ok(left)) });
        }
        let request = Leave { group: group.clone(), members };
        self.with_classic(now, &group, out, |classic, step| classic.leave(step, token, request));
    }
}

fn unknown(speaker: &Speaker) -> GroupError {
    GroupError::UnknownMember { group: speaker.group.clone(), member_id: speaker.member_id.clone() }
}
