//! The offsets of a deleted topic are not those of a later one of the same name, also where nobody could write down that they are gone.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test says so by failing, also at an answer that it does not expect"
)]

mod fixture;

use std::sync::Arc;

use fixture::{AT_ONCE, LogMood, World, commit, commit_in_txn, name, new_offset, replayed};
use hanbeon_group::{
    Commit, CommitInTxn, Fetch, FetchWhat, NewOffset, Outcome, Record, Stability,
    consumer::{Topic, TopicList},
};
use hanbeon_records::{ErrorCode, TopicId};

const ANY: Stability = Stability::NotRequired;
const EARLIER: TopicId = TopicId::new([1; 16]);
const LATER: TopicId = TopicId::new([2; 16]);

/// `t` with this id, if there is one, and `u`.
fn topics(id: Option<TopicId>) -> Arc<TopicList> {
    let mut topics = TopicList::default();
    id.into_iter().for_each(|id| topics.put("t", Topic { id, partitions: 3 }));
    topics.put("u", Topic { id: TopicId::new([9; 16]), partitions: 3 });
    Arc::new(topics)
}

fn of_t(partition: i32, topic_id: Option<TopicId>) -> NewOffset {
    NewOffset { topic_id, ..new_offset("t", partition, 90) }
}

fn world() -> World {
    let mut world = World::new(AT_ONCE);
    world.groups.set_topics(topics(Some(EARLIER)));
    world
}

fn put(world: &mut World, offset: NewOffset) -> Option<ErrorCode> {
    let token = world.commit(Commit { offsets: vec![offset], ..commit("g", 0) });
    world.committed(token)
}

fn pend(world: &mut World, producer_id: i64, offset: NewOffset) -> Option<ErrorCode> {
    let request = commit_in_txn("g", producer_id, 0);
    let token = world.commit_in_txn(CommitInTxn { offsets: vec![offset], ..request });
    world.committed(token)
}

/// Another coordinator reads the log and finds these topics.
fn reload(world: &mut World, topics: Arc<TopicList>) {
    world.groups = replayed(world.settings, &world.log);
    world.groups.set_topics(topics);
    world.with(|groups, now, out| groups.loaded(now, out));
}

fn tombstones(world: &World) -> usize {
    let is = |record: &&Record| matches!(record, Record::Offset { value: None, .. });
    world.records.iter().filter(is).count()
}

#[test]
fn c1_a_later_topic_has_none_of_them() {
    let mut world = world();
    assert_eq!(put(&mut world, of_t(0, Some(EARLIER))), Some(ErrorCode::None));
    assert_eq!(world.fetch("g", "t", 0, ANY), Ok(90));
    world.groups.set_topics(topics(Some(LATER)));
    assert_eq!(world.fetch("g", "t", 0, ANY), Ok(-1));
    let what = FetchWhat::All;
    let all = Fetch { group: name("g"), member: None, stability: ANY, what };
    assert_eq!(world.groups.fetch_offsets(&all), Ok(vec![]));
    assert_eq!(put(&mut world, of_t(0, Some(LATER))), Some(ErrorCode::None));
    assert_eq!(world.fetch("g", "t", 0, ANY), Ok(90));
}

#[test]
fn c1_they_are_not_committed_when_it_is_gone() {
    for now in [None, Some(LATER)] {
        let mut world = world();
        world.groups.set_topics(topics(now));
        let refused = Some(ErrorCode::UnknownTopicOrPartition);
        assert_eq!(put(&mut world, of_t(0, Some(EARLIER))), refused);
        assert_eq!(pend(&mut world, 7, of_t(0, Some(EARLIER))), refused);
        assert!(world.log.is_empty(), "nothing was written");
        let mixed = vec![of_t(0, Some(EARLIER)), new_offset("u", 0, 5)];
        let token = world.commit(Commit { offsets: mixed, ..commit("g", 0) });
        assert_eq!(world.committed(token), refused);
        assert_eq!(world.fetch("g", "u", 0, ANY), Ok(5), "the others are");
    }
}

/// Also one that waited for a write of the group while its topic was deleted.
#[test]
fn c1_a_commit_that_waits_meets_the_topics_of_its_turn() {
    let mut world = world();
    assert_eq!(put(&mut world, of_t(0, Some(EARLIER))), Some(ErrorCode::None));
    world.mood = LogMood::Slow;
    let token = world.token();
    let request =
        hanbeon_group::DeleteOffsets { group: name("g"), partitions: vec![(name("t"), 0)] };
    world.with(|groups, now, out| groups.delete_offsets(now, token, request, out));
    let waits = world.commit(Commit { offsets: vec![of_t(1, Some(EARLIER))], ..commit("g", 0) });
    world.groups.set_topics(topics(None));
    world.with(|groups, now, out| groups.partitions_deleted(now, &[(name("t"), 1)], out));
    world.release();
    assert_eq!(world.committed(waits), Some(ErrorCode::UnknownTopicOrPartition));
}

