//! Logs that have ended, compressed so that any part can be read without what is before it.
//!
//! The file is in Zstandard's seekable format (`contrib/seekable_format` of zstd): frames that each stand for
//! [`FRAME_BYTES`] of the log, a skippable frame with the log's [`Outline`], and a skippable frame with the sizes of all
//! others. `zstd -d` makes the log of it again. Every frame carries a checksum, so that damage is seen when it is read.

use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;

use fs_err::File;
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::CParameter;

use super::outline::{Outline, length};

/// Bytes of a log in one frame: what is read to show any part of it. Larger ones save little.
pub(super) const FRAME_BYTES: usize = 256 << 10;

/// Compression level: logs become a tenth to a thirtieth with any; this one makes some 200 MB a second.
const LEVEL: i32 = 3;

/// Frames of one file; 256 GiB of log, far beyond any limit on logs.
const FRAMES_MAX: u32 = 1 << 20;

/// Bytes of an outline that are believed: 4 TiB of log have some.
const OUTLINE_BYTES_MAX: u32 = 64 << 20;

/// Skippable frames (RFC 8878, 3.1.2): of ours, and of the table by the seekable format.
const OUTLINE_MAGIC: u32 = 0x184D_2A50;
const TABLE_MAGIC: u32 = 0x184D_2A5E;

/// Last word of a seekable file.
const SEEKABLE_MAGIC: u32 = 0x8F92_EAB1;

/// Magic and size before the content of a skippable frame.
const SKIPPABLE_HEAD_BYTES: u64 = 8;

/// Both sizes of a frame.
const ENTRY_BYTES: usize = 8;

/// Number of frames, descriptor, magic.
const FOOTER_BYTES: usize = 9;

/// Writes the log that `log` reads to `out`. Returns its outline.
pub(super) fn write(mut log: impl Read, out: &mut impl Write) -> io::Result<Outline> {
    let mut compressor = Compressor::new(LEVEL)?;
    compressor.set_parameter(CParameter::ChecksumFlag(true))?;
    let mut outline = Outline::default();
    let mut table = Vec::new();
    let mut frames = 0_u32;
    let mut note = |compressed: u64, plain: u64| -> io::Result<()> {
        frames += 1;
        if frames > FRAMES_MAX {
            return Err(io::Error::other("the log is too large"));
        }
        table.extend_from_slice(&small(compressed)?.to_le_bytes());
        table.extend_from_slice(&small(plain)?.to_le_bytes());
        Ok(())
    };
    let mut frame = Vec::with_capacity(FRAME_BYTES);
    loop {
        frame.clear();
        log.by_ref().take(length_of(FRAME_BYTES)).read_to_end(&mut frame)?;
        if frame.is_empty() {
            break;
        }
        outline.extend(&frame);
        let compressed = compressor.compress(&frame)?;
        out.write_all(&compressed)?;
        note(length(&compressed), length(&frame))?;
    }
    let text = serde_json::to_vec(&outline)?;
    skippable(out, OUTLINE_MAGIC, &text)?;
    note(SKIPPABLE_HEAD_BYTES + length(&text), 0)?;
    table.extend_from_slice(&frames.to_le_bytes());
    table.push(0);
    table.extend_from_slice(&SEEKABLE_MAGIC.to_le_bytes());
    skippable(out, TABLE_MAGIC, &table)?;
    Ok(outline)
}

fn skippable(out: &mut impl Write, magic: u32, content: &[u8]) -> io::Result<()> {
    out.write_all(&magic.to_le_bytes())?;
    out.write_all(&small(length(content))?.to_le_bytes())?;
    out.write_all(content)
}

fn small(size: u64) -> io::Result<u32> {
    u32::try_from(size).map_err(|_| io::Error::other("a frame is too large"))
}

