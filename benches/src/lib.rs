//! What the benches share: how two sides are measured in one run, what is appended, and how a partition is opened.
//!
//! Every bench stands beside a yardstick that does the same with bare system calls, and prints `ours / yardstick` of
//! interleaved rounds: on a machine with neighbours that ratio holds still where absolute times do not.
#![expect(clippy::expect_used, reason = "a bench that cannot go on has nothing to say")]

mod batches;
mod broker;
mod measure;
mod partition;
mod peer;
mod transactional;

pub use batches::{Batches, NOW};
pub use broker::{Client, Served};
pub use measure::{Cost, Goal, Side, cost_of, side_by_side};
pub use partition::{append, config, fresh_dir, open, options};
pub use peer::{Kafka, Peer};
pub use transactional::{Copied, Pair, Transactional, fetch_committed};
