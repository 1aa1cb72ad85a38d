//! The compact index: what a client needs to choose packages, in columns, packed as one frame, with deltas between histories.
//!
//! `stone.index` repeats for each package what its neighbours say as well, and packs each alone. Here one column holds the
//! names of all packages, the next all versions, and so on: like things lie side by side, one frame holds them all, and a
//! history that differs in few packages differs in few bytes. There is no limit to the number of packages but
//! [`IMAGE_BYTES_MAX`].
//!
//! ```text
//! image    "MRNI" format:1 count:varint  { column:1 length:varint bytes }
//! texts    "MRNT" format:1 count:varint  { column:1 length:varint bytes }
//! delta    "MRND" format:1 sha256-of-old:32 sha256-of-new:32 frame
//! ```
//!
//! A *varint* has seven bits in each byte, lowest first, the eighth bit set on all but the last. Packages are ordered by name,
//! each name once; columns have their values in that order. Columns of unknown numbers are passed over, so that later
//! versions can add some. Texts (summary, description, homepage, licences) have a file of their own, which a client reads
//! only when somebody searches or looks.
//!
//! On the wire image and texts are packed by [`pack`]; a client keeps the image, and makes the next one from a delta.

mod columns;
mod file_lists;
mod frame;

use std::collections::BTreeSet;

use fault::{Fault, Kind};
use package::{Dependency, DependencyKind, MetaError, PackageMeta};
use sha2::{Digest as _, Sha256};

use crate::layout;
use columns::{Columns, Cursor, put_bytes, put_number};
pub use file_lists::{FileList, pack_paths, read_file_lists, unpack_paths, write_file_lists};
pub use frame::{pack, unpack};

/// The largest image or text file that is read, in bytes: some 400,000 packages of the kind that distributions have, at 340
/// bytes each, and what a client can hold in memory.
pub const IMAGE_BYTES_MAX: usize = 128 << 20;

const IMAGE_MAGIC: [u8; 4] = *b"MRNI";
const TEXTS_MAGIC: [u8; 4] = *b"MRNT";
const DELTA_MAGIC: [u8; 4] = *b"MRND";
const FORMAT: u8 = 1;

/// Bytes of a SHA-256.
const SHA256_BYTES: usize = 32;
/// Bytes of a delta before its frame.
const DELTA_HEADER_BYTES: usize = 4 + 1 + 2 * SHA256_BYTES;

/// The columns of an image. Their numbers are part of the format.
mod column {
    pub(super) const NAME: u8 = 1;
    pub(super) const VERSION: u8 = 2;
    pub(super) const RELEASE: u8 = 3;
    pub(super) const BUILD_RELEASE: u8 = 4;
    pub(super) const ARCHITECTURE: u8 = 5;
    pub(super) const SOURCE: u8 = 6;
    pub(super) const DEPENDS: u8 = 7;
    pub(super) const PROVIDES: u8 = 8;
    pub(super) const CONFLICTS: u8 = 9;
    /// Empty where the package is where [`crate::layout::package_uri`] says.
    pub(super) const URI: u8 = 10;
    pub(super) const SIZE: u8 = 11;
    /// 32 bytes each.
    pub(super) const SHA256: u8 = 12;

    pub(super) const SUMMARY: u8 = 65;
    pub(super) const DESCRIPTION: u8 = 66;
    pub(super) const HOMEPAGE: u8 = 67;
    pub(super) const LICENSES: u8 = 68;
}

