//! Two consumers share four partitions, with a `Vec` as the log and nothing else of the house: they join, the first assigns, one dies,
//! the other takes over where it had committed.

use std::error::Error;

use hanbeon_group::{
    Commit, CommitDialect, Coordinator, Fetch, FetchWhat, FreshId, Join, Joined, Membership, Name,
    NewMembers, NewOffset, Opaque, Output, Protocol, Record, Reply, Settings, SkipAssignment,
    Speaker, Stability, Sync,
};
use hanbeon_records::{LeaderEpoch, Millis, Offset, TopicName};

/// The coordinator with a log that takes everything at once.
struct Shell {
    groups: Coordinator<&'static str>,
    log: Vec<Record>,
    now: i64,
}

impl Shell {
    /// Calls the coordinator and carries out what it asks for; returns the answers.
    fn call(
        &mut self,
        act: impl FnOnce(&mut Coordinator<&'static str>, Millis, &mut Vec<Output<&'static str>>),
    ) -> Vec<(&'static str, Reply)> {
        let (now, mut out) = (Millis::new(self.now), Vec::new());
        act(&mut self.groups, now, &mut out);
        let mut answers = Vec::new();
        while !out.is_empty() {
            for output in std::mem::take(&mut out) {
                match output {
                    Output::Answer { token, reply } => answers.push((token, reply)),
                    Output::Append { write, records, .. } => {
                        let base = i64::try_from(self.log.len()).unwrap_or(i64::MAX);
                        self.log.extend(records); // a broker would wait for its disk here
                        self.groups.appended(now, write, Ok(Offset::new(base)), &mut out);
                    }
                }
            }
        }
        answers
    }

    fn join(
        &mut self,
        who: &'static str,
        id: Name,
        fresh: u8,
    ) -> Result<Vec<Joined>, Box<dyn Error>> {
        let request = Join {
            group: Name::new("readers")?,
            member_id: id,
            instance_id: None,
            client_id: Name::new(who)?,
            client_host: Name::new("/127.0.0.1")?,
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: Some(20_000),
            protocol_type: Name::new("consumer")?,
            protocols: vec![Protocol { name: Name::new("range")?, metadata: Opaque::from(*b"") }],
            new_members: NewMembers::JoinAtOnce,
            skip_assignment: SkipAssignment::Supported,
        };
        let fresh = FreshId::new([fresh; 16]); // random in a program that strangers talk to
        let answers = self.call(|groups, now, out| groups.join(now, who, request, fresh, out));
        Ok(answers.into_iter().filter_map(joined).collect())
    }

    fn pass(&mut self, ms: i64) -> Vec<(&'static str, Reply)> {
        self.now += ms;
        self.call(|groups, now, out| groups.tick(now, out))
    }
}

fn joined((_, reply): (&'static str, Reply)) -> Option<Joined> {
    if let Reply::Join(Ok(joined)) = reply { Some(joined) } else { None }
}

fn speaker(member: &Joined) -> Result<Speaker, Box<dyn Error>> {
    Ok(Speaker {
        group: Name::new("readers")?,
        generation: member.generation,
        member_id: member.member_id.clone(),
        instance_id: None,
    })
}

const SETTINGS: Settings = Settings {
    session_timeout_ms_min: 6_000,
    session_timeout_ms_max: 1_800_000,
    initial_rebalance_delay_ms: 3_000,
    groups_max: 10_000,
    group_size_max: 1_000,
    member_bytes_max: 1 << 20,
    new_member_join_timeout_ms: 300_000,
    offset_metadata_len_max: 4_096,
    offsets_retention_ms: 604_800_000,
    offsets_retention_check_interval_ms: 600_000,
};

fn main() -> Result<(), Box<dyn Error>> {
    let groups = Coordinator::new(SETTINGS);
    let mut shell = Shell { groups, log: Vec::new(), now: 1_700_000_000_000 };
    shell.call(|groups, now, out| groups.loaded(now, out)); // nothing was in the log

    // Both join; nobody is answered before the group has waited for latecomers.
    assert!(shell.join("a", Name::empty(), 1)?.is_empty());
    assert!(shell.join("b", Name::empty(), 2)?.is_empty());
    shell.pass(3_000);
    let members: Vec<_> = shell.pass(3_000).into_iter().filter_map(joined).collect();
    let [a, b] = members.as_slice() else { return Err("two were to join".into()) };
    assert_eq!((&a.leader, a.members.len(), b.members.len()), (&a.member_id, 2, 0));

    // The leader assigns, both learn their share.
    let request = Sync {
        speaker: speaker(b)?,
        protocol_type: None,
        protocol_name: None,
        assignments: vec![],
    };
    assert!(shell.call(|groups, now, out| groups.sync(now, "b", request, out)).is_empty());
    let assignments = vec![
        (a.member_id.clone(), Opaque::from(*b"0, 1")),
        (b.member_id.clone(), Opaque::from(*b"2, 3")),
    ];
    let request =
        Sync { speaker: speaker(a)?, protocol_type: None, protocol_name: None, assignments };
    let answers = shell.call(|groups, now, out| groups.sync(now, "a", request, out));
    assert_eq!(answers.len(), 2);

    // b commits and dies; a goes on and is told to join again.
    let commit = Commit {
        group: Name::new("readers")?,
        membership: Membership {
            generation: b.generation,
            member_id: b.member_id.clone(),
            instance_id: None,
        },
        dialect: CommitDialect::Epochs,
        retention_ms: None,
        offsets: vec![NewOffset {
            topic: TopicName::new("t")?,
            topic_id: None,
            partition: 2,
            offset: Offset::new(42),
            leader_epoch: LeaderEpoch::UNKNOWN,
            metadata: "".into(),
        }],
    };
    let zombie = commit.clone();
    shell.call(|groups, now, out| groups.commit_offsets(now, "b", commit, out));
    shell.pass(9_000);
    let alive = speaker(a)?;
    shell.call(|groups, now, out| groups.heartbeat(now, "a", alive, out));
    shell.pass(1_000);
    let alone = shell.join("a", a.member_id.clone(), 3)?;
    assert_eq!((alone[0].generation, alone[0].members.len()), (2, 1));

    // What b committed is where a goes on; b itself commits nothing any more.
    let fetched = shell.groups.fetch_offsets(&Fetch {
        group: Name::new("readers")?,
        member: None,
        stability: Stability::Required,
        what: FetchWhat::These(vec![(Name::new("t")?, 2)]),
    })?;
    assert_eq!(fetched[0].committed.as_ref().map(|c| c.offset), Some(Offset::new(42)));
    let answers = shell.call(|groups, now, out| groups.commit_offsets(now, "b", zombie, out));
    assert!(matches!(&answers[0].1, Reply::Commit(Err(error)) if error.code().number() == 25));
    Ok(())
}
