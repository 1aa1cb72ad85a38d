//! The supervisor: stays outside, makes process 1, writes its ids, keeps the time, and cleans up.
//!
//! It is the caller's own program, started again with [`INIT_ARGUMENT`]; it has one thread and an empty environment.
//! What it hears from inside is not trusted once the command runs: a message can at most misstate how the command
//! itself ended.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getegid, geteuid, kill_process, setsid, waitpid,
};
use rustix::thread::{CapabilitySet, UnshareFlags, capabilities};

use crate::cgroup::Groups;
use crate::channel::{
    ANSWER_BYTES_MAX, Answer, Ending, GoOn, Inside, REQUEST_BYTES_MAX, Reader, Request, Task, send,
};
use crate::error::SetupFailure;
use crate::ids::{self, Candidate, Grants, IdMap, IdRange, Writer};
use crate::inside::{self, Inner};
use crate::kernel::{self, Side};
use crate::measure::LOOK_PERIOD;
use crate::plan::{self, Caller};

/// First argument of a program that is to be a supervisor. Nobody types it.
pub(crate) const INIT_ARGUMENT: &str = "moraine-sandbox-supervisor";

/// Where the set-user-id helpers are. `PATH` is not asked: the supervisor's environment is empty on purpose.
const HELPER_DIRECTORIES: [&str; 4] = ["/usr/bin", "/bin", "/usr/local/bin", "/run/wrappers/bin"];

/// Most notices that are passed on; process 1 has two to give.
const NOTICES_MAX: usize = 32;

/// Turns a process that was started as a supervisor into one, and does not return then. Every program that starts
/// sandboxes calls this first thing in its `main`, before any thread and any open file.
pub fn enter_if_asked() {
    if std::env::args_os().nth(1).is_some_and(|argument| argument == INIT_ARGUMENT) {
        let status = match supervise() {
            Ok(()) => 0,
            // The caller is gone or does not listen; there is nobody to tell.
            Err(_) => 1,
        };
        kernel::exit_now(status);
    }
}

fn supervise() -> io::Result<()> {
    kernel::close_inherited_files()?;
    let caller = take_standard_input()?;
    // A session of its own keeps the terminal's interrupt key from ending the supervisor before it can clean up: the
    // caller is interrupted, its end of the socket closes, and everything ends in order. Only a group leader may not.
    let _already_leader = setsid();
    // No directory of the caller's is kept busy.
    rustix::process::chdir("/")?;
    let Some(request) = Reader::new(REQUEST_BYTES_MAX).receive::<Request>(&caller)? else {
        return Ok(());
    };
    let answer = match Supervision::begin(&request, caller.try_clone()?) {
        Ok(supervision) => supervision.run(),
        Err(failure) => Answer::Failed(failure),
    };
    send(&caller, &answer)
}

/// Takes the socket that is the standard input away from it.
fn take_standard_input() -> io::Result<UnixStream> {
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let null = fs_err::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(null.file())?;
    Ok(UnixStream::from(socket))
}

struct Supervision {
    caller: UnixStream,
    inside: UnixStream,
    reader: Reader,
    process: Pid,
    groups: Groups,
    grants: Grants,
    map: IdMap,
    notices: Vec<String>,
    wall_time: Option<Duration>,
    deadline: Option<Instant>,
    kept_output: bool,
}