fn length_of(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

/// A compressed log that is read from.
pub(super) struct Archive {
    file: File,
    /// Where each frame begins, in the file and in the log; the last entry is where the frames of the log end.
    frames: Vec<(u64, u64)>,
    outline_size_bytes: u32,
    decompressor: Decompressor<'static>,
    /// The frame that was read last, by its number.
    held: Option<(usize, Vec<u8>)>,
}

impl Archive {
    /// Opens a file by its table.
    pub(super) fn open(file: File) -> io::Result<Self> {
        let size_bytes = file.metadata()?.len();
        let footer_at =
            size_bytes.checked_sub(length_of(FOOTER_BYTES)).ok_or_else(|| damaged("it is cut off"))?;
        let mut footer = [0; FOOTER_BYTES];
        file.file().read_exact_at(&mut footer, footer_at)?;
        let (Some(count), Some(magic)) = (word(&footer, 0), word(&footer, 5)) else {
            return Err(damaged("it has no footer"));
        };
        if magic != SEEKABLE_MAGIC || footer.get(4) != Some(&0) || count == 0 || count > FRAMES_MAX {
            return Err(damaged("it has no table of frames"));
        }
        let entries = usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(ENTRY_BYTES);
        let table_at = footer_at
            .checked_sub(length_of(entries))
            .filter(|at| *at >= SKIPPABLE_HEAD_BYTES)
            .ok_or_else(|| damaged("its table of frames is cut off"))?;
        let mut table = vec![0; entries];
        file.file().read_exact_at(&mut table, table_at)?;
        let mut frames = vec![(0, 0)];
        let (mut here, mut of_log) = (0_u64, 0_u64);
        let mut outline_size_bytes = 0;
        for entry in table.chunks_exact(ENTRY_BYTES) {
            let (Some(compressed), Some(plain)) = (word(entry, 0), word(entry, 4)) else { break };
            if usize::try_from(plain).unwrap_or(usize::MAX) > FRAME_BYTES {
                return Err(damaged("a frame of it is too large"));
            }
            here += u64::from(compressed);
            of_log += u64::from(plain);
            if plain == 0 {
                outline_size_bytes = compressed;
            } else {
                frames.push((here, of_log));
            }
        }
        if here + SKIPPABLE_HEAD_BYTES != table_at {
            return Err(damaged("its frames are not as large as its table says"));
        }
        Ok(Self { file, frames, outline_size_bytes, decompressor: Decompressor::new()?, held: None })
    }

    /// Bytes of the log.
    pub(super) fn size_bytes(&self) -> u64 {
        self.frames.last().map_or(0, |&(_, of_log)| of_log)
    }

    /// The bytes from `offset` to the end of the frame that holds it; none at the end.
    pub(super) fn read_at(&mut self, offset: u64) -> io::Result<&[u8]> {
        let after = self.frames.partition_point(|&(_, of_log)| of_log <= offset);
        let number = after.saturating_sub(1);
        let (Some(&(begin, log_begin)), Some(&(end, log_end))) =
            (self.frames.get(number), self.frames.get(after))
        else {
            return Ok(&[]);
        };
        if self.held.as_ref().is_none_or(|(held, _)| *held != number) {
            let mut compressed =
                vec![0; usize::try_from(end - begin).map_err(|_| damaged("a frame is too large"))?];
            self.file.file().read_exact_at(&mut compressed, begin)?;
            let bytes = self.decompressor.decompress(&compressed, FRAME_BYTES)?;
            if length(&bytes) != log_end - log_begin {
                return Err(damaged("a frame of it is not as large as the table says"));
            }
            self.held = Some((number, bytes));
        }
        let skip = usize::try_from(offset - log_begin).unwrap_or(usize::MAX);
        Ok(self.held.as_ref().and_then(|(_, bytes)| bytes.get(skip..)).unwrap_or_default())
    }

    /// Where lines and phases are.
    pub(super) fn outline(&self) -> io::Result<Outline> {
        let head = u32::try_from(SKIPPABLE_HEAD_BYTES).unwrap_or(0);
        let size = self
            .outline_size_bytes
            .checked_sub(head)
            .filter(|size| *size <= OUTLINE_BYTES_MAX)
            .ok_or_else(|| damaged("it has no outline"))?;
        let begin = self.frames.last().map_or(0, |&(here, _)| here) + SKIPPABLE_HEAD_BYTES;
        let mut text = vec![0; usize::try_from(size).unwrap_or(0)];
        self.file.file().read_exact_at(&mut text, begin)?;
        Ok(serde_json::from_slice(&text)?)
    }
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Archive").field("file", &self.file).finish_non_exhaustive()
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at + 4)?;
    Some(u32::from_le_bytes(word.try_into().ok()?))
}

