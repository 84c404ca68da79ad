//! A numbered stream that survives crashes: after `kill -9` it says how many of its records are in the log, and goes on there.
//!
//! A producer id kept under a name does it. The records' numbers are its sequences, which the log keeps next to the records
//! and recovers with them; so the number and the record are in the log together or not at all, and no second file has to agree.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use hanbeon_log::{FirstBatch, Isolation, Placed, Source};
use hanbeon_meta::{Key, StoreError, Txn, TxnResult};
use hanbeon_records::{
    BatchBuilder, BatchKind, BatchRef, BatchSettings, Codec, CompressionLevel, LeaderEpoch, Millis,
    NewRecord, Offset, ProducerEpoch, ProducerId, ProducerStamp, Sequence, TimestampType,
};
use hanbeon_replica::Acks;

use crate::{
    ClientError, Engine, Env, FetchSpec, PartitionError, PartitionHandle, ProduceFuture,
    ProducerIdentity, System,
};

/// Sequences go from 0 to `i32::MAX`; then the next epoch begins at 0.
const SEQUENCES: u64 = 1 << 31;
/// Version of the value that keeps an id, and its length in bytes.
const VALUE_VERSION: u16 = 2;
const VALUE_LEN: usize = 18;

/// Appends records to one partition, numbered from 0. One at a time has a name.
///
/// ```
/// # let home = tempfile::tempdir()?;
/// use hanbeon::Engine;
///
/// let lines = ["first", "second", "third"];
/// let engine = Engine::open(home.path())?;
/// engine.ensure_topic("events", 1)?;
/// let mut appender = engine.appender("events", 0, "importer")?;
/// // Whatever was appended before a crash is counted, and not appended again.
/// let done = usize::try_from(appender.next())?;
/// for line in &lines[done..] {
///     appender.append(None, line.as_bytes())?;
/// }
/// assert_eq!(appender.next(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Appender<E: Env = System> {
    engine: Engine<E>,
    handle: PartitionHandle<E>,
    name: String,
    id: ProducerId,
    next: u64,
}

impl<E: Env> Engine<E> {
    /// The appender of this name, at the place where it stopped, whatever stopped it.
    ///
    /// # Errors
    /// There is no such partition, the name is in use, its id cannot be made durable, or all it has appended is deleted and
    /// forgotten.
    pub fn appender(
        &self,
        topic: &str,
        partition: i32,
        name: &str,
    ) -> Result<Appender<E>, ClientError> {
        let handle = self.partition(topic, partition)?;
        let held = format!("{}/{partition}/{name}", handle.topic_id());
        if !self.0.shared.appenders.lock().insert(held.clone()) {
            return Err(ClientError::NameInUse { name: name.to_owned() });
        }
        let kept = match self.kept(&held, &handle) {
            Ok(kept) => kept,
            Err(error) => {
                self.0.shared.appenders.lock().remove(&held);
                return Err(error);
            }
        };
        let mut appender =
            Appender { engine: self.clone(), handle, name: held, id: kept.id, next: 0 };
        appender.next = appender.place(name, kept.since)?;
        Ok(appender)
    }

    /// What is kept under a name; taken and made durable when there is nothing.
    fn kept(&self, held: &str, handle: &PartitionHandle<E>) -> Result<Kept, ClientError> {
        let failed = |error: StoreError| ClientError::Storage { source: Arc::new(error) };
        // Nothing is stored once the directory is let go.
        let admin = self.admin().map_err(|_closed| PartitionError::Closed)?;
        let store = &*admin.store;
        let key = Key::new(&format!("hanbeon/appender/{held}"));
        if let Some(entry) = store.get(&key).map_err(failed)? {
            return decode(&entry.value).ok_or(StoreError::Poisoned).map_err(failed);
        }
        let since = handle.log_end_offset()?;
        let ProducerIdentity { id, .. } = self.init_producer_id()?;
        let kept = Kept { id, since };
        let txn = Txn::new().unchanged(&key, None).put(key, encode(kept));
        let committed = store.commit(&txn).map_err(failed)?;
        drop(admin);
        match committed {
            TxnResult::Committed(_) => Ok(kept),
            TxnResult::Refused(_) => Err(failed(StoreError::Poisoned)),
            TxnResult::Unknown(error) => Err(failed(error)),
        }
    }
}

/// What is kept under the name of an appender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kept {
    id: ProducerId,
    /// Where the log ended when the name was taken: nothing of it is further in front.
    since: Offset,
}

fn encode(Kept { id, since }: Kept) -> Bytes {
    let mut value = Vec::with_capacity(VALUE_LEN);
    value.extend(VALUE_VERSION.to_be_bytes());
    value.extend(id.get().to_be_bytes());
    value.extend(since.get().to_be_bytes());
    Bytes::from(value)
}

fn decode(value: &[u8]) -> Option<Kept> {
    let (version, rest) = value.split_first_chunk::<2>()?;
    let (id, rest) = rest.split_first_chunk::<8>()?;
    let since = match u16::from_be_bytes(*version) {
        // Without the end of the log.
        1 => rest.is_empty().then_some(Offset::ZERO)?,
        VALUE_VERSION => Offset::new(i64::from_be_bytes(rest.try_into().ok()?)),
        _ => return None,
    };
    Some(Kept { id: ProducerId::new(i64::from_be_bytes(*id)), since })
}

