//! Where each leader epoch of a partition begins (KIP-101), and the file that keeps it.

use hanbeon_records::{LeaderEpoch, Offset};

use crate::{
    Dir, FileName,
    checkpoint::{
        CheckpointError, corrupt, format_lines, parse_lines, read_small, write_atomically,
    },
    error::{Action, LogError},
};

/// The file's name in a partition's directory.
pub(crate) const FILE_NAME: &str = "leader-epoch-checkpoint";

/// The first offset that a leader wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEntry {
    /// The leader's epoch.
    pub epoch: LeaderEpoch,
    /// Its first offset.
    pub start_offset: Offset,
}

/// Up to where an epoch goes in this log (KIP-101, KIP-279).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// The greatest known epoch that is not above the one asked for.
    pub epoch: LeaderEpoch,
    /// The offset after its last one.
    pub end_offset: Offset,
}

/// Who leads a log, and where that ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Led {
    /// The leader's epoch, whether or not it has written in it.
    pub epoch: LeaderEpoch,
    /// The offset the next batch gets.
    pub log_end: Offset,
}

impl EpochEnd {
    /// The answer for an epoch nobody here knows: -1 and -1.
    pub const UNDEFINED: Self = Self { epoch: LeaderEpoch::UNKNOWN, end_offset: Offset::new(-1) };
}

/// Whether a call changed anything, so that the file must be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a change is lost at the next start unless the file is written"]
pub enum EpochsChanged {
    /// The file is out of date.
    Yes,
    /// The file is as good as before.
    No,
}

/// The epochs of a partition, both numbers rising from entry to entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaderEpochs {
    entries: Vec<EpochEntry>,
}

impl LeaderEpochs {
    /// No epochs.
    #[must_use]
    pub const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// The entries in order.
    #[must_use]
    pub fn entries(&self) -> &[EpochEntry] {
        &self.entries
    }

    /// The newest entry.
    #[must_use]
    pub fn latest(&self) -> Option<EpochEntry> {
        self.entries.last().copied()
    }

    /// Whether [`Self::assign`] would add an entry.
    #[must_use]
    pub fn is_new(&self, epoch: LeaderEpoch, start_offset: Offset) -> bool {
        epoch.get() >= 0
            && start_offset >= Offset::ZERO
            && self
                .latest()
                .is_none_or(|last| last.epoch != epoch || start_offset < last.start_offset)
    }

    /// Notes that the leader of `epoch` wrote `start_offset`. Entries that contradict it go: those of the same or a later
    /// epoch, and those that begin at or behind it.
    ///
    /// An epoch of -1 (a batch of a leader that knew none) is left out.
    pub fn assign(&mut self, epoch: LeaderEpoch, start_offset: Offset) -> EpochsChanged {
        if !self.is_new(epoch, start_offset) {
            return EpochsChanged::No;
        }
        // Both numbers rise, so that these are the last ones: nothing is looked at twice, however many epochs a file names.
        while self
            .entries
            .pop_if(|entry| entry.epoch >= epoch || entry.start_offset >= start_offset)
            .is_some()
        {}
        self.entries.push(EpochEntry { epoch, start_offset });
        EpochsChanged::Yes
    }

    /// Forgets what begins at `end` or behind it.
    pub fn truncate_from_end(&mut self, end: Offset) -> EpochsChanged {
        let keep = self.entries.partition_point(|entry| entry.start_offset < end);
        if keep == self.entries.len() {
            return EpochsChanged::No;
        }
        self.entries.truncate(keep);
        EpochsChanged::Yes
    }

