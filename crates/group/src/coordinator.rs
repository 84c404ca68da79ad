//! The coordinator: which request goes to which group, which write is undecided, what time brings.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use hanbeon_records::{ErrorCode, Millis, Offset, Outcome, ProducerId};

use crate::{
    AppendKind, Commit, CommitInTxn, DeleteOffsets, FreshId, GroupError, Join, JoinRefused, Leave,
    Name, Output, Record, Reply, Settings, Speaker, Sync, WriteId,
    classic::Classic,
    consumer::Timer,
    forget::Doomed,
    gate::{Gate, Request},
    live::{Beaten, Live, Surroundings},
    migration::{Served, Turn},
    offsets::Offsets,
    step::{Plan, Step, Then},
};

/// One partition of `__consumer_offsets`: the groups in it and their offsets.
///
/// `T` is the caller's token of a parked request; each token handed in comes back exactly once in an [`Output::Answer`].
/// A new coordinator is loading: [`replay`](Self::replay) the partition, then say [`loaded`](Self::loaded).
#[derive(Debug)]
pub struct Coordinator<T> {
    pub(crate) settings: Settings,
    pub(crate) phase: Phase,
    pub(crate) groups: BTreeMap<Name, Entry<T>>,
    pub(crate) gates: BTreeMap<Name, Gate<T>>,
    pub(crate) undecided: BTreeMap<WriteId, Write<T>>,
    next_write: u64,
    /// Producers with pending offsets, and in which groups.
    pub(crate) open: BTreeMap<ProducerId, BTreeSet<Name>>,
    /// Markers that overtook the news of a write before them.
    early_markers: BTreeMap<ProducerId, Vec<(Offset, Outcome)>>,
    /// Groups that time will change, by when at the earliest.
    deadlines: BTreeSet<(Millis, Name)>,
    next_sweep: Millis,
    /// How far the time of day is ahead of what calls say.
    ahead_ms: i64,
    pub(crate) skipped: u64,
    pub(crate) surroundings: Surroundings,
}

/// Whether the partition has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Loading,
    Active,
}

/// A group and its offsets.
#[derive(Debug)]
pub(crate) struct Entry<T> {
    pub(crate) group: Group<T>,
    pub(crate) offsets: Offsets,
    /// Its place in `deadlines`.
    due: Option<Millis>,
}

/// A group by its protocol.
#[derive(Debug)]
pub(crate) enum Group<T> {
    Classic(Classic<T>),
    Consumer(Live),
}

/// A write that the log has not decided.
#[derive(Debug)]
pub(crate) struct Write<T> {
    pub(crate) group: Name,
    pub(crate) records: Vec<Record>,
    pub(crate) job: Job<T>,
}

/// What a write is for.
#[derive(Debug)]
pub(crate) enum Job<T> {
    /// Makes the group; the `JoinGroup` that asked for it is the first in the gate's queue.
    Found,
    /// Writes membership as it is.
    Membership(Then<T>),
    /// Commits offsets, in a transaction of this producer or in none.
    Commit { token: T, results: Vec<Result<(), GroupError>>, producer_id: Option<ProducerId> },
    /// Deletes offsets for a client, and what did not fit into this write with the next.
    DeleteOffsets { token: T, results: Vec<Result<(), GroupError>>, rest: Doomed },
    /// What a heartbeat of a KIP-848 group changes.
    Beat(Beaten<T>),
    /// Takes out a member of a KIP-848 group that time has caught up with.
    Depart { gone: Vec<Timer>, again: Timer, turn: Turn },
    /// What a member that speaks the classic protocol changes about a KIP-848 group.
    Serve(Served<T>),
    /// Deletes the group for a client, and what did not fit into this write with the next.
    DeleteGroup { token: T, rest: Doomed },
    /// Deletes what time or the end of a topic has made useless; nobody waits.
    Forget { rest: Doomed },
}

