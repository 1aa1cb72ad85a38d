//! `stone.index`: the packages of one architecture in one history.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek, Write};

use fault::{Fault, Kind};
use package::{MetaError, PackageMeta};
use stone::{FileType, Limits, PAYLOADS_MAX, PackedMeta, Packing, ReadError, WriteError, Writer};

/// The packages of an index. Each says where its file is, what it hashes to and how long it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Index {
    packages: Vec<PackageMeta>,
}

/// Why an index could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The container is at fault.
    #[error("cannot read a repository index")]
    Read {
        /// Why.
        #[source]
        source: ReadError,
    },
    /// The container holds something else.
    #[error("cannot read a repository index: the file is of type {:?}", found.label())]
    NotAnIndex {
        /// What the file says it is.
        found: FileType,
    },
    /// The description of a package is at fault.
    #[error("cannot read package number {number} of a repository index")]
    Meta {
        /// Place in the index; the first is 0.
        number: usize,
        /// Why.
        #[source]
        source: MetaError,
    },
    /// A package does not say where it is, what it hashes to or how long it is.
    #[error("cannot accept package {name:?} in a repository index: it has no {field}")]
    Incomplete {
        /// The package.
        name: String,
        /// What is missing.
        field: &'static str,
    },
    /// Two packages have the same name.
    #[error("cannot write a repository index: package {name:?} is there twice")]
    DuplicatePackage {
        /// The name.
        name: String,
    },
    /// More packages than the container can count.
    #[error("cannot write a repository index: {count} packages do not fit, the most is {PAYLOADS_MAX}")]
    TooManyPackages {
        /// How many there are.
        count: usize,
    },
    /// The container could not be written.
    #[error("cannot write a repository index")]
    Write {
        /// Why.
        #[source]
        source: WriteError,
    },
}

impl Fault for IndexError {
    fn kind(&self) -> Kind {
        match self {
            IndexError::Read { source } => source.kind(),
            IndexError::Meta { source, .. } => source.kind(),
            IndexError::Write { source } => source.kind(),
            IndexError::Incomplete { .. } => Kind::Damaged,
            _ => Kind::Input,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            IndexError::Read { source } => source.hints(),
            IndexError::Meta { source, .. } => source.hints(),
            IndexError::Write { source } => source.hints(),
            IndexError::NotAnIndex { .. } => vec!["name a stone.index".to_owned()],
            IndexError::Incomplete { .. } => vec!["make the index again from its packages".to_owned()],
            IndexError::DuplicatePackage { .. } => vec!["keep only the newest of them".to_owned()],
            IndexError::TooManyPackages { .. } => {
                vec![
                    "divide the packages over several channels, or set stone_index = \"while-it-fits\" in the settings of Vessel: only clients of other makers need that file".to_owned(),
                ]
            }
        }
    }
}

impl Index {
    /// An index of these packages, ordered by name.
    ///
    /// # Errors
    /// Where a name occurs twice, a package lacks URI, hash or size, or there are more than 65,535.
    pub fn new(packages: impl IntoIterator<Item = PackageMeta>) -> Result<Self, IndexError> {
        let mut packages: Vec<PackageMeta> = packages.into_iter().collect();
        packages.sort_by(|left, right| left.name.cmp(&right.name));
        if packages.len() > PAYLOADS_MAX {
            return Err(IndexError::TooManyPackages { count: packages.len() });
        }
        let mut names = BTreeSet::new();
        for package in &packages {
            check_complete(package)?;
            if !names.insert(&package.name) {
                return Err(IndexError::DuplicatePackage { name: package.name.clone() });
            }
        }
        Ok(Self { packages })
    }

    /// What an index may take to read: records as any file, and no content.
    #[must_use]
    pub fn limits() -> Limits {
        Limits { content_bytes_max: 0, ..Limits::default() }
    }

    /// Reads and verifies an index. A name may occur more than once, as in indexes of other tools; see [`newest`].
    ///
    /// # Errors
    /// For a file that is damaged or no index, and a package that is not described as it must be. URIs are not judged here:
    /// see [`crate::package_url`].
    pub fn read<R: Read + Seek>(source: R, limits: &Limits) -> Result<Self, IndexError> {
        let stone =
            stone::read(source, limits, &mut stone::Discard).map_err(|source| IndexError::Read { source })?;
        if stone.file_type != FileType::Repository {
            return Err(IndexError::NotAnIndex { found: stone.file_type });
        }
        let mut packages = Vec::with_capacity(stone.metas.len());
        for (number, records) in stone.metas.iter().enumerate() {
            let package =
                PackageMeta::from_records(records).map_err(|source| IndexError::Meta { number, source })?;
            check_complete(&package)?;
            packages.push(package);
        }
        Ok(Self { packages })
    }

