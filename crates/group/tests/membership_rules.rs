//! `JoinGroup`, `SyncGroup`, Heartbeat and `LeaveGroup`: every refusal, and which of two comes first.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test says so by failing, also at an answer that it does not expect"
)]

mod fixture;

use fixture::{
    AT_ONCE, LogMood, SETTINGS, World, commit, commit_in_txn, join, name, speaker, stable_alone,
    stable_pair, subscription, sync,
};
use hanbeon_group::{
    Join, JoinRefused, Joined, LeadersTask, Leave, Leaver, Name, NewMembers, Protocol, Reply,
    Settings, SkipAssignment, Speaker, Sync,
};
use hanbeon_records::ErrorCode;

fn refused(world: &mut World, request: Join) -> (ErrorCode, Name) {
    let token = world.join(request);
    match world.reply(token) {
        Some(Reply::Join(Err(JoinRefused { error, member_id }))) => (error.code(), member_id),
        other => panic!("{other:?}"),
    }
}

fn joined(world: &mut World, token: u32) -> Joined {
    match world.reply(token) {
        Some(Reply::Join(Ok(joined))) => joined,
        other => panic!("{other:?}"),
    }
}

fn synced(world: &mut World, request: Sync) -> Result<String, ErrorCode> {
    let token = world.sync(request);
    match world.reply(token) {
        Some(Reply::Sync(Ok(synced))) => Ok(String::from_utf8(synced.assignment.to_vec()).unwrap()),
        Some(Reply::Sync(Err(error))) => Err(error.code()),
        other => panic!("{other:?}"),
    }
}

fn at_once(request: Join) -> Join {
    Join { new_members: NewMembers::JoinAtOnce, ..request }
}

fn with_protocol(request: Join, protocol: &str) -> Join {
    let protocols = vec![Protocol { name: name(protocol), metadata: subscription(&["t"]) }];
    Join { protocols, ..request }
}

fn as_instance(request: Join, instance: &str) -> Join {
    Join { instance_id: Some(name(instance)), ..request }
}

fn spoken_by(instance: &str, speaker: Speaker) -> Speaker {
    Speaker { instance_id: Some(name(instance)), ..speaker }
}

#[test]
fn joins_that_are_refused_before_there_is_a_group() {
    let nobody = Name::empty();
    let stranger = name("m-1");
    let rows: [(&str, Join, ErrorCode, &Name); 8] = [
        ("empty group", join("", "c", &nobody), ErrorCode::InvalidGroupId, &nobody),
        (
            "empty group before the session timeout",
            Join { session_timeout_ms: 1, ..join("", "c", &stranger) },
            ErrorCode::InvalidGroupId,
            &stranger,
        ),
        (
            "session too short",
            Join { session_timeout_ms: 5_999, ..join("g", "c", &nobody) },
            ErrorCode::InvalidSessionTimeout,
            &nobody,
        ),
        (
            "session too long",
            Join { session_timeout_ms: 1_800_001, ..join("g", "c", &nobody) },
            ErrorCode::InvalidSessionTimeout,
            &nobody,
        ),
        (
            "no protocols",
            Join { protocols: vec![], ..join("g", "c", &nobody) },
            ErrorCode::InconsistentGroupProtocol,
            &nobody,
        ),
        (
            "no protocol type",
            Join { protocol_type: Name::empty(), ..join("g", "c", &nobody) },
            ErrorCode::InconsistentGroupProtocol,
            &nobody,
        ),
        ("an id nobody gave", join("g", "c", &stranger), ErrorCode::UnknownMemberId, &stranger),
        (
            "an id nobody gave before the protocols",
            Join { protocols: vec![], ..join("g", "c", &stranger) },
            ErrorCode::UnknownMemberId,
            &stranger,
        ),
    ];
    for (what, request, code, member_id) in rows {
        let mut world = World::new(SETTINGS);
        assert_eq!(refused(&mut world, request), (code, member_id.clone()), "{what}");
        assert!(world.log.is_empty(), "{what} was logged");
        assert_eq!(world.state("g"), "Dead", "{what} made a group");
    }
}

