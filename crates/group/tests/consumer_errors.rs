//! Each refusal with its code, and which of two comes first. The rows hold against the answers of Apache Kafka 4.3.1
//! (`tests/probe/expected/tv2/consumergroups.*`).

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

mod consumer_world;

use consumer_world::{GROUP, World, beat, join};
use hanbeon_group::consumer::{
    CommitApi, CommitClaim, ConsumerError, ConsumerGroup, Heartbeat, InvalidField, Partitions,
};
use hanbeon_records::{ErrorCode, Millis};

/// A group with a dynamic member m-1 at epoch 2 and a static one, m-2 as i-2, at epoch 3.
fn world() -> World {
    let mut world = World::new();
    world.settings.assignment_interval_ms = 0;
    world.topic("t", 2);
    drop(world.heartbeat(&join("m-1", &["t"])).unwrap());
    let request = Heartbeat { instance_id: Some("i-2".into()), ..join("m-2", &["t"]) };
    drop(world.heartbeat(&request).unwrap());
    world
}

fn refused(change: impl FnOnce(&mut Heartbeat)) -> Option<ErrorCode> {
    let mut world = world();
    let mut request = join("m-3", &["t"]);
    change(&mut request);
    let before = (world.state(), world.log.len());
    let code = world.heartbeat(&request).err().map(|error| error.code());
    if code.is_some() {
        assert_eq!(before, (world.state(), world.log.len()), "a refusal changes nothing");
    }
    code
}

#[test]
fn what_is_wrong_with_a_request_alone() {
    let invalid = Some(ErrorCode::InvalidRequest);
    assert_eq!(refused(|_| {}), None);
    assert_eq!(refused(|r| r.member_id = String::new()), invalid);
    assert_eq!(refused(|r| r.subscribed_topic_names = None), invalid);
    assert_eq!(refused(|r| r.rebalance_timeout_ms = -1), invalid);
    assert_eq!(refused(|r| r.owned = None), invalid);
    let mut owned = Partitions::new();
    owned.insert(hanbeon_records::TopicId::new([1; 16]), 0);
    assert_eq!(refused(|r| r.owned = Some(owned)), invalid);
    assert_eq!(refused(|r| r.instance_id = Some(String::new())), invalid);
    assert_eq!(refused(|r| r.rack_id = Some(String::new())), invalid);
    assert_eq!(refused(|r| r.member_epoch = -3), invalid);
    assert_eq!(refused(|r| r.member_epoch = -2), invalid, "no instance id");
    assert_eq!(refused(|r| r.member_id = "x".repeat(40_000)), invalid);
    assert_eq!(
        refused(|r| (r.version, r.member_epoch, r.member_id) = (0, 2, String::new())),
        invalid
    );
    assert_eq!(refused(|r| (r.version, r.member_id) = (0, String::new())), None, "an id is made");
    assert_eq!(
        refused(|r| r.server_assignor = Some("mine".into())),
        Some(ErrorCode::UnsupportedAssignor)
    );
    assert_eq!(
        refused(|r| r.subscribed_topic_regex = Some("((".into())),
        Some(ErrorCode::InvalidRegularExpression)
    );
    assert_eq!(
        refused(|r| (r.subscribed_topic_names, r.subscribed_topic_regex) = (None, Some("t".into()))),
        None
    );
    let empty = ConsumerGroup::new("");
    let world = world();
    let now = Millis::new(0);
    let error = empty.heartbeat(now, &join("m-1", &["t"]), &world.topics, &world.settings, [0; 16]);
    assert_eq!(error.unwrap_err(), ConsumerError::InvalidRequest(InvalidField::GroupId));
}

#[test]
fn who_may_speak() {
    let cases: [(&str, Option<&str>, i32, ErrorCode); 10] = [
        ("m-9", None, 3, ErrorCode::UnknownMemberId),
        ("m-9", None, -1, ErrorCode::UnknownMemberId),
        ("m-1", None, 6, ErrorCode::FencedMemberEpoch),
        ("m-1", None, 1, ErrorCode::FencedMemberEpoch),
        ("m-2", Some("i-9"), 3, ErrorCode::UnknownMemberId),
        ("m-9", Some("i-2"), 3, ErrorCode::FencedInstanceId),
        ("m-9", Some("i-2"), -1, ErrorCode::FencedInstanceId),
        ("m-9", Some("i-2"), -2, ErrorCode::FencedInstanceId),
        ("m-9", Some("i-9"), -2, ErrorCode::UnknownMemberId),
        ("m-2", Some("i-2"), 9, ErrorCode::FencedMemberEpoch),
    ];
    for (member, instance, epoch, code) in cases {
        let mut world = world();
        let request = Heartbeat { instance_id: instance.map(Into::into), ..beat(member, epoch) };
        let error = world.heartbeat(&request).unwrap_err();
        assert_eq!(error.code(), code, "{member} {instance:?} {epoch}: {error}");
    }
    let request = Heartbeat { instance_id: Some("i-2".into()), ..join("m-9", &["t"]) };
    let error = world().heartbeat(&request).unwrap_err();
    assert_eq!(error.code(), ErrorCode::UnreleasedInstanceId);
}

