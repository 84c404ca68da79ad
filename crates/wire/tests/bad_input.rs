//! Bad input, row by row of what Kafka 4.3.1 was seen to do: close this connection, or take it.
#![expect(clippy::unwrap_used, reason = "a test that panics has found something")]

use bytes::{BufMut, Bytes, BytesMut};
use hanbeon_wire::{
    Advertised, Answer, ApiKey, Connection, FetchRequest, IN_FLIGHT_MAX, Next, ProduceRequest,
    ReplyTo, Request, Standing, WireError,
    messages::{create_topics, describe_topic_partitions, list_offsets, metadata},
};

fn frame(key: i16, version: i16, rest: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_i16(key);
    frame.put_i16(version);
    frame.put_i32(1);
    frame.put_slice(rest);
    frame.freeze()
}

fn header(key: i16, version: i16, rest: &[u8]) -> Result<Request, WireError> {
    Request::read(frame(key, version, rest), &Advertised::everything_readable())
}

fn body(api: ApiKey, version: i16, body: &[u8]) -> Request {
    let reply_to = ReplyTo { api, version, correlation_id: 1 };
    Request { reply_to, client_id: None, body: Bytes::copy_from_slice(body) }
}

const NO_CLIENT: &[u8] = &[0xff, 0xff];

#[test]
fn lengths_that_are_none_close() {
    for length in [-1, 0, i32::MIN, 104_857_601, i32::MAX] {
        let mut connection = Connection::new(Standing::Trusted);
        connection.push(&length.to_be_bytes());
        let next = connection.next_request(&Advertised::everything_readable());
        assert!(matches!(next, Err(WireError::FrameLength { .. })), "{length}: {next:?}");
    }
}

#[test]
fn t_a2_before_authentication_frames_are_small_and_few_apis_are_taken() {
    let advertised = Advertised::everything_readable();
    let mut connection = Connection::new(Standing::Unproven);
    connection.push(&65_537_i32.to_be_bytes());
    let next = connection.next_request(&advertised);
    assert!(matches!(next, Err(WireError::FrameLength { max: 65_536, .. })), "{next:?}");
    let send = |key, rest: &[u8]| {
        let mut connection = Connection::new(Standing::Unproven);
        let frame = frame(key, 0, rest);
        connection.push(&u32::try_from(frame.len()).unwrap().to_be_bytes());
        connection.push(&frame);
        connection.next_request(&advertised)
    };
    assert!(matches!(send(18, NO_CLIENT), Ok(Next::Request(..))));
    let refused = send(3, &[0xff, 0xff, 0, 0, 0, 0]);
    assert!(matches!(refused, Err(WireError::NotAuthenticated { api: ApiKey::Metadata })));
}

#[test]
fn a_frame_that_is_not_complete_yet_waits() {
    let advertised = Advertised::everything_readable();
    let mut connection = Connection::new(Standing::Trusted);
    let whole = [&[0, 0, 0, 14][..], &frame(3, 1, &[0xff, 0xff, 0, 0, 0, 0])].concat();
    for byte in &whole[..whole.len() - 1] {
        connection.push(&[*byte]);
        assert!(matches!(connection.next_request(&advertised), Ok(Next::NeedBytes)));
    }
    connection.push(&whole[whole.len() - 1..]);
    assert!(matches!(connection.next_request(&advertised), Ok(Next::Request(..))));
}

#[test]
fn unknown_keys_and_the_controllers_close() {
    let controllers = [4, 5, 6, 7, 52, 53, 54, 56, 58, 59, 62, 63, 67];
    for key in controllers.into_iter().chain([-1, 64, 93, 1000, i16::MAX, i16::MIN]) {
        let refused = header(key, 0, NO_CLIENT).unwrap_err();
        assert_eq!(refused, WireError::UnknownApi { key });
    }
    // Known to the protocol, but not advertised.
    let few = Advertised::new(&[ApiKey::Metadata, ApiKey::DescribeAcls]);
    assert_eq!(few.versions(ApiKey::DescribeAcls), None);
    let refused = Request::read(frame(0, 9, NO_CLIENT), &few).unwrap_err();
    assert_eq!(refused, WireError::UnknownApi { key: 0 });
}

