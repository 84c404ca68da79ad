//! Batches with any field chosen, as a client that is broken or hostile sends them. The cases "as Kafka 4.3.1" were put to a
//! real broker; what it answered stands in `tests/probe`.

mod codecs;

use bytes::Bytes;
use hanbeon_records::{
    CRC_START, Codec, CompressionLevel, ErrorCode, HEADER_LEN, LeaderEpoch, Millis, Offset,
    OutputLimit, ProducerId, Records, compress, crc32c, decompress,
};

use super::*;
use crate::{CleanupPolicy, LogSettings, RecordFault, RecordFaultKind};

const NOW: Millis = Millis::new(1_700_000_000_000);

/// A record to be: key, value, and time.
type Entry = (Option<&'static str>, Option<&'static str>, i64);

#[derive(Clone)]
struct Forged {
    entries: Vec<Entry>,
    codec: Codec,
    bits: i16,
    base_offset: i64,
    magic: u8,
    last_offset_delta: Option<i32>,
    count: Option<i32>,
    max_timestamp: Option<i64>,
    producer: (i64, i16, i32),
    delta_step: i32,
    payload: Option<Vec<u8>>,
}

fn varint(value: i64, into: &mut Vec<u8>) {
    let mut raw = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while raw >= 0x80 {
        into.push(u8::try_from(raw & 0x7f).unwrap() | 0x80);
        raw >>= 7;
    }
    into.push(u8::try_from(raw).unwrap());
}

fn text(text: Option<&str>, into: &mut Vec<u8>) {
    varint(text.map_or(-1, |text| i64::try_from(text.len()).unwrap()), into);
    into.extend_from_slice(text.unwrap_or_default().as_bytes());
}

