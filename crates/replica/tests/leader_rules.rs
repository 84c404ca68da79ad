//! The rules of the leader one by one, each with the story it guards against.

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use hanbeon_records::{
    BrokerEpoch, ErrorCode, LeaderEpoch, Millis, NodeId, Offset, PartitionEpoch,
};
use hanbeon_replica::{
    Acks, Fetch, Input, IsrAnswer, Leader, LogBounds, MinIsr, Output, Proposal, Registration,
    ReplicaError, Settings, Settled, Standing,
};

const LAG: i64 = 30_000;

fn node(id: i32) -> NodeId {
    NodeId::new(id)
}

fn at(offset: i64) -> Offset {
    Offset::new(offset)
}

fn row(isr: &[i32], min_isr: i32) -> Registration {
    Registration {
        leader_epoch: LeaderEpoch::new(5),
        partition_epoch: PartitionEpoch::new(10),
        replicas: vec![node(1), node(2), node(3)],
        isr: isr.iter().copied().map(node).collect(),
        min_isr: MinIsr::effective(min_isr, 3),
    }
}

/// A leader with its clock and what it said last.
struct World {
    leader: Leader,
    now: i64,
}

impl World {
    fn new(isr: &[i32], min_isr: i32, log: LogBounds) -> Self {
        let settings =
            Settings { node: node(1), broker_epoch: BrokerEpoch::new(100), lag_time_max_ms: LAG };
        let now = 1_000_000;
        let mut world =
            Self { leader: Leader::new(settings, row(isr, min_isr), log, Millis::new(now)), now };
        for id in [2, 3] {
            world.stands(id, Standing::Fit(BrokerEpoch::new(100 + i64::from(id))));
        }
        world
    }

    fn empty(isr: &[i32], min_isr: i32) -> Self {
        Self::new(isr, min_isr, LogBounds::EMPTY)
    }

    fn step(&mut self, input: Input) -> Vec<Output> {
        self.try_step(input).unwrap()
    }

    fn try_step(&mut self, input: Input) -> Result<Vec<Output>, ReplicaError> {
        let mut out = Vec::new();
        self.leader.step(Millis::new(self.now), input, &mut out).map(|()| out)
    }

    fn stands(&mut self, id: i32, standing: Standing) {
        self.step(Input::Broker { node: node(id), standing });
    }

    fn append(&mut self, end: i64) -> Vec<Output> {
        self.step(Input::Appended { end: at(end) })
    }

    fn fetch(&mut self, id: i32, from: i64) -> Vec<Output> {
        self.step(Input::Fetched(fetch(id, from)))
    }

    fn answer(&mut self, proposal: &Proposal, answer: IsrAnswer) -> Vec<Output> {
        self.step(Input::IsrAnswered { number: proposal.number, answer })
    }

    fn commit(&mut self, proposal: &Proposal) -> Vec<Output> {
        let answer = IsrAnswer::Committed {
            leader_epoch: proposal.leader_epoch,
            partition_epoch: PartitionEpoch::new(proposal.partition_epoch.get() + 1),
            isr: proposal.isr.iter().map(|(node, _)| *node).collect(),
        };
        self.answer(proposal, answer)
    }

    fn high_watermark(&self) -> i64 {
        self.leader.high_watermark().get()
    }
}

fn fetch(id: i32, from: i64) -> Fetch {
    Fetch {
        follower: node(id),
        broker_epoch: BrokerEpoch::new(100 + i64::from(id)),
        leader_epoch: LeaderEpoch::new(5),
        from: at(from),
        log_start: at(0),
    }
}

fn proposed(out: &[Output]) -> &Proposal {
    match out {
        [Output::ProposeIsr(proposal)] => proposal,
        other => panic!("expected one proposal, got {other:?}"),
    }
}

fn members(proposal: &Proposal) -> Vec<i32> {
    proposal.isr.iter().map(|(node, _)| node.get()).collect()
}

#[test]
fn r3_the_high_watermark_is_the_lowest_end_of_the_in_sync_replicas() {
    let mut world = World::empty(&[1, 2, 3], 2);
    assert_eq!(world.append(10), [], "nobody has fetched: their ends are unknown");
    assert_eq!(world.fetch(2, 7), []);
    assert_eq!(world.fetch(3, 4), [Output::HighWatermark(at(4))]);
    assert_eq!(world.fetch(3, 10), [Output::HighWatermark(at(7))]);
    assert_eq!(world.fetch(2, 10), [Output::HighWatermark(at(10))]);
    assert_eq!(world.append(12), []);
    assert_eq!(world.high_watermark(), 10);
}