/// The number of the record with this epoch and sequence.
fn number(epoch: ProducerEpoch, sequence: Sequence) -> u64 {
    let epoch = u64::try_from(epoch.get()).unwrap_or(0);
    epoch.saturating_mul(SEQUENCES).saturating_add(u64::from(sequence.get().cast_unsigned()))
}

impl<E: Env> Appender<E> {
    /// The number of the next record: how many of this name's records are in the log, or were.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// Appends the next record, and returns its offset when it is as durable as the topic asks.
    ///
    /// # Errors
    /// The record was not taken: the next one has the same number. Or whether it was taken is not known: open the appender
    /// again, and [`Appender::next`] tells.
    pub fn append(&mut self, key: Option<&[u8]>, value: &[u8]) -> Result<Offset, ClientError> {
        let batch = self.batch(key, value)?;
        let (appended, now) = self.handle.append_now(&batch, Source::CLIENT)?;
        // A place that was wrong shows here: a record of this number is in the log.
        debug_assert_eq!(appended.placed, Placed::Written, "two appenders of one name");
        self.next = self.next.saturating_add(1);
        let produced = ProduceFuture::written(&self.handle, Acks::All, appended, now).wait()?;
        Ok(produced.base_offset)
    }

    fn batch(&self, key: Option<&[u8]>, value: &[u8]) -> Result<Bytes, ClientError> {
        let (epoch, sequence) = (self.next / SEQUENCES, self.next % SEQUENCES);
        let stamp = ProducerStamp {
            id: self.id,
            epoch: ProducerEpoch::new(i16::try_from(epoch).unwrap_or(i16::MAX)),
            base_sequence: Sequence::ZERO.advance(u32::try_from(sequence).unwrap_or(0)),
        };
        let mut bytes = Vec::new();
        let settings = BatchSettings {
            codec: Codec::None,
            level: CompressionLevel::DEFAULT,
            timestamp_type: TimestampType::CreateTime,
            producer: Some(stamp),
            kind: BatchKind::Plain,
            base_offset: Offset::ZERO,
            leader_epoch: LeaderEpoch::UNKNOWN,
        };
        let mut builder = BatchBuilder::new(&mut bytes, settings);
        let timestamp: Millis = self.engine.now();
        builder.push(NewRecord { timestamp, key, value: Some(value), headers: &[] })?;
        builder.finish()?;
        Ok(Bytes::from(bytes))
    }

    /// How many records are in the log: from what the partition knows of the producer, or, when it has forgotten it, from its
    /// last batch that is still there.
    fn place(&self, name: &str, since: Offset) -> Result<u64, ClientError> {
        let producers = self.handle.describe_producers()?;
        let known = producers.iter().find(|view| view.producer_id == self.id);
        if let Some((view, last)) = known.and_then(|view| Some((view, view.last_sequence?))) {
            return Ok(number(view.producer_epoch, last).saturating_add(1));
        }
        match self.last_in_log()? {
            Some(last) => Ok(last.saturating_add(1)),
            None if self.handle.log_start_offset()? <= since => Ok(0),
            None => Err(ClientError::Forgotten {
                name: name.to_owned(),
                topic: self.handle.topic().to_string(),
                partition: self.handle.number(),
            }),
        }
    }

    fn last_in_log(&self) -> Result<Option<u64>, ClientError> {
        let mut last = None;
        let mut from = self.handle.log_start_offset()?;
        loop {
            let spec = FetchSpec {
                isolation: Isolation::LogEnd,
                first_batch: FirstBatch::Whole,
                ..FetchSpec::from(from)
            };
            let fetched = self.handle.fetch(&spec)?;
            let mut rest: &[u8] = &fetched.records;
            let before = from;
            while let Ok((batch, behind)) = BatchRef::parse(rest) {
                rest = behind;
                from = from.max(batch.next_offset());
                if let Some(sequence) =
                    batch.last_sequence().filter(|_| batch.producer_id() == self.id)
                {
                    last = Some(number(batch.producer_epoch(), sequence));
                }
            }
            if from == before {
                return Ok(last);
            }
        }
    }
}

impl<E: Env> Drop for Appender<E> {
    fn drop(&mut self) {
        self.engine.0.shared.appenders.lock().remove(&self.name);
    }
}

impl<E: Env> fmt::Debug for Appender<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { handle, id, next, .. } = self;
        f.debug_struct("Appender")
            .field("partition", handle)
            .field("id", id)
            .field("next", next)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_on_through_the_wrap_of_sequences() {
        let last = Sequence::new(i32::MAX).unwrap();
        assert_eq!(number(ProducerEpoch::new(0), last), SEQUENCES - 1);
        assert_eq!(number(ProducerEpoch::new(1), Sequence::ZERO), SEQUENCES);
    }

    #[test]
    fn a_kept_id_reads_back_and_a_later_version_does_not() {
        let kept = Kept { id: ProducerId::new(4711), since: Offset::new(12) };
        let mut bytes = encode(kept).to_vec();
        assert_eq!(decode(&bytes), Some(kept));
        bytes[1] = 3;
        assert_eq!(decode(&bytes), None);
        bytes[1] = 1;
        assert_eq!(decode(&bytes), None, "too long");
        assert_eq!(decode(&bytes[..10]), Some(Kept { since: Offset::ZERO, ..kept }));
    }
}
