//! What a build produced, as it is kept beside the recipe: `manifest.ARCH.bin` and `manifest.ARCH.jsonc`.
//!
//! The first is a container that tools read, the second says the same to people and adds the files. Both are made so that
//! building the same thing again changes neither: no build release, no hashes, no debug packages.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek, Write};

use fault::{Fault, Kind};
use serde::Serialize;
use stone::{FileType, Limits, ReadError, WriteError, Writer};

use crate::dependency::Dependency;
use crate::meta::{MetaError, PackageMeta};

/// Packages with this suffix hold debug information and are in no manifest.
const DEBUG_SUFFIX: &str = "-dbginfo";

/// First line of the form for people, as the AerynOS tools write it.
const COMMENT: &str = "/** Human readable report. This is not consumed by boulder */";

/// Version of the form for people.
const MANIFEST_VERSION: &str = "0.2";

/// The packages that a build produced, ordered by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestFile {
    packages: Vec<PackageMeta>,
}

/// The recipe that a manifest is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestSource {
    /// Its name.
    pub name: String,
    /// Version of the software.
    pub version: String,
    /// Release of the recipe.
    pub release: u64,
}

/// Why a manifest could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The container is at fault.
    #[error("cannot read a manifest")]
    Read {
        /// Why.
        #[source]
        source: ReadError,
    },
    /// The container holds something else.
    #[error("cannot read a manifest: the file is of type {:?}", found.label())]
    NotAManifest {
        /// What the file says it is.
        found: FileType,
    },
    /// The description of a package is at fault.
    #[error("cannot read package number {number} of a manifest")]
    Meta {
        /// Place in the manifest; the first is 0.
        number: usize,
        /// Why.
        #[source]
        source: MetaError,
    },
    /// Two packages have the same name.
    #[error("cannot accept a manifest: package {name:?} is there twice")]
    DuplicatePackage {
        /// The name.
        name: String,
    },
    /// The container could not be written.
    #[error("cannot write a manifest")]
    Write {
        /// Why.
        #[source]
        source: WriteError,
    },
}

impl Fault for ManifestError {
    fn kind(&self) -> Kind {
        match self {
            ManifestError::Read { source } => source.kind(),
            ManifestError::Meta { source, .. } => source.kind(),
            ManifestError::Write { source } => source.kind(),
            ManifestError::NotAManifest { .. } | ManifestError::DuplicatePackage { .. } => Kind::Input,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            ManifestError::Read { source } => source.hints(),
            ManifestError::Meta { source, .. } => source.hints(),
            ManifestError::Write { source } => source.hints(),
            ManifestError::NotAManifest { .. } => vec!["name a manifest.*.bin".to_owned()],
            ManifestError::DuplicatePackage { .. } => {
                vec!["give each package of the recipe a name of its own".to_owned()]
            }
        }
    }
}

impl ManifestFile {
    /// `manifest.ARCH.bin`
    #[must_use]
    pub fn bin_name(architecture: &str) -> String {
        format!("manifest.{architecture}.bin")
    }

    /// `manifest.ARCH.jsonc`
    #[must_use]
    pub fn jsonc_name(architecture: &str) -> String {
        format!("manifest.{architecture}.jsonc")
    }

    /// The manifest of the packages that a build produced: without debug packages, ordered by name, and without what differs
    /// from one build of a release to the next.
    ///
    /// # Errors
    /// [`ManifestError::DuplicatePackage`].
    pub fn of_build(packages: impl IntoIterator<Item = PackageMeta>) -> Result<Self, ManifestError> {
        let mut kept: Vec<PackageMeta> =
            packages.into_iter().filter(|package| !package.name.ends_with(DEBUG_SUFFIX)).collect();
        for package in &mut kept {
            package.build_release = 0;
            package.uri = None;
            package.hash = None;
            package.download_size_bytes = None;
        }
        kept.sort_by(|left, right| left.name.cmp(&right.name));
        Self::checked(kept)
    }

