//! Writes a file, payload by payload.
//!
//! The header counts the payloads and each payload header gives its stored size, both of which are known only
//! afterwards; they are filled in by seeking back. Until [`Writer::finish`] the header counts no payloads, so a file that
//! was left unfinished is refused by every strict reader.

use std::io::{self, Read, Seek, SeekFrom, Write};

use fault::{Fault, Kind};

use crate::container::{
    Compression, FileHeader, FileType, HEADER_BYTES, PAYLOAD_VERSION, PAYLOADS_MAX, PayloadHeader,
    PayloadKind,
};
use crate::digest::Hasher;
use crate::entry::{self, Entry, TargetFault};
use crate::read::{Discard, Stone};
use crate::record::{self, Record};
use crate::slice::{self, Attribute, Slice, SliceFault, TilingFault, Walk};

/// Bytes of content read at a time: a zstd block.
const BUFFER_BYTES: usize = 128 * 1024;

/// How payloads are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// As they are.
    None,
    /// One zstd frame each, made by one thread so that the same bytes always give the same frame.
    Zstd {
        /// Level of zstd: 1 is fast, 22 is small.
        level: i32,
        /// The window as a power of two, 10 to 31; the size of what is packed bounds it further.
        window_log: u32,
    },
}

impl Packing {
    /// What the AerynOS tools write: for packages that are built once and downloaded often.
    pub const SMALL: Packing = Packing::Zstd { level: 18, window_log: 31 };

    /// Some fifty times faster and a fifth larger: for large indexes and for tests.
    pub const FAST: Packing = Packing::Zstd { level: 3, window_log: 21 };
}

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The receiver of the bytes failed.
    #[error("cannot write a stone")]
    Output {
        /// What the receiver said.
        #[source]
        source: io::Error,
    },
    /// zstd refused the level or the window, or failed.
    #[error("cannot compress the {} of a stone", kind.label())]
    Compress {
        /// The payload.
        kind: PayloadKind,
        /// What zstd said.
        #[source]
        source: io::Error,
    },
    /// The source of the content failed.
    #[error("cannot read the content for a stone")]
    Content {
        /// What the source said.
        #[source]
        source: io::Error,
    },
    /// The content is not as long as was said, or as the index says.
    #[error(
        "cannot write a stone: its content is {found_bytes} bytes or more, announced were {expected_bytes}"
    )]
    ContentSize {
        /// Bytes that were announced.
        expected_bytes: u64,
        /// Bytes that came.
        found_bytes: u64,
    },
    /// The content does not match the index: a file changed after it was hashed.
    #[error("cannot write a stone: its content does not match its index")]
    ContentDiffers {
        /// Which file.
        #[source]
        source: SliceFault,
    },
    /// The index does not cover the content.
    #[error("cannot write a stone: {fault}")]
    Tiling {
        /// What is wrong.
        fault: TilingFault,
    },
    /// More payloads than the header can count.
    #[error("cannot write a stone: more than {PAYLOADS_MAX} payloads do not fit into one")]
    TooManyPayloads,
    /// More records than a payload header can count.
    #[error("cannot write a stone: {count} records do not fit into one {}", kind.label())]
    TooManyRecords {
        /// The payload.
        kind: PayloadKind,
        /// How many there are.
        count: usize,
    },
    /// A second payload of a kind that may occur once, or an index after the content.
    #[error("cannot write a stone: its {} comes too late or twice", kind.label())]
    Order {
        /// The payload.
        kind: PayloadKind,
    },
    /// Slices without content, or regular files without slices.
    #[error("cannot write a stone: {target:?} is in the layout, and its bytes are in no index")]
    MissingSlice {
        /// The target.
        target: String,
    },
    /// Slices without content.
    #[error("cannot write a stone: it has an index and no content")]
    MissingContent,
    /// Text with a NUL inside.
    #[error("cannot write record {record} of a stone: the text {text:?} has a NUL inside")]
    NulInText {
        /// The number of the record; the first is 0.
        record: usize,
        /// The text.
        text: String,
    },
    /// A value of four gibibytes or more.
    #[error("cannot write record {record} of a stone: its value is longer than four gibibytes")]
    ValueTooLong {
        /// The number of the record; the first is 0.
        record: usize,
    },
    /// An opaque value that readers would take for something else.
    #[error("cannot write record {record} of a stone: type {type_number} is not opaque")]
    OpaqueOfKnownType {
        /// The number of the record; the first is 0.
        record: usize,
        /// The type it was given.
        type_number: u8,
    },
    /// A target that leaves `/usr` or is not written in the one allowed way.
    #[error("cannot write a stone: target {target:?} {fault}")]
    Target {
        /// The target.
        target: String,
        /// What is wrong with it.
        fault: TargetFault,
    },
    /// The same target twice.
    #[error("cannot write a stone: target {target:?} occurs twice")]
    DuplicateTarget {
        /// The target.
        target: String,
    },
    /// A target below something that is no folder.
    #[error("cannot write a stone: target {target:?} lies below {parent:?}, which is no folder")]
    TargetBelowFile {
        /// The target.
        target: String,
        /// The file or link it lies below.
        parent: String,
    },
    /// A link whose text is empty, has a NUL or is longer than 65,535 bytes.
    #[error("cannot write a stone: the link {target:?} leads to nothing that can be written down")]
    LinkText {
        /// The target of the link's own entry.
        target: String,
    },
}

