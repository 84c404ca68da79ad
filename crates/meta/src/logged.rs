//! The default store: one file, `hanbeon.meta`, in a data directory.
//!
//! ```text
//! base      revision, number of entries      written aside, synced, renamed: never torn
//! entry *   key, value, revisions, session
//! commit *  revision, changes                appended and synced one at a time: only the last can be torn
//! ```
//! Each record is sealed (see `envelope`) with its place in the file as salt, so that no bytes from elsewhere, not even a
//! whole record of an earlier file or one quoted in a value, pass for a record.
//!
//! Assumed of the disk: a synced record stays; an unsynced append leaves any part of itself, or zeroes, or garbage, behind.
//! So the last record may be cut when nothing valid follows it; damage anywhere else is reported and nothing is changed.

use std::io::{self, IoSlice};

use bytes::Bytes;
use hanbeon_log::{Action, Dir, FileName, LogError, LogFile, Open, Poison};

use crate::{
    Change, Commit, Damage, Embedded, Entry, Journal, Key, Limits, Range, Revision, SessionId,
    Snapshot, StoreError, envelope, rows::ROW_BYTES_MAX, table::Table,
};

/// The file's name in the data directory.
pub const FILE_NAME: &str = "hanbeon.meta";
/// Where it is rewritten before it replaces the old one.
const ASIDE_NAME: &str = "hanbeon.meta.new";
/// The version of the file's records.
const VERSION: u16 = 1;
/// Most bytes of one record.
const RECORD_BYTES_MAX: usize = 64 << 20;

pub(crate) const LIMITS: Limits = Limits {
    compares_max: 100_000,
    writes_max: 200_000,
    bytes_max: 32 << 20,
    value_bytes_max: ROW_BYTES_MAX,
};

/// A store in a file of a data directory.
///
/// One at a time: whoever opens it holds the lock of the data directory.
pub type LoggedStore<D> = Embedded<LogJournal<D>>;

/// When the file is rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoggedSettings {
    /// Not below this many bytes of file, however much of it is garbage.
    pub rewrite_bytes_min: u64,
}

impl LoggedSettings {
    /// From 256 KiB on, when more than half of the file is garbage.
    pub const STANDARD: Self = Self { rewrite_bytes_min: 256 << 10 };
}

/// The file behind a [`LoggedStore`].
#[derive(Debug)]
pub struct LogJournal<D: Dir> {
    dir: D,
    file: D::File,
    settings: LoggedSettings,
    end: u64,
    /// The file is rewritten once it is longer than this: twice what the last rewriting left.
    rewrite_beyond: u64,
    /// Of the directory.
    poison: Poison,
}

/// The shapes on disk.
mod v1 {
    use bincode::{Decode, Encode};

    #[derive(Debug, Encode, Decode)]
    pub(super) enum Record {
        Base { revision: u64, entries: u64 },
        Entry { key: String, value: Vec<u8>, created: u64, modified: u64, session: Option<u64> },
        Commit { revision: u64, changes: Vec<Change> },
    }

    #[derive(Debug, Encode, Decode)]
    pub(super) enum Change {
        Put { key: String, value: Vec<u8>, created: u64, session: Option<u64> },
        Delete { key: String },
    }
}

impl<D: Dir> LoggedStore<D> {
    /// Opens the store in `dir`, or makes an empty one where there is none. The directory is synced by that, and with it whatever the
    /// caller made, renamed or removed in it before.
    ///
    /// # Errors
    /// What the storage reports; [`StoreError::Corrupt`] for damage that no interrupted write explains;
    /// [`StoreError::NewerFormat`].
    pub fn open(dir: D, settings: LoggedSettings) -> Result<Self, StoreError> {
        Self::open_beside(dir, settings, Poison::new())
    }

    /// The same in a directory that holds more than the store: what fails behind the opening, and leaves it unknown which rows there are, sets
    /// `poison`. A topic whose deletion failed may be gone, and what is written to it with it.
    ///
    /// # Errors
    /// As [`LoggedStore::open`].
    pub fn open_beside(
        dir: D,
        settings: LoggedSettings,
        poison: Poison,
    ) -> Result<Self, StoreError> {
        let (journal, found) = LogJournal::open(dir, settings, poison)?;
        Self::over(journal, found)
    }
}

