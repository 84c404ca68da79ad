//! Members that speak the classic protocol: their coordinator assigns to them as to the others, and their generation is their
//! member epoch.

use alloc::{
    collections::BTreeSet,
    string::{String, ToString},
    vec,
    vec::Vec,
};

use hanbeon_records::{Millis, TopicId};

use super::{
    ConsumerError, ConsumerGroup, ConsumerSettings, MemberState, Partitions, Timer, TopicsImage,
    draft::Draft, member::Member, topics::metadata_hash,
};
use crate::{
    Name,
    migration::embedded,
    record::consumer::{ClassicMember, ConsumerRecord, GroupEpoch, MemberMetadata, TargetEpoch},
};

/// A classic group's member in the words of KIP-848.
#[derive(Clone, Debug)]
pub(crate) struct Translated {
    pub(crate) member_id: String,
    pub(crate) metadata: MemberMetadata,
    pub(crate) assigned: Partitions,
    /// What it named as owned when it last joined: it may have that yet, although the rebalance has taken its assignment back.
    pub(crate) owned: Partitions,
}

/// Whether a `JoinGroup` came with a member id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comes {
    /// Without: `member_id` was made for it.
    New,
    /// With one.
    Again,
}

/// A `JoinGroup` to a KIP-848 group.
#[derive(Clone, Debug)]
pub(crate) struct ClassicJoin {
    pub(crate) member_id: String,
    pub(crate) comes: Comes,
    pub(crate) instance_id: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) session_timeout_ms: i32,
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) protocols: Vec<(String, Vec<u8>)>,
    pub(crate) subscription: embedded::Subscription,
}

/// What such a `JoinGroup` leads to.
#[derive(Debug)]
pub(crate) struct ClassicSeat {
    pub(crate) records: Vec<ConsumerRecord>,
    pub(crate) timers: Vec<Timer>,
    /// The member as it is then; its epoch is the generation of the answer.
    pub(crate) member: Member,
    /// Whose place it took.
    pub(crate) replaced: Option<String>,
    pub(crate) group_epoch: i32,
    pub(crate) target_epoch: i32,
}

impl Partitions {
    /// Those of topics that exist.
    pub(crate) fn named(named: &[(Name, Vec<i32>)], topics: &dyn TopicsImage) -> Self {
        let of_topic = |(name, partitions): &(Name, Vec<i32>)| {
            let topic = topics.topic(name.as_str())?;
            Some(partitions.clone().into_iter().map(move |partition| (topic.id, partition)))
        };
        named.iter().filter_map(of_topic).flatten().collect()
    }
}

impl Member {
    /// The protocol its answers name: the one it likes best.
    pub(crate) fn first_protocol(&self) -> Option<(&str, &[u8])> {
        let (name, metadata) = self.metadata.classic.as_ref()?.protocols.first()?;
        Some((name, metadata))
    }

    /// What it may read, for a classic member to understand, in the version of its subscription; topics that are gone are left out.
    pub(crate) fn share(&self, topics: &dyn TopicsImage) -> Vec<u8> {
        let partitions = self.assigned.partitions();
        let of_topic = |(id, numbers): (TopicId, &BTreeSet<i32>)| {
            Some((topics.name(id)?, numbers.iter().copied().collect::<Vec<_>>()))
        };
        let named: Vec<_> = partitions.topics().filter_map(of_topic).collect();
        let (_, subscription) = self.first_protocol().unwrap_or_default();
        embedded::write_assignment(subscription, named.into_iter())
    }
}

