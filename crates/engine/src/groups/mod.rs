//! The group coordinator at work: requests to shards, records to the log, answers when both time and disk allow.

mod around;
mod consumer;
mod error;
mod shard;
mod upkeep;

use std::{future::Future, sync::Arc, time::Duration};

use hanbeon_group::{
    Commit, CommitInTxn, Coordinator, DeleteOffsets, Described, Fetch, FetchedOffset, FreshId,
    GroupError, Join, JoinRefused, Joined, Leave, Left, ListFilter, Listed, Name, Output, Reply,
    Speaker, Sync, Synced,
};
use hanbeon_idempotence::MarkerProtocol;
use hanbeon_log::{Completion, sync::Ordering};
use hanbeon_records::{Millis, TopicPartition};
use hanbeon_txn::{
    AddPartitions, Membership, Producer, Protocol, TransactionalId, Verify, partition_for,
};

use around::Around;
pub(crate) use consumer::{LiveSettings, settings as consumer_settings};
pub use error::GroupsError;
use shard::{Answered, Token};
pub(crate) use shard::{GroupShard, MarkError};

use crate::{
    Delay, Engine, Enrol, Enrolment, Env, PartitionHandle, ProduceError, Settings, StateLog,
    StateLogs, System, Topic, TopicError, TransactionError,
    coordinators::{CONSUMER_OFFSETS, Shard, Shards},
    engine::Shared,
    transactions::delay_of,
};

/// The shards of the group coordinator.
pub(crate) type GroupShards = Shards<GroupShard>;

pub(crate) fn shards(
    elsewhere: Option<&Arc<dyn StateLogs>>,
    settings: &Settings,
) -> Result<GroupShards, ProduceError> {
    Shards::open(CONSUMER_OFFSETS, elsewhere, settings, GroupShard::new)
}

/// The group coordinator of an engine. Clones are the same.
///
/// Its calls are futures that know no executor. What waits for time (a rebalance, a session) goes on when [`Engine::maintain`] is called:
/// with [`crate::Options::helpers`] their threads do that at the right moment.
#[derive(Debug)]
pub struct Groups<E: Env = System>(Engine<E>);

impl<E: Env> Clone for Groups<E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<E: Env> Engine<E> {
    /// Its group coordinator.
    #[must_use]
    pub fn groups(&self) -> Groups<E> {
        Groups(self.clone())
    }
}

/// How long a deletion waits for the logs of groups. It holds up whoever else changes topics or settings, and a log elsewhere may never
/// answer.
const FORGET_PATIENCE: Duration = Duration::from_secs(5);

/// Whether time may have changed a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimePassed {
    Yes,
    No,
}

/// Results for each offset of a commit, in order.
pub type CommitResults = Vec<Result<(), GroupError>>;

impl<E: Env> Groups<E> {
    /// Whether a call for `group` is answered without reading a log first, which can take long and blocks.
    #[must_use]
    pub fn is_loaded(&self, group: &str) -> bool {
        let shared = self.0.shared();
        let Some(shards) = shared.group_shards() else { return false };
        at(shards, group).is_some_and(|shard| shard.is_loaded())
    }

    /// What a call for `group` may have to wait for that keeps its thread.
    #[must_use]
    pub fn delay(&self, group: &str) -> Delay {
        let shard = self.0.shared().group_shards().and_then(|shards| at(shards, group));
        shard.map_or(Delay::Opening, |shard| delay_of(&*shard, &*shard.log))
    }

    /// Makes the log if it is not there, and reads the shard of `group`.
    ///
    /// # Errors
    /// The log cannot be made or does not read.
    pub fn load(&self, group: &str) -> Result<(), GroupsError> {
        let shard = self.shard(group)?;
        drop(shard.loaded(self.0.shared())?);
        Ok(())
    }

    /// Makes `__consumer_offsets` if it is not there.
    ///
    /// # Errors
    /// The storage fails.
    pub fn ensure_log(&self) -> Result<(), TopicError> {
        self.shards().map(drop)
    }

    /// The partition of `__consumer_offsets` that a group lives on.
    ///
    /// # Errors
    /// The log cannot be made.
    pub fn partition_of(&self, group: &str) -> Result<TopicPartition, GroupsError> {
        Ok(CONSUMER_OFFSETS.partition(self.shard(group)?.number))
    }

    fn shards(&self) -> Result<&[Arc<GroupShard>], TopicError> {
        self.0.shared().groups.ensured(&self.0, GroupShard::new)
    }

    fn shard(&self, group: &str) -> Result<Arc<GroupShard>, GroupsError> {
        let shards = self.shards().map_err(|error| GroupsError::NoLog(Arc::new(error)))?;
        at(shards, group).ok_or_else(|| {
            let name = CONSUMER_OFFSETS.name.to_owned();
            GroupsError::NoLog(Arc::new(TopicError::Unknown { name }))
        })
    }

