//! Removing what a sandbox left behind.
//!
//! A user's sandbox may leave files of ids that the user cannot touch from outside. Such trees are removed from inside
//! a user namespace with the same ids.

use std::io;
use std::path::Path;

use rustix::io::Errno;

use crate::channel::Task;
use crate::child;
use crate::error::SandboxError;
use crate::spec::{Root, Spec};
use crate::tree;

/// Removes a tree, a file or a link, whatever ids its files have. Links are never followed. What does not exist counts
/// as removed. The running program's `main` begins with [`crate::enter_if_asked`].
///
/// # Errors
/// [`SandboxError::Remove`] or, from inside, [`SandboxError::Setup`], with the path that resisted.
pub fn remove_tree(path: &Path) -> Result<(), SandboxError> {
    remove_tree_through(Path::new("/proc/self/exe"), path)
}

/// As [`remove_tree`], through another program that begins with [`crate::enter_if_asked`].
///
/// # Errors
/// As [`remove_tree`].
pub fn remove_tree_through(program: &Path, path: &Path) -> Result<(), SandboxError> {
    let cannot = |path: &Path, source| SandboxError::Remove { path: path.to_path_buf(), source };
    let error = match tree::remove(path) {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    let is_denied = matches!(error.cause, Errno::ACCESS | Errno::PERM);
    if !is_denied || rustix::process::geteuid().is_root() {
        return Err(cannot(&error.path, io::Error::from(error.cause)));
    }
    let absolute = std::path::absolute(path).map_err(|source| cannot(path, source))?;
    let spec = Spec::new(Root::Tmpfs { size_bytes: None }, "remove", [""; 0]);
    child::start(program, &spec, Task::Remove(vec![absolute]))?.wait().map(drop)
}
