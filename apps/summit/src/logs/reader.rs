//! Reading a log, whether it still grows or is compressed already.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use fs_err::File;

use super::outline::Outline;
use super::seekable::Archive;

/// Bytes that are read at once to count lines.
const COUNT_BYTES: usize = 256 << 10;

/// One log that is read from. What its file is called may change meanwhile: it is the same log.
#[derive(Debug)]
pub struct LogReader {
    source: Source,
}

#[derive(Debug)]
enum Source {
    Nothing,
    Plain { file: File, size_bytes: u64 },
    Archived(Box<Archive>),
}

impl LogReader {
    /// Opens whichever file there is. Of one that grows, `visible_bytes` can be read, or all of it.
    pub(super) fn open(plain: &Path, archived: &Path, visible_bytes: Option<u64>) -> io::Result<Self> {
        // In this order: the plain file goes only when the other one is there.
        if let Some(file) = open_if_there(plain)? {
            let size_bytes = file.metadata()?.len();
            let size_bytes = visible_bytes.map_or(size_bytes, |visible| visible.min(size_bytes));
            return Ok(Self { source: Source::Plain { file, size_bytes } });
        }
        let source = match open_if_there(archived)? {
            Some(file) => Source::Archived(Box::new(Archive::open(file)?)),
            None => Source::Nothing,
        };
        Ok(Self { source })
    }

    /// Bytes of the log that can be read.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        match &self.source {
            Source::Nothing => 0,
            Source::Plain { size_bytes, .. } => *size_bytes,
            Source::Archived(archive) => archive.size_bytes(),
        }
    }

    /// Whether it has ended and is compressed.
    #[must_use]
    pub fn is_archived(&self) -> bool {
        matches!(self.source, Source::Archived(_))
    }

    /// At least one and at most `size_bytes_max` bytes from `offset` on; none at the end.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn read_at(&mut self, offset: u64, size_bytes_max: usize) -> io::Result<Vec<u8>> {
        match &mut self.source {
            Source::Nothing => Ok(Vec::new()),
            Source::Plain { file, size_bytes } => {
                let left = usize::try_from(size_bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
                let mut bytes = vec![0; left.min(size_bytes_max)];
                file.file().read_exact_at(&mut bytes, offset)?;
                Ok(bytes)
            }
            Source::Archived(archive) => {
                let bytes = archive.read_at(offset)?;
                Ok(bytes.get(..size_bytes_max.min(bytes.len())).unwrap_or_default().to_vec())
            }
        }
    }

    /// The bytes from `begin` to `end`, as far as there are any.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn read_range(&mut self, begin: u64, end: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut offset = begin;
        while offset < end {
            let room = usize::try_from(end - offset).unwrap_or(usize::MAX);
            let piece = self.read_at(offset, room)?;
            if piece.is_empty() {
                break;
            }
            offset += super::outline::length(&piece);
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    /// Brings an outline of this log up to date.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn outline(&mut self, outline: &mut Outline) -> io::Result<()> {
        if let Source::Archived(archive) = &self.source
            && outline.size_bytes() < archive.size_bytes()
        {
            *outline = archive.outline()?;
        }
        while outline.size_bytes() < self.size_bytes() {
            let bytes = self.read_at(outline.size_bytes(), COUNT_BYTES)?;
            if bytes.is_empty() {
                break;
            }
            outline.extend(&bytes);
        }
        Ok(())
    }

    /// The number of the line that the byte at `offset` belongs to, from 1.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn line_at(&mut self, outline: &Outline, offset: u64) -> io::Result<u64> {
        let (begin, ends) = outline.step_before_offset(offset);
        let bytes = self.read_range(begin, offset)?;
        Ok(ends + count_ends(&bytes) + 1)
    }

    /// Where the line of this number begins; the end of the log when there are fewer.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn offset_of_line(&mut self, outline: &Outline, line: u64) -> io::Result<u64> {
        let (mut offset, mut ends) = outline.step_before_line(line);
        let wanted = line.saturating_sub(1);
        while ends < wanted {
            let bytes = self.read_at(offset, COUNT_BYTES)?;
            if bytes.is_empty() {
                break;
            }
            for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
                offset += super::outline::length(piece);
                ends += u64::from(piece.ends_with(b"\n"));
                if ends == wanted {
                    break;
                }
            }
        }
        Ok(offset)
    }
}

fn count_ends(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.iter().filter(|&&byte| byte == b'\n').count()).unwrap_or(u64::MAX)
}

fn open_if_there(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