#[test]
fn r3_a_follower_that_falls_back_does_not_take_the_high_watermark_along() {
    let mut world = World::empty(&[1, 2], 1);
    world.append(10);
    world.fetch(2, 10);
    assert_eq!(world.high_watermark(), 10);
    assert_eq!(world.fetch(2, 3), []);
    assert_eq!(world.high_watermark(), 10);
}

#[test]
fn r3_one_replica_commits_what_it_appends() {
    let mut leader = Leader::alone(node(1), LeaderEpoch::new(0), LogBounds::EMPTY);
    let now = Millis::new(0);
    assert_eq!(leader.appended(now, at(3)), Ok(Some(at(3))));
    assert_eq!(leader.appended(now, at(3)), Ok(None), "nothing new");
    let back = leader.appended(now, at(2));
    assert_eq!(back, Err(ReplicaError::EndWentBack { end: at(3), got: at(2) }));
    assert_eq!(leader.settle(Acks::All, at(3)), Ok(Settled::Done));
    assert_eq!(leader.settle(Acks::All, at(4)), Ok(Settled::Waits));
    let log = LogBounds { start: at(2), end: at(9), high_watermark: at(0) };
    let reopened = Leader::alone(node(1), LeaderEpoch::new(1), log);
    assert_eq!(reopened.high_watermark(), at(9), "whatever the checkpoint says");
}

/// KIP-497: a leader that takes its expansion for refused while the store has accepted it commits without the new member,
/// which then is elected.
#[test]
fn r3_an_expansion_under_way_counts_until_its_outcome_is_known() {
    let mut world = World::empty(&[1, 2], 1);
    world.append(10);
    world.fetch(2, 10);
    let out = world.fetch(3, 10);
    let proposal = proposed(&out).clone();
    assert_eq!(members(&proposal), [1, 2, 3]);
    assert_eq!(proposal.partition_epoch, PartitionEpoch::new(10));

    world.append(20);
    assert_eq!(world.fetch(2, 20), [], "node 3 counts already");
    assert_eq!(world.answer(&proposal, IsrAnswer::Unknown), []);
    // The row as it was arrives once more: it does not say that the change was refused.
    assert_eq!(world.step(Input::Registered(row(&[1, 2], 1))), []);
    assert_eq!(world.append(21), []);
    assert_eq!(world.high_watermark(), 10);
    let retried = world.answer(&proposal, IsrAnswer::Retry);
    assert_eq!(*proposed(&retried), proposal, "the same change again");
    // Surely not applied: back to the committed set. Node 3 still counts, caught up and about to join, until it lags.
    assert_eq!(world.answer(&proposal, IsrAnswer::NotApplied), []);
    world.now += LAG + 1;
    assert_eq!(world.fetch(2, 20), [Output::HighWatermark(at(20))]);
    assert_eq!(world.commit(&proposal), [], "an answer that comes twice is nobody's");
    assert_eq!(world.leader.isr(), [node(1), node(2)]);
}

#[test]
fn r3_a_shrinking_under_way_does_not_free_the_high_watermark() {
    let mut world = World::empty(&[1, 2, 3], 1);
    world.append(10);
    world.fetch(2, 10);
    world.now += LAG + 1;
    world.fetch(2, 10);
    let out = world.step(Input::Tick);
    let proposal = proposed(&out).clone();
    assert_eq!(members(&proposal), [1, 2]);
    assert_eq!(world.high_watermark(), 0, "node 3 may still be elected");
    assert_eq!(world.step(Input::Tick), [], "one change at a time");
    assert_eq!(world.commit(&proposal), [Output::HighWatermark(at(10))], "KAFKA-13091: at once");
    assert_eq!(world.leader.partition_epoch(), PartitionEpoch::new(11));
}

/// KIP-966: the last replica standing may not commit alone.
#[test]
fn r3_under_the_minimum_the_high_watermark_stands_still() {
    let mut world = World::empty(&[1], 2);
    assert_eq!(world.append(10), []);
    assert_eq!(world.leader.admit(Acks::Leader), Ok(()), "acks=1 is taken, and stays unseen");
    let out = world.fetch(2, 10);
    let proposal = proposed(&out).clone();
    assert_eq!(world.commit(&proposal), [Output::HighWatermark(at(10))]);
}