impl<D: Dir> LogJournal<D> {
    fn open(
        dir: D,
        settings: LoggedSettings,
        poison: Poison,
    ) -> Result<(Self, Snapshot), StoreError> {
        let at = Place(&dir);
        match dir.remove(&at.name(ASIDE_NAME)?) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(at.failed(ASIDE_NAME, error)),
        }
        match dir.open(&at.name(FILE_NAME)?, Open::Write) {
            Ok(file) => Self::recover(dir, file, settings, poison),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let snapshot = Snapshot::default();
                let (file, end) = write_aside(&dir, &snapshot)?;
                sync_aside(&dir, &file)?;
                publish(&dir)?;
                Ok((Self::at(dir, (file, end), settings, poison), snapshot))
            }
            Err(error) => Err(at.failed(FILE_NAME, error)),
        }
    }

    fn at(dir: D, (file, end): (D::File, u64), settings: LoggedSettings, poison: Poison) -> Self {
        let rewrite_beyond = settings.rewrite_bytes_min.max(end.saturating_mul(2));
        Self { dir, file, settings, end, rewrite_beyond, poison }
    }

    fn in_doubt(&self, error: StoreError) -> StoreError {
        if let StoreError::Io { file, source } = &error {
            let source = io::Error::new(source.kind(), source.to_string());
            drop(self.poison.set(LogError::io(Action::Sync, file, source)));
        }
        error
    }

    /// Reads the file and writes it anew, even when nothing is wrong with it.
    ///
    /// Its last record, or its very name, may be one whose sync failed: the system shows both as if nothing had happened, and
    /// says yes to the next sync without having written them. What is written and renamed afresh is known to last.
    fn recover(
        dir: D,
        file: D::File,
        settings: LoggedSettings,
        poison: Poison,
    ) -> Result<(Self, Snapshot), StoreError> {
        let at = Place(&dir);
        let failed = |error| at.failed(FILE_NAME, error);
        let len = file.len().map_err(failed)?;
        let len = usize::try_from(len).map_err(|error| failed(io::Error::other(error)))?;
        let mut bytes = vec![0; len];
        file.read_at(&mut bytes, 0).map_err(failed)?;
        let mut reader = Reader { bytes: &bytes, at: 0, file: at.of(FILE_NAME) };
        let mut table = reader.base()?;
        let mut last = 0;
        while let Some((place, commit)) = reader.commit(table.revision().next())? {
            drop(table.apply(commit));
            last = place;
        }
        let end = reader.at;
        let Range { revision, entries } = table.range("");
        let snapshot = Snapshot { revision, entries };
        let written = write_aside(&dir, &snapshot)
            .and_then(|(file, end)| sync_aside(&dir, &file).map(|()| (file, end)));
        let (file, end) = match written {
            Ok(aside) => {
                publish(&dir)?;
                aside
            }
            Err(error) if is_full(&error) => {
                // No room for a second file: what may be doubtful is the last record, so that one is written again.
                let tail = bytes.get(span(last, end)).unwrap_or_default();
                file.set_len(end).map_err(failed)?;
                file.write_at(&[IoSlice::new(tail)], last).map_err(failed)?;
                file.sync().map_err(failed)?;
                dir.sync().map_err(failed)?;
                (file, end)
            }
            Err(error) => return Err(error),
        };
        Ok((Self::at(dir, (file, end), settings, poison), snapshot))
    }
}

impl<D: Dir> Journal for LogJournal<D> {
    fn limits(&self) -> Limits {
        LIMITS
    }

    fn write(&mut self, commit: &Commit) -> Result<(), StoreError> {
        let changes = commit.changes.iter().map(change_shape).collect();
        let shape = v1::Record::Commit { revision: commit.revision.get(), changes };
        let mut bytes = Vec::new();
        seal(self.end, shape, &mut bytes);
        let failed = |error| Place(&self.dir).failed(FILE_NAME, error);
        match self.file.write_at(&[IoSlice::new(&bytes)], self.end).map_err(failed) {
            Ok(()) => {}
            // A part of the record at most: the next opening cuts it.
            Err(error) if is_full(&error) => return Err(error),
            Err(error) => return Err(self.in_doubt(error)),
        }
        self.file.sync().map_err(|error| self.in_doubt(failed(error)))?;
        self.end = self.end.saturating_add(len_u64(&bytes));
        Ok(())
    }

