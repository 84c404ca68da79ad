//! The codecs of a batch's payload. Output is bounded by the caller and grows with what really comes out, never by
//! what a header claims.

#[cfg(feature = "gzip")]
mod gzip;
#[cfg(feature = "lz4")]
mod lz4;
#[cfg(any(feature = "gzip", feature = "snappy", feature = "lz4", feature = "zstd"))]
mod output;
#[cfg(feature = "snappy")]
mod snappy;
#[cfg(feature = "zstd")]
mod zstd;

use alloc::vec::Vec;
use core::fmt;

use crate::{Codec, ErrorCode};

/// Most bytes that a payload may have once it is decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputLimit(usize);

/// How hard a codec tries. What a number means is up to the codec: gzip 1 to 9, zstd -131072 to 22. Numbers outside are
/// taken as the nearest one inside. Snappy has no levels, and LZ4 is always written by the fast compressor, as Java
/// does at its default level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompressionLevel(Option<i32>);

/// Why a payload could not be compressed or decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// This build does not have the codec.
    #[error("this build has no {codec}; build hanbeon-records with the feature of that name")]
    Unsupported {
        /// The codec asked for.
        codec: Codec,
    },
    /// More comes out than the caller allows.
    #[error("the payload is larger than {limit} bytes when decompressed; send smaller batches")]
    TooLarge {
        /// Bytes allowed.
        limit: usize,
    },
    /// The payload is not what its codec writes.
    #[error("the {codec} payload is damaged: {fault}")]
    Corrupt {
        /// The codec that the batch names.
        codec: Codec,
        /// The rule it breaks.
        fault: CodecFault,
    },
    /// The codec's library refused to compress.
    #[error("{codec} could not compress the payload")]
    Compressor {
        /// The codec asked for.
        codec: Codec,
    },
}

/// The rule of a codec's format that a payload breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CodecFault {
    /// The payload ends within a frame, member or block.
    Truncated,
    /// The frame does not begin with the codec's magic number, or its header names an unknown version or feature.
    Header,
    /// The checksum of the header is wrong.
    HeaderChecksum,
    /// The checksum of a block is wrong.
    BlockChecksum,
    /// The blocks of an LZ4 frame refer to each other, which Kafka's readers refuse.
    LinkedBlocks,
    /// A block is larger than its frame, or than any compressor can make of so few bytes.
    BlockTooLarge,
    /// The compressed bytes cannot be decoded, or a checksum of the content is wrong.
    Data,
    /// Bytes follow the end of the stream.
    Surplus,
    /// More than 16 concatenated gzip members.
    TooManyMembers,
}

impl OutputLimit {
    /// Allows `bytes` bytes.
    #[must_use]
    pub const fn new(bytes: usize) -> Self {
        Self(bytes)
    }

    /// What a batch that lies in a log may grow to: 256 MiB, more than [`OutputLimit::for_batch`]. It does not go by its size there, for a
    /// topic's own codec may have made less of it than the one it came in; what is larger before that is refused.
    pub const STORED: Self = Self(256 << 20);

    /// What a batch of `compressed` bytes that a client sends may grow to unless a host sets its own limit: 1,000 times as much, at
    /// least 16 MiB and at most 128 MiB.
    #[must_use]
    pub const fn for_batch(compressed: usize) -> Self {
        const MIN: usize = 16 << 20;
        const MAX: usize = 128 << 20;
        let scaled = compressed.saturating_mul(1000);
        if scaled < MIN {
            Self(MIN)
        } else if scaled > MAX {
            Self(MAX)
        } else {
            Self(scaled)
        }
    }

    /// The number of bytes.
    #[must_use]
    pub const fn get(self) -> usize {
        self.0
    }
}

impl CompressionLevel {
    /// What the codec's library does when it is not told.
    pub const DEFAULT: Self = Self(None);

    /// A level of the codec's own scale.
    #[must_use]
    pub const fn new(level: i32) -> Self {
        Self(Some(level))
    }

    /// The level, or `None` for the default.
    #[must_use]
    pub const fn get(self) -> Option<i32> {
        self.0
    }
}

