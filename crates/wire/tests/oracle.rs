//! Produce and Fetch, written and read by hand, against another implementation: every version, both directions, every field set.
#![expect(clippy::unwrap_used, reason = "a test that panics has found something")]

use bytes::{Buf, Bytes, BytesMut};
use hanbeon_records::{ErrorCode, LeaderEpoch, Millis, NodeId, Offset, ProducerId, TopicId};
use hanbeon_wire::{
    AbortedTransaction, Acks, Advertised, Answer, ApiKey, BadRecord, CurrentLeader, Diverging,
    FetchHead, FetchRequest, FetchResult, FetchWriter, Fetcher, IsolationLevel, NodeEndpoint,
    ProduceRequest, ProduceResult, ProduceWriter, ReplyTo, Request, TopicRef,
};
use kafka_protocol::{
    messages::{
        FetchRequest as OracleFetch, FetchResponse, ProduceRequest as OracleProduce,
        ProduceResponse, RequestHeader, ResponseHeader,
        fetch_request::{FetchPartition, FetchTopic, ForgottenTopic, ReplicaState},
        produce_request::{PartitionProduceData, TopicProduceData},
    },
    protocol::{Decodable, Encodable, StrBytes},
};

const ID: [u8; 16] = *b"0123456789abcdef";
const ID_TEXT: &str = "30313233-3435-3637-3839-616263646566";

fn request<M: Encodable>(api: ApiKey, version: i16, body: &M) -> Request {
    let mut frame = BytesMut::new();
    let header = RequestHeader::default()
        .with_request_api_key(api.number())
        .with_request_api_version(version)
        .with_correlation_id(77)
        .with_client_id(Some(StrBytes::from_static_str("oracle")));
    header.encode(&mut frame, if api.is_flexible(version) { 2 } else { 1 }).unwrap();
    body.encode(&mut frame, version).unwrap();
    frame.extend_from_slice(b"bytes after the body");
    let request = Request::read(frame.freeze(), &Advertised::everything_readable()).unwrap();
    assert_eq!(request.reply_to, ReplyTo { api, version, correlation_id: 77 });
    assert_eq!(request.client_id.as_ref().unwrap().as_bytes(), b"oracle");
    request
}

fn response<M: Decodable>(mut answer: Answer, reply_to: ReplyTo) -> M {
    let mut bytes = answer.copy_to_bytes(answer.remaining());
    assert_eq!(usize::try_from(bytes.get_i32()).unwrap(), bytes.len());
    let header = ResponseHeader::decode(&mut bytes, i16::from(reply_to.is_flexible())).unwrap();
    assert_eq!(header.correlation_id, reply_to.correlation_id);
    let body = M::decode(&mut bytes, reply_to.version).unwrap();
    assert_eq!(bytes.len(), 0, "bytes after the body");
    body
}

fn topic_of(version: i16) -> TopicRef<'static> {
    if version >= 13 { TopicRef::Id(TopicId::new(ID)) } else { TopicRef::Name("orders") }
}

#[test]
fn produce_requests_of_every_version() {
    for version in 3..=13 {
        let topic = |index| {
            let partition = |add| {
                let records = (add == 0).then(|| Bytes::from_static(b"a record set"));
                PartitionProduceData::default().with_index(index + add).with_records(records)
            };
            let topic =
                TopicProduceData::default().with_partition_data(vec![partition(0), partition(1)]);
            if version >= 13 {
                topic.with_topic_id(ID_TEXT.parse().unwrap())
            } else {
                topic.with_name(StrBytes::from_static_str("orders").into())
            }
        };
        let body = OracleProduce::default()
            .with_transactional_id(Some(StrBytes::from_static_str("tx-1").into()))
            .with_acks(-1)
            .with_timeout_ms(1234)
            .with_topic_data(vec![topic(3), topic(8)]);
        let request = request(ApiKey::Produce, version, &body);
        let read = ProduceRequest::read(&request).unwrap();
        assert_eq!(read.transactional_id, Some("tx-1"));
        assert_eq!((read.acks, read.timeout_ms), (Acks::All, 1234));
        assert_eq!(read.topic_count(), 2);
        for (topic, first) in read.topics().zip([3, 8]) {
            assert_eq!(topic.topic, topic_of(version), "version {version}");
            assert_eq!(topic.partition_count(), 2);
            let partitions: Vec<_> = topic.partitions().collect();
            assert_eq!(partitions[0].index, first);
            assert_eq!(partitions[1].index, first + 1);
            let records = partitions[0].records.as_ref().unwrap();
            assert_eq!(&records[..], b"a record set");
            assert!(request.body.as_ptr_range().contains(&records.as_ptr()), "copied");
            assert_eq!(partitions[1].records, None);
        }
        assert_eq!(read.topics().count(), 2);
    }
}

