//! What do checksum, records and codecs cost beside the bare work: a copy, a checksum, the crate of each codec?
//!
//! Batches of 16 records of 1 KiB that do not compress; for the codecs 64 KiB of text, which shrinks to a third or a
//! quarter. Everything fits the cache, so that it is the code that is measured and not the memory. The yardstick of a codec writes into
//! and reads from a buffer that is large enough; ours cannot know how much comes out, and makes its frame Kafka's.
#![expect(clippy::expect_used, reason = "a bench that cannot go on has nothing to say")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flate2::{Compression, Decompress, FlushDecompress, write::GzEncoder};
use hanbeon_benches::{Batches, Goal, NOW, Side, cost_of, side_by_side};
use hanbeon_records::{
    BatchBuilder, BatchKind, BatchRef, BatchSettings, Codec, CompressionLevel, LeaderEpoch,
    NewRecord, Offset, OutputLimit, TimestampType, compress, crc32c, decompress,
};

/// Repetitions of a pass: some milliseconds.
const CHEAP: usize = 20_000;
const DEAR: usize = 100;
const RECORDS: usize = 16;
const VALUE_LEN: usize = 1024;
/// Bytes of a batch that its checksum leaves out.
const NOT_COVERED: usize = 21;

fn pass<'a>(name: &'static str, times: usize, mut work: impl FnMut() + 'a) -> Side<'a> {
    Side::new(name, move || cost_of(|| (0..times).for_each(|_| work())))
}

fn bytes(times: usize, len: usize) -> Throughput {
    Throughput::Bytes((times * len) as u64)
}

fn checksum(c: &mut Criterion, batch: &[u8]) {
    let mut copy = vec![0; batch.len()];
    side_by_side(
        c.benchmark_group("checksum of 16 KiB"),
        bytes(CHEAP, batch.len()),
        Goal::SpeedPercent(50),
        [
            pass("crc32c", CHEAP, || {
                black_box(crc32c(black_box(batch)));
            }),
            pass("memcpy", CHEAP, move || {
                copy.copy_from_slice(black_box(batch));
                black_box(&copy);
            }),
        ],
    );
}

/// Header, checksum and every record, as the leader does with each batch.
fn decode(c: &mut Criterion, batch: &[u8]) {
    side_by_side(
        c.benchmark_group("decode 16 x 1 KiB"),
        bytes(CHEAP, batch.len()),
        Goal::SpeedPercent(50),
        [
            pass("parse, verify, walk", CHEAP, || {
                let (batch, _) = BatchRef::parse(black_box(batch)).expect("a batch");
                let sound = batch.verify().expect("the checksum holds");
                for record in sound.records().expect("it is not compressed") {
                    black_box(record.expect("the record is whole"));
                }
            }),
            pass("CRC-32C", CHEAP, || {
                black_box(crc32c(black_box(batch)));
            }),
        ],
    );
}

fn encode(c: &mut Criterion, value: &[u8]) {
    let (mut built, mut copied) = (Vec::new(), Vec::new());
    side_by_side(
        c.benchmark_group("encode 16 x 1 KiB"),
        bytes(CHEAP, RECORDS * value.len()),
        Goal::SpeedPercent(50),
        [
            pass("BatchBuilder", CHEAP, || {
                built.clear();
                build(black_box(value), &mut built);
                black_box(&built);
            }),
            pass("memcpy and CRC-32C", CHEAP, || {
                copied.clear();
                for _ in 0..RECORDS {
                    copied.extend_from_slice(black_box(value));
                }
                black_box(crc32c(&copied));
            }),
        ],
    );
}

fn build(value: &[u8], into: &mut Vec<u8>) {
    let settings = BatchSettings {
        codec: Codec::None,
        level: CompressionLevel::DEFAULT,
        timestamp_type: TimestampType::CreateTime,
        producer: None,
        kind: BatchKind::Plain,
        base_offset: Offset::ZERO,
        leader_epoch: LeaderEpoch::UNKNOWN,
    };
    let mut batch = BatchBuilder::new(into, settings);
    for _ in 0..RECORDS {
        let record = NewRecord { timestamp: NOW, key: None, value: Some(value), headers: &[] };
        batch.push(record).expect("it fits");
    }
    batch.finish().expect("the batch can be written");
}

