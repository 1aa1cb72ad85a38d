//! The codec as its users see it: what is written comes back, and whatever is damaged is refused by name.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "what helps tests fails as tests do")]

mod crafted;
mod damage;
mod mutations;
mod packing;
mod round_trip;

use std::io::{self, Cursor};

use stone::{ContentSink, Digest, Limits, ReadError, Stone};

/// A sink that keeps every finished file.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Keep {
    pub(crate) files: Vec<(Digest, Vec<u8>)>,
    open: Option<(Digest, u64, Vec<u8>)>,
}

impl ContentSink for Keep {
    fn begin(&mut self, digest: Digest, size_bytes: u64) -> io::Result<()> {
        assert!(self.open.is_none(), "one file at a time");
        self.open = Some((digest, size_bytes, Vec::new()));
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.open.as_mut().unwrap().2.extend(bytes);
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        let (digest, size_bytes, bytes) = self.open.take().unwrap();
        assert_eq!(u64::try_from(bytes.len()).unwrap(), size_bytes);
        assert_eq!(Digest::of(&bytes), digest);
        self.files.push((digest, bytes));
        Ok(())
    }
}

pub(crate) fn decode(bytes: &[u8]) -> Result<(Stone, Keep), ReadError> {
    decode_within(bytes, &Limits::default())
}

pub(crate) fn decode_within(bytes: &[u8], limits: &Limits) -> Result<(Stone, Keep), ReadError> {
    let mut keep = Keep::default();
    let stone = stone::read(Cursor::new(bytes), limits, &mut keep)?;
    assert!(keep.open.is_none(), "a file was begun and not ended");
    Ok((stone, keep))
}
