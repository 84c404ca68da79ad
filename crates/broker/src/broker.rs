//! The broker as a whole: bound, serving, stopped.

use std::{future::Future, io, net::SocketAddr, sync::Arc};

use hanbeon::{Engine, Env, LogError, System};
use hanbeon_wire::Advertised;
use tokio::{net::TcpListener, sync::watch};

use crate::{
    Limits,
    dispatch::{Endpoint, Node, SERVED},
    metrics::{ConnectionMetrics, RequestMetrics},
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
}

impl BrokerOptions {
    /// Listens on `address` (port 0 takes a free one) and tells clients to connect there.
    pub const fn new(address: SocketAddr) -> Self {
        Self { listen: address, advertised: None, limits: Limits::standard() }
    }

    /// Tells clients to connect elsewhere (`advertised.listeners`).
    pub fn advertised(mut self, endpoint: Endpoint) -> Self {
        self.advertised = Some(endpoint);
        self
    }

    /// Other limits.
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
    /// The engine could not be shut down cleanly; the next start recovers.
    #[error(transparent)]
    Shutdown(#[from] LogError),
}

/// A broker that listens.
pub struct Broker<E: Env = System> {
    server: Server<Arc<Node<E>>>,
    engine: Engine<E>,
    local: SocketAddr,
}

impl<E: Env> Broker<E> {
    /// Binds the address. Connections are accepted from here on and answered once [`Broker::serve_until`] runs.
    ///
    /// # Errors
    /// [`BrokerError::Listen`].
    pub async fn bind(engine: Engine<E>, options: BrokerOptions) -> Result<Self, BrokerError> {
        let BrokerOptions { listen, advertised, limits } = options;
        let refused = |source| BrokerError::Listen { address: listen, source };
        let listener = TcpListener::bind(listen).await.map_err(refused)?;
        let local = listener.local_addr().map_err(refused)?;
        let endpoint = advertised
            .unwrap_or_else(|| Endpoint { host: local.ip().to_string(), port: local.port() });
        // Session ids of two lives of the broker shall not be taken for each other.
        let first_session = i32::try_from(engine.now().get().rem_euclid(1 << 30)).unwrap_or(0);
        let node = Arc::new(Node {
            engine: engine.clone(),
            endpoint,
            advertised: Advertised::new(SERVED),
            sessions: Arc::new(Sessions::new(limits.fetch_sessions_max, first_session)),
            metrics: RequestMetrics::new(),
        });
        let advertised = node.advertised.clone();
        let server = Server::new(listener, node, advertised, limits, ConnectionMetrics::default());
        Ok(Self { server, engine, local })
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// Serves until `stop` resolves, answers what was begun, and shuts the engine down.
    ///
    /// # Errors
    /// [`BrokerError::Shutdown`].
    pub async fn serve_until(
        self,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), BrokerError> {
        let (stopped, watch) = watch::channel(false);
        let stopping = tokio::spawn(async move {
            stop.await;
            stopped.send_replace(true);
            // The sender lives until every connection has seen the change.
            stopped.closed().await;
        });
        self.server.run(watch).await;
        stopping.abort();
        self.engine.shutdown()?;
        Ok(())
    }
}

impl<E: Env> std::fmt::Debug for Broker<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").field("local", &self.local).finish_non_exhaustive()
    }
}
