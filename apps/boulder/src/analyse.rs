//! What the files of a package offer and need, read from the files themselves.
//!
//! Every file passes a fixed row of questions, in the order of [`analyse`]. Nothing is run and nothing is looked up
//! outside the build: ELF files, pkg-config files and Python metadata are read as data. What cannot be read as what
//! its name promises is packaged as it is and noted.

pub mod elf;
mod pkgconfig;

use std::collections::BTreeSet;
use std::path::Path;

use package::{Dependency, DependencyKind};

use crate::collect::{InstalledFile, InstalledKind};

/// Text files read whole (`.pc`, `METADATA`); real ones have a few kilobytes.
const TEXT_BYTES_MAX: u64 = 1 << 20;

/// What is known of one file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// What it offers.
    pub provides: BTreeSet<Dependency>,
    /// What it needs.
    pub depends: BTreeSet<Dependency>,
    /// What the packager should hear, a sentence each.
    pub notes: Vec<String>,
}

/// What becomes of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It goes into a package.
    Include(Facts),
    /// It does not, for this reason.
    Drop(&'static str),
}

/// What the questions need to know beside the file.
pub struct Surroundings<'a> {
    /// Whether `path` (`/usr/lib/x/liby.so`) exists in the install root or in the packages that the build root is made of.
    pub exists: &'a dyn Fn(&str) -> bool,
    /// Leave `.la` files out.
    pub drop_libtool_archives: bool,
}

/// Asks everything about one file.
#[must_use]
pub fn analyse(file: &InstalledFile, surroundings: &Surroundings<'_>) -> Verdict {
    let Some(below_usr) = file.path.strip_prefix("/usr/") else {
        return Verdict::Drop("it is not below /usr");
    };
    if surroundings.drop_libtool_archives && below_usr.starts_with("lib") && below_usr.ends_with(".la") {
        return Verdict::Drop("libtool archives are left out");
    }
    let mut facts = Facts::default();
    facts.provides.extend(command_provider(below_usr));
    if let InstalledKind::Regular { size_bytes, .. } = file.kind {
        match elf::read(&file.source) {
            Ok(Some(found)) if !is_debug_file(below_usr) => {
                elf::add_facts(&file.path, &found, surroundings.exists, &mut facts);
            }
            Ok(_) => {}
            Err(error) => facts.notes.push(format!("{}: not analysed as ELF: {error}", file.path)),
        }
        if below_usr.ends_with(".pc") && below_usr.split('/').any(|part| part == "pkgconfig") {
            with_text(file, size_bytes, &mut facts, |text, facts| {
                pkgconfig::add_facts(below_usr, text, surroundings.exists, facts);
            });
        }
        if is_python_metadata(below_usr) {
            with_text(file, size_bytes, &mut facts, |text, facts| {
                facts.provides.extend(python_provider(text));
            });
        }
    }
    facts.provides.extend(cmake_provider(below_usr));
    Verdict::Include(facts)
}

fn with_text(file: &InstalledFile, size_bytes: u64, facts: &mut Facts, read: impl FnOnce(&str, &mut Facts)) {
    let text = if size_bytes > TEXT_BYTES_MAX { None } else { fs_err::read_to_string(&file.source).ok() };
    match text {
        Some(text) => read(&text, facts),
        None => facts.notes.push(format!("{}: not analysed: it is no text of at most 1 MiB", file.path)),
    }
}

/// `binary(x)` for a file in `/usr/bin`, `sysbinary(x)` for one in `/usr/sbin`, links included.
fn command_provider(below_usr: &str) -> Option<Dependency> {
    let (directory, rest) = below_usr.split_once('/')?;
    let kind = match directory {
        "bin" => DependencyKind::Binary,
        "sbin" => DependencyKind::SystemBinary,
        _ => return None,
    };
    Some(Dependency::new(kind, rest.rsplit('/').next().unwrap_or(rest)))
}

/// `cmake(X)` for `XConfig.cmake` and `x-config.cmake`.
fn cmake_provider(below_usr: &str) -> Option<Dependency> {
    let name = Path::new(below_usr).file_name()?.to_str()?;
    let stem = match name.strip_suffix("Config.cmake") {
        Some(stem) if !stem.ends_with('-') => stem,
        _ => name.strip_suffix("-config.cmake")?,
    };
    (!stem.is_empty()).then(|| Dependency::new(DependencyKind::CMake, stem))
}

