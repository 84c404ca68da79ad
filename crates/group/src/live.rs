//! A KIP-848 group in the coordinator: the value, its timers, and the requests that reach it.

use alloc::{boxed::Box, collections::VecDeque, string::String, sync::Arc, vec, vec::Vec};
use core::fmt;

use hanbeon_records::Millis;

use crate::{
    AppendKind, CommitDialect, Coordinator, FreshId, GroupError, Membership, Name, NewOffset,
    Output, Record, Reply, State,
    consumer::{
        CommitApi, CommitClaim, CommitRule, ConsumerError, ConsumerGroup, ConsumerSettings,
        Departure, GroupDescription, GroupState, Heartbeat, HeartbeatDecision, HeartbeatReply,
        LEFT, Matching, SettingsOfGroups, Timer, TopicList, TopicsImage, record::ConsumerRecord,
    },
    coordinator::{Entry, Group, Job, Phase},
    migration::Turn,
    parts::Writes,
    timers::Timers,
};

/// When to take a silent member out again, after the log did not take it.
const TRY_AGAIN_MS: i32 = 1_000;

/// A group with what is not logged of it.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) group: ConsumerGroup,
    sessions: Timers<String>,
    /// With the member epoch at which each was armed.
    rebalances: Timers<String, i32>,
    /// Of classic members that were told to join again.
    joins: Timers<String>,
    /// Of classic members that have joined and are to sync.
    syncs: Timers<String>,
    /// An expression whose topics are being looked for.
    matching: Option<Box<Matching>>,
}

impl Live {
    pub(crate) fn new(name: &Name) -> Self {
        Self {
            group: ConsumerGroup::new(name.as_str()),
            sessions: Timers::new(),
            rebalances: Timers::new(),
            joins: Timers::new(),
            syncs: Timers::new(),
            matching: None,
        }
    }

    pub(crate) fn has_members(&self) -> bool {
        !self.group.is_empty()
    }

    pub(crate) fn state(&self) -> State {
        match self.group.state() {
            GroupState::Empty => State::Empty,
            GroupState::Assigning => State::Assigning,
            GroupState::Reconciling => State::Reconciling,
            GroupState::Stable => State::Stable,
        }
    }

    /// What ends the group in the log.
    pub(crate) fn tombstones(&self, group: &Name) -> Vec<Record> {
        // What was read from the log, or checked on its way in, can be written.
        logged(group, &self.group.remove()).unwrap_or_default()
    }

    /// When time will change it.
    pub(crate) fn deadline(&self) -> Option<Millis> {
        let of_members = [&self.sessions, &self.joins, &self.syncs].map(Timers::first);
        let first = of_members.into_iter().chain([self.rebalances.first()]).flatten();
        first.map(|(at, _)| at).min()
    }

    pub(crate) fn set(&mut self, now: Millis, timers: Vec<Timer>) {
        let after = |ms: i32| now.saturating_add(i64::from(ms.max(0)));
        for timer in timers {
            match timer {
                Timer::Session { member_id, after_ms } => {
                    self.sessions.set(member_id, after(after_ms), ());
                }
                Timer::Rebalance { member_id, member_epoch, after_ms } => {
                    self.rebalances.set(member_id, after(after_ms), member_epoch);
                }
                Timer::CancelRebalance { member_id } => {
                    self.rebalances.remove(&member_id);
                }
                Timer::Join { member_id, after_ms } => {
                    if !self.joins.contains(&member_id) {
                        self.joins.set(member_id, after(after_ms), ());
                    }
                }
                Timer::Sync { member_id, after_ms } => {
                    self.syncs.set(member_id, after(after_ms), ());
                }
                Timer::CancelJoin { member_id } => {
                    self.joins.remove(&member_id);
                }
                Timer::CancelSync { member_id } => {
                    self.syncs.remove(&member_id);
                }
                Timer::Cancel { member_id } => {
                    self.sessions.remove(&member_id);
                    self.rebalances.remove(&member_id);
                    self.joins.remove(&member_id);
                    self.syncs.remove(&member_id);
                }
            }
        }
    }

