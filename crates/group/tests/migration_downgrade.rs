//! The last member of KIP-848 goes: the group is a classic one again, and its members join anew.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test says so by failing, also at an answer that it does not expect"
)]

mod migration_world;

use std::collections::BTreeSet;

use hanbeon_group::{
    CommitDialect, Join, Name, NewMembers, Protocol, Settings, Speaker,
    consumer::{Heartbeat, MigrationPolicy},
};
use hanbeon_records::ErrorCode;
use migration_world::{
    SETTINGS, World, beat, classic, consumer_settings, cooperative, newer, of_t, speaker,
    static_one,
};

/// A KIP-848 group in which `n-1` has partition 0 of `t` and a classic member the other; with the member's id and generation.
fn mixed(world: World) -> (World, Name, i32) {
    mixed_with(world, None)
}

/// The same, where `n-1` may be static.
fn mixed_with(mut world: World, instance: Option<&str>) -> (World, Name, i32) {
    let of = |beat: Heartbeat| Heartbeat { instance_id: instance.map(Into::into), ..beat };
    world.beat(&of(newer("n-1"))).unwrap();
    let id = world.new_id();
    world.catch_up(&id);
    world.beat(&of(beat("n-1", 2))).unwrap();
    let keeps: Vec<i32> = world.shares()["n-1"].iter().copied().collect();
    let mut gave_up = of(beat("n-1", 2));
    gave_up.owned = Some(of_t(&keeps));
    assert_eq!(world.beat(&gave_up).unwrap().member_epoch, 3);
    let (generation, share) = world.catch_up(&id);
    assert_eq!((generation, share.len()), (3, 1));
    (world, id, generation)
}

/// The classic member joins the group again, which gives it everything.
fn goes_on(world: &mut World, id: &Name, generation: i32) {
    assert_eq!(world.classic().unwrap().state.name(), "PreparingRebalance");
    assert_eq!(world.described().unwrap_err(), ErrorCode::GroupIdNotFound);
    world.assert_replays();
    assert_eq!(world.heartbeat(speaker(id, generation)), ErrorCode::RebalanceInProgress);
    let joined = world.join(classic(id)).unwrap();
    assert_eq!((joined.generation, &joined.leader), (generation + 1, id));
    let all: &[i32] = &[0, 1];
    let token = world.start_sync(speaker(id, generation + 1), &[(id, all)]);
    assert_eq!(world.synced(token), Ok(BTreeSet::from([0, 1])));
    assert_eq!(world.heartbeat(speaker(id, generation + 1)), ErrorCode::None);
}

#[test]
fn the_last_one_leaves() {
    let (mut world, id, generation) = mixed(World::new(2));
    assert_eq!(world.commit(&id, generation, CommitDialect::Generations), ErrorCode::None);
    let from = world.log.len();
    let reply = world.beat(&beat("n-1", -1)).unwrap();
    assert_eq!(reply.member_epoch, -1);
    assert_eq!(world.kinds(from), [-8, -8, -7, -7, -6, -5, -5, -3, 2], "one write");
    let told = world.classic().unwrap();
    assert_eq!((told.generation, told.protocol_type.as_str()), (generation, "consumer"));
    assert_eq!(told.members.len(), 1);
    goes_on(&mut world, &id, generation);
    assert_eq!(world.commit(&id, generation + 1, CommitDialect::Generations), ErrorCode::None);
}

#[test]
fn the_last_one_is_removed() {
    let (mut world, id, generation) = mixed(World::new(2));
    assert_eq!(world.leave(&[(&Name::new("n-1").unwrap(), None)]), [ErrorCode::None]);
    goes_on(&mut world, &id, generation);
}

#[test]
fn the_last_one_falls_silent() {
    let (mut world, id, generation) = mixed(World::new(2));
    for _ in 0..6 {
        world.pass(7_400);
        assert_eq!(world.heartbeat(speaker(&id, generation)), ErrorCode::None);
    }
    world.pass(600);
    goes_on(&mut world, &id, generation);
}

#[test]
fn the_last_one_does_not_give_up_what_it_is_to() {
    let mut world = World::new(2);
    world.beat(&newer("n-1")).unwrap();
    let id = world.new_id();
    let generation = world.catch_up(&id).0;
    world.beat(&beat("n-1", 2)).unwrap();
    for _ in 0..5 {
        world.pass(6_000);
        world.heartbeat(speaker(&id, generation));
        if world.described().is_ok() {
            world.beat(&beat("n-1", 2)).unwrap();
        }
    }
    goes_on(&mut world, &id, generation);
}

