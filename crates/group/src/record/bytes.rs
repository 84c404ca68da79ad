//! Big-endian fields of Kafka's coordinator records: fixed (16-bit lengths) and flexible (varint lengths, tags).

use alloc::{sync::Arc, vec::Vec};

use super::RecordError;
use crate::Name;

/// Reads one value from its beginning; knows where it is, for errors.
pub(crate) struct Fields<'a> {
    left: &'a [u8],
    len: usize,
}

impl<'a> Fields<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { left: bytes, len: bytes.len() }
    }

    fn at(&self) -> usize {
        self.len.saturating_sub(self.left.len())
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], RecordError> {
        let (head, rest) = self.left.split_at_checked(count).ok_or_else(|| self.truncated())?;
        self.left = rest;
        Ok(head)
    }

    fn truncated(&self) -> RecordError {
        RecordError::Truncated { at: self.at() }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let (head, rest) = self.left.split_first_chunk::<N>().ok_or_else(|| self.truncated())?;
        self.left = rest;
        Ok(*head)
    }

    pub(crate) fn i16(&mut self) -> Result<i16, RecordError> {
        self.array().map(i16::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, RecordError> {
        self.array().map(i32::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, RecordError> {
        self.array().map(i64::from_be_bytes)
    }

    pub(crate) fn uuid(&mut self) -> Result<[u8; 16], RecordError> {
        self.array()
    }

    pub(crate) fn uvarint(&mut self) -> Result<u32, RecordError> {
        let at = self.at();
        let mut value = 0_u32;
        for shift in [0_u32, 7, 14, 21, 28] {
            let [byte] = self.array::<1>()?;
            let bits = u32::from(byte & 0x7f);
            if shift == 28 && bits > 0xf {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(RecordError::Length { at })
    }

    /// A length on which -1 stands for null.
    fn fixed_len(&mut self, raw: i32) -> Result<Option<usize>, RecordError> {
        if raw == -1 {
            return Ok(None);
        }
        usize::try_from(raw).ok().map(Some).ok_or_else(|| RecordError::Length { at: self.at() })
    }

    /// A length stored one higher, where 0 stands for null.
    fn compact_len(&mut self) -> Result<Option<usize>, RecordError> {
        let at = self.at();
        match self.uvarint()?.checked_sub(1) {
            None => Ok(None),
            Some(len) => usize::try_from(len).ok().map(Some).ok_or(RecordError::Length { at }),
        }
    }

    fn text(&mut self, len: usize) -> Result<&'a str, RecordError> {
        let at = self.at();
        core::str::from_utf8(self.take(len)?).ok().ok_or(RecordError::Text { at })
    }

    fn name(&mut self, len: Option<usize>) -> Result<Option<Name>, RecordError> {
        let at = self.at();
        len.map(|len| Name::new(self.text(len)?).ok().ok_or(RecordError::Length { at })).transpose()
    }

    fn required<V>(&self, value: Option<V>) -> Result<V, RecordError> {
        value.ok_or_else(|| RecordError::Null { at: self.at() })
    }

    pub(crate) fn nullable_string(&mut self, form: Form) -> Result<Option<Name>, RecordError> {
        let len = match form {
            Form::Fixed => {
                let raw = self.i16()?;
                self.fixed_len(i32::from(raw))?
            }
            Form::Flexible => self.compact_len()?,
        };
        self.name(len)
    }

    pub(crate) fn string(&mut self, form: Form) -> Result<Name, RecordError> {
        let value = self.nullable_string(form)?;
        self.required(value)
    }

    /// A string that may be longer than a [`Name`].
    pub(crate) fn long_string(&mut self, form: Form) -> Result<Arc<str>, RecordError> {
        let len = match form {
            Form::Fixed => {
                let raw = self.i16()?;
                self.fixed_len(i32::from(raw))?
            }
            Form::Flexible => self.compact_len()?,
        };
        let len = self.required(len)?;
        self.text(len).map(Arc::from)
    }

    pub(crate) fn bytes(&mut self, form: Form) -> Result<Arc<[u8]>, RecordError> {
        let len = self.array_len(form)?;
        let len = self.required(len)?;
        self.take(len).map(Arc::from)
    }

    /// Length of an array or of bytes. Nothing may be allocated by it.
    pub(crate) fn array_len(&mut self, form: Form) -> Result<Option<usize>, RecordError> {
        match form {
            Form::Fixed => {
                let raw = self.i32()?;
                self.fixed_len(raw)
            }
            Form::Flexible => self.compact_len(),
        }
    }

    /// Length of an array that is never null.
    pub(crate) fn count(&mut self, form: Form) -> Result<usize, RecordError> {
        let len = self.array_len(form)?;
        self.required(len)
    }

    /// The tag section: calls `known` for each tag, which takes it or leaves it to be skipped.
    pub(crate) fn tags(
        &mut self,
        mut known: impl FnMut(u32, &'a [u8]) -> Result<(), RecordError>,
    ) -> Result<(), RecordError> {
        for _ in 0..self.uvarint()? {
            let tag = self.uvarint()?;
            let len = self.uvarint()?;
            let len =
                usize::try_from(len).ok().ok_or_else(|| RecordError::Length { at: self.at() })?;
            known(tag, self.take(len)?)?;
        }
        Ok(())
    }

    pub(crate) fn end(&self) -> Result<(), RecordError> {
        if self.left.is_empty() {
            Ok(())
        } else {
            Err(RecordError::Trailing { left: self.left.len() })
        }
    }
}

/// How lengths are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// 16-bit for strings, 32-bit for bytes and arrays, -1 for null.
    Fixed,
    /// Unsigned varint of the length plus one, 0 for null; structures end with tags.
    Flexible,
}

/// Appends fields.
pub(crate) struct Writer<'b>(pub(crate) &'b mut Vec<u8>);

impl Writer<'_> {
    pub(crate) fn i16(&mut self, value: i16) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn i32(&mut self, value: i32) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn i64(&mut self, value: i64) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn uvarint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.0.push(0x80 | (value & 0x7f).to_le_bytes()[0]);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }

    fn compact_len(&mut self, len: usize) {
        // What is written here was read by its 32-bit length or lies in one request, which is shorter than that.
        self.uvarint(u32::try_from(len).unwrap_or(u32::MAX).saturating_add(1));
    }

    /// `text` is a name's, which fits 16 bits, or was checked to.
    pub(crate) fn string(&mut self, form: Form, text: &str) {
        match form {
            Form::Fixed => self.i16(i16::try_from(text.len()).unwrap_or(i16::MAX)),
            Form::Flexible => self.compact_len(text.len()),
        }
        self.raw(text.as_bytes());
    }

    pub(crate) fn nullable_string(&mut self, form: Form, text: Option<&Name>) {
        match (text, form) {
            (Some(text), _) => self.string(form, text.as_str()),
            (None, Form::Fixed) => self.i16(-1),
            (None, Form::Flexible) => self.uvarint(0),
        }
    }

    pub(crate) fn bytes(&mut self, form: Form, bytes: &[u8]) {
        self.array_len(form, bytes.len());
        self.raw(bytes);
    }

    pub(crate) fn array_len(&mut self, form: Form, len: usize) {
        match form {
            Form::Fixed => self.i32(i32::try_from(len).unwrap_or(i32::MAX)),
            Form::Flexible => self.compact_len(len),
        }
    }
}
