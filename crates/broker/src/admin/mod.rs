//! The APIs that ask about topics, settings and the cluster, and change them.

use std::sync::Arc;

use hanbeon::Env;
use hanbeon_wire::Request;

use crate::{connection::Reply, dispatch::Node};

/// Starts a request of any API but the fast ones.
pub(crate) fn start<E: Env>(_node: &Arc<Node<E>>, request: &Request) -> Reply {
    tracing::error!(api = %request.reply_to.api, "an API is advertised and has no answer");
    Reply::Close("an API without an answer")
}