    fn tidy(&mut self, snapshot: &mut dyn FnMut() -> Snapshot) -> Result<(), StoreError> {
        if self.end <= self.rewrite_beyond {
            return Ok(());
        }
        // A file aside that cannot be made or written is no reason to stop: the old one is whole. Tried again once that has doubled.
        self.rewrite_beyond = self.end.saturating_mul(2);
        let Ok((file, end)) = write_aside(&self.dir, &snapshot()) else { return Ok(()) };
        match sync_aside(&self.dir, &file) {
            Ok(()) => {}
            Err(error) if is_full(&error) => return Ok(()),
            Err(error) => return Err(self.in_doubt(error)),
        }
        publish(&self.dir).map_err(|error| self.in_doubt(error))?;
        // Nothing goes to the new file before its name is durable: the old one would come back without it.
        self.file = file;
        self.end = end;
        self.rewrite_beyond = self.settings.rewrite_bytes_min.max(end.saturating_mul(2));
        Ok(())
    }
}

/// Writes a whole file under the name aside. Gives it with its length.
fn write_aside<D: Dir>(dir: &D, snapshot: &Snapshot) -> Result<(D::File, u64), StoreError> {
    const CHUNK: usize = 1 << 20;
    let at = Place(dir);
    let failed = |error| at.failed(ASIDE_NAME, error);
    let file = dir.open(&at.name(ASIDE_NAME)?, Open::Create).map_err(failed)?;
    if file.len().map_err(failed)? > 0 {
        file.set_len(0).map_err(failed)?;
    }
    let mut chunk = Vec::new();
    let mut written = 0_u64;
    let entries = u64::try_from(snapshot.entries.len()).unwrap_or(u64::MAX);
    seal(0, v1::Record::Base { revision: snapshot.revision.get(), entries }, &mut chunk);
    for entry in &snapshot.entries {
        let place = written.saturating_add(len_u64(&chunk));
        seal(place, entry_shape(entry), &mut chunk);
        if chunk.len() > CHUNK {
            file.write_at(&[IoSlice::new(&chunk)], written).map_err(failed)?;
            written = written.saturating_add(len_u64(&chunk));
            chunk.clear();
        }
    }
    file.write_at(&[IoSlice::new(&chunk)], written).map_err(failed)?;
    Ok((file, written.saturating_add(len_u64(&chunk))))
}

/// Makes the file aside durable.
fn sync_aside<D: Dir>(dir: &D, file: &D::File) -> Result<(), StoreError> {
    file.sync().map_err(|error| Place(dir).failed(ASIDE_NAME, error))
}

/// Whether there is no room, or none for us.
fn is_full(error: &StoreError) -> bool {
    let full = |kind| matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    matches!(error, StoreError::Io { source, .. } if full(source.kind()))
}

/// Lets the file aside take the place of the old one, durably.
fn publish<D: Dir>(dir: &D) -> Result<(), StoreError> {
    let at = Place(dir);
    let failed = |error| at.failed(FILE_NAME, error);
    dir.rename(&at.name(ASIDE_NAME)?, &at.name(FILE_NAME)?).map_err(failed)?;
    dir.sync().map_err(failed)
}

/// Walks the records of a file.
struct Reader<'a> {
    bytes: &'a [u8],
    at: u64,
    file: String,
}