    /// Forgets what ends at `start` or before it. The epoch of the record at `start` then begins there.
    pub fn truncate_from_start(&mut self, start: Offset) -> EpochsChanged {
        let behind = self.entries.partition_point(|entry| entry.start_offset <= start);
        let Some(gone) = behind.checked_sub(1) else { return EpochsChanged::No };
        self.entries.drain(..gone);
        match self.entries.first_mut() {
            Some(first) if first.start_offset < start => {
                first.start_offset = start;
                EpochsChanged::Yes
            }
            _ if gone > 0 => EpochsChanged::Yes,
            _ => EpochsChanged::No,
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) -> EpochsChanged {
        if self.entries.is_empty() {
            return EpochsChanged::No;
        }
        self.entries.clear();
        EpochsChanged::Yes
    }

    /// The epoch of a leader that has not written yet: it begins at the log's end. (Kafka writes the entry when a leader begins; ours
    /// comes with its first batch, and until then the answers are the same.)
    fn unwritten(&self, led: Led) -> Option<EpochEntry> {
        let Led { epoch, log_end: start_offset } = led;
        let later = epoch.get() >= 0 && self.latest().is_none_or(|last| last.epoch < epoch);
        later.then_some(EpochEntry { epoch, start_offset })
    }

    /// Where the records of `epoch` end, in the log of this leader. An epoch that was skipped gives the one before
    /// it; one below all known ends where the first known begins; one above all known is undefined.
    #[must_use]
    pub fn end_offset_for(&self, epoch: LeaderEpoch, led: Led) -> EpochEnd {
        let own = self.unwritten(led);
        let Some(latest) = own.or_else(|| self.latest()).filter(|_| epoch.get() >= 0) else {
            return EpochEnd::UNDEFINED;
        };
        if epoch == latest.epoch {
            return EpochEnd { epoch, end_offset: led.log_end };
        }
        let above = self.entries.partition_point(|entry| entry.epoch <= epoch);
        let own = own.filter(|own| own.epoch > epoch);
        let Some(next) = self.entries.get(above).copied().or(own) else {
            return EpochEnd::UNDEFINED;
        };
        let floor = above.checked_sub(1).and_then(|place| self.entries.get(place));
        EpochEnd { epoch: floor.map_or(epoch, |entry| entry.epoch), end_offset: next.start_offset }
    }

    /// The epoch of the leader that wrote `offset`, or writes it next, as far as known.
    #[must_use]
    pub fn epoch_for(&self, offset: Offset, led: Led) -> Option<LeaderEpoch> {
        if let Some(own) = self.unwritten(led).filter(|own| own.start_offset <= offset) {
            return Some(own.epoch);
        }
        let behind = self.entries.partition_point(|entry| entry.start_offset <= offset);
        self.entries.get(behind.checked_sub(1)?).map(|entry| entry.epoch)
    }

    /// Whether the leader of `epoch` wrote `offset`, as far as these say: of what lies below the first of them they say nothing, for its
    /// records were deleted.
    pub(crate) fn allow(&self, epoch: LeaderEpoch, offset: Offset) -> bool {
        let behind = self.entries.partition_point(|entry| entry.start_offset <= offset);
        match behind.checked_sub(1).and_then(|place| self.entries.get(place)) {
            Some(entry) => entry.epoch == epoch,
            None => !self.entries.is_empty(),
        }
    }

    /// The first epoch that begins above `offset`.
    pub(crate) fn next_above(&self, offset: Offset) -> Option<EpochEntry> {
        let behind = self.entries.partition_point(|entry| entry.start_offset <= offset);
        self.entries.get(behind).copied()
    }

    /// Reads the file's text. Lines in any order give the same epochs as Kafka builds from them: one after the other,
    /// by [`Self::assign`].
    ///
    /// # Errors
    /// Which line is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, CheckpointError> {
        let mut entries = parse_lines(bytes, |words| {
            let epoch = words.next()?.parse().ok().filter(|epoch| *epoch >= 0)?;
            let start = words.next()?.parse().ok().filter(|start| *start >= 0)?;
            let (epoch, start_offset) = (LeaderEpoch::new(epoch), Offset::new(start));
            Some(EpochEntry { epoch, start_offset })
        })?;
        entries.sort_by_key(|entry| entry.epoch);
        let mut epochs = Self::new();
        for EpochEntry { epoch, start_offset } in entries {
            let (EpochsChanged::Yes | EpochsChanged::No) = epochs.assign(epoch, start_offset);
        }
        Ok(epochs)
    }

    /// Writes the file's text.
    #[must_use]
    pub fn format(&self) -> Vec<u8> {
        let lines =
            self.entries.iter().map(|entry| format!("{} {}", entry.epoch, entry.start_offset));
        format_lines(self.entries.len(), lines)
    }

    /// Reads the file of a partition's directory; `None` when there is none.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] when it cannot be read, else what the storage reports.
    pub fn read<D: Dir>(dir: &D) -> Result<Option<Self>, LogError> {
        let name = file_name(dir)?;
        let Some(bytes) = read_small(dir, &name)? else { return Ok(None) };
        Self::parse(&bytes).map(Some).map_err(|error| corrupt(dir, &name, error.into()))
    }

    /// Replaces the file of a partition's directory, durably.
    ///
    /// # Errors
    /// What the storage reports.
    pub fn write<D: Dir>(&self, dir: &D) -> Result<(), LogError> {
        write_atomically(dir, &file_name(dir)?, &self.format())
    }
}

