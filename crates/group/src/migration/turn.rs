//! A group with members changes its protocol: what is logged for it, and what happens to those who wait.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::String,
    vec::Vec,
};

use hanbeon_records::Millis;

use super::serve::CONSUMER;
use crate::{
    Coordinator, GroupError, Name, Output, Protocol, Record,
    classic::Classic,
    consumer::{ClassicSeat, ConsumerGroup, ConsumerSettings, Member, TopicsImage},
    live::{Live, logged},
    record::MetadataMember,
};

/// What a write does to the protocol of its group.
#[derive(Debug)]
pub(crate) enum Turn {
    /// Nothing.
    Stays,
    /// A classic group becomes one of KIP-848.
    Up,
    /// A KIP-848 group becomes a classic one.
    Down {
        /// All that each member supports; the log keeps the chosen protocol alone.
        protocols: BTreeMap<Name, Vec<Protocol>>,
        next: Next,
    },
}

/// What a classic group does that was one of KIP-848.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It rebalances: something is nobody's, such as what the leaver had, or what one gave up and another was to have.
    Rebalance,
    /// Everybody has what it is to have, and keeps it.
    Stay,
}

/// Members on their way to a classic group, with all that they support.
type Movers = Vec<(MetadataMember, Vec<Protocol>)>;

impl<T> Coordinator<T> {
    /// The write is in the log and not applied yet: who waits in the old form is told to come again.
    pub(crate) fn before_turn(
        &mut self,
        now: Millis,
        group: &Name,
        turn: &Turn,
        out: &mut Vec<Output<T>>,
    ) {
        match turn {
            Turn::Up => self.with_classic(now, group, out, Classic::dismiss),
            Turn::Stays | Turn::Down { .. } => {}
        }
    }

    /// The write is applied, and who asked for it has its answer.
    pub(crate) fn after_turn(
        &mut self,
        now: Millis,
        group: &Name,
        turn: Turn,
        out: &mut Vec<Output<T>>,
    ) {
        match turn {
            Turn::Down { protocols, next } => {
                self.with_classic(now, group, out, |classic, step| {
                    classic.welcome(step, protocols, next);
                });
            }
            Turn::Stays | Turn::Up => {}
        }
    }

    /// A classic group goes over to KIP-848: the group that it becomes, and the records.
    pub(crate) fn upgraded(
        &self,
        name: &Name,
        classic: &Classic<T>,
        settings: &ConsumerSettings,
    ) -> Result<(ConsumerGroup, Vec<Record>), GroupError> {
        let cannot = || GroupError::GroupNotFound { group: name.clone() };
        let may = settings.migration_policy.allows_upgrade()
            && classic.is_consumer_group()
            && classic.len() <= settings.max_size;
        let (group, made) = self
            .with_topics(|topics| {
                let members = classic.translated(topics).filter(|_| may)?;
                let (id, generation) = (name.as_str(), classic.generation());
                Some(ConsumerGroup::from_classic(id, generation, &members, topics))
            })
            .ok_or_else(cannot)?;
        let mut records = Vec::from([Record::Group { group: name.clone(), value: None }]);
        records.append(&mut logged(name, &made)?);
        Ok((group, records))
    }

    /// The group without `leavers` as a classic one, when only members are left that speak the classic protocol and it may be.
    pub(crate) fn downgraded(
        &self,
        now: Millis,
        name: &Name,
        live: &Live,
        leavers: &[String],
    ) -> Option<(Vec<Record>, Turn)> {
        if !self.may_downgrade(name, live, leavers) {
            return None;
        }
        let leavers: BTreeSet<&String> = leavers.iter().collect();
        let stays = live.group.members().filter(|(id, _)| !leavers.contains(id));
        let movers = self.with_topics(|topics| {
            stays.map(|(id, member)| mover(id, member, topics)).collect::<Option<Movers>>()
        })?;
        self.classic_form(now, name, live, live.group.epoch(), movers, Next::Rebalance)
    }

