//! Kafka's transaction coordinator as a value without IO: who may use a transactional id, what belongs to its transaction,
//! how that ends, and which markers are owed for it.
//!
//! It stores, sends and reads nothing, starts nothing and knows no clock: whoever owns a log asks for a [`Decision`], makes
//! its [`Record`] durable, applies it and answers. One [`Coordinator`] is one partition of `__transaction_state`. `no_std`
//! with `alloc`; builds for bare wasm32.
//!
//! ```text
//!  InitProducerId ---> init_producer_id --+
//!  AddPartitions, ---> add_partitions ----+                         +--> record --> log --> apply(&mut self)
//!   AddOffsets, Produce                   +--> Decision { record, reply }
//!  EndTxn -----------> end_txn -----------+                         +--> reply, once the record is committed
//!  timer ------------> abort_timed_out ---+                                 |
//!                  +-> complete ----------+            PrepareCommit, PrepareAbort
//!                  |                                                        v
//!             Completion <-- acked, gone, answered <-- markers <-- MarkersOwed::enqueue(owed_by(id))
//!
//!  verify, describe, list: questions that change nothing        log --> replay --> a coordinator after a failover
//! ```
//!
//! Between a decision and its record's application no other decision for the same id may be asked for; others may. When the
//! append fails, drop the decision: nothing has changed. Kafka's pending states do not exist here; while a transaction is in a
//! Prepare state the coordinator answers as Kafka does with a completion pending.
//!
//! # Example
//! ```
//! use hanbeon_records::{Millis, ProducerId};
//! use hanbeon_txn::{Coordinator, Decision, InitProducerId, Settings, TransactionalId};
//!
//! let mut coordinator = Coordinator::new(Settings::kafka_defaults());
//! let mut ids = (1000..).map(ProducerId::new);
//! let request = InitProducerId::new(TransactionalId::new("transfers")?, 60_000);
//! let now = Millis::new(1_700_000_000_000);
//! let Decision { record, reply } =
//!     coordinator.init_producer_id(now, &request, &mut || ids.next());
//! let record = record.expect("a new producer is logged");
//! let (_key, _value) = record.encode(coordinator.settings().value_version)?;
//! // ... both are appended to the log and replicated ...
//! coordinator.apply(&record)?;
//! let producer = reply?;
//! assert_eq!((producer.id.get(), producer.epoch.get()), (1000, 0));
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//! `examples/transaction_by_hand.rs` goes on from here to a commit, a crash and a timeout; `examples/on_sled.rs` keeps the records in a sled tree
//! instead of a log; `tests/on_sled.rs` does so through a crash, and redoes the markers that are owed.
//!
//! # Invariants
//! - **T1** a decision is about exactly the partitions that were enrolled; **T2** a Prepare is never decided again.
//! - **T3** the epoch of a producer that was fenced is refused everywhere; **T9** under [`Protocol::V2`] a pair of producer id and
//!   epoch names one transaction.
//! - **T4** a [`Completion`] exists only when every partition has its marker.
//! - **T10** a commit that crosses the coordinator's abort is `PRODUCER_FENCED`; **T11** a retried end is answered as the first
//!   time.
//! - **T12** timeouts, markers and completion lead out of every state.
//! - A refusal changes nothing; epochs stay in 0..=32767 and clients are given 0..=32766; bytes from outside never panic and
//!   never make this crate allocate by a count that they claim.
//!
//! States, tables and both generations of the protocol are in `docs/protocols/transactions.md`, the log's bytes in
//! `docs/formats/transaction_log.md`.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod age;
mod bytes;
mod coordinator;
mod end;
mod enrol;
mod error;
mod id;
mod init;
mod markers;
mod producer;
mod record;
mod settings;
mod state;
mod txn;
mod value;
mod view;

pub use coordinator::{BrokenRule, Coordinator, Replayed};
pub use end::EndTxn;
pub use enrol::{AddPartitions, Membership, Verify};
pub use error::{Api, Fence, IllegalTransition, TxnError, code_for};
pub use hanbeon_records::Outcome;
pub use id::{TransactionalId, TransactionalIdError, partition_for};
pub use init::{InitProducerId, Prepared};
pub use markers::{
    Completion, Enqueued, MarkersOwed, Missing, OwedTxn, Progress, Round, TxnMarker,
};
pub use producer::{FreshIds, Producer};
pub use record::{Cause, Decision, Record};
pub use settings::{Protocol, Settings, TwoPhaseCommit, ValueVersion};
pub use state::State;
pub use value::{
    Field, RecordError, TopicPartitions, TxnKey, TxnValue, UnknownTag, decode_key, encode_key,
};
pub use view::{ListFilter, StateCounts, TxnView};
