//! `OffsetCommit`, `TxnOffsetCommit`, `OffsetFetch`, `OffsetDelete`, `DeleteGroups`, `DescribeGroups`, `ListGroups`, expiry: every refusal and what
//! stays.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test says so by failing, also at an answer that it does not expect"
)]

mod fixture;

use fixture::{
    AT_ONCE, LogMood, World, code, commit, commit_in_txn, join, name, new_offset, stable_alone,
    stable_pair, subscription,
};
use hanbeon_group::{
    AppendKind, Commit, CommitDialect, Fetch, FetchWhat, GroupType, Join, ListFilter, Membership,
    Name, NewMembers, NewOffset, OffsetLayout, Outcome, Output, Protocol, Record, Reply, Settings,
    Stability, State,
};
use hanbeon_records::{ErrorCode, LeaderEpoch, Millis, Offset, ProducerEpoch, ProducerId, TopicId};

const ANY: Stability = Stability::NotRequired;
const STABLE: Stability = Stability::Required;
const DAY: i64 = 86_400_000;

fn membership(generation: i32, member_id: &Name, instance: Option<&str>) -> Membership {
    Membership { generation, member_id: member_id.clone(), instance_id: instance.map(name) }
}

fn committed(world: &mut World, request: Commit) -> ErrorCode {
    let token = world.commit(request);
    world.committed(token).unwrap()
}

fn in_txn(world: &mut World, group: &str, producer_id: i64, offset: i64) -> ErrorCode {
    let token = world.commit_in_txn(commit_in_txn(group, producer_id, offset));
    world.committed(token).unwrap()
}

#[test]
fn c2_commits_are_checked_by_membership_in_this_order() {
    let nobody = Name::empty();
    let stranger = name("stranger");
    let who: fn(&Name, i32) -> Membership = |id, generation| membership(generation, id, None);
    let mut world = World::new(AT_ONCE);
    let id = stable_alone(&mut world, "g");
    let rows = [
        ("the member", who(&id, 1), ErrorCode::None, ErrorCode::None),
        ("old generation", who(&id, 0), ErrorCode::IllegalGeneration, ErrorCode::IllegalGeneration),
        (
            "generation ahead",
            who(&id, 9),
            ErrorCode::IllegalGeneration,
            ErrorCode::IllegalGeneration,
        ),
        (
            "member without generation",
            who(&id, -1),
            ErrorCode::IllegalGeneration,
            ErrorCode::IllegalGeneration,
        ),
        ("stranger", who(&stranger, 1), ErrorCode::UnknownMemberId, ErrorCode::UnknownMemberId),
        (
            "stranger of another generation",
            who(&stranger, 9),
            ErrorCode::UnknownMemberId,
            ErrorCode::UnknownMemberId,
        ),
        (
            "generation without a member",
            who(&nobody, 1),
            ErrorCode::UnknownMemberId,
            ErrorCode::UnknownMemberId,
        ),
        (
            "unknown instance",
            membership(1, &id, Some("i-1")),
            ErrorCode::UnknownMemberId,
            ErrorCode::UnknownMemberId,
        ),
        // Before v3 a transaction says nothing of its member.
        ("nobody", Membership::none(), ErrorCode::UnknownMemberId, ErrorCode::None),
    ];
    for (what, membership, plain, transactional) in rows {
        let request = Commit { membership: membership.clone(), ..commit("g", 1) };
        assert_eq!(committed(&mut world, request), plain, "plain: {what}");
        let mut request = commit_in_txn("g", 7, 1);
        request.membership = membership;
        let token = world.commit_in_txn(request);
        assert_eq!(world.committed(token), Some(transactional), "in a transaction: {what}");
    }
}

#[test]
fn c2_a_replaced_instance_commits_nothing() {
    let mut world = World::new(AT_ONCE);
    let request = Join { instance_id: Some(name("i")), ..join("g", "c", &Name::empty()) };
    let mut ids = Vec::new();
    for _ in 0..2 {
        let token = world.join(request.clone());
        match world.reply(token) {
            Some(Reply::Join(Ok(joined))) => ids.push((joined.member_id, joined.generation)),
            other => panic!("{other:?}"),
        }
        let (id, generation) = ids.last().unwrap();
        world.sync(fixture::sync(fixture::speaker("g", id, *generation), &[]));
    }
    let (old, generation) = &ids[0];
    let request = Commit { membership: membership(*generation, old, Some("i")), ..commit("g", 1) };
    assert_eq!(committed(&mut world, request), ErrorCode::FencedInstanceId);
    let (new, generation) = &ids[1];
    let request = Commit { membership: membership(*generation, new, Some("i")), ..commit("g", 1) };
    assert_eq!(committed(&mut world, request), ErrorCode::None);
}

