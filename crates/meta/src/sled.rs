//! A store on sled 0.34 (feature `sled`).
//!
//! sled's `flush` does not reach the medium: on Linux it issues `sync_file_range` only, which orders neither the device's
//! cache nor the file's metadata, so a power cut may take back what `flush` acknowledged. So this back end opens sled's `db`
//! file itself and syncs it after each flush: syncing works on the file, whoever has it open.
//!
//! Each transaction is one atomic batch with its revision. Segments are large and values small enough that sled never moves a page to a
//! file of its own: that one nobody syncs, and it is removed before the page that replaces it is on the medium.
//!
//! For hosts that have a sled database anyway. sled is hardly maintained; the store to prefer is [`crate::LoggedStore`].

use std::{fs::File, io, path::Path};

use sled::{Batch, Db};

use crate::{
    Change, Commit, Embedded, Entry, Journal, Key, Limits, Revision, SessionId, Snapshot,
    StoreError, envelope,
};

/// A store in a sled database.
pub type SledStore = Embedded<SledJournal>;

/// The version of the values.
const VERSION: u16 = 1;
/// Under which key the revision lies; entries have a prefix, so nothing can collide.
const REVISION: &[u8] = b"revision";
const ENTRY: &[u8] = b"e/";
/// The largest that sled takes. A page that is larger than a quarter of it becomes a file of its own, and 16 values or a few more share one.
const SEGMENT_BYTES: usize = 16 << 20;
const LIMITS: Limits = Limits {
    compares_max: 16_384,
    writes_max: 16_384,
    bytes_max: 128 << 10,
    value_bytes_max: 128 << 10,
};
const VALUE_BYTES_MAX: usize = 256 << 10;

/// The database behind a [`SledStore`].
#[derive(Debug)]
pub struct SledJournal {
    db: Db,
    /// sled's data file, opened once more for syncing.
    data: File,
    name: String,
}

#[derive(bincode::Encode, bincode::Decode)]
struct EntryV1 {
    value: Vec<u8>,
    created: u64,
    modified: u64,
    session: Option<u64>,
}

impl SledStore {
    /// Opens the store in the directory `path`, or makes an empty one.
    ///
    /// # Errors
    /// What sled and the file system report, [`StoreError::Corrupt`] and [`StoreError::NewerFormat`] for its values.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let name = path.display().to_string();
        let failed = |source| StoreError::Io { file: name.clone(), source };
        // Flushed after each transaction; a flusher of sled's own would only add a thread.
        let config = sled::Config::default().path(path).segment_size(SEGMENT_BYTES);
        let db = config.flush_every_ms(None).open();
        let db = db.map_err(|error| failed(error.into()))?;
        let data = File::open(path.join("db")).map_err(failed)?;
        let journal = SledJournal { db, data, name: name.clone() };
        journal.sync()?;
        // The names of its files, and its own, have to last as well.
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        for dir in [Some(path), parent].into_iter().flatten() {
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
        }
        let found = journal.read()?;
        Self::over(journal, found)
    }
}

impl SledJournal {
    fn sync(&self) -> Result<(), StoreError> {
        self.db.flush().map_err(|error| self.failed(error.into()))?;
        self.data.sync_data().map_err(|error| self.failed(error))
    }

    fn failed(&self, source: io::Error) -> StoreError {
        StoreError::Io { file: self.name.clone(), source }
    }

    fn read(&self) -> Result<Snapshot, StoreError> {
        let revision = self.db.get(REVISION).map_err(|error| self.failed(error.into()))?;
        let revision = match revision {
            Some(sealed) => self.decode::<u64>(REVISION, &sealed)?,
            None => 0,
        };
        let mut entries = Vec::new();
        for found in self.db.scan_prefix(ENTRY) {
            let (key, sealed) = found.map_err(|error| self.failed(error.into()))?;
            let EntryV1 { value, created, modified, session } = self.decode(&key, &sealed)?;
            let text = key.strip_prefix(ENTRY).and_then(|text| std::str::from_utf8(text).ok());
            let Some(text) = text else { continue };
            entries.push(Entry {
                key: Key::new(text),
                value: value.into(),
                created: Revision::new(created),
                modified: Revision::new(modified),
                session: session.map(SessionId::new),
            });
        }
        Ok(Snapshot { revision: Revision::new(revision), entries })
    }

    fn decode<T: bincode::Decode<()>>(&self, key: &[u8], sealed: &[u8]) -> Result<T, StoreError> {
        let file = || format!("{}, value of {}", self.name, String::from_utf8_lossy(key));
        let corrupt = |damage| StoreError::Corrupt { file: file(), offset: 0, damage };
        let opened = envelope::open(key, sealed).map_err(corrupt)?;
        if opened.version != VERSION {
            let (found, known) = (opened.version, VERSION);
            return Err(StoreError::NewerFormat { file: file(), found, known });
        }
        let config = bincode::config::legacy().with_limit::<VALUE_BYTES_MAX>();
        match bincode::decode_from_slice::<T, _>(opened.payload, config) {
            Ok((shape, used)) if used == opened.payload.len() => Ok(shape),
            Ok(_) | Err(_) => Err(corrupt(crate::Damage::Payload { what: "value" })),
        }
    }
}

impl Journal for SledJournal {
    fn limits(&self) -> Limits {
        LIMITS
    }

    fn write(&mut self, commit: &Commit) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        for change in &commit.changes {
            let key = [ENTRY, change.key().as_str().as_bytes()].concat();
            match change {
                Change::Put(entry) => {
                    let shape = EntryV1 {
                        value: entry.value.to_vec(),
                        created: entry.created.get(),
                        modified: entry.modified.get(),
                        session: entry.session.map(SessionId::get),
                    };
                    let sealed = encode(&key, shape);
                    batch.insert(key, sealed);
                }
                Change::Deleted(_) => batch.remove(key),
            }
        }
        batch.insert(REVISION, encode(REVISION, commit.revision.get()));
        self.db.apply_batch(batch).map_err(|error| self.failed(error.into()))?;
        self.sync()
    }

    fn tidy(&mut self, _snapshot: &mut dyn FnMut() -> Snapshot) -> Result<(), StoreError> {
        Ok(())
    }
}

fn encode(key: &[u8], shape: impl bincode::Encode) -> Vec<u8> {
    let config = bincode::config::legacy().with_limit::<VALUE_BYTES_MAX>();
    #[expect(clippy::expect_used, reason = "integers and bytes always encode into a vector")]
    let payload = bincode::encode_to_vec(shape, config).expect("a value encodes");
    let mut sealed = Vec::new();
    envelope::seal(key, VERSION, &payload, &mut sealed);
    sealed
}
