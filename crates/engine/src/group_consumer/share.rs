//! One partition in the hands of a group consumer: given, read, taken away.

use std::sync::Arc;

use hanbeon_log::sync::Mutex;
use hanbeon_records::{Offset, Outcome, TopicId};

use crate::{Env, PartitionHandle};

/// A partition that the coordinator holds for this member's.
#[derive(Debug)]
pub(super) struct Share<E: Env> {
    pub(super) topic_id: TopicId,
    pub(super) stage: Stage<E>,
    pub(super) told: Told,
    /// Whether records were returned, or another position sought, since the group was told.
    pub(super) moved: bool,
}

/// How far a partition is.
#[derive(Debug)]
pub(super) enum Stage<E: Env> {
    /// Where to begin is not known: the offset was not asked for, or is part of an open transaction.
    Awaited(PartitionHandle<E>),
    /// It is read; the reader knows the position.
    Read,
    /// It goes to another member once what was read of it is settled. This is the position.
    Leaving(Offset),
}

/// What the group was told of a position.
#[derive(Clone, Debug)]
pub(super) enum Told {
    Nothing,
    Committed(Offset),
    InTransaction(Offset, Handover),
}

impl<E: Env> Share<E> {
    pub(super) const fn new(topic_id: TopicId, handle: PartitionHandle<E>) -> Self {
        let stage = Stage::Awaited(handle);
        Self { topic_id, stage, told: Told::Nothing, moved: false }
    }

    /// The group was told of the position.
    pub(super) fn tell(&mut self, told: Told) {
        self.told = told;
        self.moved = false;
    }

    /// Whether the group has this position for sure, so that it need not be told again.
    pub(super) fn is_committed(&self, position: Offset) -> bool {
        let told = match &self.told {
            Told::Nothing => None,
            Told::Committed(told) => Some(*told),
            Told::InTransaction(told, handover) => {
                (handover.outcome() == Some(Outcome::Commit)).then_some(*told)
            }
        };
        !self.moved && told == Some(position)
    }

    /// Whether another member may go on: no record was returned that the group does not know of. What is part of an open transaction counts:
    /// the next owner waits until that is decided. A position that only went past markers is settled.
    pub(super) fn is_settled(&self) -> bool {
        !self.moved && self.aborted().is_none()
    }

    /// The position that an aborted transaction was told.
    pub(super) fn aborted(&self) -> Option<Offset> {
        match &self.told {
            Told::InTransaction(told, handover) if handover.outcome() == Some(Outcome::Abort) => {
                Some(*told)
            }
            Told::Nothing | Told::Committed(_) | Told::InTransaction(..) => None,
        }
    }
}

/// Positions that went into a transaction, and what became of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Handover(Arc<Mutex<Option<Outcome>>>);

impl Handover {
    pub(crate) fn decided(&self, outcome: Outcome) {
        *self.0.lock() = Some(outcome);
    }

    fn outcome(&self) -> Option<Outcome> {
        *self.0.lock()
    }
}
