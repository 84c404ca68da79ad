//! `OffsetCommit`, `OffsetFetch`, `OffsetDelete` and `TxnOffsetCommit`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use hanbeon::{
    Enrol, Env, Groups, GroupsError, Image, Topic,
    group::{
        Commit, CommitDialect, CommitInTxn, DeleteOffsets, Fetch, FetchWhat, FetchedOffset,
        Membership, Name, NameTooLong, NewOffset, Stability,
    },
    txn::TransactionalId,
};
use hanbeon_records::{ErrorCode, LeaderEpoch, Offset, ProducerEpoch, ProducerId};
use hanbeon_wire::{
    Request,
    messages::{
        Text, offset_commit as commit, offset_delete as delete, offset_fetch as fetch, text,
        topic_id, txn_offset_commit as in_txn,
    },
};

use super::{
    consult,
    members::{name, optional},
    ready, told,
};
use crate::{
    admin::{Answered, number, respond},
    dispatch::Node,
    transactions::{self, carried_out},
};

/// The first version that names topics by id, of `OffsetCommit` and `OffsetFetch`.
const TOPIC_IDS_VERSION_MIN: i16 = 10;
/// The first version of `OffsetCommit` for members of the newer protocol (KIP-848).
const EPOCHS_VERSION_MIN: i16 = 9;
/// The first version of `OffsetFetch` for several groups.
const GROUPS_VERSION_MIN: i16 = 8;
/// The first version whose answers carry a leader epoch (KIP-320).
const LEADER_EPOCH_VERSION_MIN: i16 = 5;
/// The first version of `TxnOffsetCommit` that makes the group's log part of the transaction (KIP-890, part 2).
const ENROLS_VERSION_MIN: i16 = 5;
/// The first version of `TxnOffsetCommit` whose clients know `TRANSACTION_ABORTABLE`.
const ABORTABLE_VERSION_MIN: i16 = 4;
/// Clients before this version of `TxnOffsetCommit` fail on `COORDINATOR_LOAD_IN_PROGRESS`.
const LOADING_VERSION_MIN: i16 = 2;

/// One offset of a request as it came.
struct Asked<'a> {
    partition: i32,
    offset: i64,
    leader_epoch: i32,
    metadata: Option<&'a Text>,
}

/// Offsets that may be committed, and for every one of the request what is known of it already.
#[derive(Default)]
struct Sorted {
    offsets: Vec<NewOffset>,
    /// In the order of the request: refused here, or the next result of the coordinator.
    refused: Vec<Option<ErrorCode>>,
}

impl Sorted {
    fn take<E: Env>(&mut self, topic: Result<&Topic<E>, ErrorCode>, asked: &Asked<'_>) {
        let topic = match topic {
            Ok(topic) if topic.partition(asked.partition).is_some() => topic,
            Ok(_) => return self.refused.push(Some(ErrorCode::UnknownTopicOrPartition)),
            Err(code) => return self.refused.push(Some(code)),
        };
        self.refused.push(None);
        self.offsets.push(NewOffset {
            topic: topic.name().clone(),
            topic_id: Some(topic.id()),
            partition: asked.partition,
            offset: Offset::new(asked.offset),
            leader_epoch: LeaderEpoch::new(asked.leader_epoch),
            metadata: asked.metadata.map_or("", |metadata| metadata.as_str()).into(),
        });
    }

    /// A code for each offset of the request. Those of single offsets are `counted`; what was said of the whole request was before.
    fn codes(
        self,
        results: Result<hanbeon::CommitResults, ErrorCode>,
        counted: impl Fn(ErrorCode),
    ) -> impl Iterator<Item = ErrorCode> {
        let (mut results, whole) = match results {
            Ok(results) => (results.into_iter(), ErrorCode::None),
            Err(code) => (Vec::new().into_iter(), code),
        };
        self.refused.into_iter().map(move |refused| match refused {
            // Whatever the coordinator says of the others (seen on 4.3.1).
            Some(code) => {
                counted(code);
                code
            }
            None => match results.next() {
                Some(Ok(_)) => ErrorCode::None,
                Some(Err(error)) => {
                    counted(error.code());
                    error.code()
                }
                None => whole,
            },
        })
    }
}

