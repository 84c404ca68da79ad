//! RFC 1952, as `java.util.zip` writes and reads it: several members may follow each other.

use std::io::Write as _;

use alloc::vec::Vec;

use flate2::{Compression, Decompress, FlushDecompress, Status, write::GzEncoder};

use super::{CodecError, CodecFault, CompressionLevel, output::Output};
use crate::Codec;

/// Most members of one payload; each costs a fresh decoder.
const MEMBERS_MAX: usize = 16;

/// Window of 32 KiB, the largest that the format has.
const WINDOW_BITS: u8 = 15;

const fn corrupt(fault: CodecFault) -> CodecError {
    CodecError::Corrupt { codec: Codec::Gzip, fault }
}

pub(super) fn decompress(payload: &[u8], out: &mut Output<'_>) -> Result<(), CodecError> {
    let mut rest = payload;
    let mut decoder = Decompress::new_gzip(WINDOW_BITS);
    for _ in 0..MEMBERS_MAX {
        rest = member(&mut decoder, rest, out)?;
        if rest.is_empty() {
            return Ok(());
        }
        decoder = Decompress::new_gzip(WINDOW_BITS);
    }
    Err(corrupt(CodecFault::TooManyMembers))
}

/// Decodes one member and returns what follows it.
fn member<'p>(
    decoder: &mut Decompress,
    mut rest: &'p [u8],
    out: &mut Output<'_>,
) -> Result<&'p [u8], CodecError> {
    loop {
        let (read, written) = (decoder.total_in(), decoder.total_out());
        let status = decoder
            .decompress_vec(rest, out.spare(), FlushDecompress::None)
            .map_err(|_refused| corrupt(CodecFault::Data))?;
        out.check()?;
        let read = usize::try_from(decoder.total_in().saturating_sub(read)).unwrap_or(usize::MAX);
        rest = rest.get(read..).unwrap_or_default();
        let stuck = read == 0 && decoder.total_out() == written;
        match status {
            Status::StreamEnd => return Ok(rest),
            Status::Ok | Status::BufError if !stuck => {}
            Status::Ok | Status::BufError => return Err(corrupt(CodecFault::Truncated)),
        }
    }
}

pub(super) fn compress(
    level: CompressionLevel,
    payload: &[u8],
    into: &mut Vec<u8>,
) -> Result<(), CodecError> {
    let level = level.get().map_or_else(Compression::default, |level| {
        Compression::new(level.clamp(1, 9).cast_unsigned())
    });
    let refused = CodecError::Compressor { codec: Codec::Gzip };
    let mut encoder = GzEncoder::new(into, level);
    encoder.write_all(payload).map_err(|_refused| refused)?;
    encoder.finish().map_err(|_refused| refused)?;
    Ok(())
}