#[test]
fn unsupported_versions_close_but_for_api_versions() {
    let advertised = Advertised::everything_readable();
    for &(api, versions) in advertised.ranges() {
        for version in [versions.min - 1, versions.max + 1, i16::MIN, i16::MAX] {
            let read = header(api.number(), version, NO_CLIENT);
            if api == ApiKey::ApiVersions {
                assert_eq!(read.unwrap().reply_to.version, version);
            } else {
                let refused = matches!(read, Err(WireError::UnsupportedVersion { .. }));
                assert!(refused, "{api} {version}");
            }
        }
    }
    // Advertised for the sake of old librdkafka, refused all the same (KAFKA-18659).
    for version in 0..3 {
        let read = header(0, version, NO_CLIENT);
        assert!(matches!(read, Err(WireError::UnsupportedVersion { .. })), "{version}");
    }
}

/// KIP-939, as 4.3.1 does it: version 6 closes the connection unless `unstable.api.versions.enable` is set.
#[test]
fn unstable_versions_close_unless_they_are_asked_for() {
    let stable = Advertised::new(&[ApiKey::InitProducerId, ApiKey::Produce]);
    let sent = frame(22, 6, &[0xff, 0xff, 0, 0, 0, 0, 0, 0]);
    let refused = Request::read(sent.clone(), &stable).unwrap_err();
    let said = "InitProducerId is served in versions 0 to 5, found version 6";
    assert!(refused.to_string().starts_with(said), "{refused}");
    let unstable = stable.with_unstable_versions();
    assert_eq!(Request::read(sent, &unstable).unwrap().reply_to.version, 6);
    let refused = Request::read(frame(22, 7, NO_CLIENT), &unstable).unwrap_err();
    assert!(matches!(refused, WireError::UnsupportedVersion { found: 7, .. }), "{refused}");
    // Produce keeps its advertised start, which is not what is served.
    let ranges: Vec<_> = unstable.ranges().iter().map(|&(_, v)| (v.min, v.max)).collect();
    assert_eq!(ranges, [(0, 13), (0, 6)]);
}

#[test]
fn truncated_headers_close() {
    let whole = frame(3, 12, &[0, 2, b'm', b'e', 1, 9, 2, 7, 7]);
    for length in 0..whole.len() {
        let read = Request::read(whole.slice(..length), &Advertised::everything_readable());
        assert!(matches!(read, Err(WireError::Truncated { .. })), "{length}: {read:?}");
    }
    assert!(Request::read(whole, &Advertised::everything_readable()).is_ok());
}

#[test]
fn client_ids_may_be_null_empty_or_no_text() {
    for (bytes, expected) in [
        (&[0xff, 0xff][..], None),
        (&[0, 0], Some(&[][..])),
        (&[0, 2, 0xc3, 0x28], Some(&[0xc3, 0x28])),
    ] {
        let read = header(18, 0, bytes).unwrap();
        assert_eq!(read.client_id.as_ref().map(|id| id.as_bytes()), expected);
    }
}

#[test]
fn t_a3_headers_and_client_ids_are_bounded() {
    let mut rest = vec![0x04, 0x01];
    rest.resize(2 + 1025, b'x');
    let refused = header(18, 0, &rest).unwrap_err();
    assert_eq!(refused, WireError::ClientIdTooLong { found: 1025, max: 1024 });
    // One tag of 9,000 bytes.
    let mut rest = vec![0xff, 0xff, 1, 5, 0xa8, 0x46];
    rest.resize(6 + 9000, 0);
    assert_eq!(header(3, 12, &rest).unwrap_err(), WireError::HeaderTooLong { max: 8192 });
    // CVE-2026-111115: two bytes for each unknown tag, by the million.
    let mut rest = vec![0xff, 0xff, 0xff, 0xff, 0xff, 0x07];
    rest.resize(6_000_000, 0);
    assert!(matches!(header(3, 12, &rest), Err(WireError::TooManyTags { .. })));
}

