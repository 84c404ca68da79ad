//! Bytes from strangers: whatever they are, nothing panics, and what is taken is sound.
#![expect(clippy::unwrap_used, reason = "a test fails where its ground is missing")]

mod fixture;

use bytes::Bytes;
use hanbeon_log::{
    CleanupPolicy, FirstBatch, IndexDoubt, Isolation, LogConfig, LogSettings, MemDir,
    OffsetIndexView, OpenPartition, Partition, Scratch, SegmentSpan, Shutdown, TimeIndexView,
    TxnIndexView, validate,
};
use hanbeon_records::{
    BatchRef, CRC_START, Codec, HEADER_LEN, LeaderEpoch, Millis, Offset, TimestampType, crc32c,
    stamp,
};
use proptest::prelude::*;

const NOW: Millis = Millis::new(1_700_000_000_000);

/// A batch of Kafka's documentation: key "k", value "v", one header, offset 0.
const SAMPLE: &str = "000000000000000000000\
    03e00000000025e93538d0000000000000000018bcfe568000000018bcfe56800ffffffffffffffffffffffffffff00000001\
    18000000026b02760202680278";

fn sample() -> Vec<u8> {
    (0..SAMPLE.len() / 2)
        .map(|at| u8::from_str_radix(&SAMPLE[2 * at..2 * at + 2], 16).unwrap())
        .collect()
}

/// Makes length and checksum right again, so that a change is met by the rule it breaks.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.len() >= HEADER_LEN {
        let len = i32::try_from(bytes.len() - 12).unwrap();
        bytes[8..12].copy_from_slice(&len.to_be_bytes());
        let crc = crc32c(&bytes[CRC_START..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    }
    bytes
}

fn configs() -> [LogConfig; 3] {
    let of = |change: fn(&mut LogSettings)| {
        let mut settings = LogSettings::kafka_defaults();
        change(&mut settings);
        settings.validate().unwrap()
    };
    [
        of(|_| {}),
        of(|s| s.cleanup_policy = CleanupPolicy::Compact),
        of(|s| s.message_timestamp_type = TimestampType::LogAppendTime),
    ]
}

/// What every stored batch of a client must be.
fn check_sound(stored: &[u8]) {
    let (batch, rest) = BatchRef::parse(stored).unwrap();
    assert!(rest.is_empty());
    batch.verify().unwrap();
    assert_eq!((batch.base_offset(), batch.leader_epoch()), (Offset::new(77), LeaderEpoch::new(3)));
    assert_eq!(batch.last_offset_delta() + 1, batch.record_count());
    assert!(!batch.attributes().is_control() && !batch.attributes().has_delete_horizon());
    assert_eq!(batch.attributes().unused_bits(), 0);
    if batch.producer_id().is_some() {
        assert!(batch.base_sequence().is_some());
    }
    if batch.attributes().codec() != Ok(Codec::None) {
        return;
    }
    let mut largest = Millis::NONE;
    for (place, record) in (0..).zip(batch.records().unwrap()) {
        let record = record.unwrap();
        assert_eq!(record.offset_delta, place);
        let time = batch.timestamp_of(&record);
        assert!(time >= Millis::NONE);
        largest = largest.max(time);
    }
    assert_eq!(batch.max_timestamp(), largest);
}

fn put(bytes: &[u8]) {
    for config in configs() {
        let sent = Bytes::copy_from_slice(bytes);
        match validate(&sent, &config, NOW, &mut Scratch::new()) {
            Ok(mut validated) => {
                validated.stamp(Offset::new(77), LeaderEpoch::new(3));
                check_sound(&validated.to_vec());
            }
            Err(error) => assert!(!error.to_string().is_empty() && error.code().number() != 0),
        }
    }
}

#[test]
fn the_sample_is_taken() {
    let sent = Bytes::from(sample());
    assert!(validate(&sent, &configs()[0], NOW, &mut Scratch::new()).is_ok());
}

#[test]
fn l3_every_single_changed_byte_of_a_sealed_batch_is_refused_or_sound() {
    let sample = sample();
    for at in 0..sample.len() {
        for value in 0..=255 {
            let mut bytes = sample.clone();
            bytes[at] = value;
            put(&sealed(bytes));
        }
    }
}

