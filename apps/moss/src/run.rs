//! Runs a program of a root in a namespace of its own, with nothing of the host showing.

use std::io;
use std::path::{Path, PathBuf};

use fault::{Fault, Kind};
use fs_err as fs;
use sandbox::{Child, Mount, Output, Root, Sandbox, SandboxError, Spec};

/// Names in a root that the program gets afresh, or must not see.
const NOT_SHOWN: [&str; 6] = [".moss", "proc", "dev", "sys", "tmp", "run"];

/// Variables that are passed on where they are set: what a program needs to know of the terminal and the language.
const PASSED_VARIABLES: [&str; 4] = ["TERM", "LANG", "LC_ALL", "COLORTERM"];

/// Mode of a directory in which everybody may make files and nobody may remove another's.
const SHARED_DIRECTORY_MODE: u32 = 0o1777;

/// Why a program could not be run in a root.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The root cannot be read.
    #[error("cannot run a program in {}", root.display())]
    Root {
        /// The root.
        root: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Nothing was said to run.
    #[error("cannot run a program in {}: none is named", root.display())]
    NoProgram {
        /// The root.
        root: PathBuf,
    },
    /// The sandbox refused.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
}

impl Fault for RunError {
    fn kind(&self) -> Kind {
        match self {
            RunError::Root { .. } => Kind::NotFound,
            RunError::NoProgram { .. } => Kind::Input,
            RunError::Sandbox(error) => error.kind(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            RunError::Root { .. } => Vec::new(),
            RunError::NoProgram { .. } => {
                vec!["name it after two dashes: moss run -D ROOT -- PROGRAM ARGUMENT…".into()]
            }
            RunError::Sandbox(error) => error.hints(),
        }
    }
}

/// Starts a program in the root, which it cannot change. `/tmp`, `/run`, `/dev` and `/proc` are its own; there is no network.
/// The running program's `main` must begin with [`sandbox::enter_if_asked`].
///
/// # Errors
/// When the root cannot be read or the machine does not allow a sandbox.
pub fn run_in_root(root: &Path, command: &[String], output: Output) -> Result<Child, RunError> {
    let spec = specification(root, command, output)?;
    Ok(Sandbox::spawn(&spec)?)
}

fn specification(root: &Path, command: &[String], output: Output) -> Result<Spec, RunError> {
    let root_error = |source| RunError::Root { root: root.to_path_buf(), source };
    let (program, arguments) =
        command.split_first().ok_or_else(|| RunError::NoProgram { root: root.to_path_buf() })?;
    let root = fs::canonicalize(root).map_err(root_error)?;
    let mut spec = Spec::new(Root::Tmpfs { size_bytes: None }, program, arguments.iter().cloned());
    spec.output = output;
    spec.environment.insert("PATH".into(), "/usr/bin:/usr/sbin:/bin:/sbin".into());
    spec.environment.insert("HOME".into(), "/tmp".into());
    for name in PASSED_VARIABLES {
        if let Ok(value) = std::env::var(name) {
            spec.environment.insert(name.into(), value);
        }
    }
    let mut entries =
        fs::read_dir(&root).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(root_error)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        if NOT_SHOWN.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        let (source, target) = (entry.path(), Path::new("/").join(entry.file_name()));
        let kind = entry.file_type().map_err(root_error)?;
        if kind.is_symlink() {
            spec.mounts.push(Mount::Symlink { target, link: fs::read_link(&source).map_err(root_error)? });
        } else if kind.is_dir() || kind.is_file() {
            spec.mounts.push(Mount::Bind { source, target, writable: false, recursive: false });
        }
    }
    let own =
        |target: &str| Mount::Tmpfs { target: target.into(), mode: SHARED_DIRECTORY_MODE, size_bytes: None };
    spec.mounts.extend([
        Mount::Proc { target: "/proc".into() },
        Mount::Devices { target: "/dev".into() },
        own("/tmp"),
        own("/run"),
    ]);
    Ok(spec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_belongs_to_the_system_is_shown() {
        let root = tempfile::tempdir().unwrap();
        for name in ["usr", "etc", ".moss", "proc", "tmp"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        std::os::unix::fs::symlink("usr/bin", root.path().join("bin")).unwrap();
        let spec = specification(root.path(), &["nano".into(), "--version".into()], Output::Inherit).unwrap();
        let shown: Vec<String> = spec
            .mounts
            .iter()
            .map(|mount| match mount {
                Mount::Bind { target, writable: false, .. } => format!("bind {}", target.display()),
                Mount::Symlink { target, link } => format!("link {} {}", target.display(), link.display()),
                Mount::Proc { .. } => "proc".into(),
                Mount::Devices { .. } => "devices".into(),
                Mount::Tmpfs { target, .. } => format!("tmpfs {}", target.display()),
                other => format!("{other:?}"),
            })
            .collect();
        assert_eq!(
            shown,
            ["link /bin usr/bin", "bind /etc", "bind /usr", "proc", "devices", "tmpfs /tmp", "tmpfs /run"]
        );
        assert!(matches!(specification(root.path(), &[], Output::Inherit), Err(RunError::NoProgram { .. })));
    }
}
