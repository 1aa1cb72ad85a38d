//! Reads and verifies a file.
//!
//! Two passes over the source at most: one along the payload headers that decodes all records, one over the content once
//! the index is known. The content may come before the index, hence `Seek`.

mod cursor;
mod error;
mod plain;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Seek, SeekFrom};

pub(crate) use cursor::Cursor;
pub use error::ReadError;

use crate::container::{
    Compression, FILLER, FORMAT_VERSION, FileHeader, FileType, HEADER_BYTES, MAGIC, PAYLOAD_VERSION,
    PayloadHeader, PayloadKind,
};
use crate::digest::Digest;
use crate::entry::{self, Entry};
use crate::limits::{Limits, Unknown};
use crate::place::{PayloadPlace, RecordPlace};
use crate::record::{self, Record};
use crate::slice::{self, Attribute, Slice, SliceFault, TilingFault, Walk};

/// Everything in a file but the content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stone {
    /// What the file is for.
    pub file_type: FileType,
    /// The records of each meta payload, in the order of the file.
    pub metas: Vec<Vec<Record>>,
    /// What the package puts below `/usr`.
    pub layout: Vec<Entry>,
    /// Which bytes of the content are which file; all index payloads together. Every byte is in exactly one slice, no
    /// digest occurs twice, and every digest of the layout is among them.
    pub index: Vec<Slice>,
    /// All attribute payloads together.
    pub attributes: Vec<Attribute>,
    /// Plain bytes of the content.
    pub content_bytes: u64,
}

impl Stone {
    /// How long each file of the content is, in bytes.
    #[must_use]
    pub fn sizes(&self) -> BTreeMap<Digest, u64> {
        self.index.iter().map(|slice| (slice.digest, slice.size_bytes())).collect()
    }
}

/// Receives the files of a content, one after the other.
///
/// What was written between `begin` and `end` is verified when `end` is called, and only then: a file that was begun and
/// not ended must be thrown away.
pub trait ContentSink {
    /// A file of this digest and length begins.
    ///
    /// # Errors
    /// Whatever keeps it from being stored; the reader stops with [`ReadError::Sink`].
    fn begin(&mut self, digest: Digest, size_bytes: u64) -> io::Result<()>;

    /// The next bytes of the file, not yet verified.
    ///
    /// # Errors
    /// As for `begin`.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// The file is complete and is what its digest says.
    ///
    /// # Errors
    /// As for `begin`.
    fn end(&mut self) -> io::Result<()>;
}

/// A sink that keeps nothing: for reading a file only to verify it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Discard;

impl ContentSink for Discard {
    fn begin(&mut self, _digest: Digest, _size_bytes: u64) -> io::Result<()> {
        Ok(())
    }

