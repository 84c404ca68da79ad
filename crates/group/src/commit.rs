//! `OffsetCommit`, `TxnOffsetCommit`, `OffsetFetch`.

use alloc::vec::Vec;

use hanbeon_records::{Millis, TopicId};

use crate::{
    AppendKind, Commit, CommitDialect, CommitInTxn, CommittedOffset, Coordinator, Fetch, FetchWhat,
    FetchedOffset, GroupError, Membership, Name, NewOffset, OffsetKeyLayout, OffsetLayout,
    OffsetValue, Output, Record, Reply, Stability, State,
    classic::{Classic, CommitKind},
    coordinator::{Entry, Group, Job, Phase},
    live,
    step::Step,
};

/// Whether a topic is still the one for which an offset was committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// As far as is known.
    There,
    /// None has its name.
    Gone,
    /// A later one has its name.
    Another,
}

impl<T> Coordinator<T> {
    pub(crate) fn run_commit(
        &mut self,
        now: Millis,
        token: T,
        request: Commit,
        out: &mut Vec<Output<T>>,
    ) {
        let Commit { group, membership, dialect, retention_ms, offsets } = request;
        if let Err(error) = self.check_commit(&group, &membership, dialect) {
            return out.push(Output::Answer { token, reply: Reply::Commit(Err(error)) });
        }
        self.renew(now, &group, &membership.member_id, out);
        let commit_timestamp = self.time_of_day(now);
        let expire =
            retention_ms.filter(|ms| *ms >= 0).map(|ms| commit_timestamp.saturating_add(ms));
        let mut records = Vec::new();
        let results = offsets
            .into_iter()
            .map(|offset| {
                self.check_topic(&offset)?;
                self.consumer_may_commit(&group, &membership, Some(dialect), &offset)?;
                // Version 1 is the only one with an expiry; it has no leader epoch and a short note.
                let layout = if expire.is_some() { OffsetLayout::V1 } else { OffsetLayout::V4 };
                self.check_metadata(&offset, layout)?;
                let value = OffsetValue {
                    layout,
                    offset: offset.offset,
                    leader_epoch: offset.leader_epoch,
                    metadata: offset.metadata,
                    commit_timestamp,
                    expire_timestamp: expire,
                    // Nor has it an id: what is known here is what whoever reads the log will know.
                    topic_id: offset.topic_id.filter(|_| layout == OffsetLayout::V4),
                };
                records.push(record(&group, &Name::from(&offset.topic), offset.partition, value));
                Ok(())
            })
            .collect();
        self.log_commit(&group, records, AppendKind::Plain, token, results, out);
    }

    pub(crate) fn run_commit_in_txn(
        &mut self,
        now: Millis,
        token: T,
        request: CommitInTxn,
        out: &mut Vec<Output<T>>,
    ) {
        let CommitInTxn { group, producer_id, producer_epoch, membership, offsets } = request;
        if let Err(error) = self.check_commit_in_txn(&group, &membership) {
            return out.push(Output::Answer { token, reply: Reply::Commit(Err(error)) });
        }
        let commit_timestamp = self.time_of_day(now);
        let mut records = Vec::new();
        let results = offsets
            .into_iter()
            .map(|offset| {
                self.check_topic(&offset)?;
                self.consumer_may_commit(&group, &membership, None, &offset)?;
                self.check_metadata(&offset, OffsetLayout::V4)?;
                let value = OffsetValue {
                    layout: OffsetLayout::V4,
                    offset: offset.offset,
                    leader_epoch: offset.leader_epoch,
                    metadata: offset.metadata,
                    commit_timestamp,
                    expire_timestamp: None,
                    // 4.3.1 leaves it out here and takes it when it reads: without it the offset would pass for one of a later topic.
                    topic_id: offset.topic_id,
                };
                records.push(record(&group, &Name::from(&offset.topic), offset.partition, value));
                Ok(())
            })
            .collect();
        let kind = AppendKind::Transactional { producer_id, producer_epoch };
        self.log_commit(&group, records, kind, token, results, out);
    }

    fn log_commit(
        &mut self,
        group: &Name,
        records: Vec<Record>,
        kind: AppendKind,
        token: T,
        results: Vec<Result<(), GroupError>>,
        out: &mut Vec<Output<T>>,
    ) {
        if records.is_empty() {
            return out.push(Output::Answer { token, reply: Reply::Commit(Ok(results)) });
        }
        let producer_id = match kind {
            AppendKind::Plain => None,
            AppendKind::Transactional { producer_id, .. } => Some(producer_id),
        };
        self.open_write(group, records, kind, Job::Commit { token, results, producer_id }, out);
    }

    /// A topic that was deleted while the request was on its way has no offsets any more.
    fn check_topic(&self, offset: &NewOffset) -> Result<(), GroupError> {
        match (self.standing(offset.topic.as_str(), offset.topic_id), offset.topic_id) {
            (Standing::Another | Standing::Gone, Some(_)) => {
                Err(GroupError::TopicGone { topic: Name::from(&offset.topic) })
            }
            (_, _) => Ok(()),
        }
    }

    /// What became of the topic for which an offset was committed.
    pub(crate) fn standing(&self, topic: &str, id: Option<TopicId>) -> Standing {
        let Some(topics) = self.topics() else { return Standing::There };
        match (topics.topic(topic), id) {
            (None, _) => Standing::Gone,
            (Some(there), Some(id)) if there.id != id => Standing::Another,
            (Some(_), _) => Standing::There,
        }
    }

