//! A broker on a directory of its own, and a client that writes every byte itself.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::{net::SocketAddr, time::Duration};

use bytes::{Buf, BufMut, Bytes};
use hanbeon::{Engine, Mode, NewTopic, Options};
use hanbeon_broker::{Broker, BrokerError, BrokerOptions, Limits};
use hanbeon_records::{BatchRef, crc32c, write_varint};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};

pub(crate) mod calls;

/// Long enough for any answer on a busy machine, short enough to fail a test that hangs.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const PRODUCE: i16 = 0;
pub(crate) const FETCH: i16 = 1;
pub(crate) const METADATA: i16 = 3;
pub(crate) const API_VERSIONS: i16 = 18;

pub(crate) struct Running {
    pub(crate) engine: Engine,
    pub(crate) address: SocketAddr,
    pub(crate) metrics: Option<SocketAddr>,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), BrokerError>>,
    home: TempDir,
}

impl Running {
    pub(crate) async fn standard() -> Self {
        Self::with(|options| options).await
    }

    pub(crate) async fn limited(limits: Limits) -> Self {
        Self::with(|options| options.limits(limits)).await
    }

    pub(crate) async fn with(change: impl FnOnce(BrokerOptions) -> BrokerOptions) -> Self {
        Self::on(Options::broker(), change).await
    }

    /// With a line of `server.properties`.
    pub(crate) async fn configured(key: &str, value: &str) -> Self {
        Self::on(Options::broker().set(key, value).unwrap(), |options| options).await
    }

    pub(crate) async fn on(
        options: Options,
        change: impl FnOnce(BrokerOptions) -> BrokerOptions,
    ) -> Self {
        let home = tempfile::tempdir().unwrap();
        let engine = Engine::open_with(home.path(), options.helpers(1)).unwrap();
        let options = change(BrokerOptions::new("127.0.0.1:0".parse().unwrap()));
        let broker = Broker::bind(engine.clone(), options).await.unwrap();
        let address = broker.local_address();
        let metrics = broker.metrics_address();
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(broker.serve_until(async move { drop(stopped.await) }));
        Self { engine, address, metrics, stop, served, home }
    }

    /// A topic with one partition that is open already.
    pub(crate) fn topic(&self, name: &str) {
        self.topic_with(name, &[]);
    }

    pub(crate) fn topic_with(&self, name: &str, config: &[(&str, &str)]) {
        let mut topic = NewTopic::new(name, 1);
        for (key, value) in config {
            topic = topic.config(*key, *value);
        }
        self.engine.create_topic(&topic, Mode::Apply).unwrap();
        self.engine.partition(name, 0).unwrap().open().unwrap();
    }

    pub(crate) async fn client(&self) -> Client {
        Client { stream: TcpStream::connect(self.address).await.unwrap() }
    }

    /// A client at an address of its own.
    pub(crate) async fn client_from(&self, address: &str) -> Client {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(address.parse().unwrap(), 0)).unwrap();
        Client { stream: socket.connect(self.address).await.unwrap() }
    }

    /// Ends, and gives the directory back.
    pub(crate) async fn stop(self) -> TempDir {
        self.stop.send(()).unwrap();
        timely(self.served).await.unwrap().unwrap();
        self.home
    }
}

/// What the page for Prometheus answers.
pub(crate) async fn http(page: SocketAddr, what: &str) -> String {
    let mut stream = TcpStream::connect(page).await.unwrap();
    let request = format!("{what} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    timely(stream.read_to_string(&mut response)).await.unwrap();
    response
}

/// The future's value, or a failed test.
pub(crate) async fn timely<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("nothing happened for a long time")
}

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
}

impl Client {
    pub(crate) async fn raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    pub(crate) async fn send(&mut self, api: i16, version: i16, id: i32, body: &[u8]) {
        self.raw(&request(api, version, id, body)).await;
    }