/// Each fault is worse than the ones after it: with all of them from some place on, the first is what is said.
#[test]
fn the_worst_is_said_first() {
    type Fault = (fn(&mut Heartbeat), ErrorCode);
    let faults: [Fault; 4] = [
        (|r| r.rack_id = Some(String::new()), ErrorCode::InvalidRequest),
        (|r| r.server_assignor = Some("mine".into()), ErrorCode::UnsupportedAssignor),
        (|r| r.member_epoch = 7, ErrorCode::UnknownMemberId),
        (|r| r.subscribed_topic_regex = Some("((".into()), ErrorCode::InvalidRegularExpression),
    ];
    for (at, (_, code)) in faults.iter().enumerate() {
        let found = refused(|request| faults[at..].iter().for_each(|(fault, _)| fault(request)));
        assert_eq!(found, Some(*code));
    }
    // Full comes before the instance that somebody else has... but its own place is not one more.
    let mut world = world();
    world.settings.max_size = 2;
    let mut request = join("m-3", &["t"]);
    request.subscribed_topic_regex = Some("((".into());
    assert_eq!(world.heartbeat(&request).unwrap_err().code(), ErrorCode::GroupMaxSizeReached);
    request.server_assignor = Some("mine".into());
    assert_eq!(world.heartbeat(&request).unwrap_err().code(), ErrorCode::UnsupportedAssignor);
    let request = Heartbeat { instance_id: Some("i-2".into()), ..join("m-3", &["t"]) };
    assert_eq!(world.heartbeat(&request).unwrap_err().code(), ErrorCode::UnreleasedInstanceId);
}

#[test]
fn who_may_commit_and_fetch() {
    let world = world();
    let group = &world.group;
    let commit = |member_id, member_epoch, api| {
        let claim = CommitClaim { member_id, instance_id: None, member_epoch, api };
        group.check_commit(&claim).err().map(|error| error.code())
    };
    let plain = |version| CommitApi::OffsetCommit { version };
    assert_eq!(commit("m-1", 2, plain(9)), None);
    assert_eq!(commit("m-1", 3, plain(9)), Some(ErrorCode::StaleMemberEpoch));
    assert_eq!(commit("m-1", 2, plain(8)), Some(ErrorCode::UnsupportedVersion));
    assert_eq!(commit("m-1", 3, plain(8)), Some(ErrorCode::UnsupportedVersion), "before the epoch");
    assert_eq!(commit("", -1, plain(9)), Some(ErrorCode::UnknownMemberId));
    assert_eq!(commit("m-9", 2, plain(8)), Some(ErrorCode::UnknownMemberId), "before the version");
    assert_eq!(commit("", -1, CommitApi::TxnOffsetCommit), None);
    assert_eq!(commit("", 2, CommitApi::TxnOffsetCommit), Some(ErrorCode::UnknownMemberId));
    assert_eq!(commit("m-1", 9, CommitApi::TxnOffsetCommit), Some(ErrorCode::StaleMemberEpoch));
    let fetch =
        |member_id, epoch| group.check_fetch(member_id, epoch).err().map(|error| error.code());
    assert_eq!(fetch(None, -1), None);
    assert_eq!(fetch(Some("m-1"), 2), None);
    assert_eq!(fetch(Some("m-1"), 9), Some(ErrorCode::StaleMemberEpoch));
    assert_eq!(fetch(Some("m-7"), 1), Some(ErrorCode::UnknownMemberId));
    let nobody = ConsumerGroup::new(GROUP);
    let claim = CommitClaim { member_id: "", instance_id: None, member_epoch: -1, api: plain(8) };
    assert!(nobody.check_commit(&claim).is_ok(), "a group that holds only offsets");
}
