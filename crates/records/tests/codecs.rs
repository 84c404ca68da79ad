//! What each codec writes and reads: round trips, the framings of real clients, and what is refused.
#![allow(clippy::unwrap_used, reason = "a test that panics fails, which is what it is for")]

use hanbeon_records::{
    BatchBuilder, BatchKind, BatchRef, BatchSettings, Codec, CodecError, CodecFault,
    CompressionLevel, ErrorCode, LeaderEpoch, Millis, NewRecord, Offset, OutputLimit, Records,
    TimestampType, compress, decompress,
};
use proptest::prelude::*;

const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
const COMPRESSING: [Codec; 4] = [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
const LIMIT: OutputLimit = OutputLimit::new(1 << 20);

fn packed(codec: Codec, plain: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    compress(codec, CompressionLevel::DEFAULT, plain, &mut bytes).unwrap();
    bytes
}

fn unpacked(codec: Codec, bytes: &[u8], limit: OutputLimit) -> Result<Vec<u8>, CodecError> {
    let mut plain = b"before".to_vec();
    let result = decompress(codec, bytes, limit, &mut plain);
    assert!(plain.starts_with(b"before"), "{codec}: what was there stays");
    if result.is_err() {
        assert_eq!(plain.len(), 6, "{codec}: an error leaves nothing behind");
    }
    result.map(|()| plain.split_off(6))
}

fn fault(codec: Codec, bytes: &[u8]) -> CodecFault {
    match unpacked(codec, bytes, LIMIT) {
        Err(CodecError::Corrupt { codec: found, fault }) if found == codec => fault,
        other => panic!("{codec}: {other:?}"),
    }
}

/// Bytes that no codec makes smaller, from a fixed seed.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..len).map(|_| next()).collect()
}

#[test]
fn all_sizes_around_the_blocks_come_back() {
    for codec in CODECS {
        for len in [0, 1, 32 << 10, (32 << 10) + 1, 64 << 10, (64 << 10) + 1, 300_000] {
            for plain in [vec![b'a'; len], noise(len)] {
                let bytes = packed(codec, &plain);
                assert!(unpacked(codec, &bytes, LIMIT) == Ok(plain.clone()), "{codec} {len}");
                let exact = OutputLimit::new(len);
                assert!(unpacked(codec, &bytes, exact) == Ok(plain), "{codec} {len} exactly");
                if len > 0 {
                    let limit = len - 1;
                    let refused = unpacked(codec, &bytes, OutputLimit::new(limit));
                    assert_eq!(refused, Err(CodecError::TooLarge { limit }), "{codec} {len}");
                }
            }
        }
    }
}

#[test]
fn every_shorter_payload_is_an_error_or_shorter() {
    let plain = [noise(400), vec![7; 400]].concat();
    for codec in COMPRESSING {
        let bytes = packed(codec, &plain);
        for len in 0..bytes.len() {
            let result = unpacked(codec, &bytes[..len], LIMIT);
            // A xerial stream without blocks is a whole one, of nothing.
            if codec == Codec::Snappy && len == 16 {
                assert_eq!(result, Ok(Vec::new()));
            } else {
                assert!(result.is_err(), "{codec} cut to {len} of {}", bytes.len());
            }
        }
    }
}

#[test]
fn levels_outside_the_scale_are_taken_as_the_nearest() {
    let plain = vec![b'x'; 5000];
    for codec in CODECS {
        for level in [i32::MIN, -1, 0, 1, 9, 22, i32::MAX] {
            let mut bytes = Vec::new();
            compress(codec, CompressionLevel::new(level), &plain, &mut bytes).unwrap();
            assert_eq!(unpacked(codec, &bytes, LIMIT).as_ref(), Ok(&plain), "{codec} {level}");
        }
    }
}

