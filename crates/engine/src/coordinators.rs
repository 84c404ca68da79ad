//! What the two coordinators share: shards on the partitions of an internal topic.

use std::sync::{Arc, OnceLock};

use hanbeon_records::{TopicName, TopicPartition};

use crate::{
    Engine, Env, Image, NewTopic, ProduceError, Settings, StateLog, StateLogs, Topic, TopicError,
    state_log::PartitionStateLog,
};

/// What reading a shard's log has come to.
pub(crate) enum Loading<S> {
    NotYet,
    Done(S),
}

/// One shard of a coordinator.
pub(crate) trait Shard: Send + Sync + 'static {
    /// Whether its log is read, so that a call does not have to.
    fn is_loaded(&self) -> bool;
}

/// An internal topic and how it is made.
pub(crate) struct InternalTopic {
    pub(crate) name: &'static str,
    /// The broker's key for the number of its partitions, and for its `segment.bytes`.
    pub(crate) partitions_key: &'static str,
    pub(crate) segment_bytes_key: &'static str,
}

/// The log of transaction coordinators.
pub(crate) const TRANSACTION_STATE: InternalTopic = InternalTopic {
    name: "__transaction_state",
    partitions_key: "transaction.state.log.num.partitions",
    segment_bytes_key: "transaction.state.log.segment.bytes",
};

/// The log of group coordinators.
pub(crate) const CONSUMER_OFFSETS: InternalTopic = InternalTopic {
    name: "__consumer_offsets",
    partitions_key: "offsets.topic.num.partitions",
    segment_bytes_key: "offsets.topic.segment.bytes",
};

impl InternalTopic {
    /// The name of one of its partitions.
    #[expect(clippy::expect_used, reason = "both names are topics' names")]
    pub(crate) fn partition(&self, partition: i32) -> TopicPartition {
        let topic = TopicName::new(self.name).expect("a legal name");
        TopicPartition { topic, partition }
    }

    /// The topic, made now if it is not there. Its number of partitions never changes: ids are spread over them by a hash.
    pub(crate) fn ensure<E: Env>(&self, engine: &Engine<E>) -> Result<Arc<Topic<E>>, TopicError> {
        if let Some(found) = engine.topic(self.name) {
            return Ok(found);
        }
        let settings = engine.settings();
        let partitions = settings.int(self.partitions_key).unwrap_or(50);
        let segment = settings.int(self.segment_bytes_key).unwrap_or(100 << 20);
        engine.create_internal_topic(
            &NewTopic { replication_factor: Some(1), ..NewTopic::new(self.name, partitions) }
                .config("cleanup.policy", "compact")
                .config("compression.type", "producer")
                .config("segment.bytes", segment.to_string()),
        )
    }
}

/// All shards of one coordinator, made when its topic is.
pub(crate) struct Shards<S> {
    pub(crate) topic: InternalTopic,
    shards: OnceLock<Box<[Arc<S>]>>,
}

impl<S: Shard> Shards<S> {
    /// Shards on the topic, or on logs elsewhere, which are there from the beginning.
    pub(crate) fn open(
        topic: InternalTopic,
        elsewhere: Option<&Arc<dyn StateLogs>>,
        settings: &Settings,
        make: impl Fn(i32, Arc<dyn StateLog>) -> S,
    ) -> Result<Self, ProduceError> {
        let shards = OnceLock::new();
        if let Some(logs) = elsewhere {
            let wanted = settings.int(topic.partitions_key).unwrap_or(50);
            let count = logs.count(&topic.partition(0).topic, wanted)?;
            let made = (0..count).map(|number| {
                let log = logs.open(&topic.partition(number))?;
                Ok(Arc::new(make(number, log)))
            });
            let made: Box<[Arc<S>]> = made.collect::<Result<_, ProduceError>>()?;
            shards.get_or_init(|| made);
        }
        Ok(Self { topic, shards })
    }

    /// The shards that were made.
    pub(crate) fn made(&self) -> &[Arc<S>] {
        self.shards.get().map_or(&[], |shards| shards)
    }

    /// The shards, if the topic is there. Does not make it.
    pub(crate) fn there<E: Env>(
        &self,
        image: &Image<E>,
        make: impl Fn(i32, Arc<dyn StateLog>) -> S,
    ) -> Option<&[Arc<S>]> {
        if let Some(shards) = self.shards.get() {
            return Some(shards);
        }
        let topic = image.topic(self.topic.name)?;
        Some(self.of(topic, make))
    }

    /// The shards, the topic made if it is not there.
    pub(crate) fn ensured<E: Env>(
        &self,
        engine: &Engine<E>,
        make: impl Fn(i32, Arc<dyn StateLog>) -> S,
    ) -> Result<&[Arc<S>], TopicError> {
        if let Some(shards) = self.shards.get() {
            return Ok(shards);
        }
        let topic = self.topic.ensure(engine)?;
        Ok(self.of(&topic, make))
    }

    fn of<E: Env>(
        &self,
        topic: &Topic<E>,
        make: impl Fn(i32, Arc<dyn StateLog>) -> S,
    ) -> &[Arc<S>] {
        self.shards.get_or_init(|| {
            let shards = topic.partitions().iter().map(|partition| {
                Arc::new(make(partition.number(), Arc::new(PartitionStateLog(partition.clone()))))
            });
            shards.collect()
        })
    }
}