impl Fault for WriteError {
    fn kind(&self) -> Kind {
        match self {
            WriteError::Output { .. } | WriteError::Content { .. } => Kind::Unavailable,
            WriteError::ContentSize { .. } | WriteError::ContentDiffers { .. } => Kind::Conflict,
            WriteError::Compress { .. }
            | WriteError::Tiling { .. }
            | WriteError::Order { .. }
            | WriteError::MissingSlice { .. }
            | WriteError::MissingContent
            | WriteError::OpaqueOfKnownType { .. } => Kind::Bug,
            _ => Kind::Input,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            WriteError::Output { .. } => "check that there is space left and that the folder is writable",
            WriteError::ContentSize { .. } | WriteError::ContentDiffers { .. } => {
                "a file changed while it was packed; make sure that nothing writes there any more, and build again"
            }
            WriteError::TooManyPayloads => "divide the packages over several repositories",
            _ => return Vec::new(),
        };
        vec![hint.to_owned()]
    }
}

/// Writes one file.
///
/// Payloads come out in the order of the calls. The AerynOS order is metas, layout, index, content; the index must be
/// given before the content, which is compared with it as it passes.
#[derive(Debug)]
pub struct Writer<W: Write + Seek> {
    out: W,
    /// Where in `out` the file begins.
    start: u64,
    file_type: FileType,
    packing: Packing,
    payloads: u16,
    layout: Option<Vec<Entry>>,
    index: Vec<Slice>,
    content: bool,
}

impl<W: Write + Seek> Writer<W> {
    /// Begins a file at the present position of `out`, packed as [`Packing::SMALL`].
    ///
    /// # Errors
    /// [`WriteError::Output`].
    pub fn new(out: W, file_type: FileType) -> Result<Self, WriteError> {
        Self::with_packing(out, file_type, Packing::SMALL)
    }

    /// Begins a file at the present position of `out`.
    ///
    /// # Errors
    /// [`WriteError::Output`].
    pub fn with_packing(mut out: W, file_type: FileType, packing: Packing) -> Result<Self, WriteError> {
        let start = out.stream_position().map_err(output)?;
        out.write_all(&FileHeader::new(file_type, 0).to_bytes()).map_err(output)?;
        Ok(Self {
            out,
            start,
            file_type,
            packing,
            payloads: 0,
            layout: None,
            index: Vec::new(),
            content: false,
        })
    }

    /// Writes the description of one package.
    ///
    /// # Errors
    /// For text with a NUL, too many records or payloads, and what `out` refuses.
    pub fn meta(&mut self, records: &[Record]) -> Result<(), WriteError> {
        let mut plain = Vec::new();
        for (number, record) in records.iter().enumerate() {
            record::encode(number, record, &mut plain)?;
        }
        self.records(PayloadKind::Meta, records.len(), &plain)
    }

    /// Writes the files, links and folders; once.
    ///
    /// # Errors
    /// For a target that [`crate::check_target`] refuses, targets that collide, and what `out` refuses.
    pub fn layout(&mut self, entries: &[Entry]) -> Result<(), WriteError> {
        if self.layout.is_some() {
            return Err(WriteError::Order { kind: PayloadKind::Layout });
        }
        let plain = entry::encode_all(entries)?;
        self.records(PayloadKind::Layout, entries.len(), &plain)?;
        self.layout = Some(entries.to_vec());
        Ok(())
    }

    /// Writes which bytes of the content are which file; before the content.
    ///
    /// # Errors
    /// Where the content was already written, and what `out` refuses. Slices are compared with each other when the
    /// content comes.
    pub fn index(&mut self, slices: &[Slice]) -> Result<(), WriteError> {
        if self.content {
            return Err(WriteError::Order { kind: PayloadKind::Index });
        }
        let mut plain = Vec::new();
        for slice in slices {
            slice::encode_slice(slice, &mut plain);
        }
        self.records(PayloadKind::Index, slices.len(), &plain)?;
        self.index.extend(slices);
        Ok(())
    }

