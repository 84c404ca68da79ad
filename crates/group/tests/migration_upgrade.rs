//! A member of KIP-848 joins a classic group: all of it goes over, in whatever state it is, or nothing changes.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test says so by failing, also at an answer that it does not expect"
)]

mod migration_world;

use std::collections::BTreeSet;

use hanbeon_group::{
    Join, Name, NewMembers, Opaque, Protocol, Sync,
    consumer::{MemberType, MigrationPolicy},
};
use hanbeon_records::ErrorCode;
use migration_world::{
    World, assignment, beat, classic, consumer_settings, cooperative, name, newer, of_t, speaker,
    static_one,
};

#[test]
fn a_stable_group_goes_over_with_what_its_members_have() {
    let mut world = World::new(3);
    let (a, b) = world.stable_pair();
    let from = world.log.len();
    let reply = world.beat(&newer("n-1")).unwrap();
    assert_eq!(reply.member_epoch, 3, "the generation is the group epoch, and the join raises it");
    assert_eq!(reply.assignment, Some(of_t(&[])), "nothing is free yet");
    assert_eq!(
        world.kinds(from),
        [-2, 5, 5, 3, 7, 7, 6, 8, 8, 5, 3, 7, 7, 6, 8],
        "the group, then the member that joins"
    );
    let told = world.described().unwrap();
    assert_eq!((told.group_epoch, told.assignment_epoch), (3, 3));
    let types: Vec<_> = told.members.iter().map(|member| member.member_type).collect();
    assert_eq!(types, [MemberType::Classic, MemberType::Classic, MemberType::Consumer]);
    let shares = world.shares();
    assert_eq!(shares[a.as_str()], BTreeSet::from([0]));
    assert_eq!(shares[b.as_str()], BTreeSet::from([1, 2]));
    assert_eq!(world.classic().unwrap_err(), ErrorCode::GroupIdNotFound);
    world.assert_replays();

    // Members are called back, and b's second partition goes to the newcomer.
    assert_eq!(world.heartbeat(speaker(&b, 2)), ErrorCode::RebalanceInProgress);
    let (generation, share) = world.catch_up(&b);
    assert_eq!((generation, share.len()), (3, 1));
    assert_eq!(world.heartbeat(speaker(&b, 3)), ErrorCode::None);
    assert_eq!(world.catch_up(&a), (3, BTreeSet::from([0])));
    let reply = world.beat(&beat("n-1", 3)).unwrap();
    assert_eq!(reply.assignment.unwrap().len(), 1);
    assert_eq!(world.described().unwrap().state.name(), "Stable");
    world.assert_replays();
}

#[test]
fn who_waits_in_a_rebalance_is_told_to_come_again() {
    let mut world = World::new(2);
    let (a, b) = world.stable_pair();
    let waits = world.start_join(classic(&a));
    let third = world.new_id();
    let new = world.start_join(classic(&third));
    assert!(world.reply(waits).is_none(), "b has not joined yet");
    let reply = world.beat(&newer("n-1")).unwrap();
    assert_eq!(reply.member_epoch, 3);
    assert_eq!(world.joined(waits).unwrap_err(), (ErrorCode::RebalanceInProgress, a.clone()));
    assert_eq!(world.joined(new).unwrap_err(), (ErrorCode::RebalanceInProgress, third.clone()));
    assert_eq!(world.described().unwrap().members.len(), 4);
    world.assert_replays();
    for id in [&a, &b, &third] {
        let (generation, _) = world.catch_up(id);
        assert_eq!(world.heartbeat(speaker(id, generation)), ErrorCode::None);
    }
}

#[test]
fn who_waits_for_the_leader_is_told_to_come_again() {
    let mut world = World::new(2);
    let (a, b) = world.stable_pair();
    let (first, second) = (world.start_join(classic(&a)), world.start_join(classic(&b)));
    assert_eq!(world.joined(first).unwrap().generation, 3);
    assert_eq!(world.joined(second).unwrap().generation, 3);
    let waits = world.start_sync(speaker(&b, 3), &[]);
    world.beat(&newer("n-1")).unwrap();
    assert_eq!(world.synced(waits), Err(ErrorCode::RebalanceInProgress));
    assert_eq!(world.described().unwrap().group_epoch, 4);
}

