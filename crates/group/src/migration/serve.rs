//! `JoinGroup`, `SyncGroup`, `Heartbeat` and `LeaveGroup` of members that speak the classic protocol in a KIP-848 group.

use alloc::{
    collections::BTreeSet,
    string::{String, ToString},
    vec,
    vec::Vec,
};

use hanbeon_records::{Millis, TopicId};

use super::{MigrationPolicy, Turn, embedded};
use crate::{
    AppendKind, Coordinator, FreshId, GroupError, Join, JoinRefused, Joined, LeadersTask, Leave,
    Leaver, Left, Name, NewMembers, Output, Record, Reply, Speaker, Sync, Synced,
    consumer::{ClassicJoin, Comes, ConsumerError, Departure, Member, MemberState, Timer},
    coordinator::{Entry, Group, Job},
    live::{Live, logged},
};

/// The protocol type of members that are served here.
pub(crate) const CONSUMER: &str = "consumer";

/// What a request of a classic member leads to once it is logged.
#[derive(Debug)]
pub(crate) struct Served<T> {
    pub(crate) token: T,
    /// The answer if the log takes the records.
    pub(crate) reply: Reply,
    pub(crate) timers: Vec<Timer>,
    pub(crate) turn: Turn,
}

/// A `JoinGroup` that is heard.
struct Heard {
    records: Vec<Record>,
    joined: Joined,
    timers: Vec<Timer>,
    turn: Turn,
}

impl<T> Served<T> {
    /// The same answer when it came to nothing.
    pub(crate) fn refused(self, error: GroupError) -> (T, Reply) {
        let reply = match self.reply {
            Reply::Join(Ok(Joined { member_id, .. })) => {
                Reply::Join(Err(JoinRefused { error, member_id }))
            }
            Reply::Leave(_) => Reply::Leave(Err(error)),
            other @ (Reply::Join(Err(_))
            | Reply::Sync(_)
            | Reply::Heartbeat(_)
            | Reply::Commit(_)
            | Reply::DeleteOffsets(_)
            | Reply::ConsumerHeartbeat(_)
            | Reply::DeleteGroup(_)) => other,
        };
        (self.token, reply)
    }
}

impl<T> Coordinator<T> {
    /// A KIP-848 group with members, to which classic ones may speak.
    pub(crate) fn mixed(&self, group: &Name) -> Option<&Live> {
        match self.groups.get(group) {
            Some(Entry { group: Group::Consumer(live), .. })
                if live.has_members() && self.speaks_consumer() =>
            {
                Some(live)
            }
            Some(_) | None => None,
        }
    }

    /// `JoinGroup`; a new dynamic member is given an id first, of which nothing is remembered.
    pub(crate) fn serve_join(
        &mut self,
        now: Millis,
        token: T,
        request: &Join,
        fresh: FreshId,
        out: &mut Vec<Output<T>>,
    ) {
        match self.decide_join(now, request, fresh) {
            Ok(Heard { records, joined, timers, turn }) => {
                let served = Served { token, reply: Reply::Join(Ok(joined)), timers, turn };
                self.log_served(now, &request.group, records, served, out);
            }
            Err(error) => {
                let member_id = if let GroupError::MemberIdRequired { member_id, .. } = &error {
                    member_id.clone()
                } else {
                    request.member_id.clone()
                };
                let reply = Reply::Join(Err(JoinRefused { error, member_id }));
                out.push(Output::Answer { token, reply });
            }
        }
    }