    /// Takes one timer whose time has come.
    fn expire(&mut self, now: Millis, topics: &dyn TopicsImage) -> Option<Expired> {
        let after_ms = TRY_AGAIN_MS;
        // Each is tried again as what it was: whoever is heard puts off the end of a session, and of nothing else.
        let kinds: [(_, Again); 3] = [
            (&mut self.sessions, |member_id, after_ms| Timer::Session { member_id, after_ms }),
            (&mut self.joins, |member_id, after_ms| Timer::Join { member_id, after_ms }),
            (&mut self.syncs, |member_id, after_ms| Timer::Sync { member_id, after_ms }),
        ];
        for (timers, again) in kinds {
            if let Some((member_id, ())) = timers.pop_due(now) {
                let departure = self.group.expire_session(&member_id, topics);
                let again = again(member_id.clone(), after_ms);
                return Some(Expired { member_id, departure, again });
            }
        }
        let (member_id, member_epoch) = self.rebalances.pop_due(now)?;
        let departure = self.group.expire_rebalance(&member_id, member_epoch, topics);
        let again = Timer::Rebalance { member_id: member_id.clone(), member_epoch, after_ms };
        Some(Expired { member_id, departure, again })
    }
}

/// A timer for a member, in so many milliseconds.
type Again = fn(String, i32) -> Timer;

/// A timer that has run out: whose, what it leads to, and the timer that tries again if that cannot be written.
struct Expired {
    member_id: String,
    departure: Departure,
    again: Timer,
}

/// What KIP-848 groups need to know; without settings the protocol is off.
#[derive(Clone, Default)]
pub(crate) struct Surroundings {
    settings: Option<Arc<dyn SettingsOfGroups + Send + Sync>>,
    topics: Option<Arc<dyn TopicsImage + Send + Sync>>,
}

impl Surroundings {
    pub(crate) const fn new() -> Self {
        Self { settings: None, topics: None }
    }
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings").finish_non_exhaustive()
    }
}

/// Whether a heartbeat looks for the topics of an expression.
enum Look<'a> {
    /// From where an earlier one was; where that is afterwards.
    On(&'a mut Option<Box<Matching>>),
    Away,
}

/// What a heartbeat leads to once it is logged.
#[derive(Debug)]
pub(crate) struct Beaten<T> {
    pub(crate) token: T,
    pub(crate) reply: HeartbeatReply,
    pub(crate) timers: Vec<Timer>,
    pub(crate) turn: Turn,
    /// What is still to be written before anybody hears of it.
    rest: VecDeque<Vec<Record>>,
    /// What to do again without the topics that were found, when the log does not take these.
    again: Option<Box<(Heartbeat, FreshId)>>,
    /// The expression whose topics were found.
    regex: Option<String>,
}

impl<T> Beaten<T> {
    /// The first of its writes is in the log: the rest follows, whatever becomes of it.
    pub(crate) fn wrote(self) -> Self {
        Self { again: None, ..self }
    }
}

impl<T> Coordinator<T> {
    /// Allows KIP-848 groups, or changes their settings, the same for all of them; sessions that run keep their time. To be said before
    /// [`loaded`](Self::loaded), with which the sessions of members found in the log begin.
    pub fn set_consumer_settings(&mut self, settings: ConsumerSettings) {
        self.set_settings_of_groups(Arc::new(settings));
    }

    /// The same where groups have settings of their own.
    pub fn set_settings_of_groups(&mut self, settings: Arc<dyn SettingsOfGroups + Send + Sync>) {
        self.surroundings.settings = Some(settings);
    }

    pub(crate) const fn speaks_consumer(&self) -> bool {
        self.surroundings.settings.is_some()
    }

    /// What counts for a group; none while the protocol is off.
    pub(crate) fn settings_of(&self, group: &Name) -> Option<ConsumerSettings> {
        Some(self.surroundings.settings.as_ref()?.of(group.as_str()))
    }

    /// Tells which topics there are. Groups look at it with their next heartbeats, commits and fetches at once; without it every topic
    /// is taken to be there. To be said before [`loaded`](Self::loaded), which forgets the offsets of topics that are gone.
    pub fn set_topics(&mut self, topics: Arc<dyn TopicsImage + Send + Sync>) {
        self.surroundings.topics = Some(topics);
    }

    /// `ConsumerGroupHeartbeat`. `fresh` becomes the id of a member that has none (version 0).
    pub fn consumer_heartbeat(
        &mut self,
        now: Millis,
        token: T,
        group: Name,
        request: Heartbeat,
        fresh: FreshId,
        out: &mut Vec<Output<T>>,
    ) {
        self.submit(now, crate::gate::Request::Beat(token, group, request, fresh), out);
    }

