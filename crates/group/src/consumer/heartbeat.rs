//! The heartbeat: join, go on, leave.

use alloc::{
    collections::BTreeSet,
    string::{String, ToString},
    vec,
    vec::Vec,
};

use hanbeon_records::{Millis, TopicId};

use super::{
    ConsumerError, ConsumerGroup, ConsumerSettings, InvalidField, Partitions, Resolution, Timer,
    TopicsImage,
    draft::Draft,
    member::{LEFT, LEFT_FOR_A_WHILE, Member},
    partitions::Held,
};
use crate::record::consumer::{ConsumerRecord, MemberMetadata};

/// The first version in which the client makes the member id (KIP-1082).
const CLIENT_MAKES_ID: i16 = 1;

/// What fits the keys of the offsets log.
const ID_LEN_MAX: usize = 32_767;

/// A `ConsumerGroupHeartbeat` request. `None` means: as I said last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// Version of the request.
    pub version: i16,
    /// Who; empty at the first join of version 0.
    pub member_id: String,
    /// 0 joins, -1 leaves, -2 leaves for a while, else the epoch of the last answer.
    pub member_epoch: i32,
    /// Of a static member (KIP-345).
    pub instance_id: Option<String>,
    /// Where it runs.
    pub rack_id: Option<String>,
    /// How long it may take to give up a partition, -1 for as before.
    pub rebalance_timeout_ms: i32,
    /// Topics it subscribes to by name.
    pub subscribed_topic_names: Option<Vec<String>>,
    /// Topics it subscribes to by expression; empty is none.
    pub subscribed_topic_regex: Option<String>,
    /// Which assignor it asks for.
    pub server_assignor: Option<String>,
    /// What it owns.
    pub owned: Option<Partitions>,
    /// Its client's name.
    pub client_id: String,
    /// Its address.
    pub client_host: String,
}

/// What a heartbeat leads to. Nothing of it happened yet: log the records, apply them, then answer and set the clock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "nothing of it happened yet"]
pub struct HeartbeatDecision {
    /// To be logged as one batch.
    pub records: Vec<ConsumerRecord>,
    /// The answer once they are.
    pub reply: HeartbeatReply,
    /// What the clock is to do then.
    pub timers: Vec<Timer>,
}

/// The answer to a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatReply {
    /// Who it is for.
    pub member_id: String,
    /// Its epoch; -1 and -2 as they came.
    pub member_epoch: i32,
    /// When to speak again, 0 for one that leaves.
    pub heartbeat_interval_ms: i32,
    /// What it is to have, when that changed or it asked for all.
    pub assignment: Option<Partitions>,
}

/// What a member that left, or fell silent, leaves behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "nothing of it happened yet"]
pub struct Departure {
    /// To be logged as one batch; empty when there is nothing to do.
    pub records: Vec<ConsumerRecord>,
    /// What the clock is to do then.
    pub timers: Vec<Timer>,
}

impl Heartbeat {
    /// Checks what can be seen without the group; also done by [`ConsumerGroup::heartbeat`].
    ///
    /// # Errors
    /// [`ConsumerError::InvalidRequest`], then [`ConsumerError::UnsupportedAssignor`].
    pub fn check(&self, group_id: &str, settings: &ConsumerSettings) -> Result<(), ConsumerError> {
        self.invalid_field(group_id)
            .map_or(Ok(()), |field| Err(ConsumerError::InvalidRequest(field)))?;
        match &self.server_assignor {
            Some(asked) if settings.assignors.find(asked).is_none() => {
                Err(ConsumerError::UnsupportedAssignor { asked: asked.clone() })
            }
            _ => Ok(()),
        }
    }

    fn invalid_field(&self, group_id: &str) -> Option<InvalidField> {
        let is_empty = |text: &Option<String>| text.as_deref() == Some("");
        if self.version >= CLIENT_MAKES_ID && self.member_id.is_empty() {
            return Some(InvalidField::MemberId);
        }
        if group_id.is_empty() {
            return Some(InvalidField::GroupId);
        }
        if is_empty(&self.instance_id) {
            return Some(InvalidField::InstanceId);
        }
        if is_empty(&self.rack_id) {
            return Some(InvalidField::RackId);
        }
        if self.member_id.len() > ID_LEN_MAX || group_id.len() > ID_LEN_MAX {
            return Some(InvalidField::TooLong);
        }
        match self.member_epoch {
            0 if self.rebalance_timeout_ms == -1 => Some(InvalidField::RebalanceTimeout),
            0 if !self.owned.as_ref().is_some_and(Partitions::is_empty) => {
                Some(InvalidField::OwnedPartitions)
            }
            0 if !self.has_subscription() => Some(InvalidField::Subscription),
            0 => None,
            LEFT | 1.. if self.member_id.is_empty() => Some(InvalidField::MemberId),
            LEFT | 1.. => None,
            LEFT_FOR_A_WHILE if self.instance_id.is_none() => Some(InvalidField::TemporaryLeave),
            LEFT_FOR_A_WHILE => None,
            _ => Some(InvalidField::MemberEpoch),
        }
    }

