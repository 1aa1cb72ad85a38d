//! One build, kept by a process of its own that outlives the agent.
//!
//! The agent lays the attempt out on disk, takes the lock of its folder, and hands the lock to the keeper as its standard
//! input. From then on the lock says all that matters about the keeper: it is held as long as the keeper lives and is
//! free afterwards, whoever killed it. An agent that was started again therefore knows a build that goes on from one
//! that ended, without asking anybody.
//!
//! ```text
//! agent ── begins ──▶ keeper (session of its own) ── parent of ──▶ Boulder ──▶ sandbox
//!   │                   │ limits, log, outcome
//!   └── reads the log ──┴── told to end by the file `cancel` and SIGTERM
//! ```
//!
//! Invariants: `ended.json` appears whole or not at all, after all of the log and all that was built are on disk. Boulder
//! ends with its keeper, and the sandbox with Boulder. A keeper that is told to end without the file `cancel` was ended
//! by the machine, so its build is lost and not cancelled.

mod process;

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fault::{Fault, Kind};
use fetch::GitMirrors;
use fs_err as fs;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use crate::boulder::{Boulder, is_all_programs};
use crate::build::Build;
use crate::order::Order;
use crate::outcome::{Failure, FailureClass, Outcome};
use crate::store::{AttemptFolder, read_json, remove, write_durably};
use crate::watch::{Cancelled, Spool};

pub(crate) use process::ProcessMark;

/// Environment of everything that a keeper starts: the folder of its attempt.
const ATTEMPT_VARIABLE: &str = "MORAINE_ATTEMPT";
/// Pause between two looks at processes that were killed.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long killed processes may take to end; the kernel needs a moment for large ones.
const ENDING_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a keeper may take from its start to its mark; it is some milliseconds.
const BEGINNING_TIMEOUT: Duration = Duration::from_secs(5);
/// Last words of a keeper that are passed on.
const TAIL_BYTES: usize = 1000;

/// How a keeper runs its build, beside the order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) boulder: Boulder,
    /// Folder of the mirrors of recipe repositories.
    pub(crate) git: PathBuf,
}

/// The end of a build, as its keeper wrote it down. A field that a newer keeper adds is passed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub(crate) outcome: Outcome,
    pub(crate) log_size_bytes: u64,
}

/// A keeper cannot do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeeperError {
    #[error("cannot keep the build in {path}: its agent did not hand over the lock")]
    NoLock { path: PathBuf },
    #[error("cannot keep the build in {path}: {reason}")]
    Damaged { path: PathBuf, reason: String },
    #[error("cannot keep the build in {path}")]
    Folder {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl Fault for KeeperError {
    fn kind(&self) -> Kind {
        match self {
            KeeperError::NoLock { .. } => Kind::Input,
            KeeperError::Damaged { .. } => Kind::Damaged,
            KeeperError::Folder { .. } => Kind::Unavailable,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            KeeperError::NoLock { .. } => {
                vec!["keepers are started by the agent alone: avalanche run --config FILE".to_owned()]
            }
            _ => Vec::new(),
        }
    }
}

/// How this program is started as a keeper.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// The name that people see.
    name: OsString,
    /// Words before `keep`: the name of this program, where one binary is all of them.
    words: Vec<OsString>,
}

impl Program {
    /// The program that runs, known as `current`.
    pub(crate) fn of(current: &Path) -> Program {
        let words = if is_all_programs(current) { vec!["avalanche".into()] } else { Vec::new() };
        Program { name: current.into(), words }
    }

    /// Begins the build that is laid out in `folder`, and gives the keeper, which lives on without us.
    pub(crate) fn start(&self, folder: &AttemptFolder) -> io::Result<Child> {
        let lock = fs::File::create(folder.lock())?;
        lock.file().try_lock().map_err(io::Error::from)?;
        let words = fs::OpenOptions::new().create(true).append(true).open(folder.keeper_log())?;
        // What the keeper appends to is there before anybody looks for it.
        fs::OpenOptions::new().create(true).append(true).open(folder.log())?;
        // This very file, even when another version was put into its place.
        Command::new("/proc/self/exe")
            .arg0(&self.name)
            .args(&self.words)
            .arg("keep")
            .arg(folder.path())
            .env_remove(sandbox::DIE_WITH_PARENT)
            .env(ATTEMPT_VARIABLE, folder.path())
            .current_dir("/")
            .stdin(Stdio::from(lock.into_file()))
            .stdout(Stdio::null())
            .stderr(Stdio::from(words.into_file()))
            .spawn()
    }
}

