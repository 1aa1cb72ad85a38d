//! Bare repositories that outlive whoever is killed while he works on them.
//!
//! A repository is made beside its place and put there whole. `git` that is killed leaves lock files behind, and then
//! refuses to change anything until somebody removes them; whoever is the only writer of a repository may do so.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use fs_err as fs;

/// A lock is held for the moment in which references or settings are written. One that is older has no holder.
const LOCK_AGE_MIN: Duration = Duration::from_secs(10);

/// Folders below each other that are looked through for locks of references; ours have three.
const DEPTH_MAX: usize = 8;

/// Clears away what a crash left at `path`. Gives the folder in which the repository is to be made (`git init --bare`)
/// and then handed to [`put_in_place`]; none when it is there already. Only for the one writer of the repository.
///
/// # Errors
/// When the disk does not allow it.
pub fn prepare(path: &Path) -> io::Result<Option<PathBuf>> {
    if path.join("HEAD").is_file() && path.join("config").is_file() {
        for name in ["config.lock", "HEAD.lock", "packed-refs.lock", "shallow.lock"] {
            remove_old_lock(&path.join(name))?;
        }
        clear_locks(&path.join("refs"), DEPTH_MAX)?;
        return Ok(None);
    }
    let draft = path.with_extension("new");
    for folder in [path, &draft] {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(Some(draft))
}

/// Puts a repository that was made at `draft` to its place.
///
/// # Errors
/// When the disk does not allow it.
pub fn put_in_place(draft: &Path, path: &Path) -> io::Result<()> {
    fs::rename(draft, path)
}

fn clear_locks(folder: &Path, depth: usize) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() && depth > 0 {
            clear_locks(&path, depth - 1)?;
        } else if path.extension().is_some_and(|extension| extension == "lock") {
            remove_old_lock(&path)?;
        }
    }
    Ok(())
}

fn remove_old_lock(path: &Path) -> io::Result<()> {
    let gone = |error: io::Error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) };
    let written = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.modified()?,
        Err(error) => return gone(error),
    };
    // A clock that went backwards makes it younger than it is: it is removed later.
    let age = SystemTime::now().duration_since(written).unwrap_or_default();
    if age < LOCK_AGE_MIN {
        return Ok(());
    }
    tracing::warn!(path = %path.display(), "removing a lock that a killed git left behind");
    fs::remove_file(path).or_else(gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, age: Duration) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let file = fs::File::create(path).unwrap();
        file.file().set_modified(SystemTime::now() - age).unwrap();
    }

    #[test]
    fn what_was_half_made_is_made_again_and_put_in_place_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recipes.git");
        // Killed before the settings were written; and once more while the draft was made.
        write(&path.join("HEAD"), Duration::ZERO);
        write(&path.join("config.lock"), Duration::ZERO);
        write(&path.with_extension("new").join("HEAD"), Duration::ZERO);
        let draft = prepare(&path).unwrap().expect("it is to be made");
        assert!(!path.exists() && !draft.exists());
        write(&draft.join("HEAD"), Duration::ZERO);
        write(&draft.join("config"), Duration::ZERO);
        put_in_place(&draft, &path).unwrap();
        fs::create_dir_all(path.join("refs")).unwrap();
        assert_eq!(prepare(&path).unwrap(), None);
    }

    #[test]
    fn locks_without_a_holder_go_and_young_ones_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let old = LOCK_AGE_MIN + Duration::from_secs(5);
        write(&path.join("HEAD"), old);
        write(&path.join("config"), old);
        for (name, age) in [
            ("packed-refs.lock", old),
            ("refs/heads/watched.lock", old),
            ("refs/heads/watched", old),
            ("shallow.lock", Duration::ZERO),
        ] {
            write(&path.join(name), age);
        }
        assert_eq!(prepare(path).unwrap(), None);
        assert!(!path.join("packed-refs.lock").exists() && !path.join("refs/heads/watched.lock").exists());
        assert!(path.join("refs/heads/watched").exists() && path.join("shallow.lock").exists());
    }
}
