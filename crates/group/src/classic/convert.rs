//! What of a classic group goes over to KIP-848, and how one begins that comes from there.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::{String, ToString},
    vec::Vec,
};

use hanbeon_records::Millis;

use super::{Classic, Member};
use crate::{
    GroupError, Name, Opaque, Protocol, Reply, State,
    consumer::{Partitions, TopicsImage, Translated},
    migration::{Next, embedded},
    record::{
        GroupMetadata, MetadataMember,
        consumer::{ClassicMember, MemberMetadata},
    },
    step::Step,
};

impl<T> Classic<T> {
    pub(crate) const fn generation(&self) -> i32 {
        self.generation
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// The members in the words of KIP-848, by id; none when what one of them says of itself cannot be read, or its leader's
    /// assignor left word that nobody would pass on.
    pub(crate) fn translated(&self, topics: &dyn TopicsImage) -> Option<Vec<Translated>> {
        self.members.iter().map(|member| self.translate(member, topics)).collect()
    }

    fn translate(&self, member: &Member<T>, topics: &dyn TopicsImage) -> Option<Translated> {
        // Before the first generation none is chosen: then what the member likes best.
        let chosen = member.protocols.iter().find(|own| Some(&own.name) == self.protocol.as_ref());
        let words = embedded::subscription(&chosen.or_else(|| member.protocols.first())?.metadata)?;
        let given = embedded::assignment(&member.assignment)?;
        if given.has_user_data {
            return None;
        }
        let text = |name: &Name| name.as_str().to_string();
        let names: BTreeSet<&str> = words.topics.iter().map(Name::as_str).collect();
        let protocols = member.protocols.iter().map(|own| (text(&own.name), own.metadata.to_vec()));
        let metadata = MemberMetadata {
            instance_id: member.instance_id.as_ref().map(text),
            rack_id: words.rack_id.as_ref().map(text),
            client_id: text(&member.client_id),
            client_host: text(&member.client_host),
            subscribed_topic_names: names.into_iter().map(String::from).collect(),
            subscribed_topic_regex: Some(String::new()),
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            server_assignor: None,
            classic: Some(ClassicMember {
                session_timeout_ms: member.session_timeout_ms,
                protocols: protocols.collect(),
            }),
        };
        let assigned = Partitions::named(&given.partitions, topics);
        let owned = Partitions::named(&words.owned, topics);
        Some(Translated { member_id: text(&member.id), metadata, assigned, owned })
    }

    /// The group speaks KIP-848 from now on: who waits is told to come again.
    pub(crate) fn dismiss(&mut self, step: &mut Step<'_, T>) {
        let (group, state) = (step.group.clone(), State::PreparingRebalance);
        let error = GroupError::RebalanceInProgress { group, state };
        self.members.change_all(|member| {
            if let Some(token) = member.join.take() {
                step.refuse_join(token, error.clone(), member.id.clone());
            }
            if let Some(token) = member.sync.take() {
                step.answer(token, Reply::Sync(Err(error.clone())));
            }
        });
    }

    /// How a group of these members looks in the log; none when they share no protocol.
    pub(crate) fn assembled(
        since: Millis,
        generation: i32,
        protocol_type: Name,
        members: &[(MetadataMember, Vec<Protocol>)],
    ) -> Option<GroupMetadata> {
        let mut group = Self::simple(Some(since));
        group.protocol_type = Some(protocol_type);
        group.generation = generation;
        group.leader = members.first().map(|(member, _)| member.member_id.clone());
        let mut assignments: BTreeMap<Name, Opaque> = BTreeMap::new();
        for (value, protocols) in members {
            let mut member = Member::loaded(value, None, group.number());
            member.protocols.clone_from(protocols);
            assignments.insert(value.member_id.clone(), value.assignment.clone());
            group.members.seat(member);
        }
        group.protocol = Some(group.select_protocol()?);
        Some(group.metadata(&assignments))
    }

    /// The group comes from KIP-848: its members' sessions go on, and what the log does not say of them is added.
    pub(crate) fn welcome(
        &mut self,
        step: &mut Step<'_, T>,
        protocols: BTreeMap<Name, Vec<Protocol>>,
        next: Next,
    ) {
        self.members.change_all(|member| member.expires = step.in_ms(member.session_timeout_ms));
        for (id, own) in protocols {
            self.change_protocols(&id, own);
        }
        match next {
            Next::Rebalance => self.rebalance(step),
            Next::Stay => {}
        }
    }
}
