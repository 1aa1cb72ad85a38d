//! The agent's folder on disk.
//!
//! ```text
//! DATA/identity.key         who the agent is
//! DATA/lock                 held by the one agent that uses the folder
//! DATA/git/                 mirrors of recipe repositories
//! DATA/boulder/             Boulder's caches
//! DATA/attempts/ID/
//!     order.json            what was ordered
//!     state.json            how it stands; missing while it is building
//!     log                   all output, as far as it came
//!     source/               the recipes, at the commit; removed when the build ends
//!     report.json           what Boulder reported
//!     output/               what was built
//! ```
//!
//! `order.json` and `state.json` appear whole or not at all. An attempt without a state was building when its agent
//! ended; its build ended too, so it is lost, and swept at the next start.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use fault::{Fault, Kind};
use fs_err as fs;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ledger::Standing;
use crate::order::{AttemptId, Order};

/// The data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("cannot use the data folder {path}")]
    Folder {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot use the data folder {path}: another agent uses it")]
    InUse { path: PathBuf },
}

impl Fault for StoreError {
    fn kind(&self) -> Kind {
        match self {
            StoreError::Folder { .. } => Kind::Unavailable,
            StoreError::InUse { .. } => Kind::Conflict,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            StoreError::Folder { path, .. } => {
                vec![format!("check space and permissions of {}", path.display())]
            }
            StoreError::InUse { .. } => vec!["give each agent a folder of its own with --data".to_owned()],
        }
    }
}

/// The data folder, held by this process.
#[derive(Debug)]
pub(crate) struct Store {
    data: PathBuf,
    /// Unlocked by the kernel when the process ends, however it ends.
    _lock: fs::File,
}

/// The folder of one attempt.
#[derive(Debug, Clone)]
pub(crate) struct AttemptFolder {
    path: PathBuf,
}

impl Store {
    /// Takes the folder, making it if there is none.
    pub(crate) fn open(data: &Path) -> Result<Store, StoreError> {
        let data = std::path::absolute(data).unwrap_or_else(|_| data.to_path_buf());
        let error = |source| StoreError::Folder { path: data.clone(), source };
        fs::create_dir_all(data.join("attempts")).map_err(error)?;
        let lock = fs::File::create(data.join("lock")).map_err(error)?;
        match lock.file().try_lock() {
            Ok(()) => Ok(Store { data, _lock: lock }),
            Err(std::fs::TryLockError::WouldBlock) => Err(StoreError::InUse { path: data }),
            Err(std::fs::TryLockError::Error(source)) => Err(error(source)),
        }
    }

    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    pub(crate) fn attempt(&self, id: AttemptId) -> AttemptFolder {
        AttemptFolder { path: self.data.join("attempts").join(id.to_string()) }
    }

    /// The attempts that have ended, and the sizes of their logs. Everything else is swept: builds that ended with
    /// their agent, and what cannot be read.
    pub(crate) fn survivors(&self) -> Result<Vec<(Order, Standing, u64)>, StoreError> {
        let attempts = self.data.join("attempts");
        let error = |source| StoreError::Folder { path: attempts.clone(), source };
        let mut survivors = Vec::new();
        for entry in fs::read_dir(&attempts).map_err(error)? {
            let path = entry.map_err(error)?.path();
            let folder = AttemptFolder { path: path.clone() };
            match folder.read() {
                Ok(survivor) => survivors.push(survivor),
                Err(reason) => {
                    tracing::info!(path = %path.display(), reason, "an attempt is swept");
                    remove(&path).map_err(error)?;
                }
            }
        }
        Ok(survivors)
    }
}

impl AttemptFolder {
    /// Lays the folder of a new attempt out.
    pub(crate) fn begin(&self, order: &Order) -> io::Result<()> {
        remove(&self.path)?;
        fs::create_dir_all(self.output())?;
        write_durably(&self.path.join("order.json"), order)
    }

    pub(crate) fn keep(&self, standing: &Standing) -> io::Result<()> {
        write_durably(&self.path.join("state.json"), standing)
    }

