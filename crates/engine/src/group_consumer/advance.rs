//! What a poll does for the membership: heartbeats, partitions that come and go, offsets to begin at.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use hanbeon_group::{
    Fetch, FetchWhat, Name, Stability,
    consumer::{GroupState, HeartbeatReply, Partitions},
};
use hanbeon_records::{Offset, TopicPartition};

use super::{
    GroupConsumer, is_out,
    share::{Share, Stage, Told},
};
use crate::{ClientError, Env, GroupsError, Reset, groups::TimePassed};

/// How often a member speaks while the group moves to another assignment: nobody else may tell it when it is its turn.
const UNSETTLED_MS: i32 = 1_000;
/// How soon an offset is asked for again that an open transaction may change.
const UNDECIDED_MS: u64 = 100;
/// Heartbeats in one poll: each but the first gives back what the one before took away.
const ROUNDS_MAX: usize = 8;

impl<E: Env> GroupConsumer<E> {
    /// Returns what keeps a partition that was given from being read, if anything does.
    pub(super) async fn advance(&mut self) -> Result<Option<ClientError>, ClientError> {
        self.forget_deleted();
        self.let_settled_go();
        for _ in 0..ROUNDS_MAX {
            let due = self.engine.shared().members.due(&self.member.key);
            let is_due = due <= self.engine.env().monotonic();
            if self.member.epoch != 0 && !is_due && !self.owes_word() {
                break;
            }
            self.beat().await?;
        }
        self.find_starts().await
    }

    /// Whether it has less than it said.
    fn owes_word(&self) -> bool {
        let owned = self.owned();
        self.said.iter().any(|(topic, partition)| !owned.contains(topic, partition))
    }

    fn owned(&self) -> Partitions {
        let shares = self.shares.iter();
        shares.map(|(name, share)| (share.topic_id, name.partition)).collect()
    }

    async fn beat(&mut self) -> Result<(), ClientError> {
        let (engine, group) = (self.engine.clone(), self.member.key.group.clone());
        let joins = self.member.epoch == 0;
        if joins {
            self.member.bury_dead(&engine).await?;
        }
        let (members, key) = (&engine.shared().members, self.member.key.clone());
        let turn = members.begin_to_speak(&key);
        let owned = self.owned();
        let gives_back = self.owes_word();
        let heartbeat = self.member.heartbeat(owned.clone());
        let reply = self.groups.consumer_heartbeat(group.clone(), heartbeat).await;
        let reply = reply.map_err(|error| self.refused(error))?;
        self.said = owned;
        let moves = joins || gives_back || reply.member_epoch != self.member.epoch;
        self.member.epoch = reply.member_epoch;
        let interval_ms = reply.heartbeat_interval_ms;
        self.take(reply);
        // After its own word, so that one who is late and alone is not put out by itself.
        let time_passed = self.groups.pass_time(&group)?;
        let settled = self
            .groups
            .describe_consumer(&group)
            .is_ok_and(|group| group.state == GroupState::Stable);
        let after_ms = match time_passed {
            TimePassed::Yes => 0,
            TimePassed::No if settled => interval_ms,
            TimePassed::No => interval_ms.min(UNSETTLED_MS),
        };
        let after = Duration::from_millis(u64::try_from(after_ms).unwrap_or(0));
        turn.spoken(engine.env().monotonic().saturating_add(after));
        if moves || time_passed == TimePassed::Yes {
            members.nudge_others(&key);
        }
        Ok(())
    }

    /// Follows the coordinator's assignment.
    fn take(&mut self, reply: HeartbeatReply) {
        let Some(assignment) = reply.assignment else { return };
        let mut shares = std::mem::take(&mut self.shares);
        shares.retain(|name, share| {
            let stays = assignment.contains(share.topic_id, name.partition);
            match (&share.stage, stays) {
                (Stage::Awaited(_) | Stage::Read, true) => true,
                (Stage::Leaving(position), true) => {
                    // The group has changed its mind.
                    let handle = self.engine.partition_by_id(share.topic_id, name.partition);
                    let Ok(handle) = handle else { return false };
                    self.reader.adopt(handle, Some(*position));
                    share.stage = Stage::Read;
                    true
                }
                (Stage::Leaving(_), false) => true,
                (Stage::Awaited(_), false) => false,
                (Stage::Read, false) => {
                    let position = self.reader.position_of(name);
                    self.reader.let_go(name);
                    let unsettled = position.filter(|_| !share.is_settled());
                    unsettled.is_some_and(|position| {
                        share.stage = Stage::Leaving(position);
                        true
                    })
                }
            }
        });
        self.shares = shares;
        for (topic_id, partition) in assignment.iter() {
            let Ok(handle) = self.engine.partition_by_id(topic_id, partition) else { continue };
            let name = handle.0.name.clone();
            self.shares.entry(name).or_insert_with(|| Share::new(topic_id, handle));
        }
    }

