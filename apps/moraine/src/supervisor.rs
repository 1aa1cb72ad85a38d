//! Keeps the programs of a farm running on this machine.
//!
//! Each service is a process of its own, started from this same binary, with its output in a log file. One that ends
//! is started again: services are made to be killed at any moment. One that ends again and again is given up with the
//! end of its log, because a person has to look. All of them end when this process does, however it ends.

use std::ffi::OsString;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fault::{Fault, Kind};
use rustix::process::{Pid, Signal, kill_process};
use sandbox::DIE_WITH_PARENT;

/// First pause before a service is started again; doubles up to the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(200);
/// Longest pause before a service is started again.
const PAUSE_LONGEST: Duration = Duration::from_secs(5);
/// A service that ran this long starts from the first pause again.
const STEADY: Duration = Duration::from_secs(30);
/// Ends in a row, each before [`STEADY`], after which a service is given up, unless it ends for want of something outside.
const ENDS_MAX: u32 = 8;
/// Time for a service to end by itself before it is killed.
const GRACE: Duration = Duration::from_secs(10);
/// End of the log shown when a service is given up.
const TAIL_BYTES: u64 = 2048;

/// A program to keep running.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    /// What people call it: `summit`, `agent-1`.
    pub name: String,
    /// What it is started with, after the name of this binary.
    pub arguments: Vec<OsString>,
    /// Where its output goes.
    pub log: PathBuf,
}

/// Why a farm cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SupervisorError {
    /// A process cannot be started.
    #[error("cannot start {service}")]
    Start {
        /// The service.
        service: String,
        /// What the machine says.
        #[source]
        source: std::io::Error,
    },
    /// A service does not stay up.
    #[error("cannot keep {service} running: it ended {ENDS_MAX} times in a row, last with {status}\n{tail}")]
    GivenUp {
        /// The service.
        service: String,
        /// How it ended the last time.
        status: String,
        /// The end of its log.
        tail: String,
        /// The log.
        log: PathBuf,
    },
}

impl Fault for SupervisorError {
    fn kind(&self) -> Kind {
        Kind::Unavailable
    }

    fn hints(&self) -> Vec<String> {
        match self {
            SupervisorError::Start { .. } => vec!["see what the machine lacks: moraine doctor".into()],
            SupervisorError::GivenUp { log, .. } => {
                vec![format!("read the whole log: less {}", log.display())]
            }
        }
    }
}

/// Running services; they end with it.
#[derive(Debug)]
pub(crate) struct Supervisor {
    program: PathBuf,
    kept: Vec<Kept>,
}

#[derive(Debug)]
struct Kept {
    service: Service,
    state: State,
    /// Ends in a row without a steady run between them.
    ends: u32,
}

#[derive(Debug)]
enum State {
    Running { child: Child, since: Instant },
    Pausing { until: Instant },
}

impl Supervisor {
    /// Nothing runs yet. `program` is this binary.
    #[must_use]
    pub(crate) fn new(program: PathBuf) -> Self {
        Self { program, kept: Vec::new() }
    }

    /// Starts a service and keeps it running from now on.
    ///
    /// # Errors
    /// When its process or its log cannot be started.
    pub(crate) fn start(&mut self, service: Service) -> Result<(), SupervisorError> {
        let state = State::Running { child: self.spawn(&service)?, since: Instant::now() };
        self.kept.push(Kept { service, state, ends: 0 });
        Ok(())
    }

