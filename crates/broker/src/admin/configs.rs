//! `DescribeConfigs`, `AlterConfigs`, `IncrementalAlterConfigs` and `ListConfigResources`.

use std::collections::BTreeSet;

use hanbeon::{
    BrokerScope, ConfigChange, ConfigOp, ConfigSource, ConfigSynonym, DescribedConfig, Env, Mode,
    TopicError, Update,
};
use hanbeon_records::{ErrorCode, TopicName};
use hanbeon_wire::{
    Request,
    messages::{
        Text, alter_configs as replace_api, create_topics, describe_configs as describe_api,
        incremental_alter_configs as alter_api, list_config_resources as list_api, text,
    },
};

use super::{Answered, metadata::no_topic, number, respond, words};
use crate::{answer_size::AnswerTooLong, dispatch::Node, named::repeated};

// What settings belong to, by the number on the wire (`org.apache.kafka.common.config.ConfigResource`).
const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

/// What settings belong to.
enum Resource<'a> {
    Topic(&'a str),
    Broker(BrokerScope),
    Group(&'a str),
}

/// A refusal with its words.
type Refused = (ErrorCode, Option<Text>);

fn resource<'a, E: Env>(node: &Node<E>, kind: i8, name: &'a str) -> Result<Resource<'a>, Refused> {
    let refused = |why: &str| Err((ErrorCode::InvalidRequest, Some(text(why))));
    match kind {
        TOPIC => match TopicName::new(name) {
            Ok(_) => Ok(Resource::Topic(name)),
            Err(why) => Err((ErrorCode::InvalidTopicException, Some(text(&why.to_string())))),
        },
        BROKER if name.is_empty() => Ok(Resource::Broker(BrokerScope::All)),
        BROKER if name.parse() == Ok(node.engine.node_id().get()) => {
            Ok(Resource::Broker(BrokerScope::This))
        }
        BROKER => refused(
            "a broker answers for itself only; its number is the node id of DescribeCluster",
        ),
        GROUP => Ok(Resource::Group(name)),
        _ => refused("settings belong to a topic (2), a broker (4) or a group (32) here"),
    }
}

fn refusal(error: &TopicError) -> Refused {
    (error.code(), words(error))
}

pub(super) fn describe<E: Env>(node: &Node<E>, request: &Request) -> Answered {
    let asked: describe_api::Request = request.decode()?;
    let mut size = node.answer_size();
    let results = asked.resources.iter().map(|wanted| {
        let name = wanted.resource_name.as_str();
        let too_long = |error: AnswerTooLong| (error.code(), words(&error));
        let keys: Option<Vec<&str>> = wanted
            .configuration_keys
            .as_ref()
            // No names ask for all of them, as null does.
            .filter(|keys| !keys.is_empty())
            .map(|keys| keys.iter().map(|key| key.as_str()).collect());
        let found = size
            .has_room()
            .map_err(too_long)
            .and_then(|()| resource(node, wanted.resource_type, name))
            .and_then(|resource| match resource {
                Resource::Topic(name) => {
                    node.engine.describe_topic_config(name, keys.as_deref()).map_err(|error| {
                        if matches!(error, TopicError::Unknown { .. }) {
                            (no_topic(name), words(&error))
                        } else {
                            refusal(&error)
                        }
                    })
                }
                Resource::Broker(scope) => {
                    let mut settings = node.engine.describe_broker_config(scope, keys.as_deref());
                    if scope == BrokerScope::This {
                        with_listeners(node, &mut settings);
                    }
                    Ok(settings)
                }
                Resource::Group(id) => node
                    .engine
                    .describe_group_config(id, keys.as_deref())
                    .map_err(|error| refusal(&error)),
            });
        let mut answer = describe_api::DescribeConfigsResult {
            resource_type: wanted.resource_type,
            resource_name: wanted.resource_name.clone(),
            ..Default::default()
        };
        match found {
            Ok(settings) => {
                answer.configs = settings.iter().map(|one| described(one, &asked)).collect();
                size.add(answer.configs.iter().map(described_len).sum());
            }
            Err((code, why)) => {
                answer.error_code = number(code);
                answer.error_message = why;
            }
        }
        answer
    });
    let response = describe_api::Response { results: results.collect(), ..Default::default() };
    respond::<describe_api::Request>(request, &response)
}

