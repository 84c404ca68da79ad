//! A connection over a real socket, with a service that does what each test says.

use std::sync::Arc;

use bytes::Bytes;
use hanbeon_wire::ApiKey;
use tokio::{
    io::AsyncWriteExt,
    net::TcpListener,
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use super::*;

/// A request that the service has begun.
struct Begun {
    correlation_id: i32,
    prepared: bool,
    reply: oneshot::Sender<Reply>,
}

/// Answers `ApiVersions` at once and Produce 8 with nothing, prepares Produce 4, parks Fetch, and lets the test decide about all else.
struct Script(mpsc::UnboundedSender<Begun>);

impl Script {
    fn begin(&self, request: &Request, prepared: bool) -> Reply {
        let correlation_id = request.reply_to.correlation_id;
        let (reply, later) = oneshot::channel();
        self.0.send(Begun { correlation_id, prepared, reply }).unwrap();
        Reply::Later(Box::pin(async move { later.await.unwrap_or(Reply::Nothing) }))
    }
}

impl Service for Script {
    fn start(&self, _peer: &Peer, request: Request) -> Reply {
        let reply_to = request.reply_to;
        match (reply_to.api, reply_to.version) {
            (ApiKey::ApiVersions, _) => Reply::Now(answer(reply_to.correlation_id)),
            (ApiKey::Produce, 4) => {
                let (reply, ready) = oneshot::channel();
                let correlation_id = reply_to.correlation_id;
                self.0.send(Begun { correlation_id, prepared: false, reply }).unwrap();
                Reply::Prepare(Box::pin(async move {
                    drop(ready.await);
                    Prepared::Ready(request)
                }))
            }
            (ApiKey::Produce, 6) => {
                let (reply, begun) = oneshot::channel();
                let correlation_id = reply_to.correlation_id;
                self.0.send(Begun { correlation_id, prepared: false, reply }).unwrap();
                Reply::Prepare(Box::pin(async move {
                    Prepared::Begun(begun.await.unwrap_or(Reply::Nothing))
                }))
            }
            (ApiKey::Produce, 7) => {
                let (reply, gate) = oneshot::channel();
                let correlation_id = reply_to.correlation_id;
                self.0.send(Begun { correlation_id, prepared: false, reply }).unwrap();
                let written = self.0.clone();
                Reply::Later(Box::pin(async move {
                    drop(gate.await);
                    let (reply, _) = oneshot::channel();
                    written.send(Begun { correlation_id, prepared: true, reply }).unwrap();
                    Reply::Now(answer(correlation_id))
                }))
            }
            (ApiKey::Produce, 8) => {
                drop(self.begin(&request, false));
                Reply::Nothing
            }
            (ApiKey::Fetch, version) => {
                let correlation_id = reply_to.correlation_id;
                let Reply::Later(reply) = self.begin(&request, false) else { unreachable!() };
                let early = Box::new(move || Reply::Now(answer(-correlation_id)));
                let held_bytes = usize::try_from(version - PARKED.1).unwrap() * HELD_STEP;
                Reply::Parked(Parked { reply, early, held_bytes })
            }
            _ => self.begin(&request, false),
        }
    }

    fn joins(&self, request: &Request) -> bool {
        request.reply_to.version == JOINED_PRODUCE.1
    }

    /// One beginning for all, under the number of the first; each is answered with its own.
    fn start_together(&self, requests: Vec<Request>) -> Vec<Reply> {
        drop(self.begin(&requests[0], false));
        requests.iter().map(|request| Reply::Now(answer(request.reply_to.correlation_id))).collect()
    }

    fn start_prepared(&self, _peer: &Peer, request: Request) -> Reply {
        self.begin(&request, true)
    }
}

/// An answer that consists of its number.
fn answer(correlation_id: i32) -> Answer {
    Answer::from(Bytes::copy_from_slice(&correlation_id.to_be_bytes()))
}

fn reply(correlation_id: i32) -> Reply {
    Reply::Now(answer(correlation_id))
}

struct Scene {
    client: TcpStream,
    begun: mpsc::UnboundedReceiver<Begun>,
    stop: watch::Sender<bool>,
    ended: JoinHandle<Ended>,
}

impl Scene {
    async fn new(limits: Limits) -> Self {
        Self::with_intake(limits, Intake::new(limits.queued_bytes_max)).await
    }

    async fn with_intake(limits: Limits, intake: Intake) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        let (sender, begun) = mpsc::unbounded_channel();
        let (stop, stopping) = watch::channel(false);
        let ended = tokio::spawn(async move {
            let service = Arc::new(Script(sender));
            let advertised = Advertised::everything_readable();
            Connection::new((&*service, &advertised), peer, limits, intake, stream)
                .run(stopping)
                .await
        });
        Self { client, begun, stop, ended }
    }

    async fn standard() -> Self {
        Self::new(Limits::standard()).await
    }

    async fn send(&mut self, requests: &[(ApiKey, i16, i32)]) {
        let bytes: Vec<u8> =
            requests.iter().flat_map(|&(api, version, id)| frame(api, version, id)).collect();
        self.client.write_all(&bytes).await.unwrap();
    }

    /// The next request that was begun, which has to be this one.
    async fn begins(&mut self, correlation_id: i32) -> oneshot::Sender<Reply> {
        let begun = self.begun.recv().await.unwrap();
        assert_eq!(begun.correlation_id, correlation_id);
        begun.reply
    }

    /// The next answer, which has to be this one.
    async fn answers(&mut self, correlation_id: i32) {
        assert_eq!(self.client.read_i32().await.unwrap(), correlation_id);
    }

    /// The connection is closed, with nothing more to read.
    async fn closes(mut self) -> Ended {
        let mut rest = Vec::new();
        // A reset is a close, too: the broker had not read everything.
        drop(self.client.read_to_end(&mut rest).await);
        assert_eq!(rest, b"");
        self.ended.await.unwrap()
    }

    fn nothing_begins(&mut self) {
        assert!(self.begun.try_recv().is_err());
    }
}

