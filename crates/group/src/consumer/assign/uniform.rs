//! Even loads with little movement.
//!
//! Members of equal subscriptions get a quota each, keep what fits into it and take the rest in turn. Members of mixed
//! subscriptions are a bipartite graph: a member is joined to another when it has a partition that the other subscribes to, and
//! passing partitions along a path evens out its ends. An assignment is as even as can be when no path leads from a member to one
//! with two partitions less (Harvey, Ladner, Lovasz, Tamir: Semi-matchings for bipartite graphs and load balancing).

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    vec,
    vec::Vec,
};

use hanbeon_records::TopicId;

use super::{Partitions, Subscriber};

type Partition = (TopicId, i32);

pub(super) fn assign(
    members: &[Subscriber<'_>],
    topics: &BTreeMap<TopicId, i32>,
) -> Vec<Partitions> {
    let mut state = Balance::keeping(members, topics);
    match members {
        [first, rest @ ..] if rest.iter().all(|member| member.topics == first.topics) => {
            state.level_by_quota();
        }
        _ => {
            state.give_to_least_loaded();
            while state.improve() {}
        }
    }
    state.shares
}

/// What a search for a path has seen.
#[derive(Default)]
struct Search {
    /// From whom, and over which topic, each member was reached.
    from: BTreeMap<usize, Option<(usize, TopicId)>>,
    topics: BTreeSet<TopicId>,
}

struct Balance<'a> {
    members: &'a [Subscriber<'a>],
    subscribers: BTreeMap<TopicId, Vec<usize>>,
    shares: Vec<Partitions>,
    loads: Vec<usize>,
    unassigned: BTreeSet<Partition>,
}