/// KAFKA-7128: the high watermark of a new leader may be behind what was committed.
#[test]
fn r2_nobody_joins_below_where_the_leader_began() {
    let log = LogBounds { start: at(0), end: at(10), high_watermark: at(4) };
    let mut world = World::new(&[1, 2], 1, log);
    assert_eq!(world.high_watermark(), 4);
    assert_eq!(world.fetch(3, 9), [], "past the high watermark, but not past 10");
    let out = world.fetch(3, 10);
    assert_eq!(members(proposed(&out)), [1, 2, 3]);
}

/// KIP-903: a broker that lost its disk comes back, and the leader still knows how far its former life had got.
#[test]
fn r2_a_former_life_of_a_follower_does_not_join() {
    let mut world = World::empty(&[1, 2], 1);
    world.append(10);
    world.stands(3, Standing::Fit(BrokerEpoch::new(200)));
    let stale = world.try_step(Input::Fetched(fetch(3, 10))).unwrap_err();
    assert_eq!(stale.code(), ErrorCode::NotLeaderOrFollower);
    assert_eq!(world.fetch(2, 10), [Output::HighWatermark(at(10))], "it left no trace");
    let newer = Fetch { broker_epoch: BrokerEpoch::new(201), ..fetch(3, 10) };
    assert_eq!(world.step(Input::Fetched(newer)), [], "a life that the metadata does not know yet");
    let present = Fetch { broker_epoch: BrokerEpoch::new(200), ..fetch(3, 10) };
    let out = world.step(Input::Fetched(present));
    assert_eq!(proposed(&out).isr.last(), Some(&(node(3), BrokerEpoch::new(200))));
    assert_eq!(proposed(&out).isr.first(), Some(&(node(1), BrokerEpoch::new(100))), "own epoch");
}

/// A replica removed and added again within one change of the metadata has an empty log and looks unchanged.
#[test]
fn r2_a_new_leader_epoch_forgets_followers_out_of_sync() {
    let mut world = World::empty(&[1, 2], 1);
    world.append(10);
    world.fetch(2, 10);
    world.stands(3, Standing::Unfit(BrokerEpoch::new(103)));
    assert_eq!(world.fetch(3, 10), [], "fenced: it may not join");
    let next = Registration {
        leader_epoch: LeaderEpoch::new(6),
        partition_epoch: PartitionEpoch::new(11),
        ..row(&[1, 2], 1)
    };
    world.step(Input::Registered(next));
    world.stands(3, Standing::Fit(BrokerEpoch::new(103)));
    let old = world.try_step(Input::Fetched(fetch(3, 10))).unwrap_err();
    assert_eq!(old.code(), ErrorCode::FencedLeaderEpoch);
    let fresh = Fetch { leader_epoch: LeaderEpoch::new(6), ..fetch(3, 10) };
    let out = world.step(Input::Fetched(fresh));
    assert_eq!(members(proposed(&out)), [1, 2, 3], "after a fetch in this epoch it may");
}

#[test]
fn r6_too_few_in_sync_replicas_refuse_acks_all_before_the_append() {
    let world = World::empty(&[1], 2);
    let refused = world.leader.admit(Acks::All).unwrap_err();
    assert_eq!(refused, ReplicaError::NotEnoughReplicas { isr: 1, min_isr: 2 });
    assert_eq!(refused.code(), ErrorCode::NotEnoughReplicas);
    for acks in [Acks::None, Acks::Leader] {
        assert_eq!(world.leader.admit(acks), Ok(()));
    }
    let whole = World::empty(&[1, 2], 2);
    assert_eq!(whole.leader.admit(Acks::All), Ok(()));
}

#[test]
fn r6_the_minimum_is_never_more_than_there_are_replicas() {
    assert_eq!(MinIsr::effective(2, 1), MinIsr::ONE);
    assert_eq!(MinIsr::effective(2, 3).get(), 2);
    assert_eq!(MinIsr::effective(0, 3), MinIsr::ONE);
    assert_eq!(MinIsr::effective(-1, 0), MinIsr::ONE);
    let alone = Leader::alone(node(1), LeaderEpoch::new(0), LogBounds::EMPTY);
    assert_eq!(alone.admit(Acks::All), Ok(()));
}

