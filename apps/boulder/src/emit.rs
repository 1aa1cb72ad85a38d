//! Writes a package file.
//!
//! The same files and metadata always give the same bytes: entries are in the order of their paths, content goes from
//! the largest file to the smallest (as AerynOS tools do, which helps the compressor) and by digest among equals, and
//! no time is stored.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use fault::{Fault, Kind};
use package::PackageMeta;
use sha2::{Digest as _, Sha256};
use stone::{Digest, Entry, EntryFile, FileType, Hasher, Packing, Slice, WriteError, Writer};

use crate::collect::{InstalledFile, InstalledKind};

/// Bytes read at a time while hashing.
const BUFFER_BYTES: usize = 256 << 10;

/// A file that was written for others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artefact {
    /// Where it lies.
    pub path: PathBuf,
    /// Its length in bytes.
    pub size_bytes: u64,
    /// SHA-256 in lower-case hex.
    pub sha256: String,
}

/// Why a package cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum EmitError {
    /// An installed file cannot be read.
    #[error("cannot read an installed file")]
    Read(#[source] io::Error),
    /// The package file cannot be written.
    #[error("cannot write package {path}")]
    Write {
        /// The package file.
        path: PathBuf,
        /// What failed.
        #[source]
        source: io::Error,
    },
    /// The container refuses what it was given.
    #[error("cannot write package {path}")]
    Stone {
        /// The package file.
        path: PathBuf,
        /// What it says.
        #[source]
        source: WriteError,
    },
    /// A file belongs to somebody whom the package cannot name.
    #[error("cannot package {path}: its owner {uid}:{gid} does not exist inside the build")]
    Owner {
        /// The file.
        path: String,
        /// Owner as the machine sees it.
        uid: u32,
        /// Group as the machine sees it.
        gid: u32,
    },
}

impl Fault for EmitError {
    fn kind(&self) -> Kind {
        match self {
            EmitError::Read(_) | EmitError::Write { .. } => Kind::Unavailable,
            EmitError::Stone { .. } => Kind::Input,
            EmitError::Owner { .. } => Kind::Bug,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            EmitError::Read(_) | EmitError::Write { .. } => {
                vec!["see that the disk is not full: df -h".into()]
            }
            EmitError::Stone { .. } | EmitError::Owner { .. } => Vec::new(),
        }
    }
}

/// Owner and group inside the build for those that the machine sees; `None` for one that does not exist inside.
pub type Owners<'a> = &'a dyn Fn(u32, u32) -> Option<(u32, u32)>;

/// Writes the package `meta` with these files into `directory`, under the name that the metadata gives it.
///
/// # Errors
/// When a file cannot be read or the package not be written; a torn file stays under a `.part` name.
pub fn write_package(
    directory: &Path,
    meta: &PackageMeta,
    files: &[&InstalledFile],
    owners: Owners<'_>,
) -> Result<Artefact, EmitError> {
    let path = directory.join(meta.file_name());
    let partial = directory.join(format!("{}.part", meta.file_name()));
    let failed = |source| EmitError::Write { path: path.clone(), source };
    let refused = |source| EmitError::Stone { path: path.clone(), source };

    let (entries, contents) = describe(files, owners)?;
    let file = fs_err::File::create(&partial).map_err(failed)?;
    let mut writer =
        Writer::with_packing(BufWriter::new(file), FileType::Binary, Packing::SMALL).map_err(refused)?;
    writer.meta(&meta.to_records()).map_err(refused)?;
    if !entries.is_empty() {
        writer.layout(&entries).map_err(refused)?;
    }
    if !contents.is_empty() {
        writer.index(&slices(&contents)).map_err(refused)?;
        let total = contents.iter().map(|content| content.size_bytes).sum();
        writer.content(total, Concatenation::of(&contents)).map_err(refused)?;
    }
    let mut buffered = writer.finish().map_err(refused)?;
    buffered.flush().map_err(failed)?;
    buffered.get_ref().sync_all().map_err(failed)?;
    fs_err::rename(&partial, &path).map_err(failed)?;
    describe_artefact(&path)
}

