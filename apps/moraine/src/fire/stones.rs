//! Packages that say of themselves which landing they belong to.

use std::io::Cursor;

use package::PackageMeta;
use stone::{Entry, EntryFile, FileType, Hasher, Packing, Slice, Writer};

use super::error::FireError;

/// Packages of one source; a landing brings all of them or none.
pub(super) const PARTS: u64 = 3;

/// Bytes of what is in a package, beside its name and release: enough for several ranges, little enough for many.
const FILLING_BYTES: usize = 6_000;

/// The packages of one release of a source.
pub(super) fn packages(source: &str, release: u64) -> Result<Vec<(PackageMeta, Vec<u8>)>, FireError> {
    (0..PARTS)
        .map(|part| {
            let meta = meta(source, &format!("{source}-{part}"), release);
            let bytes = bytes(&meta)?;
            Ok((meta, bytes))
        })
        .collect()
}

/// A package that is the only one of its source.
pub(super) fn alone(name: &str, release: u64) -> Result<(PackageMeta, Vec<u8>), FireError> {
    let meta = meta(name, name, release);
    let bytes = bytes(&meta)?;
    Ok((meta, bytes))
}

/// What is in the file of a package, of which Moss makes `usr/share/fire/NAME`.
pub(super) fn text(name: &str, release: u64) -> String {
    format!("{name} {release}\n")
}

fn meta(source: &str, name: &str, release: u64) -> PackageMeta {
    PackageMeta {
        name: name.to_owned(),
        version: "1".to_owned(),
        release,
        build_release: 1,
        architecture: "x86_64".to_owned(),
        summary: "A package under fire".to_owned(),
        description: "A package under fire".to_owned(),
        source_id: source.to_owned(),
        homepage: "https://example.org".to_owned(),
        licenses: vec!["MPL-2.0".to_owned()],
        depends: Default::default(),
        provides: Default::default(),
        conflicts: Default::default(),
        build_depends: Default::default(),
        uri: None,
        hash: None,
        download_size_bytes: None,
    }
}

fn bytes(meta: &PackageMeta) -> Result<Vec<u8>, stone::WriteError> {
    let mut content = text(&meta.name, meta.release).into_bytes();
    let first = content.len();
    // Bytes that hardly compress, the same at each time.
    let seed = content.iter().fold(7_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(*byte)));
    let mut state = seed | 1;
    content.extend((0..FILLING_BYTES).map(|_| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    }));
    let mut slices = Vec::new();
    let mut entries = Vec::new();
    let mut start = 0;
    for (target, part) in [
        (format!("share/fire/{}", meta.name), &content[..first]),
        (format!("share/fire/{}.filling", meta.name), &content[first..]),
    ] {
        let mut hasher = Hasher::new();
        hasher.update(part);
        let digest = hasher.digest();
        let end = start + u64::try_from(part.len()).unwrap_or(u64::MAX);
        slices.push(Slice { start, end, digest });
        entries.push(Entry { uid: 0, gid: 0, mode: 0o100_644, target, file: EntryFile::Regular(digest) });
        start = end;
    }
    let mut writer = Writer::with_packing(Cursor::new(Vec::new()), FileType::Binary, Packing::FAST)?;
    writer.meta(&meta.to_records())?;
    writer.layout(&entries)?;
    writer.index(&slices)?;
    writer.content(start, content.as_slice())?;
    Ok(writer.finish()?.into_inner())
}
