//! The agent's folder on disk.
//!
//! ```text
//! DATA/identity.key         who the agent is
//! DATA/lock                 held by the one agent that uses the folder
//! DATA/git/                 mirrors of recipe repositories
//! DATA/boulder/             Boulder's caches
//! DATA/draining             there while no order is taken
//! DATA/attempts/ID/         for the one Summit of an agent that has one
//! DATA/summits/NAME/attempts/ID/  for each Summit of an agent that has several
//!     order.json            what was ordered
//!     plan.json             how it is built
//!     lock                  held by the keeper of the build as long as it lives
//!     keeper.json           which process that is
//!     keeper.log            what that process itself has to say
//!     cancel                somebody does not want the build
//!     log                   all output, as far as it came; only ever appended to
//!     source/               the recipes, at the commit; removed when the build ends
//!     report.json           what Boulder reported
//!     output/               what was built
//!     ended.json            how the build ended, by its keeper
//!     state.json            how the attempt stands; missing while it is building, and after a power cut
//! ```
//!
//! Every `.json` appears whole or not at all. At a start an attempt with a state stands as it says. One without is being
//! built if its lock is held; otherwise its keeper has ended, and `ended.json` says how, or has not begun, or was
//! killed ([`Found`]).

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use fault::{Fault, Kind};
use fs_err as fs;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::keeper::{self, Ended, Plan};
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

/// The attempts of one Summit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shelf {
    attempts: PathBuf,
}

/// An attempt that was there before the agent.
#[derive(Debug, PartialEq)]
pub(crate) struct Survivor {
    pub(crate) order: Order,
    pub(crate) found: Found,
    pub(crate) log_size_bytes: u64,
}

/// How an attempt was found at the start.
#[derive(Debug, PartialEq)]
pub(crate) enum Found {
    /// Its build had ended, and the agent had taken note.
    Standing(Standing),
    /// Its keeper builds it.
    Building,
    /// The agent ended before it could start a keeper.
    NotBegun,
    /// Its keeper ended meanwhile.
    Ended(Ended),
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
        fs::create_dir_all(&data).map_err(error)?;
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

    /// The attempts of the Summit called `name`; without a name, of the only one.
    pub(crate) fn shelf(&self, name: Option<&str>) -> Shelf {
        Shelf { attempts: attempts_of(&self.data, name) }
    }

    /// Ends and removes what is left of Summits that are not among `shelves` any more.
    pub(crate) fn sweep_other_shelves(&self, shelves: &[Shelf]) -> Result<(), StoreError> {
        for shelf in shelves_in(&self.data)? {
            if shelves.contains(&shelf) {
                continue;
            }
            for folder in shelf.folders()? {
                tracing::warn!(path = %folder.path().display(), "the Summit of this attempt is not in the settings any more; it is removed");
                folder.end_and_delete().map_err(|source| shelf.error(source))?;
            }
        }
        Ok(())
    }

    /// From now on an order is taken again.
    pub(crate) fn end_drain(&self) -> Result<(), StoreError> {
        remove(&draining(&self.data)).map_err(|source| StoreError::Folder { path: self.data.clone(), source })
    }

    /// Whether no order is to be taken.
    pub(crate) fn is_draining(&self) -> bool {
        draining(&self.data).exists()
    }
}

/// The file that says so.
pub(crate) fn draining(data: &Path) -> PathBuf {
    data.join("draining")
}

fn attempts_of(data: &Path, summit: Option<&str>) -> PathBuf {
    match summit {
        Some(name) => data.join("summits").join(name).join("attempts"),
        None => data.join("attempts"),
    }
}

/// Every shelf of a data folder, whoever uses it.
pub(crate) fn shelves_in(data: &Path) -> Result<Vec<Shelf>, StoreError> {
    let error = |source| StoreError::Folder { path: data.to_path_buf(), source };
    let mut shelves = vec![Shelf { attempts: attempts_of(data, None) }];
    for entry in entries(&data.join("summits")).map_err(error)? {
        shelves.push(Shelf { attempts: entry.join("attempts") });
    }
    Ok(shelves)
}

/// What lies in a folder; nothing where there is none.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

impl Shelf {
    fn error(&self, source: io::Error) -> StoreError {
        StoreError::Folder { path: self.attempts.clone(), source }
    }

    pub(crate) fn attempt(&self, id: AttemptId) -> AttemptFolder {
        AttemptFolder { path: self.attempts.join(id.to_string()) }
    }

    /// Every attempt that lies here, readable or not.
    pub(crate) fn folders(&self) -> Result<Vec<AttemptFolder>, StoreError> {
        let paths = entries(&self.attempts).map_err(|source| self.error(source))?;
        Ok(paths.into_iter().map(|path| AttemptFolder { path }).collect())
    }