    /// The same with a static member in the place of the last one that spoke KIP-848.
    pub(crate) fn downgraded_by_join(
        &self,
        now: Millis,
        name: &Name,
        live: &Live,
        member_id: &str,
        seat: &ClassicSeat,
    ) -> Option<(Vec<Record>, Turn)> {
        let replaced = seat.replaced.as_ref()?;
        let spoke_classic = live.group.member(replaced).is_none_or(Member::speaks_classic);
        let alone = live.group.len() == 1;
        let may = alone || live.group.is_classic_without(core::slice::from_ref(replaced));
        if spoke_classic || !may || !self.allows_classic(name, live.group.len()) {
            return None;
        }
        let stays = live.group.members().filter(|(id, _)| *id != replaced);
        let movers = self.with_topics(|topics| {
            let stays = stays.map(|(id, member)| mover(id, member, topics));
            stays.chain([mover(member_id, &seat.member, topics)]).collect::<Option<Movers>>()
        })?;
        let others = live.group.members().filter(|(id, _)| *id != replaced);
        let all = others.map(|(_, member)| member).chain([&seat.member]);
        let next = if seat.target_epoch == seat.group_epoch
            && all.into_iter().all(|member| member.is_reconciled_to(seat.target_epoch))
        {
            Next::Stay
        } else {
            Next::Rebalance
        };
        self.classic_form(now, name, live, seat.group_epoch, movers, next)
    }

    fn may_downgrade(&self, name: &Name, live: &Live, leavers: &[String]) -> bool {
        let left = live.group.len().saturating_sub(leavers.len());
        live.group.is_classic_without(leavers) && self.allows_classic(name, left)
    }

    fn allows_classic(&self, name: &Name, members: usize) -> bool {
        let policy = self.settings_of(name).map(|settings| settings.migration_policy);
        policy.is_some_and(super::MigrationPolicy::allows_downgrade)
            && members <= self.settings.group_size_max
    }

    fn classic_form(
        &self,
        now: Millis,
        name: &Name,
        live: &Live,
        generation: i32,
        movers: Movers,
        next: Next,
    ) -> Option<(Vec<Record>, Turn)> {
        let (since, consumer) = (self.time_of_day(now), Name::new(CONSUMER).ok()?);
        let value = Classic::<T>::assembled(since, generation, consumer, &movers)?;
        let mut records = live.tombstones(name);
        records.push(Record::Group { group: name.clone(), value: Some(value) });
        let own = |(member, protocols): (MetadataMember, _)| (member.member_id, protocols);
        Some((records, Turn::Down { protocols: movers.into_iter().map(own).collect(), next }))
    }
}

/// A member of a KIP-848 group in the words of a classic one; none for one that does not speak its protocol.
///
/// What it has goes with it, and not its target: that can be in other hands yet, and a group that goes back to KIP-848 before
/// everybody has joined begins with this.
fn mover(
    id: &str,
    member: &Member,
    topics: &dyn TopicsImage,
) -> Option<(MetadataMember, Vec<Protocol>)> {
    let metadata = &member.metadata;
    let classic = metadata.classic.as_ref()?;
    let own = |(name, metadata): &(String, Vec<u8>)| {
        Some(Protocol { name: Name::new(name).ok()?, metadata: metadata.as_slice().into() })
    };
    let protocols = classic.protocols.iter().map(own).collect::<Option<Vec<_>>>()?;
    let subscription = protocols.first()?.metadata.clone();
    let value = MetadataMember {
        member_id: Name::new(id).ok()?,
        instance_id: metadata.instance_id.as_deref().map(Name::new).transpose().ok()?,
        client_id: Name::new(&metadata.client_id).ok()?,
        client_host: Name::new(&metadata.client_host).ok()?,
        rebalance_timeout_ms: metadata.rebalance_timeout_ms,
        session_timeout_ms: classic.session_timeout_ms,
        assignment: member.share(topics).into(),
        subscription,
    };
    Some((value, protocols))
}
