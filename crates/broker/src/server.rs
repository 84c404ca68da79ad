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
    task::{JoinError, JoinSet},
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
                Some(ended) = connections.join_next(), if !connections.is_empty() => {
                    tell_of_panic(ended);
                }
                // Nobody is left who could say it: nobody else could stop this server either.
                changed = stopping.changed() => if changed.is_err() { break },
            }
        }
        drop(self.listener);
        let all = async {
            while let Some(ended) = connections.join_next().await {
                tell_of_panic(ended);
            }
        };
        if timeout(Duration::from_millis(STOP_MS_MAX), all).await.is_err() {
            tracing::warn!("some connections did not end in time and are cut");
        }
    }
}

/// A panic ends one connection, and is a bug whatever the client did.
fn tell_of_panic(ended: Result<(), JoinError>) {
    let Err(error) = ended else { return };
    if let Ok(panic) = error.try_into_panic() {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied());
        tracing::error!(panic = said.unwrap_or("without words"), "a connection ended by a panic");
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
        seat.intake.clone(),
        stream,
    )
    .run(stop)
    .await;
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
    by_address: BTreeMap<IpAddr, FromAddress>,
}

/// The connections from one address.
struct FromAddress {
    open: usize,
    intake: Intake,
}

impl OpenConnections {
    fn of(&self, address: IpAddr) -> usize {
        self.by_address.get(&address).map_or(0, |from| from.open)
    }

    /// Counts one more, and says what those of its address share.
    fn add(&mut self, address: IpAddr, intake: &Intake) -> Intake {
        self.all += 1;
        let from = self
            .by_address
            .entry(address)
            .or_insert_with(|| FromAddress { open: 0, intake: intake.elsewhere() });
        from.open += 1;
        from.intake.clone()
    }

    fn remove(&mut self, address: IpAddr) {
        if let Some(from) = self.by_address.get_mut(&address) {
            self.all -= 1;
            from.open -= 1;
            if from.open == 0 {
                self.by_address.remove(&address);
            }
        }
    }
}

/// A place among the connections that are allowed; given back when dropped.
struct Seat<S> {
    shared: Arc<Shared<S>>,
    address: IpAddr,
    intake: Intake,
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
            let intake = open.add(address, &shared.intake);
            drop(open);
            shared.metrics.opened();
            return Some(Self { shared: Arc::clone(shared), address, intake });
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
        self.shared.metrics.closed();
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
    use std::fmt;

    use hanbeon_wire::Request;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tracing::{
        Event, Level, Metadata,
        field::{Field, Visit},
        span::{Attributes, Id, Record},
    };

    use super::*;
    use crate::connection::{Peer, Reply};

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

    /// Breaks at the first request.
    struct Breaks;

    impl Service for Breaks {
        fn start(&self, _peer: &Peer, _request: Request) -> Reply {
            panic!("planted")
        }

        fn joins(&self, _request: &Request) -> bool {
            false
        }

        fn start_together(&self, _requests: Vec<Request>) -> Vec<Reply> {
            Vec::new()
        }

        fn start_prepared(&self, _peer: &Peer, _request: Request) -> Reply {
            Reply::Nothing
        }
    }

    /// Keeps what the log says of errors.
    #[derive(Clone, Default)]
    struct Errors(Arc<Mutex<String>>);

    impl tracing::Subscriber for Errors {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            *metadata.level() == Level::ERROR
        }

        fn new_span(&self, _span: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _span: &Id, _values: &Record<'_>) {}

        fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

        fn event(&self, event: &Event<'_>) {
            struct Text<'a>(&'a mut String);
            impl Visit for Text<'_> {
                fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
                    self.0.push_str(&format!("{field}={value:?} "));
                }
            }
            event.record(&mut Text(&mut self.0.lock()));
        }

        fn enter(&self, _span: &Id) {}

        fn exit(&self, _span: &Id) {}
    }

    #[tokio::test]
    async fn a_panic_of_a_connection_is_in_the_log_and_the_connection_is_counted_out() {
        let errors = Errors::default();
        let _guard = tracing::subscriber::set_default(errors.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let metrics = ConnectionMetrics::default();
        let server = Server::new(
            listener,
            Breaks,
            Advertised::everything_readable(),
            Box::new(Limits::standard),
            metrics.clone(),
        );
        let (stop, stopping) = watch::channel(false);
        let served = tokio::spawn(server.run(stopping));
        let mut client = TcpStream::connect(address).await.unwrap();
        // ApiVersions 0 without a client id.
        client.write_all(&[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff]).await.unwrap();
        let mut rest = Vec::new();
        drop(client.read_to_end(&mut rest).await);
        stop.send_replace(true);
        served.await.unwrap();
        assert_eq!(rest, b"");
        let said = errors.0.lock().clone();
        assert!(said.contains("ended by a panic") && said.contains("planted"), "{said}");
        assert_eq!(metrics.open(), 0);
    }

    #[tokio::test]
    async fn a_server_that_nobody_can_stop_any_more_stops() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server::new(
            listener,
            Breaks,
            Advertised::everything_readable(),
            Box::new(Limits::standard),
            ConnectionMetrics::default(),
        );
        let (stop, stopping) = watch::channel(false);
        drop(stop);
        server.run(stopping).await;
    }
}
