//! Puts a merged tree onto the disk.
//!
//! A regular file is a hard link into the content store where the stored file already has the wanted permissions and
//! owner; otherwise it is a copy of its own (a reflink where the file system can), so nothing shared ever changes its mode.
//! Owners are set when running as root and otherwise left alone. Extended attributes are not in the format.
//!
//! The target directory belongs to the caller, who makes sure that nobody else changes it meanwhile. Nothing is synced here.

use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use fault::{Fault, Kind};
use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt;
use stone::Digest;
use system::tree::{Node, NodeKind, Tree};

use crate::reporter::{Phase, Reporter, Running};
use crate::store::Store;

/// Mode of `/usr` itself.
const USR_MODE: u32 = 0o755;

/// How many entries are made between two reports of progress; one report costs about as much as one entry.
const ENTRIES_PER_REPORT: u64 = 64;

/// Why a tree could not be put onto the disk.
#[derive(Debug, thiserror::Error)]
pub enum BlitError {
    /// A file or directory cannot be made.
    #[error("cannot make {}", path.display())]
    Make {
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The content of a file is not in the store.
    #[error("cannot make {}: its content {digest} is not in the store", path.display())]
    Absent {
        /// Where.
        path: PathBuf,
        /// The content.
        digest: Digest,
    },
}

impl Fault for BlitError {
    fn kind(&self) -> Kind {
        match self {
            BlitError::Make { .. } => Kind::Unavailable,
            BlitError::Absent { .. } => Kind::Damaged,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            BlitError::Make { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                vec!["the disk is full; nothing was changed: make room and do the same again".into()]
            }
            BlitError::Make { .. } => Vec::new(),
            BlitError::Absent { .. } => vec![
                "something removed it from .moss/assets; the next install fetches the package again".into(),
            ],
        }
    }
}

/// Makes `tree` in the directory `usr`, which must not exist or be empty.
///
/// # Errors
/// When something cannot be made. What was made so far stays, for the caller to remove.
pub(crate) fn blit(tree: &Tree, store: &Store, usr: &Path, reporter: &dyn Reporter) -> Result<(), BlitError> {
    let running = Running::begin(reporter, Phase::Blit, u64::try_from(tree.nodes.len()).unwrap_or(u64::MAX));
    let blitter = Blitter { store, owner: Owner::of_this_process() };
    fs::create_dir_all(usr).map_err(|source| BlitError::Make { path: usr.to_path_buf(), source })?;
    let mut done = 0;
    for (path, node) in &tree.nodes {
        let path = usr.join(path);
        blitter.make(&path, node)?;
        done += 1;
        if done == ENTRIES_PER_REPORT {
            running.advance(done);
            done = 0;
        }
    }
    running.advance(done);
    // Permissions of directories come last and deepest first: a directory may forbid to write what belongs in it.
    for (path, node) in tree.nodes.iter().rev() {
        if node.kind == NodeKind::Directory {
            let path = usr.join(path);
            set_mode(&path, node.mode).map_err(|source| BlitError::Make { path, source })?;
        }
    }
    set_mode(usr, USR_MODE).map_err(|source| BlitError::Make { path: usr.to_path_buf(), source })
}

#[derive(Debug, Clone, Copy)]
struct Owner {
    uid: u32,
    gid: u32,
    may_give_away: bool,
}

impl Owner {
    fn of_this_process() -> Self {
        let uid = rustix::process::geteuid();
        Self { uid: uid.as_raw(), gid: rustix::process::getegid().as_raw(), may_give_away: uid.is_root() }
    }
}

struct Blitter<'a> {
    store: &'a Store,
    owner: Owner,
}