fn frame(api: ApiKey, version: i16, correlation_id: i32) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(api.number().to_be_bytes());
    body.extend(version.to_be_bytes());
    body.extend(correlation_id.to_be_bytes());
    body.extend([0xff, 0xff]);
    let mut frame = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    frame.extend(body);
    frame
}

/// A request of so many bytes, its length included, most of them behind its body.
fn long(api: ApiKey, version: i16, correlation_id: i32, bytes: usize) -> Vec<u8> {
    let mut long = frame(api, version, correlation_id);
    long.resize(bytes, 0);
    long[..4].copy_from_slice(&u32::try_from(bytes - 4).unwrap().to_be_bytes());
    long
}

const PRODUCE: (ApiKey, i16) = (ApiKey::Produce, 3);
const PREPARED_PRODUCE: (ApiKey, i16) = (ApiKey::Produce, 4);
const JOINED_PRODUCE: (ApiKey, i16) = (ApiKey::Produce, 5);
/// Begun when the test says what becomes of it.
const GATED_PRODUCE: (ApiKey, i16) = (ApiKey::Produce, 6);
/// Does its work when the test lets it, and tells so.
const LATE_PRODUCE: (ApiKey, i16) = (ApiKey::Produce, 7);
/// Has no answer.
const SILENT_PRODUCE: (ApiKey, i16) = (ApiKey::Produce, 8);
/// Parked; early its answer is the negative of its number.
const PARKED: (ApiKey, i16) = (ApiKey::Fetch, 4);
/// Bytes that a parked request holds for each version above.
const HELD_STEP: usize = 16 << 10;
const METADATA: (ApiKey, i16) = (ApiKey::Metadata, 1);
const API_VERSIONS: (ApiKey, i16) = (ApiKey::ApiVersions, 0);