#[test]
fn r6_not_enough_replicas_after_append_only_when_the_set_shrank_later() {
    let mut world = World::empty(&[1, 2], 2);
    assert_eq!(world.leader.admit(Acks::All), Ok(()));
    world.append(10);
    assert_eq!(world.leader.settle(Acks::All, at(10)), Ok(Settled::Waits));
    assert_eq!(world.leader.settle(Acks::Leader, at(10)), Ok(Settled::Done));
    assert_eq!(world.leader.settle(Acks::None, at(10)), Ok(Settled::Done));
    world.fetch(2, 10);
    assert_eq!(world.leader.settle(Acks::All, at(10)), Ok(Settled::Done));
    let smaller = Registration { partition_epoch: PartitionEpoch::new(11), ..row(&[1], 2) };
    world.step(Input::Registered(smaller));
    let after = world.leader.settle(Acks::All, at(10)).unwrap_err();
    assert_eq!(after, ReplicaError::NotEnoughReplicasAfterAppend { isr: 1, min_isr: 2 });
    assert_eq!(after.code(), ErrorCode::NotEnoughReplicasAfterAppend);
    // Node 2 asks to come back: an expansion under way counts as done.
    world.fetch(2, 10);
    assert_eq!(world.leader.settle(Acks::All, at(10)), Ok(Settled::Done));
    assert_eq!(world.leader.settle(Acks::All, at(11)), Ok(Settled::Waits), "it may still be kept");
}

#[test]
fn r6_acks_are_0_1_or_all() {
    for (raw, acks) in [(0, Acks::None), (1, Acks::Leader), (-1, Acks::All)] {
        assert_eq!(Acks::try_from(raw), Ok(acks));
    }
    for got in [2, -2, i16::MAX, i16::MIN] {
        let refused = Acks::try_from(got).unwrap_err();
        assert_eq!(refused, ReplicaError::InvalidRequiredAcks { got });
        assert_eq!(refused.code(), ErrorCode::InvalidRequiredAcks);
    }
    assert_eq!(Acks::All.waits_for(at(4)), Some(at(4)));
    assert_eq!(Acks::Leader.waits_for(at(4)), None);
}

/// KIP-207: a consumer that seeks to the end must not go back after an election.
#[test]
fn r8_a_new_leader_answers_no_latest_offset_before_it_has_proven_one() {
    let log = LogBounds { start: at(0), end: at(10), high_watermark: at(4) };
    let mut world = World::new(&[1, 2], 1, log);
    let unproven = world.leader.latest_offset().unwrap_err();
    assert_eq!(
        unproven,
        ReplicaError::HighWatermarkNotProven { high_watermark: at(4), needed: at(10) }
    );
    assert_eq!(unproven.code(), ErrorCode::OffsetNotAvailable);
    world.append(12);
    world.fetch(2, 9);
    assert!(world.leader.latest_offset().is_err());
    world.fetch(2, 11);
    assert_eq!(world.leader.latest_offset(), Ok(at(11)));
}

#[test]
fn epochs_of_requests_are_fenced_both_ways() {
    let world = World::empty(&[1, 2], 1);
    assert_eq!(world.leader.check_epoch(LeaderEpoch::new(5)), Ok(()));
    assert_eq!(world.leader.check_epoch(LeaderEpoch::UNKNOWN), Ok(()));
    let code = |epoch| world.leader.check_epoch(LeaderEpoch::new(epoch)).unwrap_err().code();
    assert_eq!(code(4), ErrorCode::FencedLeaderEpoch);
    assert_eq!(code(6), ErrorCode::UnknownLeaderEpoch);
}

#[test]
fn strangers_and_diverging_fetches_leave_no_trace() {
    let mut world = World::empty(&[1, 2], 1);
    world.append(10);
    let code = |world: &mut World, fetch| world.try_step(Input::Fetched(fetch)).unwrap_err().code();
    assert_eq!(code(&mut world, fetch(4, 10)), ErrorCode::UnknownLeaderEpoch);
    let without_epoch = Fetch { leader_epoch: LeaderEpoch::UNKNOWN, ..fetch(4, 10) };
    assert_eq!(code(&mut world, without_epoch), ErrorCode::NotLeaderOrFollower);
    assert_eq!(code(&mut world, fetch(2, 11)), ErrorCode::OffsetOutOfRange);
    let zombie = Fetch { leader_epoch: LeaderEpoch::new(4), ..fetch(2, 10) };
    assert_eq!(code(&mut world, zombie), ErrorCode::FencedLeaderEpoch);
    assert_eq!(world.high_watermark(), 0);
}

