//! All producers of one partition.

use alloc::vec::Vec;
use core::{fmt, hash::Hasher as _};

use foldhash::{SharedSeed, fast::FoldHasher};
use hanbeon_records::{
    BatchRef, CoordinatorEpoch, Millis, Offset, ProducerEpoch, ProducerId, Sequence,
};
use hashbrown::{HashTable, hash_table::Entry};

use crate::{
    BatchKind, CompletedTxn, IdempotenceError, Ticket,
    open_txns::OpenTxns,
    producer::{CachedBatch, Producer},
    verification::Verifications,
};

/// Whether the first batch of a transaction needs the coordinator's word
/// (`transaction.partition.verification.enable`, KIP-890).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    /// It does.
    On,
    /// It does not. Questions that are open keep their rule about the lowest sequence.
    Off,
}

/// Which first sequence a partition takes that never held a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstWrite {
    /// Any, as Kafka up to 4.4: with several requests in flight, of which the first failed, the second is taken and the
    /// first is then lost for good although every answer was a success (KAFKA-15591).
    AnySequence,
    /// Only 0, as Kafka from 4.5 on.
    FromZero,
}

/// How a table behaves. There is no default: each of these decides what may be lost or doubled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `producer.id.expiration.ms`: how long a silent producer is remembered, in milliseconds. Kafka: 86,400,000.
    pub expiration_ms: i64,
    /// Whether the first batch of a transaction needs the coordinator's word. Kafka: on.
    pub verification: Verification,
    /// Which first sequence a never-written partition takes.
    pub first_write: FirstWrite,
    /// Random, so that strangers who choose producer ids cannot choose collisions.
    pub hash_seed: u64,
}

/// The producers of one partition: what is admitted, what is open, how far committed data reaches.
///
/// One owner at a time; see the crate's example.
#[derive(Clone)]
pub struct ProducerStates {
    pub(crate) table: HashTable<Producer>,
    seed: SharedSeed,
    pub(crate) settings: Settings,
    pub(crate) txns: OpenTxns,
    pub(crate) verifications: Verifications,
    pub(crate) end: Offset,
    log_start: Offset,
}

/// One producer as tools show it (`DescribeProducers`, API key 61).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerView {
    /// Whose state it is.
    pub producer_id: ProducerId,
    /// The newest epoch seen.
    pub producer_epoch: ProducerEpoch,
    /// Sequence of the last record; `None` when only a marker of this epoch is known.
    pub last_sequence: Option<Sequence>,
    /// Offset of the last data record, where it is known; compaction keeps the batch that holds it.
    pub last_offset: Option<Offset>,
    /// Time of the last batch or marker, by its own account.
    pub last_timestamp: Millis,
    /// The newest coordinator epoch seen, or none.
    pub coordinator_epoch: CoordinatorEpoch,
    /// Where the open transaction starts.
    pub txn_first_offset: Option<Offset>,
    /// How many batches back a retry is recognised.
    pub window: usize,
}

/// A transaction without a marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenTxn {
    /// Who holds it open.
    pub producer_id: ProducerId,
    /// In which incarnation.
    pub producer_epoch: ProducerEpoch,
    /// Where it starts.
    pub first_offset: Offset,
    /// Time of its last batch, by its own account.
    pub last_timestamp: Millis,
}

impl ProducerStates {
    /// The table of an empty partition.
    #[must_use]
    pub const fn new(settings: Settings) -> Self {
        Self {
            table: HashTable::new(),
            seed: SharedSeed::from_u64(settings.hash_seed),
            settings,
            txns: OpenTxns::new(),
            verifications: Verifications::new(),
            end: Offset::ZERO,
            log_start: Offset::ZERO,
        }
    }

    /// Records a batch that is now in the log at `base_offset`, appended at `now` by this node's clock.
    ///
    /// Allocates only when the table or the queue of open transactions must grow.
    #[inline]
    #[expect(clippy::needless_pass_by_value, reason = "a right is spent by using it")]
    pub fn record(&mut self, ticket: Ticket, base_offset: Offset, now: Millis) {
        let Ticket {
            producer_id, epoch, last_sequence, offset_delta, timestamp, kind, slot, ..
        } = ticket;
        let last_offset = base_offset.saturating_add(i64::from(offset_delta)).get();
        let timestamp = timestamp.get();
        let batch = CachedBatch { last_offset, timestamp, last_sequence, offset_delta };
        if let (Some(producer), BatchKind::Plain) = (self.table.get_bucket_mut(slot), kind)
            && producer.id() == producer_id
            && producer.epoch() == epoch
        {
            producer.push(batch);
            producer.touch(Millis::new(timestamp), now);
            self.end = self.end.max(Offset::new(last_offset).saturating_add(1));
            return;
        }
        self.append_data(Slot { producer_id, epoch }, batch, kind, base_offset, now);
    }