/// Keeps the build in the folder at `path` until its end. This is the whole life of a keeper.
pub(crate) fn keep(path: &Path) -> Result<(), KeeperError> {
    let folder = AttemptFolder::at(path);
    let failed = |source| KeeperError::Folder { path: path.to_path_buf(), source };
    let _lock = take_lock(&folder)?;
    // Interrupts at the terminal of the agent are none of our business.
    if let Err(error) = rustix::process::setsid() {
        tracing::debug!(%error, "no session of our own");
    }
    let cancelled = Cancelled::on_terminate().map_err(failed)?;
    write_durably(&folder.keeper(), &ProcessMark::own().map_err(failed)?).map_err(failed)?;
    let damaged = |reason| KeeperError::Damaged { path: path.to_path_buf(), reason };
    let order: Order = read_json(&folder.order()).map_err(damaged)?;
    let plan: Plan = read_json(&folder.plan()).map_err(damaged)?;
    let mut spool = Spool::append_to(&folder.log(), order.limits.log_bytes).map_err(failed)?;
    let build =
        Build { order, folder: folder.clone(), mirrors: GitMirrors::new(&plan.git), boulder: plan.boulder };
    // After the mark is written: who asked for the end before could not send the signal.
    let outcome = if folder.is_cancelled() { stopped(&folder) } else { run(&build, &mut spool, &cancelled) };
    let outcome = match outcome {
        Outcome::Failed(failure) if failure.class == FailureClass::Cancelled => {
            with_peak(stopped(&folder), failure.peak_memory_bytes)
        }
        outcome => outcome,
    };
    spool.sync().map_err(failed)?;
    let ended = Ended { outcome, log_size_bytes: spool.size_bytes() };
    write_durably(&folder.ended(), &ended).map_err(failed)
}

fn run(build: &Build, spool: &mut Spool, cancelled: &Cancelled) -> Outcome {
    let run = std::panic::AssertUnwindSafe(|| build.run(spool, cancelled));
    std::panic::catch_unwind(run).unwrap_or_else(|_| {
        let message = "the keeper of the build contradicts itself; keeper.log in its folder says more";
        Outcome::Failed(Failure::new(FailureClass::HostFault, "", message))
    })
}

/// How a build ends whose keeper was told to end.
fn stopped(folder: &AttemptFolder) -> Outcome {
    Outcome::Failed(if folder.is_cancelled() {
        Failure::new(FailureClass::Cancelled, "", "the build was cancelled")
    } else {
        Failure::new(FailureClass::Lost, "", "the machine ended the build")
    })
}

fn with_peak(outcome: Outcome, peak_memory_bytes: u64) -> Outcome {
    match outcome {
        Outcome::Failed(failure) => Outcome::Failed(failure.with_peak(peak_memory_bytes)),
        built @ Outcome::Built(_) => built,
    }
}

/// Takes the lock away from standard input, so that nothing that is started inherits it.
fn take_lock(folder: &AttemptFolder) -> Result<fs::File, KeeperError> {
    let no_lock = |_error| KeeperError::NoLock { path: folder.path().to_path_buf() };
    let descriptor = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)
        .map_err(|error| no_lock(io::Error::from(error)))?;
    let is_ours = || -> io::Result<bool> {
        let (given, wanted) = (rustix::fs::fstat(&descriptor)?, rustix::fs::stat(folder.lock())?);
        Ok((given.st_dev, given.st_ino) == (wanted.st_dev, wanted.st_ino))
    };
    if !is_ours().map_err(no_lock)? {
        return Err(no_lock(io::ErrorKind::InvalidInput.into()));
    }
    // It is held through this description already; taking it through the same one again changes nothing.
    rustix::fs::flock(descriptor.as_fd(), FlockOperation::NonBlockingLockExclusive)
        .map_err(|error| no_lock(error.into()))?;
    let null = fs::File::open("/dev/null").map_err(no_lock)?;
    rustix::stdio::dup2_stdin(null.file()).map_err(|error| no_lock(error.into()))?;
    Ok(fs::File::from_parts(descriptor.into(), folder.lock()))
}

