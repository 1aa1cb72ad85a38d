//! Putting the new root together.
//!
//! All sources are opened before the new root is attached anywhere, so that it may cover them. Everything is mounted on
//! open directories, never on path names, so that no link in the tree can move a mount elsewhere.
//!
//! Read-only trees that root shows to a sandbox keep their owners *by number*: what belongs to the machine's root
//! belongs to root inside (an id-mapped mount), unless the tree has the ids of sandboxes already. Writable trees are not
//! shown so, or the sandbox could leave set-user-id programs of the machine's root on its disk.

use std::ffi::CString;
use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount, move_mount, open_tree,
    unmount,
};
use rustix::process::{fchdir, pivot_root};

use crate::error::SetupFailure;
use crate::ids::ID_COUNT;
use crate::kernel::{self, NO_DEVICES, NO_SET_USER_ID, READ_ONLY};
use crate::plan::Caller;
use crate::spec::{Mount, Root, Spec, Upper};
use crate::tree::{self, Owner};

/// Devices of the host that every build expects and that let nothing out.
pub(crate) const DEVICE_NODES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Links that programs expect in `/dev`, and where they point.
const DEVICE_LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Most bytes of `/dev` itself, which holds links and empty files only.
const DEVICES_BYTES_MAX: u64 = 1 << 20;

/// Where the new root is attached until it becomes `/`: the first that is a directory of the host. It is covered in
/// the sandbox's own mount namespace only.
const ATTACH_POINTS: [&str; 4] = ["/tmp", "/run", "/mnt", "/var"];

/// Options of `mount(2)` fit one page of 4,096 bytes with their end mark.
const MOUNT_OPTIONS_BYTES_MAX: usize = 4095;

