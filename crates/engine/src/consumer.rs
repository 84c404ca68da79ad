//! A reader by assignment: partitions, positions, and records of both isolation levels.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hanbeon_log::{FirstBatch, Isolation, TimeQuery};
use hanbeon_records::{
    BatchRef, Codec, ErrorCode, Millis, Offset, OutputLimit, Records, TopicName, TopicPartition,
    decompress,
};

use crate::{
    ClientError, ConsumerSettings, DataFuture, Engine, Env, FetchSpec, PartitionHandle, Reset,
    System, aborted::Aborted, client_settings::Checksums, produce::block_on_until,
};

/// A record as a reader gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its topic.
    pub topic: TopicName,
    /// Its partition.
    pub partition: i32,
    /// Where it stands there.
    pub offset: Offset,
    /// Its time, or [`Millis::NONE`].
    pub timestamp: Millis,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Its headers.
    pub headers: Vec<(String, Option<Bytes>)>,
}

/// Reads assigned partitions, each from its own position on. Positions are the caller's to keep: a
/// [`crate::GroupConsumer`] leaves them to a group.
///
/// Records of aborted transactions are left out for [`ConsumerSettings::new`]'s `read_committed`, and with them everything
/// behind an open transaction until that is decided.
#[derive(Debug)]
pub struct Consumer<E: Env = System> {
    engine: Engine<E>,
    settings: ConsumerSettings,
    assigned: BTreeMap<TopicPartition, Assigned<E>>,
    /// Where the next poll begins, so that a full partition does not starve the others.
    turn: Option<TopicPartition>,
}

#[derive(Debug)]
struct Assigned<E: Env> {
    handle: PartitionHandle<E>,
    position: Option<Offset>,
}

/// Bytes of batches that one poll reads at most, but for the last one: Kafka's `fetch.max.bytes` (`ConsumerConfig`, 50 MiB).
const POLL_BYTES: usize = 50 << 20;

/// What is left of a poll: rounds of one fetch for each partition, for a fetch can be full of what is not for this reader.
pub(crate) struct Rounds {
    /// Partitions of the next round, and the end that the first one found there: what comes behind it is for the next poll.
    ahead: Vec<(TopicPartition, Option<Offset>)>,
    bytes: usize,
}

impl Rounds {
    /// Whether another round could find nothing, or would read too much.
    pub(crate) const fn are_over(&self) -> bool {
        self.ahead.is_empty() || self.bytes >= POLL_BYTES
    }
}

impl<E: Env> Engine<E> {
    /// A reader with [`ConsumerSettings::new`].
    #[must_use]
    pub fn consumer(&self) -> Consumer<E> {
        self.consumer_with(ConsumerSettings::new())
    }

    /// A reader.
    #[must_use]
    pub fn consumer_with(&self, settings: ConsumerSettings) -> Consumer<E> {
        Consumer { engine: self.clone(), settings, assigned: BTreeMap::new(), turn: None }
    }
}

impl<E: Env> Consumer<E> {
    /// Adds a partition, to be read from where [`Reset`] says unless [`Consumer::seek`] says otherwise.
    ///
    /// # Errors
    /// There is no such partition.
    pub fn assign(&mut self, topic: &str, partition: i32) -> Result<(), ClientError> {
        let handle = self.engine.partition(topic, partition)?;
        let name = handle.0.name.clone();
        self.assigned.entry(name).or_insert(Assigned { handle, position: None });
        Ok(())
    }

    /// Adds all partitions of a topic.
    ///
    /// # Errors
    /// There is no such topic.
    pub fn assign_all(&mut self, topic: &str) -> Result<(), ClientError> {
        let found = self.engine.topic(topic);
        let found = found.ok_or_else(|| ClientError::UnknownTopic { topic: topic.to_owned() })?;
        found.partitions().iter().try_for_each(|partition| self.assign(topic, partition.number()))
    }

    /// Takes a partition away; nothing when it is not assigned.
    pub fn unassign(&mut self, topic: &str, partition: i32) {
        self.assigned.retain(|name, _| name.topic.as_str() != topic || name.partition != partition);
    }

    /// The next record read of a partition is the one at `offset`, or the first after it.
    ///
    /// # Errors
    /// The partition is not assigned.
    pub fn seek(&mut self, topic: &str, partition: i32, offset: Offset) -> Result<(), ClientError> {
        self.find(topic, partition)?.position = Some(offset);
        Ok(())
    }

