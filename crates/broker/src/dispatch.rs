//! From a request to whoever answers it.

use std::{fmt, net::SocketAddr, sync::Arc};

use bytes::BytesMut;
use hanbeon::{Engine, Env};
use hanbeon_wire::{
    Advertised, Answer, ApiKey, ApiVersionsRequest, ReplyTo, Request, WireError, write_api_versions,
};

use crate::{
    admin,
    answer_size::AnswerSize,
    blocking::{Blocking, Kind},
    connection::{Peer, Prepared, Reply, Service},
    fetch, groups,
    metrics::RequestMetrics,
    produce::{self, Unready, Writes},
    sessions::Sessions,
    transactions,
};

/// The APIs that are answered in earnest, and so advertised.
pub(crate) const SERVED: &[ApiKey] = &[
    ApiKey::Produce,
    ApiKey::Fetch,
    ApiKey::ListOffsets,
    ApiKey::Metadata,
    ApiKey::ApiVersions,
    ApiKey::CreateTopics,
    ApiKey::DeleteTopics,
    ApiKey::DeleteRecords,
    ApiKey::OffsetCommit,
    ApiKey::OffsetFetch,
    ApiKey::FindCoordinator,
    ApiKey::JoinGroup,
    ApiKey::Heartbeat,
    ApiKey::LeaveGroup,
    ApiKey::SyncGroup,
    ApiKey::SaslHandshake,
    ApiKey::DescribeGroups,
    ApiKey::ListGroups,
    ApiKey::DeleteGroups,
    ApiKey::OffsetDelete,
    ApiKey::TxnOffsetCommit,
    ApiKey::InitProducerId,
    ApiKey::AddPartitionsToTxn,
    ApiKey::AddOffsetsToTxn,
    ApiKey::EndTxn,
    ApiKey::WriteTxnMarkers,
    ApiKey::DescribeTransactions,
    ApiKey::ListTransactions,
    ApiKey::ConsumerGroupHeartbeat,
    ApiKey::ConsumerGroupDescribe,
    ApiKey::OffsetForLeaderEpoch,
    ApiKey::DescribeConfigs,
    ApiKey::AlterConfigs,
    ApiKey::IncrementalAlterConfigs,
    ApiKey::CreatePartitions,
    ApiKey::ElectLeaders,
    ApiKey::DescribeLogDirs,
    ApiKey::DescribeCluster,
    ApiKey::DescribeProducers,
    ApiKey::DescribeTopicPartitions,
    ApiKey::ListConfigResources,
    ApiKey::UpdateFeatures,
];

/// Where clients are told to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// As `advertised.listeners` has it.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') {
            write!(f, "PLAINTEXT://[{host}]:{port}")
        } else {
            write!(f, "PLAINTEXT://{host}:{port}")
        }
    }
}

/// What every request may need.
pub(crate) struct Node<E: Env> {
    pub(crate) engine: Engine<E>,
    /// Where it listens.
    pub(crate) local: SocketAddr,
    /// Where clients are told to connect.
    pub(crate) endpoint: Endpoint,
    pub(crate) advertised: Advertised,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) metrics: RequestMetrics,
    pub(crate) blocking: Blocking,
    /// Clients that get committed data only, with aborted data left out, whatever they ask for.
    pub(crate) filtered_clients: Vec<String>,
    /// Bytes that one answer may describe ([`crate::Limits::answer_bytes_max`]).
    pub(crate) answer_bytes_max: usize,
    /// Bytes of records that one answer to Fetch carries ([`crate::Limits::fetch_bytes_max`]).
    pub(crate) fetch_bytes_max: usize,
    /// Milliseconds that a Fetch waits for data at most: who sends nothing for longer is idle ([`crate::Limits::idle_ms_max`]).
    pub(crate) fetch_wait_ms_max: u64,
}

impl<E: Env> Node<E> {
    /// For an answer that describes what a request names.
    pub(crate) const fn answer_size(&self) -> AnswerSize {
        AnswerSize::new(self.answer_bytes_max)
    }
}

impl<E: Env> Service for Arc<Node<E>> {
    fn start(&self, peer: &Peer, request: Request) -> Reply {
        let ReplyTo { api, version, .. } = request.reply_to;
        self.metrics.count(api);
        tracing::trace!(%api, version, "request");
        let Unready { partitions, coordinator_of, writes } = if api == ApiKey::Produce {
            produce::unready(&self.engine, &request)
        } else if api == ApiKey::Fetch {
            let partitions = fetch::unopened(&self.engine, &request);
            Unready { partitions, ..Unready::nothing() }
        } else {
            Unready::nothing()
        };
        if partitions.is_empty() && coordinator_of.is_none() {
            return match writes {
                Writes::Fast => self.start_prepared(peer, request),
                Writes::Slow => {
                    Reply::Prepare(Box::pin(begun_elsewhere(Self::clone(self), request)))
                }
            };
        }
        open_first(Self::clone(self), Unready { partitions, coordinator_of, writes }, request)
    }