    /// Gives up what is leaving and settled: the next heartbeat says so.
    fn let_settled_go(&mut self) {
        self.shares.retain(|_, share| match share.stage {
            Stage::Leaving(_) => !share.is_settled(),
            Stage::Awaited(_) | Stage::Read => true,
        });
    }

    /// Gives up partitions of topics that are deleted, settled or not: nothing can be committed of them.
    pub(super) fn forget_deleted(&mut self) {
        let image = self.engine.image();
        let reader = &mut self.reader;
        self.shares.retain(|name, share| {
            let there = image.topic_by_id(share.topic_id).is_some();
            if !there {
                reader.let_go(name);
            }
            there
        });
    }

    /// Asks where to begin in partitions that were given. Those whose offset is part of an open transaction wait.
    async fn find_starts(&mut self) -> Result<Option<ClientError>, ClientError> {
        let awaited = self.names(|stage| matches!(stage, Stage::Awaited(_)));
        if awaited.is_empty() {
            return Ok(None);
        }
        let request = Fetch {
            group: self.member.key.group.clone(),
            member: Some((self.member.key.member_id.clone(), self.member.epoch)),
            stability: Stability::Required,
            what: FetchWhat::These(
                awaited.iter().map(|name| (Name::from(&name.topic), name.partition)).collect(),
            ),
        };
        let found = self.groups.fetch_offsets(request).await;
        let found = found.map_err(|error| self.refused(error))?;
        let mut starts: BTreeMap<TopicPartition, Option<Offset>> = BTreeMap::new();
        for (name, found) in awaited.into_iter().zip(found) {
            if found.error.is_none() {
                starts.insert(name, found.committed.map(|committed| committed.offset));
            }
        }
        let mut failed = None;
        for (name, committed) in starts {
            // Each of them, whatever became of the others.
            let begun = self.begin(&name, committed);
            failed = failed.or_else(|| begun.err());
        }
        if self.shares.values().any(|share| matches!(share.stage, Stage::Awaited(_))) {
            let soon = Duration::from_millis(UNDECIDED_MS);
            let soon = self.engine.env().monotonic().saturating_add(soon);
            self.engine.shared().members.hasten(&self.member.key, soon);
        }
        Ok(failed)
    }

    /// Begins to read a partition, where nothing was committed as [`Reset`] says.
    fn begin(
        &mut self,
        name: &TopicPartition,
        committed: Option<Offset>,
    ) -> Result<(), ClientError> {
        let Some(share) = self.shares.get_mut(name) else { return Ok(()) };
        let Stage::Awaited(handle) = &share.stage else { return Ok(()) };
        self.reader.adopt(handle.clone(), committed);
        if committed.is_none() && self.reader.reset() != Reset::Fail {
            let (topic, partition) = (name.topic.as_str(), name.partition);
            if let Err(error) = self.reader.position(topic, partition) {
                self.reader.let_go(name);
                return Err(error);
            }
        }
        share.stage = Stage::Read;
        share.told = committed.map_or(Told::Nothing, Told::Committed);
        Ok(())
    }

    /// An error of the coordinator. One that says that the group put this member out makes it one that is to join.
    pub(super) fn refused(&mut self, error: GroupsError) -> ClientError {
        if self.member.epoch == 0 || !is_out(error.code()) {
            return error.into();
        }
        let epoch = std::mem::replace(&mut self.member.epoch, 0);
        let loses = self.shares.values().any(|share| !share.is_settled());
        for name in std::mem::take(&mut self.shares).keys() {
            self.reader.let_go(name);
        }
        self.said = Partitions::new();
        self.engine.shared().members.hasten(&self.member.key, Duration::ZERO);
        let fenced = ClientError::MemberFenced {
            group: self.group().to_owned(),
            member_id: self.member_id().to_owned(),
            epoch,
            reason: Arc::new(error),
        };
        if loses {
            self.lost = Some(fenced.clone());
        }
        fenced
    }
}
