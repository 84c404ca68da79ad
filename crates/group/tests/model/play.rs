//! Clients of one group, and what they may see.

use std::collections::{BTreeMap, BTreeSet};

use hanbeon_group::{
    Commit, CommitDialect, Coordinator, Join, Leave, Leaver, Membership, Name, NewMembers,
    NewOffset, Outcome, Record, Replayed, Reply, SkipAssignment, Speaker, Stability, State, Sync,
};
use hanbeon_records::{ErrorCode, Millis, Offset, ProducerId};

use crate::{
    fixture::{
        self, AT_ONCE, LogMood, Logged, Tells, World, commit, commit_in_txn, join, name, new_offset,
    },
    offsets::told,
    plant::Plant,
};

pub(crate) const CLIENTS: usize = 4;
const SESSION_MS: i32 = 10_000;
const REBALANCE_MS: i32 = 20_000;
/// No phase of a rebalance lasts longer: a rebalance timeout, a session, and a last look at static members that stay away.
const PHASE_MS_MAX: i64 = 10_000 + 2 * 20_000;

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Join(usize),
    Sync(usize),
    Heartbeat(usize),
    Leave(usize),
    /// The process dies and starts again, without its member id.
    Restart(usize),
    Commit(usize, i32),
    /// As the member that the client was once, in the generation of then.
    ZombieCommit(usize, i32),
    CommitInTxn(usize, i32, i64),
    Marker(i64, Outcome),
    AdminCommit(i32),
    DeleteOffset(i32),
    DeleteGroup,
    DeletePartition(i32),
    Pass(i64),
    Slow,
    Release,
    Refuse,
    /// The coordinator is lost, and with it what the log had not taken.
    Lose,
    /// The coordinator is lost, and the log has what it was not told of.
    LoseUntold,
}

#[derive(Clone, Debug, Default)]
struct Client {
    id: Option<Name>,
    generation: i32,
    /// Whom it would assign to, when it leads.
    roster: Vec<Name>,
    was: Vec<(Name, i32)>,
}

/// What a request was, for its answer.
enum Asked {
    Join(usize),
    Sync { client: usize, generation: i32 },
    Commit { offset: i64, who: Option<(Name, i32)>, era: usize },
    Other,
}

/// Who is in the group, as clients were told.
#[derive(Clone, Debug, Default)]
struct Era {
    generation: i32,
    members: BTreeSet<Name>,
}

pub(crate) struct Play {
    world: World,
    plant: Option<Plant>,
    clients: Vec<Client>,
    asked: BTreeMap<u32, Asked>,
    seen_answers: usize,
    seen_records: usize,
    eras: Vec<Era>,
    /// Whose assignment counts in a generation.
    decisions: BTreeMap<i32, u32>,
    nonce: u32,
    next_offset: i64,
    lost: u32,
}

fn ensure(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}

impl Play {
    pub(crate) fn new(plant: Option<Plant>) -> Self {
        let mut world = World::new(AT_ONCE);
        world.tells = match plant {
            Some(Plant::PositionsLost) => Tells::OffsetZero,
            Some(Plant::WritesUnkept) => Tells::Unkept,
            _ => Tells::Truth,
        };
        Self {
            world,
            plant,
            clients: vec![Client::default(); CLIENTS],
            asked: BTreeMap::new(),
            seen_answers: 0,
            seen_records: 0,
            eras: vec![Era::default()],
            decisions: BTreeMap::new(),
            nonce: 0,
            next_offset: 0,
            lost: 0,
        }
    }

    /// Clients 0 and 1 know version 3, client 2 version 5, client 3 is static and knows version 9.
    fn instance(client: usize) -> Option<Name> {
        (client == 3).then(|| name("i"))
    }

