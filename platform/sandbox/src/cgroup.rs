//! Limits of memory and of the number of processes, and the measure of the memory, through control groups.
//!
//! A group is made below the caller's own, never beside or above it, so that the caller's limits go on to hold. In
//! version 2 a group that has processes cannot have groups with controllers below it; there the delegated parent of the
//! caller's group is used, if it was delegated to the caller. Where nothing of this is allowed, a notice says what is
//! not limited. A group for memory is made even where nothing limits it, because only the group knows what all processes
//! took together; where none can be had for that alone, nothing is said: [`crate::measure`] has another, lower figure.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::measure;
use crate::spec::Limits;

/// Names of our groups begin so; the supervisor's process id and a number follow.
const NAME_PREFIX: &str = "moraine-sandbox-";

/// How long the kernel may take to empty a group whose processes have all ended, before the empty directory is left to
/// the next sandbox's sweep. It takes milliseconds.
const EMPTY_WAIT_MAX: Duration = Duration::from_secs(2);

/// Pause between two looks at a group that is being emptied.
const EMPTY_WAIT_STEP: Duration = Duration::from_millis(5);

/// A controller that a limit needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Controller {
    Memory,
    Processes,
}

impl Controller {
    fn name(self) -> &'static str {
        match self {
            Controller::Memory => "memory",
            Controller::Processes => "pids",
        }
    }
}

/// The caller's own group in the hierarchy that has a controller.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Home {
    version: Version,
    directory: PathBuf,
    /// The caller's group is the root of the hierarchy as mounted here.
    is_top: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    One,
    Two,
}

/// The groups made for one sandbox; removed when dropped.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    directories: Vec<PathBuf>,
    memory: Option<(Version, PathBuf)>,
    /// The most that a look found to be in use, in bytes; 0 before the first.
    in_use_bytes: u64,
    pub(crate) notices: Vec<String>,
}

impl Groups {
    /// Makes what the limits need, and what the measure of the memory needs where that is wished for. Never fails: what
    /// cannot be limited becomes a notice.
    pub(crate) fn create(limits: &Limits, measured: bool) -> Groups {
        let mut groups = Groups::default();
        let wanted = [
            (Controller::Memory, limits.memory_bytes, "memory is not limited"),
            (Controller::Processes, limits.processes, "the number of processes is not limited"),
        ];
        if !measured && wanted.iter().all(|(_, limit, _)| limit.is_none()) {
            return groups;
        }
        let membership = fs_err::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mounts = fs_err::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        for (controller, limit, consequence) in wanted {
            if limit.is_none() && !(measured && controller == Controller::Memory) {
                continue;
            }
            let answer = match home(controller, &membership, &mounts) {
                Some(home) => groups.join(controller, &home, limit),
                None => Err("this machine has no such control group".to_owned()),
            };
            if let (Err(why), Some(_)) = (answer, limit) {
                groups.notices.push(format!("{consequence}: {why}"));
            }
        }
        groups
    }

    /// Puts a process into the groups, with all the children that it will have.
    pub(crate) fn add(&mut self, pid: i32) {
        for directory in &self.directories {
            if let Err(error) = fs_err::write(directory.join("cgroup.procs"), pid.to_string()) {
                self.notices.push(format!(
                    "memory or the number of processes is neither limited nor measured: {error}"
                ));
            }
        }
    }

    /// Whether something in the group was ended because the memory ran out.
    pub(crate) fn memory_ran_out(&self) -> bool {
        let Some((version, directory)) = &self.memory else { return false };
        let file = match version {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        };
        fs_err::read_to_string(directory.join(file)).is_ok_and(|text| kills(&text) > 0)
    }

    /// Whether there is a group to look at from time to time.
    pub(crate) fn is_measured(&self) -> bool {
        self.memory.is_some()
    }

    /// Looks how much memory is in use just now. The kernel remembers the peak by itself, but with all file contents in
    /// it that it keeps only because nobody else needs the room.
    pub(crate) fn look(&mut self) {
        let Some((version, directory)) = &self.memory else { return };
        // A look that fails is one look less.
        if let Ok(text) = fs_err::read_to_string(directory.join("memory.stat")) {
            self.in_use_bytes = self.in_use_bytes.max(measure::in_use(*version, &text));
        }
    }

    /// The peak of the memory, given the largest process of all that have ended. Asked once everything has.
    pub(crate) fn peak_bytes(&self, largest_process_bytes: u64) -> u64 {
        let with_files = self.memory.as_ref().and_then(|(version, directory)| {
            let file = match version {
                Version::One => "memory.max_usage_in_bytes",
                // Kernels before 5.19 do not have it.
                Version::Two => "memory.peak",
            };
            fs_err::read_to_string(directory.join(file)).ok()?.trim().parse().ok()
        });
        measure::peak(self.in_use_bytes, largest_process_bytes, with_files)
    }