#[test]
fn unknown_tags_and_trailing_bytes_are_taken() {
    // Twice the same tag, then a falling one, in the header ...
    let tags = [3, 9, 1, 0xaa, 9, 0, 2, 2, 0xbb, 0xbb];
    let rest = [&[0xff, 0xff][..], &tags, &[1], &[1, 0, 0], &tags, b"more"].concat();
    let read = header(3, 12, &rest).unwrap();
    assert_eq!(read.body.len(), 4 + tags.len() + 4);
    // ... and in the body.
    let read: metadata::Request = read.decode().unwrap();
    assert_eq!(read.topics, Some(vec![]));
    assert!(read._unknown_tagged_fields.is_empty());
}

#[test]
fn truncated_bodies_close() {
    let whole = [2, 2, b't', 2, 0, 0, 0, 5, 9, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0];
    let produce = [&[0, 0, 1, 0, 0, 0, 9][..], &whole].concat();
    for length in 0..produce.len() {
        let request = body(ApiKey::Produce, 9, &produce[..length]);
        assert!(ProduceRequest::read(&request).is_err(), "{length}");
    }
    ProduceRequest::read(&body(ApiKey::Produce, 9, &produce)).unwrap();

    let create = [2, 2, b't', 0, 0, 0, 1, 0, 1, 1, 2, 2, b'k', 2, b'v', 0, 0, 0, 0, 0, 9, 0, 0];
    for length in 0..create.len() {
        let request = body(ApiKey::CreateTopics, 7, &create[..length]);
        assert!(request.decode::<create_topics::Request>().is_err(), "{length}");
    }
    let request = body(ApiKey::CreateTopics, 7, &create);
    let read: create_topics::Request = request.decode().unwrap();
    assert_eq!(read.topics[0].configs[0].value.as_ref().unwrap().as_str(), "v");
}

#[test]
fn null_where_none_may_be_closes() {
    let refused = |api, version, bytes: &[u8]| body(api, version, bytes).check();
    let null = Err(WireError::UnexpectedNull);
    // The name of a topic, the topics, the partitions.
    let start = [0, 0, 1, 0, 0, 0, 9];
    assert_eq!(refused(ApiKey::Produce, 9, &[&start[..], &[2, 0, 1, 0, 0]].concat()), null);
    assert_eq!(refused(ApiKey::Produce, 9, &[&start[..], &[0, 0]].concat()), null);
    assert_eq!(refused(ApiKey::Produce, 9, &[&start[..], &[2, 2, b't', 0, 0, 0]].concat()), null);
    assert_eq!(refused(ApiKey::Produce, 3, &[0xff; 12]), null);
    assert_eq!(refused(ApiKey::ListOffsets, 1, &[0xff; 8]), null);
    assert_eq!(refused(ApiKey::ListOffsets, 6, &[0, 0, 0, 0, 0, 0, 0]), null);
    // The metadata of a member's protocol, in the old form and in the compact one.
    let join = |version, rest: &[u8]| refused(ApiKey::JoinGroup, version, rest);
    let plain = [0, 1, b'g', 0, 0, 0, 9, 0, 0, 0, 1, b'c', 0, 0, 0, 1, 0, 1, b'r'];
    assert_eq!(join(0, &[&plain[..], &[0xff; 4]].concat()), null);
    assert_eq!(join(0, &[&plain[..], &[0; 4]].concat()), Ok(()));
    let compact = [2, b'g', 0, 0, 0, 9, 0, 0, 0, 9, 1, 0, 2, b'c', 2, 2, b'r'];
    assert_eq!(join(6, &[&compact[..], &[0, 0, 0]].concat()), null);
    assert_eq!(join(6, &[&compact[..], &[1, 0, 0]].concat()), Ok(()));
    // All offsets of a group are asked for by null from OffsetFetch 2 on, by nothing before.
    let group = [&[0, 1, b'g'][..], &[0xff; 4]].concat();
    assert_eq!(refused(ApiKey::OffsetFetch, 1, &group), null);
    assert_eq!(refused(ApiKey::OffsetFetch, 2, &group), Ok(()));
    // All topics are asked for by null from Metadata 1 on, by nothing before.
    assert_eq!(refused(ApiKey::Metadata, 0, &[0xff; 4]), null);
    assert_eq!(refused(ApiKey::Metadata, 1, &[0xff; 4]), Ok(()));
    let mut fetch = vec![0; 17];
    fetch.extend_from_slice(&[0xff; 4]);
    assert_eq!(refused(ApiKey::Fetch, 4, &fetch), null);
}

