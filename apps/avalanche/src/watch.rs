//! One child process under watch: its output, its limits, its end.
//!
//! The child leads a process group of its own, and everything it writes goes through one pipe into the log. Whatever
//! ends the watch, the whole group is gone afterwards. A child that is ended is asked first, so that Boulder can end its
//! sandbox and say how much memory it took. The caller's thread waits here; it must be one that lives as
//! long as the child, since the kernel ties "die with the parent" to the thread that started it.

use std::io::{self, PipeReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use fs_err as fs;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal};

/// Bytes taken from the pipe at a time: what a pipe holds.
const CHUNK_BYTES: usize = 64 * 1024;
/// Longest wait without a look at the limits.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a child that is ended may take to say its last words and to clear up. Boulder kills its sandbox at once and
/// writes a few lines, so nothing of the build runs any more; then it removes what was built so far, which may be some
/// hundred thousand files on a busy disk.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// Room that the agent's own last words have beyond the limit of a log.
const NOTE_BYTES_MAX: u64 = 4096;

/// A log on disk that grows, and is never written to anywhere but at its end.
#[derive(Debug)]
pub(crate) struct Spool {
    file: fs::File,
    limit_bytes: u64,
    size_bytes: u64,
    /// Whether what comes next begins a line.
    at_line_start: bool,
}

/// The log has no room for all of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Spool {
    /// Goes on with the log at `path`, which may be new.
    pub(crate) fn append_to(path: &Path, limit_bytes: u64) -> io::Result<Spool> {
        let file = fs::OpenOptions::new().create(true).append(true).read(true).open(path)?;
        let size_bytes = file.metadata()?.len();
        let mut last = [b'\n'];
        if let Some(offset) = size_bytes.checked_sub(1) {
            file.file().read_exact_at(&mut last, offset)?;
        }
        Ok(Spool { file, limit_bytes, size_bytes, at_line_start: last == [b'\n'] })
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Adds a line of the agent's own. A build that was killed in the middle of a line does not share it.
    pub(crate) fn note(&mut self, text: &str) {
        let break_first = if self.at_line_start { "" } else { "\n" };
        let line = format!("{break_first}[avalanche] {text}\n");
        let limit = self.limit_bytes.saturating_add(NOTE_BYTES_MAX);
        if let Err(error) = self.append(line.as_bytes(), limit) {
            tracing::warn!(%error, "cannot write to a build log");
        }
    }

    /// Waits until all of it is on disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<Result<(), Full>> {
        self.append(bytes, self.limit_bytes)
    }

    fn append(&mut self, bytes: &[u8], limit_bytes: u64) -> io::Result<Result<(), Full>> {
        let room = usize::try_from(limit_bytes.saturating_sub(self.size_bytes)).unwrap_or(usize::MAX);
        let fits = bytes.get(..room.min(bytes.len())).unwrap_or_default();
        self.file.write_all(fits)?;
        self.at_line_start = fits.last().map_or(self.at_line_start, |last| *last == b'\n');
        self.size_bytes = self.size_bytes.saturating_add(u64::try_from(fits.len()).unwrap_or(u64::MAX));
        Ok(if fits.len() < bytes.len() { Err(Full) } else { Ok(()) })
    }
}

/// Whether somebody asked for the end.
#[derive(Debug)]
pub(crate) struct Cancelled {
    reader: PipeReader,
}

impl Cancelled {
    /// From now on this process is not ended by SIGTERM, but told.
    pub(crate) fn on_terminate() -> io::Result<Cancelled> {
        let (reader, writer) = io::pipe()?;
        signal_hook::low_level::pipe::register(signal_hook::consts::SIGTERM, writer)?;
        Ok(Cancelled { reader })
    }