fn asks((api, version): (ApiKey, i16), id: i32) -> (ApiKey, i16, i32) {
    (api, version, id)
}

#[tokio::test]
async fn a_request_is_answered_where_it_is_read() {
    let mut scene = Scene::standard().await;
    scene.send(&[asks(API_VERSIONS, 1), asks(API_VERSIONS, 2)]).await;
    scene.answers(1).await;
    scene.answers(2).await;
    drop(scene.client);
    assert!(matches!(scene.ended.await.unwrap(), Ended::ByClient));
}

#[tokio::test]
async fn five_produces_start_at_once_and_are_answered_in_order() {
    let mut scene = Scene::standard().await;
    let all: Vec<_> = (1..=6).map(|id| asks(PRODUCE, id)).collect();
    scene.send(&all).await;
    let mut replies = Vec::new();
    for id in 1..=5 {
        replies.push((id, scene.begins(id).await));
    }
    // The last first: nothing may go out before the first. The sixth starts when one of five is out.
    while let Some((id, sender)) = replies.pop() {
        scene.nothing_begins();
        assert!(sender.send(reply(id)).is_ok());
    }
    for id in 1..=5 {
        scene.answers(id).await;
    }
    assert!(scene.begins(6).await.send(reply(6)).is_ok());
    scene.answers(6).await;
}

#[tokio::test]
async fn what_has_arrived_together_starts_together_and_nothing_is_waited_for() {
    let mut scene = Scene::standard().await;
    // Five may be under way; the sixth and the seventh are the next run.
    let mut all: Vec<_> = (1..=7).map(|id| asks(JOINED_PRODUCE, id)).collect();
    all.push(asks(PRODUCE, 8));
    scene.send(&all).await;
    for (first, answered) in [(1, 1..=5), (6, 6..=7)] {
        drop(scene.begins(first).await);
        for id in answered {
            scene.answers(id).await;
        }
    }
    assert!(scene.begins(8).await.send(reply(8)).is_ok());
    scene.answers(8).await;
    // One that is alone starts alone, at once.
    scene.send(&[asks(JOINED_PRODUCE, 9)]).await;
    assert!(scene.begins(9).await.send(reply(9)).is_ok());
    scene.answers(9).await;
}

#[tokio::test]
async fn a_run_starts_before_what_does_not_join_it() {
    let mut scene = Scene::standard().await;
    let joined = [asks(JOINED_PRODUCE, 1), asks(JOINED_PRODUCE, 2)];
    let others = [asks(PRODUCE, 3), asks(JOINED_PRODUCE, 4), asks(METADATA, 5)];
    scene.send(&[&joined[..], &others].concat()).await;
    drop(scene.begins(1).await);
    assert!(scene.begins(3).await.send(reply(3)).is_ok());
    // It was to join what came behind it, which was another kind of request.
    drop(scene.begins(4).await);
    assert!(scene.begins(5).await.send(reply(5)).is_ok());
    for id in 1..=5 {
        scene.answers(id).await;
    }
}

#[tokio::test]
async fn another_request_waits_for_the_produces_before_it_and_holds_those_behind() {
    let mut scene = Scene::standard().await;
    scene.send(&[asks(PRODUCE, 1), asks(METADATA, 2), asks(PRODUCE, 3)]).await;
    let first = scene.begins(1).await;
    scene.nothing_begins();
    assert!(first.send(reply(1)).is_ok());
    let second = scene.begins(2).await;
    scene.answers(1).await;
    scene.nothing_begins();
    assert!(second.send(reply(2)).is_ok());
    scene.answers(2).await;
    let third = scene.begins(3).await;
    assert!(third.send(reply(3)).is_ok());
    scene.answers(3).await;
}