    /// Follows a batch that was appended elsewhere or before: by the leader this node copies, or before a restart.
    ///
    /// What the log says holds, even where a rule would have refused it: gaps, repeated ranges, epochs that go back
    /// (pitfalls C4, C6, E11). Expiry counts from `now`, so recovery passes the time at which the segment was written, or
    /// [`Millis::NONE`] to go by the batches' own times. Batches without a producer only move the end.
    ///
    /// # Errors
    /// [`IdempotenceError::MalformedMarker`]: the only batch that cannot be followed. The table is unchanged then.
    pub fn replay(
        &mut self,
        batch: &BatchRef<'_>,
        now: Millis,
    ) -> Result<Option<CompletedTxn>, IdempotenceError> {
        let producer_id = batch.producer_id();
        if batch.attributes().is_control() {
            return self.replay_control(batch, now);
        }
        if producer_id.is_some() {
            let data = CachedBatch {
                last_offset: batch.last_offset().get(),
                timestamp: batch.max_timestamp().get(),
                last_sequence: batch.last_sequence().map_or(-1, Sequence::get),
                offset_delta: batch.last_offset_delta(),
            };
            let kind = BatchKind::of(batch.attributes());
            let at = Slot { producer_id, epoch: batch.producer_epoch() };
            self.append_data(at, data, kind, batch.base_offset(), now);
        }
        self.advance_end(batch.next_offset());
        Ok(None)
    }

    #[inline(never)]
    fn append_data(
        &mut self,
        at: Slot,
        batch: CachedBatch,
        kind: BatchKind,
        base_offset: Offset,
        now: Millis,
    ) {
        let producer = self.entry(at);
        producer.set_epoch(at.epoch);
        producer.push(batch);
        producer.touch(Millis::new(batch.timestamp), now);
        let transactional = matches!(kind, BatchKind::Transactional);
        if transactional && producer.txn_first_offset().is_none() {
            producer.open_txn(base_offset);
            self.txns.open(base_offset, at.producer_id);
        }
        if transactional {
            self.verifications.remove(at.producer_id);
        }
        self.advance_end(Offset::new(batch.last_offset).saturating_add(1));
    }

    /// The entry to change, made when there is none.
    pub(crate) fn entry(&mut self, at: Slot) -> &mut Producer {
        let hash = self.hash(at.producer_id);
        let (seed, per_table) = (&self.seed, self.settings.hash_seed);
        let is_it = |producer: &Producer| producer.id() == at.producer_id;
        let rehash = |producer: &Producer| hash_of(producer.id(), per_table, seed);
        let fresh = || Producer::new(at.producer_id, at.epoch);
        self.table.entry(hash, is_it, rehash).or_insert_with(fresh).into_mut()
    }

    /// Puts in a producer that must not be there yet.
    pub(crate) fn insert(&mut self, producer: Producer) -> bool {
        let hash = self.hash(producer.id());
        let (seed, per_table) = (&self.seed, self.settings.hash_seed);
        let is_it = |other: &Producer| other.id() == producer.id();
        let rehash = |producer: &Producer| hash_of(producer.id(), per_table, seed);
        match self.table.entry(hash, is_it, rehash) {
            Entry::Occupied(_) => false,
            Entry::Vacant(place) => {
                place.insert(producer);
                true
            }
        }
    }

    /// Lists the open transactions of a table that was just filled (I8).
    pub(crate) fn find_open_txns(&mut self) {
        let mut open: Vec<(Offset, ProducerId)> =
            self.table.iter().filter_map(|p| Some((p.txn_first_offset()?, p.id()))).collect();
        open.sort_unstable();
        for (first, owner) in open {
            self.txns.open(first, owner);
        }
    }

    pub(crate) fn find_mut(&mut self, producer_id: ProducerId) -> Option<&mut Producer> {
        let hash = self.hash(producer_id);
        self.table.find_mut(hash, |producer| producer.id() == producer_id)
    }

    pub(crate) fn find(&self, producer_id: ProducerId) -> Option<&Producer> {
        self.table.find(self.hash(producer_id), |producer| producer.id() == producer_id)
    }

    #[inline]
    pub(crate) fn slot_of(&self, producer_id: ProducerId) -> Option<usize> {
        let hash = self.hash(producer_id);
        self.table.find_bucket_index(hash, |producer| producer.id() == producer_id)
    }

    #[inline]
    fn hash(&self, producer_id: ProducerId) -> u64 {
        hash_of(producer_id, self.settings.hash_seed, &self.seed)
    }

    pub(crate) fn is_ongoing(&self, producer_id: ProducerId, epoch: ProducerEpoch) -> bool {
        self.find(producer_id).is_some_and(|p| p.txn_first_offset().is_some() && p.epoch() == epoch)
    }

    /// First offset that a reader of committed data may not pass: the start of the earliest transaction without a
    /// marker, or with one that is not below the high watermark; never below the log's start.
    #[must_use]
    pub fn first_unstable_offset(&self) -> Option<Offset> {
        self.txns.first_unstable().map(|first| first.max(self.log_start))
    }

    /// First offset of the earliest transaction without a marker, as it stands in the log.
    #[must_use]
    pub fn first_undecided_offset(&self) -> Option<Offset> {
        self.txns.first_undecided()
    }

    /// How far readers of committed data may read: the first unstable offset, at most the high watermark.
    #[must_use]
    pub fn last_stable_offset(&self, high_watermark: Offset) -> Offset {
        self.first_unstable_offset().map_or(high_watermark, |first| first.min(high_watermark))
    }