#[test]
fn commits_to_a_group_that_does_not_exist() {
    let mut world = World::new(AT_ONCE);
    let with_generation = |group: &str, dialect| Commit {
        membership: membership(3, &Name::empty(), None),
        dialect,
        ..commit(group, 1)
    };
    let old = with_generation("h", CommitDialect::Generations);
    assert_eq!(committed(&mut world, old), ErrorCode::IllegalGeneration);
    let new = with_generation("h", CommitDialect::Epochs);
    assert_eq!(committed(&mut world, new), ErrorCode::GroupIdNotFound);
    let mut request = commit_in_txn("h", 7, 1);
    request.membership = membership(3, &Name::empty(), None);
    let token = world.commit_in_txn(request);
    assert_eq!(world.committed(token), Some(ErrorCode::IllegalGeneration));
    assert_eq!(world.state("h"), "Dead");
    assert_eq!(committed(&mut world, commit("h", 4)), ErrorCode::None);
    assert_eq!((world.state("h"), world.fetch("h", "t", 0, STABLE)), ("Empty", Ok(4)));
}

#[test]
fn commits_by_state() {
    let mut world = World::new(AT_ONCE);
    let id = stable_alone(&mut world, "g");
    let member = |generation| membership(generation, &id, None);
    world.join(Join { new_members: NewMembers::JoinAtOnce, ..join("g", "b", &Name::empty()) });
    assert_eq!(world.state("g"), "PreparingRebalance");
    let request = Commit { membership: member(1), ..commit("g", 3) };
    assert_eq!(committed(&mut world, request), ErrorCode::None, "what was read before counts");
    world.join(join("g", "m", &id));
    assert_eq!(world.state("g"), "CompletingRebalance");
    let request = Commit { membership: member(2), ..commit("g", 4) };
    assert_eq!(committed(&mut world, request), ErrorCode::RebalanceInProgress);
    let mut request = commit_in_txn("g", 7, 4);
    request.membership = member(2);
    let token = world.commit_in_txn(request);
    assert_eq!(world.committed(token), Some(ErrorCode::None), "a transaction may still end");
    assert_eq!(world.fetch("g", "t", 0, ANY), Ok(3));
}

#[test]
fn a_commit_keeps_the_session() {
    let mut world = World::new(AT_ONCE);
    let id = stable_alone(&mut world, "g");
    for offset in 1..6 {
        world.pass(9_000);
        let request = Commit { membership: membership(1, &id, None), ..commit("g", offset) };
        assert_eq!(committed(&mut world, request), ErrorCode::None);
    }
    world.pass(10_000);
    assert_eq!(world.state("g"), "Empty");
}

#[test]
fn odd_offsets_and_notes() {
    let mut world = World::new(AT_ONCE);
    assert_eq!(committed(&mut world, commit("g", -7)), ErrorCode::None);
    assert_eq!(world.fetch("g", "t", 0, ANY), Ok(-7), "stored as it came");
    assert_eq!(committed(&mut world, commit("", 1)), ErrorCode::None, "the group without a name");
    assert_eq!(world.fetch("", "t", 0, ANY), Ok(1));
    let token = world.commit_in_txn(commit_in_txn("", 7, 1));
    assert_eq!(world.committed(token), Some(ErrorCode::InvalidGroupId));

    // Kafka counts UTF-16 units: a sign outside of the basic plane is two.
    let note = |text: &str| NewOffset { metadata: text.into(), ..new_offset("t", 1, 5) };
    let request = Commit {
        offsets: vec![
            note(&"x".repeat(4_096)),
            NewOffset { partition: 2, ..note(&"x".repeat(4_097)) },
            NewOffset { partition: 3, ..note(&"\u{e9}".repeat(4_096)) },
            NewOffset { partition: 4, ..note(&"\u{1f600}".repeat(2_049)) },
        ],
        ..commit("n", 0)
    };
    let token = world.commit(request);
    let Some(Reply::Commit(Ok(results))) = world.reply(token) else { panic!("refused") };
    let codes: Vec<_> = results.into_iter().map(code).collect();
    let (fits, too_large) = (ErrorCode::None, ErrorCode::OffsetMetadataTooLarge);
    assert_eq!(codes, [fits, too_large, fits, too_large]);
    assert_eq!(world.fetch("n", "t", 1, ANY), Ok(5));
    assert_eq!(world.fetch("n", "t", 2, ANY), Ok(-1));

    let before = world.log.len();
    let request = Commit { offsets: vec![note(&"x".repeat(4_097))], ..commit("n", 0) };
    assert_eq!(committed(&mut world, request), too_large);
    assert_eq!(world.log.len(), before, "nothing to write");
}

