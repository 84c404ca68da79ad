//! The records of a stored batch, compressed or not.

use hanbeon_records::{BatchRef, Record};

use crate::Damage;

/// Calls `each` with every record.
pub(crate) fn with_records(
    batch: &BatchRef<'_>,
    mut each: impl FnMut(&Record<'_>),
) -> Result<(), Damage> {
    for record in batch.records()? {
        each(&record?);
    }
    Ok(())
}