impl<T> Group<T> {
    /// Whether a member may be reading a topic.
    pub(crate) fn reads(&self, topic: &Name) -> bool {
        match self {
            Self::Classic(classic) => classic.is_subscribed(topic),
            Self::Consumer(live) => live.group.is_subscribed(topic.as_str()),
        }
    }
}

impl<T> Entry<T> {
    pub(crate) fn new(group: Group<T>) -> Self {
        Self { group, offsets: Offsets::default(), due: None }
    }
}

impl<T> Coordinator<T> {
    /// A coordinator that is about to read its partition.
    #[must_use]
    pub const fn new(settings: Settings) -> Self {
        Self {
            settings,
            phase: Phase::Loading,
            groups: BTreeMap::new(),
            gates: BTreeMap::new(),
            undecided: BTreeMap::new(),
            next_write: 0,
            open: BTreeMap::new(),
            early_markers: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            next_sweep: Millis::new(i64::MAX),
            ahead_ms: 0,
            skipped: 0,
            surroundings: Surroundings::new(),
        }
    }

    /// Other limits and times from now on; timers that run keep their time.
    pub const fn set_settings(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// Tells the time of day, which is written into the log and compared with what stands there. `now`, which every call says, measures how
    /// long something lasts: what never goes back nor leaps is right for it. Both are the same until they are told apart.
    pub const fn set_time_of_day(&mut self, now: Millis, time_of_day: Millis) {
        self.ahead_ms = time_of_day.since(now);
    }

    pub(crate) const fn time_of_day(&self, now: Millis) -> Millis {
        now.saturating_add(self.ahead_ms)
    }

    /// The partition was read: sessions of the members in it begin, requests are served.
    pub fn loaded(&mut self, now: Millis, out: &mut Vec<Output<T>>) {
        self.phase = Phase::Active;
        self.next_sweep =
            now.saturating_add(self.settings.offsets_retention_check_interval_ms.max(1));
        let names: Vec<_> = self.groups.keys().cloned().collect();
        for name in names {
            self.with_classic(now, &name, out, |classic, step| classic.arm(step));
            self.arm_consumer(now, &name);
            // One that writes already comes with the next sweep.
            if !self.gates.contains_key(&name) {
                self.forget_orphans(&name, out);
            }
        }
    }

    /// `JoinGroup`. `fresh` becomes part of the member's id if it needs one.
    pub fn join(
        &mut self,
        now: Millis,
        token: T,
        request: Join,
        fresh: FreshId,
        out: &mut Vec<Output<T>>,
    ) {
        self.submit(now, Request::Join(token, request, fresh), out);
    }

    /// `SyncGroup`.
    pub fn sync(&mut self, now: Millis, token: T, request: Sync, out: &mut Vec<Output<T>>) {
        self.submit(now, Request::Sync(token, request), out);
    }

    /// `Heartbeat`.
    pub fn heartbeat(&mut self, now: Millis, token: T, speaker: Speaker, out: &mut Vec<Output<T>>) {
        self.submit(now, Request::Heartbeat(token, speaker), out);
    }

    /// `LeaveGroup`.
    pub fn leave(&mut self, now: Millis, token: T, request: Leave, out: &mut Vec<Output<T>>) {
        self.submit(now, Request::Leave(token, request), out);
    }

    /// `OffsetCommit`.
    pub fn commit_offsets(
        &mut self,
        now: Millis,
        token: T,
        request: Commit,
        out: &mut Vec<Output<T>>,
    ) {
        self.submit(now, Request::Commit(token, request), out);
    }

    /// `TxnOffsetCommit`, once the transaction's coordinator has confirmed or added this partition.
    pub fn commit_txn_offsets(
        &mut self,
        now: Millis,
        token: T,
        request: CommitInTxn,
        out: &mut Vec<Output<T>>,
    ) {
        self.submit(now, Request::CommitInTxn(token, request), out);
    }

    /// `OffsetDelete`.
    pub fn delete_offsets(
        &mut self,
        now: Millis,
        token: T,
        request: DeleteOffsets,
        out: &mut Vec<Output<T>>,
    ) {
        self.submit(now, Request::DeleteOffsets(token, request), out);
    }

    /// One group of `DeleteGroups`.
    pub fn delete_group(&mut self, now: Millis, token: T, group: Name, out: &mut Vec<Output<T>>) {
        self.submit(now, Request::DeleteGroup(token, group), out);
    }

    /// Partitions are gone for good: their offsets go too, and those that transactions still hold.
    pub fn partitions_deleted(
        &mut self,
        now: Millis,
        partitions: &[(Name, i32)],
        out: &mut Vec<Output<T>>,
    ) {
        let holds = |entry: &Entry<T>| {
            partitions.iter().any(|(topic, _)| !entry.offsets.partitions_of(topic).is_empty())
        };
        let held = self.groups.iter().filter(|(_, entry)| holds(entry)).map(|(name, _)| name);
        // Offsets that are being written count as well, also the first of their group.
        let coming = self.gates.iter().filter(|(_, gate)| !gate.commits.is_empty());
        let names: BTreeSet<_> = held.chain(coming.map(|(name, _)| name)).cloned().collect();
        for name in names {
            self.submit(now, Request::Forget(name, partitions.to_vec()), out);
        }
    }

    /// A transaction's marker is in the log at `position`: what the producer left pending before it becomes visible or goes.
    ///
    /// Answer the `WriteTxnMarkers` request only after this (KAFKA-17507).
    pub fn marker_written(&mut self, producer_id: ProducerId, outcome: Outcome, position: Offset) {
        self.end_txn(producer_id, outcome, position);
        let before = |write: &Write<T>| matches!(write.job, Job::Commit { producer_id: Some(id), .. } if id == producer_id);
        if self.undecided.values().any(before) {
            self.early_markers.entry(producer_id).or_default().push((position, outcome));
        }
    }

    pub(crate) fn end_txn(&mut self, producer_id: ProducerId, outcome: Outcome, position: Offset) {
        for name in self.open.remove(&producer_id).unwrap_or_default() {
            if let Some(entry) = self.groups.get_mut(&name) {
                entry.offsets.end(producer_id, outcome, position);
                if entry.offsets.has_pending() {
                    self.open.entry(producer_id).or_default().insert(name);
                }
            }
        }
    }

    /// What became of a write: the offset of its first record once the batch is committed, or why it is not in the log.
    pub fn appended(
        &mut self,
        now: Millis,
        write: WriteId,
        result: Result<Offset, ErrorCode>,
        out: &mut Vec<Output<T>>,
    ) {
        let Some(Write { group, records, job }) = self.undecided.remove(&write) else { return };
        if let Some(gate) = self.gates.get_mut(&group) {
            if gate.exclusive == Some(write) {
                gate.exclusive = None;
                self.reschedule(&group);
            } else {
                gate.commits.remove(&write);
            }
        }
        let result = result.map_err(|was| GroupError::NotWritten { was });
        match job {
            Job::Membership(then) => {
                let result = result.map(|_| ());
                self.with_classic(now, &group, out, |classic, step| {
                    classic.decided(step, then, result);
                });
            }
            other @ (Job::Found
            | Job::Commit { .. }
            | Job::DeleteOffsets { .. }
            | Job::DeleteGroup { .. }
            | Job::Beat(_)
            | Job::Depart { .. }
            | Job::Serve(_)
            | Job::Forget { .. }) => {
                let producer_id = match &other {
                    Job::Commit { producer_id, .. } => *producer_id,
                    Job::Found
                    | Job::Membership(_)
                    | Job::DeleteOffsets { .. }
                    | Job::DeleteGroup { .. }
                    | Job::Beat(_)
                    | Job::Depart { .. }
                    | Job::Serve(_)
                    | Job::Forget { .. } => None,
                };
                if let Ok(base) = result {
                    if let Job::Beat(Beaten { turn, .. }) = &other {
                        self.before_turn(now, &group, turn, out);
                    }
                    let mut position = base;
                    for record in &records {
                        self.apply(record, position, producer_id);
                        position = position.saturating_add(1);
                    }
                }
                if let Some(producer_id) = producer_id {
                    self.catch_up_with_markers(producer_id);
                }
                self.settle(now, other, &group, result.map(|_| ()), out);
            }
        }
        self.reopen(now, &group, out);
    }

    fn catch_up_with_markers(&mut self, producer_id: ProducerId) {
        let Some(markers) = self.early_markers.remove(&producer_id) else { return };
        for (position, outcome) in &markers {
            self.end_txn(producer_id, *outcome, *position);
        }
        let left = self.undecided.values().any(|write| {
            matches!(write.job, Job::Commit { producer_id: Some(id), .. } if id == producer_id)
        });
        if left {
            self.early_markers.insert(producer_id, markers);
        }
    }

    fn settle(
        &mut self,
        now: Millis,
        job: Job<T>,
        group: &Name,
        result: Result<(), GroupError>,
        out: &mut Vec<Output<T>>,
    ) {
        let mut answer = |token, reply| out.push(Output::Answer { token, reply });
        match job {
            Job::Commit { token, results, .. } => {
                answer(token, Reply::Commit(result.map(|()| results)));
            }
            Job::DeleteOffsets { token, results, rest } if result.is_ok() && !rest.is_empty() => {
                let job = |rest| Job::DeleteOffsets { token, results, rest };
                self.write_doomed(group, rest, job, out);
            }
            Job::DeleteOffsets { token, results, .. } => {
                answer(token, Reply::DeleteOffsets(result.map(|()| results)));
            }
            Job::DeleteGroup { token, rest } if result.is_ok() && !rest.is_empty() => {
                self.write_doomed(group, rest, |rest| Job::DeleteGroup { token, rest }, out);
            }
            Job::DeleteGroup { token, .. } => answer(token, Reply::DeleteGroup(result)),
            Job::Forget { rest } if result.is_ok() && !rest.is_empty() => {
                self.write_doomed(group, rest, |rest| Job::Forget { rest }, out);
            }
            Job::Beat(beaten) => match result {
                Ok(()) => self.go_on_with_beat(now, group, beaten.wrote(), out),
                Err(error) => self.fail_beat(now, group, beaten, error, out),
            },
            Job::Depart { gone, turn, .. } if result.is_ok() => {
                self.set_timers(now, group, gone);
                self.after_turn(now, group, turn, out);
            }
            Job::Depart { again, .. } => self.set_timers(now, group, Vec::from([again])),
            Job::Serve(served) => match result {
                Ok(()) => self.settle_served(now, group, served, out),
                Err(error) => {
                    let (token, reply) = served.refused(error);
                    answer(token, reply);
                }
            },
            Job::Found => {
                let first = match (&result, self.gates.get_mut(group)) {
                    (Err(_), Some(gate)) => gate.queue.pop_front(),
                    (Ok(()), _) | (Err(_), None) => None,
                };
                if let (Err(error), Some(Request::Join(token, request, _))) = (result, first) {
                    let member_id = request.member_id;
                    answer(token, Reply::Join(Err(JoinRefused { error, member_id })));
                }
            }
            Job::Membership(_) | Job::Forget { .. } => {}
        }
    }

    /// When [`tick`](Self::tick) shall be called at the latest; it may then find that there is nothing to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Millis> {
        if self.phase == Phase::Loading {
            return None;
        }
        let first = self.deadlines.first().map(|(at, _)| *at);
        Some(first.map_or(self.next_sweep, |at| at.min(self.next_sweep)))
    }

