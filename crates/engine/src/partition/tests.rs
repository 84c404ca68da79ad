#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fmt,
    sync::{atomic::AtomicBool, mpsc},
    task::{Wake, Waker},
    thread::{self, JoinHandle},
    time::Duration,
};

use hanbeon_log::{CrashDir, Fault, FaultKind, Lasting, MemDir};

use super::*;
use crate::{
    ConfigChange, ConfigOp, Engine, Manual, Mode, NewTopic, Options, ProducerIdError, TopicError,
    TopicRef, data_dir::LastStop,
};

/// Done once, when the clock is next read. An opening reads it after it has looked at its settings.
type Meanwhile = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

#[derive(Clone)]
struct Hooked {
    inner: Manual<MemDir>,
    meanwhile: Meanwhile,
}

impl fmt::Debug for Hooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Env for Hooked {
    type Dir = MemDir;

    fn now(&self) -> Millis {
        let meanwhile = self.meanwhile.lock().take();
        if let Some(act) = meanwhile {
            act();
        }
        self.inner.now()
    }

    fn monotonic(&self) -> Duration {
        self.inner.monotonic()
    }

    fn random(&self) -> u64 {
        self.inner.random()
    }
}

/// An engine with a topic whose partition is not open, and what is done while it opens.
fn unopened() -> (Engine<Hooked>, PartitionHandle<Hooked>, Meanwhile) {
    let meanwhile = Meanwhile::default();
    let inner = Manual::new(Millis::new(1_700_000_000_000), 7);
    let env = Hooked { inner, meanwhile: Arc::clone(&meanwhile) };
    let engine = Engine::open_in(env, MemDir::new(), Options::embedded()).unwrap();
    engine.create_topic(&NewTopic::new("t", 1), Mode::Apply).unwrap();
    let partition = engine.partition("t", 0).unwrap();
    assert!(!partition.is_open());
    (engine, partition, meanwhile)
}

#[test]
fn settings_that_change_during_an_opening_hold_after_it() {
    let (engine, partition, meanwhile) = unopened();
    // The last clone to go would shut it down.
    let other = engine.clone();
    *meanwhile.lock() = Some(Box::new(move || {
        let set = |key: &str, value: &str| {
            let op = ConfigOp::Set(value.to_owned());
            ConfigChange { key: key.to_owned(), op }
        };
        let changes = [set("max.message.bytes", "77"), set("flush.messages", "5")];
        other.alter_topic_config("t", &changes, Mode::Apply).unwrap();
    }));
    let opened = partition.opened().unwrap();
    assert!(meanwhile.lock().is_none(), "it was changed");
    assert_eq!(opened.log.config().max_message_bytes, 77);
    assert!(matches!(opened.durability(), Durability::Interval { messages: 5, .. }));
    engine.shutdown().unwrap();
}

/// Ends the partition in another thread while it opens: what the opening comes to, and what the other thread does.
fn ended_while_it_opens<T: Send + 'static>(
    partition: &PartitionHandle<Hooked>,
    meanwhile: &Meanwhile,
    end: impl FnOnce() -> T + Send + 'static,
) -> (Result<(), PartitionError>, T) {
    let (started, ending) = mpsc::channel::<JoinHandle<T>>();
    let watched = partition.clone();
    *meanwhile.lock() = Some(Box::new(move || {
        started.send(thread::Builder::new().spawn(end).unwrap()).unwrap();
        while watched.0.life.load(Ordering::Acquire) == LIVE {
            thread::yield_now();
        }
    }));
    let opened = partition.open();
    (opened, ending.recv().unwrap().join().unwrap())
}

/// Whether nobody writes to it any more.
fn is_closed(partition: &PartitionHandle<Hooked>) -> bool {
    let log = &partition.if_open().unwrap().log;
    matches!(log.delete_records(Offset::ZERO), Err(LogError::Closed { .. }))
}

#[test]
fn a_topic_that_is_deleted_during_an_opening_is_closed_before_its_directory_goes() {
    let (engine, partition, meanwhile) = unopened();
    let other = engine.clone();
    let delete = move || other.delete_topic(TopicRef::Name("t")).map(drop);
    let (opened, deleted) = ended_while_it_opens(&partition, &meanwhile, delete);
    assert!(matches!(opened, Err(PartitionError::Unknown { .. })), "{opened:?}");
    deleted.unwrap();
    assert!(is_closed(&partition));
    engine.shutdown().unwrap();
}

#[test]
fn a_shutdown_during_an_opening_closes_what_is_opened() {
    let (engine, partition, meanwhile) = unopened();
    let other = engine.clone();
    let shutdown = move || other.shutdown();
    let (opened, stopped) = ended_while_it_opens(&partition, &meanwhile, shutdown);
    assert!(matches!(opened, Err(PartitionError::Closed)), "{opened:?}");
    stopped.unwrap();
    assert!(is_closed(&partition));
    let again = Engine::open_in(
        engine.env().clone(),
        engine.0.shared.ground.data.dir.clone(),
        Options::embedded(),
    );
    assert_eq!(again.unwrap().shared().ground.data.last_stop, LastStop::Clean, "all was closed");
}

/// One that is neither stays so: nobody opens it, and nobody is told that it is closed.
#[test]
fn a_partition_that_several_open_again_at_once_is_open_or_offline() {
    let (engine, partition, _) = unopened();
    let name = hanbeon_log::FileName::new("t-0").unwrap();
    hanbeon_log::Dir::remove(&engine.0.shared.ground.data.dir, &name).unwrap();
    partition.open().unwrap_err();
    thread::scope(|scope| {
        for _ in 0..4 {
            let again = || (0..50_000).for_each(|_| drop(partition.reopen().unwrap_err()));
            thread::Builder::new().spawn_scoped(scope, again).unwrap();
        }
    });
    assert!(partition.is_offline());
}

