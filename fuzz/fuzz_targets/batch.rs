//! Any bytes as batches: never a panic, and records that are read are written back to the same batch.
#![no_main]

use hanbeon_fuzz::within_room;
use hanbeon_records::{
    BatchBuilder, BatchKind, BatchRef, BatchSettings, Codec, CompressionLevel, Header, NewRecord,
    ProducerStamp, Record, stamp, stamp_times,
};
use libfuzzer_sys::fuzz_target;

fn named<'a>(header: Header<'a>) -> Option<(&'a str, Option<&'a [u8]>)> {
    Some((str::from_utf8(header.key).ok()?, header.value))
}

/// Writes `records` with the header of `batch`. `None` where a builder writes another form than a forger may.
fn rebuild(batch: &BatchRef<'_>, records: &[Record<'_>]) -> Option<Vec<u8>> {
    let attributes = batch.attributes();
    let producer = match batch.base_sequence() {
        Some(base_sequence) => Some(ProducerStamp {
            id: batch.producer_id(),
            epoch: batch.producer_epoch(),
            base_sequence,
        }),
        None => None,
    };
    let mut bytes = Vec::new();
    let mut builder = BatchBuilder::new(
        &mut bytes,
        BatchSettings {
            codec: Codec::None,
            level: CompressionLevel::DEFAULT,
            timestamp_type: attributes.timestamp_type(),
            producer,
            kind: BatchKind::of(attributes),
            base_offset: batch.base_offset(),
            leader_epoch: batch.leader_epoch(),
        },
    );
    for record in records {
        // What is no name of ours is read and not written.
        let headers: Option<Vec<_>> = record.headers.map(named).collect();
        let headers = headers?;
        builder
            .push(NewRecord {
                timestamp: batch.base_timestamp().saturating_add(record.timestamp_delta),
                key: record.key,
                value: record.value,
                headers: &headers,
            })
            .ok()?;
    }
    builder.finish().ok()?;
    Some(bytes)
}

/// Reading what was rebuilt gives the same records; building that again gives the same bytes.
fn check(batch: &BatchRef<'_>, records: &[Record<'_>]) {
    let Some(bytes) = rebuild(batch, records) else { return };
    let (again, rest) = BatchRef::parse(&bytes).unwrap();
    let again = again.verify().unwrap();
    assert!(rest.is_empty());
    let reread: Vec<_> = again.records().unwrap().map(Result::unwrap).collect();
    assert_eq!(reread.len(), records.len());
    for (read, wrote) in reread.iter().zip(records) {
        assert_eq!((read.key, read.value), (wrote.key, wrote.value));
        assert!(read.headers.eq(wrote.headers));
    }
    assert_eq!(rebuild(&again, &reread).as_ref(), Some(&bytes));
    // What the builder would have written in the first place comes out byte for byte.
    if batch.verify().is_ok() && bytes.len() == batch.bytes().len() && again.crc() == batch.crc() {
        assert_eq!(bytes, batch.bytes());
    }
}

fuzz_target!(|input: &[u8]| {
    within_room(|| {
        let mut rest = input;
        while let Ok((batch, after)) = BatchRef::parse(rest) {
            assert_eq!(batch.bytes().len() + after.len(), rest.len());
            rest = after;
            let _sound = batch.verify().is_ok();
            let _shown = format!("{batch:?}");
            if let Ok(records) = batch.records() {
                let records: Result<Vec<_>, _> = records.collect();
                if let Ok(records) = records {
                    assert_eq!(i32::try_from(records.len()), Ok(batch.record_count()));
                    check(&batch, &records);
                }
            }
            let mut stamped = batch.bytes().to_vec();
            stamp(&mut stamped, batch.next_offset(), batch.leader_epoch());
            let sound = BatchRef::parse(&stamped).unwrap().0.verify().is_ok();
            assert_eq!(sound, batch.verify().is_ok(), "a stamp leaves the checksum alone");
            let time = batch.base_timestamp();
            for kind in [
                hanbeon_records::TimestampType::CreateTime,
                hanbeon_records::TimestampType::LogAppendTime,
            ] {
                stamp_times(&mut stamped, kind, time);
            }
            assert!(BatchRef::parse(&stamped).unwrap().0.verify().is_ok());
        }
    });
});