    /// The next answer, its correlation id checked and cut off.
    pub(crate) async fn answer(&mut self, id: i32) -> Bytes {
        let read = async {
            let length = self.stream.read_i32().await?;
            let mut bytes = vec![0; usize::try_from(length).unwrap()];
            self.stream.read_exact(&mut bytes).await.map(|_| bytes)
        };
        let mut answer = Bytes::from(timely(read).await.unwrap());
        assert_eq!(answer.get_i32(), id);
        answer
    }

    /// Asks for the versions and gets them: this connection works.
    pub(crate) async fn works(&mut self) {
        self.send(API_VERSIONS, 0, 4711, &[]).await;
        assert_eq!(self.answer(4711).await.get_i16(), 0);
    }

    /// Whether the broker keeps this new connection.
    pub(crate) async fn is_welcome(&mut self) -> bool {
        let sent = self.stream.write_all(&request(API_VERSIONS, 0, 1, &[])).await;
        sent.is_ok() && self.stream.read_i32().await.is_ok()
    }

    /// The broker closes the connection without another byte.
    pub(crate) async fn is_closed(&mut self) {
        let mut rest = Vec::new();
        // A reset is a close, too: the broker had not read everything.
        drop(timely(self.stream.read_to_end(&mut rest)).await);
        assert_eq!(rest, b"");
    }
}

/// A frame with a header of version 1.
pub(crate) fn request(api: i16, version: i16, id: i32, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.put_i16(api);
    frame.put_i16(version);
    frame.put_i32(id);
    text(&mut frame, "t");
    frame.put_slice(body);
    framed(&frame)
}

/// With its length in front.
pub(crate) fn framed(bytes: &[u8]) -> Vec<u8> {
    let mut frame = i32::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    frame.put_slice(bytes);
    frame
}

pub(crate) fn text(into: &mut Vec<u8>, text: &str) {
    into.put_i16(i16::try_from(text.len()).unwrap());
    into.put_slice(text.as_bytes());
}

/// A length, or a number of elements, of the flexible form.
pub(crate) fn put_compact(into: &mut Vec<u8>, count: usize) {
    let mut rest = count + 1;
    while rest >= 0x80 {
        into.put_u8(u8::try_from(rest & 0x7f).unwrap() | 0x80);
        rest >>= 7;
    }
    into.put_u8(u8::try_from(rest).unwrap());
}

pub(crate) fn put_compact_text(into: &mut Vec<u8>, text: &str) {
    put_compact(into, text.len());
    into.put_slice(text.as_bytes());
}

/// A Produce request of version 3 for partition 0.
pub(crate) fn produce(acks: i16, topic: &str, batch: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    body.put_i16(-1);
    body.put_i16(acks);
    body.put_i32(30_000);
    body.put_i32(1);
    text(&mut body, topic);
    body.put_i32(1);
    body.put_i32(0);
    body.put_i32(i32::try_from(batch.len()).unwrap());
    body.put_slice(batch);
    body
}

pub(crate) const OFFSET_COMMIT: i16 = 8;

/// A commit of version 2 for nobody in particular, of partition 0 of `t`.
pub(crate) fn offset_commit(group: &str, offset: i64, metadata: &str) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, group);
    body.put_i32(-1);
    text(&mut body, "");
    body.put_i64(-1);
    body.put_i32(1);
    text(&mut body, "t");
    body.put_i32(1);
    body.put_i32(0);
    body.put_i64(offset);
    text(&mut body, metadata);
    body
}

/// Error code and base offset of a Produce answer of version 3.
pub(crate) fn produced(mut answer: Bytes) -> (i16, i64) {
    assert_eq!(answer.get_i32(), 1);
    skip_text(&mut answer);
    assert_eq!((answer.get_i32(), answer.get_i32()), (1, 0));
    (answer.get_i16(), answer.get_i64())
}

/// How a Fetch request of version 11 is sent.
#[derive(Clone, Copy)]
pub(crate) struct FetchSpec<'a> {
    pub(crate) wait_ms: i32,
    pub(crate) session: (i32, i32),
    pub(crate) topic: Option<&'a str>,
    pub(crate) from: i64,
}

impl<'a> FetchSpec<'a> {
    /// Without a session and without waiting.
    pub(crate) const fn from(topic: &'a str, from: i64) -> Self {
        Self { wait_ms: 0, session: (0, -1), topic: Some(topic), from }
    }