#[test]
fn what_is_written_is_what_kafka_writes() {
    let mut world = World::new(AT_ONCE);
    let id = TopicId::new([7; 16]);
    let offset = NewOffset {
        topic_id: Some(id),
        leader_epoch: LeaderEpoch::new(3),
        ..new_offset("t", 0, 5)
    };
    let plain = Commit { offsets: vec![offset.clone()], ..commit("g", 0) };
    assert_eq!(committed(&mut world, plain.clone()), ErrorCode::None);
    assert_eq!(
        committed(&mut world, Commit { retention_ms: Some(1_000), ..plain.clone() }),
        ErrorCode::None
    );
    assert_eq!(committed(&mut world, Commit { retention_ms: Some(-1), ..plain }), ErrorCode::None);
    let mut request = commit_in_txn("g", 7, 0);
    request.offsets = vec![offset];
    request.producer_epoch = ProducerEpoch::new(4);
    let (token, mut out) = (world.token(), Vec::new());
    world.groups.commit_txn_offsets(Millis::new(world.now), token, request, &mut out);
    let Some(Output::Append { kind, .. }) = out.first() else { panic!("{out:?}") };
    let expected = AppendKind::Transactional {
        producer_id: ProducerId::new(7),
        producer_epoch: ProducerEpoch::new(4),
    };
    assert_eq!(*kind, expected);
    world.carry_out(out);
    let written: Vec<_> = world
        .records
        .iter()
        .map(|record| match record {
            Record::Offset { value: Some(value), .. } => {
                let ends = value.expire_timestamp.map(Millis::get);
                (value.layout, value.topic_id, ends, value.commit_timestamp.get())
            }
            other => panic!("{other:?}"),
        })
        .collect();
    let now = world.now;
    let plain = (OffsetLayout::V4, Some(id), None, now);
    assert_eq!(written[0], plain);
    assert_eq!((written[1].0, written[1].2), (OffsetLayout::V1, Some(now + 1_000)));
    assert_eq!(written[2], plain);
    assert_eq!(written[3], plain, "4.3.1 writes no topic id in transactions, and reads it");
}

#[test]
fn fetching() {
    let mut world = World::new(AT_ONCE);
    let all = |world: &World, group: &str, stability| {
        let what = FetchWhat::All;
        world.groups.fetch_offsets(&Fetch { group: name(group), member: None, stability, what })
    };
    assert_eq!(world.fetch("g", "t", 0, ANY), Ok(-1), "an unknown group is no error");
    assert_eq!(all(&world, "g", STABLE), Ok(vec![]));
    let offsets = vec![new_offset("t", 1, 11), new_offset("s", 0, 10), new_offset("t", 0, 12)];
    committed(&mut world, Commit { offsets, ..commit("g", 0) });
    let listed: Vec<_> = all(&world, "g", ANY)
        .unwrap()
        .into_iter()
        .map(|f| (f.topic.as_str().to_owned(), f.partition, f.committed.unwrap().offset.get()))
        .collect();
    let expected = [("s", 0, 10), ("t", 0, 12), ("t", 1, 11)];
    assert_eq!(listed, expected.map(|(topic, p, offset)| (topic.to_owned(), p, offset)));
    assert_eq!(world.fetch("g", "t", 7, STABLE), Ok(-1));
    assert_eq!(in_txn(&mut world, "g", 7, 20), ErrorCode::None);
    assert_eq!(world.fetch("g", "t", 0, ANY), Ok(12));
    assert_eq!(world.fetch("g", "t", 0, STABLE), Err(ErrorCode::UnstableOffsetCommit));
    assert_eq!(world.fetch("g", "t", 1, STABLE), Ok(11), "each partition for itself");
    let unstable =
        all(&world, "g", STABLE).unwrap().into_iter().filter(|f| f.error.is_some()).count();
    assert_eq!(unstable, 1);
}

