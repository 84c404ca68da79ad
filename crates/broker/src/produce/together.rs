//! Produce requests of one connection that have arrived together: one write for each partition.

use std::collections::BTreeMap;

use bytes::Bytes;
use hanbeon::{Acks, Engine, Env, PartitionHandle, Topic, txn::TransactionalId};
use hanbeon_records::{ErrorCode, TopicId};
use hanbeon_wire::{Acks as WireAcks, ProducePartition, ProduceRequest, ProduceTopic, Request};

use super::{Word, begin, enrol_in, go_on, log_start, outcome, refused, unreadable};
use crate::{connection::Reply, dispatch::Node, named};

/// Batches for one partition, in the order of their requests.
struct ForPartition<E: Env> {
    handle: PartitionHandle<E>,
    batches: Vec<(Bytes, Acks)>,
    /// Of each batch: which request, and where in it.
    places: Vec<(usize, usize)>,
}

/// Whether a request can be started beside others. One with acks=0 cannot: a refusal closes the connection before those behind it start;
/// nor can one of a transaction that is not open yet where it goes, whose batches may wait for the coordinator.
pub(crate) fn joins<E: Env>(engine: &Engine<E>, request: &Request) -> bool {
    let Ok(asked) = ProduceRequest::read(request) else { return false };
    let enrol = match asked.transactional_id {
        Some(id) if id.is_empty() || id.len() > TransactionalId::LEN_MAX => return false,
        Some(_) => Some(enrol_in(request.reply_to.version)),
        None => None,
    };
    let image = engine.image();
    let may = |found: &Topic<E>, partition: ProducePartition| {
        let Some(handle) = found.partition(partition.index) else { return true };
        handle.is_open()
            && !handle.is_slow()
            && enrol.zip(partition.records).is_none_or(|(enrol, records)| {
                // Who needs no word needs no coordinator either.
                handle.needs_no_word(&records, enrol)
            })
    };
    let of_topic = |topic: ProduceTopic<'_>| {
        let found = named::topic(&image, topic.topic).ok();
        found.is_none_or(|found| topic.partitions().all(|partition| may(found, partition)))
    };
    matches!(asked.acks, WireAcks::Leader | WireAcks::All) && asked.topics().all(of_topic)
}

/// Starts requests that [`joins`] has let pass.
pub(crate) fn start_together<E: Env>(node: &Node<E>, requests: Vec<Request>) -> Vec<Reply> {
    let mut partitions: Vec<ForPartition<E>> = Vec::new();
    let mut places: BTreeMap<(TopicId, i32), usize> = BTreeMap::new();
    let mut begun: Vec<_> = requests
        .iter()
        .enumerate()
        .map(|(at, request)| {
            begin(&node.engine, request, Word::IsNotNeeded, |place, handle, records, acks| {
                let id = (handle.topic_id(), handle.number());
                let known = *places.entry(id).or_insert(partitions.len());
                match partitions.get_mut(known) {
                    Some(known) => {
                        known.batches.push((records, acks));
                        known.places.push((at, place));
                    }
                    None => partitions.push(ForPartition {
                        handle,
                        batches: vec![(records, acks)],
                        places: vec![(at, place)],
                    }),
                }
                refused(ErrorCode::UnknownServerError, "not tried")
            })
        })
        .collect();
    for ForPartition { handle, batches, places } in partitions {
        for ((at, place), produce) in places.into_iter().zip(handle.produce_all(batches)) {
            if let Ok(begun) = &mut begun[at] {
                begun.outcomes[place] = outcome(produce, || log_start(&handle));
            }
        }
    }
    let replies = requests.into_iter().zip(begun).map(|(request, begun)| match begun {
        Ok(begun) => go_on(begun.acks, begun.outcomes, request, node.metrics.clone()),
        Err(error) => unreadable(&error),
    });
    replies.collect()
}