    /// The next record read of a partition is the first at `time` or later; behind the last one when there is none.
    ///
    /// # Errors
    /// The partition is not assigned, or fails.
    pub fn seek_to_time(
        &mut self,
        topic: &str,
        partition: i32,
        time: Millis,
    ) -> Result<(), ClientError> {
        let isolation = self.settings.isolation;
        let assigned = self.find(topic, partition)?;
        // Before the lookup: what comes meanwhile may be what is looked for.
        let end = end(&assigned.handle, isolation)?;
        let found = assigned.handle.list_offsets(TimeQuery::At(time), isolation, None)?;
        assigned.position = Some(found.map_or(end, |found| found.offset));
        Ok(())
    }

    /// The offset that is read next.
    ///
    /// # Errors
    /// The partition is not assigned, or fails.
    pub fn position(&mut self, topic: &str, partition: i32) -> Result<Offset, ClientError> {
        let (isolation, reset) = (self.settings.isolation, self.settings.reset);
        start(self.find(topic, partition)?, isolation, reset)
    }

    /// The next offset of every partition that was read or sought, as [`crate::Transaction::send_offsets`] takes them.
    #[must_use]
    pub fn positions(&self) -> Vec<(TopicPartition, Offset)> {
        let known = |(name, assigned): (&TopicPartition, &Assigned<E>)| {
            Some((name.clone(), assigned.position?))
        };
        self.assigned.iter().filter_map(known).collect()
    }

    /// What is there now, at most `max.poll.records` of it; nothing when there is nothing new. Nothing also after 50 MiB of what is not
    /// for this reader: [`Consumer::data`] resolves at once then, and the next poll goes on behind them.
    ///
    /// # Errors
    /// A position outside the log with [`Reset::Fail`], a partition that fails, or a batch that does not read. Positions of
    /// what was not returned have not moved, and the next poll begins with another partition.
    pub fn poll(&mut self) -> Result<Vec<Received>, ClientError> {
        self.poll_until(Duration::MAX)
    }

    /// One round at least, and none begins at `deadline` or later.
    fn poll_until(&mut self, deadline: Duration) -> Result<Vec<Received>, ClientError> {
        let mut rounds = self.rounds();
        loop {
            let received = self.round(&mut rounds)?;
            let late = || self.engine.env().monotonic() >= deadline;
            if !received.is_empty() || rounds.are_over() || late() {
                return Ok(received);
            }
        }
    }

    /// Begins a poll.
    pub(crate) fn rounds(&self) -> Rounds {
        let mut ahead: Vec<_> = self.assigned.keys().map(|name| (name.clone(), None)).collect();
        if let Some(turn) = &self.turn {
            let at = ahead.partition_point(|(name, _)| name <= turn);
            ahead.rotate_left(at);
        }
        Rounds { ahead, bytes: 0 }
    }

    /// Fetches once from each partition of a poll that may have something.
    pub(crate) fn round(&mut self, rounds: &mut Rounds) -> Result<Vec<Received>, ClientError> {
        let mut received = Vec::new();
        for (name, end) in std::mem::take(&mut rounds.ahead) {
            let room = self.settings.max_poll_records.saturating_sub(received.len());
            if room == 0 || rounds.bytes >= POLL_BYTES {
                break;
            }
            let Some(assigned) = self.assigned.get_mut(&name) else { continue };
            let read = read(assigned, &self.settings, room, &mut received);
            if read.is_err() && !received.is_empty() {
                // What was read goes first; this one has the next turn, and says what is wrong with it then.
                break;
            }
            self.turn = Some(name.clone());
            let read = read?;
            rounds.bytes = rounds.bytes.saturating_add(read.bytes);
            let end = end.unwrap_or(read.end);
            if read.from < read.to && read.to < end {
                rounds.ahead.push((name, Some(end)));
            }
        }
        Ok(received)
    }

