//! A coordinator with a log in memory, a clock and members of both protocols.

#![allow(dead_code, reason = "each test file uses what it needs")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use hanbeon_group::{
    Commit, CommitDialect, Coordinator, Described, FreshId, GroupError, Join, Joined, Leave,
    Leaver, Membership, Name, NewMembers, NewOffset, Opaque, Output, Protocol, Replayed, Reply,
    Settings, SkipAssignment, Speaker, Sync,
    consumer::{
        Assignor, Assignors, ConsumerSettings, GroupDescription, Heartbeat, HeartbeatReply,
        MigrationPolicy, Partitions, Topic, TopicList,
    },
};
use hanbeon_records::{ErrorCode, LeaderEpoch, Millis, Offset, TopicId, TopicName};

pub(crate) const T: TopicId = TopicId::new([1; 16]);

pub(crate) const SETTINGS: Settings = Settings {
    session_timeout_ms_min: 6_000,
    session_timeout_ms_max: 1_800_000,
    initial_rebalance_delay_ms: 0,
    groups_max: 10_000,
    group_size_max: 100,
    member_bytes_max: 1 << 20,
    new_member_join_timeout_ms: 300_000,
    offset_metadata_len_max: 4_096,
    offsets_retention_ms: 604_800_000,
    offsets_retention_check_interval_ms: 600_000,
};

