//! The three checkpoint files of a data directory: what they said when it was opened, and what they say now.
//!
//! They go by names, and a name may come to stand for another topic. So whoever makes a partition's directory has its name struck out first,
//! and what is written is gathered from the topics of that moment, under the lock that striking out takes as well.

use std::collections::BTreeMap;

use hanbeon_log::{Action, Dir, FileName, LogError, checkpoint};
use hanbeon_records::{Offset, TopicPartition};

/// Offsets by partition, of one checkpoint file.
pub(crate) type Offsets = BTreeMap<TopicPartition, Offset>;

/// What the three files say, or are to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checkpoints {
    pub(crate) recovery_points: Offsets,
    pub(crate) log_starts: Offsets,
    pub(crate) high_watermarks: Offsets,
}

/// What they said of one partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stood {
    pub(crate) recovery_point: Option<Offset>,
    pub(crate) log_start: Option<Offset>,
    pub(crate) high_watermark: Option<Offset>,
}

/// The files themselves.
#[derive(Debug)]
pub(crate) struct CheckpointFiles {
    recovery_points: File,
    log_starts: File,
    high_watermarks: File,
}

#[derive(Debug)]
struct File {
    name: &'static str,
    /// As it was read; a partition that is not open keeps its entry.
    found: Offsets,
    /// As it is now; `None` where that is not known, or where it may not be there: Kafka has all three.
    written: Option<Offsets>,
}

impl CheckpointFiles {
    pub(crate) fn read<D: Dir>(dir: &D) -> Result<Self, LogError> {
        Ok(Self {
            recovery_points: File::read(dir, checkpoint::RECOVERY_POINTS)?,
            log_starts: File::read(dir, checkpoint::LOG_STARTS)?,
            high_watermarks: File::read(dir, checkpoint::HIGH_WATERMARKS)?,
        })
    }

    /// Where a partition stood when the directory was opened; nowhere, if it was made since.
    pub(crate) fn stood(&self, partition: &TopicPartition) -> Stood {
        let of = |file: &File| file.found.get(partition).copied();
        Stood {
            recovery_point: of(&self.recovery_points),
            log_start: of(&self.log_starts),
            high_watermark: of(&self.high_watermarks),
        }
    }

    /// Replaces recovery points and log starts, where they say something else.
    pub(crate) fn write_positions<D: Dir>(
        &mut self,
        dir: &D,
        now: Checkpoints,
    ) -> Result<(), LogError> {
        self.recovery_points.write(dir, now.recovery_points)?;
        self.log_starts.write(dir, now.log_starts)
    }

    /// Replaces the high watermarks, where they say something else.
    pub(crate) fn write_high_watermarks<D: Dir>(
        &mut self,
        dir: &D,
        now: Checkpoints,
    ) -> Result<(), LogError> {
        self.high_watermarks.write(dir, now.high_watermarks)
    }

    /// Takes a recovery point back, where recovery found that less is known to be on the disk than the file says. What is appended
    /// after it must not be taken for checked by the next opening.
    pub(crate) fn lower_recovery_point<D: Dir>(
        &mut self,
        dir: &D,
        partition: &TopicPartition,
        to: Offset,
    ) -> Result<(), LogError> {
        let above = |offsets: &Offsets| offsets.get(partition).is_some_and(|point| *point > to);
        self.put_recovery_point(dir, above, (partition, to))
    }

    /// Moves a recovery point over damage that is refused, so that it still is when a power cut may have torn what lies behind the
    /// recovery point.
    pub(crate) fn raise_recovery_point<D: Dir>(
        &mut self,
        dir: &D,
        partition: &TopicPartition,
        to: Offset,
    ) -> Result<(), LogError> {
        let below = |offsets: &Offsets| offsets.get(partition).is_none_or(|point| *point < to);
        self.put_recovery_point(dir, below, (partition, to))
    }

    fn put_recovery_point<D: Dir>(
        &mut self,
        dir: &D,
        wanted: impl Fn(&Offsets) -> bool,
        (partition, to): (&TopicPartition, Offset),
    ) -> Result<(), LogError> {
        // Here too: others may write before this partition counts as open, or while it does not open.
        if wanted(&self.recovery_points.found) {
            self.recovery_points.found.insert(partition.clone(), to);
        }
        self.recovery_points.change(dir, wanted, |offsets| {
            offsets.insert(partition.clone(), to);
        })
    }

    /// Strikes partitions out that are about to be made: what the files say under their names was said of others. Writes only where
    /// they say something.
    pub(crate) fn forget<D: Dir>(
        &mut self,
        dir: &D,
        partitions: &[TopicPartition],
    ) -> Result<(), LogError> {
        let names = |offsets: &Offsets| partitions.iter().any(|name| offsets.contains_key(name));
        let strike = |offsets: &mut Offsets| {
            for name in partitions {
                offsets.remove(name);
            }
        };
        for file in [&mut self.recovery_points, &mut self.log_starts, &mut self.high_watermarks] {
            strike(&mut file.found);
            file.change(dir, names, strike)?;
        }
        Ok(())
    }
}

impl File {
    fn read<D: Dir>(dir: &D, name: &'static str) -> Result<Self, LogError> {
        let (found, written) = match checkpoint::read_offsets(dir, &file_name(dir, name)?) {
            Ok(offsets) if offsets.is_empty() => (offsets, None),
            Ok(offsets) => (offsets.clone(), Some(offsets)),
            // As Kafka does: every offset in it is a hint.
            Err(LogError::Corrupt(damage)) => {
                tracing::warn!(%damage, "taken for empty: logs are checked from their start");
                (Offsets::new(), None)
            }
            Err(error) => return Err(error),
        };
        Ok(Self { name, found, written })
    }

