//! Members of both protocols in one KIP-848 group: they rebalance with each other, and each is refused in its own words.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test says so by failing, also at an answer that it does not expect"
)]

mod migration_world;

use std::collections::BTreeSet;

use hanbeon_group::{
    CommitDialect, Fetch, FetchWhat, Join, Name, NewMembers, Opaque, Protocol, Reply, Speaker,
    Stability, Sync,
    consumer::{MemberType, MigrationPolicy},
};
use hanbeon_records::ErrorCode;
use migration_world::{
    SETTINGS, World, beat, classic, consumer_settings, cooperative, name, newer, of_t, speaker,
    static_one,
};

/// A group of one KIP-848 member that has all of `t`.
fn consumer_group(partitions: i32) -> World {
    let mut world = World::new(partitions);
    let reply = world.beat(&newer("n-1")).unwrap();
    assert_eq!(reply.member_epoch, 2);
    world
}

fn refused(world: &mut World, request: Join) -> ErrorCode {
    let from = world.log.len();
    let told = world.described();
    let code = world.join(request).unwrap_err();
    assert_eq!((world.log.len(), world.described()), (from, told), "nothing changed");
    code
}

#[test]
fn a_classic_member_joins_and_gets_what_the_others_give_up() {
    let mut world = consumer_group(2);
    let id = world.new_id();
    assert_eq!(world.described().unwrap().members.len(), 1, "nothing is remembered of an id");
    let joined = world.join(classic(&id)).unwrap();
    assert_eq!(joined.generation, 3);
    assert_eq!(joined.protocol_type, Some(name("consumer")));
    assert_eq!(joined.protocol_name, Some(name("range")));
    assert!(joined.leader.is_empty() && joined.members.is_empty(), "nobody leads");
    assert_eq!(world.sync(&id, 3), Ok(BTreeSet::new()), "nothing is free yet");
    assert_eq!(world.heartbeat(speaker(&id, 3)), ErrorCode::None, "as long as nothing is");
    world.assert_replays();

    let reply = world.beat(&beat("n-1", 2)).unwrap();
    assert_eq!(reply.assignment.unwrap().len(), 1);
    let mut gave_up = beat("n-1", 2);
    let keeps = world.shares()["n-1"].iter().copied().collect::<Vec<_>>();
    gave_up.owned = Some(of_t(&keeps));
    assert_eq!(world.beat(&gave_up).unwrap().member_epoch, 3);
    assert_eq!(world.heartbeat(speaker(&id, 3)), ErrorCode::RebalanceInProgress);
    let (generation, share) = world.catch_up(&id);
    assert_eq!((generation, share.len()), (3, 1));
    assert_eq!(world.heartbeat(speaker(&id, 3)), ErrorCode::None);
    assert_eq!(world.described().unwrap().state.name(), "Stable");
    world.assert_replays();
}

#[test]
fn a_cooperative_member_gives_up_one_by_one() {
    let mut world = World::new(2);
    let id = world
        .join(Join { new_members: NewMembers::JoinAtOnce, ..cooperative(&Name::empty(), &[]) });
    let id = id.unwrap().member_id;
    let all: &[i32] = &[0, 1];
    let token = world.start_sync(speaker(&id, 1), &[(&id, all)]);
    world.synced(token).unwrap();
    world.beat(&newer("n-1")).unwrap();
    assert_eq!(world.heartbeat(speaker(&id, 1)), ErrorCode::RebalanceInProgress);
    // It still has both: it stays at its generation until it has given one up.
    assert_eq!(world.join(cooperative(&id, &[0, 1])).unwrap().generation, 1);
    let kept = world.sync(&id, 1).unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!(world.beat(&beat("n-1", 2)).unwrap().assignment, None, "it may be read yet");
    assert_eq!(world.heartbeat(speaker(&id, 1)), ErrorCode::RebalanceInProgress);
    let kept: Vec<i32> = kept.into_iter().collect();
    assert_eq!(world.join(cooperative(&id, &kept)).unwrap().generation, 2);
    assert_eq!(world.sync(&id, 2).unwrap().into_iter().collect::<Vec<_>>(), kept);
    assert_eq!(world.beat(&beat("n-1", 2)).unwrap().assignment.unwrap().len(), 1);
    world.assert_replays();
}

