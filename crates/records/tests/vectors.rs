//! Batches of known bytes, read and written.
#![allow(clippy::unwrap_used, reason = "a test that panics fails, which is what it is for")]

use hanbeon_records::{
    Attributes, BatchBuilder, BatchError, BatchKind, BatchRef, BatchSettings, BuildError, Codec,
    CompressionLevel, Control, CoordinatorEpoch, EndTxnMarker, ErrorCode, LeaderEpoch, MARKER_LEN,
    Marker, Millis, NewRecord, Offset, Outcome, ProducerEpoch, ProducerId, ProducerStamp, Sequence,
    TimestampType, read_control, stamp, stamp_times, write_marker,
};

const COMMIT: &str = "000000000000002a0000004200000003023ccd2c190030000000000000018bcfe568000000018bcfe5680000000000000003e80007ffffffff000000012000000008000000010c00000000000500";
const ABORT: &str = "000000000000002a000000420000000302c8f3fa510030000000000000018bcfe568000000018bcfe5680000000000000003e80007ffffffff000000012000000008000000000c00000000000500";
const DATA: &str = "00000000000000000000003e00000000025e93538d0000000000000000018bcfe568000000018bcfe56800ffffffffffffffffffffffffffff0000000118000000026b02760202680278";
const EMPTIED: &str = "000000000000000a000000310000000302042c7994001000000004ffffffffffffffff0000018bcfe5680000000000000003e800070000000000000000";

const TIME: Millis = Millis::new(1_700_000_000_000);

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn settings() -> BatchSettings {
    BatchSettings {
        codec: Codec::None,
        level: CompressionLevel::DEFAULT,
        timestamp_type: TimestampType::CreateTime,
        producer: None,
        kind: BatchKind::Plain,
        base_offset: Offset::ZERO,
        leader_epoch: LeaderEpoch::new(0),
    }
}

fn marker(outcome: Outcome) -> Marker {
    Marker {
        base_offset: Offset::new(42),
        leader_epoch: LeaderEpoch::new(3),
        producer_id: ProducerId::new(1000),
        producer_epoch: ProducerEpoch::new(7),
        outcome,
        coordinator_epoch: CoordinatorEpoch::new(5),
        timestamp: TIME,
    }
}

#[test]
fn markers_are_written_and_read_byte_for_byte() {
    for (outcome, text) in [(Outcome::Commit, COMMIT), (Outcome::Abort, ABORT)] {
        let expected = unhex(text);
        let mut bytes = vec![0xee];
        write_marker(&mut bytes, &marker(outcome));
        assert_eq!(&bytes[1..], expected, "{outcome:?}");
        assert_eq!(expected.len(), MARKER_LEN);

        let (batch, rest) = BatchRef::parse(&expected).unwrap();
        let batch = batch.verify().unwrap();
        assert!(rest.is_empty());
        assert!(batch.attributes().is_control() && batch.attributes().is_transactional());
        assert_eq!(batch.base_sequence(), None);
        assert_eq!(batch.last_sequence(), None);
        let coordinator_epoch = CoordinatorEpoch::new(5);
        let read = read_control(batch.get()).unwrap();
        assert_eq!(read, Some(Control::EndTxn(EndTxnMarker { outcome, coordinator_epoch })));
    }
}

#[test]
fn a_batch_of_data_is_written_and_read_byte_for_byte() {
    let expected = unhex(DATA);
    let mut bytes = Vec::new();
    let mut builder = BatchBuilder::new(&mut bytes, settings());
    builder
        .push(NewRecord {
            timestamp: TIME,
            key: Some(b"k"),
            value: Some(b"v"),
            headers: &[("h", Some(b"x"))],
        })
        .unwrap();
    assert_eq!(builder.finish().unwrap(), 0..74);
    assert_eq!(bytes, expected);

    let (batch, _) = BatchRef::parse(&expected).unwrap();
    let batch = batch.verify().unwrap();
    let records: Vec<_> = batch.records().unwrap().map(Result::unwrap).collect();
    let [record] = records.as_slice() else { panic!("one record, found {records:?}") };
    assert_eq!((record.key, record.value), (Some(&b"k"[..]), Some(&b"v"[..])));
    let headers: Vec<_> = record.headers.map(|header| (header.key, header.value)).collect();
    assert_eq!(headers, [(&b"h"[..], Some(&b"x"[..]))]);
    assert_eq!((batch.offset_of(record), batch.timestamp_of(record)), (Offset::ZERO, TIME));
    assert_eq!(batch.sequence_of(record), None);
}

#[test]
fn an_emptied_batch_keeps_its_producer_and_iterates_as_nothing() {
    let bytes = unhex(EMPTIED);
    let (batch, _) = BatchRef::parse(&bytes).unwrap();
    let batch = batch.verify().unwrap();
    assert_eq!((batch.base_offset(), batch.last_offset()), (Offset::new(10), Offset::new(14)));
    assert_eq!(batch.next_offset(), Offset::new(15));
    assert_eq!(batch.base_timestamp(), Millis::NONE);
    assert_eq!(batch.max_timestamp(), TIME);
    assert_eq!(batch.last_sequence(), Sequence::new(4));
    assert_eq!(batch.record_count(), 0);
    assert_eq!(batch.records().unwrap().count(), 0);
}

