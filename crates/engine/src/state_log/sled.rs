//! State logs in a sled 0.34 database (feature `sled`), for hosts that have one anyway.
//!
//! sled's `flush` does not reach the medium: on Linux it issues `sync_file_range` only. So this back end opens sled's `db` file itself and syncs
//! it after each flush. A sync that failed is never tried again: every log of the database answers with that failure from then on, for the sync of one
//! covers the others, and the system reports what it could not write only once.

use std::{
    fmt,
    fs::File,
    io,
    path::Path,
    sync::{Arc, OnceLock},
};

use hanbeon_idempotence::{MarkerClaim, MarkerProtocol};
use hanbeon_log::sync::{AtomicI64, Mutex, Ordering};
use hanbeon_records::{
    CoordinatorEpoch, Millis, Offset, ProducerEpoch, ProducerId, TopicName, TopicPartition,
};
use sled::{Batch, Db, Tree};

use super::{
    DurableFuture, Enrolment, InTransaction, StateEntry, StateLog, StateLogs, StateRecord, Written,
    keyed::{Change, Kept, Keyed},
};
use crate::ProduceError;

/// The version of the values.
const VERSION: u16 = 1;
/// Bytes of one value; of a record half of that.
const VALUE_BYTES_MAX: usize = 256 << 10;
/// The largest that sled takes. A page that is larger than a quarter of it becomes a file of its own, and 16 records or a few more share one.
/// That file nobody syncs, and it is removed before the page that replaces it is on the medium.
const SEGMENT_BYTES: usize = 16 << 20;
const RECORD: u8 = b'r';
const PRODUCER: u8 = b'p';
const OPENINGS: &[u8] = b"openings";

/// State logs in one database, each a tree of its own.
#[derive(Clone, Debug)]
pub struct SledStateLogs(Arc<Database>);

#[derive(Debug)]
struct Database {
    db: Db,
    /// sled's data file, opened once more for syncing.
    data: File,
    name: String,
    seed: u64,
    /// Held while it is synced: of two syncs at once only one would hear of a failure.
    syncing: Mutex<()>,
    /// The first failure of a write or sync; nothing is taken after it.
    broken: OnceLock<ProduceError>,
}

/// What went wrong in a database of state logs.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SledError {
    /// The database or the file system failed.
    #[error("{name}: {source}")]
    Io {
        /// The database.
        name: String,
        /// What it said.
        source: Arc<io::Error>,
    },
    /// A value that is not what was written.
    #[error("{name}: the value under {key:02x?} is damaged or of a later release")]
    Value {
        /// The database.
        name: String,
        /// Its key.
        key: Vec<u8>,
    },
    /// A record that is larger than this back end keeps.
    #[error("a record of {found} bytes is larger than the {max} that a state log in sled keeps")]
    TooLarge {
        /// Its bytes.
        found: usize,
        /// The most.
        max: usize,
    },
}

impl SledStateLogs {
    /// Opens the database in the directory `path`, or makes an empty one. `seed` keeps strangers from choosing where their producers lie in
    /// a table.
    ///
    /// # Errors
    /// What sled and the file system report.
    pub fn open(path: &Path, seed: u64) -> Result<Self, SledError> {
        let name = path.display().to_string();
        let failed =
            |source: io::Error| SledError::Io { name: name.clone(), source: Arc::new(source) };
        // Flushed when somebody waits; a flusher of sled's own would only add a thread.
        let config = sled::Config::default().path(path).segment_size(SEGMENT_BYTES);
        let db = config.flush_every_ms(None).open();
        let db = db.map_err(|error| failed(error.into()))?;
        let data = File::open(path.join("db")).map_err(failed)?;
        // The names of its files, and its own, have to last as well.
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        for dir in [Some(path), parent].into_iter().flatten() {
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
        }
        Ok(Self(Arc::new(Database::new(db, data, name, seed))))
    }
}

impl StateLogs for SledStateLogs {
    fn count(&self, topic: &TopicName, wanted: i32) -> Result<i32, ProduceError> {
        let (database, key) = (&self.0, topic.as_str().as_bytes());
        if let Some(value) = database.db.get(key).map_err(|error| database.failed(error))? {
            return database.decode(key, &value);
        }
        database.db.insert(key, encode(key, wanted)).map_err(|error| database.broke(error))?;
        database.sync()?;
        Ok(wanted)
    }

