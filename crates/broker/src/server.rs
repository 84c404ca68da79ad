//! Accepts connections, counts them, and ends them all when told to.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hanbeon_wire::Advertised;
use parking_lot::Mutex;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    connection::{Connection, Ended, Service},
    intake::Intake,
    limits::Limits,
    metrics::ConnectionMetrics,
};

/// How long connections may take to finish what they have begun when the server stops.
const STOP_MS_MAX: u64 = 10_000;

/// Over which connections are counted.
const SECOND: Duration = Duration::from_secs(1);

/// The limits that count now.
pub(crate) type CurrentLimits = Box<dyn Fn() -> Limits + Send + Sync>;

/// A listening socket and what serves its connections.
pub(crate) struct Server<S> {
    listener: TcpListener,
    shared: Arc<Shared<S>>,
}

struct Shared<S> {
    service: S,
    advertised: Advertised,
    limits: CurrentLimits,
    intake: Intake,
    open: Mutex<OpenConnections>,
    metrics: ConnectionMetrics,
}

impl<S: Service> Server<S> {
    pub(crate) fn new(
        listener: TcpListener,
        service: S,
        advertised: Advertised,
        limits: CurrentLimits,
        metrics: ConnectionMetrics,
    ) -> Self {
        let intake = Intake::new(limits().queued_bytes_max);
        let open = Mutex::new(OpenConnections::default());
        let shared = Shared { service, advertised, limits, intake, open, metrics };
        Self { listener, shared: Arc::new(shared) }
    }

    /// Serves until `stop` turns true, then lets requests that were begun come to their end.
    pub(crate) async fn run(self, stop: watch::Receiver<bool>) {
        let mut connections = JoinSet::new();
        let mut stopping = stop.clone();
        let mut pace = Pace::new(Instant::now());
        while !*stopping.borrow() {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        let limits = (self.shared.limits)();
                        if let Some(seat) = Seat::take(&self.shared, &limits, &mut pace, peer.ip()) {
                            let stop = stop.clone();
                            connections.spawn(serve(seat, limits, stream, peer, stop));
                        }
                    }
                    // Out of file descriptors, or the client left before it was accepted: both pass.
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        sleep_until(Instant::now() + Duration::from_millis(50)).await;
                    }
                },
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                _ = stopping.changed() => {}
            }
        }
        drop(self.listener);
        let all = async { while connections.join_next().await.is_some() {} };
        if timeout(Duration::from_millis(STOP_MS_MAX), all).await.is_err() {
            tracing::warn!("some connections did not end in time and are cut");
        }
    }
}

async fn serve<S: Service>(
    seat: Seat<S>,
    limits: Limits,
    stream: TcpStream,
    peer: SocketAddr,
    stop: watch::Receiver<bool>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "TCP_NODELAY was refused");
    }
    let shared = &*seat.shared;
    let ended = Connection::new(
        (&shared.service, &shared.advertised),
        peer,
        limits,
        shared.intake.clone(),
        stream,
    )
    .run(stop)
    .await;
    shared.metrics.closed();
    match ended {
        Ended::ByClient | Ended::Shutdown | Ended::Idle { .. } => {
            tracing::debug!(%peer, %ended, "connection closed");
        }
        Ended::Io(error) => tracing::debug!(%peer, %error, "connection lost"),
        Ended::Wire(_)
        | Ended::Refused(_)
        | Ended::SlowRequest { .. }
        | Ended::SlowReader { .. } => {
            tracing::info!(%peer, %ended, "connection closed by the broker");
        }
    }
}

/// Connections that are open.
#[derive(Default)]
struct OpenConnections {
    all: usize,
    /// Of each address that has any.
    by_address: BTreeMap<IpAddr, usize>,
}

impl OpenConnections {
    fn of(&self, address: IpAddr) -> usize {
        self.by_address.get(&address).copied().unwrap_or(0)
    }