#[tokio::test]
async fn a_produce_that_is_prepared_holds_back_what_follows() {
    let mut scene = Scene::standard().await;
    scene.send(&[asks(PRODUCE, 1), asks(PREPARED_PRODUCE, 2), asks(PRODUCE, 3)]).await;
    let first = scene.begins(1).await;
    let prepare = scene.begins(2).await;
    assert!(first.send(reply(1)).is_ok());
    scene.answers(1).await;
    scene.nothing_begins();
    assert!(prepare.send(Reply::Nothing).is_ok());
    let started = scene.begun.recv().await.unwrap();
    assert_eq!((started.correlation_id, started.prepared), (2, true));
    let third = scene.begins(3).await;
    assert!(third.send(reply(3)).is_ok());
    assert!(started.reply.send(reply(2)).is_ok());
    scene.answers(2).await;
    scene.answers(3).await;
}

/// The broker writes a batch when the future of its request goes on, as it does behind a coordinator whose word is being made durable.
#[tokio::test]
async fn requests_that_wait_for_one_thing_go_on_in_the_order_in_which_they_came() {
    let mut scene = Scene::standard().await;
    scene.send(&[1, 2, 3].map(|id| asks(LATE_PRODUCE, id))).await;
    let gates = [scene.begins(1).await, scene.begins(2).await, scene.begins(3).await];
    let [first, second, third] = gates;
    assert!(first.send(Reply::Nothing).is_ok());
    scene.answers(1).await;
    // Both before the connection can look at either.
    assert!(third.send(Reply::Nothing).is_ok() && second.send(Reply::Nothing).is_ok());
    for id in 1..=3 {
        drop(scene.begins(id).await);
    }
    scene.answers(2).await;
    scene.answers(3).await;
}

#[tokio::test]
async fn what_is_behind_a_request_that_is_not_begun_waits_though_it_needs_no_preparing() {
    let mut scene = Scene::standard().await;
    scene.send(&[asks(GATED_PRODUCE, 1), asks(PRODUCE, 2)]).await;
    let gate = scene.begins(1).await;
    scene.nothing_begins();
    let (first, later) = oneshot::channel();
    let waits = Reply::Later(Box::pin(async move { later.await.unwrap_or(Reply::Nothing) }));
    assert!(gate.send(waits).is_ok());
    // Begun is enough: the answer to the first may still be waited for.
    assert!(scene.begins(2).await.send(reply(2)).is_ok());
    assert!(first.send(reply(1)).is_ok());
    scene.answers(1).await;
    scene.answers(2).await;
}

#[tokio::test]
async fn a_produce_without_acks_leaves_no_gap_among_the_answers() {
    let mut scene = Scene::standard().await;
    scene.send(&[asks(PRODUCE, 1), asks(PRODUCE, 2)]).await;
    let (first, second) = (scene.begins(1).await, scene.begins(2).await);
    assert!(second.send(reply(2)).is_ok());
    assert!(first.send(Reply::Nothing).is_ok());
    scene.answers(2).await;
}

#[tokio::test]
async fn what_stands_before_a_fault_is_answered_and_nothing_behind_it() {
    let mut scene = Scene::standard().await;
    scene.send(&[asks(PRODUCE, 1), asks(PRODUCE, 2), asks(PRODUCE, 3)]).await;
    let (first, second, third) =
        (scene.begins(1).await, scene.begins(2).await, scene.begins(3).await);
    assert!(third.send(reply(3)).is_ok());
    assert!(second.send(Reply::Close("refused")).is_ok());
    assert!(first.send(reply(1)).is_ok());
    scene.answers(1).await;
    assert!(matches!(scene.closes().await, Ended::Refused("refused")));

    let mut scene = Scene::standard().await;
    scene.send(&[asks(PRODUCE, 1)]).await;
    scene.client.write_all(&(-1_i32).to_be_bytes()).await.unwrap();
    assert!(scene.begins(1).await.send(reply(1)).is_ok());
    scene.answers(1).await;
    assert!(matches!(scene.closes().await, Ended::Wire(WireError::FrameLength { .. })));
}

