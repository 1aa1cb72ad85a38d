//! What the writer refuses, and the shape of what it writes.

use std::io::{Cursor, Read};

use stone::{
    Digest, Entry, EntryFile, FileType, Limits, PAYLOADS_MAX, Packing, Record, Slice, TargetFault, Value,
    WriteError, Writer, tag,
};

use crate::decode;

type Memory = Writer<Cursor<Vec<u8>>>;

fn writer() -> Memory {
    Writer::with_packing(Cursor::new(Vec::new()), FileType::Binary, Packing::FAST).unwrap()
}

fn regular(target: &str, digest: Digest) -> Entry {
    Entry { uid: 0, gid: 0, mode: 0o100_644, target: target.into(), file: EntryFile::Regular(digest) }
}

fn slice(start: u64, end: u64, bytes: &[u8]) -> Slice {
    Slice { start, end, digest: Digest::of(bytes) }
}

/// Gives its bytes in pieces of the given size.
struct Pieces<'a>(&'a [u8], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.1.min(buffer.len()).min(self.0.len());
        buffer[..length].copy_from_slice(&self.0[..length]);
        self.0 = &self.0[length..];
        Ok(length)
    }
}

#[test]
fn bytes_do_not_depend_on_how_the_content_arrives() {
    // Text that compresses, longer than one zstd block.
    let content: Vec<u8> = (0..60_000_u32).flat_map(|number| (number / 7).to_be_bytes()).collect();
    let size_bytes = u64::try_from(content.len()).unwrap();
    let write = |piece: usize| {
        let mut writer = Writer::new(Cursor::new(Vec::new()), FileType::Binary).unwrap();
        writer.index(&[slice(0, size_bytes, &content)]).unwrap();
        writer.content(size_bytes, Pieces(&content, piece)).unwrap();
        writer.finish().unwrap().into_inner()
    };
    let whole = write(usize::MAX);
    assert_eq!(whole, write(1000));
    assert_eq!(whole, write(131_072));
    assert!(whole.len() * 4 < content.len(), "{} of {} bytes", whole.len(), content.len());
    decode(&whole).unwrap();
    // A window of 2 GiB is bounded by the size that was announced.
    let frame = whole.windows(4).rposition(|bytes| bytes == [0x28, 0xb5, 0x2f, 0xfd]).unwrap();
    assert_eq!(whole[frame + 4] & 0x24, 0x20, "one segment and no checksum of the frame");
}

#[test]
fn an_empty_content_is_a_frame_of_nine_bytes() {
    let mut writer = Writer::new(Cursor::new(Vec::new()), FileType::Binary).unwrap();
    writer.index(&[slice(0, 0, b"")]).unwrap();
    writer.content(0, &b""[..]).unwrap();
    let bytes = writer.finish().unwrap().into_inner();
    let (stone, keep) = decode(&bytes).unwrap();
    assert_eq!((stone.content_bytes, keep.files), (0, vec![(Digest::EMPTY, vec![])]));
    let content = &bytes[bytes.len() - 9 - 32..];
    assert_eq!(&content[..8], 9_u64.to_be_bytes());
    assert_eq!(content[30..32], [2, 2]);
}

#[test]
fn it_writes_where_the_output_stands() {
    let mut out = Cursor::new(b"before".to_vec());
    out.set_position(6);
    let mut writer = Writer::with_packing(out, FileType::Manifest, Packing::None).unwrap();
    writer.meta(&[Record::text(tag::NAME, "nano")]).unwrap();
    let bytes = writer.finish().unwrap().into_inner();
    assert_eq!(&bytes[..6], b"before");
    assert_eq!(decode(&bytes[6..]).unwrap().0.file_type, FileType::Manifest);
}

#[test]
fn an_unfinished_file_is_refused() {
    let mut out = Cursor::new(Vec::new());
    let mut writer = Writer::with_packing(&mut out, FileType::Binary, Packing::FAST).unwrap();
    writer.meta(&[Record::number(tag::RELEASE, 1)]).unwrap();
    drop(writer);
    assert!(decode(out.get_ref()).is_err());
}

