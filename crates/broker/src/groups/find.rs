//! `FindCoordinator`: on one node every coordinator is here.

use std::sync::Arc;

use hanbeon::Env;
use hanbeon_records::ErrorCode;
use hanbeon_wire::{
    Request,
    messages::{find_coordinator as find, text},
};

use crate::{
    admin::{Answered, number, respond},
    blocking::Kind,
    dispatch::Node,
};

/// The first version that names several keys.
const BATCHED_VERSION_MIN: i16 = 4;
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

pub(super) async fn find<E: Env>(node: &Arc<Node<E>>, request: &Request) -> Answered {
    let asked: find::Request = request.decode()?;
    let found = prepared(node, asked.key_type).await;
    let mut response = find::Response::default();
    let (id, host, port) = match found {
        Ok(()) => (
            node.engine.node_id().get(),
            node.endpoint.host.as_str(),
            i32::from(node.endpoint.port),
        ),
        Err(_) => (-1, "", -1),
    };
    let code = number(found.err().unwrap_or(ErrorCode::None));
    if request.reply_to.version < BATCHED_VERSION_MIN {
        response.error_code = code;
        response.node_id = id;
        response.host = text(host);
        response.port = port;
    } else {
        response.coordinators = asked
            .coordinator_keys
            .iter()
            .map(|key| find::Coordinator {
                key: key.clone(),
                node_id: id,
                host: text(host),
                port,
                error_code: code,
                ..Default::default()
            })
            .collect();
    }
    respond::<find::Request>(request, &response)
}

/// Makes the log of a coordinator if it is not there, so that whoever finds it can begin.
async fn prepared<E: Env>(node: &Arc<Node<E>>, key_type: i8) -> Result<(), ErrorCode> {
    let engine = node.engine.clone();
    let topic = match key_type {
        GROUP => "__consumer_offsets",
        TRANSACTION => "__transaction_state",
        // Share groups are not served.
        _ => return Err(ErrorCode::InvalidRequest),
    };
    if engine.topic(topic).is_some() {
        return Ok(());
    }
    let made = node.blocking.run(Kind::Change, move || match key_type {
        GROUP => engine.groups().ensure_log(),
        _ => engine.transactions().ensure_log(),
    });
    match made.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            tracing::error!(topic, %error, "the log of a coordinator cannot be made");
            Err(ErrorCode::CoordinatorNotAvailable)
        }
        Err(_) => Err(ErrorCode::CoordinatorNotAvailable),
    }
}