    /// Lets everything happen whose time has come.
    pub fn tick(&mut self, now: Millis, out: &mut Vec<Output<T>>) {
        if self.phase == Phase::Loading {
            return;
        }
        while let Some((at, name)) = self.deadlines.first().cloned() {
            if at > now {
                break;
            }
            self.deadlines.remove(&(at, name.clone()));
            if let Some(entry) = self.groups.get_mut(&name) {
                entry.due = None;
            }
            self.with_classic(now, &name, out, |classic, step| classic.tick(step));
            self.expire_consumer(now, &name, out);
        }
        if self.next_sweep <= now {
            self.next_sweep =
                now.saturating_add(self.settings.offsets_retention_check_interval_ms.max(1));
            self.sweep(self.time_of_day(now), out);
        }
    }

    /// Leadership is lost, or the partition is closed: everybody who waits is told to look for the coordinator again.
    pub fn resign(self, out: &mut Vec<Output<T>>) {
        for write in self.undecided.into_values() {
            answer_job(write.job, out);
        }
        for gate in self.gates.into_values() {
            for request in gate.queue {
                refuse(request, GroupError::NotCoordinator, out);
            }
        }
        for entry in self.groups.into_values() {
            match entry.group {
                Group::Classic(classic) => classic.resign(out),
                Group::Consumer(_) => {}
            }
        }
    }