    /// What the member says of itself.
    fn tell(&self, metadata: &mut MemberMetadata) {
        if self.instance_id.is_some() {
            metadata.instance_id.clone_from(&self.instance_id);
        }
        if self.rack_id.is_some() {
            metadata.rack_id.clone_from(&self.rack_id);
        }
        if self.rebalance_timeout_ms != -1 {
            metadata.rebalance_timeout_ms = self.rebalance_timeout_ms;
        }
        if self.server_assignor.is_some() {
            metadata.server_assignor.clone_from(&self.server_assignor);
        }
        if let Some(names) = &self.subscribed_topic_names {
            let names: BTreeSet<&String> = names.iter().collect();
            metadata.subscribed_topic_names = names.into_iter().cloned().collect();
        }
        if let Some(regex) = &self.subscribed_topic_regex {
            metadata.subscribed_topic_regex = Some(regex.clone());
        }
        metadata.subscribed_topic_regex.get_or_insert_default();
        metadata.client_id.clone_from(&self.client_id);
        metadata.client_host.clone_from(&self.client_host);
        metadata.classic = None;
    }

    const fn has_subscription(&self) -> bool {
        self.subscribed_topic_names.is_some() || self.subscribed_topic_regex.is_some()
    }

    /// It says everything, as after a join or an error: it wants to hear everything.
    pub(super) const fn is_full(&self) -> bool {
        self.rebalance_timeout_ms != -1 && self.has_subscription() && self.owned.is_some()
    }
}

impl ConsumerGroup {
    /// Takes a heartbeat: join, go on or leave. `fresh` becomes the id of a member that has none (version 0).
    ///
    /// A group that does not exist is the caller's to refuse with `GROUP_ID_NOT_FOUND` unless the epoch is 0. Of the expressions whose
    /// topics are to be looked for one is, the member's own first, and at all names in this call; a [`Coordinator`](crate::Coordinator)
    /// spreads that over several.
    ///
    /// # Errors
    /// [`ConsumerError`], in this order: invalid request, unknown assignor, full group, unknown or fenced member, bad expression.
    /// Nothing changes then.
    pub fn heartbeat(
        &self,
        now: Millis,
        request: &Heartbeat,
        topics: &dyn TopicsImage,
        settings: &ConsumerSettings,
        fresh: [u8; 16],
    ) -> Result<HeartbeatDecision, ConsumerError> {
        let look = |group: &Self| group.look(now, request, topics, settings);
        self.heartbeat_with(now, request, topics, settings, fresh, look)
    }

    /// The same, with whoever looks for the topics of an expression. Nobody does for a heartbeat that is refused or leaves.
    pub(crate) fn heartbeat_with(
        &self,
        now: Millis,
        request: &Heartbeat,
        topics: &dyn TopicsImage,
        settings: &ConsumerSettings,
        fresh: [u8; 16],
        look: impl FnOnce(&Self) -> Option<Resolution>,
    ) -> Result<HeartbeatDecision, ConsumerError> {
        request.check(self.id(), settings)?;
        if matches!(request.member_epoch, LEFT | LEFT_FOR_A_WHILE) {
            return self.leave(request, topics);
        }
        let member_id = if request.member_id.is_empty() {
            // Written as Kafka writes the ids that it makes: like a topic's.
            TopicId::new(fresh).to_string()
        } else {
            request.member_id.clone()
        };
        let mut draft = self.seat(member_id, request, settings)?;
        draft.update_member(|metadata| request.tell(metadata));
        draft.resolve(look)?;
        draft.advance_epoch(topics);
        draft.assign(now, topics, settings);
        draft.reconcile(request.owned.as_ref(), topics)?;
        Ok(draft.finish(request, settings))
    }

