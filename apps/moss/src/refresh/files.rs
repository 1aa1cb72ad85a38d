//! The files of the cache of a repository. Each is replaced as a whole: after a crash it is the old one or the new one.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use fs_err as fs;

use crate::swap::{StopAfter, sync_directory};

/// Makes names of partial files unique within this process.
static PARTIAL_NUMBER: AtomicU64 = AtomicU64::new(0);

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
        let own = self.directory.join(format!("{name}.part-{}-{number}", std::process::id()));
        self.steps.step()?;
        fs::write(&own, bytes)?;
        fs::File::open(&own)?.sync_all()?;
        self.steps.step()?;
        fs::rename(&own, &path)?;
        self.steps.step()?;
        sync_directory(self.directory)
    }

    /// Removes the files that begin like this, but for one; what a crash left among them.
    pub(super) fn remove_others(&self, prefix: &str, kept: &str) -> io::Result<()> {
        self.steps.step()?;
        for entry in fs::read_dir(self.directory)? {
            let name = entry?.file_name();
            let is_other = name.to_str().is_some_and(|name| name.starts_with(prefix) && name != kept);
            if is_other {
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