    pub(crate) fn submit(&mut self, now: Millis, request: Request<T>, out: &mut Vec<Output<T>>) {
        if let Err(error) = self.check_early(&request) {
            return refuse(request, error, out);
        }
        if self.phase == Phase::Loading {
            // Members outlive the fail-over of their coordinator.
            if let Request::Heartbeat(token, _) = request {
                return out.push(Output::Answer { token, reply: Reply::Heartbeat(Ok(())) });
            }
            return refuse(request, GroupError::Loading, out);
        }
        if !self.has_room_for(&request) {
            let max = self.settings.groups_max;
            return refuse(request, GroupError::TooManyGroups { max }, out);
        }
        if let Some(gate) = self.gates.get_mut(request.group())
            && (!gate.queue.is_empty() || !gate.admits(&request))
        {
            return gate.queue.push_back(request);
        }
        self.run(now, request, out);
    }

    /// Whether the request is about a group that is there, or may make one.
    fn has_room_for(&self, request: &Request<T>) -> bool {
        match request {
            Request::Join(..)
            | Request::Beat(..)
            | Request::Commit(..)
            | Request::CommitInTxn(..) => {
                self.groups.len() < self.settings.groups_max
                    || self.groups.contains_key(request.group())
            }
            Request::Sync(..)
            | Request::Heartbeat(..)
            | Request::Leave(..)
            | Request::DeleteOffsets(..)
            | Request::DeleteGroup(..)
            | Request::Forget(..) => true,
        }
    }

