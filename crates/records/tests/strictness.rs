//! Each rule that records and control records must keep, broken alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that panics fails, which is what it is for"
)]

use hanbeon_records::{
    BatchRef, Codec, Control, ControlError, ControlType, ErrorCode, Field, Marker, Outcome,
    ProducerEpoch, ProducerId, RecordError, Records, read_control, write_marker,
};

/// 12 bytes: attributes, deltas, key "k", value "v", header h=x.
const GOOD: [u8; 13] = [0x18, 0, 0, 0, 2, b'k', 2, b'v', 2, 2, b'h', 2, b'x'];

/// A record of `body` with the length that fits it.
fn record(body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![u8::try_from(body.len() * 2).unwrap()];
    bytes.extend_from_slice(body);
    bytes
}

/// The walk's last word.
fn error(count: i32, payload: &[u8]) -> RecordError {
    let mut records = Records::new(count, payload);
    let error = records.by_ref().find_map(Result::err).expect("the payload breaks a rule");
    assert!(records.next().is_none(), "nothing comes after an error");
    assert_eq!(error.code(), ErrorCode::InvalidRecord);
    assert!(!error.to_string().is_empty());
    error
}

#[test]
fn a_record_is_read_field_by_field() {
    let read = Records::new(1, &GOOD).next().unwrap().unwrap();
    assert_eq!((read.key, read.value), (Some(&b"k"[..]), Some(&b"v"[..])));
    assert_eq!((read.headers.len(), read.headers.is_empty()), (1, false));
    let odd = record(&[0xff, 1, 0x03, 1, 1, 0]);
    let read = Records::new(1, &odd).next().unwrap().unwrap();
    assert_eq!((read.attributes, read.timestamp_delta, read.offset_delta), (-1, -1, -2));
    assert_eq!((read.key, read.value), (None, None));
}

#[test]
fn count_and_payload_must_agree() {
    let two = [GOOD, GOOD].concat();
    assert_eq!(error(1, &two), RecordError::Surplus { count: 1, left: 13 });
    assert_eq!(error(3, &two), RecordError::TooFew { expected: 3, found: 2 });
    assert_eq!(error(i32::MAX, &two), RecordError::TooFew { expected: i32::MAX, found: 2 });
    assert_eq!(error(1, &[]), RecordError::TooFew { expected: 1, found: 0 });
    for found in [-1, i32::MIN] {
        assert_eq!(error(found, &two), RecordError::NegativeCount { found });
    }
    assert_eq!(Records::new(0, &two).count(), 0, "0 does not look at the payload");
    assert_eq!(Records::new(i32::MAX, &two).size_hint(), (0, Some(4)));
}

#[test]
fn a_length_must_lie_within_its_surroundings() {
    let range = |field, found, left| RecordError::LengthOutOfRange { index: 0, field, found, left };
    let mut long = GOOD;
    long[0] = 0x1a;
    assert_eq!(error(1, &long), range(Field::Length, 13, 12));
    assert_eq!(error(1, &[1, 0]), range(Field::Length, -1, 1));
    let key = record(&[0, 0, 0, 4, b'k']);
    assert_eq!(error(1, &key), range(Field::Key, 2, 1));
    assert_eq!(error(1, &record(&[0, 0, 0, 3, 1, 0])), range(Field::Key, -2, 2));
    assert_eq!(error(1, &record(&[0, 0, 0, 1, 2])), range(Field::Value, 1, 0));
    assert_eq!(error(1, &record(&[0, 0, 0, 1, 5])), range(Field::Value, -3, 0));
}

#[test]
fn headers_are_counted_named_and_whole() {
    let range = |field, found, left| RecordError::LengthOutOfRange { index: 0, field, found, left };
    let with = |headers: &[u8]| record(&[&[0, 0, 0, 1, 1], headers].concat());
    assert_eq!(error(1, &with(&[1])), range(Field::HeaderCount, -1, 0));
    assert_eq!(error(1, &with(&[4, 0, 1, 0])), range(Field::HeaderCount, 2, 3));
    assert_eq!(error(1, &with(&[2, 1, 1])), range(Field::HeaderKey, -1, 1));
    assert_eq!(error(1, &with(&[2, 4, b'h'])), range(Field::HeaderKey, 2, 1));
    assert_eq!(error(1, &with(&[2, 2, b'h', 2])), range(Field::HeaderValue, 1, 0));
    assert_eq!(error(1, &with(&[2, 0, 1, 9])), RecordError::BodyNotConsumed { index: 0, left: 1 });
    assert_eq!(error(1, &with(&[0, 9, 9])), RecordError::BodyNotConsumed { index: 0, left: 2 });
    let number = |field| RecordError::Number { index: 0, field };
    assert_eq!(error(1, &with(&[])), number(Field::HeaderCount));
    assert_eq!(error(1, &with(&[2, 0x80, 0x80])), number(Field::HeaderKey));
    let fine = with(&[4, 0, 1, 0, 0]);
    let read = Records::new(1, &fine).next().unwrap().unwrap();
    let headers: Vec<_> = read.headers.map(|header| (header.name(), header.value)).collect();
    assert_eq!(headers, [("".into(), None), ("".into(), Some(&b""[..]))], "names may repeat");
    let odd = with(&[2, 4, b'h', 0xff, 1]);
    let mut read = Records::new(1, &odd).next().unwrap().unwrap().headers;
    let header = read.next().unwrap();
    assert_eq!((header.key, &*header.name()), (&b"h\xff"[..], "h\u{fffd}"), "as Kafka reads it");
}