    fn decide_join(
        &self,
        now: Millis,
        request: &Join,
        fresh: FreshId,
    ) -> Result<Heard, GroupError> {
        let group = &request.group;
        let inconsistent = || GroupError::InconsistentProtocol { group: group.clone() };
        let live = self.mixed(group).ok_or_else(inconsistent)?;
        let settings = &self.settings_of(group).ok_or_else(inconsistent)?;
        if settings.migration_policy == MigrationPolicy::Disabled {
            return Err(inconsistent());
        }
        let is_new = request.member_id.is_empty();
        let member_id = if is_new {
            TopicId::new(fresh.bytes()).to_string()
        } else {
            request.member_id.as_str().to_string()
        };
        let instance = request.instance_id.as_ref().map(Name::as_str);
        let is_known = live.group.has_member(&member_id)
            || instance.is_some_and(|instance| live.group.static_member(instance).is_some());
        if !is_known && live.group.len() >= settings.max_size {
            let max = settings.max_size;
            return Err(GroupError::GroupFull { group: group.clone(), max });
        }
        let names = request.protocols.iter().map(|protocol| protocol.name.as_str());
        if request.protocol_type.as_str() != CONSUMER || !live.group.shares_protocol(names) {
            return Err(inconsistent());
        }
        if is_new && instance.is_none() && request.new_members == NewMembers::GetAnIdFirst {
            let member_id = Name::new(&member_id)?;
            return Err(GroupError::MemberIdRequired { group: group.clone(), member_id });
        }
        let join = classic_join(request, member_id).ok_or_else(inconsistent)?;
        let time_of_day = self.time_of_day(now);
        let seat = self
            .with_topics(|topics| live.group.classic_join(time_of_day, &join, topics, settings))
            .map_err(|error| in_classic_words(group, &request.member_id, error))?;
        let joined = joined(&join, &seat.member)?;
        match self.downgraded_by_join(now, group, live, &join.member_id, &seat) {
            Some((records, turn)) => Ok(Heard { records, joined, timers: Vec::new(), turn }),
            None => {
                let (records, timers) = (logged(group, &seat.records)?, seat.timers);
                Ok(Heard { records, joined, timers, turn: Turn::Stays })
            }
        }
    }

    fn log_served(
        &mut self,
        now: Millis,
        group: &Name,
        records: Vec<Record>,
        served: Served<T>,
        out: &mut Vec<Output<T>>,
    ) {
        if records.is_empty() {
            return self.settle_served(now, group, served, out);
        }
        self.open_write(group, records, AppendKind::Plain, Job::Serve(served), out);
    }

    /// The records are in the log, or there were none.
    pub(crate) fn settle_served(
        &mut self,
        now: Millis,
        group: &Name,
        served: Served<T>,
        out: &mut Vec<Output<T>>,
    ) {
        let Served { token, reply, timers, turn } = served;
        self.set_timers(now, group, timers);
        out.push(Output::Answer { token, reply });
        self.after_turn(now, group, turn, out);
    }

    /// `SyncGroup`: the share, in the words of the classic protocol. Nobody leads, so there is nothing to wait for.
    pub(crate) fn serve_sync(
        &mut self,
        now: Millis,
        token: T,
        request: &Sync,
        out: &mut Vec<Output<T>>,
    ) {
        let group = &request.speaker.group;
        let (result, timers) = match self.decide_sync(request) {
            Ok((synced, timers)) => (Ok(synced), timers),
            Err((error, timers)) => (Err(error), timers),
        };
        self.set_timers(now, group, timers);
        out.push(Output::Answer { token, reply: Reply::Sync(result) });
    }

    fn decide_sync(
        &self,
        request: &Sync,
    ) -> Result<(Synced, Vec<Timer>), (GroupError, Vec<Timer>)> {
        let group = &request.speaker.group;
        let (live, id, member) =
            self.classic_speaker(&request.speaker).map_err(|error| (error, Vec::new()))?;
        let (own, _) = member.first_protocol().unwrap_or_default();
        let differs = |asked: &Option<Name>, own: &str| {
            asked.as_ref().is_some_and(|name| name.as_str() != own)
        };
        if differs(&request.protocol_type, CONSUMER) || differs(&request.protocol_name, own) {
            return Err((GroupError::InconsistentProtocol { group: group.clone() }, Vec::new()));
        }
        // One that is to give up something has to hear of it, although its epoch is behind.
        if live.group.assignment_epoch() > member.epoch
            && member.state != MemberState::UnrevokedPartitions
        {
            let (group, state) = (group.clone(), live.state());
            let after_ms = member.metadata.rebalance_timeout_ms;
            let timers = vec![Timer::Join { member_id: id.into(), after_ms }];
            return Err((GroupError::RebalanceInProgress { group, state }, timers));
        }
        let timers = vec![Timer::CancelSync { member_id: id.into() }, session(id, member)];
        let assignment = self.with_topics(|topics| member.share(topics)).into();
        let (protocol_type, protocol_name) = (Name::new(CONSUMER).ok(), Name::new(own).ok());
        Ok((Synced { protocol_type, protocol_name, assignment }, timers))
    }