/// A codec's crate, used as its own page shows.
struct Bare {
    codec: Codec,
    compress: fn(&[u8], &mut [u8]) -> usize,
    decompress: fn(&[u8], &mut [u8]) -> usize,
}

const BARE: [Bare; 4] = [
    Bare {
        codec: Codec::Gzip,
        compress: |plain, mut into| {
            let room = into.len();
            let mut encoder = GzEncoder::new(&mut into, Compression::default());
            std::io::Write::write_all(&mut encoder, plain).expect("there is room");
            encoder.finish().expect("there is room");
            room - into.len()
        },
        decompress: |packed, into| {
            let mut decoder = Decompress::new_gzip(15);
            decoder.decompress(packed, into, FlushDecompress::Finish).expect("our own bytes");
            usize::try_from(decoder.total_out()).expect("it fits")
        },
    },
    Bare {
        codec: Codec::Snappy,
        compress: |plain, into| {
            snap::raw::Encoder::new().compress(plain, into).expect("there is room")
        },
        decompress: |packed, into| {
            snap::raw::Decoder::new().decompress(packed, into).expect("our own bytes")
        },
    },
    Bare {
        codec: Codec::Lz4,
        compress: |plain, into| lz4_flex::block::compress_into(plain, into).expect("there is room"),
        decompress: |packed, into| {
            lz4_flex::block::decompress_into(packed, into).expect("our own bytes")
        },
    },
    Bare {
        codec: Codec::Zstd,
        compress: |plain, into| {
            zstd::bulk::compress_to_buffer(plain, into, 3).expect("there is room")
        },
        decompress: |packed, into| {
            zstd::bulk::decompress_to_buffer(packed, into).expect("our own bytes")
        },
    },
];

fn codec(c: &mut Criterion, bare: &Bare, plain: &[u8]) {
    let name = bare.codec.name();
    let mut room = vec![0; plain.len() * 2];
    let mut ours = Vec::new();
    let written = (bare.compress)(plain, &mut room);
    let packed = room[..written].to_vec();
    side_by_side(
        c.benchmark_group(format!("compress 64 KiB, {name}")),
        bytes(DEAR, plain.len()),
        Goal::SpeedPercent(90),
        [
            pass("compress", DEAR, || {
                ours.clear();
                compress(bare.codec, CompressionLevel::DEFAULT, black_box(plain), &mut ours)
                    .expect("it can be compressed");
            }),
            pass("the bare crate", DEAR, || {
                black_box((bare.compress)(black_box(plain), &mut room));
            }),
        ],
    );
    let frame = ours;
    eprintln!("{name}: {} bytes, the bare crate {written}, of {}", frame.len(), plain.len());
    let (mut ours, mut room) = (Vec::new(), vec![0; plain.len()]);
    let limit = OutputLimit::for_batch(frame.len());
    side_by_side(
        c.benchmark_group(format!("decompress 64 KiB, {name}")),
        bytes(DEAR, plain.len()),
        Goal::SpeedPercent(90),
        [
            pass("decompress", DEAR, || {
                ours.clear();
                decompress(bare.codec, black_box(&frame), limit, &mut ours).expect("our own bytes");
            }),
            pass("the bare crate", DEAR, || {
                let written = (bare.decompress)(black_box(&packed), &mut room);
                assert_eq!(written, plain.len());
            }),
        ],
    );
}

/// Lines such as services write, no two the same.
fn text() -> Vec<u8> {
    let mut text = String::new();
    let mut state = 1_u64;
    while text.len() < 64 << 10 {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (user, took, order) = (state >> 48, state >> 32 & 0x3ff, state >> 20);
        text.push_str(&format!(
            "{{\"level\":\"info\",\"user\":{user},\"path\":\"/orders/{order:x}\",\"took_ms\":{took}}}\n"
        ));
    }
    text.truncate(64 << 10);
    text.into_bytes()
}

fn run(c: &mut Criterion) {
    let batch = Batches::new(1, 0, 16, VALUE_LEN).next_batch();
    checksum(c, &batch[NOT_COVERED..]);
    decode(c, &batch);
    encode(c, &batch[batch.len() - VALUE_LEN..]);
    let plain = text();
    for bare in &BARE {
        codec(c, bare, &plain);
    }
}

criterion_group!(benches, run);
criterion_main!(benches);
