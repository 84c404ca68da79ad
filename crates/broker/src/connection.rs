//! One connection: bytes in, requests started in order, answers out in the same order.
//!
//! ```text
//! socket -> FrameReader -> Request -> Service::start -> queue of answers -> outgoing pieces -> socket
//! ```
//!
//! A request is answered where it is read: parsing, the append and the answer happen on the worker that found the bytes. What must wait
//! is a future in the queue. Produce requests are started while earlier ones wait, because a group commit needs company;
//! any other request is started when everything before it is answered (a client may pipeline a commit behind its writes).

use std::{
    collections::VecDeque,
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Buf;
use hanbeon_wire::{Advertised, Answer, ApiKey, FrameReader, Request, WireError};
use tokio::{
    io::Interest,
    net::TcpStream,
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use crate::{
    intake::{Intake, Room},
    limits::Limits,
};

/// How often a connection looks whether it has become too slow.
const TICK_MS: u64 = 5_000;

/// What becomes of a request.
pub(crate) enum Reply {
    /// These bytes.
    Now(Answer),
    /// Nothing: a Produce request with acks=0.
    Nothing,
    /// It must wait for something.
    Later(Pin<Box<dyn Future<Output = Reply> + Send>>),
    /// Something must be made ready before it can start; nothing behind it starts before it. The future gives the request back.
    Prepare(Pin<Box<dyn Future<Output = Request> + Send>>),
    /// It has no answer that the client could read, or must not have one.
    Close(&'static str),
}

/// Starts requests. One value serves all connections.
pub(crate) trait Service: Send + Sync + 'static {
    /// Begins `request` and does all that needs no waiting.
    fn start(&self, request: Request) -> Reply;

    /// As [`Service::start`], of a request for which [`Reply::Prepare`] has done what it could.
    fn start_prepared(&self, request: Request) -> Reply;
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
    #[error("an answer was not read for {ms} ms")]
    SlowReader { ms: u64 },
}

/// A request that has the next turn.
enum Turn {
    Fresh(Request),
    Prepared(Request),
}

/// An answer in the queue.
enum Pending {
    Ready(Answer),
    Waiting(Pin<Box<dyn Future<Output = Reply> + Send>>),
}

/// What a slow client has been doing since the last tick.
#[derive(Debug, Default)]
struct Patience {
    idle_ticks: u64,
    partial_ticks: u64,
    partial_bytes: usize,
    unread_ticks: u64,
}

pub(crate) struct Connection<'s, S> {
    service: &'s S,
    advertised: &'s Advertised,
    limits: Limits,
    intake: Intake,
    stream: TcpStream,
    frames: FrameReader,
    room: Option<Room>,
    pending: VecDeque<Pending>,
    waiting: usize,
    /// The next request, while it may not start yet.
    held: Option<Turn>,
    /// What the next request needs before it can start.
    preparing: Option<Pin<Box<dyn Future<Output = Request> + Send>>>,
    out: VecDeque<Answer>,
    out_bytes: usize,
    patience: Patience,
    moved: bool,
}

impl<'s, S: Service> Connection<'s, S> {
    pub(crate) fn new(
        service: &'s S,
        advertised: &'s Advertised,
        limits: Limits,
        intake: Intake,
        stream: TcpStream,
    ) -> Self {
        Self {
            service,
            advertised,
            limits,
            intake,
            stream,
            frames: FrameReader::new(limits.request_bytes_max),
            room: None,
            pending: VecDeque::new(),
            waiting: 0,
            held: None,
            preparing: None,
            out: VecDeque::new(),
            out_bytes: 0,
            patience: Patience::default(),
            moved: false,
        }
    }

    /// Serves until the client leaves, breaks a rule, or `stop` turns true.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) -> Ended {
        match self.serve(&mut stop).await {
            Ok(never) => match never {},
            Err(ended) => {
                // What was answered before the fault belongs to the client.
                if matches!(ended, Ended::Wire(_) | Ended::Refused(_) | Ended::Shutdown) {
                    self.flush_last().await;
                }
                ended
            }
        }
    }

    async fn serve(
        &mut self,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<std::convert::Infallible, Ended> {
        let mut tick = interval(Duration::from_millis(TICK_MS));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.tick().await;
        loop {
            self.start_what_may_start()?;
            self.write_some()?;
            if *stop.borrow() && self.is_quiet() {
                return Err(Ended::Shutdown);
            }
            let may_read = self.may_read() && !*stop.borrow();
            if may_read {
                self.ask_for_room(stop).await;
            }
            let interest = match (may_read, self.out.is_empty()) {
                (true, true) => Some(Interest::READABLE),
                (true, false) => Some(Interest::READABLE | Interest::WRITABLE),
                (false, false) => Some(Interest::WRITABLE),
                (false, true) => None,
            };
            tokio::select! {
                biased;
                ready = readiness(&self.stream, interest) => {
                    if ready?.is_readable() && may_read {
                        self.read_some()?;
                    }
                }
                reply = front(&mut self.pending) => self.settle_front(reply)?,
                request = prepared(&mut self.preparing) => {
                    self.preparing = None;
                    self.held = Some(Turn::Prepared(request));
                }
                _ = stop.changed() => {}
                _ = tick.tick() => self.check_patience()?,
            }
        }
    }

    /// Whether nothing that was begun is unfinished.
    fn is_quiet(&self) -> bool {
        self.pending.is_empty() && self.preparing.is_none() && self.out.is_empty()
    }

    /// Whether more bytes are wanted: not while a request waits for its turn or the client leaves answers lying.
    fn may_read(&self) -> bool {
        self.held.is_none()
            && self.preparing.is_none()
            && self.waiting < self.limits.produces_in_flight_max
            && self.out_bytes < self.limits.answer_bytes_max
    }

    async fn ask_for_room(&mut self, stop: &mut watch::Receiver<bool>) {
        if self.room.is_some() {
            return;
        }
        if let Some(bytes) = self.frames.announced() {
            tokio::select! {
                room = self.intake.room_for(bytes) => self.room = room,
                _ = stop.changed() => {}
            }
        }
    }

    fn read_some(&mut self) -> Result<(), Ended> {
        match self.stream.try_read_buf(self.frames.room()) {
            Ok(0) => Err(Ended::ByClient),
            Ok(_) => {
                self.moved = true;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn start_what_may_start(&mut self) -> Result<(), Ended> {
        while self.preparing.is_none() {
            if let Some(turn) = self.held.take() {
                if !self.may_start(&turn) {
                    self.held = Some(turn);
                    return Ok(());
                }
                self.start(turn)?;
                continue;
            }
            if self.waiting >= self.limits.produces_in_flight_max
                || self.out_bytes >= self.limits.answer_bytes_max
            {
                return Ok(());
            }
            let Some(frame) = self.frames.next_frame()? else { return Ok(()) };
            self.room = None;
            self.patience.idle_ticks = 0;
            self.patience.partial_ticks = 0;
            self.held = Some(Turn::Fresh(Request::read(frame, self.advertised)?));
        }
        Ok(())
    }

    /// Produce requests overtake nobody and wait for nobody; the others wait until all before them are answered.
    fn may_start(&self, turn: &Turn) -> bool {
        let (Turn::Fresh(request) | Turn::Prepared(request)) = turn;
        self.waiting == 0 || request.reply_to.api == ApiKey::Produce
    }

    fn start(&mut self, turn: Turn) -> Result<(), Ended> {
        let reply = match turn {
            Turn::Fresh(request) => self.service.start(request),
            Turn::Prepared(request) => self.service.start_prepared(request),
        };
        match reply {
            Reply::Now(answer) if self.pending.is_empty() => self.send(answer),
            Reply::Now(answer) => self.pending.push_back(Pending::Ready(answer)),
            Reply::Nothing => {}
            Reply::Later(future) => {
                self.waiting += 1;
                self.pending.push_back(Pending::Waiting(future));
            }
            Reply::Prepare(future) => self.preparing = Some(future),
            Reply::Close(why) => return Err(Ended::Refused(why)),
        }
        Ok(())
    }

    /// The request at the front of the queue has come to an end, and perhaps those behind it had before.
    fn settle_front(&mut self, reply: Reply) -> Result<(), Ended> {
        self.pending.pop_front();
        self.waiting -= 1;
        match reply {
            Reply::Now(answer) => self.send(answer),
            Reply::Nothing => {}
            Reply::Later(future) => {
                self.waiting += 1;
                self.pending.push_front(Pending::Waiting(future));
            }
            Reply::Prepare(_) => return Err(Ended::Refused("a request that is already under way")),
            Reply::Close(why) => return Err(Ended::Refused(why)),
        }
        while let Some(Pending::Ready(_)) = self.pending.front() {
            if let Some(Pending::Ready(answer)) = self.pending.pop_front() {
                self.send(answer);
            }
        }
        Ok(())
    }

    fn send(&mut self, answer: Answer) {
        self.out_bytes += answer.len();
        if !answer.is_empty() {
            self.out.push_back(answer);
        }
    }

    /// Writes what the socket takes now.
    fn write_some(&mut self) -> Result<(), Ended> {
        const SLOTS: usize = 64;
        while !self.out.is_empty() {
            let mut slots = [io::IoSlice::new(&[]); SLOTS];
            let mut filled = 0;
            for answer in &self.out {
                filled += answer.chunks_vectored(&mut slots[filled..]);
                if filled == SLOTS {
                    break;
                }
            }
            match self.stream.try_write_vectored(&slots[..filled]) {
                Ok(0) => return Err(Ended::ByClient),
                Ok(written) => {
                    self.patience.unread_ticks = 0;
                    self.advance(written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn advance(&mut self, mut written: usize) {
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

    /// Gives a client that made a mistake a moment to take the answers to what it did right.
    async fn flush_last(&mut self) {
        let all = async {
            while !self.out.is_empty() {
                if self.write_some().is_err() || self.out.is_empty() {
                    break;
                }
                if self.stream.writable().await.is_err() {
                    break;
                }
            }
        };
        drop(tokio::time::timeout(Duration::from_secs(1), all).await);
    }

    fn check_patience(&mut self) -> Result<(), Ended> {
        let limits = self.limits;
        let quiet = self.is_quiet();
        let patience = &mut self.patience;
        let partial = self.frames.buffered();
        if partial > 0 && self.held.is_none() && self.waiting == 0 && quiet {
            let came = partial.saturating_sub(patience.partial_bytes);
            let enough =
                Limits::BYTES_PER_SECOND_MIN * usize::try_from(TICK_MS / 1000).unwrap_or(1);
            patience.partial_ticks = if came >= enough { 0 } else { patience.partial_ticks + 1 };
        } else {
            patience.partial_ticks = 0;
        }
        patience.partial_bytes = partial;
        if !self.moved && quiet {
            patience.idle_ticks += 1;
        }
        self.moved = false;
        if !self.out.is_empty() {
            patience.unread_ticks += 1;
        }
        if patience.partial_ticks * TICK_MS >= limits.request_ms_max {
            return Err(Ended::SlowRequest { ms: limits.request_ms_max });
        }
        if patience.unread_ticks * TICK_MS >= limits.answer_ms_max {
            return Err(Ended::SlowReader { ms: limits.answer_ms_max });
        }
        if patience.idle_ticks * TICK_MS >= limits.idle_ms_max {
            return Err(Ended::Idle { ms: limits.idle_ms_max });
        }
        Ok(())
    }
}

/// Resolves when the socket is ready for `interest`; never when nothing is wanted.
async fn readiness(stream: &TcpStream, interest: Option<Interest>) -> io::Result<tokio::io::Ready> {
    match interest {
        Some(interest) => stream.ready(interest).await,
        None => std::future::pending().await,
    }
}

/// Resolves when the next request can start; never when none is being prepared.
async fn prepared(
    preparing: &mut Option<Pin<Box<dyn Future<Output = Request> + Send>>>,
) -> Request {
    match preparing {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// Resolves with the reply of the request at the front of the queue; never when the queue is empty.
///
/// Only the front is polled: what stands behind it started before and goes on by itself, and its answer could not leave yet.
fn front(pending: &mut VecDeque<Pending>) -> impl Future<Output = Reply> {
    struct Front<'a>(&'a mut VecDeque<Pending>);
    impl Future for Front<'_> {
        type Output = Reply;

        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Reply> {
            match self.0.front_mut() {
                Some(Pending::Waiting(future)) => future.as_mut().poll(cx),
                Some(Pending::Ready(_)) | None => Poll::Pending,
            }
        }
    }
    Front(pending)
}