    /// `Heartbeat`.
    pub(crate) fn serve_heartbeat(
        &mut self,
        now: Millis,
        token: T,
        speaker: &Speaker,
        out: &mut Vec<Output<T>>,
    ) {
        let (result, timers) = match self.decide_heartbeat(now, speaker) {
            Ok((result, timers)) => (result, timers),
            Err(error) => (Err(error), Vec::new()),
        };
        self.set_timers(now, &speaker.group, timers);
        out.push(Output::Answer { token, reply: Reply::Heartbeat(result) });
    }

    fn decide_heartbeat(
        &self,
        now: Millis,
        speaker: &Speaker,
    ) -> Result<(Result<(), GroupError>, Vec<Timer>), GroupError> {
        let (live, id, member) = self.classic_speaker(speaker)?;
        let mut timers = vec![session(id, member)];
        let now = self.time_of_day(now);
        let calls = self.settings_of(&speaker.group).is_some_and(|settings| {
            self.with_topics(|topics| live.group.calls_back(now, id, member, topics, &settings))
        });
        if !calls {
            return Ok((Ok(()), timers));
        }
        let after_ms = member.metadata.rebalance_timeout_ms;
        timers.push(Timer::Join { member_id: id.into(), after_ms });
        let (group, state) = (speaker.group.clone(), live.state());
        Ok((Err(GroupError::RebalanceInProgress { group, state }), timers))
    }

    /// The classic member that speaks, if it is the one it says and its generation is its epoch.
    fn classic_speaker<'a>(
        &'a self,
        speaker: &'a Speaker,
    ) -> Result<(&'a Live, &'a str, &'a Member), GroupError> {
        let Speaker { group, generation, member_id, instance_id } = speaker;
        let unknown =
            || GroupError::UnknownMember { group: group.clone(), member_id: member_id.clone() };
        let live = self.mixed(group).ok_or_else(unknown)?;
        let member = classic_member(live, group, member_id, instance_id.as_ref())?;
        if member.epoch != *generation {
            let (current, found) = (member.epoch, *generation);
            return Err(GroupError::IllegalGeneration { group: group.clone(), current, found });
        }
        Ok((live, member_id.as_str(), member))
    }

    /// `LeaveGroup`, in one write for all that leave. Members of both protocols can: administrators remove them so.
    pub(crate) fn serve_leave(
        &mut self,
        now: Millis,
        token: T,
        request: Leave,
        out: &mut Vec<Output<T>>,
    ) {
        let Leave { group, members } = request;
        let (mut gone, mut left): (Vec<String>, Vec<Left>) = (Vec::new(), Vec::new());
        let mut seen = BTreeSet::new();
        for leaver in members {
            let result = self.leaver(&group, &leaver).map(|id| {
                if seen.insert(id.clone()) {
                    gone.push(id);
                }
            });
            let Leaver { member_id, instance_id } = leaver;
            left.push(Left { member_id, instance_id, result });
        }
        let reply = Reply::Leave(Ok(left));
        let departure = match self.mixed(&group) {
            Some(live) if !gone.is_empty() => self.depart(now, &group, live, &gone),
            Some(_) | None => Ok((Vec::new(), Vec::new(), Turn::Stays)),
        };
        match departure {
            Ok((records, timers, turn)) => {
                let served = Served { token, reply, timers, turn };
                self.log_served(now, &group, records, served, out);
            }
            Err(error) => out.push(Output::Answer { token, reply: Reply::Leave(Err(error)) }),
        }
    }

    /// Takes members out; the group becomes a classic one when only such members are left.
    fn depart(
        &self,
        now: Millis,
        group: &Name,
        live: &Live,
        gone: &[String],
    ) -> Result<(Vec<Record>, Vec<Timer>, Turn), GroupError> {
        if let Some((records, turn)) = self.downgraded(now, group, live, gone) {
            return Ok((records, Vec::new(), turn));
        }
        let Departure { records, timers } =
            self.with_topics(|topics| live.group.fence(gone, topics));
        Ok((logged(group, &records)?, timers, Turn::Stays))
    }

    fn leaver(&self, group: &Name, leaver: &Leaver) -> Result<String, GroupError> {
        let Leaver { member_id, instance_id } = leaver;
        let unknown =
            || GroupError::UnknownMember { group: group.clone(), member_id: member_id.clone() };
        let live = self.mixed(group).ok_or_else(unknown)?;
        let holder = instance_id.as_ref().and_then(|own| live.group.static_member(own.as_str()));
        // An administrator names the instance alone.
        let id = match holder.filter(|_| member_id.is_empty()) {
            Some(holder) => Name::new(holder)?,
            None => member_id.clone(),
        };
        member(live, group, &id, instance_id.as_ref())?;
        Ok(id.as_str().into())
    }
}