#[test]
fn protocols_must_meet() {
    let mut world = World::new(AT_ONCE);
    stable_alone(&mut world, "g");
    let new = || join("g", "c", &Name::empty());
    let mismatch = (ErrorCode::InconsistentGroupProtocol, Name::empty());
    assert_eq!(refused(&mut world, with_protocol(new(), "sticky")), mismatch);
    let other_type = Join { protocol_type: name("connect"), ..new() };
    assert_eq!(refused(&mut world, other_type), mismatch);
    assert_eq!(refused(&mut world, Join { protocols: vec![], ..new() }), mismatch);
    let one_of_two = Join {
        protocols: vec![
            Protocol { name: name("sticky"), metadata: subscription(&["t"]) },
            Protocol { name: name("range"), metadata: subscription(&["t"]) },
        ],
        ..new()
    };
    assert_eq!(refused(&mut world, one_of_two).0, ErrorCode::MemberIdRequired);
    assert_eq!(world.state("g"), "Stable", "nobody was disturbed");
}

#[test]
fn a_new_member_gets_its_id_from_client_or_instance() {
    let mut world = World::new(AT_ONCE);
    let (code, id) = refused(&mut world, join("g", "client", &Name::empty()));
    assert_eq!(code, ErrorCode::MemberIdRequired);
    assert_eq!(id.as_str(), "client-00000000-0000-4000-8000-000000000001");
    let token = world.join(join("g", "client", &id));
    assert_eq!(joined(&mut world, token).member_id, id);

    // Static members need not come twice.
    let token = world.join(as_instance(join("h", "client", &Name::empty()), "i"));
    let joined = joined(&mut world, token);
    assert_eq!(joined.member_id.as_str(), "i-00000000-0000-4000-8000-000000000003");
    assert_eq!((joined.generation, joined.assignment), (1, LeadersTask::Assign));
}

#[test]
fn an_id_that_was_given_is_forgotten_with_the_session() {
    let mut world = World::new(AT_ONCE);
    let (_, id) = refused(&mut world, join("g", "c", &Name::empty()));
    world.pass(10_001);
    assert_eq!(refused(&mut world, join("g", "c", &id)).0, ErrorCode::UnknownMemberId);
}

#[test]
fn an_id_given_to_a_dynamic_member_is_none_for_an_instance() {
    let mut world = World::new(AT_ONCE);
    let (_, id) = refused(&mut world, join("g", "c", &Name::empty()));
    let request = as_instance(join("g", "c", &id), "i");
    assert_eq!(refused(&mut world, request).0, ErrorCode::UnknownMemberId);
    let token = world.join(join("g", "c", &id));
    assert_eq!(joined(&mut world, token).generation, 1);
}

#[test]
fn a_full_group_takes_nobody_and_keeps_its_members() {
    let mut world = World::new(Settings { group_size_max: 2, ..AT_ONCE });
    let (a, _) = stable_pair(&mut world, "g");
    let full = (ErrorCode::GroupMaxSizeReached, Name::empty());
    assert_eq!(refused(&mut world, join("g", "c", &Name::empty())), full);
    // Full before protocols.
    let request = with_protocol(join("g", "c", &Name::empty()), "sticky");
    assert_eq!(refused(&mut world, request), full);
    assert_eq!(world.state("g"), "Stable");
    // A member comes again into a full group; newcomers are counted against those who wait.
    let waits = world.join(join("g", "a", &a));
    assert_eq!(world.state("g"), "PreparingRebalance");
    let newcomer = world.join(at_once(join("g", "c", &Name::empty())));
    assert_eq!(refused(&mut world, join("g", "d", &Name::empty())), full);
    world.pass(20_000);
    assert_eq!(joined(&mut world, waits).members.len(), 2, "b did not come back in time");
    assert_eq!(joined(&mut world, newcomer).members.len(), 0);
}

