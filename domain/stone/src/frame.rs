//! What a zstd frame says about itself, before a decompressor believes it.
//!
//! Layout after RFC 8878, section 3.1.1.1: magic, a descriptor byte, then window, dictionary and content size, each
//! present or absent as the descriptor says.

/// The first four bytes of a frame.
const FRAME_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Longest frame header: magic, descriptor, window, dictionary id, content size.
pub(crate) const FRAME_HEADER_BYTES_MAX: usize = 18;

/// Most plain bytes that one stored byte can stand for: a block holds at most 128 KiB and takes at least four bytes, a
/// header of three and one byte to repeat.
pub(crate) const PLAIN_PER_STORED_BYTE_MAX: u64 = 128 * 1024 / 4;

/// What a frame header claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    /// Bytes that the decompressor must be able to look back.
    pub(crate) window_bytes: u64,
    /// Plain bytes of the frame, where it says so.
    pub(crate) content_bytes: Option<u64>,
}

/// Reads the header at the beginning of `bytes`; `None` where there is no complete header of a zstd frame.
pub(crate) fn parse(bytes: &[u8]) -> Option<FrameHeader> {
    let rest = bytes.strip_prefix(&FRAME_MAGIC)?;
    let (&descriptor, mut rest) = rest.split_first()?;
    let single_segment = descriptor & 0x20 != 0;
    let window_descriptor = if single_segment {
        None
    } else {
        let (&byte, tail) = rest.split_first()?;
        rest = tail;
        Some(byte)
    };
    let dictionary_bytes = [0, 1, 2, 4][usize::from(descriptor & 3)];
    rest = rest.get(dictionary_bytes..)?;
    let content_bytes = match (descriptor >> 6, single_segment) {
        (0, false) => None,
        (0, true) => Some(u64::from(*rest.first()?)),
        (1, _) => Some(u64::from(u16::from_le_bytes(*rest.first_chunk()?)) + 256),
        (2, _) => Some(u64::from(u32::from_le_bytes(*rest.first_chunk()?))),
        _ => Some(u64::from_le_bytes(*rest.first_chunk()?)),
    };
    let window_bytes = match window_descriptor {
        Some(byte) => {
            let base = 1_u64 << (10 + u32::from(byte >> 3));
            base + base / 8 * u64::from(byte & 7)
        }
        None => content_bytes.unwrap_or(0),
    };
    Some(FrameHeader { window_bytes, content_bytes })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn check(bytes: &[u8], expect: Option<(u64, Option<u64>)>) {
        let found = parse(bytes).map(|header| (header.window_bytes, header.content_bytes));
        assert_eq!(found, expect, "{bytes:02x?}");
    }

    #[test]
    fn headers() {
        check(b"", None);
        check(b"\x28\xb5\x2f", None);
        check(b"\x28\xb5\x2f\xfe\x20\x00", None);
        // One segment: the window is the content.
        check(b"\x28\xb5\x2f\xfd\x20\x05", Some((5, Some(5))));
        check(b"\x28\xb5\x2f\xfd\x60\x00\x01", Some((512, Some(512))));
        check(b"\x28\xb5\x2f\xfd\xa0\x00\x00\x01\x00", Some((65_536, Some(65_536))));
        check(b"\x28\xb5\x2f\xfd\xe0\x01\x00\x00\x00\x00\x00\x00\x00", Some((1, Some(1))));
        // A window of its own, no size: 2^10, 2^31, and with a mantissa.
        check(b"\x28\xb5\x2f\xfd\x00\x00", Some((1024, None)));
        check(b"\x28\xb5\x2f\xfd\x00\xa8", Some((1 << 31, None)));
        check(b"\x28\xb5\x2f\xfd\x00\x0f", Some((2048 + 7 * 256, None)));
        // A dictionary id of four bytes lies between.
        check(b"\x28\xb5\x2f\xfd\x23\x01\x02\x03\x04\x07", Some((7, Some(7))));
        check(b"\x28\xb5\x2f\xfd\x23\x01\x02\x03\x04", None);
    }

    #[test]
    fn what_the_library_writes() {
        let plain = vec![7_u8; 100_000];
        let frame = zstd::bulk::compress(&plain, 3).unwrap();
        let header = parse(&frame).unwrap();
        assert_eq!(header.content_bytes, Some(100_000));
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        encoder.write_all(&plain).unwrap();
        let unsized_frame = encoder.finish().unwrap();
        assert_eq!(parse(&unsized_frame).unwrap().content_bytes, None);
    }
}