    fn join(&mut self, controller: Controller, home: &Home, limit: Option<u64>) -> Result<(), String> {
        let parent = parent_for(controller, home)?;
        sweep(&parent);
        let directory = parent.join(format!("{NAME_PREFIX}{}", std::process::id()));
        if !self.directories.contains(&directory) {
            fs_err::create_dir(&directory).map_err(|error| match error.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    no_delegation(controller)
                }
                _ => error.to_string(),
            })?;
            self.directories.push(directory.clone());
        }
        for (file, needed) in limit_files(controller, home.version) {
            let path = directory.join(file);
            let Some(limit) = limit else { break };
            let value = if *file == "memory.swap.max" { 0 } else { limit };
            match fs_err::write(&path, value.to_string()) {
                Err(error) if *needed => return Err(error.to_string()),
                _ => {}
            }
        }
        if controller == Controller::Memory {
            self.memory = Some((home.version, directory));
        }
        Ok(())
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        let deadline = Instant::now() + EMPTY_WAIT_MAX;
        for directory in &self.directories {
            while let Err(error) = fs_err::remove_dir(directory) {
                let busy = error.kind() == io::ErrorKind::ResourceBusy;
                if !busy || Instant::now() >= deadline {
                    break;
                }
                std::thread::sleep(EMPTY_WAIT_STEP);
            }
        }
    }
}

/// The files that carry a limit, and whether each has to be there.
fn limit_files(controller: Controller, version: Version) -> &'static [(&'static str, bool)] {
    match (controller, version) {
        (Controller::Memory, Version::One) => {
            &[("memory.limit_in_bytes", true), ("memory.memsw.limit_in_bytes", false)]
        }
        (Controller::Memory, Version::Two) => &[("memory.max", true), ("memory.swap.max", false)],
        (Controller::Processes, _) => &[("pids.max", true)],
    }
}

fn no_delegation(controller: Controller) -> String {
    format!("no {} control group is delegated to this user", controller.name())
}

/// The directory in which a group can be made.
fn parent_for(controller: Controller, home: &Home) -> Result<PathBuf, String> {
    let no_delegation = || no_delegation(controller);
    if home.version == Version::One {
        return Ok(home.directory.clone());
    }
    let hands_on = |directory: &Path| {
        fs_err::read_to_string(directory.join("cgroup.subtree_control"))
            .is_ok_and(|text| text.split_whitespace().any(|word| word == controller.name()))
    };
    let enable = |directory: &Path| {
        let request = format!("+{}", controller.name());
        fs_err::write(directory.join("cgroup.subtree_control"), request).is_ok()
    };
    if hands_on(&home.directory) || enable(&home.directory) {
        return Ok(home.directory.clone());
    }
    let parent = home.directory.parent().filter(|_| !home.is_top).ok_or_else(no_delegation)?;
    if delegated(parent) && (hands_on(parent) || enable(parent)) {
        return Ok(parent.to_path_buf());
    }
    Err(no_delegation())
}

/// Whether a group was handed to us: it belongs to us, or for root, to whom all groups belong, systemd marked it.
fn delegated(directory: &Path) -> bool {
    let uid = rustix::process::geteuid();
    if !uid.is_root() {
        return fs_err::metadata(directory).is_ok_and(|status| status.uid() == uid.as_raw());
    }
    let mut value = [0_u8; 8];
    ["trusted.delegate", "user.delegate"].iter().any(|name| {
        rustix::fs::getxattr(directory, *name, &mut value)
            .is_ok_and(|count| value.get(..count) == Some(b"1".as_slice()))
    })
}

/// Removes groups that supervisors left behind which were themselves killed. A group with processes stays: the kernel
/// refuses.
fn sweep(parent: &Path) {
    let Ok(entries) = fs_err::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let supervisor = name.to_str().and_then(|name| name.strip_prefix(NAME_PREFIX));
        if let Some(pid) = supervisor.and_then(|text| text.parse::<u32>().ok())
            && !Path::new("/proc").join(pid.to_string()).exists()
        {
            // Another sandbox may sweep at the same time, or the group is not empty: either is fine.
            let _swept = fs_err::remove_dir(entry.path());
        }
    }
}

/// Where the caller's own group is, from the texts of `/proc/self/cgroup` and `/proc/self/mountinfo`. Version 1 comes
/// first: where a controller is there, version 2 does not have it.
fn home(controller: Controller, membership: &str, mounts: &str) -> Option<Home> {
    let wanted = controller.name();
    let mut second = None;
    for line in membership.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(number), Some(controllers), Some(group)) = (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let group = Path::new(group);
        if controllers.split(',').any(|name| name == wanted) {
            return mounted(group, mounts, |kind, options| {
                kind == "cgroup" && options.split(',').any(|option| option == wanted)
            })
            .map(|(directory, is_top)| Home { version: Version::One, directory, is_top });
        }
        if number == "0" && controllers.is_empty() {
            second = mounted(group, mounts, |kind, _| kind == "cgroup2").map(|(directory, is_top)| Home {
                version: Version::Two,
                directory,
                is_top,
            });
        }
    }
    second
}

