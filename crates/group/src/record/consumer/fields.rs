//! The fields that keys and values of group records are made of.
//!
//! Keys are of the old form (lengths in two bytes), values of the flexible one (unsigned varints, sections of tagged fields).
//! Nothing is allocated by a length that the bytes claim: an array grows as its elements are read, and each takes a byte.

use alloc::{string::String, vec::Vec};

use hanbeon_records::TopicId;

use super::RecordError;

/// Reads one field after the other.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) const fn finish(self) -> Result<(), RecordError> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(RecordError::Trailing { left }),
        }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], RecordError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(RecordError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(RecordError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn i8(&mut self) -> Result<i8, RecordError> {
        self.chunk().map(i8::from_be_bytes)
    }

    pub(super) fn i16(&mut self) -> Result<i16, RecordError> {
        self.chunk().map(i16::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, RecordError> {
        self.chunk().map(i32::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, RecordError> {
        self.chunk().map(i64::from_be_bytes)
    }

    pub(super) fn topic_id(&mut self) -> Result<TopicId, RecordError> {
        self.chunk().map(TopicId::new)
    }

    /// A string of a key: two bytes of length.
    pub(super) fn short_string(&mut self) -> Result<String, RecordError> {
        let found = self.i16()?;
        let len = usize::try_from(found)
            .ok()
            .ok_or_else(|| RecordError::Length { found: found.into() })?;
        text(self.take(len)?)
    }

    fn varint(&mut self) -> Result<u32, RecordError> {
        let mut value = 0;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.chunk()?;
            let bits = u32::from(byte & 0x7f);
            if shift == 28 && byte > 0x0f {
                return Err(RecordError::Varint);
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(RecordError::Varint)
    }

    /// A length of the flexible form: 0 is null, else one more than the length.
    fn length(&mut self) -> Result<Option<usize>, RecordError> {
        let found = self.varint()?;
        match found.checked_sub(1) {
            None => Ok(None),
            Some(len) => usize::try_from(len)
                .map(Some)
                .ok()
                .ok_or_else(|| RecordError::Length { found: found.into() }),
        }
    }

    pub(super) fn bytes(&mut self) -> Result<Vec<u8>, RecordError> {
        let len = self.length()?.ok_or(RecordError::Null)?;
        Ok(self.take(len)?.to_vec())
    }

    pub(super) fn nullable_string(&mut self) -> Result<Option<String>, RecordError> {
        match self.length()? {
            None => Ok(None),
            Some(len) => text(self.take(len)?).map(Some),
        }
    }

    pub(super) fn string(&mut self) -> Result<String, RecordError> {
        self.nullable_string()?.ok_or(RecordError::Null)
    }

    pub(super) fn nullable_array<T>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<T, RecordError>,
    ) -> Result<Option<Vec<T>>, RecordError> {
        let Some(len) = self.length()? else { return Ok(None) };
        let mut elements = Vec::new();
        for _ in 0..len {
            elements.push(element(self)?);
        }
        Ok(Some(elements))
    }

    pub(super) fn array<T>(
        &mut self,
        element: impl FnMut(&mut Self) -> Result<T, RecordError>,
    ) -> Result<Vec<T>, RecordError> {
        self.nullable_array(element)?.ok_or(RecordError::Null)
    }

    /// A section of tagged fields: `known` gets each tag with a reader of its bytes and says whether it knows it; one that it
    /// does not know is left out, as whoever wrote it expects.
    pub(super) fn tags(
        &mut self,
        mut known: impl FnMut(u32, &mut Self) -> Result<Tag, RecordError>,
    ) -> Result<(), RecordError> {
        for _ in 0..self.varint()? {
            let tag = self.varint()?;
            let found = self.varint()?;
            let len = usize::try_from(found)
                .ok()
                .ok_or_else(|| RecordError::Length { found: found.into() })?;
            let mut field = Reader::new(self.take(len)?);
            match known(tag, &mut field)? {
                Tag::Read => field.finish()?,
                Tag::Unknown => {}
            }
        }
        Ok(())
    }

    pub(super) fn no_tags(&mut self) -> Result<(), RecordError> {
        self.tags(|_, _| Ok(Tag::Unknown))
    }

    /// A struct that may be null, as it stands in a tagged field: 0, or 1 and the struct.
    pub(super) fn nullable_struct<T>(
        &mut self,
        fields: impl FnOnce(&mut Self) -> Result<T, RecordError>,
    ) -> Result<Option<T>, RecordError> {
        if self.varint()? == 0 { Ok(None) } else { fields(self).map(Some) }
    }
}

/// What became of a tagged field.
pub(super) enum Tag {
    Read,
    Unknown,
}

fn text(bytes: &[u8]) -> Result<String, RecordError> {
    match core::str::from_utf8(bytes) {
        Ok(text) => Ok(text.into()),
        Err(error) => Err(RecordError::Text { valid_up_to: error.valid_up_to() }),
    }
}

/// Appends one field after the other.
pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Begins with the two bytes that say the kind of a key or the version of a value.
    pub(super) fn new(head: i16) -> Self {
        Self { bytes: head.to_be_bytes().to_vec() }
    }

    const fn field() -> Self {
        Self { bytes: Vec::new() }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.bytes
    }

    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn short_string(&mut self, text: &str) -> Result<(), RecordError> {
        let len = i16::try_from(text.len()).ok().ok_or(RecordError::TooLong { len: text.len() })?;
        self.put(&len.to_be_bytes());
        self.put(text.as_bytes());
        Ok(())
    }

    fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            let [low, ..] = value.to_le_bytes();
            self.bytes.push(low | 0x80);
            value >>= 7;
        }
        let [low, ..] = value.to_le_bytes();
        self.bytes.push(low);
    }

    /// A length of the flexible form.
    fn length(&mut self, len: usize) -> Result<(), RecordError> {
        let raw = u32::try_from(len).ok().and_then(|len| len.checked_add(1));
        self.varint(raw.ok_or(RecordError::TooLong { len })?);
        Ok(())
    }

    pub(super) fn data(&mut self, bytes: &[u8]) -> Result<(), RecordError> {
        self.length(bytes.len())?;
        self.put(bytes);
        Ok(())
    }

    pub(super) fn string(&mut self, text: &str) -> Result<(), RecordError> {
        self.data(text.as_bytes())
    }

    pub(super) fn nullable_string(&mut self, text: Option<&str>) -> Result<(), RecordError> {
        match text {
            None => {
                self.varint(0);
                Ok(())
            }
            Some(text) => self.string(text),
        }
    }

    pub(super) fn array<T>(
        &mut self,
        elements: &[T],
        mut put: impl FnMut(&mut Self, &T) -> Result<(), RecordError>,
    ) -> Result<(), RecordError> {
        self.length(elements.len())?;
        elements.iter().try_for_each(|element| put(self, element))
    }

    pub(super) fn no_tags(&mut self) {
        self.varint(0);
    }

    /// A section of tagged fields, ascending by tag.
    pub(super) fn tags(&mut self, fields: &[(u32, Vec<u8>)]) -> Result<(), RecordError> {
        let count = |len: usize| u32::try_from(len).ok().ok_or(RecordError::TooLong { len });
        self.varint(count(fields.len())?);
        for (tag, bytes) in fields {
            self.varint(*tag);
            self.varint(count(bytes.len())?);
            self.put(bytes);
        }
        Ok(())
    }

    /// The bytes of a tagged field.
    pub(super) fn tagged(
        put: impl FnOnce(&mut Self) -> Result<(), RecordError>,
    ) -> Result<Vec<u8>, RecordError> {
        let mut field = Self::field();
        put(&mut field)?;
        Ok(field.finish())
    }

    /// A struct that may be null, within a tagged field.
    pub(super) fn nullable_struct<T>(
        &mut self,
        value: Option<&T>,
        put: impl FnOnce(&mut Self, &T) -> Result<(), RecordError>,
    ) -> Result<(), RecordError> {
        match value {
            None => {
                self.varint(0);
                Ok(())
            }
            Some(value) => {
                self.varint(1);
                put(self, value)
            }
        }
    }
}
