//! `DescribeTransactions` and `ListTransactions` (KIP-664).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use hanbeon::{
    DescribedTxn, Env,
    txn::{ListFilter, State},
};
use hanbeon_records::{ErrorCode, ProducerId};
use hanbeon_wire::{
    Request,
    messages::{describe_transactions as describe, list_transactions as list, text},
};
use regex::{Regex, RegexBuilder};

use super::{carried_out, coordinated};
use crate::{
    admin::{Answered, number, respond},
    answer_size::AnswerTooLong,
    blocking::Kind,
    dispatch::Node,
};

/// Bytes that a compiled pattern may take.
const PATTERN_BYTES_MAX: usize = 1 << 20;

pub(super) async fn describe<E: Env>(node: &Arc<Node<E>>, request: &Request) -> Answered {
    let asked: describe::Request = request.decode()?;
    let mut response = describe::Response::default();
    let mut size = node.answer_size();
    for id in &asked.transactional_ids {
        let mut state =
            describe::TransactionState { transactional_id: id.clone(), ..Default::default() };
        let described = async {
            size.has_room().map_err(AnswerTooLong::code)?;
            described(node, id.as_str()).await
        };
        match described.await {
            Ok(found) => {
                fill(&mut state, &found);
                size.add(state.topics.iter().map(topic_len).sum());
            }
            Err(code) => state.error_code = number(code),
        }
        response.transaction_states.push(state);
    }
    respond::<describe::Request>(request, &response)
}

async fn described<E: Env>(node: &Arc<Node<E>>, id: &str) -> Result<DescribedTxn, ErrorCode> {
    let id = coordinated(node, id).await?;
    let transactions = node.engine.transactions();
    let delay = transactions.delay(id.as_str());
    let describing = async move { transactions.describe(id.as_str()) };
    let found = carried_out(node, delay, describing).await?.map_err(|error| error.code())?;
    found.ok_or(ErrorCode::TransactionalIdNotFound)
}

/// Bytes on the wire, about.
fn topic_len(topic: &describe::TopicData) -> usize {
    topic.topic.as_str().len() + 4 * topic.partitions.len()
}

fn fill(state: &mut describe::TransactionState, found: &DescribedTxn) {
    state.transaction_state = text(found.state.name());
    state.transaction_timeout_ms = found.timeout_ms;
    state.transaction_start_time_ms = found.start.get();
    state.producer_id = found.producer.id.get();
    state.producer_epoch = found.producer.epoch.get();
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in &found.partitions {
        topics.entry(partition.topic.as_str()).or_default().push(partition.partition);
    }
    state.topics = topics
        .into_iter()
        .map(|(topic, partitions)| describe::TopicData {
            topic: text(topic),
            partitions,
            ..Default::default()
        })
        .collect();
}

pub(super) async fn list<E: Env>(node: &Arc<Node<E>>, request: &Request) -> Answered {
    let asked: list::Request = request.decode()?;
    let mut response = list::Response::default();
    let mut filter = ListFilter {
        producer_ids: asked.producer_id_filters.iter().copied().map(ProducerId::new).collect(),
        states: BTreeSet::new(),
        open_for_ms: (asked.duration_filter >= 0 && request.reply_to.version >= 1)
            .then_some(asked.duration_filter),
    };
    for name in &asked.state_filters {
        match State::from_name(name.as_str()) {
            Some(state) => drop(filter.states.insert(state)),
            None => response.unknown_state_filters.push(name.clone()),
        }
    }
    // A filter of nothing but unknown names matches nothing.
    let nothing = filter.states.is_empty() && !asked.state_filters.is_empty();
    let listed = if nothing {
        Ok(Vec::new())
    } else {
        match pattern(asked.transactional_id_pattern.as_ref().map(|pattern| pattern.as_str())) {
            Ok(pattern) => all(node, filter, pattern).await,
            Err(code) => Err(code),
        }
    };
    match listed {
        Ok(found) => {
            response.transaction_states = found
                .iter()
                .map(|found| list::TransactionState {
                    transactional_id: text(found.id.as_str()),
                    producer_id: found.producer.id.get(),
                    transaction_state: text(found.state.name()),
                    ..Default::default()
                })
                .collect();
        }
        Err(code) => response.error_code = number(code),
    }
    respond::<list::Request>(request, &response)
}

/// A pattern that must match a whole id (KIP-1152).
fn pattern(pattern: Option<&str>) -> Result<Option<Regex>, ErrorCode> {
    let Some(pattern) = pattern.filter(|pattern| !pattern.is_empty()) else { return Ok(None) };
    let whole = format!("^(?:{pattern})$");
    let compiled = RegexBuilder::new(&whole).size_limit(PATTERN_BYTES_MAX).build();
    compiled.map(Some).map_err(|error| {
        tracing::debug!(%error, "a pattern for transactional ids does not compile");
        ErrorCode::InvalidRegularExpression
    })
}

async fn all<E: Env>(
    node: &Arc<Node<E>>,
    filter: ListFilter,
    pattern: Option<Regex>,
) -> Result<Vec<DescribedTxn>, ErrorCode> {
    let transactions = node.engine.transactions();
    // Shards that nobody has read yet are read for it.
    let listed = node.blocking.run(Kind::Opening, move || transactions.list(&filter)).await;
    let mut found = listed
        .map_err(|_broken| ErrorCode::CoordinatorLoadInProgress)?
        .map_err(|error| error.code())?;
    if let Some(pattern) = pattern {
        found.retain(|found| pattern.is_match(found.id.as_str()));
    }
    Ok(found)
}
