//! One connection: bytes in, requests started in order, answers out in the same order.
//!
//! ```text
//! socket -> hanbeon_wire::Connection -> Service::start -> hanbeon_wire::Connection -> outgoing pieces -> socket
//!           cuts, says what may start    answers, or a      puts in order
//!                                        future that will
//! ```
//!
//! A request is answered where it is read: parsing, the append and the answer happen on the worker that found the bytes. What must wait
//! is a future that this connection polls beside its socket. Which requests may start beside which is the wire machine's decision.

use std::{
    collections::VecDeque,
    future::Future,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Buf;
use hanbeon_wire::{
    Advertised, Answer, ApiKey, Connection as Order, Next, Place, Request, Standing, WireError,
};
use tokio::{
    io::{AsyncReadExt, Interest},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::coop,
    time::{MissedTickBehavior, interval},
};

use crate::{
    intake::{FREE_BYTES, Intake, Room},
    limits::Limits,
    patience::{Answers, Exhausted, Patience, Seen, Work},
};

/// Requests that are started before their answers are written and other connections of the worker get their turn.
const REQUESTS_PER_TURN: usize = 64;
/// Pieces of answers that one write takes.
const SLOTS: usize = 64;

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What becomes of a request.
pub(crate) enum Reply {
    /// These bytes.
    Now(Answer),
    /// Nothing: a Produce request with acks=0.
    Nothing,
    /// It must wait for something, and holds its request meanwhile.
    Later(Boxed<Self>),
    /// It waits until others do something, who may never do it.
    Parked(Parked),
    /// Something must be made ready before it can start, or before it has its place in a log; nothing behind it starts before that.
    Prepare(Boxed<Prepared>),
    /// It has no answer that the client could read, or must not have one.
    Close(&'static str),
}

/// A request that has let go of its bytes and waits for others: a Fetch for data, a member for its group.
pub(crate) struct Parked {
    /// What it waits for.
    pub(crate) reply: Boxed<Reply>,
    /// What it is told when it is waited with no longer.
    pub(crate) early: Early,
    /// What it has copied of its request, in bytes.
    pub(crate) held_bytes: usize,
}

type Early = Box<dyn FnOnce() -> Reply + Send>;

/// How far a request has come for which something was made ready.
pub(crate) enum Prepared {
    /// It can start.
    Ready(Request),
    /// It was started, and what is behind it no longer overtakes it.
    Begun(Reply),
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Its address without a port, as Kafka shows it: `/127.0.0.1`.
    pub(crate) host: Arc<str>,
}

impl Peer {
    pub(crate) fn at(address: SocketAddr) -> Self {
        Self { host: format!("/{}", address.ip()).into() }
    }
}

/// Starts requests. One value serves all connections.
pub(crate) trait Service: Send + Sync + 'static {
    /// Begins `request` and does all that needs no waiting.
    fn start(&self, peer: &Peer, request: Request) -> Reply;

    /// Whether `request` can be started together with others that have arrived with it: nothing must be made ready for it, and
    /// its answer does not decide whether those behind it may start.
    fn joins(&self, request: &Request) -> bool;

    /// As [`Service::start`] of one after the other, of requests that join. The replies come in the same order.
    fn start_together(&self, requests: Vec<Request>) -> Vec<Reply>;

    /// As [`Service::start`], of a request for which [`Reply::Prepare`] has done what it could.
    fn start_prepared(&self, peer: &Peer, request: Request) -> Reply;
}

/// The answer at once when nothing has to be waited for, else [`Reply::Later`].
pub(crate) fn promptly(future: impl Future<Output = Reply> + Send + 'static) -> Reply {
    at_once(Box::pin(future)).unwrap_or_else(Reply::Later)
}

/// The answer at once when nothing has to be waited for, else [`Reply::Parked`].
pub(crate) fn parked(
    future: impl Future<Output = Reply> + Send + 'static,
    early: impl FnOnce() -> Reply + Send + 'static,
    held_bytes: usize,
) -> Reply {
    at_once(Box::pin(future))
        .unwrap_or_else(|reply| Reply::Parked(Parked { reply, early: Box::new(early), held_bytes }))
}

fn at_once(mut future: Boxed<Reply>) -> Result<Reply, Boxed<Reply>> {
    match polled(future.as_mut()) {
        Poll::Ready(reply) => Ok(reply),
        Poll::Pending => Err(future),
    }
}

/// Looks at a future without being called back.
fn polled<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    #[error("the client closed it")]
    ByClient,
    #[error("the broker is shutting down")]
    Shutdown,
    #[error("{0}")]
    Wire(#[from] WireError),
    #[error("{0}")]
    Refused(&'static str),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("no request for {ms} ms")]
    Idle { ms: u64 },
    #[error("a request did not arrive within {ms} ms and came with less than 8 KiB a second")]
    SlowRequest { ms: u64 },
    #[error("answers were not read for {ms} ms, or at less than 8 KiB a second")]
    SlowReader { ms: u64 },
}

impl From<Exhausted> for Ended {
    fn from(exhausted: Exhausted) -> Self {
        match exhausted {
            Exhausted::Idle { ms } => Self::Idle { ms },
            Exhausted::SlowRequest { ms } => Self::SlowRequest { ms },
            Exhausted::SlowReader { ms } => Self::SlowReader { ms },
        }
    }
}

/// A request that is not started yet, with the room its bytes take.
struct Arrived {
    place: Place,
    request: Request,
    room: Option<Room>,
}

/// A request under way, with the room its bytes take.
struct UnderWay<T> {
    place: Place,
    future: Boxed<T>,
    room: Option<Room>,
    /// Of one that waits for others; what the broker is at comes to its end by itself.
    early: Option<Early>,
}

/// Whether more requests may start when an answer is out, bytes are in, or at once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// All that has arrived is started; more bytes are wanted.
    NeedsBytes,
    /// The next request waits for answers to those before it.
    Busy,
    /// The next request waits until the client has read some answers.
    Full,
    /// There is more to start; others come first.
    Over,
}

pub(crate) struct Connection<'s, S> {
    service: &'s S,
    peer: Peer,
    advertised: &'s Advertised,
    limits: Limits,
    intake: Intake,
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    order: Order,
    /// Room for the large request that is arriving.
    room: Option<Room>,
    /// Set while there is none.
    asking: Option<Boxed<Option<Room>>>,
    /// Requests of this turn that are started together; empty between turns.
    run: Vec<Arrived>,
    waiting: Vec<UnderWay<Reply>>,
    preparing: Option<UnderWay<Prepared>>,
    out: VecDeque<Answer>,
    out_bytes: usize,
    patience: Patience,
    /// Why no more requests are taken; the connection closes when those before are answered.
    ending: Option<Ended>,
}

