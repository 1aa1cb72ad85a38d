//! One zstd frame for a whole file, and one that goes on from another file.

use std::io::{self, Read, Write};

use super::CompactError;

/// Level of compression. Every publication packs the whole index: of 3,362 packages level 12 takes fifty times as long to make
/// 271 KB instead of 300, most of which are digests. What differs from an old file is found by the long-distance matcher: at
/// any level with it a delta is as small as at the highest without.
const LEVEL: i32 = 3;

/// The smallest and largest window, as powers of two: zstd's own smallest, and one that holds an old and a new image of the
/// largest size.
const WINDOW_LOG_MIN: u32 = 10;
const WINDOW_LOG_MAX: u32 = 28;

/// Packs a file as one frame.
#[must_use]
pub fn pack(plain: &[u8]) -> Vec<u8> {
    pack_from(&[], plain)
}

/// The plain bytes of one frame with nothing after it.
///
/// # Errors
/// For anything else, and for more than `limit_bytes`. `what` is the name of the file in errors.
pub fn unpack(packed: &[u8], limit_bytes: usize, what: &'static str) -> Result<Vec<u8>, CompactError> {
    unpack_from(&[], packed, limit_bytes, what)
}

/// Packs a file for somebody who has the old one.
#[expect(
    clippy::expect_used,
    reason = "zstd refuses only bad parameters and a sink that fails; memory does not"
)]
pub(super) fn pack_from(old: &[u8], plain: &[u8]) -> Vec<u8> {
    frame(old, plain).expect("zstd packs into memory")
}

fn frame(old: &[u8], plain: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = zstd::stream::write::Encoder::with_ref_prefix(Vec::new(), LEVEL, old)?;
    let reach = old.len().saturating_add(plain.len()).next_power_of_two();
    encoder.window_log(reach.trailing_zeros().clamp(WINDOW_LOG_MIN, WINDOW_LOG_MAX))?;
    if !old.is_empty() {
        encoder.long_distance_matching(true)?;
    }
    encoder.set_pledged_src_size(Some(super::count(plain.len())))?;
    encoder.include_contentsize(true)?;
    encoder.include_checksum(true)?;
    encoder.write_all(plain)?;
    encoder.finish()
}

pub(super) fn unpack_from(
    old: &[u8],
    packed: &[u8],
    limit_bytes: usize,
    what: &'static str,
) -> Result<Vec<u8>, CompactError> {
    let damaged = |problem| CompactError::Damaged { what, problem };
    let mut plain = Vec::new();
    let rest =
        read_frame(old, packed, limit_bytes, &mut plain).map_err(|_| damaged("its frame is damaged"))?;
    if plain.len() > limit_bytes {
        return Err(CompactError::TooLong { what, limit_bytes });
    }
    match rest {
        0 => Ok(plain),
        _ => Err(damaged("something follows its frame")),
    }
}

/// Reads at most one byte more than the limit; gives how many bytes follow the frame.
fn read_frame(old: &[u8], packed: &[u8], limit_bytes: usize, plain: &mut Vec<u8>) -> io::Result<usize> {
    let mut decoder = zstd::stream::read::Decoder::with_ref_prefix(packed, old)?.single_frame();
    decoder.window_log_max(WINDOW_LOG_MAX)?;
    (&mut decoder).take(super::count(limit_bytes).saturating_add(1)).read_to_end(plain)?;
    Ok(decoder.finish().len())
}
