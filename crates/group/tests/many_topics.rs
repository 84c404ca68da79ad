//! Expressions that stand for many topics: what is written fits the log, and no heartbeat looks at more names than it may.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test says so by failing, also at an answer that it does not expect"
)]

mod consumer_world;
mod fixture;

use std::{
    cell::Cell,
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use consumer_world::{beat, join as join_by_name, settings};
use fixture::{AT_ONCE, LogMood, World, name, stable_alone};
use hanbeon_group::{
    Record, Reply, State,
    consumer::{GroupState, Heartbeat, HeartbeatReply, Topic, TopicsImage},
};
use hanbeon_records::{ErrorCode, TopicId};

/// Topics by name, and how many names were looked at.
struct Topics {
    version: i64,
    by_name: BTreeMap<String, Topic>,
    by_id: BTreeMap<TopicId, String>,
    looks: Arc<AtomicUsize>,
}

impl TopicsImage for Topics {
    fn version(&self) -> i64 {
        self.version
    }

    fn topic(&self, name: &str) -> Option<Topic> {
        self.by_name.get(name).copied()
    }

    fn name(&self, id: TopicId) -> Option<&str> {
        self.by_id.get(&id).map(String::as_str)
    }

    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.by_name.keys().map(|name| {
            self.looks.fetch_add(1, Ordering::Relaxed);
            name.as_str()
        }))
    }
}

/// So many topics of 40 bytes each, with one partition.
fn topics(count: usize) -> Topics {
    let id = |number: usize| TopicId::new(u128::try_from(number + 1).unwrap().to_be_bytes());
    let named = |number: usize| format!("{number:040}");
    let version = i64::try_from(count).unwrap();
    Topics {
        version,
        by_name: (0..count).map(|n| (named(n), Topic { id: id(n), partitions: 1 })).collect(),
        by_id: (0..count).map(|n| (id(n), named(n))).collect(),
        looks: Arc::default(),
    }
}

fn world(count: usize) -> World {
    let mut world = World::new(AT_ONCE);
    world.mood = LogMood::Bounded;
    let mut settings = settings();
    (settings.assignment_interval_ms, settings.max_size) = (0, 1_000);
    world.groups.set_consumer_settings(settings);
    world.groups.set_topics(Arc::new(topics(count)));
    world
}

fn join(member_id: &str, regex: &str) -> Heartbeat {
    let subscribed_topic_regex = Some(regex.into());
    Heartbeat {
        subscribed_topic_names: None,
        subscribed_topic_regex,
        ..join_by_name(member_id, &[])
    }
}

fn speak(world: &mut World, request: &Heartbeat) -> Result<HeartbeatReply, ErrorCode> {
    let (token, fresh) = (world.token(), world.fresh_id());
    let request = request.clone();
    world.with(|groups, now, out| {
        groups.consumer_heartbeat(now, token, name("g"), request, fresh, out);
    });
    match world.reply(token) {
        Some(Reply::ConsumerHeartbeat(result)) => result.map_err(|error| error.code()),
        other => panic!("{other:?}"),
    }
}

fn assigned(reply: &HeartbeatReply) -> Option<usize> {
    reply.assignment.as_ref().map(|all| all.len())
}

fn state(world: &World) -> GroupState {
    world.groups.describe_consumer(&name("g")).unwrap().state
}

#[test]
fn what_an_expression_stands_for_is_written_apart() {
    let mut world = world(12_000);
    let joined = speak(&mut world, &join("m-1", ".*")).unwrap();
    assert_eq!(assigned(&joined), Some(12_000));
    // Topics come, and the next heartbeat but ten seconds finds them.
    world.groups.set_topics(Arc::new(topics(12_001)));
    world.pass(10_000);
    let reply = speak(&mut world, &beat("m-1", joined.member_epoch)).unwrap();
    assert_eq!((assigned(&reply), state(&world)), (Some(12_001), GroupState::Stable));
    // And another member, whose share and that of the first are two records of a target.
    speak(&mut world, &join("m-2", ".*")).unwrap();
    let reply = speak(&mut world, &beat("m-1", reply.member_epoch)).unwrap();
    assert_eq!(assigned(&reply), Some(6_001), "it is to give up the others");
}