#[test]
fn an_offset_that_is_being_written_is_not_stable() {
    let mut world = World::new(AT_ONCE);
    committed(&mut world, commit("g", 1));
    world.mood = LogMood::Slow;
    let token = world.commit(commit("g", 2));
    assert_eq!(world.fetch("g", "t", 0, ANY), Ok(1));
    assert_eq!(world.fetch("g", "t", 0, STABLE), Err(ErrorCode::UnstableOffsetCommit));
    assert_eq!(world.fetch("g", "t", 1, STABLE), Ok(-1));
    world.release();
    assert_eq!(world.committed(token), Some(ErrorCode::None));
    assert_eq!(world.fetch("g", "t", 0, STABLE), Ok(2));
}

#[test]
fn commits_do_not_wait_for_each_other_and_the_log_decides() {
    let mut world = World::new(AT_ONCE);
    world.mood = LogMood::Slow;
    let (first, second) = (world.commit(commit("g", 1)), world.commit(commit("g", 2)));
    let held: Vec<_> = world.held.drain(..).collect();
    assert_eq!(held.len(), 2);
    // Both are in the log in their order, and the news comes the other way round.
    for (write, position) in [(held[1].write, 6), (held[0].write, 5)] {
        world.with(|g, now, out| g.appended(now, write, Ok(Offset::new(position)), out));
    }
    assert_eq!(world.committed(first), Some(ErrorCode::None));
    assert_eq!(world.committed(second), Some(ErrorCode::None));
    assert_eq!(world.fetch("g", "t", 0, STABLE), Ok(2));
}

#[test]
fn a_commit_that_is_not_written_changes_nothing() {
    let mut world = World::new(AT_ONCE);
    committed(&mut world, commit("g", 1));
    let rows = [
        (ErrorCode::NotEnoughReplicas, ErrorCode::CoordinatorNotAvailable),
        (ErrorCode::NotLeaderOrFollower, ErrorCode::NotCoordinator),
        (ErrorCode::MessageTooLarge, ErrorCode::UnknownServerError),
        (ErrorCode::InvalidProducerEpoch, ErrorCode::InvalidProducerEpoch),
        (ErrorCode::NetworkException, ErrorCode::CoordinatorLoadInProgress),
    ];
    for (log_says, client_hears) in rows {
        world.mood = LogMood::Refusing(log_says);
        assert_eq!(committed(&mut world, commit("g", 2)), client_hears);
        assert_eq!(in_txn(&mut world, "g", 7, 2), client_hears);
        assert_eq!(world.fetch("g", "t", 0, STABLE), Ok(1));
    }
}

#[test]
fn p20_a_marker_that_overtakes_the_news_of_the_commit_still_decides_it() {
    for (outcome, after) in [(Outcome::Commit, 9), (Outcome::Abort, 1)] {
        let mut world = World::new(AT_ONCE);
        committed(&mut world, commit("g", 1));
        world.mood = LogMood::Slow;
        let token = world.commit_in_txn(commit_in_txn("g", 7, 9));
        let held = world.held.pop_front().unwrap();
        world.groups.marker_written(ProducerId::new(7), outcome, Offset::new(11));
        world.with(|g, now, out| g.appended(now, held.write, Ok(Offset::new(10)), out));
        assert_eq!(world.committed(token), Some(ErrorCode::None));
        assert_eq!(world.fetch("g", "t", 0, STABLE), Ok(after), "{outcome:?}");
    }
    // The marker of the last transaction does not decide the next one.
    let mut world = World::new(AT_ONCE);
    world.mood = LogMood::Slow;
    world.commit_in_txn(commit_in_txn("g", 7, 9));
    let held = world.held.pop_front().unwrap();
    world.groups.marker_written(ProducerId::new(7), Outcome::Commit, Offset::new(9));
    world.with(|g, now, out| g.appended(now, held.write, Ok(Offset::new(10)), out));
    assert_eq!(world.fetch("g", "t", 0, STABLE), Err(ErrorCode::UnstableOffsetCommit));
    assert_eq!(world.fetch("g", "t", 0, ANY), Ok(-1));
}

