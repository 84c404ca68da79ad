//! A member of a group as the coordinator knows it: who it is, and what it says.

use hanbeon_group::{
    Membership, Name,
    consumer::{Heartbeat, Partitions},
};
use hanbeon_records::ErrorCode;

use super::{
    builder::{Subscription, refused},
    seats::MemberKey,
};
use crate::{
    ClientError, ConsumerSettings, Engine, Env, GroupsError, groups::consumer_settings,
    meta_properties::random_id,
};

/// Where members of this process run, in the place of an address. A client that comes over the network cannot choose what stands here.
const HOST: &str = "in-process";
const CLIENT: &str = "hanbeon";

/// A way to say farewell, in the place of an epoch.
const LEAVE: i32 = -1;
const LEAVE_FOR_A_WHILE: i32 = -2;

#[derive(Debug)]
pub(super) struct Member {
    pub(super) key: MemberKey,
    instance_id: Option<Name>,
    subscription: Subscription,
    rebalance_timeout_ms: i32,
    /// 0 when it is not in the group.
    pub(super) epoch: i32,
}

impl Member {
    pub(super) fn new<E: Env>(
        engine: &Engine<E>,
        (group, instance_id): (Name, Option<Name>),
        subscription: Subscription,
        settings: &ConsumerSettings,
    ) -> Result<Self, ClientError> {
        let id = random_id(|| engine.env().random()).to_string();
        let member_id = Name::new(&id).map_err(GroupsError::from)?;
        let key = MemberKey { group, member_id };
        let rebalance_timeout_ms = settings.max_poll_interval_ms;
        let member = Self { key, instance_id, subscription, rebalance_timeout_ms, epoch: 0 };
        let group = member.key.group.as_str();
        let limits = consumer_settings(&engine.settings(), engine.group_settings(group));
        member.heartbeat(Partitions::new()).check(group, &limits).map_err(refused)?;
        Ok(member)
    }

    /// All that there is to say, so that no earlier answer has to have been heard.
    pub(super) fn heartbeat(&self, owned: Partitions) -> Heartbeat {
        let (topics, pattern) = match &self.subscription {
            Subscription::Topics(topics) => (Some(topics.clone()), None),
            Subscription::Pattern(pattern) => (None, Some(pattern.clone())),
        };
        Heartbeat {
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            subscribed_topic_names: topics,
            subscribed_topic_regex: pattern,
            owned: Some(owned),
            ..self.says(self.epoch)
        }
    }

    /// A dynamic member leaves for good; a static one comes again.
    pub(super) fn farewell(&self) -> Heartbeat {
        self.says(if self.instance_id.is_some() { LEAVE_FOR_A_WHILE } else { LEAVE })
    }

    fn says(&self, member_epoch: i32) -> Heartbeat {
        let instance_id = self.instance_id.as_ref().map(ToString::to_string);
        word(self.key.member_id.to_string(), instance_id, member_epoch)
    }

    /// In whose name offsets are committed. Before it joined and after it was put out that is nobody who may.
    pub(super) fn membership(&self) -> Membership {
        Membership {
            generation: self.epoch,
            member_id: self.key.member_id.clone(),
            instance_id: self.instance_id.clone(),
        }
    }

    /// Takes members of this process's earlier lives out of the group. One process at a time has the data directory, so they are dead,
    /// and nobody has to wait for their sessions to end. Those that left for a while come again.
    pub(super) async fn bury_dead<E: Env>(&self, engine: &Engine<E>) -> Result<(), GroupsError> {
        let (groups, group) = (engine.groups(), &self.key.group);
        // Whatever is wrong with the group, the join says it.
        let members = groups.describe_consumer(group).map_or_else(|_| Vec::new(), |it| it.members);
        for found in members {
            if found.client_host != HOST || found.member_epoch == LEAVE_FOR_A_WHILE {
                continue;
            }
            let member_id = Name::new(&found.member_id)?;
            if engine.shared().members.has(&MemberKey { group: group.clone(), member_id }) {
                continue;
            }
            let farewell = word(found.member_id, found.instance_id, LEAVE);
            match groups.consumer_heartbeat(group.clone(), farewell).await {
                Err(error) if error.code() != ErrorCode::UnknownMemberId => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }
}

fn word(member_id: String, instance_id: Option<String>, member_epoch: i32) -> Heartbeat {
    Heartbeat {
        version: 1,
        member_id,
        member_epoch,
        instance_id,
        rack_id: None,
        rebalance_timeout_ms: -1,
        subscribed_topic_names: None,
        subscribed_topic_regex: None,
        server_assignor: None,
        owned: None,
        client_id: CLIENT.to_owned(),
        client_host: HOST.to_owned(),
    }
}