impl ConsumerGroup {
    /// A classic group with these members goes over: the records in the order in which Kafka writes them, and the group they make.
    /// What two members were given stays with the first; what one owned and nobody was given stays with it until it says otherwise.
    pub(crate) fn from_classic(
        id: &str,
        generation: i32,
        members: &[Translated],
        topics: &dyn TopicsImage,
    ) -> (Self, Vec<ConsumerRecord>) {
        let group_id = || id.to_string();
        let mut taken = BTreeSet::new();
        let mut shares: Vec<(String, Partitions)> = Vec::with_capacity(members.len());
        for member in members {
            let own = member.assigned.iter().filter(|own| taken.insert(*own)).collect();
            shares.push((member.member_id.clone(), own));
        }
        for (member, (_, share)) in members.iter().zip(&mut shares) {
            for (topic, partition) in member.owned.iter().filter(|own| taken.insert(*own)) {
                share.insert(topic, partition);
            }
        }
        let mut records = Vec::new();
        records.extend(members.iter().map(|member| ConsumerRecord::Member {
            group_id: group_id(),
            member_id: member.member_id.clone(),
            value: Some(member.metadata.clone()),
        }));
        let names = members.iter().flat_map(|member| &member.metadata.subscribed_topic_names);
        let names: BTreeSet<&str> = names.map(String::as_str).collect();
        let hash = metadata_hash(names.into_iter(), topics);
        let value = GroupEpoch { epoch: generation, metadata_hash: hash, creation_time_ms: -1 };
        records.push(ConsumerRecord::GroupEpoch { group_id: group_id(), value: Some(value) });
        records.extend(shares.iter().map(|(member_id, own)| ConsumerRecord::TargetAssignment {
            group_id: group_id(),
            member_id: member_id.clone(),
            value: Some(own.to_topics()),
        }));
        // Nobody computed this one, so that it is never too soon for the next.
        let value = TargetEpoch { assignment_epoch: generation, assignment_timestamp: None };
        records.push(ConsumerRecord::TargetEpoch { group_id: group_id(), value: Some(value) });
        let mut group = Self::new(id);
        records.extend(shares.into_iter().map(|(member_id, own)| {
            let mut member = Member::new();
            (member.epoch, member.previous_epoch) = (generation, generation);
            for (topic, partition) in own.iter() {
                member.assigned.insert(topic, partition, generation);
            }
            group.current_assignment(&member_id, &member)
        }));
        records.iter().for_each(|record| group.apply(record));
        (group, records)
    }

    /// Whether all that are left without these speak the classic protocol, and somebody is left.
    pub(crate) fn is_classic_without(&self, leavers: &[String]) -> bool {
        let leavers: BTreeSet<&String> = leavers.iter().collect();
        let mut left = self.members.iter().filter(|(id, _)| !leavers.contains(id)).peekable();
        left.peek().is_some() && left.all(|(_, member)| member.speaks_classic())
    }

