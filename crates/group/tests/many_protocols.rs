//! A client may name as many protocols as the operator lets it: what that costs the others is in proportion.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test says so by failing, also at an answer that it does not expect"
)]

mod fixture;
mod migration_world;

use fixture::{AT_ONCE, World, join, name, stable_alone, subscription};
use hanbeon_group::{Join, JoinRefused, Name, NewMembers, Protocol, Reply, Settings};
use hanbeon_records::ErrorCode;
use migration_world::{SETTINGS, World as MixedWorld, classic, consumer_settings, newer};

/// Asking each member about each name would be 10^10 comparisons: such a run does not come back.
const MANY: usize = 100_000;

fn protocols(names: impl Iterator<Item = String>) -> Vec<Protocol> {
    let metadata = subscription(&["t"]);
    names.map(|text| Protocol { name: name(&text), metadata: metadata.clone() }).collect()
}

fn new_member(group: &str, protocols: Vec<Protocol>) -> Join {
    let join = join(group, "c", &Name::empty());
    Join { protocols, new_members: NewMembers::JoinAtOnce, ..join }
}

#[test]
fn two_members_with_many_protocols_find_the_one_they_share() {
    let mut world = World::new(Settings { member_bytes_max: usize::MAX, ..AT_ONCE });
    let named = |prefix: &'static str| {
        let own = (0..MANY).map(move |n| format!("{prefix}-{n}"));
        protocols(own.chain(["shared".to_owned()]))
    };
    let first = world.join(new_member("g", named("a")));
    let Some(Reply::Join(Ok(alone))) = world.reply(first) else { panic!("not joined") };
    assert_eq!(alone.protocol_name, Some(name("a-0")));
    let second = world.join(new_member("g", named("b")));
    let again = Join { protocols: named("a"), ..join("g", "c", &alone.member_id) };
    let first = world.join(again);
    for token in [first, second] {
        let Some(Reply::Join(Ok(joined))) = world.reply(token) else { panic!("not joined") };
        assert_eq!(joined.protocol_name, Some(name("shared")));
    }
}

/// What a member names twice does not count for another one that does not name it.
#[test]
fn a_name_that_is_there_twice_is_one_protocol() {
    let mut world = World::new(AT_ONCE);
    let leaver = stable_alone(&mut world, "g");
    let text = |names: &[&str]| {
        protocols(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>().into_iter())
    };
    world.join(new_member("g", text(&["range", "twice", "twice"])));
    let token = world.join(new_member("g", text(&["twice"])));
    match world.reply(token) {
        Some(Reply::Join(Err(JoinRefused { error, .. }))) => {
            assert_eq!(error.code(), ErrorCode::InconsistentGroupProtocol);
        }
        other => panic!("{other:?}"),
    }
    // Whoever is left agrees with itself.
    let token = world
        .join(Join { protocols: text(&["range", "other", "range"]), ..join("g", "m", &leaver) });
    let Some(Reply::Join(Ok(joined))) = world.reply(token) else { panic!("not joined") };
    assert_eq!(joined.protocol_name, Some(name("range")));
}

#[test]
fn classic_members_of_a_kip_848_group_find_the_one_they_share() {
    let settings = Settings { member_bytes_max: usize::MAX, ..SETTINGS };
    let mut world = MixedWorld::with(2, settings, consumer_settings());
    world.beat(&newer("n-1")).unwrap();
    for prefix in ["a", "b"] {
        let own = (0..MANY).map(|n| format!("{prefix}-{n}"));
        let metadata = migration_world::subscription(None);
        let protocols = own
            .chain(["range".to_owned()])
            .map(|text| Protocol { name: name(&text), metadata: metadata.clone() });
        let id = world.new_id();
        let joined = world.join(Join { protocols: protocols.collect(), ..classic(&id) }).unwrap();
        assert_eq!(joined.protocol_name, Some(name(&format!("{prefix}-0"))));
    }
}