/// Waits, however long, until no keeper has the folder, and gives the end of its build.
pub(crate) fn wait_for_end(folder: &AttemptFolder) -> Ended {
    let waited = fs::File::open(folder.lock()).and_then(|lock| lock.file().lock());
    if let Err(error) = waited {
        tracing::error!(path = %folder.path().display(), %error, "cannot wait for a keeper");
    }
    end_of(folder)
}

/// Whether a keeper has the folder.
pub(crate) fn is_kept(folder: &AttemptFolder) -> io::Result<bool> {
    let lock = match fs::File::open(folder.lock()) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    match lock.file().try_lock() {
        Ok(()) => Ok(false),
        Err(std::fs::TryLockError::WouldBlock) => Ok(true),
        Err(std::fs::TryLockError::Error(error)) => Err(error),
    }
}

/// The end of a build whose keeper is gone. One that left no word was killed, or the machine with it.
pub(crate) fn end_of(folder: &AttemptFolder) -> Ended {
    if let Ok(ended) = read_json(&folder.ended()) {
        return ended;
    }
    let mark: Result<ProcessMark, String> = read_json(&folder.keeper());
    let message = match mark {
        Ok(mark) if !mark.is_of_this_boot() => "the machine was started again during the build".to_owned(),
        Ok(_) => format!("the keeper of the build was killed{}", last_words(folder)),
        Err(_) => format!("the keeper of the build did not begin{}", last_words(folder)),
    };
    end_leftovers(folder);
    for rest in [folder.source(), folder.output()] {
        if let Err(error) = remove(&rest) {
            tracing::warn!(%error, "cannot remove what a lost build left");
        }
    }
    let outcome = Outcome::Failed(Failure::new(FailureClass::Lost, "", &message));
    Ended { outcome, log_size_bytes: folder.log_size_bytes() }
}

fn last_words(folder: &AttemptFolder) -> String {
    let said = fs::read(folder.keeper_log()).unwrap_or_default();
    let tail = said.get(said.len().saturating_sub(TAIL_BYTES)..).unwrap_or_default();
    match String::from_utf8_lossy(tail).trim() {
        "" => String::new(),
        words => format!("; its last words: {words}"),
    }
}

/// Asks the keeper to end its build at once. `cancelled`: somebody does not want the build, rather than us here.
pub(crate) fn end(folder: &AttemptFolder, cancelled: bool) -> io::Result<()> {
    if cancelled {
        // First, so that a keeper which has not said yet who it is finds it.
        fs::File::create(folder.cancel())?;
    }
    let deadline = std::time::Instant::now() + BEGINNING_TIMEOUT;
    loop {
        match read_json::<ProcessMark>(&folder.keeper()) {
            Ok(mark) => return mark.terminate(),
            Err(_) if cancelled => return Ok(()),
            // It has not said yet who it is.
            Err(_) if is_kept(folder)? && std::time::Instant::now() < deadline => {
                std::thread::sleep(LOOK_EVERY);
            }
            Err(_) => return Ok(()),
        }
    }
}

/// Ends what a killed keeper left running. Boulder and its sandbox end by themselves; this is for what does not.
pub(crate) fn end_leftovers(folder: &AttemptFolder) {
    let deadline = std::time::Instant::now() + ENDING_TIMEOUT;
    let marker = format!("{ATTEMPT_VARIABLE}={}", folder.path().display());
    while process::kill_all_with(marker.as_bytes()) > 0 {
        if std::time::Instant::now() > deadline {
            tracing::error!(path = %folder.path().display(), "processes of a lost build do not end");
            return;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
