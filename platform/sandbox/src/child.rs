//! The caller's side: starting a sandbox, waiting for it, ending it.

use std::io::{self, PipeReader};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::channel::{ANSWER_BYTES_MAX, Answer, Ending, REQUEST_BYTES_MAX, Reader, Request, Task, send};
use crate::error::SandboxError;
use crate::ids::IdMap;
use crate::spec::{Output, Spec};
use crate::supervisor::{INIT_ARGUMENT, as_standard_input};

/// The running program's own file, whatever it has been renamed to since.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It ended with this status.
    Exited(i32),
    /// This signal ended it.
    Signaled(i32),
    /// The time limit ended it.
    TimedOut,
    /// [`Child::kill`] or a [`Killer`] ended it.
    Killed,
}

impl Outcome {
    /// Whether the command ended by itself with status 0.
    #[must_use]
    pub fn success(self) -> bool {
        self == Outcome::Exited(0)
    }
}

/// Starts sandboxes.
#[derive(Debug)]
pub struct Sandbox;

impl Sandbox {
    /// Sets a sandbox up through the running program, whose `main` begins with [`crate::enter_if_asked`], and starts
    /// the command. Blocks until the command runs, usually a few milliseconds.
    ///
    /// # Errors
    /// The description is refused, the program cannot be started, or a step of the set-up failed.
    pub fn spawn(spec: &Spec) -> Result<Child, SandboxError> {
        Sandbox::spawn_through(Path::new(OWN_PROGRAM), spec)
    }

    /// As [`Sandbox::spawn`], through another program that begins with [`crate::enter_if_asked`].
    ///
    /// # Errors
    /// As [`Sandbox::spawn`].
    pub fn spawn_through(program: &Path, spec: &Spec) -> Result<Child, SandboxError> {
        start(program, spec, Task::Run)
    }
}

/// A running sandbox. Dropping it ends everything inside and waits for that.
///
/// The command blocks when a pipe is full: read `stdout` and `stderr` to their end, in threads of their own if need
/// be, before or while waiting.
#[derive(Debug)]
pub struct Child {
    /// The command's output; with [`Output::Combined`] both streams in the order written.
    pub stdout: Option<PipeReader>,
    /// The command's standard error, with [`Output::Separate`].
    pub stderr: Option<PipeReader>,
    command: PathBuf,
    supervisor: std::process::Child,
    socket: Arc<UnixStream>,
    reader: Reader,
    id_map: IdMap,
    notices: Vec<String>,
    ended: Option<Ended>,
}

impl Child {
    /// Waits for the end of the command. By then no process of the sandbox exists. Once ended, says the same again.
    ///
    /// # Errors
    /// [`SandboxError::Lost`] when the supervisor itself was ended by force.
    pub fn wait(&mut self) -> Result<Outcome, SandboxError> {
        if let Some(ended) = &self.ended {
            return Ok(ended.outcome);
        }
        let answer = self.reader.receive::<Answer>(&self.socket);
        // The answer is its last word, so this does not take long; a supervisor that lost its mind is not waited for.
        if answer.is_err() {
            let _gone = self.supervisor.kill();
        }
        let _status = self.supervisor.wait();
        match answer.map_err(|source| SandboxError::Conversation { action: "read from", source })? {
            Some(Answer::Ended { ending, memory_ran_out, peak_memory_bytes }) => {
                let outcome = outcome(ending);
                self.ended = Some(Ended { outcome, memory_ran_out, peak_memory_bytes });
                Ok(outcome)
            }
            Some(Answer::Failed(failure)) => Err(failure.into()),
            Some(Answer::Started { .. }) | None => Err(SandboxError::Lost { program: self.command.clone() }),
        }
    }

    /// Ends everything inside. [`Child::wait`] then says [`Outcome::Killed`], unless the command was faster.
    pub fn kill(&self) {
        self.killer().kill();
    }

    /// A handle that ends the sandbox from another thread, while this one waits.
    #[must_use]
    pub fn killer(&self) -> Killer {
        Killer { socket: Arc::clone(&self.socket) }
    }

    /// Which ids of the host stand behind the ids inside.
    #[must_use]
    pub fn id_map(&self) -> &IdMap {
        &self.id_map
    }

    /// What was asked for and could not be had, a sentence each.
    #[must_use]
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// Whether the command has ended and something in it was ended by the kernel for want of memory, within the limit.
    #[must_use]
    pub fn memory_ran_out(&self) -> bool {
        self.ended.as_ref().is_some_and(|ended| ended.memory_ran_out)
    }

    /// Memory that the command and its children had in use at their peak, in bytes: their own and files in memory, without
    /// the contents of files that the kernel keeps as long as there is room. A lower bound: with a control group it is
    /// looked at ten times a second; where none can be had, it is the largest single process, whatever ran beside it. 0
    /// before the end, and where the kernel says nothing.
    #[must_use]
    pub fn peak_memory_bytes(&self) -> u64 {
        self.ended.as_ref().map_or(0, |ended| ended.peak_memory_bytes)
    }
}

