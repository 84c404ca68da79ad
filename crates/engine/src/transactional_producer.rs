//! A transactional producer in the same process: records on several partitions, and offsets of a group, become visible together or not
//! at all.
//!
//! ```text
//!   Engine::transactional_producer --> begin --> send, send_offsets ... --> commit --> begin ...
//!        fences whoever had the id               written at batch.size,     decides, writes markers,
//!                                                at flush and at commit     takes the next epoch
//! ```
//!
//! Every end raises the epoch (KIP-890), so that a pair of producer id and epoch names one transaction and sequences begin at 0 in each.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hanbeon_group::{CommitInTxn, Membership, Name};
use hanbeon_records::{ErrorCode, Offset, Outcome, TopicId, TopicPartition};
use hanbeon_replica::Acks;
use hanbeon_txn::{
    EndTxn, InitProducerId, Producer as Pair, Protocol, TransactionalId, TxnError, Verify,
};

use crate::{
    ClientError, Delivery, Engine, Enrol, Env, GroupsError, PartitionError, ProducerIdentity,
    ProducerSettings, Record, Sent, System, TransactionError, Transactions,
    group_consumer::{Handover, new_offset},
    lane::{Lane, Packed, Voice},
    partitioner::Partitioner,
    producer::Lanes,
};

/// How often something is tried again that another call of the same id is in the way of.
const ATTEMPTS: u32 = 16;

/// The one live instance of a transactional id: whoever had the id before is fenced. One transaction at a time:
///
/// ```compile_fail,E0499
/// # fn two(producer: &mut hanbeon::TransactionalProducer) {
/// let one = producer.begin();
/// let two = producer.begin();
/// drop((one, two));
/// # }
/// ```
pub struct TransactionalProducer<E: Env = System> {
    engine: Engine<E>,
    transactions: Transactions<E>,
    id: TransactionalId,
    settings: ProducerSettings,
    partitioner: Partitioner,
    /// Who it is in the next transaction.
    pair: Pair,
    standing: Standing,
}

/// What has to happen before the next transaction.
enum Standing {
    Ready,
    /// The last transaction is decided, and some partition lacks its marker.
    Owing,
    /// The last transaction was not ended, or the answer to its end was not heard. It is aborted if it is still open, a commit that was
    /// never decided too: its owner may have sent the same once more by then.
    Unheard,
    /// Another instance has the id now.
    Fenced(ClientError),
}

/// A transaction: ended by [`Transaction::commit`] or [`Transaction::abort`], aborted when it goes out of scope.
///
/// Nothing goes into it once it is ended:
///
/// ```compile_fail,E0382
/// # fn late(producer: &mut hanbeon::TransactionalProducer) -> Result<(), hanbeon::ClientError> {
/// let mut transaction = producer.begin();
/// transaction.commit()?;
/// transaction.send(hanbeon::Record::new("orders", "too late"))?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a transaction that is dropped is aborted"]
pub struct Transaction<'p, E: Env = System> {
    producer: &'p mut TransactionalProducer<E>,
    lanes: Lanes<E>,
    offsets: Offsets,
    /// Positions of group consumers that wait to hear what becomes of them.
    handovers: Vec<Handover>,
    /// Why it can only be aborted.
    failed: Option<ClientError>,
    stage: Stage,
}

/// Whether offsets of a group are part of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Offsets {
    None,
    Sent,
}

/// Whether the coordinator may know of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coordinated {
    Yes,
    No,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing was sent.
    New,
    Open,
    /// Its end is asked for. Whoever does not wait for that leaves the rest to the drop.
    Ending,
    /// Nothing is left for its drop to do.
    Over,
}

/// A transaction that is committed, as durably as the strictest of its topics asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Partitions that are offline: their readers see the transaction when they are back. Empty as a rule.
    pub lacking: Vec<TopicPartition>,
}

/// A record of a transaction on its way, as a [`Delivery`] is. Nobody has to look at it: [`Transaction::commit`] refuses when a record was
/// not taken. That it has an offset does not mean that it counts.
#[derive(Debug)]
pub struct DeliveryInTransaction<E: Env = System>(Delivery<E>);

