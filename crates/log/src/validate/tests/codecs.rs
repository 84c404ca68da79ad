//! Compressed batches.

use super::*;
use crate::CompressionType;

const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

#[test]
fn each_codec_is_kept_as_kafka_431() {
    for codec in CODECS {
        let sent = values(&["a", "b", "c"]).with(|b| b.codec = codec).bytes();
        let validated = validate(&sent, &defaults(), NOW, &mut Scratch::new()).unwrap();
        assert_eq!(validated.to_vec(), sent, "{codec:?}");
        assert_eq!(validated.payload().as_ptr(), sent[HEADER_LEN..].as_ptr(), "not copied");
    }
}

#[test]
fn compression_type_decides_between_every_two_codecs() {
    let wanted = [
        (CompressionType::Uncompressed, Codec::None),
        (CompressionType::Gzip, Codec::Gzip),
        (CompressionType::Snappy, Codec::Snappy),
        (CompressionType::Lz4, Codec::Lz4),
        (CompressionType::Zstd, Codec::Zstd),
    ];
    for from in CODECS {
        for (setting, to) in wanted {
            let config = config(|s| s.compression_type = setting);
            let sent = values(&["a", "b", "c"])
                .with(|b| (b.codec, b.bits, b.producer) = (from, 0x10, (7, 2, 5)));
            let mut validated = sent.validate(&config).unwrap();
            validated.stamp(Offset::new(9), LeaderEpoch::new(1));
            let (bytes, read) = stored(&validated);
            let (batch, _) = BatchRef::parse(&bytes).unwrap();
            assert_eq!(batch.attributes().codec(), Ok(to), "{from:?} to {to:?}");
            assert!(batch.attributes().is_transactional());
            assert_eq!(batch.producer_id(), ProducerId::new(7));
            assert_eq!(batch.last_offset(), Offset::new(11));
            assert_eq!(read, [NOW; 3]);
        }
    }
}

#[test]
fn another_codec_and_the_leaders_clock_go_together() {
    let config = config(|s| {
        s.compression_type = CompressionType::Zstd;
        s.message_timestamp_type = TimestampType::LogAppendTime;
    });
    let sent = times(&[1, 2]).with(|b| (b.codec, b.producer) = (Codec::Lz4, (7, 2, 5)));
    let validated = sent.validate(&config).unwrap();
    assert_eq!(stored(&validated).1, [NOW; 2]);
    assert_eq!(validated.claim().unwrap().max_timestamp, NOW);
}

#[test]
fn another_level_is_no_reason_to_compress_anew() {
    let config = config(|s| {
        s.compression_type = CompressionType::Gzip;
        s.compression_gzip_level = 9;
    });
    let sent = values(&["a", "b"]).with(|b| b.codec = Codec::Gzip).bytes();
    let validated = validate(&sent, &config, NOW, &mut Scratch::new()).unwrap();
    assert_eq!(validated.to_vec(), sent);
}

#[test]
fn the_level_of_the_topic_is_used() {
    let text: String =
        (0..20_000_u32).map(|n| char::from(b'a' + u8::try_from(n * n % 23).unwrap())).collect();
    let value: &'static str = Box::leak(text.into_boxed_str());
    let size = |level| {
        let config = config(|s| {
            s.compression_type = CompressionType::Gzip;
            s.compression_gzip_level = level;
        });
        values(&[value]).validate(&config).unwrap().len()
    };
    assert!(size(9) < size(1), "{} {}", size(9), size(1));
    assert!(size(-1) < size(1), "-1 is the library's default, not the lowest level");
}

#[test]
fn a_batch_that_grows_beyond_the_limit_is_refused_after_it_was_taken_in() {
    let config = config(|s| {
        s.compression_type = CompressionType::Uncompressed;
        s.max_message_bytes = 200;
    });
    let value: &'static str = Box::leak("x".repeat(1000).into_boxed_str());
    let sent = values(&[value]).with(|b| b.codec = Codec::Gzip);
    assert!(sent.bytes().len() <= 200);
    assert_eq!(answer(&sent.refused(&config)), (ErrorCode::MessageTooLarge, true));
}

#[test]
fn a_compressed_batch_that_holds_something_else_is_refused() {
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let garbage = values(&["a"])
            .with(|b| (b.codec, b.payload) = (codec, Some(b"not what the header says".to_vec())));
        let error = garbage.refused(&defaults());
        assert!(matches!(error, AppendError::Codec(_)), "{codec:?}: {error}");
        assert_eq!(answer(&error), (ErrorCode::CorruptMessage, true));
        let fewer = values(&["a", "b"])
            .with(|b| (b.codec, b.count, b.last_offset_delta) = (codec, Some(3), Some(2)));
        assert!(matches!(fewer.refused(&defaults()), AppendError::Record(_)), "{codec:?}");
        let more = values(&["a", "b"])
            .with(|b| (b.codec, b.count, b.last_offset_delta) = (codec, Some(1), Some(0)));
        assert!(matches!(more.refused(&defaults()), AppendError::Record(_)), "{codec:?}");
    }
}

#[test]
fn a_bomb_is_refused_and_the_scratch_gives_its_memory_back() {
    for codec in [Codec::Gzip, Codec::Zstd] {
        let mut payload = Vec::new();
        let zeroes = vec![0; 40 << 20];
        compress(codec, CompressionLevel::DEFAULT, &zeroes, &mut payload).unwrap();
        let bomb = values(&["a"]).with(|b| (b.codec, b.payload) = (codec, Some(payload)));
        let mut scratch = Scratch::new();
        let error = validate(&bomb.bytes(), &defaults(), NOW, &mut scratch).unwrap_err();
        assert!(matches!(error, AppendError::Codec(_) | AppendError::Record(_)), "{error}");
        assert!(scratch.plain.capacity() <= Scratch::KEPT_BYTES);
    }
}

/// What a topic's codec would make small enough to store is refused when no reader would expand it.
#[test]
fn what_no_reader_decompresses_is_not_compressed() {
    let (sent, config) = (values(&["a", "b"]).bytes(), defaults());
    let batch = one_batch(&sent).unwrap();
    let checked = Checked { batch, codec: Codec::None, claim: None, now: NOW, config: &config };
    let plain = batch.payload();
    let pack = |limit| checked.recompressed(Codec::Zstd, plain, OutputLimit::new(limit));
    pack(plain.len()).unwrap();
    let limit = plain.len() - 1;
    let error = pack(limit).unwrap_err();
    assert!(matches!(error, AppendError::Codec(CodecError::TooLarge { limit: l }) if l == limit));
    assert_eq!(error.code(), ErrorCode::MessageTooLarge);
}