    /// Everything below `high_watermark` is replicated: transactions whose marker lies below it are stable.
    pub fn high_watermark_advanced(&mut self, high_watermark: Offset) {
        self.txns.replicated_below(high_watermark);
    }

    /// Whether [`Self::high_watermark_advanced`] has anything to do; while it does not, a caller may skip the call.
    #[must_use]
    pub fn has_unreplicated(&self) -> bool {
        self.txns.has_unreplicated()
    }

    /// The log begins at `log_start` now. Producers stay: their data may go long before they do (KAFKA-7190).
    pub fn log_start_advanced(&mut self, log_start: Offset) {
        self.log_start = self.log_start.max(log_start);
        self.txns.replicated_below(log_start);
        self.advance_end(log_start);
    }

    /// The table reflects every batch below this offset; a snapshot taken now has it in its name (KAFKA-5249).
    #[must_use]
    pub const fn end_offset(&self) -> Offset {
        self.end
    }

    /// The log reaches to `end`: for batches that are not recorded because they name no producer.
    pub fn advance_end(&mut self, end: Offset) {
        self.end = self.end.max(end);
    }

    /// Forgets producers that were silent for [`Settings::expiration_ms`], and questions to the coordinator as old as
    /// that; returns how many producers went.
    ///
    /// Silent by the later of two clocks: the time in their last batch and this node's time of appending it. By the
    /// first alone a back-fill of old data loses its deduplication within minutes. One pass over the table
    /// (KAFKA-16229).
    pub fn expire(&mut self, now: Millis) -> usize {
        let before = self.table.len();
        let expiration_ms = self.settings.expiration_ms;
        self.table.retain(|producer| !producer.is_expired(expiration_ms, now));
        self.verifications.expire(expiration_ms, now);
        before - self.table.len()
    }

    /// Takes over when this node appended last for each producer, from the table this one replaces after a truncation, behind the
    /// replay: the log tells only the producers' own times, by which a back-fill of old data would be forgotten at once.
    pub fn inherit_append_times(&mut self, old: &Self) {
        for producer in &old.table {
            if let Some(heir) = self.find_mut(producer.id()) {
                heir.touch(heir.last_timestamp(), heir.appended_at().max(producer.appended_at()));
            }
        }
    }

    /// How many producers are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether no producer is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// How the table behaves.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Changes `producer.id.expiration.ms` from the next expiry on.
    pub const fn set_expiration_ms(&mut self, expiration_ms: i64) {
        self.settings.expiration_ms = expiration_ms;
    }

    /// Changes `transaction.partition.verification.enable` from the next batch on.
    pub const fn set_verification(&mut self, verification: Verification) {
        self.settings.verification = verification;
    }

    /// All producers by id.
    pub fn producers(&self) -> impl ExactSizeIterator<Item = ProducerView> {
        self.sorted().into_iter().map(ProducerView::of)
    }

    /// One producer.
    #[must_use]
    pub fn producer(&self, producer_id: ProducerId) -> Option<ProducerView> {
        self.find(producer_id).map(ProducerView::of)
    }

    /// Transactions without a marker by first offset; the first is the one that holds readers back.
    pub fn open_transactions(&self) -> impl Iterator<Item = OpenTxn> {
        self.txns.iter().filter_map(|(first_offset, producer_id)| {
            let producer = self.find(producer_id)?;
            Some(OpenTxn {
                producer_id,
                producer_epoch: producer.epoch(),
                first_offset,
                last_timestamp: producer.last_timestamp(),
            })
        })
    }

    pub(crate) fn sorted(&self) -> Vec<&Producer> {
        let mut all: Vec<&Producer> = self.table.iter().collect();
        all.sort_unstable_by_key(|producer| producer.id());
        all
    }
}

/// Which entry to change, and what it starts with when there is none.
#[derive(Clone, Copy)]
pub(crate) struct Slot {
    pub(crate) producer_id: ProducerId,
    pub(crate) epoch: ProducerEpoch,
}

#[inline]
fn hash_of(producer_id: ProducerId, per_table: u64, seed: &SharedSeed) -> u64 {
    let mut hasher = FoldHasher::with_seed(per_table, seed);
    hasher.write_i64(producer_id.get());
    hasher.finish()
}

impl ProducerView {
    fn of(producer: &Producer) -> Self {
        Self {
            producer_id: producer.id(),
            producer_epoch: producer.epoch(),
            last_sequence: producer.last_sequence(),
            last_offset: producer.last().map(CachedBatch::last_offset),
            last_timestamp: producer.last_timestamp(),
            coordinator_epoch: producer.coordinator_epoch(),
            txn_first_offset: producer.txn_first_offset(),
            window: usize::from(producer.len()),
        }
    }
}

impl fmt::Debug for ProducerStates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProducerStates")
            .field("end", &self.end)
            .field("log_start", &self.log_start)
            .field("settings", &self.settings)
            .field("producers", &self.sorted())
            .field("txns", &self.txns)
            .field("verifications", &self.verifications)
            .finish_non_exhaustive()
    }
}