    /// `ConsumerGroupDescribe` for one group.
    ///
    /// # Errors
    /// While the partition is loading, without a group id, and for a name that no KIP-848 group has.
    pub fn describe_consumer(&self, group: &Name) -> Result<GroupDescription, GroupError> {
        if group.is_empty() {
            return Err(GroupError::InvalidGroupId);
        }
        if self.phase == Phase::Loading {
            return Err(GroupError::Loading);
        }
        let settings = &self.settings_of(group).ok_or(GroupError::ConsumerProtocolOff)?;
        match self.groups.get(group).map(|entry| &entry.group) {
            Some(Group::Consumer(live)) => {
                Ok(self.with_topics(|topics| live.group.describe(topics, settings)))
            }
            Some(Group::Classic(_)) | None => {
                Err(GroupError::GroupNotFound { group: group.clone() })
            }
        }
    }

    /// The topics, where they are known.
    pub(crate) fn topics(&self) -> Option<&(dyn TopicsImage + Send + Sync)> {
        self.surroundings.topics.as_deref()
    }

    pub(crate) fn with_topics<R>(&self, ask: impl FnOnce(&dyn TopicsImage) -> R) -> R {
        match &self.surroundings.topics {
            Some(topics) => ask(topics.as_ref()),
            None => ask(&TopicList::default()),
        }
    }

    pub(crate) fn run_beat(
        &mut self,
        now: Millis,
        token: T,
        name: &Name,
        request: &Heartbeat,
        fresh: FreshId,
        out: &mut Vec<Output<T>>,
    ) {
        let mut begun = match self.groups.get_mut(name).map(|entry| &mut entry.group) {
            Some(Group::Consumer(live)) => live.matching.take(),
            Some(Group::Classic(_)) | None => None,
        };
        let look = Look::On(&mut begun);
        let decided = self.decide_beat(now, token, name, (request, fresh), look);
        if let Some(Entry { group: Group::Consumer(live), .. }) = self.groups.get_mut(name) {
            live.matching = begun;
        }
        self.write_beat(now, name, (request, fresh), decided, out);
    }

    fn write_beat(
        &mut self,
        now: Millis,
        name: &Name,
        (request, fresh): (&Heartbeat, FreshId),
        decided: Result<(Writes, Beaten<T>), (T, GroupError)>,
        out: &mut Vec<Output<T>>,
    ) {
        match decided {
            Ok((Writes { resolved: Some(first), rest }, mut beaten)) => {
                (beaten.rest, beaten.again) = (rest, Some(Box::new((request.clone(), fresh))));
                self.open_write(name, first, AppendKind::Plain, Job::Beat(beaten), out);
            }
            Ok((Writes { rest, .. }, mut beaten)) => {
                beaten.rest = rest;
                self.go_on_with_beat(now, name, beaten, out);
            }
            Err((token, error)) => {
                out.push(Output::Answer { token, reply: Reply::ConsumerHeartbeat(Err(error)) });
            }
        }
    }

    /// What was written of a heartbeat so far is in the log.
    pub(crate) fn go_on_with_beat(
        &mut self,
        now: Millis,
        name: &Name,
        mut beaten: Beaten<T>,
        out: &mut Vec<Output<T>>,
    ) {
        match beaten.rest.pop_front() {
            Some(next) => {
                self.open_write(name, next, AppendKind::Plain, Job::Beat(beaten), out);
            }
            None => self.settle_beat(now, name, beaten, out),
        }
    }

    /// A write of a heartbeat is not in the log.
    pub(crate) fn fail_beat(
        &mut self,
        now: Millis,
        name: &Name,
        beaten: Beaten<T>,
        error: GroupError,
        out: &mut Vec<Output<T>>,
    ) {
        let Beaten { token, timers, again, rest, .. } = beaten;
        if let (Some(again), Some(regex)) = (again, &beaten.regex) {
            let (request, fresh) = *again;
            let time_of_day = self.time_of_day(now);
            // What an expression stands for is too much, or not now: the heartbeat goes on without.
            if let Some(Entry { group: Group::Consumer(live), .. }) = self.groups.get_mut(name) {
                live.group.note_failed(regex.clone(), time_of_day);
            }
            drop(rest);
            let decided = self.decide_beat(now, token, name, (&request, fresh), Look::Away);
            return self.write_beat(now, name, (&request, fresh), decided, out);
        }
        // Its member was heard all the same.
        let live = |member_id: &str| match self.groups.get(name).map(|entry| &entry.group) {
            Some(Group::Consumer(live)) => live.group.has_member(member_id),
            Some(Group::Classic(_)) | None => false,
        };
        let heard =
            |timer: &Timer| matches!(timer, Timer::Session { member_id, .. } if live(member_id));
        let heard = timers.into_iter().filter(heard).collect();
        self.set_timers(now, name, heard);
        out.push(Output::Answer { token, reply: Reply::ConsumerHeartbeat(Err(error)) });
    }