#[test]
fn joins_that_a_consumer_group_refuses() {
    let mut world = consumer_group(2);
    let id = world.new_id();
    let other = |protocol: &str| {
        let metadata = migration_world::subscription(None);
        Join {
            protocols: vec![Protocol { name: name(protocol), metadata }],
            ..classic(&name("m-9"))
        }
    };
    let junk = Opaque::from(b"sub".as_slice());
    let unreadable = Join {
        protocols: vec![Protocol { name: name("range"), metadata: junk }],
        ..classic(&name("m-9"))
    };
    let connect = Join { protocol_type: name("connect"), ..classic(&id) };
    assert_eq!(refused(&mut world, connect), ErrorCode::InconsistentGroupProtocol);
    let none = Join { protocols: Vec::new(), ..classic(&id) };
    assert_eq!(refused(&mut world, none), ErrorCode::InconsistentGroupProtocol);
    assert_eq!(refused(&mut world, unreadable), ErrorCode::InconsistentGroupProtocol);
    let stranger = static_one(classic(&name("m-9")), "i-9");
    assert_eq!(refused(&mut world, stranger), ErrorCode::UnknownMemberId);
    // Before anybody speaks the classic protocol any of its protocols does; then it must be shared.
    world.join(other("sticky")).unwrap();
    assert_eq!(refused(&mut world, classic(&id)), ErrorCode::InconsistentGroupProtocol);

    let mut settings = consumer_settings();
    settings.migration_policy = MigrationPolicy::Disabled;
    let mut world = World::with(2, SETTINGS, settings.clone());
    world.beat(&newer("n-1")).unwrap();
    let new = classic(&Name::empty());
    assert_eq!(refused(&mut world, new.clone()), ErrorCode::InconsistentGroupProtocol);
    (settings.migration_policy, settings.max_size) = (MigrationPolicy::Upgrade, 1);
    let mut world = World::with(2, SETTINGS, settings);
    world.beat(&newer("n-1")).unwrap();
    assert_eq!(refused(&mut world, new), ErrorCode::GroupMaxSizeReached);
    world.refuses = Some(ErrorCode::NotLeaderOrFollower);
    let mut world = consumer_group(2);
    world.refuses = Some(ErrorCode::NotLeaderOrFollower);
    assert_eq!(refused(&mut world, classic(&id)), ErrorCode::NotCoordinator);
}

#[test]
fn syncs_and_heartbeats_that_are_refused() {
    let mut world = consumer_group(2);
    let id = world.new_id();
    let generation = world.catch_up(&id).0;
    let stranger = name("m-9");
    let kip848 = name("n-1");
    let of = |id: &Name, instance: &str| Speaker {
        instance_id: Some(name(instance)),
        ..speaker(id, generation)
    };
    let rows = [
        ("a stranger", speaker(&stranger, generation), ErrorCode::UnknownMemberId),
        ("one that speaks the other protocol", speaker(&kip848, 2), ErrorCode::UnknownMemberId),
        ("an instance that is none", of(&id, "i-9"), ErrorCode::UnknownMemberId),
        ("behind", speaker(&id, generation - 1), ErrorCode::IllegalGeneration),
        ("ahead", speaker(&id, generation + 1), ErrorCode::IllegalGeneration),
    ];
    for (what, speaker, code) in rows {
        assert_eq!(world.heartbeat(speaker.clone()), code, "{what}");
        let token = world.start_sync(speaker, &[]);
        assert_eq!(world.synced(token), Err(code), "{what}");
    }
    let sync = |protocol_type: Option<&str>, protocol_name: Option<&str>| Sync {
        speaker: speaker(&id, generation),
        protocol_type: protocol_type.map(name),
        protocol_name: protocol_name.map(name),
        assignments: Vec::new(),
    };
    for (request, code) in [
        (sync(Some("connect"), None), ErrorCode::InconsistentGroupProtocol),
        (sync(Some("consumer"), Some("sticky")), ErrorCode::InconsistentGroupProtocol),
        (sync(Some("consumer"), Some("range")), ErrorCode::None),
    ] {
        let token = world.ask(|groups, now, token, out| groups.sync(now, token, request, out));
        let Some(Reply::Sync(result)) = world.reply(token) else { panic!("no answer") };
        assert_eq!(result.map_or_else(|error| error.code(), |_| ErrorCode::None), code);
    }
    // A rebalance has begun since: it joins before it syncs.
    world.beat(&newer("n-2")).unwrap();
    assert_eq!(world.sync(&id, generation), Err(ErrorCode::RebalanceInProgress));
    assert_eq!(world.heartbeat(speaker(&id, generation)), ErrorCode::RebalanceInProgress);
}

