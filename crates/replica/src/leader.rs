//! The leader of one partition, with one replica or with many.

use alloc::{collections::BTreeMap, vec, vec::Vec};

use hanbeon_records::{BrokerEpoch, LeaderEpoch, Millis, NodeId, Offset, PartitionEpoch};

use crate::{
    Acks, IsrAnswer, MinIsr, Proposal, Registration, ReplicaError, Settled, Standing, check_epoch,
    high_watermark::{self, Holds},
    isr::Isr,
    remote::{Membership, Remote},
};

/// What does not change while a broker leads.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// This broker.
    pub node: NodeId,
    /// This life of it.
    pub broker_epoch: BrokerEpoch,
    /// How long a follower may be behind before it leaves the in-sync set, milliseconds (`replica.lag.time.max.ms`).
    pub lag_time_max_ms: i64,
}

/// Where the local log stands when the leadership begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogBounds {
    /// First offset in it.
    pub start: Offset,
    /// One past the last.
    pub end: Offset,
    /// From the checkpoint: a hint that may be too low, never too high. Held between `start` and `end`.
    pub high_watermark: Offset,
}

impl LogBounds {
    /// A log that nothing was written to.
    pub const EMPTY: Self =
        Self { start: Offset::ZERO, end: Offset::ZERO, high_watermark: Offset::ZERO };
}

/// A fetch of a follower that was answered with records (or with none at the end), not with a divergence: where a
/// diverging follower stands says nothing, for it is about to truncate (KAFKA-13141). Reported on the first pass only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// Who.
    pub follower: NodeId,
    /// Which life of it (Fetch v15+); -1 when not told.
    pub broker_epoch: BrokerEpoch,
    /// The leader epoch it believes in; -1 when not told.
    pub leader_epoch: LeaderEpoch,
    /// Its log end.
    pub from: Offset,
    /// Its log start.
    pub log_start: Offset,
}

/// What the leader is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Records were appended to the local log, which now ends at `end` (exclusive).
    Appended {
        /// The new log end.
        end: Offset,
    },
    /// The local log now begins at this offset.
    LogStart(Offset),
    /// A follower fetched.
    Fetched(Fetch),
    /// The metadata store answered the [`Proposal`] with this number.
    IsrAnswered {
        /// [`Proposal::number`].
        number: u64,
        /// What became of it.
        answer: IsrAnswer,
    },
    /// The partition's row changed, and this broker still leads. (When it does not, drop the [`Leader`].)
    Registered(Registration),
    /// A broker's registration changed.
    Broker {
        /// Which one.
        node: NodeId,
        /// How it stands now.
        standing: Standing,
    },
    /// Time passed. Due every half of [`Settings::lag_time_max_ms`].
    Tick,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// The high watermark rose to this offset: let readers and waiting producers know.
    HighWatermark(Offset),
    /// Ask the metadata store for this in-sync set and report with [`Input::IsrAnswered`].
    ProposeIsr(Proposal),
}

/// The machine.
#[derive(Clone, Debug)]
pub struct Leader {
    settings: Settings,
    leader_epoch: LeaderEpoch,
    partition_epoch: PartitionEpoch,
    min_isr: MinIsr,
    log_start: Offset,
    log_end: Offset,
    /// The log end when the leader epoch began.
    epoch_start: Offset,
    high_watermark: Offset,
    isr: Isr,
    /// The other replicas in the order of the assignment; empty on one broker, which makes the common path short.
    remotes: Vec<Remote>,
    /// How brokers stand, of replicas or not: one may become a replica later.
    standings: BTreeMap<NodeId, Standing>,
    proposals: u64,
}

impl Leader {
    /// The leader of a partition whose only replica it is.
    #[must_use]
    pub fn alone(node: NodeId, leader_epoch: LeaderEpoch, log: LogBounds) -> Self {
        let settings =
            Settings { node, broker_epoch: BrokerEpoch::UNKNOWN, lag_time_max_ms: i64::MAX };
        let registration = Registration {
            leader_epoch,
            partition_epoch: PartitionEpoch::new(0),
            replicas: vec![node],
            isr: vec![node],
            min_isr: MinIsr::ONE,
        };
        Self::new(settings, registration, log, Millis::NONE)
    }

