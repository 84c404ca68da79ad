//! Kafka's table of idempotent producers for one partition, as a value without IO: which batch is new, which is a retry,
//! which is a zombie's, which transactions are open, and how far committed data reaches.
//!
//! It does not store, send or read anything, starts nothing and knows no clock: whoever owns a log asks [`admit`] before a
//! batch is written and tells [`record`] after. `no_std` with `alloc`; builds for bare wasm32.
//!
//! ```text
//!             Claim                          Ticket
//!  producer ---------> admit(&self) -------------------> write to the log
//!     ^                  |      |                              |
//!     |  Duplicate       |      | IdempotenceError             v
//!     +---- offsets -----+      +--> code(): 45, 47, 48   record(&mut self, Ticket, offset)
//!                                                              |
//!  coordinator -- MarkerClaim --> admit_marker --> write --> record_marker --> CompletedTxn
//!                                                              |
//!  another log -- batches ------------------------> replay     v
//!                                                  +--------------------------------+
//!                                                  | producers    id -> epoch, five |
//!  write_snapshot, write_window <------------------|              batches, open txn |
//!  load --------------------------------------->   | open txns    by first offset   |
//!                                                  | verification guards            |
//!                                                  +--------------------------------+
//! ```
//!
//! A refusal changes nothing, a failed write is forgotten by dropping its [`Ticket`], and recovery calls [`replay`] for
//! every batch it finds: there is nothing to undo anywhere.
//!
//! # Example
//! ```
//! use hanbeon_idempotence::{
//!     Admission, BatchKind, Claim, FirstWrite, Origin, ProducerStates, Settings, Verification,
//! };
//! use hanbeon_records::{Millis, Offset, ProducerEpoch, ProducerId, Sequence};
//!
//! let mut states = ProducerStates::new(Settings {
//!     expiration_ms: 86_400_000,
//!     verification: Verification::On,
//!     first_write: FirstWrite::FromZero,
//!     hash_seed: 42,
//! });
//! let claim = Claim {
//!     producer_id: ProducerId::new(1000),
//!     producer_epoch: ProducerEpoch::new(0),
//!     base_sequence: Sequence::ZERO,
//!     last_offset_delta: 4, // five records
//!     max_timestamp: Millis::new(1_700_000_000_000),
//!     kind: BatchKind::Plain,
//!     origin: Origin::Client,
//!     guard: None,
//! };
//! let Admission::Append(ticket) = states.admit(&claim)? else { panic!("it is new") };
//! // ... the batch is written at offset 0 ...
//! states.record(ticket, Offset::ZERO, Millis::new(1_700_000_000_001));
//!
//! let Admission::Duplicate(copy) = states.admit(&claim)? else { panic!("it is a retry") };
//! assert_eq!((copy.base_offset, copy.last_offset), (Offset::ZERO, Offset::new(4)));
//! # Ok::<(), hanbeon_idempotence::IdempotenceError>(())
//! ```
//!
//! # Invariants
//! - **P1** at most one stored copy per (producer id, epoch, sequence); **P2** a retry of one of the last five batches, none of them from before an end
//!   marker, returns the original offsets; **P3** no gap is accepted.
//! - **P4** a lower epoch is refused, a higher one starts at sequence 0; **P6** after 2147483647 comes 0.
//! - **P5** snapshot, sidecar and replayed tail give the state of a full replay, window included.
//! - **P7** no producer with an open transaction is forgotten.
//! - **I6** the last stable offset never passes an undecided transaction or the high watermark; **I7** a refusal changes nothing;
//!   **I8** every open transaction has a producer that names its first offset; **I9** sequence arithmetic closes.
//!
//! The rules with their truth table are in `docs/protocols/idempotence.md`.
//!
//! [`admit`]: ProducerStates::admit
//! [`record`]: ProducerStates::record
//! [`replay`]: ProducerStates::replay
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod admit;
mod error;
mod markers;
mod open_txns;
mod producer;
mod snapshot;
mod states;
mod verification;
mod window;

pub use admit::{Admission, Claim, Duplicate, Origin, Ticket};
pub use error::{ExpectedSequence, IdempotenceError};
pub use hanbeon_records::{BatchKind, Outcome};
pub use markers::{CompletedTxn, Ends, MarkerAdmission, MarkerClaim, MarkerProtocol, MarkerTicket};
pub use producer::WINDOW_DEPTH;
pub use snapshot::{Loaded, SnapshotError, load, read_snapshot};
pub use states::{FirstWrite, OpenTxn, ProducerStates, ProducerView, Settings, Verification};
pub use verification::{VerificationGuard, VerificationNeed, VerificationRequest};
pub use window::WindowError;
