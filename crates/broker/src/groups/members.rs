//! `JoinGroup`, `SyncGroup`, `Heartbeat` and `LeaveGroup`: the classic protocol.

use std::sync::Arc;

use hanbeon::{
    Env, Groups,
    group::{
        Join, JoinRefused, Joined, LeadersTask, Leave, Leaver, Name, NameTooLong, NewMembers,
        Opaque, Protocol, SkipAssignment, Speaker, Sync, Synced,
    },
};
use hanbeon_records::ErrorCode;
use hanbeon_wire::{
    ReplyTo, Request,
    messages::{
        Text, heartbeat, join_group as join, leave_group as leave, sync_group as sync, text,
    },
};

use super::{ask, client_id, consult, ready, told, told_to, wait};
use crate::{
    admin::{Answered, number, respond, respond_to},
    connection::{Peer, Reply},
    dispatch::{Node, finished},
};

/// The first version in which a new member gets an id before it joins (KIP-394).
const ID_FIRST_VERSION_MIN: i16 = 4;
/// The first version whose answers may lack a protocol and name its type (KIP-559).
const TYPED_VERSION_MIN: i16 = 7;
/// The first version of `SyncGroup` that tells type and protocol (KIP-559).
const TYPED_SYNC_VERSION_MIN: i16 = 5;
/// The first version that can tell a leader to leave the assignment alone (KIP-814).
const SKIP_VERSION_MIN: i16 = 9;
/// The first version of `LeaveGroup` for several members (KIP-345).
const BATCHED_LEAVE_VERSION_MIN: i16 = 3;

pub(super) fn name(text: &Text) -> Result<Name, NameTooLong> {
    Name::new(text.as_str())
}

pub(super) fn optional(text: Option<&Text>) -> Result<Option<Name>, NameTooLong> {
    text.map(name).transpose()
}

fn shown(name: &Name) -> Text {
    text(name.as_str())
}

fn opaque(bytes: &bytes::Bytes) -> Opaque {
    Opaque::from(&bytes[..])
}

fn bytes(opaque: &Opaque) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(opaque)
}

/// What is asked is copied first: the bytes of a request count for all connections, and the others of the group decide how long it waits.
pub(super) fn join<E: Env>(node: Arc<Node<E>>, peer: &Peer, request: &Request) -> Reply {
    let reply_to = request.reply_to;
    let ReplyTo { api, version, .. } = reply_to;
    let asked = match request.decode() {
        Ok(asked) => asked_join(&asked, peer, request),
        Err(error) => return finished(api, Err(error)),
    };
    let held_bytes = asked.as_ref().map_or(0, Join::kept_bytes);
    let asking = async move {
        let join = asked.map_err(|error| error.code())?;
        let group = join.group.clone();
        ready(&node, group.as_str()).await?;
        let joined = ask(&node, group.as_str(), move |groups| groups.join(join)).await?;
        Ok(async move {
            let response = match joined.await {
                Ok(Ok(joined)) => welcome(&joined, version),
                Ok(Err(JoinRefused { error, member_id })) => {
                    tracing::debug!(%error, "a member was not let in");
                    let code = error.code();
                    // A new member that was given its id (KIP-394).
                    if code != ErrorCode::MemberIdRequired {
                        node.metrics.refused(api, code);
                    }
                    refusal(code, &member_id, version)
                }
                Err(error) => refusal(told_to(&node, &error, api), &Name::empty(), version),
            };
            respond_to::<join::Request>(reply_to, &response)
        })
    };
    let early =
        move |code| respond_to::<join::Request>(reply_to, &refusal(code, &Name::empty(), version));
    wait(api, asking, early, held_bytes)
}