    /// Whether one of these protocols is also every classic member's.
    pub(crate) fn shares_protocol<'a>(&'a self, own: impl Iterator<Item = &'a str>) -> bool {
        let classic = self.members.values().filter_map(|member| member.metadata.classic.as_ref());
        let mut shared: BTreeSet<&str> = own.collect();
        for member in classic {
            let theirs = member.protocols.iter().map(|(name, _)| name.as_str());
            shared = theirs.filter(|name| shared.contains(name)).collect();
        }
        !shared.is_empty()
    }

    /// A member that speaks the classic protocol joins, or joins again.
    pub(crate) fn classic_join(
        &self,
        now: Millis,
        join: &ClassicJoin,
        topics: &dyn TopicsImage,
        settings: &ConsumerSettings,
    ) -> Result<ClassicSeat, ConsumerError> {
        let mut draft = self.classic_seat(join)?;
        draft.update_member(|metadata| join.tell(metadata));
        draft.resolve(|_| None)?;
        draft.advance_epoch(topics);
        draft.assign(now, topics, settings);
        draft.reconcile(Some(&Partitions::named(&join.subscription.owned, topics)), topics)?;
        let (member, member_id) = (draft.member().clone(), join.member_id.clone());
        let mut timers = vec![Timer::CancelJoin { member_id: member_id.clone() }];
        let replaced = draft.replaced().map(String::from);
        timers.extend(replaced.clone().map(|member_id| Timer::Cancel { member_id }));
        timers.push(Timer::CancelRebalance { member_id: member_id.clone() });
        let after_ms = join.session_timeout_ms;
        timers.push(Timer::Session { member_id: member_id.clone(), after_ms });
        timers.push(Timer::Sync { member_id, after_ms: join.rebalance_timeout_ms });
        let (group_epoch, target_epoch) = draft.epochs();
        let records = draft.into_records();
        Ok(ClassicSeat { records, timers, member, replaced, group_epoch, target_epoch })
    }

    fn classic_seat(&self, join: &ClassicJoin) -> Result<Draft<'_>, ConsumerError> {
        let member_id = join.member_id.clone();
        match (join.instance_id.as_deref(), join.comes) {
            (None, _) => Ok(match self.member(&member_id) {
                Some(member) => Draft::of(self, member_id, member),
                // It was fenced and does not know: what it still reads is in other hands, perhaps.
                None if join.owns_something() => return Err(self.unknown(&member_id)),
                None => Draft::new(self, member_id),
            }),
            (Some(instance), Comes::Again) => {
                let member = self.holder(instance, &member_id)?;
                Ok(Draft::of(self, member_id, member))
            }
            // A process that was started again under the same instance; the one before it is fenced, wherever it is.
            (Some(instance), Comes::New) => {
                let holder = self.static_member(instance);
                let old = holder.and_then(|id| Some((id, self.member(id)?)));
                Ok(match old {
                    Some((old_id, old)) => Draft::replacing(self, member_id, old_id, old),
                    None => Draft::new(self, member_id),
                })
            }
        }
    }

    /// Whether a classic member has to join again: there is something for it, it is to give up something, or nobody else would have
    /// the next target computed.
    pub(crate) fn calls_back(
        &self,
        now: Millis,
        member_id: &str,
        member: &Member,
        topics: &dyn TopicsImage,
        settings: &ConsumerSettings,
    ) -> bool {
        member.epoch < self.target_epoch
            || member.state == MemberState::UnrevokedPartitions
            || (member.state == MemberState::UnreleasedPartitions
                && !self.is_held_up(member_id, member))
            || self.is_target_due(now, settings)
            || self.has_outgrown(topics)
    }

    /// Whether somebody else still has part of its target.
    fn is_held_up(&self, member_id: &str, member: &Member) -> bool {
        let target = self.targets.get(member_id).into_iter().flat_map(Partitions::iter);
        target
            .filter(|(topic, partition)| !member.assigned.contains(*topic, *partition))
            .any(|(topic, partition)| self.owner(topic, partition).is_some())
    }

    fn has_outgrown(&self, topics: &dyn TopicsImage) -> bool {
        if self.is_checked(topics.version()) {
            return false;
        }
        let hash = Self::hash_of(&self.names, &self.regexes, &self.resolved, topics);
        let outgrown = hash != self.metadata_hash;
        if !outgrown {
            self.note_checked(topics.version());
        }
        outgrown
    }
}

impl ClassicJoin {
    fn owns_something(&self) -> bool {
        self.subscription.owned.iter().any(|(_, partitions)| !partitions.is_empty())
    }

    /// What the member says of itself.
    fn tell(&self, metadata: &mut MemberMetadata) {
        if self.instance_id.is_some() {
            metadata.instance_id.clone_from(&self.instance_id);
        }
        if let Some(rack) = &self.subscription.rack_id {
            metadata.rack_id = Some(rack.as_str().into());
        }
        metadata.rebalance_timeout_ms = self.rebalance_timeout_ms;
        let names: BTreeSet<&str> = self.subscription.topics.iter().map(Name::as_str).collect();
        metadata.subscribed_topic_names = names.into_iter().map(String::from).collect();
        metadata.subscribed_topic_regex = Some(String::new());
        metadata.client_id.clone_from(&self.client_id);
        metadata.client_host.clone_from(&self.client_host);
        metadata.classic = Some(ClassicMember {
            session_timeout_ms: self.session_timeout_ms,
            protocols: self.protocols.clone(),
        });
    }
}