    pub(crate) fn step(&mut self, step: &Step) -> Result<(), String> {
        match *step {
            Step::Join(client) => self.join(client),
            Step::Sync(client) => self.sync(client),
            Step::Heartbeat(client) => self.heartbeat(client),
            Step::Leave(client) => self.leave(client),
            Step::Restart(client) => {
                self.retire(client);
                self.join(client);
            }
            Step::Commit(client, partition) => {
                let known = &self.clients[client];
                let who = known.id.clone().map(|id| (id, known.generation));
                self.commit(who, partition);
            }
            Step::ZombieCommit(client, partition) => {
                let who = self.clients[client].was.first().cloned();
                if who.is_some() {
                    self.commit(who, partition);
                }
            }
            Step::CommitInTxn(client, partition, producer_id) => {
                self.commit_in_txn(client, partition, producer_id);
            }
            Step::Marker(producer_id, outcome) => self.marker(producer_id, outcome),
            Step::AdminCommit(partition) => self.commit(None, partition),
            Step::DeleteOffset(partition) => {
                let partitions = vec![(name("t"), partition)];
                let request = hanbeon_group::DeleteOffsets { group: name("g"), partitions };
                self.other(|g, now, token, out| g.delete_offsets(now, token, request, out));
            }
            Step::DeleteGroup => {
                self.other(|g, now, token, out| g.delete_group(now, token, name("g"), out));
            }
            Step::DeletePartition(partition) => {
                let gone = [(name("t"), partition)];
                self.world.with(|g, now, out| g.partitions_deleted(now, &gone, out));
            }
            Step::Pass(ms) => self.pass(ms),
            Step::Slow => self.world.mood = LogMood::Slow,
            Step::Release => self.world.release(),
            Step::Refuse => {
                if let Some(held) = self.world.held.pop_front() {
                    let code = ErrorCode::NotEnoughReplicas;
                    self.world.with(|g, now, out| g.appended(now, held.write, Err(code), out));
                }
            }
            Step::Lose => self.lose(),
            Step::LoseUntold => {
                self.world.take_untold();
                self.lose();
            }
        }
        self.look()
    }

    /// Faults end: in time everybody is answered.
    pub(crate) fn end(&mut self) -> Result<(), String> {
        self.world.release();
        self.pass(PHASE_MS_MAX + 600_000);
        self.look()?;
        let waiting: Vec<_> =
            self.asked.keys().filter(|token| !self.world.answers.contains_key(token)).collect();
        ensure(waiting.is_empty(), || format!("C5: {waiting:?} wait for ever"))
    }

    fn pass(&mut self, ms: i64) {
        if self.plant == Some(Plant::AlarmsLost) {
            self.world.now += ms;
        } else {
            self.world.pass(ms);
        }
    }

    fn join(&mut self, client: usize) {
        let id = self.clients[client].id.clone().unwrap_or_else(Name::empty);
        let request = Join {
            instance_id: Self::instance(client),
            session_timeout_ms: SESSION_MS,
            rebalance_timeout_ms: Some(REBALANCE_MS),
            new_members: if client < 2 { NewMembers::JoinAtOnce } else { NewMembers::GetAnIdFirst },
            skip_assignment: if client == 3 {
                SkipAssignment::Supported
            } else {
                SkipAssignment::Unsupported
            },
            ..join("g", &format!("c{client}"), &id)
        };
        let token = self.world.join(request);
        self.asked.insert(token, Asked::Join(client));
    }

    fn speaker(&self, client: usize) -> Option<Speaker> {
        let known = &self.clients[client];
        Some(Speaker {
            group: name("g"),
            generation: known.generation,
            member_id: known.id.clone()?,
            instance_id: Self::instance(client),
        })
    }

    fn sync(&mut self, client: usize) {
        let Some(speaker) = self.speaker(client) else { return };
        self.nonce += 1;
        let nonce = self.nonce;
        let mut assignments: Vec<_> = self.clients[client]
            .roster
            .iter()
            .map(|id| (id.clone(), fixture::bytes(&format!("{nonce}/{}", client_of(id)))))
            .collect();
        if self.plant == Some(Plant::AssignmentsMixed) && assignments.len() > 1 {
            let first = assignments[0].1.clone();
            assignments[0].1 = assignments[1].1.clone();
            assignments[1].1 = first;
        }
        let generation = speaker.generation;
        let request = Sync { speaker, protocol_type: None, protocol_name: None, assignments };
        let token = self.world.sync(request);
        self.asked.insert(token, Asked::Sync { client, generation });
    }