impl Supervision {
    /// Makes process 1, which waits for the first word.
    fn begin(request: &Request, caller: UnixStream) -> Result<Supervision, SetupFailure> {
        let fail =
            |cause: io::Error| SetupFailure::new("enter", "a user namespace and a pid namespace", cause);
        let grants = grants().map_err(|cause| SetupFailure::new("read", "the ids of this process", cause))?;
        let kind = if grants.privileged { Caller::Root } else { Caller::User };
        let best = ids::candidates(&grants).into_iter().next();
        // Without, files of root show up as nobody's inside; process 1 tells nothing then, so it is told here.
        let mut early_notices = Vec::new();
        let owners = best.as_ref().filter(|_| grants.privileged).and_then(|best| {
            owners_namespace(best)
                .inspect_err(|error| {
                    early_notices.push(format!("files of root belong to nobody inside: {error}"));
                })
                .ok()
        });
        let map = best.map(|best| best.map).unwrap_or_default();
        let mut groups = Groups::create(&request.spec.limits, request.task == Task::Run);
        let (inside, far) = UnixStream::pair().map_err(fail)?;
        let namespaces = plan::clone_namespaces(kind)
            .into_iter()
            .fold(UnshareFlags::empty(), |all, namespace| all | inside::flag(namespace));
        let process = match kernel::fork_into(namespaces).map_err(fail)? {
            Side::Child => {
                // Only the supervisor may hold these, or their closing would not be seen.
                drop((caller, inside));
                // Its groups are not process 1's to remove.
                std::mem::forget(groups);
                inside::run(Inner {
                    caller: kind,
                    task: &request.task,
                    spec: &request.spec,
                    map: &map,
                    owners,
                    supervisor: far,
                })
            }
            Side::Parent(process) => process,
        };
        drop((far, owners));
        groups.add(process.as_raw_nonzero().get());
        let mut notices = std::mem::take(&mut groups.notices);
        notices.extend(early_notices);
        Ok(Supervision {
            caller,
            inside,
            reader: Reader::new(ANSWER_BYTES_MAX),
            process,
            groups,
            grants,
            map,
            notices,
            wall_time: request.spec.limits.wall_time,
            deadline: None,
            kept_output: true,
        })
    }

    /// Watches until the end; afterwards no process of the sandbox exists.
    fn run(mut self) -> Answer {
        let result = self.watch();
        // Process 1 may have ended already; ending it ends all that is left.
        let _ended = kill_process(self.process, Signal::KILL);
        let status = reap(self.process);
        let memory_ran_out = self.groups.memory_ran_out();
        let peak_memory_bytes = self.groups.peak_bytes(kernel::largest_child_bytes());
        let ended = |ending| Answer::Ended { ending, memory_ran_out, peak_memory_bytes };
        match result {
            Ok(Some(ending)) => ended(ending),
            // Process 1 was ended from outside, which the kernel does when memory runs out.
            Ok(None) if self.deadline.is_some() || !self.kept_output => ended(ending_of(status)),
            Ok(None) => Answer::Failed(SetupFailure::new("set up", "the sandbox", "process 1 was ended")),
            Err(failure) => Answer::Failed(failure),
        }
    }