    fn write(&mut self, _bytes: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a whole file, verifies all of it, and hands the files of its content to `sink`.
///
/// A file of the content is handed over once its own digest is right. That the whole is right is known only when this
/// returns: after an error nothing should be kept but files that the caller would keep by digest anyway.
///
/// # Errors
/// The first thing found wrong; see [`ReadError`].
pub fn read<R: Read + Seek>(
    source: R,
    limits: &Limits,
    sink: &mut dyn ContentSink,
) -> Result<Stone, ReadError> {
    let mut scan = Scan::run(source, limits)?;
    scan.read_content(sink)?;
    Ok(scan.stone)
}

/// Reads and verifies everything but the content: its bytes are passed over, so neither its checksum nor any file digest is
/// compared. That its claimed length agrees with the index is.
///
/// # Errors
/// The first thing found wrong; see [`ReadError`].
pub fn read_records<R: Read + Seek>(source: R, limits: &Limits) -> Result<Stone, ReadError> {
    Ok(Scan::run(source, limits)?.stone)
}

/// The walk along the payloads of a file.
struct Scan<'l, R> {
    source: R,
    limits: &'l Limits,
    /// Length of the file.
    length: u64,
    /// Offset of the next byte to read.
    position: u64,
    /// Plain bytes of records that may still come.
    records_bytes_left: u64,
    stone: Stone,
    layout: Option<PayloadPlace>,
    /// Each index payload with the number of its first slice.
    indexes: Vec<(PayloadPlace, usize)>,
    content: Option<(PayloadPlace, PayloadHeader)>,
    decompressor: plain::Decompressor,
}

impl<'l, R: Read + Seek> Scan<'l, R> {
    fn run(mut source: R, limits: &'l Limits) -> Result<Self, ReadError> {
        let at_start = |source| ReadError::Source { offset: 0, source };
        let length = source.seek(SeekFrom::End(0)).map_err(at_start)?;
        source.seek(SeekFrom::Start(0)).map_err(at_start)?;
        let (file_type, payloads) = read_file_header(&mut source, length)?;
        let mut scan = Self {
            source,
            limits,
            length,
            position: HEADER_SIZE,
            records_bytes_left: limits.records_bytes_max,
            stone: Stone {
                file_type,
                metas: Vec::new(),
                layout: Vec::new(),
                index: Vec::new(),
                attributes: Vec::new(),
                content_bytes: 0,
            },
            layout: None,
            indexes: Vec::new(),
            content: None,
            decompressor: plain::Decompressor::default(),
        };
        for number in 0..payloads {
            scan.payload(number)?;
        }
        if scan.position < scan.length {
            return Err(ReadError::TrailingBytes {
                offset: scan.position,
                count_bytes: scan.length - scan.position,
            });
        }
        scan.cross_check()?;
        Ok(scan)
    }

    /// Reads one payload; of the content only the header.
    fn payload(&mut self, number: u16) -> Result<(), ReadError> {
        let mut place = PayloadPlace { number, kind: None, offset: self.position };
        let header = self.payload_header(place)?;
        place.kind = PayloadKind::from_number(header.kind);
        let left_bytes = self.length - self.position;
        if header.stored_size_bytes > left_bytes {
            return Err(ReadError::TruncatedPayload {
                place,
                stored_size_bytes: header.stored_size_bytes,
                left_bytes,
            });
        }
        let skip = self.limits.unknown_payloads == Unknown::Skip;
        match (place.kind, Compression::from_number(header.compression)) {
            (None, _) if !skip => return Err(ReadError::UnknownPayloadKind { place, number: header.kind }),
            (_, None) if !skip => {
                return Err(ReadError::UnknownCompression { place, number: header.compression });
            }
            (None, _) | (_, None) => self.pass_over(&header)?,
            (Some(_), Some(_)) if header.version != PAYLOAD_VERSION => {
                return Err(ReadError::UnknownPayloadVersion { place, version: header.version });
            }
            (Some(PayloadKind::Content), Some(_)) => {
                if self.content.is_some() {
                    return Err(ReadError::RepeatedPayload { place });
                }
                check_content_size(place, &header, self.limits)?;
                self.content = Some((place, header));
                self.pass_over(&header)?;
            }
            (Some(kind), Some(compression)) => self.records(kind, place, &header, compression)?,
        }
        Ok(())
    }

    fn payload_header(&mut self, place: PayloadPlace) -> Result<PayloadHeader, ReadError> {
        let left_bytes = self.length.saturating_sub(self.position);
        if left_bytes < HEADER_SIZE {
            return Err(ReadError::TruncatedPayloadHeader { place, left_bytes });
        }
        let mut bytes = [0; HEADER_BYTES];
        self.source
            .read_exact(&mut bytes)
            .map_err(|source| ReadError::Source { offset: self.position, source })?;
        self.position += HEADER_SIZE;
        Ok(PayloadHeader::from_bytes(&bytes))
    }