/// What has been opened of the host for one part of the tree.
enum Source {
    Nothing,
    Tree(OwnedFd),
    Layers { lower: Vec<OwnedFd>, upper: Option<(OwnedFd, OwnedFd)> },
    Nodes(Vec<(&'static str, OwnedFd)>),
}

/// The new root while it is being put together.
pub(crate) struct Mounting {
    caller: Caller,
    owner: Owner,
    owners: Option<OwnedFd>,
    owners_differ: bool,
    root_source: Source,
    sources: Vec<Source>,
    root: Option<OwnedFd>,
    notices: Vec<String>,
}

type Step<T> = Result<T, SetupFailure>;

impl Mounting {
    /// Opens everything of the host that the description names.
    pub(crate) fn open(
        spec: &Spec,
        caller: Caller,
        owner: Owner,
        owners: Option<&OwnedFd>,
    ) -> Step<Mounting> {
        let owners = owners
            .map(OwnedFd::try_clone)
            .transpose()
            .map_err(|cause| SetupFailure::new("keep", "the user namespace of the owners", cause))?;
        let root_source = match &spec.root {
            Root::Tmpfs { .. } => Source::Nothing,
            Root::Directory(path) => Source::Tree(open_source(path)?),
            Root::Overlay { lower, upper } => open_layers(lower, upper.as_ref())?,
        };
        let mut sources = Vec::with_capacity(spec.mounts.len());
        for part in &spec.mounts {
            sources.push(match part {
                Mount::Bind { source, .. } => Source::Tree(open_source(source)?),
                Mount::Overlay { lower, upper, .. } => open_layers(lower, upper.as_ref())?,
                Mount::Devices { .. } => open_nodes()?,
                _ => Source::Nothing,
            });
        }
        Ok(Mounting {
            caller,
            owner,
            owners,
            owners_differ: false,
            root_source,
            sources,
            root: None,
            notices: Vec::new(),
        })
    }

    /// Mounts the new root where it covers nothing that is still needed.
    pub(crate) fn attach_root(&mut self, spec: &Spec) -> Step<()> {
        let place = ATTACH_POINTS
            .iter()
            .find_map(|path| {
                openat(CWD, *path, OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()
            })
            .ok_or_else(|| {
                SetupFailure::new("attach", "the new root", "the host has no /tmp, /run, /mnt or /var")
            })?;
        let source = std::mem::replace(&mut self.root_source, Source::Nothing);
        let root = match (&spec.root, source) {
            (Root::Tmpfs { size_bytes }, _) => {
                let fresh = self.fresh_tmpfs(0o755, *size_bytes).map_err(failed("mount tmpfs on", "/"))?;
                attach(&fresh, &place).map_err(failed("mount tmpfs on", "/"))?;
                fresh
            }
            (Root::Directory(path), Source::Tree(opened)) => {
                let action = "mount as / the directory";
                let copy =
                    copy_tree(&opened, false, NO_SET_USER_ID | NO_DEVICES).map_err(failed(action, path))?;
                attach(&copy, &place).map_err(failed(action, path))?;
                copy
            }
            (_, Source::Layers { lower, upper }) => {
                self.overlay(&lower, upper.as_ref(), &place, Path::new("/"))?;
                open_top(&place).map_err(failed("mount overlay on", "/"))?
            }
            _ => return Err(SetupFailure::new("attach", "the new root", "its source was not opened")),
        };
        self.root = Some(root);
        Ok(())
    }

    /// Puts the nth mount of the description in place.
    pub(crate) fn mount(&mut self, spec: &Spec, number: usize) -> Step<()> {
        let part = spec
            .mounts
            .get(number)
            .ok_or_else(|| SetupFailure::new("find", format!("mount {number}"), "there are fewer"))?;
        let source =
            self.sources.get_mut(number).map_or(Source::Nothing, |s| std::mem::replace(s, Source::Nothing));
        match (part, source) {
            (Mount::Bind { target, writable, recursive, .. }, Source::Tree(opened)) => {
                self.bind(&opened, target, *writable, *recursive)
            }
            (Mount::Overlay { target, .. }, Source::Layers { lower, upper }) => {
                let place = self.place(target, true, "mount overlay on")?;
                self.overlay(&lower, upper.as_ref(), &place, target)
            }
            (Mount::Tmpfs { target, mode, size_bytes }, _) => {
                let fresh = self.fresh_tmpfs(*mode, *size_bytes);
                self.attach_fresh("mount tmpfs on", target, fresh)
            }
            (Mount::Proc { target }, _) => {
                let attributes = MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
                self.attach_fresh("mount proc on", target, fresh_file_system("proc", &[], attributes))
            }
            (Mount::Devices { target }, Source::Nodes(nodes)) => self.devices(&nodes, target),
            (Mount::Directory { target, mode }, _) => {
                let root = self.root("create directory", target)?;
                tree::directory(root, target, *mode, self.owner)
                    .map(drop)
                    .map_err(failed("create directory", target))
            }
            (Mount::Symlink { target, link }, _) => {
                let root = self.root("create link", target)?;
                tree::put_symlink(root, target, link, self.owner).map_err(failed("create link", target))
            }
            (Mount::File { target, contents, mode }, _) => {
                let root = self.root("create file", target)?;
                tree::put_file(root, target, contents.as_bytes(), *mode, self.owner)
                    .map_err(failed("create file", target))
            }
            _ => Err(SetupFailure::new(
                "mount",
                part.target().display().to_string(),
                "its source was not opened",
            )),
        }
    }

    /// Makes the new root `/` and lets go of the old one. Returns what could not be had and was done without.
    pub(crate) fn pivot(mut self) -> Step<Vec<String>> {
        let fail = |cause: Errno| failed("make the new root", Path::new("/"))(cause);
        let old = openat(CWD, "/", OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .map_err(fail)?;
        let root = self.root.take().ok_or_else(|| fail(Errno::INVAL))?;
        fchdir(&root).map_err(fail)?;
        // With both names the same, the old root ends up stacked on the new one, from where it is detached.
        pivot_root(".", ".").map_err(fail)?;
        fchdir(&old).map_err(fail)?;
        unmount(".", UnmountFlags::DETACH).map_err(fail)?;
        rustix::process::chdir("/").map_err(fail)?;
        Ok(self.notices)
    }

    fn root(&self, action: &str, target: &Path) -> Step<&OwnedFd> {
        self.root.as_ref().ok_or_else(|| failed(action, target)(Errno::INVAL))
    }

    fn place(&self, target: &Path, is_directory: bool, action: &str) -> Step<OwnedFd> {
        let root = self.root(action, target)?;
        tree::place(root, target, is_directory, self.owner).map_err(failed(action, target))
    }

    fn attach_fresh(&self, action: &str, target: &Path, fresh: io::Result<OwnedFd>) -> Step<()> {
        let place = self.place(target, true, action)?;
        let fresh = fresh.map_err(failed(action, target))?;
        attach(&fresh, &place).map_err(failed(action, target))
    }

    fn bind(&mut self, opened: &OwnedFd, target: &Path, writable: bool, recursive: bool) -> Step<()> {
        let action = if writable { "mount writable on" } else { "mount read-only on" };
        let place = self.place(target, is_directory(opened).map_err(failed(action, target))?, action)?;
        let mut attributes = NO_SET_USER_ID | NO_DEVICES;
        if !writable {
            attributes |= READ_ONLY;
        }
        let copy = if writable {
            copy_tree(opened, recursive, attributes)
        } else {
            self.copy_with_owners(opened, recursive, attributes)
        };
        attach(copy.map_err(failed(action, target))?, &place).map_err(failed(action, target))
    }

    /// A detached read-only mount of a tree, with the owners by number where that can be had.
    fn copy_with_owners(
        &mut self,
        opened: &OwnedFd,
        recursive: bool,
        attributes: u64,
    ) -> io::Result<OwnedFd> {
        let copy = copy_tree(opened, recursive, attributes)?;
        if let Some(owners) = &self.owners
            && !self.belongs_inside(opened)?
            && kernel::map_mount_ids(&copy, owners, recursive).is_err()
            && !std::mem::replace(&mut self.owners_differ, true)
        {
            self.notices.push(
                "some files of root belong to nobody inside: their file system cannot map ids".to_owned(),
            );
        }
        Ok(copy)
    }

    /// Whether a tree already belongs to the ids of sandboxes, as the upper layer of an earlier one does.
    fn belongs_inside(&self, opened: &OwnedFd) -> io::Result<bool> {
        let offset = fstat(opened)?.st_uid.checked_sub(self.owner.uid);
        Ok(offset.is_some_and(|offset| offset < ID_COUNT))
    }

    /// Layers with the owners by number. An overlay takes attached mounts only, so each is attached on itself, where
    /// it goes away with the old root.
    fn layers_with_owners(&mut self, lower: &[OwnedFd]) -> io::Result<Vec<OwnedFd>> {
        lower
            .iter()
            .map(|layer| {
                let copy = self.copy_with_owners(layer, false, NO_SET_USER_ID | NO_DEVICES)?;
                attach(&copy, layer).map(|()| copy)
            })
            .collect()
    }

    /// Mounts an overlay on an open directory.
    fn overlay(
        &mut self,
        lower: &[OwnedFd],
        upper: Option<&(OwnedFd, OwnedFd)>,
        place: &OwnedFd,
        target: &Path,
    ) -> Step<()> {
        let fail = failed("mount overlay on", target);
        if let (None, [only]) = (upper, lower) {
            // The kernel refuses an overlay of a single layer, which would be that layer.
            let attributes = NO_SET_USER_ID | NO_DEVICES | READ_ONLY;
            let copy = self.copy_with_owners(only, false, attributes).map_err(&fail)?;
            return attach(&copy, place).map_err(&fail);
        }
        let mapped =
            if self.owners.is_some() { self.layers_with_owners(lower).map_err(&fail)? } else { Vec::new() };
        let layers = if self.owners.is_some() { mapped.as_slice() } else { lower };
        let numbers: Vec<i32> = layers.iter().map(AsRawFd::as_raw_fd).collect();
        let writable = upper.map(|(upper, work)| (upper.as_raw_fd(), work.as_raw_fd()));
        let options = overlay_options(&numbers, writable, self.caller);
        if options.len() > MOUNT_OPTIONS_BYTES_MAX {
            return Err(fail(io::Error::from(Errno::TOOBIG)));
        }
        let options = CString::new(options).map_err(|error| fail(io::Error::other(error)))?;
        let mut flags = MountFlags::NOSUID | MountFlags::NODEV;
        if upper.is_none() {
            flags |= MountFlags::RDONLY;
        }
        let place_path = descriptor_path(place.as_raw_fd());
        mount("overlay", place_path.as_str(), "overlay", flags, options.as_c_str())
            .map_err(|error| fail(error.into()))
    }

    fn devices(&mut self, nodes: &[(&'static str, OwnedFd)], target: &Path) -> Step<()> {
        let action = "mount devices on";
        let fresh = self.fresh_tmpfs(0o755, Some(DEVICES_BYTES_MAX));
        self.attach_fresh(action, target, fresh)?;
        for (name, opened) in nodes {
            let path = target.join(name);
            let place = self.place(&path, false, action)?;
            let copy = copy_tree(opened, false, NO_SET_USER_ID).map_err(failed(action, &path))?;
            attach(&copy, &place).map_err(failed(action, &path))?;
        }
        for (name, link) in DEVICE_LINKS {
            let path = target.join(name);
            let root = self.root(action, &path)?;
            tree::put_symlink(root, &path, Path::new(link), self.owner).map_err(failed(action, &path))?;
        }
        let shared = self.fresh_tmpfs(0o1777, None);
        self.attach_fresh(action, &target.join("shm"), shared)?;
        let options = [("newinstance", None), ("ptmxmode", Some("0666")), ("mode", Some("0620"))];
        match fresh_file_system("devpts", &options, MountAttrFlags::MOUNT_ATTR_NOEXEC) {
            Ok(fresh) => self.attach_fresh(action, &target.join("pts"), Ok(fresh)),
            Err(error) => {
                self.notices
                    .push(format!("no terminals can be opened inside: devpts cannot be mounted ({error})"));
                Ok(())
            }
        }
    }

    fn fresh_tmpfs(&self, mode: u32, size_bytes: Option<u64>) -> io::Result<OwnedFd> {
        let (mode, uid, gid) = (format!("{mode:o}"), self.owner.uid.to_string(), self.owner.gid.to_string());
        let size = size_bytes.map(|size| size.to_string());
        let mut options = vec![("mode", Some(mode.as_str())), ("uid", Some(&uid)), ("gid", Some(&gid))];
        if let Some(size) = &size {
            options.push(("size", Some(size)));
        }
        fresh_file_system("tmpfs", &options, MountAttrFlags::MOUNT_ATTR_NODEV)
    }
}

/// Makes the file system of `/` read-only, but not what is mounted below it.
pub(crate) fn seal_root() -> Step<()> {
    let fail = |error: io::Error| failed("make read-only", Path::new("/"))(error);
    let root = openat(CWD, "/", OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| fail(error.into()))?;
    kernel::set_mount_attributes(&root, READ_ONLY, false).map_err(fail)
}

/// Turns a system error into the failure of a named step on a named path.
pub(crate) fn failed<E: Into<io::Error>>(action: &str, path: impl AsRef<Path>) -> impl Fn(E) -> SetupFailure {
    let (action, path) = (action.to_owned(), path.as_ref().display().to_string());
    move |error| SetupFailure::new(&action, path.clone(), error.into())
}

fn open_source(path: &Path) -> Step<OwnedFd> {
    openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(failed("open", path))
}

fn open_layers(lower: &[PathBuf], upper: Option<&Upper>) -> Step<Source> {
    let lower = lower.iter().map(|path| open_source(path)).collect::<Step<Vec<OwnedFd>>>()?;
    let upper = match upper {
        Some(Upper { upper, work }) => Some((open_source(upper)?, open_source(work)?)),
        None => None,
    };
    Ok(Source::Layers { lower, upper })
}

fn open_nodes() -> Step<Source> {
    let mut nodes = Vec::new();
    for name in DEVICE_NODES {
        let path = Path::new("/dev").join(name);
        match open_source(&path) {
            Ok(opened) => nodes.push((name, opened)),
            // Containers often have no terminal to speak of.
            Err(_) if name == "tty" => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Source::Nodes(nodes))
}

fn is_directory(opened: &OwnedFd) -> io::Result<bool> {
    Ok(FileType::from_raw_mode(fstat(opened)?.st_mode) == FileType::Directory)
}

/// A detached mount of the same tree, with attributes of its own.
fn copy_tree(opened: &OwnedFd, recursive: bool, attributes: u64) -> io::Result<OwnedFd> {
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let copy = open_tree(opened, "", flags)?;
    kernel::set_mount_attributes(&copy, attributes, recursive)?;
    Ok(copy)
}

/// A detached mount of a new file system, without set-user-id programs.
fn fresh_file_system(
    kind: &str,
    options: &[(&str, Option<&str>)],
    attributes: MountAttrFlags,
) -> io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        match value {
            Some(value) => fsconfig_set_string(&context, *key, *value)?,
            None => fsconfig_set_flag(&context, *key)?,
        }
    }
    fsconfig_create(&context)?;
    let attributes = attributes | MountAttrFlags::MOUNT_ATTR_NOSUID;
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

fn attach(detached: impl AsFd, place: impl AsFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(detached, "", place, "", flags)?)
}

/// Opens the root of whatever has been mounted on an open directory, which itself stays the covered one.
fn open_top(place: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    let path = fs_err::read_link(descriptor_path(place.as_raw_fd())).map_err(|_| Errno::NOENT)?;
    openat(CWD, path.as_path(), OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

fn descriptor_path(number: i32) -> String {
    format!("/proc/self/fd/{number}")
}

/// The options of an overlay whose layers are open directories: by number they need no escaping, and what the sandbox
/// can read about its own mounts shows no path of the host.
fn overlay_options(lower: &[i32], upper: Option<(i32, i32)>, caller: Caller) -> String {
    let layers: Vec<String> = lower.iter().map(|number| descriptor_path(*number)).collect();
    let mut options = format!("lowerdir={}", layers.join(":"));
    if let Some((upper, work)) = upper {
        // Writing to a string cannot fail.
        let _unfailing =
            write!(options, ",upperdir={},workdir={}", descriptor_path(upper), descriptor_path(work));
    }
    if caller == Caller::User {
        // The usual attributes of overlays are reserved to the machine's root.
        options.push_str(",userxattr");
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::OVERLAY_LAYERS_MAX;

    #[test]
    fn overlay_options_name_layers_by_number() {
        assert_eq!(overlay_options(&[5, 6], None, Caller::Root), "lowerdir=/proc/self/fd/5:/proc/self/fd/6");
        assert_eq!(
            overlay_options(&[5], Some((7, 8)), Caller::User),
            "lowerdir=/proc/self/fd/5,upperdir=/proc/self/fd/7,workdir=/proc/self/fd/8,userxattr"
        );
    }

    #[test]
    fn as_many_layers_as_allowed_fit_one_page() {
        let numbers = vec![12_345; OVERLAY_LAYERS_MAX];
        let options = overlay_options(&numbers, Some((12_345, 12_345)), Caller::User);
        assert!(options.len() <= MOUNT_OPTIONS_BYTES_MAX, "{}", options.len());
    }
}
