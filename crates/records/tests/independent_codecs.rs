//! Each codec against one that shares no code with ours, both ways: miniz for gzip, the C library for LZ4, ruzstd for Zstandard. Of Snappy
//! there is no other in Rust, so one stands here that follows the description of the format.
#![allow(clippy::unwrap_used, reason = "a test that panics fails, which is what it is for")]

use std::{
    collections::BTreeMap,
    io::{Read, Write},
};

use hanbeon_records::{
    BatchBuilder, BatchKind, BatchRef, BatchSettings, Codec, CompressionLevel, LeaderEpoch, Millis,
    NewRecord, Offset, OutputLimit, TimestampType, decompress,
};
use proptest::prelude::*;

/// CRC-32 as gzip has it.
const CRC_32: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
const XERIAL: [u8; 16] = *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";

/// Values of records: empty ones, noise, runs and words that come again.
fn values() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let words = proptest::collection::vec(0..40_u8, 0..3000);
    let value = prop_oneof![
        Just(Vec::new()),
        proptest::collection::vec(any::<u8>(), 0..300),
        (any::<u8>(), 0..100_000_usize).prop_map(|(byte, len)| vec![byte; len]),
        words.prop_map(|words| words
            .iter()
            .flat_map(|n| format!("word-{n} ").into_bytes())
            .collect()),
    ];
    proptest::collection::vec(value, 1..12)
}

/// What a batch of ours holds behind its header.
fn payload(codec: Codec, level: i32, values: &[Vec<u8>]) -> Vec<u8> {
    let settings = BatchSettings {
        codec,
        level: CompressionLevel::new(level),
        timestamp_type: TimestampType::CreateTime,
        producer: None,
        kind: BatchKind::Plain,
        base_offset: Offset::ZERO,
        leader_epoch: LeaderEpoch::UNKNOWN,
    };
    let mut bytes = Vec::new();
    let mut builder = BatchBuilder::new(&mut bytes, settings);
    for value in values {
        let timestamp = Millis::new(1_700_000_000_000);
        builder.push(NewRecord { timestamp, key: None, value: Some(value), headers: &[] }).unwrap();
    }
    builder.finish().unwrap();
    BatchRef::parse(&bytes).unwrap().0.payload().to_vec()
}

fn ours(codec: Codec, bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    decompress(codec, bytes, OutputLimit::new(4 << 20), &mut plain).unwrap();
    plain
}

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let (head, rest) = bytes.split_at(10);
    assert_eq!(head[..4], [0x1f, 0x8b, 8, 0], "deflate, and no more fields in the header");
    let (deflated, tail) = rest.split_at(rest.len() - 8);
    let plain = miniz_oxide::inflate::decompress_to_vec(deflated).unwrap();
    let len = u32::try_from(plain.len()).unwrap();
    assert_eq!(tail, [CRC_32.checksum(&plain).to_le_bytes(), len.to_le_bytes()].concat());
    plain
}

fn gzip(plain: &[u8], level: u8) -> Vec<u8> {
    let mut bytes = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    bytes.extend(miniz_oxide::deflate::compress_to_vec(plain, level));
    bytes.extend(CRC_32.checksum(plain).to_le_bytes());
    bytes.extend(u32::try_from(plain.len()).unwrap().to_le_bytes());
    bytes
}

fn unlz4(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut decoder = lz4::Decoder::new(bytes).unwrap();
    decoder.read_to_end(&mut plain).unwrap();
    let (rest, result) = decoder.finish();
    result.unwrap();
    assert!(rest.is_empty(), "one frame and nothing behind it");
    plain
}

fn lz4(plain: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = lz4::EncoderBuilder::new()
        .level(level)
        .block_mode(lz4::BlockMode::Independent)
        .build(Vec::new())
        .unwrap();
    encoder.write_all(plain).unwrap();
    let (bytes, result) = encoder.finish();
    result.unwrap();
    bytes
}

fn unzstd(mut bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut decoder = ruzstd::decoding::StreamingDecoder::new(&mut bytes).unwrap();
    decoder.read_to_end(&mut plain).unwrap();
    assert!(bytes.is_empty(), "one frame and nothing behind it");
    plain
}

fn zstd(plain: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(plain, ruzstd::encoding::CompressionLevel::Fastest)
}

