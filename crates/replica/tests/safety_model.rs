//! Random runs of one leader against a store that loses answers, followers that lag and lose their disks, and metadata that
//! comes late. After every step the invariants hold:
//!
//! R3  the high watermark is monotone in a leader epoch and never above the log end of an in-sync replica;
//! R2  every member of the *store's* in-sync set, known to the leader or not, has all that the leader ever committed.
//!
//! The store's side and the followers' logs are kept naively here; nothing is shared with the code under test.

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::{collections::BTreeMap, env};

use hanbeon_records::{BrokerEpoch, LeaderEpoch, Millis, NodeId, Offset, PartitionEpoch};
use hanbeon_replica::{
    Acks, Fetch, Input, IsrAnswer, Leader, LogBounds, MinIsr, Output, Proposal, Registration,
    Settings, Settled, Standing,
};

const ME: NodeId = NodeId::new(1);
const LAG: i64 = 100;
const STEPS: u32 = 400;

/// The generator of `SplitMix64`.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn upto(&mut self, bound: i64) -> i64 {
        i64::try_from(self.below(u64::try_from(bound).unwrap() + 1)).unwrap()
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(u64::try_from(all.len()).unwrap())).unwrap()]
    }
}

struct Follower {
    end: i64,
    broker_epoch: i64,
    fit: bool,
}

