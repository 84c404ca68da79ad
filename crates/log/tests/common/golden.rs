//! Golden partition directories: finding them, copying them, and the words of `expect.json`.
#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use hanbeon_log::{
    CleanupPolicy, Dir, FirstBatch, FsDir, Isolation, LogConfig, LogSettings, Partition, ReadMode,
};
use hanbeon_records::{BatchRef, Offset, TimestampType};
use serde_json::Value;

/// One golden unit.
pub(crate) struct Unit {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) expect: Value,
}

/// All units whose name passes.
pub(crate) fn units(wanted: impl Fn(&str) -> bool) -> Vec<Unit> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    let mut units: Vec<Unit> = fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("expect.json").is_file())
        .map(|path| Unit {
            name: path.file_name().unwrap().to_str().unwrap().to_owned(),
            expect: serde_json::from_slice(&fs::read(path.join("expect.json")).unwrap()).unwrap(),
            path,
        })
        .filter(|unit| wanted(&unit.name))
        .collect();
    units.sort_by(|a, b| a.name.cmp(&b.name));
    units
}

impl Unit {
    /// A copy of the partition's directory, to be written to.
    pub(crate) fn copy(&self) -> (tempfile::TempDir, FsDir) {
        let copy = tempfile::tempdir().unwrap();
        let from = self.path.join(self.expect["dir"].as_str().unwrap());
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        let dir = FsDir::open(copy.path(), ReadMode::Map).unwrap();
        (copy, dir)
    }

    pub(crate) fn number(&self, key: &str) -> Option<i64> {
        self.expect[key].as_i64()
    }

    /// The topic's settings as far as the log cares for them.
    pub(crate) fn config(&self) -> LogConfig {
        let of =
            |key: &str| self.expect["config"][key].as_str().and_then(|s| s.parse::<i64>().ok());
        let mut settings = LogSettings::kafka_defaults();
        if let Some(bytes) = of("internal.segment.bytes") {
            settings.internal_segment_bytes = Some(i32::try_from(bytes).unwrap());
        }
        if let Some(bytes) = of("index.interval.bytes") {
            settings.index_interval_bytes = i32::try_from(bytes).unwrap();
        }
        if let Some(bytes) = of("segment.index.bytes") {
            settings.segment_index_bytes = i32::try_from(bytes).unwrap();
        }
        settings.segment_ms = of("segment.ms").unwrap_or(settings.segment_ms);
        if self.expect["config"]["cleanup.policy"].as_str() == Some("compact") {
            settings.cleanup_policy = CleanupPolicy::Compact;
        }
        settings.validate().unwrap()
    }
}

/// All bytes that a reader of this isolation gets from `from` on, batch by batch, and the aborted transactions told with them.
pub(crate) fn read_all<D: Dir>(
    log: &Partition<D>,
    from: Offset,
    isolation: Isolation,
) -> (Vec<Bytes>, Vec<(i64, i64)>) {
    let (batches, aborted) = read_unverified(log, from, isolation);
    for bytes in &batches {
        BatchRef::parse(bytes).unwrap().0.verify().unwrap();
    }
    (batches, aborted)
}

/// As [`read_all`], damaged batches and all.
pub(crate) fn read_unverified<D: Dir>(
    log: &Partition<D>,
    from: Offset,
    isolation: Isolation,
) -> (Vec<Bytes>, Vec<(i64, i64)>) {
    let mut at = from;
    let (mut batches, mut aborted) = (Vec::new(), Vec::new());
    loop {
        let read = log.read(at, isolation, 700, FirstBatch::Whole).unwrap();
        for txn in read.aborted.unwrap_or_default() {
            let told = (txn.producer_id.get(), txn.first_offset.get());
            if !aborted.contains(&told) {
                aborted.push(told);
            }
        }
        if read.records.is_empty() {
            return (batches, aborted);
        }
        let mut start = 0;
        while let Ok((batch, rest)) = BatchRef::parse(&read.records[start..]) {
            let end = read.records.len() - rest.len();
            if batch.last_offset() >= at {
                batches.push(read.records.slice(start..end));
                at = batch.next_offset();
            }
            start = end;
        }
    }
}

