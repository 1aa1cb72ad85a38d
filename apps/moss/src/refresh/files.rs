//! The files of the cache of a repository. Each is replaced as a whole: after a crash it is the old one or the new one.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use fs_err as fs;

use crate::swap::{StopAfter, sync_directory};

/// Makes names of partial files unique within this process.
static PARTIAL_NUMBER: AtomicU64 = AtomicU64::new(0);

/// Between the name of a file and what makes the name of its part unique.
const PART: &str = ".part-";

/// Age of a part that nobody writes any more: an index is written in a second, on a bad disk in a minute.
const PART_AGE_MAX: Duration = Duration::from_secs(3_600);

/// Counts what is written, to stop somewhere as if the machine had crashed; only tests do.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    stop_after: StopAfter,
    done: AtomicUsize,
}

impl Steps {
    pub(crate) fn until(stop_after: StopAfter) -> Self {
        Self { stop_after, done: AtomicUsize::new(0) }
    }

    fn step(&self) -> io::Result<()> {
        let done = self.done.fetch_add(1, Ordering::Relaxed);
        match self.stop_after.0 {
            Some(most) if done >= most => Err(io::Error::other(format!("stopped after {done} steps"))),
            _ => Ok(()),
        }
    }
}

/// A directory of the cache.
pub(super) struct CacheFiles<'a> {
    pub(super) directory: &'a Path,
    pub(super) steps: &'a Steps,
}

impl CacheFiles<'_> {
    pub(super) fn make(&self) -> io::Result<()> {
        fs::create_dir_all(self.directory)
    }

    /// Replaces a file that several processes may be replacing at once, so that it is on the disk.
    pub(super) fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.directory.join(name);
        let number = PARTIAL_NUMBER.fetch_add(1, Ordering::Relaxed);
        let own = self.directory.join(format!("{name}{PART}{}-{number}", std::process::id()));
        self.steps.step()?;
        fs::write(&own, bytes)?;
        fs::File::open(&own)?.sync_all()?;
        self.steps.step()?;
        fs::rename(&own, &path)?;
        self.steps.step()?;
        sync_directory(self.directory)
    }

    /// Removes the files that begin like this, but for one; what a crash left among them. What another process is about to
    /// write stays.
    pub(super) fn remove_others(&self, prefix: &str, kept: &str) -> io::Result<()> {
        self.steps.step()?;
        for entry in fs::read_dir(self.directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let is_other = name.to_str().is_some_and(|name| name.starts_with(prefix) && name != kept);
            if is_other && !is_being_written(&entry) {
                match fs::remove_file(self.directory.join(&name)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    // Another process was faster.
                    _ => {}
                }
                self.steps.step()?;
            }
        }
        Ok(())
    }
}

/// Whether a file is the part of one that some process may be writing now.
fn is_being_written(entry: &fs::DirEntry) -> bool {
    let is_part = entry.file_name().to_str().is_some_and(|name| name.contains(PART));
    let written = entry.metadata().and_then(|metadata| metadata.modified());
    // One from the future is new as well.
    let is_new = |at: SystemTime| at.elapsed().map_or(true, |age| age < PART_AGE_MAX);
    is_part && written.is_ok_and(is_new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_are_about_to_write_stays() {
        let folder = tempfile::tempdir().unwrap();
        let steps = Steps::default();
        let files = CacheFiles { directory: folder.path(), steps: &steps };
        for name in ["image-1", "image-2", "image-3.part-77-0", "image-4.part-78-0", "other"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        let old = fs::OpenOptions::new().write(true).open(folder.path().join("image-4.part-78-0")).unwrap();
        old.file().set_modified(SystemTime::now() - 2 * PART_AGE_MAX).unwrap();
        files.remove_others("image-", "image-2").unwrap();
        let mut left: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["image-2", "image-3.part-77-0", "other"]);
    }
}