    /// The attempts that are there, by number. What cannot be read is ended and swept.
    pub(crate) fn survivors(&self) -> Result<Vec<Survivor>, StoreError> {
        fs::create_dir_all(&self.attempts).map_err(|source| self.error(source))?;
        let mut survivors = Vec::new();
        for folder in self.folders()? {
            match folder.read() {
                Ok(survivor) => survivors.push(survivor),
                Err(reason) => {
                    tracing::info!(path = %folder.path.display(), reason, "an attempt is swept");
                    folder.end_and_delete().map_err(|source| self.error(source))?;
                }
            }
        }
        survivors.sort_by_key(|survivor| survivor.order.attempt_id);
        Ok(survivors)
    }
}

impl AttemptFolder {
    /// The folder at `path`, which is absolute.
    pub(crate) fn at(path: &Path) -> AttemptFolder {
        AttemptFolder { path: path.to_path_buf() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Lays the folder of a new attempt out.
    pub(crate) fn begin(&self, order: &Order, plan: &Plan) -> io::Result<()> {
        remove(&self.path)?;
        fs::create_dir_all(self.output())?;
        // Not synced: a machine that loses its power loses the build with it, and what cannot be read then is swept.
        write_whole(&self.plan(), plan)?;
        // Last: what has an order is an attempt.
        write_whole(&self.order(), order)
    }

    /// Not synced: how the build ended is kept durably, and what has become of it since, Summit and Vessel know.
    pub(crate) fn keep(&self, standing: &Standing) -> io::Result<()> {
        write_whole(&self.state(), standing)
    }

    pub(crate) fn delete(&self) -> io::Result<()> {
        remove(&self.path)
    }

    /// Ends a keeper that may have the folder, and removes it.
    pub(crate) fn end_and_delete(&self) -> io::Result<()> {
        if keeper::is_kept(self).unwrap_or_default() {
            keeper::end(self, true)?;
            keeper::wait_for_end(self);
        }
        self.delete()
    }

    pub(crate) fn order(&self) -> PathBuf {
        self.path.join("order.json")
    }

    pub(crate) fn plan(&self) -> PathBuf {
        self.path.join("plan.json")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.path.join("lock")
    }

    pub(crate) fn keeper(&self) -> PathBuf {
        self.path.join("keeper.json")
    }

    pub(crate) fn keeper_log(&self) -> PathBuf {
        self.path.join("keeper.log")
    }

    pub(crate) fn cancel(&self) -> PathBuf {
        self.path.join("cancel")
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel().exists()
    }

    pub(crate) fn ended(&self) -> PathBuf {
        self.path.join("ended.json")
    }

    fn state(&self) -> PathBuf {
        self.path.join("state.json")
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

    fn read(&self) -> Result<Survivor, String> {
        let order: Order = read_json(&self.order())?;
        if self.path.file_name().is_none_or(|name| *name != *order.attempt_id.to_string()) {
            return Err("it lies under another name than its own".to_owned());
        }
        let standing = if self.state().exists() { Some(read_json(&self.state())) } else { None };
        // One that a power cut has spoilt says no less than how the build ended.
        let standing = standing.filter(|standing| standing.is_ok() || !self.ended().exists());
        let found = if let Some(standing) = standing {
            Found::Standing(standing?)
        } else if keeper::is_kept(self).map_err(|error| error.to_string())? {
            Found::Building
        } else if self.keeper().exists() {
            Found::Ended(keeper::end_of(self))
        } else {
            Found::NotBegun
        };
        // Only now: a build that has just ended has said all.
        Ok(Survivor { order, found, log_size_bytes: self.log_size_bytes() })
    }
}

pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, String> {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    serde_json::from_slice(&bytes).map_err(|error| format!("{} is damaged: {error}", path.display()))
}

/// Writes a file that is there whole or not at all, whoever is killed.
fn write_whole<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    part_of(path, value)?.persist(path)?;
    Ok(())
}

/// The same, and it is there after a power cut as well.
pub(crate) fn write_durably<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let file = part_of(path, value)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    fs::File::open(folder_of(path))?.sync_all()
}

fn part_of<T: Serialize>(path: &Path, value: &T) -> io::Result<tempfile::NamedTempFile> {
    let mut file = tempfile::NamedTempFile::new_in(folder_of(path))?;
    file.write_all(&serde_json::to_vec(value)?)?;
    Ok(file)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
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

    fn plan() -> Plan {
        let boulder = crate::boulder::Boulder {
            program: vec!["boulder".into()],
            root: crate::boulder::RootKind::Host,
            jobs: 1,
            cache: PathBuf::from("/cache"),
            mirrors: Vec::new(),
            more_arguments: Vec::new(),
            slots: 1,
            disk_reserve_bytes: 0,
            is_own: false,
        };
        Plan { boulder, git: PathBuf::from("/git") }
    }

    /// As a keeper that was killed leaves it.
    fn mark(folder: &AttemptFolder) {
        write_durably(&folder.keeper(), &keeper::ProcessMark::own().unwrap()).unwrap();
    }

    #[test]
    fn every_attempt_is_found_as_it_was_left() {
        let data = tempfile::tempdir().unwrap();
        let standing = Standing::Published { history: "1-a".to_owned() };
        let store = Store::open(data.path()).unwrap();
        let shelf = store.shelf(None);
        let begin = |id| {
            let folder = shelf.attempt(AttemptId(id));
            folder.begin(&order(id), &plan()).unwrap();
            folder
        };
        let stands = begin(1);
        stands.keep(&standing).unwrap();
        fs::write(stands.log(), "12345").unwrap();
        begin(2);
        let damaged = begin(3);
        fs::write(damaged.path.join("state.json"), "{").unwrap();
        fs::write(data.path().join("attempts/stray"), "").unwrap();
        begin(9);
        fs::rename(data.path().join("attempts/9"), data.path().join("attempts/8")).unwrap();
        let kept = begin(4);
        let lock = fs::File::create(kept.lock()).unwrap();
        lock.file().lock().unwrap();
        let ended = begin(5);
        mark(&ended);
        let built = Built { artefacts: Vec::new(), peak_memory_bytes: 7 };
        let word = Ended { outcome: crate::outcome::Outcome::Built(built), log_size_bytes: 3 };
        write_durably(&ended.ended(), &word).unwrap();
        let spoilt = begin(7);
        mark(&spoilt);
        write_durably(&spoilt.ended(), &word).unwrap();
        fs::write(spoilt.state(), "").unwrap();
        let killed = begin(6);
        mark(&killed);
        fs::write(killed.keeper_log(), "panic!\n").unwrap();
        fs::write(killed.output().join("half.stone"), "").unwrap();

        let found: Vec<(u64, Found)> = shelf
            .survivors()
            .unwrap()
            .into_iter()
            .map(|survivor| (survivor.order.attempt_id.0, survivor.found))
            .collect();
        let message = "the keeper of the build was killed; its last words: panic!";
        let lost = crate::outcome::Outcome::Failed(Failure::new(FailureClass::Lost, "", message));
        let expected = [
            (1, Found::Standing(standing)),
            (2, Found::NotBegun),
            (4, Found::Building),
            (5, Found::Ended(word.clone())),
            (6, Found::Ended(Ended { outcome: lost, log_size_bytes: 0 })),
            (7, Found::Ended(word)),
        ];
        assert_eq!(found, expected);
        assert!(!killed.output().exists(), "what a lost build left is gone");
        let mut left: Vec<_> = fs::read_dir(data.path().join("attempts"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["1", "2", "4", "5", "6", "7"]);
    }

    #[test]
    fn a_machine_that_was_started_again_is_told_from_a_killed_keeper() {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path()).unwrap();
        let folder = store.shelf(None).attempt(AttemptId(1));
        folder.begin(&order(1), &plan()).unwrap();
        let mark = keeper::ProcessMark::own().unwrap();
        let before = keeper::ProcessMark { boot_id: "another".to_owned(), ..mark };
        write_durably(&folder.keeper(), &before).unwrap();
        let crate::outcome::Outcome::Failed(failure) = keeper::end_of(&folder).outcome else { panic!() };
        assert_eq!(failure.class, FailureClass::Lost);
        assert!(failure.message.contains("machine was started again"), "{failure:?}");
    }

    #[test]
    fn summits_do_not_share_attempts_and_those_that_are_gone_are_swept() {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path()).unwrap();
        let shelves = [store.shelf(None), store.shelf(Some("one")), store.shelf(Some("two"))];
        for shelf in &shelves {
            shelf.attempt(AttemptId(1)).begin(&order(1), &plan()).unwrap();
        }
        let kept = shelves.get(1..2).unwrap();
        store.sweep_other_shelves(kept).unwrap();
        let left = shelves.each_ref().map(|shelf| shelf.survivors().unwrap().len());
        assert_eq!(left, [0, 1, 0]);
    }

