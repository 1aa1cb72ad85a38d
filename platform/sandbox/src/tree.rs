//! Walking and changing directory trees that may be hostile.
//!
//! Two rules hold throughout: a path of the new root is resolved *in* the new root, so that a symbolic link there can
//! lead nowhere else; and a walk over a tree goes from open directory to open directory and never through a link.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, chownat, fchmod, fchown, mkdirat,
    openat, openat2, renameat, statat, symlinkat, unlinkat,
};
use rustix::io::{Errno, Result, write};

/// Directories open at once during a walk. Far below the usual limit of 1,024 open files and the stack; deeper trees
/// are flattened (removal) or refused (change of owner).
const WALK_DEPTH_MAX: usize = 200;

/// How often a path is resolved again after the kernel saw it change underneath (`EAGAIN` of `openat2`).
const RESOLVE_TRIES_MAX: usize = 16;

/// Bits of a mode that are permissions, set-id and sticky bits.
const PERMISSION_BITS: u32 = 0o7777;

/// Whose a created file becomes, as seen by the process that creates it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Owner {
    fn ids(self) -> (Option<Uid>, Option<Gid>) {
        (Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))
    }
}

/// Opens a path as it is meant inside `root`: links are followed, and lead nowhere but inside.
pub(crate) fn open_inside(root: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let mut tries = 1;
    loop {
        let answer =
            openat2(root.as_fd(), path, flags | OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve);
        match answer {
            Err(Errno::AGAIN) if tries < RESOLVE_TRIES_MAX => tries += 1,
            other => return other,
        }
    }
}

