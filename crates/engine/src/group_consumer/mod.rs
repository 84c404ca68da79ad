//! A member of a group in the same process (KIP-848): its share of the topics, read from where the group stands.
//!
//! ```text
//!   poll ---> heartbeat if it is due ---> taken away: not read any more, given back once it is settled
//!                 |                  \--> given: read from the committed offset, once no open transaction can change that
//!                 |
//!                 +--- no thread: who does not poll for a session is put out, and hears that from the next poll
//! ```
//!
//! No partition changes hands behind a caller's back: they come and go inside `poll` alone, but that a refused commit takes all away.

mod advance;
mod builder;
mod data;
mod member;
mod seats;
mod share;

use std::{
    collections::BTreeMap,
    fmt,
    future::{Future, poll_fn},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use hanbeon_group::{Commit, CommitDialect, Membership, NewOffset, consumer::Partitions};
use hanbeon_records::{ErrorCode, LeaderEpoch, Offset, TopicId, TopicPartition};

pub use builder::GroupConsumerBuilder;
pub use data::GroupData;
use member::Member;
pub(crate) use seats::Seats;
pub(crate) use share::Handover;
use share::{Share, Stage, Told};

use crate::{
    ClientError, Consumer, ConsumerSettings, Engine, Env, Groups, GroupsError, Received, System,
    Transaction, produce::block_on_until,
};

/// Reads the partitions that a group gives it, from where the group stands. It shares the topics with all other members, be they in this
/// process or clients of a broker on it.
///
/// **Exactly once:** what was made of the records goes into a transaction together with the positions.
///
/// ```
/// # let home = tempfile::tempdir()?;
/// # use hanbeon::{Engine, Record};
/// # let engine = Engine::open(home.path())?;
/// # engine.ensure_topic("orders", 3)?;
/// # engine.ensure_topic("invoices", 1)?;
/// # engine.producer().send(Record::new("orders", "3 apples"))?.wait()?;
/// let mut producer = engine.transactional_producer("billing-1")?;
/// let mut consumer = engine.group_consumer("billing").subscribe(["orders"])?;
/// let orders = consumer.poll()?;
/// let mut transaction = producer.begin();
/// for order in orders {
///     transaction.send(Record::new("invoices", order.value.unwrap_or_default()))?;
/// }
/// transaction.send_positions(&mut consumer)?;
/// transaction.commit()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Rules
/// - **Nothing happens outside of calls.** The consumer joins with its first poll, and each poll that is due says that it lives. Who does not
///   poll for `consumer.session.timeout.ms` is put out, by [`Engine::maintain`] or by another member's poll.
/// - **What is taken away is given back when it is settled.** It is not read any more, but stays this consumer's until what was read of
///   it is committed, or part of a transaction that was not aborted; the next poll then gives it back. [`GroupConsumer::release`] gives it
///   back unsettled. After `max.poll.interval.ms` the group puts a consumer out that keeps it.
/// - **Who was put out is told once**, with [`ClientError::MemberFenced`]. Its partitions are others' now and its positions are
///   gone: abort what is under way. The next poll joins anew, and what was not committed comes again, to this consumer or another. When
///   something was lost that way, no transaction takes its positions before [`GroupConsumer::rewind`]: it could be the one under way.
/// - **After an abort** call [`GroupConsumer::rewind`], or what was read does not come again before the consumer is made anew. When the
///   transaction had its positions already, polls are refused until then.
/// - **A death is no session.** When the data directory is opened again, members of the process that had it are taken out at once.
pub struct GroupConsumer<E: Env = System> {
    engine: Engine<E>,
    groups: Groups<E>,
    member: Member,
    reader: Consumer<E>,
    shares: BTreeMap<TopicPartition, Share<E>>,
    /// What the coordinator was told last that this member has.
    said: Partitions,
    /// Why records that were returned became others' to read, until it is rewound.
    lost: Option<ClientError>,
}

impl<E: Env> GroupConsumer<E> {
    fn new(engine: Engine<E>, settings: ConsumerSettings, member: Member) -> Self {
        engine.shared().members.take(member.key.clone());
        Self {
            groups: engine.groups(),
            reader: engine.consumer_with(settings),
            engine,
            member,
            shares: BTreeMap::new(),
            said: Partitions::new(),
            lost: None,
        }
    }

    /// Does what membership asks for, then returns what is there now, as [`Consumer::poll`] does. Waits for the disk under the coordinator's
    /// answers, and for nobody else.
    ///
    /// # Errors
    /// - [`ClientError::MemberFenced`]: the group put this consumer out, see the rules of [`GroupConsumer`].
    /// - [`ClientError::NotRewound`]: a transaction with its positions was aborted.
    /// - [`ClientError::Groups`]: the coordinator refuses to have it, or its log fails. The next poll tries again.
    /// - As [`Consumer::poll`].
    pub fn poll(&mut self) -> Result<Vec<Received>, ClientError> {
        let engine = self.engine.clone();
        engine.shared().drive(self.poll_async())
    }

    /// The same as a future for any executor, which others get back between two reads. Dropped halfway it leaves nothing undone that the
    /// next poll would not do.
    ///
    /// # Errors
    /// As [`GroupConsumer::poll`].
    pub fn poll_async(
        &mut self,
    ) -> impl Future<Output = Result<Vec<Received>, ClientError>> + Send + use<'_, E> {
        self.poll_until(Duration::MAX)
    }

    #[expect(clippy::manual_async_fn, reason = "the signature promises Send")]
    fn poll_until(
        &mut self,
        deadline: Duration,
    ) -> impl Future<Output = Result<Vec<Received>, ClientError>> + Send + use<'_, E> {
        async move {
            let failed = self.advance().await?;
            self.check_rewound()?;
            let mut rounds = self.reader.rounds();
            let received = loop {
                let received = self.reader.round(&mut rounds)?;
                let late = || self.engine.env().monotonic() >= deadline;
                if !received.is_empty() || rounds.are_over() || late() {
                    break received;
                }
                let_others_run().await;
            };
            for of_partition in
                received.chunk_by(|a, b| a.partition == b.partition && a.topic == b.topic)
            {
                let Some(Received { topic, partition, .. }) = of_partition.first() else {
                    continue;
                };
                let name = TopicPartition { topic: topic.clone(), partition: *partition };
                if let Some(share) = self.shares.get_mut(&name) {
                    share.moved = true;
                }
            }
            // A partition that does not begin to be read keeps nobody from the others.
            match failed {
                Some(failed) if received.is_empty() => Err(failed),
                Some(_) | None => Ok(received),
            }
        }
    }

    fn check_rewound(&self) -> Result<(), ClientError> {
        let aborted = self.shares.iter().find_map(|(name, share)| Some((name, share.aborted()?)));
        match aborted {
            Some((TopicPartition { topic, partition }, position)) => {
                let (topic, partition) = (topic.to_string(), *partition);
                Err(ClientError::NotRewound { topic, partition, position })
            }
            None => Ok(()),
        }
    }

    /// As [`GroupConsumer::poll`], but blocks until there is something, `timeout` at most. It keeps its membership meanwhile.
    ///
    /// # Errors
    /// As [`GroupConsumer::poll`].
    pub fn poll_timeout(&mut self, timeout: Duration) -> Result<Vec<Received>, ClientError> {
        let deadline = self.engine.env().monotonic().saturating_add(timeout);
        loop {
            let received = self.engine.clone().shared().drive(self.poll_until(deadline))?;
            let left = deadline.saturating_sub(self.engine.env().monotonic());
            if !received.is_empty() || left.is_zero() {
                return Ok(received);
            }
            let until = deadline.min(self.engine.shared().members.due(&self.member.key));
            let data = self.data()?;
            block_on_until(data, self.engine.env(), until);
        }
    }

    /// Resolves when there may be something to poll, or when membership asks for a poll. A future for any executor; the second is seen by
    /// [`Engine::maintain`], which helpers call by themselves.
    ///
    /// # Errors
    /// A partition is offline, or has no position with [`crate::Reset::Fail`].
    pub fn data(&mut self) -> Result<GroupData<E>, ClientError> {
        let reads = self.shares.values().any(|share| matches!(share.stage, Stage::Read));
        let data = reads.then(|| self.reader.data()).transpose()?;
        Ok(GroupData { engine: self.engine.clone(), key: self.member.key.clone(), data })
    }

    /// The next offset of every partition that was read or sought, also of those that are [`GroupConsumer::leaving`].
    #[must_use]
    pub fn positions(&self) -> Vec<(TopicPartition, Offset)> {
        let at = |(name, share): (&TopicPartition, &Share<E>)| {
            Some((name.clone(), self.position_of(name, share)?))
        };
        self.shares.iter().filter_map(at).collect()
    }

    fn position_of(&self, name: &TopicPartition, share: &Share<E>) -> Option<Offset> {
        match share.stage {
            Stage::Awaited(_) => None,
            Stage::Read => self.reader.position_of(name),
            Stage::Leaving(position) => Some(position),
        }
    }

    /// Positions that the group does not have for sure.
    fn uncommitted(&self) -> Vec<(TopicPartition, TopicId, Offset)> {
        let at = |(name, share): (&TopicPartition, &Share<E>)| {
            let position = self.position_of(name, share)?;
            (!share.is_committed(position)).then(|| (name.clone(), share.topic_id, position))
        };
        self.shares.iter().filter_map(at).collect()
    }

    /// The partitions that it reads, or will as soon as it is known where from.
    #[must_use]
    pub fn assignment(&self) -> Vec<TopicPartition> {
        self.names(|stage| !matches!(stage, Stage::Leaving(_)))
    }

    /// Partitions that go to another member once what was read of them is settled.
    #[must_use]
    pub fn leaving(&self) -> Vec<TopicPartition> {
        self.names(|stage| matches!(stage, Stage::Leaving(_)))
    }

    fn names(&self, which: impl Fn(&Stage<E>) -> bool) -> Vec<TopicPartition> {
        let found = self.shares.iter().filter(|(_, share)| which(&share.stage));
        found.map(|(name, _)| name.clone()).collect()
    }

    /// The next record read of a partition is the one at `offset`, or the first after it.
    ///
    /// # Errors
    /// The partition is not this consumer's, or is leaving it.
    pub fn seek(&mut self, topic: &str, partition: i32, offset: Offset) -> Result<(), ClientError> {
        let find = |(name, share): &(&TopicPartition, &mut Share<E>)| {
            name.topic.as_str() == topic
                && name.partition == partition
                && !matches!(share.stage, Stage::Leaving(_))
        };
        if let Some((_, share)) = self.shares.iter_mut().find(find) {
            share.tell(Told::Nothing);
            share.moved = true;
            if let Stage::Awaited(handle) = &share.stage {
                self.reader.adopt(handle.clone(), Some(offset));
                share.stage = Stage::Read;
            }
        }
        self.reader.seek(topic, partition, offset)
    }

    /// Goes back to where the group stands: what was read and not committed comes again, to this consumer or to who gets its
    /// [leaving](GroupConsumer::leaving) partitions. To be called after a transaction was aborted.
    pub fn rewind(&mut self) {
        self.lost = None;
        self.release();
        for (name, share) in &mut self.shares {
            if let Some(handle) = self.reader.let_go(name) {
                *share = Share::new(share.topic_id, handle);
            }
        }
    }

    /// Lets leaving partitions go with the next poll, whatever was read of them: records that are not committed will be read again by
    /// another member.
    pub fn release(&mut self) {
        self.shares.retain(|_, share| !matches!(share.stage, Stage::Leaving(_)));
    }

    /// Commits the positions, outside of any transaction. When this returns well the group goes on there.
    ///
    /// # Errors
    /// - [`ClientError::MemberFenced`]: the group put this consumer out, nothing was committed.
    /// - [`ClientError::Groups`]: the coordinator refuses, or its log fails.
    pub fn commit(&mut self) -> Result<(), ClientError> {
        let engine = self.engine.clone();
        engine.shared().drive(self.commit_async())
    }

    /// The same as a future for any executor. Whether it is committed when the future is dropped halfway, the next opening or
    /// [`GroupConsumer::rewind`] tells.
    ///
    /// # Errors
    /// As [`GroupConsumer::commit`].
    #[expect(clippy::manual_async_fn, reason = "the signature promises Send")]
    pub fn commit_async(
        &mut self,
    ) -> impl Future<Output = Result<(), ClientError>> + Send + use<'_, E> {
        async move {
            self.forget_deleted();
            let positions = self.uncommitted();
            if positions.is_empty() {
                return Ok(());
            }
            let request = Commit {
                group: self.member.key.group.clone(),
                membership: self.member.membership(),
                dialect: CommitDialect::Epochs,
                retention_ms: None,
                offsets: positions.iter().map(new_offset).collect(),
            };
            let results = self.groups.commit_offsets(request).await;
            let results = results.map_err(|error| self.refused(error))?;
            let mut refused = None;
            for ((name, _, position), result) in positions.into_iter().zip(results) {
                match (result, self.shares.get_mut(&name)) {
                    (Ok(()), Some(share)) => share.tell(Told::Committed(position)),
                    (Ok(()), None) => {}
                    (Err(error), _) => refused = refused.or(Some(error)),
                }
            }
            refused.map_or(Ok(()), |error| Err(self.refused(error.into())))
        }
    }

    /// In whose name offsets go into a transaction, as [`Transaction::send_offsets_of`] takes it (Kafka's `groupMetadata`).
    /// [`Transaction::send_positions`] needs less care.
    #[must_use]
    pub fn group_metadata(&self) -> Membership {
        self.member.membership()
    }

    /// Its group.
    #[must_use]
    pub fn group(&self) -> &str {
        self.member.key.group.as_str()
    }

    /// Its member id, the same as long as it lives.
    #[must_use]
    pub fn member_id(&self) -> &str {
        self.member.key.member_id.as_str()
    }

    /// Its member epoch; 0 before its first poll and after it was put out.
    #[must_use]
    pub const fn member_epoch(&self) -> i32 {
        self.member.epoch
    }

    /// Leaves the group: the others get its partitions at once, or a static member's after a session. Commits nothing. A consumer that is
    /// dropped leaves as well, but does not wait until that is on the disk and does not hear of a failure.
    ///
    /// # Errors
    /// The coordinator's log fails: the group will miss this member when its session ends.
    pub fn close(self) -> Result<(), ClientError> {
        let engine = self.engine.clone();
        engine.shared().drive(self.close_async())
    }

    /// The same as a future for any executor.
    ///
    /// # Errors
    /// As [`GroupConsumer::close`].
    #[expect(clippy::manual_async_fn, reason = "the signature promises Send")]
    pub fn close_async(mut self) -> impl Future<Output = Result<(), ClientError>> + Send + use<E> {
        async move {
            match self.leave() {
                Some(left) => left.await.map_err(ClientError::from),
                None => Ok(()),
            }
        }
    }

    /// Says farewell if it is a member. It has left when this returns; the future waits for the disk.
    fn leave(&mut self) -> Option<impl Future<Output = Result<(), GroupsError>> + Send + use<E>> {
        if self.member.epoch == 0 {
            return None;
        }
        let farewell = self.member.farewell();
        self.member.epoch = 0;
        let left = self.groups.consumer_heartbeat(self.member.key.group.clone(), farewell);
        self.engine.shared().members.nudge_others(&self.member.key);
        Some(async move {
            match left.await {
                // It was put out before.
                Err(error) if is_out(error.code()) => Ok(()),
                left => left.map(drop),
            }
        })
    }
}

