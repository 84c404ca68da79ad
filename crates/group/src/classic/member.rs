//! One member of a classic group.

use alloc::vec::Vec;

use hanbeon_records::Millis;

use crate::{Name, Opaque, Protocol, record::MetadataMember, step::Returned};

/// Whether a member has ever been answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its first `JoinGroup` is parked: it knows no id and cannot heartbeat.
    New,
    /// It knows its id.
    Known,
}

/// Whether the leader's assignment was asked for in this generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Synced {
    Not,
    Asked,
}

/// One member of a classic group.
#[derive(Debug)]
pub(crate) struct Member<T> {
    pub(super) id: Name,
    pub(super) instance_id: Option<Name>,
    pub(super) client_id: Name,
    pub(super) client_host: Name,
    pub(super) rebalance_timeout_ms: i32,
    pub(super) session_timeout_ms: i32,
    pub(super) protocols: Vec<Protocol>,
    pub(super) assignment: Opaque,
    /// Where it stands in the order of joining.
    pub(super) number: u64,
    pub(super) standing: Standing,
    pub(super) join: Option<T>,
    pub(super) sync: Option<T>,
    pub(super) synced: Synced,
    /// When it is taken for dead unless it is heard before.
    pub(super) expires: Millis,
}

impl<T> Member<T> {
    /// A member whose first `JoinGroup` is parked.
    pub(super) fn new(
        as_it_came: Returned,
        instance_id: Option<Name>,
        number: u64,
        token: T,
        expires: Millis,
    ) -> Self {
        Self {
            id: as_it_came.member_id,
            instance_id,
            client_id: as_it_came.client_id,
            client_host: as_it_came.client_host,
            rebalance_timeout_ms: as_it_came.rebalance_timeout_ms,
            session_timeout_ms: as_it_came.session_timeout_ms,
            protocols: as_it_came.protocols,
            assignment: Opaque::from([]),
            number,
            standing: Standing::New,
            join: Some(token),
            sync: None,
            synced: Synced::Asked,
            expires,
        }
    }

    pub(super) fn loaded(member: &MetadataMember, protocol: Option<&Name>, number: u64) -> Self {
        let protocols = protocol
            .map(|name| Protocol { name: name.clone(), metadata: member.subscription.clone() })
            .into_iter()
            .collect();
        Self {
            id: member.member_id.clone(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            session_timeout_ms: member.session_timeout_ms,
            protocols,
            assignment: member.assignment.clone(),
            number,
            standing: Standing::Known,
            join: None,
            sync: None,
            synced: Synced::Asked,
            expires: Millis::new(i64::MAX),
        }
    }

    /// A static member's new process takes the place of the old one.
    pub(super) fn replace(&mut self, by: Returned) {
        self.id = by.member_id;
        self.client_id = by.client_id;
        self.client_host = by.client_host;
        self.protocols = by.protocols;
        self.session_timeout_ms = by.session_timeout_ms;
        self.rebalance_timeout_ms = by.rebalance_timeout_ms;
    }

    pub(super) fn metadata_for(&self, protocol: Option<&Name>) -> Opaque {
        self.protocols
            .iter()
            .find(|own| Some(&own.name) == protocol)
            .map_or_else(|| Opaque::from([]), |own| own.metadata.clone())
    }

    /// When it is taken for dead; never while it waits for an answer, unless it cannot heartbeat yet.
    pub(super) fn deadline(&self) -> Option<Millis> {
        let waits = self.join.is_some() || self.sync.is_some();
        (!waits || self.standing == Standing::New).then_some(self.expires)
    }
}