#[test]
fn what_is_more_than_the_log_takes_leaves_the_group_as_it_was() {
    let mut world = world(8_000);
    let joined = speak(&mut world, &join("m-1", ".*")).unwrap();
    assert_eq!(assigned(&joined), Some(8_000));
    world.groups.set_topics(Arc::new(topics(30_000)));
    for _ in 0..6 {
        world.pass(10_000);
        let reply = speak(&mut world, &beat("m-1", joined.member_epoch)).unwrap();
        assert_eq!((assigned(&reply), reply.member_epoch), (None, joined.member_epoch));
    }
    let second = speak(&mut world, &join("m-2", "0.*")).unwrap();
    assert_eq!(assigned(&second), Some(0), "nor is it more for another");
    assert_eq!(speak(&mut world, &beat("m-2", second.member_epoch)).map(drop), Ok(()));
    // It is looked for again when there are fewer.
    world.groups.set_topics(Arc::new(topics(9_000)));
    world.pass(10_000);
    let reply = speak(&mut world, &beat("m-1", joined.member_epoch)).unwrap();
    assert!(reply.member_epoch > joined.member_epoch || assigned(&reply).is_some());
}

/// A group that only its first write reached goes on from there, whoever reads the log.
#[test]
fn c6_every_part_of_a_step_leaves_a_log_from_which_the_group_goes_on() {
    for parts in 0.. {
        let mut world = world(9_000);
        let joined = speak(&mut world, &join("m-1", ".*")).unwrap();
        world.mood = LogMood::Slow;
        let (token, fresh) = (world.token(), world.fresh_id());
        world.with(|groups, now, out| {
            groups.consumer_heartbeat(now, token, name("g"), join("m-2", "0.*"), fresh, out);
        });
        for _ in 0..parts {
            if let Some(held) = world.held.pop_front() {
                world.take(held);
            }
        }
        let all = world.held.is_empty();
        reload(&mut world, 9_000);
        let second = speak(&mut world, &join("m-2", "0.*")).unwrap();
        let first = speak(&mut world, &beat("m-1", joined.member_epoch)).unwrap();
        assert_eq!(assigned(&first), Some(4_500), "{parts} parts");
        let owned = first.assignment;
        let first = Heartbeat { owned, ..beat("m-1", first.member_epoch) };
        speak(&mut world, &first).unwrap();
        let second = speak(&mut world, &beat("m-2", second.member_epoch)).unwrap();
        assert_eq!(assigned(&second), Some(4_500), "{parts} parts");
        if all {
            assert!(parts > 2, "it was in parts");
            break;
        }
    }
}

/// Another coordinator reads what the log has taken.
fn reload(world: &mut World, count: usize) {
    world.groups = fixture::replayed(world.settings, &world.log);
    world.mood = LogMood::Bounded;
    world.held.clear();
    let mut settings = settings();
    settings.assignment_interval_ms = 0;
    world.groups.set_consumer_settings(settings);
    world.groups.set_topics(Arc::new(topics(count)));
    world.with(|groups, now, out| groups.loaded(now, out));
}

/// A static member's target is nobody's where its place is taken and the target has not come along.
#[test]
fn c6_a_place_that_is_taken_in_parts_has_its_target_in_each_of_them() {
    let in_place =
        |member_id: &str| Heartbeat { instance_id: Some("i".into()), ..join(member_id, "0.*") };
    for parts in 1.. {
        let mut world = world(9_000);
        let joined = speak(&mut world, &in_place("a")).unwrap();
        assert_eq!(assigned(&joined), Some(9_000));
        let leaves = Heartbeat { instance_id: Some("i".into()), ..beat("a", -2) };
        speak(&mut world, &leaves).unwrap();
        // What the expression stands for is written anew, with the same topics.
        let mut same = topics(9_000);
        same.version += 1;
        world.groups.set_topics(Arc::new(same));
        world.pass(10_000);
        world.mood = LogMood::Slow;
        let (token, fresh) = (world.token(), world.fresh_id());
        world.with(|groups, now, out| {
            groups.consumer_heartbeat(now, token, name("g"), in_place("b"), fresh, out);
        });
        for _ in 0..parts {
            if let Some(held) = world.held.pop_front() {
                world.take(held);
            }
        }
        let all = world.held.is_empty();
        reload(&mut world, 9_000);
        let back = match speak(&mut world, &in_place("b")) {
            Ok(joined) => joined,
            Err(error) => panic!("{error:?} after {parts} parts"),
        };
        assert_eq!(assigned(&back), Some(9_000), "{parts} parts");
        if all {
            assert!(parts > 2, "it was in parts");
            break;
        }
    }
}