    fn heartbeat(&mut self, client: usize) {
        if let Some(speaker) = self.speaker(client) {
            self.other(|g, now, token, out| g.heartbeat(now, token, speaker, out));
        }
    }

    fn leave(&mut self, client: usize) {
        let Some(member_id) = self.clients[client].id.clone() else { return };
        let members = vec![Leaver { member_id, instance_id: Self::instance(client) }];
        let request = Leave { group: name("g"), members };
        self.other(|g, now, token, out| g.leave(now, token, request, out));
        self.retire(client);
    }

    /// The client is nobody now, and remembers who it was.
    fn retire(&mut self, client: usize) {
        let known = &mut self.clients[client];
        known.roster.clear();
        if let Some(id) = known.id.take() {
            known.was.push((id, known.generation));
        }
    }

    fn other(
        &mut self,
        act: impl FnOnce(&mut Coordinator<u32>, Millis, u32, &mut Vec<hanbeon_group::Output<u32>>),
    ) {
        let token = self.world.token();
        self.asked.insert(token, Asked::Other);
        self.world.with(|groups, now, out| act(groups, now, token, out));
    }

    fn membership(&self, who: Option<&(Name, i32)>) -> Membership {
        let Some((member_id, generation)) = who else { return Membership::none() };
        let forged = self.plant == Some(Plant::GenerationsForged);
        let current = self.world.groups.describe(&name("g")).map_or(0, |d| d.generation);
        Membership {
            generation: if forged { current } else { *generation },
            member_id: member_id.clone(),
            instance_id: None,
        }
    }

    fn offset(&mut self) -> i64 {
        self.next_offset += 1;
        self.next_offset
    }

    fn commit(&mut self, who: Option<(Name, i32)>, partition: i32) {
        let offset = self.offset();
        let request = Commit {
            membership: self.membership(who.as_ref()),
            dialect: CommitDialect::Epochs,
            offsets: vec![NewOffset {
                offset: Offset::new(offset),
                ..new_offset("t", partition, 0)
            }],
            ..commit("g", 0)
        };
        let token = self.world.commit(request);
        let era = self.eras.len() - 1;
        self.asked.insert(token, Asked::Commit { offset, who, era });
    }

    fn commit_in_txn(&mut self, client: usize, partition: i32, producer_id: i64) {
        let known = &self.clients[client];
        let who = known.id.clone().map(|id| (id, known.generation));
        let offset = self.offset();
        let mut request = commit_in_txn("g", producer_id, 0);
        request.membership = self.membership(who.as_ref());
        request.offsets = vec![new_offset("t", partition, offset)];
        let token = self.world.commit_in_txn(request);
        let era = self.eras.len() - 1;
        self.asked.insert(token, Asked::Commit { offset, who, era });
    }

    fn marker(&mut self, producer_id: i64, outcome: Outcome) {
        let at = self.world.end;
        self.world.end += 1;
        self.world.log.push((at, Logged::Marker { producer_id, outcome }));
        let heard = match (self.plant, outcome) {
            (Some(Plant::MarkersUnheard), _) => return,
            (Some(Plant::MarkersFlipped), Outcome::Commit) => Outcome::Abort,
            (Some(Plant::MarkersFlipped), Outcome::Abort) => Outcome::Commit,
            _ => outcome,
        };
        let producer_id = ProducerId::new(producer_id);
        self.world.groups.marker_written(producer_id, heard, Offset::new(at));
    }

    fn lose(&mut self) {
        self.world.reload();
        if let Some(plant @ (Plant::ReplayedAsPlain | Plant::ReplayedWithoutMarkers)) = self.plant {
            self.world.groups = misread(&self.world.log, plant);
            self.world.with(|groups, now, out| groups.loaded(now, out));
        }
        self.world.mood = LogMood::Willing;
        let record = self.world.records.iter().rev().find_map(|record| match record {
            Record::Group { value, .. } => Some(value.clone()),
            _ => None,
        });
        self.eras.push(record.flatten().map_or_else(Era::default, |value| Era {
            generation: value.generation,
            members: value.members.into_iter().map(|member| member.member_id).collect(),
        }));
    }