/// What the leader of epoch 3 is said to have sent.
fn follow(bytes: &[u8]) {
    let (dir, config) = (MemDir::new(), &configs()[0]);
    let log = fixture::open(&dir, config).0;
    fixture::append(&log, &fixture::Batch::of(1)).unwrap();
    let before = log.size_bytes();
    let result = log.append_as_follower(&Bytes::copy_from_slice(bytes), LeaderEpoch::new(3), NOW);
    let mut end = Offset::ZERO;
    let (mut epoch, mut falls) = (LeaderEpoch::UNKNOWN, 0);
    loop {
        let read = log.read(end, Isolation::LogEnd, 1 << 20, FirstBatch::Whole).unwrap();
        let mut rest: &[u8] = &read.records;
        if rest.is_empty() {
            break;
        }
        while !rest.is_empty() {
            let (batch, behind) = BatchRef::parse(rest).unwrap();
            batch.verify().unwrap();
            assert!(batch.base_offset() >= end && batch.leader_epoch() <= LeaderEpoch::new(3));
            if batch.leader_epoch() > LeaderEpoch::UNKNOWN {
                falls += i32::from(batch.leader_epoch() < epoch);
                epoch = batch.leader_epoch();
            }
            (rest, end) = (behind, batch.next_offset());
        }
    }
    assert_eq!(log.log_end_offset(), end);
    match result {
        Ok(told) => assert_eq!(told, end),
        Err(error) => {
            assert!(!error.to_string().is_empty());
            assert_eq!(log.size_bytes(), before, "{error}");
        }
    }
    if falls > 1 {
        // The second takes the first out of the epoch file, which is no leader's: to an opening that is damage.
        return;
    }
    let after = log.size_bytes();
    let recovery_point = log.close().unwrap().recovery_point;
    // And the next opening takes it for sound.
    let shutdown = Shutdown::Clean;
    let told = OpenPartition { shutdown, recovery_point, ..fixture::options(config) };
    let (log, report) = Partition::open(dir, told).unwrap();
    assert_eq!((log.log_end_offset(), log.size_bytes()), (end, after), "{report:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn g2_what_a_follower_is_sent_is_refused_or_ends_in_whole_batches(
        batches in prop::collection::vec((0_i64..6, 0_i32..6), 1..4),
        changes in prop::collection::vec((0_usize..220, any::<u8>()), 0..4),
        resealed in any::<bool>(),
        cut in 0_usize..90,
        more in prop::collection::vec(any::<u8>(), 0..30),
    ) {
        let mut bytes = Vec::new();
        let mut offset = 1;
        for (gap, epoch) in batches {
            let mut batch = sample();
            stamp(&mut batch, Offset::new(offset + gap.saturating_sub(3)), LeaderEpoch::new(epoch));
            for (at, value) in &changes {
                if let Some(byte) = batch.get_mut(at.wrapping_sub(bytes.len())) {
                    *byte = *value;
                }
            }
            bytes.extend(if resealed { sealed(batch) } else { batch });
            offset += gap.saturating_sub(3) + 1;
        }
        bytes.truncate(bytes.len() - cut.min(bytes.len()).saturating_sub(60));
        bytes.extend_from_slice(&more);
        follow(&bytes);
    }

    #[test]
    fn any_bytes_are_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        put(&bytes);
    }

    #[test]
    fn l3_changed_batches_are_refused_or_sound(
        changes in prop::collection::vec((0_usize..90, any::<u8>()), 1..6),
        cut in 0_usize..30,
        more in prop::collection::vec(any::<u8>(), 0..30),
    ) {
        let mut bytes = sample();
        bytes.truncate(bytes.len() - cut.min(13));
        bytes.extend_from_slice(&more);
        for (at, value) in changes {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        put(&sealed(bytes));
    }

    #[test]
    fn any_bytes_are_an_index_in_order_or_in_doubt(
        bytes in prop::collection::vec(0_u8..3, 0..300),
        end in 0_i64..1000,
    ) {
        let span = SegmentSpan {
            base_offset: Offset::new(0),
            end_offset: Offset::new(end),
            log_bytes: u64::from(u32::MAX),
        };
        match OffsetIndexView::parse(&bytes, span) {
            Ok(view) => {
                prop_assert!(view.iter().zip(view.iter().skip(1)).all(|(a, b)| a.offset < b.offset));
                prop_assert!(view.last().is_none_or(|last| last.offset < Offset::new(end)));
            }
            Err(doubt) => prop_assert_eq!(
                matches!(doubt, IndexDoubt::Length { .. }),
                !bytes.len().is_multiple_of(8)
            ),
        }
        let _time = TimeIndexView::parse(&bytes, span);
        let _txn = TxnIndexView::parse(&bytes, span);
    }
}
