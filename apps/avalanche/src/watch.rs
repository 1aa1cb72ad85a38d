//! One child process under watch: its output, its limits, its end.
//!
//! The child leads a process group of its own, and everything it writes goes through one pipe into the log. Whatever
//! ends the watch, the whole group is gone afterwards. The caller's thread waits here; it must be one that lives as
//! long as the child, since the kernel ties "die with the parent" to the thread that started it.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fs_err as fs;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::Notify;

/// Bytes taken from the pipe at a time: what a pipe holds.
const CHUNK_BYTES: usize = 64 * 1024;
/// How often a child whose pipe something else still holds open is looked after.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Room that the agent's own last words have beyond the limit of a log.
const NOTE_BYTES_MAX: u64 = 4096;

/// A log on disk that grows, and whoever wants to know.
#[derive(Debug)]
pub(crate) struct Spool {
    file: fs::File,
    limit_bytes: u64,
    growth: Arc<Growth>,
}

/// How large a log is, shared with the task that sends it.
#[derive(Debug)]
pub(crate) struct Growth {
    size_bytes: AtomicU64,
    grown: Arc<Notify>,
}

/// The log has no room for all of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Growth {
    pub(crate) fn new(grown: Arc<Notify>) -> Growth {
        Growth { size_bytes: AtomicU64::new(0), grown }
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes.load(Ordering::Acquire)
    }
}

impl Spool {
    pub(crate) fn create(path: &Path, limit_bytes: u64, growth: Arc<Growth>) -> io::Result<Spool> {
        Ok(Spool { file: fs::File::create(path)?, limit_bytes, growth })
    }

    /// Adds a line of the agent's own.
    pub(crate) fn note(&mut self, text: &str) {
        let line = format!("[avalanche] {text}\n");
        let limit = self.limit_bytes.saturating_add(NOTE_BYTES_MAX);
        if let Err(error) = self.append(line.as_bytes(), limit) {
            tracing::warn!(%error, "cannot write to a build log");
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<Result<(), Full>> {
        self.append(bytes, self.limit_bytes)
    }

    fn append(&mut self, bytes: &[u8], limit_bytes: u64) -> io::Result<Result<(), Full>> {
        let held = self.growth.size_bytes();
        let room = usize::try_from(limit_bytes.saturating_sub(held)).unwrap_or(usize::MAX);
        let fits = bytes.get(..room.min(bytes.len())).unwrap_or_default();
        self.file.write_all(fits)?;
        let size_bytes = held.saturating_add(u64::try_from(fits.len()).unwrap_or(u64::MAX));
        self.growth.size_bytes.store(size_bytes, Ordering::Release);
        self.growth.grown.notify_one();
        Ok(if fits.len() < bytes.len() { Err(Full) } else { Ok(()) })
    }
}

/// One end of a cancellation: dropping it cancels.
#[derive(Debug)]
pub(crate) struct Canceller {
    _writer: PipeWriter,
}

/// The other end.
#[derive(Debug)]
pub(crate) struct Cancelled {
    reader: PipeReader,
}

pub(crate) fn cancellation() -> io::Result<(Canceller, Cancelled)> {
    let (reader, writer) = io::pipe()?;
    Ok((Canceller { _writer: writer }, Cancelled { reader }))
}

impl Cancelled {
    pub(crate) fn now(&self) -> bool {
        let mut waited = [PollFd::new(&self.reader, PollFlags::IN)];
        // Nothing is ever written: the only thing to see is that the other end is gone.
        poll(&mut waited, Some(&Timespec::default())).is_ok_and(|count| count > 0)
    }
}

/// What a child may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WatchLimits {
    pub(crate) time: Duration,
    pub(crate) silence: Duration,
}

/// Why the watch ended.
#[derive(Debug)]
pub(crate) enum End {
    Exited(ExitStatus),
    TimeLimit,
    Silence,
    LogFull,
    Cancelled,
}

/// Runs `command` to its end, or to that of its limits.
pub(crate) fn watch(
    mut command: Command,
    spool: &mut Spool,
    limits: WatchLimits,
    cancelled: &Cancelled,
) -> io::Result<End> {
    let (mut output, writer) = io::pipe()?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer).process_group(0);
    let mut child = command.spawn()?;
    // Closes our copies of the writing end, or the pipe would never end.
    drop(command);
    let end = follow(&mut child, &mut output, spool, limits, cancelled);
    kill_group(&child);
    let status = child.wait()?;
    Ok(match end? {
        Some(end) => end,
        None => End::Exited(status),
    })
}

/// Nothing when the child has ended by itself.
fn follow(
    child: &mut Child,
    output: &mut PipeReader,
    spool: &mut Spool,
    limits: WatchLimits,
    cancelled: &Cancelled,
) -> io::Result<Option<End>> {
    let deadline = Instant::now() + limits.time;
    let mut silent_since = Instant::now();
    let mut open = true;
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let now = Instant::now();
        if now >= deadline {
            return Ok(Some(End::TimeLimit));
        }
        if now.saturating_duration_since(silent_since) >= limits.silence {
            return Ok(Some(End::Silence));
        }
        let wait = LOOK_EVERY.min(deadline - now).min(limits.silence);
        let (spoke, is_cancelled) = wait_for(open.then_some(&*output), cancelled, wait)?;
        if is_cancelled {
            return Ok(Some(End::Cancelled));
        }
        if spoke {
            let count = output.read(&mut chunk)?;
            if count == 0 {
                open = false;
            } else {
                silent_since = Instant::now();
                if spool.write(chunk.get(..count).unwrap_or_default())?.is_err() {
                    return Ok(Some(End::LogFull));
                }
                continue;
            }
        }
        // Only now: what the child wrote before its end is read.
        if has_ended(child)? {
            return Ok(None);
        }
    }
}