/// Says where clients connect, which the engine does not know. It was settled at the start, like what stands in `server.properties`.
fn with_listeners<E: Env>(node: &Node<E>, settings: &mut [DescribedConfig]) {
    for setting in settings {
        let value = match setting.name {
            "listeners" => format!("PLAINTEXT://{}", node.local),
            "advertised.listeners" => node.endpoint.to_string(),
            _ => continue,
        };
        let (name, source) = (setting.name, ConfigSource::StaticBroker);
        (setting.value, setting.source) = (Some(value.clone()), source);
        setting.synonyms.retain(|synonym| synonym.source == ConfigSource::Default);
        setting.synonyms.insert(0, ConfigSynonym { name, value: Some(value), source });
    }
}

fn described(
    setting: &DescribedConfig,
    asked: &describe_api::Request,
) -> describe_api::DescribeConfigsResourceResult {
    let synonyms = if asked.include_synonyms { setting.synonyms.as_slice() } else { &[] };
    describe_api::DescribeConfigsResourceResult {
        name: text(setting.name),
        value: setting.value.as_deref().map(text),
        read_only: setting.update == Update::ReadOnly,
        config_source: setting.source.number(),
        is_sensitive: setting.sensitive,
        synonyms: synonyms
            .iter()
            .map(|synonym| describe_api::DescribeConfigsSynonym {
                name: text(synonym.name),
                value: synonym.value.as_deref().map(text),
                source: synonym.source.number(),
                ..Default::default()
            })
            .collect(),
        config_type: setting.config_type.number(),
        documentation: asked.include_documentation.then(|| text(setting.documentation)),
        ..Default::default()
    }
}

/// Bytes on the wire, about.
fn described_len(one: &describe_api::DescribeConfigsResourceResult) -> usize {
    const FIXED: usize = 8;
    let len = |text: Option<&Text>| text.map_or(0, |text| text.as_str().len());
    let synonyms = one.synonyms.iter();
    let synonyms = synonyms.map(|one| FIXED + len(Some(&one.name)) + len(one.value.as_ref()));
    let documentation = len(one.documentation.as_ref());
    FIXED + len(Some(&one.name)) + len(one.value.as_ref()) + documentation + synonyms.sum::<usize>()
}

/// A setting as `CreateTopics` shows it.
pub(super) fn of_created_topic(setting: &DescribedConfig) -> create_topics::CreatableTopicConfigs {
    create_topics::CreatableTopicConfigs {
        name: text(setting.name),
        value: setting.value.as_deref().map(text),
        read_only: setting.update == Update::ReadOnly,
        config_source: setting.source.number(),
        is_sensitive: setting.sensitive,
        ..Default::default()
    }
}

/// Bytes on the wire, about.
pub(super) fn created_len(one: &create_topics::CreatableTopicConfigs) -> usize {
    8 + one.name.as_str().len() + one.value.as_ref().map_or(0, |value| value.as_str().len())
}

const fn mode(validate_only: bool) -> Mode {
    if validate_only { Mode::ValidateOnly } else { Mode::Apply }
}

/// What a request names, each once; what it names more than once is refused, and nothing is done with it.
fn once<'a, T>(
    all: &'a [T],
    key: impl Fn(&'a T) -> (i8, &'a str),
) -> Vec<(&'a T, Result<(), Refused>)> {
    let twice = repeated(all.iter().map(&key));
    let mut seen = BTreeSet::new();
    let first = all.iter().filter(|one| seen.insert(key(one)));
    let judged = first.map(|one| {
        let why = || Some(text("the request names this resource twice"));
        let allowed = if twice.contains(&key(one)) {
            Err((ErrorCode::InvalidRequest, why()))
        } else {
            Ok(())
        };
        (one, allowed)
    });
    judged.collect()
}

pub(super) fn replace<E: Env>(node: &Node<E>, request: &Request) -> Answered {
    let asked: replace_api::Request = request.decode()?;
    let mode = mode(asked.validate_only);
    let named = once(&asked.resources, |one| (one.resource_type, one.resource_name.as_str()));
    let responses = named.into_iter().map(|(wanted, allowed)| {
        let settings: Vec<(&str, Option<&str>)> = wanted
            .configs
            .iter()
            .map(|one| (one.name.as_str(), one.value.as_ref().map(|value| value.as_str())))
            .collect();
        let name = wanted.resource_name.as_str();
        let found = allowed.and_then(|()| resource(node, wanted.resource_type, name));
        let done = found.and_then(|resource| {
            match resource {
                Resource::Topic(name) => node.engine.replace_topic_config(name, &settings, mode),
                Resource::Broker(scope) => {
                    node.engine.replace_broker_config(scope, &settings, mode)
                }
                Resource::Group(id) => node.engine.replace_group_config(id, &settings, mode),
            }
            .map_err(|error| refusal(&error))
        });
        let (code, why) = done.err().unwrap_or((ErrorCode::None, None));
        replace_api::AlterConfigsResourceResponse {
            error_code: number(code),
            error_message: why,
            resource_type: wanted.resource_type,
            resource_name: wanted.resource_name.clone(),
            ..Default::default()
        }
    });
    let response = replace_api::Response { responses: responses.collect(), ..Default::default() };
    respond::<replace_api::Request>(request, &response)
}