#[tokio::test]
async fn a_stop_answers_what_was_begun_and_begins_nothing() {
    let mut scene = Scene::standard().await;
    scene.send(&[asks(PRODUCE, 1), asks(METADATA, 2)]).await;
    let first = scene.begins(1).await;
    scene.stop.send_replace(true);
    // Once the connection has seen it: nothing else happens that could wake it before.
    tokio::task::yield_now().await;
    assert!(first.send(reply(1)).is_ok());
    scene.answers(1).await;
    scene.nothing_begins();
    assert!(matches!(scene.closes().await, Ended::Shutdown));
}

#[tokio::test]
async fn a_stop_is_seen_by_a_connection_that_always_has_something_to_read() {
    let Scene { mut client, mut begun, stop, ended } = Scene::standard().await;
    let (api, version) = SILENT_PRODUCE;
    let many = frame(api, version, 1).repeat(10_000);
    let writing = tokio::spawn(async move { while client.write_all(&many).await.is_ok() {} });
    // Many turns: the socket is never empty.
    for _ in 0..10_000 {
        begun.recv().await.unwrap();
    }
    while begun.try_recv().is_ok() {}
    stop.send_replace(true);
    let mut behind_it = 0;
    while begun.recv().await.is_some() {
        behind_it += 1;
        assert!(behind_it <= REQUESTS_PER_TURN, "no more begins than one turn");
    }
    assert!(matches!(ended.await.unwrap(), Ended::Shutdown));
    writing.await.unwrap();
}

#[tokio::test]
async fn a_stop_and_a_fault_end_the_waiting_for_others() {
    let mut scene = Scene::standard().await;
    scene.send(&[asks(PARKED, 1), asks(METADATA, 2)]).await;
    let _waits = scene.begins(1).await;
    scene.stop.send_replace(true);
    scene.answers(-1).await;
    scene.nothing_begins();
    assert!(matches!(scene.closes().await, Ended::Shutdown));

    let mut scene = Scene::standard().await;
    scene.send(&[asks(PARKED, 1)]).await;
    let _waits = scene.begins(1).await;
    scene.client.write_all(&(-1_i32).to_be_bytes()).await.unwrap();
    scene.answers(-1).await;
    assert!(matches!(scene.closes().await, Ended::Wire(WireError::FrameLength { .. })));
}

/// Kafka answers every whole request in front of the end, in order, and then closes.
#[tokio::test]
async fn a_client_that_closes_its_writing_side_gets_all_its_answers() {
    let mut scene = Scene::standard().await;
    scene.send(&[1, 2, 3, 4, 5].map(|id| asks(PRODUCE, id))).await;
    let mut replies = Vec::new();
    for id in 1..=5 {
        replies.push((id, scene.begins(id).await));
    }
    scene.client.shutdown().await.unwrap();
    // The connection sees the end before the first answer is there.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    while let Some((id, sender)) = replies.pop() {
        assert!(sender.send(reply(id)).is_ok());
    }
    for id in 1..=5 {
        scene.answers(id).await;
    }
    assert!(matches!(scene.closes().await, Ended::ByClient));
}

/// Looked after every 50 ms.
const WATCHFUL: Limits = Limits { request_ms_max: 200, ..Limits::standard() };

#[tokio::test]
async fn a_client_that_closes_its_writing_side_waits_for_others_no_longer() {
    let mut scene = Scene::new(WATCHFUL).await;
    let behind = [asks(METADATA, 3), asks(PARKED, 4)];
    scene.send(&[&[asks(PARKED, 1), asks(PARKED, 2)], &behind[..]].concat()).await;
    let _first = scene.begins(1).await;
    scene.client.shutdown().await.unwrap();
    let _second = scene.begins(2).await;
    assert!(scene.begins(3).await.send(reply(3)).is_ok());
    let _fourth = scene.begins(4).await;
    for id in [-1, -2, 3, -4] {
        scene.answers(id).await;
    }
    assert!(matches!(scene.closes().await, Ended::ByClient));
}