pub(crate) fn consumer_settings() -> ConsumerSettings {
    ConsumerSettings {
        session_timeout_ms: 45_000,
        heartbeat_interval_ms: 5_000,
        assignment_interval_ms: 0,
        max_size: 100,
        assignors: Assignors { default: Assignor::Uniform, others: vec![Assignor::Range] },
        regex_refresh_interval_ms: 600_000,
        migration_policy: MigrationPolicy::Bidirectional,
    }
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// Partitions of `t`.
pub(crate) fn of_t(numbers: &[i32]) -> Partitions {
    numbers.iter().map(|number| (T, *number)).collect()
}

fn partitions_of_t(bytes: &mut Vec<u8>, numbers: &[i32]) {
    bytes.extend_from_slice(&[0, 0, 0, 1, 0, 1, b't']);
    bytes.extend_from_slice(&u32::try_from(numbers.len()).unwrap().to_be_bytes());
    numbers.iter().for_each(|number| bytes.extend_from_slice(&number.to_be_bytes()));
}

/// A subscription to `t`: in version 1 it says what is owned, in version 0 it cannot.
pub(crate) fn subscription(owned: Option<&[i32]>) -> Opaque {
    let mut bytes =
        vec![0, u8::from(owned.is_some()), 0, 0, 0, 1, 0, 1, b't', 0xff, 0xff, 0xff, 0xff];
    if let Some(owned) = owned {
        partitions_of_t(&mut bytes, owned);
    }
    bytes.into()
}

pub(crate) fn assignment(numbers: &[i32]) -> Opaque {
    let mut bytes = vec![0, 0];
    partitions_of_t(&mut bytes, numbers);
    bytes.extend_from_slice(&[0xff; 4]);
    bytes.into()
}

/// The partitions of `t` in an assignment.
pub(crate) fn read_assignment(bytes: &[u8]) -> BTreeSet<i32> {
    if bytes.is_empty() || bytes[2..6] == [0, 0, 0, 0] {
        return BTreeSet::new();
    }
    assert_eq!(bytes[2..9], [0, 0, 0, 1, 0, 1, b't'], "one topic, t: {bytes:?}");
    let count = usize::try_from(u32::from_be_bytes(bytes[9..13].try_into().unwrap())).unwrap();
    assert_eq!(bytes[13 + 4 * count..], [0xff; 4], "no user data");
    let number =
        |at: usize| i32::from_be_bytes(bytes[13 + 4 * at..17 + 4 * at].try_into().unwrap());
    (0..count).map(number).collect()
}

/// A member of the classic protocol, of a client that knows `JoinGroup` v5; it owns nothing.
pub(crate) fn classic(member_id: &Name) -> Join {
    Join {
        group: name("g"),
        member_id: member_id.clone(),
        instance_id: None,
        client_id: name("c"),
        client_host: name("/127.0.0.1"),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: Some(20_000),
        protocol_type: name("consumer"),
        protocols: vec![Protocol { name: name("range"), metadata: subscription(None) }],
        new_members: NewMembers::GetAnIdFirst,
        skip_assignment: SkipAssignment::Unsupported,
    }
}

/// The same, of one that still has `owned`.
pub(crate) fn cooperative(member_id: &Name, owned: &[i32]) -> Join {
    let metadata = subscription(Some(owned));
    let protocols = vec![Protocol { name: name("range"), metadata }];
    Join { protocols, ..classic(member_id) }
}

pub(crate) fn static_one(join: Join, instance: &str) -> Join {
    Join { instance_id: Some(name(instance)), ..join }
}

/// A heartbeat of KIP-848 with nothing new.
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

/// A member of KIP-848 that joins.
pub(crate) fn newer(member_id: &str) -> Heartbeat {
    Heartbeat {
        rebalance_timeout_ms: 30_000,
        subscribed_topic_names: Some(vec!["t".into()]),
        owned: Some(Partitions::new()),
        ..beat(member_id, 0)
    }
}

pub(crate) struct World {
    pub(crate) groups: Coordinator<u32>,
    pub(crate) now: i64,
    pub(crate) log: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// What the log says to the next write.
    pub(crate) refuses: Option<ErrorCode>,
    pub(crate) settings: Settings,
    pub(crate) consumer: ConsumerSettings,
    pub(crate) partitions: i32,
    answers: BTreeMap<u32, Reply>,
    next: u32,
}

impl World {
    pub(crate) fn new(partitions: i32) -> Self {
        Self::with(partitions, SETTINGS, consumer_settings())
    }

    pub(crate) fn with(partitions: i32, settings: Settings, consumer: ConsumerSettings) -> Self {
        let mut world = Self {
            groups: Coordinator::new(settings),
            now: 1_000_000,
            log: Vec::new(),
            refuses: None,
            settings,
            consumer,
            partitions,
            answers: BTreeMap::new(),
            next: 0,
        };
        world.reload();
        world
    }

    pub(crate) fn topics(&self) -> Arc<TopicList> {
        let mut topics = TopicList::default();
        // Another number for each change.
        for partitions in 1..=self.partitions {
            topics.put("t", Topic { id: T, partitions });
        }
        Arc::new(topics)
    }

    /// Another coordinator reads the log and takes over; who waits is told to look for it.
    pub(crate) fn reload(&mut self) {
        let mut out = Vec::new();
        let groups = self.replayed();
        std::mem::replace(&mut self.groups, groups).resign(&mut out);
        self.decide(out);
        let mut out = Vec::new();
        self.groups.loaded(Millis::new(self.now), &mut out);
        self.decide(out);
    }

    fn replayed(&self) -> Coordinator<u32> {
        let mut groups = Coordinator::new(self.settings);
        groups.set_consumer_settings(self.consumer.clone());
        groups.set_topics(self.topics());
        for (at, (key, value)) in self.log.iter().enumerate() {
            let position = Offset::new(i64::try_from(at).unwrap());
            let (key, value) = (Some(key.as_slice()), value.as_deref());
            let record = Replayed::Record { key, value, position, producer_id: None };
            groups.replay(&record).unwrap();
        }
        groups
    }

    /// What another coordinator reads from the log is what this one has.
    pub(crate) fn assert_replays(&self) {
        let mut other = self.replayed();
        other.loaded(Millis::new(self.now), &mut Vec::new());
        let told = |groups: &Coordinator<u32>| groups.describe_consumer(&name("g")).ok();
        assert_eq!(told(&other), told(&self.groups));
        let classic = |groups: &Coordinator<u32>| {
            let told = groups.describe(&name("g")).ok()?;
            // The members' shares are known to the log from the end of a rebalance on.
            let members =
                told.members.into_iter().map(|member| (member.member_id, member.instance_id));
            Some((told.generation, told.protocol_type, members.collect::<Vec<_>>()))
        };
        assert_eq!(classic(&other), classic(&self.groups));
    }

    fn decide(&mut self, mut out: Vec<Output<u32>>) {
        while !out.is_empty() {
            let mut more = Vec::new();
            for output in out {
                match output {
                    Output::Answer { token, reply } => {
                        let before = self.answers.insert(token, reply);
                        assert!(before.is_none(), "token {token} is answered twice: {before:?}");
                    }
                    Output::Append { write, records, .. } => {
                        let base = Offset::new(i64::try_from(self.log.len()).unwrap());
                        let result = self.refuses.take().map_or(Ok(base), Err);
                        if result.is_ok() {
                            let lines = records.iter().map(|r| (r.key().unwrap(), r.value()));
                            self.log.extend(lines);
                        }
                        self.groups.appended(Millis::new(self.now), write, result, &mut more);
                    }
                }
            }
            out = more;
        }
    }

    /// Asks; the answer may come later.
    pub(crate) fn ask(
        &mut self,
        request: impl FnOnce(&mut Coordinator<u32>, Millis, u32, &mut Vec<Output<u32>>),
    ) -> u32 {
        self.next += 1;
        let mut out = Vec::new();
        self.groups.set_topics(self.topics());
        request(&mut self.groups, Millis::new(self.now), self.next, &mut out);
        self.decide(out);
        self.next
    }

    pub(crate) fn reply(&mut self, token: u32) -> Option<Reply> {
        self.answers.remove(&token)
    }

    pub(crate) fn start_join(&mut self, request: Join) -> u32 {
        self.ask(|groups, now, token, out| {
            let fresh = FreshId::new(u128::from(token).to_be_bytes());
            groups.join(now, token, request, fresh, out);
        })
    }

    pub(crate) fn joined(&mut self, token: u32) -> Result<Joined, (ErrorCode, Name)> {
        match self.reply(token) {
            Some(Reply::Join(result)) => {
                result.map_err(|refused| (refused.error.code(), refused.member_id))
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn join(&mut self, request: Join) -> Result<Joined, ErrorCode> {
        let token = self.start_join(request);
        self.joined(token).map_err(|(code, _)| code)
    }

    /// A new member's id.
    pub(crate) fn new_id(&mut self) -> Name {
        let token = self.start_join(classic(&Name::empty()));
        let (code, id) = self.joined(token).unwrap_err();
        assert_eq!(code, ErrorCode::MemberIdRequired);
        id
    }

    pub(crate) fn start_sync(&mut self, speaker: Speaker, given: &[(&Name, &[i32])]) -> u32 {
        let given = given.iter().map(|(id, numbers)| ((*id).clone(), assignment(numbers)));
        let assignments = given.collect();
        let request = Sync { speaker, protocol_type: None, protocol_name: None, assignments };
        self.ask(|groups, now, token, out| groups.sync(now, token, request, out))
    }

    pub(crate) fn synced(&mut self, token: u32) -> Result<BTreeSet<i32>, ErrorCode> {
        match self.reply(token) {
            Some(Reply::Sync(Ok(synced))) => Ok(read_assignment(&synced.assignment)),
            Some(Reply::Sync(Err(error))) => Err(error.code()),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn sync(&mut self, id: &Name, generation: i32) -> Result<BTreeSet<i32>, ErrorCode> {
        let token = self.start_sync(speaker(id, generation), &[]);
        self.synced(token)
    }

    pub(crate) fn heartbeat(&mut self, speaker: Speaker) -> ErrorCode {
        let token = self.ask(|groups, now, token, out| groups.heartbeat(now, token, speaker, out));
        match self.reply(token) {
            Some(Reply::Heartbeat(result)) => code(result),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn leave(&mut self, leavers: &[(&Name, Option<&str>)]) -> Vec<ErrorCode> {
        let leaver = |(id, instance): &(&Name, Option<&str>)| Leaver {
            member_id: (*id).clone(),
            instance_id: instance.map(name),
        };
        let request = Leave { group: name("g"), members: leavers.iter().map(leaver).collect() };
        let token = self.ask(|groups, now, token, out| groups.leave(now, token, request, out));
        match self.reply(token) {
            Some(Reply::Leave(Ok(left))) => {
                left.into_iter().map(|left| code(left.result)).collect()
            }
            Some(Reply::Leave(Err(error))) => vec![error.code()],
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn beat(&mut self, request: &Heartbeat) -> Result<HeartbeatReply, ErrorCode> {
        let request = request.clone();
        let token = self.ask(|groups, now, token, out| {
            groups.consumer_heartbeat(now, token, name("g"), request, FreshId::new([3; 16]), out);
        });
        match self.reply(token) {
            Some(Reply::ConsumerHeartbeat(result)) => result.map_err(|error| error.code()),
            other => panic!("{other:?}"),
        }
    }

    /// An offset of partition 0 of `t`.
    pub(crate) fn commit(
        &mut self,
        member_id: &Name,
        generation: i32,
        dialect: CommitDialect,
    ) -> ErrorCode {
        let membership = Membership { generation, member_id: member_id.clone(), instance_id: None };
        let offset = NewOffset {
            topic: TopicName::new("t").unwrap(),
            topic_id: None,
            partition: 0,
            offset: Offset::new(42),
            leader_epoch: LeaderEpoch::UNKNOWN,
            metadata: "".into(),
        };
        let (group, offsets) = (name("g"), vec![offset]);
        let request = Commit { group, membership, dialect, retention_ms: None, offsets };
        let token =
            self.ask(|groups, now, token, out| groups.commit_offsets(now, token, request, out));
        match self.reply(token) {
            Some(Reply::Commit(Ok(mut results))) => code(results.remove(0)),
            Some(Reply::Commit(Err(error))) => error.code(),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn pass(&mut self, ms: i64) {
        let end = self.now + ms;
        while let Some(at) = self.groups.next_deadline().filter(|at| at.get() <= end) {
            self.now = self.now.max(at.get());
            let mut out = Vec::new();
            self.groups.tick(Millis::new(self.now), &mut out);
            self.decide(out);
        }
        self.now = end;
    }

    /// The group in KIP-848, or that it is none.
    pub(crate) fn described(&self) -> Result<GroupDescription, ErrorCode> {
        self.groups.describe_consumer(&name("g")).map_err(|error| error.code())
    }

    /// The classic group, or that it is none.
    pub(crate) fn classic(&self) -> Result<Described, ErrorCode> {
        self.groups.describe(&name("g")).map_err(|error| error.code())
    }

    /// Kinds of the records from `at` on; those of tombstones are negative.
    pub(crate) fn kinds(&self, at: usize) -> Vec<i16> {
        let kind = |(key, value): &(Vec<u8>, Option<Vec<u8>>)| {
            let kind = i16::from_be_bytes([key[0], key[1]]);
            if value.is_some() { kind } else { -kind }
        };
        self.log[at..].iter().map(kind).collect()
    }

    /// What each member of the KIP-848 group may read, by id.
    pub(crate) fn shares(&self) -> BTreeMap<String, BTreeSet<i32>> {
        let told = self.described().unwrap();
        let share = |topics: &[hanbeon_group::consumer::TopicAssignment]| {
            topics.iter().flat_map(|topic| topic.partitions.clone()).collect()
        };
        told.members.iter().map(|m| (m.member_id.clone(), share(&m.assignment))).collect()
    }

    /// A stable classic group of two at generation 2: the first has partition 0 of `t`, the second all others.
    pub(crate) fn stable_pair(&mut self) -> (Name, Name) {
        let a = self.new_id();
        assert_eq!(self.join(classic(&a)).unwrap().generation, 1);
        let b = self.new_id();
        let (first, second) = (self.start_join(classic(&b)), self.start_join(classic(&a)));
        assert_eq!(self.joined(first).unwrap().generation, 2);
        assert_eq!(self.joined(second).unwrap().generation, 2);
        let others: Vec<i32> = (1..self.partitions).collect();
        let waits = self.start_sync(speaker(&b, 2), &[]);
        let leads = self.start_sync(speaker(&a, 2), &[(&a, &[0]), (&b, &others)]);
        assert_eq!(self.synced(leads).unwrap(), BTreeSet::from([0]));
        assert_eq!(self.synced(waits).unwrap(), others.into_iter().collect());
        (a, b)
    }

    /// A classic member of a KIP-848 group joins as often as it is called and syncs; its generation and share.
    pub(crate) fn catch_up(&mut self, id: &Name) -> (i32, BTreeSet<i32>) {
        let generation = self.join(classic(id)).unwrap().generation;
        (generation, self.sync(id, generation).unwrap())
    }
}

pub(crate) fn speaker(member_id: &Name, generation: i32) -> Speaker {
    Speaker { group: name("g"), generation, member_id: member_id.clone(), instance_id: None }
}

pub(crate) fn code(result: Result<(), GroupError>) -> ErrorCode {
    result.map_or_else(|error| error.code(), |()| ErrorCode::None)
}