    /// Writes pairs of bytes.
    ///
    /// # Errors
    /// What `out` refuses.
    pub fn attributes(&mut self, attributes: &[Attribute]) -> Result<(), WriteError> {
        let mut plain = Vec::new();
        for attribute in attributes {
            slice::encode_attribute(attribute, &mut plain);
        }
        self.records(PayloadKind::Attributes, attributes.len(), &plain)
    }

    /// Writes the content, `size_bytes` long, comparing each file with its digest in the index; once.
    ///
    /// # Errors
    /// Where the content has another length, the index does not cover it exactly, or a file is not what its digest says;
    /// what `content` or `out` refuse.
    pub fn content(&mut self, size_bytes: u64, mut content: impl Read) -> Result<(), WriteError> {
        if self.content {
            return Err(WriteError::Order { kind: PayloadKind::Content });
        }
        self.content = true;
        self.count_payload()?;
        let header_at = self.out.stream_position().map_err(output)?;
        self.out.write_all(&[0; HEADER_BYTES]).map_err(output)?;
        let mut walk = Walk::new(&self.index, size_bytes).map_err(|fault| WriteError::Tiling { fault })?;
        let mut packer = Packer::new(&mut self.out, PayloadKind::Content, self.packing, size_bytes)?;
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut found_bytes: u64 = 0;
        loop {
            let length = match content.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(WriteError::Content { source }),
            };
            found_bytes += u64::try_from(length).unwrap_or(u64::MAX);
            if found_bytes > size_bytes {
                return Err(WriteError::ContentSize { expected_bytes: size_bytes, found_bytes });
            }
            walk.feed(&buffer[..length], &mut Discard)
                .map_err(|source| WriteError::ContentDiffers { source })?;
            packer.write(&buffer[..length])?;
        }
        if found_bytes < size_bytes {
            return Err(WriteError::ContentSize { expected_bytes: size_bytes, found_bytes });
        }
        walk.finish(&mut Discard).map_err(|source| WriteError::ContentDiffers { source })?;
        let (stored_size_bytes, checksum) = packer.finish()?;
        let header = PayloadHeader {
            stored_size_bytes,
            plain_size_bytes: size_bytes,
            checksum,
            records: 0,
            version: PAYLOAD_VERSION,
            kind: PayloadKind::Content.number(),
            compression: compression(self.packing).number(),
        };
        self.patch(header_at, &header.to_bytes())
    }

    /// Writes all records that `stone` has, in the AerynOS order; a kind without records is left out. The content is
    /// still to be written.
    ///
    /// # Errors
    /// As for the single payloads.
    pub fn records_of(&mut self, stone: &Stone) -> Result<(), WriteError> {
        for meta in &stone.metas {
            self.meta(meta)?;
        }
        if !stone.layout.is_empty() {
            self.layout(&stone.layout)?;
        }
        if !stone.attributes.is_empty() {
            self.attributes(&stone.attributes)?;
        }
        if !stone.index.is_empty() {
            self.index(&stone.index)?;
        }
        Ok(())
    }

    /// Completes the header and gives `out` back, flushed, at the end of the file.
    ///
    /// # Errors
    /// Where an index lacks content or a regular file lacks a slice; what `out` refuses.
    pub fn finish(mut self) -> Result<W, WriteError> {
        if !self.content && !self.index.is_empty() {
            return Err(WriteError::MissingContent);
        }
        let mut digests: Vec<_> = self.index.iter().map(|slice| slice.digest).collect();
        digests.sort_unstable();
        for entry in self.layout.iter().flatten() {
            if let Some(digest) = entry.file.digest()
                && digests.binary_search(&digest).is_err()
            {
                return Err(WriteError::MissingSlice { target: entry.target.clone() });
            }
        }
        let header = FileHeader::new(self.file_type, self.payloads);
        self.patch(self.start, &header.to_bytes())?;
        self.out.flush().map_err(output)?;
        Ok(self.out)
    }

    /// Writes the description of one package that was packed before.
    ///
    /// # Errors
    /// For too many payloads, and what `out` refuses.
    pub fn packed_meta(&mut self, meta: &PackedMeta) -> Result<(), WriteError> {
        self.count_payload()?;
        self.out.write_all(&meta.0).map_err(output)
    }

    fn records(&mut self, kind: PayloadKind, count: usize, plain: &[u8]) -> Result<(), WriteError> {
        let payload = packed(kind, count, plain, self.packing)?;
        self.count_payload()?;
        self.out.write_all(&payload).map_err(output)
    }

    fn count_payload(&mut self) -> Result<(), WriteError> {
        self.payloads = self.payloads.checked_add(1).ok_or(WriteError::TooManyPayloads)?;
        Ok(())
    }

    /// Overwrites bytes that were written before, and returns to the end.
    fn patch(&mut self, at: u64, bytes: &[u8]) -> Result<(), WriteError> {
        let end = self.out.stream_position().map_err(output)?;
        self.out.seek(SeekFrom::Start(at)).map_err(output)?;
        self.out.write_all(bytes).map_err(output)?;
        self.out.seek(SeekFrom::Start(end)).map_err(output)?;
        Ok(())
    }
}

