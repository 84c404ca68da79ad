//! The assignors against what can be counted: every wanted partition once, nobody gets what it did not ask for, loads as even as any
//! assignment can be, and no more moved than that needs.

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::collections::{BTreeMap, BTreeSet};

use hanbeon_group::consumer::{Assignor, Partitions, Subscriber};
use hanbeon_records::TopicId;
use proptest::prelude::*;

type Topics = BTreeMap<TopicId, i32>;

/// A member: its subscription and what it had.
#[derive(Clone, Debug)]
struct Plan {
    topics: BTreeSet<TopicId>,
    current: Partitions,
}

fn id(number: usize) -> TopicId {
    TopicId::new([u8::try_from(number).unwrap(); 16])
}

fn subscribers(plans: &[Plan]) -> Vec<(String, &Plan)> {
    plans.iter().enumerate().map(|(at, plan)| (format!("m-{at:02}"), plan)).collect()
}

fn assign(assignor: Assignor, plans: &[Plan], topics: &Topics) -> Vec<Partitions> {
    let named = subscribers(plans);
    let members: Vec<Subscriber<'_>> = named
        .iter()
        .map(|(name, plan)| Subscriber {
            member_id: name,
            instance_id: None,
            topics: plan.topics.clone(),
            current: &plan.current,
        })
        .collect();
    assignor.assign(&members, topics)
}

/// The same members, having what they were given.
fn settled(plans: &[Plan], shares: &[Partitions]) -> Vec<Plan> {
    plans
        .iter()
        .zip(shares)
        .map(|(plan, share)| Plan { topics: plan.topics.clone(), current: share.clone() })
        .collect()
}

fn wanted(plans: &[Plan], topics: &Topics) -> BTreeSet<(TopicId, i32)> {
    let subscribed: BTreeSet<TopicId> = plans.iter().flat_map(|plan| plan.topics.clone()).collect();
    let known = subscribed.into_iter().filter_map(|topic| Some((topic, *topics.get(&topic)?)));
    known.flat_map(|(topic, count)| (0..count).map(move |partition| (topic, partition))).collect()
}

fn check_whole(plans: &[Plan], topics: &Topics, shares: &[Partitions]) {
    let mut given = BTreeSet::new();
    assert_eq!(shares.len(), plans.len());
    for (plan, share) in plans.iter().zip(shares) {
        for (topic, partition) in share.iter() {
            assert!(plan.topics.contains(&topic), "a topic nobody asked for");
            assert!(given.insert((topic, partition)), "two owners");
        }
    }
    assert_eq!(given, wanted(plans, topics), "every partition that is wanted, and no other");
}

fn loads(shares: &[Partitions]) -> Vec<usize> {
    shares.iter().map(Partitions::len).collect()
}

fn squares(loads: &[usize]) -> usize {
    loads.iter().map(|load| load * load).sum()
}

/// The least sum of squared loads of all assignments there are.
fn best(plans: &[Plan], topics: &Topics) -> usize {
    let mut states: BTreeSet<Vec<usize>> = BTreeSet::from([vec![0; plans.len()]]);
    for (topic, _) in wanted(plans, topics) {
        let mut next = BTreeSet::new();
        for state in states {
            for (at, plan) in plans.iter().enumerate() {
                if plan.topics.contains(&topic) {
                    let mut more = state.clone();
                    more[at] += 1;
                    next.insert(more);
                }
            }
        }
        states = next;
    }
    states.iter().map(|state| squares(state)).min().unwrap()
}

fn moved(plans: &[Plan], shares: &[Partitions]) -> usize {
    let lost = |(plan, share): (&Plan, &Partitions)| {
        plan.current.iter().filter(|(topic, p)| !share.contains(*topic, *p)).count()
    };
    plans.iter().zip(shares).map(lost).sum()
}