#[test]
fn p21_a_plain_commit_behind_the_transactional_one_wins() {
    let mut world = World::new(AT_ONCE);
    assert_eq!(in_txn(&mut world, "g", 7, 10), ErrorCode::None);
    assert_eq!(committed(&mut world, commit("g", 20)), ErrorCode::None);
    world.marker(7, Outcome::Commit);
    assert_eq!(world.fetch("g", "t", 0, STABLE), Ok(20));
    world.reload();
    assert_eq!(world.fetch("g", "t", 0, STABLE), Ok(20));
}

#[test]
fn p22_what_was_deleted_does_not_come_back_with_the_marker() {
    type Row = (&'static str, fn(&mut World));
    let deletions: [Row; 3] = [
        ("the group", |world| assert_eq!(world.delete_group("g"), ErrorCode::None)),
        ("the offset", |world| {
            assert_eq!(world.delete_offsets("g", &[("t", 0)]), Ok(vec![ErrorCode::None]));
        }),
        ("the partition", |world| {
            let gone = [(name("t"), 0)];
            world.with(|groups, now, out| groups.partitions_deleted(now, &gone, out));
        }),
    ];
    for (what, delete) in deletions {
        for reload in [false, true] {
            let mut world = World::new(AT_ONCE);
            committed(&mut world, commit("g", 1));
            assert_eq!(in_txn(&mut world, "g", 7, 10), ErrorCode::None);
            assert_eq!(in_txn(&mut world, "g", 8, 11), ErrorCode::None);
            delete(&mut world);
            assert_eq!(world.fetch("g", "t", 0, STABLE), Ok(-1), "{what}");
            if reload {
                world.reload();
            }
            world.marker(7, Outcome::Commit);
            world.marker(8, Outcome::Commit);
            assert_eq!(world.fetch("g", "t", 0, STABLE), Ok(-1), "{what}");
            world.reload();
            assert_eq!(world.fetch("g", "t", 0, STABLE), Ok(-1), "{what}");
        }
    }
}

#[test]
fn deleting_offsets() {
    let mut world = World::new(AT_ONCE);
    let not_found = Err(ErrorCode::GroupIdNotFound);
    assert_eq!(world.delete_offsets("nowhere", &[("t", 0)]), not_found);
    assert_eq!(world.delete_offsets("", &[("t", 0)]), Err(ErrorCode::InvalidGroupId));
    let id = stable_alone(&mut world, "g"); // reads t
    let offsets = vec![new_offset("t", 0, 1), new_offset("u", 0, 2)];
    let request = Commit { membership: membership(1, &id, None), offsets, ..commit("g", 0) };
    assert_eq!(committed(&mut world, request), ErrorCode::None);
    let before = world.log.len();
    assert_eq!(
        world.delete_offsets("g", &[("t", 0), ("u", 0), ("v", 0)]),
        Ok(vec![ErrorCode::GroupSubscribedToTopic, ErrorCode::None, ErrorCode::None])
    );
    assert_eq!(world.log.len(), before + 1, "one tombstone for three");
    assert_eq!(world.fetch("g", "t", 0, ANY), Ok(1));
    assert_eq!(world.fetch("g", "u", 0, ANY), Ok(-1));
}

#[test]
fn deleting_offsets_of_groups_whose_topics_nobody_can_tell() {
    let mut world = World::new(AT_ONCE);
    let request = |group: &str, kind: &str, metadata: &[u8]| Join {
        new_members: NewMembers::JoinAtOnce,
        protocol_type: name(kind),
        protocols: vec![Protocol { name: name("range"), metadata: metadata.into() }],
        ..join(group, "c", &Name::empty())
    };
    world.join(request("odd", "consumer", b"sub"));
    let subscribed = Ok(vec![ErrorCode::GroupSubscribedToTopic]);
    assert_eq!(world.delete_offsets("odd", &[("t", 0)]), subscribed);
    world.join(request("workers", "connect", &subscription(&["t"])));
    let nonempty = Err(ErrorCode::NonEmptyGroup);
    assert_eq!(world.delete_offsets("workers", &[("t", 0)]), nonempty);
}

#[test]
fn deleting_groups() {
    let mut world = World::new(AT_ONCE);
    assert_eq!(world.delete_group("nowhere"), ErrorCode::GroupIdNotFound);
    let id = stable_alone(&mut world, "g");
    assert_eq!(world.delete_group("g"), ErrorCode::NonEmptyGroup);
    let request = Commit { membership: membership(1, &id, None), ..commit("g", 1) };
    committed(&mut world, request);
    world.leave("g", &[(&id, None)]).unwrap();
    assert_eq!(world.delete_group("g"), ErrorCode::None);
    assert_eq!(world.delete_group("g"), ErrorCode::GroupIdNotFound);
    assert!(matches!(world.records.last(), Some(Record::Group { value: None, .. })));
    world.reload();
    assert_eq!((world.state("g"), world.fetch("g", "t", 0, ANY)), ("Dead", Ok(-1)));
    // One who was only given an id does not hold it.
    world.join(join("p", "c", &Name::empty()));
    let sweep = world.now + 600_000;
    assert!(world.groups.next_deadline().is_some_and(|at| at.get() < sweep), "it may not come");
    assert_eq!(world.delete_group("p"), ErrorCode::None);
    assert!(world.groups.next_deadline().is_some_and(|at| at.get() == sweep), "nobody is expected");
    world.mood = LogMood::Refusing(ErrorCode::NotEnoughReplicas);
    let token = world.token();
    world.with(|groups, now, out| groups.delete_group(now, token, name("q"), out));
    assert_eq!(world.state("q"), "Dead");
}

#[test]
fn describing_and_listing() {
    let mut world = World::new(AT_ONCE);
    let (a, _) = stable_pair(&mut world, "busy");
    committed(&mut world, commit("simple", 1));
    let described = world.groups.describe(&name("busy")).unwrap();
    assert_eq!((described.state, described.protocol_data.as_str()), (State::Stable, "range"));
    assert_eq!(described.members[0].member_id, a, "in the order of joining");
    assert_eq!(&*described.members[0].assignment, b"one");
    assert_eq!(described.members[0].metadata, subscription(&["t"]));
    let absent = world.groups.describe(&name("nowhere")).unwrap_err();
    assert_eq!(absent.code(), ErrorCode::GroupIdNotFound);

    let list = |states: &[&str], types: &[&str]| {
        let words = |all: &[&str]| all.iter().map(|word| name(word)).collect();
        let filter = ListFilter { states: words(states), types: words(types) };
        let listed = world.groups.list(&filter).unwrap();
        listed.into_iter().map(|l| l.group.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(list(&[], &[]), ["busy", "simple"]);
    assert_eq!(list(&["sTABLE"], &[]), ["busy"]);
    assert_eq!(list(&["Stable", "empty"], &["Classic"]), ["busy", "simple"]);
    assert!(list(&["Lively"], &[]).is_empty());
    assert!(list(&[], &["consumer"]).is_empty());
    let all = world.groups.list(&ListFilter::default()).unwrap();
    assert_eq!((all[0].protocol_type.as_str(), all[1].protocol_type.as_str()), ("consumer", ""));
    assert_eq!(all[1].group_type, GroupType::Classic);
    // In a rebalance nothing is said of the protocol.
    world.join(Join { new_members: NewMembers::JoinAtOnce, ..join("busy", "c", &Name::empty()) });
    let described = world.groups.describe(&name("busy")).unwrap();
    assert_eq!(described.protocol_data.as_str(), "");
    assert!(described.members[0].metadata.is_empty());
}

#[test]
fn offsets_without_a_group_expire_by_their_own_age() {
    let mut world = World::new(AT_ONCE);
    committed(&mut world, commit("simple", 1));
    world.pass(4 * DAY);
    committed(&mut world, Commit { offsets: vec![new_offset("t", 1, 2)], ..commit("simple", 0) });
    world.pass(3 * DAY);
    world.pass(600_000);
    assert_eq!(world.fetch("simple", "t", 0, ANY), Ok(-1));
    assert_eq!(world.fetch("simple", "t", 1, ANY), Ok(2));
    world.pass(4 * DAY);
    world.pass(600_000);
    assert_eq!(world.state("simple"), "Dead", "with its last offset goes the group");
    world.reload();
    assert_eq!(world.state("simple"), "Dead");
}

#[test]
fn offsets_of_a_group_expire_when_it_has_been_empty_for_long() {
    let mut world = World::new(AT_ONCE);
    let id = stable_alone(&mut world, "g");
    let request = Commit { membership: membership(1, &id, None), ..commit("g", 1) };
    committed(&mut world, request);
    for _ in 0..1_000 {
        world.pass(9_000);
        assert_eq!(world.heartbeat(fixture::speaker("g", &id, 1)), Ok(()));
    }
    world.settings = Settings { offsets_retention_ms: 3_600_000, ..AT_ONCE };
    world.groups.set_settings(world.settings);
    world.pass(9_000);
    world.heartbeat(fixture::speaker("g", &id, 1)).unwrap();
    assert_eq!(world.fetch("g", "t", 0, ANY), Ok(1), "members read the topic");
    world.leave("g", &[(&id, None)]).unwrap();
    world.pass(3_000_000);
    assert_eq!(world.fetch("g", "t", 0, ANY), Ok(1), "old, but its group was there until now");
    world.pass(1_200_000);
    assert_eq!((world.fetch("g", "t", 0, ANY), world.state("g")), (Ok(-1), "Dead"));
}

#[test]
fn offsets_that_no_member_reads_expire_in_a_stable_group() {
    let mut world = World::new(Settings { offsets_retention_ms: 3_600_000, ..AT_ONCE });
    let id = stable_alone(&mut world, "g"); // reads t
    let offsets = vec![new_offset("t", 0, 1), new_offset("u", 0, 2)];
    let request = Commit { membership: membership(1, &id, None), offsets, ..commit("g", 0) };
    committed(&mut world, request);
    for _ in 0..500 {
        world.pass(9_000);
        world.heartbeat(fixture::speaker("g", &id, 1)).unwrap();
    }
    assert_eq!(world.fetch("g", "t", 0, ANY), Ok(1));
    assert_eq!(world.fetch("g", "u", 0, ANY), Ok(-1));
    assert_eq!(world.state("g"), "Stable");
}

/// What measures how long something lasts may begin anew with each life; the log outlives it.
#[test]
fn what_is_written_down_is_the_time_of_day_and_what_lasts_goes_by_the_other() {
    const TODAY: i64 = 1_700_000_000_000;
    let mut world = World::new(AT_ONCE);
    let set = |world: &mut World, time_of_day: i64| {
        world.groups.set_time_of_day(Millis::new(world.now), Millis::new(time_of_day));
    };
    set(&mut world, TODAY);
    committed(&mut world, commit("simple", 1));
    committed(&mut world, Commit { retention_ms: Some(1_000), ..commit("other", 1) });
    assert_eq!(in_txn(&mut world, "last", 7, 1), ErrorCode::None);
    let id = stable_alone(&mut world, "g");
    let written = world.records.iter().map(|record| match record {
        Record::Offset { value: Some(value), .. } => {
            (Some(value.commit_timestamp), value.expire_timestamp)
        }
        Record::Group { value: Some(value), .. } => (value.current_state_timestamp, None),
        other => panic!("{other:?}"),
    });
    let written: Vec<_> = written.map(|(at, ends)| (at.unwrap().get(), ends)).collect();
    assert!(written.iter().all(|(at, _)| *at == TODAY), "{written:?}");
    assert_eq!(written[1].1, Some(Millis::new(TODAY + 1_000)));
    // Set back, then far ahead.
    for time_of_day in [TODAY - 3_600_000, TODAY + 7 * DAY] {
        set(&mut world, time_of_day);
        world.pass(9_000);
        assert_eq!(world.heartbeat(fixture::speaker("g", &id, 1)), Ok(()));
        assert_eq!(world.fetch("simple", "t", 0, ANY), Ok(1));
    }
    world.pass(600_000);
    assert_eq!(world.fetch("simple", "t", 0, ANY), Ok(-1), "it is a week old");
}

#[test]
fn a_commit_with_a_retention_of_its_own_ends_by_that() {
    let mut world = World::new(AT_ONCE);
    let own = |ms| Commit { retention_ms: Some(ms), ..commit("g", 1) };
    committed(&mut world, own(DAY));
    world.pass(DAY - 1_000_000);
    assert_eq!(world.fetch("g", "t", 0, ANY), Ok(1));
    world.pass(2_000_000);
    assert_eq!(world.fetch("g", "t", 0, ANY), Ok(-1));
    committed(&mut world, own(30 * DAY));
    world.pass(20 * DAY);
    assert_eq!(world.fetch("g", "t", 0, ANY), Ok(1), "longer than the operator's");
}

#[test]
fn an_open_transaction_holds_offset_and_group() {
    let mut world = World::new(AT_ONCE);
    committed(&mut world, commit("g", 1));
    assert_eq!(in_txn(&mut world, "g", 7, 2), ErrorCode::None);
    assert_eq!(in_txn(&mut world, "only-pending", 7, 2), ErrorCode::None);
    world.pass(30 * DAY);
    assert_eq!((world.fetch("g", "t", 0, ANY), world.state("g")), (Ok(1), "Empty"));
    assert_eq!(world.state("only-pending"), "Empty");
    world.marker(7, Outcome::Abort);
    assert_eq!(world.state("g"), "Empty");
    world.pass(600_000);
    assert_eq!((world.fetch("g", "t", 0, ANY), world.state("g")), (Ok(-1), "Dead"));
    assert_eq!(world.state("only-pending"), "Dead");
}

#[test]
fn a_sweep_that_is_not_written_is_made_again() {
    let mut world = World::new(AT_ONCE);
    committed(&mut world, commit("g", 1));
    world.mood = LogMood::Refusing(ErrorCode::NotEnoughReplicas);
    world.pass(8 * DAY);
    assert_eq!(world.fetch("g", "t", 0, ANY), Ok(1));
    world.mood = LogMood::Willing;
    world.pass(600_000);
    assert_eq!(world.fetch("g", "t", 0, ANY), Ok(-1));
}

#[test]
fn partitions_that_are_gone_take_their_offsets_along() {
    let mut world = World::new(AT_ONCE);
    for group in ["g", "h"] {
        let offsets = vec![new_offset("t", 0, 1), new_offset("t", 1, 2), new_offset("u", 0, 3)];
        committed(&mut world, Commit { offsets, ..commit(group, 0) });
    }
    let gone = [(name("t"), 0), (name("t"), 1), (name("t"), 2)];
    world.with(|groups, now, out| groups.partitions_deleted(now, &gone, out));
    for group in ["g", "h"] {
        assert_eq!(world.fetch(group, "t", 0, ANY), Ok(-1));
        assert_eq!(world.fetch(group, "t", 1, ANY), Ok(-1));
        assert_eq!(world.fetch(group, "u", 0, ANY), Ok(3));
    }
}

#[test]
fn a_delete_waits_for_commits_that_are_being_written() {
    let mut world = World::new(AT_ONCE);
    committed(&mut world, commit("g", 1));
    world.mood = LogMood::Slow;
    let in_flight = world.commit(Commit { offsets: vec![new_offset("t", 5, 9)], ..commit("g", 0) });
    let token = world.token();
    world.with(|groups, now, out| groups.delete_group(now, token, name("g"), out));
    let behind = world.commit(commit("g", 3));
    assert!(world.answers.is_empty());
    world.release();
    assert_eq!(world.committed(in_flight), Some(ErrorCode::None));
    assert!(matches!(world.reply(token), Some(Reply::DeleteGroup(Ok(())))));
    assert_eq!(world.fetch("g", "t", 5, ANY), Ok(-1), "it was there when the group went");
    assert_eq!(world.committed(behind), Some(ErrorCode::None));
    assert_eq!(world.fetch("g", "t", 0, ANY), Ok(3));
}

#[test]
fn a_commit_that_is_being_written_goes_with_its_partition() {
    let mut world = World::new(AT_ONCE);
    world.mood = LogMood::Slow;
    let token = world.commit(commit("new", 3));
    let gone = [(name("t"), 0)];
    world.with(|groups, now, out| groups.partitions_deleted(now, &gone, out));
    world.release();
    assert_eq!(world.committed(token), Some(ErrorCode::None));
    assert_eq!(world.fetch("new", "t", 0, ANY), Ok(-1));
    assert_eq!(world.log.len(), 2, "a tombstone behind it");
}
