//! Which producers may be answered when (`acks` = 0, 1 or all).

use hanbeon_records::Offset;

use crate::ReplicaError;

/// How many acknowledgements a produce request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Acks {
    /// 0: no response at all. On an error the connection is closed, so that the client looks up the leader anew.
    None,
    /// 1: the leader's own append. A clean election may lose the record.
    Leader,
    /// -1: every replica of the maximal in-sync set, not only `min.insync.replicas` of them.
    All,
}

impl TryFrom<i16> for Acks {
    type Error = ReplicaError;

    fn try_from(raw: i16) -> Result<Self, ReplicaError> {
        match raw {
            0 => Ok(Self::None),
            1 => Ok(Self::Leader),
            -1 => Ok(Self::All),
            got => Err(ReplicaError::InvalidRequiredAcks { got }),
        }
    }
}

impl Acks {
    /// The high watermark that a request has to wait for after its records were placed below `end` (exclusive), or `None`
    /// when the local append is enough. A duplicate waits for the end of its original.
    #[must_use]
    pub const fn waits_for(self, end: Offset) -> Option<Offset> {
        match self {
            Self::None | Self::Leader => None,
            Self::All => Some(end),
        }
    }
}

/// Whether a produce request is finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Settled {
    /// It may be answered.
    Done,
    /// The high watermark is still below its records.
    Waits,
}
