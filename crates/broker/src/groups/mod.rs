//! The APIs of the group coordinator, and the one that finds coordinators.

mod consumer;
mod find;
mod inquiries;
mod members;
mod offsets;

use std::{future::Future, sync::Arc};

use hanbeon::{Env, Groups, GroupsError};
use hanbeon_records::ErrorCode;
use hanbeon_wire::{ApiKey, Request};

use crate::{
    admin::Answered,
    blocking::Kind,
    connection::{Peer, Reply, parked, promptly},
    dispatch::{Node, finished},
    transactions::carried_out,
};

/// Starts a request of one of these APIs.
pub(crate) fn start<E: Env>(node: &Arc<Node<E>>, peer: &Peer, request: Request) -> Reply {
    let (node, api) = (Arc::clone(node), request.reply_to.api);
    #[expect(clippy::wildcard_enum_match_arm, reason = "the dispatcher sends no others here")]
    match api {
        ApiKey::JoinGroup => members::join(node, peer, &request),
        ApiKey::SyncGroup => members::sync(node, &request),
        ApiKey::Heartbeat => answer(api, async move { members::heartbeat(&node, &request).await }),
        ApiKey::LeaveGroup => answer(api, async move { members::leave(&node, &request).await }),
        ApiKey::OffsetCommit => answer(api, async move { offsets::commit(&node, &request).await }),
        ApiKey::OffsetFetch => answer(api, async move { offsets::fetch(&node, &request).await }),
        ApiKey::OffsetDelete => answer(api, async move { offsets::delete(&node, &request).await }),
        ApiKey::TxnOffsetCommit => {
            answer(api, async move { offsets::commit_in_transaction(&node, &request).await })
        }
        ApiKey::DescribeGroups => {
            answer(api, async move { inquiries::describe(&node, &request).await })
        }
        ApiKey::ListGroups => answer(api, async move { inquiries::list(&node, &request).await }),
        ApiKey::DeleteGroups => {
            answer(api, async move { inquiries::delete(&node, &request).await })
        }
        ApiKey::ConsumerGroupHeartbeat => {
            let peer = peer.clone();
            answer(api, async move { consumer::heartbeat(&node, &peer, &request).await })
        }
        ApiKey::ConsumerGroupDescribe => {
            answer(api, async move { consumer::describe(&node, &request).await })
        }
        ApiKey::FindCoordinator => answer(api, async move { find::find(&node, &request).await }),
        _ => Reply::Close("an API without an answer"),
    }
}

/// What may be done with a group, where nobody asked or there is no group.
const NO_OPERATIONS: i32 = i32::MIN;
/// All operations there are on a group: read, delete, describe, describe and alter configs.
const GROUP_OPERATIONS: i32 = 0x0d48;

/// What a client calls itself.
fn client_id(request: &Request) -> String {
    request.client_id.as_ref().map(ToString::to_string).unwrap_or_default()
}

/// The code of an error, counted and with a word in the log.
fn told<E: Env>(node: &Node<E>, error: &GroupsError, request: &Request) -> ErrorCode {
    told_to(node, error, request.reply_to.api)
}

/// As [`told`], where the request is held no more.
fn told_to<E: Env>(node: &Node<E>, error: &GroupsError, api: ApiKey) -> ErrorCode {
    tracing::debug!(%error, %api, "a request about a group was refused");
    let code = error.code();
    node.metrics.refused(api, code);
    code
}

fn answer(api: ApiKey, answered: impl Future<Output = Answered> + Send + 'static) -> Reply {
    promptly(async move { finished(api, answered.await) })
}

/// An answer that waits for the other members, with `held_bytes` copied from the request; the request itself may not be in it. That the
/// coordinator is ready and has been `asked` is waited for in any case: it is the broker's own work and comes to an end.
///
/// Who is waited with no longer looks for the coordinator again, as with Kafka where one resigns.
fn wait<F: Future<Output = Answered> + Send + 'static>(
    api: ApiKey,
    asked: impl Future<Output = Result<F, ErrorCode>> + Send + 'static,
    early: impl FnOnce(ErrorCode) -> Answered + Send + 'static,
    held_bytes: usize,
) -> Reply {
    promptly(async move {
        match asked.await {
            Ok(answered) => {
                let early = move || finished(api, early(ErrorCode::NotCoordinator));
                parked(async move { finished(api, answered.await) }, early, held_bytes)
            }
            Err(code) => finished(api, early(code)),
        }
    })
}