    /// This broker becomes leader, having been none before.
    ///
    /// Look at [`Leader::high_watermark`] afterwards: with nobody else to wait for it is at the log's end at once.
    #[must_use]
    pub fn new(
        settings: Settings,
        registration: Registration,
        log: LogBounds,
        now: Millis,
    ) -> Self {
        let mut leader = Self {
            settings,
            leader_epoch: registration.leader_epoch,
            partition_epoch: registration.partition_epoch,
            min_isr: registration.min_isr,
            log_start: log.start,
            log_end: log.end,
            epoch_start: log.end,
            high_watermark: log.high_watermark.clamp(log.start, log.end.max(log.start)),
            isr: Isr::new(registration.isr),
            remotes: Vec::new(),
            standings: BTreeMap::new(),
            proposals: 0,
        };
        leader.assign(now, &registration.replicas);
        leader.raise(now);
        leader
    }

    /// Takes one input at time `now` and appends to `out` what it leads to.
    ///
    /// # Errors
    /// A [`ReplicaError`] for a fetch that is fenced, unknown or out of range, and for a log end that went back; nothing has
    /// changed then.
    pub fn step(
        &mut self,
        now: Millis,
        input: Input,
        out: &mut Vec<Output>,
    ) -> Result<(), ReplicaError> {
        match input {
            Input::Appended { end } => {
                if let Some(high_watermark) = self.appended(now, end)? {
                    out.push(Output::HighWatermark(high_watermark));
                }
                return Ok(());
            }
            Input::LogStart(start) => self.log_start = self.log_start.max(start),
            Input::Fetched(fetch) => self.fetched(now, fetch, out)?,
            Input::IsrAnswered { number, answer } => self.isr_answered(number, answer, out),
            Input::Registered(registration) => self.registered(now, registration),
            Input::Broker { node, standing: Standing::Unknown } => {
                self.standings.remove(&node);
            }
            Input::Broker { node, standing } => {
                self.standings.insert(node, standing);
            }
            Input::Tick => self.propose_smaller_isr(now, out),
        }
        if let Some(high_watermark) = self.raise(now) {
            out.push(Output::HighWatermark(high_watermark));
        }
        Ok(())
    }

    /// [`Input::Appended`] without the list: allocates nothing. The new high watermark if it rose.
    ///
    /// # Errors
    /// [`ReplicaError::EndWentBack`].
    pub fn appended(&mut self, now: Millis, end: Offset) -> Result<Option<Offset>, ReplicaError> {
        if end < self.log_end {
            return Err(ReplicaError::EndWentBack { end: self.log_end, got: end });
        }
        self.log_end = end;
        Ok(self.raise(now))
    }

    /// Whether a produce request with these acks may be appended at all (R6).
    ///
    /// # Errors
    /// [`ReplicaError::NotEnoughReplicas`]: `acks=all` and the committed in-sync set is smaller than the minimum.
    pub fn admit(&self, acks: Acks) -> Result<(), ReplicaError> {
        let (isr, min_isr) = (self.isr.committed().len(), self.min_isr.get());
        match acks {
            Acks::All if isr < min_isr => Err(ReplicaError::NotEnoughReplicas { isr, min_isr }),
            Acks::All | Acks::Leader | Acks::None => Ok(()),
        }
    }

    /// Whether a request whose records (or whose duplicate's original) end at `end`, exclusive, may be answered.
    ///
    /// # Errors
    /// [`ReplicaError::NotEnoughReplicasAfterAppend`]: the records are replicated, but to fewer than the minimum.
    pub fn settle(&self, acks: Acks, end: Offset) -> Result<Settled, ReplicaError> {
        let (isr, min_isr) = (self.isr.maximal_len(), self.min_isr.get());
        match acks.waits_for(end) {
            Some(needed) if self.high_watermark < needed => Ok(Settled::Waits),
            Some(_) if isr < min_isr => {
                Err(ReplicaError::NotEnoughReplicasAfterAppend { isr, min_isr })
            }
            Some(_) | None => Ok(Settled::Done),
        }
    }

    /// Compares the epoch of a request with the leader's; see [`check_epoch`].
    ///
    /// # Errors
    /// As [`check_epoch`].
    pub fn check_epoch(&self, got: LeaderEpoch) -> Result<(), ReplicaError> {
        check_epoch(self.leader_epoch, got)
    }

    /// The offset a client gets that asks for the latest one (R8).
    ///
    /// # Errors
    /// [`ReplicaError::HighWatermarkNotProven`] until the high watermark has reached the log end that this leader epoch began
    /// with: the leader before may have committed, and shown, more than this one knows of (KIP-207).
    pub fn latest_offset(&self) -> Result<Offset, ReplicaError> {
        let (high_watermark, needed) = (self.high_watermark, self.epoch_start);
        if high_watermark < needed {
            return Err(ReplicaError::HighWatermarkNotProven { high_watermark, needed });
        }
        Ok(high_watermark)
    }