    /// What can be said without looking at the group.
    fn check_early(&self, request: &Request<T>) -> Result<(), GroupError> {
        match request {
            // Kafka keeps these open to the empty group id, under which very old consumers commit.
            Request::Commit(..) | Request::DeleteGroup(..) | Request::Forget(..) => Ok(()),
            // Its own check calls the empty group id by another name.
            Request::Beat(_, group, beat, _) => match self.settings_of(group) {
                Some(settings) => Ok(beat.check(group.as_str(), &settings)?),
                None => Err(GroupError::ConsumerProtocolOff),
            },
            Request::Join(..)
            | Request::Sync(..)
            | Request::Heartbeat(..)
            | Request::Leave(..)
            | Request::CommitInTxn(..)
            | Request::DeleteOffsets(..)
                if request.group().is_empty() =>
            {
                Err(GroupError::InvalidGroupId)
            }
            Request::Join(_, join, _) => self.check_join(join),
            Request::Sync(..)
            | Request::Heartbeat(..)
            | Request::Leave(..)
            | Request::CommitInTxn(..)
            | Request::DeleteOffsets(..) => Ok(()),
        }
    }

    fn check_join(&self, join: &Join) -> Result<(), GroupError> {
        let Settings { session_timeout_ms_min: min, session_timeout_ms_max: max, .. } =
            self.settings;
        let found = join.session_timeout_ms;
        if found < min || found > max {
            return Err(GroupError::InvalidSessionTimeout { found, min, max });
        }
        let (found, max) = (join.kept_bytes(), self.settings.member_bytes_max);
        if found > max {
            return Err(GroupError::MemberTooLarge { group: join.group.clone(), found, max });
        }
        Ok(())
    }

