//! One wasm module of the crates that promise to need nothing but memory; `imports.py` holds it to that.
#![expect(unsafe_code, reason = "names that a linker keeps")]

use hanbeon_idempotence::{
    Admission, BatchKind, Claim, FirstWrite, Origin, ProducerStates, Settings, Verification, load,
};
use hanbeon_records::{
    BatchBuilder, BatchRef, BatchSettings, Codec, CompressionLevel, LeaderEpoch, Millis, NewRecord,
    NodeId, Offset, ProducerEpoch, ProducerId, Sequence, TimestampType,
};
use hanbeon_replica::{Acks, Leader, LogBounds};

/// Writes a batch at an offset, checks and reads it; returns the offset, or -1.
#[unsafe(no_mangle)]
pub extern "C" fn records(at: i64) -> i64 {
    read_back(at).map_or(-1, Offset::get)
}

fn read_back(at: i64) -> Option<Offset> {
    let settings = BatchSettings {
        codec: Codec::None,
        level: CompressionLevel::DEFAULT,
        timestamp_type: TimestampType::CreateTime,
        producer: None,
        kind: BatchKind::Plain,
        base_offset: Offset::new(at),
        leader_epoch: LeaderEpoch::UNKNOWN,
    };
    let mut bytes = Vec::new();
    let mut builder = BatchBuilder::new(&mut bytes, settings);
    let (timestamp, value) = (Millis::new(at), Some(&b"value"[..]));
    builder.push(NewRecord { timestamp, key: None, value, headers: &[] }).ok()?;
    builder.finish().ok()?;
    let (batch, _) = BatchRef::parse(&bytes).ok()?;
    let batch = batch.verify().ok()?;
    let record = batch.records().ok()?.next()?.ok()?;
    Some(batch.offset_of(&record))
}

/// Admits and records a batch at an offset, saves the table and loads it; returns the offset, or -1.
#[unsafe(no_mangle)]
pub extern "C" fn idempotence(at: i64) -> i64 {
    remembered(at).map_or(-1, Offset::get)
}

fn remembered(at: i64) -> Option<Offset> {
    let (producer_id, now) = (ProducerId::new(1), Millis::new(at));
    let mut states = ProducerStates::new(Settings {
        expiration_ms: 86_400_000,
        verification: Verification::On,
        first_write: FirstWrite::FromZero,
        hash_seed: 1,
    });
    let claim = Claim {
        producer_id,
        producer_epoch: ProducerEpoch::new(0),
        base_sequence: Sequence::ZERO,
        last_offset_delta: 0,
        max_timestamp: now,
        kind: BatchKind::Plain,
        origin: Origin::Client,
        guard: None,
    };
    match states.admit(&claim).ok()? {
        Admission::Append(ticket) => states.record(ticket, Offset::new(at), now),
        Admission::Duplicate(_) => return None,
    }
    let (mut snapshot, mut window) = (Vec::new(), Vec::new());
    let crc = states.write_snapshot(&mut snapshot);
    states.write_window(crc, &mut window);
    let loaded = load(&snapshot, Some(&window), *states.settings(), now).ok()?;
    loaded.window.ok()?;
    loaded.states.producer(producer_id)?.last_offset
}

/// Commits what a lone leader appended up to an offset; returns the high watermark, or -1.
#[unsafe(no_mangle)]
pub extern "C" fn replica(at: i64) -> i64 {
    committed(at).map_or(-1, Offset::get)
}

fn committed(at: i64) -> Option<Offset> {
    let mut leader = Leader::alone(NodeId::new(1), LeaderEpoch::new(0), LogBounds::EMPTY);
    leader.admit(Acks::All).ok()?;
    leader.appended(Millis::new(0), Offset::new(at)).ok()?
}
