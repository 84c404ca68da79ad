//! KIP-848 groups in the coordinator: beside classic groups, with offsets, through loading, listing and deletion, and when the log
//! refuses.

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]
#![allow(clippy::wildcard_enum_match_arm, reason = "what no arm expects fails the test")]

mod consumer_world;

use std::sync::Arc;

use consumer_world::{beat, join, settings};
use hanbeon_group::{
    AppendKind, Commit, CommitDialect, CommitInTxn, Coordinator, DeleteOffsets, Fetch, FetchWhat,
    FreshId, GroupError, GroupType, Join, ListFilter, Membership, Name, NewMembers, NewOffset,
    Output, Protocol, Replayed, Reply, Settings, SkipAssignment, Stability, State,
    consumer::{Heartbeat, HeartbeatReply, Partitions, Topic, TopicList},
};
use hanbeon_records::{
    ErrorCode, LeaderEpoch, Millis, Offset, ProducerEpoch, ProducerId, TopicId, TopicName,
};

const T: TopicId = TopicId::new([1; 16]);

type Entry = (Vec<u8>, Option<Vec<u8>>, AppendKind);

struct World {
    groups: Coordinator<usize>,
    log: Vec<Entry>,
    now: i64,
    /// What the log says to the next write.
    refuses: Option<ErrorCode>,
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn topics() -> Arc<TopicList> {
    let mut topics = TopicList::default();
    topics.put("t", Topic { id: T, partitions: 2 });
    topics.put("u", Topic { id: TopicId::new([2; 16]), partitions: 1 });
    Arc::new(topics)
}

fn coordinator() -> Coordinator<usize> {
    let mut groups = Coordinator::new(Settings {
        session_timeout_ms_min: 6_000,
        session_timeout_ms_max: 1_800_000,
        initial_rebalance_delay_ms: 3_000,
        groups_max: 10_000,
        group_size_max: usize::MAX,
        member_bytes_max: 1 << 20,
        new_member_join_timeout_ms: 300_000,
        offset_metadata_len_max: 4_096,
        offsets_retention_ms: 1_000_000,
        offsets_retention_check_interval_ms: 600_000,
    });
    let mut settings = settings();
    settings.assignment_interval_ms = 0;
    groups.set_consumer_settings(settings);
    groups.set_topics(topics());
    groups
}

impl World {
    fn new() -> Self {
        let mut world =
            Self { groups: coordinator(), log: Vec::new(), now: 1_000_000, refuses: None };
        let mut out = Vec::new();
        world.groups.loaded(Millis::new(world.now), &mut out);
        world
    }

    /// Lets the log decide until nothing is left to decide; says what was answered.
    fn decide(&mut self, mut out: Vec<Output<usize>>) -> Option<Reply> {
        let mut answer = None;
        while !out.is_empty() {
            let mut more = Vec::new();
            for output in out {
                match output {
                    Output::Answer { reply, .. } => {
                        assert!(answer.replace(reply).is_none(), "one answer");
                    }
                    Output::Append { write, records, kind } => {
                        let base = Offset::new(i64::try_from(self.log.len()).unwrap());
                        let result = self.refuses.take().map_or(Ok(base), Err);
                        if result.is_ok() {
                            let lines = records.iter().map(|r| (r.key().unwrap(), r.value(), kind));
                            self.log.extend(lines);
                        }
                        self.groups.appended(Millis::new(self.now), write, result, &mut more);
                    }
                }
            }
            out = more;
        }
        answer
    }

    fn ask(
        &mut self,
        request: impl FnOnce(&mut Coordinator<usize>, Millis, &mut Vec<Output<usize>>),
    ) -> Reply {
        let mut out = Vec::new();
        request(&mut self.groups, Millis::new(self.now), &mut out);
        self.decide(out).unwrap()
    }

    fn beat(&mut self, request: &Heartbeat) -> Result<HeartbeatReply, GroupError> {
        let request = request.clone();
        let fresh = FreshId::new([3; 16]);
        match self.ask(|groups, now, out| {
            groups.consumer_heartbeat(now, 0, name("g"), request, fresh, out);
        }) {
            Reply::ConsumerHeartbeat(result) => result,
            other => panic!("{other:?}"),
        }
    }

    fn code(&mut self, request: &Heartbeat) -> ErrorCode {
        self.beat(request).map_or_else(|error| error.code(), |_| ErrorCode::None)
    }