/// Finds where a group of a hierarchy appears, and whether it is the mount's own root.
fn mounted(group: &Path, mounts: &str, matches: impl Fn(&str, &str) -> bool) -> Option<(PathBuf, bool)> {
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(3);
        let (mount_root, mount_point) = (before.next()?, before.next()?);
        let mut after = after.split(' ');
        let (kind, options) = (after.next()?, after.nth(1)?);
        let below = group.strip_prefix(mount_root).ok().filter(|_| matches(kind, options))?;
        let directory = if below.as_os_str().is_empty() {
            mount_point.into()
        } else {
            Path::new(mount_point).join(below)
        };
        Some((directory, below.as_os_str().is_empty()))
    })
}

/// The number after `oom_kill` in the files that count them.
fn kills(text: &str) -> u64 {
    text.lines()
        .filter_map(|line| line.strip_prefix("oom_kill ")?.trim().parse::<u64>().ok())
        .next()
        .unwrap_or_default()
}

/// What can be limited here, for a machine's check-up: the limits by name, and why one cannot be had.
pub(crate) fn available() -> Vec<(&'static str, Result<PathBuf, String>)> {
    let membership = fs_err::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mounts = fs_err::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    [(Controller::Memory, "memory"), (Controller::Processes, "processes")]
        .into_iter()
        .map(|(controller, name)| {
            let found = home(controller, &membership, &mounts)
                .ok_or_else(|| "this machine has no such control group".to_owned())
                .and_then(|home| parent_for(controller, &home))
                .and_then(|parent| {
                    let access = rustix::fs::access(&parent, rustix::fs::Access::WRITE_OK);
                    access
                        .map(|()| parent)
                        .map_err(|_| "the caller's own group cannot be written to".to_owned())
                });
            (name, found)
        })
        .collect()
}

/// What can be limited on this machine, by name: `memory` and `process`.
#[must_use]
pub fn limits_available() -> Vec<(&'static str, bool)> {
    let name = |limit| if limit == "processes" { "process" } else { limit };
    available().into_iter().map(|(limit, found)| (name(limit), found.is_ok())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID_MOUNTS: &str = "\
24 1 0:20 / /proc rw - proc proc rw
30 28 0:26 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
31 28 0:27 / /sys/fs/cgroup/pids rw,relatime shared:9 - cgroup cgroup rw,pids
32 28 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";

    #[test]
    fn the_callers_own_group_is_found() {
        let check = |controller, membership: &str, mounts: &str, expect: Option<(Version, &str, bool)>| {
            let found = home(controller, membership, mounts);
            let expect = expect.map(|(version, directory, is_top)| Home {
                version,
                directory: directory.into(),
                is_top,
            });
            assert_eq!(found, expect, "{membership}");
        };
        let hybrid = "8:pids:/\n4:memory:/session/7\n0::/\n";
        let unified = "0::/user.slice/run.scope\n";
        let unified_mounts = "32 28 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let one = Version::One;
        check(
            Controller::Memory,
            hybrid,
            HYBRID_MOUNTS,
            Some((one, "/sys/fs/cgroup/memory/session/7", false)),
        );
        check(Controller::Processes, hybrid, HYBRID_MOUNTS, Some((one, "/sys/fs/cgroup/pids", true)));
        check(
            Controller::Memory,
            unified,
            unified_mounts,
            Some((Version::Two, "/sys/fs/cgroup/user.slice/run.scope", false)),
        );
        let container = "32 28 0:28 /user.slice /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        check(
            Controller::Memory,
            unified,
            container,
            Some((Version::Two, "/sys/fs/cgroup/run.scope", false)),
        );
        check(Controller::Memory, "0::/../other\n", container, None);
        check(Controller::Memory, "nonsense\n", "more nonsense\n", None);
    }

    #[test]
    fn a_group_with_processes_hands_nothing_on_without_delegation() {
        let base = tempfile::tempdir().unwrap();
        let own = base.path().join("slice/scope");
        fs_err::create_dir_all(&own).unwrap();
        let home = Home { version: Version::Two, directory: own.clone(), is_top: false };
        // A directory in place of the file refuses to be written, as the kernel does.
        fs_err::create_dir(own.join("cgroup.subtree_control")).unwrap();
        fs_err::write(base.path().join("slice/cgroup.subtree_control"), "cpu memory\n").unwrap();
        let answer = parent_for(Controller::Memory, &home);
        if rustix::process::geteuid().is_root() {
            assert!(answer.unwrap_err().contains("delegated"), "root's own directory is not delegation");
        } else {
            assert_eq!(answer.unwrap(), base.path().join("slice"));
        }
        fs_err::remove_dir(own.join("cgroup.subtree_control")).unwrap();
        fs_err::write(own.join("cgroup.subtree_control"), "memory pids\n").unwrap();
        assert_eq!(parent_for(Controller::Memory, &home).unwrap(), own);
    }

    #[test]
    fn kills_are_counted_in_both_formats() {
        assert_eq!(kills("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"), 2);
        assert_eq!(kills("low 0\nhigh 0\nmax 4\noom 1\noom_kill 1\noom_group_kill 0\n"), 1);
        assert_eq!(kills(""), 0);
    }
}