impl Blitter<'_> {
    fn make(&self, path: &Path, node: &Node) -> Result<(), BlitError> {
        let made = match &node.kind {
            NodeKind::Directory => fs::create_dir(path).and_then(|()| self.give(path, node)),
            NodeKind::Symlink(target) => symlink(target, path).and_then(|()| self.give(path, node)),
            NodeKind::Regular(digest) if *digest == Digest::EMPTY => self.copy(None, path, node),
            NodeKind::Regular(digest) => {
                let stored = self.store.path(*digest);
                match self.link_or_copy(&stored, path, node) {
                    Err(error)
                        if error.kind() == io::ErrorKind::NotFound && !self.store.contains(*digest) =>
                    {
                        return Err(BlitError::Absent { path: path.to_path_buf(), digest: *digest });
                    }
                    other => other,
                }
            }
        };
        made.map_err(|source| BlitError::Make { path: path.to_path_buf(), source })
    }

    fn link_or_copy(&self, stored: &Path, path: &Path, node: &Node) -> io::Result<()> {
        let metadata = fs::symlink_metadata(stored)?;
        let same_mode = metadata.mode() & 0o7777 == node.mode;
        let same_owner =
            !self.owner.may_give_away || (metadata.uid() == node.uid && metadata.gid() == node.gid);
        if !same_mode || !same_owner {
            return self.copy(Some(stored), path, node);
        }
        match rustix::fs::linkat(rustix::fs::CWD, stored, rustix::fs::CWD, path, rustix::fs::AtFlags::empty())
        {
            Ok(()) => Ok(()),
            // Another file system, a file with as many links as it can have, or a kernel that forbids links to files of others.
            Err(rustix::io::Errno::XDEV | rustix::io::Errno::MLINK | rustix::io::Errno::PERM) => {
                self.copy(Some(stored), path, node)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn copy(&self, stored: Option<&Path>, path: &Path, node: &Node) -> io::Result<()> {
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut file = options.open(path)?;
        if let Some(stored) = stored {
            let mut source = fs::File::open(stored)?;
            if rustix::fs::ioctl_ficlone(&file, &source).is_err() {
                io::copy(&mut source, &mut file)?;
            }
        }
        // The owner first: giving a file away clears its set-user-id bit.
        self.give(path, node)?;
        file.set_permissions(std::fs::Permissions::from_mode(node.mode))
    }

    fn give(&self, path: &Path, node: &Node) -> io::Result<()> {
        if !self.owner.may_give_away || (node.uid == self.owner.uid && node.gid == self.owner.gid) {
            return Ok(());
        }
        std::os::unix::fs::lchown(path, Some(node.uid), Some(node.gid))
    }
}

pub(crate) fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use stone::ContentSink;

    use super::*;
    use crate::reporter::Silent;

    fn store_with(folder: &Path, contents: &[(&[u8], u32)]) -> Store {
        let store = Store::new(folder.join("store"));
        for (content, mode) in contents {
            let digest = Digest::of(content);
            let modes = HashMap::from([(digest, *mode)]);
            let mut sink = store.sink(&modes);
            sink.begin(digest, content.len().try_into().unwrap()).unwrap();
            sink.write(content).unwrap();
            sink.end().unwrap();
        }
        store
    }

    fn tree(nodes: &[(&str, NodeKind, u32, u32)]) -> Tree {
        let nodes = nodes
            .iter()
            .map(|(path, kind, mode, owner)| {
                ((*path).to_owned(), Node { kind: kind.clone(), mode: *mode, uid: *owner, gid: *owner })
            })
            .collect();
        Tree { nodes, skipped: Vec::new() }
    }

    #[test]
    fn links_where_it_can_and_copies_where_the_mode_differs() {
        let folder = tempfile::tempdir().unwrap();
        let store = store_with(folder.path(), &[(b"tool", 0o755)]);
        let regular = NodeKind::Regular(Digest::of(b"tool"));
        let own = rustix::process::geteuid().as_raw();
        let tree = tree(&[
            ("bin", NodeKind::Directory, 0o755, own),
            ("bin/same", regular.clone(), 0o755, own),
            ("bin/other", regular.clone(), 0o644, own),
            ("bin/special", regular, 0o4755, own),
            ("bin/empty", NodeKind::Regular(Digest::EMPTY), 0o600, own),
            ("bin/link", NodeKind::Symlink("same".into()), 0o777, own),
            ("locked", NodeKind::Directory, 0o500, own),
            ("locked/inside", NodeKind::Regular(Digest::EMPTY), 0o444, own),
        ]);
        let usr = folder.path().join("usr");
        blit(&tree, &store, &usr, &Silent).unwrap();

        let metadata = |path: &str| usr.join(path).symlink_metadata().unwrap();
        let stored = store.path(Digest::of(b"tool")).metadata().unwrap();
        assert_eq!(metadata("bin/same").ino(), stored.ino());
        for (path, mode) in [("bin/other", 0o644), ("bin/special", 0o4755)] {
            assert_ne!(metadata(path).ino(), stored.ino());
            assert_eq!(metadata(path).mode() & 0o7777, mode);
            assert_eq!(fs::read(usr.join(path)).unwrap(), b"tool");
        }
        assert_eq!(stored.mode() & 0o7777, 0o755, "the stored file is as it was");
        assert_eq!(metadata("bin/empty").len(), 0);
        assert_eq!(metadata("locked").mode() & 0o7777, 0o500);
        assert_eq!(fs::read_link(usr.join("bin/link")).unwrap(), Path::new("same"));
        set_mode(&usr.join("locked"), 0o700).unwrap();
    }

    #[test]
    fn owners_are_respected_by_root() {
        if !rustix::process::geteuid().is_root() {
            testkit::skip("root");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let store = store_with(folder.path(), &[(b"mail", 0o644)]);
        let tree = tree(&[
            ("spool", NodeKind::Directory, 0o770, 8),
            ("spool/mail", NodeKind::Regular(Digest::of(b"mail")), 0o644, 8),
            ("spool/link", NodeKind::Symlink("mail".into()), 0o777, 8),
            ("spool/empty", NodeKind::Regular(Digest::EMPTY), 0o4755, 8),
        ]);
        let usr = folder.path().join("usr");
        blit(&tree, &store, &usr, &Silent).unwrap();
        for path in tree.nodes.keys() {
            let metadata = usr.join(path).symlink_metadata().unwrap();
            assert_eq!((metadata.uid(), metadata.gid()), (8, 8), "{path}");
        }
        assert_eq!(usr.join("spool/empty").metadata().unwrap().mode() & 0o7777, 0o4755);
        assert_eq!(store.path(Digest::of(b"mail")).metadata().unwrap().uid(), 0);
    }

    #[test]
    fn a_missing_content_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let store = store_with(folder.path(), &[]);
        let tree = tree(&[("file", NodeKind::Regular(Digest::of(b"gone")), 0o644, 0)]);
        let error = blit(&tree, &store, &folder.path().join("usr"), &Silent).unwrap_err();
        assert!(matches!(error, BlitError::Absent { .. }), "{error}");
    }
}