fn file_name<D: Dir>(dir: &D) -> Result<FileName, LogError> {
    FileName::new(FILE_NAME).map_err(|error| LogError::io(Action::Open, dir.display(), error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LogError, MemDir};

    fn epochs(entries: &[(i32, i64)]) -> LeaderEpochs {
        let mut epochs = LeaderEpochs::new();
        for &(epoch, start) in entries {
            let _changed = epochs.assign(LeaderEpoch::new(epoch), Offset::new(start));
        }
        epochs
    }

    fn plain(epochs: &LeaderEpochs) -> Vec<(i32, i64)> {
        epochs.entries().iter().map(|entry| (entry.epoch.get(), entry.start_offset.get())).collect()
    }

    fn led(epoch: i32) -> Led {
        Led { epoch: LeaderEpoch::new(epoch), log_end: Offset::new(100) }
    }

    /// Of a leader that has written, or knows no epoch.
    fn end(epochs: &LeaderEpochs, epoch: i32) -> (i32, i64) {
        end_led(epochs, epoch, epochs.latest().map_or(-1, |last| last.epoch.get()))
    }

    fn end_led(epochs: &LeaderEpochs, epoch: i32, leader: i32) -> (i32, i64) {
        let end = epochs.end_offset_for(LeaderEpoch::new(epoch), led(leader));
        (end.epoch.get(), end.end_offset.get())
    }

    #[test]
    fn a_new_epoch_is_noted_once() {
        let mut epochs = epochs(&[(2, 6)]);
        let mut assign = |epoch, start| epochs.assign(LeaderEpoch::new(epoch), Offset::new(start));
        assert_eq!(assign(2, 7), EpochsChanged::No);
        assert_eq!(assign(3, 9), EpochsChanged::Yes);
        assert_eq!(assign(-1, 10), EpochsChanged::No, "a leader without an epoch");
        assert_eq!(assign(4, -1), EpochsChanged::No);
        assert_eq!(plain(&epochs), [(2, 6), (3, 9)]);
    }

    #[test]
    fn entries_that_contradict_the_newest_go() {
        assert_eq!(plain(&epochs(&[(2, 6), (3, 9), (4, 9)])), [(2, 6), (4, 9)], "3 wrote nothing");
        assert_eq!(plain(&epochs(&[(2, 6), (3, 9), (4, 7)])), [(2, 6), (4, 7)]);
        assert_eq!(plain(&epochs(&[(2, 6), (3, 9), (2, 12)])), [(2, 12)], "not above the last");
        assert_eq!(plain(&epochs(&[(2, 6), (3, 9), (3, 8)])), [(2, 6), (3, 8)]);
        assert_eq!(plain(&epochs(&[(2, 6), (3, 9), (5, 0)])), [(5, 0)]);
    }

    #[test]
    fn where_an_epoch_ends() {
        let epochs = epochs(&[(2, 6), (4, 9), (7, 20)]);
        assert_eq!(end(&epochs, 7), (7, 100), "the newest ends with the log");
        assert_eq!(end(&epochs, 2), (2, 9));
        assert_eq!(end(&epochs, 4), (4, 20));
        assert_eq!(end(&epochs, 3), (2, 9), "skipped");
        assert_eq!(end(&epochs, 6), (4, 20), "skipped");
        assert_eq!(end(&epochs, 1), (1, 6), "below all known");
        assert_eq!(end(&epochs, 8), (-1, -1), "above all known");
        assert_eq!(end(&epochs, -1), (-1, -1));
        assert_eq!(end(&LeaderEpochs::new(), 0), (-1, -1));
    }

    #[test]
    fn g1_the_epoch_of_a_leader_that_has_not_written_begins_at_the_end() {
        let led = epochs(&[(2, 6), (4, 9)]);
        let ends = [-1, 1, 2, 3, 4, 5, 6, 7].map(|epoch| end_led(&led, epoch, 6));
        let expected = [(-1, -1), (1, 6), (2, 9), (2, 9), (4, 100), (4, 100), (6, 100), (-1, -1)];
        assert_eq!(ends, expected);
        let none = [0, 5, 6, 7].map(|epoch| end_led(&LeaderEpochs::new(), epoch, 6));
        assert_eq!(none, [(0, 100), (5, 100), (6, 100), (-1, -1)]);
    }

    #[test]
    fn which_epoch_wrote_an_offset() {
        let epochs = epochs(&[(2, 6), (4, 9)]);
        let epoch =
            |offset, by| epochs.epoch_for(Offset::new(offset), led(by)).map(LeaderEpoch::get);
        assert_eq!(
            [5, 6, 8, 9, 100].map(|at| epoch(at, 4)),
            [None, Some(2), Some(2), Some(4), Some(4)]
        );
        assert_eq!([99, 100].map(|at| epoch(at, 5)), [Some(4), Some(5)]);
    }

    #[test]
    fn an_epoch_is_allowed_where_it_is_listed_and_where_nothing_is_said() {
        let epochs = epochs(&[(2, 6), (4, 9)]);
        let allowed = |epoch, at| epochs.allow(LeaderEpoch::new(epoch), Offset::new(at));
        assert_eq!([6, 8, 9].map(|at| allowed(2, at)), [true, true, false]);
        assert_eq!([8, 9, 100].map(|at| allowed(4, at)), [false, true, true]);
        assert!(!allowed(3, 7) && allowed(3, 5), "deleted, and forgotten with its records");
        assert!(!LeaderEpochs::new().allow(LeaderEpoch::new(0), Offset::ZERO), "no file");
    }

    #[test]
    fn g1_a_cut_at_the_end_forgets_epochs_that_wrote_nothing_below() {
        let cut = |to| {
            let mut epochs = epochs(&[(2, 6), (4, 9), (7, 20)]);
            let changed = epochs.truncate_from_end(Offset::new(to));
            (changed, plain(&epochs))
        };
        assert_eq!(cut(21), (EpochsChanged::No, vec![(2, 6), (4, 9), (7, 20)]));
        assert_eq!(cut(20), (EpochsChanged::Yes, vec![(2, 6), (4, 9)]), "elected, wrote nothing");
        assert_eq!(cut(10), (EpochsChanged::Yes, vec![(2, 6), (4, 9)]));
        assert_eq!(cut(6), (EpochsChanged::Yes, vec![]));
        assert_eq!(LeaderEpochs::new().truncate_from_end(Offset::ZERO), EpochsChanged::No);
    }

    #[test]
    fn g1_a_cut_at_the_start_keeps_the_epoch_of_the_first_record() {
        let cut = |to| {
            let mut epochs = epochs(&[(2, 6), (4, 9), (7, 20)]);
            let changed = epochs.truncate_from_start(Offset::new(to));
            (changed, plain(&epochs))
        };
        let all = vec![(2, 6), (4, 9), (7, 20)];
        assert_eq!(cut(5), (EpochsChanged::No, all.clone()));
        assert_eq!(cut(6), (EpochsChanged::No, all));
        assert_eq!(cut(8), (EpochsChanged::Yes, vec![(2, 8), (4, 9), (7, 20)]));
        assert_eq!(cut(9), (EpochsChanged::Yes, vec![(4, 9), (7, 20)]));
        assert_eq!(cut(11), (EpochsChanged::Yes, vec![(4, 11), (7, 20)]));
        assert_eq!(cut(500), (EpochsChanged::Yes, vec![(7, 500)]));
        assert_eq!(LeaderEpochs::new().truncate_from_start(Offset::new(1)), EpochsChanged::No);
    }

    #[test]
    fn g1_epoch_zero_counts() {
        let epochs = epochs(&[(0, 0)]);
        assert_eq!(plain(&epochs), [(0, 0)]);
        assert_eq!(end(&epochs, 0), (0, 100));
    }

    #[test]
    fn the_file_is_kafkas_and_reads_in_any_order() {
        let epochs = epochs(&[(2, 6), (4, 9)]);
        assert_eq!(epochs.format(), b"0\n2\n2 6\n4 9\n");
        assert_eq!(LeaderEpochs::parse(b"0\n2\n4 9\n2 6\n"), Ok(epochs));
        for line in ["-1 0", "0 -1", "0", "0 0 0", "x 0"] {
            let text = format!("0\n1\n{line}\n");
            let expected = CheckpointError::Line { line: 3, found: line.into() };
            assert_eq!(LeaderEpochs::parse(text.as_bytes()), Err(expected));
        }
    }

    /// Work that grows with the square of the lines takes minutes here.
    #[test]
    fn a_file_of_many_epochs_is_read_line_by_line() {
        let lines: Vec<_> = (0..200_000).map(|epoch| format!("{epoch} {epoch}")).collect();
        let read = LeaderEpochs::parse(&format_lines(lines.len(), lines.into_iter())).unwrap();
        assert_eq!(read.entries().len(), 200_000);
        assert_eq!(read.latest().map(|last| last.epoch), Some(LeaderEpoch::new(199_999)));
    }

    #[test]
    fn a_damaged_file_is_an_error_and_an_absent_one_is_not() {
        let dir = MemDir::new();
        assert_eq!(LeaderEpochs::read(&dir).unwrap(), None);
        let written = epochs(&[(1, 0)]);
        written.write(&dir).unwrap();
        assert_eq!(LeaderEpochs::read(&dir).unwrap(), Some(written));
        write_atomically(&dir, &file_name(&dir).unwrap(), b"0\n1\n").unwrap();
        assert!(matches!(LeaderEpochs::read(&dir), Err(LogError::Corrupt(_))));
    }
}
