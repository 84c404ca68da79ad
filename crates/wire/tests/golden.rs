//! Bodies that franz-go's encoder wrote, byte for byte.
#![expect(clippy::unwrap_used, reason = "a test that panics has found something")]

use bytes::{Buf, Bytes, BytesMut};
use hanbeon_wire::{
    Advertised, ApiKey, ApiVersionsRequest, Features, FinalizedFeature, ReplyTo, Request,
    SupportedFeature, messages::init_producer_id, write_api_versions,
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

#[test]
fn init_producer_id_responses() {
    let response =
        init_producer_id::Response { producer_id: 1000, producer_epoch: 6, ..Default::default() };
    for (version, header, expected) in [
        (1, 4, "00000000 0000 00000000000003e8 0006"),
        (4, 5, "00000000 0000 00000000000003e8 0006 00"),
    ] {
        let mut out = BytesMut::new();
        let reply_to = ReplyTo { api: ApiKey::InitProducerId, version, correlation_id: 1 };
        reply_to.write(&response, &mut out).unwrap();
        assert_eq!(body_of(out, header), unhex(expected));
    }
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
        (18, 0, 4),
        (19, 2, 7),
        (20, 1, 6),
        (21, 0, 2),
        (22, 0, 5),
        (23, 2, 4),
        (32, 1, 4),
        (33, 0, 2),
        (35, 1, 5),
        (37, 0, 3),
        (43, 0, 2),
        (44, 0, 1),
        (60, 0, 2),
        (61, 0, 0),
        (75, 0, 0),
    ];
    assert_eq!(list, expected);
}