    pub(crate) fn delete(&self) -> io::Result<()> {
        remove(&self.path)
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    pub(crate) fn source(&self) -> PathBuf {
        self.path.join("source")
    }

    pub(crate) fn output(&self) -> PathBuf {
        self.path.join("output")
    }

    pub(crate) fn report(&self) -> PathBuf {
        self.path.join("report.json")
    }

    pub(crate) fn log_size_bytes(&self) -> u64 {
        fs::metadata(self.log()).map_or(0, |metadata| metadata.len())
    }

    fn read(&self) -> Result<(Order, Standing, u64), String> {
        let order: Order = read_json(&self.path.join("order.json"))?;
        if self.path.file_name().is_none_or(|name| *name != *order.attempt_id.to_string()) {
            return Err("it lies under another name than its own".to_owned());
        }
        let state = self.path.join("state.json");
        if !state.exists() {
            return Err("its build ended with the agent".to_owned());
        }
        Ok((order, read_json(&state)?, self.log_size_bytes()))
    }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, String> {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    serde_json::from_slice(&bytes).map_err(|error| format!("{} is damaged: {error}", path.display()))
}

fn write_durably<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    serde_json::to_writer(&mut file, value)?;
    file.flush()?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    fs::File::open(folder)?.sync_all()
}

/// Removes a file or a folder, if it is there.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if metadata.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::samples::order;
    use crate::outcome::{Built, Failure, FailureClass};

    #[test]
    fn only_what_has_ended_survives() {
        let data = tempfile::tempdir().unwrap();
        let standing = Standing::Published { history: "1-a".to_owned() };
        {
            let store = Store::open(data.path()).unwrap();
            for id in [1, 2, 3] {
                store.attempt(AttemptId(id)).begin(&order(id)).unwrap();
            }
            store.attempt(AttemptId(1)).keep(&standing).unwrap();
            fs::write(store.attempt(AttemptId(1)).log(), "12345").unwrap();
            store.attempt(AttemptId(3)).keep(&standing).unwrap();
            fs::write(data.path().join("attempts/3/state.json"), "{").unwrap();
            fs::write(data.path().join("attempts/stray"), "").unwrap();
            fs::rename(data.path().join("attempts/1"), data.path().join("attempts/9")).unwrap();
            store.attempt(AttemptId(1)).begin(&order(1)).unwrap();
            store.attempt(AttemptId(1)).keep(&standing).unwrap();
            fs::write(store.attempt(AttemptId(1)).log(), "12345").unwrap();
        }
        let store = Store::open(data.path()).unwrap();
        assert_eq!(store.survivors().unwrap(), [(order(1), standing, 5)]);
        let left: Vec<_> = fs::read_dir(data.path().join("attempts"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["1"]);
    }

    #[test]
    fn what_an_older_agent_kept_is_read_and_has_no_peak() {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path()).unwrap();
        for (id, state) in [
            (1, r#"{"state":"built","artefacts":[]}"#),
            (2, r#"{"state":"failed","failure":{"class":"build","phase":"check","message":"no"}}"#),
            (3, r#"{"state":"built","artefacts":[],"peak_memory_bytes":7}"#),
        ] {
            store.attempt(AttemptId(id)).begin(&order(id)).unwrap();
            fs::write(data.path().join(format!("attempts/{id}/state.json")), state).unwrap();
        }
        let mut survivors = store.survivors().unwrap();
        survivors.sort_by_key(|(order, ..)| order.attempt_id);
        let standings: Vec<Standing> = survivors.into_iter().map(|(_, standing, _)| standing).collect();
        let built = |peak_memory_bytes| Standing::Built(Built { artefacts: Vec::new(), peak_memory_bytes });
        let failure = Failure::new(FailureClass::Build, "check", "no");
        assert_eq!(standings, [built(0), Standing::Failed { failure }, built(7)]);
    }

    #[test]
    fn two_agents_never_share_a_folder() {
        let data = tempfile::tempdir().unwrap();
        let _held = Store::open(data.path()).unwrap();
        assert!(matches!(Store::open(data.path()).unwrap_err(), StoreError::InUse { .. }));
    }
}
