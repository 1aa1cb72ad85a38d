//! The files that a build installed, in a fixed order.
//!
//! Names are compared byte by byte and a directory comes after what is in it, so the same tree gives the same list on
//! every machine. Links are never followed: what a build put below its install root cannot point the walk elsewhere.
//! A name with a line break would be two in every list, and a device or pipe of a package is none of its business: both are
//! refused. A directory is listed only when it is empty or its mode is not 0755: parents come to be with their children.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use fault::{Fault, Kind};

/// Files of one install root; the largest real package has about 60,000.
const FILES_MAX: usize = 2_000_000;
/// Depth of directories, so that a tree made to be deep cannot exhaust the stack.
const DEPTH_MAX: usize = 256;
/// The mode that parents get by themselves.
const PLAIN_DIRECTORY_MODE: u32 = 0o040_755;

/// One file below the install root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstalledFile {
    /// Where it goes: `/usr/bin/nano`.
    pub path: String,
    /// Where it lies now.
    pub source: PathBuf,
    /// Complete `st_mode`, type bits included.
    pub mode: u32,
    /// Owner as the machine sees it.
    pub uid: u32,
    /// Group as the machine sees it.
    pub gid: u32,
    /// What it is.
    pub kind: InstalledKind,
}

/// What an installed file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstalledKind {
    /// Bytes.
    Regular {
        /// Length in bytes.
        size_bytes: u64,
        /// Device and inode: two names of one file have the same.
        inode: (u64, u64),
    },
    /// A symbolic link with its text.
    Symlink(String),
    /// A directory that is empty or has a mode of its own.
    Directory,
}

/// Why an install root cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The disk does not give what is asked.
    #[error("cannot list installed files")]
    Read(#[source] std::io::Error),
    /// A name that cannot be stored in a package.
    #[error("cannot package {path:?}: the name is not UTF-8")]
    NotUtf8 {
        /// The name, as far as it can be shown.
        path: PathBuf,
    },
    /// A link whose text cannot be stored in a package.
    #[error("cannot package {path}: the text of the link is not UTF-8")]
    LinkNotUtf8 {
        /// The link.
        path: String,
    },
    /// A name that nobody can read back from a list.
    #[error("cannot package {path:?}: the name has a line break or another control character")]
    ControlCharacter {
        /// The name.
        path: String,
    },
    /// Neither file, link nor folder.
    #[error("cannot package {path}: it is a {what}, and a package holds files, links and folders")]
    Special {
        /// Where it would go.
        path: String,
        /// "named pipe" …
        what: &'static str,
    },
    /// More than any package has.
    #[error(
        "cannot package the install root: more than {FILES_MAX} files or {DEPTH_MAX} directories deep at {path}"
    )]
    TooMany {
        /// Where the walk stopped.
        path: String,
    },
}

impl Fault for CollectError {
    fn kind(&self) -> Kind {
        match self {
            CollectError::Read(_) => Kind::Unavailable,
            _ => Kind::Input,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            CollectError::Read(_) => Vec::new(),
            CollectError::NotUtf8 { .. }
            | CollectError::LinkNotUtf8 { .. }
            | CollectError::ControlCharacter { .. } => {
                vec!["rename or remove the file in the install phase".into()]
            }
            CollectError::Special { .. } => vec![
                "remove it in the install phase; what must be there when the system runs is made by systemd-tmpfiles".into(),
            ],
            CollectError::TooMany { .. } => vec!["look for a runaway copy in the install phase".into()],
        }
    }
}

/// Lists what lies below `install_root`, sorted by name, children before their directory.
///
/// # Errors
/// When the disk fails, or when a name cannot be stored in a package.
pub fn collect(install_root: &Path) -> Result<Vec<InstalledFile>, CollectError> {
    let mut files = Vec::new();
    walk(install_root, "", 0, &mut files)?;
    Ok(files)
}

fn walk(
    directory: &Path,
    prefix: &str,
    depth: usize,
    files: &mut Vec<InstalledFile>,
) -> Result<(), CollectError> {
    let mut names = Vec::new();
    for entry in fs_err::read_dir(directory).map_err(CollectError::Read)? {
        names.push(entry.map_err(CollectError::Read)?.file_name());
    }
    names.sort_by(|left, right| left.as_encoded_bytes().cmp(right.as_encoded_bytes()));
    for name in names {
        let source = directory.join(&name);
        let Some(text) = name.to_str() else { return Err(CollectError::NotUtf8 { path: source }) };
        let path = format!("{prefix}/{text}");
        if text.chars().any(char::is_control) {
            return Err(CollectError::ControlCharacter { path });
        }
        if files.len() >= FILES_MAX || depth >= DEPTH_MAX {
            return Err(CollectError::TooMany { path });
        }
        let metadata = fs_err::symlink_metadata(&source).map_err(CollectError::Read)?;
        if metadata.is_dir() {
            let before = files.len();
            walk(&source, &path, depth + 1, files)?;
            if files.len() > before && metadata.mode() == PLAIN_DIRECTORY_MODE {
                continue;
            }
        }
        let kind = kind_of(&source, &path, &metadata)?;
        files.push(InstalledFile {
            path,
            source,
            mode: metadata.mode(),
            uid: metadata.uid(),
            gid: metadata.gid(),
            kind,
        });
    }
    Ok(())
}

