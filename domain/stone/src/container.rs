//! The two headers: of the file and of each payload.

/// The first four bytes of every `.stone` file: NUL, "mos".
pub(crate) const MAGIC: [u8; 4] = [0x00, 0x6d, 0x6f, 0x73];

/// Twenty-one fixed bytes of the file header: seven pairs of a counter and zeros that any line-ending or sign-bit
/// conversion would disturb.
pub(crate) const FILLER: [u8; 21] = [0, 0, 1, 0, 0, 2, 0, 0, 3, 0, 0, 4, 0, 0, 5, 0, 0, 6, 0, 0, 7];

/// The version of the format that this crate reads and writes.
pub const FORMAT_VERSION: u32 = 1;

/// The version that every payload carries.
pub(crate) const PAYLOAD_VERSION: u16 = 1;

/// Bytes of the file header, and of each payload header; both are 32 by the format.
pub(crate) const HEADER_BYTES: usize = 32;

/// Most payloads in a file: the header counts them with 16 bits.
pub const PAYLOADS_MAX: usize = 65_535;

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileType {
    /// A package.
    Binary,
    /// The difference of two packages; reserved, written by nothing.
    Delta,
    /// The index of a repository.
    Repository,
    /// What a build produced.
    Manifest,
}

impl FileType {
    /// Every type, in the order of their numbers.
    pub const ALL: [FileType; 4] =
        [FileType::Binary, FileType::Delta, FileType::Repository, FileType::Manifest];

    /// The number in the file header.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            FileType::Binary => 1,
            FileType::Delta => 2,
            FileType::Repository => 3,
            FileType::Manifest => 4,
        }
    }

    /// The type with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }

    /// One word for people and for JSON.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            FileType::Binary => "binary",
            FileType::Delta => "delta",
            FileType::Repository => "repository",
            FileType::Manifest => "manifest",
        }
    }
}

/// What a payload holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PayloadKind {
    /// The description of one package.
    Meta,
    /// The bytes of the files.
    Content,
    /// The files, links and folders.
    Layout,
    /// Which bytes of the content are which file.
    Index,
    /// Pairs of bytes.
    Attributes,
}

impl PayloadKind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [PayloadKind; 5] = [
        PayloadKind::Meta,
        PayloadKind::Content,
        PayloadKind::Layout,
        PayloadKind::Index,
        PayloadKind::Attributes,
    ];

    /// The number in the payload header.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            PayloadKind::Meta => 1,
            PayloadKind::Content => 2,
            PayloadKind::Layout => 3,
            PayloadKind::Index => 4,
            PayloadKind::Attributes => 5,
        }
    }

    /// The kind with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }

    /// One word for people.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            PayloadKind::Meta => "meta",
            PayloadKind::Content => "content",
            PayloadKind::Layout => "layout",
            PayloadKind::Index => "index",
            PayloadKind::Attributes => "attributes",
        }
    }
}

/// How a payload is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compression {
    /// As it is.
    None,
    /// One zstd frame.
    Zstd,
}

impl Compression {
    /// The number in the payload header.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Compression::None => 1,
            Compression::Zstd => 2,
        }
    }

    /// The compression with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        [Compression::None, Compression::Zstd].into_iter().find(|kind| kind.number() == number)
    }
}

/// The file header, its magic, version and filler already checked or about to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileHeader {
    pub(crate) payloads: u16,
    pub(crate) file_type: u8,
    pub(crate) version: u32,
    pub(crate) magic: [u8; 4],
    pub(crate) filler: [u8; 21],
}

impl FileHeader {
    pub(crate) fn new(file_type: FileType, payloads: u16) -> Self {
        Self {
            payloads,
            file_type: file_type.number(),
            version: FORMAT_VERSION,
            magic: MAGIC,
            filler: FILLER,
        }
    }

    pub(crate) fn from_bytes(bytes: &[u8; HEADER_BYTES]) -> Self {
        Self {
            magic: part(bytes, 0),
            payloads: u16::from_be_bytes(part(bytes, 4)),
            filler: part(bytes, 6),
            file_type: part::<1>(bytes, 27)[0],
            version: u32::from_be_bytes(part(bytes, 28)),
        }
    }

    pub(crate) fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&self.magic);
        bytes[4..6].copy_from_slice(&self.payloads.to_be_bytes());
        bytes[6..27].copy_from_slice(&self.filler);
        bytes[27] = self.file_type;
        bytes[28..].copy_from_slice(&self.version.to_be_bytes());
        bytes
    }
}

/// A payload header with the numbers as they are in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PayloadHeader {
    pub(crate) stored_size_bytes: u64,
    pub(crate) plain_size_bytes: u64,
    pub(crate) checksum: u64,
    pub(crate) records: u32,
    pub(crate) version: u16,
    pub(crate) kind: u8,
    pub(crate) compression: u8,
}

impl PayloadHeader {
    pub(crate) fn from_bytes(bytes: &[u8; HEADER_BYTES]) -> Self {
        Self {
            stored_size_bytes: u64::from_be_bytes(part(bytes, 0)),
            plain_size_bytes: u64::from_be_bytes(part(bytes, 8)),
            checksum: u64::from_be_bytes(part(bytes, 16)),
            records: u32::from_be_bytes(part(bytes, 24)),
            version: u16::from_be_bytes(part(bytes, 28)),
            kind: part::<1>(bytes, 30)[0],
            compression: part::<1>(bytes, 31)[0],
        }
    }

    pub(crate) fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&self.stored_size_bytes.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.plain_size_bytes.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.checksum.to_be_bytes());
        bytes[24..28].copy_from_slice(&self.records.to_be_bytes());
        bytes[28..30].copy_from_slice(&self.version.to_be_bytes());
        bytes[30] = self.kind;
        bytes[31] = self.compression;
        bytes
    }
}

/// `N` bytes of a header, from `offset` on; every caller's range lies within the header.
fn part<const N: usize>(bytes: &[u8; HEADER_BYTES], offset: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[offset..offset + N]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_kinds_agree() {
        for file_type in FileType::ALL {
            assert_eq!(FileType::from_number(file_type.number()), Some(file_type));
        }
        for kind in PayloadKind::ALL {
            assert_eq!(PayloadKind::from_number(kind.number()), Some(kind));
        }
        for number in [0, 6, 255] {
            assert_eq!(FileType::from_number(number), None);
            assert_eq!(PayloadKind::from_number(number), None);
            assert_eq!(Compression::from_number(number), None);
        }
        assert_eq!(Compression::from_number(2), Some(Compression::Zstd));
    }

    #[test]
    fn headers_and_back() {
        let file = FileHeader::new(FileType::Manifest, 513);
        let bytes = file.to_bytes();
        assert_eq!(FileHeader::from_bytes(&bytes), file);
        assert_eq!(&bytes[..8], b"\0mos\x02\x01\0\0");
        assert_eq!(&bytes[27..], [4, 0, 0, 0, 1]);

        let payload = PayloadHeader {
            stored_size_bytes: 1,
            plain_size_bytes: 2,
            checksum: 3,
            records: 4,
            version: 5,
            kind: 6,
            compression: 7,
        };
        let bytes = payload.to_bytes();
        assert_eq!(PayloadHeader::from_bytes(&bytes), payload);
        assert_eq!((bytes[7], bytes[15], bytes[23], bytes[27], bytes[29]), (1, 2, 3, 4, 5));
    }
}