/// Opens a directory inside `root`, creating what is missing of it, which then belongs to `owner`. The last one
/// created has `mode`, those above it 0o755.
pub(crate) fn directory(root: impl AsFd, path: &Path, mode: u32, owner: Owner) -> Result<OwnedFd> {
    let root = root.as_fd();
    match open_inside(root, path, OFlags::DIRECTORY) {
        Err(Errno::NOENT) => {}
        other => return other,
    }
    // From the deepest directory that exists downwards, so that the depth of the path costs no stack.
    let mut missing: Vec<&Path> = Vec::new();
    let mut existing = None;
    for above in path.ancestors() {
        match open_inside(root, above, OFlags::DIRECTORY) {
            Ok(opened) => {
                existing = Some(opened);
                break;
            }
            Err(Errno::NOENT) => missing.push(above),
            Err(error) => return Err(error),
        }
    }
    let mut current = existing.ok_or(Errno::NOENT)?;
    while let Some(next) = missing.pop() {
        let name = next.file_name().ok_or(Errno::INVAL)?;
        let bits = if missing.is_empty() { mode } else { 0o755 };
        mkdirat(&current, name, Mode::from_raw_mode(bits & PERMISSION_BITS))?;
        let (uid, gid) = owner.ids();
        chownat(&current, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        current = open_inside(root, next, OFlags::DIRECTORY)?;
    }
    Ok(current)
}

/// Opens the place of a mount inside `root`: a directory or an empty file, created where missing.
pub(crate) fn place(root: impl AsFd, path: &Path, is_directory: bool, owner: Owner) -> Result<OwnedFd> {
    if is_directory {
        return directory(root, path, 0o755, owner);
    }
    match open_inside(root.as_fd(), path, OFlags::empty()) {
        Err(Errno::NOENT) => {}
        other => return other,
    }
    let (parent, name) = parent(root.as_fd(), path, owner)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = openat(&parent, name, flags, Mode::from_raw_mode(0o644))?;
    let (uid, gid) = owner.ids();
    fchown(&file, uid, gid)?;
    open_inside(root, path, OFlags::empty())
}

/// Creates a file inside `root`. One that was there is unlinked, not written to: it may share its content with other
/// trees by hard link.
pub(crate) fn put_file(root: impl AsFd, path: &Path, contents: &[u8], mode: u32, owner: Owner) -> Result<()> {
    let (parent, name) = parent(root, path, owner)?;
    unlink_if_there(&parent, name)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = openat(&parent, name, flags, Mode::from_raw_mode(0o600))?;
    let mut rest = contents;
    while !rest.is_empty() {
        let written = write(&file, rest)?;
        rest = rest.get(written..).ok_or(Errno::IO)?;
    }
    let (uid, gid) = owner.ids();
    fchown(&file, uid, gid)?;
    fchmod(&file, Mode::from_raw_mode(mode & PERMISSION_BITS))
}

/// Creates a symbolic link inside `root`, in the place of whatever file was there.
pub(crate) fn put_symlink(root: impl AsFd, path: &Path, link: &Path, owner: Owner) -> Result<()> {
    let (parent, name) = parent(root, path, owner)?;
    unlink_if_there(&parent, name)?;
    symlinkat(link, &parent, name)?;
    let (uid, gid) = owner.ids();
    chownat(&parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
}

fn parent(root: impl AsFd, path: &Path, owner: Owner) -> Result<(OwnedFd, &OsStr)> {
    let name = path.file_name().ok_or(Errno::INVAL)?;
    let above = path.parent().ok_or(Errno::INVAL)?;
    Ok((directory(root, above, 0o755, owner)?, name))
}

fn unlink_if_there(parent: &OwnedFd, name: &OsStr) -> Result<()> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

/// A failure of a walk and where in the tree it happened.
#[derive(Debug)]
pub(crate) struct WalkError {
    pub(crate) path: PathBuf,
    pub(crate) cause: Errno,
}

/// Makes a tree belong to `owner`. Links are changed themselves; what already belongs to it is left alone.
pub(crate) fn take_ownership(path: &Path, owner: Owner) -> std::result::Result<(), WalkError> {
    let fail = |cause| WalkError { path: path.to_path_buf(), cause };
    let (above, name) = split(path).map_err(fail)?;
    own_entry(&above, &name, path, owner, 0)
}

fn own_entry(
    above: &OwnedFd,
    name: &CStr,
    path: &Path,
    owner: Owner,
    depth: usize,
) -> std::result::Result<(), WalkError> {
    let fail = |cause| WalkError { path: path.to_path_buf(), cause };
    let status = statat(above, name, AtFlags::SYMLINK_NOFOLLOW).map_err(fail)?;
    if FileType::from_raw_mode(status.st_mode) == FileType::Directory {
        if depth >= WALK_DEPTH_MAX {
            return Err(fail(Errno::NAMETOOLONG));
        }
        let opened = open_directory(above, name).map_err(fail)?;
        for entry in names(&opened).map_err(fail)? {
            own_entry(&opened, &entry, &path.join(OsStr::from_bytes(entry.to_bytes())), owner, depth + 1)?;
        }
    }
    if (status.st_uid, status.st_gid) != (owner.uid, owner.gid) {
        let (uid, gid) = owner.ids();
        chownat(above, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).map_err(fail)?;
    }
    Ok(())
}

/// Removes a tree, or a single file or link. What is not there counts as removed.
pub(crate) fn remove(path: &Path) -> std::result::Result<(), WalkError> {
    let fail = |cause| WalkError { path: path.to_path_buf(), cause };
    let (above, name) = match split(path) {
        Ok(found) => found,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(fail(error)),
    };
    let status = match statat(&above, &name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(status) => status,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(fail(error)),
    };
    if FileType::from_raw_mode(status.st_mode) != FileType::Directory {
        return unlinkat(&above, &name, AtFlags::empty()).map_err(fail);
    }
    let top = open_directory(&above, &name).map_err(fail)?;
    let mut removal = Removal { top: &top, moved: 0 };
    loop {
        let moved_before = removal.moved;
        removal.empty(&top, path, 0)?;
        if removal.moved == moved_before {
            break;
        }
    }
    unlinkat(&above, &name, AtFlags::REMOVEDIR).map_err(fail)
}

/// A removal in progress. Trees deeper than [`WALK_DEPTH_MAX`] are cut: the deep part is moved up to the top, where
/// the next round finds it, so that no depth can exhaust the stack or the open files.
struct Removal<'top> {
    top: &'top OwnedFd,
    moved: u64,
}

impl Removal<'_> {
    fn empty(
        &mut self,
        directory: &OwnedFd,
        path: &Path,
        depth: usize,
    ) -> std::result::Result<(), WalkError> {
        let fail = |cause| WalkError { path: path.to_path_buf(), cause };
        for name in names(directory).map_err(fail)? {
            let here = path.join(OsStr::from_bytes(name.to_bytes()));
            let fail = |cause| WalkError { path: here.clone(), cause };
            // First as a file: most are, and a directory says so.
            match unlinkat(directory, &name, AtFlags::empty()) {
                Ok(()) => continue,
                Err(Errno::ISDIR | Errno::PERM) => {}
                Err(error) => return Err(fail(error)),
            }
            if depth >= WALK_DEPTH_MAX {
                self.move_up(directory, &name).map_err(fail)?;
                continue;
            }
            let opened = open_directory(directory, &name).map_err(fail)?;
            self.empty(&opened, &here, depth + 1)?;
            drop(opened);
            unlinkat(directory, &name, AtFlags::REMOVEDIR).map_err(fail)?;
        }
        Ok(())
    }

    fn move_up(&mut self, directory: &OwnedFd, name: &CStr) -> Result<()> {
        loop {
            self.moved += 1;
            let free = format!("removing-{}", self.moved);
            // Without replacing anything: an existing non-empty directory of that name answers with an error.
            match renameat(directory, name, self.top, free.as_str()) {
                Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
                other => return other,
            }
        }
    }
}