#[test]
fn the_first_generation_need_not_have_begun() {
    let settings =
        hanbeon_group::Settings { initial_rebalance_delay_ms: 3_000, ..migration_world::SETTINGS };
    let mut world = World::with(2, settings, consumer_settings());
    let waits =
        world.start_join(Join { new_members: NewMembers::JoinAtOnce, ..classic(&Name::empty()) });
    let reply = world.beat(&newer("n-1")).unwrap();
    assert_eq!((reply.member_epoch, reply.assignment.unwrap().len()), (1, 1));
    let (code, id) = world.joined(waits).unwrap_err();
    assert_eq!(code, ErrorCode::RebalanceInProgress);
    assert_eq!(world.catch_up(&id).1.len(), 1);
    world.assert_replays();
}

/// A stable group of one, of this type, with this subscription and share.
fn alone(world: &mut World, protocol_type: &str, subscription: &Opaque, share: &Opaque) -> Name {
    let protocols = vec![Protocol { name: name("range"), metadata: subscription.clone() }];
    let protocol_type = name(protocol_type);
    let new_members = NewMembers::JoinAtOnce;
    let join = Join { protocol_type, protocols, new_members, ..classic(&Name::empty()) };
    let joined = world.join(join).unwrap();
    let id = joined.member_id;
    let assignments = vec![(id.clone(), share.clone())];
    let speaker = speaker(&id, joined.generation);
    let request = Sync { speaker, protocol_type: None, protocol_name: None, assignments };
    world.ask(|groups, now, token, out| groups.sync(now, token, request, out));
    assert_eq!(world.classic().unwrap().state.name(), "Stable");
    id
}

#[test]
fn what_cannot_go_over_stays_as_it_is() {
    let fine = migration_world::subscription(None);
    let share = assignment(&[0]);
    let mut worded = share.to_vec();
    worded.truncate(worded.len() - 4);
    worded.extend_from_slice(&[0, 0, 0, 1, 7]);
    let worded: Opaque = worded.into();
    let junk: Opaque = Opaque::from(b"sub".as_slice());
    let policy = MigrationPolicy::Bidirectional;
    let rows = [
        ("disabled", MigrationPolicy::Disabled, 100, "consumer", &fine, &share),
        ("downgrade", MigrationPolicy::Downgrade, 100, "consumer", &fine, &share),
        ("another kind of group", policy, 100, "connect", &fine, &share),
        ("a subscription that is none", policy, 100, "consumer", &junk, &share),
        ("an assignment that is none", policy, 100, "consumer", &fine, &junk),
        ("an assignment with user data", policy, 100, "consumer", &fine, &worded),
        ("too many members", policy, 0, "consumer", &fine, &share),
    ];
    for (what, migration_policy, max_size, protocol_type, subscription, share) in rows {
        let mut settings = consumer_settings();
        (settings.migration_policy, settings.max_size) = (migration_policy, max_size);
        let mut world = World::with(1, migration_world::SETTINGS, settings);
        let id = alone(&mut world, protocol_type, subscription, share);
        let (log, told) = (world.log.clone(), world.classic());
        assert_eq!(world.beat(&newer("n-1")), Err(ErrorCode::GroupIdNotFound), "{what}");
        assert_eq!((&world.log, &world.classic()), (&log, &told), "{what}");
        assert_eq!(world.heartbeat(speaker(&id, 1)), ErrorCode::None, "{what}");
    }
    // One more than fits is refused by the group's size, and the group stays classic.
    let mut settings = consumer_settings();
    settings.max_size = 1;
    let mut world = World::with(1, migration_world::SETTINGS, settings);
    alone(&mut world, "consumer", &fine, &share);
    assert_eq!(world.beat(&newer("n-1")), Err(ErrorCode::GroupMaxSizeReached));
    // Who does not join converts nothing.
    assert_eq!(world.beat(&beat("n-1", 1)), Err(ErrorCode::GroupIdNotFound));
    assert_eq!(world.classic().unwrap().state.name(), "Stable");
}