    fn open(&self, partition: &TopicPartition) -> Result<Arc<dyn StateLog>, ProduceError> {
        let database = &self.0;
        let tree = database.db.open_tree(partition.to_string());
        let tree = tree.map_err(|error| database.failed(error))?;
        let mut log = Keyed::new(database.seed);
        for found in tree.scan_prefix([PRODUCER]) {
            let (key, value) = found.map_err(|error| database.failed(error))?;
            let (id, epoch, coordinator): (i64, i16, i32) = database.decode(&key, &value)?;
            log.restore_producer(
                ProducerId::new(id),
                ProducerEpoch::new(epoch),
                CoordinatorEpoch::new(coordinator),
            )?;
        }
        for found in tree.scan_prefix([RECORD]) {
            let (key, value) = found.map_err(|error| database.failed(error))?;
            let (offset, kept) = database.record(&key, &value)?;
            log.restore(offset, kept)?;
        }
        Ok(Arc::new(SledStateLog {
            shared: Arc::new(Shared {
                database: Arc::clone(database),
                tree,
                // Who wrote what is there may have gone before it was synced.
                durable: AtomicI64::new(0),
                log: Mutex::new(log),
            }),
        }))
    }
}

impl Database {
    fn new(db: Db, data: File, name: String, seed: u64) -> Self {
        Self { db, data, name, seed, syncing: Mutex::new(()), broken: OnceLock::new() }
    }

    fn usable(&self) -> Result<(), ProduceError> {
        self.broken.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Takes nothing more.
    fn broke(&self, error: sled::Error) -> ProduceError {
        self.broken.get_or_init(|| self.failed(error)).clone()
    }

    fn failed(&self, error: sled::Error) -> ProduceError {
        let source = Arc::new(io::Error::from(error));
        SledError::Io { name: self.name.clone(), source }.into()
    }

    fn sync(&self) -> Result<(), ProduceError> {
        let one = self.syncing.lock();
        self.usable()?;
        self.db.flush().map_err(|error| self.broke(error))?;
        self.data.sync_data().map_err(|error| self.broke(sled::Error::Io(error)))?;
        drop(one);
        Ok(())
    }

    fn record(&self, key: &[u8], value: &[u8]) -> Result<(Offset, Kept), ProduceError> {
        let damaged = || SledError::Value { name: self.name.clone(), key: key.to_vec() };
        let offset = key.last_chunk::<8>().ok_or_else(damaged)?;
        let RecordV1 { timestamp, key: of, value, transaction } = self.decode(key, value)?;
        let kept = Kept {
            timestamp: Millis::new(timestamp),
            key: of.into(),
            value: value.map(Into::into),
            transaction: transaction
                .map(|(id, epoch)| (ProducerId::new(id), ProducerEpoch::new(epoch))),
        };
        Ok((Offset::new(i64::from_be_bytes(*offset)), kept))
    }

    fn decode<T: bincode::Decode<()>>(&self, key: &[u8], value: &[u8]) -> Result<T, ProduceError> {
        let damaged = || SledError::Value { name: self.name.clone(), key: key.to_vec() };
        let (head, payload) = value.split_first_chunk::<6>().ok_or_else(damaged)?;
        let [v0, v1, c0, c1, c2, c3] = *head;
        let sealed = u32::from_be_bytes([c0, c1, c2, c3]) == checksum(key, payload);
        if u16::from_be_bytes([v0, v1]) != VERSION || !sealed {
            return Err(damaged().into());
        }
        let config = bincode::config::legacy().with_limit::<VALUE_BYTES_MAX>();
        let decoded = bincode::decode_from_slice(payload, config);
        decoded.map(|(shape, _)| shape).map_err(|_unreadable| damaged().into())
    }
}

#[derive(bincode::Encode, bincode::Decode)]
struct RecordV1 {
    timestamp: i64,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
    transaction: Option<(i64, i16)>,
}

/// A value: version, checksum of key and payload, payload.
fn encode(key: &[u8], shape: impl bincode::Encode) -> Vec<u8> {
    let config = bincode::config::legacy().with_limit::<VALUE_BYTES_MAX>();
    #[expect(clippy::expect_used, reason = "integers and bytes always encode into a vector")]
    let payload = bincode::encode_to_vec(shape, config).expect("a value encodes");
    let mut value = Vec::with_capacity(6 + payload.len());
    value.extend(VERSION.to_be_bytes());
    value.extend(checksum(key, &payload).to_be_bytes());
    value.extend(payload);
    value
}

fn checksum(key: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(payload);
    hasher.finalize()
}

/// One state log.
#[derive(Clone)]
struct SledStateLog {
    shared: Arc<Shared>,
}

struct Shared {
    database: Arc<Database>,
    tree: Tree,
    log: Mutex<Keyed>,
    /// The end of what is known to be on the medium.
    durable: AtomicI64,
}

impl Shared {
    /// Stores changes in one atomic batch.
    fn store(&self, changes: &[Change]) -> Result<(), ProduceError> {
        let mut batch = Batch::default();
        for change in changes {
            match change {
                Change::Put(offset, kept) => {
                    let key = record_key(*offset);
                    let found = kept.key.len() + kept.value.as_ref().map_or(0, |value| value.len());
                    if found > VALUE_BYTES_MAX / 2 {
                        return Err(SledError::TooLarge { found, max: VALUE_BYTES_MAX / 2 }.into());
                    }
                    let shape = RecordV1 {
                        timestamp: kept.timestamp.get(),
                        key: kept.key.to_vec(),
                        value: kept.value.as_deref().map(<[u8]>::to_vec),
                        transaction: kept.transaction.map(|(id, epoch)| (id.get(), epoch.get())),
                    };
                    let value = encode(&key, shape);
                    batch.insert(&key, value);
                }
                Change::Drop(offset) => batch.remove(&record_key(*offset)),
                Change::Producer(id, epoch, coordinator) => {
                    let mut key = [PRODUCER; 9];
                    key[1..].copy_from_slice(&id.get().to_be_bytes());
                    let value = encode(&key, (id.get(), epoch.get(), coordinator.get()));
                    batch.insert(&key, value);
                }
            }
        }
        self.tree.apply_batch(batch).map_err(|error| self.database.broke(error))
    }

