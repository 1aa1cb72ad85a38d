//! Running the ordinary clients (`git`, `apt-get`) with a time limit.
//!
//! The command leads a process group of its own; when its time is over the whole group is killed.

use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use fault::{Fault, Kind};

/// How much of what a command wrote is kept for its error message: its last lines say why it failed.
const MESSAGE_BYTES_MAX: u64 = 2000;
/// How much of what a command answered is read; the answers asked for here are a few lines.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;
/// Longest pause between two looks at a running command; short beside the work of any command run here.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// A command did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It is not installed.
    #[error("cannot run {program}: it is not installed")]
    Missing {
        /// Its name.
        program: String,
    },
    /// The machine could not run it.
    #[error("cannot run {program}")]
    Start {
        /// Its name.
        program: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It was killed because it took too long.
    #[error("{program} was stopped because it took longer than {} seconds{}", time_limit.as_secs(), said(message))]
    TimeLimit {
        /// Its name.
        program: String,
        /// What it was given.
        time_limit: Duration,
        /// The end of what it had written.
        message: String,
    },
    /// It ended with an error.
    #[error("{program} ended with {status}{}", said(message))]
    Failed {
        /// Its name.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it wrote.
        message: String,
    },
}

impl Fault for CommandError {
    fn kind(&self) -> Kind {
        match self {
            CommandError::Missing { .. } => Kind::NotFound,
            _ => Kind::Unavailable,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            CommandError::Missing { program } => vec![format!("install {program}")],
            _ => Vec::new(),
        }
    }
}

/// Runs `command` to its end and gives what it wrote to standard output.
pub(crate) fn run(mut command: Command, time_limit: Duration) -> Result<String, CommandError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let started = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => CommandError::Missing { program: program.clone() },
        _ => CommandError::Start { program: program.clone(), source },
    };
    // Files, not pipes: nobody has to drain them while the command runs.
    let mut answer = tempfile::tempfile().map_err(started)?;
    let mut messages = tempfile::tempfile().map_err(started)?;
    command
        .stdin(Stdio::null())
        .stdout(answer.try_clone().map_err(started)?)
        .stderr(messages.try_clone().map_err(started)?)
        .env("LC_ALL", "C.UTF-8")
        .process_group(0);
    let mut child = command.spawn().map_err(started)?;
    tracing::debug!(program, "command started");

    let deadline = Instant::now() + time_limit;
    let mut pause = Duration::from_millis(1);
    let status = loop {
        match child.try_wait().map_err(started)? {
            Some(status) => break Some(status),
            None if Instant::now() >= deadline => {
                // Before the wait below: until then the number of the group cannot belong to anybody else.
                kill_group(&child);
                break None;
            }
            None => std::thread::sleep(pause),
        }
        pause = (pause * 2).min(LOOK_EVERY);
    };
    let message = tail(&mut messages, MESSAGE_BYTES_MAX);
    match status {
        None => {
            child.wait().map_err(started)?;
            Err(CommandError::TimeLimit { program, time_limit, message })
        }
        Some(status) if status.success() => {
            answer.rewind().map_err(started)?;
            let mut bytes = Vec::new();
            answer.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes).map_err(started)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        }
        Some(status) => Err(CommandError::Failed { program, status, message }),
    }
}

fn kill_group(child: &std::process::Child) {
    let group = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(group) = group
        && let Err(error) = rustix::process::kill_process_group(group, rustix::process::Signal::KILL)
    {
        tracing::warn!(%error, "cannot kill a process group");
    }
}

fn tail(file: &mut std::fs::File, size_bytes_max: u64) -> String {
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let mut bytes = Vec::new();
    let read = file
        .seek(SeekFrom::Start(length.saturating_sub(size_bytes_max)))
        .and_then(|_| file.take(size_bytes_max).read_to_end(&mut bytes));
    match read {
        Ok(_) => String::from_utf8_lossy(&bytes).trim().to_owned(),
        Err(error) => format!("(what it wrote cannot be read: {error})"),
    }
}

fn said(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn the_answer_and_the_last_words_are_kept() {
        let long = Duration::from_secs(30);
        assert_eq!(run(shell("echo answer; echo noise >&2"), long).unwrap(), "answer\n");
        let error = run(shell("echo out; echo the reason >&2; exit 3"), long).unwrap_err();
        assert_eq!(error.to_string(), "sh ended with exit status: 3: the reason");
        let error = run(Command::new("moraine-no-such-program"), long).unwrap_err();
        assert!(matches!(error, CommandError::Missing { .. }), "{error}");
    }

    #[test]
    fn the_time_limit_kills_the_whole_group() {
        let folder = tempfile::tempdir().unwrap();
        let pid_file = folder.path().join("pid");
        let script = format!("sleep 600 & echo $! > {}; wait", pid_file.display());
        let error = run(shell(&script), Duration::from_millis(500)).unwrap_err();
        assert!(matches!(error, CommandError::TimeLimit { .. }), "{error}");
        let pid = fs_err::read_to_string(&pid_file).unwrap().trim().to_owned();
        let deadline = Instant::now() + Duration::from_secs(10);
        while is_running(&pid) {
            assert!(Instant::now() < deadline, "process {pid} outlived its group");
            std::thread::yield_now();
        }
    }

    /// A killed process may stay as a zombie until its new parent looks.
    fn is_running(pid: &str) -> bool {
        match fs_err::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(stat) => !stat.contains(") Z "),
            Err(_) => false,
        }
    }
}