/// The description of one package as it lies in a file. An index of thousands of packages differs from the one before in a
/// few: what did not change need not be packed again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedMeta(Vec<u8>);

impl PackedMeta {
    /// Packs the description of one package; the same bytes as [`Writer::meta`] writes.
    ///
    /// # Errors
    /// For text with a NUL, and too many records.
    pub fn new(records: &[Record], packing: Packing) -> Result<Self, WriteError> {
        let mut plain = Vec::new();
        for (number, record) in records.iter().enumerate() {
            record::encode(number, record, &mut plain)?;
        }
        packed(PayloadKind::Meta, records.len(), &plain, packing).map(Self)
    }
}

/// A payload of records, with its header.
fn packed(kind: PayloadKind, count: usize, plain: &[u8], packing: Packing) -> Result<Vec<u8>, WriteError> {
    let records = u32::try_from(count).map_err(|_source| WriteError::TooManyRecords { kind, count })?;
    let plain_size_bytes = u64::try_from(plain.len()).unwrap_or(u64::MAX);
    let mut stored = Vec::new();
    let mut packer = Packer::new(&mut stored, kind, packing, plain_size_bytes)?;
    packer.write(plain)?;
    let (stored_size_bytes, checksum) = packer.finish()?;
    let header = PayloadHeader {
        stored_size_bytes,
        plain_size_bytes,
        checksum,
        records,
        version: PAYLOAD_VERSION,
        kind: kind.number(),
        compression: compression(packing).number(),
    };
    let mut payload = header.to_bytes().to_vec();
    payload.extend(stored);
    Ok(payload)
}

fn output(source: io::Error) -> WriteError {
    WriteError::Output { source }
}

fn compression(packing: Packing) -> Compression {
    match packing {
        Packing::None => Compression::None,
        Packing::Zstd { .. } => Compression::Zstd,
    }
}

/// Packs one payload into `out`, counting and hashing what is stored.
struct Packer<'a, W: Write> {
    kind: PayloadKind,
    state: PackerState<'a, W>,
}

enum PackerState<'a, W: Write> {
    None(Counting<'a, W>),
    Zstd(zstd::stream::write::Encoder<'static, Counting<'a, W>>),
}

impl<'a, W: Write> Packer<'a, W> {
    fn new(
        out: &'a mut W,
        kind: PayloadKind,
        packing: Packing,
        plain_size_bytes: u64,
    ) -> Result<Self, WriteError> {
        let counting = Counting { out, hasher: Hasher::new(), stored_size_bytes: 0, failed: false };
        let state = match packing {
            Packing::None => PackerState::None(counting),
            Packing::Zstd { level, window_log } => {
                let compress = |source| WriteError::Compress { kind, source };
                let mut encoder = zstd::stream::write::Encoder::new(counting, level).map_err(compress)?;
                encoder.window_log(window_log).map_err(compress)?;
                encoder.include_checksum(false).map_err(compress)?;
                encoder.include_contentsize(true).map_err(compress)?;
                encoder.set_pledged_src_size(Some(plain_size_bytes)).map_err(compress)?;
                PackerState::Zstd(encoder)
            }
        };
        Ok(Self { kind, state })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let kind = self.kind;
        match &mut self.state {
            PackerState::None(counting) => counting.write_all(bytes).map_err(output),
            PackerState::Zstd(encoder) => encoder.write_all(bytes).map_err(|source| {
                if encoder.get_ref().failed { output(source) } else { WriteError::Compress { kind, source } }
            }),
        }
    }

    /// Stored bytes and their checksum.
    fn finish(self) -> Result<(u64, u64), WriteError> {
        let kind = self.kind;
        let counting = match self.state {
            PackerState::None(counting) => counting,
            PackerState::Zstd(encoder) => encoder.try_finish().map_err(|(encoder, source)| {
                if encoder.get_ref().failed { output(source) } else { WriteError::Compress { kind, source } }
            })?,
        };
        Ok((counting.stored_size_bytes, counting.hasher.checksum()))
    }
}

/// Counts and hashes what passes. Remembers a failure, so that it is not taken for one of zstd.
struct Counting<'a, W> {
    out: &'a mut W,
    hasher: Hasher,
    stored_size_bytes: u64,
    failed: bool,
}

impl<W: Write> Write for Counting<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes).inspect_err(|_error| self.failed = true)?;
        self.hasher.update(&bytes[..written]);
        self.stored_size_bytes += u64::try_from(written).unwrap_or(u64::MAX);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
