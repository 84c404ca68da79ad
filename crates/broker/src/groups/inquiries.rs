//! `DescribeGroups`, `ListGroups` and `DeleteGroups`.

use std::{future, sync::Arc};

use hanbeon::{
    Env, Groups,
    group::{Described, DescribedMember, ListFilter, Listed, Name},
};
use hanbeon_records::ErrorCode;
use hanbeon_wire::{
    Request,
    messages::{
        Text, delete_groups as delete, describe_groups as describe, list_groups as list, text,
    },
};

use super::{GROUP_OPERATIONS, NO_OPERATIONS, consult, members::name, ready, told};
use crate::{
    admin::{Answered, number, respond, words},
    blocking::Kind,
    dispatch::Node,
};

/// The first version that says that a group is not there (KIP-1043).
const NOT_FOUND_VERSION_MIN: i16 = 6;

pub(super) async fn describe<E: Env>(node: &Arc<Node<E>>, request: &Request) -> Answered {
    let asked: describe::Request = request.decode()?;
    let version = request.reply_to.version;
    let mut response = describe::Response::default();
    let mut size = node.answer_size();
    for group in &asked.groups {
        let mut answer = describe::DescribedGroup {
            group_id: group.clone(),
            authorized_operations: NO_OPERATIONS,
            ..Default::default()
        };
        let described = async {
            size.has_room().map_err(|error| (error.code(), words(&error)))?;
            let (refused, id) = (|code| (code, None), group.as_str());
            ready(node, id).await.map_err(refused)?;
            let group = name(group).map_err(|error| (error.code(), words(&error)))?;
            let describe = move |groups: Groups<E>| future::ready(groups.describe(&group));
            let described = consult(node, id, describe).await.map_err(refused)?;
            described.map_err(|error| (told(node, &error, request), words(&error)))
        };
        match described.await {
            Ok(described) => {
                size.add(described.members.iter().map(member_len).sum());
                fill(&mut answer, &described, version);
            }
            Err((ErrorCode::GroupIdNotFound, message)) => {
                answer.group_state = text("Dead");
                if version >= NOT_FOUND_VERSION_MIN {
                    answer.error_code = number(ErrorCode::GroupIdNotFound);
                    answer.error_message = message;
                }
            }
            Err((code, message)) => {
                answer.error_code = number(code);
                if version >= NOT_FOUND_VERSION_MIN {
                    answer.error_message = message;
                }
            }
        }
        if asked.include_authorized_operations && answer.error_code == 0 {
            answer.authorized_operations = GROUP_OPERATIONS;
        }
        response.groups.push(answer);
    }
    respond::<describe::Request>(request, &response)
}

/// Bytes on the wire, about.
fn member_len(member: &DescribedMember) -> usize {
    let names = [&member.member_id, &member.client_id, &member.client_host];
    let names = names.iter().map(|name| name.as_str().len()).sum::<usize>();
    names + member.metadata.len() + member.assignment.len()
}

fn fill(answer: &mut describe::DescribedGroup, described: &Described, version: i16) {
    answer.group_state = text(described.state.name());
    answer.protocol_type = text(described.protocol_type.as_str());
    answer.protocol_data = text(described.protocol_data.as_str());
    answer.members = described
        .members
        .iter()
        .map(|member| describe::DescribedGroupMember {
            member_id: text(member.member_id.as_str()),
            group_instance_id: member
                .instance_id
                .as_ref()
                .filter(|_| version >= 4)
                .map(|id| text(id.as_str())),
            client_id: text(member.client_id.as_str()),
            client_host: text(member.client_host.as_str()),
            member_metadata: bytes::Bytes::copy_from_slice(&member.metadata),
            member_assignment: bytes::Bytes::copy_from_slice(&member.assignment),
            ..Default::default()
        })
        .collect();
}

pub(super) async fn list<E: Env>(node: &Arc<Node<E>>, request: &Request) -> Answered {
    let asked: list::Request = request.decode()?;
    let version = request.reply_to.version;
    let words = |filter: &[Text]| {
        // A word too long to be a name matches nothing, as the empty one does.
        let name = |word: &Text| Name::new(word.as_str()).unwrap_or_else(|_| Name::empty());
        filter.iter().map(name).collect()
    };
    let filter =
        ListFilter { states: words(&asked.states_filter), types: words(&asked.types_filter) };
    let groups = node.engine.groups();
    // Shards that nobody has read yet are read for it.
    let listed = node.blocking.run(Kind::Opening, move || groups.list(&filter)).await;
    let mut response = list::Response::default();
    match listed {
        Ok(Ok(found)) => {
            response.groups = found.iter().map(|found| listed_group(found, version)).collect();
        }
        Ok(Err(error)) => response.error_code = number(told(node, &error, request)),
        Err(_) => response.error_code = number(ErrorCode::CoordinatorNotAvailable),
    }
    respond::<list::Request>(request, &response)
}

fn listed_group(found: &Listed, version: i16) -> list::ListedGroup {
    let mut listed = list::ListedGroup {
        group_id: text(found.group.as_str()),
        protocol_type: text(found.protocol_type.as_str()),
        ..Default::default()
    };
    if version >= 4 {
        listed.group_state = text(found.state.name());
    }
    if version >= 5 {
        listed.group_type = text(found.group_type.name());
    }
    listed
}

pub(super) async fn delete<E: Env>(node: &Arc<Node<E>>, request: &Request) -> Answered {
    let asked: delete::Request = request.decode()?;
    let mut response = delete::Response::default();
    for group in &asked.groups_names {
        let deleted = async {
            let id = group.as_str();
            ready(node, id).await?;
            let group = name(group).map_err(|error| error.code())?;
            let deleted = consult(node, id, move |groups| groups.delete(group)).await?;
            deleted.map_err(|error| told(node, &error, request))
        };
        let code = deleted.await.err().unwrap_or(ErrorCode::None);
        response.results.push(delete::DeletableGroupResult {
            group_id: group.clone(),
            error_code: number(code),
            ..Default::default()
        });
    }
    respond::<delete::Request>(request, &response)
}