impl<'s, S: Service> Connection<'s, S> {
    pub(crate) fn new(
        (service, advertised): (&'s S, &'s Advertised),
        peer: SocketAddr,
        limits: Limits,
        intake: Intake,
        stream: TcpStream,
    ) -> Self {
        let (reader, writer) = stream.into_split();
        Self {
            service,
            peer: Peer::at(peer),
            advertised,
            limits,
            intake,
            reader,
            writer,
            order: Order::with_request_bytes_max(Standing::Trusted, limits.request_bytes_max),
            room: None,
            asking: None,
            run: Vec::new(),
            waiting: Vec::new(),
            preparing: None,
            out: VecDeque::new(),
            out_bytes: 0,
            patience: Patience::new(&limits),
            ending: None,
        }
    }

    /// Serves until the client leaves, breaks a rule, or `stop` turns true. What was begun by then is answered first, except to a
    /// client that does not read. What a client has sent whole before it left is begun, too: it may have closed its writing side alone.
    pub(crate) async fn run(mut self, stop: watch::Receiver<bool>) -> Ended {
        match self.serve(stop).await {
            Ok(ended) | Err(ended) => ended,
        }
    }

    async fn serve(&mut self, mut stop: watch::Receiver<bool>) -> Result<Ended, Ended> {
        let mut tick = interval(Duration::from_millis(self.patience.tick_ms()));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.tick().await;
        let told = stop.clone();
        // One future for the whole life: a new one for each request would contend with all other connections.
        let mut stopping = pin!(async move { drop(stop.wait_for(|stop| *stop).await) });
        loop {
            // Also looked for here, and without waiting: below, a socket that always has something to read comes first.
            if self.ending.is_none() && told.has_changed().unwrap_or(true) {
                self.ending = Some(Ended::Shutdown);
            }
            let turn = self.start_what_may_start();
            if self.waits_in_vain() {
                // What is behind starts before the answer is written: to a client that is gone the writing fails.
                self.answer_early();
                coop::consume_budget().await;
                continue;
            }
            self.write_some()?;
            if let Some(ended) = self.ending.take_if(|_| {
                self.waiting.is_empty() && self.preparing.is_none() && self.out.is_empty()
            }) {
                return Ok(ended);
            }
            if turn == Turn::Over || (turn == Turn::Full && !self.is_full()) {
                coop::consume_budget().await;
                continue;
            }
            let wants_bytes = turn == Turn::NeedsBytes && self.ending.is_none();
            if wants_bytes {
                self.ask_for_room();
            }
            let may_read = wants_bytes && !self.lacks_room();
            tokio::select! {
                biased;
                (place, reply, room) = any(&mut self.waiting) => self.take(place, reply, room),
                (place, prepared, room) = prepared(&mut self.preparing) => {
                    let reply = match prepared {
                        Prepared::Ready(request) => {
                            self.service.start_prepared(&self.peer, request)
                        }
                        Prepared::Begun(reply) => reply,
                    };
                    self.take(place, reply, room);
                }
                room = granted(&mut self.asking) => {
                    self.asking = None;
                    self.room = room;
                }
                read = self.reader.read_buf(self.order.room()), if may_read => {
                    if read? == 0 {
                        self.ending = Some(Ended::ByClient);
                    }
                }
                writable = self.writer.writable(), if !self.out.is_empty() => writable?,
                () = &mut stopping, if self.ending.is_none() => self.ending = Some(Ended::Shutdown),
                // It also looks whether the client is still there; nothing is read while one request waits and another stands behind it.
                _ = tick.tick() => self.check_patience(turn)?,
            }
        }
    }

