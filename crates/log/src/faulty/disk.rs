//! What is on the medium, what only seems to be, and what a power cut makes of the two.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use super::{
    fault::{Broken, Faults},
    rng::Rng,
};
use crate::io::FileName;

/// What the cache writes back as one; on the way to the medium it may tear into sectors.
pub(crate) const PAGE: usize = 4096;
const SECTOR: usize = 512;

/// What a crash did to the unsynced part of a disk. All zero: nothing was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CrashReport {
    /// Page writes that did not reach the medium.
    pub dropped: u64,
    /// Pages whose sectors come from different writes.
    pub torn: u64,
    /// Page writes that were lost though a later one was not.
    pub reordered: u64,
    /// Creations, renames and removals that were lost.
    pub lost_dir_ops: u64,
    /// Files whose length is an older one.
    pub old_sizes: u64,
    /// Pages within the length of a file that hold zeroes or stale bytes, because they were never written.
    pub stale_pages: u64,
}

/// All files and directories of one simulated medium.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    pub(crate) files: BTreeMap<u64, FileNode>,
    pub(crate) dirs: BTreeMap<u64, DirNode>,
    pub(crate) locks: BTreeSet<(u64, FileName)>,
    pub(crate) faults: Faults,
    pub(crate) broken: Option<Broken>,
    pub(crate) report: CrashReport,
    next_id: u64,
    /// Orders writes over all files.
    clock: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct FileNode {
    /// What reads see.
    pub(crate) content: Vec<u8>,
    durable: Vec<u8>,
    /// Lengths since the last sync, oldest first.
    lens: Vec<usize>,
    /// Per page what it looked like after each write since the last sync, oldest first.
    dirty: BTreeMap<usize, Vec<PageWrite>>,
}