    /// Writes the index and gives `out` back.
    ///
    /// # Errors
    /// What `out` refuses.
    pub fn write<W: Write + Seek>(&self, out: W, packing: Packing) -> Result<W, IndexError> {
        let failed = |source| IndexError::Write { source };
        let mut writer = Writer::with_packing(out, FileType::Repository, packing).map_err(failed)?;
        for package in &self.packages {
            writer.meta(&package.to_records()).map_err(failed)?;
        }
        writer.finish().map_err(failed)
    }

    /// The packages in the order of the file.
    #[must_use]
    pub fn packages(&self) -> &[PackageMeta] {
        &self.packages
    }

    /// The packages in the order of the file.
    #[must_use]
    pub fn into_packages(self) -> Vec<PackageMeta> {
        self.packages
    }
}

/// One package of an index, packed: for whoever writes an index again and again, with few changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedEntry {
    name: String,
    meta: PackedMeta,
}

impl PackedEntry {
    /// Packs one package.
    ///
    /// # Errors
    /// Where it lacks URI, hash or size, or cannot be written.
    pub fn new(package: &PackageMeta, packing: Packing) -> Result<Self, IndexError> {
        check_complete(package)?;
        let meta =
            PackedMeta::new(&package.to_records(), packing).map_err(|source| IndexError::Write { source })?;
        Ok(Self { name: package.name.clone(), meta })
    }
}

/// Writes an index of these packages; the same bytes as [`Index::write`] of an [`Index::new`] writes.
///
/// # Errors
/// Where a name occurs twice, where there are more than 65,535, and what `out` refuses.
pub fn write_packed<W: Write + Seek>(mut entries: Vec<&PackedEntry>, out: W) -> Result<W, IndexError> {
    let failed = |source| IndexError::Write { source };
    if entries.len() > PAYLOADS_MAX {
        return Err(IndexError::TooManyPackages { count: entries.len() });
    }
    entries.sort_by(|left, right| left.name.cmp(&right.name));
    let mut writer = Writer::new(out, FileType::Repository).map_err(failed)?;
    let mut last: Option<&PackedEntry> = None;
    for entry in entries {
        if last.is_some_and(|last| last.name == entry.name) {
            return Err(IndexError::DuplicatePackage { name: entry.name.clone() });
        }
        writer.packed_meta(&entry.meta).map_err(failed)?;
        last = Some(entry);
    }
    writer.finish().map_err(failed)
}

/// Whether `candidate` takes the place of `present`, a package of the same name: a higher release does, or with equal releases
/// a higher build release. The version text plays no part.
#[must_use]
pub fn supersedes(candidate: &PackageMeta, present: &PackageMeta) -> bool {
    (candidate.release, candidate.build_release) > (present.release, present.build_release)
}

/// The winner for each name; of equals the first.
pub fn newest<'a>(packages: impl IntoIterator<Item = &'a PackageMeta>) -> BTreeMap<&'a str, &'a PackageMeta> {
    let mut winners: BTreeMap<&str, &PackageMeta> = BTreeMap::new();
    for package in packages {
        winners
            .entry(&package.name)
            .and_modify(|present| {
                if supersedes(package, present) {
                    *present = package;
                }
            })
            .or_insert(package);
    }
    winners
}

