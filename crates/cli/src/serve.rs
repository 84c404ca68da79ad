//! `hanbeon serve`.

use std::{
    fs,
    io::{self, Write},
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
    process::ExitCode,
};

use clap::Args;
use hanbeon::{ConfigError, Engine, OpenError, Options, registry};
use hanbeon_broker::{Broker, BrokerError, BrokerOptions, Endpoint};
use hanbeon_records::NodeId;
use tokio::{
    runtime,
    signal::unix::{Signal, SignalKind, signal},
};

use crate::{complain, properties};

/// Where the data lies when nobody says otherwise.
const DATA_DIR: &str = "./hanbeon-data";
/// Where the broker listens when nobody says otherwise.
const LISTEN: &str = "127.0.0.1:9092";
/// Where the page for Prometheus is, `HOST:PORT`, or `:PORT` on this machine only; none when it is not given. Kafka does not have this key, nor the next.
const METRICS_LISTENER: &str = "hanbeon.metrics.listener";
/// Kafka's key for the names of listeners that are its controllers'.
const CONTROLLER_LISTENERS: &str = "controller.listener.names";
/// Kafka's key for the protocol that the name of a listener stands for: `NAME:PROTOCOL,...`.
const PROTOCOL_MAP: &str = "listener.security.protocol.map";
/// The protocol that is served, and the name of its listener.
const PLAINTEXT: &str = "PLAINTEXT";
/// Client ids, separated by commas, that get committed data only, with aborted data left out: for clients that cannot sort it out.
const FILTER_ABORTED: &str = "hanbeon.filter.aborted.clients";

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// The data directory; made when it is not there [default: ./hanbeon-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The address to accept connections on; port 0 takes a free one [default: 127.0.0.1:9092]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// A file with Kafka's keys, written like its server.properties
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One of Kafka's keys; overrides the file
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Why the broker did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error("{file} cannot be read")]
    File { file: String, source: io::Error },
    #[error("{file}: {source}")]
    Properties { file: String, source: properties::NoSetting },
    #[error("--set takes KEY=VALUE, found {found:?}")]
    Set { found: String },
    #[error("{key}: an address is HOST:PORT or PLAINTEXT://HOST:PORT, found {found:?}")]
    Address { key: &'static str, found: String },
    #[error("{key}: only PLAINTEXT is served, found {found:?}")]
    Protocol { key: &'static str, found: String },
    #[error(
        "{PROTOCOL_MAP}: the listener PLAINTEXT is served without TLS and SASL, so it has to be mapped to PLAINTEXT, found {found:?}; \
         put PLAINTEXT:PLAINTEXT there, or leave the key out"
    )]
    Mapped { found: String },
    #[error("{key}: one value is supported, found {found:?}")]
    One { key: &'static str, found: String },
    #[error("{key}: {found:?} is no number of a node; it is 0 or more")]
    Node { key: &'static str, found: String },
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error("the runtime could not be started")]
    Runtime(#[source] io::Error),
    #[error("signals cannot be waited for")]
    Signals(#[source] io::Error),
}

impl ServeError {
    /// 2 for what the caller has to write differently, 1 for what failed.
    const fn status(&self) -> u8 {
        match self {
            Self::File { .. }
            | Self::Properties { .. }
            | Self::Set { .. }
            | Self::Address { .. }
            | Self::Protocol { .. }
            | Self::Mapped { .. }
            | Self::One { .. }
            | Self::Node { .. }
            | Self::Config(_)
            | Self::Open(OpenError::Config(_))
            | Self::Broker(BrokerError::Nowhere { .. }) => 2,
            Self::Open(_) | Self::Broker(_) | Self::Runtime(_) | Self::Signals(_) => 1,
        }
    }
}

/// What the settings come to.
struct Plan {
    data_dir: PathBuf,
    /// `log.dirs`, and `log.dir`, which counts where the other is not given.
    log_dirs: Option<PathBuf>,
    log_dir: Option<PathBuf>,
    listen: SocketAddr,
    advertised: Option<Endpoint>,
    metrics: Option<SocketAddr>,
    filtered_clients: Vec<String>,
    /// Names of listeners that are those of Kafka's controllers.
    controllers: Vec<String>,
    options: Options,
}

impl Serve {
    pub(crate) fn run(self) -> ExitCode {
        tracing_subscriber::fmt()
            .with_writer(io::stderr)
            // It would say so on standard error again, and panic where nobody reads that any more.
            .log_internal_errors(false)
            .with_env_filter(
                tracing_subscriber::EnvFilter::try_from_default_env()
                    .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info")),
            )
            .init();
        match self.plan().and_then(serve) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complain(&error);
                ExitCode::from(error.status())
            }
        }
    }

    fn plan(&self) -> Result<Plan, ServeError> {
        let mut plan = Plan {
            data_dir: PathBuf::from(DATA_DIR),
            log_dirs: None,
            log_dir: None,
            listen: address("--listen", LISTEN)?,
            advertised: None,
            metrics: None,
            filtered_clients: Vec::new(),
            controllers: Vec::new(),
            options: Options::broker().helpers(1),
        };
        let settings = self.settings()?;
        for (key, value) in &settings {
            if key == CONTROLLER_LISTENERS {
                plan.controllers = entries(value).map(str::to_owned).collect();
            }
        }
        for (key, value) in settings {
            plan = plan.with(&key, value)?;
        }
        let said = self.data_dir.as_ref().or(plan.log_dirs.as_ref()).or(plan.log_dir.as_ref());
        if let Some(dir) = said {
            plan.data_dir.clone_from(dir);
        }
        if let Some(text) = &self.listen {
            plan.listen = address("--listen", text)?;
        }
        Ok(plan)
    }

    /// The file's settings, then those of the command line.
    fn settings(&self) -> Result<Vec<(String, String)>, ServeError> {
        let mut settings = Vec::new();
        if let Some(path) = &self.config {
            let file = path.display().to_string();
            let text = fs::read_to_string(path)
                .map_err(|source| ServeError::File { file: file.clone(), source })?;
            settings = properties::parse(&text)
                .map_err(|source| ServeError::Properties { file, source })?;
        }
        for text in &self.set {
            let (key, value) =
                text.split_once('=').ok_or_else(|| ServeError::Set { found: text.clone() })?;
            settings.push((key.trim().to_owned(), value.trim().to_owned()));
        }
        Ok(settings)
    }
}

