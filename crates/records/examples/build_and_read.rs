//! Builds a batch as an idempotent producer sends it, stamps it as a leader does, and reads it back.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use hanbeon_records::{
    BatchBuilder, BatchKind, BatchRef, BatchSettings, Codec, CompressionLevel, LeaderEpoch, Millis,
    NewRecord, Offset, ProducerEpoch, ProducerId, ProducerStamp, Sequence, TimestampType, stamp,
};

fn main() -> Result<(), Box<dyn core::error::Error>> {
    let mut bytes = Vec::new();
    let producer = ProducerStamp {
        id: ProducerId::new(1000),
        epoch: ProducerEpoch::new(0),
        base_sequence: Sequence::ZERO,
    };
    let mut builder = BatchBuilder::new(
        &mut bytes,
        BatchSettings {
            codec: Codec::None,
            level: CompressionLevel::DEFAULT,
            timestamp_type: TimestampType::CreateTime,
            producer: Some(producer),
            kind: BatchKind::Plain,
            base_offset: Offset::ZERO,
            leader_epoch: LeaderEpoch::UNKNOWN,
        },
    );
    for (time, value) in [(1_700_000_000_000, "first"), (1_700_000_000_250, "second")] {
        builder.push(NewRecord {
            timestamp: Millis::new(time),
            key: Some(b"greeting"),
            value: Some(value.as_bytes()),
            headers: &[("lang", Some(b"en"))],
        })?;
    }
    builder.finish()?;

    // The leader gives the batch its place; the producer's checksum goes on holding.
    stamp(&mut bytes, Offset::new(42), LeaderEpoch::new(3));

    let (batch, _) = BatchRef::parse(&bytes)?;
    let batch = batch.verify()?;
    println!("{:?}", batch.get());
    for record in batch.records()? {
        let record = record?;
        println!(
            "offset {} at {}: {}",
            batch.offset_of(&record),
            batch.timestamp_of(&record),
            String::from_utf8_lossy(record.value.unwrap_or_default())
        );
        for header in record.headers {
            println!("  {} = {:?}", header.name(), header.value);
        }
    }
    Ok(())
}