fn check_complete(package: &PackageMeta) -> Result<(), IndexError> {
    let missing = [
        (package.uri.is_none(), "package URI"),
        (package.hash.is_none(), "package hash"),
        (package.download_size_bytes.is_none(), "package size"),
    ];
    match missing.into_iter().find(|(is_missing, _)| *is_missing) {
        Some((_, field)) => Err(IndexError::Incomplete { name: package.name.clone(), field }),
        None => Ok(()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Cursor;

    use super::*;

    pub(crate) fn meta(name: &str, release: u64, build_release: u64) -> PackageMeta {
        PackageMeta {
            name: name.into(),
            version: "1".into(),
            release,
            build_release,
            architecture: "x86_64".into(),
            summary: "s".into(),
            description: "d".into(),
            source_id: name.into(),
            homepage: "h".into(),
            licenses: vec![],
            depends: BTreeSet::new(),
            provides: BTreeSet::new(),
            conflicts: BTreeSet::new(),
            build_depends: BTreeSet::new(),
            uri: Some(format!("../../../{name}.stone")),
            hash: Some("0".repeat(64)),
            download_size_bytes: Some(1),
        }
    }

    #[test]
    fn written_and_read() {
        let index = Index::new([meta("zlib", 1, 1), meta("acl", 2, 1)]).unwrap();
        let names: Vec<&str> = index.packages().iter().map(|package| package.name.as_str()).collect();
        assert_eq!(names, ["acl", "zlib"]);
        let bytes = index.write(Cursor::new(Vec::new()), Packing::FAST).unwrap();
        assert_eq!(Index::read(bytes.clone(), &Index::limits()).unwrap(), index);
        let packed = ["zlib", "acl"].map(|name| {
            let package = index.packages().iter().find(|package| package.name == name).unwrap();
            PackedEntry::new(package, Packing::FAST).unwrap()
        });
        let of_packed = write_packed(packed.iter().collect(), Cursor::new(Vec::new())).unwrap();
        assert_eq!(of_packed.get_ref(), bytes.get_ref(), "packed before or now, the bytes are the same");
        let twice = write_packed(vec![&packed[0], &packed[1], &packed[0]], Cursor::new(Vec::new()));
        assert!(matches!(twice, Err(IndexError::DuplicatePackage { name }) if name == "zlib"));
        let nothing = Index::default().write(Cursor::new(Vec::new()), Packing::SMALL).unwrap();
        assert!(Index::read(nothing, &Index::limits()).unwrap().packages().is_empty());
    }

    #[test]
    fn what_is_refused() {
        let twice = Index::new([meta("a", 1, 1), meta("a", 2, 1)]).unwrap_err();
        assert!(matches!(&twice, IndexError::DuplicatePackage { name } if name == "a"));
        let bare = Index::new([PackageMeta { hash: None, ..meta("a", 1, 1) }]).unwrap_err();
        assert!(bare.to_string().contains("no package hash"), "{bare}");
        let many =
            Index::new((0..=PAYLOADS_MAX).map(|number| meta(&format!("p{number}"), 1, 1))).unwrap_err();
        assert!(matches!(many, IndexError::TooManyPackages { count: 65_536 }));

        let of_type = |file_type, package: &PackageMeta| {
            let mut writer = Writer::with_packing(Cursor::new(Vec::new()), file_type, Packing::FAST).unwrap();
            writer.meta(&package.to_records()).unwrap();
            Index::read(writer.finish().unwrap(), &Index::limits()).unwrap_err()
        };
        let manifest = of_type(FileType::Manifest, &meta("a", 1, 1));
        assert!(matches!(manifest, IndexError::NotAnIndex { found: FileType::Manifest }));
        let bare = of_type(FileType::Repository, &PackageMeta { uri: None, ..meta("a", 1, 1) });
        assert!(matches!(bare, IndexError::Incomplete { field: "package URI", .. }));
        for error in [twice, many, manifest, bare] {
            assert!(!error.hints().is_empty());
        }
    }

    #[test]
    fn an_index_has_no_content() {
        let mut writer =
            Writer::with_packing(Cursor::new(Vec::new()), FileType::Repository, Packing::FAST).unwrap();
        let digest = stone::Digest::of(b"x");
        writer.index(&[stone::Slice { start: 0, end: 1, digest }]).unwrap();
        writer.content(1, &b"x"[..]).unwrap();
        let error = Index::read(writer.finish().unwrap(), &Index::limits()).unwrap_err();
        assert!(matches!(error, IndexError::Read { source: ReadError::TooManyContentBytes { .. } }));
    }

    #[test]
    fn who_wins() {
        let table = [
            ((2, 1), (1, 9), true),
            ((1, 2), (1, 1), true),
            ((1, 1), (1, 1), false),
            ((1, 9), (2, 1), false),
        ];
        for (candidate, present, expect) in table {
            let (candidate, present) = (meta("a", candidate.0, candidate.1), meta("a", present.0, present.1));
            assert_eq!(supersedes(&candidate, &present), expect);
        }
        let packages = [meta("b", 1, 1), meta("a", 1, 1), meta("a", 3, 1), meta("a", 2, 7)];
        let winners = newest(&packages);
        assert_eq!(winners.len(), 2);
        assert_eq!((winners["a"].release, winners["b"].release), (3, 1));
    }
}
