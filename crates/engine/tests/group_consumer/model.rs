//! Whatever members do, each record is copied once.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use hanbeon::{
    ClientError, ConsumerSettings, Engine, GroupConsumer, Options, Record, TransactionalProducer,
};
use hanbeon_log::CrashDir;

use crate::world::{SESSION_MS, World, member, numbers, open_on, output, produce, upkeep};

/// A process that copies `in` to `out`: members that come, read, commit, abort, idle and go, a clock, and kills.
struct Application {
    disk: CrashDir,
    env: World,
    engine: Engine<World>,
    slots: [Option<(TransactionalProducer<World>, GroupConsumer<World>)>; 3],
    /// Whose transaction is under way while others go on.
    busy: [bool; 3],
    /// All is produced, and what is left is copied.
    ending: bool,
    produced: u32,
    chance: u64,
}

impl Application {
    fn new(seed: u64) -> Self {
        let disk = CrashDir::new();
        let (env, engine) = open_on(&disk, 1_700_000_000_000, Options::embedded());
        let chance = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Self {
            disk,
            env,
            engine,
            slots: [None, None, None],
            busy: [false; 3],
            ending: false,
            produced: 0,
            chance,
        }
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        self.chance % below
    }

    fn step(&mut self) {
        let slot = usize::try_from(self.draw(3)).unwrap();
        match self.draw(20) {
            0..=2 => {
                let more = 1 + u32::try_from(self.draw(8)).unwrap();
                produce(&self.engine, self.produced..self.produced + more);
                self.produced += more;
            }
            3 => self.env.advance(1_000),
            4 => self.env.advance(20_000),
            5 => {
                self.env.advance(SESSION_MS + 1);
                if self.draw(2) == 0 {
                    upkeep(&self.engine);
                }
            }
            6 => upkeep(&self.engine),
            7 => {
                if let Some((_, consumer)) = self.slots[slot].take() {
                    match self.draw(3) {
                        0 => consumer.close().unwrap(),
                        1 => drop(consumer),
                        _ => std::mem::forget(consumer),
                    }
                }
            }
            8 if self.busy == [false; 3] && self.draw(3) == 0 => self.kill(),
            _ if self.busy[slot] => {}
            _ => self.transact(slot),
        }
    }

    fn kill(&mut self) {
        self.slots.iter_mut().for_each(|slot| std::mem::forget(slot.take()));
        self.disk = self.disk.killed();
        let now = self.engine.now().get();
        let (env, engine) = open_on(&self.disk, now, Options::embedded());
        std::mem::forget(std::mem::replace(&mut self.engine, engine));
        self.env = env;
    }

    /// A transaction of one to three polls, with the world going on between them, ended one way or another.
    fn transact(&mut self, slot: usize) {
        let (polls, how) = (1 + self.draw(3), self.draw(8));
        let taken = self.slots[slot].take();
        let (mut producer, mut consumer) = taken.unwrap_or_else(|| {
            let id = format!("tx-{slot}");
            (self.engine.transactional_producer(&id).unwrap(), member(&self.engine))
        });
        self.busy[slot] = true;
        self.copy_some(&mut producer, &mut consumer, (polls, how));
        self.busy[slot] = false;
        self.slots[slot] = Some((producer, consumer));
    }

    fn copy_some(
        &mut self,
        producer: &mut TransactionalProducer<World>,
        consumer: &mut GroupConsumer<World>,
        (polls, how): (u64, u64),
    ) {
        let mut transaction = producer.begin();
        for _ in 0..polls {
            let received = match consumer.poll() {
                Ok(received) => received,
                Err(ClientError::MemberFenced { .. }) => return,
                Err(error) => panic!("{error}"),
            };
            for record in received {
                transaction.send(Record::new("out", record.value.unwrap())).unwrap();
            }
            if how == 0 && transaction.flush().is_err() {
                // It took longer than a transaction may.
                return consumer.rewind();
            }
            if how == 3 && transaction.send_positions(consumer).is_err() {
                return consumer.rewind();
            }
            if !self.ending && self.draw(2) == 0 {
                self.step();
            }
        }
        if how == 1 {
            // Upkeep may have been first.
            let _either_way = transaction.abort();
            return consumer.rewind();
        }
        if transaction.send_positions(consumer).is_err() {
            return consumer.rewind();
        }
        if how == 2 || transaction.commit().is_err() {
            consumer.rewind();
        }
    }
}

