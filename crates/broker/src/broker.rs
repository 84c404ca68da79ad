//! The broker as a whole: bound, serving, stopped.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    panic::resume_unwind,
    sync::Arc,
    thread,
};

use hanbeon::{Engine, Env, LogError, System};
use hanbeon_wire::Advertised;
use prometheus_client::registry::Registry;
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
};

use crate::{
    Limits,
    blocking::Blocking,
    dispatch::{Endpoint, Node, SERVED},
    metrics::{ConnectionMetrics, Counted, RequestMetrics},
    page,
    server::Server,
    sessions::Sessions,
};

/// How a broker is started.
#[derive(Clone, Debug)]
#[must_use]
pub struct BrokerOptions {
    listen: SocketAddr,
    advertised: Option<Endpoint>,
    limits: Limits,
    metrics: Option<SocketAddr>,
    filtered_clients: Vec<String>,
}

impl BrokerOptions {
    /// Listens on `address` (port 0 takes a free one) and tells clients to connect there. Where that is all addresses of this machine,
    /// `0.0.0.0` or `[::]`, clients must be [told an address](Self::advertised).
    pub const fn new(address: SocketAddr) -> Self {
        Self {
            listen: address,
            advertised: None,
            limits: Limits::standard(),
            metrics: None,
            filtered_clients: Vec::new(),
        }
    }

    /// Tells clients to connect elsewhere (`advertised.listeners`).
    pub fn advertised(mut self, endpoint: Endpoint) -> Self {
        self.advertised = Some(endpoint);
        self
    }

    /// Serves a page for Prometheus, `GET /metrics`, at an address of its own. It asks nobody who they are: keep it on a loopback address,
    /// or behind something that does.
    pub const fn metrics(mut self, address: SocketAddr) -> Self {
        self.metrics = Some(address);
        self
    }

    /// Gives clients with these ids committed data only, and leaves aborted data out of it: for clients that cannot read committed data
    /// themselves.
    pub fn filter_aborted_for(mut self, clients: Vec<String>) -> Self {
        self.filtered_clients = clients;
        self
    }

    /// Whether clients can be told to connect where these options say; [`Broker::bind`] looks, too.
    ///
    /// # Errors
    /// [`BrokerError::Nowhere`].
    pub fn check(&self) -> Result<(), BrokerError> {
        let told = match &self.advertised {
            Some(endpoint) => endpoint.host.parse().ok(),
            None => Some(self.listen.ip()),
        };
        match told {
            Some(address) if address.to_canonical().is_unspecified() => {
                Err(BrokerError::Nowhere { address })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Other limits, where the engine was not told otherwise by a key of Kafka's.
    pub const fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }
}

/// Why a broker did not start or not stop cleanly.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// The address could not be bound.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Clients would be told to connect to an address that names no machine.
    #[error(
        "{address} stands for every address of this machine, and clients cannot connect to it: \
         give advertised.listeners=PLAINTEXT://HOST:PORT with the name or address under which they reach this broker"
    )]
    Nowhere {
        /// The address.
        address: IpAddr,
    },
    /// The engine could not be shut down cleanly; the next start recovers.
    #[error(transparent)]
    Shutdown(#[from] LogError),
}

/// A broker that listens.
pub struct Broker<E: Env = System> {
    server: Server<Arc<Node<E>>>,
    page: Option<(TcpListener, SocketAddr, Arc<Registry>)>,
    engine: Engine<E>,
    local: SocketAddr,
    stop: watch::Sender<bool>,
    stopping: watch::Receiver<bool>,
}

