//! Kafka's idempotent-producer table of one partition, as a value without IO.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod admit;
mod error;
mod kind;
mod markers;
mod open_txns;
mod producer;
mod snapshot;
mod states;
mod verification;
mod window;

pub use admit::{Admission, Claim, Duplicate, Origin, Ticket};
pub use error::{ExpectedSequence, IdempotenceError};
pub use kind::{BatchKind, Outcome};
pub use markers::{CompletedTxn, MarkerAdmission, MarkerClaim, MarkerProtocol, MarkerTicket};
pub use producer::WINDOW_DEPTH;
pub use snapshot::{Loaded, SnapshotError, load, read_snapshot};
pub use states::{FirstWrite, OpenTxn, ProducerStates, ProducerView, Settings, Verification};
pub use verification::{VerificationGuard, VerificationNeed, VerificationRequest};
pub use window::WindowError;