/// KAFKA-15021: a caught-up follower that is fenced held the high watermark back.
#[test]
fn only_a_follower_that_may_join_holds_the_high_watermark_back() {
    let mut world = World::empty(&[1, 2], 2);
    world.append(10);
    world.fetch(2, 10);
    let out = world.fetch(3, 10);
    let proposal = proposed(&out).clone();
    world.answer(&proposal, IsrAnswer::NotApplied);
    world.append(20);
    assert_eq!(world.fetch(2, 20), [], "node 3 is about to join at 10");
    world.step(Input::Broker { node: node(3), standing: Standing::Unfit(BrokerEpoch::new(103)) });
    assert_eq!(world.high_watermark(), 20);
}

/// KAFKA-19996: with the high watermark frozen under the minimum, any slow follower reaches it, joins, is dropped, joins ...
#[test]
fn under_the_minimum_a_slow_follower_does_not_flap() {
    let mut world = World::empty(&[1], 2);
    world.append(10);
    world.now += LAG + 1;
    assert_eq!(world.fetch(3, 0), [], "at the high watermark, far from the end");
    let out = world.fetch(3, 10);
    assert_eq!(members(proposed(&out)), [1, 3]);
}

/// KAFKA-4485: a busy follower always trails by a batch, and is judged by what the leader had at its fetch before.
#[test]
fn a_busy_follower_stays_in_sync() {
    let mut world = World::empty(&[1, 2], 1);
    let mut end = 10;
    world.append(end);
    for _ in 0..10 {
        world.now += LAG / 2;
        let before = end;
        end += 10;
        world.append(end);
        world.fetch(2, before);
        assert_eq!(world.step(Input::Tick), [], "it had everything at its last fetch");
    }
    world.now += LAG + 1;
    assert_eq!(members(proposed(&world.step(Input::Tick))), [1]);
}

/// A first write right after an election must not throw out followers that had no chance to fetch.
#[test]
fn in_sync_followers_of_a_new_leader_have_a_grace_time() {
    let mut world = World::empty(&[1, 2, 3], 1);
    world.append(10);
    world.now += LAG;
    assert_eq!(world.step(Input::Tick), []);
    // The same row again is no reason for more grace.
    world.step(Input::Registered(row(&[1, 2, 3], 1)));
    world.now += 1;
    assert_eq!(members(proposed(&world.step(Input::Tick))), [1], "and never without the leader");
}

#[test]
fn older_rows_and_late_answers_change_nothing() {
    let mut world = World::empty(&[1, 2], 1);
    world.append(10);
    world.fetch(2, 10);
    let out = world.fetch(3, 10);
    let proposal = proposed(&out).clone();
    let newer = Registration { partition_epoch: PartitionEpoch::new(12), ..row(&[1], 1) };
    world.step(Input::Registered(newer));
    assert_eq!(world.leader.isr(), [node(1)]);
    world.commit(&proposal);
    world.step(Input::Registered(row(&[1, 2, 3], 1)));
    assert_eq!(world.leader.isr(), [node(1)]);
    assert_eq!(world.leader.partition_epoch(), PartitionEpoch::new(12));
}

#[test]
fn an_answer_of_another_leader_epoch_or_an_older_partition_epoch_is_ignored() {
    let mut world = World::empty(&[1, 2], 1);
    world.append(10);
    world.fetch(2, 10);
    let out = world.fetch(3, 10);
    let proposal = proposed(&out).clone();
    for (leader_epoch, partition_epoch) in [(4, 11), (6, 11), (5, 9)] {
        let answer = IsrAnswer::Committed {
            leader_epoch: LeaderEpoch::new(leader_epoch),
            partition_epoch: PartitionEpoch::new(partition_epoch),
            isr: vec![node(1)],
        };
        world.answer(&proposal, answer);
        assert_eq!(world.leader.isr(), [node(1), node(2)], "{leader_epoch}, {partition_epoch}");
        assert_eq!(world.leader.partition_epoch(), PartitionEpoch::new(10));
    }
    world.commit(&proposal);
    assert_eq!(world.leader.isr(), [node(1), node(2), node(3)]);
}