/// Size and digest of a file that is finished.
///
/// # Errors
/// When it cannot be read.
pub fn describe_artefact(path: &Path) -> Result<Artefact, EmitError> {
    let mut sha256 = Sha256::new();
    let size_bytes = read_all(path, |bytes| sha256.update(bytes))?;
    let sha256 = sha256.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Artefact { path: path.to_path_buf(), size_bytes, sha256 })
}

/// One distinct file content and where to read it.
struct Content {
    digest: Digest,
    size_bytes: u64,
    source: PathBuf,
}

/// Layout entries in the order of their paths, and the distinct contents in the order of the content payload.
fn describe(files: &[&InstalledFile], owners: Owners<'_>) -> Result<(Vec<Entry>, Vec<Content>), EmitError> {
    let mut entries = Vec::with_capacity(files.len());
    let mut contents: BTreeMap<[u8; 16], Content> = BTreeMap::new();
    for file in files {
        let entry_file = match &file.kind {
            InstalledKind::Regular { .. } => {
                let mut hasher = Hasher::new();
                let size_bytes = read_all(&file.source, |bytes| hasher.update(bytes))?;
                let digest = hasher.digest();
                let content = Content { digest, size_bytes, source: file.source.clone() };
                contents.entry(digest.to_be_bytes()).or_insert(content);
                EntryFile::Regular(digest)
            }
            InstalledKind::Symlink(text) => EntryFile::Symlink(text.clone()),
            InstalledKind::Directory => EntryFile::Directory,
        };
        let (uid, gid) = owners(file.uid, file.gid).ok_or_else(|| EmitError::Owner {
            path: file.path.clone(),
            uid: file.uid,
            gid: file.gid,
        })?;
        let target = file.path.strip_prefix("/usr/").unwrap_or(&file.path).to_owned();
        entries.push(Entry { uid, gid, mode: file.mode, target, file: entry_file });
    }
    entries.sort_by(|left, right| left.target.cmp(&right.target));
    let mut contents: Vec<Content> = contents.into_values().collect();
    contents.sort_by(|left, right| {
        right
            .size_bytes
            .cmp(&left.size_bytes)
            .then(left.digest.to_be_bytes().cmp(&right.digest.to_be_bytes()))
    });
    Ok((entries, contents))
}

fn slices(contents: &[Content]) -> Vec<Slice> {
    let mut start = 0;
    let slice_of = |content: &Content| {
        let slice = Slice { start, end: start + content.size_bytes, digest: content.digest };
        start = slice.end;
        slice
    };
    contents.iter().map(slice_of).collect()
}

fn read_all(path: &Path, mut each: impl FnMut(&[u8])) -> Result<u64, EmitError> {
    let mut file = fs_err::File::open(path).map_err(EmitError::Read)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut total = 0;
    loop {
        let count = file.read(&mut buffer).map_err(EmitError::Read)?;
        if count == 0 {
            return Ok(total);
        }
        each(&buffer[..count]);
        total += u64::try_from(count).unwrap_or(u64::MAX);
    }
}

/// Reads files one after the other, one open at a time.
struct Concatenation<'a> {
    rest: std::slice::Iter<'a, Content>,
    open: Option<fs_err::File>,
}

impl<'a> Concatenation<'a> {
    fn of(contents: &'a [Content]) -> Self {
        Self { rest: contents.iter(), open: None }
    }
}

impl Read for Concatenation<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(file) = &mut self.open {
                let count = file.read(buffer)?;
                if count > 0 || buffer.is_empty() {
                    return Ok(count);
                }
            }
            match self.rest.next() {
                Some(content) => self.open = Some(fs_err::File::open(&content.source)?),
                None => return Ok(0),
            }
        }
    }
}