impl<E: Env> DeliveryInTransaction<E> {
    /// As [`Delivery::wait`].
    ///
    /// # Errors
    /// The record was not taken, or the transaction was aborted before it was written.
    pub fn wait(self) -> Result<Sent, ClientError> {
        self.0.wait()
    }
}

impl<E: Env> Future for DeliveryInTransaction<E> {
    type Output = Result<Sent, ClientError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl<E: Env> Engine<E> {
    /// Takes a transactional id over, with [`ProducerSettings::new`].
    ///
    /// ```
    /// # let home = tempfile::tempdir()?;
    /// use hanbeon::{Engine, Record};
    ///
    /// let engine = Engine::open(home.path())?;
    /// engine.ensure_topic("debits", 1)?;
    /// engine.ensure_topic("credits", 1)?;
    /// let mut producer = engine.transactional_producer("transfers")?;
    /// let mut transfer = producer.begin();
    /// transfer.send(Record::new("debits", "anna 5"))?;
    /// transfer.send(Record::new("credits", "bert 5"))?;
    /// transfer.commit()?;
    /// // Both are visible, whatever happens now.
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The id is none, the transaction log fails, or what its last transaction left behind cannot be ended:
    /// [`ClientError::Unfinished`] says which partitions are offline.
    pub fn transactional_producer(
        &self,
        id: &str,
    ) -> Result<TransactionalProducer<E>, ClientError> {
        self.transactional_producer_with(id, ProducerSettings::new())
    }

    /// The same with other settings. Blocks `max.block.ms` at most for another call that is ending the id's last transaction.
    ///
    /// # Errors
    /// As [`Engine::transactional_producer`].
    pub fn transactional_producer_with(
        &self,
        id: &str,
        settings: ProducerSettings,
    ) -> Result<TransactionalProducer<E>, ClientError> {
        let patience = Duration::from_millis(settings.max_block_ms);
        let made = self.transactional_producer_async(id, settings);
        let deadline = self.env().monotonic().saturating_add(patience);
        self.shared().drive_until(made, deadline).unwrap_or_else(|| {
            let id = id.to_owned();
            Err(ClientError::Unfinished { id, partitions: Vec::new() })
        })
    }

    /// The same as a future for any executor.
    ///
    /// # Errors
    /// As [`Engine::transactional_producer`].
    pub fn transactional_producer_async(
        &self,
        id: &str,
        settings: ProducerSettings,
    ) -> impl Future<Output = Result<TransactionalProducer<E>, ClientError>> + Send + use<E> {
        let (engine, id) = (self.clone(), TransactionalId::new(id));
        async move {
            let id = id.map_err(TransactionError::from)?;
            let transactions = engine.transactions();
            let pair = take_over(&transactions, &id, settings.transaction_timeout_ms).await?;
            let partitioner = Partitioner::new(&settings);
            let standing = Standing::Ready;
            Ok(TransactionalProducer {
                engine,
                transactions,
                id,
                settings,
                partitioner,
                pair,
                standing,
            })
        }
    }
}

/// `InitProducerId` until nothing of the id's last transaction is in the way.
async fn take_over<E: Env>(
    transactions: &Transactions<E>,
    id: &TransactionalId,
    timeout_ms: i32,
) -> Result<Pair, ClientError> {
    let request = InitProducerId::new(id.clone(), timeout_ms);
    let mut attempts = 0;
    loop {
        match transactions.init_producer_id(request.clone()).await {
            Err(error) if error.code() == ErrorCode::ConcurrentTransactions => {
                attempts += 1;
                again(transactions, id, (attempts, error)).await?;
            }
            answer => return Ok(answer?),
        }
    }
}

/// Sees to it that the last transaction of an id is complete, so that what was refused may be tried again.
async fn again<E: Env>(
    transactions: &Transactions<E>,
    id: &TransactionalId,
    (attempts, error): (u32, TransactionError),
) -> Result<(), ClientError> {
    if attempts > ATTEMPTS {
        return Err(error.into());
    }
    transactions.finish(id).await?;
    let lacking = transactions.lacking(id)?;
    if lacking.is_empty() { Ok(()) } else { Err(unfinished(id, lacking)) }
}

fn unfinished(id: &TransactionalId, partitions: Vec<TopicPartition>) -> ClientError {
    ClientError::Unfinished { id: id.to_string(), partitions }
}

impl<E: Env> TransactionalProducer<E> {
    /// Begins a transaction. It costs nothing until something is sent.
    pub const fn begin(&mut self) -> Transaction<'_, E> {
        Transaction {
            producer: self,
            lanes: BTreeMap::new(),
            offsets: Offsets::None,
            handovers: Vec::new(),
            failed: None,
            stage: Stage::New,
        }
    }