/// A member that speaks the classic protocol.
fn classic_member<'a>(
    live: &'a Live,
    group: &Name,
    member_id: &Name,
    instance_id: Option<&Name>,
) -> Result<&'a Member, GroupError> {
    let found = member(live, group, member_id, instance_id)?;
    if found.speaks_classic() {
        return Ok(found);
    }
    Err(GroupError::UnknownMember { group: group.clone(), member_id: member_id.clone() })
}

/// A member of any kind, if it is the one that `instance_id` stands for.
fn member<'a>(
    live: &'a Live,
    group: &Name,
    member_id: &Name,
    instance_id: Option<&Name>,
) -> Result<&'a Member, GroupError> {
    if let Some(instance_id) = instance_id {
        let group = group.clone();
        match live.group.static_member(instance_id.as_str()) {
            None => {
                return Err(GroupError::UnknownInstance {
                    group,
                    instance_id: instance_id.clone(),
                });
            }
            Some(holder) if holder != member_id.as_str() => {
                let (current, found) = (Name::new(holder)?, member_id.clone());
                let instance_id = instance_id.clone();
                return Err(GroupError::FencedInstance { group, instance_id, current, found });
            }
            Some(_) => {}
        }
    }
    live.group.member(member_id.as_str()).ok_or_else(|| GroupError::UnknownMember {
        group: group.clone(),
        member_id: member_id.clone(),
    })
}

/// The session of a classic member begins anew.
fn session(member_id: &str, member: &Member) -> Timer {
    let after_ms = member.metadata.classic.as_ref().map_or(0, |classic| classic.session_timeout_ms);
    Timer::Session { member_id: member_id.into(), after_ms }
}

/// What the group must know of a `JoinGroup`; none when its subscription cannot be read.
fn classic_join(request: &Join, member_id: String) -> Option<ClassicJoin> {
    let own = |name: &Name| name.as_str().to_string();
    let protocols = request.protocols.iter();
    Some(ClassicJoin {
        member_id,
        comes: if request.member_id.is_empty() { Comes::New } else { Comes::Again },
        instance_id: request.instance_id.as_ref().map(own),
        client_id: own(&request.client_id),
        client_host: own(&request.client_host),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms: request
            .rebalance_timeout_ms
            .filter(|ms| *ms >= 0)
            .unwrap_or(request.session_timeout_ms),
        subscription: embedded::subscription(&request.protocols.first()?.metadata)?,
        protocols: protocols.map(|own| (own.name.as_str().into(), own.metadata.to_vec())).collect(),
    })
}

/// The answer to a `JoinGroup`: nobody leads.
fn joined(join: &ClassicJoin, member: &Member) -> Result<Joined, GroupError> {
    let (protocol, _) = member.first_protocol().unwrap_or_default();
    Ok(Joined {
        generation: member.epoch,
        protocol_type: Some(Name::new(CONSUMER)?),
        protocol_name: Some(Name::new(protocol)?),
        leader: Name::empty(),
        assignment: LeadersTask::Assign,
        member_id: Name::new(&join.member_id)?,
        members: Vec::new(),
    })
}

/// A refusal in the words that classic members know.
fn in_classic_words(group: &Name, member_id: &Name, error: ConsumerError) -> GroupError {
    let (group, found) = (group.clone(), member_id.clone());
    #[allow(clippy::wildcard_enum_match_arm, reason = "the others mean to them what they say")]
    match error {
        ConsumerError::UnknownMember { .. } | ConsumerError::FencedMemberEpoch { .. } => {
            GroupError::UnknownMember { group, member_id: found }
        }
        ConsumerError::UnknownInstance { instance_id, .. } => match Name::new(&instance_id) {
            Ok(instance_id) => GroupError::UnknownInstance { group, instance_id },
            Err(error) => error.into(),
        },
        ConsumerError::FencedInstance { instance_id, holder, .. } => {
            match (Name::new(&instance_id), Name::new(&holder)) {
                (Ok(instance_id), Ok(current)) => {
                    GroupError::FencedInstance { group, instance_id, current, found }
                }
                (Err(error), _) | (_, Err(error)) => error.into(),
            }
        }
        other => GroupError::Consumer(other),
    }
}
