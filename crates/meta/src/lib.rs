//! Cluster metadata behind one trait, [`MetadataStore`], and the stores that keep it.
//!
//! It decides nothing: what a topic or a leader should be is the engine's and the controller's business. Here a change is a
//! guarded transaction ([`Txn`]) that is committed, refused with what was found instead, or of unknown outcome.
//!
//! ```text
//!   engine, controller          rows + keys (typed, versioned)      image (immutable, for reading)
//!          |                               |                                ^
//!          v                               v                                |
//!   changes: image + wish -> Txn ---> MetadataStore ---------- range, watch +
//!                                          |
//!                     +--------------------+------------------+
//!                MemoryStore      LoggedStore<D: Dir>     SledStore          one table, three journals
//! ```
//!
//! ```
//! use hanbeon_meta::{Image, MemoryStore, MetadataStore, NewTopic, TxnResult, changes};
//! use hanbeon_records::{NodeId, TopicId, TopicName};
//!
//! let store = MemoryStore::new();
//! let image = Image::read(&store)?;
//! let orders = NewTopic {
//!     id: TopicId::new([7; 16]),
//!     name: TopicName::new("orders")?,
//!     assignments: vec![vec![NodeId::new(1)]; 3],
//!     configs: [("retention.ms".to_owned(), "1000".to_owned())].into(),
//! };
//! let created = store.commit(&changes::create_topic(&image, &orders))?;
//! assert!(matches!(created, TxnResult::Committed(_)));
//! let image = Image::read(&store)?;
//! assert_eq!(image.topic(&orders.name).map(|topic| topic.partitions.len()), Some(3));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

pub mod changes;
#[cfg(any(test, feature = "testing"))]
pub mod contract;
mod embedded;
mod envelope;
mod error;
mod image;
mod keys;
mod logged;
mod memory;
mod rows;
#[cfg(feature = "sled")]
mod sled;
mod store;
mod table;
#[cfg(any(test, feature = "testing"))]
mod unreliable;

#[cfg(feature = "sled")]
pub use crate::sled::{SledJournal, SledStore};
pub use changes::{NewTopic, ProducerIdBlock};
pub use embedded::{Embedded, Journal, Snapshot};
pub use error::{Damage, RowError, StoreError};
pub use image::{Image, ImageError, Partition, Stored, Topic};
pub use keys::{ConfigScope, RowKey};
pub use logged::{FILE_NAME, LogJournal, LoggedSettings, LoggedStore};
pub use memory::{MemoryStore, Volatile};
pub use rows::{
    ClusterRow, Configs, DoubtedIdsRow, FeaturesRow, OpeningsRow, PartitionRow, ProducerIdsRow,
    Row, TopicNameRow, TopicRow,
};
pub use store::{
    Change, Commit, Compare, Entry, KeptAlive, Key, Limits, MetadataStore, Range, Refusal,
    Revision, SessionId, Txn, TxnResult, Watch, Watched, Write, wait,
};
#[cfg(any(test, feature = "testing"))]
pub use unreliable::{Fault, Unreliable};