    /// Finds the member, makes it, or puts it in the place of the one whose instance id it has.
    fn seat(
        &self,
        member_id: String,
        request: &Heartbeat,
        settings: &ConsumerSettings,
    ) -> Result<Draft<'_>, ConsumerError> {
        let joins = request.member_epoch == 0;
        let holder =
            request.instance_id.as_deref().and_then(|instance| self.static_member(instance));
        let is_known = self.has_member(&member_id) || holder.is_some();
        if joins && !is_known && self.len() >= settings.max_size {
            let (group_id, max) = (self.id().to_string(), settings.max_size);
            return Err(ConsumerError::GroupFull { group_id, max });
        }
        let Some(instance) = request.instance_id.as_deref() else {
            return match self.member(&member_id) {
                Some(member) => {
                    check_epoch(&member_id, member, request)?;
                    Ok(Draft::of(self, member_id, member))
                }
                None if joins => Ok(Draft::new(self, member_id)),
                None => Err(self.unknown(&member_id)),
            };
        };
        if !joins {
            let member = self.holder(instance, &member_id)?;
            check_epoch(&member_id, member, request)?;
            return Ok(Draft::of(self, member_id, member));
        }
        match (holder, self.member(&member_id)) {
            // It comes again, perhaps because the answer was lost.
            (Some(holder), Some(member)) if holder == member_id => {
                Ok(Draft::of(self, member_id, member))
            }
            (Some(holder), None) => match self.member(holder) {
                // A classic member goes without a word; its new process speaks KIP-848.
                Some(old) if old.epoch == LEFT_FOR_A_WHILE || old.speaks_classic() => {
                    Ok(Draft::replacing(self, member_id, holder, old))
                }
                _ => Err(ConsumerError::UnreleasedInstance {
                    instance_id: instance.into(),
                    holder: holder.into(),
                }),
            },
            (Some(_), Some(_)) => Err(ConsumerError::InvalidRequest(InvalidField::TakenMemberId)),
            (None, Some(member)) => Ok(Draft::of(self, member_id, member)),
            (None, None) => Ok(Draft::new(self, member_id)),
        }
    }

    /// The member of an instance id, if it is the one that asks.
    pub(super) fn holder(
        &self,
        instance_id: &str,
        member_id: &str,
    ) -> Result<&Member, ConsumerError> {
        let unknown = || ConsumerError::UnknownInstance {
            group_id: self.id().into(),
            instance_id: instance_id.into(),
        };
        let holder = self.static_member(instance_id).ok_or_else(unknown)?;
        let member = self.member(holder).ok_or_else(unknown)?;
        if holder == member_id {
            return Ok(member);
        }
        Err(ConsumerError::FencedInstance {
            instance_id: instance_id.into(),
            holder: holder.into(),
            got: member_id.into(),
        })
    }

    pub(super) fn unknown(&self, member_id: &str) -> ConsumerError {
        ConsumerError::UnknownMember { group_id: self.id().into(), member_id: member_id.into() }
    }

    fn leave(
        &self,
        request: &Heartbeat,
        topics: &dyn TopicsImage,
    ) -> Result<HeartbeatDecision, ConsumerError> {
        let member_id = &request.member_id;
        let member = match request.instance_id.as_deref() {
            Some(instance) => self.holder(instance, member_id)?,
            None => self.member(member_id).ok_or_else(|| self.unknown(member_id))?,
        };
        let gone = if request.member_epoch == LEFT_FOR_A_WHILE {
            // The session timer goes on: it says how long the partitions are kept.
            let mut away = member.clone();
            away.epoch = LEFT_FOR_A_WHILE;
            away.revoking = Held::new();
            let records = vec![self.current_assignment(member_id, &away)];
            let owed = !member.revoking.is_empty();
            let cancel = Timer::CancelRebalance { member_id: member_id.clone() };
            let timers = owed.then_some(cancel).into_iter().collect();
            Departure { records, timers }
        } else {
            self.fence(core::slice::from_ref(member_id), topics)
        };
        let reply = HeartbeatReply {
            member_id: member_id.clone(),
            member_epoch: request.member_epoch,
            heartbeat_interval_ms: 0,
            assignment: None,
        };
        Ok(HeartbeatDecision { records: gone.records, reply, timers: gone.timers })
    }

    /// The session timer of a member ran out.
    pub fn expire_session(&self, member_id: &str, topics: &dyn TopicsImage) -> Departure {
        if self.has_member(member_id) {
            self.fence(&[member_id.into()], topics)
        } else {
            Departure::default()
        }
    }

    /// The rebalance timer of a member, armed at `member_epoch`, ran out: it did not give up in time what it was told to.
    pub fn expire_rebalance(
        &self,
        member_id: &str,
        member_epoch: i32,
        topics: &dyn TopicsImage,
    ) -> Departure {
        match self.member(member_id) {
            Some(member) if member.epoch == member_epoch && !member.revoking.is_empty() => {
                self.fence(&[member_id.into()], topics)
            }
            _ => Departure::default(),
        }
    }

    /// Takes members out; their partitions are free and the group needs a new assignment.
    pub(crate) fn fence(&self, member_ids: &[String], topics: &dyn TopicsImage) -> Departure {
        let cancel = |member_id: &String| Timer::Cancel { member_id: member_id.clone() };
        Departure {
            records: Draft::without(self, member_ids, topics),
            timers: member_ids.iter().map(cancel).collect(),
        }
    }

    pub(super) fn current_assignment(&self, member_id: &str, member: &Member) -> ConsumerRecord {
        ConsumerRecord::CurrentAssignment {
            group_id: self.id().into(),
            member_id: member_id.into(),
            value: Some(member.current_assignment()),
        }
    }
}

/// Whether a member speaks from its own epoch, or from the one before while it owns nothing that it should not: then the answer with
/// the new epoch was lost. A join is always heard: it owns nothing (KAFKA-19233).
fn check_epoch(member_id: &str, member: &Member, request: &Heartbeat) -> Result<(), ConsumerError> {
    let got = request.member_epoch;
    let owns_only_its_own =
        |owned: &Partitions| owned.iter().all(|(topic, p)| member.assigned.contains(topic, p));
    let lost_answer =
        got == member.previous_epoch && request.owned.as_ref().is_some_and(owns_only_its_own);
    if got == 0 || got == member.epoch || (got < member.epoch && lost_answer) {
        return Ok(());
    }
    let member_id = member_id.into();
    Err(ConsumerError::FencedMemberEpoch { member_id, current: member.epoch, got })
}