fn kind_of(source: &Path, path: &str, metadata: &std::fs::Metadata) -> Result<InstalledKind, CollectError> {
    let file_type = metadata.file_type();
    let special = [
        (file_type.is_char_device(), "character device"),
        (file_type.is_block_device(), "block device"),
        (file_type.is_fifo(), "named pipe"),
        (file_type.is_socket(), "socket"),
    ];
    if let Some((_, what)) = special.into_iter().find(|(is_it, _)| *is_it) {
        return Err(CollectError::Special { path: path.into(), what });
    }
    Ok(if file_type.is_symlink() {
        let link = fs_err::read_link(source).map_err(CollectError::Read)?;
        let text = link.to_str().ok_or_else(|| CollectError::LinkNotUtf8 { path: path.into() })?;
        InstalledKind::Symlink(text.to_owned())
    } else if file_type.is_dir() {
        InstalledKind::Directory
    } else {
        InstalledKind::Regular { size_bytes: metadata.len(), inode: (metadata.dev(), metadata.ino()) }
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn paths(root: &Path) -> Vec<String> {
        collect(root).unwrap().into_iter().map(|file| file.path).collect()
    }

    #[test]
    fn sorted_by_bytes_and_without_plain_parents() {
        let root = tempfile::tempdir().unwrap();
        fs_err::create_dir_all(root.path().join("usr/bin")).unwrap();
        fs_err::create_dir_all(root.path().join("usr/share/empty")).unwrap();
        for name in ["usr/bin/b", "usr/bin/Z", "usr/bin/a"] {
            fs_err::write(root.path().join(name), name).unwrap();
        }
        symlink("/etc/passwd", root.path().join("usr/bin/link")).unwrap();
        assert_eq!(
            paths(root.path()),
            ["/usr/bin/Z", "/usr/bin/a", "/usr/bin/b", "/usr/bin/link", "/usr/share/empty"]
        );
    }

    #[test]
    fn a_directory_with_a_mode_of_its_own_is_listed_after_its_children() {
        let root = tempfile::tempdir().unwrap();
        let private = root.path().join("usr/private");
        fs_err::create_dir_all(&private).unwrap();
        fs_err::write(private.join("x"), "x").unwrap();
        fs_err::set_permissions(&private, std::fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(paths(root.path()), ["/usr/private/x", "/usr/private"]);
    }

    #[test]
    fn a_link_to_a_directory_is_not_entered() {
        let root = tempfile::tempdir().unwrap();
        symlink("/usr", root.path().join("usr")).unwrap();
        let files = collect(root.path()).unwrap();
        assert_eq!(files.len(), 1);
        assert_eq!(files[0].kind, InstalledKind::Symlink("/usr".into()));
    }

    #[test]
    fn names_of_two_lines_and_special_files_are_refused_by_name() {
        let root = tempfile::tempdir().unwrap();
        let check = |name: &str, expect: &str| {
            let error = collect(root.path()).unwrap_err();
            assert!(error.to_string().contains(expect), "{error}");
            fs_err::remove_file(root.path().join(name)).unwrap();
        };
        fs_err::write(root.path().join("two\nlines"), "").unwrap();
        check("two\nlines", "\"/two\\nlines\": the name has a line break");
        fs_err::write(root.path().join("esc\u{1b}[31m"), "").unwrap();
        check("esc\u{1b}[31m", "control character");
        let mode = rustix::fs::Mode::from_raw_mode(0o644);
        rustix::fs::mknodat(rustix::fs::CWD, root.path().join("pipe"), rustix::fs::FileType::Fifo, mode, 0)
            .unwrap();
        check("pipe", "/pipe: it is a named pipe");
        let _socket = std::os::unix::net::UnixListener::bind(root.path().join("s")).unwrap();
        check("s", "/s: it is a socket");
        assert!(collect(root.path()).unwrap().is_empty());
    }

    #[test]
    fn a_name_that_is_not_text_is_refused() {
        let root = tempfile::tempdir().unwrap();
        fs_err::write(root.path().join(OsStr::from_bytes(b"bad\xff")), "").unwrap();
        let error = collect(root.path()).unwrap_err();
        assert!(error.to_string().contains("not UTF-8"), "{error}");
    }
}
