//! Carries out what `system::transaction` decides: the exchange of one `/usr` for another, and recovery.
//!
//! Each step is durable before the next begins. Nothing is chosen here.

use std::io::{self, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use fault::{Fault, Kind};
use fs_err as fs;
use rustix::fs::RenameFlags;
use rustix::io::Errno;
use system::StateId;
use system::transaction::{
    Found, Journal, Observed, Recovery, RecoveryError, RecoveryStep, Step, TransactionKind, plan, recover,
};

use crate::database::{Database, DatabaseError, State};
use crate::installation::{Installation, InstallationError, state_of_tree};
use crate::reporter::Reporter;

/// Links in the root of the file system that make a merged `/usr` look like the classic layout.
const ROOT_LINKS: [(&str, &str); 5] = [
    ("bin", "usr/bin"),
    ("lib", "usr/lib"),
    ("lib32", "usr/lib32"),
    ("lib64", "usr/lib"),
    ("sbin", "usr/sbin"),
];

/// Why one state could not replace another.
#[derive(Debug, thiserror::Error)]
pub enum SwapError {
    /// A step failed; what was done before it has been undone, or will be by the next command.
    #[error("cannot {verb} {}", path.display())]
    Step {
        /// What was to be done.
        verb: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Something that is no link is where a root link belongs.
    #[error("cannot make the link {} to {target}: something else is there", path.display())]
    RootLinkTaken {
        /// Where the link belongs.
        path: PathBuf,
        /// Where it must lead.
        target: &'static str,
    },
    /// The file system cannot exchange two directories.
    #[error("cannot exchange {} with the new tree: the file system does not support it", usr.display())]
    NoExchange {
        /// The `/usr` of the system.
        usr: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The `/usr` that is there was not made by moss.
    #[error("cannot replace {}: it is not a tree made by moss", usr.display())]
    Unmanaged {
        /// The `/usr` of the system.
        usr: PathBuf,
    },
    /// The journal is not one.
    #[error("cannot read the journal {}", path.display())]
    BadJournal {
        /// The journal.
        path: PathBuf,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// A test asked to stop here, as a crash would.
    #[error("stopped after step {done}, as asked")]
    Stopped {
        /// How many steps were done.
        done: usize,
    },
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The installation failed.
    #[error(transparent)]
    Installation(#[from] InstallationError),
    /// An interrupted change cannot be brought to an end.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
}

impl Fault for SwapError {
    fn kind(&self) -> Kind {
        match self {
            SwapError::Step { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Kind::Denied
            }
            SwapError::Step { .. } | SwapError::NoExchange { .. } | SwapError::Stopped { .. } => {
                Kind::Unavailable
            }
            SwapError::RootLinkTaken { .. } | SwapError::Unmanaged { .. } => Kind::Conflict,
            SwapError::BadJournal { .. } => Kind::Damaged,
            SwapError::Database(error) => error.kind(),
            SwapError::Installation(error) => error.kind(),
            SwapError::Recovery(error) => error.kind(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            SwapError::RootLinkTaken { path, .. } => {
                vec![format!("nothing was changed; move it away: mv {0} {0}.old", path.display())]
            }
            SwapError::NoExchange { .. } => {
                vec!["nothing was changed; use a root on ext4, xfs, btrfs, f2fs or tmpfs, with /usr on the same file system".into()]
            }
            SwapError::Unmanaged { usr } => vec![
                "choose an empty directory as the root: moss -D DIRECTORY …".into(),
                format!("or, if nothing needs it, move it away: mv {0} {0}.old", usr.display()),
            ],
            SwapError::Step { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                vec!["the disk is full; the system is as it was: make room and do the same again".into()]
            }
            SwapError::Database(error) => error.hints(),
            SwapError::Installation(error) => error.hints(),
            SwapError::Recovery(error) => error.hints(),
            SwapError::Step { .. } | SwapError::BadJournal { .. } | SwapError::Stopped { .. } => Vec::new(),
        }
    }
}

/// Where to stop as if the machine had crashed; only tests set it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StopAfter(pub(crate) Option<usize>);

impl StopAfter {
    /// Never.
    pub const NEVER: StopAfter = StopAfter(None);

    /// After so many steps of the exchange.
    #[must_use]
    pub fn steps(done: usize) -> Self {
        Self(Some(done))
    }
}

/// Exchanges `/usr` for the tree in staging (a new state) or in the archive (an old one).
pub(crate) struct Swap<'a> {
    pub(crate) installation: &'a Installation,
    pub(crate) database: &'a Database,
    pub(crate) stop_after: StopAfter,
}

impl Swap<'_> {
    /// Makes the tree in staging the active one, as `state`.
    pub(crate) fn create(&self, state: &State) -> Result<(), SwapError> {
        let old = self.installation.active_state()?;
        self.run(Journal { kind: TransactionKind::Create, new: state.id, old }, Some(state))
    }

    /// Makes an archived state the active one.
    pub(crate) fn activate(&self, state: StateId) -> Result<(), SwapError> {
        let old = self.installation.active_state()?;
        self.run(Journal { kind: TransactionKind::Activate, new: state, old }, None)
    }

    fn run(&self, journal: Journal, state: Option<&State>) -> Result<(), SwapError> {
        refuse_unmanaged(self.installation, journal.old)?;
        for (done, step) in plan(journal).into_iter().enumerate() {
            if self.stop_after.0 == Some(done) {
                return Err(SwapError::Stopped { done });
            }
            if let Err(error) = self.act(step, state) {
                tracing::warn!(?step, "a step failed; going back to firm ground");
                // The first error is the one to report. What recovery cannot do now, the next command tries again.
                if let Err(second) = bring_to_an_end(self.installation, self.database) {
                    tracing::warn!(error = %second, "the change could not be brought to an end yet");
                }
                return Err(error);
            }
        }
        Ok(())
    }

    fn act(&self, step: Step, state: Option<&State>) -> Result<(), SwapError> {
        let installation = self.installation;
        let staged = installation.staging().join("usr");
        match step {
            Step::SyncFiles => {
                let private = installation.private();
                sync_file_system(&private).map_err(step_error("sync the files of", &private))
            }
            Step::WriteJournal(journal) => write_journal(&installation.journal(), journal),
            Step::TakeFromArchive(id) => {
                let archived = installation.archive(id);
                make_directory(&installation.staging())?;
                move_durably(&archived.join("usr"), &staged)?;
                remove_empty(&archived)
            }
            Step::MakeRootLinks => make_root_links(installation.root()),
            Step::RecordState(_) => match state {
                Some(state) => Ok(self.database.record_state(state)?),
                None => Ok(()),
            },
            Step::Exchange => exchange(&staged, &installation.usr()),
            Step::Archive(id) => archive(installation, id),
            Step::DiscardStaging => discard(&installation.staging()),
            Step::ClearJournal => remove_durably(&installation.journal()),
        }
    }
}

/// Says whether `/usr` may be replaced: it is ours, or there is nothing in it.
pub(crate) fn refuse_unmanaged(
    installation: &Installation,
    active: Option<StateId>,
) -> Result<(), SwapError> {
    let usr = installation.usr();
    if active.is_some() {
        return Ok(());
    }
    match fs::read_dir(&usr) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(SwapError::Unmanaged { usr }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(SwapError::Step { verb: "read", path: usr, source }),
    }
}

/// Brings an interrupted change to an end, forward or back, and removes what was half made.
///
/// # Errors
/// When nobody can tell what happened, or a step back fails.
pub(crate) fn recover_installation(
    installation: &Installation,
    database: &Database,
    reporter: &dyn Reporter,
) -> Result<(), SwapError> {
    match bring_to_an_end(installation, database)? {
        (_, None) => {}
        (Recovery::Forward(_), Some(journal)) => {
            reporter.warn(&format!("an interrupted change was completed: state {} is active", journal.new));
        }
        (_, Some(Journal { old: Some(old), new, .. })) => {
            reporter
                .warn(&format!("the interrupted change to state {new} was undone: state {old} is active"));
        }
        (_, Some(Journal { old: None, .. })) => {
            reporter.warn("the interrupted first installation was undone");
        }
    }
    Ok(())
}

fn bring_to_an_end(
    installation: &Installation,
    database: &Database,
) -> Result<(Recovery, Option<Journal>), SwapError> {
    let observed = observe(installation, database)?;
    let recovery = recover(&observed)?;
    for step in recovery.steps() {
        match *step {
            RecoveryStep::ArchiveStaging(id) => archive(installation, id)?,
            RecoveryStep::DiscardStaging => discard(&installation.staging())?,
            RecoveryStep::ForgetState(id) => database.forget_state(id)?,
            RecoveryStep::ClearJournal => remove_durably(&installation.journal())?,
        }
    }
    Ok((recovery, observed.journal))
}

fn observe(installation: &Installation, database: &Database) -> Result<Observed, SwapError> {
    let staging = found(&installation.staging().join("usr"))?;
    let (staging_is_recorded, staging_is_archived) = match staging {
        Found::State(id) => (database.has_state(id)?, installation.archive(id).join("usr").is_dir()),
        Found::Missing | Found::Unnumbered => (false, false),
    };
    Ok(Observed {
        journal: read_journal(&installation.journal())?,
        usr: found(&installation.usr())?,
        staging,
        staging_is_recorded,
        staging_is_archived,
    })
}

fn found(tree: &Path) -> Result<Found, SwapError> {
    if !tree.is_dir() {
        return Ok(Found::Missing);
    }
    Ok(match state_of_tree(tree)? {
        Some(id) => Found::State(id),
        None => Found::Unnumbered,
    })
}

fn step_error(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SwapError {
    let path = path.to_path_buf();
    move |source| SwapError::Step { verb, path, source }
}

/// Most bytes of a journal: three short fields.
const JOURNAL_BYTES_MAX: usize = 4096;

fn read_journal(path: &Path) -> Result<Option<Journal>, SwapError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(SwapError::Step { verb: "read", path: path.to_path_buf(), source }),
    };
    let bytes = &bytes[..bytes.len().min(JOURNAL_BYTES_MAX)];
    match serde_json::from_slice(bytes) {
        Ok(journal) => Ok(Some(journal)),
        Err(source) => Err(SwapError::BadJournal { path: path.to_path_buf(), source }),
    }
}

fn write_journal(path: &Path, journal: Journal) -> Result<(), SwapError> {
    let text = serde_json::to_string(&journal)
        .map_err(|source| SwapError::BadJournal { path: path.to_path_buf(), source })?;
    write_durably(path, text.as_bytes()).map_err(step_error("write", path))
}

/// Replaces a small file: after a crash it has the old content or the new.
pub(crate) fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let next = path.with_extension("next");
    let mut file = fs::File::create(&next)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&next, path)?;
    sync_parent(path)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), sync_directory)
}

