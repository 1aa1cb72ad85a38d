//! Packages made from manifests: what a build of the recipe would have yielded, but for what is inside.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use package::{ManifestFile, PackageMeta};
use stone::{Entry, EntryFile, FileType, Hasher, Packing, Slice, Writer};

use super::error::WorldError;

/// A regular file that everybody may read.
const MODE: u32 = 0o100_644;

/// Which build of a source packages are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Generation<'a> {
    pub(super) version: &'a str,
    pub(super) release: u64,
    pub(super) build_release: u64,
}

/// The packages that a manifest lists.
pub(super) fn read_manifest(path: &Path) -> Result<Vec<PackageMeta>, WorldError> {
    let bytes = fs_err::read(path).map_err(WorldError::folder(path))?;
    let manifest = ManifestFile::read(Cursor::new(bytes), &stone::Limits::default())
        .map_err(|source| WorldError::Manifest { path: path.to_path_buf(), source })?;
    Ok(manifest.into_packages())
}

/// `package` as a build of this generation makes it.
pub(super) fn of_generation(package: &PackageMeta, generation: Generation<'_>) -> PackageMeta {
    PackageMeta {
        version: generation.version.to_owned(),
        release: generation.release,
        build_release: generation.build_release,
        build_depends: Default::default(),
        ..package.clone()
    }
}

/// Writes one package file into `folder`.
pub(super) fn write(folder: &Path, package: &PackageMeta) -> Result<PathBuf, WorldError> {
    let bytes =
        bytes(package).map_err(|source| WorldError::Package { name: package.name.clone(), source })?;
    let path = folder.join(package.file_name());
    fs_err::write(&path, bytes).map_err(WorldError::folder(&path))?;
    Ok(path)
}

/// The package with one small file in it, which is the same in all generations: knots come to rest in two rounds.
fn bytes(package: &PackageMeta) -> Result<Vec<u8>, stone::WriteError> {
    let text = format!("{} of {}\n", package.name, package.source_id);
    let mut hasher = Hasher::new();
    hasher.update(text.as_bytes());
    let digest = hasher.digest();
    let size_bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
    let entry = Entry {
        uid: 0,
        gid: 0,
        mode: MODE,
        target: format!("share/world/{}", package.name),
        file: EntryFile::Regular(digest),
    };
    let mut writer = Writer::with_packing(Cursor::new(Vec::new()), FileType::Binary, Packing::FAST)?;
    writer.meta(&package.to_records())?;
    writer.layout(&[entry])?;
    writer.index(&[Slice { start: 0, end: size_bytes, digest }])?;
    writer.content(size_bytes, text.as_bytes())?;
    Ok(writer.finish()?.into_inner())
}
