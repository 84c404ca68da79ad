//! Cuts a stream of bytes into frames: a 32-bit length, then that many bytes.

use bytes::{Buf, Bytes, BytesMut};

use crate::error::WireError;

/// Longest request (`socket.request.max.bytes`).
pub const REQUEST_BYTES_MAX: usize = 100 * 1024 * 1024;
/// Longest request before authentication, where only small ones are allowed anyway.
pub const UNAUTHENTICATED_BYTES_MAX: usize = 64 * 1024;

/// Bytes in front of a frame that tell its length.
pub(crate) const LENGTH_BYTES: usize = 4;
/// API key, version and correlation id: no request is shorter.
const FRAME_BYTES_MIN: usize = 8;
/// Room offered to a read when nothing is known about what comes.
const ROOM_MIN: usize = 32 * 1024;
/// Most room offered to one read.
const ROOM_MAX: usize = 8 * 1024 * 1024;

/// Collects bytes and hands out whole frames.
///
/// A length in front of a frame reserves nothing: the room grows with the bytes that have arrived, so a thousand connections that
/// announce 100 MiB each and send nothing cost a thousand small buffers.
#[derive(Debug)]
pub struct FrameReader {
    buffer: BytesMut,
    frame_bytes_max: usize,
}

impl FrameReader {
    /// A reader of frames with at most `frame_bytes_max` bytes each.
    #[must_use]
    pub fn new(frame_bytes_max: usize) -> Self {
        Self { buffer: BytesMut::new(), frame_bytes_max }
    }

    /// Changes how long the next frames may be.
    pub const fn set_frame_bytes_max(&mut self, frame_bytes_max: usize) {
        self.frame_bytes_max = frame_bytes_max;
    }

    /// The buffer to read into, with room for what is likely to come. Only append to it.
    ///
    /// The room doubles with what has arrived, between 32 KiB and 8 MiB, and never goes far beyond the frame that is being read.
    pub fn room(&mut self) -> &mut BytesMut {
        let missing = match self.claimed() {
            Some(length) => usize::try_from(length)
                .unwrap_or(0)
                .saturating_add(LENGTH_BYTES)
                .saturating_sub(self.buffer.len()),
            None => 0,
        };
        let room = missing.min(self.buffer.len().min(ROOM_MAX)).max(ROOM_MIN);
        self.buffer.reserve(room);
        &mut self.buffer
    }

    /// Appends bytes that were read elsewhere.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes that wait to become a frame.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Bytes of the frame that has begun to arrive, its length included, as far as its first four bytes tell; a limit that was broken
    /// is told by [`FrameReader::next_frame`].
    #[must_use]
    pub fn announced(&self) -> Option<usize> {
        let length = usize::try_from(self.claimed()?).ok()?;
        (length <= self.frame_bytes_max).then(|| length.saturating_add(LENGTH_BYTES))
    }

    /// The next whole frame without its length, or `None` while it is not complete.
    ///
    /// # Errors
    /// The length is no length or above the limit. Judged as soon as its four bytes are there.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, WireError> {
        let Some(found) = self.claimed() else { return Ok(None) };
        let refused = WireError::FrameLength { found, max: self.frame_bytes_max };
        let length = usize::try_from(found).map_err(|_error| refused)?;
        if !(FRAME_BYTES_MIN..=self.frame_bytes_max).contains(&length) {
            return Err(refused);
        }
        if self.buffer.len() < length.saturating_add(LENGTH_BYTES) {
            return Ok(None);
        }
        self.buffer.advance(LENGTH_BYTES);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    /// Whether [`FrameReader::next_frame`] has a whole frame to give.
    pub(crate) fn has_frame(&self) -> bool {
        self.announced().is_some_and(|announced| self.buffer.len() >= announced)
    }

    fn claimed(&self) -> Option<i32> {
        self.buffer.first_chunk().map(|length| i32::from_be_bytes(*length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(body: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn frames_come_whole_however_the_bytes_arrive() {
        let stream = [frame(b"12345678"), frame(b"abcdefghij")].concat();
        for step in 1..stream.len() {
            let mut reader = FrameReader::new(100);
            let mut frames = Vec::new();
            for piece in stream.chunks(step) {
                reader.push(piece);
                while let Some(frame) = reader.next_frame().unwrap() {
                    frames.push(frame);
                }
            }
            assert_eq!(frames, [&b"12345678"[..], b"abcdefghij"], "step {step}");
            assert_eq!(reader.buffered(), 0);
        }
    }

    #[test]
    fn t_a1_a_length_that_is_none_is_refused_at_once() {
        for found in [0, -1, i32::MIN, 7, 101, i32::MAX] {
            let mut reader = FrameReader::new(100);
            reader.push(&found.to_be_bytes());
            let refused = WireError::FrameLength { found, max: 100 };
            assert_eq!(reader.next_frame(), Err(refused), "{found}");
        }
    }

    #[test]
    fn t_a4_a_claim_reserves_nothing() {
        let mut reader = FrameReader::new(REQUEST_BYTES_MAX);
        reader.push(&100_000_000_i32.to_be_bytes());
        assert_eq!(reader.next_frame(), Ok(None));
        assert!(reader.room().capacity() <= 2 * ROOM_MIN, "{}", reader.buffer.capacity());
        reader.push(&[0; 100_000]);
        assert!(reader.room().capacity() <= 400_000, "{}", reader.buffer.capacity());
    }
}
