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

/// A listening socket and what serves its connections.
pub(crate) struct Server<S> {
    listener: TcpListener,
    shared: Arc<Shared<S>>,
}

struct Shared<S> {
    service: S,
    advertised: Advertised,
    limits: Limits,
    intake: Intake,
    counts: Mutex<BTreeMap<IpAddr, usize>>,
    metrics: ConnectionMetrics,
}

impl<S: Service> Server<S> {
    pub(crate) fn new(
        listener: TcpListener,
        service: S,
        advertised: Advertised,
        limits: Limits,
        metrics: ConnectionMetrics,
    ) -> Self {
        let intake = Intake::new(limits.queued_bytes_max);
        let counts = Mutex::new(BTreeMap::new());
        let shared = Shared { service, advertised, limits, intake, counts, metrics };
        Self { listener, shared: Arc::new(shared) }
    }

    /// Serves until `stop` turns true, then lets requests that were begun come to their end.
    pub(crate) async fn run(self, stop: watch::Receiver<bool>) {
        let mut connections = JoinSet::new();
        let mut stopping = stop.clone();
        let mut pace = Pace::new(self.shared.limits.connections_per_second_max);
        while !*stopping.borrow() {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        pace.wait().await;
                        if let Some(seat) = Seat::take(&self.shared, peer.ip()) {
                            let stop = stop.clone();
                            connections.spawn(serve(seat, stream, peer, stop));
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
        shared.limits,
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

/// A place among the connections that are allowed; given back when dropped.
struct Seat<S> {
    shared: Arc<Shared<S>>,
    address: IpAddr,
}

impl<S> Seat<S> {
    fn take(shared: &Arc<Shared<S>>, address: IpAddr) -> Option<Self> {
        let limits = shared.limits;
        let mut counts = shared.counts.lock();
        let all: usize = counts.values().sum();
        let of_address = counts.entry(address).or_insert(0);
        if all >= limits.connections_max || *of_address >= limits.connections_per_address_max {
            if *of_address == 0 {
                counts.remove(&address);
            }
            drop(counts);
            shared.metrics.refused();
            tracing::warn!(%address, all, "connection refused: max.connections or max.connections.per.ip is reached");
            return None;
        }
        *of_address += 1;
        drop(counts);
        shared.metrics.opened();
        Some(Self { shared: Arc::clone(shared), address })
    }
}

impl<S> Drop for Seat<S> {
    fn drop(&mut self) {
        let mut counts = self.shared.counts.lock();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// Holds the rate of new connections.
struct Pace {
    per_second: u32,
    since: Instant,
    accepted: u32,
}

impl Pace {
    fn new(per_second: u32) -> Self {
        Self { per_second, since: Instant::now(), accepted: 0 }
    }

    async fn wait(&mut self) {
        self.accepted += 1;
        if self.accepted <= self.per_second {
            return;
        }
        sleep_until(self.since + SECOND).await;
        *self = Self { accepted: 1, ..Self::new(self.per_second) };
    }
}