/// Records without keys at the present time.
fn values(values: &[&'static str]) -> Forged {
    Forged::of(values.iter().map(|value| (None, Some(*value), NOW.get())).collect())
}

fn times(times: &[i64]) -> Forged {
    Forged::of(times.iter().map(|time| (None, Some("v"), *time)).collect())
}

impl Forged {
    fn of(entries: Vec<Entry>) -> Self {
        Self {
            entries,
            codec: Codec::None,
            bits: 0,
            base_offset: 0,
            magic: 2,
            last_offset_delta: None,
            count: None,
            max_timestamp: None,
            producer: (-1, -1, -1),
            delta_step: 1,
            payload: None,
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn plain(&self) -> Vec<u8> {
        let mut payload = Vec::new();
        let base = self.entries.first().map_or(-1, |entry| entry.2);
        for (place, (key, value, time)) in self.entries.iter().enumerate() {
            let mut record = vec![0];
            varint(time.wrapping_sub(base), &mut record);
            varint(i64::try_from(place).unwrap() * i64::from(self.delta_step), &mut record);
            text(*key, &mut record);
            text(*value, &mut record);
            varint(0, &mut record);
            varint(i64::try_from(record.len()).unwrap(), &mut payload);
            payload.extend_from_slice(&record);
        }
        payload
    }

    fn bytes(&self) -> Bytes {
        let payload = self.payload.clone().unwrap_or_else(|| {
            let mut payload = Vec::new();
            compress(self.codec, CompressionLevel::DEFAULT, &self.plain(), &mut payload).unwrap();
            payload
        });
        let count = i32::try_from(self.entries.len()).unwrap();
        let first = self.entries.first().map_or(-1, |entry| entry.2);
        let latest = self.entries.iter().map(|entry| entry.2).max().unwrap_or(-1);
        let length = i32::try_from(payload.len() + HEADER_LEN - 12).unwrap();
        let mut bytes = self.base_offset.to_be_bytes().to_vec();
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&(-1_i32).to_be_bytes());
        bytes.push(self.magic);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&(self.bits | i16::from(self.codec.id())).to_be_bytes());
        let delta = self.last_offset_delta.unwrap_or_else(|| 0.max(count - 1));
        bytes.extend_from_slice(&delta.to_be_bytes());
        bytes.extend_from_slice(&first.to_be_bytes());
        bytes.extend_from_slice(&self.max_timestamp.unwrap_or(latest).to_be_bytes());
        bytes.extend_from_slice(&self.producer.0.to_be_bytes());
        bytes.extend_from_slice(&self.producer.1.to_be_bytes());
        bytes.extend_from_slice(&self.producer.2.to_be_bytes());
        bytes.extend_from_slice(&self.count.unwrap_or(count).to_be_bytes());
        bytes.extend_from_slice(&payload);
        let crc = crc32c(&bytes[CRC_START..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        bytes.into()
    }

    fn validate(&self, config: &LogConfig) -> Result<Validated, AppendError> {
        validate(&self.bytes(), config, NOW, &mut Scratch::new())
    }

    fn refused(&self, config: &LogConfig) -> AppendError {
        match self.validate(config) {
            Ok(taken) => panic!("taken: {taken:?}"),
            Err(error) => error,
        }
    }
}

fn config(change: impl FnOnce(&mut LogSettings)) -> LogConfig {
    let mut settings = LogSettings::kafka_defaults();
    change(&mut settings);
    settings.validate().unwrap()
}

fn defaults() -> LogConfig {
    LogConfig::kafka_defaults()
}

fn log_append_time() -> LogConfig {
    config(|s| s.message_timestamp_type = TimestampType::LogAppendTime)
}

/// What a client gets: the code, and whether the answer tells the log start offset.
fn answer(error: &AppendError) -> (ErrorCode, bool) {
    (error.code(), error.tells_log_start())
}

fn indexes(error: &AppendError) -> Vec<i32> {
    error.record_faults().iter().map(|fault| fault.batch_index).collect()
}

/// The stored batch, read back: its checksum holds and its records are whole.
fn stored(validated: &Validated) -> (Vec<u8>, Vec<Millis>) {
    let bytes = validated.to_vec();
    let (batch, rest) = BatchRef::parse(&bytes).unwrap();
    assert!(rest.is_empty());
    batch.verify().unwrap();
    let codec = batch.attributes().codec().unwrap();
    let mut plain = Vec::new();
    decompress(codec, batch.payload(), OutputLimit::new(1 << 20), &mut plain).unwrap();
    let times = Records::new(batch.record_count(), &plain)
        .map(|record| batch.timestamp_of(&record.unwrap()))
        .collect();
    assert_eq!(batch.max_timestamp(), validated.max_timestamp());
    assert_eq!(batch.last_offset_delta(), validated.last_offset_delta());
    assert_eq!(bytes.len(), validated.len());
    (bytes, times)
}

#[test]
fn a_sound_batch_is_stored_as_it_came_and_its_payload_is_not_copied() {
    let sent = values(&["a", "b"]).bytes();
    let validated = validate(&sent, &defaults(), NOW, &mut Scratch::new()).unwrap();
    assert_eq!(validated.to_vec(), sent);
    assert_eq!(validated.payload().as_ptr(), sent[HEADER_LEN..].as_ptr());
    assert_eq!(validated.last_offset_delta(), 1);
    assert_eq!(validated.log_append_time(), None);
    assert_eq!(validated.claim(), None);
}

#[test]
fn offset_and_epoch_are_stamped_without_a_new_checksum() {
    let mut validated = values(&["a"]).validate(&defaults()).unwrap();
    validated.stamp(Offset::new(42), LeaderEpoch::new(7));
    let (bytes, _) = stored(&validated);
    let (batch, _) = BatchRef::parse(&bytes).unwrap();
    assert_eq!((batch.base_offset(), batch.leader_epoch()), (Offset::new(42), LeaderEpoch::new(7)));
}

#[test]
fn damaged_batches_as_kafka_431() {
    let config = defaults();
    let mut bad_crc = values(&["a"]).bytes().to_vec();
    bad_crc[20] ^= 1;
    let check = |bytes: Vec<u8>| {
        answer(&validate(&bytes.into(), &config, NOW, &mut Scratch::new()).unwrap_err())
    };
    assert_eq!(check(bad_crc), (ErrorCode::CorruptMessage, false));
    let magic = |magic| values(&["a"]).with(|b| b.magic = magic).bytes().to_vec();
    assert_eq!(check(magic(1)), (ErrorCode::InvalidRecord, false));
    assert_eq!(check(magic(3)), (ErrorCode::CorruptMessage, false));
    let whole = values(&["a"]).bytes().to_vec();
    let cut = whole[..whole.len() - 3].to_vec();
    assert_eq!(check(cut), (ErrorCode::InvalidRecord, false));
    assert_eq!(check(Vec::new()), (ErrorCode::InvalidRecord, false));
    let twice = [&whole[..], &whole[..]].concat();
    assert_eq!(check(twice), (ErrorCode::InvalidRecord, false));
}

#[test]
fn d7_a_second_batch_that_is_cut_short_is_left_out_and_garbage_is_not() {
    let config = defaults();
    let whole = values(&["a"]).bytes();
    for extra in [1, 16, 17, 60] {
        let sent = Bytes::from([&whole[..], &whole[..extra]].concat());
        let validated = validate(&sent, &config, NOW, &mut Scratch::new()).unwrap();
        assert_eq!(validated.to_vec(), whole, "{extra}");
    }
    let sent = Bytes::from([&whole[..], &[0xff; 20]].concat());
    let error = validate(&sent, &config, NOW, &mut Scratch::new()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::CorruptMessage);
}

#[test]
fn every_cut_of_a_record_set_is_an_error_value() {
    let whole = values(&["a", "b"]).bytes();
    for len in 0..whole.len() {
        let error = validate(&whole.slice(..len), &defaults(), NOW, &mut Scratch::new());
        assert!(matches!(error, Err(AppendError::NoBatch { .. })), "{len}: {error:?}");
    }
}

#[test]
fn every_flipped_bit_under_the_checksum_is_noticed() {
    let whole = values(&["a", "b"]).bytes();
    for bit in CRC_START * 8..whole.len() * 8 {
        let mut flipped = whole.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let error = validate(&flipped.into(), &defaults(), NOW, &mut Scratch::new());
        assert!(matches!(error, Err(AppendError::Batch(BatchError::Crc { .. }))), "bit {bit}");
    }
}

#[test]
fn d5_counts_that_disagree_as_kafka_431() {
    let config = defaults();
    let refused = |forged: Forged| answer(&forged.refused(&config));
    let invalid = (ErrorCode::InvalidRecord, true);
    assert_eq!(refused(values(&["a", "b"]).with(|b| b.last_offset_delta = Some(2))), invalid);
    assert_eq!(refused(values(&["a"]).with(|b| b.last_offset_delta = Some(-1))), invalid);
    assert_eq!(refused(values(&["a", "b"]).with(|b| b.count = Some(3))), invalid);
    let missing = values(&["a", "b"]).with(|b| (b.count, b.last_offset_delta) = (Some(3), Some(2)));
    assert!(indexes(&missing.refused(&config)).is_empty());
    assert_eq!(refused(missing), invalid);
    assert_eq!(refused(values(&[])), invalid);
    assert_eq!(refused(values(&["a"]).with(|b| b.base_offset = 5)), invalid);
    let surplus = values(&["a", "b"]).with(|b| (b.count, b.last_offset_delta) = (Some(1), Some(0)));
    assert_eq!(refused(surplus), invalid);
    let extreme = |count, delta| {
        values(&["a"]).with(|b| (b.count, b.last_offset_delta) = (Some(count), Some(delta)))
    };
    assert_eq!(refused(extreme(i32::MIN, i32::MAX)), invalid);
    assert_eq!(refused(extreme(-1, -2)), invalid);
}

#[test]
fn a_batch_of_two_thousand_million_records_is_refused_before_any_work() {
    let claims = values(&["a"])
        .with(|b| (b.count, b.last_offset_delta) = (Some(i32::MAX), Some(i32::MAX - 1)));
    let error = claims.refused(&defaults());
    assert!(matches!(error, AppendError::TooManyRecords { limit: 1_000_000, .. }), "{error}");
}

#[test]
fn control_batches_from_a_client_as_kafka_431() {
    let error = values(&["a"]).with(|b| b.bits = 0x20).refused(&defaults());
    assert_eq!(answer(&error), (ErrorCode::InvalidRecord, true));
    assert!(error.record_faults().is_empty());
    let marker = values(&["a"]).with(|b| (b.bits, b.producer) = (0x30, (7, 0, -1)));
    assert!(matches!(marker.refused(&defaults()), AppendError::ControlBatch));
}

#[test]
fn a_producer_without_a_sequence_is_refused() {
    let error = values(&["a"]).with(|b| b.producer = (7, 0, -1)).refused(&defaults());
    assert_eq!(answer(&error), (ErrorCode::InvalidRecord, true));
    let validated = values(&["a"]).with(|b| b.producer = (7, 3, 9)).validate(&defaults()).unwrap();
    let claim = validated.claim().unwrap();
    assert_eq!(claim.producer_id, ProducerId::new(7));
    assert_eq!(claim.base_sequence.get(), 9);
}

/// Kafka takes it in a request of any transactional id, and shows it to readers of committed data at once (`tests/probe`).
#[test]
fn a_transaction_of_nobody_is_refused() {
    let error = values(&["a"]).with(|b| b.bits = 0x10).refused(&defaults());
    assert_eq!(answer(&error), (ErrorCode::InvalidRecord, true));
}

#[test]
fn size_limits_as_kafka_431() {
    let config = config(|s| s.max_message_bytes = 200);
    let of = |value: usize| {
        values(&["a"]).with(|b| {
            b.entries[0].1 = Some(Box::leak("x".repeat(value).into_boxed_str()));
        })
    };
    let exact = of(200 - 61 - 9);
    assert_eq!(exact.bytes().len(), 200);
    assert!(exact.validate(&config).is_ok());
    let error = of(201 - 61 - 9).refused(&config);
    assert_eq!(answer(&error), (ErrorCode::MessageTooLarge, false));
    // The size comes before the checksum, the base offset before the size.
    let mut bytes = of(300).bytes().to_vec();
    bytes[20] ^= 1;
    let error = validate(&bytes.clone().into(), &config, NOW, &mut Scratch::new()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::MessageTooLarge);
    bytes[7] = 5;
    let error = validate(&bytes.into(), &config, NOW, &mut Scratch::new()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidRecord);
}

#[test]
fn a_batch_larger_than_a_segment_is_refused() {
    let config = config(|s| s.internal_segment_bytes = Some(70));
    let error = values(&["abcdef"]).refused(&config);
    assert_eq!(answer(&error), (ErrorCode::RecordListTooLarge, true));
    assert!(values(&["a"]).validate(&config).is_ok(), "70 bytes fit");
}

#[test]
fn times_out_of_bounds_as_kafka_431() {
    let config = config(|s| {
        s.message_timestamp_before_max_ms = 1_000_000_000;
        s.message_timestamp_after_max_ms = 60_000;
    });
    let now = NOW.get();
    let refused = |list: &[i64]| {
        let error = times(list).refused(&config);
        assert_eq!(answer(&error), (ErrorCode::InvalidTimestamp, true));
        indexes(&error)
    };
    assert_eq!(refused(&[1_000]), [0]);
    assert_eq!(refused(&[now + 3_000_000]), [0]);
    assert_eq!(refused(&[now, 1_000, now]), [1]);
    assert!(times(&[-1]).validate(&config).is_ok(), "no time is fine");
    assert!(times(&[now - 1_000_000_000, now + 60_000]).validate(&config).is_ok(), "on the bounds");
    assert_eq!(refused(&[now - 1_000_000_001, now + 60_001]), [0, 1]);
}

#[test]
fn g10_times_an_hour_ahead_are_refused_by_default() {
    let hour = 3_600_000;
    assert!(times(&[NOW.get() + hour]).validate(&defaults()).is_ok());
    let error = times(&[NOW.get() + hour + 1]).refused(&defaults());
    assert_eq!(error.code(), ErrorCode::InvalidTimestamp);
    let extremes = times(&[i64::MAX, i64::MIN]).refused(&defaults());
    assert_eq!(indexes(&extremes), [0, 1]);
}

#[test]
fn times_below_minus_one_are_refused_where_they_would_be_read() {
    let error = times(&[0, -2]).refused(&defaults());
    assert_eq!(error.code(), ErrorCode::InvalidTimestamp);
    let found = Millis::new(-2);
    let fault = RecordFault { batch_index: 1, kind: RecordFaultKind::NegativeTime { found } };
    assert_eq!(error.record_faults(), [fault]);
    assert!(times(&[0, -2]).validate(&log_append_time()).is_ok());
}

#[test]
fn a_forged_largest_time_is_computed_anew() {
    let now = NOW.get();
    let forged = times(&[now - 9, now - 4, now - 7])
        .with(|b| (b.max_timestamp, b.producer) = (Some(now + 99_999_999), (1, 0, 0)));
    let validated = forged.validate(&defaults()).unwrap();
    assert_eq!(validated.max_timestamp().get(), now - 4);
    assert_eq!(validated.claim().unwrap().max_timestamp.get(), now - 4);
    let (_, read) = stored(&validated);
    assert_eq!(read, [now - 9, now - 4, now - 7].map(Millis::new));
}

#[test]
fn log_append_time_takes_the_place_of_all_times_as_kafka_431() {
    for codec in [Codec::None, Codec::Gzip] {
        let sent = times(&[5, 9]).with(|b| b.codec = codec).bytes();
        let validated = validate(&sent, &log_append_time(), NOW, &mut Scratch::new()).unwrap();
        assert_eq!(validated.log_append_time(), Some(NOW));
        assert_eq!(validated.payload().as_ptr(), sent[HEADER_LEN..].as_ptr(), "not copied");
        let (_, read) = stored(&validated);
        assert_eq!(read, [NOW, NOW]);
    }
}

#[test]
fn a_client_that_claims_log_append_time_as_kafka_431() {
    let claims = |time| times(&[time]).with(|b| b.bits = 8);
    let validated = claims(NOW.get() - 5).validate(&defaults()).unwrap();
    assert_eq!(validated.max_timestamp().get(), NOW.get() - 5);
    let (bytes, read) = stored(&validated);
    assert_eq!(read, [Millis::new(NOW.get() - 5)]);
    assert_eq!(bytes[22] & 8, 0, "the topic says CreateTime");
    let fault = RecordFaultKind::ClaimsLogAppendTime;
    for (time, config) in [(-1, defaults()), (NOW.get(), log_append_time())] {
        let error = claims(time).refused(&config);
        assert_eq!(error.code(), ErrorCode::InvalidTimestamp);
        assert_eq!(error.record_faults(), [RecordFault { batch_index: 0, kind: fault }]);
    }
}

#[test]
fn compacted_topics_want_keys_as_kafka_431() {
    for policy in [CleanupPolicy::Compact, CleanupPolicy::CompactAndDelete] {
        let config = config(|s| s.cleanup_policy = policy);
        let error = values(&["a"]).refused(&config);
        assert_eq!(answer(&error), (ErrorCode::InvalidRecord, true));
        assert_eq!(indexes(&error), [0]);
        let now = NOW.get();
        let second = Forged::of(vec![(Some("k"), Some("v"), now), (None, Some("w"), now)]);
        assert_eq!(indexes(&second.refused(&config)), [1]);
        let keys = Forged::of(vec![(Some("k"), Some("v"), now), (Some(""), None, now)]);
        assert!(keys.validate(&config).is_ok(), "an empty key is a key");
    }
}

#[test]
fn a_time_outweighs_a_key_and_all_records_at_fault_are_told() {
    let config = config(|s| {
        s.cleanup_policy = CleanupPolicy::Compact;
        s.message_timestamp_before_max_ms = 10;
    });
    let now = NOW.get();
    let mixed = Forged::of(vec![
        (None, None, now),
        (Some("k"), None, now),
        (Some("k"), None, now - 11),
        (None, None, now - 11),
    ]);
    let error = mixed.refused(&config);
    assert_eq!(error.code(), ErrorCode::InvalidTimestamp);
    assert_eq!(indexes(&error), [0, 2, 3]);
    assert_eq!(error.record_faults()[2].kind, RecordFaultKind::NoKey, "the key comes first");
}

#[test]
fn a_malformed_record_outweighs_records_that_break_rules() {
    let config = config(|s| s.cleanup_policy = CleanupPolicy::Compact);
    let forged = values(&["a", "b"]).with(|b| {
        let mut payload = b.plain();
        payload.pop();
        b.payload = Some(payload);
    });
    let error = forged.refused(&config);
    assert!(matches!(error, AppendError::Record(_)), "{error}");
}

#[test]
fn a_million_bad_records_make_no_message_as_large() {
    let config = config(|s| s.cleanup_policy = CleanupPolicy::Compact);
    let error = Forged::of(vec![(None, None, NOW.get()); 5000]).refused(&config);
    assert_eq!(error.record_faults().len(), 1000);
    assert!(error.to_string().starts_with("5000 records are at fault"), "{error}");
}

#[test]
fn inner_offsets_count_from_zero_in_every_codec() {
    for codec in [Codec::None, Codec::Gzip] {
        let forged = values(&["a", "b"]).with(|b| (b.codec, b.delta_step) = (codec, 2));
        let error = forged.refused(&defaults());
        assert!(matches!(error, AppendError::OffsetDelta { batch_index: 1, found: 2 }), "{error}");
        assert_eq!(error.code(), ErrorCode::InvalidRecord);
    }
}

#[test]
fn attribute_bits_no_producer_may_set_are_refused() {
    for bit in 6..16 {
        let error = values(&["a"]).with(|b| b.bits = 1_i16.wrapping_shl(bit)).refused(&defaults());
        assert!(matches!(error, AppendError::ReservedBits { .. }), "bit {bit}: {error}");
        assert_eq!(answer(&error), (ErrorCode::InvalidRecord, true));
    }
    for codec in 5..8 {
        let error = values(&["a"]).with(|b| b.bits = codec).refused(&defaults());
        assert!(matches!(error, AppendError::UnknownCodec { .. }), "codec {codec}: {error}");
        assert_eq!(answer(&error), (ErrorCode::InvalidRecord, true));
    }
    let transactional = values(&["a"]).with(|b| (b.bits, b.producer) = (0x10, (7, 0, 0)));
    assert!(transactional.validate(&defaults()).is_ok());
}