    /// As [`Consumer::poll`], but blocks until there is something, `timeout` at most.
    ///
    /// # Errors
    /// As [`Consumer::poll`].
    pub fn poll_timeout(&mut self, timeout: Duration) -> Result<Vec<Received>, ClientError> {
        let deadline = self.engine.env().monotonic().saturating_add(timeout);
        loop {
            let received = self.poll_until(deadline)?;
            let left = deadline.saturating_sub(self.engine.env().monotonic());
            if !received.is_empty() || left.is_zero() {
                return Ok(received);
            }
            if self.assigned.is_empty() {
                block_on_until(std::future::pending::<()>(), self.engine.env(), deadline);
                return Ok(received);
            }
            let data = self.data()?;
            block_on_until(data, self.engine.env(), deadline);
        }
    }

    /// Resolves when [`Consumer::poll`] may return something. A future for any executor.
    ///
    /// # Errors
    /// A partition is offline.
    pub fn data(&mut self) -> Result<AnyData<E>, ClientError> {
        let (isolation, reset) = (self.settings.isolation, self.settings.reset);
        let futures = self.assigned.values_mut().map(|assigned| {
            let position = start(assigned, isolation, reset)?;
            Ok(assigned.handle.data_beyond(position, isolation)?)
        });
        Ok(AnyData(futures.collect::<Result<_, ClientError>>()?))
    }

    /// Adds a partition that a group gives.
    pub(crate) fn adopt(&mut self, handle: PartitionHandle<E>, position: Option<Offset>) {
        self.assigned.insert(handle.0.name.clone(), Assigned { handle, position });
    }

    /// Takes one away; nothing when it is not assigned.
    pub(crate) fn let_go(&mut self, name: &TopicPartition) -> Option<PartitionHandle<E>> {
        self.assigned.remove(name).map(|assigned| assigned.handle)
    }

    /// The next offset, where it was read or sought.
    pub(crate) fn position_of(&self, name: &TopicPartition) -> Option<Offset> {
        self.assigned.get(name)?.position
    }

    pub(crate) const fn reset(&self) -> Reset {
        self.settings.reset
    }

    fn find(&mut self, topic: &str, partition: i32) -> Result<&mut Assigned<E>, ClientError> {
        let found = self
            .assigned
            .iter_mut()
            .find(|(name, _)| name.topic.as_str() == topic && name.partition == partition);
        match found {
            Some((_, assigned)) => Ok(assigned),
            None => Err(ClientError::NotAssigned { topic: topic.to_owned(), partition }),
        }
    }
}

/// Resolves when one of several partitions has something to read; at once when there are none.
#[derive(Debug)]
#[must_use]
pub struct AnyData<E: Env = System>(Vec<DataFuture<E>>);