pub(super) fn alter<E: Env>(node: &Node<E>, request: &Request) -> Answered {
    let asked: alter_api::Request = request.decode()?;
    let mode = mode(asked.validate_only);
    let named = once(&asked.resources, |one| (one.resource_type, one.resource_name.as_str()));
    let responses = named.into_iter().map(|(wanted, allowed)| {
        let name = wanted.resource_name.as_str();
        let found = allowed.and_then(|()| resource(node, wanted.resource_type, name));
        let done = found.and_then(|resource| {
            let changes = wanted.configs.iter().map(change).collect::<Result<Vec<_>, Refused>>()?;
            match resource {
                Resource::Topic(name) => node.engine.alter_topic_config(name, &changes, mode),
                Resource::Broker(scope) => node.engine.alter_broker_config(scope, &changes, mode),
                Resource::Group(id) => node.engine.alter_group_config(id, &changes, mode),
            }
            .map_err(|error| refusal(&error))
        });
        let (code, why) = done.err().unwrap_or((ErrorCode::None, None));
        alter_api::AlterConfigsResourceResponse {
            error_code: number(code),
            error_message: why,
            resource_type: wanted.resource_type,
            resource_name: wanted.resource_name.clone(),
            ..Default::default()
        }
    });
    let response = alter_api::Response { responses: responses.collect(), ..Default::default() };
    respond::<alter_api::Request>(request, &response)
}

/// One change (KIP-339): 0 set, 1 delete, 2 append, 3 subtract.
fn change(asked: &alter_api::AlterableConfig) -> Result<ConfigChange, Refused> {
    let value = || {
        asked.value.as_ref().map(|value| value.as_str().to_owned()).ok_or_else(|| {
            (ErrorCode::InvalidRequest, Some(text("only a deletion goes without a value")))
        })
    };
    let op = match asked.config_operation {
        0 => ConfigOp::Set(value()?),
        1 => ConfigOp::Delete,
        2 => ConfigOp::Append(value()?),
        3 => ConfigOp::Subtract(value()?),
        // As 4.3.1.
        _ => return Err((ErrorCode::UnknownServerError, Some(text("an operation is 0 to 3")))),
    };
    Ok(ConfigChange { key: asked.name.as_str().to_owned(), op })
}

/// Lists what has settings (KIP-1142): topics and brokers always, a group when some were given to it. Version 0 asks about the settings of
/// client metrics alone, which are not kept here, and neither are those of loggers.
pub(super) fn list_resources<E: Env>(node: &Node<E>, request: &Request) -> Answered {
    const KNOWN: [i8; 5] = [TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP];
    let asked: list_api::Request = request.decode()?;
    let wanted = match (request.reply_to.version, asked.resource_types.as_slice()) {
        (0, _) => &[CLIENT_METRICS][..],
        (_, []) => &KNOWN,
        (_, some) => some,
    };
    let mut response = list_api::Response::default();
    if wanted.iter().all(|kind| KNOWN.contains(kind)) {
        response.config_resources = KNOWN
            .iter()
            .filter(|kind| wanted.contains(kind))
            .flat_map(|&kind| named(node, kind))
            .collect();
    } else {
        response.error_code = number(ErrorCode::UnsupportedVersion);
    }
    respond::<list_api::Request>(request, &response)
}

fn named<E: Env>(node: &Node<E>, resource_type: i8) -> Vec<list_api::ConfigResource> {
    let names: Vec<String> = match resource_type {
        TOPIC => {
            node.engine.image().topics().iter().map(|topic| topic.name().to_string()).collect()
        }
        BROKER => vec![node.engine.node_id().get().to_string()],
        GROUP => node.engine.configured_groups(),
        _ => Vec::new(),
    };
    let named = |name: &String| list_api::ConfigResource {
        resource_name: text(name),
        resource_type,
        ..Default::default()
    };
    names.iter().map(named).collect()
}