const ENDPOINTS: &[NodeEndpoint<'static>] = &[
    NodeEndpoint { node: NodeId::new(4), host: "four.example", port: 9094, rack: Some("r4") },
    NodeEndpoint { node: NodeId::new(5), host: "five.example", port: 65535, rack: None },
];

#[test]
fn produce_responses_of_every_version() {
    let bad =
        [BadRecord { index: 6, message: Some("no key") }, BadRecord { index: 7, message: None }];
    for version in 3..=13 {
        let reply_to = ReplyTo { api: ApiKey::Produce, version, correlation_id: -9 };
        let mut scratch = BytesMut::new();
        let mut writer = ProduceWriter::begin(&mut scratch, reply_to, 2).unwrap();
        let written = ProduceResult {
            log_append_time: Millis::new(99),
            ..ProduceResult::written(1, Offset::new(500), Offset::new(20))
        };
        writer.topic(topic_of(version), 2).unwrap();
        writer.partition(&written).unwrap();
        let refused = ProduceResult {
            bad_records: &bad,
            current_leader: Some(CurrentLeader {
                leader: NodeId::new(4),
                epoch: LeaderEpoch::new(8),
            }),
            ..ProduceResult::refused(2, ErrorCode::InvalidRecord, Some("compacted"))
        };
        writer.partition(&refused).unwrap();
        writer.topic(topic_of(version), 0).unwrap();
        let answer = writer.finish(55, if version == 11 { &[] } else { ENDPOINTS }).unwrap();
        let read: ProduceResponse = response(answer, reply_to);
        assert_eq!((read.throttle_time_ms, read.responses.len()), (55, 2));
        let topic = &read.responses[0];
        if version >= 13 {
            assert_eq!(topic.topic_id.to_string(), ID_TEXT);
        } else {
            assert_eq!(&*topic.name.0, "orders");
        }
        let [first, second] = &topic.partition_responses[..] else { panic!("{topic:?}") };
        assert_eq!((first.index, first.error_code, first.base_offset), (1, 0, 500));
        assert_eq!(first.log_append_time_ms, 99);
        assert_eq!(first.log_start_offset, if version >= 5 { 20 } else { -1 });
        assert_eq!((second.index, second.error_code, second.base_offset), (2, 87, -1));
        if version >= 8 {
            assert_eq!(second.error_message.as_deref(), Some("compacted"));
            let errors: Vec<_> = second
                .record_errors
                .iter()
                .map(|error| (error.batch_index, error.batch_index_error_message.as_deref()))
                .collect();
            assert_eq!(errors, [(6, Some("no key")), (7, None)]);
        }
        let leader = (second.current_leader.leader_id.0, second.current_leader.leader_epoch);
        assert_eq!(leader, if version >= 10 { (4, 8) } else { (-1, -1) });
        assert_eq!(read.node_endpoints.len(), if version < 10 || version == 11 { 0 } else { 2 });
        if let [four, five] = &read.node_endpoints[..] {
            assert_eq!((four.node_id.0, &*four.host, four.port), (4, "four.example", 9094));
            assert_eq!((four.rack.as_deref(), five.rack.as_deref()), (Some("r4"), None));
            assert_eq!(five.port, 65535);
        }
    }
}

