//! The value: what the log says of one group.

use alloc::{
    collections::BTreeMap,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};
use core::sync::atomic::{AtomicI64, Ordering};

use hanbeon_records::{Millis, TopicId};

use super::{
    ConsumerSettings, MemberState, Partitions, Timer, TopicsImage,
    member::{LEFT, Member},
    partitions::Held,
    topics::metadata_hash,
};
use crate::record::consumer::{ConsumerRecord, GroupEpoch, ResolvedRegex};

/// The epoch of a group of which no record of kind 3 or 6 is known: Kafka 4.3 counts from 1, since 0 is a member's way to join.
const INITIAL_EPOCH: i32 = 1;

/// No version of the topics: the metadata hash must be computed.
const NOT_CHECKED: i64 = i64::MIN;

/// A KIP-848 consumer group.
///
/// Methods that decide take `&self` and return records; [`Self::apply`] is the only way the value changes. Live operation and
/// loading are the same code.
#[derive(Debug)]
pub struct ConsumerGroup {
    id: String,
    pub(super) epoch: i32,
    pub(super) metadata_hash: i64,
    pub(super) creation_time_ms: i64,
    /// A record of kind 4 lies in the log.
    has_partition_metadata: bool,
    pub(super) members: BTreeMap<String, Member>,
    /// Member ids by instance id.
    instances: BTreeMap<String, String>,
    pub(super) target_epoch: i32,
    /// When the target was computed, if anybody wrote it down.
    pub(super) target_at: Option<i64>,
    has_target_epoch: bool,
    has_epoch: bool,
    pub(super) targets: BTreeMap<String, Partitions>,
    /// Each with its topics in order.
    pub(super) resolved: BTreeMap<String, Arc<ResolvedRegex>>,
    /// How many members subscribe to each name, and with each expression.
    pub(super) names: Counts,
    pub(super) regexes: Counts,
    /// Who has each partition, or has not given it up yet.
    owners: BTreeMap<TopicId, BTreeMap<i32, String>>,
    /// The version of the topics for which the hash is known to be right; only spares work.
    checked: AtomicI64,
    /// Expressions whose topics the log did not take, and when.
    pub(super) failed: BTreeMap<String, Millis>,
}

/// The state of a group, as listed and described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupState {
    /// Without a member.
    Empty,
    /// The target assignment is older than the group epoch.
    Assigning,
    /// Not every member has its target yet.
    Reconciling,
    /// Every member has its target.
    Stable,
}

impl GroupState {
    /// Its name in answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Assigning => "Assigning",
            Self::Reconciling => "Reconciling",
            Self::Stable => "Stable",
        }
    }
}

/// How often each text is used.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts(BTreeMap<String, usize>);

