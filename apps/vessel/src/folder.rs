//! The data folder: where everything is, and who may use it.
//!
//! ```text
//! DATA/identity.key                    private key, mode 0600
//! DATA/running.json                    where the Vessel that runs on it is reached
//! DATA/vessel.db                       the truth about histories, streams and attempts
//! DATA/staging/<attempt>/<sha256>      uploads; `.part` until complete
//! DATA/incoming/<channel>/<release>    files of a release that is being added
//! DATA/debug/<build id>                debug information that somebody asked for; can be removed at any time
//! DATA/store.json                      where the published tree is, when it was said
//! DATA/uploads/<digest>                what has arrived in a bucket of objects that are not complete
//! DATA/public/<channel>/…              the published tree, for any web server, when nothing else was said
//! ```
//!
//! One process at a time: an exclusive lock is held on `DATA/lock` as long as the [`DataFolder`] lives, and the kernel
//! takes it back however the process ends.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fault::{Fault, Kind};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use store::durable;

/// How long a start waits for the lock. The process before may be in its last moments, or about to start another
/// program, which holds every lock for an instant.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// Pause between two tries.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// The data folder of a Vessel, locked.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    _lock: fs_err::File,
}

/// Where a running Vessel is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Running {
    pub(crate) grpc: SocketAddr,
}

/// Why the data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Another process uses it.
    #[error("cannot use data folder {path:?}: another vessel is running on it", path = path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// It cannot be made, read or written.
    #[error("cannot use data folder {path:?}", path = path.display())]
    Disk {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Fault for FolderError {
    fn kind(&self) -> Kind {
        match self {
            FolderError::Locked { .. } => Kind::Conflict,
            FolderError::Disk { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Kind::Denied
            }
            FolderError::Disk { .. } => Kind::Unavailable,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            FolderError::Locked { path } => vec![format!(
                "stop the `vessel serve` that uses {0} and do it again, or name another folder with --data; `fuser {0}/lock` says which process it is",
                path.display()
            )],
            FolderError::Disk { path, .. } => {
                vec![format!("check that {} exists, may be written by you, and has room", path.display())]
            }
        }
    }
}

impl DataFolder {
    /// Makes what is missing below `path` and locks it.
    ///
    /// # Errors
    /// When another process holds the lock, and when the disk refuses.
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        let disk = |source| FolderError::Disk { path: path.to_path_buf(), source };
        durable::create_folders(path).map_err(disk)?;
        let mut options = fs_err::OpenOptions::new();
        options.create(true).truncate(false).write(true);
        let lock = options.open(path.join("lock")).map_err(disk)?;
        match patiently(|| flock(lock.file(), FlockOperation::NonBlockingLockExclusive)) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(FolderError::Locked { path: path.to_path_buf() }),
            Err(errno) => return Err(disk(errno.into())),
        }
        let folder = Self { path: path.to_path_buf(), _lock: lock };
        durable::create_folders(&folder.staging()).map_err(disk)?;
        Ok(folder)
    }

    /// Where the private key of the Vessel on `data` is.
    #[must_use]
    pub fn identity_of(data: &Path) -> PathBuf {
        data.join("identity.key")
    }

    /// The private key.
    #[must_use]
    pub fn identity(&self) -> PathBuf {
        Self::identity_of(&self.path)
    }

    /// Where the Vessel that runs on `data` says how it is reached; stays behind when it is killed.
    pub(crate) fn running_of(data: &Path) -> PathBuf {
        data.join("running.json")
    }

    /// Says how this Vessel is reached, or that it no longer is.
    pub(crate) fn say_running(&self, running: Option<&Running>) -> io::Result<()> {
        let path = Self::running_of(&self.path);
        match running {
            Some(running) => durable::replace_file(&path, &serde_json::to_vec(running)?),
            None => durable::remove(&path),
        }
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        Self::database_of(&self.path)
    }

    /// Where the database of the Vessel on `data` is.
    #[must_use]
    pub fn database_of(data: &Path) -> PathBuf {
        data.join("vessel.db")
    }

    /// Uploads of all attempts.
    #[must_use]
    pub fn staging(&self) -> PathBuf {
        self.path.join("staging")
    }

    /// Where the files of a release lie while it is added; the names are checked.
    pub(crate) fn incoming_of(data: &Path, channel: &str, release: &str) -> PathBuf {
        data.join("incoming").join(channel).join(release)
    }

    /// The same, of this Vessel.
    pub(crate) fn incoming(&self, channel: &str, release: &str) -> PathBuf {
        Self::incoming_of(&self.path, channel, release)
    }

    /// Where the debug information of a checked build id is kept.
    pub(crate) fn debug_info(&self, build_id: &str) -> PathBuf {
        self.path.join("debug").join(build_id)
    }

    /// Where the program or library of a checked build id is kept.
    pub(crate) fn executable(&self, build_id: &str) -> PathBuf {
        self.path.join("debug").join(format!("{build_id}.executable"))
    }

    /// Says where the published tree is.
    pub(crate) fn place(&self) -> PathBuf {
        self.path.join("store.json")
    }

    /// Notes of unfinished uploads of large objects.
    pub(crate) fn uploads(&self) -> PathBuf {
        self.path.join("uploads")
    }

    /// What is published, if nothing else is said.
    #[must_use]
    pub fn public(&self) -> PathBuf {
        self.path.join("public")
    }
}

/// Tries again while somebody else has the lock, for a while.
fn patiently(mut lock: impl FnMut() -> Result<(), Errno>) -> Result<(), Errno> {
    let begin = Instant::now();
    loop {
        match lock() {
            Err(Errno::WOULDBLOCK) if begin.elapsed() < LOCK_PATIENCE => std::thread::sleep(LOCK_PAUSE),
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataFolder::open(folder.path()).unwrap();
        let error = DataFolder::open(folder.path()).unwrap_err();
        assert!(matches!(error, FolderError::Locked { .. }), "{error}");
        assert!(error.hints()[0].contains("stop the `vessel serve`"));
        drop(first);
        DataFolder::open(folder.path()).unwrap();
    }

    #[test]
    fn a_file_in_the_place_of_the_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        fs_err::write(&path, "").unwrap();
        let error = DataFolder::open(&path).unwrap_err();
        assert!(error.to_string().contains("data"), "{error}");
    }
}