#[test]
fn a_new_leader_epoch_of_the_same_leader_begins_anew() {
    let mut world = World::empty(&[1, 2], 1);
    world.append(10);
    world.fetch(2, 4);
    world.fetch(3, 4);
    assert_eq!(world.leader.latest_offset(), Ok(at(4)));
    world.now += LAG + 1;
    let next = Registration {
        leader_epoch: LeaderEpoch::new(6),
        partition_epoch: PartitionEpoch::new(11),
        ..row(&[1, 2], 1)
    };
    world.step(Input::Registered(next));
    let unproven = world.leader.latest_offset().unwrap_err();
    let needed = at(10);
    assert_eq!(unproven, ReplicaError::HighWatermarkNotProven { high_watermark: at(4), needed });
    assert_eq!(world.step(Input::Tick), [], "members have their grace time once more");
    let fresh = Fetch { leader_epoch: LeaderEpoch::new(6), ..fetch(2, 10) };
    let out = world.step(Input::Fetched(fresh));
    assert_eq!(out, [Output::HighWatermark(at(10))], "node 3 is forgotten and holds nothing back");
}

#[test]
fn answers_are_read_from_their_error_codes() {
    for code in [ErrorCode::OperationNotAttempted, ErrorCode::IneligibleReplica] {
        assert_eq!(IsrAnswer::from_error(code), IsrAnswer::NotApplied);
    }
    for code in [
        ErrorCode::FencedLeaderEpoch,
        ErrorCode::InvalidUpdateVersion,
        ErrorCode::InvalidRequest,
        ErrorCode::UnknownTopicId,
        ErrorCode::UnknownTopicOrPartition,
        ErrorCode::NewLeaderElected,
    ] {
        assert_eq!(IsrAnswer::from_error(code), IsrAnswer::Unknown, "{code}");
    }
    for code in
        [ErrorCode::NotController, ErrorCode::UnknownServerError, ErrorCode::StaleBrokerEpoch]
    {
        assert_eq!(IsrAnswer::from_error(code), IsrAnswer::Retry, "{code}");
    }
}

#[test]
fn the_low_watermark_is_the_lowest_log_start_of_brokers_that_are_up() {
    let mut world = World::empty(&[1, 2, 3], 1);
    world.append(10);
    world.step(Input::LogStart(at(6)));
    world.step(Input::Fetched(Fetch { log_start: at(5), ..fetch(2, 10) }));
    assert_eq!(world.leader.low_watermark(), at(0), "node 3 has told nothing");
    world.stands(3, Standing::Unfit(BrokerEpoch::new(103)));
    assert_eq!(world.leader.low_watermark(), at(5));
}

/// Somebody else led in epoch 6. What a follower had in epoch 5 it may have cut since, a member of the in-sync set, too.
#[test]
fn r3_a_leader_that_missed_an_epoch_forgets_where_followers_were() {
    let mut world = World::empty(&[1, 2, 3], 1);
    world.append(12);
    world.fetch(2, 10);
    assert_eq!(world.fetch(3, 12), [Output::HighWatermark(at(10))]);
    let later = |epoch, partition_epoch, isr: &[i32]| {
        Input::Registered(Registration {
            leader_epoch: LeaderEpoch::new(epoch),
            partition_epoch: PartitionEpoch::new(partition_epoch),
            ..row(isr, 1)
        })
    };
    assert_eq!(world.step(later(7, 11, &[1, 3])), [], "node 3 is counted from its next fetch on");
    assert_eq!(world.high_watermark(), 10);
    assert_eq!(world.step(Input::Tick), [], "it has its grace time");
    let fresh = Fetch { leader_epoch: LeaderEpoch::new(7), ..fetch(3, 11) };
    assert_eq!(world.step(Input::Fetched(fresh)), [Output::HighWatermark(at(11))]);
    // Leading on without a gap, it knows that nobody else led.
    let fresh = Fetch { leader_epoch: LeaderEpoch::new(7), ..fetch(3, 12) };
    world.step(Input::Fetched(fresh));
    assert_eq!(world.append(13), []);
    assert_eq!(world.step(later(8, 12, &[1, 3])), []);
    assert_eq!(world.high_watermark(), 12);
}

#[test]
fn r2_a_replica_that_is_added_later_joins() {
    let mut world = World::empty(&[1, 2, 3], 1);
    world.append(10);
    world.fetch(2, 10);
    world.fetch(3, 10);
    // Its broker was there before the replica.
    world.stands(4, Standing::Fit(BrokerEpoch::new(104)));
    let grown = Registration {
        partition_epoch: PartitionEpoch::new(11),
        replicas: vec![node(1), node(2), node(3), node(4)],
        ..row(&[1, 2, 3], 1)
    };
    world.step(Input::Registered(grown));
    assert_eq!(members(proposed(&world.fetch(4, 10))), [1, 2, 3, 4]);
}
