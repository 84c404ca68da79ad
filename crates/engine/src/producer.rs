//! An idempotent producer in the same process.
//!
//! Records gather in a batch per partition. A batch is written when it is full, when somebody waits for one of its records, or
//! at a flush; nothing waits for a timer. Batches of a partition are written in the order of their sequences, one after the
//! other; several may wait for their sync at once, and one sync covers them.

use std::{collections::BTreeMap, fmt, sync::Arc};

use hanbeon_log::sync::Mutex;
use hanbeon_records::TopicId;

use crate::{
    ClientError, Delivery, Engine, Env, ProducerSettings, Record, System, Topic,
    ground::Helpers,
    lane::{Lane, Voice},
    partitioner::Partitioner,
    produce::block_on,
};

/// An idempotent producer: a record that is sent is in the log once, however often the sending had to be tried. Clones are the
/// same producer. Dropping the last one writes what has gathered; [`Producer::flush`] tells whether that went well.
pub struct Producer<E: Env = System>(Arc<Inner<E>>);

struct Inner<E: Env> {
    engine: Engine<E>,
    settings: ProducerSettings,
    lanes: Mutex<Lanes<E>>,
    partitioner: Mutex<Partitioner>,
}

/// A producer's partitions.
pub(crate) type Lanes<E> = BTreeMap<(TopicId, i32), Arc<Lane<E>>>;

impl<E: Env> Engine<E> {
    /// An idempotent producer with [`ProducerSettings::new`].
    #[must_use]
    pub fn producer(&self) -> Producer<E> {
        self.producer_with(ProducerSettings::new())
    }

    /// An idempotent producer.
    #[must_use]
    pub fn producer_with(&self, settings: ProducerSettings) -> Producer<E> {
        Producer(Arc::new(Inner {
            engine: self.clone(),
            partitioner: Mutex::new(Partitioner::new(&settings)),
            settings,
            lanes: Mutex::new(BTreeMap::new()),
        }))
    }
}

impl<E: Env> Producer<E> {
    /// Puts a record into its partition's batch, and writes that when it is full.
    ///
    /// # Errors
    /// There is no such topic or partition, or no producer id could be had. What becomes of the record comes with the
    /// [`Delivery`].
    pub fn send(&self, record: Record) -> Result<Delivery<E>, ClientError> {
        let inner = &*self.0;
        let unknown = || ClientError::UnknownTopic { topic: record.topic.clone() };
        let topic = inner.engine.topic(&record.topic).ok_or_else(unknown)?;
        let partition = inner.partitioner.lock().choose(inner.engine.env(), &topic, &record);
        let lane = inner.lane(&topic, partition)?;
        Ok(lane.add(record, inner.engine.now()))
    }

    /// Writes what has gathered and blocks until all of it is acknowledged.
    ///
    /// # Errors
    /// The first batch that was not taken since the last flush; every [`Delivery`] knows about its own.
    pub fn flush(&self) -> Result<(), ClientError> {
        let lanes: Vec<Arc<Lane<E>>> = self.0.lanes.lock().values().cloned().collect();
        // All are written before the first is waited for, so that syncs overlap.
        let shipments: Vec<_> = lanes.iter().flat_map(|lane| lane.ship()).collect();
        let mut failed = None;
        for shipment in shipments {
            if let Err(error) = block_on(std::future::poll_fn(|cx| shipment.poll(cx))) {
                failed = failed.or(Some(error));
            }
        }
        let earlier = lanes.iter().filter_map(|lane| lane.settled());
        earlier.reduce(|first, _| first).or(failed).map_or(Ok(()), Err)
    }
}

impl<E: Env> Inner<E> {
    fn lane(&self, topic: &Topic<E>, partition: i32) -> Result<Arc<Lane<E>>, ClientError> {
        let key = (topic.id(), partition);
        if let Some(lane) = self.lanes.lock().get(&key) {
            return Ok(Arc::clone(lane));
        }
        let handle = self.engine.partition_by_id(topic.id(), partition)?;
        let identity = self.engine.init_producer_id()?;
        let lane = Lane::new(handle, self.settings.clone(), identity, Voice::Alone);
        // Another thread may have been quicker: its lane is the one with the sequences.
        Ok(Arc::clone(self.lanes.lock().entry(key).or_insert_with(|| Arc::new(lane))))
    }
}

impl<E: Env> Drop for Inner<E> {
    fn drop(&mut self) {
        for lane in self.lanes.lock().values() {
            let shipments = lane.ship();
            if self.engine.shared().ground.helpers == Helpers::None {
                // Nobody else would sync what the topic wants synced, and readers would wait for it.
                for shipment in shipments {
                    drop(block_on(std::future::poll_fn(|cx| shipment.poll(cx))));
                }
            }
        }
    }
}

impl<E: Env> Clone for Producer<E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<E: Env> fmt::Debug for Producer<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use hanbeon_log::MemDir;
    use hanbeon_records::Millis;

    use super::*;
    use crate::{Manual, Options};

    #[test]
    fn whoever_flushes_second_waits_for_what_the_first_has_written() {
        let env = Manual::<MemDir>::new(Millis::new(1_700_000_000_000), 7);
        let engine = Engine::open_in(env, MemDir::new(), Options::embedded()).unwrap();
        let topic = engine.ensure_topic("t", 1).unwrap();
        let producer = engine.producer();
        drop(producer.send(Record::new("t", "x")).unwrap());
        let lane = producer.0.lane(&topic, 0).unwrap();
        // The first flush has got as far as this: nothing is synced yet.
        let first = lane.ship();
        assert_eq!((first.len(), lane.ship().len()), (1, 1));
        producer.flush().unwrap();
        assert_eq!(lane.ship().len(), 0, "answered and forgotten");
    }
}
