//! Which files are read and when: what comes in between, and what is none of a reader's business.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    fmt,
    io::{self, IoSlice},
    ops::Range,
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use hanbeon::{
    Acks, ConfigChange, ConfigOp, ConsumerSettings, Engine, Manual, Mode, NewTopic, Options, Record,
};
use hanbeon_log::{Dir, Entry, FileName, LogFile, MemDir, Open};
use hanbeon_records::{Millis, Offset};

/// The clock.
const NOW: i64 = 1_700_000_000_000;

/// What is done once, when a file is next read.
type Meanwhile = Mutex<Option<Box<dyn FnOnce() + Send>>>;

/// Who looks on.
#[derive(Default)]
struct Watch {
    /// Paths of the files that were read, one for each time.
    read: Mutex<Vec<String>>,
    meanwhile: Meanwhile,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

/// Memory whose reads are watched.
#[derive(Clone, Debug)]
struct Watched {
    dir: MemDir,
    watch: Arc<Watch>,
}

#[derive(Debug)]
struct WatchedFile {
    file: <MemDir as Dir>::File,
    name: String,
    watch: Arc<Watch>,
}

impl WatchedFile {
    fn note(&self) {
        self.watch.read.lock().unwrap().push(self.name.clone());
        let meanwhile = self.watch.meanwhile.lock().unwrap().take();
        if let Some(act) = meanwhile {
            act();
        }
    }
}

impl Dir for Watched {
    type File = WatchedFile;
    type Lock = <MemDir as Dir>::Lock;

    fn open(&self, name: &FileName, how: Open) -> io::Result<WatchedFile> {
        let file = self.dir.open(name, how)?;
        let name = format!("{}/{name}", self.dir.display());
        Ok(WatchedFile { file, name, watch: Arc::clone(&self.watch) })
    }

    fn rename(&self, from: &FileName, to: &FileName) -> io::Result<()> {
        self.dir.rename(from, to)
    }

    fn remove(&self, name: &FileName) -> io::Result<()> {
        self.dir.remove(name)
    }

    fn list(&self) -> io::Result<Vec<Entry>> {
        self.dir.list()
    }

    fn sync(&self) -> io::Result<()> {
        self.dir.sync()
    }

    fn create_dir(&self, name: &FileName) -> io::Result<Self> {
        Ok(Self { dir: self.dir.create_dir(name)?, ..self.clone() })
    }

    fn dir(&self, name: &FileName) -> io::Result<Self> {
        Ok(Self { dir: self.dir.dir(name)?, ..self.clone() })
    }

    fn lock(&self, name: &FileName) -> io::Result<Self::Lock> {
        self.dir.lock(name)
    }

