//! Whatever the bytes are, the reader answers within its limits, and what it accepts can be written and read again.

#![no_main]

use std::io::{self, Cursor};

use libfuzzer_sys::fuzz_target;
use stone::{ContentSink, Digest, Limits, Packing, Unknown, Writer};

/// Keeps the content as one piece; slices come in the order in which they lie in it.
#[derive(Default)]
struct Content(Vec<u8>);

impl ContentSink for Content {
    fn begin(&mut self, _digest: Digest, _size_bytes: u64) -> io::Result<()> {
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { content_bytes_max: 4 << 20, unknown_payloads: Unknown::Skip, ..Limits::small() };
    let listed = stone::read_records(Cursor::new(bytes), &limits);
    let mut content = Content::default();
    let Ok(stone) = stone::read(Cursor::new(bytes), &limits, &mut content) else {
        return;
    };
    assert_eq!(listed.expect("what reads can be listed"), stone);
    let mut writer =
        Writer::with_packing(Cursor::new(Vec::new()), stone.file_type, Packing::FAST).expect("memory");
    writer.records_of(&stone).expect("what was read can be written");
    if !stone.index.is_empty() {
        writer.content(stone.content_bytes, content.0.as_slice()).expect("the content fits its index");
    }
    let again = writer.finish().expect("a whole file");
    let reread =
        stone::read(again, &Limits::default(), &mut Content::default()).expect("what was written reads");
    assert_eq!(reread, stone);
});