    fn pass(&mut self, ms: i64) {
        let end = self.now + ms;
        while let Some(at) = self.groups.next_deadline().filter(|at| at.get() <= end) {
            self.now = self.now.max(at.get());
            let mut out = Vec::new();
            self.groups.tick(Millis::new(self.now), &mut out);
            assert!(self.decide(out).is_none());
        }
        self.now = end;
    }

    fn commit(&mut self, membership: Membership, dialect: CommitDialect) -> Vec<ErrorCode> {
        let offsets = vec![offset("t", 0), offset("t", 1)];
        let group = name("g");
        let commit = Commit { group, membership, dialect, retention_ms: None, offsets };
        codes(self.ask(|groups, now, out| groups.commit_offsets(now, 0, commit, out)))
    }

    fn commit_in_txn(&mut self, membership: Membership) -> Vec<ErrorCode> {
        let commit = CommitInTxn {
            group: name("g"),
            producer_id: ProducerId::new(7),
            producer_epoch: ProducerEpoch::new(0),
            membership,
            offsets: vec![offset("t", 0)],
        };
        codes(self.ask(|groups, now, out| groups.commit_txn_offsets(now, 0, commit, out)))
    }

    fn listed(&self) -> Vec<(GroupType, State)> {
        let rows = self.groups.list(&ListFilter::default()).unwrap();
        rows.into_iter().map(|row| (row.group_type, row.state)).collect()
    }

    fn delete(&mut self) -> ErrorCode {
        match self.ask(|groups, now, out| groups.delete_group(now, 0, name("g"), out)) {
            Reply::DeleteGroup(result) => result.map_or_else(|e| e.code(), |()| ErrorCode::None),
            other => panic!("{other:?}"),
        }
    }

    fn classic_join(&mut self, member_id: &str) -> ErrorCode {
        let join = classic_join(member_id);
        let fresh = FreshId::new([4; 16]);
        let mut out = Vec::new();
        self.groups.join(Millis::new(self.now), 0, join, fresh, &mut out);
        match self.decide(out) {
            Some(Reply::Join(result)) => {
                result.map_or_else(|e| e.error.code(), |_| ErrorCode::None)
            }
            None => ErrorCode::None, // waits for the others
            other => panic!("{other:?}"),
        }
    }

