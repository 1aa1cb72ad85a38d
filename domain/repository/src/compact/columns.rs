//! Columns of values: writing them, and reading them without trusting them.

use super::{CompactError, FORMAT};

/// A number in seven bits per byte, lowest first.
pub(super) fn put_number(column: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        column.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    column.push(number.to_le_bytes()[0]);
}

/// Bytes with their number before them.
pub(super) fn put_bytes(column: &mut Vec<u8>, bytes: &[u8]) {
    put_number(column, super::count(bytes.len()));
    column.extend_from_slice(bytes);
}

/// The columns of one file, by number.
#[derive(Debug)]
pub(super) struct Columns<'a> {
    what: &'static str,
    columns: Vec<(u8, &'a [u8])>,
}

impl<'a> Columns<'a> {
    /// The number of packages and the columns of a file that begins with `magic`; `what` is its name in errors.
    pub(super) fn read(
        bytes: &'a [u8],
        magic: [u8; 4],
        what: &'static str,
    ) -> Result<(u64, Columns<'a>), CompactError> {
        let rest = bytes
            .strip_prefix(&magic)
            .and_then(|rest| rest.strip_prefix(&[FORMAT]))
            .ok_or(CompactError::Magic { what })?;
        let mut cursor = Cursor { what, rest };
        let count = cursor.number()?;
        let mut columns = Columns { what, columns: Vec::new() };
        while !cursor.rest.is_empty() {
            let number = cursor.byte()?;
            if columns.columns.iter().any(|(known, _)| *known == number) {
                return Err(columns.damaged("it has a column twice"));
            }
            columns.columns.push((number, cursor.bytes()?));
        }
        Ok((count, columns))
    }

    /// Where the values of a column begin.
    pub(super) fn cursor(&self, number: u8) -> Result<Cursor<'a>, CompactError> {
        let column = self.columns.iter().find(|(known, _)| *known == number);
        let (_, rest) = column.ok_or_else(|| self.damaged("it lacks a column"))?;
        Ok(Cursor { what: self.what, rest })
    }

    pub(super) fn damaged(&self, problem: &'static str) -> CompactError {
        CompactError::Damaged { what: self.what, problem }
    }
}

/// A place in a column, from which values are taken one after another.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    pub(super) what: &'static str,
    pub(super) rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) fn damaged(&self, problem: &'static str) -> CompactError {
        CompactError::Damaged { what: self.what, problem }
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], CompactError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or_else(|| self.damaged("it ends in the middle of a value"))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, CompactError> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn number(&mut self) -> Result<u64, CompactError> {
        let mut number = 0_u64;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit only.
            if (bits << shift) >> shift != bits {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(self.damaged("a number in it is too large"))
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], CompactError> {
        let length = self.number()?;
        self.take(usize::try_from(length).unwrap_or(usize::MAX))
    }

    pub(super) fn text(&mut self) -> Result<&'a str, CompactError> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).map_err(|_| self.damaged("a text in it is not UTF-8"))
    }

    /// That nothing is left.
    pub(super) fn end(&self) -> Result<(), CompactError> {
        match self.rest.is_empty() {
            true => Ok(()),
            false => Err(self.damaged("a column has more values than there are packages")),
        }
    }
}
