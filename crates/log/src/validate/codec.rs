//! Payloads in and out of their codec, within limits.

use hanbeon_records::{Codec, CodecError, CompressionLevel, OutputLimit, compress, decompress};

use crate::LogConfig;

/// Decompresses `payload` into `scratch`, which is emptied first.
pub(super) fn expand(
    codec: Codec,
    payload: &[u8],
    scratch: &mut Vec<u8>,
) -> Result<(), CodecError> {
    scratch.clear();
    decompress(codec, payload, OutputLimit::for_batch(payload.len()), scratch)
}

/// Compresses `plain` as the topic wants it.
pub(super) fn pack(codec: Codec, config: &LogConfig, plain: &[u8]) -> Result<Vec<u8>, CodecError> {
    let level = match codec {
        Codec::None | Codec::Snappy => CompressionLevel::DEFAULT,
        Codec::Gzip if config.compression_gzip_level == -1 => CompressionLevel::DEFAULT,
        Codec::Gzip => CompressionLevel::new(config.compression_gzip_level),
        Codec::Lz4 => CompressionLevel::new(config.compression_lz4_level),
        Codec::Zstd => CompressionLevel::new(config.compression_zstd_level),
    };
    let mut bytes = Vec::new();
    compress(codec, level, plain, &mut bytes)?;
    Ok(bytes)
}
