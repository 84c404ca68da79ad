//! A storage back end of one's own: two traits, here around the one on the heap, counting what a log asks of a disk.
//!
//! A real one also runs `hanbeon_log::conformance` (feature `testing`), the suite all our own back ends pass.

use std::{
    error::Error,
    fmt,
    io::{self, IoSlice},
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use hanbeon_idempotence::{FirstWrite, Verification};
use hanbeon_log::{
    Dir, Entry, FileName, LogConfig, LogFile, MemDir, MemFile, MemLock, Open, OpenPartition,
    Partition, Poison, Shutdown,
};
use hanbeon_records::{LeaderEpoch, Millis, Offset};

/// What was asked.
#[derive(Debug, Default)]
struct Counts {
    writes: AtomicU64,
    bytes: AtomicU64,
    syncs: AtomicU64,
}

/// A directory that counts. Clones name the same one.
#[derive(Clone, Debug)]
struct CountingDir {
    inner: MemDir,
    counts: Arc<Counts>,
}

/// A file of it.
#[derive(Debug)]
struct CountingFile {
    inner: MemFile,
    counts: Arc<Counts>,
}

impl Dir for CountingDir {
    type File = CountingFile;
    type Lock = MemLock;

    fn open(&self, name: &FileName, how: Open) -> io::Result<CountingFile> {
        let inner = self.inner.open(name, how)?;
        Ok(CountingFile { inner, counts: Arc::clone(&self.counts) })
    }

    fn rename(&self, from: &FileName, to: &FileName) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &FileName) -> io::Result<()> {
        self.inner.remove(name)
    }

    fn list(&self) -> io::Result<Vec<Entry>> {
        self.inner.list()
    }

    fn sync(&self) -> io::Result<()> {
        self.counts.syncs.fetch_add(1, Ordering::Relaxed);
        self.inner.sync()
    }

    fn create_dir(&self, name: &FileName) -> io::Result<Self> {
        let inner = self.inner.create_dir(name)?;
        Ok(Self { inner, counts: Arc::clone(&self.counts) })
    }

    fn dir(&self, name: &FileName) -> io::Result<Self> {
        Ok(Self { inner: self.inner.dir(name)?, counts: Arc::clone(&self.counts) })
    }

    fn lock(&self, name: &FileName) -> io::Result<MemLock> {
        self.inner.lock(name)
    }

    fn display(&self) -> String {
        format!("counting:{}", self.inner.display())
    }
}

impl LogFile for CountingFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        self.inner.read_at(into, at)
    }

    fn view(&self, range: Range<u64>) -> io::Result<Bytes> {
        self.inner.view(range)
    }

    fn write_at(&self, slices: &[IoSlice<'_>], at: u64) -> io::Result<()> {
        let bytes = slices.iter().map(|slice| slice.len() as u64).sum();
        self.counts.writes.fetch_add(1, Ordering::Relaxed);
        self.counts.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.inner.write_at(slices, at)
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        self.inner.reserve(len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.counts.syncs.fetch_add(1, Ordering::Relaxed);
        self.inner.sync()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (writes, bytes, syncs) = (of(&self.writes), of(&self.bytes), of(&self.syncs));
        write!(f, "{writes} writes of {bytes} bytes, {syncs} syncs")
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let counts = Arc::new(Counts::default());
    let dir = CountingDir { inner: MemDir::new(), counts: Arc::clone(&counts) };
    let now = Millis::new(1_700_000_000_000);
    let options = OpenPartition {
        config: LogConfig::kafka_defaults(),
        shutdown: Shutdown::Unclean,
        recovery_point: Offset::ZERO,
        log_start: None,
        high_watermark: None,
        leader_epoch: LeaderEpoch::new(0),
        topic_id: None,
        verification: Verification::On,
        first_write: FirstWrite::FromZero,
        hash_seed: 1,
        jitter_seed: 1,
        now,
        poison: Poison::new(),
    };
    let (log, _) = Partition::open(dir, options)?;
    for _ in 0..1000 {
        log.append(batch(), now).wait()??;
    }
    say(&format!("1000 appends: {counts}"));
    log.sync(log.log_end_offset())?;
    say(&format!("made durable: {counts}"));
    log.close()?;
    say(&format!("closed: {counts}"));
    Ok(())
}

/// One record, key "k", value "v", as a client encodes it.
fn batch() -> Bytes {
    Bytes::from_static(&[
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x3e, 0, 0, 0, 0, 2, 0x5e, 0x93, 0x53, 0x8d, 0, 0, 0, 0,
        0, 0, 0, 0, 1, 0x8b, 0xcf, 0xe5, 0x68, 0, 0, 0, 1, 0x8b, 0xcf, 0xe5, 0x68, 0, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 0x18,
        0, 0, 0, 2, 0x6b, 2, 0x76, 2, 2, 0x68, 2, 0x78,
    ])
}

#[expect(clippy::print_stdout, reason = "an example shows what it does")]
fn say(text: &str) {
    println!("{text}");
}