    /// Its transactional id.
    #[must_use]
    pub const fn id(&self) -> &TransactionalId {
        &self.id
    }

    /// Producer id and epoch of the next transaction.
    #[must_use]
    pub const fn identity(&self) -> ProducerIdentity {
        ProducerIdentity { id: self.pair.id, epoch: self.pair.epoch }
    }

    /// Ends the transaction of the current pair and takes that of the next.
    async fn end(&mut self, outcome: Outcome) -> Result<Vec<TopicPartition>, TransactionError> {
        self.standing = Standing::Unheard;
        let (id, producer) = (self.id.clone(), self.pair);
        let request = EndTxn { id, producer, outcome, protocol: Protocol::V2 };
        self.pair = self.transactions.end(request).await?;
        // Its log was read for the end.
        let lacking = self.transactions.lacking(&self.id).unwrap_or_default();
        self.standing = if lacking.is_empty() { Standing::Ready } else { Standing::Owing };
        Ok(lacking)
    }

    /// Hears what became of the last transaction where that is not known yet.
    async fn settle(&mut self) -> Result<(), ClientError> {
        match &self.standing {
            Standing::Ready => return Ok(()),
            Standing::Fenced(error) => return Err(error.clone()),
            Standing::Owing => {
                self.transactions.finish(&self.id).await?;
                let lacking = self.transactions.lacking(&self.id)?;
                if !lacking.is_empty() {
                    return Err(unfinished(&self.id, lacking));
                }
                self.standing = Standing::Ready;
                return Ok(());
            }
            Standing::Unheard => {}
        }
        let (mut outcome, mut attempts) = (Outcome::Abort, 0);
        loop {
            match self.end(outcome).await {
                Ok(lacking) if lacking.is_empty() => return Ok(()),
                Ok(lacking) => return Err(unfinished(&self.id, lacking)),
                // It was decided the other way: asked for that, the coordinator answers what it answered then.
                Err(TransactionError::Refused(TxnError::InvalidState { .. }))
                    if attempts < ATTEMPTS =>
                {
                    attempts += 1;
                    outcome = match outcome {
                        Outcome::Commit => Outcome::Abort,
                        Outcome::Abort => Outcome::Commit,
                    };
                }
                Err(error) if error.code() == ErrorCode::ConcurrentTransactions => {
                    attempts += 1;
                    again(&self.transactions, &self.id, (attempts, error)).await?;
                }
                Err(error) => return Err(self.heard(error)),
            }
        }
    }

    /// Notes an error of the coordinator that says that another instance has the id.
    fn heard(&mut self, error: TransactionError) -> ClientError {
        let gone = matches!(
            error,
            TransactionError::Refused(
                TxnError::Fenced { .. }
                    | TxnError::OtherProducer { .. }
                    | TxnError::UnknownId { .. }
            )
        );
        let error = ClientError::from(error);
        if gone {
            self.standing = Standing::Fenced(error.clone());
        }
        error
    }

    /// An error in the coordinator's words where it has some: a partition knows that an epoch is old, not what made it so.
    fn explain(&self, error: ClientError) -> ClientError {
        let ClientError::Produce(produce) = &error else { return error };
        let fenced = [ErrorCode::InvalidProducerEpoch, ErrorCode::InvalidProducerIdMapping];
        if !fenced.contains(&produce.code()) {
            return error;
        }
        let (id, producer) = (self.id.clone(), self.pair);
        let request = Verify { id, producer, partitions: Vec::new() };
        match self.transactions.verify_now(&request).and_then(|decided| decided.reply) {
            Err(told @ TransactionError::Refused(TxnError::Fenced { .. }))
            | Err(told @ TransactionError::Refused(TxnError::OtherProducer { .. })) => told.into(),
            Ok(_) | Err(_) => error,
        }
    }
}

