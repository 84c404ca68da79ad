//! `CreateTopics`, `DeleteTopics` and `CreatePartitions`.

use std::collections::BTreeSet;

use hanbeon::{Env, Mode, NewTopic, RESERVED_TOPICS, TopicError, TopicRef};
use hanbeon_records::{ErrorCode, NodeId, TopicId};
use hanbeon_wire::{
    Request,
    messages::{
        Text, create_partitions as grow, create_topics as create_api, delete_topics as delete_api,
        text, topic_id, uuid,
    },
};

use super::{Answered, configs, number, respond, words};
use crate::{answer_size::AnswerSize, dispatch::Node, named::repeated};

/// Of a topic that a request names more than once. It is answered once, and nothing is done with it.
const TWICE: &str = "the request names this topic twice";

const fn mode(validate_only: bool) -> Mode {
    if validate_only { Mode::ValidateOnly } else { Mode::Apply }
}

pub(super) fn create<E: Env>(node: &Node<E>, request: &Request) -> Answered {
    let asked: create_api::Request = request.decode()?;
    let mode = mode(asked.validate_only);
    let twice = repeated(asked.topics.iter().map(|topic| topic.name.as_str()));
    let mut size = node.answer_size();
    let mut answered = BTreeSet::new();
    let topics =
        asked.topics.iter().filter(|topic| answered.insert(topic.name.as_str())).map(|topic| {
            if twice.contains(topic.name.as_str()) {
                return not_created(topic, ErrorCode::InvalidRequest, TWICE);
            }
            if RESERVED_TOPICS.contains(&topic.name.as_str()) {
                return not_created(
                    topic,
                    ErrorCode::TopicAlreadyExists,
                    "this is a topic of the server's own, which clients do not make",
                );
            }
            create_one(node, topic, mode, &mut size)
        });
    let response = create_api::Response { topics: topics.collect(), ..Default::default() };
    respond::<create_api::Request>(request, &response)
}

fn not_created(
    topic: &create_api::CreatableTopic,
    code: ErrorCode,
    why: &str,
) -> create_api::CreatableTopicResult {
    create_api::CreatableTopicResult {
        name: topic.name.clone(),
        error_code: number(code),
        error_message: Some(text(why)),
        num_partitions: -1,
        replication_factor: -1,
        configs: Some(Vec::new()),
        ..Default::default()
    }
}

fn create_one<E: Env>(
    node: &Node<E>,
    topic: &create_api::CreatableTopic,
    mode: Mode,
    size: &mut AnswerSize,
) -> create_api::CreatableTopicResult {
    let assignments: Vec<(i32, Vec<NodeId>)> = topic
        .assignments
        .iter()
        .map(|one| (one.partition_index, one.broker_ids.iter().copied().map(NodeId::new).collect()))
        .collect();
    let new = NewTopic {
        name: topic.name.as_str().to_owned(),
        partitions: (topic.num_partitions != -1).then_some(topic.num_partitions),
        replication_factor: (topic.replication_factor != -1).then_some(topic.replication_factor),
        assignments,
        configs: topic
            .configs
            .iter()
            .map(|one| {
                (
                    one.name.as_str().to_owned(),
                    one.value.as_ref().map(|value| value.as_str().to_owned()),
                )
            })
            .collect(),
    };
    match node.engine.create_topic(&new, mode) {
        Ok(created) => {
            let mut answer = create_api::CreatableTopicResult {
                name: topic.name.clone(),
                topic_id: uuid(created.id),
                num_partitions: created.partitions,
                replication_factor: created.replication_factor,
                ..Default::default()
            };
            // The topic is there: what cannot be told of it is no error of its making (KIP-525).
            match size.has_room() {
                Ok(()) => {
                    let configs: Vec<_> =
                        created.configs.iter().map(configs::of_created_topic).collect();
                    size.add(configs.iter().map(configs::created_len).sum());
                    answer.configs = Some(configs);
                }
                Err(error) => {
                    answer.configs = None;
                    answer.topic_config_error_code = number(error.code());
                }
            }
            answer
        }
        Err(error) => not_created(topic, error.code(), &error.to_string()),
    }
}

pub(super) fn delete<E: Env>(node: &Node<E>, request: &Request) -> Answered {
    let asked: delete_api::Request = request.decode()?;
    let by_name = asked.topic_names.iter().map(|name| (Some(name.clone()), TopicId::ZERO));
    let by_either = asked.topics.iter().map(|topic| (topic.name.clone(), topic_id(topic.topic_id)));
    let named: Vec<(Option<Text>, TopicId)> = by_name.chain(by_either).collect();
    let named = || named.iter().map(|(name, id)| (name.as_ref().map(Text::as_str), *id));
    // By its id where there is one: a topic may be named by its name and by its id.
    let image = node.engine.image();
    let meant = |(name, id): (Option<&str>, TopicId)| match name.and_then(|name| image.topic(name))
    {
        Some(topic) => (String::new(), topic.id()),
        None => (name.unwrap_or_default().to_owned(), id),
    };
    let by_one = named().filter(|(name, id)| name.is_none() || *id == TopicId::ZERO);
    let twice = repeated(by_one.map(meant));
    let mut answered = BTreeSet::new();
    let responses = named().filter(|one| answered.insert(*one)).map(|(name, id)| {
        let mut answer = delete_api::DeletableTopicResult {
            name: name.map(text),
            topic_id: uuid(id),
            ..Default::default()
        };
        let refused = |why| Err(TopicError::InvalidRequest { why });
        let deleted = match name {
            Some(_) if id != TopicId::ZERO => refused("name the topic or give its id, not both"),
            None if id == TopicId::ZERO => refused("name the topic or give its id"),
            _ if twice.contains(&meant((name, id))) => refused(TWICE),
            Some(name) => node.engine.delete_topic(TopicRef::Name(name)),
            None => node.engine.delete_topic(TopicRef::Id(id)),
        };
        match deleted {
            Ok(topic) => {
                answer.name = Some(text(topic.name().as_str()));
                answer.topic_id = uuid(topic.id());
            }
            Err(error) => {
                answer.error_code = number(error.code());
                answer.error_message = words(&error);
            }
        }
        answer
    });
    let response = delete_api::Response { responses: responses.collect(), ..Default::default() };
    respond::<delete_api::Request>(request, &response)
}

pub(super) fn create_partitions<E: Env>(node: &Node<E>, request: &Request) -> Answered {
    let asked: grow::Request = request.decode()?;
    let mode = mode(asked.validate_only);
    let twice = repeated(asked.topics.iter().map(|topic| topic.name.as_str()));
    let mut answered = BTreeSet::new();
    let once = asked.topics.iter().filter(|topic| answered.insert(topic.name.as_str()));
    let results = once.map(|topic| {
        let assignments: Option<Vec<Vec<NodeId>>> = topic.assignments.as_ref().map(|all| {
            all.iter()
                .map(|one| one.broker_ids.iter().copied().map(NodeId::new).collect())
                .collect()
        });
        let mut answer =
            grow::CreatePartitionsTopicResult { name: topic.name.clone(), ..Default::default() };
        let name = topic.name.as_str();
        let grown = if twice.contains(name) {
            Err(TopicError::InvalidRequest { why: TWICE })
        } else {
            node.engine.create_partitions(name, topic.count, assignments.as_deref(), mode)
        };
        if let Err(error) = grown {
            answer.error_code = number(error.code());
            answer.error_message = words(&error);
        }
        answer
    });
    let response = grow::Response { results: results.collect(), ..Default::default() };
    respond::<grow::Request>(request, &response)
}