    pub(crate) fn now(&self) -> bool {
        let mut waited = [PollFd::new(&self.reader, PollFlags::IN)];
        // Nothing is ever read from it: what was said once stays said.
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
    let (output, writer) = io::pipe()?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer).process_group(0);
    let mut child = command.spawn()?;
    // Closes our copies of the writing end, or the pipe would never end.
    drop(command);
    let end = Watch::new(&child, output).and_then(|mut watch| {
        let end = watch.follow(spool, limits, cancelled);
        if !matches!(end, Ok(None)) {
            ask_to_end(&child);
            watch.last_words(spool);
        }
        end
    });
    kill_group(&child);
    let status = child.wait()?;
    Ok(match end? {
        Some(end) => end,
        None => End::Exited(status),
    })
}

/// A child that runs.
struct Watch {
    /// Readable once the child has ended. It is not reaped: until its group is killed its number must stay taken.
    process: OwnedFd,
    output: PipeReader,
    /// Whether something may still come out of it.
    open: bool,
    chunk: Vec<u8>,
}

/// What a wait found.
#[derive(Debug, Default)]
struct Seen {
    output: bool,
    ended: bool,
    cancelled: bool,
}

impl Watch {
    fn new(child: &Child, output: PipeReader) -> io::Result<Watch> {
        let pid = pid(child).ok_or(io::ErrorKind::NotFound)?;
        let process = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
        Ok(Watch { process, output, open: true, chunk: vec![0; CHUNK_BYTES] })
    }

    /// Nothing when the child has ended by itself.
    fn follow(
        &mut self,
        spool: &mut Spool,
        limits: WatchLimits,
        cancelled: &Cancelled,
    ) -> io::Result<Option<End>> {
        let deadline = Instant::now() + limits.time;
        let mut silent_since = Instant::now();
        loop {
            let now = Instant::now();
            if now >= deadline {
                return Ok(Some(End::TimeLimit));
            }
            let silent = now.saturating_duration_since(silent_since);
            if silent >= limits.silence {
                return Ok(Some(End::Silence));
            }
            let wait = LOOK_EVERY.min(deadline - now).min(limits.silence - silent);
            let seen = self.wait(Some(cancelled), wait)?;
            if seen.cancelled {
                return Ok(Some(End::Cancelled));
            }
            if seen.output {
                let count = self.read()?;
                if count > 0 {
                    silent_since = Instant::now();
                    if spool.write(self.chunk.get(..count).unwrap_or_default())?.is_err() {
                        return Ok(Some(End::LogFull));
                    }
                    continue;
                }
            }
            // Only now: what the child wrote before its end is read.
            if seen.ended {
                return Ok(None);
            }
        }
    }

    /// Takes what a child that was asked to end still says, until it has ended or takes too long.
    fn last_words(&mut self, spool: &mut Spool) {
        let deadline = Instant::now() + LAST_WORDS;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let seen = match self.wait(None, left) {
                Ok(seen) if !left.is_zero() => seen,
                _ => return,
            };
            if seen.output {
                let count = self.read().unwrap_or_default();
                // A log that is full, or a disk that is, loses only these.
                let _kept = spool.write(self.chunk.get(..count).unwrap_or_default());
            } else if seen.ended {
                return;
            }
        }
    }

    fn read(&mut self) -> io::Result<usize> {
        let count = self.output.read(&mut self.chunk)?;
        self.open = count > 0;
        Ok(count)
    }

    fn wait(&self, cancelled: Option<&Cancelled>, wait: Duration) -> io::Result<Seen> {
        // Rounded up, or the last moment would be spent in a loop.
        let wait = wait + Duration::from_millis(1);
        let timeout = Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: wait.subsec_nanos().into(),
        };
        let sources: [Option<BorrowedFd<'_>>; 3] = [
            self.open.then(|| self.output.as_fd()),
            Some(self.process.as_fd()),
            cancelled.map(|cancelled| cancelled.reader.as_fd()),
        ];
        let mut waited: Vec<PollFd<'_>> =
            sources.iter().flatten().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
        match poll(&mut waited, Some(&timeout)) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(Seen::default()),
            Err(error) => return Err(error.into()),
        }
        let mut found = waited.iter().map(|fd| !fd.revents().is_empty());
        let mut next = |is_there: bool| is_there && found.next().unwrap_or_default();
        Ok(Seen { output: next(self.open), ended: next(true), cancelled: next(cancelled.is_some()) })
    }
}