    fn look(&mut self) -> Result<(), String> {
        self.read_group_records();
        self.hear_of_generations();
        let order = self.world.order[self.seen_answers..].to_vec();
        self.seen_answers = self.world.order.len();
        for token in order {
            self.hear(token)?;
        }
        self.check_offsets()?;
        self.check_phase()
    }

    /// New generations, from what their leaders are told.
    fn hear_of_generations(&mut self) {
        for token in &self.world.order[self.seen_answers..] {
            let Some(Reply::Join(Ok(joined))) = self.world.answers.get(token) else { continue };
            let last = self.eras.last().unwrap();
            if !joined.members.is_empty() {
                let members = joined.members.iter().map(|member| member.member_id.clone());
                self.eras.push(Era { generation: joined.generation, members: members.collect() });
            } else if last.generation == joined.generation {
                let mut era = last.clone();
                era.members.insert(joined.member_id.clone());
                self.eras.push(era);
            }
        }
    }

    fn read_group_records(&mut self) {
        for record in &self.world.records[self.seen_records..] {
            match record {
                Record::Group { value: None, .. } => {
                    self.decisions.clear();
                    self.eras.push(Era::default());
                }
                Record::Group { value: Some(value), .. } if value.members.is_empty() => {
                    let members = BTreeSet::new();
                    self.eras.push(Era { generation: value.generation, members });
                }
                _ => {}
            }
        }
        self.seen_records = self.world.records.len();
    }

