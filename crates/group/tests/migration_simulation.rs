//! Members of both protocols that join, leave, die and come back while the group changes its protocol under them, and coordinators
//! that take over at any moment: never two members that the group knows with one partition, and once it is quiet everybody has what
//! is due.
//!
//! `SIM_SEED=17 cargo test -p hanbeon-group --test migration_simulation` replays one seed, `SIM_SEEDS=10000` runs as many.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test says so by failing, also at an answer that it does not expect"
)]

mod chance;
mod migration_world;

use std::collections::{BTreeMap, BTreeSet};

use chance::Rng;
use hanbeon_group::{Join, Joined, Name, Reply};
use hanbeon_records::ErrorCode;
use migration_world::{
    SETTINGS, T, World, beat, classic, consumer_settings, cooperative, name, newer, of_t, speaker,
};

const PARTITIONS: i32 = 5;

/// How the classic members of a run give up partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// All of them before each join.
    Eager,
    /// Those that they are told to, one rebalance later.
    Cooperative,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    ToJoin,
    Joining(u32),
    Syncing(u32),
    No,
}

enum Speaks {
    Classic { generation: i32, waits: Waits },
    Kip848 { epoch: i32 },
}

struct Client {
    id: Name,
    owned: BTreeSet<i32>,
    speaks: Speaks,
}

struct Sim {
    rng: Rng,
    world: World,
    manner: Manner,
    clients: Vec<Client>,
    next_id: usize,
    trace: Vec<String>,
    /// How often the group changed its protocol.
    turns: usize,
    was_consumer: bool,
}

/// What a cooperative member that joined said it owns; nothing in version 0.
fn owned_in(metadata: &[u8]) -> BTreeSet<i32> {
    if metadata[1] == 0 {
        return BTreeSet::new();
    }
    let mut bytes = vec![0, 0];
    bytes.extend_from_slice(&metadata[13..]);
    bytes.extend_from_slice(&[0xff; 4]);
    migration_world::read_assignment(&bytes)
}

impl Sim {
    fn new(seed: u64) -> Self {
        let mut rng = Rng(seed);
        let mut consumer = consumer_settings();
        consumer.assignment_interval_ms = [0, 1_000][rng.below(2)];
        let manner = [Manner::Eager, Manner::Cooperative][rng.below(2)];
        Self {
            world: World::with(PARTITIONS, SETTINGS, consumer),
            rng,
            manner,
            clients: Vec::new(),
            next_id: 0,
            trace: Vec::new(),
            turns: 0,
            was_consumer: false,
        }
    }

    fn note(&mut self, what: &str) {
        self.trace.push(format!("{} {what}", self.world.now));
    }

    fn start(&mut self) {
        self.next_id += 1;
        let (id, speaks) = if self.rng.below(2) == 0 {
            (Name::empty(), Speaks::Classic { generation: -1, waits: Waits::ToJoin })
        } else {
            (name(&format!("n-{}", self.next_id)), Speaks::Kip848 { epoch: 0 })
        };
        self.note(&format!("{id:?} starts"));
        self.clients.push(Client { id, owned: BTreeSet::new(), speaks });
    }

    /// One word of a client, and what it makes of the answer.
    fn speak(&mut self, at: usize) {
        match self.clients[at].speaks {
            Speaks::Kip848 { epoch } => self.beat(at, epoch),
            Speaks::Classic { generation, waits } => match waits {
                Waits::ToJoin => self.join(at),
                Waits::Joining(token) => self.hear_join(at, token),
                Waits::Syncing(token) => self.hear_sync(at, token),
                Waits::No => self.heartbeat(at, generation),
            },
        }
        self.check();
    }

    fn beat(&mut self, at: usize, epoch: i32) {
        let id = self.clients[at].id.clone();
        let mut request = newer(id.as_str());
        request.member_epoch = epoch;
        let owned: Vec<i32> = self.clients[at].owned.iter().copied().collect();
        request.owned = Some(of_t(&owned));
        let answer = self.world.beat(&request);
        self.note(&format!("{id} at {epoch} with {owned:?} is told {answer:?}"));
        let client = &mut self.clients[at];
        match answer {
            Ok(reply) => {
                client.speaks = Speaks::Kip848 { epoch: reply.member_epoch };
                let told = reply.assignment.unwrap();
                client.owned = told
                    .iter()
                    .map(|(topic, partition)| {
                        assert_eq!(topic, T);
                        partition
                    })
                    .collect();
            }
            Err(
                ErrorCode::UnknownMemberId
                | ErrorCode::FencedMemberEpoch
                | ErrorCode::GroupIdNotFound,
            ) => {
                client.owned.clear();
                client.speaks = Speaks::Kip848 { epoch: 0 };
            }
            Err(other) => panic!("{id} is told {other}"),
        }
    }