    /// Until something ends it: `None` where process 1 went away without a word.
    fn watch(&mut self) -> Result<Option<Ending>, SetupFailure> {
        loop {
            let broken = |cause: io::Error| SetupFailure::new("hear from", "process 1", cause);
            while let Some(message) = self.reader.take::<Inside>().map_err(broken)? {
                if let Some(ending) = self.act(message)? {
                    return Ok(Some(ending));
                }
            }
            let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(Some(Ending::TimedOut));
            }
            let left = match left {
                left if !self.groups.is_measured() => left,
                left => Some(left.map_or(LOOK_PERIOD, |left| left.min(LOOK_PERIOD))),
            };
            let (caller_speaks, inside_speaks) = self.wait(left).map_err(broken)?;
            self.groups.look();
            if inside_speaks {
                if !self.reader.fill(&self.inside).map_err(broken)? {
                    return Ok(None);
                }
            } else if caller_speaks {
                // The caller says nothing more; what can be heard is its end, or the wish for ours.
                return Ok(Some(Ending::Killed));
            }
        }
    }

    fn wait(&self, left: Option<Duration>) -> io::Result<(bool, bool)> {
        let timeout = match left {
            // Rounded up, or the last moment would be spent in a loop.
            Some(left) => {
                Some(Timespec::try_from(left + Duration::from_millis(1)).map_err(io::Error::other)?)
            }
            None => None,
        };
        let mut watched =
            [PollFd::new(&self.caller, PollFlags::IN), PollFd::new(&self.inside, PollFlags::IN)];
        match poll(&mut watched, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok((!watched[0].revents().is_empty(), !watched[1].revents().is_empty()))
    }

    fn act(&mut self, message: Inside) -> Result<Option<Ending>, SetupFailure> {
        match message {
            Inside::WantsIds => {
                let setgroups = self.write_ids()?;
                self.go_on(&GoOn::WithIds { setgroups })?;
            }
            Inside::Ready => self.go_on(&GoOn::Start)?,
            Inside::Started => {
                self.deadline = self.wall_time.and_then(|limit| Instant::now().checked_add(limit));
                self.release_output()?;
                let answer =
                    Answer::Started { id_map: self.map.clone(), notices: std::mem::take(&mut self.notices) };
                if send(&self.caller, &answer).is_err() {
                    return Ok(Some(Ending::Killed));
                }
            }
            Inside::Notice(notice) if self.notices.len() < NOTICES_MAX => self.notices.push(notice),
            Inside::Notice(_) => {}
            Inside::Failed(failure) => return Err(failure),
            Inside::Ended(ending @ (Ending::Exited(_) | Ending::Signaled(_))) => return Ok(Some(ending)),
            // These are for the supervisor alone to say.
            Inside::Ended(_) => return Ok(Some(Ending::Killed)),
        }
        Ok(None)
    }

    fn go_on(&self, word: &GoOn) -> Result<(), SetupFailure> {
        send(&self.inside, word).map_err(|cause| SetupFailure::new("speak to", "process 1", cause))
    }

    /// Lets go of the caller's pipes, so that they close with the sandbox's own processes.
    fn release_output(&mut self) -> Result<(), SetupFailure> {
        let fail = |cause: io::Error| SetupFailure::new("release", "the output", cause);
        let null = fs_err::OpenOptions::new().write(true).open("/dev/null").map_err(fail)?;
        rustix::stdio::dup2_stdout(null.file()).map_err(|cause| fail(cause.into()))?;
        rustix::stdio::dup2_stderr(null.file()).map_err(|cause| fail(cause.into()))?;
        self.kept_output = false;
        Ok(())
    }

    /// Writes the best maps that the machine grants; says whether groups can be changed inside.
    fn write_ids(&mut self) -> Result<bool, SetupFailure> {
        let mut last = io::Error::other("there is no map to write");
        for candidate in ids::candidates(&self.grants) {
            match write_maps(&candidate, self.process.as_raw_nonzero().get()) {
                Ok(()) => {
                    self.notices.extend(candidate.notice.map(str::to_owned));
                    self.map = candidate.map;
                    return Ok(candidate.setgroups && setgroups_allowed(self.process));
                }
                Err(error) => last = error,
            }
        }
        Err(SetupFailure::new("write", "the ids of a user namespace", last))
    }
}

/// Waits for the end of a child; `None` where it has been waited for already.
fn reap(process: Pid) -> Option<WaitStatus> {
    loop {
        match waitpid(Some(process), WaitOptions::empty()) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(found) => return found.map(|(_, status)| status),
            Err(_) => return None,
        }
    }
}

fn ending_of(status: Option<WaitStatus>) -> Ending {
    match status.and_then(WaitStatus::terminating_signal) {
        Some(signal) => Ending::Signaled(signal),
        None => Ending::Exited(status.and_then(WaitStatus::exit_status).unwrap_or_default()),
    }
}

/// Whether the kernel allows it: `newgidmap` may have forbidden it on its own account.
fn setgroups_allowed(process: Pid) -> bool {
    let path = Path::new("/proc").join(process.as_raw_nonzero().to_string()).join("setgroups");
    fs_err::read_to_string(path).is_ok_and(|text| text.trim() == "allow")
}

