//! Sends every data batch that Apache Kafka 4.3.1 stored to our validator as its producer sent it: taken, and stored as the
//! same bytes.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails where its ground is missing"
)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use hanbeon_log::{
    CompressionType, LogConfig, LogSettings, Scratch, SegmentFile, SegmentFileName, validate,
};
use hanbeon_records::{
    BatchRef, Codec, LeaderEpoch, Millis, Offset, OutputLimit, Records, TimestampType, decompress,
};

/// Later than any record.
const NOW: Millis = Millis::new(2_000_000_000_000);

fn golden() -> PathBuf {
    let beside_the_crate = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    std::env::var_os("HANBEON_GOLDEN").map_or(beside_the_crate, PathBuf::from)
}

/// All `.log` files of units that nobody damaged.
fn logs() -> Vec<PathBuf> {
    let units = fs::read_dir(golden()).expect("the golden directories lie under tests/golden");
    let mut logs = Vec::new();
    for unit in units.map(|unit| unit.unwrap().path()).filter(|unit| unit.is_dir()) {
        if unit.file_name().unwrap().to_string_lossy().starts_with("damage-") {
            continue;
        }
        for dir in fs::read_dir(unit).unwrap().map(|dir| dir.unwrap().path()).filter(|d| d.is_dir())
        {
            for file in fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()) {
                let name = SegmentFileName::parse(&file.file_name().unwrap().to_string_lossy());
                if name.is_some_and(|name| name.kind == SegmentFile::Log) {
                    logs.push(file);
                }
            }
        }
    }
    logs.sort();
    logs
}

/// Calls `each` with every batch that a producer sent and nobody changed since.
fn each_sent(mut each: impl FnMut(&Path, BatchRef<'_>)) {
    for log in logs() {
        let bytes = fs::read(&log).unwrap();
        let mut rest = &bytes[..];
        while let Ok((batch, behind)) = BatchRef::parse(rest) {
            rest = behind;
            let attributes = batch.attributes();
            let compacted = attributes.has_delete_horizon()
                || batch.record_count() != batch.last_offset_delta() + 1;
            let stamped = attributes.timestamp_type() == TimestampType::LogAppendTime;
            if !attributes.is_control() && !compacted && !stamped {
                each(&log, batch);
            }
        }
    }
}

/// The batch as it was when its producer sent it.
fn as_sent(batch: BatchRef<'_>) -> Bytes {
    let mut sent = batch.bytes().to_vec();
    hanbeon_records::stamp(&mut sent, Offset::ZERO, LeaderEpoch::UNKNOWN);
    sent.into()
}

fn plain(batch: BatchRef<'_>) -> Vec<u8> {
    let mut plain = Vec::new();
    let codec = batch.attributes().codec().unwrap();
    decompress(codec, batch.payload(), OutputLimit::new(64 << 20), &mut plain).unwrap();
    plain
}

#[test]
fn what_kafka_took_we_take_and_store_as_the_same_bytes() {
    let (mut taken, mut codecs) = (0, BTreeSet::new());
    let config = LogConfig::kafka_defaults();
    let mut scratch = Scratch::new();
    each_sent(|log, batch| {
        let place = format!("{} at {}", log.display(), batch.base_offset());
        let mut validated = validate(&as_sent(batch), &config, NOW, &mut scratch)
            .unwrap_or_else(|error| panic!("{place}: {error}"));
        validated.stamp(batch.base_offset(), batch.leader_epoch());
        assert_eq!(validated.to_vec(), batch.bytes(), "{place}");
        assert_eq!(validated.max_timestamp(), batch.max_timestamp(), "{place}");
        assert_eq!(validated.claim().is_some(), batch.producer_id().is_some(), "{place}");
        taken += 1;
        codecs.insert(batch.attributes().codec().unwrap().name());
    });
    assert!(taken > 500, "{taken}");
    assert_eq!(codecs.len(), 5, "{codecs:?}");
}

#[test]
fn kafkas_records_survive_another_codec() {
    let to = [
        (CompressionType::Uncompressed, Codec::None),
        (CompressionType::Gzip, Codec::Gzip),
        (CompressionType::Snappy, Codec::Snappy),
        (CompressionType::Lz4, Codec::Lz4),
        (CompressionType::Zstd, Codec::Zstd),
    ];
    let mut scratch = Scratch::new();
    let mut seen = BTreeSet::new();
    each_sent(|log, batch| {
        // The first batch of each codec in each file is enough.
        let from = batch.attributes().codec().unwrap();
        if !seen.insert((log.to_owned(), from.name())) {
            return;
        }
        for (compression_type, codec) in to {
            let settings = LogSettings { compression_type, ..LogSettings::kafka_defaults() };
            let config = settings.validate().unwrap();
            let validated = validate(&as_sent(batch), &config, NOW, &mut scratch).unwrap();
            let stored = validated.to_vec();
            let (again, _) = BatchRef::parse(&stored).unwrap();
            again.verify().unwrap();
            assert_eq!(again.attributes().codec(), Ok(codec));
            assert_eq!(plain(again), plain(batch));
            let read =
                Records::new(again.record_count(), &plain(again)).map(Result::unwrap).count();
            assert_eq!(i32::try_from(read), Ok(batch.record_count()));
        }
    });
    assert!(seen.len() > 20, "{}", seen.len());
}
