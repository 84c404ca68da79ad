//! A heartbeat under way: the group as it is, and what one member changes about it.

use alloc::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};

use hanbeon_records::{Millis, TopicId};

use super::{
    Assignor, ConsumerError, ConsumerGroup, ConsumerSettings, Heartbeat, HeartbeatDecision,
    HeartbeatReply, MemberState, Partitions, Resolution, Subscriber, Timer, TopicPattern,
    TopicsImage,
    group::Counts,
    member::Member,
    reconcile::{Goal, Subscription},
};
use crate::record::consumer::{
    ConsumerRecord, GroupEpoch, MemberMetadata, ResolvedRegex, TargetEpoch,
};

pub(super) struct Draft<'a> {
    group: &'a ConsumerGroup,
    member_id: String,
    /// The member as the log knows it; a new or a replaced member is not there under its id.
    before: Option<&'a Member>,
    after: Member,
    /// Whose place it takes.
    replaced: Option<&'a str>,
    subscription: Subscription,
    names: Cow<'a, Counts>,
    regexes: Cow<'a, Counts>,
    resolved: Cow<'a, BTreeMap<String, Arc<ResolvedRegex>>>,
    epoch: i32,
    target_epoch: i32,
    target: Partitions,
    records: Vec<ConsumerRecord>,
}

impl<'a> Draft<'a> {
    /// A member that is not in the group yet.
    pub(super) fn new(group: &'a ConsumerGroup, member_id: String) -> Self {
        Self::from(group, member_id, Member::new())
    }

    /// A member of the group.
    pub(super) fn of(group: &'a ConsumerGroup, member_id: String, member: &'a Member) -> Self {
        let mut draft = Self::from(group, member_id, member.clone());
        draft.before = Some(member);
        draft
    }

    /// A static member that comes back under another id: it has what the old one had.
    pub(super) fn replacing(
        group: &'a ConsumerGroup,
        member_id: String,
        old_id: &'a str,
        old: &'a Member,
    ) -> Self {
        let mut draft = Self::of(group, member_id, old);
        draft.replaced = Some(old_id);
        draft.after.epoch = 0;
        draft.target = group.targets.get(old_id).cloned().unwrap_or_default();
        draft.records = tombstones(group, old_id).into();
        draft
    }

    fn from(group: &'a ConsumerGroup, member_id: String, after: Member) -> Self {
        Self {
            group,
            before: None,
            after,
            replaced: None,
            subscription: Subscription::Same,
            names: Cow::Borrowed(&group.names),
            regexes: Cow::Borrowed(&group.regexes),
            resolved: Cow::Borrowed(&group.resolved),
            epoch: group.epoch,
            target_epoch: group.target_epoch,
            target: group.targets.get(&member_id).cloned().unwrap_or_default(),
            records: Vec::new(),
            member_id,
        }
    }

    /// Takes over what the member says of itself.
    pub(super) fn update_member(&mut self, tell: impl FnOnce(&mut MemberMetadata)) {
        tell(&mut self.after.metadata);
        let unknown = Member::new();
        let before = self.before.unwrap_or(&unknown);
        let old = &before.metadata.subscribed_topic_names;
        let new = &self.after.metadata.subscribed_topic_names;
        if old != new || before.regex() != self.after.regex() {
            self.subscription = Subscription::Changed;
            self.names.to_mut().take(old.iter().map(String::as_str));
            self.names.to_mut().add(new.iter().map(String::as_str));
            self.regexes.to_mut().take(before.regex().into_iter());
            self.regexes.to_mut().add(self.after.regex().into_iter());
        }
        if self.replaced.is_some() {
            // The target goes over with the place: before the member, with which it is written and no later.
            self.push_target(&self.member_id.clone(), &self.target.clone());
        }
        if self.is_reseated() || before.metadata != self.after.metadata {
            self.records.push(ConsumerRecord::Member {
                group_id: self.group.id().into(),
                member_id: self.member_id.clone(),
                value: Some(self.after.metadata.clone()),
            });
        }
    }

    /// The log knows nothing under this member id yet.
    const fn is_reseated(&self) -> bool {
        self.before.is_none() || self.replaced.is_some()
    }

    /// Looks at the member's expression if that is new, then has the topics of one looked for, and takes over what it stands for.
    pub(super) fn resolve(
        &mut self,
        look: impl FnOnce(&ConsumerGroup) -> Option<Resolution>,
    ) -> Result<(), ConsumerError> {
        if self.subscription == Subscription::Changed {
            // Its error is the member's own; what others subscribed with was accepted once.
            if let Some(regex) = self.after.regex() {
                TopicPattern::new(regex)?;
            }
            let unused = self.resolved.keys().filter(|regex| !self.regexes.contains(regex));
            for regex in unused.cloned().collect::<Vec<_>>() {
                self.push_resolved(regex, None);
            }
        }
        if let Some(Resolution { regex, value }) = look(self.group)
            && self.regexes.contains(&regex)
        {
            self.push_resolved(regex, Some(value));
        }
        Ok(())
    }

