//! A group of many members: what one of them asks, and what time does to all of them, does not look at all of them for each.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test says so by failing, also at an answer that it does not expect"
)]

mod consumer_world;
mod fixture;

use std::sync::Arc;

use consumer_world::{beat, join as newer, settings};
use fixture::{AT_ONCE, SETTINGS, World, join, name, replayed, speaker, sync};
use hanbeon_group::{
    Join, Name, NewMembers, Reply, Settings,
    consumer::{Heartbeat, Topic, TopicList},
};
use hanbeon_records::{ErrorCode, TopicId};

/// Looking at all of them for each would be 10^10 looks: such a run does not come back.
const MANY: usize = 100_000;

const LARGE: Settings = Settings { group_size_max: usize::MAX, ..SETTINGS };

/// They join at once, as `JoinGroup` v3 does; tokens, and the members as they are told to the first.
fn together(world: &mut World) -> (Vec<u32>, Vec<Name>) {
    let request = Join { new_members: NewMembers::JoinAtOnce, ..join("g", "m", &Name::empty()) };
    let tokens: Vec<_> = (0..MANY).map(|_| world.join(request.clone())).collect();
    // The delay before the first generation, as long as newcomers make it.
    world.pass(15_000);
    let mut ids = Vec::with_capacity(MANY);
    for token in &tokens {
        match world.reply(*token) {
            Some(Reply::Join(Ok(joined))) => {
                assert_eq!(joined.generation, 1);
                ids.push(joined.member_id);
            }
            other => panic!("{other:?}"),
        }
    }
    (tokens, ids)
}

#[test]
fn c4_they_join_and_are_put_out_when_they_do_not_ask_for_their_share() {
    let mut world = World::new(LARGE);
    let (_, ids) = together(&mut world);
    assert_eq!((ids.len(), world.state("g")), (MANY, "CompletingRebalance"));
    for id in &ids {
        assert_eq!(world.heartbeat(speaker("g", id, 1)), Ok(()));
    }
    world.pass(3_600_000);
    assert_eq!(world.state("g"), "Dead", "the next check of expiry ends the group too");
}

#[test]
fn c4_they_ask_for_their_share_and_fall_silent() {
    let mut world = World::new(LARGE);
    let (_, ids) = together(&mut world);
    let (leader, others) = ids.split_first().unwrap();
    let waits: Vec<_> =
        others.iter().map(|id| world.sync(sync(speaker("g", id, 1), &[]))).collect();
    let leads = world.sync(sync(speaker("g", leader, 1), &[]));
    for token in waits.into_iter().chain([leads]) {
        assert!(matches!(world.reply(token), Some(Reply::Sync(Ok(_)))));
    }
    assert_eq!(world.state("g"), "Stable");
    world.reload();
    // Their sessions end together, and the rebalance with them.
    world.pass(3_600_000);
    assert_eq!(world.state("g"), "Dead", "the next check of expiry ends the group too");
}

/// The same with 50,000 of the newer protocol: each of them goes with a write of its own.
#[test]
fn c4_members_of_the_newer_protocol_join_and_fall_silent() {
    let mut world = World::new(AT_ONCE);
    let mut topics = TopicList::default();
    topics.put("t", Topic { id: TopicId::new([1; 16]), partitions: 2 });
    let (topics, settings) = (Arc::new(topics), {
        let mut settings = settings();
        settings.max_size = usize::MAX;
        settings
    });
    world.groups.set_consumer_settings(settings.clone());
    world.groups.set_topics(topics.clone());
    let speak = |world: &mut World, request: Heartbeat| {
        let (token, fresh) = (world.token(), world.fresh_id());
        world.with(|groups, now, out| {
            groups.consumer_heartbeat(now, token, name("g"), request, fresh, out);
        });
        match world.reply(token) {
            Some(Reply::ConsumerHeartbeat(result)) => result.map_err(|error| error.code()),
            other => panic!("{other:?}"),
        }
    };
    let mut first = None;
    for number in 0..MANY / 2 {
        let joined = speak(&mut world, newer(&format!("m-{number}"), &["t"])).unwrap();
        first.get_or_insert(joined.member_epoch);
    }
    world.groups = replayed(world.settings, &world.log);
    world.groups.set_consumer_settings(settings);
    world.groups.set_topics(topics);
    world.with(|groups, now, out| groups.loaded(now, out));
    world.pass(44_999);
    assert_eq!(world.groups.describe_consumer(&name("g")).unwrap().members.len(), MANY / 2);
    world.pass(1);
    assert!(world.groups.describe_consumer(&name("g")).unwrap().members.is_empty());
    let gone = speak(&mut world, beat("m-0", first.unwrap()));
    assert_eq!(gone.map(drop), Err(ErrorCode::UnknownMemberId));
}
