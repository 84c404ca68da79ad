//! Groups of the newer protocol (KIP-848): what their coordinator must know of topics and settings, and their calls.

use std::{future::Future, sync::Arc};

use hanbeon_group::{
    GroupError, Name, Reply,
    consumer::{
        Assignor, Assignors, ConsumerSettings, GroupDescription, Heartbeat, HeartbeatReply,
        MigrationPolicy, SettingsOfGroups, Topic as GroupTopic, TopicsImage,
    },
};
use hanbeon_log::sync::RwLock;
use hanbeon_records::TopicId;

use super::{Groups, GroupsError, heard, unexpected};
use crate::{Engine, Env, Feature, GroupSettings, Image, Settings, group_configs::Cluster};

/// The word for the newer protocol in `group.coordinator.rebalance.protocols`.
const PROTOCOL: &str = "consumer";

impl<E: Env> TopicsImage for Image<E> {
    fn version(&self) -> i64 {
        self.version
    }

    fn topic(&self, name: &str) -> Option<GroupTopic> {
        let topic = Self::topic(self, name)?;
        let partitions = i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX);
        Some(GroupTopic { id: topic.id(), partitions })
    }

    fn name(&self, id: TopicId) -> Option<&str> {
        self.topic_by_id(id).map(|topic| topic.name().as_str())
    }

    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(Self::names(self))
    }
}

/// What the operator has decided about groups of the newer protocol.
pub(crate) fn settings(broker: &Settings, group: GroupSettings) -> ConsumerSettings {
    let int = |key, otherwise| broker.int(key).unwrap_or(otherwise);
    let named = broker.list("group.consumer.assignors");
    let mut assignors = named.iter().filter_map(|name| Assignor::from_name(name));
    ConsumerSettings {
        session_timeout_ms: group.session_timeout_ms,
        heartbeat_interval_ms: group.heartbeat_interval_ms,
        assignment_interval_ms: i64::from(group.assignment_interval_ms),
        max_size: usize::try_from(int("group.consumer.max.size", i32::MAX)).unwrap_or(usize::MAX),
        assignors: Assignors {
            default: assignors.next().unwrap_or(Assignor::Uniform),
            others: assignors.collect(),
        },
        regex_refresh_interval_ms: i64::from(int(
            "group.consumer.regex.refresh.interval.ms",
            600_000,
        )),
        migration_policy: broker
            .text("group.consumer.migration.policy")
            .and_then(|name| MigrationPolicy::from_name(name.trim()))
            .unwrap_or(MigrationPolicy::Bidirectional),
    }
}

/// What counts for each group at the moment of the question.
pub(crate) struct LiveSettings {
    pub(crate) broker: Arc<RwLock<Settings>>,
    pub(crate) cluster: Arc<RwLock<Cluster>>,
}

impl SettingsOfGroups for LiveSettings {
    fn of(&self, group: &str) -> ConsumerSettings {
        let broker = self.broker.read().clone();
        let own = self.cluster.read().groups.get(group).cloned().unwrap_or_default();
        settings(&broker, GroupSettings::of(&broker, &own))
    }
}

impl<E: Env> Engine<E> {
    /// Whether there may be groups of the newer protocol.
    fn speaks_consumer(&self) -> Result<(), GroupsError> {
        let broker = self.settings();
        let protocols = broker.list("group.coordinator.rebalance.protocols");
        let spoken = protocols.iter().any(|protocol| protocol.eq_ignore_ascii_case(PROTOCOL));
        if !spoken || self.features().level(Feature::GroupVersion) < 1 {
            return Err(GroupError::ConsumerProtocolOff.into());
        }
        Ok(())
    }
}

impl<E: Env> Groups<E> {
    /// `ConsumerGroupHeartbeat`: join, go on, leave.
    ///
    /// # Errors
    /// See [`GroupsError`]; `UNSUPPORTED_VERSION` while `group.version` is 0 or the protocol is not among those that are spoken.
    pub fn consumer_heartbeat(
        &self,
        group: Name,
        request: Heartbeat,
    ) -> impl Future<Output = Result<HeartbeatReply, GroupsError>> + Send + use<E> {
        let fresh = self.fresh_id();
        let asked = self.0.speaks_consumer().and_then(|()| {
            self.ask(&group.clone(), |coordinator, token, now, out| {
                coordinator.consumer_heartbeat(now, token, group, request, fresh, out);
            })
        });
        async move {
            let Reply::ConsumerHeartbeat(result) = heard(asked).await? else {
                return Err(unexpected());
            };
            Ok(result?)
        }
    }

    /// `ConsumerGroupDescribe` for one group.
    ///
    /// # Errors
    /// See [`GroupsError`].
    pub fn describe_consumer(&self, group: &Name) -> Result<GroupDescription, GroupsError> {
        self.0.speaks_consumer()?;
        let shard = self.shard(group.as_str())?;
        let groups = shard.loaded(self.0.shared())?;
        Ok(groups.coordinator.describe_consumer(group)?)
    }
}
