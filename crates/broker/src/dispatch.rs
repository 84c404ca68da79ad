//! From a request to whoever answers it.

use std::sync::Arc;

use bytes::BytesMut;
use hanbeon::{Engine, Env, PartitionHandle};
use hanbeon_wire::{
    Advertised, Answer, ApiKey, ApiVersionsRequest, Features, ReplyTo, Request, WireError,
    write_api_versions,
};
use tokio::sync::watch;

use crate::{
    admin,
    connection::{Reply, Service},
    fetch,
    metrics::RequestMetrics,
    produce,
    sessions::Sessions,
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
    ApiKey::InitProducerId,
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
];

/// Where clients are told to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// What every request may need.
pub(crate) struct Node<E: Env> {
    pub(crate) engine: Engine<E>,
    pub(crate) endpoint: Endpoint,
    pub(crate) advertised: Advertised,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) metrics: RequestMetrics,
    /// Turns true when the broker stops.
    pub(crate) stopping: watch::Receiver<bool>,
}

impl<E: Env> Service for Arc<Node<E>> {
    fn start(&self, request: Request) -> Reply {
        let ReplyTo { api, version, .. } = request.reply_to;
        self.metrics.count(api);
        tracing::trace!(%api, version, "request");
        let unopened = if api == ApiKey::Produce {
            produce::unopened(&self.engine, &request)
        } else if api == ApiKey::Fetch {
            fetch::unopened(&self.engine, &request)
        } else {
            Vec::new()
        };
        if unopened.is_empty() {
            self.start_prepared(request)
        } else {
            open_first(unopened, request)
        }
    }

    fn start_prepared(&self, request: Request) -> Reply {
        let api = request.reply_to.api;
        #[expect(clippy::wildcard_enum_match_arm, reason = "all others have their own module")]
        match api {
            ApiKey::Produce => produce::start(&self.engine, request),
            ApiKey::Fetch => fetch::start(self, &request),
            ApiKey::ApiVersions => finished(api, self.api_versions(&request)),
            _ => admin::start(self, request),
        }
    }
}

impl<E: Env> Node<E> {
    fn api_versions(&self, request: &Request) -> Result<Answer, WireError> {
        let asked = ApiVersionsRequest::read(request)?;
        if let ApiVersionsRequest::List { software: Some(software) } = &asked {
            tracing::debug!(name = software.name, version = software.version, "client library");
        }
        let mut out = BytesMut::with_capacity(512);
        write_api_versions(&mut out, request.reply_to, &asked, &self.advertised, &Features::NONE)?;
        Ok(Answer::from(out.freeze()))
    }
}

/// Opens logs on a thread that may block, then the request starts. One that cannot be opened says so itself when it is asked.
fn open_first<E: Env>(partitions: Vec<PartitionHandle<E>>, request: Request) -> Reply {
    Reply::Prepare(Box::pin(async move {
        let opened = tokio::task::spawn_blocking(move || {
            for partition in partitions {
                if let Err(error) = partition.open() {
                    tracing::error!(?partition, %error, "a partition could not be opened");
                }
            }
        });
        if let Err(error) = opened.await {
            tracing::error!(%error, "opening a partition broke off");
        }
        request
    }))
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