/// What the supervisor said last.
#[derive(Debug)]
struct Ended {
    outcome: Outcome,
    memory_ran_out: bool,
    peak_memory_bytes: u64,
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
        let _status = self.supervisor.wait();
    }
}

/// Ends a sandbox. Harmless when it has ended already.
#[derive(Debug, Clone)]
pub struct Killer {
    socket: Arc<UnixStream>,
}

impl Killer {
    /// Ends everything inside, without waiting for it.
    pub fn kill(&self) {
        // Fails only where the socket is closed already, which is the end that is wished for.
        let _closed = self.socket.shutdown(Shutdown::Write);
    }
}

fn outcome(ending: Ending) -> Outcome {
    match ending {
        Ending::Exited(status) => Outcome::Exited(status),
        Ending::Signaled(signal) => Outcome::Signaled(signal),
        Ending::TimedOut => Outcome::TimedOut,
        Ending::Killed => Outcome::Killed,
    }
}

/// Starts a supervisor for a task and waits until the command, if there is one, runs.
pub(crate) fn start(program: &Path, spec: &Spec, task: Task) -> Result<Child, SandboxError> {
    spec.check()?;
    let cannot_start = |source| SandboxError::Start { program: program.to_path_buf(), source };
    let request = Request { task, spec: spec.clone() };
    let size_bytes = serde_json::to_vec(&request).map(|text| text.len());
    if size_bytes.is_err() || size_bytes.is_ok_and(|size| size >= REQUEST_BYTES_MAX) {
        let why = format!("it has more than {REQUEST_BYTES_MAX} bytes, or a path that is not UTF-8");
        return Err(SandboxError::Description { why });
    }
    let (socket, far) = UnixStream::pair().map_err(cannot_start)?;
    let mut command = Command::new(program);
    command.arg(INIT_ARGUMENT).env_clear().stdin(as_standard_input(far).map_err(cannot_start)?);
    let (stdout, stderr) = connect_output(&mut command, spec.output).map_err(cannot_start)?;
    let supervisor = command.spawn().map_err(cannot_start)?;
    // Our copies of the far ends close with it, so that their end can be seen.
    drop(command);

    let mut child = Child {
        stdout,
        stderr,
        command: spec.program.clone(),
        supervisor,
        socket: Arc::new(socket),
        reader: Reader::new(ANSWER_BYTES_MAX),
        id_map: IdMap::default(),
        notices: Vec::new(),
        ended: None,
    };
    // A program that does not know its part may close the socket at once; what it said is read all the same.
    let sent = send(&child.socket, &request);
    let answer = child.reader.receive::<Answer>(&child.socket);
    match answer.map_err(|source| SandboxError::Conversation { action: "read from", source })? {
        Some(Answer::Started { id_map, notices }) => {
            child.id_map = id_map;
            child.notices = notices;
            Ok(child)
        }
        Some(Answer::Failed(failure)) => Err(failure.into()),
        Some(Answer::Ended { .. }) => Err(SandboxError::Lost { program: spec.program.clone() }),
        None => Err(match sent {
            Err(source) if source.kind() != io::ErrorKind::BrokenPipe => {
                SandboxError::Conversation { action: "write to", source }
            }
            _ => SandboxError::Lost { program: spec.program.clone() },
        }),
    }
}

type Pipes = (Option<PipeReader>, Option<PipeReader>);

fn connect_output(command: &mut Command, output: Output) -> io::Result<Pipes> {
    match output {
        Output::Inherit => Ok((None, None)),
        Output::Combined => {
            let (reader, writer) = io::pipe()?;
            command.stdout(Stdio::from(writer.try_clone()?)).stderr(Stdio::from(writer));
            Ok((Some(reader), None))
        }
        Output::Separate => {
            let (stdout, stdout_writer) = io::pipe()?;
            let (stderr, stderr_writer) = io::pipe()?;
            command.stdout(Stdio::from(stdout_writer)).stderr(Stdio::from(stderr_writer));
            Ok((Some(stdout), Some(stderr)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Root;

    #[test]
    fn a_program_that_does_not_know_its_part_is_named_as_lost() {
        let spec = Spec::new(Root::Tmpfs { size_bytes: None }, "/bin/ls", [""; 0]);
        let error = Sandbox::spawn_through(Path::new("/bin/true"), &spec).unwrap_err();
        assert!(
            matches!(&error, SandboxError::Lost { program } if program == Path::new("/bin/ls")),
            "{error:?}"
        );
        let error = Sandbox::spawn_through(Path::new("/no/such"), &spec).unwrap_err();
        assert!(error.to_string().contains("/no/such"));
    }

    #[test]
    fn only_status_zero_is_success() {
        assert!(Outcome::Exited(0).success());
        for outcome in [Outcome::Exited(1), Outcome::Signaled(9), Outcome::TimedOut, Outcome::Killed] {
            assert!(!outcome.success(), "{outcome:?}");
        }
    }
}
