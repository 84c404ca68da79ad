//! Does opening an engine's directory of 40 partitions take at most 1.5 times its own bare system calls?
//!
//! The directory was closed in order. The yardstick takes the lock, reads the clean marker, says what keeps the pages, lists, reads the small
//! files, rewrites the metadata, adds a record to it and removes the marker, with the same syncs, on a copy; what the calls bring is not looked at.
#![expect(clippy::expect_used, reason = "a bench that cannot go on has nothing to say")]

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    os::unix::fs::FileExt,
    path::Path,
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hanbeon::Engine;
use hanbeon_benches::{Cost, Goal, Side, cost_of, fresh_dir, side_by_side};
use rustix::fs::{FlockOperation, flock};

const ROOT: &str = env!("CARGO_TARGET_TMPDIR");
const OPENINGS: u32 = 4;
const TOPICS: i32 = 10;
const PARTITIONS: i32 = 4;

const MARKER: &str = ".kafka_cleanshutdown";
const META: &str = "hanbeon.meta";
const BOOT: &str = "hanbeon.boot";
const SMALL: [&str; 3] = [
    "recovery-point-offset-checkpoint",
    "log-start-offset-checkpoint",
    "replication-offset-checkpoint",
];
/// What counting an opening adds to the metadata, about.
const RECORD: &[u8] = &[7; 64];

fn ours(home: &Path) -> Cost {
    (0..OPENINGS).map(|_| open(home)).fold(Cost::default(), sum)
}

fn open(home: &Path) -> Cost {
    let mut engine = None;
    let cost = cost_of(|| engine = Some(Engine::open(home).expect("the directory is sound")));
    engine.expect("it was opened").shutdown().expect("the disk works");
    cost
}

fn bare(home: &Path) -> Cost {
    (0..OPENINGS).map(|_| by_hand(home)).fold(Cost::default(), sum)
}

fn by_hand(home: &Path) -> Cost {
    // As the engine leaves it: written and synced, so that nothing old is left for the syncs that are measured.
    fs::write(home.join(MARKER), b"{}").expect("the disk has room");
    File::open(home.join(MARKER)).and_then(|file| file.sync_all()).expect("the disk works");
    sync_dir(home);
    let len = fs::metadata(home.join(META)).expect("the metadata is there").len();
    let mut held = None;
    let cost = cost_of(|| {
        held = Some(lock(home));
        read(&home.join("meta.properties"));
        read(&home.join(MARKER));
        say_kept(home);
        let partitions = fs::read_dir(home)
            .expect("a directory")
            .filter(|entry| entry.as_ref().is_ok_and(is_dir));
        assert_eq!(i32::try_from(partitions.count()), Ok(TOPICS * PARTITIONS));
        for name in SMALL {
            read(&home.join(name));
        }
        rewrite(home);
        fs::remove_file(home.join(MARKER)).expect("the marker is there");
        sync_dir(home);
    });
    let file = OpenOptions::new().write(true).open(home.join(META)).expect("the metadata is there");
    file.set_len(len).and_then(|()| file.sync_all()).expect("the disk works");
    cost
}

/// As a listing tells it; files are asked for their length.
fn is_dir(entry: &fs::DirEntry) -> bool {
    let dir = entry.file_type().is_ok_and(|it| it.is_dir());
    dir || !entry.metadata().is_ok_and(|it| it.is_file())
}

fn lock(home: &Path) -> File {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(home.join(".lock")).expect("the disk works");
    flock(&file, FlockOperation::NonBlockingLockExclusive).expect("nobody holds it");
    let line = format!("{}\n", std::process::id());
    assert!(
        file.metadata().is_ok_and(|it| it.len() <= line.len() as u64),
        "there is nothing to cut"
    );
    file.write_all(line.as_bytes()).expect("the disk has room");
    file
}

fn say_kept(home: &Path) {
    let options = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(home.join(BOOT));
    let file = options.expect("the disk works");
    assert!(file.metadata().is_ok_and(|it| it.is_file()));
    file.write_all_at(&[7; 79], 0).expect("the disk has room");
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).expect("the file is there")
}

fn sync_dir(home: &Path) {
    File::open(home).and_then(|dir| dir.sync_all()).expect("the disk works");
}

fn rewrite(home: &Path) {
    let aside = home.join("hanbeon.meta.new");
    assert!(fs::remove_file(&aside).is_err(), "nothing was interrupted");
    let bytes = read(&home.join(META));
    let file = File::create(&aside).expect("the disk works");
    file.write_all_at(&bytes, 0).expect("the disk has room");
    file.sync_data().expect("the disk works");
    fs::rename(&aside, home.join(META)).expect("the disk works");
    sync_dir(home);
    file.write_all_at(RECORD, bytes.len() as u64).expect("the disk has room");
    file.sync_data().expect("the disk works");
}

const fn sum(a: Cost, b: Cost) -> Cost {
    Cost { wall: a.wall.saturating_add(b.wall), cpu: a.cpu.saturating_add(b.cpu) }
}

/// Copies the files and makes the directories of `from`.
fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir(to).expect("the disk works");
        } else {
            fs::copy(entry.path(), to).expect("the disk has room");
        }
    }
}

fn run(c: &mut Criterion) {
    let (home, twin) = (fresh_dir(ROOT), fresh_dir(ROOT));
    let engine = Engine::open(home.path()).expect("a fresh directory");
    for topic in 0..TOPICS {
        let topic = engine.ensure_topic(&format!("topic-{topic}"), PARTITIONS).expect("a topic");
        for partition in topic.partitions() {
            partition.open().expect("a fresh log");
        }
    }
    engine.shutdown().expect("the disk works");
    copy(home.path(), twin.path());
    side_by_side(
        c.benchmark_group("open a directory of 40 partitions"),
        Throughput::Elements(OPENINGS.into()),
        Goal::TimePercent(150),
        [
            Side::new("Engine::open", || ours(home.path())),
            Side::new("system calls", || bare(twin.path())),
        ],
    );
}

criterion_group!(benches, run);
criterion_main!(benches);
