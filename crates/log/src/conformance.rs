//! The suite that every storage back end must pass, ours or foreign (feature `testing`).
//!
//! [`run`] asks what any [`Dir`] must do. [`run_crashing`] asks, of a back end that can show what a power cut leaves, whether
//! what was synced is there.
//!
//! ```
//! hanbeon_log::conformance::run(hanbeon_log::MemDir::new)?;
//! # Ok::<(), hanbeon_log::conformance::ConformanceError>(())
//! ```

use std::{
    fmt,
    io::{self, ErrorKind, IoSlice},
};

use crate::io::{Dir, Entry, EntryKind, FileName, LogFile, Open};

/// A back end that can show what a power cut leaves.
pub trait CrashingDir: Dir {
    /// The directory as a power cut at this moment may leave it; which of the possible ways, `seed` says.
    #[must_use]
    fn crash(&self, seed: u64) -> Self;
}

impl CrashingDir for crate::CrashDir {
    fn crash(&self, seed: u64) -> Self {
        Self::crash(self, seed)
    }
}

/// A promise of [`Dir`] or [`LogFile`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// [`Open`] makes, keeps or refuses as it says.
    OpenModes,
    /// `list` gives all entries, sorted, with kinds and lengths.
    Listing,
    /// `write_at` writes all of all slices, however many and however long (KAFKA-17181).
    WritesEverything,
    /// Writing past the end leaves zeroes between.
    GapsAreZero,
    /// Writing below the end replaces and keeps the length.
    Overwrites,
    /// Reading and viewing past the end is `UnexpectedEof`, up to the end it is not.
    EndOfFile,
    /// A view sees what was appended before it was taken, whatever was viewed earlier.
    ViewsSeeAppends,
    /// A view keeps its bytes when the file grows, is renamed, removed and closed.
    ViewsStay,
    /// Another handle sees what was written through the first.
    HandlesShare,
    /// `set_len` cuts and lengthens with zeroes; what is written afterwards is what is read.
    SetLen,
    /// `reserve` changes neither length nor bytes.
    Reserve,
    /// `rename` replaces the target, keeps open handles good, refuses an absent source.
    Rename,
    /// `remove` takes files and whole directories, keeps open handles good, refuses an absent name.
    Remove,
    /// `create_dir` and `dir` find, make or refuse as they say; a directory has names of its own.
    Directories,
    /// A lock is held once, and free again after it is dropped.
    Lock,
    /// What was written before `LogFile::sync` survives a crash.
    SyncedBytesSurvive,
    /// The length that was set before `LogFile::sync` survives a crash.
    SyncedLengthSurvives,
    /// Names made before `Dir::sync` survive a crash (KAFKA-3968).
    SyncedNamesSurvive,
    /// Renames before `Dir::sync` survive a crash.
    SyncedRenamesSurvive,
    /// Removals before `Dir::sync` survive a crash.
    SyncedRemovalsSurvive,
    /// A rename that was not synced happened wholly or not at all.
    RenamesAreAtomic,
    /// A lock does not survive a crash.
    CrashFreesLocks,
}

/// A back end broke a rule.
#[derive(Debug)]
pub enum ConformanceError {
    /// It did something else than the rule says.
    Broken {
        /// Which.
        rule: Rule,
        /// The seed of the crash, for the rules that crash.
        seed: Option<u64>,
    },
    /// An operation that must work failed.
    Failed {
        /// While this rule was tried.
        rule: Rule,
        /// What it reported.
        error: io::Error,
    },
}

impl ConformanceError {
    /// The rule.
    #[must_use]
    pub const fn rule(&self) -> Rule {
        match self {
            Self::Broken { rule, .. } | Self::Failed { rule, .. } => *rule,
        }
    }
}

impl fmt::Display for ConformanceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken { rule, seed: None } => write!(f, "the back end breaks the rule {rule:?}"),
            Self::Broken { rule, seed: Some(seed) } => {
                write!(f, "the back end breaks the rule {rule:?} after the crash of seed {seed}")
            }
            Self::Failed { rule, error } => {
                write!(f, "an operation failed under the rule {rule:?}: {error}")
            }
        }
    }
}

impl std::error::Error for ConformanceError {}

/// Whether a rule holds in an empty directory.
type Check<D> = fn(&D) -> io::Result<bool>;
/// The same for the crash of a seed.
type CrashCheck<D> = fn(&D, u64) -> io::Result<bool>;

