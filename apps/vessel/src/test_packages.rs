//! Packages made on the spot, by the writer that Boulder uses. For the tests here and those in `tests/`.

use std::io::Cursor;

use package::{Dependency, PackageMeta};
use stone::{Digest, Entry, EntryFile, FileType, Packing, Slice, Writer};

/// Metadata of package `name` of source `source`, version 1, build 1.
pub(crate) fn meta(source: &str, name: &str, release: u64) -> PackageMeta {
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

/// The same, with needs and offers.
#[allow(dead_code, reason = "not every test crate that includes this file has packages that need something")]
pub(crate) fn meta_with(name: &str, release: u64, depends: &[&str], provides: &[&str]) -> PackageMeta {
    let all = |texts: &[&str]| texts.iter().map(|text| text.parse::<Dependency>().unwrap()).collect();
    PackageMeta { depends: all(depends), provides: all(provides), ..meta(name, name, release) }
}

/// A package with one file in it.
pub(crate) fn stone(meta: &PackageMeta, content: &[u8]) -> Vec<u8> {
    let digest = Digest::of(content);
    let size_bytes = u64::try_from(content.len()).unwrap();
    let mut writer = Writer::with_packing(Cursor::new(Vec::new()), FileType::Binary, Packing::FAST).unwrap();
    writer.meta(&meta.to_records()).unwrap();
    let target = format!("share/{}/file", meta.name);
    let file = EntryFile::Regular(digest);
    writer.layout(&[Entry { uid: 0, gid: 0, mode: 0o100_644, target, file }]).unwrap();
    writer.index(&[Slice { start: 0, end: size_bytes, digest }]).unwrap();
    writer.content(size_bytes, content).unwrap();
    writer.finish().unwrap().into_inner()
}
