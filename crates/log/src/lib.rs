//! A partition log in Apache Kafka's format.
#![deny(unsafe_code)]

mod config;
mod io;

pub use config::{
    CleanupPolicy, CompressionType, ConfigError, Durability, LogConfig, LogSettings,
};
pub use io::{Dir, Entry, EntryKind, FileName, LogFile, Open};
