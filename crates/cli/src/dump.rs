//! `hanbeon dump`: shows what lies in files and directories of a log, and says what is wrong with them.
//!
//! Reads only. On standard output is nothing but what was asked for, so that it pipes.

mod files;
mod hash;
mod json;
mod partition;
mod progress;
mod text;
mod time;

use std::{
    fs,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use hanbeon_log::{
    FileName, FsDir, LogError, ReadMode,
    inspect::{Finding, InspectError, is_partition},
};

use crate::complain;
use files::Kind;

/// Arguments of `hanbeon dump`.
#[derive(Debug, Args)]
pub(crate) struct Dump {
    /// Prints JSON: of a file one object per batch or entry, each on a line; of a directory one object
    #[arg(long)]
    json: bool,
    /// Where the checkpoint files are that name the partition [default: the directory above the partition's]
    #[arg(long, value_name = "DIR")]
    checkpoints: Option<PathBuf>,
    /// A segment, index, snapshot or checkpoint, or the directory of a partition
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

/// How the output looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Text,
    Json,
}

/// What a path stands for.
#[derive(Debug)]
enum Target {
    File { dir: FsDir, name: FileName, kind: Kind },
    Partition { dir: FsDir, beside: FsDir, name: String },
}

/// Whether all was as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
enum Health {
    Sound,
    Damaged,
}

/// Why nothing, or not everything, was shown.
#[derive(Debug, thiserror::Error)]
enum DumpError {
    #[error("{path} cannot be opened")]
    Open { path: String, source: io::Error },
    #[error(
        "{path} is none of: a segment (.log), an index (.index, .timeindex, .txnindex), a snapshot (.snapshot, .producers), a checkpoint, partition.metadata, the directory of a partition"
    )]
    Unknown { path: String },
    #[error(
        "{path} is a directory that holds no partition; name the directory of a partition in it"
    )]
    NoPartition { path: String },
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("standard output takes no more")]
    Output(#[from] io::Error),
}

impl From<InspectError> for DumpError {
    fn from(error: InspectError) -> Self {
        match error {
            InspectError::Log(error) => Self::Log(error),
            InspectError::Visitor(error) => Self::Output(error),
            other => Self::Output(io::Error::other(other)),
        }
    }
}

impl Health {
    const fn of(findings: &[Finding]) -> Self {
        if findings.is_empty() { Self::Sound } else { Self::Damaged }
    }

    const fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Sound, Self::Sound) => Self::Sound,
            (Self::Damaged, _) | (_, Self::Damaged) => Self::Damaged,
        }
    }
}

impl Dump {
    pub(crate) fn run(self) -> ExitCode {
        let targets: Result<Vec<Target>, DumpError> =
            self.paths.iter().map(|path| self.target(path)).collect();
        let targets = match targets {
            Ok(targets) => targets,
            Err(error) => {
                complain(&error);
                return ExitCode::from(2);
            }
        };
        match self.show(&targets) {
            Ok(Health::Sound) => ExitCode::SUCCESS,
            Ok(Health::Damaged) => ExitCode::from(1),
            // Whoever reads the pipe has seen enough.
            Err(DumpError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                ExitCode::SUCCESS
            }
            Err(error) => {
                complain(&error);
                ExitCode::from(1)
            }
        }
    }

    fn show(&self, targets: &[Target]) -> Result<Health, DumpError> {
        let mut out = BufWriter::new(io::stdout().lock());
        let form = if self.json { Form::Json } else { Form::Text };
        let mut health = Health::Sound;
        for (place, target) in targets.iter().enumerate() {
            if place > 0 && form == Form::Text {
                writeln!(out)?;
            }
            health = health.and(match target {
                Target::File { dir, name, kind } => files::show(dir, name, *kind, form, &mut out)?,
                Target::Partition { dir, beside, name } => {
                    partition::show(dir, beside, name, form, &mut out)?
                }
            });
        }
        out.flush()?;
        Ok(health)
    }

    fn target(&self, path: &Path) -> Result<Target, DumpError> {
        let failed = |source| DumpError::Open { path: path.display().to_string(), source };
        // Where a link leads is what counts; the name in the log's directory tells what it is.
        let real = fs::canonicalize(path).map_err(failed)?;
        let unknown = || DumpError::Unknown { path: path.display().to_string() };
        let name = real.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let open = |path: &Path| FsDir::open(path, ReadMode::Pread).map_err(failed);
        let above = real.parent().unwrap_or(&real);
        if real.is_dir() {
            let dir = open(&real)?;
            if !is_partition(&dir)? {
                return Err(DumpError::NoPartition { path: path.display().to_string() });
            }
            let beside = match &self.checkpoints {
                Some(beside) => FsDir::open(beside, ReadMode::Pread).map_err(|source| {
                    DumpError::Open { path: beside.display().to_string(), source }
                })?,
                None => open(above)?,
            };
            return Ok(Target::Partition { dir, beside, name: name.to_owned() });
        }
        let kind = Kind::of(name).ok_or_else(unknown)?;
        let dir = open(above)?;
        let name = FileName::new(name).map_err(failed)?;
        Ok(Target::File { dir, name, kind })
    }
}
