//! KIP-848 consumer groups: the coordinator decides who reads what, members follow heartbeat by heartbeat.
//!
//! One [`ConsumerGroup`] is one group as a value without IO. It does not log, send, or wait; topics come as a [`TopicsImage`],
//! time as an argument, and what the clock is to do comes back as [`Timer`]s.
//!
//! ```text
//!                        Heartbeat                                HeartbeatDecision
//!   member ----------------------------> heartbeat(&self) ------------------------------> log the records
//!     ^                                    |          \                                        |
//!     |  HeartbeatReply                    | ConsumerError: code()                             v
//!     +------------------------------------+-------------------------------------- apply(&mut self, record)
//!                                                                                              |
//!   clock -- Timer ran out --> expire_session, expire_rebalance --> records -----------------> |
//!                                                                                              v
//!     +------------------------------------------------------------------------------------------------+
//!     | group epoch      what members subscribe to, which topics there are       rises when it changes |
//!     | target           what each member is to have, computed for a group epoch                       |
//!     | current          what each member has, and what it was told to give up   one owner a partition |
//!     +------------------------------------------------------------------------------------------------+
//! ```
//!
//! ```
//! use hanbeon_group::consumer::{
//!     Assignor, Assignors, ConsumerGroup, ConsumerSettings, Heartbeat, MigrationPolicy, Partitions, Topic,
//!     TopicList,
//! };
//! use hanbeon_records::{Millis, TopicId};
//!
//! let settings = ConsumerSettings {
//!     session_timeout_ms: 45_000,
//!     heartbeat_interval_ms: 5_000,
//!     assignment_interval_ms: 1_000,
//!     max_size: 1_000,
//!     assignors: Assignors { default: Assignor::Uniform, others: vec![Assignor::Range] },
//!     regex_refresh_interval_ms: 600_000,
//!     migration_policy: MigrationPolicy::Bidirectional,
//! };
//! let mut topics = TopicList::default();
//! topics.put("orders", Topic { id: TopicId::new([1; 16]), partitions: 2 });
//!
//! let join = Heartbeat {
//!     version: 1,
//!     member_id: "m-1".into(),
//!     member_epoch: 0,
//!     instance_id: None,
//!     rack_id: None,
//!     rebalance_timeout_ms: 60_000,
//!     subscribed_topic_names: Some(vec!["orders".into()]),
//!     subscribed_topic_regex: None,
//!     server_assignor: None,
//!     owned: Some(Partitions::new()),
//!     client_id: "app".into(),
//!     client_host: "/127.0.0.1".into(),
//! };
//! let mut group = ConsumerGroup::new("billing");
//! let decision = group.heartbeat(Millis::new(0), &join, &topics, &settings, [0; 16])?;
//! // ... the records are logged ...
//! decision.records.iter().for_each(|record| group.apply(record));
//! assert_eq!(decision.reply.assignment.map(|partitions| partitions.len()), Some(2));
//! # Ok::<(), hanbeon_group::consumer::ConsumerError>(())
//! ```
//!
//! # Rules
//! - A partition is never in two members' hands: it is given out only when nobody has it, and nobody has it only once its last
//!   owner said that it gave it up, left, or was fenced.
//! - Epochs only rise. A member moves to the epoch of the target only when it has given up what the target takes from it.
//! - A refusal changes nothing, and a decision changes nothing before its records are applied.

mod assign;
mod classic;
mod commit;
mod describe;
mod draft;
mod error;
mod group;
mod heartbeat;
mod matching;
mod member;
mod partitions;
mod pattern;
mod reconcile;
mod settings;
mod topics;

pub use crate::migration::MigrationPolicy;
pub use crate::record::consumer as record;
pub use assign::{Assignor, Subscriber};
pub(crate) use classic::{ClassicJoin, ClassicSeat, Comes, Translated};
pub use commit::{CommitApi, CommitClaim, CommitRule};
pub use describe::{GroupDescription, MemberDescription, MemberType, TopicAssignment};
pub use error::{ConsumerError, InvalidField};
pub use group::{ConsumerGroup, GroupState};
pub use heartbeat::{Departure, Heartbeat, HeartbeatDecision, HeartbeatReply};
pub(crate) use matching::{Matching, Resolution};
pub use member::MemberState;
pub(crate) use member::{LEFT, Member};
pub use partitions::Partitions;
pub use pattern::TopicPattern;
pub use settings::{Assignors, ConsumerSettings, SettingsOfGroups, Timer};
pub use topics::{Topic, TopicList, TopicsImage};
