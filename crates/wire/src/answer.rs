//! The bytes of one answer, in pieces: small parts from a pooled buffer, records straight from the log.

use std::{collections::VecDeque, io::IoSlice};

use bytes::{Buf, Bytes};

/// The bytes of one answer.
///
/// It is a [`Buf`] that offers its pieces to a vectored write, so records go from the log's pages to the socket without a copy here.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    first: Bytes,
    /// Not empty only while `first` is not.
    rest: VecDeque<Bytes>,
    len: usize,
}

impl Answer {
    /// No bytes at all: what a Produce request with `acks=0` gets.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Appends a piece.
    pub fn push(&mut self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        self.len = self.len.saturating_add(piece.len());
        if self.first.is_empty() {
            self.first = piece;
        } else {
            self.rest.push_back(piece);
        }
    }

    /// Bytes that are left.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether no bytes are left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The pieces in order.
    pub fn pieces(&self) -> impl Iterator<Item = &Bytes> {
        std::iter::once(&self.first).filter(|piece| !piece.is_empty()).chain(&self.rest)
    }
}

impl From<Bytes> for Answer {
    fn from(piece: Bytes) -> Self {
        Self { len: piece.len(), first: piece, rest: VecDeque::new() }
    }
}

impl Buf for Answer {
    fn remaining(&self) -> usize {
        self.len
    }

    fn chunk(&self) -> &[u8] {
        &self.first
    }

    fn chunks_vectored<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0_usize;
        for (slot, piece) in into.iter_mut().zip(self.pieces()) {
            *slot = IoSlice::new(piece);
            filled = filled.saturating_add(1);
        }
        filled
    }

    /// # Panics
    /// When `count` is more than is left, as [`Buf`] asks for.
    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.len, "advance by {count} in an answer of {} bytes", self.len);
        self.len = self.len.saturating_sub(count);
        while count >= self.first.len() {
            count = count.saturating_sub(self.first.len());
            match self.rest.pop_front() {
                Some(next) => self.first = next,
                None => {
                    self.first = Bytes::new();
                    return;
                }
            }
        }
        self.first.advance(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_leave_in_order_whatever_the_write_takes() {
        let mut whole = Answer::none();
        for piece in ["ab", "", "c", "defg"] {
            whole.push(Bytes::from_static(piece.as_bytes()));
        }
        assert_eq!(whole.pieces().count(), 3);
        for step in 1..=7 {
            let (mut answer, mut seen) = (whole.clone(), Vec::new());
            while answer.has_remaining() {
                let mut slots = [IoSlice::new(&[]); 2];
                let filled = answer.chunks_vectored(&mut slots);
                let offered = slots[..filled].iter().flat_map(|slot| slot.iter().copied());
                let taken: Vec<u8> = offered.take(step).collect();
                seen.extend_from_slice(&taken);
                answer.advance(taken.len());
            }
            assert_eq!(seen, b"abcdefg", "step {step}");
            assert!(answer.is_empty());
        }
    }
}