    /// Looks after every service once: what ended is started again when its pause is over. Returns what happened, a
    /// sentence each.
    ///
    /// # Errors
    /// When a service cannot be kept running.
    pub(crate) fn look_after(&mut self) -> Result<Vec<String>, SupervisorError> {
        let mut events = Vec::new();
        for index in 0..self.kept.len() {
            let now = Instant::now();
            let kept = &mut self.kept[index];
            match &mut kept.state {
                State::Running { child, since } => {
                    let ended = child.try_wait().map_err(|source| SupervisorError::Start {
                        service: kept.service.name.clone(),
                        source,
                    })?;
                    let Some(status) = ended else { continue };
                    let was_steady = now.duration_since(*since) >= STEADY;
                    kept.ends = if was_steady { 1 } else { kept.ends.saturating_add(1) };
                    let hopeless = kept.ends >= ENDS_MAX && !is_outage(status.code());
                    let status = status.to_string();
                    if hopeless {
                        return Err(given_up(&kept.service, status));
                    }
                    events.push(format!("{} ended ({status}); it is started again", kept.service.name));
                    kept.state = State::Pausing { until: now + pause(kept.ends) };
                }
                State::Pausing { until } if *until <= now => {
                    let child = self.spawn(&self.kept[index].service)?;
                    self.kept[index].state = State::Running { child, since: now };
                }
                State::Pausing { .. } => {}
            }
        }
        Ok(events)
    }

    /// Kills a service as a crash would. It is started again, and nobody blames it for having ended. Whether it ran.
    pub(crate) fn kill(&mut self, name: &str) -> bool {
        let Some(kept) = self.kept.iter_mut().find(|kept| kept.service.name == name) else { return false };
        let State::Running { child, .. } = &mut kept.state else { return false };
        // An error here means that it is gone already.
        drop(child.kill());
        drop(child.wait());
        kept.state = State::Pausing { until: Instant::now() + PAUSE_FIRST };
        true
    }

    /// Kills a service as a crash would, and starts it at once.
    ///
    /// # Errors
    /// When its process cannot be started.
    pub(crate) fn restart(&mut self, name: &str) -> Result<(), SupervisorError> {
        self.kill(name);
        let Some(index) = self.kept.iter().position(|kept| kept.service.name == name) else { return Ok(()) };
        let child = self.spawn(&self.kept[index].service)?;
        self.kept[index].state = State::Running { child, since: Instant::now() };
        Ok(())
    }

    /// The services that run, with their processes.
    pub(crate) fn processes(&self) -> Vec<(&str, u32)> {
        let running = self.kept.iter().filter_map(|kept| match &kept.state {
            State::Running { child, .. } => Some((kept.service.name.as_str(), child.id())),
            State::Pausing { .. } => None,
        });
        running.collect()
    }

    /// Asks every service to end, the last started first, and kills what does not.
    pub(crate) fn stop(&mut self) {
        for kept in self.kept.iter().rev() {
            if let State::Running { child, .. } = &kept.state {
                signal(child, Signal::TERM);
            }
        }
        let deadline = Instant::now() + GRACE;
        for mut kept in self.kept.drain(..).rev() {
            if let State::Running { child, .. } = &mut kept.state {
                while Instant::now() < deadline && matches!(child.try_wait(), Ok(None)) {
                    std::thread::sleep(Duration::from_millis(20));
                }
                // An error here means that it is gone already.
                drop(child.kill());
                drop(child.wait());
            }
        }
    }

    fn spawn(&self, service: &Service) -> Result<Child, SupervisorError> {
        let failed = |source| SupervisorError::Start { service: service.name.clone(), source };
        let log = fs_err::OpenOptions::new().create(true).append(true).open(&service.log).map_err(failed)?;
        let log = log.into_parts().0;
        let second = log.try_clone().map_err(failed)?;
        Command::new(&self.program)
            .args(&service.arguments)
            .env(DIE_WITH_PARENT, "1")
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(second)
            // A group of its own: an interrupt at the terminal reaches this process, which then stops them in order.
            .process_group(0)
            .spawn()
            .map_err(failed)
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.stop();
    }
}

fn signal(child: &Child, signal: Signal) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // It may have ended by itself.
        let _gone = kill_process(pid, signal);
    }
}

fn pause(ends: u32) -> Duration {
    PAUSE_FIRST.saturating_mul(1 << ends.saturating_sub(1).min(16)).min(PAUSE_LONGEST)
}

