//! One producer on one partition: its epoch and its last five batches, 160 bytes without a heap.

use hanbeon_records::{CoordinatorEpoch, Millis, Offset, ProducerEpoch, ProducerId, Sequence};

/// How many batches back a retry is recognised. Clients keep at most five requests in flight for this reason.
pub const WINDOW_DEPTH: usize = 5;

/// No offset, where an `Option` would cost eight bytes.
const NO_OFFSET: i64 = -1;

/// One appended batch as a retry of it is recognised and answered.
///
/// Numbers are raw because a snapshot may hold any; `first_sequence` is computed in the ring, never by subtraction
/// (KAFKA-7692).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CachedBatch {
    pub(crate) last_offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) last_sequence: i32,
    pub(crate) offset_delta: i32,
}

/// What the table keeps of one producer.
///
/// In this order because a judgement reads the first 64 bytes and no more: one or two cache lines instead of four
/// (`benches/admission.rs`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Producer {
    id: i64,
    /// Time in the last batch or marker: the client's clock under `CreateTime`.
    last_timestamp: i64,
    /// When this node appended last, by its own clock; -1 after a load without sidecar.
    appended_at: i64,
    coordinator_epoch: i32,
    epoch: i16,
    /// Slot in `older` that is written next.
    next: u8,
    /// Known batches in the low bits, [`ENDED`], and doubt in the high ones: see [`Self::is_unbroken`].
    fill: u8,
    /// -1 while no transaction is open.
    txn_first_offset: i64,
    newest: CachedBatch,
    older: [CachedBatch; OLDER],
}

const _: () = assert!(size_of::<Producer>() <= 160, "a producer costs at most 160 bytes");

impl CachedBatch {
    pub(crate) const EMPTY: Self =
        Self { last_offset: NO_OFFSET, timestamp: -1, last_sequence: -1, offset_delta: 0 };

    pub(crate) const fn last_sequence(&self) -> Option<Sequence> {
        Sequence::new(self.last_sequence)
    }

    pub(crate) const fn first_sequence(&self) -> Option<Sequence> {
        match self.last_sequence() {
            Some(last) => Some(last.go_back(self.offset_delta.cast_unsigned())),
            None => None,
        }
    }

    pub(crate) const fn last_offset(&self) -> Offset {
        Offset::new(self.last_offset)
    }

    pub(crate) fn first_offset(&self) -> Offset {
        Offset::new(self.last_offset.saturating_sub(i64::from(self.offset_delta)))
    }

    pub(crate) const fn timestamp(&self) -> Millis {
        Millis::new(self.timestamp)
    }
}

impl Producer {
    /// A producer of which nothing is known yet.
    pub(crate) const fn new(id: ProducerId, epoch: ProducerEpoch) -> Self {
        Self {
            id: id.get(),
            txn_first_offset: NO_OFFSET,
            last_timestamp: -1,
            appended_at: -1,
            coordinator_epoch: -1,
            epoch: epoch.get(),
            next: 0,
            fill: 0,
            newest: CachedBatch::EMPTY,
            older: [CachedBatch::EMPTY; OLDER],
        }
    }

    pub(crate) const fn id(&self) -> ProducerId {
        ProducerId::new(self.id)
    }

    pub(crate) const fn epoch(&self) -> ProducerEpoch {
        ProducerEpoch::new(self.epoch)
    }

    pub(crate) const fn coordinator_epoch(&self) -> CoordinatorEpoch {
        CoordinatorEpoch::new(self.coordinator_epoch)
    }

    pub(crate) const fn set_coordinator_epoch(&mut self, epoch: CoordinatorEpoch) {
        self.coordinator_epoch = epoch.get();
    }

    pub(crate) const fn last_timestamp(&self) -> Millis {
        Millis::new(self.last_timestamp)
    }

    pub(crate) const fn appended_at(&self) -> Millis {
        Millis::new(self.appended_at)
    }

    /// Notes when something of this producer was appended: by its own time and by ours.
    pub(crate) const fn touch(&mut self, timestamp: Millis, now: Millis) {
        self.last_timestamp = timestamp.get();
        self.appended_at = now.get();
    }

    pub(crate) const fn txn_first_offset(&self) -> Option<Offset> {
        if self.txn_first_offset < 0 { None } else { Some(Offset::new(self.txn_first_offset)) }
    }

    pub(crate) const fn open_txn(&mut self, first_offset: Offset) {
        self.txn_first_offset = first_offset.get();
    }

    pub(crate) const fn close_txn(&mut self) -> Option<Offset> {
        let open = self.txn_first_offset();
        self.txn_first_offset = NO_OFFSET;
        open
    }

    /// Takes over an epoch; any other one empties the window.
    pub(crate) const fn set_epoch(&mut self, epoch: ProducerEpoch) {
        if self.epoch != epoch.get() {
            self.epoch = epoch.get();
            self.clear();
        }
    }

    const fn clear(&mut self) {
        self.fill = 0;
    }

