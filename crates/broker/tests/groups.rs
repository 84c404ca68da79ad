//! Groups over TCP: their lives in old and new versions, offsets, offsets inside transactions, and what no client should send.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that panics has found something"
)]

mod support;

use bytes::Bytes;
use hanbeon::{Feature, FeatureUpdate, LevelChange, Mode, Options, group::Name};
use hanbeon_broker::Limits;
use hanbeon_wire::{
    ApiKey,
    messages::{
        add_offsets_to_txn, consumer_group_describe, consumer_group_heartbeat, delete_groups,
        describe_groups, end_txn, heartbeat, init_producer_id, join_group, leave_group,
        list_groups, offset_commit, offset_delete, offset_fetch, sync_group, text,
        txn_offset_commit, uuid,
    },
};
use support::{calls::*, *};

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const OFFSET_METADATA_TOO_LARGE: i16 = 12;
const NOT_COORDINATOR: i16 = 16;
const ILLEGAL_GENERATION: i16 = 22;
const INVALID_GROUP_ID: i16 = 24;
const INCONSISTENT_GROUP_PROTOCOL: i16 = 23;
const UNKNOWN_MEMBER_ID: i16 = 25;
const INVALID_SESSION_TIMEOUT: i16 = 26;
const REBALANCE_IN_PROGRESS: i16 = 27;
const UNSUPPORTED_VERSION: i16 = 35;
const INVALID_PRODUCER_EPOCH: i16 = 47;
const INVALID_TXN_STATE: i16 = 48;
const CONCURRENT_TRANSACTIONS: i16 = 51;
const INVALID_REQUEST: i16 = 42;
const NON_EMPTY_GROUP: i16 = 68;
const GROUP_ID_NOT_FOUND: i16 = 69;
const MEMBER_ID_REQUIRED: i16 = 79;
const GROUP_SUBSCRIBED_TO_TOPIC: i16 = 86;
const UNSTABLE_OFFSET_COMMIT: i16 = 88;
const UNKNOWN_TOPIC_ID: i16 = 100;
const TRANSACTION_ABORTABLE: i16 = 120;

/// Version 0 of a subscription to the topic `t`, without user data.
const SUBSCRIPTION: &[u8] = b"\0\0\0\0\0\x01\0\x01t\xff\xff\xff\xff";

/// A broker whose groups do not wait for more members, with a topic of one partition.
async fn started() -> Running {
    let broker = Running::configured("group.initial.rebalance.delay.ms", "0").await;
    broker.topic("t");
    broker
}