fn oracle_fetch(version: i16) -> OracleFetch {
    let partition = |index| {
        let mut partition = FetchPartition::default()
            .with_partition(index)
            .with_fetch_offset(1000)
            .with_partition_max_bytes(4096);
        partition.current_leader_epoch = if version >= 9 { 7 } else { -1 };
        partition.last_fetched_epoch = if version >= 12 { 6 } else { -1 };
        partition.log_start_offset = if version >= 5 { 11 } else { -1 };
        if version >= 17 {
            partition.replica_directory_id = ID_TEXT.parse().unwrap();
        }
        if version >= 18 {
            partition.high_watermark = 444;
        }
        partition
    };
    let (mut topic, mut forgotten) = (FetchTopic::default(), ForgottenTopic::default());
    if version >= 13 {
        topic.topic_id = ID_TEXT.parse().unwrap();
        forgotten.topic_id = ID_TEXT.parse().unwrap();
    } else {
        topic.topic = StrBytes::from_static_str("orders").into();
        forgotten.topic = StrBytes::from_static_str("orders").into();
    }
    topic.partitions = vec![partition(0), partition(9)];
    forgotten.partitions = vec![5, 6];
    let mut body = OracleFetch::default()
        .with_max_wait_ms(500)
        .with_min_bytes(2)
        .with_max_bytes(3_000_000)
        .with_isolation_level(1)
        .with_topics(vec![topic.clone(), topic]);
    if version >= 7 {
        body = body
            .with_session_id(31)
            .with_session_epoch(32)
            .with_forgotten_topics_data(vec![forgotten]);
    }
    if version >= 11 {
        body.rack_id = StrBytes::from_static_str("rack-b");
    }
    if version >= 12 {
        body.cluster_id = Some(StrBytes::from_static_str("cluster"));
    }
    if version >= 15 {
        body.replica_state =
            ReplicaState::default().with_replica_id(2.into()).with_replica_epoch(88);
    } else {
        body.replica_id = 2.into();
    }
    body
}

#[test]
fn fetch_requests_of_every_version() {
    for version in 4..=18 {
        let request = request(ApiKey::Fetch, version, &oracle_fetch(version));
        let read = FetchRequest::read(&request).unwrap();
        let epoch = if version >= 15 { 88 } else { -1 };
        assert_eq!(read.fetcher, Fetcher::Replica { id: NodeId::new(2), epoch });
        assert_eq!((read.max_wait_ms, read.min_bytes, read.max_bytes), (500, 2, 3_000_000));
        assert_eq!(read.isolation, IsolationLevel::ReadCommitted);
        let session = (read.session_id, read.session_epoch);
        assert_eq!(session, if version >= 7 { (31, 32) } else { (0, -1) });
        assert_eq!(read.rack_id, if version >= 11 { "rack-b" } else { "" });
        assert_eq!(read.cluster_id, (version >= 12).then_some("cluster"));
        assert_eq!((read.topic_count(), read.topics().count()), (2, 2));
        for topic in read.topics() {
            assert_eq!((topic.topic, topic.partition_count()), (topic_of(version), 2));
            for (partition, index) in topic.partitions().zip([0, 9]) {
                assert_eq!(partition.index, index);
                let known = |since: i16, value: i32| if version >= since { value } else { -1 };
                assert_eq!(partition.current_leader_epoch.get(), known(9, 7));
                assert_eq!(partition.last_fetched_epoch.get(), known(12, 6));
                assert_eq!(partition.log_start_offset.get(), i64::from(known(5, 11)));
                assert_eq!((partition.fetch_offset.get(), partition.max_bytes), (1000, 4096));
                assert_eq!(partition.directory_id, if version >= 17 { ID } else { [0; 16] });
                let high_watermark = (version >= 18).then_some(Offset::new(444));
                assert_eq!(partition.high_watermark, high_watermark);
            }
        }
        let forgotten: Vec<_> = read.forgotten().collect();
        assert_eq!(forgotten.len(), usize::from(version >= 7));
        for topic in forgotten {
            assert_eq!(topic.topic, topic_of(version));
            assert_eq!(topic.partitions().collect::<Vec<_>>(), [5, 6]);
        }
    }
}