/// A classic group that gives way is gone in the log before there is anything of its successor; Kafka reads no other.
#[test]
fn c6_a_classic_group_ends_with_the_first_part_of_what_follows_it() {
    let mut world = world(9_000);
    world.mood = LogMood::Willing;
    let member = stable_alone(&mut world, "g");
    world.leave("g", &[(&member, None)]).unwrap();
    let state = |world: &World| world.groups.describe(&name("g")).unwrap().state;
    assert_eq!(state(&world), State::Empty);
    // Of the parts the first is refused, and then what comes instead.
    let before = world.records.len();
    world.mood = LogMood::Slow;
    let (token, fresh) = (world.token(), world.fresh_id());
    world.with(|groups, now, out| {
        groups.consumer_heartbeat(now, token, name("g"), join("m-1", ".*"), fresh, out);
    });
    for _ in 0..2 {
        let first = world.held.pop_front().unwrap();
        let code = ErrorCode::NotEnoughReplicas;
        world.with(|groups, now, out| groups.appended(now, first.write, Err(code), out));
        assert_eq!(state(&world), State::Empty, "it is as it was");
    }
    assert!(matches!(world.reply(token), Some(Reply::ConsumerHeartbeat(Err(_)))));
    world.mood = LogMood::Bounded;
    let joined = speak(&mut world, &join("m-1", ".*")).unwrap();
    assert_eq!(assigned(&joined), Some(9_000));
    let written = &world.records[before..];
    let ends =
        written.iter().position(|record| matches!(record, Record::Group { value: None, .. }));
    let resolves = |record: &Record| matches!(record, Record::Consumer { key_type: 16, .. });
    let begins = written.iter().position(resolves);
    assert!(ends.is_some() && ends < begins, "{ends:?} {begins:?}");
}

#[test]
fn a_member_whose_heartbeat_the_log_does_not_take_is_heard() {
    let mut world = world(1);
    let joined = speak(&mut world, &join("m-1", ".*")).unwrap();
    for _ in 0..9 {
        world.groups.set_topics(Arc::new(topics(2)));
        world.pass(10_000);
        world.mood = LogMood::Refusing(ErrorCode::NotEnoughReplicas);
        let refused = speak(&mut world, &beat("m-1", joined.member_epoch));
        assert_eq!(refused.map(drop), Err(ErrorCode::CoordinatorNotAvailable));
        world.mood = LogMood::Bounded;
    }
    assert_eq!(speak(&mut world, &beat("m-1", joined.member_epoch)).map(drop), Ok(()));
}

#[test]
fn a_heartbeat_looks_for_the_topics_of_one_expression() {
    const EXPRESSIONS: usize = 100;
    const TOPICS: usize = 1_000;
    let mut world = world(TOPICS);
    let mut epochs = Vec::new();
    for number in 0..EXPRESSIONS {
        let joined =
            speak(&mut world, &join(&format!("m-{number}"), &format!("0+{number}"))).unwrap();
        epochs.push(joined.member_epoch);
    }
    let now = topics(TOPICS + 1);
    let looks = Arc::clone(&now.looks);
    world.groups.set_topics(Arc::new(now));
    world.pass(10_000);
    let resolved = |world: &World| {
        let is = |record: &&Record| matches!(record, Record::Consumer { key_type: 16, .. });
        world.records.iter().filter(is).count()
    };
    let before = Cell::new(resolved(&world));
    for (number, epoch) in epochs.iter_mut().enumerate() {
        looks.store(0, Ordering::Relaxed);
        let member_id = format!("m-{number}");
        *epoch = speak(&mut world, &beat(&member_id, *epoch)).unwrap().member_epoch;
        let looked = looks.load(Ordering::Relaxed);
        assert_eq!((looked, resolved(&world) - before.get()), (TOPICS + 1, 1), "{member_id}");
        before.set(resolved(&world));
    }
    // All were looked for, each by its own member's heartbeat.
    looks.store(0, Ordering::Relaxed);
    speak(&mut world, &beat("m-0", epochs[0])).unwrap();
    assert_eq!(looks.load(Ordering::Relaxed), 0);
}