    fn hear(&mut self, token: u32) -> Result<(), String> {
        let reply = self.world.answers[&token].clone();
        let Some(asked) = self.asked.get(&token) else { return Ok(()) };
        match (asked, reply) {
            (Asked::Join(client), Reply::Join(reply)) => self.hear_join(*client, reply),
            (Asked::Sync { client, generation }, Reply::Sync(Ok(synced))) => {
                let (client, generation) = (*client, *generation);
                if self.plant == Some(Plant::AnswersLost) {
                    self.lost += 1;
                    if self.lost.is_multiple_of(2) {
                        self.world.answers.remove(&token);
                        return Ok(());
                    }
                }
                self.check_share(client, generation, &synced.assignment)?;
            }
            (Asked::Commit { offset, who, era }, Reply::Commit(reply)) => {
                let results = reply.and_then(|all| all.into_iter().collect::<Result<Vec<()>, _>>());
                let written = told(&self.world.log).ever.contains(offset);
                match results {
                    Ok(_) => {
                        ensure(written, || format!("C1: {offset} was accepted and not written"))?;
                        self.check_committer(*offset, who.as_ref(), *era)?;
                    }
                    // Nobody knows what became of it.
                    Err(error) if error.code() == ErrorCode::NotCoordinator => {}
                    Err(error) => {
                        ensure(!written, || format!("C1: {offset} was written: {error}"))?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn hear_join(
        &mut self,
        client: usize,
        reply: Result<hanbeon_group::Joined, hanbeon_group::JoinRefused>,
    ) {
        match reply {
            Ok(joined) => {
                let known = &mut self.clients[client];
                if let Some(old) = known.id.take().filter(|id| *id != joined.member_id) {
                    known.was.push((old, known.generation));
                }
                known.id = Some(joined.member_id);
                known.generation = joined.generation;
                known.roster = joined.members.into_iter().map(|m| m.member_id).collect();
            }
            Err(refused) => match refused.error.code() {
                ErrorCode::MemberIdRequired => {
                    self.clients[client].id = Some(refused.member_id);
                    self.clients[client].generation = -1;
                }
                ErrorCode::UnknownMemberId => self.retire(client),
                _ => {}
            },
        }
    }

    /// C3: one decision a generation, and each gets what it was given.
    fn check_share(&mut self, client: usize, generation: i32, share: &[u8]) -> Result<(), String> {
        let text = String::from_utf8(share.to_vec()).unwrap();
        let Some((nonce, given_to)) = text.split_once('/') else {
            return Err(format!("C3: client {client} got nothing in generation {generation}"));
        };
        let nonce: u32 = nonce.parse().unwrap();
        ensure(given_to == client.to_string(), || {
            format!("C3: client {client} has what {given_to} was given in {generation}")
        })?;
        let decision = *self.decisions.entry(generation).or_insert(nonce);
        ensure(decision == nonce, || {
            format!("C3: decisions {decision} and {nonce} count in generation {generation}")
        })
    }

    /// C2: whoever commits was a member of the generation it speaks of while the request was here.
    fn check_committer(
        &self,
        offset: i64,
        who: Option<&(Name, i32)>,
        since: usize,
    ) -> Result<(), String> {
        let Some((id, generation)) = who.filter(|(_, generation)| *generation >= 0) else {
            return Ok(());
        };
        let fits = |era: &Era| era.generation == *generation && era.members.contains(id);
        ensure(self.eras[since..].iter().any(fits), || {
            let now = self.eras.last().unwrap();
            format!("C2: {offset} of {id} in generation {generation} was accepted in {now:?}")
        })
    }

    /// C1: what is fetched is what the log says.
    fn check_offsets(&self) -> Result<(), String> {
        let told = told(&self.world.log);
        let quiet = self.world.held.is_empty();
        for partition in 0..3 {
            let expected = told.committed.get(&partition).map_or(-1, |(_, offset)| *offset);
            let found = self.world.fetch("g", "t", partition, Stability::NotRequired);
            ensure(found == Ok(expected), || {
                format!("C1: {found:?} was fetched for {partition}, the log says {expected}")
            })?;
            let pending = told.pending.iter().any(|pending| pending.partition == partition);
            let found = self.world.fetch("g", "t", partition, Stability::Required);
            let stable = if pending { Err(ErrorCode::UnstableOffsetCommit) } else { Ok(expected) };
            ensure(found == stable || (!quiet && found.is_err()), || {
                format!("C1: {found:?} is called stable for {partition}, the log says {stable:?}")
            })?;
        }
        Ok(())
    }

    /// C4: no phase of a rebalance lasts for ever.
    fn check_phase(&self) -> Result<(), String> {
        let Ok(described) = self.world.groups.describe(&name("g")) else { return Ok(()) };
        let phase =
            matches!(described.state, State::PreparingRebalance | State::CompletingRebalance);
        let since = described.since.map_or(self.world.now, Millis::get);
        let lasted = self.world.now - since;
        ensure(!phase || !self.world.held.is_empty() || lasted <= PHASE_MS_MAX, || {
            format!("C4: in {} for {lasted} ms", described.state)
        })
    }
}

/// Which client a member id belongs to.
fn client_of(id: &Name) -> usize {
    match id.as_str().split('-').next().unwrap() {
        "i" => 3,
        client => client[1..].parse().unwrap(),
    }
}

/// A coordinator that reads the log wrongly.
fn misread(log: &[(i64, Logged)], plant: Plant) -> Coordinator<u32> {
    let mut groups = Coordinator::new(AT_ONCE);
    for (base, logged) in log {
        match logged {
            Logged::Batch { records, producer_id } => {
                for (at, (key, value)) in (*base..).zip(records) {
                    let producer_id = producer_id
                        .filter(|_| plant != Plant::ReplayedAsPlain)
                        .map(ProducerId::new);
                    groups
                        .replay(&Replayed::Record {
                            key: Some(key),
                            value: value.as_deref(),
                            position: Offset::new(at),
                            producer_id,
                        })
                        .unwrap();
                }
            }
            Logged::Marker { .. } if plant == Plant::ReplayedWithoutMarkers => {}
            Logged::Marker { producer_id, outcome } => groups
                .replay(&Replayed::Marker {
                    producer_id: ProducerId::new(*producer_id),
                    outcome: *outcome,
                    position: Offset::new(*base),
                })
                .unwrap(),
        }
    }
    groups
}
