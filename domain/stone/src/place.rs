//! Where in a file something is, for error messages.

use std::fmt;

use crate::container::PayloadKind;

/// A payload of a file. Printed as `payload 2 (index) at byte 2690`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayloadPlace {
    /// Its number; the first is 0.
    pub number: u16,
    /// What it holds, where that is known.
    pub kind: Option<PayloadKind>,
    /// Offset of its header in the file, in bytes.
    pub offset: u64,
}

impl fmt::Display for PayloadPlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "payload {}", self.number)?;
        if let Some(kind) = self.kind {
            write!(formatter, " ({})", kind.label())?;
        }
        write!(formatter, " at byte {}", self.offset)
    }
}

/// A record of a payload. Printed as `record 7 of payload 2 (index) at byte 2690`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordPlace {
    /// The payload.
    pub payload: PayloadPlace,
    /// The number of the record in it; the first is 0.
    pub record: u32,
}

impl fmt::Display for RecordPlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "record {} of {}", self.record, self.payload)
    }
}