    fn pass_over(&mut self, header: &PayloadHeader) -> Result<(), ReadError> {
        // Checked above to lie within the file.
        self.position += header.stored_size_bytes;
        self.source
            .seek(SeekFrom::Start(self.position))
            .map_err(|source| ReadError::Source { offset: self.position, source })?;
        Ok(())
    }

    /// Reads and decodes a payload of records.
    fn records(
        &mut self,
        kind: PayloadKind,
        place: PayloadPlace,
        header: &PayloadHeader,
        compression: Compression,
    ) -> Result<(), ReadError> {
        let too_many = || ReadError::TooManyRecordBytes { place, limit_bytes: self.limits.records_bytes_max };
        self.records_bytes_left =
            self.records_bytes_left.checked_sub(header.plain_size_bytes).ok_or_else(too_many)?;
        // Grows as bytes arrive; the header's size is only a claim.
        let mut bytes = Vec::new();
        let (source, decompressor) = (&mut self.source, &mut self.decompressor);
        plain::stream(source, place, header, compression, self.limits, decompressor, &mut |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        self.position += header.stored_size_bytes;
        let cursor = Cursor::new(&bytes, place);
        match kind {
            PayloadKind::Meta => self.stone.metas.push(cursor.records(header.records, record::decode)?),
            PayloadKind::Layout => {
                if self.layout.replace(place).is_some() {
                    return Err(ReadError::RepeatedPayload { place });
                }
                self.stone.layout = entry::decode_all(&bytes, place, header.records)?;
            }
            PayloadKind::Index => {
                self.indexes.push((place, self.stone.index.len()));
                self.stone.index.append(&mut cursor.records(header.records, slice::decode_slice)?);
            }
            PayloadKind::Attributes => {
                let mut attributes = cursor.records(header.records, slice::decode_attribute)?;
                self.stone.attributes.append(&mut attributes);
            }
            // Never asked for here: the content has no records.
            PayloadKind::Content => {}
        }
        Ok(())
    }

    /// What layout, index and content must agree about.
    fn cross_check(&mut self) -> Result<(), ReadError> {
        if let Some((place, header)) = self.content {
            let index_records = u64::try_from(self.stone.index.len()).unwrap_or(u64::MAX);
            // Today's writers count none; the old D writer counted the records of the index.
            if header.records != 0 && u64::from(header.records) != index_records {
                return Err(ReadError::ContentRecords { place, records: header.records, index_records });
            }
            self.stone.content_bytes = header.plain_size_bytes;
            slice::tile(&self.stone.index, header.plain_size_bytes)
                .map_err(|fault| self.tiling_error(place, fault))?;
        } else if let (Some(&(place, _)), false) = (self.indexes.first(), self.stone.index.is_empty()) {
            return Err(ReadError::MissingContent { place });
        }
        let digests: BTreeSet<Digest> = self.stone.index.iter().map(|slice| slice.digest).collect();
        for (record, entry) in (0..).zip(&self.stone.layout) {
            if let (Some(digest), Some(payload)) = (entry.file.digest(), self.layout)
                && !digests.contains(&digest)
            {
                return Err(ReadError::MissingSlice {
                    place: RecordPlace { payload, record },
                    target: entry.target.clone(),
                    digest,
                });
            }
        }
        Ok(())
    }

    fn tiling_error(&self, content: PayloadPlace, fault: TilingFault) -> ReadError {
        let place = fault.slice().and_then(|slice| self.slice_place(slice)).map(|place| place.payload);
        ReadError::Tiling { place: place.unwrap_or(content), fault }
    }

    /// Where the index record with this number over all index payloads is.
    fn slice_place(&self, slice: usize) -> Option<RecordPlace> {
        let &(payload, first) = self.indexes.iter().rev().find(|(_, first)| *first <= slice)?;
        Some(RecordPlace { payload, record: u32::try_from(slice - first).ok()? })
    }

    /// Reads the content along the index.
    fn read_content(&mut self, sink: &mut dyn ContentSink) -> Result<(), ReadError> {
        let Some((place, header)) = self.content else {
            return Ok(());
        };
        // Checked when the header was read.
        let Some(compression) = Compression::from_number(header.compression) else {
            return Err(ReadError::UnknownCompression { place, number: header.compression });
        };
        let offset = place.offset + HEADER_SIZE;
        self.source.seek(SeekFrom::Start(offset)).map_err(|source| ReadError::Source { offset, source })?;
        let mut walk = Walk::new(&self.stone.index, header.plain_size_bytes)
            .map_err(|fault| self.tiling_error(place, fault))?;
        // A file with the wrong digest is kept in mind and not yet the answer: where the stored bytes differ from their
        // checksum, that is the better one.
        let mut mismatch = None;
        let (source, decompressor) = (&mut self.source, &mut self.decompressor);
        let outcome =
            plain::stream(source, place, &header, compression, self.limits, decompressor, &mut |bytes| {
                match mismatch {
                    Some(_) => Ok(()),
                    None => match walk.feed(bytes, sink) {
                        Err(fault @ SliceFault::DigestMismatch { .. }) => {
                            mismatch = Some(fault);
                            Ok(())
                        }
                        fed => fed,
                    },
                }
            });
        match outcome {
            Err(plain::StreamError::Read(error)) => Err(error),
            Err(plain::StreamError::Consumer(fault)) => Err(self.walk_error(place, fault)),
            Ok(()) => match mismatch {
                Some(fault) => Err(self.walk_error(place, fault)),
                None => walk.finish(sink).map_err(|fault| self.walk_error(place, fault)),
            },
        }
    }

    fn walk_error(&self, content: PayloadPlace, fault: SliceFault) -> ReadError {
        match fault {
            SliceFault::DigestMismatch { slice, expected, found } => {
                let place = self.slice_place(slice).unwrap_or(RecordPlace { payload: content, record: 0 });
                ReadError::DigestMismatch { place, expected, found }
            }
            SliceFault::Sink { digest, source } => ReadError::Sink { digest, source },
        }
    }
}

/// [`HEADER_BYTES`] as an offset.
const HEADER_SIZE: u64 = 32;

/// Reads and checks the file header: what the file is for, and how many payloads follow.
fn read_file_header<R: Read>(source: &mut R, length_bytes: u64) -> Result<(FileType, u16), ReadError> {
    let mut bytes = [0; HEADER_BYTES];
    // A short file of another kind is better called that than a truncated stone.
    let there = usize::try_from(length_bytes).unwrap_or(HEADER_BYTES).min(HEADER_BYTES);
    source.read_exact(&mut bytes[..there]).map_err(|source| ReadError::Source { offset: 0, source })?;
    let header = FileHeader::from_bytes(&bytes);
    if there >= MAGIC.len() && header.magic != MAGIC {
        return Err(ReadError::WrongMagic { found: header.magic });
    }
    if there < HEADER_BYTES {
        return Err(ReadError::TruncatedHeader { length_bytes });
    }
    if header.version != FORMAT_VERSION {
        return Err(ReadError::UnknownVersion { version: header.version });
    }
    if let Some((offset, _)) = (6..).zip(header.filler.iter().zip(&FILLER)).find(|(_, (is, must))| is != must)
    {
        return Err(ReadError::WrongFiller { offset });
    }
    let file_type = FileType::from_number(header.file_type)
        .ok_or(ReadError::UnknownFileType { number: header.file_type })?;
    Ok((file_type, header.payloads))
}

fn check_content_size(place: PayloadPlace, header: &PayloadHeader, limits: &Limits) -> Result<(), ReadError> {
    if header.plain_size_bytes > limits.content_bytes_max {
        return Err(ReadError::TooManyContentBytes {
            place,
            plain_size_bytes: header.plain_size_bytes,
            limit_bytes: limits.content_bytes_max,
        });
    }
    Ok(())
}
