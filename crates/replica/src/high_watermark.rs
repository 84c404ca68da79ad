//! How far the log is committed.

use hanbeon_records::Offset;

/// What one follower does to the high watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holds {
    /// Nothing: it is not in sync and not about to be.
    Nothing,
    /// It may not pass this log end.
    Below(Offset),
    /// It may not move at all: an in-sync replica whose log end is unknown.
    Still,
}

/// The high watermark after `own_end` and the followers' holds, or `None` when it stays where it is. It only ever rises.
pub(crate) fn raised(
    current: Offset,
    own_end: Offset,
    followers: impl Iterator<Item = Holds>,
) -> Option<Offset> {
    let mut candidate = own_end;
    for hold in followers {
        match hold {
            Holds::Nothing => {}
            Holds::Below(end) => candidate = candidate.min(end),
            Holds::Still => return None,
        }
    }
    (candidate > current).then_some(candidate)
}