/// Whether there is output (or its end), and whether the build was cancelled.
fn wait_for(output: Option<&PipeReader>, cancelled: &Cancelled, wait: Duration) -> io::Result<(bool, bool)> {
    let timeout = Timespec {
        tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: wait.subsec_nanos().into(),
    };
    let mut waited = vec![PollFd::new(&cancelled.reader, PollFlags::IN)];
    if let Some(output) = output {
        waited.push(PollFd::from_borrowed_fd(output.as_fd(), PollFlags::IN));
    }
    match poll(&mut waited, Some(&timeout)) {
        Ok(_) => {}
        Err(rustix::io::Errno::INTR) => return Ok((false, false)),
        Err(error) => return Err(error.into()),
    }
    let seen = |index: usize| waited.get(index).is_some_and(|fd| !fd.revents().is_empty());
    Ok((seen(1), seen(0)))
}

/// Looks without reaping: until the group is killed its number must stay taken.
fn has_ended(child: &Child) -> io::Result<bool> {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let Some(pid) = pid(child) else { return Ok(true) };
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    Ok(waitid(WaitId::Pid(pid), options)?.is_some())
}

fn kill_group(child: &Child) {
    if let Some(group) = pid(child)
        && let Err(error) = rustix::process::kill_process_group(group, rustix::process::Signal::KILL)
    {
        tracing::debug!(%error, "no process group to kill");
    }
}

fn pid(child: &Child) -> Option<rustix::process::Pid> {
    i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Run {
        folder: tempfile::TempDir,
        spool: Spool,
        limits: WatchLimits,
        canceller: Option<Canceller>,
        cancelled: Cancelled,
    }

    impl Run {
        fn new() -> Run {
            let folder = tempfile::tempdir().unwrap();
            let growth = Arc::new(Growth::new(Arc::new(Notify::new())));
            let spool = Spool::create(&folder.path().join("log"), 1_000_000, growth).unwrap();
            let long = Duration::from_secs(60);
            let (canceller, cancelled) = cancellation().unwrap();
            let limits = WatchLimits { time: long, silence: long };
            Run { folder, spool, limits, canceller: Some(canceller), cancelled }
        }

        fn sh(&mut self, script: &str) -> End {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            watch(command, &mut self.spool, self.limits, &self.cancelled).unwrap()
        }

        fn log(&self) -> String {
            fs::read_to_string(self.folder.path().join("log")).unwrap()
        }
    }

    #[test]
    fn all_output_is_in_the_log_in_order() {
        let mut run = Run::new();
        run.spool.note("begins");
        let end = run.sh("echo one; echo two >&2; echo three; exit 4");
        assert!(matches!(end, End::Exited(status) if status.code() == Some(4)), "{end:?}");
        assert_eq!(run.log(), "[avalanche] begins\none\ntwo\nthree\n");
        assert_eq!(run.spool.growth.size_bytes(), u64::try_from(run.log().len()).unwrap());
    }

    #[test]
    fn a_process_left_behind_neither_holds_the_end_up_nor_lives_on() {
        let mut run = Run::new();
        let pid_file = run.folder.path().join("pid");
        let end = run.sh(&format!("sleep 600 & echo $! > {}; echo done", pid_file.display()));
        assert!(matches!(end, End::Exited(status) if status.success()), "{end:?}");
        assert_eq!(run.log(), "done\n");
        let pid = fs::read_to_string(pid_file).unwrap().trim().to_owned();
        let limit = Instant::now() + Duration::from_secs(10);
        while fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z ")) {
            assert!(Instant::now() < limit, "process {pid} lives on");
            std::thread::yield_now();
        }
    }

    #[test]
    fn every_limit_ends_it() {
        let mut run = Run::new();
        run.limits.time = Duration::from_millis(300);
        assert!(matches!(run.sh("while :; do echo x; sleep 0.01; done"), End::TimeLimit));

        let mut run = Run::new();
        run.limits.silence = Duration::from_millis(300);
        assert!(matches!(run.sh("echo x; sleep 600"), End::Silence));

        let mut run = Run::new();
        run.spool.limit_bytes = 10_000;
        assert!(matches!(run.sh("yes"), End::LogFull));
        assert_eq!(run.log().len(), 10_000);
        run.spool.note("too much");
        assert!(run.log().ends_with("[avalanche] too much\n"), "the reason still fits");
    }

    #[test]
    fn cancelling_ends_it_at_once() {
        let mut run = Run::new();
        let canceller = run.canceller.take();
        let growth = Arc::clone(&run.spool.growth);
        let other = std::thread::spawn(move || {
            while growth.size_bytes() == 0 {
                std::thread::yield_now();
            }
            drop(canceller);
        });
        assert!(!run.cancelled.now());
        assert!(matches!(run.sh("echo ready; sleep 600"), End::Cancelled));
        assert!(run.cancelled.now());
        other.join().unwrap();
    }
}
