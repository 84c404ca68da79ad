//! Zstandard frames (KIP-110): any number of them, of known or unknown size, window at most 8 MiB.

use std::io::Cursor;

use alloc::vec::Vec;

use ::zstd::{
    bulk::Compressor,
    stream::raw::{Decoder, Operation as _},
    zstd_safe::{CParameter, DParameter, InBuffer, OutBuffer, compress_bound},
};

use super::{CodecError, CodecFault, CompressionLevel, output::Output};
use crate::Codec;

/// The largest window that is read and written, as a power of two: 8 MiB. A frame may ask for more than the payload
/// will ever hold, and the decoder reserves what it asks for.
const WINDOW_LOG_MAX: u32 = 23;

/// Levels above use a larger window unless they are told not to.
const LEVEL_OF_SMALL_WINDOW_MAX: i32 = 19;

const LEVEL_MIN: i32 = -131_072;
const LEVEL_MAX: i32 = 22;
const LEVEL_DEFAULT: i32 = 3;

const fn corrupt(fault: CodecFault) -> CodecError {
    CodecError::Corrupt { codec: Codec::Zstd, fault }
}

pub(super) fn decompress(payload: &[u8], out: &mut Output<'_>) -> Result<(), CodecError> {
    let refused = corrupt(CodecFault::Data);
    let mut decoder = Decoder::new().map_err(|_refused| refused)?;
    let window = DParameter::WindowLogMax(WINDOW_LOG_MAX);
    decoder.set_parameter(window).map_err(|_refused| refused)?;
    let mut input = InBuffer::around(payload);
    // 0 from the decoder: a frame is complete and all of it has come out.
    loop {
        let read = input.pos();
        let spare = out.spare();
        let had = spare.len();
        let mut buffer = OutBuffer::around_pos(spare, had);
        let wants = decoder.run(&mut input, &mut buffer).map_err(|_refused| refused)?;
        let stuck = input.pos() == read && buffer.pos() == had;
        out.check()?;
        if wants == 0 && input.pos() == payload.len() {
            return Ok(());
        }
        if stuck {
            return Err(corrupt(CodecFault::Truncated));
        }
    }
}

pub(super) fn compress(
    level: CompressionLevel,
    payload: &[u8],
    into: &mut Vec<u8>,
) -> Result<(), CodecError> {
    let refused = CodecError::Compressor { codec: Codec::Zstd };
    let level = level.get().unwrap_or(LEVEL_DEFAULT).clamp(LEVEL_MIN, LEVEL_MAX);
    let mut encoder = Compressor::new(level).map_err(|_refused| refused)?;
    if level > LEVEL_OF_SMALL_WINDOW_MAX {
        let window = CParameter::WindowLog(WINDOW_LOG_MAX);
        encoder.set_parameter(window).map_err(|_refused| refused)?;
    }
    let at = into.len();
    into.reserve(compress_bound(payload.len()));
    let mut frame = Cursor::new(core::mem::take(into));
    frame.set_position(u64::try_from(at).unwrap_or(u64::MAX));
    let result = encoder.context_mut().compress2(&mut frame, payload);
    *into = frame.into_inner();
    result.map_err(|_code| refused)?;
    Ok(())
}