    fn display(&self) -> String {
        self.dir.display()
    }
}

impl LogFile for WatchedFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        self.note();
        self.file.read_at(into, at)
    }

    fn view(&self, range: Range<u64>) -> io::Result<Bytes> {
        self.note();
        self.file.view(range)
    }

    fn write_at(&self, slices: &[IoSlice<'_>], at: u64) -> io::Result<()> {
        self.file.write_at(slices, at)
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        self.file.reserve(len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

fn open() -> (Engine<Manual<Watched>>, Arc<Watch>) {
    let (_env, engine, watch) = open_with_clock();
    (engine, watch)
}

fn open_with_clock() -> (Manual<Watched>, Engine<Manual<Watched>>, Arc<Watch>) {
    let watch = Arc::<Watch>::default();
    let dir = Watched { dir: MemDir::new(), watch: Arc::clone(&watch) };
    let env = Manual::new(Millis::new(NOW), 7);
    let engine = Engine::open_in(env.clone(), dir, Options::embedded()).unwrap();
    engine.create_topic(&NewTopic::new("t", 1), Mode::Apply).unwrap();
    (env, engine, watch)
}

/// Writes transactions of one record each that are all aborted.
fn abort(engine: &Engine<Manual<Watched>>, topic: &str, transactions: usize, bytes: usize) {
    let mut producer = engine.transactional_producer("aborts").unwrap();
    for _ in 0..transactions {
        let mut transaction = producer.begin();
        transaction.send(Record::new(topic, "x".repeat(bytes))).unwrap();
        transaction.flush().unwrap();
        transaction.abort().unwrap();
    }
}

/// Settings with which a fetch brings one of those transactions.
fn one_at_a_time() -> ConsumerSettings {
    ConsumerSettings::new().set("max.partition.fetch.bytes", "1100").unwrap()
}

fn produce(engine: &Engine<Manual<Watched>>, after_ms: i64, value: &str) {
    let partition = engine.partition("t", 0).unwrap();
    partition.produce(support::batch_at(NOW + after_ms, &[value]), Acks::All).wait().unwrap();
}

#[test]
fn a_record_that_comes_while_its_time_is_looked_for_is_not_skipped() {
    let (engine, watch) = open();
    produce(&engine, 0, "early");
    let mut consumer = engine.consumer();
    consumer.assign("t", 0).unwrap();
    let before = engine.partition("t", 0).unwrap().log_end_offset().unwrap();
    let other = engine.clone();
    // The lookup has taken its bound by then.
    *watch.meanwhile.lock().unwrap() = Some(Box::new(move || produce(&other, 1, "late")));
    consumer.seek_to_time("t", 0, Millis::new(NOW + 1)).unwrap();
    assert!(watch.meanwhile.lock().unwrap().is_none(), "it came in between");
    assert_eq!(consumer.position("t", 0).unwrap(), before);
    assert_eq!(consumer.poll().unwrap()[0].value.as_deref(), Some(&b"late"[..]));
    engine.shutdown().unwrap();
}

#[test]
fn t6_a_poll_goes_past_what_was_aborted_to_what_was_committed() {
    let (engine, _watch) = open();
    abort(&engine, "t", 20, 1000);
    produce(&engine, 0, "committed");
    let mut consumer = engine.consumer_with(one_at_a_time());
    consumer.assign("t", 0).unwrap();
    let received = consumer.poll().unwrap();
    assert_eq!(received.len(), 1);
    assert_eq!(
        (received[0].value.as_deref(), received[0].offset),
        (Some(&b"committed"[..]), Offset::new(40))
    );
    assert!(consumer.poll().unwrap().is_empty());
    engine.shutdown().unwrap();
}

#[test]
fn t6_a_record_does_not_wait_for_what_was_aborted_elsewhere() {
    let (engine, watch) = open();
    engine.create_topic(&NewTopic::new("void", 1), Mode::Apply).unwrap();
    abort(&engine, "void", 20, 1000);
    produce(&engine, 0, "a");
    produce(&engine, 0, "b");
    let mut consumer = engine.consumer_with(one_at_a_time().set("max.poll.records", "1").unwrap());
    consumer.assign("t", 0).unwrap();
    consumer.assign("void", 0).unwrap();
    // The first poll begins with the one, the second with the other.
    for value in ["a", "b"] {
        watch.read.lock().unwrap().clear();
        let received = consumer.poll().unwrap();
        assert_eq!(received[0].value.as_deref(), Some(value.as_bytes()));
        let read = std::mem::take(&mut *watch.read.lock().unwrap());
        let void = |path: &&String| path.contains("void-0") && path.ends_with(".log");
        let looked = read.iter().filter(void).count();
        assert!(looked <= 4, "{looked} reads of what nobody gets: {read:?}");
    }
    assert!(consumer.position("void", 0).unwrap() > Offset::ZERO, "it had its turn");
    engine.shutdown().unwrap();
}

#[test]
fn t6_a_poll_of_aborted_data_keeps_its_deadline() {
    let (env, engine, watch) = open_with_clock();
    abort(&engine, "t", 20, 1000);
    produce(&engine, 0, "committed");
    let mut consumer = engine.consumer_with(one_at_a_time());
    consumer.assign("t", 0).unwrap();
    *watch.meanwhile.lock().unwrap() = Some(Box::new(move || env.advance(1000)));
    assert!(consumer.poll_timeout(Duration::from_secs(1)).unwrap().is_empty());
    let reached = consumer.position("t", 0).unwrap();
    assert!(reached > Offset::ZERO && reached < Offset::new(40), "{reached}");
    assert_eq!(consumer.poll().unwrap().len(), 1);
    engine.shutdown().unwrap();
}

#[test]
fn t6_a_poll_reads_so_much_of_aborted_data_and_the_next_goes_on() {
    let (engine, _watch) = open();
    abort(&engine, "t", 60, 1_000_000);
    produce(&engine, 0, "committed");
    let mut consumer = engine.consumer();
    consumer.assign("t", 0).unwrap();
    assert!(consumer.poll().unwrap().is_empty());
    let reached = consumer.position("t", 0).unwrap();
    assert!(reached >= Offset::new(100) && reached < Offset::new(120), "{reached}");
    let data = pin!(consumer.data().unwrap());
    assert!(data.poll(&mut Context::from_waker(Waker::noop())).is_ready(), "there may be more");
    assert_eq!(consumer.poll().unwrap().len(), 1);
    engine.shutdown().unwrap();
}

#[test]
fn t6_a_member_lets_others_run_while_it_reads_past_what_was_aborted() {
    let (engine, _watch) = open();
    let mut member = engine.group_consumer("g").settings(one_at_a_time()).subscribe(["t"]).unwrap();
    assert!(member.poll().unwrap().is_empty());
    abort(&engine, "t", 20, 1000);
    produce(&engine, 0, "committed");
    let mut cx = Context::from_waker(Waker::noop());
    let mut polling = pin!(member.poll_async());
    let mut turns = 0;
    let received = loop {
        match polling.as_mut().poll(&mut cx) {
            Poll::Ready(received) => break received.unwrap(),
            Poll::Pending => turns += 1,
        }
    };
    assert_eq!((received.len(), turns >= 10), (1, true), "{turns}");
    engine.shutdown().unwrap();
}

#[test]
fn a_checkpoint_looks_into_no_segment() {
    let (engine, watch) = open();
    let op = ConfigOp::Set("1048576".to_owned());
    let small = ConfigChange { key: "segment.bytes".to_owned(), op };
    engine.alter_topic_config("t", &[small], Mode::Apply).unwrap();
    let value = "x".repeat(700_000);
    for _ in 0..3 {
        produce(&engine, 0, &value);
    }
    let partition = engine.partition("t", 0).unwrap();
    let segments: Vec<_> = partition.segments().unwrap();
    assert_eq!(segments.len(), 3);
    watch.read.lock().unwrap().clear();
    engine.maintain(engine.now().saturating_add(3_600_000)).unwrap();
    let read = std::mem::take(&mut *watch.read.lock().unwrap());
    let logs: Vec<_> = read.iter().filter(|name| name.ends_with(".log")).collect();
    assert!(logs.is_empty(), "{logs:?}");
    engine.shutdown().unwrap();
}