fn write_maps(candidate: &Candidate, pid: i32) -> io::Result<()> {
    let process = Path::new("/proc").join(pid.to_string());
    match candidate.writer {
        Writer::Supervisor => {
            if !candidate.setgroups {
                fs_err::write(process.join("setgroups"), "deny")?;
            }
            fs_err::write(process.join("gid_map"), map_text(&candidate.map.groups))?;
            fs_err::write(process.join("uid_map"), map_text(&candidate.map.users))
        }
        Writer::Helpers => {
            run_helper("newgidmap", pid, &candidate.map.groups)?;
            run_helper("newuidmap", pid, &candidate.map.users)
        }
    }
}

/// A user namespace with the sandbox's ids, as an open file: a process enters it, is given the map, and ends. The
/// sandbox's own comes too late for this, after all mounts.
fn owners_namespace(candidate: &Candidate) -> io::Result<OwnedFd> {
    let (near, far) = UnixStream::pair()?;
    match kernel::fork_into(UnshareFlags::NEWUSER)? {
        Side::Child => {
            drop(near);
            // Nothing is ever written; the read ends when the supervisor lets go.
            let _ended = Reader::new(ANSWER_BYTES_MAX).fill(&far);
            kernel::exit_now(0)
        }
        Side::Parent(process) => {
            let pid = process.as_raw_nonzero().get();
            let opened = write_maps(candidate, pid)
                .and_then(|()| fs_err::File::open(Path::new("/proc").join(pid.to_string()).join("ns/user")));
            drop((near, far));
            let _status = reap(process);
            opened.map(|file| OwnedFd::from(file.into_file()))
        }
    }
}

fn map_text(ranges: &[IdRange]) -> String {
    ranges.iter().map(|range| format!("{} {} {}\n", range.inside, range.outside, range.count)).collect()
}

fn run_helper(name: &str, pid: i32, ranges: &[IdRange]) -> io::Result<()> {
    let program = helper(name).ok_or(io::ErrorKind::NotFound)?;
    let numbers = ranges.iter().flat_map(|range| [range.inside, range.outside, range.count]);
    let status = Command::new(program)
        .arg(pid.to_string())
        .args(numbers.map(|number| number.to_string()))
        .stderr(std::process::Stdio::null())
        .status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("{name} refused: {status}"))) }
}

pub(crate) fn helper(name: &str) -> Option<std::path::PathBuf> {
    HELPER_DIRECTORIES.iter().map(|directory| Path::new(directory).join(name)).find(|path| path.is_file())
}

/// What this process may hand on.
pub(crate) fn grants() -> io::Result<Grants> {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    let held = capabilities(None)?.effective;
    let needed =
        CapabilitySet::SYS_ADMIN | CapabilitySet::SETUID | CapabilitySet::SETGID | CapabilitySet::CHOWN;
    let privileged = uid == 0 && held.contains(needed);
    let read = |path: &str| fs_err::read_to_string(path).unwrap_or_default();
    let passwd = read("/etc/passwd");
    let name = ids::account_name(&passwd, uid);
    let has_helpers = helper("newuidmap").is_some() && helper("newgidmap").is_some();
    let subordinate = |path: &str| ids::parse_subordinate(&read(path), name, uid).filter(|_| has_helpers);
    Ok(Grants {
        privileged,
        uid,
        gid,
        users: ids::parse_map(&fs_err::read_to_string("/proc/self/uid_map")?),
        groups: ids::parse_map(&fs_err::read_to_string("/proc/self/gid_map")?),
        sub_users: subordinate("/etc/subuid"),
        sub_groups: subordinate("/etc/subgid"),
    })
}

/// The open end of a socket, for the caller that hands it to a supervisor.
pub(crate) fn as_standard_input(socket: UnixStream) -> io::Result<std::process::Stdio> {
    Ok(std::process::Stdio::from(socket.as_fd().try_clone_to_owned()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_written_a_range_a_line() {
        let range = |inside, outside, count| IdRange { inside, outside, count };
        assert_eq!(map_text(&[range(0, 1000, 1), range(1, 100_000, 65_535)]), "0 1000 1\n1 100000 65535\n");
    }

    #[test]
    fn this_process_has_ids_to_hand_on() {
        let grants = grants().unwrap();
        assert!(!grants.users.is_empty() && !grants.groups.is_empty());
    }
}