fn ask_to_end(child: &Child) {
    if let Some(pid) = pid(child)
        && let Err(error) = rustix::process::kill_process(pid, Signal::TERM)
    {
        tracing::debug!(%error, "no process to ask");
    }
}

fn kill_group(child: &Child) {
    if let Some(group) = pid(child)
        && let Err(error) = rustix::process::kill_process_group(group, Signal::KILL)
    {
        tracing::debug!(%error, "no process group to kill");
    }
}

fn pid(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use std::io::PipeWriter;

    use super::*;

    struct Run {
        folder: tempfile::TempDir,
        spool: Spool,
        limits: WatchLimits,
        /// Dropping it cancels.
        canceller: Option<PipeWriter>,
        cancelled: Cancelled,
    }

    impl Run {
        fn new() -> Run {
            let folder = tempfile::tempdir().unwrap();
            let spool = Spool::append_to(&folder.path().join("log"), 1_000_000).unwrap();
            let long = Duration::from_secs(60);
            let (reader, writer) = io::pipe().unwrap();
            let limits = WatchLimits { time: long, silence: long };
            Run { folder, spool, limits, canceller: Some(writer), cancelled: Cancelled { reader } }
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
        assert_eq!(run.spool.size_bytes(), u64::try_from(run.log().len()).unwrap());
        let again = Spool::append_to(&run.folder.path().join("log"), 1_000_000).unwrap();
        assert_eq!(again.size_bytes(), run.spool.size_bytes());
    }

    #[test]
    fn a_note_never_shares_a_line_with_what_was_killed_in_the_middle_of_it() {
        let mut run = Run::new();
        run.sh("printf 'whole\\nhalf'; kill -9 $$");
        run.spool.note("killed");
        run.spool.note("really");
        assert_eq!(run.log(), "whole\nhalf\n[avalanche] killed\n[avalanche] really\n");
        // Nor when another keeper goes on with the log.
        run.sh("printf half");
        let mut again = Spool::append_to(&run.folder.path().join("log"), 1_000_000).unwrap();
        again.note("again");
        assert!(run.log().ends_with("\nhalf\n[avalanche] again\n"), "{}", run.log());
    }

    #[test]
    fn the_end_is_noticed_at_once_although_the_output_ended_before() {
        let mut run = Run::new();
        let began = Instant::now();
        let end = run.sh("exec >&- 2>&-; sleep 0.05");
        assert!(matches!(end, End::Exited(status) if status.success()), "{end:?}");
        assert!(began.elapsed() < LOOK_EVERY, "{:?}", began.elapsed());
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
    fn what_is_ended_says_its_last_words_and_what_will_not_end_is_killed() {
        let mut run = Run::new();
        run.limits.time = Duration::from_millis(300);
        let end = run.sh("trap 'echo last words; exit 1' TERM; while :; do sleep 0.01; done");
        assert!(matches!(end, End::TimeLimit), "{end:?}");
        assert_eq!(run.log(), "last words\n");

        let mut run = Run::new();
        run.limits.time = Duration::from_millis(300);
        assert!(matches!(run.sh("trap '' TERM; while :; do sleep 0.01; done"), End::TimeLimit));
    }

    #[test]
    fn cancelling_ends_it_at_once() {
        let mut run = Run::new();
        let canceller = run.canceller.take();
        let log = run.folder.path().join("log");
        let other = std::thread::spawn(move || {
            while fs::metadata(&log).unwrap().len() == 0 {
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
