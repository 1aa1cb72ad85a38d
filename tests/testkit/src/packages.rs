//! Packages made on the spot, by the writer that Boulder uses.

use std::io::Cursor;

use package::{Dependency, PackageMeta};
use stone::{Digest, Entry, EntryFile, FileType, Packing, Slice, Writer};

/// A file of a package: its path below `/usr`, its mode, what is in it.
pub type File<'a> = (&'a str, u32, &'a [u8]);

/// Metadata of package `name` of source `source`, version 1, build 1, for `x86_64`. It needs and offers nothing.
#[must_use]
pub fn meta(source: &str, name: &str, release: u64) -> PackageMeta {
    PackageMeta {
        name: name.into(),
        version: "1".into(),
        release,
        build_release: 1,
        architecture: "x86_64".into(),
        summary: "A package".into(),
        description: "A package for tests".into(),
        source_id: source.into(),
        homepage: "https://example.org".into(),
        licenses: vec!["MPL-2.0".into()],
        depends: [].into(),
        provides: [].into(),
        conflicts: [].into(),
        build_depends: [].into(),
        uri: None,
        hash: None,
        download_size_bytes: None,
    }
}

/// The same of a source of this name, with needs and offers.
///
/// # Panics
/// When one of the texts is none of a dependency.
#[must_use]
#[expect(clippy::expect_used, reason = "a test's own way to fail")]
pub fn meta_with(name: &str, release: u64, depends: &[&str], provides: &[&str]) -> PackageMeta {
    let all =
        |texts: &[&str]| texts.iter().map(|text| text.parse::<Dependency>().expect("a dependency")).collect();
    PackageMeta { depends: all(depends), provides: all(provides), ..meta(name, name, release) }
}

/// A package with one file in it, `share/NAME/file`.
#[must_use]
pub fn stone(meta: &PackageMeta, content: &[u8]) -> Vec<u8> {
    stone_with(meta, &[(&format!("share/{}/file", meta.name), 0o100_644, content)])
}

/// A package with these files.
///
/// # Panics
/// When they do not fit into a package.
#[must_use]
#[expect(clippy::expect_used, reason = "a test's own way to fail")]
pub fn stone_with(meta: &PackageMeta, files: &[File<'_>]) -> Vec<u8> {
    let memory = Cursor::new(Vec::new());
    let mut writer = Writer::with_packing(memory, FileType::Binary, Packing::FAST).expect("a package begins");
    writer.meta(&meta.to_records()).expect("metadata");
    let (mut entries, mut slices, mut all) = (Vec::new(), Vec::new(), Vec::new());
    let length = |bytes: &[u8]| u64::try_from(bytes.len()).expect("a length");
    for (target, mode, content) in files {
        let digest = Digest::of(content);
        let file = EntryFile::Regular(digest);
        entries.push(Entry { uid: 0, gid: 0, mode: *mode, target: (*target).to_owned(), file });
        let start = length(&all);
        all.extend_from_slice(content);
        slices.push(Slice { start, end: length(&all), digest });
    }
    writer.layout(&entries).expect("a layout");
    writer.index(&slices).expect("an index");
    writer.content(length(&all), all.as_slice()).expect("content");
    writer.finish().expect("a package ends").into_inner()
}
