//! What belongs to a build beside its packages: where its files are published, and when they are needed no longer.
//!
//! ```text
//! CHANNEL/build/<p>/<source>/<version>-<release>-<build release>-<arch>/manifest.<arch>.bin   and what else there is
//! ```
//!
//! Pure. A build is needed as long as any history has one of its packages; its packages are known by where they lie and
//! how their names end.

use std::collections::BTreeMap;

use package::PackageMeta;
use repository::layout;
use stone::Entry;

use store::Sha256;

/// Bytes of a build id: those of linkers have 8 to 20, and 64 is the longest that tools read.
const BUILD_ID_SIZE_BYTES_MAX: usize = 64;

/// Files of debug information in one package; the largest, of a desktop's libraries, has some thousand.
const DEBUG_FILES_MAX: usize = 100_000;

/// A file of a build as it is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BuildFile {
    /// Below the channel.
    pub(crate) path: String,
    pub(crate) sha256: Sha256,
    pub(crate) size_bytes: u64,
    pub(crate) source: String,
    /// `8.4-34-1-x86_64`
    pub(crate) build: String,
}

/// Debug information in a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DebugFile {
    /// Lower-case hexadecimal digits.
    pub(crate) build_id: String,
    /// Of the package, below the channel.
    pub(crate) pool_path: String,
    /// In the package: `lib/debug/.build-id/ab/cdef.debug`
    pub(crate) target: String,
}

/// Those of the files whose builds have no package among the paths of a pool.
pub(crate) fn orphans<'a, 'b>(
    files: &'a [BuildFile],
    held: impl Iterator<Item = &'b str>,
) -> Vec<&'a BuildFile> {
    let mut names: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for path in held {
        let mut parts = path.rsplit('/');
        if let (Some(name), Some(source)) = (parts.next(), parts.next()) {
            names.entry(source).or_default().push(name);
        }
    }
    let mut known: BTreeMap<(&'a str, &'a str), bool> = BTreeMap::new();
    let is_orphan = |file: &&'a BuildFile| {
        *known.entry((&file.source, &file.build)).or_insert_with(|| {
            let suffix = format!("-{}.stone", file.build);
            let of_source = names.get(file.source.to_lowercase().as_str());
            !of_source.is_some_and(|names| names.iter().any(|name| name.ends_with(&suffix)))
        })
    };
    files.iter().filter(is_orphan).collect()
}

/// The debug information that a package brings.
pub(crate) fn debug_files(meta: &PackageMeta, entries: &[Entry]) -> Vec<DebugFile> {
    let pool_path = layout::pool_path(meta);
    let files = entries.iter().filter(|entry| matches!(entry.file, stone::EntryFile::Regular(_)));
    let named = files.filter_map(|entry| Some((build_id_of(&entry.target)?, entry.target.clone())));
    // Of one build id there is one file; a second name for it changes nothing.
    let by_id: BTreeMap<String, String> = named.take(DEBUG_FILES_MAX).collect();
    by_id
        .into_iter()
        .map(|(build_id, target)| DebugFile { build_id, pool_path: pool_path.clone(), target })
        .collect()
}

/// The build id that a path below `/usr` stands for: `lib/debug/.build-id/ab/cdef.debug` for `abcdef`.
fn build_id_of(target: &str) -> Option<String> {
    let (folder, rest) = target.split_once("/debug/.build-id/")?;
    let (first, rest) = rest.strip_suffix(".debug")?.split_once('/')?;
    let is_library_folder = matches!(folder, "lib" | "lib32" | "lib64");
    (is_library_folder && first.len() == 2).then(|| checked_build_id(&format!("{first}{rest}"))).flatten()
}

/// A build id as it is asked for, when it is one.
pub(crate) fn checked_build_id(text: &str) -> Option<String> {
    let is_hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let is_one = (2..=2 * BUILD_ID_SIZE_BYTES_MAX).contains(&text.len())
        && text.len().is_multiple_of(2)
        && text.bytes().all(is_hexadecimal);
    is_one.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use stone::{Digest, EntryFile};

    use super::*;
    use testkit::packages::meta;

    fn file(source: &str, build: &str, name: &str) -> BuildFile {
        let path = format!("{}/{name}", layout::build_path(source, build));
        BuildFile {
            path,
            sha256: Sha256::of(name.as_bytes()),
            size_bytes: 1,
            source: source.into(),
            build: build.into(),
        }
    }

    fn names(files: &[&BuildFile]) -> Vec<String> {
        let names: std::collections::BTreeSet<String> =
            files.iter().map(|file| format!("{} {}", file.source, file.build)).collect();
        names.into_iter().collect()
    }

    #[test]
    fn a_build_is_needed_as_long_as_one_of_its_packages_is() {
        let files = [
            file("NetworkManager", "1-2-1-x86_64", "a"),
            file("NetworkManager", "1-3-1-x86_64", "a"),
            file("nano", "1-2-1-x86_64", "a"),
            file("nano", "1-2-1-x86_64", "b"),
            file("nano", "1-2-1-aarch64", "a"),
        ];
        let check = |held: &[&str], expect: &[&str]| {
            let found = orphans(&files, held.iter().copied());
            assert_eq!(names(&found), expect, "{held:?}");
        };
        check(
            &[
                "pool/v0/n/networkmanager/NetworkManager-1-3-1-x86_64.stone",
                "pool/v0/n/nano/nano-doc-1-2-1-x86_64.stone",
            ],
            &["NetworkManager 1-2-1-x86_64", "nano 1-2-1-aarch64"],
        );
        check(
            &["pool/v0/o/other/nano-1-2-1-x86_64.stone"],
            &[
                "NetworkManager 1-2-1-x86_64",
                "NetworkManager 1-3-1-x86_64",
                "nano 1-2-1-aarch64",
                "nano 1-2-1-x86_64",
            ],
        );
    }

    #[test]
    fn debug_information_is_found_by_its_path() {
        let entry =
            |target: &str, file| Entry { uid: 0, gid: 0, mode: 0o100_644, target: target.into(), file };
        let regular = || EntryFile::Regular(Digest::of(b"x"));
        let entries = [
            entry("lib/debug/.build-id/ab/cdef01.debug", regular()),
            entry("lib32/debug/.build-id/00/11.debug", regular()),
            entry("lib/debug/.build-id/ab/link.debug", EntryFile::Symlink("x".into())),
            entry("lib/debug/.build-id/AB/cdef.debug", regular()),
            entry("lib/debug/.build-id/abc/def.debug", regular()),
            entry("lib/debug/.build-id/ab/c/d.debug", regular()),
            entry("lib/debug/.build-id/ab/cde.debug", regular()),
            entry("share/debug/.build-id/ab/cd.debug", regular()),
            entry("lib/debug/.build-id/ab/cd", regular()),
        ];
        let found = debug_files(&meta("nano", "nano-dbginfo", 3), &entries);
        let ids: Vec<_> = found.iter().map(|file| file.build_id.as_str()).collect();
        assert_eq!(ids, ["0011", "abcdef01"]);
        assert_eq!(found[1].pool_path, "pool/v0/n/nano/nano-dbginfo-1-3-1-x86_64.stone");
    }

    #[test]
    fn a_build_id_is_an_even_number_of_lower_case_digits() {
        for text in ["ab", "0123456789abcdef", &"ab".repeat(64)] {
            assert_eq!(checked_build_id(text).as_deref(), Some(text));
        }
        for text in ["", "a", "abc", "AB", "../..", "ab/cd", "é0", &"ab".repeat(65)] {
            assert_eq!(checked_build_id(text), None, "{text}");
        }
    }
}
