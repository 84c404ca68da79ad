//! The coordinator on sled, as `examples/on_sled.rs` begins it, through a crash: a first life decides a commit and dies before any marker is
//! written, a second one finds the markers owed, writes them and goes on, and a third owes nothing.

use std::{env, fs::File, os::unix::process::ExitStatusExt, path::Path, process};

use hanbeon_records::{
    CoordinatorEpoch, Millis, ProducerEpoch, ProducerId, TopicName, TopicPartition,
};
use hanbeon_txn::{
    AddPartitions, Coordinator, Decision, EndTxn, Enqueued, InitProducerId, MarkersOwed, Outcome,
    OwedTxn, Producer, Progress, Protocol, Settings, State, TransactionalId, TxnError,
};

type Failure = Box<dyn std::error::Error>;

const NOW: Millis = Millis::new(1_700_000_000_000);
/// Where the first life, a process of its own, finds its tree.
const FIRST_LIFE: &str = "HANBEON_FIRST_LIFE";

/// All that a host has to write itself.
struct Shell {
    coordinator: Coordinator,
    epoch: CoordinatorEpoch,
    db: sled::Db,
    /// sled's data file once more: a `flush` of sled stops at the page cache, and a decision has to outlive a power cut.
    data: File,
}

impl Shell {
    fn open(path: &Path) -> Result<Self, Failure> {
        // In smaller segments sled moves pages to files of their own, which nobody syncs.
        let db = sled::Config::new().path(path).segment_size(16 << 20).open()?;
        let mut coordinator = Coordinator::new(Settings::kafka_defaults());
        for row in &db.open_tree("transactions")? {
            let (key, value) = row?;
            coordinator.replay(&key, Some(&value))?;
        }
        // Markers carry the number of this life: it is stored before the first of them leaves.
        let before = db.get("lives")?.map_or(Ok([0; 4]), |lives| lives.as_ref().try_into())?;
        let lives = i32::from_be_bytes(before) + 1;
        db.insert("lives", &lives.to_be_bytes())?;
        let data = File::open(path.join("db"))?;
        let shell = Self { coordinator, epoch: CoordinatorEpoch::new(lives), db, data };
        shell.sync()?;
        Ok(shell)
    }

    fn sync(&self) -> Result<(), Failure> {
        self.db.flush()?;
        Ok(self.data.sync_data()?)
    }

    /// Store, make durable, apply, answer. When one of the first two fails this life is over: only the next can tell what was stored.
    fn carry_out<R>(&mut self, decision: Decision<R>) -> Result<Result<R, TxnError>, Failure> {
        if let Some(record) = &decision.record {
            let rows = self.db.open_tree("transactions")?;
            match record.encode(self.coordinator.settings().value_version)? {
                (key, Some(value)) => rows.insert(key, value)?,
                (key, None) => rows.remove(key)?,
            };
            self.sync()?;
            self.coordinator.apply(record)?;
        }
        Ok(decision.reply)
    }

    /// Writes the markers that are owed (here into a tree that stands for the partitions) and says how many they were.
    fn write_markers(&mut self) -> Result<usize, Failure> {
        let (mut markers, mut written) = (MarkersOwed::new(), 0);
        for owed in self.coordinator.owed().collect::<Vec<_>>() {
            let OwedTxn { id, marker, partitions } = owed.clone();
            let Enqueued::Send(round) = markers.enqueue(NOW, owed, self.epoch) else {
                return Err("a transaction of this example has partitions".into());
            };
            for partition in &partitions {
                // A marker that an earlier life wrote already is written over itself.
                let row = format!("{partition}: {}", marker.producer);
                self.db
                    .open_tree("markers")?
                    .insert(row, format!("{:?}", marker.outcome).as_str())?;
                self.sync()?;
                written += 1;
                if let Progress::Complete(completion) = markers.acked(&id, round, partition) {
                    let decision = self.coordinator.complete(NOW, &completion, &mut || None);
                    self.carry_out(decision)??;
                }
            }
        }
        Ok(written)
    }
}

fn ledger(partition: i32) -> Result<TopicPartition, Failure> {
    Ok(TopicPartition { topic: TopicName::new("ledger")?, partition })
}

fn first_life(path: &Path) -> Result<(), Failure> {
    let (mut shell, id) = (Shell::open(path)?, TransactionalId::new("transfers")?);
    let db = shell.db.clone();
    // sled's own ids are never given twice, not after a crash either.
    let mut fresh = || Some(ProducerId::new(i64::try_from(db.generate_id().ok()?).ok()?));
    let init = InitProducerId::new(id.clone(), 60_000);
    let decision = shell.coordinator.init_producer_id(NOW, &init, &mut fresh);
    let producer = shell.carry_out(decision)??;
    let (protocol, partitions) = (Protocol::V2, vec![ledger(0)?, ledger(1)?]);
    let enrol = AddPartitions { id: id.clone(), producer, partitions, protocol };
    let decision = shell.coordinator.add_partitions(NOW, &enrol);
    shell.carry_out(decision)??;
    let commit = EndTxn { id, producer, outcome: Outcome::Commit, protocol };
    let decision = shell.coordinator.end_txn(NOW, &commit, &mut fresh);
    shell.carry_out(decision)??;
    process::abort(); // Nothing is closed, dropped or flushed.
}

#[test]
fn a_decision_in_sled_outlives_the_process_that_made_it() -> Result<(), Failure> {
    if let Some(path) = env::var_os(FIRST_LIFE) {
        return first_life(Path::new(&path));
    }
    let (root, id) = (tempfile::tempdir()?, TransactionalId::new("transfers")?);
    let path = root.path().join("db");
    let this = ["--exact", "a_decision_in_sled_outlives_the_process_that_made_it"];
    let died = process::Command::new(env::current_exe()?)
        .args(this)
        .env(FIRST_LIFE, &path)
        .stderr(process::Stdio::null())
        .status()?;
    assert_eq!(died.signal(), Some(6), "it was to abort");

    let mut shell = Shell::open(&path)?;
    let state =
        |shell: &Shell| shell.coordinator.describe(&id).map(|txn| (txn.state, txn.producer));
    let (decided, producer) = state(&shell).ok_or("what was answered is stored")?;
    assert_eq!((decided, producer.epoch.get()), (State::PrepareCommit, 1));
    assert_eq!(shell.write_markers()?, 2);
    assert_eq!(state(&shell), Some((State::CompleteCommit, producer)));
    let stale = Producer { epoch: ProducerEpoch::new(0), ..producer };
    let mut enrol = AddPartitions {
        id: id.clone(),
        producer: stale,
        partitions: vec![ledger(0)?],
        protocol: Protocol::V2,
    };
    let decision = shell.coordinator.add_partitions(NOW, &enrol);
    assert!(shell.carry_out(decision)?.is_err(), "the pair of the first life is fenced");
    enrol.producer = producer;
    let decision = shell.coordinator.add_partitions(NOW, &enrol);
    shell.carry_out(decision)??;
    drop(shell);

    let mut shell = Shell::open(&path)?;
    assert_eq!(state(&shell), Some((State::Ongoing, producer)));
    assert_eq!((shell.epoch.get(), shell.write_markers()?), (3, 0), "nothing is owed any more");
    Ok(())
}
