//! Files that are there whole or not at all, also after a power cut.
//!
//! A name becomes visible by rename or link only after the bytes behind it were synced, and the folder that holds the
//! name is synced before anything relies on it.

use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// From how many files on one sync of the whole file system is cheaper than one of each. A sync of the file system
/// waits for what others wrote as well, so a small landing does not use it.
const SYNC_TOGETHER_MIN: usize = 64;

/// Files that are synced at the same time. A file system writes its journal once for all that wait for it, so a landing
/// of some thirty files and folders takes as long as a few of them.
const SYNCS_AT_ONCE: usize = 16;

/// Puts `bytes` at `path`: written beside it under a hidden name, synced, renamed over it, the folder synced.
///
/// The rename is the moment at which readers see the new bytes; before it they see the old ones.
pub fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = hidden_neighbour(path)?;
    write_synced(&temporary, bytes)?;
    fs_err::rename(&temporary, path)?;
    sync_folder_of(path)
}

/// Writes and syncs a file under a name that nobody relies on yet.
pub fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs_err::File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes `new` another name of the file `existing`. False when there is something at `new` already.
pub fn link_new(existing: &Path, new: &Path) -> io::Result<bool> {
    match fs_err::hard_link(existing, new) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes the folder and those above it that are missing, each entered durably in its parent.
pub fn create_folders(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_folders(parent)?;
    }
    match fs_err::create_dir(path) {
        Ok(()) => sync_folder_of(path),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Removes a file or a folder with all that is in it; it may be missing.
pub fn remove(path: &Path) -> io::Result<()> {
    let result = match fs_err::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs_err::remove_dir_all(path),
        Ok(_) => fs_err::remove_file(path),
        Err(error) => Err(error),
    };
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Syncs these files and folders, several at the same time and in no order.
pub fn sync_all<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> io::Result<()> {
    let paths: Vec<&PathBuf> = paths.into_iter().collect();
    let [first, others @ ..] = paths.as_slice() else { return Ok(()) };
    if paths.len() >= SYNC_TOGETHER_MIN {
        // Everything lies on the file system of the data folder.
        return Ok(rustix::fs::syncfs(fs_err::File::open(first)?.file().as_fd())?);
    }
    let next = AtomicUsize::new(0);
    let sync_some = || {
        while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
            fs_err::File::open(path)?.sync_all()?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let helpers = others.len().min(SYNCS_AT_ONCE - 1);
        // Where the system gives no thread, the others do its part.
        let helpers: Vec<_> = (0..helpers)
            .filter_map(|_| std::thread::Builder::new().spawn_scoped(scope, sync_some).ok())
            .collect();
        let own = sync_some();
        let interrupted = |_| Err(io::Error::other("a thread that syncs files has panicked"));
        helpers.into_iter().map(|helper| helper.join().unwrap_or_else(interrupted)).fold(own, io::Result::and)
    })
}

/// Syncs the folder in which `path` is.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs_err::File::open(folder)?.sync_all()
}

/// Where `path` is made before it is renamed. The web server shows no name that begins with a dot.
pub fn hidden_neighbour(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(ErrorKind::InvalidInput)?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(".new");
    Ok(path.with_file_name(hidden))
}

/// The same, another one each time, for those who write to the same path at once.
pub(crate) fn own_hidden_neighbour(path: &Path) -> io::Result<PathBuf> {
    static GIVEN: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().ok_or(ErrorKind::InvalidInput)?;
    let (process, number) = (std::process::id(), GIVEN.fetch_add(1, Ordering::Relaxed));
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{process:x}-{number:x}.new"));
    Ok(path.with_file_name(hidden))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        for bytes in [&b"one"[..], b"two"] {
            replace_file(&path, bytes).unwrap();
            assert_eq!(fs_err::read(&path).unwrap(), bytes);
        }
        assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_crash_left_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs_err::write(folder.path().join(".a.new"), "half of something longer than the whole").unwrap();
        replace_file(&path, b"whole").unwrap();
        assert_eq!(fs_err::read(&path).unwrap(), b"whole");
    }

    #[test]
    fn a_link_never_replaces() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b, c] = ["a", "b", "c"].map(|name| folder.path().join(name));
        fs_err::write(&a, "a").unwrap();
        fs_err::write(&b, "b").unwrap();
        assert!(!link_new(&a, &b).unwrap());
        assert_eq!(fs_err::read(&b).unwrap(), b"b");
        assert!(link_new(&a, &c).unwrap());
        sync_all([a, b, c].iter()).unwrap();
    }

    #[test]
    fn every_file_is_synced_and_one_that_is_missing_is_told() {
        let folder = tempfile::tempdir().unwrap();
        sync_all([]).unwrap();
        let paths: Vec<PathBuf> =
            (0..SYNC_TOGETHER_MIN - 1).map(|number| folder.path().join(number.to_string())).collect();
        for path in &paths {
            fs_err::write(path, "x").unwrap();
        }
        sync_all(&paths).unwrap();
        for missing in paths.iter().step_by(20) {
            fs_err::remove_file(missing).unwrap();
            let error = sync_all(&paths).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound);
            assert!(error.to_string().contains(&missing.display().to_string()), "{error}");
            fs_err::write(missing, "x").unwrap();
        }
    }

    #[test]
    fn removing_what_is_missing_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b/c");
        create_folders(&deep).unwrap();
        create_folders(&deep).unwrap();
        for _ in 0..2 {
            remove(&folder.path().join("a")).unwrap();
        }
        assert!(!folder.path().join("a").exists());
    }
}
