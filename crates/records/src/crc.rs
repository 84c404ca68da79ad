//! CRC-32C (Castagnoli), the checksum of batches and producer snapshots.

/// The CRC-32C of `bytes`.
///
/// Not the CRC-32 of zlib and gzip (that one guards only files that are our own): the check value of
/// `"123456789"` is `0xE306_9283`.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    #[cfg(feature = "std")]
    {
        crc_fast::crc32_iscsi(bytes)
    }
    #[cfg(not(feature = "std"))]
    {
        crc32c::crc32c(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_value_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
        assert_eq!(crc32c(b""), 0);
    }
}