#[test]
fn fetch_responses_of_every_version() {
    let aborted = [
        AbortedTransaction { producer_id: ProducerId::new(70), first_offset: Offset::new(71) },
        AbortedTransaction { producer_id: ProducerId::new(72), first_offset: Offset::new(73) },
    ];
    let records = Bytes::from(vec![7; 10_000]);
    for version in 4..=18 {
        let reply_to = ReplyTo { api: ApiKey::Fetch, version, correlation_id: 5 };
        let head =
            FetchHead { throttle_ms: 12, error: ErrorCode::FetchSessionIdNotFound, session_id: 41 };
        let full = FetchResult {
            index: 3,
            error: ErrorCode::None,
            high_watermark: Offset::new(100),
            last_stable_offset: Offset::new(90),
            log_start_offset: Offset::new(10),
            aborted: Some(&aborted),
            preferred_read_replica: NodeId::new(6),
            diverging: Some(Diverging { epoch: LeaderEpoch::new(2), end_offset: Offset::new(55) }),
            current_leader: Some(CurrentLeader {
                leader: NodeId::new(4),
                epoch: LeaderEpoch::new(8),
            }),
        };
        let refused = FetchResult::refused(4, ErrorCode::NotLeaderOrFollower);
        let mut scratch = BytesMut::new();
        let mut writer = FetchWriter::begin(&mut scratch, reply_to, head, 2).unwrap();
        writer.topic(topic_of(version), 2).unwrap();
        writer.partition(&full, records.clone()).unwrap();
        writer.partition(&refused, Bytes::new()).unwrap();
        writer.topic(topic_of(version), 1).unwrap();
        writer.partition(&FetchResult { index: 5, ..full }, records.slice(1..4)).unwrap();
        let answer = writer.finish(ENDPOINTS).unwrap();
        let shared = answer.pieces().filter(|piece| piece.as_ptr() == records.as_ptr()).count();
        assert_eq!(shared, 1, "the records were copied");
        let read: FetchResponse = response(answer, reply_to);
        assert_eq!((read.throttle_time_ms, read.responses.len()), (12, 2));
        let session = (read.error_code, read.session_id);
        assert_eq!(session, if version >= 7 { (70, 41) } else { (0, 0) });
        let topic = &read.responses[0];
        if version >= 13 {
            assert_eq!(topic.topic_id.to_string(), ID_TEXT);
        } else {
            assert_eq!(&*topic.topic.0, "orders");
        }
        let [first, second] = &topic.partitions[..] else { panic!("{topic:?}") };
        assert_eq!((first.partition_index, first.error_code), (3, 0));
        assert_eq!((first.high_watermark, first.last_stable_offset), (100, 90));
        assert_eq!(first.log_start_offset, if version >= 5 { 10 } else { -1 });
        let listed: Vec<_> = first
            .aborted_transactions
            .iter()
            .flatten()
            .map(|txn| (txn.producer_id.0, txn.first_offset))
            .collect();
        assert_eq!(listed, [(70, 71), (72, 73)]);
        assert_eq!(first.preferred_read_replica.0, if version >= 11 { 6 } else { -1 });
        assert_eq!(first.records.as_ref(), Some(&records));
        let diverging = (first.diverging_epoch.epoch, first.diverging_epoch.end_offset);
        let leader = (first.current_leader.leader_id.0, first.current_leader.leader_epoch);
        let tagged = if version >= 12 { ((2, 55), (4, 8)) } else { ((-1, -1), (-1, -1)) };
        assert_eq!((diverging, leader), tagged);
        assert_eq!((second.error_code, second.high_watermark), (6, -1));
        assert_eq!(second.aborted_transactions, None);
        assert_eq!(second.records, Some(Bytes::new()));
        let last = &read.responses[1].partitions[0];
        assert_eq!(last.records.as_deref(), Some(&[7, 7, 7][..]));
        assert_eq!(read.node_endpoints.len(), if version >= 16 { 2 } else { 0 });
    }
}

#[test]
fn an_answer_that_lacks_what_it_announced_is_not_sent() {
    let reply_to = ReplyTo { api: ApiKey::Produce, version: 9, correlation_id: 1 };
    let mut scratch = BytesMut::new();
    let writer = ProduceWriter::begin(&mut scratch, reply_to, 1).unwrap();
    assert!(writer.finish(0, &[]).is_err());
    scratch.clear();
    let mut writer = ProduceWriter::begin(&mut scratch, reply_to, 1).unwrap();
    writer.topic(TopicRef::Name("a"), 0).unwrap();
    let one = ProduceResult::refused(0, ErrorCode::InvalidRecord, None);
    assert!(writer.partition(&one).is_err());
    assert!(writer.topic(TopicRef::Id(TopicId::new(ID)), 0).is_err());
}