#[test]
fn every_flipped_bit_under_the_checksum_is_seen() {
    let good = unhex(COMMIT);
    for at in 17..good.len() {
        for bit in 0..8 {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << bit;
            let (batch, _) = BatchRef::parse(&bytes).unwrap();
            assert!(matches!(batch.verify(), Err(BatchError::Crc { .. })), "byte {at} bit {bit}");
        }
    }
}

#[test]
fn a_batch_cut_short_anywhere_is_truncated() {
    let good = unhex(DATA);
    for len in 0..good.len() {
        assert!(
            matches!(BatchRef::parse(&good[..len]), Err(BatchError::Truncated { .. })),
            "{len}"
        );
    }
    let lengths = [(i32::MIN, 14), (-1, 14), (13, 14), (14, 49), (48, 49)];
    for (found, min) in lengths {
        let mut bytes = good.clone();
        bytes[8..12].copy_from_slice(&found.to_be_bytes());
        let error = BatchRef::parse(&bytes).unwrap_err();
        assert_eq!(error, BatchError::Length { min, found });
        assert_eq!(error.code(), ErrorCode::CorruptMessage);
    }
    for found in [0, 1, 3, -1] {
        let mut bytes = good.clone();
        bytes[16] = i8::to_be_bytes(found)[0];
        let error = BatchRef::parse(&bytes).unwrap_err();
        assert_eq!(error, BatchError::Magic { found });
        let legacy = matches!(found, 0 | 1);
        assert_eq!(error.code() == ErrorCode::InvalidRecord, legacy, "{error}");
    }
}

#[test]
fn a_leaders_stamp_leaves_the_checksum_alone() {
    let mut bytes = unhex(DATA);
    let crc = bytes[17..21].to_vec();
    stamp(&mut bytes, Offset::new(i64::MAX), LeaderEpoch::new(77));
    assert_eq!(bytes[17..21], crc);
    let (batch, _) = BatchRef::parse(&bytes).unwrap();
    let batch = batch.verify().unwrap();
    assert_eq!(batch.base_offset(), Offset::new(i64::MAX));
    assert_eq!(batch.leader_epoch(), LeaderEpoch::new(77));
}

#[test]
fn stamped_times_are_what_every_record_reads_as() {
    let mut bytes = unhex(DATA);
    stamp_times(&mut bytes, TimestampType::CreateTime, TIME);
    assert_eq!(bytes, unhex(DATA), "nothing to change");
    let now = Millis::new(1_800_000_000_000);
    stamp_times(&mut bytes, TimestampType::LogAppendTime, now);
    let (batch, _) = BatchRef::parse(&bytes).unwrap();
    let batch = batch.verify().unwrap();
    let record = batch.records().unwrap().next().unwrap().unwrap();
    assert_eq!(batch.timestamp_of(&record), now);
    assert_eq!(batch.attributes(), Attributes::of(Codec::None, TimestampType::LogAppendTime));
    stamp_times(&mut bytes, TimestampType::CreateTime, TIME);
    assert_eq!(bytes, unhex(DATA), "and back");
    stamp(&mut [], Offset::ZERO, LeaderEpoch::UNKNOWN);
    stamp_times(&mut [0; 60], TimestampType::LogAppendTime, now);
}

#[test]
fn what_cannot_be_built_leaves_the_buffer_as_it_was() {
    let record = NewRecord { timestamp: TIME, key: None, value: None, headers: &[] };
    let mut bytes = vec![1, 2, 3];
    let builder = BatchBuilder::new(&mut bytes, settings());
    assert_eq!(builder.finish(), Err(BuildError::Empty));
    assert_eq!(bytes, [1, 2, 3]);

    let kind = BatchKind::Transactional;
    let mut builder = BatchBuilder::new(&mut bytes, BatchSettings { kind, ..settings() });
    builder.push(record).unwrap();
    assert_eq!(builder.finish(), Err(BuildError::NoProducer));
    assert_eq!(bytes, [1, 2, 3]);

    let mut builder = BatchBuilder::new(&mut bytes, settings());
    builder.push(NewRecord { timestamp: Millis::new(i64::MIN), ..record }).unwrap();
    let before = builder.plain_len();
    let refused = BuildError::Timestamp { base: Millis::new(i64::MIN), timestamp: TIME };
    assert_eq!(builder.push(record), Err(refused));
    assert_eq!((builder.count(), builder.plain_len()), (1, before));
    drop(builder);
    assert_eq!(bytes, [1, 2, 3]);
}

#[test]
fn sequences_of_records_wrap_after_the_largest() {
    let mut bytes = Vec::new();
    let producer = Some(ProducerStamp {
        id: ProducerId::new(1),
        epoch: ProducerEpoch::new(0),
        base_sequence: Sequence::new(i32::MAX).unwrap(),
    });
    let mut builder = BatchBuilder::new(&mut bytes, BatchSettings { producer, ..settings() });
    for _ in 0..2 {
        let record = NewRecord { timestamp: TIME, key: None, value: None, headers: &[] };
        builder.push(record).unwrap();
    }
    builder.finish().unwrap();
    let (batch, _) = BatchRef::parse(&bytes).unwrap();
    let sequences: Vec<_> =
        batch.records().unwrap().map(|record| batch.sequence_of(&record.unwrap())).collect();
    assert_eq!(sequences, [Sequence::new(i32::MAX), Sequence::new(0)]);
    assert_eq!(batch.last_sequence(), Sequence::new(0));
}
