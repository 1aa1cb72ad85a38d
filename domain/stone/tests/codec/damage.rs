//! One wrong thing at a time, each with the error that names it.

use std::io::{self, Cursor, Read, Seek, SeekFrom};

use fault::{Fault, Kind};
use stone::{
    ContentSink, Digest, FileType, Limits, PayloadKind, ReadError, TargetFault, TilingFault, Unknown,
};

use crate::crafted::{Payload, file, index_record, layout_record, meta_record, package, unsized_frame};
use crate::{decode, decode_within};

/// The file is refused with an error that `matches`, whose message has `words`.
#[track_caller]
fn check(bytes: &[u8], words: &str, matches: impl Fn(&ReadError) -> bool) {
    let error = decode(bytes).expect_err(words);
    assert!(matches(&error), "another error than expected: {error:?}");
    assert!(error.to_string().contains(words), "{error} does not say {words:?}");
    assert!(!error.hints().is_empty(), "{error} has no hint");
    // Listing refuses the same, unless only the content is at fault.
    if let Err(listed) = stone::read_records(Cursor::new(bytes), &Limits::default()) {
        assert_eq!(listed.to_string(), error.to_string());
    }
}

/// The same with one payload of the small package changed.
#[track_caller]
fn check_payload(
    number: usize,
    change: impl Fn(&mut Payload),
    words: &str,
    matches: impl Fn(&ReadError) -> bool,
) {
    let mut payloads = package();
    change(&mut payloads[number]);
    check(&file(&payloads), words, matches);
}

#[track_caller]
fn check_meta(record: &[u8], words: &str, matches: impl Fn(&ReadError) -> bool) {
    let plain = [meta_record(1, 9, b"a\0"), record.to_vec()].concat();
    check(&file(&[Payload::plain(PayloadKind::Meta, 2, &plain)]), words, matches);
}

#[track_caller]
fn check_layout(records: &[Vec<u8>], words: &str, matches: impl Fn(&ReadError) -> bool) {
    let count = u32::try_from(records.len()).unwrap();
    check(&file(&[Payload::packed(PayloadKind::Layout, count, &records.concat())]), words, matches);
}

#[track_caller]
fn check_index(records: &[Vec<u8>], content: &[u8], words: &str, matches: impl Fn(&ReadError) -> bool) {
    let count = u32::try_from(records.len()).unwrap();
    let index = Payload::plain(PayloadKind::Index, count, &records.concat());
    let content = Payload::packed(PayloadKind::Content, 0, content);
    check(&file(&[index, content]), words, matches);
}

#[test]
fn the_untouched_package_is_fine() {
    let (stone, keep) = decode(&file(&package())).unwrap();
    assert_eq!(stone.file_type, FileType::Binary);
    assert_eq!(
        (stone.metas.len(), stone.metas[0].len(), stone.layout.len(), stone.index.len()),
        (1, 4, 3, 2)
    );
    assert_eq!(keep.files, [(Digest::of(b"hello"), b"hello".to_vec()), (Digest::EMPTY, vec![])]);
    let listed = stone::read_records(Cursor::new(file(&package())), &Limits::default()).unwrap();
    assert_eq!(listed, stone);
}

#[test]
fn the_file_header() {
    let whole = file(&package());
    let with = |offset: usize, byte: u8| {
        let mut bytes = whole.clone();
        bytes[offset] = byte;
        bytes
    };
    check(b"", "ends at byte 0", |error| matches!(error, ReadError::TruncatedHeader { length_bytes: 0 }));
    check(&whole[..31], "ends at byte 31", |error| matches!(error, ReadError::TruncatedHeader { .. }));
    check(b"#!/bin/sh", "byte 0", |error| matches!(error, ReadError::WrongMagic { .. }));
    check(&with(1, b'M'), "magic", |error| matches!(error, ReadError::WrongMagic { .. }));
    check(&with(31, 2), "byte 28 gives format version 2", |error| {
        matches!(error, ReadError::UnknownVersion { version: 2 })
    });
    check(&with(8, 9), "byte 8 ", |error| matches!(error, ReadError::WrongFiller { offset: 8 }));
    check(&with(27, 5), "file type 5", |error| matches!(error, ReadError::UnknownFileType { number: 5 }));
    // One payload too many, one too few.
    let end = whole.len();
    check(&with(5, 5), &format!("payload 4 at byte {end}"), |error| {
        matches!(error, ReadError::TruncatedPayloadHeader { left_bytes: 0, .. })
    });
    check(&with(5, 3), "bytes follow the last payload", |error| {
        matches!(error, ReadError::TrailingBytes { .. })
    });
    let mut longer = whole.clone();
    longer.push(0);
    check(&longer, &format!("1 bytes follow the last payload, at byte {end}"), |error| {
        matches!(error, ReadError::TrailingBytes { count_bytes: 1, .. })
    });
}

