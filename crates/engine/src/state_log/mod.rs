//! Where coordinators write what they decide, and read it back after a restart.
//!
//! ```text
//!   decide(&self) --> append --> apply --> durable_to --> answer, markers
//!                       |                     |
//!                   StateLog: a partition of __transaction_state or __consumer_offsets (default),
//!                             a sled database (feature), memory
//! ```
//!
//! A record is applied as soon as it is written and nobody hears of it before it is as durable as it has to be: a sync that fails
//! stops the data directory, so what was applied and not durable is never acted on (`docs/decisions/0002-apply-at-append.md`).

#[cfg(feature = "testing")]
pub mod conformance;
mod keyed;
mod memory;
mod partition;
#[cfg(feature = "sled")]
mod sled;

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use hanbeon_idempotence::{MarkerClaim, MarkerProtocol, VerificationGuard};
use hanbeon_records::{
    CoordinatorEpoch, Millis, Offset, Outcome, ProducerEpoch, ProducerId, TopicName, TopicPartition,
};

pub use memory::{MemoryStateLog, MemoryStateLogs};
pub(crate) use partition::{PartitionStateLog, with_records};
#[cfg(feature = "sled")]
pub use sled::{SledError, SledStateLogs};

use crate::ProduceError;

/// A record of a coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateRecord<'a> {
    /// Its key.
    pub key: &'a [u8],
    /// Its value; `None` takes the key away.
    pub value: Option<&'a [u8]>,
}

/// In whose transaction records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InTransaction {
    /// The producer's id.
    pub producer_id: ProducerId,
    /// Its incarnation.
    pub producer_epoch: ProducerEpoch,
    /// What [`StateLog::begin_transaction`] said before the coordinator confirmed it; `None` when it is open here already.
    pub guard: Option<VerificationGuard>,
}

/// What is read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateEntry<'a> {
    /// A record.
    Record {
        /// Where it stands.
        offset: Offset,
        /// When it was written.
        timestamp: Millis,
        /// The record.
        record: StateRecord<'a>,
        /// In whose transaction.
        transaction: Option<(ProducerId, ProducerEpoch)>,
    },
    /// The end of a transaction.
    Marker {
        /// Where it stands.
        offset: Offset,
        /// Whose it was.
        producer_id: ProducerId,
        /// How it ended.
        outcome: Outcome,
    },
}

/// Where something was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Of its first record.
    pub offset: Offset,
    /// Behind its last record: what [`StateLog::durable_to`] is asked for.
    pub end: Offset,
}

/// Whether a transaction is open in a state log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enrolment {
    /// It is: records may be written.
    Open,
    /// The transaction coordinator is to be asked first; the guard goes with the records.
    Ask(Option<VerificationGuard>),
}

/// Resolves when it is durable.
pub type DurableFuture = Pin<Box<dyn Future<Output = Result<(), ProduceError>> + Send>>;

/// A coordinator's records, in order. One writer: the shard that owns it.
///
/// It is called while the coordinator is locked, and a shutdown waits for that lock. So nothing of it may wait for a medium for long, but for the futures of
/// [`StateLog::durable_to`], which are polled without any lock, and [`StateLog::epoch`] and [`StateLog::replay`], once for each opening.
pub trait StateLog: fmt::Debug + Send + Sync + 'static {
    /// The incarnation of the coordinator that writes here now; greater than all before it.
    ///
    /// # Errors
    /// The storage fails; so for all below.
    fn epoch(&self) -> Result<CoordinatorEpoch, ProduceError>;

    /// Reads everything from the start, decided or not, and returns the end.
    ///
    /// # Errors
    /// Also a batch that does not read.
    fn replay(&self, visit: &mut dyn FnMut(StateEntry<'_>)) -> Result<Offset, ProduceError>;

    /// Writes records, all or none.
    ///
    /// # Errors
    /// Also a producer that was fenced; nothing was written then.
    fn append(
        &self,
        now: Millis,
        records: &[StateRecord<'_>],
        transaction: Option<InTransaction>,
    ) -> Result<Written, ProduceError>;

    /// Asks whether a producer's transaction is open here.
    ///
    /// # Errors
    /// The storage fails.
    fn begin_transaction(
        &self,
        producer: (ProducerId, ProducerEpoch),
        protocol: MarkerProtocol,
    ) -> Result<Enrolment, ProduceError>;

    /// Writes the marker that ends a transaction.
    ///
    /// # Errors
    /// Also a marker of the past.
    fn append_marker(&self, claim: MarkerClaim) -> Result<Written, ProduceError>;

    /// Whether a power cut before this opening may have taken the end of the log and left what was written elsewhere after it. Never of a log that
    /// has always been durable before anything rested on it.
    fn may_lack_its_end(&self) -> bool {
        false
    }

    /// The first producer id whose epochs in this log no power cut has put in doubt, before this opening or an earlier one; for a log that
    /// never lacks its end all of them.
    fn first_sure_id(&self) -> ProducerId {
        ProducerId::new(0)
    }

    /// Whether the last write was held up, so that who must not block makes the next on another thread. Who cannot tell says no.
    fn is_slow(&self) -> bool {
        false
    }

    /// Whether everything that is written here must be durable before it is acted on.
    fn is_synced(&self) -> bool;

    /// Whether everything below `end` is durable.
    fn is_durable(&self, end: Offset) -> bool;

    /// Resolves when everything below `end` is durable.
    fn durable_to(&self, end: Offset) -> DurableFuture;
}

/// Where an engine keeps its state logs when not in internal partitions.
///
/// The coordinators then have no topic: nobody can read `__consumer_offsets`, and Kafka cannot take the directory over with its
/// transactions and offsets.
pub trait StateLogs: fmt::Debug + Send + Sync + 'static {
    /// How many logs stand for an internal topic: `wanted` for the first who asks, and for ever after what that one was told, as ids and
    /// groups are found by this number. It is as durable as the logs before it is told.
    ///
    /// # Errors
    /// The storage fails.
    fn count(&self, topic: &TopicName, wanted: i32) -> Result<i32, ProduceError>;

    /// The log that stands for a partition of an internal topic.
    ///
    /// # Errors
    /// The storage fails.
    fn open(&self, partition: &TopicPartition) -> Result<Arc<dyn StateLog>, ProduceError>;
}
