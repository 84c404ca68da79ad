//! `DescribeProducers`.

use hanbeon::{Env, PartitionError, ProducerView};
use hanbeon_records::{ErrorCode, TopicName};
use hanbeon_wire::{
    Request,
    messages::{describe_producers, text},
};

use super::{Answered, number, respond, words};
use crate::dispatch::Node;

/// Bytes of a producer on the wire, about.
const PRODUCER_LEN: usize = 40;

/// Lists the producers that partitions remember (KIP-664).
pub(super) fn describe<E: Env>(node: &Node<E>, request: &Request) -> Answered {
    let asked: describe_producers::Request = request.decode()?;
    let mut size = node.answer_size();
    let topics = asked.topics.into_iter().map(|topic| {
        let name = topic.name.as_str();
        let legal = TopicName::new(name);
        let partitions = topic.partition_indexes.iter().map(|&partition_index| {
            let mut answer =
                describe_producers::PartitionResponse { partition_index, ..Default::default() };
            if let Err(why) = &legal {
                answer.error_code = number(ErrorCode::InvalidTopicException);
                answer.error_message = Some(text(&why.to_string()));
                return answer;
            }
            if let Err(error) = size.has_room() {
                answer.error_code = number(error.code());
                answer.error_message = words(&error);
                return answer;
            }
            match producers(node, name, partition_index) {
                Ok(producers) => {
                    size.add(producers.len().saturating_mul(PRODUCER_LEN));
                    answer.active_producers = producers.iter().map(state).collect();
                }
                Err(error) => {
                    answer.error_code = number(error.code());
                    answer.error_message = words(&error);
                }
            }
            answer
        });
        describe_producers::TopicResponse {
            partitions: partitions.collect(),
            name: topic.name.clone(),
            ..Default::default()
        }
    });
    let response = describe_producers::Response { topics: topics.collect(), ..Default::default() };
    respond::<describe_producers::Request>(request, &response)
}

fn producers<E: Env>(
    node: &Node<E>,
    topic: &str,
    partition: i32,
) -> Result<Vec<ProducerView>, PartitionError> {
    node.engine.partition(topic, partition)?.describe_producers()
}

fn state(producer: &ProducerView) -> describe_producers::ProducerState {
    describe_producers::ProducerState {
        producer_id: producer.producer_id.get(),
        producer_epoch: producer.producer_epoch.get().into(),
        last_sequence: producer.last_sequence.map_or(-1, hanbeon_records::Sequence::get),
        last_timestamp: producer.last_timestamp.get(),
        coordinator_epoch: producer.coordinator_epoch.get(),
        current_txn_start_offset: producer
            .txn_first_offset
            .map_or(-1, hanbeon_records::Offset::get),
        ..Default::default()
    }
}
