//! A broker in a process of its own, and a client that writes every byte itself.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

/// How long a client waits for an answer, in milliseconds.
pub(crate) const PATIENCE_MS: i32 = 30_000;

/// A `hanbeon serve` that listens; killed when dropped.
#[derive(Debug)]
pub struct Served {
    child: Child,
    address: String,
    /// Kept, so that the broker can write to it.
    _out: BufReader<ChildStdout>,
}

impl Served {
    /// Starts one on `home` and a free port, and waits for its line.
    ///
    /// # Errors
    /// It cannot be started or ends without the line; `HANBEON` names another binary than that of the release build.
    pub fn start(home: &Path) -> io::Result<Self> {
        let mut child = Command::new(binary())
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(home)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let out = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut out = BufReader::new(out);
        let mut line = String::new();
        out.read_line(&mut line)?;
        let address = line.trim().rsplit(' ').next().unwrap_or_default().to_owned();
        if !address.contains(':') {
            return Err(io::Error::other(format!("no address in {line:?}")));
        }
        Ok(Self { child, address, _out: out })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its process.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// A new connection.
    ///
    /// # Errors
    /// What the system reports.
    pub fn client(&self) -> io::Result<Client> {
        Client::connect(&self.address)
    }

    /// Anonymous memory in KiB, from Linux' `/proc`.
    ///
    /// # Errors
    /// What the system reports.
    pub fn anonymous_kib(&self) -> io::Result<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let number = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        number.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// SIGKILL, and waits until it is gone.
    ///
    /// # Errors
    /// What the system reports.
    pub fn kill(mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Gone already, or gone now.
        let (Ok(()) | Err(_)) = self.child.kill();
        let (Ok(_) | Err(_)) = self.child.wait();
    }
}

/// `HANBEON`, or what `cargo build --release -p hanbeon-cli` made beside this bench.
fn binary() -> PathBuf {
    let built = || {
        let mut path = std::env::current_exe().unwrap_or_default();
        // target/release/deps/NAME
        path.pop();
        path.pop();
        path.join("hanbeon")
    };
    std::env::var_os("HANBEON").map_or_else(built, PathBuf::from)
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
}

impl Client {
    /// A new connection.
    ///
    /// # Errors
    /// What the system reports.
    pub fn connect(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream })
    }

    /// Asks for a topic, which makes it (`Metadata` 4).
    ///
    /// # Errors
    /// What the system reports.
    pub fn make_topic(&mut self, name: &str) -> io::Result<()> {
        let mut body = 1_i32.to_be_bytes().to_vec();
        put_text(&mut body, name);
        body.push(1);
        self.ask(3, 4, &body).map(drop)
    }

    /// Produces one batch with acks=1 (`Produce` 3); its error code.
    ///
    /// # Errors
    /// What the system reports, and an answer that is too short.
    pub fn produce(&mut self, topic: &str, batch: &[u8]) -> io::Result<i16> {
        let mut body = (-1_i16).to_be_bytes().to_vec();
        body.extend(1_i16.to_be_bytes());
        body.extend(PATIENCE_MS.to_be_bytes());
        put_partition(&mut body, topic);
        body.extend(len(batch.len()).to_be_bytes());
        body.extend(batch);
        // Topics, name, partitions, index; then the code.
        error_code(&self.ask(0, 3, &body)?, 4 + 2 + topic.len() + 4 + 4)
    }

    /// Fetches from `from` on, at least a batch (`Fetch` 4); error code and bytes of records.
    ///
    /// # Errors
    /// What the system reports, and an answer that is too short.
    pub fn fetch(&mut self, topic: &str, from: i64) -> io::Result<(i16, usize)> {
        let mut body = (-1_i32).to_be_bytes().to_vec();
        body.extend(PATIENCE_MS.to_be_bytes());
        body.extend(1_i32.to_be_bytes());
        body.extend((1_i32 << 20).to_be_bytes());
        body.push(0);
        put_partition(&mut body, topic);
        body.extend(from.to_be_bytes());
        body.extend((1_i32 << 20).to_be_bytes());
        let answer = self.ask(1, 4, &body)?;
        // Throttle time, topics, name, partitions, index.
        let code = error_code(&answer, 4 + 4 + 2 + topic.len() + 4 + 4)?;
        Ok((code, answer.len()))
    }

    /// Asks with the header of the older versions; the answer without its header.
    pub(crate) fn ask(&mut self, api: i16, version: i16, body: &[u8]) -> io::Result<Vec<u8>> {
        let mut answer = self.exchange(api, version, body)?;
        answer.drain(..4.min(answer.len()));
        Ok(answer)
    }

    /// The same in the versions that have tagged fields, which neither header makes use of.
    pub(crate) fn ask_flexibly(
        &mut self,
        api: i16,
        version: i16,
        body: &[u8],
    ) -> io::Result<Vec<u8>> {
        let mut tagged = Vec::with_capacity(1 + body.len());
        tagged.push(0);
        tagged.extend(body);
        let mut answer = self.exchange(api, version, &tagged)?;
        answer.drain(..5.min(answer.len()));
        Ok(answer)
    }

    fn exchange(&mut self, api: i16, version: i16, body: &[u8]) -> io::Result<Vec<u8>> {
        // API, version, correlation id, no client id.
        let mut frame = Vec::with_capacity(14 + body.len());
        frame.extend(len(10 + body.len()).to_be_bytes());
        frame.extend(api.to_be_bytes());
        frame.extend(version.to_be_bytes());
        frame.extend(7_i32.to_be_bytes());
        frame.extend((-1_i16).to_be_bytes());
        frame.extend(body);
        self.stream.write_all(&frame)?;
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = usize::try_from(i32::from_be_bytes(length)).map_err(io::Error::other)?;
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer)?;
        Ok(answer)
    }
}

fn len(bytes: usize) -> i32 {
    i32::try_from(bytes).unwrap_or(i32::MAX)
}

pub(crate) fn put_text(into: &mut Vec<u8>, text: &str) {
    into.extend(i16::try_from(text.len()).unwrap_or(i16::MAX).to_be_bytes());
    into.extend(text.as_bytes());
}

/// One topic with partition 0.
fn put_partition(into: &mut Vec<u8>, topic: &str) {
    into.extend(1_i32.to_be_bytes());
    put_text(into, topic);
    into.extend(1_i32.to_be_bytes());
    into.extend(0_i32.to_be_bytes());
}

pub(crate) fn error_code(answer: &[u8], at: usize) -> io::Result<i16> {
    let bytes = answer.get(at..).and_then(<[u8]>::first_chunk);
    bytes.map(|code| i16::from_be_bytes(*code)).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}