    /// Another coordinator reads the log.
    fn reload(&mut self) {
        self.groups = coordinator();
        for (at, (key, value, kind)) in self.log.iter().enumerate() {
            let producer_id = match kind {
                AppendKind::Plain => None,
                AppendKind::Transactional { producer_id, .. } => Some(*producer_id),
            };
            let position = Offset::new(i64::try_from(at).unwrap());
            let (key, value) = (Some(key.as_slice()), value.as_deref());
            self.groups.replay(&Replayed::Record { key, value, position, producer_id }).unwrap();
        }
        let mut out = Vec::new();
        self.groups.loaded(Millis::new(self.now), &mut out);
        assert!(self.decide(out).is_none());
    }
}

fn offset(topic: &str, partition: i32) -> NewOffset {
    NewOffset {
        topic: TopicName::new(topic).unwrap(),
        topic_id: None,
        partition,
        offset: Offset::new(5),
        leader_epoch: LeaderEpoch::UNKNOWN,
        metadata: "".into(),
    }
}

fn codes(reply: Reply) -> Vec<ErrorCode> {
    let code =
        |result: Result<(), GroupError>| result.map_or_else(|e| e.code(), |()| ErrorCode::None);
    match reply {
        Reply::Commit(Ok(results)) | Reply::DeleteOffsets(Ok(results)) => {
            results.into_iter().map(code).collect()
        }
        Reply::Commit(Err(error)) | Reply::DeleteOffsets(Err(error)) => vec![error.code()],
        other => panic!("{other:?}"),
    }
}

fn member(member_id: &str, epoch: i32) -> Membership {
    Membership { generation: epoch, member_id: name(member_id), instance_id: None }
}

fn classic_join(member_id: &str) -> Join {
    Join {
        group: name("g"),
        member_id: name(member_id),
        instance_id: None,
        client_id: name("c"),
        client_host: name("/h"),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: Some(10_000),
        protocol_type: name("consumer"),
        protocols: vec![Protocol { name: name("range"), metadata: Arc::from(*b"sub") }],
        new_members: NewMembers::JoinAtOnce,
        skip_assignment: SkipAssignment::Unsupported,
    }
}

fn owned(partitions: &[i32]) -> Option<Partitions> {
    Some(partitions.iter().map(|partition| (T, *partition)).collect())
}

#[test]
fn a_group_lives_through_join_commit_list_describe_leave_and_delete() {
    let mut world = World::new();
    assert_eq!(world.code(&beat("m-1", 5)), ErrorCode::GroupIdNotFound, "no such group");
    let joined = world.beat(&join("m-1", &["t"])).unwrap();
    assert_eq!((joined.member_epoch, joined.assignment), (2, owned(&[0, 1])));
    assert_eq!(world.listed(), [(GroupType::Consumer, State::Stable)]);
    let told = world.groups.describe_consumer(&name("g")).unwrap();
    assert_eq!((told.members.len(), told.assignor_name), (1, "uniform"));
    let classic = world.groups.describe(&name("g")).unwrap_err();
    assert_eq!(classic.code(), ErrorCode::GroupIdNotFound, "the old describe does not know it");
    assert_eq!(world.delete(), ErrorCode::NonEmptyGroup);

    assert_eq!(world.commit(member("m-1", 2), CommitDialect::Epochs), [ErrorCode::None; 2]);
    let delete =
        DeleteOffsets { group: name("g"), partitions: vec![(name("t"), 0), (name("u"), 0)] };
    let deleted = world.ask(|groups, now, out| groups.delete_offsets(now, 0, delete, out));
    assert_eq!(codes(deleted), [ErrorCode::GroupSubscribedToTopic, ErrorCode::None]);

    let left = world.beat(&beat("m-1", -1)).unwrap();
    assert_eq!((left.member_epoch, left.heartbeat_interval_ms), (-1, 0));
    assert_eq!(world.listed(), [(GroupType::Consumer, State::Empty)]);
    assert_eq!(world.delete(), ErrorCode::None);
    assert_eq!(world.listed(), []);
    world.reload();
    assert_eq!(world.listed(), [], "nothing of it is left in the log");
}

#[test]
fn commits_and_fetches_are_the_members_own() {
    let mut world = World::new();
    let _ = world.beat(&join("m-1", &["t"])).unwrap();
    let (epochs, old) = (CommitDialect::Epochs, CommitDialect::Generations);
    assert_eq!(world.commit(member("m-1", 3), epochs), [ErrorCode::StaleMemberEpoch]);
    assert_eq!(world.commit(member("m-1", 2), old), [ErrorCode::UnsupportedVersion]);
    assert_eq!(world.commit(Membership::none(), epochs), [ErrorCode::UnknownMemberId]);
    assert_eq!(world.commit_in_txn(member("m-1", 9)), [ErrorCode::IllegalGeneration]);
    assert_eq!(world.commit_in_txn(Membership::none()), [ErrorCode::None]);

    // KIP-1251: m-1 keeps t-0 from epoch 2 on and has lost t-1.
    let _ = world.beat(&join("m-2", &["t"])).unwrap();
    let _ = world.beat(&beat("m-1", 2)).unwrap();
    let gave_up = Heartbeat { owned: owned(&[0]), ..beat("m-1", 2) };
    assert_eq!(world.beat(&gave_up).unwrap().member_epoch, 3);
    let stale = [ErrorCode::None, ErrorCode::StaleMemberEpoch];
    assert_eq!(world.commit(member("m-1", 2), epochs), stale);

    let fetch = |member: Option<(&str, i32)>| Fetch {
        group: name("g"),
        member: member.map(|(id, epoch)| (name(id), epoch)),
        stability: Stability::NotRequired,
        what: FetchWhat::All,
    };
    assert_eq!(world.groups.fetch_offsets(&fetch(Some(("m-1", 3)))).unwrap().len(), 1);
    let refused = |member| world.groups.fetch_offsets(&fetch(Some(member))).unwrap_err().code();
    assert_eq!(refused(("m-1", 9)), ErrorCode::StaleMemberEpoch);
    assert_eq!(refused(("m-7", 1)), ErrorCode::UnknownMemberId);
    assert!(world.groups.fetch_offsets(&fetch(None)).is_ok());
}

#[test]
fn an_empty_group_of_one_protocol_gives_way_to_the_other() {
    let mut world = World::new();
    // Only offsets, then KIP-848 members.
    assert_eq!(world.commit(Membership::none(), CommitDialect::Epochs), [ErrorCode::None; 2]);
    assert_eq!(world.code(&beat("m-1", 2)), ErrorCode::GroupIdNotFound);
    assert_eq!(world.code(&join("m-1", &["t"])), ErrorCode::None);
    assert_eq!(world.listed(), [(GroupType::Consumer, State::Stable)]);
    assert_eq!(world.classic_join(""), ErrorCode::InconsistentGroupProtocol);
    world.reload();
    assert_eq!(world.listed(), [(GroupType::Consumer, State::Stable)]);

    assert_eq!(world.code(&beat("m-1", -1)), ErrorCode::None);
    assert_eq!(world.classic_join(""), ErrorCode::None);
    assert_eq!(world.listed(), [(GroupType::Classic, State::PreparingRebalance)]);
    assert_eq!(world.code(&join("m-2", &["t"])), ErrorCode::GroupIdNotFound, "it has members");
    let fetch = Fetch {
        group: name("g"),
        member: None,
        stability: Stability::NotRequired,
        what: FetchWhat::All,
    };
    assert_eq!(world.groups.fetch_offsets(&fetch).unwrap().len(), 2, "the offsets stay");
}

#[test]
fn silence_is_noticed_also_by_the_next_coordinator() {
    let mut world = World::new();
    let _ = world.beat(&join("m-1", &["t"])).unwrap();
    let _ = world.beat(&join("m-2", &["t"])).unwrap();
    world.pass(30_000);
    let gives_up = Heartbeat { owned: owned(&[0]), ..beat("m-1", 2) };
    assert_eq!(world.code(&gives_up), ErrorCode::None);
    world.pass(14_999);
    assert_eq!(world.groups.describe_consumer(&name("g")).unwrap().members.len(), 2);
    world.pass(1);
    assert_eq!(world.groups.describe_consumer(&name("g")).unwrap().members.len(), 1);
    assert_eq!(world.code(&beat("m-2", 3)), ErrorCode::UnknownMemberId);
    world.reload();
    world.pass(44_999);
    assert_eq!(world.groups.describe_consumer(&name("g")).unwrap().members.len(), 1);
    world.pass(1);
    assert_eq!(world.listed(), [(GroupType::Consumer, State::Empty)]);
}

#[test]
fn a_member_that_gives_nothing_up_is_out_after_its_own_timeout() {
    let mut world = World::new();
    let _ = world.beat(&join("m-1", &["t"])).unwrap();
    let _ = world.beat(&join("m-2", &["t"])).unwrap();
    assert_eq!(world.beat(&beat("m-1", 2)).unwrap().assignment, owned(&[0]));
    world.pass(29_999);
    assert_eq!(world.code(&beat("m-1", 2)), ErrorCode::None, "thirty seconds were asked for");
    world.pass(1);
    assert_eq!(world.code(&beat("m-1", 2)), ErrorCode::UnknownMemberId);
    assert_eq!(world.beat(&beat("m-2", 3)).unwrap().assignment, owned(&[0, 1]));
}

#[test]
fn what_the_log_refuses_did_not_happen() {
    let mut world = World::new();
    world.refuses = Some(ErrorCode::NotEnoughReplicas);
    assert_eq!(world.code(&join("m-1", &["t"])), ErrorCode::CoordinatorNotAvailable);
    assert_eq!(world.listed(), []);
    let _ = world.beat(&join("m-1", &["t"])).unwrap();
    world.refuses = Some(ErrorCode::NotLeaderOrFollower);
    assert_eq!(world.code(&beat("m-1", -1)), ErrorCode::NotCoordinator);
    assert_eq!(world.code(&beat("m-1", 2)), ErrorCode::None, "it is still there");
    // The end of its session is not written: it is tried again.
    world.refuses = Some(ErrorCode::NotEnoughReplicas);
    world.pass(45_000);
    assert_eq!(world.listed(), [(GroupType::Consumer, State::Stable)]);
    world.pass(1_000);
    assert_eq!(world.listed(), [(GroupType::Consumer, State::Empty)]);
}

#[test]
fn requests_wait_while_the_log_decides_and_each_is_answered() {
    let mut world = World::new();
    let now = Millis::new(world.now);
    let (mut out, mut later) = (Vec::new(), Vec::new());
    let fresh = FreshId::new([0; 16]);
    world.groups.consumer_heartbeat(now, 1, name("g"), join("m-1", &["t"]), fresh, &mut out);
    world.groups.consumer_heartbeat(now, 2, name("g"), join("m-1", &["t"]), fresh, &mut later);
    assert_eq!(later, [], "the second waits for the first");
    let [Output::Append { write, .. }] = out[..] else { panic!("{out:?}") };
    world.groups.appended(now, write, Ok(Offset::ZERO), &mut later);
    let tokens: Vec<usize> = later
        .iter()
        .map(|output| match output {
            Output::Answer { token, reply: Reply::ConsumerHeartbeat(Ok(reply)) } => {
                assert_eq!(reply.assignment, owned(&[0, 1]));
                *token
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(tokens, [1, 2]);
    // Resignation answers what is under way.
    let mut out = Vec::new();
    world.groups.consumer_heartbeat(now, 3, name("g"), beat("m-1", -1), fresh, &mut out);
    world.groups.consumer_heartbeat(now, 4, name("g"), beat("m-1", 2), fresh, &mut out);
    out.clear();
    world.groups.resign(&mut out);
    for output in &out {
        let Output::Answer { reply: Reply::ConsumerHeartbeat(Err(error)), .. } = output else {
            panic!("{output:?}")
        };
        assert_eq!(error.code(), ErrorCode::NotCoordinator);
    }
    assert_eq!(out.len(), 2);
}

#[test]
fn without_settings_the_protocol_is_off_and_while_loading_it_waits() {
    let mut world = World::new();
    let _ = world.beat(&join("m-1", &["t"])).unwrap();
    let log = world.log.clone();
    let mut groups: Coordinator<usize> = coordinator();
    let mut out = Vec::new();
    let now = Millis::new(world.now);
    let fresh = FreshId::new([0; 16]);
    groups.consumer_heartbeat(now, 1, name("g"), beat("m-1", 2), fresh, &mut out);
    let [Output::Answer { reply: Reply::ConsumerHeartbeat(Err(error)), .. }] = &out[..] else {
        panic!("{out:?}")
    };
    assert_eq!(error.code(), ErrorCode::CoordinatorLoadInProgress);
    let loading = groups.describe_consumer(&name("g")).unwrap_err();
    assert_eq!(loading.code(), ErrorCode::CoordinatorLoadInProgress);
    assert_eq!(
        groups.describe_consumer(&Name::empty()).unwrap_err().code(),
        ErrorCode::InvalidGroupId
    );
    let key = Some(log[0].0.as_slice());
    let position = Offset::ZERO;
    let bad = Replayed::Record { key, value: Some(b"\0\0\x07"), position, producer_id: None };
    assert_eq!(groups.replay(&bad).unwrap_err().code(), ErrorCode::CorruptMessage);
    assert_eq!(
        world.code(&Heartbeat { rack_id: Some(String::new()), ..beat("m-1", 2) }),
        ErrorCode::InvalidRequest
    );
}

#[test]
fn offsets_expire_when_nobody_reads_their_topic() {
    let mut world = World::new();
    let _ = world.beat(&join("m-1", &["t"])).unwrap();
    let offsets = vec![offset("t", 0), offset("u", 0)];
    let commit = Commit {
        group: name("g"),
        membership: member("m-1", 2),
        dialect: CommitDialect::Epochs,
        retention_ms: None,
        offsets,
    };
    let committed = world.ask(|groups, now, out| groups.commit_offsets(now, 0, commit, out));
    assert_eq!(codes(committed), [ErrorCode::None; 2]);
    for _ in 0..60 {
        world.pass(30_000);
        assert_eq!(world.code(&beat("m-1", 2)), ErrorCode::None);
    }
    let fetch = Fetch {
        group: name("g"),
        member: None,
        stability: Stability::NotRequired,
        what: FetchWhat::All,
    };
    let left = world.groups.fetch_offsets(&fetch).unwrap();
    assert_eq!(left.iter().map(|found| found.topic.as_str()).collect::<Vec<_>>(), ["t"]);
    world.pass(3_000_000);
    assert_eq!(world.listed(), [], "empty and without offsets it goes");
}
