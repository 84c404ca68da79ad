//! One LZ4 frame, written as Kafka's Java client writes it and read as strictly as it reads.
//!
//! ```text
//! 04 22 4d 18 | flags | block size | [content size, 8] | header check | { length u32 LE | block | [check] }... | 0
//! ```

use alloc::vec::Vec;

use lz4_flex::block::{DecompressError, compress_into, decompress_into, get_maximum_output_size};
use xxhash_rust::xxh32::xxh32;

use super::{CodecError, CodecFault, output::Output};
use crate::Codec;

const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];

/// Magic, flags (version 1, independent blocks), block size (64 KiB) and their check: every frame begins so.
const HEADER: [u8; 7] = [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82];

/// Plain bytes of one block that we write.
const BLOCK_LEN: usize = 64 << 10;

/// In a block's length: its bytes are stored as they are.
const STORED: u32 = 1 << 31;

const END: [u8; 4] = [0; 4];

const fn corrupt(fault: CodecFault) -> CodecError {
    CodecError::Corrupt { codec: Codec::Lz4, fault }
}

/// The part of the flags that a reader of blocks needs.
struct Frame {
    block_max: usize,
    checks: Checks,
    content_check: Checks,
}

#[derive(PartialEq, Eq)]
enum Checks {
    Present,
    Absent,
}

impl Frame {
    /// Reads the frame's header and returns it with what follows.
    fn parse(payload: &[u8]) -> Result<(Self, &[u8]), CodecError> {
        const VERSION: u8 = 0b1100_0000;
        const INDEPENDENT: u8 = 0b0010_0000;
        const BLOCK_CHECK: u8 = 0b0001_0000;
        const CONTENT_SIZE: u8 = 0b0000_1000;
        const CONTENT_CHECK: u8 = 0b0000_0100;
        const RESERVED: u8 = 0b0000_0011;
        let truncated = corrupt(CodecFault::Truncated);
        let (magic, rest) = payload.split_first_chunk::<4>().ok_or(truncated)?;
        if *magic != MAGIC {
            return Err(corrupt(CodecFault::Header));
        }
        let [flags, size, ..] = *rest else { return Err(truncated) };
        if flags & VERSION != 0b0100_0000 || flags & RESERVED != 0 || size & 0b1000_1111 != 0 {
            return Err(corrupt(CodecFault::Header));
        }
        if flags & INDEPENDENT == 0 {
            return Err(corrupt(CodecFault::LinkedBlocks));
        }
        let block_max = match size >> 4 {
            4 => 64 << 10,
            5 => 256 << 10,
            6 => 1 << 20,
            7 => 4 << 20,
            _ => return Err(corrupt(CodecFault::Header)),
        };
        let len = if flags & CONTENT_SIZE == 0 { 2 } else { 10 };
        let (descriptor, rest) = rest.split_at_checked(len).ok_or(truncated)?;
        let (check, rest) = rest.split_first().ok_or(truncated)?;
        // Clients before Kafka 0.10 took the check of the magic, too (KAFKA-3160).
        let old = || {
            let end = MAGIC.len().saturating_add(len);
            payload.get(..end).map(header_check)
        };
        if header_check(descriptor) != *check && old() != Some(*check) {
            return Err(corrupt(CodecFault::HeaderChecksum));
        }
        let present = |bit| if flags & bit == 0 { Checks::Absent } else { Checks::Present };
        let frame =
            Self { block_max, checks: present(BLOCK_CHECK), content_check: present(CONTENT_CHECK) };
        Ok((frame, rest))
    }

    fn block(&self, stored: bool, bytes: &[u8], out: &mut Output<'_>) -> Result<(), CodecError> {
        if stored {
            return out.push(bytes);
        }
        // A byte of a match's length stands for 255 bytes at most.
        let most = self.block_max.min(bytes.len().saturating_mul(255));
        let room = most.min(out.left());
        match out.fill(room, |room| decompress_into(bytes, room)) {
            Ok(()) => Ok(()),
            Err(DecompressError::OutputTooSmall { .. }) if room < most => Err(out.too_large()),
            Err(DecompressError::OutputTooSmall { .. }) => Err(corrupt(CodecFault::BlockTooLarge)),
            Err(_) => Err(corrupt(CodecFault::Data)),
        }
    }
}

fn header_check(descriptor: &[u8]) -> u8 {
    let [_, check, ..] = xxh32(descriptor, 0).to_le_bytes();
    check
}

pub(super) fn decompress(payload: &[u8], out: &mut Output<'_>) -> Result<(), CodecError> {
    let truncated = corrupt(CodecFault::Truncated);
    let (frame, mut rest) = Frame::parse(payload)?;
    loop {
        let (field, after) = rest.split_first_chunk::<4>().ok_or(truncated)?;
        let field = u32::from_le_bytes(*field);
        if field == 0 {
            rest = after;
            break;
        }
        let len = usize::try_from(field & !STORED).unwrap_or(usize::MAX);
        if len > frame.block_max {
            return Err(corrupt(CodecFault::BlockTooLarge));
        }
        let (bytes, after) = after.split_at_checked(len).ok_or(truncated)?;
        rest = after;
        if frame.checks == Checks::Present {
            let (check, after) = rest.split_first_chunk::<4>().ok_or(truncated)?;
            if u32::from_le_bytes(*check) != xxh32(bytes, 0) {
                return Err(corrupt(CodecFault::BlockChecksum));
            }
            rest = after;
        }
        frame.block(field & STORED != 0, bytes, out)?;
    }
    // Read but not compared, as in Kafka: the batch has a checksum of its own.
    if frame.content_check == Checks::Present {
        (_, rest) = rest.split_first_chunk::<4>().ok_or(truncated)?;
    }
    if rest.is_empty() { Ok(()) } else { Err(corrupt(CodecFault::Surplus)) }
}

pub(super) fn compress(payload: &[u8], into: &mut Vec<u8>) -> Result<(), CodecError> {
    let refused = CodecError::Compressor { codec: Codec::Lz4 };
    into.extend_from_slice(&HEADER);
    for plain in payload.chunks(BLOCK_LEN) {
        let at = into.len();
        let body = at.saturating_add(4);
        into.resize(body.saturating_add(get_maximum_output_size(plain.len())), 0);
        let room = into.get_mut(body..).unwrap_or_default();
        let len = compress_into(plain, room).map_err(|_refused| refused)?;
        let (len, flag) = if len < plain.len() {
            into.truncate(body.saturating_add(len));
            (len, 0)
        } else {
            into.truncate(body);
            into.extend_from_slice(plain);
            (plain.len(), STORED)
        };
        let field = u32::try_from(len).map_err(|_too_long| refused)? | flag;
        if let Some(bytes) = into.get_mut(at..body) {
            bytes.copy_from_slice(&field.to_le_bytes());
        }
    }
    into.extend_from_slice(&END);
    Ok(())
}
