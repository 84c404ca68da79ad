//! Batches against a decoder and encoder that share no code with ours, and CRC-32C against another implementation.
#![allow(clippy::unwrap_used, reason = "a test that panics fails, which is what it is for")]

use bytes::{Bytes, BytesMut};
use hanbeon_records::{
    BatchBuilder, BatchKind, BatchRef, BatchSettings, Codec, CompressionLevel, LeaderEpoch, Millis,
    NewRecord, Offset, ProducerEpoch, ProducerId, ProducerStamp, Sequence, TimestampType, crc32c,
    crc32c_of_parts, read_varint, read_varlong, varint_len, varlong_len, write_varint,
    write_varlong,
};
use kafka_protocol::{
    protocol::StrBytes,
    records::{
        Compression, Record, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions,
        TimestampType as TheirTimestampType,
    },
};
use proptest::prelude::*;

/// What one record says; names of headers differ, because the other decoder merges equal ones.
#[derive(Clone, Debug)]
struct Said {
    time: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<Option<Vec<u8>>>,
}

fn said() -> impl Strategy<Value = Vec<Said>> {
    let bytes = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..300));
    let record = (0_i64..1 << 44, bytes(), bytes(), proptest::collection::vec(bytes(), 0..4))
        .prop_map(|(time, key, value, headers)| Said { time, key, value, headers });
    proptest::collection::vec(record, 1..40)
}

fn name(index: usize) -> String {
    format!("name-{index}")
}

fn ours(records: &[Said], kind: BatchKind, base_sequence: Sequence) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut builder = BatchBuilder::new(
        &mut bytes,
        BatchSettings {
            codec: Codec::None,
            level: CompressionLevel::DEFAULT,
            timestamp_type: TimestampType::CreateTime,
            producer: Some(ProducerStamp {
                id: ProducerId::new(77),
                epoch: ProducerEpoch::new(3),
                base_sequence,
            }),
            kind,
            base_offset: Offset::new(500),
            leader_epoch: LeaderEpoch::new(9),
        },
    );
    for said in records {
        let names: Vec<String> = (0..said.headers.len()).map(name).collect();
        let headers: Vec<_> = names
            .iter()
            .map(String::as_str)
            .zip(said.headers.iter().map(Option::as_deref))
            .collect();
        builder
            .push(NewRecord {
                timestamp: Millis::new(said.time),
                key: said.key.as_deref(),
                value: said.value.as_deref(),
                headers: &headers,
            })
            .unwrap();
    }
    builder.finish().unwrap();
    bytes
}

fn theirs(records: &[Said]) -> Vec<Record> {
    let bytes = |bytes: &Option<Vec<u8>>| bytes.clone().map(Bytes::from);
    let number = |index: usize| i64::try_from(index).unwrap();
    records
        .iter()
        .enumerate()
        .map(|(index, said)| Record {
            transactional: true,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: 9,
            producer_id: 77,
            producer_epoch: 3,
            timestamp_type: TheirTimestampType::Creation,
            offset: 500 + number(index),
            sequence: 40 + i32::try_from(index).unwrap(),
            timestamp: said.time,
            key: bytes(&said.key),
            value: bytes(&said.value),
            headers: said
                .headers
                .iter()
                .enumerate()
                .map(|(index, value)| (StrBytes::from_string(name(index)), bytes(value)))
                .collect(),
        })
        .collect()
}

proptest! {
    #[test]
    fn what_we_write_they_read(records in said()) {
        let base = Sequence::new(40).unwrap();
        let bytes = ours(&records, BatchKind::Transactional, base);
        let read = RecordBatchDecoder::decode(&mut Bytes::from(bytes)).unwrap();
        prop_assert_eq!(read.records, theirs(&records));
    }

    #[test]
    fn what_they_write_we_read(records in said()) {
        let mut bytes = BytesMut::new();
        let options = RecordEncodeOptions { version: 2, compression: Compression::None };
        let wrote = theirs(&records);
        RecordBatchEncoder::encode(&mut bytes, wrote.iter(), &options).unwrap();
        let (batch, rest) = BatchRef::parse(&bytes).unwrap();
        let batch = batch.verify().unwrap();
        prop_assert!(rest.is_empty());
        prop_assert!(batch.attributes().is_transactional());
        prop_assert_eq!(batch.producer_id(), ProducerId::new(77));
        prop_assert_eq!(batch.producer_epoch(), ProducerEpoch::new(3));
        prop_assert_eq!(batch.leader_epoch(), LeaderEpoch::new(9));
        let mut count = 0;
        for (read, said) in batch.records().unwrap().zip(&wrote) {
            let read = read.unwrap();
            prop_assert_eq!(batch.offset_of(&read).get(), said.offset);
            prop_assert_eq!(batch.timestamp_of(&read).get(), said.timestamp);
            prop_assert_eq!(batch.sequence_of(&read), Sequence::new(said.sequence));
            prop_assert_eq!(read.key, said.key.as_deref());
            prop_assert_eq!(read.value, said.value.as_deref());
            let headers: Vec<_> = read.headers.map(|header| (header.key, header.value)).collect();
            let expected: Vec<_> =
                said.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_deref())).collect();
            prop_assert_eq!(headers, expected);
            count += 1;
        }
        prop_assert_eq!(count, wrote.len());
    }

    #[test]
    fn numbers_of_variable_length_lead_back(int in any::<i32>(), long in any::<i64>()) {
        let mut bytes = Vec::new();
        write_varint(int, &mut bytes);
        prop_assert_eq!(bytes.len(), varint_len(int));
        prop_assert_eq!(read_varint(&bytes), Some((int, &[][..])));

        bytes.clear();
        write_varlong(long, &mut bytes);
        prop_assert_eq!(bytes.len(), varlong_len(long));
        prop_assert_eq!(read_varlong(&bytes), Some((long, &[][..])));
    }

    #[test]
    fn checksums_agree(bytes in proptest::collection::vec(any::<u8>(), 0..5000), cut in 0_usize..5000) {
        let expected = crc32c::crc32c(&bytes);
        prop_assert_eq!(crc32c(&bytes), expected);
        let (front, back) = bytes.split_at(cut.min(bytes.len()));
        prop_assert_eq!(crc32c_of_parts(&[front, back]), expected);
    }
}
