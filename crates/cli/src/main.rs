//! The `hanbeon` command.
//!
//! Exit status: 0 done, 1 the thing looked at is damaged or the work failed, 2 wrong usage.
#![forbid(unsafe_code)]

mod dump;
mod properties;
mod serve;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

/// Kafka's exactly-once semantics in one file: a broker, and tools for the directories it writes.
#[derive(Debug, Parser)]
#[command(name = "hanbeon", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a broker on a data directory until SIGTERM or Ctrl-C.
    Serve(serve::Serve),
    /// Shows what lies in files and partition directories of a log, Kafka's or ours, and says what is damaged.
    Dump(dump::Dump),
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        // --help and --version arrive here, too, and are not wrong usage.
        Err(told) => {
            let code = if told.use_stderr() { 2 } else { 0 };
            // Nobody is left to tell when this fails.
            drop(told.print());
            return ExitCode::from(code);
        }
    };
    match arguments.command {
        Command::Serve(serve) => serve.run(),
        Command::Dump(dump) => dump.run(),
    }
}

/// Says on standard error what went wrong, with all that led to it.
fn complain(error: &dyn std::error::Error) {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = inner.source();
    }
    // Nobody is left to tell when this fails.
    drop(writeln!(io::stderr(), "hanbeon: {text}"));
}
