//! A first C library, made from the machine's own files.
//!
//! A distribution that begins from nothing has no C library to link against yet. `moraine bootstrap host` packages the
//! one that programs built on this machine use: the loader, the C library and the runtime libraries of the compiler, and
//! on demand further programs with every library they need. The packages say by their name what they are, and belong
//! into a channel of the lowest priority, where the first real package of the same library takes their place.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use boulder::analyse::elf::{self, ElfFacts};
use boulder::analyse::{Surroundings, Verdict, analyse};
use boulder::collect::{InstalledFile, InstalledKind};
use boulder::emit::{Artefact, EmitError, write_package};
use fault::{Fault, Kind};
use package::{Dependency, PackageMeta};
use std::os::unix::fs::MetadataExt;

/// Name of the package that carries the C library.
pub(crate) const LIBRARY_PACKAGE: &str = "bootstrap-host-glibc";
/// Name of the package that carries programs.
pub(crate) const PROGRAM_PACKAGE: &str = "bootstrap-host-programs";

/// Where libraries lie on the distributions there are; `{arch}` is the multiarch name of Debian.
const LIBRARY_DIRECTORIES: [&str; 6] =
    ["/lib/{arch}-linux-gnu", "/usr/lib/{arch}-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"];
/// Every part of glibc that programs link against, and the runtime libraries of gcc. Those that newer glibc versions
/// have merged into the first one may be missing.
const LIBRARIES: [&str; 11] = [
    "libc.so.6",
    "libm.so.6",
    "libdl.so.2",
    "libpthread.so.0",
    "librt.so.1",
    "libresolv.so.2",
    "libutil.so.1",
    "libgcc_s.so.1",
    "libstdc++.so.6",
    "libatomic.so.1",
    "libcrypt.so.1",
];
/// The locale that every glibc of today can bring without a locale archive.
const LOCALE_DIRECTORY: &str = "/usr/lib/locale/C.utf8";
/// Files of one locale; there are about a dozen.
const LOCALE_FILES_MAX: usize = 256;