impl Reader<'_> {
    /// The head of the file, which was written in one piece before it got its name.
    fn base(&mut self) -> Result<Table, StoreError> {
        let place = self.at;
        let v1::Record::Base { revision, entries: count } = self.whole()? else {
            return Err(self.corrupt(place, Damage::NoBase));
        };
        let mut entries = Vec::new();
        for _ in 0..count {
            let place = self.at;
            let v1::Record::Entry { key, value, created, modified, session } = self.whole()? else {
                return Err(self.corrupt(place, Damage::Payload { what: "entry" }));
            };
            entries.push(Entry {
                key: Key::new(&key),
                value: value.into(),
                created: Revision::new(created),
                modified: Revision::new(modified),
                session: session.map(SessionId::new),
            });
        }
        Ok(Table::new(Revision::new(revision), entries))
    }

    /// The next commit and where it begins, or `None` at the end of the file and at a torn tail.
    fn commit(&mut self, expected: Revision) -> Result<Option<(u64, Commit)>, StoreError> {
        let place = self.at;
        if self.rest().is_empty() {
            return Ok(None);
        }
        let record = match self.record() {
            Ok(record) => record,
            Err(Unread::Damaged(damage)) if self.valid_follows(place) => {
                return Err(self.corrupt(place, damage));
            }
            Err(Unread::Damaged(Damage::Short { .. } | Damage::Checksum { .. })) => {
                self.at = place;
                return Ok(None);
            }
            Err(Unread::Damaged(damage)) => return Err(self.corrupt(place, damage)),
            Err(Unread::Newer(found)) => return Err(self.newer(found)),
        };
        let v1::Record::Commit { revision, changes } = record else {
            return Err(self.corrupt(place, Damage::Payload { what: "commit" }));
        };
        if revision != expected.get() {
            let damage = Damage::Order { expected: expected.get(), found: revision };
            return Err(self.corrupt(place, damage));
        }
        let changes = changes.into_iter().map(|change| change_of(change, expected)).collect();
        Ok(Some((place, Commit { revision: expected, changes })))
    }

    fn rest(&self) -> &[u8] {
        let at = usize::try_from(self.at).unwrap_or(usize::MAX);
        self.bytes.get(at..).unwrap_or_default()
    }

    fn whole(&mut self) -> Result<v1::Record, StoreError> {
        let place = self.at;
        self.record().map_err(|unread| match unread {
            Unread::Damaged(damage) => self.corrupt(place, damage),
            Unread::Newer(found) => self.newer(found),
        })
    }

    fn record(&mut self) -> Result<v1::Record, Unread> {
        let rest = self.rest();
        let opened = envelope::open(&salt(self.at), rest).map_err(Unread::Damaged)?;
        let used = rest.len().saturating_sub(opened.rest.len());
        if opened.version != VERSION {
            return Err(Unread::Newer(opened.version));
        }
        let config = bincode::config::legacy().with_limit::<RECORD_BYTES_MAX>();
        let record = match bincode::decode_from_slice::<v1::Record, _>(opened.payload, config) {
            Ok((record, len)) if len == opened.payload.len() => record,
            Ok(_) | Err(_) => return Err(Unread::Damaged(Damage::Payload { what: "record" })),
        };
        self.at = self.at.saturating_add(u64::try_from(used).unwrap_or(u64::MAX));
        Ok(record)
    }

    /// Whether a whole record lies anywhere behind `place`. An interrupted append leaves none: it was the last one.
    fn valid_follows(&self, place: u64) -> bool {
        let start = usize::try_from(place).unwrap_or(usize::MAX);
        (start..self.bytes.len()).skip(1).any(|index| {
            let rest = self.bytes.get(index..).unwrap_or_default();
            // Only a length that fits and a known version are worth a checksum.
            rest.first_chunk().is_some_and(|header| {
                let header = envelope::Header::read(header);
                header.version == VERSION && header.payload_len > 0
            }) && envelope::open(&salt(u64::try_from(index).unwrap_or(u64::MAX)), rest).is_ok()
        })
    }

    fn corrupt(&self, offset: u64, damage: Damage) -> StoreError {
        StoreError::Corrupt { file: self.file.clone(), offset, damage }
    }

    fn newer(&self, found: u16) -> StoreError {
        StoreError::NewerFormat { file: self.file.clone(), found, known: VERSION }
    }
}

enum Unread {
    Damaged(Damage),
    Newer(u16),
}

/// Names files in messages.
struct Place<'a, D>(&'a D);

impl<D: Dir> Place<'_, D> {
    fn of(&self, name: &str) -> String {
        format!("{}/{name}", self.0.display())
    }

    fn failed(&self, name: &str, source: io::Error) -> StoreError {
        StoreError::Io { file: self.of(name), source }
    }

    fn name(&self, name: &str) -> Result<FileName, StoreError> {
        FileName::new(name).map_err(|error| self.failed(name, error))
    }
}

fn span(start: u64, end: u64) -> std::ops::Range<usize> {
    let index = |place| usize::try_from(place).unwrap_or(usize::MAX);
    index(start)..index(end)
}

fn salt(place: u64) -> [u8; 8] {
    place.to_be_bytes()
}

fn seal(place: u64, shape: v1::Record, into: &mut Vec<u8>) {
    let config = bincode::config::legacy().with_limit::<RECORD_BYTES_MAX>();
    #[expect(clippy::expect_used, reason = "integers, texts and bytes always encode into a vector")]
    let payload = bincode::encode_to_vec(shape, config).expect("a record encodes");
    envelope::seal(&salt(place), VERSION, &payload, into);
}

