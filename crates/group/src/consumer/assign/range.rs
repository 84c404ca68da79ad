//! Contiguous ranges.

use alloc::{collections::BTreeMap, vec, vec::Vec};

use hanbeon_records::TopicId;

use super::{Partitions, Subscriber};

pub(super) fn assign(
    members: &[Subscriber<'_>],
    topics: &BTreeMap<TopicId, i32>,
) -> Vec<Partitions> {
    let mut order: Vec<usize> = (0..members.len()).collect();
    // Static members first, so that their ranges stay when dynamic ones come and go.
    order.sort_by_key(|at| {
        members.get(*at).map(|m| (m.instance_id.is_none(), m.instance_id, m.member_id))
    });
    let mut assignment = vec![Partitions::new(); members.len()];
    for (topic, count) in topics {
        let subscribed = |at: &&usize| members.get(**at).is_some_and(|m| m.topics.contains(topic));
        let subscribers: Vec<usize> = order.iter().filter(subscribed).copied().collect();
        let Ok(among) = i32::try_from(subscribers.len()) else { continue };
        if among == 0 {
            continue;
        }
        let (quota, extra) = (count / among, count % among);
        let mut next = 0;
        for (rank, at) in (0_i32..).zip(&subscribers) {
            let end = next + quota + i32::from(rank < extra);
            if let Some(share) = assignment.get_mut(*at) {
                (next..end).for_each(|partition| {
                    share.insert(*topic, partition);
                });
            }
            next = end;
        }
    }
    assignment
}
