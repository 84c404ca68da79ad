//! Two who want to write the snapshot of one offset: whoever moves the recovery point there, and the roll to it.

#![allow(clippy::unwrap_used, reason = "a test fails where its ground is missing")]

mod fixture;

use std::{
    io,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use fixture::{Batch, append, config, open};
use hanbeon_log::{Dir, Entry, FileName, MemDir, Open};

/// Memory, where one rename waits.
#[derive(Clone, Debug)]
struct Gated {
    dir: MemDir,
    gate: Arc<Mutex<Option<Gate>>>,
}

#[derive(Debug)]
struct Gate {
    reached: Sender<()>,
    opens: Receiver<()>,
}

impl Dir for Gated {
    type File = <MemDir as Dir>::File;
    type Lock = <MemDir as Dir>::Lock;

    fn open(&self, name: &FileName, how: Open) -> io::Result<Self::File> {
        self.dir.open(name, how)
    }

    fn rename(&self, from: &FileName, to: &FileName) -> io::Result<()> {
        let gate = self.gate.lock().unwrap().take();
        if let Some(gate) = gate {
            gate.reached.send(()).unwrap();
            gate.opens.recv().unwrap();
        }
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

#[test]
fn a_roll_to_where_the_recovery_point_moves_leaves_the_snapshot_to_it() {
    let dir = Gated { dir: MemDir::new(), gate: Arc::default() };
    // Each batch rolls.
    let log = open(&dir, &config(|settings| settings.internal_segment_bytes = Some(100))).0;
    append(&log, &Batch::of(1).by(7, 0, 0)).unwrap();
    let (reached, is_reached) = channel();
    let (open_it, opens) = channel();
    *dir.gate.lock().unwrap() = Some(Gate { reached, opens });
    thread::scope(|scope| {
        let moving = scope.spawn(|| log.sync_written());
        is_reached.recv().unwrap();
        append(&log, &Batch::of(1).by(7, 0, 1)).unwrap();
        open_it.send(()).unwrap();
        moving.join().unwrap().unwrap();
    });
    append(&log, &Batch::of(1).by(7, 0, 2)).unwrap();
    assert_eq!(log.segments().len(), 3);
}