/// Waits until the names in a directory are on the disk.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    fs::File::open(directory)?.sync_all()
}

/// Waits until everything written to the file system of `path` is on the disk.
pub(crate) fn sync_file_system(path: &Path) -> io::Result<()> {
    let directory = fs::File::open(path)?;
    Ok(rustix::fs::syncfs(&directory)?)
}

fn make_directory(path: &Path) -> Result<(), SwapError> {
    fs::create_dir_all(path).map_err(step_error("make", path))
}

fn move_durably(from: &Path, to: &Path) -> Result<(), SwapError> {
    let moved = fs::rename(from, to).and_then(|()| sync_parent(from)).and_then(|()| sync_parent(to));
    moved.map_err(step_error("move", from))
}

fn remove_durably(path: &Path) -> Result<(), SwapError> {
    match fs::remove_file(path) {
        Ok(()) => sync_parent(path).map_err(step_error("remove", path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(SwapError::Step { verb: "remove", path: path.to_path_buf(), source }),
    }
}

fn remove_empty(path: &Path) -> Result<(), SwapError> {
    match fs::remove_dir(path) {
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => {
            Err(SwapError::Step { verb: "remove", path: path.to_path_buf(), source: error })
        }
        _ => Ok(()),
    }
}

/// Removes a tree that is not, or no longer, anybody's.
pub(crate) fn discard(path: &Path) -> Result<(), SwapError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(SwapError::Step { verb: "remove", path: path.to_path_buf(), source: error })
        }
        _ => Ok(()),
    }
}