fn is_python_metadata(below_usr: &str) -> bool {
    let mut parts = below_usr.rsplit('/');
    let (name, directory) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    (name == "METADATA" && directory.ends_with(".dist-info"))
        || (name == "PKG-INFO" && directory.ends_with(".egg-info"))
}

/// `python(name)`, normalised after PEP 503: lower case, runs of `-`, `_` and `.` become one `-`.
fn python_provider(metadata: &str) -> Option<Dependency> {
    let name = metadata
        .lines()
        .take_while(|line| !line.is_empty())
        .find_map(|line| line.strip_prefix("Name:"))?
        .trim();
    let mut normalised = String::with_capacity(name.len());
    for letter in name.chars() {
        match letter {
            '-' | '_' | '.' if normalised.ends_with('-') => {}
            '-' | '_' | '.' => normalised.push('-'),
            other => normalised.extend(other.to_lowercase()),
        }
    }
    (!normalised.is_empty()).then(|| Dependency::new(DependencyKind::Python, normalised))
}

/// Split debug information is described by the file it was split from.
fn is_debug_file(below_usr: &str) -> bool {
    below_usr.ends_with(".debug") && below_usr.split('/').any(|part| part == "debug")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_provider(provider: fn(&str) -> Option<Dependency>, table: &[(&str, Option<&str>)]) {
        for (path, expected) in table {
            assert_eq!(provider(path).map(|found| found.to_string()).as_deref(), *expected, "{path}");
        }
    }

    #[test]
    fn commands_provide_their_names() {
        check_provider(
            command_provider,
            &[
                ("bin/nano", Some("binary(nano)")),
                ("bin/deep/tool", Some("binary(tool)")),
                ("sbin/ldconfig", Some("sysbinary(ldconfig)")),
                ("share/bin/x", None),
                ("bin", None),
            ],
        );
    }

    #[test]
    fn cmake_configs_provide_their_package() {
        check_provider(
            cmake_provider,
            &[
                ("lib/cmake/Qt6/Qt6Config.cmake", Some("cmake(Qt6)")),
                ("lib/cmake/fmt/fmt-config.cmake", Some("cmake(fmt)")),
                ("lib/cmake/x/x-Config.cmake", None),
                ("lib/cmake/Config.cmake", None),
                ("lib/cmake/fmt/fmt-targets.cmake", None),
            ],
        );
    }

    #[test]
    fn python_names_are_normalised() {
        check_provider(
            python_provider,
            &[
                ("Metadata-Version: 2.1\nName: Foo._-Bar\nVersion: 1\n", Some("python(foo-bar)")),
                ("Name: a\n\nName: b\n", Some("python(a)")),
                ("\nName: body\n", None),
            ],
        );
    }

    #[test]
    fn python_metadata_is_known_by_its_place() {
        assert!(is_python_metadata("lib/python3.11/site-packages/x.dist-info/METADATA"));
        assert!(is_python_metadata("lib/python3.11/site-packages/x.egg-info/PKG-INFO"));
        assert!(!is_python_metadata("share/doc/METADATA"));
    }

    #[test]
    fn what_is_not_below_usr_is_dropped() {
        let file = InstalledFile {
            path: "/etc/passwd".into(),
            source: "/nonexistent".into(),
            mode: 0o120_777,
            uid: 0,
            gid: 0,
            kind: InstalledKind::Symlink("x".into()),
        };
        let surroundings = Surroundings { exists: &|_| false, drop_libtool_archives: true };
        assert_eq!(analyse(&file, &surroundings), Verdict::Drop("it is not below /usr"));
        let archive = InstalledFile { path: "/usr/lib/libx.la".into(), ..file };
        assert!(matches!(analyse(&archive, &surroundings), Verdict::Drop(_)));
        let kept = Surroundings { drop_libtool_archives: false, ..surroundings };
        assert!(matches!(analyse(&archive, &kept), Verdict::Include(_)));
    }
}
