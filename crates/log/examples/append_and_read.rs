//! Opens a log in a directory, appends with an idempotent producer, makes it durable, reads it back and closes.
//!
//! `cargo run -p hanbeon-log --example append_and_read -- some-directory`

use std::error::Error;

use bytes::Bytes;
use hanbeon_idempotence::{FirstWrite, Verification};
use hanbeon_log::{
    FirstBatch, FsDir, Isolation, LogSettings, OpenPartition, Partition, Placed, Poison, ReadMode,
    Shutdown,
};
use hanbeon_records::{
    BatchBuilder, BatchKind, BatchRef, BatchSettings, Codec, CompressionLevel, LeaderEpoch, Millis,
    NewRecord, Offset, ProducerEpoch, ProducerId, ProducerStamp, Sequence, TimestampType,
};

/// Time is an input everywhere below; a real host reads its clock here and nowhere else.
const NOW: Millis = Millis::new(1_700_000_000_000);

fn main() -> Result<(), Box<dyn Error>> {
    let aside = tempfile::tempdir()?;
    let path = std::env::args_os().nth(1).map_or_else(|| aside.path().to_owned(), Into::into);
    let dir = FsDir::create(path, ReadMode::Map)?;

    // Everything that decides what may be lost is said, nothing is assumed: see each field's documentation.
    let config = LogSettings { flush_messages: 1, ..LogSettings::kafka_defaults() }.validate()?;
    let options = OpenPartition {
        config,
        shutdown: Shutdown::Unclean,
        recovery_point: Offset::ZERO,
        log_start: None,
        high_watermark: None,
        leader_epoch: LeaderEpoch::new(0),
        topic_id: None,
        verification: Verification::On,
        first_write: FirstWrite::FromZero,
        hash_seed: 0x5eed,
        jitter_seed: 0x5eed,
        now: NOW,
        poison: Poison::new(),
    };
    let (log, report) = Partition::open(dir, options)?;
    say(&format!(
        "opened at offset {}, {} producers known",
        log.log_end_offset(),
        report.producers
    ));

    // A producer goes on with the sequence behind its last record. Sent twice, a batch is stored once.
    let producers = log.producers();
    let last = producers.first().and_then(|producer| producer.last_sequence);
    let next = last.map_or(Sequence::ZERO, |last| last.advance(1));
    let batch = encode(next, &["one", "two"])?;
    for _ in 0..2 {
        let appended = log.append(batch.clone(), NOW).wait()??;
        log.sync(appended.end)?; // acknowledged only now: a power cut cannot take it back
        let how = match appended.placed {
            Placed::Written => "written",
            Placed::Duplicate => "found again",
        };
        say(&format!("{how} at offsets {} to {}", appended.base_offset, appended.last_offset));
    }

    let read = log.read(log.log_start_offset(), Isolation::LogEnd, 1 << 20, FirstBatch::Whole)?;
    let mut rest: &[u8] = &read.records;
    while let Ok((batch, behind)) = BatchRef::parse(rest) {
        for record in batch.verify()?.records()? {
            let record = record?;
            let value = record.value.map(String::from_utf8_lossy).unwrap_or_default();
            let offset = batch.base_offset().saturating_add(i64::from(record.offset_delta));
            say(&format!("{offset}: {value}"));
        }
        rest = behind;
    }
    let closed = log.close()?;
    say(&format!("closed; next time the recovery point is {}", closed.recovery_point));
    Ok(())
}

fn encode(base_sequence: Sequence, values: &[&str]) -> Result<Bytes, Box<dyn Error>> {
    let mut bytes = Vec::new();
    let id = ProducerId::new(42);
    let settings = BatchSettings {
        codec: Codec::None,
        level: CompressionLevel::DEFAULT,
        timestamp_type: TimestampType::CreateTime,
        producer: Some(ProducerStamp { id, epoch: ProducerEpoch::new(0), base_sequence }),
        kind: BatchKind::Plain,
        base_offset: Offset::ZERO,
        leader_epoch: LeaderEpoch::UNKNOWN,
    };
    let mut builder = BatchBuilder::new(&mut bytes, settings);
    for value in values {
        let value = Some(value.as_bytes());
        builder.push(NewRecord { timestamp: NOW, key: None, value, headers: &[] })?;
    }
    builder.finish()?;
    Ok(bytes.into())
}

#[expect(clippy::print_stdout, reason = "an example shows what it does")]
fn say(text: &str) {
    println!("{text}");
}