    /// Asks the coordinator of `group`.
    fn ask(
        &self,
        group: &Name,
        ask: impl FnOnce(&mut Coordinator<Token>, Token, Millis, &mut Vec<Output<Token>>),
    ) -> Result<Asked, GroupsError> {
        let (shard, shared) = (self.shard(group.as_str())?, self.0.shared());
        let completion = shard.ask(shared, None, ask)?;
        shared.mind(&shard);
        Ok(Asked { shard, completion })
    }

    /// `JoinGroup`. Answers when the group's members are together.
    ///
    /// # Errors
    /// See [`GroupsError`]; a refusal of the coordinator comes inside.
    pub fn join(
        &self,
        request: Join,
    ) -> impl Future<Output = Result<Result<Joined, JoinRefused>, GroupsError>> + Send + use<E>
    {
        let fresh = self.fresh_id();
        let asked = self.ask(&request.group.clone(), |coordinator, token, now, out| {
            coordinator.join(now, token, request, fresh, out);
        });
        async move {
            let Reply::Join(joined) = heard(asked).await? else { return Err(unexpected()) };
            Ok(joined)
        }
    }

    /// `SyncGroup`. Answers when the leader has assigned.
    ///
    /// # Errors
    /// See [`GroupsError`].
    pub fn sync(
        &self,
        request: Sync,
    ) -> impl Future<Output = Result<Synced, GroupsError>> + Send + use<E> {
        let asked = self.ask(&request.speaker.group.clone(), |coordinator, token, now, out| {
            coordinator.sync(now, token, request, out);
        });
        async move {
            let Reply::Sync(synced) = heard(asked).await? else { return Err(unexpected()) };
            Ok(synced?)
        }
    }

    /// `Heartbeat`.
    ///
    /// # Errors
    /// See [`GroupsError`].
    pub fn heartbeat(
        &self,
        speaker: Speaker,
    ) -> impl Future<Output = Result<(), GroupsError>> + Send + use<E> {
        let asked = self.ask(&speaker.group.clone(), |coordinator, token, now, out| {
            coordinator.heartbeat(now, token, speaker, out);
        });
        async move {
            let Reply::Heartbeat(result) = heard(asked).await? else { return Err(unexpected()) };
            Ok(result?)
        }
    }

    /// `LeaveGroup`; who left and who could not.
    ///
    /// # Errors
    /// See [`GroupsError`].
    pub fn leave(
        &self,
        request: Leave,
    ) -> impl Future<Output = Result<Vec<Left>, GroupsError>> + Send + use<E> {
        let asked = self.ask(&request.group.clone(), |coordinator, token, now, out| {
            coordinator.leave(now, token, request, out);
        });
        async move {
            let Reply::Leave(left) = heard(asked).await? else { return Err(unexpected()) };
            Ok(left?)
        }
    }

    /// `OffsetCommit`. That the topics exist is the caller's to check.
    ///
    /// # Errors
    /// See [`GroupsError`]; those of single offsets come inside.
    pub fn commit_offsets(
        &self,
        request: Commit,
    ) -> impl Future<Output = Result<CommitResults, GroupsError>> + Send + use<E> {
        let asked = self.ask(&request.group.clone(), |coordinator, token, now, out| {
            coordinator.commit_offsets(now, token, request, out);
        });
        async move { committed(heard(asked).await?) }
    }

    /// `TxnOffsetCommit`: the transaction coordinator's word first, then the offsets, invisible until the transaction commits.
    ///
    /// # Errors
    /// See [`GroupsError`]; those of single offsets come inside.
    pub fn commit_offsets_in_transaction(
        &self,
        id: TransactionalId,
        enrol: Enrol,
        request: CommitInTxn,
    ) -> impl Future<Output = Result<CommitResults, GroupsError>> + Send + use<E> {
        let this = self.clone();
        async move {
            let shard = this.shard(request.group.as_str())?;
            let producer = Producer { id: request.producer_id, epoch: request.producer_epoch };
            let protocol = match enrol {
                Enrol::Verify => MarkerProtocol::V1,
                Enrol::Add => MarkerProtocol::V2,
            };
            let enrolment = shard.log.begin_transaction((producer.id, producer.epoch), protocol)?;
            let guard = match enrolment {
                Enrolment::Open => None,
                Enrolment::Ask(guard) => {
                    this.confirm(id, producer, enrol, shard.number).await?;
                    guard
                }
            };
            #[cfg(feature = "planted-faults")]
            if crate::faults::planted() == Some(crate::faults::Fault::EarlyOffsetCommit) {
                let CommitInTxn { group, membership, offsets, .. } = request;
                let dialect = hanbeon_group::CommitDialect::Epochs;
                let at_once = Commit { group, membership, dialect, retention_ms: None, offsets };
                return this.commit_offsets(at_once).await;
            }
            let completion =
                shard.ask(this.0.shared(), guard, |coordinator, token, now, out| {
                    coordinator.commit_txn_offsets(now, token, request, out);
                })?;
            committed(heard(Ok(Asked { shard, completion })).await?)
        }
    }

