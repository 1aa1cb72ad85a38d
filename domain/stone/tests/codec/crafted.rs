//! Files put together byte by byte from the description of the format, independently of the writer, so that every field
//! can be wrong.

use std::io::Write;

use stone::{Digest, FileType, PayloadKind};

/// A payload with every header field free to be wrong.
#[derive(Debug, Clone)]
pub(crate) struct Payload {
    pub(crate) kind: u8,
    pub(crate) compression: u8,
    pub(crate) version: u16,
    pub(crate) records: u32,
    pub(crate) plain_size_bytes: u64,
    pub(crate) stored: Vec<u8>,
    pub(crate) checksum: Option<u64>,
}

impl Payload {
    pub(crate) fn plain(kind: PayloadKind, records: u32, plain: &[u8]) -> Self {
        Self {
            kind: kind.number(),
            compression: 1,
            version: 1,
            records,
            plain_size_bytes: plain.len() as u64,
            stored: plain.to_vec(),
            checksum: None,
        }
    }

    pub(crate) fn packed(kind: PayloadKind, records: u32, plain: &[u8]) -> Self {
        let stored = zstd::bulk::compress(plain, 3).unwrap();
        Self { compression: 2, stored, ..Self::plain(kind, records, plain) }
    }

    fn bytes(&self) -> Vec<u8> {
        let checksum = self.checksum.unwrap_or_else(|| xxhash_rust::xxh3::xxh3_64(&self.stored));
        let mut out = Vec::new();
        out.extend((self.stored.len() as u64).to_be_bytes());
        out.extend(self.plain_size_bytes.to_be_bytes());
        out.extend(checksum.to_be_bytes());
        out.extend(self.records.to_be_bytes());
        out.extend(self.version.to_be_bytes());
        out.push(self.kind);
        out.push(self.compression);
        out.extend(&self.stored);
        out
    }
}

/// A frame that does not say how long its content is, as the old D writer made them.
pub(crate) fn unsized_frame(plain: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_contentsize(false).unwrap();
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn file(payloads: &[Payload]) -> Vec<u8> {
    let mut out = b"\0mos".to_vec();
    out.extend(u16::try_from(payloads.len()).unwrap().to_be_bytes());
    out.extend([0, 0, 1, 0, 0, 2, 0, 0, 3, 0, 0, 4, 0, 0, 5, 0, 0, 6, 0, 0, 7]);
    out.push(FileType::Binary.number());
    out.extend(1_u32.to_be_bytes());
    out.extend(payloads.iter().flat_map(Payload::bytes));
    out
}

pub(crate) fn meta_record(tag: u16, type_number: u8, value: &[u8]) -> Vec<u8> {
    let mut out = u32::try_from(value.len()).unwrap().to_be_bytes().to_vec();
    out.extend(tag.to_be_bytes());
    out.extend([type_number, 0]);
    out.extend(value);
    out
}

pub(crate) fn layout_record(kind: u8, source: &[u8], target: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for number in [0_u32, 0, 0o100_644, 0] {
        out.extend(number.to_be_bytes());
    }
    out.extend(u16::try_from(source.len()).unwrap().to_be_bytes());
    out.extend(u16::try_from(target.len()).unwrap().to_be_bytes());
    out.push(kind);
    out.extend([0; 11]);
    out.extend(source);
    out.extend(target);
    out
}

pub(crate) fn index_record(start: u64, end: u64, digest: Digest) -> Vec<u8> {
    let mut out = start.to_be_bytes().to_vec();
    out.extend(end.to_be_bytes());
    out.extend(digest.to_be_bytes());
    out
}

/// A small whole package: two files, one of them empty, and a link.
pub(crate) fn package() -> Vec<Payload> {
    let hello = Digest::of(b"hello");
    let meta = [
        meta_record(1, 9, b"hello\0"),
        meta_record(11, 8, &7_u64.to_be_bytes()),
        meta_record(8, 10, b"\x01libc.so.6(x86_64)\0"),
        meta_record(9, 11, b"\x06hello\0"),
    ]
    .concat();
    let layout = [
        layout_record(1, &hello.to_be_bytes(), b"bin/hello"),
        layout_record(2, b"hello", b"bin/hi"),
        layout_record(1, &Digest::EMPTY.to_be_bytes(), b"share/empty"),
    ]
    .concat();
    let index = [index_record(0, 5, hello), index_record(5, 5, Digest::EMPTY)].concat();
    vec![
        Payload::packed(PayloadKind::Meta, 4, &meta),
        Payload::packed(PayloadKind::Layout, 3, &layout),
        Payload::plain(PayloadKind::Index, 2, &index),
        Payload::packed(PayloadKind::Content, 0, b"hello"),
    ]
}