#[test]
fn speakers_are_checked_in_this_order() {
    type Row = (&'static str, fn(&Name) -> Speaker, ErrorCode);
    let rows: [Row; 9] = [
        ("empty group", |id| speaker("", id, 1), ErrorCode::InvalidGroupId),
        ("unknown group", |id| speaker("nowhere", id, 1), ErrorCode::UnknownMemberId),
        ("stranger", |_| speaker("g", &name("stranger"), 1), ErrorCode::UnknownMemberId),
        (
            "stranger of another generation",
            |_| speaker("g", &name("stranger"), 7),
            ErrorCode::UnknownMemberId,
        ),
        ("old generation", |id| speaker("g", id, 0), ErrorCode::IllegalGeneration),
        ("generation ahead", |id| speaker("g", id, 2), ErrorCode::IllegalGeneration),
        (
            "unknown instance",
            |id| spoken_by("i-9", speaker("g", id, 1)),
            ErrorCode::UnknownMemberId,
        ),
        (
            "another's instance, before the generation",
            |_| spoken_by("i", speaker("g", &name("stranger"), 9)),
            ErrorCode::FencedInstanceId,
        ),
        ("the member", |id| speaker("g", id, 1), ErrorCode::None),
    ];
    for (what, who, code) in rows {
        let mut world = World::new(AT_ONCE);
        let token = world.join(as_instance(join("g", "c", &Name::empty()), "i"));
        let id = joined(&mut world, token).member_id;
        let all = sync(speaker("g", &id, 1), &[(&id, "all")]);
        assert_eq!(synced(&mut world, all), Ok("all".into()));
        let found = world.heartbeat(who(&id)).err().unwrap_or(ErrorCode::None);
        assert_eq!(found, code, "heartbeat: {what}");
        let found = synced(&mut world, sync(who(&id), &[])).err().unwrap_or(ErrorCode::None);
        assert_eq!(found, code, "sync: {what}");
    }
}

#[test]
fn heartbeats_and_syncs_by_state() {
    let mut world = World::new(AT_ONCE);
    let token = world.join(at_once(join("g", "a", &Name::empty())));
    let a = joined(&mut world, token).member_id;
    assert_eq!(world.state("g"), "CompletingRebalance");
    assert_eq!(world.heartbeat(speaker("g", &a, 1)), Ok(()));
    assert_eq!(synced(&mut world, sync(speaker("g", &a, 1), &[(&a, "all")])), Ok("all".into()));
    assert_eq!(world.heartbeat(speaker("g", &a, 1)), Ok(()));
    // Once more, as a client does that lost the answer; what it brings is not looked at.
    assert_eq!(synced(&mut world, sync(speaker("g", &a, 1), &[(&a, "x")])), Ok("all".into()));
    world.join(at_once(join("g", "b", &Name::empty())));
    assert_eq!(world.state("g"), "PreparingRebalance");
    let rebalancing = Err(ErrorCode::RebalanceInProgress);
    assert_eq!(world.heartbeat(speaker("g", &a, 1)), rebalancing);
    let request = sync(speaker("g", &a, 1), &[]);
    assert_eq!(synced(&mut world, request), Err(ErrorCode::RebalanceInProgress));
}

#[test]
fn a_heartbeat_during_a_rebalance_keeps_the_session() {
    let mut world = World::new(AT_ONCE);
    let a = stable_alone(&mut world, "g");
    let b = world.join(at_once(join("g", "b", &Name::empty())));
    for _ in 0..3 {
        world.pass(6_000);
        assert_eq!(world.heartbeat(speaker("g", &a, 1)), Err(ErrorCode::RebalanceInProgress));
    }
    let a_again = world.join(join("g", "a", &a));
    assert_eq!(joined(&mut world, a_again).generation, 2);
    assert_eq!(joined(&mut world, b).generation, 2);
}

#[test]
fn a_sync_that_speaks_of_another_protocol() {
    let mut world = World::new(AT_ONCE);
    let id = stable_alone(&mut world, "g");
    let base = || sync(speaker("g", &id, 1), &[]);
    let kind = |text: &str| Some(name(text));
    let rows = [
        (
            Sync { protocol_type: kind("connect"), ..base() },
            Some(ErrorCode::InconsistentGroupProtocol),
        ),
        (
            Sync { protocol_name: kind("sticky"), ..base() },
            Some(ErrorCode::InconsistentGroupProtocol),
        ),
        (Sync { protocol_type: kind("consumer"), protocol_name: kind("range"), ..base() }, None),
        (
            Sync { speaker: speaker("g", &id, 0), protocol_type: kind("connect"), ..base() },
            Some(ErrorCode::IllegalGeneration),
        ),
    ];
    for (request, code) in rows {
        assert_eq!(synced(&mut world, request).err(), code);
    }
}

#[test]
fn leaving() {
    let mut world = World::new(AT_ONCE);
    let (a, b) = stable_pair(&mut world, "g");
    let stranger = name("stranger");
    let unknown = ErrorCode::UnknownMemberId;
    assert_eq!(world.leave("", &[(&a, None)]), Err(ErrorCode::InvalidGroupId));
    assert_eq!(world.leave("nowhere", &[(&a, None)]), Ok(vec![unknown]));
    assert_eq!(world.leave("g", &[(&stranger, None), (&a, Some("i"))]), Ok(vec![unknown; 2]));
    assert_eq!(world.state("g"), "Stable", "nobody left");
    let left = world.leave("g", &[(&stranger, None), (&a, None)]);
    assert_eq!(left, Ok(vec![unknown, ErrorCode::None]));
    assert_eq!(world.state("g"), "PreparingRebalance");
    assert_eq!(world.leave("g", &[(&b, None), (&b, None)]), Ok(vec![ErrorCode::None, unknown]));
    assert_eq!(world.state("g"), "Empty");
    assert_eq!(world.heartbeat(speaker("g", &b, 1)), Err(unknown));
}

#[test]
fn an_administrator_removes_an_instance() {
    let mut world = World::new(AT_ONCE);
    let token = world.join(as_instance(join("g", "c", &Name::empty()), "i"));
    let id = joined(&mut world, token).member_id;
    let (nobody, stranger) = (Name::empty(), name("x"));
    let left = world.leave("g", &[(&stranger, Some("i")), (&nobody, Some("i-2")), (&nobody, None)]);
    let expected =
        [ErrorCode::FencedInstanceId, ErrorCode::UnknownMemberId, ErrorCode::UnknownMemberId];
    assert_eq!(left, Ok(expected.to_vec()));
    assert_eq!(world.leave("g", &[(&nobody, Some("i"))]), Ok(vec![ErrorCode::None]));
    assert_eq!(world.state("g"), "Empty");
    assert_eq!(world.heartbeat(speaker("g", &id, 1)), Err(ErrorCode::UnknownMemberId));
}

#[test]
fn one_who_was_only_given_an_id_can_leave() {
    let mut world = World::new(AT_ONCE);
    let a = stable_alone(&mut world, "g");
    let (_, pending) = refused(&mut world, join("g", "b", &Name::empty()));
    // The rebalance waits for the one who is expected.
    let waits = world.join(join("g", "a", &a));
    assert!(!world.answers.contains_key(&waits));
    assert_eq!(world.leave("g", &[(&pending, None)]), Ok(vec![ErrorCode::None]));
    assert_eq!(joined(&mut world, waits).generation, 2);
    assert_eq!(refused(&mut world, join("g", "b", &pending)).0, ErrorCode::UnknownMemberId);
}

#[test]
fn the_answer_to_the_last_leave_waits_for_the_log() {
    let mut world = World::new(AT_ONCE);
    let id = stable_alone(&mut world, "g");
    world.mood = LogMood::Slow;
    let token = world.token();
    let members = vec![Leaver { member_id: id, instance_id: None }];
    let request = Leave { group: name("g"), members };
    world.with(|groups, now, out| groups.leave(now, token, request, out));
    assert!(world.answers.is_empty());
    world.release();
    assert!(matches!(world.reply(token), Some(Reply::Leave(Ok(_)))));

    let id = {
        let token = world.join(at_once(join("g", "m", &Name::empty())));
        joined(&mut world, token).member_id
    };
    world.mood = LogMood::Refusing(ErrorCode::NotEnoughReplicas);
    assert_eq!(world.leave("g", &[(&id, None)]), Err(ErrorCode::CoordinatorNotAvailable));
}

#[test]
fn a_member_comes_again_by_state() {
    let mut world = World::new(AT_ONCE);
    let (a, b) = stable_pair(&mut world, "g");
    let generation = world.groups.describe(&name("g")).unwrap().generation;
    // A follower without news: the generation as it is.
    let token = world.join(join("g", "b", &b));
    let repeated = joined(&mut world, token);
    assert_eq!((repeated.generation, repeated.leader), (generation, a.clone()));
    assert!(repeated.members.is_empty());
    assert_eq!(world.state("g"), "Stable");
    // The leader, without news: a rebalance, because it may know what nobody else does.
    let leads = world.join(join("g", "a", &a));
    assert_eq!(world.state("g"), "PreparingRebalance");
    let follows = world.join(join("g", "b", &b));
    assert_eq!(joined(&mut world, leads).members.len(), 2);
    joined(&mut world, follows);
    // Before the assignment: both may ask again.
    assert_eq!(world.state("g"), "CompletingRebalance");
    for (id, members) in [(&a, 2), (&b, 0)] {
        let token = world.join(join("g", "x", id));
        assert_eq!(joined(&mut world, token).members.len(), members);
    }
    // With other metadata: a new rebalance, and whoever waits for its assignment hears of it.
    let token = world.sync(sync(speaker("g", &a, generation + 1), &[]));
    assert!(world.answers.contains_key(&token), "the leader's sync completes");
    let protocols = vec![Protocol { name: name("range"), metadata: subscription(&["u"]) }];
    let changed = world.join(Join { protocols, ..join("g", "b", &b) });
    assert_eq!(world.state("g"), "PreparingRebalance");
    let leads = world.join(join("g", "a", &a));
    assert_eq!(joined(&mut world, leads).generation, generation + 2);
    joined(&mut world, changed);
}

#[test]
fn whoever_waits_for_its_assignment_hears_of_the_next_rebalance() {
    let mut world = World::new(AT_ONCE);
    let (a, b) = stable_pair(&mut world, "g");
    let leads = world.join(join("g", "a", &a));
    let follows = world.join(join("g", "b", &b));
    let generation = joined(&mut world, leads).generation;
    joined(&mut world, follows);
    let waits = world.sync(sync(speaker("g", &b, generation), &[]));
    world.join(at_once(join("g", "c", &Name::empty())));
    match world.reply(waits) {
        Some(Reply::Sync(Err(error))) => assert_eq!(error.code(), ErrorCode::RebalanceInProgress),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_client_that_asks_twice_is_answered_twice() {
    let mut world = World::new(AT_ONCE);
    let (a, b) = stable_pair(&mut world, "g");
    let first = world.join(join("g", "a", &a));
    let second = world.join(join("g", "a", &a));
    assert!(matches!(world.reply(first), Some(Reply::Join(Err(_)))));
    let follows = world.join(join("g", "b", &b));
    let generation = joined(&mut world, second).generation;
    joined(&mut world, follows);
    let first = world.sync(sync(speaker("g", &b, generation), &[]));
    let second = world.sync(sync(speaker("g", &b, generation), &[]));
    assert!(matches!(world.reply(first), Some(Reply::Sync(Err(_)))));
    let all = sync(speaker("g", &a, generation), &[(&b, "two")]);
    assert_eq!(synced(&mut world, all), Ok(String::new()), "nothing was given to the leader");
    match world.reply(second) {
        Some(Reply::Sync(Ok(synced))) => assert_eq!(&*synced.assignment, b"two"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_static_member_comes_back_by_version() {
    for skip_assignment in [SkipAssignment::Unsupported, SkipAssignment::Supported] {
        let mut world = World::new(AT_ONCE);
        let token = world.join(as_instance(join("g", "c", &Name::empty()), "i"));
        let old = joined(&mut world, token).member_id;
        let all = sync(spoken_by("i", speaker("g", &old, 1)), &[(&old, "all")]);
        assert_eq!(synced(&mut world, all), Ok("all".into()));
        let request = as_instance(join("g", "c", &Name::empty()), "i");
        let token = world.join(Join { skip_assignment, ..request });
        let back = joined(&mut world, token);
        assert_eq!(back.generation, 1, "no rebalance");
        match skip_assignment {
            SkipAssignment::Unsupported => {
                assert_eq!((&back.leader, back.assignment), (&old, LeadersTask::Assign));
                assert!(back.members.is_empty(), "it must not think that it leads");
            }
            SkipAssignment::Supported => {
                assert_eq!(back.leader, back.member_id);
                assert_eq!((back.members.len(), back.assignment), (1, LeadersTask::Skip));
            }
        }
        let fenced = Err(ErrorCode::FencedInstanceId);
        assert_eq!(world.heartbeat(spoken_by("i", speaker("g", &old, 1))), fenced);
        let new = spoken_by("i", speaker("g", &back.member_id, 1));
        assert_eq!(synced(&mut world, sync(new, &[])), Ok("all".into()), "its share is kept");
        // The new id is in the log.
        world.reload();
        let new = spoken_by("i", speaker("g", &back.member_id, 1));
        assert_eq!(synced(&mut world, sync(new, &[])), Ok("all".into()));
    }
}

#[test]
fn a_static_member_that_wants_another_protocol_brings_a_rebalance() {
    let mut world = World::new(AT_ONCE);
    let token = world.join(as_instance(join("g", "c", &Name::empty()), "i"));
    let old = joined(&mut world, token).member_id;
    let all = sync(speaker("g", &old, 1), &[(&old, "all")]);
    assert_eq!(synced(&mut world, all), Ok("all".into()));
    let both = vec![
        Protocol { name: name("sticky"), metadata: subscription(&["t"]) },
        Protocol { name: name("range"), metadata: subscription(&["t"]) },
    ];
    let back = Join { protocols: both, ..as_instance(join("g", "c", &Name::empty()), "i") };
    let token = world.join(back);
    let back = joined(&mut world, token);
    assert_eq!((back.generation, back.protocol_name), (2, Some(name("sticky"))));
}

#[test]
fn a_replaced_static_member_is_told_wherever_it_waits() {
    // In a JoinGroup.
    let mut world = World::new(AT_ONCE);
    let a = stable_alone(&mut world, "g");
    let waits = world.join(as_instance(join("g", "c", &Name::empty()), "i"));
    let back = world.join(as_instance(join("g", "c", &Name::empty()), "i"));
    match world.reply(waits) {
        Some(Reply::Join(Err(refused))) => {
            assert_eq!(refused.error.code(), ErrorCode::FencedInstanceId);
            assert!(refused.member_id.as_str().starts_with("i-"), "the old id");
        }
        other => panic!("{other:?}"),
    }
    let leads = world.join(join("g", "m", &a));
    let generation = joined(&mut world, leads).generation;
    let id = joined(&mut world, back).member_id;
    // In a SyncGroup: and the leader's assignment is for an id that is no more, so all must join again.
    let waits = world.sync(sync(spoken_by("i", speaker("g", &id, generation)), &[]));
    let back = world.join(as_instance(join("g", "c", &Name::empty()), "i"));
    match world.reply(waits) {
        Some(Reply::Sync(Err(error))) => assert_eq!(error.code(), ErrorCode::FencedInstanceId),
        other => panic!("{other:?}"),
    }
    assert_eq!(world.state("g"), "PreparingRebalance");
    let leads = world.join(join("g", "m", &a));
    assert_eq!(joined(&mut world, leads).members.len(), 2);
    joined(&mut world, back);
}

#[test]
fn a_failed_write_of_a_returning_static_member_changes_nothing() {
    let mut world = World::new(AT_ONCE);
    let token = world.join(as_instance(join("g", "c", &Name::empty()), "i"));
    let old = joined(&mut world, token).member_id;
    let all = sync(speaker("g", &old, 1), &[(&old, "all")]);
    assert_eq!(synced(&mut world, all), Ok("all".into()));
    world.mood = LogMood::Refusing(ErrorCode::NotLeaderOrFollower);
    let request = as_instance(join("g", "c", &Name::empty()), "i");
    assert_eq!(refused(&mut world, request).0, ErrorCode::NotCoordinator);
    assert_eq!(world.heartbeat(spoken_by("i", speaker("g", &old, 1))), Ok(()));
}

#[test]
fn a_failed_write_of_the_assignment_rebalances() {
    let rows = [
        (ErrorCode::UnknownTopicOrPartition, ErrorCode::CoordinatorNotAvailable),
        (ErrorCode::NotEnoughReplicas, ErrorCode::CoordinatorNotAvailable),
        (ErrorCode::NotEnoughReplicasAfterAppend, ErrorCode::CoordinatorNotAvailable),
        (ErrorCode::RequestTimedOut, ErrorCode::CoordinatorNotAvailable),
        (ErrorCode::NotLeaderOrFollower, ErrorCode::NotCoordinator),
        (ErrorCode::KafkaStorageError, ErrorCode::NotCoordinator),
        (ErrorCode::MessageTooLarge, ErrorCode::UnknownServerError),
        (ErrorCode::RecordListTooLarge, ErrorCode::UnknownServerError),
        (ErrorCode::InvalidFetchSize, ErrorCode::UnknownServerError),
    ];
    for (log_says, client_hears) in rows {
        let mut world = World::new(AT_ONCE);
        let token = world.join(at_once(join("g", "a", &Name::empty())));
        let a = joined(&mut world, token).member_id;
        world.mood = LogMood::Refusing(log_says);
        let request = sync(speaker("g", &a, 1), &[(&a, "all")]);
        assert_eq!(synced(&mut world, request), Err(client_hears), "{log_says}");
        assert_eq!(world.state("g"), "PreparingRebalance");
        world.mood = LogMood::Willing;
        let token = world.join(join("g", "a", &a));
        assert_eq!(joined(&mut world, token).generation, 2);
    }
}

#[test]
fn a_failed_write_of_a_new_group_leaves_none() {
    let mut world = World::new(AT_ONCE);
    world.mood = LogMood::Slow;
    let first = world.join(at_once(join("g", "a", &Name::empty())));
    let second = world.join(at_once(join("g", "b", &Name::empty())));
    let held = world.held.pop_front().unwrap();
    world.with(|g, now, out| {
        g.appended(now, held.write, Err(ErrorCode::NotEnoughReplicas), out);
    });
    match world.reply(first) {
        Some(Reply::Join(Err(refused))) => {
            assert_eq!(refused.error.code(), ErrorCode::CoordinatorNotAvailable);
        }
        other => panic!("{other:?}"),
    }
    // Who came behind it tries for itself.
    world.release();
    assert_eq!(joined(&mut world, second).generation, 1);
}

#[test]
fn requests_wait_for_an_undecided_write_of_their_group_alone() {
    let mut world = World::new(AT_ONCE);
    let token = world.join(at_once(join("g", "a", &Name::empty())));
    let a = joined(&mut world, token).member_id;
    world.mood = LogMood::Slow;
    let sync_token = world.sync(sync(speaker("g", &a, 1), &[(&a, "all")]));
    let beat = world.token();
    world.with(|groups, now, out| groups.heartbeat(now, beat, speaker("g", &a, 1), out));
    let commit_token = world.commit(commit("g", 3));
    assert!(world.answers.is_empty(), "{:?}", world.answers);
    assert_eq!(world.heartbeat(speaker("other", &a, 1)), Err(ErrorCode::UnknownMemberId));
    world.pass(60_000); // no timer of the group runs out meanwhile
    world.release();
    assert_eq!(world.order[world.order.len() - 3..], [sync_token, beat, commit_token]);
    assert!(matches!(world.reply(beat), Some(Reply::Heartbeat(Ok(())))));
}

#[test]
fn while_loading_members_live_on_and_the_rest_waits() {
    let mut world = World::new(AT_ONCE);
    let id = stable_alone(&mut world, "g");
    world.groups = fixture::replayed(AT_ONCE, &world.log);
    assert_eq!(world.heartbeat(speaker("g", &id, 1)), Ok(()));
    assert_eq!(
        refused(&mut world, join("g", "c", &Name::empty())).0,
        ErrorCode::CoordinatorLoadInProgress
    );
    assert_eq!(
        synced(&mut world, sync(speaker("g", &id, 1), &[])),
        Err(ErrorCode::CoordinatorLoadInProgress)
    );
    let token = world.commit(commit("g", 1));
    assert_eq!(world.committed(token), Some(ErrorCode::CoordinatorLoadInProgress));
    assert_eq!(world.delete_group("g"), ErrorCode::CoordinatorLoadInProgress);
    assert_eq!(world.groups.next_deadline(), None);
    let describe = world.groups.describe(&name("g")).unwrap_err();
    assert_eq!(describe.code(), ErrorCode::CoordinatorLoadInProgress);
    world.with(|groups, now, out| groups.loaded(now, out));
    assert_eq!(world.heartbeat(speaker("g", &id, 1)), Ok(()));
}

#[test]
fn who_waits_is_told_when_the_coordinator_resigns() {
    let mut world = World::new(AT_ONCE);
    stable_alone(&mut world, "g");
    let waits = world.join(at_once(join("g", "b", &Name::empty())));
    world.mood = LogMood::Slow;
    let written = world.commit(commit("other", 1));
    let founding = world.join(at_once(join("new", "b", &Name::empty())));
    world.reload();
    for token in [waits, written, founding] {
        let code = match world.reply(token) {
            Some(Reply::Join(Err(refused))) => refused.error.code(),
            Some(Reply::Commit(Err(error))) => error.code(),
            other => panic!("{other:?}"),
        };
        assert_eq!(code, ErrorCode::NotCoordinator);
    }
}

#[test]
fn the_protocol_of_most_votes_is_chosen() {
    let mut world = World::new(SETTINGS);
    let prefer = |first: &str, second: &str| {
        let protocols = [first, second]
            .map(|p| Protocol { name: name(p), metadata: subscription(&["t"]) })
            .to_vec();
        Join { protocols, ..at_once(join("g", "c", &Name::empty())) }
    };
    let tokens = [
        world.join(prefer("sticky", "range")),
        world.join(prefer("range", "sticky")),
        world.join(prefer("range", "sticky")),
    ];
    world.pass(6_000);
    for token in tokens {
        assert_eq!(joined(&mut world, token).protocol_name, Some(name("range")));
    }
}

#[test]
fn a_coordinator_with_all_its_groups_makes_no_other_and_serves_those() {
    let mut world = World::new(Settings { groups_max: 2, ..AT_ONCE });
    let member = stable_alone(&mut world, "g");
    let token = world.commit(commit("h", 3));
    assert_eq!(world.committed(token), Some(ErrorCode::None));

    let full = ErrorCode::PolicyViolation;
    assert_eq!(refused(&mut world, join("i", "c", &Name::empty())).0, full);
    let token = world.commit(commit("i", 3));
    assert_eq!(world.committed(token), Some(full));
    let token = world.commit_in_txn(commit_in_txn("i", 7, 3));
    assert_eq!(world.committed(token), Some(full));
    assert_eq!(world.state("i"), "Dead");

    assert_eq!(world.heartbeat(speaker("g", &member, 1)), Ok(()));
    let token = world.commit(commit("h", 4));
    assert_eq!(world.committed(token), Some(ErrorCode::None));
    world.settings = Settings { groups_max: 1, ..AT_ONCE };
    world.reload();
    let token = world.commit(commit("h", 5));
    assert_eq!(world.committed(token), Some(ErrorCode::None), "it was there before the limit");
    world.settings = Settings { groups_max: 2, ..AT_ONCE };
    assert_eq!(world.delete_group("h"), ErrorCode::None);
    world.reload();
    let token = world.commit(commit("i", 3));
    assert_eq!(world.committed(token), Some(ErrorCode::None));
}

#[test]
fn a_group_that_is_too_large_after_loading_rebalances() {
    let mut world = World::new(AT_ONCE);
    let (a, b) = stable_pair(&mut world, "g");
    world.settings = Settings { group_size_max: 1, ..AT_ONCE };
    world.reload();
    assert_eq!(world.state("g"), "PreparingRebalance");
    let waits = world.join(join("g", "a", &a));
    assert_eq!(refused(&mut world, join("g", "b", &b)).0, ErrorCode::GroupMaxSizeReached);
    assert_eq!(joined(&mut world, waits).members.len(), 1);
}
