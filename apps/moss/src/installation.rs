//! A directory that is, or becomes, a system: where everything is, and who may change it.
//!
//! Reading takes no lock and writes nothing, so it works for everybody and beside a running change. Writing takes the
//! one lock of the installation, and first brings an interrupted change to an end.

use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fault::{Fault, Kind};
use fs_err as fs;
use rustix::fs::FlockOperation;
use system::StateId;

use crate::reporter::Reporter;
use crate::store::Store;

/// How long to wait for another process that changes the installation. A large update on a slow disk takes minutes.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(600);

/// How often the lock is tried while waiting; often enough that nobody notices the pause.
const LOCK_TRY_EVERY: Duration = Duration::from_millis(100);

/// Most bytes read of the line that says who holds the lock; process number and command fit easily.
const HOLDER_BYTES_MAX: u64 = 512;

/// Most bytes of the file with the number of a state: 20 digits and a line feed fit.
const STATE_FILE_BYTES_MAX: u64 = 64;

/// What is going to be done with an installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Only look.
    Read,
    /// Change it, alone.
    Write,
}

/// Why an installation cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InstallationError {
    /// The root is not there.
    #[error("cannot use {} as a root: it is not a directory", root.display())]
    NoRoot {
        /// The root.
        root: PathBuf,
    },
    /// Something in it cannot be read or made.
    #[error("cannot open the installation in {}", root.display())]
    Open {
        /// The root.
        root: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another process is changing it and does not end.
    #[error("cannot change {}: {holder} is changing it", root.display())]
    Busy {
        /// The root.
        root: PathBuf,
        /// Who holds the lock.
        holder: String,
    },
    /// The file that names the active state is not a number.
    #[error("cannot tell the active state: {} contains {text:?}", path.display())]
    BadStateId {
        /// The file.
        path: PathBuf,
        /// What is in it.
        text: String,
    },
}

impl Fault for InstallationError {
    fn kind(&self) -> Kind {
        match self {
            InstallationError::NoRoot { .. } => Kind::NotFound,
            InstallationError::Open { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Kind::Denied
            }
            InstallationError::Open { .. } => Kind::Unavailable,
            InstallationError::Busy { .. } => Kind::Conflict,
            InstallationError::BadStateId { .. } => Kind::Damaged,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            InstallationError::NoRoot { root } => vec![format!("make it first: mkdir -p {}", root.display())],
            InstallationError::Open { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                vec!["changing a system needs the rights of its owner: try again with sudo".into()]
            }
            InstallationError::Busy { .. } => vec!["wait until it is done, and try again".into()],
            InstallationError::Open { .. } | InstallationError::BadStateId { .. } => Vec::new(),
        }
    }
}

/// A root directory with what moss keeps in it.
#[derive(Debug)]
pub struct Installation {
    root: PathBuf,
    /// Held as long as this lives; none when only reading.
    _lock: Option<fs::File>,
}

impl Installation {
    /// Opens the installation in `root`. With [`Access::Write`], waits for whoever changes it now.
    ///
    /// # Errors
    /// When `root` is no directory, cannot be written to, or stays locked by another process.
    pub fn open(root: &Path, access: Access, reporter: &dyn Reporter) -> Result<Self, InstallationError> {
        if !root.is_dir() {
            return Err(InstallationError::NoRoot { root: root.to_path_buf() });
        }
        let root = fs::canonicalize(root)
            .map_err(|source| InstallationError::Open { root: root.to_path_buf(), source })?;
        let lock = match access {
            Access::Read => None,
            Access::Write => Some(take_lock(&root, reporter)?),
        };
        Ok(Self { root, _lock: lock })
    }

    /// The root directory, absolute.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the tree of the active state is.
    #[must_use]
    pub fn usr(&self) -> PathBuf {
        self.root.join("usr")
    }

    /// What moss keeps for itself.
    #[must_use]
    pub fn private(&self) -> PathBuf {
        self.root.join(".moss")
    }

    /// Where the next tree is made.
    #[must_use]
    pub fn staging(&self) -> PathBuf {
        self.private().join("root/staging")
    }

    /// Where the tree of a state is kept while it is not active.
    #[must_use]
    pub fn archive(&self, state: StateId) -> PathBuf {
        self.private().join("root").join(state.to_string())
    }

    /// The record of a running change.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.private().join("journal.json")
    }

    /// The database of packages and states.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.private().join("db/moraine")
    }

    /// Where downloads are.
    #[must_use]
    pub fn cache(&self) -> PathBuf {
        self.private().join("cache")
    }

    /// Where indexes of repositories are.
    #[must_use]
    pub fn repository_cache(&self) -> PathBuf {
        self.private().join("repo")
    }

    /// The content store.
    #[must_use]
    pub fn store(&self) -> Store {
        Store::new(self.private().join("assets/v2"))
    }

    /// The number of the active state; none on a system without one.
    ///
    /// # Errors
    /// When the file that has it cannot be read or has something else in it.
    pub fn active_state(&self) -> Result<Option<StateId>, InstallationError> {
        state_of_tree(&self.usr())
    }
}

