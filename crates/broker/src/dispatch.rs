//! From a request to whoever answers it.

use std::sync::Arc;

use bytes::BytesMut;
use hanbeon::{Engine, Env};
use hanbeon_wire::{
    Advertised, Answer, ApiKey, ApiVersionsRequest, Features, ReplyTo, Request, WireError,
    write_api_versions,
};

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
}

impl<E: Env> Service for Arc<Node<E>> {
    fn start(&self, request: Request) -> Reply {
        let ReplyTo { api, version, .. } = request.reply_to;
        self.metrics.count(api);
        tracing::trace!(%api, version, "request");
        match api {
            ApiKey::Produce => produce::start(&self.engine, request),
            ApiKey::Fetch => fetch::start(&self.engine, &self.sessions, &request),
            ApiKey::ApiVersions => finished(api, self.api_versions(&request)),
            _ => admin::start(self, &request),
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