/// Whether a program ended because a disk, a network or a peer did not do its part: that may pass, so trying goes on.
fn is_outage(exit_code: Option<i32>) -> bool {
    let outages = Kind::ALL.into_iter().map(Kind::meaning).filter(|meaning| meaning.retry);
    let mut codes = outages.map(|meaning| i32::from(meaning.exit_code));
    codes.any(|code| exit_code == Some(code))
}

fn given_up(service: &Service, status: String) -> SupervisorError {
    SupervisorError::GivenUp {
        service: service.name.clone(),
        status,
        tail: tail(&service.log).unwrap_or_default(),
        log: service.log.clone(),
    }
}

fn tail(log: &Path) -> std::io::Result<String> {
    let mut file = fs_err::File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use testkit::wait_until;

    use super::*;

    /// Far longer than any of it takes.
    const LIMIT: Duration = Duration::from_secs(20);

    fn service(folder: &Path, name: &str, script: &str) -> Service {
        Service {
            name: name.into(),
            arguments: vec!["-c".into(), script.into()],
            log: folder.join(format!("{name}.log")),
        }
    }

    /// The process of the only service, while there is one.
    fn process(supervisor: &Supervisor) -> Option<u32> {
        match &supervisor.kept[0].state {
            State::Running { child, .. } => Some(child.id()),
            State::Pausing { .. } => None,
        }
    }

    #[test]
    fn pauses_grow_and_end() {
        assert_eq!(pause(1), PAUSE_FIRST);
        assert_eq!(pause(2), PAUSE_FIRST * 2);
        assert_eq!(pause(60), PAUSE_LONGEST);
    }

    #[test]
    fn a_full_disk_is_no_reason_to_give_up_and_a_bad_configuration_is() {
        let unavailable = Kind::Unavailable.meaning().exit_code;
        assert!(is_outage(Some(i32::from(unavailable))));
        for code in [Some(0), Some(2), Some(101), None] {
            assert!(!is_outage(code), "{code:?}");
        }
    }

    #[test]
    fn what_was_killed_is_started_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut supervisor = Supervisor::new("/bin/sh".into());
        supervisor.start(service(folder.path(), "sleeper", "exec sleep 1000")).unwrap();
        let first = process(&supervisor).unwrap();
        kill_process(Pid::from_raw(i32::try_from(first).unwrap()).unwrap(), Signal::KILL).unwrap();
        wait_until("a new process", LIMIT, || {
            supervisor.look_after().unwrap();
            process(&supervisor).is_some_and(|now| now != first)
        });
    }

    #[test]
    fn what_is_killed_on_purpose_is_not_blamed() {
        let folder = tempfile::tempdir().unwrap();
        let mut supervisor = Supervisor::new("/bin/sh".into());
        supervisor.start(service(folder.path(), "sleeper", "exec sleep 1000")).unwrap();
        for _ in 0..=ENDS_MAX {
            assert!(supervisor.kill("sleeper") && !supervisor.kill("sleeper") && !supervisor.kill("other"));
            wait_until("a new process", LIMIT, || {
                supervisor.look_after().unwrap();
                !supervisor.processes().is_empty()
            });
        }
    }

    #[test]
    fn what_never_stays_up_is_given_up_with_its_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let mut supervisor = Supervisor::new("/bin/sh".into());
        supervisor.start(service(folder.path(), "broken", "echo no such table; exit 3")).unwrap();
        let mut error = None;
        wait_until("giving up", LIMIT, || {
            // Pauses are not what is tested here.
            for kept in &mut supervisor.kept {
                if let State::Pausing { until } = &mut kept.state {
                    *until = Instant::now();
                }
            }
            error = supervisor.look_after().err();
            error.is_some()
        });
        let text = error.unwrap().to_string();
        assert!(text.contains("broken") && text.contains("no such table") && text.contains("3"), "{text}");
    }
}
