//! The APIs of the transaction coordinator, and those that ask about transactions.

mod inquiries;
mod markers;
mod partitions;

use std::{future::Future, sync::Arc};

use hanbeon::{
    Delay, Env, TransactionError,
    txn::{
        self, EndTxn, InitProducerId, Outcome, Prepared, Producer, Protocol, TransactionalId,
        TwoPhaseCommit, code_for,
    },
};
use hanbeon_records::{ErrorCode, ProducerEpoch, ProducerId};
use hanbeon_wire::{
    ApiKey, ReplyTo, Request,
    messages::{add_offsets_to_txn as offsets, end_txn, init_producer_id as init},
};

use crate::{
    admin::{Answered, number, respond},
    blocking::Kind,
    connection::{Reply, promptly},
    dispatch::{Node, finished},
};

/// Starts a request of one of these APIs.
pub(crate) fn start<E: Env>(node: &Arc<Node<E>>, request: Request) -> Reply {
    let node = Arc::clone(node);
    let api = request.reply_to.api;
    #[expect(clippy::wildcard_enum_match_arm, reason = "the dispatcher sends no others here")]
    match api {
        ApiKey::InitProducerId => {
            answer(api, async move { init_producer_id(&node, &request).await })
        }
        ApiKey::AddPartitionsToTxn => {
            answer(api, async move { partitions::add(&node, &request).await })
        }
        ApiKey::AddOffsetsToTxn => answer(api, async move { add_offsets(&node, &request).await }),
        ApiKey::EndTxn => answer(api, async move { end(&node, &request).await }),
        ApiKey::WriteTxnMarkers => {
            answer(api, async move { markers::write(&node, &request).await })
        }
        ApiKey::DescribeTransactions => {
            answer(api, async move { inquiries::describe(&node, &request).await })
        }
        ApiKey::ListTransactions => {
            answer(api, async move { inquiries::list(&node, &request).await })
        }
        _ => Reply::Close("an API without an answer"),
    }
}

fn answer(api: ApiKey, answered: impl Future<Output = Answered> + Send + 'static) -> Reply {
    promptly(async move { finished(api, answered.await) })
}

/// Reads the shard of a transactional id on a thread that may block, if nobody has yet.
pub(crate) async fn ready<E: Env>(node: &Arc<Node<E>>, id: &str) -> Result<(), ErrorCode> {
    let transactions = node.engine.transactions();
    if transactions.is_loaded(id) {
        return Ok(());
    }
    let owned = id.to_owned();
    match node.blocking.run(Kind::Opening, move || transactions.load(&owned)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            tracing::error!(id, %error, "the transaction coordinator is not ready");
            Err(error.code())
        }
        Err(error) => {
            tracing::error!(%error, "reading a transaction log broke off");
            Err(ErrorCode::CoordinatorLoadInProgress)
        }
    }
}

/// Brings a call to the coordinator to its end, on a thread that may block where it may keep its thread waiting.
pub(crate) async fn carried_out<E: Env, T: Send + 'static>(
    node: &Node<E>,
    delay: Delay,
    call: impl Future<Output = T> + Send + 'static,
) -> Result<T, ErrorCode> {
    node.blocking.carry_out(delay, call).await.map_err(|error| {
        tracing::error!(%error, "a call to a coordinator broke off");
        ErrorCode::CoordinatorNotAvailable
    })
}

/// Checks a transactional id and makes its coordinator ready.
async fn coordinated<E: Env>(node: &Arc<Node<E>>, id: &str) -> Result<TransactionalId, ErrorCode> {
    let id = TransactionalId::new(id).map_err(|error| error.code())?;
    ready(node, id.as_str()).await?;
    Ok(id)
}

/// The code of an error as this version of the request knows it, counted and with a word in the log.
fn told<E: Env>(
    node: &Node<E>,
    error: &TransactionError,
    api: txn::Api,
    request: &Request,
) -> ErrorCode {
    let ReplyTo { api: asked, version, .. } = request.reply_to;
    tracing::debug!(%error, api = %asked, "a transactional request was refused");
    let code = code_for(error.code(), api, version);
    node.metrics.refused(asked, code);
    code
}

const fn producer(id: i64, epoch: i16) -> Producer {
    Producer { id: ProducerId::new(id), epoch: ProducerEpoch::new(epoch) }
}

