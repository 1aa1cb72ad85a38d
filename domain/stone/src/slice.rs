//! Index and attribute records, and the walk along the content that the index describes.

use std::io;

use crate::digest::{Digest, Hasher};
use crate::read::{ContentSink, Cursor, ReadError};

/// Which bytes of the content are one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// Its first byte in the content.
    pub start: u64,
    /// The byte after its last.
    pub end: u64,
    /// The digest of those bytes.
    pub digest: Digest,
}

impl Slice {
    /// Length of the file, in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }
}

/// A pair of bytes. Nothing is known to write any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// The key.
    pub key: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
}

/// Why the slices of a file do not cover its content as they must: every byte once, every digest once. Slices are named by
/// the number of their record, counted over all index payloads; the first is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TilingFault {
    /// A slice ends before it begins.
    #[error("index record {slice} ends before it begins")]
    Reversed {
        /// The slice.
        slice: usize,
    },
    /// A slice reaches past the content.
    #[error("index record {slice} ends at byte {end} of a content of {content_bytes} bytes")]
    OutOfRange {
        /// The slice.
        slice: usize,
        /// Where it ends.
        end: u64,
        /// Length of the content.
        content_bytes: u64,
    },
    /// Two slices share bytes.
    #[error("index records {first} and {second} overlap")]
    Overlap {
        /// One of them.
        first: usize,
        /// The other.
        second: usize,
    },
    /// Bytes of the content belong to no slice.
    #[error("bytes {start} to {end} of the content belong to no index record")]
    Gap {
        /// The first such byte.
        start: u64,
        /// The byte after the last.
        end: u64,
    },
    /// Two slices have the same digest.
    #[error("index records {first} and {second} have the same digest")]
    RepeatedDigest {
        /// One of them.
        first: usize,
        /// The other.
        second: usize,
    },
}

impl TilingFault {
    /// The slice at fault; none where bytes belong to no slice.
    pub(crate) fn slice(self) -> Option<usize> {
        match self {
            TilingFault::Reversed { slice } | TilingFault::OutOfRange { slice, .. } => Some(slice),
            TilingFault::Overlap { second, .. } | TilingFault::RepeatedDigest { second, .. } => Some(second),
            TilingFault::Gap { .. } => None,
        }
    }
}

/// Why a walk along the content stopped.
#[derive(Debug, thiserror::Error)]
pub enum SliceFault {
    /// The bytes of a slice are not those of its digest.
    #[error("index record {slice} has digest {expected}, its bytes have {found}")]
    DigestMismatch {
        /// The number of the record.
        slice: usize,
        /// The digest in the index.
        expected: Digest,
        /// The digest of the bytes.
        found: Digest,
    },
    /// The receiver failed.
    #[error("cannot store the file {digest}")]
    Sink {
        /// The file.
        digest: Digest,
        /// What the receiver said.
        #[source]
        source: io::Error,
    },
}

/// The order in which slices lie in a content of `content_bytes`, as their numbers.
pub(crate) fn tile(slices: &[Slice], content_bytes: u64) -> Result<Vec<usize>, TilingFault> {
    let mut order: Vec<usize> = (0..slices.len()).collect();
    order.sort_by_key(|&slice| (slices[slice].digest, slice));
    for pair in order.windows(2) {
        if slices[pair[0]].digest == slices[pair[1]].digest {
            return Err(TilingFault::RepeatedDigest { first: pair[0], second: pair[1] });
        }
    }
    order.sort_by_key(|&number| (slices[number].start, slices[number].end, number));
    let mut position = 0;
    let mut previous = 0;
    for &number in &order {
        let Slice { start, end, .. } = slices[number];
        if start > end {
            return Err(TilingFault::Reversed { slice: number });
        }
        if end > content_bytes {
            return Err(TilingFault::OutOfRange { slice: number, end, content_bytes });
        }
        if start < position {
            return Err(TilingFault::Overlap { first: previous, second: number });
        }
        if start > position {
            return Err(TilingFault::Gap { start: position, end: start });
        }
        position = end;
        previous = number;
    }
    if position < content_bytes {
        return Err(TilingFault::Gap { start: position, end: content_bytes });
    }
    Ok(order)
}

/// Cuts a stream of content into its files, checks each and hands it on.
pub(crate) struct Walk<'a> {
    slices: &'a [Slice],
    order: Vec<usize>,
    /// Place in `order` of the open slice, or of the next one where none is open.
    next: usize,
    /// The open slice: what of it was seen, and the bytes still to come.
    open: Option<(Hasher, u64)>,
}

impl<'a> Walk<'a> {
    /// A walk along slices that cover exactly `content_bytes`.
    pub(crate) fn new(slices: &'a [Slice], content_bytes: u64) -> Result<Self, TilingFault> {
        Ok(Self { slices, order: tile(slices, content_bytes)?, next: 0, open: None })
    }

