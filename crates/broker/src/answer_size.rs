//! How long one answer may become.
//!
//! A request names things in a few bytes each, may name one thing as often as it likes, and Kafka describes it each time. What is described
//! can be thousands of times longer than its name, so the description of the next thing is refused once an answer is long enough.

use hanbeon_records::ErrorCode;

/// An answer that grows, and how long it may become.
#[derive(Debug)]
pub(crate) struct AnswerSize {
    bytes: usize,
    max: usize,
}

/// The answer is as long as it may be without what is asked for here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this answer has reached {max} bytes without it: ask about fewer at once, and about each once"
)]
pub(crate) struct AnswerTooLong {
    max: usize,
}

impl AnswerTooLong {
    pub(crate) const fn code(self) -> ErrorCode {
        ErrorCode::InvalidRequest
    }
}

impl AnswerSize {
    pub(crate) const fn new(max: usize) -> Self {
        Self { bytes: 0, max }
    }

    /// Whether there may be more. What comes next is always whole, however long: who asks for one thing gets it.
    pub(crate) const fn has_room(&self) -> Result<(), AnswerTooLong> {
        if self.bytes < self.max { Ok(()) } else { Err(AnswerTooLong { max: self.max }) }
    }

    /// Takes note of about so many bytes on the wire.
    pub(crate) const fn add(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
    }
}