    fn start_what_may_start(&mut self) -> Turn {
        let turn = self.start_or_gather();
        self.start_run();
        turn
    }

    fn start_or_gather(&mut self) -> Turn {
        for _ in 0..REQUESTS_PER_TURN {
            if self.ending.is_some() || self.preparing.is_some() {
                return Turn::Busy;
            }
            if self.is_full() {
                return Turn::Full;
            }
            match self.order.next_request(self.advertised) {
                Ok(Next::NeedBytes) => return Turn::NeedsBytes,
                Ok(Next::Busy) if self.run.is_empty() => return Turn::Busy,
                // The answers of these may let the next one start.
                Ok(Next::Busy) => self.start_run(),
                Ok(Next::Request(place, request)) => {
                    self.patience.request_came();
                    let arrived = Arrived { place, request, room: self.room.take() };
                    if self.joins(&arrived.request) {
                        self.run.push(arrived);
                    } else {
                        self.start_run();
                        self.start(arrived);
                    }
                }
                Err(error) => {
                    self.start_run();
                    self.ending.get_or_insert_with(|| error.into());
                }
            }
        }
        Turn::Over
    }

    /// Whether the request waits for those that have arrived behind it, or joins those before it. Only what is there already is
    /// waited for, so it costs no time.
    fn joins(&self, request: &Request) -> bool {
        request.reply_to.api == ApiKey::Produce
            && (!self.run.is_empty() || self.order.has_request())
            && self.service.joins(request)
    }

    /// Starts what was gathered; one alone too, as what was found ready when it was gathered may be so no more.
    fn start_run(&mut self) {
        if self.run.is_empty() {
            return;
        }
        let run = std::mem::take(&mut self.run);
        let (places, requests): (Vec<_>, Vec<_>) = run
            .into_iter()
            .map(|Arrived { place, request, room }| ((place, room), request))
            .unzip();
        let replies = self.service.start_together(requests);
        for ((place, room), reply) in places.into_iter().zip(replies) {
            self.take(place, reply, room);
        }
    }

    fn start(&mut self, Arrived { place, request, room }: Arrived) {
        if self.ending.is_none() {
            let reply = self.service.start(&self.peer, request);
            self.take(place, reply, room);
        }
    }

    /// Whether the client leaves more answers lying than it may.
    const fn is_full(&self) -> bool {
        self.out_bytes >= self.limits.answer_bytes_max
    }

    /// Does what becomes of a request.
    fn take(&mut self, place: Place, reply: Reply, room: Option<Room>) {
        match reply {
            Reply::Now(answer) => self.send(place, answer),
            Reply::Nothing => self.send(place, Answer::none()),
            Reply::Later(future) => {
                self.waiting.push(UnderWay { place, future, room, early: None });
            }
            // Others get the room of what it has let go of.
            Reply::Parked(Parked { reply: future, early, held_bytes }) => {
                let room = room.and_then(|room| room.shrunk_to(held_bytes));
                self.waiting.push(UnderWay { place, future, room, early: Some(early) });
            }
            Reply::Prepare(future) => {
                self.preparing = Some(UnderWay { place, future, room, early: None });
            }
            // Its place stays empty, so that nothing behind it goes out either.
            Reply::Close(why) => self.ending = Some(Ended::Refused(why)),
        }
    }

    fn send(&mut self, place: Place, answer: Answer) {
        self.order.answer(place, answer);
        while let Some(answer) = self.order.next_answer() {
            self.out_bytes += answer.len();
            self.out.push_back(answer);
        }
    }

    /// Whether a large request is arriving whose bytes have no room yet.
    fn lacks_room(&self) -> bool {
        self.room.is_none() && self.order.announced().is_some_and(|bytes| bytes > FREE_BYTES)
    }