    fn joins(&self, request: &Request) -> bool {
        produce::joins(&self.engine, request)
    }

    fn start_together(&self, requests: Vec<Request>) -> Vec<Reply> {
        for request in &requests {
            self.metrics.count(request.reply_to.api);
        }
        produce::start_together(self, requests)
    }

    fn start_prepared(&self, peer: &Peer, request: Request) -> Reply {
        let api = request.reply_to.api;
        #[expect(clippy::wildcard_enum_match_arm, reason = "all others have their own module")]
        match api {
            ApiKey::Produce => produce::start(self, request),
            ApiKey::Fetch => fetch::start(self, &request),
            ApiKey::ApiVersions => finished(api, self.api_versions(&request)),
            ApiKey::InitProducerId
            | ApiKey::AddPartitionsToTxn
            | ApiKey::AddOffsetsToTxn
            | ApiKey::EndTxn
            | ApiKey::WriteTxnMarkers
            | ApiKey::DescribeTransactions
            | ApiKey::ListTransactions => transactions::start(self, request),
            ApiKey::FindCoordinator
            | ApiKey::JoinGroup
            | ApiKey::SyncGroup
            | ApiKey::Heartbeat
            | ApiKey::LeaveGroup
            | ApiKey::DescribeGroups
            | ApiKey::ListGroups
            | ApiKey::DeleteGroups
            | ApiKey::OffsetCommit
            | ApiKey::OffsetFetch
            | ApiKey::OffsetDelete
            | ApiKey::TxnOffsetCommit
            | ApiKey::ConsumerGroupHeartbeat
            | ApiKey::ConsumerGroupDescribe => groups::start(self, peer, request),
            _ => admin::start(self, request),
        }
    }
}

impl<E: Env> Node<E> {
    /// Whether aborted data is left out for whoever sends this.
    pub(crate) fn filters_for(&self, request: &Request) -> bool {
        let Some(id) = &request.client_id else { return false };
        self.filtered_clients.iter().any(|client| client.as_bytes() == id.as_bytes())
    }

    fn api_versions(&self, request: &Request) -> Result<Answer, WireError> {
        let asked = ApiVersionsRequest::read(request)?;
        if let ApiVersionsRequest::List { software: Some(software) } = &asked {
            tracing::debug!(name = software.name, version = software.version, "client library");
        }
        let mut out = BytesMut::with_capacity(512);
        admin::features::with_announced(&self.engine, |features| {
            write_api_versions(&mut out, request.reply_to, &asked, &self.advertised, features)
        })?;
        Ok(Answer::from(out.freeze()))
    }
}

/// Opens logs, and makes a coordinator ready, on a thread that may block; then the request starts. One that cannot be opened says so itself when it is asked.
fn open_first<E: Env>(
    node: Arc<Node<E>>,
    Unready { partitions, coordinator_of, writes }: Unready<E>,
    request: Request,
) -> Reply {
    Reply::Prepare(Box::pin(async move {
        let engine = node.engine.clone();
        let opened = node.blocking.run(Kind::Opening, move || {
            if let Some(id) = coordinator_of
                && let Err(error) = engine.transactions().load(&id)
            {
                tracing::error!(id, %error, "a transaction coordinator is not ready");
            }
            for partition in partitions {
                if let Err(error) = partition.open() {
                    tracing::error!(?partition, %error, "a partition could not be opened");
                }
            }
        });
        if let Err(error) = opened.await {
            tracing::error!(%error, "opening a partition broke off");
        }
        match writes {
            Writes::Fast => Prepared::Ready(request),
            Writes::Slow => begun_elsewhere(node, request).await,
        }
    }))
}

/// Appends on a thread that may block: a partition's last write was held up, and other connections of this worker need other partitions. What is behind
/// the request on its own connection waits.
async fn begun_elsewhere<E: Env>(node: Arc<Node<E>>, request: Request) -> Prepared {
    let (at_it, runtime) = (Arc::clone(&node), tokio::runtime::Handle::current());
    let begin = move || match produce::start(&at_it, request) {
        // Batches of a transaction are written when the coordinator's word is durable: here, too.
        Reply::Prepare(coming) => runtime.block_on(coming),
        reply @ (Reply::Now(_)
        | Reply::Nothing
        | Reply::Later(_)
        | Reply::Parked(_)
        | Reply::Close(_)) => Prepared::Begun(reply),
    };
    node.blocking.run(Kind::Append, begin).await.unwrap_or_else(|error| {
        tracing::error!(%error, "an append broke off");
        Prepared::Begun(Reply::Close("an append that broke off"))
    })
}

/// An answer, or the end of the connection: a request that cannot be read has no place where the next one would start.
pub(crate) fn finished(api: ApiKey, answer: Result<Answer, WireError>) -> Reply {
    match answer {
        Ok(answer) => Reply::Now(answer),
        Err(error) => {
            tracing::info!(%api, %error, "closing a connection");
            Reply::Close("a request that cannot be read or answered")
        }
    }
}