fn asked_join(asked: &join::Request, peer: &Peer, request: &Request) -> Result<Join, NameTooLong> {
    let version = request.reply_to.version;
    let protocols = asked.protocols.iter().map(|protocol| {
        Ok(Protocol { name: name(&protocol.name)?, metadata: opaque(&protocol.metadata) })
    });
    Ok(Join {
        group: name(&asked.group_id)?,
        member_id: name(&asked.member_id)?,
        instance_id: optional(asked.group_instance_id.as_ref())?,
        client_id: Name::new(&client_id(request))?,
        client_host: Name::new(&peer.host)?,
        session_timeout_ms: asked.session_timeout_ms,
        rebalance_timeout_ms: (version > 0).then_some(asked.rebalance_timeout_ms),
        protocol_type: name(&asked.protocol_type)?,
        protocols: protocols.collect::<Result<_, NameTooLong>>()?,
        new_members: if version >= ID_FIRST_VERSION_MIN {
            NewMembers::GetAnIdFirst
        } else {
            NewMembers::JoinAtOnce
        },
        skip_assignment: if version >= SKIP_VERSION_MIN {
            SkipAssignment::Supported
        } else {
            SkipAssignment::Unsupported
        },
    })
}

fn welcome(joined: &Joined, version: i16) -> join::Response {
    let static_ids = version >= 5;
    join::Response {
        generation_id: joined.generation,
        protocol_type: (version >= TYPED_VERSION_MIN)
            .then(|| joined.protocol_type.as_ref().map(shown))
            .flatten(),
        protocol_name: joined.protocol_name.as_ref().map(shown),
        leader: shown(&joined.leader),
        skip_assignment: version >= SKIP_VERSION_MIN && joined.assignment == LeadersTask::Skip,
        member_id: shown(&joined.member_id),
        members: joined
            .members
            .iter()
            .map(|member| join::JoinGroupResponseMember {
                member_id: shown(&member.member_id),
                group_instance_id: member.instance_id.as_ref().filter(|_| static_ids).map(shown),
                metadata: bytes(&member.metadata),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

fn refusal(code: ErrorCode, member_id: &Name, version: i16) -> join::Response {
    join::Response {
        error_code: number(code),
        generation_id: -1,
        // Null is no protocol; earlier clients cannot read it.
        protocol_name: (version < TYPED_VERSION_MIN).then(|| text("")),
        member_id: shown(member_id),
        ..Default::default()
    }
}

fn speaker(
    group: &Text,
    generation: i32,
    member_id: &Text,
    instance_id: Option<&Text>,
) -> Result<Speaker, NameTooLong> {
    Ok(Speaker {
        group: name(group)?,
        generation,
        member_id: name(member_id)?,
        instance_id: optional(instance_id)?,
    })
}

/// What is asked is copied first, as in [`join()`].
pub(super) fn sync<E: Env>(node: Arc<Node<E>>, request: &Request) -> Reply {
    let reply_to = request.reply_to;
    let ReplyTo { api, version, .. } = reply_to;
    let asked = match request.decode() {
        Ok(asked) => asked_sync(&asked),
        Err(error) => return finished(api, Err(error)),
    };
    let held_bytes = asked.as_ref().map_or(0, |sync| {
        let one = |(id, assigned): &(Name, Opaque)| {
            size_of::<(Name, Opaque)>() + id.as_str().len() + assigned.len()
        };
        sync.assignments.iter().map(one).sum()
    });
    let asking = async move {
        let sync = asked.map_err(|error| error.code())?;
        let group = sync.speaker.group.clone();
        ready(&node, group.as_str()).await?;
        let synced = ask(&node, group.as_str(), move |groups| groups.sync(sync)).await?;
        Ok(async move {
            let mut response = sync::Response::default();
            match synced.await {
                Ok(Synced { protocol_type, protocol_name, assignment }) => {
                    if version >= TYPED_SYNC_VERSION_MIN {
                        response.protocol_type = protocol_type.as_ref().map(shown);
                        response.protocol_name = protocol_name.as_ref().map(shown);
                    }
                    response.assignment = bytes(&assignment);
                }
                Err(error) => response.error_code = number(told_to(&node, &error, api)),
            }
            respond_to::<sync::Request>(reply_to, &response)
        })
    };
    let early = move |code| {
        let refused = sync::Response { error_code: number(code), ..Default::default() };
        respond_to::<sync::Request>(reply_to, &refused)
    };
    wait(api, asking, early, held_bytes)
}

fn asked_sync(asked: &sync::Request) -> Result<Sync, NameTooLong> {
    let assignments = asked
        .assignments
        .iter()
        .map(|assigned| Ok((name(&assigned.member_id)?, opaque(&assigned.assignment))));
    Ok(Sync {
        speaker: speaker(
            &asked.group_id,
            asked.generation_id,
            &asked.member_id,
            asked.group_instance_id.as_ref(),
        )?,
        protocol_type: optional(asked.protocol_type.as_ref())?,
        protocol_name: optional(asked.protocol_name.as_ref())?,
        assignments: assignments.collect::<Result<_, NameTooLong>>()?,
    })
}

pub(super) async fn heartbeat<E: Env>(node: &Arc<Node<E>>, request: &Request) -> Answered {
    let asked: heartbeat::Request = request.decode()?;
    let beaten = async {
        ready(node, asked.group_id.as_str()).await?;
        let speaker = speaker(
            &asked.group_id,
            asked.generation_id,
            &asked.member_id,
            asked.group_instance_id.as_ref(),
        );
        let speaker = speaker.map_err(|error| error.code())?;
        let beat = move |groups: Groups<E>| groups.heartbeat(speaker);
        let beaten = consult(node, asked.group_id.as_str(), beat).await?;
        beaten.map_err(|error| told(node, &error, request))
    };
    let code = beaten.await.err().unwrap_or(ErrorCode::None);
    let response = heartbeat::Response { error_code: number(code), ..Default::default() };
    respond::<heartbeat::Request>(request, &response)
}

pub(super) async fn leave<E: Env>(node: &Arc<Node<E>>, request: &Request) -> Answered {
    let asked: leave::Request = request.decode()?;
    let batched = request.reply_to.version >= BATCHED_LEAVE_VERSION_MIN;
    let left = async {
        ready(node, asked.group_id.as_str()).await?;
        let leave = asked_leave(&asked, batched).map_err(|error| error.code())?;
        let leave = move |groups: Groups<E>| groups.leave(leave);
        let left = consult(node, asked.group_id.as_str(), leave).await?;
        left.map_err(|error| told(node, &error, request))
    };
    let mut response = leave::Response::default();
    let left = left.await;
    for error in left.iter().flatten().filter_map(|left| left.result.as_ref().err()) {
        node.metrics.refused(request.reply_to.api, error.code());
    }
    match left {
        Ok(left) if batched => {
            response.members = left
                .iter()
                .map(|left| leave::MemberResponse {
                    member_id: shown(&left.member_id),
                    group_instance_id: left.instance_id.as_ref().map(shown),
                    error_code: number(
                        left.result.as_ref().err().map_or(ErrorCode::None, |e| e.code()),
                    ),
                    ..Default::default()
                })
                .collect();
        }
        // One member: what became of it is what became of the request.
        Ok(left) => {
            let failed = left.into_iter().find_map(|left| left.result.err());
            response.error_code = number(failed.map_or(ErrorCode::None, |error| error.code()));
        }
        Err(code) => response.error_code = number(code),
    }
    respond::<leave::Request>(request, &response)
}

fn asked_leave(asked: &leave::Request, batched: bool) -> Result<Leave, NameTooLong> {
    let members = if batched {
        let members = asked.members.iter().map(|member| {
            Ok(Leaver {
                member_id: name(&member.member_id)?,
                instance_id: optional(member.group_instance_id.as_ref())?,
            })
        });
        members.collect::<Result<_, NameTooLong>>()?
    } else {
        vec![Leaver { member_id: name(&asked.member_id)?, instance_id: None }]
    };
    Ok(Leave { group: name(&asked.group_id)?, members })
}