    fn write<D: Dir>(&mut self, dir: &D, now: Offsets) -> Result<(), LogError> {
        if self.written.as_ref() == Some(&now) {
            return Ok(());
        }
        self.written = None;
        checkpoint::write_offsets(dir, &file_name(dir, self.name)?, &now)?;
        self.written = Some(now);
        Ok(())
    }

    /// Writes the file changed, where that is `wanted`.
    fn change<D: Dir>(
        &mut self,
        dir: &D,
        wanted: impl Fn(&Offsets) -> bool,
        change: impl FnOnce(&mut Offsets),
    ) -> Result<(), LogError> {
        let read;
        let written = match &self.written {
            Some(written) => written,
            None => {
                // What is read may be what an earlier write has renamed and could not make durable.
                dir.sync().map_err(|error| LogError::sync_dir(dir.display(), error))?;
                read = Self::read(dir, self.name)?.found;
                &read
            }
        };
        if !wanted(written) {
            return Ok(());
        }
        let mut now = written.clone();
        change(&mut now);
        self.write(dir, now)
    }
}

fn file_name<D: Dir>(dir: &D, name: &str) -> Result<FileName, LogError> {
    FileName::new(name).map_err(|error| LogError::io(Action::Open, dir.display(), error))
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use hanbeon_log::{CrashDir, Fault, FaultKind, Lasting, LogFile as _, MemDir, Open};
    use hanbeon_records::TopicName;

    use super::*;

    fn put(dir: &MemDir, name: &str, text: &str) {
        let file = dir.open(&FileName::new(name).unwrap(), Open::Create).unwrap();
        file.set_len(0).unwrap();
        file.write_at(&[IoSlice::new(text.as_bytes())], 0).unwrap();
    }

    fn partition(topic: &str, number: i32) -> TopicPartition {
        TopicPartition { topic: TopicName::new(topic).unwrap(), partition: number }
    }

    fn offsets(entries: &[(&str, i64)]) -> Offsets {
        let entry = |(topic, offset): &(&str, i64)| (partition(topic, 0), Offset::new(*offset));
        entries.iter().map(entry).collect()
    }

    fn recovery_points(dir: &MemDir) -> Offsets {
        CheckpointFiles::read(dir).unwrap().recovery_points.found
    }

    #[test]
    fn a_damaged_file_is_taken_for_empty_and_written_anew() {
        let dir = MemDir::new();
        put(&dir, checkpoint::RECOVERY_POINTS, "0\n1\na 0 17\n");
        put(&dir, checkpoint::LOG_STARTS, "0\n9\na 0 3\n");
        let mut files = CheckpointFiles::read(&dir).unwrap();
        let stood = Stood { recovery_point: Some(Offset::new(17)), ..Stood::default() };
        assert_eq!(files.stood(&partition("a", 0)), stood);
        let now = Checkpoints { recovery_points: offsets(&[("a", 17)]), ..Checkpoints::default() };
        files.write_positions(&dir, now).unwrap();
        let log_starts = FileName::new(checkpoint::LOG_STARTS).unwrap();
        assert_eq!(checkpoint::read_offsets(&dir, &log_starts).unwrap(), Offsets::new());
        assert_eq!(recovery_points(&dir), offsets(&[("a", 17)]));
    }

    #[test]
    fn a_recovery_point_is_taken_back_in_the_file_and_never_moved_on_by_that() {
        let dir = MemDir::new();
        put(&dir, checkpoint::RECOVERY_POINTS, "0\n2\na 0 17\nb 0 9\n");
        let mut files = CheckpointFiles::read(&dir).unwrap();
        for (topic, to) in [("a", 11), ("b", 12), ("c", 1)] {
            files.lower_recovery_point(&dir, &partition(topic, 0), Offset::new(to)).unwrap();
        }
        assert_eq!(recovery_points(&dir), offsets(&[("a", 11), ("b", 9)]));
        let stood = files.stood(&partition("a", 0)).recovery_point;
        assert_eq!(stood, Some(Offset::new(11)), "who writes before it counts as open");
    }

    #[test]
    fn what_is_struck_out_is_gone_from_the_file_even_where_its_last_write_failed() {
        let dir = MemDir::new();
        put(&dir, checkpoint::RECOVERY_POINTS, "0\n2\na 0 17\nb 0 9\n");
        let mut files = CheckpointFiles::read(&dir).unwrap();
        files.forget(&dir, &[partition("b", 0), partition("c", 0)]).unwrap();
        assert_eq!(recovery_points(&dir), offsets(&[("a", 17)]));
        assert_eq!(files.stood(&partition("b", 0)), Stood::default());
        // Nobody knows what a write that fails leaves.
        files.recovery_points.written = None;
        files.forget(&dir, &[partition("a", 0)]).unwrap();
        assert_eq!(recovery_points(&dir), Offsets::new());
    }

    /// L9: the second attempt finds the file as it should be, and not yet durable.
    #[test]
    fn l9_a_change_that_was_not_made_durable_is_when_it_is_tried_again() {
        for seed in 0..16 {
            let disk = CrashDir::new();
            let name = FileName::new(checkpoint::RECOVERY_POINTS).unwrap();
            checkpoint::write_offsets(&disk, &name, &offsets(&[("a", 17)])).unwrap();
            let mut files = CheckpointFiles::read(&disk).unwrap();
            let mut lower =
                || files.lower_recovery_point(&disk, &partition("a", 0), Offset::new(11));
            disk.inject(Fault { kind: FaultKind::DirClosed, after: 0, lasting: Lasting::Once });
            lower().unwrap_err();
            lower().unwrap();
            let files = CheckpointFiles::read(&disk.crash(seed)).unwrap();
            assert_eq!(files.recovery_points.found, offsets(&[("a", 11)]), "image {seed}");
        }
    }
}
