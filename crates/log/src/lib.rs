//! A partition log in Apache Kafka's format.
#![deny(unsafe_code)]

mod io;

pub use io::{Dir, Entry, EntryKind, FileName, LogFile, Open};