    /// Asks the transaction coordinator whether the log of a shard is part of the transaction, or makes it so.
    async fn confirm(
        &self,
        id: TransactionalId,
        producer: Producer,
        enrol: Enrol,
        shard: i32,
    ) -> Result<(), TransactionError> {
        let transactions = self.0.transactions();
        let partition = CONSUMER_OFFSETS.partition(shard);
        let TopicPartition { topic, partition: number } = partition.clone();
        let partitions = vec![partition];
        match enrol {
            Enrol::Add => {
                let protocol = Protocol::V2;
                let request = AddPartitions { id, producer, partitions, protocol };
                transactions.add_partitions(request).await
            }
            Enrol::Verify => {
                let standings = transactions.verify(Verify { id, producer, partitions }).await?;
                if standings.contains(&Membership::Absent) {
                    let topic = topic.to_string();
                    return Err(TransactionError::NotEnrolled { topic, partition: number });
                }
                Ok(())
            }
        }
    }

    /// `OffsetFetch` for one group.
    ///
    /// # Errors
    /// See [`GroupsError`].
    pub fn fetch_offsets(
        &self,
        request: Fetch,
    ) -> impl Future<Output = Result<Vec<FetchedOffset>, GroupsError>> + Send + use<E> {
        let this = self.clone();
        async move {
            let shard = this.shard(request.group.as_str())?;
            let (fetched, gate) = {
                let groups = shard.loaded(this.0.shared())?;
                (groups.coordinator.fetch_offsets(&request)?, shard.gate(&groups))
            };
            pass(&*shard.log, gate).await?;
            Ok(fetched)
        }
    }

    /// `OffsetDelete`. That the partitions exist is the caller's to check.
    ///
    /// # Errors
    /// See [`GroupsError`]; those of single partitions come inside.
    pub fn delete_offsets(
        &self,
        request: DeleteOffsets,
    ) -> impl Future<Output = Result<CommitResults, GroupsError>> + Send + use<E> {
        let asked = self.ask(&request.group.clone(), |coordinator, token, now, out| {
            coordinator.delete_offsets(now, token, request, out);
        });
        async move {
            let Reply::DeleteOffsets(results) = heard(asked).await? else {
                return Err(unexpected());
            };
            Ok(results?)
        }
    }

    /// Deletes a group that has no members, and its offsets.
    ///
    /// # Errors
    /// See [`GroupsError`].
    pub fn delete(
        &self,
        group: Name,
    ) -> impl Future<Output = Result<(), GroupsError>> + Send + use<E> {
        let asked = self.ask(&group.clone(), |coordinator, token, now, out| {
            coordinator.delete_group(now, token, group, out);
        });
        async move {
            let Reply::DeleteGroup(result) = heard(asked).await? else { return Err(unexpected()) };
            Ok(result?)
        }
    }

    /// A classic group as it stands.
    ///
    /// # Errors
    /// See [`GroupsError`].
    pub fn describe(&self, group: &Name) -> Result<Described, GroupsError> {
        let shard = self.shard(group.as_str())?;
        let groups = shard.loaded(self.0.shared())?;
        Ok(groups.coordinator.describe(group)?)
    }

    /// All groups that pass a filter, by name.
    ///
    /// # Errors
    /// See [`GroupsError`].
    pub fn list(&self, filter: &ListFilter) -> Result<Vec<Listed>, GroupsError> {
        let shared = self.0.shared();
        let mut found = Vec::new();
        for shard in shared.group_shards().unwrap_or_default() {
            let groups = shard.loaded(shared)?;
            found.extend(groups.coordinator.list(filter)?);
            drop(groups);
        }
        found.sort_unstable_by(|a, b| a.group.cmp(&b.group));
        Ok(found)
    }

    /// Lets time pass for a group, where no helper and no [`Engine::maintain`] does.
    pub(crate) fn pass_time(&self, group: &Name) -> Result<TimePassed, GroupsError> {
        let (shard, shared) = (self.shard(group.as_str())?, self.0.shared());
        if shard.deadline() > shared.now() {
            return Ok(TimePassed::No);
        }
        shard.step(shared, Coordinator::tick)?;
        shared.mind(&shard);
        Ok(TimePassed::Yes)
    }