#[test]
fn t8_c2_c6_whatever_members_do_each_record_is_copied_once() {
    let given = std::env::var("SEED").ok().map(|seed| seed.parse().unwrap());
    for seed in given.map_or(1..=25, |seed: u64| seed..=seed) {
        eprintln!("SEED={seed} cargo test -p hanbeon --test group_consumer t8_c2_c6");
        let mut application = Application::new(seed);
        for _ in 0..150 {
            application.step();
        }
        // Who is left goes on until all is read; those that are forgotten fall silent.
        application.ending = true;
        let mut quiet = 0;
        while quiet < 6 {
            application.env.advance(SESSION_MS / 2);
            upkeep(&application.engine);
            let before = output(&application.engine).len();
            (0..3).for_each(|slot| application.transact(slot));
            let more = output(&application.engine).len() > before;
            quiet = if more { 0 } else { quiet + 1 };
        }
        let copied = output(&application.engine);
        assert_eq!(copied, (0..application.produced).collect::<Vec<_>>(), "SEED={seed}");
    }
}

#[test]
fn c6_threads_that_poll_while_others_join_and_leave_copy_each_record_once() {
    const RECORDS: u32 = 600;
    let home = tempfile::tempdir().unwrap();
    let options = Options::embedded().set("log.flush.interval.messages", "10000").unwrap();
    let options = options.set("transaction.state.log.num.partitions", "1").unwrap();
    let options = options.set("offsets.topic.num.partitions", "1").unwrap();
    let engine = Engine::open_with(home.path(), options).unwrap();
    engine.ensure_topic("in", 4).unwrap();
    engine.ensure_topic("out", 1).unwrap();
    let copied = AtomicUsize::new(0);
    let all = usize::try_from(RECORDS).unwrap();
    thread::scope(|scope| {
        for number in 0..3 {
            let (engine, copied) = (engine.clone(), &copied);
            scope.spawn(move || {
                let id = format!("tx-{number}");
                let mut producer = engine.transactional_producer(&id).unwrap();
                let settings = ConsumerSettings::new().set("max.poll.records", "7").unwrap();
                while copied.load(Ordering::SeqCst) < all {
                    let builder = engine.group_consumer("g").settings(settings.clone());
                    let mut consumer = builder.subscribe(["in"]).unwrap();
                    // Each life is short, so that there is always somebody who comes or goes.
                    for life in 0..20 {
                        let wait = Duration::from_millis(20);
                        let received = consumer.poll_timeout(wait).unwrap();
                        let mut transaction = producer.begin();
                        for record in &received {
                            let value = record.value.clone().unwrap();
                            transaction.send(Record::new("out", value)).unwrap();
                        }
                        if life % 5 == 4 {
                            transaction.abort().unwrap();
                            consumer.rewind();
                            continue;
                        }
                        transaction.send_positions(&mut consumer).unwrap();
                        transaction.commit().unwrap();
                        copied.fetch_add(received.len(), Ordering::SeqCst);
                    }
                }
            });
        }
        let producer = engine.producer();
        for number in 0..RECORDS {
            let partition = i32::try_from(number % 4).unwrap();
            let record = Record::new("in", number.to_string()).partition(partition);
            producer.send(record).unwrap().wait().unwrap();
        }
    });
    let mut consumer = engine.consumer();
    consumer.assign_all("out").unwrap();
    let mut found = Vec::new();
    loop {
        let received = consumer.poll().unwrap();
        if received.is_empty() {
            break;
        }
        found.extend(numbers(&received));
    }
    found.sort_unstable();
    assert_eq!(found, (0..RECORDS).collect::<Vec<_>>());
}