fn join(version: i16, member_id: &str) -> join_group::Request {
    join_group::Request {
        group_id: text("g"),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: if version > 0 { 20_000 } else { -1 },
        member_id: text(member_id),
        protocol_type: text("consumer"),
        protocols: vec![join_group::JoinGroupRequestProtocol {
            name: text("range"),
            metadata: Bytes::from_static(SUBSCRIPTION),
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// Joins alone, whatever that takes in this version; the member's id and the generation.
async fn joined(client: &mut Client, version: i16) -> (String, i32) {
    let mut answer = ask(client, version, join(version, "")).await;
    if version >= 4 {
        assert_eq!((answer.error_code, answer.generation_id), (MEMBER_ID_REQUIRED, -1));
        let id = answer.member_id.to_string();
        assert!(id.starts_with("t-"), "{id} begins with the client's id");
        answer = ask(client, version, join(version, &id)).await;
    }
    assert_eq!((answer.error_code, answer.leader.clone()), (0, answer.member_id.clone()));
    assert_eq!(answer.protocol_name, Some(text("range")));
    assert_eq!(answer.protocol_type, (version >= 7).then(|| text("consumer")));
    let [member] = &answer.members[..] else { panic!("one member: {answer:?}") };
    assert_eq!((&member.member_id, &member.metadata[..]), (&answer.member_id, SUBSCRIPTION));
    (answer.member_id.to_string(), answer.generation_id)
}

fn sync(id: &str, generation_id: i32, assigned: &[(&str, &'static [u8])]) -> sync_group::Request {
    let assignments = assigned.iter().map(|(id, bytes)| sync_group::SyncGroupRequestAssignment {
        member_id: text(id),
        assignment: Bytes::from_static(bytes),
        ..Default::default()
    });
    sync_group::Request {
        group_id: text("g"),
        generation_id,
        member_id: text(id),
        assignments: assignments.collect(),
        ..Default::default()
    }
}

fn beat(id: &str, generation_id: i32) -> heartbeat::Request {
    let (group_id, member_id) = (text("g"), text(id));
    heartbeat::Request { group_id, generation_id, member_id, ..Default::default() }
}

fn leave(version: i16, id: &str) -> leave_group::Request {
    let mut request = leave_group::Request { group_id: text("g"), ..Default::default() };
    if version < 3 {
        request.member_id = text(id);
    } else {
        request.members =
            vec![leave_group::MemberIdentity { member_id: text(id), ..Default::default() }];
    }
    request
}

/// State, error and how many members.
async fn described(client: &mut Client, version: i16) -> (String, i16, usize) {
    let include_authorized_operations = version >= 3;
    let groups = vec![text("g")];
    let request =
        describe_groups::Request { groups, include_authorized_operations, ..Default::default() };
    let answer = ask(client, version, request).await;
    let [group] = &answer.groups[..] else { panic!("one group: {answer:?}") };
    for member in &group.members {
        assert_eq!((member.client_id.as_str(), member.client_host.as_str()), ("t", "/127.0.0.1"));
        assert_eq!(&member.member_assignment[..], b"mine");
    }
    // As Apache Kafka 4.3.1 says it without an authorizer.
    let operations = if version >= 3 && group.error_code == 0 { 0x0d48 } else { i32::MIN };
    assert_eq!(group.authorized_operations, operations);
    assert_eq!(group.error_message.is_some(), group.error_code != 0, "a refusal has words");
    (group.group_state.to_string(), group.error_code, group.members.len())
}

async fn delete(client: &mut Client, version: i16) -> i16 {
    let request = delete_groups::Request { groups_names: vec![text("g")], ..Default::default() };
    ask(client, version, request).await.results[0].error_code
}

#[tokio::test]
async fn a_group_lives_in_old_and_new_versions() {
    // JoinGroup, SyncGroup, Heartbeat, LeaveGroup, DescribeGroups, ListGroups, DeleteGroups.
    for [joins, syncs, beats, leaves, describes, lists, deletes] in
        [[0; 7], [2, 1, 1, 1, 1, 1, 1], [5, 3, 3, 3, 4, 3, 1], [9, 5, 4, 5, 6, 5, 2]]
    {
        let broker = started().await;
        let mut client = broker.client().await;
        let (id, generation) = joined(&mut client, joins).await;
        assert_eq!(generation, 1);
        let synced = ask(&mut client, syncs, sync(&id, 1, &[(&id, b"mine")])).await;
        assert_eq!((synced.error_code, &synced.assignment[..]), (0, &b"mine"[..]));
        assert_eq!(synced.protocol_type, (syncs >= 5).then(|| text("consumer")));

        assert_eq!(ask(&mut client, beats, beat(&id, 1)).await.error_code, 0);
        assert_eq!(ask(&mut client, beats, beat(&id, 2)).await.error_code, ILLEGAL_GENERATION);
        let stranger = ask(&mut client, beats, beat("nobody", 1)).await;
        assert_eq!(stranger.error_code, UNKNOWN_MEMBER_ID);

        assert_eq!(described(&mut client, describes).await, ("Stable".to_owned(), 0, 1));
        let listed = ask(&mut client, lists, list_groups::Request::default()).await;
        let [group] = &listed.groups[..] else { panic!("one group: {listed:?}") };
        let shown = (group.group_id.as_str(), group.protocol_type.as_str());
        assert_eq!((listed.error_code, shown), (0, ("g", "consumer")));
        assert_eq!(group.group_state.as_str(), if lists >= 4 { "Stable" } else { "" });
        assert_eq!(group.group_type.as_str(), if lists >= 5 { "classic" } else { "" });
        assert_eq!(delete(&mut client, deletes).await, NON_EMPTY_GROUP);

        let left = ask(&mut client, leaves, leave(leaves, &id)).await;
        let members: Vec<_> = left.members.iter().map(|member| member.error_code).collect();
        assert_eq!((left.error_code, members), (0, if leaves >= 3 { vec![0] } else { vec![] }));
        let again = ask(&mut client, leaves, leave(leaves, &id)).await;
        let codes = (again.error_code, again.members.first().map(|member| member.error_code));
        let expected = if leaves >= 3 { (0, Some(25)) } else { (UNKNOWN_MEMBER_ID, None) };
        assert_eq!(codes, expected);

        assert_eq!(described(&mut client, describes).await, ("Empty".to_owned(), 0, 0));
        assert_eq!(delete(&mut client, deletes).await, 0);
        assert_eq!(delete(&mut client, deletes).await, GROUP_ID_NOT_FOUND);
        let code = if describes >= 6 { GROUP_ID_NOT_FOUND } else { 0 };
        assert_eq!(described(&mut client, describes).await, ("Dead".to_owned(), code, 0));
        broker.stop().await;
    }
}

#[tokio::test]
async fn a_newcomer_waits_until_all_are_together() {
    let broker = started().await;
    let (mut first, mut second) = (broker.client().await, broker.client().await);
    let (leader, _) = joined(&mut first, 3).await;
    assert_eq!(ask(&mut first, 3, sync(&leader, 1, &[(&leader, b"mine")])).await.error_code, 0);
    send(&mut second, 3, &join(3, "")).await;
    timely(async {
        while ask(&mut first, 3, beat(&leader, 1)).await.error_code != REBALANCE_IN_PROGRESS {}
    })
    .await;
    let again = ask(&mut first, 3, join(3, &leader)).await;
    let welcome = heard::<join_group::Request>(&mut second, 3).await;
    assert_eq!((again.generation_id, welcome.generation_id), (2, 2));
    // The leader alone hears who is there.
    assert_eq!((again.leader.as_str(), again.members.len()), (leader.as_str(), 2));
    assert_eq!((welcome.leader.as_str(), welcome.members.len()), (leader.as_str(), 0));
    // A follower's part comes with the leader's word.
    let follower = welcome.member_id.to_string();
    send(&mut second, 3, &sync(&follower, 2, &[])).await;
    let assigned: [(&str, &[u8]); 2] = [(&leader, b"mine"), (&follower, b"yours")];
    let synced = ask(&mut first, 3, sync(&leader, 2, &assigned)).await;
    assert_eq!((synced.error_code, &synced.assignment[..]), (0, &b"mine"[..]));
    let synced = heard::<sync_group::Request>(&mut second, 3).await;
    assert_eq!((synced.error_code, &synced.assignment[..]), (0, &b"yours"[..]));
    broker.stop().await;
}

/// What a member says of itself stays as long as its session, also when its connection is gone.
#[tokio::test]
async fn t_g1_a_member_that_says_too_much_of_itself_is_not_let_in() {
    let broker = started().await;
    let mut client = broker.client().await;
    let mut large = join(3, "");
    large.protocols[0].metadata = Bytes::from(vec![0; 1 << 20]);
    let mut many = join(3, "");
    let nothing = join_group::JoinGroupRequestProtocol::default();
    many.protocols.extend(vec![nothing; 40_000]);
    for request in [large, many] {
        assert_eq!(ask(&mut client, 3, request).await.error_code, INVALID_REQUEST);
        assert_eq!(described(&mut client, 4).await, ("Dead".to_owned(), 0, 0));
    }
    let mut allowed = join(3, "");
    allowed.protocols[0].metadata = Bytes::from(vec![0; 900_000]);
    assert_eq!(ask(&mut client, 3, allowed).await.error_code, 0);
    broker.stop().await;
}

/// Two members; the second has joined again and waits for the first.
async fn rejoining(broker: &Running) -> ([Client; 2], [String; 2]) {
    let (mut first, mut second) = (broker.client().await, broker.client().await);
    let (leader, _) = joined(&mut first, 3).await;
    assert_eq!(ask(&mut first, 3, sync(&leader, 1, &[(&leader, b"mine")])).await.error_code, 0);
    send(&mut second, 3, &join(3, "")).await;
    timely(async {
        while ask(&mut first, 3, beat(&leader, 1)).await.error_code != REBALANCE_IN_PROGRESS {}
    })
    .await;
    assert_eq!(ask(&mut first, 3, join(3, &leader)).await.error_code, 0);
    let follower = heard::<join_group::Request>(&mut second, 3).await.member_id.to_string();
    let assigned: [(&str, &[u8]); 2] = [(&leader, b"mine"), (&follower, b"mine")];
    assert_eq!(ask(&mut first, 3, sync(&leader, 2, &assigned)).await.error_code, 0);
    assert_eq!(ask(&mut second, 3, sync(&follower, 2, &[])).await.error_code, 0);
    let mut again = join(3, &follower);
    again.protocols[0].metadata = Bytes::from_static(b"\0\0\0\0\0\x01\0\x01u\xff\xff\xff\xff");
    send(&mut second, 3, &again).await;
    timely(async {
        while ask(&mut first, 3, beat(&leader, 2)).await.error_code != REBALANCE_IN_PROGRESS {}
    })
    .await;
    ([first, second], [leader, follower])
}

#[tokio::test]
async fn a_member_that_leaves_while_it_waits_is_gone_with_its_connection() {
    let options = Options::broker().set("group.initial.rebalance.delay.ms", "0").unwrap();
    let limits = Limits { request_ms_max: 200, ..Limits::standard() };
    let broker = Running::on(options, |options| options.limits(limits)).await;
    let ([_first, mut second], [leader, follower]) = rejoining(&broker).await;
    send(&mut second, 3, &leave(3, &follower)).await;
    drop(second);
    let group = Name::new("g").unwrap();
    let left = timely(async {
        loop {
            let members = broker.engine.groups().describe(&group).unwrap().members;
            if let [member] = &members[..] {
                break member.member_id.as_str().to_owned();
            }
            tokio::task::yield_now().await;
        }
    });
    // Not the one that is gone, after the session of the other.
    assert_eq!(left.await, leader);
    broker.stop().await;
}

#[tokio::test]
async fn a_member_that_waits_is_sent_to_another_coordinator_by_a_stop() {
    let broker = started().await;
    let ([_first, mut second], _) = rejoining(&broker).await;
    broker.stop().await;
    assert_eq!(heard::<join_group::Request>(&mut second, 3).await.error_code, NOT_COORDINATOR);
}

fn new_offset(partition_index: i32, offset: i64) -> offset_commit::OffsetCommitRequestPartition {
    offset_commit::OffsetCommitRequestPartition {
        partition_index,
        committed_offset: offset,
        committed_metadata: Some(text("note")),
        ..Default::default()
    }
}

/// Commits for nobody in particular: the codes of all partitions in the order of the request.
async fn commit(
    client: &mut Client,
    version: i16,
    topics: Vec<offset_commit::OffsetCommitRequestTopic>,
) -> Vec<i16> {
    let request = offset_commit::Request {
        group_id: text("g"),
        generation_id_or_member_epoch: -1,
        topics,
        ..Default::default()
    };
    let answer = ask(client, version, request).await;
    answer.topics.iter().flat_map(|topic| &topic.partitions).map(|it| it.error_code).collect()
}

fn named(
    name: &str,
    partitions: Vec<offset_commit::OffsetCommitRequestPartition>,
) -> offset_commit::OffsetCommitRequestTopic {
    offset_commit::OffsetCommitRequestTopic { name: text(name), partitions, ..Default::default() }
}

/// Offset and code of partition 0 of `t`. Version 10 names it by `id`.
async fn fetched_offset(
    client: &mut Client,
    version: i16,
    require_stable: bool,
    id: hanbeon_records::TopicId,
) -> (i64, i16) {
    let mut request = offset_fetch::Request { require_stable, ..Default::default() };
    if version < 8 {
        request.group_id = text("g");
        request.topics = Some(vec![offset_fetch::OffsetFetchRequestTopic {
            name: text("t"),
            partition_indexes: vec![0],
            ..Default::default()
        }]);
        let answer = ask(client, version, request).await;
        assert_eq!(answer.error_code, 0);
        let found = &answer.topics[0].partitions[0];
        return (found.committed_offset, found.error_code);
    }
    let mut topic =
        offset_fetch::OffsetFetchRequestTopics { partition_indexes: vec![0], ..Default::default() };
    if version >= 10 {
        topic.topic_id = uuid(id);
    } else {
        topic.name = text("t");
    }
    request.groups = vec![offset_fetch::OffsetFetchRequestGroup {
        group_id: text("g"),
        topics: Some(vec![topic]),
        ..Default::default()
    }];
    let answer = ask(client, version, request).await;
    assert_eq!(answer.groups[0].error_code, 0);
    let found = &answer.groups[0].topics[0].partitions[0];
    (found.committed_offset, found.error_code)
}

#[tokio::test]
async fn offsets_are_committed_one_by_one_in_every_version() {
    let broker = started().await;
    let id = broker.engine.topic("t").unwrap().id();
    let mut client = broker.client().await;
    assert_eq!(fetched_offset(&mut client, 1, false, id).await, (-1, 0));
    for version in 2..=9 {
        let mut too_long = new_offset(0, 99);
        too_long.committed_metadata = Some(text(&"x".repeat(4097)));
        let offset = i64::from(version);
        let topics = vec![
            named("nowhere", vec![new_offset(0, 1)]),
            named("t", vec![new_offset(7, 1), new_offset(0, offset), too_long]),
        ];
        let unknown = UNKNOWN_TOPIC_OR_PARTITION;
        let expected = [unknown, unknown, 0, OFFSET_METADATA_TOO_LARGE];
        assert_eq!(commit(&mut client, version, topics).await, expected, "version {version}");
        for fetches in 1..=10 {
            assert_eq!(fetched_offset(&mut client, fetches, fetches >= 7, id).await, (offset, 0));
        }
    }
    let by_id = |id, offset| offset_commit::OffsetCommitRequestTopic {
        topic_id: uuid(id),
        partitions: vec![new_offset(0, offset)],
        ..Default::default()
    };
    let strange = hanbeon_records::TopicId::new([7; 16]);
    let codes = commit(&mut client, 10, vec![by_id(strange, 1), by_id(id, 10)]).await;
    assert_eq!(codes, [UNKNOWN_TOPIC_ID, 0]);
    assert_eq!(fetched_offset(&mut client, 10, true, id).await, (10, 0));
    assert_eq!(fetched_offset(&mut client, 10, true, strange).await, (-1, UNKNOWN_TOPIC_ID));
    // Everything the group has, by name and by id.
    for version in [2, 7, 8, 10] {
        let mut all = offset_fetch::Request::default();
        if version < 8 {
            all.group_id = text("g");
            all.topics = None;
            let answer = ask(&mut client, version, all).await;
            assert_eq!(answer.topics[0].partitions[0].metadata, Some(text("note")));
            continue;
        }
        let group_id = text("g");
        all.groups = vec![offset_fetch::OffsetFetchRequestGroup {
            group_id,
            topics: None,
            ..Default::default()
        }];
        let answer = ask(&mut client, version, all).await;
        let [topic] = &answer.groups[0].topics[..] else { panic!("one topic: {answer:?}") };
        assert_eq!(topic.partitions[0].committed_offset, 10);
        assert_eq!(topic.name.as_str(), if version < 10 { "t" } else { "" });
    }
    broker.stop().await;
}

/// Deletes the offset of partition 0 of `t`, and of a partition that is not there: the code of all and of each.
async fn delete_offset(client: &mut Client) -> (i16, Vec<i16>) {
    let partition = |partition_index| offset_delete::OffsetDeleteRequestPartition {
        partition_index,
        ..Default::default()
    };
    let request = offset_delete::Request {
        group_id: text("g"),
        topics: vec![offset_delete::OffsetDeleteRequestTopic {
            name: text("t"),
            partitions: vec![partition(9), partition(0)],
            ..Default::default()
        }],
        ..Default::default()
    };
    let answer = ask(client, 0, request).await;
    let codes = answer.topics.iter().flat_map(|topic| &topic.partitions).map(|it| it.error_code);
    (answer.error_code, codes.collect())
}

#[tokio::test]
async fn offsets_of_a_subscribed_topic_are_not_deleted() {
    let broker = started().await;
    let id = broker.engine.topic("t").unwrap().id();
    let mut client = broker.client().await;
    assert_eq!(delete_offset(&mut client).await, (GROUP_ID_NOT_FOUND, vec![]));
    assert_eq!(commit(&mut client, 5, vec![named("t", vec![new_offset(0, 5)])]).await, [0]);
    let (member, _) = joined(&mut client, 5).await;
    let synced = ask(&mut client, 3, sync(&member, 1, &[(&member, b"mine")])).await;
    assert_eq!(synced.error_code, 0);
    let refused = vec![UNKNOWN_TOPIC_OR_PARTITION, GROUP_SUBSCRIBED_TO_TOPIC];
    assert_eq!(delete_offset(&mut client).await, (0, refused));
    assert_eq!(fetched_offset(&mut client, 5, false, id).await, (5, 0));
    assert_eq!(ask(&mut client, 3, leave(3, &member)).await.error_code, 0);
    let deleted = vec![UNKNOWN_TOPIC_OR_PARTITION, 0];
    assert_eq!(delete_offset(&mut client).await, (0, deleted));
    assert_eq!(fetched_offset(&mut client, 5, false, id).await, (-1, 0));
    broker.stop().await;
}

async fn begun(client: &mut Client) -> (i64, i16) {
    let request = init_producer_id::Request {
        transactional_id: Some(text("x")),
        transaction_timeout_ms: 60_000,
        ..Default::default()
    };
    let answer = ask(client, 4, request).await;
    assert_eq!(answer.error_code, 0);
    (answer.producer_id, answer.producer_epoch)
}

async fn commit_in_txn(
    client: &mut Client,
    version: i16,
    (producer_id, producer_epoch): (i64, i16),
    offset: i64,
) -> i16 {
    let partition = txn_offset_commit::TxnOffsetCommitRequestPartition {
        committed_offset: offset,
        ..Default::default()
    };
    let request = txn_offset_commit::Request {
        transactional_id: text("x"),
        group_id: text("g"),
        producer_id,
        producer_epoch,
        topics: vec![txn_offset_commit::TxnOffsetCommitRequestTopic {
            name: text("t"),
            partitions: vec![partition],
            ..Default::default()
        }],
        ..Default::default()
    };
    ask(client, version, request).await.topics[0].partitions[0].error_code
}

async fn end(
    client: &mut Client,
    version: i16,
    (producer_id, producer_epoch): (i64, i16),
    committed: bool,
) -> (i64, i16) {
    let request = end_txn::Request {
        transactional_id: text("x"),
        producer_id,
        producer_epoch,
        committed,
        ..Default::default()
    };
    let answer = ask(client, version, request).await;
    assert_eq!(answer.error_code, 0);
    (answer.producer_id, answer.producer_epoch)
}

/// As [`fetched_offset`], once the markers of a transaction that ended are written.
async fn stable_offset(
    client: &mut Client,
    version: i16,
    id: hanbeon_records::TopicId,
) -> (i64, i16) {
    timely(async {
        loop {
            match fetched_offset(client, version, true, id).await {
                (-1, UNSTABLE_OFFSET_COMMIT) => {}
                stable => break stable,
            }
        }
    })
    .await
}

async fn enrol(client: &mut Client, (producer_id, producer_epoch): (i64, i16)) {
    let request = || add_offsets_to_txn::Request {
        transactional_id: text("x"),
        group_id: text("g"),
        producer_id,
        producer_epoch,
        ..Default::default()
    };
    timely(async {
        loop {
            match ask(client, 3, request()).await.error_code {
                0 => break,
                // The markers of the last transaction are on their way.
                code => assert_eq!(code, CONCURRENT_TRANSACTIONS),
            }
        }
    })
    .await;
}

#[tokio::test]
async fn offsets_in_a_transaction_hold_back_who_asks_for_stable_ones() {
    let broker = started().await;
    let id = broker.engine.topic("t").unwrap().id();
    let mut client = broker.client().await;
    assert_eq!(commit(&mut client, 5, vec![named("t", vec![new_offset(0, 1)])]).await, [0]);
    let producer = begun(&mut client).await;
    // Older clients say beforehand that offsets will come.
    for (version, code) in
        [(0, INVALID_TXN_STATE), (3, INVALID_TXN_STATE), (4, TRANSACTION_ABORTABLE)]
    {
        assert_eq!(commit_in_txn(&mut client, version, producer, 9).await, code);
    }
    let mut expected = 1;
    for (version, committed) in [(0, false), (3, true), (4, false), (4, true)] {
        enrol(&mut client, producer).await;
        let offset = expected + 10;
        assert_eq!(commit_in_txn(&mut client, version, producer, offset).await, 0);
        for fetches in [7, 8, 10] {
            let unstable = fetched_offset(&mut client, fetches, true, id).await;
            assert_eq!(unstable, (-1, UNSTABLE_OFFSET_COMMIT));
            assert_eq!(fetched_offset(&mut client, fetches, false, id).await, (expected, 0));
        }
        assert_eq!(fetched_offset(&mut client, 5, false, id).await, (expected, 0));
        end(&mut client, 3, producer, committed).await;
        if committed {
            expected = offset;
        }
        // The answer comes before the markers.
        assert_eq!(stable_offset(&mut client, 7, id).await, (expected, 0));
    }
    let zombie = producer;
    let producer = begun(&mut client).await;
    assert_eq!(producer, (zombie.0, zombie.1 + 1));
    assert_eq!(commit_in_txn(&mut client, 3, zombie, 99).await, INVALID_PRODUCER_EPOCH);
    // Newer ones need not, and have another epoch after each end.
    assert_eq!(commit_in_txn(&mut client, 5, producer, 50).await, 0);
    let unstable = fetched_offset(&mut client, 9, true, id).await;
    assert_eq!(unstable, (-1, UNSTABLE_OFFSET_COMMIT));
    let next = end(&mut client, 5, producer, true).await;
    assert_eq!(next, (producer.0, producer.1 + 1));
    assert_eq!(stable_offset(&mut client, 9, id).await, (50, 0));
    assert_eq!(commit_in_txn(&mut client, 5, producer, 60).await, INVALID_PRODUCER_EPOCH);
    broker.stop().await;
}

#[tokio::test]
async fn bad_requests_are_refused_and_change_nothing() {
    let broker = started().await;
    let mut client = broker.client().await;
    for version in 0..=9 {
        let nameless = join_group::Request { group_id: text(""), ..join(version, "") };
        assert_eq!(ask(&mut client, version, nameless).await.error_code, INVALID_GROUP_ID);
        for session_timeout_ms in [-1, 0, 5_999, 1_800_001, i32::MAX] {
            let hasty = join_group::Request { session_timeout_ms, ..join(version, "") };
            let answer = ask(&mut client, version, hasty).await;
            assert_eq!(answer.error_code, INVALID_SESSION_TIMEOUT);
        }
        let stranger = ask(&mut client, version, join(version, "stranger")).await;
        assert_eq!(stranger.error_code, UNKNOWN_MEMBER_ID);
    }
    // A partition that is not there says so, whatever the coordinator says of the others.
    for (version, code) in [(5, ILLEGAL_GENERATION), (9, GROUP_ID_NOT_FOUND)] {
        let topics = ["nowhere", "t"].map(|name| named(name, vec![new_offset(0, 1)]));
        let late = offset_commit::Request {
            group_id: text("g"),
            generation_id_or_member_epoch: 5,
            topics: topics.into(),
            ..Default::default()
        };
        let answer = ask(&mut client, version, late).await;
        let codes = answer.topics.iter().map(|topic| topic.partitions[0].error_code);
        assert_eq!(codes.collect::<Vec<_>>(), [UNKNOWN_TOPIC_OR_PARTITION, code]);
    }
    let listed = ask(&mut client, 5, list_groups::Request::default()).await;
    assert_eq!(listed.groups, [], "no group came of it");
    // What names no state is the state of nothing.
    assert_eq!(commit(&mut client, 9, vec![named("t", vec![new_offset(0, 1)])]).await, [0]);
    for (state, found) in [("empty", 1), ("nonsense", 0), (&"g".repeat(30_000)[..], 0)] {
        let states_filter = vec![text(state)];
        let filter = list_groups::Request { states_filter, ..Default::default() };
        assert_eq!(ask(&mut client, 5, filter).await.groups.len(), found);
    }
    broker.stop().await;
}

#[tokio::test]
async fn bodies_that_end_early_close_the_connection() {
    let broker = started().await;
    let apis = [8, 9, 11, 12, 13, 14, 15, 28, 42, 47, 68, 69];
    for api in apis {
        let key = ApiKey::from_number(api).expect("an API of groups");
        let version = if api == 68 || api == 69 || api == 47 { 0 } else { 2 };
        let header: &[u8] = if key.is_flexible(version) { &[0] } else { &[] };
        for body in [&b""[..], b"\0", b"\x7f\xff\xff\xff", b"\0\x01g\x7f\xff\xff\xff"] {
            let mut client = broker.client().await;
            client.works().await;
            client.send(api, version, 1, &[header, body].concat()).await;
            eprintln!("{key:?} {version}: {body:?}");
            client.is_closed().await;
        }
    }
    broker.client().await.works().await;
    broker.stop().await;
}

fn consumer(member_epoch: i32) -> consumer_group_heartbeat::Request {
    let mut request = consumer_group_heartbeat::Request {
        group_id: text("g"),
        member_id: text("m"),
        member_epoch,
        rebalance_timeout_ms: -1,
        subscribed_topic_names: None,
        topic_partitions: None,
        ..Default::default()
    };
    if member_epoch == 0 {
        request.rebalance_timeout_ms = 5_000;
        request.subscribed_topic_names = Some(vec![text("t")]);
        request.topic_partitions = Some(vec![]);
    }
    request
}

#[tokio::test]
async fn members_of_the_newer_protocol_are_assigned_by_heartbeats() {
    let broker = started().await;
    let id = uuid(broker.engine.topic("t").unwrap().id());
    let mut client = broker.client().await;
    let stranger = ask(&mut client, 1, consumer(3)).await;
    assert_eq!((stranger.error_code, stranger.member_id), (GROUP_ID_NOT_FOUND, None));
    let welcome = ask(&mut client, 1, consumer(0)).await;
    assert_eq!((welcome.error_code, welcome.heartbeat_interval_ms), (0, 5_000));
    let assigned = welcome.assignment.expect("all of the topic").topic_partitions;
    let [topic] = &assigned[..] else { panic!("one topic: {assigned:?}") };
    assert_eq!((topic.topic_id, &topic.partitions[..]), (id, &[0][..]));
    let mut epoch = welcome.member_epoch;
    let beaten = ask(&mut client, 1, consumer(epoch)).await;
    assert_eq!((beaten.error_code, beaten.member_epoch, beaten.assignment), (0, epoch, None));

    for version in [0, 1] {
        let request =
            consumer_group_describe::Request { group_ids: vec![text("g")], ..Default::default() };
        let answer = ask(&mut client, version, request).await;
        let group = &answer.groups[0];
        assert_eq!((group.error_code, group.group_state.as_str()), (0, "Stable"));
        let member = &group.members[0];
        assert_eq!((member.client_id.as_str(), member.client_host.as_str()), ("t", "/127.0.0.1"));
        assert_eq!(member.assignment.topic_partitions[0].topic_name.as_str(), "t");
        assert_eq!(member.member_type, if version == 0 { -1 } else { 1 });
    }
    let filter =
        list_groups::Request { types_filter: vec![text("Consumer")], ..Default::default() };
    assert_eq!(ask(&mut client, 5, filter).await.groups[0].group_type.as_str(), "consumer");
    // More partitions, and the next heartbeat brings them.
    broker.engine.create_partitions("t", 3, None, Mode::Apply).unwrap();
    let more = timely(async {
        loop {
            let beaten = ask(&mut client, 1, consumer(epoch)).await;
            assert_eq!(beaten.error_code, 0);
            epoch = beaten.member_epoch;
            if let Some(assignment) = beaten.assignment {
                break assignment;
            }
        }
    });
    let more = more.await;
    assert_eq!(more.topic_partitions[0].partitions, [0, 1, 2]);
    assert_eq!(ask(&mut client, 1, consumer(-1)).await.error_code, 0);
    assert_eq!(delete(&mut client, 2).await, 0);

    let off = FeatureUpdate {
        feature: Feature::GroupVersion.name(),
        level: 0,
        change: LevelChange::UnsafeDowngrade,
    };
    broker.engine.update_features(&[off], Mode::Apply).unwrap();
    assert_eq!(ask(&mut client, 1, consumer(0)).await.error_code, UNSUPPORTED_VERSION);
    broker.stop().await;
}

/// Both partitions of `t`, in version 0.
const BOTH: &[u8] = b"\0\0\0\0\0\x01\0\x01t\0\0\0\x02\0\0\0\0\0\0\0\x01\xff\xff\xff\xff";

#[tokio::test]
async fn members_of_both_protocols_share_a_group() {
    let broker = started().await;
    broker.engine.create_partitions("t", 2, None, Mode::Apply).unwrap();
    let mut client = broker.client().await;
    let (id, generation) = joined(&mut client, 5).await;
    let synced = ask(&mut client, 3, sync(&id, generation, &[(&id, BOTH)])).await;
    assert_eq!((synced.error_code, &synced.assignment[..]), (0, BOTH));

    // The classic group goes over, and its member makes room.
    let welcome = ask(&mut client, 1, consumer(0)).await;
    assert_eq!((welcome.error_code, welcome.member_epoch), (0, generation + 1));
    assert!(welcome.assignment.is_some_and(|assigned| assigned.topic_partitions.is_empty()));
    let called = ask(&mut client, 3, beat(&id, generation)).await;
    assert_eq!(called.error_code, REBALANCE_IN_PROGRESS);
    let answer = ask(&mut client, 5, join(5, &id)).await;
    assert_eq!((answer.error_code, answer.generation_id), (0, generation + 1));
    assert!(answer.leader.is_empty() && answer.members.is_empty());
    let synced = ask(&mut client, 3, sync(&id, generation + 1, &[])).await;
    assert_eq!((synced.error_code, synced.assignment.len()), (0, BOTH.len() - 4));
    let beaten = ask(&mut client, 1, consumer(generation + 1)).await;
    assert_eq!(beaten.assignment.unwrap().topic_partitions[0].partitions.len(), 1);

    // The last newer member leaves a classic group.
    assert_eq!(ask(&mut client, 1, consumer(-1)).await.error_code, 0);
    let request = describe_groups::Request { groups: vec![text("g")], ..Default::default() };
    let described = ask(&mut client, 5, request).await;
    assert_eq!(described.groups[0].group_state.as_str(), "PreparingRebalance");
    let answer = ask(&mut client, 5, join(5, &id)).await;
    assert_eq!((answer.error_code, answer.generation_id), (0, generation + 2));
    assert_eq!(answer.leader.as_str(), id);
    broker.stop().await;
}

#[tokio::test]
async fn the_policy_keeps_the_protocols_apart() {
    for (policy, refused) in [
        ("disabled", INCONSISTENT_GROUP_PROTOCOL),
        ("upgrade", MEMBER_ID_REQUIRED),
        ("bidirectional", MEMBER_ID_REQUIRED),
    ] {
        let broker = Running::configured("group.consumer.migration.policy", policy).await;
        broker.topic("t");
        let mut client = broker.client().await;
        assert_eq!(ask(&mut client, 1, consumer(0)).await.error_code, 0);
        let answer = ask(&mut client, 5, join(5, "")).await;
        assert_eq!(answer.error_code, refused, "{policy}");
        broker.stop().await;
    }
}