#[derive(Clone, Debug)]
struct PageWrite {
    clock: u64,
    image: Box<[u8]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Child {
    File(u64),
    Dir(u64),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct DirNode {
    /// What lookups see.
    pub(crate) entries: BTreeMap<FileName, Child>,
    durable: BTreeMap<FileName, Child>,
    /// Since the last sync, oldest first.
    pending: Vec<DirOp>,
}

#[derive(Clone, Debug)]
enum DirOp {
    Link(FileName, Child),
    Unlink(FileName),
    Rename(FileName, FileName, Child),
}

impl DirOp {
    fn apply(&self, entries: &mut BTreeMap<FileName, Child>) {
        match self {
            Self::Link(name, child) => {
                entries.insert(name.clone(), *child);
            }
            Self::Unlink(name) => {
                entries.remove(name);
            }
            Self::Rename(from, to, child) => {
                if entries.get(from) == Some(child) {
                    entries.remove(from);
                }
                entries.insert(to.clone(), *child);
            }
        }
    }
}

impl DirNode {
    fn change(&mut self, op: DirOp) {
        op.apply(&mut self.entries);
        self.pending.push(op);
    }

    pub(crate) fn link(&mut self, name: &FileName, child: Child) {
        self.change(DirOp::Link(name.clone(), child));
    }

    pub(crate) fn unlink(&mut self, name: &FileName) {
        self.change(DirOp::Unlink(name.clone()));
    }

    pub(crate) fn rename(&mut self, from: &FileName, to: &FileName, child: Child) {
        self.change(DirOp::Rename(from.clone(), to.clone(), child));
    }

    pub(crate) fn sync(&mut self, broken: Option<Broken>) {
        let keep_renames = match broken {
            Some(Broken::IgnoresDirSync) => return,
            Some(Broken::LosesRenames) => true,
            Some(Broken::IgnoresSync | Broken::WritesShort) | None => false,
        };
        for op in std::mem::take(&mut self.pending) {
            if keep_renames && matches!(op, DirOp::Rename(..)) {
                self.pending.push(op);
            } else {
                op.apply(&mut self.durable);
            }
        }
    }

    fn crashed(
        &self,
        profile: Profile,
        rng: &mut Rng,
        report: &mut CrashReport,
    ) -> BTreeMap<FileName, Child> {
        let mut entries = self.durable.clone();
        let prefix = rng.sixteenths(8).then(|| rng.below(self.pending.len().saturating_add(1)));
        for (nth, op) in self.pending.iter().enumerate() {
            let kept = match profile {
                Profile::LoseAll => false,
                Profile::KeepAll => true,
                Profile::Mixed(keep) => {
                    prefix.map_or_else(|| rng.sixteenths(keep), |prefix| nth < prefix)
                }
            };
            if kept {
                op.apply(&mut entries);
            } else {
                report.lost_dir_ops = report.lost_dir_ops.saturating_add(1);
            }
        }
        entries
    }
}

impl FileNode {
    /// Puts `bytes` at `at` into the cache.
    pub(crate) fn write(&mut self, bytes: &[u8], at: usize, clock: &mut u64) {
        if bytes.is_empty() {
            return;
        }
        let from = at.min(self.content.len());
        crate::mem::overwrite(&mut self.content, bytes, at);
        self.touched(from, at.saturating_add(bytes.len()), clock);
    }

    pub(crate) fn set_len(&mut self, len: usize, clock: &mut u64) {
        let (from, to) = (len.min(self.content.len()), len.max(self.content.len()));
        self.content.resize(len, 0);
        self.touched(from, to, clock);
    }

    /// Notes new images of the pages of `from..to`.
    fn touched(&mut self, from: usize, to: usize, clock: &mut u64) {
        *clock = clock.saturating_add(1);
        for page in from / PAGE..to.div_ceil(PAGE) {
            let image = page_of(&self.content, page);
            self.dirty.entry(page).or_default().push(PageWrite { clock: *clock, image });
        }
        if self.lens.last().copied().unwrap_or(self.durable.len()) != self.content.len() {
            self.lens.push(self.content.len());
        }
    }

    pub(crate) fn sync(&mut self, broken: Option<Broken>) {
        if broken == Some(Broken::IgnoresSync) {
            return;
        }
        // Page by page: pages that an earlier failed sync marked clean are not written now.
        for (page, mut writes) in std::mem::take(&mut self.dirty) {
            if let Some(last) = writes.pop() {
                put_page(&mut self.durable, page, &last.image);
            }
        }
        self.durable.resize(self.content.len(), 0);
        self.lens.clear();
    }

    /// All pages count as clean and none was written; the length may have changed or not.
    pub(crate) fn sync_failed(&mut self) {
        self.dirty.clear();
    }

    fn crashed(&self, choice: &mut Choice<'_>) -> Vec<u8> {
        let newest = self.lens.last().copied().unwrap_or(self.durable.len());
        let len = match choice.profile {
            Profile::LoseAll => self.durable.len(),
            Profile::KeepAll => newest,
            Profile::Mixed(keep) => {
                let drawn = choice.rng.below(self.lens.len().saturating_add(1));
                let any = drawn.checked_sub(1).and_then(|nth| self.lens.get(nth)).copied();
                if choice.rng.sixteenths(keep) { newest } else { any.unwrap_or(self.durable.len()) }
            }
        };
        if len != newest {
            choice.report.old_sizes = choice.report.old_sizes.saturating_add(1);
        }
        let mut content = self.durable.clone();
        content.resize(len, 0);
        let mut written = BTreeSet::new();
        for (page, writes) in &self.dirty {
            if let Some(image) = choice.page(page_of(&self.durable, *page), writes) {
                written.insert(*page);
                put_page(&mut content, *page, &image);
            }
        }
        content.resize(len, 0);
        for page in self.durable.len().div_ceil(PAGE)..len.div_ceil(PAGE) {
            if !written.contains(&page) {
                choice.report.stale_pages = choice.report.stale_pages.saturating_add(1);
                if let Some(stale) = choice.stale() {
                    put_page(&mut content, page, &stale);
                }
            }
        }
        content.truncate(len);
        content
    }
}

/// How much of what was not synced a crash keeps.
#[derive(Clone, Copy, Debug)]
enum Profile {
    LoseAll,
    KeepAll,
    /// So many sixteenths.
    Mixed(usize),
}

/// The draws of one crash.
struct Choice<'a> {
    rng: &'a mut Rng,
    profile: Profile,
    report: &'a mut CrashReport,
    /// Pages of the disk, of which some turn up where they do not belong.
    pages: &'a [Box<[u8]>],
    newest_kept: u64,
    lost: Vec<u64>,
}

impl Choice<'_> {
    /// What the medium holds of a page; `None` when it is as it was.
    fn page(&mut self, durable: Box<[u8]>, writes: &[PageWrite]) -> Option<Box<[u8]>> {
        let kept = match self.profile {
            Profile::LoseAll => 0,
            Profile::KeepAll => writes.len(),
            Profile::Mixed(keep) if self.rng.sixteenths(keep) => writes.len(),
            Profile::Mixed(_) => self.rng.below(writes.len()),
        };
        let (written, lost) = writes.split_at_checked(kept)?;
        self.lost.extend(lost.iter().map(|write| write.clock));
        let mut image = durable;
        if let Some(last) = written.last() {
            self.newest_kept = self.newest_kept.max(last.clock);
            image.copy_from_slice(&last.image);
        }
        let torn_with = lost.last().filter(|_| matches!(self.profile, Profile::Mixed(_)));
        if let Some(other) = torn_with.filter(|_| self.rng.sixteenths(6)) {
            let sectors = image.chunks_mut(SECTOR).zip(other.image.chunks(SECTOR));
            let mut took = 0_u64;
            for (mine, theirs) in sectors {
                if mine != theirs && self.rng.sixteenths(8) {
                    mine.copy_from_slice(theirs);
                    took = took.saturating_add(1);
                }
            }
            if took > 0 {
                self.report.torn = self.report.torn.saturating_add(1);
                return Some(image);
            }
        }
        (kept > 0).then_some(image)
    }

    /// Bytes that an earlier owner of a block left there; `None` for zeroes.
    fn stale(&mut self) -> Option<Box<[u8]>> {
        match self.rng.below(3) {
            0 => None,
            1 => {
                let mut image = vec![0; PAGE];
                for chunk in image.chunks_mut(8) {
                    chunk.copy_from_slice(
                        self.rng.next().to_be_bytes().get(..chunk.len()).unwrap_or_default(),
                    );
                }
                Some(image.into())
            }
            _ => self.pages.get(self.rng.below(self.pages.len())).cloned(),
        }
    }
}