    /// Reads and verifies `manifest.ARCH.bin`. Packages are taken as they are there.
    ///
    /// # Errors
    /// For a file that is damaged or no manifest, and a package that is not described as it must be.
    pub fn read<R: Read + Seek>(source: R, limits: &Limits) -> Result<Self, ManifestError> {
        let stone = stone::read(source, limits, &mut stone::Discard)
            .map_err(|source| ManifestError::Read { source })?;
        if stone.file_type != FileType::Manifest {
            return Err(ManifestError::NotAManifest { found: stone.file_type });
        }
        let packages = stone
            .metas
            .iter()
            .enumerate()
            .map(|(number, records)| {
                PackageMeta::from_records(records).map_err(|source| ManifestError::Meta { number, source })
            })
            .collect::<Result<Vec<_>, _>>()?;
        Self::checked(packages)
    }

    /// Writes `manifest.ARCH.bin` and gives `out` back.
    ///
    /// # Errors
    /// For more than 65,535 packages, text with a NUL, and what `out` refuses.
    pub fn write<W: Write + Seek>(&self, out: W) -> Result<W, ManifestError> {
        let failed = |source| ManifestError::Write { source };
        let mut writer = Writer::new(out, FileType::Manifest).map_err(failed)?;
        for package in &self.packages {
            writer.meta(&package.to_records()).map_err(failed)?;
        }
        writer.finish().map_err(failed)
    }

    /// The packages, ordered by name.
    #[must_use]
    pub fn packages(&self) -> &[PackageMeta] {
        &self.packages
    }

    /// The packages, ordered by name, to keep.
    #[must_use]
    pub fn into_packages(self) -> Vec<PackageMeta> {
        self.packages
    }

    /// The recipe, as the first package names it; none where there is no package.
    #[must_use]
    pub fn source(&self) -> Option<ManifestSource> {
        self.packages.first().map(|package| ManifestSource {
            name: package.source_id.clone(),
            version: package.version.clone(),
            release: package.release,
        })
    }

    /// The text of `manifest.ARCH.jsonc`. `files` gives for each package name the absolute paths of what the package
    /// installs, such as `/usr/bin/nano`; a package without an entry has no files.
    ///
    /// Package names stand alone among the dependencies (`zlib`, not `name(zlib)`), as recipes write them.
    #[must_use]
    pub fn jsonc(&self, source: &ManifestSource, files: &BTreeMap<String, BTreeSet<String>>) -> String {
        let nothing = BTreeSet::new();
        let report = Report {
            manifest_version: MANIFEST_VERSION,
            packages: self
                .packages
                .iter()
                .map(|package| {
                    let report = PackageReport {
                        build_depends: package.build_depends.iter().map(Dependency::short).collect(),
                        depends: package.depends.iter().map(Dependency::short).collect(),
                        files: files.get(&package.name).unwrap_or(&nothing),
                        name: &package.name,
                        provides: package.provides.iter().map(Dependency::short).collect(),
                    };
                    (package.name.as_str(), report)
                })
                .collect(),
            source_name: &source.name,
            source_release: source.release.to_string(),
            source_version: &source.version,
        };
        let mut bytes = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
        serialized(report.serialize(&mut serializer));
        let json = String::from_utf8_lossy(&bytes);
        format!("{COMMENT}\n{json}\n")
    }

    fn checked(packages: Vec<PackageMeta>) -> Result<Self, ManifestError> {
        let mut names = BTreeSet::new();
        for package in &packages {
            if !names.insert(package.name.as_str()) {
                return Err(ManifestError::DuplicatePackage { name: package.name.clone() });
            }
        }
        Ok(Self { packages })
    }
}

#[expect(clippy::expect_used, reason = "maps with text keys, written to memory, have no way to fail")]
fn serialized(outcome: serde_json::Result<()>) {
    outcome.expect("a manifest turns into JSON");
}

/// The form for people. Keys in the order of the alphabet, as the AerynOS tools write them.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report<'a> {
    manifest_version: &'a str,
    packages: BTreeMap<&'a str, PackageReport<'a>>,
    source_name: &'a str,
    source_release: String,
    source_version: &'a str,
}

