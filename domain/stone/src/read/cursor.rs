//! Reads the fields of records from the plain bytes of a payload, never past their end.

use crate::place::{PayloadPlace, RecordPlace};
use crate::read::ReadError;

/// A position in a payload. Knows which record it is in, so that every error can say so.
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
    place: RecordPlace,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8], payload: PayloadPlace) -> Self {
        Self { rest: bytes, place: RecordPlace { payload, record: 0 } }
    }

    /// The record that is being read.
    pub(crate) fn place(&self) -> RecordPlace {
        self.place
    }

    /// Decodes `count` records, which must be all that there is.
    pub(crate) fn records<T>(
        mut self,
        count: u32,
        decode: impl Fn(&mut Cursor<'a>) -> Result<T, ReadError>,
    ) -> Result<Vec<T>, ReadError> {
        // Grows as records are found: the count is only a claim.
        let mut records = Vec::new();
        for number in 0..count {
            self.place.record = number;
            records.push(decode(&mut self)?);
        }
        if self.rest.is_empty() {
            Ok(records)
        } else {
            let left_bytes = size(self.rest);
            Err(ReadError::BytesAfterRecords { place: self.place.payload, left_bytes })
        }
    }

    /// The next `length` bytes.
    pub(crate) fn bytes(&mut self, length: u64) -> Result<&'a [u8], ReadError> {
        let split = usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length));
        let Some((taken, rest)) = split else {
            let left_bytes = size(self.rest);
            return Err(ReadError::TruncatedRecord { place: self.place, wanted_bytes: length, left_bytes });
        };
        self.rest = rest;
        Ok(taken)
    }

    /// The next `N` bytes, `N` being the width of a field.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        let Some((taken, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(ReadError::TruncatedRecord {
                place: self.place,
                wanted_bytes: u64::try_from(N).unwrap_or(u64::MAX),
                left_bytes: size(self.rest),
            });
        };
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, ReadError> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, ReadError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, ReadError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, ReadError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// Bytes that the format leaves unused.
    pub(crate) fn zeros<const N: usize>(&mut self) -> Result<(), ReadError> {
        if self.array::<N>()?.iter().any(|&byte| byte != 0) {
            return Err(ReadError::NonZeroPadding { place: self.place });
        }
        Ok(())
    }

    /// The next `length` bytes as text, NULs at the end cut off: today's writers end texts with one, the old D writer
    /// ended targets with one too.
    pub(crate) fn text(&mut self, length: u64, what: &'static str) -> Result<String, ReadError> {
        let bytes = self.bytes(length)?;
        let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        let text = std::str::from_utf8(&bytes[..end])
            .map_err(|_source| ReadError::NotUtf8 { place: self.place, what })?;
        if text.contains('\0') {
            return Err(ReadError::NulInText { place: self.place, what });
        }
        Ok(text.to_owned())
    }
}

fn size(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
