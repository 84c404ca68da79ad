//! `DescribeCluster`, `ElectLeaders` and `SaslHandshake`.

use hanbeon::Env;
use hanbeon_records::ErrorCode;
use hanbeon_wire::{
    Request,
    messages::{describe_cluster, elect_leaders as elect, sasl_handshake, text},
};

use super::{Answered, number, respond};
use crate::dispatch::Node;

/// A client asks for brokers with 1 and for controllers with 2 (KIP-919).
const BROKERS: i8 = 1;
/// "Not asked for", in the form of an operation set.
pub(super) const NO_OPERATIONS: i32 = i32::MIN;
/// All operations there are on a cluster: create, alter, describe, cluster action, describe and alter configs, idempotent write.
pub(super) const CLUSTER_OPERATIONS: i32 = 0x1fa0;
/// All operations there are on a topic: read, write, create, delete, alter, describe, describe and alter configs.
pub(super) const TOPIC_OPERATIONS: i32 = 0x0df8;

pub(super) fn describe<E: Env>(node: &Node<E>, request: &Request) -> Answered {
    let asked: describe_cluster::Request = request.decode()?;
    let mut response = describe_cluster::Response {
        cluster_id: text(node.engine.cluster_id()),
        endpoint_type: BROKERS,
        cluster_authorized_operations: NO_OPERATIONS,
        ..Default::default()
    };
    if asked.endpoint_type == BROKERS {
        response.controller_id = node.engine.node_id().get();
        if asked.include_cluster_authorized_operations {
            response.cluster_authorized_operations = CLUSTER_OPERATIONS;
        }
        response.brokers = vec![describe_cluster::DescribeClusterBroker {
            broker_id: node.engine.node_id().get(),
            host: text(&node.endpoint.host),
            port: node.endpoint.port.into(),
            ..Default::default()
        }];
    } else {
        response.error_code = number(ErrorCode::MismatchedEndpointType);
        response.error_message =
            Some(text("this is a broker; ask it for brokers (endpoint type 1)"));
        response.controller_id = -1;
    }
    respond::<describe_cluster::Request>(request, &response)
}

/// Nobody has to say who he is on a PLAINTEXT listener. Kafka answers as it does to who has said so already, and goes on.
pub(super) fn sasl_handshake(request: &Request) -> Answered {
    request.decode::<sasl_handshake::Request>()?;
    let error_code = number(ErrorCode::IllegalSaslState);
    let response = sasl_handshake::Response { error_code, ..Default::default() };
    respond::<sasl_handshake::Request>(request, &response)
}

/// On one node every leader is the preferred one and there is nobody else to elect.
pub(super) fn elect_leaders<E: Env>(node: &Node<E>, request: &Request) -> Answered {
    const PREFERRED: i8 = 0;
    const UNCLEAN: i8 = 1;
    let asked: elect::Request = request.decode()?;
    let known_type = matches!(asked.election_type, PREFERRED | UNCLEAN);
    let image = node.engine.image();
    let named = match asked.topic_partitions {
        Some(named) => named,
        None => image
            .topics()
            .into_iter()
            .map(|topic| elect::TopicPartitions {
                topic: text(topic.name().as_str()),
                partitions: topic
                    .partitions()
                    .iter()
                    .map(hanbeon::PartitionHandle::number)
                    .collect(),
                ..Default::default()
            })
            .collect(),
    };
    let results = named.into_iter().map(|topic| {
        let found = image.topic(topic.topic.as_str());
        let partition_result = topic.partitions.iter().map(|&partition_id| {
            let there = found.is_some_and(|found| found.partition(partition_id).is_some());
            let (code, why) = match (known_type, there) {
                (false, _) => (
                    ErrorCode::InvalidRequest,
                    "an election is of type 0 (preferred) or 1 (unclean)",
                ),
                (true, false) => (ErrorCode::UnknownTopicOrPartition, "there is no such partition"),
                (true, true) => {
                    (ErrorCode::ElectionNotNeeded, "the leader is the preferred replica")
                }
            };
            elect::PartitionResult {
                partition_id,
                error_code: number(code),
                error_message: Some(text(why)),
                ..Default::default()
            }
        });
        elect::ReplicaElectionResult {
            topic: topic.topic.clone(),
            partition_result: partition_result.collect(),
            ..Default::default()
        }
    });
    let mut response =
        elect::Response { replica_election_results: results.collect(), ..Default::default() };
    // Version 0 has no code for the whole; each partition tells it.
    if !known_type && request.reply_to.version >= 1 {
        response.error_code = number(ErrorCode::InvalidRequest);
    }
    respond::<elect::Request>(request, &response)
}
