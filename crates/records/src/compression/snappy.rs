//! Snappy blocks in the framing of the Xerial library (not Google's), which Java clients write.
//!
//! ```text
//! 82 'S' 'N' 'A' 'P' 'P' 'Y' 00 | version i32 | compatible i32 | { length i32 | block }...
//! ```
//!
//! A payload without that magic is one bare block, which librdkafka sends. The header may come again where a length
//! is expected (concatenated streams). The two version words are not looked at: some brokers write them with the
//! wrong byte order.

use alloc::vec::Vec;

use snap::raw::{Decoder, Encoder, decompress_len, max_compress_len};

use super::{CodecError, CodecFault, output::Output};
use crate::Codec;

const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const HEADER_LEN: usize = 16;

/// Version 1, readable by version 1.
const VERSIONS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];

/// Plain bytes of one block.
const BLOCK_LEN: usize = 32 << 10;

const fn corrupt(fault: CodecFault) -> CodecError {
    CodecError::Corrupt { codec: Codec::Snappy, fault }
}

pub(super) fn decompress(payload: &[u8], out: &mut Output<'_>) -> Result<(), CodecError> {
    if !payload.starts_with(&MAGIC) {
        return block(payload, out);
    }
    let mut rest = payload;
    while !rest.is_empty() {
        if rest.starts_with(&MAGIC) {
            rest = rest.get(HEADER_LEN..).ok_or(corrupt(CodecFault::Truncated))?;
            continue;
        }
        let (len, after) = rest.split_first_chunk().ok_or(corrupt(CodecFault::Truncated))?;
        let len = usize::try_from(i32::from_be_bytes(*len))
            .map_err(|_negative| corrupt(CodecFault::Header))?;
        let (bytes, after) = after.split_at_checked(len).ok_or(corrupt(CodecFault::Truncated))?;
        block(bytes, out)?;
        rest = after;
    }
    Ok(())
}

fn block(bytes: &[u8], out: &mut Output<'_>) -> Result<(), CodecError> {
    let len = decompress_len(bytes).map_err(|_refused| corrupt(CodecFault::Data))?;
    // The densest element copies 64 bytes and takes 3.
    if len > bytes.len().saturating_mul(22) {
        return Err(corrupt(CodecFault::BlockTooLarge));
    }
    if len > out.left() {
        return Err(out.too_large());
    }
    out.fill(len, |room| Decoder::new().decompress(bytes, room))
        .map_err(|_refused| corrupt(CodecFault::Data))
}

pub(super) fn compress(payload: &[u8], into: &mut Vec<u8>) -> Result<(), CodecError> {
    let refused = CodecError::Compressor { codec: Codec::Snappy };
    into.extend_from_slice(&MAGIC);
    into.extend_from_slice(&VERSIONS);
    let mut encoder = Encoder::new();
    for plain in payload.chunks(BLOCK_LEN) {
        let at = into.len();
        let body = at.saturating_add(4);
        into.resize(body.saturating_add(max_compress_len(plain.len())), 0);
        let room = into.get_mut(body..).unwrap_or_default();
        let len = encoder.compress(plain, room).map_err(|_refused| refused)?;
        into.truncate(body.saturating_add(len));
        let len = i32::try_from(len).map_err(|_too_long| refused)?;
        if let Some(field) = into.get_mut(at..body) {
            field.copy_from_slice(&len.to_be_bytes());
        }
    }
    Ok(())
}