/// Whether the group says that it has no such member.
fn is_out(code: ErrorCode) -> bool {
    let out = [
        ErrorCode::UnknownMemberId,
        ErrorCode::FencedMemberEpoch,
        ErrorCode::FencedInstanceId,
        ErrorCode::GroupIdNotFound,
    ];
    out.contains(&code)
}

/// Pending once, and ready to be polled again at once.
fn let_others_run() -> impl Future<Output = ()> + Send {
    let mut let_them = false;
    poll_fn(move |cx| {
        if std::mem::replace(&mut let_them, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
}

/// A position as a group keeps it, with the topic that it is of.
pub(crate) fn new_offset(
    (name, topic_id, offset): &(TopicPartition, TopicId, Offset),
) -> NewOffset {
    NewOffset {
        topic: name.topic.clone(),
        topic_id: Some(*topic_id),
        partition: name.partition,
        offset: *offset,
        leader_epoch: LeaderEpoch::UNKNOWN,
        metadata: "".into(),
    }
}

impl<E: Env> Transaction<'_, E> {
    /// Sends the positions of a group's member: the group goes on there if the transaction commits, and only then. The group refuses
    /// them when it has put the member out (KIP-447), and the transaction with them.
    ///
    /// After an abort call [`GroupConsumer::rewind`].
    ///
    /// # Errors
    /// - [`ClientError::MemberFenced`]: the group put the consumer out. Nothing of this transaction can become visible.
    /// - As [`Transaction::send`].
    pub fn send_positions(&mut self, consumer: &mut GroupConsumer<E>) -> Result<(), ClientError> {
        if let Some(lost) = &consumer.lost {
            return Err(self.fail(lost.clone()));
        }
        consumer.forget_deleted();
        let positions = consumer.uncommitted();
        if positions.is_empty() {
            return Ok(());
        }
        let membership = consumer.group_metadata();
        let group = consumer.group().to_owned();
        match self.send_offsets_of_topics(&group, membership, &positions) {
            Ok(()) => {
                let handover = Handover::default();
                for (name, _, position) in positions {
                    if let Some(share) = consumer.shares.get_mut(&name) {
                        share.tell(Told::InTransaction(position, handover.clone()));
                    }
                }
                self.hand_over(handover);
                Ok(())
            }
            Err(ClientError::Groups(error)) => Err(consumer.refused(Arc::unwrap_or_clone(error))),
            Err(error) => Err(error),
        }
    }
}

impl<E: Env> Drop for GroupConsumer<E> {
    fn drop(&mut self) {
        drop(self.leave());
        self.engine.shared().members.leave(&self.member.key);
    }
}

impl<E: Env> fmt::Debug for GroupConsumer<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupConsumer")
            .field("member", &self.member)
            .field("shares", &self.shares)
            .finish_non_exhaustive()
    }
}
