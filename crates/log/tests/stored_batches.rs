//! What was let in, or lies in a directory that Kafka wrote, is read ever after: no rule for producers keeps a reader from it.

#![allow(clippy::unwrap_used, reason = "a test fails where its ground is missing")]

mod fixture;

use fixture::{Batch, NOW, append, config, open, with_payload};
use hanbeon_log::{
    CompressionType, Isolation, MemDir, TimeQuery,
    inspect::{Beside, Inspected, StoredRecord, Visitor, inspect},
};
use hanbeon_records::{Codec, LeaderEpoch, Millis, Offset};

/// Counts records, and remembers the names of their headers.
#[derive(Default)]
struct Seen {
    records: usize,
    names: Vec<Vec<u8>>,
}

impl Visitor for Seen {
    fn record(&mut self, record: &StoredRecord<'_>) -> std::io::Result<()> {
        self.records += 1;
        self.names.extend(record.record.headers.map(|header| header.key.to_vec()));
        Ok(())
    }
}

fn seen(dir: &MemDir) -> (Inspected, Seen) {
    let mut seen = Seen::default();
    let inspected = inspect(dir, Beside::default(), &mut seen).unwrap();
    (inspected, seen)
}

/// 24 MB that gzip makes 800 times smaller, and zstd 2,500 times.
#[test]
fn a_batch_that_was_let_in_as_gzip_is_read_from_what_the_topic_made_of_it() {
    let dir = MemDir::new();
    let log = open(&dir, &config(|s| s.compression_type = CompressionType::Zstd)).0;
    let plain = Batch::of(25).value_len(1_000_000).build();
    // Enough that does not compress for gzip to stay within its limit.
    let mut mixed = 1_u64;
    let sent = with_payload(&plain, Codec::Gzip, |payload| {
        let mut payload = payload.to_vec();
        for byte in &mut payload[1000..9000] {
            mixed = mixed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = mixed.to_be_bytes()[0];
        }
        payload
    });
    log.append(sent.clone(), NOW).wait().unwrap().unwrap();
    let stored = log.size_bytes();
    assert!(stored * 2 < u64::try_from(sent.len()).unwrap(), "{stored} of {}", sent.len());
    log.advance_high_watermark(log.log_end_offset());
    let last = Millis::new(NOW.get() + 24);
    for query in [TimeQuery::MaxTimestamp, TimeQuery::At(last)] {
        let found = log.find_offset(query, Isolation::Uncommitted).unwrap().unwrap();
        assert_eq!((found.offset, found.timestamp), (Offset::new(24), last), "{query:?}");
    }
    log.close().unwrap();
    let (inspected, seen) = seen(&dir);
    assert_eq!((inspected.findings.len(), seen.records), (0, 25), "{:?}", inspected.findings);
}

/// Kafka takes any bytes and shows readers a replacement character (`Utils.utf8`).
#[test]
fn a_header_name_that_is_not_utf8_keeps_nobody_from_the_batch() {
    let dir = MemDir::new();
    let log = open(&dir, &config(|_| ())).0;
    let named = with_payload(&Batch::of(1).build(), Codec::None, |payload| {
        // One header more, of a name of one byte and no value: four bytes.
        let (record, none) = payload.split_at(payload.len() - 1);
        assert_eq!(none, [0]);
        let mut record = record.to_vec();
        record[0] += 2 * 3;
        record.extend([2, 2, 0xff, 1]);
        record
    });
    assert!(log.append(named.clone(), NOW).wait().unwrap().is_err(), "no producer may write that");
    log.append_as_follower(&named, LeaderEpoch::new(0), NOW).unwrap();
    append(&log, &Batch::of(1)).unwrap();
    log.advance_high_watermark(log.log_end_offset());
    let found = log.find_offset(TimeQuery::At(NOW), Isolation::Uncommitted).unwrap().unwrap();
    assert_eq!(found.offset, Offset::ZERO);
    log.close().unwrap();
    let (inspected, seen) = seen(&dir);
    assert_eq!((inspected.findings.len(), seen.records), (0, 2), "{:?}", inspected.findings);
    assert_eq!(seen.names, [[0xff]]);
}