#[test]
fn gzip_members_may_follow_each_other_up_to_sixteen() {
    let member = packed(Codec::Gzip, b"ab");
    let sixteen = unpacked(Codec::Gzip, &member.repeat(16), LIMIT);
    assert_eq!(sixteen.unwrap(), b"ab".repeat(16));
    assert_eq!(fault(Codec::Gzip, &member.repeat(17)), CodecFault::TooManyMembers);
    assert_eq!(fault(Codec::Gzip, &[&member[..], b"zz"].concat()), CodecFault::Data);
    let mut wrong_sum = member;
    let at = wrong_sum.len() - 8;
    wrong_sum[at] ^= 1;
    assert_eq!(fault(Codec::Gzip, &wrong_sum), CodecFault::Data);
    assert_eq!(fault(Codec::Gzip, &[]), CodecFault::Truncated);
}

#[test]
fn snappy_is_xerials_stream_or_one_bare_block() {
    let stream = packed(Codec::Snappy, b"hello");
    assert_eq!(stream[..16], *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01");
    // The block of librdkafka: length 5, literal of 5 bytes.
    let bare = b"\x05\x10hello";
    assert_eq!(stream[16..], [&[0, 0, 0, 7][..], bare].concat());
    assert_eq!(unpacked(Codec::Snappy, bare, LIMIT).unwrap(), b"hello");
    let twice = stream.repeat(2);
    assert_eq!(unpacked(Codec::Snappy, &twice, LIMIT).unwrap(), b"hellohello");
    let mut other_versions = stream.clone();
    other_versions[8..16].copy_from_slice(&[1, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!(unpacked(Codec::Snappy, &other_versions, LIMIT).unwrap(), b"hello");
    assert_eq!(
        fault(Codec::Snappy, &[&stream[..16], &[0x80, 0, 0, 0]].concat()),
        CodecFault::Header
    );
    assert_eq!(fault(Codec::Snappy, &[&stream[..], &[0]].concat()), CodecFault::Truncated);
    // A block that claims 4 GiB, and one that claims more than its bytes can hold.
    let huge = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
    assert_eq!(fault(Codec::Snappy, &huge), CodecFault::BlockTooLarge);
    assert_eq!(fault(Codec::Snappy, &[0x80, 0x80, 0x04, 0]), CodecFault::BlockTooLarge);
    assert_eq!(fault(Codec::Snappy, &[]), CodecFault::Data);
}

#[test]
fn lz4_is_one_frame_as_java_writes_it() {
    let frame = packed(Codec::Lz4, b"hello");
    let expected = b"\x04\x22\x4d\x18\x60\x40\x82\x05\0\0\x80hello\0\0\0\0";
    assert_eq!(frame, expected);
    let with = |at: usize, byte: u8| {
        let mut bytes = frame.clone();
        bytes[at] = byte;
        bytes
    };
    assert_eq!(fault(Codec::Lz4, &with(0, 0)), CodecFault::Header);
    assert_eq!(fault(Codec::Lz4, &with(4, 0x20)), CodecFault::Header, "version 00");
    assert_eq!(fault(Codec::Lz4, &with(4, 0x61)), CodecFault::Header, "reserved flag");
    assert_eq!(fault(Codec::Lz4, &with(4, 0x40)), CodecFault::LinkedBlocks);
    assert_eq!(fault(Codec::Lz4, &with(5, 0x30)), CodecFault::Header, "block size 3");
    assert_eq!(fault(Codec::Lz4, &with(5, 0xc0)), CodecFault::Header, "reserved bit");
    assert_eq!(fault(Codec::Lz4, &with(6, 0x83)), CodecFault::HeaderChecksum);
    assert_eq!(fault(Codec::Lz4, &with(9, 0x02)), CodecFault::BlockTooLarge);
    assert_eq!(fault(Codec::Lz4, &[&frame[..], &frame[..]].concat()), CodecFault::Surplus);
    // The check that old clients took of magic and descriptor.
    let [_, old, ..] = xxhash(&frame[..6]);
    assert_ne!(old, 0x82);
    assert_eq!(unpacked(Codec::Lz4, &with(6, old), LIMIT).unwrap(), b"hello");
}

#[test]
fn lz4_extras_are_skipped_or_checked_as_java_does() {
    // Content size and both checks: 0x7c is version 1, independent, block check, content size, content check.
    let mut frame = b"\x04\x22\x4d\x18\x7c\x40\x05\0\0\0\0\0\0\0".to_vec();
    let [_, check, ..] = xxhash(&frame[4..]);
    frame.push(check);
    frame.extend_from_slice(b"\x05\0\0\x80hello");
    let block_check = frame.len();
    frame.extend_from_slice(&xxhash(b"hello"));
    frame.extend_from_slice(b"\0\0\0\0????");
    let read = unpacked(Codec::Lz4, &frame, LIMIT);
    assert_eq!(read.unwrap(), b"hello", "the content's check is not compared");
    assert_eq!(fault(Codec::Lz4, &frame[..frame.len() - 1]), CodecFault::Truncated);
    frame[block_check] ^= 1;
    assert_eq!(fault(Codec::Lz4, &frame), CodecFault::BlockChecksum);
}

/// XXH32 with seed 0 of fewer than 16 bytes, by the book.
fn xxhash(bytes: &[u8]) -> [u8; 4] {
    const P: [u32; 5] = [2_654_435_761, 2_246_822_519, 3_266_489_917, 668_265_263, 374_761_393];
    assert!(bytes.len() < 16, "the long form is not needed here");
    let mut hash = P[4].wrapping_add(u32::try_from(bytes.len()).unwrap());
    let mut words = bytes.chunks_exact(4);
    for word in words.by_ref() {
        let word = u32::from_le_bytes(word.try_into().unwrap());
        hash = hash.wrapping_add(word.wrapping_mul(P[2])).rotate_left(17).wrapping_mul(P[3]);
    }
    for &byte in words.remainder() {
        let byte = u32::from(byte).wrapping_mul(P[4]);
        hash = hash.wrapping_add(byte).rotate_left(11).wrapping_mul(P[0]);
    }
    hash = (hash ^ (hash >> 15)).wrapping_mul(P[1]);
    hash = (hash ^ (hash >> 13)).wrapping_mul(P[2]);
    (hash ^ (hash >> 16)).to_le_bytes()
}

#[test]
fn zstd_frames_may_follow_each_other_and_not_know_their_size() {
    let frame = packed(Codec::Zstd, b"ab");
    let three = unpacked(Codec::Zstd, &frame.repeat(3), LIMIT);
    assert_eq!(three.unwrap(), b"ababab");
    // Window of 1 KiB, no size, one last raw block of "hello".
    let streamed = b"\x28\xb5\x2f\xfd\x00\x00\x29\0\0hello";
    assert_eq!(unpacked(Codec::Zstd, streamed, LIMIT).unwrap(), b"hello");
    // The same with a window of 16 MiB: exponent 14 above 1 KiB.
    let mut wide = streamed.to_vec();
    wide[5] = 14 << 3;
    assert_eq!(fault(Codec::Zstd, &wide), CodecFault::Data);
    wide[5] = 13 << 3;
    assert_eq!(unpacked(Codec::Zstd, &wide, LIMIT).unwrap(), b"hello");
    assert_eq!(fault(Codec::Zstd, &[&frame[..], b"xxxx"].concat()), CodecFault::Data);
    assert_eq!(fault(Codec::Zstd, &[]), CodecFault::Truncated);
}

#[test]
fn high_zstd_levels_stay_within_the_window_that_is_read() {
    let plain = noise(9 << 20);
    let mut bytes = Vec::new();
    compress(Codec::Zstd, CompressionLevel::new(20), &plain, &mut bytes).unwrap();
    assert!(unpacked(Codec::Zstd, &bytes, OutputLimit::new(9 << 20)) == Ok(plain));
}

#[test]
fn errors_tell_the_client_what_to_do() {
    let codec = Codec::Lz4;
    let codes = [
        (CodecError::Unsupported { codec }, ErrorCode::UnsupportedCompressionType),
        (CodecError::TooLarge { limit: 1 }, ErrorCode::MessageTooLarge),
        (CodecError::Corrupt { codec, fault: CodecFault::Data }, ErrorCode::CorruptMessage),
        (CodecError::Compressor { codec }, ErrorCode::UnknownServerError),
    ];
    for (error, code) in codes {
        assert_eq!(error.code(), code, "{error}");
    }
    assert_eq!(OutputLimit::for_batch(0).get(), 16 << 20);
    assert_eq!(OutputLimit::for_batch(50_000).get(), 50_000_000);
    assert_eq!(OutputLimit::for_batch(usize::MAX).get(), 128 << 20);
}

type Fields = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Option<Vec<u8>>)>);

fn records() -> impl Strategy<Value = Vec<Fields>> {
    let bytes = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200));
    let headers = proptest::collection::vec((".{0,9}", bytes()), 0..4);
    let record = (-1_i64..1 << 45, bytes(), bytes(), headers);
    proptest::collection::vec(record, 1..60)
}