#[tokio::test]
async fn what_a_client_sent_before_it_left_runs() {
    let mut scene = Scene::new(WATCHFUL).await;
    scene.send(&[asks(PARKED, 1), asks(PARKED, 2), asks(PRODUCE, 3), asks(PRODUCE, 4)]).await;
    let _first = scene.begins(1).await;
    drop(scene.client);
    let _second = scene.begun.recv().await.unwrap();
    for id in 3..=4 {
        assert_eq!(scene.begun.recv().await.unwrap().correlation_id, id);
    }
    scene.ended.await.unwrap();
}

#[tokio::test]
async fn t_a4_a_request_that_waits_for_others_has_the_room_of_what_it_holds() {
    const BUDGET: usize = 1 << 20;
    let limits = Limits { queued_bytes_max: BUDGET, ..Limits::standard() };
    let intake = Intake::new(BUDGET);
    // Few bytes are not counted.
    for (version, free) in [(4, BUDGET), (8, BUDGET), (10, BUDGET - 6 * HELD_STEP)] {
        let mut scene = Scene::with_intake(limits, intake.clone()).await;
        let large = long(ApiKey::Fetch, version, 1, BUDGET);
        scene.client.write_all(&large).await.unwrap();
        let waits = scene.begins(1).await;
        assert_eq!(intake.free_bytes(), free, "{version}");
        assert!(waits.send(reply(1)).is_ok());
        scene.answers(1).await;
        assert_eq!(intake.free_bytes(), BUDGET, "{version}");
    }
}

#[tokio::test]
async fn t_a4_a_large_request_behind_one_that_waits_for_others_takes_no_room() {
    const BUDGET: usize = 1 << 20;
    let limits = Limits { queued_bytes_max: BUDGET, ..Limits::standard() };
    let intake = Intake::new(BUDGET);
    let mut scene = Scene::with_intake(limits, intake.clone()).await;
    let behind = long(ApiKey::Metadata, 1, 2, BUDGET);
    let (begins, rest) = behind.split_at(100);
    let parked = frame(ApiKey::Fetch, 4, 1);
    scene.client.write_all(&[&parked, begins].concat()).await.unwrap();
    let waits = scene.begins(1).await;
    assert_eq!(intake.free_bytes(), BUDGET);
    let mut other = Scene::with_intake(limits, intake.clone()).await;
    other.client.write_all(&long(ApiKey::Metadata, 1, 1, 800 << 10)).await.unwrap();
    assert!(other.begins(1).await.send(reply(1)).is_ok());
    other.answers(1).await;
    // Its turn comes.
    assert!(waits.send(reply(1)).is_ok());
    scene.answers(1).await;
    scene.client.write_all(rest).await.unwrap();
    assert!(scene.begins(2).await.send(reply(2)).is_ok());
    scene.answers(2).await;
    assert_eq!(intake.free_bytes(), BUDGET);
}

#[tokio::test(start_paused = true)]
async fn t_l4_a_large_request_is_not_slow_while_it_is_not_read() {
    let mut scene = Scene::standard().await;
    let behind = long(ApiKey::Metadata, 1, 2, 1 << 20);
    let parked = frame(ApiKey::Fetch, 4, 1);
    scene.client.write_all(&[&parked, &behind[..100]].concat()).await.unwrap();
    let waits = scene.begins(1).await;
    for _ in 0..20 {
        tokio::time::advance(Duration::from_secs(5)).await;
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
    }
    assert!(waits.send(reply(1)).is_ok());
    scene.answers(1).await;
}