#[test]
fn offsets_go_by_the_generation() {
    let mut world = consumer_group(2);
    let id = world.new_id();
    let generation = world.catch_up(&id).0;
    for dialect in [CommitDialect::Generations, CommitDialect::Epochs] {
        assert_eq!(world.commit(&id, generation, dialect), ErrorCode::None);
        assert_eq!(world.commit(&id, generation - 1, dialect), ErrorCode::IllegalGeneration);
        assert_eq!(world.commit(&name("m-9"), generation, dialect), ErrorCode::UnknownMemberId);
    }
    let fetch = |epoch| Fetch {
        group: name("g"),
        member: Some((id.clone(), epoch)),
        stability: Stability::NotRequired,
        what: FetchWhat::All,
    };
    assert_eq!(world.groups.fetch_offsets(&fetch(generation)).unwrap().len(), 1);
    let error = world.groups.fetch_offsets(&fetch(generation - 1)).unwrap_err();
    assert_eq!(error.code(), ErrorCode::IllegalGeneration);
}

#[test]
fn one_that_was_fenced_lets_go_before_it_joins() {
    let mut world = consumer_group(2);
    let id = world.new_id();
    let generation = world.join(cooperative(&id, &[])).unwrap().generation;
    world.sync(&id, generation).unwrap();
    world.pass(10_000);
    assert_eq!(refused(&mut world, cooperative(&id, &[1])), ErrorCode::UnknownMemberId);
    assert!(world.join(cooperative(&id, &[])).is_ok());
}

#[test]
fn who_leaves_makes_room() {
    let mut world = consumer_group(2);
    let id = world.new_id();
    world.catch_up(&id);
    let instance = world.join(static_one(classic(&Name::empty()), "i-1")).unwrap().member_id;
    let nobody = Name::empty();
    let from = world.log.len();
    let left = world.leave(&[(&name("m-9"), None), (&id, Some("i-1")), (&nobody, Some("i-9"))]);
    let unknown = ErrorCode::UnknownMemberId;
    assert_eq!(left, [unknown, ErrorCode::FencedInstanceId, unknown]);
    assert_eq!(world.log.len(), from, "nobody left");
    let left = world.leave(&[(&id, None), (&nobody, Some("i-1")), (&instance, Some("i-1"))]);
    assert_eq!(left, [ErrorCode::None; 3], "an instance can be named twice");
    assert_eq!(world.kinds(from), [-8, -7, -5, -8, -7, -5, 3], "one write for all");
    let told = world.described().unwrap();
    assert_eq!((told.members.len(), told.members[0].member_type), (1, MemberType::Consumer));
    world.assert_replays();
    let reply = world.beat(&beat("n-1", 2)).unwrap();
    assert_eq!(reply.member_epoch, told.group_epoch);
    // An administrator removes a member of the other protocol in the same way.
    assert_eq!(world.leave(&[(&name("n-1"), None)]), [ErrorCode::None]);
    assert_eq!(world.described().unwrap().state.name(), "Empty");
}

#[test]
fn silence_ends_a_classic_member() {
    let members = |world: &World| world.described().unwrap().members.len();
    // Its session, which is its own and not the group's.
    let mut world = consumer_group(2);
    let id = world.new_id();
    world.catch_up(&id);
    world.pass(9_999);
    assert_eq!(members(&world), 2);
    world.pass(1);
    assert_eq!(members(&world), 1);
    assert_eq!(world.heartbeat(speaker(&id, 3)), ErrorCode::UnknownMemberId);
    world.assert_replays();

    // One that has joined syncs in time, whatever it says besides.
    let mut world = consumer_group(2);
    let id = world.new_id();
    let generation = world.join(classic(&id)).unwrap().generation;
    let speak = |world: &mut World| {
        world.heartbeat(speaker(&id, generation));
        world.beat(&beat("n-1", 2)).unwrap();
    };
    for _ in 0..3 {
        world.pass(6_000);
        speak(&mut world);
    }
    world.pass(1_999);
    assert_eq!(members(&world), 2);
    world.pass(1);
    assert_eq!(members(&world), 1);

    // One that is called back comes in time.
    let mut world = consumer_group(2);
    let id = world.new_id();
    let generation = world.catch_up(&id).0;
    world.beat(&newer("n-2")).unwrap();
    let called = |world: &mut World| world.heartbeat(speaker(&id, generation));
    for _ in 0..4 {
        assert_eq!(called(&mut world), ErrorCode::RebalanceInProgress);
        world.pass(4_999);
    }
    assert_eq!(members(&world), 3, "19,996 ms since it was first told");
    world.pass(4);
    assert_eq!(members(&world), 2);
}