    /// Tells all groups that a topic is gone for good, and waits until the disk says so too, or for [`FORGET_PATIENCE`]. To be called
    /// under the admin lock, with the topic gone from the image: nobody makes another of its name before, and no commit of this one comes
    /// behind.
    ///
    /// What cannot be written is hidden from readers by the topic's id, and written by a sweep or by who reads the log next.
    pub(crate) fn forget_topic(&self, topic: &Topic<E>) {
        let shared = self.0.shared();
        let Ok(name) = Name::new(topic.name().as_str()) else { return };
        let numbers = topic.partitions().iter().map(PartitionHandle::number);
        let gone: Vec<_> = numbers.map(|number| (name.clone(), number)).collect();
        let mut gates = Vec::new();
        for shard in shared.group_shards().unwrap_or_default() {
            let told = shard.step(shared, |coordinator, now, out| {
                coordinator.partitions_deleted(now, &gone, out);
            });
            gates.push((shard, told));
        }
        // All are written before the first is waited for, so that one sync may do for several.
        let deadline = shared.ground.env.monotonic().saturating_add(FORGET_PATIENCE);
        for (shard, told) in gates {
            let driven = told
                .map(|gate| shared.drive_while_open(pass(&*shard.log, gate), deadline).transpose());
            let shard = shard.number;
            match driven.and_then(|driven| Ok(driven?)) {
                Ok(Some(())) => {}
                Ok(None) => {
                    tracing::warn!(
                        shard,
                        "that offsets of a deleted topic are gone is not durable"
                    );
                }
                Err(error) => {
                    tracing::warn!(shard, %error, "offsets of a deleted topic are left");
                }
            }
        }
    }

    fn fresh_id(&self) -> FreshId {
        let env = &self.0.shared().ground.env;
        let random = (u128::from(env.random()) << 64) | u128::from(env.random());
        FreshId::new(random.to_be_bytes())
    }
}

fn at(shards: &[Arc<GroupShard>], group: &str) -> Option<Arc<GroupShard>> {
    let number = partition_for(group, i32::try_from(shards.len()).unwrap_or(i32::MAX));
    shards.get(usize::try_from(number).ok()?).cloned()
}

/// A question under way.
struct Asked {
    shard: Arc<GroupShard>,
    completion: Completion<Answered>,
}

/// Waits for an answer and for the disk under it.
async fn heard(asked: Result<Asked, GroupsError>) -> Result<Reply, GroupsError> {
    let Asked { shard, completion } = asked?;
    let Answered { reply, gate } = completion.await?;
    pass(&*shard.log, gate).await?;
    Ok(reply)
}

async fn pass(
    log: &dyn StateLog,
    gate: Option<hanbeon_records::Offset>,
) -> Result<(), ProduceError> {
    match gate {
        Some(end) if !log.is_durable(end) => log.durable_to(end).await,
        Some(_) | None => Ok(()),
    }
}

fn committed(reply: Reply) -> Result<CommitResults, GroupsError> {
    let Reply::Commit(results) = reply else { return Err(unexpected()) };
    Ok(results?)
}

/// The machine answers a request with a reply of its own kind.
fn unexpected() -> GroupsError {
    debug_assert!(false, "an answer to another request");
    GroupsError::Refused(GroupError::NotCoordinator)
}

impl<E: Env> Shared<E> {
    pub(crate) fn group_shards(&self) -> Option<&[Arc<GroupShard>]> {
        self.groups.there(&Arc::clone(&self.image.read()), GroupShard::new)
    }

    /// Wakes a helper when time will change a group sooner than it would look.
    pub(crate) fn mind(&self, shard: &GroupShard) {
        let deadline = shard.deadline().get();
        if deadline < self.wake_at.fetch_min(deadline, Ordering::AcqRel) {
            self.ground.due.nudge();
        }
    }
}

/// What the operator has decided about groups.
pub(crate) fn settings(broker: &Settings) -> hanbeon_group::Settings {
    let int = |key, otherwise| broker.int(key).unwrap_or(otherwise);
    hanbeon_group::Settings {
        session_timeout_ms_min: int("group.min.session.timeout.ms", 6000),
        session_timeout_ms_max: int("group.max.session.timeout.ms", 1_800_000),
        initial_rebalance_delay_ms: int("group.initial.rebalance.delay.ms", 3000),
        groups_max: usize::try_from(int("hanbeon.groups.per.partition.max", 10_000))
            .unwrap_or(10_000),
        group_size_max: usize::try_from(int("group.max.size", i32::MAX)).unwrap_or(usize::MAX),
        member_bytes_max: 1 << 20,
        new_member_join_timeout_ms: 300_000,
        offset_metadata_len_max: usize::try_from(int("offset.metadata.max.bytes", 4096))
            .unwrap_or(4096),
        offsets_retention_ms: i64::from(int("offsets.retention.minutes", 10_080)) * 60_000,
        offsets_retention_check_interval_ms: broker
            .long("offsets.retention.check.interval.ms")
            .unwrap_or(600_000),
    }
}
