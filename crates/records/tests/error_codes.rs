//! Every error code against what Apache Kafka's own client takes it for.
#![allow(clippy::unwrap_used, reason = "a test that panics fails, which is what it is for")]

use hanbeon_records::{ErrorClass, ErrorCode};

/// From the Java client, line by line: number, name, `retriable` or `-`.
const KAFKAS: &str = include_str!("expected/errors.txt");

/// What its transactional producer answers with an abort and goes on from: raising its epoch where that is asked for, and as often as not by
/// initialising anew (47, 49).
const ABORTABLE: [i16; 5] = [45, 47, 49, 59, 120];

#[test]
fn every_code_has_kafkas_number_and_name_and_is_retried_where_kafka_retries() {
    let mut listed = 0;
    for line in KAFKAS.lines().filter(|line| !line.starts_with('#')) {
        let [number, name, retried] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let code = ErrorCode::from_number(number.parse().unwrap()).unwrap();
        assert_eq!(code.name(), name);
        assert_eq!(code.is_retriable(), retried == "retriable", "{code}");
        listed += 1;
    }
    assert_eq!(listed, ErrorCode::ALL.len());
}

#[test]
fn the_other_classes_are_what_a_producer_can_do() {
    for code in ErrorCode::ALL.iter().filter(|code| !code.is_retriable()) {
        let expected = match code.number() {
            0 => ErrorClass::Success,
            number if ABORTABLE.contains(&number) => ErrorClass::Abortable,
            _ => ErrorClass::Fatal,
        };
        assert_eq!(code.class(), expected, "{code}");
    }
}
