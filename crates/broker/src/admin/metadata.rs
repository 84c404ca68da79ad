//! `Metadata` and `DescribeTopicPartitions`: what topics there are and who leads their partitions.

use std::{collections::BTreeSet, sync::Arc};

use hanbeon::{Env, RESERVED_TOPICS, Topic};
use hanbeon_records::{ErrorCode, TopicId, TopicName};
use hanbeon_wire::{
    Answer, Request, WireError,
    messages::{describe_topic_partitions as describe, metadata, page, text, topic_id, uuid},
};

use super::{
    Answered,
    cluster::{CLUSTER_OPERATIONS, NO_OPERATIONS, TOPIC_OPERATIONS},
    number, respond,
};
use crate::dispatch::Node;

/// Partitions that one `DescribeTopicPartitions` answer lists at most (`max.request.partition.size.limit`).
const PARTITIONS_MAX: i32 = 2000;

/// The first version that looks topics up by id; 10 and 11 have a place for one (`KafkaApis.handleTopicMetadataRequest`).
const BY_ID_VERSION_MIN: i16 = 12;

/// Whether a Metadata request could be answered from what there is.
pub(super) enum Asked {
    Answered(Answer),
    /// It names topics that are to be created first.
    Creates,
}

/// Answers at once where no topic has to be created.
pub(super) fn answer<E: Env>(node: &Node<E>, request: &Request) -> Result<Asked, WireError> {
    let asked: metadata::Request = request.decode()?;
    if request.reply_to.version < BY_ID_VERSION_MIN && asks_by_id(&asked) {
        return respond::<metadata::Request>(request, &refused(&asked)).map(Asked::Answered);
    }
    if !to_create(node, &asked).is_empty() {
        return Ok(Asked::Creates);
    }
    write(node, request, &asked).map(Asked::Answered)
}

/// Answers from what there was, then creates the topics that were missing: as with Kafka the client finds them when it asks again.
pub(super) fn create_and_answer<E: Env>(node: &Node<E>, request: &Request) -> Answered {
    let asked: metadata::Request = request.decode()?;
    let answer = write(node, request, &asked)?;
    for name in to_create(node, &asked) {
        if let Err(error) = node.engine.auto_create_topic(&name) {
            tracing::warn!(topic = name, %error, "a topic could not be created on demand");
        }
    }
    Ok(answer)
}

fn asks_by_id(asked: &metadata::Request) -> bool {
    let by_id = |topic: &metadata::MetadataRequestTopic| {
        topic.name.is_none() || topic_id(topic.topic_id) != TopicId::ZERO
    };
    asked.topics.iter().flatten().any(by_id)
}

/// `INVALID_REQUEST` for every topic, and nothing else, as in `MetadataRequest.getErrorResponse`.
fn refused(asked: &metadata::Request) -> metadata::Response {
    let topics = asked.topics.iter().flatten().map(|topic| metadata::MetadataResponseTopic {
        // No null before version 12.
        name: Some(topic.name.clone().unwrap_or_else(|| text(""))),
        topic_id: topic.topic_id,
        ..missing(ErrorCode::InvalidRequest)
    });
    metadata::Response { topics: topics.collect(), ..Default::default() }
}

fn to_create<E: Env>(node: &Node<E>, asked: &metadata::Request) -> Vec<String> {
    let Some(topics) = &asked.topics else { return Vec::new() };
    if !asked.allow_auto_topic_creation
        || node.engine.settings().flag("auto.create.topics.enable") == Some(false)
    {
        return Vec::new();
    }
    let image = node.engine.image();
    let names: BTreeSet<&str> =
        topics.iter().filter_map(|topic| Some(topic.name.as_ref()?.as_str())).collect();
    names
        .into_iter()
        .filter(|name| {
            image.topic(name).is_none()
                && TopicName::new(name).is_ok()
                && !RESERVED_TOPICS.contains(name)
        })
        .map(str::to_owned)
        .collect()
}