impl Counts {
    pub(super) fn add<'a>(&mut self, texts: impl Iterator<Item = &'a str>) {
        for text in texts {
            match self.0.get_mut(text) {
                Some(count) => *count += 1,
                None => {
                    self.0.insert(text.into(), 1);
                }
            }
        }
    }

    pub(super) fn take<'a>(&mut self, texts: impl Iterator<Item = &'a str>) {
        for text in texts {
            if let Some(count) = self.0.get_mut(text) {
                *count -= 1;
                if *count == 0 {
                    self.0.remove(text);
                }
            }
        }
    }

    pub(super) fn contains(&self, text: &str) -> bool {
        self.0.contains_key(text)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl ConsumerGroup {
    /// A group of which nothing is known yet.
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self {
            id: id.into(),
            epoch: INITIAL_EPOCH,
            metadata_hash: 0,
            creation_time_ms: -1,
            has_partition_metadata: false,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            target_epoch: INITIAL_EPOCH,
            target_at: None,
            has_target_epoch: false,
            has_epoch: false,
            targets: BTreeMap::new(),
            resolved: BTreeMap::new(),
            names: Counts::default(),
            regexes: Counts::default(),
            owners: BTreeMap::new(),
            checked: AtomicI64::new(NOT_CHECKED),
            failed: BTreeMap::new(),
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The group epoch.
    #[must_use]
    pub const fn epoch(&self) -> i32 {
        self.epoch
    }

    /// The group epoch for which the target assignment was computed.
    #[must_use]
    pub const fn assignment_epoch(&self) -> i32 {
        self.target_epoch
    }

    /// Whether it has no member.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether the log says nothing of it (any more): the value may be dropped.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        !self.has_epoch
            && !self.has_target_epoch
            && !self.has_partition_metadata
            && self.members.is_empty()
            && self.targets.is_empty()
            && self.resolved.is_empty()
    }

    /// How many members it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// The ids of its members, in order.
    pub fn member_ids(&self) -> impl Iterator<Item = &str> {
        self.members.keys().map(String::as_str)
    }

    /// Whether a member of that id is in it.
    #[must_use]
    pub fn has_member(&self, member_id: &str) -> bool {
        self.members.contains_key(member_id)
    }

    /// The member that holds an instance id.
    #[must_use]
    pub fn static_member(&self, instance_id: &str) -> Option<&str> {
        self.instances.get(instance_id).map(String::as_str)
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> GroupState {
        if self.members.is_empty() {
            GroupState::Empty
        } else if self.epoch > self.target_epoch {
            GroupState::Assigning
        } else if self.members.values().all(|member| member.is_reconciled_to(self.target_epoch)) {
            GroupState::Stable
        } else {
            GroupState::Reconciling
        }
    }

    /// Whether a member subscribes to a topic: its offsets do not expire and cannot be deleted
    /// (`GROUP_SUBSCRIBED_TO_TOPIC`).
    #[must_use]
    pub fn is_subscribed(&self, topic: &str) -> bool {
        let matched = |regex: &ResolvedRegex| {
            regex.topics.binary_search_by(|name| name.as_str().cmp(topic)).is_ok()
        };
        self.names.contains(topic)
            || self
                .resolved
                .iter()
                .any(|(regex, found)| self.regexes.contains(regex) && matched(found))
    }

    /// Who has a partition, or was told to give it up and has not yet.
    #[must_use]
    pub fn owner(&self, topic: TopicId, partition: i32) -> Option<&str> {
        self.owners.get(&topic)?.get(&partition).map(String::as_str)
    }

    pub(crate) fn member(&self, member_id: &str) -> Option<&Member> {
        self.members.get(member_id)
    }

    /// Takes over what a record says. Records of other groups are left out.
    pub fn apply(&mut self, record: &ConsumerRecord) {
        if record.group_id() != self.id {
            return;
        }
        match record {
            ConsumerRecord::GroupEpoch { value, .. } => self.apply_epoch(value.as_ref()),
            ConsumerRecord::PartitionMetadata { value, .. } => {
                self.has_partition_metadata = value.is_some();
            }
            ConsumerRecord::Member { member_id, value, .. } => match value {
                Some(metadata) => {
                    self.change(member_id, |member| member.metadata = metadata.clone());
                }
                None => self.forget(member_id),
            },
            ConsumerRecord::TargetEpoch { value, .. } => {
                self.has_target_epoch = value.is_some();
                self.target_epoch = value.map_or(INITIAL_EPOCH, |value| value.assignment_epoch);
                self.target_at = value.and_then(|value| value.assignment_timestamp);
            }
            ConsumerRecord::TargetAssignment { member_id, value, .. } => match value {
                Some(topics) => {
                    self.targets.insert(member_id.clone(), topics.as_slice().into());
                }
                None => {
                    self.targets.remove(member_id);
                }
            },
            ConsumerRecord::CurrentAssignment { member_id, value, .. } => match value {
                Some(value) => self.change(member_id, |member| member.take_assignment(value)),
                // What is left of it is its metadata, whose tombstone comes next.
                None if self.members.contains_key(member_id) => self.change(member_id, |member| {
                    let metadata = member.metadata.clone();
                    *member = Member { metadata, epoch: LEFT, ..Member::new() };
                }),
                None => {}
            },
            ConsumerRecord::ResolvedRegex { regex, value, .. } => {
                match value {
                    Some(value) => {
                        let mut found = value.clone();
                        found.topics.sort_unstable(); // another broker's are a set
                        self.resolved.insert(regex.clone(), Arc::new(found))
                    }
                    None => self.resolved.remove(regex),
                };
                self.checked = AtomicI64::new(NOT_CHECKED);
            }
        }
    }

    fn apply_epoch(&mut self, value: Option<&GroupEpoch>) {
        self.has_epoch = value.is_some();
        self.epoch = value.map_or(INITIAL_EPOCH, |value| value.epoch);
        self.metadata_hash = value.map_or(0, |value| value.metadata_hash);
        self.creation_time_ms = value.map_or(-1, |value| value.creation_time_ms);
        self.checked = AtomicI64::new(NOT_CHECKED);
    }

    /// Changes a member, which is made when it is not there (a compacted log may tell of what it has before it tells who it is), and
    /// what is derived from members.
    fn change(&mut self, member_id: &str, how: impl FnOnce(&mut Member)) {
        let mut member = self.members.remove(member_id).unwrap_or_else(Member::new);
        self.unlink(member_id, &member);
        how(&mut member);
        self.link(member_id, &member);
        self.members.insert(member_id.into(), member);
    }

    fn forget(&mut self, member_id: &str) {
        if let Some(member) = self.members.remove(member_id) {
            self.unlink(member_id, &member);
        }
    }

    fn link(&mut self, member_id: &str, member: &Member) {
        self.names.add(member.metadata.subscribed_topic_names.iter().map(String::as_str));
        self.regexes.add(member.regex().into_iter());
        if let Some(instance) = member.instance_id() {
            self.instances.insert(instance.into(), member_id.into());
        }
        for (topic, partition) in held(member) {
            self.owners.entry(topic).or_default().insert(partition, member_id.into());
        }
        self.checked = AtomicI64::new(NOT_CHECKED);
    }

    fn unlink(&mut self, member_id: &str, member: &Member) {
        self.names.take(member.metadata.subscribed_topic_names.iter().map(String::as_str));
        self.regexes.take(member.regex().into_iter());
        if let Some(instance) = member.instance_id()
            && self.instances.get(instance).is_some_and(|holder| holder == member_id)
        {
            self.instances.remove(instance);
        }
        for (topic, partition) in held(member) {
            let Some(of_topic) = self.owners.get_mut(&topic) else { continue };
            if of_topic.get(&partition).is_some_and(|owner| owner == member_id) {
                of_topic.remove(&partition);
            }
            if of_topic.is_empty() {
                self.owners.remove(&topic);
            }
        }
        self.checked = AtomicI64::new(NOT_CHECKED);
    }

    pub(super) fn is_checked(&self, version: i64) -> bool {
        version != NOT_CHECKED && self.checked.load(Ordering::Relaxed) == version
    }

    /// Remembers that the hash is right for these topics.
    pub(super) fn note_checked(&self, version: i64) {
        self.checked.store(version, Ordering::Relaxed);
    }

    /// Whether the target is too young for another to be computed.
    pub(super) fn is_soon(&self, now: Millis, settings: &ConsumerSettings) -> bool {
        let since = |at: i64| now.since(Millis::new(at));
        self.target_at.is_some_and(|at| (0..settings.assignment_interval_ms).contains(&since(at)))
    }

    /// Whether the next heartbeat or join has a target computed.
    pub(super) fn is_target_due(&self, now: Millis, settings: &ConsumerSettings) -> bool {
        self.epoch > self.target_epoch && !self.is_soon(now, settings)
    }

    /// The members, by id.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&String, &Member)> {
        self.members.iter()
    }

    /// The timers of a group that was just loaded.
    #[must_use]
    pub fn timers_on_load(&self, settings: &ConsumerSettings) -> Vec<Timer> {
        let mut timers = Vec::new();
        for (member_id, member) in &self.members {
            let after_ms = match &member.metadata.classic {
                Some(classic) => classic.session_timeout_ms,
                None => settings.session_timeout_ms,
            };
            timers.push(Timer::Session { member_id: member_id.clone(), after_ms });
            if member.state == MemberState::UnrevokedPartitions && !member.revoking.is_empty() {
                timers.push(Timer::Rebalance {
                    member_id: member_id.clone(),
                    member_epoch: member.epoch,
                    after_ms: member.metadata.rebalance_timeout_ms,
                });
            }
        }
        timers
    }

    /// Tombstones for all that the log says of the group.
    #[must_use]
    pub fn remove(&self) -> Vec<ConsumerRecord> {
        let group_id = || self.id.to_string();
        let mut records = Vec::new();
        let of_member = |member_id: &String| (group_id(), member_id.clone());
        records.extend(self.members.keys().map(of_member).map(|(group_id, member_id)| {
            ConsumerRecord::CurrentAssignment { group_id, member_id, value: None }
        }));
        records.extend(self.targets.keys().map(of_member).map(|(group_id, member_id)| {
            ConsumerRecord::TargetAssignment { group_id, member_id, value: None }
        }));
        records.push(ConsumerRecord::TargetEpoch { group_id: group_id(), value: None });
        records.extend(self.members.keys().map(of_member).map(|(group_id, member_id)| {
            ConsumerRecord::Member { group_id, member_id, value: None }
        }));
        records.extend(self.resolved.keys().map(|regex| ConsumerRecord::ResolvedRegex {
            group_id: group_id(),
            regex: regex.clone(),
            value: None,
        }));
        records.extend(self.partition_metadata_tombstone());
        records.push(ConsumerRecord::GroupEpoch { group_id: group_id(), value: None });
        records
    }

    /// What takes an obsolete record of kind 4 away, if there is one.
    pub(super) fn partition_metadata_tombstone(&self) -> Option<ConsumerRecord> {
        let group_id = self.id.clone();
        let tombstone = ConsumerRecord::PartitionMetadata { group_id, value: None };
        self.has_partition_metadata.then_some(tombstone)
    }

    /// The topics that these names and the resolved expressions of `regexes` stand for, in order.
    pub(super) fn hash_of(
        names: &Counts,
        regexes: &Counts,
        resolved: &BTreeMap<String, Arc<ResolvedRegex>>,
        topics: &dyn TopicsImage,
    ) -> i64 {
        let matched = resolved
            .iter()
            .filter(|(regex, _)| regexes.contains(regex))
            .flat_map(|(_, found)| found.topics.iter().map(String::as_str));
        let all: alloc::collections::BTreeSet<&str> = names.iter().chain(matched).collect();
        metadata_hash(all.into_iter(), topics)
    }
}

fn held(member: &Member) -> impl Iterator<Item = (TopicId, i32)> + '_ {
    let partitions = |held: &Held| held.iter().map(|(t, p, _)| (t, p)).collect::<Vec<_>>();
    partitions(&member.assigned).into_iter().chain(partitions(&member.revoking))
}
