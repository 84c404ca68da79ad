//! Bodies that franz-go's encoder wrote, byte for byte.
#![expect(clippy::unwrap_used, reason = "a test that panics has found something")]

use bytes::{Buf, Bytes, BytesMut};
use hanbeon_wire::{
    Advertised, ApiKey, ApiVersionsRequest, Features, FinalizedFeature, ReplyTo, Request,
    ResponseMessage, SupportedFeature,
    messages::{
        Text, add_partitions_to_txn, consumer_group_heartbeat, end_txn, find_coordinator,
        init_producer_id, txn_offset_commit, write_txn_markers,
    },
    write_api_versions,
};

fn unhex(text: &str) -> Bytes {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn asked(api: ApiKey, version: i16, body: &str) -> Request {
    let reply_to = ReplyTo { api, version, correlation_id: 1 };
    Request { reply_to, client_id: None, body: unhex(body) }
}

/// The answer without its length and correlation id, and for flexible headers the tags.
fn body_of(mut frame: BytesMut, header: usize) -> Bytes {
    assert_eq!(usize::try_from(frame.get_i32()).unwrap(), frame.len());
    frame.advance(header);
    frame.freeze()
}

#[test]
fn init_producer_id_requests() {
    let request = asked(ApiKey::InitProducerId, 1, "000474782d31 0000ea60");
    let read: init_producer_id::Request = request.decode().unwrap();
    assert_eq!(read.transactional_id.unwrap().as_str(), "tx-1");
    assert_eq!((read.transaction_timeout_ms, read.producer_id), (60_000, -1));

    let body = "0574782d31 0000ea60 00000000000003e8 0005 00";
    let read: init_producer_id::Request = asked(ApiKey::InitProducerId, 4, body).decode().unwrap();
    assert_eq!(read.transactional_id.unwrap().as_str(), "tx-1");
    assert_eq!((read.producer_id, read.producer_epoch), (1000, 5));
}

/// Writes `response` and holds its body against `expected`.
fn answers<M: ResponseMessage>(version: i16, response: &M, expected: &str) {
    let mut out = BytesMut::new();
    let reply_to = ReplyTo { api: M::API, version, correlation_id: 1 };
    reply_to.write(response, &mut out).unwrap();
    let header = if M::API.is_flexible(version) { 5 } else { 4 };
    assert_eq!(body_of(out, header), unhex(expected), "{} {version}", M::API);
}

fn names(texts: &[Text]) -> Vec<&str> {
    texts.iter().map(Text::as_str).collect()
}

#[test]
fn init_producer_id_responses() {
    let response =
        init_producer_id::Response { producer_id: 1000, producer_epoch: 6, ..Default::default() };
    answers(1, &response, "00000000 0000 00000000000003e8 0006");
    answers(4, &response, "00000000 0000 00000000000003e8 0006 00");
    // KIP-939: the transaction that was kept, or -1.
    let none = "ffffffffffffffff ffff";
    answers(6, &response, &format!("00000000 0000 00000000000003e8 0006 {none} 00"));
}

#[test]
fn init_producer_id_6_asks_for_two_phase_commit() {
    let body = "0574782d31 0000ea60 ffffffffffffffff ffff 01 00 00";
    let read: init_producer_id::Request = asked(ApiKey::InitProducerId, 6, body).decode().unwrap();
    assert_eq!((read.enable2_pc, read.keep_prepared_txn), (true, false));
}

#[test]
fn find_coordinator_requests() {
    let api = ApiKey::FindCoordinator;
    let read: find_coordinator::Request = asked(api, 2, "000474782d31 01").decode().unwrap();
    assert_eq!((read.key.as_str(), read.key_type), ("tx-1", 1));
    let read: find_coordinator::Request = asked(api, 4, "01 02 0574782d31 00").decode().unwrap();
    assert_eq!((names(&read.coordinator_keys), read.key_type), (vec!["tx-1"], 1));
    // Version 0 asks for groups alone and says no type.
    let read: find_coordinator::Request = asked(api, 0, "000167").decode().unwrap();
    assert_eq!((read.key.as_str(), read.key_type), ("g", 0));
}

#[test]
fn add_partitions_to_txn_requests() {
    let api = ApiKey::AddPartitionsToTxn;
    let body = "000474782d31 00000000000003e8 0005 00000001 000174 00000002 00000000 00000003";
    let read: add_partitions_to_txn::Request = asked(api, 0, body).decode().unwrap();
    assert_eq!(read.v3_and_below_transactional_id.as_str(), "tx-1");
    let producer = (read.v3_and_below_producer_id, read.v3_and_below_producer_epoch);
    assert_eq!(producer, (1000, 5));
    let topic = &read.v3_and_below_topics[0];
    assert_eq!((topic.name.as_str(), &topic.partitions[..]), ("t", &[0, 3][..]));

    let body = "02 0574782d31 00000000000003e8 0005 01 02 0274 02 00000000 00 00 00";
    let read: add_partitions_to_txn::Request = asked(api, 5, body).decode().unwrap();
    let [transaction] = &read.transactions[..] else { panic!("{read:?}") };
    assert_eq!(transaction.transactional_id.as_str(), "tx-1");
    assert_eq!((transaction.producer_id, transaction.producer_epoch), (1000, 5));
    assert!(transaction.verify_only);
    assert_eq!(transaction.topics[0].partitions, [0]);
}

#[test]
fn end_txn_messages() {
    for (version, body) in [
        (1, "000474782d31 00000000000003e8 0005 01"),
        (5, "0574782d31 00000000000003e8 0005 01 00"),
    ] {
        let read: end_txn::Request = asked(ApiKey::EndTxn, version, body).decode().unwrap();
        assert_eq!(read.transactional_id.as_str(), "tx-1");
        assert_eq!((read.producer_id, read.producer_epoch, read.committed), (1000, 5, true));
    }
    // One response for all versions: the next epoch goes out from version 5 on.
    let response = end_txn::Response { producer_id: 1000, producer_epoch: 6, ..Default::default() };
    answers(1, &response, "00000000 0000");
    answers(5, &response, "00000000 0000 00000000000003e8 0006 00");
}

#[test]
fn txn_offset_commit_requests() {
    let api = ApiKey::TxnOffsetCommit;
    let body = "000474782d31 000167 00000000000003e8 0005
        00000001 000174 00000001 00000000 000000000000002a ffff";
    let read: txn_offset_commit::Request = asked(api, 1, body).decode().unwrap();
    assert_eq!((read.transactional_id.as_str(), read.group_id.as_str()), ("tx-1", "g"));
    assert_eq!((read.generation_id, read.member_id.as_str()), (-1, ""));
    let partition = &read.topics[0].partitions[0];
    assert_eq!((partition.committed_offset, partition.committed_leader_epoch), (42, -1));
    assert_eq!(partition.committed_metadata, None);

    let body = "0574782d31 0267 00000000000003e8 0005 00000003 026d 00
        02 0274 02 00000000 000000000000002a 00000009 00 00 00 00";
    let read: txn_offset_commit::Request = asked(api, 3, body).decode().unwrap();
    assert_eq!((read.producer_id, read.producer_epoch), (1000, 5));
    assert_eq!((read.generation_id, read.member_id.as_str()), (3, "m"));
    assert_eq!(read.group_instance_id, None);
    let partition = &read.topics[0].partitions[0];
    assert_eq!((partition.committed_offset, partition.committed_leader_epoch), (42, 9));
}

#[test]
fn write_txn_markers_requests() {
    let start = "02 00000000000003e8 0006 01 02 0274 03 00000000 00000003 00 00000007";
    for (version, end, transaction_version) in [(1, "00 00", 0), (2, "02 00 00", 2)] {
        let request = asked(ApiKey::WriteTxnMarkers, version, &format!("{start} {end}"));
        let read: write_txn_markers::Request = request.decode().unwrap();
        let [marker] = &read.markers[..] else { panic!("{read:?}") };
        assert_eq!((marker.producer_id, marker.producer_epoch), (1000, 6));
        assert!(marker.transaction_result);
        assert_eq!(marker.topics[0].partition_indexes, [0, 3]);
        assert_eq!(marker.coordinator_epoch, 7);
        assert_eq!(marker.transaction_version, transaction_version);
    }
}

#[test]
fn consumer_group_heartbeat_requests() {
    let body = "0267 026d 00000000 00 00 000493e0 02 0274 00 00 01 00";
    let request = asked(ApiKey::ConsumerGroupHeartbeat, 1, body);
    let read: consumer_group_heartbeat::Request = request.decode().unwrap();
    assert_eq!((read.group_id.as_str(), read.member_id.as_str()), ("g", "m"));
    assert_eq!((read.member_epoch, read.rebalance_timeout_ms), (0, 300_000));
    assert_eq!(read.subscribed_topic_names.as_deref().map(names), Some(vec!["t"]));
    assert_eq!(read.subscribed_topic_regex, None);
    // Owning nothing is not the same as saying nothing.
    assert_eq!(read.topic_partitions, Some(vec![]));
}

#[test]
fn api_versions_of_an_unknown_version_is_answered_in_version_0() {
    for version in [-1, 5, 99] {
        let request = asked(ApiKey::ApiVersions, version, "");
        let read = ApiVersionsRequest::read(&request).unwrap();
        assert_eq!(read, ApiVersionsRequest::UnknownVersion);
        let mut out = BytesMut::new();
        let advertised = Advertised::everything_readable();
        write_api_versions(&mut out, request.reply_to, &read, &advertised, &Features::NONE)
            .unwrap();
        assert_eq!(body_of(out, 4), unhex("0023 00000001 0012 0000 0004"));
    }
}

#[test]
fn api_versions_4_with_features() {
    let features = Features {
        supported: &[SupportedFeature { name: "transaction.version", min: 0, max: 2 }],
        epoch: 11,
        finalized: &[FinalizedFeature { name: "transaction.version", level: 2 }],
    };
    let request = asked(ApiKey::ApiVersions, 4, "0a 6c69622d7275737479 02 31 00");
    let advertised = Advertised::new(&[ApiKey::ApiVersions]);
    let mut out = BytesMut::new();
    let read = ApiVersionsRequest::read(&request).unwrap();
    write_api_versions(&mut out, request.reply_to, &read, &advertised, &features).unwrap();
    // The response header has no tags, whatever the version.
    let expected = "0000 02 0012 0000 0004 00 00000000 03
        00 1a 02 14 7472616e73616374696f6e2e76657273696f6e 0000 0002 00
        01 08 000000000000000b
        02 1a 02 14 7472616e73616374696f6e2e76657273696f6e 0002 0002 00";
    assert_eq!(body_of(out, 4), unhex(expected));

    // Before version 4 a feature that starts at 0 is left out (KAFKA-17492); features at level 0 always are.
    let off = Features { finalized: &[FinalizedFeature { name: "x", level: 0 }], ..features };
    let reply_to = ReplyTo { version: 3, ..request.reply_to };
    let mut out = BytesMut::new();
    write_api_versions(&mut out, reply_to, &read, &advertised, &off).unwrap();
    let expected = "0000 02 0012 0000 0004 00 00000000 01 01 08 000000000000000b";
    assert_eq!(body_of(out, 4), unhex(expected));
}

#[test]
fn api_versions_refuses_odd_names_and_says_so() {
    for body in [
        "05 2d616263 02 31 00", // -abc
        "05 6162632e 02 31 00", // abc.
        "01 02 31 00",          // empty
        "03 ff61 02 31 00",     // no UTF-8
        "04 612062 02 31 00",   // a b
        "04 616263 01 00",      // empty version
    ] {
        let request = asked(ApiKey::ApiVersions, 3, body);
        let read = ApiVersionsRequest::read(&request).unwrap();
        assert_eq!(read, ApiVersionsRequest::InvalidSoftware, "{body}");
        let mut out = BytesMut::new();
        let advertised = Advertised::everything_readable();
        write_api_versions(&mut out, request.reply_to, &read, &advertised, &Features::NONE)
            .unwrap();
        assert_eq!(body_of(out, 4), unhex("002a 01 00000000 00"), "{body}");
    }
    assert!(ApiVersionsRequest::read(&asked(ApiKey::ApiVersions, 3, "00 02 31 00")).is_err());
    let plain = asked(ApiKey::ApiVersions, 0, "");
    let read = ApiVersionsRequest::read(&plain).unwrap();
    assert_eq!(read, ApiVersionsRequest::List { software: None });
}

#[test]
fn the_list_is_the_one_of_kafka_4_3() {
    let advertised = Advertised::everything_readable();
    let list: Vec<_> =
        advertised.ranges().iter().map(|&(api, v)| (api.number(), v.min, v.max)).collect();
    let expected = [
        (0, 0, 13),
        (1, 4, 18),
        (2, 1, 11),
        (3, 0, 13),
        (8, 2, 10),
        (9, 1, 10),
        (10, 0, 6),
        (11, 0, 9),
        (12, 0, 4),
        (13, 0, 5),
        (14, 0, 5),
        (15, 0, 6),
        (16, 0, 5),
        (17, 0, 1),
        (18, 0, 4),
        (19, 2, 7),
        (20, 1, 6),
        (21, 0, 2),
        (22, 0, 5),
        (23, 2, 4),
        (24, 0, 5),
        (25, 0, 4),
        (26, 0, 5),
        (27, 1, 2),
        (28, 0, 5),
        (32, 1, 4),
        (33, 0, 2),
        (35, 1, 5),
        (37, 0, 3),
        (42, 0, 2),
        (43, 0, 2),
        (44, 0, 1),
        (47, 0, 0),
        (57, 0, 2),
        (60, 0, 2),
        (61, 0, 0),
        (65, 0, 0),
        (66, 0, 2),
        (68, 0, 1),
        (69, 0, 1),
        (74, 0, 1),
        (75, 0, 0),
    ];
    assert_eq!(list, expected);
}
