//! A server to measure: our broker or Apache Kafka, each in a process of its own.

use std::{
    fs, io,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use crate::{Client, Served};

/// A server that listens; ended when dropped.
#[derive(Debug)]
pub enum Peer {
    /// `hanbeon serve`.
    Ours(Served),
    /// Apache Kafka, by the script that starts it.
    Kafka(Kafka),
}

/// See [`Peer::kafka`].
#[derive(Debug)]
pub struct Kafka {
    script: PathBuf,
    home: PathBuf,
    address: String,
    process_id: u32,
}

impl Drop for Kafka {
    fn drop(&mut self) {
        // Gone already, or gone now.
        let (Ok(_) | Err(_)) = run(&self.script, &["stop".as_ref(), self.home.as_os_str()]);
    }
}

fn run(script: &Path, words: &[&std::ffi::OsStr]) -> io::Result<()> {
    let status = Command::new(script).args(words).stdout(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("{words:?}: {status}"))) }
}

impl Peer {
    /// Ours, on `home`.
    ///
    /// # Errors
    /// It does not start.
    pub fn ours(home: &Path) -> io::Result<Self> {
        Served::start(home).map(Self::Ours)
    }

    /// Apache Kafka on `home`, started by `script` (`tests/peers/kafka.sh`, from the root of the workspace).
    ///
    /// # Errors
    /// It does not start.
    pub fn kafka(script: &Path, home: &Path) -> io::Result<Self> {
        // Benches run in the folder of their package.
        let script = &Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(script);
        let port = free_ports()?.to_string();
        run(script, &["start".as_ref(), home.as_os_str(), port.as_ref()])?;
        let process_id = fs::read_to_string(home.join("pid"))?;
        let process_id = process_id.trim().parse().map_err(io::Error::other)?;
        let (script, home) = (script.to_owned(), home.to_owned());
        let address = format!("127.0.0.1:{port}");
        Ok(Self::Kafka(Kafka { script, home, address, process_id }))
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &str {
        match self {
            Self::Ours(served) => served.address(),
            Self::Kafka(kafka) => &kafka.address,
        }
    }

    /// A new connection.
    ///
    /// # Errors
    /// What the system reports.
    pub fn client(&self) -> io::Result<Client> {
        Client::connect(self.address())
    }

    /// Time of its threads on processors, from Linux' `/proc`. What a thread used that is gone is not in it.
    ///
    /// # Errors
    /// What the system reports.
    pub fn cpu(&self) -> io::Result<Duration> {
        let process_id = match self {
            Self::Ours(served) => served.process_id(),
            Self::Kafka(kafka) => kafka.process_id,
        };
        let mut sum = 0;
        for task in fs::read_dir(format!("/proc/{process_id}/task"))? {
            // A thread may be gone by now.
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
            sum += text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(Duration::from_nanos(sum))
    }
}

/// A port that is free, and so is the next one, for the controller.
fn free_ports() -> io::Result<u16> {
    loop {
        let first = TcpListener::bind("127.0.0.1:0")?;
        let port = first.local_addr()?.port();
        if TcpListener::bind(("127.0.0.1", port.saturating_add(1))).is_ok() {
            return Ok(port);
        }
    }
}
