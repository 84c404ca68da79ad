//! Reads the protocol's primitive types from borrowed bytes; the only place where a claimed length meets the bytes that are there.

use crate::error::WireError;

/// Most tagged fields in one structure.
///
/// Kafka keeps an object for each unknown tag, so that two bytes cost dozens (CVE-2026-111115). Here they are skipped and never kept;
/// the limit only bounds the work. No message of the protocol has more than four.
pub const TAGS_MAX: u32 = 64;

/// Most array elements in one request, over all its arrays.
///
/// An element of three bytes becomes a structure of about a hundred, so this is what bounds the memory of a decoded request: 64 MiB.
pub const ELEMENTS_MAX: usize = 1 << 18;

/// Longest text in bytes, in either form: Kafka's generated readers refuse a longer one, which only the compact form could express.
pub(crate) const TEXT_BYTES_MAX: usize = 0x7fff;

/// How many array elements a request has so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Elements(usize);

impl Elements {
    /// `more` of them, if that many may be.
    pub(crate) const fn add(&mut self, more: usize) -> Result<usize, WireError> {
        self.0 = self.0.saturating_add(more);
        if self.0 > ELEMENTS_MAX {
            return Err(WireError::TooManyElements { max: ELEMENTS_MAX });
        }
        Ok(more)
    }
}

/// How lengths are written: the old way or the compact one of flexible versions (KIP-482).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Plain,
    Compact,
}

impl Form {
    pub(crate) const fn of(flexible: bool) -> Self {
        if flexible { Self::Compact } else { Self::Plain }
    }

    pub(crate) const fn is_compact(self) -> bool {
        matches!(self, Self::Compact)
    }
}