fn write<E: Env>(node: &Node<E>, request: &Request, asked: &metadata::Request) -> Answered {
    let image = node.engine.image();
    let node_id = node.engine.node_id().get();
    let version = request.reply_to.version;
    let topics: Vec<_> = match &asked.topics {
        None => image.topics().into_iter().map(|topic| known(topic, node_id)).collect(),
        // In version 0 an empty list meant all topics.
        Some(topics) if topics.is_empty() && version == 0 => {
            image.topics().into_iter().map(|topic| known(topic, node_id)).collect()
        }
        // Each once, however often it is named: a set in Kafka, too.
        Some(topics) => {
            let (mut names, mut ids) = (BTreeSet::new(), BTreeSet::new());
            let first = topics.iter().filter(|topic| match &topic.name {
                Some(name) => names.insert(name.as_str()),
                None => ids.insert(topic_id(topic.topic_id)),
            });
            first.map(|topic| one(&image, topic, node_id)).collect()
        }
    };
    let topics = topics.into_iter().map(|mut topic| {
        if asked.include_topic_authorized_operations && topic.error_code == 0 {
            topic.topic_authorized_operations = TOPIC_OPERATIONS;
        }
        topic
    });
    let mut response = metadata::Response {
        brokers: vec![metadata::MetadataResponseBroker {
            node_id,
            host: text(&node.endpoint.host),
            port: node.endpoint.port.into(),
            ..Default::default()
        }],
        cluster_id: Some(text(node.engine.cluster_id())),
        controller_id: node_id,
        topics: topics.collect(),
        cluster_authorized_operations: NO_OPERATIONS,
        ..Default::default()
    };
    if asked.include_cluster_authorized_operations && (8..=10).contains(&version) {
        response.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    respond::<metadata::Request>(request, &response)
}

fn one<E: Env>(
    image: &hanbeon::Image<E>,
    asked: &metadata::MetadataRequestTopic,
    node_id: i32,
) -> metadata::MetadataResponseTopic {
    let id = topic_id(asked.topic_id);
    let Some(name) = &asked.name else {
        return match image.topic_by_id(id) {
            Some(topic) => known(topic, node_id),
            None => metadata::MetadataResponseTopic {
                name: None,
                topic_id: asked.topic_id,
                ..missing(if id == TopicId::ZERO {
                    ErrorCode::InvalidRequest
                } else {
                    ErrorCode::UnknownTopicId
                })
            },
        };
    };
    match image.topic(name.as_str()) {
        Some(topic) => known(topic, node_id),
        None => metadata::MetadataResponseTopic {
            name: Some(name.clone()),
            ..missing(no_topic(name.as_str()))
        },
    }
}

/// Why there is no topic of this name.
pub(super) fn no_topic(name: &str) -> ErrorCode {
    match TopicName::new(name) {
        Ok(_) => ErrorCode::UnknownTopicOrPartition,
        Err(_) => ErrorCode::InvalidTopicException,
    }
}

fn missing(code: ErrorCode) -> metadata::MetadataResponseTopic {
    metadata::MetadataResponseTopic {
        error_code: number(code),
        topic_authorized_operations: NO_OPERATIONS,
        ..Default::default()
    }
}

fn known<E: Env>(topic: &Arc<Topic<E>>, node_id: i32) -> metadata::MetadataResponseTopic {
    let partitions =
        topic.partitions().iter().map(|partition| metadata::MetadataResponsePartition {
            partition_index: partition.number(),
            leader_id: node_id,
            leader_epoch: partition.leader_epoch().get(),
            replica_nodes: vec![node_id],
            isr_nodes: vec![node_id],
            ..Default::default()
        });
    metadata::MetadataResponseTopic {
        name: Some(text(topic.name().as_str())),
        topic_id: uuid(topic.id()),
        is_internal: topic.is_internal(),
        partitions: partitions.collect(),
        topic_authorized_operations: NO_OPERATIONS,
        ..Default::default()
    }
}

/// Lists partitions page by page, topics in the order of their names (KIP-966).
pub(super) fn describe_partitions<E: Env>(node: &Node<E>, request: &Request) -> Answered {
    let asked: describe::Request = request.decode()?;
    let image = node.engine.image();
    let node_id = node.engine.node_id().get();
    let mut names: Vec<String> = if asked.topics.is_empty() {
        image.topics().into_iter().map(|topic| topic.name().to_string()).collect()
    } else {
        asked.topics.iter().map(|topic| topic.name.as_str().to_owned()).collect()
    };
    names.sort();
    names.dedup();
    let (from_topic, from_partition) = match &asked.cursor {
        Some(cursor) => (cursor.topic_name.as_str().to_owned(), cursor.partition_index.max(0)),
        None => (String::new(), 0),
    };
    let mut room = asked.response_partition_limit.clamp(1, PARTITIONS_MAX);
    let mut response = describe::Response::default();
    for name in names.into_iter().filter(|name| *name >= from_topic) {
        if room == 0 {
            response.next_cursor = Some(Box::new(cursor(&name, 0)));
            break;
        }
        let Some(topic) = image.topic(&name) else {
            response.topics.push(describe::DescribeTopicPartitionsResponseTopic {
                error_code: number(no_topic(&name)),
                name: Some(text(&name)),
                topic_authorized_operations: TOPIC_OPERATIONS,
                ..Default::default()
            });
            continue;
        };
        let start = if name == from_topic { from_partition } else { 0 };
        let mut described = describe::DescribeTopicPartitionsResponseTopic {
            name: Some(text(&name)),
            topic_id: uuid(topic.id()),
            is_internal: topic.is_internal(),
            topic_authorized_operations: TOPIC_OPERATIONS,
            ..Default::default()
        };
        for partition in topic.partitions().iter().filter(|partition| partition.number() >= start) {
            if room == 0 {
                response.next_cursor = Some(Box::new(cursor(&name, partition.number())));
                break;
            }
            room -= 1;
            described.partitions.push(describe::DescribeTopicPartitionsResponsePartition {
                partition_index: partition.number(),
                leader_id: node_id,
                leader_epoch: partition.leader_epoch().get(),
                replica_nodes: vec![node_id],
                isr_nodes: vec![node_id],
                eligible_leader_replicas: Some(Vec::new()),
                last_known_elr: Some(Vec::new()),
                ..Default::default()
            });
        }
        response.topics.push(described);
        if response.next_cursor.is_some() {
            break;
        }
    }
    respond::<describe::Request>(request, &response)
}

fn cursor(topic: &str, partition: i32) -> page::Next {
    page::Next { topic_name: text(topic), partition_index: partition, ..Default::default() }
}
