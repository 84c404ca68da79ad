//! A group as `ConsumerGroupDescribe` tells it.

use alloc::{string::String, vec::Vec};

use super::{
    ConsumerGroup, ConsumerSettings, GroupState, Partitions, TopicsImage, draft::preferred,
    member::Member,
};
use hanbeon_records::TopicId;

/// What is told of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// Where it stands.
    pub state: GroupState,
    /// The group epoch.
    pub group_epoch: i32,
    /// The group epoch of the target assignment.
    pub assignment_epoch: i32,
    /// The assignor in use.
    pub assignor_name: &'static str,
    /// The members, by id.
    pub members: Vec<MemberDescription>,
}

/// What is told of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberDescription {
    /// Its id.
    pub member_id: String,
    /// Of a static member.
    pub instance_id: Option<String>,
    /// Where it runs.
    pub rack_id: Option<String>,
    /// Its epoch.
    pub member_epoch: i32,
    /// Its client's name.
    pub client_id: String,
    /// Its address.
    pub client_host: String,
    /// Topics it subscribes to by name.
    pub subscribed_topic_names: Vec<String>,
    /// The expression it subscribes with, empty without one.
    pub subscribed_topic_regex: String,
    /// What it may read.
    pub assignment: Vec<TopicAssignment>,
    /// What it is to have.
    pub target_assignment: Vec<TopicAssignment>,
    /// Which protocol it speaks.
    pub member_type: MemberType,
}

/// Which protocol a member speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberType {
    /// The classic one.
    Classic,
    /// KIP-848.
    Consumer,
}

impl MemberType {
    /// Its number in version 1 of the answer.
    #[must_use]
    pub const fn number(self) -> i8 {
        match self {
            Self::Classic => 0,
            Self::Consumer => 1,
        }
    }
}

/// Partitions of a topic that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicAssignment {
    /// The topic's identity.
    pub topic_id: TopicId,
    /// The topic's name.
    pub topic_name: String,
    /// Its partitions.
    pub partitions: Vec<i32>,
}

impl ConsumerGroup {
    /// Tells of the group; topics that are gone are left out.
    #[must_use]
    pub fn describe(
        &self,
        topics: &dyn TopicsImage,
        settings: &ConsumerSettings,
    ) -> GroupDescription {
        let member = |(id, member): (&String, &Member)| self.describe_member(id, member, topics);
        GroupDescription {
            state: self.state(),
            group_epoch: self.epoch,
            assignment_epoch: self.target_epoch,
            assignor_name: preferred(self.members.values(), settings).name(),
            members: self.members.iter().map(member).collect(),
        }
    }

    fn describe_member(
        &self,
        member_id: &str,
        member: &Member,
        topics: &dyn TopicsImage,
    ) -> MemberDescription {
        let metadata = &member.metadata;
        let member_type =
            if member.speaks_classic() { MemberType::Classic } else { MemberType::Consumer };
        let target =
            self.targets.get(member_id).map_or_else(Vec::new, |target| named(target, topics));
        MemberDescription {
            member_id: member_id.into(),
            instance_id: metadata.instance_id.clone(),
            rack_id: metadata.rack_id.clone(),
            member_epoch: member.epoch,
            client_id: metadata.client_id.clone(),
            client_host: metadata.client_host.clone(),
            subscribed_topic_names: metadata.subscribed_topic_names.clone(),
            subscribed_topic_regex: metadata.subscribed_topic_regex.clone().unwrap_or_default(),
            assignment: named(&member.assigned.partitions(), topics),
            target_assignment: target,
            member_type,
        }
    }
}

fn named(partitions: &Partitions, topics: &dyn TopicsImage) -> Vec<TopicAssignment> {
    let of_topic = |(topic_id, numbers): (TopicId, &alloc::collections::BTreeSet<i32>)| {
        let topic_name = topics.name(topic_id)?.into();
        Some(TopicAssignment {
            topic_id,
            topic_name,
            partitions: numbers.iter().copied().collect(),
        })
    };
    partitions.topics().filter_map(of_topic).collect()
}