#[test]
fn an_expression_that_costs_much_takes_several_heartbeats() {
    // 250 times what each byte of a name costs.
    let costly = "(a?0?){250}0*";
    let mut world = world(2_000);
    let mut joined = speak(&mut world, &join("m-1", costly)).unwrap();
    assert_eq!(assigned(&joined), Some(0), "it is in, and not through");
    let mut heartbeats = 0;
    while assigned(&joined).is_none_or(|count| count == 0) {
        world.pass(100);
        joined = speak(&mut world, &beat("m-1", joined.member_epoch)).unwrap();
        heartbeats += 1;
        assert!(heartbeats < 1_000);
    }
    assert!(heartbeats > 2, "{heartbeats}");
    assert_eq!(
        speak(&mut world, &join("m-2", &"a".repeat(1_025))).map(drop),
        Err(ErrorCode::InvalidRegularExpression)
    );
}

/// Topics that change all the time keep nobody from an end.
#[test]
fn an_expression_that_costs_much_is_finished_though_the_topics_change_meanwhile() {
    let mut world = world(2_000);
    let mut joined = speak(&mut world, &join("m-1", "(a?0?){250}[0-9]*")).unwrap();
    let mut count = 2_000;
    while assigned(&joined).is_none_or(|count| count == 0) {
        // One more each time, which is the last of them.
        count += 1;
        world.groups.set_topics(Arc::new(topics(count)));
        world.pass(100);
        joined = speak(&mut world, &beat("m-1", joined.member_epoch)).unwrap();
        assert!(count < 3_000, "it never ends");
    }
    // All were looked at, also those that came behind the place where the look was.
    assert_eq!(assigned(&joined), Some(count));
    // It began with other topics: ten seconds later it is due again.
    let now = topics(count);
    let looks = Arc::clone(&now.looks);
    world.groups.set_topics(Arc::new(now));
    world.pass(5_000);
    speak(&mut world, &beat("m-1", joined.member_epoch)).unwrap();
    assert_eq!(looks.load(Ordering::Relaxed), 0);
    world.pass(5_000);
    speak(&mut world, &beat("m-1", joined.member_epoch)).unwrap();
    assert!(looks.load(Ordering::Relaxed) > 0);
}

#[test]
fn nobody_looks_for_topics_for_the_sake_of_a_heartbeat_that_is_refused() {
    let mut world = world(1_000);
    let joined = speak(&mut world, &join("m-1", ".*")).unwrap();
    let now = topics(1_001);
    let looks = Arc::clone(&now.looks);
    world.groups.set_topics(Arc::new(now));
    world.pass(10_000);
    let mut refused = |request: &Heartbeat, group: &str| {
        let (token, fresh) = (world.token(), world.fresh_id());
        world.with(|groups, now, out| {
            groups.consumer_heartbeat(now, token, name(group), request.clone(), fresh, out);
        });
        let reply = world.reply(token);
        let Some(Reply::ConsumerHeartbeat(Err(error))) = reply else { panic!("{reply:?}") };
        assert_eq!(looks.load(Ordering::Relaxed), 0, "{error}");
        error.code()
    };
    let stranger = Heartbeat { member_epoch: 3, ..join("stranger", "0.*") };
    assert_eq!(refused(&stranger, "g"), ErrorCode::UnknownMemberId);
    assert_eq!(refused(&stranger, "no-such-group"), ErrorCode::GroupIdNotFound);
    let ahead = Heartbeat { member_epoch: 99, ..join("m-1", "0.*") };
    assert_eq!(refused(&ahead, "g"), ErrorCode::FencedMemberEpoch);
    assert_eq!(refused(&join("m-2", "("), "g"), ErrorCode::InvalidRegularExpression);
    let asks = Heartbeat { server_assignor: Some("none".into()), ..join("m-2", ".*") };
    assert_eq!(refused(&asks, "g"), ErrorCode::UnsupportedAssignor);
    speak(&mut world, &beat("m-1", joined.member_epoch)).unwrap();
    assert_eq!(looks.load(Ordering::Relaxed), 1_001);
}