/// Tries all rules but those of crashes, each in a directory of its own from `make`, which must be empty.
///
/// # Errors
/// The first rule that is broken.
pub fn run<D: Dir>(mut make: impl FnMut() -> D) -> Result<(), ConformanceError> {
    let rules: [(Rule, Check<D>); 15] = [
        (Rule::OpenModes, open_modes),
        (Rule::Listing, listing),
        (Rule::WritesEverything, writes_everything),
        (Rule::GapsAreZero, gaps_are_zero),
        (Rule::Overwrites, overwrites),
        (Rule::EndOfFile, end_of_file),
        (Rule::ViewsSeeAppends, views_see_appends),
        (Rule::ViewsStay, views_stay),
        (Rule::HandlesShare, handles_share),
        (Rule::SetLen, set_len),
        (Rule::Reserve, reserve),
        (Rule::Rename, rename),
        (Rule::Remove, remove),
        (Rule::Directories, directories),
        (Rule::Lock, lock),
    ];
    for (rule, holds) in rules {
        judge(rule, None, holds(&make()))?;
    }
    Ok(())
}

/// Tries the rules of crashes, each with many crashes of a directory from `make`, which must be empty.
///
/// # Errors
/// The first rule that is broken, with the seed of the crash that shows it.
pub fn run_crashing<D: CrashingDir>(mut make: impl FnMut() -> D) -> Result<(), ConformanceError> {
    const SEEDS: u64 = 64;
    let rules: [(Rule, CrashCheck<D>); 7] = [
        (Rule::SyncedBytesSurvive, synced_bytes_survive),
        (Rule::SyncedLengthSurvives, synced_length_survives),
        (Rule::SyncedNamesSurvive, synced_names_survive),
        (Rule::SyncedRenamesSurvive, synced_renames_survive),
        (Rule::SyncedRemovalsSurvive, synced_removals_survive),
        (Rule::RenamesAreAtomic, renames_are_atomic),
        (Rule::CrashFreesLocks, crash_frees_locks),
    ];
    for (rule, holds) in rules {
        for seed in 0..SEEDS {
            judge(rule, Some(seed), holds(&make(), seed))?;
        }
    }
    Ok(())
}

fn judge(rule: Rule, seed: Option<u64>, held: io::Result<bool>) -> Result<(), ConformanceError> {
    match held {
        Ok(true) => Ok(()),
        Ok(false) => Err(ConformanceError::Broken { rule, seed }),
        Err(error) => Err(ConformanceError::Failed { rule, error }),
    }
}

fn name(text: &str) -> io::Result<FileName> {
    FileName::new(text)
}

fn refused<T>(result: io::Result<T>, kind: ErrorKind) -> bool {
    result.is_err_and(|error| error.kind() == kind)
}

fn put(file: &impl LogFile, bytes: &[u8], at: u64) -> io::Result<()> {
    file.write_at(&[IoSlice::new(bytes)], at)
}

fn all(file: &impl LogFile) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
    file.read_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Bytes in which no two neighbouring pages are alike.
fn pattern(len: usize, salt: u8) -> Vec<u8> {
    (0..len)
        .map(|n| u8::try_from(n.wrapping_mul(31).wrapping_add(n / 4096) % 251).unwrap_or(0) ^ salt)
        .collect()
}

fn open_modes(dir: &impl Dir) -> io::Result<bool> {
    let a = name("a")?;
    let absent = refused(dir.open(&a, Open::Read), ErrorKind::NotFound)
        && refused(dir.open(&a, Open::Write), ErrorKind::NotFound);
    let file = dir.open(&a, Open::Create)?;
    let empty = file.is_empty()?;
    put(&file, b"kept", 0)?;
    let kept = [Open::Create, Open::Write, Open::Read].into_iter().all(|how| {
        dir.open(&a, how).and_then(|file| all(&file)).is_ok_and(|bytes| bytes == b"kept")
    });
    let again = refused(dir.open(&a, Open::CreateNew), ErrorKind::AlreadyExists);
    let new = dir.open(&name("b")?, Open::CreateNew)?.is_empty()?;
    dir.create_dir(&name("d")?)?;
    let not_a_file =
        dir.open(&name("d")?, Open::Create).is_err() && dir.open(&name("d")?, Open::Read).is_err();
    Ok(absent && empty && kept && again && new && not_a_file)
}