    fn run(&mut self, now: Millis, request: Request<T>, out: &mut Vec<Output<T>>) {
        match request {
            Request::Join(token, request, fresh) => self.run_join(now, token, request, fresh, out),
            Request::Sync(token, request) => self.run_sync(now, token, request, out),
            Request::Heartbeat(token, speaker) => self.run_heartbeat(now, token, &speaker, out),
            Request::Beat(token, group, request, fresh) => {
                self.run_beat(now, token, &group, &request, fresh, out);
            }
            Request::Leave(token, request) => self.run_leave(now, token, request, out),
            Request::Commit(token, request) => self.run_commit(now, token, request, out),
            Request::CommitInTxn(token, request) => {
                self.run_commit_in_txn(now, token, request, out);
            }
            Request::DeleteOffsets(token, request) => {
                self.run_delete_offsets(token, &request, out);
            }
            Request::DeleteGroup(token, group) => self.run_delete_group(token, &group, out),
            Request::Forget(group, partitions) => self.run_forget(&group, &partitions, out),
        }
    }

    /// Lets those go on who waited for a write, as far as there is no other.
    fn reopen(&mut self, now: Millis, group: &Name, out: &mut Vec<Output<T>>) {
        while let Some(gate) = self.gates.get_mut(group) {
            match gate.queue.front() {
                Some(first) if gate.admits(first) => {}
                Some(_) => return,
                None => break,
            }
            if let Some(request) = gate.queue.pop_front() {
                self.run(now, request, out);
            }
        }
        if self.gates.get(group).is_some_and(Gate::is_idle) {
            self.gates.remove(group);
        }
    }

    /// Opens a write of `group`: the gate closes for what depends on it.
    pub(crate) fn open_write(
        &mut self,
        group: &Name,
        records: Vec<Record>,
        kind: AppendKind,
        job: Job<T>,
        out: &mut Vec<Output<T>>,
    ) {
        let write = WriteId::new(self.next_write);
        self.next_write = self.next_write.wrapping_add(1);
        let gate = self.gates.entry(group.clone()).or_default();
        match &job {
            Job::Commit { .. } => {
                gate.commits.insert(write);
            }
            Job::Found
            | Job::Membership(_)
            | Job::DeleteOffsets { .. }
            | Job::DeleteGroup { .. }
            | Job::Beat(_)
            | Job::Depart { .. }
            | Job::Serve(_)
            | Job::Forget { .. } => {
                gate.exclusive = Some(write);
                self.reschedule(group);
            }
        }
        out.push(Output::Append { write, records: records.clone(), kind });
        self.undecided.insert(write, Write { group: group.clone(), records, job });
    }