fn archive(installation: &Installation, id: StateId) -> Result<(), SwapError> {
    let archive = installation.archive(id);
    make_directory(&archive)?;
    move_durably(&installation.staging().join("usr"), &archive.join("usr"))?;
    sync_parent(&archive).map_err(step_error("sync", &archive))
}

fn exchange(staged: &Path, usr: &Path) -> Result<(), SwapError> {
    if !usr.exists() {
        fs::create_dir(usr).map_err(step_error("make", usr))?;
    }
    let directory = rustix::fs::CWD;
    match rustix::fs::renameat_with(directory, staged, directory, usr, RenameFlags::EXCHANGE) {
        Ok(()) => {}
        Err(error @ (Errno::INVAL | Errno::NOSYS | Errno::XDEV | Errno::OPNOTSUPP)) => {
            return Err(SwapError::NoExchange { usr: usr.to_path_buf(), source: error.into() });
        }
        Err(error) => {
            return Err(SwapError::Step { verb: "exchange", path: usr.to_path_buf(), source: error.into() });
        }
    }
    sync_parent(usr).and_then(|()| sync_parent(staged)).map_err(step_error("sync", usr))
}

fn make_root_links(root: &Path) -> Result<(), SwapError> {
    // First look, then act: nothing is changed when one of them is refused.
    let mut wanted = Vec::new();
    for (name, target) in ROOT_LINKS {
        let path = root.join(name);
        match path.symlink_metadata() {
            Ok(metadata) if !metadata.is_symlink() => return Err(SwapError::RootLinkTaken { path, target }),
            Ok(_) if fs::read_link(&path).is_ok_and(|present| present == Path::new(target)) => {}
            Ok(_) => wanted.push((path, target)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => wanted.push((path, target)),
            Err(source) => return Err(SwapError::Step { verb: "read", path, source }),
        }
    }
    for (path, target) in wanted {
        let next = path.with_extension("next");
        let made = match fs::remove_file(&next) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => symlink(target, &next).and_then(|()| fs::rename(&next, &path)),
        };
        made.map_err(step_error("make the link", &path))?;
    }
    fs::File::open(root).and_then(|root| root.sync_all()).map_err(step_error("sync", root))
}
