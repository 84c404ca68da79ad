//! Kafka's group coordinator for one partition of `__consumer_offsets`, as a value without IO: classic groups, committed offsets and
//! those that wait inside transactions, and the bytes of it all.
//!
//! It does not store, send or wait, starts nothing, reads no clock and draws no random number; that topics exist, who may do what, and
//! what a transaction's coordinator says are the caller's. `no_std` with `alloc`; builds for bare wasm32.
//!
//! ```text
//!  JoinGroup, SyncGroup,          +--------------------------+
//!  Heartbeat, LeaveGroup,  token  | Coordinator<T>           |   Append(write, records)    log
//!  OffsetCommit, ...      ------->|   gate of each group     |--------------------------->  |
//!                                 |   Classic: who is where  |   appended(write, offset)    |
//!       clock ------ tick ------->|   Offsets: by partition, |<-----------------------------+
//!       log ----- replay -------->|            by producer   |   marker_written             |
//!                                 +--------------------------+<-----------------------------+
//!                                              |
//!                         Answer(token, reply) +--> client
//! ```
//!
//! What must be logged is first handed out as [`Output::Append`] and takes effect, and is answered, only when
//! [`appended`](Coordinator::appended) says that it is in the log. Until then what depends on it waits at the group's gate. A write
//! that failed leaves nothing to undo.
//!
//! # Example
//! ```
//! use hanbeon_group::{
//!     Commit, CommitDialect, Coordinator, Fetch, FetchWhat, Membership, Name, NewOffset, Output,
//!     Settings, Stability,
//! };
//! use hanbeon_records::{LeaderEpoch, Millis, Offset, TopicName};
//!
//! let mut groups = Coordinator::new(Settings {
//!     session_timeout_ms_min: 6_000,
//!     session_timeout_ms_max: 1_800_000,
//!     initial_rebalance_delay_ms: 3_000,
//!     groups_max: 10_000,
//!     group_size_max: usize::MAX,
//!     member_bytes_max: 1 << 20,
//!     new_member_join_timeout_ms: 300_000,
//!     offset_metadata_len_max: 4_096,
//!     offsets_retention_ms: 604_800_000,
//!     offsets_retention_check_interval_ms: 600_000,
//! });
//! let (now, mut out) = (Millis::new(1_700_000_000_000), Vec::new());
//! groups.loaded(now, &mut out);
//!
//! let commit = Commit {
//!     group: Name::new("g")?,
//!     membership: Membership::none(),
//!     dialect: CommitDialect::Epochs,
//!     retention_ms: None,
//!     offsets: vec![NewOffset {
//!         topic: TopicName::new("t")?,
//!         topic_id: None,
//!         partition: 7,
//!         offset: Offset::new(42),
//!         leader_epoch: LeaderEpoch::UNKNOWN,
//!         metadata: "".into(),
//!     }],
//! };
//! groups.commit_offsets(now, "the client", commit, &mut out);
//! let Some(Output::Append { write, records, .. }) = out.pop() else { panic!("it must be logged") };
//! assert_eq!(records[0].key().unwrap(), b"\0\x01\0\x01g\0\x01t\0\0\0\x07");
//!
//! // ... the record is written at offset 0 ...
//! groups.appended(now, write, Ok(Offset::ZERO), &mut out);
//! assert!(matches!(out[0], Output::Answer { token: "the client", .. }));
//! let fetched = groups.fetch_offsets(&Fetch {
//!     group: Name::new("g")?,
//!     member: None,
//!     stability: Stability::Required,
//!     what: FetchWhat::All,
//! })?;
//! assert_eq!(fetched[0].committed.as_ref().unwrap().offset, Offset::new(42));
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! # Invariants
//! - **C1** a fetched offset is what the last accepted commit wrote, by place in the log; **C2** a stale generation or a replaced
//!   member is refused; **C3** in one generation a partition is given to whom the leader gave it and to nobody else; **C4** a rebalance
//!   ends within session and rebalance timeout.
//! - **C5** each token comes back exactly once.
//!
//! KIP-848 groups ([`consumer`]) are served once [`set_consumer_settings`](Coordinator::set_consumer_settings) allows them. The rules with their tables are in
//! `docs/protocols/groups.md`, the bytes in `docs/formats/group_log.md`.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod classic;
mod commit;
pub mod consumer;
mod coordinator;
mod error;
mod forget;
mod gate;
mod live;
mod membership;
mod migration;
mod name;
mod offsets;
mod output;
mod parts;
mod record;
mod replay;
mod reply;
mod request;
mod settings;
mod step;
mod subscription;
mod timers;
mod views;

pub use coordinator::Coordinator;
pub use error::GroupError;
pub use hanbeon_records::Outcome;
pub use name::{FreshId, Name, NameTooLong};
pub use output::{AppendKind, Output, WriteId};
pub use record::{
    GroupMetadata, MetadataLayout, MetadataMember, OffsetKeyLayout, OffsetLayout, OffsetValue,
    Record, RecordError,
};
pub use replay::Replayed;
pub use reply::{
    CommittedOffset, Described, DescribedMember, FetchedOffset, GroupType, JoinRefused, Joined,
    JoinedMember, LeadersTask, Left, Listed, Reply, State, Synced,
};
pub use request::{
    Commit, CommitDialect, CommitInTxn, DeleteOffsets, Fetch, FetchWhat, Join, Leave, Leaver,
    ListFilter, Membership, NewMembers, NewOffset, Opaque, Protocol, SkipAssignment, Speaker,
    Stability, Sync,
};
pub use settings::Settings;
