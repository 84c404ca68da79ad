//! A group with its log, its clock and its topics: what the shell around the machine is, small enough for a test.

#![allow(dead_code, reason = "each test uses its part")]

use std::collections::BTreeMap;

use hanbeon_group::{
    consumer::record::ConsumerRecord,
    consumer::{
        Assignor, Assignors, ConsumerError, ConsumerGroup, ConsumerSettings, Departure, Heartbeat,
        HeartbeatDecision, MigrationPolicy, Partitions, Timer, Topic, TopicList, TopicsImage,
    },
};
use hanbeon_records::{Millis, TopicId};

pub(crate) const GROUP: &str = "g";

pub(crate) fn settings() -> ConsumerSettings {
    ConsumerSettings {
        migration_policy: MigrationPolicy::Bidirectional,
        session_timeout_ms: 45_000,
        heartbeat_interval_ms: 5_000,
        assignment_interval_ms: 1_000,
        max_size: 100,
        assignors: Assignors { default: Assignor::Uniform, others: vec![Assignor::Range] },
        regex_refresh_interval_ms: 600_000,
    }
}

/// A heartbeat with nothing new.
pub(crate) fn beat(member_id: &str, member_epoch: i32) -> Heartbeat {
    Heartbeat {
        version: 1,
        member_id: member_id.into(),
        member_epoch,
        instance_id: None,
        rack_id: None,
        rebalance_timeout_ms: -1,
        subscribed_topic_names: None,
        subscribed_topic_regex: None,
        server_assignor: None,
        owned: None,
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
    }
}

