//! Files that are being received.
//!
//! A part file is hashed while it is written. Beside it lies the validator (`ETag` or `Last-Modified`) of the answer
//! its bytes came from, so that a later transfer may go on from where this one stopped only if the file at the other
//! end is still the same.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use fault::{Fault, Kind};
use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt;
use sha2::{Digest as _, Sha256};

use crate::digest::Digest;

/// Bytes read at a time; large enough that system calls cost nothing beside hashing.
const CHUNK_BYTES: usize = 64 * 1024;
/// Longest validator that is kept; real ones are below 100 bytes, the bound only keeps a hostile one out.
const VALIDATOR_BYTES_MAX: u64 = 1024;

/// A file that is being received.
#[derive(Debug)]
pub struct PartFile {
    path: PathBuf,
    file: fs::File,
    hasher: Sha256,
    size_bytes: u64,
    validator: Option<String>,
}

/// A file that was received completely and is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishedPart {
    /// Where it lies, still under the name of the part.
    pub path: PathBuf,
    /// Its size.
    pub size_bytes: u64,
    /// Its digest, computed from the bytes that were written.
    pub sha256: Digest,
}

/// A part file cannot be kept.
#[derive(Debug, thiserror::Error)]
#[error("cannot keep the partly received file {path}")]
pub struct PartError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl Fault for PartError {
    fn kind(&self) -> Kind {
        Kind::Unavailable
    }

    fn hints(&self) -> Vec<String> {
        if self.source.kind() == io::ErrorKind::StorageFull {
            vec![format!("free space on the file system of {}", self.path.display())]
        } else {
            Vec::new()
        }
    }
}

impl PartError {
    pub(crate) fn into_io(self) -> io::Error {
        self.source
    }
}

impl PartFile {
    /// Opens the part at `path`, going on after what it already holds. Without a validator beside it nothing shows
    /// that those bytes belong to what will follow, so it starts empty.
    ///
    /// # Errors
    /// When the file cannot be created, read or written.
    pub fn open(path: &Path) -> Result<PartFile, PartError> {
        Self::try_open(path).map_err(|source| PartError { path: path.to_path_buf(), source })
    }

    /// Bytes it holds.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Makes the bytes durable and closes the file.
    ///
    /// # Errors
    /// When the disk does not take them.
    pub fn finish(self) -> Result<FinishedPart, PartError> {
        let finished = self.file.sync_all().and_then(|()| remove_if_there(&validator_path(&self.path)));
        match finished {
            Ok(()) => Ok(FinishedPart {
                path: self.path,
                size_bytes: self.size_bytes,
                sha256: Digest::finish(self.hasher),
            }),
            Err(source) => Err(PartError { path: self.path, source }),
        }
    }

    /// Removes the file and what lies beside it.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn discard(self) -> Result<(), PartError> {
        let removed = remove_if_there(&validator_path(&self.path)).and_then(|()| remove_if_there(&self.path));
        removed.map_err(|source| PartError { path: self.path, source })
    }

    pub(crate) fn error(&self, source: io::Error) -> PartError {
        PartError { path: self.path.clone(), source }
    }

    pub(crate) fn validator(&self) -> Option<&str> {
        self.validator.as_deref()
    }

    /// Throws away what is there; what follows belongs to `validator`.
    pub(crate) fn restart(&mut self, validator: Option<&str>) -> io::Result<()> {
        let beside = validator_path(&self.path);
        remove_if_there(&beside)?;
        self.file.set_len(0)?;
        self.hasher = Sha256::new();
        self.size_bytes = 0;
        self.validator = validator.map(str::to_owned);
        if let Some(validator) = validator {
            fs::write(&beside, validator)?;
        }
        Ok(())
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.size_bytes = self.size_bytes.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        Ok(())
    }

    fn try_open(path: &Path) -> io::Result<PartFile> {
        // Append mode keeps the write position right whatever the length was cut to.
        let mut file = fs::OpenOptions::new().read(true).append(true).create(true).mode(0o644).open(path)?;
        let validator = read_validator(&validator_path(path))?;
        if validator.is_none() {
            file.set_len(0)?;
        }
        let mut hasher = Sha256::new();
        let mut size_bytes = 0_u64;
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let count = file.read(&mut chunk)?;
            if count == 0 {
                break;
            }
            hasher.update(chunk.get(..count).unwrap_or_default());
            size_bytes = size_bytes.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        }
        Ok(PartFile { path: path.to_path_buf(), file, hasher, size_bytes, validator })
    }
}

pub(crate) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn validator_path(part: &Path) -> PathBuf {
    let mut name = OsString::from(part);
    name.push(".validator");
    PathBuf::from(name)
}

fn read_validator(path: &Path) -> io::Result<Option<String>> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    match file.take(VALIDATOR_BYTES_MAX).read_to_string(&mut text) {
        Ok(_) if !text.is_empty() => Ok(Some(text)),
        // A crash may have left it empty or cut; then the part is worth nothing.
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_goes_on_only_when_its_validator_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.part");
        let mut part = PartFile::open(&path).unwrap();
        part.restart(Some("\"v1\"")).unwrap();
        part.append(b"hello ").unwrap();
        drop(part);

        let mut again = PartFile::open(&path).unwrap();
        assert_eq!((again.size_bytes(), again.validator()), (6, Some("\"v1\"")));
        again.append(b"world").unwrap();
        let finished = again.finish().unwrap();
        assert_eq!((finished.size_bytes, finished.sha256), (11, Digest::of(b"hello world")));
        assert_eq!(fs::read(&path).unwrap(), b"hello world");

        let unknown = PartFile::open(&path).unwrap();
        assert_eq!(unknown.size_bytes(), 0, "the validator was used up, so the bytes are not trusted");
    }

    #[test]
    fn a_restarted_part_forgets_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.part");
        let mut part = PartFile::open(&path).unwrap();
        part.append(b"wrong").unwrap();
        part.restart(None).unwrap();
        part.append(b"right").unwrap();
        assert_eq!(part.finish().unwrap().sha256, Digest::of(b"right"));
        assert_eq!(Digest::of_file(&path).unwrap(), (Digest::of(b"right"), 5));
    }
}