impl<E: Env> Broker<E> {
    /// Binds the address. Connections are accepted from here on and answered once [`Broker::serve_until`] runs.
    ///
    /// # Errors
    /// [`BrokerError::Listen`], [`BrokerError::Nowhere`].
    pub async fn bind(engine: Engine<E>, options: BrokerOptions) -> Result<Self, BrokerError> {
        options.check()?;
        let BrokerOptions { listen, advertised, limits, metrics, filtered_clients } = options;
        let (listener, local) = listen_on(listen).await?;
        let page = match metrics {
            Some(address) => Some(listen_on(address).await?),
            None => None,
        };
        let endpoint = advertised
            .unwrap_or_else(|| Endpoint { host: local.ip().to_string(), port: local.port() });
        // Session ids of two lives of the broker shall not be taken for each other.
        let first_session = i32::try_from(engine.now().get().rem_euclid(1 << 30)).unwrap_or(0);
        let (stop, stopping) = watch::channel(false);
        let now = limits.with_given(&engine.settings());
        let node = Arc::new(Node {
            engine: engine.clone(),
            local,
            endpoint,
            advertised: advertised_apis(&engine),
            sessions: Arc::new(Sessions::new(now.fetch_sessions_max, first_session)),
            metrics: RequestMetrics::new(),
            blocking: Blocking::new(),
            filtered_clients,
            answer_bytes_max: now.answer_bytes_max,
            fetch_bytes_max: now.fetch_bytes_max,
            fetch_wait_ms_max: now.idle_ms_max,
        });
        let connections = ConnectionMetrics::default();
        let page = page.map(|(listener, address)| {
            let mut registry = Registry::default();
            registry.register_collector(Box::new(Counted {
                engine: engine.clone(),
                sessions: Arc::clone(&node.sessions),
                requests: node.metrics.clone(),
                connections: connections.clone(),
            }));
            (listener, address, Arc::new(registry))
        });
        let advertised = node.advertised.clone();
        let asked = engine.clone();
        let limits = Box::new(move || limits.with_given(&asked.settings()));
        let server = Server::new(listener, node, advertised, limits, connections);
        Ok(Self { server, page, engine, local, stop, stopping })
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// Where the page for Prometheus is, if there is one.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.page.as_ref().map(|(_, address, _)| *address)
    }

    /// Serves until `stop` resolves, answers what was begun, and shuts the engine down.
    ///
    /// # Errors
    /// [`BrokerError::Shutdown`].
    pub async fn serve_until(
        self,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), BrokerError> {
        let Self { server, page, engine, stop: stopped, stopping, .. } = self;
        let watching = tokio::spawn(async move {
            stop.await;
            stopped.send_replace(true);
        });
        let page = page.map(|(listener, _, registry)| {
            tokio::spawn(page::serve(listener, registry, stopping.clone()))
        });
        server.run(stopping).await;
        watching.abort();
        if let Some(page) = page {
            page.abort();
        }
        Ok(shut_down(engine).await?)
    }
}

/// It syncs and closes every log: long enough to be in the way of whatever else runs here. The thread is its own, since those of the runtime
/// may all be taken by requests that wait for the same locks.
async fn shut_down<E: Env>(engine: Engine<E>) -> Result<(), LogError> {
    let (done, ended) = oneshot::channel();
    let stopping = engine.clone();
    let shutdown = thread::Builder::new()
        .name("hanbeon-shutdown".to_owned())
        .spawn(move || drop(done.send(stopping.shutdown())));
    let thread = match shutdown {
        Ok(thread) => thread,
        Err(error) => {
            tracing::warn!(%error, "no thread for the shutdown");
            return engine.shutdown();
        }
    };
    match ended.await {
        Ok(result) => result,
        Err(_) => match thread.join() {
            Ok(()) => engine.shutdown(),
            Err(panicked) => resume_unwind(panicked),
        },
    }
}

/// What is served; unstable versions only where the configuration asks for them, as in Kafka.
fn advertised_apis<E: Env>(engine: &Engine<E>) -> Advertised {
    let stable = Advertised::new(SERVED);
    match engine.settings().flag("unstable.api.versions.enable") {
        Some(true) => stable.with_unstable_versions(),
        Some(false) | None => stable,
    }
}

async fn listen_on(address: SocketAddr) -> Result<(TcpListener, SocketAddr), BrokerError> {
    let refused = |source| BrokerError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    let local = listener.local_addr().map_err(refused)?;
    Ok((listener, local))
}

impl<E: Env> std::fmt::Debug for Broker<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").field("local", &self.local).finish_non_exhaustive()
    }
}
