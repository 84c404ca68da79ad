//! A disk that holds up writes holds up who writes to it, and nobody else (one worker serves all connections here).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::{
    fmt, io,
    io::IoSlice,
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc::channel,
    },
    time::Duration,
};

use bytes::Bytes;
use hanbeon::{Engine, Manual, Mode, NewTopic, Options};
use hanbeon_broker::{Broker, BrokerOptions};
use hanbeon_log::{Dir, Entry, FileName, LogFile, MemDir, Open};
use hanbeon_records::Millis;
use tokio::net::TcpStream;

mod support;

use support::{Client, PRODUCE, batch, produce, produced, timely};

/// After which a write that nobody lets go on gives up, and the test fails.
const PATIENCE: Duration = Duration::from_secs(10);

/// What befalls the next write into the bad partition.
#[derive(Default)]
struct Disk {
    next: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disk")
    }
}

#[derive(Clone, Debug)]
struct Stalling {
    dir: MemDir,
    disk: Arc<Disk>,
}

#[derive(Debug)]
struct StallingFile {
    file: <MemDir as Dir>::File,
    disk: Option<Arc<Disk>>,
}

impl Dir for Stalling {
    type File = StallingFile;
    type Lock = <MemDir as Dir>::Lock;

    fn open(&self, name: &FileName, how: Open) -> io::Result<StallingFile> {
        let bad = self.dir.display().ends_with("bad-0") && name.as_str().ends_with(".log");
        let disk = bad.then(|| Arc::clone(&self.disk));
        Ok(StallingFile { file: self.dir.open(name, how)?, disk })
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

impl LogFile for StallingFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        self.file.read_at(into, at)
    }

    fn view(&self, range: Range<u64>) -> io::Result<Bytes> {
        self.file.view(range)
    }

    fn write_at(&self, slices: &[IoSlice<'_>], at: u64) -> io::Result<()> {
        let befalls = self.disk.as_ref().and_then(|disk| disk.next.lock().unwrap().take());
        if let Some(befalls) = befalls {
            befalls();
        }
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

async fn produce_to(client: &mut Client, topic: &str) {
    client.send(PRODUCE, 3, 1, &produce(1, topic, &batch(&["v"]))).await;
}

#[tokio::test]
async fn a_partition_whose_writes_are_held_up_holds_up_no_other_connection() {
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let (env, disk) = (Manual::new(Millis::new(now), 7), Arc::<Disk>::default());
    let dir = Stalling { dir: MemDir::new(), disk: Arc::clone(&disk) };
    let engine = Engine::open_in(env.clone(), dir, Options::broker()).unwrap();
    for topic in ["bad", "good"] {
        engine.create_topic(&NewTopic::new(topic, 1), Mode::Apply).unwrap();
        engine.partition(topic, 0).unwrap().open().unwrap();
    }
    let bad = engine.partition("bad", 0).unwrap();
    let options = BrokerOptions::new("127.0.0.1:0".parse().unwrap());
    let broker = Broker::bind(engine.clone(), options).await.unwrap();
    let address = broker.local_address();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = tokio::spawn(broker.serve_until(async move { drop(stopped.await) }));
    let connect = async || Client { stream: TcpStream::connect(address).await.unwrap() };
    let (mut one, mut other) = (connect().await, connect().await);
    let befalls = |what: Box<dyn FnOnce() + Send>| *disk.next.lock().unwrap() = Some(what);

    // Nobody could know of the first time.
    befalls(Box::new(move || env.advance(50)));
    produce_to(&mut one, "bad").await;
    assert_eq!(produced(one.answer(1).await), (0, 0));
    assert!(bad.is_slow());

    let (go_on, held) = channel::<()>();
    let gave_up = Arc::new(AtomicBool::new(false));
    let noted = Arc::clone(&gave_up);
    befalls(Box::new(move || {
        noted.store(held.recv_timeout(PATIENCE).is_err(), Ordering::SeqCst);
    }));
    // The second stands behind the first, and is not written before it.
    produce_to(&mut one, "bad").await;
    produce_to(&mut one, "bad").await;
    // Nor does who only leaves a write to the one that is held make the disk a fast one.
    let mut third = connect().await;
    produce_to(&mut third, "bad").await;
    produce_to(&mut other, "good").await;
    assert_eq!(produced(other.answer(1).await), (0, 0));
    assert!(!gave_up.load(Ordering::SeqCst), "the good one had to wait for the bad one");
    assert_eq!(bad.log_end_offset().unwrap().get(), 1);
    assert!(bad.is_slow());
    go_on.send(()).unwrap();
    let mut offsets = Vec::new();
    for client in [&mut one, &mut third] {
        let (code, offset) = produced(client.answer(1).await);
        assert_eq!(code, 0);
        offsets.push(offset);
    }
    let (code, last) = produced(one.answer(1).await);
    assert_eq!(code, 0);
    assert!(offsets[0] < last, "the second stood behind the first");
    offsets.push(last);
    offsets.sort_unstable();
    assert_eq!(offsets, [1, 2, 3]);
    assert!(!bad.is_slow(), "it is fast again");

    stop.send(()).unwrap();
    timely(served).await.unwrap().unwrap();
    engine.shutdown().unwrap();
}