#[test]
fn every_truncation_is_refused() {
    let whole = file(&package());
    for length in 0..whole.len() {
        let error = decode(&whole[..length]).expect_err("a truncated file");
        assert!(
            matches!(
                error,
                ReadError::TruncatedHeader { .. }
                    | ReadError::TruncatedPayloadHeader { .. }
                    | ReadError::TruncatedPayload { .. }
            ),
            "cut to {length}: {error:?}"
        );
    }
}

#[test]
fn payload_headers() {
    check_payload(
        0,
        |payload| payload.version = 2,
        "payload 0 (meta) at byte 32",
        |error| matches!(error, ReadError::UnknownPayloadVersion { version: 2, .. }),
    );
    check_payload(
        1,
        |payload| payload.kind = 9,
        "its kind is 9",
        |error| matches!(error, ReadError::UnknownPayloadKind { number: 9, .. }),
    );
    check_payload(
        1,
        |payload| payload.compression = 3,
        "its compression is 3",
        |error| matches!(error, ReadError::UnknownCompression { number: 3, .. }),
    );
    check_payload(
        2,
        |payload| payload.checksum = Some(1),
        "0000000000000001",
        |error| matches!(error, ReadError::ChecksumMismatch { expected: 1, .. }),
    );
    check_payload(
        3,
        |payload| payload.checksum = Some(1),
        "payload 3 (content)",
        |error| matches!(error, ReadError::ChecksumMismatch { .. }),
    );
    check_payload(
        0,
        |payload| payload.records = 3,
        "bytes follow its last record",
        |error| matches!(error, ReadError::BytesAfterRecords { .. }),
    );
    check_payload(
        0,
        |payload| payload.records = u32::MAX,
        "record 4 of payload 0",
        |error| matches!(error, ReadError::TruncatedRecord { left_bytes: 0, .. }),
    );
    check_payload(
        3,
        |payload| payload.records = 1,
        "counts 1 records",
        |error| matches!(error, ReadError::ContentRecords { records: 1, index_records: 2, .. }),
    );
    check_payload(
        2,
        |payload| payload.plain_size_bytes += 1,
        "64 stored bytes cannot hold 65",
        |error| matches!(error, ReadError::ImpossibleSize { .. }),
    );
    check_payload(
        0,
        |payload| payload.plain_size_bytes = 32_768_000_000,
        "more than",
        |error| matches!(error, ReadError::TooManyRecordBytes { .. }),
    );
    check_payload(
        0,
        |payload| payload.plain_size_bytes = 64 << 20,
        "cannot hold",
        |error| matches!(error, ReadError::ImpossibleSize { .. }),
    );
}

#[test]
fn compressed_bytes() {
    let repack = |payload: &mut Payload, stored: Vec<u8>| payload.stored = stored;
    check_payload(
        0,
        |payload| payload.plain_size_bytes -= 1,
        "its frame holds",
        |error| matches!(error, ReadError::FrameSizeDiffers { .. }),
    );
    check_payload(
        0,
        |payload| repack(payload, vec![7; 40]),
        "do not begin with a zstd frame",
        |error| matches!(error, ReadError::NotAFrame { .. }),
    );
    check_payload(
        3,
        |payload| payload.stored.extend([0; 4]),
        "bytes follow its zstd frame",
        |error| matches!(error, ReadError::BytesAfterFrame { .. }),
    );
    // A second frame, and a frame that zstd would skip, are bytes after the frame as well.
    for more in [zstd::bulk::compress(b"", 3).unwrap(), b"\x50\x2a\x4d\x18\0\0\0\0".to_vec()] {
        check_payload(
            3,
            |payload| payload.stored.extend(&more),
            "follow its zstd frame",
            |error| matches!(error, ReadError::BytesAfterFrame { .. }),
        );
    }
    check_payload(
        3,
        |payload| {
            payload.stored.pop();
        },
        "cannot decompress payload 3",
        |error| matches!(error, ReadError::Decompress { .. }),
    );
    // Frames that do not say their length.
    let frame = unsized_frame(b"hello");
    let mut payloads = package();
    payloads[3].stored = frame.clone();
    payloads[3].records = 2;
    assert!(decode(&file(&payloads)).is_ok());
    let longer = unsized_frame(b"hello!");
    check_payload(
        3,
        |payload| repack(payload, longer.clone()),
        "more than the 5 plain bytes",
        |error| matches!(error, ReadError::PlainTooLong { .. }),
    );
    let shorter = unsized_frame(b"hell");
    check_payload(
        3,
        |payload| repack(payload, shorter.clone()),
        "holds 4 plain bytes",
        |error| matches!(error, ReadError::PlainTooShort { found_bytes: 4, .. }),
    );
}