/// What a consumer makes of batches: count, hash and offsets of data records from `from` on; `aborted` are left out.
pub(crate) fn consume(batches: &[Bytes], from: i64, aborted: &[(i64, i64)]) -> (u64, String) {
    let mut text = String::new();
    let mut count = 0;
    let mut pending: Vec<(i64, i64)> = aborted.to_vec();
    let mut dropped: Vec<i64> = Vec::new();
    pending.sort_by_key(|(_, first)| *first);
    for bytes in batches {
        let (batch, _) = BatchRef::parse(bytes).unwrap();
        let id = batch.producer_id().get();
        // As Kafka's consumer: what begins at or below this batch is dropped until the producer's abort marker.
        pending.retain(|(producer, first)| {
            let begins = *first <= batch.last_offset().get();
            if begins {
                dropped.push(*producer);
            }
            !begins
        });
        if batch.attributes().is_control() {
            let marker = hanbeon_records::read_control(batch).unwrap();
            if matches!(
                marker,
                Some(hanbeon_records::Control::EndTxn(marker))
                    if marker.outcome == hanbeon_records::Outcome::Abort
            ) && let Some(place) = dropped.iter().position(|producer| *producer == id)
            {
                dropped.remove(place);
            }
            continue;
        }
        if batch.attributes().is_transactional() && dropped.contains(&id) {
            continue;
        }
        each_record(&batch, |offset, timestamp, line| {
            if offset >= from {
                count += 1;
                text.push_str(&format!("{offset}\t{timestamp}\t{line}\n"));
            }
        });
    }
    (count, sha256(text.as_bytes()))
}

fn each_record(batch: &BatchRef<'_>, mut each: impl FnMut(i64, i64, &str)) {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let hex_or_null = |bytes: Option<&[u8]>| bytes.map_or_else(|| "-".to_owned(), hex);
    let mut plain = Vec::new();
    let records = if batch.attributes().codec() == Ok(hanbeon_records::Codec::None) {
        batch.records().unwrap()
    } else {
        decompressed(batch, &mut plain)
    };
    for record in records {
        let record = record.unwrap();
        let timestamp = match batch.attributes().timestamp_type() {
            TimestampType::CreateTime => batch.base_timestamp().get() + record.timestamp_delta,
            TimestampType::LogAppendTime => batch.max_timestamp().get(),
        };
        let headers: Vec<String> = record
            .headers
            .map(|header| format!("{}={}", hex(header.key.as_bytes()), hex_or_null(header.value)))
            .collect();
        let line = format!(
            "{}\t{}\t{}",
            hex_or_null(record.key),
            hex_or_null(record.value),
            headers.join(";")
        );
        each(batch.base_offset().get() + i64::from(record.offset_delta), timestamp, &line);
    }
}

fn decompressed<'p>(batch: &BatchRef<'_>, plain: &'p mut Vec<u8>) -> hanbeon_records::Records<'p> {
    let codec = batch.attributes().codec().unwrap();
    let limit = hanbeon_records::OutputLimit::new(1 << 24);
    hanbeon_records::decompress(codec, batch.payload(), limit, plain).unwrap();
    hanbeon_records::Records::new(batch.record_count(), plain)
}

/// FIPS 180-4, so that the tests need no crate for it.
pub(crate) fn sha256(data: &[u8]) -> String {
    let primes = |count: usize| (2_u32..).filter(|n| (2..*n).all(|d| n % d != 0)).take(count);
    // The first 32 bits behind the point of the root: the root of the number shifted, floored, without what is before the point.
    let root = |p: u32, power: u32| {
        let (mut low, mut high) = (0_u128, 1_u128 << 37);
        while high - low > 1 {
            let middle = low.midpoint(high);
            if middle.pow(power) <= u128::from(p) << (32 * power) {
                low = middle;
            } else {
                high = middle;
            }
        }
        u32::try_from(low & 0xffff_ffff).unwrap()
    };
    let mut h: Vec<u32> = primes(8).map(|p| root(p, 2)).collect();
    let k: Vec<u32> = primes(64).map(|p| root(p, 3)).collect();
    let mut padded = data.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend((data.len() as u64 * 8).to_be_bytes());
    for block in padded.chunks(64) {
        let mut w: Vec<u32> =
            block.chunks(4).map(|word| u32::from_be_bytes(word.try_into().unwrap())).collect();
        for i in 16..64 {
            let s0 = w[i - 15].rotate_right(7) ^ w[i - 15].rotate_right(18) ^ (w[i - 15] >> 3);
            let s1 = w[i - 2].rotate_right(17) ^ w[i - 2].rotate_right(19) ^ (w[i - 2] >> 10);
            w.push(w[i - 16].wrapping_add(s0).wrapping_add(w[i - 7]).wrapping_add(s1));
        }
        let mut v: [u32; 8] = h.clone().try_into().unwrap();
        for i in 0..64 {
            let [a, b, c, d, e, f, g, last] = v;
            let s1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
            let t1 = last
                .wrapping_add(s1)
                .wrapping_add((e & f) ^ (!e & g))
                .wrapping_add(k[i])
                .wrapping_add(w[i]);
            let s0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
            let t2 = s0.wrapping_add((a & b) ^ (a & c) ^ (b & c));
            v = [t1.wrapping_add(t2), a, b, c, d.wrapping_add(t1), e, f, g];
        }
        for (h, v) in h.iter_mut().zip(v) {
            *h = h.wrapping_add(v);
        }
    }
    h.iter().map(|word| format!("{word:08x}")).collect()
}