    /// Exclusive end of what is committed, as far as this leader knows.
    #[must_use]
    pub const fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// Exclusive end of the local log.
    #[must_use]
    pub const fn log_end(&self) -> Offset {
        self.log_end
    }

    /// The epoch it leads in.
    #[must_use]
    pub const fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// The epoch of the partition's row.
    #[must_use]
    pub const fn partition_epoch(&self) -> PartitionEpoch {
        self.partition_epoch
    }

    /// The committed in-sync set.
    #[must_use]
    pub fn isr(&self) -> &[NodeId] {
        self.isr.committed()
    }

    /// The lowest log start of all replicas whose brokers are up: what `DeleteRecords` waits for.
    #[must_use]
    pub fn low_watermark(&self) -> Offset {
        self.remotes
            .iter()
            .filter(|remote| matches!(self.standing(remote.node), Standing::Fit(_)))
            .map(|remote| remote.log_start.unwrap_or(Offset::ZERO))
            .fold(self.log_start, Offset::min)
    }

    fn standing(&self, node: NodeId) -> Standing {
        self.standings.get(&node).copied().unwrap_or(Standing::Unknown)
    }

    fn fetched(
        &mut self,
        now: Millis,
        fetch: Fetch,
        out: &mut Vec<Output>,
    ) -> Result<(), ReplicaError> {
        self.check_epoch(fetch.leader_epoch)?;
        let (node, from, end) = (fetch.follower, fetch.from, self.log_end);
        let standing = self.standing(node);
        let Some(remote) = self.remotes.iter_mut().find(|remote| remote.node == node) else {
            return Err(ReplicaError::UnknownReplica { node, epoch: fetch.leader_epoch });
        };
        if let Standing::Fit(current) | Standing::Unfit(current) = standing
            && fetch.broker_epoch != BrokerEpoch::UNKNOWN
            && fetch.broker_epoch < current
        {
            return Err(ReplicaError::StaleBrokerEpoch { node, current, got: fetch.broker_epoch });
        }
        if from > end {
            return Err(ReplicaError::FetchBeyondEnd { node, from, end });
        }
        remote.fetched(from, end, now);
        remote.log_start = Some(fetch.log_start);
        remote.broker_epoch = fetch.broker_epoch;
        self.propose_larger_isr(now, node, out);
        Ok(())
    }

    /// A follower may join when it has everything that may be committed: up to the high watermark, and up to where this leader
    /// began, for a new leader's high watermark may be behind (KAFKA-7128).
    fn propose_larger_isr(&mut self, now: Millis, node: NodeId, out: &mut Vec<Output>) {
        let needed = self.high_watermark.max(self.epoch_start);
        let joins = self.isr.is_settled()
            && !self.isr.contains(node)
            && self.remotes.iter().any(|remote| {
                remote.node == node
                    && remote.eligible(self.standing(node))
                    && remote.end.is_some_and(|end| end >= needed)
                    // Under the minimum the high watermark stands still and any slow follower reaches it, joins, is
                    // dropped, joins ... (KAFKA-19996).
                    && (self.isr.committed().len() >= self.min_isr.get()
                        || remote.caught_up(self.log_end, self.settings.lag_time_max_ms, now))
            });
        if joins {
            let mut members = self.isr.committed().to_vec();
            members.push(node);
            let proposal = self.proposal(members);
            self.isr.expand(node, proposal.clone());
            out.push(Output::ProposeIsr(proposal));
        }
    }

    fn propose_smaller_isr(&mut self, now: Millis, out: &mut Vec<Output>) {
        if !self.isr.is_settled() {
            return;
        }
        let (end, lag) = (self.log_end, self.settings.lag_time_max_ms);
        let stays = |node: NodeId| {
            let mut remotes = self.remotes.iter().filter(|remote| remote.node == node);
            remotes.all(|remote| remote.caught_up(end, lag, now))
        };
        let members: Vec<NodeId> =
            self.isr.committed().iter().copied().filter(|node| stays(*node)).collect();
        if members.len() < self.isr.committed().len() {
            let proposal = self.proposal(members);
            self.isr.shrink(proposal.clone());
            out.push(Output::ProposeIsr(proposal));
        }
    }

    fn proposal(&mut self, members: Vec<NodeId>) -> Proposal {
        self.proposals = self.proposals.wrapping_add(1);
        let isr = members.into_iter().map(|node| (node, self.broker_epoch_of(node))).collect();
        Proposal {
            number: self.proposals,
            leader_epoch: self.leader_epoch,
            partition_epoch: self.partition_epoch,
            isr,
        }
    }