#[test]
fn memory_that_a_frame_may_ask_for() {
    // A frame of a few bytes with a window of 2 GiB and no length.
    let greedy = b"\x28\xb5\x2f\xfd\x00\xa8\x29\x00\x00hello".to_vec();
    check_payload(
        3,
        |payload| payload.stored = greedy.clone(),
        "takes 2147483648 bytes of memory",
        |error| matches!(error, ReadError::WindowTooLarge { limit_bytes: 0x0800_0000, .. }),
    );
    let mut payloads = package();
    payloads[3].stored = greedy;
    let generous = Limits { unsized_window_bytes_max: 2 << 30, ..Limits::default() };
    assert!(decode_within(&file(&payloads), &generous).is_ok());
    let narrow = Limits { window_log_max: 20, ..generous };
    assert!(matches!(decode_within(&file(&payloads), &narrow), Err(ReadError::WindowTooLarge { .. })));
    // A window of 2 GiB beside a length of five bytes needs five.
    payloads[3].stored = b"\x28\xb5\x2f\xfd\x80\xa8\x05\x00\x00\x00\x29\x00\x00hello".to_vec();
    assert!(decode_within(&file(&payloads), &Limits::small()).is_ok());
}

#[test]
fn limits_of_size() {
    let whole = file(&package());
    let records_bytes = Limits { records_bytes_max: 100, ..Limits::default() };
    assert!(matches!(
        decode_within(&whole, &records_bytes),
        Err(ReadError::TooManyRecordBytes { limit_bytes: 100, .. })
    ));
    let content_bytes = Limits { content_bytes_max: 4, ..Limits::default() };
    assert!(matches!(
        decode_within(&whole, &content_bytes),
        Err(ReadError::TooManyContentBytes { plain_size_bytes: 5, .. })
    ));
}

#[test]
fn unknown_payloads_are_skipped_on_demand() {
    let skip = Limits { unknown_payloads: Unknown::Skip, ..Limits::default() };
    let mut payloads = package();
    payloads.insert(2, Payload { kind: 77, ..Payload::plain(PayloadKind::Meta, 3, b"from the future") });
    payloads.push(Payload { compression: 9, ..Payload::plain(PayloadKind::Meta, 3, b"and from beyond") });
    let (stone, _keep) = decode_within(&file(&payloads), &skip).unwrap();
    assert_eq!(stone, decode(&file(&package())).unwrap().0);
    assert!(matches!(decode(&file(&payloads)), Err(ReadError::UnknownPayloadKind { number: 77, .. })));
}

#[test]
fn the_order_of_payloads_is_free_and_their_number_is_not() {
    let mut payloads = package();
    payloads.reverse();
    assert_eq!(decode(&file(&payloads)).unwrap(), decode(&file(&package())).unwrap());
    for number in [1, 3] {
        let mut payloads = package();
        payloads.push(payloads[number].clone());
        let error = decode(&file(&payloads)).unwrap_err();
        assert!(matches!(error, ReadError::RepeatedPayload { .. }), "{error:?}");
        assert!(error.to_string().contains("payload 4"), "{error}");
    }
    // Several indexes are read as one.
    let mut payloads = package();
    payloads[2] = Payload::plain(PayloadKind::Index, 1, &index_record(5, 5, Digest::EMPTY));
    payloads.push(Payload::packed(PayloadKind::Index, 1, &index_record(0, 5, Digest::of(b"hello"))));
    let (stone, keep) = decode(&file(&payloads)).unwrap();
    assert_eq!(stone.index.len(), 2);
    assert_eq!(keep.files.len(), 2);
}