/// Reads the shard of a group on a thread that may block, if nobody has yet.
pub(crate) async fn ready<E: Env>(node: &Arc<Node<E>>, group: &str) -> Result<(), ErrorCode> {
    let groups = node.engine.groups();
    if groups.is_loaded(group) {
        return Ok(());
    }
    let owned = group.to_owned();
    match node.blocking.run(Kind::Opening, move || groups.load(&owned)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            tracing::error!(group, %error, "the group coordinator is not ready");
            Err(error.code())
        }
        Err(error) => {
            tracing::error!(%error, "reading a log of offsets broke off");
            Err(ErrorCode::CoordinatorLoadInProgress)
        }
    }
}

/// Asks the coordinator of a group, which writes down at once what it decides: on a thread that may block where it may keep its thread waiting. What is
/// waited for after that, others of the group among it, is the answer that is returned, and keeps no thread.
#[expect(clippy::async_yields_async, reason = "only the asking writes")]
async fn ask<E: Env, F: Future + Send + 'static>(
    node: &Node<E>,
    group: &str,
    question: impl FnOnce(Groups<E>) -> F + Send + 'static,
) -> Result<F, ErrorCode> {
    let groups = node.engine.groups();
    let delay = groups.delay(group);
    carried_out(node, delay, async move { question(groups) }).await
}

/// Asks the coordinator of a group as [`ask()`] does, and waits for its answer.
async fn consult<E: Env, F: Future + Send + 'static>(
    node: &Node<E>,
    group: &str,
    question: impl FnOnce(Groups<E>) -> F + Send + 'static,
) -> Result<F::Output, ErrorCode> {
    Ok(ask(node, group, question).await?.await)
}

#[cfg(test)]
mod tests {
    use std::{
        future::{Pending, pending, poll_fn, ready as ready_now},
        pin::Pin,
        task::{Context, Poll, Waker},
    };

    use hanbeon_wire::Answer;

    use super::*;
    use crate::connection::Parked;

    fn answered() -> Answered {
        Ok(Answer::none())
    }

    /// Ready when it is asked for the second time.
    fn soon<T: Send + Unpin>(result: T) -> impl Future<Output = T> + Send {
        let mut result = Some(result);
        let mut asked = false;
        poll_fn(move |_| {
            if std::mem::replace(&mut asked, true) {
                Poll::Ready(result.take().expect("asked for until it is ready"))
            } else {
                Poll::Pending
            }
        })
    }

    fn go_on(reply: Reply) -> Reply {
        let Reply::Later(mut future) = reply else { panic!("the broker's own work is waited for") };
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready(reply) = Pin::new(&mut future).poll(&mut cx) else { panic!("it is done") };
        reply
    }

    #[test]
    fn a_client_that_has_left_gives_up_the_wait_for_members_and_not_for_the_broker() {
        let api = ApiKey::JoinGroup;
        let asks = wait(api, soon(Ok(pending())), |_| answered(), 7);
        assert!(matches!(go_on(asks), Reply::Parked(Parked { held_bytes: 7, .. })));
        let asks = wait(api, soon(Ok(ready_now(answered()))), |_| panic!("in time"), 7);
        assert!(matches!(go_on(asks), Reply::Now(_)));
        let early = |code| {
            assert_eq!(code, ErrorCode::CoordinatorLoadInProgress);
            answered()
        };
        let refused: Result<Pending<Answered>, _> = Err(ErrorCode::CoordinatorLoadInProgress);
        assert!(matches!(go_on(wait(api, soon(refused), early, 7)), Reply::Now(_)));
        let asked = wait(api, async { Ok(pending()) }, |_| answered(), 7);
        assert!(matches!(asked, Reply::Parked(_)));
    }
}
