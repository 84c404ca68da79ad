//! Records as they are sent, and where they came to stand.

use bytes::Bytes;
use hanbeon_records::{Millis, Offset};

/// Bytes a record takes beside its key, value and headers, at most.
const RECORD_OVERHEAD: usize = 21;

/// A record to send.
///
/// ```
/// use hanbeon::Record;
///
/// let record = Record::new("orders", "3 apples").key("customer-7").header("trace", "a1b2");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Record {
    pub(crate) topic: String,
    pub(crate) partition: Option<i32>,
    pub(crate) timestamp: Option<Millis>,
    pub(crate) key: Option<Bytes>,
    pub(crate) value: Option<Bytes>,
    pub(crate) headers: Vec<(String, Option<Bytes>)>,
}

impl Record {
    /// A record for a topic.
    pub fn new(topic: impl Into<String>, value: impl Into<Bytes>) -> Self {
        Self {
            topic: topic.into(),
            partition: None,
            timestamp: None,
            key: None,
            value: Some(value.into()),
            headers: Vec::new(),
        }
    }

    /// The deletion of a key: no value. Readers see it as such; the log does not compact yet, so nothing goes for it.
    pub fn tombstone(topic: impl Into<String>, key: impl Into<Bytes>) -> Self {
        Self { value: None, ..Self::new(topic, Bytes::new()) }.key(key)
    }

    /// Gives it a key: records of one key go to one partition.
    pub fn key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Chooses its partition.
    pub const fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Gives it a time; otherwise it gets that of the call that sends it.
    pub const fn timestamp(mut self, timestamp: Millis) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.headers.push((name.into(), Some(value.into())));
        self
    }

    pub(crate) fn size(&self) -> usize {
        let of = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        let headers: usize =
            self.headers.iter().map(|(name, value)| name.len() + of(value) + RECORD_OVERHEAD).sum();
        of(&self.key) + of(&self.value) + headers + RECORD_OVERHEAD
    }
}

/// Where a record came to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Its partition.
    pub partition: i32,
    /// Its offset there.
    pub offset: Offset,
    /// Its time.
    pub timestamp: Millis,
}