fn listing(dir: &impl Dir) -> io::Result<bool> {
    let empty = dir.list()?.is_empty();
    for (text, len) in [("b", 3), ("a", 0), ("c.log", 5000)] {
        put(&dir.open(&name(text)?, Open::CreateNew)?, &pattern(len, 0), 0)?;
    }
    dir.create_dir(&name("a-0")?)?;
    let expected = vec![
        Entry { name: name("a")?, kind: EntryKind::File { len: 0 } },
        Entry { name: name("a-0")?, kind: EntryKind::Dir },
        Entry { name: name("b")?, kind: EntryKind::File { len: 3 } },
        Entry { name: name("c.log")?, kind: EntryKind::File { len: 5000 } },
    ];
    Ok(empty && dir.list()? == expected && dir.clone().list()? == expected)
}

fn writes_everything(dir: &impl Dir) -> io::Result<bool> {
    let file = dir.open(&name("a")?, Open::CreateNew)?;
    let one = pattern(3_000_000, 1);
    put(&file, &one, 0)?;
    if all(&file)? != one {
        return Ok(false);
    }
    // More slices than one call of any system takes, some of them empty.
    let many = pattern(20_000, 2);
    let mut slices = Vec::new();
    for chunk in many.chunks(7) {
        slices.push(IoSlice::new(chunk));
        slices.push(IoSlice::new(&[]));
    }
    let at = file.len()?;
    file.write_at(&slices, at)?;
    file.write_at(&[], 7)?;
    let expected = [one.as_slice(), many.as_slice()].concat();
    Ok(all(&file)? == expected)
}

fn gaps_are_zero(dir: &impl Dir) -> io::Result<bool> {
    let file = dir.open(&name("a")?, Open::CreateNew)?;
    put(&file, b"x", 0)?;
    put(&file, b"y", 10_000)?;
    let mut expected = vec![0; 10_001];
    expected.splice(..1, *b"x");
    expected.splice(10_000.., *b"y");
    Ok(all(&file)? == expected && file.view(0..10_001)? == expected)
}

fn overwrites(dir: &impl Dir) -> io::Result<bool> {
    let file = dir.open(&name("a")?, Open::CreateNew)?;
    put(&file, b"0123456789", 0)?;
    put(&file, b"ab", 4)?;
    Ok(all(&file)? == b"0123ab6789" && file.len()? == 10)
}

fn end_of_file(dir: &impl Dir) -> io::Result<bool> {
    let file = dir.open(&name("a")?, Open::CreateNew)?;
    let eof = ErrorKind::UnexpectedEof;
    let empty = file.view(0..0)?.is_empty() && refused(file.view(0..1), eof);
    put(&file, b"0123456789", 0)?;
    let mut some = [0; 4];
    let past =
        refused(file.read_at(&mut some, 7), eof) && refused(file.read_at(&mut some, 11), eof);
    let past_view = refused(file.view(7..11), eof) && refused(file.view(11..12), eof);
    file.read_at(&mut some, 6)?;
    file.read_at(&mut [], 10)?;
    let to_the_end =
        some == *b"6789" && file.view(6..10)? == b"6789"[..] && file.view(10..10)?.is_empty();
    Ok(empty && past && past_view && to_the_end)
}

fn views_see_appends(dir: &impl Dir) -> io::Result<bool> {
    let file = dir.open(&name("a")?, Open::CreateNew)?;
    let bytes = pattern(3 << 20, 3);
    let mut at = 0;
    // Steps that end within pages, on their bounds, and past whatever was mapped at first.
    for chunk in bytes.chunks(192_011) {
        put(&file, chunk, at)?;
        let end = file.len()?;
        if file.view(at..end)? != chunk {
            return Ok(false);
        }
        at = end;
    }
    Ok(file.view(0..at)? == bytes)
}

fn views_stay(dir: &impl Dir) -> io::Result<bool> {
    let (a, b) = (name("a")?, name("b")?);
    let file = dir.open(&a, Open::CreateNew)?;
    let bytes = pattern(9000, 4);
    put(&file, &bytes, 0)?;
    let early = file.view(100..8999)?;
    put(&file, &pattern(4 << 20, 5), 9000)?;
    let late = file.view(8000..9000)?;
    dir.rename(&a, &b)?;
    dir.remove(&b)?;
    let after = file.view(0..9000)?;
    drop(file);
    let expected = bytes.get(100..8999).zip(bytes.get(8000..));
    Ok(expected.is_some_and(|(first, last)| early == first && late == last) && after == bytes)
}

