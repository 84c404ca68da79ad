//! A directory in memory that lets a test act in the middle of what is done to a file.

use std::{
    fmt, io,
    io::IoSlice,
    ops::Range,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use hanbeon_log::{Dir, Entry, FileName, LogFile, MemDir, Open};

type Act = Box<dyn FnOnce() + Send>;

/// What is to be done when a log of this directory is written to next.
#[derive(Clone, Default)]
pub(crate) struct Hook(Arc<Mutex<Option<(&'static str, Act)>>>);

impl Hook {
    /// Does it once, in front of the write.
    pub(crate) fn before_write(
        &self,
        partition: &'static str,
        act: impl FnOnce() + Send + 'static,
    ) {
        *self.0.lock().unwrap() = Some((partition, Box::new(act)));
    }

    fn strikes(&self, file: &str) {
        let mut hook = self.0.lock().unwrap();
        let act = hook.take_if(|(partition, _)| file.ends_with(&format!("{partition}/{LOG}")));
        // Let go of before it is called: it may write, and it may panic.
        drop(hook);
        if let Some((_, act)) = act {
            act();
        }
    }
}

const LOG: &str = "00000000000000000000.log";

#[derive(Clone)]
pub(crate) struct Hooked {
    pub(crate) dir: MemDir,
    pub(crate) hook: Hook,
}

impl Hooked {
    pub(crate) fn new() -> Self {
        Self { dir: MemDir::new(), hook: Hook::default() }
    }
}

impl fmt::Debug for Hooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.dir.fmt(f)
    }
}

pub(crate) struct HookedFile {
    file: <MemDir as Dir>::File,
    name: String,
    hook: Hook,
}

impl fmt::Debug for HookedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.file.fmt(f)
    }
}

impl Dir for Hooked {
    type File = HookedFile;
    type Lock = <MemDir as Dir>::Lock;

    fn open(&self, name: &FileName, how: Open) -> io::Result<HookedFile> {
        let file = self.dir.open(name, how)?;
        let name = format!("{}/{name}", self.dir.display());
        Ok(HookedFile { file, name, hook: self.hook.clone() })
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

impl LogFile for HookedFile {
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
        self.hook.strikes(&self.name);
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