async fn init_producer_id<E: Env>(node: &Arc<Node<E>>, request: &Request) -> Answered {
    let asked: init::Request = request.decode()?;
    let mut response = init::Response {
        producer_id: -1,
        producer_epoch: -1,
        ongoing_txn_producer_id: -1,
        ongoing_txn_producer_epoch: -1,
        ..Default::default()
    };
    match initialised(node, request, &asked).await {
        Ok(producer) => {
            response.producer_id = producer.id.get();
            response.producer_epoch = producer.epoch.get();
        }
        Err(code) => response.error_code = number(code),
    }
    respond::<init::Request>(request, &response)
}

async fn initialised<E: Env>(
    node: &Arc<Node<E>>,
    request: &Request,
    asked: &init::Request,
) -> Result<Producer, ErrorCode> {
    // An id without an epoch, or an epoch without an id, is half an identity (KIP-360).
    let expected = Producer::expected(asked.producer_id, asked.producer_epoch)
        .map_err(|error| error.code())?;
    let Some(id) = &asked.transactional_id else {
        let engine = node.engine.clone();
        let fresh = node.blocking.run(Kind::Other, move || engine.init_producer_id()).await;
        let fresh = fresh.map_err(|_broken| ErrorCode::CoordinatorLoadInProgress)?;
        let identity = fresh.map_err(|error| {
            tracing::error!(%error, "no producer id");
            error.code()
        })?;
        return Ok(Producer { id: identity.id, epoch: identity.epoch });
    };
    let id = coordinated(node, id.as_str()).await?;
    let request_init = InitProducerId {
        id,
        timeout_ms: asked.transaction_timeout_ms,
        expected,
        two_phase_commit: if asked.enable2_pc { TwoPhaseCommit::On } else { TwoPhaseCommit::Off },
        prepared: if asked.keep_prepared_txn { Prepared::Keep } else { Prepared::Abort },
    };
    let transactions = node.engine.transactions();
    let delay = transactions.delay_of_end(&request_init.id);
    let initialised = carried_out(node, delay, transactions.init_producer_id(request_init)).await?;
    initialised.map_err(|error| told(node, &error, txn::Api::InitProducerId, request))
}

/// `AddOffsetsToTxn`: the group's partition of `__consumer_offsets` becomes part of the transaction.
async fn add_offsets<E: Env>(node: &Arc<Node<E>>, request: &Request) -> Answered {
    let asked: offsets::Request = request.decode()?;
    let added = async {
        let id = coordinated(node, asked.transactional_id.as_str()).await?;
        crate::groups::ready(node, asked.group_id.as_str()).await?;
        let partition = node
            .engine
            .groups()
            .partition_of(asked.group_id.as_str())
            .map_err(|error| error.code())?;
        let add = txn::AddPartitions {
            id,
            producer: producer(asked.producer_id, asked.producer_epoch),
            partitions: vec![partition],
            protocol: Protocol::V1,
        };
        let transactions = node.engine.transactions();
        let delay = transactions.delay(add.id.as_str());
        let added = carried_out(node, delay, transactions.add_partitions(add)).await?;
        added.map_err(|error| told(node, &error, txn::Api::AddOffsetsToTxn, request))
    };
    let code = added.await.err().unwrap_or(ErrorCode::None);
    let response = offsets::Response { error_code: number(code), ..Default::default() };
    respond::<offsets::Request>(request, &response)
}

async fn end<E: Env>(node: &Arc<Node<E>>, request: &Request) -> Answered {
    let asked: end_txn::Request = request.decode()?;
    let version = request.reply_to.version;
    let ended = async {
        let end = EndTxn {
            id: coordinated(node, asked.transactional_id.as_str()).await?,
            producer: producer(asked.producer_id, asked.producer_epoch),
            outcome: if asked.committed { Outcome::Commit } else { Outcome::Abort },
            protocol: Protocol::of_end_txn(version),
        };
        let transactions = node.engine.transactions();
        let delay = transactions.delay_of_end(&end.id);
        let ended = carried_out(node, delay, transactions.end(end)).await?;
        ended.map_err(|error| told(node, &error, txn::Api::EndTxn, request))
    };
    let mut response =
        end_txn::Response { producer_id: -1, producer_epoch: -1, ..Default::default() };
    match ended.await {
        Ok(next) if Protocol::of_end_txn(version) == Protocol::V2 => {
            response.producer_id = next.id.get();
            response.producer_epoch = next.epoch.get();
        }
        Ok(_) => {}
        Err(code) => response.error_code = number(code),
    }
    respond::<end_txn::Request>(request, &response)
}