#[test]
fn numbers_must_end_and_fit() {
    let number = |field| RecordError::Number { index: 0, field };
    assert_eq!(error(1, &[0x80]), number(Field::Length));
    assert_eq!(error(1, &[0xff, 0xff, 0xff, 0xff, 0x10]), number(Field::Length));
    assert_eq!(error(1, &[0]), number(Field::Attributes));
    assert_eq!(error(1, &record(&[0])), number(Field::TimestampDelta));
    assert_eq!(error(1, &record(&[0, 0])), number(Field::OffsetDelta));
    assert_eq!(error(1, &record(&[0, 0, 0])), number(Field::Key));
    assert_eq!(error(1, &record(&[0, 0, 0, 1])), number(Field::Value));
    let long = [&[0][..], &[0xff; 9], &[0x02]].concat();
    assert_eq!(error(1, &record(&long)), number(Field::TimestampDelta));
}

#[test]
fn every_shorter_payload_is_refused() {
    for len in 0..GOOD.len() {
        error(1, &GOOD[..len]);
    }
}

#[test]
fn compressed_records_are_not_walked() {
    let mut bytes = Vec::new();
    write_marker(&mut bytes, &marker());
    for codec in 1..8 {
        bytes[22] = 0x30 | codec;
        let (batch, _) = BatchRef::parse(&bytes).unwrap();
        assert_eq!(batch.records().unwrap_err(), RecordError::Compressed { codec });
        assert_eq!(
            read_control(batch),
            Err(ControlError::Record(RecordError::Compressed { codec }))
        );
    }
    assert_eq!(Codec::Zstd.id(), 4);
}

fn marker() -> Marker {
    Marker {
        base_offset: hanbeon_records::Offset::ZERO,
        leader_epoch: hanbeon_records::LeaderEpoch::UNKNOWN,
        producer_id: ProducerId::new(1),
        producer_epoch: ProducerEpoch::new(0),
        outcome: Outcome::Commit,
        coordinator_epoch: hanbeon_records::CoordinatorEpoch::new(0),
        timestamp: hanbeon_records::Millis::new(0),
    }
}

#[test]
fn control_records_are_read_by_the_rules_of_version_0() {
    let value = &[0, 0, 0, 0, 0, 5][..];
    let code = |result: Result<Control, ControlError>| result.unwrap_err();
    assert_eq!(code(Control::parse(None, Some(value))), ControlError::KeyTooShort { found: None });
    assert_eq!(
        code(Control::parse(Some(&[0, 0, 0]), Some(value))),
        ControlError::KeyTooShort { found: Some(3) }
    );
    assert_eq!(
        code(Control::parse(Some(&[0xff, 0xff, 0, 0]), Some(value))),
        ControlError::KeyVersion { found: -1 }
    );
    assert_eq!(
        code(Control::parse(Some(&[0, 0, 0, 0]), None)),
        ControlError::ValueTooShort { found: None }
    );
    assert_eq!(
        code(Control::parse(Some(&[0, 0, 0, 1]), Some(&[0; 5]))),
        ControlError::ValueTooShort { found: Some(5) }
    );
    let negative = [0x80, 0, 0, 0, 0, 5];
    let error = code(Control::parse(Some(&[0, 0, 0, 1]), Some(&negative)));
    assert_eq!(error, ControlError::ValueVersion { found: i16::MIN });
    assert_eq!(error.code(), ErrorCode::InvalidRecord);

    let later = Control::parse(Some(&[0, 9, 0, 1, 7]), Some(&[0, 9, 0, 0, 0, 5, 7])).unwrap();
    assert_eq!(later, Control::parse(Some(&[0, 0, 0, 1]), Some(value)).unwrap());
    for number in [2, 3, 4, 5, 6, 7, -1, i16::MAX] {
        let [a, b] = number.to_be_bytes();
        let read = Control::parse(Some(&[0, 0, a, b]), None).unwrap();
        assert_eq!(read, Control::Other(ControlType::from_number(number)));
        assert_eq!(ControlType::from_number(number).number(), number);
    }
}

#[test]
fn data_is_not_control_and_an_emptied_control_batch_says_nothing() {
    let mut bytes = Vec::new();
    write_marker(&mut bytes, &marker());
    let mut data = bytes.clone();
    data[22] = 0x10;
    let (batch, _) = BatchRef::parse(&data).unwrap();
    assert_eq!(read_control(batch), Err(ControlError::NotControl));
    bytes.truncate(61);
    bytes[11] = 49;
    bytes[60] = 0;
    let (batch, _) = BatchRef::parse(&bytes).unwrap();
    assert_eq!(read_control(batch), Ok(None));
}