pub(crate) fn join(member_id: &str, names: &[&str]) -> Heartbeat {
    Heartbeat {
        rebalance_timeout_ms: 30_000,
        subscribed_topic_names: Some(names.iter().map(|name| (*name).into()).collect()),
        owned: Some(Partitions::new()),
        ..beat(member_id, 0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Session,
    Rebalance,
}

pub(crate) struct World {
    pub(crate) now: i64,
    pub(crate) topics: TopicList,
    pub(crate) settings: ConsumerSettings,
    pub(crate) group: ConsumerGroup,
    /// Keys and values as they lie in the log.
    pub(crate) log: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// Deadlines, with the member epoch of rebalance timers.
    pub(crate) timers: BTreeMap<(String, Kind), (i64, i32)>,
    topic_ids: u8,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            now: 1_000_000,
            topics: TopicList::default(),
            settings: settings(),
            group: ConsumerGroup::new(GROUP),
            log: Vec::new(),
            timers: BTreeMap::new(),
            topic_ids: 0,
        }
    }

    /// Creates a topic or gives it more partitions.
    pub(crate) fn topic(&mut self, name: &str, partitions: i32) {
        let id = self.topics.topic(name).map_or_else(
            || {
                self.topic_ids += 1;
                TopicId::new([self.topic_ids; 16])
            },
            |topic| topic.id,
        );
        self.topics.put(name, Topic { id, partitions });
    }

    pub(crate) fn heartbeat(
        &mut self,
        request: &Heartbeat,
    ) -> Result<HeartbeatDecision, ConsumerError> {
        let now = Millis::new(self.now);
        let decision = self.group.heartbeat(now, request, &self.topics, &self.settings, [7; 16])?;
        self.carry_out(&decision.records, &decision.timers);
        Ok(decision)
    }

    pub(crate) fn carry_out(&mut self, records: &[ConsumerRecord], timers: &[Timer]) {
        for record in records {
            self.log.push((record.key().unwrap(), record.value().unwrap()));
            self.group.apply(record);
        }
        self.set_timers(timers);
    }

    fn set_timers(&mut self, timers: &[Timer]) {
        for timer in timers {
            match timer.clone() {
                Timer::Session { member_id, after_ms } => {
                    let at = self.now + i64::from(after_ms);
                    self.timers.insert((member_id, Kind::Session), (at, 0));
                }
                Timer::Rebalance { member_id, member_epoch, after_ms } => {
                    let at = self.now + i64::from(after_ms);
                    self.timers.insert((member_id, Kind::Rebalance), (at, member_epoch));
                }
                Timer::CancelRebalance { member_id } => {
                    self.timers.remove(&(member_id, Kind::Rebalance));
                }
                Timer::Join { .. }
                | Timer::Sync { .. }
                | Timer::CancelJoin { .. }
                | Timer::CancelSync { .. } => panic!("no member speaks the classic protocol here"),
                Timer::Cancel { member_id } => {
                    self.timers.remove(&(member_id.clone(), Kind::Rebalance));
                    self.timers.remove(&(member_id, Kind::Session));
                }
            }
        }
    }

    /// Lets time pass; says what timers led to.
    pub(crate) fn pass(&mut self, ms: i64) -> Vec<(String, Kind, Departure)> {
        let end = self.now + ms;
        let mut fired = Vec::new();
        while let Some((key, (at, epoch))) = self
            .timers
            .iter()
            .filter(|(_, (at, _))| *at <= end)
            .min_by_key(|(_, (at, _))| *at)
            .map(|(key, due)| (key.clone(), *due))
        {
            self.now = self.now.max(at);
            self.timers.remove(&key);
            let (member_id, kind) = key;
            let departure = match kind {
                Kind::Session => self.group.expire_session(&member_id, &self.topics),
                Kind::Rebalance => self.group.expire_rebalance(&member_id, epoch, &self.topics),
            };
            self.carry_out(&departure.records, &departure.timers);
            fired.push((member_id, kind, departure));
        }
        self.now = end;
        fired
    }

    /// The log read from its start.
    pub(crate) fn load(log: &[(Vec<u8>, Option<Vec<u8>>)]) -> ConsumerGroup {
        let mut group = ConsumerGroup::new(GROUP);
        for (key, value) in log {
            let record = ConsumerRecord::decode(key, value.as_deref()).unwrap().unwrap();
            group.apply(&record);
        }
        group
    }

    /// The log as compaction leaves it: of each key the last value, tombstones kept.
    pub(crate) fn compacted(&self) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let mut seen = std::collections::BTreeSet::new();
        let mut kept: Vec<_> =
            self.log.iter().rev().filter(|(key, _)| seen.insert(key.clone())).cloned().collect();
        kept.reverse();
        kept
    }

    /// Another broker takes over: all that is not in the log is gone.
    pub(crate) fn reload(&mut self) {
        let loaded = Self::load(&self.log);
        let before = self.state();
        self.group = loaded;
        assert_eq!(before, self.state(), "the log tells all");
        self.group = Self::load(&self.compacted());
        assert_eq!(before, self.state(), "the compacted log tells all");
        self.timers.clear();
        let timers = self.group.timers_on_load(&self.settings);
        self.set_timers(&timers);
    }

    /// All of the group but what only spares work.
    pub(crate) fn state(&self) -> String {
        let text = format!("{:?}", self.group);
        text.split(", checked:").next().unwrap().into()
    }

    pub(crate) fn partitions(&self, spec: &str) -> Partitions {
        let mut set = Partitions::new();
        for part in spec.split(';').filter(|part| !part.is_empty()) {
            let (name, numbers) = part.split_once(':').unwrap();
            let id = self.topics.topic(name).unwrap().id;
            for number in numbers.split(',') {
                set.insert(id, number.parse().unwrap());
            }
        }
        set
    }

    pub(crate) fn show(&self, partitions: &Partitions) -> String {
        let topic = |(id, numbers): (TopicId, &std::collections::BTreeSet<i32>)| {
            let numbers: Vec<_> = numbers.iter().map(ToString::to_string).collect();
            format!("{}:{}", self.name(id), numbers.join(","))
        };
        let shown: Vec<_> = partitions.topics().map(topic).collect();
        if shown.is_empty() { "nothing".into() } else { shown.join(";") }
    }

    pub(crate) fn name(&self, id: TopicId) -> String {
        self.topics.name(id).map_or_else(|| "gone".into(), String::from)
    }
}