#[test]
fn a_log_that_refuses_leaves_the_group_classic() {
    let mut world = World::new(2);
    let (a, b) = world.stable_pair();
    let waits = world.start_join(classic(&a));
    world.refuses = Some(ErrorCode::NotEnoughReplicas);
    assert_eq!(world.beat(&newer("n-1")), Err(ErrorCode::CoordinatorNotAvailable));
    assert!(world.reply(waits).is_none(), "a still waits");
    let other = world.start_join(classic(&b));
    assert_eq!(world.joined(other).unwrap().generation, 3);
    assert_eq!(world.joined(waits).unwrap().generation, 3);
}

#[test]
fn static_members_keep_their_instances() {
    let mut world = World::new(2);
    let at_once = |instance| static_one(classic(&Name::empty()), instance);
    let a = world.join(at_once("i-a")).unwrap().member_id;
    let share: &[i32] = &[0, 1];
    let token = world.start_sync(speaker(&a, 1), &[(&a, share)]);
    world.synced(token).unwrap();
    world.beat(&newer("n-1")).unwrap();
    world.assert_replays();
    let told = world.described().unwrap();
    let member = told.members.iter().find(|member| member.member_id == a.as_str()).unwrap();
    assert_eq!(member.instance_id.as_deref(), Some("i-a"));
    // Its process comes again, as one of KIP-848 this time: it had no way to say that it goes.
    let mut returns = newer("n-2");
    returns.instance_id = Some("i-a".into());
    let reply = world.beat(&returns).unwrap();
    assert_eq!(reply.assignment.unwrap().len(), 1);
    let told = world.described().unwrap();
    assert!(told.members.iter().all(|member| member.member_type == MemberType::Consumer));
    let mut zombie = speaker(&a, 1);
    zombie.instance_id = Some(name("i-a"));
    assert_eq!(world.heartbeat(zombie), ErrorCode::FencedInstanceId);
    world.assert_replays();
}

#[test]
fn what_a_member_still_reads_is_nobody_elses() {
    let mut world = World::new(2);
    let (a, b) = world.stable_pair();
    let joins = [cooperative(&a, &[0]), cooperative(&b, &[1])];
    let tokens = joins.map(|join| world.start_join(join));
    assert!(tokens.into_iter().all(|token| world.joined(token).is_ok()));
    // Nobody has synced, and a third member makes the rebalance begin anew: what the two were given is taken back, but they read it.
    let third = world.new_id();
    let _waits = world.start_join(classic(&third));
    let reply = world.beat(&newer("n-1")).unwrap();
    assert_eq!(reply.assignment, Some(of_t(&[])), "both partitions are read yet");
    let shares = world.shares();
    assert_eq!(shares[a.as_str()], BTreeSet::from([0]));
    assert_eq!(shares[b.as_str()], BTreeSet::from([1]));
}

#[test]
fn what_two_members_were_given_stays_with_one() {
    let mut world = World::new(2);
    let (a, b) = world.stable_pair();
    let (first, second) = (world.start_join(classic(&a)), world.start_join(classic(&b)));
    assert!(world.joined(first).is_ok() && world.joined(second).is_ok());
    let both: &[i32] = &[0, 1];
    let token = world.start_sync(speaker(&a, 3), &[(&a, both), (&b, both)]);
    world.synced(token).unwrap();
    world.beat(&newer("n-1")).unwrap();
    let mut seen = BTreeSet::new();
    assert!(world.shares().values().flatten().all(|partition| seen.insert(*partition)));
    assert_eq!(seen, BTreeSet::from([0, 1]));
}

#[test]
fn an_id_that_was_given_out_keeps_nobody_from_a_group_without_members() {
    let mut world = World::new(2);
    let id = world.new_id();
    let reply = world.beat(&newer("n-1")).unwrap();
    assert_eq!(reply.assignment, Some(of_t(&[0, 1])));
    world.assert_replays();
    // Who has the id may come with it.
    world.join(classic(&id)).unwrap();
    assert_eq!(world.described().unwrap().members.len(), 2);
    world.pass(60_000);
    world.assert_replays();
}