    fn wait(&mut self, at: usize, waits: Waits) {
        if let Speaks::Classic { waits: before, .. } = &mut self.clients[at].speaks {
            *before = waits;
        }
    }

    fn join(&mut self, at: usize) {
        let id = self.clients[at].id.clone();
        let request: Join = match self.manner {
            Manner::Eager => {
                self.clients[at].owned.clear();
                classic(&id)
            }
            Manner::Cooperative => {
                let owned: Vec<i32> = self.clients[at].owned.iter().copied().collect();
                cooperative(&id, &owned)
            }
        };
        self.note(&format!("{id} joins with {:?}", self.clients[at].owned));
        let token = self.world.start_join(request);
        self.wait(at, Waits::Joining(token));
    }

    /// The group has left it behind: what it had it has no more.
    fn lose(&mut self, at: usize, code: ErrorCode) {
        let client = &mut self.clients[at];
        match code {
            ErrorCode::RebalanceInProgress | ErrorCode::NotCoordinator => {}
            ErrorCode::IllegalGeneration => client.owned.clear(),
            ErrorCode::UnknownMemberId => {
                client.owned.clear();
                client.id = Name::empty();
            }
            other => panic!("{} is told {other}", client.id),
        }
        self.wait(at, Waits::ToJoin);
    }

    fn hear_join(&mut self, at: usize, token: u32) {
        let Some(reply) = self.world.reply(token) else { return };
        let Reply::Join(result) = reply else { panic!("{reply:?}") };
        self.note(&format!("{} hears {result:?}", self.clients[at].id));
        match result {
            Ok(joined) => {
                let id = joined.member_id.clone();
                let generation = joined.generation;
                self.clients[at].id = id.clone();
                let given = if joined.leader == id { assign(&joined) } else { Vec::new() };
                let given: Vec<_> =
                    given.iter().map(|(id, numbers)| (id, numbers.as_slice())).collect();
                let token = self.world.start_sync(speaker(&id, generation), &given);
                self.clients[at].speaks =
                    Speaks::Classic { generation, waits: Waits::Syncing(token) };
            }
            Err(refused) if refused.error.code() == ErrorCode::MemberIdRequired => {
                self.clients[at].id = refused.member_id;
                self.wait(at, Waits::ToJoin);
            }
            Err(refused) => self.lose(at, refused.error.code()),
        }
    }

    fn hear_sync(&mut self, at: usize, token: u32) {
        let Some(reply) = self.world.reply(token) else { return };
        let Reply::Sync(result) = reply else { panic!("{reply:?}") };
        match result {
            Ok(synced) => {
                let share = migration_world::read_assignment(&synced.assignment);
                self.note(&format!("{} has {share:?}", self.clients[at].id));
                let gave_up = !self.clients[at].owned.is_subset(&share);
                self.clients[at].owned = share;
                self.wait(at, if gave_up { Waits::ToJoin } else { Waits::No });
            }
            Err(error) => self.lose(at, error.code()),
        }
    }

    fn heartbeat(&mut self, at: usize, generation: i32) {
        let id = self.clients[at].id.clone();
        let code = self.world.heartbeat(speaker(&id, generation));
        self.note(&format!("{id} at {generation} is told {code}"));
        if code != ErrorCode::None {
            self.lose(at, code);
        }
    }

    fn leave(&mut self, at: usize) {
        let client = self.clients.remove(at);
        self.note(&format!("{} leaves", client.id));
        match client.speaks {
            Speaks::Classic { .. } if !client.id.is_empty() => {
                self.world.leave(&[(&client.id, None)]);
            }
            Speaks::Classic { .. } => {}
            Speaks::Kip848 { .. } => {
                let _left = self.world.beat(&beat(client.id.as_str(), -1));
            }
        }
        self.check();
    }