    fn decide_beat(
        &self,
        now: Millis,
        token: T,
        name: &Name,
        (request, fresh): (&Heartbeat, FreshId),
        mut look: Look<'_>,
    ) -> Result<(Writes, Beaten<T>), (T, GroupError)> {
        let time_of_day = self.time_of_day(now);
        let mut regex = None;
        let mut decide = || {
            let settings = &self.settings_of(name).ok_or(GroupError::ConsumerProtocolOff)?;
            request.check(name.as_str(), settings)?;
            let made;
            let (mut records, mut sessions, mut turn) = (Vec::new(), Vec::new(), Turn::Stays);
            let group = match self.groups.get(name).map(|entry| &entry.group) {
                Some(Group::Consumer(live)) => &live.group,
                Some(Group::Classic(classic))
                    if classic.state() != State::Empty && request.member_epoch == 0 =>
                {
                    (made, records) = self.upgraded(name, classic, settings)?;
                    sessions = made.timers_on_load(settings);
                    turn = Turn::Up;
                    &made
                }
                other if request.member_epoch == 0 => {
                    // An empty classic group gives way.
                    if other.is_some() {
                        records.push(Record::Group { group: name.clone(), value: None });
                    }
                    made = ConsumerGroup::new(name.as_str());
                    &made
                }
                Some(Group::Classic(_)) | None => {
                    return Err(GroupError::GroupNotFound { group: name.clone() });
                }
            };
            let HeartbeatDecision { records: more, reply, mut timers } =
                self.with_topics(|topics| {
                    let look = |group: &ConsumerGroup| {
                        let Look::On(begun) = &mut look else { return None };
                        let found = group.look_on(begun, time_of_day, request, topics, settings)?;
                        regex = Some(found.regex.clone());
                        Some(found)
                    };
                    let fresh = fresh.bytes();
                    group.heartbeat_with(time_of_day, request, topics, settings, fresh, look)
                })?;
            if let (LEFT, Some((records, turn))) =
                (request.member_epoch, self.downgraded_by_leave(now, name, &request.member_id))
            {
                return Ok((Writes::whole(records), reply, Vec::new(), turn));
            }
            sessions.append(&mut timers);
            let writes = match turn {
                Turn::Stays => Writes::of(name, records, &more)?,
                // It goes over as a whole or not at all.
                Turn::Up | Turn::Down { .. } => {
                    records.append(&mut logged(name, &more)?);
                    Writes::whole(records)
                }
            };
            Ok((writes, reply, sessions, turn))
        };
        match decide() {
            Ok((writes, reply, timers, turn)) => {
                if let (Look::On(begun), Some(_)) = (look, &regex) {
                    *begun = None;
                }
                let rest = VecDeque::new();
                Ok((writes, Beaten { token, reply, timers, turn, rest, again: None, regex }))
            }
            Err(error) => Err((token, error)),
        }
    }

    /// The records of a heartbeat are in the log, or there were none.
    pub(crate) fn settle_beat(
        &mut self,
        now: Millis,
        name: &Name,
        beaten: Beaten<T>,
        out: &mut Vec<Output<T>>,
    ) {
        let Beaten { token, reply, timers, turn, .. } = beaten;
        self.set_timers(now, name, timers);
        out.push(Output::Answer { token, reply: Reply::ConsumerHeartbeat(Ok(reply)) });
        self.after_turn(now, name, turn, out);
    }

    pub(crate) fn set_timers(&mut self, now: Millis, name: &Name, timers: Vec<Timer>) {
        if let Some(Entry { group: Group::Consumer(live), .. }) = self.groups.get_mut(name) {
            live.set(now, timers);
        }
        self.reschedule(name);
    }

    /// The partition was read: sessions begin anew.
    pub(crate) fn arm_consumer(&mut self, now: Millis, name: &Name) {
        let Some(Entry { group: Group::Consumer(live), .. }) = self.groups.get(name) else {
            return;
        };
        let Some(settings) = self.settings_of(name) else { return };
        let timers = live.group.timers_on_load(&settings);
        self.set_timers(now, name, timers);
    }

