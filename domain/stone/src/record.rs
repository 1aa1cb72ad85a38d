//! Meta records: tagged values that describe a package.

use crate::read::{Cursor, ReadError};
use crate::write::WriteError;

/// The numbers of the tags, and so the meaning of a [`Record`].
pub mod tag {
    /// Name of the package: text, once.
    pub const NAME: u16 = 1;
    /// Architecture that it runs on: text, once.
    pub const ARCHITECTURE: u16 = 2;
    /// Version of the software in it: text, once.
    pub const VERSION: u16 = 3;
    /// What it is, in one line: text, once.
    pub const SUMMARY: u16 = 4;
    /// What it is, in some lines: text, once.
    pub const DESCRIPTION: u16 = 5;
    /// Where the software is at home: text, once.
    pub const HOMEPAGE: u16 = 6;
    /// Name of the recipe that it was built from: text, once.
    pub const SOURCE_ID: u16 = 7;
    /// What it needs: dependency, any number.
    pub const DEPENDS: u16 = 8;
    /// What it offers: provider, any number.
    pub const PROVIDES: u16 = 9;
    /// What it cannot be installed with: provider, any number.
    pub const CONFLICTS: u16 = 10;
    /// Release of the recipe: u64, once.
    pub const RELEASE: u16 = 11;
    /// Licence, an SPDX expression: text, any number.
    pub const LICENSE: u16 = 12;
    /// How often this release was built: u64, once.
    pub const BUILD_RELEASE: u16 = 13;
    /// Where the package is, relative to the index: text, in indexes.
    pub const PACKAGE_URI: u16 = 14;
    /// SHA-256 of the `.stone` file in hexadecimal digits: text, in indexes.
    pub const PACKAGE_HASH: u16 = 15;
    /// Bytes of the `.stone` file: u64, in indexes.
    pub const PACKAGE_SIZE: u16 = 16;
    /// What building it needs: dependency, any number, in manifests.
    pub const BUILD_DEPENDS: u16 = 17;
    /// Reserved; no known tool writes it.
    pub const SOURCE_URI: u16 = 18;
    /// Reserved; no known tool writes it.
    pub const SOURCE_PATH: u16 = 19;
    /// Reserved; no known tool writes it.
    pub const SOURCE_REF: u16 = 20;
}

/// One record of a meta payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What the value means; see [`tag`].
    pub tag: u16,
    /// The value.
    pub value: Value,
}

/// The value of a [`Record`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A number.
    I8(i8),
    /// A number.
    U8(u8),
    /// A number.
    I16(i16),
    /// A number.
    U16(u16),
    /// A number.
    I32(i32),
    /// A number.
    U32(u32),
    /// A number.
    I64(i64),
    /// A number.
    U64(u64),
    /// Text without NUL.
    Text(String),
    /// Something needed.
    Dependency {
        /// The number of its kind; unknown ones are kept.
        kind: u8,
        /// Its name, without NUL.
        name: String,
    },
    /// Something offered.
    Provider {
        /// The number of its kind; unknown ones are kept.
        kind: u8,
        /// Its name, without NUL.
        name: String,
    },
    /// A value of a type that this version does not list.
    Opaque {
        /// The number of the type: 0, or 12 and above.
        type_number: u8,
        /// Its bytes.
        bytes: Vec<u8>,
    },
}

impl Value {
    /// The number of the value's type.
    #[must_use]
    pub fn type_number(&self) -> u8 {
        match self {
            Value::I8(_) => 1,
            Value::U8(_) => 2,
            Value::I16(_) => 3,
            Value::U16(_) => 4,
            Value::I32(_) => 5,
            Value::U32(_) => 6,
            Value::I64(_) => 7,
            Value::U64(_) => 8,
            Value::Text(_) => 9,
            Value::Dependency { .. } => 10,
            Value::Provider { .. } => 11,
            Value::Opaque { type_number, .. } => *type_number,
        }
    }
}

impl Record {
    /// A record with text.
    #[must_use]
    pub fn text(tag: u16, text: impl Into<String>) -> Self {
        Self { tag, value: Value::Text(text.into()) }
    }