    fn sync(&self) -> Result<(), ProduceError> {
        // Whoever holds a coordinator asks for the log meanwhile, and may not wait for the medium.
        let end = self.log.lock().end();
        self.database.sync()?;
        self.durable.fetch_max(end.get(), Ordering::AcqRel);
        Ok(())
    }
}

fn record_key(offset: Offset) -> [u8; 9] {
    let mut key = [RECORD; 9];
    key[1..].copy_from_slice(&offset.get().to_be_bytes());
    key
}

impl StateLog for SledStateLog {
    fn epoch(&self) -> Result<CoordinatorEpoch, ProduceError> {
        let Shared { database, tree, .. } = &*self.shared;
        database.usable()?;
        let found = tree.get(OPENINGS).map_err(|error| database.failed(error))?;
        let before: i32 = found.map_or(Ok(0), |value| database.decode(OPENINGS, &value))?;
        let openings = before.saturating_add(1);
        tree.insert(OPENINGS, encode(OPENINGS, openings))
            .map_err(|error| database.failed(error))?;
        // Markers carry it: it must not be given twice.
        database.sync()?;
        Ok(CoordinatorEpoch::new(openings))
    }

    fn replay(&self, visit: &mut dyn FnMut(StateEntry<'_>)) -> Result<Offset, ProduceError> {
        let log = self.shared.log.lock();
        log.replay(visit);
        Ok(log.end())
    }

    fn append(
        &self,
        now: Millis,
        records: &[StateRecord<'_>],
        transaction: Option<InTransaction>,
    ) -> Result<Written, ProduceError> {
        let mut log = self.shared.log.lock();
        self.shared.database.usable()?;
        let plan = log.plan(now, records, transaction)?;
        self.shared.store(&plan.changes)?;
        log.keep(plan)
    }

    fn begin_transaction(
        &self,
        producer: (ProducerId, ProducerEpoch),
        protocol: MarkerProtocol,
    ) -> Result<Enrolment, ProduceError> {
        Ok(self.shared.log.lock().begin(producer, protocol, Millis::NONE))
    }

    fn append_marker(&self, claim: MarkerClaim) -> Result<Written, ProduceError> {
        let mut log = self.shared.log.lock();
        self.shared.database.usable()?;
        let plan = log.plan_marker(&claim)?;
        self.shared.store(&plan.changes)?;
        log.mark(&claim, plan)
    }

    fn is_synced(&self) -> bool {
        true
    }

    fn is_durable(&self, end: Offset) -> bool {
        let durable = Offset::new(self.shared.durable.load(Ordering::Acquire));
        self.shared.database.usable().is_ok() && durable >= end
    }

    fn durable_to(&self, end: Offset) -> DurableFuture {
        let log = self.clone();
        // Whoever polls it syncs: sled has no thread for it here.
        Box::pin(async move { if log.is_durable(end) { Ok(()) } else { log.shared.sync() } })
    }
}

impl fmt::Debug for SledStateLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SledStateLog")
            .field("database", &self.shared.database.name)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::fs;

    use hanbeon_records::TopicName;

    use super::*;
    use crate::StateRecord;

    fn open(database: &SledStateLogs, partition: i32) -> Arc<dyn StateLog> {
        let topic = TopicName::new("__transaction_state").unwrap();
        database.open(&TopicPartition { topic, partition }).unwrap()
    }

    fn append(log: &dyn StateLog) -> Result<Written, ProduceError> {
        let record = StateRecord { key: b"k", value: Some(b"v") };
        log.append(Millis::new(1), &[record], None)
    }

    fn durable(log: &dyn StateLog, end: Offset) -> Result<(), ProduceError> {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        match log.durable_to(end).as_mut().poll(&mut cx) {
            std::task::Poll::Ready(result) => result,
            std::task::Poll::Pending => panic!("who polls it syncs"),
        }
    }

    #[test]
    fn l1_no_page_becomes_a_file_that_nobody_syncs() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("db");
        for bytes in [10 << 10, 127 << 10] {
            let logs = SledStateLogs::open(&path, 1).unwrap();
            let log = open(&logs, 0);
            let value = vec![7; bytes];
            for key in 0..40_u8 {
                let record = StateRecord { key: &[key], value: Some(&value) };
                let written = log.append(Millis::new(1), &[record], None).unwrap();
                durable(&*log, written.end).unwrap();
            }
        }
        assert_eq!(fs::read_dir(path.join("blobs")).unwrap().count(), 0);
    }