#[test]
fn the_leaver_and_a_classic_member_go_at_different_times() {
    let (mut world, id, _) = mixed(World::new(2));
    // A classic member that goes leaves the others to KIP-848, and the last of all leaves an empty group.
    assert_eq!(world.leave(&[(&id, None)]), [ErrorCode::None]);
    assert_eq!(world.described().unwrap().members.len(), 1);
    world.beat(&beat("n-1", -1)).unwrap();
    assert_eq!(world.described().unwrap().state.name(), "Empty");
}

#[test]
fn a_log_that_refuses_leaves_the_group_to_kip_848() {
    let (mut world, id, generation) = mixed(World::new(2));
    world.refuses = Some(ErrorCode::NotEnoughReplicas);
    assert_eq!(world.beat(&beat("n-1", -1)), Err(ErrorCode::CoordinatorNotAvailable));
    assert_eq!(world.described().unwrap().members.len(), 2);
    assert_eq!(world.heartbeat(speaker(&id, generation)), ErrorCode::None);
    // The end of a session is tried again.
    for _ in 0..6 {
        world.pass(7_400);
        world.heartbeat(speaker(&id, generation));
    }
    world.refuses = Some(ErrorCode::NotEnoughReplicas);
    world.pass(600);
    assert_eq!(world.described().unwrap().members.len(), 2);
    world.pass(1_000);
    goes_on(&mut world, &id, generation);
}

#[test]
fn a_group_that_may_not_stays_one_of_kip_848() {
    let rows = [
        (MigrationPolicy::Upgrade, SETTINGS),
        (MigrationPolicy::Bidirectional, Settings { group_size_max: 0, ..SETTINGS }),
    ];
    for (policy, settings) in rows {
        let consumer = hanbeon_group::consumer::ConsumerSettings {
            migration_policy: policy,
            ..consumer_settings()
        };
        let (mut world, id, generation) = mixed(World::with(2, settings, consumer));
        world.beat(&beat("n-1", -1)).unwrap();
        assert_eq!(world.described().unwrap().members.len(), 1, "{policy:?}");
        assert_eq!(world.heartbeat(speaker(&id, generation)), ErrorCode::RebalanceInProgress);
        assert_eq!(world.catch_up(&id), (generation + 1, BTreeSet::from([0, 1])));
        world.assert_replays();
    }
}

#[test]
fn members_keep_all_their_protocols() {
    let mut world = World::new(2);
    world.beat(&newer("n-1")).unwrap();
    let supporting = |id: &Name, names: &[&str]| {
        let of = |name: &&str| Protocol {
            name: Name::new(name).unwrap(),
            metadata: migration_world::subscription(None),
        };
        Join { protocols: names.iter().map(of).collect(), ..classic(id) }
    };
    let id = world.new_id();
    world.join(supporting(&id, &["range", "sticky"])).unwrap();
    world.beat(&beat("n-1", -1)).unwrap();
    let second = world.join(Join {
        new_members: NewMembers::JoinAtOnce,
        ..supporting(&Name::empty(), &["other"])
    });
    assert_eq!(second.unwrap_err(), ErrorCode::InconsistentGroupProtocol);
    // The log says range alone.
    let waits = world.start_join(Join {
        new_members: NewMembers::JoinAtOnce,
        ..supporting(&Name::empty(), &["sticky"])
    });
    let joined = world.join(supporting(&id, &["range", "sticky"])).unwrap();
    assert_eq!(joined.protocol_name, Some(Name::new("sticky").unwrap()));
    assert!(world.joined(waits).is_ok());
}

#[test]
fn what_a_member_has_not_given_up_yet_is_nobody_elses() {
    let mut world = World::new(2);
    let new = Join { new_members: NewMembers::JoinAtOnce, ..cooperative(&Name::empty(), &[]) };
    let id = world.join(new).unwrap().member_id;
    let all: &[i32] = &[0, 1];
    let token = world.start_sync(speaker(&id, 1), &[(&id, all)]);
    world.synced(token).unwrap();
    world.beat(&newer("n-1")).unwrap();
    assert_eq!(world.join(cooperative(&id, all)).unwrap().generation, 1);
    assert_eq!(world.shares()[id.as_str()].len(), 1, "it is to give up the other");
    world.beat(&beat("n-1", -1)).unwrap();
    assert!(world.classic().is_ok());
    let reply = world.beat(&newer("n-2")).unwrap();
    assert_eq!(reply.assignment, Some(of_t(&[])));
    assert_eq!(world.shares()[id.as_str()], BTreeSet::from([0, 1]));
}

#[test]
fn another_coordinator_takes_over_in_between() {
    let (mut world, id, generation) = mixed(World::new(2));
    world.beat(&beat("n-1", -1)).unwrap();
    world.reload();
    assert_eq!(world.classic().unwrap().state.name(), "Stable", "as the log has it");
    assert_eq!(world.heartbeat(speaker(&id, generation)), ErrorCode::None);
    assert_eq!(world.join(classic(&id)).unwrap().generation, generation + 1);
}

