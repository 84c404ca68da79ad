//! `AddPartitionsToTxn`: by clients for one transaction (up to version 3), by brokers and some clients for several at once.

use std::sync::Arc;

use hanbeon::{
    Env,
    txn::{self, AddPartitions, Membership, Producer, Protocol, Verify},
};
use hanbeon_records::{ErrorCode, TopicName, TopicPartition};
use hanbeon_wire::{Request, messages::add_partitions_to_txn as add};

use super::{carried_out, coordinated, producer, told};
use crate::{
    admin::{Answered, number, respond},
    dispatch::Node,
};

/// The first version that names several transactions.
const BATCHED_VERSION_MIN: i16 = 4;

/// A transaction and the partitions named for it.
struct Asked<'a> {
    id: &'a str,
    producer: Producer,
    topics: &'a [add::AddPartitionsToTxnTopic],
    verify_only: bool,
}

pub(super) async fn add<E: Env>(node: &Arc<Node<E>>, request: &Request) -> Answered {
    let asked: add::Request = request.decode()?;
    let mut response = add::Response::default();
    if request.reply_to.version < BATCHED_VERSION_MIN {
        let one = Asked {
            id: asked.v3_and_below_transactional_id.as_str(),
            producer: producer(asked.v3_and_below_producer_id, asked.v3_and_below_producer_epoch),
            topics: &asked.v3_and_below_topics,
            verify_only: false,
        };
        response.results_by_topic_v3_and_below = results(node, request, &one).await;
    } else {
        for transaction in &asked.transactions {
            let one = Asked {
                id: transaction.transactional_id.as_str(),
                producer: producer(transaction.producer_id, transaction.producer_epoch),
                topics: &transaction.topics,
                verify_only: transaction.verify_only,
            };
            response.results_by_transaction.push(add::AddPartitionsToTxnResult {
                transactional_id: transaction.transactional_id.clone(),
                topic_results: results(node, request, &one).await,
                ..Default::default()
            });
        }
    }
    respond::<add::Request>(request, &response)
}

/// A code for each partition.
async fn results<E: Env>(
    node: &Arc<Node<E>>,
    request: &Request,
    asked: &Asked<'_>,
) -> Vec<add::AddPartitionsToTxnTopicResult> {
    let known = known(node, asked.topics);
    let codes: Vec<ErrorCode> = if known.iter().any(Option::is_none) {
        // All or nothing.
        let code = |known: &Option<TopicPartition>| match known {
            Some(_) => ErrorCode::OperationNotAttempted,
            None => ErrorCode::UnknownTopicOrPartition,
        };
        known.iter().map(code).collect()
    } else {
        let partitions: Vec<_> = known.into_iter().flatten().collect();
        let count = partitions.len();
        match carry_out(node, request, asked, partitions).await {
            Ok(codes) => codes,
            Err(code) => vec![code; count],
        }
    };
    let mut codes = codes.into_iter();
    let topics = asked.topics.iter().map(|topic| add::AddPartitionsToTxnTopicResult {
        name: topic.name.clone(),
        results_by_partition: topic
            .partitions
            .iter()
            .map(|&partition_index| add::AddPartitionsToTxnPartitionResult {
                partition_index,
                partition_error_code: number(codes.next().unwrap_or(ErrorCode::None)),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    });
    topics.collect()
}

/// The partitions in the order of the request; `None` for one that does not exist.
fn known<E: Env>(
    node: &Node<E>,
    topics: &[add::AddPartitionsToTxnTopic],
) -> Vec<Option<TopicPartition>> {
    let image = node.engine.image();
    let mut found = Vec::new();
    for topic in topics {
        let there = image.topic(topic.name.as_str());
        for &partition in &topic.partitions {
            let exists = there.is_some_and(|topic| topic.partition(partition).is_some());
            let name = TopicName::new(topic.name.as_str()).ok().filter(|_| exists);
            found.push(name.map(|topic| TopicPartition { topic, partition }));
        }
    }
    found
}

async fn carry_out<E: Env>(
    node: &Arc<Node<E>>,
    request: &Request,
    asked: &Asked<'_>,
    partitions: Vec<TopicPartition>,
) -> Result<Vec<ErrorCode>, ErrorCode> {
    let id = coordinated(node, asked.id).await?;
    let (producer, count) = (asked.producer, partitions.len());
    let refused = |error| told(node, &error, txn::Api::AddPartitionsToTxn, request);
    let transactions = node.engine.transactions();
    let delay = transactions.delay(id.as_str());
    if asked.verify_only {
        let verify = transactions.verify(Verify { id, producer, partitions });
        let standings = carried_out(node, delay, verify).await?;
        return Ok(standings.map_err(refused)?.into_iter().map(Membership::code).collect());
    }
    let protocol = Protocol::of_add_partitions(request.reply_to.version);
    let add = AddPartitions { id, producer, partitions, protocol };
    carried_out(node, delay, transactions.add_partitions(add)).await?.map_err(refused)?;
    Ok(vec![ErrorCode::None; count])
}