impl CodecError {
    /// What a client is told.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Unsupported { .. } => ErrorCode::UnsupportedCompressionType,
            Self::TooLarge { .. } => ErrorCode::MessageTooLarge,
            Self::Corrupt { .. } => ErrorCode::CorruptMessage,
            Self::Compressor { .. } => ErrorCode::UnknownServerError,
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for CodecFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "it ends too early",
            Self::Header => "its header is not one of this codec",
            Self::HeaderChecksum => "the checksum of its header is wrong",
            Self::BlockChecksum => "the checksum of a block is wrong",
            Self::LinkedBlocks => "its blocks refer to each other",
            Self::BlockTooLarge => "a block claims more bytes than it can hold",
            Self::Data => "its bytes cannot be decoded",
            Self::Surplus => "bytes follow its end",
            Self::TooManyMembers => "it is made of more than 16 members",
        })
    }
}

/// Decompresses `payload` and appends what comes out to `into`, at most `limit` bytes.
///
/// After an error `into` holds what it held before. [`Codec::None`] copies.
///
/// # Errors
/// [`CodecError::Unsupported`] without the codec's feature, [`CodecError::TooLarge`] beyond the limit,
/// [`CodecError::Corrupt`] for bytes that are not the codec's.
pub fn decompress(
    codec: Codec,
    payload: &[u8],
    limit: OutputLimit,
    into: &mut Vec<u8>,
) -> Result<(), CodecError> {
    let start = into.len();
    let result = match codec {
        Codec::None if payload.len() > limit.0 => Err(CodecError::TooLarge { limit: limit.0 }),
        Codec::None => {
            into.extend_from_slice(payload);
            Ok(())
        }
        #[cfg(feature = "gzip")]
        Codec::Gzip => gzip::decompress(payload, &mut output::Output::new(into, limit)),
        #[cfg(feature = "snappy")]
        Codec::Snappy => snappy::decompress(payload, &mut output::Output::new(into, limit)),
        #[cfg(feature = "lz4")]
        Codec::Lz4 => lz4::decompress(payload, &mut output::Output::new(into, limit)),
        #[cfg(feature = "zstd")]
        Codec::Zstd => zstd::decompress(payload, &mut output::Output::new(into, limit)),
        #[cfg(not(feature = "compression"))]
        #[allow(unreachable_patterns, reason = "how many codecs are left depends on the features")]
        Codec::Gzip | Codec::Snappy | Codec::Lz4 | Codec::Zstd => {
            Err(CodecError::Unsupported { codec })
        }
    };
    if result.is_err() {
        into.truncate(start);
    }
    result
}

/// Compresses `payload` and appends the result to `into`. [`Codec::None`] copies.
///
/// After an error `into` holds what it held before.
///
/// # Errors
/// [`CodecError::Unsupported`] without the codec's feature, [`CodecError::Compressor`] when its library refuses.
pub fn compress(
    codec: Codec,
    level: CompressionLevel,
    payload: &[u8],
    into: &mut Vec<u8>,
) -> Result<(), CodecError> {
    let start = into.len();
    let _: CompressionLevel = level;
    let result = match codec {
        Codec::None => {
            into.extend_from_slice(payload);
            Ok(())
        }
        #[cfg(feature = "gzip")]
        Codec::Gzip => gzip::compress(level, payload, into),
        #[cfg(feature = "snappy")]
        Codec::Snappy => snappy::compress(payload, into),
        #[cfg(feature = "lz4")]
        Codec::Lz4 => lz4::compress(payload, into),
        #[cfg(feature = "zstd")]
        Codec::Zstd => zstd::compress(level, payload, into),
        #[cfg(not(feature = "compression"))]
        #[allow(unreachable_patterns, reason = "how many codecs are left depends on the features")]
        Codec::Gzip | Codec::Snappy | Codec::Lz4 | Codec::Zstd => {
            Err(CodecError::Unsupported { codec })
        }
    };
    if result.is_err() {
        into.truncate(start);
    }
    result
}