    fn step(&mut self) {
        let count = self.clients.len();
        let at = if count == 0 { 0 } else { self.rng.below(count) };
        match self.rng.below(100) {
            0..=4 if count < 5 => self.start(),
            5 => {
                self.note("another coordinator takes over");
                self.world.reload();
            }
            6..=12 => {
                let ms = match self.rng.below(60) {
                    0 => 46_000,
                    1 => 21_000,
                    2..=7 => 6_000,
                    8..=30 => 1_500,
                    _ => 100,
                };
                self.note(&format!("{ms} ms"));
                self.world.pass(ms);
                self.check();
            }
            _ if count == 0 => {}
            13..=15 => self.leave(at),
            16 => {
                let client = self.clients.remove(at);
                self.note(&format!("{} dies", client.id));
            }
            _ => self.speak(at),
        }
    }

    /// What holds at every moment.
    fn check(&mut self) {
        let mut known = BTreeSet::new();
        if let Ok(told) = self.world.described() {
            known.extend(told.members.iter().map(|member| member.member_id.clone()));
            let mut owners = BTreeSet::new();
            for partition in self.world.shares().into_values().flatten() {
                assert!(owners.insert(partition), "{partition} has two owners: {told:?}");
            }
        } else if let Ok(told) = self.world.classic() {
            known.extend(told.members.iter().map(|member| member.member_id.as_str().to_owned()));
        }
        let is_consumer = self.world.described().is_ok_and(|told| !told.members.is_empty());
        let is_classic = self.world.classic().is_ok_and(|told| !told.members.is_empty());
        if (is_consumer || is_classic) && is_consumer != self.was_consumer {
            self.turns += 1;
            self.was_consumer = is_consumer;
            self.note(if is_consumer {
                "the group speaks KIP-848"
            } else {
                "the group is classic"
            });
        }
        let mut readers: BTreeMap<i32, &Name> = BTreeMap::new();
        for client in self.clients.iter().filter(|client| known.contains(client.id.as_str())) {
            for partition in &client.owned {
                if let Some(other) = readers.insert(*partition, &client.id) {
                    panic!("{partition} is read by {other} and {}", client.id);
                }
            }
        }
    }

    fn rounds(&mut self, count: usize) {
        for _ in 0..count {
            for at in 0..self.clients.len() {
                for _ in 0..3 {
                    self.speak(at);
                }
            }
            self.note("2 s");
            self.world.pass(2_000);
            self.check();
        }
    }

    /// Nobody comes or goes any more: the group comes to rest, and another coordinator reads the same from the log.
    fn settle(&mut self) {
        self.rounds(60);
        let mut read = BTreeSet::new();
        for client in &self.clients {
            if let Speaks::Classic { waits, .. } = client.speaks {
                assert_eq!(waits, Waits::No, "{} has come to rest", client.id);
            }
            assert!(client.owned.iter().all(|partition| read.insert(*partition)));
        }
        let speaks_kip848 = |client: &Client| matches!(client.speaks, Speaks::Kip848 { .. });
        if !self.clients.is_empty() {
            assert_eq!(read, (0..PARTITIONS).collect(), "every partition is read");
            if self.clients.iter().any(speaks_kip848) {
                assert_eq!(self.world.described().unwrap().state.name(), "Stable");
            } else {
                assert_eq!(self.world.classic().unwrap().state.name(), "Stable");
            }
        }
        self.world.assert_replays();
    }
}

/// What a leader gives: to each in turn, but nothing that another one names as owned.
fn assign(joined: &Joined) -> Vec<(Name, Vec<i32>)> {
    let owned: Vec<_> = joined.members.iter().map(|member| owned_in(&member.metadata)).collect();
    let mut given: Vec<_> =
        joined.members.iter().map(|member| (member.member_id.clone(), Vec::new())).collect();
    for partition in 0..PARTITIONS {
        let to = usize::try_from(partition).unwrap() % given.len();
        let others = owned.iter().enumerate().any(|(at, own)| at != to && own.contains(&partition));
        if !others {
            given[to].1.push(partition);
        }
    }
    given
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
fn one_owner_a_partition_whichever_protocol_it_speaks() {
    let seeds = match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(50),
    };
    let mut turns = 0;
    let many = seeds.end - seeds.start > 1;
    for seed in seeds {
        let mut sim = Sim::new(seed);
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..600 {
                sim.step();
            }
            sim.settle();
        }));
        turns += sim.turns;
        if let Err(why) = run {
            let from = sim.trace.len().saturating_sub(60);
            eprintln!("{}", sim.trace[from..].join("\n"));
            eprintln!("{:?} members", sim.manner);
            eprintln!("SIM_SEED={seed} cargo test -p hanbeon-group --test migration_simulation");
            std::panic::resume_unwind(why);
        }
    }
    assert!(!many || turns > 100, "groups change their protocol in these runs: {turns}");
}