/// One package in the form for people. Empty lists are left out.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct PackageReport<'a> {
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    build_depends: BTreeSet<String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    depends: BTreeSet<String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    files: &'a BTreeSet<String>,
    name: &'a str,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    provides: BTreeSet<String>,
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn package(name: &str) -> PackageMeta {
        PackageMeta {
            name: name.into(),
            version: "1.10".into(),
            release: 3,
            build_release: 4,
            architecture: "x86_64".into(),
            summary: "s".into(),
            description: "d".into(),
            source_id: "zlib".into(),
            homepage: "h".into(),
            licenses: vec!["Zlib".into()],
            depends: BTreeSet::from(["soname(libc.so.6(x86_64))", "bash"].map(|text| text.parse().unwrap())),
            provides: BTreeSet::new(),
            conflicts: BTreeSet::new(),
            build_depends: BTreeSet::new(),
            uri: Some("u".into()),
            hash: Some("0".repeat(64)),
            download_size_bytes: Some(9),
        }
    }

    fn manifest() -> ManifestFile {
        ManifestFile::of_build([package("zlib-devel"), package("zlib-dbginfo"), package("zlib")]).unwrap()
    }

    #[test]
    fn of_a_build() {
        let manifest = manifest();
        let names: Vec<&str> = manifest.packages().iter().map(|package| package.name.as_str()).collect();
        assert_eq!(names, ["zlib", "zlib-devel"]);
        for package in manifest.packages() {
            let build = (package.build_release, &package.uri, &package.hash, package.download_size_bytes);
            assert_eq!(build, (0, &None, &None, None));
        }
        let twice = ManifestFile::of_build([package("zlib"), package("zlib")]).unwrap_err();
        assert!(matches!(&twice, ManifestError::DuplicatePackage { name } if name == "zlib"));
        assert!(!twice.hints().is_empty());
    }

    #[test]
    fn written_and_read() {
        let bytes = manifest().write(Cursor::new(Vec::new())).unwrap();
        assert_eq!(ManifestFile::read(bytes, &Limits::default()).unwrap(), manifest());
    }

    #[test]
    fn other_files_are_no_manifests() {
        let writer = Writer::new(Cursor::new(Vec::new()), FileType::Binary).unwrap();
        let error = ManifestFile::read(writer.finish().unwrap(), &Limits::default()).unwrap_err();
        assert!(matches!(error, ManifestError::NotAManifest { found: FileType::Binary }), "{error:?}");
        let error = ManifestFile::read(Cursor::new(b"#!/bin/sh"), &Limits::default()).unwrap_err();
        assert!(matches!(error, ManifestError::Read { .. }), "{error:?}");
        let mut writer = Writer::new(Cursor::new(Vec::new()), FileType::Manifest).unwrap();
        writer.meta(&[]).unwrap();
        let error = ManifestFile::read(writer.finish().unwrap(), &Limits::default()).unwrap_err();
        assert!(matches!(error, ManifestError::Meta { number: 0, .. }), "{error:?}");
    }

    #[test]
    fn for_people() {
        let manifest = manifest();
        let files = BTreeMap::from([(
            "zlib".to_owned(),
            BTreeSet::from(["/usr/share/\u{e9}".to_owned(), "/usr/lib/libz.so.1".to_owned()]),
        )]);
        let text = manifest.jsonc(&manifest.source().unwrap(), &files);
        let expect = "/** Human readable report. This is not consumed by boulder */
{
\t\"manifest-version\": \"0.2\",
\t\"packages\": {
\t\t\"zlib\": {
\t\t\t\"depends\": [
\t\t\t\t\"bash\",
\t\t\t\t\"soname(libc.so.6(x86_64))\"
\t\t\t],
\t\t\t\"files\": [
\t\t\t\t\"/usr/lib/libz.so.1\",
\t\t\t\t\"/usr/share/\u{e9}\"
\t\t\t],
\t\t\t\"name\": \"zlib\"
\t\t},
\t\t\"zlib-devel\": {
\t\t\t\"depends\": [
\t\t\t\t\"bash\",
\t\t\t\t\"soname(libc.so.6(x86_64))\"
\t\t\t],
\t\t\t\"name\": \"zlib-devel\"
\t\t}
\t},
\t\"source-name\": \"zlib\",
\t\"source-release\": \"3\",
\t\"source-version\": \"1.10\"
}
";
        assert_eq!(text, expect);
    }

    #[test]
    fn names() {
        assert_eq!(ManifestFile::bin_name("x86_64"), "manifest.x86_64.bin");
        assert_eq!(ManifestFile::jsonc_name("aarch64"), "manifest.aarch64.jsonc");
    }
}
