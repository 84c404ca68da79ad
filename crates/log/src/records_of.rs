//! The records of a stored batch, compressed or not.

use hanbeon_records::{BatchRef, Codec, OutputLimit, Record, Records, decompress};

use crate::Damage;

/// Calls `each` with every record.
pub(crate) fn with_records(
    batch: &BatchRef<'_>,
    mut each: impl FnMut(&Record<'_>),
) -> Result<(), Damage> {
    let codec = batch.attributes().codec().unwrap_or(Codec::None);
    if codec == Codec::None {
        for record in batch.records()? {
            each(&record?);
        }
        return Ok(());
    }
    let mut plain = Vec::new();
    decompress(codec, batch.payload(), OutputLimit::STORED, &mut plain)?;
    for record in Records::new(batch.record_count(), &plain) {
        each(&record?);
    }
    Ok(())
}