    /// Asks the budget of all connections for a large request, the whole of it, before more than its beginning is read. One that could not
    /// start stays in the socket: what is in front of it may wait for long, and others miss the room.
    fn ask_for_room(&mut self) {
        if self.asking.is_none()
            && self.lacks_room()
            && !self.order.is_held_up()
            && let Some(bytes) = self.order.announced()
        {
            let intake = self.intake.clone();
            self.asking = Some(Box::pin(async move { intake.room_for(bytes).await }));
        }
    }

    /// Writes what the socket takes now.
    fn write_some(&mut self) -> Result<(), Ended> {
        while !self.out.is_empty() {
            let mut slots = [io::IoSlice::new(&[]); SLOTS];
            let mut filled = 0;
            for answer in &self.out {
                filled += answer.chunks_vectored(&mut slots[filled..]);
                if filled == SLOTS {
                    break;
                }
            }
            match self.writer.try_write_vectored(&slots[..filled]) {
                Ok(0) => return Err(Ended::ByClient),
                Ok(written) => self.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn advance(&mut self, mut written: usize) {
        self.patience.wrote(written);
        self.out_bytes -= written;
        while let Some(front) = self.out.front_mut() {
            let taken = written.min(front.len());
            front.advance(taken);
            written -= taken;
            if !front.is_empty() {
                return;
            }
            self.out.pop_front();
        }
    }

    fn check_patience(&mut self, turn: Turn) -> Result<(), Ended> {
        let partial = self.order.buffered();
        // A request that waits for room, or for its turn, is not slow by its own fault.
        let its_turn = turn == Turn::NeedsBytes && !self.lacks_room();
        let under_way = !self.waiting.is_empty() || self.preparing.is_some();
        let seen = Seen {
            partial: (its_turn && partial > 0).then_some(partial),
            answers: if self.out.is_empty() { Answers::Gone } else { Answers::Unread },
            work: if under_way || self.asking.is_some() { Work::UnderWay } else { Work::None },
        };
        Ok(self.patience.tick(seen)?)
    }

    /// Whether a request waits for others though no more are taken, or its client has left: who reads answers and sends nothing more,
    /// and who is gone, look the same.
    fn waits_in_vain(&self) -> bool {
        self.waiting.iter().any(|one| one.early.is_some())
            && (self.ending.is_some() || self.has_left())
    }

    /// Answers requests that wait for others with what there is, so that those behind get their turn.
    fn answer_early(&mut self) {
        for UnderWay { place, future, room, early } in std::mem::take(&mut self.waiting) {
            match early {
                Some(early) => {
                    drop(future);
                    self.take(place, early(), room);
                }
                None => self.waiting.push(UnderWay { place, future, room, early }),
            }
        }
    }

    /// Whether the client has closed its side, as the last event of the socket says; bytes may be left in front of the end.
    fn has_left(&self) -> bool {
        let ready = polled(pin!(self.reader.ready(Interest::READABLE)));
        matches!(ready, Poll::Ready(Ok(ready)) if ready.is_read_closed())
    }
}

/// Resolves with the reply of any request that waits; never when none does.
fn any(waiting: &mut Vec<UnderWay<Reply>>) -> impl Future<Output = (Place, Reply, Option<Room>)> {
    struct Any<'a>(&'a mut Vec<UnderWay<Reply>>);
    impl Future for Any<'_> {
        type Output = (Place, Reply, Option<Room>);

        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
            let found = self.0.iter_mut().enumerate().find_map(|(at, one)| {
                match one.future.as_mut().poll(cx) {
                    Poll::Ready(reply) => Some((at, reply)),
                    Poll::Pending => None,
                }
            });
            match found {
                Some((at, reply)) => {
                    // Not swapped: those that wait for one thing go on in the order in which they came.
                    let UnderWay { place, room, .. } = self.0.remove(at);
                    Poll::Ready((place, reply, room))
                }
                None => Poll::Pending,
            }
        }
    }
    Any(waiting)
}

/// Resolves when the next request can start; never when none is being prepared.
async fn prepared(preparing: &mut Option<UnderWay<Prepared>>) -> (Place, Prepared, Option<Room>) {
    let prepared = match preparing {
        Some(one) => one.future.as_mut().await,
        None => std::future::pending().await,
    };
    match preparing.take() {
        Some(UnderWay { place, room, .. }) => (place, prepared, room),
        None => std::future::pending().await,
    }
}

/// Resolves when there is room for a large request; never when none is asked for.
async fn granted(asking: &mut Option<Boxed<Option<Room>>>) -> Option<Room> {
    match asking {
        Some(future) => future.as_mut().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
