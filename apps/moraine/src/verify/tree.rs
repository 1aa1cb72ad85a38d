//! A published tree, in a folder or behind an address: reads of files below it, with limits.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use fetch::{Body, Client, PartFile, Validators};
use fs_err as fs;
use repository::signed::FileFacts;

use super::error::VerifyError;

/// Bytes read at a time.
const CHUNK_BYTES: usize = 128 << 10;

/// Where a tree is.
#[derive(Debug)]
pub(super) enum Tree {
    Folder(PathBuf),
    Address { base: String, client: Client, scratch: tempfile::TempDir },
}

/// A file of the tree, at hand for as long as this lives.
pub(super) struct Opened {
    pub(super) facts: FileFacts,
    path: PathBuf,
    is_scratch: bool,
}

impl Opened {
    pub(super) fn reader(&self, file: &str) -> Result<BufReader<File>, VerifyError> {
        let opened = fs::File::open(&self.path).map(fs::File::into_file);
        opened
            .map(|file| BufReader::with_capacity(CHUNK_BYTES, file))
            .map_err(|source| VerifyError::Disk { file: file.to_owned(), source })
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        // Should it stay, it goes with its folder at the end.
        let _gone = self.is_scratch && fs::remove_file(&self.path).is_ok();
    }
}

impl Tree {
    /// Reads a small file; none where there is none.
    pub(super) fn read(&self, file: &str, limit_bytes: usize) -> Result<Option<Vec<u8>>, VerifyError> {
        let limit = u64::try_from(limit_bytes).unwrap_or(u64::MAX);
        match self {
            Tree::Folder(root) => {
                let disk = |source| VerifyError::Disk { file: file.to_owned(), source };
                let opened = match fs::File::open(root.join(file)) {
                    Ok(opened) => opened,
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                    Err(error) => return Err(disk(error)),
                };
                let mut bytes = Vec::new();
                opened.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(disk)?;
                Ok(Some(bytes))
            }
            Tree::Address { base, client, .. } => {
                match client.get(&format!("{base}/{file}"), &Validators::default(), limit) {
                    Ok(Body::Bytes { bytes, .. }) => Ok(Some(bytes)),
                    Ok(Body::NotModified) => Ok(None),
                    Err(error) if fault::Fault::kind(&error) == fault::Kind::NotFound => Ok(None),
                    Err(source) => Err(VerifyError::Reach { file: file.to_owned(), source }),
                }
            }
        }
    }

    /// Gets a file of any length of which the digest is known, and perhaps the length, from what stands in the file `by`.
    /// `scratch` is a name that nothing else has that is got at the same time.
    pub(super) fn promised(
        &self,
        file: &str,
        scratch: &str,
        sha256: &str,
        size_bytes: Option<u64>,
        limit_bytes: u64,
        by: &str,
    ) -> Result<Opened, VerifyError> {
        let opened = self.open(file, scratch, limit_bytes)?;
        let found = opened.facts.sha256.to_string();
        let found_bytes = opened.facts.size_bytes;
        if found == sha256 && size_bytes.is_none_or(|size| size == found_bytes) {
            return Ok(opened);
        }
        Err(VerifyError::OtherFile {
            file: file.to_owned(),
            found,
            found_bytes,
            promised: sha256.to_owned(),
            promised_bytes: size_bytes.unwrap_or(found_bytes),
            by: by.to_owned(),
        })
    }

    /// Gets a file of any length, and says what it is.
    fn open(&self, file: &str, scratch: &str, limit_bytes: u64) -> Result<Opened, VerifyError> {
        match self {
            Tree::Folder(root) => {
                let path = root.join(file);
                let facts =
                    facts_of(&path).map_err(|source| VerifyError::Disk { file: file.to_owned(), source })?;
                Ok(Opened { facts, path, is_scratch: false })
            }
            Tree::Address { base, client, scratch: folder } => {
                let keep = |source| VerifyError::Keep { file: file.to_owned(), source };
                let mut part =
                    PartFile::open(&folder.path().join(format!("{scratch}.part"))).map_err(keep)?;
                let address = format!("{base}/{file}");
                client
                    .download(&address, &mut part, limit_bytes, &|_| ())
                    .map_err(|source| VerifyError::Reach { file: file.to_owned(), source })?;
                let finished = part.finish().map_err(keep)?;
                let facts = facts_of(&finished.path)
                    .map_err(|source| VerifyError::Disk { file: file.to_owned(), source })?;
                Ok(Opened { facts, path: finished.path, is_scratch: true })
            }
        }
    }

    /// Names in a folder of the tree, in order; none behind an address, which lists nothing.
    pub(super) fn names(&self, folder: &str) -> Result<Option<Vec<String>>, VerifyError> {
        let Tree::Folder(root) = self else { return Ok(None) };
        let disk = |source| VerifyError::Disk { file: folder.to_owned(), source };
        let entries = match fs::read_dir(root.join(folder)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Some(Vec::new())),
            Err(error) => return Err(disk(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            names.extend(entry.map_err(disk)?.file_name().into_string().ok());
        }
        names.sort();
        Ok(Some(names))
    }

    pub(super) fn place(&self) -> String {
        match self {
            Tree::Folder(root) => root.display().to_string(),
            Tree::Address { base, .. } => base.clone(),
        }
    }
}

/// Whether a name that somebody else wrote is one of a file in a folder, and leads nowhere else.
pub(super) fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0'])
}

fn facts_of(path: &Path) -> std::io::Result<FileFacts> {
    let (sha256, size_bytes) = fetch::Digest::of_file(path)?;
    Ok(FileFacts { sha256: repository::signed::Digest::from_bytes(*sha256.as_bytes()), size_bytes })
}
