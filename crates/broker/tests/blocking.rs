//! What waits for a lock leaves the threads of the runtime to all else.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that panics has found something"
)]

mod support;

use std::{
    net::SocketAddr,
    sync::{Arc, Condvar, Mutex, mpsc},
    time::Duration,
};

use bytes::{Buf, BufMut};
use hanbeon::{Engine, Env, Mode, NewTopic, Options, System};
use hanbeon_broker::{Broker, BrokerOptions};
use hanbeon_log::{FsDir, ReadMode};
use hanbeon_records::Millis;
use support::*;
use tokio::{net::TcpStream, runtime, sync::oneshot};

const LIST_OFFSETS: i16 = 2;
const CREATE_TOPICS: i16 = 19;
const INCREMENTAL_ALTER_CONFIGS: i16 = 44;

/// This process, where who draws chance waits while the gate is closed: a creation draws its topic's id with the lock on metadata in its hands.
#[derive(Clone, Debug)]
struct Gated {
    system: System,
    gate: Arc<Gate>,
}

#[derive(Debug, Default)]
struct Gate {
    closed: Mutex<bool>,
    opened: Condvar,
}

/// Opens the gate when it is dropped, so that a test that fails comes to its end.
struct Closed(Arc<Gate>);

impl Closed {
    fn new(gate: &Arc<Gate>) -> Self {
        *gate.closed.lock().unwrap() = true;
        Self(Arc::clone(gate))
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        *self.0.closed.lock().unwrap() = false;
        self.0.opened.notify_all();
    }
}

impl Env for Gated {
    type Dir = FsDir;

    fn now(&self) -> Millis {
        self.system.now()
    }

    fn monotonic(&self) -> Duration {
        self.system.monotonic()
    }

    fn random(&self) -> u64 {
        let closed = self.gate.closed.lock().unwrap();
        drop(self.gate.opened.wait_while(closed, |closed| *closed).unwrap());
        self.system.random()
    }
}

fn creation(topic: &str) -> Vec<u8> {
    let mut body = Vec::new();
    body.put_i32(1);
    text(&mut body, topic);
    body.put_i32(1);
    body.put_i16(1);
    body.put_i32(0);
    body.put_i32(0);
    body.put_i32(30_000);
    body.put_u8(0);
    body
}

fn alteration(topic: &str) -> Vec<u8> {
    let mut body = Vec::new();
    body.put_i32(1);
    body.put_i8(2);
    text(&mut body, topic);
    body.put_i32(1);
    text(&mut body, "retention.ms");
    body.put_i8(0);
    text(&mut body, "1000");
    body.put_u8(0);
    body
}

fn end_of(topic: &str) -> Vec<u8> {
    let mut body = Vec::new();
    body.put_i32(-1);
    body.put_i32(1);
    text(&mut body, topic);
    body.put_i32(1);
    body.put_i32(0);
    body.put_i64(-1);
    body
}

fn with_blocking_threads(count: usize) -> runtime::Runtime {
    let mut builder = runtime::Builder::new_multi_thread();
    builder.worker_threads(2).max_blocking_threads(count).enable_all().build().unwrap()
}

#[test]
fn changes_of_metadata_that_wait_for_a_slow_one_leave_threads_to_others() {
    with_blocking_threads(2).block_on(async {
        let home = tempfile::tempdir().unwrap();
        let gate = Arc::new(Gate::default());
        let env = Gated { system: System::new(), gate: Arc::clone(&gate) };
        let dir = FsDir::open(home.path(), ReadMode::Map).unwrap();
        let engine = Engine::open_in(env, dir, Options::broker().helpers(1)).unwrap();
        engine.create_topic(&NewTopic::new("t", 1), Mode::Apply).unwrap();
        engine.partition("t", 0).unwrap().open().unwrap();
        let local = "127.0.0.1:0".parse().unwrap();
        let options = BrokerOptions::new(local).metrics(local);
        let broker = Broker::bind(engine, options).await.unwrap();
        let (address, page) = (broker.local_address(), broker.metrics_address().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(broker.serve_until(async move { drop(stopped.await) }));
        let client = async || Client { stream: TcpStream::connect(address).await.unwrap() };

        let closed = Closed::new(&gate);
        let mut slow = client().await;
        slow.send(CREATE_TOPICS, 2, 1, &creation("u")).await;
        begun(page, "CreateTopics", 1).await;
        let mut waiting = Vec::new();
        for _ in 0..3 {
            let mut one = client().await;
            one.send(INCREMENTAL_ALTER_CONFIGS, 0, 1, &alteration("t")).await;
            waiting.push(one);
        }
        begun(page, "IncrementalAlterConfigs", 3).await;
        let mut other = client().await;
        other.send(LIST_OFFSETS, 1, 1, &end_of("t")).await;
        let mut answer = other.answer(1).await;
        // One topic, its name, one partition, which.
        answer.advance(4 + 3 + 4 + 4);
        assert_eq!((answer.get_i16(), answer.get_i64(), answer.get_i64()), (0, -1, 0));

        drop(closed);
        slow.answer(1).await;
        for mut one in waiting {
            let mut answer = one.answer(1).await;
            assert_eq!(answer.get_i32(), 0, "nobody is throttled");
            assert_eq!((answer.get_i32(), answer.get_i16()), (1, 0));
        }
        stop.send(()).unwrap();
        timely(served).await.unwrap().unwrap();
    });
}

/// Waits until so many requests of a kind were begun.
async fn begun(page: SocketAddr, api: &str, count: usize) {
    let line =
        format!("kafka_network_requestmetrics_requests_total{{request=\"{api}\"}} {count}\n");
    while !http(page, "GET /metrics").await.contains(&line) {}
}

#[test]
fn a_shutdown_needs_no_thread_of_the_runtime() {
    with_blocking_threads(1).block_on(async {
        let broker = Running::standard().await;
        let (end, ends) = mpsc::channel::<()>();
        let taken = tokio::task::spawn_blocking(move || ends.recv().is_err());
        broker.stop().await;
        drop(end);
        assert!(taken.await.unwrap());
    });
}
