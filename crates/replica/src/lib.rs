//! The leader of one partition: it says how far the log is committed, who may be answered, and who is in sync.
//!
//! It does no IO, reads no clock and knows no log, no network and no controller: it is told what happened
//! ([`Input`]) and answers with what to do ([`Output`]).
//!
//! ```text
//!   append -----> Appended --+                     +--> HighWatermark(offset) --> Waiters::release --> answers
//!   fetch  -----> Fetched ---+--> Leader::step --->|
//!   timer  -----> Tick ------+        |            +--> ProposeIsr(proposal) --> metadata store
//!   metadata ---> Registered +        |                                               |
//!            IsrAnswered <------------|-----------------------------------------------+
//!                                     +--> admit, settle, check_epoch: questions that change nothing
//! ```
//!
//! ```
//! use hanbeon_records::{LeaderEpoch, Millis, NodeId, Offset};
//! use hanbeon_replica::{Acks, Leader, LogBounds, Settled, Waiters};
//!
//! // One broker, one replica: what is appended is committed.
//! let mut leader = Leader::alone(NodeId::new(1), LeaderEpoch::new(0), LogBounds::EMPTY);
//! let mut waiters = Waiters::new();
//! leader.admit(Acks::All)?;
//! waiters.add(Offset::new(3), "the producer of offsets 0, 1 and 2");
//! if let Some(high_watermark) = leader.appended(Millis::new(0), Offset::new(3))? {
//!     for token in waiters.release(high_watermark) {
//!         println!("answer {token}");
//!     }
//! }
//! assert_eq!(leader.settle(Acks::All, Offset::new(3))?, Settled::Done);
//! # Ok::<(), hanbeon_replica::ReplicaError>(())
//! ```
//!
//! Guards R3, R6 and R8 of `docs/protocols/replication.md`: the high watermark is monotone in a leader epoch and never above
//! the log end of an in-sync replica, `acks=all` is refused before the append when too few replicas are in sync, and a new
//! leader answers no "latest offset" before its high watermark is proven. Rules: KIP-101, 320, 497, 841, 903, 966.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod acks;
mod error;
mod high_watermark;
mod isr;
mod leader;
mod leader_epoch;
mod registration;
mod remote;
mod waiters;

pub use acks::{Acks, Settled};
pub use error::ReplicaError;
pub use isr::{IsrAnswer, Proposal};
pub use leader::{Fetch, Input, Leader, LogBounds, Output, Settings};
pub use leader_epoch::check_epoch;
pub use registration::{MinIsr, Registration};
pub use remote::Standing;
pub use waiters::{WaiterId, Waiters};