    fn check_metadata(&self, offset: &NewOffset, layout: OffsetLayout) -> Result<(), GroupError> {
        let max = self.settings.offset_metadata_len_max;
        let found = offset.metadata.encode_utf16().count();
        if found > max {
            return Err(GroupError::MetadataTooLarge { found, max });
        }
        let bytes = offset.metadata.len();
        if layout < OffsetLayout::V4 && bytes > Name::LEN_MAX {
            return Err(GroupError::MetadataTooLarge { found: bytes, max: Name::LEN_MAX });
        }
        Ok(())
    }

    fn check_commit(
        &self,
        group: &Name,
        membership: &Membership,
        dialect: CommitDialect,
    ) -> Result<(), GroupError> {
        match self.groups.get(group).map(|entry| &entry.group) {
            Some(Group::Classic(classic)) => {
                classic.check_commit(group, membership, CommitKind::Plain)
            }
            Some(Group::Consumer(live)) => {
                live::check_commit(live, group, membership, Some(dialect)).map(|_| ())
            }
            None if membership.generation < 0 => Ok(()),
            None => Err(match dialect {
                CommitDialect::Epochs => GroupError::GroupNotFound { group: group.clone() },
                CommitDialect::Generations => GroupError::GenerationOfNoGroup {
                    group: group.clone(),
                    found: membership.generation,
                },
            }),
        }
    }

    fn check_commit_in_txn(&self, group: &Name, membership: &Membership) -> Result<(), GroupError> {
        match self.groups.get(group).map(|entry| &entry.group) {
            Some(Group::Classic(classic)) => {
                classic.check_commit(group, membership, CommitKind::InTxn)
            }
            Some(Group::Consumer(live)) => {
                live::check_commit(live, group, membership, None).map(|_| ())
            }
            None if membership.generation < 0 => Ok(()),
            None => Err(GroupError::GenerationOfNoGroup {
                group: group.clone(),
                found: membership.generation,
            }),
        }
    }

    /// A member that commits is alive.
    fn renew(&mut self, now: Millis, group: &Name, member_id: &Name, out: &mut Vec<Output<T>>) {
        self.touch(now, group, out, |classic, step| {
            if matches!(classic.state(), State::Stable | State::PreparingRebalance) {
                classic.heard(step, member_id);
            }
        });
    }

    /// Runs `act`, which at most puts a session's end off: the group's place among the deadlines stays, as too early is
    /// early enough.
    pub(crate) fn touch(
        &mut self,
        now: Millis,
        name: &Name,
        out: &mut Vec<Output<T>>,
        act: impl FnOnce(&mut Classic<T>, &mut Step<'_, T>),
    ) {
        let (time_of_day, settings) = (self.time_of_day(now), self.settings);
        if let Some(Entry { group: Group::Classic(classic), .. }) = self.groups.get_mut(name) {
            let group = name.clone();
            act(classic, &mut Step { now, time_of_day, settings, group, out, plan: None });
        }
    }

    /// `OffsetFetch` for one group. Changes nothing.
    ///
    /// # Errors
    /// While the partition is loading. A group that nobody knows has no offsets, which is no error.
    pub fn fetch_offsets(&self, request: &Fetch) -> Result<Vec<FetchedOffset>, GroupError> {
        if self.phase == Phase::Loading {
            return Err(GroupError::Loading);
        }
        let entry = self.groups.get(&request.group);
        if let Some(Entry { group: Group::Consumer(live), .. }) = entry
            && let Some((member_id, epoch)) = &request.member
        {
            live.group.check_fetch(Some(member_id.as_str()), *epoch)?;
        }
        let one = |topic: &Name, partition: i32| {
            let unstable = request.stability == Stability::Required
                && self.is_undecided(&request.group, entry, topic, partition);
            let error =
                unstable.then(|| GroupError::UnstableOffset { group: request.group.clone() });
            let value = entry
                .and_then(|entry| entry.offsets.get(topic, partition))
                .filter(|value| error.is_none() && self.shows(topic, value));
            FetchedOffset {
                topic: topic.clone(),
                partition,
                committed: value.map(|value| CommittedOffset {
                    offset: value.offset,
                    leader_epoch: value.leader_epoch,
                    metadata: value.metadata.clone(),
                }),
                error,
            }
        };
        Ok(match &request.what {
            FetchWhat::These(partitions) => {
                partitions.iter().map(|(topic, partition)| one(topic, *partition)).collect()
            }
            FetchWhat::All => entry
                .into_iter()
                .flat_map(|entry| entry.offsets.committed())
                .filter(|(topic, _, value)| self.shows(topic, value))
                .map(|(topic, partition, _)| one(topic, partition))
                .collect(),
        })
    }

    /// Whether an offset is not one of an earlier topic of the same name (KAFKA-19154).
    fn shows(&self, topic: &Name, value: &OffsetValue) -> bool {
        self.standing(topic.as_str(), value.topic_id) != Standing::Another
    }

    /// Whether a transaction or an unfinished write may yet change the offset.
    fn is_undecided(
        &self,
        group: &Name,
        entry: Option<&Entry<T>>,
        topic: &Name,
        partition: i32,
    ) -> bool {
        entry.is_some_and(|entry| entry.offsets.is_pending(topic, partition))
            || self.gates.get(group).is_some_and(|gate| {
                let writes = gate.commits.iter().filter_map(|write| self.undecided.get(write));
                writes.flat_map(|write| &write.records).any(|record| {
                    matches!(record, Record::Offset { topic: t, partition: p, .. }
                        if t == topic && *p == partition)
                })
            })
    }
}

pub(crate) fn record(group: &Name, topic: &Name, partition: i32, value: OffsetValue) -> Record {
    Record::Offset {
        layout: OffsetKeyLayout::V1,
        group: group.clone(),
        topic: topic.clone(),
        partition,
        value: Some(value),
    }
}