impl Plan {
    fn with(mut self, key: &str, value: String) -> Result<Self, ServeError> {
        if key == METRICS_LISTENER {
            self.metrics = Some(metrics_listener(value.trim())?);
            return Ok(self);
        }
        if key == FILTER_ABORTED {
            self.filtered_clients = entries(&value).map(str::to_owned).collect();
            return Ok(self);
        }
        // Known keys only, whoever reads them.
        if registry::unused_key(key).is_none() {
            registry::broker_key(key)?;
        }
        match key {
            "log.dirs" => self.log_dirs = Some(one("log.dirs", value)?.into()),
            "log.dir" => self.log_dir = Some(one("log.dir", value)?.into()),
            PROTOCOL_MAP => {
                plain_by(&value)?;
                self.options = self.options.set(key, value)?;
            }
            "listeners" => {
                let text = one("listeners", self.without_controllers(&value))?;
                self.listen = listener("listeners", &text)?;
            }
            "advertised.listeners" => {
                let text = one("advertised.listeners", self.without_controllers(&value))?;
                self.advertised = Some(endpoint("advertised.listeners", &text)?);
            }
            "node.id" => self.options = self.options.node_id(node("node.id", &value)?),
            "broker.id" if value.trim() == "-1" => {}
            "broker.id" => self.options = self.options.node_id(node("broker.id", &value)?),
            _ => self.options = self.options.set(key, value)?,
        }
        Ok(self)
    }