    fn push_resolved(&mut self, regex: String, value: Option<ResolvedRegex>) {
        match &value {
            Some(found) => self.resolved.to_mut().insert(regex.clone(), Arc::new(found.clone())),
            None => self.resolved.to_mut().remove(&regex),
        };
        let group_id = self.group.id().into();
        self.records.push(ConsumerRecord::ResolvedRegex { group_id, regex, value });
    }

    /// Raises the group epoch when the subscription or a subscribed topic changed.
    pub(super) fn advance_epoch(&mut self, topics: &dyn TopicsImage) {
        let same = self.subscription == Subscription::Same;
        let matched_again = matches!(self.resolved, Cow::Owned(_));
        if same && !matched_again && self.group.is_checked(topics.version()) {
            return;
        }
        let hash = ConsumerGroup::hash_of(&self.names, &self.regexes, &self.resolved, topics);
        if same && hash == self.group.metadata_hash {
            if !matched_again {
                self.group.note_checked(topics.version());
            }
            return;
        }
        self.epoch = self.epoch.saturating_add(1);
        self.records.extend(epoch_records(self.group, self.epoch, hash));
    }

    /// Computes a new target assignment when the group has moved on and the last one is old enough.
    pub(super) fn assign(
        &mut self,
        now: Millis,
        topics: &dyn TopicsImage,
        settings: &ConsumerSettings,
    ) {
        if self.epoch <= self.target_epoch || self.group.is_soon(now, settings) {
            return;
        }
        let nothing = Partitions::new();
        let mut known = BTreeMap::new();
        let mut subscribers = Vec::with_capacity(self.group.len() + 1);
        let (group, member_id, after) = (self.group, self.member_id.clone(), self.after.clone());
        let kept = self.target.clone();
        let stay =
            |(id, _): &(&String, &Member)| **id != member_id && Some(id.as_str()) != self.replaced;
        let mut members: Vec<(&String, &Member)> = group.members.iter().filter(stay).collect();
        let at = members.partition_point(|(id, _)| **id < member_id);
        members.insert(at, (&member_id, &after));
        for (id, member) in &members {
            let current =
                if **id == member_id { &kept } else { group.targets.get(*id).unwrap_or(&nothing) };
            let mut wanted = BTreeSet::new();
            for name in self.wanted(member) {
                if let Some(topic) = topics.topic(name) {
                    known.insert(topic.id, topic.partitions);
                    wanted.insert(topic.id);
                }
            }
            subscribers.push(Subscriber {
                member_id: id,
                instance_id: member.instance_id(),
                topics: wanted,
                current,
            });
        }
        let assignor = preferred(members.iter().map(|(_, member)| *member), settings);
        let shares = assignor.assign(&subscribers, &known);
        for (subscriber, share) in subscribers.iter().zip(shares) {
            if share != *subscriber.current {
                self.push_target(subscriber.member_id, &share);
            }
            if subscriber.member_id == member_id {
                self.target = share;
            }
        }
        self.target_epoch = self.epoch;
        let (assignment_epoch, assignment_timestamp) = (self.epoch, Some(now.get()));
        self.records.push(ConsumerRecord::TargetEpoch {
            group_id: group.id().into(),
            value: Some(TargetEpoch { assignment_epoch, assignment_timestamp }),
        });
    }

    /// The names of the topics that a member wants; they need not exist.
    fn wanted<'m>(&'m self, member: &'m Member) -> impl Iterator<Item = &'m str> {
        let matched = member.regex().and_then(|regex| self.resolved.get(regex));
        let matched = matched.into_iter().flat_map(|found| &found.topics);
        member.metadata.subscribed_topic_names.iter().chain(matched).map(String::as_str)
    }

    fn push_target(&mut self, member_id: &str, share: &Partitions) {
        self.records.push(ConsumerRecord::TargetAssignment {
            group_id: self.group.id().into(),
            member_id: member_id.into(),
            value: Some(share.to_topics()),
        });
    }

    /// Moves the member towards its target.
    pub(super) fn reconcile(
        &mut self,
        owned: Option<&Partitions>,
        topics: &dyn TopicsImage,
    ) -> Result<(), ConsumerError> {
        let is_there = self.after.is_reconciled_to(self.target_epoch);
        if is_there && !self.is_reseated() && self.subscription == Subscription::Same {
            return Ok(());
        }
        // The target may be older than the subscription: what the member no longer wants it gives up at once.
        let wanted: BTreeSet<TopicId> = self
            .wanted(&self.after)
            .filter_map(|name| topics.topic(name))
            .map(|topic| topic.id)
            .collect();
        let target: Partitions =
            self.target.iter().filter(|(topic, _)| wanted.contains(topic)).collect();
        let is_free = |topic, partition| match self.group.owner(topic, partition) {
            None => true,
            Some(owner) => owner == self.member_id || Some(owner) == self.replaced,
        };
        let goal = Goal {
            epoch: self.target_epoch,
            target: &target,
            owned,
            subscription: self.subscription,
            is_free: &is_free,
        };
        let next = goal.reconcile(&self.member_id, &self.after)?;
        self.after = next;
        let is_new = self.is_reseated();
        if is_new || self.before.is_some_and(|before| !before.has_same_assignment(&self.after)) {
            let record = self.group.current_assignment(&self.member_id, &self.after);
            self.records.push(record);
        }
        Ok(())
    }