    #[test]
    fn what_an_older_agent_kept_is_read_and_has_no_peak() {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path()).unwrap();
        let shelf = store.shelf(None);
        for (id, state) in [
            (1, r#"{"state":"built","artefacts":[]}"#),
            (2, r#"{"state":"failed","failure":{"class":"build","phase":"check","message":"no"}}"#),
            (3, r#"{"state":"built","artefacts":[],"peak_memory_bytes":7}"#),
        ] {
            shelf.attempt(AttemptId(id)).begin(&order(id), &plan()).unwrap();
            fs::write(data.path().join(format!("attempts/{id}/state.json")), state).unwrap();
        }
        let found: Vec<Found> =
            shelf.survivors().unwrap().into_iter().map(|survivor| survivor.found).collect();
        let built = |peak_memory_bytes| Standing::Built(Built { artefacts: Vec::new(), peak_memory_bytes });
        let failure = Failure::new(FailureClass::Build, "check", "no");
        let expected = [built(0), Standing::Failed { failure }, built(7)];
        assert_eq!(found, expected.map(Found::Standing));
    }

    #[test]
    fn two_agents_never_share_a_folder() {
        let data = tempfile::tempdir().unwrap();
        let _held = Store::open(data.path()).unwrap();
        assert!(matches!(Store::open(data.path()).unwrap_err(), StoreError::InUse { .. }));
    }
}