#[tokio::test(start_paused = true)]
async fn t_l3_t_l4_a_request_that_comes_byte_by_byte_is_given_up() {
    let mut scene = Scene::standard().await;
    let whole = [&1000_i32.to_be_bytes()[..], &[0; 1000]].concat();
    for byte in whole {
        if scene.client.write_all(&[byte]).await.is_err() || scene.ended.is_finished() {
            break;
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        // The connection sees the byte, and the ticks.
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
    }
    assert!(matches!(scene.closes().await, Ended::SlowRequest { ms: 30_000 }));
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_closed_after_the_idle_time() {
    let scene = Scene::standard().await;
    let since = tokio::time::Instant::now();
    assert!(matches!(scene.closes().await, Ended::Idle { ms: 600_000 }));
    assert!(since.elapsed() >= Duration::from_secs(590), "{:?}", since.elapsed());
}

#[tokio::test(start_paused = true)]
async fn t_l5_a_client_that_stops_reading_is_closed() {
    let mut scene = Scene::standard().await;
    scene.send(&[asks(METADATA, 1)]).await;
    let first = scene.begins(1).await;
    let large = Answer::from(Bytes::from(vec![0; 64 << 20]));
    assert!(first.send(Reply::Now(large)).is_ok());
    assert!(matches!(scene.ended.await.unwrap(), Ended::SlowReader { ms: 60_000 }));
}

#[tokio::test]
async fn answers_that_nobody_reads_stop_the_reading_of_requests() {
    let limits = Limits { answer_bytes_max: 1 << 20, ..Limits::standard() };
    let mut scene = Scene::new(limits).await;
    scene.send(&[asks(METADATA, 1), asks(METADATA, 2)]).await;
    let large = Answer::from(Bytes::from(vec![7; 32 << 20]));
    assert!(scene.begins(1).await.send(Reply::Now(large)).is_ok());
    let mut half = vec![0; 16 << 20];
    scene.client.read_exact(&mut half).await.unwrap();
    scene.nothing_begins();
    scene.client.read_exact(&mut half).await.unwrap();
    // Not as late as the next tick, which would come in any case.
    let next = tokio::time::timeout(Duration::from_secs(4), scene.begins(2)).await;
    assert!(next.unwrap().send(reply(2)).is_ok());
    scene.answers(2).await;
}

#[tokio::test]
async fn t_a4_large_requests_wait_for_room_and_are_not_closed() {
    let limits = Limits { queued_bytes_max: 1 << 20, ..Limits::standard() };
    let intake = Intake::new(limits.queued_bytes_max);
    let mut first = Scene::with_intake(limits, intake.clone()).await;
    let mut second = Scene::with_intake(limits, intake).await;
    let [one, two] = [1, 2].map(|id| long(ApiKey::Metadata, 1, id, 800 << 10));
    first.client.write_all(&one[..one.len() - 1]).await.unwrap();
    // More than both sockets hold: all of it goes only when there is room.
    let writing = tokio::spawn(async move {
        second.client.write_all(&two).await.unwrap();
        second.send(&[asks(API_VERSIONS, 3)]).await;
        second
    });
    first.client.write_all(&one[one.len() - 1..]).await.unwrap();
    let begun = first.begins(1).await;
    assert!(begun.send(reply(1)).is_ok());
    first.answers(1).await;
    let mut second = writing.await.unwrap();
    assert!(second.begins(2).await.send(reply(2)).is_ok());
    second.answers(2).await;
    second.answers(3).await;
}

#[tokio::test]
async fn small_requests_pass_those_that_wait_for_room() {
    let limits = Limits { queued_bytes_max: 1 << 20, ..Limits::standard() };
    let intake = Intake::new(limits.queued_bytes_max);
    let held = intake.room_for(1 << 20).await;
    let mut large = Scene::with_intake(limits, intake.clone()).await;
    large.client.write_all(&(90_i32 << 20).to_be_bytes()).await.unwrap();
    large.client.write_all(&[0; 16]).await.unwrap();
    let mut small = Scene::with_intake(limits, intake).await;
    small.send(&[asks(API_VERSIONS, 1)]).await;
    small.answers(1).await;
    assert!(!large.ended.is_finished());
    drop(held);
}