    fn add(&mut self, address: IpAddr) {
        self.all += 1;
        *self.by_address.entry(address).or_insert(0) += 1;
    }

    fn remove(&mut self, address: IpAddr) {
        if let Some(count) = self.by_address.get_mut(&address) {
            self.all -= 1;
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
    }
}

/// A place among the connections that are allowed; given back when dropped.
struct Seat<S> {
    shared: Arc<Shared<S>>,
    address: IpAddr,
}

impl<S> Seat<S> {
    /// Nobody is waited for: who comes when there is no place is refused, so that the next is looked at.
    fn take(
        shared: &Arc<Shared<S>>,
        limits: &Limits,
        pace: &mut Pace,
        address: IpAddr,
    ) -> Option<Self> {
        pace.go_on(Instant::now());
        let mut open = shared.open.lock();
        let refused = if open.all >= limits.connections_max {
            Some("max.connections")
        } else if open.of(address) >= limits.connections_per_address_max {
            Some("max.connections.per.ip")
        } else if !pace.admits(address, limits.connections_per_second_max) {
            Some("max.connection.creation.rate")
        } else {
            None
        };
        let Some(limit) = refused else {
            open.add(address);
            drop(open);
            shared.metrics.opened();
            return Some(Self { shared: Arc::clone(shared), address });
        };
        let all = open.all;
        drop(open);
        shared.metrics.refused();
        if pace.is_first_refusal() {
            tracing::warn!(%address, all, limit, "connection refused; more in this second are counted and not told");
        }
        None
    }
}

impl<S> Drop for Seat<S> {
    fn drop(&mut self) {
        self.shared.open.lock().remove(self.address);
    }
}

/// Holds the rate of new connections, second by second.
struct Pace {
    since: Instant,
    accepted: u32,
    /// No more addresses than connections were accepted in this second.
    by_address: BTreeMap<IpAddr, u32>,
    refused: bool,
}

impl Pace {
    const fn new(since: Instant) -> Self {
        Self { since, accepted: 0, by_address: BTreeMap::new(), refused: false }
    }

    /// Begins to count anew when a second is over.
    fn go_on(&mut self, now: Instant) {
        if now.duration_since(self.since) >= SECOND {
            *self = Self::new(now);
        }
    }

    /// Counts a new connection, unless its address has had as many in this second as are left for all. So one address gets half of them, two
    /// get a third each, and something is left for whoever comes next.
    fn admits(&mut self, address: IpAddr, per_second: u32) -> bool {
        let left = per_second.saturating_sub(self.accepted);
        let of_address = self.by_address.get(&address).copied().unwrap_or(0);
        if of_address >= left {
            return false;
        }
        self.accepted += 1;
        self.by_address.insert(address, of_address + 1);
        true
    }

    /// Whether nobody was refused in this second before.
    const fn is_first_refusal(&mut self) -> bool {
        !std::mem::replace(&mut self.refused, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_leaves_connections_for_others() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let mut admitted = |last| {
            let address = IpAddr::from([10, 0, 0, last]);
            (0..1000).filter(|_| pace.admits(address, 100)).count()
        };
        assert_eq!(admitted(1), 50);
        assert_eq!(admitted(2), 25);
        assert_eq!(admitted(1), 0);
        let others: Vec<_> = (3..20).map(&mut admitted).collect();
        assert_eq!(others[..5], [13, 6, 3, 2, 1]);
        assert_eq!(75 + others.iter().sum::<usize>(), 100);
    }

    #[test]
    fn the_smallest_rate_lets_somebody_in_each_second() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let address = IpAddr::from([10, 0, 0, 1]);
        assert!(pace.admits(address, 1));
        pace.go_on(start + SECOND / 2);
        assert!(!pace.admits(address, 1));
        assert!(pace.is_first_refusal());
        assert!(!pace.is_first_refusal());
        pace.go_on(start + SECOND);
        assert!(pace.admits(address, 1));
        assert!(pace.is_first_refusal());
    }
}