/// Why bytes are no compact index, or packages cannot become one.
#[derive(Debug, thiserror::Error)]
pub enum CompactError {
    /// Something else, or something newer.
    #[error("cannot read {what}: it does not begin as one of format {FORMAT} does")]
    Magic {
        /// What was expected.
        what: &'static str,
    },
    /// The bytes end too early, go on too long or contradict each other.
    #[error("cannot read {what}: {problem}")]
    Damaged {
        /// What was read.
        what: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// More than a client is willing to hold.
    #[error("cannot read {what}: it is longer than {limit_bytes} bytes")]
    TooLong {
        /// What was read.
        what: &'static str,
        /// The most.
        limit_bytes: usize,
    },
    /// A package is not described as it must be.
    #[error("cannot accept a package of a compact index")]
    Meta {
        /// Why.
        #[source]
        source: MetaError,
    },
    /// A package lacks what an index says of each.
    #[error("cannot accept package {name:?} in a compact index: it has no {field}")]
    Incomplete {
        /// The package.
        name: String,
        /// What is missing.
        field: &'static str,
    },
    /// Two packages have the same name.
    #[error("cannot accept package {name:?} in a compact index: it is there twice")]
    DuplicatePackage {
        /// The name.
        name: String,
    },
    /// A delta was made for another index.
    #[error("cannot apply a delta of an index: it was made for {expected}, this is {found}")]
    OtherBase {
        /// SHA-256 of the image that it changes.
        expected: String,
        /// SHA-256 of the image at hand.
        found: String,
    },
    /// A delta made something else than it says.
    #[error("cannot apply a delta of an index: it was to make {expected} and made {found}")]
    OtherResult {
        /// SHA-256 that it promises.
        expected: String,
        /// SHA-256 of what came out.
        found: String,
    },
}

impl Fault for CompactError {
    fn kind(&self) -> Kind {
        match self {
            CompactError::DuplicatePackage { .. } => Kind::Input,
            CompactError::OtherBase { .. } => Kind::Conflict,
            CompactError::Meta { source } => source.kind(),
            _ => Kind::Damaged,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            CompactError::Magic { .. } => "the file may come from a newer Vessel: update Moraine",
            CompactError::OtherBase { .. } | CompactError::OtherResult { .. } => "fetch the whole index",
            CompactError::DuplicatePackage { .. } => "keep only the newest of them",
            CompactError::Meta { source } => return source.hints(),
            _ => "fetch it again; if that does not help, tell the owner of the repository",
        };
        vec![hint.to_owned()]
    }
}

/// The image of these packages, whose texts are left out.
///
/// # Errors
/// Where a name occurs twice, or a package lacks URI, hash or size.
pub fn image(packages: &[PackageMeta]) -> Result<Vec<u8>, CompactError> {
    let packages = ordered(packages)?;
    let mut image = begin(IMAGE_MAGIC, packages.len());
    let texts = |text: fn(&PackageMeta) -> &str| {
        let mut column = Vec::new();
        for package in &packages {
            put_bytes(&mut column, text(package).as_bytes());
        }
        column
    };
    let numbers = |number: fn(&PackageMeta) -> u64| {
        let mut column = Vec::new();
        for package in &packages {
            put_number(&mut column, number(package));
        }
        column
    };
    let dependencies = |list: fn(&PackageMeta) -> &BTreeSet<Dependency>| {
        let mut column = Vec::new();
        for package in &packages {
            let list = list(package);
            put_number(&mut column, count(list.len()));
            for dependency in list {
                column.push(dependency.kind.number());
                put_bytes(&mut column, dependency.name.as_bytes());
            }
        }
        column
    };
    let mut uris = Vec::new();
    let mut hashes = Vec::with_capacity(packages.len() * SHA256_BYTES);
    for package in &packages {
        let missing = |field| CompactError::Incomplete { name: package.name.clone(), field };
        let uri = package.uri.as_deref().ok_or_else(|| missing("URI"))?;
        put_bytes(&mut uris, if uri == layout::package_uri(package) { b"" } else { uri.as_bytes() });
        let hash = package.hash.as_deref().and_then(bytes_of_hex).ok_or_else(|| missing("hash"))?;
        hashes.extend_from_slice(&hash);
        package.download_size_bytes.ok_or_else(|| missing("size"))?;
    }
    for (number, column) in [
        (column::NAME, texts(|package| &package.name)),
        (column::VERSION, texts(|package| &package.version)),
        (column::RELEASE, numbers(|package| package.release)),
        (column::BUILD_RELEASE, numbers(|package| package.build_release)),
        (column::ARCHITECTURE, texts(|package| &package.architecture)),
        (column::SOURCE, texts(|package| &package.source_id)),
        (column::DEPENDS, dependencies(|package| &package.depends)),
        (column::PROVIDES, dependencies(|package| &package.provides)),
        (column::CONFLICTS, dependencies(|package| &package.conflicts)),
        (column::URI, uris),
        (column::SIZE, numbers(|package| package.download_size_bytes.unwrap_or_default())),
        (column::SHA256, hashes),
    ] {
        image.push(number);
        put_bytes(&mut image, &column);
    }
    Ok(image)
}

/// The packages of an image in order, with empty texts. All are checked as [`PackageMeta::check`] does.
///
/// # Errors
/// For anything that [`image`] does not write.
pub fn packages(image: &[u8]) -> Result<Vec<PackageMeta>, CompactError> {
    const WHAT: &str = "a compact index";
    let (count, columns) = Columns::read(image, IMAGE_MAGIC, WHAT)?;
    let mut names = columns.cursor(column::NAME)?;
    let mut versions = columns.cursor(column::VERSION)?;
    let mut releases = columns.cursor(column::RELEASE)?;
    let mut build_releases = columns.cursor(column::BUILD_RELEASE)?;
    let mut architectures = columns.cursor(column::ARCHITECTURE)?;
    let mut sources = columns.cursor(column::SOURCE)?;
    let mut depends = columns.cursor(column::DEPENDS)?;
    let mut provides = columns.cursor(column::PROVIDES)?;
    let mut conflicts = columns.cursor(column::CONFLICTS)?;
    let mut uris = columns.cursor(column::URI)?;
    let mut sizes = columns.cursor(column::SIZE)?;
    let mut hashes = columns.cursor(column::SHA256)?;
    // The claimed number reserves nothing: each package takes its bytes out of every column before the next.
    let mut packages: Vec<PackageMeta> = Vec::new();
    for _ in 0..count {
        let mut package = PackageMeta {
            name: names.text()?.to_owned(),
            version: versions.text()?.to_owned(),
            release: releases.number()?,
            build_release: build_releases.number()?,
            architecture: architectures.text()?.to_owned(),
            summary: String::new(),
            description: String::new(),
            source_id: sources.text()?.to_owned(),
            homepage: String::new(),
            licenses: Vec::new(),
            depends: dependencies(&mut depends)?,
            provides: dependencies(&mut provides)?,
            conflicts: dependencies(&mut conflicts)?,
            build_depends: BTreeSet::new(),
            uri: None,
            hash: Some(hex(hashes.take(SHA256_BYTES)?)),
            download_size_bytes: Some(sizes.number()?),
        };
        package.check().map_err(|source| CompactError::Meta { source })?;
        let uri = uris.text()?;
        package.uri = Some(if uri.is_empty() { layout::package_uri(&package) } else { uri.to_owned() });
        match packages.last() {
            Some(last) if last.name == package.name => {
                return Err(CompactError::DuplicatePackage { name: package.name });
            }
            Some(last) if last.name > package.name => {
                return Err(columns.damaged("its packages are out of order"));
            }
            _ => packages.push(package),
        }
    }
    for cursor in [
        names,
        versions,
        releases,
        build_releases,
        architectures,
        sources,
        depends,
        provides,
        conflicts,
        uris,
        sizes,
        hashes,
    ] {
        cursor.end()?;
    }
    Ok(packages)
}

/// The texts of these packages, in the order of their image.
///
/// # Errors
/// Where a name occurs twice.
pub fn texts(packages: &[PackageMeta]) -> Result<Vec<u8>, CompactError> {
    let packages = ordered(packages)?;
    let mut texts = begin(TEXTS_MAGIC, packages.len());
    let column = |text: fn(&PackageMeta) -> &str| {
        let mut column = Vec::new();
        for package in &packages {
            put_bytes(&mut column, text(package).as_bytes());
        }
        column
    };
    let mut licenses = Vec::new();
    for package in &packages {
        put_number(&mut licenses, count(package.licenses.len()));
        for license in &package.licenses {
            put_bytes(&mut licenses, license.as_bytes());
        }
    }
    for (number, column) in [
        (column::SUMMARY, column(|package| &package.summary)),
        (column::DESCRIPTION, column(|package| &package.description)),
        (column::HOMEPAGE, column(|package| &package.homepage)),
        (column::LICENSES, licenses),
    ] {
        texts.push(number);
        put_bytes(&mut texts, &column);
    }
    Ok(texts)
}

/// Gives the packages of an image, in their order, the texts that belong to them.
///
/// # Errors
/// For anything that [`texts`] does not write, and for texts of another number of packages.
pub fn add_texts(packages: &mut [PackageMeta], texts: &[u8]) -> Result<(), CompactError> {
    const WHAT: &str = "the texts of a compact index";
    let (found, columns) = Columns::read(texts, TEXTS_MAGIC, WHAT)?;
    if found != count(packages.len()) {
        return Err(columns.damaged("they are those of another number of packages"));
    }
    let mut summaries = columns.cursor(column::SUMMARY)?;
    let mut descriptions = columns.cursor(column::DESCRIPTION)?;
    let mut homepages = columns.cursor(column::HOMEPAGE)?;
    let mut licenses = columns.cursor(column::LICENSES)?;
    for package in packages {
        package.summary = summaries.text()?.to_owned();
        package.description = descriptions.text()?.to_owned();
        package.homepage = homepages.text()?.to_owned();
        package.licenses = Vec::new();
        for _ in 0..licenses.number()? {
            package.licenses.push(licenses.text()?.to_owned());
        }
    }
    for cursor in [summaries, descriptions, homepages, licenses] {
        cursor.end()?;
    }
    Ok(())
}

/// What turns one image into another, to be fetched instead of the other.
#[must_use]
pub fn delta(old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut delta = Vec::from(DELTA_MAGIC);
    delta.push(FORMAT);
    delta.extend_from_slice(&Sha256::digest(old));
    delta.extend_from_slice(&Sha256::digest(new));
    delta.extend_from_slice(&frame::pack_from(old, new));
    delta
}

/// The image that a delta makes of this one.
///
/// # Errors
/// For a delta that is damaged or was made for another image.
pub fn apply(old: &[u8], delta: &[u8]) -> Result<Vec<u8>, CompactError> {
    const WHAT: &str = "a delta of an index";
    let Some((header, packed)) = delta.split_at_checked(DELTA_HEADER_BYTES) else {
        return Err(CompactError::Magic { what: WHAT });
    };
    let hashes = header
        .strip_prefix(&DELTA_MAGIC)
        .and_then(|rest| rest.strip_prefix(&[FORMAT]))
        .ok_or(CompactError::Magic { what: WHAT })?;
    let (base, result) = hashes.split_at(SHA256_BYTES);
    let found = Sha256::digest(old);
    if found.as_slice() != base {
        return Err(CompactError::OtherBase { expected: hex(base), found: hex(&found) });
    }
    let new = frame::unpack_from(old, packed, IMAGE_BYTES_MAX, WHAT)?;
    let found = Sha256::digest(&new);
    if found.as_slice() != result {
        return Err(CompactError::OtherResult { expected: hex(result), found: hex(&found) });
    }
    Ok(new)
}

fn begin(magic: [u8; 4], packages: usize) -> Vec<u8> {
    let mut bytes = Vec::from(magic);
    bytes.push(FORMAT);
    put_number(&mut bytes, count(packages));
    bytes
}

/// By name, each once.
fn ordered(packages: &[PackageMeta]) -> Result<Vec<&PackageMeta>, CompactError> {
    let mut ordered: Vec<&PackageMeta> = packages.iter().collect();
    ordered.sort_by(|left, right| left.name.cmp(&right.name));
    match ordered.windows(2).find(|pair| pair[0].name == pair[1].name) {
        Some(pair) => Err(CompactError::DuplicatePackage { name: pair[0].name.clone() }),
        None => Ok(ordered),
    }
}

fn dependencies(column: &mut Cursor<'_>) -> Result<BTreeSet<Dependency>, CompactError> {
    let mut list = BTreeSet::new();
    for _ in 0..column.number()? {
        let number = column.byte()?;
        let kind = DependencyKind::from_number(number)
            .ok_or_else(|| column.damaged("a dependency is of an unknown kind"))?;
        list.insert(Dependency::new(kind, column.text()?));
    }
    Ok(list)
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of a SHA-256 in hexadecimal.
pub(crate) fn bytes_of_hex(text: &str) -> Option<[u8; SHA256_BYTES]> {
    let mut bytes = [0; SHA256_BYTES];
    if !package::valid_hash(text) {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests;