/// A position in borrowed bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) const fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) const fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn take(&mut self, needed: usize) -> Result<&'a [u8], WireError> {
        let Some((taken, rest)) = self.rest.split_at_checked(needed) else {
            return Err(WireError::Truncated { needed, available: self.rest.len() });
        };
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let Some((taken, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(WireError::Truncated { needed: N, available: self.rest.len() });
        };
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, WireError> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn i8(&mut self) -> Result<i8, WireError> {
        self.array().map(i8::from_be_bytes)
    }

    pub(crate) fn i16(&mut self) -> Result<i16, WireError> {
        self.array().map(i16::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, WireError> {
        self.array().map(i32::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, WireError> {
        self.array().map(i64::from_be_bytes)
    }

    pub(crate) fn uuid(&mut self) -> Result<[u8; 16], WireError> {
        self.array()
    }

    /// An unsigned varint of at most 32 bits. Over-long forms of a number in range are accepted, as Kafka does.
    pub(crate) fn uvarint(&mut self) -> Result<u32, WireError> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21] {
            let byte = self.u8()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        let last = self.u8()?;
        if last > 0x0f {
            return Err(WireError::VarintTooLong);
        }
        Ok(value | u32::from(last) << 28)
    }

    /// A length plus one where 0 says null.
    fn compact_length(&mut self) -> Result<Option<usize>, WireError> {
        let Some(length) = self.uvarint()?.checked_sub(1) else { return Ok(None) };
        usize::try_from(length).map(Some).map_err(|_error| WireError::VarintTooLong)
    }

    /// The length of a text. A negative 16-bit length is null, whatever its value, as in Kafka's generated readers.
    fn text_length(&mut self, form: Form) -> Result<Option<usize>, WireError> {
        match form {
            Form::Plain => Ok(usize::try_from(self.i16()?).ok()),
            Form::Compact => match self.compact_length()? {
                Some(found) if found > TEXT_BYTES_MAX => {
                    Err(WireError::TextTooLong { found, max: TEXT_BYTES_MAX })
                }
                length => Ok(length),
            },
        }
    }

    pub(crate) fn nullable_text_bytes(
        &mut self,
        form: Form,
    ) -> Result<Option<&'a [u8]>, WireError> {
        match self.text_length(form)? {
            Some(length) => self.take(length).map(Some),
            None => Ok(None),
        }
    }

    pub(crate) fn text_bytes(&mut self, form: Form) -> Result<&'a [u8], WireError> {
        self.nullable_text_bytes(form)?.ok_or(WireError::UnexpectedNull)
    }

    pub(crate) fn nullable_text(&mut self, form: Form) -> Result<Option<&'a str>, WireError> {
        self.nullable_text_bytes(form)?.map(utf8).transpose()
    }

    pub(crate) fn text(&mut self, form: Form) -> Result<&'a str, WireError> {
        self.text_bytes(form).and_then(utf8)
    }

    /// A byte field with a 32-bit or compact length.
    pub(crate) fn nullable_bytes(&mut self, form: Form) -> Result<Option<&'a [u8]>, WireError> {
        let length = match form {
            Form::Plain => self.plain_length()?,
            Form::Compact => self.compact_length()?,
        };
        match length {
            Some(length) => self.take(length).map(Some),
            None => Ok(None),
        }
    }

    fn plain_length(&mut self) -> Result<Option<usize>, WireError> {
        match self.i32()? {
            -1 => Ok(None),
            found => usize::try_from(found)
                .map(Some)
                .map_err(|_error| WireError::NegativeLength { found }),
        }
    }

    /// The number of elements of an array whose elements have at least `element_min` bytes each.
    pub(crate) fn nullable_count(
        &mut self,
        form: Form,
        element_min: usize,
    ) -> Result<Option<usize>, WireError> {
        let count = match form {
            Form::Plain => self.plain_length()?,
            Form::Compact => self.compact_length()?,
        };
        if let Some(found) = count
            && found.saturating_mul(element_min) > self.rest.len()
        {
            return Err(WireError::ArrayTooLong { found, available: self.rest.len() });
        }
        Ok(count)
    }

    pub(crate) fn count(&mut self, form: Form, element_min: usize) -> Result<usize, WireError> {
        self.nullable_count(form, element_min)?.ok_or(WireError::UnexpectedNull)
    }

    /// How many tagged fields follow; always none in versions without them.
    pub(crate) fn tag_count(&mut self, form: Form) -> Result<u32, WireError> {
        match form {
            Form::Plain => Ok(0),
            Form::Compact => {
                let found = self.uvarint()?;
                if found > TAGS_MAX {
                    return Err(WireError::TooManyTags { found, max: TAGS_MAX });
                }
                Ok(found)
            }
        }
    }

    /// One tagged field: its number and its bytes. Repeated and falling numbers are accepted, as Kafka 4.3 does.
    pub(crate) fn tag(&mut self) -> Result<(u32, Self), WireError> {
        let tag = self.uvarint()?;
        let size = usize::try_from(self.uvarint()?).map_err(|_error| WireError::VarintTooLong)?;
        Ok((tag, Self::new(self.take(size)?)))
    }

    /// Steps over a section of tagged fields that nobody knows.
    pub(crate) fn skip_tags(&mut self, form: Form) -> Result<(), WireError> {
        for _ in 0..self.tag_count(form)? {
            self.tag()?;
        }
        Ok(())
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, WireError> {
    str::from_utf8(bytes).map_err(|error| WireError::NotUtf8 { valid_up_to: error.valid_up_to() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_varint_ends_within_32_bits() {
        for (bytes, expected) in [
            (&[0x00][..], Ok(0)),
            (&[0x7f], Ok(127)),
            (&[0x80, 0x01], Ok(128)),
            (&[0xff, 0xff, 0xff, 0xff, 0x0f], Ok(u32::MAX)),
            (&[0x81, 0x80, 0x00], Ok(1)), // over-long, in range
            (&[0xff, 0xff, 0xff, 0xff, 0x1f], Err(WireError::VarintTooLong)),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0x01], Err(WireError::VarintTooLong)),
            (&[0x80], Err(WireError::Truncated { needed: 1, available: 0 })),
        ] {
            assert_eq!(Cursor::new(bytes).uvarint(), expected, "{bytes:02x?}");
        }
    }

    #[test]
    fn a_count_is_held_against_the_bytes_that_are_there() {
        let mut cursor = Cursor::new(&[0, 0, 0, 3, 1, 2]);
        assert_eq!(
            cursor.count(Form::Plain, 1),
            Err(WireError::ArrayTooLong { found: 3, available: 2 })
        );
        let mut cursor = Cursor::new(&[0xff, 0xff, 0xff, 0xfe]);
        assert_eq!(cursor.count(Form::Plain, 1), Err(WireError::NegativeLength { found: -2 }));
        assert_eq!(Cursor::new(&[0]).count(Form::Compact, 1), Err(WireError::UnexpectedNull));
        assert_eq!(Cursor::new(&[0]).nullable_count(Form::Compact, 1), Ok(None));
    }
}