/// Its end is not written at first, and what it says meanwhile puts off no more than its session.
#[test]
fn c4_who_is_late_goes_also_when_the_log_does_not_take_it_at_once() {
    let late = |world: &mut World, id: &Name, generation: i32| {
        world.refuses = Some(ErrorCode::NotLeaderOrFollower);
        world.pass(2_000);
        assert_eq!(world.refuses, None, "the log was asked");
        world.pass(500);
        assert_ne!(world.heartbeat(speaker(id, generation)), ErrorCode::UnknownMemberId);
        world.pass(500);
        assert_eq!(world.heartbeat(speaker(id, generation)), ErrorCode::UnknownMemberId);
        world.assert_replays();
    };
    let speak = |world: &mut World, id: &Name, generation: i32| {
        for _ in 0..3 {
            world.heartbeat(speaker(id, generation));
            world.pass(6_000);
        }
        world.heartbeat(speaker(id, generation));
    };
    // It is to sync.
    let mut world = consumer_group(2);
    let id = world.new_id();
    let generation = world.join(classic(&id)).unwrap().generation;
    speak(&mut world, &id, generation);
    late(&mut world, &id, generation);

    // It is to join.
    let mut world = consumer_group(2);
    let id = world.new_id();
    let generation = world.catch_up(&id).0;
    world.beat(&newer("n-2")).unwrap();
    speak(&mut world, &id, generation);
    late(&mut world, &id, generation);
}

#[test]
fn a_join_ends_the_timer_of_the_call() {
    let mut world = consumer_group(2);
    let id = world.new_id();
    let generation = world.catch_up(&id).0;
    world.beat(&newer("n-2")).unwrap();
    assert_eq!(world.heartbeat(speaker(&id, generation)), ErrorCode::RebalanceInProgress);
    let generation = world.catch_up(&id).0;
    for _ in 0..6 {
        world.pass(5_000);
        world.heartbeat(speaker(&id, generation));
    }
    assert!(world.described().unwrap().members.iter().any(|m| m.member_id == id.as_str()));
}

#[test]
fn another_coordinator_serves_them_as_this_one_did() {
    let mut world = consumer_group(2);
    let id = world.new_id();
    let generation = world.catch_up(&id).0;
    world.reload();
    assert_eq!(world.heartbeat(speaker(&id, generation)), ErrorCode::None);
    assert_eq!(world.sync(&id, generation), Ok(BTreeSet::new()));
    world.pass(10_000);
    assert_eq!(world.described().unwrap().members.len(), 1, "its own session timeout");
}

#[test]
fn a_static_classic_member_takes_its_place_again() {
    let mut world = consumer_group(2);
    let first = world.join(static_one(classic(&Name::empty()), "i-1")).unwrap();
    let old = first.member_id;
    let second = world.join(static_one(classic(&Name::empty()), "i-1")).unwrap();
    assert_ne!(second.member_id, old);
    assert_eq!(second.generation, first.generation, "nothing else changed");
    assert_eq!(world.described().unwrap().members.len(), 2);
    let of =
        |id: &Name| Speaker { instance_id: Some(name("i-1")), ..speaker(id, second.generation) };
    assert_eq!(world.heartbeat(of(&old)), ErrorCode::FencedInstanceId);
    assert_eq!(world.heartbeat(of(&second.member_id)), ErrorCode::None);
    assert_eq!(refused(&mut world, static_one(classic(&old), "i-1")), ErrorCode::FencedInstanceId);
    world.assert_replays();
}

#[test]
fn classic_members_alone_have_targets_computed() {
    // Without a downgrade nobody is left whose heartbeats would do it.
    let mut settings = consumer_settings();
    settings.migration_policy = MigrationPolicy::Upgrade;
    settings.assignment_interval_ms = 1_000;
    let mut world = World::with(2, SETTINGS, settings);
    world.beat(&newer("n-1")).unwrap();
    let id = world.new_id();
    world.pass(1_000);
    let generation = world.catch_up(&id).0;
    let leave = world.beat(&beat("n-1", -1)).unwrap();
    assert_eq!(leave.member_epoch, -1);
    assert_eq!(world.catch_up(&id).1.len(), 1, "its part of the target is free");
    assert_eq!(world.heartbeat(speaker(&id, generation)), ErrorCode::None, "the target is young");
    world.pass(1_000);
    assert_eq!(world.heartbeat(speaker(&id, generation)), ErrorCode::RebalanceInProgress);
    let (generation, share) = world.catch_up(&id);
    assert_eq!(share, BTreeSet::from([0, 1]));
    assert_eq!(world.heartbeat(speaker(&id, generation)), ErrorCode::None);
    // A topic that grows is seen as well.
    world.partitions = 3;
    world.pass(1_000);
    assert_eq!(world.heartbeat(speaker(&id, generation)), ErrorCode::RebalanceInProgress);
    assert_eq!(world.catch_up(&id).1, BTreeSet::from([0, 1, 2]));
}