struct World {
    random: Random,
    leader: Leader,
    now: i64,
    end: i64,
    followers: BTreeMap<NodeId, Follower>,
    /// The store's row.
    truth: Registration,
    past: Vec<Registration>,
    asked: Vec<Proposal>,
    answers: Vec<(u64, IsrAnswer)>,
    highest: i64,
    commits: u32,
    changes: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let replicas: Vec<NodeId> = (1..=3).map(NodeId::new).collect();
        let truth = Registration {
            leader_epoch: LeaderEpoch::new(0),
            partition_epoch: PartitionEpoch::new(0),
            isr: replicas.clone(),
            replicas,
            min_isr: MinIsr::effective(random.one_of(&[1, 2]), 3),
        };
        let settings =
            Settings { node: ME, broker_epoch: BrokerEpoch::new(1), lag_time_max_ms: LAG };
        let leader = Leader::new(settings, truth.clone(), LogBounds::EMPTY, Millis::new(0));
        let follower = || Follower { end: 0, broker_epoch: 1, fit: true };
        let followers = [2, 3].map(|id| (NodeId::new(id), follower())).into();
        let mut world = Self {
            random,
            leader,
            now: 0,
            end: 0,
            followers,
            past: vec![truth.clone()],
            truth,
            asked: Vec::new(),
            answers: Vec::new(),
            highest: 0,
            commits: 0,
            changes: 0,
        };
        for id in [2, 3] {
            world.tell_standing(NodeId::new(id));
        }
        world
    }

    fn tell(&mut self, input: Input) {
        let (before, epoch) = (self.leader.high_watermark(), self.leader.leader_epoch());
        let frozen = self.leader.isr().len() < self.truth.min_isr.get();
        let may_thaw = !matches!(input, Input::Appended { .. } | Input::Fetched(_) | Input::Tick);
        let mut out = Vec::new();
        let refused = self.leader.step(Millis::new(self.now), input, &mut out).is_err();
        let after = self.leader.high_watermark();
        assert!(after >= before, "R3: {before} -> {after} in epoch {epoch}");
        assert!(!refused || (after == before && out.is_empty()), "a refusal changes nothing");
        assert!(!frozen || may_thaw || after == before, "moved under the minimum");
        let told: Vec<_> =
            out.iter().filter(|said| matches!(said, Output::HighWatermark(_))).collect();
        if after > before {
            assert_eq!(told, [&Output::HighWatermark(after)]);
            self.commits += 1;
        } else {
            assert!(told.is_empty(), "{told:?}");
        }
        for said in out {
            if let Output::ProposeIsr(proposal) = said {
                assert!(proposal.isr.iter().any(|(node, _)| *node == ME), "without the leader");
                self.asked.push(proposal);
            }
        }
        self.check();
    }

    fn check(&mut self) {
        let committed = self.leader.high_watermark().get();
        assert!(committed <= self.end, "R3: beyond the own end");
        self.highest = self.highest.max(committed);
        for node in self.truth.isr.iter().chain(self.leader.isr()).filter(|node| **node != ME) {
            let end = self.followers[node].end;
            let known = if self.truth.isr.contains(node) { "store" } else { "leader" };
            // The leader's own set may name one that the store dropped and that lost its disk since.
            if known == "store" {
                assert!(
                    end >= self.highest,
                    "R2: {node} ends at {end}, committed {}",
                    self.highest
                );
            }
        }
        let settled = self.leader.settle(Acks::All, Offset::new(self.highest));
        assert_ne!(settled, Ok(Settled::Waits), "what was committed stays answered");
    }

    fn tell_standing(&mut self, node: NodeId) {
        let follower = &self.followers[&node];
        let epoch = BrokerEpoch::new(follower.broker_epoch);
        let standing = if follower.fit { Standing::Fit(epoch) } else { Standing::Unfit(epoch) };
        self.tell(Input::Broker { node, standing });
    }

    /// The store changes its row.
    fn change(&mut self, change: impl FnOnce(&mut Registration)) {
        change(&mut self.truth);
        self.truth.partition_epoch = PartitionEpoch::new(self.truth.partition_epoch.get() + 1);
        self.past.push(self.truth.clone());
        self.changes += 1;
    }

    fn fetch(&mut self, node: NodeId) {
        let epoch = self.leader.leader_epoch();
        let follower = &self.followers[&node];
        let fetch = Fetch {
            follower: node,
            broker_epoch: BrokerEpoch::new(follower.broker_epoch),
            leader_epoch: epoch,
            from: Offset::new(follower.end),
            log_start: Offset::ZERO,
        };
        self.tell(Input::Fetched(fetch));
        // The answer arrives, or only part of it.
        let missing = self.end - self.followers[&node].end;
        let arrives = self.random.upto(missing);
        self.followers.get_mut(&node).unwrap().end += arrives;
    }

    /// The store looks at a proposal; its answer may be lost.
    fn decide(&mut self) {
        if self.asked.is_empty() {
            return;
        }
        let proposal = self.asked.remove(0);
        let current = proposal.partition_epoch == self.truth.partition_epoch
            && proposal.leader_epoch == self.truth.leader_epoch;
        let eligible = proposal.isr.iter().filter(|(node, _)| *node != ME).all(|(node, epoch)| {
            let follower = &self.followers[node];
            follower.fit && (epoch.get() == -1 || epoch.get() == follower.broker_epoch)
        });
        let answer = if !current {
            IsrAnswer::Unknown
        } else if !eligible || self.random.below(8) == 0 {
            IsrAnswer::NotApplied
        } else {
            let isr: Vec<NodeId> = proposal.isr.iter().map(|(node, _)| *node).collect();
            self.change(|row| row.isr.clone_from(&isr));
            let partition_epoch = self.truth.partition_epoch;
            let leader_epoch = self.truth.leader_epoch;
            if self.random.below(3) == 0 {
                IsrAnswer::Unknown
            } else {
                IsrAnswer::Committed { leader_epoch, partition_epoch, isr }
            }
        };
        self.answers.push((proposal.number, answer));
        self.check();
    }

    /// A broker is lost, with its disk or without. The store drops it from the set before it comes back.
    fn lose(&mut self, node: NodeId) {
        let fewer = self.truth.isr.len() > 1 && self.truth.isr.contains(&node);
        if fewer {
            self.change(|row| row.isr.retain(|member| *member != node));
        }
        if self.truth.isr.contains(&node) {
            return;
        }
        let keeps = self.random.upto(self.followers[&node].end);
        let follower = self.followers.get_mut(&node).unwrap();
        follower.end = keeps;
        follower.broker_epoch += 1;
        follower.fit = self.random.below(2) == 0;
    }

    fn act(&mut self) {
        let node = self.random.one_of(&[NodeId::new(2), NodeId::new(3)]);
        match self.random.below(16) {
            0..=2 => {
                self.end += self.random.upto(3);
                self.tell(Input::Appended { end: Offset::new(self.end) });
            }
            3..=6 => self.fetch(node),
            7 => {
                self.now += self.random.upto(LAG);
                self.tell(Input::Tick);
            }
            8 | 9 => self.decide(),
            10 | 11 => {
                if let Some((number, answer)) = self.answers.pop() {
                    self.tell(Input::IsrAnswered { number, answer });
                }
            }
            12 => self.tell(Input::Registered(self.truth.clone())),
            13 => {
                let old =
                    usize::try_from(self.random.below(u64::try_from(self.past.len()).unwrap()));
                let row = self.past[old.unwrap()].clone();
                self.tell(Input::Registered(row));
            }
            14 => {
                if self.random.below(3) == 0 {
                    self.change(|row| {
                        row.leader_epoch = LeaderEpoch::new(row.leader_epoch.get() + 1);
                    });
                } else {
                    self.lose(node);
                }
                self.check();
            }
            _ => {
                self.followers.get_mut(&node).unwrap().fit = true;
                self.tell_standing(node);
            }
        }
    }
}

fn seeds() -> Vec<u64> {
    match env::var("HANBEON_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..2_000).collect(),
    }
}

#[test]
fn r3_r2_hold_in_random_runs() {
    let (mut commits, mut changes) = (0, 0);
    for seed in seeds() {
        let run = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            for _ in 0..STEPS {
                world.act();
            }
            (world.commits, world.changes)
        });
        match run {
            Ok((more, steps)) => {
                commits += more;
                changes += steps;
            }
            Err(panic) => {
                eprintln!(
                    "seed {seed}; replay: HANBEON_SEED={seed} cargo test -p hanbeon-replica --test safety_model"
                );
                std::panic::resume_unwind(panic);
            }
        }
    }
    assert!(commits > 0 && changes > 0, "nothing happened in the runs");
}