#[test]
fn as_many_payloads_as_the_header_can_count() {
    let mut writer =
        Writer::with_packing(Cursor::new(Vec::new()), FileType::Repository, Packing::None).unwrap();
    for _ in 0..PAYLOADS_MAX {
        writer.meta(&[]).unwrap();
    }
    assert!(matches!(writer.meta(&[]), Err(WriteError::TooManyPayloads)));
    let bytes = writer.finish().unwrap().into_inner();
    let stone = stone::read_records(Cursor::new(bytes), &Limits::default()).unwrap();
    assert_eq!(stone.metas.len(), PAYLOADS_MAX);
}

#[test]
fn content_that_is_not_what_was_announced() {
    let check = |slices: &[Slice], size_bytes: u64, content: &[u8], expect: fn(&WriteError) -> bool| {
        let mut writer = writer();
        writer.index(slices).unwrap();
        let error = writer.content(size_bytes, content).unwrap_err();
        assert!(expect(&error), "{error:?}");
    };
    let hello = [slice(0, 5, b"hello")];
    check(&hello, 5, b"hell", |error| matches!(error, WriteError::ContentSize { found_bytes: 4, .. }));
    check(&hello, 5, b"hello!", |error| matches!(error, WriteError::ContentSize { .. }));
    check(&hello, 5, b"hallo", |error| matches!(error, WriteError::ContentDiffers { .. }));
    check(&hello, 6, b"hello!", |error| matches!(error, WriteError::Tiling { .. }));
    check(&[slice(5, 0, b"")], 5, b"hello", |error| matches!(error, WriteError::Tiling { .. }));
}

#[test]
fn payloads_that_contradict_each_other() {
    let mut lonely = writer();
    lonely.index(&[slice(0, 5, b"hello")]).unwrap();
    assert!(matches!(lonely.finish(), Err(WriteError::MissingContent)));

    let mut unfounded = writer();
    unfounded.layout(&[regular("a", Digest::EMPTY)]).unwrap();
    assert!(matches!(unfounded.finish(), Err(WriteError::MissingSlice { target }) if target == "a"));

    let mut late = writer();
    late.content(0, &b""[..]).unwrap();
    assert!(matches!(late.index(&[]), Err(WriteError::Order { .. })));
    assert!(matches!(late.content(0, &b""[..]), Err(WriteError::Order { .. })));
    late.layout(&[]).unwrap();
    assert!(matches!(late.layout(&[]), Err(WriteError::Order { .. })));
}

#[test]
fn entries_that_no_reader_would_accept() {
    let link = |target: &str, text: &str| Entry {
        file: EntryFile::Symlink(text.into()),
        ..regular(target, Digest::EMPTY)
    };
    let check = |entries: &[Entry], expect: fn(&WriteError) -> bool| {
        let error = writer().layout(entries).unwrap_err();
        assert!(expect(&error), "{error:?}");
    };
    check(&[link("../a", "x")], |error| {
        matches!(error, WriteError::Target { fault: TargetFault::DotDot, .. })
    });
    check(&[link(&"a".repeat(65_536), "x")], |error| {
        matches!(error, WriteError::Target { fault: TargetFault::TooLong, .. })
    });
    check(&[link("a", "x"), link("a", "y")], |error| matches!(error, WriteError::DuplicateTarget { .. }));
    check(&[link("a", "x"), link("a/b", "y")], |error| matches!(error, WriteError::TargetBelowFile { .. }));
    check(&[link("a", "")], |error| matches!(error, WriteError::LinkText { .. }));
    check(&[link("a", "x\0")], |error| matches!(error, WriteError::LinkText { .. }));
    check(&[link("a", &"x".repeat(65_536))], |error| matches!(error, WriteError::LinkText { .. }));
}

#[test]
fn records_that_would_not_come_back() {
    let check = |value: Value, expect: fn(&WriteError) -> bool| {
        let error = writer().meta(&[Record { tag: 1, value }]).unwrap_err();
        assert!(expect(&error), "{error:?}");
    };
    check(Value::Text("a\0b".into()), |error| matches!(error, WriteError::NulInText { record: 0, .. }));
    check(Value::Provider { kind: 0, name: "a\0".into() }, |error| {
        matches!(error, WriteError::NulInText { .. })
    });
    check(Value::Opaque { type_number: 9, bytes: vec![] }, |error| {
        matches!(error, WriteError::OpaqueOfKnownType { type_number: 9, .. })
    });
}