fn split(path: &Path) -> Result<(OwnedFd, CString)> {
    let name = path.file_name().ok_or(Errno::INVAL)?;
    let above = match path.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        _ => Path::new("."),
    };
    let opened = openat(CWD, above, OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::PATH, Mode::empty())?;
    Ok((opened, CString::new(name.as_bytes()).map_err(|_| Errno::INVAL)?))
}

fn open_directory(above: &OwnedFd, name: &CStr) -> Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    openat(above, name, flags, Mode::empty())
}

fn names(directory: &OwnedFd) -> Result<Vec<CString>> {
    let mut list = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_owned();
        if name.as_c_str() != c"." && name.as_c_str() != c".." {
            list.push(name);
        }
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    fn open(path: &Path) -> OwnedFd {
        openat(CWD, path, OFlags::DIRECTORY | OFlags::PATH, Mode::empty()).unwrap()
    }

    fn me() -> Owner {
        Owner { uid: rustix::process::getuid().as_raw(), gid: rustix::process::getgid().as_raw() }
    }

    #[test]
    fn links_in_the_root_lead_nowhere_else() {
        let base = tempfile::tempdir().unwrap();
        let (root, outside) = (base.path().join("root"), base.path().join("outside"));
        for path in [&root, &outside] {
            fs_err::create_dir(path).unwrap();
        }
        symlink(&outside, root.join("absolute")).unwrap();
        symlink("../outside", root.join("relative")).unwrap();
        let fd = open(&root);

        put_file(&fd, Path::new("/relative-free/deep/file"), b"x", 0o640, me()).unwrap();
        assert_eq!(fs_err::read(root.join("relative-free/deep/file")).unwrap(), b"x");
        // The absolute link means a path below the root that does not exist; `..` stops at the root.
        for link in ["/absolute/file", "/relative/file"] {
            let answer = put_file(&fd, Path::new(link), b"x", 0o644, me());
            assert_eq!(answer, Err(Errno::EXIST), "{link} dangles inside");
        }
        fs_err::create_dir(root.join("outside")).unwrap();
        put_file(&fd, Path::new("/relative/file"), b"inside", 0o644, me()).unwrap();
        assert!(root.join("outside/file").exists());
        assert_eq!(fs_err::read_dir(&outside).unwrap().count(), 0, "nothing escaped");
    }

    #[test]
    fn a_file_with_other_names_is_replaced_and_not_written_to() {
        let root = tempfile::tempdir().unwrap();
        let store = root.path().join("store");
        fs_err::write(&store, "shared").unwrap();
        fs_err::hard_link(&store, root.path().join("etc")).unwrap();
        let fd = open(root.path());
        put_file(&fd, Path::new("/etc"), b"mine", 0o600, me()).unwrap();
        assert_eq!(fs_err::read_to_string(&store).unwrap(), "shared");
        assert_eq!(fs_err::read_to_string(root.path().join("etc")).unwrap(), "mine");
        put_symlink(&fd, Path::new("/etc"), Path::new("/somewhere"), me()).unwrap();
        assert_eq!(fs_err::read_link(root.path().join("etc")).unwrap(), Path::new("/somewhere"));
    }

    #[test]
    fn places_are_created_as_what_is_mounted_there() {
        let root = tempfile::tempdir().unwrap();
        let fd = open(root.path());
        place(&fd, Path::new("/a/b"), true, me()).unwrap();
        place(&fd, Path::new("/a/c"), false, me()).unwrap();
        assert!(root.path().join("a/b").is_dir() && root.path().join("a/c").is_file());
        assert_eq!(directory(&fd, Path::new("/a/c/d"), 0o755, me()).unwrap_err(), Errno::NOTDIR);
        directory(&fd, Path::new("/sticky"), 0o1777, me()).unwrap();
    }

    #[test]
    fn removal_does_not_follow_links_and_needs_nothing_to_be_there() {
        let base = tempfile::tempdir().unwrap();
        let keep = base.path().join("keep");
        fs_err::create_dir(&keep).unwrap();
        fs_err::write(keep.join("file"), "x").unwrap();
        let tree = base.path().join("tree");
        fs_err::create_dir_all(tree.join("a/b")).unwrap();
        symlink(&keep, tree.join("a/link")).unwrap();
        remove(&tree).unwrap();
        assert!(!tree.exists() && keep.join("file").exists());
        remove(&tree).unwrap();
        symlink(&keep, &tree).unwrap();
        remove(&tree).unwrap();
        assert!(keep.join("file").exists(), "a link is removed itself");
        assert_eq!(remove(Path::new("/")).unwrap_err().cause, Errno::INVAL);
    }

    #[test]
    fn no_depth_is_too_deep_to_remove() {
        let base = tempfile::tempdir().unwrap();
        let tree = base.path().join("tree");
        fs_err::create_dir(&tree).unwrap();
        let mut current = open(&tree);
        for _ in 0..WALK_DEPTH_MAX * 12 {
            mkdirat(&current, "deep", Mode::from_raw_mode(0o755)).unwrap();
            current = openat(&current, "deep", OFlags::DIRECTORY | OFlags::PATH, Mode::empty()).unwrap();
        }
        let refused = take_ownership(&tree, Owner { uid: me().uid, gid: me().gid }).unwrap_err();
        assert_eq!(refused.cause, Errno::NAMETOOLONG);
        remove(&tree).unwrap();
        assert!(!tree.exists());
    }

    #[test]
    fn ownership_changes_links_and_not_what_they_point_to() {
        if !rustix::process::getuid().is_root() {
            testkit::skip("root to change owners");
            return;
        }
        let base = tempfile::tempdir().unwrap();
        let outside = base.path().join("outside");
        fs_err::write(&outside, "x").unwrap();
        let tree = base.path().join("tree");
        fs_err::create_dir_all(tree.join("a")).unwrap();
        symlink(&outside, tree.join("a/link")).unwrap();
        take_ownership(&tree, Owner { uid: 12_345, gid: 54_321 }).unwrap();
        let owner = |path: &Path| {
            let status = fs_err::symlink_metadata(path).unwrap();
            (status.uid(), status.gid())
        };
        assert_eq!(owner(&tree), (12_345, 54_321));
        assert_eq!(owner(&tree.join("a/link")), (12_345, 54_321));
        assert_eq!(owner(&outside).0, 0);
    }
}