fn by_name<'i, E: Env>(image: &'i Image<E>, name: &str) -> Result<&'i Topic<E>, ErrorCode> {
    image.topic(name).map(Arc::as_ref).ok_or(ErrorCode::UnknownTopicOrPartition)
}

fn membership(
    generation: i32,
    member_id: &Text,
    instance_id: Option<&Text>,
) -> Result<Membership, NameTooLong> {
    Ok(Membership { generation, member_id: name(member_id)?, instance_id: optional(instance_id)? })
}

pub(super) async fn commit<E: Env>(node: &Arc<Node<E>>, request: &Request) -> Answered {
    let asked: commit::Request = request.decode()?;
    let version = request.reply_to.version;
    let image = node.engine.image();
    let mut sorted = Sorted::default();
    for topic in &asked.topics {
        let found = if version >= TOPIC_IDS_VERSION_MIN {
            let found = image.topic_by_id(topic_id(topic.topic_id));
            found.map(Arc::as_ref).ok_or(ErrorCode::UnknownTopicId)
        } else {
            by_name(&image, topic.name.as_str())
        };
        for partition in &topic.partitions {
            sorted.take(
                found,
                &Asked {
                    partition: partition.partition_index,
                    offset: partition.committed_offset,
                    leader_epoch: partition.committed_leader_epoch,
                    metadata: partition.committed_metadata.as_ref(),
                },
            );
        }
    }
    drop(image);
    let offsets = std::mem::take(&mut sorted.offsets);
    let results = async {
        ready(node, asked.group_id.as_str()).await?;
        let membership = membership(
            asked.generation_id_or_member_epoch,
            &asked.member_id,
            asked.group_instance_id.as_ref(),
        );
        let commit = Commit {
            group: name(&asked.group_id).map_err(|error| error.code())?,
            membership: membership.map_err(|error| error.code())?,
            dialect: if version >= EPOCHS_VERSION_MIN {
                CommitDialect::Epochs
            } else {
                CommitDialect::Generations
            },
            retention_ms: Some(asked.retention_time_ms)
                .filter(|ms| (2..=4).contains(&version) && *ms >= 0),
            offsets,
        };
        let commit = move |groups: Groups<E>| groups.commit_offsets(commit);
        let committed = consult(node, asked.group_id.as_str(), commit).await?;
        committed.map_err(|error| told(node, &error, request))
    };
    let api = request.reply_to.api;
    let mut codes = sorted.codes(results.await, |code| node.metrics.refused(api, code));
    let topics = asked.topics.iter().map(|topic| commit::OffsetCommitResponseTopic {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: topic
            .partitions
            .iter()
            .map(|partition| commit::OffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                error_code: number(codes.next().unwrap_or(ErrorCode::UnknownServerError)),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    });
    let response = commit::Response { topics: topics.collect(), ..Default::default() };
    respond::<commit::Request>(request, &response)
}

pub(super) async fn commit_in_transaction<E: Env>(
    node: &Arc<Node<E>>,
    request: &Request,
) -> Answered {
    let asked: in_txn::Request = request.decode()?;
    let image = node.engine.image();
    let mut sorted = Sorted::default();
    for topic in &asked.topics {
        let found = by_name(&image, topic.name.as_str());
        for partition in &topic.partitions {
            sorted.take(
                found,
                &Asked {
                    partition: partition.partition_index,
                    offset: partition.committed_offset,
                    leader_epoch: partition.committed_leader_epoch,
                    metadata: partition.committed_metadata.as_ref(),
                },
            );
        }
    }
    drop(image);
    let offsets = std::mem::take(&mut sorted.offsets);
    let api = request.reply_to.api;
    let results = pend(node, request, &asked, offsets).await;
    let results = results.inspect_err(|code| node.metrics.refused(api, *code));
    let mut codes = sorted.codes(results, |code| node.metrics.refused(api, code));
    let topics = asked.topics.iter().map(|topic| in_txn::TxnOffsetCommitResponseTopic {
        name: topic.name.clone(),
        partitions: topic
            .partitions
            .iter()
            .map(|partition| in_txn::TxnOffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                error_code: number(codes.next().unwrap_or(ErrorCode::UnknownServerError)),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    });
    let response = in_txn::Response { topics: topics.collect(), ..Default::default() };
    respond::<in_txn::Request>(request, &response)
}

async fn pend<E: Env>(
    node: &Arc<Node<E>>,
    request: &Request,
    asked: &in_txn::Request,
    offsets: Vec<NewOffset>,
) -> Result<hanbeon::CommitResults, ErrorCode> {
    let version = request.reply_to.version;
    ready(node, asked.group_id.as_str()).await?;
    let id = TransactionalId::new(asked.transactional_id.as_str()).map_err(|error| error.code())?;
    transactions::ready(node, id.as_str()).await?;
    if asked.group_id.as_str().is_empty() {
        return Err(ErrorCode::InvalidGroupId);
    }
    let membership =
        membership(asked.generation_id, &asked.member_id, asked.group_instance_id.as_ref());
    let commit = CommitInTxn {
        group: name(&asked.group_id).map_err(|error| error.code())?,
        producer_id: ProducerId::new(asked.producer_id),
        producer_epoch: ProducerEpoch::new(asked.producer_epoch),
        membership: membership.map_err(|error| error.code())?,
        offsets,
    };
    let enrol = if version >= ENROLS_VERSION_MIN { Enrol::Add } else { Enrol::Verify };
    let groups = node.engine.groups();
    // It writes to the logs of both coordinators.
    let delay = groups.delay(commit.group.as_str());
    let delay = delay.max(node.engine.transactions().delay(id.as_str()));
    let committing = groups.commit_offsets_in_transaction(id, enrol, commit);
    let committed = carried_out(node, delay, committing).await?;
    committed.map_err(|error| code_in(version, &error))
}

/// What a client of this version of `TxnOffsetCommit` is told.
#[expect(clippy::wildcard_enum_match_arm, reason = "every other code is passed on as it is")]
fn code_in(version: i16, error: &GroupsError) -> ErrorCode {
    tracing::debug!(%error, "offsets were not let into a transaction");
    match error.code() {
        ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch,
        ErrorCode::TransactionAbortable if version < ABORTABLE_VERSION_MIN => {
            ErrorCode::InvalidTxnState
        }
        ErrorCode::NetworkException => ErrorCode::CoordinatorLoadInProgress,
        ErrorCode::StaleMemberEpoch => ErrorCode::IllegalGeneration,
        ErrorCode::CoordinatorLoadInProgress if version < LOADING_VERSION_MIN => {
            ErrorCode::CoordinatorNotAvailable
        }
        code => code,
    }
}

/// What one group is asked about.
struct AskedGroup<'a> {
    group: &'a Text,
    member: Option<(&'a Text, i32)>,
    /// Names and partitions; `None` for everything.
    topics: Option<Vec<(String, &'a [i32])>>,
}

pub(super) async fn fetch<E: Env>(node: &Arc<Node<E>>, request: &Request) -> Answered {
    let mut asked: fetch::Request = request.decode()?;
    let version = request.reply_to.version;
    let stability = if asked.require_stable { Stability::Required } else { Stability::NotRequired };
    let mut response = fetch::Response::default();
    let named = asked.topics.iter_mut().flatten();
    once(named.map(|topic| (topic.name.as_str(), &mut topic.partition_indexes)));
    if version < GROUPS_VERSION_MIN {
        let topics = asked.topics.as_ref().map(|topics| {
            let topics = topics.iter();
            topics.map(|t| (t.name.as_str().to_owned(), &t.partition_indexes[..])).collect()
        });
        let group = AskedGroup { group: &asked.group_id, member: None, topics };
        match one_group(node, request, &group, stability).await {
            Ok(found) => response.topics = old_topics(&group, &found, version),
            Err(code) if version >= 2 => response.error_code = number(code),
            // Version 1 has no place for an error of the whole but at each partition.
            Err(code) => response.topics = failed_topics(&group, code),
        }
        return respond::<fetch::Request>(request, &response);
    }
    let mut size = node.answer_size();
    for asked in &mut asked.groups {
        let named = asked.topics.iter_mut().flatten();
        once(named.map(|topic| {
            ((topic.name.as_str(), topic_id(topic.topic_id)), &mut topic.partition_indexes)
        }));
        let answer = match size.has_room() {
            Ok(()) => group_answer(node, request, asked, stability).await,
            Err(error) => fetch::OffsetFetchResponseGroup {
                group_id: asked.group_id.clone(),
                error_code: number(error.code()),
                ..Default::default()
            },
        };
        size.add(answer.topics.iter().map(topic_len).sum());
        response.groups.push(answer);
    }
    respond::<fetch::Request>(request, &response)
}

/// Leaves every partition where it is named first: what was committed for it may be thousands of times longer than its number.
fn once<'a, T: Ord>(topics: impl Iterator<Item = (T, &'a mut Vec<i32>)>) {
    let mut seen: BTreeMap<T, BTreeSet<i32>> = BTreeMap::new();
    for (topic, partitions) in topics {
        let seen = seen.entry(topic).or_default();
        partitions.retain(|index| seen.insert(*index));
    }
}

/// Bytes on the wire, about.
fn topic_len(topic: &fetch::OffsetFetchResponseTopics) -> usize {
    const FIXED: usize = 20;
    let partitions = topic.partitions.iter();
    let partitions = partitions
        .map(|one| FIXED + one.metadata.as_ref().map_or(0, |metadata| metadata.as_str().len()));
    topic.name.as_str().len() + partitions.sum::<usize>()
}

/// The answer for one group of a request for several.
async fn group_answer<E: Env>(
    node: &Arc<Node<E>>,
    request: &Request,
    asked: &fetch::OffsetFetchRequestGroup,
    stability: Stability,
) -> fetch::OffsetFetchResponseGroup {
    let ids = request.reply_to.version >= TOPIC_IDS_VERSION_MIN;
    let image = node.engine.image();
    // A topic that nobody knows keeps its place and gets its error.
    let resolved = |topic: &fetch::OffsetFetchRequestTopics| {
        if !ids {
            return Some(topic.name.as_str().to_owned());
        }
        image.topic_by_id(topic_id(topic.topic_id)).map(|topic| topic.name().to_string())
    };
    let names: Option<Vec<Option<String>>> =
        asked.topics.as_ref().map(|topics| topics.iter().map(resolved).collect());
    let topics = asked.topics.as_ref().zip(names.as_ref()).map(|(topics, names)| {
        let known = topics
            .iter()
            .zip(names)
            .filter_map(|(topic, name)| Some((name.clone()?, &topic.partition_indexes[..])));
        known.collect()
    });
    let member = asked.member_id.as_ref().map(|id| (id, asked.member_epoch));
    let group = AskedGroup { group: &asked.group_id, member, topics };
    let mut answer =
        fetch::OffsetFetchResponseGroup { group_id: asked.group_id.clone(), ..Default::default() };
    let found = match one_group(node, request, &group, stability).await {
        Ok(found) => found,
        Err(code) => {
            answer.error_code = number(code);
            return answer;
        }
    };
    answer.topics = match (&asked.topics, names) {
        (Some(topics), Some(names)) => {
            let mut found = found.iter();
            let answers = topics.iter().zip(names).map(|(topic, name)| {
                let of = |index: &i32| match &name {
                    Some(_) => partition(found.next(), *index),
                    None => unknown_id(*index),
                };
                fetch::OffsetFetchResponseTopics {
                    name: topic.name.clone(),
                    topic_id: topic.topic_id,
                    partitions: topic.partition_indexes.iter().map(of).collect(),
                    ..Default::default()
                }
            });
            answers.collect()
        }
        _ => everything(&image, &found, ids),
    };
    answer
}

fn unknown_id(partition_index: i32) -> fetch::OffsetFetchResponsePartitions {
    fetch::OffsetFetchResponsePartitions {
        error_code: number(ErrorCode::UnknownTopicId),
        ..partition(None, partition_index)
    }
}

fn partition(
    found: Option<&FetchedOffset>,
    partition_index: i32,
) -> fetch::OffsetFetchResponsePartitions {
    let committed = found.and_then(|found| found.committed.as_ref());
    fetch::OffsetFetchResponsePartitions {
        partition_index,
        committed_offset: committed.map_or(-1, |committed| committed.offset.get()),
        committed_leader_epoch: committed.map_or(-1, |committed| committed.leader_epoch.get()),
        metadata: Some(text(committed.map_or("", |committed| &committed.metadata))),
        error_code: number(
            found.and_then(|found| found.error.as_ref()).map_or(ErrorCode::None, |e| e.code()),
        ),
        ..Default::default()
    }
}

/// All offsets of a group, by topic.
fn everything<E: Env>(
    image: &Image<E>,
    found: &[FetchedOffset],
    ids: bool,
) -> Vec<fetch::OffsetFetchResponseTopics> {
    let mut topics: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for found in found {
        let partitions = topics.entry(found.topic.as_str()).or_default();
        partitions.push(partition(Some(found), found.partition));
    }
    let shown = topics.into_iter().filter_map(|(name, partitions)| {
        let topic_id = if ids {
            // A topic that is gone has no id to be named by.
            hanbeon_wire::messages::uuid(image.topic(name)?.id())
        } else {
            hanbeon_wire::messages::Uuid::default()
        };
        Some(fetch::OffsetFetchResponseTopics {
            name: text(if ids { "" } else { name }),
            topic_id,
            partitions,
            ..Default::default()
        })
    });
    shown.collect()
}

async fn one_group<E: Env>(
    node: &Arc<Node<E>>,
    request: &Request,
    asked: &AskedGroup<'_>,
    stability: Stability,
) -> Result<Vec<FetchedOffset>, ErrorCode> {
    ready(node, asked.group.as_str()).await?;
    let what = match &asked.topics {
        None => FetchWhat::All,
        Some(topics) => {
            let mut these = Vec::new();
            for (topic, partitions) in topics {
                let topic = Name::new(topic).map_err(|error| error.code())?;
                these.extend(partitions.iter().map(|index| (topic.clone(), *index)));
            }
            FetchWhat::These(these)
        }
    };
    let member = match asked.member {
        Some((id, epoch)) => Some((name(id).map_err(|error| error.code())?, epoch)),
        None => None,
    };
    let group = name(asked.group).map_err(|error| error.code())?;
    let groups = node.engine.groups();
    let delay = groups.delay(group.as_str());
    let fetching = groups.fetch_offsets(Fetch { group, member, stability, what });
    carried_out(node, delay, fetching).await?.map_err(|error| told(node, &error, request))
}

/// Topics of an answer for one group.
fn old_topics(
    asked: &AskedGroup<'_>,
    found: &[FetchedOffset],
    version: i16,
) -> Vec<fetch::OffsetFetchResponseTopic> {
    let old = |one: fetch::OffsetFetchResponsePartitions| fetch::OffsetFetchResponsePartition {
        partition_index: one.partition_index,
        committed_offset: one.committed_offset,
        committed_leader_epoch: if version >= LEADER_EPOCH_VERSION_MIN {
            one.committed_leader_epoch
        } else {
            -1
        },
        metadata: one.metadata,
        error_code: one.error_code,
        ..Default::default()
    };
    let mut topics: Vec<fetch::OffsetFetchResponseTopic> = Vec::new();
    match &asked.topics {
        Some(named) => {
            let mut found = found.iter();
            for (name, partitions) in named {
                let partitions = partitions.iter().map(|at| old(partition(found.next(), *at)));
                topics.push(fetch::OffsetFetchResponseTopic {
                    name: text(name),
                    partitions: partitions.collect(),
                    ..Default::default()
                });
            }
        }
        None => {
            let mut by_topic: BTreeMap<&str, Vec<_>> = BTreeMap::new();
            for found in found {
                let partitions = by_topic.entry(found.topic.as_str()).or_default();
                partitions.push(old(partition(Some(found), found.partition)));
            }
            topics.extend(by_topic.into_iter().map(|(name, partitions)| {
                fetch::OffsetFetchResponseTopic {
                    name: text(name),
                    partitions,
                    ..Default::default()
                }
            }));
        }
    }
    topics
}

fn failed_topics(asked: &AskedGroup<'_>, code: ErrorCode) -> Vec<fetch::OffsetFetchResponseTopic> {
    let topics = asked.topics.iter().flatten().map(|(name, partitions)| {
        let failed = |at: &i32| fetch::OffsetFetchResponsePartition {
            partition_index: *at,
            committed_offset: -1,
            committed_leader_epoch: -1,
            metadata: Some(text("")),
            error_code: number(code),
            ..Default::default()
        };
        fetch::OffsetFetchResponseTopic {
            name: text(name),
            partitions: partitions.iter().map(failed).collect(),
            ..Default::default()
        }
    });
    topics.collect()
}

pub(super) async fn delete<E: Env>(node: &Arc<Node<E>>, request: &Request) -> Answered {
    let asked: delete::Request = request.decode()?;
    let image = node.engine.image();
    let mut known = Vec::new();
    let mut refused = Vec::new();
    for topic in &asked.topics {
        let there = image.topic(topic.name.as_str());
        for partition in &topic.partitions {
            let index = partition.partition_index;
            let exists = there.is_some_and(|topic| topic.partition(index).is_some());
            let named = Name::new(topic.name.as_str()).ok().filter(|_| exists);
            refused.push(named.is_none());
            known.extend(named.map(|name| (name, index)));
        }
    }
    drop(image);
    let results = async {
        ready(node, asked.group_id.as_str()).await?;
        let group = name(&asked.group_id).map_err(|error| error.code())?;
        let delete = DeleteOffsets { group, partitions: known };
        let delete = move |groups: Groups<E>| groups.delete_offsets(delete);
        let deleted = consult(node, asked.group_id.as_str(), delete).await?;
        deleted.map_err(|error| told(node, &error, request))
    };
    let mut response = delete::Response::default();
    match results.await {
        Err(code) => response.error_code = number(code),
        Ok(results) => {
            let (mut results, mut refused) = (results.into_iter(), refused.into_iter());
            response.topics = asked
                .topics
                .iter()
                .map(|topic| delete::OffsetDeleteResponseTopic {
                    name: topic.name.clone(),
                    partitions: topic
                        .partitions
                        .iter()
                        .map(|partition| {
                            let code = if refused.next() == Some(true) {
                                ErrorCode::UnknownTopicOrPartition
                            } else {
                                let result = results.next().and_then(Result::err);
                                result.map_or(ErrorCode::None, |error| error.code())
                            };
                            delete::OffsetDeleteResponsePartition {
                                partition_index: partition.partition_index,
                                error_code: number(code),
                                ..Default::default()
                            }
                        })
                        .collect(),
                    ..Default::default()
                })
                .collect();
        }
    }
    respond::<delete::Request>(request, &response)
}
