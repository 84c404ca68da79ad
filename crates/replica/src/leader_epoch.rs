//! Fencing by leader epoch (KIP-320). Where two logs part is the log's own question.

use hanbeon_records::LeaderEpoch;

use crate::ReplicaError;

/// Compares the epoch a request names with the one of the leader. -1 names none and passes.
///
/// # Errors
/// [`ReplicaError::FencedLeaderEpoch`] for an older one, [`ReplicaError::UnknownLeaderEpoch`] for a newer one.
pub fn check_epoch(current: LeaderEpoch, got: LeaderEpoch) -> Result<(), ReplicaError> {
    if got.get() < 0 || got == current {
        Ok(())
    } else if got < current {
        Err(ReplicaError::FencedLeaderEpoch { current, got })
    } else {
        Err(ReplicaError::UnknownLeaderEpoch { current, got })
    }
}
