//! One connection as a machine: bytes in, requests out in order, answers back in the same order. It opens nothing and waits for nothing.

use std::collections::VecDeque;

use bytes::BytesMut;

use crate::{
    answer::Answer,
    api::{Advertised, ApiKey},
    error::WireError,
    frame::{FrameReader, REQUEST_BYTES_MAX, UNAUTHENTICATED_BYTES_MAX},
    header::Request,
};

/// Produce requests that may be under way at once; Java and librdkafka pipeline five and rely on their order.
pub const IN_FLIGHT_MAX: usize = 5;

/// Whether the client has proven who it is, where that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Only `ApiVersions` and the SASL requests are taken, and only small frames.
    Unproven,
    /// Everything is taken.
    Trusted,
}

/// The right, and the duty, to answer one request. Losing it blocks the answers behind it.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a request without an answer blocks its connection"]
pub struct Place(u64);

/// What a connection has to offer.
#[derive(Debug)]
pub enum Next {
    /// A request to carry out.
    Request(Place, Request),
    /// No whole request is there; read more bytes.
    NeedBytes,
    /// The next request must wait until earlier ones are answered; better do not read either, so that the client slows down.
    Busy,
}

/// The protocol's side of one connection.
///
/// Requests of a connection take effect in order (librdkafka's `EndTxn` would otherwise overtake what it added before). Produce requests
/// are started without waiting for the answers of those before, up to [`IN_FLIGHT_MAX`], so that they share a sync; any other
/// request waits until all before it are answered, and lets nothing start beside it.
#[derive(Debug)]
pub struct Connection {
    frames: FrameReader,
    request_bytes_max: usize,
    standing: Standing,
    /// Read, but not yet allowed to start.
    held: Option<Request>,
    /// Answers owed, oldest first; `None` while under way.
    owed: VecDeque<Option<Answer>>,
    /// How many answers have left.
    answered: u64,
    /// Whether what is under way are Produce requests.
    producing: Producing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Producing {
    Only,
    No,
}

impl Connection {
    /// A new connection with Kafka's limit for requests.
    #[must_use]
    pub fn new(standing: Standing) -> Self {
        Self::with_request_bytes_max(standing, REQUEST_BYTES_MAX)
    }

    /// A new connection with a limit of its own (`socket.request.max.bytes`).
    #[must_use]
    pub fn with_request_bytes_max(standing: Standing, request_bytes_max: usize) -> Self {
        let mut connection = Self {
            frames: FrameReader::new(0),
            request_bytes_max,
            standing,
            held: None,
            owed: VecDeque::new(),
            answered: 0,
            producing: Producing::No,
        };
        connection.set_standing(standing);
        connection
    }

    /// Changes what the client may send from the next frame on.
    pub const fn set_standing(&mut self, standing: Standing) {
        self.standing = standing;
        let max = match standing {
            Standing::Trusted => self.request_bytes_max,
            Standing::Unproven if self.request_bytes_max < UNAUTHENTICATED_BYTES_MAX => {
                self.request_bytes_max
            }
            Standing::Unproven => UNAUTHENTICATED_BYTES_MAX,
        };
        self.frames.set_frame_bytes_max(max);
    }

    /// The buffer to read into, with room; only append to it. See [`FrameReader::room`].
    pub fn room(&mut self) -> &mut BytesMut {
        self.frames.room()
    }

    /// Appends bytes that were read elsewhere.
    pub fn push(&mut self, bytes: &[u8]) {
        self.frames.push(bytes);
    }

    /// Bytes that wait to become a request.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.frames.buffered()
    }

    /// Bytes of the request that has begun to arrive; see [`FrameReader::announced`].
    #[must_use]
    pub fn announced(&self) -> Option<usize> {
        self.frames.announced()
    }

    /// Requests that were handed out and whose answers have not left.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.owed.len()
    }

    /// Whether a further request has arrived whole, whatever it is and whether or not it may start.
    #[must_use]
    pub fn has_request(&self) -> bool {
        self.held.is_some() || self.frames.has_frame()
    }

    /// Whether the next request waits for an answer that is owed, whatever it is: what is under way lets nothing start beside it.
    #[must_use]
    pub fn is_held_up(&self) -> bool {
        self.producing == Producing::No && !self.owed.is_empty()
    }

    /// The next request that may start now.
    ///
    /// # Errors
    /// The connection is to be closed without an answer to what is wrong; answers owed for earlier requests may still go out.
    pub fn next_request(&mut self, advertised: &Advertised) -> Result<Next, WireError> {
        if self.held.is_none() {
            let Some(frame) = self.frames.next_frame()? else { return Ok(Next::NeedBytes) };
            let request = Request::read(frame, advertised)?;
            let api = request.reply_to.api;
            if self.standing == Standing::Unproven && !api.precedes_authentication() {
                return Err(WireError::NotAuthenticated { api });
            }
            self.held = Some(request);
        }
        let Some(request) = self.held.take_if(|request| {
            let produce = request.reply_to.api == ApiKey::Produce;
            self.owed.is_empty()
                || (produce && self.producing == Producing::Only && self.owed.len() < IN_FLIGHT_MAX)
        }) else {
            return Ok(Next::Busy);
        };
        let produce = request.reply_to.api == ApiKey::Produce;
        self.producing = if produce { Producing::Only } else { Producing::No };
        let place = Place(self.answered.saturating_add(self.owed.len() as u64));
        self.owed.push_back(None);
        Ok(Next::Request(place, request))
    }

    /// Takes the answer to a request, in any order; [`Answer::none`] for a request that gets none.
    #[expect(clippy::needless_pass_by_value, reason = "a place is spent by answering")]
    pub fn answer(&mut self, place: Place, answer: Answer) {
        let slot = place
            .0
            .checked_sub(self.answered)
            .and_then(|at| usize::try_from(at).ok())
            .and_then(|at| self.owed.get_mut(at));
        debug_assert!(slot.is_some(), "{place:?} belongs to another connection");
        if let Some(slot) = slot {
            *slot = Some(answer);
        }
    }

    /// The next answer to send, in the order of the requests; `None` while the oldest is not there.
    pub fn next_answer(&mut self) -> Option<Answer> {
        loop {
            let answer = self.owed.front_mut()?.take()?;
            self.owed.pop_front();
            self.answered = self.answered.saturating_add(1);
            if !answer.is_empty() {
                return Some(answer);
            }
        }
    }
}