    /// One timer of the group has run out; the next comes when this one is logged.
    pub(crate) fn expire_consumer(&mut self, now: Millis, name: &Name, out: &mut Vec<Output<T>>) {
        let topics = self.surroundings.topics.clone();
        let none = TopicList::default();
        let topics: &dyn TopicsImage = match &topics {
            Some(topics) => topics.as_ref(),
            None => &none,
        };
        while let Some(Entry { group: Group::Consumer(live), .. }) = self.groups.get_mut(name) {
            let Some(Expired { member_id, departure, again }) = live.expire(now, topics) else {
                break;
            };
            let Departure { records, timers } = departure;
            let mut records = logged(name, &records).unwrap_or_default();
            if !records.is_empty() {
                let mut turn = Turn::Stays;
                if let Some((down, to_classic)) = self.downgraded_by_leave(now, name, &member_id) {
                    (records, turn) = (down, to_classic);
                }
                let job = Job::Depart { gone: timers, again, turn };
                return self.open_write(name, records, AppendKind::Plain, job, out);
            }
        }
        self.reschedule(name);
    }

    /// The group as a classic one, if this member was the last that spoke KIP-848.
    fn downgraded_by_leave(
        &self,
        now: Millis,
        name: &Name,
        member_id: &String,
    ) -> Option<(Vec<Record>, Turn)> {
        match self.groups.get(name).map(|entry| &entry.group) {
            Some(Group::Consumer(live)) => {
                self.downgraded(now, name, live, core::slice::from_ref(member_id))
            }
            Some(Group::Classic(_)) | None => None,
        }
    }

    /// Who may commit what; offsets are refused one by one where a partition is not the member's.
    pub(crate) fn consumer_may_commit(
        &self,
        group: &Name,
        membership: &Membership,
        dialect: Option<CommitDialect>,
        offset: &NewOffset,
    ) -> Result<(), GroupError> {
        let Some(Group::Consumer(live)) = self.groups.get(group).map(|entry| &entry.group) else {
            return Ok(());
        };
        let rule = check_commit(live, group, membership, dialect)?;
        let topic = offset.topic_id.or_else(|| {
            self.with_topics(|topics| topics.topic(offset.topic.as_str()).map(|topic| topic.id))
        });
        // A topic that nobody knows is nobody's.
        let id = topic.unwrap_or(hanbeon_records::TopicId::ZERO);
        rule.admits(id, offset.partition).map_err(|error| in_words_of(dialect, group, error))
    }
}

/// Who commits. `dialect` is that of an `OffsetCommit`, none is a `TxnOffsetCommit`.
pub(crate) fn check_commit<'a>(
    live: &'a Live,
    group: &Name,
    membership: &Membership,
    dialect: Option<CommitDialect>,
) -> Result<CommitRule<'a>, GroupError> {
    let api = match dialect {
        None => CommitApi::TxnOffsetCommit,
        Some(CommitDialect::Epochs) => CommitApi::OffsetCommit { version: 9 },
        Some(CommitDialect::Generations) => CommitApi::OffsetCommit { version: 8 },
    };
    let claim = CommitClaim {
        member_id: membership.member_id.as_str(),
        instance_id: membership.instance_id.as_ref().map(Name::as_str),
        member_epoch: membership.generation,
        api,
    };
    live.group.check_commit(&claim).map_err(|error| in_words_of(dialect, group, error))
}

/// `TxnOffsetCommit` has no word for a stale member epoch.
fn in_words_of(dialect: Option<CommitDialect>, group: &Name, error: ConsumerError) -> GroupError {
    if let (ConsumerError::StaleMemberEpoch { current, got, .. }, None) = (&error, dialect) {
        let (current, found) = (*current, *got);
        return GroupError::IllegalGeneration { group: group.clone(), current, found };
    }
    GroupError::Consumer(error)
}

/// Records with their bytes.
pub(crate) fn logged(group: &Name, records: &[ConsumerRecord]) -> Result<Vec<Record>, GroupError> {
    let mut out = vec![];
    for record in records {
        let too_long = |_| {
            GroupError::Consumer(ConsumerError::InvalidRequest(
                crate::consumer::InvalidField::TooLong,
            ))
        };
        let key = record.key().map_err(too_long)?;
        let value = record.value().map_err(too_long)?;
        let key_type = match *key.as_slice() {
            [high, low, ..] => i16::from_be_bytes([high, low]),
            _ => 0,
        };
        let (key, value) = (key.into(), value.map(Into::into));
        out.push(Record::Consumer { group: group.clone(), key_type, key, value });
    }
    Ok(out)
}
