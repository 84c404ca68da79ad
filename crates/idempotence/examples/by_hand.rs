//! Deduplicates the writes of a client that retries, with a `Vec` as the log and nothing else of the house.

use hanbeon_idempotence::{
    Admission, BatchKind, Claim, FirstWrite, IdempotenceError, Origin, ProducerStates, Settings,
    Verification,
};
use hanbeon_records::{Millis, Offset, ProducerEpoch, ProducerId, Sequence};

/// Appends a line unless it is there already; returns where it lies.
fn append(
    log: &mut Vec<&'static str>,
    states: &mut ProducerStates,
    sequence: i32,
    line: &'static str,
) -> Result<Offset, IdempotenceError> {
    let producer_id = ProducerId::new(7);
    let claim = Claim {
        producer_id,
        producer_epoch: ProducerEpoch::new(0),
        base_sequence: Sequence::new(sequence)
            .ok_or(IdempotenceError::MissingSequence { producer_id })?,
        last_offset_delta: 0, // one record
        max_timestamp: Millis::new(1_700_000_000_000),
        kind: BatchKind::Plain,
        origin: Origin::Client,
        guard: None,
    };
    match states.admit(&claim)? {
        Admission::Append(ticket) => {
            let offset = states.end_offset();
            log.push(line); // had this failed, dropping the ticket would undo everything
            states.record(ticket, offset, claim.max_timestamp);
            Ok(offset)
        }
        Admission::Duplicate(copy) => Ok(copy.base_offset),
    }
}

fn main() -> Result<(), IdempotenceError> {
    let mut log = Vec::new();
    let mut states = ProducerStates::new(Settings {
        expiration_ms: 86_400_000,
        verification: Verification::On,
        first_write: FirstWrite::FromZero,
        hash_seed: 42, // random in a program that strangers talk to
    });
    assert_eq!(append(&mut log, &mut states, 0, "debit 10")?, Offset::ZERO);
    assert_eq!(append(&mut log, &mut states, 1, "credit 10")?, Offset::new(1));
    // The answer to the first was lost, the client sends it again.
    assert_eq!(append(&mut log, &mut states, 0, "debit 10")?, Offset::ZERO);
    // A batch went missing on the way: what comes behind it is refused, with a reason.
    let refusal = append(&mut log, &mut states, 3, "debit 20");
    assert!(refusal.is_err_and(|error| error.to_string().contains("expected 2")));
    assert_eq!(log, ["debit 10", "credit 10"]);
    Ok(())
}