    /// A record with a number.
    #[must_use]
    pub fn number(tag: u16, number: u64) -> Self {
        Self { tag, value: Value::U64(number) }
    }
}

/// Decodes the record at the cursor.
pub(crate) fn decode(cursor: &mut Cursor<'_>) -> Result<Record, ReadError> {
    let length = cursor.u32()?;
    let tag = cursor.u16()?;
    let type_number = cursor.u8()?;
    cursor.zeros::<1>()?;
    let value = match type_number {
        1 => Value::I8(i8::from_be_bytes(number(cursor, length, type_number)?)),
        2 => Value::U8(u8::from_be_bytes(number(cursor, length, type_number)?)),
        3 => Value::I16(i16::from_be_bytes(number(cursor, length, type_number)?)),
        4 => Value::U16(u16::from_be_bytes(number(cursor, length, type_number)?)),
        5 => Value::I32(i32::from_be_bytes(number(cursor, length, type_number)?)),
        6 => Value::U32(u32::from_be_bytes(number(cursor, length, type_number)?)),
        7 => Value::I64(i64::from_be_bytes(number(cursor, length, type_number)?)),
        8 => Value::U64(u64::from_be_bytes(number(cursor, length, type_number)?)),
        9 => Value::Text(cursor.text(u64::from(length), "text")?),
        10 | 11 => {
            let Some(name_bytes) = length.checked_sub(1) else {
                return Err(ReadError::EmptyDependency { place: cursor.place() });
            };
            let kind = cursor.u8()?;
            let name = cursor.text(u64::from(name_bytes), "name")?;
            if type_number == 10 { Value::Dependency { kind, name } } else { Value::Provider { kind, name } }
        }
        _ => Value::Opaque { type_number, bytes: cursor.bytes(u64::from(length))?.to_vec() },
    };
    Ok(Record { tag, value })
}

/// The `N` bytes of a number, if that is the length which the record claims.
fn number<const N: usize>(
    cursor: &mut Cursor<'_>,
    length: u32,
    type_number: u8,
) -> Result<[u8; N], ReadError> {
    if u32::try_from(N) != Ok(length) {
        return Err(ReadError::NumberLength { place: cursor.place(), type_number, length_bytes: length });
    }
    cursor.array()
}

/// Appends the record as the format has it.
///
/// # Errors
/// For text with a NUL, an opaque value with the number of a known type, and a value beyond four gibibytes.
pub(crate) fn encode(number: usize, record: &Record, out: &mut Vec<u8>) -> Result<(), WriteError> {
    let mut value = Vec::new();
    match &record.value {
        Value::I8(number) => value.extend(number.to_be_bytes()),
        Value::U8(number) => value.extend(number.to_be_bytes()),
        Value::I16(number) => value.extend(number.to_be_bytes()),
        Value::U16(number) => value.extend(number.to_be_bytes()),
        Value::I32(number) => value.extend(number.to_be_bytes()),
        Value::U32(number) => value.extend(number.to_be_bytes()),
        Value::I64(number) => value.extend(number.to_be_bytes()),
        Value::U64(number) => value.extend(number.to_be_bytes()),
        Value::Text(text) => push_text(number, text, &mut value)?,
        Value::Dependency { kind, name } | Value::Provider { kind, name } => {
            value.push(*kind);
            push_text(number, name, &mut value)?;
        }
        Value::Opaque { type_number, bytes } => {
            if (1..=11).contains(type_number) {
                return Err(WriteError::OpaqueOfKnownType { record: number, type_number: *type_number });
            }
            value.extend(bytes);
        }
    }
    let length = u32::try_from(value.len()).map_err(|_source| WriteError::ValueTooLong { record: number })?;
    out.extend(length.to_be_bytes());
    out.extend(record.tag.to_be_bytes());
    out.push(record.value.type_number());
    out.push(0);
    out.append(&mut value);
    Ok(())
}

fn push_text(number: usize, text: &str, value: &mut Vec<u8>) -> Result<(), WriteError> {
    if text.contains('\0') {
        return Err(WriteError::NulInText { record: number, text: text.to_owned() });
    }
    value.extend(text.as_bytes());
    value.push(0);
    Ok(())
}