    #[test]
    fn l1_what_another_has_left_unsynced_is_not_durable() {
        let root = tempfile::tempdir().unwrap();
        let logs = SledStateLogs::open(&root.path().join("db"), 1).unwrap();
        let written = append(&*open(&logs, 0)).unwrap();
        let log = open(&logs, 0);
        assert!(!log.is_durable(written.end));
        durable(&*log, written.end).unwrap();
        assert!(log.is_durable(written.end));
    }

    /// Coordinators ask while they are locked, and a shutdown waits for that lock.
    #[test]
    fn whether_something_is_durable_is_told_while_the_medium_is_waited_for() {
        let root = tempfile::tempdir().unwrap();
        let logs = SledStateLogs::open(&root.path().join("db"), 1).unwrap();
        let log = open(&logs, 0);
        let end = append(&*log).unwrap().end;
        let slow = logs.0.syncing.lock();
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::scope(|threads| {
            let syncing = threads.spawn(|| durable(&*log, end));
            threads.spawn(|| {
                // Either side may come first; not long enough to see which is a pass.
                for _ in 0..10_000 {
                    std::thread::yield_now();
                }
                tell.send(log.is_durable(end)).unwrap();
            });
            let told = told.recv_timeout(std::time::Duration::from_secs(60));
            let waits = !syncing.is_finished();
            // Before anything is asserted: the others go on and end.
            drop(slow);
            syncing.join().unwrap().unwrap();
            assert_eq!(told, Ok(false), "it is told at once");
            assert!(waits);
        });
        assert!(log.is_durable(end));
    }

    #[test]
    fn l1_a_sync_that_failed_ends_every_log_of_the_database_and_is_not_tried_again() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("db");
        let db = sled::Config::default().path(&path).flush_every_ms(None).open().unwrap();
        // A device that knows no sync stands in for a disk that fails.
        let disk = File::open("/dev/null").unwrap();
        let logs = SledStateLogs(Arc::new(Database::new(db, disk, "db".to_owned(), 1)));
        let (one, other) = (open(&logs, 0), open(&logs, 1));
        let written = append(&*one).unwrap();
        assert_eq!(append(&*other).unwrap(), written);
        let error = durable(&*one, written.end).unwrap_err();
        for log in [&one, &other] {
            assert!(!log.is_durable(written.end));
            assert_eq!(append(&**log).unwrap_err().to_string(), error.to_string());
            assert!(log.epoch().is_err());
        }
        drop((one, other));
        let mut database = Arc::into_inner(logs.0).unwrap();
        database.data = File::open(path.join("db")).unwrap();
        assert!(database.data.sync_data().is_ok());
        assert!(database.sync().is_err(), "the disk works again, and what it lost before is lost");
    }
}