impl<'p, E: Env> Transaction<'p, E> {
    /// Puts a record into its partition's batch, and writes that when it is full.
    ///
    /// # Errors
    /// There is no such topic or partition, another instance fenced this one, an earlier send failed, or the producer's last
    /// transaction cannot be completed. The transaction can only be aborted then, and [`Transaction::commit`] does that.
    pub fn send(&mut self, record: Record) -> Result<DeliveryInTransaction<E>, ClientError> {
        self.check()?;
        self.place(record).map(DeliveryInTransaction).map_err(|error| self.fail(error))
    }

    /// Sends the positions of a consumer, or any next offsets of a group: the group goes on there if the transaction commits.
    ///
    /// After an abort the consumer is still where it read to: seek it back, or make a new one.
    ///
    /// # Errors
    /// As [`Transaction::send`].
    pub fn send_offsets(
        &mut self,
        group: &str,
        offsets: &[(TopicPartition, Offset)],
    ) -> Result<(), ClientError> {
        self.send_offsets_of(group, Membership::none(), offsets)
    }

    /// The same for a member of a group, so that one that the group has replaced is refused (KIP-447).
    ///
    /// # Errors
    /// As [`Transaction::send`], and where the group does not know the member.
    pub fn send_offsets_of(
        &mut self,
        group: &str,
        membership: Membership,
        offsets: &[(TopicPartition, Offset)],
    ) -> Result<(), ClientError> {
        self.check()?;
        let image = self.producer.engine.image();
        let identified = |(name, offset): &(TopicPartition, Offset)| {
            let TopicPartition { topic, partition } = name;
            let unknown =
                || PartitionError::Unknown { topic: topic.to_string(), partition: *partition };
            let topic = image.topic(topic.as_str()).ok_or_else(unknown)?;
            topic.partition(*partition).ok_or_else(unknown)?;
            Ok((name.clone(), topic.id(), *offset))
        };
        let found: Result<Vec<_>, PartitionError> = offsets.iter().map(identified).collect();
        let found = found.map_err(|error| self.fail(error.into()))?;
        self.send_offsets_of_topics(group, membership, &found)
    }

    /// The same where it is known which topics they are of: no later one of such a name gets them.
    pub(crate) fn send_offsets_of_topics(
        &mut self,
        group: &str,
        membership: Membership,
        offsets: &[(TopicPartition, TopicId, Offset)],
    ) -> Result<(), ClientError> {
        self.check()?;
        let sent = self.place_offsets(group, membership, offsets);
        sent.map_err(|error| self.fail(error))
    }

    /// Writes what has gathered and blocks until all of it is acknowledged. Readers of committed data see nothing of it yet.
    ///
    /// # Errors
    /// As [`Transaction::send`].
    pub fn flush(&mut self) -> Result<(), ClientError> {
        self.check()?;
        let engine = self.producer.engine.clone();
        engine.shared().drive(self.ship()).map_err(|error| self.fail(error))
    }

    /// Commits: when this returns well, all of it is visible or will be, whatever happens.
    ///
    /// # Errors
    /// - [`ClientError::Aborted`]: something of it was not taken, so it is aborted; begin anew.
    /// - [`ClientError::Transaction`] with `PRODUCER_FENCED`: another instance, or the transaction timeout, aborted it.
    /// - [`ClientError::OutcomeUnknown`]: the storage failed while it was decided. The next opening of the data directory finds
    ///   the decision, or aborts it.
    pub fn commit(self) -> Result<Committed, ClientError> {
        let engine = self.producer.engine.clone();
        engine.shared().drive(self.commit_async())
    }

