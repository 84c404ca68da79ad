//! The embedded group consumer: where it goes on, how members share and part, who is refused, what transactions make of positions.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod model;
mod world;

use std::{
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use hanbeon::{
    ClientError, ConsumerSettings, Engine, ErrorCode, GroupConsumer, Offset, Options, Record,
    Reset, SettingError, TopicRef,
    group::{Join, Name, NewMembers, Protocol, SkipAssignment, consumer::Heartbeat},
};
use hanbeon_log::CrashDir;

use world::{
    SESSION_MS, World, all_committed, copy, fenced, member, numbers, open, open_on, output,
    partitions, poll, produce, upkeep,
};

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn c1_a_member_goes_on_where_the_group_stands_also_after_reopening() {
    for options in [Options::embedded(), Options::broker(), Options::broker().helpers(1)] {
        let disk = CrashDir::new();
        let (env, engine) = open_on(&disk, 1_700_000_000_000, options.clone());
        produce(&engine, 0..8);
        let mut consumer = member(&engine);
        assert_eq!((consumer.member_epoch(), consumer.positions().len()), (0, 0));
        assert_eq!(poll(&mut consumer), (0..8).collect::<Vec<_>>());
        assert_eq!(partitions(&consumer), [0, 1, 2, 3]);
        assert_eq!(all_committed(&engine), [None; 4], "nothing is committed unasked");
        consumer.commit().unwrap();
        assert_eq!(all_committed(&engine), [Some(2); 4]);
        produce(&engine, 8..12);
        assert_eq!(poll(&mut consumer), [8, 9, 10, 11]);
        consumer.close().unwrap();
        // A broker assigns once a second.
        env.advance(1_000);
        let mut next = member(&engine);
        assert_eq!(poll(&mut next), [8, 9, 10, 11], "read and not committed");
        next.commit().unwrap();
        engine.shutdown().unwrap();
        drop((next, engine));

        let (_env, engine) = open_on(&disk, 1_700_000_002_000, options);
        produce(&engine, 12..16);
        assert_eq!(poll(&mut member(&engine)), [12, 13, 14, 15]);
    }
}

#[test]
fn c6_members_that_come_and_go_share_without_loss_or_double() {
    let (_env, engine) = open();
    let (mut one, mut two) = (member(&engine), member(&engine));
    let mut seen = Vec::new();
    let mut turn = |consumer: &mut GroupConsumer<World>| {
        seen.extend(poll(consumer));
        consumer.commit().unwrap();
    };
    produce(&engine, 0..8);
    turn(&mut one);
    assert_eq!(partitions(&one), [0, 1, 2, 3]);
    produce(&engine, 8..16);
    turn(&mut two);
    assert!(partitions(&two).is_empty(), "they are in other hands");
    // The other's coming is known at once; what it read is committed, so that it lets go.
    turn(&mut one);
    turn(&mut two);
    let (of_one, of_two) = (partitions(&one), partitions(&two));
    assert_eq!((of_one.len(), of_two.len()), (2, 2));
    assert!(of_one.iter().all(|partition| !of_two.contains(partition)));
    assert_eq!(one.positions().len(), 2);
    produce(&engine, 16..24);
    turn(&mut one);
    turn(&mut two);
    two.close().unwrap();
    produce(&engine, 24..32);
    turn(&mut one);
    assert_eq!(partitions(&one), [0, 1, 2, 3]);
    seen.sort_unstable();
    assert_eq!(seen, (0..32).collect::<Vec<_>>());
    assert_eq!(all_committed(&engine), [Some(8); 4]);
}

#[test]
fn c6_a_partition_stays_until_what_was_read_of_it_is_settled() {
    let (env, engine) = open();
    let (mut one, mut two) = (member(&engine), member(&engine));
    produce(&engine, 0..8);
    assert_eq!(poll(&mut one).len(), 8);
    assert!(poll(&mut two).is_empty());
    produce(&engine, 8..16);
    // Leaving, and not read any more; their positions are still this member's to commit.
    let more = poll(&mut one);
    assert_eq!((one.leaving().len(), more.len(), one.positions().len()), (2, 4, 4));
    for _ in 0..3 {
        env.advance(5_000);
        assert!(poll(&mut one).is_empty() && poll(&mut two).is_empty());
    }
    let leaving: Vec<_> = one.leaving().iter().map(|name| name.partition).collect();
    let (_, position) = one.positions().into_iter().find(|(n, _)| n == &one.leaving()[0]).unwrap();
    assert_eq!(position, Offset::new(2));
    one.commit().unwrap();
    assert!(poll(&mut two).is_empty(), "the other has not said that it gave up");
    assert!(poll(&mut one).is_empty() && one.leaving().is_empty());
    assert_eq!((poll(&mut two).len(), partitions(&two)), (4, leaving));

    // Released without a commit: the next owner reads them again.
    drop(one);
    assert!(poll(&mut two).is_empty());
    assert_eq!(partitions(&two).len(), 4);
    produce(&engine, 16..20);
    assert_eq!(poll(&mut two).len(), 4);
    let mut three = member(&engine);
    poll(&mut three);
    poll(&mut two);
    assert_eq!(two.leaving().len(), 2);
    two.release();
    assert!(poll(&mut two).is_empty());
    // Two of 8..16 and one of 16..20 on each of them, or the half of it that was committed.
    let again = poll(&mut three);
    assert!(again.iter().any(|number| *number >= 16), "{again:?}");
}

#[test]
fn c6_what_only_went_past_a_marker_is_given_back_at_once() {
    let (_env, engine) = open();
    let mut producer = engine.transactional_producer("tx").unwrap();
    for partition in 0..4 {
        let mut transaction = producer.begin();
        let record = Record::new("in", partition.to_string()).partition(partition);
        transaction.send(record).unwrap().wait().unwrap();
        transaction.abort().unwrap();
    }
    let (mut one, mut two) = (member(&engine), member(&engine));
    assert!(poll(&mut one).is_empty());
    assert!(one.positions().iter().all(|(_, position)| *position == Offset::new(2)));
    // As one does who commits when there was something.
    poll(&mut two);
    poll(&mut one);
    assert_eq!((one.leaving().len(), one.assignment().len()), (0, 2));
    // But when it commits, that is part of it.
    one.commit().unwrap();
    assert_eq!(all_committed(&engine).iter().flatten().count(), 2);
}

#[test]
fn c1_a_partition_that_fails_takes_nothing_of_the_others_with_it() {
    let home = tempfile::tempdir().unwrap();
    let open = || {
        let options = Options::broker().set("offsets.topic.num.partitions", "1").unwrap();
        Engine::open_with(home.path(), options).unwrap()
    };
    let engine = open();
    engine.ensure_topic("in", 3).unwrap();
    for partition in 0..3 {
        let record = Record::new("in", partition.to_string()).partition(partition);
        engine.producer().send(record).unwrap().wait().unwrap();
    }
    engine.shutdown().unwrap();
    drop(engine);
    // Somebody else's directory in the place of in-1.
    let metadata = home.path().join("in-1/partition.metadata");
    let own = std::fs::read(&metadata).unwrap();
    std::fs::write(&metadata, "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ").unwrap();
    let engine = open();
    let mut consumer = engine.consumer();
    consumer.assign_all("in").unwrap();
    let mut member = engine.group_consumer("g").subscribe(["in"]).unwrap();
    for _ in 0..2 {
        let (mut read, mut shared, mut failed) = (Vec::new(), Vec::new(), 0);
        for _ in 0..4 {
            match consumer.poll() {
                Ok(received) => read.extend(numbers(&received)),
                Err(_) => failed += 1,
            }
            match member.poll() {
                Ok(received) => shared.extend(numbers(&received)),
                Err(_) => failed += 1,
            }
        }
        read.sort_unstable();
        assert_eq!((&read[..], &shared[..]), (&[0, 2][..], &[0, 2][..]));
        assert!(failed >= 4, "and it is told");
        for partition in [0, 2] {
            consumer.seek("in", partition, Offset::ZERO).unwrap();
        }
        member.rewind();
    }
    member.commit().unwrap();
    std::fs::write(&metadata, own).unwrap();
    engine.partition("in", 1).unwrap().reopen().unwrap();
    assert_eq!(numbers(&member.poll().unwrap()), [0, 1, 2]);
}

#[test]
fn c4_who_keeps_a_partition_for_too_long_is_put_out() {
    let (env, engine) = open();
    let settings = ConsumerSettings::new().set("max.poll.interval.ms", "20000").unwrap();
    let builder = engine.group_consumer("g").settings(settings);
    let mut one = builder.subscribe(["in"]).unwrap();
    let mut two = member(&engine);
    produce(&engine, 0..8);
    poll(&mut one);
    poll(&mut two);
    for _ in 0..4 {
        poll(&mut one);
        poll(&mut two);
        env.advance(5_000);
    }
    upkeep(&engine);
    assert_eq!(fenced(&one.poll().unwrap_err()), ErrorCode::UnknownMemberId);
    assert_eq!(poll(&mut two), (0..8).collect::<Vec<_>>());
}

#[test]
fn c2_after_its_session_a_commit_is_refused_and_changes_nothing() {
    let (env, engine) = open();
    let mut consumer = member(&engine);
    produce(&engine, 0..8);
    poll(&mut consumer);
    consumer.commit().unwrap();
    produce(&engine, 8..16);
    assert_eq!(poll(&mut consumer).len(), 8);
    env.advance(SESSION_MS + 1);
    upkeep(&engine);
    let refused = consumer.commit().unwrap_err();
    assert_eq!(fenced(&refused), ErrorCode::UnknownMemberId);
    assert!(refused.to_string().contains("abort what is under way"), "{refused}");
    assert_eq!(all_committed(&engine), [Some(2); 4]);
    assert_eq!((consumer.member_epoch(), consumer.positions().len()), (0, 0));
    consumer.commit().unwrap();
    assert_eq!(all_committed(&engine), [Some(2); 4], "it has no positions any more");
    // Told once: it joins anew and reads again what was not committed.
    assert_eq!(poll(&mut consumer), (8..16).collect::<Vec<_>>());
    consumer.commit().unwrap();
    assert_eq!(all_committed(&engine), [Some(4); 4]);

    // A poll hears it as well, and another member's poll is enough for time to pass.
    let mut other = member(&engine);
    env.advance(SESSION_MS + 1);
    poll(&mut other);
    produce(&engine, 16..24);
    assert_eq!(fenced(&consumer.poll().unwrap_err()), ErrorCode::UnknownMemberId);
    assert_eq!(poll(&mut other).len(), 8);
    other.commit().unwrap();
    assert!(poll(&mut consumer).is_empty());
}

#[test]
fn c2_one_who_polls_often_enough_is_never_put_out() {
    let (env, engine) = open();
    let mut consumer = member(&engine);
    produce(&engine, 0..4);
    poll(&mut consumer);
    let epoch = consumer.member_epoch();
    for _ in 0..20 {
        env.advance(SESSION_MS / 2);
        upkeep(&engine);
        poll(&mut consumer);
    }
    assert_eq!(consumer.member_epoch(), epoch);
    // Alone and late it is not put out by its own poll.
    env.advance(SESSION_MS * 2);
    poll(&mut consumer);
    assert_eq!(consumer.member_epoch(), epoch);
    consumer.commit().unwrap();
}

#[test]
fn t8_offsets_of_an_aborted_transaction_are_not_seen() {
    let (_env, engine) = open();
    let mut producer = engine.transactional_producer("tx").unwrap();
    let mut consumer = member(&engine);
    produce(&engine, 0..8);
    let received = consumer.poll().unwrap();
    let mut transaction = copy(&mut producer, &received);
    transaction.send_positions(&mut consumer).unwrap();
    transaction.abort().unwrap();
    assert_eq!((all_committed(&engine), output(&engine)), (vec![None; 4], vec![]));

    // The same again, from memory: positions that were part of an abort are sent again.
    let mut transaction = copy(&mut producer, &received);
    transaction.send_positions(&mut consumer).unwrap();
    transaction.commit().unwrap();
    assert_eq!(all_committed(&engine), [Some(2); 4]);

    produce(&engine, 8..16);
    let received = consumer.poll().unwrap();
    let mut transaction = copy(&mut producer, &received);
    transaction.send_positions(&mut consumer).unwrap();
    drop(transaction);
    assert_eq!(all_committed(&engine), [Some(2); 4]);
    assert!(
        matches!(consumer.poll(), Err(ClientError::NotRewound { .. })),
        "it is where it read to"
    );
    consumer.rewind();
    let received = consumer.poll().unwrap();
    assert_eq!(received.len(), 8);
    let mut transaction = copy(&mut producer, &received);
    transaction.send_positions(&mut consumer).unwrap();
    transaction.commit().unwrap();
    let all: Vec<_> = (0..16).collect();
    assert_eq!((all_committed(&engine), output(&engine)), (vec![Some(4); 4], all));
    // Nothing to say any more: neither costs anything.
    let before = engine.transactions().describe("tx").unwrap();
    let mut transaction = producer.begin();
    transaction.send_positions(&mut consumer).unwrap();
    transaction.commit().unwrap();
    assert_eq!(engine.transactions().describe("tx").unwrap(), before);
    consumer.rewind();
    assert!(poll(&mut consumer).is_empty());
}

#[test]
fn c2_t8_a_zombies_positions_are_refused_and_its_transaction_with_them() {
    let (env, engine) = open();
    let mut old_producer = engine.transactional_producer("tx-old").unwrap();
    let mut new_producer = engine.transactional_producer("tx-new").unwrap();
    let (mut old, mut new) = (member(&engine), member(&engine));
    produce(&engine, 0..8);
    let received = old.poll().unwrap();
    let metadata = old.group_metadata();
    let positions = old.positions();
    let mut zombie = copy(&mut old_producer, &received);
    zombie.flush().unwrap();
    env.advance(SESSION_MS + 1);
    upkeep(&engine);

    let received = new.poll().unwrap();
    assert_eq!(received.len(), 8);
    let mut transaction = copy(&mut new_producer, &received);
    transaction.send_positions(&mut new).unwrap();
    transaction.commit().unwrap();

    let refused = zombie.send_positions(&mut old).unwrap_err();
    assert_eq!(fenced(&refused), ErrorCode::UnknownMemberId);
    assert!(matches!(zombie.commit(), Err(ClientError::Aborted { .. })));
    let all: Vec<_> = (0..8).collect();
    assert_eq!((output(&engine), all_committed(&engine)), (all.clone(), vec![Some(2); 4]));
    // Nor under what it wrote down, also when the same member has joined again.
    assert!(poll(&mut old).is_empty());
    let mut zombie = old_producer.begin();
    let refused = zombie.send_offsets_of("g", metadata, &positions).unwrap_err();
    let ClientError::Groups(reason) = &refused else { panic!("{refused:?}") };
    assert_eq!(reason.code(), ErrorCode::IllegalGeneration);
    drop(zombie);
    assert_eq!((output(&engine), all_committed(&engine)), (all, vec![Some(2); 4]));
}

#[test]
fn c2_t8_who_was_put_out_and_goes_on_as_if_it_was_not_commits_nothing() {
    let (env, engine) = open();
    let mut producer = engine.transactional_producer("tx").unwrap();
    let mut consumer = member(&engine);
    produce(&engine, 0..8);
    let received = consumer.poll().unwrap();
    let mut transaction = copy(&mut producer, &received);
    env.advance(SESSION_MS + 1);
    upkeep(&engine);
    assert_eq!(fenced(&consumer.poll().unwrap_err()), ErrorCode::UnknownMemberId);
    // It joins anew, the same records come again, and go into the same transaction.
    for record in consumer.poll().unwrap() {
        transaction.send(Record::new("out", record.value.unwrap())).unwrap();
    }
    let refused = transaction.send_positions(&mut consumer).unwrap_err();
    assert_eq!(fenced(&refused), ErrorCode::UnknownMemberId);
    assert!(matches!(transaction.commit(), Err(ClientError::Aborted { .. })));
    assert_eq!((output(&engine), all_committed(&engine)), (vec![], vec![None; 4]));

    consumer.rewind();
    let received = consumer.poll().unwrap();
    let mut transaction = copy(&mut producer, &received);
    transaction.send_positions(&mut consumer).unwrap();
    transaction.commit().unwrap();
    let all: Vec<_> = (0..8).collect();
    assert_eq!((output(&engine), all_committed(&engine)), (all, vec![Some(2); 4]));
    // Sought on purpose, what an aborted transaction read does not come again.
    produce(&engine, 8..12);
    let received = consumer.poll().unwrap();
    let mut transaction = copy(&mut producer, &received);
    transaction.send_positions(&mut consumer).unwrap();
    transaction.abort().unwrap();
    for partition in 0..4 {
        consumer.seek("in", partition, Offset::new(3)).unwrap();
    }
    assert!(poll(&mut consumer).is_empty());
}

#[test]
fn t8_the_next_owner_waits_until_the_transaction_is_decided() {
    for commits in [true, false] {
        let (env, engine) = open();
        let mut producer = engine.transactional_producer("tx").unwrap();
        let (mut one, mut two) = (member(&engine), member(&engine));
        produce(&engine, 0..8);
        let received = one.poll().unwrap();
        let mut transaction = copy(&mut producer, &received);
        transaction.send_positions(&mut one).unwrap();
        poll(&mut two);
        // Its positions are part of the transaction: it need not keep the partitions for them.
        assert!(poll(&mut one).is_empty());
        assert!(one.leaving().is_empty());
        produce(&engine, 8..16);
        assert!(poll(&mut two).is_empty(), "undecided");
        assert_eq!((partitions(&two).len(), two.positions().len()), (2, 0));
        env.advance(200);
        assert!(poll(&mut two).is_empty(), "undecided still");
        let expected = if commits {
            transaction.commit().unwrap();
            4
        } else {
            transaction.abort().unwrap();
            8
        };
        assert_eq!(poll(&mut two).len(), expected);
    }
}

#[test]
fn t8_partitions_of_an_aborted_transaction_stay_until_the_reader_goes_back() {
    let (_env, engine) = open();
    let mut producer = engine.transactional_producer("tx").unwrap();
    let (mut one, mut two) = (member(&engine), member(&engine));
    produce(&engine, 0..8);
    let received = one.poll().unwrap();
    poll(&mut two);
    assert!(poll(&mut one).is_empty());
    assert_eq!(one.leaving().len(), 2);
    let mut transaction = copy(&mut producer, &received);
    transaction.send_positions(&mut one).unwrap();
    transaction.abort().unwrap();
    assert!(matches!(one.poll(), Err(ClientError::NotRewound { .. })));
    assert_eq!(one.leaving().len(), 2, "who begins anew from memory must be able to commit them");
    one.rewind();
    let mut again = poll(&mut one);
    assert!(one.leaving().is_empty());
    again.extend(poll(&mut two));
    again.sort_unstable();
    assert_eq!(again, (0..8).collect::<Vec<_>>());
}

#[test]
fn c6_the_dead_of_an_earlier_life_are_taken_out_at_once() {
    for instance in [None, Some("till-7")] {
        let disk = CrashDir::new();
        let make = |engine: &Engine<World>| {
            let builder = engine.group_consumer("g");
            let builder = match instance {
                Some(id) => builder.instance_id(id),
                None => builder,
            };
            builder.subscribe(["in"]).unwrap()
        };
        let (_env, engine) = open_on(&disk, 1_700_000_000_000, Options::embedded());
        produce(&engine, 0..8);
        let mut consumer = make(&engine);
        assert_eq!(poll(&mut consumer).len(), 8);
        consumer.commit().unwrap();
        produce(&engine, 8..12);
        poll(&mut consumer);
        // Killed.
        std::mem::forget((consumer, engine));
        let disk = disk.killed();
        let (_env, engine) = open_on(&disk, 1_700_000_000_001, Options::embedded());
        let mut consumer = make(&engine);
        assert_eq!(poll(&mut consumer), [8, 9, 10, 11]);
        consumer.commit().unwrap();
        // One that is forgotten in this life is not taken for dead: its session decides.
        std::mem::forget(consumer);
        assert!(poll(&mut member(&engine)).is_empty());
    }
}

#[test]
fn a_static_member_comes_again_to_what_it_had() {
    let disk = CrashDir::new();
    let (_env, engine) = open_on(&disk, 1_700_000_000_000, Options::embedded());
    let make = |engine: &Engine<World>, id: &str| {
        engine.group_consumer("g").instance_id(id).subscribe(["in"]).unwrap()
    };
    let (mut a, mut b) = (make(&engine, "a"), make(&engine, "b"));
    for _ in 0..2 {
        poll(&mut a);
        poll(&mut b);
    }
    let (of_a, of_b) = (partitions(&a), partitions(&b));
    assert_eq!((of_a.len(), of_b.len()), (2, 2));
    let mut twin = make(&engine, "a");
    let refused = twin.poll().unwrap_err();
    let ClientError::Groups(reason) = &refused else { panic!("{refused:?}") };
    assert_eq!(reason.code(), ErrorCode::UnreleasedInstanceId);
    drop(twin);
    a.close().unwrap();
    produce(&engine, 0..8);
    assert_eq!((poll(&mut b).len(), partitions(&b)), (4, of_b), "they are kept for the other");
    let mut a = make(&engine, "a");
    assert_eq!((poll(&mut a).len(), partitions(&a)), (4, of_a.clone()));
    a.commit().unwrap();
    a.close().unwrap();
    b.close().unwrap();
    engine.shutdown().unwrap();
    drop(engine);
    // Also over a restart.
    let (_env, engine) = open_on(&disk, 1_700_000_001_000, Options::embedded());
    let mut a = make(&engine, "a");
    assert_eq!((poll(&mut a).len(), partitions(&a)), (0, of_a));
}

#[test]
fn a_drop_leaves_the_group_and_never_panics() {
    let (_env, engine) = open();
    produce(&engine, 0..8);
    let (mut one, mut two) = (member(&engine), member(&engine));
    assert_eq!(poll(&mut one).len(), 8);
    poll(&mut two);
    drop(one);
    assert_eq!(poll(&mut two).len(), 8);
    drop(member(&engine));
    // Also when the engine is gone.
    engine.shutdown().unwrap();
    assert!(two.poll().is_err());
    assert!(two.commit().is_err());
    drop(two);
}

#[test]
fn where_to_begin_without_an_offset_is_the_settings_word() {
    let (_env, engine) = open();
    produce(&engine, 0..8);
    let with = |reset| {
        let settings = ConsumerSettings::new().reset(reset);
        engine.group_consumer("g").settings(settings).subscribe(["in"]).unwrap()
    };
    let mut latest = with(Reset::Latest);
    assert!(poll(&mut latest).is_empty());
    produce(&engine, 8..12);
    assert_eq!(poll(&mut latest), [8, 9, 10, 11]);
    drop(latest);
    let mut none = with(Reset::Fail);
    assert!(matches!(none.poll(), Err(ClientError::NoPosition { .. })));
    assert!(matches!(none.data(), Err(ClientError::NoPosition { .. })));
    for partition in 0..4 {
        none.seek("in", partition, Offset::new(1)).unwrap();
    }
    assert_eq!(poll(&mut none).len(), 8);
    none.commit().unwrap();
    drop(none);
    assert!(poll(&mut with(Reset::Fail)).is_empty());
    assert!(poll(&mut with(Reset::Earliest)).is_empty(), "the group stands somewhere");
}

#[test]
fn topics_that_come_and_go_are_followed() {
    let (env, engine) = open();
    let pattern = |pattern| engine.group_consumer("h").subscribe_pattern(pattern);
    assert!(matches!(pattern("a("), Err(ClientError::Groups(_))));
    let mut consumer = pattern("in|late-.*").unwrap();
    produce(&engine, 0..4);
    assert_eq!(poll(&mut consumer).len(), 4);
    engine.ensure_topic("late-1", 1).unwrap();
    engine.producer().send(Record::new("late-1", "99")).unwrap().wait().unwrap();
    // Seen with a heartbeat, and by an expression after ten seconds.
    env.advance(10_001);
    assert_eq!(poll(&mut consumer), [99]);
    engine.delete_topic(TopicRef::Name("in")).unwrap();
    assert!(poll(&mut consumer).is_empty());
    assert_eq!(consumer.positions().len(), 1);
    consumer.commit().unwrap();
    // Another topic of the same name is begun anew.
    engine.ensure_topic("in", 4).unwrap();
    produce(&engine, 0..4);
    env.advance(10_001);
    assert_eq!(poll(&mut consumer), [0, 1, 2, 3]);
    consumer.commit().unwrap();
}

/// One heartbeat does not look at all names, and each goes on in another image.
#[test]
fn an_expression_stands_for_every_topic_however_many_heartbeats_that_takes() {
    for seed in 0..3 {
        let now = 1_700_000_000_000 + seed;
        let (env, engine) = open_on(&CrashDir::new(), now, Options::embedded());
        for number in 0..60 {
            engine.ensure_topic(&format!("{number}-{:x<197}", ""), 1).unwrap();
        }
        let consumer = engine.group_consumer("h");
        let mut consumer = consumer.subscribe_pattern("(a?0?){250}[0-9]+-x*").unwrap();
        let heartbeats = (1..=50).find(|number| {
            env.advance(5_000);
            poll(&mut consumer);
            if *number == 2 {
                engine.ensure_topic(&format!("5-{:x<190}", ""), 1).unwrap();
            }
            consumer.assignment().len() == 61
        });
        let found = consumer.assignment().len();
        assert!(heartbeats.is_some_and(|heartbeats| heartbeats > 2), "{found}: {heartbeats:?}");
    }
}

#[test]
fn c4_a_clock_that_is_set_puts_nobody_out_and_keeps_no_dead() {
    const HOUR_MS: i64 = 3_600_000;
    let (env, engine) = open_on(&CrashDir::new(), 1_700_000_000_000, Options::broker());
    let (mut speaks, mut silent) = (member(&engine), member(&engine));
    poll(&mut speaks);
    poll(&mut silent);
    let members = || {
        upkeep(&engine);
        let told = engine.groups().describe_consumer(&Name::new("g").unwrap()).unwrap().members;
        told.into_iter().map(|member| member.member_id).collect::<Vec<_>>()
    };
    let mut joined = pin!(engine.groups().join(classic("classic")));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(joined.as_mut().poll(&mut cx).is_pending(), "others may come");
    env.set_time_of_day(engine.now().saturating_add(HOUR_MS));
    assert_eq!(members().len(), 2);
    assert!(joined.as_mut().poll(&mut cx).is_pending());
    env.set_time_of_day(engine.now().saturating_add(-2 * HOUR_MS));
    env.advance(3_000);
    assert_eq!(members().len(), 2);
    assert!(joined.as_mut().poll(&mut cx).is_ready(), "nobody else came");
    env.advance(SESSION_MS - 4_000);
    assert_eq!(members().len(), 2);
    poll(&mut speaks);
    env.advance(1_000);
    assert_eq!(members(), [speaks.member_id()]);
}

#[test]
fn orders_that_make_no_sense_are_refused() {
    let (_env, engine) = open();
    let invalid = |result: Result<GroupConsumer<World>, ClientError>| {
        let ClientError::Groups(reason) = result.unwrap_err() else { panic!("another error") };
        assert_eq!(reason.code(), ErrorCode::InvalidRequest);
        reason.to_string()
    };
    let nothing: [&str; 0] = [];
    let told = invalid(engine.group_consumer("g").subscribe(nothing));
    assert!(told.contains("needs a subscription"), "{told}");
    let told = invalid(engine.group_consumer("").subscribe(["in"]));
    assert!(told.contains("group id is empty"), "{told}");
    let told = invalid(engine.group_consumer("g").instance_id("").subscribe(["in"]));
    assert!(told.contains("instance id is empty"), "{told}");
    invalid(engine.group_consumer(&"x".repeat(40_000)).subscribe(["in"]));
    for key in ["group.id", "group.instance.id"] {
        let refused = ConsumerSettings::new().set(key, "x").unwrap_err();
        assert_eq!(refused, SettingError::NamedByConsumer { key });
    }
    assert!(ConsumerSettings::new().set("max.poll.interval.ms", "0").is_err());

    let mut producer = engine.transactional_producer("tx").unwrap();
    let mut consumer = member(&engine);
    consumer.commit().unwrap();
    consumer.rewind();
    let mut transaction = producer.begin();
    transaction.send_positions(&mut consumer).unwrap();
    transaction.commit().unwrap();
    let refused = consumer.seek("in", 0, Offset::ZERO).unwrap_err();
    assert!(matches!(refused, ClientError::NotAssigned { .. }));
    // Nobody may commit in the name of one who has not joined.
    let positions = [(engine_name(0), Offset::new(1))];
    let mut transaction = producer.begin();
    let refused = transaction.send_offsets_of("g", consumer.group_metadata(), &positions);
    assert!(matches!(refused, Err(ClientError::Groups(_))));
    drop(transaction);
    poll(&mut consumer);
    assert!(consumer.seek("in", 7, Offset::ZERO).is_err());
    assert_eq!(all_committed(&engine), [None; 4]);
}

fn engine_name(partition: i32) -> hanbeon::TopicPartition {
    hanbeon::TopicPartition { topic: hanbeon::TopicName::new("in").unwrap(), partition }
}

#[test]
fn futures_wake_for_records_for_members_and_for_heartbeats() {
    let (env, engine) = open();
    let (mut one, mut two) = (member(&engine), member(&engine));
    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    let mut cx = Context::from_waker(&waker);
    let woken = || count.0.swap(0, Ordering::SeqCst) > 0;
    let mut is_ready =
        |future: &mut hanbeon::GroupData<World>| Pin::new(future).poll(&mut cx).is_ready();
    assert!(is_ready(&mut one.data().unwrap()), "it has to join");
    poll(&mut one);
    let mut data = one.data().unwrap();
    assert!(!is_ready(&mut data));
    produce(&engine, 0..1);
    assert!(woken() && is_ready(&mut data));
    assert_eq!(poll(&mut one), [0]);
    one.commit().unwrap();

    let mut data = one.data().unwrap();
    assert!(!is_ready(&mut data));
    poll(&mut two);
    assert!(woken() && is_ready(&mut data), "another came");
    poll(&mut one);
    poll(&mut two);
    // While the group moved it was to look again in a second.
    env.advance(1_000);
    poll(&mut one);

    let mut data = one.data().unwrap();
    assert!(!is_ready(&mut data));
    env.advance(4_999);
    upkeep(&engine);
    assert!(!woken());
    env.advance(1);
    upkeep(&engine);
    assert!(woken() && is_ready(&mut data), "its heartbeat is due");
    poll(&mut one);
    let mut data = one.data().unwrap();
    assert!(!is_ready(&mut data));
    engine.shutdown().unwrap();
    assert!(woken());
}

/// A heartbeat in a member's name whose answer nobody hears.
fn unheard(engine: &Engine<World>, consumer: &GroupConsumer<World>) {
    let topic = engine.topic("in").unwrap().id();
    let owned = consumer.assignment().into_iter().chain(consumer.leaving()).map(|n| n.partition);
    let heartbeat = Heartbeat {
        version: 1,
        member_id: consumer.member_id().to_owned(),
        member_epoch: consumer.member_epoch(),
        instance_id: None,
        rack_id: None,
        rebalance_timeout_ms: 300_000,
        subscribed_topic_names: Some(vec!["in".to_owned()]),
        subscribed_topic_regex: None,
        server_assignor: None,
        owned: Some(owned.map(|partition| (topic, partition)).collect()),
        client_id: "hanbeon".to_owned(),
        client_host: "in-process".to_owned(),
    };
    drop(engine.groups().consumer_heartbeat(Name::new("g").unwrap(), heartbeat));
}

#[test]
fn c1_c6_an_answer_that_is_not_heard_costs_nothing() {
    let (_env, engine) = open();
    let (mut one, mut two, mut three) = (member(&engine), member(&engine), member(&engine));
    let mut seen = Vec::new();
    let mut turn = |consumer: &mut GroupConsumer<World>| {
        seen.extend(poll(consumer));
        consumer.commit().unwrap();
    };
    unheard(&engine, &one);
    produce(&engine, 0..8);
    turn(&mut one);
    unheard(&engine, &two);
    turn(&mut one);
    unheard(&engine, &two);
    produce(&engine, 8..16);
    for _ in 0..2 {
        turn(&mut two);
        turn(&mut one);
    }
    let before = (one.member_epoch(), two.member_epoch());
    turn(&mut three);
    for consumer in [&one, &two] {
        unheard(&engine, consumer);
        unheard(&engine, consumer);
    }
    produce(&engine, 16..24);
    for _ in 0..2 {
        turn(&mut one);
        turn(&mut two);
        turn(&mut three);
    }
    assert!(one.member_epoch() > before.0 && two.member_epoch() > before.1);
    assert_eq!(one.assignment().len() + two.assignment().len() + three.assignment().len(), 4);
    seen.sort_unstable();
    assert_eq!(seen, (0..24).collect::<Vec<_>>());
    assert_eq!(all_committed(&engine), [Some(6); 4]);
}

#[test]
fn c1_a_poll_that_is_dropped_halfway_is_made_up_for_by_the_next() {
    let options = Options::embedded().helpers(1);
    let (_env, engine) = open_on(&CrashDir::new(), 1_700_000_000_000, options);
    produce(&engine, 0..8);
    let (mut one, mut two) = (member(&engine), member(&engine));
    let mut seen = Vec::new();
    for _ in 0..4 {
        for consumer in [&mut one, &mut two] {
            let mut cx = Context::from_waker(Waker::noop());
            if let Poll::Ready(received) = pin!(consumer.poll_async()).poll(&mut cx) {
                seen.extend(numbers(&received.unwrap()));
            }
            seen.extend(poll(consumer));
            consumer.commit().unwrap();
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..8).collect::<Vec<_>>());
    assert_eq!((partitions(&one).len(), partitions(&two).len()), (2, 2));
}

/// The first member of a group of the older protocol.
fn classic(group: &str) -> Join {
    Join {
        group: Name::new(group).unwrap(),
        member_id: Name::empty(),
        instance_id: None,
        client_id: Name::new("c").unwrap(),
        client_host: Name::new("/127.0.0.1").unwrap(),
        session_timeout_ms: 60_000,
        rebalance_timeout_ms: Some(10_000),
        protocol_type: Name::new("consumer").unwrap(),
        protocols: vec![Protocol { name: Name::new("range").unwrap(), metadata: [].into() }],
        new_members: NewMembers::JoinAtOnce,
        skip_assignment: SkipAssignment::Unsupported,
    }
}

#[test]
fn whoever_waits_hears_that_the_engine_has_stopped() {
    let (_env, engine) = open();
    produce(&engine, 0..8);
    let (mut one, mut two) = (member(&engine), member(&engine));
    assert_eq!(poll(&mut one).len(), 8);
    // Until neither has anything to say to the other.
    for _ in 0..3 {
        assert!(poll(&mut two).is_empty() && partitions(&two).is_empty());
        assert!(poll(&mut one).is_empty());
    }
    let joined = engine.groups().join(classic("classic"));
    let counts = [(); 3].map(|()| Arc::new(Count::default()));
    let wakers = counts.each_ref().map(|count| Waker::from(Arc::clone(count)));
    let [mut first, mut second, mut third] = wakers.each_ref().map(Context::from_waker);
    let (mut reads, mut stands_by) = (pin!(one.data().unwrap()), pin!(two.data().unwrap()));
    let mut joined = pin!(joined);
    assert!(reads.as_mut().poll(&mut first).is_pending());
    assert!(stands_by.as_mut().poll(&mut second).is_pending());
    assert!(joined.as_mut().poll(&mut third).is_pending());
    engine.shutdown().unwrap();
    assert_eq!(counts.map(|count| count.0.load(Ordering::SeqCst).min(1)), [1; 3], "all are woken");
    assert!(reads.as_mut().poll(&mut first).is_ready());
    assert!(stands_by.as_mut().poll(&mut second).is_ready());
    assert!(matches!(joined.as_mut().poll(&mut third), Poll::Ready(Err(_))));
    for consumer in [&mut one, &mut two] {
        assert!(consumer.poll().is_err());
        assert!(consumer.poll_timeout(std::time::Duration::MAX).is_err());
        assert!(consumer.commit().is_err() || consumer.positions().is_empty());
    }
}