    fn broker_epoch_of(&self, node: NodeId) -> BrokerEpoch {
        if node == self.settings.node {
            return self.settings.broker_epoch;
        }
        let remote = self.remotes.iter().find(|remote| remote.node == node);
        remote.map_or(BrokerEpoch::UNKNOWN, |remote| remote.broker_epoch)
    }

    /// An answer to a proposal that metadata has overtaken is too late to say anything.
    fn isr_answered(&mut self, number: u64, answer: IsrAnswer, out: &mut Vec<Output>) {
        let Some(asked) = self.isr.pending(number) else { return };
        match answer {
            IsrAnswer::Committed { leader_epoch, partition_epoch, isr } => {
                if leader_epoch == self.leader_epoch && partition_epoch >= self.partition_epoch {
                    self.partition_epoch = partition_epoch;
                    self.isr = Isr::new(isr);
                }
            }
            IsrAnswer::NotApplied => self.isr.roll_back(),
            IsrAnswer::Unknown => {}
            IsrAnswer::Retry => out.push(Output::ProposeIsr(asked.clone())),
        }
    }

    /// An older row is ignored. One of the same partition epoch says nothing new of the in-sync set, and a change under way
    /// goes on: forgetting it would count with the smaller set while the store may have taken the larger (KIP-497).
    fn registered(&mut self, now: Millis, registration: Registration) {
        let Registration { leader_epoch, partition_epoch, replicas, isr, min_isr } = registration;
        if partition_epoch < self.partition_epoch || leader_epoch < self.leader_epoch {
            return;
        }
        let before = self.leader_epoch;
        let newer_term = leader_epoch > before;
        if newer_term || partition_epoch > self.partition_epoch {
            self.isr = Isr::new(isr);
        }
        self.leader_epoch = leader_epoch;
        self.partition_epoch = partition_epoch;
        self.min_isr = min_isr;
        self.assign(now, &replicas);
        if newer_term {
            self.epoch_start = self.log_end;
            self.forget_followers(before, now);
        }
    }

    /// In a new leader epoch only followers in sync are still where they were, and only when nobody else led since `before`: then they may
    /// have cut their logs. One out of sync may have been removed and added again with an empty log (KIP-966).
    fn forget_followers(&mut self, before: LeaderEpoch, now: Millis) {
        let goes_on = self.leader_epoch.get().checked_sub(before.get()) == Some(1);
        for remote in &mut self.remotes {
            let membership = membership(&self.isr, remote.node);
            if goes_on && membership == Membership::In {
                remote.leader_goes_on(self.log_end, now);
            } else {
                *remote = Remote::new(remote.node, membership, now);
            }
        }
    }

    /// Knows a follower for every other replica, and for every member of the in-sync set whatever the assignment says.
    fn assign(&mut self, now: Millis, replicas: &[NodeId]) {
        let isr = &self.isr;
        self.remotes.retain(|remote| replicas.contains(&remote.node) || isr.contains(remote.node));
        for &node in replicas.iter().chain(isr.committed()) {
            let known = self.remotes.iter().any(|remote| remote.node == node);
            if node != self.settings.node && !known {
                self.remotes.push(Remote::new(node, membership(isr, node), now));
            }
        }
    }

    /// Moves the high watermark if it may move (R3). Under the minimum it stands still, so that whoever is elected from the
    /// replicas that were in sync has all of it (KIP-966).
    fn raise(&mut self, now: Millis) -> Option<Offset> {
        if self.isr.committed().len() < self.min_isr.get() {
            return None;
        }
        let (end, lag) = (self.log_end, self.settings.lag_time_max_ms);
        let holds = self.remotes.iter().map(|remote| match remote.end {
            None if self.isr.maximal_contains(remote.node) => Holds::Still,
            Some(at) if self.isr.maximal_contains(remote.node) => Holds::Below(at),
            // It is about to join: running away from it would keep it out for ever. A fenced one holds nothing (KAFKA-15021).
            Some(at)
                if remote.eligible(self.standing(remote.node))
                    && remote.caught_up(end, lag, now) =>
            {
                Holds::Below(at)
            }
            None | Some(_) => Holds::Nothing,
        });
        let raised = high_watermark::raised(self.high_watermark, end, holds)?;
        self.high_watermark = raised;
        Some(raised)
    }
}

fn membership(isr: &Isr, node: NodeId) -> Membership {
    if isr.contains(node) { Membership::In } else { Membership::Out }
}
