//! Memory: bombs of every codec stay within the caller's limit, forged lengths buy nothing, and walking allocates
//! nothing. Counted by an allocator of its own, hence alone in its binary.
#![allow(clippy::unwrap_used, reason = "a test that panics fails, which is what it is for")]
#![allow(unsafe_code, reason = "the trait of an allocator is unsafe")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use hanbeon_records::{
    BatchBuilder, BatchKind, BatchRef, BatchSettings, Codec, CodecError, CompressionLevel,
    LeaderEpoch, Millis, NewRecord, Offset, OutputLimit, Records, TimestampType, compress,
    decompress,
};

/// The system's allocator; counts the calling thread's bytes and calls.
struct Counting;

thread_local! {
    static CALLS: Cell<usize> = const { Cell::new(0) };
    static NOW: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn add(bytes: usize) {
    CALLS.set(CALLS.get() + 1);
    NOW.set(NOW.get() + isize::try_from(bytes).unwrap_or(isize::MAX / 2));
    PEAK.set(PEAK.get().max(NOW.get()));
}

// SAFETY: every call is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: the caller keeps the promises of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        NOW.set(NOW.get() - isize::try_from(layout.size()).unwrap_or(0));
        // SAFETY: the caller keeps the promises of `dealloc`.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Calls and most bytes held above the start, while `work` ran.
fn measured<T>(work: impl FnOnce() -> T) -> (T, usize, usize) {
    let (calls, now) = (CALLS.get(), NOW.get());
    PEAK.set(now);
    let result = work();
    let peak = usize::try_from(PEAK.get() - now).unwrap();
    (result, CALLS.get() - calls, peak)
}

const MIB: usize = 1 << 20;

/// 64 MiB of zeroes.
fn bomb(codec: Codec) -> Vec<u8> {
    let mut bytes = Vec::new();
    compress(codec, CompressionLevel::new(9), &vec![0; 64 * MIB], &mut bytes).unwrap();
    bytes
}

#[test]
fn bombs_of_every_codec_stay_within_the_limit() {
    let limit = MIB;
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let bytes = bomb(codec);
        assert!(bytes.len() < 4 * MIB, "{codec}");
        let (result, _, peak) = measured(|| {
            let mut plain = Vec::new();
            decompress(codec, &bytes, OutputLimit::new(limit), &mut plain)
        });
        assert_eq!(result, Err(CodecError::TooLarge { limit }), "{codec}");
        // While the output grows the old buffer and the new one are there together.
        assert!(peak <= 3 * limit + 512 * 1024, "{codec}: {peak} bytes");
    }
}

#[test]
fn small_payloads_cost_little_whatever_they_claim() {
    let empty_lz4_of_4_mib = b"\x04\x22\x4d\x18\x60\x70\x73\x01\0\0\0\x00\0\0\0\0";
    let zstd_of_8_mib = b"\x28\xb5\x2f\xfd\xa0\x00\x00\x80\x00\x29\0\0hello";
    let snappy_of_4_gib = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
    let cases: [(Codec, &[u8]); 3] = [
        (Codec::Lz4, empty_lz4_of_4_mib),
        (Codec::Zstd, zstd_of_8_mib),
        (Codec::Snappy, &snappy_of_4_gib),
    ];
    for (codec, bytes) in cases {
        let (plain, _, peak) = measured(|| {
            let mut plain = Vec::new();
            let result = decompress(codec, bytes, OutputLimit::new(128 * MIB), &mut plain);
            result.map(|()| plain.len())
        });
        // The decoder of zstd takes its window from C's allocator, which is not counted here; it is 8 MiB at most.
        assert!(peak < 128 * 1024, "{codec}: {peak} bytes for {plain:?}");
        assert!(plain.is_err() || plain == Ok(0), "{codec}: {plain:?}");
    }
}

#[test]
fn a_forged_count_allocates_nothing() {
    let ((), calls, _) = measured(|| {
        assert!(!Records::new(i32::MAX, &[12, 0, 0, 0, 1, 1, 0]).all(|record| record.is_ok()));
    });
    assert_eq!(calls, 0);
}

#[test]
fn walking_batches_records_and_headers_allocates_nothing() {
    let mut bytes = Vec::new();
    for _ in 0..10 {
        let mut builder = BatchBuilder::new(
            &mut bytes,
            BatchSettings {
                codec: Codec::None,
                level: CompressionLevel::DEFAULT,
                timestamp_type: TimestampType::CreateTime,
                producer: None,
                kind: BatchKind::Plain,
                base_offset: Offset::ZERO,
                leader_epoch: LeaderEpoch::UNKNOWN,
            },
        );
        for time in 0..100 {
            builder
                .push(NewRecord {
                    timestamp: Millis::new(time),
                    key: Some(b"key"),
                    value: Some(&[7; 300]),
                    headers: &[("name", Some(b"value")), ("name", None)],
                })
                .unwrap();
        }
        builder.finish().unwrap();
    }
    let (seen, calls, _) = measured(|| {
        let (mut rest, mut seen) = (&bytes[..], 0);
        while !rest.is_empty() {
            let (batch, after) = BatchRef::parse(rest).unwrap();
            rest = after;
            for record in batch.verify().unwrap().records().unwrap() {
                seen += record.unwrap().headers.count();
            }
        }
        seen
    });
    assert_eq!((seen, calls), (2000, 0));
    // The counter counts.
    let (_, calls, _) = measured(|| std::hint::black_box(vec![0_u8; 10]));
    assert_eq!(calls, 1);
}
