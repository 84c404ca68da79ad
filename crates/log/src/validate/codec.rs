//! Payloads in and out of their codec, within limits.

use hanbeon_records::Codec;

use crate::{AppendError, LogConfig};

/// Decompresses `payload` into `scratch`, which is emptied first.
pub(super) fn expand(
    codec: Codec,
    _payload: &[u8],
    _scratch: &mut Vec<u8>,
) -> Result<(), AppendError> {
    Err(AppendError::UnknownCodec { found: codec.id() })
}

/// Compresses `plain` as the topic wants it.
pub(super) fn pack(
    codec: Codec,
    _config: &LogConfig,
    _plain: &[u8],
) -> Result<Vec<u8>, AppendError> {
    Err(AppendError::UnknownCodec { found: codec.id() })
}