    /// Takes the next bytes of the content.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], sink: &mut dyn ContentSink) -> Result<(), SliceFault> {
        while !bytes.is_empty() {
            let Some(&number) = self.order.get(self.next) else {
                // More bytes than the slices cover; who feeds counts them and refuses.
                return Ok(());
            };
            let digest = self.slices[number].digest;
            let sink_error = |source| SliceFault::Sink { digest, source };
            let (mut hasher, left) = match self.open.take() {
                Some(open) => open,
                None => {
                    let size_bytes = self.slices[number].size_bytes();
                    sink.begin(digest, size_bytes).map_err(sink_error)?;
                    (Hasher::new(), size_bytes)
                }
            };
            let take = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
            let (piece, rest) = bytes.split_at(take);
            if !piece.is_empty() {
                hasher.update(piece);
                sink.write(piece).map_err(sink_error)?;
            }
            bytes = rest;
            let taken = u64::try_from(take).unwrap_or(u64::MAX);
            self.open = Some((hasher, left.saturating_sub(taken)));
            self.close_if_complete(sink)?;
        }
        Ok(())
    }

    /// Ends the walk after the last byte: what is left are empty files.
    pub(crate) fn finish(mut self, sink: &mut dyn ContentSink) -> Result<(), SliceFault> {
        while let Some(&number) = self.order.get(self.next) {
            let Slice { digest, .. } = self.slices[number];
            if self.open.is_none() {
                let size_bytes = self.slices[number].size_bytes();
                sink.begin(digest, size_bytes).map_err(|source| SliceFault::Sink { digest, source })?;
            }
            let (hasher, _left) = self.open.take().unwrap_or_default();
            self.open = Some((hasher, 0));
            self.close_if_complete(sink)?;
        }
        Ok(())
    }

    fn close_if_complete(&mut self, sink: &mut dyn ContentSink) -> Result<(), SliceFault> {
        let (Some((hasher, 0)), Some(&number)) = (&self.open, self.order.get(self.next)) else {
            return Ok(());
        };
        let expected = self.slices[number].digest;
        let found = hasher.digest();
        if found != expected {
            return Err(SliceFault::DigestMismatch { slice: number, expected, found });
        }
        sink.end().map_err(|source| SliceFault::Sink { digest: expected, source })?;
        self.open = None;
        self.next += 1;
        Ok(())
    }
}

pub(crate) fn decode_slice(cursor: &mut Cursor<'_>) -> Result<Slice, ReadError> {
    let start = cursor.u64()?;
    let end = cursor.u64()?;
    let digest = Digest::from_be_bytes(cursor.array()?);
    if start > end {
        return Err(ReadError::ReversedSlice { place: cursor.place(), start, end });
    }
    Ok(Slice { start, end, digest })
}

pub(crate) fn encode_slice(slice: &Slice, out: &mut Vec<u8>) {
    out.extend(slice.start.to_be_bytes());
    out.extend(slice.end.to_be_bytes());
    out.extend(slice.digest.to_be_bytes());
}

pub(crate) fn decode_attribute(cursor: &mut Cursor<'_>) -> Result<Attribute, ReadError> {
    let key_length = cursor.u64()?;
    let value_length = cursor.u64()?;
    let key = cursor.bytes(key_length)?.to_vec();
    let value = cursor.bytes(value_length)?.to_vec();
    Ok(Attribute { key, value })
}

pub(crate) fn encode_attribute(attribute: &Attribute, out: &mut Vec<u8>) {
    // No length in memory exceeds 64 bits.
    let length = |bytes: &[u8]| u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes();
    out.extend(length(&attribute.key));
    out.extend(length(&attribute.value));
    out.extend(&attribute.key);
    out.extend(&attribute.value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(start: u64, end: u64, name: &str) -> Slice {
        Slice { start, end, digest: Digest::of(name.as_bytes()) }
    }

    #[test]
    fn tilings() {
        let check = |slices: &[Slice], content_bytes, expect: Result<Vec<usize>, TilingFault>| {
            assert_eq!(tile(slices, content_bytes), expect, "{slices:?} {content_bytes}");
        };
        check(&[], 0, Ok(vec![]));
        check(&[slice(4, 9, "b"), slice(0, 4, "a")], 9, Ok(vec![1, 0]));
        check(&[slice(4, 4, ""), slice(4, 9, "b"), slice(0, 4, "a")], 9, Ok(vec![2, 0, 1]));
        check(&[], 3, Err(TilingFault::Gap { start: 0, end: 3 }));
        check(&[slice(0, 4, "a")], 3, Err(TilingFault::OutOfRange { slice: 0, end: 4, content_bytes: 3 }));
        check(&[slice(0, 4, "a"), slice(3, 5, "b")], 5, Err(TilingFault::Overlap { first: 0, second: 1 }));
        check(&[slice(0, 4, "a"), slice(5, 6, "b")], 6, Err(TilingFault::Gap { start: 4, end: 5 }));
        check(&[slice(0, 4, "a")], 6, Err(TilingFault::Gap { start: 4, end: 6 }));
        check(
            &[slice(0, 4, "a"), slice(4, 8, "a")],
            8,
            Err(TilingFault::RepeatedDigest { first: 0, second: 1 }),
        );
        check(&[slice(2, 1, "a")], 2, Err(TilingFault::Reversed { slice: 0 }));
    }
}