impl<E: Env> Future for AnyData<E> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut ready = self.0.is_empty();
        for future in &mut self.0 {
            ready |= Pin::new(future).poll(cx).is_ready();
        }
        if ready { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// The end a reader sees.
fn end<E: Env>(handle: &PartitionHandle<E>, isolation: Isolation) -> Result<Offset, ClientError> {
    Ok(match isolation {
        Isolation::Committed => handle.last_stable_offset()?,
        Isolation::Uncommitted => handle.high_watermark()?,
        Isolation::LogEnd => handle.log_end_offset()?,
    })
}

/// The position, chosen now if it was not yet.
fn start<E: Env>(
    assigned: &mut Assigned<E>,
    isolation: Isolation,
    reset: Reset,
) -> Result<Offset, ClientError> {
    if let Some(position) = assigned.position {
        return Ok(position);
    }
    let position = match reset {
        Reset::Earliest => assigned.handle.log_start_offset()?,
        Reset::Latest => end(&assigned.handle, isolation)?,
        Reset::Fail => {
            let TopicPartition { topic, partition } = &assigned.handle.0.name;
            return Err(ClientError::NoPosition {
                topic: topic.to_string(),
                partition: *partition,
            });
        }
    };
    assigned.position = Some(position);
    Ok(position)
}

/// What became of one fetch.
struct Read {
    /// The position before.
    from: Offset,
    /// And after.
    to: Offset,
    /// The end that this reader sees.
    end: Offset,
    /// Bytes of its batches, whoever they are for.
    bytes: usize,
}

/// Reads what one fetch brings.
fn read<E: Env>(
    assigned: &mut Assigned<E>,
    settings: &ConsumerSettings,
    room: usize,
    into: &mut Vec<Received>,
) -> Result<Read, ClientError> {
    let spec = |from| FetchSpec {
        isolation: settings.isolation,
        max_bytes: settings.max_partition_fetch_bytes,
        first_batch: FirstBatch::Whole,
        ..FetchSpec::from(from)
    };
    let position = start(assigned, settings.isolation, settings.reset)?;
    let fetched = match assigned.handle.fetch(&spec(position)) {
        Err(error)
            if error.code() == ErrorCode::OffsetOutOfRange && settings.reset != Reset::Fail =>
        {
            assigned.position = None;
            let position = start(assigned, settings.isolation, settings.reset)?;
            assigned.handle.fetch(&spec(position))?
        }
        fetched => fetched?,
    };
    let from = assigned.position.unwrap_or(position);
    let mut position = from;
    let end = match settings.isolation {
        Isolation::Committed => fetched.last_stable_offset,
        Isolation::Uncommitted | Isolation::LogEnd => fetched.high_watermark,
    };
    let mut aborted = Aborted::new(fetched.aborted.unwrap_or_default());
    let mut left = room;
    let mut rest: &[u8] = &fetched.records;
    // The last batch may be cut short: it comes whole next time.
    while left > 0
        && let Ok((batch, behind)) = BatchRef::parse(rest)
    {
        rest = behind;
        if aborted.hides(batch) {
            position = position.max(batch.next_offset());
            continue;
        }
        let before = into.len();
        // A log that was left by a kill is served before all of its checksums are looked at again.
        let checked = match settings.checksums {
            Checksums::Checked => batch.verify().map(drop),
            Checksums::Trusted => Ok(()),
        };
        let taken = match checked {
            Ok(()) => take(&assigned.handle, batch, &fetched.records, (position, left), into),
            Err(error) => Err(unreadable(&assigned.handle, batch, error.code())),
        };
        let done = match taken {
            Ok(done) => done,
            Err(error) => {
                into.truncate(before);
                if left == room {
                    return Err(error);
                }
                // What is good goes first.
                break;
            }
        };
        left = left.saturating_sub(into.len().saturating_sub(before));
        position = match (done, into.last()) {
            (Whole::Yes, _) => position.max(batch.next_offset()),
            (Whole::No, Some(last)) => last.offset.saturating_add(1),
            (Whole::No, None) => position,
        };
    }
    assigned.position = Some(position);
    Ok(Read { from, to: position, end, bytes: fetched.records.len() })
}

/// Whether all of a batch was taken.
enum Whole {
    Yes,
    No,
}

fn unreadable<E: Env>(
    handle: &PartitionHandle<E>,
    batch: BatchRef<'_>,
    code: ErrorCode,
) -> ClientError {
    ClientError::Unreadable {
        topic: handle.topic().to_string(),
        partition: handle.number(),
        offset: batch.base_offset(),
        code,
    }
}

/// Takes the records of a batch from `position` on, `room` at most.
fn take<E: Env>(
    handle: &PartitionHandle<E>,
    batch: BatchRef<'_>,
    whole: &Bytes,
    (position, room): (Offset, usize),
    into: &mut Vec<Received>,
) -> Result<Whole, ClientError> {
    let unreadable = |code| unreadable(handle, batch, code);
    let codec =
        batch.attributes().codec().ok().ok_or_else(|| unreadable(ErrorCode::InvalidRecord))?;
    let unpacked;
    let (records, bytes) = if codec == Codec::None {
        (batch.records().map_err(|error| unreadable(error.code()))?, whole)
    } else {
        let mut plain = Vec::new();
        decompress(codec, batch.payload(), OutputLimit::STORED, &mut plain)
            .map_err(|error| unreadable(error.code()))?;
        unpacked = Bytes::from(plain);
        (Records::new(batch.record_count(), &unpacked), &unpacked)
    };
    let mut taken = 0;
    for record in records {
        let record = record.map_err(|error| unreadable(error.code()))?;
        let offset = batch.offset_of(&record);
        if offset < position {
            continue;
        }
        if taken == room {
            return Ok(Whole::No);
        }
        let own = |slice: &[u8]| bytes.slice_ref(slice);
        let mut headers = Vec::with_capacity(record.headers.len());
        for header in record.headers {
            headers.push((header.name().into_owned(), header.value.map(own)));
        }
        into.push(Received {
            topic: handle.topic().clone(),
            partition: handle.number(),
            offset,
            timestamp: batch.timestamp_of(&record),
            key: record.key.map(own),
            value: record.value.map(own),
            headers,
        });
        taken += 1;
    }
    Ok(Whole::Yes)
}
