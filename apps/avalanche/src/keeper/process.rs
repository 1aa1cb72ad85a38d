//! Processes, told apart from later ones that have the same number.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use fs_err as fs;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// A process: its number alone may be given to another one later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessMark {
    pub(crate) pid: i32,
    /// When it began, in the kernel's ticks since the machine was started.
    pub(crate) start_ticks: u64,
    /// Which start of the machine.
    pub(crate) boot_id: String,
}

impl ProcessMark {
    /// This process.
    pub(crate) fn own() -> io::Result<ProcessMark> {
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        Ok(ProcessMark { pid, start_ticks: start_ticks(pid)?, boot_id: boot_id()? })
    }

    /// Whether the machine was not started again since.
    pub(crate) fn is_of_this_boot(&self) -> bool {
        boot_id().is_ok_and(|id| id == self.boot_id)
    }

    /// Asks it to end. One that has ended already is no error.
    pub(crate) fn terminate(&self) -> io::Result<()> {
        if !self.is_of_this_boot() {
            return Ok(());
        }
        signal(self.pid, Signal::TERM, || start_ticks(self.pid).is_ok_and(|ticks| ticks == self.start_ticks))
    }
}

/// Signals the process that has this number, if it `is_meant`, which is asked while the number cannot change hands.
fn signal(pid: i32, signal: Signal, is_meant: impl FnOnce() -> bool) -> io::Result<()> {
    let Some(pid) = Pid::from_raw(pid) else { return Ok(()) };
    let process: OwnedFd = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(process) => process,
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if !is_meant() {
        return Ok(());
    }
    match pidfd_send_signal(&process, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Kills every process that has `assignment` in its environment; how many there were.
pub(super) fn kill_all_with(assignment: &[u8]) -> usize {
    let Ok(entries) = fs::read_dir("/proc") else { return 0 };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let found: Vec<i32> = numbers.filter(|pid| has_assignment(*pid, assignment)).collect();
    for pid in &found {
        if let Err(error) = signal(*pid, Signal::KILL, || has_assignment(*pid, assignment)) {
            tracing::warn!(pid, %error, "cannot kill a process of a lost build");
        }
    }
    found.len()
}

/// Nobody's environment but our own user's can be read, and a process that has ended has none.
fn has_assignment(pid: i32, assignment: &[u8]) -> bool {
    fs::read(Path::new("/proc").join(pid.to_string()).join("environ"))
        .is_ok_and(|environment| environment.split(|byte| *byte == 0).any(|one| one == assignment))
}

fn start_ticks(pid: i32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    start_in(&stat).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Field 22 of `/proc/PID/stat`. The second is a name in brackets, which may hold anything.
fn start_in(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_begin_of_a_process_is_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 9 9";
        assert_eq!(start_in(stat), Some(4711));
        assert_eq!(start_in("7 (x) S 1"), None);
        let own = ProcessMark::own().unwrap();
        assert!(own.start_ticks > 0 && own.is_of_this_boot());
    }

    #[test]
    fn only_the_process_that_is_meant_is_ended() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let mark = ProcessMark { pid, start_ticks: start_ticks(pid).unwrap(), boot_id: boot_id().unwrap() };
        for other in [
            ProcessMark { start_ticks: mark.start_ticks + 1, ..mark.clone() },
            ProcessMark { boot_id: "another".to_owned(), ..mark.clone() },
        ] {
            other.terminate().unwrap();
            assert!(child.try_wait().unwrap().is_none(), "{other:?}");
        }
        mark.terminate().unwrap();
        assert!(!child.wait().unwrap().success());
        mark.terminate().unwrap();
    }

    #[test]
    fn processes_are_found_by_their_environment() {
        let word = format!("of-test-{}", std::process::id());
        let mut child = Command::new("sleep").arg("600").env("MORAINE_TEST_WORD", &word).spawn().unwrap();
        let assignment = format!("MORAINE_TEST_WORD={word}");
        assert_eq!(kill_all_with(format!("{assignment}0").as_bytes()), 0);
        // Between fork and exec the child still has our own environment.
        while kill_all_with(assignment.as_bytes()) == 0 {
            std::thread::yield_now();
        }
        assert!(!child.wait().unwrap().success());
        assert_eq!(kill_all_with(assignment.as_bytes()), 0);
    }
}