/// Members with claims that do not collide, as they are in a group.
fn plans(count: usize, mixed: bool) -> impl Strategy<Value = (Vec<Plan>, Topics)> {
    let member = (prop::collection::btree_set(0_usize..4, 0..4), any::<u64>());
    (prop::collection::vec(member, 1..count), prop::collection::vec(0_i32..5, 4), any::<u64>())
        .prop_map(move |(members, counts, owners)| {
            let topics: Topics =
                counts.iter().enumerate().map(|(at, count)| (id(at), *count)).collect();
            let all: BTreeSet<TopicId> = topics.keys().copied().collect();
            let mut plans: Vec<Plan> = members
                .iter()
                .map(|(subscribed, _)| Plan {
                    topics: if mixed {
                        subscribed.iter().map(|at| id(*at)).collect()
                    } else {
                        all.clone()
                    },
                    current: Partitions::new(),
                })
                .collect();
            let mut seed = owners;
            for (topic, count) in &topics {
                // Also partitions and topics that are no more, and some that nobody has.
                for partition in 0..count + 1 {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let pick = usize::try_from(seed >> 33).unwrap() % (plans.len() + 1);
                    if let Some(plan) = plans.get_mut(pick) {
                        plan.current.insert(*topic, partition);
                    }
                }
            }
            (plans, topics)
        })
}

proptest! {
    #[test]
    fn uniform_gives_each_wanted_partition_once((plans, topics) in plans(8, true)) {
        check_whole(&plans, &topics, &assign(Assignor::Uniform, &plans, &topics));
    }

    #[test]
    fn range_gives_each_wanted_partition_once((plans, topics) in plans(8, true)) {
        check_whole(&plans, &topics, &assign(Assignor::Range, &plans, &topics));
    }

    #[test]
    fn uniform_with_equal_subscriptions_is_even_within_one((plans, topics) in plans(8, false)) {
        let shares = assign(Assignor::Uniform, &plans, &topics);
        check_whole(&plans, &topics, &shares);
        let loads = loads(&shares);
        prop_assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1);
    }

    #[test]
    fn uniform_with_mixed_subscriptions_is_as_even_as_can_be((plans, topics) in plans(4, true)) {
        let shares = assign(Assignor::Uniform, &plans, &topics);
        prop_assert_eq!(squares(&loads(&shares)), best(&plans, &topics));
    }

    #[test]
    fn uniform_moves_nothing_that_is_even_already((plans, topics) in plans(8, true)) {
        let shares = assign(Assignor::Uniform, &plans, &topics);
        let again = assign(Assignor::Uniform, &settled(&plans, &shares), &topics);
        prop_assert_eq!(shares, again);
    }

    #[test]
    fn uniform_with_equal_subscriptions_moves_as_little_as_can_be((plans, topics) in plans(8, false)) {
        let shares = assign(Assignor::Uniform, &plans, &topics);
        // Whoever keeps more than the lower quota may keep one more, as long as there are such places.
        let existing = wanted(&plans, &topics);
        let kept: Vec<usize> = plans.iter()
            .map(|plan| plan.current.iter().filter(|partition| existing.contains(partition)).count()).collect();
        let (quota, extras) = (existing.len() / plans.len(), existing.len() % plans.len());
        let over = kept.iter().filter(|kept| **kept > quota).count();
        let surplus: usize = kept.iter().map(|kept| kept.saturating_sub(quota)).sum();
        let gone = plans.iter().map(|plan| plan.current.len()).sum::<usize>() - kept.iter().sum::<usize>();
        prop_assert_eq!(moved(&plans, &shares), gone + surplus - over.min(extras));
    }

    #[test]
    fn one_that_joins_takes_its_share_and_nothing_else_moves(count in 1_usize..8, partitions in 0_i32..60) {
        let topics: Topics = [(id(0), partitions)].into();
        let plan = Plan { topics: [id(0)].into(), current: Partitions::new() };
        let before = vec![plan.clone(); count];
        let mut after = settled(&before, &assign(Assignor::Uniform, &before, &topics));
        after.push(plan);
        let shares = assign(Assignor::Uniform, &after, &topics);
        prop_assert_eq!(moved(&after, &shares), shares.last().unwrap().len());
    }

    #[test]
    fn range_is_contiguous_and_co_partitioned(count in 1_usize..8, partitions in 1_i32..20) {
        let topics: Topics = [(id(0), partitions), (id(1), partitions)].into();
        let plan = Plan { topics: [id(0), id(1)].into(), current: Partitions::new() };
        let shares = assign(Assignor::Range, &vec![plan; count], &topics);
        let mut next = 0;
        for (rank, share) in shares.iter().enumerate() {
            let of = |topic| share.iter().filter(|(t, _)| *t == topic).map(|(_, p)| p).collect::<Vec<_>>();
            prop_assert_eq!(of(id(0)), of(id(1)));
            let members = i32::try_from(count).unwrap();
            let extra = i32::from(i32::try_from(rank).unwrap() < partitions % members);
            let end = next + partitions / members + extra;
            prop_assert_eq!(of(id(0)), (next..end).collect::<Vec<_>>());
            next = end;
        }
    }
}

