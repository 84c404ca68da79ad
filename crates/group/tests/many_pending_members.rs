//! Ids that were given out and never used cost as much as they are, and no more.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test says so by failing, also at an answer that it does not expect"
)]

mod fixture;

use fixture::{AT_ONCE, World, join, name, speaker, stable_alone, sync};
use hanbeon_group::{Join, JoinRefused, Name, NewMembers, Reply};
use hanbeon_records::ErrorCode;

/// Looking at all of them for each would be 10^10 looks: such a run does not come back.
const MANY: usize = 100_000;

fn given_id(world: &mut World, request: Join) -> Name {
    let token = world.join(request);
    match world.reply(token) {
        Some(Reply::Join(Err(JoinRefused { error, member_id }))) => {
            assert_eq!(error.code(), ErrorCode::MemberIdRequired);
            member_id
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_group_forgets_all_who_do_not_come_and_goes_on() {
    let mut world = World::new(AT_ONCE);
    let id = stable_alone(&mut world, "g");
    for _ in 0..MANY {
        given_id(&mut world, join("g", "c", &Name::empty()));
    }
    // A rebalance waits for them: they may be on their way.
    let again = world.join(join("g", "m", &id));
    assert_eq!((world.reply(again), world.state("g")), (None, "PreparingRebalance"));
    world.pass(9_999);
    assert_eq!(world.state("g"), "PreparingRebalance");
    world.pass(1);
    let Some(Reply::Join(Ok(joined))) = world.reply(again) else { panic!("not joined") };
    assert_eq!((joined.generation, joined.members.len()), (2, 1));
    let synced = world.sync(sync(speaker("g", &id, 2), &[(&id, "all")]));
    assert!(matches!(world.reply(synced), Some(Reply::Sync(Ok(_)))));
}

/// Each has its own time, and who comes or leaves is not expected any more.
#[test]
fn ids_end_one_by_one() {
    let mut world = World::new(AT_ONCE);
    let lasting = |ms| Join { session_timeout_ms: ms, ..join("g", "c", &Name::empty()) };
    let late = given_id(&mut world, lasting(30_000));
    let early = given_id(&mut world, lasting(10_000));
    let gone = given_id(&mut world, lasting(40_000));
    assert_eq!(world.leave("g", &[(&gone, None)]), Ok(vec![ErrorCode::None]));
    world.pass(10_000);
    let mut comes = |id: &Name| {
        let token = world.join(Join { new_members: NewMembers::JoinAtOnce, ..join("g", "c", id) });
        world.reply(token)
    };
    for id in [&early, &gone, &name("stranger")] {
        let Some(Reply::Join(Err(refused))) = comes(id) else { panic!("{id:?} is not refused") };
        assert_eq!(refused.error.code(), ErrorCode::UnknownMemberId);
    }
    assert!(matches!(comes(&late), Some(Reply::Join(Ok(_)))));
}