#[test]
fn array_lengths_that_are_none_close() {
    for (length, frame) in [(-2_i32, 100), (i32::MIN, 100), (i32::MAX, 100), (1_000, 999)] {
        let mut bytes = vec![0; 4];
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.resize(8 + frame, 0);
        let request = body(ApiKey::ListOffsets, 1, &bytes);
        assert!(request.decode::<list_offsets::Request>().is_err(), "{length}");
        let mut bytes = vec![0; 8];
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.resize(12 + frame, 0);
        assert!(ProduceRequest::read(&body(ApiKey::Produce, 3, &bytes)).is_err(), "{length}");
    }
}

/// Fault 1 of another codec: twelve bytes that ask for 412 GB abort its process.
#[test]
fn t_a1_twelve_bytes_of_produce_ask_for_four_billion_topics() {
    let request = body(ApiKey::Produce, 9, &[0, 0, 1, 0, 0, 0, 9, 0xff, 0xff, 0xff, 0xff, 0x0f]);
    let refused = ProduceRequest::read(&request).unwrap_err();
    assert_eq!(refused, WireError::ArrayTooLong { found: 4_294_967_294, available: 0 });
    let plain = [0xff, 0xff, 0, 1, 0, 0, 0, 9, 0x7f, 0xff, 0xff, 0xff];
    let refused = ProduceRequest::read(&body(ApiKey::Produce, 3, &plain)).unwrap_err();
    assert_eq!(refused, WireError::ArrayTooLong { found: 2_147_483_647, available: 0 });
}

#[test]
fn varints_that_do_not_end_close() {
    let endless = [0x80; 100];
    let refused = body(ApiKey::Metadata, 12, &endless).decode::<metadata::Request>();
    assert_eq!(refused.unwrap_err(), WireError::VarintTooLong);
    let produce = [&[0, 0, 1, 0, 0, 0, 9][..], &endless].concat();
    let request = body(ApiKey::Produce, 9, &produce);
    assert_eq!(ProduceRequest::read(&request).unwrap_err(), WireError::VarintTooLong);
}

/// Kafka's generated readers throw at a text of more than 32,767 bytes, however its length is written.
#[test]
fn texts_longer_than_the_plain_form_could_say_close() {
    let named = |length: usize| {
        let mut bytes = vec![0, 0, 1, 0, 0, 0, 9, 2];
        let mut claimed = length + 1;
        while claimed >= 0x80 {
            bytes.push(u8::try_from(claimed & 0x7f).unwrap() | 0x80);
            claimed >>= 7;
        }
        bytes.push(u8::try_from(claimed).unwrap());
        bytes.resize(bytes.len() + length, b'x');
        bytes.extend([1, 0, 0]);
        body(ApiKey::Produce, 9, &bytes).check()
    };
    assert_eq!(named(32_767), Ok(()));
    assert_eq!(named(32_768), Err(WireError::TextTooLong { found: 32_768, max: 32_767 }));
    // A length that is too much is told before the bytes are missed, in a tag too.
    let cluster = [1, 0, 4, 0x81, 0x80, 0x02, 0];
    let fetch =
        [&[0xff; 4][..], &[0; 13], &[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], &[1, 1, 1], &cluster]
            .concat();
    let refused = body(ApiKey::Fetch, 12, &fetch).check();
    assert_eq!(refused, Err(WireError::TextTooLong { found: 32_768, max: 32_767 }));
}