fn take(bytes: &mut &[u8], count: usize) -> usize {
    let (front, rest) = bytes.split_at(count);
    *bytes = rest;
    front.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

/// A length, then literals and copies of what came before.
fn unsnap(mut block: &[u8]) -> Vec<u8> {
    let (mut len, mut shift, mut byte) = (0, 0, 0x80);
    while byte >= 0x80 {
        byte = take(&mut block, 1);
        len |= (byte & 0x7f) << shift;
        shift += 7;
    }
    let mut plain = Vec::new();
    while !block.is_empty() {
        let tag = take(&mut block, 1);
        let (count, offset) = match tag & 3 {
            0 => {
                let rest = tag >> 2;
                let count = if rest < 60 { rest } else { take(&mut block, rest - 59) } + 1;
                let (literal, behind) = block.split_at(count);
                plain.extend_from_slice(literal);
                block = behind;
                continue;
            }
            1 => ((tag >> 2 & 7) + 4, (tag >> 5) << 8 | take(&mut block, 1)),
            2 => ((tag >> 2) + 1, take(&mut block, 2)),
            _ => ((tag >> 2) + 1, take(&mut block, 4)),
        };
        for _ in 0..count {
            plain.push(plain[plain.len() - offset]);
        }
    }
    assert_eq!(plain.len(), len);
    plain
}

fn snap(plain: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    let mut len = plain.len();
    while len >= 0x80 {
        block.push(low(len) | 0x80);
        len >>= 7;
    }
    block.push(low(len));
    let (mut at, mut literal, mut seen) = (0, 0, BTreeMap::new());
    while let Some(four) = plain.get(at..at + 4) {
        let Some(from) = seen.insert(four, at) else {
            at += 1;
            continue;
        };
        let alike = plain[at..].iter().zip(&plain[from..]).take(64).take_while(|(a, b)| a == b);
        let count = alike.count();
        push_literal(&plain[literal..at], &mut block);
        push_copy(at - from, count, &mut block);
        at += count;
        literal = at;
    }
    push_literal(&plain[literal..], &mut block);
    block
}

fn low(number: usize) -> u8 {
    number.to_le_bytes()[0]
}

fn push_literal(literal: &[u8], block: &mut Vec<u8>) {
    let Some(rest) = literal.len().checked_sub(1) else { return };
    if rest < 60 {
        block.push(low(rest << 2));
    } else {
        let bytes = (1..4).find(|bytes| rest >> (8 * bytes) == 0).unwrap_or(4);
        block.push(low((59 + bytes) << 2));
        block.extend_from_slice(&rest.to_le_bytes()[..bytes]);
    }
    block.extend_from_slice(literal);
}

fn push_copy(offset: usize, count: usize, block: &mut Vec<u8>) {
    let bytes = offset.to_le_bytes();
    if offset < 1 << 11 && count < 12 {
        block.extend([low((offset >> 8) << 5 | (count - 4) << 2 | 1), bytes[0]]);
    } else if offset < 1 << 16 {
        block.push(low((count - 1) << 2 | 2));
        block.extend_from_slice(&bytes[..2]);
    } else {
        block.push(low((count - 1) << 2 | 3));
        block.extend_from_slice(&bytes[..4]);
    }
}

fn unxerial(bytes: &[u8]) -> Vec<u8> {
    let mut rest = bytes.strip_prefix(&XERIAL).unwrap();
    let mut plain = Vec::new();
    while let Some((len, behind)) = rest.split_first_chunk() {
        let (block, behind) = behind.split_at(usize::try_from(i32::from_be_bytes(*len)).unwrap());
        plain.extend(unsnap(block));
        rest = behind;
    }
    assert!(rest.is_empty());
    plain
}

fn xerial(plain: &[u8], block_len: usize) -> Vec<u8> {
    let mut bytes = XERIAL.to_vec();
    for block in plain.chunks(block_len).map(snap) {
        bytes.extend(i32::try_from(block.len()).unwrap().to_be_bytes());
        bytes.extend(block);
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn what_we_compress_others_read(values in values(), level in 1..10_i32) {
        let plain = payload(Codec::None, level, &values);
        prop_assert!(gunzip(&payload(Codec::Gzip, level, &values)) == plain, "gzip");
        prop_assert!(unxerial(&payload(Codec::Snappy, level, &values)) == plain, "snappy");
        prop_assert!(unlz4(&payload(Codec::Lz4, level, &values)) == plain, "lz4");
        prop_assert!(unzstd(&payload(Codec::Zstd, level, &values)) == plain, "zstd");
    }

    #[test]
    fn what_others_compress_we_read(values in values(), level in 0..11_u8, block_len in 1..100_000_usize) {
        let plain = payload(Codec::None, 1, &values);
        prop_assert!(ours(Codec::Gzip, &gzip(&plain, level)) == plain, "gzip");
        prop_assert!(ours(Codec::Snappy, &snap(&plain)) == plain, "snappy");
        prop_assert!(ours(Codec::Snappy, &xerial(&plain, block_len)) == plain, "xerial");
        prop_assert!(ours(Codec::Lz4, &lz4(&plain, level.into())) == plain, "lz4");
        prop_assert!(ours(Codec::Zstd, &zstd(&plain)) == plain, "zstd");
    }
}

#[test]
fn nothing_at_all_goes_both_ways() {
    for (codec, theirs) in [
        (Codec::Gzip, gzip(&[], 6)),
        (Codec::Snappy, snap(&[])),
        (Codec::Snappy, xerial(&[], 1)),
        (Codec::Lz4, lz4(&[], 1)),
        (Codec::Zstd, zstd(&[])),
    ] {
        assert!(ours(codec, &theirs).is_empty(), "{codec}");
    }
    let packed = |codec| {
        let mut bytes = Vec::new();
        hanbeon_records::compress(codec, CompressionLevel::DEFAULT, &[], &mut bytes).unwrap();
        bytes
    };
    assert!(gunzip(&packed(Codec::Gzip)).is_empty());
    assert!(unxerial(&packed(Codec::Snappy)).is_empty());
    assert!(unlz4(&packed(Codec::Lz4)).is_empty());
    assert!(unzstd(&packed(Codec::Zstd)).is_empty());
}
