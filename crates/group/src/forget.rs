//! What ends: offsets and groups that a client deletes, that time makes old, whose topic is gone.

use alloc::{
    collections::{BTreeSet, VecDeque},
    vec::Vec,
};

use hanbeon_records::Millis;

use crate::{
    AppendKind, Coordinator, DeleteOffsets, GroupError, Name, OffsetKeyLayout, OffsetValue, Output,
    Record, Reply, State,
    classic::Classic,
    commit::Standing,
    coordinator::{Entry, Group, Job},
    parts::{PART_BYTES_MAX, len_of},
};

/// What is to be deleted of a group and is not written yet. No other request of the group begins before all of it is.
#[derive(Debug)]
pub(crate) struct Doomed {
    offsets: VecDeque<(Name, i32)>,
    fate: Fate,
}

/// What becomes of a group without these offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Stays,
    /// It ends with the last of them.
    Ends,
}

impl Doomed {
    fn new(offsets: impl IntoIterator<Item = (Name, i32)>, fate: Fate) -> Self {
        Self { offsets: offsets.into_iter().collect(), fate }
    }

    /// Whether everything was written: the end of the group goes with the last offsets.
    pub(crate) fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// As many tombstones as one write holds, at least one.
    fn take_chunk(&mut self, group: &Name) -> Vec<Record> {
        let mut records = Vec::new();
        let mut left = PART_BYTES_MAX;
        while let Some((topic, partition)) = self.offsets.pop_front() {
            let record = tombstone(group, &topic, partition);
            let len = len_of(&record);
            if len > left && !records.is_empty() {
                self.offsets.push_front((topic, partition));
                break;
            }
            left = left.saturating_sub(len);
            records.push(record);
        }
        records
    }
}

/// Remembers what was found for the topic that was asked about last: partitions mostly come by topic.
struct ByTopic<'a, F> {
    find: F,
    last: Option<(&'a Name, bool)>,
}

impl<'a, F: Fn(&Name) -> bool> ByTopic<'a, F> {
    const fn new(find: F) -> Self {
        Self { find, last: None }
    }

    fn of(&mut self, topic: &'a Name) -> bool {
        match self.last {
            Some((last, found)) if last == topic => found,
            _ => {
                let found = (self.find)(topic);
                self.last = Some((topic, found));
                found
            }
        }
    }
}

/// From when an offset's age is counted.
enum Base {
    /// From its commit, or from this moment where it is known.
    Emptied(Option<Millis>),
    /// From its commit.
    Commit,
    /// Not at all: nothing of this group expires now.
    Never,
}

impl<T> Coordinator<T> {
    pub(crate) fn run_delete_offsets(
        &mut self,
        token: T,
        request: &DeleteOffsets,
        out: &mut Vec<Output<T>>,
    ) {
        match self.plan_delete_offsets(request) {
            Err(error) => {
                out.push(Output::Answer { token, reply: Reply::DeleteOffsets(Err(error)) });
            }
            Ok((results, doomed)) if doomed.is_empty() => {
                out.push(Output::Answer { token, reply: Reply::DeleteOffsets(Ok(results)) });
            }
            Ok((results, doomed)) => {
                let job = |rest| Job::DeleteOffsets { token, results, rest };
                self.write_doomed(&request.group, doomed, job, out);
            }
        }
    }

    fn plan_delete_offsets(
        &self,
        request: &DeleteOffsets,
    ) -> Result<(Vec<Result<(), GroupError>>, Doomed), GroupError> {
        let group = &request.group;
        let entry = self
            .groups
            .get(group)
            .ok_or_else(|| GroupError::GroupNotFound { group: group.clone() })?;
        if let Group::Classic(classic) = &entry.group
            && classic.state() != State::Empty
            && !classic.is_consumer_group()
        {
            let state = classic.state();
            return Err(GroupError::NonEmptyGroup { group: group.clone(), state });
        }
        // Each once, however often a request names it.
        let mut doomed = BTreeSet::new();
        let mut results = Vec::new();
        let mut reads = ByTopic::new(|topic: &Name| entry.group.reads(topic));
        for (topic, partition) in &request.partitions {
            if reads.of(topic) {
                results.push(Err(GroupError::SubscribedToTopic {
                    group: group.clone(),
                    topic: topic.clone(),
                }));
                continue;
            }
            let known = entry.offsets.get(topic, *partition).is_some()
                || entry.offsets.is_pending(topic, *partition);
            if known {
                doomed.insert((topic.clone(), *partition));
            }
            results.push(Ok(()));
        }
        Ok((results, Doomed::new(doomed, Fate::Stays)))
    }

    pub(crate) fn run_delete_group(&mut self, token: T, group: &Name, out: &mut Vec<Output<T>>) {
        let refusal = match self.groups.get(group).map(|entry| &entry.group) {
            None => Some(GroupError::GroupNotFound { group: group.clone() }),
            Some(Group::Classic(classic)) => nonempty(group, classic.state()),
            Some(Group::Consumer(live)) => nonempty(group, live.state()),
        };
        if let Some(error) = refusal {
            return out.push(Output::Answer { token, reply: Reply::DeleteGroup(Err(error)) });
        }
        if let Some(entry) = self.groups.get(group) {
            let doomed = Doomed::new(entry.offsets.partitions(), Fate::Ends);
            self.write_doomed(group, doomed, |rest| Job::DeleteGroup { token, rest }, out);
        }
    }