    /// The decision.
    pub(super) fn finish(
        self,
        request: &Heartbeat,
        settings: &ConsumerSettings,
    ) -> HeartbeatDecision {
        let Self { after, member_id, .. } = &self;
        let mut timers = Vec::new();
        if let Some(old) = self.replaced {
            timers.push(Timer::Cancel { member_id: old.into() });
        }
        let after_ms = settings.session_timeout_ms;
        timers.push(Timer::Session { member_id: member_id.clone(), after_ms });
        let moved = self.before.is_none_or(|before| !before.has_same_assignment(after));
        if moved && after.state == MemberState::UnrevokedPartitions {
            timers.push(Timer::Rebalance {
                member_id: member_id.clone(),
                member_epoch: after.epoch,
                after_ms: after.metadata.rebalance_timeout_ms,
            });
        } else if moved
            && self.before.is_some_and(|before| before.state == MemberState::UnrevokedPartitions)
        {
            timers.push(Timer::CancelRebalance { member_id: member_id.clone() });
        }
        let changed =
            self.before.is_none_or(|before| !before.assigned.same_partitions(&after.assigned));
        let tells = request.member_epoch == 0 || request.is_full() || changed;
        let reply = HeartbeatReply {
            member_id: member_id.clone(),
            member_epoch: after.epoch,
            heartbeat_interval_ms: settings.heartbeat_interval_ms,
            assignment: tells.then(|| after.assigned.partitions()),
        };
        HeartbeatDecision { records: self.records, reply, timers }
    }

    /// The member as it will be.
    pub(super) const fn member(&self) -> &Member {
        &self.after
    }

    /// Whose place it takes.
    pub(super) const fn replaced(&self) -> Option<&'a str> {
        self.replaced
    }

    /// The epoch of the group and that of its target, as they will be.
    pub(super) const fn epochs(&self) -> (i32, i32) {
        (self.epoch, self.target_epoch)
    }

    pub(super) fn into_records(self) -> Vec<ConsumerRecord> {
        self.records
    }

    /// The records that take members out.
    pub(super) fn without(
        group: &'a ConsumerGroup,
        member_ids: &[String],
        topics: &dyn TopicsImage,
    ) -> Vec<ConsumerRecord> {
        let (mut names, mut regexes) = (group.names.clone(), group.regexes.clone());
        let mut records = Vec::new();
        for member_id in member_ids {
            if let Some(member) = group.members.get(member_id) {
                names.take(member.metadata.subscribed_topic_names.iter().map(String::as_str));
                regexes.take(member.regex().into_iter());
            }
            records.extend(tombstones(group, member_id));
        }
        for regex in group.resolved.keys().filter(|regex| !regexes.contains(regex)) {
            let (group_id, regex) = (group.id().to_string(), regex.clone());
            records.push(ConsumerRecord::ResolvedRegex { group_id, regex, value: None });
        }
        let hash = ConsumerGroup::hash_of(&names, &regexes, &group.resolved, topics);
        records.extend(epoch_records(group, group.epoch.saturating_add(1), hash));
        records
    }
}

/// What takes a member out of the log: what it has, what it was to have, who it is.
fn tombstones(group: &ConsumerGroup, member_id: &str) -> [ConsumerRecord; 3] {
    let ids = || (group.id().to_string(), String::from(member_id));
    let (group_id, id) = ids();
    let current = ConsumerRecord::CurrentAssignment { group_id, member_id: id, value: None };
    let (group_id, id) = ids();
    let target = ConsumerRecord::TargetAssignment { group_id, member_id: id, value: None };
    let (group_id, id) = ids();
    [current, target, ConsumerRecord::Member { group_id, member_id: id, value: None }]
}

/// A new group epoch; an obsolete record of the topics goes with the old one.
fn epoch_records(
    group: &ConsumerGroup,
    epoch: i32,
    metadata_hash: i64,
) -> impl Iterator<Item = ConsumerRecord> {
    let creation_time_ms = group.creation_time_ms;
    let value = Some(GroupEpoch { epoch, metadata_hash, creation_time_ms });
    let raised = ConsumerRecord::GroupEpoch { group_id: group.id().into(), value };
    group.partition_metadata_tombstone().into_iter().chain([raised])
}

/// The assignor that most members ask for; the default when none does, and the first configured of several.
pub(super) fn preferred<'m>(
    members: impl Iterator<Item = &'m Member>,
    settings: &ConsumerSettings,
) -> Assignor {
    let asked: Vec<Assignor> = members
        .filter_map(|member| settings.assignors.find(member.metadata.server_assignor.as_deref()?))
        .collect();
    let votes = |assignor: Assignor| asked.iter().filter(|vote| **vote == assignor).count();
    let mut best = settings.assignors.default;
    for assignor in settings.assignors.iter() {
        if votes(assignor) > votes(best) {
            best = assignor;
        }
    }
    best
}