fn entry_shape(entry: &Entry) -> v1::Record {
    v1::Record::Entry {
        key: entry.key.as_str().to_owned(),
        value: entry.value.to_vec(),
        created: entry.created.get(),
        modified: entry.modified.get(),
        session: entry.session.map(SessionId::get),
    }
}

fn change_shape(change: &Change) -> v1::Change {
    match change {
        Change::Put(entry) => v1::Change::Put {
            key: entry.key.as_str().to_owned(),
            value: entry.value.to_vec(),
            created: entry.created.get(),
            session: entry.session.map(SessionId::get),
        },
        Change::Deleted(key) => v1::Change::Delete { key: key.as_str().to_owned() },
    }
}

fn change_of(shape: v1::Change, revision: Revision) -> Change {
    match shape {
        v1::Change::Put { key, value, created, session } => Change::Put(Entry {
            key: Key::new(&key),
            value: Bytes::from(value),
            created: Revision::new(created),
            modified: revision,
            session: session.map(SessionId::new),
        }),
        v1::Change::Delete { key } => Change::Deleted(Key::new(&key)),
    }
}

fn len_u64(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use hanbeon_log::MemDir;

    use super::*;
    use crate::{MetadataStore, Txn, TxnResult};

    fn dir_with(bytes: &[u8]) -> MemDir {
        let dir = MemDir::new();
        let file = dir.open(&FileName::new(FILE_NAME).unwrap(), Open::CreateNew).unwrap();
        file.write_at(&[IoSlice::new(bytes)], 0).unwrap();
        dir
    }

    fn content(dir: &MemDir) -> Vec<u8> {
        let file = dir.open(&FileName::new(FILE_NAME).unwrap(), Open::Read).unwrap();
        file.view(0..file.len().unwrap()).unwrap().to_vec()
    }

    #[test]
    fn a_file_of_a_later_release_is_named_and_left_alone() {
        let mut bytes = Vec::new();
        envelope::seal(&salt(0), VERSION + 1, b"something new", &mut bytes);
        let dir = dir_with(&bytes);
        match LoggedStore::open(dir.clone(), LoggedSettings::STANDARD) {
            Err(StoreError::NewerFormat { file, found, known }) => {
                assert_eq!(
                    (file.as_str(), found, known),
                    ("memory/hanbeon.meta", VERSION + 1, VERSION)
                );
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(content(&dir), bytes);
    }

    #[test]
    fn the_bytes_of_version_1_stay() {
        let dir = MemDir::new();
        let store = LoggedStore::open(dir.clone(), LoggedSettings::STANDARD).unwrap();
        let txn = Txn::new()
            .put(Key::new("a"), Bytes::from_static(b"1"))
            .put(Key::new("b"), Bytes::new());
        assert!(matches!(store.commit(&txn).unwrap(), TxnResult::Committed(_)));
        let txn = Txn::new().delete(Key::new("b"));
        assert!(matches!(store.commit(&txn).unwrap(), TxnResult::Committed(_)));
        let golden =
            b"\x00\x00\x00\x14\x00\x01\xdf\x85\xc8\x6b\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\
              \x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x51\x00\x01\x61\x9f\xe4\xf3\
              \x02\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\
              \x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x61\x01\x00\x00\x00\x00\x00\x00\
              \x00\x31\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\
              \x00\x00\x00\x62\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\
              \x00\x00\x00\x00\x21\x00\x01\x66\xa8\x23\x2c\x02\x00\x00\x00\x02\x00\x00\x00\x00\
              \x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00\
              \x00\x00\x00\x62";
        assert_eq!(content(&dir), golden, "the file's bytes changed: this needs a new version");
        let reopened = LoggedStore::open(dir_with(golden), LoggedSettings::STANDARD).unwrap();
        assert_eq!(reopened.range("").unwrap(), store.range("").unwrap());
    }

    #[test]
    fn records_out_of_order_are_reported() {
        let dir = MemDir::new();
        drop(LoggedStore::open(dir.clone(), LoggedSettings::STANDARD).unwrap());
        let mut bytes = content(&dir);
        let place = len_u64(&bytes);
        seal(place, v1::Record::Commit { revision: 2, changes: Vec::new() }, &mut bytes);
        match LoggedStore::open(dir_with(&bytes), LoggedSettings::STANDARD) {
            Err(StoreError::Corrupt { offset, damage, .. }) => {
                assert_eq!(offset, place);
                assert_eq!(damage, Damage::Order { expected: 1, found: 2 });
            }
            other => panic!("{other:?}"),
        }
    }
}
