//! Produce requests of one connection that have arrived together: one write for each partition.

use std::collections::BTreeMap;

use bytes::Bytes;
use hanbeon::{Acks, Engine, Env, PartitionHandle};
use hanbeon_records::{ErrorCode, TopicId};
use hanbeon_wire::{Acks as WireAcks, ProduceRequest, Request};

use super::{Writes, begin, go_on, log_start, outcome, refused, unreadable, unready_for};
use crate::{connection::Reply, dispatch::Node};

/// Batches for one partition, in the order of their requests.
struct ForPartition<E: Env> {
    handle: PartitionHandle<E>,
    batches: Vec<(Bytes, Acks)>,
    /// Of each batch: which request, and where in it.
    places: Vec<(usize, usize)>,
}

/// Whether a request can be started beside others. One with acks=0 cannot: a refusal closes the connection before those behind it start;
/// nor can one of a transaction, whose batches may wait for the coordinator.
pub(crate) fn joins<E: Env>(engine: &Engine<E>, request: &Request) -> bool {
    let Ok(asked) = ProduceRequest::read(request) else { return false };
    let at_once = || {
        let unready = unready_for(engine, &asked);
        unready.partitions.is_empty() && unready.writes == Writes::Fast
    };
    matches!(asked.acks, WireAcks::Leader | WireAcks::All)
        && asked.transactional_id.is_none()
        && at_once()
}

/// Starts requests that [`joins`] has let pass.
pub(crate) fn start_together<E: Env>(node: &Node<E>, requests: Vec<Request>) -> Vec<Reply> {
    let mut partitions: Vec<ForPartition<E>> = Vec::new();
    let mut places: BTreeMap<(TopicId, i32), usize> = BTreeMap::new();
    let mut begun: Vec<_> = requests
        .iter()
        .enumerate()
        .map(|(at, request)| {
            begin(&node.engine, request, |place, handle, records, acks| {
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