#[test]
fn meta_records() {
    check_meta(&meta_record(8, 10, b""), "record 1 of payload 0", |error| {
        matches!(error, ReadError::EmptyDependency { .. })
    });
    check_meta(&meta_record(11, 8, &[0; 4]), "number of type 8 is 4 bytes", |error| {
        matches!(error, ReadError::NumberLength { type_number: 8, length_bytes: 4, .. })
    });
    check_meta(&meta_record(1, 9, b"\xff\0"), "not UTF-8", |error| {
        matches!(error, ReadError::NotUtf8 { .. })
    });
    check_meta(&meta_record(8, 10, b"\0\xc3\0"), "not UTF-8", |error| {
        matches!(error, ReadError::NotUtf8 { .. })
    });
    check_meta(&meta_record(1, 9, b"a\0b\0"), "NUL inside", |error| {
        matches!(error, ReadError::NulInText { .. })
    });
    let mut padded = meta_record(1, 9, b"a\0");
    padded[7] = 1;
    check_meta(&padded, "must be zero", |error| matches!(error, ReadError::NonZeroPadding { .. }));
    let mut long = meta_record(1, 9, b"a\0");
    long[0] = 0xff;
    check_meta(&long, "2 are left", |error| {
        matches!(error, ReadError::TruncatedRecord { wanted_bytes: 0xff00_0002, left_bytes: 2, .. })
    });
    check_meta(&[0; 5], "needs 2 more bytes and 1 are left", |error| {
        matches!(error, ReadError::TruncatedRecord { .. })
    });
}

#[test]
fn layout_records() {
    let digest = Digest::EMPTY.to_be_bytes();
    for (target, fault) in [
        (&b""[..], TargetFault::Empty),
        (b"\0", TargetFault::Empty),
        (b"/etc/passwd", TargetFault::Absolute),
        (b"bin/", TargetFault::TrailingSlash),
        (b"bin//a", TargetFault::EmptyComponent),
        (b"./a", TargetFault::Dot),
        (b"../etc/passwd", TargetFault::DotDot),
        (b"a/../../b", TargetFault::DotDot),
    ] {
        let records = [layout_record(3, b"", b"fine"), layout_record(2, b"x", target)];
        check_layout(
            &records,
            "record 1 of payload 0 (layout) at byte 32",
            |error| matches!(error, ReadError::Target { fault: found, .. } if *found == fault),
        );
    }
    check_layout(&[layout_record(3, b"", b"a\0b")], "NUL", |error| {
        matches!(error, ReadError::NulInText { .. })
    });
    check_layout(&[layout_record(3, b"", b"a\xff")], "target is not UTF-8", |error| {
        matches!(error, ReadError::NotUtf8 { what: "target", .. })
    });
    check_layout(&[layout_record(2, b"\xff", b"a")], "link text is not UTF-8", |error| {
        matches!(error, ReadError::NotUtf8 { what: "link text", .. })
    });
    check_layout(&[layout_record(1, &digest[..15], b"a")], "15 bytes instead of 16", |error| {
        matches!(error, ReadError::SourceLength { length_bytes: 15, .. })
    });
    check_layout(&[layout_record(2, b"", b"a")], "at least one", |error| {
        matches!(error, ReadError::SourceLength { length_bytes: 0, .. })
    });
    check_layout(&[layout_record(3, b"x", b"a")], "instead of none", |error| {
        matches!(error, ReadError::SourceLength { length_bytes: 1, .. })
    });
    check_layout(&[layout_record(8, b"", b"a")], "entry kind 8", |error| {
        matches!(error, ReadError::UnknownEntryKind { number: 8, .. })
    });
    for offset in [15, 21, 31] {
        let mut record = layout_record(3, b"", b"a");
        record[offset] = 1;
        check_layout(&[record], "must be zero", |error| matches!(error, ReadError::NonZeroPadding { .. }));
    }
    let twice = [layout_record(3, b"", b"a"), layout_record(3, b"", b"b"), layout_record(2, b"x", b"a\0")];
    check_layout(&twice, "record 2 of payload 0", |error| {
        matches!(error, ReadError::DuplicateTarget { first: 0, .. })
    });
    let through_link = [layout_record(3, b"", b"etc/passwd"), layout_record(2, b"/", b"etc")];
    check_layout(&through_link, "lies below \"etc\"", |error| {
        matches!(error, ReadError::TargetBelowFile { .. })
    });
    check_layout(&[layout_record(1, &digest, b"a")], "no index record", |error| {
        matches!(error, ReadError::MissingSlice { digest: Digest::EMPTY, .. })
    });
}

