//! Leader epochs: what the file says, and what the batches say.

use hanbeon_records::{LeaderEpoch, Offset};

use super::{Defect, Finding};
use crate::{
    Dir, EpochsChanged, FileName, LeaderEpochs, LogError, checkpoint::read_small, error::Action,
    leader_epochs::FILE_NAME,
};

/// Epochs while a log is walked.
#[derive(Debug)]
pub(super) struct Epochs {
    listed: Listed,
    seen: LeaderEpochs,
    /// The first batch that the file does not account for.
    unlisted: Option<(LeaderEpoch, Offset)>,
}

/// What the file came to.
#[derive(Debug)]
enum Listed {
    Known(LeaderEpochs),
    Missing,
    Damaged(Finding),
}

impl Epochs {
    pub(super) fn read<D: Dir>(dir: &D) -> Result<Self, LogError> {
        let name = FileName::new(FILE_NAME)
            .map_err(|error| LogError::io(Action::Open, dir.display(), error))?;
        let listed = match read_small(dir, &name) {
            Ok(Some(bytes)) => match LeaderEpochs::parse(&bytes) {
                Ok(epochs) => Listed::Known(epochs),
                Err(error) => Listed::Damaged(Finding::new(FILE_NAME, 0, error)),
            },
            Ok(None) => Listed::Missing,
            Err(LogError::Corrupt(found)) => {
                Listed::Damaged(Finding::new(FILE_NAME, found.at, found.damage))
            }
            Err(error) => return Err(error),
        };
        Ok(Self { listed, seen: LeaderEpochs::new(), unlisted: None })
    }

    /// Whether the file says that the leader of `epoch` wrote `offset`.
    pub(super) fn allow(&self, epoch: LeaderEpoch, offset: Offset) -> bool {
        match &self.listed {
            Listed::Known(listed) => listed.allow(epoch, offset),
            Listed::Missing | Listed::Damaged(_) => false,
        }
    }

    /// Takes up a batch.
    pub(super) fn follow(&mut self, epoch: LeaderEpoch, offset: Offset) {
        if epoch < LeaderEpoch::new(0) {
            return;
        }
        if self.seen.latest().is_none_or(|last| last.epoch < epoch) {
            let (EpochsChanged::Yes | EpochsChanged::No) = self.seen.assign(epoch, offset);
            if let Listed::Known(listed) = &self.listed
                && self.unlisted.is_none()
                && listed.entries().binary_search_by_key(&epoch, |entry| entry.epoch).is_err()
                // A later leader of a lower epoch takes it out.
                && listed.next_above(offset).is_none_or(|next| next.epoch > epoch)
            {
                self.unlisted = Some((epoch, offset));
            }
        }
    }

    /// The epochs of the file, or where it is no good those of the batches, and what is wrong with it. Batches below `log_start` may
    /// be of epochs that were forgotten.
    pub(super) fn finish(self, log_start: Offset) -> (LeaderEpochs, Option<Finding>) {
        match self.listed {
            Listed::Damaged(finding) => (self.seen, Some(finding)),
            Listed::Missing => {
                let needed = !self.seen.entries().is_empty();
                (self.seen, needed.then(|| Finding::new(FILE_NAME, 0, Defect::Missing)))
            }
            Listed::Known(listed) => {
                let unlisted = self.unlisted.filter(|(_, offset)| *offset >= log_start);
                let finding = unlisted.map(|(epoch, offset)| {
                    Finding::new(FILE_NAME, 0, Defect::EpochNotListed { epoch, offset })
                });
                (listed, finding)
            }
        }
    }
}