    /// The same as a future for any executor. Dropped before the decision it aborts; dropped later, the commit is carried out. Either blocks,
    /// as the drop of a transaction does.
    ///
    /// # Errors
    /// As [`Transaction::commit`].
    #[expect(clippy::manual_async_fn, reason = "the signature promises Send")]
    pub fn commit_async(
        mut self,
    ) -> impl Future<Output = Result<Committed, ClientError>> + Send + use<'p, E> {
        async move {
            let shipped = match self.failed.take() {
                Some(reason) => Err(reason),
                None => self.ship().await,
            };
            if let Err(reason) = shipped {
                let reason = self.producer.explain(reason);
                return Err(self.give_up(reason).await);
            }
            if self.leave() == Coordinated::No {
                return Ok(Committed { lacking: Vec::new() });
            }
            self.decide().await
        }
    }

    /// Aborts: readers of committed data see nothing of it.
    ///
    /// # Errors
    /// The storage fails, or another instance has the id: it is aborted all the same, at the latest after `transaction.timeout.ms`.
    pub fn abort(self) -> Result<(), ClientError> {
        let engine = self.producer.engine.clone();
        engine.shared().drive(self.abort_async())
    }

    /// The same as a future for any executor.
    ///
    /// # Errors
    /// As [`Transaction::abort`].
    #[expect(clippy::manual_async_fn, reason = "the signature promises Send")]
    pub fn abort_async(
        mut self,
    ) -> impl Future<Output = Result<(), ClientError>> + Send + use<'p, E> {
        async move { self.void().await }
    }

    /// Takes note of whose positions are part of it.
    pub(crate) fn hand_over(&mut self, handover: Handover) {
        self.handovers.push(handover);
    }

    /// Tells group consumers what became of their positions.
    fn tell(&mut self, outcome: Outcome) {
        self.handovers.drain(..).for_each(|handover| handover.decided(outcome));
    }

    fn check(&self) -> Result<(), ClientError> {
        match &self.failed {
            Some(reason) => Err(ClientError::Doomed { reason: Arc::new(reason.clone()) }),
            None => Ok(()),
        }
    }

    pub(crate) fn fail(&mut self, error: ClientError) -> ClientError {
        let error = self.producer.explain(error);
        self.failed = Some(error.clone());
        error
    }

    /// Makes sure that the last transaction is over. From here on this one is to be ended, whatever becomes of its owner.
    fn open(&mut self) -> Result<(), ClientError> {
        if self.stage == Stage::New {
            let engine = self.producer.engine.clone();
            engine.shared().drive(self.producer.settle())?;
            self.producer.standing = Standing::Unheard;
            self.stage = Stage::Open;
        }
        Ok(())
    }

    /// Nothing goes into it any more. Whether the coordinator may know of it.
    fn leave(&mut self) -> Coordinated {
        let was = std::mem::replace(&mut self.stage, Stage::Over);
        if self.offsets == Offsets::Sent || self.lanes.values().any(|lane| lane.has_begun()) {
            self.stage = Stage::Ending;
            return Coordinated::Yes;
        }
        if was == Stage::Open {
            self.producer.standing = Standing::Ready;
        }
        Coordinated::No
    }

    fn place(&mut self, record: Record) -> Result<Delivery<E>, ClientError> {
        self.open()?;
        let producer = &mut *self.producer;
        let unknown = || ClientError::UnknownTopic { topic: record.topic.clone() };
        let topic = producer.engine.topic(&record.topic).ok_or_else(unknown)?;
        let partition = producer.partitioner.choose(producer.engine.env(), &topic, &record);
        let key = (topic.id(), partition);
        let lane = match self.lanes.get(&key) {
            Some(lane) => lane,
            None => {
                let handle = producer.engine.partition_by_id(topic.id(), partition)?;
                let voice = Voice::Transaction {
                    transactions: producer.transactions.clone(),
                    id: producer.id.clone(),
                };
                let settings = producer.settings.clone();
                let lane = Lane::new(handle, settings, producer.identity(), voice);
                self.lanes.entry(key).or_insert_with(|| Arc::new(lane))
            }
        };
        let delivery = lane.add(record, producer.engine.now());
        lane.failure().map_or(Ok(delivery), Err)
    }

    fn place_offsets(
        &mut self,
        group: &str,
        membership: Membership,
        offsets: &[(TopicPartition, TopicId, Offset)],
    ) -> Result<(), ClientError> {
        self.open()?;
        let producer = &mut *self.producer;
        let engine = producer.engine.clone();
        let group = Name::new(group).map_err(GroupsError::from)?;
        let request = CommitInTxn {
            group,
            producer_id: producer.pair.id,
            producer_epoch: producer.pair.epoch,
            membership,
            offsets: offsets.iter().map(new_offset).collect(),
        };
        self.offsets = Offsets::Sent;
        let id = producer.id.clone();
        let sent = engine.groups().commit_offsets_in_transaction(id, Enrol::Add, request);
        let results = engine.shared().drive(sent)?;
        Ok(results.into_iter().collect::<Result<(), _>>().map_err(GroupsError::from)?)
    }

    /// Writes what has gathered, all partitions under one word of the coordinator, and waits until all is acknowledged.
    async fn ship(&mut self) -> Result<(), ClientError> {
        let (mut batches, mut shipments) = (Vec::new(), Vec::new());
        for lane in self.lanes.values() {
            lane.begun().await;
            if let Some(Packed { partition, records, shipment }) = lane.pack()? {
                batches.push((partition, records));
                shipments.push(shipment);
            }
        }
        if !batches.is_empty() {
            let TransactionalProducer { transactions, id, .. } = &*self.producer;
            let produced = transactions.produce(id, Enrol::Add, batches, Acks::All).begun().await;
            for (shipment, produced) in shipments.into_iter().zip(produced) {
                shipment.becomes(Ok(produced));
            }
        }
        let mut failed = None;
        for lane in self.lanes.values() {
            failed = failed.or_else(|| lane.failure());
            for shipment in lane.in_flight() {
                let answer = std::future::poll_fn(|cx| shipment.poll(cx)).await;
                failed = failed.or_else(|| answer.err());
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Commits what is written.
    async fn decide(&mut self) -> Result<Committed, ClientError> {
        let decided = match self.producer.end(Outcome::Commit).await {
            Ok(lacking) => {
                self.tell(Outcome::Commit);
                Ok(Committed { lacking })
            }
            Err(error @ TransactionError::Refused(_)) => {
                self.producer.standing = Standing::Unheard;
                Err(self.producer.heard(error))
            }
            Err(error) => Err(self.undecided(error.into()).await),
        };
        self.stage = Stage::Over;
        decided
    }

    /// Aborts after something was not taken.
    async fn give_up(&mut self, reason: ClientError) -> ClientError {
        let fenced = matches!(reason, ClientError::Transaction(_));
        match self.void().await {
            Ok(()) if fenced => reason,
            Ok(()) => {
                let id = self.producer.id.to_string();
                ClientError::Aborted { id, reason: Arc::new(reason) }
            }
            Err(told @ ClientError::Transaction(_)) if !fenced => told,
            Err(_) => reason,
        }
    }

    /// Aborts after the decision to commit could not be written, or could not be made durable.
    async fn undecided(&mut self, reason: ClientError) -> ClientError {
        let (id, reason) = (self.producer.id.to_string(), Arc::new(reason));
        match self.producer.end(Outcome::Abort).await {
            Ok(_) => ClientError::Aborted { id, reason },
            Err(_) => ClientError::OutcomeUnknown { id, reason },
        }
    }

    async fn void(&mut self) -> Result<(), ClientError> {
        self.lanes.values().for_each(|lane| lane.close());
        if self.leave() == Coordinated::No {
            return Ok(());
        }
        let ended = self.producer.end(Outcome::Abort).await;
        self.stage = Stage::Over;
        match ended {
            Ok(_) => Ok(()),
            Err(error) => Err(self.producer.heard(error)),
        }
    }
}

impl<E: Env> Drop for Transaction<'_, E> {
    fn drop(&mut self) {
        // Nobody is left who would hear of a commit: a consumer asks the group.
        self.tell(Outcome::Abort);
        let engine = self.producer.engine.clone();
        let ended = match self.stage {
            Stage::Over => return,
            Stage::New | Stage::Open => engine.shared().drive(self.void()),
            // Somebody else may be at it, in a future that this thread has to poll: then the next transaction, or upkeep, settles it.
            Stage::Ending => {
                let patience = Duration::from_millis(self.producer.settings.max_block_ms);
                let deadline = engine.env().monotonic().saturating_add(patience);
                engine.shared().drive_until(self.producer.settle(), deadline).unwrap_or(Ok(()))
            }
        };
        if let Err(error) = ended {
            let id = &self.producer.id;
            tracing::warn!(%id, %error, "a dropped transaction is not ended yet: upkeep will, at its timeout");
        }
    }
}

impl<E: Env> fmt::Debug for TransactionalProducer<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransactionalProducer")
            .field("id", &self.id)
            .field("pair", &self.pair)
            .finish_non_exhaustive()
    }
}

impl<E: Env> fmt::Debug for Transaction<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction")
            .field("producer", &self.producer)
            .field("partitions", &self.lanes.len())
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}