/// Why there is no bootstrap package.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BootstrapError {
    /// The machine has another C library, or keeps it where it is not looked for.
    #[error("cannot find {name} of this machine in {}", searched.join(", "))]
    NoLibrary {
        /// The file that is missing.
        name: String,
        /// The folders that were searched.
        searched: Vec<String>,
    },
    /// A program that was asked for does not exist.
    #[error("cannot find program {name} in /usr/bin or /usr/sbin of this machine")]
    NoProgram {
        /// Its name.
        name: String,
    },
    /// A library or program cannot be read as what it should be.
    #[error("cannot read {path} as an ELF file: {reason}")]
    NotElf {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The version of the C library is not known.
    #[error(
        "cannot tell the version of this machine's C library: `getconf GNU_LIBC_VERSION` says {answer:?}"
    )]
    NoVersion {
        /// What the program answered.
        answer: String,
    },
    /// The disk does not do its part.
    #[error("cannot make a bootstrap package")]
    Disk(#[source] std::io::Error),
    /// A package cannot be written.
    #[error("cannot make a bootstrap package")]
    Emit(#[source] EmitError),
}

impl Fault for BootstrapError {
    fn kind(&self) -> Kind {
        match self {
            BootstrapError::NoLibrary { .. }
            | BootstrapError::NoProgram { .. }
            | BootstrapError::NoVersion { .. } => Kind::NotFound,
            BootstrapError::NotElf { .. } => Kind::Damaged,
            BootstrapError::Disk(_) => Kind::Unavailable,
            BootstrapError::Emit(error) => error.kind(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            BootstrapError::NoLibrary { .. } | BootstrapError::NoVersion { .. } => {
                vec![
                    "the bootstrap needs a machine with glibc; on others, start from packages: vessel import"
                        .into(),
                ]
            }
            BootstrapError::NoProgram { name } => {
                vec![format!("install {name} with the machine's package manager")]
            }
            BootstrapError::Emit(error) => error.hints(),
            BootstrapError::NotElf { .. } | BootstrapError::Disk(_) => Vec::new(),
        }
    }
}

/// Packages the machine's C library, and `programs` with the libraries they need, into `output`.
///
/// # Errors
/// When the machine has no glibc, lacks a program, or the disk fails.
pub(crate) fn host(
    output: &Path,
    programs: &[String],
    architecture: &str,
) -> Result<Vec<Artefact>, BootstrapError> {
    fs_err::create_dir_all(output).map_err(BootstrapError::Disk)?;
    let machine = Machine::of(architecture);
    let version = glibc_version()?;
    let library = machine.library_files()?;
    let mut packages = vec![(LIBRARY_PACKAGE, library.clone())];
    if !programs.is_empty() {
        packages.push((PROGRAM_PACKAGE, machine.program_files(programs, &library)?));
    }
    packages
        .into_iter()
        .map(|(name, files)| {
            let (meta, files) = describe(name, &version, architecture, &files)?;
            let files: Vec<&InstalledFile> = files.iter().collect();
            // Whoever owns the files on this machine, in the package they belong to root.
            write_package(output, &meta, &files, &|_, _| Some((0, 0))).map_err(BootstrapError::Emit)
        })
        .collect()
}

/// Files to package: where they go, and where they are.
type Selection = BTreeMap<String, PathBuf>;

struct Machine {
    directories: Vec<String>,
    loader: String,
}

impl Machine {
    fn of(architecture: &str) -> Self {
        let loader = match architecture {
            "aarch64" => "ld-linux-aarch64.so.1",
            "riscv64" => "ld-linux-riscv64-lp64d.so.1",
            _ => "ld-linux-x86-64.so.2",
        };
        let directories =
            LIBRARY_DIRECTORIES.iter().map(|path| path.replace("{arch}", architecture)).collect();
        Self { directories, loader: loader.to_owned() }
    }

    fn library_files(&self) -> Result<Selection, BootstrapError> {
        let mut selection = Selection::new();
        for name in [self.loader.as_str(), "libc.so.6", "libgcc_s.so.1"] {
            self.add_library(name, &mut selection)?;
        }
        for name in LIBRARIES {
            if self.find(name).is_some() {
                self.add_library(name, &mut selection)?;
            }
        }
        let locale = Path::new(LOCALE_DIRECTORY);
        if locale.is_dir() {
            add_tree(locale, &mut selection).map_err(BootstrapError::Disk)?;
        }
        Ok(selection)
    }

    /// Programs and all the libraries they need, without those of `base`.
    fn program_files(&self, programs: &[String], base: &Selection) -> Result<Selection, BootstrapError> {
        let mut selection = Selection::new();
        for name in programs {
            let places =
                ["/usr/bin", "/usr/sbin", "/bin", "/sbin"].map(|directory| Path::new(directory).join(name));
            let place = places.into_iter().find(|path| path.is_file() && !name.contains('/'));
            let place = place.ok_or_else(|| BootstrapError::NoProgram { name: name.clone() })?;
            let real = fs_err::canonicalize(&place).map_err(BootstrapError::Disk)?;
            if let Some(facts) = read_elf(&real)? {
                for needed in &facts.needed {
                    self.add_library(needed, &mut selection)?;
                }
            }
            selection.insert(format!("/usr/bin/{name}"), real);
        }
        selection.retain(|path, _| !base.contains_key(path));
        Ok(selection)
    }

    fn find(&self, name: &str) -> Option<PathBuf> {
        let path = self
            .directories
            .iter()
            .map(|directory| Path::new(directory).join(name))
            .find(|path| path.is_file())?;
        fs_err::canonicalize(path).ok()
    }

    /// Adds a library under its soname, and everything that it needs.
    fn add_library(&self, name: &str, selection: &mut Selection) -> Result<(), BootstrapError> {
        let mut open = vec![name.to_owned()];
        while let Some(name) = open.pop() {
            let target = format!("/usr/lib/{name}");
            if name.contains('/') || selection.contains_key(&target) {
                continue;
            }
            let path = self.find(&name).ok_or_else(|| BootstrapError::NoLibrary {
                name: name.clone(),
                searched: self.directories.clone(),
            })?;
            let facts = read_elf(&path)?.ok_or_else(|| BootstrapError::NotElf {
                path: path.clone(),
                reason: "it is a text".into(),
            })?;
            open.extend(facts.needed);
            selection.insert(target, path);
        }
        Ok(())
    }
}

fn read_elf(path: &Path) -> Result<Option<ElfFacts>, BootstrapError> {
    elf::read(path).map_err(|reason| BootstrapError::NotElf { path: path.to_path_buf(), reason })
}

fn add_tree(directory: &Path, selection: &mut Selection) -> std::io::Result<()> {
    for entry in fs_err::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            add_tree(&path, selection)?;
        } else if let Some(target) = path.to_str()
            && selection.len() < LOCALE_FILES_MAX
        {
            selection.insert(target.to_owned(), fs_err::canonicalize(&path)?);
        }
    }
    Ok(())
}

