//! What a build yielded, told apart from when it was built.
//!
//! Members of a cycle are built again until what they yield stays the same. Two builds of one source are never the same
//! bytes, since each carries its own build release; what matters to whoever builds against them is in here: names,
//! dependencies, providers, conflicts and every file. Left out are version, release and build release, texts for
//! people, and debug information, which nobody builds against.

use std::fmt::Write;

use package::PackageMeta;
use stone::{Entry, EntryFile};

use store::Sha256;

/// Ending of packages with debug information.
const DEBUG_SUFFIX: &str = "-dbginfo";

/// One package of a build.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Content {
    pub(crate) meta: PackageMeta,
    pub(crate) layout: Vec<Entry>,
}

/// SHA-256 over what the packages are to others. The order of packages and of files does not matter.
pub(crate) fn output_digest(packages: &[Content]) -> Sha256 {
    let mut texts: Vec<String> =
        packages.iter().filter(|package| !package.meta.name.ends_with(DEBUG_SUFFIX)).map(text_of).collect();
    texts.sort_unstable();
    Sha256::of(texts.concat().as_bytes())
}

/// Quoted, so that no name can look like two.
fn text_of(package: &Content) -> String {
    let meta = &package.meta;
    let mut text = format!("package {:?} {:?}\n", meta.name, meta.architecture);
    let relations =
        [("depends", &meta.depends), ("provides", &meta.provides), ("conflicts", &meta.conflicts)];
    for (word, relation) in relations {
        for dependency in relation {
            // Writing into a String cannot fail.
            writeln!(text, "{word} {:?}", dependency.to_string()).ok();
        }
    }
    let mut files: Vec<String> = package.layout.iter().map(file_line).collect();
    files.sort_unstable();
    text.push_str(&files.concat());
    text
}

fn file_line(entry: &Entry) -> String {
    let Entry { uid, gid, mode, target, file } = entry;
    let what = match file {
        EntryFile::Regular(digest) => format!("{digest}"),
        EntryFile::Symlink(text) => format!("{text:?}"),
        _ => String::new(),
    };
    format!("{} {target:?} {mode:o} {uid} {gid} {what}\n", file.label())
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::packages::meta_with;

    fn package(name: &str, release: u64, provides: &[&str], file: &str) -> Content {
        let entry =
            |target: &str, file| Entry { uid: 0, gid: 0, mode: 0o100_644, target: target.into(), file };
        let layout =
            vec![entry("lib/a", EntryFile::Symlink(file.into())), entry("lib/b", EntryFile::Directory)];
        Content { meta: meta_with(name, release, &["glibc"], provides), layout }
    }

    #[test]
    fn another_release_of_the_same_files_is_the_same_output() {
        let first = package("zlib", 1, &["soname(libz.so.1(x86_64))"], "x");
        let mut second = package("zlib", 2, &["soname(libz.so.1(x86_64))"], "x");
        second.meta.build_release = 7;
        second.meta.version = "2.0".into();
        second.layout.reverse();
        let debug = package("zlib-dbginfo", 1, &[], "y");
        assert_eq!(output_digest(std::slice::from_ref(&first)), output_digest(&[second, debug.clone()]));
        assert_ne!(output_digest(&[first]), output_digest(&[debug]));
    }

    #[test]
    fn what_others_build_against_makes_another_output() {
        let plain = || package("zlib", 1, &["soname(libz.so.1(x86_64))"], "x");
        let mode = |mut content: Content| {
            content.layout[0].mode = 0o100_755;
            content
        };
        let others = [
            package("zlib-ng", 1, &["soname(libz.so.1(x86_64))"], "x"),
            package("zlib", 1, &["soname(libz.so.2(x86_64))"], "x"),
            package("zlib", 1, &["soname(libz.so.1(x86_64))"], "z"),
            mode(plain()),
        ];
        for other in others {
            assert_ne!(output_digest(&[plain()]), output_digest(std::slice::from_ref(&other)), "{other:?}");
        }
    }

    #[test]
    fn the_order_of_packages_does_not_matter() {
        let (left, right) = (package("a", 1, &[], "x"), package("b", 1, &[], "y"));
        assert_eq!(output_digest(&[left.clone(), right.clone()]), output_digest(&[right, left]));
    }
}