#[test]
fn tags_longer_than_the_frame_close() {
    // Nothing asked for, then one tag of 100 bytes that are not there.
    let request = body(ApiKey::Metadata, 12, &[1, 0, 0, 1, 0, 100]);
    let refused = request.decode::<metadata::Request>().unwrap_err();
    assert_eq!(refused, WireError::Truncated { needed: 100, available: 0 });
}

#[test]
fn markers_of_nullable_structures_are_minus_one_or_one() {
    let mark = |marker| {
        let bytes = [1, 0, 0, 0, 9, marker, 2, b't', 0, 0, 0, 1, 0, 0];
        body(ApiKey::DescribeTopicPartitions, 0, &bytes)
            .decode::<describe_topic_partitions::Request>()
    };
    assert_eq!(mark(1).unwrap().cursor.unwrap().topic_name.as_str(), "t");
    assert_eq!(mark(2).unwrap_err(), WireError::StructMarker { found: 2 });
}

#[test]
fn a_request_is_decoded_as_what_it_is_or_not_at_all() {
    let request = body(ApiKey::Metadata, 1, &[0xff; 4]);
    let refused = request.decode::<list_offsets::Request>().unwrap_err();
    let other = WireError::OtherApi { asked: ApiKey::ListOffsets, found: ApiKey::Metadata };
    assert_eq!(refused, other);
    assert!(ProduceRequest::read(&request).is_err());
    assert!(FetchRequest::read(&request).is_err());
}

/// A connection that gets `keys` as requests of version 0, or 3 for Produce.
fn connection(keys: &[ApiKey]) -> Connection {
    let mut connection = Connection::new(Standing::Trusted);
    for key in keys {
        let version = if *key == ApiKey::Produce { 3 } else { 0 };
        let frame = frame(key.number(), version, NO_CLIENT);
        connection.push(&u32::try_from(frame.len()).unwrap().to_be_bytes());
        connection.push(&frame);
    }
    connection
}

#[test]
fn produce_requests_overlap_and_are_answered_in_order() {
    let advertised = Advertised::everything_readable();
    let mut connection = connection(&[ApiKey::Produce; 7]);
    let mut places = Vec::new();
    while let Next::Request(place, _) = connection.next_request(&advertised).unwrap() {
        places.push(place);
    }
    assert_eq!(places.len(), IN_FLIGHT_MAX);
    assert!(matches!(connection.next_request(&advertised), Ok(Next::Busy)));
    let answer = |text: &'static str| Answer::from(Bytes::from_static(text.as_bytes()));
    let mut places = places.into_iter();
    let (first, second) = (places.next().unwrap(), places.next().unwrap());
    connection.answer(second, answer("second"));
    assert!(connection.next_answer().is_none(), "the first is still owed");
    connection.answer(first, answer("first"));
    assert_eq!(&connection.next_answer().unwrap().pieces().next().unwrap()[..], b"first");
    assert_eq!(&connection.next_answer().unwrap().pieces().next().unwrap()[..], b"second");
    assert!(connection.next_answer().is_none());
    // Two have left, two more may start; one without an answer (acks=0) is passed over.
    assert!(matches!(connection.next_request(&advertised), Ok(Next::Request(..))));
    connection.answer(places.next().unwrap(), Answer::none());
    connection.answer(places.next().unwrap(), answer("fourth"));
    assert_eq!(&connection.next_answer().unwrap().pieces().next().unwrap()[..], b"fourth");
    assert_eq!(connection.in_flight(), 2);
}

#[test]
fn other_requests_wait_for_all_before_them_and_run_alone() {
    let advertised = Advertised::everything_readable();
    let order = [ApiKey::Produce, ApiKey::Metadata, ApiKey::Produce];
    let mut connection = connection(&order);
    for api in order {
        let Ok(Next::Request(place, request)) = connection.next_request(&advertised) else {
            panic!("{api} should start");
        };
        assert_eq!(request.reply_to.api, api);
        assert!(!matches!(connection.next_request(&advertised), Ok(Next::Request(..))));
        connection.answer(place, Answer::none());
        assert!(connection.next_answer().is_none());
    }
    assert!(matches!(connection.next_request(&advertised), Ok(Next::NeedBytes)));
}
