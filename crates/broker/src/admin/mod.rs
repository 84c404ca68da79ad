//! The APIs that ask about topics, settings and the cluster, and change them.

mod cluster;
mod configs;
pub(crate) mod features;
mod metadata;
mod partitions;
mod producers;
mod topics;

use std::sync::Arc;

use bytes::BytesMut;
use hanbeon::Env;
use hanbeon_records::ErrorCode;
use hanbeon_wire::{
    Answer, ApiKey, ReplyTo, Request, RequestMessage, WireError,
    messages::{Text, text},
};

use crate::{
    blocking::Kind,
    connection::Reply,
    dispatch::{Node, finished},
};

/// What a request is answered with, or why the connection ends.
pub(crate) type Answered = Result<Answer, WireError>;

/// Starts a request of any API but the fast ones.
pub(crate) fn start<E: Env>(node: &Arc<Node<E>>, request: Request) -> Reply {
    let api = request.reply_to.api;
    #[expect(clippy::wildcard_enum_match_arm, reason = "what is advertised stands above it")]
    match api {
        ApiKey::Metadata => match metadata::answer(node, &request) {
            Ok(metadata::Asked::Answered(answer)) => Reply::Now(answer),
            Ok(metadata::Asked::Creates) => {
                blocking(node, Kind::Change, request, metadata::create_and_answer)
            }
            Err(error) => finished(api, Err(error)),
        },
        ApiKey::DescribeTopicPartitions => {
            finished(api, metadata::describe_partitions(node, &request))
        }
        ApiKey::DescribeCluster => finished(api, cluster::describe(node, &request)),
        ApiKey::SaslHandshake => finished(api, cluster::sasl_handshake(&request)),
        ApiKey::ElectLeaders => finished(api, cluster::elect_leaders(node, &request)),
        ApiKey::DescribeConfigs => blocking(node, Kind::Other, request, configs::describe),
        ApiKey::DescribeProducers => blocking(node, Kind::Other, request, producers::describe),
        ApiKey::ListOffsets => blocking(node, Kind::Other, request, partitions::list_offsets),
        ApiKey::DeleteRecords => blocking(node, Kind::Other, request, partitions::delete_records),
        ApiKey::OffsetForLeaderEpoch => {
            blocking(node, Kind::Other, request, partitions::offset_for_leader_epoch)
        }
        ApiKey::DescribeLogDirs => {
            blocking(node, Kind::Other, request, partitions::describe_log_dirs)
        }
        ApiKey::CreateTopics => blocking(node, Kind::Change, request, topics::create),
        ApiKey::DeleteTopics => blocking(node, Kind::Change, request, topics::delete),
        ApiKey::CreatePartitions => {
            blocking(node, Kind::Change, request, topics::create_partitions)
        }
        ApiKey::AlterConfigs => blocking(node, Kind::Change, request, configs::replace),
        ApiKey::IncrementalAlterConfigs => blocking(node, Kind::Change, request, configs::alter),
        ApiKey::ListConfigResources => finished(api, configs::list_resources(node, &request)),
        ApiKey::UpdateFeatures => blocking(node, Kind::Change, request, features::update),
        _ => {
            tracing::error!(%api, "an API is advertised and has no answer");
            Reply::Close("an API without an answer")
        }
    }
}

/// Answers on a thread that may block: these requests touch files, or open a log that has not been recovered yet.
fn blocking<E: Env>(
    node: &Arc<Node<E>>,
    kind: Kind,
    request: Request,
    answer: fn(&Node<E>, &Request) -> Answered,
) -> Reply {
    let node = Arc::clone(node);
    Reply::Later(Box::pin(async move {
        let api = request.reply_to.api;
        let asked = Arc::clone(&node);
        match node.blocking.run(kind, move || answer(&asked, &request)).await {
            Ok(answered) => finished(api, answered),
            Err(error) => {
                tracing::error!(%api, %error, "a request could not be answered");
                Reply::Close("a request that could not be answered")
            }
        }
    }))
}

/// Writes a response.
pub(crate) fn respond<M: RequestMessage>(request: &Request, response: &M::Response) -> Answered {
    respond_to::<M>(request.reply_to, response)
}

/// Writes a response to a request that is held no more.
pub(crate) fn respond_to<M: RequestMessage>(reply_to: ReplyTo, response: &M::Response) -> Answered {
    let mut out = BytesMut::with_capacity(256);
    reply_to.answer(response, &mut out)
}

/// A code as it stands in a response.
pub(crate) const fn number(code: ErrorCode) -> i16 {
    code.number()
}

/// An error's words as they stand in a response.
pub(crate) fn words(error: &dyn std::error::Error) -> Option<Text> {
    Some(text(&error.to_string()))
}
