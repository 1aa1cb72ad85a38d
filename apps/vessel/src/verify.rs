//! Reads packages: completely decoded, every checksum compared, hashed.
//!
//! Bytes that a builder sends are trusted for nothing. A file becomes a [`Package`] only when `stone::read` accounts
//! for all of it and its metadata is that of exactly one package.

use std::io::BufReader;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::{io, thread};

use fault::{Fault, Kind};
use package::{MetaError, PackageMeta};
use stone::{Discard, Entry, FileType, Limits, ReadError};

use crate::admission::Package;
use crate::builds::{DebugFile, debug_files};
use store::Sha256;

/// Bytes read from a file at a time.
const BUFFER_SIZE_BYTES: usize = 128 << 10;

/// Packages decoded at once in an import. Each may need the window of one decompressor.
const THREADS_MAX: usize = 8;

/// Why a file is no package that can be published.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The file cannot be read.
    #[error("cannot read {file}")]
    Disk {
        /// File name.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// It is damaged, or no `.stone` at all.
    #[error("cannot accept {file}")]
    Stone {
        /// File name.
        file: String,
        /// What is wrong with it.
        source: Box<ReadError>,
    },
    /// It is an index, a manifest or the like.
    #[error("cannot accept {file}: it is a {} and no package", found.label())]
    NotBinary {
        /// File name.
        file: String,
        /// What it is.
        found: FileType,
    },
    /// It describes no package, or several.
    #[error("cannot accept {file}: it describes {count} packages instead of one")]
    MetaCount {
        /// File name.
        file: String,
        /// How many it describes.
        count: usize,
    },
    /// Its metadata is not that of a package.
    #[error("cannot accept {file}")]
    Meta {
        /// File name.
        file: String,
        /// What is wrong with it.
        source: Box<MetaError>,
    },
    /// It is called something else than it is.
    #[error("cannot accept {file}: the package in it is {inside}")]
    OtherName {
        /// File name.
        file: String,
        /// The file name that its metadata gives.
        inside: String,
    },
    /// It is not the file that was announced any more.
    #[error("cannot accept {file}: its digest is {found}, announced was {announced}")]
    OtherBytes {
        /// File name.
        file: String,
        /// What the order says.
        announced: Sha256,
        /// What is there.
        found: Sha256,
    },
}

impl Fault for VerifyError {
    fn kind(&self) -> Kind {
        match self {
            VerifyError::Disk { .. } => Kind::Unavailable,
            VerifyError::Stone { source, .. } => source.kind(),
            VerifyError::Meta { source, .. } => source.kind(),
            VerifyError::NotBinary { .. } | VerifyError::MetaCount { .. } | VerifyError::OtherName { .. } => {
                Kind::Input
            }
            VerifyError::OtherBytes { .. } => Kind::Damaged,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            VerifyError::Stone { source, .. } => source.hints(),
            VerifyError::Meta { source, .. } => source.hints(),
            VerifyError::Disk { .. } => Vec::new(),
            _ => vec!["`moss inspect FILE` shows what a file is; build the package again".into()],
        }
    }
}

/// Reads the package at `path`, which errors call `file`.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn read_package(path: &Path, file: &str) -> Result<Package, VerifyError> {
    Ok(read_with_layout(path, file)?.0)
}

fn read_with_layout(path: &Path, file: &str) -> Result<(Package, Vec<Entry>), VerifyError> {
    let disk = |source| VerifyError::Disk { file: file.to_owned(), source };
    let sha256 = Sha256::of_file(path).map_err(disk)?;
    let source = fs_err::File::open(path).map_err(disk)?;
    let size_bytes = source.metadata().map_err(disk)?.len();
    let source = BufReader::with_capacity(BUFFER_SIZE_BYTES, source);
    let stone = stone::read(source, &Limits::default(), &mut Discard)
        .map_err(|source| VerifyError::Stone { file: file.to_owned(), source: Box::new(source) })?;
    if stone.file_type != FileType::Binary {
        return Err(VerifyError::NotBinary { file: file.to_owned(), found: stone.file_type });
    }
    let [records] = stone.metas.as_slice() else {
        return Err(VerifyError::MetaCount { file: file.to_owned(), count: stone.metas.len() });
    };
    let meta = PackageMeta::from_records(records)
        .map_err(|source| VerifyError::Meta { file: file.to_owned(), source: Box::new(source) })?;
    Ok((Package { meta, sha256, size_bytes }, stone.layout))
}

/// Reads the announced package at `path`, and what it puts below `/usr`: as [`read_package`], and it must be called as
/// it is, and be what was announced.
///
/// # Errors
/// The first thing that is wrong with it.
pub(crate) fn read_announced(
    path: &Path,
    file: &str,
    announced: Sha256,
) -> Result<(Package, Vec<Entry>), VerifyError> {
    let (package, layout) = read_with_layout(path, file)?;
    if package.sha256 != announced {
        return Err(VerifyError::OtherBytes { file: file.to_owned(), announced, found: package.sha256 });
    }
    let inside = package.meta.file_name();
    if inside != file {
        return Err(VerifyError::OtherName { file: file.to_owned(), inside });
    }
    Ok((package, layout))
}

/// Reads many packages at once, with the debug information in each, on as many threads as the machine has processors; in the order of `paths`.
///
/// # Errors
/// The error of the first bad file in that order.
pub(crate) fn read_packages(paths: &[PathBuf]) -> Result<Vec<(Package, Vec<DebugFile>)>, VerifyError> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::with_capacity(paths.len()));
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get).min(THREADS_MAX);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((number, path)) = {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    paths.get(number).map(|path| (number, path))
                } {
                    let result = read_with_layout(path, &path.display().to_string());
                    // Layouts of thousands of packages are large; what is looked for in them is little.
                    let result = result.map(|(package, layout)| {
                        let debug = debug_files(&package.meta, &layout);
                        (package, debug)
                    });
                    results.lock().unwrap_or_else(PoisonError::into_inner).push((number, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}