    /// Runs `act` on a classic group, writes what it asks for, and looks when time will change it.
    /// Returns whether there is such a group.
    pub(crate) fn with_classic(
        &mut self,
        now: Millis,
        name: &Name,
        out: &mut Vec<Output<T>>,
        act: impl FnOnce(&mut Classic<T>, &mut Step<'_, T>),
    ) {
        let time_of_day = self.time_of_day(now);
        let Some(Entry { group: Group::Classic(classic), .. }) = self.groups.get_mut(name) else {
            return;
        };
        let (settings, group) = (self.settings, name.clone());
        let mut step = Step { now, time_of_day, settings, group, out: &mut *out, plan: None };
        act(classic, &mut step);
        match step.plan.take() {
            Some(Plan { value, then }) => {
                let record = Record::Group { group: name.clone(), value: Some(value) };
                let records = Vec::from([record]);
                self.open_write(name, records, AppendKind::Plain, Job::Membership(then), out);
            }
            None => self.reschedule(name),
        }
    }

    /// Notes when time will change the group; never while a write of its membership is undecided.
    pub(crate) fn reschedule(&mut self, name: &Name) {
        let closed = self.gates.get(name).is_some_and(|gate| gate.exclusive.is_some());
        let Some(entry) = self.groups.get_mut(name) else { return };
        let due = match &entry.group {
            Group::Classic(classic) if !closed => classic.deadline(),
            Group::Consumer(live) if !closed => live.deadline(),
            Group::Classic(_) | Group::Consumer(_) => None,
        };
        if due == entry.due {
            return;
        }
        if let Some(before) = core::mem::replace(&mut entry.due, due) {
            self.deadlines.remove(&(before, name.clone()));
        }
        if let Some(at) = due {
            self.deadlines.insert((at, name.clone()));
        }
    }

    /// Takes a group out with its place among the deadlines.
    pub(crate) fn drop_group(&mut self, name: &Name) {
        if let Some(entry) = self.groups.remove(name)
            && let Some(at) = entry.due
        {
            self.deadlines.remove(&(at, name.clone()));
        }
    }
}

fn answer_job<T>(job: Job<T>, out: &mut Vec<Output<T>>) {
    let lost = GroupError::NotCoordinator;
    match job {
        Job::Commit { token, .. } => {
            out.push(Output::Answer { token, reply: Reply::Commit(Err(lost)) });
        }
        Job::DeleteOffsets { token, .. } => {
            out.push(Output::Answer { token, reply: Reply::DeleteOffsets(Err(lost)) });
        }
        Job::DeleteGroup { token, .. } => {
            out.push(Output::Answer { token, reply: Reply::DeleteGroup(Err(lost)) });
        }
        Job::Beat(Beaten { token, .. }) => {
            out.push(Output::Answer { token, reply: Reply::ConsumerHeartbeat(Err(lost)) });
        }
        Job::Serve(served) => {
            let (token, reply) = served.refused(lost);
            out.push(Output::Answer { token, reply });
        }
        Job::Membership(Then::Emptied { answers }) => {
            for (token, _) in answers {
                out.push(Output::Answer { token, reply: Reply::Leave(Err(lost.clone())) });
            }
        }
        Job::Membership(Then::Replaced { token, by, .. }) => {
            let refused = JoinRefused { error: lost, member_id: by.member_id };
            out.push(Output::Answer { token, reply: Reply::Join(Err(refused)) });
        }
        Job::Membership(Then::Assigned { .. })
        | Job::Found
        | Job::Depart { .. }
        | Job::Forget { .. } => {}
    }
}

/// Answers a request that has not begun.
pub(crate) fn refuse<T>(request: Request<T>, error: GroupError, out: &mut Vec<Output<T>>) {
    let (token, reply) = match request {
        Request::Join(token, request, _) => {
            (token, Reply::Join(Err(JoinRefused { error, member_id: request.member_id })))
        }
        Request::Sync(token, _) => (token, Reply::Sync(Err(error))),
        Request::Heartbeat(token, _) => (token, Reply::Heartbeat(Err(error))),
        Request::Beat(token, ..) => (token, Reply::ConsumerHeartbeat(Err(error))),
        Request::Leave(token, _) => (token, Reply::Leave(Err(error))),
        Request::Commit(token, _) | Request::CommitInTxn(token, _) => {
            (token, Reply::Commit(Err(error)))
        }
        Request::DeleteOffsets(token, _) => (token, Reply::DeleteOffsets(Err(error))),
        Request::DeleteGroup(token, _) => (token, Reply::DeleteGroup(Err(error))),
        Request::Forget(..) => return,
    };
    out.push(Output::Answer { token, reply });
}