proptest! {
    #[test]
    fn a_built_batch_reads_back_the_same(records in records(), codec in 0_usize..5) {
        let codec = CODECS[codec];
        let mut bytes = vec![1, 2, 3];
        let mut builder = BatchBuilder::new(&mut bytes, BatchSettings {
            codec,
            level: CompressionLevel::DEFAULT,
            timestamp_type: TimestampType::CreateTime,
            producer: None,
            kind: BatchKind::Plain,
            base_offset: Offset::new(1000),
            leader_epoch: LeaderEpoch::new(1),
        });
        for (time, key, value, headers) in &records {
            let headers: Vec<_> =
                headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
            builder.push(NewRecord {
                timestamp: Millis::new(*time),
                key: key.as_deref(),
                value: value.as_deref(),
                headers: &headers,
            }).unwrap();
        }
        let range = builder.finish().unwrap();
        prop_assert_eq!(range.start, 3);
        let (batch, rest) = BatchRef::parse(&bytes[range]).unwrap();
        let batch = batch.verify().unwrap();
        prop_assert!(rest.is_empty());
        prop_assert_eq!(batch.max_timestamp().get(), records.iter().map(|r| r.0).max().unwrap());
        let plain = unpacked(codec, batch.payload(), LIMIT).unwrap();
        let mut count = 0_i64;
        for (read, wrote) in Records::new(batch.record_count(), &plain).zip(&records) {
            let read = read.unwrap();
            prop_assert_eq!(batch.offset_of(&read).get(), 1000 + count);
            prop_assert_eq!(batch.timestamp_of(&read).get(), wrote.0);
            prop_assert_eq!(read.key, wrote.1.as_deref());
            prop_assert_eq!(read.value, wrote.2.as_deref());
            let headers: Vec<_> = read.headers.map(|header| (header.key, header.value)).collect();
            let expected: Vec<_> =
                wrote.3.iter().map(|(name, value)| (name.as_bytes(), value.as_deref())).collect();
            prop_assert_eq!(headers, expected);
            count += 1;
        }
        prop_assert_eq!(usize::try_from(count).unwrap(), records.len());
    }

    #[test]
    fn any_bytes_are_refused_or_bounded(
        codec in 0_usize..5,
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        keep in 0_usize..40,
    ) {
        let codec = CODECS[codec];
        let front = packed(codec, &[b'q'; 4000]);
        let bytes = [front.get(..keep).unwrap_or(&front), &bytes].concat();
        if let Ok(plain) = unpacked(codec, &bytes, OutputLimit::new(5000)) {
            prop_assert!(plain.len() <= 5000);
        }
    }
}