#[test]
fn a_static_member_comes_back_with_the_classic_protocol() {
    let (mut world, id, generation) = mixed_with(World::new(2), Some("i-1"));
    let from = world.log.len();
    let joined = world.join(static_one(classic(&Name::empty()), "i-1")).unwrap();
    assert_eq!(joined.generation, generation, "everybody has what it is to have");
    assert_eq!(world.kinds(from), [-8, -8, -7, -7, -6, -5, -5, -3, 2]);
    let told = world.classic().unwrap();
    assert_eq!((told.state.name(), told.generation), ("Stable", joined.generation));
    assert_eq!(told.members.len(), 2);
    world.assert_replays();
    let mut speaker = speaker(&joined.member_id, joined.generation);
    speaker.instance_id = Some(Name::new("i-1").unwrap());
    let token = world.start_sync(speaker.clone(), &[]);
    assert_eq!(world.synced(token).unwrap().len(), 1, "what the one before it had and it keeps");
    assert_eq!(world.heartbeat(speaker), ErrorCode::None);
    assert_eq!(world.heartbeat(migration_world::speaker(&id, generation)), ErrorCode::None);
    let mut gone = beat("n-1", generation);
    gone.instance_id = Some("i-1".into());
    assert_eq!(world.beat(&gone), Err(ErrorCode::GroupIdNotFound));
}

/// What the one before it had and it does not keep is nobody's, and the classic group knows of no target.
#[test]
fn a_static_member_comes_back_before_another_has_what_it_waits_for() {
    let mut world = World::new(2);
    let mut first = newer("n-1");
    first.instance_id = Some("i-1".into());
    world.beat(&first).unwrap();
    let id = world.new_id();
    let (generation, share) = world.catch_up(&id);
    assert_eq!(share, BTreeSet::new(), "the other one has not given it up");
    let new = static_one(classic(&Name::empty()), "i-1");
    let joined = world.join(new).unwrap();
    assert_eq!(world.classic().unwrap().state.name(), "PreparingRebalance");
    world.assert_replays();
    let mut of_static = speaker(&joined.member_id, joined.generation);
    of_static.instance_id = Some(Name::new("i-1").unwrap());
    assert_eq!(world.heartbeat(of_static.clone()), ErrorCode::RebalanceInProgress);
    assert_eq!(world.heartbeat(speaker(&id, generation)), ErrorCode::RebalanceInProgress);
    let waits = world.start_join(classic(&id));
    let again = world.join(static_one(classic(&joined.member_id), "i-1")).unwrap();
    let other = world.joined(waits).unwrap();
    assert_eq!((again.generation, other.generation), (joined.generation + 1, again.generation));
    let given: [(&Name, &[i32]); 2] = [(&id, &[0]), (&joined.member_id, &[1])];
    let leads = if again.leader == id {
        speaker(&id, again.generation)
    } else {
        Speaker { generation: again.generation, ..of_static }
    };
    let token = world.start_sync(leads, &given);
    assert_eq!(world.synced(token).map(|share| share.len()), Ok(1));
    assert_eq!(world.classic().unwrap().state.name(), "Stable");
}

#[test]
fn a_static_member_can_be_all_there_is() {
    let mut world = World::new(2);
    let mut first = newer("n-1");
    first.instance_id = Some("i-1".into());
    world.beat(&first).unwrap();
    let joined = world.join(static_one(classic(&Name::empty()), "i-1")).unwrap();
    assert_eq!(world.classic().unwrap().generation, joined.generation);
    world.assert_replays();
    let mut speaker = speaker(&joined.member_id, joined.generation);
    speaker.instance_id = Some(Name::new("i-1").unwrap());
    let token = world.start_sync(speaker, &[]);
    assert_eq!(world.synced(token), Ok(BTreeSet::from([0, 1])));
}

#[test]
fn there_and_back_again() {
    let (mut world, id, _) = mixed(World::new(2));
    for round in 0..3 {
        world.beat(&beat("n-1", -1)).unwrap();
        world.assert_replays();
        let joined = world.join(classic(&id)).unwrap();
        let all: &[i32] = &[0, 1];
        let token = world.start_sync(speaker(&id, joined.generation), &[(&id, all)]);
        world.synced(token).unwrap();
        let reply = world.beat(&newer("n-1")).unwrap();
        assert_eq!(reply.member_epoch, joined.generation + 1, "round {round}: epochs only rise");
        assert_eq!(world.catch_up(&id).1.len(), 1);
        let reply = world.beat(&beat("n-1", reply.member_epoch)).unwrap();
        assert_eq!(reply.assignment.unwrap().len(), 1);
        world.assert_replays();
    }
}