#[test]
fn a_chain_of_subscriptions_is_evened_out_over_its_middle() {
    // 3, 2, 1 with the first and the last having no topic in common: no single move helps, two together do.
    let topics: Topics = [(id(0), 4), (id(1), 2)].into();
    let had = |parts: &[(usize, i32)]| parts.iter().map(|(t, p)| (id(*t), *p)).collect();
    let plans = [
        Plan { topics: [id(0)].into(), current: had(&[(0, 0), (0, 1), (0, 2)]) },
        Plan { topics: [id(0), id(1)].into(), current: had(&[(0, 3), (1, 0)]) },
        Plan { topics: [id(1)].into(), current: had(&[(1, 1)]) },
    ];
    assert_eq!(loads(&assign(Assignor::Uniform, &plans, &topics)), [2, 2, 2]);
}

#[test]
fn range_orders_by_instance_then_member() {
    let nothing = Partitions::new();
    let member = |member_id, instance_id| Subscriber {
        member_id,
        instance_id,
        topics: [id(0)].into(),
        current: &nothing,
    };
    let members = [member("a", None), member("b", Some("i-2")), member("c", Some("i-1"))];
    let shares = Assignor::Range.assign(&members, &[(id(0), 3)].into());
    let firsts: Vec<_> = shares.iter().map(|share| share.iter().next().unwrap().1).collect();
    assert_eq!(firsts, [2, 1, 0]);
}

#[test]
fn nobody_and_nothing_are_no_trouble() {
    for assignor in [Assignor::Uniform, Assignor::Range] {
        assert_eq!(assign(assignor, &[], &[(id(0), 3)].into()), []);
        let plan = Plan { topics: BTreeSet::new(), current: Partitions::new() };
        assert_eq!(assign(assignor, &[plan], &Topics::new()), [Partitions::new()]);
        assert_eq!(Assignor::from_name(assignor.name()), Some(assignor));
    }
    assert_eq!(Assignor::from_name("mine"), None);
}

/// The time of a large group is bounded: a thousand members of mixed subscriptions, ten thousand partitions.
#[test]
fn a_large_group_is_assigned_in_one_go() {
    let topics: Topics = (0..100).map(|at| (id(at), 100)).collect();
    let plan = |at: usize| Plan {
        topics: (0..100).filter(|topic| (topic + at) % 7 < 3).map(id).collect(),
        current: Partitions::new(),
    };
    let plans: Vec<Plan> = (0..1_000).map(plan).collect();
    let shares = assign(Assignor::Uniform, &plans, &topics);
    check_whole(&plans, &topics, &shares);
    let even = loads(&shares);
    assert!(even.iter().max().unwrap() - even.iter().min().unwrap() <= 1);
}