    pub(crate) fn body(self) -> Vec<u8> {
        let mut body = Vec::new();
        body.put_i32(-1);
        body.put_i32(self.wait_ms);
        body.put_i32(1);
        body.put_i32(1 << 20);
        body.put_i8(0);
        body.put_i32(self.session.0);
        body.put_i32(self.session.1);
        body.put_i32(i32::from(self.topic.is_some()));
        if let Some(topic) = self.topic {
            text(&mut body, topic);
            body.put_i32(1);
            body.put_i32(0);
            body.put_i32(-1);
            body.put_i64(self.from);
            body.put_i64(-1);
            body.put_i32(1 << 20);
        }
        body.put_i32(0);
        text(&mut body, "");
        body
    }
}

/// What a Fetch answer of version 11 says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fetched {
    pub(crate) error: i16,
    pub(crate) session: i32,
    /// Of each partition that is in it: code, high watermark, values.
    pub(crate) partitions: Vec<(i16, i64, Vec<String>)>,
}

pub(crate) fn fetched(mut answer: Bytes) -> Fetched {
    assert_eq!(answer.get_i32(), 0, "nobody is throttled");
    let (error, session) = (answer.get_i16(), answer.get_i32());
    let mut partitions = Vec::new();
    for _topic in 0..answer.get_i32() {
        skip_text(&mut answer);
        for _partition in 0..answer.get_i32() {
            assert_eq!(answer.get_i32(), 0);
            let (code, high_watermark) = (answer.get_i16(), answer.get_i64());
            answer.advance(8 + 8);
            for _aborted in 0..answer.get_i32() {
                answer.advance(16);
            }
            answer.advance(4);
            let length = usize::try_from(answer.get_i32()).unwrap_or(0);
            partitions.push((code, high_watermark, values(&answer.split_to(length))));
        }
    }
    Fetched { error, session, partitions }
}

fn skip_text(answer: &mut Bytes) {
    let length = usize::try_from(answer.get_i16()).unwrap();
    answer.advance(length);
}

/// A batch of a producer without an id.
pub(crate) fn batch(values: &[&str]) -> Vec<u8> {
    batch_of((-1, -1, -1), values)
}

/// A batch of a producer: id, epoch, first sequence.
pub(crate) fn batch_of((id, epoch, sequence): (i64, i16, i32), values: &[&str]) -> Vec<u8> {
    let count = i32::try_from(values.len()).unwrap();
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let mut tail = Vec::new();
    tail.put_i16(0);
    tail.put_i32(count - 1);
    tail.put_i64(now);
    tail.put_i64(now);
    tail.put_i64(id);
    tail.put_i16(epoch);
    tail.put_i32(sequence);
    tail.put_i32(count);
    for (delta, value) in (0..).zip(values) {
        let mut record = vec![0, 0];
        write_varint(delta, &mut record);
        write_varint(-1, &mut record);
        write_varint(i32::try_from(value.len()).unwrap(), &mut record);
        record.put_slice(value.as_bytes());
        write_varint(0, &mut record);
        write_varint(i32::try_from(record.len()).unwrap(), &mut tail);
        tail.put_slice(&record);
    }
    let mut bytes = Vec::new();
    bytes.put_i64(0);
    bytes.put_i32(i32::try_from(tail.len() + 9).unwrap());
    bytes.put_i32(-1);
    bytes.put_i8(2);
    bytes.put_u32(crc32c(&tail));
    bytes.put_slice(&tail);
    bytes
}

/// The same batch inside a transaction.
pub(crate) fn transactional(mut batch: Vec<u8>) -> Vec<u8> {
    batch[22] |= 0x10;
    let checksum = crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&checksum.to_be_bytes());
    batch
}

fn values(mut batches: &[u8]) -> Vec<String> {
    let mut values = Vec::new();
    while !batches.is_empty() {
        let (batch, rest) = BatchRef::parse(batches).unwrap();
        batches = rest;
        for record in batch.records().unwrap() {
            values.push(String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap());
        }
    }
    values
}