fn handles_share(dir: &impl Dir) -> io::Result<bool> {
    let a = name("a")?;
    let writer = dir.open(&a, Open::CreateNew)?;
    let reader = dir.open(&a, Open::Read)?;
    put(&writer, b"first", 0)?;
    let first = reader.view(0..5)? == b"first"[..];
    put(&writer, &pattern(5000, 6), 5)?;
    let mut second = vec![0; 5000];
    reader.read_at(&mut second, 5)?;
    Ok(first && second == pattern(5000, 6) && reader.view(5..5005)? == second)
}

fn set_len(dir: &impl Dir) -> io::Result<bool> {
    let file = dir.open(&name("a")?, Open::CreateNew)?;
    put(&file, &pattern(9000, 7), 0)?;
    drop(file.view(0..9000)?);
    file.set_len(5000)?;
    let cut = file.len()? == 5000 && refused(file.view(4000..5001), ErrorKind::UnexpectedEof);
    put(&file, b"again", 5000)?;
    let rewritten = file.view(5000..5005)? == b"again"[..];
    file.set_len(12_000)?;
    let zeroes = file.view(5005..12_000)?.iter().all(|byte| *byte == 0) && file.len()? == 12_000;
    Ok(cut && rewritten && zeroes && pattern(9000, 7).starts_with(&file.view(0..5000)?))
}

fn reserve(dir: &impl Dir) -> io::Result<bool> {
    let file = dir.open(&name("a")?, Open::CreateNew)?;
    file.reserve(1 << 20)?;
    let empty = file.is_empty()?;
    put(&file, b"0123456789", 0)?;
    file.reserve(4 << 20)?;
    file.reserve(5)?;
    let same = all(&file)? == b"0123456789";
    file.set_len(10)?;
    Ok(empty && same && all(&file)? == b"0123456789")
}

fn rename(dir: &impl Dir) -> io::Result<bool> {
    let (a, b, d, e) = (name("a")?, name("b")?, name("d")?, name("e")?);
    let absent = refused(dir.rename(&a, &b), ErrorKind::NotFound);
    let from = dir.open(&a, Open::CreateNew)?;
    put(&from, b"new", 0)?;
    let replaced = dir.open(&b, Open::CreateNew)?;
    put(&replaced, b"old one", 0)?;
    dir.rename(&a, &b)?;
    put(&from, b"er", 3)?;
    let moved = all(&dir.open(&b, Open::Read)?)? == b"newer"
        && refused(dir.open(&a, Open::Read), ErrorKind::NotFound);
    let old = all(&replaced)? == b"old one";
    let inside = dir.create_dir(&d)?.open(&a, Open::CreateNew)?;
    put(&inside, b"inside", 0)?;
    dir.rename(&d, &e)?;
    let moved_dir = all(&dir.dir(&e)?.open(&a, Open::Read)?)? == b"inside"
        && refused(dir.dir(&d), ErrorKind::NotFound);
    Ok(absent && moved && old && moved_dir)
}

fn remove(dir: &impl Dir) -> io::Result<bool> {
    let (a, d) = (name("a")?, name("d")?);
    let absent = refused(dir.remove(&a), ErrorKind::NotFound);
    let file = dir.open(&a, Open::CreateNew)?;
    put(&file, b"bytes", 0)?;
    dir.remove(&a)?;
    put(&file, b"!", 5)?;
    let open = all(&file)? == b"bytes!";
    let fresh = dir.open(&a, Open::Create)?.is_empty()?;
    let sub = dir.create_dir(&d)?.create_dir(&d)?;
    drop(sub.open(&a, Open::CreateNew)?);
    dir.remove(&d)?;
    let gone = refused(dir.dir(&d), ErrorKind::NotFound) && dir.list()?.len() == 1;
    Ok(absent && open && fresh && gone && dir.create_dir(&d)?.list()?.is_empty())
}

fn directories(dir: &impl Dir) -> io::Result<bool> {
    let (a, d) = (name("a")?, name("d")?);
    let absent = refused(dir.dir(&d), ErrorKind::NotFound);
    let made = dir.create_dir(&d)?;
    drop(made.open(&a, Open::CreateNew)?);
    let found =
        [dir.create_dir(&d)?, dir.dir(&d)?].iter().all(|dir| dir.open(&a, Open::Read).is_ok());
    let apart = refused(dir.open(&a, Open::Read), ErrorKind::NotFound);
    drop(dir.open(&a, Open::CreateNew)?);
    let a_file = refused(dir.create_dir(&a), ErrorKind::AlreadyExists) && dir.dir(&a).is_err();
    dir.sync()?;
    made.sync()?;
    Ok(absent && found && apart && a_file)
}