impl<'a> Balance<'a> {
    /// Begins with what each member has already, exists, and is still subscribed to; of two that claim a partition the first has it.
    fn keeping(members: &'a [Subscriber<'a>], topics: &BTreeMap<TopicId, i32>) -> Self {
        let mut subscribers: BTreeMap<TopicId, Vec<usize>> = BTreeMap::new();
        for (at, member) in members.iter().enumerate() {
            for topic in member.topics.iter().filter(|topic| topics.contains_key(topic)) {
                subscribers.entry(*topic).or_default().push(at);
            }
        }
        let mut unassigned: BTreeSet<Partition> = subscribers
            .keys()
            .filter_map(|topic| topics.get(topic).map(|count| (*topic, *count)))
            .flat_map(|(topic, count)| (0..count).map(move |partition| (topic, partition)))
            .collect();
        let mut shares = Vec::with_capacity(members.len());
        for member in members {
            let share: Partitions = member
                .current
                .iter()
                .filter(|partition| {
                    member.topics.contains(&partition.0) && unassigned.remove(partition)
                })
                .collect();
            shares.push(share);
        }
        let loads = shares.iter().map(Partitions::len).collect();
        Self { members, subscribers, shares, loads, unassigned }
    }

    fn load(&self, at: usize) -> usize {
        self.loads.get(at).copied().unwrap_or(0)
    }

    fn give(&mut self, at: usize, (topic, partition): Partition) {
        if let (Some(share), Some(load)) = (self.shares.get_mut(at), self.loads.get_mut(at)) {
            share.insert(topic, partition);
            *load += 1;
        }
    }

    fn take(&mut self, at: usize, (topic, partition): Partition) {
        if let (Some(share), Some(load)) = (self.shares.get_mut(at), self.loads.get_mut(at)) {
            share.remove(topic, partition);
            *load -= 1;
        }
    }

    /// Every member may have every partition: who has more than its quota gives up, who has less takes.
    fn level_by_quota(&mut self) {
        let count = self.members.len();
        let total = self.unassigned.len() + self.loads.iter().sum::<usize>();
        let (quota, mut extras) = (total / count, total % count);
        // The places of the remainder go to members that hold more than the quota, so that they keep one more.
        let mut rooms = vec![quota; count];
        let (over, under): (Vec<usize>, Vec<usize>) =
            (0..count).partition(|at| self.load(*at) > quota);
        for at in over.iter().chain(&under) {
            if let Some(room) = rooms.get_mut(*at).filter(|_| extras > 0) {
                *room += 1;
                extras -= 1;
            }
        }
        for (at, room) in rooms.iter().enumerate() {
            let surplus: Vec<Partition> = match self.shares.get(at) {
                Some(share) => share.iter().skip(*room).collect(),
                None => Vec::new(),
            };
            for partition in surplus {
                self.take(at, partition);
                self.unassigned.insert(partition);
            }
        }
        let mut hungry: VecDeque<usize> = (0..count)
            .filter(|at| rooms.get(*at).is_some_and(|room| self.load(*at) < *room))
            .collect();
        for partition in core::mem::take(&mut self.unassigned) {
            let Some(at) = hungry.pop_front() else { return };
            self.give(at, partition);
            if rooms.get(at).is_some_and(|room| self.load(at) < *room) {
                hungry.push_back(at);
            }
        }
    }

    /// Topics with few subscribers first: they have the least choice.
    fn give_to_least_loaded(&mut self) {
        let mut order: Vec<(usize, Partition)> = core::mem::take(&mut self.unassigned)
            .into_iter()
            .map(|partition| (self.subscribers.get(&partition.0).map_or(0, Vec::len), partition))
            .collect();
        order.sort_unstable();
        for (_, partition) in order {
            let subscribers = self.subscribers.get(&partition.0).map_or(&[][..], Vec::as_slice);
            if let Some(at) = subscribers.iter().copied().min_by_key(|at| self.load(*at)) {
                self.give(at, partition);
            }
        }
    }

    /// Evens out the ends of one path; `false` when there is none left. Each path makes the sum of the squared loads smaller, so
    /// there is an end to it.
    ///
    /// Members are tried from the most loaded on. What was reached from one without success need not be looked at again for the
    /// next, which has no more to give away.
    fn improve(&mut self) -> bool {
        let mut sources: Vec<usize> = (0..self.members.len()).collect();
        sources.sort_by_key(|at| core::cmp::Reverse(self.load(*at)));
        let mut search = Search::default();
        for source in sources {
            if let Some(taker) = self.find_taker(source, &mut search) {
                self.pass_along(taker, &search.from);
                return true;
            }
        }
        false
    }

    /// A member that a path leads to from `source` and that has at least two partitions less.
    fn find_taker(&self, source: usize, search: &mut Search) -> Option<usize> {
        if search.from.contains_key(&source) {
            return None;
        }
        search.from.insert(source, None);
        let mut queue = VecDeque::from([source]);
        while let Some(giver) = queue.pop_front() {
            let share = self.shares.get(giver)?;
            for topic in share.topics().map(|(topic, _)| topic) {
                if !search.topics.insert(topic) {
                    continue;
                }
                for taker in self.subscribers.get(&topic).into_iter().flatten().copied() {
                    if search.from.contains_key(&taker) {
                        continue;
                    }
                    search.from.insert(taker, Some((giver, topic)));
                    if self.load(taker) + 2 <= self.load(source) {
                        return Some(taker);
                    }
                    queue.push_back(taker);
                }
            }
        }
        None
    }

    /// Moves one partition over each step of the path that ends at `taker`.
    fn pass_along(&mut self, mut taker: usize, from: &BTreeMap<usize, Option<(usize, TopicId)>>) {
        while let Some(Some((giver, topic))) = from.get(&taker).copied() {
            if let Some(partition) = self.least_missed(giver, topic) {
                self.take(giver, (topic, partition));
                self.give(taker, (topic, partition));
            }
            taker = giver;
        }
    }

    /// A partition that the member did not have before, else its last.
    fn least_missed(&self, at: usize, topic: TopicId) -> Option<i32> {
        let (share, member) = (self.shares.get(at)?, self.members.get(at)?);
        let new = share.of_topic(topic).rev().find(|p| !member.current.contains(topic, *p));
        new.or_else(|| share.of_topic(topic).next_back())
    }
}