/// The number of the state that a tree belongs to; none when it does not say, or is not there.
pub(crate) fn state_of_tree(usr: &Path) -> Result<Option<StateId>, InstallationError> {
    let path = usr.join(".stateID");
    let open_error = |source| InstallationError::Open { root: usr.to_path_buf(), source };
    let mut text = String::new();
    match fs::File::open(&path) {
        Ok(file) => file.take(STATE_FILE_BYTES_MAX).read_to_string(&mut text).map_err(open_error)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(open_error(error)),
    };
    match text.parse() {
        Ok(id) => Ok(Some(id)),
        Err(_) => Err(InstallationError::BadStateId { path, text }),
    }
}

fn take_lock(root: &Path, reporter: &dyn Reporter) -> Result<fs::File, InstallationError> {
    let open_error = |source| InstallationError::Open { root: root.to_path_buf(), source };
    let private = root.join(".moss");
    fs::create_dir_all(&private).map_err(open_error)?;
    let path = private.join(".moss-lockfile");
    let mut file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(open_error)?;
    let begin = Instant::now();
    let mut told = false;
    while let Err(error) = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        if error != rustix::io::Errno::WOULDBLOCK && error != rustix::io::Errno::INTR {
            return Err(open_error(error.into()));
        }
        let holder = holder(&mut file);
        if begin.elapsed() > LOCK_WAIT_MAX {
            return Err(InstallationError::Busy { root: root.to_path_buf(), holder });
        }
        if !told {
            reporter.warn(&format!("waiting for {holder}, which is changing {}", root.display()));
            told = true;
        }
        std::thread::sleep(LOCK_TRY_EVERY);
    }
    // Who holds the lock is only for people; the lock itself is the kernel's.
    let command: Vec<String> = std::env::args().take(3).collect();
    let line = format!("process {} ({})\n", std::process::id(), command.join(" "));
    let written = file.rewind().and_then(|()| file.set_len(0)).and_then(|()| file.write_all(line.as_bytes()));
    written.map_err(open_error)?;
    Ok(file)
}

fn holder(file: &mut fs::File) -> String {
    let mut text = String::new();
    let read = file.rewind().and_then(|()| file.take(HOLDER_BYTES_MAX).read_to_string(&mut text));
    match read {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "another process".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::reporter::{Phase, Silent};

    #[test]
    fn reading_leaves_no_trace() {
        let root = tempfile::tempdir().unwrap();
        let installation = Installation::open(root.path(), Access::Read, &Silent).unwrap();
        assert_eq!(installation.active_state().unwrap(), None);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_root_must_be_a_directory() {
        let error = Installation::open(Path::new("/nonexistent-root"), Access::Read, &Silent).unwrap_err();
        assert_eq!(error.to_string(), "cannot use /nonexistent-root as a root: it is not a directory");
    }

    struct Told(Mutex<Vec<String>>);

    impl Reporter for Told {
        fn begin(&self, _phase: Phase, _total: u64) {}
        fn advance(&self, _phase: Phase, _amount: u64) {}
        fn end(&self, _phase: Phase) {}
        fn warn(&self, message: &str) {
            self.0.lock().unwrap().push(message.to_owned());
        }
    }

    #[test]
    fn a_second_writer_waits_and_says_for_whom() {
        let root = tempfile::tempdir().unwrap();
        let first = Installation::open(root.path(), Access::Write, &Silent).unwrap();
        // Readers do not wait.
        Installation::open(root.path(), Access::Read, &Silent).unwrap();
        let told = Told(Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            let second = scope.spawn(|| Installation::open(root.path(), Access::Write, &told).map(drop));
            while told.0.lock().unwrap().is_empty() {
                assert!(!second.is_finished(), "it did not wait");
                std::thread::yield_now();
            }
            drop(first);
            second.join().unwrap().unwrap();
        });
        let expect = format!("waiting for process {} (", std::process::id());
        assert!(told.0.lock().unwrap()[0].starts_with(&expect), "{told:?}", told = told.0);
    }

    #[test]
    fn a_state_file_with_something_else_in_it_is_named() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("usr")).unwrap();
        fs::write(root.path().join("usr/.stateID"), "seven").unwrap();
        let installation = Installation::open(root.path(), Access::Read, &Silent).unwrap();
        assert!(installation.active_state().unwrap_err().to_string().contains("\"seven\""));
    }
}
