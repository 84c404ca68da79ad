//! A group with more offsets than tombstones fit into one batch loses them all the same.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test says so by failing, also at an answer that it does not expect"
)]

mod fixture;

use fixture::{AT_ONCE, LogMood, World, commit, commit_in_txn, name, new_offset};
use hanbeon_group::{Commit, Outcome, Reply, Stability};
use hanbeon_records::ErrorCode;

const ANY: Stability = Stability::NotRequired;
const DAY: i64 = 86_400_000;
/// With the group's long name the tombstones have 4 MB.
const PARTITIONS: i32 = 4_000;

fn group() -> String {
    "g".repeat(1_000)
}

/// A log that takes batches of Kafka's default size, and in it a group with offsets of all partitions of `t` and one of `u`.
fn world() -> World {
    let mut world = World::new(AT_ONCE);
    world.mood = LogMood::Bounded;
    let all: Vec<_> = (0..PARTITIONS).collect();
    for some in all.chunks(500) {
        let offsets = some.iter().map(|partition| new_offset("t", *partition, 1)).collect();
        committed(&mut world, Commit { offsets, ..commit(&group(), 0) });
    }
    committed(&mut world, Commit { offsets: vec![new_offset("u", 0, 3)], ..commit(&group(), 0) });
    world
}

fn committed(world: &mut World, request: Commit) {
    let token = world.commit(request);
    assert_eq!(world.committed(token), Some(ErrorCode::None));
}

fn left(world: &World) -> usize {
    let of_t = |partition: &i32| world.fetch(&group(), "t", *partition, ANY) == Ok(1);
    (0..PARTITIONS).filter(of_t).count()
}

#[test]
fn all_of_them_expire_with_one_sweep() {
    let mut world = world();
    world.pass(7 * DAY + 600_000);
    assert_eq!((left(&world), world.state(&group())), (0, "Dead"));
    world.reload();
    assert_eq!((left(&world), world.state(&group())), (0, "Dead"));
}

#[test]
fn the_group_can_be_deleted_and_those_behind_wait_for_the_end() {
    let mut world = world();
    let in_txn = world.commit_in_txn(commit_in_txn(&group(), 7, 9));
    assert_eq!(world.committed(in_txn), Some(ErrorCode::None));
    world.mood = LogMood::Slow;
    let token = world.token();
    world.with(|groups, now, out| groups.delete_group(now, token, name(&group()), out));
    let behind =
        world.commit(Commit { offsets: vec![new_offset("t", 1, 1)], ..commit(&group(), 0) });
    world.mood = LogMood::Bounded;
    let first = world.held.pop_front().unwrap();
    assert!(first.records.len() < 1_000, "a part");
    world.take(first);
    assert!(matches!(world.reply(token), Some(Reply::DeleteGroup(Ok(())))));
    assert_eq!(world.committed(behind), Some(ErrorCode::None));
    assert!(
        world.order.iter().position(|t| *t == token)
            < world.order.iter().position(|t| *t == behind)
    );
    world.marker(7, Outcome::Commit);
    assert_eq!(left(&world), 1, "what was committed behind it");
    assert_eq!(world.fetch(&group(), "u", 0, ANY), Ok(-1));
    world.reload();
    assert_eq!(left(&world), 1);
}

#[test]
fn a_deletion_that_ends_half_way_is_answered_and_made_again() {
    let mut world = world();
    world.mood = LogMood::Slow;
    let token = world.token();
    world.with(|groups, now, out| groups.delete_group(now, token, name(&group()), out));
    world.mood = LogMood::Refusing(ErrorCode::NotEnoughReplicas);
    let first = world.held.pop_front().unwrap();
    world.take(first);
    assert!(matches!(world.reply(token), Some(Reply::DeleteGroup(Err(_)))));
    assert_eq!(world.state(&group()), "Empty");
    world.mood = LogMood::Bounded;
    assert_eq!(world.delete_group(&group()), ErrorCode::None);
    assert_eq!((left(&world), world.state(&group())), (0, "Dead"));
}

#[test]
fn a_topic_that_is_gone_takes_all_of_them_along() {
    let mut world = world();
    let gone: Vec<_> = (0..PARTITIONS).map(|partition| (name("t"), partition)).collect();
    world.with(|groups, now, out| groups.partitions_deleted(now, &gone, out));
    assert_eq!(left(&world), 0);
    assert_eq!(world.fetch(&group(), "u", 0, ANY), Ok(3));
}

#[test]
fn a_request_that_deletes_them_all_may_name_each_as_often_as_it_likes() {
    let mut world = world();
    let group = group();
    let each: Vec<_> = (0..PARTITIONS).map(|partition| ("t", partition)).collect();
    let asked: Vec<_> = each.iter().copied().chain((0..30_000).map(|_| ("t", 7))).collect();
    let results = world.delete_offsets(&group, &asked).unwrap();
    assert_eq!(results.len(), asked.len());
    assert!(results.iter().all(|code| *code == ErrorCode::None), "{:?}", results.first());
    assert_eq!(left(&world), 0);
    world.reload();
    assert_eq!(left(&world), 0);
    assert_eq!(world.fetch(&group, "u", 0, ANY), Ok(3));
}
