//! Packages, manifests and their reports made by AerynOS tools: all decode, and what was decoded can be written so that it
//! decodes to the same.

#![expect(clippy::unwrap_used, reason = "what helps tests fails as tests do")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Cursor, Read};
use std::path::Path;

use package::{ManifestFile, PackageMeta};
use stone::{ContentSink, Digest, Discard, FileType, Limits, Packing, Stone, Writer};

/// Keeps the content in one piece; files come in the order in which they lie in it.
#[derive(Default)]
struct Content(Vec<u8>);

impl ContentSink for Content {
    fn begin(&mut self, _digest: Digest, _size_bytes: u64) -> io::Result<()> {
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn decode(bytes: &[u8]) -> (Stone, Vec<u8>) {
    let mut content = Content::default();
    let stone = stone::read(Cursor::new(bytes), &Limits::default(), &mut content).unwrap();
    (stone, content.0)
}

fn encode(stone: &Stone, content: &[u8], packing: Packing) -> Vec<u8> {
    let mut writer = Writer::with_packing(Cursor::new(Vec::new()), stone.file_type, packing).unwrap();
    writer.records_of(stone).unwrap();
    if !stone.index.is_empty() {
        writer.content(stone.content_bytes, content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// The manifests of the real recipes, by their paths: `.bin` and `.jsonc`.
fn manifests(data: &Path) -> BTreeMap<String, Vec<u8>> {
    let packed = fs_err::File::open(data.join("recipes-dev.tar.zst")).unwrap();
    let mut archive = tar::Archive::new(zstd::stream::read::Decoder::new(packed).unwrap());
    let mut manifests = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_str().unwrap().to_owned();
        let name = path.rsplit('/').next().unwrap();
        if name.starts_with("manifest.") {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            manifests.insert(path, bytes);
        }
    }
    manifests
}

#[test]
fn every_package_decodes_and_comes_back() {
    let Some(data) = testkit::data() else { return };
    let mut count = 0;
    for entry in fs_err::read_dir(data.join("stones")).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs_err::read(&path).unwrap();
        let (stone, content) = decode(&bytes);
        assert_eq!(stone.file_type, FileType::Binary, "{}", path.display());
        for packing in [Packing::None, Packing::FAST] {
            assert_eq!(decode(&encode(&stone, &content, packing)), (stone.clone(), content.clone()));
        }
        let meta = PackageMeta::from_records(&stone.metas[0]).unwrap();
        assert_eq!(meta.file_name(), path.file_name().unwrap().to_str().unwrap());
        assert_eq!(meta.to_records(), stone.metas[0], "{}: record for record", path.display());
        let listed = stone::read_records(Cursor::new(&bytes), &Limits::default()).unwrap();
        assert_eq!(listed, stone);
        count += 1;
    }
    assert!(count >= 5, "only {count} packages below {}", data.display());
}

/// The worked examples of the format's description.
#[test]
fn what_is_known_of_two_packages() {
    let Some(data) = testkit::data() else { return };
    let read = |name: &str| fs_err::read(data.join("stones").join(name)).unwrap();

    let pineapple = read("pineapple-1-1-1-x86_64.stone");
    let (stone, content) = decode(&pineapple);
    assert_eq!((pineapple.len(), content.len()), (426, 0));
    assert_eq!(
        (stone.metas.len(), stone.metas[0].len(), stone.layout.len(), stone.index.len()),
        (1, 10, 1, 1)
    );
    assert_eq!(stone.index[0].digest, Digest::EMPTY);
    for length in 0..pineapple.len() {
        let cut = stone::read(Cursor::new(&pineapple[..length]), &Limits::default(), &mut Discard);
        assert!(cut.is_err(), "cut to {length} bytes");
    }

    let (stone, _content) = decode(&read("nano-8.4-34-1-x86_64.stone"));
    let targets: BTreeSet<&str> = stone.layout.iter().map(|entry| entry.target.as_str()).collect();
    assert_eq!(stone.layout.len(), 91);
    assert!(targets.contains("bin/nano") && targets.contains("bin/rnano"));
    let meta = PackageMeta::from_records(&stone.metas[0]).unwrap();
    let printed = |dependencies: &BTreeSet<package::Dependency>| -> Vec<String> {
        dependencies.iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        printed(&meta.depends),
        [
            "interpreter(/usr/lib/ld-linux-x86-64.so.2(x86_64))",
            "soname(libc.so.6(x86_64))",
            "soname(libmagic.so.1(x86_64))",
            "soname(libncursesw.so.6(x86_64))",
        ]
    );
    assert_eq!(printed(&meta.provides), ["binary(nano)", "binary(rnano)"]);
}

/// Small files come out byte for byte as the AerynOS writer made them: same records, same order, same compression.
#[test]
fn a_small_package_is_written_byte_for_byte() {
    let Some(data) = testkit::data() else { return };
    for name in ["pineapple-1-1-1-x86_64.stone", "italian-pizza-1-1-1-x86_64.stone"] {
        let bytes = fs_err::read(data.join("stones").join(name)).unwrap();
        let (stone, content) = decode(&bytes);
        let meta = PackageMeta::from_records(&stone.metas[0]).unwrap();
        let mut writer = Writer::new(Cursor::new(Vec::new()), FileType::Binary).unwrap();
        writer.meta(&meta.to_records()).unwrap();
        writer.layout(&stone.layout).unwrap();
        writer.index(&stone.index).unwrap();
        writer.content(stone.content_bytes, &content[..]).unwrap();
        assert!(writer.finish().unwrap().into_inner() == bytes, "{name}");
    }
}

#[test]
fn every_manifest_decodes_and_comes_back() {
    let Some(data) = testkit::data() else { return };
    let (mut files, mut packages) = (0, 0);
    for (path, bytes) in manifests(&data) {
        if !path.ends_with(".bin") {
            continue;
        }
        let (stone, content) = decode(&bytes);
        assert_eq!(decode(&encode(&stone, &content, Packing::FAST)), (stone.clone(), content), "{path}");
        let manifest = ManifestFile::read(Cursor::new(&bytes), &Limits::default()).unwrap();
        for (package, records) in manifest.packages().iter().zip(&stone.metas) {
            assert_eq!(&package.to_records(), records, "{path}: record for record");
            assert_eq!(package.build_release, 0, "{path}");
        }
        let again = ManifestFile::of_build(manifest.packages().to_vec()).unwrap();
        assert_eq!(again, manifest, "{path}: ordered by name, without debug packages");
        // Same records in the same order, and the zstd of the lock file packs them the same way.
        let written = manifest.write(Cursor::new(Vec::new())).unwrap().into_inner();
        assert!(written == bytes, "{path}: byte for byte");
        files += 1;
        packages += manifest.packages().len();
    }
    assert!(files > 1300 && packages > 3300, "only {packages} packages in {files} manifests");
}

/// The report for people, made again from the container and from the files that the report itself lists.
#[test]
fn every_report_is_written_byte_for_byte() {
    let Some(data) = testkit::data() else { return };
    let manifests = manifests(&data);
    let (mut reports, mut different) = (0, Vec::new());
    for (path, report) in manifests.iter().filter(|(path, _)| path.ends_with(".jsonc")) {
        let container = &manifests[&path.replace(".jsonc", ".bin")];
        let manifest = ManifestFile::read(Cursor::new(container), &Limits::default()).unwrap();
        let report = std::str::from_utf8(report).unwrap();
        let (_comment, json) = report.split_once('\n').unwrap();
        let json: serde_json::Value = serde_json::from_str(json).unwrap();
        let files = json["packages"].as_object().unwrap().iter().map(|(name, package)| {
            let files = package.get("files").and_then(serde_json::Value::as_array).into_iter().flatten();
            (name.clone(), files.map(|file| file.as_str().unwrap().to_owned()).collect())
        });
        if manifest.jsonc(&manifest.source().unwrap(), &files.collect()) != report {
            different.push(path.rsplit('/').nth(1).unwrap().to_owned());
        }
        reports += 1;
    }
    assert!(reports > 1300, "only {reports} reports");
    // Its recipe wrote `name(doxygen)` where all others write package names alone; the container does not tell the two apart.
    assert_eq!(different, ["iniparser"]);
}