#[test]
fn index_records() {
    let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
    let fault = |expect: TilingFault| move |error: &ReadError| matches!(error, ReadError::Tiling { fault, .. } if *fault == expect);
    check_index(&[index_record(3, 0, one)], b"one", "starts at 3 and ends at 0", |error| {
        matches!(error, ReadError::ReversedSlice { start: 3, end: 0, .. })
    });
    check_index(
        &[index_record(0, 4, one)],
        b"one",
        "content of 3 bytes",
        fault(TilingFault::OutOfRange { slice: 0, end: 4, content_bytes: 3 }),
    );
    check_index(
        &[index_record(0, u64::MAX, one)],
        b"one",
        "index record 0",
        fault(TilingFault::OutOfRange { slice: 0, end: u64::MAX, content_bytes: 3 }),
    );
    check_index(
        &[index_record(0, 3, one), index_record(2, 5, two)],
        b"onwo!",
        "overlap",
        fault(TilingFault::Overlap { first: 0, second: 1 }),
    );
    check_index(
        &[index_record(0, 3, one)],
        b"one!",
        "bytes 3 to 4",
        fault(TilingFault::Gap { start: 3, end: 4 }),
    );
    check_index(
        &[index_record(1, 4, one)],
        b"!one",
        "bytes 0 to 1",
        fault(TilingFault::Gap { start: 0, end: 1 }),
    );
    check_index(
        &[index_record(0, 3, one), index_record(3, 6, one)],
        b"oneone",
        "same digest",
        fault(TilingFault::RepeatedDigest { first: 0, second: 1 }),
    );
    check_index(&[index_record(0, 3, two)], b"one", "record 0 of payload 0 (index)", |error| {
        matches!(error, ReadError::DigestMismatch { .. })
    });
    check_index(&[index_record(0, 0, two)], b"", "record 0 of payload 0 (index)", |error| {
        matches!(error, ReadError::DigestMismatch { found: Digest::EMPTY, .. })
    });
    let lonely = file(&[Payload::plain(PayloadKind::Index, 1, &index_record(0, 3, one))]);
    check(&lonely, "no content", |error| matches!(error, ReadError::MissingContent { .. }));
}

#[test]
fn attribute_records_with_absurd_lengths() {
    let mut plain = u64::MAX.to_be_bytes().to_vec();
    plain.extend(8_u64.to_be_bytes());
    plain.extend(b"key");
    let whole = file(&[Payload::packed(PayloadKind::Attributes, 1, &plain)]);
    check(&whole, "3 are left", |error| {
        matches!(error, ReadError::TruncatedRecord { wanted_bytes: u64::MAX, left_bytes: 3, .. })
    });
}

/// A source that fails from a given offset on.
struct Failing {
    bytes: Cursor<Vec<u8>>,
    from: u64,
}

impl Read for Failing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.from.saturating_sub(self.bytes.position())).unwrap();
        if left == 0 {
            return Err(io::Error::other("the disk is on fire"));
        }
        let length = buffer.len().min(left);
        self.bytes.read(&mut buffer[..length])
    }
}

impl Seek for Failing {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.bytes.seek(position)
    }
}

#[test]
fn a_failing_source_is_not_taken_for_damage() {
    let whole = file(&package());
    for from in 0..u64::try_from(whole.len()).unwrap() {
        let source = Failing { bytes: Cursor::new(whole.clone()), from };
        let error = stone::read(source, &Limits::default(), &mut stone::Discard).unwrap_err();
        assert!(matches!(error, ReadError::Source { .. }), "failing from {from}: {error:?}");
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(fault::chain(&error)[1].contains("on fire"), "{error:?}");
    }
}

#[test]
fn a_failing_sink_is_named() {
    struct Full;
    impl ContentSink for Full {
        fn begin(&mut self, _digest: Digest, _size_bytes: u64) -> io::Result<()> {
            Ok(())
        }
        fn write(&mut self, _bytes: &[u8]) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn end(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let error = stone::read(Cursor::new(file(&package())), &Limits::default(), &mut Full).unwrap_err();
    assert!(matches!(error, ReadError::Sink { digest, .. } if digest == Digest::of(b"hello")), "{error:?}");
}
