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

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn holds() -> impl Strategy<Value = Holds> {
        prop_oneof![
            Just(Holds::Nothing),
            (0_i64..100).prop_map(|end| Holds::Below(Offset::new(end))),
            Just(Holds::Still),
        ]
    }

    proptest! {
        /// It only rises, never past anybody, and one more follower never lifts it.
        #[test]
        fn r3_more_followers_never_lift_it(
            current in 0_i64..100,
            own in 0_i64..100,
            followers in prop::collection::vec(holds(), 0..5),
            more in holds(),
        ) {
            let (current, own) = (Offset::new(current), Offset::new(own));
            let after = |all: &[Holds]| raised(current, own, all.iter().copied());
            let before = after(&followers);
            if let Some(to) = before {
                prop_assert!(to > current && to <= own && !followers.contains(&Holds::Still));
                let passed = followers.iter().any(|hold| matches!(hold, Holds::Below(end) if *end < to));
                prop_assert!(!passed);
            }
            let with_more: Vec<Holds> = followers.iter().copied().chain([more]).collect();
            prop_assert!(after(&with_more).unwrap_or(current) <= before.unwrap_or(current));
        }
    }
}