/// Looks, when it is woken, whether anybody could change metadata.
struct Looks {
    engine: Engine<Hooked>,
    found_held: AtomicBool,
}

impl Wake for Looks {
    fn wake(self: Arc<Self>) {
        let held = self.engine.shared().admin.try_lock().is_none();
        self.found_held.store(held, Ordering::Release);
    }
}

#[test]
fn nothing_changes_metadata_from_the_first_thing_that_a_shutdown_closes() {
    let (engine, partition, _) = unopened();
    engine.init_producer_id().unwrap();
    let looks = Arc::new(Looks { engine: engine.clone(), found_held: AtomicBool::new(false) });
    let mut waits = partition.data_beyond(Offset::ZERO, Isolation::LogEnd).unwrap();
    let waker = Waker::from(Arc::clone(&looks));
    assert!(Pin::new(&mut waits).poll(&mut Context::from_waker(&waker)).is_pending());
    engine.shutdown().unwrap();
    assert!(looks.found_held.load(Ordering::Acquire), "not while partitions close");
    assert!(matches!(engine.init_producer_id(), Err(ProducerIdError::Closed)), "nor behind that");
    let created = engine.create_topic(&NewTopic::new("u", 1), Mode::Apply);
    assert!(matches!(created, Err(TopicError::Closed)), "{created:?}");
    assert!(engine.appender("t", 0, "a").is_err());
}

/// What a coordinator has written is in the log, whatever has become of the engine since.
#[test]
fn l1_what_was_written_before_a_shutdown_is_durable_behind_it() {
    let (engine, partition, _) = unopened();
    let settings = crate::ProducerSettings::new().set("batch.size", "1").unwrap();
    let producer = engine.producer_with(settings);
    let unsynced = producer.send(crate::Record::new("t", "x").partition(0)).unwrap();
    let end = partition.log_end_offset().unwrap();
    assert!(end > partition.opened().unwrap().durable(), "nobody has synced it");
    let durable = partition.durable_to(end);
    engine.shutdown().unwrap();
    crate::produce::block_on(durable).unwrap();
    unsynced.wait().unwrap();
}

/// One that is tried again for everybody who comes costs each of them a recovery.
#[test]
fn a_partition_that_found_no_directory_is_left_alone_for_a_while() {
    let (engine, partition, _) = unopened();
    let dir = engine.0.shared.ground.data.dir.clone();
    let [name, away] = ["t-0", "away"].map(|name| hanbeon_log::FileName::new(name).unwrap());
    hanbeon_log::Dir::rename(&dir, &name, &away).unwrap();
    partition.open().unwrap_err();
    hanbeon_log::Dir::rename(&dir, &away, &name).unwrap();
    for ms in [0, 4_999] {
        engine.env().inner.advance(ms);
        assert!(partition.is_open() && partition.is_offline(), "{ms} ms: it answers at once");
        assert!(matches!(partition.open(), Err(PartitionError::Log(_))), "{ms} ms");
    }
    engine.env().inner.advance(1);
    assert!(!partition.is_open() && partition.is_offline(), "somebody has to open it");
    partition.open().unwrap();
    assert!(partition.is_open() && !partition.is_offline());
    engine.shutdown().unwrap();
}

fn crashing(options: Options) -> (CrashDir, Engine<Manual<CrashDir>>) {
    let disk = CrashDir::new();
    let env = Manual::new(Millis::new(1_700_000_000_000), 7);
    let engine = Engine::open_in(env, disk.clone(), options).unwrap();
    let topic = NewTopic::new("t", 1).config("internal.segment.bytes", "400");
    let topic = topic.config("flush.messages", i64::MAX.to_string());
    engine.create_topic(&topic, Mode::Apply).unwrap();
    (disk, engine)
}

/// The next holder of the directory may write already.
#[test]
fn a_log_that_did_not_close_takes_no_writes_behind_a_shutdown() {
    let (disk, engine) = crashing(Options::embedded());
    let partition = engine.partition("t", 0).unwrap();
    let log = &partition.opened().unwrap().log;
    disk.inject(Fault { kind: FaultKind::NoDescriptor, after: 0, lasting: Lasting::Sticky });
    engine.shutdown().unwrap_err();
    let refused = log.delete_records(Offset::ZERO);
    assert!(matches!(refused, Err(LogError::Closed { .. })), "{refused:?}");
}

/// Nobody leads another for who comes behind it.
#[test]
fn l1_who_waits_for_a_sync_that_could_not_be_begun_hears_of_it() {
    let (disk, engine) = crashing(Options::broker().helpers(1));
    let settings = crate::ProducerSettings::new().set("batch.size", "1").unwrap();
    let producer = engine.producer_with(settings);
    let send = || producer.send(crate::Record::new("t", "x".repeat(300)).partition(0)).unwrap();
    // The second one rolls, and the names of the new files want a sync of their directory.
    send().wait().unwrap();
    send().wait().unwrap();
    disk.inject(Fault { kind: FaultKind::DirClosed, after: 0, lasting: Lasting::Sticky });
    let partition = engine.partition("t", 0).unwrap();
    let end = partition.log_end_offset().unwrap();
    assert_eq!(end, Offset::new(2));
    let (heard, hears) = mpsc::channel();
    let waiting = thread::Builder::new().spawn(move || {
        for _ in 0..200 {
            let durable = crate::produce::block_on(partition.durable_to(end));
            heard.send(durable.is_err()).unwrap();
        }
    });
    for n in 0..200 {
        assert_eq!(hears.recv_timeout(Duration::from_secs(60)), Ok(true), "{n}: left alone");
    }
    waiting.unwrap().join().unwrap();
    disk.heal();
    engine.shutdown().unwrap();
}
