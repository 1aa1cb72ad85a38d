//! Why a file was refused.

use std::io;

use fault::{Fault, Kind};

use crate::container::FORMAT_VERSION;
use crate::digest::Digest;
use crate::entry::TargetFault;
use crate::place::{PayloadPlace, RecordPlace};
use crate::slice::TilingFault;

/// Why a `.stone` file was refused. Every variant says where in the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The source of the bytes failed.
    #[error("cannot read a stone at byte {offset}")]
    Source {
        /// Where the reader was, in bytes.
        offset: u64,
        /// What the source said.
        #[source]
        source: io::Error,
    },
    /// Shorter than the file header.
    #[error("cannot read a stone: it ends at byte {length_bytes}, inside its header of 32 bytes")]
    TruncatedHeader {
        /// Length of the file.
        length_bytes: u64,
    },
    /// No `.stone` file at all.
    #[error("cannot read a stone: byte 0 begins with {found:02x?} instead of the magic [00, 6d, 6f, 73]")]
    WrongMagic {
        /// The first four bytes.
        found: [u8; 4],
    },
    /// A version of the format that this reader does not know.
    #[error("cannot read a stone: byte 28 gives format version {version}; known is {FORMAT_VERSION}")]
    UnknownVersion {
        /// The version.
        version: u32,
    },
    /// The fixed bytes of the header differ.
    #[error("cannot read a stone: byte {offset} differs from the fixed pattern of the header")]
    WrongFiller {
        /// The first byte that differs.
        offset: u64,
    },
    /// A file type that this reader does not know.
    #[error("cannot read a stone: byte 27 gives file type {number}, which is unknown")]
    UnknownFileType {
        /// The number.
        number: u8,
    },
    /// The file ends inside a payload header.
    #[error("cannot read {place}: the file ends after {left_bytes} of the 32 bytes of its header")]
    TruncatedPayloadHeader {
        /// The payload.
        place: PayloadPlace,
        /// Bytes that are there.
        left_bytes: u64,
    },
    /// The file ends inside a payload.
    #[error("cannot read {place}: it claims {stored_size_bytes} bytes and the file has {left_bytes}")]
    TruncatedPayload {
        /// The payload.
        place: PayloadPlace,
        /// Bytes that the header claims.
        stored_size_bytes: u64,
        /// Bytes that are there.
        left_bytes: u64,
    },
    /// Bytes follow the last payload.
    #[error("cannot read a stone: {count_bytes} bytes follow the last payload, at byte {offset}")]
    TrailingBytes {
        /// Where they begin.
        offset: u64,
        /// How many there are.
        count_bytes: u64,
    },
    /// A version of a payload that this reader does not know.
    #[error("cannot read {place}: its version is {version}; known is 1")]
    UnknownPayloadVersion {
        /// The payload.
        place: PayloadPlace,
        /// The version.
        version: u16,
    },
    /// A kind of payload that this reader does not know.
    #[error("cannot read {place}: its kind is {number}, which is unknown")]
    UnknownPayloadKind {
        /// The payload.
        place: PayloadPlace,
        /// The number.
        number: u8,
    },
    /// A compression that this reader does not know.
    #[error("cannot read {place}: its compression is {number}, which is unknown")]
    UnknownCompression {
        /// The payload.
        place: PayloadPlace,
        /// The number.
        number: u8,
    },
    /// The stored bytes are not those that were written.
    #[error("cannot read {place}: its bytes have checksum {found:016x}, its header says {expected:016x}")]
    ChecksumMismatch {
        /// The payload.
        place: PayloadPlace,
        /// XXH3-64 from the header.
        expected: u64,
        /// XXH3-64 of the bytes.
        found: u64,
    },
    /// A second payload of a kind that may occur once.
    #[error("cannot read {place}: there is another one of its kind, and only one may be")]
    RepeatedPayload {
        /// The second payload.
        place: PayloadPlace,
    },
    /// More records than the caller allows.
    #[error("cannot read {place}: the records of the file take more than {limit_bytes} bytes")]
    TooManyRecordBytes {
        /// The payload at which the limit is passed.
        place: PayloadPlace,
        /// [`crate::Limits::records_bytes_max`].
        limit_bytes: u64,
    },
    /// More content than the caller allows.
    #[error("cannot read {place}: it holds {plain_size_bytes} bytes, more than {limit_bytes}")]
    TooManyContentBytes {
        /// The payload.
        place: PayloadPlace,
        /// Plain bytes that the header claims.
        plain_size_bytes: u64,
        /// [`crate::Limits::content_bytes_max`].
        limit_bytes: u64,
    },
    /// Stored and plain size contradict each other.
    #[error(
        "cannot read {place}: {stored_size_bytes} stored bytes cannot hold {plain_size_bytes} plain bytes"
    )]
    ImpossibleSize {
        /// The payload.
        place: PayloadPlace,
        /// Stored bytes that the header claims.
        stored_size_bytes: u64,
        /// Plain bytes that the header claims.
        plain_size_bytes: u64,
    },
    /// Compressed bytes that are no zstd frame.
    #[error("cannot read {place}: its bytes do not begin with a zstd frame")]
    NotAFrame {
        /// The payload.
        place: PayloadPlace,
    },
    /// Decompressing would take more memory than the caller allows.
    #[error(
        "cannot read {place}: decompressing it takes {window_bytes} bytes of memory, allowed are {limit_bytes}"
    )]
    WindowTooLarge {
        /// The payload.
        place: PayloadPlace,
        /// Bytes that the decompressor would allocate.
        window_bytes: u64,
        /// The limit that it passes.
        limit_bytes: u64,
    },
    /// The frame says a length of its own.
    #[error("cannot read {place}: its frame holds {frame_bytes} bytes, its header says {plain_size_bytes}")]
    FrameSizeDiffers {
        /// The payload.
        place: PayloadPlace,
        /// Plain bytes that the frame claims.
        frame_bytes: u64,
        /// Plain bytes that the payload header claims.
        plain_size_bytes: u64,
    },
    /// The frame is damaged.
    #[error("cannot decompress {place}")]
    Decompress {
        /// The payload.
        place: PayloadPlace,
        /// What zstd said.
        #[source]
        source: io::Error,
    },
    /// Fewer plain bytes than the header says.
    #[error("cannot read {place}: it holds {found_bytes} plain bytes, its header says {plain_size_bytes}")]
    PlainTooShort {
        /// The payload.
        place: PayloadPlace,
        /// Plain bytes that the header claims.
        plain_size_bytes: u64,
        /// Plain bytes that there are.
        found_bytes: u64,
    },
    /// More plain bytes than the header says.
    #[error(
        "cannot read {place}: it holds more than the {plain_size_bytes} plain bytes that its header says"
    )]
    PlainTooLong {
        /// The payload.
        place: PayloadPlace,
        /// Plain bytes that the header claims.
        plain_size_bytes: u64,
    },
    /// Stored bytes follow the frame.
    #[error("cannot read {place}: bytes follow its zstd frame")]
    BytesAfterFrame {
        /// The payload.
        place: PayloadPlace,
    },
    /// A record reaches past the end of its payload.
    #[error("cannot read {place}: it needs {wanted_bytes} more bytes and {left_bytes} are left")]
    TruncatedRecord {
        /// The record.
        place: RecordPlace,
        /// Bytes that its next field takes.
        wanted_bytes: u64,
        /// Bytes that are left in the payload.
        left_bytes: u64,
    },
    /// Bytes follow the last record.
    #[error("cannot read {place}: {left_bytes} bytes follow its last record")]
    BytesAfterRecords {
        /// The payload.
        place: PayloadPlace,
        /// How many.
        left_bytes: u64,
    },
    /// The content counts records that do not exist.
    #[error(
        "cannot read {place}: it counts {records} records; expected is 0, or {index_records} as the index has"
    )]
    ContentRecords {
        /// The payload.
        place: PayloadPlace,
        /// The count in its header.
        records: u32,
        /// Records in the index.
        index_records: u64,
    },
    /// Bytes that must be zero are not.
    #[error("cannot read {place}: bytes that must be zero are not")]
    NonZeroPadding {
        /// The record.
        place: RecordPlace,
    },
    /// A number whose length is not that of its type.
    #[error("cannot read {place}: a number of type {type_number} is {length_bytes} bytes long")]
    NumberLength {
        /// The record.
        place: RecordPlace,
        /// The type of the value.
        type_number: u8,
        /// The length it claims.
        length_bytes: u32,
    },
    /// A dependency without even a kind.
    #[error("cannot read {place}: a dependency of length 0")]
    EmptyDependency {
        /// The record.
        place: RecordPlace,
    },
    /// Text that is not UTF-8.
    #[error("cannot read {place}: its {what} is not UTF-8")]
    NotUtf8 {
        /// The record.
        place: RecordPlace,
        /// Which text.
        what: &'static str,
    },
    /// Text with a NUL inside.
    #[error("cannot read {place}: its {what} has a NUL inside")]
    NulInText {
        /// The record.
        place: RecordPlace,
        /// Which text.
        what: &'static str,
    },
    /// A kind of layout entry that this reader does not know.
    #[error("cannot read {place}: entry kind {number} is unknown")]
    UnknownEntryKind {
        /// The record.
        place: RecordPlace,
        /// The number.
        number: u8,
    },
    /// The source of an entry does not fit its kind.
    #[error("cannot read {place}: a {kind} has a source of {length_bytes} bytes instead of {expected}")]
    SourceLength {
        /// The record.
        place: RecordPlace,
        /// The kind of entry.
        kind: &'static str,
        /// Length of the source.
        length_bytes: u16,
        /// What it may be.
        expected: &'static str,
    },
    /// A target that leaves `/usr` or is not written in the one allowed way.
    #[error("cannot read {place}: target {target:?} {fault}")]
    Target {
        /// The record.
        place: RecordPlace,
        /// The target.
        target: String,
        /// What is wrong with it.
        fault: TargetFault,
    },
    /// The same target twice.
    #[error("cannot read {place}: target {target:?} is already that of record {first}")]
    DuplicateTarget {
        /// The later record.
        place: RecordPlace,
        /// The earlier record.
        first: u32,
        /// The target.
        target: String,
    },
    /// A target below something that is no folder.
    #[error("cannot read {place}: target {target:?} lies below {parent:?}, which is no folder")]
    TargetBelowFile {
        /// The record.
        place: RecordPlace,
        /// The target.
        target: String,
        /// The file or link it lies below.
        parent: String,
    },
    /// A slice that ends before it begins.
    #[error("cannot read {place}: it starts at {start} and ends at {end}")]
    ReversedSlice {
        /// The record.
        place: RecordPlace,
        /// Its first byte in the content.
        start: u64,
        /// The byte after its last.
        end: u64,
    },
    /// The slices do not cover the content as they must.
    #[error("cannot read {place}: {fault}")]
    Tiling {
        /// The payload at fault: an index, or the content.
        place: PayloadPlace,
        /// What is wrong.
        fault: TilingFault,
    },
    /// An index without content.
    #[error("cannot read {place}: there is no content for it")]
    MissingContent {
        /// The index.
        place: PayloadPlace,
    },
    /// A regular file whose bytes are nowhere.
    #[error("cannot read {place}: no index record has the digest {digest} of {target:?}")]
    MissingSlice {
        /// The record of the layout.
        place: RecordPlace,
        /// The target.
        target: String,
        /// The digest of the file.
        digest: Digest,
    },
    /// A file is not what its digest says.
    #[error("cannot read {place}: its bytes in the content have digest {found}, the index says {expected}")]
    DigestMismatch {
        /// The record of the index.
        place: RecordPlace,
        /// The digest in the index.
        expected: Digest,
        /// The digest of the bytes.
        found: Digest,
    },
    /// The receiver of the content failed.
    #[error("cannot store the file {digest} of a stone")]
    Sink {
        /// The file.
        digest: Digest,
        /// What the receiver said.
        #[source]
        source: io::Error,
    },
}

