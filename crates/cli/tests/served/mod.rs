//! The real binary on a directory, as a child process that can be killed.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::{
    fs::File,
    io::{BufRead, BufReader, Read as _, Seek as _},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

/// `hanbeon serve`; killed when it is dropped, and looked at for a panic: clients hide one by trying again.
pub(crate) struct Served {
    child: Child,
    log: Option<File>,
    pub(crate) address: SocketAddr,
}

impl Served {
    /// Starts it and waits until it says that it listens. It keeps its log to itself unless `RUST_LOG` asks for it.
    pub(crate) fn start(dir: &Path, listen: &str, settings: &[&str]) -> Self {
        if std::env::var_os("RUST_LOG").is_some() {
            return Self::start_with(dir, listen, settings, Stdio::inherit());
        }
        let log = tempfile::tempfile().unwrap();
        let mut served = Self::start_with(dir, listen, settings, log.try_clone().unwrap().into());
        served.log = Some(log);
        served
    }

    fn start_with(dir: &Path, listen: &str, settings: &[&str], log: Stdio) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hanbeon"));
        command.arg("serve").arg("--data-dir").arg(dir).args(["--listen", listen]);
        for setting in settings {
            command.args(["--set", setting]);
        }
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("hanbeon listening on ");
        let address = address.unwrap_or_else(|| panic!("it said {line:?}")).parse().unwrap();
        Self { child, log: None, address }
    }

    /// Starts it, and reads neither its output nor its log after the line that says that it listens.
    pub(crate) fn unread(dir: &Path) -> Self {
        let mut served = Self::start_with(dir, "127.0.0.1:0", &[], Stdio::piped());
        drop(served.child.stderr.take());
        served
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and how it ended.
    pub(crate) fn terminate(mut self) -> ExitStatus {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).unwrap();
        self.child.wait().unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
        let mut said = Vec::new();
        if let Some(log) = &mut self.log {
            log.rewind().unwrap();
            log.read_to_end(&mut said).unwrap();
        }
        let said = String::from_utf8_lossy(&said);
        assert!(!said.contains("panicked") || std::thread::panicking(), "{said}");
    }
}

/// Numbers from a seed (splitmix64), which is printed with the command that repeats them.
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(test: &str) -> Self {
        let given = std::env::var("SEED").ok().map(|seed| seed.parse().unwrap());
        let seed = given.unwrap_or_else(|| {
            u64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() % (1 << 60)).unwrap()
        });
        eprintln!(
            "replay: SEED={seed} cargo test -p hanbeon-cli --test {} {test} -- --nocapture",
            env!("CARGO_CRATE_NAME")
        );
        Self(seed)
    }

    /// Below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}
