//! `moss inspect FILE`: verifies a `.stone` file, all of it, and prints what is in it.
//!
//! What is printed is what the file says: a package's own name, which it provides without saying so, is not among its
//! provides, and files of an index or a manifest have no paths. The content is decompressed and compared with its digests,
//! and kept nowhere.

use std::fmt::Write as _;
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};

use fault::{Fault, Kind};
use package::{Dependency, MetaError, PackageMeta};
use serde::Serialize;
use stone::{Discard, Entry, EntryFile, FORMAT_VERSION, Limits, ReadError, Stone};

/// Why a file could not be inspected.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The file cannot be opened.
    #[error("cannot inspect {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The container is at fault.
    #[error("cannot inspect {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        #[source]
        source: ReadError,
    },
    /// The description of a package is at fault.
    #[error("cannot inspect {}: package number {number}", path.display())]
    Meta {
        /// The file.
        path: PathBuf,
        /// Place among the packages of the file; the first is 0.
        number: usize,
        /// Why.
        #[source]
        source: MetaError,
    },
    /// The result cannot be printed.
    #[error("cannot print what is in {}", path.display())]
    Print {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Fault for InspectError {
    fn kind(&self) -> Kind {
        match self {
            InspectError::Open { source, .. } if source.kind() == io::ErrorKind::NotFound => Kind::NotFound,
            InspectError::Open { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Kind::Denied
            }
            InspectError::Open { .. } | InspectError::Print { .. } => Kind::Unavailable,
            InspectError::Read { source, .. } => source.kind(),
            InspectError::Meta { source, .. } => source.kind(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            InspectError::Open { .. } => {
                vec![
                    "name a readable .stone package, stone.index or manifest.*.bin: `moss inspect FILE`"
                        .to_owned(),
                ]
            }
            InspectError::Read { source, .. } => source.hints(),
            InspectError::Meta { source, .. } => source.hints(),
            InspectError::Print { .. } => Vec::new(),
        }
    }
}

/// Verifies the file at `path` and prints it to `out`: for people, or as one JSON object on one line.
///
/// # Errors
/// For a file that cannot be read or is damaged anywhere, and where `out` fails. Then nothing was printed, unless `out` is
/// at fault.
pub fn run(path: &Path, json: bool, out: &mut dyn Write) -> Result<(), InspectError> {
    let named = || path.to_path_buf();
    let file = fs_err::File::open(path).map_err(|source| InspectError::Open { path: named(), source })?;
    let stone = stone::read(BufReader::new(file), &Limits::default(), &mut Discard)
        .map_err(|source| InspectError::Read { path: named(), source })?;
    let mut packages = Vec::with_capacity(stone.metas.len());
    for (number, records) in stone.metas.iter().enumerate() {
        let package = PackageMeta::from_records(records).map_err(|source| InspectError::Meta {
            path: named(),
            number,
            source,
        })?;
        packages.push(package);
    }
    let report = Report {
        file_type: stone.file_type.label(),
        version: FORMAT_VERSION,
        files: files(&stone),
        packages,
    };
    let printed = if json {
        serde_json::to_writer(&mut *out, &report).map_err(io::Error::from).and_then(|()| out.write_all(b"\n"))
    } else {
        out.write_all(report.for_people().as_bytes())
    };
    printed.and_then(|()| out.flush()).map_err(|source| InspectError::Print { path: named(), source })
}

/// The object that `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(rename = "type")]
    file_type: &'static str,
    version: u32,
    packages: Vec<PackageMeta>,
    files: Vec<FileReport>,
}

/// One entry of the layout.
#[derive(Debug, Serialize)]
struct FileReport {
    path: String,
    kind: &'static str,
    /// Complete `st_mode`, with the bits of the file type.
    mode: u32,
    uid: u32,
    gid: u32,
    /// XXH3-128 of a regular file.
    digest: Option<String>,
    /// Bytes of a regular file.
    size: Option<u64>,
    /// Text of a symbolic link.
    target: Option<String>,
}

fn files(stone: &Stone) -> Vec<FileReport> {
    let sizes = stone.sizes();
    let report = |entry: &Entry| {
        let digest = entry.file.digest();
        FileReport {
            path: format!("/usr/{}", entry.target),
            kind: entry.file.label(),
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            digest: digest.map(|digest| digest.to_string()),
            size: digest.and_then(|digest| sizes.get(&digest).copied()),
            target: match &entry.file {
                EntryFile::Symlink(text) => Some(text.clone()),
                _ => None,
            },
        }
    };
    stone.layout.iter().map(report).collect()
}

impl Report {
    fn for_people(&self) -> String {
        let mut text = format!("{}, format {}\n", self.file_type, self.version);
        for package in &self.packages {
            text.push('\n');
            describe(package, &mut text);
        }
        if !self.files.is_empty() {
            line(&mut text, format_args!("\nFiles ({})", self.files.len()));
        }
        for file in &self.files {
            let FileReport { path, mode, uid, gid, .. } = file;
            let path = visible(path);
            let tail = match (&file.target, file.size) {
                (Some(target), _) => format!(" -> {}", visible(target)),
                (None, Some(size)) => format!(" ({size} bytes)"),
                (None, None) => format!(" ({})", file.kind),
            };
            line(&mut text, format_args!("  {mode:06o} {uid}:{gid} {path}{tail}"));
        }
        text
    }
}

fn describe(package: &PackageMeta, text: &mut String) {
    let PackageMeta { name, version, release, build_release, architecture, .. } = package;
    line(text, format_args!("{}", visible(name)));
    for (label, value) in [
        ("Version", format!("{version}-{release}-{build_release}")),
        ("Architecture", architecture.clone()),
        ("Recipe", package.source_id.clone()),
        ("Summary", package.summary.clone()),
        ("Description", package.description.clone()),
        ("Homepage", package.homepage.clone()),
        ("Licences", package.licenses.join(", ")),
        ("URI", package.uri.clone().unwrap_or_default()),
        ("SHA-256", package.hash.clone().unwrap_or_default()),
        ("Download", package.download_size_bytes.map(|size| format!("{size} bytes")).unwrap_or_default()),
    ] {
        if !value.is_empty() {
            line(text, format_args!("  {label:<13} {}", visible(value.trim_end())));
        }
    }
    for (label, dependencies) in [
        ("Depends", &package.depends),
        ("Provides", &package.provides),
        ("Conflicts", &package.conflicts),
        ("Build-depends", &package.build_depends),
    ] {
        let mut label = label;
        for dependency in dependencies {
            line(text, format_args!("  {label:<13} {}", visible(&Dependency::short(dependency))));
            label = "";
        }
    }
}

/// Text of a stranger as a terminal may see it: control characters are shown and not obeyed, lines are indented.
fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => out.push_str("\n                "),
            _ if character.is_control() => out.extend(character.escape_default()),
            _ => out.push(character),
        }
    }
    out
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string has no way to fail.
    let _written = text.write_fmt(arguments);
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use stone::{Digest, FileType, Packing, Slice, Writer};

    use super::*;

    fn package() -> PackageMeta {
        PackageMeta {
            name: "hello".into(),
            version: "1.10".into(),
            release: 7,
            build_release: 2,
            architecture: "x86_64".into(),
            summary: "Says \u{1b}[31mhello".into(),
            description: "One\nTwo\n".into(),
            source_id: "hello".into(),
            homepage: "https://example.org".into(),
            licenses: vec!["MIT".into()],
            depends: ["soname(libc.so.6(x86_64))".parse().unwrap(), "bash".parse().unwrap()].into(),
            provides: ["binary(hello)".parse().unwrap()].into(),
            conflicts: [].into(),
            build_depends: [].into(),
            uri: None,
            hash: None,
            download_size_bytes: None,
        }
    }

    fn stone() -> Vec<u8> {
        let digest = Digest::of(b"hello");
        let entry = |target: &str, mode, file| Entry { uid: 0, gid: 5, mode, target: target.into(), file };
        let mut writer =
            Writer::with_packing(Cursor::new(Vec::new()), FileType::Binary, Packing::FAST).unwrap();
        writer.meta(&package().to_records()).unwrap();
        writer
            .layout(&[
                entry("bin/hello", 0o100_755, EntryFile::Regular(digest)),
                entry("bin/hi", 0o120_777, EntryFile::Symlink("hello".into())),
                entry("share/empty", 0o040_700, EntryFile::Directory),
            ])
            .unwrap();
        writer.index(&[Slice { start: 0, end: 5, digest }]).unwrap();
        writer.content(5, &b"hello"[..]).unwrap();
        writer.finish().unwrap().into_inner()
    }

    fn inspect(bytes: &[u8], json: bool) -> Result<String, InspectError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hello.stone");
        fs_err::write(&path, bytes).unwrap();
        let mut out = Vec::new();
        run(&path, json, &mut out).map(|()| String::from_utf8(out).unwrap())
    }

    #[test]
    fn as_json() {
        let text = inspect(&stone(), true).unwrap();
        assert_eq!(text.lines().count(), 1);
        let found: serde_json::Value = serde_json::from_str(&text).unwrap();
        let expect = serde_json::json!({
            "type": "binary",
            "version": 1,
            "packages": [{
                "name": "hello", "version": "1.10", "release": 7, "build_release": 2,
                "architecture": "x86_64", "summary": "Says \u{1b}[31mhello", "description": "One\nTwo\n",
                "source_id": "hello", "homepage": "https://example.org", "licenses": ["MIT"],
                "depends": ["name(bash)", "soname(libc.so.6(x86_64))"], "provides": ["binary(hello)"],
                "conflicts": [], "build_depends": [], "uri": null, "hash": null, "download_size": null,
            }],
            "files": [
                {"path": "/usr/bin/hello", "kind": "regular", "mode": 0o100_755, "uid": 0, "gid": 5,
                 "digest": Digest::of(b"hello").to_string(), "size": 5, "target": null},
                {"path": "/usr/bin/hi", "kind": "symlink", "mode": 0o120_777, "uid": 0, "gid": 5,
                 "digest": null, "size": null, "target": "hello"},
                {"path": "/usr/share/empty", "kind": "directory", "mode": 0o040_700, "uid": 0, "gid": 5,
                 "digest": null, "size": null, "target": null},
            ],
        });
        assert_eq!(found, expect);
    }

    #[test]
    fn for_people() {
        let expect = "\
binary, format 1

hello
  Version       1.10-7-2
  Architecture  x86_64
  Recipe        hello
  Summary       Says \\u{1b}[31mhello
  Description   One
                Two
  Homepage      https://example.org
  Licences      MIT
  Depends       bash
                soname(libc.so.6(x86_64))
  Provides      binary(hello)

Files (3)
  100755 0:5 /usr/bin/hello (5 bytes)
  120777 0:5 /usr/bin/hi -> hello
  040700 0:5 /usr/share/empty (directory)
";
        assert_eq!(inspect(&stone(), false).unwrap(), expect);
    }

    #[test]
    fn damage_is_named_and_nothing_is_printed() {
        let mut damaged = stone();
        let last = damaged.len() - 1;
        damaged[last] ^= 1;
        let error = inspect(&damaged, true).unwrap_err();
        assert!(
            matches!(&error, InspectError::Read { source: ReadError::ChecksumMismatch { .. }, .. }),
            "{error:?}"
        );
        assert_eq!(error.kind(), Kind::Damaged);
        assert!(error.to_string().contains("hello.stone") && !error.hints().is_empty());
        let error = inspect(b"no stone at all", false).unwrap_err();
        assert_eq!(error.kind(), Kind::Input);
        let error = run(Path::new("/nonexistent/x.stone"), true, &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound);
    }
}
