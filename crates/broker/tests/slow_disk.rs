//! A disk that holds up writes holds up who writes to it, and nobody else (one worker serves all connections here).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::{
    fmt, io,
    io::IoSlice,
    net::SocketAddr,
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc::channel,
    },
    time::Duration,
};

use bytes::{Buf, BufMut, Bytes};
use hanbeon::{
    Acks, Engine, Manual, MarkerRequest, Mode, NewTopic, Options, TopicName, TopicPartition,
    txn::{AddPartitions, InitProducerId, Outcome, Producer, Protocol, TransactionalId},
};
use hanbeon_broker::{Broker, BrokerError, BrokerOptions};
use hanbeon_log::{Dir, Entry, FileName, LogFile, MemDir, Open};
use hanbeon_records::{CoordinatorEpoch, Millis};
use hanbeon_wire::messages::{
    add_partitions_to_txn, consumer_group_describe as describe, consumer_group_heartbeat as beat,
    delete_groups, describe_groups, end_txn, heartbeat, init_producer_id, join_group, leave_group,
    offset_commit, offset_fetch, sync_group, text, txn_offset_commit, write_txn_markers,
};
use tokio::{io::AsyncWriteExt, net::TcpStream, sync::oneshot, task::JoinHandle};

mod support;

use support::{
    Client, PRODUCE, batch, batch_of,
    calls::{Call, ask, body, heard, send},
    produce, produced, put_compact, put_compact_text, timely, transactional,
};

const CONCURRENT_TRANSACTIONS: i16 = 51;
/// After which a write that nobody lets go on gives up, and the test fails.
const PATIENCE: Duration = Duration::from_secs(10);

/// What befalls the next write into the log of a partition, or the next opening of it.
#[derive(Default)]
struct Disk {
    next: Mutex<Option<(&'static str, Act)>>,
}

type Act = Box<dyn FnOnce() + Send>;

impl Disk {
    fn befalls(&self, partition: &'static str, act: impl FnOnce() + Send + 'static) {
        *self.next.lock().unwrap() = Some((partition, Box::new(act)));
    }

    fn touched(&self, dir: &str) {
        let act = self.next.lock().unwrap().take_if(|(partition, _)| dir.ends_with(*partition));
        if let Some((_, act)) = act {
            act();
        }
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disk")
    }
}

#[derive(Clone, Debug)]
struct Stalling {
    dir: MemDir,
    disk: Arc<Disk>,
}

#[derive(Debug)]
struct StallingFile {
    file: <MemDir as Dir>::File,
    dir: String,
    disk: Option<Arc<Disk>>,
}

impl Dir for Stalling {
    type File = StallingFile;
    type Lock = <MemDir as Dir>::Lock;

    fn open(&self, name: &FileName, how: Open) -> io::Result<StallingFile> {
        let dir = self.dir.display();
        let log = name.as_str().ends_with(".log");
        let disk = log.then(|| Arc::clone(&self.disk));
        if log {
            self.disk.touched(&dir);
        }
        Ok(StallingFile { file: self.dir.open(name, how)?, dir, disk })
    }

    fn rename(&self, from: &FileName, to: &FileName) -> io::Result<()> {
        self.dir.rename(from, to)
    }

    fn remove(&self, name: &FileName) -> io::Result<()> {
        self.dir.remove(name)
    }

    fn list(&self) -> io::Result<Vec<Entry>> {
        self.dir.list()
    }

    fn sync(&self) -> io::Result<()> {
        self.dir.sync()
    }

    fn create_dir(&self, name: &FileName) -> io::Result<Self> {
        Ok(Self { dir: self.dir.create_dir(name)?, ..self.clone() })
    }

    fn dir(&self, name: &FileName) -> io::Result<Self> {
        Ok(Self { dir: self.dir.dir(name)?, ..self.clone() })
    }

    fn lock(&self, name: &FileName) -> io::Result<Self::Lock> {
        self.dir.lock(name)
    }

