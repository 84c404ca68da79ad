//! `WriteTxnMarkers`: by coordinators, and by the tool that ends a transaction nobody coordinates any more (KIP-664).

use std::sync::Arc;

use hanbeon::{
    Env, MarkerRequest,
    txn::{Outcome, Protocol},
};
use hanbeon_records::{CoordinatorEpoch, ErrorCode, TopicName, TopicPartition};
use hanbeon_wire::{Request, messages::write_txn_markers as markers};

use super::{carried_out, producer};
use crate::{
    admin::{Answered, number, respond},
    dispatch::Node,
};

pub(super) async fn write<E: Env>(node: &Arc<Node<E>>, request: &Request) -> Answered {
    let asked: markers::Request = request.decode()?;
    let mut response = markers::Response::default();
    for marker in &asked.markers {
        let mut topics = Vec::with_capacity(marker.topics.len());
        for topic in &marker.topics {
            let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
            for &partition_index in &topic.partition_indexes {
                let code = one(node, marker, topic.name.as_str(), partition_index).await;
                partitions.push(markers::WritableTxnMarkerPartitionResult {
                    partition_index,
                    error_code: number(code),
                    ..Default::default()
                });
            }
            topics.push(markers::WritableTxnMarkerTopicResult {
                name: topic.name.clone(),
                partitions,
                ..Default::default()
            });
        }
        response.markers.push(markers::WritableTxnMarkerResult {
            producer_id: marker.producer_id,
            topics,
            ..Default::default()
        });
    }
    respond::<markers::Request>(request, &response)
}

async fn one<E: Env>(
    node: &Arc<Node<E>>,
    marker: &markers::WritableTxnMarker,
    topic: &str,
    partition: i32,
) -> ErrorCode {
    let Ok(topic) = TopicName::new(topic) else { return ErrorCode::UnknownTopicOrPartition };
    let request = MarkerRequest {
        producer: producer(marker.producer_id, marker.producer_epoch),
        outcome: if marker.transaction_result { Outcome::Commit } else { Outcome::Abort },
        coordinator_epoch: CoordinatorEpoch::new(marker.coordinator_epoch),
        // KIP-1228; absent in version 1, where it is 0.
        protocol: if marker.transaction_version >= 2 { Protocol::V2 } else { Protocol::V1 },
        partition: TopicPartition { topic, partition },
    };
    let transactions = node.engine.transactions();
    let delay = transactions.delay_of_marker(&request.partition);
    match carried_out(node, delay, transactions.write_marker(request)).await {
        Ok(Ok(())) => ErrorCode::None,
        Ok(Err(error)) => {
            tracing::debug!(%error, "a marker was refused");
            error.code()
        }
        // A coordinator sends it again.
        Err(_broken_off) => ErrorCode::NotLeaderOrFollower,
    }
}