fn glibc_version() -> Result<String, BootstrapError> {
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
    let answer =
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    match answer.strip_prefix("glibc ") {
        Some(version) if version.starts_with(|letter: char| letter.is_ascii_digit()) => {
            Ok(version.to_owned())
        }
        _ => Err(BootstrapError::NoVersion { answer }),
    }
}

fn describe(
    name: &str,
    version: &str,
    architecture: &str,
    selection: &Selection,
) -> Result<(PackageMeta, Vec<InstalledFile>), BootstrapError> {
    let mut files = Vec::new();
    let (mut provides, mut depends) = (BTreeSet::new(), BTreeSet::new());
    let surroundings = Surroundings { exists: &|_| false, drop_libtool_archives: true };
    for (path, source) in selection {
        let metadata = fs_err::metadata(source).map_err(BootstrapError::Disk)?;
        let file = InstalledFile {
            path: path.clone(),
            source: source.clone(),
            mode: 0o100_644 | (metadata.mode() & 0o111),
            uid: 0,
            gid: 0,
            kind: InstalledKind::Regular {
                size_bytes: metadata.len(),
                inode: (metadata.dev(), metadata.ino()),
            },
        };
        if let Verdict::Include(facts) = analyse(&file, &surroundings) {
            provides.extend(facts.provides);
            depends.extend(facts.depends);
            files.push(file);
        }
    }
    let depends: BTreeSet<Dependency> = depends.difference(&provides).cloned().collect();
    let meta = PackageMeta {
        name: name.to_owned(),
        version: version.to_owned(),
        // Below every release that a recipe can have: where a real package offers the same, it is chosen.
        release: 0,
        build_release: 1,
        architecture: architecture.to_owned(),
        summary: "Files of the machine that the first packages were built on".to_owned(),
        description: "Taken as they are from the machine that ran `moraine bootstrap host`, so that the first programs \
                      have a C library to run with. Replaced by real packages as soon as there are any."
            .to_owned(),
        source_id: name.to_owned(),
        homepage: "https://www.gnu.org/software/libc/".to_owned(),
        licenses: vec!["GPL-2.0-or-later".to_owned(), "LGPL-2.1-or-later".to_owned()],
        depends,
        provides,
        conflicts: BTreeSet::new(),
        build_depends: BTreeSet::new(),
        uri: None,
        hash: None,
        download_size_bytes: None,
    };
    Ok((meta, files))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_package_provides_what_programs_of_this_machine_need() {
        let folder = tempfile::tempdir().unwrap();
        let artefacts = host(folder.path(), &["true".to_owned()], std::env::consts::ARCH).unwrap();
        assert_eq!(artefacts.len(), 2);
        let open = |artefact: &Artefact| {
            let file = std::io::BufReader::new(fs_err::File::open(&artefact.path).unwrap());
            let stone = stone::read(file, &stone::Limits::default(), &mut stone::Discard).unwrap();
            PackageMeta::from_records(&stone.metas[0]).unwrap()
        };
        let (library, programs) = (open(&artefacts[0]), open(&artefacts[1]));
        assert_eq!(library.name, LIBRARY_PACKAGE);
        assert!(library.depends.is_empty(), "it stands alone: {:?}", library.depends);
        let missing: Vec<&Dependency> = programs.depends.difference(&library.provides).collect();
        assert!(missing.is_empty(), "nobody provides {missing:?}");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = host(folder.path(), &["no-such-program".to_owned()], std::env::consts::ARCH).unwrap_err();
        assert!(error.to_string().contains("no-such-program"), "{error}");
    }
}