fn damaged(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the compressed log is damaged: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(folder: &std::path::Path, log: &[u8]) -> std::path::PathBuf {
        let path = folder.join("1.log.zst");
        let mut out = File::create(&path).unwrap();
        write(log, &mut out).unwrap();
        path
    }

    fn log(size_bytes: usize) -> Vec<u8> {
        (0..).flat_map(|line| format!("line {line}\n").into_bytes()).take(size_bytes).collect()
    }

    #[test]
    fn any_part_is_read_without_what_is_before_it() {
        let folder = tempfile::tempdir().unwrap();
        for size in [0, 1, FRAME_BYTES - 1, FRAME_BYTES, FRAME_BYTES + 1, 3 * FRAME_BYTES + 77] {
            let log = log(size);
            let path = archive(folder.path(), &log);
            let mut archive = Archive::open(File::open(&path).unwrap()).unwrap();
            assert_eq!(archive.size_bytes(), length(&log));
            for offset in
                [0, 1, size / 2, FRAME_BYTES - 1, FRAME_BYTES, size.saturating_sub(1), size, size + 9]
            {
                let bytes = archive.read_at(length_of(offset)).unwrap();
                let expect = log.get(offset..).unwrap_or_default();
                assert_eq!(bytes.is_empty(), expect.is_empty(), "{offset} of {size}");
                assert!(expect.starts_with(bytes), "{offset} of {size}");
            }
            let mut outline = Outline::default();
            outline.extend(&log);
            assert_eq!(archive.outline().unwrap().lines(), outline.lines());
            // Any reader of Zstandard makes the log of it.
            assert_eq!(zstd::decode_all(File::open(&path).unwrap()).unwrap(), log);
        }
    }

    #[test]
    fn a_damaged_file_is_refused_and_nothing_is_believed() {
        let folder = tempfile::tempdir().unwrap();
        let good = fs_err::read(archive(folder.path(), &log(600_000))).unwrap();
        let path = folder.path().join("bad");
        let read = |bytes: &[u8]| -> io::Result<()> {
            fs_err::write(&path, bytes).unwrap();
            let mut archive = Archive::open(File::open(&path).unwrap())?;
            let mut offset = 0;
            loop {
                match length(archive.read_at(offset)?) {
                    0 => break,
                    count => offset += count,
                }
            }
            archive.outline().map(drop)
        };
        read(&good).unwrap();
        for end in [0, 1, 8, 9, 17, 100, good.len() / 2, good.len() - 1] {
            assert!(read(&good[..end]).is_err(), "cut at {end}");
        }
        for place in (0..good.len()).step_by(1 + good.len() / 300) {
            let mut bytes = good.clone();
            bytes[place] ^= 0xff;
            // The outline is for showing only; what is of the log is never another.
            drop(read(&bytes));
        }
        let mut bytes = good.clone();
        bytes[1000] ^= 0xff;
        assert!(read(&bytes).is_err(), "a changed byte of the log is seen");
        let last = good.len();
        bytes = good;
        bytes[last - 9..last - 5].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(read(&bytes).is_err(), "a table larger than the file takes no memory");
    }
}