impl ReadError {
    /// Whether the bytes are at fault, and not the source, the sink or the limits.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        self.kind() == Kind::Damaged
    }
}

impl Fault for ReadError {
    fn kind(&self) -> Kind {
        match self {
            ReadError::Source { .. } | ReadError::Sink { .. } => Kind::Unavailable,
            ReadError::WrongMagic { .. }
            | ReadError::UnknownVersion { .. }
            | ReadError::UnknownFileType { .. }
            | ReadError::TooManyRecordBytes { .. }
            | ReadError::TooManyContentBytes { .. }
            | ReadError::WindowTooLarge { .. } => Kind::Input,
            _ => Kind::Damaged,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            ReadError::WrongMagic { .. } => "name a .stone package, a stone.index or a manifest.*.bin",
            ReadError::UnknownVersion { .. }
            | ReadError::UnknownFileType { .. }
            | ReadError::UnknownPayloadKind { .. }
            | ReadError::UnknownPayloadVersion { .. }
            | ReadError::UnknownCompression { .. } => {
                "the file may come from a newer tool: update Moraine, or make the file again with an older one"
            }
            ReadError::TooManyRecordBytes { .. }
            | ReadError::TooManyContentBytes { .. }
            | ReadError::WindowTooLarge { .. } => {
                "the file is larger than this program accepts; make sure that it is what you expect"
            }
            ReadError::Source { .. } => "check that the file is readable and its disk healthy",
            ReadError::Sink { .. } => "check that there is space left where files are stored",
            _ => "the file is damaged: fetch it again, or build the package again",
        };
        vec![hint.to_owned()]
    }
}