    /// Writes as much of what is to be deleted as one write holds; the job takes the rest with it.
    pub(crate) fn write_doomed(
        &mut self,
        group: &Name,
        mut doomed: Doomed,
        job: impl FnOnce(Doomed) -> Job<T>,
        out: &mut Vec<Output<T>>,
    ) {
        let Some(entry) = self.groups.get(group) else { return };
        let mut records = doomed.take_chunk(group);
        if doomed.is_empty() && doomed.fate == Fate::Ends {
            records.append(&mut end_of(group, &entry.group));
        }
        if !records.is_empty() {
            self.open_write(group, records, AppendKind::Plain, job(doomed), out);
        }
    }

    pub(crate) fn run_forget(
        &mut self,
        group: &Name,
        partitions: &[(Name, i32)],
        out: &mut Vec<Output<T>>,
    ) {
        let Some(entry) = self.groups.get(group) else { return };
        let held = partitions.iter().filter(|(topic, partition)| {
            entry.offsets.get(topic, *partition).is_some()
                || entry.offsets.is_pending(topic, *partition)
        });
        let doomed = Doomed::new(held.cloned(), Fate::Stays);
        self.write_doomed(group, doomed, |rest| Job::Forget { rest }, out);
    }

    /// Forgets the offsets of topics that were deleted when nobody could write that down. What a transaction may yet commit to a later
    /// topic of the name keeps its partition.
    pub(crate) fn forget_orphans(&mut self, group: &Name, out: &mut Vec<Output<T>>) {
        let Some(entry) = self.groups.get(group) else { return };
        let orphans = entry.offsets.partitions_of_which_all(|topic, value| {
            self.standing(topic.as_str(), value.topic_id) != Standing::There
        });
        let doomed = Doomed::new(orphans, Fate::Stays);
        self.write_doomed(group, doomed, |rest| Job::Forget { rest }, out);
    }

    /// Forgets what is too old, in every group that has no undecided write; the others come with the next sweep.
    pub(crate) fn sweep(&mut self, now: Millis, out: &mut Vec<Output<T>>) {
        let quiet: Vec<_> =
            self.groups.keys().filter(|name| !self.gates.contains_key(*name)).cloned().collect();
        for name in quiet {
            let Some(entry) = self.groups.get(&name) else { continue };
            let doomed = self.expired(now, entry);
            self.write_doomed(&name, doomed, |rest| Job::Forget { rest }, out);
        }
    }

    fn expired(&self, now: Millis, entry: &Entry<T>) -> Doomed {
        let base = match &entry.group {
            Group::Classic(classic) => base_of(classic),
            Group::Consumer(_) => Base::Commit,
        };
        let mut offsets = Vec::new();
        let mut kept_offsets = 0_usize;
        let mut reads = ByTopic::new(|topic: &Name| entry.group.reads(topic));
        for (topic, partition, value) in entry.offsets.committed() {
            let gone = self.standing(topic.as_str(), value.topic_id) != Standing::There;
            // Its age costs nothing to look at, and few are old.
            let ends = gone || (self.is_old(now, &base, value) && !reads.of(topic));
            if ends && !entry.offsets.is_pending(topic, partition) {
                offsets.push((topic.clone(), partition));
            } else {
                kept_offsets = kept_offsets.saturating_add(1);
            }
        }
        let deserted = match &entry.group {
            Group::Classic(classic) => {
                classic.state() == State::Empty && !classic.expects_members()
            }
            Group::Consumer(live) => !live.has_members(),
        };
        let ends = deserted && kept_offsets == 0 && !entry.offsets.has_pending();
        Doomed::new(offsets, if ends { Fate::Ends } else { Fate::Stays })
    }

    fn is_old(&self, now: Millis, base: &Base, value: &OffsetValue) -> bool {
        let since = match base {
            Base::Never => return false,
            Base::Commit | Base::Emptied(None) => value.commit_timestamp,
            Base::Emptied(Some(since)) => *since,
        };
        match value.expire_timestamp {
            Some(end) => now >= end,
            None => now.since(since) >= self.settings.offsets_retention_ms,
        }
    }
}

fn base_of<T>(classic: &Classic<T>) -> Base {
    if classic.protocol_type().is_none() {
        return Base::Commit; // a consumer without a group
    }
    match classic.state() {
        State::Empty => Base::Emptied(classic.since()),
        State::Stable if classic.is_consumer_group() && classic.knows_subscriptions() => {
            Base::Commit
        }
        State::Stable
        | State::PreparingRebalance
        | State::CompletingRebalance
        | State::Dead
        | State::Assigning
        | State::Reconciling => Base::Never,
    }
}

fn nonempty(group: &Name, state: State) -> Option<GroupError> {
    (state != State::Empty).then(|| GroupError::NonEmptyGroup { group: group.clone(), state })
}

fn end_of<T>(name: &Name, group: &Group<T>) -> Vec<Record> {
    match group {
        Group::Classic(_) => Vec::from([Record::Group { group: name.clone(), value: None }]),
        Group::Consumer(live) => live.tombstones(name),
    }
}

fn tombstone(group: &Name, topic: &Name, partition: i32) -> Record {
    Record::Offset {
        layout: OffsetKeyLayout::V1,
        group: group.clone(),
        topic: topic.clone(),
        partition,
        value: None,
    }
}
