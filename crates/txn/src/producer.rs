//! Producer id and epoch as a pair, and where fresh ids come from.

use core::fmt;

use hanbeon_records::{ProducerEpoch, ProducerId};

use crate::TxnError;

/// One incarnation of a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Producer {
    /// Its id.
    pub id: ProducerId,
    /// Its epoch; a higher one fences it.
    pub epoch: ProducerEpoch,
}

impl Producer {
    /// The last epoch a client is given: at it, a producer id is exhausted.
    pub const EPOCH_MAX: ProducerEpoch = ProducerEpoch::new(i16::MAX - 1);

    /// Reads the pair of an `InitProducerId` request, in which -1 and -1 say that the client has none.
    ///
    /// # Errors
    /// [`TxnError::HalfAnIdentity`] when only one of the two is -1.
    pub const fn expected(id: i64, epoch: i16) -> Result<Option<Self>, TxnError> {
        match (id, epoch) {
            (-1, -1) => Ok(None),
            (-1, _) | (_, -1) => Err(TxnError::HalfAnIdentity { id, epoch }),
            _ => Ok(Some(Self { id: ProducerId::new(id), epoch: ProducerEpoch::new(epoch) })),
        }
    }

    /// Whether no epoch above this one can be given to a client. Epoch 32767 is kept for the marker or fence that ends
    /// the last transaction of a producer id.
    #[must_use]
    pub fn is_exhausted(self) -> bool {
        self.epoch >= Self::EPOCH_MAX
    }

    /// The next epoch of the same id, held at 32767.
    pub(crate) const fn next_epoch(self) -> ProducerEpoch {
        ProducerEpoch::new(self.epoch.get().saturating_add(1))
    }
}

impl fmt::Display for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} epoch {}", self.id, self.epoch)
    }
}

/// Where producer ids come from that no producer of this cluster ever had.
///
/// A closure will do: `&mut || pool.pop()`.
pub trait FreshIds {
    /// The next one; `None` when the block of ids is used up and another is on its way
    /// (`COORDINATOR_LOAD_IN_PROGRESS`, which every client retries).
    fn fresh(&mut self) -> Option<ProducerId>;
}

impl<F: FnMut() -> Option<ProducerId>> FreshIds for F {
    fn fresh(&mut self) -> Option<ProducerId> {
        self()
    }
}