#[test]
fn c1_who_reads_the_log_forgets_those_of_topics_that_are_gone() {
    for id in [Some(EARLIER), None] {
        let mut world = world();
        assert_eq!(put(&mut world, of_t(0, id)), Some(ErrorCode::None));
        assert_eq!(pend(&mut world, 7, of_t(1, id)), Some(ErrorCode::None));
        assert_eq!(put(&mut world, new_offset("u", 0, 5)), Some(ErrorCode::None));
        reload(&mut world, topics(Some(EARLIER)));
        assert_eq!((world.fetch("g", "t", 0, ANY), tombstones(&world)), (Ok(90), 0));
        reload(&mut world, topics(None));
        assert_eq!(tombstones(&world), 2);
        // It is made again only then, and the transaction ends only then.
        world.groups.set_topics(topics(Some(LATER)));
        world.marker(7, Outcome::Commit);
        for _ in 0..2 {
            let found = [("t", 0), ("t", 1), ("u", 0)].map(|(t, p)| world.fetch("g", t, p, ANY));
            assert_eq!(found, [Ok(-1), Ok(-1), Ok(5)]);
            reload(&mut world, topics(Some(LATER)));
        }
    }
}

#[test]
fn c1_who_reads_the_log_when_the_later_one_is_there_knows_the_difference() {
    let mut world = world();
    assert_eq!(put(&mut world, of_t(0, Some(EARLIER))), Some(ErrorCode::None));
    assert_eq!(put(&mut world, of_t(1, Some(EARLIER))), Some(ErrorCode::None));
    assert_eq!(pend(&mut world, 7, of_t(2, Some(EARLIER))), Some(ErrorCode::None));
    world.groups.set_topics(topics(Some(LATER)));
    assert_eq!(pend(&mut world, 8, of_t(1, Some(LATER))), Some(ErrorCode::None));
    reload(&mut world, topics(Some(LATER)));
    world.marker(7, Outcome::Commit);
    world.marker(8, Outcome::Commit);
    for _ in 0..2 {
        let found = [0, 1, 2].map(|partition| world.fetch("g", "t", partition, ANY));
        assert_eq!(
            found,
            [Ok(-1), Ok(90), Ok(-1)],
            "a transaction's offset of the later one stays"
        );
        reload(&mut world, topics(Some(LATER)));
    }
}

/// The log did not take the tombstones, and does later.
#[test]
fn c1_what_could_not_be_forgotten_is_with_the_next_sweep() {
    let mut world = world();
    assert_eq!(put(&mut world, of_t(0, None)), Some(ErrorCode::None));
    world.groups.set_topics(topics(None));
    world.mood = LogMood::Refusing(ErrorCode::NotEnoughReplicas);
    world.with(|groups, now, out| groups.partitions_deleted(now, &[(name("t"), 0)], out));
    assert_eq!(world.fetch("g", "t", 0, ANY), Ok(90));
    world.mood = LogMood::Willing;
    world.pass(600_000);
    assert_eq!((world.fetch("g", "t", 0, ANY), tombstones(&world)), (Ok(-1), 1));
}

/// The value's version with an expiry has no id: nobody knows more of it while the log is not read than afterwards.
#[test]
fn c1_an_offset_with_a_retention_of_its_own_is_the_same_before_and_after_a_reload() {
    let mut world = world();
    let offsets = vec![of_t(0, Some(EARLIER))];
    let token = world.commit(Commit { offsets, retention_ms: Some(60_000), ..commit("g", 0) });
    assert_eq!(world.committed(token), Some(ErrorCode::None));
    world.groups.set_topics(topics(Some(LATER)));
    let before = world.fetch("g", "t", 0, ANY);
    reload(&mut world, topics(Some(LATER)));
    assert_eq!(world.fetch("g", "t", 0, ANY), before);
    // Its topic is forgotten with its offsets all the same.
    world.with(|groups, now, out| groups.partitions_deleted(now, &[(name("t"), 0)], out));
    assert_eq!((world.fetch("g", "t", 0, ANY), tombstones(&world)), (Ok(-1), 1));
}