fn lock(dir: &impl Dir) -> io::Result<bool> {
    let lock = name(".lock")?;
    let held = dir.lock(&lock)?;
    let twice = refused(dir.clone().lock(&lock), ErrorKind::WouldBlock);
    let listed = dir.list()?.iter().any(|entry| entry.name == lock);
    drop(held);
    drop(dir.lock(&lock)?);
    Ok(twice && listed)
}

fn synced_bytes_survive(dir: &impl CrashingDir, seed: u64) -> io::Result<bool> {
    let a = name("a")?;
    let file = dir.open(&a, Open::CreateNew)?;
    dir.sync()?;
    let bytes = pattern(30_000, 8);
    for (chunk, at) in bytes.chunks(10_000).zip([0, 10_000, 20_000]) {
        put(&file, chunk, at)?;
    }
    file.sync()?;
    put(&file, &pattern(9_000, 9), 30_000)?;
    let left = dir.crash(seed).open(&a, Open::Read)?;
    Ok(left.len()? >= 30_000 && left.view(0..30_000)? == bytes)
}

fn synced_length_survives(dir: &impl CrashingDir, seed: u64) -> io::Result<bool> {
    let a = name("a")?;
    let file = dir.open(&a, Open::CreateNew)?;
    put(&file, &pattern(30_000, 10), 0)?;
    file.sync()?;
    dir.sync()?;
    file.set_len(9_999)?;
    file.sync()?;
    let left = all(&dir.crash(seed).open(&a, Open::Read)?)?;
    Ok(left.len() == 9_999 && pattern(30_000, 10).starts_with(&left))
}

fn synced_names_survive(dir: &impl CrashingDir, seed: u64) -> io::Result<bool> {
    let (a, d) = (name("a")?, name("d")?);
    let sub = dir.create_dir(&d)?;
    let file = sub.open(&a, Open::CreateNew)?;
    put(&file, b"bytes", 0)?;
    file.sync()?;
    sub.sync()?;
    dir.sync()?;
    drop(sub.open(&name("later")?, Open::CreateNew)?);
    let Ok(left) = dir.crash(seed).dir(&d) else { return Ok(false) };
    Ok(left.open(&a, Open::Read).is_ok_and(|file| all(&file).is_ok_and(|bytes| bytes == b"bytes")))
}

fn two_files<D: Dir>(dir: &D) -> io::Result<(FileName, FileName)> {
    let (old, new) = (name("checkpoint")?, name("checkpoint.tmp")?);
    for (name, bytes) in [(&old, b"old"), (&new, b"new")] {
        let file = dir.open(name, Open::CreateNew)?;
        put(&file, bytes, 0)?;
        file.sync()?;
    }
    dir.sync()?;
    Ok((old, new))
}

fn synced_renames_survive(dir: &impl CrashingDir, seed: u64) -> io::Result<bool> {
    let (old, new) = two_files(dir)?;
    dir.rename(&new, &old)?;
    dir.sync()?;
    let left = dir.crash(seed);
    let renamed = left.open(&old, Open::Read).and_then(|file| all(&file));
    Ok(renamed.is_ok_and(|bytes| bytes == b"new")
        && refused(left.open(&new, Open::Read), ErrorKind::NotFound))
}

fn synced_removals_survive(dir: &impl CrashingDir, seed: u64) -> io::Result<bool> {
    let (old, new) = two_files(dir)?;
    dir.remove(&old)?;
    dir.sync()?;
    let left = dir.crash(seed);
    Ok(refused(left.open(&old, Open::Read), ErrorKind::NotFound)
        && left.open(&new, Open::Read).is_ok())
}

fn renames_are_atomic(dir: &impl CrashingDir, seed: u64) -> io::Result<bool> {
    let (old, new) = two_files(dir)?;
    dir.rename(&new, &old)?;
    let left = dir.crash(seed);
    let bytes = left.open(&old, Open::Read).and_then(|file| all(&file));
    let aside = left.open(&new, Open::Read).is_ok();
    Ok(bytes.is_ok_and(|bytes| if aside { bytes == b"old" } else { bytes == b"new" }))
}

fn crash_frees_locks(dir: &impl CrashingDir, seed: u64) -> io::Result<bool> {
    let lock = name(".lock")?;
    let _held = dir.lock(&lock)?;
    Ok(dir.crash(seed).lock(&lock).is_ok())
}
