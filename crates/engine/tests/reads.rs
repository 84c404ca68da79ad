//! Which files are read and when: what comes in between, and what is none of a reader's business.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    fmt,
    io::{self, IoSlice},
    ops::Range,
    sync::{Arc, Mutex},
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
    /// Names of the files that were read, one for each time.
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
        Ok(WatchedFile { file, name: name.to_string(), watch: Arc::clone(&self.watch) })
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
    let watch = Arc::<Watch>::default();
    let dir = Watched { dir: MemDir::new(), watch: Arc::clone(&watch) };
    let env = Manual::new(Millis::new(NOW), 7);
    let engine = Engine::open_in(env, dir, Options::embedded()).unwrap();
    engine.create_topic(&NewTopic::new("t", 1), Mode::Apply).unwrap();
    (engine, watch)
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
    let mut producer = engine.transactional_producer("tx").unwrap();
    for _ in 0..20 {
        let mut transaction = producer.begin();
        transaction.send(Record::new("t", "x".repeat(1000))).unwrap();
        transaction.flush().unwrap();
        transaction.abort().unwrap();
    }
    produce(&engine, 0, "committed");
    let settings = ConsumerSettings::new().set("max.partition.fetch.bytes", "1500").unwrap();
    let mut consumer = engine.consumer_with(settings);
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
