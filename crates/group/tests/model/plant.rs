//! Bugs that can be planted between the coordinator and its surroundings.

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plant {
    /// Markers are in the log and the coordinator does not hear of them.
    MarkersUnheard,
    /// It hears the opposite.
    MarkersFlipped,
    /// It is told that every write stands at offset 0.
    PositionsLost,
    /// Writes are confirmed and not kept.
    WritesUnkept,
    /// A new coordinator takes transactional offsets for plain ones.
    ReplayedAsPlain,
    /// A new coordinator does not see markers.
    ReplayedWithoutMarkers,
    /// A zombie's generation is corrected on its way.
    GenerationsForged,
    /// The leader's assignments are handed on in another order.
    AssignmentsMixed,
    /// Every other answer to a `SyncGroup` that had to wait is lost.
    AnswersLost,
    /// The clock's alarms never come.
    AlarmsLost,
}

impl Plant {
    pub(crate) const ALL: [Self; 10] = [
        Self::MarkersUnheard,
        Self::MarkersFlipped,
        Self::PositionsLost,
        Self::WritesUnkept,
        Self::ReplayedAsPlain,
        Self::ReplayedWithoutMarkers,
        Self::GenerationsForged,
        Self::AssignmentsMixed,
        Self::AnswersLost,
        Self::AlarmsLost,
    ];

    /// The rule it breaks.
    pub(crate) const fn breaks(self) -> &'static str {
        match self {
            Self::MarkersUnheard
            | Self::MarkersFlipped
            | Self::PositionsLost
            | Self::WritesUnkept
            | Self::ReplayedAsPlain
            | Self::ReplayedWithoutMarkers => "C1:",
            Self::GenerationsForged => "C2:",
            Self::AssignmentsMixed => "C3:",
            Self::AlarmsLost => "C4:",
            Self::AnswersLost => "C5:",
        }
    }
}
