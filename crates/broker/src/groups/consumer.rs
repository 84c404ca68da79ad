//! `ConsumerGroupHeartbeat` and `ConsumerGroupDescribe`: the newer protocol (KIP-848).

use std::{future, sync::Arc};

use hanbeon::{
    Env, Groups,
    group::consumer::{
        GroupDescription, Heartbeat, MemberDescription, Partitions, TopicAssignment,
    },
};
use hanbeon_records::ErrorCode;
use hanbeon_wire::{
    Request,
    messages::{
        Text, consumer_group_describe as describe, consumer_group_heartbeat as heartbeat,
        heartbeat_partitions::{Assigned, Owned},
        text, topic_id, uuid,
    },
};

use super::{GROUP_OPERATIONS, NO_OPERATIONS, client_id, consult, members::name, ready, told};
use crate::{
    admin::{Answered, number, respond, words},
    connection::Peer,
    dispatch::Node,
};

pub(super) async fn heartbeat<E: Env>(
    node: &Arc<Node<E>>,
    peer: &Peer,
    request: &Request,
) -> Answered {
    let asked: heartbeat::Request = request.decode()?;
    let beaten = async {
        let refused = |code| (code, None);
        ready(node, asked.group_id.as_str()).await.map_err(refused)?;
        let group = name(&asked.group_id).map_err(|error| (error.code(), words(&error)))?;
        let beat = asked_heartbeat(&asked, peer, request);
        let beat = move |groups: Groups<E>| groups.consumer_heartbeat(group, beat);
        let beaten = consult(node, asked.group_id.as_str(), beat).await.map_err(refused)?;
        beaten.map_err(|error| (told(node, &error, request), words(&error)))
    };
    let response = match beaten.await {
        Ok(reply) => heartbeat::Response {
            member_id: Some(text(&reply.member_id)),
            member_epoch: reply.member_epoch,
            heartbeat_interval_ms: reply.heartbeat_interval_ms,
            assignment: reply.assignment.as_ref().map(|partitions| Box::new(assigned(partitions))),
            ..Default::default()
        },
        Err((code, error_message)) => {
            heartbeat::Response { error_code: number(code), error_message, ..Default::default() }
        }
    };
    respond::<heartbeat::Request>(request, &response)
}

fn asked_heartbeat(asked: &heartbeat::Request, peer: &Peer, request: &Request) -> Heartbeat {
    let optional = |text: &Option<Text>| text.as_ref().map(ToString::to_string);
    let names = |names: &Vec<Text>| names.iter().map(ToString::to_string).collect();
    Heartbeat {
        version: request.reply_to.version,
        member_id: asked.member_id.to_string(),
        member_epoch: asked.member_epoch,
        instance_id: optional(&asked.instance_id),
        rack_id: optional(&asked.rack_id),
        rebalance_timeout_ms: asked.rebalance_timeout_ms,
        subscribed_topic_names: asked.subscribed_topic_names.as_ref().map(names),
        subscribed_topic_regex: optional(&asked.subscribed_topic_regex),
        server_assignor: optional(&asked.server_assignor),
        owned: asked.topic_partitions.as_deref().map(owned),
        client_id: client_id(request),
        client_host: peer.host.to_string(),
    }
}

fn owned(topics: &[Owned]) -> Partitions {
    let mut partitions = Partitions::new();
    for topic in topics {
        for number in &topic.partitions {
            partitions.insert(topic_id(topic.topic_id), *number);
        }
    }
    partitions
}

fn assigned(partitions: &Partitions) -> heartbeat::Assignment {
    let topics = partitions.topics().map(|(id, numbers)| Assigned {
        topic_id: uuid(id),
        partitions: numbers.iter().copied().collect(),
        ..Default::default()
    });
    heartbeat::Assignment { topic_partitions: topics.collect(), ..Default::default() }
}

pub(super) async fn describe<E: Env>(node: &Arc<Node<E>>, request: &Request) -> Answered {
    let asked: describe::Request = request.decode()?;
    let mut response = describe::Response::default();
    let mut size = node.answer_size();
    for group in &asked.group_ids {
        let described = async {
            size.has_room().map_err(|error| (error.code(), words(&error)))?;
            let (refused, id) = (|code| (code, None), group.as_str());
            ready(node, id).await.map_err(refused)?;
            let group = name(group).map_err(|error| (error.code(), words(&error)))?;
            let describe = move |groups: Groups<E>| future::ready(groups.describe_consumer(&group));
            let described = consult(node, id, describe).await.map_err(refused)?;
            described.map_err(|error| (told(node, &error, request), words(&error)))
        };
        let mut answer = match described.await {
            Ok(description) => {
                size.add(description.members.iter().map(member_len).sum());
                shown(&description)
            }
            Err((code, message)) => refusal(code, message),
        };
        answer.group_id = group.clone();
        answer.authorized_operations =
            if asked.include_authorized_operations && answer.error_code == 0 {
                GROUP_OPERATIONS
            } else {
                NO_OPERATIONS
            };
        response.groups.push(answer);
    }
    respond::<describe::Request>(request, &response)
}

fn refusal(code: ErrorCode, error_message: Option<Text>) -> describe::DescribedGroup {
    describe::DescribedGroup { error_code: number(code), error_message, ..Default::default() }
}

fn shown(description: &GroupDescription) -> describe::DescribedGroup {
    describe::DescribedGroup {
        group_state: text(description.state.name()),
        group_epoch: description.group_epoch,
        assignment_epoch: description.assignment_epoch,
        assignor_name: text(description.assignor_name),
        members: description.members.iter().map(shown_member).collect(),
        ..Default::default()
    }
}

/// Bytes on the wire, about.
fn member_len(member: &MemberDescription) -> usize {
    let topics = member.assignment.iter().chain(&member.target_assignment);
    let assigned = topics.map(|topic| 16 + topic.topic_name.len() + 4 * topic.partitions.len());
    let subscribed = member.subscribed_topic_names.iter().map(|name| 2 + name.len());
    let names = [&member.member_id, &member.client_id, &member.client_host];
    let names = names.iter().map(|name| name.len()).sum::<usize>();
    names + member.subscribed_topic_regex.len() + assigned.chain(subscribed).sum::<usize>()
}

fn shown_member(member: &MemberDescription) -> describe::Member {
    describe::Member {
        member_id: text(&member.member_id),
        instance_id: member.instance_id.as_deref().map(text),
        rack_id: member.rack_id.as_deref().map(text),
        member_epoch: member.member_epoch,
        client_id: text(&member.client_id),
        client_host: text(&member.client_host),
        subscribed_topic_names: member.subscribed_topic_names.iter().map(|t| text(t)).collect(),
        subscribed_topic_regex: Some(text(&member.subscribed_topic_regex)),
        assignment: assignment(&member.assignment),
        target_assignment: assignment(&member.target_assignment),
        // Version 0 has no place for it and leaves it out.
        member_type: member.member_type.number(),
        ..Default::default()
    }
}

fn assignment(topics: &[TopicAssignment]) -> describe::Assignment {
    let topics = topics.iter().map(|topic| describe::TopicPartitions {
        topic_id: uuid(topic.topic_id),
        topic_name: text(&topic.topic_name),
        partitions: topic.partitions.clone(),
        ..Default::default()
    });
    describe::Assignment { topic_partitions: topics.collect(), ..Default::default() }
}