    /// A marker of the same epoch: what lies before it is no retry's original any more, but sequences go on from it.
    ///
    /// A client that was not answered before it aborted gives the sequence to the next record: that would be lost as a
    /// duplicate of an aborted one (redpanda 5026; so in Kafka 4.3.1). Forgetting the sequence as well would let a late
    /// batch of this transaction into the next one.
    pub(crate) const fn end_window(&mut self) {
        self.fill = if self.has_last() { ENDED } else { 0 };
    }

    /// How many batches back a retry is recognised.
    pub(crate) const fn len(&self) -> u8 {
        self.fill & LEN
    }

    /// Whether the window is one unbroken run of sequences, so that what comes right after it repeats none of it.
    ///
    /// Rare that it is not: after replay of a log with gaps, or beside offset commits, which all begin at 0.
    const fn is_unbroken(&self) -> bool {
        self.fill & DOUBTS == 0
    }

    /// Remembers a batch and forgets the oldest of six.
    #[inline]
    pub(crate) fn push(&mut self, batch: CachedBatch) {
        let follows = self.len() == 0
            || batch.first_sequence() == self.newest.last_sequence().map(|s| s.advance(1));
        let doubt = if follows && keeps_unbroken(batch.offset_delta) {
            (self.fill & DOUBTS).saturating_sub(DOUBT)
        } else {
            DOUBT * DEPTH
        };
        // Written even when there is no newest yet: what is not counted is not read.
        self.older[usize::from(self.next) % OLDER] = self.newest;
        if self.len() > 0 {
            self.next = (self.next + 1) % DEPTH_OF_OLDER;
        }
        self.newest = batch;
        self.fill = DEPTH.min(self.len() + 1) | doubt;
    }

    /// Whether a batch that begins at `first` goes on where the window ends and repeats nothing in it.
    #[inline]
    pub(crate) fn is_next(&self, first: Sequence) -> bool {
        self.is_unbroken() && self.last_sequence().is_some_and(|last| last.advance(1) == first)
    }

    /// Puts known batches, oldest first, in the place of the window; more than five keep the last five.
    pub(crate) fn set_window(&mut self, batches: &[CachedBatch]) {
        self.clear();
        for batch in batches {
            self.push(*batch);
        }
    }

    /// The batches of which a retry is recognised, oldest first.
    pub(crate) fn window(&self) -> impl Iterator<Item = &CachedBatch> {
        let older = usize::from(self.len().saturating_sub(1));
        let oldest = usize::from(self.next) + OLDER - older;
        let newest = (self.len() > 0).then_some(&self.newest);
        (oldest..oldest + older).map(|at| &self.older[at % OLDER]).chain(newest)
    }

    const fn has_last(&self) -> bool {
        self.fill & (LEN | ENDED) != 0
    }

    /// The last batch of this epoch, from which sequences go on, whether a retry of it is recognised or not.
    #[inline]
    pub(crate) fn last(&self) -> Option<&CachedBatch> {
        self.has_last().then_some(&self.newest)
    }

    #[inline]
    pub(crate) fn last_sequence(&self) -> Option<Sequence> {
        self.last().and_then(CachedBatch::last_sequence)
    }

    /// The oldest cached batch with exactly this range of sequences. Two can have the same: the group coordinator's
    /// batches all begin at 0.
    pub(crate) fn find(&self, first: Sequence, last: Sequence) -> Option<&CachedBatch> {
        self.window().find(|batch| {
            batch.last_sequence() == Some(last) && batch.first_sequence() == Some(first)
        })
    }

    /// Whether nothing was appended for `expiration_ms`, by the producer's time and by ours, and nothing is open.
    pub(crate) fn is_expired(&self, expiration_ms: i64, now: Millis) -> bool {
        // P7: forgetting a producer with an open transaction would leave the transaction without an owner.
        self.txn_first_offset < 0
            && now.since(Millis::new(self.last_timestamp.max(self.appended_at))) >= expiration_ms
    }
}

/// [`WINDOW_DEPTH`] in the type of the ring's counters.
const DEPTH: u8 = 5;
const DEPTH_OF_OLDER: u8 = DEPTH - 1;
const OLDER: usize = WINDOW_DEPTH - 1;
const _: () = assert!(DEPTH as usize == WINDOW_DEPTH, "one depth");

/// The bits of `fill` that count occupied slots.
const LEN: u8 = 0x07;

/// The bit of `fill` that says: a marker came behind the newest batch and nothing since. No slot counts then.
const ENDED: u8 = 0x08;

/// The bits of `fill` that count doubt, and one batch of it.
const DOUBTS: u8 = 0xf0;
const DOUBT: u8 = 0x10;

/// A batch with more records than this is doubted: five of them could close the ring of sequences.
const RUN_MAX: i32 = 1 << 24;

/// Whether a batch of this last offset delta leaves an unbroken window unbroken when it follows on it.
pub(crate) const fn keeps_unbroken(offset_delta: i32) -> bool {
    0 <= offset_delta && offset_delta < RUN_MAX
}