impl Disk {
    pub(crate) fn new_file(&mut self) -> u64 {
        let id = self.new_id();
        self.files.insert(id, FileNode::default());
        id
    }

    pub(crate) fn new_dir(&mut self) -> u64 {
        let id = self.new_id();
        self.dirs.insert(id, DirNode::default());
        id
    }

    fn new_id(&mut self) -> u64 {
        self.next_id = self.next_id.saturating_add(1);
        self.next_id
    }

    pub(crate) fn dir(&mut self, id: u64) -> io::Result<&mut DirNode> {
        self.dirs.get_mut(&id).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(crate) fn file(&mut self, id: u64) -> io::Result<(&mut FileNode, &mut u64)> {
        let file = self.files.get_mut(&id).ok_or(io::ErrorKind::NotFound)?;
        Ok((file, &mut self.clock))
    }

    /// How many page writes, lengths and directory operations a crash now would choose from.
    pub(crate) fn unsynced(&self) -> usize {
        let files = self.files.values().map(|file| {
            file.dirty.values().map(Vec::len).fold(file.lens.len(), usize::saturating_add)
        });
        let dirs = self.dirs.values().map(|dir| dir.pending.len());
        files.chain(dirs).fold(0, usize::saturating_add)
    }

    /// The disk that a power cut at this moment may leave behind.
    pub(crate) fn crashed(&self, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let profile = match rng.below(10) {
            0 => Profile::LoseAll,
            1 => Profile::KeepAll,
            _ => Profile::Mixed(rng.below(15).saturating_add(1)),
        };
        let mut report = CrashReport::default();
        let pages = self.some_pages(&mut rng);
        let mut dirs = BTreeMap::new();
        for (id, dir) in &self.dirs {
            let entries = dir.crashed(profile, &mut rng, &mut report);
            dirs.insert(*id, DirNode { durable: entries.clone(), entries, pending: Vec::new() });
        }
        let mut choice = Choice {
            rng: &mut rng,
            profile,
            report: &mut report,
            pages: &pages,
            newest_kept: 0,
            lost: Vec::new(),
        };
        let mut files = BTreeMap::new();
        for (id, file) in &self.files {
            let content = file.crashed(&mut choice);
            files
                .insert(*id, FileNode { durable: content.clone(), content, ..FileNode::default() });
        }
        let Choice { newest_kept, lost, .. } = choice;
        report.dropped = u64::try_from(lost.len()).unwrap_or(u64::MAX);
        let overtaken = lost.iter().filter(|clock| **clock < newest_kept).count();
        report.reordered = u64::try_from(overtaken).unwrap_or(u64::MAX);
        let mut disk = Self { files, dirs, report, next_id: self.next_id, ..Self::default() };
        disk.forget_unlinked();
        disk
    }

    /// What a process that was killed leaves: everything, though no lock. What it had not synced a power cut may still take.
    pub(crate) fn killed(&self) -> Self {
        Self {
            files: self.files.clone(),
            dirs: self.dirs.clone(),
            next_id: self.next_id,
            clock: self.clock,
            ..Self::default()
        }
    }

    /// A few pages of what is or was in files, so that whole old batches turn up in wrong places.
    fn some_pages(&self, rng: &mut Rng) -> Vec<Box<[u8]>> {
        let all = self.files.values().flat_map(|file| [&file.content, &file.durable]);
        let pages = all.flat_map(|content| content.chunks(PAGE)).map(|page| page_of(page, 0));
        let pages: Vec<_> = pages.take(64).collect();
        let first = rng.below(pages.len());
        pages.into_iter().skip(first).take(16).collect()
    }

    /// Lets go of what no directory leads to.
    fn forget_unlinked(&mut self) {
        let mut reached = BTreeSet::new();
        let mut next: Vec<u64> = self.dirs.keys().next().copied().into_iter().collect();
        while let Some(id) = next.pop() {
            reached.insert(id);
            for child in self.dirs.get(&id).iter().flat_map(|dir| dir.entries.values()) {
                match child {
                    Child::Dir(dir) => next.push(*dir),
                    Child::File(file) => {
                        reached.insert(*file);
                    }
                }
            }
        }
        self.files.retain(|id, _| reached.contains(id));
        self.dirs.retain(|id, _| reached.contains(id));
    }
}

/// The page `page` of `content`, filled up with zeroes.
fn page_of(content: &[u8], page: usize) -> Box<[u8]> {
    let mut image = vec![0; PAGE];
    let start = page.saturating_mul(PAGE).min(content.len());
    let end = start.saturating_add(PAGE).min(content.len());
    crate::mem::overwrite(&mut image, content.get(start..end).unwrap_or_default(), 0);
    image.into()
}

fn put_page(content: &mut Vec<u8>, page: usize, image: &[u8]) {
    crate::mem::overwrite(content, image, page.saturating_mul(PAGE));
}
