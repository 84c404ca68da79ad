//! What the leader knows of one follower.

use hanbeon_records::{BrokerEpoch, Millis, NodeId, Offset};

/// Whether a broker may enter an in-sync set, as the metadata tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Registered under this epoch, not fenced, not shutting down.
    Fit(BrokerEpoch),
    /// Registered under this epoch, but fenced or in controlled shutdown (KIP-841).
    Unfit(BrokerEpoch),
    /// No registration is known.
    Unknown,
}

/// One follower, judged by its fetches.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    pub(crate) node: NodeId,
    /// Where it fetched from last: everything below is in its log. None until it fetched from this leader.
    pub(crate) end: Option<Offset>,
    pub(crate) log_start: Option<Offset>,
    /// The leader's end at its last fetch.
    last_fetch_leader_end: Option<Offset>,
    last_fetch: Millis,
    /// The last moment at which it had all that the leader had.
    last_caught_up: Millis,
    pub(crate) broker_epoch: BrokerEpoch,
}

/// Whether a follower is in the committed in-sync set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Membership {
    In,
    Out,
}

const LONG_AGO: Millis = Millis::new(0);

impl Remote {
    /// A follower of a broker that was not the leader before. Members of the in-sync set get grace from `now` on.
    pub(crate) const fn new(node: NodeId, membership: Membership, now: Millis) -> Self {
        let last_caught_up = match membership {
            Membership::In => now,
            Membership::Out => LONG_AGO,
        };
        Self {
            node,
            end: None,
            log_start: None,
            last_fetch_leader_end: None,
            last_fetch: LONG_AGO,
            last_caught_up,
            broker_epoch: BrokerEpoch::UNKNOWN,
        }
    }

    /// The same broker leads on in the next leader epoch, and this is a follower in sync.
    pub(crate) const fn leader_goes_on(&mut self, leader_end: Offset, now: Millis) {
        self.last_fetch_leader_end = Some(leader_end);
        self.last_fetch = now;
        self.last_caught_up = now;
    }

    /// Notes a fetch that is not diverging. A busy follower that always trails by one batch stays in: it is judged by when
    /// it reached what the leader had at the fetch before (KAFKA-4485).
    pub(crate) fn fetched(&mut self, from: Offset, leader_end: Offset, now: Millis) {
        if from >= leader_end {
            self.last_caught_up = self.last_caught_up.max(now);
        } else if self.last_fetch_leader_end.is_some_and(|end| from >= end) {
            self.last_caught_up = self.last_caught_up.max(self.last_fetch);
        }
        self.last_fetch_leader_end = self.last_fetch_leader_end.max(Some(leader_end));
        self.last_fetch = now;
        self.end = Some(from);
    }

    pub(crate) fn caught_up(&self, leader_end: Offset, lag_time_max_ms: i64, now: Millis) -> bool {
        self.end == Some(leader_end) || now.since(self.last_caught_up) <= lag_time_max_ms
    }

    /// Whether the metadata lets it into an in-sync set, and the life that fetched is the registered one (KIP-903).
    pub(crate) fn eligible(&self, standing: Standing) -> bool {
        match standing {
            Standing::Fit(epoch) => {
                self.broker_epoch == BrokerEpoch::UNKNOWN || self.broker_epoch == epoch
            }
            Standing::Unfit(_) | Standing::Unknown => false,
        }
    }
}