    /// The listeners of a list that are the broker's.
    fn without_controllers(&self, listeners: &str) -> String {
        let is_controllers = |entry: &str| {
            let name = entry.split_once("://").map_or("", |(name, _)| name);
            self.controllers.iter().any(|controller| controller.eq_ignore_ascii_case(name))
        };
        let served: Vec<&str> = entries(listeners).filter(|entry| !is_controllers(entry)).collect();
        served.join(",")
    }
}

fn entries(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

fn one(key: &'static str, value: String) -> Result<String, ServeError> {
    if value.contains(',') || value.trim().is_empty() {
        return Err(ServeError::One { key, found: value });
    }
    Ok(value.trim().to_owned())
}

fn node(key: &'static str, text: &str) -> Result<NodeId, ServeError> {
    match text.trim().parse() {
        Ok(number @ 0..) => Ok(NodeId::new(number)),
        Ok(_) | Err(_) => Err(ServeError::Node { key, found: text.to_owned() }),
    }
}

/// `PLAINTEXT://HOST:PORT` without its protocol.
fn plaintext<'a>(key: &'static str, text: &'a str) -> Result<&'a str, ServeError> {
    match text.split_once("://") {
        Some((PLAINTEXT, rest)) => Ok(rest),
        Some(_) => Err(ServeError::Protocol { key, found: text.to_owned() }),
        None => Ok(text),
    }
}

/// Refuses a map by which the one listener would have to be served in another way: who asked for TLS must not get plain text.
fn plain_by(map: &str) -> Result<(), ServeError> {
    let pairs = entries(map).map(|entry| entry.split_once(':').unwrap_or((entry, "")));
    let mut protocols = pairs
        .filter(|(name, _)| name.trim().eq_ignore_ascii_case(PLAINTEXT))
        .map(|(_, protocol)| protocol.trim())
        .peekable();
    let is_plain = protocols.peek().is_some()
        && protocols.all(|protocol| protocol.eq_ignore_ascii_case(PLAINTEXT));
    if is_plain { Ok(()) } else { Err(ServeError::Mapped { found: map.to_owned() }) }
}

fn listener(key: &'static str, text: &str) -> Result<SocketAddr, ServeError> {
    let rest = plaintext(key, text)?;
    // Kafka's "PLAINTEXT://:9092" means every interface.
    match rest.strip_prefix(':') {
        Some(port) => address(key, &format!("0.0.0.0:{port}")),
        None => address(key, rest),
    }
}

fn metrics_listener(text: &str) -> Result<SocketAddr, ServeError> {
    match text.strip_prefix(':') {
        Some(port) => address(METRICS_LISTENER, &format!("127.0.0.1:{port}")),
        None => address(METRICS_LISTENER, text),
    }
}

fn address(key: &'static str, text: &str) -> Result<SocketAddr, ServeError> {
    let refused = || ServeError::Address { key, found: text.to_owned() };
    text.to_socket_addrs().ok().and_then(|mut found| found.next()).ok_or_else(refused)
}

fn endpoint(key: &'static str, text: &str) -> Result<Endpoint, ServeError> {
    let refused = || ServeError::Address { key, found: text.to_owned() };
    let (host, port) = plaintext(key, text)?.rsplit_once(':').ok_or_else(refused)?;
    let port = port.parse().ok().ok_or_else(refused)?;
    if host.is_empty() {
        return Err(refused());
    }
    Ok(Endpoint { host: host.trim_matches(['[', ']']).to_owned(), port })
}

fn serve(plan: Plan) -> Result<(), ServeError> {
    let Plan { data_dir, listen, advertised, metrics, filtered_clients, options, .. } = plan;
    if !listen.ip().is_loopback() {
        tracing::warn!(
            %listen,
            "listening beyond this machine without TLS or authentication: anyone who can reach the port can read, write and delete"
        );
    }
    let mut served = BrokerOptions::new(listen).filter_aborted_for(filtered_clients);
    if let Some(endpoint) = advertised {
        served = served.advertised(endpoint);
    }
    if let Some(address) = metrics {
        if !address.ip().is_loopback() {
            tracing::warn!(%address, "the metrics page is open to anyone who can reach the port");
        }
        served = served.metrics(address);
    }
    // Before there is a data directory.
    served.check()?;
    let runtime =
        runtime::Builder::new_multi_thread().enable_all().build().map_err(ServeError::Runtime)?;
    let engine = Engine::open_with(&data_dir, options)?;
    runtime.block_on(async move {
        let broker = Broker::bind(engine, served).await?;
        if let Some(address) = broker.metrics_address() {
            tracing::info!("metrics at http://{address}/metrics");
        }
        // Before anybody can know of it: who reads the line may send a signal at once.
        let signals = StopSignals::new().map_err(ServeError::Signals)?;
        announce(broker.local_address());
        broker.serve_until(signals.first()).await?;
        Ok(())
    })
}

/// The one line on standard output, as scripts wait for it. Where nobody reads it nobody waits.
fn announce(address: SocketAddr) {
    let mut stdout = io::stdout();
    drop(writeln!(stdout, "hanbeon listening on {address}").and_then(|()| stdout.flush()));
}

/// SIGTERM and Ctrl-C, which do not end the process from here on.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Resolves at the first; a second one ends the process at once.
    async fn first(mut self) {
        self.next().await;
        tracing::info!("stopping; a second signal stops at once");
        tokio::spawn(async move {
            self.next().await;
            tracing::warn!("stopped at once; the next start recovers");
            std::process::exit(1);
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn told(data_dir: Option<&str>, set: &[&str]) -> Plan {
        let serve = Serve {
            data_dir: data_dir.map(PathBuf::from),
            listen: None,
            config: None,
            set: set.iter().map(|text| (*text).to_owned()).collect(),
        };
        serve.plan().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn log_dir_counts_where_log_dirs_is_not_given() {
        let dir = |data_dir, set: &[&str]| told(data_dir, set).data_dir.display().to_string();
        assert_eq!(dir(None, &[]), DATA_DIR);
        assert_eq!(dir(None, &["log.dir=/a"]), "/a");
        for set in [["log.dir=/a", "log.dirs=/b"], ["log.dirs=/b", "log.dir=/a"]] {
            assert_eq!(dir(None, &set), "/b", "in either order");
            assert_eq!(dir(Some("/c"), &set), "/c");
        }
    }

    #[test]
    fn a_listener_that_is_mapped_to_another_protocol_is_not_served_in_plain_text() {
        let plan = |map: &str| {
            let set = vec![
                "listeners=PLAINTEXT://127.0.0.1:9092".to_owned(),
                format!("listener.security.protocol.map={map}"),
            ];
            Serve { data_dir: None, listen: None, config: None, set }.plan().err()
        };
        for map in ["PLAINTEXT:PLAINTEXT", "SSL:SSL, plaintext : plaintext"] {
            assert!(plan(map).is_none(), "{map}");
        }
        let twice = "PLAINTEXT:PLAINTEXT,PLAINTEXT:SSL";
        for map in
            ["PLAINTEXT:SASL_SSL", "SSL:SSL,PLAINTEXT:SSL", twice, "PLAINTEXT", "SSL:SSL", ""]
        {
            let error = plan(map).unwrap_or_else(|| panic!("{map:?} is taken"));
            assert_eq!(error.status(), 2);
            let told = error.to_string();
            assert!(told.contains(&format!("found {map:?}")), "{told}");
            assert!(told.contains("put PLAINTEXT:PLAINTEXT there"), "{told}");
        }
    }

    #[test]
    fn settings_that_do_not_go_together_are_wrong_usage() {
        let home = tempfile::tempdir().unwrap();
        let mut plan = told(
            home.path().to_str(),
            &["log.cleaner.min.compaction.lag.ms=10", "log.cleaner.max.compaction.lag.ms=9"],
        );
        // Taken, so that one that opened would not listen for ever.
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        plan.listen = taken.local_addr().unwrap();
        assert_eq!(serve(plan).unwrap_err().status(), 2);
    }
}