    fn display(&self) -> String {
        self.dir.display()
    }
}

impl LogFile for StallingFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        self.file.read_at(into, at)
    }

    fn view(&self, range: Range<u64>) -> io::Result<Bytes> {
        self.file.view(range)
    }

    fn write_at(&self, slices: &[IoSlice<'_>], at: u64) -> io::Result<()> {
        if let Some(disk) = &self.disk {
            disk.touched(&self.dir);
        }
        self.file.write_at(slices, at)
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        self.file.reserve(len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

/// A broker in one thread, on such a disk, with the topics `good`, `bad` and `shut`; nobody has opened the last. Its coordinators have one log each.
struct World {
    env: Manual<Stalling>,
    disk: Arc<Disk>,
    engine: Engine<Manual<Stalling>>,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), BrokerError>>,
}

impl World {
    /// With a setting of the topic `bad`.
    async fn with(setting: Option<(&str, &str)>) -> Self {
        let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
        let (env, disk) = (Manual::new(Millis::new(now), 7), Arc::<Disk>::default());
        let dir = Stalling { dir: MemDir::new(), disk: Arc::clone(&disk) };
        let one = |options: Options, key| options.set(key, "1").unwrap();
        let options = one(Options::broker(), "transaction.state.log.num.partitions");
        let options = one(options, "offsets.topic.num.partitions");
        let engine = Engine::open_in(env.clone(), dir, options).unwrap();
        let bad = setting.into_iter().fold(NewTopic::new("bad", 1), |bad, (k, v)| bad.config(k, v));
        for topic in [NewTopic::new("good", 1), bad, NewTopic::new("shut", 1)] {
            engine.create_topic(&topic, Mode::Apply).unwrap();
        }
        for topic in ["good", "bad"] {
            engine.partition(topic, 0).unwrap().open().unwrap();
        }
        let options = BrokerOptions::new("127.0.0.1:0".parse().unwrap());
        let broker = Broker::bind(engine.clone(), options).await.unwrap();
        let address = broker.local_address();
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(broker.serve_until(async move { drop(stopped.await) }));
        Self { env, disk, engine, address, stop, served }
    }

    async fn new() -> Self {
        Self::with(None).await
    }

    async fn client(&self) -> Client {
        Client { stream: TcpStream::connect(self.address).await.unwrap() }
    }

    /// The next write into the log takes long: nobody could know of that.
    fn is_to_be_slow(&self, partition: &'static str) {
        let env = self.env.clone();
        self.disk.befalls(partition, move || env.advance(50));
    }

    /// Somebody writes to `bad`, and that takes long.
    fn make_bad_slow(&self) {
        self.is_to_be_slow("bad-0");
        let bad = self.engine.partition("bad", 0).unwrap();
        drop(bad.produce(batch(&["v"]).into(), Acks::Leader));
        assert!(bad.is_slow());
    }

    /// The log of all groups.
    fn offsets(&self) -> TopicPartition {
        self.engine.groups().partition_of("g").unwrap()
    }

    /// Somebody has a transaction with these partitions.
    async fn transaction(&self, partitions: &[TopicPartition]) -> Producer {
        let transactions = self.engine.transactions();
        let init = InitProducerId::new(id(), 60_000);
        let producer = transactions.init_producer_id(init).await.unwrap();
        let partitions = partitions.to_vec();
        let add = AddPartitions { id: id(), producer, partitions, protocol: Protocol::V1 };
        transactions.add_partitions(add).await.unwrap();
        producer
    }

    /// A request comes to a log which holds it up. Another connection is served meanwhile; then the answer to the first.
    async fn holds_up_nobody_else<R: Call>(
        &self,
        partition: &'static str,
        version: i16,
        request: R,
    ) -> R::Response {
        let mut one = self.client().await;
        self.serves_others_while(partition, send(&mut one, version, &request), async {}).await;
        heard::<R>(&mut one, version).await
    }

    /// The same for what is `sent`, and for what comes `behind` it once that is held up.
    async fn serves_others_while(
        &self,
        partition: &'static str,
        sent: impl Future<Output = ()>,
        behind: impl Future<Output = ()>,
    ) {
        let mut other = self.client().await;
        let ((go_on, held), (begun, begins)) = (channel(), oneshot::channel());
        let gave_up = Arc::new(AtomicBool::new(false));
        let noted = Arc::clone(&gave_up);
        self.disk.befalls(partition, move || {
            begun.send(()).unwrap();
            noted.store(held.recv_timeout(PATIENCE).is_err(), Ordering::SeqCst);
        });
        sent.await;
        timely(begins).await.unwrap();
        behind.await;
        produce_to(&mut other, "good").await;
        assert_eq!(produced(other.answer(1).await).0, 0);
        assert!(!gave_up.load(Ordering::SeqCst), "who needs another log had to wait for this one");
        go_on.send(()).unwrap();
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        timely(self.served).await.unwrap().unwrap();
        self.engine.shutdown().unwrap();
    }
}

fn id() -> TransactionalId {
    TransactionalId::new("tx").unwrap()
}

fn at(topic: &str) -> TopicPartition {
    TopicPartition { topic: TopicName::new(topic).unwrap(), partition: 0 }
}

fn commit(producer: Producer) -> end_txn::Request {
    end_txn::Request {
        transactional_id: text("tx"),
        producer_id: producer.id.get(),
        producer_epoch: producer.epoch.get(),
        committed: true,
        ..Default::default()
    }
}

fn abort_on(topic: &str, producer: Producer) -> write_txn_markers::Request {
    let topic = write_txn_markers::WritableTxnMarkerTopic {
        name: text(topic),
        partition_indexes: vec![0],
        ..Default::default()
    };
    let marker = write_txn_markers::WritableTxnMarker {
        producer_id: producer.id.get(),
        producer_epoch: producer.epoch.get(),
        topics: vec![topic],
        coordinator_epoch: -1,
        ..Default::default()
    };
    write_txn_markers::Request { markers: vec![marker], ..Default::default() }
}

async fn produce_to(client: &mut Client, topic: &str) {
    client.send(PRODUCE, 3, 1, &produce(1, topic, &batch(&["v"]))).await;
}

/// A Produce request of version 12, flexible, for partition 0: it makes the partition part of the transaction.
fn produce_in_transaction(topic: &str, batch: &[u8]) -> Vec<u8> {
    // No tags in the header.
    let mut body = vec![0];
    put_compact_text(&mut body, "tx");
    body.put_i16(1);
    body.put_i32(30_000);
    put_compact(&mut body, 1);
    put_compact_text(&mut body, topic);
    put_compact(&mut body, 1);
    body.put_i32(0);
    put_compact(&mut body, batch.len());
    body.put_slice(batch);
    body.put_slice(&[0, 0, 0]);
    body
}

#[tokio::test]
async fn a_partition_whose_writes_are_held_up_holds_up_no_other_connection() {
    let world = World::new().await;
    let bad = world.engine.partition("bad", 0).unwrap();
    let mut one = world.client().await;
    world.is_to_be_slow("bad-0");
    produce_to(&mut one, "bad").await;
    assert_eq!(produced(one.answer(1).await), (0, 0));
    assert!(bad.is_slow());

    let mut third = world.client().await;
    let sent = async {
        // The second stands behind the first, and is not written before it.
        produce_to(&mut one, "bad").await;
        produce_to(&mut one, "bad").await;
        // Nor does who only leaves a write to the one that is held make the disk a fast one.
        produce_to(&mut third, "bad").await;
    };
    world.serves_others_while("bad-0", sent, async {}).await;
    let mut offsets = Vec::new();
    for client in [&mut one, &mut third] {
        let (code, offset) = produced(client.answer(1).await);
        assert_eq!(code, 0);
        offsets.push(offset);
    }
    let (code, last) = produced(one.answer(1).await);
    assert_eq!(code, 0);
    assert!(offsets[0] < last, "the second stood behind the first");
    offsets.push(last);
    offsets.sort_unstable();
    assert_eq!(offsets, [1, 2, 3]);
    assert!(!bad.is_slow(), "it is fast again");
    world.stop().await;
}

/// It is written when the coordinator's word is on the disk, which this topic asks for.
#[tokio::test]
async fn a_batch_of_a_transaction_that_is_held_up_holds_up_no_other_connection() {
    let world = World::with(Some(("flush.messages", "1"))).await;
    let producer = world.transaction(&[at("good")]).await;
    world.make_bad_slow();
    let stamp = (producer.id.get(), producer.epoch.get(), 0);
    let batch = transactional(batch_of(stamp, &["v"]));
    let mut one = world.client().await;
    let request = produce_in_transaction("bad", &batch);
    world.serves_others_while("bad-0", one.send(PRODUCE, 12, 1, &request), async {}).await;
    let mut answer = one.answer(1).await;
    // No tags in the header, one topic of three letters with one partition, 0.
    assert_eq!(answer.split_to(11)[..], *b"\0\x02\x04bad\x02\0\0\0\0");
    assert_eq!((answer.get_i16(), answer.get_i64()), (0, 1));
    world.stop().await;
}

#[tokio::test]
async fn the_end_of_a_transaction_whose_marker_is_held_up_holds_up_no_other_connection() {
    let world = World::new().await;
    let producer = world.transaction(&[at("bad")]).await;
    world.make_bad_slow();
    let answer = world.holds_up_nobody_else("bad-0", 1, commit(producer)).await;
    assert_eq!(answer.error_code, 0);
    let bad = world.engine.partition("bad", 0).unwrap();
    assert!(!bad.is_slow(), "it is fast again");
    world.is_to_be_slow("bad-0");
    let marker = MarkerRequest {
        producer,
        outcome: Outcome::Abort,
        coordinator_epoch: CoordinatorEpoch::new(9),
        protocol: Protocol::V1,
        partition: at("bad"),
    };
    let again = MarkerRequest { protocol: Protocol::V2, ..marker.clone() };
    world.engine.transactions().write_marker(marker).await.unwrap();
    assert!(bad.is_slow(), "markers tell, too");
    world.engine.transactions().write_marker(again).await.unwrap();
    assert_eq!(bad.log_end_offset().unwrap().get(), 3);
    assert!(bad.is_slow(), "one that is there already tells nothing");
    world.stop().await;
}

#[tokio::test]
async fn the_abort_by_a_new_instance_whose_marker_is_held_up_holds_up_no_other_connection() {
    let world = World::new().await;
    world.transaction(&[at("bad")]).await;
    world.make_bad_slow();
    let request = init_producer_id::Request {
        transactional_id: Some(text("tx")),
        transaction_timeout_ms: 60_000,
        ..Default::default()
    };
    let answer = world.holds_up_nobody_else("bad-0", 1, request).await;
    assert_eq!(answer.error_code, CONCURRENT_TRANSACTIONS);
    let bad = world.engine.partition("bad", 0).unwrap();
    assert_eq!(bad.log_end_offset().unwrap().get(), 2, "the marker is there");
    world.stop().await;
}

#[tokio::test]
async fn the_end_of_a_transaction_on_a_partition_that_is_opened_holds_up_no_other_connection() {
    let world = World::new().await;
    let producer = world.transaction(&[at("shut")]).await;
    let answer = world.holds_up_nobody_else("shut-0", 1, commit(producer)).await;
    assert_eq!(answer.error_code, 0);
    world.stop().await;
}

#[tokio::test]
async fn a_marker_by_request_that_is_held_up_holds_up_no_other_connection() {
    let world = World::new().await;
    let producer = world.transaction(&[at("good")]).await;
    world.make_bad_slow();
    for topic in ["bad", "shut"] {
        let held = if topic == "bad" { "bad-0" } else { "shut-0" };
        let request = abort_on(topic, producer);
        let answer = world.holds_up_nobody_else(held, 1, request).await;
        assert_eq!(answer.markers[0].topics[0].partitions[0].error_code, 0, "{topic}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_coordinator_whose_log_is_held_up_holds_up_no_other_connection() {
    let world = World::new().await;
    let producer = world.transaction(&[at("good")]).await;
    let enrol = |topic| add_partitions_to_txn::Request {
        v3_and_below_transactional_id: text("tx"),
        v3_and_below_producer_id: producer.id.get(),
        v3_and_below_producer_epoch: producer.epoch.get(),
        v3_and_below_topics: vec![add_partitions_to_txn::AddPartitionsToTxnTopic {
            name: text(topic),
            partitions: vec![0],
            ..Default::default()
        }],
        ..Default::default()
    };
    let log = "__transaction_state-0";
    world.is_to_be_slow(log);
    let mut client = world.client().await;
    let codes = |answer: add_partitions_to_txn::Response| {
        answer.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code
    };
    assert_eq!(codes(ask(&mut client, 1, enrol("bad")).await), 0);
    assert_eq!(codes(world.holds_up_nobody_else(log, 1, enrol("shut")).await), 0);
    world.is_to_be_slow(log);
    let again = AddPartitions {
        id: id(),
        producer,
        partitions: vec![world.offsets()],
        protocol: Protocol::V1,
    };
    world.engine.transactions().add_partitions(again).await.unwrap();
    let answer = world.holds_up_nobody_else(log, 1, commit(producer)).await;
    assert_eq!(answer.error_code, 0);
    world.stop().await;
}

#[tokio::test]
async fn offsets_of_a_transaction_that_are_held_up_hold_up_no_other_connection() {
    let world = World::new().await;
    world.engine.groups().load("g").unwrap();
    let producer = world.transaction(&[world.offsets()]).await;
    let request = || txn_offset_commit::Request {
        transactional_id: text("tx"),
        group_id: text("g"),
        producer_id: producer.id.get(),
        producer_epoch: producer.epoch.get(),
        topics: vec![txn_offset_commit::TxnOffsetCommitRequestTopic {
            name: text("good"),
            partitions: vec![txn_offset_commit::TxnOffsetCommitRequestPartition::default()],
            ..Default::default()
        }],
        ..Default::default()
    };
    world.is_to_be_slow("__consumer_offsets-0");
    let mut client = world.client().await;
    let code = |answer: txn_offset_commit::Response| answer.topics[0].partitions[0].error_code;
    assert_eq!(code(ask(&mut client, 0, request()).await), 0);
    let held = world.holds_up_nobody_else("__consumer_offsets-0", 0, request());
    assert_eq!(code(held.await), 0);
    world.is_to_be_slow("__consumer_offsets-0");
    assert_eq!(code(ask(&mut client, 0, request()).await), 0);
    let answer = world.holds_up_nobody_else("__consumer_offsets-0", 1, commit(producer)).await;
    assert_eq!(answer.error_code, 0);
    world.stop().await;
}

fn call<R: Call>(version: i16, request: &R) -> (i16, i16, Vec<u8>) {
    (R::API.number(), version, body(version, request))
}

fn commit_to_group() -> offset_commit::Request {
    offset_commit::Request {
        group_id: text("g"),
        generation_id_or_member_epoch: -1,
        topics: vec![offset_commit::OffsetCommitRequestTopic {
            name: text("good"),
            partitions: vec![offset_commit::OffsetCommitRequestPartition::default()],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// Only the wait for other members is given up where a client has closed its writing side.
#[tokio::test]
async fn a_client_that_has_left_is_told_what_a_coordinator_says_whose_log_is_held_up() {
    const UNKNOWN_MEMBER_ID: i16 = 25;
    let world = World::new().await;
    world.engine.groups().load("g").unwrap();
    let log = "__consumer_offsets-0";
    let mut one = world.client().await;
    let (group_id, member_id) = (text("g"), text("nobody"));
    let join = join_group::Request {
        group_id: group_id.clone(),
        session_timeout_ms: 10_000,
        member_id: member_id.clone(),
        protocol_type: text("consumer"),
        protocols: vec![join_group::JoinGroupRequestProtocol::default()],
        ..Default::default()
    };
    let sync = sync_group::Request { group_id, member_id, ..Default::default() };
    for (api, version, body) in [call(0, &join), call(0, &sync)] {
        let mut other = world.client().await;
        world.is_to_be_slow(log);
        ask(&mut one, 2, commit_to_group()).await;
        let behind = async {
            other.send(api, version, 1, &body).await;
            other.stream.shutdown().await.unwrap();
        };
        world.serves_others_while(log, send(&mut one, 2, &commit_to_group()), behind).await;
        heard::<offset_commit::Request>(&mut one, 2).await;
        assert_eq!(other.answer(1).await.get_i16(), UNKNOWN_MEMBER_ID, "api {api}");
    }
    world.stop().await;
}

/// Others ask the coordinator, which is held while it writes.
#[tokio::test]
async fn groups_whose_log_is_held_up_hold_up_no_other_connection() {
    let world = World::new().await;
    world.engine.groups().load("g").unwrap();
    let code = |answer: offset_commit::Response| answer.topics[0].partitions[0].error_code;
    let log = "__consumer_offsets-0";
    let mut one = world.client().await;
    let (group_id, member_id) = (text("g"), text("nobody"));
    let calls = [
        call(2, &offset_fetch::Request { group_id: group_id.clone(), ..Default::default() }),
        call(0, &heartbeat::Request { group_id: group_id.clone(), ..Default::default() }),
        call(0, &sync_group::Request { group_id: group_id.clone(), ..Default::default() }),
        call(0, &leave_group::Request { group_id: group_id.clone(), ..Default::default() }),
        call(0, &describe_groups::Request { groups: vec![group_id.clone()], ..Default::default() }),
        call(0, &describe::Request { group_ids: vec![group_id.clone()], ..Default::default() }),
        call(
            0,
            &join_group::Request {
                group_id: group_id.clone(),
                session_timeout_ms: 10_000,
                member_id: member_id.clone(),
                ..Default::default()
            },
        ),
        call(
            0,
            &beat::Request {
                group_id: group_id.clone(),
                member_id,
                member_epoch: 5,
                ..Default::default()
            },
        ),
        call(0, &delete_groups::Request { groups_names: vec![group_id], ..Default::default() }),
    ];
    for (api, version, body) in calls {
        let mut other = world.client().await;
        world.is_to_be_slow(log);
        assert_eq!(code(ask(&mut one, 2, commit_to_group()).await), 0);
        let behind = other.send(api, version, 1, &body);
        world.serves_others_while(log, send(&mut one, 2, &commit_to_group()), behind).await;
        assert_eq!(code(heard::<offset_commit::Request>(&mut one, 2).await), 0);
        other.answer(1).await;
    }
    world.stop().await;
}
